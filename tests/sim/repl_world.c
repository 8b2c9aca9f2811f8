/* A cluster of replicas on the simulated world: see repl_world.h. Faults, and how the parts meet. */
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

/* ---- the world ---- */

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
            cairn_coord_is_alive(rw->coord, n->self))
            return true;
    }
    return rec->epoch == 0;
}

bool repl_world_wipe(struct repl_world *rw, uint32_t node)
{
    struct repl_node *n = &rw->nodes[node];

    if (!repl_world_coord_is_up(rw))
        return false;
    for (uint32_t i = 0; i < rw->conf.slots; i++) {
        bool named = cairn_slot_places(&rw->stored[i], node); /* its JOIN may be on the way */

        if (rw->coord->slots[i].storing) { /* or it is not known whether it was stored, and it will be made again */
            const struct cairn_slot_record *next = &rw->coord->slots[i].next;

            named |= cairn_slot_names(next, node);
            if (named && !has_other_disk(rw, next, node))
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
                             .nodes = 1 + conf->nodes + conf->clients + 2,
                             .latency_ns = conf->latency_ns,
                             .jitter_ns = conf->jitter_ns,
                             .loss_ppm = conf->loss_ppm,
                             .twice_ppm = conf->twice_ppm,
                             .straggler_ppm = conf->straggler_ppm,
                             .straggler_ns = conf->straggler_ns,
                             .deliver = rw_deliver,
                             .arg = rw };

    CAIRN_ASSERT(rw != NULL && conf->nodes <= RW_NODES_MAX && conf->clients <= RW_CLIENTS_MAX &&
                 conf->slots <= RW_SLOTS_MAX);
    rw->conf = *conf;
    rw->rumour = conf->seed;
    cairn_arena_init(&rw->post, 1 << 20);
    rw->world = world_new(&wc);
    CAIRN_ASSERT(rw->world != NULL);
    rw_map_new(rw);
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
        CAIRN_ASSERT(cairn_coord_create(rw->coord, i, replicas, conf->replicas, conf->min_insync) == 0);
    }
    return rw;
}

void repl_world_free(struct repl_world *rw)
{
    rw_map_free(rw);
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
