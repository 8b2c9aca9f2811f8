/* Replication on the simulated world: stories, and random walks whose every history is judged. */
#include "tests/sim/repl_world.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define MS CAIRN_NS_PER_MS

static struct repl_world_conf conf_of(uint64_t seed)
{
    return (struct repl_world_conf){ .seed = seed,
                                     .nodes = 3,
                                     .slots = 2,
                                     .replicas = 3,
                                     .clients = 4,
                                     .min_insync = 1,
                                     .sync = true,
                                     .latency_ns = MS / 5,
                                     .jitter_ns = MS,
                                     .disk_ns = 5 * MS };
}

static void expect_whole(struct repl_world *rw, uint64_t ms)
{
    char why[160] = "";

    for (uint64_t t = 0; t < ms && !repl_world_is_whole(rw, why); t += 100)
        repl_world_run_ms(rw, 100);
    if (repl_world_is_whole(rw, why))
        return;
    repl_world_print(rw, stderr);
    fail_msg("seed %" PRIu64 ": %s", rw->conf.seed, why);
}

/* Three nodes, no fault: every slot gets its primary, clients write and read. */
static void quiet_cluster_serves(void **state)
{
    struct repl_world_conf conf = conf_of(1);
    struct repl_world *rw = repl_world_new(&conf);

    (void)state;
    repl_world_run_ms(rw, 5000);
    expect_whole(rw, 0);
    repl_world_stop_clients(rw);
    assert_true(repl_world_judge(rw) > 300);
    assert_int_equal(rw->coord.takeovers, 0);
    repl_world_free(rw);
}

/* The primary's machine loses power under load: a member takes over, the node comes back, catches up and is in sync. */
static void lost_primary_is_replaced(void **state)
{
    struct repl_world_conf conf = conf_of(2);
    struct repl_world *rw = repl_world_new(&conf);
    uint32_t victim;

    (void)state;
    repl_world_run_ms(rw, 3000);
    victim = (uint32_t)rw->stored[0].primary.node;
    repl_world_crash(rw, victim);
    repl_world_run_ms(rw, 4000);
    assert_int_not_equal(rw->stored[0].primary.node, victim);
    assert_int_equal(rw->stored[0].ninsync, 2);
    repl_world_start(rw, victim);
    expect_whole(rw, 10000);
    repl_world_stop_clients(rw);
    repl_world_judge(rw);
    repl_world_free(rw);
}

static uint64_t draw(struct repl_world *rw, uint64_t n)
{
    return world_random(rw->world) % n;
}

static void toggle(struct repl_world *rw, uint32_t node)
{
    if (rw->nodes[node].up)
        repl_world_crash(rw, node);
    else
        repl_world_start(rw, node);
}

static void cut(struct repl_world *rw, uint32_t a, uint32_t b, bool both)
{
    if (a == b)
        return;
    world_cut(rw->world, a, b);
    if (both)
        world_cut(rw->world, b, a);
}

/* One fault at a time, drawn; half of them hit the primary of a slot. */
static void walk_fault(struct repl_world *rw)
{
    uint32_t node = 1 + (uint32_t)draw(rw, rw->conf.nodes), other = (uint32_t)draw(rw, rw->conf.nodes + 1);

    if (draw(rw, 2) == 0)
        node = (uint32_t)rw->stored[draw(rw, rw->conf.slots)].primary.node;
    switch (draw(rw, 12)) {
    case 0:
    case 1:
        toggle(rw, node);
        break;
    case 2: /* a process that dies and is started at once */
        repl_world_crash(rw, node);
        repl_world_start(rw, node);
        break;
    case 3:
        cut(rw, node, other, draw(rw, 2) == 0);
        break;
    case 4:
        cut(rw, other, node, false);
        break;
    case 5: /* a primary that MAP does not hear, or that does not hear MAP */
        cut(rw, node, 0, draw(rw, 2) == 0);
        break;
    case 6:
    case 7:
        world_heal(rw->world);
        break;
    case 8:
        world_stall(rw->world, node, draw(rw, 5000) * MS);
        break;
    case 9:
        world_slow(rw->world, (uint32_t)draw(rw, rw->conf.nodes + 1), draw(rw, 3) * draw(rw, 200) * MS);
        break;
    case 10:
        if (rw->coord_is_up)
            repl_world_crash_coord(rw);
        repl_world_start_coord(rw);
        break;
    case 11:
        if (draw(rw, 3) > 0)
            break;
        for (uint32_t i = 1; i <= rw->conf.nodes; i++) /* the power of the whole machine room */
            repl_world_crash(rw, i);
        for (uint32_t i = 1; i <= rw->conf.nodes; i++)
            repl_world_start(rw, i);
        break;
    }
}

static void heal(struct repl_world *rw)
{
    world_heal(rw->world);
    world_conf(rw->world)->loss_ppm = 0;
    repl_world_start_coord(rw);
    for (uint32_t i = 0; i <= rw->conf.nodes; i++)
        world_slow(rw->world, i, 0);
    for (uint32_t i = 1; i <= rw->conf.nodes; i++)
        repl_world_start(rw, i);
}

struct totals {
    uint64_t ops, unknown, takeovers, recoveries;
};

static void walk(uint64_t seed, struct totals *t)
{
    struct repl_world_conf conf = conf_of(seed);
    struct repl_world *rw;

    conf.nodes = 3 + (uint32_t)(seed % 3);
    conf.replicas = 2 + (uint32_t)(seed / 3 % 2);
    conf.jitter_ns = (1 + seed % 7 * 5) * MS;
    conf.loss_ppm = (uint32_t)(seed % 4) * 10000;
    conf.twice_ppm = (uint32_t)(seed % 5) * 5000;
    conf.straggler_ppm = (uint32_t)(seed % 3) * 5000;
    conf.straggler_ns = 3000 * MS;
    conf.disk_ns = seed % 2 == 0 ? 5 * MS : 100 * MS;
    rw = repl_world_new(&conf);
    for (uint32_t i = 1; i <= conf.nodes; i++)
        world_clock(rw->world, i, world_random(rw->world) % (1000 * MS), (int32_t)(world_random(rw->world) % 1801) - 900);
    repl_world_run_ms(rw, 1500);
    for (int i = 0; i < 60; i++) {
        walk_fault(rw);
        repl_world_run_ms(rw, draw(rw, 8) == 0 ? 3000 : 20 + draw(rw, 700));
    }
    heal(rw);
    expect_whole(rw, 60000);
    repl_world_stop_clients(rw);
    t->ops += repl_world_judge(rw);
    t->unknown += rw->unknown_ops;
    t->takeovers += rw->coord.takeovers;
    t->recoveries += rw->coord.recoveries;
    repl_world_free(rw);
}

static void random_walks_are_linearizable(void **state)
{
    const char *seed = getenv("CAIRN_SEED"), *seeds = getenv("CAIRN_SEEDS");
    struct totals t = { 0 };
    uint64_t n = seeds != NULL ? strtoull(seeds, NULL, 10) : 100;

    (void)state;
    if (seed != NULL) {
        walk(strtoull(seed, NULL, 10), &t);
        return;
    }
    for (uint64_t i = 1; i <= n; i++) {
        fprintf(stderr, "\rseed %" PRIu64, i);
        walk(i, &t);
    }
    fprintf(stderr, ": %" PRIu64 " operations, %" PRIu64 " of unknown outcome, %" PRIu64 " take-overs, %" PRIu64
                    " recoveries of all members\n", t.ops, t.unknown, t.takeovers, t.recoveries);
    assert_true(t.ops > n * 300 && t.takeovers > n / 4); /* the walks went somewhere */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(quiet_cluster_serves),
        cmocka_unit_test(lost_primary_is_replaced),
        cmocka_unit_test(random_walks_are_linearizable),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
