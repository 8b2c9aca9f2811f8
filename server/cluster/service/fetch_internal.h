/* What the files of fetched regions share: fetch.c (one region's way here), fetch_names.c (entries and records that
 * name regions), fetch_asked.c (requests of other nodes). On the worker's loop. */
#ifndef CAIRN_SERVER_CLUSTER_SERVICE_FETCH_INTERNAL_H
#define CAIRN_SERVER_CLUSTER_SERVICE_FETCH_INTERNAL_H

#include "server/cluster/service/fetch.h"
#include "server/cluster/service/record.h"

/* A region that is to be here. */
struct fetch_want {
    uint32_t slot;  /* of the value that it is of */
    uint64_t node;  /* that has it, as it says */
    bool named;     /* an entry or a record of @node names it; if not, it is spoken of beforehand */
    uint64_t epoch; /* in which process @inc of @node leads the slot, if it is named */
    uint64_t inc;
    uint64_t owner; /* as its store has it */
    struct cairn_record_region region;
};

/* Whether it is here. If not, and nobody is at it, it is fetched. */
bool side_region_is_here(struct side_worker *w, const struct fetch_want *want);

/* The worker's fetches and holds are looked at from time to time, as long as there are any. CAIRN_E_NOMEM: no timer. */
int side_fetches_watch(struct side_worker *w);

/* A fetch is over, or some time: whoever waits for it goes on. */
void side_holds_check(struct side_worker *w);
void side_holds_stop(struct side_worker *w);

#endif
