/* The hashed frontend, many values at a time: batches, lists, and failures at every call of a batch. */
#include "world.h"

static uint8_t value[1024 * KIB];

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

/* What is put one by one does not wait for the disk each time: one barrier makes all of it durable. */
static void a_batch_over_others_waits_for_one_sync(void **state)
{
    static struct batch b;
    struct world *w = *state;
    Cairn__Wire__Namespace m = CAIRN__WIRE__NAMESPACE__INIT;
    struct answer a;

    m.name = (char *)"n";
    m.embed_threshold = 1000;
    m.durability = CAIRN__WIRE__DURABILITY__DURABILITY_SYNC;
    assert_int_equal(ns_create_as(w, &root, &m, NULL), 0);
    assert_int_equal(put(w, "n", "large", value, 2000), 0); /* now old values may be large */
    batch_fill(&b, 12, 1);
    assert_int_equal(mput(w, &b, 12, false, &a), 0);
    answer_free(&a);
    memset(w->served, 0, sizeof(w->served));
    batch_fill(&b, 12, 2);
    assert_int_equal(mput(w, &b, 12, false, &a), 0);
    assert_int_equal(((Cairn__Wire__KvStatuses *)a.reply)->n_status, 0);
    answer_free(&a);
    assert_int_equal(w->served[CAIRN__WIRE__KV_METHOD__KV_PUT], 12);
    assert_int_equal(w->put_durability, CAIRN__WIRE__DURABILITY__DURABILITY_BUFFERED);
    assert_int_equal(w->served[CAIRN__WIRE__KV_METHOD__KV_MPUT], 1 + 1); /* the batch, and the barrier */
    assert_int_equal(w->mput_durability, CAIRN__WIRE__DURABILITY__DURABILITY_SYNC);
    expect_batch(w, &b, 12);
    /* A large value among them: its record's end is durable before its regions go, as ever. */
    assert_int_equal(put(w, "n", "key0003", value, 2000), 0);
    memset(w->served, 0, sizeof(w->served));
    assert_int_equal(mput(w, &b, 12, false, &a), 0);
    answer_free(&a);
    assert_int_equal(w->served[CAIRN__WIRE__KV_METHOD__KV_MPUT], 1 + 1 + 1);
    expect_batch(w, &b, 12);
    expect_no_orphans(w);
    /* Nobody is told that it is durable when it may not be. */
    w->calls = 0;
    w->fail_at = 1 + 12 + 1;
    w->fail_rc = CAIRN_E_IO;
    assert_int_equal(mput(w, &b, 12, false, &a), CAIRN_E_IO);
    answer_free(&a);
    w->fail_at = 0;
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(batches),
        CASE(a_batch_over_large_values_leaves_no_orphans),
        CASE(a_batch_over_others_waits_for_one_sync),
        CASE(a_batch_that_must_not_replace),
        CASE(mget_tells_of_large_values),
        CASE(list_by_prefix_and_page),
        CASE(every_call_of_a_batch_fails),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
