/* The planner: what comes first, how much at a time, and that plan after plan ends where nothing is to be done. */
#include "server/cluster/planner.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { BITS = 10, SLOTS = 1 << BITS, NODES_MAX = 32, ROUNDS_MAX = 20000 };

/* A cluster that carries out what is planned; a move takes a few rounds, as many as @slowness draws. */
struct cluster {
    struct cairn_planner_node nodes[NODES_MAX];
    uint32_t n, replicas, moves_max, per_node;
    struct cairn_slot_record recs[SLOTS];
    uint64_t random;
    uint32_t slowness;
    uint32_t copied, led, dropped; /* moves done */
    enum cairn_planner_why first;  /* of what was begun in this round */
};

static const struct cairn_slot_record *record(void *arg, uint32_t slot)
{
    struct cluster *c = arg;

    return &c->recs[slot];
}

static struct cairn_planner *plan(struct cluster *c)
{
    struct cairn_planner_conf conf = { .nodes = c->nodes,
                                       .n = c->n,
                                       .slot_bits = BITS,
                                       .replicas = c->replicas,
                                       .record = record,
                                       .arg = c,
                                       .moves_max = c->moves_max,
                                       .moves_per_node_max = c->per_node };
    struct cairn_planner *p = NULL;
    struct cairn_err err = { 0 };

    if (cairn_planner_new(&conf, &p, &err) != 0)
        fail_msg("%s", err.text);
    return p;
}

static void node_add(struct cluster *c, uint64_t id, uint32_t zone)
{
    c->nodes[c->n++] = (struct cairn_planner_node){ .member = { .id = id, .weight = 1, .capacity = 1, .zone = zone },
                                                    .state = CAIRN_PLANNER_UP };
}

static struct cairn_planner_node *node(struct cluster *c, uint64_t id)
{
    for (uint32_t i = 0; i < c->n; i++) {
        if (c->nodes[i].member.id == id)
            return &c->nodes[i];
    }
    fail_msg("no node %lu", id);
    return NULL;
}

static void node_del(struct cluster *c, uint64_t id)
{
    *node(c, id) = c->nodes[--c->n];
}

static void set_replicas(struct cairn_slot_record *rec, const uint64_t *ids, uint32_t n)
{
    rec->nreplicas = rec->ninsync = n;
    for (uint32_t i = 0; i < n; i++) {
        rec->replicas[i] = ids[i];
        rec->insync[i] = (struct cairn_who){ .node = ids[i], .inc = 1 };
    }
}

/* What a first plan wants, as cairn_coord_create() would set it up. */
static void create(struct cluster *c)
{
    struct cairn_planner *p = plan(c);
    uint32_t n;

    cairn_planner_moves(p, &n);
    assert_int_equal(n, 0);
    for (uint32_t s = 0; s < SLOTS; s++) {
        uint64_t ids[CAIRN_REPLICAS_MAX];

        n = cairn_planner_wanted(p, s, ids);
        c->recs[s] = (struct cairn_slot_record){ .epoch = 1, .state = CAIRN_SLOT_ACTIVE };
        set_replicas(&c->recs[s], ids, n);
        c->recs[s].primary = c->recs[s].insync[0];
    }
    cairn_planner_free(p);
}

/* @n nodes with ids from 1, in @zones zones. */
static struct cluster *cluster(uint32_t n, uint32_t zones, uint32_t replicas)
{
    struct cluster *c = calloc(1, sizeof(*c));

    *c = (struct cluster){ .replicas = replicas, .moves_max = 16, .per_node = 4, .random = 7 };
    for (uint32_t i = 1; i <= n; i++)
        node_add(c, i, i % zones);
    create(c);
    return c;
}

static bool draw(struct cluster *c, uint32_t one_of)
{
    c->random = c->random * UINT64_C(6364136223846793005) + 1442695040888963407;
    return (c->random >> 33) % one_of == 0;
}

static void replica_del(struct cairn_slot_record *rec, uint64_t id)
{
    uint64_t ids[CAIRN_REPLICAS_MAX];
    uint32_t n = 0;

    for (uint32_t i = 0; i < rec->nreplicas; i++) {
        if (rec->replicas[i] != id)
            ids[n++] = rec->replicas[i];
    }
    set_replicas(rec, ids, n);
}

static bool is_lost(struct cluster *c, uint64_t id)
{
    for (uint32_t i = 0; i < c->n; i++) {
        if (c->nodes[i].member.id == id)
            return c->nodes[i].state == CAIRN_PLANNER_LOST;
    }
    return true;
}

/* The coordinator's part: a lost primary has a successor. */
static void take_over(struct cluster *c)
{
    for (uint32_t s = 0; s < SLOTS; s++) {
        struct cairn_slot_record *rec = &c->recs[s];

        for (uint32_t i = 0; is_lost(c, rec->primary.node) && i < rec->nreplicas; i++) {
            if (!is_lost(c, rec->replicas[i]))
                rec->primary.node = rec->replicas[i];
        }
    }
}

static void finish(struct cluster *c, struct cairn_slot_record *rec)
{
    uint64_t ids[CAIRN_REPLICAS_MAX], to = rec->move.target.node, from = rec->move.from;

    if (!cairn_slot_names(rec, to)) {
        memcpy(ids, rec->replicas, sizeof(ids));
        assert_true(rec->nreplicas < CAIRN_REPLICAS_MAX);
        ids[rec->nreplicas] = to;
        set_replicas(rec, ids, rec->nreplicas + 1);
        c->copied++;
    } else {
        c->led++;
    }
    if (rec->move.lead || rec->primary.node == from)
        rec->primary.node = to;
    if (from != 0)
        replica_del(rec, from);
    memset(&rec->move, 0, sizeof(rec->move));
}

/* As cairn_coord_move(), _lead() and _drop() would begin it; what they refuse fails. */
static void begin(struct cluster *c, const struct cairn_planner_move *m)
{
    struct cairn_slot_record *rec = &c->recs[m->slot];

    assert_int_equal(rec->move.phase, CAIRN_MOVE_NONE);
    if (m->why == CAIRN_PLANNER_DROP) {
        assert_int_not_equal(rec->primary.node, m->from);
        assert_true(cairn_slot_places(rec, m->from));
        replica_del(rec, m->from);
        c->dropped++;
        return;
    }
    if (m->why == CAIRN_PLANNER_LEAD) {
        assert_true(cairn_slot_names(rec, m->to));
        assert_int_not_equal(rec->primary.node, m->to);
    } else {
        assert_false(cairn_slot_places(rec, m->to));
        assert_true(m->from == 0 || cairn_slot_places(rec, m->from));
    }
    assert_int_equal(node(c, m->to)->state, CAIRN_PLANNER_UP);
    rec->move.phase = CAIRN_MOVE_COPY;
    rec->move.target = (struct cairn_who){ .node = m->to, .inc = 1 };
    rec->move.from = m->from;
    rec->move.lead = m->lead;
}

static void check_bounds(struct cluster *c)
{
    uint32_t all = 0, busy[NODES_MAX] = { 0 };

    for (uint32_t s = 0; s < SLOTS; s++) {
        if (c->recs[s].move.phase == CAIRN_MOVE_NONE)
            continue;
        all++;
        for (uint32_t i = 0; i < c->n; i++)
            busy[i] += c->nodes[i].member.id == c->recs[s].primary.node ||
                       c->nodes[i].member.id == c->recs[s].move.target.node;
    }
    assert_true(all <= c->moves_max);
    for (uint32_t i = 0; i < c->n; i++)
        assert_true(busy[i] <= c->per_node);
}

/* One plan, what it begins, and a part of what is under way. False: there is nothing to do and nothing under way. */
static bool turn(struct cluster *c)
{
    struct cairn_planner *p = plan(c);
    struct cairn_planner_counts counts = cairn_planner_counts(p);
    const struct cairn_planner_move *m;
    uint32_t n;

    m = cairn_planner_moves(p, &n);
    assert_true(n <= counts.left && (n > 0 || counts.under_way > 0 || counts.left == 0));
    for (uint32_t i = 0; i < n; i++) {
        assert_true(i == 0 || m[i].why >= m[i - 1].why);
        begin(c, &m[i]);
        c->first = m[0].why;
    }
    check_bounds(c);
    cairn_planner_free(p);
    for (uint32_t s = 0; s < SLOTS; s++) {
        if (c->recs[s].move.phase != CAIRN_MOVE_NONE && draw(c, c->slowness + 1))
            finish(c, &c->recs[s]);
    }
    return n > 0 || counts.under_way > 0;
}

static uint32_t holds(const struct cluster *c, uint64_t id)
{
    uint32_t n = 0;

    for (uint32_t s = 0; s < SLOTS; s++)
        n += cairn_slot_places(&c->recs[s], id);
    return n;
}

static uint32_t leads(const struct cluster *c, uint64_t id)
{
    uint32_t n = 0;

    for (uint32_t s = 0; s < SLOTS; s++)
        n += c->recs[s].primary.node == id;
    return n;
}

/* Turns until there is nothing to do; then the moves that were done are counted. */
static void settle(struct cluster *c)
{
    uint32_t rounds = 0;

    c->copied = c->led = c->dropped = 0;
    take_over(c);
    while (turn(c))
        assert_true(++rounds < ROUNDS_MAX);
}

static void assert_settled(struct cluster *c, uint32_t up)
{
    uint32_t wide = MIN(up, c->replicas), least = SLOTS * wide / up, most = least + (SLOTS * wide % up != 0);

    for (uint32_t i = 0; i < c->n; i++) {
        uint64_t id = c->nodes[i].member.id;

        if (c->nodes[i].state != CAIRN_PLANNER_UP) {
            assert_int_equal(holds(c, id), 0);
            continue;
        }
        assert_in_range(holds(c, id), least, most);
        assert_in_range(leads(c, id), SLOTS / up - 2, SLOTS / up + 3);
    }
    for (uint32_t s = 0; s < SLOTS; s++) {
        assert_int_equal(c->recs[s].nreplicas, wide);
        assert_true(cairn_slot_places(&c->recs[s], c->recs[s].primary.node));
    }
}

/* ---- cases ---- */

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
