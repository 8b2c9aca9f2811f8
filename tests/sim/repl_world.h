/** A cluster of replicas on the simulated world: nodes with disks, MAP (the coordinator over a store that loses nothing), and
 * clients that write and read and remember what they saw.
 *
 * World node 0 is MAP, 1 to nodes are the cluster's, the clients follow. Disks lose what was not synced; MAP can be
 * replaced by a successor that knows only what was stored. */
#ifndef CAIRN_TESTS_SIM_REPL_WORLD_H
#define CAIRN_TESTS_SIM_REPL_WORLD_H

#include "server/cluster/repl/coord.h"
#include "server/cluster/repl/replica.h"
#include "tests/sim/linear.h"
#include "tests/sim/world.h"

#include <stdio.h>

enum { RW_NODES_MAX = 7, RW_SLOTS_MAX = 4, RW_KEYS = 3, RW_CLIENTS_MAX = 6, RW_OPS_MAX = 4096 };

struct repl_world_conf {
    uint64_t seed;
    uint32_t nodes, slots, replicas, clients, min_insync;
    bool sync; /* what clients ask for; else `buffered` */
    uint64_t latency_ns, jitter_ns;
    uint32_t loss_ppm, twice_ppm, straggler_ppm;
    uint64_t straggler_ns; /* packets that come so late */
    uint64_t disk_ns;      /* a sync takes up to this */
};

/* The disk of one slot on one node: what is there, and what is there for sure. */
struct rw_entry {
    struct cairn_entry e;
    uint64_t body[2];
};

struct rw_log {
    struct rw_entry *all;
    uint32_t n, room;
};

struct rw_slot {
    struct cairn_replica replica;
    struct repl_node *node;
    struct rw_log log, durable; /* durable: as after the newest sync */
    struct cairn_timer sync_done;
    struct rw_log syncing; /* what the sync under way makes durable */
    uint64_t syncing_cut;
    struct cairn_task apply_task;
    uint64_t apply_next, apply_to;
    uint64_t value[RW_KEYS]; /* the index: committed and applied */
};

struct repl_node {
    struct repl_world *rw;
    uint32_t index;
    bool up, registered;
    struct cairn_who self;
    uint64_t disk_id, process;
    struct cairn_lease lease;
    struct {
        uint64_t number, sent_ns;
    } beats[16];
    uint64_t nbeats;
    struct cairn_timer beat;
    struct cairn_sm_set *machines;
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
    struct linear_op op;
    uint64_t call; /* number of the request */
};

struct repl_world {
    struct repl_world_conf conf;
    struct world *world;
    struct cairn_coord coord;
    bool coord_is_up;
    struct cairn_timer coord_tick;
    struct cairn_slot_record stored[RW_SLOTS_MAX]; /* the map store */
    struct cairn_coord_process stored_nodes[RW_NODES_MAX + 1];
    struct rw_store {
        struct repl_world *rw;
        struct cairn_timer timer;
        struct cairn_slot_record rec;
    } stores[RW_SLOTS_MAX]; /* changes on their way into it */
    struct repl_node nodes[RW_NODES_MAX + 1]; /* from 1 */
    struct rw_client clients[RW_CLIENTS_MAX];
    struct cairn_at replied[RW_SLOTS_MAX]; /* the newest entry of which a client was told */
    struct linear_op *history[RW_SLOTS_MAX][RW_KEYS];
    uint32_t nhistory[RW_SLOTS_MAX][RW_KEYS];
    uint64_t next_value, done_ops, unknown_ops;
    bool clients_stop;
};

struct repl_world *repl_world_new(const struct repl_world_conf *conf);
void repl_world_free(struct repl_world *rw);
void repl_world_run_ms(struct repl_world *rw, uint64_t ms);

/* ---- faults ---- */

/** As a loss of power: what was not synced stays in part, in order. */
void repl_world_crash(struct repl_world *rw, uint32_t node);
void repl_world_start(struct repl_world *rw, uint32_t node);
/** The coordinator ends; a successor starts after the predecessor's election lease is over. */
void repl_world_crash_coord(struct repl_world *rw);
void repl_world_start_coord(struct repl_world *rw);

/* ---- what holds ---- */

/** At any moment: at most one primary that may answer for each slot (I1), commit marks and logs agree (I3). */
void repl_world_check(struct repl_world *rw);
/** Clients stop, faults end: every slot has all its replicas in sync and serves. False: *@why says what is missing. */
bool repl_world_is_whole(struct repl_world *rw, char why[160]);
/** Who is in what state, for people. */
void repl_world_print(struct repl_world *rw, FILE *to);
void repl_world_stop_clients(struct repl_world *rw);
/** Judges all histories; fails by an assertion. Returns how many operations they hold. */
uint64_t repl_world_judge(struct repl_world *rw);

#endif
