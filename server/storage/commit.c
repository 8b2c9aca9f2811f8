/* Group commit: see commit.h.
 *
 *   loop: gathered --(end of the turn)--> queue: committer: apply --+--> lane: done
 *                                                                   +--> syncing: syncer: sync --> lane: done
 *
 * An operation is on exactly one of these lists. */
#include "server/storage/commit.h"

#include "sdk/core/base/clock.h"
#include "sdk/core/base/log.h"

#include <errno.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* What the committer keeps for one loop. */
struct lane {
    struct cairn_commit *commit;
    struct cairn_loop *loop;
    struct cairn_link gathered; /* the loop's own */
    struct cairn_task hand_over;
    pthread_mutex_t mutex;
    struct cairn_link done; /* under mutex */
    bool posted;            /* likewise: @deliver is under way */
    struct cairn_task deliver;
};

struct cairn_commit {
    struct cairn_commit_conf conf;
    pthread_mutex_t mutex;
    sem_t work; /* posted for a committer that waits; a condition would make it wake nobody when it unlocks the mutex */
    pthread_cond_t sync_work;
    struct cairn_link queue, syncing; /* under mutex, as all below */
    uint32_t nsyncing, expected;      /* expected: so many may come back for the next sync */
    uint64_t sync_ns;                 /* what the last one took */
    bool committer_waits, stop;
    struct cairn_commit_stats stats;
    atomic_uint waiting;
    atomic_ullong waiting_bytes;
    pthread_t committer, syncer;
    struct cairn_log *log; /* of the thread that made us: ours write to it, too */
    struct lane lanes[];
};

/* ---- answers, on their way to the loops ---- */

/* @delivery: it is the one that was posted. */
static void lane_deliver(struct lane *lane, bool delivery)
{
    struct cairn_link done, *l;

    cairn_list_init(&done);
    pthread_mutex_lock(&lane->mutex);
    cairn_list_splice(&done, &lane->done);
    if (delivery)
        lane->posted = false;
    pthread_mutex_unlock(&lane->mutex);
    while ((l = cairn_list_pop(&done)) != NULL) {
        struct cairn_commit_op *op = CONTAINER_OF(l, struct cairn_commit_op, link);

        op->done(op);
    }
}

static void on_deliver(void *arg)
{
    lane_deliver(arg, true);
}

static void lane_finish(struct lane *lane, struct cairn_link *ops)
{
    bool post = false;

    CAIRN_LIST_FOREACH (l, ops) {
        const struct cairn_commit_op *op = CONTAINER_OF(l, struct cairn_commit_op, link);

        post |= !op->quiet || op->rc != 0;
    }
    pthread_mutex_lock(&lane->mutex);
    cairn_list_splice(&lane->done, ops);
    post &= !lane->posted;
    lane->posted |= post;
    pthread_mutex_unlock(&lane->mutex);
    if (post)
        cairn_loop_post(lane->loop, &lane->deliver);
}

/* Gives the operations on @ops to their loops: one hand-over a loop, in order. */
static void commit_finish(struct cairn_commit *c, struct cairn_link *ops)
{
    uint64_t bytes = 0;
    uint32_t n = 0;

    CAIRN_LIST_FOREACH (l, ops) {
        bytes += CONTAINER_OF(l, struct cairn_commit_op, link)->bytes;
        n++;
    }
    atomic_fetch_sub(&c->waiting, n);
    atomic_fetch_sub(&c->waiting_bytes, bytes);
    for (uint32_t i = 0; i < c->conf.nloops && !cairn_list_is_empty(ops); i++) {
        struct cairn_link mine;

        cairn_list_init(&mine);
        CAIRN_LIST_FOREACH_SAFE (l, ops) {
            if (CONTAINER_OF(l, struct cairn_commit_op, link)->worker == i) {
                cairn_list_del(l);
                cairn_list_add_tail(&mine, l);
            }
        }
        if (!cairn_list_is_empty(&mine))
            lane_finish(&c->lanes[i], &mine);
    }
}

/* ---- the committer ---- */

/* Takes from the queue what one group may hold. */
static uint32_t group_take(struct cairn_commit *c, struct cairn_link *group)
{
    uint64_t bytes = 0;
    uint32_t n = 0;

    while (n < CAIRN_COMMIT_GROUP_OPS_MAX && bytes < CAIRN_COMMIT_GROUP_BYTES_MAX) {
        struct cairn_link *l = cairn_list_pop(&c->queue);

        if (l == NULL)
            break;
        cairn_list_add_tail(group, l);
        bytes += CONTAINER_OF(l, struct cairn_commit_op, link)->bytes;
        n++;
    }
    return n;
}

/* Moves those that wait for a sync to @to. */
static uint32_t group_pick_syncs(struct cairn_link *group, struct cairn_link *to)
{
    uint32_t n = 0;

    CAIRN_LIST_FOREACH_SAFE (l, group) {
        struct cairn_commit_op *op = CONTAINER_OF(l, struct cairn_commit_op, link);

        if (op->sync && op->rc == 0) {
            cairn_list_del(l);
            cairn_list_add_tail(to, l);
            n++;
        }
    }
    return n;
}

/* Under the mutex, but while it waits. */
static void committer_wait(struct cairn_commit *c)
{
    c->committer_waits = true;
    pthread_mutex_unlock(&c->mutex);
    while (sem_wait(&c->work) != 0)
        CAIRN_ASSERT(errno == EINTR);
    pthread_mutex_lock(&c->mutex);
}

/* Under the mutex. True: it is to be posted to, once. */
static bool committer_wakes(struct cairn_commit *c)
{
    bool waits = c->committer_waits;

    c->committer_waits = false;
    return waits;
}

static void committer_stop(struct cairn_commit *c)
{
    bool wake;

    pthread_mutex_lock(&c->mutex);
    c->stop = true;
    wake = committer_wakes(c);
    pthread_cond_signal(&c->sync_work);
    pthread_mutex_unlock(&c->mutex);
    if (wake)
        sem_post(&c->work);
    pthread_join(c->committer, NULL);
}

static void *committer_run(void *arg)
{
    struct cairn_commit *c = arg;
    struct cairn_link group, syncs;

    pthread_setname_np(pthread_self(), "cairn-commit");
    cairn_log_bind(c->log);
    cairn_list_init(&group);
    cairn_list_init(&syncs);
    pthread_mutex_lock(&c->mutex);
    for (;;) {
        uint32_t n, nsyncs;

        while (cairn_list_is_empty(&c->queue) && !c->stop)
            committer_wait(c);
        n = group_take(c, &group);
        if (n == 0)
            break;
        pthread_mutex_unlock(&c->mutex);
        c->conf.apply(c->conf.ctx, &group);
        nsyncs = group_pick_syncs(&group, &syncs);
        pthread_mutex_lock(&c->mutex);
        c->stats.groups++;
        c->stats.ops += n;
        if (nsyncs > 0) {
            cairn_list_splice(&c->syncing, &syncs);
            c->nsyncing += nsyncs;
            pthread_cond_signal(&c->sync_work);
        }
        if (nsyncs < n) {
            pthread_mutex_unlock(&c->mutex);
            commit_finish(c, &group);
            pthread_mutex_lock(&c->mutex);
        }
    }
    pthread_mutex_unlock(&c->mutex);
    return NULL;
}

/* ---- the syncer ---- */

/* Waits, under the mutex, until as many wait for a sync as the last one let go and left waiting, or until it has cost a
 * twentieth of a sync. */
static void syncer_linger(struct cairn_commit *c)
{
    uint64_t ns = MIN(c->sync_ns / CAIRN_COMMIT_LINGER_PART, (uint64_t)CAIRN_COMMIT_LINGER_NS_MAX);
    uint64_t until = cairn_monotonic_ns() + ns;
    struct timespec ts = { .tv_sec = (time_t)(until / CAIRN_NS_PER_S), .tv_nsec = (long)(until % CAIRN_NS_PER_S) };

    if (c->nsyncing >= c->expected || c->expected < 2)
        return;
    c->stats.lingers++;
    while (c->nsyncing < c->expected && !c->stop) {
        if (pthread_cond_timedwait(&c->sync_work, &c->mutex, &ts) == ETIMEDOUT)
            return;
    }
}

static void *syncer_run(void *arg)
{
    struct cairn_commit *c = arg;
    struct cairn_link group;

    pthread_setname_np(pthread_self(), "cairn-sync");
    cairn_log_bind(c->log);
    cairn_list_init(&group);
    pthread_mutex_lock(&c->mutex);
    for (;;) {
        uint64_t begin;
        uint32_t n;
        int rc;

        while (c->nsyncing == 0 && !c->stop)
            pthread_cond_wait(&c->sync_work, &c->mutex);
        if (c->nsyncing == 0)
            break;
        syncer_linger(c);
        n = c->nsyncing;
        cairn_list_splice(&group, &c->syncing);
        c->nsyncing = 0;
        pthread_mutex_unlock(&c->mutex);
        begin = cairn_monotonic_ns();
        rc = c->conf.sync(c->conf.ctx);
        begin = cairn_monotonic_ns() - begin;
        CAIRN_LIST_FOREACH (l, &group) {
            CONTAINER_OF(l, struct cairn_commit_op, link)->rc = rc;
        }
        pthread_mutex_lock(&c->mutex);
        c->sync_ns = begin;
        c->expected = n + c->nsyncing;
        c->stats.syncs++;
        c->stats.synced_ops += n;
        pthread_mutex_unlock(&c->mutex);
        commit_finish(c, &group);
        pthread_mutex_lock(&c->mutex);
    }
    pthread_mutex_unlock(&c->mutex);
    return NULL;
}

/* ---- the loops' side ---- */

static void on_hand_over(void *arg)
{
    struct lane *lane = arg;
    struct cairn_commit *c = lane->commit;
    bool wake;

    pthread_mutex_lock(&c->mutex);
    cairn_list_splice(&c->queue, &lane->gathered);
    wake = committer_wakes(c);
    pthread_mutex_unlock(&c->mutex);
    if (wake)
        sem_post(&c->work);
}

int cairn_commit_submit(struct cairn_commit *c, struct cairn_commit_op *op)
{
    struct lane *lane = &c->lanes[op->worker];

    CAIRN_ASSERT(op->worker < c->conf.nloops);
    if (atomic_fetch_add(&c->waiting, 1) >= c->conf.ops_max)
        goto busy;
    /* One that is larger than the bound by itself still has its turn. */
    if (atomic_fetch_add(&c->waiting_bytes, op->bytes) + op->bytes > c->conf.bytes_max &&
        atomic_load(&c->waiting_bytes) != op->bytes) {
        atomic_fetch_sub(&c->waiting_bytes, op->bytes);
        goto busy;
    }
    op->rc = 0;
    cairn_list_init(&op->link);
    cairn_list_add_tail(&lane->gathered, &op->link);
    cairn_env_defer(&lane->loop->env, &lane->hand_over);
    return 0;
busy:
    atomic_fetch_sub(&c->waiting, 1);
    return CAIRN_E_BUSY;
}

void cairn_commit_collect(struct cairn_commit *c, uint32_t worker)
{
    lane_deliver(&c->lanes[worker], false);
}

void cairn_commit_stats(struct cairn_commit *c, struct cairn_commit_stats *out)
{
    pthread_mutex_lock(&c->mutex);
    *out = c->stats;
    pthread_mutex_unlock(&c->mutex);
    out->waiting = atomic_load(&c->waiting);
    out->waiting_bytes = atomic_load(&c->waiting_bytes);
}

/* ---- life ---- */

static void lane_init(struct lane *lane, struct cairn_commit *c, struct cairn_loop *loop)
{
    lane->commit = c;
    lane->loop = loop;
    cairn_list_init(&lane->gathered);
    cairn_list_init(&lane->done);
    pthread_mutex_init(&lane->mutex, NULL);
    cairn_task_init(&lane->hand_over, on_hand_over, lane);
    cairn_task_init(&lane->deliver, on_deliver, lane);
}

static void commit_fini(struct cairn_commit *c)
{
    for (uint32_t i = 0; i < c->conf.nloops; i++)
        pthread_mutex_destroy(&c->lanes[i].mutex);
    sem_destroy(&c->work);
    pthread_cond_destroy(&c->sync_work);
    pthread_mutex_destroy(&c->mutex);
    free(c);
}

struct cairn_commit *cairn_commit_new(const struct cairn_commit_conf *conf, struct cairn_err *err)
{
    struct cairn_commit *c = calloc(1, sizeof(*c) + conf->nloops * sizeof(c->lanes[0]));
    pthread_condattr_t attr;
    int e;

    if (c == NULL) {
        cairn_err_set(err, CAIRN_E_NOMEM, "group commit");
        return NULL;
    }
    c->conf = *conf;
    c->log = cairn_log_bound();
    pthread_mutex_init(&c->mutex, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    sem_init(&c->work, 0, 0);
    pthread_cond_init(&c->sync_work, &attr);
    pthread_condattr_destroy(&attr);
    cairn_list_init(&c->queue);
    cairn_list_init(&c->syncing);
    for (uint32_t i = 0; i < conf->nloops; i++)
        lane_init(&c->lanes[i], c, conf->loops[i]);
    e = pthread_create(&c->committer, NULL, committer_run, c);
    if (e != 0)
        goto failed;
    e = pthread_create(&c->syncer, NULL, syncer_run, c);
    if (e != 0)
        goto end_committer;
    return c;
end_committer:
    committer_stop(c);
failed:
    cairn_err_errno(err, e, "group commit: thread");
    commit_fini(c);
    return NULL;
}

void cairn_commit_free(struct cairn_commit *c)
{
    CAIRN_ASSERT(atomic_load(&c->waiting) == 0);
    committer_stop(c);
    pthread_join(c->syncer, NULL);
    for (uint32_t i = 0; i < c->conf.nloops; i++)
        CAIRN_ASSERT(cairn_list_is_empty(&c->lanes[i].gathered) && !c->lanes[i].posted);
    commit_fini(c);
}
