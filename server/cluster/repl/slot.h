/** The vocabulary of replication: who, which slot, which entry, and what they say to each other.
 *
 * PROTOCOL.md is the source; names, rules (M1-M7) and invariants (I1-I16) are its. Plain values, no behaviour but
 * comparison. */
#ifndef CAIRN_SERVER_CLUSTER_REPL_SLOT_H
#define CAIRN_SERVER_CLUSTER_REPL_SLOT_H

#include "sdk/core/base/err.h"
#include "sdk/core/base/macros.h"
#include "sdk/core/placement/placement.h"

#include <string.h>

enum {
    CAIRN_ENTRY_BODY_BYTES_MAX = 2 << 20, /* key and value of one operation */
    CAIRN_APPEND_ENTRIES_MAX = 256,       /* of one APPEND */
    CAIRN_APPEND_BYTES_MAX = 1 << 20,     /* likewise, unless one entry alone is larger */
    CAIRN_LOG_RUNS_MAX = 256,             /* changes of epoch that a log remembers above its base */
    CAIRN_SESSIONS_MANY = 1024,           /* of one slot: further ones are kept for a shorter time */
    CAIRN_SESSIONS_MAX = 16384,           /* of one slot */
    CAIRN_SESSION_WRITES_MAX = 256,       /* of one session, unanswered: between its floor and its newest number */
    CAIRN_COPY_BYTES_MAX = 1 << 20,       /* of one part of a copy, unless one record alone is larger */
};

/** Epochs and incarnations of the map's n-th generation count on from n << this (coord.h). */
enum { CAIRN_GENERATION_SHIFT = 32 };

/** A process of a node. A node that restarted is not the member that it was. 0, 0 is nobody. */
struct cairn_who {
    uint64_t node, inc;
};

static inline bool cairn_who_is(struct cairn_who a, struct cairn_who b)
{
    return a.node == b.node && a.inc == b.inc;
}

static inline bool cairn_who_is_nobody(struct cairn_who a)
{
    return a.node == 0;
}

/** An entry of a slot's log is named by both, never by pos alone. pos counts from 1; 0, 0 is before the first. */
struct cairn_at {
    uint64_t epoch, pos;
};

static inline bool cairn_at_is(struct cairn_at a, struct cairn_at b)
{
    return a.epoch == b.epoch && a.pos == b.pos;
}

/** Which of two logs' ends is the better one to go on from (M6). */
static inline bool cairn_at_is_less(struct cairn_at a, struct cairn_at b)
{
    return a.epoch < b.epoch || (a.epoch == b.epoch && a.pos < b.pos);
}

/* ---- the slot record, as the map has it ---- */

enum cairn_slot_state { CAIRN_SLOT_ACTIVE = 1, CAIRN_SLOT_TAKEOVER, CAIRN_SLOT_LOST };
enum cairn_move_phase { CAIRN_MOVE_NONE, CAIRN_MOVE_COPY, CAIRN_MOVE_JOINED };

struct cairn_slot_record {
    uint64_t epoch;
    uint64_t since; /* the epoch in which @primary became that: from then on no other was */
    enum cairn_slot_state state;
    uint32_t min_insync; /* to take writes (M7); with fewer replicas than that: all of them */
    struct cairn_who primary;
    uint32_t nreplicas, ninsync;
    uint64_t replicas[CAIRN_REPLICAS_MAX]; /* nodes */
    struct cairn_who insync[CAIRN_REPLICAS_MAX];
    struct {
        enum cairn_move_phase phase;
        struct cairn_who target;
        uint64_t from; /* the replica that leaves at the switch; 0: none */
        bool lead;     /* the target becomes primary at the switch */
    } move;
};

/** Index in @rec->insync or -1. */
static inline int cairn_slot_insync(const struct cairn_slot_record *rec, struct cairn_who w)
{
    for (uint32_t i = 0; i < rec->ninsync; i++) {
        if (cairn_who_is(rec->insync[i], w))
            return (int)i;
    }
    return -1;
}

/** Whether some incarnation of @node is in sync. */
static inline bool cairn_slot_names(const struct cairn_slot_record *rec, uint64_t node)
{
    for (uint32_t i = 0; i < rec->ninsync; i++) {
        if (rec->insync[i].node == node)
            return true;
    }
    return false;
}

/** Whether @node is to hold the slot: as a replica, or as the target of a move. */
static inline bool cairn_slot_places(const struct cairn_slot_record *rec, uint64_t node)
{
    for (uint32_t i = 0; i < rec->nreplicas; i++) {
        if (rec->replicas[i] == node)
            return true;
    }
    return rec->move.phase != CAIRN_MOVE_NONE && rec->move.target.node == node;
}

/** Without @node at least two are in sync, if two are to hold the slot: the one disk that it is on may be lost. */
static inline bool cairn_slot_may_leave(const struct cairn_slot_record *rec, uint64_t node)
{
    return rec->ninsync - cairn_slot_names(rec, node) >= MIN(2U, rec->nreplicas - 1);
}

/* ---- entries ---- */

enum cairn_entry_kind {
    CAIRN_ENTRY_START = 1, /* the first of an epoch's new primary */
    CAIRN_ENTRY_OPEN,      /* a session; its number is the entry's (epoch, pos) */
    CAIRN_ENTRY_EXPIRE,    /* of @session */
    CAIRN_ENTRY_WRITE,
};

/** What identifies a client's write. A session of 0, 0: of a write-once namespace, where the key's rid decides (§8). */
struct cairn_rid {
    struct cairn_at session;
    uint64_t seq;
};

struct cairn_log_entry {
    struct cairn_at at;
    enum cairn_entry_kind kind;
    bool sync; /* on disk before it is acknowledged */
    struct cairn_rid rid;
    uint64_t floor;      /* the lowest number of the session that its client waits for */
    const uint8_t *body; /* what to do: for the application alone */
    uint32_t body_len;
};

/* ---- messages between replicas (§2) ---- */

enum cairn_repl_kind {
    CAIRN_REPL_APPEND = 1,
    CAIRN_REPL_ACK,
    CAIRN_REPL_NACK,
    CAIRN_REPL_MATCH,
    CAIRN_REPL_COPY,
    CAIRN_REPL_COPIED,
};

/** What a COPY carries; they come in this order, numbered from 0. */
enum cairn_copy_part {
    CAIRN_COPY_BEGIN = 1, /* whatever is there is to go */
    CAIRN_COPY_RECORDS,   /* in the application's form */
    CAIRN_COPY_SESSIONS,  /* the next bytes of the image */
    CAIRN_COPY_END,
};

/** Where an epoch begins in a log. */
struct cairn_run {
    uint64_t epoch, first;
};

/** Whoever receives one drops it if @to is not himself, incarnation included. Arrays are borrowed for the call. */
struct cairn_repl_msg {
    enum cairn_repl_kind kind;
    uint32_t slot;
    struct cairn_who from, to;
    uint64_t epoch; /* the sender's, of the slot */

    /* APPEND */
    struct cairn_at prev;
    const struct cairn_log_entry *entries;
    uint32_t nentries;
    uint64_t commit;

    /* ACK: cumulative */
    uint64_t matched, synced;
    bool leaves;   /* its process ends soon: not to be waited for */
    uint64_t base; /* where its log begins */

    /* MATCH: the sender's log; what it has applied cannot be cut */
    struct cairn_at end, applied;
    const struct cairn_run *runs;
    uint32_t nruns;
    bool partial; /* what is there is part of a copy, and no use */

    /* COPY of all that is applied up to @prev, and its acknowledgement */
    uint64_t job;    /* ascends with each copy that a process makes of the slot */
    uint64_t number; /* of this part; COPIED: of the part that is wanted next */
    enum cairn_copy_part part;
    const uint8_t *bytes;
    uint32_t len;
};

/* ---- what a replica wants of MAP (§2 PROPOSE) ---- */

enum cairn_change_kind {
    CAIRN_CHANGE_REMOVE = 1, /* @who from the in-sync set */
    CAIRN_CHANGE_JOIN,       /* @who into it */
    CAIRN_CHANGE_ACTIVE,     /* TAKEOVER is over */
    CAIRN_CHANGE_RELEASE,    /* the primary has stopped and serves no more in this epoch */
};

struct cairn_change {
    enum cairn_change_kind kind;
    uint32_t slot;
    uint64_t epoch;        /* the change is made from this one, or not at all */
    struct cairn_who from; /* who proposes */
    struct cairn_who who;
    bool leaves; /* REMOVE: @who has said that it stops. For people */
};

enum cairn_verdict {
    CAIRN_VERDICT_COMMITTED = 1,
    CAIRN_VERDICT_REFUSED,     /* the epoch has moved on, or @from is not the primary: the newer record follows */
    CAIRN_VERDICT_REFUSED_INC, /* for good: @who has another incarnation, or is no replica of the slot */
};

#endif
