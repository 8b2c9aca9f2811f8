/* A real target on one loop, and raw sockets against it: what the tests of those who do not keep to the protocol
 * share. */
#ifndef CAIRN_TESTS_HOSTILE_FIXTURE_H
#define CAIRN_TESTS_HOSTILE_FIXTURE_H

#include "sdk/core/net/addr.h"
#include "sdk/core/rpc/accept.h"
#include "sdk/core/rpc/hello.h"
#include "sdk/core/rpc/peer.h"
#include "sdk/core/rpc/rpc_internal.h"

#include "schema/node.pb-c.h"

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { TURNS_MAX = 20000 };

struct fixture {
    struct cairn_loop loop;
    struct cairn_rpc *rpc;
    struct cairn_rpc *workers[1];
    struct cairn_rpc_node node;
    struct cairn_rpc_target target;
    struct cairn_rpc_budget budget;
    uint32_t pings;
    bool drained;
};

static void handle_ping(struct cairn_rpc_req *rq)
{
    ((struct fixture *)rq->target->ctx)->pings++;
    cairn_rpc_reply(rq, 0, NULL, NULL, 0);
}

static void handle_big(struct cairn_rpc_req *rq)
{
    static uint8_t big[256 << 10];
    struct iovec v = { big, sizeof(big) };

    ((struct fixture *)rq->target->ctx)->pings++;
    cairn_rpc_reply(rq, 0, NULL, &v, 1);
}

/* A text that no frame holds. */
static void handle_huge(struct cairn_rpc_req *rq)
{
    Cairn__Wire__NodeText m = CAIRN__WIRE__NODE_TEXT__INIT;

    m.text = malloc(CAIRN_FRAME_BODY_BYTES_MAX + 1);
    assert_non_null(m.text);
    memset(m.text, 'x', CAIRN_FRAME_BODY_BYTES_MAX);
    m.text[CAIRN_FRAME_BODY_BYTES_MAX] = '\0';
    cairn_rpc_reply(rq, 0, &m.base, NULL, 0);
    free(m.text);
}

static cairn_rpc_handler *const handlers[6] = { handle_ping, NULL, handle_big, NULL, handle_huge };

static int setup(void **state)
{
    struct fixture *fx = calloc(1, sizeof(*fx));
    struct cairn_rpc_conf conf = {
        .ntargets = 1, .inflight_max = 16, .inflight_bytes_max = 1 << 20, .output_bytes_max = 1 << 20
    };

    fx->target =
        (struct cairn_rpc_target){ .iface = &cairn_iface_node, .handlers = handlers, .ctx = fx, .name = "node" };
    conf.targets = &fx->target;
    fx->budget.bytes_max = 8 << 20;
    conf.budget = &fx->budget;
    assert_int_equal(cairn_loop_init(&fx->loop, NULL, NULL), 0);
    fx->rpc = cairn_rpc_new(&fx->loop, &conf, NULL);
    fx->workers[0] = fx->rpc;
    fx->node = (struct cairn_rpc_node){ .incarnation = 1,
                                        .name = "n",
                                        .connections_max = 4,
                                        .workers = fx->workers,
                                        .nworkers = 1,
                                        .session_ttl_ns = CAIRN_NS_PER_S,
                                        .stalled_ns = 50 * CAIRN_NS_PER_MS };
    cairn_rpc_serve(fx->rpc, &fx->node);
    *state = fx;
    return 0;
}

static void on_drained(void *arg)
{
    ((struct fixture *)arg)->drained = true;
}

static int teardown(void **state)
{
    struct fixture *fx = *state;

    cairn_rpc_drain(fx->rpc, cairn_loop_now(&fx->loop) + 100 * CAIRN_NS_PER_MS, on_drained, fx);
    for (int i = 0; i < TURNS_MAX && !fx->drained; i++)
        cairn_loop_turn(&fx->loop, 10 * CAIRN_NS_PER_MS);
    assert_true(fx->drained);
    assert_int_equal(atomic_load(&fx->node.counters.connections), 0);
    assert_int_equal(atomic_load(&fx->budget.bytes), 0);
    cairn_rpc_free(fx->rpc);
    cairn_loop_fini(&fx->loop);
    free(fx);
    return 0;
}

/* Our end of a connection to it. */
static int raw_connect(struct fixture *fx)
{
    int fds[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    cairn_rpc_accept(fx->rpc, fds[0], true);
    return fds[1];
}

static void turns(struct fixture *fx, int n)
{
    for (int i = 0; i < n; i++)
        cairn_loop_turn(&fx->loop, 0);
}

static void raw_send(struct fixture *fx, int fd, const void *p, size_t n)
{
    const uint8_t *b = p;

    for (int i = 0; n > 0 && i < TURNS_MAX; i++) {
        ssize_t w = send(fd, b, n, MSG_NOSIGNAL);

        if (w < 0 && errno == EPIPE)
            return; /* thrown out already */
        if (w > 0) {
            b += w;
            n -= (size_t)w;
        }
        turns(fx, 1);
    }
    turns(fx, 5);
}

/* Reads one whole frame into @buf; its length, or -1 when the connection is closed. */
static int64_t raw_frame(struct fixture *fx, int fd, uint8_t *buf, size_t room, struct cairn_frame *f)
{
    size_t n = 0, need;

    for (int i = 0; i < TURNS_MAX; i++) {
        ssize_t r = recv(fd, buf + n, 1, 0); /* a byte at a time: the next frame stays in the socket */
        int64_t whole;

        if (r == 0 || (r < 0 && errno == ECONNRESET))
            return -1;
        if (r < 0)
            cairn_loop_turn(&fx->loop, CAIRN_NS_PER_MS);
        else
            n++;
        assert_true(n < room);
        whole = cairn_frame_decode(buf, n, f, &need);
        assert_true(whole >= 0);
        if (whole > 0)
            return whole;
    }
    fail_msg("no frame came");
    return -1;
}

static bool is_thrown_out(struct fixture *fx, int fd)
{
    uint8_t buf[4096];

    for (int i = 0; i < TURNS_MAX; i++) {
        ssize_t r = recv(fd, buf, sizeof(buf), 0);

        if (r == 0 || (r < 0 && errno == ECONNRESET))
            return true;
        cairn_loop_turn(&fx->loop, CAIRN_NS_PER_MS);
        if (i > 500)
            return false;
    }
    return false;
}

static size_t put_frame(uint8_t *to, struct cairn_frame f, const ProtobufCMessage *msg)
{
    f.body = to + CAIRN_FRAME_HEADER_BYTES;
    f.body_len = msg != NULL ? (uint32_t)protobuf_c_message_pack(msg, to + CAIRN_FRAME_HEADER_BYTES) : 0;
    f.payload = f.body + f.body_len;
    cairn_frame_encode_header(to, &f);
    return CAIRN_FRAME_HEADER_BYTES + f.body_len;
}

static size_t put_open(uint8_t *to)
{
    Cairn__Wire__HelloOpen m = CAIRN__WIRE__HELLO_OPEN__INIT;
    uint8_t nonce[CAIRN_NONCE_BYTES] = { 1 };

    m.version_min = m.version_max = CAIRN_PROTOCOL_MAX;
    m.nonce.data = nonce;
    m.nonce.len = sizeof(nonce);
    return put_frame(to, (struct cairn_frame){ .kind = CAIRN_FRAME_HELLO, .method = CAIRN_HELLO_OPEN }, &m.base);
}

static int enter(struct fixture *fx)
{
    uint8_t buf[1024];
    struct cairn_frame f;
    int fd = raw_connect(fx);

    raw_send(fx, fd, buf, put_open(buf));
    assert_true(raw_frame(fx, fd, buf, sizeof(buf), &f) > 0);
    assert_int_equal(f.method, CAIRN_HELLO_WELCOME);
    return fd;
}

static size_t put_ping(uint8_t *to, uint32_t id, uint16_t method)
{
    return put_frame(to, (struct cairn_frame){ .kind = CAIRN_FRAME_REQUEST, .method = method, .id = id, .value = 1000 },
                     NULL);
}

static void assert_still_serves(struct fixture *fx)
{
    uint8_t buf[1024];
    struct cairn_frame f;
    int fd = enter(fx);

    raw_send(fx, fd, buf, put_ping(buf, 9, 0));
    assert_true(raw_frame(fx, fd, buf, sizeof(buf), &f) > 0);
    assert_int_equal(f.kind, CAIRN_FRAME_REPLY);
    assert_int_equal(f.id, 9);
    assert_int_equal(f.value, 0);
    close(fd);
    turns(fx, 5);
}

#endif
