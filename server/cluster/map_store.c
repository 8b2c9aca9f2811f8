/* What all map stores have in common: the view, answers, health, and what a change means. */
#include "server/cluster/map_store.h"

#include "sdk/core/base/log.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

void cairn_map_store_init(struct cairn_map_store *s, const struct cairn_map_store_ops *ops,
                          const struct cairn_map_home *home)
{
    s->ops = ops;
    s->home = *home;
    cairn_map_view_init(&s->view, home);
    s->health = (struct cairn_map_health){ .reachable = true, .since_ns = cairn_env_now_ns(home->env) };
}

void cairn_map_store_fini(struct cairn_map_store *s)
{
    cairn_map_view_fini(&s->view);
}

static void op_on_answer(void *arg)
{
    struct cairn_map_op *op = arg;

    op->done(op);
}

static void op_init(struct cairn_map_op *op, struct cairn_map_store *s, struct cairn_loop *loop)
{
    op->rc = 0;
    op->err = (struct cairn_err){ 0 };
    op->revision = 0;
    op->sent_ns = 0;
    op->store = s;
    op->loop = loop;
    if (op->timeout_ms == 0)
        op->timeout_ms = CAIRN_MAP_TIMEOUT_MS;
    cairn_list_init(&op->link);
    cairn_task_init(&op->task, op_on_answer, op);
}

void cairn_map_op_answer(struct cairn_map_op *op)
{
    cairn_task_init(&op->task, op_on_answer, op);
    if (op->loop != NULL)
        cairn_loop_post(op->loop, &op->task);
    else
        cairn_env_defer(op->store->home.env, &op->task);
}

void cairn_map_store_change(struct cairn_map_store *s, struct cairn_loop *loop, struct cairn_map_change *c)
{
    op_init(&c->op, s, loop);
    c->refused = 0;
    s->ops->change(s, &c->op);
}

void cairn_map_store_read(struct cairn_map_store *s, struct cairn_map_read *r)
{
    op_init(&r->op, s, NULL);
    r->table = (struct cairn_map_table){ 0 };
    s->ops->read(s, &r->op);
}

void cairn_map_store_lease(struct cairn_map_store *s, struct cairn_map_lease_op *l)
{
    op_init(&l->op, s, NULL);
    s->ops->lease(s, &l->op);
}

void cairn_map_store_each(struct cairn_map_store *s, const char *prefix,
                          void (*fn)(const struct cairn_map_entry *e, void *arg), void *arg)
{
    pthread_mutex_lock(&s->view.mutex);
    cairn_map_table_each(&s->view.table, prefix, fn, arg);
    pthread_mutex_unlock(&s->view.mutex);
}

void cairn_map_store_reload(struct cairn_map_store *s)
{
    if (s->ops->reload != NULL)
        s->ops->reload(s);
}

void cairn_map_store_shared_by(struct cairn_map_store *s, uint32_t nodes)
{
    s->sharers = nodes;
}

uint64_t cairn_map_store_revision(struct cairn_map_store *s)
{
    uint64_t revision;

    pthread_mutex_lock(&s->view.mutex);
    revision = s->view.revision;
    pthread_mutex_unlock(&s->view.mutex);
    return revision;
}

static bool is_known(struct cairn_map_store *s)
{
    bool known;

    pthread_mutex_lock(&s->view.mutex);
    known = s->view.known;
    pthread_mutex_unlock(&s->view.mutex);
    return known;
}

int cairn_map_store_await(struct cairn_map_store *s, uint32_t timeout_ms, struct cairn_err *err)
{
    struct cairn_loop *loop = s->home.loop;
    uint64_t end = cairn_env_now_ns(&loop->env) + timeout_ms * CAIRN_NS_PER_MS, now;

    cairn_loop_enter(loop);
    while (!is_known(s)) {
        now = cairn_env_now_ns(&loop->env);
        if (now >= end)
            return cairn_err_set(err, CAIRN_E_TIMEOUT, "the map store %s cannot be read: %s", s->ops->name,
                                 s->health.err.text[0] != '\0' ? s->health.err.text : "no answer");
        cairn_loop_turn(loop, end - now);
    }
    return 0;
}

void cairn_map_store_close(struct cairn_map_store *s)
{
    s->ops->free(s);
}

/* ---- health ---- */

void cairn_map_store_health(struct cairn_map_store *s, struct cairn_map_health *to)
{
    pthread_mutex_lock(&s->view.mutex);
    *to = s->health;
    pthread_mutex_unlock(&s->view.mutex);
}

static bool health_set(struct cairn_map_store *s, bool reachable, const struct cairn_err *err)
{
    struct cairn_map_health *h = &s->health;
    bool news;

    pthread_mutex_lock(&s->view.mutex);
    news = h->reachable != reachable;
    if (news)
        h->since_ns = cairn_env_now_ns(s->home.env);
    h->reachable = reachable;
    if (err != NULL)
        h->err = *err;
    pthread_mutex_unlock(&s->view.mutex);
    return news;
}

void cairn_map_health_good(struct cairn_map_store *s)
{
    if (health_set(s, true, NULL))
        cairn_log_warn("map store %s: answers again", s->ops->name);
}

void cairn_map_health_bad(struct cairn_map_store *s, const struct cairn_err *err)
{
    if (health_set(s, false, err))
        cairn_log_error("map store %s: cannot be reached, nothing of the map can be changed: %s", s->ops->name,
                        err->text);
}

void cairn_map_health_count(struct cairn_map_store *s, uint32_t read, uint32_t told)
{
    pthread_mutex_lock(&s->view.mutex);
    s->health.entries_read += read;
    s->health.entries_told += told;
    pthread_mutex_unlock(&s->view.mutex);
}

/* ---- what a change means ---- */

static int write_bounds(const struct cairn_map_write *w, struct cairn_err *err)
{
    size_t key_len = strlen(w->key);

    if (key_len == 0 || key_len > CAIRN_MAP_KEY_BYTES_MAX || w->value_len > CAIRN_MAP_VALUE_BYTES_MAX)
        return cairn_err_set(err, CAIRN_E_INVAL, "a key of %zu and a value of %" PRIu32 " bytes; at most %d and %d",
                             key_len, w->value_len, CAIRN_MAP_KEY_BYTES_MAX, CAIRN_MAP_VALUE_BYTES_MAX);
    if (w->value == NULL && w->from == 0)
        return cairn_err_set(err, CAIRN_E_INVAL, "%s: an entry that must not be there cannot be erased", w->key);
    return 0;
}

int cairn_map_change_bounds(struct cairn_map_change *c)
{
    size_t bytes = 0;
    int rc = 0;

    if (c->nwrites == 0 || c->nwrites > CAIRN_MAP_WRITES_MAX)
        return cairn_err_set(&c->op.err, CAIRN_E_INVAL, "a change of %" PRIu32 " entries; 1 to %d are possible",
                             c->nwrites, CAIRN_MAP_WRITES_MAX);
    for (uint32_t i = 0; rc == 0 && i < c->nwrites; i++) {
        rc = write_bounds(&c->writes[i], &c->op.err);
        for (uint32_t j = 0; rc == 0 && j < i; j++) {
            if (strcmp(c->writes[i].key, c->writes[j].key) == 0)
                rc = cairn_err_set(&c->op.err, CAIRN_E_INVAL, "%s is written twice", c->writes[i].key);
        }
        if (rc != 0)
            c->refused = i;
        bytes += c->writes[i].value_len;
    }
    if (rc == 0 && bytes > CAIRN_MAP_CHANGE_BYTES_MAX)
        rc = cairn_err_set(&c->op.err, CAIRN_E_INVAL, "a change of %zu bytes; at most %d are possible", bytes,
                           CAIRN_MAP_CHANGE_BYTES_MAX);
    return rc;
}

int cairn_map_change_prepare(struct cairn_map_change *c)
{
    c->fresh = NULL;
    c->op.rc = cairn_map_change_bounds(c);
    if (c->op.rc != 0)
        return c->op.rc;
    c->fresh = calloc(c->nwrites, sizeof(c->fresh[0]));
    for (uint32_t i = 0; c->fresh != NULL && i < c->nwrites; i++) {
        const struct cairn_map_write *w = &c->writes[i];
        struct cairn_map_entry e = {
            .key = w->key, .value = w->value, .value_len = w->value != NULL ? w->value_len : 0, .lease = w->lease
        };

        c->fresh[i] = cairn_map_node_new(&e);
        if (c->fresh[i] == NULL)
            cairn_map_change_drop(c);
    }
    if (c->fresh == NULL)
        c->op.rc = cairn_err_set(&c->op.err, CAIRN_E_NOMEM, "map entries");
    return c->op.rc;
}

void cairn_map_change_drop(struct cairn_map_change *c)
{
    for (uint32_t i = 0; c->fresh != NULL && i < c->nwrites; i++)
        cairn_map_node_put(c->fresh[i]);
    free(c->fresh);
    c->fresh = NULL;
}

int cairn_map_write_check(const struct cairn_map_write *w, bool is_there, uint64_t changed, struct cairn_err *err)
{
    if (!is_there && w->from != 0)
        return cairn_err_set(err, CAIRN_E_NOTFOUND, "%s is not there", w->key);
    if (is_there && w->from == 0)
        return cairn_err_set(err, CAIRN_E_EXISTS, "%s is there", w->key);
    if (is_there && changed != w->from)
        return cairn_err_set(err, CAIRN_E_STATE, "%s was changed in revision %" PRIu64 ", not in %" PRIu64, w->key,
                             changed, w->from);
    return 0;
}

/* Whether the map keeps its bounds with all of @c in it. */
static int change_fits(struct cairn_map_change *c, const struct cairn_map_table *t)
{
    size_t bytes = t->bytes;
    uint32_t n = t->n;

    for (uint32_t i = 0; i < c->nwrites; i++) {
        const struct cairn_map_node *old = cairn_map_table_at(t, c->writes[i].key), *fresh = c->fresh[i];

        n += fresh->e.value != NULL ? old == NULL : -1U;
        bytes += fresh->e.value != NULL ? cairn_map_entry_bytes(&fresh->e) : 0;
        bytes -= old != NULL ? cairn_map_entry_bytes(&old->e) : 0;
    }
    if (n > MAX(t->n, (uint32_t)CAIRN_MAP_ENTRIES_MAX))
        return cairn_err_set(&c->op.err, CAIRN_E_LIMIT, "%s: the map has %" PRIu32 " entries; at most %d are possible",
                             c->writes[0].key, t->n, CAIRN_MAP_ENTRIES_MAX);
    if (bytes > MAX(t->bytes, (size_t)CAIRN_MAP_BYTES_MAX))
        return cairn_err_set(&c->op.err, CAIRN_E_LIMIT, "%s: the map would have %zu bytes; at most %d are possible",
                             c->writes[0].key, bytes, CAIRN_MAP_BYTES_MAX);
    return 0;
}

static int change_check(struct cairn_map_change *c, const struct cairn_map_table *t,
                        bool (*lease_lives)(void *arg, uint64_t id), void *arg)
{
    struct cairn_err *err = &c->op.err;
    int rc = 0;

    if (c->fence_key != NULL) {
        const struct cairn_map_node *n = cairn_map_table_at(t, c->fence_key);

        if (n == NULL || n->e.created != c->fence)
            return cairn_err_set(err, CAIRN_E_DENIED, "%s is no longer that of revision %" PRIu64, c->fence_key,
                                 c->fence);
    }
    for (uint32_t i = 0; rc == 0 && i < c->nwrites; i++) {
        const struct cairn_map_write *w = &c->writes[i];
        const struct cairn_map_node *old = cairn_map_table_at(t, w->key);

        c->refused = i;
        rc = cairn_map_write_check(w, old != NULL, old != NULL ? old->e.changed : 0, err);
        if (rc == 0 && w->value != NULL && w->lease != 0 && !lease_lives(arg, w->lease))
            rc = cairn_err_set(err, CAIRN_E_CLOSED, "the lease of %s is over", w->key);
    }
    return rc == 0 ? change_fits(c, t) : rc;
}

int cairn_map_change_stage(struct cairn_map_change *c, struct cairn_map_table *t, uint64_t revision,
                           bool (*lease_lives)(void *arg, uint64_t id), void *arg)
{
    c->op.rc = change_check(c, t, lease_lives, arg);
    if (c->op.rc == 0 && cairn_map_table_reserve(t, t->n + c->nwrites) != 0)
        c->op.rc = cairn_err_set(&c->op.err, CAIRN_E_NOMEM, "map entries");
    if (c->op.rc != 0)
        return c->op.rc;
    c->refused = 0;
    c->op.revision = revision;
    for (uint32_t i = 0; i < c->nwrites; i++) {
        const struct cairn_map_node *old = cairn_map_table_at(t, c->writes[i].key);

        c->fresh[i]->e.changed = revision;
        c->fresh[i]->e.created = old != NULL ? old->e.created : revision;
        cairn_map_table_set(t, c->fresh[i]);
    }
    return 0;
}
