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
                                     .flush_ns = 200 * MS,
                                     .latency_ns = MS / 5,
                                     .jitter_ns = MS,
                                     .disk_ns = 5 * MS,
                                     .checkpoint_ns = 200 * MS };
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

/* Logs are trimmed behind checkpoints; power fails everywhere, and all begin again from checkpoint and log. */
static void checkpoints_carry_over_a_restart(void **state)
{
    struct repl_world_conf conf = conf_of(3);
    struct repl_world *rw;

    (void)state;
    conf.keeps_little = true;
    rw = repl_world_new(&conf);
    repl_world_run_ms(rw, 5000);
    for (uint32_t i = 1; i <= conf.nodes; i++) {
        assert_true(rw->nodes[i].slots[0].log.base.pos > 0);
        repl_world_crash(rw, i);
    }
    for (uint32_t i = 1; i <= conf.nodes; i++)
        repl_world_start(rw, i);
    expect_whole(rw, 15000);
    for (uint32_t i = 1; i <= conf.nodes; i++)
        assert_true(rw->nodes[i].slots[0].replica.log.base.pos > 0);
    assert_int_equal(rw->copies, 0);
    repl_world_stop_clients(rw);
    repl_world_judge(rw);
    repl_world_free(rw);
}

/* A backup comes back with a new disk; the others' logs do not reach back to the first entry: it gets a copy, then joins. */
static void new_disk_gets_a_copy(void **state)
{
    struct repl_world_conf conf = conf_of(4);
    struct repl_world *rw;
    uint32_t victim;

    (void)state;
    conf.keeps_little = true;
    rw = repl_world_new(&conf);
    repl_world_run_ms(rw, 5000);
    victim = (uint32_t)rw->stored[0].replicas[1];
    assert_true(repl_world_wipe(rw, victim));
    repl_world_run_ms(rw, 3000);
    assert_int_equal(rw->stored[0].ninsync, 2);
    repl_world_start(rw, victim);
    expect_whole(rw, 10000);
    assert_int_equal(rw->copies, conf.slots);
    assert_true(rw->nodes[victim].slots[0].replica.log.base.pos > 0);
    repl_world_crash(rw, victim); /* what it was given is on its disk */
    repl_world_start(rw, victim);
    expect_whole(rw, 10000);
    assert_int_equal(rw->copies, conf.slots);
    repl_world_stop_clients(rw);
    repl_world_judge(rw);
    repl_world_free(rw);
}

/* The source, then the target, dies in the middle of a copy: a new one begins, and ends. */
static void copy_begins_again(void **state)
{
    struct repl_world_conf conf = conf_of(5);
    struct repl_world *rw;
    uint32_t victim;

    (void)state;
    conf.keeps_little = true;
    conf.slots = 1;
    conf.disk_ns = 100 * MS;
    rw = repl_world_new(&conf);
    repl_world_run_ms(rw, 6000);
    victim = (uint32_t)rw->stored[0].replicas[1];
    assert_true(repl_world_wipe(rw, victim));
    repl_world_start(rw, victim);
    for (uint32_t i = 0; i < 2; i++) {
        uint32_t dies = victim;

        for (uint64_t t = 0; t < 5000 && rw->nodes[victim].slots[0].disk_doing != RW_PUT; t++)
            repl_world_run_ms(rw, 1);
        assert_int_equal(rw->nodes[victim].slots[0].disk_doing, RW_PUT);
        if (i == 0)
            dies = (uint32_t)rw->stored[0].primary.node;
        repl_world_crash(rw, dies);
        repl_world_start(rw, dies);
        repl_world_run_ms(rw, 300);
    }
    expect_whole(rw, 15000);
    assert_true(rw->copies >= 3);
    repl_world_stop_clients(rw);
    repl_world_judge(rw);
    repl_world_free(rw);
}

/* Power fails everywhere under `buffered` writes: at most a tail is lost, the coordinator says so, and what is left is a
 * prefix; a member that kept its tail would have saved it. */
static void buffered_tail_is_lost_with_all(void **state)
{
    struct repl_world_conf conf = conf_of(6);
    struct repl_world *rw;
    uint64_t recoveries;

    (void)state;
    conf.buffered_percent = 100;
    conf.flush_ns = 2000 * MS;
    conf.checkpoint_ns = 0;
    rw = repl_world_new(&conf);
    repl_world_run_ms(rw, 5000);
    recoveries = rw->coord.recoveries;
    for (uint32_t i = 1; i <= conf.nodes; i++)
        repl_world_crash(rw, i);
    for (uint32_t i = 1; i <= conf.nodes; i++)
        repl_world_start(rw, i);
    expect_whole(rw, 15000);
    assert_true(rw->losses > 0 && rw->lost_entries > 0);
    assert_int_equal(rw->coord.recoveries - recoveries, conf.slots);
    repl_world_stop_clients(rw);
    repl_world_judge(rw);
    repl_world_free(rw);
}

/* The same writes, and one member after the other restarts: nothing is lost. */
static void buffered_tail_survives_one_by_one(void **state)
{
    struct repl_world_conf conf = conf_of(7);
    struct repl_world *rw;

    (void)state;
    conf.buffered_percent = 100;
    conf.flush_ns = 2000 * MS;
    rw = repl_world_new(&conf);
    repl_world_run_ms(rw, 3000);
    for (uint32_t i = 1; i <= conf.nodes; i++) {
        repl_world_crash(rw, i);
        repl_world_run_ms(rw, 500);
        repl_world_start(rw, i);
        expect_whole(rw, 10000);
    }
    assert_int_equal(rw->lost_entries, 0);
    repl_world_stop_clients(rw);
    repl_world_judge(rw);
    repl_world_free(rw);
}

/* Write-once keys: backups answer what they have, a primary that changes makes no key change. */
static void write_once_keys_are_read_anywhere(void **state)
{
    struct repl_world_conf conf = conf_of(8);
    struct repl_world *rw;

    (void)state;
    conf.once_percent = 100;
    rw = repl_world_new(&conf);
    repl_world_run_ms(rw, 3000);
    repl_world_crash(rw, (uint32_t)rw->stored[0].primary.node);
    repl_world_run_ms(rw, 6000);
    repl_world_stop_clients(rw);
    assert_true(rw->backup_reads > 50 && rw->once_ops > 300);
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
    switch (draw(rw, 13)) {
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
    case 12: /* A lost disk is one fault; another before MAP has noticed may make it the last member's, a loss. */
        world_heal(rw->world);
        repl_world_run_ms(rw, 2500);
        if (repl_world_wipe(rw, node) && draw(rw, 2) == 0)
            repl_world_start(rw, node);
        repl_world_run_ms(rw, 2500);
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
    uint64_t ops, once, unknown, takeovers, recoveries, joins, copies, trims, wiped, losses, lost, backup_reads;
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
    conf.checkpoint_ns = (1 + seed % 5 * 2) * 60 * MS;
    conf.keeps_little = seed / 2 % 2 == 0;
    conf.once_percent = (uint32_t)(seed / 5 % 3) * 20;
    conf.buffered_percent = (uint32_t)(seed / 7 % 4) * 33;
    rw = repl_world_new(&conf);
    for (uint32_t i = 1; i <= conf.nodes; i++)
        world_clock(rw->world, i, world_random(rw->world) % (1000 * MS),
                    (int32_t)(world_random(rw->world) % 1801) - 900);
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
    t->once += rw->once_ops;
    t->takeovers += rw->takeovers;
    t->recoveries += rw->recoveries;
    t->joins += rw->joins;
    t->copies += rw->copies;
    t->trims += rw->trims;
    t->wiped += rw->wiped;
    t->losses += rw->losses;
    t->lost += rw->lost_entries;
    t->backup_reads += rw->backup_reads;
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
    fprintf(stderr,
            ": %" PRIu64 " operations and %" PRIu64 " of write-once keys (%" PRIu64 " reads at backups), %" PRIu64
            " of unknown outcome; %" PRIu64 " changes of primary, %" PRIu64 " recoveries of all members, %" PRIu64
            " joins, %" PRIu64 " copies, %" PRIu64 " logs trimmed, %" PRIu64 " disks wiped, %" PRIu64
            " losses of %" PRIu64 " buffered entries\n",
            t.ops, t.once, t.backup_reads, t.unknown, t.takeovers, t.recoveries, t.joins, t.copies, t.trims, t.wiped,
            t.losses, t.lost);
    assert_true(t.ops > n * 300 && t.takeovers > n / 4); /* the walks went somewhere */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(quiet_cluster_serves),
        cmocka_unit_test(lost_primary_is_replaced),
        cmocka_unit_test(checkpoints_carry_over_a_restart),
        cmocka_unit_test(new_disk_gets_a_copy),
        cmocka_unit_test(copy_begins_again),
        cmocka_unit_test(buffered_tail_is_lost_with_all),
        cmocka_unit_test(buffered_tail_survives_one_by_one),
        cmocka_unit_test(write_once_keys_are_read_anywhere),
        cmocka_unit_test(random_walks_are_linearizable),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
