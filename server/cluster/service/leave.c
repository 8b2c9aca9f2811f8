/* How this node leaves before it stops: others take over what it leads, and go on without it, while it still answers.
 * So nobody has to wait for the end of a lease, or for a replica that is silent (PROTOCOL §7, quick drain).
 *
 *   STAYING ---> ASKING ---> SAYING ---> GONE              STAYING may also go to GONE.
 *   ASKING ---> PAUSING ---> ASKING
 *
 * STAYING  nobody has asked.
 * ASKING   each worker looks at its slots, and says what is to be done for them.
 * PAUSING  a moment for the others, and for the map, until the next look.
 * SAYING   others have all that they can have, and know it, or the time is over: the coordinator hears that we stop.
 * GONE     it has heard so, or cannot. */
#include "sdk/core/base/log.h"
#include "server/cluster/service/side.h"

#include <inttypes.h>
#include <stdlib.h>

enum { LOOK_MS = 10, STUCK_MS = 3000, TELL_MS_MAX = 1000, SAY_MS_MAX = 1000 };
enum { LEAVE_STAYING, LEAVE_ASKING, LEAVE_PAUSING, LEAVE_SAYING, LEAVE_GONE, LEAVE_NR };

struct side_leave {
    struct cairn_sm sm;
    struct cairn_cluster *c;
    struct cairn_timer look;
    uint64_t began_ns, until_ns;
    uint64_t free_ns; /* since when nothing is left; 0: something is */
    uint32_t fewest;  /* slots that were left, since: */
    uint64_t fewest_ns;
    atomic_uint left, led; /* slots, as the workers counted them */
    void (*done)(void *arg);
    void *arg;
};

#define TO(state) CAIRN_SM_TO(LEAVE_##state)
static const struct cairn_sm_state leave_states[LEAVE_NR] = {
    [LEAVE_STAYING] = { "STAYING", CAIRN_SM_INITIAL | CAIRN_SM_RESTING, TO(ASKING) | TO(GONE) },
    [LEAVE_ASKING] = { "ASKING", 0, TO(PAUSING) | TO(SAYING) },
    [LEAVE_PAUSING] = { "PAUSING", 0, TO(ASKING) },
    [LEAVE_SAYING] = { "SAYING", 0, TO(GONE) },
    [LEAVE_GONE] = { "GONE", CAIRN_SM_FINAL, 0 },
};

static bool leave_invariant(const struct cairn_sm *sm)
{
    const struct side_leave *l = CONTAINER_OF(sm, const struct side_leave, sm);

    return CAIRN_HOLDS((l->done != NULL) == (sm->state != LEAVE_STAYING && sm->state != LEAVE_GONE)) &&
           CAIRN_HOLDS(sm->state != LEAVE_PAUSING || (l->free_ns == 0) == (atomic_load(&l->left) > 0));
}

const struct cairn_sm_kind side_leave_kind = { "cluster-leave", leave_states, LEAVE_NR, leave_invariant, 60000 };

static void gone(void *arg)
{
    struct side_leave *l = arg;
    void (*done)(void *arg) = l->done;

    l->done = NULL;
    cairn_sm_move(&l->sm, LEAVE_GONE);
    done(l->arg);
}

/* Beyond the time that there is for the slots: it is one word, and saves the others a lease of not knowing. */
static void say(struct side_leave *l)
{
    uint64_t ms = (cairn_env_now_ns(&l->c->home->env) - l->began_ns) / CAIRN_NS_PER_MS;
    uint32_t left = atomic_load(&l->left), led = atomic_load(&l->led);

    if (left > 0)
        cairn_log_warn("%u slots were not handed over in %" PRIu64 " ms", left, ms);
    else
        cairn_log_info("slots were handed over in %" PRIu64 " ms; %u have nobody else, and wait for this node", ms,
                       led);
    cairn_sm_move(&l->sm, LEAVE_SAYING);
    side_life_part(l->c, SAY_MS_MAX * CAIRN_NS_PER_MS, gone, l);
}

static void leave_on(struct side_worker *w, void *arg)
{
    struct side_leave *l = arg;

    if (w->stopping || w->slots == NULL)
        return;
    atomic_fetch_add(&l->left, cluster_slots_leave(w->slots));
    atomic_fetch_add(&l->led, cluster_slots_led(w->slots));
}

/* Whoever leads now would otherwise hear of it from our successor as coordinator, with a heartbeat. */
static bool all_know(const struct side_leave *l, uint64_t now)
{
    return !cairn_cluster__is_telling(l->c) || now - l->free_ns >= TELL_MS_MAX * CAIRN_NS_PER_MS;
}

/* A lease says nothing here: while the coordinator ends what we lead, it gives us none. That nobody takes anything
 * any more does. */
static bool is_over(const struct side_leave *l, uint64_t now)
{
    return (l->free_ns != 0 && all_know(l, now)) || now >= l->until_ns || atomic_load(&l->c->side->failed) ||
           (l->free_ns == 0 && now - l->fewest_ns >= STUCK_MS * CAIRN_NS_PER_MS);
}

static void asked_all(void *arg)
{
    struct side_leave *l = arg;
    struct cairn_env *env = &l->c->home->env;
    uint64_t now = cairn_env_now_ns(env);

    if (atomic_load(&l->left) < l->fewest) {
        l->fewest = atomic_load(&l->left);
        l->fewest_ns = now;
    }
    if (atomic_load(&l->left) > 0)
        l->free_ns = 0;
    else if (l->free_ns == 0)
        l->free_ns = now;
    if (!is_over(l, now) && cairn_timer_start(env, &l->look, now + LOOK_MS * CAIRN_NS_PER_MS) == 0)
        cairn_sm_move(&l->sm, LEAVE_PAUSING);
    else
        say(l);
}

static void ask(struct side_leave *l)
{
    atomic_store(&l->left, 0);
    atomic_store(&l->led, 0);
    cairn_sm_move(&l->sm, LEAVE_ASKING);
    if (side_each(l->c, leave_on, asked_all, l) != 0)
        say(l);
}

static void on_look(void *arg)
{
    ask(arg);
}

void cairn_cluster__side_leave(struct cairn_cluster *c, uint64_t within_ns, void (*done)(void *arg), void *arg)
{
    struct side_leave *l = c->side->leave;

    CAIRN_ASSERT(l->sm.state == LEAVE_STAYING);
    l->began_ns = cairn_env_now_ns(&c->home->env);
    l->until_ns = l->began_ns + within_ns;
    l->fewest = UINT32_MAX;
    l->done = done;
    l->arg = arg;
    ask(l);
}

int side_leave_new(struct cairn_cluster *c)
{
    struct side_leave *l = calloc(1, sizeof(*l));

    if (l == NULL)
        return CAIRN_E_NOMEM;
    l->c = c;
    c->side->leave = l;
    cairn_timer_init(&l->look, on_look, l);
    cairn_sm_init(&l->sm, &side_leave_kind, &c->home->machines);
    return 0;
}

void side_leave_free(struct cairn_cluster *c)
{
    struct side_leave *l = c->side->leave;

    if (l == NULL)
        return;
    if (l->sm.state == LEAVE_STAYING)
        cairn_sm_move(&l->sm, LEAVE_GONE);
    cairn_sm_fini(&l->sm);
    free(l);
    c->side->leave = NULL;
}
