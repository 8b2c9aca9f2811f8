/* Replication on the simulated world: stories of power that fails. */
#include "tests/sim/repl_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define MS CAIRN_NS_PER_MS

/* Logs are trimmed behind checkpoints; power fails everywhere, and all begin again from checkpoint and log. */
static void checkpoints_carry_over_a_restart(void **state)
{
    struct repl_world_conf conf = repl_world_conf_of(3);
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
    repl_world_expect_whole(rw, 15000);
    for (uint32_t i = 1; i <= conf.nodes; i++)
        assert_true(rw->nodes[i].slots[0].replica.log.base.pos > 0);
    assert_int_equal(rw->copies, 0);
    repl_world_stop_clients(rw);
    repl_world_judge(rw);
    repl_world_free(rw);
}

/* Power fails everywhere under `buffered` writes: at most a tail is lost, the coordinator says so, and what is left
 * is a prefix; a member that kept its tail would have saved it. */
static void buffered_tail_is_lost_with_all(void **state)
{
    struct repl_world_conf conf = repl_world_conf_of(6);
    struct repl_world *rw;
    uint64_t recoveries;

    (void)state;
    conf.buffered_percent = 100;
    conf.flush_ns = 2000 * MS;
    conf.checkpoint_ns = 0;
    rw = repl_world_new(&conf);
    repl_world_run_ms(rw, 5000);
    recoveries = rw->coord->recoveries;
    for (uint32_t i = 1; i <= conf.nodes; i++)
        repl_world_crash(rw, i);
    for (uint32_t i = 1; i <= conf.nodes; i++)
        repl_world_start(rw, i);
    repl_world_expect_whole(rw, 15000);
    assert_true(rw->losses > 0 && rw->lost_entries > 0);
    assert_int_equal(rw->coord->recoveries - recoveries, conf.slots);
    repl_world_stop_clients(rw);
    repl_world_judge(rw);
    repl_world_free(rw);
}

/* The same writes, and one member after the other restarts: nothing is lost. */
static void buffered_tail_survives_one_by_one(void **state)
{
    struct repl_world_conf conf = repl_world_conf_of(7);
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
        repl_world_expect_whole(rw, 10000);
    }
    assert_int_equal(rw->lost_entries, 0);
    repl_world_stop_clients(rw);
    repl_world_judge(rw);
    repl_world_free(rw);
}

/* What is applied and kept of the slot, and its log as it is for sure, are of two histories. */
static bool keeps_another_history(const struct rw_slot *s)
{
    const struct rw_log *l = &s->durable;
    struct cairn_at at = s->checkpoint.at;

    if (at.pos < l->base.pos || at.pos - l->base.pos > l->n)
        return false;
    return !cairn_at_is(at.pos == l->base.pos ? l->base : l->all[at.pos - l->base.pos - 1].e.at, at);
}

/* A primary is cut off, with entries that nobody else has; another leads. It comes back, cuts them, and has applied and
 * kept what came in their place before its log's disk, which is slow, has heard of the cut. Then its power fails, and
 * the log is what it was: that is no end of what it keeps. It needs a copy. True: it came to that. */
static bool cut_is_lost(uint64_t seed)
{
    struct repl_world_conf conf = repl_world_conf_of(seed);
    struct repl_world *rw;
    uint32_t victim;
    bool met;

    conf.slots = 1;
    conf.disk_ns = 300 * MS;
    conf.checkpoint_ns = 60 * MS;
    rw = repl_world_new(&conf);
    repl_world_run_ms(rw, 3000);
    victim = (uint32_t)rw->stored[0].primary.node;
    for (uint32_t i = 0; i <= conf.nodes; i++) {
        if (i != victim) {
            world_cut(rw->world, i, victim);
            world_cut(rw->world, victim, i);
        }
    }
    for (int i = 0; i < 6000 && rw->stored[0].primary.node == victim; i++)
        repl_world_run_ms(rw, 1);
    world_heal(rw->world);
    for (int i = 0; i < 3000 && !keeps_another_history(&rw->nodes[victim].slots[0]); i++)
        repl_world_run_ms(rw, 1);
    repl_world_crash(rw, victim);
    repl_world_start(rw, victim);
    repl_world_expect_whole(rw, 20000);
    repl_world_stop_clients(rw);
    repl_world_judge(rw);
    met = rw->other_histories > 0;
    assert_true(!met || rw->copies > 0);
    repl_world_free(rw);
    return met;
}

static void what_replaced_a_lost_cut_is_of_no_use(void **state)
{
    uint32_t met = 0;

    (void)state;
    for (uint64_t seed = 1; met < 3; seed++) {
        assert_true(seed < 1000);
        met += cut_is_lost(seed);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(checkpoints_carry_over_a_restart),
        cmocka_unit_test(buffered_tail_is_lost_with_all),
        cmocka_unit_test(buffered_tail_survives_one_by_one),
        cmocka_unit_test(what_replaced_a_lost_cut_is_of_no_use),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
