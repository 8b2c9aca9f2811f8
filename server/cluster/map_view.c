/* The view and its watches: see map_view.h. */
#include "server/cluster/map_view.h"

#include <string.h>

static void on_moved(void *arg)
{
    struct cairn_map_view *v = arg;

    pthread_mutex_lock(&v->mutex);
    v->posted = false;
    pthread_mutex_unlock(&v->mutex);
    CAIRN_LIST_FOREACH (l, &v->watches)
        cairn_env_defer(v->home.env, &CONTAINER_OF(l, struct cairn_map_watch, link)->task);
}

void cairn_map_view_init(struct cairn_map_view *v, const struct cairn_map_home *home)
{
    *v = (struct cairn_map_view){ .home = *home };
    pthread_mutex_init(&v->mutex, NULL);
    cairn_list_init(&v->watches);
    cairn_task_init(&v->task, on_moved, v);
}

static void record_drop(struct cairn_map_record *r)
{
    cairn_map_node_put(r->node);
    r->node = NULL;
}

void cairn_map_view_fini(struct cairn_map_view *v)
{
    CAIRN_ASSERT(cairn_list_is_empty(&v->watches));
    if (v->home.loop != NULL)
        cairn_loop_unpost(v->home.loop, &v->task);
    else
        cairn_task_cancel(&v->task);
    for (uint32_t i = 0; i < CAIRN_MAP_JOURNAL; i++)
        record_drop(&v->journal[i]);
    cairn_map_table_fini(&v->table);
    pthread_mutex_destroy(&v->mutex);
}

/* ---- moving it ---- */

static void journal_add(struct cairn_map_view *v, struct cairn_map_node *node, uint64_t revision)
{
    struct cairn_map_record *r = &v->journal[v->seq++ % CAIRN_MAP_JOURNAL];

    record_drop(r);
    if (v->seq > CAIRN_MAP_JOURNAL)
        v->whole_since = MAX(v->whole_since, r->revision); /* the oldest one is forgotten */
    *r = (struct cairn_map_record){ .node = node != NULL ? cairn_map_node_get(node) : NULL, .revision = revision };
}

static void view_moved(struct cairn_map_view *v, uint64_t revision)
{
    v->revision = revision;
    if (v->nwatches == 0 || v->posted)
        return;
    v->posted = true;
    if (v->home.loop != NULL)
        cairn_loop_post(v->home.loop, &v->task);
    else
        cairn_env_defer(v->home.env, &v->task);
}

int cairn_map_view_reserve(struct cairn_map_view *v, uint32_t n)
{
    return cairn_map_table_reserve(&v->table, v->table.n + n);
}

void cairn_map_view_apply(struct cairn_map_view *v, struct cairn_map_node *const *nodes, uint32_t n, uint64_t revision)
{
    for (uint32_t i = 0; i < n; i++) {
        journal_add(v, nodes[i], revision);
        cairn_map_table_set(&v->table, nodes[i]);
    }
    view_moved(v, revision);
}

static bool journal_erased(struct cairn_map_view *v, const struct cairn_map_node *old, uint64_t revision)
{
    struct cairn_map_entry e = { .key = old->e.key, .created = old->e.created, .changed = revision };
    struct cairn_map_node *n = cairn_map_node_new(&e);

    if (n == NULL)
        return false;
    journal_add(v, n, revision);
    cairn_map_node_put(n);
    return true;
}

/* Both tables side by side, in order of their keys. False: no memory. */
static bool journal_differences(struct cairn_map_view *v, const struct cairn_map_table *t, uint64_t revision)
{
    const struct cairn_map_table *old = &v->table;
    uint32_t i = 0, j = 0;

    journal_add(v, NULL, revision);
    while (i < old->n || j < t->n) {
        int c = i == old->n ? 1 : j == t->n ? -1 : strcmp(old->nodes[i]->e.key, t->nodes[j]->e.key);

        if (c < 0 && !journal_erased(v, old->nodes[i], revision))
            return false;
        if (c > 0 || (c == 0 && old->nodes[i]->e.changed != t->nodes[j]->e.changed))
            journal_add(v, t->nodes[j], revision);
        i += c <= 0;
        j += c >= 0;
    }
    return true;
}

void cairn_map_view_replace(struct cairn_map_view *v, struct cairn_map_table *t, uint64_t revision)
{
    if (!v->known || !journal_differences(v, t, revision))
        v->seq += CAIRN_MAP_JOURNAL + 1; /* every watch is behind it */
    v->known = true;
    v->whole_since = revision;
    cairn_map_table_fini(&v->table);
    v->table = *t;
    *t = (struct cairn_map_table){ 0 };
    view_moved(v, revision);
}

/* ---- telling ---- */

/* The first node after @last (or of the prefix), with a reference. */
static struct cairn_map_node *node_after(struct cairn_map_view *v, const char *prefix,
                                         const struct cairn_map_node *last)
{
    struct cairn_map_node *n = NULL;
    bool found;
    uint32_t at;

    pthread_mutex_lock(&v->mutex);
    at = cairn_map_table_find(&v->table, last != NULL ? last->e.key : prefix, &found);
    if (last != NULL && found)
        at++;
    if (at < v->table.n && strncmp(v->table.nodes[at]->e.key, prefix, strlen(prefix)) == 0)
        n = cairn_map_node_get(v->table.nodes[at]);
    pthread_mutex_unlock(&v->mutex);
    return n;
}

/* False: the watch was stopped. */
static bool tell(struct cairn_map_view *v, struct cairn_map_watch *w, enum cairn_map_news news,
                 const struct cairn_map_node *n, uint64_t revision)
{
    v->telling = w;
    w->fn(w, news, n != NULL ? &n->e : NULL, revision);
    if (v->telling != w)
        return false;
    v->telling = NULL;
    return true;
}

static bool tell_all(struct cairn_map_view *v, struct cairn_map_watch *w)
{
    struct cairn_map_node *n = NULL, *last = NULL;
    bool more = tell(v, w, CAIRN_MAP_RESET, NULL, 0);

    while (more && (n = node_after(v, w->prefix, last)) != NULL) {
        cairn_map_node_put(last);
        last = n;
        more = tell(v, w, CAIRN_MAP_ENTRY, n, n->e.changed);
    }
    cairn_map_node_put(last);
    return more;
}

/* Takes the next record that concerns @w; false: none is left, @revision is how far it got. */
static bool record_next(struct cairn_map_view *v, struct cairn_map_watch *w, struct cairn_map_record *r,
                        uint64_t *revision)
{
    bool found = false;

    pthread_mutex_lock(&v->mutex);
    if (w->seq + CAIRN_MAP_JOURNAL < v->seq)
        w->reset = true;
    if (w->reset)
        w->seq = v->seq;
    while (!w->reset && !found && w->seq < v->seq) {
        *r = v->journal[w->seq++ % CAIRN_MAP_JOURNAL];
        found = r->node == NULL || strncmp(r->node->e.key, w->prefix, strlen(w->prefix)) == 0;
    }
    if (found && r->node != NULL)
        cairn_map_node_get(r->node);
    *revision = v->revision;
    pthread_mutex_unlock(&v->mutex);
    return found;
}

static void on_watch(void *arg)
{
    struct cairn_map_watch *w = arg;
    struct cairn_map_view *v = w->view;
    uint64_t revision;
    struct cairn_map_record r;
    bool more = true;

    for (;;) {
        bool found = record_next(v, w, &r, &revision);

        if (!found && !w->reset)
            break;
        if (!v->known)
            return; /* the store has not been read yet */
        if (w->reset) {
            w->reset = false;
            more = tell_all(v, w);
        } else {
            more = tell(v, w, r.node != NULL ? CAIRN_MAP_ENTRY : CAIRN_MAP_SKIPPED, r.node, r.revision);
            cairn_map_node_put(r.node);
        }
        if (!more)
            return;
    }
    (void)tell(v, w, CAIRN_MAP_CURRENT, NULL, revision);
}

void cairn_map_watch_start(struct cairn_map_view *v, struct cairn_map_watch *w)
{
    uint64_t oldest;

    w->view = v;
    cairn_task_init(&w->task, on_watch, w);
    cairn_list_add_tail(&v->watches, &w->link);
    pthread_mutex_lock(&v->mutex);
    v->nwatches++;
    oldest = v->seq > CAIRN_MAP_JOURNAL ? v->seq - CAIRN_MAP_JOURNAL : 0;
    w->seq = v->seq;
    w->reset = w->from == 0 || !v->known || w->from < v->whole_since || w->from > v->revision;
    while (!w->reset && w->seq > oldest && v->journal[(w->seq - 1) % CAIRN_MAP_JOURNAL].revision > w->from)
        w->seq--;
    pthread_mutex_unlock(&v->mutex);
    cairn_env_defer(v->home.env, &w->task);
}

void cairn_map_watch_stop(struct cairn_map_watch *w)
{
    struct cairn_map_view *v = w->view;

    if (v->telling == w)
        v->telling = NULL;
    cairn_task_cancel(&w->task);
    cairn_list_del(&w->link);
    pthread_mutex_lock(&v->mutex);
    v->nwatches--;
    pthread_mutex_unlock(&v->mutex);
}
