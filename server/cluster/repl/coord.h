/** The coordinator: MAP's rules M1 to M7, the lease arithmetic and the moves of PROTOCOL §3, §6 and §7, for one
 * cluster.
 *
 * It holds what the map store holds (records, registered incarnations) and, in memory alone, when it granted what to
 * whom. Each change of a record is stored before anybody is told; while one is under way the slot takes no other.
 *
 * A core: no I/O, no clock of its own. All on one thread. */
#ifndef CAIRN_SERVER_CLUSTER_REPL_COORD_H
#define CAIRN_SERVER_CLUSTER_REPL_COORD_H

#include "sdk/core/env/env.h"
#include "server/cluster/repl/lease.h"
#include "server/cluster/repl/slot.h"

struct cairn_coord;

/** What a node says of one slot's log when it registers. */
struct cairn_coord_log {
    uint32_t slot;
    struct cairn_at end;
};

/** What a node says of all that it has of slots when it registers. */
struct cairn_coord_told {
    const struct cairn_coord_log *logs; /* of copies that are whole, by ascending slot */
    uint32_t nlogs;
    uint32_t partial_bytes; /* slots behind them are whole, or were never there */
    const uint8_t *partial; /* a bit for each slot, from the first on: its copy is a part of one, or was emptied */
};

static inline bool cairn_bits_has(const uint8_t *bits, uint32_t bytes, uint32_t i)
{
    return i / 8 < bytes && (bits[i / 8] >> i % 8 & 1) != 0;
}

/** Of a node, in the map store. */
struct cairn_coord_process {
    uint64_t node;
    uint64_t inc;      /* registered; never given twice */
    uint64_t disk_id;  /* drawn when its disk was formatted */
    uint64_t disk_inc; /* the first incarnation with this disk: what earlier ones were members of is not on it */
    bool draining;     /* by an operator's word: gets no new replicas, and those that it has move away */
    uint64_t first_inc; /* of this process, as it says: it has all that it had as any since; 0: not known. Not stored */
    uint64_t process; /* ascends with each start of the node (kept on its disk, where a new disk begins with the time of
                         day): a REGISTER that comes twice is one, and an old one that comes late is none */
};

struct cairn_coord_node {
    struct cairn_coord_process p;
    uint64_t granted_ns;    /* our clock, when the last grant was sent; 0: never */
    uint64_t heard_ns;      /* when its last heartbeat came */
    uint64_t registered_ns; /* when p.inc was registered, if with us */
    bool has_told;          /* what its logs hold: with us, not with a predecessor */
    bool was_alive;         /* at the last tick */
    bool gone;              /* others found this process dead, and it was not heard since */
    bool stopped;           /* this process said that it ends: it is not alive, and is granted nothing */
    bool granted;           /* we have granted it something in this term */
    uint8_t *partial;       /* as it has told: see struct cairn_coord_told */
    uint32_t partial_bytes;
    uint32_t evicting;      /* changes under way that end an authority of this node: no grant until they are stored */
};

/** Where a process' log of a slot ends. */
struct cairn_coord_end {
    struct cairn_who who;
    struct cairn_at end;
};

struct cairn_coord_slot {
    struct cairn_slot_record rec, next; /* @next: being stored */
    bool storing, watched;              /* watched: something about it is to be decided as time passes */
    bool doubtful, unread;      /* whether @next was stored was not known once: it may still be; and is to be read */
    struct cairn_who evicted;   /* by @next */
    struct cairn_change change; /* that asked for @next; kind 0: our own */
    uint64_t lost_ns;           /* since when it is LOST */
    struct cairn_coord_end ends[CAIRN_REPLICAS_MAX]; /* of members that registered again */
    uint32_t nends;
    struct cairn_coord_end lost; /* the best log in an epoch that the map does not have any more; or nobody */
};

struct cairn_coord_ops {
    /** Our term is valid now, on our clock: asked after whatever is acted upon has come. */
    bool (*may_act)(struct cairn_coord *c);
    /** Writes @rec, made from epoch rec->epoch - 1, fenced by our election; later: cairn_coord_on_stored(). */
    void (*store)(struct cairn_coord *c, uint32_t slot, const struct cairn_slot_record *rec);
    /** Reads the record as the store has it, nothing older; later: cairn_coord_on_read(). NULL: who calls ends our term
     * instead of telling us of an outcome that is not known. */
    void (*read)(struct cairn_coord *c, uint32_t slot);
    /** A record is in force: whoever holds the slot is told. */
    void (*publish)(struct cairn_coord *c, uint32_t slot, const struct cairn_slot_record *rec);
    /** The answer to a proposal. May be lost. */
    void (*verdict)(struct cairn_coord *c, const struct cairn_change *change, enum cairn_verdict verdict,
                    const struct cairn_slot_record *rec);
};

struct cairn_coord {
    const struct cairn_coord_ops *ops;
    struct cairn_env *env;
    struct cairn_lease_times times;
    uint64_t alive_ns;     /* a node is alive if its last heartbeat is not older */
    uint64_t lost_wait_ns; /* then a LOST slot goes on with who is there */
    bool lost_may_shrink;  /* policy: without all members of a LOST slot */
    uint64_t term;         /* ours: the revision of our election */
    uint64_t elected_ns;
    uint64_t forerunner; /* who coordinated last, and granted itself nothing beyond its term (§6); 0: not known */
    struct cairn_coord_node *nodes; /* by id */
    uint32_t nnodes, nodes_room;
    struct cairn_coord_slot *slots;
    uint32_t nslots;
    uint32_t *watched, nwatched; /* slots: most need nothing most of the time */
    uint32_t moving;             /* slots with a move */
    uint64_t last_inc;
    uint64_t floor;      /* no epoch or incarnation that is given is below it: those are of earlier generations */
    uint64_t lost_epoch; /* a node has a log of: the map went back since it had that epoch; 0: none has */
    uint64_t takeovers, recoveries, losses; /* losses: LOST slots that went on without all their members */
    uint64_t moves_done, moves_given_up;
    void *arg;
};

/** @nslots records without epochs; cairn_coord_load() fills them. Elected now, for @term: every node counts as granted
 * now. The node that we are on gives up its own lease before (cairn_lease_give_up()). */
int cairn_coord_init(struct cairn_coord *c, const struct cairn_coord_ops *ops, struct cairn_env *env,
                     const struct cairn_lease_times *times, uint32_t nslots, uint64_t term);
void cairn_coord_fini(struct cairn_coord *c);
/** Before anything is loaded: so often the map store was put back to what it had been before. Epochs and incarnations
 * were given then that the map does not know of, so from now on they count from @number << CAIRN_GENERATION_SHIFT: none
 * is ever given twice. Every record that is older is LOST until all leases of the past have ended. */
void cairn_coord_begin_generation(struct cairn_coord *c, uint32_t number);
/** From the map store, before anything else. */
void cairn_coord_load(struct cairn_coord *c, uint32_t slot, const struct cairn_slot_record *rec);
int cairn_coord_load_node(struct cairn_coord *c, const struct cairn_coord_process *p);

/** A process has started: p->inc is set, to be stored by the caller with the rest of @p before the node is told. @told:
 * what it has on disk. The same process again gets the same answer. CAIRN_E_STATE: a later one is registered;
 * CAIRN_E_NOMEM. */
int cairn_coord_register(struct cairn_coord *c, struct cairn_coord_process *p, const struct cairn_coord_told *told);
/** M1. True: the caller sends the GRANT now, with every record that the node does not have yet. @term: of the
 * coordinator that it was sent to; one that was sent before our term counts for nothing, also if it was to us in
 * another. */
bool cairn_coord_heartbeat(struct cairn_coord *c, struct cairn_who who, uint64_t term);
/** True: @node should send its REGISTER again, for what it told a predecessor of ours of its logs is lost. */
bool cairn_coord_wants_register(struct cairn_coord *c, uint64_t node);
/** The process says that it ends, and sends no heartbeats any more; those that are still on their way count for
 * nothing. What it was granted lasts as long as ever. CAIRN_E_NOTFOUND; CAIRN_E_STATE: another process of the node is
 * registered. */
int cairn_coord_stop(struct cairn_coord *c, struct cairn_who who);
/** Others found @who dead (or, if not @gone, alive). It may be wrong: until its next heartbeat the process is not
 * alive to us, so it leads nothing new; what it was granted lasts as long as ever, and nothing is taken from it. */
void cairn_coord_found(struct cairn_coord *c, struct cairn_who who, bool gone);
void cairn_coord_propose(struct cairn_coord *c, const struct cairn_change *change);
/** @rc 0: in force. CAIRN_E_UNKNOWN: it may be, or become so; CAIRN_E_STATE: the record is not the one that it was made
 * from. Then the record is read, and until that has decided no other change of it is made, and whoever it ends the
 * authority of gets no grant. Otherwise the record is as before (a deposed coordinator has to stop). */
void cairn_coord_on_stored(struct cairn_coord *c, uint32_t slot, int rc);
/** @rc 0: *@rec is the record. If it is not the one that was to be stored, that is stored again: of several such
 * requests the store takes one. */
void cairn_coord_on_read(struct cairn_coord *c, uint32_t slot, int rc, const struct cairn_slot_record *rec);
/** What time brings: take-over, recovery. To be called every heartbeat interval or so. */
void cairn_coord_tick(struct cairn_coord *c);

/* ---- placement changes: whoever plans them (server/cluster/planner.h) decides what moves where, and how much at a
 * time ---- */

/** A slot's first record: @replicas by placement; the first whose copy is whole leads. If of none it is known that it
 * is, another node that is here stands in for the last. CAIRN_E_BUSY: of no node is that known, so whoever is away has
 * to be waited for; CAIRN_E_STATE: there is a record; CAIRN_E_NOTFOUND: a node of them is not registered. */
int cairn_coord_create(struct cairn_coord *c, uint32_t slot, const uint64_t *replicas, uint32_t n, uint32_t min_insync);
/** @to is to hold the slot (it copies, catches up and joins) and then @from not any more; 0: nobody leaves. It leads
 * in the end if @lead, or if @from leads now. CAIRN_E_BUSY: a change or a move is under way; CAIRN_E_STATE: @to holds
 * it, @from does not, or there is no room; CAIRN_E_NOTFOUND: no such node. */
int cairn_coord_move(struct cairn_coord *c, uint32_t slot, uint64_t from, uint64_t to, bool lead);
/** @node, which is in sync, is to lead. CAIRN_E_BUSY, CAIRN_E_STATE. */
int cairn_coord_lead(struct cairn_coord *c, uint32_t slot, uint64_t node);
/** Whoever is to hold the slot does not; what is done already stays done. CAIRN_E_BUSY; CAIRN_E_STATE: no move. */
int cairn_coord_move_cancel(struct cairn_coord *c, uint32_t slot);
/** @node leaves without a successor. CAIRN_E_BUSY: a change is under way, or (M3) the primary is not heard of;
 * CAIRN_E_STATE: it leads, too few would be in sync without it, or there is a move. */
int cairn_coord_drop(struct cairn_coord *c, uint32_t slot, uint64_t node);
/** From now on (or, if not @on, no longer) @node is to hold nothing: who plans moves its slots away; the caller
 * stores its process record. CAIRN_E_NOTFOUND. */
int cairn_coord_drain(struct cairn_coord *c, uint64_t node, bool on);
/** How many slots name @node: 0 when its drain is done. */
uint32_t cairn_coord_holds(const struct cairn_coord *c, uint64_t node);

/** @node is nobody any more; should it come, it is new. False: a record names it, as it is or as it is being stored; it
 * is alive; or it has the newest incarnation, from which another term counts on. */
bool cairn_coord_forget(struct cairn_coord *c, uint64_t node);

struct cairn_coord_node *cairn_coord_node(struct cairn_coord *c, uint64_t node);
bool cairn_coord_is_alive(struct cairn_coord *c, struct cairn_who who);

#endif
