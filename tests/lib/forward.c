/* A forwarding port: see forward.h. */
#include "tests/lib/forward.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PAIRS_MAX = 64 };

struct pair {
    int client, server; /* -1: none */
    bool swallowed;
};

struct forward {
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    enum forward_mode wanted, mode; /* under mutex; the thread alone writes mode */
    atomic_bool stop;
    int wake, listener;
    uint16_t port, to;
    struct pair pairs[PAIRS_MAX];
};

static void must(bool fine, const char *what)
{
    if (fine)
        return;
    perror(what);
    abort();
}

static struct sockaddr_in local(uint16_t port)
{
    return (struct sockaddr_in){ .sin_family = AF_INET,
                                 .sin_port = htons(port),
                                 .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
}

static int port_open(uint16_t port)
{
    struct sockaddr_in sin = local(port);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;

    must(fd >= 0, "socket");
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    must(bind(fd, (struct sockaddr *)&sin, sizeof(sin)) == 0, "bind");
    must(listen(fd, 64) == 0, "listen");
    return fd;
}

static uint16_t port_of(int fd)
{
    struct sockaddr_in sin;
    socklen_t len = sizeof(sin);

    must(getsockname(fd, (struct sockaddr *)&sin, &len) == 0, "getsockname");
    return ntohs(sin.sin_port);
}

/* Below those that the kernel gives to whoever wants any: what is free now is no other test's a moment later, nor while
 * whoever listens there is started anew. */
uint16_t forward_free_port(void)
{
    enum { FIRST = 11000, PORTS = 21000, TRIES = 1000 };

    for (int i = 0; i < TRIES; i++) {
        uint16_t at, port;
        struct sockaddr_in sin;
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        bool free;

        must(fd >= 0 && getrandom(&at, sizeof(at), 0) == sizeof(at), "a random port");
        port = (uint16_t)(FIRST + at % PORTS);
        sin = local(port);
        free = bind(fd, (struct sockaddr *)&sin, sizeof(sin)) == 0;
        close(fd);
        if (free)
            return port;
    }
    must(false, "a free port");
    return 0;
}

static void pair_close(struct pair *p)
{
    if (p->client >= 0)
        close(p->client);
    if (p->server >= 0)
        close(p->server);
    *p = (struct pair){ -1, -1, false };
}

static void forward_accept(struct forward *f)
{
    struct sockaddr_in sin = local(f->to);
    struct pair p = { accept4(f->listener, NULL, NULL, SOCK_CLOEXEC), -1, false };

    if (p.client < 0)
        return;
    p.server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (p.server >= 0 && connect(p.server, (struct sockaddr *)&sin, sizeof(sin)) == 0) {
        for (int i = 0; i < PAIRS_MAX; i++) {
            if (f->pairs[i].client < 0) {
                f->pairs[i] = p;
                return;
            }
        }
    }
    pair_close(&p);
}

/* False: the connection has ended. */
static bool pass(int from, int to, bool swallow)
{
    char bytes[65536];
    ssize_t n = recv(from, bytes, sizeof(bytes), MSG_DONTWAIT), at = 0;

    while (!swallow && n > 0 && at < n) {
        ssize_t sent = send(to, bytes + at, (size_t)(n - at), MSG_NOSIGNAL);

        if (sent <= 0)
            return false;
        at += sent;
    }
    return n > 0;
}

static void forward_apply(struct forward *f)
{
    pthread_mutex_lock(&f->mutex);
    f->mode = f->wanted;
    if (f->mode == FORWARD_REFUSE && f->listener >= 0) {
        close(f->listener);
        f->listener = -1;
    }
    if (f->mode != FORWARD_REFUSE && f->listener < 0)
        f->listener = port_open(f->port);
    for (int i = 0; i < PAIRS_MAX; i++) {
        if (f->mode == FORWARD_REFUSE || f->stop || (f->mode == FORWARD_PASS && f->pairs[i].swallowed))
            pair_close(&f->pairs[i]);
    }
    pthread_cond_broadcast(&f->changed);
    pthread_mutex_unlock(&f->mutex);
}

static void *on_thread(void *arg)
{
    struct forward *f = arg;

    while (!f->stop) {
        struct pollfd fds[2 + 2 * PAIRS_MAX] = { { .fd = f->wake, .events = POLLIN },
                                                 { .fd = f->listener, .events = POLLIN } };
        uint64_t n;

        for (int i = 0; i < PAIRS_MAX; i++) {
            fds[2 + 2 * i] = (struct pollfd){ .fd = f->pairs[i].client, .events = POLLIN };
            fds[3 + 2 * i] = (struct pollfd){ .fd = f->pairs[i].server, .events = POLLIN };
        }
        if (poll(fds, 2 + 2 * PAIRS_MAX, -1) < 0)
            continue;
        for (int i = 0; i < PAIRS_MAX; i++) {
            struct pair *p = &f->pairs[i];
            bool swallow = f->mode == FORWARD_SWALLOW || f->mode == FORWARD_SEVER, fine = true;

            if (fds[2 + 2 * i].revents != 0)
                fine = pass(p->client, p->server, false);
            if (fine && fds[3 + 2 * i].revents != 0) {
                fine = pass(p->server, p->client, swallow) && f->mode != FORWARD_SEVER;
                p->swallowed = p->swallowed || swallow;
            }
            if (!fine)
                pair_close(p);
        }
        if (fds[1].revents != 0)
            forward_accept(f);
        if (fds[0].revents != 0 && read(f->wake, &n, sizeof(n)) > 0)
            forward_apply(f);
    }
    return NULL;
}

struct forward *forward_new(uint16_t to, uint16_t *port)
{
    struct forward *f = calloc(1, sizeof(*f));

    must(f != NULL, "forward");
    for (int i = 0; i < PAIRS_MAX; i++)
        f->pairs[i] = (struct pair){ -1, -1, false };
    pthread_mutex_init(&f->mutex, NULL);
    pthread_cond_init(&f->changed, NULL);
    f->to = to;
    f->wake = eventfd(0, EFD_CLOEXEC);
    f->listener = port_open(forward_free_port());
    f->port = *port = port_of(f->listener);
    must(pthread_create(&f->thread, NULL, on_thread, f) == 0, "thread");
    return f;
}

void forward_set(struct forward *f, enum forward_mode mode)
{
    uint64_t one = 1;

    pthread_mutex_lock(&f->mutex);
    f->wanted = mode;
    must(write(f->wake, &one, sizeof(one)) == sizeof(one), "wake");
    while (f->mode != mode)
        pthread_cond_wait(&f->changed, &f->mutex);
    pthread_mutex_unlock(&f->mutex);
}

void forward_free(struct forward *f)
{
    uint64_t one = 1;

    pthread_mutex_lock(&f->mutex);
    f->stop = true;
    pthread_mutex_unlock(&f->mutex);
    must(write(f->wake, &one, sizeof(one)) == sizeof(one), "wake");
    pthread_join(f->thread, NULL);
    for (int i = 0; i < PAIRS_MAX; i++)
        pair_close(&f->pairs[i]);
    if (f->listener >= 0)
        close(f->listener);
    close(f->wake);
    free(f);
}
