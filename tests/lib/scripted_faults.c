/* How the nodes of a scripted cluster fail, when they are told to: see scripted_cluster.h. */
#include "tests/lib/scripted_cluster_internal.h"

#include "schema/router.pb-c.h"

#include <string.h>

enum scripted_fault scripted_fault_of(struct scripted_peer *n)
{
    if (atomic_load(&n->m.times) <= 0 || atomic_fetch_sub(&n->m.times, 1) <= 0)
        return SCRIPTED_NONE;
    return atomic_load(&n->m.fault);
}

static void hang_up(struct cairn_rpc_req *rq)
{
    if (rq->conn != NULL)
        cairn_conn_fail(&rq->conn->conn, CAIRN_E_CLOSED);
    /* Nobody hears this, and a session that comes again is told. */
    cairn_rpc_reply(rq, CAIRN_E_SHUTDOWN, NULL, NULL, 0);
}

static void on_held_cancel(struct cairn_rpc_req *rq, void *arg)
{
    struct scripted_cluster *c = arg;

    for (size_t i = 0; i < c->nheld; i++) {
        if (c->held[i] == rq)
            c->held[i] = c->held[--c->nheld];
    }
    cairn_rpc_reply(rq, CAIRN_E_CANCELED, NULL, NULL, 0);
}

void scripted_hold(struct cairn_rpc_req *rq)
{
    struct scripted_cluster *c = scripted_peer_of(rq)->c;

    CAIRN_ASSERT(c->nheld < HELD_MAX);
    rq->on_cancel = on_held_cancel;
    rq->on_cancel_arg = c;
    c->held[c->nheld++] = rq;
}

/* Before the answer: whoever hears it finds another that leads. */
static void step_down(struct scripted_peer *n)
{
    uint64_t what = atomic_exchange(&n->steps_down, 0);

    if (what != 0)
        scripted_cluster_move(n->c, (uint32_t)(what >> 32), (uint32_t)what - 1);
}

uint32_t scripted_ns_id(const struct scripted_peer *n)
{
    return FIRST_NS + atomic_load(&n->c->ns_made) - (atomic_load(&n->m.behind) ? 1 : 0);
}

bool scripted_means_another(struct cairn_rpc_req *rq)
{
    const ProtobufCFieldDescriptor *f = protobuf_c_message_descriptor_get_field_by_name(rq->method->request, "ns_id");
    uint32_t id;

    memcpy(&id, (const char *)rq->msg + f->offset, sizeof(id));
    if (id == scripted_ns_id(scripted_peer_of(rq)))
        return false;
    if (id > scripted_ns_id(scripted_peer_of(rq)))
        cairn_rpc_reply_err(rq, CAIRN_E_BUSY, "it is not known here yet");
    else
        cairn_rpc_reply_err(rq, id != 0 ? CAIRN_E_NOTFOUND : CAIRN_E_INVAL, "it was removed");
    return true;
}

bool scripted_misbehaves(struct cairn_rpc_req *rq, enum scripted_fault fault)
{
    if (scripted_means_another(rq))
        return true;
    switch (fault) {
    case SCRIPTED_MOVED:
        step_down(scripted_peer_of(rq));
        cairn_rpc_reply_err(rq, CAIRN_E_MOVED, "as told");
        return true;
    case SCRIPTED_BUSY:
        cairn_rpc_reply_err(rq, CAIRN_E_BUSY, "as told");
        return true;
    case SCRIPTED_DENIED:
        cairn_rpc_reply_err(rq, CAIRN_E_DENIED, "as told");
        return true;
    case SCRIPTED_SILENT:
        scripted_hold(rq);
        return true;
    case SCRIPTED_SLOW:
        if (cairn_rpc_req_left_ns(rq, cairn_loop_now(&scripted_peer_of(rq)->c->loop)) >=
            atomic_load(&scripted_peer_of(rq)->m.slow_ms) * CAIRN_NS_PER_MS)
            return false;
        scripted_hold(rq);
        return true;
    case SCRIPTED_DIE_BEFORE:
        hang_up(rq);
        return true;
    default:
        return false;
    }
}

void scripted_reply(struct cairn_rpc_req *rq, enum scripted_fault fault, int rc, const ProtobufCMessage *m,
                    const struct iovec *p)
{
    if (fault == SCRIPTED_MOVED_AFTER)
        step_down(scripted_peer_of(rq));
    if (fault == SCRIPTED_DIE_AFTER)
        hang_up(rq);
    else if (fault == SCRIPTED_MOVED_AFTER && p == NULL && m == NULL)
        cairn_rpc_reply_err(rq, CAIRN_E_MOVED, "as told");
    else
        cairn_rpc_reply(rq, rc, m, p, p != NULL ? 1 : 0);
}
