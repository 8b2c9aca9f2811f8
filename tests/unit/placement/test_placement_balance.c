/* Placement: everybody holds his share, and a change moves little. */
#include "tests/unit/placement/tables.h"

#include <math.h>
#include <string.h>

static void sixteen_equals_are_balanced(void **state)
{
    struct cairn_placement_member m[16];

    (void)state;
    equals(m, 16);
    for (uint32_t replicas = 1; replicas <= 3; replicas++) {
        struct cairn_placement *p = table(m, 16, replicas);
        uint32_t mean = SLOTS * replicas / 16;

        for (uint32_t i = 0; i < 16; i++)
            assert_int_equal(slots_held(p, m[i].id), mean);
        cairn_placement_free(p);
    }
}

static void assert_even(const struct cairn_placement *p, const struct cairn_placement_member *m, uint32_t n,
                        uint32_t replicas)
{
    uint32_t least = SLOTS * replicas / n;

    for (uint32_t i = 0; i < n; i++)
        assert_in_range(slots_held(p, m[i].id), least, least + (SLOTS * replicas % n != 0));
}

enum { MEMBERS = 64 };

/* With a zone each: a join moves to the newcomer its share, rounded down, and nothing else; a leave what it held. */
static void joins_and_leaves_move_the_least(void **state)
{
    (void)state;
    for (uint32_t n = 1; n < 64; n += 7) {
        for (uint32_t replicas = 1; replicas <= MIN(n, 3U); replicas++) {
            struct cairn_placement_member m[MEMBERS];
            struct cairn_placement *before, *after, *back;
            uint32_t moved;

            equals(m, n + 1);
            before = table(m, n, replicas);
            after = table_after(before, m, n + 1, replicas);
            moved = replicas_moved(before, after);
            assert_int_equal(moved, slots_held(after, m[n].id));
            assert_true(moved <= 1.05 * SLOTS * replicas / (n + 1));
            assert_even(after, m, n + 1, replicas);
            back = table_after(after, m, n, replicas);
            assert_int_equal(replicas_moved(after, back), moved);
            assert_even(back, m, n, replicas);
            cairn_placement_free(before);
            cairn_placement_free(after);
            cairn_placement_free(back);
        }
    }
}

/* One after the other, each table from the one before: nothing piles up. */
static void many_changes_keep_the_balance(void **state)
{
    struct cairn_placement_member m[MEMBERS];
    struct cairn_placement *p, *next;
    uint32_t n = 8;

    (void)state;
    equals(m, MEMBERS);
    p = table(m, n, 3);
    for (uint32_t i = 0; i < 30; i++) {
        uint32_t leaves = i * 7 % n, held = slots_held(p, m[leaves].id);

        if (i % 3 == 2) {
            m[leaves] = m[--n];
            m[n].id = 1000 + i;
        } else {
            held = SLOTS * 3 / ++n;
        }
        next = table_after(p, m, n, 3);
        assert_true(replicas_moved(p, next) <= held);
        assert_even(next, m, n, 3);
        cairn_placement_free(p);
        p = next;
    }
    next = table_after(p, m, n, 3); /* nothing is to be done, so nothing is done */
    assert_int_equal(replicas_moved(p, next), 0);
    cairn_placement_free(next);
    cairn_placement_free(p);
}

static void shares_are_honoured(void **state)
{
    struct cairn_placement_member m[8];
    struct cairn_placement *p, *next;
    double all = 0;

    (void)state;
    equals(m, 8);
    for (uint32_t i = 0; i < 8; i++) {
        m[i].weight = 1 + i % 4;
        m[i].capacity = i < 4 ? 1000 : 3000;
        all += (double)m[i].weight * m[i].capacity;
    }
    p = table(m, 8, 1);
    for (uint32_t i = 0; i < 8; i++)
        assert_true(fabs(slots_held(p, m[i].id) - SLOTS * ((double)m[i].weight * m[i].capacity / all)) < 1);
    m[0].weight = 0; /* what it held moves, the others' ratios are the same */
    next = table_after(p, m, 8, 1);
    assert_int_equal(replicas_moved(p, next), slots_held(p, m[0].id));
    assert_int_equal(slots_held(next, m[0].id), 0);
    cairn_placement_free(p);
    m[0].weight = 1;
    p = table_after(next, m, 8, 1);
    assert_int_equal(replicas_moved(next, p), slots_held(p, m[0].id));
    cairn_placement_free(p);
    cairn_placement_free(next);
}

/* One that has more weight than all the others has each slot once, and the others the rest. */
static void a_share_is_at_most_every_slot(void **state)
{
    struct cairn_placement_member m[5];
    struct cairn_placement *p;

    (void)state;
    equals(m, 5);
    m[2].weight = 100;
    p = table(m, 5, 2);
    for (uint32_t i = 0; i < 5; i++)
        assert_int_equal(slots_held(p, m[i].id), i == 2 ? SLOTS : SLOTS / 4);
    cairn_placement_free(p);
}

/* Who lacks a slot cannot have it of anybody with too much: one that has just its share gives it, and is given
 * another. */
static void a_third_helps_out(void **state)
{
    struct cairn_placement_member m[5];
    struct cairn_placement_conf conf = { .members = m, .n = 5, .slot_bits = 10, .replicas = 2, .before_width = 2 };
    uint64_t *before = calloc((size_t)1024 * 2, sizeof(*before));
    struct cairn_placement *p = NULL;
    uint32_t n, moved = 0;

    (void)state;
    equals(m, 5);
    m[4].weight = 100; /* all slots; the others a quarter each */
    for (uint32_t s = 0; s < 1024; s++) {
        before[s * 2] = 104;
        before[s * 2 + 1] = 100 + s % 4;
    }
    before[0] = 101; /* with 100: but 101 has one slot less then, and 102 one more */
    before[1 * 2 + 1] = 102;
    conf.before = before;
    assert_int_equal(cairn_placement_new(&conf, &p, NULL), 0);
    for (uint32_t s = 0; s < 1024; s++) {
        const uint64_t *ids = cairn_placement_of_slot(p, s, &n);

        for (uint32_t i = 0; i < n; i++)
            moved += ids[i] != before[s * 2] && ids[i] != before[s * 2 + 1];
    }
    for (uint32_t i = 0; i < 5; i++)
        assert_int_equal(slots_held(p, m[i].id), i == 4 ? 1024 : 256);
    assert_int_equal(moved, 2);
    cairn_placement_free(p);
    free(before);
}

/* Four zones, three replicas: who leaves can be replaced in two of them only. Out of zones of the same size that moves
 * nothing else; out of others a little, for the places are not where the shares want them. */
static void few_zones_cost_little(void **state)
{
    (void)state;
    for (uint32_t n = 20; n <= 21; n++) {
        struct cairn_placement_member m[21];
        struct cairn_placement *before, *after;
        uint32_t held;

        equals(m, n);
        for (uint32_t i = 0; i < n; i++)
            m[i].zone = i % 4;
        before = table(m, n, 3);
        held = slots_held(before, m[10].id);
        m[10] = m[n - 1];
        after = table_after(before, m, n - 1, 3);
        assert_in_range(replicas_moved(before, after), held, n == 20 ? held : held + held / 10);
        assert_even(after, m, n - 1, 3);
        cairn_placement_free(before);
        cairn_placement_free(after);
    }
}

/* Only the ratio of shares counts, whatever their size: nothing overflows. */
static void shares_may_be_huge(void **state)
{
    struct cairn_placement_member small[4], huge[4];
    struct cairn_placement *a, *b;

    (void)state;
    equals(small, 4);
    memcpy(huge, small, sizeof(huge));
    for (uint32_t i = 0; i < 4; i++)
        huge[i].weight = huge[i].capacity = UINT32_MAX;
    a = table(small, 4, 2);
    b = table(huge, 4, 2);
    assert_int_equal(replicas_moved(a, b), 0);
    cairn_placement_free(a);
    cairn_placement_free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sixteen_equals_are_balanced),   cmocka_unit_test(joins_and_leaves_move_the_least),
        cmocka_unit_test(many_changes_keep_the_balance), cmocka_unit_test(shares_are_honoured),
        cmocka_unit_test(a_share_is_at_most_every_slot), cmocka_unit_test(a_third_helps_out),
        cmocka_unit_test(few_zones_cost_little),         cmocka_unit_test(shares_may_be_huge),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
