/* Lifeguard's refinements of SWIM (Dadgar, Phillips, Currey, DSN 2018), each by itself: a story that ends badly without
 * that one. mistakes.py takes them away: M_NO_HEALTH, M_SUSPECTS_BRIEFLY and M_SUSPECTS_LONG, M_NO_BUDDY. */
#include "tests/sim/group_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

enum { N = 5, MANY = 20, SEEDS = 40 };

static struct group_world *group(const struct cairn_swim_conf *swim, uint32_t nodes, uint64_t seed)
{
    struct group_world_conf conf = {
        .net = { .seed = seed, .nodes = nodes, .latency_ns = 100000, .jitter_ns = 400000 },
        .swim = *swim,
        .stands = true,
    };
    struct group_world *gw = group_world_new(&conf);

    group_world_run_ms(gw, 5000);
    assert_int_equal(gw->suspicions, 0);
    return gw;
}

static void assert_all_alive(const struct group_world *gw)
{
    char why[128];

    group_world_check(gw);
    if (!group_world_agrees(gw, why))
        fail_msg("%s", why);
}

/* Local health multiplier: one member hears and is heard for 0.3 s of each second. It finds others silent, of whom
 * nobody else does; so it gives them more time, and then they answer: it suspects few from then on. */
static void who_is_not_well_gives_others_more_time(void **state)
{
    struct group_world *gw = group(&cairn_swim_conf_default, N, 7);
    const struct cairn_swim *s = &gw->nodes[0].core;
    struct cairn_swim_counts before = s->counts;

    (void)state;
    for (uint32_t second = 0; second < 120; second++) {
        if (second == 20)
            before = s->counts;
        world_side(gw->world, 0, 1);
        group_world_run_ms(gw, 700);
        world_heal(gw->world);
        group_world_run_ms(gw, 300);
    }
    assert_true(before.suspicions > 0);
    assert_true(s->counts.suspicions - before.suspicions < 20); /* else one a second, of which some are believed */
    assert_int_equal(gw->false_deaths, 0);

    /* Well again, it is as quick as the others. */
    group_world_run_ms(gw, 60000);
    assert_int_equal(s->health, 0);
    assert_all_alive(gw);
    group_world_free(gw);
}

/* Dynamic suspicion timeouts: one member is cut off from all for 3 s. It suspects others, and nobody confirms that, so
 * each suspicion would last 3.2 s; while all the others confirm each other's suspicion, which lasts 0.8 s then. */
static void a_suspicion_lasts_as_long_as_it_is_ones_own(void **state)
{
    struct group_world *gw = group(&cairn_swim_conf_default, N, 7);

    (void)state;
    world_side(gw->world, 0, 1);
    group_world_run_ms(gw, 3000);
    assert_true(gw->nodes[0].core.counts.suspicions > 0);
    for (uint32_t i = 1; i < N; i++) {
        assert_int_not_equal(group_world_view(gw, 0, i), CAIRN_SWIM_DEAD);
        assert_int_equal(group_world_view(gw, i, 0), CAIRN_SWIM_DEAD);
    }
    world_heal(gw->world);
    group_world_run_ms(gw, 10000);
    assert_all_alive(gw);
    group_world_free(gw);
}

static bool tells_of(const struct group_world *gw, uint32_t i, uint32_t j)
{
    const struct cairn_swim *s = &gw->nodes[i].core;

    return s->views[cairn_swim_dir_find(s->dir, gw->nodes[j].core.id)].news != 0;
}

/* Buddy notification: a member is cut off until all suspect it. Then it is there again, long before it would be found
 * dead, but not for those who found it silent themselves and tell that until it ends: all that it hears are others,
 * for whom the suspicion is no news any more. Whoever of them talks to it tells it. */
static void suspect_hears_of_it(uint64_t seed)
{
    struct cairn_swim_conf swim = cairn_swim_conf_default;
    struct group_world *gw;
    uint32_t others = 0;

    swim.suspect_ms = 60000;
    gw = group(&swim, MANY, seed);
    world_side(gw->world, 0, 1);
    group_world_run_ms(gw, 20000);
    assert_int_equal(gw->nodes[0].core.counts.accused, 0);
    world_heal(gw->world);
    for (uint32_t i = 1; i < MANY; i++) {
        assert_int_equal(group_world_view(gw, i, 0), CAIRN_SWIM_SUSPECT);
        if (tells_of(gw, i, 0)) {
            world_cut(gw->world, i, 0);
            world_cut(gw->world, 0, i);
        } else {
            others++;
        }
    }
    assert_in_range(others, 1, MANY - 2); /* of either kind */
    for (uint32_t i = 0; i < 200 && gw->nodes[0].core.counts.accused == 0; i++)
        group_world_run_ms(gw, 100);
    if (gw->nodes[0].core.counts.accused == 0)
        fail_msg("seed %llu: the suspect has not heard of it", (unsigned long long)seed);
    world_heal(gw->world);
    group_world_run_ms(gw, 30000); /* by then it has talked to those that the news missed */
    assert_int_equal(gw->false_deaths, 0);
    assert_all_alive(gw);
    group_world_free(gw);
}

static void a_suspect_hears_of_it_from_whoever_talks_to_it(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++)
        suspect_hears_of_it(seed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_is_not_well_gives_others_more_time),
        cmocka_unit_test(a_suspicion_lasts_as_long_as_it_is_ones_own),
        cmocka_unit_test(a_suspect_hears_of_it_from_whoever_talks_to_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
