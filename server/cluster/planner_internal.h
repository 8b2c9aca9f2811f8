/* What the files of the planner share. */
#ifndef CAIRN_SERVER_CLUSTER_PLANNER_INTERNAL_H
#define CAIRN_SERVER_CLUSTER_PLANNER_INTERNAL_H

#include "server/cluster/planner.h"

struct cairn_planner__node {
    struct cairn_planner_node is;
    uint32_t holds, leads; /* slots, in the end */
    uint32_t busy;         /* moves that it takes part in, for this table */
    uint32_t elsewhere;    /* and for others */
    uint32_t room;         /* slots that it may get */
};

/* A slot for which something is to be done, or being done. */
struct cairn_planner__want {
    struct cairn_planner_move move;
    bool may_begin;
    uint32_t there; /* replicas that are not lost */
    struct cairn_planner__node *a, *b; /* whom the move keeps busy */
};

struct cairn_planner {
    struct cairn_planner_conf conf;
    struct cairn_planner__node *nodes; /* by id */
    struct cairn_placement *wanted;
    uint8_t *lead; /* of each slot: index in what is wanted */
    uint32_t slots;
    struct cairn_planner__want *wants;
    uint32_t nwants;
    struct cairn_planner_move *moves; /* room for as many as there can be */
    uint32_t nmoves;
    struct cairn_planner_counts counts;
};

/* A slot's holders when what is under way is done; who leads then is first, if that is known. */
struct cairn_planner__future {
    uint64_t ids[CAIRN_REPLICAS_MAX + 1];
    uint32_t n;
    uint64_t primary; /* 0: nobody, or somebody who does not hold it then */
};

/* What leaves and what comes: future and wanted compared. */
struct cairn_planner__difference {
    uint64_t leaves[CAIRN_REPLICAS_MAX + 1], comes[CAIRN_REPLICAS_MAX];
    uint32_t nleaves, ncomes;
};

/* NULL: no plan was told of it. */
struct cairn_planner__node *cairn_planner__node(const struct cairn_planner *p, uint64_t id);
struct cairn_planner__future cairn_planner__future(const struct cairn_slot_record *rec);
struct cairn_planner__difference cairn_planner__compare(const struct cairn_planner *p, uint32_t slot,
                                                        const struct cairn_planner__future *f);

static inline bool cairn_planner__is_in(const uint64_t *ids, uint32_t n, uint64_t id)
{
    for (uint32_t i = 0; i < n; i++) {
        if (ids[i] == id)
            return true;
    }
    return false;
}

/* Who is to lead each slot of what is wanted (planner_lead.c). */
void cairn_planner__lead(struct cairn_planner *p);

#endif
