/* The service's life, and what the node sees of it: see cluster.h. */
#include "server/cluster/service/cluster_home.h"
#include "server/cluster/service/fetch.h"
#include "server/cluster/service/scrub.h"

#include "sdk/core/base/log.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { LOOK_MS = 500 };

/* ---- what is seen ---- */

static void see_generation(struct cluster_home *h, const struct cairn_map_entry *e)
{
    struct cairn_map_generation before = h->seen.generation, now;

    if (!cairn_map_generation_read(e->value, e->value_len, &now))
        return;
    pthread_mutex_lock(&h->mutex);
    h->seen.generation = now;
    pthread_mutex_unlock(&h->mutex);
    if (before.id != 0 && before.id != now.id)
        cairn_map_store_reload(h->c.map);
}

/* What holds for all nodes, whatever their configurations say. */
static void on_conf(struct cairn_map_watch *w, enum cairn_map_news news, const struct cairn_map_entry *e,
                    uint64_t revision)
{
    struct cluster_home *h = w->arg;
    uint64_t lease;

    (void)revision;
    if (news != CAIRN_MAP_ENTRY || e->value == NULL)
        return;
    if (strcmp(e->key, CAIRN_CLUSTER_KEY_CONF) == 0)
        atomic_store(&h->c.nslots, cairn_cluster__nslots_of(e));
    if (strcmp(e->key, CAIRN_MAP_GENERATION_KEY) == 0)
        see_generation(h, e);
    lease = strcmp(e->key, CAIRN_CLUSTER_KEY_LEASE) == 0 ? cairn_cluster__lease_of(e) : 0;
    if (lease == 0)
        return;
    if (lease != h->c.conf.lease_ns)
        cairn_log_warn("the lease is %" PRIu64 " ms, as the cluster has it, not as this node's configuration says",
                       lease / CAIRN_NS_PER_MS);
    h->c.lease_times.length_ns = lease;
    h->c.lease_times.heartbeat_ns = MIN(h->c.conf.heartbeat_ns, lease / 4);
    h->lease_is_known = true;
}

static void on_look(void *arg)
{
    struct cluster_home *h = arg;
    struct cairn_wire_member m;
    struct cairn_arena arena;

    cairn_arena_init(&arena, 8192);
    pthread_mutex_lock(&h->mutex);
    h->seen.coordinator[0] = '\0';
    if (cairn_cluster__coordinator(&h->c, &arena, &m) != 0)
        snprintf(h->seen.coordinator, sizeof(h->seen.coordinator), "%s", m.name);
    if (h->seen.coordinator[0] != '\0' || h->seen.known_ns == 0)
        h->seen.known_ns = cairn_loop_now(h->c.home);
    h->seen.coordinates = h->coordinator_runs && cairn_coordinator_is_serving(&h->coordinator);
    h->seen.counts = h->coordinator.counts;
    snprintf(h->seen.problem, sizeof(h->seen.problem), "%s", side_life_problem(&h->c));
    pthread_mutex_unlock(&h->mutex);
    cairn_map_store_shared_by(h->c.map, cairn_cluster_records_nmembers(h->c.records));
    cairn_arena_reset(&arena);
    cairn_timer_start(&h->c.home->env, &h->look, cairn_loop_now(h->c.home) + LOOK_MS * CAIRN_NS_PER_MS);
}

/* ---- life ---- */

int cairn_cluster_start(const struct cairn_provider_env *env, const struct cairn_cluster_conf *conf, void **ctx,
                        struct cairn_err *err)
{
    struct cluster_home *h = calloc(1, sizeof(*h));
    struct cairn_cluster *c;
    int rc = 0;

    if (h == NULL)
        return cairn_err_set(err, CAIRN_E_NOMEM, "cluster");
    c = &h->c;
    c->env = env;
    c->conf = *conf;
    cairn_host_id(h->host);
    c->lease_times = (struct cairn_lease_times){ .length_ns = conf->lease_ns,
                                                 .heartbeat_ns = conf->heartbeat_ns,
                                                 .slack_ns = CAIRN_CLUSTER_SLACK_NS,
                                                 .drift_ppm = CAIRN_CLUSTER_DRIFT_PPM };
    c->replica_times = (struct cairn_replica_times){ .resend_ns = conf->resend_ns,
                                                     .ack_ns = conf->ack_ns,
                                                     .learner_ns = conf->learner_ns,
                                                     .session_ttl_ns = conf->session_ttl_ns };
    h->times = c->lease_times;
    c->map = conf->map;
    c->home = env->loops[0];
    c->node = conf->node_id;
    c->disk_id = conf->disk_id;
    c->coordinator = &h->coordinator;
    c->rpcs = calloc(env->nloops, sizeof(struct cairn_rpc *));
    h->news = calloc(CLUSTER_NEWS_MAX, sizeof(*h->news));
    pthread_mutex_init(&h->mutex, NULL);
    cluster_tell_init(h);
    cairn_timer_init(&h->look, on_look, h);
    if (c->rpcs == NULL || h->news == NULL)
        rc = cairn_err_set(err, CAIRN_E_NOMEM, "cluster");
    if (rc == 0) {
        rc = cairn_cluster__side_start(c, err);
        if (rc != 0)
            cairn_cluster__side_stop(c);
    }
    if (rc != 0) {
        pthread_mutex_destroy(&h->mutex);
        free(h->news);
        free(c->rpcs);
        free(h);
        return rc;
    }
    if (env->gossip != NULL)
        env->gossip->self = (struct cairn_gossip_self){ .node = c->node, .process = c->side->process };
    *ctx = c;
    return 0;
}

void cairn_cluster_attach(void *ctx, struct cairn_rpc *rpc)
{
    struct cairn_cluster *c = ctx;

    c->rpcs[cairn_rpc_index(rpc)] = rpc;
    cairn_cluster__side_attach(c, rpc);
}

static int cluster_start(const struct cairn_provider_env *env, void **ctx, struct cairn_err *err)
{
    (void)env;
    (void)ctx;
    return cairn_err_set(err, CAIRN_E_INVAL, "a cluster's service has a configuration of its own");
}

static void cluster_run(void *ctx)
{
    struct cluster_home *h = home_of(ctx);

    h->conf_watch = (struct cairn_map_watch){ .prefix = "cluster/", .fn = on_conf, .arg = h };
    cairn_map_watch_start(&h->c.map->view, &h->conf_watch);
    cluster_coordinator_begin(h);
    cairn_cluster__side_run(&h->c);
    on_look(h);
}

bool cairn_cluster__is_telling(struct cairn_cluster *c)
{
    struct cluster_home *h = home_of(c);

    return h->coordinator_runs && cairn_coordinator_is_serving(&h->coordinator) && (h->nnews > 0 || h->ntells > 0);
}

static void cluster_leave(void *ctx, uint64_t within_ns, void (*done)(void *arg), void *arg)
{
    cairn_cluster__side_leave(ctx, within_ns, done, arg);
}

/* Another one is to coordinate while our clients are still being answered; of that one we hear as ever. */
static void cluster_drain(void *ctx)
{
    struct cluster_home *h = home_of(ctx);

    if (h->coordinator_runs)
        cairn_coordinator_stop(&h->coordinator);
}

/* When all is over: once. */
void cluster_quiesce_step(struct cluster_home *h)
{
    void (*quiesced)(void *arg) = h->quiesced;

    if (!h->quiescing || !h->side_is_over || h->coordinator_runs || h->ntells > 0 || quiesced == NULL)
        return;
    h->quiesced = NULL;
    quiesced(h->quiesced_arg);
}

/* The node's half has ended, so nobody here asks the coordinator any more. */
static void on_side_quiesced(void *arg)
{
    struct cluster_home *h = arg;

    cairn_timer_stop(&h->c.home->env, &h->look);
    cairn_map_watch_stop(&h->conf_watch);
    cluster_tell_stop(h);
    h->side_is_over = true;
    cluster_quiesce_step(h);
}

static void cluster_quiesce(void *ctx, void (*done)(void *arg), void *arg)
{
    struct cluster_home *h = home_of(ctx);

    h->quiescing = true;
    h->quiesced = done;
    h->quiesced_arg = arg;
    cairn_cluster__side_quiesce(&h->c, on_side_quiesced, h);
}

static void cluster_stop(void *ctx)
{
    struct cluster_home *h = home_of(ctx);

    cairn_cluster__side_stop(&h->c);
    pthread_mutex_destroy(&h->mutex);
    free(h->news);
    free(h->c.rpcs);
    free(h);
}

static void cluster_status(void *ctx, json_t *to)
{
    struct cluster_home *h = home_of(ctx);
    const struct cairn_coordinator_counts *n = &h->seen.counts;
    struct cairn_map_health health;
    bool known, missed, degraded;

    cairn_map_store_health(h->c.map, &health);
    pthread_mutex_lock(&h->mutex);
    known = h->seen.coordinator[0] != '\0';
    /* After a start, and when one coordinator follows another, there is none for a moment. */
    missed = !known && h->seen.known_ns != 0 &&
             cairn_env_now_ns(&h->c.home->env) - h->seen.known_ns > 2 * h->c.conf.election_ns;
    json_object_set_new(to, "coordinator", json_string(known ? h->seen.coordinator : "none"));
    json_object_set_new(to, "coordinates", json_boolean(h->seen.coordinates));
    if (h->seen.coordinates) {
        json_t *counts = cairn_coordinator_counts_json(n);

        json_object_update(to, counts);
        json_decref(counts);
    }
    if (h->seen.problem[0] != '\0')
        json_object_set_new(to, "problem", json_string(h->seen.problem));
    json_object_set_new(to, "map_generation", json_integer(cairn_map_generation_number(h->seen.generation.id)));
    if (h->seen.generation.kept != 0)
        json_object_set_new(to, "map_put_back",
                            json_pack("{s:I, s:I}", "to", (json_int_t)h->seen.generation.kept, "lost_up_to",
                                      (json_int_t)h->seen.generation.lost));
    if (n->no_room > 0 && json_object_get(to, "problem") == NULL)
        json_object_set_new(to, "problem",
                            json_sprintf("%u replicas of slots have no place: the nodes that are to get them hold as "
                                         "many slots as a node can; more nodes are needed",
                                         n->no_room));
    degraded = missed || n->no_room > 0 || h->seen.problem[0] != '\0' || !health.reachable || n->lost > 0 ||
               n->silent > 0 || n->degraded > 0;
    json_object_set_new(to, "health", json_string(degraded ? "degraded" : "ok"));
    pthread_mutex_unlock(&h->mutex);
    json_object_set_new(to, "store_entries_read", json_integer((json_int_t)health.entries_read));
    json_object_set_new(to, "store_entries_told", json_integer((json_int_t)health.entries_told));
    cairn_cluster__side_status(&h->c, to);
}

static const struct cairn_sm_kind *const cluster_machines[] = {
    &cairn_coordinator_kind, &cairn_writes_kind,       &cairn_election_kind,
    &cairn_map_lease_kind,   &side_life_kind,          &side_leave_kind,
    &cairn_replica_kind,     &cairn_replica_copy_kind, &cairn_replica_load_kind,
    &store_start_kind,       &store_apply_kind,        &store_job_kind,
    &store_view_kind,        &cluster_fetch_kind,      &store_scan_kind,
    &scrub_key_kind,         &side_scrub_kind,         NULL,
};

static const struct cairn_conf_key cluster_schema[] = { { .name = NULL } };

const struct cairn_provider_desc cairn_cluster_desc = {
    .type = "cluster",
    .iface = &cairn_iface_cluster,
    .handlers = cluster_handlers,
    .schema = cluster_schema,
    .machines = cluster_machines,
    .start = cluster_start,
    .run = cluster_run,
    .leave = cluster_leave,
    .drain = cluster_drain,
    .quiesce = cluster_quiesce,
    .stop = cluster_stop,
    .status = cluster_status,
};
