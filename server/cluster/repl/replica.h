/** One replica of one slot: PROTOCOL §4, with the primary's part of §3 and §8.
 *
 *  OUT --> LEARNER --> BACKUP --> TAKEOVER --> ACTIVE --> PAUSED --> ACTIVE
 *                                                |
 *                                                +----> RELEASED
 *  ACTIVE may also go to RELEASED. As the newest map says, all but GONE may also go to OUT, LEARNER, BACKUP, TAKEOVER
 *  and
 *  RESTARTED; OUT to GONE.
 *
 *  OUT        the map does not place the slot here.
 *  LEARNER    to hold it, but not in sync: takes the primary's entries, counts for nothing.
 *  BACKUP     in sync: an acknowledged entry is here.
 *  TAKEOVER   primary of a new epoch; serves nothing until every member has its whole log.
 *  ACTIVE     primary; answers while its lease is valid, or it is alone.    PAUSED  neither: log and wait set stay.
 *  RELEASED   has promised MAP to serve no more in this epoch.
 *  RESTARTED  the map names an earlier incarnation of this node: serves and acknowledges nothing until MAP has decided.
 *  GONE       ended.
 *
 * A core: no I/O, no clock, no thread of its own. What happens comes in by cairn_replica_*(); what is to be done goes
 * out by struct cairn_replica_ops, whose completions never run inside the call that began them. All on one thread. */
#ifndef CAIRN_SERVER_CLUSTER_REPL_REPLICA_H
#define CAIRN_SERVER_CLUSTER_REPL_REPLICA_H

#include "sdk/core/sm/sm.h"
#include "server/cluster/repl/sessions.h"
#include "server/cluster/repl/slot_log.h"

enum {
    REPLICA_OUT,
    REPLICA_LEARNER,
    REPLICA_BACKUP,
    REPLICA_TAKEOVER,
    REPLICA_ACTIVE,
    REPLICA_PAUSED,
    REPLICA_RELEASED,
    REPLICA_RESTARTED,
    REPLICA_GONE,
    REPLICA_NR
};

struct replica_copy; /* replica_copy.c */
struct replica_load; /* replica_load.c */

enum {
    CAIRN_PEERS_MAX = CAIRN_REPLICAS_MAX + 1, /* the others that hold the slot, and the target of a move */
    CAIRN_APPEND_WINDOW = 1024,               /* entries on their way to one peer */
    CAIRN_UNCOMMITTED_MAX = 4096,             /* entries of one slot that wait for acknowledgement */
};

struct cairn_replica;

/** What a replica asks of its node. */
struct cairn_replica_ops {
    /** The entries follow the log's end. They can be read back at once; they are on disk after log_sync(). */
    void (*log_append)(struct cairn_replica *r, const struct cairn_log_entry *entries, uint32_t n);
    void (*log_cut)(struct cairn_replica *r, uint64_t pos);
    /** Later: cairn_replica_on_synced(). One at a time. */
    void (*log_sync)(struct cairn_replica *r);
    /** Later: cairn_replica_on_written() with the log's end as it is now: what is up to there survives the process,
     * though perhaps not the machine. Any number of times. */
    void (*log_write)(struct cairn_replica *r);
    /** Borrowed until the log is cut or trimmed. False: not in memory; cairn_replica_on_loaded() comes when it is. */
    bool (*log_get)(struct cairn_replica *r, uint64_t pos, struct cairn_log_entry *e);
    /** Whether the log may be given an entry that nobody waits for. */
    bool (*log_has_room)(struct cairn_replica *r);
    /** May be lost, late, repeated, out of order. Borrowed. */
    void (*send)(struct cairn_replica *r, const struct cairn_repl_msg *m);
    /** Likewise; an answer comes by cairn_replica_on_verdict(). */
    void (*propose)(struct cairn_replica *r, const struct cairn_change *c);
    /** The next committed entry, in order; later: cairn_replica_on_applied(). */
    void (*apply)(struct cairn_replica *r, const struct cairn_log_entry *e);
    bool (*lease_is_valid)(struct cairn_replica *r);
    /** Without a lease, in sync alone (cairn_replica_is_alone()): false if this node has failed. */
    bool (*may_go_on)(struct cairn_replica *r);
    /** Somebody speaks of a newer epoch: the map is wanted. */
    void (*map_is_old)(struct cairn_replica *r, uint64_t epoch);

    /* ---- copies (§7), at their source ---- */

    /** Opens a view of the records as they are applied now; what is applied later does not show in it. False: not now,
     * for enough copies are under way on this node. */
    bool (*copy_open)(struct cairn_replica *r);
    /** The view's next records; later: cairn_replica_on_page(). Not after copy_close(). */
    void (*copy_read)(struct cairn_replica *r);
    /** The view is not needed any more, and another slot may have one; also when there is none. */
    void (*copy_close)(struct cairn_replica *r);

    /* ---- and where the records go; one at a time ---- */

    /** First a mark is on disk that what is here is partial; then log, checkpoint, records are deleted. Where there is
     * none of these it is enough that the mark gets to the disk no later than what is put behind it. Later:
     * cairn_replica_on_wiped(). */
    void (*wipe)(struct cairn_replica *r);
    /** Later: cairn_replica_on_put(). */
    void (*copy_put)(struct cairn_replica *r, const uint8_t *page, uint32_t len);
    /** A checkpoint of the records that were put and of @sessions (an image; borrowed until then), at @at; when it is
     * on disk the mark is taken away and an empty log begins behind @at. Later: cairn_replica_on_sealed(). */
    void (*copy_seal)(struct cairn_replica *r, struct cairn_at at, const uint8_t *sessions, size_t len);
};

/** Times of the protocol, the same for all slots. */
struct cairn_replica_times {
    uint64_t resend_ns;      /* without an answer for so long, send again */
    uint64_t ack_ns;         /* T_ack: a member that is silent for so long is to be removed */
    uint64_t learner_ns;     /* a learner says so often that it is there */
    uint64_t session_ttl_ns; /* an idle session ends; where there are many, sooner */
};

/** A client's write, held by the caller until done(). */
struct cairn_repl_write {
    enum cairn_entry_kind kind; /* OPEN, WRITE, or EXPIRE: its client ends */
    struct cairn_rid rid;
    uint64_t floor;
    bool sync;
    /* WRITE: nothing is to be done. CAIRN_E_NOTFOUND: nothing was, either; else as it was answered. Without a session:
     * done() when all is applied that the log has now, whatever the result. */
    bool asks;
    const uint8_t *body; /* until the call returns */
    uint32_t body_len;
    /** rc: 0 and what apply() said, or the new session's number in @at; CAIRN_E_MOVED: another is primary, or will be;
     * CAIRN_E_BUSY: no lease, too few in sync, too much in flight, or as many sessions as there may be; CAIRN_E_GONE: no such session, nothing was done
     * now. After MOVED and BUSY the same rid may be, or become, done: repeat it. */
    void (*done)(struct cairn_repl_write *w, int rc);
    void *arg;
    int32_t result;
    struct cairn_at at;
    uint64_t ttl_ns; /* OPEN: the session may be idle for so long */
    bool full;       /* OPEN, CAIRN_E_BUSY: since there are as many sessions as may be, all in use */

    struct cairn_link link; /* private */
};

struct replica_peer {
    struct cairn_who who; /* inc 0: a learner that was not heard of yet */
    enum {
        PEER_SILENT, /* a learner that has to speak first */
        PEER_PROBED, /* one APPEND at a time, until it answers */
        PEER_STREAM, /* as many as the window allows */
        PEER_COPY,   /* needs a copy first, or is getting it: replica_copy.c */
    } phase;
    bool member;            /* of the in-sync set of our epoch */
    uint64_t first;         /* where sending began in this epoch */
    uint64_t next;          /* the next entry to be sent */
    uint64_t matched;       /* acknowledged in this epoch; what is wanted for a commit */
    uint64_t commit_sent;   /* the newest commit mark that it was sent */
    uint64_t sent_ns;       /* of the last message; 0: it owes us nothing */
    uint64_t owes_ns;       /* since when it has owed us an answer; 0: it does not */
    bool leaves;            /* it said so: its process ends soon */
    bool doubted;           /* others say that it is gone: less silence is enough */
    uint64_t base;          /* of the copy that it was given: who speaks of a log that begins before it spoke before */
    uint32_t copies_failed; /* one after the other */
    uint64_t copy_ns;       /* the next one begins not before */
};

struct cairn_replica {
    struct cairn_sm sm;
    const struct cairn_replica_ops *ops;
    const struct cairn_replica_times *times;
    struct cairn_env *env;
    void *arg; /* the node's */
    uint32_t slot;
    struct cairn_who self;

    struct cairn_slot_record rec; /* the newest that was learned; epoch 0: none */
    uint64_t heard_epoch;         /* the greatest that another spoke of */
    struct cairn_slot_log log;
    struct cairn_sessions sessions;
    uint64_t commit, applied, applying; /* applied <= applying <= commit <= end */
    uint64_t last_sync_pos;             /* the newest entry that has to be on disk before it counts */
    uint64_t cut_pos;                   /* the entry behind the newest cut; 0: none was made */
    bool syncing;                       /* a log_sync() is under way, and covers entries up to: */
    uint64_t syncing_pos;

    /* backup and learner */
    uint64_t matched;          /* our log is the primary's up to here, in this epoch */
    bool ack_owed;             /* an ACK waits for the disk */
    uint64_t heard_ns;         /* when the primary of this epoch spoke to us; 0: not yet */
    uint64_t learner_wait_ns;  /* until a learner says again that it is there */
    bool partial;              /* what is here is part of a copy, and no use */
    bool has_pages;            /* of a copy, or perhaps of one before our start: until a wipe */
    bool cleaning;             /* a wipe() is under way that no copy has asked for */
    int put_rc;                /* why pages are refused, as it was said; 0: they are not */
    struct replica_load *load; /* the copy that comes in, or NULL */
    uint64_t loaded_job;       /* the newest of this primary's; a late word of an older one says nothing */
    bool leaves;               /* our process ends soon, which every ACK says */
    uint64_t leave_said_ns;    /* when one said it for no other reason */

    /* primary */
    struct replica_peer *peers; /* while it leads: most replicas of a node do not, and there are thousands */
    uint32_t npeers, peers_room;
    uint64_t looked_ns;         /* when it was last looked how long they have owed us an answer */
    uint64_t sessions_over_ns;  /* no session ends before that */
    uint64_t start_pos;         /* of this epoch's START entry, while TAKEOVER */
    struct cairn_change change; /* proposed and not answered; kind 0: none */
    uint64_t change_ns;         /* when it was sent last */
    struct cairn_who joiner;    /* of a JOIN that may have been committed: in the wait set; or nobody */
    bool release_wanted;        /* as soon as nothing is uncommitted */
    struct replica_copy *copy;  /* that goes out, or NULL */
    uint64_t copy_jobs;         /* how many there were */
    struct cairn_link waiting;  /* cairn_repl_write by at.pos */
    struct cairn_link answers;  /* those whose result is known: answered by @answer */
    struct cairn_task answer;
    struct cairn_timer timer;
};

extern const struct cairn_sm_kind cairn_replica_kind, cairn_replica_copy_kind, cairn_replica_load_kind;

/** In OUT, with an empty log. @arg is the caller's. */
void cairn_replica_init(struct cairn_replica *r, const struct cairn_replica_ops *ops,
                        const struct cairn_replica_times *times, struct cairn_env *env, struct cairn_sm_set *set,
                        uint32_t slot, struct cairn_who self);
/** Answers what waits (CAIRN_E_SHUTDOWN) and ends. */
void cairn_replica_fini(struct cairn_replica *r);

/* ---- what was on disk, before the first record is learned ---- */

/** A checkpoint: records are those of @base, and @sessions (its image) too. CAIRN_E_CORRUPT, CAIRN_E_FORMAT,
 * CAIRN_E_NOMEM. */
int cairn_replica_restore(struct cairn_replica *r, struct cairn_at base, const uint8_t *sessions, size_t len);
/** The map is another (../map_generation.h): what was learned of the old one counts for nothing, and neither does who
 * we are in it. The log stays, with what is applied, and whatever of that is under way; in OUT until a record is
 * learned as another incarnation, which cairn_replica_return() names. */
void cairn_replica_cease(struct cairn_replica *r);
void cairn_replica_return(struct cairn_replica *r, uint64_t inc);
/** Instead: the mark of wipe() was found. */
void cairn_replica_restore_partial(struct cairn_replica *r);
/** The log's entries behind the checkpoint, in order. CAIRN_E_NOMEM, CAIRN_E_LIMIT. */
int cairn_replica_restore_entry(struct cairn_replica *r, const struct cairn_log_entry *e);

/* ---- what happens ---- */

/** A record of the map; older ones than the one held are ignored. CAIRN_E_NOMEM: not learned; then the grant that it
 * came with must not be taken (M1), it will come again. */
int cairn_replica_learn(struct cairn_replica *r, const struct cairn_slot_record *rec);
void cairn_replica_receive(struct cairn_replica *r, const struct cairn_repl_msg *m);
/** Of an APPEND for whose entries there is no room: what of ours it says is committed. It is not answered. */
void cairn_replica_hear_commit(struct cairn_replica *r, const struct cairn_repl_msg *m);
/** What is `buffered` goes to the disk now; to be called every sync_interval or sync_bytes (§5). */
void cairn_replica_flush(struct cairn_replica *r);
void cairn_replica_on_synced(struct cairn_replica *r);
void cairn_replica_on_written(struct cairn_replica *r, struct cairn_at end);
void cairn_replica_on_loaded(struct cairn_replica *r);
void cairn_replica_on_applied(struct cairn_replica *r, const struct cairn_log_entry *e, int32_t result);
/** copy_open() was refused and would not be now; it comes later, if it is wanted still. */
void cairn_replica_may_copy(struct cairn_replica *r);
/** The next page of the view; @rc < 0: it cannot be read. Borrowed until the next copy_read() or copy_close(); @last:
 * it was the last. */
void cairn_replica_on_page(struct cairn_replica *r, int rc, const uint8_t *page, uint32_t len, bool last);
void cairn_replica_on_wiped(struct cairn_replica *r);
/** @rc < 0: the page was not taken (no space, or it makes no sense): the copy is given up, and what came of it erased,
 * by wipe(). */
void cairn_replica_on_put(struct cairn_replica *r, int rc);
void cairn_replica_on_sealed(struct cairn_replica *r);
/** MAP's answer to a proposal; @rec: the record as it is now, or NULL. */
void cairn_replica_on_verdict(struct cairn_replica *r, const struct cairn_change *c, enum cairn_verdict verdict,
                              const struct cairn_slot_record *rec);
/** The node's lease was renewed. */
void cairn_replica_on_lease(struct cairn_replica *r);

/* ---- clients ---- */

/** done() comes later, except when refused: then the code is returned and done() will not run. */
int cairn_replica_write(struct cairn_replica *r, struct cairn_repl_write *w);
/** The caller waits no longer for @w, which was taken: done() does not run. It may be carried out all the same. */
void cairn_replica_write_forget(struct cairn_repl_write *w);
/** Before and again after the value was fetched (§6): 0, CAIRN_E_MOVED or CAIRN_E_BUSY. */
int cairn_replica_may_read(struct cairn_replica *r);
/** A write-once value that was found here may be given out (§8). */
bool cairn_replica_may_read_found(const struct cairn_replica *r);

/** Somebody doubts that @node is there. A primary asks it for an ACK if it owes none: T_ack decides, as ever. */
void cairn_replica_doubt(struct cairn_replica *r, uint64_t node);

/* ---- operators, migration ---- */

/** Stops writing, waits until nothing is uncommitted and gives the slot up (RELEASED). */
void cairn_replica_release(struct cairn_replica *r);
/** What a process that is to end can do for the slot before, so that nobody has to wait for its silence. To be called
 * again and again, until it says REPLICA_LEFT; nothing is undone if it never does. @may_release: a slot that is led
 * is given up now. */
enum cairn_replica_leaving {
    REPLICA_LEFT,     /* others have the slot, or nobody else can */
    REPLICA_PARTS,    /* it follows: the primary was asked to go on without it */
    REPLICA_RELEASES, /* it leads, and gives the slot up */
    REPLICA_LEADS,    /* it leads, and another could */
};
enum cairn_replica_leaving cairn_replica_leave(struct cairn_replica *r, bool may_release);
/** CLEAN: the slot is not this node's any more, and its new primary is known to be ACTIVE (I14): all of it is
 * deleted, by wipe(); so is what came of a copy that is not wanted any more. True: that has begun. To be called now
 * and then for whoever is OUT. */
bool cairn_replica_clean(struct cairn_replica *r);

/* ---- checkpoints ---- */

/** Where a checkpoint would stand now, and the image of the sessions for it (malloc'ed, the caller's); the caller
 * adds the records as they are applied in this moment. CAIRN_E_NOMEM; CAIRN_E_STATE: there is nothing whole to be
 * kept. */
int cairn_replica_checkpoint(struct cairn_replica *r, struct cairn_at *at, uint8_t **sessions, size_t *len);
/** Entries up to @pos are in a checkpoint, on disk: the log forgets what no peer needs. Returns its new base. */
uint64_t cairn_replica_trim(struct cairn_replica *r, uint64_t pos);

static inline bool cairn_replica_is_primary(const struct cairn_replica *r)
{
    return r->sm.state >= REPLICA_TAKEOVER && r->sm.state <= REPLICA_RELEASED;
}
/** In sync alone, and no JOIN of ours is open: nobody else can be made primary, since MAP promotes members only, and
 * there is no other unless this process asks for one. So it needs no lease (README.md). Not where another generation of
 * the map is heard of than the record's: in that one others may lead. */
static inline bool cairn_replica_is_alone(const struct cairn_replica *r)
{
    return r->rec.ninsync == 1 && cairn_who_is(r->rec.insync[0], r->self) && cairn_who_is_nobody(r->joiner) &&
           r->heard_epoch >> CAIRN_GENERATION_SHIFT <= r->rec.epoch >> CAIRN_GENERATION_SHIFT;
}
/** Whether a loss of power may still bring back entries that were cut: then what they name is still named. */
static inline bool cairn_replica_may_come_back(const struct cairn_replica *r)
{
    return r->cut_pos > r->log.synced;
}
/** As process @inc, in @epoch: it alone says of what it named there that it is no more. */
static inline bool cairn_replica_leads(const struct cairn_replica *r, uint64_t epoch, uint64_t inc)
{
    return r->rec.epoch == epoch && r->self.inc == inc && cairn_replica_is_primary(r);
}

#endif
