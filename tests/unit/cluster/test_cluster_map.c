/* How the map comes to a node: with grants, of other nodes, and of the coordinator when nobody else has it. */
#include "server/cluster/service/life_internal.h"
#include "tests/unit/cluster/nodes_world.h"

enum { MANY_PAGES = 3 };

static struct side_life *life_of(struct world *w, uint32_t i)
{
    return w->nodes[i].c->side->life;
}

static uint64_t learned(struct world *w, uint32_t i)
{
    return life_of(w, i)->learned;
}

/* Grants of @i bring nothing from now on, as in a cluster so large that others had it all. */
static void grant_no_pages(struct world *w, uint32_t i)
{
    w->nodes[i].c->side->askers.grants.bytes_per_s = 1;
    atomic_store(&w->nodes[i].c->side->askers.grants.free_ns, UINT64_MAX / 2);
}

/* A change of the map that concerns nobody: at the coordinator, stored and all. What is stored is as it was before; so
 * that there is something to be told, a member that was lost long ago changes with it. */
static void change(struct world *w, uint32_t coordinator)
{
    static uint64_t inc = 1;
    struct cairn_cluster_records *records = w->nodes[coordinator].c->records;
    struct cairn_wire_member lost = {
        .node = 77, .inc = inc++, .name = "lost", .zone = "", .host = "", .state = CAIRN_WIRE_MEMBER_LOST
    };
    uint64_t before = cairn_cluster_records_revision(records);
    struct asked a = { 0 };
    Cairn__Wire__ClusterDrain msg = CAIRN__WIRE__CLUSTER_DRAIN__INIT;
    struct cairn_err err = { 0 };
    struct cairn_rpc_call call = { .dest.rpc = w->nodes[coordinator].kv.rpc,
                                   .iface = &cairn_iface_cluster,
                                   .provider = CAIRN_PROVIDER_CLUSTER,
                                   .method = CAIRN__WIRE__CLUSTER_METHOD__CLUSTER_DRAIN,
                                   .msg = &msg.base,
                                   .done = on_asked,
                                   .err = &err,
                                   .arg = &a };

    msg.node = w->nodes[coordinator].id + 1;
    msg.off = true;
    assert_int_equal(cairn_cluster_records_put_member(records, &lost, before + 1), 0);
    cairn_rpc_call_start(&call);
    turns(w, &a.done);
    assert_int_equal(a.rc, 0);
    WHILE_PATIENT (cairn_cluster_records_revision(records) == before)
        turn(w);
}

static void expect_learned(struct world *w, uint32_t i, uint64_t revision)
{
    WHILE_PATIENT (learned(w, i) < revision)
        turn(w);
}

static uint64_t revision_at(struct world *w, uint32_t i)
{
    return cairn_cluster_records_revision(w->nodes[i].c->records);
}

static bool has_the_map(struct world *w, uint32_t i, uint32_t coordinator)
{
    return learned(w, i) >= revision_at(w, coordinator) && revision_at(w, i) < UINT64_MAX / 2 &&
           learned(w, i) < UINT64_MAX / 2;
}

/* All have the map; who coordinates, and two that do not. */
static void begin(struct world *w, uint32_t *co, uint32_t *a, uint32_t *b)
{
    create_class(w, 2);
    expect_leases(w);
    *co = coordinator_of(w);
    *a = (*co + 1) % NODES;
    *b = (*co + 2) % NODES;
}

/* One that hears of another follower alone has the map of that one. */
static void the_map_comes_of_another_node(void **state)
{
    struct world *w = *state;
    uint32_t co, a, b;

    begin(w, &co, &a, &b);
    grant_no_pages(w, co);
    w->nodes[b].hears[co] = false;
    for (int k = 0; k < 100 && atomic_load(&life_of(w, b)->asked_others) == 0; k++) { /* it is patient, not for ever */
        change(w, co);
        expect_learned(w, a, revision_at(w, co));
        expect_learned(w, b, revision_at(w, co));
    }
    assert_true(atomic_load(&life_of(w, b)->asked_others) > 0);
    assert_int_equal(atomic_load(&life_of(w, b)->lies), 0);
    expect_leases(w);
}

/* Many members that were lost long ago, told of in pages of their own. */
static void many_changes(struct world *w, uint32_t coordinator)
{
    struct cairn_cluster_records *records = w->nodes[coordinator].c->records;
    struct cairn_wire_member lost = { .name = "lost", .zone = "", .host = "", .state = CAIRN_WIRE_MEMBER_LOST };

    for (uint64_t page = 0; page < MANY_PAGES; page++) {
        for (uint32_t i = 0; i < CAIRN_WIRE_PAGE_MEMBERS_MAX - 1; i++) { /* and the one of change() */
            lost.node = 1000 * (page + 1) + i;
            assert_int_equal(
                cairn_cluster_records_put_member(records, &lost, cairn_cluster_records_revision(records) + 1), 0);
        }
        change(w, coordinator);
    }
}

/* There is much that @b does not have, and @a does, which gives it two pages a second; @b hears of @a alone. Returns up to
 * where that goes. */
static uint64_t begin_with_many(struct world *w, uint32_t *co, uint32_t *a, uint32_t *b)
{
    struct cluster_pace *pace;
    uint64_t all;

    begin(w, co, a, b);
    grant_no_pages(w, *co);
    WHILE_PATIENT (!has_the_map(w, *b, *co) || life_of(w, *b)->fetch_from != 0 || life_of(w, *b)->learning)
        turn(w);
    for (uint32_t i = 0; i < NODES; i++)
        w->nodes[*b].hears[i] = false;
    life_of(w, *b)->hearsay.asked = 99; /* it waits for an answer that does not come */
    many_changes(w, *co);
    all = revision_at(w, *co);
    expect_learned(w, *a, all);
    assert_true(learned(w, *b) < all);
    pace = &w->nodes[*a].c->side->askers.nodes;
    pace->bytes_per_s = 2; /* pages, that is: far fewer than would come */
    atomic_store(&pace->free_ns, cairn_env_now_ns(&w->nodes[*a].c->home->env) + CLUSTER_PACE_AHEAD_NS);
    w->nodes[*b].hears[*a] = true;
    life_of(w, *b)->hearsay.asked = 0;
    return all;
}

/* Pages of another node count together: until the last is here none of them is known. A node that gives only so many a
 * second is waited for. */
static void pages_of_a_node_are_learned_together(void **state)
{
    struct world *w = *state;
    uint64_t before, all, asked, resorts;
    uint32_t co, a, b;

    all = begin_with_many(w, &co, &a, &b);
    before = learned(w, b);
    asked = atomic_load(&life_of(w, b)->asked_others);
    resorts = atomic_load(&life_of(w, b)->asked_coordinator);
    WHILE_PATIENT (learned(w, b) < all) {
        assert_int_equal(learned(w, b), before);
        assert_int_equal(revision_at(w, b), before);
        life_of(w, b)->nwaits = 0; /* no grant waits so long that the coordinator would be asked */
        life_of(w, b)->hearsay.wanted = 0;
        turn(w);
    }
    assert_true(atomic_load(&life_of(w, b)->asked_others) > asked + MANY_PAGES);
    assert_int_equal(atomic_load(&life_of(w, b)->asked_coordinator), resorts);
    assert_true(cairn_cluster_records_nmembers(w->nodes[b].c->records) >
                MANY_PAGES * (CAIRN_WIRE_PAGE_MEMBERS_MAX - 1));
    assert_null(life_of(w, b)->chain.pages);
    expect_leases(w);
}

/* Whoever gives them forgets all, and has it anew: what came before is not gone on with. */
static void a_source_begins_anew_in_the_middle(void **state)
{
    struct world *w = *state;
    struct cairn_cluster_records *records;
    uint64_t all;
    uint32_t co, a, b;

    all = begin_with_many(w, &co, &a, &b);
    records = w->nodes[a].c->records;
    WHILE_PATIENT (life_of(w, b)->chain.n == 0)
        turn(w);
    cairn_cluster_records_forget(records, cairn_cluster_records_map(records));
    life_of(w, a)->learned = 0;
    hearsay_have(&life_of(w, a)->hearsay, 0);
    cairn_cluster__side_say(w->nodes[a].c);
    w->nodes[a].c->side->askers.nodes.bytes_per_s = 0;
    expect_learned(w, b, all);
    assert_true(cairn_cluster_records_nmembers(w->nodes[b].c->records) >
                MANY_PAGES * (CAIRN_WIRE_PAGE_MEMBERS_MAX - 1));
    expect_learned(w, a, all);
    expect_leases(w);
}

/* And whoever reads them: of what is on its way nothing is taken. */
static void a_reader_begins_anew_in_the_middle(void **state)
{
    struct world *w = *state;
    struct cairn_cluster_records *records;
    uint64_t all;
    uint32_t co, a, b;

    all = begin_with_many(w, &co, &a, &b);
    records = w->nodes[b].c->records;
    WHILE_PATIENT (life_of(w, b)->chain.n == 0)
        turn(w);
    cairn_cluster_records_forget(records, cairn_cluster_records_map(records));
    life_of(w, b)->learned = 0;
    life_hear_forget(life_of(w, b));
    assert_null(life_of(w, b)->chain.pages);
    w->nodes[a].c->side->askers.nodes.bytes_per_s = 0;
    expect_learned(w, b, all);
    assert_true(cairn_cluster_records_nmembers(records) > MANY_PAGES * (CAIRN_WIRE_PAGE_MEMBERS_MAX - 1));
    for (uint32_t i = 0; i < 1 << SLOT_BITS; i++) {
        struct cairn_slot_record rec;

        assert_true(cairn_cluster_records_slot(records, (1 << SLOT_BITS) + i, &rec));
    }
    expect_leases(w);
}

/* M1: a grant that brings nothing is no lease before the map came in another way; here of the coordinator, since there
 * is no group to hear of others. */
static void a_grant_waits_for_the_map(void **state)
{
    struct world *w = *state;
    uint64_t beats;
    uint32_t co, b;

    create_class(w, 2);
    expect_leases(w);
    co = coordinator_of(w);
    b = (co + 1) % NODES;
    grant_no_pages(w, co);
    atomic_store(&w->nodes[co].c->side->askers.nodes.free_ns, UINT64_MAX / 2); /* a last resort is served anyhow */
    change(w, co);
    expect_learned(w, b, revision_at(w, co));
    assert_true(atomic_load(&life_of(w, b)->asked_coordinator) > 0);
    assert_int_equal(atomic_load(&life_of(w, b)->asked_others), 0);
    /* While it cannot be had from anywhere, heartbeats are granted and are no lease. */
    WHILE_PATIENT (life_of(w, b)->fetch_from != 0 || life_of(w, b)->learning)
        turn(w);
    life_of(w, b)->hearsay.asked = 99; /* it waits for an answer that does not come */
    change(w, co);
    cairn_cluster__side_give_up(w->nodes[b].c); /* and with it what was granted before the change, but is on its way */
    beats = life_of(w, b)->beats_sent;
    WHILE_PATIENT (life_of(w, b)->beats_sent < beats + 5 || life_of(w, b)->nwaits == 0)
        turn(w);
    assert_false(side_lease_is_valid(w->nodes[b].c));
    life_of(w, b)->hearsay.asked = 0;
    expect_leases(w);
}

/* What a coordinator stored last its replicas may not have when its term ends, nor others when they missed a page; then it
 * is in the node's records, and nobody else need be there to give it. */
static void what_its_records_have_a_node_learns_by_itself(void **state)
{
    struct world *w = *state;
    uint32_t co, a, b;

    begin(w, &co, &a, &b);
    grant_no_pages(w, co);
    WHILE_PATIENT (life_of(w, b)->fetch_from != 0 || life_of(w, b)->learning)
        turn(w);
    for (uint32_t i = 0; i < NODES; i++)
        w->nodes[b].hears[i] = false;
    life_of(w, b)->hearsay.asked = 99; /* it waits for an answer that does not come */
    life_of(w, b)->learned = 0;
    expect_learned(w, b, revision_at(w, b));
    assert_int_equal(atomic_load(&life_of(w, b)->lies), 0);
    life_of(w, b)->hearsay.asked = 0;
    expect_leases(w);
}

/* One says that it has what there is not: it is asked, not believed, and the others are. */
static void a_word_of_a_map_that_there_is_not(void **state)
{
    struct world *w = *state;
    uint32_t co, a, b;

    begin(w, &co, &a, &b);
    w->nodes[b].hears[a] = false;
    WHILE_PATIENT (atomic_load(&life_of(w, b)->lies) == 0) {
        cairn_gossip_hear(&w->nodes[b].gossip,
                          &(struct cairn_gossip_word){ w->nodes[a].id + 1, UINT64_MAX,
                                                       cairn_cluster_records_map(w->nodes[b].c->records) });
        turn(w);
    }
    change(w, co);
    expect_learned(w, b, revision_at(w, co));
    assert_true(revision_at(w, b) < UINT64_MAX);
    assert_true(life_of(w, b)->hearsay.questions < 100);
}

/* What a node has goes beyond the map that there is, and it gives it to others: the coordinator says so, and they fetch
 * it anew; not from each other. */
static void a_map_from_the_future_is_dropped(void **state)
{
    struct world *w = *state;
    struct cairn_slot_record rec;
    uint32_t co, a, b, first = 1 << SLOT_BITS;

    begin(w, &co, &a, &b);
    WHILE_PATIENT (!has_the_map(w, b, co) || life_of(w, b)->learning)
        turn(w);
    cairn_cluster_records_upto(w->nodes[b].c->records, UINT64_MAX / 2);
    life_of(w, b)->learned = UINT64_MAX / 2;
    hearsay_have(&life_of(w, b)->hearsay, UINT64_MAX / 2);
    cairn_cluster__side_say(w->nodes[b].c);
    WHILE_PATIENT (life_of(w, b)->no_such == 0 || !has_the_map(w, a, co) || !has_the_map(w, b, co))
        turn(w);
    assert_true(cairn_cluster_records_slot(w->nodes[b].c->records, first, &rec));
    expect_leases(w);
}

/* A group says what it says whenever it likes: what waits is of now, and one node takes one place. */
static void doubts_wait_once_and_while_we_beat(void **state)
{
    struct world *w = *state;
    struct side_life *l = life_of(w, 0);

    assert_int_not_equal(l->sm.state, LIFE_BEATING);
    cairn_gossip_doubt(&w->nodes[0].gossip, &(struct cairn_gossip_self){ 777, 1 });
    assert_int_equal(l->doubts.n, 0);
    create_class(w, 2);
    expect_leases(w);
    assert_int_equal(l->sm.state, LIFE_BEATING);
    for (uint64_t i = 0; i < 3 * (uint64_t)LIFE_DOUBTS_MAX; i++)
        cairn_gossip_doubt(&w->nodes[0].gossip, &(struct cairn_gossip_self){ 777, i });
    assert_int_equal(l->doubts.node, 777); /* being asked about, and once more */
    assert_int_equal(l->doubts.n, 1);
    cairn_gossip_doubt(&w->nodes[0].gossip, &(struct cairn_gossip_self){ 778, 1 });
    assert_int_equal(l->doubts.n, 2);
    WHILE_PATIENT (l->doubts.n > 0 || l->doubts.node != 0)
        turn(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_map_comes_of_another_node, setup_group, teardown),
        cmocka_unit_test_setup_teardown(pages_of_a_node_are_learned_together, setup_group, teardown),
        cmocka_unit_test_setup_teardown(a_source_begins_anew_in_the_middle, setup_group, teardown),
        cmocka_unit_test_setup_teardown(a_reader_begins_anew_in_the_middle, setup_group, teardown),
        cmocka_unit_test_setup_teardown(a_grant_waits_for_the_map, setup_long_leases, teardown),
        cmocka_unit_test_setup_teardown(what_its_records_have_a_node_learns_by_itself, setup_group, teardown),
        cmocka_unit_test_setup_teardown(a_word_of_a_map_that_there_is_not, setup_group, teardown),
        cmocka_unit_test_setup_teardown(a_map_from_the_future_is_dropped, setup_group, teardown),
        cmocka_unit_test_setup_teardown(doubts_wait_once_and_while_we_beat, setup_group, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
