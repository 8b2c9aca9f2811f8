/* The origin's session from inside: session.c (its connection), session_call.c (its calls), and session_hello.c for how
 * the two ends prove who they are. */
#ifndef CAIRN_CORE_RPC_SESSION_INTERNAL_H
#define CAIRN_CORE_RPC_SESSION_INTERNAL_H

#include "sdk/core/rpc/hello.h"
#include "sdk/core/rpc/rpc_internal.h"
#include "sdk/core/rpc/session.h"

enum { SESSION_IDLE, SESSION_CONNECTING, SESSION_UP, SESSION_BACKOFF, SESSION_CLOSED, SESSION_NR };

struct cairn_rpc_session {
    struct cairn_rpc *rpc;
    struct cairn_rpc_session_conf conf;
    struct cairn_sm sm;
    struct cairn_rpc_peer *peer; /* CONNECTING, UP */
    bool answered;               /* the present connection has brought an answer */
    uint64_t up_ns;              /* since when it has been there */
    struct cairn_link waiting;   /* calls, in order */
    uint32_t nwaiting;
    struct cairn_timer timer; /* backoff, deadlines of waiting calls */
    uint64_t retry_at_ns;
    uint32_t next_addr, failures; /* attempts since one was last of use */
    struct cairn_err last_error;
    struct cairn_rpc_session_facts facts;

    /* what the node gave us, to go on after a lost connection */
    uint64_t id, incarnation;
    uint8_t secret[CAIRN_SESSION_SECRET_BYTES];
    bool has_id;

    /* numbers of calls that change something: see dedup.h */
    uint32_t window;
    uint16_t next_seq;
    uint8_t *seq_busy;      /* by seq: unanswered */
    uint32_t *seq_of_place; /* by place of a call in its connection's table: seq + 1, 0 for none */

    enum cairn_hello_auth auth;
    bool challenged;
    void (*closed)(void *arg);
    void *closed_arg;
    struct cairn_task close_task;
    struct cairn_err failed[]; /* by address: what came of it since the session was up last; code 0: nothing yet */
};

/* ---- session_hello.c: nothing of what the node says is taken before it has proved itself ---- */

void cairn_rpc__session_say_hello(struct cairn_rpc_session *s, struct cairn_rpc_peer *peer);
/* A frame of a connection that is not up yet. */
void cairn_rpc__session_on_hello(struct cairn_rpc_peer *peer, const struct cairn_frame *f);

/* ---- session_call.c ---- */

static inline uint32_t call_flags(const struct cairn_rpc_call *call)
{
    return cairn_rpc__call_method(call)->flags;
}

/* The timer looks at the session no later than that. */
void cairn_rpc__session_want(struct cairn_rpc_session *s, uint64_t at_ns);
/* It waits; behind those that do already. */
void cairn_rpc__session_queue(struct cairn_rpc_session *s, struct cairn_rpc_call *call);
/* It leaves the queue and ends from the loop. */
void cairn_rpc__session_end_waiting(struct cairn_rpc_session *s, struct cairn_rpc_call *call, int rc);
void cairn_rpc__session_end_all_waiting(struct cairn_rpc_session *s, int rc);
/* Sends of those that wait what may be sent. */
void cairn_rpc__session_pump(struct cairn_rpc_session *s);

/* ---- session.c ---- */

void cairn_rpc__session_connect(struct cairn_rpc_session *s);
/* The node is the one: the session is up, and goes on where it was if the node knows it. Returns 0, or why not. */
int cairn_rpc__session_welcomed(struct cairn_rpc_session *s, struct cairn_rpc_peer *peer,
                                const Cairn__Wire__HelloWelcome *m);

#endif
