/* RocksDB by its C interface: see rocks.h.
 *
 * The engine answers errors as texts. Their beginnings are fixed by its Status class (util/status.cc);
 * cairn_rocks__error_of() is the one place that reads them. A full disk puts the engine into a state in which it
 * refuses writes; its own recovery (the SstFileManager) looks every 5 s whether as much as a write buffer is free
 * again, then resumes. So the write buffer is kept small against the file system, or a small disk would never have
 * that much; all write buffers together must fit into the spare room (spare.h), where a start on a full disk writes
 * them. Files and the first level go with it: they bound what a compaction writes before it deletes, and one that
 * finds no room for that frees none. */
#include "server/storage/rocks_internal.h"

#include "sdk/core/base/log.h"
#include "sdk/core/base/macros.h"
#include "server/storage/file_io.h"
#include "server/storage/spare.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum {
    WRITE_BUFFERS = 3,
    WRITE_BUFFER_DISK_PART = 352, /* of the file system's size, at most */
    WRITE_BUFFER_BYTES_MIN = 256 << 10,
    TABLE_BYTES_MAX = 64 << 20, /* the engine's own choice, as the next */
    FIRST_LEVEL_TABLES = 4,
    COMPACTION_TABLES_MAX = 8, /* the engine's 25 are more than the headroom (spare.h) */
    LEVEL0_SLOW_TABLES = 8,    /* likewise: a compaction of level 0 takes all of it, and writes the first level anew */
    LEVEL0_STOP_TABLES = 12,
    LEVEL0_TABLE_BUFFERS = WRITE_BUFFERS, /* a flush takes all that do not take writes, at most */
    CACHE_SHARD_BITS = 3,
    FILE_AHEAD_BYTES = 1 << 20,
};

_Static_assert(WRITE_BUFFER_DISK_PART >= 2 * WRITE_BUFFERS * CAIRN_SPARE_DISK_PART, "they fit, and logs besides");
_Static_assert(WRITE_BUFFER_DISK_PART >=
                   (LEVEL0_STOP_TABLES * LEVEL0_TABLE_BUFFERS + FIRST_LEVEL_TABLES + WRITE_BUFFERS) *
                       CAIRN_SPARE_HEADROOM_DISK_PART,
               "a compaction of level 0 has room, and what is in memory besides");

#if defined(__SANITIZE_THREAD__)
/* The engine's library is not instrumented: the sanitizer sees its memory accesses, but not the atomics that order
 * them. */
const char *__tsan_default_suppressions(void);
__attribute__((visibility("default"))) const char *__tsan_default_suppressions(void)
{
    return "called_from_lib:librocksdb.so\n";
}
#endif

/* ---- errors ---- */

static bool begins(const char *text, const char *with)
{
    return strncmp(text, with, strlen(with)) == 0;
}

int cairn_rocks__error_of(const char *text)
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

void cairn_rocks__note_error(struct cairn_rocks *r, const char *what, const char *text)
{
    bool fresh;

    pthread_mutex_lock(&r->mutex);
    fresh = strncmp(r->last_error, text, sizeof(r->last_error) - 1) != 0;
    snprintf(r->last_error, sizeof(r->last_error), "%s", text);
    pthread_mutex_unlock(&r->mutex);
    if (fresh)
        cairn_log_warn("rocksdb: %s: %s", what, text);
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
    uint64_t buffer = r->write_buffer, table = MIN(buffer, (uint64_t)TABLE_BYTES_MAX);

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
    r->write_buffer = write_buffer_for(conf);
    r->options = db_options(r, conf);
    r->read_disk = rocksdb_readoptions_create();
    r->read_memory = cairn_rocks__read_memory_options();
    for (uint32_t i = 0; i < ARRAY_SIZE(r->write); i++)
        r->write[i] = rocksdb_writeoptions_create();
    rocksdb_writeoptions_disable_WAL(r->write[CAIRN_ROCKS_UNLOGGED], 1);
    rocksdb_writeoptions_set_sync(r->write[CAIRN_ROCKS_SYNCED], 1);
    r->spare = conf->spare;
    r->only_look = conf->only_look;
    r->db = conf->only_look ? rocksdb_open_for_read_only(r->options, conf->dir, 0, &text)
                            : rocksdb_open(r->options, conf->dir, &text);
    if (text == NULL && !conf->only_look) {
        text = cairn_rocks__remember_something(r);
        if (text != NULL)
            rocksdb_close(r->db);
    }
    if (text == NULL) {
        *out = r;
        return 0;
    }
    rc = cairn_rocks__error_of(text);
    rc = cairn_err_set(err, rc < 0 ? rc : CAIRN_E_IO, "%s: %s", conf->dir, text);
    rocksdb_free(text);
    rocks_free(r);
    return rc;
}

uint64_t cairn_rocks_write_buffer(const struct cairn_rocks *r)
{
    return r->write_buffer;
}

void cairn_rocks_close(struct cairn_rocks *r)
{
    if (!r->only_look && cairn_rocks_flush(r) != 0)
        cairn_log_error("rocksdb: closed without a flush: what skipped the log, if anything did, is lost");
    rocksdb_close(r->db);
    rocks_free(r);
}

/* ---- status ---- */

void cairn_rocks_status(struct cairn_rocks *r, struct cairn_rocks_status *out)
{
    int sync_failed;

    out->corrupt_reads = atomic_load(&r->corrupt_reads);
    out->failed_writes = atomic_load(&r->failed_writes);
    out->read_only = atomic_load(&r->read_only) || atomic_load(&r->sync_failed) != 0;
    sync_failed = atomic_load(&r->sync_failed);
    out->for_good = (sync_failed != 0 && sync_failed != CAIRN_E_NOSPACE) ||
                    (atomic_load(&r->read_only) && atomic_load(&r->refused) != CAIRN_E_NOSPACE);
    out->memory_hits = atomic_load_explicit(&r->memory_hits, memory_order_relaxed);
    out->memory_misses = atomic_load_explicit(&r->memory_misses, memory_order_relaxed);
    out->cache_bytes = rocksdb_cache_get_usage(r->cache);
    out->cache_bytes_max = rocksdb_cache_get_capacity(r->cache);
    pthread_mutex_lock(&r->mutex);
    memcpy(out->last_error, r->last_error, sizeof(out->last_error));
    pthread_mutex_unlock(&r->mutex);
}
