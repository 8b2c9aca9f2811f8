/* Namespaces that were removed: see gone.h. */
#include "server/cluster/service/gone.h"

#include "schema/router.pb-c.h"
#include "sdk/core/base/log.h"

#include <stdlib.h>

static void gone_ask(void *arg);

void cluster_gone_init(struct cluster_gone *g, struct cairn_map_store *map)
{
    *g = (struct cluster_gone){ .map = map };
    pthread_mutex_init(&g->mutex, NULL);
    cairn_task_init(&g->task, gone_ask, g);
}

void cluster_gone_fini(struct cluster_gone *g)
{
    CAIRN_ASSERT(!g->asks);
    free(g->found);
    pthread_mutex_destroy(&g->mutex);
}

/* ---- records ---- */

/* Of the namespace in @e; false: its record cannot be read, and it may be any. */
static bool id_of(const struct cairn_map_entry *e, const struct cairn_map_ids *ids, uint32_t *id)
{
    Cairn__Wire__NamespaceRecord *r = cairn__wire__namespace_record__unpack(NULL, e->value_len, e->value);
    bool fine = r != NULL && r->ns != NULL;

    if (fine)
        *id = r->ns->id != 0 ? r->ns->id : cairn_map_id(ids, e->created);
    if (r != NULL)
        cairn__wire__namespace_record__free_unpacked(r, NULL);
    return fine && *id != 0;
}

struct look {
    uint32_t id;
    struct cairn_map_ids ids;
    bool found;
};

static void look_at(const struct cairn_map_entry *e, void *arg)
{
    struct look *look = arg;
    uint32_t id;

    if (!look->found)
        look->found = !id_of(e, &look->ids, &id) || id == look->id;
}

/* Whether the view knows that there is no such namespace. */
static bool view_lacks(struct cairn_map_store *map, uint32_t ns)
{
    struct look look = { .id = ns, .ids = cairn_map_ids_of(map) };

    if (cairn_map_ids_upto(map) < ns)
        return false;
    cairn_map_store_each(map, "ns/", look_at, &look);
    return !look.found;
}

static int by_id(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return (x > y) - (x < y);
}

/* Whether the last read knows of @ns that it is there. */
static bool read_has(const struct cluster_gone *g, uint32_t ns)
{
    return g->unreadable || (g->nfound > 0 && bsearch(&ns, g->found, g->nfound, sizeof(ns), by_id) != NULL);
}

/* ---- reading ---- */

static void gone_over(struct cluster_gone *g)
{
    bool contradicts;
    uint32_t asked;

    pthread_mutex_lock(&g->mutex);
    g->asks = false;
    asked = g->asked;
    contradicts = g->upto >= asked && read_has(g, asked);
    pthread_mutex_unlock(&g->mutex);
    if (g->stopped != NULL) {
        g->stopped(g->arg);
    } else if (contradicts && view_lacks(g->map, asked)) {
        cairn_log_warn("this node's view of the map lacks namespace %u, which is there: all of it is read again",
                       asked);
        cairn_map_store_reload(g->map);
    }
}

/* False: no memory. */
static bool read_take(struct cluster_gone *g, const struct cairn_map_table *t, uint64_t upto)
{
    uint32_t *ids = malloc((t->n + 1) * sizeof(*ids)), n = 0;
    bool unreadable = false;

    if (ids == NULL)
        return false;
    for (uint32_t i = 0; i < t->n; i++) {
        if (id_of(&t->nodes[i]->e, &g->ids, &ids[n]))
            n++;
        else
            unreadable = true;
    }
    qsort(ids, n, sizeof(*ids), by_id);
    pthread_mutex_lock(&g->mutex);
    free(g->found);
    g->found = ids;
    g->nfound = n;
    g->unreadable = unreadable;
    g->upto = upto;
    pthread_mutex_unlock(&g->mutex);
    return true;
}

static void on_namespaces(struct cairn_map_op *op)
{
    struct cluster_gone *g = op->arg;
    uint64_t base = cairn_map_ids_base(&g->ids), upto = base <= UINT32_MAX ? base + op->revision : 0;

    if (op->rc == 0 && upto != 0)
        (void)read_take(g, &g->read.table, upto);
    cairn_map_table_fini(&g->read.table);
    gone_over(g);
}

static void on_ids(struct cairn_map_op *op)
{
    struct cluster_gone *g = op->arg;

    if (op->rc == 0)
        g->ids = cairn_map_ids_in(&g->read.table);
    cairn_map_table_fini(&g->read.table);
    if (op->rc != 0 || g->stopped != NULL) {
        gone_over(g);
        return;
    }
    g->read = (struct cairn_map_read){ .op = { .done = on_namespaces, .arg = g }, .prefix = "ns/" };
    cairn_map_store_read(g->map, &g->read);
}

static void gone_ask(void *arg)
{
    struct cluster_gone *g = arg;

    g->read = (struct cairn_map_read){ .op = { .done = on_ids, .arg = g }, .prefix = CAIRN_MAP_IDS_KEY };
    cairn_map_store_read(g->map, &g->read);
}

/* ---- looking ---- */

enum cluster_ns_state cluster_gone_look(struct cluster_gone *g, uint32_t ns)
{
    bool gone, begin;

    if (!view_lacks(g->map, ns))
        return CLUSTER_NS_THERE;
    pthread_mutex_lock(&g->mutex);
    gone = g->upto >= ns && !read_has(g, ns);
    begin = !gone && !g->asks;
    if (begin) {
        g->asks = true;
        g->asked = ns;
    }
    pthread_mutex_unlock(&g->mutex);
    if (begin && g->map->home.loop != NULL)
        cairn_loop_post(g->map->home.loop, &g->task);
    else if (begin)
        cairn_env_defer(g->map->home.env, &g->task);
    return gone ? CLUSTER_NS_GONE : CLUSTER_NS_ASKED;
}

void cluster_gone_stop(struct cluster_gone *g, void (*done)(void *arg), void *arg)
{
    bool asks;

    pthread_mutex_lock(&g->mutex);
    asks = g->asks;
    pthread_mutex_unlock(&g->mutex);
    g->stopped = done;
    g->arg = arg;
    if (!asks)
        done(arg);
}
