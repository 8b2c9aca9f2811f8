/** The map on its way through a large cluster: group cores and hearsay cores on the simulated world. Of the map there
 * is its revision alone; a change is a record. Node 0 coordinates: it grants leases, to some with what is missing. */
#ifndef CAIRN_TESTS_SIM_HEARSAY_WORLD_H
#define CAIRN_TESTS_SIM_HEARSAY_WORLD_H

#include "server/cluster/service/grants.h"
#include "server/cluster/service/hearsay.h"
#include "tests/sim/group_world.h"

struct hearsay_world_conf {
    uint64_t seed;
    uint32_t nodes, loss_ppm;
    uint32_t slow_every; /* each so manyth node takes up to 300 ms longer with everything; 0: none */
};

struct hearsay_node {
    struct hearsay hearsay;
    struct cairn_timer step, beat, late; /* late: the question's deadline */
    uint64_t have, upto, lies_until;     /* upto: of the pages that come of the one who is asked; they count together */
    uint64_t number;                     /* of the question */
    uint64_t asked, served, refused;     /* questions: sent; answered with a page; not */
    uint64_t record_bytes;               /* of pages that it has sent */
    struct cluster_pace pace;
    struct hearsay_world *hw;
    uint32_t index;
    bool cut_off; /* from the coordinator, both ways, but for the group's packets */
};

struct hearsay_world {
    struct hearsay_world_conf conf;
    struct group_world *gw;
    struct hearsay_node *nodes;
    uint64_t granted_records; /* grants that brought any */
};

struct hearsay_world *hearsay_world_new(const struct hearsay_world_conf *conf);
void hearsay_world_free(struct hearsay_world *hw);
/** So many changes more, at the coordinator. */
void hearsay_world_change(struct hearsay_world *hw, uint32_t n);
void hearsay_world_kill(struct hearsay_world *hw, uint32_t i);
/** Node @i says from now on that it has @version. */
void hearsay_world_lie(struct hearsay_world *hw, uint32_t i, uint64_t version);
/** Until all that live have all of the map, in ms; UINT64_MAX: not within @ms. */
uint64_t hearsay_world_until_known(struct hearsay_world *hw, uint64_t ms);

#endif
