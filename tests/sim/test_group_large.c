/* Large groups on a poor network, below the sizes that tests/bench/cluster simulates: nobody dies by mistake, who dies
 * is found in time, and the time grows with the logarithm of the group. */
#include "tests/sim/group_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static struct group_world *group(uint32_t nodes)
{
    struct group_world_conf conf = {
        .net = { .seed = 11, .nodes = nodes, .latency_ns = 100000, .jitter_ns = 400000, .loss_ppm = 10000 },
        .swim = cairn_swim_conf_default,
        .stands = true,
        .shares = true,
        .suspicions = 256,
    };

    return group_world_new(&conf);
}

static void nobody_dies_of_slow_members(void **state)
{
    enum { N = 200, MINUTES = 10 };
    struct group_world *gw = group(N);

    (void)state;
    for (uint32_t i = 0; i < N; i += 10)
        world_slow(gw->world, i, 300 * CAIRN_NS_PER_MS);
    for (uint32_t m = 0; m < MINUTES; m++) {
        world_stall(gw->world, m * 10, CAIRN_NS_PER_S);
        group_world_run_ms(gw, 60 * 1000);
    }
    assert_int_equal(gw->false_deaths, 0);
    assert_true(gw->suspicions > 0); /* it was not that easy */
    group_world_free(gw);
}

static void a_death_is_known_to_all_in_time(void **state)
{
    enum { N = 2000 };
    struct group_world *gw = group(N);

    (void)state;
    group_world_run_ms(gw, 2000);
    group_world_watch_death(gw, 77);
    group_world_run_ms(gw, 10000);
    assert_int_equal(gw->learned, N - 1);
    assert_int_equal(gw->false_deaths, 0);
    group_world_free(gw);
}

/* As many at once as a switch takes along. */
static void many_deaths_at_once_are_found(void **state)
{
    enum { N = 300 };
    struct group_world *gw = group(N);
    char why[128];

    (void)state;
    group_world_run_ms(gw, 2000);
    for (uint32_t i = 0; i < N; i += 3)
        group_world_kill(gw, i);
    group_world_run_ms(gw, 60000);
    group_world_check(gw);
    if (!group_world_agrees(gw, why))
        fail_msg("%s", why);
    assert_int_equal(gw->false_deaths, 0);
    group_world_free(gw);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nobody_dies_of_slow_members),
        cmocka_unit_test(a_death_is_known_to_all_in_time),
        cmocka_unit_test(many_deaths_at_once_are_found),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
