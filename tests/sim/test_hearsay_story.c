/* How the map comes to a thousand nodes: group and hearsay cores together, on a poor network. */
#include "tests/sim/hearsay_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

enum { N = 1000, PATIENCE_MS = 30000, WARM_MS = 2000 };

static struct hearsay_world *cluster(uint32_t nodes)
{
    struct hearsay_world *hw = hearsay_world_new(
        &(struct hearsay_world_conf){ .seed = 5, .nodes = nodes, .loss_ppm = 10000, .slow_every = 10 });

    group_world_run_ms(hw->gw, WARM_MS);
    return hw;
}

static uint64_t pages_of_coordinator(const struct hearsay_world *hw)
{
    return hw->granted_records + hw->nodes[0].served;
}

/* One change is known to all within seconds, though every twentieth node has just died, and the coordinator gives it to
 * few. */
static void a_change_reaches_a_thousand_nodes(void **state)
{
    struct hearsay_world *hw = cluster(N);

    (void)state;
    for (uint32_t i = 10; i < N; i += 20)
        hearsay_world_kill(hw, i);
    hearsay_world_change(hw, 1);
    assert_true(hearsay_world_until_known(hw, PATIENCE_MS) < 5000);
    assert_true(pages_of_coordinator(hw) < N / 4);
    hearsay_world_free(hw);
}

/* A thousand changes in a row: about as many pages leave the coordinator as in a cluster of ten, not a thousand times
 * a thousand; and no node gives out much more of the map than there is of it. */
static void many_changes_do_not_cost_the_coordinator_much(void **state)
{
    enum { CHANGES = 1000, EVERY_MS = 10, RECORD = 96 };
    struct hearsay_world *hw = cluster(N);

    (void)state;
    for (uint32_t i = 0; i < CHANGES; i++) {
        hearsay_world_change(hw, 1);
        group_world_run_ms(hw->gw, EVERY_MS);
    }
    assert_true(hearsay_world_until_known(hw, PATIENCE_MS) < 5000);
    assert_true(pages_of_coordinator(hw) < 2 * CHANGES);
    for (uint32_t i = 1; i < N; i++)
        assert_true(hw->nodes[i].record_bytes < 50 * CHANGES * RECORD);
    hearsay_world_free(hw);
}

/* Whoever cannot talk to the coordinator has it of others. */
static void who_is_cut_off_from_the_coordinator_learns_it_of_others(void **state)
{
    struct hearsay_world *hw = cluster(20);

    (void)state;
    hw->nodes[7].cut_off = true;
    for (uint32_t i = 0; i < 20; i++) {
        hearsay_world_change(hw, 1);
        assert_true(hearsay_world_until_known(hw, PATIENCE_MS) < 10000);
    }
    hearsay_world_free(hw);
}

/* Who was away for long has all of it page by page of one that has it. */
static void who_is_far_behind_has_all_of_it_of_others(void **state)
{
    struct hearsay_world *hw = cluster(20);

    (void)state;
    hw->nodes[7].cut_off = true;
    hearsay_world_change(hw, 100 * 1024);
    assert_true(hearsay_world_until_known(hw, PATIENCE_MS) < 20000);
    hearsay_world_free(hw);
}

/* One node says that it has a map that there is not: all ask it a few times, and are told of changes as ever. */
static void a_word_of_a_map_that_there_is_not_costs_little(void **state)
{
    struct hearsay_world *hw = cluster(100);

    (void)state;
    hearsay_world_lie(hw, 3, 1000000);
    for (uint32_t i = 0; i < 60; i++) {
        hearsay_world_change(hw, 1);
        group_world_run_ms(hw->gw, 1000);
    }
    assert_true(hearsay_world_until_known(hw, PATIENCE_MS) < 5000);
    for (uint32_t i = 1; i < 100; i++)
        assert_true(hw->nodes[i].hearsay.lies <= 8);
    hearsay_world_free(hw);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_change_reaches_a_thousand_nodes),
        cmocka_unit_test(many_changes_do_not_cost_the_coordinator_much),
        cmocka_unit_test(who_is_cut_off_from_the_coordinator_learns_it_of_others),
        cmocka_unit_test(who_is_far_behind_has_all_of_it_of_others),
        cmocka_unit_test(a_word_of_a_map_that_there_is_not_costs_little),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
