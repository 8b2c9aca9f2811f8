/* The coordinator over a simulated map store, with three nodes that can be elected and that register, beat and propose by a
 * script: what is stored is told and nothing else, and whoever is deposed changes nothing. */
#include "server/cluster/service/coordinator.h"
#include "tests/lib/drawing.h"
#include "tests/lib/failing_malloc.h"
#include "tests/lib/sim_map.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { NODES = 3, NSLOTS = 1024, ALL = NSLOTS * CAIRN_CLUSTER_CLASSES, SCRIPTED = 8, WALK_STEPS = 600, SEEDS = 6 };

static const struct cairn_lease_times times = { .length_ns = 2000 * CAIRN_NS_PER_MS,
                                                .heartbeat_ns = 500 * CAIRN_NS_PER_MS,
                                                .slack_ns = 50 * CAIRN_NS_PER_MS,
                                                .drift_ppm = 1000 };

/* A request that a node made; it may outlive the wish for it. */
struct wish {
    struct cairn_coordinator_ask ask;
    bool under_way, over;
};

struct node {
    struct world *w;
    uint64_t id, process, inc;
    uint64_t logs_end; /* of every slot, as it tells when it registers */
    struct cairn_map_store *store;
    struct cairn_cluster_conf conf;
    struct cairn_lease_times times;
    struct cairn_coordinator co;
    char name[8];
    bool beats, ended;
    struct wish registers, proposes;
    uint32_t grants, published;
    uint64_t upto; /* what its own records have */
};

struct world {
    struct vtime v;
    struct sim_map *map;
    struct cairn_map_store *watcher;
    struct cairn_map_watch watch;
    struct node nodes[NODES];
    uint64_t epochs[ALL]; /* as the store has had them: they ascend by one */
    uint64_t last_inc, takeovers;
};

static struct node *serving(struct world *w)
{
    struct node *found = NULL;

    for (int i = 0; i < NODES; i++) {
        if (!w->nodes[i].ended && cairn_coordinator_is_serving(&w->nodes[i].co)) {
            assert_null(found); /* never two */
            found = &w->nodes[i];
        }
    }
    return found;
}

/* ---- what the coordinator asks of its node ---- */

static int put_slot(struct cairn_coordinator *co, uint32_t slot, const struct cairn_slot_record *rec, uint64_t revision)
{
    struct node *n = co->arg;

    (void)slot;
    (void)rec;
    assert_true(revision >= n->upto || n->upto == 0 || co->sm.state == CAIRN_COORDINATOR_READING);
    return 0;
}

static int put_member(struct cairn_coordinator *co, const struct cairn_wire_member *m, uint64_t revision)
{
    (void)co;
    (void)revision;
    assert_true(m->node != 0 && m->inc != 0);
    return 0;
}

static void upto(struct cairn_coordinator *co, uint64_t revision)
{
    struct node *n = co->arg;

    assert_true(revision >= n->upto);
    n->upto = revision;
}

static void publish(struct cairn_coordinator *co, uint32_t slot, const struct cairn_slot_record *rec,
                    const uint64_t *nodes, uint32_t nnodes)
{
    struct node *n = co->arg;

    assert_true(co->changed[slot] <= n->upto); /* in its own records before anybody is told */
    for (uint32_t i = 0; i < nnodes; i++)
        n->w->nodes[nodes[i] - 1].published++;
    for (uint32_t i = 0; i < rec->nreplicas; i++) {
        uint32_t k = 0;

        while (k < nnodes && nodes[k] != rec->replicas[i])
            k++;
        assert_true(k < nnodes);
    }
}

static void ended(struct cairn_coordinator *co)
{
    ((struct node *)co->arg)->ended = true;
}

static const struct cairn_coordinator_ops ops = {
    .put_slot = put_slot, .put_member = put_member, .upto = upto, .publish = publish, .ended = ended
};

/* ---- scripted nodes ---- */

static void on_wish(struct cairn_coordinator_ask *ask)
{
    struct wish *x = CONTAINER_OF(ask, struct wish, ask);

    assert_true(x->under_way);
    x->under_way = false;
    x->over = true;
}

static void wish_begin(struct wish *x)
{
    assert_false(x->under_way);
    *x = (struct wish){ .ask = { .done = on_wish }, .under_way = true };
}

static void node_register(struct node *n, struct node *to)
{
    struct wish *x = &n->registers;
    static struct cairn_coord_log logs[ALL];

    if (x->over && x->ask.rc == 0 && x->ask.p.process == n->process) {
        n->inc = x->ask.p.inc;
        assert_true(n->inc != 0);
        n->w->last_inc = MAX(n->w->last_inc, n->inc);
    }
    if (n->inc != 0 || x->under_way)
        return;
    wish_begin(x);
    x->ask.p = (struct cairn_coord_process){ .node = n->id, .disk_id = n->id, .process = n->process };
    x->ask.self = (struct cairn_wire_member){ .node = n->id,
                                              .name = n->name,
                                              .zone = n->name,
                                              .addresses = { "tcp://10.0.0.1:7000" },
                                              .naddresses = 1,
                                              .weight = 100,
                                              .state = CAIRN_WIRE_MEMBER_UP };
    for (uint32_t i = 0; i < ALL; i++)
        logs[i] = (struct cairn_coord_log){ .slot = i, .end = { .epoch = 1, .pos = n->logs_end } };
    x->ask.logs = logs;
    x->ask.nlogs = ALL;
    cairn_coordinator_register(&to->co, &x->ask);
}

static void node_beat(struct node *n, struct node *to)
{
    struct cairn_wire_grant g = { 0 };
    struct cairn_err err;

    if (n->inc == 0 ||
        cairn_coordinator_heartbeat(&to->co, (struct cairn_who){ .node = n->id, .inc = n->inc }, &g, &err) != 0)
        return;
    n->grants += g.granted;
    if (g.wants_register)
        n->inc = 0; /* the same process: it gets the same again */
}

/* Of one of its few slots that it is to lead: it does. */
static void node_propose(struct node *n, struct node *to)
{
    struct cairn_who self = { .node = n->id, .inc = n->inc };

    if (n->proposes.under_way || to->co.sm.state != CAIRN_COORDINATOR_SERVING)
        return;
    for (uint32_t i = 0; i < CAIRN_CLUSTER_CLASSES * SCRIPTED; i++) {
        uint32_t slot = i / SCRIPTED * NSLOTS + i % SCRIPTED;
        const struct cairn_slot_record *rec = &to->co.coord.slots[slot].rec;

        if (rec->epoch == 0 || rec->state != CAIRN_SLOT_TAKEOVER || !cairn_who_is(rec->primary, self))
            continue;
        wish_begin(&n->proposes);
        n->proposes.ask.change =
            (struct cairn_change){ .kind = CAIRN_CHANGE_ACTIVE, .slot = slot, .epoch = rec->epoch, .from = self };
        cairn_coordinator_propose(&to->co, &n->proposes.ask);
        return;
    }
}

static void world_run_ms(struct world *w, uint64_t ms)
{
    for (uint64_t done = 0; done < ms; done += 100) {
        struct node *to = serving(w);

        for (int i = 0; to != NULL && i < NODES; i++) {
            struct node *n = &w->nodes[i];

            if (!n->beats)
                continue;
            node_register(n, to);
            if ((done / 100) % 5 == 0)
                node_beat(n, to);
            node_propose(n, to);
            if (!cairn_coordinator_is_serving(&to->co))
                break;
        }
        vtime_run_ms(&w->v, 100);
    }
}

static void node_restart(struct node *n)
{
    n->process++;
    n->inc = 0;
    n->registers.over = false;
}

/* ---- the world ---- */

/* What the store has: I9, whoever writes. */
static void on_news(struct cairn_map_watch *watch, enum cairn_map_news news, const struct cairn_map_entry *e,
                    uint64_t revision)
{
    struct world *w = watch->arg;
    struct cairn_slot_record rec;
    uint32_t slot;

    (void)revision;
    if (news != CAIRN_MAP_ENTRY || e->value == NULL)
        return;
    slot = (uint32_t)strtoul(e->key + strlen(CAIRN_CLUSTER_KEY_SLOTS), NULL, 16);
    assert_int_equal(cairn_wire_slot_unpack(e->value, e->value_len, &rec, NULL), 0);
    assert_true(slot < ALL && (rec.epoch == w->epochs[slot] + 1 || rec.epoch == w->epochs[slot]));
    w->epochs[slot] = rec.epoch;
}

static int setup_seeded(void **state, uint64_t seed)
{
    struct world *w = calloc(1, sizeof(*w));

    assert_non_null(w);
    vtime_init(&w->v, seed);
    w->map = sim_map_new(&w->v);
    sim_map_delay(w->map, 1, 5);
    w->watcher = sim_map_open(w->map);
    w->watch = (struct cairn_map_watch){ .prefix = CAIRN_CLUSTER_KEY_SLOTS, .fn = on_news, .arg = w };
    cairn_map_watch_start(&w->watcher->view, &w->watch);
    for (uint32_t i = 0; i < NODES; i++) {
        struct node *n = &w->nodes[i];

        snprintf(n->name, sizeof(n->name), "n%u", (i + 1) % 10);
        n->w = w;
        n->id = i + 1;
        n->process = 1;
        n->logs_end = 10;
        n->beats = true;
        n->store = sim_map_open(w->map);
        n->times = times;
        n->conf = (struct cairn_cluster_conf){ .slot_bits = 10,
                                               .election_ns = 2000 * CAIRN_NS_PER_MS,
                                               .lost_wait_ns = 5000 * CAIRN_NS_PER_MS,
                                               .lost_may_shrink = true,
                                               .moves_max = 8 };
        n->co = (struct cairn_coordinator){ .store = n->store,
                                            .ops = &ops,
                                            .conf = &n->conf,
                                            .times = &n->times,
                                            .value = (const uint8_t *)n->name,
                                            .value_len = (uint32_t)strlen(n->name),
                                            .arg = n };
        cairn_coordinator_start(&n->co);
    }
    *state = w;
    return 0;
}

static int setup(void **state)
{
    return setup_seeded(state, 7);
}

static int teardown(void **state)
{
    struct world *w = *state;

    for (int i = 0; i < NODES; i++) {
        struct node *n = &w->nodes[i];

        sim_map_cut(n->store, false);
        sim_map_refuse(n->store, false);
        sim_map_lose(n->store, 0, 0);
        cairn_coordinator_stop(&n->co);
    }
    vtime_run_ms(&w->v, 60000);
    cairn_map_watch_stop(&w->watch);
    for (int i = 0; i < NODES; i++) {
        assert_true(w->nodes[i].ended);
        assert_false(w->nodes[i].registers.under_way || w->nodes[i].proposes.under_way); /* all are answered */
        cairn_map_store_close(w->nodes[i].store);
    }
    cairn_map_store_close(w->watcher);
    sim_map_free(w->map);
    vtime_fini(&w->v);
    free(w);
    return 0;
}

static struct node *await_coordinator(struct world *w)
{
    for (int i = 0; i < 200 && serving(w) == NULL; i++)
        world_run_ms(w, 100);
    assert_non_null(serving(w));
    return serving(w);
}

static int create_class(struct world *w, uint32_t replicas, struct wish *x)
{
    struct node *n = await_coordinator(w);

    wish_begin(x);
    x->ask.replicas = replicas;
    cairn_coordinator_create_class(&n->co, &x->ask);
    for (int i = 0; i < 200 && !x->over; i++)
        world_run_ms(w, 100);
    assert_true(x->over);
    return x->ask.rc;
}

/* Three nodes, registered, with slots of three replicas. */
static struct node *begin(struct world *w)
{
    struct wish x = { 0 };
    struct node *n = await_coordinator(w);

    world_run_ms(w, 2000);
    assert_int_equal(create_class(w, 3, &x), 0);
    world_run_ms(w, 2000);
    assert_ptr_equal(serving(w), n);
    return n;
}

static const struct cairn_slot_record *record_of(struct world *w, uint32_t slot)
{
    struct node *n = serving(w);

    assert_non_null(n);
    return &n->co.coord.slots[slot].rec;
}

static struct node *other_than(struct world *w, const struct node *n)
{
    return &w->nodes[n->id % NODES];
}

/* A slot that @n leads, of those whose primaries are scripted. */
static uint32_t slot_led_by(struct world *w, const struct node *n)
{
    for (uint32_t i = 0; i < SCRIPTED; i++) {
        if (record_of(w, 2 * NSLOTS + i)->primary.node == n->id)
            return 2 * NSLOTS + i;
    }
    fail_msg("node %d leads none of the scripted slots", (int)n->id);
    return 0;
}

/* ---- stories ---- */

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

    assert_int_equal(create_class(w, 3, &x), CAIRN_E_STATE); /* nobody has registered */
    world_run_ms(w, 2000);
    assert_int_equal(create_class(w, 5, &x), CAIRN_E_INVAL);
    assert_int_equal(create_class(w, 4, &x), CAIRN_E_STATE); /* there are three */
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

static void a_restarted_node_is_replaced_at_once(void **state)
{
    struct world *w = *state;
    struct node *co = begin(w), *n = other_than(w, co);
    uint32_t slot = slot_led_by(w, n);

    node_restart(n);
    world_run_ms(w, 1200);
    assert_int_not_equal(record_of(w, slot)->primary.node, n->id);
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
    assert_int_equal(co->co.coord.moving, MIN(named, 8U)); /* those that are active, as many as may be */
    for (uint32_t i = 0; i < ALL; i++) {
        const struct cairn_slot_record *rec = record_of(w, i);

        if (rec->move.phase != CAIRN_MOVE_NONE)
            assert_true(rec->move.from == 2 && !cairn_slot_names(rec, rec->move.target.node));
    }
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
    assert_false(cairn_coordinator_is_serving(&co->co));
    assert_true(x.over && x.ask.rc == CAIRN_E_BUSY); /* nobody knows, and it does not say that it does */
    assert_int_not_equal(
        cairn_coordinator_heartbeat(&co->co, (struct cairn_who){ .node = 1, .inc = w->nodes[0].inc }, &g, &err), 0);
    next = await_coordinator(w);
    sim_map_cut(co->store, false);
    world_run_ms(w, 10000);
    assert_ptr_equal(serving(w), next);
    assert_int_equal(co->co.sm.state, CAIRN_COORDINATOR_STANDING);
    assert_int_equal(record_of(w, 2 * NSLOTS)->epoch, w->epochs[2 * NSLOTS]);
    assert_int_equal(w->epochs[2 * NSLOTS], rec.epoch);
    assert_int_equal(
        cairn_coordinator_heartbeat(&co->co, (struct cairn_who){ .node = 1, .inc = w->nodes[0].inc }, &g, &err),
        CAIRN_E_MOVED);
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
        x->ask.self =
            (struct cairn_wire_member){ .node = 100, .name = "n100", .zone = "", .state = CAIRN_WIRE_MEMBER_UP };
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
    world_run_ms(w, 1000);
    assert_true(!failed || x.over);
    assert_true(!failed || x.ask.rc != 0);
    assert_true(!failed || serving(w) != co);
    co = await_coordinator(w);
    world_run_ms(w, 8000);
    if (failed && what != MEMORY_PROPOSE) { /* that one's epoch may be over by now */
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
        cmocka_unit_test_setup_teardown(a_silent_node_is_replaced, setup, teardown),
        cmocka_unit_test_setup_teardown(a_restarted_node_is_replaced_at_once, setup, teardown),
        cmocka_unit_test_setup_teardown(a_drained_node_gives_all_away, setup, teardown),
        cmocka_unit_test_setup_teardown(a_successor_knows_all, setup, teardown),
        cmocka_unit_test_setup_teardown(all_have_one_lease, setup, teardown),
        cmocka_unit_test_setup_teardown(a_deposed_one_changes_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(a_change_that_comes_late_is_none, setup, teardown),
        cmocka_unit_test_setup_teardown(a_lost_answer_is_read_back, setup, teardown),
        cmocka_unit_test_setup_teardown(a_lost_request_is_sent_again, setup, teardown),
        cmocka_unit_test_setup_teardown(a_strange_entry_ends_the_term, setup, teardown),
#ifdef FAILING_MALLOC
        cmocka_unit_test(memory_that_runs_out_ends_the_term),
#endif
        cmocka_unit_test(walks),
        cmocka_unit_test(drawings_agree_with_tables),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
