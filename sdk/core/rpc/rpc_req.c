/* The target's side of one call.
 *
 *   RUNNING ---> ANSWERED
 *   WAITING ---> ANSWERED       RUNNING may also go to WAITING, WAITING to RUNNING.
 *
 * RUNNING   the handler has it, or is about to get it; exactly one answer will come.
 * WAITING   the same change is being carried out already, for a connection that was lost: its answer will be ours too.
 * ANSWERED  the answer is on its way; nothing of the request is left. */
#include "sdk/core/rpc/accept.h"
#include "sdk/core/rpc/rpc_internal.h"

#include "schema/common.pb-c.h"
#include "schema/kv.pb-c.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct cairn_sm_state req_states[REQ_NR] = {
    [REQ_RUNNING] = { "RUNNING", CAIRN_SM_INITIAL, CAIRN_SM_TO(REQ_ANSWERED) | CAIRN_SM_TO(REQ_WAITING) },
    [REQ_WAITING] = { "WAITING", 0, CAIRN_SM_TO(REQ_ANSWERED) | CAIRN_SM_TO(REQ_RUNNING) },
    [REQ_ANSWERED] = { "ANSWERED", CAIRN_SM_FINAL, 0 },
};

static bool req_invariant(const struct cairn_sm *sm)
{
    const struct cairn_rpc_req *rq = CONTAINER_OF(sm, const struct cairn_rpc_req, sm);

    return CAIRN_HOLDS(rq->call == NULL || rq->conn == NULL) &&          /* local or remote */
           CAIRN_HOLDS(sm->state != REQ_WAITING || rq->dedup != NULL) && /* only changes are recognised */
           CAIRN_HOLDS(rq->call == NULL || rq->dedup == NULL); /* and only those that came over a connection */
}

const struct cairn_sm_kind cairn_rpc_req_kind = { "rpc-request", req_states, REQ_NR, req_invariant, 60000 };

struct cairn_rpc_req *cairn_rpc__req_new(struct cairn_rpc *rpc)
{
    struct cairn_link *l = cairn_list_pop(&rpc->spare_reqs);
    struct cairn_rpc_req *rq;

    if (l != NULL) {
        rq = CONTAINER_OF(l, struct cairn_rpc_req, link);
        rpc->nspare_reqs--;
    } else {
        rq = malloc(sizeof(*rq));
        if (rq == NULL)
            return NULL;
    }
    memset(rq, 0, offsetof(struct cairn_rpc_req, arena));
    cairn_arena_init(&rq->arena, RPC_REQ_ARENA_BYTES_MAX);
    cairn_list_init(&rq->link);
    rq->rpc = rpc;
    cairn_sm_init(&rq->sm, &cairn_rpc_req_kind, &rpc->loop->machines);
    rpc->nreqs++;
    return rq;
}

void cairn_rpc__req_free(struct cairn_rpc_req *rq)
{
    struct cairn_rpc *rpc = rq->rpc;

    cairn_sm_fini(&rq->sm);
    cairn_list_del(&rq->link);
    free(rq->held);
    cairn_arena_reset(&rq->arena);
    CAIRN_ASSERT(rpc->nreqs > 0);
    rpc->nreqs--;
    if (rpc->nspare_reqs >= RPC_REQS_SPARE_MAX) {
        free(rq);
        return;
    }
    cairn_list_add_head(&rpc->spare_reqs, &rq->link); /* the last one used is the warmest */
    rpc->nspare_reqs++;
}

void cairn_rpc__req_dispatch(struct cairn_rpc_req *rq)
{
    const struct cairn_rpc_target *t = rq->target;
    cairn_rpc_handler *handler = t->handlers[rq->method_no];

    if (UNLIKELY(handler == NULL)) {
        cairn_rpc_reply_err(rq, CAIRN_E_NOMETHOD, "%s.%s", t->name, rq->method->name);
        return;
    }
    if (UNLIKELY((rq->method->flags & CAIRN_RPC_ADMIN) != 0 && !rq->who->admin)) {
        cairn_rpc_reply_err(rq, CAIRN_E_DENIED, "%s.%s is for administrators, not for user %u", t->name,
                            rq->method->name, (unsigned)rq->who->uid);
        return;
    }
    if (UNLIKELY((rq->method->flags & CAIRN_RPC_NODE) != 0 && !rq->who->node)) {
        cairn_rpc_reply_err(rq, CAIRN_E_AUTH, "%s.%s is between nodes, for who proves that it holds the cluster's key",
                            t->name, rq->method->name);
        return;
    }
    handler(rq);
}

void cairn_rpc__req_cancel(struct cairn_rpc_req *rq)
{
    if (rq->canceled)
        return;
    rq->canceled = true;
    if (rq->rpc->node != NULL)
        atomic_fetch_add_explicit(&rq->rpc->node->counters.requests_canceled, 1, memory_order_relaxed);
    if (rq->on_cancel != NULL)
        rq->on_cancel(rq, rq->on_cancel_arg);
}

int cairn_rpc_req_hold_payload(struct cairn_rpc_req *rq)
{
    if (rq->held != NULL || rq->call != NULL || rq->payload_len == 0)
        return 0; /* a local caller keeps its payload until done() */
    rq->held = malloc(rq->payload_len);
    if (rq->held == NULL)
        return CAIRN_E_NOMEM;
    memcpy(rq->held, rq->payload, rq->payload_len);
    rq->payload = rq->held;
    return 0;
}

static void req_reply_local(struct cairn_rpc_req *rq, int status, const ProtobufCMessage *msg, const char *text,
                            const struct iovec *payload, uint32_t n)
{
    struct cairn_rpc_call *call = rq->call;
    const uint8_t *p = NULL;
    uint8_t *joined = NULL;
    size_t len = 0;

    for (uint32_t i = 0; i < n; i++)
        len += payload[i].iov_len;
    if (n == 1) {
        p = payload[0].iov_base;
    } else if (len > 0) {
        size_t at = 0;

        p = joined = malloc(len);
        if (joined == NULL) {
            status = cairn_rpc__call_untold(call, CAIRN_E_NOMEM);
            text = RPC_UNTOLD_TEXT;
            msg = NULL;
            len = n = 0;
        }
        for (uint32_t i = 0; i < n; i++) {
            memcpy(joined + at, payload[i].iov_base, payload[i].iov_len);
            at += payload[i].iov_len;
        }
    }
    cairn_rpc__stats_end(rq, status, len);
    rq->call = NULL;
    call->local = NULL;
    if (status == CAIRN_E_CANCELED && call->rc == CAIRN_E_TIMEOUT) { /* it was we who gave up, and this is why */
        status = call->rc;
        text = NULL;
    }
    cairn_rpc__call_finish_msg(call, status, msg, text, p, (uint32_t)len);
    cairn_rpc__req_free(rq); /* only now: message and payload may lie in its arena */
    free(joined);
}

static void req_reply(struct cairn_rpc_req *rq, int status, const ProtobufCMessage *msg, const char *text,
                      const struct iovec *payload, uint32_t n)
{
    CAIRN_ASSERT(status <= 0);
    CAIRN_ASSERT(rq->sm.state != REQ_ANSWERED);
    rq->on_cancel = NULL;
    cairn_sm_move(&rq->sm, REQ_ANSWERED);
    if (rq->call != NULL) {
        req_reply_local(rq, status, msg, text, payload, n);
        return;
    }
    cairn_rpc__peer_reply(rq, status, msg, payload, n);
    cairn_rpc__req_free(rq);
}

void cairn_rpc_reply(struct cairn_rpc_req *rq, int status, const ProtobufCMessage *msg, const struct iovec *payload,
                     uint32_t n)
{
    if (UNLIKELY(status != 0)) {
        cairn_rpc_reply_err(rq, status, "%s", cairn_error_text(status));
        return;
    }
    CAIRN_ASSERT(msg == NULL || msg->descriptor == rq->method->reply);
    req_reply(rq, 0, msg, NULL, payload, n);
}

bool cairn_rpc_req_check_durability(struct cairn_rpc_req *rq, uint32_t durability)
{
    if (LIKELY(durability <= CAIRN__WIRE__DURABILITY__DURABILITY_MEMORY))
        return true;
    cairn_rpc_reply_err(rq, CAIRN_E_INVAL, "durability %u is not known here: is this node older than its client?",
                        durability);
    return false;
}

void cairn_rpc_reply_err(struct cairn_rpc_req *rq, int status, const char *fmt, ...)
{
    Cairn__Wire__ErrorDetail detail = CAIRN__WIRE__ERROR_DETAIL__INIT;
    char text[CAIRN_ERR_TEXT_MAX];
    va_list ap;

    CAIRN_ASSERT(status < 0);
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    detail.text = text;
    req_reply(rq, status, &detail.base, text, NULL, 0);
}
