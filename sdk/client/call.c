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

/* ---- before the start ---- */

static void info_set(struct cairn_error_info *info, int rc, const char *text)
{
    info->code = rc;
    snprintf(info->text, sizeof(info->text), "%s", text != NULL && text[0] != '\0' ? text : cairn_error_text(rc));
}

int cairn__refuse(const struct cairn_call_options *o, int rc, const char *fmt, ...)
{
    char text[sizeof(o->error->text)];
    va_list ap;

    if (o == NULL || !cairn__are_options(o) || o->error == NULL)
        return rc;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    info_set(o->error, rc, text);
    return rc;
}

int cairn__refuse_key(const struct cairn_call_options *o, size_t key_len)
{
    return cairn__refuse(o, CAIRN_E_INVAL, "a key has 1 to %d bytes, not %zu", CAIRN_KEY_BYTES_MAX, key_len);
}

int cairn__refuse_name(const struct cairn_call_options *o, const char *what, const char *name)
{
    if (name == NULL || name[0] == '\0')
        return cairn__refuse(o, CAIRN_E_INVAL, "the name of the %s is missing", what);
    if (strlen(name) > CAIRN_NAME_BYTES_MAX)
        return cairn__refuse(o, CAIRN_E_INVAL, "the name of the %s is longer than %d bytes", what,
                             CAIRN_NAME_BYTES_MAX);
    return 0;
}

Cairn__Wire__Durability cairn__durability_to_wire(enum cairn_durability d)
{
    switch (d) {
    case CAIRN_DURABILITY_MEMORY:
        return CAIRN__WIRE__DURABILITY__DURABILITY_MEMORY;
    case CAIRN_DURABILITY_SYNC:
        return CAIRN__WIRE__DURABILITY__DURABILITY_SYNC;
    default:
        return CAIRN__WIRE__DURABILITY__DURABILITY_BUFFERED;
    }
}

enum cairn_durability cairn__durability_of_wire(Cairn__Wire__Durability d)
{
    switch (d) {
    case CAIRN__WIRE__DURABILITY__DURABILITY_MEMORY:
        return CAIRN_DURABILITY_MEMORY;
    case CAIRN__WIRE__DURABILITY__DURABILITY_SYNC:
        return CAIRN_DURABILITY_SYNC;
    default:
        return CAIRN_DURABILITY_BUFFERED;
    }
}

static void on_begin(void *arg);
static void on_rpc_done(struct cairn_rpc_call *rpc);

/* A call that was never used yet. */
static struct cairn_call *call_make(struct cairn *c)
{
    struct cairn_call *call = aligned_alloc(_Alignof(struct cairn_call), sizeof(*call));

    if (call == NULL)
        return NULL;
    memset(call, 0, offsetof(struct cairn_call, rpc) + offsetof(struct cairn_rpc_call, arena));
    call->c = c;
    atomic_init(&call->generation, 1);
    call->rpc.dest = (struct cairn_rpc_dest){ .rpc = c->rpc, .session = c->session };
    call->rpc.done = on_rpc_done;
    call->rpc.err = &call->err;
    cairn_list_init(&call->link);
    pthread_mutex_lock(&c->mutex);
    if (c->ncalls == 2 * c->inflight_max) { /* as many of the owner's kind as of the others' */
        pthread_mutex_unlock(&c->mutex);
        free(call);
        return NULL;
    }
    call->index = c->ncalls;
    c->calls[c->ncalls++] = call;
    pthread_mutex_unlock(&c->mutex);
    return call;
}

/* A spare call of the other kind, when no new one may be made. */
static struct cairn_call *call_take_spare(struct cairn *c, bool owned)
{
    struct cairn_link *l = NULL;

    if (owned)
        l = cairn_list_pop(&c->spare_calls);
    if (l == NULL) {
        /* The owner looks here only when its own list is empty: threads that found the loop taken have used many. */
        pthread_mutex_lock(&c->mutex);
        l = cairn_list_pop(&c->spare_foreign);
        pthread_mutex_unlock(&c->mutex);
    }
    return l != NULL ? CONTAINER_OF(l, struct cairn_call, link) : NULL;
}

/* One more in flight, if there may be. */
static bool call_count(struct cairn *c, bool owned)
{
    if (cairn__inflight(c) >= c->inflight_max)
        return false;
    if (owned)
        atomic_store_explicit(&c->inflight_own, atomic_load_explicit(&c->inflight_own, memory_order_relaxed) + 1,
                              memory_order_release);
    else
        atomic_fetch_add(&c->inflight_foreign, 1);
    return true;
}

static void call_uncount(struct cairn *c, bool foreign)
{
    if (foreign)
        atomic_fetch_sub(&c->inflight_foreign, 1);
    else
        atomic_store_explicit(&c->inflight_own, atomic_load_explicit(&c->inflight_own, memory_order_relaxed) - 1,
                              memory_order_release);
}

static uint64_t call_number(const struct cairn_call *call)
{
    return (uint64_t)atomic_load_explicit(&call->generation, memory_order_relaxed) << 32 | (call->index + 1);
}

int cairn__call_new(struct cairn *c, struct cairn_handle *h, const struct cairn_call_options *o, cairn_done_fn *done,
                    void *arg, struct cairn_call **out)
{
    struct cairn_call *call;
    bool inside = cairn__is_inside(c), owned;

    *out = NULL;
    if (!cairn__are_options(o))
        return CAIRN_E_INVAL;
    if (inside && done == NULL)
        return cairn__refuse(o, CAIRN_E_STATE, "a callback cannot wait for a call: use the asynchronous form");
    if (atomic_load_explicit(&c->closing, memory_order_relaxed))
        return cairn__refuse(o, CAIRN_E_CLOSED, "the client is being closed");
    owned = inside || cairn__own_try(c);
    if (!call_count(c, owned)) {
        if (owned && !inside)
            cairn__disown(c);
        return cairn__refuse(o, CAIRN_E_BUSY, "%u calls are in flight (options: inflight_max)", c->inflight_max);
    }
    if (owned && !inside)
        cairn__catch_up(c);
    call = call_take_spare(c, owned);
    if (call == NULL)
        call = call_make(c);
    if (call == NULL) {
        call_uncount(c, !owned);
        if (owned && !inside)
            cairn__disown(c);
        return cairn__refuse(o, CAIRN_E_NOMEM, "no memory for a call");
    }
    call->foreign = !owned;
    call->owned = owned && !inside;
    call->done = done;
    call->arg = arg;
    call->handle = h;
    call->timeout_ns = o != NULL && o->timeout_ms != 0 ? o->timeout_ms * CAIRN_NS_PER_MS : c->timeout_ns;
    call->error = o != NULL ? o->error : NULL;
    if (h != NULL)
        atomic_fetch_add_explicit(&h->refs, 1, memory_order_relaxed);
    if (o != NULL && o->call != NULL)
        *o->call = call_number(call);
    *out = call;
    return 0;
}

/* Puts @call back into the state in which call_new finds it. The owner, or who has just made it. */
static void call_recycle(struct cairn_call *call)
{
    struct cairn *c = call->c;
    bool foreign = call->foreign;

    if (call->crcs != NULL && call->crcs != call->crcs_inline)
        free(call->crcs);
    if (call->text != NULL)
        free(call->text);
    if (call->gathered != NULL)
        free(call->gathered);
    if (call->scratch != NULL)
        cairn__scratch_put(call);
    if (call->handle != NULL)
        cairn__handle_put(call->handle);
    call->crcs = NULL;
    call->text = NULL;
    call->gathered = NULL;
    call->handle = NULL;
    call->begun = call->canceled = call->has_steps = call->verify = call->sees_errors = call->uses_sink = call->inner =
        false;
    call->next = NULL;
    call->answered = NULL;
    call->expose_len = 0;
    call->rpc.payload_n = 0;
    call->err.code = 0;
    call->err.text[0] = '\0';
    atomic_store_explicit(&call->generation, atomic_load_explicit(&call->generation, memory_order_relaxed) + 1,
                          memory_order_relaxed); /* whoever has the call is its only writer */
    cairn_list_del(&call->link);
    if (foreign) {
        pthread_mutex_lock(&c->mutex);
        cairn_list_add_head(&c->spare_foreign, &call->link);
        pthread_mutex_unlock(&c->mutex);
    } else {
        cairn_list_add_head(&c->spare_calls, &call->link);
    }
    call_uncount(c, foreign);
}

int cairn__call_drop(struct cairn_call *call, const struct cairn_call_options *o, int rc)
{
    struct cairn *c = call->c;
    bool owned = call->owned;

    call_recycle(call);
    if (owned)
        cairn__disown(c);
    return cairn__refuse(o, rc, "%s", cairn_error_text(rc));
}

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
    if (call->expose_len > 0) {
        rc = cairn_bulk_expose(c->rpc, call->expose_ptr, call->expose_len, call->expose_rights, &call->region);
        if (rc != 0) {
            cairn__call_fail_later(call, rc);
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

static void on_rpc_done(struct cairn_rpc_call *rpc)
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

void cairn__call_takes_steps(struct cairn_call *call)
{
    if (call->has_steps)
        return;
    call->has_steps = true;
    cairn_sm_init(&call->sm, &cairn_client_call_kind, &call->c->loop.machines);
}

/* One request seemed enough; its answer says that it is not. */
static void call_takes_steps(struct cairn_call *call)
{
    cairn__call_takes_steps(call);
    cairn_sm_move(&call->sm, CALL_ASKING);
    cairn_sm_move(&call->sm, CALL_CHECKING);
}

void cairn__call_again(struct cairn_call *call)
{
    if (!call->has_steps)
        call_takes_steps(call);
    cairn__call_later(call); /* the reply that the caller is looking at lives in the call that is to be started anew */
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
    if (call->route.on)
        cairn__route_over(call);
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
        info_set(call->error, rc, call->err.code == rc ? call->err.text : NULL);
    if (call->inner) {
        call_recycle(call);
        if (done != NULL)
            done(arg, rc);
        else
            cairn__waiter_over(c, w, rc);
        return;
    }
    c->finished++;
    if (done == NULL) {
        call_recycle(call);
        cairn__waiter_over(c, w, rc);
        return;
    }
    /* The call's place is free for what the callback starts, yet those who wait for all calls wait for the callback. */
    atomic_store_explicit(&c->in_callback, true, memory_order_relaxed);
    call_recycle(call);
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

static void on_answered_later(void *arg)
{
    struct cairn_call *call = arg;

    if (call->sees_errors)
        call->answered(call);
    else
        cairn__call_finish(call, call->rpc.rc);
}

void cairn__call_fail_answered(struct cairn_call *call, int rc, const char *text)
{
    call->rpc.rc = cairn_err_set(&call->err, rc, "%s", text);
    cairn_task_init(&call->task, on_answered_later, call);
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

/* ---- cancel ---- */

void cairn__call_cancel(struct cairn_call *call)
{
    call->canceled = true; /* what is between two requests sees it before the next one */
    if (call->inner_calls != NULL)
        call->inner_calls->cancel(call->inner_calls);
    if (call->route.on)
        cairn__route_cancel(call);
    if (call->begun && cairn_rpc_call_is_running(&call->rpc))
        cairn_rpc_call_cancel(&call->rpc);
}

struct cancel {
    struct cairn_task task;
    struct cairn *c;
    bool all;
    uint64_t number;
};

static void cancel_number(struct cairn *c, uint64_t number)
{
    uint32_t index = (uint32_t)number - 1;
    struct cairn_call *call = NULL;

    pthread_mutex_lock(&c->mutex);
    if (index < c->ncalls)
        call = c->calls[index];
    pthread_mutex_unlock(&c->mutex);
    if (call != NULL && call_number(call) == number)
        cairn__call_cancel(call); /* perhaps not begun yet: then it ends as soon as it begins */
}

void cairn__cancel_all(struct cairn *c)
{
    CAIRN_LIST_FOREACH (l, &c->live)
        cairn__call_cancel(CONTAINER_OF(l, struct cairn_call, link));
}

static void cancel(struct cairn *c, bool all, uint64_t number)
{
    if (all)
        cairn__cancel_all(c);
    else
        cancel_number(c, number);
}

static void on_cancel(void *arg)
{
    struct cancel *x = arg;

    cancel(x->c, x->all, x->number);
    free(x);
}

static int ask_to_cancel(struct cairn *c, bool all, uint64_t number)
{
    bool inside = cairn__is_inside(c);
    struct cancel *x;

    if (inside || cairn__own_try(c)) {
        cancel(c, all, number);
        if (!inside)
            cairn__disown(c);
        return 0;
    }
    x = malloc(sizeof(*x));
    if (x == NULL)
        return CAIRN_E_NOMEM;
    x->c = c;
    x->all = all;
    x->number = number;
    cairn_task_init(&x->task, on_cancel, x);
    cairn_list_init(&x->task.link);
    cairn_loop_post(&c->loop, &x->task); /* behind the call itself, if that is still on its way to the owner */
    return 0;
}

int cairn_cancel(struct cairn *c, uint64_t number)
{
    return ask_to_cancel(c, false, number);
}

int cairn_cancel_all(struct cairn *c)
{
    return ask_to_cancel(c, true, 0);
}

/* ---- handles ---- */

void cairn__handle_init(struct cairn_handle *h, struct cairn *c, uint16_t provider)
{
    h->c = c;
    h->provider = provider;
    atomic_init(&h->refs, 1);
}

void cairn__handle_put(struct cairn_handle *h)
{
    if (h != NULL && atomic_fetch_sub_explicit(&h->refs, 1, memory_order_acq_rel) == 1)
        free(h);
}
