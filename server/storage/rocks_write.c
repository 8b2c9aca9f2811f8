/* What is written, and made durable: see rocks.h. Who is told that something survives can rely on it: write_failed(),
 * cairn_rocks_write() and cairn_rocks_sync() say what is believed after a failure. */
#include "server/storage/rocks_internal.h"

#include "sdk/core/base/log.h"
#include "sdk/core/base/macros.h"
#include "server/storage/spare.h"

#include <stdlib.h>

enum { BATCH_KEEP_BYTES_MAX = 1 << 20 }; /* a batch that grew above this is made anew */

struct cairn_rocks_batch {
    rocksdb_writebatch_t *wb;
};

struct cairn_rocks_batch *cairn_rocks_batch_new(void)
{
    struct cairn_rocks_batch *b = calloc(1, sizeof(*b));

    if (b != NULL)
        b->wb = rocksdb_writebatch_create();
    return b;
}

void cairn_rocks_batch_free(struct cairn_rocks_batch *b)
{
    if (b == NULL)
        return;
    rocksdb_writebatch_destroy(b->wb);
    free(b);
}

size_t cairn_rocks_batch_bytes(const struct cairn_rocks_batch *b)
{
    size_t bytes;

    rocksdb_writebatch_data(b->wb, &bytes);
    return bytes;
}

void cairn_rocks_batch_clear(struct cairn_rocks_batch *b)
{
    if (cairn_rocks_batch_bytes(b) <= BATCH_KEEP_BYTES_MAX) {
        rocksdb_writebatch_clear(b->wb);
        return;
    }
    rocksdb_writebatch_destroy(b->wb);
    b->wb = rocksdb_writebatch_create();
}

void cairn_rocks_batch_put(struct cairn_rocks_batch *b, const void *key, size_t klen, const void *val, size_t vlen)
{
    rocksdb_writebatch_put(b->wb, key, klen, val, vlen);
}

void cairn_rocks_batch_erase(struct cairn_rocks_batch *b, const void *key, size_t klen)
{
    rocksdb_writebatch_delete(b->wb, key, klen);
}

void cairn_rocks_batch_erase_range(struct cairn_rocks_batch *b, const void *lo, size_t lo_len, const void *hi,
                                   size_t hi_len)
{
    rocksdb_writebatch_delete_range(b->wb, lo, lo_len, hi, hi_len);
}

void cairn_rocks_batch_mark(struct cairn_rocks_batch *b)
{
    rocksdb_writebatch_set_save_point(b->wb);
}

void cairn_rocks_batch_undo(struct cairn_rocks_batch *b)
{
    char *text = NULL;

    rocksdb_writebatch_rollback_to_save_point(b->wb, &text);
    CAIRN_ASSERT(text == NULL); /* there is a mark */
}

char *cairn_rocks__remember_something(struct cairn_rocks *r)
{
    rocksdb_writebatch_t *nothing = rocksdb_writebatch_create(); /* a write changes it, and there may be others */
    char *text = NULL;

    rocksdb_writebatch_delete(nothing, "", 0); /* no key is empty */
    rocksdb_write(r->db, r->write[CAIRN_ROCKS_UNLOGGED], nothing, &text);
    rocksdb_writebatch_destroy(nothing);
    return text;
}

/* Takes @text. Never CAIRN_E_TIMEOUT, which would promise that nothing was done. */
static int write_failed(struct cairn_rocks *r, const char *what, char *text)
{
    int rc = cairn_rocks__error_of(text);

    cairn_rocks__note_error(r, what, text);
    atomic_fetch_add(&r->failed_writes, 1);
    atomic_store(&r->refused, rc);
    if (!atomic_exchange(&r->read_only, true) && rc != CAIRN_E_NOSPACE)
        cairn_log_error("rocksdb: no more writes until the node is started anew; look after the disk before");
    rocksdb_free(text);
    return rc < 0 && rc != CAIRN_E_TIMEOUT ? rc : CAIRN_E_IO;
}

/* The kernel tells of a page that it could not write once, and then takes it for clean: the next sync of the same file
 * succeeds though the bytes are lost (Rebello et al., "Can applications recover from fsync failures?", ATC 2020). So no
 * sync is believed after one that failed: the engine (7.8) refuses by itself to try another, but does not promise to.
 * A disk that was full is the one failure that ends: the engine takes no write
 * until it has written all it has in memory to new files, so the first write that it takes is the sign that nothing
 * depends on the old ones any more. That is why the failure must have been there before the write began. */
int cairn_rocks_write(struct cairn_rocks *r, struct cairn_rocks_batch *b, enum cairn_rocks_log log)
{
    int before = atomic_load(&r->sync_failed), rc;
    char *text = NULL;

    if (before != 0 && before != CAIRN_E_NOSPACE)
        return CAIRN_E_IO;
    /* A write begins a new log where the one before it filled the memory: so that one comes before this. */
    if (log != CAIRN_ROCKS_UNLOGGED && cairn_spare_is_near(r->spare))
        text = cairn_rocks__remember_something(r);
    if (text == NULL)
        rocksdb_write(r->db, r->write[log], b->wb, &text);
    if (text != NULL) {
        rc = write_failed(r, "write", text);
        if (log == CAIRN_ROCKS_SYNCED) /* the text does not tell which of the two failed, the write or its sync */
            atomic_store(&r->sync_failed, rc);
        return rc;
    }
    if (before != 0)
        atomic_compare_exchange_strong(&r->sync_failed, &before, 0);
    if (atomic_load_explicit(&r->read_only, memory_order_relaxed)) {
        atomic_store(&r->read_only, false);
        cairn_log_warn("rocksdb: writes go on");
    }
    return 0;
}

int cairn_rocks_sync(struct cairn_rocks *r)
{
    char *text = NULL;

    if (atomic_load(&r->sync_failed) != 0)
        return CAIRN_E_UNKNOWN;
    rocksdb_flush_wal(r->db, 1, &text);
    if (text == NULL)
        return atomic_load(&r->sync_failed) == 0 ? 0 : CAIRN_E_UNKNOWN;
    atomic_store(&r->sync_failed, write_failed(r, "sync", text));
    cairn_log_error("rocksdb: a sync failed: %s", atomic_load(&r->sync_failed) == CAIRN_E_NOSPACE
                                                      ? "no more writes until there is room"
                                                      : "no more writes until the node is started anew");
    return CAIRN_E_UNKNOWN;
}

void cairn_rocks_drop_files(struct cairn_rocks *r, const void *lo, size_t lo_len, const void *hi, size_t hi_len)
{
    char *text = NULL;

    rocksdb_delete_file_in_range(r->db, lo, lo_len, hi, hi_len, &text);
    if (text != NULL) /* compactions will do it */
        rocksdb_free(text);
}

/* NULL, or what the engine says. */
static char *rocks_flush(struct cairn_rocks *r)
{
    rocksdb_flushoptions_t *o = rocksdb_flushoptions_create();
    char *text = NULL;

    rocksdb_flush(r->db, o, &text);
    rocksdb_flushoptions_destroy(o);
    return text;
}

int cairn_rocks_flush(struct cairn_rocks *r)
{
    char *text = rocks_flush(r);

    return text == NULL ? 0 : write_failed(r, "flush", text);
}

void cairn_rocks_reclaim(struct cairn_rocks *r)
{
    /* Erasures that lie in memory erase nothing on disk. No error ends here: what the engine minds refuses writes, and
     * they tell. */
    char *text = rocks_flush(r);

    if (text != NULL)
        rocksdb_free(text);
    else
        rocksdb_compact_range(r->db, NULL, 0, NULL, 0);
}

void cairn_rocks_reclaim_stop(struct cairn_rocks *r)
{
    rocksdb_disable_manual_compaction(r->db);
}
