/* Regions that come from other nodes, before anything names them here: what the decisions of fetch_core.h are performed
 * with. */
#ifndef CAIRN_SERVER_CLUSTER_SERVICE_FETCH_H
#define CAIRN_SERVER_CLUSTER_SERVICE_FETCH_H

#include "server/cluster/service/side.h"

/* Handlers, on any worker. */
void cairn_cluster__side_on_regions(struct cairn_rpc_req *rq);
void cairn_cluster__side_on_region_read(struct cairn_rpc_req *rq);

void side_fetches_init(struct side_worker *w);
void side_fetches_stop(struct side_worker *w);

/* ---- fetch_names.c ---- */

/* The regions that an entry of a log names, or the records of a page of a copy. */
void side_entry_names(const struct cairn_log_entry *e, fetch_named_fn *fn, void *arg);
void side_page_names(const uint8_t *page, uint32_t len, fetch_named_fn *fn, void *arg);

/* ---- fetch_asked.c ---- */

/* A fetch is over, or some time: whoever waits for it goes on. */
void side_holds_check(struct side_worker *w);
void side_holds_stop(struct side_worker *w);

#endif
