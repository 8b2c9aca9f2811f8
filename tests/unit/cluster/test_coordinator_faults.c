/* A coordinator that is deposed, answers that are lost, changes that come late, memory that runs out: whoever is not
 * elected any more changes nothing. */
#include "tests/lib/failing_malloc.h"
#include "tests/unit/cluster/coordinator_world.h"

enum { WALK_STEPS = 600, SEEDS = 6 };

/* Two ideas of how long a lease is would be two primaries: the first coordinator's is everybody's. */
static void all_have_one_lease(void **state)
{
    struct world *w = *state;
    struct node *co = await_coordinator(w), *next;
    struct cairn_map_node *lease;

    world_run_ms(w, 500);
    lease = cairn_map_table_at(&w->watcher->view.table, CAIRN_CLUSTER_KEY_LEASE);
    assert_non_null(lease);
    assert_true(cairn_cluster__lease_of(&lease->e) == times.length_ns);
    for (int i = 0; i < NODES; i++)
        w->nodes[i].times.length_ns = 1000 * CAIRN_NS_PER_MS;
    sim_map_cut(co->store, true);
    world_run_ms(w, 5000);
    next = await_coordinator(w);
    assert_ptr_not_equal(next, co);
    assert_true(next->co.coord.times.length_ns == times.length_ns);
}

static void a_deposed_one_changes_nothing(void **state)
{
    struct world *w = *state;
    struct node *co = begin(w), *next;
    struct cairn_slot_record rec = *record_of(w, 2 * NSLOTS);
    struct wish x = { 0 };
    struct cairn_wire_grant g;
    struct cairn_wire_heartbeat beat = { .number = 1 };
    struct cairn_err err;

    world_run_ms(w, 5000);
    rec = *record_of(w, 2 * NSLOTS);
    sim_map_cut(co->store, true);
    wish_begin(&x);
    x.ask.change = (struct cairn_change){
        .kind = CAIRN_CHANGE_REMOVE, .slot = 2 * NSLOTS, .epoch = rec.epoch, .from = rec.primary, .who = rec.insync[1]
    };
    cairn_coordinator_propose(&co->co, &x.ask);
    world_run_ms(w, 2500);
    beat.who = (struct cairn_who){ .node = 1, .inc = w->nodes[0].inc };
    assert_false(cairn_coordinator_is_serving(&co->co));
    assert_true(x.over && x.ask.rc == CAIRN_E_BUSY); /* nobody knows, and it does not say that it does */
    assert_int_not_equal(cairn_coordinator_heartbeat(&co->co, &beat, &g, &err), 0);
    next = await_coordinator(w);
    sim_map_cut(co->store, false);
    world_run_ms(w, 10000);
    assert_ptr_equal(serving(w), next);
    assert_int_equal(co->co.sm.state, CAIRN_COORDINATOR_STANDING);
    assert_int_equal(record_of(w, 2 * NSLOTS)->epoch, w->epochs[2 * NSLOTS]);
    assert_int_equal(w->epochs[2 * NSLOTS], rec.epoch);
    assert_int_equal(cairn_coordinator_heartbeat(&co->co, &beat, &g, &err), CAIRN_E_MOVED);
}

/* Its change is on the way for so long that another one has read everything before it arrives. */
static void a_change_that_comes_late_is_none(void **state)
{
    struct world *w = *state;
    struct node *co = begin(w);
    struct cairn_slot_record rec;
    struct wish x = { 0 };

    world_run_ms(w, 5000);
    rec = *record_of(w, 2 * NSLOTS);
    wish_begin(&x);
    x.ask.change = (struct cairn_change){
        .kind = CAIRN_CHANGE_REMOVE, .slot = 2 * NSLOTS, .epoch = rec.epoch, .from = rec.primary, .who = rec.insync[1]
    };
    sim_map_delay(w->map, 6000, 0);
    cairn_coordinator_propose(&co->co, &x.ask);
    vtime_run_ms(&w->v, 1);
    sim_map_delay(w->map, 1, 5);
    sim_map_refuse(co->store, true);
    world_run_ms(w, 5500);
    assert_ptr_not_equal(await_coordinator(w), co);
    assert_int_equal(w->epochs[2 * NSLOTS], rec.epoch);
    assert_true(x.over && x.ask.rc == CAIRN_E_BUSY);
    world_run_ms(w, 2000); /* now it arrives */
    sim_map_refuse(co->store, false);
    world_run_ms(w, 2000);
    assert_int_equal(w->epochs[2 * NSLOTS], rec.epoch);
    assert_int_equal(record_of(w, 2 * NSLOTS)->epoch, rec.epoch);
}

static void change_and_lose(struct world *w, uint32_t requests, uint32_t answers)
{
    struct node *co = begin(w);
    struct cairn_slot_record rec;
    struct wish x = { 0 };

    world_run_ms(w, 5000);
    rec = *record_of(w, 2 * NSLOTS);
    sim_map_lose(co->store, requests, answers);
    wish_begin(&x);
    x.ask.change = (struct cairn_change){
        .kind = CAIRN_CHANGE_REMOVE, .slot = 2 * NSLOTS, .epoch = rec.epoch, .from = rec.primary, .who = rec.insync[1]
    };
    cairn_coordinator_propose(&co->co, &x.ask);
    world_run_ms(w, 1800);
    assert_ptr_equal(serving(w), co);
    assert_true(x.over && x.ask.rc == 0 && x.ask.verdict == CAIRN_VERDICT_COMMITTED);
    assert_int_equal(w->epochs[2 * NSLOTS], rec.epoch + 1);
}

static void a_lost_answer_is_read_back(void **state)
{
    change_and_lose(*state, 0, 1);
}

static void a_lost_request_is_sent_again(void **state)
{
    change_and_lose(*state, 1, 0);
}

static void a_strange_entry_ends_the_term(void **state)
{
    struct world *w = *state;
    struct node *co = begin(w);
    struct cairn_slot_record rec;
    struct wish x = { 0 };

    world_run_ms(w, 5000);
    rec = *record_of(w, 2 * NSLOTS);
    co->co.changed[2 * NSLOTS]--; /* as if another had written it */
    wish_begin(&x);
    x.ask.change = (struct cairn_change){
        .kind = CAIRN_CHANGE_REMOVE, .slot = 2 * NSLOTS, .epoch = rec.epoch, .from = rec.primary, .who = rec.insync[1]
    };
    cairn_coordinator_propose(&co->co, &x.ask);
    world_run_ms(w, 1000);
    assert_true(x.over && x.ask.rc == CAIRN_E_BUSY);
    assert_ptr_not_equal(serving(w), co);
    await_coordinator(w); /* and goes on */
    world_run_ms(w, 5000);
    assert_true(co->co.sm.state == CAIRN_COORDINATOR_STANDING || serving(w) == co);
    assert_int_equal(w->epochs[2 * NSLOTS], rec.epoch);
}

/* ---- memory ---- */

#ifdef FAILING_MALLOC
enum { MEMORY_REGISTER, MEMORY_PROPOSE, MEMORY_CLASS, MEMORY_DRAIN, MEMORY_NR };

static void memory_ask(struct world *w, int what, struct cairn_coordinator *co, struct wish *x)
{
    const struct cairn_slot_record *rec = &co->coord.slots[2 * NSLOTS].rec;

    wish_begin(x);
    switch (what) {
    case MEMORY_REGISTER:
        x->ask.p = (struct cairn_coord_process){ .node = 100, .disk_id = 100, .process = 1 };
        x->ask.self = (struct cairn_wire_member){
            .node = 100, .name = "n100", .zone = "", .host = "", .state = CAIRN_WIRE_MEMBER_UP
        };
        cairn_coordinator_register(co, &x->ask);
        break;
    case MEMORY_PROPOSE:
        x->ask.change = (struct cairn_change){ .kind = CAIRN_CHANGE_REMOVE,
                                               .slot = 2 * NSLOTS,
                                               .epoch = rec->epoch,
                                               .from = rec->primary,
                                               .who = rec->insync[1] };
        cairn_coordinator_propose(co, &x->ask);
        break;
    case MEMORY_CLASS:
        x->ask.replicas = 2;
        cairn_coordinator_create_class(co, &x->ask);
        break;
    default:
        x->ask.p.node = w->nodes[0].id;
        cairn_coordinator_drain(co, &x->ask);
    }
}

/* Nothing is half done: the term ends, everybody is answered, and the next one can do it. */
static bool memory_fails(int what, uint32_t nth)
{
    struct wish x = { 0 };
    struct world *w;
    struct node *co;
    void *state;
    bool failed;

    setup_seeded(&state, 7);
    w = state;
    co = begin(w);
    world_run_ms(w, 5000);
    failing_malloc_begin(nth);
    memory_ask(w, what, &co->co, &x);
    failed = failing_malloc_end();
    world_run_ms(w, what == MEMORY_CLASS ? 8000 : 1000);
    assert_true(!failed || x.over);
    if (failed && what == MEMORY_CLASS && x.ask.rc == 0) /* a plan is made again, in the same term */
        assert_ptr_equal(serving(w), co);
    else
        assert_true(!failed || (x.ask.rc != 0 && serving(w) != co));
    co = await_coordinator(w);
    world_run_ms(w, 8000);
    if (failed && what != MEMORY_PROPOSE && x.ask.rc != 0) { /* that one's epoch may be over by now */
        memory_ask(w, what, &co->co, &x);
        world_run_ms(w, 8000);
        assert_true(x.over);
        assert_int_equal(x.ask.rc, 0);
    }
    teardown(&state);
    return failed;
}

static void memory_that_runs_out_ends_the_term(void **state)
{
    (void)state;
    for (int what = 0; what < MEMORY_NR; what++) {
        uint32_t nth = 1, failed = 0;

        for (; memory_fails(what, nth); nth += nth < 4 ? 1 : nth)
            failed++;
        assert_in_range(failed, 1, 20);
    }
}
#endif

/* ---- walks ---- */

static void fault(struct world *w)
{
    struct node *n = &w->nodes[cairn_env_random(&w->v.env) % NODES];

    switch (cairn_env_random(&w->v.env) % 8) {
    case 0:
        sim_map_cut(n->store, true);
        break;
    case 1:
    case 2:
        sim_map_cut(n->store, false);
        sim_map_refuse(n->store, false);
        break;
    case 3:
        sim_map_refuse(n->store, true);
        break;
    case 4:
        sim_map_lose(n->store, (uint32_t)(cairn_env_random(&w->v.env) % 3),
                     (uint32_t)(cairn_env_random(&w->v.env) % 3));
        break;
    case 5:
        node_restart(n);
        break;
    case 6:
        n->beats = !n->beats;
        break;
    default:
        break;
    }
}

/* Whatever happens: one at a time, epochs by one; and in the end all is there, and as the store has it. */
static void walk(uint64_t seed)
{
    struct wish x = { 0 };
    struct world *w;
    void *state;
    uint32_t active = 0;

    setup_seeded(&state, seed);
    w = state;
    for (int i = 0; i < WALK_STEPS; i++) {
        struct node *n = serving(w);

        if (n != NULL && !x.under_way && cairn_env_random(&w->v.env) % 4 == 0) {
            wish_begin(&x);
            x.ask.replicas = 1 + (uint32_t)(cairn_env_random(&w->v.env) % 3);
            cairn_coordinator_create_class(&n->co, &x.ask);
        }
        if (cairn_env_random(&w->v.env) % 3 == 0)
            fault(w);
        world_run_ms(w, 100 + 100 * (cairn_env_random(&w->v.env) % 10));
    }
    for (int i = 0; i < NODES; i++) {
        sim_map_cut(w->nodes[i].store, false);
        sim_map_refuse(w->nodes[i].store, false);
        sim_map_lose(w->nodes[i].store, 0, 0);
        w->nodes[i].beats = true;
    }
    world_run_ms(w, 60000);
    assert_false(x.under_way);
    assert_int_equal(create_class(w, 2, &x), 0);
    world_run_ms(w, 30000);
    for (uint32_t i = 0; i < CAIRN_CLUSTER_CLASSES * SCRIPTED; i++) {
        uint32_t slot = i / SCRIPTED * NSLOTS + i % SCRIPTED;
        const struct cairn_slot_record *rec = record_of(w, slot);

        assert_int_equal(rec->epoch, w->epochs[slot]);
        active += rec->state == CAIRN_SLOT_ACTIVE;
        assert_true(rec->epoch == 0 || rec->state == CAIRN_SLOT_ACTIVE);
    }
    assert_true(active >= SCRIPTED);
    for (int i = 0; i < NODES; i++)
        assert_int_equal(cairn_members_find(&serving(w)->co.members, w->nodes[i].id)->p.inc, w->nodes[i].inc);
    teardown(&state);
}

static void walks(void **state)
{
    const char *one = getenv("CAIRN_SEED");

    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        uint64_t which = one != NULL ? strtoull(one, NULL, 10) : seed;

        print_message("seed %d\n", (int)which);
        walk(which);
    }
}

/* A successor is heard by nodes that have not registered with it, so it does not know what they have: that is what it
 * says, and that no map is lost. Who asks again when they have told gets the class. */
static void a_class_waits_for_what_nodes_have(void **state)
{
    struct world *w = *state;
    struct node *co = begin(w);
    struct wish x = { 0 };

    for (int i = 0; i < NODES; i++)
        w->nodes[i].registers.under_way = true; /* their requests do not arrive */
    sim_map_cut(co->store, true);
    world_run_ms(w, 5000);
    assert_ptr_not_equal(await_coordinator(w), co);
    assert_int_equal(create_class(w, 2, &x), CAIRN_E_STATE);
    assert_non_null(strstr(x.ask.err.text, "has not told yet what it has"));
    for (int i = 0; i < NODES; i++)
        w->nodes[i].registers.under_way = false;
    world_run_ms(w, 2000);
    assert_int_equal(create_class(w, 2, &x), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(all_have_one_lease, setup, teardown),
        cmocka_unit_test_setup_teardown(a_deposed_one_changes_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(a_change_that_comes_late_is_none, setup, teardown),
        cmocka_unit_test_setup_teardown(a_class_waits_for_what_nodes_have, setup, teardown),
        cmocka_unit_test_setup_teardown(a_lost_answer_is_read_back, setup, teardown),
        cmocka_unit_test_setup_teardown(a_lost_request_is_sent_again, setup, teardown),
        cmocka_unit_test_setup_teardown(a_strange_entry_ends_the_term, setup, teardown),
#ifdef FAILING_MALLOC
        cmocka_unit_test(memory_that_runs_out_ends_the_term),
#endif
        cmocka_unit_test(walks),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
