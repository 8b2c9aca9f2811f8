/* Placement: fixed results, zones, and what odd input gets. */
#include "tests/unit/placement/tables.h"

#include <math.h>
#include <string.h>

/* log2(x / 2^63) in units of 2^-52 by squaring: independent of the table. */
static uint64_t log2_by_squaring(uint64_t mantissa)
{
    unsigned __int128 x = mantissa; /* 63 bits behind the point */
    uint64_t log = 0;

    for (int bit = 51; bit >= 0; bit--) {
        x = (x * x) >> 63;
        if (x >> 64 != 0) {
            x >>= 1;
            log |= UINT64_C(1) << bit;
        }
    }
    return log;
}

static void neg_log2_is_close_and_monotone(void **state)
{
    uint64_t last = cairn_placement__neg_log2(UINT64_MAX);

    (void)state;
    assert_in_range(last, 1, 4);
    assert_int_equal(cairn_placement__neg_log2(0), UINT64_C(64) << 40);
    assert_int_equal(cairn_placement__neg_log2(UINT64_C(1) << 63 | 1), UINT64_C(1) << 40);
    for (uint64_t i = 1; i < 4096; i++) {
        uint64_t h = UINT64_MAX - (i << 51), e = cairn_placement__neg_log2(h);
        double exact = ldexp(1.0, 40) - ldexp((double)log2_by_squaring(h), -12);

        assert_true(e > last);
        if ((h >> 63) != 0)
            assert_true(fabs((double)e - exact) <= exact * 1e-3);
        last = e;
    }
    for (uint32_t zeros = 0; zeros < 63; zeros++)
        assert_true(cairn_placement__neg_log2((UINT64_MAX >> zeros) - 1) <
                    cairn_placement__neg_log2(UINT64_MAX >> (zeros + 1)));
}

/* These values are a contract between versions of client and server: a change here is a change of where data lies. */
static void results_are_fixed(void **state)
{
    static const struct {
        const char *key;
        uint32_t slot;
    } keys[] = {
        { "", 2881 },
        { "a", 14769 },
        { "run/1/event/2", 15427 },
        { "/usr/share/doc/bash/README", 1486 },
        { "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
          "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
          "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
          10612 }
    };
    static const struct {
        uint32_t slot;
        uint64_t ids[3];
    } ranks[] = { { 0, { 5, 2, 3 } },
                  { 1, { 1, 3, 5 } },
                  { 2, { 0xfedcba9876543210, 2, 5 } },
                  { 3, { 3, 2, 5 } },
                  { 4711, { 0xfedcba9876543210, 1, 5 } },
                  { 8192, { 0xfedcba9876543210, 1, 5 } },
                  { 16383, { 0xfedcba9876543210, 2, 5 } },
                  { 1048575, { 5, 0xfedcba9876543210, 2 } } };
    static const struct cairn_placement_member m[] = {
        { 1, 1, 100, 0 }, { 2, 1, 100, 0 }, { 3, 2, 100, 1 }, { 0xfedcba9876543210, 1, 350, 1 },
        { 5, 1, 50, 2 },  { 6, 0, 100, 2 },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
        assert_int_equal(cairn_placement_slot(keys[i].key, strlen(keys[i].key), 14), keys[i].slot);
    for (size_t i = 0; i < ARRAY_SIZE(ranks); i++) {
        uint64_t ids[3];

        assert_int_equal(cairn_placement_rank(ranks[i].slot, m, ARRAY_SIZE(m), 3, ids), 3);
        assert_memory_equal(ids, ranks[i].ids, sizeof(ids));
    }
}

static void more_slots_split_slots(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 10000; i++)
        assert_int_equal(cairn_placement_slot(&i, sizeof(i), 20) >> 6, cairn_placement_slot(&i, sizeof(i), 14));
}

static void keys_spread_over_slots(void **state)
{
    static uint16_t hits[SLOTS];
    uint32_t busiest = 0, empty = 0;

    (void)state;
    for (uint32_t i = 0; i < SLOTS * 32; i++) {
        char key[32];
        int n = snprintf(key, sizeof(key), "run/%u/event/%u", i / 1000, i % 1000);

        hits[cairn_placement_slot(key, (size_t)n, CAIRN_SLOT_BITS_DEFAULT)]++;
    }
    for (uint32_t s = 0; s < SLOTS; s++) {
        busiest = MAX(busiest, hits[s]);
        empty += hits[s] == 0;
    }
    assert_in_range(busiest, 32, 32 + 6 * 6);
    assert_int_equal(empty, 0);
}

static uint32_t zone_of(const struct cairn_placement_member *m, uint32_t n, uint64_t id)
{
    for (uint32_t i = 0; i < n; i++) {
        if (m[i].id == id)
            return m[i].zone;
    }
    fail_msg("id %lu is nobody's", id);
    return 0;
}

static void replicas_go_to_distinct_zones(void **state)
{
    struct cairn_placement_member m[12];
    struct cairn_placement *p;

    (void)state;
    equals(m, 12);
    for (uint32_t i = 0; i < 12; i++)
        m[i].zone = i < 8 ? 0 : i < 11 ? 1 : 2; /* of very unequal size */
    p = table(m, 12, 4);
    for (uint32_t s = 0; s < SLOTS; s++) {
        uint32_t n, zones = 0;
        const uint64_t *ids = cairn_placement_of_slot(p, s, &n);

        assert_int_equal(n, 4);
        for (uint32_t i = 0; i < n; i++) {
            for (uint32_t j = 0; j < i; j++)
                assert_int_not_equal(ids[i], ids[j]);
            zones |= 1U << zone_of(m, 12, ids[i]);
        }
        assert_int_equal(zones, 7);
    }
    for (uint32_t i = 0; i < 8; i++) /* twice in the largest zone, once in the others */
        assert_int_equal(slots_held(p, m[i].id), 2 * SLOTS / 8);
    for (uint32_t i = 8; i < 11; i++)
        assert_in_range(slots_held(p, m[i].id), SLOTS / 3, SLOTS / 3 + 1);
    assert_int_equal(slots_held(p, m[11].id), SLOTS); /* the only one of its zone */
    cairn_placement_free(p);
}

/* Two zones with four and eight members: the small zone's members hold more, and within a zone all hold the same. */
static void zones_come_before_shares(void **state)
{
    struct cairn_placement_member m[12];
    struct cairn_placement *p, *next;

    (void)state;
    equals(m, 12);
    for (uint32_t i = 0; i < 12; i++)
        m[i].zone = i < 4 ? 7 : 3;
    p = table(m, 12, 2);
    for (uint32_t i = 0; i < 12; i++)
        assert_int_equal(slots_held(p, m[i].id), SLOTS / (i < 4 ? 4 : 8));
    m[11].zone = 7; /* it was somewhere else all the time: who now shares a zone with another replica makes room */
    next = table_after(p, m, 12, 2);
    for (uint32_t s = 0; s < SLOTS; s++) {
        uint32_t n;
        const uint64_t *ids = cairn_placement_of_slot(next, s, &n);

        assert_int_not_equal(zone_of(m, 12, ids[0]), zone_of(m, 12, ids[1]));
    }
    assert_in_range(slots_held(next, m[11].id), SLOTS / 5, SLOTS / 5 + 1);
    cairn_placement_free(p);
    cairn_placement_free(next);
}

/* What is not in the table before as it should be: strangers, the same twice, too many, too few. */
static void an_odd_table_before_is_mended(void **state)
{
    struct cairn_placement_member m[6];
    struct cairn_placement *p = NULL;
    struct cairn_placement_conf conf = { .members = m, .n = 6, .slot_bits = 10, .replicas = 3, .before_width = 5 };
    uint64_t *before = calloc((size_t)1024 * 5, sizeof(*before));

    (void)state;
    equals(m, 6);
    for (uint32_t s = 0; s < 1024; s++) {
        uint64_t odd[4][5] = { { 77, 100, 100, 0, 101 }, { 100, 101, 102, 103, 104 }, { 0 }, { 5, 6, 7, 8, 9 } };

        memcpy(&before[s * 5], odd[s % 4], sizeof(odd[0]));
    }
    conf.before = before;
    assert_int_equal(cairn_placement_new(&conf, &p, NULL), 0);
    for (uint32_t s = 0; s < 1024; s++) {
        uint32_t n;
        const uint64_t *ids = cairn_placement_of_slot(p, s, &n);

        assert_int_equal(n, 3);
        assert_true(ids[0] != ids[1] && ids[1] != ids[2] && ids[0] != ids[2]);
        for (uint32_t i = 0; i < 3; i++)
            assert_in_range(ids[i], 100, 105);
    }
    for (uint32_t i = 0; i < 6; i++)
        assert_int_equal(slots_held(p, m[i].id), 512);
    cairn_placement_free(p);
    free(before);
}

/* More than any cluster has: it is made, and the busiest has no more than a slot above its share. */
static void ten_thousand_members(void **state)
{
    enum { N = 10000 };
    struct cairn_placement_member *m = calloc(N + 1, sizeof(*m));
    uint32_t *held = calloc(N + 1, sizeof(*held)), n;
    struct cairn_placement *p, *next;

    (void)state;
    equals(m, N + 1);
    for (uint32_t i = 0; i <= N; i++)
        m[i].zone = i / 100;
    p = table(m, N, 2);
    next = table_after(p, m, N + 1, 2);
    assert_true(replicas_moved(p, next) <= 1.05 * SLOTS * 2 / (N + 1));
    for (uint32_t s = 0; s < SLOTS; s++) {
        const uint64_t *ids = cairn_placement_of_slot(next, s, &n);

        for (uint32_t i = 0; i < n; i++)
            held[ids[i] - m[0].id]++;
    }
    for (uint32_t i = 0; i <= N; i++)
        assert_in_range(held[i], SLOTS * 2 / (N + 1), SLOTS * 2 / (N + 1) + 1);
    cairn_placement_free(p);
    cairn_placement_free(next);
    free(held);
    free(m);
}

static void order_of_members_does_not_matter(void **state)
{
    struct cairn_placement_member m[16], shuffled[16];
    struct cairn_placement *a, *b;
    uint32_t n;

    (void)state;
    equals(m, 16);
    for (uint32_t i = 0; i < 16; i++) {
        m[i].zone = i / 4;
        m[i].weight = 1 + i % 3;
    }
    for (uint32_t i = 0; i < 16; i++)
        shuffled[(i * 7 + 3) % 16] = m[i];
    a = table(m, 16, 3);
    b = table(shuffled, 16, 3);
    for (uint32_t s = 0; s < SLOTS; s++)
        assert_memory_equal(cairn_placement_of_slot(a, s, &n), cairn_placement_of_slot(b, s, &n), 3 * sizeof(uint64_t));
    cairn_placement_free(a);
    cairn_placement_free(b);
}

static void odd_members(void **state)
{
    struct cairn_placement_member m[4];
    struct cairn_placement *p;
    uint64_t ids[CAIRN_REPLICAS_MAX];
    uint32_t n;

    (void)state;
    p = table(NULL, 0, 3);
    cairn_placement_of_key(p, "x", 1, &n);
    assert_int_equal(n, 0);
    cairn_placement_free(p);
    equals(m, 4);
    m[1].weight = 0;
    m[2].capacity = 0;
    assert_int_equal(cairn_placement_rank(7, m, 4, 8, ids), 2); /* as many as there are */
    assert_true(ids[0] != ids[1] && (ids[0] == 100 || ids[0] == 103) && (ids[1] == 100 || ids[1] == 103));
    equals(m, 4);
    for (uint32_t i = 0; i < 4; i++)
        m[i].zone = 9; /* one zone: distinct members all the same */
    assert_int_equal(cairn_placement_rank(7, m, 4, 3, ids), 3);
    assert_true(ids[0] != ids[1] && ids[1] != ids[2] && ids[0] != ids[2]);
}

static void bounds_are_checked(void **state)
{
    struct cairn_placement_member m[2];
    struct cairn_placement_conf conf = { .members = m, .n = 2, .replicas = 1 };
    struct cairn_placement *p = NULL;
    struct cairn_err err = { 0 };

    (void)state;
    equals(m, 2);
    conf.slot_bits = 9;
    assert_int_equal(cairn_placement_new(&conf, &p, &err), CAIRN_E_INVAL);
    conf.slot_bits = 21;
    assert_int_equal(cairn_placement_new(&conf, &p, &err), CAIRN_E_INVAL);
    conf.slot_bits = 14;
    conf.replicas = 0;
    assert_int_equal(cairn_placement_new(&conf, &p, &err), CAIRN_E_INVAL);
    conf.replicas = CAIRN_REPLICAS_MAX + 1;
    assert_int_equal(cairn_placement_new(&conf, &p, &err), CAIRN_E_INVAL);
    conf.replicas = 1;
    conf.n = CAIRN_MEMBERS_MAX + 1;
    assert_int_equal(cairn_placement_new(&conf, &p, &err), CAIRN_E_INVAL);
    conf.n = 2;
    m[1].id = m[0].id;
    assert_int_equal(cairn_placement_new(&conf, &p, &err), CAIRN_E_INVAL);
    assert_string_equal(err.text, "two members have the id 100");
    m[1].id = 0;
    assert_int_equal(cairn_placement_new(&conf, &p, &err), CAIRN_E_INVAL);
    assert_null(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(neg_log2_is_close_and_monotone),
        cmocka_unit_test(results_are_fixed),
        cmocka_unit_test(more_slots_split_slots),
        cmocka_unit_test(keys_spread_over_slots),
        cmocka_unit_test(replicas_go_to_distinct_zones),
        cmocka_unit_test(zones_come_before_shares),
        cmocka_unit_test(an_odd_table_before_is_mended),
        cmocka_unit_test(ten_thousand_members),
        cmocka_unit_test(order_of_members_does_not_matter),
        cmocka_unit_test(odd_members),
        cmocka_unit_test(bounds_are_checked),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
