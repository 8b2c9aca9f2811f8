/* A node against those who were let in and do not keep to the protocol. */
#include "tests/lib/patience.h"
#include "tests/unit/net/hostile_fixture.h"

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

    fx->node.stalled_ns = 30 * CAIRN_NS_PER_S; /* not how fast they come */
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

/* Asks for a lot and reads nothing: what is buffered for it stays bounded, and it is closed. */
static void a_slow_reader_is_bounded_and_closed(void **state)
{
    struct fixture *fx = *state;
    uint8_t buf[64];
    int fd = enter(fx), sent = 0;
    struct cairn_rpc_peer *peer = CONTAINER_OF(fx->rpc->peers.next, struct cairn_rpc_peer, link);
    uint64_t most = 0, stalled_ns = fx->node.stalled_ns;

    fx->node.stalled_ns = 30 * CAIRN_NS_PER_S; /* however long it takes us to ask */
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
    fx->node.stalled_ns = stalled_ns;
    cairn_rpc__peer_want(peer, cairn_loop_now(&fx->loop) + stalled_ns);
    WHILE_PATIENT (atomic_load(&fx->node.counters.slow_readers_closed) == 0)
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

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(garbage_closes_the_connection_only),  T(damaged_and_reordered_frames_are_counted),
        T(torn_frames_are_put_together),        T(half_a_frame_does_not_wait_for_ever),
        T(a_goodbye_is_answered_by_the_end),    T(an_answer_that_fits_no_frame_is_an_error),
        T(a_slow_reader_is_bounded_and_closed), T(ignoring_credits_only_slows),
        T(an_answer_to_nothing_is_an_error),    T(cancel_of_nothing_is_harmless),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
