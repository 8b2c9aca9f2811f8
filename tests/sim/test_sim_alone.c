/* The map is away: nobody grants a lease, and nobody can be made primary. Who is in sync alone goes on without a lease;
 * who is not waits. Stories, and random walks whose every history is judged; CAIRN_SEEDS says how many, or which
 * ("201-500", or "7-7"). */
#include "tests/sim/repl_walk.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define MS CAIRN_NS_PER_MS

enum { AWAY_MS = 30000, LEASE_IS_OVER_MS = 2500, WALKS = 100 };

static uint64_t draw(struct repl_world *rw, uint64_t n)
{
    return world_random(rw->world) % n;
}

static uint32_t answered(const struct repl_world *rw, uint32_t slot)
{
    uint32_t n = 0;

    for (uint32_t key = 0; key < RW_KEYS; key++)
        n += rw->nhistory[slot][key];
    return n;
}

/* Lets MAP be away for half a minute; how much @slot answered in the time in which no lease can be valid. */
static uint32_t answered_without_map(struct repl_world *rw, uint32_t slot)
{
    uint32_t before;

    repl_world_crash_coord(rw);
    repl_world_run_ms(rw, LEASE_IS_OVER_MS);
    before = answered(rw, slot);
    repl_world_run_ms(rw, AWAY_MS);
    return answered(rw, slot) - before;
}

static void map_is_back(struct repl_world *rw)
{
    uint32_t before = answered(rw, 0);

    repl_world_start_coord(rw);
    repl_world_expect_whole(rw, 10000);
    repl_world_run_ms(rw, 2000);
    assert_true(answered(rw, 0) > before);
}

/* A slot has one replica: it is read and written all the time. It gets a second one: now it stops with its lease. The
 * second one is dropped: it goes on again. What one of the two has is the other's history, too. */
static void one_replica_goes_on_without_the_map(void **state)
{
    struct repl_world_conf conf = repl_world_conf_of(1);
    struct repl_world *rw;
    uint64_t first, second;

    (void)state;
    conf.slots = conf.replicas = 1;
    rw = repl_world_new(&conf);
    repl_world_run_ms(rw, 2000);
    assert_true(answered_without_map(rw, 0) > 500);
    map_is_back(rw);
    first = rw->stored[0].primary.node;
    second = first % conf.nodes + 1;
    assert_int_equal(cairn_coord_move(rw->coord, 0, 0, second, true), 0); /* which is to lead, even */
    repl_world_run_ms(rw, 100);                                           /* until the record says so */
    repl_world_expect_whole(rw, 10000);
    assert_int_equal(rw->stored[0].ninsync, 2);
    assert_int_equal(answered_without_map(rw, 0), 0);
    map_is_back(rw);
    assert_int_equal(rw->stored[0].primary.node, second);
    assert_int_equal(cairn_coord_drop(rw->coord, 0, first), 0);
    repl_world_run_ms(rw, 100);
    repl_world_expect_whole(rw, 10000);
    repl_world_run_ms(rw, 2000);
    assert_true(answered_without_map(rw, 0) > 500);
    map_is_back(rw);
    repl_world_stop_clients(rw);
    repl_world_judge(rw);
    repl_world_free(rw);
}

/* Its node is started again meanwhile: the new process knows nothing of the map, answers nothing until MAP is back, and
 * then has all that was answered. */
static void who_starts_without_the_map_waits(void **state)
{
    struct repl_world_conf conf = repl_world_conf_of(2);
    struct repl_world *rw;

    (void)state;
    conf.slots = conf.replicas = 1;
    rw = repl_world_new(&conf);
    repl_world_run_ms(rw, 2000);
    assert_true(answered_without_map(rw, 0) > 500);
    repl_world_crash(rw, (uint32_t)rw->stored[0].primary.node);
    repl_world_start(rw, (uint32_t)rw->stored[0].primary.node);
    assert_int_equal(answered_without_map(rw, 0), 0);
    map_is_back(rw);
    repl_world_stop_clients(rw);
    repl_world_judge(rw);
    repl_world_free(rw);
}

/* The second replica is asked for, and MAP falls silent before anybody hears what became of that. Whether it was made a
 * member or not, the first one stops; and whichever of them is led from when MAP comes back, without the other being
 * heard, has what was answered. */
static void who_asked_for_another_stops(void **state)
{
    uint32_t asked = 0;

    (void)state;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        struct repl_world_conf conf = repl_world_conf_of(seed);
        struct repl_world *rw;
        struct cairn_replica *r;
        uint32_t first;

        conf.slots = conf.replicas = 1;
        rw = repl_world_new(&conf);
        repl_world_run_ms(rw, 2000);
        first = (uint32_t)rw->stored[0].primary.node;
        r = &rw->nodes[first].slots[0].replica;
        assert_int_equal(cairn_coord_move(rw->coord, 0, 0, first % conf.nodes + 1, true), 0);
        for (int i = 0; i < 5000 && cairn_who_is_nobody(r->joiner); i++)
            repl_world_run_ms(rw, 1);
        repl_world_run_ms(rw, draw(rw, 10));
        world_cut(rw->world, 0, first);
        world_cut(rw->world, first, 0);
        asked += !cairn_who_is_nobody(r->joiner);
        repl_world_run_ms(rw, AWAY_MS); /* the judge looks at every event: two may not serve */
        world_heal(rw->world);
        repl_world_expect_whole(rw, 10000);
        repl_world_stop_clients(rw);
        repl_world_judge(rw);
        repl_world_free(rw);
    }
    assert_true(asked > 10);
}

/* ---- walks ---- */

static void walk_step(struct repl_world *rw)
{
    uint32_t node = 1 + (uint32_t)draw(rw, rw->conf.nodes), slot = (uint32_t)draw(rw, rw->conf.slots),
             to = 1 + (uint32_t)draw(rw, rw->conf.nodes);
    const struct cairn_slot_record *rec = &rw->stored[slot];

    if (draw(rw, 2) == 0)
        node = (uint32_t)rec->primary.node;
    switch (draw(rw, 13)) {
    case 0:
    case 1:
        repl_world_crash_coord(rw);
        repl_world_run_ms(rw, draw(rw, 8000));
        break;
    case 2: /* who leads is not heard, or does not hear */
        world_cut(rw->world, 0, node);
        if (draw(rw, 2) == 0)
            world_cut(rw->world, node, 0);
        break;
    case 3:
        world_cut(rw->world, node, 0);
        break;
    case 4:
    case 5:
        world_heal(rw->world);
        repl_world_start_coord(rw);
        break;
    case 6:
        repl_world_kill(rw, node);
        repl_world_start(rw, node);
        break;
    case 7:
        world_stall(rw->world, node, draw(rw, 5000) * MS);
        break;
    case 8:
        repl_world_split(rw);
        break;
    default:
        if (!repl_world_coord_is_up(rw))
            break;
        if (rec->ninsync == 1 && draw(rw, 2) == 0)
            cairn_coord_move(rw->coord, slot, 0, to, draw(rw, 2) == 0);
        else if (rec->ninsync == 1)
            cairn_coord_move(rw->coord, slot, rec->replicas[0], to, true);
        else
            cairn_coord_drop(rw->coord, slot, rec->replicas[draw(rw, rec->nreplicas)]);
        break;
    }
}

static void walk(uint64_t seed, uint64_t *ops, uint64_t *alone)
{
    struct repl_world_conf conf = repl_world_conf_of(seed);
    struct repl_world *rw;

    conf.slots = 3;
    conf.replicas = 1;
    conf.jitter_ns = (1 + seed % 7 * 5) * MS;
    conf.loss_ppm = (uint32_t)(seed % 4) * 10000;
    conf.straggler_ppm = (uint32_t)(seed % 3) * 5000;
    conf.straggler_ns = 3000 * MS;
    conf.buffered_percent = (uint32_t)(seed / 7 % 3) * 50;
    rw = repl_world_new(&conf);
    for (uint32_t i = 1; i <= conf.nodes; i++)
        world_clock(rw->world, i, draw(rw, 1000 * MS), (int32_t)draw(rw, 1801) - 900);
    repl_world_run_ms(rw, 1500);
    for (int i = 0; i < 60; i++) {
        walk_step(rw);
        repl_world_run_ms(rw, draw(rw, 6) == 0 ? 3000 : 20 + draw(rw, 500));
    }
    world_heal(rw->world);
    world_conf(rw->world)->loss_ppm = 0;
    repl_world_start_coord(rw);
    repl_world_expect_whole(rw, 60000);
    repl_world_stop_clients(rw);
    *ops += repl_world_judge(rw);
    *alone += rw->replies_alone;
    repl_world_free(rw);
}

static void walks_without_the_map_are_linearizable(void **state)
{
    uint64_t first = 1, last = WALKS, ops = 0, alone = 0;

    (void)state;
    (void)repl_walk_seeds(&first, &last);
    for (uint64_t i = first; i <= last; i++) {
        fprintf(stderr, "\rseed %" PRIu64 " ", i);
        walk(i, &ops, &alone);
    }
    fprintf(stderr, ": %" PRIu64 " operations, %" PRIu64 " answers without a lease\n", ops, alone);
    assert_true(first == last || alone > (last - first + 1) * 20); /* the walks went there */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_replica_goes_on_without_the_map),
        cmocka_unit_test(who_starts_without_the_map_waits),
        cmocka_unit_test(who_asked_for_another_stops),
        cmocka_unit_test(walks_without_the_map_are_linearizable),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
