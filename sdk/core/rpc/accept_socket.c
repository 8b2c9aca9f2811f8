/* Sockets that were accepted, and what the kernel tells of who is at the other end. See accept.h. */
#include "sdk/core/rpc/accept.h"

#include "sdk/core/net/addr.h"
#include "sdk/core/rpc/hello.h"
#include "sdk/core/rpc/rpc_internal.h"

#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

static void fill_groups(struct cairn_identity *who, int fd)
{
    socklen_t n = sizeof(who->groups);

    /* With more groups than there is room for the kernel tells none: they count for nothing then. */
    if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, who->groups, &n) == 0)
        who->ngroups = (uint32_t)(n / sizeof(who->groups[0]));
}

static void peer_fill_info(struct cairn_rpc_peer *peer, int fd, bool is_unix)
{
    struct ucred cred;
    socklen_t n = sizeof(cred);
    struct cairn_addr a = { .len = sizeof(a.ss) };

    peer->info.unix_socket = is_unix;
    if (is_unix && getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &n) == 0) {
        peer->info.who.uid = cred.uid;
        peer->info.who.gid = cred.gid;
        peer->info.pid = cred.pid;
        fill_groups(&peer->info.who, fd);
        snprintf(peer->info.addr, sizeof(peer->info.addr), "unix, process %d of user %u", (int)cred.pid,
                 (unsigned)cred.uid);
        return;
    }
    peer->info.who.uid = peer->info.who.gid = CAIRN__NOBODY;
    if (getpeername(fd, (struct sockaddr *)&a.ss, &a.len) == 0) {
        char text[CAIRN_ADDR_TEXT_MAX];

        cairn_addr_format(&a, text);
        snprintf(peer->info.addr, sizeof(peer->info.addr), "%.120s", text);
    }
}

void cairn_rpc_accept(struct cairn_rpc *rpc, int fd, bool is_unix)
{
    struct cairn_rpc_node *node = rpc->node;
    struct cairn_rpc_peer *peer = NULL;

    cairn_rpc__count(&node->counters.accepted);
    if (rpc->drain.begun) {
        cairn_rpc__count(&node->counters.connections_refused);
    } else {
        cairn_addr_tune(fd, is_unix);
        peer = cairn_rpc__peer_accepted(rpc, fd);
    }
    if (peer == NULL) {
        close(fd);
        return;
    }
    peer_fill_info(peer, fd, is_unix);
}

int cairn_rpc_serve(struct cairn_rpc *rpc, struct cairn_rpc_node *node)
{
    rpc->node = node;
    return 0;
}
