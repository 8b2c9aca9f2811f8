/* Requests about whole databases. They may wait for the disk, or for each other, so all of them run on the pool. */
#include "providers/kv/kv_internal.h"

#include <string.h>

/* ---- open ---- */

static void open_found(struct kv_op *op, const Cairn__Wire__KvOpen *m, const struct cairn_kv_db_desc *desc)
{
    const struct cairn_kv_db *db = &desc->db;

    if (m->create && m->exclusive) {
        op->rc = cairn_err_set(&op->err, CAIRN_E_EXISTS, "database %s exists", desc->name);
    } else if (m->create && ((int)m->order != db->order || (m->write_once != 0) != db->write_once)) {
        op->rc = cairn_err_set(&op->err, CAIRN_E_EXISTS, "database %s exists with other properties: order %s, %s",
                               desc->name, db->order == CAIRN_KV_UINT ? "uint" : "bytes",
                               db->write_once ? "write-once" : "rewritable");
    } else {
        op->opened.db = db->handle;
        op->opened.order = (Cairn__Wire__KvOrder)db->order;
        op->opened.write_once = db->write_once;
    }
}

static int open_create(struct kv_provider *p, const Cairn__Wire__KvOpen *m, struct cairn_kv_db_desc *desc,
                       struct cairn_err *err)
{
    int rc;

    snprintf(desc->name, sizeof(desc->name), "%s", m->name);
    desc->db.order = (uint8_t)m->order;
    desc->db.write_once = m->write_once != 0;
    rc = cairn_kv_dir_reserve(&p->dir, desc);
    if (rc != 0)
        return cairn_err_set(err, rc, "database %s: there are %u already, as many as `databases` allows", m->name,
                             p->dir.max);
    rc = p->ops->create(p->store, desc, m->decided, err);
    if (rc == 0)
        cairn_kv_dir_publish(&p->dir, &desc->db);
    else
        cairn_kv_dir_forget(&p->dir, &desc->db);
    return rc;
}

static void open_work(struct kv_op *op)
{
    const Cairn__Wire__KvOpen *m = (const Cairn__Wire__KvOpen *)op->rq->msg;
    struct kv_provider *p = op->worker->provider;
    const struct cairn_kv_db_desc *found;
    struct cairn_kv_db_desc desc = { 0 };

    cairn__wire__kv_opened__init(&op->opened);
    pthread_mutex_lock(&p->dir.mutex);
    found = cairn_kv_dir_by_name(&p->dir, m->name);
    if (found == NULL && !m->create) {
        op->rc = cairn_err_set(&op->err, CAIRN_E_NOTFOUND, "no database %s", m->name);
    } else if (found == NULL) {
        op->rc = open_create(p, m, &desc, &op->err);
        found = op->rc == 0 ? cairn_kv_dir_by_name(&p->dir, m->name) : NULL;
        op->opened.created = true;
        if (found != NULL) {
            op->opened.db = found->db.handle;
            op->opened.order = m->order;
            op->opened.write_once = m->write_once;
        }
    } else {
        open_found(op, m, found);
    }
    pthread_mutex_unlock(&p->dir.mutex);
}

static void open_reply(struct kv_op *op)
{
    cairn_rpc_reply(op->rq, 0, &op->opened.base, NULL, 0);
}

void kv_call(struct cairn_rpc_req *rq, void (*work)(struct kv_op *op), void (*reply)(struct kv_op *op))
{
    struct kv_op *op = kv_op_new(rq, &kv_work_kind);

    if (op == NULL)
        return;
    op->work = work;
    op->reply = reply;
    kv_op_call(op);
}

void kv_handle_open(struct cairn_rpc_req *rq)
{
    const Cairn__Wire__KvOpen *m = (const Cairn__Wire__KvOpen *)rq->msg;

    if (cairn_kv_name_check(m->name) != 0)
        cairn_rpc_reply_err(rq, CAIRN_E_INVAL, "the name of a database has 1 to %d bytes and no control characters",
                            CAIRN_NAME_BYTES_MAX);
    else if (m->order != CAIRN__WIRE__KV_ORDER__KV_ORDER_BYTES && m->order != CAIRN__WIRE__KV_ORDER__KV_ORDER_UINT)
        cairn_rpc_reply_err(rq, CAIRN_E_INVAL, "database %s: unknown order %d", m->name, (int)m->order);
    else if (m->decided && !cairn_rpc_req_is_own(rq))
        cairn_rpc_reply_err(rq, CAIRN_E_DENIED, "what a log has decided, the node that has the log applies itself");
    else
        kv_call(rq, open_work, open_reply);
}

/* ---- drop ---- */

static void reply_empty(struct kv_op *op)
{
    cairn_rpc_reply(op->rq, 0, NULL, NULL, 0);
}

static void drop_work(struct kv_op *op)
{
    const Cairn__Wire__KvDrop *m = (const Cairn__Wire__KvDrop *)op->rq->msg;
    struct kv_provider *p = op->worker->provider;
    const struct cairn_kv_db_desc *found;
    struct cairn_kv_db_desc desc;

    pthread_mutex_lock(&p->dir.mutex);
    found = cairn_kv_dir_by_name(&p->dir, m->name);
    if (found == NULL) {
        op->rc = cairn_err_set(&op->err, CAIRN_E_NOTFOUND, "no database %s", m->name);
    } else {
        desc = *found;
        cairn_kv_dir_hide(&p->dir, &desc.db);
        op->rc = p->ops->drop(p->store, &desc, &op->err);
        if (op->rc == 0)
            cairn_kv_dir_forget(&p->dir, &desc.db);
        else
            cairn_kv_dir_publish(&p->dir, &desc.db);
    }
    pthread_mutex_unlock(&p->dir.mutex);
}

void kv_handle_drop(struct cairn_rpc_req *rq)
{
    kv_call(rq, drop_work, reply_empty);
}

/* ---- databases ---- */

static void databases_fill(struct kv_op *op, struct kv_provider *p)
{
    struct cairn_arena *arena = &op->rq->arena; /* the loop leaves it alone while we are on the pool */
    Cairn__Wire__KvDatabase *rows = cairn_arena_alloc(arena, p->dir.n * sizeof(rows[0]));
    Cairn__Wire__KvDatabase **list = cairn_arena_alloc(arena, p->dir.n * sizeof(list[0]));

    if (rows == NULL || list == NULL) {
        op->rc = CAIRN_E_NOMEM;
        return;
    }
    op->databases.databases = list;
    for (uint32_t i = 0; i < p->dir.max; i++) {
        const struct cairn_kv_db_desc *desc = p->dir.slots[i].desc;
        Cairn__Wire__KvDatabase *row = &rows[op->databases.n_databases];
        size_t len;

        if (desc == NULL)
            continue;
        len = strlen(desc->name) + 1;
        cairn__wire__kv_database__init(row);
        row->name = cairn_arena_alloc(arena, len);
        if (row->name == NULL) {
            op->rc = CAIRN_E_NOMEM;
            return;
        }
        memcpy(row->name, desc->name, len);
        row->db = desc->db.handle;
        row->order = (Cairn__Wire__KvOrder)desc->db.order;
        row->write_once = desc->db.write_once;
        list[op->databases.n_databases++] = row;
    }
}

static void databases_work(struct kv_op *op)
{
    struct kv_provider *p = op->worker->provider;

    cairn__wire__kv_databases__init(&op->databases);
    pthread_mutex_lock(&p->dir.mutex);
    databases_fill(op, p);
    pthread_mutex_unlock(&p->dir.mutex);
}

static void databases_reply(struct kv_op *op)
{
    cairn_rpc_reply(op->rq, 0, &op->databases.base, NULL, 0);
}

void kv_handle_databases(struct cairn_rpc_req *rq)
{
    kv_call(rq, databases_work, databases_reply);
}

/* ---- stat ---- */

/* The database's name, copied while nobody can drop it; "" if somebody has. */
static const char *stat_name(struct kv_provider *p, const struct cairn_kv_db *db, struct cairn_arena *arena)
{
    const struct cairn_kv_db_desc *desc;
    char *name = NULL;

    pthread_mutex_lock(&p->dir.mutex);
    desc = p->dir.slots[db->slot].desc;
    if (desc != NULL && desc->db.handle == db->handle) {
        name = cairn_arena_alloc(arena, sizeof(desc->name));
        if (name != NULL)
            memcpy(name, desc->name, sizeof(desc->name));
    }
    pthread_mutex_unlock(&p->dir.mutex);
    return name != NULL ? name : "";
}

static void stat_work(struct kv_op *op)
{
    struct kv_provider *p = op->worker->provider;

    op->name = stat_name(p, &op->db, &op->rq->arena);
    op->rc = p->ops->usage(p->store, &op->db, &op->usage);
}

static void stat_reply(struct kv_op *op)
{
    Cairn__Wire__KvStatReply reply = CAIRN__WIRE__KV_STAT_REPLY__INIT;

    reply.name = (char *)(uintptr_t)op->name;
    reply.backend = (char *)(uintptr_t)op->worker->provider->ops->name;
    reply.keys = op->usage.keys;
    reply.keys_exact = op->usage.keys_exact;
    reply.bytes = op->usage.bytes;
    cairn_rpc_reply(op->rq, 0, &reply.base, NULL, 0);
}

void kv_handle_stat(struct cairn_rpc_req *rq)
{
    const Cairn__Wire__KvStat *m = (const Cairn__Wire__KvStat *)rq->msg;
    struct cairn_kv_db db;
    struct kv_op *op;

    if (!kv_find(rq, m->db, &db))
        return;
    op = kv_op_new(rq, &kv_work_kind);
    if (op == NULL)
        return;
    op->db = db;
    op->work = stat_work;
    op->reply = stat_reply;
    kv_op_call(op);
}
