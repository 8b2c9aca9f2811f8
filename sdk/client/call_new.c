/* Calls before their start: what is refused at once, and the calls that are kept to be used again.
 *
 * There are at most inflight_max calls of the user's. Inner ones, which calls wait for, have no part in that number: if
 * they had, calls that fill it would wait for what there is no room for. Who starts them bounds them
 * (cairn__inner_are_many).
 *
 * Each has its place for good, and a generation that grows when it is used again: both are its number, by which it can
 * be canceled, so the number of a call that is over means nothing. */
#include "sdk/client/client_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- what is refused ---- */

void cairn__info_set(struct cairn_error_info *info, int rc, const char *text)
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
    cairn__info_set(o->error, rc, text);
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

/* ---- calls that are kept ---- */

/* Under the mutex. */
static bool places_grow(struct cairn *c)
{
    uint32_t room = MAX(2 * c->calls_room, 64U);
    struct cairn_call **more;

    if (c->ncalls < c->calls_room)
        return true;
    more = realloc(c->calls, room * sizeof(struct cairn_call *));
    if (more == NULL)
        return false;
    c->calls = more;
    c->calls_room = room;
    return true;
}

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
    call->rpc.done = cairn__call_answered;
    call->rpc.err = &call->err;
    cairn_list_init(&call->link);
    pthread_mutex_lock(&c->mutex);
    if (!places_grow(c)) {
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
static bool call_count(struct cairn *c, bool owned, bool inner)
{
    if (!inner && cairn__inflight_outer(c) >= c->inflight_max)
        return false;
    if (inner)
        atomic_fetch_add(&c->inflight_inner, 1);
    else if (owned)
        atomic_store_explicit(&c->inflight_own, atomic_load_explicit(&c->inflight_own, memory_order_relaxed) + 1,
                              memory_order_release);
    else
        atomic_fetch_add(&c->inflight_foreign, 1);
    return true;
}

static void call_uncount(struct cairn *c, bool foreign, bool inner)
{
    if (inner)
        atomic_fetch_sub(&c->inflight_inner, 1);
    else if (foreign)
        atomic_fetch_sub(&c->inflight_foreign, 1);
    else
        atomic_store_explicit(&c->inflight_own, atomic_load_explicit(&c->inflight_own, memory_order_relaxed) - 1,
                              memory_order_release);
}

uint64_t cairn__call_number(const struct cairn_call *call)
{
    return (uint64_t)atomic_load_explicit(&call->generation, memory_order_relaxed) << 32 | (call->index + 1);
}

static int call_new(struct cairn *c, struct cairn_handle *h, const struct cairn_call_options *o, cairn_done_fn *done,
                    void *arg, bool inner, struct cairn_call **out)
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
    if (!call_count(c, owned, inner)) {
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
        call_uncount(c, !owned, inner);
        if (owned && !inside)
            cairn__disown(c);
        return cairn__refuse(o, CAIRN_E_NOMEM, "no memory for a call");
    }
    call->foreign = !owned;
    call->inner = inner;
    call->owned = owned && !inside;
    call->done = done;
    call->arg = arg;
    call->handle = h;
    call->timeout_ns = o != NULL && o->timeout_ms != 0 ? o->timeout_ms * CAIRN_NS_PER_MS : c->timeout_ns;
    call->error = o != NULL ? o->error : NULL;
    if (h != NULL)
        atomic_fetch_add_explicit(&h->refs, 1, memory_order_relaxed);
    if (o != NULL && o->call != NULL)
        *o->call = cairn__call_number(call);
    *out = call;
    return 0;
}

int cairn__call_new(struct cairn *c, struct cairn_handle *h, const struct cairn_call_options *o, cairn_done_fn *done,
                    void *arg, struct cairn_call **out)
{
    return call_new(c, h, o, done, arg, false, out);
}

int cairn__call_new_inner(struct cairn *c, struct cairn_handle *h, const struct cairn_call_options *o,
                          cairn_done_fn *done, void *arg, struct cairn_call **out)
{
    return call_new(c, h, o, done, arg, true, out);
}

void cairn__call_recycle(struct cairn_call *call)
{
    struct cairn *c = call->c;
    bool foreign = call->foreign, inner = call->inner, quiet = call->quiet;

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
        call->quiet = false;
    call->next = NULL;
    call->answered = NULL;
    call->expose_len = 0;
    call->rpc.payload_n = 0;
    call->rpc.was_sent = false;
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
    if (!quiet)
        call_uncount(c, foreign, inner);
}

void cairn__call_quiet(struct cairn_call *call, bool quiet)
{
    CAIRN_ASSERT(call->inner);
    if (quiet && !call->quiet)
        atomic_fetch_sub(&call->c->inflight_inner, 1);
    else if (!quiet && call->quiet)
        atomic_fetch_add(&call->c->inflight_inner, 1);
    call->quiet = quiet;
}

int cairn__call_drop(struct cairn_call *call, const struct cairn_call_options *o, int rc)
{
    struct cairn *c = call->c;
    bool owned = call->owned;

    cairn__call_recycle(call);
    if (owned)
        cairn__disown(c);
    return cairn__refuse(o, rc, "%s", cairn_error_text(rc));
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
