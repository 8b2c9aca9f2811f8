/** Listening sockets that the service manager made before it started us ($LISTEN_FDS, sd_listen_fds(3)): clients that
 * come while the node restarts wait in their backlog, and a port below 1024 needs no right of ours. */
#ifndef CAIRN_NODE_ACTIVATE_H
#define CAIRN_NODE_ACTIVATE_H

#include "sdk/core/net/addr.h"
#include "server/node/conf/node_conf.h"

enum { CAIRN_HANDED_MAX = CAIRN_NODE_LISTEN_MAX + 1, CAIRN_HANDED_FIRST = 3 }; /* listen, and metrics.listen */

struct cairn_handed {
    struct cairn_addr addr;
    int fd;        /* -1: taken */
    char name[64]; /* of $LISTEN_FDNAMES, for messages */
};

struct cairn_activation {
    struct cairn_handed sockets[CAIRN_HANDED_MAX];
    uint32_t n;
};

/** Takes the sockets, and their variables out of the environment. No other thread may run, and nothing may have been
 * opened before: a descriptor that was promised and is not there would be taken for ours. CAIRN_E_INVAL: not all are
 * listening stream sockets. */
int cairn_activation_read(struct cairn_activation *a, struct cairn_err *err);
/** Each must be at an address that the configuration names, each address once; what it names beyond them is for us to
 * bind. CAIRN_E_CONFIG otherwise. */
int cairn_activation_check(const struct cairn_activation *a, const struct cairn_node_conf *conf, struct cairn_err *err);
/** Is a socket there for this address? NULL is none. */
bool cairn_activation_has(const struct cairn_activation *a, const struct cairn_addr *addr);
/** Gives it away; -1: there is none. */
int cairn_activation_take(struct cairn_activation *a, const struct cairn_addr *addr);
/** Closes those that nobody took. */
void cairn_activation_close(struct cairn_activation *a);

#endif
