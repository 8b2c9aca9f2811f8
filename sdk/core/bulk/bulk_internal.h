/** What the files of sdk/core/bulk share.
 *
 *   bulk.c         the module's life, exposed regions and areas, what peers may call
 *   bulk_op.c      one transfer: its pieces, their order, its end
 *   bulk_vm.c      pieces by process_vm_*, and the agreement that makes them safe
 *   bulk_frames.c  pieces by calls
 *   bulk_fabric.c  pieces by RMA, and opening, killing and closing the endpoint
 *   bulk_intro.c   bringing up a fabric connection to one peer */
#ifndef CAIRN_CORE_BULK_INTERNAL_H
#define CAIRN_CORE_BULK_INTERNAL_H

#include "sdk/core/bulk/bulk.h"
#include "sdk/core/fabric/fabric.h"
#include "sdk/core/rpc/peer.h"
#include "sdk/core/rpc/rpc_stats.h"

#include "schema/bulk.pb-c.h"

enum {
    BULK_BUCKETS = 256, /* of regions by key: 16 a bucket at the most that is allowed */
    BULK_COOKIE_BYTES = 16,
    BULK_TIMEOUT_S = 30,
    BULK_VM_PIECE_BYTES =
        256 << 10, /* stays in the second-level cache until it is checksummed; pieces of 64 KiB halve the rate */
    BULK_DRAIN_MS =
        200, /* how long a transfer that is given up may take to let go of its memory before the endpoint is closed */
    BULK_VM_WAIT_MS = 1000,
    BULK_MOVERS_MAX = 64,
    BULK_WAITERS_MAX = 256,
    BULK_INTRO_PROBE_MS = 5000,
    BULK_OPEN_RETRY_S = 30,   /* after opening our own endpoint has failed */
    BULK_PAUSE_MS_MIN = 1000, /* of a peer whose connection was given up; it doubles with each time, up to the next */
    BULK_PAUSE_MS_MAX = 60000,
    BULK_PAUSE_FORGET_S = 600, /* of peace after a pause, and the next one is the shortest again */
    BULK_PROBE_BYTES = 8,
};

#define BULK_FABRIC_AFTER_BYTES (UINT64_C(32) << 20)

/* When a transfer ends at the latest. A request may wait for days; memory that is lent for a transfer may not: a peer
 * that reads its socket and moves nothing would hold it. */
static inline uint64_t bulk_deadline(uint64_t now_ns, uint64_t asked_ns, uint64_t len)
{
    uint64_t latest = now_ns + (BULK_TIMEOUT_S + (len >> 20)) * CAIRN_NS_PER_S;

    return asked_ns != 0 && asked_ns < latest ? asked_ns : latest;
}

struct cairn_bulk_area {
    struct cairn_link link;
    struct cairn_bulk *bulk;
    uint8_t *ptr;
    uint64_t len;
    uint32_t regions;
    struct cairn_fabric_mr *mr; /* where registering pins memory */
};

/* Somebody who waits for the endpoint to be open: fn(arg, 0 or why not), later. */
struct bulk_waiter {
    struct cairn_link link;
    void (*fn)(struct bulk_waiter *w, int rc);
};

/* Another process that may write into our memory. Kept after its connection is lost, for as long as it may still do so.
 */
struct bulk_mover {
    struct cairn_link link;
    struct cairn_rpc_peer *peer; /* NULL: lost */
    pid_t pid;
    uint64_t cookie_addr, busy_addr;
    uint8_t cookie[BULK_COOKIE_BYTES];
};

struct bulk_opener; /* bulk_fabric.c */

struct cairn_bulk {
    _Atomic uint64_t busy; /* key of the memory of another process that we are writing at this moment: bulk_vm.c */
    uint8_t cookie[BULK_COOKIE_BYTES];
    struct cairn_rpc *rpc;
    struct cairn_loop *loop;
    struct cairn_bulk_conf conf;
    struct cairn_link buckets[BULK_BUCKETS];
    struct cairn_link areas, ops, peers, movers;
    uint32_t nexposed, nareas, nops, nmovers;
    uint64_t turn, turn_bytes; /* copied in this turn of the loop */

    struct cairn_fabric *fabric; /* NULL: not open */
    uint32_t fabric_epoch;       /* counts endpoints, from 1 */
    struct cairn_fabric *corpse; /* killed, to be freed by the task */
    struct cairn_task bury;
    struct bulk_opener *opener;
    struct cairn_link waiters;
    uint32_t nwaiters;
    uint64_t open_retry_ns;
    bool told; /* somebody was told our address: they may be moving memory of ours */
    uint64_t probe_value;
    struct cairn_fabric_mr *probe_mr;
    struct cairn_bulk_counters counters;
};

struct cairn_bulk_peer {
    struct cairn_link link;
    struct cairn_bulk *bulk;
    struct cairn_rpc_peer *peer;
    uint32_t refs;
    bool down;

    bool vm_pull, vm_push;
    bool vm_asking;
    struct cairn_task vm_task;
    struct cairn_rpc_call vm_call;
    Cairn__Wire__BulkVm vm_msg;

    bool ready;            /* the fabric connection stands */
    uint64_t fabric_peer;  /* its address, if fabric_epoch is that of the present endpoint */
    uint32_t fabric_epoch; /* 0: none */
    uint32_t rma_flying;   /* pieces that use it */
    uint64_t frame_bytes;  /* moved in frames */
    uint64_t ready_bytes;  /* so many were they when the connection came to stand */
    uint64_t retry_ns;     /* when its last pause ends; 0: it has had none */
    uint32_t pause_ms;
    struct bulk_intro *intro; /* running */
};

struct cairn_bulk__piece {
    struct cairn_bulk_op *op;
    uint64_t from;
    uint32_t len;
    bool flying, landed;
    struct cairn_fabric_op rma;
    struct cairn_rpc_call call;
    Cairn__Wire__BulkPiece msg;
};

static inline struct cairn_bulk *bulk_of(struct cairn_rpc *rpc)
{
    return *cairn_rpc_bulk(rpc);
}

/* bulk.c */
struct cairn_bulk_region *cairn_bulk__find(struct cairn_bulk *b, uint64_t key);
/** The open memory at @off, or NULL: wrong key, range or rights. */
uint8_t *cairn_bulk__memory(struct cairn_bulk *b, uint64_t key, uint64_t off, uint64_t len, uint32_t right);
void cairn_bulk__peer_put(struct cairn_bulk_peer *bp);

/* bulk_op.c */
enum { OP_NEW, OP_MOVE, OP_SWITCH, OP_DRAIN, OP_DONE, OP_FAILED, OP_NR };
/** A piece that was flying is back. */
void cairn_bulk__piece_back(struct cairn_bulk__piece *p, int rc);
/** Ends @op with @rc once nothing of it flies. */
void cairn_bulk__op_end(struct cairn_bulk_op *op, int rc);
/** The module ends: so does every transfer of which nothing flies any more. */
void cairn_bulk__ops_flush(struct cairn_bulk *b);
/** Goes on by frames once nothing of it flies. */
void cairn_bulk__op_switch(struct cairn_bulk_op *op);

/* bulk_vm.c: 0, CAIRN_E_FAULT, CAIRN_E_CLOSED, or CAIRN_E_UNSUPPORTED when it does not work (any more) with this peer
 */
int cairn_bulk__vm_copy(struct cairn_bulk_op *op, uint64_t from, uint64_t len);
void cairn_bulk__vm_peer_up(struct cairn_bulk_peer *bp);
void cairn_bulk__vm_peer_down(struct cairn_bulk *b, const struct cairn_rpc_peer *peer);
/** Returns when no other process is writing under @key any more, or after BULK_VM_WAIT_MS, with a warning. */
void cairn_bulk__vm_wait(struct cairn_bulk *b, uint64_t key);
void cairn_bulk__vm_forget(struct cairn_bulk *b);
void cairn_bulk__on_vm(struct cairn_rpc_req *rq);

/* bulk_frames.c */
void cairn_bulk__frame_issue(struct cairn_bulk__piece *p);
void cairn_bulk__frame_cancel(struct cairn_bulk__piece *p);
void cairn_bulk__on_read(struct cairn_rpc_req *rq);
void cairn_bulk__on_write(struct cairn_rpc_req *rq);

/* bulk_fabric.c */
void cairn_bulk__rma_issue(struct cairn_bulk__piece *p);
/** Takes it back if it does not fly yet. */
void cairn_bulk__rma_cancel(struct cairn_bulk__piece *p);
/** Registers op's local memory where the provider wants that. */
int cairn_bulk__rma_prepare(struct cairn_bulk_op *op);
void cairn_bulk__rma_release(struct cairn_bulk_op *op);
uint32_t cairn_bulk__rma_piece_bytes(struct cairn_bulk *b);
/** Opens the endpoint in the background; @w is told. @near: a peer's address or NULL. */
int cairn_bulk__fabric_want(struct cairn_bulk *b, const uint8_t *near, size_t near_len, struct bulk_waiter *w);
/** The address of @bp is not needed any more. */
void cairn_bulk__fabric_forget_peer(struct cairn_bulk_peer *bp);
/** Closes the endpoint now: nothing that went over it touches memory any more. Transfers go on by frames. */
void cairn_bulk__fabric_kill(struct cairn_bulk *b, const char *why);
void cairn_bulk__fabric_init(struct cairn_bulk *b);
void cairn_bulk__fabric_fini(struct cairn_bulk *b);
void cairn_bulk__region_register(struct cairn_bulk *b, struct cairn_bulk_region *r);

/* bulk_intro.c */
/** Brings a connection to this peer up, if it is time for it. */
void cairn_bulk__intro_consider(struct cairn_bulk_peer *bp);
/** Something went wrong with this peer: it is introduced again after a pause, a longer one each time. */
void cairn_bulk__intro_put_off(struct cairn_bulk_peer *bp);
void cairn_bulk__intro_abort(struct cairn_bulk_peer *bp);
/** The endpoint was killed. */
void cairn_bulk__intro_killed(struct cairn_bulk_peer *bp);
void cairn_bulk__on_fabric(struct cairn_rpc_req *rq);

#endif
