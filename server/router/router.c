/* The router's life, and what the node sees of it. */
#include "server/router/upload.h"

#include "sdk/core/base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- was the last run ended properly? ---- */

/* A file that is there while a run lasts. If the next start finds it, regions may lie about that nothing names. */
static int mark_path(const struct cairn_router *r, char *path, size_t room, struct cairn_err *err)
{
    if ((size_t)snprintf(path, room, "%s/running", r->env.dir) >= room)
        return cairn_err_set(err, CAIRN_E_INVAL, "%s: the path is too long", r->env.dir);
    return 0;
}

static int mark_flush(const struct cairn_router *r, struct cairn_err *err)
{
    int fd = open(r->env.dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc = 0;

    if (fd < 0)
        return cairn_err_errno(err, errno, "open %s", r->env.dir);
    if (fsync(fd) != 0)
        rc = cairn_err_errno(err, errno, "flush %s", r->env.dir);
    close(fd);
    return rc;
}

static int mark_set(struct cairn_router *r, struct cairn_err *err)
{
    char path[PATH_MAX];
    int fd, rc;

    if (r->env.dir[0] == '\0')
        return 0;
    rc = mark_path(r, path, sizeof(path), err);
    if (rc != 0)
        return rc;
    fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0 && errno == EEXIST) {
        r->was_unclean = true;
        return 0;
    }
    if (fd < 0)
        return cairn_err_errno(err, errno, "make %s", path);
    close(fd);
    return mark_flush(r, err); /* before the first region can be written */
}

static void mark_clear(const struct cairn_router *r)
{
    char path[PATH_MAX];

    if (r->env.dir[0] == '\0' || atomic_load(&r->left_garbage) || mark_path(r, path, sizeof(path), NULL) != 0)
        return;
    if (unlink(path) == 0)
        (void)mark_flush(r, NULL); /* if it comes back, the next start looks for nothing, in vain */
}

/* ---- life ---- */

static int conf_check(struct cairn_router_conf *conf, struct cairn_err *err)
{
    if (conf->region_bytes == 0)
        conf->region_bytes = CAIRN_ROUTER_REGION_BYTES;
    if (conf->upload_ttl_ms == 0)
        conf->upload_ttl_ms = CAIRN_ROUTER_UPLOAD_TTL_MS;
    if (conf->upload_grace_ms == 0)
        conf->upload_grace_ms = CAIRN_ROUTER_UPLOAD_GRACE_MS;
    if (conf->sweep_interval_ms == 0)
        conf->sweep_interval_ms = CAIRN_ROUTER_SWEEP_MS;
    if (conf->upload_bytes_max == 0)
        conf->upload_bytes_max = CAIRN_ROUTER_UPLOAD_BYTES_MAX;
    if (conf->user_namespaces_max == 0)
        conf->user_namespaces_max = CAIRN_ROUTER_USER_NAMESPACES;
    if (conf->embed_threshold == 0)
        conf->embed_threshold = CAIRN_BULK_THRESHOLD_BYTES;
    if (conf->region_bytes % CAIRN_EXTENT_CHUNK_BYTES != 0 || conf->region_bytes > CAIRN_EXTENT_BYTES_MAX)
        return cairn_err_set(err, CAIRN_E_CONFIG, "regions are multiples of %d bytes, at most %llu",
                             CAIRN_EXTENT_CHUNK_BYTES, (unsigned long long)CAIRN_EXTENT_BYTES_MAX);
    if (conf->embed_threshold > CAIRN_RECORD_EMBEDDED_BYTES_MAX)
        return cairn_err_set(err, CAIRN_E_CONFIG, "an embed threshold of at most %d bytes is possible",
                             CAIRN_RECORD_EMBEDDED_BYTES_MAX);
    return 0;
}

static void worker_init(struct cairn_router *r, uint32_t i)
{
    struct router_worker *w = &r->workers[i];

    w->router = r;
    w->loop = r->env.loops[i];
    cairn_list_init(&w->spare_ops);
    cairn_list_init(&w->spare_parts);
    for (uint32_t b = 0; b < ROUTER_BUCKETS; b++)
        cairn_list_init(&w->buckets[b]);
}

static void worker_fini(struct router_worker *w)
{
    struct cairn_link *l;

    for (uint32_t b = 0; b < ROUTER_BUCKETS; b++) {
        while ((l = cairn_list_pop(&w->buckets[b])) != NULL)
            free(CONTAINER_OF(l, struct router_ns, link));
    }
    while ((l = cairn_list_pop(&w->spare_ops)) != NULL)
        free(CONTAINER_OF(l, struct router_op, link));
    while ((l = cairn_list_pop(&w->spare_parts)) != NULL)
        free(CONTAINER_OF(l, struct router_parts, link));
}

static void router_free(struct cairn_router *r)
{
    router_sweep_free(r);
    router_uploads_fini(r);
    for (uint32_t i = 0; i < r->nworkers; i++)
        worker_fini(&r->workers[i]);
    if (r->owns_store)
        cairn_map_store_close(r->store);
    free(r->workers);
    free(r);
}

int cairn_router_start(const struct cairn_provider_env *env, const struct cairn_router_conf *conf, void **ctx,
                       struct cairn_err *err)
{
    struct cairn_router *r = calloc(1, sizeof(*r));
    int rc;

    if (r == NULL)
        return cairn_err_set(err, CAIRN_E_NOMEM, "router");
    r->env = *env;
    if (conf != NULL)
        r->conf = *conf;
    cairn_list_init(&r->orders);
    cairn_list_init(&r->creating);
    rc = router_uploads_init(r);
    if (rc != 0) {
        free(r);
        return cairn_err_set(err, rc, "router");
    }
    r->workers = aligned_alloc(_Alignof(struct router_worker), env->nloops * sizeof(r->workers[0]));
    if (r->workers == NULL) {
        rc = cairn_err_set(err, CAIRN_E_NOMEM, "router");
        goto fail;
    }
    memset(r->workers, 0, env->nloops * sizeof(r->workers[0]));
    r->nworkers = env->nloops;
    for (uint32_t i = 0; i < r->nworkers; i++)
        worker_init(r, i);
    rc = conf_check(&r->conf, err);
    r->store = r->conf.map;
    if (rc == 0 && r->store == NULL) {
        rc = cairn_map_file_check_here(env->dir, err);
        if (rc == 0)
            rc = cairn_map_store_local_open(env->dir, env->pool, env->loops[0], &r->store, err);
        r->owns_store = rc == 0;
    }
    if (rc == 0)
        r->loaded = cairn_map_ids_upto(r->store);
    if (rc == 0)
        rc = router_ns_load(r, err);
    if (rc == 0)
        rc = mark_set(r, err);
    if (rc != 0)
        goto fail;
    *ctx = r;
    return 0;
fail:
    router_free(r);
    return cairn_err_wrap(err, rc, "namespaces");
}

static int router_check(const struct cairn_provider_env *env, struct cairn_err *err)
{
    int rc = cairn_map_file_check_here(env->dir, err);

    return rc == 0 ? cairn_map_store_local_check(env->dir, err) : rc;
}

static int router_start(const struct cairn_provider_env *env, void **ctx, struct cairn_err *err)
{
    return cairn_router_start(env, NULL, ctx, err);
}

void cairn_router_attach(void *ctx, struct cairn_rpc *rpc)
{
    struct cairn_router *r = ctx;
    uint32_t i = cairn_rpc_index(rpc);

    CAIRN_ASSERT(i < r->nworkers && r->workers[i].loop == cairn_rpc_loop(rpc));
    r->workers[i].rpc = rpc;
}

struct cairn_map_store *cairn_router_store(const void *ctx)
{
    return ((const struct cairn_router *)ctx)->store;
}

static void router_run(void *ctx)
{
    struct cairn_router *r = ctx;

    router_sweep_start(r);
    if (r->conf.cluster != NULL)
        router_follow_start(r);
}

static void on_follow_quiesced(void *arg)
{
    struct cairn_router *r = arg;

    router_reap_quiesce(r, r->quiesced, r->quiesced_arg);
}

static void router_quiesce(void *ctx, void (*done)(void *arg), void *arg)
{
    struct cairn_router *r = ctx;

    r->quiesced = done;
    r->quiesced_arg = arg;
    router_follow_quiesce(r, on_follow_quiesced, r);
}

static void router_stop(void *ctx)
{
    struct cairn_router *r = ctx;

    if (r->uploads.n > 0) /* their parts are removed at the next start */
        atomic_store(&r->left_garbage, true);
    mark_clear(r);
    router_free(r);
}

/* A map that cannot be changed: namespaces are served, but none is made or removed. */
static void map_status(struct cairn_router *r, json_t *to)
{
    struct cairn_map_health h;
    uint64_t s;

    cairn_map_store_health(r->store, &h);
    s = (cairn_env_now_ns(r->store->home.env) - h.since_ns) / CAIRN_NS_PER_S;
    json_object_set_new(to, "health", json_string(h.reachable ? "ok" : "degraded"));
    json_object_set_new(to, "map_store", json_string(r->store->ops->name));
    if (!h.reachable)
        json_object_set_new(to, "map_unreachable",
                            json_pack("{s:I, s:s}", "seconds", (json_int_t)s, "error", h.err.text));
}

static void router_status(void *ctx, json_t *to)
{
    struct cairn_router *r = ctx;

    map_status(r, to);
    json_object_set_new(to, "namespaces", json_integer((json_int_t)atomic_load(&r->nnamespaces)));
    router_uploads_status(r, to);
    router_sweep_status(r, to);
}

/* ---- to the node ---- */

static cairn_rpc_handler *const router_handlers[] = {
    [CAIRN__WIRE__ROUTER_METHOD__ROUTER_NS_CREATE] = router_handle_ns_create,
    [CAIRN__WIRE__ROUTER_METHOD__ROUTER_NS_LIST] = router_handle_ns_list,
    [CAIRN__WIRE__ROUTER_METHOD__ROUTER_NS_SHOW] = router_handle_ns_show,
    [CAIRN__WIRE__ROUTER_METHOD__ROUTER_NS_REMOVE] = router_handle_ns_remove,
    [CAIRN__WIRE__ROUTER_METHOD__ROUTER_PUT] = router_handle_put,
    [CAIRN__WIRE__ROUTER_METHOD__ROUTER_GET] = router_handle_get,
    [CAIRN__WIRE__ROUTER_METHOD__ROUTER_EXISTS] = router_handle_exists,
    [CAIRN__WIRE__ROUTER_METHOD__ROUTER_LENGTH] = router_handle_length,
    [CAIRN__WIRE__ROUTER_METHOD__ROUTER_DELETE] = router_handle_delete,
    [CAIRN__WIRE__ROUTER_METHOD__ROUTER_MPUT] = router_handle_mput,
    [CAIRN__WIRE__ROUTER_METHOD__ROUTER_MGET] = router_handle_mget,
    [CAIRN__WIRE__ROUTER_METHOD__ROUTER_LIST] = router_handle_list,
    [CAIRN__WIRE__ROUTER_METHOD__ROUTER_PART] = router_handle_part,
    [CAIRN__WIRE__ROUTER_METHOD__ROUTER_COMMIT] = router_handle_commit,
    [CAIRN__WIRE__ROUTER_METHOD__ROUTER_ABORT] = router_handle_abort,
    [CAIRN__WIRE__ROUTER_METHOD__ROUTER_OPEN] = router_handle_open,
    [CAIRN__WIRE__ROUTER_METHOD__ROUTER_WHERE] = router_handle_where,
    [CAIRN__WIRE__ROUTER_METHOD__ROUTER_CLOSE] = router_handle_close,
};

static const struct cairn_sm_kind *const router_machines[] = {
    &router_put_kind,
    &router_get_kind,
    &router_delete_kind,
    &router_ask_kind,
    &router_mput_kind,
    &router_open_kind,
    &router_adopt_kind,
    &router_create_kind,
    &router_remove_kind,
    &router_flag_kind,
    &router_sweep_kind,
    &router_reap_kind,
    NULL,
};

static const struct cairn_conf_key router_schema[] = { { .name = NULL } };

const struct cairn_provider_desc cairn_router_desc = {
    .type = "router",
    .iface = &cairn_iface_router,
    .handlers = router_handlers,
    .schema = router_schema,
    .machines = router_machines,
    .check = router_check,
    .start = router_start,
    .run = router_run,
    .quiesce = router_quiesce,
    .stop = router_stop,
    .status = router_status,
};
