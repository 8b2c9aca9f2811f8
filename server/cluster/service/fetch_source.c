/* Who has a region that is fetched (drawn in fetch_core.h), when it can come, and who is believed that there is none:
 * WAIT, READ and PUT. */
#include "server/cluster/service/fetch_core.h"

#include "sdk/core/base/log.h"

#include <inttypes.h>

enum {
    FETCH_DOWN_MS = 500, /* so long a node's session may be down */
    FETCH_BUSY_MS = 200, /* after which a source that had other copies to send is asked again */
    FETCH_TICK_MS = 50,
};

uint32_t cluster_fetches__reads(const struct cluster_fetches *s, uint64_t source, bool copies)
{
    uint32_t n = 0;

    CAIRN_LIST_FOREACH (l, &s->reads) {
        const struct cluster_fetch *f = CONTAINER_OF(l, const struct cluster_fetch, link);

        n += (source == 0 || f->source == source) && (!copies || f->want.copy);
    }
    return n;
}

void cluster_fetches__go_on_soon(struct cluster_fetches *s)
{
    if (!s->stopping)
        cairn_env_defer(s->env, &s->task);
}

void cluster_fetch__wait(struct cluster_fetch *f)
{
    cairn_sm_move(&f->sm, FETCH_WAIT);
    cluster_fetches__go_on_soon(f->set);
}

/* ---- who has it ---- */

void cluster_fetch__from(struct cluster_fetch *f, uint64_t node)
{
    f->source = f->asked[f->nasked++] = node;
    f->down_ns = 0;
    f->connects = false;
}

static bool source_was_asked(const struct cluster_fetch *f, uint64_t node)
{
    for (uint32_t i = 0; i < f->nasked; i++) {
        if (f->asked[i] == node)
            return true;
    }
    return false;
}

/* Another that is in sync with the slot, and so has whatever its log names; 0: there is none that was not asked. */
static uint64_t source_other(const struct cluster_fetch *f)
{
    struct cluster_fetches *s = f->set;
    struct cairn_slot_record rec;

    if (!s->ops->record(s, f->want.slot, &rec))
        return 0;
    for (uint32_t i = 0; i < rec.ninsync && f->nasked < ARRAY_SIZE(f->asked); i++) {
        uint64_t node = rec.insync[i].node;

        if (node != s->node && !source_was_asked(f, node))
            return node;
    }
    return 0;
}

bool cluster_fetch_asks_leader(const struct cluster_fetch *f)
{
    return f->want.named && f->source == f->want.node;
}

bool cluster_fetch__believes(const struct cluster_fetch *f)
{
    struct cairn_slot_record rec;

    return cluster_fetch_asks_leader(f) && f->set->ops->record(f->set, f->want.slot, &rec) &&
           cairn_slot_names(&rec, f->source);
}

/* Not from there. */
static void fetch_elsewhere(struct cluster_fetch *f, int rc)
{
    bool stopping = f->set->stopping;
    uint64_t node = stopping ? 0 : source_other(f);

    if (node == 0) {
        cluster_fetch__end(f, stopping ? CAIRN_E_SHUTDOWN : rc);
        return;
    }
    cairn_log_info("region %016" PRIx64 " is not to be had of node %" PRIx64 " (%s), %" PRIx64 " is asked",
                   f->want.region.id, f->source, cairn_error_text(rc), node);
    cluster_fetch__give_back(f);
    cluster_fetch__from(f, node);
    if (f->sm.state != FETCH_WAIT)
        cairn_sm_move(&f->sm, FETCH_WAIT);
    cluster_fetches__go_on_soon(f->set);
}

/* ---- its bytes ---- */

void cluster_fetch_on_put(struct cluster_fetch *f, int rc)
{
    if (rc == CAIRN_E_CORRUPT)
        fetch_elsewhere(f, rc);
    else
        cluster_fetch__end(f, rc);
}

static void put_start(struct cluster_fetch *f)
{
    struct cluster_fetches *s = f->set;
    int rc;

    cairn_list_del(&f->link);
    cairn_list_add_tail(&s->all, &f->link);
    cairn_sm_move(&f->sm, FETCH_PUT);
    cluster_fetches__go_on_soon(s); /* one less is being read of that node */
    rc = s->ops->put(f);
    if (rc != 0)
        cluster_fetch__end(f, rc);
}

/* The source has copies to send for some time: others may have the memory meanwhile. */
static void read_later(struct cluster_fetch *f)
{
    cluster_fetch__give_back(f);
    f->not_before_ns = cairn_env_now_ns(f->set->env) + FETCH_BUSY_MS * CAIRN_NS_PER_MS;
    cluster_fetch__wait(f);
}

void cluster_fetch_on_read(struct cluster_fetch *f, int rc)
{
    bool stopping = f->set->stopping;

    if (rc == CAIRN_E_NOTFOUND && !stopping && cluster_fetch__believes(f))
        cluster_fetch__gone(f);
    else if (rc == CAIRN_E_BUSY && f->want.copy && !stopping)
        read_later(f);
    else if (rc != 0 || stopping)
        fetch_elsewhere(f, rc);
    else
        put_start(f);
}

static void read_start(struct cluster_fetch *f)
{
    struct cluster_fetches *s = f->set;
    int rc;

    s->nbuffers++;
    f->has_memory = true;
    cairn_list_del(&f->link);
    cairn_list_add_tail(&s->reads, &f->link);
    cairn_sm_move(&f->sm, FETCH_READ);
    rc = s->ops->read(f);
    if (rc != 0)
        cluster_fetch__end(f, rc);
}

/* ---- time ---- */

/* Down for so long that it is not waited for any more. */
static bool is_down_for_long(struct cluster_fetch *f, bool up)
{
    uint64_t now = cairn_env_now_ns(f->set->env);

    if (up || f->down_ns == 0)
        f->down_ns = up ? 0 : now;
    return !up && now - f->down_ns >= FETCH_DOWN_MS * CAIRN_NS_PER_MS;
}

static bool may_read(const struct cluster_fetch *f)
{
    const struct cluster_fetches *s = f->set;

    return s->nbuffers < FETCHES_BUFFERS && cluster_fetches__reads(s, f->source, false) < FETCHES_OF_SOURCE &&
           (!f->want.copy || cluster_fetches__reads(s, 0, true) < FETCHES_OF_COPIES);
}

static void wait_step(struct cluster_fetch *f)
{
    struct cluster_fetches *s = f->set;
    enum fetch_peer peer = s->ops->peer(s, f->source);
    bool up = peer == FETCH_PEER_UP;
    uint64_t now = cairn_env_now_ns(s->env);

    if (peer == FETCH_PEER_DOWN && !f->connects)
        s->ops->connect(s, f->source);
    f->connects |= peer != FETCH_PEER_UNKNOWN;
    if (now >= f->until_ns)
        cluster_fetch__end(f, CAIRN_E_TIMEOUT);
    else if (is_down_for_long(f, up))
        fetch_elsewhere(f, CAIRN_E_UNREACHABLE);
    else if (up && may_read(f) && now >= f->not_before_ns)
        read_start(f);
}

/* All that can go on does, the oldest first. */
void cluster_fetches__go_on(void *arg)
{
    struct cluster_fetches *s = arg;

    CAIRN_LIST_FOREACH_SAFE (l, &s->all) {
        struct cluster_fetch *f = CONTAINER_OF(l, struct cluster_fetch, link);

        if (f->sm.state == FETCH_WAIT)
            wait_step(f);
    }
}

void cluster_fetches__tick(void *arg)
{
    struct cluster_fetches *s = arg;
    bool on;

    CAIRN_LIST_FOREACH (l, &s->reads) {
        struct cluster_fetch *f = CONTAINER_OF(l, struct cluster_fetch, link);

        if (is_down_for_long(f, s->ops->peer(s, f->source) == FETCH_PEER_UP))
            s->ops->cancel(f);
    }
    cluster_fetches__go_on(s);
    on = s->ops->ticked(s);
    if (s->n > 0 || on)
        (void)cluster_fetches_watch(s); /* there is room for it: it has just run */
}

int cluster_fetches_watch(struct cluster_fetches *s)
{
    return cairn_timer_is_running(&s->timer)
               ? 0
               : cairn_timer_start(s->env, &s->timer, cairn_env_now_ns(s->env) + FETCH_TICK_MS * CAIRN_NS_PER_MS);
}
