/* Messages that nobody answers: who is told, how much, and what ends the connection. */
#include "rpc_fixture.h"

#include "schema/repl.pb-c.h"
#include "sdk/core/rpc/session_internal.h"

static char heard[64]; /* of what was told, as it came */

static void handle_told(struct cairn_rpc_req *rq)
{
    struct fixture *fx = rq->target->ctx;

    assert_true(strlen(heard) + rq->payload_len < sizeof(heard));
    strncat(heard, (const char *)rq->payload, rq->payload_len);
    if (fx->hold)
        fx->held[fx->nheld++] = rq;
    else
        cairn_rpc_reply(rq, 0, NULL, NULL, 0);
}

static cairn_rpc_handler *const told_handlers[32] = { [CAIRN__WIRE__CLUSTER_METHOD__CLUSTER_REPL] = handle_told };

/* The target is the cluster's service, which has the one method that is told. */
static int setup_told(void **state)
{
    struct cairn_rpc_session_conf node = { .has_key = true, .is_node = true }; /* both keys are nothing but zeros */
    struct fixture *fx;

    setup(state);
    fx = *state;
    fx->node.has_key = true;
    heard[0] = '\0';
    fx->target.iface = &cairn_iface_cluster;
    fx->target.handlers = told_handlers;
    listen_unix(fx);
    connect_session(fx, &node);
    return 0;
}

static int tell(struct fixture *fx, const char *words)
{
    struct iovec iov = { (void *)(uintptr_t)words, strlen(words) };

    return cairn_rpc_session_tell(fx->session, &cairn_iface_cluster, TARGET, CAIRN__WIRE__CLUSTER_METHOD__CLUSTER_REPL,
                                  &iov, 1);
}

static bool is_up(struct fixture *fx)
{
    return cairn_rpc_session_is_up(fx->session);
}

static bool heard_all(struct fixture *fx)
{
    (void)fx;
    return strcmp(heard, "one two three") == 0;
}

/* It comes in order, once, and no frame goes back: neither an answer nor an error. */
static void what_is_told_is_not_answered(void **state)
{
    struct fixture *fx = *state;
    struct cairn_rpc_peer *peer;

    assert_int_equal(tell(fx, "lost"), CAIRN_E_CLOSED); /* but the connection is made */
    turn_until(fx, is_up);
    peer = cairn_rpc_session_peer(fx->session);
    uint64_t received = peer->conn.received_bytes;

    assert_int_equal(tell(fx, "one "), 0);
    assert_int_equal(tell(fx, "two "), 0);
    assert_true(cairn_rpc_session_unsent(fx->session) > 0);
    fx->hold = true; /* the third is answered later */
    assert_int_equal(tell(fx, "three"), 0);
    turn_until(fx, heard_all);
    fx->hold = false;
    while (fx->nheld > 0)
        cairn_rpc_reply_err(fx->held[--fx->nheld], CAIRN_E_INVAL, "not so");
    for (int i = 0; i < 10; i++)
        cairn_loop_turn(&fx->loop, 0);
    assert_int_equal(peer->conn.received_bytes, received);
    assert_int_equal(cairn_rpc_session_unsent(fx->session), 0);
    assert_int_equal(peer->ncalls, 0);
    assert_true(cairn_rpc_session_is_up(fx->session));
}

/* What is under way counts, as with calls: so much is taken from a connection and no more until some is over. */
static void what_is_told_is_taken_within_bounds(void **state)
{
    struct fixture *fx = *state;

    (void)tell(fx, "");
    turn_until(fx, is_up);
    fx->hold = true;
    for (int i = 0; i < 40; i++)
        assert_int_equal(tell(fx, "."), 0);
    for (int i = 0; i < 100; i++)
        cairn_loop_turn(&fx->loop, 0);
    assert_in_range(fx->nheld, 16, 17); /* inflight_max, and the frame that was looked at */
    while (fx->nheld > 0) {
        cairn_rpc_reply(fx->held[--fx->nheld], 0, NULL, NULL, 0);
        cairn_loop_turn(&fx->loop, 0);
    }
    for (int i = 0; i < TURNS_MAX && strlen(heard) < 40; i++) {
        cairn_loop_turn(&fx->loop, 0);
        while (fx->nheld > 0)
            cairn_rpc_reply(fx->held[--fx->nheld], 0, NULL, NULL, 0);
    }
    assert_int_equal(strlen(heard), 40);
}

/* A method that has to be answered is not told: whoever does it does not speak as we do. */
static void what_has_to_be_answered_is_not_told(void **state)
{
    struct fixture *fx = *state;
    struct cairn_rpc_peer *peer;
    struct cairn_frame f = { .kind = CAIRN_FRAME_REQUEST,
                             .flags = CAIRN_FRAME_TOLD,
                             .provider = TARGET,
                             .method = CAIRN__WIRE__CLUSTER_METHOD__CLUSTER_STATUS };

    (void)tell(fx, "");
    turn_until(fx, is_up);
    peer = cairn_rpc_session_peer(fx->session);
    f.provider = TARGET + 1; /* of a service that is not here nothing is heard, and nothing lost */
    cairn_rpc__peer_send(peer, &f, NULL, NULL, 0);
    assert_int_equal(tell(fx, "one two three"), 0);
    turn_until(fx, heard_all);
    assert_true(cairn_rpc_session_is_up(fx->session));
    f.provider = TARGET;
    cairn_rpc__peer_send(peer, &f, NULL, NULL, 0);
    turn_until(fx, no_peers);
    assert_int_equal(atomic_load(&fx->node.counters.frames_malformed), 1);
}

static bool is_refused_again(struct fixture *fx)
{
    static const struct cairn_rpc_method methods[32] = { [CAIRN__WIRE__CLUSTER_METHOD__CLUSTER_STATUS] = {
                                                             .name = "status", .flags = CAIRN_RPC_TOLD } };
    static const struct cairn_rpc_iface another_build = { "cluster", methods, 32 };

    if (is_up(fx))
        fx->session->up_ns = cairn_loop_now(&fx->loop); /* else one that a standstill kept open has been of use */
    (void)cairn_rpc_session_tell(fx->session, &another_build, TARGET, CAIRN__WIRE__CLUSTER_METHOD__CLUSTER_STATUS, NULL,
                                 0);
    return atomic_load(&fx->node.counters.frames_malformed) >= 5;
}

/* Whoever says it again each turn connects no more often for that: each pause is longer than the one before. */
static void what_ends_its_connection_is_told_with_pauses(void **state)
{
    struct fixture *fx = *state;

    turn_until(fx, is_refused_again);
    assert_true(fx->session->failures >= 4);
    fx->session->failures = 7;
    while (!is_up(fx)) {
        (void)tell(fx, "");
        cairn_loop_turn(&fx->loop, 10 * CAIRN_NS_PER_MS);
    }
    fx->session->up_ns = 0; /* it has lasted, though nothing was ever answered */
    cairn_conn_fail(&cairn_rpc_session_peer(fx->session)->conn, CAIRN_E_CLOSED);
    turn_until(fx, no_peers);
    assert_int_equal(fx->session->failures, 0);
    assert_int_equal(tell(fx, "lost"), CAIRN_E_CLOSED);
    turn_until(fx, is_up);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_is_told_is_not_answered, setup_told, teardown),
        cmocka_unit_test_setup_teardown(what_is_told_is_taken_within_bounds, setup_told, teardown),
        cmocka_unit_test_setup_teardown(what_has_to_be_answered_is_not_told, setup_told, teardown),
        cmocka_unit_test_setup_teardown(what_ends_its_connection_is_told_with_pauses, setup_told, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
