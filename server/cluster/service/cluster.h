/** A node's part in a cluster: nodes that share a map store (`map: store: etcd`).
 *
 * To the node it is one more provider (number CAIRN_PROVIDER_CLUSTER), there exactly once when the map is shared and
 * not at all otherwise; like the router it is told each worker's RPC end before the workers run. One node of all is
 * elected coordinator and changes the records of slots and members; every node holds replicas of slots
 * (server/cluster/repl). */
#ifndef CAIRN_SERVER_CLUSTER_SERVICE_CLUSTER_H
#define CAIRN_SERVER_CLUSTER_SERVICE_CLUSTER_H

#include "server/port/provider.h"

#include <pthread.h>

struct cairn_cluster;
struct cairn_map_store;

enum {
    CAIRN_CLUSTER_ZONE_BYTES_MAX = 63,
    CAIRN_CLUSTER_WEIGHT_MAX = 10000,
    /* Of slots: class = replicas - 1, at most; id = class * nslots + number. So many nodes a slot's record can name. */
    CAIRN_CLUSTER_CLASSES = 8,
    CAIRN_CLUSTER_MEMBERS_MAX = 10000,
    CAIRN_CLUSTER_ADDRESSES_MAX = 4,
    CAIRN_CLUSTER_LEASE_MS_MIN = 1000,
    CAIRN_CLUSTER_LEASE_MS_MAX = 60000,
    CAIRN_CLUSTER_SLACK_NS = 50000000,    /* g of PROTOCOL §6: how late a timer may be */
    CAIRN_CLUSTER_DRIFT_PPM = 1000,       /* rho */
    CAIRN_CLUSTER_REGION_BYTES = 8 << 20, /* at most, of a large value: what goes from node to node in one piece */
};

/* Keys of the map store that the coordinator alone reads, behind all others: every node has their contents from its
 * peers, not from the store. */
#define CAIRN_CLUSTER_KEY_RECORDS "records/"
#define CAIRN_CLUSTER_KEY_MEMBERS CAIRN_CLUSTER_KEY_RECORDS "member/" /* and 16 hexadecimal digits */
#define CAIRN_CLUSTER_KEY_SLOTS   CAIRN_CLUSTER_KEY_RECORDS "slot/"   /* and 8 */

struct cairn_cluster_conf {
    struct cairn_map_store *map; /* the caller's, shared, with worker 0's loop as its home, read */
    uint64_t node_id, disk_id;   /* of the data directory */
    const char *kv;              /* the provider that holds what is applied; "": none */
    const char *extent;          /* likewise, the regions of large values */
    uint32_t slot_bits;          /* of one class, when the first is made; then the map has the last word */
    const char *zone;            /* what fails together; "": each node for itself */
    const char *addresses[CAIRN_CLUSTER_ADDRESSES_MAX]; /* where others reach this node; none: where it listens */
    uint32_t naddresses;
    uint32_t weight;   /* the node's share of the slots, relative to others; 100 is usual */
    uint64_t lease_ns; /* L of PROTOCOL §6, where the map has none yet: all nodes have the same */
    uint64_t heartbeat_ns;
    uint64_t election_ns;                   /* the coordinator's own lease in the map store */
    uint64_t resend_ns, ack_ns, learner_ns; /* struct cairn_replica_times */
    uint64_t session_ttl_ns;
    uint64_t sync_interval_ns; /* what is `buffered` is on disk after so long */
    uint64_t checkpoint_ns;    /* since the last checkpoint: then there is another; 0: 30 s */
    uint64_t checkpoint_bytes; /* logged by this node since the last checkpoint: likewise */
    uint64_t lost_wait_ns;     /* a slot that lost all members waits so long for all of them, then */
    bool lost_may_shrink;      /* goes on without those that are missing */
    uint64_t lost_after_ns;    /* a node that is silent for so long is lost for good; 0: none is */
    uint32_t moves_max;        /* of slots, at a time */
    uint32_t moves_per_node_max;
    uint32_t node_slots_max;    /* that a node may hold; 0: of as many as it can tell when it registers */
    uint64_t scrub_bytes_per_s; /* of replicas that are compared; 0: only when that is asked for, as fast as it goes */
    uint64_t scrub_interval_ns; /* rest between two rounds */
    uint64_t copy_bytes_per_s;  /* of slots that are copied from this node; 0: as fast as it goes */
    bool map_was_empty;         /* before this node claimed it: who was a member before says that something is wrong */
};

/** For the node: type, interface, handlers, kinds, run, drain, quiesce, stop, status. No schema: the node's section
 * `cluster` is. */
extern const struct cairn_provider_desc cairn_cluster_desc;

int cairn_cluster_start(const struct cairn_provider_env *env, const struct cairn_cluster_conf *conf, void **ctx,
                        struct cairn_err *err);
/** Before the workers run, once for each: @rpc's index says which. */
void cairn_cluster_attach(void *ctx, struct cairn_rpc *rpc);

/* ---- for the router, on any worker ---- */

/** Slots of each class; 0: no class was made yet. */
uint32_t cairn_cluster_slots(const struct cairn_cluster *c);
/** The slot of a routing key in the class of @replicas; false: no class was made yet. */
bool cairn_cluster_slot(const struct cairn_cluster *c, uint32_t replicas, const void *key, size_t len, uint32_t *slot);
/** Adds to @to who holds a slot and why, as this node knows it; any thread. */
void cairn_cluster_explain(struct cairn_cluster *c, uint32_t slot, json_t *to);
/** Where a slot is led from, as this node knows it; 0: not known. */
uint64_t cairn_cluster_leader(struct cairn_cluster *c, uint32_t slot);

enum cairn_cluster_op {
    CAIRN_CLUSTER_OPEN_SESSION,
    CAIRN_CLUSTER_CLOSE_SESSION, /* session_epoch, session_pos; CAIRN_E_GONE: there is none */
    CAIRN_CLUSTER_PUT,
    CAIRN_CLUSTER_ERASE,
    CAIRN_CLUSTER_ASK, /* what the write of that number came to, if it came here: nothing is changed */
};

/** A change of one key by this node, which leads the slot; held by the caller, with all that it points at, until
 * done(). */
struct cairn_cluster_write {
    struct cairn_cluster *cluster;
    uint32_t worker, slot; /* worker: the caller's */
    enum cairn_cluster_op op;
    uint32_t ns;
    bool if_absent, write_once;          /* write_once: of the namespace */
    bool sync;                           /* on disk wherever it is acknowledged, before it is answered */
    uint64_t session_epoch, session_pos; /* 0, 0: none, and @number is the key's rid if it is write-once */
    uint64_t number, floor;
    const uint8_t *key, *record;
    uint32_t key_len, record_len;
    uint64_t timeout_ns; /* not 0 */
    uint64_t lead;       /* read_begin()'s token: only while nobody else has led the slot since; 0: whoever has */
    /** On the caller's loop, later. @rc 0: it is done, with @result (0 or CAIRN_E_EXISTS); of OPEN_SESSION the
     * session is in session_epoch, session_pos, and it may be idle for session_ttl_ns. CAIRN_E_MOVED: another leads. CAIRN_E_BUSY: not now. CAIRN_E_GONE: no
     * such session, nothing was done. CAIRN_E_STATE: a number that its client has answered for. CAIRN_E_TIMEOUT: it
     * may be done, and may not. After MOVED, BUSY and TIMEOUT the same number may be repeated. Of ASK:
     * CAIRN_E_NOTFOUND: it was not done; of a number without a session the write-once key's record is asked, and a
     * result of CAIRN_E_EXISTS says that another's has put it; CAIRN_E_UNSUPPORTED: it is not write-once. */
    void (*done)(struct cairn_cluster_write *w, int rc);
    void *arg;
    int32_t result;
    uint64_t session_ttl_ns;
    bool sessions_full; /* OPEN_SESSION, CAIRN_E_BUSY: that is why */
};

void cairn_cluster_write(struct cairn_cluster_write *w);

/* ---- regions of large values (PROTOCOL §5) ---- */

struct cairn_record_region;

/** A region that this node has just stored, durably, stays until a log or a record names it, or 10 minutes after the
 * last time. CAIRN_E_BUSY: too many. */
int cairn_cluster_region_note(struct cairn_cluster *c, uint64_t id);
/** The write that names it has been done. */
void cairn_cluster_region_named(struct cairn_cluster *c, uint64_t id);

/** The other members of the slot's in-sync set are to have regions of this node; held by the caller until done(). */
struct cairn_cluster_spread {
    struct cairn_cluster *cluster;
    uint32_t worker, slot; /* worker: the caller's */
    uint64_t owner;
    const struct cairn_record_region *regions; /* noted */
    uint32_t nregions;
    uint64_t timeout_ns; /* not 0 */
    /** On the caller's loop, later. @rc CAIRN_E_MOVED: another leads, as far as is known here. Otherwise each member
     * has them, or has not said so in time: then it does not acknowledge the entry that names them before it has. */
    void (*done)(struct cairn_cluster_spread *s, int rc);
    void *arg;
};
void cairn_cluster_spread(struct cairn_cluster_spread *s);

/** For the sweeper, at home. A sweep begins: pins that are old are let go. */
void cairn_cluster_sweep_begin(struct cairn_cluster *c);
/** Calls fn(arg, id) for every region that a log here names, from one thread at a time; then done(arg) at home
 * with rc 0, or CAIRN_E_BUSY: not all is known at this moment; CAIRN_E_NOMEM; CAIRN_E_STATE: this node's part has
 * failed. */
struct cairn_cluster_named {
    struct cairn_cluster *cluster;
    void (*fn)(void *arg, uint64_t id);
    void (*done)(void *arg, int rc);
    void *arg;

    pthread_mutex_t mutex; /* private */
    int rc;
};
void cairn_cluster_named(struct cairn_cluster_named *x);
/** Of @ids (ascending) those that are pinned are taken out; how many are left. Nobody pins these before
 * cairn_cluster_spare(). */
uint32_t cairn_cluster_doom(struct cairn_cluster *c, uint64_t *ids, uint32_t n);
void cairn_cluster_spare(struct cairn_cluster *c);

/** A read of what is applied at this node: 0, or CAIRN_E_MOVED, CAIRN_E_BUSY. After the value was fetched read_end()
 * has the last word (§6): unless it says 0 the value must not be given out. */
int cairn_cluster_read_begin(const struct cairn_cluster *c, uint32_t slot, uint64_t *token);
int cairn_cluster_read_end(const struct cairn_cluster *c, uint32_t slot, uint64_t token);
/** Into @err, with CAIRN_E_BUSY, why this node has no lease, if it has none; any thread. */
void cairn_cluster_why_busy(const struct cairn_cluster *c, struct cairn_err *err);

/** This node leads the slot or is in sync, by the newest record that it knows: what it *has* of a write-once key is
 * true, whoever leads; what it does not have proves nothing (§8). No lease is needed. */
bool cairn_cluster_is_in_sync(const struct cairn_cluster *c, uint32_t slot);

/** What this node leads of the slots [@first, @first + @n). Two that are equal: no slot came or went between them. */
struct cairn_cluster_led {
    uint32_t n;
    uint64_t sum;   /* of cairn_placement_slot_mark() of each */
    uint64_t since; /* likewise, with the epochs since which it does */
};
/** 0, or CAIRN_E_BUSY: there is no lease. */
int cairn_cluster_led(const struct cairn_cluster *c, uint32_t first, uint32_t n, struct cairn_cluster_led *led);

#endif
