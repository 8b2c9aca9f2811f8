/** The KV service of a world: all in one sorted array. */
#ifndef CAIRN_TEST_ROUTER_WORLD_KV_H
#define CAIRN_TEST_ROUTER_WORLD_KV_H

#include "world_types.h"

static int entry_cmp(const struct entry *e, uint32_t db, const uint8_t *key, size_t len)
{
    int c;

    if (e->db != db)
        return e->db < db ? -1 : 1;
    c = len > 0 ? memcmp(e->key, key, MIN(e->key_len, len)) : 0;
    return c != 0 ? c : (e->key_len > len) - (e->key_len < len);
}

static uint32_t entry_find(const struct world *w, uint32_t db, ProtobufCBinaryData key, bool *found)
{
    uint32_t i = 0;

    while (i < w->nentries && entry_cmp(&w->entries[i], db, key.data, key.len) < 0)
        i++;
    *found = i < w->nentries && entry_cmp(&w->entries[i], db, key.data, key.len) == 0;
    return i;
}

static uint8_t *copy_of(const void *p, size_t n)
{
    uint8_t *c = malloc(n + 1);

    assert_non_null(c);
    if (n > 0)
        memcpy(c, p, n);
    return c;
}

static void entry_set(struct world *w, uint32_t db, ProtobufCBinaryData key, const uint8_t *value, size_t len)
{
    bool found;
    uint32_t i = entry_find(w, db, key, &found);

    if (found) {
        free(w->entries[i].value);
    } else {
        assert_true(w->nentries < ENTRIES_MAX);
        memmove(&w->entries[i + 1], &w->entries[i], (w->nentries - i) * sizeof(w->entries[0]));
        w->nentries++;
        w->entries[i] = (struct entry){ .db = db, .key = copy_of(key.data, key.len), .key_len = key.len };
    }
    w->entries[i].value = copy_of(value, len);
    w->entries[i].value_len = len;
}

static void entry_del(struct world *w, uint32_t i)
{
    free(w->entries[i].key);
    free(w->entries[i].value);
    w->nentries--;
    memmove(&w->entries[i], &w->entries[i + 1], (w->nentries - i) * sizeof(w->entries[0]));
}

static struct db *db_by_name(struct world *w, const char *name)
{
    for (uint32_t i = 0; i < w->ndbs; i++) {
        if (strcmp(w->dbs[i].name, name) == 0)
            return &w->dbs[i];
    }
    return NULL;
}

static struct db *db_by_id(struct world *w, uint32_t id)
{
    for (uint32_t i = 0; i < w->ndbs; i++) {
        if (w->dbs[i].id == id)
            return &w->dbs[i];
    }
    return NULL;
}

static void kv_open(struct world *w, struct cairn_rpc_req *rq)
{
    const Cairn__Wire__KvOpen *m = (const Cairn__Wire__KvOpen *)rq->msg;
    Cairn__Wire__KvOpened reply = CAIRN__WIRE__KV_OPENED__INIT;
    struct db *db = db_by_name(w, m->name);

    if (db == NULL) {
        assert_true(m->create && w->ndbs < DBS_MAX);
        db = &w->dbs[w->ndbs++];
        *db = (struct db){ .id = ++w->next_db, .write_once = m->write_once };
        snprintf(db->name, sizeof(db->name), "%s", m->name);
    }
    reply.db = db->id;
    cairn_rpc_reply(rq, 0, &reply.base, NULL, 0);
}

static void kv_drop(struct world *w, struct cairn_rpc_req *rq)
{
    struct db *db = db_by_name(w, ((const Cairn__Wire__KvDrop *)rq->msg)->name);

    if (db == NULL) {
        cairn_rpc_reply(rq, CAIRN_E_NOTFOUND, NULL, NULL, 0);
        return;
    }
    for (uint32_t i = w->nentries; i-- > 0;) {
        if (w->entries[i].db == db->id)
            entry_del(w, i);
    }
    *db = w->dbs[--w->ndbs];
    cairn_rpc_reply(rq, 0, NULL, NULL, 0);
}

static void kv_databases(struct world *w, struct cairn_rpc_req *rq)
{
    Cairn__Wire__KvDatabases reply = CAIRN__WIRE__KV_DATABASES__INIT;
    Cairn__Wire__KvDatabase list[DBS_MAX], *pointers[DBS_MAX];

    for (uint32_t i = 0; i < w->ndbs; i++) {
        cairn__wire__kv_database__init(&list[i]);
        list[i].name = w->dbs[i].name;
        list[i].db = w->dbs[i].id;
        pointers[i] = &list[i];
    }
    reply.databases = pointers;
    reply.n_databases = w->ndbs;
    cairn_rpc_reply(rq, 0, &reply.base, NULL, 0);
}

static int kv_put_one(struct world *w, uint32_t db, ProtobufCBinaryData key, const uint8_t *value, size_t len,
                      bool if_absent, struct entry *old)
{
    bool found;
    uint32_t i = entry_find(w, db, key, &found);

    if (found && (if_absent || db_by_id(w, db)->write_once))
        return CAIRN_E_EXISTS;
    if (found && old != NULL)
        *old = (struct entry){ .value = copy_of(w->entries[i].value, w->entries[i].value_len),
                               .value_len = w->entries[i].value_len };
    entry_set(w, db, key, value, len);
    return 0;
}

static void kv_put(struct world *w, struct cairn_rpc_req *rq)
{
    const Cairn__Wire__KvPut *m = (const Cairn__Wire__KvPut *)rq->msg;
    Cairn__Wire__KvPutReply reply = CAIRN__WIRE__KV_PUT_REPLY__INIT;
    struct entry old = { 0 };
    struct iovec iov;
    int rc = kv_put_one(w, m->db, m->key, rq->payload, rq->payload_len, m->if_absent, m->want_old ? &old : NULL);

    w->put_durability = m->durability;
    if (rc != 0) {
        cairn_rpc_reply(rq, rc, NULL, NULL, 0);
        return;
    }
    reply.replaced = old.value != NULL;
    iov = (struct iovec){ .iov_base = old.value, .iov_len = old.value_len };
    cairn_rpc_reply(rq, 0, &reply.base, &iov, reply.replaced ? 1 : 0);
    free(old.value);
}

static void kv_erase(struct world *w, struct cairn_rpc_req *rq)
{
    const Cairn__Wire__KvErase *m = (const Cairn__Wire__KvErase *)rq->msg;
    Cairn__Wire__KvPutReply reply = CAIRN__WIRE__KV_PUT_REPLY__INIT;
    bool found;
    uint32_t i = entry_find(w, m->db, m->key, &found);
    struct iovec iov;

    if (!found) {
        cairn_rpc_reply(rq, CAIRN_E_NOTFOUND, NULL, NULL, 0);
        return;
    }
    iov = (struct iovec){ .iov_base = w->entries[i].value, .iov_len = w->entries[i].value_len };
    reply.replaced = m->want_old;
    w->entries[i].value = NULL;
    entry_del(w, i);
    cairn_rpc_reply(rq, 0, &reply.base, &iov, m->want_old ? 1 : 0);
    free(iov.iov_base);
}

static void kv_get(struct world *w, struct cairn_rpc_req *rq, uint32_t method)
{
    const Cairn__Wire__KvGet *m = (const Cairn__Wire__KvGet *)rq->msg;
    Cairn__Wire__KvLength length = CAIRN__WIRE__KV_LENGTH__INIT;
    Cairn__Wire__KvExists exists = CAIRN__WIRE__KV_EXISTS__INIT;
    bool found;
    uint32_t i = entry_find(w, m->db, m->key, &found);
    struct iovec iov;

    if (method == CAIRN__WIRE__KV_METHOD__KV_EXISTS) {
        exists.exists = found;
        cairn_rpc_reply(rq, 0, &exists.base, NULL, 0);
    } else if (!found) {
        cairn_rpc_reply(rq, CAIRN_E_NOTFOUND, NULL, NULL, 0);
    } else if (method == CAIRN__WIRE__KV_METHOD__KV_LENGTH) {
        length.length = w->entries[i].value_len;
        cairn_rpc_reply(rq, 0, &length.base, NULL, 0);
    } else {
        iov = (struct iovec){ .iov_base = w->entries[i].value, .iov_len = w->entries[i].value_len };
        cairn_rpc_reply(rq, 0, NULL, &iov, 1);
    }
}

static void kv_mput(struct world *w, struct cairn_rpc_req *rq)
{
    const Cairn__Wire__KvMput *m = (const Cairn__Wire__KvMput *)rq->msg;
    Cairn__Wire__KvStatuses reply = CAIRN__WIRE__KV_STATUSES__INIT;
    int32_t statuses[CAIRN_BATCH_MAX];
    size_t at = 0;

    w->mput_durability = m->durability;
    assert_int_equal(m->n_keys, m->n_lengths);
    for (size_t i = 0; i < m->n_keys; at += m->lengths[i++]) {
        assert_true(at + m->lengths[i] <= rq->payload_len);
        statuses[i] = kv_put_one(w, m->db, m->keys[i], rq->payload + at, m->lengths[i], m->if_absent, NULL);
        if (statuses[i] != 0) {
            reply.status = statuses;
            reply.n_status = m->n_keys;
        }
    }
    assert_int_equal(at, rq->payload_len);
    cairn_rpc_reply(rq, 0, &reply.base, NULL, 0);
}

static void kv_mget(struct world *w, struct cairn_rpc_req *rq)
{
    const Cairn__Wire__KvMget *m = (const Cairn__Wire__KvMget *)rq->msg;
    Cairn__Wire__KvMgetReply reply = CAIRN__WIRE__KV_MGET_REPLY__INIT;
    int64_t lengths[CAIRN_BATCH_MAX];
    uint8_t *values = malloc(8 << 20);
    size_t at = 0;
    struct iovec iov;

    assert_non_null(values);
    for (size_t i = 0; i < m->n_keys; i++) {
        bool found;
        uint32_t e = entry_find(w, m->db, m->keys[i], &found);

        lengths[i] = found ? (int64_t)w->entries[e].value_len : -1;
        if (found)
            memcpy(values + at, w->entries[e].value, w->entries[e].value_len);
        at += found ? w->entries[e].value_len : 0;
    }
    reply.lengths = lengths;
    reply.n_lengths = m->n_keys;
    iov = (struct iovec){ .iov_base = values, .iov_len = at };
    cairn_rpc_reply(rq, 0, &reply.base, &iov, 1);
    free(values);
}

static void kv_list(struct world *w, struct cairn_rpc_req *rq)
{
    const Cairn__Wire__KvList *m = (const Cairn__Wire__KvList *)rq->msg;
    Cairn__Wire__KvListReply reply = CAIRN__WIRE__KV_LIST_REPLY__INIT;
    ProtobufCBinaryData keys[64];
    uint32_t lengths[64], max = MIN(m->max != 0 ? m->max : 64, 64); /* short pages, so that there are several */
    uint8_t *values = malloc(8 << 20);
    size_t at = 0;
    struct iovec iov;

    assert_non_null(values);
    if (db_by_id(w, m->db) == NULL) {
        free(values);
        cairn_rpc_reply(rq, CAIRN_E_NOTFOUND, NULL, NULL, 0);
        return;
    }
    reply.keys = keys;
    for (uint32_t i = 0; i < w->nentries; i++) {
        const struct entry *e = &w->entries[i];
        int c = entry_cmp(e, m->db, m->from.data, m->from.len);

        if (e->db != m->db || c < 0 || (c == 0 && m->after) || e->key_len < m->prefix.len ||
            (m->prefix.len > 0 && memcmp(e->key, m->prefix.data, m->prefix.len) != 0))
            continue;
        if (reply.n_keys == max) {
            reply.more = true;
            break;
        }
        if (m->values) {
            size_t n = m->head != 0 && m->head < e->value_len ? m->head : e->value_len;

            memcpy(values + at, e->value, n);
            at += n;
            reply.lengths = lengths;
            lengths[reply.n_lengths++] = (uint32_t)e->value_len;
        }
        keys[reply.n_keys++] = (ProtobufCBinaryData){ .data = e->key, .len = e->key_len };
    }
    iov = (struct iovec){ .iov_base = values, .iov_len = at };
    cairn_rpc_reply(rq, 0, &reply.base, &iov, 1);
    free(values);
}

static void kv_stat(struct world *w, struct cairn_rpc_req *rq)
{
    Cairn__Wire__KvStatReply reply = CAIRN__WIRE__KV_STAT_REPLY__INIT;

    reply.name = (char *)"x";
    reply.backend = (char *)w->kv_backend;
    cairn_rpc_reply(rq, 0, &reply.base, NULL, 0);
}

static void kv_serve(struct world *w, struct cairn_rpc_req *rq, uint32_t method)
{
    w->served[method]++;
    switch (method) {
    case CAIRN__WIRE__KV_METHOD__KV_OPEN:
        kv_open(w, rq);
        break;
    case CAIRN__WIRE__KV_METHOD__KV_DROP:
        kv_drop(w, rq);
        break;
    case CAIRN__WIRE__KV_METHOD__KV_DATABASES:
        kv_databases(w, rq);
        break;
    case CAIRN__WIRE__KV_METHOD__KV_PUT:
        kv_put(w, rq);
        break;
    case CAIRN__WIRE__KV_METHOD__KV_GET:
    case CAIRN__WIRE__KV_METHOD__KV_LENGTH:
    case CAIRN__WIRE__KV_METHOD__KV_EXISTS:
        kv_get(w, rq, method);
        break;
    case CAIRN__WIRE__KV_METHOD__KV_ERASE:
        kv_erase(w, rq);
        break;
    case CAIRN__WIRE__KV_METHOD__KV_MPUT:
        kv_mput(w, rq);
        break;
    case CAIRN__WIRE__KV_METHOD__KV_MGET:
        kv_mget(w, rq);
        break;
    case CAIRN__WIRE__KV_METHOD__KV_LIST:
        kv_list(w, rq);
        break;
    case CAIRN__WIRE__KV_METHOD__KV_STAT:
        kv_stat(w, rq);
        break;
    default:
        fail_msg("KV method %u is not expected", method);
    }
}

#endif
