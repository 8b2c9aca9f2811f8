/* The sweeper's candidates: what is named is not taken, what is not is taken once, in order. */
#include "server/router/sweep_set.h"

#include "cairn/error.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void what_is_not_named_is_taken_once(void **state)
{
    struct router_sweep_set set = { 0 };
    uint64_t *ids, expected = 0;
    uint32_t n, taken = 0;

    (void)state;
    for (int round = 0; round < 2; round++) {
        router_sweep_set_clear(&set);
        for (uint64_t i = 0; i < 5000; i++)
            assert_int_equal(router_sweep_set_add(&set, i * 10), 0);
        for (uint64_t i = 0; i < 50000; i += 30) /* and many that are no candidates */
            router_sweep_set_name(&set, i);
        for (uint64_t i = 1; i < 70000; i += 70)
            router_sweep_set_name(&set, i);
        taken = 0;
        expected = 10;
        while ((n = router_sweep_set_take(&set, 700, &ids)) > 0) {
            assert_true(n <= 700);
            for (uint32_t i = 0; i < n; i++, expected += expected % 30 == 10 ? 10 : 20)
                assert_int_equal(ids[i], expected);
            taken += n;
        }
        assert_int_equal(taken, 5000 - 1667);
        assert_int_equal(router_sweep_set_take(&set, 700, &ids), 0);
    }
    router_sweep_set_fini(&set);
}

static void only_ascending_ids(void **state)
{
    struct router_sweep_set set = { 0 };

    (void)state;
    assert_int_equal(router_sweep_set_add(&set, 5), 0);
    assert_int_equal(router_sweep_set_add(&set, 5), CAIRN_E_INVAL);
    assert_int_equal(router_sweep_set_add(&set, 4), CAIRN_E_INVAL);
    assert_int_equal(router_sweep_set_add(&set, UINT64_MAX), 0);
    router_sweep_set_fini(&set);
}

static void it_is_bounded(void **state)
{
    struct router_sweep_set set = { 0 };
    uint64_t *ids;

    (void)state;
    assert_int_equal(router_sweep_set_take(&set, 10, &ids), 0);
    for (uint64_t i = 0; i < ROUTER_SWEEP_SET_MAX; i++)
        assert_int_equal(router_sweep_set_add(&set, i), 0);
    assert_int_equal(router_sweep_set_add(&set, UINT64_MAX), CAIRN_E_LIMIT);
    router_sweep_set_fini(&set);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_not_named_is_taken_once),
        cmocka_unit_test(only_ascending_ids),
        cmocka_unit_test(it_is_bounded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
