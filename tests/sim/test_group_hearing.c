/* Members that hear less than they should suspect others who are well. Nobody but they themselves may be found dead. */
#include "tests/sim/group_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

enum { N = 5, ROUNDS = 60 };

static struct group_world *group(uint64_t seed)
{
    struct group_world_conf conf = {
        .net = { .seed = seed, .nodes = N, .latency_ns = 100000, .jitter_ns = 400000 },
        .swim = cairn_swim_conf_default,
        .stands = true,
    };
    struct group_world *gw = group_world_new(&conf);

    gw->victim = UINT32_MAX;
    group_world_run_ms(gw, 3000);
    return gw;
}

/* None of the members from @first on finds another of them dead, if only for a moment. */
static void run_and_watch(struct group_world *gw, uint32_t first, uint64_t ms)
{
    for (uint64_t t = 0; t < ms; t += 5) {
        group_world_run_ms(gw, 5);
        for (uint32_t i = first; i < N; i++) {
            for (uint32_t j = first; j < N; j++)
                assert_int_not_equal(group_world_view(gw, i, j), CAIRN_SWIM_DEAD);
        }
    }
}

static void heal(struct group_world *gw)
{
    char why[128];

    world_heal(gw->world);
    run_and_watch(gw, 1, 30000);
    group_world_check(gw);
    if (!group_world_agrees(gw, why))
        fail_msg("%s", why);
}

/* Nobody hears a member for some seconds, so nobody answers it; it is found dead. What it came to suspect meanwhile,
 * and could tell nobody, kills nobody when it is heard again. */
static void who_was_not_heard_kills_nobody(void **state)
{
    struct group_world *gw = group(7);

    (void)state;
    gw->victim = 0;
    for (uint32_t round = 0; round < ROUNDS; round++) {
        for (uint32_t i = 1; i < N; i++)
            world_cut(gw->world, 0, i);
        run_and_watch(gw, 1, 1500 + 70 * round);
        heal(gw);
    }
    assert_true(gw->learned > 0);
    assert_true(gw->nodes[0].core.counts.deaths > 0);
    group_world_free(gw);
}

/* The other way about: it hears nobody, and all hear what it says of them. */
static void who_does_not_hear_kills_nobody(void **state)
{
    struct group_world *gw = group(8);

    (void)state;
    gw->victim = 0;
    for (uint32_t round = 0; round < ROUNDS; round++) {
        for (uint32_t i = 1; i < N; i++)
            world_cut(gw->world, i, 0);
        run_and_watch(gw, 1, 1500 + 70 * round);
        heal(gw);
    }
    assert_true(gw->learned > 0);
    assert_true(gw->nodes[0].core.counts.deaths > 0);
    group_world_free(gw);
}

/* Two pairs see each other only through a fifth member. One of them stalls, is suspected, and contradicts: that has to
 * come to those, too, who do not hear it. */
static void a_contradiction_comes_to_all(void **state)
{
    static const uint32_t ends[] = { 0, 1, 3, 4 };
    struct group_world *gw = group(9);

    (void)state;
    for (uint32_t i = 0; i < 2; i++) {
        for (uint32_t j = 3; j < N; j++) {
            world_cut(gw->world, i, j);
            world_cut(gw->world, j, i);
        }
    }
    for (uint32_t round = 0; round < 10 * ROUNDS; round++) {
        world_stall(gw->world, ends[round % 4], (500 + 7 * (round % 40)) * CAIRN_NS_PER_MS);
        group_world_run_ms(gw, 15000);
    }
    assert_true(gw->suspicions > 0);
    assert_int_equal(gw->false_deaths, 0);
    heal(gw);
    group_world_free(gw);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_was_not_heard_kills_nobody),
        cmocka_unit_test(who_does_not_hear_kills_nobody),
        cmocka_unit_test(a_contradiction_comes_to_all),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
