/** One established connection and who is at its other end. Both ends may call over it. */
#ifndef CAIRN_CORE_RPC_PEER_H
#define CAIRN_CORE_RPC_PEER_H

#include "sdk/core/rpc/rpc.h"

struct cairn_bulk_peer;

struct cairn_rpc_peer_info {
    struct cairn_identity who;
    pid_t pid; /* as the kernel told on a unix socket; 0: unknown */
    bool unix_socket;
    bool is_node;            /* it says that it is a node of the cluster: worth as much as @who.node */
    uint64_t vm_cookie_addr; /* 0: the peer does not offer its memory */
    uint8_t vm_cookie[16];
    char name[64];  /* program or node, for people */
    char addr[128]; /* "unix:///run/..." or "tcp://192.0.2.1:4711" */
};

const struct cairn_rpc_peer_info *cairn_rpc_peer_info(const struct cairn_rpc_peer *peer);
struct cairn_rpc *cairn_rpc_peer_rpc(const struct cairn_rpc_peer *peer);
/** False once the connection is lost: calls to it fail with CAIRN_E_CLOSED, transfers end. */
bool cairn_rpc_peer_is_up(const struct cairn_rpc_peer *peer);
/** References keep the structure, not the connection. */
void cairn_rpc_peer_get(struct cairn_rpc_peer *peer);
void cairn_rpc_peer_put(struct cairn_rpc_peer *peer);

/** A slot for the bulk module's state of this peer. */
struct cairn_bulk_peer **cairn_rpc_peer_bulk(struct cairn_rpc_peer *peer);

#endif
