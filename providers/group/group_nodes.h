/** What the group believes of processes of nodes: its members by their node, in an index that is made anew when it is
 * asked after the core has changed. So it costs one walk to ask about all nodes at once, as a new coordinator does. */
#ifndef CAIRN_GROUP_NODES_H
#define CAIRN_GROUP_NODES_H

#include "providers/group/swim.h"

struct group_nodes {
    uint32_t *head, *next; /* slots + 1; by the node's hash, and by slot */
    uint32_t mask, version, used;
    uint64_t made; /* how often, for tests */
};

/** For a directory of @room slots. CAIRN_E_NOMEM. */
int group_nodes_init(struct group_nodes *n, uint32_t room);
void group_nodes_fini(struct group_nodes *n);

/** By the process, and not by the name, which is the member's own choice: two names of one process are of two groups, or
 * of a member that was renamed, and then whichever lives counts. @core is the same one each time. */
enum cairn_gossip_belief group_nodes_believe(struct group_nodes *n, const struct cairn_swim *core,
                                             const struct cairn_gossip_self *who);

#endif
