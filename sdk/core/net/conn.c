/* Byte streams that carry frames: see conn.h. */
#include "sdk/core/net/conn.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CONN_WRITE_IOV_MAX = 64, CONN_IN_FIRST_BYTES = 512 };

struct cairn_net_chunk {
    struct cairn_net_chunk *next;
    size_t room, start, end;
    uint8_t bytes[];
};

static void on_turn_end(void *arg)
{
    struct cairn_net *net = arg;
    struct cairn_link *l;

    while ((l = cairn_list_pop(&net->dirty)) != NULL)
        cairn_conn_flush(CONTAINER_OF(l, struct cairn_conn, dirty));
}

/* What was written between turns, by the loop's owner, must not wait for one. */
static bool on_before_sleep(void *arg)
{
    on_turn_end(arg);
    return false;
}

int cairn_net_init(struct cairn_net *net, struct cairn_loop *loop)
{
    memset(net, 0, sizeof(*net));
    net->loop = loop;
    cairn_list_init(&net->dirty);
    net->hook.before_sleep = on_before_sleep;
    net->hook.flush = on_turn_end;
    net->hook.arg = net;
    cairn_hook_add(loop, &net->hook);
    return 0;
}

void cairn_net_fini(struct cairn_net *net)
{
    CAIRN_ASSERT(cairn_list_is_empty(&net->dirty));
    cairn_hook_del(&net->hook);
    while (net->spare != NULL) {
        struct cairn_net_chunk *c = net->spare;

        net->spare = c->next;
        free(c);
    }
    free(net->read_buffer);
}

/* ---- output ---- */

static struct cairn_net_chunk *chunk_new(struct cairn_net *net, size_t room)
{
    struct cairn_net_chunk *c;

    if (room <= CAIRN_NET_CHUNK_BYTES && net->spare != NULL) {
        c = net->spare;
        net->spare = c->next;
        net->nspare--;
    } else {
        room = MAX(room, (size_t)CAIRN_NET_CHUNK_BYTES);
        c = malloc(sizeof(*c) + room);
        if (c == NULL)
            return NULL;
        c->room = room;
    }
    c->next = NULL;
    c->start = c->end = 0;
    return c;
}

static void chunk_free(struct cairn_net *net, struct cairn_net_chunk *c)
{
    if (c->room != CAIRN_NET_CHUNK_BYTES || net->nspare >= CAIRN_NET_SPARE_CHUNKS_MAX) {
        free(c);
        return;
    }
    c->next = net->spare;
    net->spare = c;
    net->nspare++;
}

uint8_t *cairn_conn_reserve(struct cairn_conn *c, size_t n)
{
    struct cairn_net_chunk *last = c->out_last;

    if (last == NULL || last->room - last->end < n) {
        last = chunk_new(c->net, n);
        if (last == NULL)
            return NULL;
        if (c->out_last != NULL)
            c->out_last->next = last;
        else
            c->out = last;
        c->out_last = last;
    }
    return last->bytes + last->end;
}

/* Looked at only when there is enough for a connection alone. */
static bool conn_is_full(const struct cairn_conn *c)
{
    if (c->out_frames >= CAIRN_NET_FLUSH_FRAMES)
        return true;
    return c->out_bytes >= CAIRN_NET_FLUSH_BYTES &&
           (c->out_bytes >= CAIRN_NET_FLUSH_BUSY_BYTES || !cairn_loop_has_ready(c->net->loop));
}

void cairn_conn_commit(struct cairn_conn *c, size_t n)
{
    c->out_last->end += n;
    c->out_bytes += n;
    c->out_frames++;
    if (c->blocked || c->broken)
        return;
    if (conn_is_full(c))
        cairn_conn_flush(c);
    else if (cairn_list_is_empty(&c->dirty))
        cairn_list_add_tail(&c->net->dirty, &c->dirty);
}

static void conn_drop_sent(struct cairn_conn *c, size_t n)
{
    c->out_bytes -= n;
    c->sent_bytes += n;
    while (c->out != NULL) {
        struct cairn_net_chunk *k = c->out;
        size_t part = MIN(n, k->end - k->start);

        k->start += part;
        n -= part;
        if (k->start < k->end)
            return;
        c->out = k->next;
        if (c->out == NULL)
            c->out_last = NULL;
        chunk_free(c->net, k);
    }
    CAIRN_ASSERT(n == 0);
}

/* The loss is told later, from the loop: never inside a call of the user's. */
static void conn_break(struct cairn_conn *c, int rc)
{
    if (c->broken || c->closed)
        return;
    c->broken = true;
    c->lost_rc = rc;
    cairn_watch_arm(&c->watch, 0);
    cairn_list_del(&c->dirty);
    cairn_env_defer(&c->net->loop->env, &c->again);
}

void cairn_conn_fail(struct cairn_conn *c, int rc)
{
    conn_break(c, rc);
}

static void conn_arm(struct cairn_conn *c)
{
    uint32_t what = (c->paused ? 0 : (uint32_t)CAIRN_WATCH_READ) | (c->blocked ? (uint32_t)CAIRN_WATCH_WRITE : 0);

    if (!c->broken && !c->closed && cairn_watch_arm(&c->watch, what) != 0)
        conn_break(c, CAIRN_E_NOMEM);
}

static void conn_say_stalled(struct cairn_conn *c)
{
    if (c->ops->stalled != NULL)
        c->ops->stalled(c);
}

void cairn_conn_flush(struct cairn_conn *c)
{
    cairn_list_del(&c->dirty);
    c->out_frames = 0;
    while (c->out_bytes > 0 && !c->broken) {
        struct iovec iov[CONN_WRITE_IOV_MAX];
        struct msghdr m = { .msg_iov = iov };
        ssize_t w;

        for (struct cairn_net_chunk *k = c->out; k != NULL && m.msg_iovlen < CONN_WRITE_IOV_MAX; k = k->next) {
            iov[m.msg_iovlen].iov_base = k->bytes + k->start;
            iov[m.msg_iovlen++].iov_len = k->end - k->start;
        }
        w = m.msg_iovlen == 1 ? send(c->watch.fd, iov->iov_base, iov->iov_len, MSG_NOSIGNAL | MSG_DONTWAIT)
                              : sendmsg(c->watch.fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT); /* which the kernel unpacks */
        if (w < 0 && errno == EINTR)
            continue;
        if (w < 0 && errno != EAGAIN) {
            conn_break(c, cairn_err_of_errno(errno));
            return;
        }
        if (w < 0) {
            if (!c->blocked) {
                c->blocked = true;
                c->out_since_ns = cairn_loop_now(c->net->loop);
                conn_arm(c);
                conn_say_stalled(c);
            }
            return;
        }
        conn_drop_sent(c, (size_t)w);
        if (c->blocked)
            c->out_since_ns = cairn_loop_now(c->net->loop);
    }
    if (c->blocked && !c->broken) {
        c->blocked = false;
        c->out_since_ns = 0;
        conn_arm(c);
        if (c->ops->drained != NULL)
            c->ops->drained(c);
    }
}

/* ---- input ---- */

/* Keeps @n bytes for later, behind what is kept already. */
static int conn_keep(struct cairn_conn *c, const uint8_t *p, size_t n, size_t need)
{
    size_t want = MAX(c->in_len + n, need);

    if (want > c->in_room) {
        size_t room = MAX(want, (size_t)CONN_IN_FIRST_BYTES);
        uint8_t *in = realloc(c->in, room);

        if (in == NULL)
            return CAIRN_E_NOMEM;
        c->in = in;
        c->in_room = room;
    }
    memmove(c->in + c->in_len, p, n);
    c->in_len += n;
    if (c->in_since_ns == 0) {
        c->in_since_ns = cairn_loop_now(c->net->loop);
        conn_say_stalled(c);
    }
    return 0;
}

static void conn_drop_kept(struct cairn_conn *c)
{
    free(c->in);
    c->in = NULL;
    c->in_len = c->in_room = c->in_need = 0;
    c->in_since_ns = 0;
}

/* Hands out the frames of [p, p+n). Returns how many bytes were used up, or an error of the stream. Stops when the user
 * pauses or closes. *@need is set to the whole length of the frame that is not complete. */
static int64_t conn_decode(struct cairn_conn *c, const uint8_t *p, size_t n, size_t *need)
{
    size_t at = 0;

    while (!c->paused && !c->closed && !c->broken) {
        struct cairn_frame f;
        int64_t used = cairn_frame_decode(p + at, n - at, &f, need);

        if (used < 0)
            return used;
        if (*need > c->frame_bytes_max)
            return CAIRN_E_TOOBIG;
        if (used == 0)
            break;
        at += (size_t)used;
        if (!c->ops->frame(c, &f)) {
            c->paused = true;
            *need = 0; /* of the next frame nothing is known: what is kept of it needs no more room than it has */
        }
    }
    return (int64_t)at;
}

/* Frames that were kept because the user had paused, or because the last one was not whole. */
static void conn_decode_kept(struct cairn_conn *c)
{
    size_t need = 0;
    uint8_t *in = c->in;
    size_t len = c->in_len, room = c->in_room;
    int64_t used;

    c->in = NULL; /* the frames point into it, whatever the user does meanwhile */
    c->in_len = c->in_room = 0;
    c->in_since_ns = 0;
    used = conn_decode(c, in, len, &need);
    if (c->closed || used < 0) {
        free(in);
        if (used < 0)
            conn_break(c, (int)used);
        return;
    }
    c->in_need = need;
    if ((size_t)used == len) {
        free(in);
        c->in_need = 0;
        return;
    }
    memmove(in, in + used, len - (size_t)used);
    CAIRN_ASSERT(c->in == NULL);
    c->in = in;
    c->in_len = len - (size_t)used;
    c->in_room = room;
    c->in_since_ns = cairn_loop_now(c->net->loop);
    conn_say_stalled(c);
    if (need > room && conn_keep(c, in, 0, need) != 0)
        conn_break(c, CAIRN_E_NOMEM);
}

/* @n fresh bytes in the read buffer. */
static void conn_take(struct cairn_conn *c, const uint8_t *p, size_t n)
{
    size_t need = 0;
    int64_t used = 0;

    if (c->in_len == 0 && !c->paused) {
        used = conn_decode(c, p, n, &need);
        if (used < 0) {
            conn_break(c, (int)used);
            return;
        }
        if (c->closed)
            return;
        c->in_need = need;
    }
    if ((size_t)used < n && conn_keep(c, p + used, n - (size_t)used, c->in_need) != 0)
        conn_break(c, CAIRN_E_NOMEM);
}

static void conn_read(struct cairn_conn *c)
{
    struct cairn_net *net = c->net;
    struct iovec iov[2];
    int n = 0;
    size_t first = 0;
    ssize_t r;

    if (net->read_buffer == NULL) {
        net->read_buffer = malloc(CAIRN_NET_READ_BYTES);
        if (net->read_buffer == NULL) {
            conn_break(c, CAIRN_E_NOMEM);
            return;
        }
    }
    /* The rest of a frame that has begun goes straight behind its beginning. */
    if (c->in_len > 0 && c->in_need > c->in_len) {
        first = MIN(c->in_need, c->in_room) - c->in_len;
        iov[n].iov_base = c->in + c->in_len;
        iov[n++].iov_len = first;
    }
    iov[n].iov_base = net->read_buffer;
    iov[n++].iov_len = CAIRN_NET_READ_BYTES;
    do
        r = n == 1 ? recv(c->watch.fd, iov->iov_base, iov->iov_len, 0) : readv(c->watch.fd, iov, n);
    while (r < 0 && errno == EINTR);
    if (r < 0 && errno == EAGAIN)
        return;
    if (r <= 0) {
        conn_break(c, r == 0 ? CAIRN_E_CLOSED : cairn_err_of_errno(errno));
        return;
    }
    c->received_bytes += (uint64_t)r;
    if ((size_t)r < first) {
        c->in_len += (size_t)r;
        return;
    }
    if (first > 0) {
        c->in_len += first;
        conn_decode_kept(c);
        if (c->closed || c->broken)
            return;
    }
    if ((size_t)r > first) {
        /* A header that is whole only now may have told of a longer frame. */
        conn_take(c, net->read_buffer, (size_t)r - first);
        if (c->in_len > 0 && !c->paused && !c->closed && !c->broken && c->in_len >= c->in_need)
            conn_decode_kept(c);
    }
}

static void on_ready(void *arg, uint32_t ready)
{
    struct cairn_conn *c = arg;

    if (ready == CAIRN_WATCH_READ)
        conn_read(c);
    else
        cairn_conn_flush(c);
    if (c->paused && !c->closed)
        conn_arm(c);
}

static void on_again(void *arg)
{
    struct cairn_conn *c = arg;

    if (c->broken) {
        c->ops->lost(c, c->lost_rc);
        return;
    }
    if (c->in_len > 0 && !c->paused)
        conn_decode_kept(c);
    if (!c->closed)
        conn_arm(c);
}

void cairn_conn_resume(struct cairn_conn *c)
{
    if (!c->paused || c->closed)
        return;
    c->paused = false;
    cairn_env_defer(&c->net->loop->env, &c->again); /* which also arms the descriptor */
}

/* ---- life ---- */

int cairn_conn_open(struct cairn_conn *c, struct cairn_net *net, int fd, const struct cairn_conn_ops *ops)
{
    int rc;

    memset(c, 0, sizeof(*c));
    c->net = net;
    c->ops = ops;
    c->frame_bytes_max = CAIRN_HELLO_BYTES_MAX;
    cairn_list_init(&c->dirty);
    cairn_task_init(&c->again, on_again, c);
    rc = cairn_watch_init(&c->watch, net->loop, fd, on_ready, c);
    if (rc == 0)
        rc = cairn_watch_arm(&c->watch, CAIRN_WATCH_READ);
    if (rc != 0)
        cairn_watch_fini(&c->watch);
    return rc;
}

static void conn_forget(struct cairn_conn *c)
{
    c->closed = true;
    cairn_watch_fini(&c->watch);
    cairn_list_del(&c->dirty);
    cairn_task_cancel(&c->again);
    while (c->out != NULL) {
        struct cairn_net_chunk *k = c->out;

        c->out = k->next;
        chunk_free(c->net, k);
    }
    c->out_last = NULL;
    c->out_bytes = 0;
}

void cairn_conn_close(struct cairn_conn *c)
{
    int fd = c->watch.fd;

    if (c->closed)
        return;
    conn_forget(c);
    conn_drop_kept(c);
    close(fd);
}

int cairn_conn_release(struct cairn_conn *c, uint8_t **bytes, size_t *n)
{
    int fd = c->watch.fd;

    conn_forget(c);
    *bytes = c->in;
    *n = c->in_len;
    c->in = NULL;
    c->in_len = c->in_room = 0;
    return fd;
}
