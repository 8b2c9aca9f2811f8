/** Who asks the router of a world: values of any size, in parts where they are large, and what must hold of what is
 * stored. */
#ifndef CAIRN_TEST_ROUTER_WORLD_CLIENT_H
#define CAIRN_TEST_ROUTER_WORLD_CLIENT_H

#include "world_node.h"

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

static inline void ns_create(struct world *w, const char *name)
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

static inline int raw_put(struct world *w, const uint8_t *value, const char *ns, size_t key_len, uint64_t length,
                          size_t payload, size_t ncrcs, const Cairn__Wire__BulkDesc *bulk)
{
    static uint8_t key[CAIRN_KEY_BYTES_MAX + 1];
    static uint32_t crcs[8];
    Cairn__Wire__RouterPut m = CAIRN__WIRE__ROUTER_PUT__INIT;
    struct answer a;
    int rc;

    m.ns = (char *)(uintptr_t)ns;
    m.key = (ProtobufCBinaryData){ .data = key, .len = key_len };
    m.length = length;
    m.crcs = crcs;
    m.n_crcs = ncrcs;
    m.bulk = (Cairn__Wire__BulkDesc *)(uintptr_t)bulk;
    rc = ask(w, &a, CAIRN__WIRE__ROUTER_METHOD__ROUTER_PUT, &m.base, value, payload);
    answer_free(&a);
    return rc;
}

/* Of @key in namespace "n". */
static inline uint64_t length_of(struct world *w, const char *key)
{
    Cairn__Wire__RouterKey m = CAIRN__WIRE__ROUTER_KEY__INIT;
    struct answer a;
    uint64_t n;

    m.ns = (char *)(uintptr_t) "n";
    m.key = key_of(key);
    if (ask(w, &a, CAIRN__WIRE__ROUTER_METHOD__ROUTER_LENGTH, &m.base, NULL, 0) != 0)
        return UINT64_MAX;
    n = ((Cairn__Wire__RouterLength *)a.reply)->length;
    answer_free(&a);
    return n;
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
            assert_int_equal(region->owner >> 32, CAIRN_REGION_OWNER_TAG >> 32);
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

#endif
