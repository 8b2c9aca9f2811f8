/* No call waits beyond its deadline: whatever the target does, and however full the node is. */
#include "rpc_fixture.h"

static void deadline_ends_a_call(void **state)
{
    struct fixture *fx = *state;
    struct probe p;

    probe_start(fx, &p, false, "warm");
    probe_wait(fx, &p);
    fx->hold = true;
    probe_start(fx, &p, false, "k");
    p.call.deadline_ns = cairn_loop_now(&fx->loop) + 20 * CAIRN_NS_PER_MS;
    cairn_rpc__peer_want(cairn_rpc_session_peer(fx->session), p.call.deadline_ns);
    probe_wait(fx, &p);
    assert_int_equal(p.call.rc, CAIRN_E_TIMEOUT);
    turn_until(fx, one_cancel);
}

/* A local target that never answers by itself is told when the time is over, as a remote one would be. */
static void deadline_ends_a_local_call(void **state)
{
    struct fixture *fx = *state;
    struct probe p, later;

    fx->hold = true;
    probe_prepare(fx, &later, true, "later");
    cairn_rpc_call_start(&later.call);
    probe_prepare(fx, &p, true, "k");
    p.call.timeout_ns = 20 * CAIRN_NS_PER_MS; /* the timer was set for the other */
    cairn_rpc_call_start(&p.call);
    probe_wait(fx, &p);
    assert_int_equal(p.call.rc, CAIRN_E_TIMEOUT);
    assert_string_equal(p.err.text, cairn_error_text(CAIRN_E_TIMEOUT));
    assert_int_equal(fx->cancels, 1);
    assert_false(later.done);
    cairn_rpc_reply(fx->held[--fx->nheld], 0, NULL, NULL, 0);
    probe_wait(fx, &later);
    assert_int_equal(later.call.rc, 0);
}

/* Many are overdue at once, and one that ends starts another and gives up a third. */
static void overdue_local_calls_may_end_each_other(void **state)
{
    struct fixture *fx = *state;
    static struct probe p[8], next;
    uint64_t before = 0;

    fx->hold = true;
    for (uint32_t i = 0; i < ARRAY_SIZE(p); i++) {
        probe_prepare(fx, &p[i], true, "k");
        p[i].call.timeout_ns = 20 * CAIRN_NS_PER_MS;
        cairn_rpc_call_start(&p[i].call);
    }
    fx->entangled = &p[ARRAY_SIZE(p) - 1].call;
    probe_prepare(fx, &next, true, "n");
    next.call.timeout_ns = 20 * CAIRN_NS_PER_MS;
    fx->starts_next = &next.call;
    for (uint32_t i = 0; i < ARRAY_SIZE(p); i++) {
        probe_wait(fx, &p[i]);
        assert_true(p[i].call.rc == CAIRN_E_TIMEOUT || p[i].call.rc == CAIRN_E_CANCELED);
        before += p[i].call.rc == CAIRN_E_TIMEOUT;
    }
    assert_true(before >= ARRAY_SIZE(p) - 1);
    probe_wait(fx, &next);
    assert_int_equal(next.call.rc, CAIRN_E_TIMEOUT);
    assert_int_equal(fx->cancels, ARRAY_SIZE(p) + 1);
}

/* A target that does not even listen to that holds up neither its caller outside nor anybody else. */
static void a_deaf_target_holds_up_nobody_outside(void **state)
{
    struct fixture *fx = *state;
    struct probe p, other;

    fx->hold = fx->deaf = true;
    probe_prepare(fx, &p, true, "k");
    p.call.timeout_ns = 20 * CAIRN_NS_PER_MS;
    cairn_rpc_call_start(&p.call);
    probe_wait(fx, &p);
    assert_int_equal(p.call.rc, CAIRN_E_TIMEOUT);
    assert_int_equal(fx->nheld, 1);
    fx->hold = false;
    probe_start(fx, &other, false, "o");
    probe_wait(fx, &other);
    assert_string_equal(other.value, "o");
    cairn_rpc_reply(fx->held[--fx->nheld], 0, NULL, NULL, 0); /* nobody waits for it any more */
    probe_start(fx, &other, false, "o");
    probe_wait(fx, &other);
    assert_int_equal(other.call.rc, 0);
}

enum { BIG = 100 << 10 };

static void start_big(struct fixture *fx, struct probe *p, uint64_t timeout_ms)
{
    static uint8_t bytes[BIG];

    probe_prepare(fx, p, true, "k");
    p->call.payload[0] = (struct iovec){ .iov_base = bytes, .iov_len = sizeof(bytes) };
    p->call.payload_n = 1;
    p->call.timeout_ns = timeout_ms * CAIRN_NS_PER_MS;
    cairn_rpc_call_start(&p->call);
}

static bool is_paused(struct fixture *fx)
{
    return CONTAINER_OF(fx->server->peers.next, struct cairn_rpc_peer, link)->conn.paused;
}

static bool no_second(struct fixture *fx)
{
    return fx->server->npeers == 1;
}

/* The node holds as many bytes as it may, all of one client's: what that one sends more is not taken, and ends by its
 * own deadline; another client's calls are carried out; and when there is room again, everything goes on. */
static void a_full_node_keeps_deadlines(void **state)
{
    struct fixture *fx = *state;
    struct cairn_rpc_session *greedy;
    static struct probe p[6];
    struct probe other;
    uint32_t taken;

    fx->budget.bytes_max = 2 * BIG;
    fx->hold = true;
    for (uint32_t i = 0; i < 4; i++)
        start_big(fx, &p[i], 60000);
    turn_until(fx, is_paused);
    taken = fx->nheld;
    assert_in_range(taken, 1, 3);
    assert_true(atomic_load(&fx->budget.bytes) > fx->budget.bytes_max);
    start_big(fx, &p[4], 40); /* into the socket, where it stays */
    start_big(fx, &p[5], 80);
    probe_wait(fx, &p[4]);
    assert_int_equal(p[4].call.rc, CAIRN_E_TIMEOUT);
    assert_int_equal(fx->nheld, taken); /* nothing more was taken */
    greedy = fx->session;
    connect_session(fx, NULL); /* somebody else */
    fx->hold = false;
    for (int i = 0; i < 5; i++) {
        probe_start(fx, &other, false, "o");
        probe_wait(fx, &other);
        assert_int_equal(other.call.rc, 0);
    }
    start_big(fx, &other, 5000); /* one at a time is always possible */
    probe_wait(fx, &other);
    assert_int_equal(other.call.rc, 0);
    probe_wait(fx, &p[5]);
    assert_int_equal(p[5].call.rc, CAIRN_E_TIMEOUT);
    cairn_rpc_session_close(fx->session, NULL, NULL);
    fx->session = greedy;
    turn_until(fx, no_second);
    while (fx->nheld > 0)
        cairn_rpc_reply(fx->held[--fx->nheld], 0, NULL, NULL, 0);
    for (uint32_t i = 0; i < 4; i++) {
        probe_wait(fx, &p[i]);
        assert_int_equal(p[i].call.rc, 0);
    }
    probe_start(fx, &other, false, "o");
    probe_wait(fx, &other);
    assert_int_equal(other.call.rc, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        C(deadline_ends_a_call),
        T(deadline_ends_a_local_call),
        T(overdue_local_calls_may_end_each_other),
        C(a_deaf_target_holds_up_nobody_outside),
        C(a_full_node_keeps_deadlines),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
