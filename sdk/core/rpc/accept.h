/** The target's side of connecting: who we are, whom we let in, and the sessions we remember. */
#ifndef CAIRN_CORE_RPC_ACCEPT_H
#define CAIRN_CORE_RPC_ACCEPT_H

#include "sdk/core/rpc/auth.h"
#include "sdk/core/rpc/node_counters.h"
#include "sdk/core/rpc/rpc.h"

enum { CAIRN_ADMINS_MAX = 64, CAIRN_REFUSED_NODES_MAX = 64 };

/** One per node, shared by its workers; constant while they run, but for the counters and @draining. */
struct cairn_rpc_node {
    uint8_t cluster_id[CAIRN_CLUSTER_ID_BYTES];
    uint64_t incarnation; /* random, of this process */
    char name[CAIRN_NODE_NAME_MAX];
    bool has_key, munge, insecure;
    char munge_socket[CAIRN_MUNGE_SOCKET_MAX];
    uint8_t key[CAIRN_KEY_BYTES];
    uid_t admins[CAIRN_ADMINS_MAX]; /* beside root and the node's own user */
    uint32_t nadmins;
    uint32_t connections_max; /* beside them an eighth, and 8 on each worker at least, may be saying HELLO */
    uint64_t session_ttl_ns;  /* how long a session without connection is remembered */
    uint64_t stalled_ns;      /* half a frame, or output that nobody takes: closed after this long */
    struct cairn_rpc *const *workers;
    uint32_t nworkers;
    /** Runs @work(arg) where it may block, then @done(arg) on @loop. NULL: runs both at once. */
    int (*blocking)(void *ctx, struct cairn_loop *loop, void (*work)(void *arg), void (*done)(void *arg), void *arg);
    void *blocking_ctx;
    _Atomic bool draining;
    struct cairn_rpc_node_counters counters;
    /* Nodes whose refusal was said, and why they were, as checksums: each has one place, by its name */
    struct cairn_rpc_refused {
        _Atomic uint64_t what, said_ns, unsaid; /* unsaid: how often since */
    } refused[CAIRN_REFUSED_NODES_MAX];
};

/** Lets @rpc take connections for @node. */
int cairn_rpc_serve(struct cairn_rpc *rpc, struct cairn_rpc_node *node);
/** Takes over a socket that was accepted; it is closed if it cannot be served. */
void cairn_rpc_accept(struct cairn_rpc *rpc, int fd, bool is_unix);
/** Says goodbye to all peers and closes each once its requests are answered, at the latest when @deadline_ns comes.
 * @done(arg) runs when none is left; requests whose connection was cut may still run (cairn_rpc_is_idle()). */
void cairn_rpc_drain(struct cairn_rpc *rpc, uint64_t deadline_ns, void (*done)(void *arg), void *arg);

#endif
