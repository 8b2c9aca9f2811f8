/* Slots go where the planner wants them, whatever comes and goes; nodes that do what replicas do, at once. */
#include "tests/unit/cluster/plan_world.h"

static void a_new_class_is_even(void **state)
{
    struct world *w = *state;
    struct wish x = { 0 };
    struct node *co = some(w, NODES);

    for (uint32_t replicas = 1; replicas <= NODES; replicas++)
        assert_int_equal(create_class(w, replicas, &x), 0);
    settle(w);
    for (uint32_t replicas = 1; replicas <= NODES; replicas++)
        assert_even(w, replicas, all, NODES);
    assert_int_equal(co->co.coord.moves_done, 0); /* nothing was to be moved afterwards */
}

static void who_joins_gets_its_share(void **state)
{
    struct world *w = *state;
    struct wish x = { 0 };
    struct node *co = some(w, 3);

    assert_int_equal(create_class(w, 2, &x), 0);
    assert_int_equal(create_class(w, 3, &x), 0);
    settle(w);
    w->nodes[3].beats = true;
    world_run_ms(w, 3000);
    assert_true(co->co.coord.moving > 0);
    settle(w);
    assert_even(w, 2, all, 4);
    assert_even(w, 3, all, 4);
    assert_in_range(holds(w, 4, 2), NSLOTS * 2 / 4 - 1, NSLOTS * 2 / 4 + 1);
    /* What was copied is the newcomer's share; the rest were hand-overs, and no more than it leads. */
    assert_true(co->co.coord.moves_done <= holds(w, 4, 2) + holds(w, 4, 3) + leads(w, 4, 2) + leads(w, 4, 3));
    assert_int_equal(co->co.coord.moves_given_up, 0);
}

/* What a move waits for is looked at when it is stored, and a move that has ended makes room for the next: they do not
 * wait for a tick each. */
static void moves_wait_for_no_tick(void **state)
{
    enum { BOUND = 4, STEP_MS = 10, STEPS = 100 };
    struct world *w = *state;
    struct wish x = { 0 };
    struct node *co = some(w, 3);
    uint64_t done;

    for (int i = 0; i < NODES; i++)
        w->nodes[i].conf.moves_max = w->nodes[i].conf.moves_per_node_max = BOUND;
    assert_int_equal(create_class(w, 2, &x), 0);
    settle(w);
    w->nodes[3].beats = true;
    while (co->co.coord.moving == 0)
        world_run_ms(w, 100);
    done = co->co.coord.moves_done;
    for (int i = 0; i < STEPS; i++) {
        replicas_turn(w, co);
        vtime_run_ms(&w->v, STEP_MS);
    }
    assert_true(co->co.coord.moves_done - done > 2 * BOUND * STEPS * STEP_MS / CAIRN_COORDINATOR_TICK_MS);
}

/* A newcomer that falls silent gives the places of its moves back as soon as nobody counts on it, and gets none while
 * it is away; another's moves begin there. */
static void a_silent_target_keeps_no_place(void **state)
{
    struct world *w = *state;
    struct wish x = { 0 };
    struct node *co = some(w, 3);

    for (int i = 0; i < NODES; i++)
        w->nodes[i].conf.moves_max = w->nodes[i].conf.moves_per_node_max = 4;
    assert_int_equal(create_class(w, 2, &x), 0);
    settle(w);
    w->nodes[3].beats = true;
    while (co->co.coord.moving < 4)
        world_run_ms(w, 100);
    w->nodes[3].beats = false;
    w->nodes[4].beats = true;
    world_run_ms(w, 8000);
    assert_string_equal(state_of(w, 4), "silent");
    assert_int_equal(co->co.coord.moves_given_up, 4);
    assert_in_range(holds(w, 5, 2), 100, NSLOTS);
}

static void who_is_drained_ends_with_nothing(void **state)
{
    struct world *w = *state;
    struct wish x = { 0 };
    const uint64_t others[] = { 1, 3, 4 };

    some(w, 4);
    for (int i = 0; i < NODES; i++)
        w->nodes[i].conf.moves_max = 8;
    assert_int_equal(create_class(w, 2, &x), 0);
    settle(w);
    drain(w, 2, false);
    assert_string_equal(state_of(w, 2), "draining");
    world_run_ms(w, 2500);
    assert_true(serving(w)->co.counts.left > 0 && serving(w)->co.counts.moving > 0);
    settle(w);
    assert_int_equal(holds(w, 2, 2), 0);
    assert_even(w, 2, others, 3);
    assert_string_equal(state_of(w, 2), "drained");
    assert_int_equal(serving(w)->co.counts.degraded, 0);

    /* It is stopped: nobody misses it. It is started again: it is wanted again, and gets its share. */
    w->nodes[1].beats = false;
    world_run_ms(w, 30000);
    assert_string_equal(state_of(w, 2), "left");
    assert_int_equal(serving(w)->co.counts.silent, 0);
    w->nodes[1].beats = true;
    node_restart(&w->nodes[1]);
    world_run_ms(w, 2000);
    settle(w);
    assert_string_equal(state_of(w, 2), "up");
    assert_even(w, 2, all, 4);
}

/* What it holds was not counted yet when the drain began: it is not taken for nothing. */
static void who_has_just_got_slots_is_not_drained(void **state)
{
    struct world *w = *state;
    struct wish x = { 0 };

    some(w, 4);
    for (uint32_t ms = 0; ms < 1000; ms += 100) { /* at any time between two counts */
        uint64_t node = 1 + ms / 100 % 4;

        assert_int_equal(create_class(w, 1 + ms / 100 % 3, &x), 0);
        world_run_ms(w, ms);
        wish_begin(&x);
        x.ask.p.node = node;
        cairn_coordinator_drain(&serving(w)->co, &x.ask);
        assert_string_equal(state_of(w, node), "draining");
        world_run_ms(w, 100);
        assert_true(x.over && x.ask.rc == 0 && x.ask.nslots > 0);
        drain(w, node, true);
    }
}

static uint32_t without_room(struct world *w)
{
    json_t *status = cairn_coordinator_status(&serving(w)->co);
    json_int_t n = json_integer_value(json_object_get(json_object_get(status, "moves"), "no_room"));

    json_decref(status);
    return (uint32_t)n;
}

/* A node gets no more slots than it can tell of when it starts. A drain that would have to give it more is refused; who
 * insists drains as much as there is room for, and the rest when others come. */
static void nobody_gets_more_than_he_can_tell_of(void **state)
{
    enum { MAX_SLOTS = NSLOTS * 7 / 8 };
    struct world *w = *state;
    struct wish x = { 0 };

    for (int i = 0; i < NODES; i++)
        w->nodes[i].conf.node_slots_max = MAX_SLOTS;
    some(w, 4);
    assert_int_equal(create_class(w, 3, &x), 0);
    settle(w);
    assert_int_equal(create_class(w, 1, &x), CAIRN_E_LIMIT);
    wish_begin(&x);
    x.ask.p.node = 4;
    cairn_coordinator_drain(&serving(w)->co, &x.ask);
    assert_true(x.over && x.ask.rc == CAIRN_E_STATE);
    assert_non_null(strstr(x.ask.err.text, "one of 3 nodes would have"));
    wish_begin(&x);
    x.ask.p.node = 4;
    x.ask.force = true;
    cairn_coordinator_drain(&serving(w)->co, &x.ask);
    for (int i = 0; without_room(w) == 0; i++) {
        assert_true(i < 3000);
        world_run_ms(w, 100);
    }
    world_run_ms(w, 120000); /* plan after plan */
    assert_true(x.over && x.ask.rc == 0);
    for (uint64_t node = 1; node <= 3; node++)
        assert_int_equal(holds(w, node, 3), MAX_SLOTS);
    assert_int_equal(holds(w, 4, 3), 3 * (NSLOTS - MAX_SLOTS));
    assert_string_equal(state_of(w, 4), "draining");
    w->nodes[4].beats = w->nodes[5].beats = true;
    world_run_ms(w, 3000);
    settle(w);
    assert_int_equal(without_room(w), 0);
    assert_int_equal(holds(w, 4, 3), 0);
}

/* A drain that is not done outlives the process, and the coordinator; it ends when it is called off. */
static void a_drain_goes_on(void **state)
{
    struct world *w = *state;
    struct wish x = { 0 };
    struct node *co = some(w, 4);
    uint64_t drained = co->id == 2 ? 3 : 2;

    for (int i = 0; i < NODES; i++)
        w->nodes[i].conf.moves_max = 2;
    assert_int_equal(create_class(w, 2, &x), 0);
    settle(w);
    drain(w, drained, false);
    world_run_ms(w, 3000);
    assert_true(holds(w, drained, 2) > 0);
    node_restart(&w->nodes[drained - 1]);
    sim_map_cut(co->store, true);
    world_run_ms(w, 8000);
    assert_ptr_not_equal(await_coordinator(w), co);
    sim_map_cut(co->store, false);
    world_run_ms(w, 1000);
    assert_string_equal(state_of(w, drained), "draining");
    assert_true(holds(w, drained, 2) > 0);
    drain(w, drained, true);
    settle(w);
    assert_string_equal(state_of(w, drained), "up");
    assert_even(w, 2, all, 4);
}

/* What would go to a node that is away waits for it, and takes no place of what can go on. */
static void who_is_away_holds_up_nothing(void **state)
{
    struct world *w = *state;
    struct wish x = { 0 };
    struct node *co = some(w, 4);
    uint64_t away = co->id == 3 ? 4 : 3, drained = co->id == 2 ? 1 : 2;
    uint32_t held;

    for (int i = 0; i < NODES; i++)
        w->nodes[i].conf.moves_max = w->nodes[i].conf.moves_per_node_max = 2;
    assert_int_equal(create_class(w, 2, &x), 0);
    settle(w);
    w->nodes[away - 1].beats = false;
    world_run_ms(w, 4000);
    assert_string_equal(state_of(w, away), "silent");
    held = holds(w, drained, 2);
    drain(w, drained, false);
    for (int i = 0; i < 100; i++) {
        world_run_ms(w, 100);
        for (uint32_t slot = NSLOTS; slot < 2 * NSLOTS; slot++)
            assert_int_not_equal(record_of(w, slot)->move.target.node, away);
    }
    assert_in_range(holds(w, drained, 2), 1, held - 20);
    w->nodes[away - 1].beats = true;
    world_run_ms(w, 2000);
    settle(w);
    assert_int_equal(holds(w, drained, 2), 0);
}

static void weights_are_honoured(void **state)
{
    struct world *w = *state;
    struct wish x = { 0 };

    some(w, 4);
    assert_int_equal(create_class(w, 1, &x), 0);
    settle(w);
    w->nodes[1].weight = 200; /* it says so when it starts anew: two fifths instead of a quarter */
    node_restart(&w->nodes[1]);
    world_run_ms(w, 15000);
    settle(w);
    assert_in_range(holds(w, 2, 1), NSLOTS * 2 / 5, NSLOTS * 2 / 5 + 1);
    w->nodes[1].weight = 0;
    node_restart(&w->nodes[1]);
    world_run_ms(w, 15000);
    settle(w);
    assert_int_equal(holds(w, 2, 1), 0);
}

/* A node that comes back with an empty disk, and so as another, gets what its old self held, however long silence is
 * borne; but for what nobody else has. */
static void who_has_the_name_of_another_replaces_him(void **state)
{
    struct world *w = *state;
    struct wish x = { 0 };
    struct node *old;
    uint32_t single;

    for (int i = 0; i < NODES; i++)
        w->nodes[i].conf.lost_after_ns = 0; /* nobody is lost by silence */
    some(w, 3);
    assert_int_equal(create_class(w, 1, &x), 0);
    assert_int_equal(create_class(w, 2, &x), 0);
    settle(w);
    old = a_holder(w);
    single = holds(w, old->id, 1);
    assert_true(single > 0);
    old->beats = false;
    world_run_ms(w, 5000);
    assert_string_equal(state_of(w, old->id), "silent");
    memcpy(w->nodes[3].name, old->name, sizeof(old->name));
    w->nodes[3].beats = true;
    world_run_ms(w, 3000);
    assert_string_equal(state_of(w, old->id), "lost");
    for (int i = 0; i < 600 && holds(w, old->id, 2) > 0; i++)
        world_run_ms(w, 100);
    assert_int_equal(holds(w, old->id, 2), 0);
    assert_true(holds(w, 4, 2) > 0);
    assert_int_equal(holds(w, old->id, 1), single);
}

/* Nodes come and go, one at a time; after each everything is whole and even again. Never more than may be are under way
 * (check_bounds), though three classes are moved. */
static void whatever_comes_and_goes(void **state)
{
    struct world *w = *state;
    struct wish x = { 0 };

    some(w, 5);
    for (uint32_t replicas = 2; replicas <= 4; replicas++)
        assert_int_equal(create_class(w, replicas, &x), 0);
    settle(w);
    for (uint32_t round = 0; round < 12; round++) {
        struct node *n = &w->nodes[cairn_env_random(&w->v.env) % NODES];

        switch (round % 4) {
        case 0:
            w->nodes[5].beats = true;
            break;
        case 1:
            drain(w, n->id, false);
            break;
        case 2:
            node_restart(n);
            break;
        case 3:
            for (uint32_t i = 1; i <= NODES; i++) {
                if (serving(w) != NULL && cairn_members_find(&serving(w)->co.members, i) != NULL)
                    drain(w, i, true);
            }
            break;
        }
        world_run_ms(w, cairn_env_random(&w->v.env) % 8000);
    }
    for (uint32_t i = 1; i <= NODES; i++)
        drain(w, i, true);
    settle(w);
    for (uint32_t replicas = 2; replicas <= 4; replicas++)
        assert_even(w, replicas, all, NODES);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_new_class_is_even, plan_setup, teardown),
        cmocka_unit_test_setup_teardown(who_joins_gets_its_share, plan_setup, teardown),
        cmocka_unit_test_setup_teardown(moves_wait_for_no_tick, plan_setup, teardown),
        cmocka_unit_test_setup_teardown(who_is_drained_ends_with_nothing, plan_setup, teardown),
        cmocka_unit_test_setup_teardown(who_has_just_got_slots_is_not_drained, plan_setup, teardown),
        cmocka_unit_test_setup_teardown(nobody_gets_more_than_he_can_tell_of, plan_setup, teardown),
        cmocka_unit_test_setup_teardown(a_drain_goes_on, plan_setup, teardown),
        cmocka_unit_test_setup_teardown(who_is_away_holds_up_nothing, plan_setup, teardown),
        cmocka_unit_test_setup_teardown(a_silent_target_keeps_no_place, plan_setup, teardown),
        cmocka_unit_test_setup_teardown(weights_are_honoured, plan_setup, teardown),
        cmocka_unit_test_setup_teardown(who_has_the_name_of_another_replaces_him, plan_setup, teardown),
        cmocka_unit_test_setup_teardown(whatever_comes_and_goes, plan_setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
