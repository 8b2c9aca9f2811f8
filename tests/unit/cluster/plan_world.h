/* A coordinator, and nodes that do what replicas do, at once: their slots go where the planner wants them. */
#ifndef CAIRN_TESTS_PLAN_WORLD_H
#define CAIRN_TESTS_PLAN_WORLD_H

#define WORLD_NODES 6
#include "tests/unit/cluster/coordinator_world.h"

enum { PROPOSALS_MAX = 256 };

/* ---- replicas ---- */

static struct wish proposals[PROPOSALS_MAX];
static uint32_t joins_max;     /* replicas that get there in a turn; 0: all */
static uint64_t begun_by[ALL]; /* of each slot's move: who led it then */
static bool idle; /* nobody writes: who is gone is missed only when somebody else has to be brought up to date */

static inline struct cairn_who process_of(struct world *w, uint64_t node)
{
    const struct cairn_member *m = cairn_members_find(&serving(w)->co.members, node);

    return (struct cairn_who){ .node = node, .inc = m != NULL ? m->p.inc : 0 };
}

static inline bool is_there(struct world *w, struct cairn_who who)
{
    return who.node != 0 && w->nodes[who.node - 1].beats && process_of(w, who.node).inc == who.inc;
}

/* What the slot's primary would propose now; false: nothing. */
static inline bool wanted_change(struct world *w, const struct cairn_slot_record *rec, struct cairn_change *c)
{
    bool has_target = rec->move.phase != CAIRN_MOVE_NONE;

    *c = (struct cairn_change){ .epoch = rec->epoch, .from = rec->primary };
    if (rec->epoch == 0 || !is_there(w, rec->primary))
        return false;
    c->kind = CAIRN_CHANGE_ACTIVE;
    if (rec->state == CAIRN_SLOT_TAKEOVER)
        return true;
    c->kind = CAIRN_CHANGE_REMOVE;
    for (uint32_t i = 0; i < rec->ninsync; i++) {
        c->who = rec->insync[i];
        if (!is_there(w, c->who) && (!idle || has_target))
            return true;
    }
    c->kind = CAIRN_CHANGE_JOIN;
    for (uint32_t i = 0; i < rec->nreplicas + has_target; i++) {
        c->who = process_of(w, i < rec->nreplicas ? rec->replicas[i] : rec->move.target.node);
        if (i == rec->nreplicas && !cairn_who_is(c->who, rec->move.target))
            continue; /* it has restarted, which the record does not say yet */
        if (is_there(w, c->who) && cairn_slot_insync(rec, c->who) < 0)
            return true;
    }
    c->kind = CAIRN_CHANGE_RELEASE;
    return rec->move.phase == CAIRN_MOVE_JOINED && !cairn_who_is(rec->primary, rec->move.target) &&
           (rec->move.lead || rec->move.from == rec->primary.node);
}

/* The bounds hold whenever a move begins, of all classes together; one whose primary is gone goes on with who takes
 * over, whatever he has under way, so it counts no more for a node but its target's. */
static inline void check_bounds(struct node *to)
{
    uint32_t busy[NODES + 1] = { 0 }, all = 0;

    for (uint32_t slot = 0; slot < ALL; slot++) {
        const struct cairn_coord_slot *s = &to->co.coord.slots[slot];
        const struct cairn_slot_record *rec = s->storing ? &s->next : &s->rec;

        if (rec->move.phase == CAIRN_MOVE_NONE) {
            begun_by[slot] = 0;
            continue;
        }
        if (begun_by[slot] == 0)
            begun_by[slot] = rec->primary.node;
        all++;
        busy[rec->move.target.node]++;
        busy[rec->primary.node] += rec->primary.node != rec->move.target.node && rec->primary.node == begun_by[slot];
    }
    assert_true(all <= to->conf.moves_max);
    for (uint32_t i = 1; i <= NODES; i++)
        assert_true(busy[i] <= to->conf.moves_per_node_max);
}

static inline void replicas_turn(struct world *w, struct node *to)
{
    uint32_t k = 0, joins = 0;

    check_bounds(to);
    for (uint32_t slot = 0; slot < ALL; slot++) {
        struct cairn_change change;

        if (to->co.coord.slots[slot].storing || !wanted_change(w, &to->co.coord.slots[slot].rec, &change) ||
            (change.kind == CAIRN_CHANGE_JOIN && joins_max != 0 && joins++ >= joins_max))
            continue;
        while (k < PROPOSALS_MAX && proposals[k].under_way)
            k++;
        if (k == PROPOSALS_MAX)
            return;
        wish_begin(&proposals[k]);
        proposals[k].ask.change = change;
        proposals[k].ask.change.slot = slot;
        cairn_coordinator_propose(&to->co, &proposals[k].ask);
    }
}

static inline int plan_setup(void **state)
{
    struct world *w;

    setup(state);
    w = *state;
    memset(proposals, 0, sizeof(proposals));
    memset(begun_by, 0, sizeof(begun_by));
    idle = false;
    joins_max = 0;
    for (int i = 0; i < NODES; i++) {
        w->nodes[i].conf.moves_max = 96;
        w->nodes[i].conf.moves_per_node_max = 48;
    }
    w->turn = replicas_turn;
    return 0;
}

/* ---- what is looked at ---- */

/* Only so many of the nodes are there. */
static inline struct node *some(struct world *w, int n)
{
    struct node *co;

    for (int i = 0; i < NODES; i++)
        w->nodes[i].beats = i < n;
    co = await_coordinator(w);
    world_run_ms(w, 2000);
    return co;
}

static inline bool is_settled(struct world *w)
{
    struct node *co = serving(w);

    if (co == NULL || co->co.coord.moving > 0 || co->co.planning != NULL)
        return false;
    for (uint32_t i = 0; i < CAIRN_CLUSTER_CLASSES; i++) {
        if (co->co.classes[i].plan != NULL || co->co.classes[i].due_ns != 0)
            return false;
    }
    for (uint32_t slot = 0; slot < ALL; slot++) {
        struct cairn_change change;

        if (co->co.coord.slots[slot].storing || wanted_change(w, &co->co.coord.slots[slot].rec, &change))
            return false;
    }
    return true;
}

static inline uint64_t settle(struct world *w)
{
    uint64_t began = w->v.now_ns;

    for (int i = 0; i < 3000 && !is_settled(w); i++)
        world_run_ms(w, 100);
    assert_true(is_settled(w));
    world_run_ms(w, 1000); /* it is counted */
    return (w->v.now_ns - began) / CAIRN_NS_PER_MS;
}

static inline uint32_t holds(struct world *w, uint64_t node, uint32_t replicas)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < NSLOTS; i++)
        n += cairn_slot_names(record_of(w, (replicas - 1) * NSLOTS + i), node);
    return n;
}

static inline uint32_t leads(struct world *w, uint64_t node, uint32_t replicas)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < NSLOTS; i++)
        n += record_of(w, (replicas - 1) * NSLOTS + i)->primary.node == node;
    return n;
}

/* The busiest within a tenth of the mean, in what is held and in what is led; each slot on as many nodes as there can
 * be. */
static inline void assert_even(struct world *w, uint32_t replicas, const uint64_t *nodes, uint32_t n)
{
    uint32_t wide = MIN(replicas, n);

    for (uint32_t i = 0; i < n; i++) {
        assert_true(holds(w, nodes[i], replicas) * n * 10 <= NSLOTS * wide * 11);
        assert_true(leads(w, nodes[i], replicas) * n * 10 <= NSLOTS * 11);
    }
    for (uint32_t i = 0; i < NSLOTS; i++) {
        const struct cairn_slot_record *rec = record_of(w, (replicas - 1) * NSLOTS + i);

        assert_int_equal(rec->state, CAIRN_SLOT_ACTIVE);
        assert_int_equal(rec->ninsync, wide);
        assert_int_equal(rec->nreplicas, wide);
    }
}

static inline const char *state_of(struct world *w, uint64_t node)
{
    static char text[16];
    json_t *status = cairn_coordinator_status(&serving(w)->co), *m = NULL;

    for (size_t i = 0; i < json_array_size(json_object_get(status, "members")); i++) {
        m = json_array_get(json_object_get(status, "members"), i);
        if (strcmp(json_string_value(json_object_get(m, "name")), w->nodes[node - 1].name) == 0)
            break;
    }
    snprintf(text, sizeof(text), "%s", json_string_value(json_object_get(m, "state")));
    json_decref(status);
    return text;
}

static inline void drain(struct world *w, uint64_t node, bool off)
{
    struct wish x = { 0 };

    wish_begin(&x);
    x.ask.p.node = node;
    x.ask.off = off;
    cairn_coordinator_drain(&serving(w)->co, &x.ask);
    world_run_ms(w, 200);
    assert_true(x.over && x.ask.rc == 0);
}

/* One that is there, holds slots and does not coordinate. */
static inline struct node *a_holder(struct world *w)
{
    for (int i = 0; i < NODES; i++) {
        struct node *n = &w->nodes[i];

        if (n->beats && n != serving(w) && holds(w, n->id, 2) > 0)
            return n;
    }
    fail();
    return NULL;
}

static const uint64_t all[] = { 1, 2, 3, 4, 5, 6 };

#endif
