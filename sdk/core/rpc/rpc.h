/** Remote procedure calls: origin and target are roles, not programs.
 *
 * A struct cairn_rpc is one thread's end of it: a loop, the services that can be called here, and the peers it talks
 * to. The origin starts a struct cairn_rpc_call towards a destination; the target's handler gets a struct cairn_rpc_req
 * and answers it, now or later, exactly once. A destination is a session (sdk/core/rpc/session.h: a connection that
 * comes back by itself), a peer (one connection, to call the one who called us) or the same thread's own services: a
 * local call encodes nothing and takes no socket, and the handler cannot tell the difference.
 *
 * Everything here is for the loop's own thread. No done() runs inside cairn_rpc_call_start(): a local call is
 * dispatched by a later task of the same turn, and its done() runs inside the target's cairn_rpc_reply(), so that
 * nothing is copied. */
#ifndef CAIRN_CORE_RPC_H
#define CAIRN_CORE_RPC_H

#include "cairn/limits.h"
#include "sdk/core/base/arena.h"
#include "sdk/core/base/err.h"
#include "sdk/core/loop/loop.h"
#include "sdk/core/sm/sm.h"

#include <protobuf-c/protobuf-c.h>
#include <sys/types.h>
#include <sys/uio.h>

struct cairn_rpc;
struct cairn_rpc_req;
struct cairn_rpc_call;
struct cairn_rpc_peer;
struct cairn_rpc_session;

/* ---- services ---- */

enum cairn_rpc_method_flags {
    CAIRN_RPC_SAFE = 1,   /* changes nothing: may be sent again */
    CAIRN_RPC_ONCE = 2,   /* changes something: numbered, and recognised when sent again; cairn_rpc_may_come_again() */
    CAIRN_RPC_ADMIN = 4,  /* for administrators and the node itself */
    CAIRN_RPC_INLINE = 8, /* never waits: the handler answers before it returns */
    CAIRN_RPC_LARGE = 16, /* a local call may bring more than a frame holds: CAIRN_RPC_LARGE_BYTES_MAX */
    CAIRN_RPC_TOLD = 32,  /* may be told, which nobody answers: cairn_rpc_session_tell(). Not with CAIRN_RPC_ONCE */
    CAIRN_RPC_NODE = 64,  /* between nodes: for who has proved that it holds the cluster's key, whatever the way in */
};

enum { CAIRN_RPC_LARGE_BYTES_MAX = 8 << 20 };

/** Whether an answer says that nothing was done, for a reason that may be over when the call comes again: it is then
 * carried out anew. A handler of a CAIRN_RPC_ONCE method that has done something gives none of these. */
static inline bool cairn_rpc_may_come_again(int status)
{
    return status == CAIRN_E_CANCELED || status == CAIRN_E_CLOSED || status == CAIRN_E_TIMEOUT ||
           status == CAIRN_E_BUSY;
}

struct cairn_rpc_method {
    const char *name; /* "put" */
    uint32_t flags;
    const ProtobufCMessageDescriptor *request, *reply;
};

/** What origin and target agree on; the method's number is its index. */
struct cairn_rpc_iface {
    const char *name; /* "kv" */
    const struct cairn_rpc_method *methods;
    uint32_t nmethods;
};

/* Every interface there is: iface.c. */
extern const struct cairn_rpc_iface cairn_iface_node, cairn_iface_bulk, cairn_iface_router, cairn_iface_kv,
    cairn_iface_extent, cairn_iface_group, cairn_iface_cluster;

/* Numbers of the providers that every node has; configured ones follow from CAIRN_PROVIDER_FIRST, in order of the file.
 */
enum {
    CAIRN_PROVIDER_NODE = 0,
    CAIRN_PROVIDER_BULK = 1,
    CAIRN_PROVIDER_ROUTER = 2,
    CAIRN_PROVIDER_CLUSTER = 3,
    CAIRN_PROVIDER_FIRST = 16
};
enum { CAIRN_PROVIDERS_MAX = 256 };

/** Runs on the loop's thread. rq->msg lives as long as @rq; rq->payload only until the handler returns, unless it calls
 * cairn_rpc_req_hold_payload(). Must lead to exactly one cairn_rpc_reply*(). */
typedef void cairn_rpc_handler(struct cairn_rpc_req *rq);

struct cairn_rpc_stats; /* rpc_stats.h */

/** A provider as the RPC layer sees it; one per node, shared by its workers, constant while they run. */
struct cairn_rpc_target {
    const struct cairn_rpc_iface *iface;
    cairn_rpc_handler *const *handlers; /* by method number; NULL: CAIRN_E_NOMETHOD */
    void *ctx;                          /* the provider */
    const char *name;                   /* "kv0" */
    uint16_t id;
};

/* ---- who calls ---- */

enum { CAIRN_IDENTITY_GROUPS_MAX = 32 }; /* more are not looked at */

struct cairn_identity {
    uid_t uid;
    gid_t gid;
    gid_t groups[CAIRN_IDENTITY_GROUPS_MAX]; /* beside @gid, as far as the way in tells */
    uint32_t ngroups;
    bool admin;   /* may use providers directly, and everything else but what is between nodes */
    bool node;    /* holds the cluster's key, and has proved it: as good as a node of the cluster */
    char auth[8]; /* "peer", "key", "munge", "none", "local" */
};

bool cairn_identity_is_in(const struct cairn_identity *who, gid_t group);

/* ---- origin ---- */

/** Where a call goes. Exactly one of @session and @peer, or neither for this thread's own services. */
struct cairn_rpc_dest {
    struct cairn_rpc *rpc;
    struct cairn_rpc_session *session;
    struct cairn_rpc_peer *peer;
};

enum { CAIRN_RPC_PAYLOAD_IOV_MAX = 64 };

/** One call, held by the caller. Fill the first part (zero the rest), start it, and leave it alone until done(), which
 * runs exactly once after a start; in done() @rc and the second part are valid, and the call may be started anew or
 * given up. */
struct cairn_rpc_call {
    struct cairn_rpc_dest dest;
    const struct cairn_rpc_iface *iface;
    uint16_t provider, method;
    const ProtobufCMessage *msg; /* stays the caller's, unchanged until done(): a retry encodes it again */
    struct iovec payload[4];     /* likewise */
    uint32_t payload_n;
    uint64_t
        timeout_ns; /* from the start; 0: 30 s. There is no call without a deadline. A local target is told when it is
                          * over, and waited for, as by cairn_rpc_call_cancel() */
    struct cairn_rpc_peer *bulk_peer; /* local calls: whose memory a BulkDesc in @msg names, or NULL for our own */
    const struct cairn_identity *who; /* local calls: on whose behalf; NULL: the node itself */
    void (*done)(struct cairn_rpc_call *call);
    void *arg;

    int rc;                        /* 0 or CAIRN_E_*; err.text has the server's words */
    const ProtobufCMessage *reply; /* of the method's reply type; NULL when rc != 0. Valid inside done() only. */
    const uint8_t *reply_payload;  /* inside done() only */
    uint32_t reply_payload_len;
    bool was_sent;         /* at least once since the start: who had it may have carried it out, whatever came since */
    struct cairn_err *err; /* may be set by the caller before the start; filled when rc != 0 */

    /* private from here */
    struct cairn_sm sm;
    struct cairn_task task;
    struct cairn_link link;
    struct cairn_rpc_req *local;
    uint64_t deadline_ns;
    uint32_t id, bytes;
    uint16_t seq, sends;
    bool numbered;
    struct cairn_arena arena;
};

/** Starts @call; done() runs later. Never fails by itself: what is wrong arrives as call->rc. */
void cairn_rpc_call_start(struct cairn_rpc_call *call);
/** done() runs soon, never inside this call, with CAIRN_E_CANCELED unless the answer was there first. The target is
 * told; a local target is waited for, since it may be reading call->msg. Harmless when over. */
void cairn_rpc_call_cancel(struct cairn_rpc_call *call);
bool cairn_rpc_call_is_running(const struct cairn_rpc_call *call);

/* ---- target ---- */

struct cairn_rpc_req {
    const struct cairn_rpc_method *method;
    const struct cairn_rpc_target *target;
    struct cairn_rpc *rpc;
    const ProtobufCMessage *msg;
    const uint8_t *payload;
    uint32_t payload_len;
    const struct cairn_identity *who;
    struct cairn_rpc_peer *peer; /* whose memory a BulkDesc names; NULL: our own process's */
    uint64_t deadline_ns;
    bool canceled; /* nobody waits for the answer; answer all the same, as soon as it suits */
    /** May be set by the handler: called once when the caller cancels or is gone. Not called after the reply. */
    void (*on_cancel)(struct cairn_rpc_req *rq, void *arg);
    void *on_cancel_arg;
    void *op; /* the handler's own use */

    /* private from here */
    struct cairn_sm sm;
    struct cairn_link link;
    struct cairn_rpc_call *call;   /* local: who waits */
    struct cairn_rpc_dedup *dedup; /* remote, ONCE: where the result is remembered */
    bool told;                     /* remote: the answer goes nowhere */
    bool of_client;                /* remote, and not a node's; for @stats */
    uint16_t seq;
    uint8_t *held;
    struct cairn_rpc_stats *stats;
    uint64_t arrived_ns;
    struct cairn_rpc_peer *conn; /* remote: where the answer goes; NULL once that connection is lost */
    uint32_t id, bytes;
    uint16_t method_no;
    struct cairn_arena arena; /* also for the handler: what it takes from here lives as long as @rq */
};

/** Keeps rq->payload beyond the handler, by a copy if need be. Returns 0 or CAIRN_E_NOMEM. */
int cairn_rpc_req_hold_payload(struct cairn_rpc_req *rq);

/** The node itself asks, by a local call on nobody's behalf. */
bool cairn_rpc_req_is_own(const struct cairn_rpc_req *rq);

/** Answers @rq, which is gone then. @status 0 or CAIRN_E_*; @msg of the method's reply type or NULL for an empty one;
 * payload and message are copied before it returns. */
void cairn_rpc_reply(struct cairn_rpc_req *rq, int status, const ProtobufCMessage *msg, const struct iovec *payload,
                     uint32_t n);
/** True if this node knows the durability that is asked for; otherwise @rq is answered with CAIRN_E_INVAL. What a newer
 * client asks for may be stronger than all that we have. */
bool cairn_rpc_req_check_durability(struct cairn_rpc_req *rq, uint32_t durability);
/** An error with its text. */
void cairn_rpc_reply_err(struct cairn_rpc_req *rq, int status, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/** Nanoseconds left until rq's deadline, at least 0. */
static inline uint64_t cairn_rpc_req_left_ns(const struct cairn_rpc_req *rq, uint64_t now_ns)
{
    return rq->deadline_ns > now_ns ? rq->deadline_ns - now_ns : 0;
}

/* ---- one thread's end of it ---- */

struct cairn_bulk;
struct cairn_rpc_budget;

struct cairn_rpc_conf {
    uint32_t index;                         /* of the worker; 0 for clients */
    const struct cairn_rpc_target *targets; /* what can be called here; borrowed, constant */
    uint32_t ntargets;
    uint32_t inflight_max;       /* requests of one connection that run at a time: the credits it gets (power of two) */
    uint32_t inflight_bytes_max; /* their bytes */
    uint32_t output_bytes_max;   /* of one connection waiting to be sent; above it no request is taken from it */
    struct cairn_rpc_budget *budget;   /* of the whole node; NULL: none */
    struct cairn_rpc_stats_set *stats; /* this worker's; NULL: nothing is counted. rpc_stats.h */
};

/** Bytes of requests and replies that a node holds at a time, over all its workers. */
struct cairn_rpc_budget {
    _Atomic uint64_t bytes;
    uint64_t bytes_max;
};

struct cairn_rpc *cairn_rpc_new(struct cairn_loop *loop, const struct cairn_rpc_conf *conf, struct cairn_err *err);
/** Asserts that no call, request or peer is left. */
void cairn_rpc_free(struct cairn_rpc *rpc);

/** No call, request or peer is left. */
bool cairn_rpc_is_idle(const struct cairn_rpc *rpc);

/** An allocator for protobuf-c that takes from @a. */
ProtobufCAllocator cairn_rpc_arena_allocator(struct cairn_arena *a);

struct cairn_loop *cairn_rpc_loop(struct cairn_rpc *rpc);
uint32_t cairn_rpc_index(const struct cairn_rpc *rpc);
struct cairn_bulk **cairn_rpc_bulk(struct cairn_rpc *rpc); /* the bulk module's slot */

/** What the bulk module, which stands on this one, wants to know and has to tell; set by cairn_bulk_attach(). */
struct cairn_rpc_bulk_hooks {
    void (*peer_up)(struct cairn_rpc_peer *peer);   /* HELLO has succeeded */
    void (*peer_down)(struct cairn_rpc_peer *peer); /* the connection is lost: end all transfers with it */
    /* 16 secret bytes in our memory that HELLO tells the peer about; NULL: it is not to copy our memory */
    const uint8_t *(*vm_cookie)(struct cairn_rpc *rpc);
};
void cairn_rpc_set_bulk_hooks(struct cairn_rpc *rpc, const struct cairn_rpc_bulk_hooks *hooks);
/** NULL if there is none with that number; by name likewise. */
const struct cairn_rpc_target *cairn_rpc_target_by_id(const struct cairn_rpc *rpc, uint32_t id);
const struct cairn_rpc_target *cairn_rpc_target_by_name(const struct cairn_rpc *rpc, const char *name);

/** The state machines of this folder, NULL-terminated: for the self-check and `cairn machines --graph`. */
extern const struct cairn_sm_kind *const cairn_rpc_kinds[];

#endif
