/* Regions that come from another node: one that leads a slot has stored a large value's region and tells the others
 * to fetch it (spread.c), long before an entry names it. Whatever names one that is not here, an entry or a record of
 * a copy, is not taken before it is (I11): that is the rule, and the telling only makes it quick.
 *
 *  LOOK ---> WAIT ---> READ ---> PUT ---> DONE        LOOK and READ may also go to DONE; all but DONE to FAILED.
 *
 *  LOOK    whether it is here is being asked: it may be, from another time.
 *  WAIT    for memory, or for a session with the other node.
 *  READ    the other node is writing its bytes into our memory.
 *  PUT     they are being stored, under the same name, with the writer's checksums, until they are on disk.
 *  DONE    it is here; or the other node has it no more, though it names it and leads: then the name was replaced or the
 *          namespace removed since, and what says so follows. (Whoever does not lead any more, in the epoch of the message
 *          and as the process that sent it, has perhaps cut the entry from its log, or lost it, and another has not.)
 *  FAILED  it is asked for again by whatever comes again. */
#include "server/cluster/service/fetch.h"

#include "sdk/core/base/log.h"
#include "sdk/core/bulk/bulk.h"
#include "server/cluster/service/record.h"
#include "server/cluster/service/store_page.h"

#include "schema/extent.pb-c.h"

#include <inttypes.h>
#include <stdlib.h>

enum { FETCH_LOOK, FETCH_WAIT, FETCH_READ, FETCH_PUT, FETCH_DONE, FETCH_FAILED, FETCH_NR };
enum {
    FETCHES_MAX = 1024, /* of a worker */
    FETCHES_BUFFERS = 4,
    FETCH_READ_MS = 10000,
    FETCH_SESSION_MS = 50,
    FETCH_SESSION_TRIES = 20,
};

/* Who names a region: a replica that leads @slot in @epoch; or nobody does yet, and the epoch is 0. */
struct fetch_source {
    struct cairn_who who;
    uint32_t slot;
    uint64_t epoch;
};

struct side_fetch {
    struct cairn_sm sm;
    struct cairn_link link; /* of the worker's */
    struct side_worker *w;
    struct cairn_record_region region;
    uint64_t owner;
    struct fetch_source from; /* that has it */
    uint32_t tries;
    uint8_t *buf;
    uint32_t *crcs;
    struct cairn_bulk_region exposed;
    union {
        Cairn__Wire__ExtentId id;
        Cairn__Wire__ClusterRegion read;
        Cairn__Wire__ExtentPut put;
    } msg;
    struct cairn_rpc_call call;
    struct cairn_err err;
};

#define TO CAIRN_SM_TO
static const struct cairn_sm_state fetch_states[FETCH_NR] = {
    [FETCH_LOOK] = { "LOOK", CAIRN_SM_INITIAL, TO(FETCH_WAIT) | TO(FETCH_DONE) | TO(FETCH_FAILED) },
    [FETCH_WAIT] = { "WAIT", 0, TO(FETCH_READ) | TO(FETCH_FAILED) },
    [FETCH_READ] = { "READ", 0, TO(FETCH_PUT) | TO(FETCH_DONE) | TO(FETCH_FAILED) },
    [FETCH_PUT] = { "PUT", 0, TO(FETCH_DONE) | TO(FETCH_FAILED) },
    [FETCH_DONE] = { "DONE", CAIRN_SM_FINAL, 0 },
    [FETCH_FAILED] = { "FAILED", CAIRN_SM_FINAL | CAIRN_SM_FAILURE, 0 },
};

static bool fetch_invariant(const struct cairn_sm *sm)
{
    const struct side_fetch *f = CONTAINER_OF(sm, const struct side_fetch, sm);

    return CAIRN_HOLDS((f->buf != NULL) == (sm->state == FETCH_READ || sm->state == FETCH_PUT) ||
                       cairn_sm_is_final(sm)) &&
           CAIRN_HOLDS(f->w->fetch_buffers <= FETCHES_BUFFERS) &&
           CAIRN_HOLDS(sm->state != FETCH_PUT || f->crcs != NULL);
}

const struct cairn_sm_kind side_fetch_kind = { "region-fetch", fetch_states, FETCH_NR, fetch_invariant, 60000 };

static struct cluster_regions *table_of(struct side_worker *w)
{
    return &w->c->side->regions;
}

/* ---- those that wait for several ---- */

struct hold {
    struct cairn_link link; /* of the worker's */
    struct cairn_rpc_req *rq;
    struct side_worker *w;
    struct cairn_loop *origin;
    struct cairn_task task;
    int rc;
};

static void hold_reply(void *arg)
{
    struct hold *h = arg;

    if (h->rc == 0)
        cairn_rpc_reply(h->rq, 0, NULL, NULL, 0);
    else
        cairn_rpc_reply_err(h->rq, h->rc, "regions could not be fetched");
    free(h);
}

static void hold_over(struct hold *h, int rc)
{
    cairn_list_del(&h->link);
    h->rc = rc;
    cairn_task_init(&h->task, hold_reply, h);
    cairn_loop_post(h->origin, &h->task);
}

/* None of its regions is on the way any more? */
static void hold_check(struct hold *h)
{
    const Cairn__Wire__ClusterRegions *m = (const Cairn__Wire__ClusterRegions *)h->rq->msg;
    int rc = 0;

    for (size_t i = 0; i < m->n_ids; i++) {
        enum region_state state = cluster_regions_state(table_of(h->w), m->ids[i]);

        if (state == REGION_FETCHING)
            return;
        if (state != REGION_HERE)
            rc = CAIRN_E_BUSY;
    }
    hold_over(h, rc);
}

static void holds_check(struct side_worker *w)
{
    CAIRN_LIST_FOREACH_SAFE (l, &w->holds)
        hold_check(CONTAINER_OF(l, struct hold, link));
}

/* ---- one region ---- */

static void fetch_next(struct side_worker *w);

static void fetch_end(struct side_fetch *f, enum region_state state, int rc)
{
    struct side_worker *w = f->w;
    bool had = f->buf != NULL;

    if (rc != 0 && !w->stopping)
        cairn_log_warn("region %016" PRIx64 " of node %" PRIx64 " is not to be had now: %s", f->region.id,
                       f->from.who.node, f->err.text[0] != '\0' ? f->err.text : cairn_error_text(rc));
    cairn_bulk_conceal(&f->exposed);
    free(f->buf);
    free(f->crcs);
    w->fetch_buffers -= had;
    w->nfetches--;
    cairn_list_del(&f->link);
    cluster_regions_set(table_of(w), f->region.id, state);
    cairn_sm_move_or_fail(&f->sm, FETCH_DONE, FETCH_FAILED, rc);
    cairn_sm_fini(&f->sm);
    free(f);
    holds_check(w);
    fetch_next(w);
    side_worker_step(w);
}

static void fetch_call(struct side_fetch *f, const struct cairn_rpc_target *target, uint32_t method,
                       const ProtobufCMessage *msg, void (*done)(struct cairn_rpc_call *call))
{
    memset(&f->call, 0, offsetof(struct cairn_rpc_call, arena));
    f->err.text[0] = '\0';
    f->call.dest.rpc = f->w->rpc;
    f->call.iface = target != NULL ? target->iface : &cairn_iface_cluster;
    f->call.provider = target != NULL ? target->id : CAIRN_PROVIDER_CLUSTER;
    f->call.method = (uint16_t)method;
    f->call.msg = msg;
    f->call.done = done;
    f->call.arg = f;
    f->call.err = &f->err;
}

static size_t ncrcs_of(const struct side_fetch *f)
{
    return cairn_record_ncrcs(f->region.len);
}

static int fetch_expose(struct side_fetch *f, uint32_t rights)
{
    cairn_bulk_conceal(&f->exposed);
    return cairn_bulk_expose(f->w->rpc, f->buf, f->region.len, rights, &f->exposed);
}

static void on_put(struct cairn_rpc_call *call)
{
    struct side_fetch *f = call->arg;

    fetch_end(f, call->rc == 0 ? REGION_HERE : REGION_UNKNOWN, call->rc);
}

static void put_start(struct side_fetch *f)
{
    int rc = fetch_expose(f, CAIRN_BULK_CAN_READ);

    if (rc != 0) {
        fetch_end(f, REGION_UNKNOWN, rc);
        return;
    }
    cairn__wire__extent_put__init(&f->msg.put);
    f->msg.put.id = f->region.id;
    f->msg.put.length = f->region.len;
    f->msg.put.owner = f->owner;
    f->msg.put.durability = CAIRN__WIRE__DURABILITY__DURABILITY_SYNC; /* whatever names it may be on disk any moment */
    f->msg.put.bulk = &f->exposed.desc;
    f->msg.put.crcs = f->crcs;
    f->msg.put.n_crcs = ncrcs_of(f);
    cairn_sm_move(&f->sm, FETCH_PUT);
    fetch_call(f, f->w->extent, CAIRN__WIRE__EXTENT_METHOD__EXTENT_PUT, &f->msg.put.base, on_put);
    cairn_rpc_call_start(&f->call);
}

static bool is_answer(int rc)
{
    return rc != CAIRN_E_TIMEOUT && rc != CAIRN_E_CANCELED && rc != CAIRN_E_CLOSED && rc != CAIRN_E_UNREACHABLE &&
           rc != CAIRN_E_UNKNOWN;
}

static void on_read(struct cairn_rpc_call *call)
{
    struct side_fetch *f = call->arg;
    const Cairn__Wire__ExtentReadReply *m = (const Cairn__Wire__ExtentReadReply *)call->reply;
    int rc = call->rc;

    if (is_answer(rc))
        cairn_bulk_settle(&f->exposed);
    if (rc == CAIRN_E_NOTFOUND && !f->w->stopping) {
        cairn_log_info("region %016" PRIx64 " is not at node %" PRIx64 " any more", f->region.id, f->from.who.node);
        fetch_end(f, REGION_GONE, 0);
        return;
    }
    if (rc == 0 && (m->length != f->region.len || m->n_crcs != ncrcs_of(f)))
        rc = CAIRN_E_PROTO;
    if (rc == 0 && f->w->stopping)
        rc = CAIRN_E_SHUTDOWN;
    f->crcs = rc == 0 ? malloc(m->n_crcs * sizeof(*f->crcs)) : NULL;
    if (rc == 0 && f->crcs == NULL)
        rc = CAIRN_E_NOMEM;
    if (rc != 0) {
        fetch_end(f, REGION_UNKNOWN, rc);
        return;
    }
    memcpy(f->crcs, m->crcs, m->n_crcs * sizeof(*f->crcs));
    put_start(f);
}

static void on_session_time(void *arg)
{
    fetch_next(arg);
}

/* False: there is no session with the other node yet. */
static bool read_start(struct side_fetch *f)
{
    struct side_worker *w = f->w;
    struct cairn_rpc_dest dest;
    int rc;

    if (!cairn_cluster__peer(w->c, w->index, f->from.who.node, &dest))
        return false;
    f->buf = malloc(f->region.len);
    if (f->buf == NULL) {
        fetch_end(f, REGION_UNKNOWN, CAIRN_E_NOMEM);
        return true;
    }
    w->fetch_buffers++;
    cairn_sm_move(&f->sm, FETCH_READ);
    rc = fetch_expose(f, CAIRN_BULK_CAN_WRITE);
    if (rc != 0) {
        fetch_end(f, REGION_UNKNOWN, rc);
        return true;
    }
    cairn__wire__cluster_region__init(&f->msg.read);
    f->msg.read.id = f->region.id;
    f->msg.read.length = f->region.len;
    f->msg.read.bulk = &f->exposed.desc;
    f->msg.read.slot = f->from.slot;
    f->msg.read.epoch = f->from.epoch;
    f->msg.read.inc = f->from.who.inc;
    fetch_call(f, NULL, CAIRN__WIRE__CLUSTER_METHOD__CLUSTER_REGION_READ, &f->msg.read.base, on_read);
    f->call.dest = dest;
    f->call.timeout_ns = FETCH_READ_MS * CAIRN_NS_PER_MS;
    cairn_rpc_call_start(&f->call);
    return true;
}

/* The oldest that waits goes on, if there is a buffer. */
static void fetch_next(struct side_worker *w)
{
    struct cairn_env *env = &w->loop->env;

    CAIRN_LIST_FOREACH_SAFE (l, &w->fetches) {
        struct side_fetch *f = CONTAINER_OF(l, struct side_fetch, link);

        if (w->fetch_buffers >= FETCHES_BUFFERS || w->stopping)
            return;
        if (f->sm.state != FETCH_WAIT)
            continue;
        if (!read_start(f)) {
            if (++f->tries <= FETCH_SESSION_TRIES &&
                cairn_timer_start(env, &w->fetch_timer, cairn_env_now_ns(env) + FETCH_SESSION_MS * CAIRN_NS_PER_MS) ==
                    0)
                return;
            fetch_end(f, REGION_UNKNOWN, CAIRN_E_UNREACHABLE);
        }
        return; /* what ended has begun the next, and the list is another */
    }
}

static void on_looked(struct cairn_rpc_call *call)
{
    struct side_fetch *f = call->arg;
    struct side_worker *w = f->w;
    const Cairn__Wire__ExtentStatReply *m = (const Cairn__Wire__ExtentStatReply *)call->reply;

    if (w->stopping) {
        fetch_end(f, REGION_UNKNOWN, CAIRN_E_SHUTDOWN);
    } else if (call->rc == CAIRN_E_NOTFOUND) {
        cairn_sm_move(&f->sm, FETCH_WAIT);
        for (uint32_t n = w->fetch_buffers; n < FETCHES_BUFFERS; n++)
            fetch_next(w);
    } else if (call->rc != 0 || m->length != f->region.len || !m->sealed || m->quarantined) {
        fetch_end(f, REGION_UNKNOWN, call->rc != 0 ? call->rc : CAIRN_E_CORRUPT);
    } else {
        fetch_end(f, REGION_HERE, 0);
    }
}

static int fetch_start(struct side_worker *w, const struct fetch_source *from, uint64_t owner,
                       struct cairn_record_region region)
{
    struct side_fetch *f;

    if (w->nfetches >= FETCHES_MAX || w->extent == NULL || w->stopping)
        return CAIRN_E_BUSY;
    f = calloc(1, sizeof(*f));
    if (f == NULL)
        return CAIRN_E_NOMEM;
    f->w = w;
    f->from = *from;
    f->owner = owner;
    f->region = region;
    cairn_sm_init(&f->sm, &side_fetch_kind, &w->loop->machines);
    cairn_list_add_tail(&w->fetches, &f->link);
    w->nfetches++;
    cairn__wire__extent_id__init(&f->msg.id);
    f->msg.id.id = region.id;
    fetch_call(f, w->extent, CAIRN__WIRE__EXTENT_METHOD__EXTENT_STAT, &f->msg.id.base, on_looked);
    cairn_rpc_call_start(&f->call);
    return 0;
}

/* Whether it is here. If not, and nobody is at it, it is fetched from @from. */
static bool region_is_here(struct side_worker *w, const struct fetch_source *from, uint64_t owner,
                           struct cairn_record_region region)
{
    struct cluster_regions *t = table_of(w);
    enum region_state state = cluster_regions_pin(t, region.id, cairn_env_now_ns(&w->loop->env));

    if (state == REGION_UNKNOWN && fetch_start(w, from, owner, region) != 0)
        cluster_regions_set(t, region.id, REGION_UNKNOWN);
    return state == REGION_HERE || state == REGION_GONE;
}

/* ---- what names them ---- */

static bool record_is_here(struct side_worker *w, const struct cairn_repl_msg *m, uint32_t ns, const uint8_t *record,
                           uint32_t len)
{
    const struct fetch_source from = { .who = m->from, .slot = m->slot, .epoch = m->epoch };
    struct cairn_record r;
    bool here = true;

    if (cairn_record_parse(record, len, &r) != 0) /* what the router makes of it is its business */
        return true;
    for (uint32_t i = 0; i < r.nregions; i++)
        here &= region_is_here(w, &from, CAIRN_REGION_OWNER_TAG | ns, cairn_record_region(&r, i));
    return here;
}

static bool entry_is_here(struct side_worker *w, const struct cairn_repl_msg *m, const struct cairn_log_entry *e)
{
    struct store_body b;

    if (e->kind != CAIRN_ENTRY_WRITE || store_body_get(e->body, e->body_len, &b) != 0 || b.op != STORE_PUT)
        return true;
    return cluster_slots_has(w->slots, m->slot, e->at) || record_is_here(w, m, b.ns, b.record, b.record_len);
}

static bool page_is_here(struct side_worker *w, const struct cairn_repl_msg *m)
{
    struct store_page_record r;
    bool here = true;

    for (uint32_t at = 0; at < m->len && store_page_next(m->bytes, m->len, &at, &r) == 0;)
        here &= record_is_here(w, m, r.ns, r.record, r.record_len);
    return here;
}

bool side_fetch_admit(struct side_worker *w, struct cairn_repl_msg *m)
{
    uint32_t first = m->nentries;

    if (m->kind == CAIRN_REPL_COPY && m->part == CAIRN_COPY_RECORDS) {
        if (!page_is_here(w, m))
            m->number = 0; /* of no part of records: the source hears which one is wanted, and that we live */
        return true;
    }
    if (m->kind != CAIRN_REPL_APPEND)
        return true;
    for (uint32_t i = 0; i < m->nentries; i++) { /* all of them: what is missing is fetched side by side */
        if (!entry_is_here(w, m, &m->entries[i]))
            first = MIN(first, i);
    }
    if (first == 0 && m->nentries > 0)
        return false;
    m->nentries = first;
    return true;
}

static void record_is_taken(struct side_worker *w, const uint8_t *record, uint32_t len)
{
    struct cairn_record r;

    if (cairn_record_parse(record, len, &r) != 0)
        return;
    for (uint32_t i = 0; i < r.nregions; i++)
        cluster_regions_named(table_of(w), cairn_record_region(&r, i).id);
}

void side_fetch_taken(struct side_worker *w, const struct cairn_repl_msg *m)
{
    struct store_page_record r;
    struct store_body b;

    if (m->kind == CAIRN_REPL_COPY && m->part == CAIRN_COPY_RECORDS && m->number > 0) {
        for (uint32_t at = 0; at < m->len && store_page_next(m->bytes, m->len, &at, &r) == 0;)
            record_is_taken(w, r.record, r.record_len);
    }
    for (uint32_t i = 0; m->kind == CAIRN_REPL_APPEND && i < m->nentries; i++) {
        if (m->entries[i].kind == CAIRN_ENTRY_WRITE &&
            store_body_get(m->entries[i].body, m->entries[i].body_len, &b) == 0 && b.op == STORE_PUT)
            record_is_taken(w, b.record, b.record_len);
    }
}

/* ---- requests ---- */

static void hold_begin(void *arg)
{
    struct hold *h = arg;
    struct side_worker *w = h->w;
    const Cairn__Wire__ClusterRegions *m = (const Cairn__Wire__ClusterRegions *)h->rq->msg;
    const struct fetch_source from = { .who.node = m->node, .slot = m->slot };

    cairn_list_add_tail(&w->holds, &h->link);
    if (w->stopping || w->extent == NULL) {
        hold_over(h, w->stopping ? CAIRN_E_SHUTDOWN : CAIRN_E_NOPROVIDER);
        return;
    }
    for (size_t i = 0; i < m->n_ids; i++)
        (void)region_is_here(w, &from, m->owner, (struct cairn_record_region){ .id = m->ids[i], .len = m->lengths[i] });
    hold_check(h);
}

void cairn_cluster__side_on_regions(struct cairn_rpc_req *rq)
{
    const Cairn__Wire__ClusterRegions *m = (const Cairn__Wire__ClusterRegions *)rq->msg;
    struct cairn_cluster *c = rq->target->ctx;
    struct hold *h;
    bool good = m->n_ids == m->n_lengths && m->n_ids <= CAIRN_PARTS_MAX && m->slot < SIDE_SLOTS_MAX;

    for (size_t i = 0; good && i < m->n_ids; i++)
        good = m->ids[i] != 0 && m->lengths[i] > 0 && m->lengths[i] <= CAIRN_CLUSTER_REGION_BYTES;
    if (!good) {
        cairn_rpc_reply_err(rq, CAIRN_E_INVAL, "regions of slot %u: malformed", m->slot);
        return;
    }
    h = calloc(1, sizeof(*h));
    if (h == NULL) {
        cairn_rpc_reply_err(rq, CAIRN_E_NOMEM, "regions");
        return;
    }
    h->rq = rq;
    h->w = side_worker_of(c, m->slot);
    h->origin = cairn_rpc_loop(rq->rpc);
    cairn_task_init(&h->task, hold_begin, h);
    cairn_loop_post(h->w->loop, &h->task);
}

/* A region for another node: the extent provider writes it straight into that node's memory. That there is none is to be
 * said by who leads the slot that names it, so the slot's worker is asked. */
struct reading {
    struct cairn_rpc_req *rq;
    struct side_worker *w; /* the slot's */
    struct cairn_loop *origin;
    struct cairn_task task;
    Cairn__Wire__ExtentRead msg;
    struct cairn_rpc_call call;
    struct cairn_err err;
};

static void reading_refuse(void *arg)
{
    struct reading *x = arg;

    cairn_rpc_reply_err(x->rq, x->call.rc, "%s", x->err.text);
    free(x);
}

static void reading_check(void *arg)
{
    struct reading *x = arg;
    const Cairn__Wire__ClusterRegion *m = (const Cairn__Wire__ClusterRegion *)x->rq->msg;

    if (x->w->stopping || x->w->slots == NULL || !cluster_slots_leads(x->w->slots, m->slot, m->epoch, m->inc))
        x->call.rc =
            cairn_err_set(&x->err, CAIRN_E_STATE, "region %016" PRIx64 " is not here, but it may be elsewhere", m->id);
    cairn_task_init(&x->task, reading_refuse, x);
    cairn_loop_post(x->origin, &x->task);
}

static void on_given(struct cairn_rpc_call *call)
{
    struct reading *x = call->arg;

    if (call->rc == CAIRN_E_NOTFOUND) {
        cairn_task_init(&x->task, reading_check, x);
        cairn_loop_post(x->w->loop, &x->task);
        return;
    }
    if (call->rc != 0) {
        reading_refuse(x);
        return;
    }
    cairn_rpc_reply(x->rq, 0, call->reply, NULL, 0);
    free(x);
}

void cairn_cluster__side_on_region_read(struct cairn_rpc_req *rq)
{
    const Cairn__Wire__ClusterRegion *m = (const Cairn__Wire__ClusterRegion *)rq->msg;
    struct cairn_cluster *c = rq->target->ctx;
    const struct cairn_rpc_target *extent = c->side->workers[cairn_rpc_index(rq->rpc)].extent;
    bool good = m->bulk != NULL && m->slot < SIDE_SLOTS_MAX;
    struct reading *x = extent != NULL && good ? calloc(1, sizeof(*x)) : NULL;

    if (x == NULL) {
        cairn_rpc_reply_err(rq,
                            extent == NULL ? CAIRN_E_NOPROVIDER
                            : !good        ? CAIRN_E_INVAL
                                           : CAIRN_E_NOMEM,
                            "region %016" PRIx64, m->id);
        return;
    }
    x->rq = rq;
    x->w = side_worker_of(c, m->slot);
    x->origin = cairn_rpc_loop(rq->rpc);
    cairn__wire__extent_read__init(&x->msg);
    x->msg.id = m->id;
    x->msg.length = m->length;
    x->msg.bulk = m->bulk;
    x->call.dest.rpc = rq->rpc;
    x->call.iface = extent->iface;
    x->call.provider = extent->id;
    x->call.method = CAIRN__WIRE__EXTENT_METHOD__EXTENT_READ;
    x->call.msg = &x->msg.base;
    x->call.bulk_peer = rq->peer;
    x->call.timeout_ns = MAX(cairn_rpc_req_left_ns(rq, cairn_loop_now(cairn_rpc_loop(rq->rpc))), UINT64_C(1));
    x->call.done = on_given;
    x->call.arg = x;
    x->call.err = &x->err;
    cairn_rpc_call_start(&x->call);
}

/* ---- life ---- */

void side_fetches_init(struct side_worker *w)
{
    cairn_list_init(&w->fetches);
    cairn_list_init(&w->holds);
    cairn_timer_init(&w->fetch_timer, on_session_time, w);
}

void side_fetches_stop(struct side_worker *w)
{
    while (!cairn_list_is_empty(&w->holds))
        hold_over(CONTAINER_OF(w->holds.next, struct hold, link), CAIRN_E_SHUTDOWN);
    cairn_timer_stop(&w->loop->env, &w->fetch_timer);
    CAIRN_LIST_FOREACH_SAFE (l, &w->fetches) {
        struct side_fetch *f = CONTAINER_OF(l, struct side_fetch, link);

        if (f->sm.state == FETCH_WAIT)
            fetch_end(f, REGION_UNKNOWN, CAIRN_E_SHUTDOWN);
        else
            cairn_rpc_call_cancel(&f->call);
    }
}
