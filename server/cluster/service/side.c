/* The node's half of the service: how its parts begin and end. See side.h. */
#include "server/cluster/service/side.h"

#include "sdk/core/base/log.h"
#include "server/cluster/service/fetch.h"
#include "server/cluster/service/scrub.h"

#include <stdio.h>
#include <stdlib.h>

static struct cairn_cluster_side *side_of(struct cairn_cluster *c)
{
    return c->side;
}

bool side_lease_is_valid(const struct cairn_cluster *c)
{
    const struct cairn_cluster_side *s = c->side;

    return !atomic_load(&s->failed) && cairn_env_now_ns(&c->home->env) < atomic_load(&s->lease_until_ns);
}

bool side_may_go_on(const struct cairn_cluster *c)
{
    return !atomic_load(&c->side->failed) && atomic_load(&c->side->other_map) == 0;
}

void side_fail(struct cairn_cluster *c, int rc, const char *text)
{
    if (atomic_exchange(&c->side->failing, true))
        return;
    snprintf(c->side->why, sizeof(c->side->why), "%s: %s", text, cairn_error_text(rc));
    atomic_store(&c->side->failed, true);
    cairn_log_error("this node takes no more part in the cluster until it is started again: %s", c->side->why);
}

/* ---- something on every worker ---- */

struct round {
    struct cairn_cluster *c;
    void (*fn)(struct side_worker *w, void *arg);
    void (*done)(void *arg);
    void *arg;
    atomic_uint left;
    struct cairn_task task;
    struct round_part {
        struct round *round;
        struct side_worker *w;
        struct cairn_task task;
    } parts[];
};

static void round_done(void *arg)
{
    struct round *r = arg;
    void (*done)(void *arg) = r->done;

    arg = r->arg;
    free(r);
    done(arg);
}

static void round_part(void *arg)
{
    struct round_part *p = arg;
    struct round *r = p->round;

    r->fn(p->w, r->arg);
    if (atomic_fetch_sub(&r->left, 1) == 1)
        cairn_loop_post(r->c->home, &r->task);
}

static struct round *round_new(struct cairn_cluster *c)
{
    struct round *r = calloc(1, sizeof(*r) + c->side->nworkers * sizeof(r->parts[0]));

    if (r != NULL)
        r->c = c;
    return r;
}

/* Takes @r. */
static void round_go(struct round *r, void (*fn)(struct side_worker *w, void *arg), void (*done)(void *arg), void *arg)
{
    struct cairn_cluster *c = r->c;
    uint32_t n = c->side->nworkers;

    r->fn = fn;
    r->done = done;
    r->arg = arg;
    atomic_init(&r->left, n);
    cairn_task_init(&r->task, round_done, r);
    for (uint32_t i = 0; i < n; i++) {
        r->parts[i].round = r;
        r->parts[i].w = &c->side->workers[i];
        cairn_task_init(&r->parts[i].task, round_part, &r->parts[i]);
        cairn_loop_post(r->parts[i].w->loop, &r->parts[i].task);
    }
}

int side_each(struct cairn_cluster *c, void (*fn)(struct side_worker *w, void *arg), void (*done)(void *arg), void *arg)
{
    struct round *r = round_new(c);

    if (r == NULL)
        return CAIRN_E_NOMEM;
    round_go(r, fn, done, arg);
    return 0;
}

/* ---- records for replicas ---- */

bool side_learn(struct side_worker *w, uint32_t slot)
{
    struct cairn_slot_record rec;
    int rc;

    if (w->stopping || slot >= SIDE_SLOTS_MAX || !cairn_cluster_records_slot(w->c->records, slot, &rec))
        return true;
    rc = cluster_slots_learn(w->slots, slot, &rec);
    return rc == 0 || rc == CAIRN_E_STATE;
}

struct news {
    struct side_worker *w;
    uint32_t slot;
    struct cairn_task task;
};

static void news_learn(void *arg)
{
    struct news *x = arg;

    (void)side_learn(x->w, x->slot); /* the next grant brings it again */
    free(x);
}

void side_learn_later(struct cairn_cluster *c, uint32_t slot)
{
    struct news *x = malloc(sizeof(*x));

    if (x == NULL)
        return;
    x->w = side_worker_of(c, slot);
    x->slot = slot;
    cairn_task_init(&x->task, news_learn, x);
    cairn_loop_post(x->w->loop, &x->task);
}

void cairn_cluster__side_on_publish(struct cairn_rpc_req *rq)
{
    struct cairn_cluster *c = rq->target->ctx;
    struct cairn_wire_page page;
    struct cairn_arena a;
    int rc;

    cairn_arena_init(&a, 4 << 20);
    rc = cairn_wire_page_get((const Cairn__Wire__ClusterRecords *)rq->msg, &a, &page, NULL);
    if (rc == 0)
        side_hear_map(c, page.map);
    for (uint32_t i = 0; rc == 0 && i < page.nslots; i++) {
        if (page.slots[i].slot >= SIDE_SLOTS_MAX)
            continue;
        if (cairn_cluster_records_hint(c->records, page.map, page.slots[i].slot, &page.slots[i].rec))
            side_learn_later(c, page.slots[i].slot);
    }
    cairn_arena_reset(&a);
    cairn_rpc_reply(rq, rc, NULL, NULL, 0);
}

/* ---- what slots ask ---- */

static bool on_lease(void *arg)
{
    return side_lease_is_valid(((struct side_worker *)arg)->c);
}

static bool on_may_go_on(void *arg)
{
    return side_may_go_on(((struct side_worker *)arg)->c);
}

static void on_map_is_old(void *arg)
{
    side_life_hurry(((struct side_worker *)arg)->c);
}

static enum cluster_ns_state on_ns_look(void *arg, uint32_t ns)
{
    return cluster_gone_look(&((struct side_worker *)arg)->c->side->gone, ns);
}

static void on_failed(void *arg, int rc, const char *text)
{
    side_fail(((struct side_worker *)arg)->c, rc, text);
}

static void all_started(void *arg)
{
    side_life_begin(arg);
}

static void on_started(void *arg, int rc, const struct cairn_err *err)
{
    struct side_worker *w = arg;
    struct cairn_cluster_side *s = w->c->side;

    if (rc != 0) {
        side_fail(w->c, rc, err->text);
        return;
    }
    if (atomic_fetch_sub(&s->left, 1) == 1) {
        cairn_task_init(&s->stopped_task, all_started, w->c);
        cairn_loop_post(w->c->home, &s->stopped_task);
    }
}

static void on_synced(void *arg, uint32_t slot, int rc)
{
    struct side_worker *w = side_worker_of(arg, slot);

    if (w->slots != NULL)
        cluster_slots_on_synced(w->slots, slot, rc);
}

static void on_written(void *arg, uint32_t slot, struct cairn_at end, int rc)
{
    struct side_worker *w = side_worker_of(arg, slot);

    if (w->slots != NULL)
        cluster_slots_on_written(w->slots, slot, end, rc);
}

static const struct cluster_slots_ops slots_ops = { .send = side_send,
                                                    .propose = side_propose,
                                                    .lease_is_valid = on_lease,
                                                    .may_go_on = on_may_go_on,
                                                    .map_is_old = on_map_is_old,
                                                    .ns_look = on_ns_look,
                                                    .started = on_started,
                                                    .failed = on_failed };

/* ---- life ---- */

int cairn_cluster__side_start(struct cairn_cluster *c, struct cairn_err *err)
{
    uint32_t n = c->env->nloops;
    struct cairn_cluster_side *s;

    c->records = calloc(1, sizeof(*c->records));
    c->side = s = calloc(1, sizeof(*s));
    if (c->records == NULL || s == NULL ||
        cairn_cluster_records_init(c->records, cairn_env_random(&c->home->env)) != 0) {
        free(c->records);
        c->records = NULL;
        return cairn_err_set(err, CAIRN_E_NOMEM, "cluster");
    }
    s->c = c;
    s->pace.bytes_per_s = c->conf.copy_bytes_per_s;
    cluster_askers_init(&s->askers);
    s->nworkers = n;
    cluster_regions_init(&s->regions);
    cluster_gone_init(&s->gone, c->map);
    s->scrub_report = scrub_report_new();
    s->last = round_new(c);
    s->words = calloc(SIDE_SLOTS_MAX, sizeof(*s->words));
    s->workers = aligned_alloc(_Alignof(struct side_worker), n * sizeof(*s->workers));
    if (s->last == NULL || s->words == NULL || s->workers == NULL || s->scrub_report == NULL || side_life_new(c) != 0 ||
        side_leave_new(c) != 0)
        return cairn_err_set(err, CAIRN_E_NOMEM, "cluster");
    memset(s->workers, 0, n * sizeof(*s->workers));
    for (uint32_t i = 0; i < n; i++) {
        s->workers[i].c = c;
        s->workers[i].index = i;
        s->workers[i].loop = c->env->loops[i];
        cairn_list_init(&s->workers[i].writes);
        side_fetches_init(&s->workers[i]);
        side_mail_init(&s->workers[i]);
        side_scrub_serve_init(&s->workers[i]);
    }
    return side_has_store(c) ? side_disk_open(c, on_synced, on_written, err) : 0;
}

void cairn_cluster__side_attach(struct cairn_cluster *c, struct cairn_rpc *rpc)
{
    struct cairn_cluster_side *s = side_of(c);
    struct side_worker *w = &s->workers[cairn_rpc_index(rpc)];
    struct cluster_slots_conf conf = {
        .rpc = rpc,
        .disk = s->disk,
        .times = &c->replica_times,
        .pace = &s->pace,
        .worker = w->index,
        .nworkers = s->nworkers,
        .nslots = SIDE_SLOTS_MAX,
        .sync_interval_ns = c->conf.sync_interval_ns,
        .checkpoint_ns = c->conf.checkpoint_ns != 0 ? c->conf.checkpoint_ns : SIDE_CHECKPOINT_MS * CAIRN_NS_PER_MS,
        .checkpoint_bytes = MAX(c->conf.checkpoint_bytes / s->nworkers, UINT64_C(1) << 20),
        .unapplied_bytes = SIDE_UNAPPLIED_BYTES_MAX,
        .words = s->words,
        .ops = &slots_ops,
        .arg = w
    };

    w->rpc = rpc;
    if (!side_has_store(c))
        return;
    conf.kv = cairn_rpc_target_by_name(rpc, c->conf.kv);
    if (c->conf.extent != NULL && c->conf.extent[0] != '\0')
        w->extent = cairn_rpc_target_by_name(rpc, c->conf.extent);
    if (conf.kv != NULL)
        w->slots = cluster_slots_new(&conf);
    if (w->slots == NULL || side_scrub_new(w) != 0)
        side_fail(c, conf.kv == NULL ? CAIRN_E_NOTFOUND : CAIRN_E_NOMEM, c->conf.kv);
}

static void start_on(struct side_worker *w, void *arg)
{
    (void)arg;
    cluster_slots_start(w->slots);
    side_scrub_run(w);
}

static void started_on_all(void *arg)
{
    (void)arg; /* each says itself when it has looked */
}

void cairn_cluster__side_run(struct cairn_cluster *c)
{
    if (!side_has_store(c) || atomic_load(&c->side->failed))
        return;
    atomic_store(&c->side->left, c->side->nworkers);
    if (side_each(c, start_on, started_on_all, c) != 0)
        side_fail(c, CAIRN_E_NOMEM, "slots");
}

/* ---- the end ---- */

static void run_stopped(void *arg)
{
    struct cairn_cluster_side *s = arg;

    cluster_gone_stop(&s->gone, s->stopped, s->stopped_arg);
}

/* Nothing of this worker is under way any more. */
void side_worker_step(struct side_worker *w)
{
    struct cairn_cluster_side *s = w->c->side;

    if (!w->stopping || w->ncalls > 0 || w->nclosing > 0 || w->fetches.n > 0)
        return;
    w->nclosing = UINT32_MAX; /* once */
    if (atomic_fetch_sub(&s->left, 1) == 1) {
        cairn_task_init(&s->stopped_task, run_stopped, s);
        cairn_loop_post(w->c->home, &s->stopped_task);
    }
}

static void on_disk_stopped(void *arg)
{
    struct side_worker *w = arg;

    w->nclosing--;
    side_worker_step(w);
}

static void on_slots_stopped(void *arg)
{
    struct side_worker *w = arg;

    if (w->c->side->disk != NULL)
        cairn_slot_disk_stop(w->c->side->disk, w->index, on_disk_stopped, w);
    else
        on_disk_stopped(w);
}

static void stop_on(struct side_worker *w, void *arg)
{
    (void)arg;
    w->nclosing++;
    side_writes_stop(w);
    side_scrub_stop(w);
    side_scrub_serve_stop(w);
    w->stopping = true;
    side_fetches_stop(w);
    side_mail_stop(w);
    side_peers_stop(w);
    if (w->slots != NULL)
        cluster_slots_stop(w->slots, on_slots_stopped, w);
    else
        on_slots_stopped(w);
}

static void stopped_on_all(void *arg)
{
    (void)arg;
}

/* Home says nothing any more: now the workers. */
void side_life_ended(struct cairn_cluster *c)
{
    atomic_store(&c->side->left, c->side->nworkers);
    round_go(c->side->last, stop_on, stopped_on_all, c);
    c->side->last = NULL;
}

void cairn_cluster__side_quiesce(struct cairn_cluster *c, void (*done)(void *arg), void *arg)
{
    c->side->stopped = done;
    c->side->stopped_arg = arg;
    side_life_end(c);
}

void cairn_cluster__side_stop(struct cairn_cluster *c)
{
    struct cairn_cluster_side *s = side_of(c);

    if (s != NULL) {
        side_life_free(c);
        side_leave_free(c);
        for (uint32_t i = 0; s->workers != NULL && i < s->nworkers; i++) {
            side_scrub_free(&s->workers[i]);
            side_scrub_serve_free(&s->workers[i]);
            if (s->workers[i].slots != NULL)
                cluster_slots_free(s->workers[i].slots);
            side_peers_free(&s->workers[i]);
            free(s->workers[i].body);
            free(s->workers[i].logs);
            free(s->workers[i].partial);
        }
        if (s->disk != NULL)
            cairn_slot_disk_close(s->disk);
        cluster_regions_fini(&s->regions);
        cluster_gone_fini(&s->gone);
        scrub_report_free(s->scrub_report);
        free(s->last);
        free(s->words);
        free(s->workers);
        free(s);
        c->side = NULL;
    }
    if (c->records != NULL)
        cairn_cluster_records_fini(c->records);
    free(c->records);
    c->records = NULL;
}
