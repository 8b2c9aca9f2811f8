/* The service's life, and what the node sees of it: see cluster.h. */
#include "server/cluster/service/cluster_home.h"
#include "server/cluster/service/fetch.h"
#include "server/cluster/service/scrub.h"

#include "sdk/core/base/log.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { LOOK_MS = 500 };

/* ---- who we are, and who coordinates ---- */

/* "tcp://0.0.0.0:7000" is where we listen, and nothing that others could use: they need the host's name. */
static const char *reachable(const char *address, struct cairn_arena *a)
{
    static const char *const every[] = { "tcp://0.0.0.0:", "tcp://[::]:" };
    char host[256] = "localhost", *text;

    for (size_t i = 0; i < ARRAY_SIZE(every); i++) {
        size_t n = strlen(every[i]);

        if (strncmp(address, every[i], n) != 0)
            continue;
        (void)gethostname(host, sizeof(host) - 1);
        text = cairn_arena_alloc(a, CAIRN_MEMBER_ADDRESS_BYTES_MAX);
        if (text == NULL || (size_t)snprintf(text, CAIRN_MEMBER_ADDRESS_BYTES_MAX, "tcp://%s:%s", host, address + n) >=
                                CAIRN_MEMBER_ADDRESS_BYTES_MAX)
            return NULL;
        return text;
    }
    return strlen(address) < CAIRN_MEMBER_ADDRESS_BYTES_MAX ? address : NULL;
}

/* Those over TCP first; unix sockets are of use to those who are on the same machine, which @host tells them. */
static void add_addresses(struct cairn_cluster *c, bool tcp, struct cairn_arena *a, struct cairn_wire_member *m)
{
    const struct cairn_provider_node *n = c->env->node;

    for (uint32_t i = 0; i < *n->naddresses && m->naddresses < CAIRN_WIRE_ADDRESSES_MAX; i++) {
        const char *text;

        if ((strncmp(n->addresses[i], "tcp://", 6) == 0) != tcp)
            continue;
        text = reachable(n->addresses[i], a);
        if (text != NULL)
            m->addresses[m->naddresses++] = text;
    }
}

/* The addresses of its groups are for other nodes, which look for them there (life_group.c). */
void cairn_cluster__self(struct cairn_cluster *c, struct cairn_arena *a, struct cairn_wire_member *m)
{
    const struct cairn_gossip *g = c->env->gossip;

    *m = (struct cairn_wire_member){ .node = c->node,
                                     .name = c->env->node->name,
                                     .zone = c->conf.zone,
                                     .host = home_of(c)->host,
                                     .weight = c->conf.weight,
                                     .state = CAIRN_WIRE_MEMBER_UP };
    for (uint32_t i = 0; i < c->conf.naddresses; i++)
        m->addresses[m->naddresses++] = c->conf.addresses[i];
    if (m->naddresses == 0)
        add_addresses(c, true, a, m);
    for (uint32_t i = 0; g != NULL && i < g->ncarriers && m->naddresses < CAIRN_WIRE_ADDRESSES_MAX; i++) {
        if (g->carriers[i]->address[0] != '\0')
            m->addresses[m->naddresses++] = g->carriers[i]->address;
    }
    add_addresses(c, false, a, m);
}

static char *copy_text(struct cairn_arena *a, const char *text)
{
    size_t n = strlen(text) + 1;
    char *copy = cairn_arena_alloc(a, n);

    return copy != NULL ? memcpy(copy, text, n) : NULL;
}

/* Strings of @m, which are about to be freed, into @a. */
static bool keep_texts(struct cairn_wire_member *m, struct cairn_arena *a)
{
    m->name = copy_text(a, m->name);
    m->zone = copy_text(a, m->zone);
    m->host = copy_text(a, m->host);
    for (uint32_t i = 0; i < m->naddresses; i++) {
        m->addresses[i] = copy_text(a, m->addresses[i]);
        if (m->addresses[i] == NULL)
            return false;
    }
    return m->name != NULL && m->zone != NULL && m->host != NULL;
}

static void on_holder(const struct cairn_map_entry *e, void *arg)
{
    Cairn__Wire__MemberUpdate **w = arg;

    if (*w == NULL && strcmp(e->key, CAIRN_CLUSTER_KEY_COORDINATOR) == 0)
        *w = cairn__wire__member_update__unpack(NULL, e->value_len, e->value);
}

uint64_t cairn_cluster__coordinator(struct cairn_cluster *c, struct cairn_arena *a, struct cairn_wire_member *m)
{
    Cairn__Wire__MemberUpdate *w = NULL;
    bool ok;

    if (!home_of(c)->lease_is_known)
        return 0;
    cairn_map_store_each(c->map, CAIRN_CLUSTER_KEY_COORDINATOR, on_holder, &w);
    if (w == NULL)
        return 0;
    ok = cairn_wire_member_get(w, m, NULL) == 0 && keep_texts(m, a);
    cairn__wire__member_update__free_unpacked(w, NULL);
    return ok ? m->node : 0;
}

/* ---- the coordinator's node ---- */

static int co_put_slot(struct cairn_coordinator *co, uint32_t slot, const struct cairn_slot_record *rec,
                       uint64_t revision)
{
    struct cairn_cluster *c = co->arg;

    return cairn_cluster_records_put_slot(c->records, slot, rec, revision);
}

static int co_put_member(struct cairn_coordinator *co, const struct cairn_wire_member *m, uint64_t revision)
{
    struct cairn_cluster *c = co->arg;

    return cairn_cluster_records_put_member(c->records, m, revision);
}

static void co_upto(struct cairn_coordinator *co, uint64_t revision)
{
    struct cairn_cluster *c = co->arg;

    cairn_cluster_records_upto(c->records, revision);
    cairn_cluster__side_say(c);
}

static uint64_t co_known(struct cairn_coordinator *co, uint64_t *upto)
{
    return cairn_cluster__side_map_known(co->arg, upto);
}

static void co_read(struct cairn_coordinator *co, uint64_t map, uint64_t revision)
{
    cairn_cluster__side_map_is(co->arg, map, revision);
}

static void co_publish(struct cairn_coordinator *co, uint32_t slot, const struct cairn_slot_record *rec,
                       const uint64_t *nodes, uint32_t n)
{
    cluster_tell(home_of(co->arg), slot, rec, nodes, n);
}

static void co_ended(struct cairn_coordinator *co)
{
    struct cluster_home *h = home_of(co->arg);

    h->coordinator_runs = false;
    cluster_tell_stop(h);
    cluster_quiesce_step(h);
}

static void co_give_up(struct cairn_coordinator *co)
{
    cairn_cluster__side_give_up(co->arg);
}

static void co_other(struct cairn_coordinator *co)
{
    cairn_cluster__side_follow(co->arg);
}

static int co_work(struct cairn_coordinator *co, struct cairn_job *job)
{
    struct cairn_cluster *c = co->arg;

    return cairn_pool_submit(c->env->pool, c->home, job);
}

static uint32_t co_named(struct cairn_coordinator *co)
{
    return cairn_coordinator_named_in(co->store);
}

static enum cairn_gossip_belief co_believes(struct cairn_coordinator *co, const struct cairn_gossip_self *who)
{
    struct cairn_cluster *c = co->arg;

    return c->env->gossip != NULL ? cairn_gossip_believes(c->env->gossip, who) : CAIRN_GOSSIP_UNKNOWN;
}

static const struct cairn_coordinator_ops coordinator_ops = {
    .believes = co_believes,
    .give_up = co_give_up,
    .other = co_other,
    .put_slot = co_put_slot,
    .put_member = co_put_member,
    .upto = co_upto,
    .known = co_known,
    .read = co_read,
    .publish = co_publish,
    .work = co_work,
    .named = co_named,
    .ended = co_ended,
};

static void coordinator_begin(struct cluster_home *h)
{
    struct cairn_wire_member self;
    struct cairn_arena arena;
    Cairn__Wire__MemberUpdate *w;

    cairn_arena_init(&arena, sizeof(h->value) * 2);
    cairn_cluster__self(&h->c, &arena, &self);
    w = cairn_wire_member_put(&self, &arena);
    h->coordinator = (struct cairn_coordinator){ .store = h->c.map,
                                                 .ops = &coordinator_ops,
                                                 .conf = &h->c.conf,
                                                 .times = &h->times,
                                                 .value = h->value,
                                                 .name = h->c.env->node->name,
                                                 .arg = &h->c };
    if (w != NULL && cairn__wire__member_update__get_packed_size(w) <= sizeof(h->value)) {
        h->coordinator.value_len = (uint32_t)cairn__wire__member_update__pack(w, h->value);
        h->coordinator_runs = true;
        cairn_coordinator_start(&h->coordinator);
    }
    cairn_arena_reset(&arena);
}

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
    coordinator_begin(h);
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
