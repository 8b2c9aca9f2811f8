/** The target's memory of a session's changes, so that a retry over a new connection never applies twice.
 *
 * Each call that changes something carries a 16-bit number, counted up by the origin, which never has two unanswered
 * calls whose numbers are the window or more apart; so a ring of that many results is all that can ever be asked for
 * (the idea of RIFL, Lee et al., SOSP 2015, for one server). A session outlives its connection by a time to live; it
 * does not outlive the process: then the origin is told so in HELLO, and reports what was under way as CAIRN_E_UNKNOWN.
 */
#ifndef CAIRN_CORE_RPC_DEDUP_H
#define CAIRN_CORE_RPC_DEDUP_H

#include "sdk/core/rpc/rpc.h"

enum { CAIRN_SESSION_SECRET_BYTES = 16, CAIRN_DEDUP_BYTES_MAX = 8192 /* of one remembered answer */ };

struct cairn_rpc_dedup_entry {
    uint8_t state; /* DEDUP_* of dedup.c */
    uint16_t seq;
    int32_t status;
    uint32_t body_len, payload_len;
    uint8_t *bytes;               /* body and payload, malloc'ed; NULL if both are empty */
    struct cairn_rpc_req *waiter; /* a retry that came while the first is running */
};

struct cairn_rpc_dedup {
    struct cairn_link link;      /* of the worker's sessions, by id */
    struct cairn_link idle_link; /* of those without connection */
    uint64_t id, idle_since_ns;
    uint8_t secret[CAIRN_SESSION_SECRET_BYTES];
    uid_t uid;                          /* who may go on with it */
    struct cairn_rpc_peer *peer;        /* the connection it has now, or NULL */
    bool over;                          /* its origin has said goodbye: nobody will ask again */
    uint32_t running;                   /* requests that will be remembered here */
    uint32_t window;                    /* power of two */
    struct cairn_rpc_dedup_entry *ring; /* made at the first change */
};

enum cairn_dedup_verdict {
    CAIRN_DEDUP_RUN,    /* new: carry it out */
    CAIRN_DEDUP_WAIT,   /* the first one is running: @rq has been kept and will be answered with it */
    CAIRN_DEDUP_REPLAY, /* done already: *@known is what to answer */
    CAIRN_DEDUP_BUSY,   /* its place is held by a call that was given up with its connection and still runs */
    CAIRN_DEDUP_BAD,    /* sent again twice, or memory is short: close the connection */
};

/** Looks at a request that changes something; rq->seq is set. */
enum cairn_dedup_verdict cairn_rpc_dedup_admit(struct cairn_rpc_dedup *d, struct cairn_rpc_req *rq, bool retry,
                                               const struct cairn_rpc_dedup_entry **known);
/** The answer of a request that was admitted to run. Returns the retry that waits for it, or NULL. */
struct cairn_rpc_req *cairn_rpc_dedup_answered(struct cairn_rpc_dedup *d, uint16_t seq, int status, const uint8_t *body,
                                               uint32_t body_len, const struct iovec *payload, uint32_t n);
/** @rq, which waits, is given up. */
void cairn_rpc_dedup_forget_waiter(struct cairn_rpc_dedup *d, struct cairn_rpc_req *rq);
/** Frees what it remembers; nothing may be running. */
void cairn_rpc_dedup_fini(struct cairn_rpc_dedup *d);

#endif
