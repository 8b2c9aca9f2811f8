/* Replicas that are compared: records are written by way of the replicas, damaged below them, at the KV provider, and
 * what a round found of them is looked up. */
#ifndef CAIRN_TESTS_UNIT_SCRUB_WORLD_H
#define CAIRN_TESTS_UNIT_SCRUB_WORLD_H

#include "server/cluster/service/scrub_internal.h"
#include "tests/unit/cluster/nodes_world.h"

enum { RECORD_ROOM = 256 };

/* The pair that a story is of: replicas of a slot, the first of which leads it. */
static uint32_t slot, nodes[2];

struct record {
    uint8_t bytes[RECORD_ROOM];
    uint32_t len;
};

static inline struct record embedded(const char *value)
{
    struct record r = { .len = (uint32_t)cairn_record_embedded_bytes(strlen(value)) };

    assert_true(r.len <= RECORD_ROOM);
    memcpy(r.bytes + CAIRN_RECORD_HEAD_BYTES, value, strlen(value));
    cairn_record_put_embedded(r.bytes, 0, strlen(value), NULL);
    return r;
}

static inline struct record large(uint64_t id)
{
    struct cairn_record_region region = { .id = id, .len = LEN };
    struct record r = { .len = (uint32_t)cairn_record_extents_bytes(1) };

    cairn_record_put_extents(r.bytes, 0, &region, 1);
    return r;
}

/* ---- writes, by way of the replicas ---- */

struct change {
    struct asked a;
    struct cairn_cluster_write cw;
    char key[32];
    struct record record;
};

static inline void change_start(struct world *w, struct change *x, const char *key, struct record record)
{
    char copy[32];

    snprintf(copy, sizeof(copy), "%s", key); /* which may be that of @x */
    *x = (struct change){ .record = record };
    memcpy(x->key, copy, sizeof(copy));
    x->cw = (struct cairn_cluster_write){ .cluster = w->nodes[leader_of(w, slot)].c,
                                          .slot = slot,
                                          .op = CAIRN_CLUSTER_PUT,
                                          .ns = NS,
                                          .number = 7,
                                          .key = (const uint8_t *)x->key,
                                          .key_len = (uint32_t)strlen(x->key),
                                          .record = x->record.bytes,
                                          .record_len = record.len,
                                          .timeout_ns = 10 * CAIRN_NS_PER_S,
                                          .done = on_written,
                                          .arg = &x->a };
    cairn_cluster_write(&x->cw);
}

static inline void store(struct world *w, const char *key, struct record record)
{
    struct change x;

    do {
        change_start(w, &x, key, record);
        turns(w, &x.a.done);
    } while (x.a.rc == CAIRN_E_MOVED || x.a.rc == CAIRN_E_BUSY || x.a.rc == CAIRN_E_TIMEOUT);
    assert_int_equal(x.a.rc, 0);
}

/* ---- what a node's provider has, below ---- */

struct below {
    bool done;
    int rc;
    uint32_t db;
    struct record found;
};

static inline void on_below(struct cairn_rpc_call *call)
{
    struct below *b = call->arg;

    b->done = true;
    b->rc = call->rc;
    if (call->rc == 0 && call->method == CAIRN__WIRE__KV_METHOD__KV_OPEN)
        b->db = ((const Cairn__Wire__KvOpened *)call->reply)->db;
    b->found.len = MIN(call->reply_payload_len, (uint32_t)RECORD_ROOM);
    if (b->found.len > 0)
        memcpy(b->found.bytes, call->reply_payload, b->found.len);
}

static inline const struct cairn_replica *replica(struct world *w, uint32_t i)
{
    return cluster_slots_replica(w->nodes[nodes[i]].c->side->workers[0].slots, slot);
}

/* What was answered may not be applied yet by whoever follows. */
static inline void settle(struct world *w)
{
    WHILE_PATIENT (replica(w, 0)->applied < replica(w, 0)->log.end.pos ||
                   replica(w, 1)->applied < replica(w, 0)->log.end.pos)
        turn(w);
}

static inline struct below below(struct world *w, uint32_t i, uint32_t method, const ProtobufCMessage *msg,
                                 const struct record *payload)
{
    struct below b = { 0 };
    struct cairn_rpc_call call = { .dest.rpc = w->nodes[i].kv.rpc,
                                   .iface = &cairn_iface_kv,
                                   .provider = w->nodes[i].kv.targets[0].id,
                                   .method = (uint16_t)method,
                                   .msg = msg,
                                   .done = on_below,
                                   .arg = &b };

    if (payload != NULL) {
        call.payload[0] = (struct iovec){ (void *)(uintptr_t)payload->bytes, payload->len };
        call.payload_n = 1;
    }
    settle(w);
    cairn_rpc_call_start(&call);
    turns(w, &b.done);
    return b;
}

static inline uint32_t database(struct world *w, uint32_t i, const char *name)
{
    Cairn__Wire__KvOpen open = CAIRN__WIRE__KV_OPEN__INIT;
    struct below b;

    open.name = (char *)(uintptr_t)name;
    b = below(w, i, CAIRN__WIRE__KV_METHOD__KV_OPEN, &open.base, NULL);
    assert_int_equal(b.rc, 0);
    return b.db;
}

static inline uint32_t records(struct world *w, uint32_t i)
{
    char name[32];

    snprintf(name, sizeof(name), "ns/%u", (unsigned)NS);
    return database(w, i, name);
}

static inline struct record at(struct world *w, uint32_t i, const char *key)
{
    Cairn__Wire__KvGet get = CAIRN__WIRE__KV_GET__INIT;

    get.db = records(w, i);
    get.key = (ProtobufCBinaryData){ .len = strlen(key), .data = (uint8_t *)(uintptr_t)key };
    return below(w, i, CAIRN__WIRE__KV_METHOD__KV_GET, &get.base, NULL).found;
}

static inline void erase_below(struct world *w, uint32_t i, uint32_t db, const void *key, size_t len)
{
    Cairn__Wire__KvErase erase = CAIRN__WIRE__KV_ERASE__INIT;

    erase.db = db;
    erase.key = (ProtobufCBinaryData){ .len = len, .data = (uint8_t *)(uintptr_t)key };
    assert_int_equal(below(w, i, CAIRN__WIRE__KV_METHOD__KV_ERASE, &erase.base, NULL).rc, 0);
}

static inline void put_below(struct world *w, uint32_t i, uint32_t db, const void *key, size_t len,
                             struct record record)
{
    Cairn__Wire__KvPut put = CAIRN__WIRE__KV_PUT__INIT;

    put.db = db;
    put.key = (ProtobufCBinaryData){ .len = len, .data = (uint8_t *)(uintptr_t)key };
    assert_int_equal(below(w, i, CAIRN__WIRE__KV_METHOD__KV_PUT, &put.base, &record).rc, 0);
}

static inline void lose(struct world *w, uint32_t i, const char *key)
{
    erase_below(w, i, records(w, i), key, strlen(key));
}

static inline void replace(struct world *w, uint32_t i, const char *key, struct record record)
{
    put_below(w, i, records(w, i), key, strlen(key), record);
}

static inline void damage(struct world *w, uint32_t i, const char *key)
{
    struct record r = at(w, i, key);

    r.bytes[CAIRN_RECORD_HEAD_BYTES] ^= 1;
    replace(w, i, key, r);
}

/* The index's key of @key. */
static inline size_t index_key(const char *key, uint8_t *to)
{
    store_be32(to, slot);
    store_be32(to + 4, NS);
    memcpy(to + STORE_INDEX_HEAD_BYTES, key, strlen(key));
    return STORE_INDEX_HEAD_BYTES + strlen(key);
}

/* ---- rounds ---- */

static inline struct scrub_report *report(struct world *w, uint32_t i)
{
    return w->nodes[i].c->side->scrub_report;
}

static inline void scrubs_start(struct world *w)
{
    for (uint32_t i = 0; i < NODES; i++)
        side_scrub_begin(&w->nodes[i].c->side->workers[0], NULL);
}

static inline bool scrubs_run(struct world *w)
{
    bool run = false;

    for (uint32_t i = 0; i < NODES; i++)
        run |= atomic_load(&report(w, i)->running) > 0;
    return run;
}

static inline void scrub(struct world *w)
{
    scrubs_start(w);
    WHILE_PATIENT (scrubs_run(w))
        turn(w);
}

static inline const struct scrub_finding *finding(struct world *w, uint32_t i, const char *key)
{
    struct scrub_report *r = report(w, i);

    for (uint32_t k = 0; k < r->n; k++) {
        if (r->findings[k].key_len == strlen(key) && memcmp(r->findings[k].key, key, strlen(key)) == 0)
            return &r->findings[k];
    }
    fail_msg("nothing was found of key %s", key);
    return NULL;
}

static inline void expect_finding(struct world *w, uint32_t i, const char *key, enum scrub_outcome outcome,
                                  enum scan_state here, enum scan_state there)
{
    const struct scrub_finding *f = finding(w, i, key);

    assert_int_equal(f->outcome, outcome);
    assert_int_equal(f->state_here, here);
    assert_int_equal(f->state_there, there);
    assert_int_equal(f->here, i + 1);
    assert_int_not_equal(f->there, i + 1);
}

static inline void expect_record(struct world *w, const char *key, const uint32_t *of, uint32_t n, struct record record)
{
    for (uint32_t k = 0; k < n; k++) {
        struct record r = at(w, of[k], key);

        assert_int_equal(r.len, record.len);
        assert_memory_equal(r.bytes, record.bytes, r.len);
    }
}

static inline void pair(struct world *w)
{
    struct cairn_slot_record rec;

    expect_leases(w);
    create_class(w, 2);
    expect_all_active(w, 2);
    assert_true(cairn_cluster_slot(w->nodes[0].c, 2, "k", 1, &slot));
    WHILE_PATIENT (true) { /* where the disk is slow a member may be away for a while */
        nodes[0] = leader_of(w, slot);
        if (cairn_cluster_records_slot(w->nodes[nodes[0]].c->records, slot, &rec) && rec.ninsync == 2)
            break;
        turn(w);
    }
    nodes[1] = (uint32_t)rec.insync[rec.insync[0].node == nodes[0] + 1 ? 1 : 0].node - 1;
}

static inline void expect_nothing_found(struct world *w)
{
    for (uint32_t i = 0; i < NODES; i++) {
        assert_int_equal(report(w, i)->n, 0);
        assert_int_equal(atomic_load(&report(w, i)->slots_skipped), 0);
    }
}

static inline bool key_is_in(struct world *w, const char *state)
{
    const struct scrub_key *k = &w->nodes[nodes[0]].c->side->workers[0].scrub->key;

    return k->sm.kind != NULL && strcmp(cairn_sm_state_name(&k->sm), state) == 0;
}

#endif
