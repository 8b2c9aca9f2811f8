/* Clusters that carry out what is planned, and what holds of them meanwhile and in the end: test_planner.c. */
#ifndef CAIRN_TESTS_UNIT_PLANNER_WORLD_H
#define CAIRN_TESTS_UNIT_PLANNER_WORLD_H

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

static inline const struct cairn_slot_record *record(void *arg, uint32_t slot)
{
    struct cluster *c = arg;

    return &c->recs[slot];
}

static inline struct cairn_planner *plan(struct cluster *c)
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

static inline void node_add(struct cluster *c, uint64_t id, uint32_t zone)
{
    c->nodes[c->n++] = (struct cairn_planner_node){ .member = { .id = id, .weight = 1, .capacity = 1, .zone = zone },
                                                    .state = CAIRN_PLANNER_UP };
}

static inline struct cairn_planner_node *node(struct cluster *c, uint64_t id)
{
    for (uint32_t i = 0; i < c->n; i++) {
        if (c->nodes[i].member.id == id)
            return &c->nodes[i];
    }
    fail_msg("no node %lu", id);
    return NULL;
}

static inline void node_del(struct cluster *c, uint64_t id)
{
    *node(c, id) = c->nodes[--c->n];
}

static inline void set_replicas(struct cairn_slot_record *rec, const uint64_t *ids, uint32_t n)
{
    rec->nreplicas = rec->ninsync = n;
    for (uint32_t i = 0; i < n; i++) {
        rec->replicas[i] = ids[i];
        rec->insync[i] = (struct cairn_who){ .node = ids[i], .inc = 1 };
    }
}

/* What a first plan wants, as cairn_coord_create() would set it up. */
static inline void create(struct cluster *c)
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
static inline struct cluster *cluster(uint32_t n, uint32_t zones, uint32_t replicas)
{
    struct cluster *c = calloc(1, sizeof(*c));

    *c = (struct cluster){ .replicas = replicas, .moves_max = 16, .per_node = 4, .random = 7 };
    for (uint32_t i = 1; i <= n; i++)
        node_add(c, i, i % zones);
    create(c);
    return c;
}

static inline bool draw(struct cluster *c, uint32_t one_of)
{
    c->random = c->random * UINT64_C(6364136223846793005) + 1442695040888963407;
    return (c->random >> 33) % one_of == 0;
}

static inline void replica_del(struct cairn_slot_record *rec, uint64_t id)
{
    uint64_t ids[CAIRN_REPLICAS_MAX];
    uint32_t n = 0;

    for (uint32_t i = 0; i < rec->nreplicas; i++) {
        if (rec->replicas[i] != id)
            ids[n++] = rec->replicas[i];
    }
    set_replicas(rec, ids, n);
}

static inline bool is_lost(struct cluster *c, uint64_t id)
{
    for (uint32_t i = 0; i < c->n; i++) {
        if (c->nodes[i].member.id == id)
            return c->nodes[i].state == CAIRN_PLANNER_LOST;
    }
    return true;
}

/* The coordinator's part: a lost primary has a successor. */
static inline void take_over(struct cluster *c)
{
    for (uint32_t s = 0; s < SLOTS; s++) {
        struct cairn_slot_record *rec = &c->recs[s];

        for (uint32_t i = 0; is_lost(c, rec->primary.node) && i < rec->nreplicas; i++) {
            if (!is_lost(c, rec->replicas[i]))
                rec->primary.node = rec->replicas[i];
        }
    }
}

static inline void finish(struct cluster *c, struct cairn_slot_record *rec)
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
static inline void begin(struct cluster *c, const struct cairn_planner_move *m)
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

static inline void check_bounds(struct cluster *c)
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
static inline bool turn(struct cluster *c)
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

static inline uint32_t holds(const struct cluster *c, uint64_t id)
{
    uint32_t n = 0;

    for (uint32_t s = 0; s < SLOTS; s++)
        n += cairn_slot_places(&c->recs[s], id);
    return n;
}

static inline uint32_t leads(const struct cluster *c, uint64_t id)
{
    uint32_t n = 0;

    for (uint32_t s = 0; s < SLOTS; s++)
        n += c->recs[s].primary.node == id;
    return n;
}

/* Turns until there is nothing to do; then the moves that were done are counted. */
static inline void settle(struct cluster *c)
{
    uint32_t rounds = 0;

    c->copied = c->led = c->dropped = 0;
    take_over(c);
    while (turn(c))
        assert_true(++rounds < ROUNDS_MAX);
}

static inline void assert_settled(struct cluster *c, uint32_t up)
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

#endif
