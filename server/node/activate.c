/* Sockets handed over: see activate.h. */
#include "server/node/activate.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- addresses ---- */

static bool is_any(const struct cairn_addr *a, in_port_t *port)
{
    const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&a->ss;
    const struct sockaddr_in *in = (const struct sockaddr_in *)&a->ss;

    *port = a->ss.ss_family == AF_INET ? in->sin_port : in6->sin6_port;
    return a->ss.ss_family == AF_INET    ? in->sin_addr.s_addr == htonl(INADDR_ANY)
           : a->ss.ss_family == AF_INET6 ? IN6_IS_ADDR_UNSPECIFIED(&in6->sin6_addr)
                                         : false;
}

static bool is_dual(int fd)
{
    int only = 1;
    socklen_t n = sizeof(only);

    return getsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, &n) == 0 && only == 0;
}

/* "ListenStream=4710" is [::]:4710 for both protocols, and so what 0.0.0.0:4710 asks for. */
static bool serves(const struct cairn_handed *h, const struct cairn_addr *wanted)
{
    char have[CAIRN_ADDR_TEXT_MAX], want[CAIRN_ADDR_TEXT_MAX];
    in_port_t a, b;

    cairn_addr_format(&h->addr, have);
    cairn_addr_format(wanted, want);
    if (strcmp(have, want) == 0)
        return true;
    return h->addr.ss.ss_family == AF_INET6 && wanted->ss.ss_family == AF_INET && is_any(&h->addr, &a) &&
           is_any(wanted, &b) && a == b && is_dual(h->fd);
}

static struct cairn_handed *find(const struct cairn_activation *a, const struct cairn_addr *addr)
{
    for (uint32_t i = 0; i < a->n; i++) {
        if (a->sockets[i].fd >= 0 && serves(&a->sockets[i], addr))
            return (struct cairn_handed *)&a->sockets[i];
    }
    return NULL;
}

bool cairn_activation_has(const struct cairn_activation *a, const struct cairn_addr *addr)
{
    return a != NULL && find(a, addr) != NULL;
}

int cairn_activation_take(struct cairn_activation *a, const struct cairn_addr *addr)
{
    struct cairn_handed *h = find(a, addr);
    int fd = h != NULL ? h->fd : -1;

    if (h != NULL)
        h->fd = -1;
    return fd;
}

void cairn_activation_close(struct cairn_activation *a)
{
    for (uint32_t i = 0; i < a->n; i++) {
        if (a->sockets[i].fd >= 0)
            close(a->sockets[i].fd);
    }
    a->n = 0;
}

/* ---- what was handed over ---- */

/* How many; 0 if they are for another process. */
static long count_for_us(void)
{
    const char *pid = getenv("LISTEN_PID"), *n = getenv("LISTEN_FDS");

    if (pid == NULL || n == NULL || strtol(pid, NULL, 10) != (long)getpid())
        return 0;
    return strtol(n, NULL, 10);
}

/* The name of socket @i in $LISTEN_FDNAMES, for messages. */
static void name_of(const char *names, long i, char *to, size_t len)
{
    for (; names != NULL && i > 0; i--) {
        names = strchr(names, ':');
        names = names != NULL ? names + 1 : NULL;
    }
    snprintf(to, len, "%.*s", names != NULL ? (int)strcspn(names, ":") : 7, names != NULL ? names : "unnamed");
}

static int option(int fd, int what)
{
    int value = 0;
    socklen_t n = sizeof(value);

    return getsockopt(fd, SOL_SOCKET, what, &value, &n) == 0 ? value : -1;
}

static int look_at(struct cairn_handed *h, int fd, struct cairn_err *err)
{
    struct sockaddr_un *un = (struct sockaddr_un *)&h->addr.ss;
    int flags = fcntl(fd, F_GETFL);

    h->fd = fd;
    if (flags < 0)
        return cairn_err_set(err, CAIRN_E_INVAL, "socket '%s' of the service manager: descriptor %d is not open",
                             h->name, fd);
    if (option(fd, SO_TYPE) != SOCK_STREAM || option(fd, SO_ACCEPTCONN) != 1)
        return cairn_err_set(err, CAIRN_E_INVAL,
                             "socket '%s' of the service manager is no listening stream socket "
                             "(in its unit: ListenStream= and Accept=no)",
                             h->name);
    h->addr.len = sizeof(h->addr.ss);
    if (getsockname(fd, (struct sockaddr *)&h->addr.ss, &h->addr.len) != 0 ||
        fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) != 0)
        return cairn_err_errno(err, errno, "socket '%s' of the service manager", h->name);
    if ((un->sun_family != AF_UNIX && un->sun_family != AF_INET && un->sun_family != AF_INET6) ||
        (un->sun_family == AF_UNIX && un->sun_path[0] != '/'))
        return cairn_err_set(err, CAIRN_E_INVAL, "socket '%s' of the service manager has no address that we know",
                             h->name);
    return 0;
}

static bool is_configured(const struct cairn_activation *a, const struct cairn_handed *h, const char *text)
{
    struct cairn_addr addr;

    return text[0] != '\0' && cairn_addr_parse(text, &addr, NULL) == 0 && find(a, &addr) == h;
}

int cairn_activation_check(const struct cairn_activation *a, const struct cairn_node_conf *conf, struct cairn_err *err)
{
    for (uint32_t i = 0; i < a->n; i++) {
        const struct cairn_handed *h = &a->sockets[i];
        bool found = is_configured(a, h, conf->metrics_listen);
        char text[CAIRN_ADDR_TEXT_MAX];

        for (uint32_t j = 0; j < conf->nlisten && !found; j++)
            found = is_configured(a, h, conf->listen[j]);
        if (found)
            continue;
        cairn_addr_format(&h->addr, text);
        return cairn_err_set(err, CAIRN_E_CONFIG,
                             "socket '%s' of the service manager listens on %s, which neither 'listen' nor "
                             "'metrics.listen' names, or which came before",
                             h->name, text);
    }
    return 0;
}

int cairn_activation_read(struct cairn_activation *a, struct cairn_err *err)
{
    long n = count_for_us();
    int rc = 0;

    a->n = 0;
    if (n < 0 || n > CAIRN_HANDED_MAX)
        rc = cairn_err_set(err, CAIRN_E_INVAL, "$LISTEN_FDS is %ld: a node takes %d sockets at most", n,
                           CAIRN_HANDED_MAX);
    for (long i = 0; i < n && rc == 0; i++) {
        struct cairn_handed *h = &a->sockets[a->n++];

        name_of(getenv("LISTEN_FDNAMES"), i, h->name, sizeof(h->name));
        rc = look_at(h, CAIRN_HANDED_FIRST + (int)i, err);
    }
    if (rc != 0)
        cairn_activation_close(a);
    unsetenv("LISTEN_PID");
    unsetenv("LISTEN_FDS");
    unsetenv("LISTEN_FDNAMES");
    return rc;
}
