/* Group cores on the simulated world: see group_world.h. */
#include "tests/sim/group_world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LIFE_MS = 1000000 }; /* lives begin so far apart: far more than a member contradicts */

static void *must(void *p)
{
    CAIRN_ASSERT(p != NULL);
    return p;
}

static struct cairn_swim_addr addr_of(uint32_t i)
{
    struct cairn_swim_addr a = { .port = 7311, .len = 4 };

    memcpy(a.ip, &i, sizeof(i));
    return a;
}

void group_world_desc(uint32_t i, struct cairn_swim_desc *d)
{
    memset(d, 0, sizeof(*d));
    snprintf(d->name, sizeof(d->name), "n%u", i);
    snprintf(d->zone, sizeof(d->zone), "rack%u", i % 8);
    snprintf(d->service, sizeof(d->service), "tcp://10.0.%u.%u:7400", i >> 8 & 255, i & 255);
    d->id = cairn_swim_id(d->name, strlen(d->name));
    d->weight = 100;
    d->capacity = UINT64_C(1) << 40;
    d->addr = addr_of(i);
}

static uint32_t index_of(const struct cairn_swim_addr *a)
{
    uint32_t i;

    memcpy(&i, a->ip, sizeof(i));
    return i;
}

static uint64_t now_ms(struct group_world *gw, uint32_t i)
{
    return cairn_env_now_ns(world_env(gw->world, i)) / CAIRN_NS_PER_MS;
}

/* ---- what comes out of a step ---- */

static void take_event(struct group_world *gw, struct group_node *x, const struct cairn_swim_event *e)
{
    uint32_t about;

    gw->events[e->type]++;
    if (e->type == CAIRN_SWIM_EV_SUSPECTED)
        gw->suspicions++;
    if (e->type != CAIRN_SWIM_EV_DIED)
        return;
    about = index_of(&x->core.dir->descs[e->slot].addr);
    if (gw->nodes[about].runs && !gw->nodes[about].leaving)
        gw->false_deaths++;
    if (about == gw->victim) {
        gw->first_ns = gw->learned++ == 0 ? world_now_ns(gw->world) : gw->first_ns;
        gw->last_ns = world_now_ns(gw->world);
    }
}

void group_world_input(struct group_world *gw, uint32_t i, struct cairn_swim_in *in)
{
    struct group_node *x = &gw->nodes[i];
    struct cairn_swim_out *out = &gw->out;
    uint8_t sealed[8 + CAIRN_SWIM_PACKET_BYTES_MAX];

    in->now_ms = now_ms(gw, i);
    cairn_sm_tick(x->machines);
    cairn_swim_step(&x->core, in, out);
    for (uint32_t k = 0; k < out->nevents; k++)
        take_event(gw, x, &out->events[k]);
    for (uint32_t k = 0; k < out->nsends; k++) {
        x->packets++;
        x->bytes += out->sends[k].len;
        memcpy(sealed, &x->core.id, 8);
        memcpy(sealed + 8, out->sends[k].bytes, out->sends[k].len);
        world_send(gw->world, i, index_of(&out->sends[k].to), sealed, 8 + (size_t)out->sends[k].len);
    }
    if (out->wake_ms == UINT64_MAX)
        cairn_timer_stop(world_env(gw->world, i), &x->timer);
    else
        cairn_timer_start(world_env(gw->world, i), &x->timer, out->wake_ms * CAIRN_NS_PER_MS);
    if (out->heard.node != 0 && gw->conf.heard != NULL) {
        struct cairn_gossip_word heard = out->heard;

        gw->conf.heard(gw->conf.arg, i, &heard);
    }
}

void group_world_send(struct group_world *gw, uint32_t from, uint32_t to, const void *bytes, size_t len)
{
    uint8_t other[8 + CAIRN_SWIM_PACKET_BYTES_MAX] = { 0 }; /* nobody's id is 0 */

    CAIRN_ASSERT(len <= CAIRN_SWIM_PACKET_BYTES_MAX);
    memcpy(other + 8, bytes, len);
    world_send(gw->world, from, to, other, 8 + len);
}

static void on_timer(void *arg)
{
    struct group_node *x = arg;

    group_world_input(x->gw, x->index, &(struct cairn_swim_in){ .type = CAIRN_SWIM_TICK });
}

static void on_packet(void *arg, uint32_t to, uint32_t from, const uint8_t *bytes, size_t len)
{
    struct group_world *gw = arg;
    struct cairn_swim_in in = { .type = CAIRN_SWIM_PACKET, .bytes = bytes + 8, .len = len - 8 };

    if (!gw->nodes[to].runs)
        return;
    memcpy(&in.from, bytes, 8);
    if (in.from == 0) {
        gw->conf.deliver(gw->conf.arg, to, from, in.bytes, in.len);
        return;
    }
    in.addr = addr_of(from);
    group_world_input(gw, to, &in);
}

/* ---- life ---- */

static void make_memory(struct group_world *gw, struct group_node *x)
{
    uint32_t n = gw->conf.net.nodes, s = gw->conf.suspicions != 0 ? gw->conf.suspicions : n;

    x->memory.views = must(calloc(n, sizeof(*x->memory.views)));
    x->memory.suspicions = must(calloc(s, sizeof(*x->memory.suspicions)));
    x->memory.heap = must(calloc(s, sizeof(*x->memory.heap)));
    x->memory.nsuspicions = s;
    if (gw->conf.shares) {
        x->machines = gw->machines;
        return;
    }
    x->dir.descs = must(calloc(n, sizeof(*x->dir.descs)));
    x->dir.table = must(calloc(cairn_swim_dir_table_len(n), sizeof(*x->dir.table)));
    x->machines = must(malloc(sizeof(*x->machines)));
    cairn_sm_set_init(x->machines, world_env(gw->world, x->index));
}

static void begin(struct group_world *gw, uint32_t i)
{
    struct group_node *x = &gw->nodes[i];
    struct cairn_swim_conf conf = gw->conf.swim;
    struct cairn_swim_desc self;
    struct cairn_swim_dir *dir = gw->conf.shares ? &gw->shared : &x->dir;
    int rc;

    conf.observer = i >= gw->conf.net.nodes - gw->conf.observers;
    group_world_desc(i, &self);
    if (!gw->conf.shares)
        cairn_swim_dir_init(dir, dir->descs, dir->table, gw->conf.net.nodes);
    x->life = ++gw->lives * LIFE_MS;
    rc = cairn_swim_init(&x->core, &conf, dir, &x->memory, conf.observer ? NULL : &self, x->life,
                         cairn_env_random(world_env(gw->world, i)), x->machines);
    CAIRN_ASSERT(rc == 0);
    cairn_timer_init(&x->timer, on_timer, x);
    x->runs = true;
    x->leaving = false;
}

struct group_world *group_world_new(const struct group_world_conf *conf)
{
    struct group_world *gw = must(calloc(1, sizeof(*gw)));
    uint32_t n = conf->net.nodes, members = n - conf->observers;
    struct cairn_swim_desc d;

    gw->conf = *conf;
    gw->victim = UINT32_MAX;
    gw->conf.net.deliver = on_packet;
    gw->conf.net.arg = gw;
    gw->world = must(world_new(&gw->conf.net));
    gw->nodes = must(calloc(n, sizeof(*gw->nodes)));
    if (conf->shares) {
        gw->machines = must(malloc(sizeof(*gw->machines)));
        cairn_sm_set_init(gw->machines, world_env(gw->world, 0));
        cairn_swim_dir_init(&gw->shared, must(malloc(n * sizeof(*gw->shared.descs))),
                            must(malloc(cairn_swim_dir_table_len(n) * sizeof(uint32_t))), n);
        gw->shared.shared = true;
        for (uint32_t i = 0; i < n; i++) {
            group_world_desc(i, &d);
            cairn_swim_dir_put(&gw->shared, &d);
        }
    }
    for (uint32_t i = 0; i < n; i++) {
        gw->nodes[i].gw = gw;
        gw->nodes[i].index = i;
        make_memory(gw, &gw->nodes[i]);
        if (conf->stands && i < members)
            begin(gw, i);
    }
    for (uint32_t i = 0; conf->stands && i < members; i++) {
        struct group_node *x = &gw->nodes[i];

        for (uint32_t j = 0; j < members; j++) {
            if (j == i)
                continue;
            if (!conf->shares)
                group_world_desc(j, &d);
            cairn_swim_assume_alive(&x->core, conf->shares ? j : cairn_swim_dir_put(&x->dir, &d), gw->nodes[j].life);
        }
        on_timer(x);
    }
    return gw;
}

static void end(struct group_node *x)
{
    cairn_swim_fini(&x->core);
    x->runs = false;
}

void group_world_free(struct group_world *gw)
{
    for (uint32_t i = 0; i < gw->conf.net.nodes; i++) {
        struct group_node *x = &gw->nodes[i];

        if (x->runs)
            end(x);
        if (!gw->conf.shares) {
            cairn_sm_set_fini(x->machines);
            free(x->machines);
            free(x->dir.descs);
            free(x->dir.table);
        }
        free(x->memory.views);
        free(x->memory.suspicions);
        free(x->memory.heap);
    }
    world_free(gw->world);
    if (gw->conf.shares) {
        free(gw->machines);
        free(gw->shared.descs);
        free(gw->shared.table);
    }
    free(gw->nodes);
    free(gw);
}

void group_world_run_ms(struct group_world *gw, uint64_t ms)
{
    world_run_until(gw->world, world_now_ns(gw->world) + ms * CAIRN_NS_PER_MS);
}

void group_world_start(struct group_world *gw, uint32_t i, uint32_t seed)
{
    struct cairn_swim_desc d;

    if (!world_is_up(gw->world, i))
        world_restart(gw->world, i);
    begin(gw, i);
    group_world_desc(seed, &d);
    group_world_input(gw, i,
                      &(struct cairn_swim_in){ .type = CAIRN_SWIM_SEEDS, .seeds = &d.addr, .nseeds = seed != i });
}

void group_world_kill(struct group_world *gw, uint32_t i)
{
    end(&gw->nodes[i]);
    world_crash(gw->world, i);
}

void group_world_leave(struct group_world *gw, uint32_t i)
{
    gw->nodes[i].leaving = true;
    group_world_input(gw, i, &(struct cairn_swim_in){ .type = CAIRN_SWIM_LEAVE });
}

void group_world_watch_death(struct group_world *gw, uint32_t i)
{
    gw->victim = i;
    gw->learned = 0;
    gw->first_ns = gw->last_ns = 0;
    group_world_kill(gw, i);
}

/* ---- looking ---- */

uint8_t group_world_view(const struct group_world *gw, uint32_t i, uint32_t j)
{
    struct cairn_swim_desc d;
    uint32_t slot;

    if (gw->conf.shares) /* made in order */
        return gw->nodes[i].core.views[j].state;
    group_world_desc(j, &d);
    slot = cairn_swim_dir_find(gw->nodes[i].core.dir, d.id);
    return slot != CAIRN_SWIM_NO_SLOT ? gw->nodes[i].core.views[slot].state : CAIRN_SWIM_NONE;
}

bool group_world_agrees(const struct group_world *gw, char why[128])
{
    uint32_t n = gw->conf.net.nodes, members = n - gw->conf.observers;

    for (uint32_t i = 0; i < n; i++) {
        for (uint32_t j = 0; gw->nodes[i].runs && j < members; j++) {
            uint8_t v = group_world_view(gw, i, j);
            bool there = gw->nodes[j].runs && !gw->nodes[j].leaving;

            if (gw->nodes[i].leaving || (v == CAIRN_SWIM_ALIVE) == there)
                continue;
            snprintf(why, 128, "%u takes %u, which %s, for state %u", i, j, there ? "runs" : "does not run", v);
            return false;
        }
    }
    return true;
}

void group_world_check(const struct group_world *gw)
{
    for (uint32_t i = 0; i < gw->conf.net.nodes; i++) {
        const struct cairn_swim *s = &gw->nodes[i].core;
        uint32_t count[CAIRN_SWIM_STATES_NR] = { 0 }, news = 0;

        if (!gw->nodes[i].runs)
            continue;
        for (uint32_t slot = 0; slot < s->dir->room; slot++) {
            const struct cairn_swim_view *v = &s->views[slot];
            uint32_t about = s->dir->descs[slot].id != 0 ? index_of(&s->dir->descs[slot].addr) : i;
            const struct group_node *x = &gw->nodes[about];

            count[v->state]++;
            news += v->news != 0;
            if (v->state == CAIRN_SWIM_NONE)
                continue;
            /* Nobody but a member itself makes an incarnation of it. */
            CAIRN_ASSERT(!x->runs || x->core.self == CAIRN_SWIM_NO_SLOT ||
                         v->incarnation <= x->core.views[x->core.self].incarnation);
            CAIRN_ASSERT(v->state != CAIRN_SWIM_SUSPECT ||
                         s->suspects.all[v->mark].slot == slot); /* each suspicion has a deadline of its own */
        }
        for (uint32_t k = 0; k < CAIRN_SWIM_STATES_NR; k++)
            CAIRN_ASSERT(count[k] == s->count[k]);
        CAIRN_ASSERT(news == s->nnews);
        CAIRN_ASSERT(count[CAIRN_SWIM_SUSPECT] == s->suspects.n);
        for (uint32_t k = 1; k < s->suspects.n; k++)
            CAIRN_ASSERT(s->suspects.all[s->suspects.heap[(k - 1) / 2]].due_ms <=
                         s->suspects.all[s->suspects.heap[k]].due_ms);
        /* Whoever runs takes itself for alive, unless it is leaving. */
        CAIRN_ASSERT(s->self == CAIRN_SWIM_NO_SLOT || s->leaving || s->views[s->self].state == CAIRN_SWIM_ALIVE);
    }
}
