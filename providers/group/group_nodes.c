/* An index of the members by their nodes: see group_nodes.h. */
#include "providers/group/group_nodes.h"

#include <stdlib.h>
#include <string.h>

int group_nodes_init(struct group_nodes *n, uint32_t room)
{
    uint32_t len = cairn_swim_dir_table_len(room); /* a power of two */

    memset(n, 0, sizeof(*n));
    n->mask = len - 1;
    n->head = calloc(len, sizeof(*n->head));
    n->next = calloc(room, sizeof(*n->next));
    return n->head != NULL && n->next != NULL ? 0 : CAIRN_E_NOMEM;
}

void group_nodes_fini(struct group_nodes *n)
{
    free(n->head);
    free(n->next);
}

static uint32_t *head_of(const struct group_nodes *n, uint64_t node)
{
    return &n->head[(node * UINT64_C(0x9e3779b97f4a7c15)) >> 32 & n->mask]; /* Knuth, TAOCP 3, 6.4 */
}

static void make(struct group_nodes *n, const struct cairn_swim *core)
{
    const struct cairn_swim_dir *dir = core->dir;

    memset(n->head, 0, ((size_t)n->mask + 1) * sizeof(*n->head));
    for (uint32_t slot = 0; slot < dir->used; slot++) {
        uint32_t *head = head_of(n, dir->descs[slot].node.node);

        if (dir->descs[slot].id == 0 || dir->descs[slot].node.node == 0)
            continue;
        n->next[slot] = *head;
        *head = slot + 1;
    }
    n->version = core->version;
    n->used = dir->used;
    n->made++;
}

/* A member that was forgotten since is no change that the core counts, nor is one whose place it left: so what stands
 * there is compared in any case. */
enum cairn_gossip_belief group_nodes_believe(struct group_nodes *n, const struct cairn_swim *core,
                                             const struct cairn_gossip_self *who)
{
    enum cairn_gossip_belief found = CAIRN_GOSSIP_UNKNOWN;

    if (n->version != core->version || n->used != core->dir->used)
        make(n, core);
    for (uint32_t at = *head_of(n, who->node); at != 0; at = n->next[at - 1]) {
        const struct cairn_swim_desc *d = &core->dir->descs[at - 1];

        if (d->id == 0 || d->node.node != who->node || d->node.process != who->process)
            continue;
        switch (core->views[at - 1].state) {
        case CAIRN_SWIM_ALIVE:
        case CAIRN_SWIM_SUSPECT:
            return CAIRN_GOSSIP_THERE;
        case CAIRN_SWIM_DEAD:
        case CAIRN_SWIM_LEFT:
            found = CAIRN_GOSSIP_GONE;
            break;
        default:
            break;
        }
    }
    return found;
}
