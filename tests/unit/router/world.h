/** A node in one thread for the router's tests: two workers, a real router and map store, and a KV and an extent
 * service that keep all in memory. Requests to those wait in one queue and are carried out in an order that a seed
 * decides, so that runs with different seeds meet different interleavings; the nth of them can be made to fail. */
#ifndef CAIRN_TEST_ROUTER_WORLD_H
#define CAIRN_TEST_ROUTER_WORLD_H

#include "sdk/core/base/crc.h"
#include "server/router/router_internal.h"
#include "tests/lib/scratch.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum {
    WORKERS = 2,
    PENDING_MAX = 1024,
    ENTRIES_MAX = 4096,
    DBS_MAX = 16,
    REGIONS_MAX = 8200,
    KIB = 1024,
    REGION = 128 * KIB
};

struct entry {
    uint32_t db;
    uint8_t *key, *value;
    size_t key_len, value_len;
};

struct db {
    char name[64];
    uint32_t id;
    bool write_once;
};

struct region {
    uint64_t id, owner;
    uint8_t *bytes;
    uint64_t len;
};

struct world {
    struct cairn_loop loops[WORKERS];
    struct cairn_loop *loop_pointers[WORKERS];
    struct cairn_rpc *rpcs[WORKERS];
    struct cairn_rpc_target targets[3];
    struct cairn_pool *pool;
    void *router;
    char dir[SCRATCH_MAX];
    struct cairn_router_conf conf;
    uint64_t seed;

    struct cairn_rpc_req *pending[PENDING_MAX];
    uint32_t npending;
    uint64_t calls;   /* carried out so far */
    uint64_t fail_at; /* the call with this number fails with fail_rc; 0: none */
    int fail_rc;
    bool fail_after;     /* it is carried out all the same: the caller cannot know */
    uint32_t served[32]; /* KV calls by method */
    bool hollow;         /* regions have a length, and no bytes */
    bool no_owners;      /* an extent provider that knows none */
    int remove_rc;       /* not 0: what it says of each region that it is to remove */
    const char *kv_backend;
    bool extent_volatile; /* refuses all durability but `memory` */
    void (*before)(struct world *w, struct cairn_rpc_req *rq);

    struct db dbs[DBS_MAX];
    uint32_t ndbs, next_db;
    struct entry entries[ENTRIES_MAX]; /* by db and key */
    uint32_t nentries;
    struct region regions[REGIONS_MAX]; /* by id */
    uint32_t nregions;
    uint64_t next_region;
};

static uint64_t world_random(struct world *w)
{
    uint64_t x = (w->seed += UINT64_C(0x9e3779b97f4a7c15));

    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

/* ---- the KV service ---- */

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
            memcpy(values + at, e->value, e->value_len);
            at += e->value_len;
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

/* ---- the extent service ---- */

static struct region *region_find(struct world *w, uint64_t id)
{
    for (uint32_t i = 0; i < w->nregions; i++) {
        if (w->regions[i].id == id)
            return &w->regions[i];
    }
    return NULL;
}

static uint64_t region_add(struct world *w, const uint8_t *bytes, uint64_t len, uint64_t owner)
{
    assert_true(w->nregions < REGIONS_MAX);
    w->regions[w->nregions++] = (struct region){
        .id = ++w->next_region, .owner = owner, .bytes = w->hollow ? NULL : copy_of(bytes, len), .len = len
    };
    return w->next_region;
}

static uint32_t crc_of_chunks(const uint8_t *p, uint64_t off, uint64_t len, uint32_t *crcs)
{
    uint32_t n = 0;

    for (uint64_t at = off; at < off + len;) {
        uint64_t next = MIN((at / CAIRN_EXTENT_CHUNK_BYTES + 1) * CAIRN_EXTENT_CHUNK_BYTES, off + len);

        crcs[n++] = cairn_crc32c(0, p + (at - off), next - at);
        at = next;
    }
    return n;
}

static void extent_put(struct world *w, struct cairn_rpc_req *rq)
{
    const Cairn__Wire__ExtentPut *m = (const Cairn__Wire__ExtentPut *)rq->msg;
    Cairn__Wire__ExtentId reply = CAIRN__WIRE__EXTENT_ID__INIT;
    const uint8_t *from = m->bulk != NULL ? (const uint8_t *)(uintptr_t)m->bulk->addr + m->bulk->off : rq->payload;
    uint32_t crcs[64];

    if (w->extent_volatile && m->durability != CAIRN__WIRE__DURABILITY__DURABILITY_MEMORY) {
        cairn_rpc_reply(rq, CAIRN_E_UNSUPPORTED, NULL, NULL, 0);
        return;
    }
    assert_true(m->length > 0 && (w->hollow || m->length <= REGION));
    assert_true(m->bulk != NULL ? m->bulk->off + m->length <= m->bulk->len : rq->payload_len == m->length);
    if (w->hollow) {
        reply.id = region_add(w, NULL, m->length, m->owner);
        cairn_rpc_reply(rq, 0, &reply.base, NULL, 0);
        return;
    }
    assert_int_equal(m->n_crcs, crc_of_chunks(from, 0, m->length, crcs));
    if (memcmp(crcs, m->crcs, m->n_crcs * sizeof(crcs[0])) != 0) {
        cairn_rpc_reply(rq, CAIRN_E_CORRUPT, NULL, NULL, 0);
        return;
    }
    reply.id = region_add(w, from, m->length, m->owner);
    cairn_rpc_reply(rq, 0, &reply.base, NULL, 0);
}

static void extent_read(struct world *w, struct cairn_rpc_req *rq)
{
    const Cairn__Wire__ExtentRead *m = (const Cairn__Wire__ExtentRead *)rq->msg;
    Cairn__Wire__ExtentReadReply reply = CAIRN__WIRE__EXTENT_READ_REPLY__INIT;
    const struct region *r = region_find(w, m->id);
    uint32_t crcs[64];
    struct iovec iov;

    assert_true(m->bulk != NULL || m->verify); /* the caller gets no checksums with a payload */
    if (r == NULL) {
        cairn_rpc_reply(rq, CAIRN_E_NOTFOUND, NULL, NULL, 0);
        return;
    }
    reply.length = m->off < r->len ? MIN(m->length, r->len - m->off) : 0;
    reply.crcs = crcs;
    reply.n_crcs = crc_of_chunks(r->bytes + m->off, m->off, reply.length, crcs);
    iov = (struct iovec){ .iov_base = r->bytes + m->off, .iov_len = reply.length };
    if (m->bulk != NULL) {
        assert_true(m->bulk->off + reply.length <= m->bulk->len);
        memcpy((uint8_t *)(uintptr_t)m->bulk->addr + m->bulk->off, iov.iov_base, iov.iov_len);
    }
    cairn_rpc_reply(rq, 0, &reply.base, &iov, m->bulk != NULL ? 0 : 1);
}

static void extent_remove(struct world *w, struct cairn_rpc_req *rq)
{
    const Cairn__Wire__ExtentRemove *m = (const Cairn__Wire__ExtentRemove *)rq->msg;
    Cairn__Wire__KvStatuses reply = CAIRN__WIRE__KV_STATUSES__INIT;
    int32_t statuses[CAIRN_BATCH_MAX];

    assert_true(m->n_ids <= CAIRN_BATCH_MAX);
    for (size_t i = 0; i < m->n_ids; i++) {
        struct region *r = region_find(w, m->ids[i]);

        statuses[i] = r != NULL ? w->remove_rc : CAIRN_E_NOTFOUND;
        if (statuses[i] != 0) {
            reply.status = statuses;
            reply.n_status = m->n_ids;
            continue;
        }
        free(r->bytes);
        w->nregions--;
        memmove(r, r + 1, (size_t)(&w->regions[w->nregions] - r) * sizeof(*r));
    }
    cairn_rpc_reply(rq, 0, &reply.base, NULL, 0);
}

static void extent_list(struct world *w, struct cairn_rpc_req *rq)
{
    const Cairn__Wire__ExtentList *m = (const Cairn__Wire__ExtentList *)rq->msg;
    Cairn__Wire__ExtentListReply reply = CAIRN__WIRE__EXTENT_LIST_REPLY__INIT;
    uint64_t ids[8], owners[8]; /* short pages */

    reply.ids = ids;
    reply.owners = owners;
    for (uint32_t i = 0; i < w->nregions; i++) {
        if (w->regions[i].id <= m->after)
            continue;
        if (reply.n_ids == ARRAY_SIZE(ids)) {
            reply.more = true;
            break;
        }
        owners[reply.n_ids] = w->regions[i].owner;
        ids[reply.n_ids++] = w->regions[i].id;
    }
    reply.n_owners = w->no_owners ? 0 : reply.n_ids;
    cairn_rpc_reply(rq, 0, &reply.base, NULL, 0);
}

static void extent_serve(struct world *w, struct cairn_rpc_req *rq, uint32_t method)
{
    switch (method) {
    case CAIRN__WIRE__EXTENT_METHOD__EXTENT_PUT:
        extent_put(w, rq);
        break;
    case CAIRN__WIRE__EXTENT_METHOD__EXTENT_READ:
        extent_read(w, rq);
        break;
    case CAIRN__WIRE__EXTENT_METHOD__EXTENT_REMOVE:
        extent_remove(w, rq);
        break;
    case CAIRN__WIRE__EXTENT_METHOD__EXTENT_LIST:
        extent_list(w, rq);
        break;
    default:
        fail_msg("extent method %u is not expected", method);
    }
}

/* ---- both ---- */

static void on_request(struct cairn_rpc_req *rq)
{
    struct world *w = rq->target->ctx;

    assert_true(w->npending < PENDING_MAX);
    w->pending[w->npending++] = rq;
}

static cairn_rpc_handler *const kv_service[] = {
    on_request, on_request, on_request, on_request, on_request, on_request, on_request, on_request,
    on_request, on_request, on_request, on_request, on_request, on_request, on_request,
};
static cairn_rpc_handler *const extent_service[] = {
    on_request, on_request, on_request, on_request, on_request, on_request, on_request, on_request, on_request,
};

/* What the failing call would have done, without anybody hearing of it. */
static void serve_unheard(struct world *w, struct cairn_rpc_req *rq)
{
    if (rq->target->iface == &cairn_iface_kv && rq->method_no == CAIRN__WIRE__KV_METHOD__KV_PUT) {
        const Cairn__Wire__KvPut *m = (const Cairn__Wire__KvPut *)rq->msg;

        kv_put_one(w, m->db, m->key, rq->payload, rq->payload_len, m->if_absent, NULL);
    }
}

/* Carries out one of the calls that wait. */
static bool serve_one(struct world *w)
{
    struct cairn_rpc_req *rq;
    uint32_t i;

    if (w->npending == 0)
        return false;
    i = (uint32_t)(world_random(w) % w->npending);
    rq = w->pending[i];
    w->pending[i] = w->pending[--w->npending];
    if (w->before != NULL)
        w->before(w, rq);
    if (++w->calls == w->fail_at) {
        if (w->fail_after)
            serve_unheard(w, rq);
        cairn_rpc_reply_err(rq, w->fail_rc, "injected");
    } else if (rq->canceled) {
        cairn_rpc_reply(rq, CAIRN_E_CANCELED, NULL, NULL, 0);
    } else if (rq->target->iface == &cairn_iface_kv) {
        kv_serve(w, rq, rq->method_no);
    } else {
        extent_serve(w, rq, rq->method_no);
    }
    return true;
}

static void world_turn(struct world *w)
{
    bool served = serve_one(w);

    for (uint32_t i = 0; i < WORKERS; i++)
        cairn_loop_turn(&w->loops[i], served || w->npending > 0 ? 0 : CAIRN_NS_PER_MS / 4);
}

static void on_quiesced(void *arg)
{
    *(bool *)arg = true;
}

static inline int world_start_rc(struct world *w, struct cairn_err *err)
{
    struct cairn_provider_env env = { .name = "router",
                                      .dir = w->dir,
                                      .pool = w->pool,
                                      .loops = w->loop_pointers,
                                      .nloops = WORKERS,
                                      .targets = w->targets,
                                      .ntargets = ARRAY_SIZE(w->targets) };
    int rc = cairn_router_start(&env, &w->conf, &w->router, err);

    if (rc != 0)
        return rc;
    w->targets[0].ctx = w->router;
    for (uint32_t i = 0; i < WORKERS; i++)
        cairn_router_attach(w->router, w->rpcs[i]);
    cairn_router_desc.run(w->router);
    return 0;
}

static void world_start(struct world *w)
{
    struct cairn_err err = { 0 };

    if (world_start_rc(w, &err) != 0)
        fail_msg("%s", err.text);
}

static void world_stop(struct world *w)
{
    bool quiesced = false;

    if (w->router == NULL)
        return;
    cairn_router_desc.quiesce(w->router, on_quiesced, &quiesced);
    assert_false(quiesced); /* never inside the call */
    while (!quiesced)
        world_turn(w);
    cairn_router_desc.stop(w->router);
    w->router = NULL;
}

static inline bool sweep_is_over(struct world *w)
{
    struct cairn_sm_census rows[32];
    uint32_t n = cairn_sm_set_census(&w->loops[0].machines, rows, ARRAY_SIZE(rows));

    for (uint32_t i = 0; i < n; i++) {
        if (rows[i].kind == &router_sweep_kind)
            return false;
    }
    return true;
}

static inline void wait_sweep(struct world *w)
{
    while (!sweep_is_over(w))
        world_turn(w);
}

/* As if the process had died, and another one started. */
static inline void world_crash(struct world *w)
{
    char path[96];
    FILE *f;

    world_stop(w);
    snprintf(path, sizeof(path), "%s/running", w->dir);
    f = fopen(path, "w");
    assert_non_null(f);
    fclose(f);
}

static int world_setup(void **state)
{
    struct world *w = calloc(1, sizeof(*w));

    assert_non_null(w);
    w->seed = 1;
    w->kv_backend = "rocksdb";
    w->conf.region_bytes = REGION;
    scratch_new(w->dir);
    w->pool = cairn_pool_new(1, 256, NULL);
    assert_non_null(w->pool);
    w->targets[0] = (struct cairn_rpc_target){ .iface = &cairn_iface_router,
                                               .handlers = cairn_router_desc.handlers,
                                               .name = "router",
                                               .id = CAIRN_PROVIDER_ROUTER };
    w->targets[1] = (struct cairn_rpc_target){
        .iface = &cairn_iface_kv, .handlers = kv_service, .ctx = w, .name = "kv0", .id = CAIRN_PROVIDER_FIRST
    };
    w->targets[2] = (struct cairn_rpc_target){ .iface = &cairn_iface_extent,
                                               .handlers = extent_service,
                                               .ctx = w,
                                               .name = "extent0",
                                               .id = CAIRN_PROVIDER_FIRST + 1 };
    for (uint32_t i = 0; i < WORKERS; i++) {
        struct cairn_loop_conf loop_conf = { 0 };
        struct cairn_bulk_conf bulk = { 0 };
        struct cairn_rpc_conf conf = { .index = i, .targets = w->targets, .ntargets = ARRAY_SIZE(w->targets) };

        assert_int_equal(cairn_loop_init(&w->loops[i], &loop_conf, NULL), 0);
        w->loop_pointers[i] = &w->loops[i];
        w->rpcs[i] = cairn_rpc_new(&w->loops[i], &conf, NULL);
        assert_non_null(w->rpcs[i]);
        assert_int_equal(cairn_bulk_attach(w->rpcs[i], &bulk, NULL), 0);
    }
    world_start(w);
    *state = w;
    return 0;
}

static int world_teardown(void **state)
{
    struct world *w = *state;

    world_stop(w);
    for (uint32_t i = 0; i < WORKERS; i++) {
        assert_int_equal(w->loops[i].machines.nlive, 0);
        cairn_bulk_detach(w->rpcs[i]);
        cairn_rpc_free(w->rpcs[i]);
        cairn_loop_fini(&w->loops[i]);
    }
    cairn_pool_free(w->pool);
    while (w->nentries > 0)
        entry_del(w, w->nentries - 1);
    while (w->nregions > 0)
        free(w->regions[--w->nregions].bytes);
    scratch_remove(w->dir);
    free(w);
    return 0;
}

/* ---- a client ---- */

struct answer {
    struct cairn_rpc_call call;
    struct cairn_identity who;
    struct cairn_err err;
    bool done;
    int rc;
    ProtobufCMessage *reply; /* a copy */
    uint8_t *payload;
    uint32_t payload_len;
};

static const struct cairn_identity root = { .uid = 0, .gid = 0, .admin = true, .auth = "peer" };

static void on_answered(struct cairn_rpc_call *call)
{
    struct answer *a = call->arg;
    uint8_t *packed;
    size_t n;

    a->done = true;
    a->rc = call->rc;
    if (call->rc != 0)
        return;
    n = protobuf_c_message_get_packed_size(call->reply);
    packed = malloc(n + 1);
    assert_non_null(packed);
    protobuf_c_message_pack(call->reply, packed);
    a->reply = protobuf_c_message_unpack(call->reply->descriptor, NULL, n, packed);
    free(packed);
    a->payload = copy_of(call->reply_payload, call->reply_payload_len);
    a->payload_len = call->reply_payload_len;
}

static void ask_start(struct world *w, uint32_t worker, struct answer *a, const struct cairn_identity *who,
                      uint32_t method, const ProtobufCMessage *msg, const void *payload, size_t len)
{
    memset(a, 0, sizeof(*a));
    a->who = *who;
    a->call = (struct cairn_rpc_call){ .dest = { .rpc = w->rpcs[worker] },
                                       .iface = &cairn_iface_router,
                                       .provider = CAIRN_PROVIDER_ROUTER,
                                       .method = (uint16_t)method,
                                       .msg = msg,
                                       .who = &a->who,
                                       .done = on_answered,
                                       .arg = a,
                                       .err = &a->err };
    a->call.payload[0] = (struct iovec){ .iov_base = (void *)(uintptr_t)payload, .iov_len = len };
    a->call.payload_n = len > 0 ? 1 : 0;
    cairn_rpc_call_start(&a->call);
}

static int ask_wait(struct world *w, struct answer *a)
{
    while (!a->done)
        world_turn(w);
    return a->rc;
}

static void answer_free(struct answer *a)
{
    if (a->reply != NULL)
        protobuf_c_message_free_unpacked(a->reply, NULL);
    free(a->payload);
    a->reply = NULL;
    a->payload = NULL;
}

static int ask(struct world *w, struct answer *a, uint32_t method, const ProtobufCMessage *msg, const void *payload,
               size_t len)
{
    ask_start(w, (uint32_t)(world_random(w) % WORKERS), a, &root, method, msg, payload, len);
    return ask_wait(w, a);
}

static ProtobufCBinaryData key_of(const char *key)
{
    return (ProtobufCBinaryData){ .data = (uint8_t *)(uintptr_t)key, .len = strlen(key) };
}

static int ns_create_as(struct world *w, const struct cairn_identity *who, Cairn__Wire__Namespace *m,
                        struct cairn_err *err)
{
    struct answer a;
    int rc;

    ask_start(w, (uint32_t)(world_random(w) % WORKERS), &a, who, CAIRN__WIRE__ROUTER_METHOD__ROUTER_NS_CREATE, &m->base,
              NULL, 0);
    rc = ask_wait(w, &a);
    if (err != NULL)
        *err = a.err;
    answer_free(&a);
    return rc;
}

static void ns_create(struct world *w, const char *name)
{
    Cairn__Wire__Namespace m = CAIRN__WIRE__NAMESPACE__INIT;
    struct cairn_err err = { 0 };

    m.name = (char *)(uintptr_t)name;
    m.embed_threshold = 1000;
    m.mode = 0600;
    if (ns_create_as(w, &root, &m, &err) != 0)
        fail_msg("%s", err.text);
}

static inline int ns_remove_as(struct world *w, const struct cairn_identity *who, const char *name, bool force)
{
    Cairn__Wire__NsName m = CAIRN__WIRE__NS_NAME__INIT;
    struct answer a;
    int rc;

    m.name = (char *)(uintptr_t)name;
    m.force = force;
    ask_start(w, (uint32_t)(world_random(w) % WORKERS), &a, who, CAIRN__WIRE__ROUTER_METHOD__ROUTER_NS_REMOVE, &m.base,
              NULL, 0);
    rc = ask_wait(w, &a);
    answer_free(&a);
    return rc;
}

/* A put that may be under way while others are; a value above REGION goes by parts, one after the other. */
struct put {
    struct answer a; /* of the whole */
    struct world *w;
    uint32_t worker, part, parts;
    const char *ns, *key;
    const uint8_t *value;
    size_t len;
    uint64_t upload;
    int rc; /* of what failed before the abort */
    struct answer step;
    union {
        ProtobufCMessage base;
        Cairn__Wire__RouterPut put;
        Cairn__Wire__RouterPart part;
        Cairn__Wire__RouterCommit commit;
        Cairn__Wire__RouterAbort abort;
    } m;
    Cairn__Wire__BulkDesc bulk;
    uint32_t crcs[64];
};

static inline void put_expose(struct put *p, const uint8_t *value, size_t len)
{
    cairn__wire__bulk_desc__init(&p->bulk);
    p->bulk.key = 1;
    p->bulk.len = len;
    p->bulk.addr = (uintptr_t)value;
}

static void put_next_part(struct put *p);

static inline void put_on_step(struct cairn_rpc_call *call)
{
    struct answer *step = call->arg;
    struct put *p = CONTAINER_OF(step, struct put, step);

    if (p->parts == 0 || (p->part > p->parts && call->rc == 0)) { /* the abort's, or the commit's */
        p->a.done = true;
        p->a.rc = p->rc;
        return;
    }
    if (call->rc != 0)
        p->rc = call->rc;
    put_next_part(p);
}

static void put_next_part(struct put *p)
{
    uint64_t at = (uint64_t)p->part * REGION;
    uint32_t method;

    if (p->rc != 0) {
        cairn__wire__router_abort__init(&p->m.abort);
        p->m.abort.ns = (char *)(uintptr_t)p->ns;
        p->m.abort.upload = p->upload;
        method = CAIRN__WIRE__ROUTER_METHOD__ROUTER_ABORT;
        p->parts = 0;
    } else if (p->part == p->parts) {
        cairn__wire__router_commit__init(&p->m.commit);
        p->m.commit.ns = (char *)(uintptr_t)p->ns;
        p->m.commit.key = key_of(p->key);
        p->m.commit.upload = p->upload;
        p->m.commit.parts = p->parts;
        p->m.commit.length = p->len;
        method = CAIRN__WIRE__ROUTER_METHOD__ROUTER_COMMIT;
        p->part++;
    } else {
        cairn__wire__router_part__init(&p->m.part);
        p->m.part.ns = (char *)(uintptr_t)p->ns;
        p->m.part.upload = p->upload;
        p->m.part.number = p->part++;
        p->m.part.length = MIN(p->len - at, (size_t)REGION);
        put_expose(p, p->value + at, p->m.part.length);
        p->m.part.bulk = &p->bulk;
        p->m.part.crcs = p->crcs;
        p->m.part.n_crcs = crc_of_chunks(p->value + at, 0, p->m.part.length, p->crcs);
        method = CAIRN__WIRE__ROUTER_METHOD__ROUTER_PART;
    }
    ask_start(p->w, p->worker, &p->step, &root, method, &p->m.base, NULL, 0);
    p->step.call.done = put_on_step;
}

static void put_start(struct world *w, struct put *p, uint32_t worker, const char *ns, const char *key,
                      const uint8_t *value, size_t len, bool by_bulk)
{
    if (len > REGION) {
        *p = (struct put){ .w = w, .worker = worker, .ns = ns, .key = key, .value = value, .len = len };
        p->parts = (uint32_t)((len + REGION - 1) / REGION);
        p->upload = world_random(w);
        put_next_part(p);
        return;
    }
    cairn__wire__router_put__init(&p->m.put);
    p->m.put.ns = (char *)(uintptr_t)ns;
    p->m.put.key = key_of(key);
    p->m.put.length = len;
    if (by_bulk) {
        put_expose(p, value, len);
        p->m.put.bulk = &p->bulk;
        p->m.put.crcs = p->crcs;
        p->m.put.n_crcs = crc_of_chunks(value, 0, len, p->crcs);
    }
    p->parts = 0;
    p->len = len;
    p->ns = ns;
    ask_start(w, worker, &p->a, &root, CAIRN__WIRE__ROUTER_METHOD__ROUTER_PUT, &p->m.base, value, by_bulk ? 0 : len);
}

static inline void put_cancel(struct put *p)
{
    cairn_rpc_call_cancel(p->ns != NULL && p->len > REGION ? &p->step.call : &p->a.call);
}

static inline int put(struct world *w, const char *ns, const char *key, const uint8_t *value, size_t len)
{
    struct put p;
    int rc;

    put_start(w, &p, (uint32_t)(world_random(w) % WORKERS), ns, key, value, len, len > 32 * KIB);
    rc = ask_wait(w, &p.a);
    answer_free(&p.a);
    return rc;
}

static inline int delete (struct world *w, const char *ns, const char *key)
{
    Cairn__Wire__RouterKey m = CAIRN__WIRE__ROUTER_KEY__INIT;
    struct answer a;
    int rc;

    m.ns = (char *)(uintptr_t)ns;
    m.key = key_of(key);
    rc = ask(w, &a, CAIRN__WIRE__ROUTER_METHOD__ROUTER_DELETE, &m.base, NULL, 0);
    answer_free(&a);
    return rc;
}

/* A get that may be under way while others are. */
struct get {
    struct answer a;
    Cairn__Wire__RouterGet m;
    Cairn__Wire__BulkDesc bulk;
};

static void get_start(struct world *w, struct get *g, uint32_t worker, const char *ns, const char *key, uint64_t off,
                      uint64_t len, uint8_t *to, size_t room)
{
    cairn__wire__router_get__init(&g->m);
    g->m.ns = (char *)(uintptr_t)ns;
    g->m.key = key_of(key);
    g->m.off = off;
    g->m.length = len;
    if (to != NULL) {
        cairn__wire__bulk_desc__init(&g->bulk);
        g->bulk.key = 1;
        g->bulk.len = room;
        g->bulk.addr = (uintptr_t)to;
        g->m.bulk = &g->bulk;
    }
    ask_start(w, worker, &g->a, &root, CAIRN__WIRE__ROUTER_METHOD__ROUTER_GET, &g->m.base, NULL, 0);
}

/* What came of it: length, or an error. Checks the checksums; the bytes are in @to. */
static int64_t get_result(struct get *g, uint8_t *to, uint64_t off, uint64_t *total)
{
    const Cairn__Wire__RouterGetReply *r = (const Cairn__Wire__RouterGetReply *)g->a.reply;
    uint32_t crcs[64];
    int64_t n;

    if (g->a.rc != 0)
        return g->a.rc;
    n = (int64_t)r->length;
    if (total != NULL)
        *total = r->total;
    if (r->by_bulk) {
        assert_int_equal(r->n_crcs, crc_of_chunks(to, off, r->length, crcs));
        assert_memory_equal(crcs, r->crcs, r->n_crcs * sizeof(crcs[0]));
        assert_int_equal(g->a.payload_len, 0);
    } else {
        assert_int_equal(g->a.payload_len, r->length);
        if (to != NULL && n > 0)
            memcpy(to, g->a.payload, (size_t)n);
    }
    answer_free(&g->a);
    return n;
}

static inline int64_t get(struct world *w, const char *ns, const char *key, uint64_t off, uint64_t len, uint8_t *to,
                          size_t room, uint64_t *total)
{
    struct get g;

    get_start(w, &g, (uint32_t)(world_random(w) % WORKERS), ns, key, off, len, to, room);
    ask_wait(w, &g.a);
    return get_result(&g, to, off, total);
}

/* Every region is named by one record and every named region is there. */
static inline void expect_no_orphans(struct world *w)
{
    uint32_t named = 0;

    for (uint32_t i = 0; i < w->nentries; i++) {
        struct cairn_record r;

        assert_int_equal(cairn_record_parse(w->entries[i].value, w->entries[i].value_len, &r), 0);
        for (uint32_t j = 0; j < r.nregions; j++) {
            const struct region *region = region_find(w, cairn_record_region(&r, j).id);

            assert_non_null(region);
            assert_int_equal(region->len, cairn_record_region(&r, j).len);
            assert_int_equal(region->owner >> 32, ROUTER_OWNER_TAG >> 32);
        }
        named += r.nregions;
    }
    assert_int_equal(named, w->nregions);
}

static inline void fill(uint8_t *p, size_t n, uint64_t seed)
{
    for (size_t i = 0; i < n; i++)
        p[i] = (uint8_t)((seed * 131 + i * 7 + (i >> 8) * 13 + (i >> 16)) & 0xff);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)

#endif
