/* The extent provider: remote regions of bytes. Its descriptor, configuration and life.
 *
 * A request enters by extent_rpc.c, which hands it to one operation (extent_put.c, extent_read.c ...); those move bytes
 * by extent_move.c and keep them in a store (extent_store.h). */
#include "providers/extent/extent_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const backends[] = { "file", "memory", "pmem", NULL };
static const char *const ios[] = { "auto", "uring", "pool", NULL };

static const struct cairn_conf_key schema[] = {
    { .name = "backend",
      .type = CAIRN_CONF_CHOICE,
      .fallback = "file",
      .help = "where regions are kept",
      .choices = backends },
    { .name = "path",
      .type = CAIRN_CONF_STRING,
      .fallback = "",
      .help = "its directory, for one on another disk; a relative path starts in node.data; empty: the provider's "
              "name" },
    { .name = "capacity",
      .type = CAIRN_CONF_SIZE,
      .fallback = "0",
      .help = "most bytes kept; 0: what the file system has, half of the memory, or 1 GiB for pmem" },
    { .name = "segment",
      .type = CAIRN_CONF_SIZE,
      .fallback = "1GiB",
      .help = "file: size of one segment file, and so of the largest region; fixed when the store is made",
      .min = 1 << 20,
      .max = UINT64_C(1) << 40 },
    { .name = "io",
      .type = CAIRN_CONF_CHOICE,
      .fallback = "auto",
      .help = "file: io_uring, or reads and writes on the storage pool; auto takes what is allowed",
      .choices = ios },
    { .name = "direct",
      .type = CAIRN_CONF_BOOL,
      .fallback = "true",
      .help = "file: pass by the page cache where the file system can" },
    { .name = "depth",
      .type = CAIRN_CONF_UINT,
      .fallback = "64",
      .help = "file: reads and writes under way, of each worker",
      .min = 1,
      .max = 4096 },
    { .name = "staging",
      .type = CAIRN_CONF_SIZE,
      .fallback = "32MiB",
      .help = "file: memory for bytes on their way between callers and disk, of each worker",
      .min = 2 << 20,
      .max = UINT64_C(64) << 30 },
    { .name = "queue",
      .type = CAIRN_CONF_UINT,
      .fallback = "4096",
      .help = "operations that may wait for memory or space, of each worker",
      .min = 1,
      .max = 1 << 20 },
    { .name = "free_cache",
      .type = CAIRN_CONF_SIZE,
      .fallback = "256MiB",
      .help = "memory: freed memory that is kept for the next region",
      .max = UINT64_C(1) << 40 },
    { .name = "allow_slow",
      .type = CAIRN_CONF_BOOL,
      .fallback = "false",
      .help = "pmem: accept an ordinary file system, where each persist is an msync" },
    { .name = "scrub_rate",
      .type = CAIRN_CONF_SIZE,
      .fallback = "8MiB",
      .help = "bytes per second that are verified in the background; 0: none",
      .max = UINT64_C(64) << 30 },
    { .name = "scrub_interval",
      .type = CAIRN_CONF_DURATION,
      .fallback = "24h",
      .help = "rest between two rounds of the scrub",
      .min = 1000000 },
    { .name = "unsealed_ttl",
      .type = CAIRN_CONF_DURATION,
      .fallback = "10m",
      .help = "regions that were created and not persisted for so long are given up",
      .min = 1000000 },
    { .name = "unsealed_max",
      .type = CAIRN_CONF_UINT,
      .fallback = "1024",
      .help = "regions that are created and not persisted at a time",
      .min = 1,
      .max = 1 << 20 },
    { .name = NULL },
};

static struct cairn_extent_conf conf_of(const struct cairn_provider_env *env)
{
    const struct cairn_conf *c = env->conf;

    return (struct cairn_extent_conf){
        .backend = (enum cairn_extent_backend)cairn_conf_u64(c, "backend"),
        .dir = env->dir,
        .capacity = cairn_conf_u64(c, "capacity"),
        .segment = cairn_round_up(cairn_conf_u64(c, "segment"), CAIRN_EXTENT_CHUNK_BYTES),
        .staging = cairn_conf_u64(c, "staging"),
        .queue = (uint32_t)cairn_conf_u64(c, "queue"),
        .depth = (uint32_t)cairn_conf_u64(c, "depth"),
        .io = (enum cairn_file_io_kind)cairn_conf_u64(c, "io"),
        .direct = cairn_conf_bool(c, "direct"),
        .allow_slow = cairn_conf_bool(c, "allow_slow"),
        .free_cache = cairn_conf_u64(c, "free_cache"),
        .scrub_rate = cairn_conf_u64(c, "scrub_rate"),
        .scrub_interval_ns = cairn_conf_u64(c, "scrub_interval"),
        .draft_ttl_ns = cairn_conf_u64(c, "unsealed_ttl"),
        .drafts_max = (uint32_t)cairn_conf_u64(c, "unsealed_max"),
        .spare = env->spare,
    };
}

static int needs_dir(const struct cairn_provider_env *env, const struct cairn_extent_conf *conf, struct cairn_err *err)
{
    if (conf->backend != CAIRN_EXTENT_MEMORY && env->dir[0] == '\0')
        return cairn_err_set(err, CAIRN_E_CONFIG, "%s: backend `%s` needs a node with a data directory", env->name,
                             backends[conf->backend]);
    return 0;
}

static int extent_check(const struct cairn_provider_env *env, struct cairn_err *err)
{
    struct cairn_extent_conf conf = conf_of(env);
    int rc = needs_dir(env, &conf, err);

    return rc != 0 ? rc : cairn_extent_store_check(&conf, err);
}

static int extent_start(const struct cairn_provider_env *env, void **ctx, struct cairn_err *err)
{
    struct cairn_extent_provider *p = calloc(1, sizeof(*p));
    struct cairn_extent_conf conf = conf_of(env);
    int rc;

    if (p == NULL)
        return cairn_err_set(err, CAIRN_E_NOMEM, "%s", env->name);
    snprintf(p->name, sizeof(p->name), "%s", env->name);
    rc = needs_dir(env, &conf, err);
    if (rc == 0 && snprintf(p->dir, sizeof(p->dir), "%s", env->dir) >= (int)sizeof(p->dir))
        rc = cairn_err_set(err, CAIRN_E_INVAL, "%s: too long", env->dir);
    conf.dir = p->dir;
    if (rc == 0)
        rc = cairn_extent_store_open(&conf, env->pool, env->loops, env->nloops, &p->store, err);
    if (rc != 0) {
        free(p);
        return rc;
    }
    *ctx = p;
    return 0;
}

static void extent_run(void *ctx)
{
    if (cairn_extent__scrub_start(ctx) != 0)
        cairn_extent_store_worsen(((struct cairn_extent_provider *)ctx)->store, CAIRN_EXTENT_DEGRADED);
}

/* ---- ending: the scrub first, then what the store still does on its own ---- */

struct ending {
    struct cairn_extent_provider *provider;
    struct cairn_timer timer;
    void (*done)(void *arg);
    void *arg;
};

enum { ENDING_LOOK_MS = 1 };

static void ending_look(void *arg)
{
    struct ending *e = arg;
    struct cairn_extent_store *s = e->provider->store;
    struct cairn_loop *loop = s->workers[0].loop;
    void (*done)(void *arg) = e->done;

    /* Jobs without a step behind them (an index sync, a free) are short, and end on any worker: looking again is
     * simpler than being told. */
    if (s->ops->is_busy != NULL && s->ops->is_busy(s)) {
        cairn_timer_start(&loop->env, &e->timer, cairn_env_now_ns(&loop->env) + ENDING_LOOK_MS * CAIRN_NS_PER_MS);
        return;
    }
    arg = e->arg;
    free(e);
    done(arg);
}

static void extent_quiesce(void *ctx, void (*done)(void *arg), void *arg)
{
    struct cairn_extent_provider *p = ctx;
    struct cairn_loop *loop = p->store->workers[0].loop;
    struct ending *e = calloc(1, sizeof(*e));

    CAIRN_ASSERT(e != NULL); /* a hundred bytes at the very end */
    *e = (struct ending){ .provider = p, .done = done, .arg = arg };
    cairn_timer_init(&e->timer, ending_look, e);
    if (p->scrub != NULL)
        cairn_extent__scrub_stop(p, ending_look, e);
    else
        cairn_timer_start(&loop->env, &e->timer, cairn_env_now_ns(&loop->env));
}

static void extent_stop(void *ctx)
{
    struct cairn_extent_provider *p = ctx;

    cairn_extent_store_close(p->store);
    free(p);
}

/* ---- what operators see ---- */

enum { STATUS_QUARANTINED_MAX = 32 };

static void extent_status(void *ctx, json_t *to)
{
    static const char *const healths[] = { "ok", "degraded", "readonly" };
    struct cairn_extent_store *s = ((struct cairn_extent_provider *)ctx)->store;
    struct cairn_extent_filter filter = { .quarantined = true };
    uint64_t used, avail, bad[STATUS_QUARANTINED_MAX], nbad = atomic_load(&s->table.quarantined);
    int health = atomic_load(&s->health);
    json_t *list = json_array();
    bool more;
    uint32_t n = cairn_extent_table_list(&s->table, &filter, bad, NULL, NULL, STATUS_QUARANTINED_MAX, &more, NULL);

    for (uint32_t i = 0; i < n; i++) {
        char name[20];

        snprintf(name, sizeof(name), "%016llx", (unsigned long long)bad[i]);
        json_array_append_new(list, json_string(name));
    }
    s->ops->usage(s, &used, &avail);
    if (health == CAIRN_EXTENT_OK && nbad > 0)
        health = CAIRN_EXTENT_DEGRADED;
    json_object_set_new(to, "health", json_string(healths[health]));
    json_object_set_new(to, "backend", json_string(s->ops->name));
    json_object_set_new(to, "regions", json_integer((json_int_t)atomic_load(&s->table.regions)));
    json_object_set_new(to, "bytes", json_integer((json_int_t)atomic_load(&s->table.bytes)));
    json_object_set_new(to, "used_bytes", json_integer((json_int_t)used));
    json_object_set_new(to, "free_bytes", json_integer((json_int_t)avail));
    json_object_set_new(to, "quarantined", json_integer((json_int_t)nbad));
    json_object_set_new(to, "quarantined_ids", list);
    json_object_set_new(to, "corrupt_found", json_integer((json_int_t)atomic_load(&s->corrupt_found)));
    json_object_set_new(to, "arrived_bad", json_integer((json_int_t)atomic_load(&s->arrived_bad)));
    json_object_set_new(to, "unsealed_expired", json_integer((json_int_t)atomic_load(&s->drafts_expired)));
    json_object_set_new(to, "scrub_rounds", json_integer((json_int_t)atomic_load(&s->scrub_rounds)));
    json_object_set_new(to, "scrub_bytes", json_integer((json_int_t)atomic_load(&s->scrub_bytes)));
    if (s->ops->status != NULL)
        s->ops->status(s, to);
}

static const struct cairn_sm_kind *const machines[] = {
    &cairn_extent_put_kind,     &cairn_extent_create_kind, &cairn_extent_write_kind,
    &cairn_extent_persist_kind, &cairn_extent_read_kind,   &cairn_extent_remove_kind,
    &cairn_extent_piece_kind,   &cairn_extent_scrub_kind,  NULL,
};

const struct cairn_provider_desc cairn_provider_extent = {
    .type = "extent",
    .iface = &cairn_iface_extent,
    .handlers = cairn_extent__handlers,
    .schema = schema,
    .machines = machines,
    .check = extent_check,
    .start = extent_start,
    .run = extent_run,
    .quiesce = extent_quiesce,
    .stop = extent_stop,
    .status = extent_status,
};
