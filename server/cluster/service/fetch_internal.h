/* What the files of fetched regions share: fetch.c (one region's way here), fetch_names.c (entries and records that
 * name regions), fetch_asked.c (requests of other nodes). On the worker's loop. */
#ifndef CAIRN_SERVER_CLUSTER_SERVICE_FETCH_INTERNAL_H
#define CAIRN_SERVER_CLUSTER_SERVICE_FETCH_INTERNAL_H

#include "server/cluster/service/fetch.h"
#include "server/cluster/service/record.h"

/* Whether it is here. If not, and nobody is at it, it is fetched from @node. */
bool side_region_is_here(struct side_worker *w, uint64_t node, uint64_t owner, struct cairn_record_region region);

/* A fetch is over: whoever waits for it goes on. */
void side_holds_check(struct side_worker *w);
void side_holds_stop(struct side_worker *w);

#endif
