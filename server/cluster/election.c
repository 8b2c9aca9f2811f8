/* Election over the map store: see election.h. */
#include "server/cluster/election.h"

#include <string.h>

#define TO(state) CAIRN_SM_TO(CAIRN_ELECTION_##state)

static const struct cairn_sm_state election_states[CAIRN_ELECTION_NR] = {
    [CAIRN_ELECTION_LOOKING] = { "LOOKING", CAIRN_SM_INITIAL, TO(FOLLOWING) | TO(PAUSING) | TO(ENDED) },
    [CAIRN_ELECTION_FOLLOWING] = { "FOLLOWING", 0, TO(PAUSING) | TO(ENDED) },
    [CAIRN_ELECTION_PAUSING] = { "PAUSING", 0, TO(FOLLOWING) | TO(LEASING) | TO(ENDED) },
    [CAIRN_ELECTION_LEASING] = { "LEASING", 0, TO(CLAIMING) | TO(LEAVING) | TO(LOOKING) | TO(ENDED) },
    [CAIRN_ELECTION_CLAIMING] = { "CLAIMING", 0, TO(ELECTED) | TO(CHECKING) | TO(LEAVING) | TO(LOOKING) | TO(ENDED) },
    [CAIRN_ELECTION_CHECKING] = { "CHECKING", 0, TO(ELECTED) | TO(LEAVING) | TO(LOOKING) | TO(ENDED) },
    [CAIRN_ELECTION_ELECTED] = { "ELECTED", 0, TO(LEAVING) | TO(LOOKING) | TO(ENDED) },
    [CAIRN_ELECTION_LEAVING] = { "LEAVING", 0, TO(LOOKING) | TO(ENDED) },
    [CAIRN_ELECTION_ENDED] = { "ENDED", CAIRN_SM_FINAL, 0 },
};

static bool lease_is_over(const struct cairn_election *e)
{
    return e->lease.sm.kind == NULL || cairn_sm_is_final(&e->lease.sm);
}

/* From CLAIMING on a lease may end while a request of ours is under way; who waits for nothing has none. */
static bool election_invariant(const struct cairn_sm *sm)
{
    const struct cairn_election *e = CONTAINER_OF(sm, const struct cairn_election, sm);
    bool leased = !lease_is_over(e);

    return CAIRN_HOLDS((e->fence != 0) == (sm->state == CAIRN_ELECTION_ELECTED)) &&
           CAIRN_HOLDS(leased || (sm->state != CAIRN_ELECTION_LEASING && sm->state != CAIRN_ELECTION_ELECTED &&
                                  sm->state != CAIRN_ELECTION_LEAVING)) &&
           CAIRN_HOLDS(!leased || (sm->state >= CAIRN_ELECTION_LEASING && sm->state <= CAIRN_ELECTION_LEAVING)) &&
           CAIRN_HOLDS(cairn_timer_is_running(&e->timer) == (sm->state == CAIRN_ELECTION_PAUSING)) &&
           CAIRN_HOLDS(sm->state != CAIRN_ELECTION_FOLLOWING || e->holder != NULL);
}

const struct cairn_sm_kind cairn_election_kind = { "election", election_states, CAIRN_ELECTION_NR, election_invariant,
                                                   0 };

const struct cairn_sm_kind *const cairn_election_kinds[] = { &cairn_map_lease_kind, &cairn_election_kind, NULL };

static struct cairn_env *env_of(const struct cairn_election *e)
{
    return e->store->home.env;
}

/* ---- who holds the key ---- */

static void election_end(struct cairn_election *e)
{
    cairn_timer_stop(env_of(e), &e->timer);
    cairn_task_cancel(&e->task);
    cairn_sm_move(&e->sm, CAIRN_ELECTION_ENDED);
    cairn_sm_fini(&e->sm);
    cairn_map_watch_stop(&e->watch);
    cairn_map_node_put(e->holder);
    e->holder = NULL;
    e->changed(e);
}

static bool pause_start(struct cairn_election *e)
{
    uint64_t most_ms = e->failed || e->barred ? e->ttl_ms / 4 : CAIRN_ELECTION_PAUSE_MS;
    uint64_t ns = cairn_env_random(env_of(e)) % (most_ms * CAIRN_NS_PER_MS);

    return cairn_timer_start(env_of(e), &e->timer, cairn_env_now_ns(env_of(e)) + ns) == 0;
}

static void election_pause(struct cairn_election *e)
{
    e->free_ns = cairn_env_now_ns(env_of(e));
    if (pause_start(e))
        cairn_sm_move(&e->sm, CAIRN_ELECTION_PAUSING); /* without memory: the next news of the store */
}

/* What the view says decides while nothing of ours is under way. */
static void election_look(struct cairn_election *e)
{
    bool held = e->holder != NULL;

    if (!e->current || e->stopping)
        return;
    if (held && (e->sm.state == CAIRN_ELECTION_LOOKING || e->sm.state == CAIRN_ELECTION_PAUSING)) {
        cairn_timer_stop(env_of(e), &e->timer);
        cairn_sm_move(&e->sm, CAIRN_ELECTION_FOLLOWING);
    } else if (!held && (e->sm.state == CAIRN_ELECTION_LOOKING || e->sm.state == CAIRN_ELECTION_FOLLOWING)) {
        election_pause(e);
    }
}

/* ---- away from being elected, or from trying ---- */

/* The lease is over. */
static void election_left(struct cairn_election *e)
{
    if (e->stopping) {
        election_end(e);
        return;
    }
    cairn_sm_move(&e->sm, CAIRN_ELECTION_LOOKING);
    election_look(e);
}

static void election_leave(struct cairn_election *e, bool failed)
{
    bool tell = e->fence != 0 && !e->stopping;

    e->failed = failed;
    e->fence = 0;
    if (lease_is_over(e)) {
        election_left(e);
    } else {
        cairn_map_lease_release(&e->lease);
        cairn_sm_move(&e->sm, CAIRN_ELECTION_LEAVING);
    }
    if (tell)
        e->changed(e);
}

/* ---- trying ---- */

static void election_won(struct cairn_election *e, uint64_t fence)
{
    if (e->stopping || !cairn_map_lease_is_valid(&e->lease)) {
        election_leave(e, true);
        return;
    }
    e->fence = fence;
    e->failed = false;
    cairn_sm_move(&e->sm, CAIRN_ELECTION_ELECTED);
    e->changed(e);
}

/* An entry that hangs on our lease is ours. If it is not there it may yet come, and goes with the lease. */
static void election_on_checked(struct cairn_map_op *op)
{
    struct cairn_election *e = op->arg;
    const struct cairn_map_node *n = op->rc == 0 ? cairn_map_table_at(&e->read.table, e->key) : NULL;
    uint64_t fence = n != NULL && n->e.lease == e->lease.id ? n->e.created : 0;

    cairn_map_table_fini(&e->read.table);
    if (fence != 0)
        election_won(e, fence);
    else
        election_leave(e, true);
}

static void election_on_claimed(struct cairn_map_op *op)
{
    struct cairn_election *e = op->arg;

    if (op->rc == 0) {
        election_won(e, op->revision);
    } else if (op->rc == CAIRN_E_UNKNOWN && cairn_map_lease_is_valid(&e->lease)) {
        cairn_sm_move(&e->sm, CAIRN_ELECTION_CHECKING);
        e->read =
            (struct cairn_map_read){ .op = { .done = election_on_checked, .arg = e, .timeout_ms = (uint32_t)e->ttl_ms },
                                     .prefix = e->key };
        cairn_map_store_read(e->store, &e->read);
    } else {
        election_leave(e, op->rc != CAIRN_E_EXISTS);
    }
}

static void election_claim(struct cairn_election *e)
{
    e->write =
        (struct cairn_map_write){ .key = e->key, .value = e->value, .value_len = e->value_len, .lease = e->lease.id };
    e->change = (struct cairn_map_change){
        .op = { .done = election_on_claimed, .arg = e, .timeout_ms = (uint32_t)e->ttl_ms },
        .writes = &e->write,
        .nwrites = 1,
    };
    cairn_sm_move(&e->sm, CAIRN_ELECTION_CLAIMING);
    cairn_map_store_change(e->store, NULL, &e->change);
}

static void election_on_lease(struct cairn_map_lease *l)
{
    struct cairn_election *e = l->arg;

    switch (e->sm.state) {
    case CAIRN_ELECTION_LEASING:
        if (l->sm.state == CAIRN_LEASE_HELD)
            election_claim(e);
        else
            election_leave(e, true);
        break;
    case CAIRN_ELECTION_ELECTED: /* it does not hold any more */
        election_leave(e, true);
        break;
    case CAIRN_ELECTION_LEAVING:
        if (lease_is_over(e))
            election_left(e);
        break;
    default: /* CLAIMING and CHECKING look at it when their answer comes */
        break;
    }
}

/* Others have had their time to stand, and did not. */
static bool bar_is_over(const struct cairn_election *e)
{
    uint64_t free_ns = cairn_env_now_ns(env_of(e)) - e->free_ns;

    return free_ns >= CAIRN_ELECTION_BARRED_TERMS * e->ttl_ms * CAIRN_NS_PER_MS;
}

static void election_on_timer(void *arg)
{
    struct cairn_election *e = arg;

    if (e->stopping)
        return;
    if (e->barred && !bar_is_over(e) && pause_start(e))
        return;
    e->lease =
        (struct cairn_map_lease){ .store = e->store, .ttl_ms = e->ttl_ms, .changed = election_on_lease, .arg = e };
    cairn_map_lease_start(&e->lease);
    cairn_sm_move(&e->sm, CAIRN_ELECTION_LEASING);
}

/* ---- from outside ---- */

static void holder_set(struct cairn_election *e, const struct cairn_map_entry *entry)
{
    cairn_map_node_put(e->holder);
    e->holder = entry != NULL && entry->value != NULL ? cairn_map_node_new(entry) : NULL;
    e->other = true;
}

static void election_on_news(struct cairn_map_watch *w, enum cairn_map_news news, const struct cairn_map_entry *entry,
                             uint64_t revision)
{
    struct cairn_election *e = w->arg;

    if (news == CAIRN_MAP_RESET)
        holder_set(e, NULL);
    else if (news == CAIRN_MAP_ENTRY && strcmp(entry->key, e->key) == 0)
        holder_set(e, entry);
    if (news != CAIRN_MAP_CURRENT)
        return;
    e->current = true;
    if (e->fence != 0 && revision >= e->fence && (e->holder == NULL || e->holder->e.created != e->fence)) {
        election_leave(e, true); /* the store ended our lease, or somebody erased the key */
        return;
    }
    election_look(e);
    if (e->other && e->holder != NULL && e->sm.state == CAIRN_ELECTION_FOLLOWING) {
        e->other = false;
        e->changed(e);
    }
}

static void election_on_stop(void *arg)
{
    election_end(arg);
}

void cairn_election_start(struct cairn_election *e)
{
    e->fence = 0;
    e->holder = NULL;
    e->current = e->other = e->stopping = e->failed = false;
    e->lease = (struct cairn_map_lease){ 0 };
    e->watch = (struct cairn_map_watch){ .prefix = e->key, .fn = election_on_news, .arg = e };
    cairn_timer_init(&e->timer, election_on_timer, e);
    cairn_task_init(&e->task, election_on_stop, e);
    cairn_sm_init(&e->sm, &cairn_election_kind, e->store->home.machines);
    cairn_map_watch_start(&e->store->view, &e->watch);
}

void cairn_election_stop(struct cairn_election *e)
{
    e->stopping = true;
    switch (e->sm.state) {
    case CAIRN_ELECTION_LOOKING:
    case CAIRN_ELECTION_FOLLOWING:
    case CAIRN_ELECTION_PAUSING:
        cairn_env_defer(env_of(e), &e->task);
        break;
    case CAIRN_ELECTION_LEASING:
        cairn_map_lease_release(&e->lease);
        break;
    case CAIRN_ELECTION_ELECTED:
        election_leave(e, false);
        break;
    default: /* an answer is awaited, and then looked at */
        break;
    }
}

bool cairn_election_is_valid(const struct cairn_election *e)
{
    return e->sm.state == CAIRN_ELECTION_ELECTED && cairn_map_lease_is_valid(&e->lease);
}

bool cairn_election_fence(const struct cairn_election *e, struct cairn_map_change *c)
{
    if (!cairn_election_is_valid(e))
        return false;
    c->fence_key = e->key;
    c->fence = e->fence;
    return true;
}
