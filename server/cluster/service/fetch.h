/* Regions that come from other nodes, before anything names them here: see fetch.c. */
#ifndef CAIRN_SERVER_CLUSTER_SERVICE_FETCH_H
#define CAIRN_SERVER_CLUSTER_SERVICE_FETCH_H

#include "server/cluster/service/side.h"

extern const struct cairn_sm_kind side_fetch_kind;

/* Whether every region that @m names is here, so that it may be taken. Those that are missing are being fetched from
 * its sender, and
 * @m is cut to what may be taken now, or made a question that the sender hears as a sign of life; false: it is to be
 * dropped, and comes again. */
bool side_fetch_admit(struct side_worker *w, struct cairn_repl_msg *m);

/* @m was admitted, and has been taken: what it names is named here now. */
void side_fetch_taken(struct side_worker *w, const struct cairn_repl_msg *m);

/* Handlers, on any worker. */
void cairn_cluster__side_on_regions(struct cairn_rpc_req *rq);
void cairn_cluster__side_on_region_read(struct cairn_rpc_req *rq);

void side_fetches_init(struct side_worker *w);
void side_fetches_stop(struct side_worker *w);

#endif
