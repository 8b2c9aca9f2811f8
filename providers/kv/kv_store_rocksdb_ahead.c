/* What runs ahead of the engine (kv_ahead.h), in the RocksDB store: who may, and when the engine gets it.
 *
 * All of a part is one batch for the engine, so that of what skips the log it has the first batches, whole, at any
 * time. Writes of the committer keep that order: one that skips the log as well, that is to be decided by what is
 * there, or that is of a database which has rows ahead comes behind them. What goes through the log and is of other
 * databases does not wait for them. */
#include "providers/kv/kv_store_rocksdb.h"

#include <stdlib.h>

/* ---- to the engine ---- */

/* Under st->applying, while st->batch is empty. @freeing: somebody is about to make room, on a disk that may be full;
 * so do the removals that are in it themselves. */
static int settle_part(struct cairn_kv_store *st, struct kv_ahead_row **rows, uint32_t n, bool freeing)
{
    int rc;

    for (uint32_t i = 0; i < n; i++) {
        const struct kv_ahead_row *row = rows[i];

        freeing |= row->len < 0;
        if (row->len < 0)
            cairn_rocks_batch_erase(st->batch, row->key, row->klen);
        else
            cairn_rocks_batch_put(st->batch, row->key, row->klen, row->key + row->klen, (size_t)row->len);
    }
    rc = freeing ? cairn_kv__rocksdb_write_freeing(st, st->batch, CAIRN_ROCKS_UNLOGGED)
                 : cairn_kv__rocksdb_write_decided(st, st->batch, CAIRN_ROCKS_UNLOGGED); /* all of it is in logs */
    cairn_rocks_batch_clear(st->batch);
    return rc;
}

/* What is there when it is called: that is two parts at most, while loops go on putting more. */
static int settle(struct cairn_kv_store *st, bool all, bool freeing)
{
    struct kv_ahead_row **rows;
    uint32_t n;
    int rc = 0;

    for (int part = 0; part < KV_AHEAD_PARTS && rc == 0; part++) {
        rows = kv_ahead_take(&st->ahead, all, &n);
        if (n == 0)
            break;
        rc = rows != NULL ? settle_part(st, rows, n, freeing) : CAIRN_E_NOMEM;
        kv_ahead_gone(&st->ahead, rows, rc);
    }
    return rc;
}

int cairn_kv__rocksdb_settle(struct cairn_kv_store *st, bool freeing)
{
    int rc;

    pthread_mutex_lock(&st->applying);
    rc = settle(st, true, freeing);
    pthread_mutex_unlock(&st->applying);
    return rc;
}

int cairn_kv__rocksdb_settle_freeing(struct cairn_kv_store *st)
{
    return settle(st, true, true);
}

/* The errand. What fails is stuck: whoever writes next is told. */
void cairn_kv__rocksdb_settle_old(void *arg)
{
    struct cairn_kv_store *st = arg;

    pthread_mutex_lock(&st->applying);
    settle(st, false, false);
    pthread_mutex_unlock(&st->applying);
}

/* ---- what the committer writes ---- */

static bool touches_ahead(struct cairn_kv_store *st, const struct cairn_kv_write *w)
{
    uint32_t seen = 0; /* no database's handle */

    if (w->entries == NULL)
        return kv_ahead_has(&st->ahead, w->db.handle);
    for (uint32_t i = 0; i < w->n; i++) {
        if (w->entries[i].db.handle != seen && kv_ahead_has(&st->ahead, w->entries[i].db.handle))
            return true;
        seen = w->entries[i].db.handle;
    }
    return false;
}

bool cairn_kv__rocksdb_comes_behind(struct cairn_kv_store *st, const struct cairn_kv_write *w, bool conditional)
{
    if (w->n == 0) /* asks for room, or for a sync of what was logged */
        return false;
    return conditional || w->durability == CAIRN__WIRE__DURABILITY__DURABILITY_MEMORY || touches_ahead(st, w);
}

int cairn_kv__rocksdb_begin_behind(struct cairn_kv_store *st, bool freeing)
{
    kv_ahead_close(&st->ahead, true);
    return settle(st, true, freeing);
}

void cairn_kv__rocksdb_end_behind(struct cairn_kv_store *st)
{
    kv_ahead_close(&st->ahead, false);
}

/* ---- what loops write ---- */

int cairn_kv__rocksdb_write_now(struct cairn_kv_store *st, const struct cairn_kv_write *w)
{
    uint64_t growth;
    bool full;
    int rc;

    if (w->entries == NULL || w->n == 0 || w->if_absent || w->want_old ||
        w->durability != CAIRN__WIRE__DURABILITY__DURABILITY_MEMORY)
        return CAIRN_KV_LATER;
    if ((!w->decided || w->erase) && cairn_spare_show(st->spare, &growth))
        return CAIRN_KV_LATER; /* the committer refuses it, or makes room with it at once */
    rc = kv_ahead_put(&st->ahead, st->dir, w, &full);
    if (full)
        cairn_errand_ask(&st->settle);
    return rc;
}

/* ---- listings ---- */

struct merge {
    struct cairn_rocks_scan *scan; /* whose entries they are */
    struct kv_ahead_row **rows;    /* in its order */
    uint32_t n, next;
};

/* Rows before @key, or all that are left if it is NULL. False: no more are wanted. */
static bool merge_rows(struct merge *m, const uint8_t *key, size_t klen)
{
    for (; m->next < m->n; m->next++) {
        const struct kv_ahead_row *row = m->rows[m->next];
        int order = key == NULL ? -1 : cairn_kv_key_compare(row->key, row->klen, key, (uint32_t)klen);

        if (key != NULL && (m->scan->reverse ? order <= 0 : order >= 0))
            return true;
        if (row->len >= 0 && !m->scan->entry(m->scan->arg, row->key, row->klen, row->key + row->klen, (size_t)row->len))
            return false;
    }
    return true;
}

static bool on_engine_entry(void *arg, const uint8_t *key, size_t klen, const uint8_t *val, size_t vlen)
{
    struct merge *m = arg;
    const struct kv_ahead_row *row;

    if (!merge_rows(m, key, klen))
        return false;
    row = m->next < m->n ? m->rows[m->next] : NULL;
    if (row == NULL || cairn_kv_key_compare(row->key, row->klen, key, (uint32_t)klen) != 0)
        return m->scan->entry(m->scan->arg, key, klen, val, vlen);
    if (row->len >= 0 && !m->scan->entry(m->scan->arg, key, klen, row->key + row->klen, (size_t)row->len))
        return false;
    m->next++; /* instead of what the engine has */
    return true;
}

int cairn_kv__rocksdb_scan_both(struct cairn_kv_store *st, struct cairn_rocks_scan *scan)
{
    struct merge m = { .scan = scan };
    struct cairn_rocks_scan engine = *scan;
    struct cairn_rocks_snapshot *view;
    int rc = CAIRN_E_NOMEM;

    m.rows = kv_ahead_range(&st->ahead, scan, st->rocks, &view, &m.n);
    if (view == NULL || (m.rows == NULL && m.n > 0))
        goto out;
    engine.at = view;
    engine.entry = on_engine_entry;
    engine.arg = &m;
    rc = cairn_rocks_scan(st->rocks, &engine);
    scan->more = engine.more || (rc == 0 && !merge_rows(&m, NULL, 0));
out:
    if (view != NULL)
        cairn_rocks_snapshot_close(st->rocks, view);
    for (uint32_t i = 0; m.rows != NULL && i < m.n; i++)
        kv_ahead_drop(m.rows[i]);
    free(m.rows);
    return rc;
}
