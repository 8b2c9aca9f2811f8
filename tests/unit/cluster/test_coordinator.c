/* What a coordinator does when all is well: what is stored is told, and nothing else. */
#include "tests/lib/drawing.h"
#include "tests/unit/cluster/coordinator_world.h"

static void members_are_stored_before_they_are_told(void **state)
{
    struct world *w = *state;
    struct node *n = await_coordinator(w);
    uint64_t before;

    world_run_ms(w, 1000);
    for (int i = 0; i < NODES; i++) {
        char key[CAIRN_MEMBER_KEY_BYTES];
        struct cairn_member m = { 0 };
        struct cairn_map_node *node;

        cairn_member_key(w->nodes[i].id, key);
        node = cairn_map_table_at(&w->watcher->view.table, key);
        assert_non_null(node);
        assert_int_equal(cairn_member_unpack(&m, node->e.value, node->e.value_len, NULL), 0);
        assert_int_equal(m.p.inc, w->nodes[i].inc);
        assert_string_equal(m.name, w->nodes[i].name);
        assert_string_equal(m.addresses[0], "tcp://10.0.0.1:7000");
        for (int k = 0; k < i; k++)
            assert_true(w->nodes[k].inc != w->nodes[i].inc);
        assert_true(w->nodes[i].grants > 0);
    }

    /* The same process again: the same answer, and nothing to store. */
    before = sim_map_server_revision(w->map);
    w->nodes[0].registers.over = false;
    w->nodes[0].inc = 0;
    world_run_ms(w, 300);
    assert_int_not_equal(w->nodes[0].inc, 0);
    assert_true(w->nodes[0].inc <= w->last_inc);
    assert_int_equal(sim_map_server_revision(w->map), before);

    /* A later one: another. And an earlier one that comes late: none. */
    node_restart(&w->nodes[0]);
    world_run_ms(w, 300);
    assert_int_equal(w->nodes[0].inc, NODES + 1);
    w->nodes[0].process--;
    w->nodes[0].inc = 0;
    w->nodes[0].registers.over = false;
    world_run_ms(w, 200);
    assert_int_equal(w->nodes[0].registers.ask.rc, CAIRN_E_STATE);
    w->nodes[0].process++;
    assert_ptr_equal(serving(w), n);
}

static void a_class_is_made_once(void **state)
{
    struct world *w = *state;
    struct wish x = { 0 };
    struct cairn_map_node *conf;
    uint64_t before;

    for (int i = 0; i < NODES; i++)
        w->nodes[i].beats = false;
    assert_int_equal(create_class(w, 3, &x), CAIRN_E_STATE); /* nobody has registered */
    for (int i = 0; i < NODES; i++)
        w->nodes[i].beats = true;
    world_run_ms(w, 2000);
    assert_int_equal(create_class(w, CAIRN_CLUSTER_CLASSES + 1, &x), CAIRN_E_INVAL);
    for (uint32_t i = 0; i < ALL; i++)
        assert_int_equal(w->epochs[i], 0);
    assert_int_equal(create_class(w, 3, &x), 0);
    assert_int_equal(x.ask.nslots, NSLOTS);
    for (uint32_t i = 0; i < NSLOTS; i++) {
        const struct cairn_slot_record *rec = record_of(w, 2 * NSLOTS + i);

        assert_true(rec->epoch > 0 && rec->nreplicas == 3 && rec->min_insync == 2);
        assert_true(rec->replicas[0] != rec->replicas[1] && rec->replicas[1] != rec->replicas[2]);
        assert_int_equal(record_of(w, i)->epoch, 0); /* another class */
    }
    world_run_ms(w, 5000); /* the scripted ones begin */
    conf = cairn_map_table_at(&w->watcher->view.table, CAIRN_CLUSTER_KEY_CONF);
    assert_non_null(conf);
    assert_int_equal(cairn_cluster__nslots_of(&conf->e), NSLOTS);
    before = sim_map_server_revision(w->map);
    assert_int_equal(create_class(w, 3, &x), 0);
    assert_true(x.ask.revision <= before && x.ask.revision > 0);
    assert_int_equal(sim_map_server_revision(w->map), before);
}

static void proposals_get_their_verdict(void **state)
{
    struct world *w = *state;
    struct node *co = begin(w), *n;
    uint32_t slot = 2 * NSLOTS;
    struct cairn_slot_record rec;
    struct wish x = { 0 }, y = { 0 };

    world_run_ms(w, 5000);
    rec = *record_of(w, slot);
    assert_int_equal(rec.state, CAIRN_SLOT_ACTIVE); /* by the script */
    n = &w->nodes[rec.primary.node - 1];

    wish_begin(&x);
    x.ask.change = (struct cairn_change){
        .kind = CAIRN_CHANGE_REMOVE, .slot = slot, .epoch = rec.epoch, .from = rec.primary, .who = rec.insync[1]
    };
    cairn_coordinator_propose(&co->co, &x.ask);
    assert_true(x.under_way); /* not before it is stored */
    wish_begin(&y);
    y.ask.change = x.ask.change;
    cairn_coordinator_propose(&co->co, &y.ask);
    assert_true(y.over && y.ask.rc == CAIRN_E_BUSY);
    n->published = 0;
    world_run_ms(w, 100);
    assert_true(x.over && x.ask.rc == 0 && x.ask.verdict == CAIRN_VERDICT_COMMITTED);
    assert_int_equal(x.ask.rec.epoch, rec.epoch + 1);
    assert_int_equal(w->epochs[slot], rec.epoch + 1);
    assert_true(n->published > 0);

    /* From an epoch that is over: refused, with the record that is. */
    wish_begin(&y);
    y.ask.change = x.ask.change;
    cairn_coordinator_propose(&co->co, &y.ask);
    assert_true(y.over && y.ask.rc == 0 && y.ask.verdict == CAIRN_VERDICT_REFUSED && y.ask.rec.epoch == rec.epoch + 1);
    wish_begin(&y);
    y.ask.change.slot = ALL;
    cairn_coordinator_propose(&co->co, &y.ask);
    assert_int_equal(y.ask.rc, CAIRN_E_INVAL);
}

static void propose(struct node *co, struct wish *x, enum cairn_change_kind kind, uint32_t slot,
                    const struct cairn_slot_record *rec, struct cairn_who who)
{
    wish_begin(x);
    x->ask.change =
        (struct cairn_change){ .kind = kind, .slot = slot, .epoch = rec->epoch, .from = rec->primary, .who = who };
    cairn_coordinator_propose(&co->co, &x->ask);
}

/* A node has a new process, which the map does not have yet. If a JOIN of the old one were refused for good now, and a
 * successor that knows only the old one took a copy of it that comes late, its proposer would not wait for a member. */
static void a_join_is_refused_by_what_is_stored(void **state)
{
    struct world *w = *state;
    struct node *co = begin(w), *n;
    uint32_t slot = slot_led_by(w, co);
    struct cairn_who old = record_of(w, slot)->insync[1];
    struct wish x = { 0 };

    world_run_ms(w, 2000);
    propose(co, &x, CAIRN_CHANGE_REMOVE, slot, record_of(w, slot), old);
    world_run_ms(w, 300);
    assert_true(x.over && x.ask.verdict == CAIRN_VERDICT_COMMITTED);
    n = &w->nodes[old.node - 1];
    node_restart(n);
    node_register(n, co);
    assert_true(n->registers.under_way);
    propose(co, &x, CAIRN_CHANGE_JOIN, slot, record_of(w, slot), old);
    assert_true(x.over && x.ask.rc == CAIRN_E_BUSY);
    world_run_ms(w, 300);
    assert_true(n->inc > old.inc);
    propose(co, &x, CAIRN_CHANGE_JOIN, slot, record_of(w, slot), old);
    assert_true(x.over && x.ask.rc == 0 && x.ask.verdict == CAIRN_VERDICT_REFUSED_INC);
}

static void on_stopped_of_itself(struct cairn_coordinator_ask *ask)
{
    struct node *co = ask->arg;

    cairn_coordinator_stop(&co->co);
}

/* Who coordinates hears of itself that it stops, and ends with that; what else was stored by the same change means
 * nothing to it any more. */
static void a_term_ends_amid_what_was_stored(void **state)
{
    struct world *w = *state;
    struct node *co = begin(w), *n = other_than(w, co);
    struct cairn_coordinator_ask own = { .done = on_stopped_of_itself, .arg = co };
    struct wish x = { 0 };

    own.p = (struct cairn_coord_process){ .node = co->id, .inc = co->inc };
    wish_begin(&x);
    x.ask.p = (struct cairn_coord_process){ .node = n->id, .inc = n->inc };
    co->beats = n->beats = false;
    cairn_coordinator_member_stops(&co->co, &own);
    cairn_coordinator_member_stops(&co->co, &x.ask);
    for (int i = 0; i < 100 && !co->ended; i++)
        vtime_run_ms(&w->v, 10);
    assert_true(co->ended);
    assert_int_equal(own.rc, 0);
    assert_true(x.over);
    assert_int_equal(x.ask.rc, CAIRN_E_BUSY);
}

/* The same where the term ends first: its own process gives up the wish, and stops, while others are yet to be told. */
static void a_term_that_ends_may_be_stopped_meanwhile(void **state)
{
    struct world *w = *state;
    struct node *co = begin(w);
    struct cairn_coordinator_ask own = { .done = on_stopped_of_itself, .arg = co };
    struct wish others[NODES] = { 0 };

    own.p = (struct cairn_coord_process){ .node = co->id, .inc = co->inc };
    sim_map_cut(co->store, true);
    co->beats = false;
    cairn_coordinator_member_stops(&co->co, &own);
    for (uint32_t i = 0; i < NODES; i++) {
        wish_begin(&others[i]);
        others[i].ask.p = (struct cairn_coord_process){ .node = w->nodes[i].id, .inc = w->nodes[i].inc };
        cairn_coordinator_member_stops(&co->co, &others[i].ask);
    }
    for (int i = 0; i < 1000 && !co->ended; i++)
        vtime_run_ms(&w->v, 10);
    assert_true(co->ended);
    assert_int_equal(own.rc, CAIRN_E_BUSY);
    for (uint32_t i = 0; i < NODES; i++) {
        assert_true(others[i].over);
        assert_int_equal(others[i].ask.rc, CAIRN_E_BUSY);
    }
}

/* A clock that is beyond the term's end when it is looked at once more than @looks_left says. */
static uint32_t looks_left;

static uint64_t late_now(struct cairn_env *env)
{
    uint64_t now = CONTAINER_OF(env, struct vtime, env)->now_ns;

    if (looks_left == 0)
        return now + 3600 * CAIRN_NS_PER_S;
    looks_left--;
    return now;
}

/* The term ends between any two looks at the clock while a proposal is taken: it is answered, and so is the next. */
static void a_term_ends_within_a_proposal(void **state)
{
    struct world *w = *state;
    struct node *co = begin(w), *n = other_than(w, co);
    const struct cairn_env_ops *as_ever = w->v.env.ops;
    struct cairn_env_ops late = *as_ever;
    uint32_t looks = 0;
    struct wish x = { 0 };

    late.now_ns = late_now;
    do {
        wish_begin(&x);
        x.ask.change =
            (struct cairn_change){ .kind = CAIRN_CHANGE_ACTIVE, .from = { n->id, n->inc } }; /* of no epoch */
        looks_left = looks++;
        w->v.env.ops = &late;
        cairn_coordinator_propose(&co->co, &x.ask);
        w->v.env.ops = as_ever;
        assert_true(x.over);
        assert_true(x.ask.rc == 0 || x.ask.rc == CAIRN_E_BUSY || x.ask.rc == CAIRN_E_MOVED);
        assert_true(looks < 100);
    } while (x.ask.rc != 0);
    assert_int_equal(x.ask.verdict, CAIRN_VERDICT_REFUSED);
    assert_true(looks > 2); /* more than one look was needed */
}

static void expect_drain(struct world *w, const char *name, bool force, int rc)
{
    struct wish x;

    x.under_way = false;
    wish_begin(&x);
    x.ask.name = name;
    x.ask.force = force;
    cairn_coordinator_drain(&serving(w)->co, &x.ask);
    for (int i = 0; i < 100 && !x.over; i++)
        vtime_run_ms(&w->v, 10);
    assert_true(x.over);
    assert_int_equal(x.ask.rc, rc);
}

static void a_drained_node_gives_all_away(void **state)
{
    struct world *w = *state;
    struct node *co;
    struct wish x = { 0 };
    uint32_t named = 0;

    await_coordinator(w);
    world_run_ms(w, 2000);
    assert_int_equal(create_class(w, 2, &x), 0);
    co = await_coordinator(w);
    world_run_ms(w, 8000);
    for (uint32_t i = 0; i < ALL; i++)
        named += record_of(w, i)->state == CAIRN_SLOT_ACTIVE && cairn_slot_places(record_of(w, i), 2);
    assert_true(named > 0);
    wish_begin(&x);
    x.ask.name = "n2";
    cairn_coordinator_drain(&co->co, &x.ask);
    world_run_ms(w, 1000);
    assert_true(x.over && x.ask.rc == 0 && x.ask.nslots > 0);
    assert_true(cairn_members_find(&co->co.members, 2)->p.draining);
    world_run_ms(w, 2000);
    assert_in_range(co->co.coord.moving, MIN(named, 4U), 8); /* those that are active, as many as may be */
    for (uint32_t i = 0; i < ALL; i++) {
        const struct cairn_slot_record *rec = record_of(w, i);

        if (rec->move.phase != CAIRN_MOVE_NONE)
            assert_true(rec->move.from == 2 && !cairn_slot_names(rec, rec->move.target.node));
    }
    expect_drain(w, "n3", false, CAIRN_E_STATE); /* of two copies one would be left */
    assert_false(cairn_members_find(&co->co.members, 3)->p.draining);
    expect_drain(w, "n3", true, 0);
    expect_drain(w, "n3", false, 0); /* that was said once */
    expect_drain(w, "n1", false, CAIRN_E_STATE);
    wish_begin(&x);
    x.ask.name = "nobody";
    cairn_coordinator_drain(&co->co, &x.ask);
    assert_true(x.over && x.ask.rc == CAIRN_E_NOTFOUND);
}

static void a_successor_knows_all(void **state)
{
    struct world *w = *state;
    struct node *co = begin(w), *next;
    struct cairn_slot_record before[SCRIPTED];

    world_run_ms(w, 5000);
    for (uint32_t i = 0; i < SCRIPTED; i++)
        before[i] = *record_of(w, 2 * NSLOTS + i);
    sim_map_cut(co->store, true);
    world_run_ms(w, 5000);
    next = await_coordinator(w);
    assert_ptr_not_equal(next, co);
    for (uint32_t i = 0; i < SCRIPTED; i++)
        assert_memory_equal(&before[i], record_of(w, 2 * NSLOTS + i), sizeof(before[i]));
    world_run_ms(w, 5000);
    for (int i = 0; i < NODES; i++)
        assert_true(w->nodes[i].inc > 0 && w->nodes[i].inc <= NODES);
    assert_int_equal(w->last_inc, NODES);
}

static void drawings_agree_with_tables(void **state)
{
    static const struct cairn_sm_kind *const kinds[] = { &cairn_coordinator_kind, &cairn_writes_kind };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        char path[4096], why[DRAWING_WHY_MAX] = "no source defines it";
        struct cairn_err err = { 0 };

        if (cairn_sm_kind_check(kinds[i], &err) != 0 ||
            !drawing_find_source(CAIRN_SOURCE_DIR, kinds[i]->name, path, sizeof(path)) ||
            !drawing_file_matches(kinds[i], path, why))
            fail_msg("%s: %s %s", kinds[i]->name, err.text, why);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(members_are_stored_before_they_are_told, setup, teardown),
        cmocka_unit_test_setup_teardown(a_class_is_made_once, setup, teardown),
        cmocka_unit_test_setup_teardown(proposals_get_their_verdict, setup, teardown),
        cmocka_unit_test_setup_teardown(a_join_is_refused_by_what_is_stored, setup, teardown),
        cmocka_unit_test_setup_teardown(a_term_ends_amid_what_was_stored, setup, teardown),
        cmocka_unit_test_setup_teardown(a_term_that_ends_may_be_stopped_meanwhile, setup, teardown),
        cmocka_unit_test_setup_teardown(a_term_ends_within_a_proposal, setup, teardown),
        cmocka_unit_test_setup_teardown(a_drained_node_gives_all_away, setup, teardown),
        cmocka_unit_test_setup_teardown(a_successor_knows_all, setup, teardown),
        cmocka_unit_test(drawings_agree_with_tables),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
