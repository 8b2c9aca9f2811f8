/* Batches that run ahead of the engine, in the store: who sees them, what comes behind them, and what becomes of them
 * when the engine does not take them or the disk is full. By themselves: test_kv_ahead.c. */
#include "tests/unit/kv/kv_fixture.h"

#include "providers/kv/kv_ahead.h"
#include "providers/kv/kv_store_rocksdb.h"
#include "server/storage/spare.h"
#include "tests/lib/full_disk.h"

enum {
    DURABILITY_MEMORY = CAIRN__WIRE__DURABILITY__DURABILITY_MEMORY,
    PART_BYTES = 4000,
};

/* The rc of write_now(). */
static int try_apply(struct fx *fx, struct cairn_kv_db db, const char *key, const char *val, bool decided)
{
    struct cairn_kv_entry entry = { .db = db, .erase = val == NULL, .len = val != NULL ? (uint32_t)strlen(val) : 0 };
    ProtobufCBinaryData k = fx_str(key);
    struct fx_write fw = { .w = { .keys = &k,
                                  .entries = &entry,
                                  .n = 1,
                                  .values = (const uint8_t *)val,
                                  .value_bytes = entry.len,
                                  .erase = entry.erase,
                                  .decided = decided,
                                  .durability = DURABILITY_MEMORY } };

    fw.w.status = &fw.status;
    return fx->ops->write_now(fx->store, &fw.w);
}

static void apply(struct fx *fx, struct cairn_kv_db db, const char *key, const char *val)
{
    assert_int_equal(try_apply(fx, db, key, val, false), 0);
}

/* Conditions, old values and writes that the engine gets know what has run ahead. */
static void writes_come_behind(void **state)
{
    struct fx *fx = *state;
    struct fx_write fw;
    struct cairn_kv_db db, logged;
    ProtobufCBinaryData key = fx_str("k");

    fx_open(fx);
    db = fx_create(fx, "d", CAIRN_KV_BYTES, false);
    logged = fx_create(fx, "l", CAIRN_KV_BYTES, false);
    apply(fx, db, "k", "ahead");
    fx_fill_put(&fw, db, &key, "other", 5);
    fw.w.if_absent = true;
    fx_write_start(fx, &fw, 0);
    assert_int_equal(fx_write_wait(fx, &fw), 0);
    assert_int_equal(fw.status, CAIRN_E_EXISTS);
    apply(fx, db, "k", NULL);
    fx_write_start(fx, &fw, 0);
    assert_int_equal(fx_write_wait(fx, &fw), 0);
    assert_int_equal(fw.status, 0);
    assert_string_equal(fx_get_str(fx, db, "k"), "other");
    apply(fx, db, "k", "ahead");
    fx_fill_put(&fw, db, &key, "new", 3);
    fw.w.want_old = true;
    fx_write_start(fx, &fw, 0);
    assert_int_equal(fx_write_wait(fx, &fw), 0);
    assert_int_equal(fw.old_len, 5);
    assert_memory_equal(fw.old, "ahead", 5);
    free(fw.old);
    apply(fx, db, "k", "ahead");
    assert_int_equal(fx_put_str(fx, logged, "k", "l"), 0); /* of another database: it does not wait for them */
    assert_int_equal(fx_put_str(fx, db, "k", "logged"), 0);
    assert_string_equal(fx_get_str(fx, db, "k"), "logged");
    fx_close(fx);
}

/* What has run ahead into a database goes with it. */
static void dropped_is_gone(void **state)
{
    struct fx *fx = *state;
    struct cairn_kv_db db;

    fx_open(fx);
    db = fx_create(fx, "d", CAIRN_KV_BYTES, false);
    apply(fx, db, "k", "ahead");
    fx_drop(fx, "d");
    db = fx_create(fx, "d", CAIRN_KV_BYTES, false);
    assert_string_equal(fx_get_str(fx, db, "k"), "-");
    fx_close(fx);
    fx_open(fx);
    assert_string_equal(fx_get_str(fx, cairn_kv_dir_by_name(&fx->dir, "d")->db, "k"), "-");
    fx_close(fx);
}

/* A value that somebody looks at stays, though another takes its place and the engine has both. */
static const char *seen;

static bool replace_it(void *arg, uint32_t i, const uint8_t *val, int64_t len)
{
    struct fx *fx = arg;
    struct cairn_kv_db db = cairn_kv_dir_by_name(&fx->dir, "d")->db;

    (void)i;
    assert_int_equal(len, 5);
    seen = (const char *)val;
    apply(fx, db, "k", "newer");
    assert_int_equal(fx->ops->flush(fx->store), 0);
    return true;
}

static void look_again(void *arg)
{
    (void)arg;
    assert_memory_equal(seen, "ahead", 5);
}

static void what_is_read_stays(void **state)
{
    struct fx *fx = *state;
    struct cairn_kv_db db;
    ProtobufCBinaryData key = fx_str("k");
    struct cairn_kv_read rd = { .keys = &key, .n = 1, .found = replace_it, .end = look_again, .arg = fx };

    fx_open(fx);
    rd.db = db = fx_create(fx, "d", CAIRN_KV_BYTES, false);
    apply(fx, db, "k", "ahead");
    assert_int_equal(fx->ops->read(fx->store, &rd), 0);
    assert_string_equal(fx_get_str(fx, db, "k"), "newer");
    fx_close(fx);
}

/* ---- while the engine writes ---- */

static struct {
    struct fx *fx;
    struct cairn_kv_db db;
    uint32_t puts; /* so many more run ahead, one during each write of what skips the log */
    uint32_t writes;
    atomic_int rc; /* what the engine says of what skips the log, if it does not take it */
} meanwhile;

int __real_cairn_rocks_write(struct cairn_rocks *r, struct cairn_rocks_batch *b, enum cairn_rocks_log log);
int __wrap_cairn_rocks_write(struct cairn_rocks *r, struct cairn_rocks_batch *b, enum cairn_rocks_log log);
int __wrap_cairn_rocks_write(struct cairn_rocks *r, struct cairn_rocks_batch *b, enum cairn_rocks_log log)
{
    if (log == CAIRN_ROCKS_UNLOGGED) {
        meanwhile.writes++;
        if (meanwhile.puts > 0) {
            meanwhile.puts--;
            apply(meanwhile.fx, meanwhile.db, "k", "later");
        }
        if (atomic_load(&meanwhile.rc) != 0)
            return atomic_load(&meanwhile.rc);
    }
    return __real_cairn_rocks_write(r, b, log);
}

/* Whoever waits for what is ahead waits for no more than that, however busy loops are. */
static void a_flush_has_an_end(void **state)
{
    struct fx *fx = *state;

    fx_open(fx);
    meanwhile.fx = fx;
    meanwhile.db = fx_create(fx, "d", CAIRN_KV_BYTES, false);
    apply(fx, meanwhile.db, "k", "there");
    meanwhile.puts = 100;
    meanwhile.writes = 0;
    assert_int_equal(fx->ops->flush(fx->store), 0);
    meanwhile.puts = 0;
    assert_in_range(meanwhile.writes, 1, KV_AHEAD_PARTS);
    fx_close(fx);
}

static void assert_status(struct fx *fx, bool any, bool stuck)
{
    json_t *j = json_object();

    fx->ops->status(fx->store, j);
    assert_true(json_is_integer(json_object_get(j, "ahead_bytes")));
    assert_int_equal(json_integer_value(json_object_get(j, "ahead_bytes")) > 0, any);
    assert_true(json_is_boolean(json_object_get(j, "ahead_stuck")));
    assert_int_equal(json_is_true(json_object_get(j, "ahead_stuck")), stuck);
    json_decref(j);
}

/* What the engine does not take holds up what is to come behind it, and nobody else in the same group. */
static void strangers_do_not_pay(void **state)
{
    struct fx *fx = *state;
    struct fx_write first, barrier, other, behind;
    struct cairn_kv_db db, logged;
    ProtobufCBinaryData key = fx_str("k");

    fx_open(fx);
    db = fx_create(fx, "d", CAIRN_KV_BYTES, false);
    logged = fx_create(fx, "l", CAIRN_KV_BYTES, false);
    assert_status(fx, false, false);
    apply(fx, db, "k", "ahead");
    assert_status(fx, true, false);
    atomic_store(&meanwhile.rc, CAIRN_E_NOSPACE);
    fx_fill_put(&first, logged, &key, "first", 5);
    fx_fill_put(&barrier, logged, NULL, NULL, 0);
    barrier.w.n = 0;
    barrier.w.durability = CAIRN__WIRE__DURABILITY__DURABILITY_SYNC;
    fx_fill_put(&other, logged, &key, "other", 5);
    other.w.durability = CAIRN__WIRE__DURABILITY__DURABILITY_SYNC;
    fx_fill_put(&behind, db, &key, "behind", 6);
    pthread_mutex_lock(&fx->store->applying); /* the first waits for it, and the others gather */
    fx_write_start(fx, &first, 0);
    fx_write_start(fx, &barrier, 0);
    fx_write_start(fx, &other, 0);
    fx_write_start(fx, &behind, 0);
    pthread_mutex_unlock(&fx->store->applying);
    assert_int_equal(fx_write_wait(fx, &first), 0);
    assert_int_equal(fx_write_wait(fx, &barrier), 0);
    assert_int_equal(fx_write_wait(fx, &other), 0);
    assert_int_equal(fx_write_wait(fx, &behind), CAIRN_E_NOSPACE);
    assert_string_equal(fx_get_str(fx, logged, "k"), "other");
    assert_string_equal(fx_get_str(fx, db, "k"), "ahead");
    assert_status(fx, true, true);
    atomic_store(&meanwhile.rc, 0);
    fx_write_start(fx, &behind, 0);
    assert_int_equal(fx_write_wait(fx, &behind), 0);
    assert_string_equal(fx_get_str(fx, db, "k"), "behind");
    assert_status(fx, false, false);
    fx_close(fx);
}

/* Both parts. */
static void a_flush_takes_what_was_there(void **state)
{
    struct fx *fx = *state;
    struct cairn_kv_db db;
    struct kv_ahead *a;
    char key[16];

    fx_open(fx);
    a = &fx->store->ahead;
    db = fx_create(fx, "d", CAIRN_KV_BYTES, false);
    pthread_mutex_lock(&fx->store->applying); /* nothing is taken meanwhile */
    a->bytes_max = PART_BYTES;
    for (int i = 0; a->old.n == 0; i++) {
        sprintf(key, "%d", i);
        apply(fx, db, key, "some bytes");
    }
    assert_true(a->young.n > 0);
    pthread_mutex_unlock(&fx->store->applying);
    assert_int_equal(fx->ops->flush(fx->store), 0);
    assert_int_equal(atomic_load(&a->n), 0);
    assert_string_equal(fx_get_str(fx, db, key), "some bytes");
    fx_close(fx);
}

/* However long the engine takes for a write: a list sees what is on its way and what is there, once. */
static void lists_wait_for_no_write(void **state)
{
    struct fx *fx = *state;
    Cairn__Wire__KvList m = CAIRN__WIRE__KV_LIST__INIT;
    struct cairn_kv_page page = { 0 };
    struct kv_ahead_row **rows;
    struct cairn_kv_db db;
    uint32_t n;

    fx_open(fx);
    db = fx_create(fx, "d", CAIRN_KV_BYTES, false);
    assert_int_equal(fx_put_str(fx, db, "a", "there"), 0);
    assert_int_equal(fx_put_str(fx, db, "b", "there"), 0);
    apply(fx, db, "b", "on its way");
    apply(fx, db, "c", "on its way");
    pthread_mutex_lock(&fx->store->applying);
    rows = kv_ahead_take(&fx->store->ahead, true, &n);
    assert_int_equal(n, 2);
    apply(fx, db, "c", NULL);
    apply(fx, db, "d", "young");
    assert_false(fx_list(fx, db, &m, 100, &page));
    assert_int_equal(page.n, 3);
    assert_memory_equal(page.keys.ptr, "abd", 3);
    kv_ahead_gone(&fx->store->ahead, rows, CAIRN_E_NOSPACE);
    pthread_mutex_unlock(&fx->store->applying);
    cairn_kv_page_fini(&page);
    fx_close(fx);
}

/* ---- on a full disk ---- */

/* Until the store's disk is seen as it is. */
static void set_disk(struct cairn_spare *spare, bool full)
{
    uint64_t growth;

    atomic_store(&full_disk, full);
    do
        cairn_spare_look(spare);
    while (cairn_spare_show(spare, &growth) != full);
}

static bool reclaims(struct fx *fx)
{
    struct cairn_errand *e = &fx->store->reclaim;
    bool asked;

    pthread_mutex_lock(&e->mutex);
    asked = e->wanted || e->begun > 0;
    pthread_mutex_unlock(&e->mutex);
    return asked;
}

/* What frees room is written as such, and what it frees is reclaimed: removals that come do not run ahead, and those
 * that had are told from what else is there. */
static void removals_free_room(void **state)
{
    struct fx *fx = *state;
    struct cairn_spare spare;
    struct cairn_kv_db db;

    cairn_spare_init(&spare, fx->path);
    fx->conf.spare = &spare;
    set_disk(&spare, false);
    fx_open(fx);
    db = fx_create(fx, "d", CAIRN_KV_BYTES, false);
    apply(fx, db, "k", "ahead");
    set_disk(&spare, true);
    assert_int_equal(try_apply(fx, db, "k", "new", false), CAIRN_KV_LATER);
    assert_int_equal(try_apply(fx, db, "k", "decided", true), 0);
    assert_int_equal(fx->ops->flush(fx->store), 0);
    assert_false(reclaims(fx));
    assert_int_equal(try_apply(fx, db, "k", NULL, true), CAIRN_KV_LATER);
    set_disk(&spare, false);
    assert_int_equal(try_apply(fx, db, "k", NULL, true), 0);
    set_disk(&spare, true);
    assert_int_equal(fx->ops->flush(fx->store), 0);
    assert_true(reclaims(fx));
    set_disk(&spare, false);
    fx_close(fx);
    cairn_spare_fini(&spare);
}

/* A view of a full disk, for who is to copy what is on it elsewhere, is as good as a removal. */
static void views_free_room(void **state)
{
    struct fx *fx = *state;
    struct cairn_spare spare;
    struct cairn_kv_db db;
    static struct fx_value v;
    void *view;

    cairn_spare_init(&spare, fx->path);
    fx->conf.spare = &spare;
    fx_open(fx);
    db = fx_create(fx, "d", CAIRN_KV_BYTES, false);
    set_disk(&spare, true);
    assert_int_equal(try_apply(fx, db, "k", "decided", true), 0);
    assert_int_equal(fx->ops->snapshot_open(fx->store, &view), 0);
    assert_true(reclaims(fx));
    set_disk(&spare, false);
    apply(fx, db, "k", "later");
    assert_int_equal(fx_get_at(fx, view, db, fx_str("k"), &v), 0);
    assert_int_equal(v.len, 7);
    assert_memory_equal(v.bytes, "decided", 7);
    fx->ops->snapshot_close(fx->store, view);
    fx_close(fx);
    cairn_spare_fini(&spare);
}

static int try_create(struct fx *fx, const char *name, bool decided)
{
    struct cairn_kv_db_desc desc = { 0 };
    int rc;

    strcpy(desc.name, name);
    pthread_mutex_lock(&fx->dir.mutex);
    assert_int_equal(cairn_kv_dir_reserve(&fx->dir, &desc), 0);
    rc = fx->ops->create(fx->store, &desc, decided, &fx->err);
    if (rc == 0)
        cairn_kv_dir_publish(&fx->dir, &desc.db);
    else
        cairn_kv_dir_forget(&fx->dir, &desc.db);
    pthread_mutex_unlock(&fx->dir.mutex);
    return rc;
}

/* A namespace's first entry is not kept back for its database: behind it all entries of its log would be. */
static void a_decided_database_is_made_on_a_full_disk(void **state)
{
    struct fx *fx = *state;
    struct cairn_spare spare;

    cairn_spare_init(&spare, fx->path);
    fx->conf.spare = &spare;
    fx_open(fx);
    set_disk(&spare, true);
    assert_int_equal(try_create(fx, "new", false), CAIRN_E_NOSPACE);
    assert_int_equal(try_create(fx, "new", true), 0);
    assert_int_equal(try_apply(fx, cairn_kv_dir_by_name(&fx->dir, "new")->db, "k", "decided", true), 0);
    fx_close(fx);
    set_disk(&spare, false);
    fx_open(fx);
    assert_non_null(cairn_kv_dir_by_name(&fx->dir, "new"));
    fx_close(fx);
    cairn_spare_fini(&spare);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FX_ROCKSDB(writes_come_behind),      FX_ROCKSDB(dropped_is_gone),
        FX_ROCKSDB(what_is_read_stays),      FX_ROCKSDB(a_flush_has_an_end),
        FX_ROCKSDB(strangers_do_not_pay),    FX_ROCKSDB(a_flush_takes_what_was_there),
        FX_ROCKSDB(lists_wait_for_no_write), FX_ROCKSDB(removals_free_room),
        FX_ROCKSDB(views_free_room),         FX_ROCKSDB(a_decided_database_is_made_on_a_full_disk),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
