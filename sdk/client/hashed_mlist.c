/* A page of keys of a clustered namespace: each node tells of the keys in slots that it leads, and what they say is
 * merged.
 *
 * The page is whole when each slot was told of by its leader: for every node that leads some by our map, the number
 * of slots that it told of and the sum of their marks are those of the map. What moved between the answers makes a
 * difference; then those whose answers do not fit are asked again. A key that two of them name comes once.
 *
 * Kept are the lowest keys that the page has room for, and how far all have told: the number of nodes does not
 * matter. */
#include "sdk/client/hashed_spread.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LIST_PAGE = 512 /* keys, when the caller names no number */ };

struct list_node {
    uint32_t led, told;         /* slots: by the map, and by its answer */
    uint64_t led_sum, told_sum; /* of their marks */
    bool asked;                 /* in this round */
};

struct list {
    struct spread x;
    struct cairn_page **out;
    struct cairn_page *page; /* the lowest keys so far, at most max; NULL: none */
    uint32_t max, nnodes, active;
    int hole;          /* a slot of which no node is known, as last looked; -1: there is none */
    bool cut, bounded; /* keys were left out behind @page; somebody has told only up to @bound */
    ProtobufCBinaryData prefix, after, bound;
    struct list_node *nodes;              /* by place */
    uint8_t keys[2][CAIRN_KEY_BYTES_MAX]; /* of @bound, and of @after when that is ours */
    ProtobufCBinaryData *merged_keys;     /* room for a page, while one is made; behind the list */
    uint64_t *merged_lengths;
};

static struct list *list_of(struct spread *x)
{
    return CONTAINER_OF(x, struct list, x);
}

/* ---- answers ---- */

/* The page and an answer become a page; both are in order. */
static int list_merge(struct list *l, const Cairn__Wire__RouterListReply *r)
{
    const struct cairn_entry *have = l->page != NULL ? l->page->entries : NULL;
    size_t nhave = l->page != NULL ? l->page->n : 0, i = 0, k = 0, n = 0;
    struct cairn_page *page;

    while (n < l->max && (i < nhave || k < r->n_keys)) {
        int d = i == nhave       ? 1
                : k == r->n_keys ? -1
                                 : cairn__key_cmp(have[i].key, have[i].key_len, r->keys[k].data, r->keys[k].len);

        l->merged_keys[n] = d <= 0 ? cairn__bytes(have[i].key, have[i].key_len) : r->keys[k];
        l->merged_lengths[n++] = d < 0 ? have[i].value_len : r->lengths[k];
        i += d <= 0;
        k += d >= 0;
    }
    l->cut |= i < nhave || k < r->n_keys;
    page = cairn__page_new(l->merged_keys, n, NULL, false, NULL, l->merged_lengths, false);
    if (page == NULL)
        return CAIRN_E_NOMEM;
    free(l->page);
    l->page = page;
    return 0;
}

static void list_bound(struct list *l, const ProtobufCBinaryData *upto)
{
    if (l->bounded && cairn__key_cmp(upto->data, upto->len, l->bound.data, l->bound.len) >= 0)
        return;
    l->bounded = true;
    memcpy(l->keys[0], upto->data, upto->len);
    l->bound = cairn__bytes(l->keys[0], upto->len);
}

static bool is_wellformed(const struct list *l, const struct cairn_call *call, const Cairn__Wire__RouterListReply *r)
{
    return cairn__list_is_wellformed(&call->rq.list, r) && r->upto.len <= CAIRN_KEY_BYTES_MAX &&
           (!r->more || cairn__key_cmp(r->upto.data, r->upto.len, l->after.data, l->after.len) > 0);
}

static void list_answered(struct cairn_call *call)
{
    const Cairn__Wire__RouterListReply *r = (const Cairn__Wire__RouterListReply *)call->rpc.reply;
    const struct spread_child *child = call->out;
    struct list *l = list_of(child->spread);
    struct list_node *node = &l->nodes[child->place];
    int rc;

    if (!is_wellformed(l, call, r)) {
        cairn__call_fail(call, CAIRN_E_PROTO, "the reply is malformed: %zu keys, %zu lengths, or not those asked for",
                        r->n_keys, r->n_lengths);
        return;
    }
    rc = list_merge(l, r);
    if (rc == 0) {
        if (r->more)
            list_bound(l, &r->upto);
        l->x.news |= node->told != r->led || node->told_sum != r->led_sum;
        node->told = r->led;
        node->told_sum = r->led_sum;
    }
    cairn__call_finish(call, rc);
}

static bool list_wants(const struct list_node *node)
{
    return node->led != node->told || node->led_sum != node->told_sum;
}

static void list_took(struct spread *x, struct spread_child *child, int rc)
{
    struct list *l = list_of(x);
    const struct list_node *node = &l->nodes[child->place];
    char text[CAIRN_ERR_TEXT_MAX];

    if (rc == 0 && list_wants(node)) { /* it, or we, have an older map */
        cairn__route_refresh(x->parent->c, child->place);
        snprintf(text, sizeof(text), "it leads %u slots, not the %u that the map names", node->told, node->led);
        cairn__spread_refused(x, child, node->told != node->led ? text : "it leads other slots than the map names");
    }
    if (rc == 0 || cairn__route_is_passing(rc) || x->parent->err.code != 0)
        return;
    x->parent->err.code = rc;
    snprintf(x->parent->err.text, sizeof(x->parent->err.text), "%s", child->error.text);
}

/* ---- rounds ---- */

/* Who leads how much, by the map as it is. SPREAD_ASK; SPREAD_WAIT: of some slot it is not known; CAIRN_E_NOMEM. */
static int list_look(struct list *l)
{
    const struct cairn_ns *ns = cairn__hashed_ns(l->x.parent);
    uint32_t n = cairn__route_nodes(l->x.parent->c);
    uint64_t epoch;

    if (n > l->nnodes) {
        struct list_node *more = realloc(l->nodes, n * sizeof(*more));

        if (more == NULL)
            return CAIRN_E_NOMEM;
        memset(more + l->nnodes, 0, (n - l->nnodes) * sizeof(*more));
        l->nodes = more;
        l->nnodes = n;
    }
    for (uint32_t i = 0; i < l->nnodes; i++) {
        l->nodes[i].led = 0;
        l->nodes[i].led_sum = 0;
        l->nodes[i].asked = false;
    }
    l->active = 0;
    l->hole = -1;
    for (uint32_t slot = ns->first_slot; slot < ns->first_slot + ns->slots; slot++) {
        int place = cairn__route_leader(l->x.parent->c, slot, &epoch);

        if (place < 0) {
            l->hole = (int)slot;
            return SPREAD_WAIT;
        }
        l->active += l->nodes[place].led++ == 0;
        l->nodes[place].led_sum += cairn_placement_slot_mark(slot);
    }
    return SPREAD_ASK;
}

/* Nothing up to the bound is there: the page begins behind it. */
static void list_step(struct list *l)
{
    memcpy(l->keys[1], l->bound.data, l->bound.len);
    l->after = cairn__bytes(l->keys[1], l->bound.len);
    l->bounded = l->cut = false;
    free(l->page);
    l->page = NULL;
    for (uint32_t i = 0; i < l->nnodes; i++)
        l->nodes[i].told = 0, l->nodes[i].told_sum = 0;
    l->x.news = true;
}

/* How many of the keys so far all have told of. */
static size_t list_sure(const struct list *l)
{
    size_t n = l->page != NULL ? l->page->n : 0;

    while (n > 0 && l->bounded &&
           cairn__key_cmp(l->page->entries[n - 1].key, l->page->entries[n - 1].key_len, l->bound.data,
                          l->bound.len) > 0)
        n--;
    return n;
}

static int list_plan(struct spread *x)
{
    struct list *l = list_of(x);
    int rc = x->parent->err.code != 0 ? x->parent->err.code : list_look(l);

    if (rc != SPREAD_ASK)
        return rc;
    for (uint32_t i = 0; i < l->nnodes; i++) {
        if (list_wants(&l->nodes[i]) && l->nodes[i].led > 0)
            return SPREAD_ASK;
    }
    if (list_sure(l) > 0 || !l->bounded)
        return SPREAD_OVER;
    list_step(l);
    return SPREAD_ASK;
}

/* A node looks at keys of slots that it does not lead, too; a page is made of what all tell. */
static uint32_t list_share(const struct list *l)
{
    const struct cairn_ns *ns = cairn__hashed_ns(l->x.parent);
    uint64_t replicas = ns->first_slot / ns->slots + 1;

    return (uint32_t)MIN(l->max * replicas * 5 / 4 / MAX(l->active, 1U) + 16, (uint64_t)CAIRN_BATCH_MAX);
}

static int list_start(struct spread *x, struct spread_child *child)
{
    struct list *l = list_of(x);
    Cairn__Wire__RouterList *m;
    struct cairn_call *call;
    uint32_t place;
    int rc;

    for (place = 0; place < l->nnodes; place++) {
        if (!l->nodes[place].asked && l->nodes[place].led > 0 && list_wants(&l->nodes[place]))
            break;
    }
    if (place == l->nnodes || x->parent->err.code != 0)
        return 1;
    child->place = (uint16_t)place;
    rc = cairn__spread_call(x, child, &call);
    if (rc != 0)
        return rc;
    l->nodes[place].asked = true;
    m = &call->rq.list;
    cairn__wire__router_list__init(m);
    m->ns = cairn__hashed_ns(x->parent)->name;
    m->ns_id = cairn__hashed_ns(x->parent)->id;
    m->prefix = l->prefix;
    m->after = l->after;
    m->max = list_share(l);
    m->lengths = true;
    call->answered = list_answered;
    cairn__call_to(call, &cairn_iface_router, CAIRN_PROVIDER_ROUTER, CAIRN__WIRE__ROUTER_METHOD__ROUTER_LIST);
    return cairn__call_go(call);
}

static int list_misses(const struct spread *x)
{
    const struct list *l = CONTAINER_OF(x, const struct list, x);

    uint16_t refused = x->refused.place;

    if (l->hole >= 0) /* nobody was asked */
        return -1;
    if (x->refused.text[0] != '\0' && l->nodes[refused].led > 0 && list_wants(&l->nodes[refused]))
        return refused;
    for (uint32_t i = 0; i < l->nnodes; i++) {
        if (l->nodes[i].led > 0 && list_wants(&l->nodes[i]))
            return (int)i;
    }
    return -1;
}

static int list_end(struct spread *x, int rc)
{
    struct list *l = list_of(x);
    size_t n = list_sure(l);
    struct cairn_page *page = rc == 0 ? cairn__page_new(NULL, 0, NULL, false, NULL, NULL, false) : NULL;

    if (rc == 0 && page == NULL)
        rc = CAIRN_E_NOMEM;
    if (rc == 0 && l->page != NULL) {
        free(page);
        page = l->page;
        page->more = l->bounded || l->cut || n < page->n;
        page->n = n;
        l->page = NULL;
    }
    if (rc == 0)
        *l->out = page;
    if (rc == CAIRN_E_TIMEOUT && l->hole >= 0)
        cairn_err_set(&x->parent->err, rc, "the time is over: the map, as far as it came here, names no node for slot %d",
                      l->hole);
    free(l->page);
    free(l->nodes);
    return rc;
}

static const struct spread_ops list_ops = {
    .plan = list_plan, .start = list_start, .took = list_took, .misses = list_misses, .end = list_end
};

int cairn__spread_list(struct cairn_ns *ns, ProtobufCBinaryData prefix, ProtobufCBinaryData after, uint32_t max,
                       struct cairn_page **page, const struct cairn_call_options *o, cairn_done_fn *done, void *arg)
{
    struct list *l;

    max = max != 0 ? MIN(max, (uint32_t)CAIRN_BATCH_MAX) : LIST_PAGE;
    l = calloc(1, sizeof(*l) + max * (sizeof(*l->merged_keys) + sizeof(*l->merged_lengths)));
    if (l == NULL)
        return cairn__refuse(o, CAIRN_E_NOMEM, "no memory for a list");
    l->merged_keys = (ProtobufCBinaryData *)(void *)(l + 1);
    l->merged_lengths = (uint64_t *)(void *)(l->merged_keys + max);
    l->out = page;
    l->max = max;
    l->prefix = prefix;
    l->after = after;
    l->hole = -1;
    return cairn__spread_go(ns, &l->x, &list_ops, o, done, arg);
}
