/* PERSIST: a draft becomes a region.
 *
 *   FILL ---> SEAL ---> DONE        FILL and SEAL may also go to FAILED.
 *
 * FILL    nobody writes any more; chunks that nobody wrote get zeros, piece by piece (what lay there before is not
 *         ours to show).
 * SEAL    every chunk has its bytes and its checksum; bytes and record become as durable as was asked.
 * DONE    the region is visible.
 * FAILED  it is a draft again.
 */
#include "providers/extent/extent_draft.h"
#include "providers/extent/extent_internal.h"

#include <stdlib.h>

enum { PERSIST_FILL, PERSIST_SEAL, PERSIST_DONE, PERSIST_FAILED, PERSIST_NR };
enum { FILL_CHUNKS = 16 }; /* at a time: 1 MiB */

#define TO(state) CAIRN_SM_TO(state)

struct persist {
    struct cairn_sm sm;
    struct cairn_rpc_req *rq;
    struct cairn_extent_region *region;
    Cairn__Wire__Durability durability;
    uint32_t filled; /* chunks below this are there */
    struct cairn_extent_step step;
    struct cairn_task again;
};

static const struct cairn_sm_state persist_states[PERSIST_NR] = {
    [PERSIST_FILL] = { "FILL", CAIRN_SM_INITIAL, TO(PERSIST_SEAL) | TO(PERSIST_FAILED) },
    [PERSIST_SEAL] = { "SEAL", 0, TO(PERSIST_DONE) | TO(PERSIST_FAILED) },
    [PERSIST_DONE] = { "DONE", CAIRN_SM_FINAL, 0 },
    [PERSIST_FAILED] = { "FAILED", CAIRN_SM_FINAL | CAIRN_SM_FAILURE, 0 },
};

static bool persist_invariant(const struct cairn_sm *sm)
{
    const struct persist *p = CONTAINER_OF(sm, const struct persist, sm);

    return CAIRN_HOLDS(sm->state != PERSIST_SEAL || p->filled == p->region->nchunks) &&
           CAIRN_HOLDS((sm->state == PERSIST_DONE) == atomic_load(&p->region->sealed));
}

const struct cairn_sm_kind cairn_extent_persist_kind = { "extent-persist", persist_states, PERSIST_NR,
                                                         persist_invariant, 60000 };

static void persist_end(struct persist *p, int rc)
{
    struct cairn_rpc_req *rq = p->rq;
    uint64_t id = p->region->id;

    cairn_extent_draft_seal_end(p->region, rc);
    cairn_sm_move_or_fail(&p->sm, PERSIST_DONE, PERSIST_FAILED, rc);
    cairn_sm_fini(&p->sm);
    cairn_extent_region_put(p->region);
    free(p);
    if (rc != 0)
        cairn_extent__fail(rq, rc, id);
    else
        cairn_rpc_reply(rq, 0, NULL, NULL, 0);
}

static void persist_on_sealed(struct cairn_extent_step *step, int rc)
{
    persist_end(step->arg, rc);
}

static void persist_fill(struct persist *p);

static void persist_on_settled(struct cairn_extent_step *step, int rc)
{
    struct persist *p = step->arg;

    if (rc != 0)
        persist_end(p, rc);
    else
        persist_fill(p);
}

/* The window holds zeros. Returns what settling it returned. */
static int persist_filled(struct persist *p)
{
    struct cairn_extent_step *step = &p->step;
    uint32_t first = (uint32_t)(step->off / CAIRN_EXTENT_CHUNK_BYTES), n = cairn_extent_chunks(step->len);

    cairn_extent_crcs(step->ptr, step->len, &p->region->crcs[first]);
    for (uint32_t i = 0; i < n; i++)
        p->region->draft->chunks[first + i] |= CAIRN_EXTENT_CHUNK_HERE;
    p->filled = first + n;
    step->done = persist_on_settled;
    return p->region->store->ops->settle(step, true);
}

static void persist_on_window(struct cairn_extent_step *step, int rc)
{
    struct persist *p = step->arg;

    if (rc == 0)
        rc = persist_filled(p);
    if (rc == CAIRN_EXTENT_LATER)
        return;
    if (rc != 0)
        persist_end(p, rc);
    else
        persist_fill(p);
}

static void persist_again(void *arg)
{
    persist_fill(arg);
}

/* The next run of chunks that nobody wrote; none left: SEAL. */
static void persist_fill(struct persist *p)
{
    struct cairn_extent_region *r = p->region;
    const uint8_t *chunks = r->draft->chunks;
    uint32_t n = 0;
    int rc;

    while (p->filled < r->nchunks && (chunks[p->filled] & CAIRN_EXTENT_CHUNK_HERE) != 0)
        p->filled++;
    if (p->filled == r->nchunks) {
        cairn_sm_move(&p->sm, PERSIST_SEAL);
        p->step.done = persist_on_sealed;
        p->step.durability = p->durability;
        rc = r->store->ops->seal(&p->step);
        if (rc != CAIRN_EXTENT_LATER)
            persist_end(p, rc);
        return;
    }
    while (n < FILL_CHUNKS && p->filled + n < r->nchunks && (chunks[p->filled + n] & CAIRN_EXTENT_CHUNK_HERE) == 0)
        n++;
    p->step.mode = CAIRN_EXTENT_ZERO;
    p->step.off = (uint64_t)p->filled * CAIRN_EXTENT_CHUNK_BYTES;
    p->step.len = MIN((uint64_t)n * CAIRN_EXTENT_CHUNK_BYTES, r->length - p->step.off);
    p->step.done = persist_on_window;
    rc = r->store->ops->window(&p->step);
    if (rc == 0)
        rc = persist_filled(p);
    if (rc == 0) /* without a wait: others have their turn between the pieces */
        cairn_env_defer(&p->step.worker->loop->env, &p->again);
    else if (rc != CAIRN_EXTENT_LATER)
        persist_end(p, rc);
}

void cairn_extent__persist(struct cairn_rpc_req *rq)
{
    const Cairn__Wire__ExtentPersist *msg = (const Cairn__Wire__ExtentPersist *)rq->msg;
    struct cairn_extent_worker *w = cairn_extent__worker(rq);
    struct cairn_extent_region *r;
    struct cairn_err err = { 0 };
    struct persist *p;
    int rc;

    if (!cairn_rpc_req_check_durability(rq, (uint32_t)msg->durability))
        return;
    r = cairn_extent_table_find(&w->store->table, msg->id);
    if (r == NULL) {
        cairn_extent__fail(rq, CAIRN_E_NOTFOUND, msg->id);
        return;
    }
    p = calloc(1, sizeof(*p));
    rc = p != NULL ? cairn_extent_draft_seal_begin(r, rq->who->uid, rq->who->admin, &err)
                   : cairn_err_set(&err, CAIRN_E_NOMEM, "%s", cairn_error_text(CAIRN_E_NOMEM));
    if (rc != 0) {
        free(p);
        cairn_extent_region_put(r);
        cairn_rpc_reply_err(rq, rc, "%s", err.text);
        return;
    }
    p->rq = rq;
    p->region = r;
    p->durability = msg->durability;
    p->step = (struct cairn_extent_step){ .worker = w, .region = r, .arg = p };
    cairn_task_init(&p->again, persist_again, p);
    cairn_sm_init(&p->sm, &cairn_extent_persist_kind, &w->loop->machines);
    persist_fill(p);
}
