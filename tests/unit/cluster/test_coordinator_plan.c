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

/* One that is there, holds slots and does not coordinate. */
static struct node *a_holder(struct world *w)
{
    for (int i = 0; i < NODES; i++) {
        struct node *n = &w->nodes[i];

        if (n->beats && n != serving(w) && holds(w, n->id, 2) > 0)
            return n;
    }
    fail();
    return NULL;
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
        cmocka_unit_test_setup_teardown(too_few_nodes_are_degraded, plan_setup, teardown),
        cmocka_unit_test_setup_teardown(replicas_that_no_node_can_have_are_told_apart, plan_setup, teardown),
        cmocka_unit_test_setup_teardown(slots_that_refuse_writes_are_counted, plan_setup, teardown),
        cmocka_unit_test_setup_teardown(weights_are_honoured, plan_setup, teardown),
        cmocka_unit_test_setup_teardown(progress_is_told_whatever_moves, plan_setup, teardown),
        cmocka_unit_test_setup_teardown(who_has_the_name_of_another_replaces_him, plan_setup, teardown),
        cmocka_unit_test_setup_teardown(a_rate_is_told_only_while_slots_move, plan_setup, teardown),
        cmocka_unit_test_setup_teardown(whatever_comes_and_goes, plan_setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
