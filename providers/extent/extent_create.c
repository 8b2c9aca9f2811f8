/* CREATE: space for a region that is written piece by piece.
 *
 *   RESERVE ---> DONE        RESERVE may also go to FAILED.
 *
 * RESERVE  the region has a name; space for it is asked for.
 * DONE     it is a draft, and no longer ours: its maker knows the name, nobody else sees it.
 * FAILED   there is no region.
 */
#include "providers/extent/extent_draft.h"
#include "providers/extent/extent_internal.h"

#include <stdlib.h>

enum { CREATE_RESERVE, CREATE_DONE, CREATE_FAILED, CREATE_NR };

struct create {
    struct cairn_sm sm;
    struct cairn_rpc_req *rq;
    struct cairn_extent_region *region;
    struct cairn_extent_step step;
};

static const struct cairn_sm_state create_states[CREATE_NR] = {
    [CREATE_RESERVE] = { "RESERVE", CAIRN_SM_INITIAL, CAIRN_SM_TO(CREATE_DONE) | CAIRN_SM_TO(CREATE_FAILED) },
    [CREATE_DONE] = { "DONE", CAIRN_SM_FINAL, 0 },
    [CREATE_FAILED] = { "FAILED", CAIRN_SM_FINAL | CAIRN_SM_FAILURE, 0 },
};

static bool create_invariant(const struct cairn_sm *sm)
{
    const struct create *c = CONTAINER_OF(sm, const struct create, sm);

    return CAIRN_HOLDS((sm->state == CREATE_DONE) == (c->region == NULL)) &&
           CAIRN_HOLDS(c->region == NULL || (!c->region->listed && c->region->draft == NULL));
}

const struct cairn_sm_kind cairn_extent_create_kind = { "extent-create", create_states, CREATE_NR, create_invariant,
                                                        60000 };

static void create_reserved(struct create *c, int rc)
{
    struct cairn_rpc_req *rq = c->rq;
    Cairn__Wire__ExtentId reply = CAIRN__WIRE__EXTENT_ID__INIT;

    if (rc == 0 && rq->canceled)
        rc = CAIRN_E_CANCELED;
    reply.id = c->region->id;
    if (rc == 0)
        rc = cairn_extent_draft_start(c->step.worker, c->region, rq->who->uid);
    if (rc == 0)
        c->region = NULL; /* whoever looks for what is too old may have dropped it already */
    cairn_sm_move_or_fail(&c->sm, CREATE_DONE, CREATE_FAILED, rc);
    cairn_sm_fini(&c->sm);
    if (rc != 0)
        cairn_extent_region_put(c->region);
    free(c);
    if (rc != 0)
        cairn_extent__fail(rq, rc, 0);
    else
        cairn_rpc_reply(rq, 0, &reply.base, NULL, 0);
}

static void create_on_reserved(struct cairn_extent_step *step, int rc)
{
    create_reserved(step->arg, rc);
}

void cairn_extent__create(struct cairn_rpc_req *rq)
{
    const Cairn__Wire__ExtentCreate *msg = (const Cairn__Wire__ExtentCreate *)rq->msg;
    struct cairn_extent_worker *w = cairn_extent__worker(rq);
    struct cairn_extent_store *s = w->store;
    uint64_t id;
    struct create *c;
    int rc;

    if (!cairn_extent__check_length(rq, msg->length))
        return;
    if (msg->length == 0) {
        cairn_rpc_reply_err(rq, CAIRN_E_INVAL, "a region to be written needs a length; PUT makes empty ones");
        return;
    }
    id = cairn_extent_store_new_name(s);
    c = id != 0 ? calloc(1, sizeof(*c)) : NULL;
    if (c != NULL)
        c->region = cairn_extent_region_new(s, id, msg->length, msg->owner);
    if (c == NULL || c->region == NULL) {
        free(c);
        cairn_rpc_reply(rq, id != 0 ? CAIRN_E_NOMEM : CAIRN_E_LIMIT, NULL, NULL, 0);
        return;
    }
    c->rq = rq;
    c->step = (struct cairn_extent_step){ .worker = w, .region = c->region, .done = create_on_reserved, .arg = c };
    cairn_sm_init(&c->sm, &cairn_extent_create_kind, &w->loop->machines);
    rc = s->ops->reserve(&c->step);
    if (rc != CAIRN_EXTENT_LATER)
        create_reserved(c, rc);
}
