/** What the router asks of the cluster's service: writes to slots and leave to read. Any worker's thread. */
#ifndef CAIRN_SERVER_CLUSTER_SERVICE_CLUSTER_WRITE_H
#define CAIRN_SERVER_CLUSTER_SERVICE_CLUSTER_WRITE_H

#include "sdk/core/loop/loop.h"
#include "server/cluster/repl/slot.h"

struct cairn_cluster;

enum { CAIRN_CLUSTER_REPLICAS_MAX = 4 }; /* of a namespace: as many classes of slots are there */

/** A client's write, or (kind OPEN) its session; held by the caller until done(). It goes to the slot's worker and comes
 * back. */
struct cairn_cluster_write {
    uint32_t slot;
    enum cairn_entry_kind kind; /* OPEN or WRITE */
    struct cairn_rid rid;
    uint64_t floor;
    bool sync;
    const uint8_t *body; /* store_body.h; until done() */
    uint32_t body_len;
    struct cairn_loop *loop; /* the caller's */
    uint64_t deadline_ns;    /* by its clock; then CAIRN_E_TIMEOUT, and it may yet be done */
    /** On the caller's loop, never from within the call. @rc as struct cairn_repl_write.done() says, or CAIRN_E_NOTFOUND: this node
     * has nothing of the slot (to its client that is MOVED). */
    void (*done)(struct cairn_cluster_write *w);
    void *arg;

    int rc;
    int32_t result;     /* what apply() said of it */
    struct cairn_at at; /* of OPEN: the session */

    /* the service's */
    struct cairn_task task;
    struct cairn_link link;
};

void cairn_cluster_write(struct cairn_cluster *c, struct cairn_cluster_write *w);

/** Whether this node leads @slot and may answer reads, without a hop. *@token is for read_end(), after the value was fetched:
 * CAIRN_E_MOVED or CAIRN_E_BUSY (no lease, a take-over), else 0 (PROTOCOL §6: at the last moment before the answer). */
int cairn_cluster_read_begin(struct cairn_cluster *c, uint32_t slot, uint64_t *token);
int cairn_cluster_read_end(struct cairn_cluster *c, uint32_t slot, uint64_t token);

/** Slots of one class; 0: there is none yet. */
uint32_t cairn_cluster_slots(const struct cairn_cluster *c);

#endif
