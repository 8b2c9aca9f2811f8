/* The RocksDB store: every database in one keyspace, behind a prefix of four bytes, its handle.
 *
 * So a database costs nothing while it is idle, and to drop one is a single range deletion. Handle 0 is no database's:
 * behind it lies the catalogue:
 *
 *   0000 'D' name   what cairn_kv_dir must know of a database: struct catalogue_entry
 *   0000 'G'        the last generation given out, so that handles are not given out twice
 *
 * Reads look at the engine's memory first, on the loop; what would touch the disk goes to the pool. */
#include "providers/kv/kv_store_rocksdb.h"

#include "sdk/core/base/log.h"
#include "server/storage/datadir.h"

#include <endian.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

enum {
    FORMAT_VERSION = 1,
    CATALOGUE_VERSION = 1,
    COMMIT_OPS_MAX = 16384,
    LOOP_KEYS_MAX = 256, /* of one call that a loop looks up itself */
    COUNT_KEYS_MAX = 20000,
    COUNT_MS = 1000,          /* that usage() counts before it estimates */
    RECLAIM_GATHER_MS = 1000, /* who asks once asks again soon: a removal of many keys is many batches */
    CATALOGUE_KEY_BYTES = KV_DB_PREFIX_BYTES + 1,
};

static const char kind[] = "cairn-kv-rocksdb";

/* Stored: never change it but with CATALOGUE_VERSION. */
struct catalogue_entry {
    uint8_t version, order, write_once, zero;
    uint32_t handle; /* little-endian */
};
_Static_assert(sizeof(struct catalogue_entry) == 8, "the catalogue is a disk format");

/* ---- keys ---- */

void cairn_kv__full_key_bound(const struct cairn_kv_db *db, const uint8_t *stored, uint32_t len,
                              struct cairn_kv__full_key *full)
{
    uint32_t prefix = htobe32(db->handle);

    memcpy(full->bytes, &prefix, sizeof(prefix));
    if (len > 0)
        memcpy(full->bytes + sizeof(prefix), stored, len);
    full->len = KV_DB_PREFIX_BYTES + len;
}

void cairn_kv__full_key_make(const struct cairn_kv_db *db, const ProtobufCBinaryData *key,
                             struct cairn_kv__full_key *full)
{
    struct cairn_kv_key k;
    int rc = cairn_kv_key_make(db->order, key, &k);

    CAIRN_ASSERT(rc == 0);
    cairn_kv__full_key_bound(db, k.ptr, k.len, full);
}

void cairn_kv__full_key_end(const struct cairn_kv_db *db, struct cairn_kv__full_key *full)
{
    uint32_t prefix = htobe32(db->handle + 1); /* no handle is UINT32_MAX: CAIRN_KV_GENERATION_MAX */

    memcpy(full->bytes, &prefix, sizeof(prefix));
    full->len = sizeof(prefix);
}

static uint32_t catalogue_key(char type, const char *name, uint8_t *key)
{
    size_t n = strlen(name);

    memset(key, 0, KV_DB_PREFIX_BYTES);
    key[KV_DB_PREFIX_BYTES] = (uint8_t)type;
    memcpy(key + CATALOGUE_KEY_BYTES, name, n);
    return CATALOGUE_KEY_BYTES + (uint32_t)n;
}

/* ---- the catalogue ---- */

struct catalogue_load {
    struct cairn_kv_dir *dir;
    struct cairn_err *err;
    int rc;
};

static int catalogue_entry_load(struct catalogue_load *load, const uint8_t *key, size_t klen, const uint8_t *val,
                                size_t vlen)
{
    struct catalogue_entry entry;
    struct cairn_kv_db_desc desc = { 0 };
    size_t n = klen - CATALOGUE_KEY_BYTES;
    int rc;

    if (n == 0 || n > CAIRN_NAME_BYTES_MAX || vlen < sizeof(entry))
        return cairn_err_set(load->err, CAIRN_E_CORRUPT, "catalogue entry of %zu and %zu bytes", klen, vlen);
    memcpy(&entry, val, sizeof(entry));
    memcpy(desc.name, key + CATALOGUE_KEY_BYTES, n);
    if (entry.version != CATALOGUE_VERSION || entry.order > CAIRN_KV_UINT)
        return cairn_err_set(load->err, CAIRN_E_FORMAT, "database %s: catalogue version %u, order %u", desc.name,
                             entry.version, entry.order);
    desc.db.handle = le32toh(entry.handle);
    desc.db.slot = (uint16_t)(desc.db.handle & (CAIRN_KV_DB_MAX - 1));
    desc.db.order = entry.order;
    desc.db.write_once = entry.write_once != 0;
    rc = cairn_kv_dir_restore(load->dir, &desc);
    return cairn_err_set(load->err, rc, "database %s, handle %u%s", desc.name, desc.db.handle,
                         rc == CAIRN_E_LIMIT ? ": more databases than `databases` allows" : "");
}

static bool on_catalogue_entry(void *arg, const uint8_t *key, size_t klen, const uint8_t *val, size_t vlen)
{
    struct catalogue_load *load = arg;

    if (klen < CATALOGUE_KEY_BYTES) {
        load->rc = cairn_err_set(load->err, CAIRN_E_CORRUPT, "catalogue key of %zu bytes", klen);
    } else if (key[KV_DB_PREFIX_BYTES] == 'G' && vlen == sizeof(uint32_t)) {
        uint32_t generation;

        memcpy(&generation, val, sizeof(generation));
        load->dir->generation = le32toh(generation);
    } else if (key[KV_DB_PREFIX_BYTES] == 'D') {
        load->rc = catalogue_entry_load(load, key, klen, val, vlen);
    }
    return load->rc == 0;
}

static int catalogue_load(struct cairn_kv_store *st, struct cairn_err *err)
{
    static const uint8_t lo[KV_DB_PREFIX_BYTES] = { 0 }, hi[KV_DB_PREFIX_BYTES] = { 0, 0, 0, 1 };
    struct catalogue_load load = { .dir = st->dir, .err = err };
    struct cairn_rocks_scan scan = { .lo = lo,
                                     .hi = hi,
                                     .lo_len = sizeof(lo),
                                     .hi_len = sizeof(hi),
                                     .may_block = true,
                                     .entry = on_catalogue_entry,
                                     .arg = &load };
    int rc = cairn_rocks_scan(st->rocks, &scan);

    if (rc != 0)
        return cairn_err_set(err, rc, "the catalogue of databases cannot be read");
    return load.rc;
}

static int rocksdb_create(struct cairn_kv_store *st, const struct cairn_kv_db_desc *desc, struct cairn_err *err)
{
    struct catalogue_entry entry = { .version = CATALOGUE_VERSION,
                                     .order = desc->db.order,
                                     .write_once = desc->db.write_once,
                                     .handle = htole32(desc->db.handle) };
    uint8_t key[CATALOGUE_KEY_BYTES + CAIRN_NAME_BYTES_MAX];
    uint32_t klen, generation = htole32(st->dir->generation);
    struct cairn_rocks_batch *b = cairn_rocks_batch_new();
    int rc;

    if (b == NULL)
        return cairn_err_set(err, CAIRN_E_NOMEM, "database %s", desc->name);
    if (cairn_spare_refuses(st->spare)) {
        cairn_rocks_batch_free(b);
        return cairn_err_set(err, CAIRN_E_NOSPACE, "database %s: the disk is full", desc->name);
    }
    klen = catalogue_key('D', desc->name, key);
    cairn_rocks_batch_put(b, key, klen, &entry, sizeof(entry));
    klen = catalogue_key('G', "", key);
    cairn_rocks_batch_put(b, key, klen, &generation, sizeof(generation));
    rc = cairn_rocks_write(st->rocks, b, CAIRN_ROCKS_SYNCED);
    cairn_rocks_batch_free(b);
    return cairn_err_set(err, rc, "database %s cannot be recorded", desc->name);
}

static int rocksdb_drop(struct cairn_kv_store *st, const struct cairn_kv_db_desc *desc, struct cairn_err *err)
{
    uint8_t key[CATALOGUE_KEY_BYTES + CAIRN_NAME_BYTES_MAX];
    struct cairn_kv__full_key lo, hi;
    struct cairn_rocks_batch *b = cairn_rocks_batch_new();
    uint32_t klen;
    int rc;

    if (b == NULL)
        return cairn_err_set(err, CAIRN_E_NOMEM, "database %s", desc->name);
    klen = catalogue_key('D', desc->name, key);
    cairn_rocks_batch_erase(b, key, klen);
    cairn_kv__full_key_bound(&desc->db, NULL, 0, &lo);
    cairn_kv__full_key_end(&desc->db, &hi);
    cairn_rocks_batch_erase_range(b, lo.bytes, lo.len, hi.bytes, hi.len);
    /* The directory hides the database already: a group that is applied after this one finds it gone. */
    pthread_mutex_lock(&st->applying);
    rc = cairn_kv__rocksdb_write_freeing(st, b, CAIRN_ROCKS_SYNCED);
    pthread_mutex_unlock(&st->applying);
    cairn_rocks_batch_free(b);
    if (rc == 0)
        cairn_rocks_drop_files(st->rocks, lo.bytes, lo.len, hi.bytes, hi.len);
    return cairn_err_set(err, rc, "database %s cannot be dropped", desc->name);
}

/* ---- life ---- */

static int rocksdb_open_engine(struct cairn_kv_store *st, const struct cairn_kv_store_conf *conf, bool fresh,
                               struct cairn_err *err)
{
    char path[PATH_MAX];
    struct cairn_rocks_conf rc = { .dir = path,
                                   .cache_bytes = conf->cache_bytes,
                                   .write_buffer_bytes = conf->write_buffer_bytes,
                                   .open_files = conf->open_files,
                                   .compression = conf->compression,
                                   .fresh = fresh };

    if ((size_t)snprintf(path, sizeof(path), "%s/db", conf->dir) >= sizeof(path))
        return cairn_err_set(err, CAIRN_E_INVAL, "%s: path too long", conf->dir);
    return cairn_rocks_open(&rc, &st->rocks, err);
}

/* What is there already, once more, in memory alone. When the disk was full and is not any more, the engine writes
 * what it has in memory to a file and begins a new log. If it has nothing it goes on with the old log, whose first
 * append has failed, and aborts: file/writable_file_writer.h of 7.8, in packages that are built with assertions. */
static int remember_something(struct cairn_kv_store *st)
{
    uint8_t key[CATALOGUE_KEY_BYTES + CAIRN_NAME_BYTES_MAX];
    uint32_t klen = catalogue_key('G', "", key), generation = htole32(st->dir->generation);
    int rc;

    cairn_rocks_batch_put(st->batch, key, klen, &generation, sizeof(generation));
    rc = cairn_rocks_write(st->rocks, st->batch, CAIRN_ROCKS_UNLOGGED);
    cairn_rocks_batch_clear(st->batch);
    return rc;
}

static int rocksdb_start(struct cairn_kv_store *st, const struct cairn_kv_store_conf *conf, struct cairn_err *err)
{
    struct cairn_commit_conf cc = { .loops = conf->loops,
                                    .nloops = conf->nloops,
                                    .ops_max = COMMIT_OPS_MAX,
                                    .bytes_max = conf->queue_bytes,
                                    .apply = cairn_kv__rocksdb_apply,
                                    .sync = cairn_kv__rocksdb_sync,
                                    .ctx = st };
    int rc = catalogue_load(st, err);

    if (rc != 0)
        return rc;
    st->batch = cairn_rocks_batch_new();
    if (st->batch == NULL)
        return cairn_err_set(err, CAIRN_E_NOMEM, "rocksdb store");
    rc = remember_something(st);
    if (rc == 0 && getrandom(&st->hash_seed, sizeof(st->hash_seed), 0) != sizeof(st->hash_seed))
        rc = CAIRN_E_IO;
    if (rc != 0) {
        cairn_err_set(err, rc, "rocksdb store: %s", cairn_error_text(rc));
        goto free_batch;
    }
    st->commit = cairn_commit_new(&cc, err);
    if (st->commit != NULL)
        return 0;
    rc = CAIRN_E_LIMIT;
free_batch:
    cairn_rocks_batch_free(st->batch);
    return rc;
}

static void reclaim_work(void *arg)
{
    struct cairn_kv_store *st = arg;

    cairn_rocks_reclaim(st->rocks);
}

static int rocksdb_open_store(const struct cairn_kv_store_conf *conf, struct cairn_kv_dir *dir,
                              struct cairn_kv_store **store, struct cairn_err *err)
{
    struct cairn_kv_store *st = calloc(1, sizeof(*st));
    bool fresh;
    int rc;

    if (st == NULL)
        return cairn_err_set(err, CAIRN_E_NOMEM, "rocksdb store");
    st->dir = dir;
    st->spare = conf->spare;
    pthread_mutex_init(&st->applying, NULL);
    rc = cairn_storedir_open(conf->dir, kind, FORMAT_VERSION, true, &st->lock_fd, err);
    if (rc < 0)
        goto free_store;
    fresh = rc == CAIRN_STOREDIR_FRESH;
    rc = rocksdb_open_engine(st, conf, fresh, err);
    if (rc != 0)
        goto unlock;
    if (fresh)
        rc = cairn_storedir_finish(st->lock_fd, conf->dir, kind, FORMAT_VERSION, err);
    if (rc != 0)
        goto close_engine;
    rc = rocksdb_start(st, conf, err);
    if (rc != 0)
        goto close_engine;
    cairn_errand_init(&st->reclaim, RECLAIM_GATHER_MS, reclaim_work, st);
    *store = st;
    return 0;
close_engine:
    cairn_rocks_close(st->rocks);
unlock:
    close(st->lock_fd);
free_store:
    pthread_mutex_destroy(&st->applying);
    free(st);
    return rc;
}

static void rocksdb_close_store(struct cairn_kv_store *st)
{
    cairn_commit_free(st->commit);
    cairn_rocks_reclaim_stop(st->rocks);
    cairn_errand_fini(&st->reclaim);
    cairn_rocks_batch_free(st->batch);
    cairn_rocks_close(st->rocks);
    close(st->lock_fd);
    pthread_mutex_destroy(&st->applying);
    free(st->touched);
    free(st);
}

static int rocksdb_check(const struct cairn_kv_store_conf *conf, struct cairn_err *err)
{
    char db[PATH_MAX];
    int fd, rc = cairn_storedir_open(conf->dir, kind, FORMAT_VERSION, false, &fd, err);

    if (rc == CAIRN_E_NOTFOUND) {
        if (err != NULL)
            *err = (struct cairn_err){ 0 };
        return 0;
    }
    if (rc != 0)
        return rc;
    close(fd);
    if ((size_t)snprintf(db, sizeof(db), "%s/db", conf->dir) >= sizeof(db))
        return cairn_err_set(err, CAIRN_E_INVAL, "%s: path too long", conf->dir);
    return cairn_rocks_check(db, err);
}

/* ---- reading ---- */

/* Values of a small call stay pinned until its end; those of a large one are let go one by one. */
struct pins {
    struct cairn_rocks_view view[CAIRN_KV_VIEWS_MAX];
    uint32_t n;
};

static void pins_drop(struct pins *pins)
{
    while (pins->n > 0)
        cairn_rocks_view_drop(&pins->view[--pins->n]);
}

/* 0 and *@more, or what cairn_rocks_get() says. */
static int rocksdb_read_one(struct cairn_kv_store *st, const struct cairn_kv_read *rd, uint32_t i, struct pins *pins,
                            bool *more)
{
    struct cairn_kv__full_key full;
    struct cairn_rocks_view *view = &pins->view[pins->n];
    int rc;

    cairn_kv__full_key_make(&rd->db, &rd->keys[i], &full);
    rc = cairn_rocks_get(st->rocks, rd->at, full.bytes, full.len, rd->may_block, view);
    if (rc == CAIRN_E_NOTFOUND) {
        *more = rd->found(rd->arg, i, NULL, -1);
        return 0;
    }
    if (rd->n > 1 && (rc == CAIRN_E_CORRUPT || rc == CAIRN_E_IO)) { /* a bad block is no matter of the other keys */
        *more = rd->found(rd->arg, i, NULL, -2);
        return 0;
    }
    if (rc != 0)
        return rc;
    pins->n++;
    *more = rd->found(rd->arg, i, rd->want == CAIRN_KV_WANT_VALUE ? view->ptr : NULL, (int64_t)view->len);
    if (rd->n > CAIRN_KV_VIEWS_MAX)
        pins_drop(pins);
    return 0;
}

static int rocksdb_read(struct cairn_kv_store *st, const struct cairn_kv_read *rd)
{
    struct pins pins;
    bool more = true;
    int rc = 0;

    pins.n = 0;
    if (!rd->may_block && rd->n > LOOP_KEYS_MAX)
        return CAIRN_KV_LATER;
    for (uint32_t i = 0; i < rd->n && rc == 0 && more; i++)
        rc = rocksdb_read_one(st, rd, i, &pins, &more);
    if (rc == 0 && rd->end != NULL)
        rd->end(rd->arg);
    pins_drop(&pins);
    return rc == CAIRN_ROCKS_LATER ? (rd->may_block ? CAIRN_E_IO : CAIRN_KV_LATER) : rc;
}

static bool on_scan_entry(void *arg, const uint8_t *key, size_t klen, const uint8_t *val, size_t vlen)
{
    struct cairn_kv_scan *scan = arg;

    return scan->entry(scan->arg, key + KV_DB_PREFIX_BYTES, (uint32_t)klen - KV_DB_PREFIX_BYTES,
                       scan->values ? val : NULL, (uint32_t)vlen);
}

/* As deadlines are, on a thread that has no loop. */
static uint64_t now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_BOOTTIME, &ts);
    return (uint64_t)ts.tv_sec * CAIRN_NS_PER_S + (uint64_t)ts.tv_nsec;
}

/* Microseconds until the deadline, at least one. */
static uint64_t timeout_us(uint64_t deadline_ns)
{
    uint64_t now = now_ns();

    return deadline_ns > now ? (deadline_ns - now) / 1000 + 1 : 1;
}

static int rocksdb_scan(struct cairn_kv_store *st, struct cairn_kv_scan *scan)
{
    const struct cairn_kv_range *r = scan->range;
    struct cairn_kv__full_key lo, hi;
    struct cairn_rocks_scan rs = { .at = scan->at,
                                   .lo = lo.bytes,
                                   .hi = hi.bytes,
                                   .reverse = scan->reverse,
                                   .may_block = scan->may_block,
                                   .entry = on_scan_entry,
                                   .arg = scan };
    int rc;

    scan->more = false;
    if (cairn_kv_range_is_empty(r))
        return 0;
    cairn_kv__full_key_bound(&scan->db, r->lo, r->lo_len, &lo);
    if (r->bounded)
        cairn_kv__full_key_bound(&scan->db, r->hi, r->hi_len, &hi);
    else
        cairn_kv__full_key_end(&scan->db, &hi);
    rs.lo_len = lo.len;
    rs.hi_len = hi.len;
    if (scan->may_block && scan->deadline_ns != 0)
        rs.timeout_us = timeout_us(scan->deadline_ns);
    rc = cairn_rocks_scan(st->rocks, &rs);
    scan->more = rs.more;
    return rc == CAIRN_ROCKS_LATER ? (scan->may_block ? CAIRN_E_IO : CAIRN_KV_LATER) : rc;
}

static bool on_usage_entry(void *arg, const uint8_t *key, uint32_t klen, const uint8_t *val, uint32_t vlen)
{
    struct cairn_kv_usage *u = arg;

    (void)key;
    (void)val;
    u->bytes += klen + vlen;
    return ++u->keys < COUNT_KEYS_MAX;
}

/* A small database is counted; of a large one the engine knows the bytes in its files, and all keys together: its share
 * of them is by its bytes. */
static int rocksdb_usage(struct cairn_kv_store *st, const struct cairn_kv_db *db, struct cairn_kv_usage *out)
{
    static const uint8_t all_lo[1] = { 0 }, all_hi[5] = { 0xff, 0xff, 0xff, 0xff, 0xff };
    struct cairn_kv_range range = { .bounded = false };
    struct cairn_kv_scan scan = { .db = *db, .range = &range, .may_block = true, .entry = on_usage_entry, .arg = out };
    struct cairn_kv__full_key lo, hi;
    uint64_t bytes, all_bytes, all_keys;
    int rc;

    *out = (struct cairn_kv_usage){ .keys_exact = true };
    scan.deadline_ns = now_ns() + COUNT_MS * CAIRN_NS_PER_MS; /* few keys may lie behind many that were removed */
    rc = rocksdb_scan(st, &scan);
    if (rc != CAIRN_E_TIMEOUT && (rc != 0 || !scan.more))
        return rc;
    out->keys_exact = false;
    cairn_kv__full_key_bound(db, NULL, 0, &lo);
    cairn_kv__full_key_end(db, &hi);
    bytes = cairn_rocks_range_bytes(st->rocks, lo.bytes, lo.len, hi.bytes, hi.len);
    all_bytes = cairn_rocks_range_bytes(st->rocks, all_lo, sizeof(all_lo), all_hi, sizeof(all_hi));
    all_keys = cairn_rocks_keys_estimate(st->rocks);
    out->bytes = MAX(out->bytes, bytes);
    if (all_bytes > 0)
        out->keys = MAX(out->keys, (uint64_t)((double)all_keys * (double)bytes / (double)all_bytes));
    return 0;
}

static int rocksdb_flush_store(struct cairn_kv_store *st)
{
    return cairn_rocks_flush(st->rocks);
}

static void *rocksdb_snapshot_open(struct cairn_kv_store *st)
{
    return cairn_rocks_snapshot_open(st->rocks);
}

static void rocksdb_snapshot_close(struct cairn_kv_store *st, void *view)
{
    cairn_rocks_snapshot_close(st->rocks, view);
}

static void rocksdb_status(struct cairn_kv_store *st, json_t *to)
{
    struct cairn_rocks_status rs;
    struct cairn_commit_stats cs;
    const char *health = "ok";
    uint64_t growth;

    cairn_rocks_status(st->rocks, &rs);
    cairn_spare_ask(st->spare);
    cairn_commit_stats(st->commit, &cs);
    if (rs.corrupt_reads > 0)
        health = "degraded";
    if (cairn_spare_show(st->spare, &growth) || rs.read_only)
        health = "readonly";
    json_object_set_new(to, "health", json_string(health));
    json_object_set_new(to, "corrupt_reads", json_integer((json_int_t)rs.corrupt_reads));
    json_object_set_new(to, "failed_writes", json_integer((json_int_t)rs.failed_writes));
    if (rs.last_error[0] != '\0')
        json_object_set_new(to, "last_error", json_string(rs.last_error));
    json_object_set_new(to, "cache_bytes", json_integer((json_int_t)rs.cache_bytes));
    json_object_set_new(to, "cache_bytes_max", json_integer((json_int_t)rs.cache_bytes_max));
    json_object_set_new(to, "cache_hits", json_integer((json_int_t)rs.memory_hits));
    json_object_set_new(to, "cache_misses", json_integer((json_int_t)rs.memory_misses));
    json_object_set_new(to, "writes_waiting", json_integer(cs.waiting));
    json_object_set_new(to, "writes_waiting_bytes", json_integer((json_int_t)cs.waiting_bytes));
    json_object_set_new(to, "commit_groups", json_integer((json_int_t)cs.groups));
    json_object_set_new(to, "commit_ops", json_integer((json_int_t)cs.ops));
    json_object_set_new(to, "syncs", json_integer((json_int_t)cs.syncs));
    json_object_set_new(to, "synced_ops", json_integer((json_int_t)cs.synced_ops));
}

const struct cairn_kv_store_ops cairn_kv_store_rocksdb = {
    .name = "rocksdb",
    .needs_dir = true,
    .holds_views = true,
    .open = rocksdb_open_store,
    .close = rocksdb_close_store,
    .check = rocksdb_check,
    .create = rocksdb_create,
    .drop = rocksdb_drop,
    .read = rocksdb_read,
    .scan = rocksdb_scan,
    .write = cairn_kv__rocksdb_write,
    .flush = rocksdb_flush_store,
    .snapshot_open = rocksdb_snapshot_open,
    .snapshot_close = rocksdb_snapshot_close,
    .usage = rocksdb_usage,
    .status = rocksdb_status,
};
