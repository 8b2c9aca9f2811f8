/* The RocksDB store: every database in one keyspace, behind a prefix of four bytes, its handle.
 *
 * So a database costs nothing while it is idle, and to drop one is a single range deletion. Handle 0 is no database's:
 * behind it lies the catalogue (kv_catalogue.h). Here is its life; what it does meanwhile is in
 * kv_store_rocksdb_read.c and kv_store_rocksdb_write.c. */
#include "providers/kv/kv_store_rocksdb.h"

#include "providers/kv/kv_catalogue.h"
#include "server/storage/datadir.h"

#include <endian.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

enum {
    FORMAT_VERSION = 1,
    COMMIT_OPS_MAX = 16384,
    RECLAIM_GATHER_MS = 1000, /* who asks once asks again soon: a removal of many keys is many batches */
    AHEAD_OF_BUFFER = 8,      /* of the engine's write buffer, what may run ahead before it goes there */
};

static const char kind[] = "cairn-kv-rocksdb";

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

/* ---- databases ---- */

static int rocksdb_create(struct cairn_kv_store *st, const struct cairn_kv_db_desc *desc, bool decided,
                          struct cairn_err *err)
{
    struct cairn_rocks_batch *b = cairn_rocks_batch_new();
    int rc;

    if (b == NULL)
        return cairn_err_set(err, CAIRN_E_NOMEM, "database %s", desc->name);
    if (!decided && cairn_spare_refuses(st->spare)) {
        cairn_rocks_batch_free(b);
        return cairn_err_set(err, CAIRN_E_NOSPACE, "database %s: the disk is full", desc->name);
    }
    cairn_kv__catalogue_put(b, desc);
    cairn_kv__catalogue_put_generation(b, st->dir->generation);
    rc = decided ? cairn_kv__rocksdb_write_decided(st, b, CAIRN_ROCKS_SYNCED)
                 : cairn_rocks_write(st->rocks, b, CAIRN_ROCKS_SYNCED);
    cairn_rocks_batch_free(b);
    return cairn_err_set(err, rc, "database %s cannot be recorded", desc->name);
}

static int rocksdb_drop(struct cairn_kv_store *st, const struct cairn_kv_db_desc *desc, struct cairn_err *err)
{
    struct cairn_kv__full_key lo, hi;
    struct cairn_rocks_batch *b = cairn_rocks_batch_new();
    int rc;

    if (b == NULL)
        return cairn_err_set(err, CAIRN_E_NOMEM, "database %s", desc->name);
    cairn_kv__catalogue_erase(b, desc->name);
    cairn_kv__full_key_bound(&desc->db, NULL, 0, &lo);
    cairn_kv__full_key_end(&desc->db, &hi);
    cairn_rocks_batch_erase_range(b, lo.bytes, lo.len, hi.bytes, hi.len);
    /* The directory hides the database already: a group that is applied after this one finds it gone. */
    pthread_mutex_lock(&st->applying);
    rc = cairn_kv__rocksdb_settle_freeing(st);
    if (rc == 0)
        rc = cairn_kv__rocksdb_write_freeing(st, b, CAIRN_ROCKS_SYNCED);
    pthread_mutex_unlock(&st->applying);
    cairn_rocks_batch_free(b);
    if (rc == 0)
        cairn_rocks_drop_files(st->rocks, lo.bytes, lo.len, hi.bytes, hi.len);
    return cairn_err_set(err, rc, "database %s cannot be dropped", desc->name);
}

/* ---- life ---- */

static int engine_open(const struct cairn_kv_store_conf *conf, bool fresh, bool only_look, struct cairn_rocks **rocks,
                       struct cairn_err *err)
{
    char path[PATH_MAX];
    struct cairn_rocks_conf rc = { .dir = path,
                                   .cache_bytes = conf->cache_bytes,
                                   .write_buffer_bytes = conf->write_buffer_bytes,
                                   .open_files = conf->open_files,
                                   .compression = conf->compression,
                                   .spare = conf->spare,
                                   .fresh = fresh,
                                   .only_look = only_look };

    if ((size_t)snprintf(path, sizeof(path), "%s/db", conf->dir) >= sizeof(path))
        return cairn_err_set(err, CAIRN_E_INVAL, "%s: path too long", conf->dir);
    return cairn_rocks_open(&rc, rocks, err);
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
    int rc = cairn_kv__catalogue_load(st->rocks, st->dir, err);

    if (rc != 0)
        return rc;
    st->batch = cairn_rocks_batch_new();
    if (st->batch == NULL)
        return cairn_err_set(err, CAIRN_E_NOMEM, "rocksdb store");
    if (getrandom(&st->hash_seed, sizeof(st->hash_seed), 0) != sizeof(st->hash_seed)) {
        rc = cairn_err_set(err, CAIRN_E_IO, "rocksdb store: %s", cairn_error_text(CAIRN_E_IO));
        goto free_batch;
    }
    kv_ahead_init(&st->ahead, cairn_rocks_write_buffer(st->rocks) / AHEAD_OF_BUFFER, st->hash_seed);
    st->commit = cairn_commit_new(&cc, err);
    if (st->commit != NULL)
        return 0;
    rc = CAIRN_E_LIMIT;
    kv_ahead_fini(&st->ahead);
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
    rc = engine_open(conf, fresh, false, &st->rocks, err);
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
    cairn_errand_init(&st->settle, 0, cairn_kv__rocksdb_settle_old, st);
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
    cairn_errand_fini(&st->settle);
    /* What cannot be stored skipped the log, and nobody was promised that it stays. */
    cairn_kv__rocksdb_settle(st, false);
    kv_ahead_fini(&st->ahead);
    cairn_rocks_reclaim_stop(st->rocks);
    cairn_errand_fini(&st->reclaim);
    cairn_rocks_batch_free(st->batch);
    cairn_rocks_close(st->rocks);
    close(st->lock_fd);
    pthread_mutex_destroy(&st->applying);
    free(st->touched);
    free(st);
}

static int rocksdb_check(const struct cairn_kv_store_conf *conf, struct cairn_kv_dir *dir, struct cairn_err *err)
{
    struct cairn_rocks *rocks;
    int fd, rc = cairn_storedir_open(conf->dir, kind, FORMAT_VERSION, false, &fd, err);

    if (rc == CAIRN_E_NOTFOUND) {
        if (err != NULL)
            *err = (struct cairn_err){ 0 };
        return 0;
    }
    if (rc != 0)
        return rc;
    rc = engine_open(conf, false, true, &rocks, err);
    if (rc == 0) {
        rc = cairn_kv__catalogue_load(rocks, dir, err);
        cairn_rocks_close(rocks);
    }
    close(fd);
    return rc;
}

/* ---- the whole ---- */

static int rocksdb_flush_store(struct cairn_kv_store *st)
{
    int rc = cairn_kv__rocksdb_settle(st, false);

    return rc == 0 ? cairn_rocks_flush(st->rocks) : rc;
}

/* A full disk is emptied by copies of what is there, and they need a view. */
static int rocksdb_snapshot_open(struct cairn_kv_store *st, void **view)
{
    int rc = cairn_kv__rocksdb_settle(st, true);

    *view = rc == 0 ? cairn_rocks_snapshot_open(st->rocks) : NULL;
    return rc == 0 && *view == NULL ? CAIRN_E_NOMEM : rc;
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
    size_t ahead;
    bool stuck;

    cairn_rocks_status(st->rocks, &rs);
    cairn_spare_ask(st->spare);
    cairn_commit_stats(st->commit, &cs);
    kv_ahead_look(&st->ahead, &ahead, &stuck);
    if (rs.corrupt_reads > 0)
        health = "degraded";
    if (cairn_spare_show(st->spare, &growth) || rs.read_only)
        health = "readonly";
    json_object_set_new(to, "health", json_string(health));
    if (rs.for_good)
        json_object_set_new(
            to, "problem",
            json_string("an error of the disk ended all writes here: look after the disk and its file "
                        "system (last_error, and the kernel's log), then start the node anew; if it comes "
                        "again, give the node an empty data directory: what has other replicas comes back"));
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
    json_object_set_new(to, "ahead_bytes", json_integer((json_int_t)ahead));
    json_object_set_new(to, "ahead_stuck", json_boolean(stuck));
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
    .read = cairn_kv__rocksdb_read,
    .scan = cairn_kv__rocksdb_scan,
    .write = cairn_kv__rocksdb_write,
    .write_now = cairn_kv__rocksdb_write_now,
    .flush = rocksdb_flush_store,
    .snapshot_open = rocksdb_snapshot_open,
    .snapshot_close = rocksdb_snapshot_close,
    .usage = cairn_kv__rocksdb_usage,
    .status = rocksdb_status,
};
