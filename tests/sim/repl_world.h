/** A cluster of replicas on the simulated world: nodes with disks, MAP (the coordinator over a store that loses
 * nothing), and clients that write and read and remember what they saw.
 *
 * World node 0 is MAP, 1 to nodes are the cluster's, the clients follow, a second host for MAP, and the map store: it
 * has no node's code, but a place in the network. Disks lose what was not synced; MAP can be replaced by a successor
 * that knows only what was stored. */
#ifndef CAIRN_TESTS_SIM_REPL_WORLD_H
#define CAIRN_TESTS_SIM_REPL_WORLD_H

#include "server/cluster/repl/repl_wire.h"
#include "server/cluster/repl/replica.h"
#include "tests/sim/linear.h"
#include "tests/sim/world.h"

#include <stdio.h>

enum {
    RW_NODES_MAX = 7,
    RW_SLOTS_MAX = 4,
    RW_KEYS = 3,       /* rewritable, the first ones */
    RW_ONCE_KEYS = 40, /* write-once, behind them */
    RW_ALL_KEYS = RW_KEYS + RW_ONCE_KEYS,
    RW_CLIENTS_MAX = 6,
    RW_OPS_MAX = 4096,
};

struct repl_world_conf {
    uint64_t seed;
    uint32_t nodes, slots, replicas, clients, min_insync;
    uint32_t readers;          /* of the clients: they never write, so that no write that is refused keeps them busy */
    uint32_t buffered_percent; /* of the writes; the others are `sync` */
    uint64_t flush_ns;         /* how often what is buffered goes to the disk */
    uint32_t once_percent;     /* of the operations: on write-once keys */
    uint64_t latency_ns, jitter_ns;
    uint32_t loss_ppm, twice_ppm, straggler_ppm;
    uint64_t straggler_ns;  /* packets that come so late */
    uint64_t disk_ns;       /* a sync takes up to this */
    uint64_t checkpoint_ns; /* how often a node makes one, of one slot; 0: never, and no log is trimmed */
    bool keeps_little;      /* of a log, behind its checkpoint */
    bool some_keep_all;     /* every other node: it can lead any other through the whole history */
    uint64_t page_ns;       /* a copy's source takes so long for a page; 0: as the disk does */
    uint32_t large_percent; /* of the values that are put: they are in a region each, which their entry names */
    bool rumours;           /* nodes are said to be dead that are not, and the other way round */
    uint64_t sweep_ns;      /* how often a node looks for regions that nothing names; 0: never */
    bool
        rivals; /* terms end when they are not kept, and another host coordinates then; not before all slots are made */
    bool traces;       /* the trace (world_counts()) has the states of all replicas at every event, too */
    uint64_t fails_at; /* of the tests' own: with this event an invariant does not hold; 0: never */
};

struct rw_record {
    uint64_t value, rid; /* 0: nothing */
    uint64_t region;     /* that holds it; 0: it is here itself */
};

/* Entries behind @base. */
struct rw_entry {
    struct cairn_log_entry e;
    uint64_t body[3]; /* what to do with which key, the value, its region */
};

struct rw_log {
    struct rw_entry *all;
    uint32_t n, room;
    struct cairn_at base;
};

struct rw_checkpoint {
    struct cairn_at at; /* pos 0: none */
    struct rw_record index[RW_ALL_KEYS];
    uint8_t *sessions;
    size_t len;
};

/* What a disk may refuse (EIO), once each time that it is told to. */
enum rw_disk_op {
    RW_DISK_APPEND, /* of an entry, or of a cut, to the slot log */
    RW_DISK_WRITE,
    RW_DISK_SYNC,
    RW_DISK_CHECKPOINT, /* of the store, as all that follow but the last */
    RW_DISK_APPLY,
    RW_DISK_WIPE,
    RW_DISK_PUT,
    RW_DISK_SEAL,
    RW_DISK_READ,  /* of a page of a copy */
    RW_DISK_START, /* reading what is there */
    RW_DISK_NR
};

/* One slot on one node: what its disk has, what it has for sure, and the replica in memory. */
struct rw_slot {
    struct cairn_replica replica;
    struct repl_node *node;
    struct rw_log log, durable, syncing; /* as it is; as after the newest sync; as the sync under way will make it */
    struct cairn_at written, writing; /* what the end of the process alone leaves: now; as the write under way will */
    struct rw_checkpoint checkpoint, making;
    bool partial; /* the mark of a wipe */
    struct cairn_timer sync_done, write_done, checkpoint_done,
        disk_done; /* disk_done: of a wipe, a page put, a seal, a page read */
    enum { RW_NOTHING, RW_WIPE, RW_PUT, RW_SEAL } disk_doing;
    struct cairn_timer page_done, apply_again;
    struct cairn_task apply_task;
    uint64_t apply_next, apply_to;
    struct rw_record index[RW_ALL_KEYS]; /* committed and applied */
    struct rw_record view[RW_ALL_KEYS];  /* of a copy that goes out */
    uint32_t view_next;
    uint8_t page[512]; /* of the view, on its way */
    uint64_t epoch;    /* the newest that this process was seen in */
    uint64_t checked;  /* up to here the committed log was compared with the truth */
    bool owes;         /* what is behind was committed in an epoch older than a recovery, and not compared yet */
};

struct repl_node {
    struct repl_world *rw;
    uint32_t index;
    bool up, registered;
    struct cairn_who self;
    uint64_t disk_id, process, wiped_before_inc; /* members of a lower incarnation have lost their disk */
    struct cairn_lease lease;
    struct {
        uint64_t number, sent_ns;
    } beats[16];
    uint64_t nbeats;
    uint64_t term;     /* of the coordinator, as far as is known */
    uint32_t map_host; /* where that is, as far as is known */
    uint64_t view_ns;  /* world time: until then it does not look */
    uint64_t revision; /* of the map: all up to here is known */
    uint64_t fetches;  /* the number of the newest FETCH */
    uint64_t granted;  /* the heartbeat whose grant counts when the rest of the map is here; 0: none */
    struct cairn_timer beat, upkeep, flush, leave;
    bool failed; /* its disk has: it takes no more part, and its process ends */
    struct cairn_timer fall;
    uint32_t refuses;                                /* 1 << RW_DISK_*: the next one of these fails */
    uint64_t log_full_until_ns, store_full_until_ns; /* world time: there is no room (ENOSPC) until then */
    uint64_t leaves_until_ns; /* its process ends by then, or as soon as others have all that it has; 0: it stays */
    struct cairn_sm_set *machines;
    struct rw_regions *regions; /* of large values; NULL: the world has none */
    struct rw_slot slots[RW_SLOTS_MAX];
};

struct rw_client {
    struct repl_world *rw;
    uint32_t index;
    struct cairn_timer timer;
    struct cairn_slot_record map[RW_SLOTS_MAX];
    struct {
        struct cairn_at id; /* of the session */
        uint64_t seq;
    } session[RW_SLOTS_MAX];
    enum { RW_IDLE, RW_OPENING, RW_CALLING } state;
    uint32_t slot, key, tries;
    bool sync, large, ask_primary; /* ask_primary: another replica said NOT_HERE */
    struct linear_op op;
    uint64_t call; /* number of the request */
};

/* What was committed, entry by entry, from the first. */
struct rw_truth {
    struct rw_truth_entry {
        struct cairn_at at;
        enum cairn_entry_kind kind;
        struct cairn_rid rid;
        uint64_t body[2];
    } * all;
    uint32_t n, room;
    uint64_t replied, replied_sync; /* the newest entry of which a client was told, and the newest such `sync` one */
    uint64_t replied_alone;         /* and the newest of which only one node was to have it: */
    uint32_t alone;                 /* that node, since which has not lost power; 0: it has */
};

/* A write-once key, as clients know it. */
struct rw_once {
    uint64_t value;  /* 0: nobody has seen it */
    int64_t seen_us; /* when the first saw that there is one */
    uint64_t lost;   /* the value before, which a loss that `buffered` allows has taken */
};

struct repl_world {
    struct repl_world_conf conf;
    uint64_t rumour; /* the state of its dice */
    struct world *world;
    /* Who coordinates, or has done so before, and is perhaps still at it. */
    struct rw_coord {
        struct repl_world *rw;
        struct cairn_coord core;
        uint32_t host; /* its node of the world */
        bool up;
        uint64_t term, knows;    /* knows: the revision of the map when another was elected */
        uint64_t valid_until_ns; /* its term, by its own clock */
        uint64_t kept_ns;        /* when the keep-alive under way was sent */
        uint64_t cut_until_ns;   /* world time: nothing comes to the store from there, nor back */
        struct cairn_timer tick, keep, kept, stand;
        struct rw_store {
            struct rw_coord *co;
            struct cairn_timer timer, read, late; /* late: of a request that nobody has an answer to */
            struct cairn_slot_record rec, late_rec;
            uint64_t late_term;
        } stores[RW_SLOTS_MAX]; /* changes on their way into it */
    } coords[2];
    uint32_t elected;          /* of these */
    struct cairn_coord *coord; /* the elected one's */
    uint64_t term;             /* of the newest election */
    uint64_t term_until_ns;    /* world time: then the store lets another be elected */
    uint64_t elections, lapses, fenced, two_coords;
    struct cairn_slot_record stored[RW_SLOTS_MAX]; /* the map store */
    uint64_t changed[RW_SLOTS_MAX], revision;      /* of a record's newest change, and of all */
    struct cairn_coord_process stored_nodes[RW_NODES_MAX + 1];
    uint64_t doubts;                          /* changes whose outcome was not known */
    struct repl_node nodes[RW_NODES_MAX + 1]; /* from 1 */
    struct rw_client clients[RW_CLIENTS_MAX];
    struct rw_truth truth[RW_SLOTS_MAX];
    struct linear_op *history[RW_SLOTS_MAX][RW_KEYS];
    uint32_t nhistory[RW_SLOTS_MAX][RW_KEYS];
    struct rw_once once[RW_SLOTS_MAX][RW_ONCE_KEYS];
    uint64_t active_epoch[RW_SLOTS_MAX]; /* the newest in which a primary served */
    int64_t loss_us[RW_SLOTS_MAX];       /* when the newest such loss was */
    uint64_t loss_epoch[RW_SLOTS_MAX];   /* of the newest recovery: what older epochs commit after it is void */
    struct cairn_arena post;             /* of the message that is being sent */
    uint64_t next_value, done_ops, unknown_ops, once_ops, backup_reads;
    uint64_t takeovers, recoveries, copies, checkpoints, trims, losses, lost_entries, joins, moves, cleans, wiped;
    struct rw_record committed[RW_SLOTS_MAX][RW_ALL_KEYS]; /* what the truth says of each key */
    uint64_t regions;                                      /* names of them that were made up */
    uint64_t fetched, refetched, gone, elsewhere, torn, freed;
    uint64_t fills, drops, left,
        stopped;                     /* left: processes that others could do without; stopped: that could not wait */
    uint64_t splits[3];              /* partitions: whole, one-way, partial */
    uint64_t splits_of_map, unheard; /* those with MAP cut off from the store; changes made whose answer was cut off */
    uint64_t refused;                /* writes, by a primary with too few in sync */
    uint64_t disk_errors[RW_DISK_NR], full_appends, full_writes, full_copies;
    uint64_t unsynced_lost;   /* entries, by a loss of power */
    uint64_t other_histories; /* logs whose cut was lost when what replaced it was applied, and kept */
    uint64_t events, judged_ops;
    uint64_t replies_alone; /* to writes, by a primary without a lease */
    bool clients_stop;
};

/** Three nodes that all hold two slots, four clients, `sync` writes, no faults. */
struct repl_world_conf repl_world_conf_of(uint64_t seed);
struct repl_world *repl_world_new(const struct repl_world_conf *conf);
void repl_world_free(struct repl_world *rw);
void repl_world_run_ms(struct repl_world *rw, uint64_t ms);

/* ---- faults ---- */

/** As a loss of power: what was not synced stays in part, in order. */
void repl_world_crash(struct repl_world *rw, uint32_t node);
/** As by SIGKILL: what was written stays, synced or not. */
void repl_world_kill(struct repl_world *rw, uint32_t node);
void repl_world_start(struct repl_world *rw, uint32_t node);
/** A crash, and a new disk; unless that would lose the last copy of something. True: done. */
bool repl_world_wipe(struct repl_world *rw, uint32_t node);
/** The next @op of that node's disk fails (EIO). Of the slot log, and of the store where it is not tried again, that is
 * the end of its process, of which nobody takes leave; what was not synced stays in part. */
void repl_world_disk_error(struct repl_world *rw, uint32_t node, enum rw_disk_op op);
/** No room for @ms (ENOSPC): on the log's disk, or the store's. */
void repl_world_disk_full(struct repl_world *rw, uint32_t node, bool log, uint64_t ms);
/** Disks are well again, and those that were to fail do not. */
void repl_world_mend_disks(struct repl_world *rw);
/** As for an upgrade: leaves, and restarts. */
void repl_world_quick_restart(struct repl_world *rw, uint32_t node);
/** It gives up what it leads and is let out of all sets, as far as others can go on; false: not in a second. */
bool repl_world_leave(struct repl_world *rw, uint32_t node);
/** Likewise, while everything else goes on; when it is done, or after three seconds, its process ends. */
void repl_world_begin_to_leave(struct repl_world *rw, uint32_t node);
/** The coordinator ends; a successor starts after the predecessor's election lease is over. */
void repl_world_crash_coord(struct repl_world *rw);
void repl_world_start_coord(struct repl_world *rw);
bool repl_world_coord_is_up(const struct repl_world *rw);
/** With rivals: the coordinator is cut off from the store; it stops for a while. */
void repl_world_cut_coord(struct repl_world *rw, uint64_t ms);
void repl_world_pause_coord(struct repl_world *rw, uint64_t ms);
/** No such cuts any more, and all know who coordinates. */
void repl_world_mend_map(struct repl_world *rw);
/** Where that is, and the store. */
uint32_t repl_world_map_host(const struct repl_world *rw);
uint32_t repl_world_store_host(const struct repl_world *rw);
/** A partition of all hosts, drawn: whole, one-way or partial, of two or three sides; in place of the one that is.
 * Until world_join() or world_heal(). */
void repl_world_split(struct repl_world *rw);

/* ---- what holds ---- */

/** At any moment, and it is one event more: PROTOCOL §9, what is global of it. */
void repl_world_check(struct repl_world *rw);
/** Clients stop, faults end: every slot has all its replicas in sync and serves. False: *@why says what is missing. */
bool repl_world_is_whole(struct repl_world *rw, char why[160]);
/** Lets at most @ms pass until it is so; else says who is in what state, and fails by an assertion. */
void repl_world_expect_whole(struct repl_world *rw, uint64_t ms);
/** Who is in what state, for people. */
void repl_world_print(struct repl_world *rw, FILE *to);
void repl_world_stop_clients(struct repl_world *rw);
/** Judges all histories; fails by an assertion. Returns how many operations they hold. */
uint64_t repl_world_judge(struct repl_world *rw);

#endif
