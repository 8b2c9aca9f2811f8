/* The life of a node of the replicated world: with MAP (who it is, what it knows, how long it may lead), and with its
 * disk. */
#include "tests/sim/repl_internal.h"

#include <stdlib.h>

const struct cairn_lease_times rw_lease_times = {
    .length_ns = 2000 * MS, .heartbeat_ns = 500 * MS, .slack_ns = 50 * MS, .drift_ppm = 1000
};

/* ---- what is done now and then ---- */

static void on_upkeep(void *arg)
{
    struct repl_node *n = arg;
    struct repl_world *rw = n->rw;
    struct cairn_env *env = env_of(rw, n->index);

    cairn_timer_start(env, &n->upkeep,
                      cairn_env_now_ns(env) + rw->conf.checkpoint_ns / 2 + dice(rw, rw->conf.checkpoint_ns));
    rw_checkpoint_begin(&n->slots[dice(rw, rw->conf.slots)]);
    for (uint32_t i = 0; i < rw->conf.slots; i++) {
        if (cairn_replica_clean(&n->slots[i].replica))
            rw_judge_clean(&n->slots[i]);
    }
}

static void on_flush(void *arg)
{
    struct repl_node *n = arg;
    struct cairn_env *env = env_of(n->rw, n->index);

    cairn_timer_start(env, &n->flush, cairn_env_now_ns(env) + n->rw->conf.flush_ns);
    for (uint32_t i = 0; i < n->rw->conf.slots; i++)
        cairn_replica_flush(&n->slots[i].replica);
}

/* ---- leaving ---- */

bool rw_node_leave(struct repl_node *n)
{
    bool left = true;

    for (uint32_t i = 0; n->registered && i < n->rw->conf.slots; i++)
        left &= cairn_replica_leave(&n->slots[i].replica, true) == REPLICA_LEFT;
    return left;
}

static void on_leave(void *arg)
{
    struct repl_node *n = arg;
    struct cairn_env *env = env_of(n->rw, n->index);
    bool left = rw_node_leave(n);

    if (!left && cairn_env_now_ns(env) < n->leaves_until_ns) {
        cairn_timer_start(env, &n->leave, cairn_env_now_ns(env) + 20 * MS);
        return;
    }
    n->rw->left += left;
    n->rw->stopped += !left;
    repl_world_crash(n->rw, n->index); /* what is not synced is lost: a clean stop does no more harm than that */
}

void repl_world_begin_to_leave(struct repl_world *rw, uint32_t node)
{
    struct repl_node *n = &rw->nodes[node];
    struct cairn_env *env = env_of(rw, node);

    if (!n->up || n->leaves_until_ns != 0)
        return;
    n->leaves_until_ns = cairn_env_now_ns(env) + 3000 * MS;
    cairn_timer_start(env, &n->leave, cairn_env_now_ns(env) + 20 * MS);
}

/* ---- MAP ---- */

/* Only the answer to the newest one counts: it goes on from what is known now. */
void rw_node_fetch(struct repl_node *n)
{
    Cairn__Wire__ClusterFetch fetch = CAIRN__WIRE__CLUSTER_FETCH__INIT;

    fetch.since = n->revision;
    rw_post(n->rw, n->index, rw_map_host(n), RW_FETCH, n->process << 32 | ++n->fetches, &fetch, NULL, 0);
}

static void node_register(struct repl_node *n)
{
    const struct cairn_coord_process p = { .node = n->index, .disk_id = n->disk_id, .process = n->process };
    struct cairn_coord_log logs[RW_SLOTS_MAX];
    uint8_t partial[RW_SLOTS_MAX / 8 + 1] = { 0 };
    const struct cairn_coord_told told = {
        .logs = logs, .nlogs = n->rw->conf.slots, .partial = partial, .partial_bytes = sizeof(partial)
    };

    for (uint32_t i = 0; i < n->rw->conf.slots; i++) { /* the log of a partial one is empty */
        logs[i] = (struct cairn_coord_log){ .slot = i, .end = rw_log_end(&n->slots[i].log) };
        partial[i / 8] |= (uint8_t)(n->slots[i].partial << i % 8);
    }
    rw_post(n->rw, n->index, rw_map_host(n), RW_REGISTER, 0, cairn_wire_register_put(&p, &told, &n->rw->post), NULL, 0);
}

static void node_beat(struct repl_node *n)
{
    struct cairn_env *env = env_of(n->rw, n->index);
    struct cairn_wire_heartbeat beat = {
        .who = n->self, .number = ++n->nbeats, .revision = n->revision, .term = n->term
    };

    n->beats[n->nbeats % ARRAY_SIZE(n->beats)].number = n->nbeats;
    n->beats[n->nbeats % ARRAY_SIZE(n->beats)].sent_ns = cairn_env_now_ns(env);
    rw_post(n->rw, n->index, rw_map_host(n), RW_BEAT, 0, cairn_wire_heartbeat_put(&beat, &n->rw->post), NULL, 0);
}

static void on_beat(void *arg)
{
    struct repl_node *n = arg;
    struct cairn_env *env = env_of(n->rw, n->index);

    cairn_timer_start(env, &n->beat, cairn_env_now_ns(env) + rw_lease_times.heartbeat_ns);
    if (n->registered)
        node_beat(n);
    else
        node_register(n);
}

static void on_registered(struct repl_node *n, struct rw_letter *l)
{
    struct cairn_coord_process p;
    struct cairn_err err;

    rw_must(cairn_wire_registered_get((const void *)l->message, &p, &err), &err);
    if (n->registered || p.process != n->process)
        return;
    n->registered = true;
    n->self = (struct cairn_who){ .node = n->index, .inc = p.inc };
    if (n->wiped_before_inc == UINT64_MAX)
        n->wiped_before_inc = n->self.inc;
    n->lease = (struct cairn_lease){ 0 };
    rw_regions_begin(n);
    for (uint32_t i = 0; i < n->rw->conf.slots; i++)
        rw_slot_begin(&n->slots[i], i);
    on_beat(n);
    if (n->rw->conf.checkpoint_ns > 0)
        on_upkeep(n);
    on_flush(n);
}

static bool node_learn(struct repl_node *n, const struct cairn_wire_page *page)
{
    for (uint32_t i = 0; i < page->nslots; i++) {
        if (cairn_replica_learn(&n->slots[page->slots[i].slot].replica, &page->slots[i].rec) != 0)
            return false;
    }
    return true;
}

/* All that was in the map at the grant is learned. */
static void node_take_grant(struct repl_node *n)
{
    unsigned i = n->granted % ARRAY_SIZE(n->beats);

    if (n->granted == 0 || n->beats[i].number != n->granted)
        return;
    cairn_lease_granted(&n->lease, &rw_lease_times, n->granted, n->beats[i].sent_ns);
    n->granted = 0;
    for (uint32_t k = 0; k < n->rw->conf.slots; k++)
        cairn_replica_on_lease(&n->slots[k].replica);
}

/* The page begins where the map that we know ends, or before. */
static void node_take_page(struct repl_node *n, const struct cairn_wire_page *page)
{
    if (!node_learn(n, page))
        return;
    n->revision = MAX(n->revision, page->revision);
    if (page->more)
        rw_node_fetch(n);
    else
        node_take_grant(n);
}

static void on_grant(struct repl_node *n, struct rw_letter *l)
{
    struct cairn_wire_grant g;
    struct cairn_err err;

    rw_must(cairn_wire_grant_get((const void *)l->message, &l->arena, &g, &err), &err);
    if (!cairn_who_is(g.who, n->self) || n->beats[g.number % ARRAY_SIZE(n->beats)].number != g.number)
        return;
    if (g.term > n->term) { /* the heartbeat was another coordinator's: one that counts is sent at once */
        n->term = g.term;
        node_beat(n);
    }
    if (g.wants_register)
        node_register(n);
    if (g.granted)
        n->granted = g.number;
    node_take_page(n, &g.page);
}

static void on_records(struct repl_node *n, struct rw_letter *l)
{
    struct cairn_wire_page page;
    struct cairn_err err;

    rw_must(cairn_wire_page_get((const void *)l->message, &l->arena, &page, &err), &err);
    if (l->kind == RW_PUBLISH)
        node_learn(n, &page); /* some of what is new: it does not say that this is all */
    else if (l->id == (n->process << 32 | n->fetches))
        node_take_page(n, &page);
}

static void on_verdict(struct repl_node *n, struct rw_letter *l)
{
    struct cairn_slot_record rec;
    enum cairn_verdict verdict;
    struct cairn_change c;
    struct cairn_err err;

    rw_must(cairn_wire_verdict_get((const void *)l->message, &c, &verdict, &rec, &err), &err);
    cairn_replica_on_verdict(&n->slots[c.slot].replica, &c, verdict, rec.epoch != 0 ? &rec : NULL);
}

void rw_node_begin(struct repl_node *n)
{
    n->up = true;
    n->registered = n->failed = false;
    n->revision = n->granted = n->term = n->leaves_until_ns = 0;
    n->process++;
    n->machines = calloc(1, sizeof(*n->machines));
    CAIRN_ASSERT(n->machines != NULL);
    cairn_sm_set_init(n->machines, env_of(n->rw, n->index));
    cairn_timer_init(&n->beat, on_beat, n);
    cairn_timer_init(&n->upkeep, on_upkeep, n);
    cairn_timer_init(&n->flush, on_flush, n);
    cairn_timer_init(&n->leave, on_leave, n);
    on_beat(n);
}

void rw_node_end(struct repl_node *n, bool power)
{
    for (uint32_t i = 0; i < n->rw->conf.slots; i++) {
        if (n->registered)
            cairn_replica_fini(&n->slots[i].replica);
        if (power)
            rw_judge_power(n->rw, i, n->index);
        rw_disk_crash(n->rw, &n->slots[i], power);
    }
    rw_regions_end(n);
    cairn_sm_set_fini(n->machines);
    free(n->machines);
    n->up = n->registered = n->failed = false;
}

void rw_node_receive(struct repl_node *n, struct rw_letter *l)
{
    if (l->kind == RW_REGISTERED)
        on_registered(n, l);
    if (!n->registered)
        return;
    switch (l->kind) {
    case RW_REPL:
        rw_node_repl(n, l);
        break;
    case RW_GRANT:
        on_grant(n, l);
        break;
    case RW_VERDICT:
        on_verdict(n, l);
        break;
    case RW_RECORDS:
    case RW_PUBLISH:
        on_records(n, l);
        break;
    case RW_REGIONS:
    case RW_REGION_READ:
    case RW_REGION:
        rw_regions_receive(n, l);
        break;
    default:
        break;
    }
}
