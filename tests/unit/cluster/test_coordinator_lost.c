/* Members that do not come back: what they held is made anew, and they are forgotten one day. */
#include "tests/unit/cluster/plan_world.h"

/* One of four, and not the coordinator. */
static struct node *not_the(struct world *w, const struct node *co)
{
    return co->id == 3 ? &w->nodes[3] : &w->nodes[2];
}

/* Of four nodes. */
static void others_than(const struct node *gone, uint64_t others[3])
{
    for (uint32_t i = 0, k = 0; i < 4; i++) {
        if (all[i] != gone->id)
            others[k++] = all[i];
    }
}

static void who_is_lost_is_replaced(void **state)
{
    struct world *w = *state;
    struct wish x = { 0 };
    struct node *co = some(w, 4), *lost = not_the(w, co);
    uint64_t others[3];

    others_than(lost, others);
    assert_int_equal(create_class(w, 2, &x), 0);
    settle(w);
    lost->beats = false;
    world_run_ms(w, 15000);
    assert_string_equal(state_of(w, lost->id), "silent"); /* it may be back soon: nothing is copied for it */
    assert_int_equal(co->co.coord.moves_done, 0);
    assert_true(co->co.counts.degraded > 0 && co->co.counts.classes[1].fewest == 1);
    world_run_ms(w, 10000);
    assert_string_equal(state_of(w, lost->id), "lost");
    settle(w);
    assert_even(w, 2, others, 3);
    assert_int_equal(co->co.counts.degraded, 0);
    assert_int_equal(co->co.counts.silent, 0);

    /* Another coordinates: it knows that the node is lost. And the node comes back after all. */
    sim_map_cut(co->store, true);
    world_run_ms(w, 8000);
    assert_ptr_not_equal(await_coordinator(w), co);
    assert_string_equal(state_of(w, lost->id), "lost");
    sim_map_cut(co->store, false);
    node_restart(lost);
    lost->beats = true;
    world_run_ms(w, 2000);
    settle(w);
    assert_string_equal(state_of(w, lost->id), "up");
    assert_even(w, 2, all, 4);
}

/* A node's data are wiped: it comes back as another node, while the old one is only away. Who was to give slots to it
 * is then the one that has a replica beside it, and the old one will never be in sync again: those moves end
 * nevertheless. */
static void who_comes_back_with_nothing_is_another(void **state)
{
    struct world *w = *state;
    struct wish x = { 0 };
    struct node *co = some(w, 3), *wiped = co->id == 3 ? &w->nodes[1] : &w->nodes[2];
    uint64_t others[3];

    others_than(wiped, others);
    assert_int_equal(create_class(w, 2, &x), 0);
    settle(w);
    idle = true;
    wiped->beats = false;
    w->nodes[3].beats = true;
    world_run_ms(w, 15000);
    assert_string_equal(state_of(w, wiped->id), "silent");
    assert_true(holds(w, 4, 2) > 0);
    world_run_ms(w, 15000);
    assert_string_equal(state_of(w, wiped->id), "lost");
    settle(w);
    assert_even(w, 2, others, 3);
    assert_int_equal(co->co.counts.degraded, 0);
}

/* What a loss makes necessary is begun as soon as it is known. */
static void a_loss_is_made_good_at_once(void **state)
{
    struct world *w = *state;
    struct wish x = { 0 };
    struct node *co = some(w, 4), *lost = not_the(w, co);

    assert_int_equal(create_class(w, 2, &x), 0);
    settle(w);
    lost->beats = false;
    while (strcmp(state_of(w, lost->id), "lost") != 0)
        world_run_ms(w, 10);
    world_run_ms(w, 200);
    assert_true(co->co.coord.moves_done > 0);
}

/* ---- said to be lost ---- */

/* What @n says of who is said to be lost. */
static int lose(struct world *w, const char *name, bool force, struct wish *x)
{
    wish_begin(x);
    x->ask.name = name;
    x->ask.author = "uid 0";
    x->ask.force = force;
    cairn_coordinator_lose(&await_coordinator(w)->co, &x->ask);
    world_run_ms(w, 500);
    assert_true(x->over);
    return x->ask.rc;
}

/* An operator knows that a node does not come back: nobody waits for lost_after. */
static void who_is_said_to_be_lost_is_replaced_at_once(void **state)
{
    struct world *w = *state;
    struct wish x = { 0 };
    struct node *co = some(w, 4), *lost = not_the(w, co);

    assert_int_equal(create_class(w, 2, &x), 0);
    settle(w);
    co->conf.lost_after_ns = 0; /* never by itself */
    assert_int_equal(lose(w, "nobody", false, &x), CAIRN_E_NOTFOUND);
    assert_int_equal(lose(w, lost->name, true, &x), CAIRN_E_STATE); /* it is there, whatever is forced */
    assert_non_null(strstr(x.ask.err.text, "is there"));
    lost->beats = false;
    world_run_ms(w, 15000);
    assert_string_equal(state_of(w, lost->id), "silent");
    assert_int_equal(lose(w, lost->name, false, &x), 0);
    assert_true(x.ask.nslots > 0 && x.ask.alone == 0);
    assert_string_equal(state_of(w, lost->id), "lost");
    assert_int_equal(lose(w, lost->name, false, &x), 0); /* once more changes nothing */
    settle(w);
    assert_int_equal(co->co.counts.degraded, 0);
    assert_int_equal(cairn_coord_holds(&co->co.coord, lost->id), 0);
    node_restart(lost); /* it comes back after all */
    lost->beats = true;
    world_run_ms(w, 2000);
    assert_string_equal(state_of(w, lost->id), "up");
}

/* Where it has the only replica that is refused, and says of how many slots; if forced they stay as they are. */
static void who_has_the_only_replica_is_lost_by_force_alone(void **state)
{
    struct world *w = *state;
    struct wish x = { 0 };
    struct node *co = some(w, 4), *lost = not_the(w, co);
    uint32_t alone = 0;

    assert_int_equal(create_class(w, 1, &x), 0);
    assert_int_equal(create_class(w, 2, &x), 0);
    settle(w);
    for (uint32_t i = 0; i < NSLOTS; i++)
        alone += record_of(w, i)->primary.node == lost->id;
    assert_true(alone > 0);
    lost->beats = false;
    world_run_ms(w, 5000);
    assert_int_equal(lose(w, lost->name, false, &x), CAIRN_E_STATE);
    assert_non_null(strstr(x.ask.err.text, "no other replica is there"));
    assert_int_equal(x.ask.alone, alone);
    assert_string_equal(state_of(w, lost->id), "silent");
    assert_int_equal(lose(w, lost->name, true, &x), 0);
    world_run_ms(w, 30000);
    for (uint32_t i = NSLOTS; i < 2 * NSLOTS; i++)
        assert_false(cairn_slot_places(record_of(w, i), lost->id));
    assert_int_equal(cairn_coord_holds(&co->co.coord, lost->id), alone);
}

/* ---- members that nobody misses ---- */

static uint32_t entries;

static void on_counted(struct cairn_map_op *op)
{
    struct cairn_map_read *r = CONTAINER_OF(op, struct cairn_map_read, op);

    assert_int_equal(op->rc, 0);
    entries = r->table.n;
    cairn_map_table_fini(&r->table);
}

/* Members as the map has them. */
static uint32_t stored_members(struct world *w)
{
    struct cairn_map_read r = { .op = { .done = on_counted }, .prefix = CAIRN_CLUSTER_KEY_MEMBERS };

    entries = UINT32_MAX;
    cairn_map_store_read(w->watcher, &r);
    while (entries == UINT32_MAX)
        world_run_ms(w, 100);
    return entries;
}

/* Nodes that get no slots register once, and are not heard of again; what the last one was told. */
static int visit(struct world *w, uint64_t first, uint32_t n)
{
    struct wish *all_of = calloc(n, sizeof(*all_of));
    char name[16];
    int rc;

    for (uint32_t i = 0; i < n; i++) {
        struct wish *x = &all_of[i];

        snprintf(name, sizeof(name), "v%u", (unsigned)(first + i));
        wish_begin(x);
        x->ask.p = (struct cairn_coord_process){ .node = first + i, .disk_id = first + i, .process = 1 };
        x->ask.self = (struct cairn_wire_member){ .node = first + i, .name = name, .zone = "", .host = "" };
        cairn_coordinator_register(&serving(w)->co, &x->ask);
    }
    while (!all_of[n - 1].over) /* in order */
        world_run_ms(w, 100);
    rc = all_of[n - 1].ask.rc;
    free(all_of);
    return rc;
}

/* Each wiped disk is another node, and its old entry stays: when there are as many as a map may have, one that is gone
 * for good makes room, though the answer of the store be lost; none that is there, or away, or that a slot names. */
static void who_is_gone_for_good_makes_room(void **state)
{
    enum { FIRST = 100, LATE = FIRST + CAIRN_CLUSTER_MEMBERS_MAX };
    struct world *w = *state;
    struct wish x = { 0 };
    struct node *co;
    uint64_t inc;

    for (int i = 0; i < NODES; i++)
        w->nodes[i].conf.moves_max = 1; /* so what is lost is named for long */
    co = some(w, 4);
    assert_int_equal(create_class(w, 2, &x), 0);
    settle(w);
    assert_int_equal(visit(w, FIRST, CAIRN_CLUSTER_MEMBERS_MAX - co->co.members.n), 0);
    assert_int_equal(visit(w, LATE, 1), CAIRN_E_LIMIT); /* they have just been here */
    w->nodes[co->id == 3 ? 1 : 2].beats = false;
    world_run_ms(w, 24000);
    assert_string_equal(state_of(w, co->id == 3 ? 2 : 3), "lost");
    inc = co->co.coord.last_inc;
    sim_map_lose(co->store, 0, 1);
    assert_int_equal(visit(w, LATE, 1), 0);
    assert_int_equal(visit(w, LATE, 1), 0); /* it was not forgotten at once */
    assert_int_equal(co->co.coord.last_inc, inc + 1);
    assert_int_equal(stored_members(w), CAIRN_CLUSTER_MEMBERS_MAX);
    sim_map_cut(co->store, true); /* another reads what is there */
    world_run_ms(w, 8000);
    co = await_coordinator(w);
    assert_int_equal(co->co.members.n, CAIRN_CLUSTER_MEMBERS_MAX);
    assert_int_equal(co->co.coord.last_inc, inc + 1);
    for (int i = 0; i < 4; i++)
        assert_non_null(cairn_members_find(&co->co.members, w->nodes[i].id));
}

/* Or after a day, whether there is room or not. */
static void who_is_gone_for_a_day_is_forgotten(void **state)
{
    struct world *w = *state;
    struct node *co = some(w, 3), *gone = co->id == 3 ? &w->nodes[1] : &w->nodes[2];

    w->turn = NULL; /* there are no slots */
    visit(w, 9, 1);
    gone->beats = false;
    world_run_ms(w, CAIRN_COORDINATOR_FORGET_S * UINT64_C(1000) - 60000);
    assert_int_equal(co->co.members.n, 4);
    assert_string_equal(state_of(w, gone->id), "lost");
    world_run_ms(w, 120000);
    assert_int_equal(co->co.members.n, 3);
    assert_null(cairn_members_find(&co->co.members, gone->id));
    assert_non_null(cairn_members_find(&co->co.members, 9)); /* the newest incarnation is counted on from */
    assert_int_equal(stored_members(w), 3);
    node_restart(gone);
    gone->beats = true;
    world_run_ms(w, 2000);
    assert_string_equal(state_of(w, gone->id), "up");
    assert_int_equal(gone->inc, 5);
    world_run_ms(w, 2000);
    assert_int_equal(stored_members(w), 3); /* now it is not the newest any more */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(who_is_lost_is_replaced, plan_setup, teardown),
        cmocka_unit_test_setup_teardown(a_loss_is_made_good_at_once, plan_setup, teardown),
        cmocka_unit_test_setup_teardown(who_comes_back_with_nothing_is_another, plan_setup, teardown),
        cmocka_unit_test_setup_teardown(who_is_said_to_be_lost_is_replaced_at_once, plan_setup, teardown),
        cmocka_unit_test_setup_teardown(who_has_the_only_replica_is_lost_by_force_alone, plan_setup, teardown),
        cmocka_unit_test_setup_teardown(who_is_gone_for_good_makes_room, plan_setup, teardown),
        cmocka_unit_test_setup_teardown(who_is_gone_for_a_day_is_forgotten, plan_setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
