/* A cluster, for those who run it: see cairn/admin.h. Any node takes these, and sends them on to the one that
 * coordinates. */
#include "cairn/admin.h"

#include "sdk/client/client_internal.h"

#include <stdlib.h>
#include <string.h>

static void status_answered(struct cairn_call *call)
{
    char *text = strdup(((const Cairn__Wire__ClusterText *)call->rpc.reply)->json);

    if (text != NULL)
        *(char **)call->out = text;
    cairn__call_finish(call, text != NULL ? 0 : CAIRN_E_NOMEM);
}

static int status(struct cairn *c, char **json, const struct cairn_call_options *o, cairn_done_fn *done, void *arg)
{
    struct cairn_call *call;
    int rc = cairn__call_new(c, NULL, o, done, arg, &call);

    if (rc != 0)
        return rc;
    cairn__wire__cluster_ask__init(&call->rq.cluster_ask);
    call->out = json;
    call->answered = status_answered;
    if ((cairn__flags(o) & CAIRN_ONCE) == 0)
        cairn__again_on(call);
    cairn__call_to(call, &cairn_iface_cluster, CAIRN_PROVIDER_CLUSTER, CAIRN__WIRE__CLUSTER_METHOD__CLUSTER_STATUS);
    return cairn__call_go(call);
}

int cairn_cluster_status(struct cairn *c, char **json, const struct cairn_call_options *o)
{
    return status(c, json, o, NULL, NULL);
}

int cairn_cluster_status_async(struct cairn *c, char **json, const struct cairn_call_options *o, cairn_done_fn *done,
                               void *arg)
{
    return done != NULL ? status(c, json, o, done, arg) : CAIRN_E_INVAL;
}

/* What DRAIN asks for, and where its answer goes. */
struct drain {
    bool cancel, lost, force;
    uint32_t *slots, *alone; /* NULL: nowhere */
};

static void drain_answered(struct cairn_call *call)
{
    const Cairn__Wire__ClusterDrained *r = (const Cairn__Wire__ClusterDrained *)call->rpc.reply;
    uint32_t *alone = (uint32_t *)(uintptr_t)call->out_arg;

    if (call->out != NULL)
        *(uint32_t *)call->out = r->slots;
    if (alone != NULL)
        *alone = r->alone;
    cairn__call_finish(call, 0);
}

static int drain(struct cairn *c, const char *node, const struct drain *d, const struct cairn_call_options *o,
                 cairn_done_fn *done, void *arg)
{
    struct cairn_call *call;
    int rc = cairn__refuse_name(o, "node", node);

    if (rc == 0)
        rc = cairn__call_new(c, NULL, o, done, arg, &call);
    if (rc != 0)
        return rc;
    call->text = strdup(node);
    if (call->text == NULL)
        return cairn__call_drop(call, o, CAIRN_E_NOMEM);
    cairn__wire__cluster_drain__init(&call->rq.cluster_drain);
    call->rq.cluster_drain.name = call->text;
    call->rq.cluster_drain.off = d->cancel;
    call->rq.cluster_drain.lost = d->lost;
    call->rq.cluster_drain.force = d->force;
    call->out = d->slots;
    call->out_arg = (uintptr_t)d->alone;
    call->answered = drain_answered;
    if ((cairn__flags(o) & CAIRN_ONCE) == 0)
        cairn__again_on(call); /* who is drained, or lost, is so no more than once */
    cairn__call_to(call, &cairn_iface_cluster, CAIRN_PROVIDER_CLUSTER, CAIRN__WIRE__CLUSTER_METHOD__CLUSTER_DRAIN);
    return cairn__call_go(call);
}

int cairn_cluster_drain(struct cairn *c, const char *node, bool cancel, bool force, uint32_t *slots,
                        const struct cairn_call_options *o)
{
    const struct drain d = { .cancel = cancel, .force = force, .slots = slots };

    return drain(c, node, &d, o, NULL, NULL);
}

int cairn_cluster_drain_async(struct cairn *c, const char *node, bool cancel, bool force, uint32_t *slots,
                              const struct cairn_call_options *o, cairn_done_fn *done, void *arg)
{
    const struct drain d = { .cancel = cancel, .force = force, .slots = slots };

    return done != NULL ? drain(c, node, &d, o, done, arg) : CAIRN_E_INVAL;
}

int cairn_cluster_lose(struct cairn *c, const char *node, bool force, uint32_t *slots, uint32_t *alone,
                       const struct cairn_call_options *o)
{
    const struct drain d = { .lost = true, .force = force, .slots = slots, .alone = alone };

    return drain(c, node, &d, o, NULL, NULL);
}

int cairn_cluster_lose_async(struct cairn *c, const char *node, bool force, uint32_t *slots, uint32_t *alone,
                             const struct cairn_call_options *o, cairn_done_fn *done, void *arg)
{
    const struct drain d = { .lost = true, .force = force, .slots = slots, .alone = alone };

    return done != NULL ? drain(c, node, &d, o, done, arg) : CAIRN_E_INVAL;
}

static int scrub(struct cairn *c, bool start, char **json, const struct cairn_call_options *o, cairn_done_fn *done,
                 void *arg)
{
    struct cairn_call *call;
    int rc = cairn__call_new(c, NULL, o, done, arg, &call);

    if (rc != 0)
        return rc;
    cairn__wire__cluster_scrub__init(&call->rq.cluster_scrub);
    call->rq.cluster_scrub.start = start;
    call->out = json;
    call->answered = status_answered;
    cairn__call_to(call, &cairn_iface_cluster, CAIRN_PROVIDER_CLUSTER, CAIRN__WIRE__CLUSTER_METHOD__CLUSTER_SCRUB);
    return cairn__call_go(call);
}

int cairn_cluster_scrub(struct cairn *c, bool start, char **json, const struct cairn_call_options *o)
{
    return scrub(c, start, json, o, NULL, NULL);
}

int cairn_cluster_scrub_async(struct cairn *c, bool start, char **json, const struct cairn_call_options *o,
                              cairn_done_fn *done, void *arg)
{
    return done != NULL ? scrub(c, start, json, o, done, arg) : CAIRN_E_INVAL;
}
