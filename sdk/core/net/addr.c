/* Addresses and sockets: see addr.h. */
#include "sdk/core/net/addr.h"

#include "sdk/core/base/macros.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int parse_unix(const char *path, struct cairn_addr *a, struct cairn_err *err)
{
    struct sockaddr_un *un = (struct sockaddr_un *)&a->ss;

    if (path[0] != '/')
        return cairn_err_set(err, CAIRN_E_INVAL,
                             "unix://%s: the path must be absolute, as in unix:///run/cairn/node.sock", path);
    if (strlen(path) >= sizeof(un->sun_path))
        return cairn_err_set(err, CAIRN_E_INVAL, "unix://%s: longer than %zu bytes, the limit of unix sockets", path,
                             sizeof(un->sun_path) - 1);
    un->sun_family = AF_UNIX;
    strcpy(un->sun_path, path);
    a->len = sizeof(*un);
    return 0;
}

/* HOST:PORT of @scheme, "tcp" or "udp"; @flags: AI_NUMERICHOST, or 0. */
static int parse_ip(const char *scheme, const char *text, int flags, struct cairn_addr *a, struct cairn_err *err)
{
    struct addrinfo hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM };
    struct addrinfo *found = NULL;
    char host[256];
    const char *colon = strrchr(text, ':');
    size_t n;
    long port;
    char *end;
    int e;

    if (colon == NULL || colon == text)
        return cairn_err_set(err, CAIRN_E_INVAL, "%s://%s: expected %s://HOST:PORT or %s://[IPV6]:PORT", scheme, text,
                             scheme, scheme);
    port = strtol(colon + 1, &end, 10);
    if (end == colon + 1 || *end != '\0' || port < 0 || port > 65535)
        return cairn_err_set(err, CAIRN_E_INVAL, "%s://%s: '%s' is no port number (0 to 65535)", scheme, text,
                             colon + 1);
    n = (size_t)(colon - text);
    if (text[0] == '[' && text[n - 1] == ']') {
        text++;
        n -= 2;
    } else if (memchr(text, ':', n) != NULL) {
        return cairn_err_set(err, CAIRN_E_INVAL, "%s://%s: an IPv6 address stands in brackets: %s://[::1]:7400", scheme,
                             text, scheme);
    }
    if (n == 0 || n >= sizeof(host))
        return cairn_err_set(err, CAIRN_E_INVAL, "%s://%s: no host, or one that is too long", scheme, text);
    memcpy(host, text, n);
    host[n] = '\0';
    hints.ai_flags = flags | AI_NUMERICSERV;
    e = getaddrinfo(host, colon + 1, &hints, &found);
    if (e != 0)
        return cairn_err_set(err, e == EAI_NONAME ? CAIRN_E_NOTFOUND : CAIRN_E_IO, "host '%s': %s", host,
                             gai_strerror(e));
    memcpy(&a->ss, found->ai_addr, found->ai_addrlen);
    a->len = found->ai_addrlen;
    freeaddrinfo(found);
    return 0;
}

static int parse(const char *text, int flags, struct cairn_addr *a, struct cairn_err *err)
{
    memset(a, 0, sizeof(*a));
    if (strncmp(text, "unix://", 7) == 0)
        return parse_unix(text + 7, a, err);
    if (strncmp(text, "tcp://", 6) == 0)
        return parse_ip("tcp", text + 6, flags, a, err);
    return cairn_err_set(err, CAIRN_E_INVAL, "'%.100s' is no address: expected unix:///PATH or tcp://HOST:PORT", text);
}

int cairn_addr_parse(const char *text, struct cairn_addr *a, struct cairn_err *err)
{
    return parse(text, 0, a, err);
}

int cairn_addr_parse_numeric(const char *text, struct cairn_addr *a, struct cairn_err *err)
{
    return parse(text, AI_NUMERICHOST, a, err);
}

int cairn_addr_parse_dgram(const char *text, struct cairn_addr *a, struct cairn_err *err)
{
    memset(a, 0, sizeof(*a));
    if (strncmp(text, "udp://", 6) == 0)
        return parse_ip("udp", text + 6, 0, a, err);
    return cairn_err_set(err, CAIRN_E_INVAL, "'%.100s' is no address for packets: expected udp://HOST:PORT", text);
}

bool cairn_addr_is_unix(const struct cairn_addr *a)
{
    return a->ss.ss_family == AF_UNIX;
}

bool cairn_addr_is_loopback(const struct cairn_addr *a)
{
    if (a->ss.ss_family == AF_INET)
        return ntohl(((const struct sockaddr_in *)&a->ss)->sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
    return a->ss.ss_family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)&a->ss)->sin6_addr);
}

void cairn_addr_format(const struct cairn_addr *a, char *to)
{
    char host[INET6_ADDRSTRLEN] = "?";

    if (cairn_addr_is_unix(a)) {
        snprintf(to, CAIRN_ADDR_TEXT_MAX, "unix://%s", ((const struct sockaddr_un *)&a->ss)->sun_path);
    } else if (a->ss.ss_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&a->ss;

        inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof(host));
        snprintf(to, CAIRN_ADDR_TEXT_MAX, "tcp://[%s]:%u", host, ntohs(in6->sin6_port));
    } else {
        const struct sockaddr_in *in = (const struct sockaddr_in *)&a->ss;

        inet_ntop(AF_INET, &in->sin_addr, host, sizeof(host));
        snprintf(to, CAIRN_ADDR_TEXT_MAX, "tcp://%s:%u", host, ntohs(in->sin_port));
    }
}

void cairn_addr_tune(int fd, bool is_unix)
{
    int one = 1, idle_s = 30, interval_s = 10, count = 3;

    if (is_unix)
        return;
    /* All of these are hints; a socket without them works, only slower. */
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof(idle_s));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval_s, sizeof(interval_s));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof(count));
}

/* A socket file that nobody answers on is left over from a killed process. */
static void remove_stale_socket(const struct cairn_addr *a)
{
    const struct sockaddr_un *un = (const struct sockaddr_un *)&a->ss;
    struct stat st;
    int fd;

    if (lstat(un->sun_path, &st) != 0 || !S_ISSOCK(st.st_mode))
        return;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return;
    if (connect(fd, (const struct sockaddr *)&a->ss, a->len) != 0 && errno == ECONNREFUSED)
        unlink(un->sun_path);
    close(fd);
}

int cairn_addr_listen(struct cairn_addr *a, int backlog, unsigned mode, int *fd, struct cairn_err *err)
{
    char text[CAIRN_ADDR_TEXT_MAX];
    bool is_unix = cairn_addr_is_unix(a);
    int one = 1, s, e;

    cairn_addr_format(a, text);
    s = socket(a->ss.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (s < 0)
        return cairn_err_errno(err, errno, "listen on %s", text);
    if (is_unix)
        remove_stale_socket(a);
    else
        setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (bind(s, (struct sockaddr *)&a->ss, a->len) != 0)
        goto fail;
    if (is_unix && chmod(((struct sockaddr_un *)&a->ss)->sun_path, mode) != 0)
        goto fail;
    if (listen(s, backlog) != 0)
        goto fail;
    if (!is_unix) {
        a->len = sizeof(a->ss);
        if (getsockname(s, (struct sockaddr *)&a->ss, &a->len) != 0)
            goto fail;
    }
    *fd = s;
    return 0;
fail:
    e = errno;
    close(s);
    return cairn_err_errno(err, e, "listen on %s", text);
}

/* Whether somebody answers at this unix socket, or something else stands at its path. */
static int probe_unix(const struct cairn_addr *a, const char *text, struct cairn_err *err)
{
    const struct sockaddr_un *un = (const struct sockaddr_un *)&a->ss;
    struct stat st;
    int fd, rc = 0;

    if (lstat(un->sun_path, &st) != 0)
        return 0;
    if (!S_ISSOCK(st.st_mode))
        return cairn_err_set(err, CAIRN_E_LOCKED, "listen on %s: a file that is no socket stands there", text);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return cairn_err_errno(err, errno, "listen on %s", text);
    if (connect(fd, (const struct sockaddr *)&a->ss, a->len) == 0)
        rc = cairn_err_set(err, CAIRN_E_LOCKED, "listen on %s: another process answers there", text);
    close(fd);
    return rc;
}

int cairn_addr_probe(const struct cairn_addr *a, struct cairn_err *err)
{
    char text[CAIRN_ADDR_TEXT_MAX];
    struct cairn_addr copy = *a;
    int fd, rc;

    cairn_addr_format(a, text);
    if (cairn_addr_is_unix(a))
        return probe_unix(a, text, err);
    rc = cairn_addr_listen(&copy, 1, 0, &fd, err);
    if (rc == 0)
        close(fd);
    return rc;
}

int cairn_addr_connect(const struct cairn_addr *a, int *fd, struct cairn_err *err)
{
    char text[CAIRN_ADDR_TEXT_MAX];
    int s = socket(a->ss.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int rc;

    cairn_addr_format(a, text);
    if (s < 0)
        return cairn_err_errno(err, errno, "connect to %s", text);
    cairn_addr_tune(s, cairn_addr_is_unix(a));
    if (connect(s, (const struct sockaddr *)&a->ss, a->len) == 0 || errno == EINPROGRESS) {
        *fd = s;
        return 0;
    }
    rc = cairn_err_errno(err, errno, "connect to %s", text);
    close(s);
    /* EAGAIN: the backlog of a unix socket is full; a missing or dead socket file: nobody is there yet. */
    if (rc == CAIRN_E_IO || rc == CAIRN_E_NOTFOUND)
        rc = CAIRN_E_UNREACHABLE;
    if (err != NULL)
        err->code = rc;
    return rc;
}
