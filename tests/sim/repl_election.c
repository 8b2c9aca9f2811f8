/* Who coordinates in the replicated world: one of two hosts, for a term that the map store keeps for it. Cut off from
 * the store, or stopped for a while, it is deposed, and may not have noticed: then there are two who believe that they
 * coordinate, and nodes that believe the one or the other. */
#include "tests/sim/repl_internal.h"

/* The store keeps the term for so long, and is late now and then; nothing in it is early. */
enum { TERM_MS = 1000, KEEP_MS = 250, EXPIRES_LATE_MS = 300, STANDS_MS = 100 };

/* §6: from the sending, by who holds it, less what clocks may differ, and a timer's lateness. */
static void on_kept(void *arg)
{
    struct rw_coord *co = arg;

    co->valid_until_ns = MAX(co->valid_until_ns, co->kept_ns + TERM_MS * MS - TERM_MS * MS / 500 - 50 * MS);
}

static void on_keep(void *arg)
{
    struct rw_coord *co = arg;
    struct repl_world *rw = co->rw;
    struct cairn_env *env = env_of(rw, co->host);
    uint64_t now = cairn_env_now_ns(env);

    cairn_timer_start(env, &co->keep, now + KEEP_MS * MS);
    if (!co->up || !reaches_store(co) || is_deposed(co) || cairn_timer_is_running(&co->kept))
        return;
    rw->term_until_ns = world_now_ns(rw->world) + TERM_MS * MS + dice(rw, EXPIRES_LATE_MS * MS);
    if (!hears_store(co)) /* the store keeps its term; but it is over by its own clock */
        return;
    co->kept_ns = now;
    cairn_timer_start(env, &co->kept, now + (dice(rw, 3) == 0 ? dice(rw, 400 * MS) : dice(rw, 10 * MS)));
}

/* Elected: the predecessor's term is over, in the store. It loads what is there. */
static int coord_begin(struct rw_coord *co)
{
    struct repl_world *rw = co->rw;
    struct cairn_env *env = env_of(rw, co->host);
    int rc = cairn_coord_init(&co->core, &rw_coord_ops, env, &rw_lease_times, rw->conf.slots, ++rw->term);

    elected(rw)->knows = rw->revision;
    rw->two_coords += elected(rw)->up;
    rw->elected = (uint32_t)(co - rw->coords);
    rw->coord = &co->core;
    rw->term_until_ns = world_now_ns(rw->world) + TERM_MS * MS;
    co->term = rw->term;
    co->valid_until_ns = cairn_env_now_ns(env) + TERM_MS * MS * 3 / 4; /* the claim took its time */
    co->core.lost_wait_ns = 3000 * MS;
    co->core.lost_may_shrink = true;
    for (uint32_t i = 1; rc == 0 && i <= rw->conf.nodes; i++) {
        if (rw->stored_nodes[i].inc != 0)
            rc = cairn_coord_load_node(&co->core, &rw->stored_nodes[i]);
    }
    for (uint32_t i = 0; rc == 0 && i < rw->conf.slots; i++) {
        if (rw->stored[i].epoch != 0)
            cairn_coord_load(&co->core, i, &rw->stored[i]);
    }
    co->up = true;
    for (uint32_t i = 1; i <= rw->conf.nodes; i++) /* some have another view of the store, for long */
        rw->nodes[i].view_ns =
            world_now_ns(rw->world) + (rw->conf.rivals ? dice(rw, dice(rw, 3) == 0 ? 6000 * MS : 50 * MS) : 0);
    return rc;
}

void rw_coord_end(struct rw_coord *co)
{
    struct cairn_env *env = env_of(co->rw, co->host);

    co->up = false;
    cairn_timer_stop(env, &co->kept);
    rw_stores_end(co);
    cairn_coord_fini(&co->core);
    co->core.slots = NULL;
}

/* Whoever does not coordinate would, when the store has nobody any more; also who did before. */
static void on_stand(void *arg)
{
    struct rw_coord *co = arg;
    struct repl_world *rw = co->rw;
    struct cairn_env *env = env_of(rw, co->host);

    cairn_timer_start(env, &co->stand, cairn_env_now_ns(env) + STANDS_MS * MS + dice(rw, STANDS_MS * MS));
    if (!rw->conf.rivals || is_cut_off(co) || world_now_ns(rw->world) < rw->term_until_ns ||
        (elected(rw) == co && co->up))
        return;
    if (co->up) /* deposed, and has not noticed */
        rw_coord_end(co);
    rw->elections++;
    CAIRN_ASSERT(coord_begin(co) == 0);
}

bool repl_world_coord_is_up(const struct repl_world *rw)
{
    return rw->coords[rw->elected].up;
}

void repl_world_start_coord(struct repl_world *rw)
{
    if (!repl_world_coord_is_up(rw) && !is_cut_off(elected(rw))) /* from there nobody is elected */
        CAIRN_ASSERT(coord_begin(elected(rw)) == 0);
}

void repl_world_crash_coord(struct repl_world *rw)
{
    if (repl_world_coord_is_up(rw))
        rw_coord_end(elected(rw));
}

void repl_world_cut_coord(struct repl_world *rw, uint64_t ms)
{
    elected(rw)->cut_until_ns = world_now_ns(rw->world) + ms * MS;
}

void repl_world_pause_coord(struct repl_world *rw, uint64_t ms)
{
    world_slow(rw->world, elected(rw)->host, dice(rw, 400 * MS));
    world_stall(rw->world, elected(rw)->host, ms * MS);
}

void repl_world_mend_map(struct repl_world *rw)
{
    for (uint32_t k = 0; k < ARRAY_SIZE(rw->coords); k++) {
        rw->coords[k].cut_until_ns = 0;
        world_slow(rw->world, rw->coords[k].host, 0);
    }
    for (uint32_t i = 1; i <= rw->conf.nodes; i++)
        rw->nodes[i].view_ns = 0;
}

/* As it sees in the store, when it can. */
uint32_t rw_map_host(struct repl_node *n)
{
    struct world *w = n->rw->world;
    uint32_t store = repl_world_store_host(n->rw);

    if (world_now_ns(w) >= n->view_ns && !world_is_cut(w, n->index, store) && !world_is_cut(w, store, n->index))
        n->map_host = elected(n->rw)->host;
    return n->map_host;
}

uint32_t repl_world_map_host(const struct repl_world *rw)
{
    return rw->coords[rw->elected].host;
}

void rw_map_new(struct repl_world *rw)
{
    for (uint32_t k = 0; k < ARRAY_SIZE(rw->coords); k++) {
        struct rw_coord *co = &rw->coords[k];
        struct cairn_env *env;

        co->rw = rw;
        co->host = k == 0 ? 0 : rw->conf.nodes + rw->conf.clients + 1;
        env = env_of(rw, co->host);
        rw_stores_init(co);
        cairn_timer_init(&co->tick, rw_coord_on_tick, co);
        cairn_timer_init(&co->keep, on_keep, co);
        cairn_timer_init(&co->kept, on_kept, co);
        cairn_timer_init(&co->stand, on_stand, co);
        cairn_timer_start(env, &co->tick, cairn_env_now_ns(env) + 100 * MS);
        cairn_timer_start(env, &co->keep, cairn_env_now_ns(env) + KEEP_MS * MS);
        cairn_timer_start(env, &co->stand, cairn_env_now_ns(env) + STANDS_MS * MS);
    }
    CAIRN_ASSERT(coord_begin(&rw->coords[0]) == 0);
}

void rw_map_free(struct repl_world *rw)
{
    for (uint32_t k = 0; k < ARRAY_SIZE(rw->coords); k++) {
        if (rw->coords[k].up)
            rw_coord_end(&rw->coords[k]);
    }
}
