/** How much of the map one node gives out: so many pages in a second, half a second's worth of them at once.
 *
 * The coordinator's grants bring what is missing to so many nodes; the others have it of these, and so on. A cluster
 * that is not large does not come near it. Clients ask as well, and are not believed to be nodes because they say so:
 * what a session asks for is bounded, and what all clients do together, and neither takes anything from the nodes. Who
 * is refused was not worth a page. */
#ifndef CAIRN_SERVER_CLUSTER_SERVICE_GRANTS_H
#define CAIRN_SERVER_CLUSTER_SERVICE_GRANTS_H

#include "server/cluster/service/pace.h"

#include <stdbool.h>

enum {
    CLUSTER_GRANT_PAGES_PER_S = 64,   /* with grants */
    CLUSTER_PEER_PAGES_PER_S = 256,   /* to nodes that ask */
    CLUSTER_CLIENT_PAGES_PER_S = 1024, /* to clients: thousands may begin at a time, and have nobody else to ask */
    CLUSTER_SESSION_PAGES_PER_S = 64, /* to one of them */
    CLUSTER_SESSIONS = 256,           /* that are told apart; those that are not share what they have */
};

struct cluster_askers {
    struct cluster_pace grants, nodes, clients, sessions[CLUSTER_SESSIONS];
};

static inline void cluster_askers_init(struct cluster_askers *a)
{
    *a = (struct cluster_askers){ .grants.bytes_per_s = CLUSTER_GRANT_PAGES_PER_S,
                                  .nodes.bytes_per_s = CLUSTER_PEER_PAGES_PER_S,
                                  .clients.bytes_per_s = CLUSTER_CLIENT_PAGES_PER_S };
    for (uint32_t i = 0; i < CLUSTER_SESSIONS; i++)
        a->sessions[i].bytes_per_s = CLUSTER_SESSION_PAGES_PER_S;
}

/** Any thread: one page more, of a pace of pages? */
static inline bool cluster_page_may_go(struct cluster_pace *p, uint64_t now_ns)
{
    uint64_t at_ns;

    return cluster_pace_book(p, 1, now_ns, &at_ns);
}

/** Any thread: one page more for a client, over @session (any address that is its own while it lives)? */
static inline bool cluster_client_may_ask(struct cluster_askers *a, const void *session, uint64_t now_ns)
{
    uint64_t place = ((uintptr_t)session >> 4) * UINT64_C(0x9e3779b97f4a7c15) >> 56; /* Knuth 6.4: multiplicative */

    return cluster_page_may_go(&a->sessions[place], now_ns) && cluster_page_may_go(&a->clients, now_ns);
}

#endif
