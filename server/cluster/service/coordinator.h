/** The coordinator of a cluster, where a node is elected to be it: the core (repl/coord.h) joined to the map store.
 *
 *  STANDING ---> READING ---> SERVING ---> CLOSING ---> STANDING
 *  STANDING may also go to CLOSING; READING to CLOSING; CLOSING to RESTING, RESTING to STANDING.
 *  CLOSING and RESTING may also go to ENDED.
 *
 *  STANDING  for election; another may be elected.
 *  READING   elected: members and slots are read from the store, not from the view, which may lag. Nobody else changes
 *            them any more. Last, it is noted there that this node serves (below).
 *  SERVING   it decides. Every change is stored, fenced by the election, then given to this node's own records, and
 *            only then told to anybody.
 *  CLOSING   no longer, at once: it answers nothing more, and waits for what is under way at the store and beside the
 *            loop.
 *  RESTING   it resigned, because something went wrong that a fresh start may mend; it stands again soon.
 *  ENDED     stopped.
 *
 * Who serves has noted that it does before it grants anything (`cluster/led`), under its term's fence, and grants its
 * own node nothing beyond that term. So whoever is elected next knows of the one that is noted that it holds no
 * lease: all others granted nothing since, what it had of others it gave up before, and its term is over.
 *
 * A core on the store's home; requests come by struct cairn_coordinator_ask (cluster_rpc.c makes them of RPCs). */
#ifndef CAIRN_SERVER_CLUSTER_SERVICE_COORDINATOR_H
#define CAIRN_SERVER_CLUSTER_SERVICE_COORDINATOR_H

#include "server/cluster/map_generation.h"
#include "server/cluster/map_ids.h"
#include "server/cluster/planner.h"
#include "server/cluster/service/chronicle.h"
#include "server/cluster/service/member.h"
#include "server/cluster/service/service_internal.h"
#include "server/cluster/service/writes.h"
#include "server/port/gossip.h"
#include "server/port/pool.h"

#include <jansson.h>

enum { CAIRN_COORDINATOR_TICK_MS = 100, CAIRN_COORDINATOR_SOON_MS = 5, CAIRN_COORDINATOR_REST_MS = 2000 };
enum { CAIRN_COORDINATOR_FORGET_S = 86400 }; /* who is gone for so long, and holds nothing, was never here */

enum {
    CAIRN_COORDINATOR_STANDING,
    CAIRN_COORDINATOR_READING,
    CAIRN_COORDINATOR_SERVING,
    CAIRN_COORDINATOR_CLOSING,
    CAIRN_COORDINATOR_RESTING,
    CAIRN_COORDINATOR_ENDED,
    CAIRN_COORDINATOR_NR
};

struct cairn_coordinator;

struct cairn_coordinator_ops {
    /** A change is stored; in order. Not 0: it could not be kept, and the coordinator resigns. */
    int (*put_slot)(struct cairn_coordinator *co, uint32_t slot, const struct cairn_slot_record *rec,
                    uint64_t revision);
    int (*put_member)(struct cairn_coordinator *co, const struct cairn_wire_member *m, uint64_t revision);
    void (*upto)(struct cairn_coordinator *co, uint64_t revision);
    /** Which map this node knows of (../map_generation.h), and up to which revision there is of it, as a coordinator
     * has said. NULL: of none. */
    uint64_t (*known)(struct cairn_coordinator *co, uint64_t *upto);
    /** This node is elected, and all that there is of the map was read: it is @map and ends at @revision. put_slot()
     * and put_member() of it follow. NULL: nothing. */
    void (*read)(struct cairn_coordinator *co, uint64_t map, uint64_t revision);
    /** This node is elected, and has not acted yet; or its term ends, and the store was not told: its own lease ends
     * with this call (PROTOCOL §6). NULL: nothing. */
    void (*give_up)(struct cairn_coordinator *co);
    /** Another node is elected. NULL: nothing. */
    void (*other)(struct cairn_coordinator *co);
    /** Tell @nodes, which hold or held @slot, soon; they may also hear of it later. */
    void (*publish)(struct cairn_coordinator *co, uint32_t slot, const struct cairn_slot_record *rec,
                    const uint64_t *nodes, uint32_t n);
    /** What this node's groups believe of a process. NULL: nothing. */
    enum cairn_gossip_belief (*believes)(struct cairn_coordinator *co, const struct cairn_gossip_self *who);
    /** Runs @job beside the loop: its work() anywhere, its done() here, later. CAIRN_E_BUSY: not now, done() will not
     * run. */
    int (*work)(struct cairn_coordinator *co, struct cairn_job *job);
    /** Bit i: some namespace is in the slots of i + 1 replicas. NULL: of any. */
    uint32_t (*named)(struct cairn_coordinator *co);
    void (*ended)(struct cairn_coordinator *co); /* its memory may go, from within too */
};

/** How a member is, for people. */
enum cairn_coordinator_member_state {
    CAIRN_COORDINATOR_MEMBER_UP,
    CAIRN_COORDINATOR_MEMBER_SILENT,   /* expected back */
    CAIRN_COORDINATOR_MEMBER_DRAINING, /* up, and what it holds moves away */
    CAIRN_COORDINATOR_MEMBER_DRAINED,  /* up, and holds nothing */
    CAIRN_COORDINATOR_MEMBER_LOST,     /* silent for so long that what it held is made anew elsewhere */
    CAIRN_COORDINATOR_MEMBER_LEFT,     /* was drained, and is gone: nobody misses it */
};

/** Slots of one number of replicas. */
struct cairn_coordinator_class_counts {
    /* degraded: with fewer in sync, and there, than are wanted; the worst has @fewest. unserved: without a primary that
     * is there: neither read nor written. refusing: those, and those with fewer than a write must reach (min_insync,
     * or all that there can be; M7): not written */
    uint32_t slots, degraded, fewest, unserved, refusing;
    bool unused;    /* no namespace names it, any more: nobody misses what is missing */
    uint32_t zones; /* where some replicas share a zone, for want of zones: how many there are; else 0 */
};

/** How far something is that goes slot by slot, since there was something to do. */
struct cairn_coordinator_progress {
    uint64_t done, per_1000s, left_ms; /* 0: not known */
    bool stalled;                      /* nothing was done for a while */
};

/** Of all slots, by state; of all members; what is still to be moved. Counted every second. What is unused is in
 * @slots and @unused, and in no other sum. */
struct cairn_coordinator_counts {
    uint32_t members, silent, draining, drained, members_lost, left_cluster;
    uint32_t hosts; /* members that may hold slots, now or when they are back */
    uint32_t slots, unused, degraded, unserved, takeover, lost, moving;
    uint32_t beyond; /* of the degraded: those that have all the replicas for which there are hosts */
    struct cairn_coordinator_class_counts classes[CAIRN_CLUSTER_CLASSES];
    uint32_t past;   /* of slots, of those lost: of an earlier generation of the map, and not gone on yet */
    uint32_t left;   /* moves to be begun */
    uint32_t behind; /* slots that miss a replica which is there, and catches up */
    struct cairn_coordinator_progress moves, catches_up;
    uint64_t waits_for; /* moves stall: for that node, which is away; 0: not known */
    uint32_t no_room;   /* of those to be begun: to nodes that hold as many slots as they may */
    bool planning;      /* members have changed: what is to be moved is about to be known */
};

struct cairn_coordinator_plan;

/** Slots of so many replicas. */
struct cairn_coordinator_class {
    uint32_t made, next, min_insync;
    uint64_t revision; /* of the last that was made */
    uint64_t asked_ns; /* since when somebody asks for it */
    struct cairn_link asks;
    struct cairn_coordinator_plan *plan; /* NULL: nothing is to be made or moved */
    uint64_t due_ns;                     /* when another plan is to be made; 0: not */
};

/** What a progress is told from. */
struct cairn_coordinator_pace {
    uint64_t began_ns, last_ns; /* began, or went on after a stall (0: has not); something was last seen to be done */
    uint64_t from, first, last; /* done before there was something to do; when it began; when it was last looked at */
    bool stalled;
};

/** Held by its user, who fills the first part. */
struct cairn_coordinator {
    struct cairn_map_store *store;
    const struct cairn_coordinator_ops *ops;
    const struct cairn_cluster_conf *conf;
    const struct cairn_lease_times *times; /* the map has the last word on length_ns */
    const uint8_t *value;                  /* of the election's key: who we are */
    uint32_t value_len;
    const char *name; /* our node's, for the map's log */
    void *arg;

    /* to be read */
    struct cairn_sm sm;
    struct cairn_election election;
    struct cairn_coordinator_counts counts;
    struct cairn_coord coord; /* while SERVING */
    struct cairn_members members;
    uint32_t nslots;                        /* of a class */
    struct cairn_map_generation generation; /* of the map that is served */
    uint64_t upto;                          /* all of it up to here is stored */

    /* private */
    struct cairn_writes writes;
    struct cairn_chronicle chronicle;
    struct cairn_map_log_trim trim; /* of its entries */
    uint32_t log_entries;           /* since the log was looked at */
    struct cairn_map_read read;
    struct cairn_map_table tables[3]; /* read so far */
    struct cairn_timer timer;         /* ticks; when to stand again */
    struct cairn_task failing;
    struct cairn_err why;
    uint64_t *changed;                   /* of each slot's entry */
    struct cairn_coordinator_ask **held; /* proposals, by slot */
    struct cairn_coordinator_class classes[CAIRN_CLUSTER_CLASSES];
    struct cairn_coordinator_plan *planning; /* being made: of a class, one at a time */
    struct cairn_coordinator_pace moves_pace, behind_pace;
    uint64_t behind_most; /* slots that were behind, at most, since some are */
    uint32_t reads_done, ticks;
    uint32_t named;             /* classes, as they were counted */
    bool count_is_old;          /* something was stored since */
    uint64_t count_ns, look_ns; /* when to count again; before then there is no look beside the ticks */
    uint64_t read_revision;
    /* as CAIRN_CLUSTER_KEY_LED was read: who, and the entry's revision; 0: there is none */
    uint64_t forerunner, led_changed, generation_changed, ids_changed;
    /* What others know of: the map of the greatest generation, up to where there was of it, and a log's epoch. */
    uint64_t known_map, known_upto, known_epoch;
    bool anew; /* the map was put back while we coordinated: what there is now is to be read */
    struct cairn_lease_times lease_times;
    bool lease_is_stored;
    bool reading, barred, resigned, election_is_over, ending, has_coord, conf_is_stored;
    bool generation_is_stored, led_is_stored, ids_are_stored;
    char ids[CAIRN_MAP_IDS_TEXT_MAX]; /* what becomes of that entry, unless it is stored */
};

extern const struct cairn_sm_kind cairn_coordinator_kind;

void cairn_coordinator_start(struct cairn_coordinator *co);
/** Resigns; ended() tells when it is over. */
void cairn_coordinator_stop(struct cairn_coordinator *co);
/** Whether it may not be elected: who is refused by the one that is elected would be of no use to anybody. */
void cairn_coordinator_bar(struct cairn_coordinator *co, bool barred);
/** Elected, valid now, and everything is read. */
bool cairn_coordinator_is_serving(const struct cairn_coordinator *co);
/** It is elected: it serves, or reads the map to serve. */
bool cairn_coordinator_has_term(const struct cairn_coordinator *co);

/** Until when our term is valid, on our clock; 0: we are not elected. */
uint64_t cairn_coordinator_term_until(const struct cairn_coordinator *co);

/** A request, held by its user until done(), which may run at once. @rc 0, or
 *   CAIRN_E_MOVED   another coordinates
 *   CAIRN_E_BUSY    nobody does, or not yet; or the slot is being changed
 * and what is said at each. */
struct cairn_coordinator_ask {
    void (*done)(struct cairn_coordinator_ask *ask);
    void *arg;
    int rc;
    struct cairn_err err;

    /* REGISTER: p.inc is set. CAIRN_E_STATE: a later process is registered. CAIRN_E_LIMIT: too many members */
    struct cairn_coord_process p;
    struct cairn_wire_member self;
    struct cairn_coord_told told;
    /* PROPOSE */
    struct cairn_change change;
    enum cairn_verdict verdict;
    struct cairn_slot_record rec;
    /* CREATE_CLASS: nslots is set. CAIRN_E_INVAL; CAIRN_E_STATE: no member is up. With fewer than replicas it is made
     * over those that are, after a moment, and filled up when others come */
    uint32_t replicas, min_insync, nslots;
    uint64_t revision;
    /* STOP: of p.node, p.inc. Answered when it is stored. CAIRN_E_NOTFOUND, CAIRN_E_STATE */
    /* DRAIN: of p.node, or the one of that name; nslots: that it holds. CAIRN_E_NOTFOUND; CAIRN_E_STATE: without
     * @force, none or one is left for what it holds */
    const char *name;
    const char *author; /* whose wish it is, for the map's log */
    bool off;
    /* LOSE: likewise, also @alone; CAIRN_E_STATE: it is up, or, without @force, of some slots nobody else is there */
    bool force;
    uint32_t alone;

    struct cairn_link link; /* private */
};

void cairn_coordinator_register(struct cairn_coordinator *co, struct cairn_coordinator_ask *ask);
void cairn_coordinator_propose(struct cairn_coordinator *co, struct cairn_coordinator_ask *ask);
void cairn_coordinator_create_class(struct cairn_coordinator *co, struct cairn_coordinator_ask *ask);
void cairn_coordinator_drain(struct cairn_coordinator *co, struct cairn_coordinator_ask *ask);
void cairn_coordinator_member_stops(struct cairn_coordinator *co, struct cairn_coordinator_ask *ask);
/** A member that is silent is lost, before cluster.lost_after has passed. Should it come back it is welcome. */
void cairn_coordinator_lose(struct cairn_coordinator *co, struct cairn_coordinator_ask *ask);
/** Fills in g->map, g->granted and g->wants_register; of another map than ours nothing is granted. The page is the
 * caller's until anything else happens. 0, MOVED, BUSY. */
int cairn_coordinator_heartbeat(struct cairn_coordinator *co, const struct cairn_wire_heartbeat *beat,
                                struct cairn_wire_grant *g, struct cairn_err *err);
/** Any thread: which classes of slots the namespaces in the view are in, as ops.named() tells. */
uint32_t cairn_coordinator_named_in(struct cairn_map_store *map);
json_t *cairn_coordinator_counts_json(const struct cairn_coordinator_counts *n);
/** Everything, for people, as of now. While it serves. NULL: no memory. */
json_t *cairn_coordinator_status(struct cairn_coordinator *co);

#endif
