/* Slots go where the planner wants them, whatever comes and goes; nodes that do what replicas do, at once. */
#define WORLD_NODES 6
#include "tests/unit/cluster/coordinator_world.h"

enum { PROPOSALS_MAX = 256 };

/* ---- replicas ---- */

static struct wish proposals[PROPOSALS_MAX];
static uint32_t joins_max; /* replicas that get there in a turn; 0: all */
static uint64_t begun_by[ALL]; /* of each slot's move: who led it then */
static bool idle; /* nobody writes: who is gone is missed only when somebody else has to be brought up to date */

static struct cairn_who process_of(struct world *w, uint64_t node)
{
    const struct cairn_member *m = cairn_members_find(&serving(w)->co.members, node);

    return (struct cairn_who){ .node = node, .inc = m != NULL ? m->p.inc : 0 };
}

static bool is_there(struct world *w, struct cairn_who who)
{
    return who.node != 0 && w->nodes[who.node - 1].beats && process_of(w, who.node).inc == who.inc;
}

/* What the slot's primary would propose now; false: nothing. */
static bool wanted_change(struct world *w, const struct cairn_slot_record *rec, struct cairn_change *c)
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

/* The bounds hold whenever a move begins, of all classes together; one whose primary is gone goes on with who takes over,
 * whatever he has under way, so it counts no more for a node but its target's. */
static void check_bounds(struct node *to)
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

static void replicas_turn(struct world *w, struct node *to)
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

static int plan_setup(void **state)
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
static struct node *some(struct world *w, int n)
{
    struct node *co;

    for (int i = 0; i < NODES; i++)
        w->nodes[i].beats = i < n;
    co = await_coordinator(w);
    world_run_ms(w, 2000);
    return co;
}

static bool is_settled(struct world *w)
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

static uint64_t settle(struct world *w)
{
    uint64_t began = w->v.now_ns;

    for (int i = 0; i < 3000 && !is_settled(w); i++)
        world_run_ms(w, 100);
    assert_true(is_settled(w));
    world_run_ms(w, 1000); /* it is counted */
    return (w->v.now_ns - began) / CAIRN_NS_PER_MS;
}

static uint32_t holds(struct world *w, uint64_t node, uint32_t replicas)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < NSLOTS; i++)
        n += cairn_slot_names(record_of(w, (replicas - 1) * NSLOTS + i), node);
    return n;
}

static uint32_t leads(struct world *w, uint64_t node, uint32_t replicas)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < NSLOTS; i++)
        n += record_of(w, (replicas - 1) * NSLOTS + i)->primary.node == node;
    return n;
}

/* The busiest within a tenth of the mean, in what is held and in what is led; each slot on as many nodes as there can
 * be. */
static void assert_even(struct world *w, uint32_t replicas, const uint64_t *nodes, uint32_t n)
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

static const char *state_of(struct world *w, uint64_t node)
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

static void drain(struct world *w, uint64_t node, bool off)
{
    struct wish x = { 0 };

    wish_begin(&x);
    x.ask.p.node = node;
    x.ask.off = off;
    cairn_coordinator_drain(&serving(w)->co, &x.ask);
    world_run_ms(w, 200);
    assert_true(x.over && x.ask.rc == 0);
}

static const uint64_t all[] = { 1, 2, 3, 4, 5, 6 };

/* ---- cases ---- */

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

/* What a loss makes necessary is begun as soon as it is known. */
static void a_loss_is_made_good_at_once(void **state)
{
    struct world *w = *state;
    struct wish x = { 0 };
    struct node *co = some(w, 4), *lost = co->id == 3 ? &w->nodes[3] : &w->nodes[2];

    assert_int_equal(create_class(w, 2, &x), 0);
    settle(w);
    lost->beats = false;
    while (strcmp(state_of(w, lost->id), "lost") != 0)
        world_run_ms(w, 10);
    world_run_ms(w, 200);
    assert_true(co->co.coord.moves_done > 0);
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

static void who_is_lost_is_replaced(void **state)
{
    struct world *w = *state;
    struct wish x = { 0 };
    struct node *co = some(w, 4), *lost = co->id == 3 ? &w->nodes[3] : &w->nodes[2];
    uint64_t others[3];

    for (uint32_t i = 0, k = 0; i < 4; i++) {
        if (all[i] != lost->id)
            others[k++] = all[i];
    }
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

    for (uint32_t i = 0, k = 0; i < 4; i++) {
        if (all[i] != wiped->id)
            others[k++] = all[i];
    }
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
    struct node *co = some(w, 4), *lost = co->id == 3 ? &w->nodes[3] : &w->nodes[2];

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
    struct node *co = some(w, 4), *lost = co->id == 3 ? &w->nodes[3] : &w->nodes[2];
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
    co = some(w, 3);
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
    back = co == &w->nodes[2] ? &w->nodes[1] : &w->nodes[2];
    back->beats = false; /* is lost for good: what it held is made anew */
    world_run_ms(w, 24000);
    assert_string_equal(state_of(w, back->id), "lost");
    assert_progress_of(w, "moves");
    co = serving(w);
    back = co == &w->nodes[1] ? &w->nodes[0] : &w->nodes[1];
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
        cmocka_unit_test_setup_teardown(a_drain_goes_on, plan_setup, teardown),
        cmocka_unit_test_setup_teardown(who_is_away_holds_up_nothing, plan_setup, teardown),
        cmocka_unit_test_setup_teardown(who_is_lost_is_replaced, plan_setup, teardown),
        cmocka_unit_test_setup_teardown(who_is_said_to_be_lost_is_replaced_at_once, plan_setup, teardown),
        cmocka_unit_test_setup_teardown(who_has_the_only_replica_is_lost_by_force_alone, plan_setup, teardown),
        cmocka_unit_test_setup_teardown(who_is_gone_for_good_makes_room, plan_setup, teardown),
        cmocka_unit_test_setup_teardown(who_is_gone_for_a_day_is_forgotten, plan_setup, teardown),
        cmocka_unit_test_setup_teardown(a_silent_target_keeps_no_place, plan_setup, teardown),
        cmocka_unit_test_setup_teardown(a_loss_is_made_good_at_once, plan_setup, teardown),
        cmocka_unit_test_setup_teardown(who_comes_back_with_nothing_is_another, plan_setup, teardown),
        cmocka_unit_test_setup_teardown(too_few_nodes_are_degraded, plan_setup, teardown),
        cmocka_unit_test_setup_teardown(slots_that_refuse_writes_are_counted, plan_setup, teardown),
        cmocka_unit_test_setup_teardown(weights_are_honoured, plan_setup, teardown),
        cmocka_unit_test_setup_teardown(progress_is_told_whatever_moves, plan_setup, teardown),
        cmocka_unit_test_setup_teardown(whatever_comes_and_goes, plan_setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
