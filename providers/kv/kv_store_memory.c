/* The memory store: a tree per database under a reader-writer lock, all of one provider within one limit of bytes.
 *
 * Everything is answered at once, on the caller's thread. A lock is held for one page or WRITES_PER_LOCK writes at
 * most, and never while anybody is answered: an answer may go out by a system call, or call back. The structures of
 * databases stay until the store is closed, so an operation that found a handle may look at its slot whatever happens
 * to the database meanwhile: under the lock, db->handle says whether it is still the one that was meant. */
#include "providers/kv/kv_store_memory.h"

#include <stdlib.h>
#include <string.h>

enum { WRITES_PER_LOCK = 128, LOCK_TRIES = 64 };

static void cpu_relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#endif
}

/* The lock is held for a microsecond or less as a rule: asking a few times costs less than to sleep and be woken, and
 * spares the holder the wake-up. */
void cairn_kv__mem_lock(struct mem_db *db)
{
    for (int i = 0; i < LOCK_TRIES; i++) {
        if (pthread_rwlock_trywrlock(&db->lock) == 0)
            return;
        cpu_relax();
    }
    pthread_rwlock_wrlock(&db->lock);
}

static void db_lock_shared(struct mem_db *db)
{
    for (int i = 0; i < LOCK_TRIES; i++) {
        if (pthread_rwlock_tryrdlock(&db->lock) == 0)
            return;
        cpu_relax();
    }
    pthread_rwlock_rdlock(&db->lock);
}

static int mem_open(const struct cairn_kv_store_conf *conf, struct cairn_kv_dir *dir, struct cairn_kv_store **store,
                    struct cairn_err *err)
{
    struct cairn_kv_store *st = calloc(1, sizeof(*st));

    (void)dir;
    if (st == NULL)
        return cairn_err_set(err, CAIRN_E_NOMEM, "memory store");
    cairn_kv_slabs_init(&st->slabs, conf->memory_bytes);
    *store = st;
    return 0;
}

static void mem_close(struct cairn_kv_store *st)
{
    for (uint32_t i = 0; i < CAIRN_KV_DB_MAX; i++) {
        struct mem_db *db = st->dbs[i];

        if (db == NULL)
            continue;
        cairn_kv_tree_fini(&db->tree);
        pthread_rwlock_destroy(&db->lock);
        free(db);
    }
    cairn_kv_slabs_fini(&st->slabs);
    free(st);
}

static int mem_check(const struct cairn_kv_store_conf *conf, struct cairn_kv_dir *dir, struct cairn_err *err)
{
    (void)conf;
    (void)dir;
    (void)err;
    return 0;
}

static int mem_create(struct cairn_kv_store *st, const struct cairn_kv_db_desc *desc, bool decided,
                      struct cairn_err *err)
{
    struct mem_db *db = atomic_load(&st->dbs[desc->db.slot]);
    pthread_rwlockattr_t attr;

    (void)decided; /* it is small */
    if (db == NULL) {
        db = calloc(1, sizeof(*db));
        if (db == NULL)
            return cairn_err_set(err, CAIRN_E_NOMEM, "database %s", desc->name);
        pthread_rwlockattr_init(&attr);
        pthread_rwlockattr_setkind_np(&attr,
                                      PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP); /* or readers starve writers */
        pthread_rwlock_init(&db->lock, &attr);
        pthread_rwlockattr_destroy(&attr);
        cairn_kv_tree_init(&db->tree, &st->slabs);
        db->handle = desc->db.handle;
        atomic_store_explicit(&st->dbs[desc->db.slot], db, memory_order_release);
        return 0;
    }
    cairn_kv__mem_lock(db);
    db->handle = desc->db.handle;
    pthread_rwlock_unlock(&db->lock);
    return 0;
}

static int mem_drop(struct cairn_kv_store *st, const struct cairn_kv_db_desc *desc, struct cairn_err *err)
{
    struct mem_db *db = atomic_load(&st->dbs[desc->db.slot]);
    struct cairn_kv_tree tree;

    (void)err;
    cairn_kv__mem_lock(db);
    db->handle = 0;
    tree = db->tree;
    cairn_kv_tree_init(&db->tree, &st->slabs);
    pthread_rwlock_unlock(&db->lock);
    cairn_kv_tree_fini(&tree); /* long, if it was large: nobody waits for it */
    return 0;
}

/* The keys from @from on, as many as are looked for together. */
static uint32_t mem_make_keys(enum cairn_kv_order order, const ProtobufCBinaryData *from, uint32_t n,
                              struct cairn_kv_key *keys)
{
    CAIRN_ASSERT(n > 0);
    n = MIN(n, (uint32_t)CAIRN_KV_TREE_MANY);
    for (uint32_t i = 0; i < n; i++) {
        int rc = cairn_kv_key_make(order, &from[i], &keys[i]);

        CAIRN_ASSERT(rc == 0);
    }
    return n;
}

static bool mem_found(const struct cairn_kv_read *rd, uint32_t i, const struct cairn_kv_rec *rec)
{
    if (rec == NULL)
        return rd->found(rd->arg, i, NULL, -1);
    return rd->found(rd->arg, i, rd->want == CAIRN_KV_WANT_VALUE ? cairn_kv_rec_value(rec) : NULL, rec->vlen);
}

static void mem_read_all(const struct cairn_kv_read *rd, const struct cairn_kv_tree *tree)
{
    struct cairn_kv_key keys[CAIRN_KV_TREE_MANY];
    struct cairn_kv_rec *recs[CAIRN_KV_TREE_MANY];

    for (uint32_t from = 0, n; from < rd->n; from += n) {
        n = mem_make_keys(rd->db.order, &rd->keys[from], rd->n - from, keys);
        cairn_kv_tree_find_many(tree, keys, n, recs);
        for (uint32_t i = 0; i < n; i++) {
            if (!mem_found(rd, from + i, recs[i]))
                return;
        }
    }
}

static int mem_read(struct cairn_kv_store *st, const struct cairn_kv_read *rd)
{
    struct mem_db *db = cairn_kv__mem_db(st, &rd->db);
    int rc = CAIRN_KV_GONE;

    db_lock_shared(db);
    if (db->handle == rd->db.handle) {
        rc = 0;
        mem_read_all(rd, &db->tree);
    }
    pthread_rwlock_unlock(&db->lock);
    if (rc == 0 && rd->end != NULL)
        rd->end(rd->arg);
    return rc;
}

static bool scan_covers(const struct cairn_kv_scan *scan, const struct cairn_kv_rec *rec)
{
    const struct cairn_kv_range *r = scan->range;

    if (scan->reverse)
        return cairn_kv_key_compare(rec->bytes, rec->klen, r->lo, r->lo_len) >= 0;
    return !r->bounded || cairn_kv_key_compare(rec->bytes, rec->klen, r->hi, r->hi_len) < 0;
}

static void mem_scan_tree(const struct cairn_kv_tree *tree, struct cairn_kv_scan *scan)
{
    const struct cairn_kv_range *r = scan->range;
    struct cairn_kv_cursor c;
    const struct cairn_kv_rec *rec;

    c = scan->reverse ? cairn_kv_tree_seek_below(tree, r->bounded ? r->hi : NULL, r->hi_len)
                      : cairn_kv_tree_seek(tree, r->lo, r->lo_len);
    while ((rec = cairn_kv_cursor_rec(&c)) != NULL && scan_covers(scan, rec)) {
        if (!scan->entry(scan->arg, rec->bytes, rec->klen, scan->values ? cairn_kv_rec_value(rec) : NULL, rec->vlen)) {
            scan->more = true;
            return;
        }
        if (scan->reverse)
            cairn_kv_cursor_prev(&c);
        else
            cairn_kv_cursor_next(&c);
    }
}

static int mem_scan(struct cairn_kv_store *st, struct cairn_kv_scan *scan)
{
    struct mem_db *db = cairn_kv__mem_db(st, &scan->db);
    int rc = CAIRN_KV_GONE;

    scan->more = false;
    db_lock_shared(db);
    if (db->handle == scan->db.handle) {
        rc = 0;
        if (!cairn_kv_range_is_empty(scan->range))
            mem_scan_tree(&db->tree, scan);
    }
    pthread_rwlock_unlock(&db->lock);
    return rc;
}

/* ---- writes ---- */

void cairn_kv__mem_rec_free(struct cairn_kv_store *st, struct cairn_kv_rec *rec)
{
    cairn_kv_slab_free(&st->slabs, rec, cairn_kv_rec_bytes(rec->klen, rec->vlen));
}

static void rec_set_value(struct cairn_kv_rec *rec, const uint8_t *value, uint32_t len)
{
    rec->vlen = len;
    if (len > 0)
        memcpy(rec->bytes + rec->klen, value, len);
}

struct cairn_kv_rec *cairn_kv__mem_rec_new(struct cairn_kv_store *st, const struct cairn_kv_key *key,
                                           const uint8_t *value, uint32_t len)
{
    struct cairn_kv_rec *rec = cairn_kv_slab_alloc(&st->slabs, cairn_kv_rec_bytes(key->len, len));

    if (rec == NULL)
        return NULL;
    rec->klen = (uint16_t)key->len;
    memcpy(rec->bytes, key->ptr, key->len);
    rec_set_value(rec, value, len);
    return rec;
}

/* @rec is what the tree has under @key; *@old becomes what left the tree, or NULL. *@moved becomes true when records
 * come or go: what was found before may be gone then. */
static int mem_put(struct cairn_kv_store *st, struct cairn_kv_tree *tree, const struct cairn_kv_write *w,
                   const struct cairn_kv_key *key, struct cairn_kv_rec *rec, const uint8_t *value, uint32_t len,
                   struct cairn_kv_rec **old, bool *moved)
{
    *old = NULL;
    if (rec != NULL && (w->if_absent || w->db.write_once))
        return CAIRN_E_EXISTS;
    if (rec != NULL && !w->want_old &&
        cairn_kv_slab_room(cairn_kv_rec_bytes(key->len, len)) ==
            cairn_kv_slab_room(cairn_kv_rec_bytes(rec->klen, rec->vlen))) {
        rec_set_value(rec, value, len);
        return 0;
    }
    *moved = true;
    rec = cairn_kv__mem_rec_new(st, key, value, len);
    if (rec == NULL)
        return CAIRN_E_NOSPACE;
    if (cairn_kv_tree_put(tree, rec, old) != 0) {
        cairn_kv__mem_rec_free(st, rec);
        return CAIRN_E_NOSPACE;
    }
    return 0;
}

/* Writes from @from on, whose records are looked for together; *@value moves on. With want_old there is but one, and
 * *@kept is what was there. Returns how many. */
static uint32_t mem_write_some(struct cairn_kv_store *st, struct cairn_kv_tree *tree, struct cairn_kv_write *w,
                               uint32_t from, const uint8_t **value, struct cairn_kv_rec **kept)
{
    struct cairn_kv_key keys[CAIRN_KV_TREE_MANY];
    struct cairn_kv_rec *recs[CAIRN_KV_TREE_MANY];
    uint32_t n = mem_make_keys(w->db.order, &w->keys[from], w->n - from, keys);
    int32_t *status = w->status + from;
    bool moved = false;

    cairn_kv_tree_find_many(tree, keys, n, recs);
    for (uint32_t i = 0; i < n; i++) {
        struct cairn_kv_rec *rec = moved ? cairn_kv_tree_find(tree, keys[i].ptr, keys[i].len) : recs[i];
        uint32_t len = w->erase ? 0 : w->lengths[from + i];
        struct cairn_kv_rec *old;
        int rc = 0;

        if (!w->erase) {
            rc = mem_put(st, tree, w, &keys[i], rec, *value, len, &old, &moved);
        } else {
            old = rec != NULL ? cairn_kv_tree_take(tree, keys[i].ptr, keys[i].len) : NULL;
            moved = true;
        }
        if (w->want_old)
            *kept = old;
        else if (old != NULL)
            cairn_kv__mem_rec_free(st, old);
        status[i] = rc;
        if (len > 0) /* no values, no pointer to move */
            *value += len;
        if (rc == CAIRN_E_NOSPACE)
            atomic_fetch_add_explicit(&st->refused, 1, memory_order_relaxed);
    }
    return n;
}

/* What entries of a log have to themselves: an eighth, and what several batches of them take. */
static uint64_t mem_headroom(const struct cairn_kv_store *st)
{
    return MIN(MAX(st->slabs.limit / 8, (uint64_t)CAIRN_KV_APPLY_BYTES_MAX), st->slabs.limit / 2);
}

bool cairn_kv__mem_refuses(struct cairn_kv_store *st, uint64_t coming)
{
    return atomic_load_explicit(&st->has_log, memory_order_relaxed) &&
           cairn_kv_slabs_are_low(&st->slabs, mem_headroom(st) + MIN(coming, st->slabs.limit));
}

/* Tells the caller what was there, which may end @w, and frees it. */
static void mem_tell_old(struct cairn_kv_store *st, struct cairn_kv_write *w, struct cairn_kv_rec *old)
{
    if (old == NULL) {
        w->old(w, NULL, -1);
        return;
    }
    w->old(w, cairn_kv_rec_value(old), old->vlen);
    cairn_kv__mem_rec_free(st, old);
}

static int mem_write(struct cairn_kv_store *st, struct cairn_kv_write *w)
{
    struct mem_db *db;
    struct cairn_kv_rec *old = NULL;
    const uint8_t *value = w->values;
    uint32_t n = w->n;

    if (w->entries != NULL)
        return cairn_kv__mem_apply(st, w);
    if (!w->erase && cairn_kv__mem_refuses(st, 0)) {
        for (uint32_t i = 0; i < n; i++)
            w->status[i] = CAIRN_E_NOSPACE;
        atomic_fetch_add_explicit(&st->refused, n, memory_order_relaxed);
        return 0;
    }
    db = cairn_kv__mem_db(st, &w->db);
    for (uint32_t i = 0; i < n;) {
        cairn_kv__mem_lock(db);
        if (db->handle != w->db.handle) {
            pthread_rwlock_unlock(&db->lock);
            return CAIRN_KV_GONE;
        }
        for (uint32_t until = MIN(n, i + WRITES_PER_LOCK); i < until;)
            i += mem_write_some(st, &db->tree, w, i, &value, &old);
        pthread_rwlock_unlock(&db->lock);
    }
    if (w->want_old && w->status[0] == 0)
        mem_tell_old(st, w, old);
    return 0;
}

static int mem_usage(struct cairn_kv_store *st, const struct cairn_kv_db *which, struct cairn_kv_usage *out)
{
    struct mem_db *db = cairn_kv__mem_db(st, which);
    int rc = CAIRN_KV_GONE;

    db_lock_shared(db);
    if (db->handle == which->handle) {
        rc = 0;
        *out = (struct cairn_kv_usage){ .keys = db->tree.keys, .bytes = db->tree.bytes, .keys_exact = true };
    }
    pthread_rwlock_unlock(&db->lock);
    return rc;
}

static void mem_status(struct cairn_kv_store *st, json_t *to)
{
    uint64_t resident = cairn_kv_slabs_resident(&st->slabs);

    json_object_set_new(to, "health", json_string(cairn_kv__mem_refuses(st, 0) ? "readonly" : "ok"));
    json_object_set_new(to, "memory_bytes", json_integer((json_int_t)resident));
    json_object_set_new(to, "memory_limit_bytes", json_integer((json_int_t)st->slabs.limit));
    json_object_set_new(to, "writes_refused", json_integer((json_int_t)atomic_load(&st->refused)));
}

const struct cairn_kv_store_ops cairn_kv_store_memory = {
    .name = "memory",
    .writes_inline = true,
    .open = mem_open,
    .close = mem_close,
    .check = mem_check,
    .create = mem_create,
    .drop = mem_drop,
    .read = mem_read,
    .scan = mem_scan,
    .write = mem_write,
    .usage = mem_usage,
    .status = mem_status,
};
