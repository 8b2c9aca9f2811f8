/** A lease that is kept: granted, renewed in time, and over when its holder's own clock says so.
 *
 * Validity is counted from the sending of the request that was answered (PROTOCOL §6), so it ends here before it ends
 * in the store, whatever became of messages: with L the time that was given, rho = 0.001 how far clocks may run apart
 * from true time, and g = 50 ms for timers that are late, it lasts L (1 - 2 rho) - g from the sending.
 *
 *  GRANTING ---> HELD ---> LAPSED ---> LOST
 *  HELD ---> RELEASING ---> RELEASED
 *  GRANTING may also go to LOST and RELEASING; HELD to LOST, HELD to itself.
 *
 *  GRANTING   asked for.
 *  HELD       valid while valid_until_ns has not come; renewed each quarter of its time.
 *  LAPSED     no longer valid; a request for it is still under way.
 *  LOST       over.
 *  RELEASING  given up; the store is being told.   RELEASED  over, and the store was told, or would not listen. */
#ifndef CAIRN_SERVER_CLUSTER_MAP_LEASE_H
#define CAIRN_SERVER_CLUSTER_MAP_LEASE_H

#include "server/cluster/map_store.h"

enum { CAIRN_MAP_LEASE_RHO_PER_MILLE = 1, CAIRN_MAP_LEASE_SLACK_MS = 50 };

enum {
    CAIRN_LEASE_GRANTING,
    CAIRN_LEASE_HELD,
    CAIRN_LEASE_LAPSED,
    CAIRN_LEASE_LOST,
    CAIRN_LEASE_RELEASING,
    CAIRN_LEASE_RELEASED,
    CAIRN_LEASE_NR
};

/** Held by its user, who fills the first part. All at home. */
struct cairn_map_lease {
    struct cairn_map_store *store;
    uint64_t ttl_ms;
    /** It is HELD, LAPSED, LOST or RELEASED now: never called from within a call. In the last two it may be started
     * again, and its memory may go, from within too. */
    void (*changed)(struct cairn_map_lease *l);
    void *arg;

    /* to be read */
    struct cairn_sm sm;
    uint64_t id;             /* once HELD */
    uint64_t valid_until_ns; /* by home's clock */
    struct cairn_err err;    /* of the last request that failed */

    /* private */
    struct cairn_map_lease_op ask;
    struct cairn_timer timer;
    uint64_t keep_ns; /* when to renew */
    bool asking, release;
};

extern const struct cairn_sm_kind cairn_map_lease_kind;

void cairn_map_lease_start(struct cairn_map_lease *l);
/** Ends it, also in the store; changed() tells when. From now on it is not valid. Fine in every state that is not
 * final. */
void cairn_map_lease_release(struct cairn_map_lease *l);
/** Looks at the clock. */
bool cairn_map_lease_is_valid(const struct cairn_map_lease *l);

#endif
