/* Group commit: see commit.h.
 *
 *   loop: gathered --(end of the turn)--> queue: apply --+--> lane: done
 *                                                        +--> syncing: sync --> lane: done
 *
 * An operation is on exactly one of these lists. Two threads do what there is to do: one of them may apply while the
 * other syncs, but never two the same. Whoever has applied what is to be synced syncs it himself, if no sync is under
 * way: so one write that waits alone wakes one thread, and the other is there for what comes meanwhile. */
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

enum { COMMITTERS = 2 };

struct committer {
    struct cairn_commit *commit;
    pthread_t thread;
    sem_t work; /* posted, once, to one that waits; a condition would have it wake up to a mutex that is not free yet */
    bool waits; /* under the mutex */
};

struct cairn_commit {
    struct cairn_commit_conf conf;
    pthread_mutex_t mutex;
    struct cairn_link queue, syncing; /* under mutex, as all below */
    uint32_t nsyncing, expected;      /* expected: so many may come back for the next sync */
    uint64_t sync_ns;                 /* what the last one took */
    uint64_t linger_ns;               /* until when the next waits for those; 0: it does not */
    bool applies, syncs;              /* one of the committers does that now */
    bool stop;
    struct cairn_commit_stats stats;
    atomic_uint waiting;
    atomic_ullong waiting_bytes;
    struct committer committers[COMMITTERS];
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

/* ---- the committers ---- */

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

/* Under the mutex: one that waits, to whom the caller posts when it is unlocked; or NULL. */
static struct committer *committer_wake(struct cairn_commit *c)
{
    for (uint32_t i = 0; i < COMMITTERS; i++) {
        if (c->committers[i].waits) {
            c->committers[i].waits = false;
            return &c->committers[i];
        }
    }
    return NULL;
}

static void committer_post(struct committer *t)
{
    if (t != NULL)
        sem_post(&t->work);
}

/* Under the mutex, but while it waits: until somebody posts, or until @until_ns if that is not 0. */
static void committer_wait(struct committer *t, uint64_t until_ns)
{
    struct cairn_commit *c = t->commit;
    struct timespec ts = { .tv_sec = (time_t)(until_ns / CAIRN_NS_PER_S),
                           .tv_nsec = (long)(until_ns % CAIRN_NS_PER_S) };
    int e;

    t->waits = true;
    pthread_mutex_unlock(&c->mutex);
    do {
        e = until_ns == 0 ? sem_wait(&t->work) : sem_clockwait(&t->work, CLOCK_MONOTONIC, &ts);
    } while (e != 0 && errno == EINTR);
    CAIRN_ASSERT(e == 0 || errno == ETIMEDOUT);
    pthread_mutex_lock(&c->mutex);
    if (e != 0 && !t->waits) /* too late: it is posted to */
        while (sem_wait(&t->work) != 0)
            CAIRN_ASSERT(errno == EINTR);
    t->waits = false;
}

/* Under the mutex, but while it works. What is not to be synced is answered at once. */
static void apply_group(struct cairn_commit *c)
{
    struct cairn_link group, syncs;
    uint32_t n, nsyncs;

    cairn_list_init(&group);
    cairn_list_init(&syncs);
    c->applies = true;
    n = group_take(c, &group);
    pthread_mutex_unlock(&c->mutex);
    c->conf.apply(c->conf.ctx, &group);
    nsyncs = group_pick_syncs(&group, &syncs);
    pthread_mutex_lock(&c->mutex);
    c->stats.groups++;
    c->stats.ops += n;
    cairn_list_splice(&c->syncing, &syncs);
    c->nsyncing += nsyncs;
    if (nsyncs < n) {
        pthread_mutex_unlock(&c->mutex);
        commit_finish(c, &group);
        pthread_mutex_lock(&c->mutex);
    }
    c->applies = false; /* not before: groups are answered in their order */
}

/* Likewise. What has come to be applied meanwhile is the other's. */
static void sync_group(struct cairn_commit *c)
{
    struct committer *other = !c->applies && !cairn_list_is_empty(&c->queue) ? committer_wake(c) : NULL;
    struct cairn_link group;
    uint32_t n = c->nsyncing;
    uint64_t begin;
    int rc;

    cairn_list_init(&group);
    cairn_list_splice(&group, &c->syncing);
    c->nsyncing = 0;
    c->linger_ns = 0;
    c->syncs = true;
    pthread_mutex_unlock(&c->mutex);
    committer_post(other);
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
    c->syncs = false;
}

/* Under the mutex: whether the next sync may begin. It waits until there are as many as the last one let go and left
 * waiting, or until that has cost a twentieth of a sync. */
static bool may_sync(struct cairn_commit *c)
{
    uint64_t now;

    if (c->syncs || c->nsyncing == 0)
        return false;
    if (c->nsyncing >= c->expected || c->expected < 2 || c->stop)
        return true;
    now = cairn_monotonic_ns();
    if (c->linger_ns == 0) {
        c->linger_ns = now + MIN(c->sync_ns / CAIRN_COMMIT_LINGER_PART, (uint64_t)CAIRN_COMMIT_LINGER_NS_MAX);
        c->stats.lingers++;
    }
    return now >= c->linger_ns;
}

static void *committer_run(void *arg)
{
    struct committer *t = arg;
    struct cairn_commit *c = t->commit;

    pthread_setname_np(pthread_self(), "cairn-commit");
    cairn_log_bind(c->log);
    pthread_mutex_lock(&c->mutex);
    for (;;) {
        if (may_sync(c))
            sync_group(c);
        else if (!c->applies && !cairn_list_is_empty(&c->queue))
            apply_group(c);
        else if (c->stop)
            break; /* what is under way is the other's, and what comes of it */
        else
            committer_wait(t, c->syncs || c->nsyncing == 0 ? 0 : c->linger_ns);
    }
    pthread_mutex_unlock(&c->mutex);
    return NULL;
}

/* The first @n of them. */
static void committers_stop(struct cairn_commit *c, uint32_t n)
{
    struct committer *t;

    pthread_mutex_lock(&c->mutex);
    c->stop = true;
    while ((t = committer_wake(c)) != NULL)
        committer_post(t);
    pthread_mutex_unlock(&c->mutex);
    for (uint32_t i = 0; i < n; i++)
        pthread_join(c->committers[i].thread, NULL);
}

/* ---- the loops' side ---- */

static void on_hand_over(void *arg)
{
    struct lane *lane = arg;
    struct cairn_commit *c = lane->commit;
    struct committer *t;

    pthread_mutex_lock(&c->mutex);
    cairn_list_splice(&c->queue, &lane->gathered);
    t = c->applies ? NULL : committer_wake(c); /* who applies looks at the queue when it is done */
    pthread_mutex_unlock(&c->mutex);
    committer_post(t);
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
    for (uint32_t i = 0; i < COMMITTERS; i++)
        sem_destroy(&c->committers[i].work);
    pthread_mutex_destroy(&c->mutex);
    free(c);
}

struct cairn_commit *cairn_commit_new(const struct cairn_commit_conf *conf, struct cairn_err *err)
{
    struct cairn_commit *c = calloc(1, sizeof(*c) + conf->nloops * sizeof(c->lanes[0]));
    uint32_t n = 0;
    int e = 0;

    if (c == NULL) {
        cairn_err_set(err, CAIRN_E_NOMEM, "group commit");
        return NULL;
    }
    c->conf = *conf;
    c->log = cairn_log_bound();
    pthread_mutex_init(&c->mutex, NULL);
    cairn_list_init(&c->queue);
    cairn_list_init(&c->syncing);
    for (uint32_t i = 0; i < conf->nloops; i++)
        lane_init(&c->lanes[i], c, conf->loops[i]);
    for (uint32_t i = 0; i < COMMITTERS; i++) {
        c->committers[i].commit = c;
        sem_init(&c->committers[i].work, 0, 0);
    }
    while (n < COMMITTERS && e == 0) {
        e = pthread_create(&c->committers[n].thread, NULL, committer_run, &c->committers[n]);
        n += e == 0;
    }
    if (e == 0)
        return c;
    committers_stop(c, n);
    cairn_err_errno(err, e, "group commit: thread");
    commit_fini(c);
    return NULL;
}

void cairn_commit_free(struct cairn_commit *c)
{
    CAIRN_ASSERT(atomic_load(&c->waiting) == 0);
    committers_stop(c, COMMITTERS);
    for (uint32_t i = 0; i < c->conf.nloops; i++)
        CAIRN_ASSERT(cairn_list_is_empty(&c->lanes[i].gathered) && !c->lanes[i].posted);
    commit_fini(c);
}
