/* What the coordinator tells people of slots: how many have what they are to have, and how soon the others will. */
#include "tests/unit/cluster/plan_world.h"

/* Fewer nodes than replicas: as many as there can be, and the rest when nodes come. */
static void too_few_nodes_are_degraded(void **state)
{
    struct world *w = *state;
    struct wish x = { 0 };
    struct node *co = some(w, 1);

    assert_int_equal(create_class(w, 3, &x), 0);
    settle(w);
    assert_even(w, 3, all, 1);
    assert_int_equal(co->co.counts.degraded, NSLOTS);
    assert_int_equal(co->co.counts.classes[2].degraded, NSLOTS);
    assert_int_equal(co->co.counts.classes[2].fewest, 1);
    for (uint32_t n = 2; n <= 4; n++) {
        w->nodes[n - 1].beats = true;
        world_run_ms(w, 2000);
        settle(w);
        assert_even(w, 3, all, n);
        assert_int_equal(co->co.counts.degraded, n < 3 ? NSLOTS : 0);
    }
}

/* What nobody can give is told from what a node that comes back has; and what no namespace names is missed by nobody. */
static void replicas_that_no_node_can_have_are_told_apart(void **state)
{
    struct world *w = *state;
    struct wish x = { 0 }, y = { 0 };
    struct node *co = some(w, 3);
    const struct cairn_coordinator_counts *n = &co->co.counts;
    json_t *status;

    assert_int_equal(create_class(w, 2, &x), 0);
    assert_int_equal(create_class(w, 5, &y), 0);
    settle(w);
    assert_int_equal(n->degraded, NSLOTS);
    assert_int_equal(n->beyond, NSLOTS);
    a_holder(w)->beats = false;
    world_run_ms(w, 5000);
    assert_in_range(n->degraded, NSLOTS + 1, 2 * NSLOTS);
    assert_int_equal(n->beyond, 0); /* another of each is made when it is back */
    w->unnamed = 1U << 4;
    status = cairn_coordinator_status(&co->co); /* though nothing was stored */
    json_decref(status);
    assert_true(n->classes[4].unused && !n->classes[1].unused);
    assert_int_equal(n->classes[4].degraded, NSLOTS);
    assert_int_equal(n->unused, NSLOTS);
    assert_int_equal(n->slots, 2 * NSLOTS);
    assert_int_equal(n->degraded, n->classes[1].degraded);
    assert_int_equal(n->unserved, n->classes[1].unserved);
}

/* One of three is left: nothing of three replicas takes writes until there are two. Of two, one will do. */
static void slots_that_refuse_writes_are_counted(void **state)
{
    struct world *w = *state;
    struct wish x = { 0 }, y = { 0 };
    struct node *co = some(w, 3), *left = co->id <= 3 ? co : &w->nodes[0]; /* one that holds slots */

    assert_int_equal(create_class(w, 3, &x), 0);
    assert_int_equal(create_class(w, 2, &y), 0);
    settle(w);
    assert_int_equal(co->co.counts.classes[2].refusing, 0);
    for (uint32_t i = 0; i < 3; i++)
        w->nodes[i].beats = &w->nodes[i] == left;
    world_run_ms(w, 10000);
    assert_int_equal(co->co.counts.classes[2].fewest, 1);
    assert_int_equal(co->co.counts.classes[2].refusing, NSLOTS);
    assert_int_equal(co->co.counts.classes[2].unserved, 0);
    assert_int_equal(co->co.counts.classes[1].refusing, NSLOTS - holds(w, left->id, 2));
    assert_int_equal(co->co.counts.classes[1].unserved, NSLOTS - holds(w, left->id, 2)); /* nobody is left to read of */
    assert_int_equal(co->co.counts.unserved, co->co.counts.classes[1].unserved);
    assert_int_equal(co->co.counts.degraded, 2 * NSLOTS); /* whoever serves them */
    w->nodes[left->id % 3].beats = true;
    world_run_ms(w, 5000);
    assert_int_equal(co->co.counts.classes[2].fewest, 2);
    assert_int_equal(co->co.counts.classes[2].refusing, 0);
}

/* What is said while slots move, or replicas catch up, until nothing is left: how far it is, how fast, how long. */
static void assert_progress_of(struct world *w, const char *what)
{
    bool seen = false;

    for (int i = 0; i < 600 && (!seen || !is_settled(w)); i++) {
        json_t *status = cairn_coordinator_status(&serving(w)->co), *o = json_object_get(status, what);
        json_int_t done = json_integer_value(json_object_get(o, "done"));

        assert_true(
            o == NULL ||
            json_integer_value(json_object_get(o, "left")) + json_integer_value(json_object_get(o, "under_way")) > 0 ||
            json_is_true(json_object_get(o, "planning")));
        if (done > 0 && json_integer_value(json_object_get(o, "left")) > 0) {
            seen = true;
            assert_true(json_real_value(json_object_get(o, "per_s")) > 0);
            assert_true(json_integer_value(json_object_get(o, "left_ms")) > 0);
        }
        json_decref(status);
        world_run_ms(w, 100);
    }
    assert_true(seen);
    settle(w);
}

static void progress_is_told_whatever_moves(void **state)
{
    struct world *w = *state;
    struct wish x = { 0 };
    struct node *co, *back;

    for (int i = 0; i < NODES; i++)
        w->nodes[i].conf.moves_max = w->nodes[i].conf.moves_per_node_max = 4;
    some(w, 3);
    assert_int_equal(create_class(w, 2, &x), 0);
    settle(w);
    w->nodes[3].beats = true; /* one joins */
    assert_progress_of(w, "moves");
    w->nodes[3].weight = 300; /* has another weight */
    node_restart(&w->nodes[3]);
    assert_progress_of(w, "moves");
    drain(w, 4, false);
    assert_progress_of(w, "moves");
    w->nodes[4].beats = w->nodes[5].beats = true;
    world_run_ms(w, 3000);
    settle(w);
    back = a_holder(w);
    back->beats = false; /* is lost for good: what it held is made anew */
    world_run_ms(w, 24000);
    assert_string_equal(state_of(w, back->id), "lost");
    assert_progress_of(w, "moves");
    co = serving(w);
    back = a_holder(w);
    back->beats = false; /* comes back: catches up */
    world_run_ms(w, 10000);
    assert_true(co->co.counts.degraded > 0);
    assert_int_equal(co->co.counts.behind, 0);
    node_restart(back);
    back->beats = true;
    joins_max = 8;
    assert_progress_of(w, "catching_up");
    assert_int_equal(co->co.counts.behind, 0);
}

static void assert_moves_said(struct world *w, bool stalls, const char *waits_for)
{
    json_t *status = cairn_coordinator_status(&serving(w)->co), *o = json_object_get(status, "moves");
    const char *who = json_string_value(json_object_get(o, "waits_for"));

    assert_non_null(o);
    assert_true(json_integer_value(json_object_get(o, "left")) > 0);
    assert_int_equal(json_real_value(json_object_get(o, "per_s")) > 0, !stalls);
    assert_int_equal(json_integer_value(json_object_get(o, "left_ms")) > 0, !stalls);
    assert_string_equal(who != NULL ? who : "", waits_for);
    json_decref(status);
}

/* No slot moves while the newcomer is away: nothing is made up of how long that takes, and who is waited for is told.
 * When it goes on the time that it stood still is no part of the rate. */
static void a_rate_is_told_only_while_slots_move(void **state)
{
    struct world *w = *state;
    struct wish x = { 0 };
    struct node *co = some(w, 3), *late;
    uint64_t per_1000s;

    for (int i = 0; i < NODES; i++) {
        w->nodes[i].conf.moves_max = w->nodes[i].conf.moves_per_node_max = 2;
        w->nodes[i].conf.lost_after_ns = 3600 * CAIRN_NS_PER_S;
    }
    assert_int_equal(create_class(w, 2, &x), 0);
    settle(w);
    late = &w->nodes[3];
    late->beats = true;
    for (int i = 0; i < 100 && co->co.counts.moves.done < 20; i++)
        world_run_ms(w, 100);
    assert_moves_said(w, false, "");
    per_1000s = co->co.counts.moves.per_1000s;
    late->beats = false;
    world_run_ms(w, 60000);
    assert_moves_said(w, true, late->name);
    assert_true(co->co.counts.moves.done >= 20);
    late->beats = true;
    for (int i = 0; i < 100 && co->co.counts.moves.left_ms == 0; i++)
        world_run_ms(w, 100);
    world_run_ms(w, 2000);
    assert_moves_said(w, false, "");
    assert_true(co->co.counts.moves.per_1000s > per_1000s / 2);
    settle(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(too_few_nodes_are_degraded, plan_setup, teardown),
        cmocka_unit_test_setup_teardown(replicas_that_no_node_can_have_are_told_apart, plan_setup, teardown),
        cmocka_unit_test_setup_teardown(slots_that_refuse_writes_are_counted, plan_setup, teardown),
        cmocka_unit_test_setup_teardown(progress_is_told_whatever_moves, plan_setup, teardown),
        cmocka_unit_test_setup_teardown(a_rate_is_told_only_while_slots_move, plan_setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
