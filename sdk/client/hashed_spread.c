/* One call that several nodes answer between them: see hashed_spread.h.
 *
 *   PLAN ---> ASKING ---> PLAN ---> DONE
 *   PLAN ---> PAUSED ---> PLAN        PLAN may also go to FAILED.
 *
 * PLAN    what is still missing is being made out, by the map as it is now. Here, and only here, it ends.
 * ASKING  requests are under way, so many at a time; none of them is sent twice in this round.
 * PAUSED  nothing is under way and something is missing: it waits for news of the map, or until its pause is over.
 * DONE    all nodes have answered for all that was asked.        FAILED  rc says why; what has results keeps them. */
#include "sdk/client/hashed_spread.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { STATE_PLAN, STATE_ASKING, STATE_PAUSED, STATE_DONE, STATE_FAILED, STATE_NR };

#define TO(state) CAIRN_SM_TO(STATE_##state)
static const struct cairn_sm_state spread_states[STATE_NR] = {
    [STATE_PLAN] = { "PLAN", CAIRN_SM_INITIAL, TO(ASKING) | TO(PAUSED) | TO(DONE) | TO(FAILED) },
    [STATE_ASKING] = { "ASKING", 0, TO(PLAN) },
    [STATE_PAUSED] = { "PAUSED", 0, TO(PLAN) },
    [STATE_DONE] = { "DONE", CAIRN_SM_FINAL, 0 },
    [STATE_FAILED] = { "FAILED", CAIRN_SM_FINAL | CAIRN_SM_FAILURE, 0 },
};
#undef TO

static bool spread_invariant(const struct cairn_sm *sm)
{
    const struct spread *x = CONTAINER_OF(sm, const struct spread, sm);
    bool asking = sm->state == STATE_ASKING;

    return CAIRN_HOLDS(x->running <= SPREAD_CHILDREN) && CAIRN_HOLDS(asking || x->running + x->awaited == 0) &&
           CAIRN_HOLDS(cairn_timer_is_running(&x->timer) == (asking || sm->state == STATE_PAUSED)) &&
           CAIRN_HOLDS(sm->state == STATE_PAUSED || cairn_list_is_empty(&x->watch.link));
}

const struct cairn_sm_kind cairn_spread_kind = { "spread", spread_states, STATE_NR, spread_invariant, 120000 };

static bool spread_is_late(const struct spread *x)
{
    return cairn_loop_now(&x->parent->c->loop) >= x->parent->deadline_ns;
}

static void spread_plan_later(struct spread *x)
{
    cairn_env_defer(&x->parent->c->loop.env, &x->task);
}

/* ---- requests ---- */

void cairn__spread_options(struct spread *x, struct spread_child *child)
{
    uint64_t now = cairn_loop_now(&x->parent->c->loop),
             left = x->parent->deadline_ns - MIN(now, x->parent->deadline_ns);

    x->o.timeout_ms = (uint32_t)MIN(left / CAIRN_NS_PER_MS + 1, (uint64_t)UINT32_MAX);
    x->o.error = &child->error;
    child->error.text[0] = '\0';
}

int cairn__spread_call(struct spread *x, struct spread_child *child, struct cairn_call **out)
{
    struct cairn_ns *ns = cairn__hashed_ns(x->parent);
    int rc;

    cairn__spread_options(x, child);
    rc = cairn__call_new_inner(ns->h.c, &ns->h, &x->o, cairn__spread_on_child, child, out);
    if (rc != 0)
        return rc;
    (*out)->out = child;
    child->call = *out;
    cairn__route_to_node(*out, child->place);
    return 0;
}

static void spread_resume(struct spread *x)
{
    cairn_timer_stop(&x->parent->c->loop.env, &x->timer);
    cairn_list_del(&x->watch.link);
    cairn_sm_move(&x->sm, STATE_PLAN);
    spread_plan_later(x);
}

/* Nothing is under way any more? Then it looks what is missing. */
static void spread_rest(struct spread *x)
{
    if (x->sm.state != STATE_ASKING || x->running > 0)
        return;
    if (x->awaited > 0 && !x->parent->canceled && !spread_is_late(x) && !x->holds_back)
        return; /* what is held back may be what they wait for, and does not wait for whom they wait for */
    if (x->awaited > 0)
        x->ops->forget(x);
    spread_resume(x);
}

void cairn__spread_pump(struct spread *x)
{
    int rc = 0;

    for (uint32_t i = 0; i < SPREAD_CHILDREN && x->sm.state == STATE_ASKING && rc == 0; i++) {
        struct spread_child *child = &x->child[i];

        if (child->call != NULL || x->parent->canceled || spread_is_late(x))
            continue;
        if (x->running > 0 && cairn__inner_are_many(x->parent->c))
            break; /* it goes on when one of ours is over */
        child->spread = x;
        rc = x->ops->start(x, child);
        x->running += rc == 0;
    }
    spread_rest(x);
}

static void on_pump(void *arg)
{
    struct spread *x = arg;

    if (x->sm.state == STATE_ASKING && x->ops->is_ready(x))
        cairn__spread_pump(x);
}

void cairn__spread_pump_soon(struct spread *x)
{
    cairn_env_defer(&x->parent->c->loop.env, &x->pump);
}

void cairn__spread_on_child(void *arg, int rc)
{
    struct spread_child *child = arg;
    struct spread *x = child->spread;

    child->call = NULL;
    x->running--;
    if (rc == CAIRN_E_BUSY)
        cairn__spread_refused(x, child, child->error.text);
    x->ops->took(x, child, rc);
    cairn__spread_pump(x);
}

/* ---- rounds ---- */

void cairn__spread_refused(struct spread *x, const struct spread_child *child, const char *text)
{
    x->refused.place = child->place;
    snprintf(x->refused.text, sizeof(x->refused.text), "%s", text);
}

static void spread_tell_missing(struct spread *x, int rc, uint16_t place)
{
    struct cairn_call *call = x->parent;
    const char *name = cairn__route_name(call->c, place);

    if (x->refused.text[0] != '\0' && x->refused.place == place)
        cairn_err_set(&call->err, rc, "the time is over: node %s leads some of it, and its last answer was: %s", name,
                      x->refused.text);
    else
        cairn_err_set(&call->err, rc, "the time is over: node %s, which leads some of it, has not answered for that",
                      name);
}

static void spread_end(struct spread *x, int rc)
{
    struct cairn_call *call = x->parent;
    int missing = rc == CAIRN_E_TIMEOUT ? x->ops->misses(x) : -1;

    rc = x->ops->end(x, rc);
    if (missing >= 0)
        spread_tell_missing(x, rc, (uint16_t)missing);
    cairn_sm_move_or_fail(&x->sm, STATE_DONE, STATE_FAILED, rc);
    cairn_sm_fini(&x->sm);
    cairn_task_cancel(&x->pump);
    call->inner_calls = NULL;
    free(x);
    cairn__call_finish(call, rc);
}

static void spread_pause(struct spread *x)
{
    struct cairn *c = x->parent->c;
    uint64_t pause_ends = cairn_loop_now(&c->loop) + cairn__route_pause_ns(c, x->tries++);
    int rc;

    cairn__route_refresh(c, -1);
    rc = cairn_timer_start(&c->loop.env, &x->timer, MIN(pause_ends, x->parent->deadline_ns));
    if (rc == 0 && (rc = cairn__route_watch(c, &x->watch)) != 0)
        cairn_timer_stop(&c->loop.env, &x->timer);
    if (rc != 0)
        spread_end(x, rc);
    else
        cairn_sm_move(&x->sm, STATE_PAUSED);
}

static void spread_plan(void *arg)
{
    struct spread *x = arg;
    bool goes_on = x->news || x->rested;
    int rc;

    if (x->parent->canceled || spread_is_late(x)) {
        spread_end(x, x->parent->canceled ? CAIRN_E_CANCELED : CAIRN_E_TIMEOUT);
        return;
    }
    if (x->news)
        x->tries = 0;
    x->news = x->rested = x->holds_back = false;
    rc = x->ops->plan(x);
    if (rc <= 0) {
        spread_end(x, rc);
    } else if (rc == SPREAD_WAIT || !goes_on) {
        x->rested = true; /* after it all is asked for again */
        spread_pause(x);
    } else if (cairn_timer_start(&x->parent->c->loop.env, &x->timer, x->parent->deadline_ns) != 0) {
        spread_end(x, CAIRN_E_NOMEM);
    } else {
        cairn_sm_move(&x->sm, STATE_ASKING);
        cairn__spread_pump(x);
    }
}

static void on_timer(void *arg)
{
    struct spread *x = arg;

    if (x->sm.state == STATE_PAUSED)
        spread_resume(x);
    else /* its requests have ended, or do so in this moment */
        spread_rest(x);
}

static void on_news(struct cairn_route_watch *w)
{
    spread_resume(CONTAINER_OF(w, struct spread, watch));
}

/* ---- life ---- */

static void spread_cancel(struct cairn_inner *inner)
{
    struct spread *x = CONTAINER_OF(inner, struct spread, base);

    for (uint32_t i = 0; i < SPREAD_CHILDREN; i++) {
        if (x->child[i].call != NULL)
            cairn__call_cancel(x->child[i].call);
    }
    if (x->sm.state == STATE_PAUSED)
        spread_resume(x);
    else
        spread_rest(x); /* what it awaits is not canceled: others may await it, too */
}

static void spread_begin(struct cairn_call *call)
{
    struct spread *x = CONTAINER_OF(call->inner_calls, struct spread, base);

    cairn_sm_init(&x->sm, &cairn_spread_kind, &call->c->loop.machines);
    spread_plan_later(x);
}

int cairn__spread_go(struct cairn_ns *ns, struct spread *x, const struct spread_ops *ops,
                     const struct cairn_call_options *o, cairn_done_fn *done, void *arg)
{
    struct cairn_call *call;
    int rc = cairn__call_new(ns->h.c, &ns->h, o, done, arg, &call);

    if (rc != 0) {
        free(x);
        return rc;
    }
    x->base.cancel = spread_cancel;
    x->ops = ops;
    x->parent = call;
    x->news = true;
    x->o = (struct cairn_call_options)CAIRN_CALL_OPTIONS_INIT;
    x->o.flags = cairn__flags(o);
    cairn_timer_init(&x->timer, on_timer, x);
    cairn_task_init(&x->task, spread_plan, x);
    cairn_list_init(&x->task.link);
    cairn_task_init(&x->pump, on_pump, x);
    cairn_list_init(&x->pump.link);
    cairn_list_init(&x->watch.link);
    x->watch.news = on_news;
    call->inner_calls = &x->base;
    call->next = spread_begin;
    return cairn__call_go(call);
}
