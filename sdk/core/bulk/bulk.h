/** Bulk transfers: the callee moves the bytes, straight from and into the caller's memory.
 *
 * The caller exposes memory for one call (cairn_bulk_expose) and puts the descriptor into its request. The callee pulls
 * or pushes, in pieces, pipelined, by the best way there is to that peer:
 *
 *   vm      process_vm_readv/writev, for a peer on this node that the socket's credentials prove (same user), found to
 *           work at connect and checked again with each piece: the peer's 16-byte cookie must lie where it said
 *   fabric  fi_read/fi_write, once the connection stands (it is brought up in the background at the first need)
 *   frames  BULK_READ and BULK_WRITE calls on the peer's own connection: always there, and the oracle in tests
 *   self    memcpy, when caller and callee are on the same loop
 *
 * Memory that was concealed is not touched any more, by any way: frames look up the key, the fabric's registration is
 * gone, and a same-node copy looks whether the key still stands. The one exception: a process of this node that was
 * stopped amid such a copy, and stays so for more than a second, may finish that piece when it goes on (bulk_vm.c).
 *
 * Loop's own thread only. Source of the facts behind it: FACTS "libfabric in an event loop". */
#ifndef CAIRN_CORE_BULK_H
#define CAIRN_CORE_BULK_H

#include "sdk/core/rpc/rpc.h"

#include "schema/common.pb-c.h"

enum cairn_bulk_way {
    CAIRN_BULK_AUTO,
    CAIRN_BULK_VM,
    CAIRN_BULK_FABRIC,
    CAIRN_BULK_FRAMES,
    CAIRN_BULK_SELF,
    CAIRN_BULK_WAYS_NR
};
enum cairn_bulk_rights { CAIRN_BULK_CAN_READ = 1, CAIRN_BULK_CAN_WRITE = 2 };

enum {
    CAIRN_BULK_EXPOSED_MAX = 4096,      /* regions that one end exposes at a time */
    CAIRN_BULK_AREAS_MAX = 256,         /* areas that one end keeps registered */
    CAIRN_BULK_PIECE_BYTES = 1 << 20,   /* fabric, and what a turn of the loop copies by vm and self */
    CAIRN_BULK_FRAME_BYTES = 256 << 10, /* frames */
    CAIRN_BULK_PIECES_INFLIGHT = 8,     /* of one transfer */
};

/* ---- the caller's side ---- */

struct cairn_bulk_area;

/** Memory exposed for one call; held by the caller, where it does not move. */
struct cairn_bulk_region {
    struct cairn_link link;
    struct cairn_rpc *rpc;      /* NULL: not exposed */
    Cairn__Wire__BulkDesc desc; /* goes into the request */
    uint8_t *ptr;
    uint64_t len;
    uint32_t rights;
    bool settled;
    _Atomic uint64_t live; /* the key, until it is concealed: same-node movers look here */
    struct cairn_fabric_mr *mr;
    struct cairn_bulk_area *area;
};

/** Opens @len bytes at @ptr to the callee under a fresh random key. Returns 0, CAIRN_E_LIMIT or CAIRN_E_NOMEM.
 * cairn_bulk_conceal() closes them: call it before the memory is freed, whatever became of the call; harmless twice.
 * When it returns, nobody reads or writes the memory any more, with the exception above. */
int cairn_bulk_expose(struct cairn_rpc *rpc, void *ptr, uint64_t len, uint32_t rights, struct cairn_bulk_region *r);
void cairn_bulk_conceal(struct cairn_bulk_region *r);
/** The callee has answered the call, whatever it said, so it is done with the memory and concealing costs nothing.
 * Without it (timeout, cancel, connection lost) concealing must make sure of that: it waits for a same-node copy that
 * is under way, a fraction of a millisecond as a rule, and closes a fabric endpoint that the callee may still be using.
 */
void cairn_bulk_settle(struct cairn_bulk_region *r);

/** Keeps @len bytes at @ptr registered with the fabric, for buffers that many calls use: regions exposed inside it need
 * no registration of their own where that is dear, because it pins memory. There, whoever was given a region's
 * descriptor can reach the whole area over the fabric until it is unregistered; everywhere else each region stays as
 * narrow as it is. Returns 0, CAIRN_E_LIMIT or CAIRN_E_NOMEM. Unregister when no region inside is exposed. */
int cairn_bulk_register(struct cairn_rpc *rpc, void *ptr, uint64_t len, struct cairn_bulk_area **area);
void cairn_bulk_unregister(struct cairn_bulk_area *area);

/* ---- the callee's side ---- */

/** One transfer, held by the callee's operation until done(). */
struct cairn_bulk_op {
    struct cairn_rpc_peer *peer; /* NULL: our own process's memory */
    Cairn__Wire__BulkDesc desc;  /* a copy */
    bool push;                   /* local -> remote */
    uint64_t off; /* in the remote memory; desc.off, where the caller's part begins, is the callee's to add */
    uint8_t *local;
    uint64_t len;
    /* 0: the latest there is, 30 s and one more for each MiB: peers cannot hold memory for longer */
    uint64_t deadline_ns;
    enum cairn_bulk_way way; /* CAIRN_BULK_AUTO to choose; afterwards what moved the last byte */
    /** Called after each piece has arrived, in order and without gaps, before done(): [from, to) of @local are there,
     * still warm in the cache, the moment to checksum them. May cancel the transfer. May be NULL. Pull only. */
    void (*arrived)(struct cairn_bulk_op *op, uint64_t from, uint64_t to);
    /** rc: 0, CAIRN_E_FAULT (not the peer's memory, not open, or not for this), CAIRN_E_CLOSED (the peer is gone),
     * CAIRN_E_TIMEOUT, CAIRN_E_CANCELED, CAIRN_E_NOMEM; CAIRN_E_UNSUPPORTED if @way was asked for and is not there.
     * Runs once, later; after it nothing touches @local any more. */
    void (*done)(struct cairn_bulk_op *op, int rc);
    void *arg;

    /* private from here */
    struct cairn_sm sm;
    struct cairn_rpc *rpc;
    struct cairn_bulk_peer *bp;
    struct cairn_link link;
    struct cairn_task task;
    struct cairn_timer timer;
    uint64_t next;       /* [next, len) was not issued yet */
    uint64_t arrived_to; /* [0, arrived_to) is there */
    uint32_t flying;     /* pieces that somebody else may be moving */
    uint32_t head, npieces, room;
    struct cairn_bulk__piece *pieces; /* ring of [arrived_to, next), in order */
    struct cairn_fabric_mr *local_mr;
    int rc;
};

extern const struct cairn_sm_kind cairn_bulk_op_kind, cairn_bulk_intro_kind;

/** Starts @op (fill the public part first) on @rpc's loop. done() always comes. */
void cairn_bulk_start(struct cairn_rpc *rpc, struct cairn_bulk_op *op);
/** done() comes with CAIRN_E_CANCELED, or with what happened first, once no transfer can touch @local any more. */
void cairn_bulk_cancel(struct cairn_bulk_op *op);

/* ---- for the RPC layer, which owns the module's life ---- */

struct cairn_bulk_conf {
    bool vm, fabric;   /* which ways may be used */
    bool vm_any_user;  /* vm also for peers of other users, where the kernel lets us. They can stop this loop: by memory
                        * whose pages they serve themselves (userfaultfd, FUSE) */
    char provider[64]; /* "tcp;ofi_rxm" */
    char domain[64];   /* "" : any; "lo" where all listens on loopback */
    /** A peer gets a fabric connection once so much went to and from it in frames: a short-lived one never waits for
     * what takes 100 ms and tens of MB. 0: 32 MiB. */
    uint64_t fabric_after_bytes;
};

/** The bulk module of @rpc: its exposed regions, its fabric endpoint (opened at the first need). It sits in
 * *cairn_rpc_bulk(rpc) and hears of peers by cairn_rpc_set_bulk_hooks(). */
int cairn_bulk_attach(struct cairn_rpc *rpc, const struct cairn_bulk_conf *conf, struct cairn_err *err);
/** No peer is up and no frame is under way any more. Transfers that still wait for the fabric end inside; an endpoint
 * that is being opened at this moment is waited for (up to 150 ms). Before cairn_rpc_free(). */
void cairn_bulk_detach(struct cairn_rpc *rpc);
/** The service that every end offers its peers: provider CAIRN_PROVIDER_BULK, ctx is unused. */
extern cairn_rpc_handler *const cairn_bulk_handlers[];

/* ---- for metrics, status and tests ---- */

/** "auto", "vm", "fabric", "frames", "self". */
const char *cairn_bulk_way_name(enum cairn_bulk_way way);

/** What this end's transfers came to. Its thread alone writes, any thread may read. */
struct cairn_bulk_counters {
    _Atomic uint64_t transfers[CAIRN_BULK_WAYS_NR], bytes[CAIRN_BULK_WAYS_NR]; /* that we moved, by way */
    _Atomic uint64_t failures;                                                 /* transfers that ended with an error */
    _Atomic uint64_t switches;   /* that went on by frames when another way failed */
    _Atomic uint64_t introduced; /* fabric connections brought up */
    _Atomic uint64_t kills;      /* endpoints closed because something would not end */
};
/** Of @rpc, which has a bulk module; valid until it is detached. */
const struct cairn_bulk_counters *cairn_bulk_counters(struct cairn_rpc *rpc);

/** The same as plain numbers, of one end or the sum of several. */
struct cairn_bulk_stats {
    uint64_t transfers[CAIRN_BULK_WAYS_NR], bytes[CAIRN_BULK_WAYS_NR];
    uint64_t failures, switches, introduced, kills;
    uint32_t exposed, running; /* cairn_bulk_stats() alone tells them */
};
/** Adds what @from has now. Any thread. */
void cairn_bulk_stats_merge(struct cairn_bulk_stats *to, const struct cairn_bulk_counters *from);
void cairn_bulk_stats(struct cairn_rpc *rpc, struct cairn_bulk_stats *to);
/** The way that a pull (or push) of open memory of this peer would take now. */
enum cairn_bulk_way cairn_bulk_way_to(struct cairn_rpc_peer *peer, bool push);

#endif
