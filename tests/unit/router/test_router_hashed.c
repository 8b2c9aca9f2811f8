/* The hashed frontend: every operation, sizes around every boundary, failures at every call, and random walks. */
#include "world.h"

static uint8_t value[1024 * KIB], got[1024 * KIB];

static void machines_are_sound(void **state)
{
    (void)state;
    for (const struct cairn_sm_kind *const *k = cairn_router_desc.machines; *k != NULL; k++) {
        struct cairn_err err = { 0 };

        if (cairn_sm_kind_check(*k, &err) != 0)
            fail_msg("%s", err.text);
    }
}

static void sizes_around_every_boundary(void **state)
{
    static const size_t sizes[] = { 0,
                                    1,
                                    999,
                                    1000,
                                    1001,
                                    1056,
                                    32 * KIB,
                                    32 * KIB + 1,
                                    64 * KIB - 1,
                                    64 * KIB,
                                    REGION - 1,
                                    REGION,
                                    REGION + 1,
                                    2 * REGION - 1,
                                    2 * REGION,
                                    2 * REGION + 1,
                                    5 * REGION + 77 };
    struct world *w = *state;

    ns_create(w, "n");
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        size_t n = sizes[i];
        uint64_t total = 0;

        fill(value, n, i);
        assert_int_equal(put(w, "n", "k", value, n), 0);
        memset(got, 0xee, sizeof(got));
        assert_int_equal(get(w, "n", "k", 0, 0, got, sizeof(got), &total), n);
        assert_int_equal(total, n);
        assert_memory_equal(got, value, n);
        assert_int_equal(got[n], 0xee);
        expect_no_orphans(w);
        assert_int_equal(w->nregions, n <= 1000 ? 0 : (n + REGION - 1) / REGION);
    }
    assert_int_equal(delete (w, "n", "k"), 0);
    assert_int_equal(w->nregions, 0);
    assert_int_equal(delete (w, "n", "k"), CAIRN_E_NOTFOUND);
    assert_int_equal(get(w, "n", "k", 0, 0, got, sizeof(got), NULL), CAIRN_E_NOTFOUND);
}

static void ranges(void **state)
{
    static const struct {
        uint64_t off, len;
    } cases[] = {
        { 0, 1 },           { 1, 5 },          { 65535, 2 },         { 65536, 65536 },       { REGION - 1, 2 },
        { REGION, REGION }, { 7, 3 * REGION }, { 3 * REGION, 1000 }, { 3 * REGION + 99, 5 }, { 2 * REGION + 5, 0 }
    };
    struct world *w = *state;
    size_t n = 3 * REGION + 100;

    ns_create(w, "n");
    fill(value, n, 3);
    assert_int_equal(put(w, "n", "k", value, n), 0);
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        uint64_t len = MIN(n - cases[i].off, cases[i].len != 0 ? cases[i].len : UINT64_MAX);

        for (int by_bulk = 0; by_bulk < 2; by_bulk++) {
            struct get g;

            memset(got, 0xee, sizeof(got));
            get_start(w, &g, 0, "n", "k", cases[i].off, cases[i].len, by_bulk ? got : NULL, sizeof(got));
            ask_wait(w, &g.a);
            assert_int_equal(get_result(&g, got, cases[i].off, NULL), len);
            assert_memory_equal(got, value + cases[i].off, len);
            assert_int_equal(got[len], 0xee);
        }
    }
    assert_int_equal(get(w, "n", "k", n, 5, got, sizeof(got), NULL), 0);
    assert_int_equal(get(w, "n", "k", UINT64_MAX, UINT64_MAX, got, sizeof(got), NULL), 0);
    assert_int_equal(get(w, "n", "k", 10, 0, got, 50, NULL), 50); /* as much as there is room for */
    assert_int_equal(put(w, "n", "small", value, 100), 0);
    assert_int_equal(get(w, "n", "small", 10, 20, got, sizeof(got), NULL), 20);
    assert_memory_equal(got, value + 10, 20);
    assert_int_equal(get(w, "n", "small", 90, 20, got, sizeof(got), NULL), 10);
    assert_int_equal(get(w, "n", "small", 200, 20, got, sizeof(got), NULL), 0);
}

static void too_large_for_a_payload(void **state)
{
    struct world *w = *state;
    uint64_t total = 0;
    size_t n = sizeof(value);
    struct get g;

    ns_create(w, "n");
    fill(value, n, 9);
    assert_int_equal(put(w, "n", "k", value, n), 0);
    get_start(w, &g, 0, "n", "k", 0, 0, NULL, 0); /* exactly CAIRN_ROUTER_INLINE_BYTES_MAX */
    ask_wait(w, &g.a);
    assert_int_equal(get_result(&g, got, 0, &total), n);
    assert_memory_equal(got, value, n);
    /* One byte more: only the length comes, and the caller asks again with memory. */
    {
        uint8_t *big = malloc(n + 1), *back = malloc(n + 1);

        assert_true(big != NULL && back != NULL);
        fill(big, n + 1, 10);
        assert_int_equal(put(w, "n", "k", big, n + 1), 0);
        get_start(w, &g, 0, "n", "k", 0, 0, NULL, 0);
        ask_wait(w, &g.a);
        assert_int_equal(get_result(&g, got, 0, &total), 0);
        assert_int_equal(total, n + 1);
        assert_int_equal(get(w, "n", "k", 0, 0, back, n + 1, NULL), n + 1);
        assert_memory_equal(big, back, n + 1);
        free(big);
        free(back);
    }
}

static uint64_t length_of(struct world *w, const char *key)
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

static bool exists(struct world *w, const char *key)
{
    Cairn__Wire__RouterKey m = CAIRN__WIRE__ROUTER_KEY__INIT;
    struct answer a;
    bool b;

    m.ns = (char *)(uintptr_t) "n";
    m.key = key_of(key);
    assert_int_equal(ask(w, &a, CAIRN__WIRE__ROUTER_METHOD__ROUTER_EXISTS, &m.base, NULL, 0), 0);
    b = ((Cairn__Wire__RouterExists *)a.reply)->exists;
    answer_free(&a);
    return b;
}

static void length_and_exists(void **state)
{
    struct world *w = *state;

    ns_create(w, "n");
    assert_int_equal(put(w, "n", "a", value, 500), 0);
    assert_int_equal(put(w, "n", "empty", value, 0), 0);
    assert_int_equal(length_of(w, "a"), 500);
    assert_int_equal(length_of(w, "empty"), 0);
    assert_int_equal(length_of(w, "none"), UINT64_MAX);
    assert_int_equal(put(w, "n", "b", value, 300 * KIB), 0);
    assert_int_equal(length_of(w, "a"), 500);
    assert_int_equal(length_of(w, "b"), 300 * KIB);
    assert_true(exists(w, "a") && exists(w, "b") && exists(w, "empty") && !exists(w, "none"));
}

/* A namespace that never held a large value pays nothing for those that could be there. */
static void small_values_do_not_look(void **state)
{
    struct world *w = *state;
    const struct router_ns *ns;

    ns_create(w, "n");
    w->calls = 0;
    for (int i = 0; i < 10; i++)
        assert_int_equal(put(w, "n", "k", value, 100), 0);
    assert_int_equal(w->calls, 10); /* one call for each */
    ns = router_ns_find(&((struct cairn_router *)w->router)->workers[0], "n");
    assert_false(ns->has_large);
    assert_int_equal(put(w, "n", "k", value, 2000), 0);
    assert_true(ns->has_large);
    for (uint32_t i = 0; i < WORKERS; i++)
        assert_true(router_ns_find(&((struct cairn_router *)w->router)->workers[i], "n")->has_large);
    world_stop(w);
    world_start(w);
    assert_true(router_ns_find(&((struct cairn_router *)w->router)->workers[1], "n")->has_large); /* remembered */
    assert_int_equal(put(w, "n", "k", value, 100), 0);
    expect_no_orphans(w);
}

static void write_once(void **state)
{
    struct world *w = *state;
    Cairn__Wire__Namespace m = CAIRN__WIRE__NAMESPACE__INIT;
    Cairn__Wire__RouterPut p = CAIRN__WIRE__ROUTER_PUT__INIT;
    struct answer a;

    m.name = (char *)(uintptr_t) "once";
    m.write_once = true;
    m.embed_threshold = 1000;
    assert_int_equal(ns_create_as(w, &root, &m, NULL), 0);
    fill(value, 300 * KIB, 1);
    assert_int_equal(put(w, "once", "k", value, 100), 0);
    assert_int_equal(put(w, "once", "k", value + 1, 100), CAIRN_E_EXISTS);
    assert_int_equal(put(w, "once", "k", value, 300 * KIB), CAIRN_E_EXISTS);
    expect_no_orphans(w);
    assert_int_equal(put(w, "once", "l", value, 300 * KIB), 0);
    assert_int_equal(put(w, "once", "l", value, 300 * KIB), CAIRN_E_EXISTS);
    expect_no_orphans(w);
    assert_int_equal(get(w, "once", "k", 0, 0, got, sizeof(got), NULL), 100);
    assert_memory_equal(got, value, 100);
    ns_create(w, "n");
    p.ns = (char *)(uintptr_t) "n";
    p.key = key_of("k");
    p.length = 10;
    p.if_absent = true;
    assert_int_equal(ask(w, &a, CAIRN__WIRE__ROUTER_METHOD__ROUTER_PUT, &p.base, value, 10), 0);
    answer_free(&a);
    assert_int_equal(ask(w, &a, CAIRN__WIRE__ROUTER_METHOD__ROUTER_PUT, &p.base, value, 10), CAIRN_E_EXISTS);
}

/* Up to the threshold a value stands in its record, however it came. */
static int put_exposed(struct world *w, uint32_t worker, size_t n, uint32_t flip, bool cancel)
{
    Cairn__Wire__RouterPut m = CAIRN__WIRE__ROUTER_PUT__INIT;
    struct cairn_bulk_region region;
    uint32_t crcs[64];
    struct answer a;

    assert_int_equal(cairn_bulk_expose(w->rpcs[worker], value, sizeof(value), CAIRN_BULK_CAN_READ, &region), 0);
    m.ns = (char *)(uintptr_t) "n";
    m.key = key_of("k");
    m.length = n;
    m.bulk = &region.desc;
    region.desc.off = 3; /* it begins somewhere inside */
    m.crcs = crcs;
    m.n_crcs = crc_of_chunks(value + 3, 0, n, crcs);
    crcs[m.n_crcs - 1] ^= flip;
    ask_start(w, worker, &a, &root, CAIRN__WIRE__ROUTER_METHOD__ROUTER_PUT, &m.base, NULL, 0);
    if (cancel)
        cairn_rpc_call_cancel(&a.call);
    ask_wait(w, &a);
    answer_free(&a);
    cairn_bulk_conceal(&region);
    return a.rc;
}

static void exposed_values_are_embedded_too(void **state)
{
    struct world *w = *state;
    Cairn__Wire__Namespace m = CAIRN__WIRE__NAMESPACE__INIT;

    m.name = (char *)(uintptr_t) "n";
    m.embed_threshold = 200 * KIB;
    assert_int_equal(ns_create_as(w, &root, &m, NULL), 0);
    fill(value, sizeof(value), 5);
    assert_int_equal(put_exposed(w, 0, 200 * KIB, 0, false), 0);
    assert_int_equal(w->nregions, 0);
    assert_int_equal(get(w, "n", "k", 0, 0, got, sizeof(got), NULL), 200 * KIB);
    assert_memory_equal(got, value + 3, 200 * KIB);
    assert_int_equal(put_exposed(w, 1, 100 * KIB, 1, false), CAIRN_E_CORRUPT);
    assert_int_equal(put_exposed(w, 1, 100 * KIB, 0, true), CAIRN_E_CANCELED);
    assert_int_equal(length_of(w, "k"), 200 * KIB);
}

/* ---- batches ---- */

enum { BATCH = 200 };

struct batch {
    char names[BATCH][16];
    ProtobufCBinaryData keys[BATCH];
    uint32_t lengths[BATCH];
    uint8_t bytes[BATCH * 600];
    size_t len;
};

static void batch_fill(struct batch *b, uint32_t n, uint64_t seed)
{
    b->len = 0;
    for (uint32_t i = 0; i < n; i++) {
        snprintf(b->names[i], sizeof(b->names[i]), "key%04u", i);
        b->keys[i] = key_of(b->names[i]);
        b->lengths[i] = (uint32_t)((i * 37 + seed * 11) % 600);
        fill(b->bytes + b->len, b->lengths[i], seed + i);
        b->len += b->lengths[i];
    }
}

static int mput(struct world *w, struct batch *b, uint32_t n, bool if_absent, struct answer *a)
{
    Cairn__Wire__RouterMput m = CAIRN__WIRE__ROUTER_MPUT__INIT;

    m.ns = (char *)(uintptr_t) "n";
    m.keys = b->keys;
    m.n_keys = n;
    m.lengths = b->lengths;
    m.n_lengths = n;
    m.if_absent = if_absent;
    return ask(w, a, CAIRN__WIRE__ROUTER_METHOD__ROUTER_MPUT, &m.base, b->bytes, b->len);
}

static void expect_batch(struct world *w, struct batch *b, uint32_t n)
{
    Cairn__Wire__RouterMget m = CAIRN__WIRE__ROUTER_MGET__INIT;
    const Cairn__Wire__RouterMgetReply *r;
    struct answer a;
    size_t at = 0;

    m.ns = (char *)(uintptr_t) "n";
    m.keys = b->keys;
    m.n_keys = n;
    assert_int_equal(ask(w, &a, CAIRN__WIRE__ROUTER_METHOD__ROUTER_MGET, &m.base, NULL, 0), 0);
    r = (const Cairn__Wire__RouterMgetReply *)a.reply;
    assert_int_equal(r->n_lengths, n);
    assert_int_equal(r->n_large, 0);
    for (uint32_t i = 0; i < n; i++) {
        assert_int_equal(r->lengths[i], b->lengths[i]);
        at += b->lengths[i];
    }
    assert_int_equal(a.payload_len, at);
    assert_memory_equal(a.payload, b->bytes, at);
    answer_free(&a);
}

static void batches(void **state)
{
    static struct batch b;
    struct world *w = *state;
    struct answer a;

    ns_create(w, "n");
    for (uint32_t n = 0; n <= BATCH; n += n < 60 ? 20 : 70) {
        batch_fill(&b, n, n);
        assert_int_equal(mput(w, &b, n, false, &a), 0);
        assert_int_equal(((Cairn__Wire__KvStatuses *)a.reply)->n_status, 0);
        answer_free(&a);
        expect_batch(w, &b, n);
    }
}

static void a_batch_over_large_values_leaves_no_orphans(void **state)
{
    static struct batch b;
    struct world *w = *state;
    struct answer a;

    ns_create(w, "n");
    assert_int_equal(put(w, "n", "key0003", value, 300 * KIB), 0);
    assert_int_equal(put(w, "n", "key0007", value, 100), 0);
    assert_int_equal(put(w, "n", "key0009", value, 2000), 0);
    batch_fill(&b, 12, 1);
    memset(w->served, 0, sizeof(w->served));
    assert_int_equal(mput(w, &b, 12, false, &a), 0);
    assert_int_equal(((Cairn__Wire__KvStatuses *)a.reply)->n_status, 0);
    answer_free(&a);
    /* The batch, and a barrier before the regions of each of two large values are removed. */
    assert_int_equal(w->served[CAIRN__WIRE__KV_METHOD__KV_MPUT], 1 + 2);
    assert_int_equal(w->served[CAIRN__WIRE__KV_METHOD__KV_PUT], 3); /* only what was there goes one by one */
    expect_batch(w, &b, 12);
    expect_no_orphans(w);
    assert_int_equal(w->nregions, 0);
}

static void a_batch_that_must_not_replace(void **state)
{
    static struct batch b;
    struct world *w = *state;
    const Cairn__Wire__KvStatuses *r;
    struct answer a;

    ns_create(w, "n");
    assert_int_equal(put(w, "n", "key0003", value, 2000), 0);
    batch_fill(&b, 5, 1);
    assert_int_equal(mput(w, &b, 5, true, &a), 0);
    r = (const Cairn__Wire__KvStatuses *)a.reply;
    assert_int_equal(r->n_status, 5);
    for (uint32_t i = 0; i < 5; i++)
        assert_int_equal(r->status[i], i == 3 ? CAIRN_E_EXISTS : 0);
    answer_free(&a);
    assert_int_equal(length_of(w, "key0003"), 2000);
    expect_no_orphans(w);
}

static void mget_tells_of_large_values(void **state)
{
    struct world *w = *state;
    Cairn__Wire__RouterMget m = CAIRN__WIRE__ROUTER_MGET__INIT;
    ProtobufCBinaryData keys[] = { key_of("a"), key_of("none"), key_of("large"), key_of("b") };
    const Cairn__Wire__RouterMgetReply *r;
    struct answer a;

    ns_create(w, "n");
    fill(value, 300 * KIB, 2);
    assert_int_equal(put(w, "n", "a", value, 10), 0);
    assert_int_equal(put(w, "n", "b", value + 10, 20), 0);
    assert_int_equal(put(w, "n", "large", value, 300 * KIB), 0);
    m.ns = (char *)(uintptr_t) "n";
    m.keys = keys;
    m.n_keys = ARRAY_SIZE(keys);
    assert_int_equal(ask(w, &a, CAIRN__WIRE__ROUTER_METHOD__ROUTER_MGET, &m.base, NULL, 0), 0);
    r = (const Cairn__Wire__RouterMgetReply *)a.reply;
    assert_int_equal(r->n_lengths, 4);
    assert_int_equal(r->lengths[0], 10);
    assert_int_equal(r->lengths[1], -1);
    assert_int_equal(r->lengths[2], -2);
    assert_int_equal(r->lengths[3], 20);
    assert_int_equal(r->n_large, 4);
    assert_int_equal(r->large[2], 300 * KIB);
    assert_int_equal(a.payload_len, 30);
    assert_memory_equal(a.payload, value, 30);
    answer_free(&a);
}

static void list_by_prefix_and_page(void **state)
{
    static struct batch b;
    struct world *w = *state;
    Cairn__Wire__RouterList m = CAIRN__WIRE__ROUTER_LIST__INIT;
    char after[16] = "";
    uint32_t seen = 0;
    struct answer a;
    bool more = true;

    ns_create(w, "n");
    batch_fill(&b, BATCH, 1);
    assert_int_equal(mput(w, &b, BATCH, false, &a), 0);
    answer_free(&a);
    assert_int_equal(put(w, "n", "key0100", value, 300 * KIB), 0);
    assert_int_equal(put(w, "n", "other", value, 10), 0);
    m.ns = (char *)(uintptr_t) "n";
    m.prefix = key_of("key");
    m.lengths = true;
    while (more) {
        const Cairn__Wire__RouterListReply *r;

        m.after = key_of(after);
        m.max = 30;
        assert_int_equal(ask(w, &a, CAIRN__WIRE__ROUTER_METHOD__ROUTER_LIST, &m.base, NULL, 0), 0);
        r = (const Cairn__Wire__RouterListReply *)a.reply;
        assert_true(r->n_keys > 0 && r->n_keys <= 30 && r->n_lengths == r->n_keys);
        for (size_t i = 0; i < r->n_keys; i++, seen++) {
            assert_memory_equal(r->keys[i].data, b.names[seen], 7);
            assert_int_equal(r->lengths[i], seen == 100 ? 300 * KIB : b.lengths[seen]);
        }
        memcpy(after, r->keys[r->n_keys - 1].data, 7);
        more = r->more;
        answer_free(&a);
    }
    assert_int_equal(seen, BATCH);
}

/* ---- bad input ---- */

static int raw_put(struct world *w, const char *ns, size_t key_len, uint64_t length, size_t payload, size_t ncrcs,
                   const Cairn__Wire__BulkDesc *bulk)
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

static void bad_requests_are_refused(void **state)
{
    struct world *w = *state;
    Cairn__Wire__BulkDesc bulk = CAIRN__WIRE__BULK_DESC__INIT;

    bulk.len = 2000;
    bulk.off = 10;
    bulk.addr = (uintptr_t)value;
    ns_create(w, "n");
    assert_int_equal(raw_put(w, "none", 1, 1, 1, 0, NULL), CAIRN_E_NOTFOUND);
    assert_int_equal(raw_put(w, "n", 0, 1, 1, 0, NULL), CAIRN_E_INVAL);
    assert_int_equal(raw_put(w, "n", CAIRN_KEY_BYTES_MAX + 1, 1, 1, 0, NULL), CAIRN_E_INVAL);
    assert_int_equal(raw_put(w, "n", CAIRN_KEY_BYTES_MAX, 1, 1, 0, NULL), 0);
    assert_int_equal(raw_put(w, "n", 1, 2, 1, 0, NULL), CAIRN_E_INVAL);
    assert_int_equal(raw_put(w, "n", 1, 1, 2, 0, NULL), CAIRN_E_INVAL);
    assert_int_equal(raw_put(w, "n", 1, CAIRN_VALUE_BYTES_MAX + 1, 0, 0, &bulk), CAIRN_E_TOOBIG);
    assert_int_equal(raw_put(w, "n", 1, 1991, 0, 1, &bulk), CAIRN_E_INVAL); /* more than is exposed behind the offset */
    assert_int_equal(raw_put(w, "n", 1, 1990, 0, 2, &bulk), CAIRN_E_INVAL); /* too many checksums */
    assert_int_equal(raw_put(w, "n", 1, 0, 0, 0, &bulk), CAIRN_E_INVAL);
    bulk.off = 2001;
    assert_int_equal(raw_put(w, "n", 1, 1, 0, 0, &bulk), CAIRN_E_INVAL);
    bulk.off = 10;
    assert_int_equal(raw_put(w, "n", 1, 1990, 0, 0, &bulk), CAIRN_E_INVAL);   /* none */
    assert_int_equal(raw_put(w, "n", 1, 1990, 0, 1, &bulk), CAIRN_E_CORRUPT); /* a checksum that is not its own */
    expect_no_orphans(w);
}

static void records_that_nobody_wrote(void **state)
{
    struct world *w = *state;
    struct world_entry;
    static const uint8_t newer[] = { CAIRN_RECORD_VERSION + 1, 1, 0, 0, 'x' };
    static const uint8_t torn[] = { 1, 2, 0 };

    ns_create(w, "n");
    assert_int_equal(put(w, "n", "k", value, 2000), 0);
    entry_set(w, w->dbs[0].id, key_of("newer"), newer, sizeof(newer));
    entry_set(w, w->dbs[0].id, key_of("torn"), torn, sizeof(torn));
    assert_int_equal(get(w, "n", "newer", 0, 0, got, sizeof(got), NULL), CAIRN_E_FORMAT);
    assert_int_equal(get(w, "n", "torn", 0, 0, got, sizeof(got), NULL), CAIRN_E_CORRUPT);
    assert_int_equal(length_of(w, "torn"), UINT64_MAX);
    assert_int_equal(put(w, "n", "torn", value, 10), 0); /* and can be replaced, with a word in the log */
    assert_int_equal(get(w, "n", "torn", 0, 0, got, sizeof(got), NULL), 10);
}

/* ---- checksums of what is embedded ---- */

static struct entry *entry_of(struct world *w, const char *key)
{
    bool found;
    uint32_t i = entry_find(w, w->dbs[0].id, key_of(key), &found);

    assert_true(found);
    return &w->entries[i];
}

static int get_raw(struct world *w, Cairn__Wire__RouterGet *m, struct answer *a)
{
    m->ns = (char *)(uintptr_t) "n";
    m->key = key_of("k");
    return ask(w, a, CAIRN__WIRE__ROUTER_METHOD__ROUTER_GET, &m->base, NULL, 0);
}

/* The writer's checksum is what the reader gets, and a byte that changed in between is found: by the reader where it
 * has the whole value, and by the node where it gives a part, or is asked to look. */
static void embedded_values_have_their_checksums(void **state)
{
    struct world *w = *state;
    Cairn__Wire__RouterGet m = CAIRN__WIRE__ROUTER_GET__INIT;
    const Cairn__Wire__RouterGetReply *r;
    struct answer a;

    ns_create(w, "n");
    fill(value, 500, 3);
    assert_int_equal(put(w, "n", "k", value, 500), 0);
    for (int flipped = 0; flipped < 2; flipped++) {
        m = (Cairn__Wire__RouterGet)CAIRN__WIRE__ROUTER_GET__INIT;
        assert_int_equal(get_raw(w, &m, &a), 0);
        r = (const Cairn__Wire__RouterGetReply *)a.reply;
        assert_int_equal(r->n_crcs, 1);
        assert_int_equal(r->crcs[0], cairn_crc32c(0, value, 500));
        assert_int_equal(a.payload_len, 500);
        assert_true((cairn_crc32c(0, a.payload, 500) == r->crcs[0]) == !flipped);
        answer_free(&a);
        m.verify = true;
        assert_int_equal(get_raw(w, &m, &a), flipped ? CAIRN_E_CORRUPT : 0);
        answer_free(&a);
        m.verify = false;
        m.off = 100;
        m.length = 10;
        assert_int_equal(get_raw(w, &m, &a), flipped ? CAIRN_E_CORRUPT : 0);
        answer_free(&a);
        entry_of(w, "k")->value[CAIRN_RECORD_HEAD_BYTES + 200] ^= 4;
    }
}

/* What does not have the checksums that came with it is refused, by itself or in a batch; nothing of it is stored. */
static void values_that_changed_on_the_way_are_refused(void **state)
{
    struct world *w = *state;
    Cairn__Wire__RouterMput m = CAIRN__WIRE__ROUTER_MPUT__INIT;
    ProtobufCBinaryData keys[] = { key_of("a"), key_of("b"), key_of("c") };
    uint32_t lengths[] = { 10, 0, 20 }, crcs[2];
    struct answer a;

    ns_create(w, "n");
    fill(value, 30, 4);
    assert_int_equal(raw_put(w, "n", 1, 10, 10, 1, NULL), CAIRN_E_CORRUPT);
    assert_int_equal(raw_put(w, "n", 1, 10, 10, 2, NULL), CAIRN_E_INVAL);
    crcs[0] = cairn_crc32c(0, value, 10);
    crcs[1] = cairn_crc32c(0, value + 10, 20) ^ 1;
    m.ns = (char *)(uintptr_t) "n";
    m.keys = keys;
    m.lengths = lengths;
    m.n_keys = m.n_lengths = 3;
    m.crcs = crcs;
    m.n_crcs = 2;
    assert_int_equal(ask(w, &a, CAIRN__WIRE__ROUTER_METHOD__ROUTER_MPUT, &m.base, value, 30), CAIRN_E_CORRUPT);
    answer_free(&a);
    assert_int_equal(w->nentries, 0);
    m.n_crcs = 1;
    assert_int_equal(ask(w, &a, CAIRN__WIRE__ROUTER_METHOD__ROUTER_MPUT, &m.base, value, 30), CAIRN_E_INVAL);
    answer_free(&a);
    m.n_crcs = 2;
    crcs[1] ^= 1;
    assert_int_equal(ask(w, &a, CAIRN__WIRE__ROUTER_METHOD__ROUTER_MPUT, &m.base, value, 30), 0);
    answer_free(&a);
    assert_int_equal(get(w, "n", "c", 0, 0, got, sizeof(got), NULL), 20);
    assert_memory_equal(got, value + 10, 20);
}

/* One record that cannot be read is its own matter: the others of the page are given and listed. */
static void a_damaged_record_harms_no_other(void **state)
{
    static const uint8_t newer[] = { 99, 1, 0, 0, 'x' }, torn[] = { 1, 2, 0 };
    struct world *w = *state;
    Cairn__Wire__RouterMget m = CAIRN__WIRE__ROUTER_MGET__INIT;
    Cairn__Wire__RouterList l = CAIRN__WIRE__ROUTER_LIST__INIT;
    ProtobufCBinaryData keys[] = { key_of("a"), key_of("newer"), key_of("torn"), key_of("z") };
    static const int64_t lengths[] = { 10, -2, -2, 20 };
    static const uint64_t listed[] = { 10, CAIRN_LENGTH_UNKNOWN, CAIRN_LENGTH_UNKNOWN, 20 };
    const Cairn__Wire__RouterMgetReply *got_some;
    const Cairn__Wire__RouterListReply *got_list;
    struct answer a;

    ns_create(w, "n");
    fill(value, 30, 2);
    assert_int_equal(put(w, "n", "a", value, 10), 0);
    assert_int_equal(put(w, "n", "z", value + 10, 20), 0);
    entry_set(w, w->dbs[0].id, key_of("newer"), newer, sizeof(newer));
    entry_set(w, w->dbs[0].id, key_of("torn"), torn, sizeof(torn));
    m.ns = l.ns = (char *)(uintptr_t) "n";
    m.keys = keys;
    m.n_keys = ARRAY_SIZE(keys);
    assert_int_equal(ask(w, &a, CAIRN__WIRE__ROUTER_METHOD__ROUTER_MGET, &m.base, NULL, 0), 0);
    got_some = (const Cairn__Wire__RouterMgetReply *)a.reply;
    assert_int_equal(got_some->n_lengths, ARRAY_SIZE(keys));
    assert_int_equal(got_some->n_large, ARRAY_SIZE(keys));
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
        assert_int_equal(got_some->lengths[i], lengths[i]);
        assert_int_equal(got_some->large[i], 0);
    }
    assert_int_equal(a.payload_len, 30);
    assert_memory_equal(a.payload, value, 30);
    answer_free(&a);
    l.lengths = true;
    assert_int_equal(ask(w, &a, CAIRN__WIRE__ROUTER_METHOD__ROUTER_LIST, &l.base, NULL, 0), 0);
    got_list = (const Cairn__Wire__RouterListReply *)a.reply;
    assert_int_equal(got_list->n_lengths, ARRAY_SIZE(keys));
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
        assert_int_equal(got_list->lengths[i], listed[i]);
    answer_free(&a);
}

/* ---- failures ---- */

static const int failures[] = { CAIRN_E_NOSPACE, CAIRN_E_IO, CAIRN_E_TIMEOUT };

/* The nth call fails, for each n until none is left: the error comes up, nothing leaks, and the old value or the new is
 * there. */
static void every_call_of_a_put_fails(void **state)
{
    struct world *w = *state;
    size_t n = 5 * REGION + 10;

    ns_create(w, "n");
    for (size_t f = 0; f < ARRAY_SIZE(failures); f++) {
        uint32_t failed = 0;

        for (uint64_t nth = 1;; nth++) {
            int rc;

            fill(value, 2 * REGION, 1);
            w->fail_at = 0;
            assert_int_equal(put(w, "n", "k", value, 2 * REGION), 0);
            expect_no_orphans(w);
            fill(value, n, 2);
            w->calls = 0;
            w->fail_at = nth;
            w->fail_rc = failures[f];
            rc = put(w, "n", "k", value, n);
            if (w->calls < nth)
                break;
            w->fail_at = 0;
            failed++;
            assert_int_equal(get(w, "n", "k", 0, 0, got, sizeof(got), NULL), rc == 0 ? n : 2 * REGION);
            if (rc == 0) { /* the barrier, or the removal of the old regions: all that is left to the sweeper */
                assert_true(atomic_load(&((struct cairn_router *)w->router)->left_garbage));
                assert_int_equal(w->nregions, 6 + 2);
                while (w->regions[0].id < w->next_region - 5) {
                    free(w->regions[0].bytes);
                    memmove(w->regions, w->regions + 1, --w->nregions * sizeof(w->regions[0]));
                }
            } else {
                assert_int_equal(rc, failures[f]);
            }
            expect_no_orphans(w);
        }
        assert_int_equal(failed, 6 + 1 + 1 + 1); /* regions, record, barrier, removal */
    }
}

/* The record was put, but the answer said otherwise: it is found out, and nothing that the record names is removed. */
static void an_unheard_record_is_kept(void **state)
{
    struct world *w = *state;

    ns_create(w, "n");
    fill(value, 2 * REGION, 1);
    assert_int_equal(put(w, "n", "other", value, 2000), 0);
    w->calls = 0;
    w->fail_at = 3;
    w->fail_rc = CAIRN_E_IO;
    w->fail_after = true;
    assert_int_equal(put(w, "n", "k", value, 2 * REGION), CAIRN_E_UNKNOWN);
    w->fail_at = 0;
    assert_int_equal(get(w, "n", "k", 0, 0, got, sizeof(got), NULL), 2 * REGION);
    assert_memory_equal(got, value, 2 * REGION);
    expect_no_orphans(w);
}

static void every_call_of_a_get_fails(void **state)
{
    struct world *w = *state;
    size_t n = 5 * REGION + 10;
    uint32_t failed = 0;

    ns_create(w, "n");
    fill(value, n, 2);
    assert_int_equal(put(w, "n", "k", value, n), 0);
    for (uint64_t nth = 1;; nth++) {
        int64_t rc;

        w->calls = 0;
        w->fail_at = nth;
        w->fail_rc = CAIRN_E_IO;
        rc = get(w, "n", "k", 0, 0, got, sizeof(got), NULL);
        if (w->calls < nth) {
            assert_int_equal(rc, n);
            break;
        }
        failed++;
        assert_int_equal(rc, CAIRN_E_IO);
    }
    assert_int_equal(failed, 1 + 6);
}

static void every_call_of_a_batch_fails(void **state)
{
    static struct batch b;
    struct world *w = *state;

    batch_fill(&b, 6, 1);
    for (uint64_t nth = 1;; nth++) {
        struct answer a;
        int rc;

        w->fail_at = 0;
        ns_create(w, "n");
        assert_int_equal(put(w, "n", "key0002", value, 2000), 0);
        assert_int_equal(put(w, "n", "key0004", value, 2000), 0);
        w->calls = 0;
        w->fail_at = nth;
        w->fail_rc = CAIRN_E_NOSPACE;
        rc = mput(w, &b, 6, false, &a);
        if (w->calls < nth) {
            assert_int_equal(rc, 0);
            answer_free(&a);
            assert_int_equal(nth, 1 + 2 * 3 + 1);
            break;
        }
        if (nth == 1)
            assert_int_equal(rc, CAIRN_E_NOSPACE);
        else
            assert_int_equal(rc, 0);
        if (nth == 2 || nth == 5) { /* the puts; each is followed by a barrier and a removal */
            const Cairn__Wire__KvStatuses *r = (const Cairn__Wire__KvStatuses *)a.reply;

            assert_int_equal(r->n_status, 6);
            assert_int_equal(r->status[nth == 2 ? 2 : 4], CAIRN_E_NOSPACE);
            expect_no_orphans(w);
        }
        answer_free(&a);
        w->fail_at = 0;
        assert_int_equal(ns_remove_as(w, &root, "n", true), 0);
        assert_int_equal(w->nregions, nth > 2 && nth != 5 ? 1 : 0); /* it was the barrier or the removal that failed */
        while (w->nregions > 0)
            free(w->regions[--w->nregions].bytes);
    }
}

/* A region that a record names is gone for good: that is damage, and said so. */
static void a_missing_region_is_damage(void **state)
{
    struct world *w = *state;

    ns_create(w, "n");
    assert_int_equal(put(w, "n", "k", value, 3 * REGION), 0);
    free(w->regions[1].bytes);
    memmove(&w->regions[1], &w->regions[2], --w->nregions * sizeof(w->regions[0]));
    assert_int_equal(get(w, "n", "k", 0, 0, got, sizeof(got), NULL), CAIRN_E_CORRUPT);
    assert_int_equal(get(w, "n", "k", 0, REGION, got, sizeof(got), NULL), REGION); /* the rest can be read */
}

static void a_shorter_region_is_damage(void **state)
{
    struct world *w = *state;

    ns_create(w, "n");
    assert_int_equal(put(w, "n", "k", value, 3 * REGION), 0);
    w->regions[1].len--;
    assert_int_equal(get(w, "n", "k", 0, 0, got, sizeof(got), NULL), CAIRN_E_CORRUPT);
}

/* ---- at the same time ---- */

/* The client goes away while its value is being stored: whatever the moment, no region stays. */
static void a_canceled_put_leaves_nothing(void **state)
{
    struct world *w = *state;

    ns_create(w, "n");
    for (uint64_t when = 0; when < 12; when++) {
        struct put p;

        w->calls = 0;
        put_start(w, &p, (uint32_t)(when % WORKERS), "n", "k", value, 5 * REGION, true);
        while (!p.a.done && w->calls < when)
            world_turn(w);
        put_cancel(&p);
        ask_wait(w, &p.a);
        assert_true(p.a.rc == 0 || p.a.rc == CAIRN_E_CANCELED);
        answer_free(&p.a);
        expect_no_orphans(w);
    }
}

static uint32_t replaced_while_read;

static void replace_before_read(struct world *w, struct cairn_rpc_req *rq)
{
    struct put p;

    if (rq->target->iface != &cairn_iface_extent || rq->method_no != CAIRN__WIRE__EXTENT_METHOD__EXTENT_READ ||
        replaced_while_read++ > 0)
        return;
    fill(value, 2 * REGION, 77);
    put_start(w, &p, 0, "n", "k", value, 2 * REGION, true);
    ask_wait(w, &p.a);
    assert_int_equal(p.a.rc, 0);
    answer_free(&p.a);
}

static void a_value_replaced_while_it_is_read(void **state)
{
    struct world *w = *state;

    ns_create(w, "n");
    fill(value, 3 * REGION, 1);
    assert_int_equal(put(w, "n", "k", value, 3 * REGION), 0);
    replaced_while_read = 0;
    w->before = replace_before_read;
    assert_int_equal(get(w, "n", "k", 0, 0, got, sizeof(got), NULL), 2 * REGION); /* the new one, whole */
    assert_memory_equal(got, value, 2 * REGION);
    w->before = NULL;
    expect_no_orphans(w);
}

/* Puts, deletes and gets of a few keys, many at a time, on both workers, in an order that the seed decides. Values tell
 * their writer and are checked whole; in the end every region is named. */
enum { WALK_INFLIGHT = 12, WALK_KEYS = 3, WALK_STEPS = 400 };

struct walker {
    struct put put;
    struct get get;
    Cairn__Wire__RouterKey del;
    struct answer del_answer;
    uint8_t *bytes;
    int kind; /* 0 idle, 1 put, 2 get, 3 delete */
};

static const char *const walk_keys[WALK_KEYS] = { "a", "b", "c" };

static bool is_whole(const uint8_t *p, size_t n)
{
    for (size_t i = 1; i < n; i++) {
        if (p[i] != p[0])
            return false;
    }
    return true;
}

static void walker_start(struct world *w, struct walker *k)
{
    static const size_t sizes[] = { 0, 10, 999, 1001, 40 * KIB, REGION, 3 * REGION + 5 };
    const char *key = walk_keys[world_random(w) % WALK_KEYS];
    uint32_t worker = (uint32_t)(world_random(w) % WORKERS);
    size_t n = sizes[world_random(w) % ARRAY_SIZE(sizes)];

    k->kind = 1 + (int)(world_random(w) % 3);
    switch (k->kind) {
    case 1:
        memset(k->bytes, (int)(world_random(w) & 0xff), n);
        put_start(w, &k->put, worker, "n", key, k->bytes, n, n > 32 * KIB);
        break;
    case 2:
        get_start(w, &k->get, worker, "n", key, 0, 0, k->bytes, 4 * REGION);
        break;
    default:
        cairn__wire__router_key__init(&k->del);
        k->del.ns = (char *)(uintptr_t) "n";
        k->del.key = key_of(key);
        ask_start(w, worker, &k->del_answer, &root, CAIRN__WIRE__ROUTER_METHOD__ROUTER_DELETE, &k->del.base, NULL, 0);
    }
}

static void walker_check(struct walker *k)
{
    int64_t n;

    if (k->kind == 1 && k->put.a.done) {
        assert_int_equal(k->put.a.rc, 0);
        answer_free(&k->put.a);
    } else if (k->kind == 2 && k->get.a.done) {
        n = get_result(&k->get, k->bytes, 0, NULL);
        assert_true(n >= 0 || n == CAIRN_E_NOTFOUND ||
                    n == CAIRN_E_BUSY); /* BUSY: replaced faster than it can be read */
        assert_true(n <= 0 || is_whole(k->bytes, (size_t)n));
    } else if (k->kind == 3 && k->del_answer.done) {
        assert_true(k->del_answer.rc == 0 || k->del_answer.rc == CAIRN_E_NOTFOUND);
        answer_free(&k->del_answer);
    } else {
        return;
    }
    k->kind = 0;
}

static void walk(struct world *w)
{
    static struct walker walkers[WALK_INFLIGHT];
    uint32_t started = 0, busy = 0;

    for (uint32_t i = 0; i < WALK_INFLIGHT; i++) {
        walkers[i].kind = 0;
        walkers[i].bytes = malloc(4 * REGION);
        assert_non_null(walkers[i].bytes);
    }
    do {
        busy = 0;
        for (uint32_t i = 0; i < WALK_INFLIGHT; i++) {
            if (walkers[i].kind != 0)
                walker_check(&walkers[i]);
            if (walkers[i].kind == 0 && started < WALK_STEPS) {
                walker_start(w, &walkers[i]);
                started++;
            }
            busy += walkers[i].kind != 0;
        }
        world_turn(w);
    } while (busy > 0);
    for (uint32_t i = 0; i < WALK_INFLIGHT; i++)
        free(walkers[i].bytes);
}

static void random_walks(void **state)
{
    struct world *w = *state;

    for (uint64_t seed = 1; seed <= 8; seed++) {
        print_message("seed %lu\n", (unsigned long)seed);
        w->seed = seed;
        ns_create(w, "n");
        walk(w);
        expect_no_orphans(w);
        assert_int_equal(ns_remove_as(w, &root, "n", true), 0);
        assert_int_equal(w->nregions, 0);
        assert_int_equal(w->nentries, 0);
        assert_int_equal(w->ndbs, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(machines_are_sound),
        CASE(sizes_around_every_boundary),
        CASE(ranges),
        CASE(too_large_for_a_payload),
        CASE(length_and_exists),
        CASE(small_values_do_not_look),
        CASE(write_once),
        CASE(exposed_values_are_embedded_too),
        CASE(batches),
        CASE(a_batch_over_large_values_leaves_no_orphans),
        CASE(a_batch_that_must_not_replace),
        CASE(mget_tells_of_large_values),
        CASE(list_by_prefix_and_page),
        CASE(bad_requests_are_refused),
        CASE(records_that_nobody_wrote),
        CASE(a_damaged_record_harms_no_other),
        CASE(embedded_values_have_their_checksums),
        CASE(values_that_changed_on_the_way_are_refused),
        CASE(every_call_of_a_put_fails),
        CASE(an_unheard_record_is_kept),
        CASE(every_call_of_a_get_fails),
        CASE(every_call_of_a_batch_fails),
        CASE(a_missing_region_is_damage),
        CASE(a_shorter_region_is_damage),
        CASE(a_canceled_put_leaves_nothing),
        CASE(a_value_replaced_while_it_is_read),
        CASE(random_walks),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
