/* Writes of the RocksDB store: a group at a time, decided in order of arrival, written as one batch.
 *
 * Whether a conditional put finds its key is decided here, on the one thread that writes, against the engine and what
 * the same group did before; so conditions are atomic without a lock on keys. What a group touched is remembered by a
 * 128-bit hash under a secret seed: two keys that share it are not to be expected in the life of the universe. Groups
 * without conditions, the usual ones, skip all that.
 *
 * A batch lies in one table in the end, however large. What the engine needs of room on the disk is reckoned in tables
 * of a write buffer (rocks.c), so a group that is much larger is written as several batches. */
#include "providers/kv/kv_store_rocksdb.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

enum {
    OP_OVERHEAD_BYTES = 256, /* what an operation and each of its keys count beside their bytes */
    KEY_OVERHEAD_BYTES = 64,
    TOUCHED_ROOM_MIN = 256,
    TOUCHED_ROOM_KEPT = 16384,
    RECOVERY_LOOK_MS = 50,
    BATCHES_OF_BUFFER = 4, /* a batch is this part of the engine's write buffer, and what one key has */
};

struct touched {
    XXH128_hash_t key;
    const uint8_t *val; /* NULL: erased */
    uint32_t len;
    bool used;
};

/* In w->private. */
struct rocksdb_write {
    struct cairn_commit_op op;
    struct cairn_kv_write *w;
};
_Static_assert(sizeof(struct rocksdb_write) <= sizeof(((struct cairn_kv_write *)0)->private),
               "the engine's part has its place");

static struct cairn_kv_write *write_of(struct cairn_link *l)
{
    return CONTAINER_OF(CONTAINER_OF(l, struct cairn_commit_op, link), struct rocksdb_write, op)->w;
}

/* Whether it has to be looked up what is there. */
static bool is_conditional(const struct cairn_kv_write *w)
{
    struct cairn_kv_entry all = { .db = w->db, .erase = w->erase, .if_absent = w->if_absent };

    return w->want_old || cairn_kv_entry_is_conditional(&all);
}

/* ---- what the group has touched ---- */

/* Makes room for @n keys, all forgotten; false without memory. */
static bool touched_reset(struct cairn_kv_store *st, uint32_t n)
{
    uint32_t room = TOUCHED_ROOM_MIN;

    while (room < n * 2)
        room *= 2;
    if (room > st->touched_room || st->touched_room > TOUCHED_ROOM_KEPT) {
        free(st->touched);
        st->touched_room = room;
        st->touched = calloc(room, sizeof(st->touched[0]));
        if (st->touched == NULL)
            st->touched_room = 0;
        return st->touched != NULL;
    }
    memset(st->touched, 0, st->touched_room * sizeof(st->touched[0]));
    return true;
}

/* The key's place: used, or free for it. */
static struct touched *touched_find(struct cairn_kv_store *st, const struct cairn_kv__full_key *key)
{
    XXH128_hash_t h = XXH3_128bits_withSeed(key->bytes, key->len, st->hash_seed);
    uint32_t i = (uint32_t)h.low64 & (st->touched_room - 1);

    while (st->touched[i].used && !XXH128_isEqual(st->touched[i].key, h))
        i = (i + 1) & (st->touched_room - 1);
    st->touched[i].key = h;
    return &st->touched[i];
}

/* ---- one group ---- */

struct group {
    struct cairn_kv_store *st;
    bool conditional;
    bool behind;            /* what runs ahead is with the engine first */
    bool freeing, refusing; /* there are removals in it; puts are refused, as the disk is full */
    bool decided;           /* there are writes in it that are in logs: removals come behind them */
    uint64_t now_ns;
    int rc;        /* why the rest of it is not carried out; 0: it is */
    int behind_rc; /* why what is to come behind is not; what has nothing to do with it is none the worse */

    /* The run: neighbours that all go through the log, or all past it, and into one batch. */
    struct cairn_link *run; /* its first; NULL: none has begun */
    uint32_t run_key;       /* from which key of its first on; those before are stored */
    bool logged, nothing;   /* nothing: all of it was refused */
};

/* The entry's status: 0, CAIRN_E_EXISTS, or why the key cannot be looked up. */
static int decide(struct group *g, struct cairn_kv_write *w, const struct cairn_kv_entry *e,
                  const struct cairn_kv__full_key *key, const struct touched *touched)
{
    struct cairn_rocks_view view = { 0 };
    const uint8_t *val = touched->val;
    uint32_t len = touched->len;
    bool there = touched->used && val != NULL;
    int rc = 0;

    if (!touched->used) {
        rc = cairn_rocks_get(g->st->rocks, NULL, key->bytes, key->len, true, &view);
        if (rc != 0 && rc != CAIRN_E_NOTFOUND)
            return rc == CAIRN_ROCKS_LATER ? CAIRN_E_IO : rc;
        there = rc == 0;
        rc = 0;
        val = view.ptr;
        len = (uint32_t)view.len;
    }
    if (there && cairn_kv_entry_is_conditional(e))
        rc = CAIRN_E_EXISTS;
    else if (w->want_old)
        w->old(w, there ? val : NULL, there ? (int64_t)len : -1);
    if (view.pin != NULL)
        cairn_rocks_view_drop(&view);
    return rc;
}

/* The engine looks once in 5 s whether there is room again: meanwhile nothing else could be written either. */
int cairn_kv__rocksdb_write_freeing(struct cairn_kv_store *st, struct cairn_rocks_batch *b, enum cairn_rocks_log log)
{
    static const struct timespec look = { .tv_nsec = RECOVERY_LOOK_MS * CAIRN_NS_PER_MS };
    int rc;

    cairn_spare_before_removal(st->spare);
    rc = cairn_rocks_write(st->rocks, b, log);
    while (rc == CAIRN_E_NOSPACE && cairn_spare_lend(st->spare)) {
        nanosleep(&look, NULL);
        rc = cairn_rocks_write(st->rocks, b, log);
    }
    if (rc == 0 && cairn_spare_refuses(st->spare))
        cairn_errand_ask(&st->reclaim);
    return rc;
}

int cairn_kv__rocksdb_write_decided(struct cairn_kv_store *st, struct cairn_rocks_batch *b, enum cairn_rocks_log log)
{
    int rc = cairn_rocks_write(st->rocks, b, log);

    return rc == CAIRN_E_NOSPACE ? cairn_kv__rocksdb_write_freeing(st, b, log) : rc;
}

static struct cairn_commit_op *op_of(struct cairn_link *l)
{
    return CONTAINER_OF(l, struct cairn_commit_op, link);
}

/* The operation's keys from @from on are not stored; those before are. */
static void refuse_from(struct cairn_link *l, uint32_t from, int rc)
{
    struct cairn_kv_write *w = write_of(l);

    if (op_of(l)->rc != 0)
        return;
    if (from == 0)
        op_of(l)->rc = rc;
    for (uint32_t i = from; i < w->n; i++) {
        if (w->status[i] == 0 || w->status[i] == CAIRN_E_EXISTS) /* perhaps because of one that is not stored */
            w->status[i] = rc;
    }
}

/* Writes the run, which ends before key @end_key of @end. When it fails nothing of it was written, and what is decided
 * later may rest on it. */
static void run_write(struct group *g, struct cairn_link *end, uint32_t end_key)
{
    enum cairn_rocks_log log = g->logged ? CAIRN_ROCKS_LOGGED : CAIRN_ROCKS_UNLOGGED;
    int rc = 0;

    if (!g->nothing) /* an empty batch is a record, too */
        rc = g->freeing   ? cairn_kv__rocksdb_write_freeing(g->st, g->st->batch, log)
             : g->decided ? cairn_kv__rocksdb_write_decided(g->st, g->st->batch, log)
                          : cairn_rocks_write(g->st->rocks, g->st->batch, log);
    cairn_rocks_batch_clear(g->st->batch);
    g->nothing = true;
    if (rc == 0)
        return;
    g->rc = rc;
    for (struct cairn_link *l = g->run; l != end; l = l->next)
        refuse_from(l, l == g->run ? g->run_key : 0, rc);
    if (end_key > 0)
        refuse_from(end, end == g->run ? g->run_key : 0, rc);
}

/* Before key @i of the operation: a run that is long enough is written, and another begins. False: it could not be, and
 * nor is what follows. */
static bool run_goes_on(struct group *g, struct cairn_link *l, uint32_t i)
{
    if (cairn_rocks_batch_bytes(g->st->batch) < cairn_rocks_write_buffer(g->st->rocks) / BATCHES_OF_BUFFER)
        return true;
    run_write(g, l, i);
    if (g->rc != 0) {
        refuse_from(l, i, g->rc);
        return false;
    }
    g->run = l;
    g->run_key = i;
    g->nothing = false;
    return true;
}

static void apply_entry(struct group *g, struct cairn_kv_write *w, uint32_t i, const struct cairn_kv_entry *e,
                        const uint8_t *value)
{
    struct touched *touched = NULL;
    struct cairn_kv__full_key key;

    cairn_kv__full_key_make(&e->db, &w->keys[i], &key);
    if (g->conditional)
        touched = touched_find(g->st, &key);
    w->status[i] = w->want_old || cairn_kv_entry_is_conditional(e) ? decide(g, w, e, &key, touched) : 0;
    if (w->status[i] != 0)
        return;
    if (e->erase)
        cairn_rocks_batch_erase(g->st->batch, key.bytes, key.len);
    else
        cairn_rocks_batch_put(g->st->batch, key.bytes, key.len, value, e->len);
    if (touched != NULL) {
        touched->used = true;
        touched->val = e->erase ? NULL : e->len > 0 ? value : (const uint8_t *)"";
        touched->len = e->len;
    }
}

/* Of a batch of several databases all is written or nothing: whoever cannot tell whether a key is there undoes the
 * rest. Then what the group has touched is not known any more, and those behind come again. */
static int apply_entries(struct group *g, struct cairn_link *l)
{
    struct cairn_kv_write *w = write_of(l);
    const uint8_t *value = w->values;
    bool may_fail = w->entries != NULL && is_conditional(w);

    for (uint32_t i = 0; i < w->n; i++)
        w->status[i] = 0;
    if (!run_goes_on(g, l, 0))
        return op_of(l)->rc;
    if (may_fail)
        cairn_rocks_batch_mark(g->st->batch);
    for (uint32_t i = 0; i < w->n; i++) {
        struct cairn_kv_entry e = cairn_kv_write_entry(w, i);

        if (w->entries == NULL && !run_goes_on(g, l, i))
            return op_of(l)->rc;
        apply_entry(g, w, i, &e, value);
        if (may_fail && w->status[i] != 0 && w->status[i] != CAIRN_E_EXISTS) {
            cairn_rocks_batch_undo(g->st->batch);
            g->rc = CAIRN_E_BUSY;
            return w->status[i];
        }
        if (e.len > 0)
            value += e.len;
    }
    return 0;
}

static bool databases_are_there(const struct cairn_kv_store *st, const struct cairn_kv_write *w)
{
    uint32_t seen = 0; /* no database's handle */
    struct cairn_kv_db db;

    if (w->entries == NULL)
        return cairn_kv_dir_find(st->dir, w->db.handle, &db);
    for (uint32_t i = 0; i < w->n; i++) {
        if (w->entries[i].db.handle != seen && !cairn_kv_dir_find(st->dir, w->entries[i].db.handle, &db))
            return false;
        seen = w->entries[i].db.handle;
    }
    return true;
}

/* Whether the operation is still wanted, and can be carried out: 0, or why not. */
static int still_wanted(const struct group *g, const struct cairn_kv_write *w)
{
    if (w->canceled != NULL && atomic_load_explicit(w->canceled, memory_order_relaxed))
        return CAIRN_E_CANCELED;
    if (w->deadline_ns != 0 && w->deadline_ns <= g->now_ns)
        return CAIRN_E_TIMEOUT;
    /* A barrier stores nothing, and removals of extents wait for it. */
    if (g->refusing && !w->erase && !w->decided && w->n > 0)
        return CAIRN_E_NOSPACE;
    if (g->behind_rc != 0 && cairn_kv__rocksdb_comes_behind(g->st, w, is_conditional(w)))
        return g->behind_rc;
    return databases_are_there(g->st, w) ? 0 : CAIRN_KV_GONE;
}

static void group_look(struct group *g, struct cairn_link *group)
{
    struct timespec ts;
    uint32_t keys = 0;

    clock_gettime(CLOCK_BOOTTIME, &ts);
    g->now_ns = (uint64_t)ts.tv_sec * CAIRN_NS_PER_S + (uint64_t)ts.tv_nsec;
    CAIRN_LIST_FOREACH (l, group) {
        const struct cairn_kv_write *w = write_of(l);

        g->conditional |= is_conditional(w);
        g->behind |= cairn_kv__rocksdb_comes_behind(g->st, w, is_conditional(w));
        g->freeing |= w->erase;
        g->decided |= w->decided;
        keys += w->n;
    }
    g->refusing = cairn_spare_refuses(g->st->spare);
    if (g->conditional && !touched_reset(g->st, keys))
        g->st->touched_room = 0;
}

/* What skips the log must not get into it in company of what does not: after a crash it would be there though earlier
 * writes, which skipped the log alone, are not. */
void cairn_kv__rocksdb_apply(void *store, struct cairn_link *group)
{
    struct cairn_kv_store *st = store;
    struct group g = { .st = st };

    group_look(&g, group);
    if (g.conditional && st->touched_room == 0)
        g.rc = CAIRN_E_NOMEM;
    pthread_mutex_lock(&st->applying);
    if (g.behind && g.rc == 0)
        g.behind_rc = cairn_kv__rocksdb_begin_behind(st, g.freeing);
    CAIRN_LIST_FOREACH (l, group) {
        struct cairn_commit_op *op = op_of(l);
        bool logged = write_of(l)->durability != CAIRN__WIRE__DURABILITY__DURABILITY_MEMORY;

        if (g.run != NULL && logged != g.logged) {
            run_write(&g, l, 0);
            g.run = NULL;
        }
        if (g.run == NULL) {
            g.run = l;
            g.run_key = 0;
            g.logged = logged;
            g.nothing = true;
        }
        op->rc = g.rc != 0 ? g.rc : still_wanted(&g, write_of(l));
        if (op->rc == 0) {
            g.nothing = false;
            op->rc = apply_entries(&g, l);
        }
    }
    if (g.run != NULL)
        run_write(&g, group, 0);
    if (g.behind)
        cairn_kv__rocksdb_end_behind(st);
    pthread_mutex_unlock(&st->applying);
}

int cairn_kv__rocksdb_sync(void *store)
{
    struct cairn_kv_store *st = store;

    return cairn_rocks_sync(st->rocks);
}

/* ---- the loop's side ---- */

static void on_committed(struct cairn_commit_op *op)
{
    struct cairn_kv_write *w = CONTAINER_OF(op, struct rocksdb_write, op)->w;

    w->done(w, op->rc);
}

int cairn_kv__rocksdb_write(struct cairn_kv_store *st, struct cairn_kv_write *w)
{
    struct rocksdb_write *rw = (struct rocksdb_write *)w->private;
    uint32_t bytes = OP_OVERHEAD_BYTES + w->value_bytes;
    int rc;

    for (uint32_t i = 0; i < w->n; i++)
        bytes += KEY_OVERHEAD_BYTES + (uint32_t)w->keys[i].len;
    rw->w = w;
    rw->op = (struct cairn_commit_op){ .worker = w->worker,
                                       .bytes = bytes,
                                       .sync = w->durability == CAIRN__WIRE__DURABILITY__DURABILITY_SYNC,
                                       .done = on_committed };
    rc = cairn_commit_submit(st->commit, &rw->op);
    return rc == 0 ? CAIRN_KV_LATER : rc;
}
