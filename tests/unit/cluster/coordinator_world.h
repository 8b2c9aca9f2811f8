/* A coordinator on each of three nodes (or WORLD_NODES), over a simulated map store; the nodes register, beat and
 * propose by a script. */
#ifndef CAIRN_TESTS_COORDINATOR_WORLD_H
#define CAIRN_TESTS_COORDINATOR_WORLD_H

#include "server/cluster/service/coordinator.h"
#include "tests/lib/sim_map.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#ifndef WORLD_NODES
#define WORLD_NODES 3
#endif

enum { NODES = WORLD_NODES, NSLOTS = 1024, ALL = NSLOTS * CAIRN_CLUSTER_CLASSES, SCRIPTED = 8 };

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
    uint64_t id, process, inc, term; /* term: of the coordinator, as its grants say */
    uint64_t map, vouched;           /* as they say, too */
    uint64_t logs_end;               /* of every slot, as it tells when it registers */
    struct cairn_map_store *store;
    struct cairn_cluster_conf conf;
    struct cairn_lease_times times;
    struct cairn_coordinator co;
    char name[8];
    bool beats, ended;
    struct wish registers, proposes;
    uint32_t grants, published;
    uint64_t upto; /* what its own records have */
    uint32_t weight;
};

struct world {
    struct vtime v;
    struct sim_map *map;
    struct cairn_map_store *watcher;
    struct cairn_map_watch watch;
    struct node nodes[NODES];
    uint64_t epochs[ALL]; /* as the store has had them: they ascend by one */
    uint64_t last_inc, takeovers;
    struct cairn_gossip_self dead;                  /* whom the group has for dead */
    uint32_t unnamed;                               /* classes (bit i: of i + 1 replicas) that no namespace names */
    void (*turn)(struct world *w, struct node *to); /* after the nodes' scripts; NULL: nothing */
};

static inline struct node *serving(struct world *w)
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

static inline int put_slot(struct cairn_coordinator *co, uint32_t slot, const struct cairn_slot_record *rec,
                           uint64_t revision)
{
    struct node *n = co->arg;

    (void)slot;
    (void)rec;
    assert_true(revision >= n->upto || n->upto == 0 || co->sm.state == CAIRN_COORDINATOR_READING);
    return 0;
}

static inline int put_member(struct cairn_coordinator *co, const struct cairn_wire_member *m, uint64_t revision)
{
    (void)co;
    (void)revision;
    assert_true(m->node != 0 && m->inc != 0);
    return 0;
}

static inline void upto(struct cairn_coordinator *co, uint64_t revision)
{
    struct node *n = co->arg;

    assert_true(revision >= n->upto);
    n->upto = revision;
}

static inline void publish(struct cairn_coordinator *co, uint32_t slot, const struct cairn_slot_record *rec,
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

static inline void run_done(void *arg)
{
    struct cairn_job *job = arg;

    job->done(job);
}

/* At once; its end comes later, as from a pool. */
static inline int work(struct cairn_coordinator *co, struct cairn_job *job)
{
    struct node *n = co->arg;

    job->work(job);
    cairn_task_init(&job->task, run_done, job);
    cairn_env_defer(&n->w->v.env, &job->task);
    return 0;
}

static inline void ended(struct cairn_coordinator *co)
{
    ((struct node *)co->arg)->ended = true;
}

/* What the group says, whoever is asked. */
static inline enum cairn_gossip_belief believes(struct cairn_coordinator *co, const struct cairn_gossip_self *who)
{
    const struct world *w = ((struct node *)co->arg)->w;

    if (who->node != w->dead.node || who->process != w->dead.process)
        return CAIRN_GOSSIP_THERE;
    return CAIRN_GOSSIP_GONE;
}

static inline uint32_t named(struct cairn_coordinator *co)
{
    return ~((struct node *)co->arg)->w->unnamed;
}

static const struct cairn_coordinator_ops ops = { .believes = believes,
                                                  .named = named,
                                                  .put_slot = put_slot,
                                                  .put_member = put_member,
                                                  .upto = upto,
                                                  .publish = publish,
                                                  .work = work,
                                                  .ended = ended };

/* ---- scripted nodes ---- */

static inline void on_wish(struct cairn_coordinator_ask *ask)
{
    struct wish *x = CONTAINER_OF(ask, struct wish, ask);

    assert_true(x->under_way);
    x->under_way = false;
    x->over = true;
}

static inline void wish_begin(struct wish *x)
{
    assert_false(x->under_way);
    *x = (struct wish){ .ask = { .done = on_wish }, .under_way = true };
}

static inline void node_register(struct node *n, struct node *to)
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
                                              .host = "",
                                              .addresses = { "tcp://10.0.0.1:7000" },
                                              .naddresses = 1,
                                              .weight = n->weight,
                                              .state = CAIRN_WIRE_MEMBER_UP };
    for (uint32_t i = 0; i < ALL; i++) {
        bool is_there = to->co.has_coord && to->co.coord.slots[i].rec.epoch > 0;

        logs[i] = (struct cairn_coord_log){ .slot = i, .end = { .epoch = 1, .pos = is_there ? n->logs_end : 0 } };
    }
    x->ask.told = (struct cairn_coord_told){ .logs = logs, .nlogs = ALL };
    cairn_coordinator_register(&to->co, &x->ask);
}

static inline void node_beat(struct node *n, struct node *to)
{
    struct cairn_wire_heartbeat beat = {
        .who = { .node = n->id, .inc = n->inc }, .number = 1, .term = n->term, .map = n->map, .vouched = n->vouched
    };
    struct cairn_wire_grant g = { 0 };
    struct cairn_err err;

    if (n->inc == 0 || cairn_coordinator_heartbeat(&to->co, &beat, &g, &err) != 0)
        return;
    if (g.map != n->map) { /* it has forgotten the other one, and is nobody in this one */
        bool anew = n->map != 0;

        n->map = g.map;
        n->term = g.term;
        n->vouched = 0;
        if (!anew) {
            node_beat(n, to);
            return;
        }
        n->inc = 0;
        n->registers.over = false;
        return;
    }
    if (g.term > n->term) { /* it was for another coordinator: one that counts */
        n->term = g.term;
        node_beat(n, to);
        return;
    }
    n->grants += g.granted;
    if (g.wants_register && !n->registers.under_way) {
        n->inc = 0; /* the same process: it gets the same again */
        n->registers.over = false;
    }
}

/* Of one of its few slots that it is to lead: it does. */
static inline void node_propose(struct node *n, struct node *to)
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

static inline void world_run_ms(struct world *w, uint64_t ms)
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
        if (w->turn != NULL && to != NULL && cairn_coordinator_is_serving(&to->co))
            w->turn(w, to);
        vtime_run_ms(&w->v, 100);
    }
}

static inline void node_restart(struct node *n)
{
    n->process++;
    n->inc = 0;
    n->registers.over = false;
}

/* ---- the world ---- */

/* What the store has: I9, whoever writes. */
static inline void on_news(struct cairn_map_watch *watch, enum cairn_map_news news, const struct cairn_map_entry *e,
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

static inline int setup_seeded(void **state, uint64_t seed)
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
        n->weight = 100;
        n->store = sim_map_open(w->map);
        n->times = times;
        n->conf = (struct cairn_cluster_conf){ .node_id = n->id,
                                               .slot_bits = 10,
                                               .election_ns = 2000 * CAIRN_NS_PER_MS,
                                               .lost_wait_ns = 5000 * CAIRN_NS_PER_MS,
                                               .lost_may_shrink = true,
                                               .lost_after_ns = 20000 * CAIRN_NS_PER_MS,
                                               .moves_max = 8,
                                               .moves_per_node_max = 4 };
        n->co = (struct cairn_coordinator){ .store = n->store,
                                            .ops = &ops,
                                            .conf = &n->conf,
                                            .times = &n->times,
                                            .value = (const uint8_t *)n->name,
                                            .value_len = (uint32_t)strlen(n->name),
                                            .name = n->name,
                                            .arg = n };
        cairn_coordinator_start(&n->co);
    }
    *state = w;
    return 0;
}

/* CAIRN_SEED: with other delays and other choices. */
static inline int setup(void **state)
{
    const char *seed = getenv("CAIRN_SEED");

    return setup_seeded(state, seed != NULL ? strtoull(seed, NULL, 10) : 7);
}

static inline int teardown(void **state)
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

static inline struct node *await_coordinator(struct world *w)
{
    for (int i = 0; i < 200 && serving(w) == NULL; i++)
        world_run_ms(w, 100);
    assert_non_null(serving(w));
    return serving(w);
}

static inline int create_class(struct world *w, uint32_t replicas, struct wish *x)
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
static inline struct node *begin(struct world *w)
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

static inline struct node *other_than(struct world *w, const struct node *n)
{
    return &w->nodes[n->id % NODES];
}

/* A slot that @n leads, of those whose primaries are scripted. */
static inline uint32_t slot_led_by(struct world *w, const struct node *n)
{
    for (uint32_t i = 0; i < SCRIPTED; i++) {
        if (record_of(w, 2 * NSLOTS + i)->primary.node == n->id)
            return 2 * NSLOTS + i;
    }
    fail_msg("node %d leads none of the scripted slots", (int)n->id);
    return 0;
}

#endif
