/* A store by itself, on a loop of the test's own: what the tests of both engines and of their failures share. */
#ifndef CAIRN_TESTS_KV_FIXTURE_H
#define CAIRN_TESTS_KV_FIXTURE_H

#include "cairn/error.h"
#include "providers/kv/kv_page.h"
#include "providers/kv/kv_store.h"
#include "tests/lib/scratch.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

enum { FX_LOOPS_MAX = 4, FX_TURNS_MAX = 1000000, FX_VALUE_MAX = CAIRN_KV_VALUE_BYTES_MAX };

struct fx {
    const struct cairn_kv_store_ops *ops;
    struct cairn_kv_store_conf conf;
    struct cairn_kv_dir dir;
    struct cairn_kv_store *store;
    struct cairn_loop loop[FX_LOOPS_MAX], *loops[FX_LOOPS_MAX];
    char path[SCRATCH_MAX];
    struct cairn_err err;
};

static inline void fx_prepare(struct fx *fx, const struct cairn_kv_store_ops *ops)
{
    memset(fx, 0, sizeof(*fx));
    fx->ops = ops;
    scratch_new(fx->path);
    for (int i = 0; i < FX_LOOPS_MAX; i++) {
        assert_int_equal(cairn_loop_init(&fx->loop[i], NULL, NULL), 0);
        fx->loops[i] = &fx->loop[i];
    }
    fx->conf = (struct cairn_kv_store_conf){ .dir = fx->path,
                                             .memory_bytes = 256 << 20,
                                             .cache_bytes = 8 << 20,
                                             .write_buffer_bytes = 4 << 20,
                                             .queue_bytes = 16 << 20,
                                             .open_files = 64,
                                             .loops = fx->loops,
                                             .nloops = FX_LOOPS_MAX };
}

static inline int fx_try_open(struct fx *fx)
{
    int rc;

    assert_int_equal(cairn_kv_dir_init(&fx->dir, CAIRN_KV_DB_MAX, 5), 0);
    rc = fx->ops->open(&fx->conf, &fx->dir, &fx->store, &fx->err);
    if (rc != 0)
        cairn_kv_dir_fini(&fx->dir);
    return rc;
}

/* What a check says, with room for as many databases as there can be. */
static inline int fx_check(struct fx *fx)
{
    struct cairn_kv_dir dir;
    int rc;

    assert_int_equal(cairn_kv_dir_init(&dir, CAIRN_KV_DB_MAX, 5), 0);
    rc = fx->ops->check(&fx->conf, &dir, &fx->err);
    cairn_kv_dir_fini(&dir);
    return rc;
}

static inline void fx_open(struct fx *fx)
{
    int rc = fx_try_open(fx);

    if (rc != 0)
        print_error("%s\n", fx->err.text);
    assert_int_equal(rc, 0);
}

static inline void fx_close(struct fx *fx)
{
    fx->ops->close(fx->store);
    cairn_kv_dir_fini(&fx->dir);
}

static inline void fx_remove(struct fx *fx)
{
    for (int i = 0; i < FX_LOOPS_MAX; i++)
        cairn_loop_fini(&fx->loop[i]);
    scratch_remove(fx->path);
}

static inline struct cairn_kv_db fx_create(struct fx *fx, const char *name, enum cairn_kv_order order, bool write_once)
{
    struct cairn_kv_db_desc desc = { .db = { .order = (uint8_t)order, .write_once = write_once } };

    strcpy(desc.name, name);
    pthread_mutex_lock(&fx->dir.mutex);
    assert_int_equal(cairn_kv_dir_reserve(&fx->dir, &desc), 0);
    assert_int_equal(fx->ops->create(fx->store, &desc, false, &fx->err), 0);
    cairn_kv_dir_publish(&fx->dir, &desc.db);
    pthread_mutex_unlock(&fx->dir.mutex);
    return desc.db;
}

static inline void fx_drop(struct fx *fx, const char *name)
{
    struct cairn_kv_db_desc desc;

    pthread_mutex_lock(&fx->dir.mutex);
    desc = *cairn_kv_dir_by_name(&fx->dir, name);
    cairn_kv_dir_hide(&fx->dir, &desc.db);
    assert_int_equal(fx->ops->drop(fx->store, &desc, &fx->err), 0);
    cairn_kv_dir_forget(&fx->dir, &desc.db);
    pthread_mutex_unlock(&fx->dir.mutex);
}

static inline ProtobufCBinaryData fx_key(const void *p, size_t n)
{
    return (ProtobufCBinaryData){ .len = n, .data = (uint8_t *)(uintptr_t)p };
}

static inline ProtobufCBinaryData fx_str(const char *s)
{
    return fx_key(s, strlen(s));
}

/* For tests of the RocksDB store that open it themselves: FX_ROCKSDB(). */
static inline int fx_setup_rocksdb(void **state)
{
    struct fx *fx = malloc(sizeof(*fx));

    fx_prepare(fx, &cairn_kv_store_rocksdb);
    *state = fx;
    return 0;
}

static inline int fx_teardown(void **state)
{
    struct fx *fx = *state;

    fx_remove(fx);
    free(fx);
    return 0;
}

#define FX_ROCKSDB(test) cmocka_unit_test_setup_teardown(test, fx_setup_rocksdb, fx_teardown)

/* ---- writes, each waited for ---- */

struct fx_write {
    struct cairn_kv_write w;
    bool done;
    int rc;
    bool old_called;
    int64_t old_len;
    uint8_t *old;
    int32_t status;
    uint32_t length;
};

static inline void fx_on_old(struct cairn_kv_write *w, const uint8_t *val, int64_t len)
{
    struct fx_write *fw = w->arg;

    assert_false(fw->old_called);
    fw->old_called = true;
    fw->old_len = len;
    if (len > 0) {
        fw->old = malloc((size_t)len);
        memcpy(fw->old, val, (size_t)len);
    }
}

static inline void fx_on_done(struct cairn_kv_write *w, int rc)
{
    struct fx_write *fw = w->arg;

    assert_false(fw->done);
    fw->done = true;
    fw->rc = rc;
}

/* What the engine does at once, if it does, as the provider asks. */
static inline int fx_write_now(struct fx *fx, struct fx_write *fw)
{
    int rc = fx->ops->write_now == NULL ? CAIRN_KV_LATER : fx->ops->write_now(fx->store, &fw->w);

    if (rc == 0)
        memset(fw->w.status, 0, fw->w.n * sizeof(fw->w.status[0]));
    return rc;
}

/* Starts a write on loop @worker; fw->w is filled but for what the engine wants to know. */
static inline void fx_write_start(struct fx *fx, struct fx_write *fw, uint32_t worker)
{
    int rc;

    fw->done = fw->old_called = false;
    fw->old_len = -2;
    fw->old = NULL;
    fw->w.old = fx_on_old;
    fw->w.done = fx_on_done;
    fw->w.arg = fw;
    fw->w.loop = fx->loops[worker];
    fw->w.worker = worker;
    rc = fx_write_now(fx, fw);
    if (rc != CAIRN_KV_LATER) {
        fw->done = true;
        fw->rc = rc;
        return;
    }
    rc = fx->ops->write(fx->store, &fw->w);
    assert_true(fx->ops->writes_inline || rc == CAIRN_KV_LATER || rc == CAIRN_E_BUSY);
    if (rc != CAIRN_KV_LATER) {
        fw->done = true;
        fw->rc = rc;
    } else {
        assert_false(fw->done); /* never inside the call */
    }
}

static inline int fx_write_wait(struct fx *fx, struct fx_write *fw)
{
    for (int i = 0; i < FX_TURNS_MAX && !fw->done; i++)
        cairn_loop_turn(fx->loops[fw->w.worker], 10 * CAIRN_NS_PER_MS);
    assert_true(fw->done);
    return fw->rc;
}

static inline void fx_fill_put(struct fx_write *fw, struct cairn_kv_db db, const ProtobufCBinaryData *key,
                               const void *val, uint32_t len)
{
    memset(fw, 0, sizeof(*fw));
    fw->length = len;
    fw->w.db = db;
    fw->w.keys = key;
    fw->w.values = val;
    fw->w.value_bytes = len;
    fw->w.lengths = &fw->length;
    fw->w.n = 1;
    fw->w.status = &fw->status;
}

/* Puts one value; the status, or why the whole failed. */
static inline int fx_put(struct fx *fx, struct cairn_kv_db db, ProtobufCBinaryData key, const void *val, uint32_t len)
{
    struct fx_write fw;

    fx_fill_put(&fw, db, &key, val, len);
    fx_write_start(fx, &fw, 0);
    fx_write_wait(fx, &fw);
    return fw.rc != 0 ? fw.rc : fw.status;
}

static inline int fx_put_str(struct fx *fx, struct cairn_kv_db db, const char *key, const char *val)
{
    return fx_put(fx, db, fx_str(key), val, (uint32_t)strlen(val));
}

static inline int fx_erase(struct fx *fx, struct cairn_kv_db db, ProtobufCBinaryData key)
{
    struct fx_write fw;

    fx_fill_put(&fw, db, &key, NULL, 0);
    fw.w.erase = true;
    fx_write_start(fx, &fw, 0);
    fx_write_wait(fx, &fw);
    return fw.rc != 0 ? fw.rc : fw.status;
}

/* ---- batches over several databases ---- */

enum { FX_BATCH_MAX = 512 };

struct fx_batch {
    struct fx_write fw;
    struct cairn_kv_entry entries[FX_BATCH_MAX];
    ProtobufCBinaryData keys[FX_BATCH_MAX];
    uint32_t key[FX_BATCH_MAX]; /* what the keys are made of */
    int32_t status[FX_BATCH_MAX];
    uint8_t *values;
    uint32_t n, bytes, room;
};

static inline void fx_batch_reset(struct fx_batch *b)
{
    b->n = b->bytes = 0;
}

/* @val NULL: erase. Returns the entry, for its condition. */
static inline struct cairn_kv_entry *fx_batch_add(struct fx_batch *b, struct cairn_kv_db db, uint32_t key,
                                                  const void *val, uint32_t len)
{
    struct cairn_kv_entry *e = &b->entries[b->n];

    assert_true(b->n < FX_BATCH_MAX);
    *e = (struct cairn_kv_entry){ .db = db, .len = len, .erase = val == NULL };
    b->key[b->n] = key;
    b->keys[b->n] = fx_key(&b->key[b->n], sizeof(key));
    b->n++;
    if (b->bytes + len > b->room) {
        b->room = (b->bytes + len) * 2;
        b->values = realloc(b->values, b->room);
        assert_non_null(b->values);
    }
    if (len > 0)
        memcpy(b->values + b->bytes, val, len);
    b->bytes += len;
    return e;
}

static inline void fx_batch_start(struct fx *fx, struct fx_batch *b, uint8_t durability, uint32_t worker)
{
    struct cairn_kv_write *w = &b->fw.w;

    memset(&b->fw, 0, sizeof(b->fw));
    w->keys = b->keys;
    w->entries = b->entries;
    w->n = b->n;
    w->values = b->values;
    w->value_bytes = b->bytes;
    w->status = b->status;
    w->durability = durability;
    w->erase = true;
    for (uint32_t i = 0; i < b->n; i++) {
        w->erase &= b->entries[i].erase;
        w->if_absent |= cairn_kv_entry_is_conditional(&b->entries[i]);
    }
    fx_write_start(fx, &b->fw, worker);
}

static inline int fx_batch_apply(struct fx *fx, struct fx_batch *b, uint8_t durability)
{
    fx_batch_start(fx, b, durability, 0);
    return fx_write_wait(fx, &b->fw);
}

/* ---- reads, as the pool would do them ---- */

struct fx_value {
    int64_t len;
    uint8_t bytes[FX_VALUE_MAX];
};

static inline bool fx_on_found(void *arg, uint32_t i, const uint8_t *val, int64_t len)
{
    struct fx_value *v = arg;

    (void)i;
    v->len = len;
    if (val != NULL && len > 0)
        memcpy(v->bytes, val, (size_t)len);
    return true;
}

/* In a view, or @at NULL: now. */
static inline int fx_get_at(struct fx *fx, const void *at, struct cairn_kv_db db, ProtobufCBinaryData key,
                            struct fx_value *v)
{
    struct cairn_kv_read rd = {
        .db = db, .at = at, .keys = &key, .n = 1, .may_block = true, .found = fx_on_found, .arg = v
    };

    v->len = -2;
    return fx->ops->read(fx->store, &rd);
}

static inline int fx_get(struct fx *fx, struct cairn_kv_db db, ProtobufCBinaryData key, struct fx_value *v)
{
    return fx_get_at(fx, NULL, db, key, v);
}

/* The value as a string; "-" if there is none. */
static inline const char *fx_get_str(struct fx *fx, struct cairn_kv_db db, const char *key)
{
    static struct fx_value v;

    assert_int_equal(fx_get(fx, db, fx_str(key), &v), 0);
    if (v.len < 0)
        return "-";
    v.bytes[v.len] = '\0';
    return (const char *)v.bytes;
}

static inline bool fx_on_page_entry(void *arg, const uint8_t *key, uint32_t klen, const uint8_t *val, uint32_t vlen)
{
    return cairn_kv_page_add_key(arg, key, klen, val, vlen);
}

/* One page into @page (zeroed or used before); true if there is more. */
static inline bool fx_list(struct fx *fx, struct cairn_kv_db db, const Cairn__Wire__KvList *m, uint32_t max,
                           struct cairn_kv_page *page)
{
    struct cairn_kv_range *range = malloc(sizeof(*range));
    struct cairn_kv_scan scan = { .db = db,
                                  .range = range,
                                  .reverse = m->reverse,
                                  .values = m->values,
                                  .may_block = true,
                                  .entry = fx_on_page_entry,
                                  .arg = page };

    cairn_kv_page_reset(page, db.order, max);
    assert_int_equal(cairn_kv_range_make(db.order, m, range), 0);
    assert_int_equal(fx->ops->scan(fx->store, &scan), 0);
    assert_int_equal(page->rc, 0);
    free(range);
    return scan.more;
}

/* ---- what the engine says of itself, and what it has on disk ---- */

static inline json_t *fx_status(struct fx *fx)
{
    json_t *j = json_object();

    fx->ops->status(fx->store, j);
    return j;
}

static inline json_int_t fx_status_number(struct fx *fx, const char *key)
{
    json_t *j = fx_status(fx);
    json_int_t n = json_integer_value(json_object_get(j, key));

    assert_true(json_is_integer(json_object_get(j, key)));
    json_decref(j);
    return n;
}

static inline void fx_assert_health(struct fx *fx, const char *health)
{
    json_t *j = fx_status(fx);

    assert_string_equal(json_string_value(json_object_get(j, "health")), health);
    json_decref(j);
}

/* The largest sorted file. */
static inline off_t fx_largest_table(struct fx *fx, char path[512])
{
    char dir[128], p[512];
    off_t largest = 0;
    struct dirent *e;
    struct stat st;
    DIR *d;

    snprintf(dir, sizeof(dir), "%s/db", fx->path);
    d = opendir(dir);
    while ((e = readdir(d)) != NULL) {
        snprintf(p, sizeof(p), "%s/%s", dir, e->d_name);
        if (strstr(e->d_name, ".sst") != NULL && stat(p, &st) == 0 && st.st_size > largest) {
            largest = st.st_size;
            strcpy(path, p);
        }
    }
    closedir(d);
    assert_true(largest > 0);
    return largest;
}

/* ---- random walks ---- */

static inline uint64_t fx_seed(void)
{
    const char *s = getenv("CAIRN_SEED");
    uint64_t seed = s != NULL ? strtoull(s, NULL, 0) : (uint64_t)time(NULL) ^ (uint64_t)getpid() << 32;

    print_message("CAIRN_SEED=%llu\n", (unsigned long long)seed);
    return seed * 2 + 1;
}

static inline uint32_t fx_draw(uint64_t *rng, uint32_t below)
{
    *rng ^= *rng << 13;
    *rng ^= *rng >> 7;
    *rng ^= *rng << 17;
    return (uint32_t)((*rng * UINT64_C(0x2545f4914f6cdd1d) >> 33) % below);
}

#endif
