/* The application under a worker's replicas: see store.h. Its life, and calls to the provider. */
#include "server/cluster/service/store_internal.h"

#include "sdk/core/base/log.h"

#include <stdio.h>
#include <stdlib.h>

struct cluster_store *cluster_store_new(const struct cluster_store_conf *conf)
{
    struct cluster_store *st = calloc(1, sizeof(*st));

    if (st == NULL)
        return NULL;
    st->conf = *conf;
    st->loop = cairn_rpc_loop(conf->rpc);
    st->apply.results = calloc(STORE_BATCH_OPS, sizeof(*st->apply.results));
    st->apply.checks = calloc(STORE_BATCH_OPS, sizeof(*st->apply.checks));
    st->apply.check_keys = calloc(STORE_BATCH_OPS, sizeof(*st->apply.check_keys));
    st->known = store_known_new(&st->loop->env);
    if (st->apply.results == NULL || st->apply.checks == NULL || st->apply.check_keys == NULL || st->known == NULL) {
        free(st->apply.results);
        free(st->apply.checks);
        free(st->apply.check_keys);
        store_known_free(st->known);
        free(st);
        return NULL;
    }
    cairn_list_init(&st->jobs);
    cairn_list_init(&st->views);
    cairn_list_init(&st->waiting);
    store_apply_init(st);
    return st;
}

void cluster_store_free(struct cluster_store *st)
{
    CAIRN_ASSERT(st->running == 0);
    store_apply_fini(st);
    store_jobs_free(st);
    store_views_free(st);
    store_start_free(st);
    cairn_task_cancel(&st->stopped_task);
    free(st->apply.results);
    free(st->apply.checks);
    free(st->apply.check_keys);
    store_known_free(st->known);
    free(st->ns);
    free(st);
}

static void run_stopped(void *arg)
{
    struct cluster_store *st = arg;

    st->stopped(st->stopped_arg);
}

void cluster_store_stop(struct cluster_store *st, void (*done)(void *arg), void *arg)
{
    st->stopping = true;
    st->stopped = done;
    st->stopped_arg = arg;
    cairn_task_init(&st->stopped_task, run_stopped, st);
    cairn_task_cancel(&st->apply.task);
    cairn_timer_stop(&st->loop->env, &st->apply.timer);
    if (st->running == 0)
        cairn_env_defer(&st->loop->env, &st->stopped_task);
}

/* ---- calls ---- */

static void call_prepare(struct cluster_store *st, const struct cairn_rpc_target *to, struct cairn_rpc_call *call,
                         uint32_t method, const ProtobufCMessage *msg,
                         void (*done)(struct cairn_rpc_call *call), void *arg, struct cairn_err *err)
{
    memset(call, 0, offsetof(struct cairn_rpc_call, arena)); /* the arena is initialised by the start */
    call->dest.rpc = st->conf.rpc;
    call->iface = to->iface;
    call->provider = to->id;
    call->method = (uint16_t)method;
    call->msg = msg;
    call->done = done;
    call->arg = arg;
    call->err = err;
    st->running++;
}

void store_call(struct cluster_store *st, struct cairn_rpc_call *call, uint32_t method, const ProtobufCMessage *msg,
                void (*done)(struct cairn_rpc_call *call), void *arg, struct cairn_err *err)
{
    store_call_to(st, st->conf.kv, call, method, msg, done, arg, err);
}

void store_call_to(struct cluster_store *st, const struct cairn_rpc_target *to, struct cairn_rpc_call *call,
                   uint32_t method, const ProtobufCMessage *msg, void (*done)(struct cairn_rpc_call *call), void *arg,
                   struct cairn_err *err)
{
    call_prepare(st, to, call, method, msg, done, arg, err);
    cairn_rpc_call_start(call);
}

void store_call_batch(struct cluster_store *st, struct cairn_rpc_call *call, struct store_batch *b, bool decided,
                      void (*done)(struct cairn_rpc_call *call), void *arg, struct cairn_err *err)
{
    b->msg.decided = decided;
    call_prepare(st, st->conf.kv, call, CAIRN__WIRE__KV_METHOD__KV_APPLY, &b->msg.base, done, arg, err);
    call->payload[0] = (struct iovec){ b->values, b->values_n };
    call->payload_n = 1;
    cairn_rpc_call_start(call);
}

bool store_call_over(struct cluster_store *st)
{
    st->running--;
    if (st->stopping && st->running == 0)
        cairn_env_defer(&st->loop->env, &st->stopped_task);
    return !st->stopping;
}

bool store_may_retry(int rc)
{
    return cairn_rpc_may_come_again(rc) || rc == CAIRN_E_NOSPACE || rc == CAIRN_E_NOMEM || rc == CAIRN_E_LIMIT;
}

void store_die(struct cluster_store *st, int rc, const char *text)
{
    if (st->dead)
        return;
    st->dead = true;
    st->conf.ops->failed(st->conf.arg, rc, text);
}

/* ---- namespaces ---- */

static uint32_t ns_place(const struct cluster_store *st, uint32_t id)
{
    uint32_t lo = 0, hi = st->nns;

    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;

        if (st->ns[mid].id < id)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

const struct store_ns *store_ns_find(const struct cluster_store *st, uint32_t id)
{
    uint32_t i = ns_place(st, id);

    return i < st->nns && st->ns[i].id == id ? &st->ns[i] : NULL;
}

int store_ns_add(struct cluster_store *st, uint32_t id, uint32_t db)
{
    uint32_t i = ns_place(st, id);

    if (i < st->nns && st->ns[i].id == id) {
        st->ns[i].db = db;
        return 0;
    }
    if (st->nns == st->ns_room) {
        uint32_t room = MAX(st->ns_room * 2, 16);
        struct store_ns *more = realloc(st->ns, room * sizeof(*more));

        if (more == NULL)
            return CAIRN_E_NOMEM;
        st->ns = more;
        st->ns_room = room;
    }
    memmove(st->ns + i + 1, st->ns + i, (st->nns - i) * sizeof(*st->ns));
    st->ns[i] = (struct store_ns){ .id = id, .db = db };
    st->nns++;
    return 0;
}

void store_ns_forget(struct cluster_store *st)
{
    st->nns = 0;
}

static void on_opened(struct cairn_rpc_call *call)
{
    struct store_open *o = call->arg;
    int rc = call->rc;

    if (!store_call_over(o->st))
        return;
    if (rc == 0) {
        rc = store_ns_add(o->st, o->id, ((const Cairn__Wire__KvOpened *)call->reply)->db);
    } else if (rc == CAIRN_E_NOTFOUND && o->state == CLUSTER_NS_ASKED) {
        rc = cairn_err_set(&o->err, CAIRN_E_BUSY, "whether %s was removed is being found out", o->name);
    } else if (rc == CAIRN_E_NOTFOUND && o->state == CLUSTER_NS_GONE) {
        rc = store_ns_add(o->st, o->id, 0);
        if (rc == 0)
            o->st->ns[ns_place(o->st, o->id)].gone = true;
    } else if (rc == CAIRN_E_EXISTS) {
        cairn_log_error("%s is not what replicas say of it: %s", o->name, o->err.text);
        rc = store_ns_add(o->st, o->id, 0);
    }
    o->done(o, rc);
}

enum cluster_ns_state store_ns_state(const struct cluster_store *st, uint32_t id)
{
    return st->conf.ops->ns_look != NULL ? st->conf.ops->ns_look(st->conf.arg, id) : CLUSTER_NS_THERE;
}

void store_open_start(struct store_open *o, struct cluster_store *st, uint32_t id, enum store_open_how how,
                      bool write_once, void (*done)(struct store_open *o, int rc), void *arg)
{
    o->st = st;
    o->id = id;
    o->state = how != STORE_FIND ? store_ns_state(st, id) : CLUSTER_NS_THERE;
    o->done = done;
    o->arg = arg;
    snprintf(o->name, sizeof(o->name), "ns/%u", id);
    cairn__wire__kv_open__init(&o->msg);
    o->msg.name = o->name;
    o->msg.create = how != STORE_FIND && o->state == CLUSTER_NS_THERE;
    o->msg.decided = o->msg.create && how == STORE_MAKE_DECIDED;
    o->msg.write_once = o->msg.create && write_once;
    store_call(st, &o->call, CAIRN__WIRE__KV_METHOD__KV_OPEN, &o->msg.base, on_opened, o, &o->err);
}

void store_slot_init(struct store_slot *s, uint32_t slot, uint64_t applied)
{
    memset(s, 0, sizeof(*s));
    cairn_list_init(&s->link);
    cairn_list_init(&s->waits);
    s->slot = slot;
    s->next = applied + 1;
    s->to = applied;
}

struct store_troubles *cluster_store_troubles(struct cluster_store *st)
{
    return &st->troubles;
}

/* ---- flushing ---- */

static void on_flushed(struct cairn_rpc_call *call)
{
    struct cluster_store *st = call->arg;
    void (*done)(void *arg, int rc) = st->flush.done;

    st->flush.done = NULL;
    if (store_call_over(st))
        done(st->flush.arg, call->rc);
}

void cluster_store_flush(struct cluster_store *st, void (*done)(void *arg, int rc), void *arg)
{
    static const Cairn__Wire__Empty empty = CAIRN__WIRE__EMPTY__INIT;

    CAIRN_ASSERT(st->flush.done == NULL);
    st->flush.done = done;
    st->flush.arg = arg;
    store_call(st, &st->flush.call, CAIRN__WIRE__KV_METHOD__KV_FLUSH, &empty.base, on_flushed, st, &st->flush.err);
}

/* ---- room ---- */

static void on_room(struct cairn_rpc_call *call)
{
    struct cluster_store *st = call->arg;

    st->room.asking = false;
    if (store_call_over(st))
        st->room.refused = call->rc == CAIRN_E_NOSPACE;
}

bool cluster_store_refuses(struct cluster_store *st, uint64_t coming)
{
    if (!st->room.asking && !st->stopping) {
        cairn__wire__kv_apply__init(&st->room.msg); /* of nothing, which is not decided */
        st->room.msg.durability = CAIRN__WIRE__DURABILITY__DURABILITY_MEMORY;
        st->room.msg.coming = coming;
        st->room.asking = true;
        store_call(st, &st->room.call, CAIRN__WIRE__KV_METHOD__KV_APPLY, &st->room.msg.base, on_room, st,
                   &st->room.err);
    }
    return st->room.refused;
}
