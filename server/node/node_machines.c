/* `cairn machines`: the live state machines of all workers, their recent moves, or the table of one kind. */
#include "server/node/introspect.h"
#include "server/node/node.h"

#include "schema/node.pb-c.h"

const struct cairn_sm_kind *const cairn_node_kinds[] = { &cairn_node_kind,     &cairn_introspect_kind,
                                                         &cairn_bulk_op_kind,  &cairn_bulk_intro_kind,
                                                         &cairn_watchdog_kind, NULL };

void cairn_node__kinds(const struct cairn_server *s, struct cairn_kinds *to)
{
    cairn_kinds_add(to, cairn_node_kinds);
    cairn_kinds_add(to, cairn_rpc_kinds);
    cairn_kinds_add(to, cairn_map_etcd_kinds);
    for (uint32_t i = 0; i < s->ninstances; i++)
        cairn_kinds_add(to, s->instances[i].desc->machines);
}

static void on_looked(void *arg, char *text)
{
    cairn_node__reply_text(arg, text);
}

static void reply_graph(struct cairn_rpc_req *rq, const char *name)
{
    struct cairn_kinds kinds = { 0 };
    char *text;
    int rc;

    cairn_node__kinds(rq->target->ctx, &kinds);
    text = cairn_kinds_dot(&kinds, name, &rc);
    if (rc == CAIRN_E_NOTFOUND)
        cairn_rpc_reply_err(rq, rc, "no kind of state machine is called '%.100s'", name);
    else
        cairn_node__reply_text(rq, text);
}

void cairn_node__handle_machines(struct cairn_rpc_req *rq)
{
    const Cairn__Wire__NodeMachines *m = (const Cairn__Wire__NodeMachines *)rq->msg;
    struct cairn_server *s = rq->target->ctx;

    if (m->graph[0] != '\0')
        reply_graph(rq, m->graph);
    else if (cairn_introspect(s->loops, s->nworkers, cairn_rpc_loop(rq->rpc), m->trace, on_looked, rq) != 0)
        cairn_rpc_reply(rq, CAIRN_E_NOMEM, NULL, NULL, 0);
}
