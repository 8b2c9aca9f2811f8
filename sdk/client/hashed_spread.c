/* Batches and listings of clustered namespaces: each key is asked of the node that leads it, each node for its part of a list.
 *
 * A list is whole when the nodes that were asked lead all slots of the namespace's class between them. A node that lost some,
 * or took some over, between the others' answers makes the sum wrong: then the page is asked for anew, by a newer map. */
#include "sdk/client/hashed_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    SPREAD_INFLIGHT = 64,  /* calls of one batch */
    SPREAD_NODES_MAX = 64, /* that are asked for a page at a time */
    LIST_PAGE = 512,       /* keys, when the caller names no number */
    LIST_AGAIN_MS = 50
};

struct spread;

struct spread_child {
    struct spread *spread;
    struct cairn_call *call; /* NULL: none runs */
    size_t index;
    struct cairn_error_info error;
};

struct spread {
    struct cairn_inner base;
    struct cairn_call *parent;
    int (*start)(struct spread *x, struct spread_child *child);
    void (*took)(struct spread *x, struct spread_child *child, int rc);
    size_t n, next;
    uint32_t running;
    int rc;
    struct cairn_put_item *puts;
    struct cairn_get_item *gets;
    struct cairn_call_options o; /* of each child */
    struct spread_child child[SPREAD_INFLIGHT];
};

static struct cairn_ns *ns_of(const struct cairn_call *call)
{
    return CONTAINER_OF(call->handle, struct cairn_ns, h);
}

static uint32_t left_ms(const struct cairn_call *call)
{
    uint64_t now = cairn_loop_now(&call->c->loop);

    return call->deadline_ns > now ? (uint32_t)((call->deadline_ns - now) / CAIRN_NS_PER_MS + 1) : 1;
}

/* ---- batches ---- */

static void spread_cancel(struct cairn_inner *inner)
{
    struct spread *x = CONTAINER_OF(inner, struct spread, base);

    for (uint32_t i = 0; i < SPREAD_INFLIGHT; i++) {
        if (x->child[i].call != NULL)
            cairn__call_cancel(x->child[i].call);
    }
}

static void spread_end(struct spread *x)
{
    struct cairn_call *call = x->parent;
    int rc = x->rc;

    call->inner_calls = NULL;
    free(x);
    cairn__call_finish(call, rc);
}

static void spread_on_child(void *arg, int rc);

static void spread_pump(struct spread *x)
{
    for (uint32_t i = 0; i < SPREAD_INFLIGHT && x->next < x->n; i++) {
        struct spread_child *child = &x->child[i];
        int rc;

        if (child->call != NULL)
            continue;
        child->spread = x;
        child->index = x->next;
        child->error.text[0] = '\0';
        x->o.timeout_ms = left_ms(x->parent);
        x->o.error = &child->error;
        rc = x->parent->canceled ? CAIRN_E_CANCELED : x->start(x, child);
        if (rc == CAIRN_E_BUSY && x->running > 0)
            return; /* too many calls: go on when one of ours is over */
        x->next++;
        if (rc == 0)
            x->running++;
        else
            x->took(x, child, rc);
    }
}

static void spread_on_child(void *arg, int rc)
{
    struct spread_child *child = arg;
    struct spread *x = child->spread;

    child->call = NULL;
    x->running--;
    x->took(x, child, rc);
    spread_pump(x);
    if (x->running == 0)
        spread_end(x);
}

static void spread_next(struct cairn_call *call)
{
    struct spread *x = CONTAINER_OF(call->inner_calls, struct spread, base);

    spread_pump(x);
    if (x->running == 0) { /* nothing could be started, or there is nothing to do */
        call->inner_calls = NULL;
        call->rpc.rc = x->rc;
        free(x);
        cairn__call_fail_later(call, call->rpc.rc);
    }
}

/* The first error is the batch's. */
static void note_error(struct spread *x, const struct spread_child *child, int rc)
{
    if (x->rc != 0)
        return;
    x->rc = rc;
    x->parent->err.code = rc;
    snprintf(x->parent->err.text, sizeof(x->parent->err.text), "%s", child->error.text);
}

static void put_took(struct spread *x, struct spread_child *child, int rc)
{
    x->puts[child->index].status = rc;
    if (rc != 0)
        note_error(x, child, rc);
}

static int put_start(struct spread *x, struct spread_child *child)
{
    return cairn__hashed_put_inner(ns_of(x->parent), &x->puts[child->index], &x->o, spread_on_child, child,
                                   &child->call);
}

/* As on one node: what is not there, or does not fit, is no error of the call. */
static void get_took(struct spread *x, struct spread_child *child, int rc)
{
    struct cairn_get_item *g = &x->gets[child->index];

    g->status = rc;
    if (rc != 0 && rc != CAIRN_E_TOOBIG)
        g->value_len = 0;
    if (rc != 0 && rc != CAIRN_E_TOOBIG && rc != CAIRN_E_NOTFOUND && rc != CAIRN_E_CORRUPT && rc != CAIRN_E_FORMAT &&
        rc != CAIRN_E_IO)
        note_error(x, child, rc);
}

static int get_start(struct spread *x, struct spread_child *child)
{
    return cairn__hashed_get_inner(ns_of(x->parent), &x->gets[child->index], &x->o, spread_on_child, child,
                                   &child->call);
}

static int spread_go(struct cairn_ns *ns, const struct spread *with, const struct cairn_call_options *o,
                     cairn_done_fn *done, void *arg)
{
    struct spread *x = malloc(sizeof(*x));
    struct cairn_call *call;
    int rc;

    if (x == NULL)
        return cairn__refuse(o, CAIRN_E_NOMEM, "no memory for a batch");
    rc = cairn__call_new(ns->h.c, &ns->h, o, done, arg, &call);
    if (rc != 0) {
        free(x);
        return rc;
    }
    *x = *with;
    x->base.cancel = spread_cancel;
    x->parent = call;
    x->o = (struct cairn_call_options)CAIRN_CALL_OPTIONS_INIT;
    x->o.flags = cairn__flags(o);
    call->inner_calls = &x->base;
    call->next = spread_next;
    return cairn__call_go(call);
}

int cairn__spread_mput(struct cairn_ns *ns, struct cairn_put_item *items, size_t n, const struct cairn_call_options *o,
                       cairn_done_fn *done, void *arg)
{
    struct spread with = { .start = put_start, .took = put_took, .n = n, .puts = items };

    return spread_go(ns, &with, o, done, arg);
}

int cairn__spread_mget(struct cairn_ns *ns, struct cairn_get_item *items, size_t n, const struct cairn_call_options *o,
                       cairn_done_fn *done, void *arg)
{
    struct spread with = { .start = get_start, .took = get_took, .n = n, .gets = items };

    return spread_go(ns, &with, o, done, arg);
}

/* ---- lists ---- */

struct list_part {
    struct cairn_page *page; /* NULL: nothing */
    ProtobufCBinaryData upto;
    size_t at;
    bool more;
};

/* One node after the other: a page is small, and a list has many. */
struct list {
    struct cairn_inner base;
    struct cairn_call *parent, *child;
    struct cairn_page **out;
    uint32_t max, led, nparts, nnodes;
    struct cairn_timer timer;
    struct cairn_error_info error;
    struct cairn_call_options o;
    ProtobufCBinaryData prefix, after;
    uint64_t nodes[SPREAD_NODES_MAX];
    struct list_part parts[SPREAD_NODES_MAX];
};

static void list_forget(struct list *x)
{
    for (uint32_t i = 0; i < x->nparts; i++) {
        free(x->parts[i].page);
        free(x->parts[i].upto.data);
    }
    x->nparts = x->nnodes = x->led = 0;
}

static void list_end(struct list *x, int rc, const char *text)
{
    struct cairn_call *call = x->parent;

    list_forget(x);
    cairn_timer_stop(&call->c->loop.env, &x->timer);
    call->inner_calls = NULL;
    free(x);
    if (rc != 0) {
        call->err.code = rc;
        snprintf(call->err.text, sizeof(call->err.text), "%s", text != NULL ? text : "");
    }
    call->rpc.rc = rc;
    cairn__call_fail_later(call, rc);
}

static void list_cancel(struct cairn_inner *inner)
{
    struct list *x = CONTAINER_OF(inner, struct list, base);

    if (x->child != NULL)
        cairn__call_cancel(x->child);
}

static int bytes_cmp(const void *a, size_t an, const void *b, size_t bn)
{
    int d = memcmp(a, b, MIN(an, bn));

    return d != 0 ? d : an < bn ? -1 : an > bn;
}

/* The part whose next key is the lowest; NULL: none has one. */
static struct list_part *list_lowest(struct list *x)
{
    struct list_part *low = NULL;

    for (uint32_t i = 0; i < x->nparts; i++) {
        struct list_part *p = &x->parts[i];
        const struct cairn_entry *e, *l;

        if (p->page == NULL || p->at == p->page->n)
            continue;
        e = &p->page->entries[p->at];
        l = low != NULL ? &low->page->entries[low->at] : NULL;
        if (l == NULL || bytes_cmp(e->key, e->key_len, l->key, l->key_len) < 0)
            low = p;
    }
    return low;
}

/* Up to where all nodes have told what they have; NULL: to the end. */
static const ProtobufCBinaryData *list_bound(const struct list *x)
{
    const ProtobufCBinaryData *bound = NULL;

    for (uint32_t i = 0; i < x->nparts; i++) {
        const struct list_part *p = &x->parts[i];

        if (p->more && (bound == NULL || bytes_cmp(p->upto.data, p->upto.len, bound->data, bound->len) < 0))
            bound = &p->upto;
    }
    return bound;
}

static void list_ask(struct list *x);

/* Nothing up to the bound is ours to give: the next page begins there. */
static bool list_step(struct list *x, const ProtobufCBinaryData *bound)
{
    uint8_t *copy = malloc(bound->len + 1);

    if (copy == NULL)
        return false;
    memcpy(copy, bound->data, bound->len);
    free(x->parent->gathered);
    x->parent->gathered = copy;
    x->after = cairn__bytes(copy, bound->len);
    list_forget(x);
    list_ask(x);
    return true;
}

static void list_merge(struct list *x)
{
    const ProtobufCBinaryData *bound = list_bound(x);
    ProtobufCBinaryData *keys = malloc(x->max * sizeof(*keys));
    uint64_t *lengths = malloc(x->max * sizeof(*lengths));
    struct list_part *p = NULL;
    struct cairn_page *page = NULL;
    size_t n = 0;

    while (keys != NULL && lengths != NULL && n < x->max && (p = list_lowest(x)) != NULL) {
        const struct cairn_entry *e = &p->page->entries[p->at];

        if (bound != NULL && bytes_cmp(e->key, e->key_len, bound->data, bound->len) > 0)
            break;
        keys[n] = cairn__bytes(e->key, e->key_len);
        lengths[n++] = e->value_len;
        p->at++;
    }
    if (keys == NULL || lengths == NULL) {
        list_end(x, CAIRN_E_NOMEM, NULL);
    } else if (n == 0 && bound != NULL) {
        if (!list_step(x, bound))
            list_end(x, CAIRN_E_NOMEM, NULL);
    } else {
        page = cairn__page_new(keys, n, NULL, false, NULL, lengths, bound != NULL || list_lowest(x) != NULL);
        if (page != NULL)
            *x->out = page;
        list_end(x, page != NULL ? 0 : CAIRN_E_NOMEM, NULL);
    }
    free(keys);
    free(lengths);
}

static void on_list_again(void *arg)
{
    list_ask(arg);
}

/* Slots are on the move: by a newer map, a moment later. */
static void list_again(struct list *x)
{
    struct cairn *c = x->parent->c;

    list_forget(x);
    cairn__route_refresh(c);
    if (cairn_timer_start(&c->loop.env, &x->timer, cairn_loop_now(&c->loop) + LIST_AGAIN_MS * CAIRN_NS_PER_MS) != 0)
        list_end(x, CAIRN_E_NOMEM, NULL);
}

static void list_on_part(void *arg, int rc)
{
    struct list *x = arg;

    x->child = NULL;
    if (rc != 0)
        list_end(x, rc, x->error.text);
    else
        list_ask(x);
}

static bool list_is_known(const struct list *x, uint64_t node)
{
    for (uint32_t i = 0; i < x->nnodes; i++) {
        if (x->nodes[i] == node)
            return true;
    }
    return false;
}

static void list_answered(struct cairn_call *call)
{
    const Cairn__Wire__RouterListReply *r = (const Cairn__Wire__RouterListReply *)call->rpc.reply;
    struct list *x = call->out;
    struct list_part *p = &x->parts[x->nparts];

    if (r->n_lengths != r->n_keys || (r->more && r->upto.len == 0)) {
        cairn__call_fail(call, CAIRN_E_PROTO, "the reply is malformed: %zu keys, %zu lengths", r->n_keys, r->n_lengths);
        return;
    }
    if (list_is_known(x, call->route.node)) { /* it has taken the slot over meanwhile */
        cairn__call_finish(call, 0);
        return;
    }
    *p = (struct list_part){ .more = r->more };
    p->page = cairn__page_new(r->keys, r->n_keys, NULL, false, NULL, r->lengths, r->more);
    p->upto.data = malloc(r->upto.len + 1);
    p->upto.len = r->upto.len;
    x->nparts++;
    x->nodes[x->nnodes++] = call->route.node;
    x->led += r->led;
    if (p->page == NULL || p->upto.data == NULL) {
        cairn__call_finish(call, CAIRN_E_NOMEM);
        return;
    }
    if (r->upto.len > 0)
        memcpy(p->upto.data, r->upto.data, r->upto.len);
    cairn__call_finish(call, 0);
}

static int list_ask_slot(struct list *x, uint32_t slot)
{
    struct cairn_ns *ns = ns_of(x->parent);
    Cairn__Wire__RouterList *m;
    struct cairn_call *call;
    int rc;

    x->o.timeout_ms = left_ms(x->parent);
    x->o.error = &x->error;
    rc = cairn__call_new(ns->h.c, &ns->h, &x->o, list_on_part, x, &call);
    if (rc != 0)
        return rc;
    m = &call->rq.list;
    cairn__wire__router_list__init(m);
    m->ns = ns->name;
    m->prefix = x->prefix;
    m->after = x->after;
    m->max = x->max;
    m->lengths = true;
    call->out = x;
    call->inner = true;
    call->answered = list_answered;
    cairn__call_to(call, &cairn_iface_router, CAIRN_PROVIDER_ROUTER, CAIRN__WIRE__ROUTER_METHOD__ROUTER_LIST);
    cairn__route_to(call, slot, NULL, false);
    x->child = call;
    return cairn__call_go(call);
}

/* The next node that was not asked, or the end. */
static void list_ask(struct list *x)
{
    const struct cairn_ns *ns = ns_of(x->parent);
    uint32_t slot = cairn__route_other(x->parent->c, ns->first_slot, ns->slots, x->nodes, x->nnodes);
    int rc = 0;

    if (x->parent->canceled)
        rc = CAIRN_E_CANCELED;
    else if (cairn_loop_now(&x->parent->c->loop) >= x->parent->deadline_ns)
        rc = CAIRN_E_TIMEOUT;
    else if (slot != UINT32_MAX && x->nnodes == SPREAD_NODES_MAX)
        rc = CAIRN_E_LIMIT;
    else if (slot != UINT32_MAX)
        rc = list_ask_slot(x, slot);
    else if (x->led == ns->slots)
        list_merge(x);
    else
        list_again(x);
    if (rc != 0)
        list_end(x, rc, NULL);
}

static void list_next(struct cairn_call *call)
{
    list_ask(CONTAINER_OF(call->inner_calls, struct list, base));
}

int cairn__spread_list(struct cairn_ns *ns, ProtobufCBinaryData prefix, ProtobufCBinaryData after, uint32_t max,
                       struct cairn_page **page, const struct cairn_call_options *o, cairn_done_fn *done, void *arg)
{
    struct list *x = calloc(1, sizeof(*x));
    struct cairn_call *call;
    int rc;

    if (x == NULL)
        return cairn__refuse(o, CAIRN_E_NOMEM, "no memory for a list");
    rc = cairn__call_new(ns->h.c, &ns->h, o, done, arg, &call);
    if (rc != 0) {
        free(x);
        return rc;
    }
    x->base.cancel = list_cancel;
    x->parent = call;
    x->out = page;
    x->max = max != 0 ? MIN(max, (uint32_t)CAIRN_BATCH_MAX) : LIST_PAGE;
    x->prefix = prefix;
    x->after = after;
    x->o = (struct cairn_call_options)CAIRN_CALL_OPTIONS_INIT;
    cairn_timer_init(&x->timer, on_list_again, x);
    call->inner_calls = &x->base;
    call->next = list_next;
    return cairn__call_go(call);
}
