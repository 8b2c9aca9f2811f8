/** The replicas of one worker: each with its part of the node's log, of the store, and of what others see.
 *
 * A replica of slot s lives on worker s % nworkers, from a start that finds something of it, or from the record that
 * places it here, on. The worker's upkeep syncs what is buffered, makes checkpoints (what is applied is flushed, then
 * logs are trimmed: after a time, after so many bytes, and at the end) and cleans slots that are not here any more. */
#ifndef CAIRN_SERVER_CLUSTER_SERVICE_SLOTS_H
#define CAIRN_SERVER_CLUSTER_SERVICE_SLOTS_H

#include "server/cluster/repl/coord.h"
#include "server/cluster/repl/replica.h"
#include "server/cluster/repl/slot_disk.h"
#include "server/cluster/service/store.h"

#include <stdatomic.h>

enum {
    CLUSTER_QUEUE_BYTES = 64 << 20,
    CLUSTER_QUEUE_SPARE_BYTES = 4 << 20,
    CLUSTER_SEGMENT_BYTES = 64 << 20,
    CLUSTER_SEGMENT_BYTES_MIN = 16 << 20, /* on a small disk */
    CLUSTER_SEGMENT_DISK_PART = 16,       /* a log has two of them set aside */
};

struct cluster_slots;

/** What the worker asks of its node. */
struct cluster_slots_ops {
    void (*send)(void *arg, const struct cairn_repl_msg *m);
    void (*propose)(void *arg, const struct cairn_change *c);
    bool (*lease_is_valid)(void *arg);
    bool (*may_go_on)(void *arg); /* of a slot that needs no lease */
    void (*map_is_old)(void *arg);
    /** As of struct cluster_store_ops. */
    enum cluster_ns_state (*ns_look)(void *arg, uint32_t ns);
    /** All that is on disk is known; or not (CAIRN_E_*). */
    void (*started)(void *arg, int rc, const struct cairn_err *err);
    /** The disk or the provider has failed: this node must not go on. */
    void (*failed)(void *arg, int rc, const char *text);
};

struct cluster_slots_conf {
    struct cairn_rpc *rpc;
    const struct cairn_rpc_target *kv;
    struct cairn_slot_disk *disk; /* its synced() calls cluster_slots_on_synced(), and so on */
    const struct cairn_replica_times *times;
    struct cluster_pace *pace;         /* the node's */
    uint32_t worker, nworkers, nslots; /* nslots: that there may be, of all workers */
    uint64_t sync_interval_ns;
    uint64_t checkpoint_ns, checkpoint_bytes; /* the latest after that time, and after so much was logged */
    uint64_t unapplied_bytes;    /* of entries: with more, a member is silent until it has applied some of them */
    atomic_uint_fast64_t *words; /* by slot, CLUSTER_WORD_*; written by the slot's worker alone */
    const struct cluster_slots_ops *ops;
    void *arg;
};

/** Whether a slot can be read here, as far as its replica knows; for all but BACKUP a lease is needed beside it, unless
 * ALONE stands with it, too. */
#define CLUSTER_WORD_ALONE (UINT64_C(1) << 63) /* it leads, and nobody else can (cairn_replica_is_alone()) */
enum {
    CLUSTER_WORD_MOVED = 0,
    CLUSTER_WORD_BUSY = 1,
    CLUSTER_WORD_BACKUP = 2, /* it does not lead, and is in sync */
    CLUSTER_WORD_LEADS = 3   /* from here on: and the epoch since which it does */
};

struct cluster_slots *cluster_slots_new(const struct cluster_slots_conf *conf);
/** Looks what is there; started(). All that follows on the worker's loop. */
void cluster_slots_start(struct cluster_slots *w);
/** Ends all replicas, with a last checkpoint; done() when nothing is under way. */
void cluster_slots_stop(struct cluster_slots *w, void (*done)(void *arg), void *arg);
void cluster_slots_free(struct cluster_slots *w);

/** Ends of the logs on this worker, by ascending slot, and which of its slots are partial, in @partial_bytes (a bit for
 * each slot of the node: struct cairn_coord_told); both malloc'ed. CAIRN_E_NOMEM. After started(). */
int cluster_slots_logs(struct cluster_slots *w, struct cairn_coord_log **logs, uint32_t *n, uint8_t **partial,
                       uint32_t *partial_bytes);
/** This process is registered: replicas come to life. Where one cannot, all have failed. */
void cluster_slots_register(struct cluster_slots *w, struct cairn_who self);
/** The map is another: every replica ends its part in the old one, and keeps what it has. cluster_slots_register()
 * follows, as another incarnation. */
void cluster_slots_cease(struct cluster_slots *w);

/** A record is in force. CAIRN_E_NOMEM: it was not learned. */
int cluster_slots_learn(struct cluster_slots *w, uint32_t slot, const struct cairn_slot_record *rec);
void cluster_slots_on_lease(struct cluster_slots *w);
/** Somebody doubts that @node is there: what is led from here asks it. */
void cluster_slots_doubt(struct cluster_slots *w, uint64_t node);
void cluster_slots_receive(struct cluster_slots *w, const struct cairn_repl_msg *m);
void cluster_slots_on_verdict(struct cluster_slots *w, const struct cairn_change *c, enum cairn_verdict verdict,
                              const struct cairn_slot_record *rec);
void cluster_slots_on_synced(struct cluster_slots *w, uint32_t slot, int rc);
void cluster_slots_on_written(struct cluster_slots *w, uint32_t slot, struct cairn_at end, int rc);

/** Whether the log of @slot has the entry @at. */
bool cluster_slots_has(struct cluster_slots *w, uint32_t slot, struct cairn_at at);
/** Whether this process is @inc and leads @slot in @epoch, as far as the replica knows. */
bool cluster_slots_leads(struct cluster_slots *w, uint32_t slot, uint64_t epoch, uint64_t inc);
/** Each entry of the logs here, behind their beginnings. CAIRN_E_BUSY: what is on disk is not known yet,
 * or some were cut and may still come back, or records of a copy are being put, which no log names. */
int cluster_slots_each_entry(struct cluster_slots *w, void (*fn)(void *arg, const struct cairn_log_entry *e),
                             void *arg);

/** As cairn_replica_write(); CAIRN_E_MOVED: no replica of the slot is here. */
int cluster_slots_write(struct cluster_slots *w, uint32_t slot, struct cairn_repl_write *rw);
/** Whether new data is refused, as cluster_store_refuses() has it. */
bool cluster_slots_refuses(struct cluster_slots *w);
/** Whether not even what is in the logs can be applied, for want of room: then a removal is of no use either, and all
 * writes are refused with CAIRN_E_NOSPACE until somebody has made room. */
bool cluster_slots_is_stuck(const struct cluster_slots *w);
/** How often a session was refused for there being as many of a slot as may be, and when last; from any thread. */
uint64_t cluster_slots_sessions_refused(const struct cluster_slots *w, uint64_t *last_ns);
/** One step of the node's leaving: gives up some of what it leads (a slot is not written meanwhile, so not all at a
 * time), and asks the primaries of the rest to go on without it. To be called again and again; 0: others have all
 * that they can have. */
uint32_t cluster_slots_leave(struct cluster_slots *w);
/** Slots that are led from here. */
uint32_t cluster_slots_led(const struct cluster_slots *w);

/** Replicas by state, and the oldest of what is to be known of them. */
struct cluster_slots_counts {
    uint32_t by_state[REPLICA_NR], partial;
};
void cluster_slots_count(struct cluster_slots *w, struct cluster_slots_counts *out);

/** The replica, or NULL; on the worker's loop. */
struct cairn_replica *cluster_slots_replica(struct cluster_slots *w, uint32_t slot);
/** What is under the replicas. */
struct cluster_store *cluster_slots_store(struct cluster_slots *w);
/** A checkpoint now, if none is under way. */
void cluster_slots_checkpoint(struct cluster_slots *w);

#endif
