/* Values of hashed namespaces that are too large for one request. A put sends parts, several at a time, and then
 * commits them; a get fetches its first range, and then the others, several at a time, each of which must bear the
 * same stamp. Parts and ranges are calls of their own, which the user's call (the parent) starts and waits for;
 * COMMIT is the parent's own request. */
#include "sdk/client/hashed_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    LARGE_INFLIGHT = 4,
    LARGE_SUM_BYTES = 4 << 20, /* checksums are computed so much at a time: below 1 ms */
    LARGE_RESTARTS_MAX = 4,    /* of a put, whose node was lost with the parts it had */
    LARGE_ABORT_MS = 2000,     /* what is not aborted by then, the node removes by itself */
};

struct large_piece {
    struct cairn_large *large;
    struct cairn_call *call; /* NULL: none runs */
    size_t got, len;
    struct cairn_error_info error;
};

struct cairn_large {
    struct cairn_inner base;
    struct cairn_call *parent;
    void (*over)(struct cairn_call *call, int rc); /* of the parent; frees us first */
    int (*start)(struct cairn_large *x, struct large_piece *p, uint64_t off);
    void (*done)(struct cairn_large *x); /* no piece runs; x->rc says how it went */
    uint64_t len, next;                  /* [next, len) was not begun */
    uint32_t running;
    int rc;
    /* put */
    const uint8_t *value;
    const void *key;
    size_t key_len;
    bool if_absent, saw_errors;
    uint64_t upload, home;
    uint32_t parts, restarts;
    struct large_piece piece[LARGE_INFLIGHT];
};

static struct cairn_ns *large_ns(const struct cairn_call *call)
{
    return CONTAINER_OF(call->handle, struct cairn_ns, h);
}

static void large_over(struct cairn_large *x, int rc)
{
    struct cairn_call *call = x->parent;
    void (*over)(struct cairn_call * call, int rc) = x->over;

    call->inner_calls = NULL;
    free(x);
    over(call, rc);
}

static void large_cancel(struct cairn_inner *inner)
{
    struct cairn_large *x = CONTAINER_OF(inner, struct cairn_large, base);

    for (uint32_t i = 0; i < LARGE_INFLIGHT; i++) {
        if (x->piece[i].call != NULL)
            cairn__call_cancel(x->piece[i].call);
    }
}

static void large_fail(struct cairn_large *x, int rc, const char *text)
{
    if (x->rc != 0)
        return;
    x->rc = rc;
    x->parent->err.code = rc;
    snprintf(x->parent->err.text, sizeof(x->parent->err.text), "%s", text);
    large_cancel(&x->base); /* nobody needs the others any more */
}

/* Starts what may run. */
static void large_pump(struct cairn_large *x)
{
    for (uint32_t i = 0; i < LARGE_INFLIGHT && x->rc == 0 && x->next < x->len; i++) {
        struct large_piece *p = &x->piece[i];
        uint64_t off = x->next;
        int rc;

        if (p->call != NULL)
            continue;
        if (x->running > 0 && cairn__inner_are_many(x->parent->c))
            return; /* it goes on when one of ours is over */
        p->large = x;
        p->len = (size_t)MIN(x->len - off, large_ns(x->parent)->part_bytes);
        p->error.text[0] = '\0';
        rc = x->parent->canceled ? CAIRN_E_CANCELED : x->start(x, p, off);
        if (rc != 0) {
            large_fail(x, rc, p->error.text);
            return;
        }
        x->next += p->len;
        x->running++;
    }
}

static void large_on_piece(void *arg, int rc)
{
    struct large_piece *p = arg;
    struct cairn_large *x = p->large;

    p->call = NULL;
    x->running--;
    if (rc != 0)
        large_fail(x, rc, p->error.text);
    large_pump(x);
    if (x->running == 0)
        x->done(x);
}

/* What is left of the parent's time. */
static uint64_t large_left_ns(const struct cairn_call *call)
{
    uint64_t now = cairn_loop_now(&call->c->loop);

    return call->deadline_ns > now ? call->deadline_ns - now : 1;
}

static struct cairn_large *large_new(struct cairn_call *call, uint64_t len, uint64_t from)
{
    struct cairn_large *x = calloc(1, sizeof(*x));

    if (x == NULL)
        return NULL;
    x->parent = call;
    x->len = len;
    x->next = from;
    x->base.cancel = large_cancel;
    call->inner_calls = &x->base;
    return x;
}

/* ---- one part ---- */

static void part_next(struct cairn_call *call)
{
    Cairn__Wire__RouterPart *m = &call->rq.part;
    uint64_t at = call->out_arg, n = MIN(m->length - at, (uint64_t)LARGE_SUM_BYTES);

    if (at < m->length && !call->canceled) {
        cairn_check_compute((const uint8_t *)call->expose_ptr + at, n, call->crcs + at / CAIRN_EXTENT_CHUNK_BYTES);
        call->out_arg += n;
        cairn__call_again(call);
        return;
    }
    cairn__call_send(call);
}

/* A part that was sent twice is there once. */
static void part_answered(struct cairn_call *call)
{
    cairn__call_finish(call, call->rpc.rc == CAIRN_E_EXISTS && call->route.on ? 0 : call->rpc.rc);
}

int cairn__part_start(struct cairn_ns *ns, const struct cairn__part *part, const struct cairn_call_options *o,
                      cairn_done_fn *done, void *arg, uint64_t timeout_ns, struct cairn_call **out)
{
    Cairn__Wire__RouterPart *m;
    struct cairn_call *call;
    size_t n = cairn_check_parts(0, part->len);
    uint32_t *crcs = part->crcs != NULL ? part->crcs : malloc(n * sizeof(*crcs));
    int rc;

    if (crcs == NULL)
        return cairn__refuse(o, CAIRN_E_NOMEM, "no memory for checksums");
    rc = cairn__call_new_inner(ns->h.c, &ns->h, o, done, arg, &call);
    if (rc != 0) {
        free(crcs);
        return rc;
    }
    if (timeout_ns != 0)
        call->timeout_ns = timeout_ns;
    m = &call->rq.part;
    cairn__wire__router_part__init(m);
    m->ns = ns->name;
    m->ns_id = ns->id;
    m->upload = part->upload;
    m->number = part->number;
    m->length = part->len;
    m->crcs = call->crcs = crcs;
    m->n_crcs = n;
    call->expose_ptr = (void *)(uintptr_t)part->p; /* read only: the rights say so */
    call->expose_len = part->len;
    call->expose_rights = CAIRN_BULK_CAN_READ;
    call->expose_field = &m->bulk;
    call->out_arg = part->crcs != NULL ? part->len : 0;
    call->has_steps = true;
    call->next = part_next;
    call->sees_errors = true;
    call->answered = part_answered;
    cairn__call_to(call, &cairn_iface_router, CAIRN_PROVIDER_ROUTER, CAIRN__WIRE__ROUTER_METHOD__ROUTER_PART);
    if (ns->slots > 0) {
        m->key = cairn__bytes(part->key, part->key_len);
        cairn__hashed_route(call, ns, part->key, part->key_len, NULL, NULL);
        call->route.home = part->home;
        call->route.try_ms = CAIRN__LARGE_TRY_MS;
    }
    *out = call; /* before it begins: it never ends inside */
    return cairn__call_go(call);
}

/* ---- commit and abort ---- */

void cairn__commit_request(struct cairn_call *call, struct cairn_ns *ns, const void *key, size_t key_len,
                           const struct cairn__commit *commit)
{
    Cairn__Wire__RouterCommit *m = &call->rq.commit;

    cairn__wire__router_commit__init(m);
    m->ns = ns->name;
    m->ns_id = ns->id;
    m->key = cairn__bytes(key, key_len);
    m->upload = commit->upload;
    m->parts = commit->parts;
    m->length = commit->length;
    m->if_absent = commit->if_absent;
    call->rpc.payload_n = 0;
    call->expose_len = 0;
    cairn__call_to(call, &cairn_iface_router, CAIRN_PROVIDER_ROUTER, CAIRN__WIRE__ROUTER_METHOD__ROUTER_COMMIT);
    if (ns->slots == 0)
        return;
    if (call->route.on)
        m->rid = &call->route.number.rid;
    else
        cairn__hashed_route(call, ns, key, key_len, &m->rid, NULL);
    call->route.home = commit->home;
    call->route.try_ms = CAIRN__LARGE_TRY_MS;
}

int cairn__abort_start(struct cairn_ns *ns, const void *key, size_t key_len, uint64_t upload, cairn_done_fn *done,
                       void *arg)
{
    struct cairn_call_options o = CAIRN_CALL_OPTIONS_INIT;
    struct cairn_call *call;
    int rc;

    o.timeout_ms = LARGE_ABORT_MS;
    rc = cairn__call_new_inner(ns->h.c, &ns->h, &o, done, arg, &call);
    if (rc != 0)
        return rc;
    cairn__wire__router_abort__init(&call->rq.abort);
    call->rq.abort.ns = ns->name;
    call->rq.abort.ns_id = ns->id;
    call->rq.abort.upload = upload;
    call->answered = cairn__answered_plainly;
    cairn__call_to(call, &cairn_iface_router, CAIRN_PROVIDER_ROUTER, CAIRN__WIRE__ROUTER_METHOD__ROUTER_ABORT);
    cairn__hashed_route(call, ns, key, key_len, NULL, NULL);
    return cairn__call_go(call);
}

/* ---- put ---- */

static int put_start_part(struct cairn_large *x, struct large_piece *p, uint64_t off)
{
    struct cairn_call_options o = CAIRN_CALL_OPTIONS_INIT;
    struct cairn__part part = { .upload = x->upload,
                                .home = &x->home,
                                .key = x->key,
                                .key_len = x->key_len,
                                .number = x->parts,
                                .p = x->value + off,
                                .len = p->len };
    int rc;

    o.error = &p->error;
    rc = cairn__part_start(large_ns(x->parent), &part, &o, large_on_piece, p, large_left_ns(x->parent), &p->call);
    if (rc == 0)
        x->parts++;
    return rc;
}

static void put_on_aborted(void *arg, int rc)
{
    struct cairn_large *x = arg;

    (void)rc; /* the node removes them later, then */
    large_over(x, x->rc);
}

static void put_abort(struct cairn_large *x)
{
    if (cairn__abort_start(large_ns(x->parent), x->key, x->key_len, x->upload, put_on_aborted, x) != 0)
        large_over(x, x->rc);
}

/* The node that had the parts has lost them, or the slot, in part or as a whole: the value is still here. If a COMMIT
 * was tried that succeeded after all, the next one bears its number and changes nothing. */
static bool put_begins_again(struct cairn_large *x, bool committed)
{
    struct cairn_call *call = x->parent;
    bool lost = x->rc == CAIRN_E_MOVED || (committed && (x->rc == CAIRN_E_NOTFOUND || x->rc == CAIRN_E_INVAL));

    if (large_ns(call)->slots == 0 || !lost || call->canceled || x->restarts == LARGE_RESTARTS_MAX)
        return false;
    x->restarts++;
    x->rc = 0;
    x->next = x->home = x->parts = 0;
    x->upload = cairn_env_random(&call->c->loop.env);
    call->err.code = 0;
    call->err.text[0] = '\0';
    large_pump(x);
    if (x->running == 0)
        x->done(x);
    return true;
}

static void put_committed(struct cairn_call *call)
{
    struct cairn_large *x = CONTAINER_OF(call->inner_calls, struct cairn_large, base);

    call->sees_errors = x->saw_errors;
    x->rc = call->rpc.rc;
    if (x->rc == 0)
        large_over(x, 0);
    else if (!put_begins_again(x, true))
        put_abort(x); /* finds nothing if the commit was tried at all */
}

static void put_parts_done(struct cairn_large *x)
{
    struct cairn_call *call = x->parent;
    struct cairn__commit commit = {
        .upload = x->upload, .home = &x->home, .parts = x->parts, .length = x->len, .if_absent = x->if_absent
    };

    if (x->rc == 0 && call->canceled)
        x->rc = CAIRN_E_CANCELED;
    if (put_begins_again(x, false))
        return;
    if (x->rc != 0) {
        put_abort(x);
        return;
    }
    cairn__commit_request(call, large_ns(call), x->key, x->key_len, &commit);
    x->saw_errors = call->sees_errors;
    call->sees_errors = true;
    call->answered = put_committed;
    cairn__call_send(call);
}

int cairn__large_put(struct cairn_call *call, const void *key, size_t key_len, const void *value, uint64_t len,
                     bool if_absent, void (*over)(struct cairn_call *call, int rc))
{
    struct cairn_large *x = large_new(call, len, 0);
    int rc;

    if (x == NULL)
        return CAIRN_E_NOMEM;
    x->over = over;
    x->start = put_start_part;
    x->done = put_parts_done;
    x->value = value;
    x->key = key;
    x->key_len = key_len;
    x->if_absent = if_absent;
    x->upload = cairn_env_random(&call->c->loop.env);
    large_pump(x);
    if (x->running > 0)
        return 0;
    rc = x->rc;
    call->inner_calls = NULL;
    free(x);
    return rc;
}

/* ---- get ---- */

/* A range that is not whole leaves memory between this one and the next that nobody has written. */
static void get_on_range(void *arg, int rc)
{
    struct large_piece *p = arg;

    if (rc == 0 && p->got != p->len) {
        rc = CAIRN_E_PROTO;
        snprintf(p->error.text, sizeof(p->error.text), "a range of %zu bytes came with %zu", p->len, p->got);
    }
    large_on_piece(p, rc);
}

static int get_start_range(struct cairn_large *x, struct large_piece *p, uint64_t off)
{
    const struct cairn_call *parent = x->parent;
    const Cairn__Wire__RouterGet *m = &parent->rq.get;
    struct cairn_call_options o = CAIRN_CALL_OPTIONS_INIT;
    struct cairn_call *call;
    int rc;

    o.error = &p->error;
    p->got = 0;
    rc = cairn__call_new_inner(parent->c, parent->handle, &o, get_on_range, p, &call);
    if (rc != 0)
        return rc;
    call->timeout_ns = large_left_ns(parent);
    call->sink = (struct cairn_call_sink){ .buf = parent->sink.buf + off,
                                           .room = p->len,
                                           .off = parent->sink.off + off,
                                           .len = &p->got,
                                           .stamp_want = parent->sink.stamp };
    call->uses_sink = call->has_steps = true;
    call->verify = parent->verify;
    cairn__hashed_get_go(call, large_ns(parent), m->key.data, m->key.len);
    cairn__hashed_route(call, large_ns(parent), m->key.data, m->key.len, NULL, NULL);
    p->call = call;
    return cairn__call_go(call);
}

static void get_ranges_done(struct cairn_large *x)
{
    struct cairn_call *call = x->parent;
    int rc = x->rc;

    call->inner_calls = NULL;
    if (rc == 0)
        call->sink.got = x->len;
    free(x);
    cairn__sink_ranges_over(call, rc);
}

int cairn__large_get(struct cairn_call *call, uint64_t from, uint64_t len)
{
    struct cairn_large *x = large_new(call, len, from);
    int rc;

    if (x == NULL)
        return CAIRN_E_NOMEM;
    x->start = get_start_range;
    x->done = get_ranges_done;
    large_pump(x);
    if (x->running > 0)
        return 0;
    rc = x->rc;
    call->inner_calls = NULL;
    free(x);
    return rc;
}
