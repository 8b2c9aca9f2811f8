/* Two threads at one thing that is for one of them at a time: the other is told. */
#include "tests/lib/patience.h"
#include "tests/unit/sdk/sdk_fixture.h"

static void *next_waiting(void *arg)
{
    static struct cairn_entry entry;

    return (void *)(intptr_t)cairn_iter_next(arg, &entry);
}

/* A thread that waits for an iterator's step is in that step for all others. */
static void an_iterator_takes_one_step_at_a_time(void **state)
{
    struct fixture *fx = *state;
    struct outcome out = { 0 };
    struct cairn_entry entry;
    struct cairn_iter *it;
    pthread_t thread;
    void *rc;

    assert_int_equal(cairn_iter_open(fx->ns, "", 0, NULL, &it), 0);
    atomic_store(&fx->knobs->hold, true);
    assert_int_equal(pthread_create(&thread, NULL, next_waiting, it), 0);
    WHILE_PATIENT (atomic_load(&fx->knobs->lists) == 0)
        usleep(1000);
    assert_int_equal(cairn_iter_next_async(it, &entry, on_done, &out), CAIRN_E_STATE);
    assert_int_equal(cairn_iter_next(it, &entry), CAIRN_E_STATE);
    assert_int_equal(cairn_cancel_all(fx->c), 0);
    assert_int_equal(pthread_join(thread, &rc), 0);
    assert_int_equal((intptr_t)rc, CAIRN_E_CANCELED);
    cairn_iter_close(it);
}

static void *stop(void *arg)
{
    cairn_stop_thread(arg);
    return NULL;
}

static void stay(void *arg, int rc)
{
    atomic_int *step = arg;

    (void)rc;
    atomic_store(step, 1);
    WHILE_PATIENT (atomic_load(step) == 1)
        usleep(1000);
}

/* A thread that is being stopped runs until its last callback is over: then another may be started. */
static void a_thread_is_stopped_before_the_next_is_started(void **state)
{
    struct fixture *fx = *state;
    atomic_int step = 0;
    pthread_t thread;

    assert_int_equal(cairn_start_thread(fx->c), 0);
    assert_int_equal(cairn_ping_async(fx->c, NULL, stay, &step), 0);
    WHILE_PATIENT (atomic_load(&step) == 0)
        usleep(1000);
    assert_int_equal(pthread_create(&thread, NULL, stop, fx->c), 0);
    WHILE_PATIENT (!atomic_load(&fx->c->thread_stop))
        usleep(1000);
    assert_int_equal(cairn_start_thread(fx->c), CAIRN_E_STATE);
    cairn_stop_thread(fx->c);
    atomic_store(&step, 2);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(cairn_start_thread(fx->c), 0);
    assert_int_equal(cairn_ping(fx->c, NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(an_iterator_takes_one_step_at_a_time, setup, teardown),
        cmocka_unit_test_setup_teardown(a_thread_is_stopped_before_the_next_is_started, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
