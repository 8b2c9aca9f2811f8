/* One node's own map store: entries in memory, and a file that is replaced as a whole (map_file.h).
 *
 * A change joins a queue. Whoever finds no writer submits the job; the job takes what waits, stages the changes that
 * apply on a copy of the table, writes that beside the old file, flushes it, renames it over the old one and flushes
 * the directory, and only then the view moves. Leases live in memory and end with the process, so their entries are not
 * in the file. */
#include "server/cluster/map_file.h"
#include "server/cluster/map_image.h"
#include "server/cluster/map_leases.h"
#include "server/cluster/map_store.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    BATCH_WRITES_MAX = 256, /* each is compared with all of its batch */
    LOCAL_RETRY_NS = 1000000000
};

/* A lease that is over, whose entries are to go. */
struct ended {
    struct cairn_link link;
    uint64_t id;
    struct cairn_map_op *op; /* answered then; NULL: it ran out */
};

/* One batch, staged beside what is stored: nothing of it is seen before it is written. */
struct batch {
    struct cairn_link changes, ended;
    struct cairn_map_table table;
    struct cairn_map_node **gone; /* tombstones of entries whose leases ended, one revision for all */
    uint32_t ngone;
    uint64_t revision, gone_revision;
    int rc;
    struct cairn_err err;
};

struct local {
    struct cairn_map_store store;
    struct cairn_pool *pool;
    struct cairn_map_file file;
    bool in_memory; /* nothing is written */
    struct cairn_job job;
    struct batch batch; /* the job's */
    /* under store.view.mutex */
    struct cairn_link queue, ended; /* changes and leases waiting */
    bool writing;                   /* the job is submitted or runs */
    struct cairn_map_leases leases;
    struct cairn_timer timer; /* home's: the next lease runs out */
};

static struct local *local_of(struct cairn_map_store *s)
{
    return CONTAINER_OF(s, struct local, store);
}

static struct cairn_map_change *change_of(struct cairn_link *l)
{
    return CONTAINER_OF(l, struct cairn_map_change, op.link);
}

/* ---- a batch ---- */

static bool change_touches(const struct cairn_map_change *c, const char *key)
{
    for (uint32_t i = 0; i < c->nwrites; i++) {
        if (strcmp(c->writes[i].key, key) == 0)
            return true;
    }
    return false;
}

/* True if the outcome of @c depends on that of a change in the batch: it must wait, since the batch may yet fail. */
static bool batch_decides(const struct batch *b, const struct cairn_map_change *c)
{
    CAIRN_LIST_FOREACH (it, &b->changes) {
        const struct cairn_map_change *other = change_of(it);

        if (c->fence_key != NULL && change_touches(other, c->fence_key))
            return true;
        for (uint32_t i = 0; i < c->nwrites; i++) {
            if (change_touches(other, c->writes[i].key))
                return true;
        }
    }
    return false;
}

/* Entries of leases that are over. */
static int batch_erase(struct batch *b)
{
    int rc = 0;

    if (cairn_list_is_empty(&b->ended))
        return 0;
    b->gone = malloc((b->table.n + 1) * sizeof(b->gone[0]));
    if (b->gone == NULL)
        return CAIRN_E_NOMEM;
    CAIRN_LIST_FOREACH (it, &b->ended) {
        if (rc == 0)
            rc = cairn_map_leases_erase(&b->table, CONTAINER_OF(it, struct ended, link)->id, b->revision + 1, b->gone,
                                        &b->ngone);
    }
    if (rc == 0 && b->ngone > 0)
        b->gone_revision = ++b->revision;
    return rc;
}

/* Under the mutex: takes what waits and stages it. */
static int batch_take(struct local *l, struct batch *b)
{
    uint32_t writes = 0;
    int rc;

    *b = (struct batch){ .revision = l->store.view.revision };
    cairn_list_init(&b->changes);
    cairn_list_init(&b->ended);
    cairn_list_splice(&b->ended, &l->ended);
    CAIRN_LIST_FOREACH_SAFE (it, &l->queue) {
        struct cairn_map_change *c = change_of(it);

        if (writes >= BATCH_WRITES_MAX)
            break;
        if (batch_decides(b, c))
            continue;
        cairn_list_del(it);
        cairn_list_add_tail(&b->changes, it);
        writes += c->nwrites;
    }
    rc = cairn_map_table_copy(&b->table, &l->store.view.table, "", writes);
    if (rc == 0)
        rc = cairn_map_view_reserve(&l->store.view, writes);
    if (rc != 0)
        return rc;
    CAIRN_LIST_FOREACH (it, &b->changes) {
        if (cairn_map_change_stage(change_of(it), &b->table, b->revision + 1, cairn_map_leases_lives, &l->leases) == 0)
            b->revision++;
    }
    return batch_erase(b);
}

/* Under the mutex: the batch is written and becomes the view, or (b->rc) none of it does. */
static void batch_settle(struct local *l, struct batch *b)
{
    CAIRN_LIST_FOREACH (it, &b->changes) {
        struct cairn_map_change *c = change_of(it);

        if (b->rc != 0 && c->op.rc == 0) {
            c->op.rc = b->rc;
            c->op.err = b->err;
            c->op.revision = 0;
        }
        if (c->op.rc == 0)
            cairn_map_view_apply(&l->store.view, c->fresh, c->nwrites, c->op.revision);
        cairn_map_change_drop(c);
    }
    if (b->rc == 0 && b->ngone > 0)
        cairn_map_view_apply(&l->store.view, b->gone, b->ngone, b->gone_revision);
    for (uint32_t i = 0; i < b->ngone; i++)
        cairn_map_node_put(b->gone[i]);
    free(b->gone);
    cairn_map_table_fini(&b->table);
}

static void answer_all(struct cairn_link *changes, struct cairn_link *ended)
{
    struct cairn_link *it;

    while ((it = cairn_list_pop(changes)) != NULL)
        cairn_map_op_answer(&change_of(it)->op);
    while ((it = cairn_list_pop(ended)) != NULL) {
        struct ended *e = CONTAINER_OF(it, struct ended, link);

        if (e->op != NULL) {
            e->op->loop = e->op->store->home.loop;
            cairn_map_op_answer(e->op);
        }
        free(e);
    }
}

/* On a pool thread. Only one such job is there at a time, so the staged state cannot be overtaken while it is written.
 */
static void on_write(struct cairn_job *job)
{
    struct local *l = job->arg;
    struct batch *b = &l->batch;
    uint64_t before;

    pthread_mutex_lock(&l->store.view.mutex);
    before = l->store.view.revision;
    b->rc = batch_take(l, b);
    pthread_mutex_unlock(&l->store.view.mutex);
    if (b->rc != 0)
        cairn_err_set(&b->err, b->rc, "map store: %s", cairn_error_text(b->rc));
    else if (b->revision != before) /* something applied */
        b->rc = l->in_memory ? 0 : cairn_map_image_store(&l->file, &b->table, b->revision, &b->err);
}

static void drop_all(struct cairn_link *changes)
{
    CAIRN_LIST_FOREACH (it, changes) {
        struct cairn_map_change *c = change_of(it);

        cairn_map_change_drop(c);
        c->op.rc = cairn_err_set(&c->op.err, CAIRN_E_BUSY, "the storage pool's queue is full");
    }
}

/* Under the mutex: there is something to write. */
static int local_kick(struct local *l, struct cairn_loop *loop)
{
    int rc = l->writing ? 0 : cairn_pool_submit(l->pool, loop, &l->job);

    if (rc == 0)
        l->writing = true;
    return rc;
}

/* Answers come after the job is free for the next batch: whoever has its answer may close the store. */
static void on_written(struct cairn_job *job)
{
    struct local *l = job->arg;
    struct cairn_link answers, ended;

    cairn_list_init(&answers);
    cairn_list_init(&ended);
    pthread_mutex_lock(&l->store.view.mutex);
    batch_settle(l, &l->batch);
    cairn_list_splice(&answers, &l->batch.changes);
    cairn_list_splice(l->batch.rc == 0 ? &ended : &l->ended, &l->batch.ended); /* the timer tries again */
    l->writing = false;
    if (!cairn_list_is_empty(&l->queue) && local_kick(l, job->loop) != 0) {
        struct cairn_link dropped;

        cairn_list_init(&dropped);
        cairn_list_splice(&dropped, &l->queue);
        drop_all(&dropped);
        cairn_list_splice(&answers, &dropped);
    }
    pthread_mutex_unlock(&l->store.view.mutex);
    answer_all(&answers, &ended);
}

/* ---- what is asked ---- */

static void local_change(struct cairn_map_store *s, struct cairn_map_op *op)
{
    struct cairn_map_change *c = CONTAINER_OF(op, struct cairn_map_change, op);
    struct cairn_loop *loop = op->loop != NULL ? op->loop : s->home.loop;
    struct local *l = local_of(s);
    int rc;

    op->loop = loop;
    if (cairn_map_change_prepare(c) != 0) {
        cairn_env_defer(&loop->env, &op->task);
        return;
    }
    pthread_mutex_lock(&s->view.mutex);
    rc = local_kick(l, loop);
    if (rc == 0)
        cairn_list_add_tail(&l->queue, &op->link);
    pthread_mutex_unlock(&s->view.mutex);
    if (rc != 0) {
        cairn_map_change_drop(c);
        op->rc = cairn_err_set(&op->err, rc, "the storage pool's queue is full");
        cairn_env_defer(&loop->env, &op->task);
    }
}

static void local_read(struct cairn_map_store *s, struct cairn_map_op *op)
{
    struct cairn_map_read *r = CONTAINER_OF(op, struct cairn_map_read, op);

    op->sent_ns = cairn_env_now_ns(s->home.env);
    pthread_mutex_lock(&s->view.mutex);
    op->revision = s->view.revision;
    op->rc = cairn_map_table_copy_some(&r->table, &s->view.table, r->prefix, r->limit, r->last, &r->count);
    pthread_mutex_unlock(&s->view.mutex);
    if (op->rc != 0)
        cairn_err_set(&op->err, op->rc, "map entries");
    cairn_env_defer(s->home.env, &op->task);
}

/* ---- leases ---- */

/* Under the mutex: sets the timer for the next end. */
static void leases_watch(struct local *l)
{
    struct cairn_env *env = l->store.home.env;
    uint64_t at, retry = cairn_env_now_ns(env) + LOCAL_RETRY_NS;

    cairn_map_leases_first(&l->leases, &at);
    if (!cairn_list_is_empty(&l->ended))
        at = MIN(at, retry);
    if (at == UINT64_MAX)
        cairn_timer_stop(env, &l->timer);
    else
        (void)cairn_timer_start(env, &l->timer, at); /* without memory: the next lease request sets it */
}

/* Under the mutex: the lease gives nothing any more, and its entries go with the next batch. */
static int lease_end(struct local *l, uint64_t id, struct cairn_map_op *op)
{
    struct ended *e = malloc(sizeof(*e));

    if (e == NULL)
        return CAIRN_E_NOMEM;
    *e = (struct ended){ .id = id, .op = op };
    cairn_list_add_tail(&l->ended, &e->link);
    cairn_map_leases_end(&l->leases, id);
    return 0;
}

static void on_timer(void *arg)
{
    struct local *l = arg;
    uint64_t now = cairn_env_now_ns(l->store.home.env), at, id;

    pthread_mutex_lock(&l->store.view.mutex);
    while ((id = cairn_map_leases_first(&l->leases, &at)) != 0 && at <= now) {
        if (lease_end(l, id, NULL) != 0)
            break;
    }
    if (!cairn_list_is_empty(&l->ended))
        (void)local_kick(l, l->store.home.loop); /* the timer tries again */
    leases_watch(l);
    pthread_mutex_unlock(&l->store.view.mutex);
}

static void local_lease(struct cairn_map_store *s, struct cairn_map_op *op)
{
    struct cairn_map_lease_op *lo = CONTAINER_OF(op, struct cairn_map_lease_op, op);
    struct local *l = local_of(s);
    uint64_t id = cairn_env_random(s->home.env) >> 1 | 1;
    bool answered = true;

    op->sent_ns = cairn_env_now_ns(s->home.env);
    pthread_mutex_lock(&s->view.mutex);
    if (cairn_map_leases_do(&l->leases, lo, id, op->sent_ns) == 0 && lo->verb == CAIRN_MAP_REVOKE) {
        answered = lease_end(l, lo->id, op) != 0;
        if (answered)
            op->rc = cairn_err_set(&op->err, CAIRN_E_NOMEM, "lease");
        else
            (void)local_kick(l, s->home.loop);
    }
    leases_watch(l);
    pthread_mutex_unlock(&s->view.mutex);
    if (answered)
        cairn_env_defer(s->home.env, &op->task);
}

/* ---- opening ---- */

static void local_free(struct cairn_map_store *s)
{
    struct local *l = local_of(s);
    struct cairn_link *it;

    CAIRN_ASSERT(cairn_list_is_empty(&l->queue) && !l->writing);
    while ((it = cairn_list_pop(&l->ended)) != NULL)
        free(CONTAINER_OF(it, struct ended, link));
    cairn_timer_stop(s->home.env, &l->timer);
    cairn_map_leases_fini(&l->leases);
    cairn_map_store_fini(s);
    free(l);
}

static const struct cairn_map_store_ops local_ops = {
    .name = "local", .change = local_change, .read = local_read, .lease = local_lease, .free = local_free
};

int cairn_map_store_local_check(const char *dir, struct cairn_err *err)
{
    struct cairn_map_table t = { 0 };
    struct cairn_map_file file;
    uint64_t revision;
    int rc = cairn_map_file_init(&file, dir, err);

    if (rc == 0)
        rc = cairn_map_image_load(&file, &t, &revision, err);
    cairn_map_table_fini(&t);
    return rc;
}

int cairn_map_store_local_open(const char *dir, struct cairn_pool *pool, struct cairn_loop *home,
                               struct cairn_map_store **out, struct cairn_err *err)
{
    struct cairn_map_home where = cairn_map_home_of(home);
    struct local *l = calloc(1, sizeof(*l));
    struct cairn_map_table t = { 0 };
    uint64_t revision = 0;
    int rc = 0;

    if (l == NULL)
        return cairn_err_set(err, CAIRN_E_NOMEM, "map store");
    cairn_map_store_init(&l->store, &local_ops, &where);
    l->pool = pool;
    l->job = (struct cairn_job){ .work = on_write, .done = on_written, .arg = l };
    cairn_list_init(&l->queue);
    cairn_list_init(&l->ended);
    cairn_timer_init(&l->timer, on_timer, l);
    l->in_memory = dir[0] == '\0';
    if (!l->in_memory)
        rc = cairn_map_file_init(&l->file, dir, err);
    if (rc == 0 && !l->in_memory) {
        unlink(l->file.fresh_path); /* what a crash left of a change that was never answered */
        rc = cairn_map_image_load(&l->file, &t, &revision, err);
    }
    if (rc != 0) {
        cairn_map_table_fini(&t);
        local_free(&l->store);
        return rc;
    }
    cairn_map_view_replace(&l->store.view, &t, revision);
    *out = &l->store;
    return 0;
}
