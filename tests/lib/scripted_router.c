/* What the nodes of a scripted cluster answer: namespaces, writes with numbers, reads, batches, lists; and faults. */
#include "tests/lib/scripted_cluster_internal.h"

#include "schema/router.pb-c.h"

#include <stdlib.h>
#include <string.h>

static struct scripted_value *lookup(struct scripted_cluster *c, ProtobufCBinaryData key)
{
    return scripted_values_get(&c->values, key.data, key.len);
}

static uint32_t slot_of(ProtobufCBinaryData key)
{
    return cairn_placement_slot(key.data, key.len, SCRIPTED_SLOT_BITS);
}

/* As @n sees it: it leads; MOVED; or it thinks that it does, and has no lease. */
static int leads(const struct scripted_peer *n, uint32_t slot)
{
    if (n->map.leaders[slot] != n->index)
        return CAIRN_E_MOVED;
    return n->c->map.leaders[slot] == n->index ? 0 : CAIRN_E_BUSY;
}

static void ns_show(struct cairn_rpc_req *rq)
{
    const Cairn__Wire__NsName *m = (const Cairn__Wire__NsName *)rq->msg;
    Cairn__Wire__Namespace r = CAIRN__WIRE__NAMESPACE__INIT;

    r.name = m->name;
    r.id = scripted_ns_id(scripted_peer_of(rq));
    r.embed_threshold = THRESHOLD;
    r.part_bytes = PART_BYTES;
    r.clustered = true;
    r.slots = SCRIPTED_SLOTS;
    r.first_slot = FIRST_SLOT;
    r.write_once = scripted_peer_of(rq)->c->write_once;
    cairn_rpc_reply(rq, 0, &r.base, NULL, 0);
}

static void open_answer(struct cairn_rpc_req *rq, enum scripted_fault fault)
{
    const Cairn__Wire__RouterOpen *m = (const Cairn__Wire__RouterOpen *)rq->msg;
    Cairn__Wire__RouterOpened r = CAIRN__WIRE__ROUTER_OPENED__INIT;
    struct scripted_peer *n = scripted_peer_of(rq);
    struct scripted_cluster *c = n->c;
    uint32_t slot = m->slot - FIRST_SLOT;
    int rc;

    pthread_mutex_lock(&c->mutex);
    rc = slot < SCRIPTED_SLOTS ? leads(n, slot) : CAIRN_E_INVAL;
    if (rc == 0) {
        r.epoch = 1;
        r.pos = c->sessions[slot] = ++c->last_session;
        r.ttl_ms = c->session_ttl_ms;
    }
    pthread_mutex_unlock(&c->mutex);
    scripted_reply(rq, fault, rc, rc == 0 ? &r.base : NULL, NULL);
}

static void router_open(struct cairn_rpc_req *rq)
{
    struct scripted_peer *n = scripted_peer_of(rq);
    enum scripted_fault fault = scripted_fault_of(n);

    atomic_fetch_add(&n->m.opens, 1);
    if (!scripted_misbehaves(rq, fault))
        open_answer(rq, fault);
}

static void router_close(struct cairn_rpc_req *rq)
{
    const Cairn__Wire__RouterClose *m = (const Cairn__Wire__RouterClose *)rq->msg;
    struct scripted_peer *n = scripted_peer_of(rq);
    struct scripted_cluster *c = n->c;
    uint32_t slot = m->slot - FIRST_SLOT;
    int rc;

    pthread_mutex_lock(&c->mutex);
    rc = slot < SCRIPTED_SLOTS ? leads(n, slot) : CAIRN_E_INVAL;
    if (rc == 0 && (m->epoch != 1 || m->pos != c->sessions[slot]))
        rc = CAIRN_E_GONE;
    if (rc == 0)
        c->sessions[slot] = 0;
    pthread_mutex_unlock(&c->mutex);
    if (rc == 0)
        atomic_fetch_add(&n->m.closes, 1);
    scripted_reply(rq, SCRIPTED_NONE, rc, NULL, NULL);
}

void scripted_answer_opens(void *cluster)
{
    struct scripted_cluster *c = cluster;

    for (size_t i = 0; i < c->nheld;) {
        struct cairn_rpc_req *rq = c->held[i];

        if (rq->method->request != &cairn__wire__router_open__descriptor) {
            i++;
            continue;
        }
        c->held[i] = c->held[--c->nheld];
        rq->on_cancel = NULL;
        open_answer(rq, SCRIPTED_NONE);
    }
}

/* A write as a slot's log would do it. @p NULL: what is there goes. */
static int write_one(struct scripted_peer *n, ProtobufCBinaryData key, const Cairn__Wire__RouterRid *rid,
                     bool if_absent, const uint8_t *p, size_t len, enum scripted_fault fault)
{
    struct scripted_cluster *c = n->c;
    uint32_t slot = slot_of(key);
    struct scripted_value *v = lookup(c, key);
    int rc = leads(n, slot);

    if (rc != 0)
        return rc;
    if (rid == NULL || rid->seq == 0 || rid->slot != FIRST_SLOT + slot)
        return CAIRN_E_INVAL;
    if (fault == SCRIPTED_GONE)
        c->sessions[slot] = 0;
    if (!c->write_once && rid->session_pos != c->sessions[slot])
        return CAIRN_E_GONE;
    for (size_t i = 0; i < c->ndone; i++) {
        if (c->done[i].slot == slot && c->done[i].pos == rid->session_pos && c->done[i].seq == rid->seq)
            return c->done[i].rc;
    }
    rc = v != NULL && (if_absent || c->write_once) && p != NULL ? CAIRN_E_EXISTS : 0;
    if (rc == 0 && p != NULL) {
        scripted_values_put(&c->values, key.data, key.len, p, len);
    } else if (rc == 0 && v != NULL) {
        scripted_value_drop(v);
        v->stores++;
    }
    CAIRN_ASSERT(c->ndone < WRITES_MAX);
    c->done[c->ndone++] = (struct scripted_done){ slot, rid->session_pos, rid->seq, rc };
    return rc;
}

static void router_put(struct cairn_rpc_req *rq)
{
    const Cairn__Wire__RouterPut *m = (const Cairn__Wire__RouterPut *)rq->msg;
    struct scripted_peer *n = scripted_peer_of(rq);
    enum scripted_fault fault = scripted_fault_of(n);
    int rc;

    atomic_fetch_add(&n->m.puts, 1);
    if (scripted_misbehaves(rq, fault))
        return;
    pthread_mutex_lock(&n->c->mutex);
    rc = write_one(n, m->key, m->rid, m->if_absent, rq->payload != NULL ? rq->payload : (const uint8_t *)"",
                   rq->payload_len, fault);
    pthread_mutex_unlock(&n->c->mutex);
    scripted_reply(rq, fault, rc, NULL, NULL);
}

/* @id 0: a free place. */
static struct scripted_upload *upload_of(struct scripted_peer *n, uint64_t id)
{
    for (uint32_t i = 0; i < UPLOADS_MAX; i++) {
        if (n->uploads[i].id == id)
            return &n->uploads[i];
    }
    return NULL;
}

static void router_part(struct cairn_rpc_req *rq)
{
    const Cairn__Wire__RouterPart *m = (const Cairn__Wire__RouterPart *)rq->msg;
    struct scripted_peer *n = scripted_peer_of(rq);
    struct scripted_upload *u;
    int rc;

    if (scripted_means_another(rq))
        return;
    pthread_mutex_lock(&n->c->mutex);
    rc = leads(n, slot_of(m->key));
    u = rc == 0 ? upload_of(n, m->upload) : NULL;
    if (rc == 0 && u == NULL) {
        u = upload_of(n, 0);
        CAIRN_ASSERT(u != NULL);
        *u = (struct scripted_upload){ .id = m->upload };
    }
    if (u != NULL)
        u->parts++;
    pthread_mutex_unlock(&n->c->mutex);
    cairn_rpc_reply(rq, rc, NULL, NULL, 0);
}

/* The answer of the COMMIT that bore this number; INVAL: there was none. Of a write-once key the record says it. */
static int commit_known(struct scripted_peer *n, const Cairn__Wire__RouterCommit *m)
{
    const struct scripted_cluster *c = n->c;
    int rc = leads(n, slot_of(m->key));

    for (size_t i = 0; i < c->ndone && rc == 0; i++) {
        if (c->done[i].slot == slot_of(m->key) && c->done[i].pos == m->rid->session_pos &&
            c->done[i].seq == m->rid->seq)
            return c->done[i].rc;
    }
    if (rc == 0)
        rc = c->write_once && lookup(n->c, m->key) != NULL ? CAIRN_E_EXISTS : CAIRN_E_INVAL;
    return rc;
}

static void router_commit(struct cairn_rpc_req *rq)
{
    const Cairn__Wire__RouterCommit *m = (const Cairn__Wire__RouterCommit *)rq->msg;
    struct scripted_peer *n = scripted_peer_of(rq);
    enum scripted_fault fault = scripted_fault_of(n);
    struct scripted_upload *u;
    int rc;

    atomic_fetch_add(&n->m.commits, 1);
    if (scripted_misbehaves(rq, fault))
        return;
    pthread_mutex_lock(&n->c->mutex);
    u = upload_of(n, m->upload);
    if (u == NULL || u->parts != m->parts) {
        rc = commit_known(n, m);
    } else {
        rc = write_one(n, m->key, m->rid, m->if_absent, (const uint8_t *)"large", 5, fault);
        *u = (struct scripted_upload){ 0 };
    }
    pthread_mutex_unlock(&n->c->mutex);
    scripted_reply(rq, fault, rc, NULL, NULL);
}

static void router_abort(struct cairn_rpc_req *rq)
{
    const Cairn__Wire__RouterAbort *m = (const Cairn__Wire__RouterAbort *)rq->msg;
    struct scripted_peer *n = scripted_peer_of(rq);
    struct scripted_upload *u;

    if (scripted_means_another(rq))
        return;
    pthread_mutex_lock(&n->c->mutex);
    u = upload_of(n, m->upload);
    if (u != NULL)
        *u = (struct scripted_upload){ 0 };
    pthread_mutex_unlock(&n->c->mutex);
    cairn_rpc_reply(rq, u != NULL ? 0 : CAIRN_E_NOTFOUND, NULL, NULL, 0);
}

static void router_delete(struct cairn_rpc_req *rq)
{
    const Cairn__Wire__RouterKey *m = (const Cairn__Wire__RouterKey *)rq->msg;
    struct scripted_peer *n = scripted_peer_of(rq);
    enum scripted_fault fault = scripted_fault_of(n);
    int rc;

    if (scripted_misbehaves(rq, fault))
        return;
    pthread_mutex_lock(&n->c->mutex);
    rc = write_one(n, m->key, m->rid, false, NULL, 0, fault);
    pthread_mutex_unlock(&n->c->mutex);
    scripted_reply(rq, fault, rc, NULL, NULL);
}

/* Whether @n may tell of @key, and what there is. */
static int read_one(struct scripted_peer *n, ProtobufCBinaryData key, bool replica, struct scripted_value **v)
{
    int rc = leads(n, slot_of(key));
    bool by_replica = rc != 0 && replica && n->c->write_once;

    *v = lookup(n->c, key);
    atomic_fetch_add(&n->m.replica_gets, by_replica);
    if (by_replica)
        return *v != NULL ? 0 : CAIRN_E_MOVED;
    return rc != 0 ? rc : *v != NULL ? 0 : CAIRN_E_NOTFOUND;
}

static void router_get(struct cairn_rpc_req *rq)
{
    const Cairn__Wire__RouterGet *m = (const Cairn__Wire__RouterGet *)rq->msg;
    Cairn__Wire__RouterGetReply r = CAIRN__WIRE__ROUTER_GET_REPLY__INIT;
    struct scripted_peer *n = scripted_peer_of(rq);
    enum scripted_fault fault = scripted_fault_of(n);
    struct iovec p = { 0 };
    struct scripted_value *v;
    int rc;

    atomic_fetch_add(&n->m.gets, 1);
    if (scripted_misbehaves(rq, fault))
        return;
    pthread_mutex_lock(&n->c->mutex);
    rc = read_one(n, m->key, m->replica, &v);
    if (rc == 0) {
        r.total = r.length = v->len;
        p = (struct iovec){ v->bytes, v->len };
    }
    scripted_reply(rq, fault, rc, rc == 0 ? &r.base : NULL, rc == 0 ? &p : NULL);
    pthread_mutex_unlock(&n->c->mutex);
}

static void router_exists(struct cairn_rpc_req *rq)
{
    const Cairn__Wire__RouterKey *m = (const Cairn__Wire__RouterKey *)rq->msg;
    Cairn__Wire__RouterExists r = CAIRN__WIRE__ROUTER_EXISTS__INIT;
    struct scripted_peer *n = scripted_peer_of(rq);
    enum scripted_fault fault = scripted_fault_of(n);
    struct scripted_value *v;
    int rc;

    if (scripted_misbehaves(rq, fault))
        return;
    pthread_mutex_lock(&n->c->mutex);
    rc = read_one(n, m->key, m->replica, &v);
    pthread_mutex_unlock(&n->c->mutex);
    r.exists = rc == 0;
    rc = rc == CAIRN_E_NOTFOUND ? 0 : rc;
    scripted_reply(rq, fault, rc, rc == 0 ? &r.base : NULL, NULL);
}

static void router_mput(struct cairn_rpc_req *rq)
{
    const Cairn__Wire__RouterMput *m = (const Cairn__Wire__RouterMput *)rq->msg;
    Cairn__Wire__KvStatuses r = CAIRN__WIRE__KV_STATUSES__INIT;
    struct scripted_peer *n = scripted_peer_of(rq);
    enum scripted_fault fault = scripted_fault_of(n);
    int32_t *status = calloc(m->n_keys, sizeof(*status));
    const uint8_t *at = rq->payload != NULL ? rq->payload : (const uint8_t *)"";

    atomic_fetch_add(&n->m.mputs, 1);
    if (scripted_misbehaves(rq, fault)) {
        free(status);
        return;
    }
    CAIRN_ASSERT(m->n_rids == m->n_keys);
    pthread_mutex_lock(&n->c->mutex);
    for (size_t i = 0; i < m->n_keys; at += m->lengths[i++])
        status[i] = write_one(n, m->keys[i], m->rids[i], m->if_absent, at, m->lengths[i], fault);
    for (size_t i = 0; i < m->n_keys && fault == SCRIPTED_MOVED_AFTER; i++)
        status[i] = CAIRN_E_MOVED;
    pthread_mutex_unlock(&n->c->mutex);
    r.n_status = m->n_keys;
    r.status = status;
    scripted_reply(rq, fault, 0, &r.base, NULL);
    free(status);
}

static void router_mget(struct cairn_rpc_req *rq)
{
    const Cairn__Wire__RouterMget *m = (const Cairn__Wire__RouterMget *)rq->msg;
    Cairn__Wire__RouterMgetReply r = CAIRN__WIRE__ROUTER_MGET_REPLY__INIT;
    struct scripted_peer *n = scripted_peer_of(rq);
    enum scripted_fault fault = scripted_fault_of(n);
    int64_t *lengths = calloc(m->n_keys, sizeof(*lengths));
    uint8_t *page = malloc(4 << 20);
    struct iovec payload = { page, 0 };

    atomic_fetch_add(&n->m.mgets, 1);
    if (!scripted_misbehaves(rq, fault)) {
        pthread_mutex_lock(&n->c->mutex);
        for (size_t i = 0; i < m->n_keys; i++) {
            struct scripted_value *v;
            int rc = read_one(n, m->keys[i], m->replica, &v);

            lengths[i] = rc == CAIRN_E_NOTFOUND ? -1 : rc != 0 ? -3 : v->len > THRESHOLD ? -2 : (int64_t)v->len;
            if (lengths[i] <= 0)
                continue;
            memcpy(page + payload.iov_len, v->bytes, v->len);
            payload.iov_len += v->len;
        }
        pthread_mutex_unlock(&n->c->mutex);
        r.n_lengths = m->n_keys;
        r.lengths = lengths;
        scripted_reply(rq, fault, 0, &r.base, &payload);
    }
    free(lengths);
    free(page);
}

static void router_list(struct cairn_rpc_req *rq)
{
    const Cairn__Wire__RouterList *m = (const Cairn__Wire__RouterList *)rq->msg;
    Cairn__Wire__RouterListReply r = CAIRN__WIRE__ROUTER_LIST_REPLY__INIT;
    struct scripted_peer *n = scripted_peer_of(rq);
    struct scripted_cluster *c = n->c;
    enum scripted_fault fault = scripted_fault_of(n);
    ProtobufCBinaryData *keys = calloc(m->max, sizeof(*keys));
    uint64_t *lengths = calloc(m->max, sizeof(*lengths));
    uint32_t looked = 0;

    atomic_fetch_add(&n->m.lists, 1);
    CAIRN_ASSERT(m->max > 0);
    if (!scripted_misbehaves(rq, fault)) {
        pthread_mutex_lock(&c->mutex);
        for (size_t i = 0; i < c->values.n; i++) {
            struct scripted_value *v = &c->values.all[i];
            ProtobufCBinaryData key = { v->key_len, v->key };

            if (v->bytes == NULL || !scripted_value_begins(v, m->prefix.data, m->prefix.len) ||
                (fault != SCRIPTED_SAME_KEYS && m->after.len > 0 &&
                 scripted_value_compare(v, m->after.data, m->after.len) <= 0))
                continue;
            if (looked++ == m->max) {
                r.more = true;
                break;
            }
            r.upto = key;
            if (leads(n, slot_of(key)) != 0)
                continue;
            keys[r.n_keys] = key;
            lengths[r.n_keys++] = v->len;
        }
        for (uint32_t i = 0; i < SCRIPTED_SLOTS; i++) {
            if (leads(n, i) != 0)
                continue;
            r.led++;
            r.led_sum += cairn_placement_slot_mark(FIRST_SLOT + i);
        }
        r.n_lengths = r.n_keys;
        r.keys = keys;
        r.lengths = lengths;
        scripted_reply(rq, fault, 0, &r.base, NULL);
        pthread_mutex_unlock(&c->mutex);
    }
    free(keys);
    free(lengths);
}

cairn_rpc_handler *const scripted_router_handlers[32] = {
    [CAIRN__WIRE__ROUTER_METHOD__ROUTER_NS_SHOW] = ns_show,
    [CAIRN__WIRE__ROUTER_METHOD__ROUTER_OPEN] = router_open,
    [CAIRN__WIRE__ROUTER_METHOD__ROUTER_CLOSE] = router_close,
    [CAIRN__WIRE__ROUTER_METHOD__ROUTER_PUT] = router_put,
    [CAIRN__WIRE__ROUTER_METHOD__ROUTER_GET] = router_get,
    [CAIRN__WIRE__ROUTER_METHOD__ROUTER_EXISTS] = router_exists,
    [CAIRN__WIRE__ROUTER_METHOD__ROUTER_PART] = router_part,
    [CAIRN__WIRE__ROUTER_METHOD__ROUTER_COMMIT] = router_commit,
    [CAIRN__WIRE__ROUTER_METHOD__ROUTER_ABORT] = router_abort,
    [CAIRN__WIRE__ROUTER_METHOD__ROUTER_DELETE] = router_delete,
    [CAIRN__WIRE__ROUTER_METHOD__ROUTER_MPUT] = router_mput,
    [CAIRN__WIRE__ROUTER_METHOD__ROUTER_MGET] = router_mget,
    [CAIRN__WIRE__ROUTER_METHOD__ROUTER_LIST] = router_list,
};
