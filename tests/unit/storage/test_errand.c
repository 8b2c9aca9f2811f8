/* Work on a thread of its own, and those who wait for it. */
#include "server/storage/errand.h"

#include "sdk/core/base/log.h"
#include "tests/lib/patience.h"

#include <sched.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { SOON_MS = 5, PATIENT_MS = 60000, ASKERS = 100 };

struct fixture {
    struct cairn_errand errand;
    sem_t go;
    atomic_int begun, done;
    struct cairn_log log;
};

static void on_work(void *arg)
{
    struct fixture *fx = arg;

    atomic_fetch_add(&fx->begun, 1);
    while (sem_wait(&fx->go) != 0) {
    }
    atomic_fetch_add(&fx->done, 1);
}

static void start(struct fixture *fx, uint32_t gather_ms)
{
    *fx = (struct fixture){ 0 };
    sem_init(&fx->go, 0, 0);
    cairn_errand_init(&fx->errand, gather_ms, on_work, fx);
}

static void end(struct fixture *fx)
{
    cairn_errand_fini(&fx->errand);
    sem_destroy(&fx->go);
}

static void who_waits_gets_work_of_after_the_call(void **state)
{
    struct fixture fx;

    (void)state;
    start(&fx, 0);
    for (int i = 1; i <= 3; i++) {
        sem_post(&fx.go);
        assert_true(cairn_errand_await(&fx.errand, PATIENT_MS));
        assert_int_equal(atomic_load(&fx.done), i);
    }
    end(&fx);
}

/* The first has waited as long as it may; nobody else waits at all, and the work is not begun a second time. */
static void nobody_waits_for_work_that_hangs(void **state)
{
    struct fixture fx;

    (void)state;
    start(&fx, 0);
    while (atomic_load(&fx.begun) == 0)
        assert_false(cairn_errand_await(&fx.errand, SOON_MS));
    for (int i = 0; i < 100; i++)
        assert_false(cairn_errand_await(&fx.errand, SOON_MS));
    assert_int_equal(atomic_load(&fx.begun), 1);
    sem_post(&fx.go);
    sem_post(&fx.go); /* what was asked for meanwhile is done once more, for all */
    WHILE_PATIENT (atomic_load(&fx.done) < 2)
        sched_yield();
    sem_post(&fx.go);
    assert_true(cairn_errand_await(&fx.errand, PATIENT_MS));
    assert_int_equal(atomic_load(&fx.done), 3);
    end(&fx);
}

static void those_who_ask_together_are_served_together(void **state)
{
    struct fixture fx;

    (void)state;
    start(&fx, 200);
    for (int i = 0; i < ASKERS; i++)
        sem_post(&fx.go);
    for (int i = 0; i < ASKERS; i++)
        cairn_errand_ask(&fx.errand);
    WHILE_PATIENT (atomic_load(&fx.done) == 0)
        sched_yield();
    end(&fx);
    assert_in_range(atomic_load(&fx.done), 1, ASKERS / 2); /* once, but on a machine that stands still in between */
}

static void *end_elsewhere(void *arg)
{
    struct fixture *fx = arg;

    cairn_log_bind(&fx->log);
    end(fx);
    return NULL;
}

/* Whoever ends waits for work that hangs, and says that it does. */
static void an_end_that_waits_says_so(void **state)
{
    struct fixture fx;
    pthread_t thread;
    char line[300] = "";
    int fds[2];

    (void)state;
    start(&fx, 0);
    fx.errand.silent_ms = SOON_MS;
    assert_int_equal(pipe(fds), 0);
    cairn_log_init(&fx.log, fds[1], CAIRN_LOG_INFO, NULL);
    cairn_errand_ask(&fx.errand);
    WHILE_PATIENT (atomic_load(&fx.begun) == 0)
        sched_yield();
    assert_int_equal(pthread_create(&thread, NULL, end_elsewhere, &fx), 0);
    assert_true(read(fds[0], line, sizeof(line) - 1) > 0);
    assert_non_null(strstr(line, "waits for a disk"));
    assert_int_equal(atomic_load(&fx.done), 0);
    sem_post(&fx.go);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(atomic_load(&fx.done), 1);
    cairn_log_fini(&fx.log);
    close(fds[0]);
    close(fds[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_waits_gets_work_of_after_the_call),
        cmocka_unit_test(nobody_waits_for_work_that_hangs),
        cmocka_unit_test(those_who_ask_together_are_served_together),
        cmocka_unit_test(an_end_that_waits_says_so),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
