/** One loop's end of a libfabric network: an endpoint that reads and writes memory of peers. Only sdk/core/fabric
 * includes libfabric.
 *
 * An operation (struct cairn_fabric_op) is posted, waits in a queue while the provider has no room or is still
 * connecting, flies, and ends with done(). Life: cairn_fabric_open() on any thread, since it takes 50 to 150 ms and may
 * block; cairn_fabric_start() on the loop; cairn_fabric_kill() when its memory must not be touched any more;
 * cairn_fabric_free(). No process may fork() once one of these was opened: libfabric's state does not survive it.
 *
 * What an application can set only by environment (FI_OFI_RXM_USE_SRX=1, FI_MR_CACHE_MAX_COUNT=0) is for the program
 * that owns the process to set, before it has threads; what has an attribute is asked for by attribute: sizes of
 * queues, FI_UNIVERSE_SIZE by the address vector's count. */
#ifndef CAIRN_CORE_FABRIC_H
#define CAIRN_CORE_FABRIC_H

#include "sdk/core/loop/loop.h"

struct cairn_fabric;
struct cairn_fabric_mr;

enum {
    CAIRN_FABRIC_ADDR_BYTES_MAX = 256,
    CAIRN_FABRIC_INFLIGHT_MAX = 256, /* operations that the provider has at a time; the rest queues */
    CAIRN_FABRIC_RETRY_MS = 2,       /* FACTS: connecting does not wake the initiator's descriptor; 1 to 5 ms */
};

enum cairn_fabric_access { CAIRN_FABRIC_LOCAL = 1, CAIRN_FABRIC_REMOTE_READ = 2, CAIRN_FABRIC_REMOTE_WRITE = 4 };

struct cairn_fabric_conf {
    const char *provider; /* "tcp;ofi_rxm" */
    const char *domain;   /* "eth0"; "": any */
    /** Address of a peer on the same provider, or NULL: with no domain given, its network is chosen. */
    const uint8_t *near;
    size_t near_len;
};

/** Blocks. On success *@f is to be started on a loop, or freed. CAIRN_E_UNSUPPORTED: there is no such provider here, or
 * it wants what we cannot do (memory modes beyond ours, no wait descriptor); the text says which. */
int cairn_fabric_open(struct cairn_fabric **f, const struct cairn_fabric_conf *conf, struct cairn_err *err);
/** From here on @f belongs to @loop's thread. */
int cairn_fabric_start(struct cairn_fabric *f, struct cairn_loop *loop);
/** Closes the endpoint and every registration at once: when it returns, neither we nor a peer can touch memory through
 * @f. Operations end with CAIRN_E_CANCELED, from a later task. The one sure way to end an operation that has no answer:
 * fi_cancel promises nothing for reads and writes, and no error comes for a peer that is dead or does not move. */
void cairn_fabric_kill(struct cairn_fabric *f);
/** Kills if need be. Operations that have not ended yet end inside this call. */
void cairn_fabric_free(struct cairn_fabric *f);
bool cairn_fabric_is_dead(const struct cairn_fabric *f);

/** Our own address, to be told to peers; returns its length. */
size_t cairn_fabric_addr(const struct cairn_fabric *f, const uint8_t **addr);
/** The largest piece of one operation. */
uint64_t cairn_fabric_piece_max(const struct cairn_fabric *f);
/** True if local buffers need a registration (FI_MR_LOCAL). */
bool cairn_fabric_wants_local(const struct cairn_fabric *f);
/** True where registering is dear because it pins memory (FI_MR_ALLOCATED): worth keeping registrations. */
bool cairn_fabric_pins(const struct cairn_fabric *f);

/** @addr comes from the network. CAIRN_E_INVAL if it cannot be an address of this provider. */
int cairn_fabric_peer_add(struct cairn_fabric *f, const uint8_t *addr, size_t len, uint64_t *peer);
void cairn_fabric_peer_del(struct cairn_fabric *f, uint64_t peer);

/** Registers memory under @key (random; cut to the provider's size, or replaced by the provider's own). */
int cairn_fabric_mr_new(struct cairn_fabric *f, void *ptr, uint64_t len, uint32_t access, uint64_t key,
                        struct cairn_fabric_mr **mr);
/** Also after a kill, and before cairn_fabric_free(). NULL is nothing. */
void cairn_fabric_mr_free(struct cairn_fabric_mr *mr);
/** Key and address under which a peer reaches the first byte. */
uint64_t cairn_fabric_mr_key(const struct cairn_fabric_mr *mr);
uint64_t cairn_fabric_mr_base(const struct cairn_fabric_mr *mr);

/** One read or write, held by its user from the post to done(). */
struct cairn_fabric_op {
    uint64_t context[8]; /* the provider's (FI_CONTEXT2); must stay first */
    uint64_t peer;
    bool push;
    uint8_t *local;
    uint64_t len;
    struct cairn_fabric_mr *local_mr; /* where cairn_fabric_wants_local() */
    uint64_t remote, key;
    /** rc: 0, the bytes are there (in the peer's memory, for a push); CAIRN_E_CANCELED after a kill;
     * CAIRN_E_UNREACHABLE for all else. A bad key or range, a lost connection and one that stands not yet look alike
     * (ECANCELED, ENOTCONN, other numbers with other providers), and tear down the operations of others to the same
     * peer: ask again, or go another way. Never runs inside cairn_fabric_post(). */
    void (*done)(struct cairn_fabric_op *op, int rc);
    void *arg;

    /* private from here */
    struct cairn_link link;
    int rc;
    bool flying;
};

void cairn_fabric_post(struct cairn_fabric *f, struct cairn_fabric_op *op);
/** Takes back an operation that still waits in our own queue: true, and done() will not run. False if it flies. */
bool cairn_fabric_unpost(struct cairn_fabric *f, struct cairn_fabric_op *op);

struct cairn_fabric_stats {
    uint64_t ops, bytes, errors, retries, reaps;
};
const struct cairn_fabric_stats *cairn_fabric_stats(const struct cairn_fabric *f);

#endif
