/** The application under a worker's replicas: records of namespaces, in the node's KV provider, by local calls.
 *
 * What a slot has applied is in three databases beside those of the namespaces, and all that an entry does is in one
 * batch that the provider keeps or loses as one, in order:
 *
 *     ns/<id>         key                                        -> record                    what the router reads
 *     slots/index     slot 4, namespace 4, key                   -> what was put              to find a slot's records
 *     slots/session   slot 4, epoch 8, pos 8                     -> format, floor             sessions that are open
 *     slots/session   slot 4, epoch 8, pos 8, row 2              -> format, number, epoch, pos, result, floor
 *     slots/at        slot 4                                     -> format, epoch, pos, whole or not
 *
 * (numbers in keys are big-endian, in values little-endian; a format is one byte, STORE_ROW_FORMAT; the row of a write
 * is its number mod 256, or 256 if that is the floor: see store_batch_write()). A slot stands where slots/at says, or
 * at the newest of its sessions' writes, whichever is later: such a write, which most entries are, needs no row beside
 * its own. So after a crash position, sessions and records are of one position, whichever that is (repl/README.md).
 * Nothing of it is logged by the provider: the slot's log is the log.
 *
 * Entries of all slots of the worker that are to be applied go into one batch; while it is under way the next one
 * gathers. A result is the same on every replica: it follows from the records alone. Of a PUT it is 0 or
 * CAIRN_E_EXISTS (a write-once key keeps its value, but whoever repeats his own PUT is told 0: §8), of an ERASE 0;
 * CAIRN_E_INVAL, CAIRN_E_TOOBIG: the body is not one. Where it depends on what is there, and of that neither the record
 * nor its row of the index can be read, it is CAIRN_E_CORRUPT, and nothing is done here: of this key the copy is bad,
 * which the scrub sees and repairs from another (scrub.h); all others go on. Other replicas may do what was not done
 * here: whoever is told CAIRN_E_CORRUPT of a write does not know what came of it. A namespace's database is made by the
 * first entry that names it; unless it was removed, when the entry, which a start or a copy may bring again, does
 * nothing, with CAIRN_E_STATE. */
#ifndef CAIRN_SERVER_CLUSTER_SERVICE_STORE_H
#define CAIRN_SERVER_CLUSTER_SERVICE_STORE_H

#include "sdk/core/rpc/rpc.h"
#include "server/cluster/repl/sessions.h"
#include "server/cluster/service/pace.h"
#include "server/cluster/service/store_body.h"

struct cluster_store;
struct store_who;
struct store_batch;
struct store_job;
struct store_view;

/** A slot's part, in the slot. */
struct store_slot {
    struct cairn_link link;  /* of those with entries to be applied */
    struct cairn_link waits; /* of those whose copy was refused, as there were too many */
    uint32_t slot;
    uint64_t next, to; /* entries that are to be applied: behind what is applied */
    bool in_batch;
    bool bare; /* the provider has no row of it, or the mark of a wipe alone: until something is applied or put */
    uint64_t looks_to;       /* conditional entries up to here are looked up before they are applied */
    uint64_t unreadable_ns;  /* when an entry was last refused, as a key's rows cannot be read */
    uint64_t hold_until_ns;  /* a copy is to begin: nothing more is applied until then */
    struct store_job *job;   /* wipe, put or seal, or NULL */
    struct store_view *view; /* of a copy that goes out, or NULL */
};

/** What was found of a slot at a start. */
struct store_found {
    uint32_t slot;
    bool partial; /* part of a copy, and no use */
    struct cairn_at at;
    const struct cairn_sessions *sessions; /* as of @at */
};

/** What comes again within this time is still the same trouble. A copy that is refused again and again comes each
 * minute. */
#define STORE_RECENTLY_NS (150 * CAIRN_NS_PER_S)

/** What does not go as it should; any thread's, for people. */
struct store_troubles {
    atomic_uint_fast64_t unreadable;    /* entries that were refused with CAIRN_E_CORRUPT */
    atomic_uint_fast64_t unreadable_ns; /* when the last one was */
    atomic_uint_fast64_t views_waiting; /* copies that go out and wait for room in the provider, now */
    atomic_uint_fast64_t refused;       /* pages of copies that come in */
    atomic_uint_fast64_t refused_ns;    /* when the last one was */
    atomic_bool stuck; /* what is in logs cannot be applied, as the provider's room is used up to the last byte */
};

enum cluster_ns_state {
    CLUSTER_NS_THERE, /* or not known to be gone */
    CLUSTER_NS_GONE,  /* it was removed, and will never be again */
    CLUSTER_NS_ASKED, /* that is being found out */
};

struct cluster_store_ops {
    /** An entry that is to be applied, where it stays until it is. */
    const struct cairn_log_entry *(*entry)(struct store_slot *s, uint64_t pos);
    /** The newest number of an open session's writes. */
    uint64_t (*newest)(struct store_slot *s, struct cairn_at session);
    void (*applied)(struct store_slot *s, const struct cairn_log_entry *e, int32_t result);
    void (*wiped)(struct store_slot *s);
    void (*put)(struct store_slot *s, int rc);
    void (*sealed)(struct store_slot *s);
    void (*page)(struct store_slot *s, int rc, const uint8_t *page, uint32_t len, bool last);
    /** There is room for a copy of the slot, which was refused before: copy_open() is to come again, if it is wanted
     * still. In the order in which they were refused. From within copy_close(), of another slot, too. */
    void (*may_open)(struct store_slot *s);
    /** Of a start: each slot of this worker, then the end. */
    void (*found)(void *arg, const struct store_found *f);
    void (*started)(void *arg, int rc, const struct cairn_err *err);
    /** Whether a namespace was removed; any thread's. NULL: none ever is. */
    enum cluster_ns_state (*ns_look)(void *arg, uint32_t ns);
    /** The provider can store nothing any more. */
    void (*failed)(void *arg, int rc, const char *text);
};

struct cluster_store_conf {
    struct cairn_rpc *rpc;
    const struct cairn_rpc_target *kv;
    uint32_t worker, nworkers; /* slot s is of worker s % nworkers */
    struct cluster_pace *pace; /* of copies that go out */
    const struct cluster_store_ops *ops;
    void *arg;
};

extern const struct cairn_sm_kind store_start_kind, store_apply_kind, store_job_kind, store_view_kind;

/** NULL: no memory. All that follows on the loop of conf->rpc. */
struct cluster_store *cluster_store_new(const struct cluster_store_conf *conf);
/** Nothing may be under way: cluster_store_stop(). */
void cluster_store_free(struct cluster_store *st);
/** Opens the databases and looks what is there: found(), started(). */
void cluster_store_start(struct cluster_store *st);
/** What is under way ends, and no callback runs any more; then @done(arg). */
void cluster_store_stop(struct cluster_store *st, void (*done)(void *arg), void *arg);

void store_slot_init(struct store_slot *s, uint32_t slot, uint64_t applied);
/** Entries up to @pos are to be applied: applied(), in order, later. */
void cluster_store_apply(struct cluster_store *st, struct store_slot *s, uint64_t pos);

/** Whose PUT a write-once key's record is, as applied now: done(arg, 0, its number), or CAIRN_E_NOTFOUND: nobody's;
 * or why it cannot be read. Later; not after cluster_store_who_forget(), which has to come before
 * cluster_store_stop() if it has not run by then. NULL: no memory. */
struct store_who *cluster_store_who(struct cluster_store *st, uint32_t slot, uint32_t ns, const uint8_t *key,
                                    uint32_t key_len, void (*done)(void *arg, int rc, uint64_t number), void *arg);
void cluster_store_who_forget(struct store_who *x);

/* ---- what else struct cairn_replica_ops asks; of a slot one thing at a time ---- */

void cluster_store_wipe(struct cluster_store *st, struct store_slot *s);
void cluster_store_put(struct cluster_store *st, struct store_slot *s, const uint8_t *page, uint32_t len);
/** Whether records of a page are on their way into the provider. (A wipe or a seal brings none.) */
bool cluster_store_is_putting(const struct store_slot *s);
void cluster_store_seal(struct cluster_store *st, struct store_slot *s, struct cairn_at at, const uint8_t *sessions,
                        size_t len);
bool cluster_store_copy_open(struct cluster_store *st, struct store_slot *s);
void cluster_store_copy_read(struct cluster_store *st, struct store_slot *s);
void cluster_store_copy_close(struct cluster_store *st, struct store_slot *s);

/** Whether new data is refused, as the provider has little room left and keeps that for what is in logs, of which
 * @coming bytes are to be applied yet. It is asked by each call; the answer is that of the last time. */
bool cluster_store_refuses(struct cluster_store *st, uint64_t coming);

struct store_troubles *cluster_store_troubles(struct cluster_store *st);

/** All that is applied now survives a crash when @done runs with rc 0. CAIRN_E_UNSUPPORTED: nothing survives the
 * process there. Not while another is under way. */
void cluster_store_flush(struct cluster_store *st, void (*done)(void *arg, int rc), void *arg);

#endif
