/* `cairn map` of a running node: the store is read at its home, and what it says becomes text beside the loops. Of its
 * logs no more is read than is to be told. */
#include "server/cluster/map_log.h"
#include "server/node/map_report.h"
#include "server/node/node.h"
#include "server/router/router.h"

#include "sdk/core/base/log.h"

#include "schema/node.pb-c.h"

#include <jansson.h>
#include <stdlib.h>

/* A request on its way home, to the pool, and back. */
struct map_ask {
    struct cairn_server *s;
    struct cairn_rpc_req *rq;
    struct cairn_map_store *store;
    struct cairn_loop *origin;
    struct cairn_task task;
    struct cairn_map_read read;  /* all of it, or what people did */
    struct cairn_map_read slots; /* what became of slots and members */
    struct cairn_job job;
    bool log, people;
    uint32_t last;
    int rc;
    struct cairn_err err;
    char *text; /* from malloc */
};

/* At the origin. */
static void ask_reply(struct map_ask *a)
{
    if (a->rc == 0)
        cairn_node__reply_text(a->rq, a->text);
    else
        cairn_rpc_reply_err(a->rq, a->rc, "%s", a->err.text);
    cairn_map_table_fini(&a->read.table);
    cairn_map_table_fini(&a->slots.table);
    free(a);
}

static json_t *where_of(const struct cairn_server *s)
{
    json_t *list = json_array();

    for (uint32_t i = 0; s->conf.map_etcd && i < s->conf.map.nendpoints; i++)
        json_array_append_new(list, json_string(s->conf.map.endpoints[i]));
    if (!s->conf.map_etcd)
        json_array_append_new(list, json_sprintf("%s/router/map", s->conf.data));
    return list;
}

/* The newest entries that a reply has room for. */
static char *log_text(const struct map_ask *a)
{
    json_t *lines = cairn_map_log_report(&a->read.table, a->people ? NULL : &a->slots.table, a->last);
    size_t all = json_array_size(lines);
    char *text = json_dumps(lines, JSON_COMPACT);

    while (text != NULL && strlen(text) > CAIRN_FRAME_BODY_BYTES_MAX - 64 && json_array_size(lines) > 0) {
        for (size_t n = json_array_size(lines) / 8 + 1; n > 0; n--)
            json_array_remove(lines, 0);
        free(text);
        text = json_dumps(lines, JSON_COMPACT);
    }
    if (json_array_size(lines) < all)
        cairn_log_info("of the map's log %zu of %zu entries were told: more have no room in a reply",
                       json_array_size(lines), all);
    json_decref(lines);
    return text;
}

static void ask_work(struct cairn_job *job)
{
    struct map_ask *a = CONTAINER_OF(job, struct map_ask, job);
    json_t *o;

    if (a->log) {
        a->text = log_text(a);
        return;
    }
    o = cairn_map_report(&a->read.table, a->store->ops->name, where_of(a->s), a->read.op.revision);
    a->text = o != NULL ? json_dumps(o, JSON_COMPACT) : NULL;
    json_decref(o);
}

static void ask_done(struct cairn_job *job)
{
    ask_reply(CONTAINER_OF(job, struct map_ask, job));
}

static void ask_back(void *arg)
{
    struct map_ask *a = arg;

    if (a->rc == 0) {
        a->job = (struct cairn_job){ .work = ask_work, .done = ask_done };
        a->rc = cairn_pool_submit(a->s->pool, a->origin, &a->job);
        if (a->rc == 0)
            return;
        cairn_err_set(&a->err, a->rc, "the storage pool is full; try again");
    }
    ask_reply(a);
}

static void read_start(struct map_ask *a, struct cairn_map_read *r, const char *prefix);

static void on_read(struct cairn_map_op *op)
{
    struct map_ask *a = op->arg;

    if (op->rc == 0 && op == &a->read.op && a->log && !a->people) {
        read_start(a, &a->slots, CAIRN_MAP_LOG_SLOTS_PREFIX);
        return;
    }
    a->rc = cairn_err_wrap(&op->err, op->rc, "the map store");
    a->err = op->err;
    cairn_task_init(&a->task, ask_back, a);
    cairn_loop_post(a->origin, &a->task);
}

/* Of a log its newest entries. */
static void read_start(struct map_ask *a, struct cairn_map_read *r, const char *prefix)
{
    *r = (struct cairn_map_read){ .op = { .done = on_read, .arg = a }, .prefix = prefix };
    if (a->log) {
        r->limit = a->last != 0 ? MIN(a->last, (uint32_t)CAIRN_MAP_LOG_TOLD_MAX) : CAIRN_MAP_LOG_TOLD_MAX;
        r->last = true;
    }
    cairn_map_store_read(a->store, r);
}

static void ask_home(void *arg)
{
    struct map_ask *a = arg;

    read_start(a, &a->read, a->log ? CAIRN_MAP_LOG_PREFIX : "");
}

void cairn_node__handle_map(struct cairn_rpc_req *rq)
{
    const Cairn__Wire__NodeMap *m = (const Cairn__Wire__NodeMap *)rq->msg;
    struct map_ask *a = calloc(1, sizeof(*a));

    if (a == NULL) {
        cairn_rpc_reply(rq, CAIRN_E_NOMEM, NULL, NULL, 0);
        return;
    }
    a->s = rq->target->ctx;
    a->rq = rq;
    a->store = cairn_router_store(a->s->instances[a->s->ninstances - 1].ctx);
    a->origin = cairn_rpc_loop(rq->rpc);
    a->log = m->log;
    a->people = m->people;
    a->last = m->last;
    cairn_task_init(&a->task, ask_home, a);
    cairn_loop_post(a->store->home.loop, &a->task);
}
