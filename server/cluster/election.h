/** One node of many, elected over the map store: it holds a key that hangs on its lease.
 *
 * Whoever is elected has a *fence*, the revision that made its key: every change it asks for names it
 * (cairn_election_fence()), so what a deposed one still has under way is refused by the store. Beyond that it acts only
 * while its lease is valid on its own clock, counted from sending (map_lease.h): its successor is elected later.
 *
 *  LOOKING ---> FOLLOWING ---> PAUSING ---> LEASING ---> CLAIMING ---> ELECTED ---> LEAVING ---> LOOKING
 *  CLAIMING ---> CHECKING ---> ELECTED
 *  LOOKING may also go to PAUSING; PAUSING to FOLLOWING; LEASING, CLAIMING and CHECKING to LEAVING;
 *  LEASING, CLAIMING, CHECKING and ELECTED to LOOKING.
 *  all may also go to ENDED.
 *
 *  LOOKING    the view has not told yet who holds the key.
 *  FOLLOWING  another does.
 *  PAUSING    nobody does: a random moment, so that not all candidates ask at once, or longer after a failure, or for
 *             CAIRN_ELECTION_BARRED_TERMS while we are barred.
 *  LEASING    a lease is being granted.
 *  CLAIMING   the key is being made, on the condition that there is none.
 *  CHECKING   that answer was lost: the key is read.
 *  ELECTED    the key is ours; whether we may act says the lease.
 *  LEAVING    the lease is given up, or its last request awaited; nothing of ours is left in the store then, but for a
 *             lease that runs out.
 *  ENDED      resigned. */
#ifndef CAIRN_SERVER_CLUSTER_ELECTION_H
#define CAIRN_SERVER_CLUSTER_ELECTION_H

#include "server/cluster/map_lease.h"

enum {
    CAIRN_ELECTION_PAUSE_MS = 100,
    CAIRN_ELECTION_BARRED_TERMS = 15, /* of ttl_ms: far longer than others who may stand need for it */
};

enum {
    CAIRN_ELECTION_LOOKING,
    CAIRN_ELECTION_FOLLOWING,
    CAIRN_ELECTION_PAUSING,
    CAIRN_ELECTION_LEASING,
    CAIRN_ELECTION_CLAIMING,
    CAIRN_ELECTION_CHECKING,
    CAIRN_ELECTION_ELECTED,
    CAIRN_ELECTION_LEAVING,
    CAIRN_ELECTION_ENDED,
    CAIRN_ELECTION_NR
};

/** Held by its user, who fills the first part. All at the store's home. */
struct cairn_election {
    struct cairn_map_store *store;
    const char *key;
    const uint8_t *value; /* what others are to know of the elected one */
    uint32_t value_len;
    uint64_t ttl_ms;
    /** It leaves the key to others, and stands only when that has been free for CAIRN_ELECTION_BARRED_TERMS: whoever
     * had a reason against us may be gone, and nobody else there. May change at any time. */
    bool barred;
    /** Elected, no longer so, another holder, or ended (then its memory may go, from within too). Never called from
     * within a call. */
    void (*changed)(struct cairn_election *e);
    void *arg;

    /* to be read */
    struct cairn_sm sm;
    uint64_t fence;                /* 0: not elected */
    struct cairn_map_node *holder; /* of the key as the view has it, NULL if there is none; ours to free */

    /* private */
    struct cairn_map_lease lease;
    struct cairn_map_watch watch;
    struct cairn_map_write write;
    struct cairn_map_change change;
    struct cairn_map_read read;
    struct cairn_timer timer;
    struct cairn_task task;
    uint64_t free_ns; /* PAUSING: since when nobody held the key */
    bool current, other, stopping, failed;
};

extern const struct cairn_sm_kind cairn_election_kind;
extern const struct cairn_sm_kind *const cairn_election_kinds[]; /* and its lease's; NULL-terminated */

void cairn_election_start(struct cairn_election *e);
/** Resigns; changed() tells when it has ended. From now on it is not valid. */
void cairn_election_stop(struct cairn_election *e);
/** Elected, and the lease is valid now. */
bool cairn_election_is_valid(const struct cairn_election *e);
/** Puts the fence into @c. False, and nothing done, when we are not elected with a valid lease. */
bool cairn_election_fence(const struct cairn_election *e, struct cairn_map_change *c);

#endif
