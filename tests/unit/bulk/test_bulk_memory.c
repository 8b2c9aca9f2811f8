/* The 1st, 2nd, ... nth allocation of a transfer fails, at either end: it moves every byte, or ends with an error,
 * soon, and nothing is left behind. */
#include "tests/lib/bulk_world.h"
#include "tests/lib/failing_malloc.h"
#include "tests/lib/skip.h"

#include <string.h>

#ifndef FAILING_MALLOC

static void skipped(void **state)
{
    (void)state;
    skip_because("its allocations do not fail under a sanitizer");
}
#define frames_fail_and_recover skipped
#define vm_fails_and_recovers   skipped

#else

enum { LEN = (3 << 20) + 5, ROUNDS_MAX = 500 };

static int there_and_back(struct fixture *fx, enum cairn_bulk_way way)
{
    struct cairn_bulk_area *area;
    int rc = cairn_bulk_register(fx->client, fx->remote, MEM, &area);

    if (rc != 0)
        return rc;
    rc = cairn_bulk_expose(fx->client, fx->remote, MEM, CAIRN_BULK_CAN_READ | CAIRN_BULK_CAN_WRITE, &fx->region);
    if (rc == 0)
        rc = xfer(fx, way, false, 77, LEN);
    if (rc == 0 && memcmp(fx->local + 77, fx->remote + 77, LEN) != 0)
        fail_msg("a pull that ended well did not bring every byte");
    fx->local[78] ^= 1;
    if (rc == 0)
        rc = xfer(fx, way, true, 78, LEN);
    if (rc == 0 && memcmp(fx->local + 78, fx->remote + 78, LEN) != 0)
        fail_msg("a push that ended well did not bring every byte");
    cairn_bulk_settle(&fx->region);
    cairn_bulk_conceal(&fx->region);
    cairn_bulk_unregister(area);
    return rc;
}

/* A world for each, since a connection may be lost for want of memory. */
static void each_allocation_fails(enum cairn_bulk_way way, uint32_t at_least)
{
    uint32_t n = 0, failures = 0;
    bool failed;

    do {
        void *state;
        int rc;

        failing_malloc_begin(0);
        setup_unix(&state);
        failing_malloc_until = n; /* none in the first round: what libraries keep for good is theirs then */
        rc = there_and_back(state, way);
        failed = n > 0 && failing_malloc_until == 0;
        failing_malloc_until = 0;
        if (rc != 0 && rc != CAIRN_E_NOMEM && rc != CAIRN_E_CLOSED)
            fail_msg("allocation %u: %s", n, cairn_error_name(rc));
        if (rc != 0)
            failures++;
        teardown(&state);
        failing_malloc_end();
        if (n > 0 && failing_malloc_live != 0)
            fail_msg("allocation %u, %s: %d pieces are left", n, cairn_error_name(rc), failing_malloc_live);
    } while ((n++ == 0 || failed) && n < ROUNDS_MAX);
    assert_false(failed);
    assert_true(failures >= at_least);
}

static void frames_fail_and_recover(void **state)
{
    (void)state;
    each_allocation_fails(CAIRN_BULK_FRAMES, 4);
}

static void vm_fails_and_recovers(void **state)
{
    (void)state;
    each_allocation_fails(CAIRN_BULK_VM, 1);
}

#endif

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(frames_fail_and_recover),
                                        cmocka_unit_test(vm_fails_and_recovers) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
