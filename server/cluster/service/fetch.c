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
 *          from there was no use, another that is in sync with the slot is asked.
 *  READ    the other node is writing its bytes into our memory.
 *  PUT     they are being stored, under the same name, with the writer's checksums, until they are on disk.
 *  DONE    it is here; or the other node has it no more, though it names it and leads: then the name was replaced or the
 *          namespace removed since, and what says so follows. (Whoever does not lead any more, in the epoch of the message
 *          and as the process that sent it, has perhaps cut the entry from its log, or lost it, and another has not.)
 *  FAILED  it is asked for again by whatever comes again.
 *
 * A node that does not answer holds none of the memory for longer than READ_MS, and never all of it. */
#include "sdk/core/base/log.h"
#include "sdk/core/bulk/bulk.h"
#include "server/cluster/service/fetch_internal.h"

#include "schema/extent.pb-c.h"

#include <inttypes.h>
#include <stdlib.h>

enum { FETCH_LOOK, FETCH_CLEAR, FETCH_WAIT, FETCH_READ, FETCH_PUT, FETCH_DONE, FETCH_FAILED, FETCH_NR };
enum {
    FETCHES_MAX = 1024, /* of a worker */
    FETCHES_BUFFERS = 4,
    FETCHES_OF_SOURCE = 3, /* in READ */
    FETCH_WAIT_MS = 30000, /* until the last READ begins */
    FETCH_READ_MS = 10000,
    FETCH_LOCAL_MS = 10000, /* for our own extent provider: then it is told that nobody waits */
    FETCH_DOWN_MS = 500,    /* so long a node's session may be down */
    FETCH_TICK_MS = 50,
};

struct side_fetch {
    struct cairn_sm sm;
    struct cairn_link link; /* of the worker's reads in READ, else of its fetches */
    struct side_worker *w;
    struct fetch_want want;
    uint64_t source; /* is asked for it, or is to be: want.node, or another */
    uint64_t asked[CAIRN_REPLICAS_MAX + 1];
    uint32_t nasked;
    uint64_t until_ns, down_ns; /* down_ns: since when the session with @source is; 0: it is up */
    bool connects;              /* it was told to */
    uint8_t *buf;
    uint32_t *crcs;
    struct cairn_bulk_region exposed;
    union {
        Cairn__Wire__ExtentId id;
        Cairn__Wire__ExtentRemove remove;
        Cairn__Wire__ClusterRegion read;
        Cairn__Wire__ExtentPut put;
    } msg;
    struct cairn_rpc_call call;
    struct cairn_err err;
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

static uint32_t reads_of(const struct side_worker *w, uint64_t source)
{
    uint32_t n = 0;

    CAIRN_LIST_FOREACH (l, &w->reads)
        n += CONTAINER_OF(l, const struct side_fetch, link)->source == source;
    return n;
}

static bool fetch_invariant(const struct cairn_sm *sm)
{
    const struct side_fetch *f = CONTAINER_OF(sm, const struct side_fetch, sm);

    return CAIRN_HOLDS((f->buf != NULL) == (sm->state == FETCH_READ || sm->state == FETCH_PUT) ||
                       cairn_sm_is_final(sm)) &&
           CAIRN_HOLDS(f->w->fetch_buffers <= FETCHES_BUFFERS) &&
           CAIRN_HOLDS(sm->state != FETCH_READ || reads_of(f->w, f->source) <= FETCHES_OF_SOURCE) &&
           CAIRN_HOLDS(sm->state != FETCH_CLEAR || f->want.named) && /* nothing is removed on a rumour */
           CAIRN_HOLDS(sm->state != FETCH_PUT || f->crcs != NULL);
}

const struct cairn_sm_kind side_fetch_kind = { "region-fetch", fetch_states, FETCH_NR, fetch_invariant, 60000 };

static struct cluster_regions *table_of(struct side_worker *w)
{
    return &w->c->side->regions;
}

/* ---- the end of one ---- */

static void fetches_go_on_soon(struct side_worker *w)
{
    if (!w->stopping)
        cairn_env_defer(&w->loop->env, &w->fetch_task);
}

/* Its memory, and what was exposed of it, is nobody's any more. */
static void fetch_give_back(struct side_fetch *f)
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
    fetches_go_on_soon(w);
}

static void fetch_over(struct side_fetch *f, int rc)
{
    struct side_worker *w = f->w;

    if (rc != 0 && !w->stopping)
        cairn_log_warn("region %016" PRIx64 " of node %" PRIx64 " is not to be had now: %s", f->want.region.id,
                       f->source, f->err.text[0] != '\0' ? f->err.text : cairn_error_text(rc));
    fetch_give_back(f);
    cairn_list_del(&f->link);
    w->nfetches--;
    cairn_sm_move_or_fail(&f->sm, FETCH_DONE, FETCH_FAILED, rc);
    cairn_sm_fini(&f->sm);
    free(f);
    side_holds_check(w);
    side_worker_step(w);
}

static void fetch_end(struct side_fetch *f, int rc)
{
    cluster_regions_set(table_of(f->w), f->want.region.id, rc == 0 ? REGION_HERE : REGION_UNKNOWN);
    fetch_over(f, rc);
}

static void fetch_gone(struct side_fetch *f)
{
    cairn_log_info("region %016" PRIx64 " is not at node %" PRIx64 " any more", f->want.region.id, f->source);
    cluster_regions_set_gone(table_of(f->w), f->want.region.id, f->source);
    fetch_over(f, 0);
}

/* ---- who has it ---- */

static void source_set(struct side_fetch *f, uint64_t node)
{
    f->source = f->asked[f->nasked++] = node;
    f->down_ns = 0;
    f->connects = false;
}

static bool source_was_asked(const struct side_fetch *f, uint64_t node)
{
    for (uint32_t i = 0; i < f->nasked; i++) {
        if (f->asked[i] == node)
            return true;
    }
    return false;
}

/* Another that is in sync with the slot, and so has whatever its log names; 0: there is none, or they were all asked. */
static uint64_t source_other(const struct side_fetch *f)
{
    struct cairn_cluster *c = f->w->c;
    struct cairn_slot_record rec;

    if (!cairn_cluster_records_slot(c->records, f->want.slot, &rec))
        return 0;
    for (uint32_t i = 0; i < rec.ninsync && f->nasked < ARRAY_SIZE(f->asked); i++) {
        uint64_t node = rec.insync[i].node;

        if (node != c->node && !source_was_asked(f, node))
            return node;
    }
    return 0;
}

/* What the source says of a region counts: it names it, and should have it. */
static bool source_is_believed(const struct side_fetch *f)
{
    struct cairn_slot_record rec;

    return f->want.named && f->source == f->want.node &&
           cairn_cluster_records_slot(f->w->c->records, f->want.slot, &rec) && cairn_slot_names(&rec, f->source);
}

/* Not from there. */
static void fetch_elsewhere(struct side_fetch *f, int rc)
{
    uint64_t node = f->w->stopping ? 0 : source_other(f);

    if (node == 0) {
        fetch_end(f, f->w->stopping ? CAIRN_E_SHUTDOWN : rc);
        return;
    }
    cairn_log_info("region %016" PRIx64 " is not to be had of node %" PRIx64 " (%s), %" PRIx64 " is asked",
                   f->want.region.id, f->source, cairn_error_text(rc), node);
    fetch_give_back(f);
    source_set(f, node);
    if (f->sm.state != FETCH_WAIT)
        cairn_sm_move(&f->sm, FETCH_WAIT);
    fetches_go_on_soon(f->w);
}

/* ---- calls ---- */

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
    f->call.timeout_ns = (target != NULL ? FETCH_LOCAL_MS : FETCH_READ_MS) * CAIRN_NS_PER_MS;
    f->call.done = done;
    f->call.arg = f;
    f->call.err = &f->err;
}

static size_t ncrcs_of(const struct side_fetch *f)
{
    return cairn_record_ncrcs(f->want.region.len);
}

static int fetch_expose(struct side_fetch *f, uint32_t rights)
{
    cairn_bulk_conceal(&f->exposed);
    return cairn_bulk_expose(f->w->rpc, f->buf, f->want.region.len, rights, &f->exposed);
}

static void on_put(struct cairn_rpc_call *call)
{
    struct side_fetch *f = call->arg;

    if (call->rc == CAIRN_E_CORRUPT) /* they are not what the source's checksums say */
        fetch_elsewhere(f, call->rc);
    else
        fetch_end(f, call->rc);
}

static void put_start(struct side_fetch *f)
{
    int rc = fetch_expose(f, CAIRN_BULK_CAN_READ);

    if (rc != 0) {
        fetch_end(f, rc);
        return;
    }
    cairn__wire__extent_put__init(&f->msg.put);
    f->msg.put.id = f->want.region.id;
    f->msg.put.length = f->want.region.len;
    f->msg.put.owner = f->want.owner;
    f->msg.put.durability = CAIRN__WIRE__DURABILITY__DURABILITY_SYNC; /* whatever names it may be on disk any moment */
    f->msg.put.bulk = &f->exposed.desc;
    f->msg.put.crcs = f->crcs;
    f->msg.put.n_crcs = ncrcs_of(f);
    cairn_list_del(&f->link);
    cairn_list_add_tail(&f->w->fetches, &f->link);
    cairn_sm_move(&f->sm, FETCH_PUT);
    fetches_go_on_soon(f->w); /* one less is being read of that node */
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
    if (rc == CAIRN_E_NOTFOUND && !f->w->stopping && source_is_believed(f)) {
        fetch_gone(f);
        return;
    }
    if (rc == CAIRN_E_CANCELED)
        rc = CAIRN_E_UNREACHABLE;
    if (rc == 0 && (m->length != f->want.region.len || m->n_crcs != ncrcs_of(f)))
        rc = CAIRN_E_PROTO;
    if (rc != 0 || f->w->stopping) {
        fetch_elsewhere(f, rc);
        return;
    }
    f->crcs = malloc(m->n_crcs * sizeof(*f->crcs));
    if (f->crcs == NULL) {
        fetch_end(f, CAIRN_E_NOMEM);
        return;
    }
    memcpy(f->crcs, m->crcs, m->n_crcs * sizeof(*f->crcs));
    put_start(f);
}

static void read_start(struct side_fetch *f, const struct cairn_rpc_dest *dest)
{
    struct side_worker *w = f->w;
    int rc;

    f->buf = malloc(f->want.region.len);
    if (f->buf == NULL) {
        fetch_end(f, CAIRN_E_NOMEM);
        return;
    }
    w->fetch_buffers++;
    cairn_list_del(&f->link);
    cairn_list_add_tail(&w->reads, &f->link);
    cairn_sm_move(&f->sm, FETCH_READ);
    rc = fetch_expose(f, CAIRN_BULK_CAN_WRITE);
    if (rc != 0) {
        fetch_end(f, rc);
        return;
    }
    cairn__wire__cluster_region__init(&f->msg.read);
    f->msg.read.id = f->want.region.id;
    f->msg.read.length = f->want.region.len;
    f->msg.read.bulk = &f->exposed.desc;
    f->msg.read.slot = f->want.slot;
    if (f->want.named && f->source == f->want.node) {
        f->msg.read.epoch = f->want.epoch;
        f->msg.read.inc = f->want.inc;
    }
    fetch_call(f, NULL, CAIRN__WIRE__CLUSTER_METHOD__CLUSTER_REGION_READ, &f->msg.read.base, on_read);
    f->call.dest = *dest;
    cairn_rpc_call_start(&f->call);
}

/* ---- time ---- */

static bool is_up(const struct cairn_rpc_session *s)
{
    return s == NULL || cairn_rpc_session_is_up(s); /* none: it is ourselves */
}

/* Down for so long that it is not waited for any more. */
static bool is_down_for_long(struct side_fetch *f, bool up)
{
    uint64_t now = cairn_env_now_ns(&f->w->loop->env);

    if (up || f->down_ns == 0)
        f->down_ns = up ? 0 : now;
    return !up && now - f->down_ns >= FETCH_DOWN_MS * CAIRN_NS_PER_MS;
}

static void wait_step(struct side_fetch *f)
{
    struct side_worker *w = f->w;
    struct cairn_rpc_dest dest;
    bool known = cairn_cluster__peer(w->c, w->index, f->source, &dest), up = known && is_up(dest.session);

    if (known && !up && !f->connects)
        cairn_rpc_session_connect(dest.session);
    f->connects |= known;
    if (cairn_env_now_ns(&w->loop->env) >= f->until_ns)
        fetch_end(f, CAIRN_E_TIMEOUT);
    else if (is_down_for_long(f, up))
        fetch_elsewhere(f, CAIRN_E_UNREACHABLE);
    else if (up && w->fetch_buffers < FETCHES_BUFFERS && reads_of(w, f->source) < FETCHES_OF_SOURCE)
        read_start(f, &dest);
}

/* All that can go on does, the oldest first. */
static void fetches_go_on(void *arg)
{
    struct side_worker *w = arg;

    CAIRN_LIST_FOREACH_SAFE (l, &w->fetches) {
        struct side_fetch *f = CONTAINER_OF(l, struct side_fetch, link);

        if (f->sm.state == FETCH_WAIT)
            wait_step(f);
    }
}

static void on_tick(void *arg)
{
    struct side_worker *w = arg;

    CAIRN_LIST_FOREACH (l, &w->reads) {
        struct side_fetch *f = CONTAINER_OF(l, struct side_fetch, link);

        if (is_down_for_long(f, is_up(f->call.dest.session)))
            cairn_rpc_call_cancel(&f->call);
    }
    fetches_go_on(w);
    side_holds_check(w);
    if (w->nfetches > 0 || !cairn_list_is_empty(&w->holds))
        (void)side_fetches_watch(w); /* there is room for it: it has just run */
}

int side_fetches_watch(struct side_worker *w)
{
    struct cairn_env *env = &w->loop->env;

    return cairn_timer_is_running(&w->fetch_timer)
               ? 0
               : cairn_timer_start(env, &w->fetch_timer, cairn_env_now_ns(env) + FETCH_TICK_MS * CAIRN_NS_PER_MS);
}

/* ---- the beginning ---- */

static void fetch_wait(struct side_fetch *f)
{
    cairn_sm_move(&f->sm, FETCH_WAIT);
    fetches_go_on_soon(f->w);
}

static void on_cleared(struct cairn_rpc_call *call)
{
    struct side_fetch *f = call->arg;
    const Cairn__Wire__KvStatuses *m = (const Cairn__Wire__KvStatuses *)call->reply;
    int rc = call->rc;

    if (rc == 0 && m->n_status > 0 && m->status[0] != CAIRN_E_NOTFOUND)
        rc = m->status[0];
    if (rc != 0 || f->w->stopping)
        fetch_end(f, rc != 0 ? rc : CAIRN_E_SHUTDOWN);
    else
        fetch_wait(f);
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
    fetch_call(f, f->w->extent, CAIRN__WIRE__EXTENT_METHOD__EXTENT_REMOVE, &f->msg.remove.base, on_cleared);
    cairn_rpc_call_start(&f->call);
}

/* There is one of its name. */
static void fetch_found(struct side_fetch *f, const Cairn__Wire__ExtentStatReply *m)
{
    bool other = m->length != f->want.region.len;

    if (m->owner != f->want.owner)
        fetch_end(f, cairn_err_set(&f->err, CAIRN_E_EXISTS, "another's region has its name here"));
    else if (!m->sealed)
        fetch_end(f, cairn_err_set(&f->err, CAIRN_E_BUSY, "it is being stored here"));
    else if (!other && !m->quarantined)
        fetch_end(f, 0);
    else if (source_is_believed(f))
        clear_start(f, other ? "of another length" : "damaged");
    else
        fetch_end(f, cairn_err_set(&f->err, CAIRN_E_CORRUPT, "what is here is damaged, or of another length"));
}

static void on_looked(struct cairn_rpc_call *call)
{
    struct side_fetch *f = call->arg;

    if (f->w->stopping)
        fetch_end(f, CAIRN_E_SHUTDOWN);
    else if (call->rc == CAIRN_E_NOTFOUND)
        fetch_wait(f);
    else if (call->rc != 0)
        fetch_end(f, call->rc);
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
    f->until_ns = cairn_env_now_ns(&w->loop->env) + FETCH_WAIT_MS * CAIRN_NS_PER_MS;
    source_set(f, want->node);
    cairn_sm_init(&f->sm, &side_fetch_kind, &w->loop->machines);
    cairn_list_add_tail(&w->fetches, &f->link);
    w->nfetches++;
    cairn__wire__extent_id__init(&f->msg.id);
    f->msg.id.id = want->region.id;
    fetch_call(f, w->extent, CAIRN__WIRE__EXTENT_METHOD__EXTENT_STAT, &f->msg.id.base, on_looked);
    cairn_rpc_call_start(&f->call);
    return 0;
}

bool side_region_is_here(struct side_worker *w, const struct fetch_want *want)
{
    struct cluster_regions *t = table_of(w);
    uint64_t id = want->region.id;
    enum region_state state =
        cluster_regions_pin(t, id, want->named ? want->node : 0, cairn_env_now_ns(&w->loop->env));

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
    cairn_timer_init(&w->fetch_timer, on_tick, w);
    cairn_task_init(&w->fetch_task, fetches_go_on, w);
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
            fetch_end(f, CAIRN_E_SHUTDOWN);
        else
            cairn_rpc_call_cancel(&f->call);
    }
}
