/** The leases that a store in this process has given: who lives until when. Pure. */
#ifndef CAIRN_SERVER_CLUSTER_MAP_LEASES_H
#define CAIRN_SERVER_CLUSTER_MAP_LEASES_H

#include "server/cluster/map_store.h"

enum { CAIRN_MAP_LEASES_MAX = 4096 };

struct cairn_map_leases {
    struct cairn_map_given {
        uint64_t id, ttl_ns, until_ns;
    } * given;
    uint32_t n, room;
};

void cairn_map_leases_fini(struct cairn_map_leases *ls);
/** Grants or keeps as @l asks, under the id @id that nobody had before. CAIRN_E_CLOSED, CAIRN_E_LIMIT, CAIRN_E_NOMEM,
 * CAIRN_E_INVAL. A REVOKE is looked up only: the caller ends it once its entries are gone. The code is in l->op too. */
int cairn_map_leases_do(struct cairn_map_leases *ls, struct cairn_map_lease_op *l, uint64_t id, uint64_t now_ns);
bool cairn_map_leases_lives(void *leases, uint64_t id);
void cairn_map_leases_end(struct cairn_map_leases *ls, uint64_t id);
/** Erases from @t what hangs on the lease @id, as revision @revision; what is in gone[*n], of *@n nodes so far and with
 * room for all that @t has, tells so, a reference each. CAIRN_E_NOMEM: some may be left. */
int cairn_map_leases_erase(struct cairn_map_table *t, uint64_t id, uint64_t revision, struct cairn_map_node **gone,
                           uint32_t *n);
/** The one that ends first: its id, 0 if there is none, and when. */
uint64_t cairn_map_leases_first(const struct cairn_map_leases *ls, uint64_t *until_ns);

#endif
