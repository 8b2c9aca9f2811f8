/* This node and the coordinator: HEARTBEAT; REGISTER is in life_register.c, what a grant and other nodes bring, and the
 * lease, in life_learn.c; what becomes of all of it when the map is another in life_anew.c. At home.
 *
 *  LOADING ---> SEEKING ---> REGISTERING ---> ENTERING ---> BEATING ---> CEASING ---> SEEKING
 *  BEATING ---> PARTING
 *  REGISTERING may also go to SEEKING; all to ENDED.
 *
 *  LOADING      the workers look what is on disk.
 *  SEEKING      nobody coordinates, as far as is known, or he did not answer.
 *  REGISTERING  REGISTER is under way.
 *  ENTERING     the workers' replicas come to life.
 *  BEATING      registered: heartbeats.
 *  CEASING      the map is another: the workers' replicas end their part in the old one.
 *  PARTING      the coordinator is told that this process stops: no heartbeats any more.
 *  ENDED        the node ends. */
#include "server/cluster/service/life_internal.h"

#include "sdk/core/base/log.h"
#include "server/cluster/service/coordinator.h"

#include <inttypes.h>
#include <stdlib.h>

enum { EAGER_MS = 10, EAGER_OTHER_MS = 50, EAGER_MS_MAX = 2000 }; /* OTHER: all nodes want another's grant at a time */

#define TO CAIRN_SM_TO
static const struct cairn_sm_state life_states[LIFE_NR] = {
    [LIFE_LOADING] = { "LOADING", CAIRN_SM_INITIAL, TO(LIFE_SEEKING) | TO(LIFE_ENDED) },
    [LIFE_SEEKING] = { "SEEKING", 0, TO(LIFE_REGISTERING) | TO(LIFE_ENDED) },
    [LIFE_REGISTERING] = { "REGISTERING", 0, TO(LIFE_SEEKING) | TO(LIFE_ENTERING) | TO(LIFE_ENDED) },
    [LIFE_ENTERING] = { "ENTERING", 0, TO(LIFE_BEATING) | TO(LIFE_ENDED) },
    [LIFE_BEATING] = { "BEATING", 0, TO(LIFE_CEASING) | TO(LIFE_PARTING) | TO(LIFE_ENDED) },
    [LIFE_CEASING] = { "CEASING", 0, TO(LIFE_SEEKING) | TO(LIFE_ENDED) },
    [LIFE_PARTING] = { "PARTING", 0, TO(LIFE_ENDED) },
    [LIFE_ENDED] = { "ENDED", CAIRN_SM_FINAL, 0 },
};

static bool life_invariant(const struct cairn_sm *sm)
{
    const struct side_life *l = CONTAINER_OF(sm, const struct side_life, sm);
    bool ceases = sm->state == LIFE_CEASING;

    return CAIRN_HOLDS((l->inc != 0) == (sm->state >= LIFE_ENTERING && !ceases) || sm->state == LIFE_ENDED) &&
           CAIRN_HOLDS((sm->state >= LIFE_BEATING && !ceases) || l->lease.until_ns == 0) &&
           CAIRN_HOLDS(sm->state != LIFE_REGISTERING || l->registering);
}

const struct cairn_sm_kind side_life_kind = { "cluster-life", life_states, LIFE_NR, life_invariant, 0 };

static struct side_life *life_of(struct cairn_cluster *c)
{
    return c->side->life;
}

bool life_step_over(struct side_life *l)
{
    l->pending--;
    if (l->sm.state != LIFE_ENDED)
        return false;
    if (l->pending == 0)
        side_life_ended(l->c);
    return true;
}

bool life_find_coordinator(struct side_life *l, struct cairn_rpc_dest *dest)
{
    struct cairn_wire_member m;
    struct cairn_arena a;
    uint64_t node;

    cairn_arena_init(&a, 1 << 16);
    node = cairn_cluster__coordinator(l->c, &a, &m);
    atomic_store(&l->c->side->coordinator, node);
    *dest = (struct cairn_rpc_dest){ .rpc = l->c->rpcs[0] };
    if (node != 0 && node != l->c->node)
        dest->session = side_session(&l->c->side->workers[0], &m);
    cairn_arena_reset(&a);
    return node != 0 && (node == l->c->node || dest->session != NULL);
}

void life_call_prepare(struct side_life *l, struct cairn_rpc_call *call, const struct cairn_rpc_dest *dest,
                       uint16_t method, const ProtobufCMessage *msg, void (*done)(struct cairn_rpc_call *call),
                       void *arg)
{
    memset(call, 0, offsetof(struct cairn_rpc_call, arena));
    call->dest = *dest;
    call->iface = &cairn_iface_cluster;
    call->provider = CAIRN_PROVIDER_CLUSTER;
    call->method = method;
    call->msg = msg;
    call->timeout_ns = MAX(l->c->lease_times.length_ns, l->c->lease_times.heartbeat_ns * 2);
    call->done = done;
    call->arg = arg;
    l->pending++;
}

/* Heartbeats to whoever coordinates no more are answered by nobody, and would keep the new one's from being sent. */
static void beats_forget(struct side_life *l, uint64_t node)
{
    for (uint32_t i = 0; i < BEATS; i++) {
        if (l->beats[i].busy && l->beats[i].to != node)
            cairn_rpc_call_cancel(&l->beats[i].call);
    }
}

static void tick_in(struct side_life *l, uint64_t ns)
{
    struct cairn_env *env = &l->c->home->env;

    l->tick_due_ns = cairn_env_now_ns(env) + ns;
    if (cairn_timer_start(env, &l->tick, l->tick_due_ns) != 0)
        side_fail(l->c, CAIRN_E_NOMEM, "no timer for heartbeats");
}

static void be_eager(struct side_life *l, uint64_t ms)
{
    l->eager_ns = ms * CAIRN_NS_PER_MS;
    l->eager_until_ns = cairn_env_now_ns(&l->c->home->env) + EAGER_MS_MAX * CAIRN_NS_PER_MS;
    if (l->sm.state == LIFE_BEATING)
        tick_in(l, l->eager_ns);
}

void cairn_cluster__side_give_up(struct cairn_cluster *c)
{
    struct side_life *l = life_of(c);

    if (l == NULL)
        return;
    cairn_lease_give_up(&l->lease, l->beats_sent);
    l->nwaits = 0;
    atomic_store(&c->side->lease_until_ns, 0);
    be_eager(l, EAGER_MS);
}

void cairn_cluster__side_follow(struct cairn_cluster *c)
{
    struct side_life *l = life_of(c);

    if (l != NULL)
        be_eager(l, EAGER_OTHER_MS);
}

/* ---- heartbeats ---- */

static void on_beat(struct cairn_rpc_call *call)
{
    struct life_beat *b = call->arg;
    struct side_life *l = life_of(b->c);
    uint64_t term = l->term;
    struct cairn_wire_grant g;

    b->busy = false;
    cairn_arena_reset(&b->arena);
    if (life_step_over(l) || call->rc != 0)
        return;
    cairn_arena_init(&b->arena, LIFE_ARENA_BYTES);
    if (cairn_wire_grant_get((const Cairn__Wire__ClusterGrant *)call->reply, &b->arena, &g, NULL) == 0)
        life_granted(l, b, &g);
    cairn_arena_reset(&b->arena);
    if (l->term > term && l->sm.state == LIFE_BEATING) /* it was for another coordinator: one that counts */
        life_beat(l);
}

void life_beat(struct side_life *l)
{
    struct cairn_wire_heartbeat h = { .who = { l->c->node, l->inc },
                                      .revision = l->learned,
                                      .term = l->term,
                                      .map = cairn_cluster_records_map(l->c->records),
                                      .vouched = l->vouched };
    struct life_beat *b = NULL;
    struct cairn_rpc_dest dest;
    const Cairn__Wire__ClusterHeartbeat *msg;

    if (!life_find_coordinator(l, &dest))
        return;
    beats_forget(l, atomic_load(&l->c->side->coordinator));
    for (uint32_t i = 0; i < BEATS && b == NULL; i++) {
        if (!l->beats[i].busy)
            b = &l->beats[i];
    }
    if (b == NULL)
        return;
    h.number = b->number = ++l->beats_sent;
    b->map = h.map;
    b->revision = h.revision;
    cairn_arena_init(&b->arena, LIFE_ARENA_BYTES);
    msg = cairn_wire_heartbeat_put(&h, &b->arena);
    if (msg == NULL) {
        cairn_arena_reset(&b->arena);
        return;
    }
    b->busy = true;
    b->own = dest.session == NULL;
    b->to = atomic_load(&l->c->side->coordinator);
    b->sent_ns = cairn_env_now_ns(&l->c->home->env);
    life_call_prepare(l, &b->call, &dest, CAIRN__WIRE__CLUSTER_METHOD__CLUSTER_HEARTBEAT, &msg->base, on_beat, b);
    cairn_rpc_call_start(&b->call);
}

/* ---- time ---- */

/* A loop that stood still, or a process that was stopped, cannot tell what else stood still: a clock, for one
 * (PROTOCOL §6). */
static void look_for_stall(struct side_life *l, uint64_t now)
{
    uint64_t late = l->tick_due_ns != 0 && now > l->tick_due_ns ? now - l->tick_due_ns : 0;

    if (late <= l->c->lease_times.length_ns / 4 || l->lease.until_ns == 0)
        return;
    cairn_log_warn("this node stood still for %" PRIu64 " ms, and gives up its lease", late / CAIRN_NS_PER_MS);
    cairn_cluster__side_give_up(l->c);
}

static void on_tick(void *arg)
{
    struct side_life *l = arg;
    uint64_t now = cairn_env_now_ns(&l->c->home->env);
    bool eager;

    look_for_stall(l, now);
    eager = l->sm.state == LIFE_BEATING && now < l->eager_until_ns;
    tick_in(l, eager ? MIN(l->eager_ns, l->c->lease_times.heartbeat_ns) : l->c->lease_times.heartbeat_ns);
    if (atomic_load(&l->c->side->failed))
        return;
    cairn_cluster_records_sweep(l->c->records, now, CAIRN_COORDINATOR_FORGET_S * CAIRN_NS_PER_S);
    if (l->sm.state == LIFE_SEEKING || (l->again && l->sm.state != LIFE_PARTING && l->sm.state != LIFE_CEASING))
        life_register(l);
    if (l->sm.state != LIFE_BEATING)
        return;
    life_learn_own(l);
    life_beat(l);
    life_seek(l);
}

static void on_hurry(void *arg)
{
    struct side_life *l = arg;

    atomic_store(&l->c->side->hurry, false);
    if (l->sm.state == LIFE_BEATING && !l->learning && !atomic_load(&l->c->side->failed))
        life_beat(l);
}

/* Once for all replicas that want it at a time. */
void side_life_hurry(struct cairn_cluster *c)
{
    if (!atomic_exchange(&c->side->hurry, true))
        cairn_loop_post(c->home, &life_of(c)->hurry);
}

int side_life_new(struct cairn_cluster *c)
{
    struct side_life *l = calloc(1, sizeof(*l));

    if (l == NULL)
        return CAIRN_E_NOMEM;
    l->c = c;
    for (uint32_t i = 0; i < BEATS; i++)
        l->beats[i].c = c;
    c->side->life = l;
    cairn_timer_init(&l->tick, on_tick, l);
    cairn_task_init(&l->hurry, on_hurry, l);
    life_hear_init(l);
    life_group_init(l);
    cairn_sm_init(&l->sm, &side_life_kind, &c->home->machines);
    return 0;
}

void side_life_begin(struct cairn_cluster *c)
{
    struct side_life *l = life_of(c);

    if (l->sm.state != LIFE_LOADING)
        return;
    cairn_sm_move(&l->sm, LIFE_SEEKING);
    on_tick(l);
}

void side_life_end(struct cairn_cluster *c)
{
    struct side_life *l = life_of(c);

    cairn_timer_stop(&c->home->env, &l->tick);
    cairn_loop_unpost(c->home, &l->hurry);
    life_hear_end(l);
    life_group_end(l);
    cairn_sm_move(&l->sm, LIFE_ENDED);
    atomic_store(&c->side->lease_until_ns, 0);
    if (l->registering && cairn_rpc_call_is_running(&l->call))
        cairn_rpc_call_cancel(&l->call);
    for (uint32_t i = 0; i < BEATS; i++) {
        if (l->beats[i].busy)
            cairn_rpc_call_cancel(&l->beats[i].call);
    }
    if (l->pending == 0)
        side_life_ended(c);
}

void side_life_free(struct cairn_cluster *c)
{
    struct side_life *l = life_of(c);

    if (l == NULL)
        return;
    if (l->sm.state != LIFE_ENDED) /* it never ran */
        cairn_sm_move(&l->sm, LIFE_ENDED);
    cairn_sm_fini(&l->sm);
    free(l->slots);
    free(l);
    c->side->life = NULL;
}

const char *side_life_problem(const struct cairn_cluster *c)
{
    return c->side->life->problem;
}

const char *side_life_state(const struct cairn_cluster *c)
{
    return cairn_sm_state_name(&c->side->life->sm);
}
