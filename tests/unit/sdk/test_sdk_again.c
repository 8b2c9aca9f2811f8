/* What a cluster's coordinator is asked while one follows another: again, until it is answered or too late. Against a
 * node in this process. */
#include "tests/lib/patience.h"
#include "tests/unit/sdk/sdk_fixture.h"

static int status_of(struct fixture *fx)
{
    char *json = NULL;
    int rc = cairn_cluster_status(fx->c, &json, &fx->o);

    if (rc == 0)
        assert_string_equal(json, "{}");
    cairn_free(json);
    return rc;
}

/* Whatever says that there is no coordinator is no answer yet. */
static void until_somebody_coordinates(void **state)
{
    static const int passing[] = { CAIRN_E_MOVED,   CAIRN_E_BUSY,    CAIRN_E_CLOSED,     CAIRN_E_SHUTDOWN,
                                   CAIRN_E_TIMEOUT, CAIRN_E_UNKNOWN, CAIRN_E_UNREACHABLE };
    struct fixture *fx = *state;
    uint32_t slots = 0;

    for (size_t i = 0; i < ARRAY_SIZE(passing); i++) {
        atomic_store(&fx->knobs->cluster_asks, 0);
        atomic_store(&fx->knobs->cluster_rc, passing[i]);
        atomic_store(&fx->knobs->cluster_fails, 3);
        assert_int_equal(status_of(fx), 0);
        assert_int_equal(fx->knobs->cluster_asks, 4);
        atomic_store(&fx->knobs->cluster_fails, 2);
        assert_int_equal(cairn_cluster_drain(fx->c, "n2", false, false, &slots, &fx->o), 0);
        assert_int_equal(slots, 7);
        atomic_store(&fx->knobs->cluster_fails, 1);
        assert_int_equal(cairn_cluster_lose(fx->c, "n2", false, NULL, NULL, &fx->o), 0);
        assert_int_equal(fx->knobs->cluster_asks, 4 + 3 + 2);
    }
}

/* One that is stopped says nothing: another try goes to whoever coordinates by then. */
static void one_that_does_not_answer_is_not_waited_for(void **state)
{
    struct fixture *fx = *state;

    atomic_store(&fx->knobs->cluster_rc, 0);
    atomic_store(&fx->knobs->cluster_fails, 1);
    assert_int_equal(status_of(fx), 0);
    assert_int_equal(fx->knobs->cluster_asks, 2);
}

/* As long as it has no connection a try is none of the cluster's, yet no less to be made again. */
static void a_node_that_is_started_anew_is_waited_for(void **state)
{
    struct fixture *fx = *state;
    struct outcome out = { 0 };
    char *json = NULL;

    assert_int_equal(status_of(fx), 0);
    scripted_node_stop(fx->node);
    assert_int_equal(cairn_cluster_status_async(fx->c, &json, &fx->o, on_done, &out), 0);
    WHILE_PATIENT (out.runs == 0 && CONTAINER_OF(fx->c->live.next, struct cairn_call, link)->again.tries == 0)
        cairn_poll(fx->c, 10);
    scripted_node_restart(fx->node);
    assert_int_equal(cairn_drain(fx->c, -1), 0);
    assert_int_equal(out.rc, 0);
    assert_string_equal(json, "{}");
    cairn_free(json);
}

static void an_answer_is_one(void **state)
{
    struct fixture *fx = *state;

    atomic_store(&fx->knobs->cluster_rc, CAIRN_E_STATE);
    atomic_store(&fx->knobs->cluster_fails, 1);
    assert_int_equal(cairn_cluster_drain(fx->c, "n2", false, false, NULL, &fx->o), CAIRN_E_STATE);
    assert_int_equal(fx->knobs->cluster_asks, 1);
    atomic_store(&fx->knobs->cluster_rc, CAIRN_E_MOVED);
    atomic_store(&fx->knobs->cluster_fails, 1);
    fx->o.flags = CAIRN_ONCE;
    assert_int_equal(status_of(fx), CAIRN_E_MOVED);
    assert_int_equal(fx->knobs->cluster_asks, 2);
}

/* Then the last answer is the call's, which says more than that its time is over. */
static void no_longer_than_it_may_take(void **state)
{
    struct fixture *fx = *state;

    atomic_store(&fx->knobs->cluster_rc, CAIRN_E_MOVED);
    atomic_store(&fx->knobs->cluster_fails, INT32_MAX);
    fx->o.timeout_ms = 2000;
    assert_int_equal(status_of(fx), CAIRN_E_MOVED);
    assert_int_equal(fx->error.code, CAIRN_E_MOVED);
    assert_true(atomic_load(&fx->knobs->cluster_asks) > 1);
}

static void a_pause_ends_when_it_is_canceled(void **state)
{
    struct fixture *fx = *state;
    static struct outcome out; /* the last call ends with the client */
    static char *json;
    static uint64_t number;

    atomic_store(&fx->knobs->cluster_rc, CAIRN_E_BUSY);
    atomic_store(&fx->knobs->cluster_fails, INT32_MAX);
    fx->o.call = &number;
    for (unsigned asks = 1; asks < 6; asks++) {
        atomic_store(&fx->knobs->cluster_asks, 0);
        out = (struct outcome){ 0 };
        assert_int_equal(cairn_cluster_status_async(fx->c, &json, &fx->o, on_done, &out), 0);
        WHILE_PATIENT (atomic_load(&fx->knobs->cluster_asks) < asks)
            cairn_poll(fx->c, 1);
        assert_int_equal(cairn_cancel(fx->c, number), 0);
        assert_int_equal(cairn_drain(fx->c, -1), 0);
        assert_int_equal(out.runs, 1);
        assert_int_equal(out.rc, CAIRN_E_CANCELED);
    }
    assert_int_equal(cairn_cluster_status_async(fx->c, &json, &fx->o, on_done, &out), 0); /* closed while it waits */
    WHILE_PATIENT (out.runs == 1 && atomic_load(&fx->knobs->cluster_asks) < 8)
        cairn_poll(fx->c, 1);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(until_somebody_coordinates),
        TEST(one_that_does_not_answer_is_not_waited_for),
        TEST(a_node_that_is_started_anew_is_waited_for),
        TEST(an_answer_is_one),
        TEST(no_longer_than_it_may_take),
        TEST(a_pause_ends_when_it_is_canceled),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
