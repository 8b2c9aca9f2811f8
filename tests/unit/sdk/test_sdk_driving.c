/* Who drives a client, and what ends its calls: threads, time, cancel, a node that dies, closing with calls in
 * flight. */
#include "tests/lib/patience.h"
#include "tests/unit/sdk/sdk_fixture.h"

/* ---- who drives ---- */

struct chain {
    struct fixture *fx;
    int left, waits_refused;
};

static void on_link(void *arg, int rc)
{
    struct chain *ch = arg;

    assert_int_equal(rc, 0);
    if (cairn_ping(ch->fx->c, NULL) == CAIRN_E_STATE && cairn_poll(ch->fx->c, 0) == CAIRN_E_STATE)
        ch->waits_refused++;
    if (--ch->left > 0)
        assert_int_equal(cairn_ping_async(ch->fx->c, NULL, on_link, ch), 0);
}

static void callbacks_may_start_calls_but_not_wait(void **state)
{
    struct chain ch = { *state, 100, 0 };

    assert_int_equal(cairn_ping_async(ch.fx->c, NULL, on_link, &ch), 0);
    assert_int_equal(cairn_drain(ch.fx->c, -1), 0);
    assert_int_equal(ch.left, 0);
    assert_int_equal(ch.waits_refused, 100);
}

struct worker {
    struct fixture *fx;
    int number, done;
};

static void *work(void *arg)
{
    struct worker *w = arg;
    struct outcome out = { 0 };
    char key[16], back[16];
    size_t len;

    for (int i = 0; i < 200; i++) {
        int n = snprintf(key, sizeof(key), "t%d.%d", w->number, i);

        if (cairn_put(w->fx->ns, key, (size_t)n, key, (size_t)n, NULL) != 0)
            break;
        if (cairn_ping_async(w->fx->c, NULL, on_done, &out) != 0)
            break;
        if (cairn_get(w->fx->ns, key, (size_t)n, back, sizeof(back), &len, NULL) != 0 || len != (size_t)n ||
            memcmp(back, key, len) != 0)
            break;
        WHILE_PATIENT (__atomic_load_n(&out.runs, __ATOMIC_ACQUIRE) != i + 1)
            cairn_poll(w->fx->c, 10);
        w->done++;
    }
    return NULL;
}

static void threads_share_a_client(void **state)
{
    struct worker w[6];
    pthread_t t[6];

    for (int i = 0; i < 6; i++) {
        w[i] = (struct worker){ *state, i, 0 };
        assert_int_equal(pthread_create(&t[i], NULL, work, &w[i]), 0);
    }
    for (int i = 0; i < 6; i++) {
        pthread_join(t[i], NULL);
        assert_int_equal(w[i].done, 200);
    }
}

static void on_counted(void *arg, int rc)
{
    struct outcome *out = arg;

    out->rc = rc;
    out->thread = pthread_self();
    __atomic_add_fetch(&out->runs, 1, __ATOMIC_RELEASE);
}

static void the_own_thread_runs_callbacks(void **state)
{
    struct fixture *fx = *state;
    struct outcome out = { 0 };
    int n = 0;

    assert_int_equal(cairn_start_thread(fx->c), 0);
    assert_int_equal(cairn_start_thread(fx->c), CAIRN_E_STATE);
    do { /* the first ones may find the loop free still */
        assert_int_equal(cairn_ping_async(fx->c, NULL, on_counted, &out), 0);
        assert_int_equal(cairn_drain(fx->c, -1), 0);
        assert_int_equal(__atomic_load_n(&out.runs, __ATOMIC_ACQUIRE), ++n);
    } while (pthread_equal(out.thread, pthread_self()));
    for (int i = 0; i < 50; i++) {
        assert_int_equal(cairn_ping_async(fx->c, NULL, on_counted, &out), 0);
        assert_int_equal(cairn_ping(fx->c, NULL), 0);
    }
    assert_int_equal(cairn_drain(fx->c, -1), 0);
    assert_int_equal(__atomic_load_n(&out.runs, __ATOMIC_ACQUIRE), n + 50);
    assert_false(pthread_equal(out.thread, pthread_self()));
    cairn_stop_thread(fx->c);
    cairn_stop_thread(fx->c);
    assert_int_equal(cairn_ping_async(fx->c, NULL, on_counted, &out), 0);
    assert_int_equal(cairn_drain(fx->c, 10000), 0);
    assert_true(pthread_equal(out.thread, pthread_self()));
    assert_int_equal(cairn_start_thread(fx->c), 0); /* cairn_close() ends it */
}

/* While another thread drives, those who wait for all calls, or any, hear of it. */
static void draining_beside_the_own_thread(void **state)
{
    struct fixture *fx = *state;
    struct outcome out = { 0 };

    assert_int_equal(cairn_start_thread(fx->c), 0);
    for (int i = 1; i <= 300; i++) {
        assert_int_equal(cairn_ping_async(fx->c, NULL, on_counted, &out), 0);
        if (i % 2 != 0)
            assert_int_equal(cairn_drain(fx->c, -1), 0);
        while (__atomic_load_n(&out.runs, __ATOMIC_ACQUIRE) != i)
            assert_true(cairn_poll(fx->c, -1) >= 0);
    }
}

static void threads_share_the_own_thread(void **state)
{
    struct fixture *fx = *state;

    assert_int_equal(cairn_start_thread(fx->c), 0);
    threads_share_a_client(state);
}

static void too_many_calls_are_refused(void **state)
{
    struct fixture *fx = *state;
    struct outcome out = { 0 };

    cairn_ns_close(fx->ns);
    cairn_close(fx->c);
    connect_with(fx, 4);
    for (int i = 0; i < 4; i++)
        assert_int_equal(cairn_ping_async(fx->c, NULL, on_done, &out), 0);
    assert_int_equal(cairn_ping_async(fx->c, &fx->o, on_done, &out), CAIRN_E_BUSY);
    assert_non_null(strstr(fx->error.text, "inflight_max"));
    assert_int_equal(cairn_ping(fx->c, NULL), CAIRN_E_BUSY);
    assert_int_equal(cairn_drain(fx->c, -1), 0);
    assert_int_equal(out.runs, 4);
    assert_int_equal(cairn_ping(fx->c, NULL), 0);
    assert_int_equal(cairn_start_thread(fx->c), 0); /* what this thread has used up is there for that one, too */
    for (int i = 0; i < 20; i++)
        assert_int_equal(cairn_ping(fx->c, NULL), 0);
}

/* ---- time, cancel, loss ---- */

static void time_runs_out(void **state)
{
    struct fixture *fx = *state;
    uint8_t *big = pattern(MIB, 1);
    struct outcome out = { 0 };

    atomic_store(&fx->knobs->hold, true);
    fx->o.timeout_ms = 30;
    assert_int_equal(cairn_ping(fx->c, &fx->o), CAIRN_E_TIMEOUT);
    assert_int_equal(fx->error.code, CAIRN_E_TIMEOUT);
    assert_int_equal(cairn_put(fx->ns, "k", 1, big, MIB, &fx->o), CAIRN_E_TIMEOUT);
    assert_int_equal(cairn_ping_async(fx->c, &fx->o, on_done, &out), 0);
    assert_int_equal(cairn_drain(fx->c, -1), 0);
    assert_int_equal(out.rc, CAIRN_E_TIMEOUT);
    assert_int_equal(cairn_ping_async(fx->c, NULL, on_done, &out), 0);
    assert_int_equal(cairn_poll(fx->c, 20), 0);
    assert_int_equal(cairn_drain(fx->c, 20), CAIRN_E_TIMEOUT); /* of the waiting, not of the call */
    assert_int_equal(cairn_inflight(fx->c), 1);
    cairn_close(fx->c); /* @out goes */
    fx->c = NULL;
    free(big);
}

/* Whoever listens there takes connections and says nothing. */
static void a_silent_listener_does_not_hang_us(void **state)
{
    struct fixture *fx = *state;
    struct cairn_options o = CAIRN_OPTIONS_INIT;
    struct cairn_addr addr;
    struct cairn *c = NULL;
    char text[128];
    int fd;

    snprintf(text, sizeof(text), "unix://%s/silent", scripted_node_workspace(fx->node));
    assert_int_equal(cairn_addr_parse(text, &addr, NULL), 0);
    assert_int_equal(cairn_addr_listen(&addr, 4, 0700, &fd, NULL), 0);
    o.addresses = text;
    o.connect_timeout_ms = 50;
    assert_int_equal(cairn_connect(&o, &c, &fx->error), CAIRN_E_UNREACHABLE);
    assert_null(c);
    o.flags = CAIRN_CONNECT_LAZY;
    o.timeout_ms = 50;
    assert_int_equal(cairn_connect(&o, &c, &fx->error), 0);
    assert_int_equal(cairn_ping(c, &fx->o), CAIRN_E_UNREACHABLE);
    cairn_close(c);
    close(fd);
    /* nobody listens: told at once, not when the time is over */
    o.flags = 0;
    o.connect_timeout_ms = 60000;
    assert_int_equal(cairn_connect(&o, &c, &fx->error), CAIRN_E_UNREACHABLE);
    assert_non_null(strstr(fx->error.text, "silent"));
}

/* The first of two ways leads nowhere. */
static void another_address_is_tried(void **state)
{
    struct fixture *fx = *state;
    struct cairn_options o = CAIRN_OPTIONS_INIT;
    struct cairn *c = NULL;
    char text[256];

    snprintf(text, sizeof(text), "unix:///nonexistent/s,%s", scripted_node_address(fx->node));
    o.addresses = text;
    assert_int_equal(cairn_connect(&o, &c, &fx->error), 0);
    assert_int_equal(cairn_ping(c, NULL), 0);
    cairn_close(c);
}

static void canceled_calls_end_at_once(void **state)
{
    struct fixture *fx = *state;
    struct outcome out[3] = { 0 };
    uint64_t number[3] = { 0 };

    atomic_store(&fx->knobs->hold, true);
    for (int i = 0; i < 3; i++) {
        fx->o.call = &number[i];
        assert_int_equal(cairn_ping_async(fx->c, &fx->o, on_done, &out[i]), 0);
    }
    assert_true(number[0] != number[1] && number[1] != number[2]);
    cairn_poll(fx->c, 5);
    assert_int_equal(cairn_cancel(fx->c, number[1]), 0);
    assert_int_equal(out[1].runs, 0); /* later, from the loop */
    WHILE_PATIENT (out[1].runs == 0)
        cairn_poll(fx->c, 1000);
    assert_int_equal(out[1].rc, CAIRN_E_CANCELED);
    assert_int_equal(fx->error.code, CAIRN_E_CANCELED);
    cairn_cancel(fx->c, number[1]); /* over: harmless */
    cairn_cancel(fx->c, 0);
    cairn_cancel(fx->c, UINT64_MAX);
    assert_int_equal(out[0].runs + out[2].runs, 0);
    cairn_cancel(fx->c, number[0]);
    cairn_cancel(fx->c, number[2]);
    assert_int_equal(cairn_drain(fx->c, -1), 0);
    assert_int_equal(out[0].runs + out[2].runs, 2);
}

struct canceler {
    struct fixture *fx;
    uint64_t number;
    bool all;
    uint32_t pings; /* that have reached the node: the one of cairn_connect(), and ours */
};

static void *cancel_from_elsewhere(void *arg)
{
    struct canceler *x = arg;

    WHILE_PATIENT (atomic_load(&x->fx->knobs->pings) < x->pings)
        sched_yield();
    if (x->all)
        cairn_cancel_all(x->fx->c);
    else
        cairn_cancel(x->fx->c, x->number);
    return NULL;
}

static void a_waiting_call_is_canceled_from_another_thread(void **state)
{
    struct fixture *fx = *state;
    struct canceler x = { fx, 0, false, 2 };
    pthread_t t;

    atomic_store(&fx->knobs->hold, true);
    fx->o.call = &x.number;
    assert_int_equal(pthread_create(&t, NULL, cancel_from_elsewhere, &x), 0);
    assert_int_equal(cairn_ping(fx->c, &fx->o), CAIRN_E_CANCELED);
    pthread_join(t, NULL);
}

/* A user's Ctrl-C: whatever is under way ends, and what starts afterwards does not. */
static void all_calls_are_canceled(void **state)
{
    struct fixture *fx = *state;
    struct canceler x = { fx, 0, true, 3 };
    struct outcome out[2] = { 0 };
    pthread_t t;

    atomic_store(&fx->knobs->hold, true);
    assert_int_equal(cairn_ping_async(fx->c, &fx->o, on_done, &out[0]), 0);
    assert_int_equal(pthread_create(&t, NULL, cancel_from_elsewhere, &x), 0);
    assert_int_equal(cairn_ping(fx->c, &fx->o), CAIRN_E_CANCELED);
    pthread_join(t, NULL);
    assert_int_equal(cairn_drain(fx->c, -1), 0);
    assert_int_equal(out[0].rc, CAIRN_E_CANCELED);
    assert_int_equal(cairn_ping_async(fx->c, &fx->o, on_done, &out[1]), 0);
    cairn_poll(fx->c, 20);
    assert_int_equal(out[1].runs, 0);
    assert_int_equal(cairn_cancel_all(fx->c), 0);
    assert_int_equal(cairn_drain(fx->c, -1), 0);
    assert_int_equal(out[1].rc, CAIRN_E_CANCELED);
}

static void a_node_that_comes_back_is_found_again(void **state)
{
    struct fixture *fx = *state;
    char back[8];
    size_t len;

    for (int i = 0; i < 3; i++) {
        assert_int_equal(cairn_put(fx->ns, "k", 1, "v", 1, NULL), 0);
        assert_int_equal(cairn_get(fx->ns, "k", 1, back, sizeof(back), &len, NULL), 0);
        scripted_node_restart(fx->node);
        fx->c->turned_ns = 0; /* a pause: the put is not sent into the connection that is gone */
    }
}

static void a_node_that_is_gone_is_unreachable(void **state)
{
    struct fixture *fx = *state;

    scripted_node_stop(fx->node);
    fx->o.timeout_ms = 1000;
    fx->c->turned_ns = 0;
    assert_int_equal(cairn_ping(fx->c, &fx->o), CAIRN_E_UNREACHABLE);
    assert_true(fx->error.text[0] != '\0');
}

static void *restart_when_asked(void *arg)
{
    struct fixture *fx = arg;

    WHILE_PATIENT (atomic_load(&fx->knobs->puts) < 1 || atomic_load(&fx->knobs->gets) < 1)
        sched_yield();
    atomic_store(&fx->knobs->hold, false);
    scripted_node_restart(fx->node);
    return NULL;
}

static void death_in_the_middle_tells_reads_from_writes(void **state)
{
    struct fixture *fx = *state;
    struct outcome put = { 0 }, get = { 0 };
    char back[8];
    pthread_t t;
    size_t len;

    atomic_store(&fx->knobs->hold, true);
    assert_int_equal(cairn_put_async(fx->ns, "k", 1, "v", 1, NULL, on_done, &put), 0);
    assert_int_equal(cairn_get_async(fx->ns, "k", 1, back, sizeof(back), &len, NULL, on_done, &get), 0);
    assert_int_equal(pthread_create(&t, NULL, restart_when_asked, fx), 0);
    assert_int_equal(cairn_drain(fx->c, -1), 0);
    pthread_join(t, NULL);
    assert_int_equal(put.rc, CAIRN_E_UNKNOWN);  /* it may have happened */
    assert_int_equal(get.rc, CAIRN_E_NOTFOUND); /* asked again of the new one, which has nothing */
}

/* ---- closing ---- */

static void closing_ends_what_is_in_flight(void **state)
{
    struct fixture *fx = *state;
    struct outcome out[20] = { 0 };
    uint8_t *big = pattern(MIB, 1);

    atomic_store(&fx->knobs->hold, true);
    for (int i = 0; i < 20; i++) {
        int rc = i % 2 != 0 ? cairn_ping_async(fx->c, NULL, on_done, &out[i])
                            : cairn_put_async(fx->ns, "k", 1, big, MIB, NULL, on_done, &out[i]);

        assert_int_equal(rc, 0);
    }
    cairn_close(fx->c);
    fx->c = NULL;
    for (int i = 0; i < 20; i++) {
        assert_int_equal(out[i].runs, 1);
        assert_int_equal(out[i].rc, CAIRN_E_CANCELED);
    }
    free(big);
}

static void *wait_for_an_answer(void *arg)
{
    struct fixture *fx = arg;

    return (void *)(intptr_t)cairn_ping(fx->c, NULL);
}

static void closing_ends_waiting_threads(void **state)
{
    struct fixture *fx = *state;
    pthread_t t[4];

    atomic_store(&fx->knobs->hold, true);
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&t[i], NULL, wait_for_an_answer, fx), 0);
    WHILE_PATIENT (atomic_load(&fx->knobs->pings) < 5)
        sched_yield();
    cairn_close(fx->c);
    for (int i = 0; i < 4; i++) {
        void *rc;

        pthread_join(t[i], &rc);
        assert_int_equal((intptr_t)rc, CAIRN_E_CANCELED);
    }
    fx->c = NULL;
}

static void closing_with_the_own_thread(void **state)
{
    struct fixture *fx = *state;
    struct outcome out = { 0 };

    assert_int_equal(cairn_start_thread(fx->c), 0);
    atomic_store(&fx->knobs->hold, true);
    for (int i = 0; i < 10; i++)
        assert_int_equal(cairn_ping_async(fx->c, NULL, on_counted, &out), 0);
    cairn_close(fx->c);
    fx->c = NULL;
    assert_int_equal(out.runs, 10);
    assert_int_equal(out.rc, CAIRN_E_CANCELED);
}

static void *drain_it(void *arg)
{
    struct fixture *fx = arg;

    return (void *)(intptr_t)cairn_drain(fx->c, -1);
}

/* Another thread drives, and does not leave off by itself: the SDK's own thread never had its turn. */
static void stopping_the_own_thread_that_waits_in_line(void **state)
{
    struct fixture *fx = *state;
    struct outcome out = { 0 };
    pthread_t t;
    void *rc;

    atomic_store(&fx->knobs->hold, true);
    assert_int_equal(cairn_ping_async(fx->c, NULL, on_done, &out), 0);
    assert_int_equal(pthread_create(&t, NULL, drain_it, fx), 0);
    WHILE_PATIENT (atomic_load(&fx->c->owner) == 0)
        sched_yield();
    for (int i = 0; i < 20; i++) { /* in line already, or on its way there */
        assert_int_equal(cairn_start_thread(fx->c), 0);
        WHILE_PATIENT (i % 2 != 0 && atomic_load(&fx->c->nwaiters) == 0)
            sched_yield();
        cairn_stop_thread(fx->c);
        assert_int_equal(out.runs, 0);
    }
    assert_int_equal(cairn_start_thread(fx->c), 0);
    cairn_close(fx->c);
    fx->c = NULL;
    pthread_join(t, &rc);
    assert_int_equal((intptr_t)rc, 0);
    assert_int_equal(out.runs, 1);
    assert_int_equal(out.rc, CAIRN_E_CANCELED);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(callbacks_may_start_calls_but_not_wait),
        T(threads_share_a_client),
        T(the_own_thread_runs_callbacks),
        T(draining_beside_the_own_thread),
        T(threads_share_the_own_thread),
        T(too_many_calls_are_refused),
        T(time_runs_out),
        T(a_silent_listener_does_not_hang_us),
        T(another_address_is_tried),
        T(canceled_calls_end_at_once),
        T(a_waiting_call_is_canceled_from_another_thread),
        T(all_calls_are_canceled),
        T(a_node_that_comes_back_is_found_again),
        T(a_node_that_is_gone_is_unreachable),
        T(death_in_the_middle_tells_reads_from_writes),
        T(closing_ends_what_is_in_flight),
        T(closing_ends_waiting_threads),
        T(closing_with_the_own_thread),
        T(stopping_the_own_thread_that_waits_in_line),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
