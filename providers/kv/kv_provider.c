/* The KV provider: named, ordered databases in memory or in RocksDB. The descriptor: configuration, start, stop,
 * status. */
#include "providers/kv/kv_internal.h"

#include <stdlib.h>
#include <sys/random.h>

static const char *const backends[] = { "rocksdb", "memory", NULL };
static const struct cairn_kv_store_ops *const backend_ops[] = { &cairn_kv_store_rocksdb, &cairn_kv_store_memory };
static const char *const compressions[] = { "none", "lz4", "zstd", NULL }; /* enum cairn_rocks_compression */

static const struct cairn_conf_key schema[] = {
    { .name = "backend",
      .type = CAIRN_CONF_CHOICE,
      .fallback = "rocksdb",
      .choices = backends,
      .help = "where databases are kept: on disk, or in memory for as long as the node runs" },
    { .name = "path",
      .type = CAIRN_CONF_STRING,
      .fallback = "",
      .help =
          "its directory, for one on another disk; a relative path starts in node.data; empty: the provider's name" },
    { .name = "databases",
      .type = CAIRN_CONF_UINT,
      .fallback = "1024",
      .min = 1,
      .max = CAIRN_KV_DB_MAX,
      .help = "how many there may be" },
    { .name = "memory",
      .type = CAIRN_CONF_SIZE,
      .fallback = "1GiB",
      .min = 1 << 20,
      .help = "backend memory: bytes of keys, values and index together; beyond it puts are refused" },
    { .name = "cache",
      .type = CAIRN_CONF_SIZE,
      .fallback = "32MiB",
      .min = 1 << 20,
      .help = "backend rocksdb: memory for what was read from disk; what it holds is answered without the disk" },
    { .name = "write_buffer",
      .type = CAIRN_CONF_SIZE,
      .fallback = "64MiB",
      .min = 1 << 20,
      .max = UINT64_C(4) << 30,
      .help = "backend rocksdb: memory for what is not in a sorted file yet; less on a small disk" },
    { .name = "queue",
      .type = CAIRN_CONF_SIZE,
      .fallback = "64MiB",
      .min = 1 << 20,
      .help = "backend rocksdb: bytes that may wait to be written; beyond it writers are told to slow down" },
    { .name = "open_files",
      .type = CAIRN_CONF_UINT,
      .fallback = "256",
      .min = 16,
      .max = 100000,
      .help = "backend rocksdb: sorted files kept open" },
    { .name = "snapshots",
      .type = CAIRN_CONF_UINT,
      .fallback = "64",
      .min = 1,
      .max = KV_SNAPSHOTS_MAX,
      .help = "backend rocksdb: views that may be open at a time, for copies of what is there" },
    { .name = "snapshot_idle",
      .type = CAIRN_CONF_DURATION,
      .fallback = "60s",
      .min = 100 * CAIRN_NS_PER_MS,
      .help = "backend rocksdb: a view that nobody has used for so long ends" },
    { .name = "compression",
      .type = CAIRN_CONF_CHOICE,
      .fallback = "lz4",
      .choices = compressions,
      .help = "backend rocksdb: of sorted files" },
    { .name = NULL },
};

static void store_conf(const struct cairn_provider_env *env, struct cairn_kv_store_conf *conf)
{
    const struct cairn_conf *c = env->conf;

    *conf = (struct cairn_kv_store_conf){
        .dir = env->dir,
        .memory_bytes = cairn_conf_u64(c, "memory"),
        .cache_bytes = cairn_conf_u64(c, "cache"),
        .write_buffer_bytes = cairn_conf_u64(c, "write_buffer"),
        .queue_bytes = cairn_conf_u64(c, "queue"),
        .open_files = (uint32_t)cairn_conf_u64(c, "open_files"),
        .compression = (uint32_t)cairn_conf_u64(c, "compression"),
        .spare = env->spare,
        .loops = env->loops,
        .nloops = env->nloops,
    };
}

static const struct cairn_kv_store_ops *store_ops(const struct cairn_provider_env *env)
{
    return backend_ops[cairn_conf_u64(env->conf, "backend")];
}

static int check_dir(const struct cairn_provider_env *env, const struct cairn_kv_store_ops *ops, struct cairn_err *err)
{
    if (!ops->needs_dir || env->dir[0] != '\0')
        return 0;
    return cairn_err_set(err, CAIRN_E_CONFIG, "provider %s: backend %s needs a data directory, and the node has none",
                         env->name, ops->name);
}

static int dir_init(const struct cairn_provider_env *env, struct cairn_kv_dir *dir, uint32_t generation,
                    struct cairn_err *err)
{
    return cairn_err_set(err, cairn_kv_dir_init(dir, (uint32_t)cairn_conf_u64(env->conf, "databases"), generation),
                         "directory of databases");
}

static int kv_check(const struct cairn_provider_env *env, struct cairn_err *err)
{
    const struct cairn_kv_store_ops *ops = store_ops(env);
    struct cairn_kv_store_conf conf;
    struct cairn_kv_dir dir;
    int rc = check_dir(env, ops, err);

    if (rc == 0)
        rc = dir_init(env, &dir, 0, err);
    if (rc != 0)
        return rc;
    store_conf(env, &conf);
    rc = ops->check(&conf, &dir, err);
    cairn_kv_dir_fini(&dir);
    return rc;
}

static int kv_start(const struct cairn_provider_env *env, void **ctx, struct cairn_err *err)
{
    struct kv_provider *p = calloc(1, sizeof(*p) + env->nloops * sizeof(p->workers[0]));
    struct cairn_kv_store_conf conf;
    uint32_t generation = 0;
    int rc;

    if (p == NULL)
        return cairn_err_set(err, CAIRN_E_NOMEM, "provider %s", env->name);
    p->name = env->name;
    p->ops = store_ops(env);
    p->pool = env->pool;
    rc = check_dir(env, p->ops, err);
    if (rc != 0)
        goto free_provider;
    /* A store that remembers nothing begins somewhere, so that handles of an earlier life find nothing. */
    if (getrandom(&generation, sizeof(generation), 0) != sizeof(generation))
        generation = 0;
    rc = dir_init(env, &p->dir, generation, err);
    if (rc != 0)
        goto free_provider;
    kv_flush_init(&p->flush);
    store_conf(env, &conf);
    rc = p->ops->open(&conf, &p->dir, &p->store, err);
    if (rc != 0)
        goto free_dir;
    rc = kv_snapshots_init(&p->snapshots, p->ops, p->store, (uint32_t)cairn_conf_u64(env->conf, "snapshots"),
                           cairn_conf_u64(env->conf, "snapshot_idle"));
    if (rc != 0) {
        cairn_err_set(err, rc, "views");
        goto close_store;
    }
    p->nworkers = env->nloops;
    for (uint32_t i = 0; i < env->nloops; i++)
        kv_worker_init(&p->workers[i], p, env->loops[i], i);
    *ctx = p;
    return 0;
close_store:
    p->ops->close(p->store);
free_dir:
    kv_flush_fini(&p->flush);
    cairn_kv_dir_fini(&p->dir);
free_provider:
    free(p);
    return rc;
}

static void kv_stop(void *ctx)
{
    struct kv_provider *p = ctx;

    for (uint32_t i = 0; i < p->nworkers; i++)
        kv_worker_fini(&p->workers[i]);
    kv_snapshots_fini(&p->snapshots);
    p->ops->close(p->store);
    kv_flush_fini(&p->flush);
    cairn_kv_dir_fini(&p->dir);
    free(p);
}

static void kv_status(void *ctx, json_t *to)
{
    struct kv_provider *p = ctx;

    json_object_set_new(to, "backend", json_string(p->ops->name));
    json_object_set_new(to, "databases", json_integer(atomic_load_explicit(&p->dir.n, memory_order_relaxed)));
    kv_flush_status(&p->flush, to);
    json_object_set_new(to, "snapshots", json_integer(kv_snapshots_count(&p->snapshots)));
    p->ops->status(p->store, to);
}

static const struct cairn_sm_kind *const machines[] = { &kv_write_kind, &kv_work_kind, &kv_flush_kind, NULL };

const struct cairn_provider_desc cairn_provider_kv = {
    .type = "kv",
    .iface = &cairn_iface_kv,
    .handlers = kv_handlers,
    .schema = schema,
    .machines = machines,
    .check = kv_check,
    .start = kv_start,
    .stop = kv_stop,
    .status = kv_status,
};
