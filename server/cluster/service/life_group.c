/* This node and its groups (server/port/gossip.h), at home. The groups are told where other members may be, as the map
 * has it: so nobody has to be configured to find them. And what they doubt is asked: who leads a slot with that node
 * wants a word of it, and if none comes in time the slot goes on without it, also while nobody writes to it. */
#include "server/cluster/service/life_internal.h"

#include "sdk/core/base/log.h"

#include <stdio.h>

enum { SEEK_S_MIN = 1, SEEK_S_MAX = 16 };

/* ---- doubts ---- */

static void doubt_next(struct side_life *l);

static void doubt_on(struct side_worker *w, void *arg)
{
    const struct side_life *l = arg;

    if (!w->stopping && w->slots != NULL)
        cluster_slots_doubt(w->slots, l->doubts.node);
}

static void doubted_all(void *arg)
{
    struct side_life *l = arg;

    l->doubts.node = 0;
    if (!life_step_over(l))
        doubt_next(l);
}

static void doubt_next(struct side_life *l)
{
    if (l->doubts.node != 0 || l->doubts.n == 0 || l->sm.state != LIFE_BEATING)
        return;
    l->doubts.node = l->doubts.waiting[--l->doubts.n];
    l->pending++;
    if (side_each(l->c, doubt_on, doubted_all, l) != 0) {
        l->pending--;
        l->doubts.node = 0;
    }
}

static bool is_waiting(const struct side_life *l, uint64_t node)
{
    for (uint32_t i = 0; i < l->doubts.n; i++) {
        if (l->doubts.waiting[i] == node)
            return true;
    }
    return false;
}

/* More than can wait are dropped: a group that is sure says so once more. And those of before our heartbeats, when
 * nothing is led from here that could ask. */
static void on_doubted(void *arg, const struct cairn_gossip_self *who)
{
    struct side_life *l = arg;

    if (l->sm.state == LIFE_BEATING && l->doubts.n < LIFE_DOUBTS_MAX && !is_waiting(l, who->node))
        l->doubts.waiting[l->doubts.n++] = who->node;
    doubt_next(l);
}

/* ---- where others are ---- */

struct seek {
    struct side_life *l;
    uint32_t there, met;
    char texts[CAIRN_GOSSIP_SEEDS_MAX][CAIRN_GOSSIP_ADDRESS_BYTES];
};

/* One of the first sixteen, or in place of one of them by chance: of many, each is asked some time. */
static void seek_add(struct seek *s, const char *address)
{
    uint32_t at = s->met++;

    if (at >= CAIRN_GOSSIP_SEEDS_MAX)
        at = (uint32_t)(cairn_env_random(&s->l->c->home->env) % s->met);
    if (at < CAIRN_GOSSIP_SEEDS_MAX)
        snprintf(s->texts[at], sizeof(s->texts[at]), "%s", address);
}

static void on_member(const struct cairn_wire_member *m, void *arg)
{
    struct seek *s = arg;

    if (m->node == s->l->c->node || (m->state != CAIRN_WIRE_MEMBER_UP && m->state != CAIRN_WIRE_MEMBER_DRAINING))
        return;
    for (uint32_t i = 0; i < m->naddresses; i++) {
        if (strncmp(m->addresses[i], "udp://", 6) != 0)
            continue;
        s->there++;
        seek_add(s, m->addresses[i]);
        return;
    }
}

/* A group that has fewer than the map has members misses some, or they miss us. */
void life_seek(struct side_life *l)
{
    struct cairn_gossip *g = l->c->env->gossip;
    uint64_t now = cairn_env_now_ns(&l->c->home->env);
    struct seek s = { .l = l };
    const char *addresses[CAIRN_GOSSIP_SEEDS_MAX];
    uint32_t n;
    bool missing = false;

    if (g == NULL || g->ncarriers == 0 || now < l->seek_ns)
        return;
    cairn_cluster_records_members(l->c->records, on_member, &s);
    n = MIN(s.met, (uint32_t)CAIRN_GOSSIP_SEEDS_MAX);
    for (uint32_t i = 0; i < n; i++)
        addresses[i] = s.texts[i];
    for (uint32_t i = 0; i < g->ncarriers; i++) {
        if (g->carriers[i]->size(g->carriers[i]) >= s.there + 1)
            continue;
        missing = true;
        g->carriers[i]->seek(g->carriers[i], addresses, n);
    }
    if (!missing || s.there != l->sought)
        l->seek_s = 0;
    l->seek_s = MIN(MAX(2 * l->seek_s, (uint32_t)SEEK_S_MIN), (uint32_t)SEEK_S_MAX);
    l->sought = s.there;
    l->seek_ns = now + l->seek_s * CAIRN_NS_PER_S;
}

void life_group_init(struct side_life *l)
{
    struct cairn_gossip *g = l->c->env->gossip;

    if (g == NULL)
        return;
    g->doubted = on_doubted;
    g->arg = l;
}

void life_group_end(struct side_life *l)
{
    if (l->c->env->gossip != NULL)
        l->c->env->gossip->doubted = NULL;
}
