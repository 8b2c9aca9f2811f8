/* The hashed frontend, one value at a time: sizes around every boundary, ranges, and requests and records that nobody
 * should send. */
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

static void bad_requests_are_refused(void **state)
{
    struct world *w = *state;
    Cairn__Wire__BulkDesc bulk = CAIRN__WIRE__BULK_DESC__INIT;

    bulk.len = 2000;
    bulk.off = 10;
    bulk.addr = (uintptr_t)value;
    ns_create(w, "n");
    assert_int_equal(raw_put(w, value, "none", 1, 1, 1, 0, NULL), CAIRN_E_NOTFOUND);
    assert_int_equal(raw_put(w, value, "n", 0, 1, 1, 0, NULL), CAIRN_E_INVAL);
    assert_int_equal(raw_put(w, value, "n", CAIRN_KEY_BYTES_MAX + 1, 1, 1, 0, NULL), CAIRN_E_INVAL);
    assert_int_equal(raw_put(w, value, "n", CAIRN_KEY_BYTES_MAX, 1, 1, 0, NULL), 0);
    assert_int_equal(raw_put(w, value, "n", 1, 2, 1, 0, NULL), CAIRN_E_INVAL);
    assert_int_equal(raw_put(w, value, "n", 1, 1, 2, 0, NULL), CAIRN_E_INVAL);
    assert_int_equal(raw_put(w, value, "n", 1, CAIRN_VALUE_BYTES_MAX + 1, 0, 0, &bulk), CAIRN_E_TOOBIG);
    assert_int_equal(raw_put(w, value, "n", 1, 1991, 0, 1, &bulk),
                     CAIRN_E_INVAL); /* more than is exposed behind the offset */
    assert_int_equal(raw_put(w, value, "n", 1, 1990, 0, 2, &bulk), CAIRN_E_INVAL); /* too many checksums */
    assert_int_equal(raw_put(w, value, "n", 1, 0, 0, 0, &bulk), CAIRN_E_INVAL);
    bulk.off = 2001;
    assert_int_equal(raw_put(w, value, "n", 1, 1, 0, 0, &bulk), CAIRN_E_INVAL);
    bulk.off = 10;
    assert_int_equal(raw_put(w, value, "n", 1, 1990, 0, 0, &bulk), CAIRN_E_INVAL); /* none */
    assert_int_equal(raw_put(w, value, "n", 1, 1990, 0, 1, &bulk),
                     CAIRN_E_CORRUPT); /* a checksum that is not its own */
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
        CASE(bad_requests_are_refused),
        CASE(records_that_nobody_wrote),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
