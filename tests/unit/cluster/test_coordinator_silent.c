/* The coordinator, and who is silent: who is found dead, stops, is lost, replaced, and back; under the next one, too. */
#include "tests/unit/cluster/coordinator_world.h"

static void a_silent_node_is_replaced(void **state)
{
    struct world *w = *state;
    struct node *co = begin(w), *n = other_than(w, co);
    struct cairn_who old = { .node = n->id, .inc = n->inc };
    uint32_t slot = slot_led_by(w, n);

    n->beats = false;
    world_run_ms(w, 1500);
    assert_int_equal(record_of(w, slot)->primary.node, n->id); /* it may hold a lease yet */
    world_run_ms(w, 1500);
    for (uint32_t i = 0; i < NSLOTS; i++) {
        assert_int_not_equal(record_of(w, 2 * NSLOTS + i)->primary.node, n->id);
    }
    assert_true(cairn_slot_insync(record_of(w, slot), old) < 0);
    assert_int_equal(cairn_members_find(&co->co.members, n->id)->state, CAIRN_WIRE_MEMBER_SILENT);

    /* Only now it says something. It is heard, and is a member of nothing that it led. */
    n->beats = true;
    world_run_ms(w, 2000);
    assert_int_equal(cairn_members_find(&co->co.members, n->id)->state, CAIRN_WIRE_MEMBER_UP);
    assert_true(cairn_slot_insync(record_of(w, slot), old) < 0);
}

static enum cairn_wire_member_state state_of(struct world *w, const struct node *n)
{
    struct node *co = serving(w);

    return co != NULL ? cairn_members_find(&co->co.members, n->id)->state : CAIRN_WIRE_MEMBER_UP;
}

static struct cairn_gossip_self process_of(const struct node *n)
{
    return (struct cairn_gossip_self){ .node = n->id, .process = n->process };
}

static void await_silence(struct world *w, struct node *n)
{
    n->beats = false;
    for (int i = 0; state_of(w, n) != CAIRN_WIRE_MEMBER_SILENT; i++) {
        assert_true(i < 50);
        world_run_ms(w, 100);
    }
}

/* Who is heard is there, whatever the group says. Who is not, and whom the group has for dead, is away before his lease
 * may be over; what he leads waits for that. And he is there again as soon as he is heard, or the group has him. */
static void who_is_found_dead_is_away_and_keeps_his_lease(void **state)
{
    struct world *w = *state;
    struct node *co = begin(w), *n = other_than(w, co);
    const struct cairn_coord_node *known = cairn_coord_node(&co->co.coord, n->id);
    uint32_t slot = slot_led_by(w, n);

    w->dead = process_of(n);
    world_run_ms(w, 3000);
    assert_int_equal(state_of(w, n), CAIRN_WIRE_MEMBER_UP);
    await_silence(w, n);
    assert_true(w->v.now_ns - known->granted_ns < cairn_lease_wait_ns(&times));
    while (w->v.now_ns - known->granted_ns < cairn_lease_wait_ns(&times)) {
        assert_int_equal(record_of(w, slot)->primary.node, n->id);
        assert_int_equal(state_of(w, n), CAIRN_WIRE_MEMBER_SILENT);
        world_run_ms(w, 100);
    }
    world_run_ms(w, 500);
    assert_int_not_equal(record_of(w, slot)->primary.node, n->id);

    n->beats = true;
    world_run_ms(w, 1000);
    assert_int_equal(state_of(w, n), CAIRN_WIRE_MEMBER_UP);
    await_silence(w, n);
    w->dead.process++; /* it was another process that died */
    world_run_ms(w, 100);
    assert_int_equal(state_of(w, n), CAIRN_WIRE_MEMBER_UP);
}

static int stop_of(struct world *w, const struct node *n, uint64_t inc)
{
    struct wish x = { 0 };

    wish_begin(&x);
    x.ask.p = (struct cairn_coord_process){ .node = n->id, .inc = inc };
    cairn_coordinator_member_stops(&serving(w)->co, &x.ask);
    for (int i = 0; i < 10 && !x.over; i++)
        vtime_run_ms(&w->v, 10);
    assert_true(x.over);
    return x.ask.rc;
}

static void expect_missed(struct world *w, const struct node *n)
{
    json_t *said = cairn_coordinator_status(&serving(w)->co);

    assert_int_equal(state_of(w, n), CAIRN_WIRE_MEMBER_SILENT);
    assert_int_equal(serving(w)->co.counts.silent, 1);
    assert_int_equal(serving(w)->co.counts.degraded, NSLOTS);
    json_decref(said);
}

/* Who says that he stops is missed when that is answered, and not when he has been silent for a lease; also by the next
 * coordinator. What he was granted is his as long as ever, and the next process of the node is missed no more. */
static void who_stops_is_missed_at_once(void **state)
{
    struct world *w = *state;
    struct node *co = begin(w), *n = other_than(w, co);
    uint32_t slot = slot_led_by(w, n), grants;

    assert_int_equal(stop_of(w, n, n->inc + 1), CAIRN_E_STATE);
    assert_int_equal(stop_of(w, &(struct node){ .id = 99 }, 1), CAIRN_E_NOTFOUND);
    assert_int_equal(state_of(w, n), CAIRN_WIRE_MEMBER_UP);
    assert_int_equal(stop_of(w, n, n->inc), 0);
    expect_missed(w, n);
    assert_int_equal(stop_of(w, n, n->inc), 0); /* once more, as who has had no answer does */
    grants = n->grants;
    world_run_ms(w, 1000); /* heartbeats that were on their way */
    expect_missed(w, n);
    assert_int_equal(n->grants, grants);
    assert_int_equal(record_of(w, slot)->primary.node, n->id);

    n->beats = false;
    sim_map_cut(n->store, true);
    sim_map_cut(co->store, true);
    co->beats = false;
    for (int i = 0; i < 100 && (serving(w) == NULL || serving(w) == co); i++)
        world_run_ms(w, 10);
    assert_ptr_not_equal(serving(w), co);
    assert_int_equal(state_of(w, n), CAIRN_WIRE_MEMBER_SILENT);

    n->beats = true;
    node_restart(n);
    world_run_ms(w, 1000);
    assert_int_equal(state_of(w, n), CAIRN_WIRE_MEMBER_UP);
}

/* Its silence is counted on by the next coordinator: it is lost at most an eighth of lost_after, and the time of an
 * election, later than with the first; and not before its time. */
static void silence_survives_a_change_of_coordinator(void **state)
{
    enum { LOST_AFTER_MS = 20000, CHANGE_AT_MS = 16000, ELECTION_MS = 6000 };
    struct world *w = *state;
    struct node *co = begin(w), *n = other_than(w, co), *next = other_than(w, n);
    uint64_t ms = 0;

    n->beats = false;
    sim_map_cut(n->store, true); /* it does not stand for election */
    for (; ms < CHANGE_AT_MS; ms += 100)
        world_run_ms(w, 100);
    assert_int_equal(state_of(w, n), CAIRN_WIRE_MEMBER_SILENT);
    sim_map_cut(co->store, true); /* and its node, who is asked nothing more */
    co->beats = false;
    for (; state_of(w, n) != CAIRN_WIRE_MEMBER_LOST; ms += 100) {
        world_run_ms(w, 100);
        assert_true(ms <= LOST_AFTER_MS + LOST_AFTER_MS / 8 + ELECTION_MS);
    }
    assert_true(ms >= LOST_AFTER_MS);
    assert_ptr_equal(serving(w), next);
    assert_int_not_equal(state_of(w, co), CAIRN_WIRE_MEMBER_LOST); /* which was silent for less */
}

static bool is_said_to_be_heard(struct world *w, const struct node *n)
{
    json_t *said = cairn_coordinator_status(&serving(w)->co), *members = json_object_get(said, "members");
    bool is = false, met = false;

    for (size_t i = 0; i < json_array_size(members); i++) {
        json_t *m = json_array_get(members, i);

        if ((uint64_t)json_integer_value(json_object_get(m, "incarnation")) != n->inc)
            continue;
        assert_string_equal(json_string_value(json_object_get(m, "state")), "up");
        is = json_boolean_value(json_object_get(m, "heard"));
        met = true;
    }
    assert_true(met);
    json_decref(said);
    return is;
}

/* The map has it as up, and nobody has missed it: whoever is elected does not know better at first, and says so. */
static void who_was_not_heard_in_this_term_is_told_apart(void **state)
{
    struct world *w = *state;
    struct node *co = begin(w), *n = other_than(w, co), *next = other_than(w, n);

    assert_true(is_said_to_be_heard(w, n) && is_said_to_be_heard(w, next));
    n->beats = false;
    sim_map_cut(n->store, true);
    sim_map_cut(co->store, true);
    co->beats = false;
    for (int i = 0; i < 1000 && (serving(w) == NULL || serving(w) == co); i++)
        world_run_ms(w, 10);
    assert_ptr_equal(serving(w), next);
    assert_false(is_said_to_be_heard(w, n));
    n->beats = true;
    world_run_ms(w, 1000);
    assert_true(is_said_to_be_heard(w, n) && is_said_to_be_heard(w, next));
}

/* Who is heard was not silent before. */
static void silence_that_ended_does_not_count(void **state)
{
    struct world *w = *state;
    struct node *co = begin(w), *n = other_than(w, co);

    n->beats = false;
    world_run_ms(w, 15000);
    n->beats = true;
    world_run_ms(w, 3000);
    assert_int_equal(state_of(w, n), CAIRN_WIRE_MEMBER_UP);
    n->beats = false;
    sim_map_cut(co->store, true);
    world_run_ms(w, 15000);
    assert_int_equal(state_of(w, n), CAIRN_WIRE_MEMBER_SILENT);
}

static uint64_t moved_ms(struct world *w, uint32_t slot, uint64_t from)
{
    uint64_t ms = 0;

    while (serving(w) == NULL || record_of(w, slot)->primary.node == from) {
        world_run_ms(w, 100);
        ms += 100;
        assert_true(ms < 20000);
    }
    return ms;
}

/* A coordinator dies, and another node with it, or not. The successor knows that the coordinator held no lease beyond
 * its term; of the other one it knows nothing, and waits as long as a lease may last. */
static void what_a_dead_coordinator_led_waits_for_no_lease(void **state)
{
    struct world *w = *state;
    struct node *co = begin(w);
    uint32_t slot = slot_led_by(w, co);
    uint64_t took;

    world_run_ms(w, 2000);
    sim_map_cut(co->store, true);
    co->beats = false;
    took = moved_ms(w, slot, co->id);
    assert_true(took <= 2000 + 100 + 700); /* the term, an election, a heartbeat of the successor */
    for (uint32_t i = 0; i < NSLOTS; i++)
        assert_int_not_equal(record_of(w, 2 * NSLOTS + i)->primary.node, co->id);
}

/* It is there, and only not elected any more: nothing is taken from it. */
static void a_coordinator_that_resigned_keeps_what_it_leads(void **state)
{
    struct world *w = *state;
    struct node *co = begin(w);
    uint32_t slot = slot_led_by(w, co);

    world_run_ms(w, 2000);
    sim_map_cut(co->store, true);
    world_run_ms(w, 2500);
    assert_non_null(serving(w));
    assert_ptr_not_equal(serving(w), co);
    sim_map_cut(co->store, false);
    world_run_ms(w, 5000);
    assert_int_equal(record_of(w, slot)->primary.node, co->id);
}

static void another_dead_node_waits_for_its_lease(void **state)
{
    struct world *w = *state;
    struct node *co = begin(w), *n = other_than(w, co);
    uint32_t slot = slot_led_by(w, n);

    world_run_ms(w, 2000);
    sim_map_cut(co->store, true);
    sim_map_cut(n->store, true); /* so that it is not elected */
    co->beats = n->beats = false;
    assert_true(moved_ms(w, slot, n->id) >= 2000 + 1900);
}

static struct wish *register_twin(struct world *w, struct node *co, const struct node *of, struct wish *x)
{
    wish_begin(x);
    x->ask.p = (struct cairn_coord_process){ .node = 77, .disk_id = 77, .process = 1 };
    x->ask.self = (struct cairn_wire_member){ .node = 77, .name = of->name, .host = "", .zone = "", .weight = 100 };
    cairn_coordinator_register(&co->co, &x->ask);
    for (int i = 0; i < 20 && !x->over; i++)
        world_run_ms(w, 100);
    assert_true(x->over);
    return x;
}

/* As long as its holder lives; a node that comes back with an empty disk has to wait until it is known to be gone. */
static void a_name_is_given_to_one(void **state)
{
    struct world *w = *state;
    struct node *co = begin(w), *n = other_than(w, co);
    struct wish x = { 0 };

    assert_int_equal(register_twin(w, co, n, &x)->ask.rc, CAIRN_E_EXISTS);
    assert_non_null(strstr(x.ask.err.text, "is alive"));
    assert_null(cairn_members_find(&co->co.members, 77));
    n->beats = false;
    world_run_ms(w, 3000);
    assert_int_equal(register_twin(w, co, n, &x)->ask.rc, 0);
    assert_ptr_equal(cairn_members_named(&co->co.members, n->name), cairn_members_find(&co->co.members, 77));
}

/* The group forgets the dead, the sooner if another has its name: that brings nobody back. */
static void who_was_replaced_is_back_with_a_heartbeat_alone(void **state)
{
    struct world *w = *state;
    struct node *co = begin(w), *n = other_than(w, co);
    const struct cairn_coord_node *known = cairn_coord_node(&co->co.coord, n->id);
    struct wish x = { 0 };

    w->dead = process_of(n);
    await_silence(w, n);
    assert_int_equal(register_twin(w, co, n, &x)->ask.rc, 0);
    assert_int_equal(state_of(w, n), CAIRN_WIRE_MEMBER_LOST);
    w->dead.process++;
    world_run_ms(w, 100);
    assert_true(w->v.now_ns - known->heard_ns < cairn_lease_wait_ns(&times));
    assert_int_equal(state_of(w, n), CAIRN_WIRE_MEMBER_LOST);
    wish_begin(&x); /* of the two it is the one that is away */
    x.ask.name = n->name;
    cairn_coordinator_lose(&co->co, &x.ask);
    assert_true(x.over);
    assert_int_equal(x.ask.rc, 0);
    n->beats = true;
    world_run_ms(w, 1000);
    assert_int_equal(state_of(w, n), CAIRN_WIRE_MEMBER_UP);
}

static void a_restarted_node_is_replaced_at_once(void **state)
{
    struct world *w = *state;
    struct node *co = begin(w), *n = other_than(w, co);
    uint32_t slot = slot_led_by(w, n);

    node_restart(n);
    world_run_ms(w, 1200);
    assert_int_not_equal(record_of(w, slot)->primary.node, n->id);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_silent_node_is_replaced, setup, teardown),
        cmocka_unit_test_setup_teardown(who_is_found_dead_is_away_and_keeps_his_lease, setup, teardown),
        cmocka_unit_test_setup_teardown(who_stops_is_missed_at_once, setup, teardown),
        cmocka_unit_test_setup_teardown(silence_survives_a_change_of_coordinator, setup, teardown),
        cmocka_unit_test_setup_teardown(who_was_not_heard_in_this_term_is_told_apart, setup, teardown),
        cmocka_unit_test_setup_teardown(silence_that_ended_does_not_count, setup, teardown),
        cmocka_unit_test_setup_teardown(a_name_is_given_to_one, setup, teardown),
        cmocka_unit_test_setup_teardown(what_a_dead_coordinator_led_waits_for_no_lease, setup, teardown),
        cmocka_unit_test_setup_teardown(a_coordinator_that_resigned_keeps_what_it_leads, setup, teardown),
        cmocka_unit_test_setup_teardown(another_dead_node_waits_for_its_lease, setup, teardown),
        cmocka_unit_test_setup_teardown(who_was_replaced_is_back_with_a_heartbeat_alone, setup, teardown),
        cmocka_unit_test_setup_teardown(a_restarted_node_is_replaced_at_once, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
