/* RocksDB by its C interface: see rocks.h.
 *
 * The engine answers errors as texts. Their beginnings are fixed by its Status class (util/status.cc); error_of() is
 * the one place that reads them. A full disk puts the engine into a state in which it refuses writes; its own recovery
 * (the SstFileManager) looks every 5 s whether as much as a write buffer is free again, then resumes. So the write
 * buffer is kept small against the file system, or a small disk would never have that much; all write buffers together
 * must fit into the spare room (spare.h), where a start on a full disk writes them. Files and the first level go with
 * it: they bound what a compaction writes before it deletes, and one that finds no room for that frees none. */
#include "server/storage/rocks.h"

#include "sdk/core/base/log.h"
#include "sdk/core/base/macros.h"
#include "server/storage/file_io.h"
#include "server/storage/spare.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <rocksdb/c.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum {
    WRITE_BUFFERS = 3,
    WRITE_BUFFER_DISK_PART = 128, /* of the file system's size, at most */
    WRITE_BUFFER_BYTES_MIN = 256 << 10,
    TABLE_BYTES_MAX = 64 << 20, /* the engine's own choice, as the next */
    FIRST_LEVEL_TABLES = 4,
    COMPACTION_TABLES_MAX = 8, /* the engine's 25 are more than the headroom (spare.h) */
    LEVEL0_SLOW_TABLES = 8,    /* likewise: a compaction of level 0 takes all of it, and writes the first level anew */
    LEVEL0_STOP_TABLES = 12,
    CACHE_SHARD_BITS = 3,
    FILE_AHEAD_BYTES = 1 << 20,
    SCAN_SKIP_MAX = 1000,           /* erased entries that a scan on a loop steps over */
    BATCH_KEEP_BYTES_MAX = 1 << 20, /* a batch that grew above this is made anew */
};

_Static_assert(WRITE_BUFFER_DISK_PART >= 2 * WRITE_BUFFERS * CAIRN_SPARE_DISK_PART, "they fit, and logs besides");
_Static_assert(WRITE_BUFFER_DISK_PART >= (LEVEL0_STOP_TABLES + FIRST_LEVEL_TABLES) * CAIRN_SPARE_HEADROOM_DISK_PART,
               "a compaction of level 0 has room");

#if defined(__SANITIZE_THREAD__)
/* The engine's library is not instrumented: the sanitizer sees its memory accesses, but not the atomics that order
 * them. */
const char *__tsan_default_suppressions(void);
__attribute__((visibility("default"))) const char *__tsan_default_suppressions(void)
{
    return "called_from_lib:librocksdb.so\n";
}
#endif

struct cairn_rocks {
    rocksdb_t *db;
    rocksdb_options_t *options;
    rocksdb_cache_t *cache;
    rocksdb_readoptions_t *read_memory, *read_disk;
    rocksdb_writeoptions_t *write[3]; /* by enum cairn_rocks_log */
    bool only_look;
    atomic_ullong corrupt_reads, failed_writes, memory_hits, memory_misses;
    atomic_bool read_only;
    atomic_int sync_failed; /* why: no other is believed; 0: none has */
    pthread_mutex_t mutex;
    char last_error[256]; /* under mutex */
};

struct cairn_rocks_snapshot {
    const rocksdb_snapshot_t *snapshot;
    rocksdb_readoptions_t *read_memory, *read_disk;
};

struct cairn_rocks_batch {
    rocksdb_writebatch_t *wb;
};

/* ---- errors ---- */

static bool begins(const char *text, const char *with)
{
    return strncmp(text, with, strlen(with)) == 0;
}

static int error_of(const char *text)
{
    if (strstr(text, "No space left") != NULL || strstr(text, "Space limit") != NULL)
        return CAIRN_E_NOSPACE;
    if (begins(text, "Corruption"))
        return CAIRN_E_CORRUPT;
    if (begins(text, "Result incomplete"))
        return CAIRN_ROCKS_LATER;
    if (begins(text, "Operation timed out") || strstr(text, "imeout") != NULL)
        return CAIRN_E_TIMEOUT;
    if (strstr(text, "Permission denied") != NULL)
        return CAIRN_E_DENIED;
    if (strstr(text, "lock hold") != NULL || strstr(text, "While lock file") != NULL)
        return CAIRN_E_LOCKED;
    if (begins(text, "Not implemented"))
        return CAIRN_E_FORMAT;
    if (begins(text, "Shutdown"))
        return CAIRN_E_SHUTDOWN;
    if (begins(text, "Invalid argument"))
        return CAIRN_E_INTERNAL;
    return CAIRN_E_IO;
}

/* Keeps the text of a failure for the status and logs it when it says something new. */
static void note_error(struct cairn_rocks *r, const char *what, const char *text)
{
    bool fresh;

    pthread_mutex_lock(&r->mutex);
    fresh = strncmp(r->last_error, text, sizeof(r->last_error) - 1) != 0;
    snprintf(r->last_error, sizeof(r->last_error), "%s", text);
    pthread_mutex_unlock(&r->mutex);
    if (fresh)
        cairn_log_warn("rocksdb: %s: %s", what, text);
}

/* Takes @text. */
static int read_failed(struct cairn_rocks *r, char *text)
{
    int rc = error_of(text);

    if (rc == CAIRN_E_CORRUPT)
        atomic_fetch_add(&r->corrupt_reads, 1);
    if (rc < 0 && rc != CAIRN_E_TIMEOUT)
        note_error(r, "read", text);
    rocksdb_free(text);
    return rc;
}

/* ---- opening ---- */

static uint64_t write_buffer_for(const struct cairn_rocks_conf *conf)
{
    struct statvfs vfs;
    uint64_t part;

    if (statvfs(conf->dir, &vfs) != 0)
        return conf->write_buffer_bytes;
    part = (uint64_t)vfs.f_blocks * vfs.f_frsize / WRITE_BUFFER_DISK_PART;
    return MAX(MIN(conf->write_buffer_bytes, part), (uint64_t)WRITE_BUFFER_BYTES_MIN);
}

static int compression_for(enum cairn_rocks_compression c)
{
    return c == CAIRN_ROCKS_LZ4    ? rocksdb_lz4_compression
           : c == CAIRN_ROCKS_ZSTD ? rocksdb_zstd_compression
                                   : rocksdb_no_compression;
}

/* Few shards: each holds its share only, and a value of 1 MiB lies in a block as large. */
static rocksdb_cache_t *cache_new(uint64_t bytes)
{
    rocksdb_lru_cache_options_t *o = rocksdb_lru_cache_options_create();
    rocksdb_cache_t *cache;

    rocksdb_lru_cache_options_set_capacity(o, bytes);
    rocksdb_lru_cache_options_set_num_shard_bits(o, CACHE_SHARD_BITS);
    cache = rocksdb_cache_create_lru_opts(o);
    rocksdb_lru_cache_options_destroy(o);
    return cache;
}

static rocksdb_block_based_table_options_t *table_options(struct cairn_rocks *r)
{
    rocksdb_block_based_table_options_t *t = rocksdb_block_based_options_create();

    rocksdb_block_based_options_set_block_cache(t, r->cache);
    rocksdb_block_based_options_set_filter_policy(t, rocksdb_filterpolicy_create_bloom_full(10));
    /* Filters and indexes count as cache, too, so the cache is what bounds the memory; in pieces of a block's size,
     * since the whole index of one file would push everything else out of a small cache. */
    rocksdb_block_based_options_set_index_type(t, rocksdb_block_based_table_index_type_two_level_index_search);
    rocksdb_block_based_options_set_partition_filters(t, 1);
    rocksdb_block_based_options_set_metadata_block_size(t, 4096);
    rocksdb_block_based_options_set_pin_top_level_index_and_filter(t, 1);
    rocksdb_block_based_options_set_cache_index_and_filter_blocks(t, 1);
    rocksdb_block_based_options_set_cache_index_and_filter_blocks_with_high_priority(t, 1);
    rocksdb_block_based_options_set_pin_l0_filter_and_index_blocks_in_cache(t, 1);
    rocksdb_block_based_options_set_data_block_index_type(
        t, rocksdb_block_based_table_data_block_index_type_binary_search_and_hash);
    rocksdb_block_based_options_set_data_block_hash_ratio(t, 0.75);
    rocksdb_block_based_options_set_format_version(t, 5);
    return t;
}

static rocksdb_options_t *db_options(struct cairn_rocks *r, const struct cairn_rocks_conf *conf)
{
    rocksdb_options_t *o = rocksdb_options_create();
    rocksdb_block_based_table_options_t *t = table_options(r);
    uint64_t buffer = write_buffer_for(conf), table = MIN(buffer, (uint64_t)TABLE_BYTES_MAX);

    rocksdb_options_set_create_if_missing(o, conf->fresh);
    rocksdb_options_set_block_based_table_factory(o, t);
    rocksdb_block_based_options_destroy(t);
    rocksdb_options_set_write_buffer_size(o, buffer);
    rocksdb_options_set_max_write_buffer_number(o, WRITE_BUFFERS);
    rocksdb_options_set_target_file_size_base(o, table);
    rocksdb_options_set_max_bytes_for_level_base(o, FIRST_LEVEL_TABLES * table);
    rocksdb_options_set_level0_slowdown_writes_trigger(o, LEVEL0_SLOW_TABLES);
    rocksdb_options_set_level0_stop_writes_trigger(o, LEVEL0_STOP_TABLES);
    rocksdb_options_set_max_compaction_bytes(o, COMPACTION_TABLES_MAX * table);
    rocksdb_options_set_level_compaction_dynamic_level_bytes(o, 1);
    rocksdb_options_set_compression(o, compression_for(conf->compression));
    rocksdb_options_set_max_background_jobs(o, 2);
    rocksdb_options_set_bytes_per_sync(o, 1 << 20); /* no bursts of dirty pages before a flush ends */
    /* Logs and manifests take room on the disk in steps of these, and an open begins new ones before it drops the old:
     * by default 4 MiB and a write buffer, which a nearly full disk has not, and the engine then aborts. With the one
     * column family that there is, the size of the log has no other meaning. */
    rocksdb_options_set_manifest_preallocation_size(o, FILE_AHEAD_BYTES);
    rocksdb_options_set_max_total_wal_size(o, FILE_AHEAD_BYTES);
    rocksdb_options_set_max_open_files(o, (int)conf->open_files);
    rocksdb_options_set_table_cache_numshardbits(o, 2);
    rocksdb_options_set_avoid_unnecessary_blocking_io(o, 1); /* a loop that drops an iterator must not unlink files */
    rocksdb_options_set_skip_stats_update_on_db_open(o, 1);
    /* fatal ones: on a full disk the second line that finds no room aborts the process */
    rocksdb_options_set_info_log_level(o, 4);
    rocksdb_options_set_max_log_file_size(o, 1 << 20);
    rocksdb_options_set_keep_log_file_num(o, 2);
    rocksdb_options_set_stats_dump_period_sec(o, 0); /* an idle node sleeps */
    rocksdb_options_set_stats_persist_period_sec(o, 0);
    return o;
}

static void rocks_free(struct cairn_rocks *r)
{
    for (uint32_t i = 0; i < ARRAY_SIZE(r->write); i++)
        rocksdb_writeoptions_destroy(r->write[i]);
    rocksdb_readoptions_destroy(r->read_memory);
    rocksdb_readoptions_destroy(r->read_disk);
    rocksdb_options_destroy(r->options);
    rocksdb_cache_destroy(r->cache);
    pthread_mutex_destroy(&r->mutex);
    free(r);
}

static rocksdb_readoptions_t *read_memory_options(void)
{
    rocksdb_readoptions_t *o = rocksdb_readoptions_create();

    rocksdb_readoptions_set_read_tier(o, 1); /* kBlockCacheTier */
    return o;
}

/* Whether a database is there, as far as can be seen from outside. */
static int rocks_is_there(const char *dir, struct cairn_err *err)
{
    char current[PATH_MAX];

    if ((size_t)snprintf(current, sizeof(current), "%s/CURRENT", dir) >= sizeof(current))
        return cairn_err_set(err, CAIRN_E_INVAL, "%s: path too long", dir);
    if (access(current, F_OK) == 0)
        return 0;
    if (errno != ENOENT)
        return cairn_err_errno(err, errno, "%s", current);
    return cairn_err_set(err, CAIRN_E_CORRUPT, "%s is missing: what was stored here cannot be found without it",
                         current);
}

int cairn_rocks_open(const struct cairn_rocks_conf *conf, struct cairn_rocks **out, struct cairn_err *err)
{
    struct cairn_rocks *r;
    char *text = NULL;
    int rc;

    rc = conf->fresh ? cairn_file_mkdir(conf->dir, err) : rocks_is_there(conf->dir, err);
    if (rc != 0)
        return rc;
    r = calloc(1, sizeof(*r));
    if (r == NULL)
        return cairn_err_set(err, CAIRN_E_NOMEM, "rocksdb");
    pthread_mutex_init(&r->mutex, NULL);
    r->cache = cache_new(conf->cache_bytes);
    r->options = db_options(r, conf);
    r->read_disk = rocksdb_readoptions_create();
    r->read_memory = read_memory_options();
    for (uint32_t i = 0; i < ARRAY_SIZE(r->write); i++)
        r->write[i] = rocksdb_writeoptions_create();
    rocksdb_writeoptions_disable_WAL(r->write[CAIRN_ROCKS_UNLOGGED], 1);
    rocksdb_writeoptions_set_sync(r->write[CAIRN_ROCKS_SYNCED], 1);
    r->only_look = conf->only_look;
    r->db = conf->only_look ? rocksdb_open_for_read_only(r->options, conf->dir, 0, &text)
                            : rocksdb_open(r->options, conf->dir, &text);
    if (text == NULL) {
        *out = r;
        return 0;
    }
    rc = error_of(text);
    rc = cairn_err_set(err, rc < 0 ? rc : CAIRN_E_IO, "%s: %s", conf->dir, text);
    rocksdb_free(text);
    rocks_free(r);
    return rc;
}

void cairn_rocks_close(struct cairn_rocks *r)
{
    if (!r->only_look && cairn_rocks_flush(r) != 0)
        cairn_log_error("rocksdb: closed without a flush: what skipped the log, if anything did, is lost");
    rocksdb_close(r->db);
    rocks_free(r);
}

/* ---- reading ---- */

struct cairn_rocks_snapshot *cairn_rocks_snapshot_open(struct cairn_rocks *r)
{
    struct cairn_rocks_snapshot *s = calloc(1, sizeof(*s));

    if (s == NULL)
        return NULL;
    s->snapshot = rocksdb_create_snapshot(r->db);
    s->read_memory = read_memory_options();
    s->read_disk = rocksdb_readoptions_create();
    rocksdb_readoptions_set_snapshot(s->read_memory, s->snapshot);
    rocksdb_readoptions_set_snapshot(s->read_disk, s->snapshot);
    return s;
}

void cairn_rocks_snapshot_close(struct cairn_rocks *r, struct cairn_rocks_snapshot *s)
{
    rocksdb_readoptions_destroy(s->read_memory);
    rocksdb_readoptions_destroy(s->read_disk);
    rocksdb_release_snapshot(r->db, s->snapshot);
    free(s);
}

/* A read that looked only at memory: was it there? */
static void count_memory_read(struct cairn_rocks *r, int rc)
{
    atomic_fetch_add_explicit(rc == CAIRN_ROCKS_LATER ? &r->memory_misses : &r->memory_hits, 1, memory_order_relaxed);
}

static const rocksdb_readoptions_t *read_options(const struct cairn_rocks *r, const struct cairn_rocks_snapshot *at,
                                                 bool may_block)
{
    if (UNLIKELY(at != NULL))
        return may_block ? at->read_disk : at->read_memory;
    return may_block ? r->read_disk : r->read_memory;
}

int cairn_rocks_get(struct cairn_rocks *r, const struct cairn_rocks_snapshot *at, const void *key, size_t klen,
                    bool may_block, struct cairn_rocks_view *view)
{
    char *text = NULL;
    rocksdb_pinnableslice_t *pin = rocksdb_get_pinned(r->db, read_options(r, at, may_block), key, klen, &text);
    int rc = 0;

    if (text != NULL) {
        rc = read_failed(r, text);
    } else if (pin == NULL) {
        rc = CAIRN_E_NOTFOUND;
    } else {
        view->pin = pin;
        view->ptr = (const uint8_t *)rocksdb_pinnableslice_value(pin, &view->len);
    }
    if (!may_block)
        count_memory_read(r, rc);
    return rc;
}

void cairn_rocks_view_drop(struct cairn_rocks_view *view)
{
    rocksdb_pinnableslice_destroy(view->pin);
    view->pin = NULL;
}

static rocksdb_readoptions_t *scan_options(const struct cairn_rocks_scan *scan)
{
    rocksdb_readoptions_t *o = rocksdb_readoptions_create();

    rocksdb_readoptions_set_iterate_lower_bound(o, scan->lo, scan->lo_len);
    rocksdb_readoptions_set_iterate_upper_bound(o, scan->hi, scan->hi_len);
    rocksdb_readoptions_set_background_purge_on_iterator_cleanup(o, 1);
    if (scan->at != NULL)
        rocksdb_readoptions_set_snapshot(o, scan->at->snapshot);
    if (!scan->may_block) {
        rocksdb_readoptions_set_read_tier(o, 1);
        rocksdb_readoptions_set_max_skippable_internal_keys(o, SCAN_SKIP_MAX);
    } else if (scan->timeout_us != 0) {
        struct timespec ts;

        clock_gettime(CLOCK_REALTIME, &ts); /* the engine's clock */
        rocksdb_readoptions_set_deadline(o, (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000 +
                                                scan->timeout_us);
    }
    return o;
}

int cairn_rocks_scan(struct cairn_rocks *r, struct cairn_rocks_scan *scan)
{
    rocksdb_readoptions_t *o = scan_options(scan);
    rocksdb_iterator_t *it = rocksdb_create_iterator(r->db, o);
    char *text = NULL;
    int rc = 0;

    scan->more = false;
    if (scan->reverse)
        rocksdb_iter_seek_to_last(it);
    else
        rocksdb_iter_seek_to_first(it);
    while (rocksdb_iter_valid(it)) {
        size_t klen, vlen;
        const char *key = rocksdb_iter_key(it, &klen), *val = rocksdb_iter_value(it, &vlen);

        if (!scan->entry(scan->arg, (const uint8_t *)key, klen, (const uint8_t *)val, vlen)) {
            scan->more = true;
            break;
        }
        if (scan->reverse)
            rocksdb_iter_prev(it);
        else
            rocksdb_iter_next(it);
    }
    rocksdb_iter_get_error(it, &text);
    if (text != NULL)
        rc = read_failed(r, text);
    rocksdb_iter_destroy(it);
    rocksdb_readoptions_destroy(o);
    if (!scan->may_block)
        count_memory_read(r, rc);
    return rc;
}

uint64_t cairn_rocks_range_bytes(struct cairn_rocks *r, const void *lo, size_t lo_len, const void *hi, size_t hi_len)
{
    const char *start = lo, *limit = hi;
    uint64_t bytes = 0;
    char *text = NULL;

    rocksdb_approximate_sizes(r->db, 1, &start, &lo_len, &limit, &hi_len, &bytes, &text);
    if (text != NULL) {
        rocksdb_free(text);
        return 0;
    }
    return bytes;
}

uint64_t cairn_rocks_keys_estimate(struct cairn_rocks *r)
{
    uint64_t n = 0;

    return rocksdb_property_int(r->db, "rocksdb.estimate-num-keys", &n) == 0 ? n : 0;
}

/* ---- writing ---- */

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

void cairn_rocks_batch_clear(struct cairn_rocks_batch *b)
{
    size_t bytes;

    rocksdb_writebatch_data(b->wb, &bytes);
    if (bytes <= BATCH_KEEP_BYTES_MAX) {
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

/* Takes @text. Never CAIRN_E_TIMEOUT, which would promise that nothing was done. */
static int write_failed(struct cairn_rocks *r, const char *what, char *text)
{
    int rc = error_of(text);

    note_error(r, what, text);
    atomic_fetch_add(&r->failed_writes, 1);
    atomic_store(&r->read_only, true);
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

void cairn_rocks_status(struct cairn_rocks *r, struct cairn_rocks_status *out)
{
    out->corrupt_reads = atomic_load(&r->corrupt_reads);
    out->failed_writes = atomic_load(&r->failed_writes);
    out->read_only = atomic_load(&r->read_only) || atomic_load(&r->sync_failed) != 0;
    out->memory_hits = atomic_load_explicit(&r->memory_hits, memory_order_relaxed);
    out->memory_misses = atomic_load_explicit(&r->memory_misses, memory_order_relaxed);
    out->cache_bytes = rocksdb_cache_get_usage(r->cache);
    out->cache_bytes_max = rocksdb_cache_get_capacity(r->cache);
    pthread_mutex_lock(&r->mutex);
    memcpy(out->last_error, r->last_error, sizeof(out->last_error));
    pthread_mutex_unlock(&r->mutex);
}
