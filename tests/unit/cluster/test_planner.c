/* The planner: what comes first, how much at a time, and that plan after plan ends where nothing is to be done. */
#include "tests/unit/cluster/planner_world.h"

static void a_new_cluster_is_even(void **state)
{
    (void)state;
    for (uint32_t replicas = 1; replicas <= 4; replicas++) {
        struct cluster *c = cluster(7, 7, replicas);

        assert_settled(c, 7);
        assert_false(turn(c));
        free(c);
    }
}

static void who_joins_gets_its_share_and_no_more(void **state)
{
    struct cluster *c = cluster(8, 9, 3);

    (void)state;
    c->slowness = 3;
    node_add(c, 9, 0);
    settle(c);
    assert_settled(c, 9);
    assert_int_equal(c->copied, SLOTS * 3 / 9);
    assert_true(c->led <= SLOTS / 9); /* nobody hands over what only another old one would lead */
    free(c);
}

static void a_cluster_grows_from_one(void **state)
{
    struct cluster *c = cluster(1, 9, 3);

    (void)state;
    for (uint32_t id = 2; id <= 6; id++) {
        node_add(c, id, id);
        settle(c);
        assert_settled(c, id);
    }
    free(c);
}

static void who_is_lost_is_replaced(void **state)
{
    struct cluster *c = cluster(8, 8, 3);
    uint32_t held = holds(c, 3);

    (void)state;
    node(c, 3)->state = CAIRN_PLANNER_LOST;
    settle(c);
    assert_settled(c, 7);
    assert_int_equal(c->copied, held);
    held = holds(c, 4); /* the plan need not be told of it at all */
    node_del(c, 4);
    settle(c);
    assert_in_range(c->copied, held,
                    held + 2); /* the last ones may find that who lacks something holds the slot already */
    free(c);
}

static void who_is_drained_has_nothing_in_the_end(void **state)
{
    struct cluster *c = cluster(8, 8, 2);
    uint32_t held = holds(c, 5);

    (void)state;
    c->slowness = 2;
    node(c, 5)->state = CAIRN_PLANNER_DRAINING;
    settle(c);
    assert_settled(c, 7);
    assert_int_equal(c->copied, held);
    node(c, 5)->state = CAIRN_PLANNER_UP; /* and back */
    settle(c);
    assert_settled(c, 8);
    free(c);
}

/* Fewer nodes than replicas: what cannot be is dropped, and comes back with the next node. */
static void as_many_replicas_as_there_can_be(void **state)
{
    struct cluster *c = cluster(3, 3, 3);

    (void)state;
    node(c, 2)->state = CAIRN_PLANNER_DRAINING;
    settle(c);
    assert_settled(c, 2);
    assert_int_equal(c->copied, 0);
    assert_int_equal(c->dropped, SLOTS);
    node_add(c, 4, 4);
    settle(c);
    assert_settled(c, 3);
    node(c, 1)->state = node(c, 4)->state = CAIRN_PLANNER_LOST;
    node(c, 3)->state = CAIRN_PLANNER_DRAINING; /* nobody is left to go to: it stays */
    settle(c);
    assert_int_equal(holds(c, 3), SLOTS);
    free(c);
}

static void weights_shift_what_they_must(void **state)
{
    struct cluster *c = cluster(4, 4, 1);

    (void)state;
    node(c, 1)->member.weight = 2; /* two fifths instead of a quarter */
    settle(c);
    assert_in_range(holds(c, 1), SLOTS * 2 / 5, SLOTS * 2 / 5 + 1);
    assert_true(c->copied <= SLOTS * 2 / 5 + 1 - SLOTS / 4);
    node(c, 2)->member.weight = 0;
    settle(c);
    assert_int_equal(holds(c, 2), 0);
    free(c);
}

/* A node is found to stand in another zone: the replicas that it shares with that zone move, before any balance. */
static void zones_are_kept_apart(void **state)
{
    struct cluster *c = cluster(9, 3, 2);

    (void)state;
    node(c, 3)->member.zone = 1;
    node_add(c, 10, 0);
    turn(c);
    assert_int_equal(c->first, CAIRN_PLANNER_ZONE);
    settle(c);
    for (uint32_t s = 0; s < SLOTS; s++)
        assert_int_not_equal(node(c, c->recs[s].replicas[0])->member.zone,
                             node(c, c->recs[s].replicas[1])->member.zone);
    free(c);
}

/* A slot for each reason; what is begun is in this order, and, one at a time, nothing else. */
static void the_most_urgent_comes_first(void **state)
{
    struct cluster *c = cluster(8, 8, 3);
    struct cairn_planner *p;
    const struct cairn_planner_move *m;
    uint32_t n;

    (void)state;
    c->moves_max = SLOTS;
    c->per_node = SLOTS;
    node(c, 2)->state = CAIRN_PLANNER_DRAINING;
    node_add(c, 9, 0);
    for (uint32_t s = 700; s < 702; s++) { /* one has lost one, the other two */
        replica_del(&c->recs[s], c->recs[s].replicas[2]);
        if (s == 701)
            replica_del(&c->recs[s], c->recs[s].replicas[1]);
    }
    p = plan(c);
    m = cairn_planner_moves(p, &n);
    assert_true(n > 100);
    assert_int_equal(m[0].why, CAIRN_PLANNER_MISSING);
    assert_int_equal(m[0].slot, 701);
    assert_int_equal(m[0].from, 0);
    assert_int_equal(m[1].why, CAIRN_PLANNER_MISSING);
    assert_int_equal(m[1].slot, 700);
    assert_int_equal(m[2].why, CAIRN_PLANNER_DRAIN);
    assert_int_equal(m[2].from, 2);
    assert_int_equal(m[n - 1].why > CAIRN_PLANNER_DRAIN, 1);
    for (uint32_t i = 2; i < n; i++)
        assert_int_equal(m[i].why == CAIRN_PLANNER_DRAIN, m[i].from == 2);
    cairn_planner_free(p);
    c->moves_max = 1;
    p = plan(c);
    m = cairn_planner_moves(p, &n);
    assert_int_equal(n, 1);
    assert_int_equal(m[0].slot, 701);
    cairn_planner_free(p);
    free(c);
}

/* A slot that nobody can copy from, one that waits for its primary, one whose successor is not in sync. */
static void what_cannot_be_moved_waits(void **state)
{
    struct cluster *c = cluster(4, 4, 2);
    struct cairn_planner *p;
    const struct cairn_planner_move *m;
    uint32_t n;

    (void)state;
    c->recs[1].replicas[0] = c->recs[1].insync[0].node = c->recs[1].primary.node = 77;
    replica_del(&c->recs[1], c->recs[1].replicas[1]);
    c->recs[2].state = CAIRN_SLOT_LOST;
    replica_del(&c->recs[2], c->recs[2].replicas[1]);
    for (uint32_t s = 3; s < SLOTS; s++)
        c->recs[s].ninsync = 1;
    for (uint32_t s = 3; s < 300; s++) /* who leads is uneven */
        c->recs[s].primary.node = MIN(c->recs[s].replicas[0], c->recs[s].replicas[1]);
    p = plan(c);
    m = cairn_planner_moves(p, &n);
    assert_int_equal(cairn_planner_counts(p).gone, 1);
    assert_true(cairn_planner_counts(p).left > n);
    for (uint32_t i = 0; i < n; i++) {
        assert_true(m[i].slot > 2);
        assert_true(m[i].why != CAIRN_PLANNER_LEAD || cairn_slot_names(&c->recs[m[i].slot], m[i].to));
    }
    cairn_planner_free(p);
    free(c);
}

/* Anything happens at any time, also while moves are under way; no slot ever loses its last replica by a plan, and when
 * nothing happens any more everything ends as it should. */
static void walks_end_well(void **state)
{
    (void)state;
    for (uint32_t seed = 1; seed <= 12; seed++) {
        struct cluster *c = cluster(6 + seed % 3, seed % 2 == 0 ? 3 : 20, 1 + seed % 3);

        c->random = seed;
        c->slowness = 4;
        for (uint32_t round = 0; round < 120; round++) {
            struct cairn_planner_node *n = &c->nodes[(seed * 31 + round * 7) % c->n];

            if (draw(c, 10) && c->n < 12)
                node_add(c, 100 + round, round % 5);
            if (draw(c, 12))
                n->state = n->state == CAIRN_PLANNER_UP ? CAIRN_PLANNER_DRAINING : CAIRN_PLANNER_UP;
            if (draw(c, 15))
                n->member.weight = round % 4;
            turn(c);
            for (uint32_t s = 0; s < SLOTS; s++)
                assert_true(c->recs[s].nreplicas > 0);
        }
        for (uint32_t i = 0; i < c->n; i++) {
            c->nodes[i].state = CAIRN_PLANNER_UP;
            c->nodes[i].member.weight = 1;
            c->nodes[i].member.zone = (uint32_t)c->nodes[i].member.id;
        }
        settle(c);
        assert_settled(c, c->n);
        free(c);
    }
}

static void bounds_are_checked(void **state)
{
    struct cairn_planner_node nodes[2] = { { .member = { .id = 1, .weight = 1, .capacity = 1 } },
                                           { .member = { .id = 1, .weight = 1, .capacity = 1 } } };
    static struct cluster c;
    struct cairn_planner_conf conf = {
        .nodes = nodes, .n = 2, .slot_bits = BITS, .replicas = 1, .record = record, .arg = &c
    };
    struct cairn_planner *p = NULL;
    struct cairn_err err = { 0 };

    (void)state;
    assert_int_equal(cairn_planner_new(&conf, &p, &err), CAIRN_E_INVAL);
    conf.slot_bits = 32;
    assert_int_equal(cairn_planner_new(&conf, &p, &err), CAIRN_E_INVAL);
    conf.slot_bits = BITS;
    conf.n = 0;
    assert_int_equal(cairn_planner_new(&conf, &p, &err), 0); /* nobody at all: nothing to do */
    assert_int_equal(cairn_planner_wanted(p, 0, NULL), 0);
    cairn_planner_look(p, 0);
    assert_int_equal(cairn_planner_counts(p).left, 0);
    cairn_planner_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_new_cluster_is_even),
        cmocka_unit_test(who_joins_gets_its_share_and_no_more),
        cmocka_unit_test(a_cluster_grows_from_one),
        cmocka_unit_test(who_is_lost_is_replaced),
        cmocka_unit_test(who_is_drained_has_nothing_in_the_end),
        cmocka_unit_test(as_many_replicas_as_there_can_be),
        cmocka_unit_test(weights_shift_what_they_must),
        cmocka_unit_test(zones_are_kept_apart),
        cmocka_unit_test(the_most_urgent_comes_first),
        cmocka_unit_test(what_cannot_be_moved_waits),
        cmocka_unit_test(walks_end_well),
        cmocka_unit_test(bounds_are_checked),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
