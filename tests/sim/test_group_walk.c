/* Random walks: whatever happens to a group, what must hold at any moment holds, and once all is well again all members
 * agree. CAIRN_SIM_SEED=N replays one walk, and says what happens. */
#include "sdk/core/base/log.h"
#include "tests/sim/group_world.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { WALKS = 400, STEPS = 150, NODES_MIN = 3, NODES_MAX = 9, SETTLE_MS = 120 * 1000 };

struct walk {
    struct group_world *gw;
    uint32_t members;
    bool tell;
};

static uint32_t dice(struct walk *k, uint32_t n)
{
    return (uint32_t)(world_random(k->gw->world) % n);
}

static uint32_t running(const struct walk *k)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < k->members; i++)
        n += k->gw->nodes[i].runs && !k->gw->nodes[i].leaving;
    return n;
}

/* Whom one joins by: any that runs, or oneself. */
static uint32_t a_seed(struct walk *k, uint32_t i)
{
    uint32_t from = dice(k, k->members);

    for (uint32_t n = 0; n < k->members; n++) {
        uint32_t j = (from + n) % k->members;

        if (j != i && k->gw->nodes[j].runs && !k->gw->nodes[j].leaving)
            return j;
    }
    return i;
}

static void step(struct walk *k)
{
    static const char *const names[] = { "start or kill", "leave", "cut", "side", "stall", "slow", "load", "heal" };
    struct group_world *gw = k->gw;
    struct world *w = gw->world;
    uint32_t i = dice(k, gw->conf.net.nodes), what = dice(k, 8);
    struct group_node *x = &gw->nodes[i];

    if (k->tell)
        print_message("%8" PRIu64 " ms: node %u, %s\n", world_now_ns(w) / CAIRN_NS_PER_MS, i, names[what]);
    if (what == 0 && !x->runs)
        group_world_start(gw, i, a_seed(k, i));
    else if (what == 0 && (x->leaving || i >= k->members || running(k) > 1)) /* one stays, or nobody could be joined */
        group_world_kill(gw, i);
    else if (what == 1 && x->runs && !x->leaving && i < k->members && running(k) > 1)
        group_world_leave(gw, i);
    else if (what == 2 && dice(k, 2) == 0)
        world_cut(w, i, dice(k, gw->conf.net.nodes));
    else if (what == 3)
        world_side(w, i, dice(k, 2));
    else if (what == 4)
        world_stall(w, i, dice(k, 5000) * CAIRN_NS_PER_MS);
    else if (what == 5)
        world_slow(w, i, dice(k, 2) * dice(k, 400) * CAIRN_NS_PER_MS);
    else if (what == 6 && x->runs)
        group_world_input(gw, i, &(struct cairn_swim_in){ .type = CAIRN_SWIM_LOAD, .load = (uint16_t)dice(k, 1000) });
    else if (what == 7)
        world_heal(w);
    group_world_run_ms(gw, dice(k, 1500));
    group_world_check(gw);
}

static void all_is_well_again(struct walk *k)
{
    struct world_conf *net = world_conf(k->gw->world);

    world_heal(k->gw->world);
    net->loss_ppm = net->twice_ppm = net->straggler_ppm = 0;
    for (uint32_t i = 0; i < k->gw->conf.net.nodes; i++)
        world_slow(k->gw->world, i, 0);
    /* Those who were alone with a way in that is dead have lost the group: people would start them anew. */
    for (uint32_t i = 0; i < k->gw->conf.net.nodes; i++) {
        struct group_node *x = &k->gw->nodes[i];
        struct cairn_swim_desc d;

        if (!x->runs || x->leaving)
            continue;
        group_world_desc(a_seed(k, i), &d);
        group_world_input(k->gw, i, &(struct cairn_swim_in){ .type = CAIRN_SWIM_SEEDS, .seeds = &d.addr, .nseeds = 1 });
    }
    group_world_run_ms(k->gw, SETTLE_MS);
}

static bool walk(uint64_t seed, bool tell)
{
    struct group_world_conf conf = {
        .net = { .seed = seed,
                 .nodes = NODES_MIN + (uint32_t)(seed % (NODES_MAX - NODES_MIN + 1)),
                 .latency_ns = 100000,
                 .jitter_ns = 3000000,
                 .loss_ppm = (uint32_t)(seed % 3) * 30000,
                 .twice_ppm = 20000,
                 .straggler_ppm = 10000,
                 .straggler_ns = CAIRN_NS_PER_S },
        .swim = cairn_swim_conf_default,
        .observers = (uint32_t)(seed / 7 % 2),
        .suspicions = seed % 5 == 0 ? 2 : 0, /* too few: suspicions wait for a place */
        .stands = true,
    };
    struct walk k = { .gw = group_world_new(&conf), .members = conf.net.nodes - conf.observers, .tell = tell };
    char why[128];
    bool good;

    for (uint32_t i = 0; i < STEPS; i++)
        step(&k);
    all_is_well_again(&k);
    group_world_check(k.gw);
    good = group_world_agrees(k.gw, why);
    if (!good)
        print_error("CAIRN_SIM_SEED=%" PRIu64 ": %s\n", seed, why);
    group_world_free(k.gw);
    return good;
}

static void tell_seed(void *arg)
{
    fprintf(stderr, "CAIRN_SIM_SEED=%" PRIu64 "\n", *(uint64_t *)arg);
}

static void walks_end_in_agreement(void **state)
{
    const char *one = getenv("CAIRN_SIM_SEED");
    uint32_t bad = 0;

    (void)state;
    if (one != NULL) {
        assert_true(walk(strtoull(one, NULL, 0), true));
        return;
    }
    for (uint64_t seed = 1; seed <= WALKS; seed++) {
        cairn_crash_hook(tell_seed, &seed); /* an assertion ends the program */
        bad += !walk(seed, false);
    }
    cairn_crash_hook(NULL, NULL);
    assert_int_equal(bad, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(walks_end_in_agreement) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
