/* Listening sockets: they live on worker 0, and connections are dealt out to all workers in turn. */
#include "server/node/node.h"

#include "cairn/limits.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LISTEN_BACKLOG = 1024, ACCEPTS_PER_TURN = 64, ACCEPT_PAUSE_MS = 100, WARN_PAUSE_S = 60 };

/* A socket on its way to its worker. */
struct delivery {
    struct cairn_task task;
    struct cairn_rpc *rpc;
    int fd;
    bool is_unix;
};

static void on_delivery(void *arg)
{
    struct delivery *d = arg;

    cairn_rpc_accept(d->rpc, d->fd, d->is_unix);
    free(d);
}

static void deal_out(struct cairn_listener *l, int fd)
{
    struct cairn_server *s = l->node;
    struct cairn_worker *w = &s->workers[s->next_worker++ % s->nworkers];
    struct delivery *d;

    if (w->index == 0) {
        cairn_rpc_accept(w->rpc, fd, cairn_addr_is_unix(&l->addr));
        return;
    }
    d = malloc(sizeof(*d));
    if (d == NULL) {
        close(fd);
        return;
    }
    *d = (struct delivery){ .rpc = w->rpc, .fd = fd, .is_unix = cairn_addr_is_unix(&l->addr) };
    cairn_task_init(&d->task, on_delivery, d);
    cairn_loop_post(&w->loop, &d->task);
}

static void on_pause_over(void *arg)
{
    struct cairn_listener *l = arg;

    cairn_watch_arm(&l->watch, CAIRN_WATCH_READ);
}

/* Once a minute at most: while descriptors are out there are ten pauses a second. */
static void warn_of_pause(struct cairn_listener *l, uint64_t now, int error)
{
    l->pauses++;
    if (l->warned_ns != 0 && now - l->warned_ns < WARN_PAUSE_S * CAIRN_NS_PER_S)
        return;
    cairn_log_warn("%s: %s: new connections wait (%" PRIu64 " pauses of %d ms so far)", l->text, strerror(error),
                   l->pauses, ACCEPT_PAUSE_MS);
    l->warned_ns = now;
}

static void on_connection(void *arg, uint32_t ready)
{
    struct cairn_listener *l = arg;
    struct cairn_loop *loop = &l->node->workers[0].loop;

    (void)ready;
    for (int i = 0; i < ACCEPTS_PER_TURN; i++) {
        int fd = accept4(l->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC), error = errno;

        if (fd >= 0) {
            deal_out(l, fd);
            continue;
        }
        if (error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM) {
            /* The connection stays in the backlog; without a pause the loop would spin on it. */
            warn_of_pause(l, cairn_loop_now(loop), error);
            if (cairn_timer_start(&loop->env, &l->pause, cairn_loop_now(loop) + ACCEPT_PAUSE_MS * CAIRN_NS_PER_MS) == 0)
                cairn_watch_arm(&l->watch, 0); /* else nobody would ever end the pause */
        }
        if (error != EINTR && error != ECONNABORTED)
            return;
    }
}

int cairn_node__listen(struct cairn_server *s, struct cairn_err *err)
{
    for (uint32_t i = 0; i < s->conf.nlisten; i++) {
        struct cairn_listener *l = &s->listeners[i];
        int rc = cairn_addr_parse(s->conf.listen[i], &l->addr, err);

        if (rc == 0) {
            l->fd = cairn_activation_take(&s->handed, &l->addr);
            l->handed_over = l->fd >= 0;
        }
        if (rc == 0 && !l->handed_over) /* who may come is HELLO's business: a unix socket tells who the other end is */
            rc = cairn_addr_listen(&l->addr, LISTEN_BACKLOG, 0666, &l->fd, err);
        if (rc != 0)
            return rc;
        l->node = s;
        cairn_addr_format(&l->addr, l->text);
        s->addresses[i] = l->text;
        cairn_timer_init(&l->pause, on_pause_over, l);
        s->nlisteners++;
        rc = cairn_watch_init(&l->watch, &s->workers[0].loop, l->fd, on_connection, l);
        if (rc != 0)
            return cairn_err_set(err, rc, "listen on %s", l->text);
    }
    return 0;
}

void cairn_node__listen_start(struct cairn_server *s)
{
    for (uint32_t i = 0; i < s->nlisteners; i++)
        cairn_watch_arm(&s->listeners[i].watch, CAIRN_WATCH_READ);
}

void cairn_node__listen_stop(struct cairn_server *s)
{
    for (uint32_t i = 0; i < s->nlisteners; i++) {
        struct cairn_listener *l = &s->listeners[i];

        cairn_timer_stop(&s->workers[0].loop.env, &l->pause);
        cairn_watch_fini(&l->watch);
        if (cairn_addr_is_unix(&l->addr) && !l->handed_over)
            unlink(((struct sockaddr_un *)&l->addr.ss)->sun_path);
        close(l->fd);
    }
    s->nlisteners = 0;
}
