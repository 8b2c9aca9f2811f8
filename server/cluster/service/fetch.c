/* Regions that come from another node: one that leads a slot has stored a large value's region and tells the others
 * to fetch it (spread.c), long before an entry names it. Whatever names one that is not here, an entry or a record of
 * a copy, is not taken before it is (I11): that is the rule, and the telling only makes it quick.
 *
 *  LOOK ---> WAIT ---> READ ---> PUT ---> DONE        LOOK and READ may also go to DONE; all but DONE to FAILED.
 *  LOOK ---> CLEAR ---> WAIT        READ and PUT may also go to WAIT.
 *
 *  LOOK    whether it is here is being asked: it may be, from another time.
 *  CLEAR   what is here under its name is damaged, or of another length, and it is being removed: an entry or a record
 *          of a node that is in sync says what it should be.
 *  WAIT    for memory, or for a session with the node that has it; when there is none for half a second, or what came
 *          from there was no use, another that is in sync with the slot is asked. For a copy: or for its turn there.
 *  READ    the other node is writing its bytes into our memory.
 *  PUT     they are being stored, under the same name, with the writer's checksums, until they are on disk.
 *  DONE    it is here; or the other node has it no more, though it names it and leads: then the name was replaced or the
 *          namespace removed since, and what says so follows. (Whoever does not lead any more, in the epoch of the message
 *          and as the process that sent it, has perhaps cut the entry from its log, or lost it, and another has not.)
 *  FAILED  it is asked for again by whatever comes again.
 *
 * A node that does not answer holds none of the memory for longer than READ_MS, and never all of it. */
#include "sdk/core/base/log.h"
#include "server/cluster/service/fetch_internal.h"

#include <inttypes.h>
#include <stdlib.h>

enum {
    FETCHES_MAX = 1024,         /* of a worker */
    FETCH_WAIT_MS = 30000,      /* until the last READ begins */
    FETCH_COPY_WAIT_MS = 60000, /* likewise, in its turn */
    FETCH_LOCAL_MS = 30000,     /* for our own extent provider: then it is told that nobody waits */
    FETCH_READ_MS = 10000,
};

#define TO CAIRN_SM_TO
static const struct cairn_sm_state fetch_states[FETCH_NR] = {
    [FETCH_LOOK] = { "LOOK", CAIRN_SM_INITIAL, TO(FETCH_CLEAR) | TO(FETCH_WAIT) | TO(FETCH_DONE) | TO(FETCH_FAILED) },
    [FETCH_CLEAR] = { "CLEAR", 0, TO(FETCH_WAIT) | TO(FETCH_FAILED) },
    [FETCH_WAIT] = { "WAIT", 0, TO(FETCH_READ) | TO(FETCH_FAILED) },
    [FETCH_READ] = { "READ", 0, TO(FETCH_PUT) | TO(FETCH_WAIT) | TO(FETCH_DONE) | TO(FETCH_FAILED) },
    [FETCH_PUT] = { "PUT", 0, TO(FETCH_DONE) | TO(FETCH_WAIT) | TO(FETCH_FAILED) },
    [FETCH_DONE] = { "DONE", CAIRN_SM_FINAL, 0 },
    [FETCH_FAILED] = { "FAILED", CAIRN_SM_FINAL | CAIRN_SM_FAILURE, 0 },
};

static bool fetch_invariant(const struct cairn_sm *sm)
{
    const struct side_fetch *f = CONTAINER_OF(sm, const struct side_fetch, sm);

    return CAIRN_HOLDS((f->buf != NULL) == (sm->state == FETCH_READ || sm->state == FETCH_PUT) ||
                       cairn_sm_is_final(sm)) &&
           CAIRN_HOLDS(f->w->fetch_buffers <= FETCHES_BUFFERS) &&
           CAIRN_HOLDS(sm->state != FETCH_READ || (side_fetch_reads(f->w, f->source, false) <= FETCHES_OF_SOURCE &&
                                                   side_fetch_reads(f->w, 0, true) <= FETCHES_OF_COPIES)) &&
           CAIRN_HOLDS(sm->state != FETCH_CLEAR || f->want.named) && /* nothing is removed on a rumour */
           CAIRN_HOLDS(sm->state != FETCH_PUT || f->crcs != NULL);
}

const struct cairn_sm_kind side_fetch_kind = { "region-fetch", fetch_states, FETCH_NR, fetch_invariant, 60000 };

static struct cluster_regions *table_of(struct side_worker *w)
{
    return &w->c->side->regions;
}

/* ---- the end of one ---- */

/* Its memory, and what was exposed of it, is nobody's any more. */
void side_fetch_give_back(struct side_fetch *f)
{
    struct side_worker *w = f->w;

    cairn_bulk_conceal(&f->exposed);
    cairn_list_del(&f->link);
    cairn_list_add_tail(&w->fetches, &f->link);
    free(f->crcs);
    f->crcs = NULL;
    if (f->buf == NULL)
        return;
    free(f->buf);
    f->buf = NULL;
    w->fetch_buffers--;
    side_fetches_go_on_soon(w);
}

static void fetch_over(struct side_fetch *f, int rc)
{
    struct side_worker *w = f->w;

    if (rc != 0 && !w->stopping)
        cairn_log_warn("region %016" PRIx64 " of node %" PRIx64 " is not to be had now: %s", f->want.region.id,
                       f->source, f->err.text[0] != '\0' ? f->err.text : cairn_error_text(rc));
    side_fetch_give_back(f);
    cairn_list_del(&f->link);
    w->nfetches--;
    cairn_sm_move_or_fail(&f->sm, FETCH_DONE, FETCH_FAILED, rc);
    cairn_sm_fini(&f->sm);
    free(f);
    side_holds_check(w);
    side_worker_step(w);
}

void side_fetch_end(struct side_fetch *f, int rc)
{
    cluster_regions_set(table_of(f->w), f->want.region.id, rc == 0 ? REGION_HERE : REGION_UNKNOWN);
    fetch_over(f, rc);
}

void side_fetch_gone(struct side_fetch *f)
{
    cairn_log_info("region %016" PRIx64 " is not at node %" PRIx64 " any more", f->want.region.id, f->source);
    cluster_regions_set_gone(table_of(f->w), f->want.region.id, f->source);
    fetch_over(f, 0);
}

void side_fetch_call(struct side_fetch *f, const struct cairn_rpc_target *target, uint32_t method,
                     const ProtobufCMessage *msg, void (*done)(struct cairn_rpc_call *call))
{
    memset(&f->call, 0, offsetof(struct cairn_rpc_call, arena));
    f->err.text[0] = '\0';
    f->call.dest.rpc = f->w->rpc;
    f->call.iface = target != NULL ? target->iface : &cairn_iface_cluster;
    f->call.provider = target != NULL ? target->id : CAIRN_PROVIDER_CLUSTER;
    f->call.method = (uint16_t)method;
    f->call.msg = msg;
    f->call.timeout_ns = (target != NULL ? FETCH_LOCAL_MS : FETCH_READ_MS) * CAIRN_NS_PER_MS;
    f->call.done = done;
    f->call.arg = f;
    f->call.err = &f->err;
}

/* ---- the beginning ---- */

static void on_cleared(struct cairn_rpc_call *call)
{
    struct side_fetch *f = call->arg;
    const Cairn__Wire__KvStatuses *m = (const Cairn__Wire__KvStatuses *)call->reply;
    int rc = call->rc;

    if (rc == 0 && m->n_status > 0 && m->status[0] != CAIRN_E_NOTFOUND)
        rc = m->status[0];
    if (rc != 0 || f->w->stopping)
        side_fetch_end(f, rc != 0 ? rc : CAIRN_E_SHUTDOWN);
    else
        side_fetch_wait(f);
}

static void clear_start(struct side_fetch *f, const char *why)
{
    cairn_log_warn("region %016" PRIx64 " is %s here, and replaced by what node %" PRIx64 " has", f->want.region.id,
                   why, f->source);
    cairn_sm_move(&f->sm, FETCH_CLEAR);
    cairn__wire__extent_remove__init(&f->msg.remove);
    f->msg.remove.ids = &f->want.region.id;
    f->msg.remove.n_ids = 1;
    f->msg.remove.durability = CAIRN__WIRE__DURABILITY__DURABILITY_SYNC;
    side_fetch_call(f, f->w->extent, CAIRN__WIRE__EXTENT_METHOD__EXTENT_REMOVE, &f->msg.remove.base, on_cleared);
    cairn_rpc_call_start(&f->call);
}

/* There is one of its name. */
static void fetch_found(struct side_fetch *f, const Cairn__Wire__ExtentStatReply *m)
{
    bool other = m->length != f->want.region.len;

    if (m->owner != f->want.owner)
        side_fetch_end(f, cairn_err_set(&f->err, CAIRN_E_EXISTS, "another's region has its name here"));
    else if (!m->sealed)
        side_fetch_end(f, cairn_err_set(&f->err, CAIRN_E_BUSY, "it is being stored here"));
    else if (!other && !m->quarantined)
        side_fetch_end(f, 0);
    else if (side_fetch_believes(f))
        clear_start(f, other ? "of another length" : "damaged");
    else
        side_fetch_end(f, cairn_err_set(&f->err, CAIRN_E_CORRUPT, "what is here is damaged, or of another length"));
}

static void on_looked(struct cairn_rpc_call *call)
{
    struct side_fetch *f = call->arg;

    if (f->w->stopping)
        side_fetch_end(f, CAIRN_E_SHUTDOWN);
    else if (call->rc == CAIRN_E_NOTFOUND)
        side_fetch_wait(f);
    else if (call->rc != 0)
        side_fetch_end(f, call->rc);
    else
        fetch_found(f, (const Cairn__Wire__ExtentStatReply *)call->reply);
}

static int fetch_start(struct side_worker *w, const struct fetch_want *want)
{
    struct side_fetch *f;

    if (w->nfetches >= FETCHES_MAX || w->extent == NULL || w->stopping)
        return CAIRN_E_BUSY;
    f = calloc(1, sizeof(*f));
    if (f == NULL || side_fetches_watch(w) != 0) {
        free(f);
        return CAIRN_E_NOMEM;
    }
    f->w = w;
    f->want = *want;
    f->until_ns = cairn_env_now_ns(&w->loop->env) + (want->copy ? FETCH_COPY_WAIT_MS : FETCH_WAIT_MS) * CAIRN_NS_PER_MS;
    side_fetch_from(f, want->node);
    cairn_sm_init(&f->sm, &side_fetch_kind, &w->loop->machines);
    cairn_list_add_tail(&w->fetches, &f->link);
    w->nfetches++;
    cairn__wire__extent_id__init(&f->msg.id);
    f->msg.id.id = want->region.id;
    side_fetch_call(f, w->extent, CAIRN__WIRE__EXTENT_METHOD__EXTENT_STAT, &f->msg.id.base, on_looked);
    cairn_rpc_call_start(&f->call);
    return 0;
}

bool side_region_is_here(struct side_worker *w, const struct fetch_want *want)
{
    struct cluster_regions *t = table_of(w);
    uint64_t id = want->region.id;
    enum region_state state = cluster_regions_pin(t, id, want->named ? want->node : 0, cairn_env_now_ns(&w->loop->env));

    if (state == REGION_UNKNOWN && fetch_start(w, want) != 0)
        cluster_regions_set(t, id, REGION_UNKNOWN);
    return state == REGION_HERE || state == REGION_GONE;
}

/* ---- life ---- */

void side_fetches_init(struct side_worker *w)
{
    cairn_list_init(&w->fetches);
    cairn_list_init(&w->reads);
    cairn_list_init(&w->holds);
    cairn_timer_init(&w->fetch_timer, side_fetches_tick, w);
    cairn_task_init(&w->fetch_task, side_fetches_go_on, w);
}

void side_fetches_stop(struct side_worker *w)
{
    side_holds_stop(w);
    cairn_timer_stop(&w->loop->env, &w->fetch_timer);
    cairn_task_cancel(&w->fetch_task);
    CAIRN_LIST_FOREACH (l, &w->reads)
        cairn_rpc_call_cancel(&CONTAINER_OF(l, struct side_fetch, link)->call);
    CAIRN_LIST_FOREACH_SAFE (l, &w->fetches) {
        struct side_fetch *f = CONTAINER_OF(l, struct side_fetch, link);

        if (f->sm.state == FETCH_WAIT)
            side_fetch_end(f, CAIRN_E_SHUTDOWN);
        else
            cairn_rpc_call_cancel(&f->call);
    }
}
