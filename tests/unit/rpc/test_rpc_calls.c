/* Calls, local and over a socket. */
#include "rpc_fixture.h"
#include "tests/lib/failing_malloc.h"
#include "tests/lib/skip.h"

static void local_call_is_answered_later(void **state)
{
    struct fixture *fx = *state;
    struct probe p;

    probe_start(fx, &p, false, "abc");
    assert_false(p.done); /* never inside the call that started it */
    probe_wait(fx, &p);
    assert_int_equal(p.call.rc, 0);
    assert_string_equal(p.value, "abc");
}

static void local_error_brings_its_text(void **state)
{
    struct fixture *fx = *state;
    struct probe p;

    probe_start(fx, &p, false, "!x");
    probe_wait(fx, &p);
    assert_int_equal(p.call.rc, CAIRN_E_NOTFOUND);
    assert_string_equal(p.err.text, "no key '!x'");
}

/* The target may answer as soon as it hears of it; whoever cancels is not in the middle of anything then. */
static void a_canceled_local_call_ends_later(void **state)
{
    struct fixture *fx = *state;
    struct probe p;

    probe_hold(fx, &p, true, "k");
    cairn_rpc_call_cancel(&p.call);
    cairn_rpc_call_cancel(&p.call);
    assert_false(p.done);
    probe_wait(fx, &p);
    assert_int_equal(p.call.rc, CAIRN_E_CANCELED);
    assert_int_equal(fx->cancels, 1);
    probe_start(fx, &p, true, "k");
    turn_until_held(fx, 1);
    cairn_rpc_call_cancel(&p.call);
    cairn_rpc_reply(fx->held[--fx->nheld], 0, NULL, NULL, 0); /* the answer was first */
    assert_true(p.done);
    assert_int_equal(p.call.rc, 0);
    cairn_loop_turn(&fx->loop, 0);
    assert_int_equal(fx->cancels, 1);
}

#ifdef FAILING_MALLOC

/* A change that was carried out must not look like one that was not, or its caller would clean up after it. */
static void an_answer_without_memory_is_no_refusal(void **state)
{
    struct fixture *fx = *state;
    struct iovec pieces[2] = { { .iov_base = "ab", .iov_len = 2 }, { .iov_base = "cd", .iov_len = 2 } };
    struct probe p;

    fx->hold = true;
    for (int put = 0; put <= 1; put++) {
        for (uint32_t fails = 0; fails <= 1; fails++) {
            probe_start(fx, &p, put, "k");
            turn_until_held(fx, 1);
            failing_malloc_begin(fails);
            cairn_rpc_reply(fx->held[--fx->nheld], 0, NULL, pieces, 2);
            failing_malloc_end();
            assert_true(p.done);
            assert_int_equal(p.call.rc, !fails ? 0 : put ? CAIRN_E_UNKNOWN : CAIRN_E_NOMEM);
            assert_string_equal(fails ? p.err.text : p.value, fails ? "there was no memory for the answer" : "abcd");
        }
    }
}

#else

static void an_answer_without_memory_is_no_refusal(void **state)
{
    (void)state;
    skip_because("its allocations do not fail under a sanitizer");
}

#endif

static void unix_call_and_error(void **state)
{
    struct fixture *fx = *state;
    struct probe p;

    probe_start(fx, &p, false, "abc");
    probe_wait(fx, &p);
    assert_int_equal(p.call.rc, 0);
    assert_string_equal(p.value, "abc");
    probe_start(fx, &p, false, "!x");
    probe_wait(fx, &p);
    assert_int_equal(p.call.rc, CAIRN_E_NOTFOUND);
    assert_string_equal(p.err.text, "no key '!x'");
    assert_string_equal(cairn_rpc_session_facts(fx->session)->node, "n1");
    assert_true(cairn_rpc_session_facts(fx->session)->admin);
}

static void many_calls_keep_to_their_credits(void **state)
{
    struct fixture *fx = *state;
    static struct probe p[200];

    for (uint32_t i = 0; i < ARRAY_SIZE(p); i++)
        probe_start(fx, &p[i], i % 3 == 0, "k");
    for (uint32_t i = 0; i < ARRAY_SIZE(p); i++) {
        probe_wait(fx, &p[i]);
        assert_int_equal(p[i].call.rc, 0);
        assert_true(fx->server->nreqs <= 16);
    }
    assert_int_equal(fx->puts, 67);
}

static void unknown_provider_and_method(void **state)
{
    struct fixture *fx = *state;
    struct probe p;

    probe_start(fx, &p, false, "k");
    p.call.provider = 99; /* not sent yet: there is no connection */
    probe_wait(fx, &p);
    assert_int_equal(p.call.rc, CAIRN_E_NOPROVIDER);
    probe_start(fx, &p, false, "k");
    probe_wait(fx, &p);
    assert_int_equal(p.call.rc, 0);
    memset(&p, 0, sizeof(p));
    Cairn__Wire__KvStat stat = CAIRN__WIRE__KV_STAT__INIT;
    p.call = (struct cairn_rpc_call){ .dest = { .rpc = fx->client, .session = fx->session },
                                      .iface = &cairn_iface_kv,
                                      .provider = TARGET,
                                      .method = CAIRN__WIRE__KV_METHOD__KV_STAT,
                                      .msg = &stat.base,
                                      .done = on_done,
                                      .arg = &p };
    cairn_rpc_call_start(&p.call);
    probe_wait(fx, &p);
    assert_int_equal(p.call.rc, CAIRN_E_NOMETHOD);
}

static void cancel_reaches_the_target(void **state)
{
    struct fixture *fx = *state;
    struct probe p;

    probe_hold(fx, &p, false, "k");
    cairn_rpc_call_cancel(&p.call);
    assert_false(p.done);
    probe_wait(fx, &p);
    assert_int_equal(p.call.rc, CAIRN_E_CANCELED);
    turn_until(fx, one_cancel);
    assert_int_equal(atomic_load(&fx->node.counters.requests_canceled), 1);
    assert_int_equal(fx->nheld, 0);
    fx->hold = false;
    probe_start(fx, &p, false, "k2"); /* the late answer of the first finds no other call */
    probe_wait(fx, &p);
    assert_string_equal(p.value, "k2");
}

/* A caller that uses all of its credits is still heard: its answers to our calls, by which it may be sending the bytes
 * that its requests wait for, and its cancels. */
static void a_full_window_stops_requests_only(void **state)
{
    struct fixture *fx = *state;
    static struct probe p[16];
    struct probe back;

    fx->hold = true;
    for (uint32_t i = 0; i < ARRAY_SIZE(p); i++)
        probe_start(fx, &p[i], false, "k");
    turn_until_held(fx, ARRAY_SIZE(p));
    probe_prepare(fx, &back, false, "b");
    back.call.dest = (struct cairn_rpc_dest){ .rpc = fx->server, .peer = fx->held[0]->peer };
    cairn_rpc_call_start(&back.call);
    probe_wait(fx, &back);
    assert_int_equal(back.call.rc, CAIRN_E_NOPROVIDER); /* it offers nothing, and says so */
    cairn_rpc_call_cancel(&p[3].call);
    turn_until(fx, one_cancel);
    while (fx->nheld > 0)
        cairn_rpc_reply(fx->held[--fx->nheld], 0, NULL, NULL, 0);
    for (uint32_t i = 0; i < ARRAY_SIZE(p); i++)
        probe_wait(fx, &p[i]);
}

/* Only behind a goodbye it says that the whole node leaves, and that another connection may have the call. */
static void a_handler_may_say_that_it_ends(void **state)
{
    struct fixture *fx = *state;
    struct probe ends, next;

    fx->hold = true;
    probe_start(fx, &ends, false, "k");
    turn_until_held(fx, 1);
    fx->hold = false;
    cairn_rpc_reply_err(fx->held[--fx->nheld], CAIRN_E_SHUTDOWN, "this service ends");
    probe_wait(fx, &ends);
    assert_int_equal(ends.call.rc, CAIRN_E_SHUTDOWN);
    assert_string_equal(ends.err.text, "this service ends");
    probe_start(fx, &next, false, "k");
    probe_wait(fx, &next);
    assert_int_equal(next.call.rc, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_canceled_local_call_ends_later),
        T(local_call_is_answered_later),
        T(local_error_brings_its_text),
        C(unix_call_and_error),
        C(many_calls_keep_to_their_credits),
        C(unknown_provider_and_method),
        C(cancel_reaches_the_target),
        C(a_full_window_stops_requests_only),
        C(a_handler_may_say_that_it_ends),
        T(an_answer_without_memory_is_no_refusal),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
