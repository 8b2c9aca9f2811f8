/* READ of a range, and SCRUB of one region, which is a read to nowhere.
 *
 *   MOVE ---> DONE
 *   MOVE ---> QUARANTINE ---> FAILED        MOVE may also go to FAILED.
 *
 * MOVE        the region is pinned; its bytes go to the caller, or are only compared with their checksums.
 * QUARANTINE  they are bad: the region is marked already; the mark becomes durable before the caller is told.
 * DONE        the caller has the bytes.    FAILED  whatever he got is void; sm.rc says why.
 */
#include "providers/extent/extent_internal.h"

#include "sdk/core/base/log.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { READ_MOVE, READ_QUARANTINE, READ_DONE, READ_FAILED, READ_NR };

#define TO(state) CAIRN_SM_TO(state)

struct read {
    struct cairn_sm sm;
    struct cairn_rpc_req *rq;
    struct cairn_extent_region *region;
    uint64_t len;
    bool scrub;
    uint8_t *out; /* inline: the bytes, in the request's arena */
    uint32_t *crcs, ncrcs;
    struct cairn_extent_step step;
    struct cairn_extent_move move;
};

static const struct cairn_sm_state read_states[READ_NR] = {
    [READ_MOVE] = { "MOVE", CAIRN_SM_INITIAL, TO(READ_QUARANTINE) | TO(READ_DONE) | TO(READ_FAILED) },
    [READ_QUARANTINE] = { "QUARANTINE", 0, TO(READ_FAILED) },
    [READ_DONE] = { "DONE", CAIRN_SM_FINAL, 0 },
    [READ_FAILED] = { "FAILED", CAIRN_SM_FINAL | CAIRN_SM_FAILURE, 0 },
};

static bool read_invariant(const struct cairn_sm *sm)
{
    const struct read *r = CONTAINER_OF(sm, const struct read, sm);

    return CAIRN_HOLDS(atomic_load(&r->region->sealed)) && CAIRN_HOLDS(atomic_load(&r->region->refs) > 0) &&
           CAIRN_HOLDS(sm->state != READ_QUARANTINE || atomic_load(&r->region->quarantined));
}

const struct cairn_sm_kind cairn_extent_read_kind = { "extent-read", read_states, READ_NR, read_invariant, 60000 };

static void read_reply(struct cairn_rpc_req *rq, const struct read *r)
{
    Cairn__Wire__ExtentReadReply reply = CAIRN__WIRE__EXTENT_READ_REPLY__INIT;
    struct iovec payload = { r->out, r->len };

    reply.length = r->len;
    reply.n_crcs = r->ncrcs;
    reply.crcs = r->crcs;
    cairn_rpc_reply(rq, 0, &reply.base, &payload, r->out != NULL ? 1 : 0);
}

static void read_end(struct read *r, int rc)
{
    struct cairn_rpc_req *rq = r->rq;
    struct cairn_extent_region *region = r->region;

    rq->on_cancel = NULL;
    cairn_sm_move_or_fail(&r->sm, READ_DONE, READ_FAILED, rc);
    cairn_sm_fini(&r->sm);
    if (rc == CAIRN_E_CORRUPT)
        cairn_rpc_reply_err(rq, rc, "region %016" PRIx64 ": stored bytes differ from their checksum; quarantined",
                            region->id);
    else if (rc != 0)
        cairn_extent__fail(rq, rc, region->id);
    else if (r->scrub)
        cairn_extent__scrub_report(rq);
    else
        read_reply(rq, r);
    cairn_extent_region_put(region);
    free(r);
}

static void read_on_quarantined(struct cairn_extent_step *step, int rc)
{
    (void)rc; /* the mark stands in memory at least, and the next read finds the damage again */
    read_end(step->arg, CAIRN_E_CORRUPT);
}

static void read_quarantine(struct read *r)
{
    struct cairn_extent_store *s = r->region->store;
    int rc;

    atomic_fetch_add(&s->corrupt_found, 1);
    if (!cairn_extent_table_quarantine(&s->table, r->region)) {
        read_end(r, CAIRN_E_CORRUPT);
        return;
    }
    cairn_log_warn("extent region %016" PRIx64 ": checksum mismatch, quarantined", r->region->id);
    cairn_sm_move(&r->sm, READ_QUARANTINE);
    r->step = (struct cairn_extent_step){
        .worker = r->move.worker, .region = r->region, .done = read_on_quarantined, .arg = r
    };
    rc = s->ops->quarantine(&r->step);
    if (rc != CAIRN_EXTENT_LATER)
        read_end(r, CAIRN_E_CORRUPT);
}

static void read_moved(struct read *r, int rc)
{
    if (rc == CAIRN_E_CORRUPT)
        read_quarantine(r);
    else
        read_end(r, rc);
}

static void read_on_moved(struct cairn_extent_move *m, int rc)
{
    read_moved(m->arg, rc);
}

static void read_on_cancel(struct cairn_rpc_req *rq, void *arg)
{
    struct read *r = arg;

    (void)rq;
    cairn_extent_move_cancel(&r->move);
}

/* Takes the reference to @region. */
static void read_start(struct cairn_rpc_req *rq, struct cairn_extent_region *region, uint64_t off, uint64_t len,
                       const Cairn__Wire__BulkDesc *desc, bool verify, bool scrub)
{
    struct cairn_extent_worker *w = cairn_extent__worker(rq);
    struct read *r = malloc(sizeof(*r));
    int rc = 0;

    if (r == NULL)
        goto no_memory;
    *r = (struct read){ .rq = rq, .region = region, .len = len, .scrub = scrub };
    if (!scrub) {
        r->ncrcs = cairn_extent_parts(off, len);
        r->crcs = cairn_arena_alloc(&rq->arena, MAX(r->ncrcs, 1) * sizeof(r->crcs[0]));
        if (desc == NULL)
            r->out = cairn_arena_alloc(&rq->arena, MAX(len, 1));
        if (r->crcs == NULL || (desc == NULL && r->out == NULL))
            goto no_memory;
    }
    cairn_sm_init(&r->sm, &cairn_extent_read_kind, &w->loop->machines);
    if (len == 0) {
        read_end(r, 0);
        return;
    }
    r->move = (struct cairn_extent_move){
        .worker = w,
        .region = region,
        .off = off,
        .len = len,
        .crcs = r->crcs,
        .verify = verify,
        .rq = rq,
        .desc = desc,
        .out = r->out,
        .parent = r->sm.id,
        .done = read_on_moved,
        .arg = r,
    };
    rq->on_cancel = read_on_cancel;
    rq->on_cancel_arg = r;
    rc = cairn_extent_move_start(&r->move);
    if (rc != CAIRN_EXTENT_LATER)
        read_moved(r, rc);
    return;
no_memory:
    free(r);
    cairn_extent_region_put(region);
    cairn_rpc_reply(rq, CAIRN_E_NOMEM, NULL, NULL, 0);
}

/* A sealed region with a reference; otherwise @rq is answered. */
static struct cairn_extent_region *find_sealed(struct cairn_rpc_req *rq, uint64_t id)
{
    struct cairn_extent_region *r = cairn_extent_table_find(&cairn_extent__provider(rq)->store->table, id);

    if (r == NULL) {
        cairn_extent__fail(rq, CAIRN_E_NOTFOUND, id);
        return NULL;
    }
    if (!atomic_load(&r->sealed)) {
        cairn_extent_region_put(r);
        cairn_rpc_reply_err(rq, CAIRN_E_STATE, "region %016" PRIx64 " is not persisted yet", id);
        return NULL;
    }
    if (atomic_load(&r->quarantined)) {
        cairn_extent_region_put(r);
        cairn_rpc_reply_err(rq, CAIRN_E_CORRUPT, "region %016" PRIx64 " is quarantined", id);
        return NULL;
    }
    return r;
}

void cairn_extent__read(struct cairn_rpc_req *rq)
{
    const Cairn__Wire__ExtentRead *msg = (const Cairn__Wire__ExtentRead *)rq->msg;
    struct cairn_extent_region *r = find_sealed(rq, msg->id);
    const Cairn__Wire__BulkDesc *desc = msg->bulk;
    uint64_t len = msg->length, room = CAIRN_FRAME_PAYLOAD_BYTES_MAX;

    if (r == NULL)
        return;
    if (!cairn_extent_clip(r->length, msg->off, &len)) {
        cairn_rpc_reply_err(rq, CAIRN_E_INVAL, "region %016" PRIx64 " has %" PRIu64 " bytes, none at %" PRIu64, r->id,
                            r->length, msg->off);
        cairn_extent_region_put(r);
        return;
    }
    if (desc != NULL)
        room = desc->off <= desc->len ? desc->len - desc->off : 0;
    if (len > room) {
        cairn_rpc_reply_err(rq, CAIRN_E_TOOBIG, "%" PRIu64 " bytes do not fit into %s of %" PRIu64, len,
                            desc != NULL ? "memory" : "one reply", room);
        cairn_extent_region_put(r);
        return;
    }
    read_start(rq, r, msg->off, len, desc, msg->verify, false);
}

void cairn_extent__verify(struct cairn_rpc_req *rq)
{
    const Cairn__Wire__ExtentScrub *msg = (const Cairn__Wire__ExtentScrub *)rq->msg;
    struct cairn_extent_region *r = find_sealed(rq, msg->id);

    if (r != NULL)
        read_start(rq, r, 0, r->length, NULL, true, true);
}
