/* One established connection, for both ends.
 *
 *   GREETING ---> UP ---> LEAVING ---> DOWN       GREETING and UP may also go to DOWN.
 *
 * GREETING  HELLO is under way; nothing else is understood, and at most CAIRN_HELLO_BYTES_MAX are buffered.
 * UP        requests and answers go both ways.
 * LEAVING   we will close: no new requests are taken, those that run are answered first.
 * DOWN      the socket is closed; the structure lives on while references do. */
#include "sdk/core/base/log.h"
#include "sdk/core/rpc/accept.h"
#include "sdk/core/rpc/rpc_internal.h"

#include <stdlib.h>
#include <string.h>

static const struct cairn_sm_state peer_states[PEER_NR] = {
    [PEER_GREETING] = { "GREETING", CAIRN_SM_INITIAL, CAIRN_SM_TO(PEER_UP) | CAIRN_SM_TO(PEER_DOWN) },
    [PEER_UP] = { "UP", 0, CAIRN_SM_TO(PEER_LEAVING) | CAIRN_SM_TO(PEER_DOWN) },
    [PEER_LEAVING] = { "LEAVING", 0, CAIRN_SM_TO(PEER_DOWN) },
    [PEER_DOWN] = { "DOWN", CAIRN_SM_FINAL, 0 },
};

static bool peer_invariant(const struct cairn_sm *sm)
{
    const struct cairn_rpc_peer *peer = CONTAINER_OF(sm, const struct cairn_rpc_peer, sm);

    return CAIRN_HOLDS(sm->state != PEER_GREETING || (peer->ncalls == 0 && peer->nreqs == 0)) &&
           CAIRN_HOLDS((sm->state == PEER_DOWN) == peer->conn.closed) &&
           CAIRN_HOLDS(sm->state != PEER_DOWN || (peer->ncalls == 0 && peer->nreqs == 0 && peer->budgeted == 0));
}

const struct cairn_sm_kind cairn_rpc_peer_kind = { "rpc-peer", peer_states, PEER_NR, peer_invariant, 0 };

static struct cairn_rpc_peer *peer_of_conn(struct cairn_conn *c)
{
    return CONTAINER_OF(c, struct cairn_rpc_peer, conn);
}

const struct cairn_rpc_peer_info *cairn_rpc_peer_info(const struct cairn_rpc_peer *peer)
{
    return &peer->info;
}

struct cairn_rpc *cairn_rpc_peer_rpc(const struct cairn_rpc_peer *peer)
{
    return peer->rpc;
}

bool cairn_rpc_peer_is_up(const struct cairn_rpc_peer *peer)
{
    return peer->sm.state == PEER_UP || peer->sm.state == PEER_LEAVING;
}

struct cairn_bulk_peer **cairn_rpc_peer_bulk(struct cairn_rpc_peer *peer)
{
    return &peer->bulk;
}

void cairn_rpc_peer_get(struct cairn_rpc_peer *peer)
{
    CAIRN_ASSERT(peer->refs > 0);
    peer->refs++;
}

void cairn_rpc__peers_reap(void *arg)
{
    struct cairn_rpc *rpc = arg;
    struct cairn_link *l;

    while ((l = cairn_list_pop(&rpc->dead_peers)) != NULL) {
        struct cairn_rpc_peer *peer = CONTAINER_OF(l, struct cairn_rpc_peer, link);

        free(peer->calls);
        free(peer);
    }
}

/* The last reference may go while a frame of the connection is being handed out, below done() or a HELLO that moves to
 * another worker: whoever reads the stream still looks at it, so it is freed by a later task. */
void cairn_rpc_peer_put(struct cairn_rpc_peer *peer)
{
    struct cairn_rpc *rpc = peer->rpc;

    CAIRN_ASSERT(peer->refs > 0);
    if (--peer->refs > 0)
        return;
    CAIRN_ASSERT(peer->sm.state == PEER_DOWN);
    CAIRN_ASSERT(cairn_list_is_empty(&peer->waiting));
    rpc->npeers--;
    cairn_list_add_tail(&rpc->dead_peers, &peer->link);
    cairn_env_defer(&rpc->loop->env, &rpc->reaper);
}

/* ---- sending ---- */

/* Writes one frame to the output, where it does not count before cairn_conn_commit(). Returns its length; 0 when memory
 * is short, and then the connection is lost. */
size_t cairn_rpc__peer_encode(struct cairn_rpc_peer *peer, struct cairn_frame *f, const ProtobufCMessage *msg,
                              const struct iovec *payload, uint32_t n)
{
    size_t body = msg != NULL ? protobuf_c_message_get_packed_size(msg) : 0, total = 0;
    uint8_t *p;

    for (uint32_t i = 0; i < n; i++)
        total += payload[i].iov_len;
    if (UNLIKELY(body > CAIRN_FRAME_BODY_BYTES_MAX || total > CAIRN_FRAME_PAYLOAD_BYTES_MAX)) {
        /* Who asks for a list does not choose how long it is, so it must not be able to end the process. */
        CAIRN_ASSERT(f->kind == CAIRN_FRAME_REPLY);
        cairn_log_error("%s: an answer of %zu bytes does not fit into a frame", peer->info.addr, body + total);
        f->value = CAIRN_E_TOOBIG;
        body = total = n = 0;
    }
    p = cairn_conn_reserve(&peer->conn, CAIRN_FRAME_HEADER_BYTES + body + total);
    if (p == NULL) {
        cairn_conn_fail(&peer->conn, CAIRN_E_NOMEM);
        return 0;
    }
    f->body = p + CAIRN_FRAME_HEADER_BYTES;
    f->payload = f->body + body;
    f->body_len = (uint32_t)body;
    f->payload_len = (uint32_t)total;
    if (body > 0)
        protobuf_c_message_pack(msg, p + CAIRN_FRAME_HEADER_BYTES);
    for (size_t i = 0, at = CAIRN_FRAME_HEADER_BYTES + body; i < n; at += payload[i++].iov_len) {
        if (payload[i].iov_len > 0)
            memcpy(p + at, payload[i].iov_base, payload[i].iov_len);
    }
    f->flags |= CAIRN_FRAME_CRC_PAYLOAD;
    cairn_frame_encode_header(p, f);
    return CAIRN_FRAME_HEADER_BYTES + body + total;
}

bool cairn_rpc__peer_send(struct cairn_rpc_peer *peer, struct cairn_frame *f, const ProtobufCMessage *msg,
                          const struct iovec *payload, uint32_t n)
{
    size_t len = cairn_rpc__peer_encode(peer, f, msg, payload, n);

    if (len > 0)
        cairn_conn_commit(&peer->conn, len);
    return len > 0;
}

/* ---- what is overdue ---- */

void cairn_rpc__peer_want(struct cairn_rpc_peer *peer, uint64_t at_ns)
{
    if (cairn_timer_is_running(&peer->timer) && peer->timer.at_ns <= at_ns)
        return;
    if (cairn_timer_start(&peer->rpc->loop->env, &peer->timer, at_ns) != 0)
        cairn_conn_fail(&peer->conn, CAIRN_E_NOMEM);
}

static uint64_t peer_stalled_ns(const struct cairn_rpc_peer *peer)
{
    return peer->rpc->node != NULL ? peer->rpc->node->stalled_ns : RPC_TIMEOUT_DEFAULT_S * CAIRN_NS_PER_S;
}

/* Half a frame, or output that nobody takes. True: too old. */
static bool sweep_stalled(struct cairn_rpc_peer *peer, uint64_t since, uint64_t now, uint64_t *next)
{
    uint64_t limit = peer_stalled_ns(peer);

    if (since == 0)
        return false;
    *next = MIN(*next, since + limit);
    return since + limit <= now;
}

static void on_peer_timer(void *arg)
{
    struct cairn_rpc_peer *peer = arg;
    uint64_t now = cairn_loop_now(peer->rpc->loop), next = UINT64_MAX;

    if (peer->sm.state == PEER_GREETING) {
        if (peer->hello_deadline_ns <= now)
            cairn_rpc__peer_down(peer, CAIRN_E_TIMEOUT);
        else
            cairn_rpc__peer_want(peer, peer->hello_deadline_ns);
        return;
    }
    if (peer->sm.state == PEER_LEAVING && peer->nreqs == 0) {
        cairn_conn_flush(&peer->conn); /* of this turn's output nobody would tell us that it is gone */
        if (peer->conn.out_bytes == 0) {
            cairn_rpc__peer_down(peer, CAIRN_E_CLOSED);
            return;
        }
    }
    if (sweep_stalled(peer, peer->conn.paused ? 0 : peer->conn.in_since_ns, now, &next) ||
        sweep_stalled(peer, peer->conn.out_since_ns, now, &next)) {
        if (peer->rpc->node != NULL)
            atomic_fetch_add_explicit(&peer->rpc->node->counters.slow_readers_closed, 1, memory_order_relaxed);
        cairn_rpc__peer_down(peer, CAIRN_E_TIMEOUT);
        return;
    }
    cairn_rpc_peer_get(peer);
    cairn_rpc__peer_sweep_calls(peer, now, &next);
    if (!peer->conn.closed) {
        cairn_rpc__peer_sweep_requests(peer, now, &next);
        cairn_rpc__peer_budget(peer);
        cairn_rpc__peer_resume(peer);
        if (peer->conn.paused && peer->conn.out_bytes == 0)
            next = MIN(next, now + PEER_BUDGET_RETRY_MS * CAIRN_NS_PER_MS);
        if (next != UINT64_MAX)
            cairn_rpc__peer_want(peer, next);
    }
    cairn_rpc_peer_put(peer);
}

/* ---- the connection ---- */

static bool on_frame(struct cairn_conn *c, const struct cairn_frame *f)
{
    struct cairn_rpc_peer *peer = peer_of_conn(c);

    if (peer->sm.state == PEER_GREETING || f->kind == CAIRN_FRAME_HELLO) {
        if (peer->sm.state == PEER_GREETING && (f->kind == CAIRN_FRAME_HELLO || f->kind == CAIRN_FRAME_GOODBYE))
            peer->role->hello(peer, f);
        else
            cairn_conn_fail(c, CAIRN_E_PROTO); /* nothing but HELLO before it succeeds, and no second one after */
        return true;
    }
    switch (f->kind) {
    case CAIRN_FRAME_REQUEST:
        cairn_rpc_peer_get(peer);
        cairn_rpc__peer_request(peer, f);
        cairn_rpc__peer_budget(peer);
        cairn_rpc_peer_put(peer);
        return c->closed || cairn_rpc__peer_may_take(peer);
    case CAIRN_FRAME_REPLY:
        cairn_rpc__peer_answer(peer, f);
        break;
    case CAIRN_FRAME_CANCEL:
        cairn_rpc__peer_cancel_request(peer, f->id);
        break;
    case CAIRN_FRAME_GOODBYE:
        peer->role->goodbye(peer);
        break;
    }
    return true;
}

static void on_lost(struct cairn_conn *c, int rc)
{
    struct cairn_rpc_peer *peer = peer_of_conn(c);

    if (peer->rpc->node != NULL && (rc == CAIRN_E_PROTO || rc == CAIRN_E_VERSION || rc == CAIRN_E_TOOBIG))
        atomic_fetch_add_explicit(&peer->rpc->node->counters.frames_malformed, 1, memory_order_relaxed);
    cairn_rpc__peer_down(peer, rc);
}

static void on_stalled(struct cairn_conn *c)
{
    struct cairn_rpc_peer *peer = peer_of_conn(c);

    if (peer->sm.state != PEER_GREETING) /* HELLO has a deadline of its own */
        cairn_rpc__peer_want(peer, cairn_loop_now(peer->rpc->loop) + peer_stalled_ns(peer));
}

static void on_drained(struct cairn_conn *c)
{
    struct cairn_rpc_peer *peer = peer_of_conn(c);

    cairn_rpc__peer_budget(peer);
    cairn_rpc__peer_resume(peer);
    if (peer->sm.state == PEER_LEAVING)
        cairn_rpc__peer_want(peer, 0);
}

static const struct cairn_conn_ops peer_conn_ops = {
    .frame = on_frame, .lost = on_lost, .stalled = on_stalled, .drained = on_drained
};

/* ---- life ---- */

struct cairn_rpc_peer *cairn_rpc__peer_new(struct cairn_rpc *rpc, int fd, const struct peer_role *role, void *role_data)
{
    struct cairn_rpc_peer *peer = calloc(1, sizeof(*peer));

    if (peer == NULL)
        return NULL;
    peer->rpc = rpc;
    peer->role = role;
    peer->role_data = role_data;
    peer->refs = 1;
    peer->next_id = 1;
    cairn_list_init(&peer->greeting);
    cairn_list_init(&peer->waiting);
    cairn_list_init(&peer->reqs);
    cairn_timer_init(&peer->timer, on_peer_timer, peer);
    if (cairn_conn_open(&peer->conn, &rpc->net, fd, &peer_conn_ops) != 0) {
        free(peer);
        return NULL;
    }
    cairn_sm_init(&peer->sm, &cairn_rpc_peer_kind, &rpc->loop->machines);
    cairn_list_add_tail(&rpc->peers, &peer->link);
    rpc->npeers++;
    peer->hello_deadline_ns = cairn_loop_now(rpc->loop) + CAIRN_HELLO_MS_MAX * CAIRN_NS_PER_MS;
    cairn_rpc__peer_want(peer, peer->hello_deadline_ns);
    return peer;
}

void cairn_rpc__peer_up(struct cairn_rpc_peer *peer, uint32_t inflight_max, uint64_t inflight_bytes_max)
{
    peer->calls_room = inflight_max;
    peer->calls_bytes_max = inflight_bytes_max;
    peer->conn.frame_bytes_max = CAIRN_FRAME_HEADER_BYTES + CAIRN_FRAME_BODY_BYTES_MAX + CAIRN_FRAME_PAYLOAD_BYTES_MAX;
    cairn_timer_stop(&peer->rpc->loop->env, &peer->timer);
    cairn_sm_move(&peer->sm, PEER_UP);
    if (peer->rpc->bulk_hooks != NULL)
        peer->rpc->bulk_hooks->peer_up(peer);
}

void cairn_rpc__peer_down(struct cairn_rpc_peer *peer, int rc)
{
    bool was_up = cairn_rpc_peer_is_up(peer);

    if (peer->sm.state == PEER_DOWN)
        return;
    cairn_timer_stop(&peer->rpc->loop->env, &peer->timer);
    cairn_conn_close(&peer->conn);
    cairn_rpc__peer_lose_calls(peer);
    cairn_rpc__peer_orphan_requests(peer);
    cairn_rpc__peer_budget(peer);
    cairn_list_del(&peer->link);
    cairn_sm_move(&peer->sm, PEER_DOWN);
    cairn_sm_fini(&peer->sm);
    if (was_up && peer->rpc->bulk_hooks != NULL)
        peer->rpc->bulk_hooks->peer_down(peer);
    peer->role->down(peer, rc);
    cairn_rpc_peer_put(peer);
}

void cairn_rpc__peer_leave(struct cairn_rpc_peer *peer)
{
    struct cairn_frame f = { .kind = CAIRN_FRAME_GOODBYE, .value = CAIRN_E_SHUTDOWN };

    if (peer->sm.state != PEER_UP)
        return;
    cairn_rpc__peer_send(peer, &f, NULL, NULL, 0);
    cairn_sm_move(&peer->sm, PEER_LEAVING);
    if (peer->nreqs == 0)
        cairn_rpc__peer_want(peer, 0);
}
