/* Making a namespace.
 *
 *   CHECK ---> TRY ---> UNTRY ---> STORE ---> OPEN ---> LOOK ---> SPREAD ---> DONE
 *   CHECK ---> CLASS ---> STORE
 *   LOOK ---> DROP ---> UNSTORE ---> FAILED        CHECK may also go to STORE; STORE and OPEN to UNSTORE.
 *   All before OPEN may also go to FAILED.
 *
 * CHECK    nothing has happened.
 * CLASS    in a cluster: the slots for so many replicas are being made, if there are none.
 * TRY      the extent provider is asked to keep one byte as durably as the namespace wants its values.
 * UNTRY    it can; the byte is being removed.
 * STORE    the record is being made durable. Its revision becomes the namespace's id (../cluster/map_ids.h).
 * OPEN     the namespace exists; its database is being made. (If we die here the first operation makes it.)
 * LOOK     the database is there; can its backend keep what it is told as durably as that?
 * SPREAD   the workers are being told.
 * DONE     every worker knows it.
 * DROP     it cannot be used: its database is being dropped.
 * UNSTORE  it cannot be used: its record is being erased.     FAILED  there is no such namespace, or not by us. */
#include "server/router/ns_order.h"

#include "sdk/core/base/crc.h"
#include "sdk/core/base/log.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { CLASS_AGAIN_MS = 200, CLASS_WAIT_MS = 10000, CLASS_TRY_MS = 5000 };

enum {
    CREATE_CHECK,
    CREATE_CLASS,
    CREATE_TRY,
    CREATE_UNTRY,
    CREATE_STORE,
    CREATE_OPEN,
    CREATE_LOOK,
    CREATE_SPREAD,
    CREATE_DONE,
    CREATE_DROP,
    CREATE_UNSTORE,
    CREATE_FAILED,
    CREATE_NR
};

#define TO(state) CAIRN_SM_TO(CREATE_##state)
static const struct cairn_sm_state create_states[CREATE_NR] = {
    [CREATE_CHECK] = { "CHECK", CAIRN_SM_INITIAL, TO(CLASS) | TO(TRY) | TO(STORE) | TO(FAILED) },
    [CREATE_CLASS] = { "CLASS", 0, TO(STORE) | TO(FAILED) },
    [CREATE_TRY] = { "TRY", 0, TO(UNTRY) | TO(FAILED) },
    [CREATE_UNTRY] = { "UNTRY", 0, TO(STORE) | TO(FAILED) },
    [CREATE_STORE] = { "STORE", 0, TO(OPEN) | TO(UNSTORE) | TO(FAILED) },
    [CREATE_OPEN] = { "OPEN", 0, TO(LOOK) | TO(UNSTORE) },
    [CREATE_LOOK] = { "LOOK", 0, TO(SPREAD) | TO(DROP) },
    [CREATE_SPREAD] = { "SPREAD", 0, TO(DONE) },
    [CREATE_DONE] = { "DONE", CAIRN_SM_FINAL, 0 },
    [CREATE_DROP] = { "DROP", 0, TO(UNSTORE) },
    [CREATE_UNSTORE] = { "UNSTORE", 0, TO(FAILED) },
    [CREATE_FAILED] = { "FAILED", CAIRN_SM_FINAL | CAIRN_SM_FAILURE, 0 },
};

static bool create_invariant(const struct cairn_sm *sm)
{
    const struct router_order *o = CONTAINER_OF(sm, const struct router_order, sm);
    bool stored = sm->state >= CREATE_OPEN && sm->state <= CREATE_DONE;

    return CAIRN_HOLDS(!stored || o->ns.id != 0) &&                /* the id is the record's revision */
           CAIRN_HOLDS(sm->state != CREATE_UNTRY || o->id != 0) && /* there is something to take back */
           CAIRN_HOLDS((sm->state != CREATE_DROP && sm->state != CREATE_UNSTORE) || o->rc != 0) &&
           CAIRN_HOLDS(sm->state != CREATE_DONE || (o->rc == 0 && o->ns.open)); /* no worker must open it again */
}

const struct cairn_sm_kind router_create_kind = { "router-ns-create", create_states, CREATE_NR, create_invariant,
                                                  30000 };

static const char *durability_text(Cairn__Wire__Durability d)
{
    static const char *const texts[] = { "buffered", "sync", "memory" };

    return texts[d];
}

static void create_fail(struct router_order *o, int rc)
{
    o->rc = rc;
    cairn_sm_fail(&o->sm, CREATE_FAILED, rc);
    router_order_end(o);
}

static void create_on_unstored(struct cairn_map_op *op)
{
    struct router_order *o = op->arg;

    if (op->rc != 0) { /* the next start will find it; in a cluster, all nodes follow the map */
        cairn_log_error("namespace '%s' cannot be used, nor its record erased: %s", o->ns.name, op->err.text);
        o->rc = CAIRN_E_UNKNOWN;
    }
    create_fail(o, o->rc);
}

static void create_unstore(struct router_order *o, int rc)
{
    o->rc = rc;
    cairn_sm_move(&o->sm, CREATE_UNSTORE);
    router_order_store(o, NULL, 0, o->ns.changed, create_on_unstored);
}

static void create_on_spread(struct router_spread *s)
{
    struct router_order *o = CONTAINER_OF(s, struct router_order, spread);

    atomic_fetch_add(&o->router->nnamespaces, 1);
    cairn_sm_move(&o->sm, CREATE_DONE);
    router_order_end(o);
}

static void create_on_dropped(struct cairn_rpc_call *call)
{
    struct router_order *o = call->arg;

    if (call->rc != 0) /* it is empty; the sweeper knows it by its name */
        router_garbage_note(o->router, &o->ns, 0, o->undo_err.text);
    create_unstore(o, o->rc);
}

static void create_drop(struct router_order *o, int rc)
{
    o->rc = rc;
    cairn_sm_move(&o->sm, CREATE_DROP);
    cairn__wire__kv_drop__init(&o->msg.drop);
    o->msg.drop.name = o->ns.db_name;
    router_order_call(o, o->ns.kv, CAIRN__WIRE__KV_METHOD__KV_DROP, create_on_dropped);
}

static void create_on_looked(struct cairn_rpc_call *call)
{
    struct router_order *o = call->arg;
    const Cairn__Wire__KvStatReply *reply = (const Cairn__Wire__KvStatReply *)call->reply;

    if (call->rc == 0 && o->ns.durability != CAIRN__WIRE__DURABILITY__DURABILITY_MEMORY &&
        strcmp(reply->backend, "memory") == 0) {
        create_drop(o,
                    cairn_err_set(&o->err, CAIRN_E_UNSUPPORTED,
                                  "durability '%s' is not possible in the KV provider '%s', whose backend is 'memory'",
                                  durability_text(o->ns.durability), o->ns.kv_name));
        return;
    }
    if (call->rc != 0) {
        create_drop(o, call->rc);
        return;
    }
    o->ns.open = true;
    cairn_sm_move(&o->sm, CREATE_SPREAD);
    router_order_tell_made(o, create_on_spread);
}

static void create_on_opened(struct cairn_rpc_call *call)
{
    struct router_order *o = call->arg;

    if (call->rc != 0) {
        create_unstore(o, call->rc);
        return;
    }
    o->ns.db = ((const Cairn__Wire__KvOpened *)call->reply)->db;
    cairn_sm_move(&o->sm, CREATE_LOOK);
    cairn__wire__kv_stat__init(&o->msg.stat);
    o->msg.stat.db = o->ns.db;
    router_order_call(o, o->ns.kv, CAIRN__WIRE__KV_METHOD__KV_STAT, create_on_looked);
}

static void create_on_stored(struct cairn_map_op *op)
{
    struct router_order *o = op->arg;
    struct cairn_map_ids ids;

    if (op->rc != 0) {
        if (op->rc == CAIRN_E_EXISTS)
            cairn_err_set(&op->err, op->rc, "exists already");
        o->err = op->err;
        create_fail(o, op->rc);
        return;
    }
    o->ns.changed = op->revision;
    ids = cairn_map_ids_of(o->router->store);
    o->ns.id = cairn_map_id(&ids, op->revision);
    if (o->ns.id == 0) {
        create_unstore(o, cairn_err_set(&o->err, CAIRN_E_LIMIT, "no ids are left"));
        return;
    }
    router_ns_complete(o->router, &o->ns);
    cairn_sm_move(&o->sm, CREATE_OPEN);
    cairn__wire__kv_open__init(&o->msg.open);
    o->msg.open.name = o->ns.db_name;
    o->msg.open.create = true;
    o->msg.open.write_once = o->ns.write_once;
    router_order_call(o, o->ns.kv, CAIRN__WIRE__KV_METHOD__KV_OPEN, create_on_opened);
}

static void create_store(struct router_order *o)
{
    uint32_t len;
    uint8_t *value = router_ns_pack(&o->ns, router_ns_counted(o->router, &o->ns), &len);

    if (value == NULL) {
        create_fail(o, cairn_err_set(&o->err, CAIRN_E_NOMEM, "out of memory"));
        return;
    }
    cairn_sm_move(&o->sm, CREATE_STORE);
    router_order_store(o, value, len, 0, create_on_stored);
}

static void create_on_untried(struct cairn_rpc_call *call)
{
    struct router_order *o = call->arg;

    if (call->rc != 0)
        create_fail(o, call->rc);
    else
        create_store(o);
}

static void create_on_tried(struct cairn_rpc_call *call)
{
    struct router_order *o = call->arg;

    if (call->rc == CAIRN_E_UNSUPPORTED)
        cairn_err_set(&o->err, call->rc, "durability '%s' is not possible in the extent provider '%s'",
                      durability_text(o->ns.durability), o->ns.extent_name);
    if (call->rc != 0) {
        create_fail(o, call->rc);
        return;
    }
    o->id = ((const Cairn__Wire__ExtentId *)call->reply)->id;
    if (o->id == 0) {
        create_fail(o, cairn_err_set(&o->err, CAIRN_E_INTERNAL, "the extent provider gave no id"));
        return;
    }
    cairn_sm_move(&o->sm, CREATE_UNTRY);
    cairn__wire__extent_remove__init(&o->msg.extent_remove);
    o->msg.extent_remove.ids = &o->id;
    o->msg.extent_remove.n_ids = 1;
    router_order_call(o, o->ns.extent, CAIRN__WIRE__EXTENT_METHOD__EXTENT_REMOVE, create_on_untried);
}

/* Namespaces that there are, and those that are being made: else many at once would pass a bound together. */
struct taken {
    uint32_t all, owners;
};

static struct taken taken_by(struct cairn_router *r, uint32_t owner)
{
    struct router_worker *home = router_home(r);
    struct taken n = { .all = home->nns };

    for (uint32_t i = 0; i < ROUTER_BUCKETS; i++) {
        CAIRN_LIST_FOREACH (l, &home->buckets[i])
            n.owners += CONTAINER_OF(l, struct router_ns, link)->owner == owner;
    }
    CAIRN_LIST_FOREACH (l, &r->creating) {
        const struct router_order *o = CONTAINER_OF(l, struct router_order, link);

        if (router_ns_find(home, o->ns.name) ==
            NULL) { /* else it is counted already, on its way to the other workers */
            n.all++;
            n.owners += o->ns.owner == owner;
        }
    }
    return n;
}

static int create_check_bounds(struct router_order *o)
{
    struct taken n = taken_by(o->router, o->ns.owner);

    if (n.all >= CAIRN_ROUTER_NAMESPACES_MAX)
        return cairn_err_set(&o->err, CAIRN_E_LIMIT, "there are %d namespaces, as many as are possible",
                             CAIRN_ROUTER_NAMESPACES_MAX);
    if (!o->who.admin && n.owners >= o->router->conf.user_namespaces_max)
        return cairn_err_set(&o->err, CAIRN_E_LIMIT,
                             "user %" PRIu32 " has %" PRIu32
                             " namespaces, and router.namespaces_per_user allows %" PRIu32,
                             o->ns.owner, n.owners, o->router->conf.user_namespaces_max);
    return 0;
}

/* Both providers are there; whether they can do what is wanted. */
static void create_try(struct router_order *o)
{
    if (o->ns.extent == NULL || o->ns.clustered) {
        create_store(o);
        return;
    }
    cairn_sm_move(&o->sm, CREATE_TRY);
    cairn__wire__extent_put__init(&o->msg.extent_put);
    o->msg.extent_put.length = 1;
    o->msg.extent_put.durability = o->ns.durability;
    o->msg.extent_put.owner = CAIRN_REGION_OWNER_TAG;
    o->try_crc = cairn_crc32c(0, o->ns.name, 1);
    o->msg.extent_put.crcs = &o->try_crc;
    o->msg.extent_put.n_crcs = 1;
    router_call_prepare(&o->call, router_home(o->router)->rpc, o->ns.extent, CAIRN__WIRE__EXTENT_METHOD__EXTENT_PUT,
                        &o->msg.base, create_on_tried, o, &o->err);
    o->call.payload[0] = (struct iovec){ .iov_base = o->ns.name, .iov_len = 1 };
    o->call.payload_n = 1;
    cairn_rpc_call_start(&o->call);
}

static void create_ask_class(struct router_order *o);

static void create_on_again(void *arg)
{
    create_ask_class(arg);
}

/* Until when it is asked again. A cluster that has just been started has not all of its nodes for a moment; while one
 * coordinator follows another, which may take as long as who asked can wait, there is none, or it does not answer. To
 * ask for the same slots twice does no harm. */
static uint64_t create_ask_until(const struct router_order *o, int rc)
{
    if (rc == CAIRN_E_STATE)
        return o->again_until_ns;
    return cairn_rpc_may_come_again(rc) || rc == CAIRN_E_MOVED || rc == CAIRN_E_UNREACHABLE || rc == CAIRN_E_SHUTDOWN ||
                   rc == CAIRN_E_UNKNOWN
               ? o->rq->deadline_ns
               : 0;
}

static bool create_may_ask_again(struct router_order *o, int rc)
{
    struct cairn_env *env = &router_home(o->router)->loop->env;
    uint64_t at = cairn_env_now_ns(env) + CLASS_AGAIN_MS * CAIRN_NS_PER_MS;

    return at < create_ask_until(o, rc) && cairn_timer_start(env, &o->again, at) == 0;
}

static void create_on_class(struct cairn_rpc_call *call)
{
    struct router_order *o = call->arg;

    if (call->rc == 0)
        create_try(o);
    else if (!create_may_ask_again(o, call->rc))
        create_fail(o, call->rc);
}

static void create_ask_class(struct router_order *o)
{
    struct cairn_rpc *rpc = router_home(o->router)->rpc;

    cairn__wire__cluster_class__init(&o->msg.cluster_class);
    o->msg.cluster_class.replicas = o->ns.replicas;
    router_call_prepare(&o->call, rpc, cairn_rpc_target_by_id(rpc, CAIRN_PROVIDER_CLUSTER),
                        CAIRN__WIRE__CLUSTER_METHOD__CLUSTER_CREATE_CLASS, &o->msg.base, create_on_class, o, &o->err);
    o->call.timeout_ns = CLASS_TRY_MS * CAIRN_NS_PER_MS; /* a coordinator that is stopped does not answer */
    cairn_rpc_call_start(&o->call);
}

/* The slots that its keys are spread over: those of all namespaces with so many replicas. */
static void create_class(struct router_order *o)
{
    uint64_t now = cairn_env_now_ns(&router_home(o->router)->loop->env);

    cairn_sm_move(&o->sm, CREATE_CLASS);
    cairn_timer_init(&o->again, create_on_again, o);
    o->again_until_ns = MIN(now + CLASS_WAIT_MS * CAIRN_NS_PER_MS, o->rq->deadline_ns);
    create_ask_class(o);
}

static void create_begin(struct router_order *o)
{
    int rc;

    if (o->home != NULL) {
        create_fail(o, cairn_err_set(&o->err, CAIRN_E_EXISTS, "exists already"));
        return;
    }
    rc = create_check_bounds(o);
    if (rc != 0) {
        create_fail(o, rc);
        return;
    }
    cairn_list_add_tail(&o->router->creating, &o->link);
    if (o->ns.clustered)
        create_class(o);
    else
        create_try(o);
}

/* ---- at the origin ---- */

static void create_done(struct router_order *o)
{
    Cairn__Wire__Namespace reply;

    if (o->rc != 0) {
        cairn_rpc_reply_err(o->rq, o->rc, "namespace '%s': %s", o->ns.name,
                            o->err.text[0] != '\0' ? o->err.text : cairn_error_text(o->rc));
    } else {
        router_ns_to_wire(&o->ns, &reply);
        cairn_rpc_reply(o->rq, 0, &reply.base, NULL, 0);
    }
    router_order_free(o);
}

void router_handle_ns_create(struct cairn_rpc_req *rq)
{
    const Cairn__Wire__Namespace *m = (const Cairn__Wire__Namespace *)rq->msg;
    struct router_worker *w = router_worker_of(rq);
    struct cairn_router *r = w->router;
    struct cairn_err err = { 0 };
    struct router_ns ns = { 0 };
    struct router_order *o;
    int rc = router_ns_wanted(r, m, rq->who, &ns, &err);

    if (rc != 0) {
        cairn_rpc_reply_err(rq, rc, "%s", err.text);
        return;
    }
    o = router_order_new(w, &router_create_kind, m->name, create_begin, create_done);
    if (o == NULL || !router_order_take_copies(o)) {
        cairn_rpc_reply_err(rq, CAIRN_E_NOMEM, "namespace '%s'", m->name);
        if (o != NULL)
            router_order_free(o);
        return;
    }
    o->ns = ns;
    o->who = *rq->who;
    o->rq = rq;
    router_order_submit(o);
}
