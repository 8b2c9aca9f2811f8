/* WRITE: bytes into a region that is not sealed.
 *
 *   CLAIM ---> MOVE ---> DONE        CLAIM and MOVE may also go to FAILED.
 *
 * CLAIM   the range's chunks are asked for; another WRITE may be busy in one of them.
 * MOVE    the chunks are ours; bytes come in and are compared with their checksums.
 * DONE    the region holds them.    FAILED  the range is a hole that must be written again before the region is sealed,
 * unless the claim itself failed.
 */
#include "providers/extent/extent_draft.h"
#include "providers/extent/extent_internal.h"

#include <stdlib.h>

enum { WRITE_CLAIM, WRITE_MOVE, WRITE_DONE, WRITE_FAILED, WRITE_NR };

#define TO(state) CAIRN_SM_TO(state)

struct write {
    struct cairn_sm sm;
    struct cairn_rpc_req *rq;
    struct cairn_extent_region *region;
    const Cairn__Wire__ExtentWrite *msg;
    bool claimed;
    struct cairn_extent_draft_wait wait;
    struct cairn_extent_move move;
};

static const struct cairn_sm_state write_states[WRITE_NR] = {
    [WRITE_CLAIM] = { "CLAIM", CAIRN_SM_INITIAL, TO(WRITE_MOVE) | TO(WRITE_FAILED) },
    [WRITE_MOVE] = { "MOVE", 0, TO(WRITE_DONE) | TO(WRITE_FAILED) },
    [WRITE_DONE] = { "DONE", CAIRN_SM_FINAL, 0 },
    [WRITE_FAILED] = { "FAILED", CAIRN_SM_FINAL | CAIRN_SM_FAILURE, 0 },
};

static bool write_invariant(const struct cairn_sm *sm)
{
    const struct write *w = CONTAINER_OF(sm, const struct write, sm);

    return CAIRN_HOLDS(w->claimed == (sm->state == WRITE_MOVE)) &&
           CAIRN_HOLDS(!w->claimed || (w->region->draft != NULL && atomic_load(&w->region->draft->writers) > 0));
}

const struct cairn_sm_kind cairn_extent_write_kind = { "extent-write", write_states, WRITE_NR, write_invariant, 60000 };

static void write_end(struct write *w, int rc)
{
    struct cairn_rpc_req *rq = w->rq;
    uint64_t id = w->region->id;

    rq->on_cancel = NULL;
    if (w->claimed)
        cairn_extent_draft_write_end(w->region, w->msg->off, w->msg->length, rc);
    w->claimed = false;
    cairn_sm_move_or_fail(&w->sm, WRITE_DONE, WRITE_FAILED, rc);
    cairn_sm_fini(&w->sm);
    cairn_extent_region_put(w->region);
    free(w);
    if (rc == 0)
        cairn_rpc_reply(rq, 0, NULL, NULL, 0);
    else if (rc == CAIRN_E_CORRUPT)
        cairn_rpc_reply_err(rq, rc, "region %016llx: checksum differs on arrival; write it again",
                            (unsigned long long)id);
    else
        cairn_extent__fail(rq, rc, id);
}

static void write_on_moved(struct cairn_extent_move *m, int rc)
{
    write_end(m->arg, rc);
}

static void write_on_cancel(struct cairn_rpc_req *rq, void *arg)
{
    struct write *w = arg;

    (void)rq;
    cairn_extent_move_cancel(&w->move);
}

static void write_claim(void *arg)
{
    struct write *w = arg;
    const Cairn__Wire__ExtentWrite *msg = w->msg;
    const struct cairn_identity *who = w->rq->who;
    int rc;

    if (w->rq->canceled) {
        write_end(w, CAIRN_E_CANCELED);
        return;
    }
    if (cairn_loop_now(w->wait.loop) >= w->rq->deadline_ns) {
        write_end(w, CAIRN_E_TIMEOUT);
        return;
    }
    rc = cairn_extent_draft_write_begin(w->region, who->uid, who->admin, msg->off, msg->length, &w->wait);
    if (rc == CAIRN_EXTENT_LATER)
        return;
    if (rc != 0) {
        write_end(w, rc);
        return;
    }
    w->claimed = true;
    cairn_sm_move(&w->sm, WRITE_MOVE);
    w->move = (struct cairn_extent_move){
        .worker = cairn_extent__worker(w->rq),
        .region = w->region,
        .off = msg->off,
        .len = msg->length,
        .write = true,
        .chunks = w->region->draft->chunks,
        .want = msg->crcs,
        .rq = w->rq,
        .desc = msg->bulk,
        .parent = w->sm.id,
        .done = write_on_moved,
        .arg = w,
    };
    w->rq->on_cancel = write_on_cancel;
    w->rq->on_cancel_arg = w;
    rc = cairn_extent_move_start(&w->move);
    if (rc != CAIRN_EXTENT_LATER)
        write_end(w, rc);
}

void cairn_extent__write(struct cairn_rpc_req *rq)
{
    const Cairn__Wire__ExtentWrite *msg = (const Cairn__Wire__ExtentWrite *)rq->msg;
    struct cairn_extent_store *s = cairn_extent__provider(rq)->store;
    struct cairn_extent_region *r;
    struct write *w;

    if (!cairn_extent__check_write(rq, msg->length, msg->bulk, msg->n_crcs))
        return;
    r = cairn_extent_table_find(&s->table, msg->id);
    if (r == NULL) {
        cairn_extent__fail(rq, CAIRN_E_NOTFOUND, msg->id);
        return;
    }
    if (msg->off > r->length || msg->length > r->length - msg->off) {
        cairn_extent_region_put(r);
        cairn_rpc_reply_err(rq, CAIRN_E_INVAL, "region %016llx: the write ends beyond it", (unsigned long long)msg->id);
        return;
    }
    if (msg->length == 0) {
        cairn_extent_region_put(r);
        cairn_rpc_reply(rq, 0, NULL, NULL, 0);
        return;
    }
    w = malloc(sizeof(*w));
    if (w == NULL || cairn_rpc_req_hold_payload(rq) != 0) {
        free(w);
        cairn_extent_region_put(r);
        cairn_rpc_reply(rq, CAIRN_E_NOMEM, NULL, NULL, 0);
        return;
    }
    w->rq = rq;
    w->region = r;
    w->msg = msg;
    w->claimed = false;
    w->wait.loop = cairn_rpc_loop(rq->rpc);
    cairn_task_init(&w->wait.task, write_claim, w);
    cairn_sm_init(&w->sm, &cairn_extent_write_kind, &w->wait.loop->machines);
    write_claim(w);
}
