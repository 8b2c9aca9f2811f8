/* A node's door against those who do not keep to the protocol: raw sockets against a real target. */
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

    m.version_min = m.version_max = 1;
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

static void nothing_but_hello_before_hello(void **state)
{
    struct fixture *fx = *state;
    uint8_t buf[1024];
    int fd = raw_connect(fx);

    raw_send(fx, fd, buf, put_ping(buf, 1, 0));
    assert_true(is_thrown_out(fx, fd));
    assert_int_equal(fx->pings, 0);
    assert_int_equal(atomic_load(&fx->node.counters.frames_malformed), 1);
    close(fd);
    assert_still_serves(fx);
}

/* Whoever connects and says nothing has 5 s, of which all but a few are skipped here. */
static void silence_instead_of_hello_is_cut_off(void **state)
{
    struct fixture *fx = *state;
    int fd = raw_connect(fx);
    struct cairn_rpc_peer *peer = CONTAINER_OF(fx->rpc->greeters.next, struct cairn_rpc_peer, greeting);
    uint64_t now = cairn_loop_now(&fx->loop);

    assert_int_equal(CAIRN_HELLO_MS_MAX, 5000);
    assert_in_range(peer->hello_deadline_ns, now, now + CAIRN_HELLO_MS_MAX * CAIRN_NS_PER_MS);
    peer->hello_deadline_ns = now + 5 * CAIRN_NS_PER_MS;
    cairn_rpc__peer_want(peer, peer->hello_deadline_ns);
    assert_true(is_thrown_out(fx, fd));
    assert_int_equal(atomic_load(&fx->node.counters.hello_timeouts), 1);
    assert_int_equal(atomic_load(&fx->node.counters.greeting), 0);
    close(fd);
    assert_still_serves(fx);
}

static void a_second_hello_is_refused(void **state)
{
    struct fixture *fx = *state;
    uint8_t buf[1024];
    int fd = enter(fx);

    raw_send(fx, fd, buf, put_open(buf));
    assert_true(is_thrown_out(fx, fd));
    close(fd);
    assert_still_serves(fx);
}

static void hello_may_not_be_large(void **state)
{
    struct fixture *fx = *state;
    struct cairn_frame f = { .kind = CAIRN_FRAME_HELLO, .method = CAIRN_HELLO_OPEN, .body_len = CAIRN_HELLO_BYTES_MAX };
    static uint8_t buf[CAIRN_FRAME_HEADER_BYTES + CAIRN_HELLO_BYTES_MAX];
    int fd = raw_connect(fx);

    f.body = buf + CAIRN_FRAME_HEADER_BYTES;
    cairn_frame_encode_header(buf, &f);
    raw_send(fx, fd, buf, CAIRN_FRAME_HEADER_BYTES); /* the header alone is enough */
    assert_true(is_thrown_out(fx, fd));
    close(fd);
    assert_still_serves(fx);
}

static void garbage_closes_the_connection_only(void **state)
{
    struct fixture *fx = *state;
    uint8_t buf[1024];
    int good = enter(fx), fd = enter(fx);
    struct cairn_frame f;

    memset(buf, 'G', sizeof(buf));
    raw_send(fx, fd, buf, sizeof(buf));
    assert_true(is_thrown_out(fx, fd));
    close(fd);
    raw_send(fx, good, buf, put_ping(buf, 3, 0)); /* others are unaffected */
    assert_true(raw_frame(fx, good, buf, sizeof(buf), &f) > 0);
    assert_int_equal(f.id, 3);
    close(good);
}

/* Each damage ends its own connection and is counted: a bit that flipped on the way, frames in the wrong order. */
static void damaged_and_reordered_frames_are_counted(void **state)
{
    struct fixture *fx = *state;
    uint8_t buf[1024], bad[1024];
    int good = enter(fx), fd;
    struct cairn_frame f;
    uint64_t n = 0;

    for (uint32_t bit = 0; bit < 8 * CAIRN_FRAME_HEADER_BYTES; bit++) {
        size_t len = put_ping(bad, 1, 0);

        fd = enter(fx);
        bad[bit / 8] ^= (uint8_t)(1U << bit % 8);
        raw_send(fx, fd, bad, len);
        assert_true(is_thrown_out(fx, fd));
        /* One that seems longer than it is looks like half a frame. */
        assert_int_equal(atomic_load(&fx->node.counters.frames_malformed) +
                             atomic_load(&fx->node.counters.slow_readers_closed),
                         ++n);
        close(fd);
    }
    n = atomic_load(&fx->node.counters.frames_malformed);
    assert_true(n > 8 * (CAIRN_FRAME_HEADER_BYTES - 2 * sizeof(uint32_t))); /* all but some bits of two lengths */
    fd = raw_connect(fx); /* the second frame of HELLO before the first */
    raw_send(fx, fd, bad,
             put_frame(bad, (struct cairn_frame){ .kind = CAIRN_FRAME_HELLO, .method = CAIRN_HELLO_PROOF }, NULL));
    assert_true(is_thrown_out(fx, fd));
    assert_int_equal(atomic_load(&fx->node.counters.frames_malformed), ++n);
    close(fd);
    assert_int_equal(fx->pings, 0);
    raw_send(fx, good, buf, put_ping(buf, 3, 0)); /* others are unaffected */
    assert_true(raw_frame(fx, good, buf, sizeof(buf), &f) > 0);
    assert_int_equal(f.id, 3);
    close(good);
}

/* A frame may arrive in any pieces. */
static void torn_frames_are_put_together(void **state)
{
    struct fixture *fx = *state;
    uint8_t buf[1024];
    struct cairn_frame f;
    int fd = enter(fx);
    size_t n = put_ping(buf, 5, 0);

    n += put_ping(buf + n, 6, 0);
    for (size_t i = 0; i < n; i++)
        raw_send(fx, fd, buf + i, 1);
    assert_int_equal(fx->pings, 2);
    assert_true(raw_frame(fx, fd, buf, sizeof(buf), &f) > 0);
    assert_int_equal(f.id, 5);
    assert_true(raw_frame(fx, fd, buf, sizeof(buf), &f) > 0);
    assert_int_equal(f.id, 6);
    close(fd);
}

/* Half a frame and then nothing: closed when its time is over. */
static void half_a_frame_does_not_wait_for_ever(void **state)
{
    struct fixture *fx = *state;
    uint8_t buf[1024];
    int fd = enter(fx);

    put_ping(buf, 2, 0);
    raw_send(fx, fd, buf, 20);
    assert_true(is_thrown_out(fx, fd));
    assert_int_equal(atomic_load(&fx->node.counters.slow_readers_closed), 1);
    close(fd);
    assert_still_serves(fx);
}

/* Whoever says goodbye is let go, even if it leaves the closing to us. */
static void a_goodbye_is_answered_by_the_end(void **state)
{
    struct fixture *fx = *state;
    uint8_t buf[1024];
    struct cairn_frame f;
    int fd = enter(fx);
    size_t n = put_ping(buf, 4, 0);

    n += put_frame(buf + n, (struct cairn_frame){ .kind = CAIRN_FRAME_GOODBYE }, NULL);
    raw_send(fx, fd, buf, n);
    assert_true(raw_frame(fx, fd, buf, sizeof(buf), &f) > 0);
    assert_int_equal(f.id, 4);
    assert_true(is_thrown_out(fx, fd));
    close(fd);
    assert_still_serves(fx);
}

/* Lists grow without asking: one that outgrows a frame is an error for who wants it, not the end of the node. */
static void an_answer_that_fits_no_frame_is_an_error(void **state)
{
    struct fixture *fx = *state;
    uint8_t buf[1024];
    struct cairn_frame f;
    int fd = enter(fx);

    raw_send(fx, fd, buf, put_ping(buf, 8, 4));
    assert_true(raw_frame(fx, fd, buf, sizeof(buf), &f) > 0);
    assert_int_equal(f.id, 8);
    assert_int_equal(f.value, CAIRN_E_TOOBIG);
    close(fd);
    assert_still_serves(fx);
}

/* Another worker may still hand a connection over to one that has drained. */
static void who_has_drained_takes_nobody(void **state)
{
    struct fixture *fx = *state;
    int fd;

    cairn_rpc_drain(fx->rpc, cairn_loop_now(&fx->loop) + 100 * CAIRN_NS_PER_MS, on_drained, fx);
    for (int i = 0; i < TURNS_MAX && !fx->drained; i++)
        cairn_loop_turn(&fx->loop, 10 * CAIRN_NS_PER_MS);
    assert_true(fx->drained);
    fd = raw_connect(fx);
    assert_true(cairn_rpc_is_idle(fx->rpc));
    assert_true(is_thrown_out(fx, fd));
    close(fd);
    fx->drained = false;
}

/* Asks for a lot and reads nothing: what is buffered for it stays bounded, and it is closed. */
static void a_slow_reader_is_bounded_and_closed(void **state)
{
    struct fixture *fx = *state;
    uint8_t buf[64];
    int fd = enter(fx), sent = 0;
    uint64_t most = 0;

    for (int i = 0; i < 400; i++) {
        size_t n = put_ping(buf, (uint32_t)i, 2);

        if (send(fd, buf, n, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)n)
            sent++;
        cairn_loop_turn(&fx->loop, 0);
        if (atomic_load(&fx->budget.bytes) > most)
            most = atomic_load(&fx->budget.bytes);
    }
    assert_true(sent > 100);
    assert_true(fx->pings < 20); /* 256 KiB each, and 1 MiB of output at the most */
    assert_true(most < (3 << 20));
    for (int i = 0; i < 500 && atomic_load(&fx->node.counters.slow_readers_closed) == 0; i++)
        cairn_loop_turn(&fx->loop, CAIRN_NS_PER_MS);
    assert_int_equal(atomic_load(&fx->node.counters.slow_readers_closed), 1);
    close(fd);
    assert_still_serves(fx);
}

/* More requests at a time than it was given credits for: taken as credits come free, all answered. */
static void ignoring_credits_only_slows(void **state)
{
    struct fixture *fx = *state;
    static uint8_t buf[200 * CAIRN_FRAME_HEADER_BYTES], in[1024];
    struct cairn_frame f;
    size_t n = 0;
    int fd = enter(fx);

    for (uint32_t i = 0; i < 200; i++)
        n += put_ping(buf + n, i, 0);
    raw_send(fx, fd, buf, n);
    for (uint32_t i = 0; i < 200; i++) {
        assert_true(raw_frame(fx, fd, in, sizeof(in), &f) > 0);
        assert_int_equal(f.id, i);
    }
    close(fd);
}

static void too_many_connections_are_refused(void **state)
{
    struct fixture *fx = *state;
    uint8_t buf[1024];
    struct cairn_frame f;
    int fds[4], fd;

    for (int i = 0; i < 4; i++)
        fds[i] = enter(fx);
    fd = raw_connect(fx);
    raw_send(fx, fd, buf, put_open(buf));
    assert_true(raw_frame(fx, fd, buf, sizeof(buf), &f) > 0);
    assert_int_equal(f.method, CAIRN_HELLO_REFUSED_STEP); /* it is told why */
    assert_int_equal(f.value, CAIRN_E_LIMIT);
    assert_true(is_thrown_out(fx, fd));
    assert_int_equal(atomic_load(&fx->node.counters.connections_refused), 1);
    close(fd);
    for (int i = 0; i < 4; i++)
        close(fds[i]);
    turns(fx, 5);
    assert_still_serves(fx);
}

/* Whoever can reach the node may open connections without end and prove nothing: users get in all the same, all that the limit
 * allows, and the strangers' own are closed, oldest first. */
static void strangers_do_not_lock_users_out(void **state)
{
    enum { STRANGERS = 40, MAY_WAIT = 8 };
    struct fixture *fx = *state;
    int strangers[STRANGERS], users[4];
    uint8_t buf[8];

    for (int i = 0; i < STRANGERS; i++) {
        strangers[i] = raw_connect(fx);
        turns(fx, 1);
    }
    assert_int_equal(atomic_load(&fx->node.counters.greeting), MAY_WAIT);
    assert_int_equal(atomic_load(&fx->node.counters.connections), MAY_WAIT);
    assert_int_equal(atomic_load(&fx->node.counters.greeters_displaced), STRANGERS - MAY_WAIT);
    for (int i = 0; i < STRANGERS - MAY_WAIT; i++)
        assert_true(is_thrown_out(fx, strangers[i]));
    for (int i = STRANGERS - MAY_WAIT; i < STRANGERS; i++)
        assert_true(recv(strangers[i], buf, sizeof(buf), 0) < 0 && errno == EAGAIN); /* open still */
    for (int i = 0; i < 4; i++)
        users[i] = enter(fx);
    assert_int_equal(atomic_load(&fx->node.counters.connections_refused), 0);
    for (int i = 0; i < 4; i++)
        close(users[i]);
    for (int i = 0; i < STRANGERS; i++)
        close(strangers[i]);
    turns(fx, 5);
    assert_int_equal(atomic_load(&fx->node.counters.greeting), 0);
    assert_still_serves(fx);
}

static void an_answer_to_nothing_is_an_error(void **state)
{
    struct fixture *fx = *state;
    uint8_t buf[64];
    int fd = enter(fx);

    raw_send(fx, fd, buf, put_frame(buf, (struct cairn_frame){ .kind = CAIRN_FRAME_REPLY, .id = 1 }, NULL));
    assert_true(is_thrown_out(fx, fd));
    close(fd);
    assert_still_serves(fx);
}

static void cancel_of_nothing_is_harmless(void **state)
{
    struct fixture *fx = *state;
    uint8_t buf[64];
    struct cairn_frame f;
    int fd = enter(fx);

    raw_send(fx, fd, buf, put_frame(buf, (struct cairn_frame){ .kind = CAIRN_FRAME_CANCEL, .id = 1234 }, NULL));
    raw_send(fx, fd, buf, put_ping(buf, 1, 0));
    assert_true(raw_frame(fx, fd, buf, sizeof(buf), &f) > 0);
    assert_int_equal(f.value, 0);
    close(fd);
}

static void newer_protocol_is_told_so(void **state)
{
    struct fixture *fx = *state;
    Cairn__Wire__HelloOpen m = CAIRN__WIRE__HELLO_OPEN__INIT;
    uint8_t nonce[CAIRN_NONCE_BYTES] = { 1 }, buf[1024];
    struct cairn_frame f;
    int fd = raw_connect(fx);

    m.version_min = 7;
    m.version_max = 9;
    m.nonce.data = nonce;
    m.nonce.len = sizeof(nonce);
    raw_send(fx, fd, buf,
             put_frame(buf, (struct cairn_frame){ .kind = CAIRN_FRAME_HELLO, .method = CAIRN_HELLO_OPEN }, &m.base));
    assert_true(raw_frame(fx, fd, buf, sizeof(buf), &f) > 0);
    assert_int_equal(f.method, CAIRN_HELLO_REFUSED_STEP);
    assert_int_equal(f.value, CAIRN_E_VERSION);
    assert_true(is_thrown_out(fx, fd));
    close(fd);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(silence_instead_of_hello_is_cut_off), T(nothing_but_hello_before_hello),
        T(a_second_hello_is_refused),           T(hello_may_not_be_large),
        T(garbage_closes_the_connection_only),  T(damaged_and_reordered_frames_are_counted),
        T(torn_frames_are_put_together),        T(half_a_frame_does_not_wait_for_ever),
        T(a_goodbye_is_answered_by_the_end),    T(an_answer_that_fits_no_frame_is_an_error),
        T(who_has_drained_takes_nobody),        T(a_slow_reader_is_bounded_and_closed),
        T(ignoring_credits_only_slows),         T(too_many_connections_are_refused),
        T(strangers_do_not_lock_users_out),     T(an_answer_to_nothing_is_an_error),
        T(cancel_of_nothing_is_harmless),       T(newer_protocol_is_told_so),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
