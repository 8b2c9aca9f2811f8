/* One request of a batch: the entries that share it, what it asks, and what came of each: see hashed_mspread.h. */
#include "sdk/client/hashed_mspread.h"

#include <stdlib.h>

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

struct page *cairn__mspread_gather(struct batch *b, struct spread_child *child)
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
        cairn__mspread_note(b, CAIRN_E_NOMEM, cairn_error_text(CAIRN_E_NOMEM));
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

int cairn__mspread_ask(struct batch *b, struct spread_child *child, struct page *p)
{
    return b->entries[p->index[0]].single ? single_start(b, child, p) : page_start(b, child, p);
}

/* ---- results ---- */

static void entry_answered(struct entry *e, int rc, bool sent, const char *text)
{
    if (rc == CAIRN_STATUS_LARGE) {
        e->state = ENTRY_TODO;
        e->single = e->batch->x.news = true;
    } else if (rc == CAIRN_E_GONE && e->batch->puts != NULL) {
        cairn__number_gone(&e->number);
        if (e->unsure)
            cairn__mspread_done(e, CAIRN_E_UNKNOWN,
                                "it may have been done: the node forgot who asked before it answered");
        else
            e->state = ENTRY_TODO;
    } else if (cairn__route_is_passing(rc)) {
        e->unsure |= sent;
        e->state = ENTRY_TODO;
        e->held_back = e->batch->x.holds_back = true;
    } else {
        cairn__mspread_done(e, rc, text);
    }
}

/* It has its own way, number and tries: what comes of it is its last word. */
static void single_took(struct batch *b, struct spread_child *child, struct page *p, int rc)
{
    struct entry *e = &b->entries[p->index[0]];

    if (p->gets != NULL)
        b->gets[b->base + p->index[0]].value_len = p->gets[0].value_len;
    cairn__mspread_done(e, rc, child->error.text);
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
        cairn__mspread_note(b, rc, child->error.text);
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

void cairn__mspread_took(struct batch *b, struct spread_child *child, struct page *p, int rc)
{
    if (b->entries[p->index[0]].single)
        single_took(b, child, p, rc);
    else
        page_took(b, child, p, rc);
}
