/* Partitions of the replicated world, in which each host is on one of two sides: stories. The walks draw theirs. */
#include "tests/sim/repl_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

enum { NEAR, FAR };

static struct repl_world *one_slot(uint64_t seed)
{
    struct repl_world_conf conf = repl_world_conf_of(seed);
    struct repl_world *rw;

    conf.slots = 1;
    rw = repl_world_new(&conf);
    repl_world_run_ms(rw, 3000);
    return rw;
}

/* The first two clients are to be on the far side. */
static bool is_far(const struct repl_world *rw, uint32_t client)
{
    return client <= rw->conf.nodes + 2;
}

/* How much clients of that side were answered since @from_us. */
static uint32_t answered(const struct repl_world *rw, bool far, int64_t from_us)
{
    uint32_t n = 0;

    for (uint32_t key = 0; key < RW_KEYS; key++) {
        for (uint32_t i = 0; i < rw->nhistory[0][key]; i++) {
            const struct linear_op *op = &rw->history[0][key][i];

            n += is_far(rw, op->client) == far && op->end != LINEAR_UNKNOWN && op->end >= from_us;
        }
    }
    return n;
}

static int64_t now_us(const struct repl_world *rw)
{
    return (int64_t)(world_now_ns(rw->world) / 1000);
}

static void all_is_well(struct repl_world *rw)
{
    repl_world_expect_whole(rw, 10000);
    repl_world_stop_clients(rw);
    repl_world_judge(rw);
    repl_world_free(rw);
}

/* Who leads is on one side with some clients, MAP and all others on the other; nothing passes, or one way only. When its
 * lease is over nobody is answered there, and who is on the other side is, by another primary: but not if MAP hears who
 * has led, and its grants do not get there. It goes on granting then, and nobody is answered until they are joined. (A
 * session over TCP is none by then, so nodes fall silent.) */
static void who_is_without_the_map_answers_nobody(void **state)
{
    (void)state;
    for (uint32_t heard = 0; heard < 3; heard++) {
        struct repl_world *rw = one_slot(1 + heard);
        uint32_t old = (uint32_t)rw->stored[0].primary.node;
        int64_t begin;

        assert_true(answered(rw, true, 0) > 10 && answered(rw, false, 0) > 10);
        world_side(rw->world, old, FAR);
        for (uint32_t i = 1; i <= rw->conf.clients; i++)
            world_side(rw->world, rw->conf.nodes + i, is_far(rw, rw->conf.nodes + i) ? FAR : NEAR);
        if (heard == 1)
            world_hear(rw->world, NEAR, FAR);
        else if (heard == 2)
            world_hear(rw->world, FAR, NEAR);
        repl_world_run_ms(rw, 4000);
        begin = now_us(rw);
        repl_world_run_ms(rw, 4000);
        assert_int_equal(answered(rw, true, begin), 0);
        if (heard < 2) {
            assert_int_not_equal(rw->stored[0].primary.node, old);
            assert_true(answered(rw, false, begin) > 50);
        }
        world_join(rw->world);
        begin = now_us(rw);
        repl_world_run_ms(rw, 2000);
        assert_true(answered(rw, true, begin) > 10);
        all_is_well(rw);
    }
}

/* MAP is heard by its store and does not hear it: who is silent is taken out of the set, and MAP does not know. So it
 * decides nothing about the slot, and tells nobody, until it has read what is in force. */
static void what_the_store_has_done_is_not_known(void **state)
{
    struct repl_world *rw = one_slot(4);
    uint32_t other = (uint32_t)rw->stored[0].primary.node % rw->conf.nodes + 1;
    uint64_t epoch = rw->stored[0].epoch;
    int64_t begin;

    (void)state;
    world_side(rw->world, repl_world_store_host(rw), FAR);
    world_hear(rw->world, NEAR, FAR);
    repl_world_crash(rw, other);
    repl_world_run_ms(rw, 2000);
    assert_int_equal(rw->stored[0].epoch, epoch + 1);
    assert_int_equal(rw->stored[0].ninsync, 2);
    assert_int_equal(rw->unheard, 1);
    assert_int_equal(rw->coord->slots[0].rec.epoch, epoch);
    begin = now_us(rw);
    repl_world_run_ms(rw, 2000);
    assert_int_equal(rw->stored[0].epoch, epoch + 1);
    world_join(rw->world);
    repl_world_run_ms(rw, 1000);
    assert_int_equal(rw->coord->slots[0].rec.epoch, epoch + 1);
    repl_world_run_ms(rw, 2000);
    assert_true(answered(rw, true, begin) > 10 && answered(rw, false, begin) > 10);
    repl_world_start(rw, other);
    all_is_well(rw);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_is_without_the_map_answers_nobody),
        cmocka_unit_test(what_the_store_has_done_is_not_known),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
