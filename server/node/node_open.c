/* Opening a node, step by step, and closing what was opened. */
#include "server/node/node.h"

#include "server/cluster/service/cluster.h"
#include "server/node/introspect.h"
#include "server/node/workspace.h"
#include "server/router/router.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { POOL_QUEUE_MAX = 65536 };

static int open_log(struct cairn_server *s, const struct cairn_server_options *options, struct cairn_err *err)
{
    int fd = options->log_fd >= 0 ? options->log_fd : STDERR_FILENO;

    s->log_file_fd = -1;
    if (s->conf.log_file[0] != '\0') {
        s->log_file_fd = open(s->conf.log_file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
        if (s->log_file_fd < 0)
            return cairn_err_errno(err, errno, "log file %s", s->conf.log_file);
        fd = s->log_file_fd;
    }
    cairn_log_init(&s->log, fd, s->conf.log_level, s->conf.name);
    s->has_log = true;
    cairn_log_bind(&s->log);
    return 0;
}

static int open_identity(struct cairn_server *s, struct cairn_err *err)
{
    struct cairn_rpc_node *n = &s->rpc_node;
    bool munge = cairn_node__has_munge(&s->conf);
    int rc = cairn_workspace_open(s->conf.workspace, err);

    if (rc == 0)
        rc = cairn_workspace_key(s->conf.key_file, n->key, err);
    if (rc == 0)
        rc = cairn_node__needs_munge(&s->conf, munge, err);
    if (rc != 0)
        return rc;
    memcpy(n->cluster_id, s->data.cluster_id, sizeof(n->cluster_id));
    cairn_auth_random(&n->incarnation, sizeof(n->incarnation));
    snprintf(n->name, sizeof(n->name), "%s", s->conf.name);
    n->has_key = true;
    n->munge = munge;
    snprintf(n->munge_socket, sizeof(n->munge_socket), "%s", s->conf.munge_socket);
    n->insecure = s->conf.insecure;
    memcpy(n->admins, s->conf.admins, s->conf.nadmins * sizeof(n->admins[0]));
    n->nadmins = s->conf.nadmins;
    n->connections_max = s->conf.connections_max;
    n->session_ttl_ns = s->conf.session_ttl_ns;
    n->stalled_ns = s->conf.partial_frame_ns;
    if (n->insecure)
        cairn_log_warn("--insecure: whoever reaches a TCP address of this node may enter");
    return 0;
}

static int open_loops(struct cairn_server *s, struct cairn_err *err)
{
    struct cairn_loop_conf conf = { .spin_us = (uint32_t)(s->conf.spin_ns / 1000) };

    s->nworkers = s->conf.workers;
    s->workers = calloc(s->nworkers, sizeof(*s->workers));
    s->rpcs = calloc(s->nworkers, sizeof(struct cairn_rpc *));
    s->loops = calloc(s->nworkers, sizeof(struct cairn_loop *));
    s->stats = calloc(s->nworkers, sizeof(struct cairn_rpc_stats_set *));
    s->bulks = calloc(s->nworkers, sizeof(const struct cairn_bulk_counters *));
    if (s->workers == NULL || s->rpcs == NULL || s->loops == NULL || s->stats == NULL || s->bulks == NULL)
        return cairn_err_set(err, CAIRN_E_NOMEM, "workers");
    for (uint32_t i = 0; i < s->nworkers; i++) {
        struct cairn_worker *w = &s->workers[i];
        int rc = cairn_loop_init(&w->loop, &conf, err);

        if (rc != 0)
            return cairn_err_wrap(err, rc, "worker %u", i);
        w->node = s;
        w->index = i;
        w->has_loop = true;
        s->loops[i] = &w->loop;
    }
    s->started_ns = cairn_loop_now(&s->workers[0].loop);
    return 0;
}

/* States without a name or a way in, final ones with a way out, two kinds of one name: `cairn machines` could not be
 * believed, and an operation might never end. Before providers are touched. */
static int check_machines(const struct cairn_server *s, struct cairn_err *err)
{
    struct cairn_kinds kinds = { 0 };

    cairn_node__kinds(s, &kinds);
    return cairn_err_wrap(err, cairn_kinds_check(&kinds, err), "state machines");
}

/* A MUNGE daemon is asked on the pool. */
struct blocking_job {
    struct cairn_job job;
    void (*work)(void *arg);
    void (*done)(void *arg);
    void *arg;
};

static void on_blocking_work(struct cairn_job *job)
{
    struct blocking_job *b = job->arg;

    b->work(b->arg);
}

static void on_blocking_done(struct cairn_job *job)
{
    struct blocking_job *b = job->arg;

    b->done(b->arg);
    free(b);
}

static int run_blocking(void *ctx, struct cairn_loop *loop, void (*work)(void *arg), void (*done)(void *arg), void *arg)
{
    struct cairn_server *s = ctx;
    struct blocking_job *b = calloc(1, sizeof(*b));
    int rc;

    if (b == NULL)
        return CAIRN_E_NOMEM;
    *b = (struct blocking_job){ .work = work, .done = done, .arg = arg };
    b->job.work = on_blocking_work;
    b->job.done = on_blocking_done;
    b->job.arg = b;
    rc = cairn_pool_submit(s->pool, loop, &b->job);
    if (rc != 0)
        free(b);
    return rc;
}

static uint32_t power_of_two(uint32_t n)
{
    uint32_t p = 1;

    while (p * 2 <= n)
        p *= 2;
    return p;
}

/* A node that no other machine can reach must not open a fabric endpoint that one could. */
static bool is_local_only(const struct cairn_node_conf *conf)
{
    for (uint32_t i = 0; i < conf->nlisten; i++) {
        struct cairn_addr a;

        if (cairn_addr_parse(conf->listen[i], &a, NULL) != 0 ||
            (!cairn_addr_is_unix(&a) && !cairn_addr_is_loopback(&a)))
            return false;
    }
    return true;
}

static int open_rpc(struct cairn_server *s, struct cairn_err *err)
{
    struct cairn_bulk_conf bulk = { .vm = s->conf.bulk_vm, .fabric = s->conf.bulk_fabric };
    struct cairn_rpc_conf conf = {
        .targets = s->targets,
        .ntargets = s->ntargets,
        .inflight_max = power_of_two(s->conf.inflight_requests_max),
        .inflight_bytes_max = (uint32_t)MIN(s->conf.inflight_bytes_max, (uint64_t)UINT32_MAX),
        .output_bytes_max = (uint32_t)MIN(s->conf.inflight_bytes_max, (uint64_t)UINT32_MAX),
        .budget = &s->budget,
    };

    snprintf(bulk.provider, sizeof(bulk.provider), "%s", s->conf.fabric_provider);
    snprintf(bulk.domain, sizeof(bulk.domain), "%s",
             s->conf.fabric_domain[0] == '\0' && is_local_only(&s->conf) ? "lo" : s->conf.fabric_domain);
    s->budget.bytes_max = s->conf.node_bytes_max;
    s->rpc_node.workers = s->rpcs;
    s->rpc_node.nworkers = s->nworkers;
    s->rpc_node.blocking = run_blocking;
    s->rpc_node.blocking_ctx = s;
    for (uint32_t i = 0; i < s->nworkers; i++) {
        struct cairn_worker *w = &s->workers[i];
        int rc;

        conf.index = i;
        conf.stats = s->stats[i] = cairn_rpc_stats_set_new(s->targets, s->ntargets);
        if (conf.stats == NULL)
            return cairn_err_set(err, CAIRN_E_NOMEM, "metrics");
        w->rpc = s->rpcs[i] = cairn_rpc_new(&w->loop, &conf, err);
        if (w->rpc == NULL)
            return err->code;
        rc = cairn_bulk_attach(w->rpc, &bulk, err);
        if (rc != 0)
            return rc;
        w->has_bulk = true;
        s->bulks[i] = cairn_bulk_counters(w->rpc);
        cairn_rpc_serve(w->rpc, &s->rpc_node);
        for (uint32_t k = s->conf.nproviders; k < s->ninstances; k++) {
            struct cairn_instance *p = &s->instances[k];

            if (p->desc == &cairn_cluster_desc)
                cairn_cluster_attach(p->ctx, w->rpc);
            else
                cairn_router_attach(p->ctx, w->rpc);
        }
    }
    return 0;
}

static bool is_healthy(void *arg, char *reason, size_t len)
{
    struct cairn_server *s = arg;

    if (!atomic_load(&s->rpc_node.draining))
        return true;
    snprintf(reason, len, "draining");
    return false;
}

static int open_metrics(struct cairn_server *s, struct cairn_err *err)
{
    struct cairn_addr addr;
    int fd, rc;

    for (uint32_t i = 0; i < s->ninstances; i++)
        s->descs[NODE_FIXED_TARGETS - 1 + i] = s->instances[i].desc;
    s->metrics = (struct cairn_metrics){
        .node = s->conf.name,
        .version = CAIRN_VERSION,
        .started_ns = s->started_ns,
        .env = &s->workers[0].loop.env,
        .insecure = s->conf.insecure,
        .targets = s->targets,
        .descs = s->descs,
        .ntargets = s->ntargets,
        .sets = s->stats,
        .bulks = s->bulks,
        .nsets = s->nworkers,
        .counters = &s->rpc_node.counters,
        .pool = s->pool,
        .healthy = is_healthy,
        .healthy_arg = s,
    };
    if (s->conf.metrics_listen[0] == '\0')
        return 0;
    rc = cairn_addr_parse(s->conf.metrics_listen, &addr, err);
    fd = rc == 0 ? cairn_activation_take(&s->handed, &addr) : -1;
    if (rc == 0 && fd < 0)
        rc = cairn_addr_listen(&addr, 16, 0666, &fd, err);
    if (rc != 0)
        return cairn_err_wrap(err, rc, "metrics.listen");
    s->metrics_http = cairn_metrics_serve(&s->metrics, &s->workers[0].loop, fd, err);
    return s->metrics_http != NULL ? 0 : err->code;
}

static void first_in_use(void *arg, int rc, const struct cairn_err *err)
{
    struct cairn_err *first = arg;

    if (rc == CAIRN_E_LOCKED && first->code == 0)
        *first = *err;
}

/* Before directories are made for a node that cannot be. To listen finds out again, for whoever comes between. */
static int look_for_others(const struct cairn_server *s, struct cairn_err *err)
{
    struct cairn_err first = { 0 };

    cairn_node__check_addresses(&s->conf, &s->handed, first_in_use, &first);
    if (first.code != 0)
        *err = first;
    return first.code;
}

static void on_entry(const struct cairn_map_entry *e, void *arg)
{
    (void)e;
    *(bool *)arg = false;
}

/* The map before the data directory: a new one is of the cluster whose map it is. */
static int open_data(struct cairn_server *s, bool is_program, struct cairn_err *err)
{
    struct cairn_waiting waiting = { .node = s, .is_program = is_program };
    struct cairn_map_identity id;
    int rc = 0;

    if (s->conf.map_etcd)
        rc = cairn_node__open_etcd(&s->conf, &s->workers[0].loop, cairn_node__waits, &waiting, &s->map, err);
    cairn_node__waited(&waiting);
    if (rc == 0)
        rc = cairn_node__adopt_cluster(s->map, s->conf.cluster, &id, err);
    if (rc == 0)
        rc = cairn_datadir_open(&s->data, s->conf.data, id.cluster, err);
    if (rc == 0 && s->map != NULL)
        rc = cairn_node__check_no_own_map(s->conf.data, err);
    s->map_was_empty = s->map != NULL;
    if (s->map != NULL)
        cairn_map_store_each(s->map, "", on_entry, &s->map_was_empty);
    if (rc == 0 && s->map != NULL)
        rc = cairn_node__claim_map(s->map, &s->data, err);
    return rc;
}

int cairn_node__open(struct cairn_server *s, const struct cairn_server_options *options, struct cairn_err *err)
{
    int rc = cairn_node__needs_data(&s->conf, err);

    if (rc == 0)
        rc = open_log(s, options, err);
    if (rc == 0)
        rc = look_for_others(s, err);
    if (rc == 0)
        rc = open_loops(s, err);
    if (rc == 0)
        rc = open_data(s, options->service, err);
    if (rc == 0)
        s->spare.dir = s->data.path;
    if (rc == 0)
        rc = open_identity(s, err);
    if (rc == 0) {
        s->pool = cairn_pool_new(s->conf.pool_threads, POOL_QUEUE_MAX, err);
        rc = s->pool != NULL ? 0 : err->code;
    }
    if (rc == 0)
        rc = cairn_node__add_group(s, err);
    if (rc == 0)
        rc = cairn_node__plan_instances(s, err);
    if (rc == 0)
        rc = check_machines(s, err);
    if (rc == 0)
        rc = cairn_node__spares_make_way(s, err);
    if (rc == 0)
        rc = cairn_node__start_instances(s, err);
    if (rc == 0)
        cairn_node__spares_keep(s);
    if (rc == 0)
        rc = open_rpc(s, err);
    if (rc == 0)
        rc = open_metrics(s, err);
    if (rc == 0)
        rc = cairn_node__listen(s, err);
    if (rc == 0)
        rc = cairn_watchdog_new(&s->notify, s->loops, s->nworkers, &s->watchdog, err);
    return rc;
}

/* Closes whatever open() got to. The workers' threads have ended. */
void cairn_node__close(struct cairn_server *s)
{
    if (s->nworkers > 0 && s->workers != NULL && s->workers[0].has_loop)
        cairn_node__listen_stop(s);
    cairn_http_stop(s->metrics_http);
    for (uint32_t i = 0; s->workers != NULL && i < s->nworkers; i++) {
        if (s->workers[i].has_bulk)
            cairn_bulk_detach(s->workers[i].rpc);
        if (s->workers[i].rpc != NULL)
            cairn_rpc_free(s->workers[i].rpc);
    }
    for (uint32_t i = s->ninstances; i-- > 0;) {
        if (s->instances[i].started)
            s->instances[i].desc->stop(s->instances[i].ctx);
    }
    if (s->map != NULL)
        cairn_map_store_close(s->map);
    if (s->pool != NULL)
        cairn_pool_free(s->pool);
    for (uint32_t i = 0; s->workers != NULL && i < s->nworkers; i++) {
        if (s->workers[i].has_loop)
            cairn_loop_fini(&s->workers[i].loop);
    }
    cairn_watchdog_free(s->watchdog);
    cairn_activation_close(&s->handed);
    for (uint32_t i = 0; s->stats != NULL && i < s->nworkers; i++)
        cairn_rpc_stats_set_free(s->stats[i]);
    free(s->stats);
    free(s->bulks);
    free(s->workers);
    free(s->rpcs);
    free(s->loops);
    if (s->data.lock_fd >= 0)
        cairn_node__spares_keep(s); /* what engines gave back at their end is there for the next start */
    cairn_node__spares_fini(s);
    cairn_datadir_close(&s->data);
    cairn_auth_forget(s->rpc_node.key, sizeof(s->rpc_node.key));
    cairn_notify_close(&s->notify);
    if (cairn_log_bound() == &s->log)
        cairn_log_bind(NULL);
    if (s->has_log)
        cairn_log_fini(&s->log);
    if (s->log_file_fd >= 0)
        close(s->log_file_fd);
    cairn_node_conf_free(&s->conf);
    cairn_node__free_group(s);
    free(s->instances);
    pthread_cond_destroy(&s->stopped_cond);
    pthread_mutex_destroy(&s->mutex);
    free(s);
}
