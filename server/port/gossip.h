/** A word of each node that the packets of its groups carry, and that others hear: which node it is, and the version
 * that it has of something whose versions only grow. Who hears of a higher version than his own knows whom to ask. Of
 * another map than his own nobody hears: its versions are no versions of his.
 *
 * A carrier is a provider that has a group, a listener the one whose word it is; they meet here and know nothing of
 * each other. The node owns it; all of it is env->loops[0]'s thread's, once the workers run. What is heard was said by
 * somebody who has the cluster key, and is no more than that: it may be wrong. */
#ifndef CAIRN_SERVER_PORT_GOSSIP_H
#define CAIRN_SERVER_PORT_GOSSIP_H

#include <stddef.h>
#include <stdint.h>

enum { CAIRN_GOSSIP_CARRIERS_MAX = 8 };

struct cairn_gossip_word {
    uint64_t node; /* 0: nothing is said */
    uint64_t version;
    uint64_t map; /* what the version is of */
};

struct cairn_gossip_carrier {
    /** @w is this node's word from now on. */
    void (*carry)(struct cairn_gossip_carrier *c, const struct cairn_gossip_word *w);
};

/** Zeroed at the beginning. */
struct cairn_gossip {
    struct cairn_gossip_word word;
    struct cairn_gossip_carrier *carriers[CAIRN_GOSSIP_CARRIERS_MAX];
    uint32_t ncarriers;
    /** Another's word, whose version is higher than ours. NULL: nobody listens. */
    void (*heard)(void *arg, const struct cairn_gossip_word *w);
    void *arg;
};

/** The listener: our word. */
static inline void cairn_gossip_say(struct cairn_gossip *g, const struct cairn_gossip_word *word)
{
    g->word = *word;
    for (uint32_t i = 0; i < g->ncarriers; i++)
        g->carriers[i]->carry(g->carriers[i], &g->word);
}

/** A carrier: from now on it carries; one too many does not. */
static inline void cairn_gossip_join(struct cairn_gossip *g, struct cairn_gossip_carrier *c)
{
    if (g->ncarriers == CAIRN_GOSSIP_CARRIERS_MAX)
        return;
    g->carriers[g->ncarriers++] = c;
    c->carry(c, &g->word);
}

static inline void cairn_gossip_part(struct cairn_gossip *g, const struct cairn_gossip_carrier *c)
{
    for (uint32_t i = 0; i < g->ncarriers; i++) {
        if (g->carriers[i] == c)
            g->carriers[i--] = g->carriers[--g->ncarriers];
    }
}

/** A carrier has heard @w. */
static inline void cairn_gossip_hear(struct cairn_gossip *g, const struct cairn_gossip_word *w)
{
    if (g->heard != NULL && w->node != g->word.node)
        g->heard(g->arg, w);
}

#endif
