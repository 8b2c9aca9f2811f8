/* Replication on the simulated world: stories, one fault each. */
#include "tests/sim/repl_world.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define MS CAIRN_NS_PER_MS

/* Nobody writes. A member dies, and its slots do not notice; then somebody doubts that it is there, and they go on
 * without it. Whoever is doubted and is there says so, and nothing happens. */
static void who_is_doubted_is_asked(void **state)
{
    struct repl_world_conf conf = repl_world_conf_of(6);
    struct repl_world *rw = repl_world_new(&conf);
    uint32_t leader, victim;
    uint64_t epoch;

    (void)state;
    repl_world_run_ms(rw, 2000);
    repl_world_stop_clients(rw);
    repl_world_expect_whole(rw, 5000);
    leader = (uint32_t)rw->stored[0].primary.node;
    victim = leader % conf.nodes + 1;
    epoch = rw->stored[0].epoch;
    cairn_replica_doubt(&rw->nodes[leader].slots[0].replica, victim);
    cairn_replica_doubt(&rw->nodes[victim].slots[0].replica, leader); /* who does not lead asks nobody */
    cairn_replica_doubt(&rw->nodes[leader].slots[0].replica, conf.nodes + 1);
    repl_world_run_ms(rw, 3000);
    assert_int_equal(rw->stored[0].epoch, epoch);
    repl_world_crash(rw, victim);
    repl_world_run_ms(rw, 3000);
    assert_int_equal(rw->stored[0].ninsync, conf.replicas);
    cairn_replica_doubt(&rw->nodes[leader].slots[0].replica, victim);
    repl_world_run_ms(rw, 1000);
    assert_int_equal(rw->stored[0].ninsync, conf.replicas - 1);
    assert_int_equal(rw->stored[0].primary.node, leader);
    repl_world_start(rw, victim);
    repl_world_expect_whole(rw, 10000);
    repl_world_judge(rw);
    repl_world_free(rw);
}

/* Three nodes, no fault: every slot gets its primary, clients write and read. */
static void quiet_cluster_serves(void **state)
{
    struct repl_world_conf conf = repl_world_conf_of(1);
    struct repl_world *rw = repl_world_new(&conf);

    (void)state;
    repl_world_run_ms(rw, 5000);
    repl_world_expect_whole(rw, 0);
    repl_world_stop_clients(rw);
    assert_true(repl_world_judge(rw) > 300);
    assert_int_equal(rw->coord->takeovers, 0);
    repl_world_free(rw);
}

/* The primary's machine loses power under load: a member takes over, the node comes back, catches up and is in sync. */
static void lost_primary_is_replaced(void **state)
{
    struct repl_world_conf conf = repl_world_conf_of(2);
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
    repl_world_expect_whole(rw, 10000);
    repl_world_stop_clients(rw);
    repl_world_judge(rw);
    repl_world_free(rw);
}

/* A backup comes back with a new disk; the others' logs do not reach back to the first entry: it gets a copy, then
 * joins. */
static void new_disk_gets_a_copy(void **state)
{
    struct repl_world_conf conf = repl_world_conf_of(4);
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
    repl_world_expect_whole(rw, 10000);
    assert_int_equal(rw->copies, conf.slots);
    assert_true(rw->nodes[victim].slots[0].replica.log.base.pos > 0);
    repl_world_crash(rw, victim); /* what it was given is on its disk */
    repl_world_start(rw, victim);
    repl_world_expect_whole(rw, 10000);
    assert_int_equal(rw->copies, conf.slots);
    repl_world_stop_clients(rw);
    repl_world_judge(rw);
    repl_world_free(rw);
}

/* The source, then the target, dies in the middle of a copy: a new one begins, and ends. */
static void copy_begins_again(void **state)
{
    struct repl_world_conf conf = repl_world_conf_of(5);
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
    repl_world_expect_whole(rw, 15000);
    assert_true(rw->copies >= 3);
    repl_world_stop_clients(rw);
    repl_world_judge(rw);
    repl_world_free(rw);
}

/* Write-once keys: backups answer what they have, a primary that changes makes no key change. */
static void write_once_keys_are_read_anywhere(void **state)
{
    struct repl_world_conf conf = repl_world_conf_of(8);
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

/* A replica, then the lead, moves to a node that has none, under load; who leaves deletes the slot, and only when the
 * new set serves. */
static void replica_and_lead_move(void **state)
{
    struct repl_world_conf conf = repl_world_conf_of(9);
    struct repl_world *rw;
    uint32_t backup, primary;

    (void)state;
    conf.nodes = 4;
    conf.replicas = 2;
    conf.keeps_little = true;
    rw = repl_world_new(&conf);
    repl_world_run_ms(rw, 4000);
    primary = (uint32_t)rw->stored[0].primary.node;
    backup = (uint32_t)(rw->stored[0].insync[0].node == primary ? rw->stored[0].insync[1].node
                                                                : rw->stored[0].insync[0].node);
    assert_int_equal(cairn_coord_move(rw->coord, 0, backup, 4, false), 0);
    assert_int_equal(cairn_coord_move(rw->coord, 0, backup, 4, false), CAIRN_E_BUSY);
    repl_world_run_ms(rw, 3000);
    repl_world_expect_whole(rw, 5000);
    assert_int_equal(rw->stored[0].primary.node, primary);
    assert_true(cairn_slot_names(&rw->stored[0], 4) && !cairn_slot_places(&rw->stored[0], backup));
    assert_int_equal(rw->nodes[backup].slots[0].log.n, 0);
    assert_int_equal(cairn_coord_move(rw->coord, 0, primary, backup, false), 0); /* it leads: so does its successor */
    repl_world_run_ms(rw, 3000);
    repl_world_expect_whole(rw, 5000);
    assert_int_equal(rw->stored[0].primary.node, backup);
    assert_false(cairn_slot_places(&rw->stored[0], primary));
    assert_int_equal(cairn_coord_lead(rw->coord, 0, 4), 0);
    repl_world_run_ms(rw, 2000);
    repl_world_expect_whole(rw, 5000);
    assert_int_equal(rw->stored[0].primary.node, 4);
    assert_int_equal(rw->stored[0].ninsync, 2);
    assert_true(rw->cleans >= 2);
    assert_int_equal(rw->coord->moves_done, 3);
    repl_world_stop_clients(rw);
    repl_world_judge(rw);
    repl_world_free(rw);
}

/* Copies are bounded in rate, so a page may take longer than anybody is waited for: it is the source that waits. */
static void slow_copy_is_not_given_up(void **state)
{
    struct repl_world_conf conf = repl_world_conf_of(12);
    struct repl_world *rw;
    uint64_t copies;

    (void)state;
    conf.nodes = 4;
    conf.replicas = 2;
    conf.keeps_little = true;
    conf.page_ns = 5000 * MS;
    rw = repl_world_new(&conf);
    repl_world_run_ms(rw, 4000);
    copies = rw->copies;
    assert_int_equal(cairn_coord_move(rw->coord, 0, rw->stored[0].replicas[1], 4, false), 0);
    repl_world_run_ms(rw, 30000);
    assert_true(cairn_slot_names(&rw->stored[0], 4));
    assert_int_equal(rw->copies, copies + 1);
    repl_world_expect_whole(rw, 5000);
    repl_world_stop_clients(rw);
    repl_world_judge(rw);
    repl_world_free(rw);
}

/* A drained node ends without slots, and gets none; the drain goes on under a new coordinator. */
static void drained_node_holds_nothing(void **state)
{
    struct repl_world_conf conf = repl_world_conf_of(10);
    struct repl_world *rw;

    (void)state;
    conf.nodes = 4;
    conf.slots = 4;
    conf.replicas = 2;
    rw = repl_world_new(&conf);
    repl_world_run_ms(rw, 3000);
    assert_true(cairn_coord_holds(rw->coord, 2) >= 2);
    assert_int_equal(cairn_coord_drain(rw->coord, 2, true), 0);
    rw->stored_nodes[2] = cairn_coord_node(rw->coord, 2)->p;
    repl_world_run_ms(rw, 300);
    repl_world_crash_coord(rw);
    repl_world_start_coord(rw);
    repl_world_run_ms(rw, 15000);
    assert_int_equal(cairn_coord_holds(rw->coord, 2), 0);
    repl_world_expect_whole(rw, 5000);
    for (uint32_t i = 0; i < conf.slots; i++)
        assert_int_equal(rw->nodes[2].slots[i].log.n, 0);
    repl_world_stop_clients(rw);
    repl_world_judge(rw);
    repl_world_free(rw);
}

/* The target is gone in the middle: the move is given up when its lease would be over, and the slot is as it was. */
static void move_to_a_dead_node_is_given_up(void **state)
{
    struct repl_world_conf conf = repl_world_conf_of(11);
    struct repl_world *rw;

    (void)state;
    conf.nodes = 4;
    conf.replicas = 2;
    rw = repl_world_new(&conf);
    repl_world_run_ms(rw, 3000);
    repl_world_crash(rw, 4);
    assert_int_equal(cairn_coord_move(rw->coord, 0, rw->stored[0].replicas[1], 4, false), 0);
    repl_world_run_ms(rw, 1000);
    assert_int_equal(rw->stored[0].move.phase, CAIRN_MOVE_COPY);
    repl_world_run_ms(rw, 3000);
    repl_world_expect_whole(rw, 2000);
    assert_int_equal(rw->coord->moves_given_up, 1);
    assert_false(cairn_slot_places(&rw->stored[0], 4));
    repl_world_stop_clients(rw);
    repl_world_judge(rw);
    repl_world_free(rw);
}

/* An upgrade: the node gives up what it leads and restarts. Nobody waits for a lease to run out, nothing is copied. */
static void quick_restart_takes_no_wait(void **state)
{
    struct repl_world_conf conf = repl_world_conf_of(12);
    struct repl_world *rw;
    uint64_t began;

    (void)state;
    rw = repl_world_new(&conf);
    repl_world_run_ms(rw, 3000);
    began = world_now_ns(rw->world);
    repl_world_quick_restart(rw, (uint32_t)rw->stored[0].primary.node);
    repl_world_expect_whole(rw, 10000);
    assert_true(world_now_ns(rw->world) - began < 2000 * MS);
    assert_int_equal(rw->copies, 0);
    repl_world_stop_clients(rw);
    repl_world_judge(rw);
    repl_world_free(rw);
}

/* Who leaves leads nothing any more and is in no set, so nobody waits for its silence; and the last one who has a
 * slot keeps it, however many leave. */
static void who_leaves_is_not_waited_for(void **state)
{
    struct repl_world_conf conf = repl_world_conf_of(14);
    struct repl_world *rw;

    (void)state;
    rw = repl_world_new(&conf);
    repl_world_run_ms(rw, 3000);
    for (uint32_t node = 1; node < conf.nodes; node++) {
        assert_true(repl_world_leave(rw, node));
        for (uint32_t i = 0; i < conf.slots; i++) {
            assert_int_equal(rw->stored[i].state, CAIRN_SLOT_ACTIVE);
            assert_true(!cairn_slot_names(&rw->stored[i], node) || rw->stored[i].ninsync == 1);
        }
        repl_world_run_ms(rw, 500); /* it learns what comes, and joins nothing */
        for (uint32_t i = 0; i < conf.slots; i++)
            assert_true(!cairn_slot_names(&rw->stored[i], node) || rw->stored[i].ninsync == 1);
    }
    for (uint32_t node = 1; node < conf.nodes; node++) {
        repl_world_crash(rw, node);
        repl_world_start(rw, node);
    }
    repl_world_expect_whole(rw, 10000);
    repl_world_stop_clients(rw);
    repl_world_judge(rw);
    repl_world_free(rw);
}

/* A node is told to give up the lead and does so; before MAP hears of it another member restarts, which moves the
 * epoch. The order stands: the node begins anew in that epoch, and gives the lead up in it. */
static void order_to_release_outlives_an_epoch(void **state)
{
    struct repl_world_conf conf = repl_world_conf_of(13);
    struct repl_world *rw;
    struct cairn_replica *r;
    uint32_t primary, other;
    uint64_t epoch;

    (void)state;
    conf.slots = 1;
    rw = repl_world_new(&conf);
    repl_world_run_ms(rw, 3000);
    repl_world_stop_clients(rw); /* so that nothing is uncommitted */
    repl_world_run_ms(rw, 500);
    epoch = rw->stored[0].epoch;
    primary = (uint32_t)rw->stored[0].primary.node;
    other = 1 + primary % conf.nodes;
    r = &rw->nodes[primary].slots[0].replica;
    world_cut(rw->world, primary, 0);
    cairn_replica_release(r);
    assert_int_equal(r->sm.state, REPLICA_RELEASED);
    repl_world_crash(rw, other);
    repl_world_start(rw, other);
    for (int i = 0; i < 100 && r->rec.epoch == epoch; i++)
        repl_world_run_ms(rw, 10);
    assert_int_equal(rw->stored[0].primary.node, primary);
    assert_true(r->rec.epoch > epoch);
    assert_true(r->sm.state == REPLICA_TAKEOVER || r->sm.state == REPLICA_RELEASED); /* released anew */
    world_heal(rw->world);
    repl_world_run_ms(rw, 1000);
    assert_int_not_equal(rw->stored[0].primary.node, primary);
    assert_true(cairn_slot_names(&rw->stored[0], primary)); /* it has released: nobody waited for its lease to end */
    repl_world_expect_whole(rw, 10000);
    repl_world_judge(rw);
    repl_world_free(rw);
}

/* Answers to reads, or to writes, in that time. */
static uint32_t answered(const struct repl_world *rw, bool reads, uint64_t from_ns, uint64_t to_ns)
{
    uint32_t n = 0;

    for (uint32_t key = 0; key < RW_KEYS; key++) {
        for (uint32_t i = 0; i < rw->nhistory[0][key]; i++) {
            const struct linear_op *op = &rw->history[0][key][i];

            n += (op->kind == LINEAR_GET) == reads && op->end >= (int64_t)(from_ns / 1000) &&
                 op->end < (int64_t)(to_ns / 1000);
        }
    }
    return n;
}

/* Of three one is left in sync, where two are to be: it answers reads and refuses writes; when the second is back, all
 * goes on. */
static void last_one_in_sync_takes_no_writes(void **state)
{
    struct repl_world_conf conf = repl_world_conf_of(15);
    struct repl_world *rw;
    uint64_t alone, back;
    uint32_t primary;

    (void)state;
    conf.slots = 1;
    conf.clients = RW_CLIENTS_MAX;
    conf.min_insync = 2;
    conf.readers = 2;
    rw = repl_world_new(&conf);
    repl_world_run_ms(rw, 3000);
    assert_int_equal(rw->refused, 0);
    primary = (uint32_t)rw->stored[0].primary.node;
    for (uint32_t node = 1; node <= conf.nodes; node++) {
        if (node != primary)
            repl_world_crash(rw, node);
    }
    for (int i = 0; i < 1000 && rw->nodes[primary].slots[0].replica.rec.ninsync > 1; i++)
        repl_world_run_ms(rw, 10);
    assert_int_equal(rw->nodes[primary].slots[0].replica.rec.ninsync, 1);
    alone = world_now_ns(rw->world) + 50 * MS; /* what was in the log by then is answered */
    repl_world_run_ms(rw, 5000);
    assert_int_equal(cairn_replica_may_read(&rw->nodes[primary].slots[0].replica), 0);
    repl_world_start(rw, 1 + primary % conf.nodes);
    do {
        back = world_now_ns(rw->world);
        repl_world_run_ms(rw, 10);
    } while (rw->stored[0].ninsync < 2 && back < alone + 15000 * MS);
    assert_int_equal(rw->stored[0].ninsync, 2);
    assert_true(rw->refused > 100);
    assert_true(answered(rw, true, alone, back) > 100);
    assert_int_equal(answered(rw, false, alone, back), 0);
    repl_world_run_ms(rw, 2000);
    assert_true(answered(rw, false, back, world_now_ns(rw->world)) > 20);
    for (uint32_t node = 1; node <= conf.nodes; node++)
        repl_world_start(rw, node);
    repl_world_expect_whole(rw, 10000);
    repl_world_stop_clients(rw);
    repl_world_judge(rw);
    repl_world_free(rw);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(quiet_cluster_serves),
        cmocka_unit_test(lost_primary_is_replaced),
        cmocka_unit_test(new_disk_gets_a_copy),
        cmocka_unit_test(copy_begins_again),
        cmocka_unit_test(write_once_keys_are_read_anywhere),
        cmocka_unit_test(replica_and_lead_move),
        cmocka_unit_test(slow_copy_is_not_given_up),
        cmocka_unit_test(drained_node_holds_nothing),
        cmocka_unit_test(move_to_a_dead_node_is_given_up),
        cmocka_unit_test(quick_restart_takes_no_wait),
        cmocka_unit_test(who_is_doubted_is_asked),
        cmocka_unit_test(who_leaves_is_not_waited_for),
        cmocka_unit_test(order_to_release_outlives_an_epoch),
        cmocka_unit_test(last_one_in_sync_takes_no_writes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
