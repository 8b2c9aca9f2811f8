/* Members that hear less than they should suspect others who are well. Nobody but they themselves may be found dead. */
#include "tests/sim/group_world.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

enum { N = 5, SEEDS = 40, LENGTHS = 60, ROUNDS = 3 };

/* A story runs with many seeds: what it says holds for each of them. */
struct story {
    struct group_world *gw;
    uint64_t seed;
};

static struct story begin(uint64_t seed)
{
    struct group_world_conf conf = {
        .net = { .seed = seed, .nodes = N, .latency_ns = 100000, .jitter_ns = 400000 },
        .swim = cairn_swim_conf_default,
        .stands = true,
    };
    struct story s = { .gw = group_world_new(&conf), .seed = seed };

    s.gw->victim = UINT32_MAX;
    group_world_run_ms(s.gw, 3000);
    return s;
}

/* How long the trouble of a round lasts: the seeds together go through all lengths, each several times. */
static uint32_t length(const struct story *s, uint32_t round)
{
    return (uint32_t)(s->seed * ROUNDS + round) % LENGTHS;
}

/* None of the members from @first on finds another of them dead, if only for a moment. */
static void run_and_watch(struct story *s, uint32_t first, uint64_t ms)
{
    for (uint64_t t = 0; t < ms; t += 5) {
        group_world_run_ms(s->gw, 5);
        for (uint32_t i = first; i < N; i++) {
            for (uint32_t j = first; j < N; j++) {
                if (group_world_view(s->gw, i, j) == CAIRN_SWIM_DEAD)
                    fail_msg("seed %" PRIu64 ": %u finds %u dead", s->seed, i, j);
            }
        }
    }
}

static void heal(struct story *s)
{
    char why[128];

    world_heal(s->gw->world);
    run_and_watch(s, 1, 30000);
    group_world_check(s->gw);
    if (!group_world_agrees(s->gw, why))
        fail_msg("seed %" PRIu64 ": %s", s->seed, why);
}

/* Member 0 is not heard, or does not hear. The others find it dead, and it finds them dead. */
static void cut_off(bool is_heard)
{
    uint64_t learned = 0, deaths = 0;

    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct story s = begin(seed);

        s.gw->victim = 0;
        for (uint32_t round = 0; round < ROUNDS; round++) {
            for (uint32_t i = 1; i < N; i++)
                world_cut(s.gw->world, is_heard ? i : 0, is_heard ? 0 : i);
            run_and_watch(&s, 1, 1500 + 70 * length(&s, round));
            heal(&s);
        }
        learned += s.gw->learned;
        deaths += s.gw->nodes[0].core.counts.deaths;
        group_world_free(s.gw);
    }
    assert_true(learned > 0); /* it was not that easy */
    assert_true(deaths > 0);
}

/* Nobody hears a member for some seconds, so nobody answers it; it is found dead. What it came to suspect meanwhile,
 * and could tell nobody, kills nobody when it is heard again. */
static void who_was_not_heard_kills_nobody(void **state)
{
    (void)state;
    cut_off(false);
}

/* The other way about: it hears nobody, and all hear what it says of them. */
static void who_does_not_hear_kills_nobody(void **state)
{
    (void)state;
    cut_off(true);
}

/* Two pairs see each other only through a fifth member. One of them stalls for less than a suspicion lasts, is suspected,
 * and contradicts: that has to come to those, too, who do not hear it. */
static void a_contradiction_comes_to_all(void **state)
{
    enum { STALLS = 40 };
    static const uint32_t ends[] = { 0, 1, 3, 4 };
    uint64_t suspicions = 0;

    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct story s = begin(seed);

        for (uint32_t i = 0; i < 2; i++) {
            for (uint32_t j = 3; j < N; j++) {
                world_cut(s.gw->world, i, j);
                world_cut(s.gw->world, j, i);
            }
        }
        for (uint32_t round = 0; round < STALLS; round++) {
            world_stall(s.gw->world, ends[(seed + round) % 4], (500 + 7 * round) * CAIRN_NS_PER_MS);
            group_world_run_ms(s.gw, 15000);
        }
        suspicions += s.gw->suspicions;
        if (s.gw->false_deaths > 0)
            fail_msg("seed %" PRIu64 ": a living member was found dead", seed);
        heal(&s);
        group_world_free(s.gw);
    }
    assert_true(suspicions > 0);
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
