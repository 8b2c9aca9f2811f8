/* A node's providers as the SDK shows them: databases of keys, extents, memory that is registered once. */
#include "sdk_node_fixture.h"

#include "cairn/extent.h"
#include "cairn/kv.h"

static void databases(void **state)
{
    struct cairn_kv_options ko = CAIRN_KV_OPTIONS_INIT;
    struct cairn_kv_range range = CAIRN_KV_RANGE_INIT;
    struct cairn_kv_stat stat = CAIRN_KV_STAT_INIT;
    struct fixture *fx = *state;
    struct cairn_put_item puts[3] = { { "b", 1, "two", 3, 1 }, { "c", 1, "three", 5, 1 }, { "d", 1, "", 0, 1 } };
    struct cairn_get_item gets[4] = { { .key = "a", .key_len = 1 },
                                      { .key = "c", .key_len = 1 },
                                      { .key = "d", .key_len = 1 },
                                      { .key = "x", .key_len = 1 } };
    struct cairn_kv_databases *all;
    struct cairn_page *page;
    struct cairn_kv *kv;
    char buf[3][16], old[16];
    uint8_t *big = pattern(MIB, 2);
    uint64_t length;
    size_t len;
    bool flag;
    void *own;

    FAILS(fx, CAIRN_E_NOPROVIDER, cairn_kv_open, fx->c, "nokv", "db", NULL, &kv);
    FAILS(fx, CAIRN_E_NOPROVIDER, cairn_kv_open, fx->c, "extent", "db", NULL, &kv);
    FAILS(fx, CAIRN_E_NOTFOUND, cairn_kv_open, fx->c, "kv", "db", NULL, &kv);
    ko.create = ko.exclusive = true;
    OK(fx, cairn_kv_open, fx->c, "kv", "db", &ko, &kv);
    cairn_kv_close(kv);
    FAILS(fx, CAIRN_E_EXISTS, cairn_kv_open, fx->c, "kv", "db", &ko, &kv);
    OK(fx, cairn_kv_open, fx->c, "kv", "db", NULL, &kv);
    OK(fx, cairn_kv_databases, fx->c, "kv", &all);
    flag = false;
    for (size_t i = 0; i < all->n; i++)
        flag |= strcmp(all->databases[i].name, "db") == 0;
    assert_true(flag);
    cairn_free(all);

    OK(fx, cairn_kv_put, kv, "a", 1, "one", 3);
    OK(fx, cairn_kv_get, kv, "a", 1, buf[0], sizeof(buf[0]), &len);
    assert_int_equal(len, 3);
    assert_memory_equal(buf[0], "one", 3);
    FAILS(fx, CAIRN_E_TOOBIG, cairn_kv_get, kv, "a", 1, buf[0], 2, &len);
    assert_int_equal(len, 3);
    OK(fx, cairn_kv_get_alloc, kv, "a", 1, &own, &len);
    assert_string_equal(own, "one");
    cairn_free(own);
    OK(fx, cairn_kv_length, kv, "a", 1, &length);
    assert_int_equal(length, 3);
    OK(fx, cairn_kv_exists, kv, "x", 1, &flag);
    assert_false(flag);
    OK(fx, cairn_kv_exchange, kv, "a", 1, "ONE", 3, old, sizeof(old), &len, &flag);
    assert_true(flag);
    assert_int_equal(len, 3);
    assert_memory_equal(old, "one", 3);
    OK(fx, cairn_kv_exchange, kv, "new", 3, "N", 1, old, sizeof(old), &len, &flag);
    assert_false(flag);
    OK(fx, cairn_kv_take, kv, "new", 3, old, sizeof(old), &len);
    assert_int_equal(len, 1);
    FAILS(fx, CAIRN_E_NOTFOUND, cairn_kv_take, kv, "new", 3, old, sizeof(old), &len);
    OK(fx, cairn_kv_put, kv, "big", 3, big, MIB);
    OK(fx, cairn_kv_get_alloc, kv, "big", 3, &own, &len);
    assert_int_equal(len, MIB);
    assert_memory_equal(own, big, MIB);
    cairn_free(own);
    FAILS(fx, CAIRN_E_TOOBIG, cairn_kv_put, kv, "big", 3, big, MIB + 1);
    OK(fx, cairn_kv_erase, kv, "big", 3);
    fx->o.flags = CAIRN_IF_ABSENT;
    FAILS(fx, CAIRN_E_EXISTS, cairn_kv_put, kv, "a", 1, "x", 1);
    fx->o.flags = 0;
    fx->o.durability = CAIRN_DURABILITY_SYNC;
    OK(fx, cairn_kv_mput, kv, puts, 3);
    fx->o.durability = CAIRN_DURABILITY_DEFAULT;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(puts[i].status, 0);
        gets[i].value = buf[i];
        gets[i].room = sizeof(buf[i]);
    }
    OK(fx, cairn_kv_mget, kv, gets, 4);
    assert_int_equal(gets[1].value_len, 5);
    assert_memory_equal(buf[1], "three", 5);
    assert_int_equal(gets[3].status, CAIRN_E_NOTFOUND);
    OK(fx, cairn_kv_mlength, kv, gets, 4);
    assert_true(gets[0].value_len == 3 && gets[2].value_len == 0 && gets[3].status == CAIRN_E_NOTFOUND);
    OK(fx, cairn_kv_mexists, kv, gets, 4);
    assert_true(gets[0].status == 0 && gets[3].status == CAIRN_E_NOTFOUND);
    range.from = "b";
    range.from_len = 1;
    range.values = true;
    OK(fx, cairn_kv_list, kv, &range, &page);
    assert_int_equal(page->n, 3);
    assert_memory_equal(page->entries[1].value, "three", 5);
    assert_int_equal(page->entries[1].value_len, 5);
    cairn_free(page);
    OK(fx, cairn_kv_list, kv, NULL, &page);
    assert_int_equal(page->n, 4);
    assert_null(page->entries[0].value);
    cairn_free(page);
    OK(fx, cairn_kv_stat, kv, &stat);
    assert_string_equal(stat.name, "db");
    assert_true(stat.backend[0] != '\0');
    OK(fx, cairn_kv_merase, kv, gets, 4);
    assert_true(gets[0].status == 0 && gets[3].status == 0);
    OK(fx, cairn_kv_exists, kv, "b", 1, &flag);
    assert_true(flag); /* it was not among them */
    OK(fx, cairn_kv_exists, kv, "c", 1, &flag);
    assert_false(flag);
    cairn_kv_close(kv);
    OK(fx, cairn_kv_drop, fx->c, "kv", "db");
    FAILS(fx, CAIRN_E_NOTFOUND, cairn_kv_drop, fx->c, "kv", "db");
    free(big);
}

static void extents(void **state)
{
    static const size_t sizes[] = { 1, 4096, 32 << 10, (32 << 10) + 1, 3 * MIB + 5 };
    struct cairn_extent_stat stat = CAIRN_EXTENT_STAT_INIT;
    struct fixture *fx = *state;
    struct cairn_extent_scrub *report;
    struct cairn_extent_page *page;
    struct cairn_extents *x;
    uint64_t id, ids[2];
    int status[2];

    FAILS(fx, CAIRN_E_NOPROVIDER, cairn_extents_open, fx->c, "kv", &x);
    OK(fx, cairn_extents_open, fx->c, "extent", &x);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        size_t n = sizes[i], len;
        uint8_t *data = pattern(n, (unsigned)i), *back = malloc(n + 5);

        OK(fx, cairn_extent_put, x, data, n, &id);
        OK(fx, cairn_extent_read, x, id, 0, back, n + 5, &len);
        assert_int_equal(len, n);
        assert_memory_equal(back, data, n);
        OK(fx, cairn_extent_read, x, id, n / 3, back, n, &len);
        assert_int_equal(len, n - n / 3);
        assert_memory_equal(back, data + n / 3, len);
        fx->o.flags = CAIRN_VERIFY;
        OK(fx, cairn_extent_read, x, id, 0, back, n, &len);
        fx->o.flags = 0;
        OK(fx, cairn_extent_scrub, x, id, &report);
        cairn_free(report);
        OK(fx, cairn_extent_remove, x, &id, 1, NULL);
        FAILS(fx, CAIRN_E_NOTFOUND, cairn_extent_read, x, id, 0, back, n, &len);
        free(data);
        free(back);
    }
    OK(fx, cairn_extent_create, x, 2 * MIB, &id);
    {
        uint8_t *data = pattern(2 * MIB, 3), *back = malloc(2 * MIB);
        size_t len;

        OK(fx, cairn_extent_write, x, id, 0, data, MIB);
        OK(fx, cairn_extent_write, x, id, MIB, data + MIB, MIB);
        OK(fx, cairn_extent_stat, x, id, &stat);
        assert_false(stat.sealed);
        OK(fx, cairn_extent_persist, x, id);
        FAILS(fx, CAIRN_E_STATE, cairn_extent_write, x, id, 0, data, MIB);
        OK(fx, cairn_extent_stat, x, id, &stat);
        assert_true(stat.sealed && stat.length == 2 * MIB && !stat.quarantined);
        OK(fx, cairn_extent_read, x, id, 0, back, 2 * MIB, &len);
        assert_memory_equal(back, data, 2 * MIB);
        free(data);
        free(back);
    }
    OK(fx, cairn_extent_list, x, 0, 0, false, &page);
    assert_true(page->n == 1 && page->regions[0].id == id && page->regions[0].length == 2 * MIB);
    cairn_free(page);
    ids[0] = id;
    ids[1] = id + 12345;
    FAILS(fx, CAIRN_E_NOTFOUND, cairn_extent_remove, x, ids, 2, status);
    assert_int_equal(status[0], 0);
    assert_int_equal(status[1], CAIRN_E_NOTFOUND);
    OK(fx, cairn_extent_scrub, x, 0, &report);
    assert_int_equal(report->nquarantined, 0);
    cairn_free(report);
    FAILS(fx, CAIRN_E_INVAL, cairn_extent_put, x, "", 0, &id);
    cairn_extents_close(x);
}

static void registered_memory(void **state)
{
    struct fixture *fx = *state;
    uint8_t *area = pattern(4 * MIB, 7);
    struct cairn_mem *mem;
    struct cairn_ns *ns;
    size_t len;

    OK(fx, cairn_ns_create, fx->c, "mem", NULL);
    OK(fx, cairn_ns_open, fx->c, "mem", &ns);
    assert_int_equal(cairn_mem_register(fx->c, area, 4 * MIB, &mem), 0);
    assert_int_equal(cairn_mem_register(fx->c, area, 0, &(struct cairn_mem *){ 0 }), CAIRN_E_INVAL);
    for (int i = 0; i < 4; i++) {
        OK(fx, cairn_put, ns, "k", 1, area, 2 * MIB);
        OK(fx, cairn_get, ns, "k", 1, area + 2 * MIB, 2 * MIB, &len);
        assert_memory_equal(area, area + 2 * MIB, 2 * MIB);
        area[i] ^= 1;
    }
    cairn_mem_deregister(fx->c, mem);
    cairn_ns_close(ns);
    OK(fx, cairn_ns_remove, fx->c, "mem", true);
    free(area);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ALL(databases),
        ALL(extents),
        ALL(registered_memory),
    };

    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
