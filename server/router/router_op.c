/* What all operations have in common: beginning, ending, calling the providers below. */
#include "server/router/ns_order.h"
#include "server/router/upload.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void router_call_prepare(struct cairn_rpc_call *call, struct cairn_rpc *rpc, const struct cairn_rpc_target *target,
                         uint32_t method, const ProtobufCMessage *msg, void (*done)(struct cairn_rpc_call *call),
                         void *arg, struct cairn_err *err)
{
    memset(call, 0, offsetof(struct cairn_rpc_call, arena)); /* the arena is initialised by the start */
    call->dest.rpc = rpc;
    call->iface = target->iface;
    call->provider = target->id;
    call->method = (uint16_t)method;
    call->msg = msg;
    call->done = done;
    call->arg = arg;
    call->err = err;
}

/* ---- beginning and ending ---- */

static struct router_op *op_alloc(struct router_worker *w)
{
    struct cairn_link *l = cairn_list_pop(&w->spare_ops);

    if (l == NULL)
        return malloc(sizeof(struct router_op));
    w->nspare_ops--;
    return CONTAINER_OF(l, struct router_op, link);
}

static void op_release(struct router_worker *w, struct router_op *op)
{
    if (w->nspare_ops >= ROUTER_SPARE_OPS_MAX) {
        free(op);
        return;
    }
    cairn_list_add_head(&w->spare_ops, &op->link); /* the last one used is the warmest */
    w->nspare_ops++;
}

static const char *mode_text(uint32_t mode, char text[8])
{
    snprintf(text, 8, "%04" PRIo32, mode & 0777);
    return text;
}

/* The namespace that is meant is not what @ns, which has the name here, or NULL, is. It was removed, unless this node
 * has not heard of it yet, or has and the workers are being told: ids are given in the order of the map's revisions. */
static void refuse_other(struct cairn_rpc_req *rq, struct router_worker *w, const struct router_ns *ns,
                         const char *name, uint32_t id)
{
    struct cairn_router *r = w->router;

    if ((ns == NULL || ns->id < id) && (cairn_map_ids_upto(r->store) < id || router_ns_is_stored(r, name, id)))
        cairn_rpc_reply_err(rq, CAIRN_E_BUSY, "this node has not heard of namespace '%.255s' (%" PRIu32 ") yet", name,
                            id);
    else
        cairn_rpc_reply_err(rq, CAIRN_E_NOTFOUND, "namespace '%.255s' was removed%s", name,
                            ns != NULL && ns->id > id ? ", and made again: open it again" : "");
}

/* The namespace, if @rq may do this to it; otherwise @rq is answered. */
static struct router_ns *request_ns(struct cairn_rpc_req *rq, struct router_worker *w, const char *name, uint32_t id,
                                    const ProtobufCBinaryData *key, enum router_access access)
{
    struct router_ns *ns = router_ns_find(w, name);
    char text[8];

    if (UNLIKELY(id != 0 && (ns == NULL || ns->id != id))) {
        refuse_other(rq, w, ns, name, id);
        return NULL;
    }
    if (UNLIKELY(ns == NULL)) {
        cairn_rpc_reply_err(rq, CAIRN_E_NOTFOUND, "there is no namespace '%.255s'", name);
        return NULL;
    }
    if (UNLIKELY(!router_ns_allows(ns, rq->who, access))) {
        cairn_rpc_reply_err(rq, CAIRN_E_DENIED,
                            "user %u may not %s namespace '%s' (owner %" PRIu32 ", group %" PRIu32 ", mode %s)",
                            (unsigned)rq->who->uid, access == ROUTER_READ ? "read" : "write to", ns->name, ns->owner,
                            ns->group, mode_text(ns->mode, text));
        return NULL;
    }
    if (UNLIKELY(ns->removing)) {
        cairn_rpc_reply_err(rq, CAIRN_E_BUSY, "namespace '%s' is being removed", ns->name);
        return NULL;
    }
    if (UNLIKELY(ns->clustered && w->router->conf.cluster == NULL)) {
        cairn_rpc_reply_err(
            rq, CAIRN_E_UNSUPPORTED,
            "namespace '%s' is spread over the nodes of a cluster, and this node is in none (map.store)", ns->name);
        return NULL;
    }
    if (UNLIKELY(ns->kv == NULL)) {
        cairn_rpc_reply_err(rq, CAIRN_E_NOPROVIDER,
                            "namespace '%s' lives in the KV provider '%s', which this node does not have", ns->name,
                            ns->kv_name);
        return NULL;
    }
    if (UNLIKELY(key != NULL && (key->len == 0 || key->len > CAIRN_KEY_BYTES_MAX))) {
        cairn_rpc_reply_err(rq, CAIRN_E_INVAL, "a key of %zu bytes; 1 to %d are possible", key->len,
                            CAIRN_KEY_BYTES_MAX);
        return NULL;
    }
    return ns;
}

/* The key's slot is ours, as far as that can be told now; else @op is over, and its request answered. */
static bool op_takes_slot(struct router_op *op, const ProtobufCBinaryData *key, enum router_access access)
{
    int rc = router_clustered_slot(op, key);

    if (rc == 0 && access == ROUTER_READ) {
        rc = cairn_cluster_read_begin(op->w->router->conf.cluster, op->slot, &op->leave);
        op->reads = rc == 0;
        op->by_replica &=
            !op->reads && op->ns->write_once && cairn_cluster_is_in_sync(op->w->router->conf.cluster, op->slot);
        if (op->by_replica)
            rc = 0;
    }
    if (rc != 0)
        router_op_fail(op, rc);
    return rc == 0;
}

int router_op_read_end(const struct router_op *op)
{
    return op->reads ? cairn_cluster_read_end(op->w->router->conf.cluster, op->slot, op->leave) : 0;
}

struct router_op *router_op_new(struct cairn_rpc_req *rq, const char *name, uint32_t id, const ProtobufCBinaryData *key,
                                enum router_access access, const struct cairn_sm_kind *kind, uint32_t on_failed)
{
    struct router_worker *w = router_worker_of(rq);
    bool by_replica = access == ROUTER_READ_REPLICA;
    struct router_ns *ns;
    struct router_op *op;

    access = by_replica ? ROUTER_READ : access;
    ns = request_ns(rq, w, name, id, key, access);
    if (UNLIKELY(ns == NULL))
        return NULL;
    op = op_alloc(w);
    if (UNLIKELY(op == NULL)) {
        cairn_rpc_reply_err(rq, CAIRN_E_NOMEM, "namespace '%s'", ns->name);
        return NULL;
    }
    op->w = w;
    op->ns = ns;
    op->rq = rq;
    op->parts = NULL;
    op->pull = NULL;
    op->next = NULL;
    op->regions = NULL;
    op->nregions = 0;
    op->crcs = NULL;
    op->storing = false;
    op->upload = NULL;
    op->upload_spent = false;
    op->refused = 0;
    op->on_failed = on_failed;
    op->plain = access == ROUTER_WRITE && !ns->has_large;
    op->reads = op->buffered = false;
    op->leave = 0;
    op->by_replica = by_replica && ns->clustered;
    op->writes = NULL;
    op->leaves = NULL;
    op->rid = NULL;
    op->rc = 0;
    op->tries = op->at = 0;
    op->old = NULL;
    op->nold = 0;
    op->buf = NULL;
    op->buf_len = op->buf_at = 0;
    op->statuses = NULL;
    op->err.code = 0;
    op->err.text[0] = '\0';
    router_ns_get(ns);
    if (op->plain)
        ns->plain++;
    rq->op = op;
    cairn_list_init(&op->link);
    cairn_sm_init(&op->sm, kind, &w->loop->machines);
    if (router_is_clustered(ns) && key != NULL && !op_takes_slot(op, key, access))
        return NULL;
    return op;
}

void router_op_look(struct router_op *op)
{
    if (!op->plain)
        return;
    op->plain = false;
    router_ns_put_plain(op->ns);
}

void router_op_storing(struct router_op *op)
{
    struct router_worker *w = op->w;

    op->storing = true;
    op->period = w->period;
    w->storing[op->period & 1]++;
}

/* The worker's count of writers is what the sweeper waits for. */
static void storing_ends(struct router_op *op)
{
    struct router_worker *w = op->w;
    uint32_t half = op->period & 1;

    CAIRN_ASSERT(w->storing[half] > 0);
    op->storing = false;
    w->storing[half]--;
    if (w->storing[half] == 0 && half != (w->period & 1) && w->awaits_storing != NULL) {
        struct router_news *n = w->awaits_storing;

        w->awaits_storing = NULL;
        router_news_ack(n);
    }
}

void router_op_end(struct router_op *op)
{
    struct router_worker *w = op->w;
    struct router_ns *ns = op->ns;

    CAIRN_ASSERT(op->rq == NULL);
    cairn_sm_fini(&op->sm);
    if (UNLIKELY(op->upload != NULL))
        router_upload_leave(op);
    if (UNLIKELY(op->storing))
        storing_ends(op);
    router_op_drop_parts(op);
    if (op->regions != &op->one)
        free(op->regions);
    free(op->crcs);
    free(op->old);
    free(op->buf);
    free(op->statuses);
    free(op->writes);
    free(op->leaves);
    if (op->plain)
        router_ns_put_plain(ns);
    op_release(w, op);
    router_ns_put(ns);
}

/* What the providers say of a key reads as if it were of the namespace. */
static const char *plain_text(const struct router_op *op, int rc)
{
    const char *text = op->err.text[0] != '\0' ? op->err.text : cairn_error_text(rc);

    if (strcmp(text, cairn_error_text(rc)) != 0)
        return text;
    return rc == CAIRN_E_NOTFOUND ? "there is no such key" : rc == CAIRN_E_EXISTS ? "the key exists already" : text;
}

void router_op_fail(struct router_op *op, int rc)
{
    struct cairn_rpc_req *rq = op->rq;
    int moved = rc == CAIRN_E_NOTFOUND ? op->by_replica ? CAIRN_E_MOVED : router_op_read_end(op) : 0;

    if (moved != 0) { /* it may be elsewhere */
        rc = moved;
        op->err.text[0] = '\0';
    }
    if (rc == CAIRN_E_BUSY && op->err.text[0] == '\0' && router_is_clustered(op->ns))
        cairn_cluster_why_busy(op->w->router->conf.cluster, &op->err);
    op->rq = NULL;
    cairn_rpc_reply_err(rq, rc, "namespace '%s': %s", op->ns->name, plain_text(op, rc));
    cairn_sm_fail(&op->sm, op->on_failed, rc);
    router_op_end(op);
}

void router_op_fail_text(struct router_op *op, int rc, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(op->err.text, sizeof(op->err.text), fmt, ap);
    va_end(ap);
    router_op_fail(op, rc);
}

void router_op_call(struct router_op *op, const struct cairn_rpc_target *target, uint32_t method,
                    void (*done)(struct cairn_rpc_call *call))
{
    router_call_prepare(&op->call, op->w->rpc, target, method, &op->msg.base, done, op, &op->err);
    if (op->rq != NULL)
        op->call.timeout_ns = MAX(cairn_rpc_req_left_ns(op->rq, cairn_loop_now(op->w->loop)), UINT64_C(1));
}

/* ---- the namespace's database ---- */

static void on_opened(struct cairn_rpc_call *call)
{
    struct router_op *op = call->arg;

    if (call->rc != 0) {
        router_op_fail(op, call->rc);
        return;
    }
    op->ns->db = ((const Cairn__Wire__KvOpened *)call->reply)->db;
    op->ns->open = true;
    op->next(op);
}

void router_op_open(struct router_op *op, router_step *next)
{
    if (LIKELY(op->ns->open)) {
        next(op);
        return;
    }
    op->next = next;
    cairn__wire__kv_open__init(&op->msg.open);
    op->msg.open.name = op->ns->db_name;
    op->msg.open.create = true; /* a crash may have come between the namespace's record and its database */
    op->msg.open.write_once = op->ns->write_once;
    router_op_call(op, op->ns->kv, CAIRN__WIRE__KV_METHOD__KV_OPEN, on_opened);
    cairn_rpc_call_start(&op->call);
}

static void op_on_noted(struct router_op *op)
{
    router_op_open(op, op->noted);
}

void router_op_open_to_store(struct router_op *op, router_step *next)
{
    if (LIKELY(op->ns->noted)) {
        router_op_open(op, next);
        return;
    }
    op->noted = next;
    router_op_look(op); /* else who makes it known that there are large values would wait for us, and we for him */
    router_flag(op, ROUTER_HOLDS, op_on_noted);
}

/* ---- large values ---- */

bool router_op_take_parts(struct router_op *op, uint32_t regions)
{
    struct cairn_link *l = cairn_list_pop(&op->w->spare_parts);
    struct router_parts *p;

    CAIRN_ASSERT(op->parts == NULL && regions > 0 && regions <= CAIRN_ROUTER_REGIONS_MAX);
    if (l != NULL) {
        p = CONTAINER_OF(l, struct router_parts, link);
        op->w->nspare_parts--;
    } else {
        p = malloc(sizeof(*p));
        if (p == NULL)
            return false;
    }
    p->regions = calloc(regions, sizeof(p->regions[0]));
    if (p->regions == NULL) {
        free(p);
        return false;
    }
    p->nregions = regions;
    p->next = p->running = 0;
    p->off = p->len = 0;
    p->crcs = NULL;
    p->ncrcs = 0;
    p->stamp = 0;
    for (uint32_t i = 0; i < CAIRN_ROUTER_PARTS_INFLIGHT; i++) {
        p->part[i].op = op;
        p->part[i].call.sm.kind = NULL; /* not running */
    }
    op->parts = p;
    return true;
}

void router_op_drop_parts(struct router_op *op)
{
    struct router_parts *p = op->parts;

    if (p == NULL)
        return;
    CAIRN_ASSERT(p->running == 0);
    op->parts = NULL;
    free(p->regions);
    free(p->crcs);
    if (op->w->nspare_parts >= ROUTER_SPARE_PARTS_MAX) {
        free(p);
        return;
    }
    cairn_list_add_head(&op->w->spare_parts, &p->link);
    op->w->nspare_parts++;
}

void router_part_call(struct router_part *part, uint32_t method, void (*done)(struct cairn_rpc_call *call))
{
    struct router_op *op = part->op;

    part->err.text[0] = '\0';
    router_call_prepare(&part->call, op->w->rpc, op->ns->extent, method, &part->msg.base, done, part, &part->err);
    part->call.bulk_peer = op->rq->peer;
    part->call.timeout_ns = MAX(cairn_rpc_req_left_ns(op->rq, cairn_loop_now(op->w->loop)), UINT64_C(1));
    op->parts->running++;
}
