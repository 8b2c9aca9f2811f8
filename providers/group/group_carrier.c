/* What the node's other providers have of the group (server/port/gossip.h): it carries their word, tells what it
 * believes of a process of a node, and takes addresses at which others may be. Worker 0 alone: it writes what it reads
 * here. */
#include "providers/group/group_internal.h"

_Static_assert((int)CAIRN_GOSSIP_SEEDS_MAX == (int)CAIRN_SWIM_SEEDS_MAX, "all that are said can be asked");
_Static_assert((int)CAIRN_GOSSIP_ADDRESS_BYTES == (int)GROUP_ADDR_TEXT_MAX, "an address fits");

static struct group_provider *provider_of(struct cairn_gossip_carrier *c)
{
    return CONTAINER_OF(c, struct group_provider, carrier);
}

static void carry(struct cairn_gossip_carrier *c, const struct cairn_gossip_word *w)
{
    group_input(provider_of(c), &(struct cairn_swim_in){ .type = CAIRN_SWIM_WORD, .word = *w });
}

static enum cairn_gossip_belief believes(struct cairn_gossip_carrier *c, const struct cairn_gossip_self *who)
{
    struct group_provider *p = provider_of(c);

    return group_nodes_believe(&p->nodes, &p->core, who);
}

static void seek(struct cairn_gossip_carrier *c, const char *const *addresses, uint32_t n)
{
    struct group_provider *p = provider_of(c);
    struct cairn_swim_addr seeds[CAIRN_SWIM_SEEDS_MAX];
    uint32_t nseeds = 0;

    for (uint32_t i = 0; i < n && nseeds < CAIRN_SWIM_SEEDS_MAX; i++) {
        if (group_addr_parse(addresses[i], &seeds[nseeds]) && !cairn_swim_addr_equal(&seeds[nseeds], &p->self.addr))
            nseeds++;
    }
    if (nseeds > 0)
        group_join_also(p, seeds, nseeds);
}

static uint32_t size(struct cairn_gossip_carrier *c)
{
    return cairn_swim_size(&provider_of(c)->core);
}

void group_carrier_tell(struct group_provider *p)
{
    for (uint32_t i = 0; i < p->out.nevents && p->gossip != NULL && !p->observer; i++) {
        const struct cairn_swim_event *e = &p->out.events[i];

        if (e->type == CAIRN_SWIM_EV_SUSPECTED || e->type == CAIRN_SWIM_EV_DIED || e->type == CAIRN_SWIM_EV_LEFT)
            cairn_gossip_doubt(p->gossip, &p->dir.descs[e->slot].node);
    }
}

void group_carrier_init(struct group_provider *p)
{
    p->carrier = (struct cairn_gossip_carrier){ .carry = carry, .believes = believes, .seek = seek, .size = size };
}
