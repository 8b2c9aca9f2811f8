/* A cluster of replicas on the simulated world: see repl_world.h. MAP, faults, and how the parts meet. */
#include "tests/sim/repl_internal.h"

#include <stdlib.h>
#include <string.h>

struct repl_world_conf repl_world_conf_of(uint64_t seed)
{
    return (struct repl_world_conf){ .seed = seed,
                                     .nodes = 3,
                                     .slots = 2,
                                     .replicas = 3,
                                     .clients = 4,
                                     .min_insync = 1,
                                     .flush_ns = 200 * MS,
                                     .latency_ns = MS / 5,
                                     .jitter_ns = MS,
                                     .disk_ns = 5 * MS,
                                     .checkpoint_ns = 200 * MS };
}

/* ---- MAP ---- */

static struct repl_world *world_of(struct cairn_coord *c)
{
    return CONTAINER_OF(c, struct repl_world, coord);
}

/* Records that changed after @since, the oldest change first; only some of them, so that pages follow one another. */
static void map_page(struct repl_world *rw, uint64_t since, struct cairn_wire_slot slots[RW_SLOTS_MAX],
                     struct cairn_wire_page *page)
{
    uint32_t most = 1 + (uint32_t)dice(rw, RW_SLOTS_MAX);

    *page = (struct cairn_wire_page){ .revision = since, .slots = slots };
    for (;;) {
        uint32_t next = RW_SLOTS_MAX;

        for (uint32_t i = 0; i < rw->conf.slots; i++) {
            if (rw->changed[i] > page->revision && (next == RW_SLOTS_MAX || rw->changed[i] < rw->changed[next]))
                next = i;
        }
        page->more = next != RW_SLOTS_MAX;
        if (!page->more || page->nslots == most)
            break;
        slots[page->nslots++] = (struct cairn_wire_slot){ next, rw->stored[next] };
        page->revision = rw->changed[next];
    }
}

static void map_publish(struct repl_world *rw, uint32_t to, uint32_t slot)
{
    const struct cairn_wire_slot update = { slot, rw->stored[slot] };
    const struct cairn_wire_page page = { .slots = &update, .nslots = 1 };

    if (update.rec.epoch != 0)
        rw_post(rw, 0, to, RW_PUBLISH, 0, cairn_wire_page_put(&page, &rw->post), NULL, 0);
}

static void co_publish(struct cairn_coord *c, uint32_t slot, const struct cairn_slot_record *rec)
{
    struct repl_world *rw = world_of(c);

    (void)rec;
    for (uint32_t i = 1; i <= rw->conf.nodes; i++)
        map_publish(rw, i, slot);
}

static void co_verdict(struct cairn_coord *c, const struct cairn_change *change, enum cairn_verdict verdict,
                       const struct cairn_slot_record *rec)
{
    struct repl_world *rw = world_of(c);

    rw_post(rw, 0, (uint32_t)change->from.node, RW_VERDICT, 0, cairn_wire_verdict_put(change, verdict, rec, &rw->post),
            NULL, 0);
}

static void store_take(struct repl_world *rw, uint32_t slot, const struct cairn_slot_record *rec)
{
    rw_judge_record(rw, slot, &rw->stored[slot], rec);
    rw->stored[slot] = *rec;
    rw->changed[slot] = ++rw->revision;
}

static void on_late_store(void *arg)
{
    struct rw_store *st = arg;
    struct repl_world *rw = st->rw;
    uint32_t slot = (uint32_t)(st - rw->stores);

    if (st->late_term != rw->term || st->late_rec.epoch != rw->stored[slot].epoch + 1) /* the fence; compare-and-set */
        return;
    store_take(rw, slot, &st->late_rec);
}

/* No answer comes: the change was made, or is lost, or will be made when it arrives at last. */
static void store_in_doubt(struct rw_store *st)
{
    struct repl_world *rw = st->rw;
    struct cairn_env *env = env_of(rw, 0);
    uint32_t slot = (uint32_t)(st - rw->stores);

    rw->doubts++;
    switch (dice(rw, 3)) {
    case 0:
        store_take(rw, slot, &st->rec);
        break;
    case 1:
        if (cairn_timer_is_running(&st->late))
            break;
        st->late_rec = st->rec;
        st->late_term = rw->term;
        cairn_timer_start(env, &st->late, cairn_env_now_ns(env) + dice(rw, 200 * MS));
        break;
    }
    if (rw->coord_is_up)
        cairn_coord_on_stored(&rw->coord, slot, CAIRN_E_UNKNOWN);
}

static void on_store_over(void *arg)
{
    struct rw_store *st = arg;
    struct repl_world *rw = st->rw;
    uint32_t slot = (uint32_t)(st - rw->stores);
    int rc = st->rec.epoch == rw->stored[slot].epoch + 1 ? 0 : CAIRN_E_STATE;

    if (rc == 0 && dice(rw, 30) == 0) {
        store_in_doubt(st);
        return;
    }
    if (rc == 0)
        store_take(rw, slot, &st->rec);
    if (rw->coord_is_up)
        cairn_coord_on_stored(&rw->coord, slot, rc);
}

static void on_read(void *arg)
{
    struct rw_store *st = arg;
    struct repl_world *rw = st->rw;
    uint32_t slot = (uint32_t)(st - rw->stores);

    if (rw->coord_is_up)
        cairn_coord_on_read(&rw->coord, slot, dice(rw, 5) == 0 ? CAIRN_E_TIMEOUT : 0, &rw->stored[slot]);
}

static void co_read(struct cairn_coord *c, uint32_t slot)
{
    struct repl_world *rw = world_of(c);
    struct cairn_env *env = env_of(rw, 0);

    cairn_timer_start(env, &rw->stores[slot].read, cairn_env_now_ns(env) + MS / 2 + dice(rw, 10 * MS));
}

static bool co_may_act(struct cairn_coord *c)
{
    return world_of(c)->coord_is_up;
}

static void co_store(struct cairn_coord *c, uint32_t slot, const struct cairn_slot_record *rec)
{
    struct repl_world *rw = world_of(c);
    struct cairn_env *env = env_of(rw, 0);

    CAIRN_ASSERT(rec->epoch == rw->stored[slot].epoch + 1);                 /* I9 */
    for (uint32_t i = 0; i < rec->ninsync && !c->slots[slot].doubtful; i++) /* a repetition: it was so at first */
        CAIRN_ASSERT(cairn_slot_insync(&rw->stored[slot], rec->insync[i]) >= 0 ||
                     rec->insync[i].inc == rw->stored_nodes[rec->insync[i].node].inc);
    rw->stores[slot].rec = *rec;
    cairn_timer_start(env, &rw->stores[slot].timer, cairn_env_now_ns(env) + MS / 2 + dice(rw, 10 * MS));
}

static const struct cairn_coord_ops coord_ops = {
    .may_act = co_may_act,
    .store = co_store,
    .read = co_read,
    .publish = co_publish,
    .verdict = co_verdict,
};

/* Any node that does not hold it and stays; 0: none. */
static uint64_t place(struct repl_world *rw, uint32_t slot, uint64_t from)
{
    for (uint32_t i = 0; i < rw->conf.nodes; i++) {
        uint64_t node = 1 + (from + i) % rw->conf.nodes;
        const struct cairn_coord_node *n = cairn_coord_node(&rw->coord, node);

        if (n != NULL && !n->p.draining && !cairn_slot_places(&rw->stored[slot], node) &&
            !cairn_slot_names(&rw->stored[slot], node))
            return node;
    }
    return 0;
}

/* The planner's part, for a handful of slots: what drained nodes hold moves away, two slots at a time. */
static void drain_some(struct repl_world *rw)
{
    for (uint32_t slot = 0; slot < rw->conf.slots; slot++) {
        const struct cairn_slot_record *rec = &rw->coord.slots[slot].rec;

        for (uint32_t i = 0; i < rec->nreplicas && rec->state == CAIRN_SLOT_ACTIVE && rw->coord.moving < 2; i++) {
            const struct cairn_coord_node *n = cairn_coord_node(&rw->coord, rec->replicas[i]);
            uint64_t to = n != NULL && n->p.draining ? place(rw, slot, rec->replicas[i]) : 0;

            if (to != 0 && cairn_coord_is_alive(&rw->coord, rec->primary) &&
                cairn_coord_move(&rw->coord, slot, rec->replicas[i], to, false) == 0)
                break;
        }
    }
}

/* What groups say of nodes, true or not: to MAP, and to whoever holds a slot with them. A dice of its own, so that the
 * other walks are what they would be without. */
static void spread_rumours(struct repl_world *rw)
{
    uint64_t x = rw->rumour += UINT64_C(0x9e3779b97f4a7c15);
    uint32_t of, slot;

    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    of = 1 + (uint32_t)(x >> 32) % rw->conf.nodes;
    slot = (uint32_t)(x >> 16) % rw->conf.slots;
    if (x % 5 < 2 && rw->coord_is_up) {
        const struct cairn_coord_node *n = cairn_coord_node(&rw->coord, of);

        if (n != NULL)
            cairn_coord_found(&rw->coord, (struct cairn_who){ of, n->p.inc }, x % 5 == 0);
    }
    for (uint32_t i = 1; x % 5 >= 3 && i <= rw->conf.nodes; i++) {
        if (rw->nodes[i].up && rw->nodes[i].registered)
            cairn_replica_doubt(&rw->nodes[i].slots[slot].replica, of);
    }
}

static void on_coord_tick(void *arg)
{
    struct repl_world *rw = arg;
    struct cairn_env *env = env_of(rw, 0);

    cairn_timer_start(env, &rw->coord_tick, cairn_env_now_ns(env) + 100 * MS);
    if (rw->conf.rumours)
        spread_rumours(rw);
    if (rw->coord_is_up)
        cairn_coord_tick(&rw->coord);
    if (rw->coord_is_up && co_may_act(&rw->coord))
        drain_some(rw);
}

/* A word of a former self of the node, late: it could leave the lost disk as the only member's, and that is a loss. */
static bool is_of_a_lost_disk(struct repl_world *rw, uint32_t from, struct cairn_who who)
{
    return who.inc < rw->nodes[from].wiped_before_inc;
}

static void on_register(struct repl_world *rw, struct rw_letter *l)
{
    const struct cairn_coord_log *logs;
    struct cairn_coord_process p;
    struct cairn_err err;
    uint32_t nlogs;

    rw_must(cairn_wire_register_get((const void *)l->message, &l->arena, &p, &logs, &nlogs, &err), &err);
    if (cairn_coord_register(&rw->coord, &p, logs, nlogs) != 0)
        return;
    rw->stored_nodes[l->from] = p;
    rw_post(rw, 0, l->from, RW_REGISTERED, 0, cairn_wire_registered_put(&p, &rw->post), NULL, 0);
    for (uint32_t i = 0; i < rw->conf.slots; i++)
        map_publish(rw, l->from, i);
}

static void on_beat(struct repl_world *rw, struct rw_letter *l)
{
    struct cairn_wire_slot slots[RW_SLOTS_MAX];
    struct cairn_wire_heartbeat beat;
    struct cairn_wire_grant g;
    struct cairn_err err;

    rw_must(cairn_wire_heartbeat_get((const void *)l->message, &beat, &err), &err);
    if (is_of_a_lost_disk(rw, l->from, beat.who))
        return;
    g = (struct cairn_wire_grant){ .who = beat.who,
                                   .number = beat.number,
                                   .term = rw->coord.term,
                                   .wants_register = cairn_coord_wants_register(&rw->coord, l->from),
                                   .granted = cairn_coord_heartbeat(&rw->coord, beat.who, beat.term) };
    map_page(rw, beat.revision, slots, &g.page); /* M1: the grant brings the map up to date */
    g.upto = g.page.revision;
    rw_post(rw, 0, l->from, RW_GRANT, 0, cairn_wire_grant_put(&g, &rw->post), NULL, 0);
}

static void on_propose(struct repl_world *rw, struct rw_letter *l)
{
    struct cairn_change c;
    struct cairn_err err;

    rw_must(cairn_wire_change_get((const void *)l->message, &c, &err), &err);
    if (!is_of_a_lost_disk(rw, l->from, c.from))
        cairn_coord_propose(&rw->coord, &c);
}

static void on_fetch(struct repl_world *rw, struct rw_letter *l)
{
    const Cairn__Wire__ClusterFetch *fetch = (const void *)l->message;
    struct cairn_wire_slot slots[RW_SLOTS_MAX];
    struct cairn_wire_page page;

    map_page(rw, fetch->since, slots, &page);
    rw_post(rw, 0, l->from, RW_RECORDS, l->id, cairn_wire_page_put(&page, &rw->post), NULL, 0);
}

void rw_map_receive(struct repl_world *rw, struct rw_letter *l)
{
    if (!rw->coord_is_up)
        return;
    switch (l->kind) {
    case RW_REGISTER:
        on_register(rw, l);
        break;
    case RW_BEAT:
        on_beat(rw, l);
        break;
    case RW_PROPOSE:
        on_propose(rw, l);
        break;
    case RW_FETCH:
        on_fetch(rw, l);
        break;
    default:
        break;
    }
}

/* ---- the world ---- */

static int coord_begin(struct repl_world *rw)
{
    int rc = cairn_coord_init(&rw->coord, &coord_ops, env_of(rw, 0), &rw_lease_times, rw->conf.slots, ++rw->term);

    rw->coord.lost_wait_ns = 3000 * MS;
    rw->coord.lost_may_shrink = true;
    for (uint32_t i = 1; rc == 0 && i <= rw->conf.nodes; i++) {
        if (rw->stored_nodes[i].inc != 0)
            rc = cairn_coord_load_node(&rw->coord, &rw->stored_nodes[i]);
    }
    for (uint32_t i = 0; rc == 0 && i < rw->conf.slots; i++) {
        if (rw->stored[i].epoch != 0)
            cairn_coord_load(&rw->coord, i, &rw->stored[i]);
    }
    rw->coord_is_up = true;
    return rc;
}

void repl_world_start_coord(struct repl_world *rw)
{
    if (!rw->coord_is_up)
        CAIRN_ASSERT(coord_begin(rw) == 0);
}

void repl_world_crash_coord(struct repl_world *rw)
{
    if (!rw->coord_is_up)
        return;
    rw->coord_is_up = false;
    for (uint32_t i = 0; i < rw->conf.slots; i++) {
        cairn_timer_stop(env_of(rw, 0), &rw->stores[i].read);
        if (!cairn_timer_is_running(&rw->stores[i].timer))
            continue;
        cairn_timer_stop(env_of(rw, 0), &rw->stores[i].timer);
        /* it was stored, and nobody heard */
        if (dice(rw, 2) == 0 && rw->stores[i].rec.epoch == rw->stored[i].epoch + 1)
            store_take(rw, i, &rw->stores[i].rec);
    }
    cairn_coord_fini(&rw->coord);
}

void repl_world_start(struct repl_world *rw, uint32_t node)
{
    struct repl_node *n = &rw->nodes[node];

    if (n->up || rw_disk_refuses(&n->slots[0], RW_DISK_START)) /* what it has cannot be read: it ends again */
        return;
    if (!world_is_up(rw->world, node))
        world_restart(rw->world, node);
    rw_node_begin(n);
}

static void node_end(struct repl_world *rw, uint32_t node, bool power)
{
    struct repl_node *n = &rw->nodes[node];

    if (!n->up)
        return;
    rw_node_end(n, power || n->failed); /* a disk that has failed keeps no word, whatever happens to the machine */
    world_crash(rw->world, node);
}

void repl_world_crash(struct repl_world *rw, uint32_t node)
{
    node_end(rw, node, true);
}

void repl_world_kill(struct repl_world *rw, uint32_t node)
{
    node_end(rw, node, false);
}

bool repl_world_leave(struct repl_world *rw, uint32_t node)
{
    struct repl_node *n = &rw->nodes[node];
    bool left = !n->registered;

    for (int tries = 0; !left && tries < 50; tries++) {
        left = rw_node_leave(n);
        repl_world_run_ms(rw, 20);
    }
    return left;
}

void repl_world_quick_restart(struct repl_world *rw, uint32_t node)
{
    repl_world_leave(rw, node); /* or not: then without */
    repl_world_crash(rw, node);
    repl_world_start(rw, node);
}

/* Whether some member of @rec is there with its disk, other than @node. */
static bool has_other_disk(struct repl_world *rw, const struct cairn_slot_record *rec, uint32_t node)
{
    for (uint32_t i = 0; i < rec->ninsync; i++) {
        const struct repl_node *n = &rw->nodes[rec->insync[i].node];

        if (n->index != node && n->registered && !n->failed && cairn_who_is(n->self, rec->insync[i]) &&
            cairn_coord_is_alive(&rw->coord, n->self))
            return true;
    }
    return rec->epoch == 0;
}

bool repl_world_wipe(struct repl_world *rw, uint32_t node)
{
    struct repl_node *n = &rw->nodes[node];

    if (!rw->coord_is_up)
        return false;
    for (uint32_t i = 0; i < rw->conf.slots; i++) {
        bool named = cairn_slot_places(&rw->stored[i], node); /* its JOIN may be on the way */

        if (rw->coord.slots[i].storing) { /* or it is not known whether it was stored, and it will be made again */
            named |= cairn_slot_names(&rw->stores[i].rec, node);
            if (named && !has_other_disk(rw, &rw->stores[i].rec, node))
                return false;
        }
        if (named && !has_other_disk(rw, &rw->stored[i], node))
            return false;
    }
    repl_world_crash(rw, node);
    for (uint32_t i = 0; i < rw->conf.slots; i++) {
        rw_disk_wipe(&n->slots[i]);
        n->slots[i].partial = false;
    }
    rw_regions_wipe(n);
    n->disk_id += 100;
    n->wiped_before_inc = UINT64_MAX;
    rw->wiped++;
    return true;
}

struct repl_world *repl_world_new(const struct repl_world_conf *conf)
{
    struct repl_world *rw = calloc(1, sizeof(*rw));
    struct world_conf wc = { .seed = conf->seed,
                             .nodes = 1 + conf->nodes + conf->clients,
                             .latency_ns = conf->latency_ns,
                             .jitter_ns = conf->jitter_ns,
                             .loss_ppm = conf->loss_ppm,
                             .twice_ppm = conf->twice_ppm,
                             .straggler_ppm = conf->straggler_ppm,
                             .straggler_ns = conf->straggler_ns,
                             .deliver = rw_deliver,
                             .arg = rw };
    struct cairn_env *env;

    CAIRN_ASSERT(rw != NULL && conf->nodes <= RW_NODES_MAX && conf->clients <= RW_CLIENTS_MAX &&
                 conf->slots <= RW_SLOTS_MAX);
    rw->conf = *conf;
    rw->rumour = conf->seed;
    cairn_arena_init(&rw->post, 1 << 20);
    rw->world = world_new(&wc);
    CAIRN_ASSERT(rw->world != NULL);
    env = env_of(rw, 0);
    for (uint32_t i = 0; i < RW_SLOTS_MAX; i++) {
        rw->stores[i].rw = rw;
        cairn_timer_init(&rw->stores[i].timer, on_store_over, &rw->stores[i]);
        cairn_timer_init(&rw->stores[i].read, on_read, &rw->stores[i]);
        cairn_timer_init(&rw->stores[i].late, on_late_store, &rw->stores[i]);
    }
    CAIRN_ASSERT(coord_begin(rw) == 0);
    cairn_timer_init(&rw->coord_tick, on_coord_tick, rw);
    cairn_timer_start(env, &rw->coord_tick, cairn_env_now_ns(env) + 100 * MS);
    for (uint32_t i = 1; i <= conf->nodes; i++) {
        struct repl_node *n = &rw->nodes[i];

        n->rw = rw;
        n->index = i;
        n->disk_id = i;
        for (uint32_t k = 0; k < conf->slots; k++)
            n->slots[k].node = n;
        rw_regions_new(n);
        repl_world_start(rw, i);
    }
    for (uint32_t i = 0; i < conf->clients; i++) {
        struct rw_client *c = &rw->clients[i];

        c->rw = rw;
        c->index = 1 + conf->nodes + i;
        rw_client_begin(c);
    }
    for (uint32_t up = 0; up < conf->nodes;) {
        repl_world_run_ms(rw, 100);
        up = 0;
        for (uint32_t i = 1; i <= conf->nodes; i++)
            up += rw->nodes[i].registered;
    }
    for (uint32_t i = 0; i < conf->slots; i++) {
        uint64_t replicas[CAIRN_REPLICAS_MAX];

        for (uint32_t k = 0; k < conf->replicas; k++)
            replicas[k] = 1 + (i + k) % conf->nodes;
        CAIRN_ASSERT(cairn_coord_create(&rw->coord, i, replicas, conf->replicas, conf->min_insync) == 0);
    }
    return rw;
}

void repl_world_free(struct repl_world *rw)
{
    repl_world_crash_coord(rw);
    for (uint32_t i = 1; i <= rw->conf.nodes; i++) {
        repl_world_crash(rw, i);
        for (uint32_t k = 0; k < rw->conf.slots; k++)
            rw_disk_free(&rw->nodes[i].slots[k]);
        rw_regions_free(&rw->nodes[i]);
    }
    for (uint32_t i = 0; i < RW_SLOTS_MAX; i++) {
        for (uint32_t k = 0; k < RW_KEYS; k++)
            free(rw->history[i][k]);
        free(rw->truth[i].all);
    }
    world_free(rw->world);
    free(rw);
}

void repl_world_run_ms(struct repl_world *rw, uint64_t ms)
{
    uint64_t end = world_now_ns(rw->world) + ms * MS;

    while (world_step(rw->world, end))
        repl_world_check(rw);
    world_run_until(rw->world, end);
}
