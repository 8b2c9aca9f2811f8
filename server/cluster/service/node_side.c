/* The node's half of the service: its copy of the map. Replicas and the node's life are not here yet. */
#include "server/cluster/service/records.h"

#include <stdlib.h>

int cairn_cluster__side_start(struct cairn_cluster *c, struct cairn_err *err)
{
    int rc;

    c->records = calloc(1, sizeof(*c->records));
    if (c->records == NULL)
        return cairn_err_set(err, CAIRN_E_NOMEM, "records");
    rc = cairn_cluster_records_init(c->records);
    if (rc == 0)
        return 0;
    free(c->records);
    c->records = NULL;
    return cairn_err_set(err, rc, "records");
}

void cairn_cluster__side_attach(struct cairn_cluster *c, struct cairn_rpc *rpc)
{
    (void)c;
    (void)rpc;
}

void cairn_cluster__side_run(struct cairn_cluster *c)
{
    (void)c;
}

void cairn_cluster__side_quiesce(struct cairn_cluster *c, void (*done)(void *arg), void *arg)
{
    (void)c;
    done(arg);
}

void cairn_cluster__side_stop(struct cairn_cluster *c)
{
    if (c->records != NULL)
        cairn_cluster_records_fini(c->records);
    free(c->records);
}

void cairn_cluster__side_status(struct cairn_cluster *c, json_t *to)
{
    (void)c;
    (void)to;
}

void cairn_cluster__side_on_repl(struct cairn_rpc_req *rq)
{
    cairn_rpc_reply_err(rq, CAIRN_E_NOTFOUND, "this node holds no slot");
}

void cairn_cluster__side_on_publish(struct cairn_rpc_req *rq)
{
    cairn_rpc_reply(rq, 0, NULL, NULL, 0); /* a hint; the next heartbeat brings it */
}

bool cairn_cluster__peer(struct cairn_cluster *c, uint32_t worker, uint64_t node, struct cairn_rpc_dest *dest)
{
    *dest = (struct cairn_rpc_dest){ .rpc = c->rpcs[worker] };
    return node == c->node;
}
