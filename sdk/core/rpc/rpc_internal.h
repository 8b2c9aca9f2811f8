/* What the files of this folder share. */
#ifndef CAIRN_CORE_RPC_INTERNAL_H
#define CAIRN_CORE_RPC_INTERNAL_H

#include "sdk/core/net/conn.h"
#include "sdk/core/rpc/auth.h"
#include "sdk/core/rpc/dedup.h"
#include "sdk/core/rpc/peer.h"
#include "sdk/core/rpc/rpc.h"
#include "sdk/core/rpc/rpc_stats.h"

enum {
    RPC_TIMEOUT_DEFAULT_S = 30,
    RPC_REQ_ARENA_BYTES_MAX = 8 << 20, /* decoded form of one request: bodies are at most 1 MiB */
    RPC_REQS_SPARE_MAX = 1024,
    RPC_ANSWERS_PER_CLOCK = 8,
    RPC_REFUSALS_LOGGED_MAX = 10, /* lines in a minute, of one worker */
    RPC_SESSION_BUCKETS = 1024,   /* after an outage, ten thousand may come back within a second */
};

struct cairn_rpc {
    struct cairn_loop *loop;
    struct cairn_rpc_conf conf;
    const struct cairn_rpc_target *targets[CAIRN_PROVIDERS_MAX];
    struct cairn_net net; /* buffers that connections of this loop share */
    struct cairn_bulk *bulk;
    const struct cairn_rpc_bulk_hooks *bulk_hooks;
    struct cairn_link spare_reqs, peers, dead_peers; /* dead: no reference is left, and the reaper frees them */
    struct cairn_task reaper;
    struct cairn_link locals; /* local calls that their target has: struct cairn_rpc_call.link */
    struct cairn_timer locals_timer;
    uint32_t nspare_reqs, nreqs, ncalls, npeers;
    uint32_t answers;
    uint64_t answer_ns;          /* cairn_rpc__answer_ns() */
    struct cairn_rpc_node *node; /* who we are to those who connect: accept.h; NULL for pure clients */
    struct cairn_link greeters;  /* struct cairn_rpc_peer.greeting, oldest first: accept.c */
    uint32_t ngreeters;
    struct {
        uint64_t since_ns, n; /* of a minute */
    } refusals;
    struct cairn_link sessions[RPC_SESSION_BUCKETS]; /* struct cairn_rpc_dedup.link */
    struct cairn_link idle; /* .idle_link: without connection, longest first; at most node->connections_max */
    uint32_t nsessions, nidle;
    struct cairn_timer sessions_timer;
    struct {
        bool on, begun; /* begun: and nobody is let in any more, when it is over neither */
        void (*done)(void *arg);
        void *arg;
        struct cairn_task task;
        struct cairn_timer timer;
    } drain;
};

/* rpc_req.c */

enum { REQ_RUNNING, REQ_WAITING, REQ_ANSWERED, REQ_NR };
extern const struct cairn_sm_kind cairn_rpc_req_kind;

struct cairn_rpc_req *cairn_rpc__req_new(struct cairn_rpc *rpc);
void cairn_rpc__req_free(struct cairn_rpc_req *rq);
/** Runs the handler, or answers with why not. */
void cairn_rpc__req_dispatch(struct cairn_rpc_req *rq);
void cairn_rpc__req_cancel(struct cairn_rpc_req *rq);

/* rpc_call.c */

enum { CALL_QUEUED, CALL_SENT, CALL_DONE, CALL_FAILED, CALL_NR };
extern const struct cairn_sm_kind cairn_rpc_call_kind;

/** Ends the call: done() runs now. @body and @payload are the reply's; @status its status or our own error. */
void cairn_rpc__call_finish(struct cairn_rpc_call *call, int status, const uint8_t *body, uint32_t body_len,
                            const uint8_t *payload, uint32_t payload_len);
/** Likewise, with a message that is there already (local calls). */
void cairn_rpc__call_finish_msg(struct cairn_rpc_call *call, int status, const ProtobufCMessage *msg, const char *text,
                                const uint8_t *payload, uint32_t payload_len);
void cairn_rpc__call_fail(struct cairn_rpc_call *call, int rc, const char *text);
/** The code for a call that the target has carried out, and whose answer is lost for the reason @rc. Of a change it
 * says CAIRN_E_UNKNOWN: who called would take @rc for "nothing was done". */
int cairn_rpc__call_untold(const struct cairn_rpc_call *call, int rc);
#define RPC_UNTOLD_TEXT "there was no memory for the answer"
/** Tells the targets of local calls that are overdue. */
void cairn_rpc__locals_sweep(void *rpc);
static inline const struct cairn_rpc_method *cairn_rpc__call_method(const struct cairn_rpc_call *call)
{
    return &call->iface->methods[call->method];
}

/* peer.c */

enum { PEER_GREETING, PEER_UP, PEER_LEAVING, PEER_DOWN, PEER_NR };
extern const struct cairn_sm_kind cairn_rpc_peer_kind;

enum {
    PEER_REVERSE_INFLIGHT_MAX = 64,    /* calls from the one who was connected to, back to the one who connected */
    PEER_BUDGET_STEP_BYTES = 64 << 10, /* the node's budget is told of changes from this size on */
    PEER_BUDGET_RETRY_MS = 5,
};

/* What differs between the end that connected (session.c) and the end that was connected to (accept.c). */
struct peer_role {
    bool accepted; /* the end that was connected to */
    void (*hello)(struct cairn_rpc_peer *peer, const struct cairn_frame *f);
    void (*goodbye)(struct cairn_rpc_peer *peer);             /* the other end will close */
    void (*credit)(struct cairn_rpc_peer *peer, uint32_t id); /* call @id is answered: there is room for another */
    void (*lost_call)(struct cairn_rpc_peer *peer, struct cairn_rpc_call *call); /* SENT, unanswered */
    void (*down)(struct cairn_rpc_peer *peer, int rc);
};

struct cairn_rpc_peer {
    struct cairn_conn conn;
    struct cairn_sm sm;
    struct cairn_link link; /* of rpc->peers */
    struct cairn_rpc *rpc;
    const struct peer_role *role;
    uint32_t refs;
    struct cairn_rpc_peer_info info;
    struct cairn_bulk_peer *bulk;
    struct cairn_timer timer; /* the next moment at which something may be overdue: peer_sweep() */

    /* origin: calls by id, a power of two of places; CALL_ABANDONED keeps the place of one nobody waits for */
    struct cairn_rpc_call **calls;
    uint32_t calls_room, ncalls, next_id;
    uint64_t calls_bytes, calls_bytes_max;
    struct cairn_link waiting; /* calls to this peer that have no credit yet */
    bool leaving;              /* the other end said goodbye: nothing more is sent to it */

    /* target */
    struct cairn_link reqs;
    uint32_t nreqs;
    uint64_t req_bytes, budgeted;
    struct cairn_rpc_dedup *dedup;

    /* HELLO */
    struct cairn_link greeting; /* of rpc->greeters: was accepted, and has not proved yet who it is */
    uint64_t hello_deadline_ns;
    struct cairn_auth_transcript transcript;
    void *role_data; /* session, or what accept.c keeps during HELLO */
};

struct cairn_rpc_peer *cairn_rpc__peer_new(struct cairn_rpc *rpc, int fd, const struct peer_role *role,
                                           void *role_data);
/** HELLO has succeeded. */
void cairn_rpc__peer_up(struct cairn_rpc_peer *peer, uint32_t inflight_max, uint64_t inflight_bytes_max);
/** Closes the connection now; role->down() has been told when it returns, and @peer may be gone. */
void cairn_rpc__peer_down(struct cairn_rpc_peer *peer, int rc);
/** No new requests are taken; closes when those that run are answered. */
void cairn_rpc__peer_leave(struct cairn_rpc_peer *peer);
/** The timer runs at @at_ns at the latest. */
void cairn_rpc__peer_want(struct cairn_rpc_peer *peer, uint64_t at_ns);

/** Frees the dead peers of an rpc. */
void cairn_rpc__peers_reap(void *rpc);

/** Queues one frame; false when memory is short, and then the connection is lost. */
bool cairn_rpc__peer_send(struct cairn_rpc_peer *peer, struct cairn_frame *f, const ProtobufCMessage *msg,
                          const struct iovec *payload, uint32_t n);
/** Whether a call of @bytes may be sent now. */
bool cairn_rpc__peer_has_credit(const struct cairn_rpc_peer *peer, uint32_t bytes);
/** Sends @call, which there is credit for. */
void cairn_rpc__peer_send_call(struct cairn_rpc_peer *peer, struct cairn_rpc_call *call);
/** Nobody waits for @call any more, which was sent over @peer. */
void cairn_rpc__peer_abandon_call(struct cairn_rpc_peer *peer, struct cairn_rpc_call *call);

void cairn_rpc__peer_call(struct cairn_rpc_peer *peer, struct cairn_rpc_call *call);
void cairn_rpc__peer_call_cancel(struct cairn_rpc_peer *peer, struct cairn_rpc_call *call);

/** Sends the answer of a request that came over a connection, remembers it where it must be, and frees the credits. */
void cairn_rpc__peer_reply(struct cairn_rpc_req *rq, int status, const ProtobufCMessage *msg,
                           const struct iovec *payload, uint32_t n);

void cairn_rpc__peer_credit_plain(struct cairn_rpc_peer *peer, uint32_t id);

/** Writes one frame to the output, where it does not count before cairn_conn_commit(). Returns its length; 0 when
 * memory is short, and then the connection is lost. */
size_t cairn_rpc__peer_encode(struct cairn_rpc_peer *peer, struct cairn_frame *f, const ProtobufCMessage *msg,
                              const struct iovec *payload, uint32_t n);

/* peer_target.c */

void cairn_rpc__peer_request(struct cairn_rpc_peer *peer, const struct cairn_frame *f);
void cairn_rpc__peer_cancel_request(struct cairn_rpc_peer *peer, uint32_t id);
/** Tells the node's budget what this peer holds. */
void cairn_rpc__peer_budget(struct cairn_rpc_peer *peer);
/** Whether another request may be taken from this peer. One at a time is always possible. */
bool cairn_rpc__peer_may_take(struct cairn_rpc_peer *peer);
void cairn_rpc__peer_resume(struct cairn_rpc_peer *peer);
/** Cancels what is overdue; *@next becomes the next deadline, if that is earlier. */
void cairn_rpc__peer_sweep_requests(struct cairn_rpc_peer *peer, uint64_t now, uint64_t *next);
/** The connection is lost: its requests go on without it. */
void cairn_rpc__peer_orphan_requests(struct cairn_rpc_peer *peer);

/* peer_origin.c */

void cairn_rpc__peer_answer(struct cairn_rpc_peer *peer, const struct cairn_frame *f);
void cairn_rpc__peer_sweep_calls(struct cairn_rpc_peer *peer, uint64_t now, uint64_t *next);
/** The connection is lost: role->lost_call() hears of each call that is not answered. */
void cairn_rpc__peer_lose_calls(struct cairn_rpc_peer *peer);

/* session.c */

void cairn_rpc__session_call(struct cairn_rpc_session *s, struct cairn_rpc_call *call);
void cairn_rpc__session_call_cancel(struct cairn_rpc_session *s, struct cairn_rpc_call *call);

/* drain.c */

/** A peer is gone: was it the last that the end waits for? */
void cairn_rpc__drain_check(struct cairn_rpc *rpc);

/* sessions.c */

void cairn_rpc__sessions_init(struct cairn_rpc *rpc);
void cairn_rpc__sessions_fini(struct cairn_rpc *rpc);
/** The worker that has session @id; may be beyond all workers. */
uint32_t cairn_rpc__session_worker(uint64_t id);
/** NULL: there is none, or not with that secret and user. */
struct cairn_rpc_dedup *cairn_rpc__session_find(struct cairn_rpc *rpc, uint64_t id, const uint8_t *secret, uid_t uid);
/** A new one, connected. NULL for memory. */
struct cairn_rpc_dedup *cairn_rpc__session_add(struct cairn_rpc *rpc, uid_t uid);
/** It has a connection again, if it had none. */
void cairn_rpc__session_back(struct cairn_rpc *rpc, struct cairn_rpc_dedup *d);
/** Its connection ended by @rc: it is remembered for as long as it may come back. */
void cairn_rpc__session_idle(struct cairn_rpc *rpc, struct cairn_rpc_dedup *d, int rc);
/** Nobody will come back: forgets all without connection whose requests are over. */
void cairn_rpc__sessions_drained(struct cairn_rpc *rpc);

static inline void cairn_rpc__count(_Atomic uint64_t *counter)
{
    atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

/* Metrics of one request: from its dispatch to its answer. */
static inline void cairn_rpc__stats_start(struct cairn_rpc_req *rq)
{
    if (rq->rpc->conf.stats == NULL)
        return;
    rq->stats = cairn_rpc_stats_find(rq->rpc->conf.stats, rq->target->id, rq->method_no);
    cairn_rpc_stats_start(rq->stats, rq->bytes);
    rq->of_client = rq->conn != NULL && !(rq->conn->info.is_node && rq->who->node);
}

/* The clock as answers see it: read by the first of a turn and by each eighth after that, since reading it is a
 * twelfth of what a null call costs. */
static inline uint64_t cairn_rpc__answer_ns(struct cairn_rpc *rpc)
{
    if (rpc->answer_ns < cairn_loop_now(rpc->loop) || ++rpc->answers % RPC_ANSWERS_PER_CLOCK == 0)
        rpc->answer_ns = cairn_env_now_ns(&rpc->loop->env);
    return rpc->answer_ns;
}

static inline void cairn_rpc__stats_end(struct cairn_rpc_req *rq, int status, uint64_t reply_bytes)
{
    if (rq->stats != NULL)
        cairn_rpc_stats_end(rq->stats, cairn_rpc__answer_ns(rq->rpc) - rq->arrived_ns, reply_bytes, status);
    if (rq->of_client)
        cairn_rpc_stats_client(rq->stats, rq->bytes, reply_bytes, status);
    rq->stats = NULL;
}

#endif
