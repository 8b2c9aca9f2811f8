/* Extents of one provider, bytes: see cairn/extent.h. What does not move bytes: extent_admin.c. */
#include "sdk/client/extent_internal.h"

#include <stdlib.h>

static int refuse_size(const struct cairn_call_options *o, uint64_t len)
{
    if (len == 0)
        return cairn__refuse(o, CAIRN_E_INVAL, "a region has at least one byte");
    if (len > CAIRN_EXTENT_BYTES_MAX)
        return cairn__refuse(o, CAIRN_E_TOOBIG, "a region has at most %llu bytes",
                             (unsigned long long)CAIRN_EXTENT_BYTES_MAX);
    return 0;
}

/* A call that carries @len bytes to the node, as payload or exposed, with their checksums in call->crcs. */
static int send_new(struct cairn_extents *x, const void *data, size_t len, const struct cairn_call_options *o,
                    cairn_done_fn *done, void *arg, struct cairn_call **out, size_t *ncrcs)
{
    uint32_t inline_crcs[CLIENT_CRCS_INLINE], *crcs;
    struct cairn_call *call;
    int rc = refuse_size(o, len);

    if (rc != 0)
        return rc;
    rc = cairn__crcs_new(data, len, inline_crcs, &crcs, ncrcs);
    if (rc != 0)
        return cairn__refuse(o, rc, "no memory for checksums");
    rc = cairn__call_new(x->h.c, &x->h, o, done, arg, &call);
    if (rc != 0) {
        if (crcs != inline_crcs)
            free(crcs);
        return rc;
    }
    cairn__crcs_give(call, inline_crcs, crcs, *ncrcs);
    if (len > CAIRN_BULK_THRESHOLD_BYTES) {
        call->expose_ptr = (void *)(uintptr_t)data; /* read only: the rights say so */
        call->expose_len = len;
        call->expose_rights = CAIRN_BULK_CAN_READ;
    } else {
        call->rpc.payload[0] = (struct iovec){ (void *)(uintptr_t)data, len };
        call->rpc.payload_n = 1;
    }
    *out = call;
    return 0;
}

/* ---- write ---- */

static int extent_write(struct cairn_extents *x, uint64_t id, uint64_t off, const void *data, size_t len,
                        const struct cairn_call_options *o, cairn_done_fn *done, void *arg)
{
    Cairn__Wire__ExtentWrite *m;
    struct cairn_call *call;
    size_t ncrcs;
    int rc = send_new(x, data, len, o, done, arg, &call, &ncrcs);

    if (rc != 0)
        return rc;
    m = &call->rq.x_write;
    cairn__wire__extent_write__init(m);
    m->id = id;
    m->off = off;
    m->length = len;
    m->n_crcs = ncrcs;
    m->crcs = call->crcs;
    call->expose_field = &m->bulk;
    call->answered = cairn__answered_plainly;
    cairn__call_to(call, &cairn_iface_extent, x->h.provider, X_METHOD(WRITE));
    return cairn__call_go(call);
}

int cairn_extent_write(struct cairn_extents *x, uint64_t id, uint64_t off, const void *data, size_t len,
                       const struct cairn_call_options *o)
{
    return extent_write(x, id, off, data, len, o, NULL, NULL);
}

int cairn_extent_write_async(struct cairn_extents *x, uint64_t id, uint64_t off, const void *data, size_t len,
                             const struct cairn_call_options *o, cairn_done_fn *done, void *arg)
{
    return done != NULL ? extent_write(x, id, off, data, len, o, done, arg) : CAIRN_E_INVAL;
}

/* ---- put ---- */

void cairn__extent_id_answered(struct cairn_call *call)
{
    *(uint64_t *)call->out = ((const Cairn__Wire__ExtentId *)call->rpc.reply)->id;
    cairn__call_finish(call, 0);
}

static int extent_put(struct cairn_extents *x, const void *data, size_t len, uint64_t *id,
                      const struct cairn_call_options *o, cairn_done_fn *done, void *arg)
{
    Cairn__Wire__ExtentPut *m;
    struct cairn_call *call;
    size_t ncrcs;
    int rc = send_new(x, data, len, o, done, arg, &call, &ncrcs);

    if (rc != 0)
        return rc;
    m = &call->rq.x_put;
    cairn__wire__extent_put__init(m);
    m->length = len;
    m->n_crcs = ncrcs;
    m->crcs = call->crcs;
    m->durability = cairn__durability_to_wire(o != NULL ? o->durability : CAIRN_DURABILITY_DEFAULT);
    call->expose_field = &m->bulk;
    call->out = id;
    call->answered = cairn__extent_id_answered;
    cairn__call_to(call, &cairn_iface_extent, x->h.provider, X_METHOD(PUT));
    return cairn__call_go(call);
}

int cairn_extent_put(struct cairn_extents *x, const void *data, size_t len, uint64_t *id,
                     const struct cairn_call_options *o)
{
    return extent_put(x, data, len, id, o, NULL, NULL);
}

int cairn_extent_put_async(struct cairn_extents *x, const void *data, size_t len, uint64_t *id,
                           const struct cairn_call_options *o, cairn_done_fn *done, void *arg)
{
    return done != NULL ? extent_put(x, data, len, id, o, done, arg) : CAIRN_E_INVAL;
}

/* ---- read ---- */

static void read_next(struct cairn_call *call)
{
    Cairn__Wire__ExtentRead *m = &call->rq.x_read;

    m->bulk = NULL;
    m->length = cairn__sink_room(call);
    m->verify = call->verify;
    cairn__call_send(call);
}

static void read_answered(struct cairn_call *call)
{
    const Cairn__Wire__ExtentReadReply *r = (const Cairn__Wire__ExtentReadReply *)call->rpc.reply;

    cairn__sink_take(call, r->length, UINT64_MAX, r->crcs, r->n_crcs);
}

static int extent_read(struct cairn_extents *x, uint64_t id, uint64_t off, void *buf, size_t room, size_t *len,
                       const struct cairn_call_options *o, cairn_done_fn *done, void *arg)
{
    Cairn__Wire__ExtentRead *m;
    struct cairn_call *call;
    int rc = cairn__call_new(x->h.c, &x->h, o, done, arg, &call);

    if (rc != 0)
        return rc;
    call->sink = (struct cairn_call_sink){ .buf = buf, .room = room, .off = off, .len = len };
    call->uses_sink = true;
    call->verify = (cairn__flags(o) & CAIRN_VERIFY) != 0;
    call->has_steps = true;
    m = &call->rq.x_read;
    cairn__wire__extent_read__init(m);
    m->id = id;
    m->off = off;
    call->expose_field = &m->bulk;
    call->next = read_next;
    call->answered = read_answered;
    cairn__call_to(call, &cairn_iface_extent, x->h.provider, X_METHOD(READ));
    return cairn__call_go(call);
}

int cairn_extent_read(struct cairn_extents *x, uint64_t id, uint64_t off, void *buf, size_t room, size_t *len,
                      const struct cairn_call_options *o)
{
    return extent_read(x, id, off, buf, room, len, o, NULL, NULL);
}

int cairn_extent_read_async(struct cairn_extents *x, uint64_t id, uint64_t off, void *buf, size_t room, size_t *len,
                            const struct cairn_call_options *o, cairn_done_fn *done, void *arg)
{
    return done != NULL ? extent_read(x, id, off, buf, room, len, o, done, arg) : CAIRN_E_INVAL;
}
