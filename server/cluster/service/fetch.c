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
 *  DONE    it is here; or the other node has it no more, though it names it: then the name was replaced or the namespace removed
 *          since, and what says so follows.
 *  FAILED  it is asked for again by whatever comes again. */
#include "server/cluster/service/fetch_internal.h"

#include "sdk/core/base/log.h"
#include "sdk/core/bulk/bulk.h"

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

struct side_fetch {
    struct cairn_sm sm;
    struct cairn_link link; /* of the worker's */
    struct side_worker *w;
    struct cairn_record_region region;
    uint64_t owner, node; /* node: that has it */
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

/* ---- one region ---- */

static void fetch_next(struct side_worker *w);

static void fetch_end(struct side_fetch *f, enum region_state state, int rc)
{
    struct side_worker *w = f->w;
    bool had = f->buf != NULL;

    if (rc != 0 && !w->stopping)
        cairn_log_warn("region %016" PRIx64 " of node %" PRIx64 " is not to be had now: %s", f->region.id, f->node,
                       f->err.text[0] != '\0' ? f->err.text : cairn_error_text(rc));
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
    side_holds_check(w);
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
        cairn_log_info("region %016" PRIx64 " is not at node %" PRIx64 " any more", f->region.id, f->node);
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

    if (!cairn_cluster__peer(w->c, w->index, f->node, &dest))
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

static int fetch_start(struct side_worker *w, uint64_t node, uint64_t owner, struct cairn_record_region region)
{
    struct side_fetch *f;

    if (w->nfetches >= FETCHES_MAX || w->extent == NULL || w->stopping)
        return CAIRN_E_BUSY;
    f = calloc(1, sizeof(*f));
    if (f == NULL)
        return CAIRN_E_NOMEM;
    f->w = w;
    f->node = node;
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

bool side_region_is_here(struct side_worker *w, uint64_t node, uint64_t owner, struct cairn_record_region region)
{
    struct cluster_regions *t = table_of(w);
    enum region_state state = cluster_regions_pin(t, region.id, cairn_env_now_ns(&w->loop->env));

    if (state == REGION_UNKNOWN && fetch_start(w, node, owner, region) != 0)
        cluster_regions_set(t, region.id, REGION_UNKNOWN);
    return state == REGION_HERE || state == REGION_GONE;
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
    side_holds_stop(w);
    cairn_timer_stop(&w->loop->env, &w->fetch_timer);
    CAIRN_LIST_FOREACH_SAFE (l, &w->fetches) {
        struct side_fetch *f = CONTAINER_OF(l, struct side_fetch, link);

        if (f->sm.state == FETCH_WAIT)
            fetch_end(f, REGION_UNKNOWN, CAIRN_E_SHUTDOWN);
        else
            cairn_rpc_call_cancel(&f->call);
    }
}
