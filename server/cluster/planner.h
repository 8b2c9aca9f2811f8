/** What is to be moved where: the coordinator's view of placement (sdk/core/placement), from who is there and what
 * they hold.
 *
 * A plan is made from scratch whenever the nodes have changed; it begins with what the slots' records say, so nothing
 * has to be remembered between plans, and another coordinator comes to the same one. Its table stays; what is still
 * to be done for it is looked at again as moves end (cairn_planner_look()). Whoever carries all moves out, plan after
 * plan, ends with one that has none: each move brings the records nearer to a table that, once reached, is its own
 * successor.
 *
 * A core: no I/O, no clock. */
#ifndef CAIRN_SERVER_CLUSTER_PLANNER_H
#define CAIRN_SERVER_CLUSTER_PLANNER_H

#include "server/cluster/repl/slot.h"

enum cairn_planner_state {
    CAIRN_PLANNER_UP,       /* also while it is away for a moment */
    CAIRN_PLANNER_DRAINING, /* gets nothing and gives everything away, but what it holds is there until then */
    CAIRN_PLANNER_LOST,     /* for good; a node that no plan is told of is lost as well */
};

enum { CAIRN_PLANNER_AWAY = INT32_MAX };

struct cairn_planner_node {
    struct cairn_placement_member member;
    enum cairn_planner_state state;
};

struct cairn_planner_conf {
    const struct cairn_planner_node *nodes; /* needed by cairn_planner_new() alone */
    uint32_t n;
    uint32_t slot_bits, replicas;
    /** A slot's record; of one that was not created yet the epoch is 0. Asked for as long as the plan lives. */
    const struct cairn_slot_record *(*record)(void *arg, uint32_t slot);
    /** Moves for other tables that a node takes part in; CAIRN_PLANNER_AWAY: none can begin now that needs it. Asked by
     * cairn_planner_look() alone. NULL: 0. */
    uint32_t (*busy)(void *arg, uint64_t node);
    /** Slots that the node may get beside those it holds, of all tables. Asked by cairn_planner_look() alone. NULL: any
     * number. */
    uint32_t (*room)(void *arg, uint64_t node);
    void *arg;
    uint32_t moves_max; /* at a time, in all: those under way included */
    uint32_t
        /* likewise, that a node takes part in: as what is moved to, or as the primary that copies */
        moves_per_node_max;
};

/** Most urgent first. */
enum cairn_planner_why {
    CAIRN_PLANNER_MISSING, /* a replica is lost, or was never there: first where the fewest are left */
    CAIRN_PLANNER_DRAIN,
    CAIRN_PLANNER_ZONE,    /* two replicas share a zone and need not */
    CAIRN_PLANNER_BALANCE, /* one node has too much, another too little */
    CAIRN_PLANNER_DROP,    /* there are more replicas than are wanted, or than there can be */
    CAIRN_PLANNER_LEAD,    /* one node leads too many of its slots */
};

/** For cairn_coord_move(); DROP: cairn_coord_drop(), @to is 0; LEAD: cairn_coord_lead(), @from is 0. */
struct cairn_planner_move {
    uint32_t slot;
    enum cairn_planner_why why;
    uint64_t from; /* 0: nobody leaves */
    uint64_t to;
    bool lead;
};

struct cairn_planner;

/** CAIRN_E_INVAL (bounds, two nodes with one id), CAIRN_E_NOMEM. */
int cairn_planner_new(const struct cairn_planner_conf *conf, struct cairn_planner **out, struct cairn_err *err);
void cairn_planner_free(struct cairn_planner *p);

/** Looks again at the records of slots for which something was to be done, and at who is busy: begins what there is
 * room for, with @elsewhere moves under way for other tables. In time that grows with what is left to be done, not
 * with the slots. Slots for which nothing was to be done when the plan was made are not looked at: they wait for the
 * next plan. */
void cairn_planner_look(struct cairn_planner *p, uint32_t elsewhere);

/** Moves to begin now, most urgent first; no slot twice, none that is busy. Lives until the next look. */
const struct cairn_planner_move *cairn_planner_moves(const struct cairn_planner *p, uint32_t *n);

struct cairn_planner_counts {
    uint32_t left; /* moves that are wanted, those to begin now included and those under way not */
    uint32_t under_way;
    uint32_t gone; /* slots without any replica that is not lost: nothing can be copied, so nothing is planned */
    uint32_t no_room; /* of those left: that might begin now, if their target had room */
};
struct cairn_planner_counts cairn_planner_counts(const struct cairn_planner *p);

/** Moves that @node takes part in: those under way, and those to begin now. */
uint32_t cairn_planner_busy(const struct cairn_planner *p, uint64_t node);

/** Who is to hold the slot in the end, who is to lead it first: as cairn_coord_create() takes it. Room for
 * CAIRN_REPLICAS_MAX; returns how many. */
uint32_t cairn_planner_wanted(const struct cairn_planner *p, uint32_t slot, uint64_t *ids);

#endif
