/* One call of the user's, from its start to its callback.
 *
 * Calls that one request answers are carried by the machine of that request alone (rpc-call). Those that may take
 * several requests (a second read after a mismatch, pages of a batch) or slices of checking have one of their own:
 *
 *   READY ---> ASKING ---> CHECKING ---> DONE        READY, ASKING and CHECKING may also go to FAILED,
 *                                                CHECKING to ASKING.
 *
 * READY     begun on the owner's thread; no request was sent yet.
 * ASKING    one request is with the RPC layer; the caller's memory may be exposed to the node.
 * CHECKING  an answer is here and the memory is concealed again; it is being judged, perhaps in slices.
 * DONE      the results are written.        FAILED  rc says why; results are undefined. */
#include "sdk/client/client_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CALL_READY, CALL_ASKING, CALL_CHECKING, CALL_DONE, CALL_FAILED, CALL_NR };

#define TO CAIRN_SM_TO
static const struct cairn_sm_state call_states[CALL_NR] = {
    [CALL_READY] = { "READY", CAIRN_SM_INITIAL, TO(CALL_ASKING) | TO(CALL_FAILED) },
    [CALL_ASKING] = { "ASKING", 0, TO(CALL_CHECKING) | TO(CALL_FAILED) },
    [CALL_CHECKING] = { "CHECKING", 0, TO(CALL_ASKING) | TO(CALL_DONE) | TO(CALL_FAILED) },
    [CALL_DONE] = { "DONE", CAIRN_SM_FINAL, 0 },
    [CALL_FAILED] = { "FAILED", CAIRN_SM_FINAL | CAIRN_SM_FAILURE, 0 },
};

static bool call_invariant(const struct cairn_sm *sm)
{
    const struct cairn_call *call = CONTAINER_OF(sm, const struct cairn_call, sm);

    return CAIRN_HOLDS(call->begun && call->has_steps) &&
           CAIRN_HOLDS(!call->exposed ||
                       sm->state == CALL_ASKING) && /* the node may touch memory only while it was asked to */
           CAIRN_HOLDS(sm->state == CALL_CHECKING || call->check.own == NULL) &&
           CAIRN_HOLDS(sm->state != CALL_FAILED || sm->rc < 0);
}

const struct cairn_sm_kind cairn_client_call_kind = { "client-call", call_states, CALL_NR, call_invariant, 120000 };

/* ---- on the owner's thread ---- */

static void call_begin(struct cairn_call *call)
{
    struct cairn *c = call->c;

    cairn_list_add_tail(&c->live, &call->link);
    call->begun = true;
    call->deadline_ns = cairn_loop_now(&c->loop) + call->timeout_ns;
    if (call->has_steps)
        cairn_sm_init(&call->sm, &cairn_client_call_kind, &c->loop.machines);
    if (atomic_load_explicit(&c->closing, memory_order_relaxed))
        call->canceled = true;
    if (call->next != NULL)
        call->next(call);
    else
        cairn__call_send(call);
}

static void on_begin(void *arg)
{
    call_begin(arg);
}

int cairn__call_go(struct cairn_call *call)
{
    struct cairn *c = call->c;
    struct cairn_waiter w = { .over = false };
    bool waits = call->done == NULL, owned = call->owned;
    int rc;

    call->waiter = waits ? &w : NULL;
    if (waits)
        atomic_fetch_add_explicit(&c->users, 1, memory_order_relaxed);
    if (call->foreign) {
        cairn_task_init(&call->task, on_begin, call);
        cairn_list_init(&call->task.link);
        cairn_loop_post(&c->loop, &call->task); /* the owner's from here */
    } else {
        call_begin(call);
    }
    if (!waits) {
        if (owned)
            cairn__disown(c);
        return 0;
    }
    rc = cairn__wait(c, &w, owned);
    atomic_fetch_sub_explicit(&c->users, 1, memory_order_release);
    return rc;
}

void cairn__call_to(struct cairn_call *call, const struct cairn_rpc_iface *iface, uint16_t provider, uint16_t method)
{
    call->rpc.iface = iface;
    call->rpc.provider = provider;
    call->rpc.method = method;
    call->rpc.msg = (const ProtobufCMessage *)&call->rq;
}

static void call_conceal(struct cairn_call *call)
{
    if (!call->exposed)
        return;
    cairn_bulk_conceal(&call->region);
    call->exposed = false;
}

void cairn__call_send(struct cairn_call *call)
{
    struct cairn *c = call->c;
    uint64_t now = cairn_loop_now(&c->loop), try_ns = UINT64_MAX;
    int rc;

    if (call->canceled || now >= call->deadline_ns) {
        cairn__call_fail_later(call, call->canceled ? CAIRN_E_CANCELED : CAIRN_E_TIMEOUT);
        return;
    }
    if (call->route.on && !cairn__route_find(call, &try_ns))
        return;
    if (call->again.on)
        try_ns = cairn__again_try_ns(call);
    if (call->expose_len > 0) {
        rc = cairn_bulk_expose(c->rpc, call->expose_ptr, call->expose_len, call->expose_rights, &call->region);
        if (rc != 0) {
            cairn__call_fail_later(call, cairn__route_doubt(call, rc));
            return;
        }
        *call->expose_field = &call->region.desc;
    }
    if (call->has_steps)
        cairn_sm_move(&call->sm, CALL_ASKING);
    call->exposed = call->expose_len > 0;
    call->rpc.timeout_ns = MIN(call->deadline_ns - now, try_ns);
    cairn_rpc_call_start(&call->rpc);
}

/* True if the node itself has said so: it does not touch our memory any more. */
static bool is_answer(int rc)
{
    return rc != CAIRN_E_TIMEOUT && rc != CAIRN_E_CANCELED && rc != CAIRN_E_CLOSED && rc != CAIRN_E_UNREACHABLE &&
           rc != CAIRN_E_UNKNOWN;
}

void cairn__call_answered(struct cairn_rpc_call *rpc)
{
    struct cairn_call *call = CONTAINER_OF(rpc, struct cairn_call, rpc);

    if (call->exposed && is_answer(rpc->rc))
        cairn_bulk_settle(&call->region);
    call_conceal(call);
    if (rpc->rc == CAIRN_E_CANCELED && !call->canceled)
        rpc->rc = CAIRN_E_TIMEOUT; /* the node has a clock, too, and gave up a moment before we would have */
    if (call->has_steps)
        cairn_sm_move(&call->sm, CALL_CHECKING);
    if (rpc->rc != 0 && call->route.on && cairn__route_again(call))
        return;
    if (rpc->rc != 0 && call->again.on && cairn__again(call))
        return;
    if (rpc->rc != 0 && !call->sees_errors)
        cairn__call_finish(call, rpc->rc);
    else
        call->answered(call);
}

static void on_next(void *arg)
{
    struct cairn_call *call = arg;

    if (call->next != NULL)
        call->next(call);
    else
        cairn__call_send(call);
}

/* One request seemed enough; its answer says that it is not. */
static void call_takes_steps(struct cairn_call *call)
{
    call->has_steps = true;
    cairn_sm_init(&call->sm, &cairn_client_call_kind, &call->c->loop.machines);
    cairn_sm_move(&call->sm, CALL_ASKING);
    cairn_sm_move(&call->sm, CALL_CHECKING);
}

void cairn__call_again(struct cairn_call *call)
{
    if (!call->has_steps)
        call_takes_steps(call);
    cairn__call_later(call); /* the reply that the caller is looking at lives in the call that is to be started anew */
}

static void on_send(void *arg)
{
    cairn__call_send(arg);
}

void cairn__call_send_later(struct cairn_call *call)
{
    cairn_task_init(&call->task, on_send, call);
    cairn_list_init(&call->task.link);
    cairn_env_defer(&call->c->loop.env, &call->task);
}

void cairn__call_later(struct cairn_call *call)
{
    cairn_task_init(&call->task, on_next, call);
    cairn_list_init(&call->task.link);
    cairn_env_defer(&call->c->loop.env, &call->task);
}

void cairn__call_finish(struct cairn_call *call, int rc)
{
    struct cairn *c = call->c;
    struct cairn_waiter *w = call->waiter;
    cairn_done_fn *done = call->done;
    void *arg = call->arg;

    CAIRN_ASSERT(rc <= 0 && call->inner_calls == NULL);
    call_conceal(call);
    if (call->route.on) {
        if (rc == CAIRN_E_TIMEOUT || rc == CAIRN_E_UNREACHABLE)
            cairn__route_late(call, rc);
        cairn__route_over(call);
    }
    if (call->again.on)
        rc = cairn__again_over(call, rc);
    if (call->uses_sink) {
        free(call->check.own);
        call->check.own = NULL;
        if (rc != 0)
            cairn__sink_drop(call);
    }
    if (call->has_steps) {
        cairn_sm_move_or_fail(&call->sm, CALL_DONE, CALL_FAILED, rc);
        cairn_sm_fini(&call->sm);
    }
    if (rc != 0 && call->error != NULL)
        cairn__info_set(call->error, rc, call->err.code == rc ? call->err.text : NULL);
    if (call->inner) {
        cairn__call_recycle(call);
        if (done != NULL)
            done(arg, rc);
        else
            cairn__waiter_over(c, w, rc);
        return;
    }
    c->finished++;
    if (done == NULL) {
        cairn__call_recycle(call);
        cairn__waiter_over(c, w, rc);
        return;
    }
    /* The call's place is free for what the callback starts, yet those who wait for all calls wait for the callback. */
    atomic_store_explicit(&c->in_callback, true, memory_order_relaxed);
    cairn__call_recycle(call);
    done(arg, rc);
    atomic_store_explicit(&c->in_callback, false, memory_order_release);
}

void cairn__call_fail(struct cairn_call *call, int rc, const char *fmt, ...)
{
    va_list ap;

    call->err.code = rc;
    va_start(ap, fmt);
    vsnprintf(call->err.text, sizeof(call->err.text), fmt, ap);
    va_end(ap);
    cairn__call_finish(call, rc);
}

static void on_fail_later(void *arg)
{
    struct cairn_call *call = arg;

    if (call->rpc.rc != 0 && call->sees_errors)
        call->answered(call);
    else
        cairn__call_finish(call, call->rpc.rc);
}

void cairn__call_fail_later(struct cairn_call *call, int rc)
{
    call->rpc.rc = rc;
    cairn_task_init(&call->task, on_fail_later, call);
    cairn_list_init(&call->task.link);
    cairn_env_defer(&call->c->loop.env, &call->task);
}

static void nothing_next(struct cairn_call *call)
{
    cairn__call_fail_later(call, call->canceled ? CAIRN_E_CANCELED : 0);
}

int cairn__call_nothing(struct cairn *c, const struct cairn_call_options *o, cairn_done_fn *done, void *arg)
{
    struct cairn_call *call;
    int rc = cairn__call_new(c, NULL, o, done, arg, &call);

    if (rc != 0)
        return rc;
    call->next = nothing_next;
    return cairn__call_go(call);
}
