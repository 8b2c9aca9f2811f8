/* The sweeper: removes what nothing names. Runs at home: once after a start that follows an unclean end, for what a
 * crash left; and again and again in a cluster, where it alone removes regions of namespaces that are spread over
 * nodes.
 *
 *   DATABASES ---> DROP ---> DATABASES        for each KV provider: databases of namespaces that are no more
 *   DATABASES ---> LIST ---> BARRIER ---> OPEN ---> SCAN ---> REMOVE ---> DONE
 *   SCAN ---> OPEN        BARRIER ---> REMOVE        REMOVE ---> REMOVE        REMOVE ---> LIST
 *   BARRIER ---> LOGS ---> OPEN        LOGS ---> REMOVE        SCAN ---> FLUSH ---> REMOVE
 *   DATABASES ---> DONE        All may also go to STOPPED.
 *
 * DATABASES  a KV provider is being asked which databases it has.
 * DROP       one of a namespace that is gone is being dropped.
 * LIST       an extent provider is being asked for its regions; those that are ours (by their owner) are candidates.
 * BARRIER    candidates may belong to values that are being put right now. The workers answer when the puts that ran
 *            have ended: then each candidate is a part of an upload (and stays), is named by a record, or never will
 *            be. (Regions never change records.)
 * LOGS       in a cluster: candidates that entries of slots' logs name are being found; they are none any more. What is
 *            fetched or stored from the begin of the sweep on is pinned at the cluster's service to its end. A region
 *            is in a log before it is in a record: what no log names now, a record does by now, or nothing will.
 * OPEN       the next namespace that may name candidates is being looked for, its database opened.
 * SCAN       a page of its records is being read; candidates that it names are none any more.
 * FLUSH      in a cluster: all records have been seen, and are being made durable: a region is freed when what has
 *            replaced it is (PROTOCOL §5).
 * REMOVE     the candidates that are left, and are not pinned, are being removed; nobody can pin these meanwhile.
 * DONE       nothing is left.
 * STOPPED    something could not be learned, or the node ends: nothing was removed on a guess.
 *
 * Memory is bounded by candidates: at most ROUTER_SWEEP_SET_MAX at a time, and the records are read once for each such
 * part. Load is bounded by one call at a time, each followed by a rest as long as the call took. */
#include "server/router/router_internal.h"

#include "sdk/core/base/log.h"
#include "server/router/sweep_set.h"
#include "server/router/upload.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    SWEEP_DATABASES,
    SWEEP_DROP,
    SWEEP_LIST,
    SWEEP_BARRIER,
    SWEEP_LOGS,
    SWEEP_OPEN,
    SWEEP_SCAN,
    SWEEP_FLUSH,
    SWEEP_REMOVE,
    SWEEP_DONE,
    SWEEP_STOPPED,
    SWEEP_NR
};

enum {
    SWEEP_LIST_PAGE = 4096,
    SWEEP_SCAN_PAGE = 256,
    SWEEP_REMOVE_PAGE = 1024,
    SWEEP_REST_MS_MAX = 100,
    SWEEP_SHARE = 20, /* the next one begins after so many times as long as this one took, or so many intervals */
};

#define TO(state) CAIRN_SM_TO(SWEEP_##state)
static const struct cairn_sm_state sweep_states[SWEEP_NR] = {
    [SWEEP_DATABASES] = { "DATABASES", CAIRN_SM_INITIAL, TO(DROP) | TO(LIST) | TO(DONE) | TO(STOPPED) },
    [SWEEP_DROP] = { "DROP", 0, TO(DATABASES) | TO(STOPPED) },
    [SWEEP_LIST] = { "LIST", 0, TO(BARRIER) | TO(STOPPED) },
    [SWEEP_BARRIER] = { "BARRIER", 0, TO(LOGS) | TO(OPEN) | TO(REMOVE) | TO(STOPPED) },
    [SWEEP_LOGS] = { "LOGS", 0, TO(OPEN) | TO(REMOVE) | TO(STOPPED) },
    [SWEEP_OPEN] = { "OPEN", 0, TO(SCAN) | TO(STOPPED) },
    [SWEEP_SCAN] = { "SCAN", 0, TO(OPEN) | TO(FLUSH) | TO(REMOVE) | TO(STOPPED) },
    [SWEEP_FLUSH] = { "FLUSH", 0, TO(REMOVE) | TO(STOPPED) },
    [SWEEP_REMOVE] = { "REMOVE", 0, TO(REMOVE) | TO(LIST) | TO(DONE) | TO(STOPPED) },
    [SWEEP_DONE] = { "DONE", CAIRN_SM_FINAL, 0 },
    [SWEEP_STOPPED] = { "STOPPED", CAIRN_SM_FINAL | CAIRN_SM_FAILURE, 0 },
};

struct router_sweep {
    struct cairn_sm sm;
    struct cairn_router *router;
    uint64_t until; /* revision of the store at the start: later namespaces owe nothing to a crash */
    bool again;     /* not the one after a start: regions of clustered namespaces only */
    struct cairn_cluster_named named;
    const struct cairn_rpc_target *scanned; /* the KV provider of the records that were seen; NULL: none was */
    uint64_t started_ns;
    uint32_t target; /* of env.targets: the provider that is being looked at */
    struct router_sweep_set candidates;
    uint64_t after; /* the last region listed */
    bool more, running, stopping, calling;
    uint32_t *spaces; /* ids of namespaces to scan */
    uint32_t nspaces, space;
    struct router_ns *pinned;          /* in use by the call that runs */
    uint8_t from[CAIRN_KEY_BYTES_MAX]; /* the last key of the page before */
    uint32_t from_len;
    char drop_name[16];
    uint64_t began_ns;
    void (*resume)(struct router_sweep *s);
    struct cairn_timer rest;
    struct router_spread spread;
    union router_msg msg;
    struct cairn_err err;
    struct cairn_rpc_call call;
    uint64_t removed;
    void (*done)(void *arg);
    void *done_arg;
    struct cairn_task done_task;
};

static bool sweep_invariant(const struct cairn_sm *sm)
{
    const struct router_sweep *s = CONTAINER_OF(sm, const struct router_sweep, sm);

    return CAIRN_HOLDS(sm->state != SWEEP_LOGS || s->router->conf.cluster != NULL) &&
           CAIRN_HOLDS(s->candidates.at == 0 ||
                       sm->state >= SWEEP_REMOVE) && /* none is taken while others are looked for */
           CAIRN_HOLDS(sm->state != SWEEP_REMOVE || s->space == s->nspaces) && /* every record was seen */
           CAIRN_HOLDS(sm->state == SWEEP_SCAN || s->pinned == NULL || cairn_sm_is_final(sm)) &&
           CAIRN_HOLDS(sm->state != SWEEP_DONE || (!s->more && !s->calling));
}

const struct cairn_sm_kind router_sweep_kind = { "router-sweep", sweep_states, SWEEP_NR, sweep_invariant, 0 };

static void sweep_databases(struct router_sweep *s);
static void sweep_list(struct router_sweep *s);
static void sweep_open(struct router_sweep *s);
static void sweep_flush(struct router_sweep *s);
static void sweep_remove(struct router_sweep *s);
static void sweep_plan(struct cairn_router *r);

/* ---- ends ---- */

static void sweep_ended(struct router_sweep *s)
{
    cairn_sm_fini(&s->sm);
    router_spread_fini(&s->spread);
    s->running = false;
    if (s->done != NULL)
        cairn_env_defer(&router_home(s->router)->loop->env, &s->done_task);
    else
        sweep_plan(s->router);
}

static void sweep_stop(struct router_sweep *s, int rc, const char *why)
{
    atomic_store(&s->router->left_garbage, true);
    cairn_log_warn("the sweep for regions that nothing names ends early, the next start will go on: %s", why);
    cairn_sm_fail(&s->sm, SWEEP_STOPPED, rc);
    sweep_ended(s);
}

static void sweep_finish(struct router_sweep *s)
{
    cairn_sm_move(&s->sm, SWEEP_DONE);
    if (s->removed > 0)
        cairn_log_info("%" PRIu64 " regions that nothing named were removed", s->removed);
    sweep_ended(s);
}

/* ---- one call at a time, and a rest after each ---- */

static void sweep_on_rested(void *arg)
{
    struct router_sweep *s = arg;

    if (s->stopping)
        sweep_stop(s, CAIRN_E_SHUTDOWN, "the node ends");
    else
        s->resume(s);
}

static void sweep_sleep(struct router_sweep *s, uint64_t ns, void (*resume)(struct router_sweep *s))
{
    struct cairn_env *env = &router_home(s->router)->loop->env;

    s->resume = resume;
    if (cairn_timer_start(env, &s->rest, cairn_env_now_ns(env) + ns) != 0)
        sweep_stop(s, CAIRN_E_NOMEM, "out of memory");
}

static void sweep_rest(struct router_sweep *s, void (*resume)(struct router_sweep *s))
{
    uint64_t now = cairn_env_now_ns(&router_home(s->router)->loop->env), took = now - MIN(now, s->began_ns);

    sweep_sleep(s, MIN(took, SWEEP_REST_MS_MAX * CAIRN_NS_PER_MS), resume);
}

/* For somebody else's work, which will end by itself. */
static void sweep_wait(struct router_sweep *s, void (*resume)(struct router_sweep *s))
{
    sweep_sleep(s, SWEEP_REST_MS_MAX * CAIRN_NS_PER_MS, resume);
}

static void sweep_call(struct router_sweep *s, const struct cairn_rpc_target *target, uint32_t method,
                       void (*done)(struct cairn_rpc_call *call))
{
    struct router_worker *home = router_home(s->router);

    s->calling = true;
    s->began_ns = cairn_env_now_ns(&home->loop->env);
    router_call_prepare(&s->call, home->rpc, target, method, &s->msg.base, done, s, &s->err);
    cairn_rpc_call_start(&s->call);
}

/* In done(): true if the sweep goes on. */
static bool sweep_called(struct router_sweep *s)
{
    s->calling = false;
    if (s->call.rc != 0)
        sweep_stop(s, s->call.rc, s->err.text);
    return s->call.rc == 0;
}

static const struct cairn_rpc_target *sweep_target(const struct router_sweep *s)
{
    return &s->router->env.targets[s->target];
}

/* The next provider of @iface, from the present one on; false if there is none. */
static bool sweep_next_target(struct router_sweep *s, const struct cairn_rpc_iface *iface)
{
    while (s->target < s->router->env.ntargets && sweep_target(s)->iface != iface)
        s->target++;
    return s->target < s->router->env.ntargets;
}

/* A namespace that was there before this run and is not there now. */
static bool sweep_is_gone(const struct router_sweep *s, uint64_t id)
{
    return id <= s->until && router_ns_find_id(router_home(s->router), (uint32_t)id) == NULL;
}

/* ---- databases ---- */

static void sweep_on_dropped(struct cairn_rpc_call *call)
{
    struct router_sweep *s = call->arg;

    if (sweep_called(s))
        sweep_rest(s, sweep_databases);
}

/* The id in "ns/42"; 0 if the name is none of ours. */
static uint64_t database_ns_id(const char *name)
{
    char again[32];
    unsigned long long id;

    if (sscanf(name, "ns/%llu", &id) != 1)
        return 0;
    snprintf(again, sizeof(again), "ns/%llu", id);
    return strcmp(again, name) == 0 ? id : 0;
}

static void sweep_on_databases(struct cairn_rpc_call *call)
{
    struct router_sweep *s = call->arg;
    const Cairn__Wire__KvDatabases *reply = (const Cairn__Wire__KvDatabases *)call->reply;

    if (!sweep_called(s))
        return;
    for (size_t i = 0; i < reply->n_databases; i++) {
        uint64_t id = database_ns_id(reply->databases[i]->name);

        if (id == 0 || !sweep_is_gone(s, id))
            continue;
        snprintf(s->drop_name, sizeof(s->drop_name), "%s", reply->databases[i]->name);
        cairn_sm_move(&s->sm, SWEEP_DROP);
        cairn__wire__kv_drop__init(&s->msg.drop);
        s->msg.drop.name = s->drop_name;
        sweep_call(s, sweep_target(s), CAIRN__WIRE__KV_METHOD__KV_DROP, sweep_on_dropped);
        return;
    }
    s->target++;
    sweep_rest(s, sweep_databases);
}

static void sweep_databases(struct router_sweep *s)
{
    if (s->sm.state == SWEEP_DROP)
        cairn_sm_move(&s->sm, SWEEP_DATABASES);
    if (!sweep_next_target(s, &cairn_iface_kv)) {
        s->target = 0;
        sweep_list(s);
        return;
    }
    cairn__wire__empty__init(&s->msg.empty);
    sweep_call(s, sweep_target(s), CAIRN__WIRE__KV_METHOD__KV_DATABASES, sweep_on_databases);
}

/* ---- candidates ---- */

static void sweep_keep_part(void *arg, uint64_t id)
{
    struct router_sweep *s = arg;

    router_sweep_set_name(&s->candidates, id);
}

static void sweep_logs(struct router_sweep *s);

static void sweep_on_named(void *arg, int rc)
{
    struct router_sweep *s = arg;

    s->calling = false;
    if (s->stopping)
        sweep_stop(s, CAIRN_E_SHUTDOWN, "the node ends");
    else if (rc == CAIRN_E_BUSY)
        sweep_wait(s, sweep_logs);
    else if (rc != 0)
        sweep_stop(s, rc, "the logs of slots are not known");
    else
        sweep_open(s);
}

static void sweep_logs(struct router_sweep *s)
{
    s->calling = true;
    s->named = (struct cairn_cluster_named){
        .cluster = s->router->conf.cluster, .fn = sweep_keep_part, .done = sweep_on_named, .arg = s
    };
    cairn_cluster_named(&s->named);
}

static void sweep_on_barrier(struct router_spread *spread)
{
    struct router_sweep *s = CONTAINER_OF(spread, struct router_sweep, spread);

    s->calling = false;
    if (s->stopping) {
        sweep_stop(s, CAIRN_E_SHUTDOWN, "the node ends");
        return;
    }
    /* Parts of values that are still coming in have no record yet. Whoever's upload ends from here on either has its
     * record seen by the scan, or removes its regions itself. */
    router_uploads_each(s->router, sweep_target(s), sweep_keep_part, s);
    if (s->router->conf.cluster == NULL) {
        sweep_open(s);
        return;
    }
    cairn_sm_move(&s->sm, SWEEP_LOGS);
    sweep_logs(s);
}

static void sweep_apply_barrier(struct router_news *n)
{
    struct router_worker *w = n->w;
    uint32_t old = w->period++ & 1;

    CAIRN_ASSERT(w->awaits_storing == NULL);
    if (w->storing[old] == 0)
        router_news_ack(n);
    else
        w->awaits_storing = n;
}

/* Namespaces whose records may name candidates. */
static bool sweep_take_spaces(struct router_sweep *s)
{
    struct router_worker *home = router_home(s->router);

    free(s->spaces);
    s->nspaces = s->space = 0;
    s->from_len = 0;
    s->spaces = malloc((home->nns + 1) * sizeof(s->spaces[0]));
    if (s->spaces == NULL)
        return false;
    for (uint32_t i = 0; i < ROUTER_BUCKETS; i++) {
        CAIRN_LIST_FOREACH (l, &home->buckets[i]) {
            const struct router_ns *ns = CONTAINER_OF(l, const struct router_ns, link);

            if ((ns->clustered || (ns->has_large && !s->again)) && ns->extent == sweep_target(s))
                s->spaces[s->nspaces++] = ns->id;
        }
    }
    return true;
}

static bool was_removed(const struct cairn_router *r, uint32_t id)
{
    for (uint32_t i = 0; i < r->nremoved; i++) {
        if (r->removed[i] == id)
            return true;
    }
    return false;
}

/* A region of ours, of a namespace that existed when this run began; those of later ones are no work of a crash. One
 * that is not known here may be one that is not known here yet. */
static bool sweep_is_candidate(const struct router_sweep *s, uint64_t owner)
{
    uint32_t id = (uint32_t)owner;
    const struct router_ns *ns;

    if ((owner >> 32) != (CAIRN_REGION_OWNER_TAG >> 32))
        return false;
    if (!s->again)
        return id <= s->until;
    ns = router_ns_find_id(router_home(s->router), id);
    return ns != NULL ? ns->clustered : was_removed(s->router, id);
}

static void sweep_on_listed(struct cairn_rpc_call *call)
{
    struct router_sweep *s = call->arg;
    const Cairn__Wire__ExtentListReply *reply = (const Cairn__Wire__ExtentListReply *)call->reply;
    int rc = 0;

    if (!sweep_called(s))
        return;
    /* Without owners nobody can tell our regions from those that users made: then they all stay. */
    for (size_t i = 0; i < reply->n_ids && rc == 0; i++) {
        if (i < reply->n_owners && sweep_is_candidate(s, reply->owners[i]))
            rc = router_sweep_set_add(&s->candidates, reply->ids[i]);
        s->after = reply->ids[i];
    }
    if (rc != 0) {
        sweep_stop(s, rc, rc == CAIRN_E_INVAL ? "regions were listed out of order" : cairn_error_text(rc));
        return;
    }
    s->more = reply->more && reply->n_ids > 0;
    if (s->more && s->candidates.n + SWEEP_LIST_PAGE <= ROUTER_SWEEP_SET_MAX) {
        sweep_rest(s, sweep_list);
        return;
    }
    cairn_sm_move(&s->sm, SWEEP_BARRIER);
    s->calling = true;
    router_spread_start(&s->spread, sweep_apply_barrier, sweep_on_barrier);
}

static void sweep_list(struct router_sweep *s)
{
    if (!sweep_next_target(s, &cairn_iface_extent)) {
        sweep_finish(s);
        return;
    }
    if (s->sm.state != SWEEP_LIST) {
        cairn_sm_move(&s->sm, SWEEP_LIST);
        router_sweep_set_clear(&s->candidates);
        s->scanned = NULL;
        if (s->router->conf.cluster != NULL)
            cairn_cluster_sweep_begin(s->router->conf.cluster);
    }
    cairn__wire__extent_list__init(&s->msg.extent_list);
    s->msg.extent_list.after = s->after;
    s->msg.extent_list.max = SWEEP_LIST_PAGE;
    sweep_call(s, sweep_target(s), CAIRN__WIRE__EXTENT_METHOD__EXTENT_LIST, sweep_on_listed);
}

/* ---- what is named ---- */

/* False if a record cannot be read: then nobody knows what it names, and everything must stay. */
static bool sweep_name_page(struct router_sweep *s, const Cairn__Wire__KvListReply *reply, const uint8_t *values,
                            size_t len)
{
    size_t at = 0;

    if (reply->n_lengths != reply->n_keys)
        return false;
    for (size_t i = 0; i < reply->n_lengths; i++) {
        struct cairn_record r;

        if (reply->lengths[i] > len - at || cairn_record_parse(values + at, reply->lengths[i], &r) != 0)
            return false;
        for (uint32_t j = 0; j < r.nregions; j++)
            router_sweep_set_name(&s->candidates, cairn_record_region(&r, j).id);
        at += reply->lengths[i];
    }
    return true;
}

static void sweep_unpin(struct router_sweep *s)
{
    struct router_ns *ns = s->pinned;

    s->pinned = NULL;
    router_ns_put(ns);
}

static void sweep_on_scanned(struct cairn_rpc_call *call)
{
    struct router_sweep *s = call->arg;
    const Cairn__Wire__KvListReply *reply = (const Cairn__Wire__KvListReply *)call->reply;
    const ProtobufCBinaryData *last;

    sweep_unpin(s);
    if (!sweep_called(s))
        return;
    if (!sweep_name_page(s, reply, call->reply_payload, call->reply_payload_len)) {
        sweep_stop(s, CAIRN_E_CORRUPT, "a record cannot be read");
        return;
    }
    if (reply->more && reply->n_keys > 0) {
        last = &reply->keys[reply->n_keys - 1];
        CAIRN_ASSERT(last->len <= sizeof(s->from));
        memcpy(s->from, last->data, last->len);
        s->from_len = (uint32_t)last->len;
    } else {
        s->space++;
        s->from_len = 0;
    }
    sweep_rest(s, sweep_open);
}

static void sweep_scan(struct router_sweep *s)
{
    cairn_sm_move(&s->sm, SWEEP_SCAN);
    s->scanned = s->pinned->kv;
    cairn__wire__kv_list__init(&s->msg.list);
    s->msg.list.db = s->pinned->db;
    s->msg.list.from = (ProtobufCBinaryData){ .data = s->from, .len = s->from_len };
    s->msg.list.after = s->from_len > 0;
    s->msg.list.max = SWEEP_SCAN_PAGE;
    s->msg.list.values = true;
    sweep_call(s, s->pinned->kv, CAIRN__WIRE__KV_METHOD__KV_LIST, sweep_on_scanned);
}

static void sweep_on_opened(struct cairn_rpc_call *call)
{
    struct router_sweep *s = call->arg;
    struct router_ns *ns = s->pinned;

    if (call->rc == 0) {
        ns->db = ((const Cairn__Wire__KvOpened *)call->reply)->db;
        ns->open = true;
    }
    if (!sweep_called(s)) {
        sweep_unpin(s);
        return;
    }
    sweep_scan(s);
}

static void sweep_on_flushed(struct cairn_rpc_call *call)
{
    struct router_sweep *s = call->arg;

    if (call->rc == CAIRN_E_UNSUPPORTED) /* there is no disk to be flushed to */
        call->rc = 0;
    if (sweep_called(s))
        sweep_rest(s, sweep_remove);
}

static void sweep_flush(struct router_sweep *s)
{
    if (s->router->conf.cluster == NULL || s->scanned == NULL) {
        sweep_remove(s);
        return;
    }
    cairn_sm_move(&s->sm, SWEEP_FLUSH);
    cairn__wire__empty__init(&s->msg.empty);
    sweep_call(s, s->scanned, CAIRN__WIRE__KV_METHOD__KV_FLUSH, sweep_on_flushed);
}

/* Pins the next namespace for one page. Between two pages it may be removed: then its regions go with it, or are
 * garbage. While it is being removed nobody knows yet. */
static void sweep_open(struct router_sweep *s)
{
    struct router_ns *ns = NULL;

    if ((s->sm.state == SWEEP_BARRIER || s->sm.state == SWEEP_LOGS) && !sweep_take_spaces(s)) {
        sweep_stop(s, CAIRN_E_NOMEM, "out of memory");
        return;
    }
    while (s->space < s->nspaces) {
        ns = router_ns_find_id(router_home(s->router), s->spaces[s->space]);
        if (ns != NULL)
            break;
        s->space++;
        s->from_len = 0;
    }
    if (s->space < s->nspaces && ns->removing) { /* it may stay after all, as one that is not empty does */
        sweep_wait(s, sweep_open);
        return;
    }
    if (s->space == s->nspaces || s->candidates.n == 0) {
        s->space = s->nspaces;
        sweep_flush(s);
        return;
    }
    if (ns->kv == NULL) {
        sweep_stop(s, CAIRN_E_NOPROVIDER, "a namespace's KV provider is not on this node");
        return;
    }
    cairn_sm_move(&s->sm, SWEEP_OPEN);
    s->pinned = ns;
    router_ns_get(ns);
    if (ns->open) {
        sweep_scan(s);
        return;
    }
    cairn__wire__kv_open__init(&s->msg.open);
    s->msg.open.name = ns->db_name;
    s->msg.open.create = true;
    s->msg.open.write_once = ns->write_once;
    sweep_call(s, ns->kv, CAIRN__WIRE__KV_METHOD__KV_OPEN, sweep_on_opened);
}

/* ---- what is left ---- */

static void sweep_on_removed(struct cairn_rpc_call *call)
{
    struct router_sweep *s = call->arg;
    uint64_t removed;

    if (s->router->conf.cluster != NULL)
        cairn_cluster_spare(s->router->conf.cluster);
    if (!sweep_called(s))
        return;
    removed = s->msg.extent_remove.n_ids - router_count_left(call);
    if (removed < s->msg.extent_remove.n_ids)
        atomic_store(&s->router->left_garbage, true);
    s->removed += removed;
    atomic_fetch_add(&s->router->swept, removed);
    sweep_rest(s, sweep_remove);
}

/* The next that are to go; none: there are none left. */
static uint32_t sweep_take(struct router_sweep *s, uint64_t **ids)
{
    struct cairn_cluster *c = s->router->conf.cluster;
    uint32_t n, left;

    while ((n = router_sweep_set_take(&s->candidates, SWEEP_REMOVE_PAGE, ids)) > 0) {
        left = c != NULL ? cairn_cluster_doom(c, *ids, n) : n;
        if (left > 0)
            return left;
        cairn_cluster_spare(c);
    }
    return 0;
}

static void sweep_remove(struct router_sweep *s)
{
    uint64_t *ids;
    uint32_t n;

    cairn_sm_move(&s->sm, SWEEP_REMOVE);
    n = sweep_take(s, &ids);
    if (n > 0) {
        cairn__wire__extent_remove__init(&s->msg.extent_remove);
        s->msg.extent_remove.ids = ids;
        s->msg.extent_remove.n_ids = n;
        sweep_call(s, sweep_target(s), CAIRN__WIRE__EXTENT_METHOD__EXTENT_REMOVE, sweep_on_removed);
        return;
    }
    if (!s->more) {
        s->target++;
        s->after = 0;
    }
    s->more = false;
    sweep_list(s);
}

/* ---- to the router ---- */

static void sweep_run(struct cairn_router *r, bool again)
{
    struct router_sweep *s = calloc(1, sizeof(*s));

    if (s == NULL || router_spread_init(&s->spread, r) != 0) {
        free(s);
        atomic_store(&r->left_garbage, true);
        if (again)
            sweep_plan(r);
        return;
    }
    s->router = r;
    s->again = again;
    s->until = r->loaded;
    s->running = true;
    s->started_ns = cairn_env_now_ns(&router_home(r)->loop->env);
    cairn_timer_init(&s->rest, sweep_on_rested, s);
    cairn_sm_init(&s->sm, &router_sweep_kind, &router_home(r)->loop->machines);
    r->sweep = s;
    s->began_ns = cairn_env_now_ns(&router_home(r)->loop->env);
    sweep_rest(s, again ? sweep_list : sweep_databases);
}

static void sweep_on_time(void *arg)
{
    struct cairn_router *r = arg;

    router_sweep_free(r);
    sweep_run(r, true);
}

/* The next one. */
static void sweep_plan(struct cairn_router *r)
{
    struct cairn_env *env = &router_home(r)->loop->env;
    uint64_t now = cairn_env_now_ns(env), took = r->sweep != NULL ? now - r->sweep->started_ns : 0;
    uint64_t interval = r->conf.sweep_interval_ms * CAIRN_NS_PER_MS;

    if (r->conf.cluster == NULL || r->quiescing)
        return;
    cairn_timer_init(&r->sweep_timer, sweep_on_time, r);
    if (cairn_timer_start(env, &r->sweep_timer, now + MAX(interval, SWEEP_SHARE * MIN(took, interval))) != 0)
        atomic_store(&r->left_garbage, true); /* then it is the next start's */
}

void router_sweep_start(struct cairn_router *r)
{
    if (r->was_unclean || r->conf.sweep_always)
        sweep_run(r, false);
    else
        sweep_plan(r);
}

static void sweep_on_done(void *arg)
{
    struct router_sweep *s = arg;

    s->done(s->done_arg);
}

static void quiesce_on_idle(void *arg)
{
    struct cairn_router *r = arg;

    r->quiesced(r->quiesced_arg);
}

void router_sweep_quiesce(struct cairn_router *r, void (*done)(void *arg), void *arg)
{
    struct router_sweep *s = r->sweep;

    if (r->conf.cluster != NULL && !r->quiescing)
        cairn_timer_stop(&router_home(r)->loop->env, &r->sweep_timer);
    r->quiescing = true;
    if (s == NULL) {
        r->quiesced = done;
        r->quiesced_arg = arg;
        cairn_task_init(&r->quiesced_task, quiesce_on_idle, r);
        cairn_env_defer(&router_home(r)->loop->env, &r->quiesced_task);
        return;
    }
    s->done = done;
    s->done_arg = arg;
    s->stopping = true;
    cairn_task_init(&s->done_task, sweep_on_done, s);
    if (!s->running) {
        cairn_env_defer(&router_home(r)->loop->env, &s->done_task);
    } else if (!s->calling) {
        cairn_timer_stop(&router_home(r)->loop->env, &s->rest);
        sweep_stop(s, CAIRN_E_SHUTDOWN, "the node ends");
    }
}

void router_sweep_free(struct cairn_router *r)
{
    if (r->sweep == NULL)
        return;
    CAIRN_ASSERT(!r->sweep->running);
    router_sweep_set_fini(&r->sweep->candidates);
    free(r->sweep->spaces);
    free(r->sweep);
    r->sweep = NULL;
}

void router_sweep_status(const struct cairn_router *r, json_t *to)
{
    json_object_set_new(to, "swept_regions", json_integer((json_int_t)atomic_load(&r->swept)));
    json_object_set_new(to, "left_garbage", json_boolean(atomic_load(&r->left_garbage)));
}
