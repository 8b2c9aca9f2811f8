/* The bytes of a region that is fetched (drawn in fetch.c): who has them, when they can come, and what becomes of them:
 * WAIT, READ and PUT. */
#include "sdk/core/base/log.h"
#include "server/cluster/service/fetch_internal.h"

#include <inttypes.h>
#include <stdlib.h>

enum {
    FETCH_DOWN_MS = 500, /* so long a node's session may be down */
    FETCH_BUSY_MS = 200, /* after which a source that had other copies to send is asked again */
    FETCH_TICK_MS = 50,
};

uint32_t side_fetch_reads(const struct side_worker *w, uint64_t source, bool copies)
{
    uint32_t n = 0;

    CAIRN_LIST_FOREACH (l, &w->reads) {
        const struct side_fetch *f = CONTAINER_OF(l, const struct side_fetch, link);

        n += (source == 0 || f->source == source) && (!copies || f->want.copy);
    }
    return n;
}

void side_fetches_go_on_soon(struct side_worker *w)
{
    if (!w->stopping)
        cairn_env_defer(&w->loop->env, &w->fetch_task);
}

void side_fetch_wait(struct side_fetch *f)
{
    cairn_sm_move(&f->sm, FETCH_WAIT);
    side_fetches_go_on_soon(f->w);
}

/* ---- who has it ---- */

void side_fetch_from(struct side_fetch *f, uint64_t node)
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

/* Another that is in sync with the slot, and so has whatever its log names; 0: there is none that was not asked. */
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
bool side_fetch_believes(const struct side_fetch *f)
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
        side_fetch_end(f, f->w->stopping ? CAIRN_E_SHUTDOWN : rc);
        return;
    }
    cairn_log_info("region %016" PRIx64 " is not to be had of node %" PRIx64 " (%s), %" PRIx64 " is asked",
                   f->want.region.id, f->source, cairn_error_text(rc), node);
    side_fetch_give_back(f);
    side_fetch_from(f, node);
    if (f->sm.state != FETCH_WAIT)
        cairn_sm_move(&f->sm, FETCH_WAIT);
    side_fetches_go_on_soon(f->w);
}

/* ---- calls ---- */

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
        side_fetch_end(f, call->rc);
}

static void put_start(struct side_fetch *f)
{
    int rc = fetch_expose(f, CAIRN_BULK_CAN_READ);

    if (rc != 0) {
        side_fetch_end(f, rc);
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
    side_fetches_go_on_soon(f->w); /* one less is being read of that node */
    side_fetch_call(f, f->w->extent, CAIRN__WIRE__EXTENT_METHOD__EXTENT_PUT, &f->msg.put.base, on_put);
    cairn_rpc_call_start(&f->call);
}

static bool is_answer(int rc)
{
    return rc != CAIRN_E_TIMEOUT && rc != CAIRN_E_CANCELED && rc != CAIRN_E_CLOSED && rc != CAIRN_E_UNREACHABLE &&
           rc != CAIRN_E_UNKNOWN;
}

/* The source has copies to send for some time: others may have the memory meanwhile. */
static void read_later(struct side_fetch *f)
{
    side_fetch_give_back(f);
    f->not_before_ns = cairn_env_now_ns(&f->w->loop->env) + FETCH_BUSY_MS * CAIRN_NS_PER_MS;
    side_fetch_wait(f);
}

static void on_read(struct cairn_rpc_call *call)
{
    struct side_fetch *f = call->arg;
    const Cairn__Wire__ExtentReadReply *m = (const Cairn__Wire__ExtentReadReply *)call->reply;
    int rc = call->rc;

    if (is_answer(rc))
        cairn_bulk_settle(&f->exposed);
    if (rc == CAIRN_E_NOTFOUND && !f->w->stopping && side_fetch_believes(f)) {
        side_fetch_gone(f);
        return;
    }
    if (rc == CAIRN_E_BUSY && f->want.copy && !f->w->stopping) {
        read_later(f);
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
        side_fetch_end(f, CAIRN_E_NOMEM);
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
        side_fetch_end(f, CAIRN_E_NOMEM);
        return;
    }
    w->fetch_buffers++;
    cairn_list_del(&f->link);
    cairn_list_add_tail(&w->reads, &f->link);
    cairn_sm_move(&f->sm, FETCH_READ);
    rc = fetch_expose(f, CAIRN_BULK_CAN_WRITE);
    if (rc != 0) {
        side_fetch_end(f, rc);
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
    f->msg.read.copy = f->want.copy;
    side_fetch_call(f, NULL, CAIRN__WIRE__CLUSTER_METHOD__CLUSTER_REGION_READ, &f->msg.read.base, on_read);
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

static bool may_read(const struct side_fetch *f)
{
    const struct side_worker *w = f->w;

    return w->fetch_buffers < FETCHES_BUFFERS && side_fetch_reads(w, f->source, false) < FETCHES_OF_SOURCE &&
           (!f->want.copy || side_fetch_reads(w, 0, true) < FETCHES_OF_COPIES);
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
        side_fetch_end(f, CAIRN_E_TIMEOUT);
    else if (is_down_for_long(f, up))
        fetch_elsewhere(f, CAIRN_E_UNREACHABLE);
    else if (up && may_read(f) && cairn_env_now_ns(&w->loop->env) >= f->not_before_ns)
        read_start(f, &dest);
}

/* All that can go on does, the oldest first. */
void side_fetches_go_on(void *arg)
{
    struct side_worker *w = arg;

    CAIRN_LIST_FOREACH_SAFE (l, &w->fetches) {
        struct side_fetch *f = CONTAINER_OF(l, struct side_fetch, link);

        if (f->sm.state == FETCH_WAIT)
            wait_step(f);
    }
}

void side_fetches_tick(void *arg)
{
    struct side_worker *w = arg;

    CAIRN_LIST_FOREACH (l, &w->reads) {
        struct side_fetch *f = CONTAINER_OF(l, struct side_fetch, link);

        if (is_down_for_long(f, is_up(f->call.dest.session)))
            cairn_rpc_call_cancel(&f->call);
    }
    side_fetches_go_on(w);
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
