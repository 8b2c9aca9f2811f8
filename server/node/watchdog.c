/* Looking after the workers: see watchdog.h.
 *
 *   RESTING ---> ASKED ---> RESTING          RESTING, ASKED and OVERDUE may also go to ENDED.
 *   ASKED ---> OVERDUE ---> RESTING
 *
 * RESTING  all workers have answered, the manager was told so, and the timer will begin the next look.
 * ASKED    each worker but the first, whose thread this is, has a task on its loop; the last to come back ends the
 *          look.
 * OVERDUE  some did not come back within the time between two looks: the manager is told nothing, and the log who
 * they are.
 * ENDED    the node stops, which has a time-out of its own. */
#include "server/node/watchdog.h"

#include "sdk/core/base/log.h"

#include <inttypes.h>
#include <stdlib.h>

enum { LOOKS_PER_TIMEOUT = 3 };

struct part {
    struct cairn_watchdog *dog;
    struct cairn_loop *loop;
    struct cairn_task task; /* to the worker, then back */
    bool away;
};

struct cairn_watchdog {
    struct cairn_sm sm;
    struct cairn_notify *to;
    struct cairn_loop *home;
    struct cairn_timer timer;
    uint64_t period_ns;
    uint32_t missing, nparts;
    struct part parts[];
};

enum { DOG_RESTING, DOG_ASKED, DOG_OVERDUE, DOG_ENDED, DOG_NR };
static const struct cairn_sm_state dog_states[DOG_NR] = {
    [DOG_RESTING] = { "RESTING", CAIRN_SM_INITIAL, CAIRN_SM_TO(DOG_ASKED) | CAIRN_SM_TO(DOG_ENDED) },
    [DOG_ASKED] = { "ASKED", 0, CAIRN_SM_TO(DOG_RESTING) | CAIRN_SM_TO(DOG_OVERDUE) | CAIRN_SM_TO(DOG_ENDED) },
    [DOG_OVERDUE] = { "OVERDUE", 0, CAIRN_SM_TO(DOG_RESTING) | CAIRN_SM_TO(DOG_ENDED) },
    [DOG_ENDED] = { "ENDED", CAIRN_SM_FINAL, 0 },
};

static bool dog_invariant(const struct cairn_sm *sm)
{
    const struct cairn_watchdog *d = CONTAINER_OF(sm, const struct cairn_watchdog, sm);

    return CAIRN_HOLDS(sm->state != DOG_RESTING || d->missing == 0) &&
           CAIRN_HOLDS(sm->state != DOG_OVERDUE || d->missing > 0) &&
           CAIRN_HOLDS(sm->state != DOG_ENDED || !cairn_timer_is_running(&d->timer));
}

const struct cairn_sm_kind cairn_watchdog_kind = { "watchdog", dog_states, DOG_NR, dog_invariant, 0 };

static void dog_wait(struct cairn_watchdog *d)
{
    if (cairn_timer_start(&d->home->env, &d->timer, cairn_loop_now(d->home) + d->period_ns) != 0)
        cairn_log_error("watchdog: no memory for its timer: the service manager will end this node");
}

static void dog_answered(struct cairn_watchdog *d)
{
    if (d->sm.state == DOG_OVERDUE)
        cairn_log_warn("watchdog: all workers are back");
    cairn_notify_alive(d->to);
    cairn_sm_move(&d->sm, DOG_RESTING);
}

static void on_part_back(void *arg)
{
    struct part *p = arg;
    struct cairn_watchdog *d = p->dog;

    p->away = false;
    if (--d->missing == 0 && d->sm.state != DOG_ENDED)
        dog_answered(d);
}

static void on_part(void *arg)
{
    struct part *p = arg;

    cairn_task_init(&p->task, on_part_back, p);
    cairn_loop_post(p->dog->home, &p->task);
}

static void dog_ask(struct cairn_watchdog *d)
{
    d->missing = d->nparts;
    cairn_sm_move(&d->sm, DOG_ASKED);
    for (uint32_t i = 0; i < d->nparts; i++) {
        struct part *p = &d->parts[i];

        p->away = true;
        cairn_task_init(&p->task, on_part, p);
        cairn_loop_post(p->loop, &p->task);
    }
    if (d->nparts == 0)
        dog_answered(d);
}

static void dog_complain(struct cairn_watchdog *d)
{
    cairn_sm_move(&d->sm, DOG_OVERDUE);
    for (uint32_t i = 0; i < d->nparts; i++) {
        if (d->parts[i].away)
            cairn_log_error("watchdog: worker %" PRIu32 " has not come back to its loop for %" PRIu64 " ms", i + 1,
                            d->period_ns / CAIRN_NS_PER_MS);
    }
}

static void on_timer(void *arg)
{
    struct cairn_watchdog *d = arg;

    dog_wait(d);
    if (d->sm.state == DOG_RESTING)
        dog_ask(d);
    else if (d->sm.state == DOG_ASKED)
        dog_complain(d);
}

int cairn_watchdog_new(struct cairn_notify *to, struct cairn_loop *const *loops, uint32_t nloops,
                       struct cairn_watchdog **out, struct cairn_err *err)
{
    struct cairn_watchdog *d;

    if (to->watchdog_ns == 0)
        return 0;
    d = *out = calloc(1, sizeof(*d) + nloops * sizeof(d->parts[0]));
    if (d == NULL)
        return cairn_err_set(err, CAIRN_E_NOMEM, "watchdog");
    d->to = to;
    d->home = loops[0];
    d->period_ns = to->watchdog_ns / LOOKS_PER_TIMEOUT;
    for (uint32_t i = 1; i < nloops; i++)
        d->parts[d->nparts++] = (struct part){ .dog = d, .loop = loops[i] };
    cairn_timer_init(&d->timer, on_timer, d);
    return 0;
}

void cairn_watchdog_start(struct cairn_watchdog *d)
{
    if (d == NULL)
        return;
    cairn_sm_init(&d->sm, &cairn_watchdog_kind, &d->home->machines);
    dog_wait(d);
}

void cairn_watchdog_stop(struct cairn_watchdog *d)
{
    if (d == NULL)
        return;
    cairn_timer_stop(&d->home->env, &d->timer);
    cairn_sm_move(&d->sm, DOG_ENDED);
    cairn_sm_fini(&d->sm);
}

void cairn_watchdog_free(struct cairn_watchdog *d)
{
    free(d);
}
