/* The map is another while a node leaves: it forgets what it led, and its stop ends all the same. */
#include "server/cluster/map_generation.h"
#include "server/cluster/service/life_internal.h"
#include "tests/unit/cluster/nodes_world.h"

enum { LEAVE_MS = 1000 };

static struct side_life *life_of(struct world *w, uint32_t i)
{
    return w->nodes[i].c->side->life;
}

/* One that does not coordinate, which is told to leave; all slots of two replicas are served. */
static uint32_t begin_leave(struct world *w, bool *over)
{
    uint32_t i = 0;

    expect_leases(w);
    create_class(w, 2);
    expect_all_active(w, 2);
    expect_leases(w);
    while (cairn_coordinator_is_serving(w->nodes[i].c->coordinator))
        i++;
    cairn_cluster_desc.leave(w->nodes[i].ctx, UINT64_C(1) * LEAVE_MS * MS, on_over, over);
    return i;
}

static uint64_t next_map(struct world *w, uint32_t i)
{
    return cairn_map_generation_next(cairn_cluster_records_map(w->nodes[i].c->records), 0, 7);
}

static void expect_leads_nothing(struct world *w, uint32_t i)
{
    for (uint32_t slot = 1 << SLOT_BITS; slot < 2 << SLOT_BITS; slot++)
        assert_false(leads(w, i, slot));
}

/* It stops, and the others serve; started again it is one of them. */
static void expect_back(struct world *w, uint32_t i)
{
    node_stop(w, i);
    for (uint32_t slot = 1 << SLOT_BITS; slot < (1 << SLOT_BITS) + 64; slot++)
        assert_int_not_equal(leader_of(w, slot), i);
    node_start(w, i);
    expect_leases(w);
    expect_all_active(w, 2);
}

/* Its last word is under way, and nobody waits for it in the map that there is now. It does not register any more. */
static void who_parts_forgets_the_old_map(void **state)
{
    struct world *w = *state;
    bool over = false;
    uint32_t i = begin_leave(w, &over);
    uint64_t map;

    WHILE_PATIENT (life_of(w, i)->sm.state != LIFE_PARTING)
        turn(w);
    assert_non_null(life_of(w, i)->part.done); /* the answer has not come */
    map = next_map(w, i);
    assert_true(life_follow_map(life_of(w, i), map, 9));
    assert_true(cairn_cluster_records_map(w->nodes[i].c->records) == map);
    assert_false(side_lease_is_valid(w->nodes[i].c));
    turns(w, &over);
    while (life_of(w, i)->pending > 0)
        turn(w);
    assert_int_equal(life_of(w, i)->sm.state, LIFE_PARTING);
    expect_leads_nothing(w, i);
    expect_back(w, i);
}

/* It hands its slots over: in the map that there is now it has none. Whoever coordinates hears from it of a map that
 * his cannot have become of, and begins another one, in which all of them are served. */
static void who_hands_over_does_not_wait_for_the_old_map(void **state)
{
    struct world *w = *state;
    bool over = false;
    uint32_t i = begin_leave(w, &over);

    assert_int_equal(life_of(w, i)->sm.state, LIFE_BEATING);
    assert_true(life_follow_map(life_of(w, i), next_map(w, i), 9));
    assert_int_equal(life_of(w, i)->sm.state, LIFE_CEASING);
    turns(w, &over);
    expect_back(w, i);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(who_parts_forgets_the_old_map, setup, teardown),
        cmocka_unit_test_setup_teardown(who_hands_over_does_not_wait_for_the_old_map, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
