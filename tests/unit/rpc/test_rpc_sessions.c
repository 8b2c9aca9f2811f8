/* Sessions: connections that are lost and come back, and what was under way meanwhile. */
#include "rpc_fixture.h"

/* The connection is lost while a change runs: the retry finds the answer, and the change is made once. */
static void retry_never_applies_twice(void **state)
{
    struct fixture *fx = *state;
    struct probe p;

    probe_hold(fx, &p, true, "k");
    cairn_conn_fail(&cairn_rpc_session_peer(fx->session)->conn, CAIRN_E_CLOSED);
    for (int i = 0; i < TURNS_MAX && (fx->accepts < 2 || !cairn_rpc_session_is_up(fx->session)); i++)
        cairn_loop_turn(&fx->loop, 10 * CAIRN_NS_PER_MS);
    for (int i = 0; i < 3; i++)
        cairn_loop_turn(&fx->loop, 0);
    assert_int_equal(fx->puts, 1);
    assert_int_equal(fx->nheld, 1);
    assert_false(p.done);
    cairn_rpc_reply(fx->held[0], 0, NULL, NULL, 0);
    fx->nheld = 0;
    probe_wait(fx, &p);
    assert_int_equal(p.call.rc, 0);
    assert_int_equal(fx->puts, 1);
    assert_int_equal(atomic_load(&fx->node.counters.retries_recognised), 1);
    assert_int_equal(atomic_load(&fx->node.counters.sessions_resumed), 1);
}

/* The answer was lost with the connection: the retry is told it again. */
static void lost_answer_is_told_again(void **state)
{
    struct fixture *fx = *state;
    struct probe p;

    probe_hold(fx, &p, true, "k");
    cairn_rpc_reply(fx->held[0], 0, NULL, NULL, 0);
    fx->nheld = 0;
    cairn_conn_fail(&cairn_rpc_session_peer(fx->session)->conn, CAIRN_E_CLOSED); /* before the answer is read */
    probe_wait(fx, &p);
    assert_int_equal(p.call.rc, 0);
    assert_int_equal(fx->puts, 1);
}

/* A connection writes as soon as it has many answers, and its buffer may be gone before the last is remembered. */
static void answers_are_remembered_before_they_leave(void **state)
{
    struct fixture *fx = *state;
    static struct probe p[16];

    fx->hold = true;
    for (uint32_t i = 0; i < ARRAY_SIZE(p); i++)
        probe_start(fx, &p[i], true, "k");
    turn_until_held(fx, ARRAY_SIZE(p));
    fx->server->net.nspare += 2 * CAIRN_NET_SPARE_CHUNKS_MAX; /* as if other connections had given theirs back */
    while (fx->nheld > 0)
        cairn_rpc_reply_err(fx->held[--fx->nheld], CAIRN_E_NOTFOUND, "no such key");
    fx->server->net.nspare -= 2 * CAIRN_NET_SPARE_CHUNKS_MAX;
    for (uint32_t i = 0; i < ARRAY_SIZE(p); i++) {
        probe_wait(fx, &p[i]);
        assert_int_equal(p[i].call.rc, CAIRN_E_NOTFOUND);
    }
}

/* The new connection is accepted by another worker than the one that has the session: it goes there. */
static void a_session_is_found_on_its_worker(void **state)
{
    struct fixture *fx = *state;
    struct cairn_rpc_conf conf = fx->server->conf;
    struct cairn_rpc *first = fx->server, *second, *workers[2];
    static struct probe p; /* the call outlives a failure here */

    conf.index = 1;
    second = cairn_rpc_new(&fx->loop, &conf, NULL);
    workers[0] = first;
    workers[1] = second;
    fx->node.workers = workers;
    fx->node.nworkers = 2;
    cairn_rpc_serve(second, &fx->node);
    probe_hold(fx, &p, true, "k");
    fx->server = second; /* who accepts from here on */
    cairn_conn_fail(&cairn_rpc_session_peer(fx->session)->conn, CAIRN_E_CLOSED);
    for (int i = 0; i < TURNS_MAX && atomic_load(&fx->node.counters.retries_recognised) == 0; i++)
        cairn_loop_turn(&fx->loop, 10 * CAIRN_NS_PER_MS);
    assert_int_equal(atomic_load(&fx->node.counters.sessions_resumed), 1);
    assert_int_equal(second->npeers, 0);
    assert_int_equal(atomic_load(&fx->node.counters.connections), 1);
    cairn_rpc_reply(fx->held[--fx->nheld], 0, NULL, NULL, 0);
    probe_wait(fx, &p);
    assert_int_equal(p.call.rc, 0);
    assert_int_equal(fx->puts, 1);
    cairn_rpc_session_close(fx->session, NULL, NULL);
    fx->session = NULL;
    fx->server = first;
    turn_until(fx, no_peers);
    cairn_rpc_free(second);
    fx->node.workers = fx->workers;
    fx->node.nworkers = 1;
}

/* Another process answers at the same address: what was under way is unknown, not repeated. */
static void restarted_node_makes_changes_unknown(void **state)
{
    struct fixture *fx = *state;
    struct probe put, get;

    fx->hold = true;
    probe_start(fx, &put, true, "k");
    probe_start(fx, &get, false, "g");
    turn_until_held(fx, 2);
    fx->node.incarnation = 78;
    fx->hold = false;
    cairn_conn_fail(&cairn_rpc_session_peer(fx->session)->conn, CAIRN_E_CLOSED);
    probe_wait(fx, &put);
    assert_int_equal(put.call.rc, CAIRN_E_UNKNOWN);
    probe_wait(fx, &get); /* a read is sent again */
    assert_int_equal(get.call.rc, 0);
    assert_string_equal(get.value, "g");
    cairn_rpc_reply(fx->held[0], 0, NULL, NULL, 0); /* the put of the lost connection */
    fx->nheld = 0;
}

/* Calls that were sent when their session closes end with it, and nothing of it is left behind. */
static void closing_ends_calls_that_were_sent(void **state)
{
    struct fixture *fx = *state;
    struct probe p;

    probe_hold(fx, &p, false, "k");
    cairn_rpc_session_close(fx->session, on_session_closed, fx);
    fx->session = NULL;
    turn_until(fx, is_closed);
    assert_true(p.done);
    assert_int_equal(p.call.rc, CAIRN_E_CLOSED);
    turn_until(fx, no_peers); /* the target was told; and no timer of the session is met on the way */
    assert_int_equal(atomic_load(&fx->node.counters.requests_canceled),
                     fx->cancels); /* one truth, whatever the cause */
    assert_int_equal(fx->cancels, 1);
}

static void close_when_done(struct cairn_rpc_call *call)
{
    struct probe *p = call->arg;

    p->done = true;
    cairn_rpc_session_close(call->dest.session, NULL, NULL);
}

/* The answer is being read when its call's owner closes the session. */
static void a_session_may_be_closed_in_done(void **state)
{
    struct fixture *fx = *state;
    struct probe p, late;

    probe_start(fx, &p, false, "k");
    p.call.done = close_when_done;
    probe_start(fx, &late, false, "l");
    fx->session = NULL;
    probe_wait(fx, &p);
    assert_int_equal(p.call.rc, 0);
    probe_wait(fx, &late);
    assert_int_equal(late.call.rc, CAIRN_E_CLOSED);
    turn_until(fx, no_peers);
}

/* Changes that nobody waits for any more when the connection is lost must not keep their numbers for good. */
static void abandoned_changes_give_their_numbers_back(void **state)
{
    struct fixture *fx = *state;
    struct probe p;

    probe_hold(fx, &p, true, "k");
    cairn_rpc_call_cancel(&p.call);
    cairn_conn_fail(&cairn_rpc_session_peer(fx->session)->conn, CAIRN_E_CLOSED);
    probe_wait(fx, &p);
    assert_int_equal(p.call.rc, CAIRN_E_CANCELED);
    fx->hold = false;
    for (uint32_t i = 0; i < 15; i++) { /* the others of the window */
        probe_start(fx, &p, true, "k");
        probe_wait(fx, &p);
        assert_int_equal(p.call.rc, 0);
    }
    probe_start(fx, &p, true, "k"); /* its number meets the change that the target still works on */
    probe_wait(fx, &p);
    assert_int_equal(p.call.rc, CAIRN_E_BUSY);
    assert_int_equal(fx->accepts, 2); /* for which nobody is thrown out */
    if (fx->nheld > 0)
        cairn_rpc_reply(fx->held[--fx->nheld], 0, NULL, NULL, 0);
    for (uint32_t i = 0; i < 40; i++) {
        probe_start(fx, &p, true, "k");
        probe_wait(fx, &p);
        assert_int_equal(p.call.rc, 0);
    }
    assert_int_equal(fx->accepts, 2);
}

/* A call that costs its connection each time is not sent again at full speed. */
static void a_poisonous_call_is_sent_with_pauses(void **state)
{
    struct fixture *fx = *state;
    struct probe p;

    probe_start(fx, &p, false, "#");
    p.call.deadline_ns = cairn_loop_now(&fx->loop) + 300 * CAIRN_NS_PER_MS;
    probe_wait(fx, &p);
    assert_true(p.call.rc == CAIRN_E_TIMEOUT || p.call.rc == CAIRN_E_UNREACHABLE);
    assert_in_range(fx->accepts, 2, 12);
}

/* Who says goodbye will not come back: nothing is remembered for it. */
static void a_session_that_was_closed_is_forgotten(void **state)
{
    struct fixture *fx = *state;
    struct probe p;

    probe_start(fx, &p, true, "k");
    probe_wait(fx, &p);
    cairn_rpc_session_close(fx->session, on_session_closed, fx);
    fx->session = NULL;
    turn_until(fx, no_peers);
    assert_int_equal(fx->server->nsessions, 0);
    assert_int_equal(fx->server->nidle, 0);
}

/* Clients that change something and die are remembered, but not without bound. */
static void lost_sessions_are_bounded(void **state)
{
    struct fixture *fx = *state;
    struct probe p;

    listen_unix(fx);
    for (uint32_t i = 0; i < 12; i++) {
        connect_session(fx, NULL);
        probe_start(fx, &p, true, "k");
        probe_wait(fx, &p);
        cairn_conn_fail(&cairn_rpc_session_peer(fx->session)->conn, CAIRN_E_CLOSED);
        turn_until(fx, no_peers);
        cairn_rpc_session_close(fx->session, NULL, NULL);
        fx->session = NULL;
    }
    assert_int_equal(fx->server->nidle, 8); /* as many as may be connected */
}

/* A request that crosses the node's goodbye was not carried out: it waits for the node to come back, and is sent
 * again. */
static void what_crosses_a_goodbye_is_sent_again(void **state)
{
    struct fixture *fx = *state;
    struct probe held, p;

    probe_hold(fx, &held, true, "held"); /* keeps the connection open while the node leaves */
    cairn_rpc__peer_leave(CONTAINER_OF(fx->server->peers.next, struct cairn_rpc_peer, link));
    probe_start(fx, &p, true, "k"); /* our end has not heard of it */
    for (int i = 0; i < 5; i++)
        cairn_loop_turn(&fx->loop, 0);
    assert_false(p.done);
    fx->hold = false;
    cairn_rpc_reply(fx->held[--fx->nheld], 0, NULL, NULL, 0);
    probe_wait(fx, &held);
    assert_int_equal(held.call.rc, 0);
    probe_wait(fx, &p);
    assert_int_equal(p.call.rc, 0);
    assert_int_equal(fx->puts, 2);
    assert_int_equal(fx->accepts, 2);
}

/* Whoever answers at an address has to be the one that was looked for. */
static void another_node_is_not_the_one(void **state)
{
    struct fixture *fx = *state;
    struct cairn_rpc_session_conf conf = { .node = "n2" };
    struct probe p;

    listen_unix(fx);
    connect_session(fx, &conf);
    probe_start(fx, &p, true, "abc");
    p.call.deadline_ns = cairn_loop_now(&fx->loop) + 100 * CAIRN_NS_PER_MS;
    probe_wait(fx, &p);
    assert_int_equal(p.call.rc, CAIRN_E_UNREACHABLE);
    assert_non_null(strstr(p.err.text, "is node n1, not n2"));
    assert_int_equal(fx->puts, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        C(retry_never_applies_twice),
        C(lost_answer_is_told_again),
        C(answers_are_remembered_before_they_leave),
        C(a_session_is_found_on_its_worker),
        C(restarted_node_makes_changes_unknown),
        C(closing_ends_calls_that_were_sent),
        C(a_session_may_be_closed_in_done),
        C(abandoned_changes_give_their_numbers_back),
        C(a_poisonous_call_is_sent_with_pauses),
        C(a_session_that_was_closed_is_forgotten),
        T(lost_sessions_are_bounded),
        C(what_crosses_a_goodbye_is_sent_again),
        T(another_node_is_not_the_one),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
