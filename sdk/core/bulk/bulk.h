/** Bulk transfers: the callee moves the bytes, straight from and into the caller's memory.
 *
 * The caller exposes memory for one call (cairn_bulk_expose) and puts the descriptor into its request. The callee pulls
 * or pushes, in pieces, pipelined, by the best way there is to that peer:
 *
 *   vm      process_vm_readv/writev, for a peer on this node that the socket's credentials prove (same user), found to
 * work at connect and checked again with each piece: the peer's 16-byte cookie must lie where it said fabric
 * fi_read/fi_write, once the connection stands (it is brought up in the background at the first need) frames  BULK_READ
 * and BULK_WRITE calls on the peer's own connection: always there, and the oracle in tests
 *
 * Loop's own thread only. Source of the facts behind it: FACTS "libfabric in an event loop". */
#ifndef CAIRN_CORE_BULK_H
#define CAIRN_CORE_BULK_H

#include "sdk/core/rpc/rpc.h"

#include "schema/common.pb-c.h"

enum cairn_bulk_way { CAIRN_BULK_AUTO, CAIRN_BULK_VM, CAIRN_BULK_FABRIC, CAIRN_BULK_FRAMES, CAIRN_BULK_SELF };
enum cairn_bulk_rights { CAIRN_BULK_CAN_READ = 1, CAIRN_BULK_CAN_WRITE = 2 };

enum {
    CAIRN_BULK_EXPOSED_MAX = 4096,      /* regions that one end exposes at a time */
    CAIRN_BULK_PIECE_BYTES = 1 << 20,   /* fabric and vm */
    CAIRN_BULK_FRAME_BYTES = 256 << 10, /* frames */
    CAIRN_BULK_PIECES_INFLIGHT = 8,     /* of one transfer */
};

struct cairn_bulk_mr; /* a fabric registration that outlives calls: cairn_bulk_register() */

/** Memory exposed for one call; held by the caller. */
struct cairn_bulk_region {
    struct cairn_link link;
    struct cairn_rpc *rpc;
    Cairn__Wire__BulkDesc desc; /* goes into the request */
    uint8_t *ptr;
    uint64_t len;
    uint32_t rights;
    void *mr; /* fabric registration or NULL */
};

/** Opens @len bytes at @ptr to the callee under a fresh random key. Returns 0, CAIRN_E_LIMIT or CAIRN_E_NOMEM.
 * cairn_bulk_conceal() closes them: call it before the memory is freed, whatever became of the call; harmless twice. */
int cairn_bulk_expose(struct cairn_rpc *rpc, void *ptr, uint64_t len, uint32_t rights, struct cairn_bulk_region *r);
void cairn_bulk_conceal(struct cairn_bulk_region *r);

/** One transfer, held by the callee's operation until done(). */
struct cairn_bulk_op {
    struct cairn_rpc_peer *peer; /* NULL: our own process's memory */
    Cairn__Wire__BulkDesc desc;  /* a copy */
    bool push;                   /* local -> remote */
    uint64_t off;                /* in the remote memory */
    uint8_t *local;
    uint64_t len;
    uint64_t deadline_ns;
    enum cairn_bulk_way way; /* CAIRN_BULK_AUTO to choose; afterwards what was chosen */
    /** Called after each piece has arrived, in order and without gaps, before done(): [from, to) of @local are there,
     * still warm in the cache, the moment to checksum them. May be NULL. Pull only. */
    void (*arrived)(struct cairn_bulk_op *op, uint64_t from, uint64_t to);
    /** rc: 0, CAIRN_E_FAULT (not the peer's memory), CAIRN_E_CLOSED (the peer is gone), CAIRN_E_TIMEOUT,
     * CAIRN_E_CANCELED. Runs once, later; after it nothing touches @local any more. */
    void (*done)(struct cairn_bulk_op *op, int rc);
    void *arg;

    /* private from here */
    struct cairn_sm sm;
    struct cairn_rpc *rpc;
    struct cairn_link link;
    struct cairn_task task;
    struct cairn_timer timer;
    uint64_t next, landed;
    uint32_t inflight;
    int rc;
    void *pieces;
};

/** Starts @op (fill the public part first) on @rpc's loop. done() always comes. */
void cairn_bulk_start(struct cairn_rpc *rpc, struct cairn_bulk_op *op);
/** done() comes with CAIRN_E_CANCELED once no transfer can touch @local any more. */
void cairn_bulk_cancel(struct cairn_bulk_op *op);

/* ---- for the RPC layer, which owns the module's life ---- */

struct cairn_bulk_conf {
    bool vm, fabric;   /* which ways may be used */
    char provider[64]; /* "tcp;ofi_rxm" */
    char domain[64];   /* "" : any */
};

/** The bulk module of @rpc: its exposed regions, its fabric endpoint (opened at the first need). It sits in
 * *cairn_rpc_bulk(rpc) and hears of peers by cairn_rpc_set_bulk_hooks(). */
int cairn_bulk_attach(struct cairn_rpc *rpc, const struct cairn_bulk_conf *conf, struct cairn_err *err);
void cairn_bulk_detach(struct cairn_rpc *rpc);
/** The service that every end offers its peers: provider CAIRN_PROVIDER_BULK, ctx is unused. */
extern cairn_rpc_handler *const cairn_bulk_handlers[];

#endif
