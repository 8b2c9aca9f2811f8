/* Datagrams: see dgram.h. */
#include "sdk/core/net/dgram.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { DGRAMS_PER_TURN = 64, DGRAM_BUFFER_BYTES = 1 << 20 };

int cairn_dgram_open(struct cairn_dgram *d, struct cairn_addr *a, struct cairn_err *err)
{
    int room = DGRAM_BUFFER_BYTES, e;
    char text[CAIRN_ADDR_TEXT_MAX];

    memset(d, 0, sizeof(*d));
    d->fd = socket(a->ss.ss_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (d->fd < 0)
        return cairn_err_errno(err, errno, "socket for datagrams");
    /* A burst while the loop is busy should not be lost; the kernel gives less where it must. */
    setsockopt(d->fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof(room));
    if (bind(d->fd, (const struct sockaddr *)&a->ss, a->len) == 0 &&
        getsockname(d->fd, (struct sockaddr *)&a->ss, &a->len) == 0)
        return 0;
    e = errno;
    close(d->fd);
    d->fd = -1;
    cairn_addr_format(a, text);
    memcpy(text, "udp", 3); /* an address does not know what for */
    if (e == EADDRINUSE)
        return cairn_err_set(err, CAIRN_E_LOCKED, "%s is in use by another process", text);
    if (e == EADDRNOTAVAIL)
        return cairn_err_set(err, CAIRN_E_NOTFOUND, "%s is no address of this machine", text);
    return cairn_err_errno(err, e, "%s", text);
}

static void on_readable(void *arg, uint32_t ready)
{
    struct cairn_dgram *d = arg;
    uint8_t bytes[CAIRN_DGRAM_BYTES_MAX];
    struct cairn_addr from;

    (void)ready;
    for (uint32_t i = 0; i < DGRAMS_PER_TURN; i++) {
        ssize_t n;

        from.len = sizeof(from.ss);
        n = recvfrom(d->fd, bytes, sizeof(bytes), MSG_TRUNC, (struct sockaddr *)&from.ss, &from.len);
        if (n < 0)
            return; /* nothing left; other errors are of single packets (ICMP) and were cleared by this */
        d->received++;
        d->received_bytes += (uint64_t)n;
        if ((size_t)n > sizeof(bytes))
            d->oversized++;
        else
            d->fn(d->arg, bytes, (size_t)n, &from);
    }
}

int cairn_dgram_start(struct cairn_dgram *d, struct cairn_loop *loop,
                      void (*fn)(void *arg, const uint8_t *bytes, size_t len, const struct cairn_addr *from), void *arg,
                      struct cairn_err *err)
{
    int rc;

    d->fn = fn;
    d->arg = arg;
    rc = cairn_watch_init(&d->watch, loop, d->fd, on_readable, d);
    d->watched = rc == 0;
    if (rc == 0)
        rc = cairn_watch_arm(&d->watch, CAIRN_WATCH_READ);
    return rc == 0 ? 0 : cairn_err_set(err, rc, "datagrams cannot be waited for");
}

void cairn_dgram_send(struct cairn_dgram *d, const struct cairn_addr *to, const void *bytes, size_t len)
{
    ssize_t n;

    do
        n = sendto(d->fd, bytes, len, MSG_DONTWAIT | MSG_NOSIGNAL, (const struct sockaddr *)&to->ss, to->len);
    while (n < 0 && (errno == EINTR || errno == ECONNREFUSED)); /* the latter is of an earlier packet, told once */
    if (n < 0) {
        d->unsent++;
        return;
    }
    d->sent++;
    d->sent_bytes += len;
}

void cairn_dgram_close(struct cairn_dgram *d)
{
    if (d->watched)
        cairn_watch_fini(&d->watch);
    d->watched = false;
    if (d->fd >= 0)
        close(d->fd);
    d->fd = -1;
}
