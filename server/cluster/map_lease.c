/* Keeping a lease: see map_lease.h. */
#include "server/cluster/map_lease.h"

#define TO CAIRN_SM_TO

static const struct cairn_sm_state lease_states[CAIRN_LEASE_NR] = {
    [CAIRN_LEASE_GRANTING] = { "GRANTING", CAIRN_SM_INITIAL,
                               TO(CAIRN_LEASE_HELD) | TO(CAIRN_LEASE_LOST) | TO(CAIRN_LEASE_RELEASING) },
    [CAIRN_LEASE_HELD] = { "HELD", 0,
                           TO(CAIRN_LEASE_HELD) | TO(CAIRN_LEASE_LAPSED) | TO(CAIRN_LEASE_LOST) |
                               TO(CAIRN_LEASE_RELEASING) },
    [CAIRN_LEASE_LAPSED] = { "LAPSED", 0, TO(CAIRN_LEASE_LOST) },
    [CAIRN_LEASE_LOST] = { "LOST", CAIRN_SM_FINAL | CAIRN_SM_FAILURE, 0 },
    [CAIRN_LEASE_RELEASING] = { "RELEASING", 0, TO(CAIRN_LEASE_RELEASED) },
    [CAIRN_LEASE_RELEASED] = { "RELEASED", CAIRN_SM_FINAL, 0 },
};

static bool lease_invariant(const struct cairn_sm *sm)
{
    const struct cairn_map_lease *l = CONTAINER_OF(sm, const struct cairn_map_lease, sm);
    bool over = sm->state == CAIRN_LEASE_LOST || sm->state == CAIRN_LEASE_RELEASED;

    return CAIRN_HOLDS(!over || !l->asking) && CAIRN_HOLDS(over || sm->state == CAIRN_LEASE_HELD || l->asking) &&
           CAIRN_HOLDS(sm->state != CAIRN_LEASE_HELD || (l->id != 0 && l->valid_until_ns > 0)) &&
           CAIRN_HOLDS((l->valid_until_ns > 0) == (sm->state == CAIRN_LEASE_HELD));
}

const struct cairn_sm_kind cairn_map_lease_kind = { "map-lease", lease_states, CAIRN_LEASE_NR, lease_invariant, 0 };

static struct cairn_env *env_of(const struct cairn_map_lease *l)
{
    return l->store->home.env;
}

static void lease_on_answer(struct cairn_map_op *op);

static void lease_ask(struct cairn_map_lease *l, enum cairn_map_lease_verb verb)
{
    l->ask = (struct cairn_map_lease_op){
        .op = { .done = lease_on_answer, .arg = l, .timeout_ms = (uint32_t)(l->ttl_ms / 3) },
        .verb = verb,
        .id = l->id,
        .ttl_ms = l->ttl_ms,
    };
    l->asking = true;
    cairn_map_store_lease(l->store, &l->ask);
}

/* The machine is in a final state: whoever is told may use the memory for something else. */
static void lease_over(struct cairn_map_lease *l)
{
    cairn_timer_stop(env_of(l), &l->timer);
    cairn_sm_fini(&l->sm);
    l->changed(l);
}

static void lease_lapse(struct cairn_map_lease *l, int rc)
{
    l->valid_until_ns = 0;
    if (l->asking) {
        cairn_timer_stop(env_of(l), &l->timer);
        cairn_sm_move(&l->sm, CAIRN_LEASE_LAPSED);
        l->changed(l);
    } else {
        cairn_sm_fail(&l->sm, CAIRN_LEASE_LOST, rc);
        lease_over(l);
    }
}

/* For whatever comes first: the next renewal, or the end. False: the lease lapsed. */
static bool lease_wait(struct cairn_map_lease *l)
{
    uint64_t at = l->asking ? l->valid_until_ns : MIN(l->keep_ns, l->valid_until_ns);

    if (cairn_timer_start(env_of(l), &l->timer, at) == 0)
        return true;
    lease_lapse(l, CAIRN_E_NOMEM);
    return false;
}

static void lease_on_timer(void *arg)
{
    struct cairn_map_lease *l = arg;

    if (cairn_env_now_ns(env_of(l)) >= l->valid_until_ns) {
        lease_lapse(l, CAIRN_E_TIMEOUT);
        return;
    }
    lease_ask(l, CAIRN_MAP_KEEP);
    lease_wait(l);
}

static void lease_tell_store(struct cairn_map_lease *l)
{
    cairn_timer_stop(env_of(l), &l->timer);
    l->valid_until_ns = 0;
    lease_ask(l, CAIRN_MAP_REVOKE);
    cairn_sm_move(&l->sm, CAIRN_LEASE_RELEASING);
}

/* Granted or renewed by the request @sent_ns. */
static void lease_extend(struct cairn_map_lease *l)
{
    uint64_t ttl_ns = l->ask.ttl_ms * CAIRN_NS_PER_MS, sent = l->ask.op.sent_ns;
    uint64_t margin = ttl_ns * 2 * CAIRN_MAP_LEASE_RHO_PER_MILLE / 1000 + CAIRN_MAP_LEASE_SLACK_MS * CAIRN_NS_PER_MS;
    bool first = l->sm.state == CAIRN_LEASE_GRANTING;

    l->id = l->ask.id;
    l->valid_until_ns = sent + ttl_ns - margin;
    l->keep_ns = sent + ttl_ns / 4;
    cairn_sm_move(&l->sm, CAIRN_LEASE_HELD);
    if (cairn_env_now_ns(env_of(l)) >= l->valid_until_ns) { /* the answer took that long */
        lease_lapse(l, CAIRN_E_TIMEOUT);
        return;
    }
    if (lease_wait(l) && first)
        l->changed(l);
}

static void lease_on_held(struct cairn_map_lease *l)
{
    int rc = l->ask.op.rc;

    if (rc == 0) {
        lease_extend(l);
    } else if (rc == CAIRN_E_CLOSED) {
        lease_lapse(l, rc);
    } else {
        l->keep_ns = cairn_env_now_ns(env_of(l)) + l->ttl_ms * CAIRN_NS_PER_MS / 8;
        lease_wait(l);
    }
}

static void lease_on_answer(struct cairn_map_op *op)
{
    struct cairn_map_lease *l = op->arg;

    l->asking = false;
    if (op->rc != 0)
        l->err = op->err;
    switch (l->sm.state) {
    case CAIRN_LEASE_GRANTING:
        if (op->rc != 0) {
            cairn_sm_fail(&l->sm, CAIRN_LEASE_LOST, op->rc);
            lease_over(l);
        } else if (l->release) {
            l->id = l->ask.id;
            lease_tell_store(l);
        } else {
            lease_extend(l);
        }
        break;
    case CAIRN_LEASE_HELD:
        if (l->release)
            lease_tell_store(l);
        else
            lease_on_held(l);
        break;
    case CAIRN_LEASE_LAPSED:
        cairn_sm_fail(&l->sm, CAIRN_LEASE_LOST, op->rc != 0 ? op->rc : CAIRN_E_TIMEOUT);
        lease_over(l);
        break;
    case CAIRN_LEASE_RELEASING:
        cairn_sm_move(&l->sm, CAIRN_LEASE_RELEASED);
        lease_over(l);
        break;
    }
}

void cairn_map_lease_start(struct cairn_map_lease *l)
{
    l->id = l->valid_until_ns = 0;
    l->release = false;
    l->err = (struct cairn_err){ 0 };
    l->asking = true;
    cairn_timer_init(&l->timer, lease_on_timer, l);
    cairn_sm_init(&l->sm, &cairn_map_lease_kind, l->store->home.machines);
    lease_ask(l, CAIRN_MAP_GRANT);
}

void cairn_map_lease_release(struct cairn_map_lease *l)
{
    l->release = true;
    if (l->sm.state == CAIRN_LEASE_HELD && !l->asking)
        lease_tell_store(l);
}

bool cairn_map_lease_is_valid(const struct cairn_map_lease *l)
{
    return l->sm.state == CAIRN_LEASE_HELD && !l->release && cairn_env_now_ns(env_of(l)) < l->valid_until_ns;
}
