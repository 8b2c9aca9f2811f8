/* Batches of a clustered namespace: the entries that one node leads share its requests, as on one node; what is too
 * large for that goes one by one. Each entry has its own result: those that another node has by now, or nobody at the
 * moment, are asked again, puts with the numbers that they have. Of a write-once namespace entries are read where a
 * replica is near, and where that has no value of one, whatever it says, the leader is asked (PROTOCOL §8).
 *
 * A batch is worked on window by window, so that what is kept beside it is bounded. */
#include "sdk/client/hashed_spread.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum entry_state {
    ENTRY_TODO,
    ENTRY_NUMBER, /* a put that waits for its number: one of the awaited */
    ENTRY_ASKED,
    ENTRY_DONE
};

struct entry {
    struct batch *batch;
    struct cairn_number number; /* puts */
    uint32_t slot;
    enum entry_state state;
    bool unsure;     /* a try ended without an answer */
    bool held_back;  /* TODO: in the next round */
    bool single;     /* too large for a page */
    bool by_replica; /* ASKED: of a node that does not lead */
    bool by_leader;  /* a replica had no value */
};

struct batch {
    struct spread x;
    struct cairn_put_item *puts; /* or gets */
    struct cairn_get_item *gets;
    size_t n, base, width; /* [base, base + width) is the window */
    uint32_t value_max;
    bool if_absent, numbered, by_replicas;
    int rc;                 /* the first error of an entry */
    struct entry entries[]; /* of the window */
};

/* What one request asks for: copies of items of the window, so that they are one behind the other. */
struct page {
    size_t n, asked, answered;
    bool sent, by_replica; /* by_replica: at least one of them is */
    struct cairn_put_item *puts;
    struct cairn_get_item *gets;
    uint32_t index[]; /* in the window; the items are behind it */
};

static struct batch *batch_of(struct spread *x)
{
    return CONTAINER_OF(x, struct batch, x);
}

static const void *entry_key(const struct batch *b, size_t i, size_t *len)
{
    *len = b->puts != NULL ? b->puts[b->base + i].key_len : b->gets[b->base + i].key_len;
    return b->puts != NULL ? b->puts[b->base + i].key : b->gets[b->base + i].key;
}

/* ---- results ---- */

static void batch_note(struct batch *b, int rc, const char *text)
{
    if (b->rc != 0)
        return;
    b->rc = b->x.parent->err.code = rc;
    snprintf(b->x.parent->err.text, sizeof(b->x.parent->err.text), "%s", text);
}

/* As on one node: what is not there, or does not fit, or is damaged, is no error of a mget. */
static bool is_of_entry_alone(const struct batch *b, int rc)
{
    return b->gets != NULL && (rc == CAIRN_E_TOOBIG || rc == CAIRN_E_NOTFOUND || rc == CAIRN_E_CORRUPT ||
                               rc == CAIRN_E_FORMAT || rc == CAIRN_E_IO);
}

static void entry_done(struct entry *e, int rc, const char *text)
{
    struct batch *b = e->batch;
    size_t i = b->base + (size_t)(e - b->entries);

    e->state = ENTRY_DONE;
    cairn__number_give(&e->number);
    if (b->puts != NULL)
        b->puts[i].status = rc;
    else
        b->gets[i].status = rc;
    if (b->gets != NULL && rc != 0 && rc != CAIRN_E_TOOBIG)
        b->gets[i].value_len = 0;
    if (rc != 0 && !is_of_entry_alone(b, rc))
        batch_note(b, rc, text[0] != '\0' ? text : cairn_error_text(rc));
    b->x.news = true;
}

static void entry_answered(struct entry *e, int rc, bool sent, const char *text)
{
    if (rc == CAIRN_STATUS_LARGE) {
        e->state = ENTRY_TODO;
        e->single = e->batch->x.news = true;
    } else if (rc == CAIRN_E_GONE && e->batch->puts != NULL) {
        cairn__number_gone(&e->number);
        if (e->unsure)
            entry_done(e, CAIRN_E_UNKNOWN, "it may have been done: the node forgot who asked before it answered");
        else
            e->state = ENTRY_TODO;
    } else if (cairn__route_is_passing(rc)) {
        e->unsure |= sent;
        e->state = ENTRY_TODO;
        e->held_back = e->batch->x.holds_back = true;
    } else {
        entry_done(e, rc, text);
    }
}

/* It has its own way, number and tries: what comes of it is its last word. */
static void single_took(struct batch *b, struct spread_child *child, struct page *p, int rc)
{
    struct entry *e = &b->entries[p->index[0]];

    if (p->gets != NULL)
        b->gets[b->base + p->index[0]].value_len = p->gets[0].value_len;
    entry_done(e, rc, child->error.text);
}

static bool has_value(int status)
{
    return status == 0 || status == CAIRN_E_TOOBIG || status == CAIRN_STATUS_LARGE;
}

static void page_took(struct batch *b, struct spread_child *child, struct page *p, int rc)
{
    struct cairn *c = b->x.parent->c;
    bool moved = false;

    if (p->by_replica && cairn_loop_now(&c->loop) < b->x.parent->deadline_ns)
        cairn__route_avoid(c, child->place, rc);
    if (rc == CAIRN_E_NOTFOUND && !p->by_replica) /* the namespace, and not its keys */
        batch_note(b, rc, child->error.text);
    for (size_t i = 0; i < p->n; i++) {
        struct entry *e = &b->entries[p->index[i]];
        int status = p->puts != NULL ? p->puts[i].status : p->gets[i].status;

        if (i >= (rc == 0 ? p->answered : p->asked)) {
            e->state = ENTRY_TODO; /* there was no room for it */
        } else if (e->by_replica && (rc != 0 || !has_value(status))) {
            e->state = ENTRY_TODO;
            e->by_leader = b->x.news = true;
        } else if (rc == 0) {
            if (p->gets != NULL)
                b->gets[b->base + p->index[i]].value_len = p->gets[i].value_len;
            entry_answered(e, status, true, "");
            moved |= status == CAIRN_E_MOVED;
        } else {
            entry_answered(e, rc, p->sent, child->error.text);
            moved |= rc == CAIRN_E_MOVED;
        }
    }
    if (moved)
        cairn__route_refresh(c, child->place);
}

static void batch_took(struct spread *x, struct spread_child *child, int rc)
{
    struct batch *b = batch_of(x);
    struct page *p = child->mine;

    child->mine = NULL;
    if (b->entries[p->index[0]].single)
        single_took(b, child, p, rc);
    else
        page_took(b, child, p, rc);
    free(p);
}

/* ---- requests ---- */

static void page_answered(struct cairn_call *call)
{
    const struct spread_child *child = call->out;
    struct page *p = child->mine;
    int rc = call->rpc.rc;

    if (rc == 0 && p->puts != NULL) {
        const Cairn__Wire__KvStatuses *r = (const Cairn__Wire__KvStatuses *)call->rpc.reply;

        rc = cairn__batch_statuses(call, r->status, r->n_status);
    } else if (rc == 0) {
        const Cairn__Wire__RouterMgetReply *r = (const Cairn__Wire__RouterMgetReply *)call->rpc.reply;

        rc = cairn__batch_lengths(call, r->lengths, r->n_lengths, r->crcs, r->n_crcs);
    }
    p->answered = call->batch.from;
    p->sent = call->rpc.was_sent;
    cairn__call_finish(call, rc);
}

static int page_puts(struct batch *b, struct cairn_call *call, struct page *p)
{
    Cairn__Wire__RouterMput *m = &call->rq.mput;
    Cairn__Wire__RouterRid **rids;
    struct cairn_batch_page wire;
    int rc;

    call->batch = (struct cairn_call_batch){ .kind = CAIRN_BATCH_PUT, .puts = p->puts, .n = p->n, .sums = true };
    call->batch.value_max = b->value_max;
    rc = cairn__batch_page(call, &wire);
    rids = rc == 0 ? malloc(wire.n * sizeof(Cairn__Wire__RouterRid *)) : NULL;
    if (rids == NULL)
        return rc != 0 ? rc : CAIRN_E_NOMEM;
    call->gathered = rids; /* freed with it */
    for (size_t i = 0; i < wire.n; i++) {
        struct entry *e = &b->entries[p->index[i]];

        cairn__number_floor(&e->number);
        rids[i] = &e->number.rid;
    }
    cairn__wire__router_mput__init(m);
    m->ns = cairn__hashed_ns(call)->name;
    m->ns_id = cairn__hashed_ns(call)->id;
    m->n_keys = m->n_lengths = m->n_rids = wire.n;
    m->keys = wire.keys;
    m->lengths = wire.lengths;
    m->crcs = wire.crcs;
    m->n_crcs = wire.ncrcs;
    m->if_absent = b->if_absent;
    m->rids = rids;
    cairn__call_to(call, &cairn_iface_router, CAIRN_PROVIDER_ROUTER, CAIRN__WIRE__ROUTER_METHOD__ROUTER_MPUT);
    return 0;
}

static int page_gets(struct cairn_call *call, struct page *p)
{
    Cairn__Wire__RouterMget *m = &call->rq.mget;
    struct cairn_batch_page wire;
    int rc;

    call->batch = (struct cairn_call_batch){ .kind = CAIRN_BATCH_GET, .gets = p->gets, .n = p->n };
    rc = cairn__batch_page(call, &wire);
    if (rc != 0)
        return rc;
    cairn__wire__router_mget__init(m);
    m->ns = cairn__hashed_ns(call)->name;
    m->ns_id = cairn__hashed_ns(call)->id;
    m->n_keys = wire.n;
    m->keys = wire.keys;
    m->replica = p->by_replica;
    cairn__call_to(call, &cairn_iface_router, CAIRN_PROVIDER_ROUTER, CAIRN__WIRE__ROUTER_METHOD__ROUTER_MGET);
    return 0;
}

static int page_start(struct batch *b, struct spread_child *child, struct page *p)
{
    struct cairn_call *call;
    int rc = cairn__spread_call(&b->x, child, &call);

    if (rc != 0)
        return rc;
    rc = b->puts != NULL ? page_puts(b, call, p) : page_gets(call, p);
    if (rc != 0) {
        child->call = NULL;
        return cairn__call_drop(call, NULL, rc);
    }
    p->asked = call->batch.upto;
    call->answered = page_answered;
    call->sees_errors = true;
    return cairn__call_go(call);
}

static int single_start(struct batch *b, struct spread_child *child, struct page *p)
{
    struct cairn_ns *ns = cairn__hashed_ns(b->x.parent);

    cairn__spread_options(&b->x, child);
    if (b->puts != NULL)
        return cairn__hashed_put_inner(ns, &p->puts[0], &b->x.o, cairn__spread_on_child, child, &child->call);
    return cairn__hashed_get_inner(ns, &p->gets[0], &b->x.o, cairn__spread_on_child, child, &child->call);
}

static bool entry_may_go(const struct batch *b, const struct entry *e)
{
    return e->state == ENTRY_TODO && !e->held_back && (b->puts == NULL || e->single || e->number.rid.seq != 0);
}

/* Where the entry goes now, or -1. */
static int entry_place(const struct batch *b, struct entry *e)
{
    struct cairn *c = b->x.parent->c;
    uint64_t epoch;
    int leader = cairn__route_leader(c, e->slot, &epoch), place = leader;

    if (b->by_replicas && !e->by_leader && !e->single)
        place = cairn__route_nearest(c, e->slot);
    e->by_replica = place != leader;
    return place;
}

/* All entries that may go where the first of them goes, in order. */
static struct page *page_gather(struct batch *b, struct spread_child *child)
{
    size_t item = b->puts != NULL ? sizeof(*b->puts) : sizeof(*b->gets), first, room, head;
    struct page *p;
    int place = -1;

    for (first = 0; first < b->width && place < 0; first++) {
        if (entry_may_go(b, &b->entries[first]))
            place = entry_place(b, &b->entries[first]);
    }
    if (place < 0)
        return NULL;
    first--;
    room = b->entries[first].single ? 1 : b->width - first;
    head = cairn_round_up(sizeof(*p) + room * sizeof(p->index[0]), sizeof(void *));
    p = malloc(head + room * item);
    if (p == NULL) {
        batch_note(b, CAIRN_E_NOMEM, cairn_error_text(CAIRN_E_NOMEM));
        return NULL;
    }
    *p = (struct page){ 0 };
    if (b->puts != NULL)
        p->puts = (void *)((char *)p + head);
    else
        p->gets = (void *)((char *)p + head);
    for (size_t i = first; p->n < room && i < b->width; i++) {
        struct entry *e = &b->entries[i];

        if (!entry_may_go(b, e) || (i > first && (e->single || entry_place(b, e) != place)))
            continue;
        p->by_replica |= e->by_replica;
        if (b->puts != NULL)
            p->puts[p->n] = b->puts[b->base + i];
        else
            p->gets[p->n] = b->gets[b->base + i];
        p->index[p->n++] = (uint32_t)i;
        e->state = ENTRY_ASKED;
    }
    child->place = (uint16_t)place;
    return p;
}

static void on_number(struct cairn_number *n, int rc)
{
    struct entry *e = CONTAINER_OF(n, struct entry, number);
    struct batch *b = e->batch;

    if (e->state != ENTRY_NUMBER)
        return;
    e->state = ENTRY_TODO;
    b->x.awaited--;
    b->x.news = true;
    b->numbered = false;
    if (rc != 0)
        entry_done(e, rc, cairn__number_error(n));
    cairn__spread_pump_soon(&b->x);
}

/* All whose sessions are being opened go together, a request for each node; those that wait for others' answers do
 * not hold them up: the answers may be theirs. */
static bool batch_is_ready(struct spread *x)
{
    struct batch *b = batch_of(x);

    for (size_t i = 0; x->awaited > 0 && i < b->width; i++) {
        if (b->entries[i].state == ENTRY_NUMBER && cairn__number_is_coming(&b->entries[i].number))
            return false;
    }
    return true;
}

static void batch_number(struct batch *b)
{
    struct cairn_ns *ns = cairn__hashed_ns(b->x.parent);
    int rc;

    b->numbered = true;
    for (size_t i = 0; i < b->width; i++) {
        struct entry *e = &b->entries[i];

        if (e->state != ENTRY_TODO || e->single || cairn__number_take(ns->h.c, &e->number, ns, e->slot, &rc))
            continue;
        if (rc != 0 && !cairn__route_is_passing(rc)) {
            entry_done(e, rc, "");
        } else if (rc == 0) {
            e->state = ENTRY_NUMBER;
            b->x.awaited++;
        }
    }
}

static int batch_start(struct spread *x, struct spread_child *child)
{
    struct batch *b = batch_of(x);
    struct page *p;
    int rc;

    if (b->puts != NULL && !b->numbered)
        batch_number(b);
    p = page_gather(b, child);
    if (p == NULL)
        return 1;
    child->mine = p;
    rc = b->entries[p->index[0]].single ? single_start(b, child, p) : page_start(b, child, p);
    if (rc == 0)
        return 0;
    for (size_t i = 0; i < p->n; i++)
        b->entries[p->index[i]].state = ENTRY_TODO;
    free(p);
    child->mine = NULL;
    if (!cairn__route_is_passing(rc))
        batch_note(b, rc, cairn_error_text(rc));
    return rc;
}

/* ---- rounds ---- */

static void window_begin(struct batch *b)
{
    struct cairn_ns *ns = cairn__hashed_ns(b->x.parent);

    b->width = MIN(b->n - b->base, (size_t)CAIRN_BATCH_MAX);
    for (size_t i = 0; i < b->width; i++) {
        struct entry *e = &b->entries[i];
        size_t len;
        const void *key = entry_key(b, i, &len);

        *e = (struct entry){ .batch = b, .slot = cairn__hashed_slot(ns, key, len) };
        e->single = b->puts != NULL && b->puts[b->base + i].value_len > b->value_max;
        cairn__number_init(&e->number, ns->write_once, on_number);
    }
}

static bool window_is_done(const struct batch *b)
{
    for (size_t i = 0; i < b->width; i++) {
        if (b->entries[i].state != ENTRY_DONE)
            return false;
    }
    return true;
}

static int batch_plan(struct spread *x)
{
    struct batch *b = batch_of(x);
    uint64_t epoch;

    b->numbered = false;
    if (window_is_done(b)) {
        b->base += b->width;
        b->width = 0;
        if (b->base == b->n)
            return SPREAD_OVER;
        window_begin(b);
    }
    if (b->rc == CAIRN_E_NOMEM)
        return b->rc;
    for (size_t i = 0; i < b->width; i++)
        b->entries[i].held_back = false;
    for (size_t i = 0; i < b->width; i++) {
        if (b->entries[i].state != ENTRY_DONE && cairn__route_leader(x->parent->c, b->entries[i].slot, &epoch) >= 0)
            return SPREAD_ASK;
    }
    return SPREAD_WAIT; /* nothing is known of any */
}

static void batch_forget(struct spread *x)
{
    struct batch *b = batch_of(x);

    for (size_t i = 0; i < b->width; i++) {
        if (b->entries[i].state != ENTRY_NUMBER)
            continue;
        b->entries[i].state = ENTRY_TODO; /* before it is given: that may wake others, and not itself */
        cairn__number_give(&b->entries[i].number);
    }
    x->awaited = 0;
}

static int batch_misses(const struct spread *x)
{
    const struct batch *b = CONTAINER_OF(x, const struct batch, x);
    uint64_t epoch;
    int place = -1;

    for (size_t i = 0; i < b->width && place < 0; i++) {
        if (b->entries[i].state != ENTRY_DONE)
            place = cairn__route_leader(x->parent->c, b->entries[i].slot, &epoch);
    }
    return place;
}

static int batch_end(struct spread *x, int rc)
{
    struct batch *b = batch_of(x);

    for (size_t i = 0; i < b->width; i++) {
        if (b->entries[i].state != ENTRY_DONE)
            entry_done(&b->entries[i], rc, "");
    }
    for (size_t i = b->base + b->width; i < b->n; i++) {
        if (b->puts != NULL)
            b->puts[i].status = rc;
        else
            b->gets[i].status = rc;
    }
    return rc != 0 ? rc : b->rc;
}

static const struct spread_ops batch_ops = { .plan = batch_plan,
                                             .start = batch_start,
                                             .took = batch_took,
                                             .is_ready = batch_is_ready,
                                             .forget = batch_forget,
                                             .misses = batch_misses,
                                             .end = batch_end };

static int batch_go(struct cairn_ns *ns, const struct batch *with, const struct cairn_call_options *o,
                    cairn_done_fn *done, void *arg)
{
    struct batch *b = calloc(1, sizeof(*b) + MIN(with->n, (size_t)CAIRN_BATCH_MAX) * sizeof(b->entries[0]));

    if (b == NULL)
        return cairn__refuse(o, CAIRN_E_NOMEM, "no memory for a batch");
    *b = *with;
    b->value_max = MIN(ns->embed_threshold, (uint32_t)CAIRN_KV_VALUE_BYTES_MAX);
    b->by_replicas = b->gets != NULL && ns->write_once;
    b->if_absent = (cairn__flags(o) & CAIRN_IF_ABSENT) != 0;
    return cairn__spread_go(ns, &b->x, &batch_ops, o, done, arg);
}

int cairn__spread_mput(struct cairn_ns *ns, struct cairn_put_item *items, size_t n, const struct cairn_call_options *o,
                       cairn_done_fn *done, void *arg)
{
    const struct batch with = { .n = n, .puts = items };

    return batch_go(ns, &with, o, done, arg);
}

int cairn__spread_mget(struct cairn_ns *ns, struct cairn_get_item *items, size_t n, const struct cairn_call_options *o,
                       cairn_done_fn *done, void *arg)
{
    const struct batch with = { .n = n, .gets = items };

    return batch_go(ns, &with, o, done, arg);
}
