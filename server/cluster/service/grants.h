/** How much of the map one node gives out: so many pages in a second, a moment's worth of them at once.
 *
 * The coordinator's grants bring what is missing to so many nodes; the others have it of these, and so on. A cluster
 * that is not large does not come near it. */
#ifndef CAIRN_SERVER_CLUSTER_SERVICE_GRANTS_H
#define CAIRN_SERVER_CLUSTER_SERVICE_GRANTS_H

#include "server/cluster/service/pace.h"

enum {
    CLUSTER_GRANT_PAGES_PER_S = 64, /* with grants; 32 at once */
    CLUSTER_PEER_PAGES_PER_S = 256, /* to nodes that ask; 128 at once */
};

/** Any thread: one page more, of a pace of pages? */
static inline bool cluster_page_may_go(struct cluster_pace *p, uint64_t now_ns)
{
    uint64_t at_ns;

    return cluster_pace_book(p, 1, now_ns, &at_ns);
}

#endif
