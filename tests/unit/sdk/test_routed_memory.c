/* A routed call that has no memory to wait: it ends, and has given back what it held. */
#include "tests/lib/failing_malloc.h"
#include "tests/lib/skip.h"
#include "tests/unit/sdk/routed_fixture.h"

#ifndef FAILING_MALLOC

static void a_write_that_cannot_wait_for_its_next_try_ends(void **state)
{
    (void)state;
    skip_because("its allocations do not fail under a sanitizer");
}

#else

/* The heap of timers has room for @more. It is larger in truth, and grows by what it says. */
static void leave_room(struct routed *x, uint32_t more)
{
    struct cairn_timers *timers = &x->c->loop.env.timers;

    timers->room = MIN(timers->room, timers->n + more);
}

static void a_write_that_cannot_wait_for_its_next_try_ends(void **state)
{
    enum { TIMERS = 8, ALLOCATIONS = 8 };
    struct routed *x = routed_new(2, false);
    uint32_t without = 0;
    char key[32];

    (void)state;
    strcpy(key, key_of(x, 1, 0));
    assert_int_equal(cairn_put(x->ns, key, strlen(key), "v", 1, &x->o), 0);
    for (uint32_t i = 0; i < TIMERS * ALLOCATIONS; i++) {
        int rc;

        scripted_cluster_fault(x->cluster, 1, SCRIPTED_MOVED, 1);
        leave_room(x, i / ALLOCATIONS);
        failing_malloc_begin(1 + i % ALLOCATIONS);
        rc = cairn_put(x->ns, key, strlen(key), "v", 1, &x->o);
        failing_malloc_end();
        assert_true(rc == 0 || rc == CAIRN_E_NOMEM || rc == CAIRN_E_UNKNOWN);
        without += rc == CAIRN_E_UNKNOWN; /* behind a try, which leaves it in doubt */
        scripted_cluster_fault(x->cluster, 1, SCRIPTED_NONE, 0);
        assert_int_equal(cairn_put(x->ns, key, strlen(key), "v", 1, &x->o), 0);
    }
    assert_true(without > 0);
    routed_free(x);
}

#endif

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(a_write_that_cannot_wait_for_its_next_try_ends) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
