/* The origin's side of one call.
 *
 *   QUEUED ---> SENT ---> DONE        QUEUED and SENT may also go to FAILED.
 *                                     SENT may also go to QUEUED.
 *
 * QUEUED  nobody has it yet: it waits for the dispatching task (local), for a connection or for credits.
 * SENT    the target has it, or the kernel. Back to QUEUED when the connection is lost and sending it again is safe.
 * DONE    the target has carried it out.        FAILED  rc says why not, or that nobody knows (CAIRN_E_UNKNOWN). */
#include "sdk/core/rpc/rpc_internal.h"

#include "schema/common.pb-c.h"

#include <stdlib.h>
#include <string.h>

static const struct cairn_sm_state call_states[CALL_NR] = {
    [CALL_QUEUED] = { "QUEUED", CAIRN_SM_INITIAL, CAIRN_SM_TO(CALL_SENT) | CAIRN_SM_TO(CALL_FAILED) },
    [CALL_SENT] = { "SENT", 0, CAIRN_SM_TO(CALL_DONE) | CAIRN_SM_TO(CALL_FAILED) | CAIRN_SM_TO(CALL_QUEUED) },
    [CALL_DONE] = { "DONE", CAIRN_SM_FINAL, 0 },
    [CALL_FAILED] = { "FAILED", CAIRN_SM_FINAL | CAIRN_SM_FAILURE, 0 },
};

static bool call_is_local(const struct cairn_rpc_call *call)
{
    return call->dest.session == NULL && call->dest.peer == NULL;
}

static bool call_invariant(const struct cairn_sm *sm)
{
    const struct cairn_rpc_call *call = CONTAINER_OF(sm, const struct cairn_rpc_call, sm);

    return CAIRN_HOLDS(call->local == NULL || call_is_local(call)) &&
           CAIRN_HOLDS(call->local == NULL || sm->state == CALL_SENT) && /* only while the target has it */
           CAIRN_HOLDS(!call_is_local(call) || call->sends == 0) &&      /* sends counts what went to a socket */
           CAIRN_HOLDS(sm->state != CALL_DONE || sm->rc == 0);
}

const struct cairn_sm_kind cairn_rpc_call_kind = { "rpc-call", call_states, CALL_NR, call_invariant, 120000 };

static const struct cairn_identity node_identity = { .uid = 0, .gid = 0, .admin = true, .node = true, .auth = "local" };

bool cairn_rpc_req_is_own(const struct cairn_rpc_req *rq)
{
    return rq->who == &node_identity;
}

/* The payload of a local call, as one piece. */
static int call_join_payload(struct cairn_rpc_call *call, struct cairn_rpc_req *rq)
{
    size_t max = rq->method->flags & CAIRN_RPC_LARGE ? CAIRN_RPC_LARGE_BYTES_MAX : CAIRN_FRAME_PAYLOAD_BYTES_MAX;
    size_t len = 0, at = 0;

    for (uint32_t i = 0; i < call->payload_n; i++)
        len += call->payload[i].iov_len;
    if (len > max)
        return CAIRN_E_TOOBIG;
    rq->payload_len = (uint32_t)len;
    if (call->payload_n <= 1) {
        rq->payload = call->payload_n == 1 ? call->payload[0].iov_base : NULL;
        return 0;
    }
    rq->held = malloc(len + 1);
    if (rq->held == NULL)
        return CAIRN_E_NOMEM;
    for (uint32_t i = 0; i < call->payload_n; i++) {
        memcpy(rq->held + at, call->payload[i].iov_base, call->payload[i].iov_len);
        at += call->payload[i].iov_len;
    }
    rq->payload = rq->held;
    return 0;
}

/* ---- deadlines of local calls ---- */

/* A local target that is overdue is told so, as it would be of a remote call. It is waited for all the same, since it
 * may be reading the caller's message and writing to its memory: what listens to its on_cancel ends in time, and what
 * waits for a disk ends with the disk. Whoever is outside has a deadline of its own and is not held up by that. */
void cairn_rpc__locals_sweep(void *arg)
{
    struct cairn_rpc *rpc = arg;
    uint64_t now = cairn_loop_now(rpc->loop), next = UINT64_MAX;
    struct cairn_link overdue, *l;

    cairn_list_init(&overdue); /* taken out first: one that ends may end, or start, others */
    CAIRN_LIST_FOREACH_SAFE (i, &rpc->locals) {
        struct cairn_rpc_call *call = CONTAINER_OF(i, struct cairn_rpc_call, link);

        if (call->deadline_ns > now) {
            next = MIN(next, call->deadline_ns);
        } else {
            cairn_list_del(&call->link);
            cairn_list_add_tail(&overdue, &call->link);
        }
    }
    if (next != UINT64_MAX)
        cairn_timer_start(&rpc->loop->env, &rpc->locals_timer, next); /* there is room: it has just run */
    while ((l = cairn_list_pop(&overdue)) != NULL) {
        struct cairn_rpc_call *call = CONTAINER_OF(l, struct cairn_rpc_call, link);

        if (call->rc == 0)
            call->rc = CAIRN_E_TIMEOUT;
        cairn_rpc__req_cancel(call->local);
    }
}

/* One timer for all: it runs when the first of them may be overdue, and mostly finds it answered long ago. */
static int local_watch(struct cairn_rpc *rpc, struct cairn_rpc_call *call)
{
    cairn_list_add_tail(&rpc->locals, &call->link);
    if (LIKELY(cairn_timer_is_running(&rpc->locals_timer) && rpc->locals_timer.at_ns <= call->deadline_ns))
        return 0;
    return cairn_timer_start(&rpc->loop->env, &rpc->locals_timer, call->deadline_ns);
}

static void on_local_dispatch(void *arg)
{
    struct cairn_rpc_call *call = arg;
    struct cairn_rpc *rpc = call->dest.rpc;
    const struct cairn_rpc_target *t = cairn_rpc_target_by_id(rpc, call->provider);
    struct cairn_rpc_req *rq;
    int rc;

    if (call->rc != 0) { /* canceled before it began */
        cairn_rpc__call_fail(call, call->rc, NULL);
        return;
    }
    if (t == NULL || t->iface != call->iface) {
        cairn_rpc__call_fail(call, CAIRN_E_NOPROVIDER, "no provider of that number and type on this node");
        return;
    }
    rq = cairn_rpc__req_new(rpc);
    if (rq == NULL) {
        cairn_rpc__call_fail(call, CAIRN_E_NOMEM, NULL);
        return;
    }
    rq->call = call;
    rq->target = t;
    rq->method = cairn_rpc__call_method(call);
    rq->method_no = call->method;
    rq->msg = call->msg;
    rq->who = call->who != NULL ? call->who : &node_identity;
    rq->peer = call->bulk_peer;
    rq->deadline_ns = call->deadline_ns;
    rq->arrived_ns = cairn_loop_now(rpc->loop);
    call->local = rq;
    cairn_sm_move(&call->sm, CALL_SENT);
    rc = local_watch(rpc, call);
    if (rc == 0)
        rc = call_join_payload(call, rq);
    rq->bytes = rq->payload_len;
    cairn_rpc__stats_start(rq);
    if (rc != 0)
        cairn_rpc_reply(rq, rc, NULL, NULL, 0);
    else
        cairn_rpc__req_dispatch(rq);
}

static void on_start_failed(void *arg)
{
    struct cairn_rpc_call *call = arg;
    struct cairn_err why = { 0 };

    if (call->err != NULL && call->err->code == call->rc)
        why = *call->err;
    cairn_rpc__call_fail(call, call->rc, why.text);
}

void cairn_rpc_call_start(struct cairn_rpc_call *call)
{
    struct cairn_rpc *rpc = call->dest.rpc;

    CAIRN_ASSERT(call->done != NULL);
    CAIRN_ASSERT(call->msg != NULL && call->method < call->iface->nmethods);
    CAIRN_ASSERT(call->msg->descriptor == cairn_rpc__call_method(call)->request);
    CAIRN_ASSERT(call->payload_n <= ARRAY_SIZE(call->payload));
    call->rc = 0;
    if (call->err != NULL)
        call->err->code = 0;
    call->reply = NULL;
    call->reply_payload = NULL;
    call->reply_payload_len = 0;
    call->local = NULL;
    call->sends = 0;
    call->was_sent = false;
    call->numbered = false;
    call->id = call->seq = 0;
    call->bytes = 0;
    call->deadline_ns =
        cairn_loop_now(rpc->loop) + (call->timeout_ns != 0 ? call->timeout_ns : RPC_TIMEOUT_DEFAULT_S * CAIRN_NS_PER_S);
    cairn_list_init(&call->link);
    cairn_arena_init(&call->arena, RPC_REQ_ARENA_BYTES_MAX);
    cairn_sm_init(&call->sm, &cairn_rpc_call_kind, &rpc->loop->machines);
    rpc->ncalls++;
    if (call_is_local(call)) {
        cairn_task_init(&call->task, on_local_dispatch, call);
        cairn_env_defer(&rpc->loop->env, &call->task);
        return;
    }
    cairn_task_init(&call->task, on_start_failed, call);
    if (call->dest.session != NULL)
        cairn_rpc__session_call(call->dest.session, call);
    else
        cairn_rpc__peer_call(call->dest.peer, call);
}

bool cairn_rpc_call_is_running(const struct cairn_rpc_call *call)
{
    return call->sm.kind != NULL && !cairn_sm_is_final(&call->sm);
}

static void on_local_cancel(void *arg)
{
    struct cairn_rpc_call *call = arg;

    cairn_rpc__req_cancel(call->local);
}

void cairn_rpc_call_cancel(struct cairn_rpc_call *call)
{
    if (!cairn_rpc_call_is_running(call) || call->rc != 0)
        return;
    if (call->dest.session != NULL) {
        cairn_rpc__session_call_cancel(call->dest.session, call);
    } else if (call->dest.peer != NULL) {
        cairn_rpc__peer_call_cancel(call->dest.peer, call);
    } else {
        call->rc = CAIRN_E_CANCELED;
        if (call->local !=
            NULL) { /* from the loop: it may answer at once, and done() never runs inside the caller's own call */
            cairn_task_init(&call->task, on_local_cancel, call);
            cairn_env_defer(&call->dest.rpc->loop->env, &call->task);
        }
    }
}

/* The call is over; after done() it may be gone, or have been started anew. */
static void call_over(struct cairn_rpc_call *call)
{
    struct cairn_arena_chunk *chunks = cairn_arena_detach(&call->arena);

    cairn_task_cancel(&call->task);
    cairn_list_del(&call->link);
    cairn_sm_fini(&call->sm);
    call->dest.rpc->ncalls--;
    call->done(call);
    cairn_arena_chunks_free(chunks);
}

static void call_set_err(struct cairn_rpc_call *call, int status, const char *text)
{
    call->rc = status;
    call->reply = NULL;
    if (call->err != NULL)
        cairn_err_set(call->err, status, "%s", text != NULL && text[0] != '\0' ? text : cairn_error_text(status));
}

void cairn_rpc__call_fail(struct cairn_rpc_call *call, int rc, const char *text)
{
    call_set_err(call, rc, text);
    cairn_sm_fail(&call->sm, CALL_FAILED, rc);
    call_over(call);
}

int cairn_rpc__call_untold(const struct cairn_rpc_call *call, int rc)
{
    return (cairn_rpc__call_method(call)->flags & CAIRN_RPC_ONCE) != 0 ? CAIRN_E_UNKNOWN : rc;
}

void cairn_rpc__call_finish_msg(struct cairn_rpc_call *call, int status, const ProtobufCMessage *msg, const char *text,
                                const uint8_t *payload, uint32_t payload_len)
{
    struct cairn_arena *a = &call->arena;

    if (status != 0) {
        call_set_err(call, status, text);
        cairn_sm_fail(&call->sm, CALL_FAILED, status);
        call_over(call);
        return;
    }
    if (msg == NULL) {
        const ProtobufCMessageDescriptor *d = cairn_rpc__call_method(call)->reply;
        ProtobufCMessage *empty = cairn_arena_alloc(a, d->sizeof_message);

        if (empty == NULL) {
            cairn_rpc__call_fail(call, cairn_rpc__call_untold(call, CAIRN_E_NOMEM), RPC_UNTOLD_TEXT);
            return;
        }
        protobuf_c_message_init(d, empty);
        msg = empty;
    }
    call->rc = 0;
    call->reply = msg;
    call->reply_payload = payload;
    call->reply_payload_len = payload_len;
    cairn_sm_move(&call->sm, CALL_DONE);
    call_over(call);
}

void cairn_rpc__call_finish(struct cairn_rpc_call *call, int status, const uint8_t *body, uint32_t body_len,
                            const uint8_t *payload, uint32_t payload_len)
{
    ProtobufCAllocator alloc = cairn_rpc_arena_allocator(&call->arena);
    const ProtobufCMessageDescriptor *d =
        status == 0 ? cairn_rpc__call_method(call)->reply : &cairn__wire__error_detail__descriptor;
    ProtobufCMessage *msg = NULL;
    const char *text = NULL;

    if (body_len > 0) {
        msg = protobuf_c_message_unpack(d, &alloc, body_len, body);
        if (msg == NULL && status == 0) {
            status = cairn_rpc__call_untold(call, CAIRN_E_PROTO);
            text = "the reply cannot be decoded";
        } else if (msg != NULL && status != 0) {
            text = ((const Cairn__Wire__ErrorDetail *)msg)->text;
        }
    }
    cairn_rpc__call_finish_msg(call, status, msg, text, payload, payload_len);
}
