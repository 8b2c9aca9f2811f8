/** A word of each node that the packets of its groups carry, and that others hear: which node it is, and the version
 * that it has of something whose versions only grow. Who hears of a higher version than his own knows whom to ask. Of
 * another map than his own nobody hears: its versions are no versions of his.
 * And what the groups believe of nodes: whether a process of one is there.
 *
 * A carrier is a provider that has a group, a listener the one whose word it is; they meet here and know nothing of
 * each other. The node owns it; all of it is env->loops[0]'s thread's, once the workers run. What is heard was said by
 * somebody who has the cluster key, and is no more than that: it may be wrong, and so may be what is believed. */
#ifndef CAIRN_SERVER_PORT_GOSSIP_H
#define CAIRN_SERVER_PORT_GOSSIP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CAIRN_GOSSIP_CARRIERS_MAX = 8, CAIRN_GOSSIP_ADDRESS_BYTES = 80, CAIRN_GOSSIP_SEEDS_MAX = 16 };

struct cairn_gossip_word {
    uint64_t node; /* 0: nothing is said */
    uint64_t version;
    uint64_t map; /* what the version is of */
};

/** A process of a node: the carriers tell the others who they are. */
struct cairn_gossip_self {
    uint64_t node, process; /* 0: of no cluster */
};

enum cairn_gossip_belief {
    CAIRN_GOSSIP_UNKNOWN, /* it was never met here, or was forgotten */
    CAIRN_GOSSIP_THERE,
    CAIRN_GOSSIP_GONE, /* found dead, or it said that it leaves; and has not contradicted since */
};

struct cairn_gossip_carrier {
    /** @w is this node's word from now on. */
    void (*carry)(struct cairn_gossip_carrier *c, const struct cairn_gossip_word *w);
    /** What the group believes of a process. */
    enum cairn_gossip_belief (*believes)(struct cairn_gossip_carrier *c, const struct cairn_gossip_self *who);
    /** Other members may be found at these: "udp://ADDRESS:PORT", in numbers; at most CAIRN_GOSSIP_SEEDS_MAX. Others
     * are no use. */
    void (*seek)(struct cairn_gossip_carrier *c, const char *const *addresses, uint32_t n);
    /** How many are there, this node among them. */
    uint32_t (*size)(struct cairn_gossip_carrier *c);
    char address[CAIRN_GOSSIP_ADDRESS_BYTES]; /* where it receives packets: "udp://ADDRESS:PORT" */
};

/** Zeroed at the beginning. */
struct cairn_gossip {
    struct cairn_gossip_self self; /* the listener's, before the workers run */
    struct cairn_gossip_word word;
    struct cairn_gossip_carrier *carriers[CAIRN_GOSSIP_CARRIERS_MAX];
    uint32_t ncarriers;
    /** Another's word, whose version is higher than ours. NULL: nobody listens. */
    void (*heard)(void *arg, const struct cairn_gossip_word *w);
    /** A process does not answer a group, or is gone, as that has it. NULL: nobody listens. */
    void (*doubted)(void *arg, const struct cairn_gossip_self *who);
    void *arg;
};

/** The listener: our word. */
static inline void cairn_gossip_say(struct cairn_gossip *g, const struct cairn_gossip_word *word)
{
    g->word = *word;
    for (uint32_t i = 0; i < g->ncarriers; i++)
        g->carriers[i]->carry(g->carriers[i], &g->word);
}

/** The listener: is that process gone? A group that has it among the living is believed before one that has not. */
static inline enum cairn_gossip_belief cairn_gossip_believes(struct cairn_gossip *g,
                                                             const struct cairn_gossip_self *who)
{
    enum cairn_gossip_belief most = CAIRN_GOSSIP_UNKNOWN;

    for (uint32_t i = 0; i < g->ncarriers && most != CAIRN_GOSSIP_THERE; i++) {
        enum cairn_gossip_belief b = g->carriers[i]->believes(g->carriers[i], who);

        if (b != CAIRN_GOSSIP_UNKNOWN)
            most = b;
    }
    return most;
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

/** A carrier's group doubts that @who is there. */
static inline void cairn_gossip_doubt(struct cairn_gossip *g, const struct cairn_gossip_self *who)
{
    if (g->doubted != NULL && who->node != 0 && who->node != g->self.node)
        g->doubted(g->arg, who);
}

#endif
