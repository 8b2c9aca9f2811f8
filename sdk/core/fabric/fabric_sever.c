/* Cutting connections before an endpoint is closed, for providers whose connections are sockets.
 *
 * In libfabric 1.17 tcp reports a read twice if its answer is half received when the endpoint is closed, the second
 * time from freed memory, and rxm follows that to a null pointer: the process crashes, or hangs in a lock. That is how
 * a peer that was stopped, or cut off, amid an answer looks when our patience ends. A connection that the other side
 * loses takes another path through the provider, which is sound. So we lose it: its sockets are shut down and the queue
 * is driven until every operation has come back.
 *
 * libfabric does not tell its sockets, but an endpoint's have its address: what peers connected comes from its
 * listening port, and what it connected leads to the address of a peer with operations under way. Those are peers that
 * have answered as endpoints do; an address that somebody merely claimed has none, and nothing of it is touched. */
#include "sdk/core/fabric/fabric_internal.h"

#include "sdk/core/base/log.h"

#include <dirent.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { SEVER_MS = 100, SEVER_ROUNDS_MIN = 100 };

static bool names_sockets(const struct cairn_fabric *f)
{
    uint32_t format = f->info->addr_format;

    return format == FI_SOCKADDR || format == FI_SOCKADDR_IN || format == FI_SOCKADDR_IN6;
}

/* Family, port and address; padding and scope do not count. */
static bool is_same(const struct sockaddr_storage *a, const struct sockaddr_storage *b)
{
    const struct sockaddr_in *a4 = (const void *)a, *b4 = (const void *)b;
    const struct sockaddr_in6 *a6 = (const void *)a, *b6 = (const void *)b;

    if (a->ss_family != b->ss_family)
        return false;
    if (a->ss_family == AF_INET)
        return a4->sin_port == b4->sin_port && a4->sin_addr.s_addr == b4->sin_addr.s_addr;
    return a->ss_family == AF_INET6 && a6->sin6_port == b6->sin6_port &&
           memcmp(&a6->sin6_addr, &b6->sin6_addr, sizeof(a6->sin6_addr)) == 0;
}

static bool is_busy_peer(const struct cairn_fabric *f, const struct sockaddr_storage *remote)
{
    uint64_t last = UINT64_MAX;

    CAIRN_LIST_FOREACH (l, &f->flying) {
        const struct cairn_fabric_op *op = CONTAINER_OF(l, const struct cairn_fabric_op, link);
        struct sockaddr_storage addr = { 0 };
        size_t len = sizeof(addr);

        if (op->peer == last)
            continue;
        last = op->peer;
        if (fi_av_lookup(f->av, op->peer, &addr, &len) == 0 && is_same(&addr, remote))
            return true;
    }
    return false;
}

static bool is_of(const struct cairn_fabric *f, int fd)
{
    struct sockaddr_storage own = { 0 }, local = { 0 }, remote = { 0 };
    socklen_t local_len = sizeof(local), remote_len = sizeof(remote);

    if (getpeername(fd, (struct sockaddr *)&remote, &remote_len) != 0 ||
        getsockname(fd, (struct sockaddr *)&local, &local_len) != 0)
        return false; /* no socket, or none that is connected */
    memcpy(&own, f->addr, MIN(f->addr_len, sizeof(own)));
    return is_same(&own, &local) || is_busy_peer(f, &remote);
}

static void shut_sockets(const struct cairn_fabric *f)
{
    DIR *dir = opendir("/proc/self/fd");
    struct dirent *e;

    if (dir == NULL) {
        cairn_log_warn("fabric: /proc/self/fd cannot be read: connections are closed as they are");
        return;
    }
    while ((e = readdir(dir)) != NULL) {
        int fd = e->d_name[0] != '.' ? atoi(e->d_name) : -1;

        if (fd > STDERR_FILENO && is_of(f, fd))
            shutdown(fd, SHUT_RDWR);
    }
    closedir(dir);
}

void cairn_fabric__sever(struct cairn_fabric *f)
{
    uint64_t until;
    uint32_t rounds = 0;

    if (f->nflying == 0 || !names_sockets(f))
        return;
    f->severing = true;
    shut_sockets(f);
    until = cairn_env_now_ns(&f->loop->env) + SEVER_MS * CAIRN_NS_PER_MS;
    /* Some rounds in any case: this thread may have stood still for as long. */
    while (f->nflying > 0 && (rounds++ < SEVER_ROUNDS_MIN || cairn_env_now_ns(&f->loop->env) < until))
        cairn_fabric__reap(f);
}
