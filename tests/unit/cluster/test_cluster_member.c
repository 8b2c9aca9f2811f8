/* Members: their entries in the map store, and the table of all. */
#include "server/cluster/service/member.h"
#include "server/cluster/service/service_internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* The longest there can be, unless @short_one. */
static void fill(struct cairn_member *m, bool short_one)
{
    size_t name = short_one ? 2 : CAIRN_NAME_BYTES_MAX, address = short_one ? 20 : CAIRN_MEMBER_ADDRESS_BYTES_MAX - 1;

    memset(m, 0, sizeof(*m));
    m->p = (struct cairn_coord_process){ .node = UINT64_MAX,
                                         .inc = INT64_MAX,
                                         .disk_id = UINT64_MAX,
                                         .disk_inc = INT64_MAX,
                                         .draining = true,
                                         .process = UINT64_MAX };
    memset(m->name, 'n', name);
    memset(m->zone, 'z', name);
    m->naddresses = CAIRN_WIRE_ADDRESSES_MAX;
    for (uint32_t i = 0; i < m->naddresses; i++)
        memset(m->addresses[i], 'a', address);
    m->weight = UINT32_MAX;
    m->state = CAIRN_WIRE_MEMBER_DRAINING;
    m->silent_ms = short_one ? 0 : UINT64_MAX; /* which is not written */
}

static void an_entry_is_read_as_it_was_written(void **state)
{
    static struct cairn_member m, read;
    uint8_t bytes[CAIRN_MEMBER_BYTES_MAX];

    (void)state;
    for (int i = 0; i < 2; i++) {
        fill(&m, i == 0);
        memset(&read, 0, sizeof(read));
        assert_int_equal(cairn_member_unpack(&read, bytes, cairn_member_pack(&m, bytes), NULL), 0);
        assert_memory_equal(&m, &read, sizeof(m));
    }
}

/* What was cut or has another byte is refused, or is another member that can be written. */
static void damaged_entries_are_refused(void **state)
{
    static struct cairn_member m, read;
    uint8_t bytes[CAIRN_MEMBER_BYTES_MAX], again[CAIRN_MEMBER_BYTES_MAX];
    uint32_t refused = 0, tried = 0;
    size_t n;

    (void)state;
    fill(&m, true);
    n = cairn_member_pack(&m, bytes);
    for (size_t cut = 0; cut < n; cut++) {
        memset(&read, 0, sizeof(read));
        assert_int_not_equal(cairn_member_unpack(&read, bytes, cut, NULL), 0);
    }
    for (size_t i = 0; i < n; i++) {
        for (int bit = 0; bit < 8; bit++) {
            bytes[i] ^= (uint8_t)(1 << bit);
            memset(&read, 0, sizeof(read));
            tried++;
            if (cairn_member_unpack(&read, bytes, n, NULL) != 0)
                refused++;
            else
                assert_true(cairn_member_pack(&read, again) <= sizeof(again));
            bytes[i] ^= (uint8_t)(1 << bit);
        }
    }
    assert_in_range(refused, tried / 10, tried);
    assert_int_equal(cairn_member_unpack(&read, bytes, CAIRN_MEMBER_BYTES_MAX + 1, NULL), CAIRN_E_INVAL);
}

static void the_table_is_sorted_and_bounded(void **state)
{
    struct cairn_members t = { 0 };
    struct cairn_member *m, *same;

    (void)state;
    for (uint64_t i = 0; i < CAIRN_CLUSTER_MEMBERS_MAX; i++) {
        uint64_t node = 1 + i * 7919 % CAIRN_CLUSTER_MEMBERS_MAX; /* 7919 is prime: each once */

        assert_null(cairn_members_find(&t, node));
        assert_int_equal(cairn_members_add(&t, node, &m), 0);
        snprintf(m->name, sizeof(m->name), "n%d", (int)node);
    }
    assert_int_equal(t.n, CAIRN_CLUSTER_MEMBERS_MAX);
    for (uint32_t i = 1; i < t.n; i++)
        assert_true(t.all[i - 1]->p.node < t.all[i]->p.node);
    assert_int_equal(cairn_members_add(&t, CAIRN_CLUSTER_MEMBERS_MAX + 1, &m), CAIRN_E_LIMIT);
    assert_int_equal(cairn_members_add(&t, 77, &same), 0);
    assert_ptr_equal(same, cairn_members_find(&t, 77));
    assert_ptr_equal(same, cairn_members_named(&t, "n77"));
    assert_null(cairn_members_named(&t, "n0"));
    cairn_members_fini(&t);
}

/* A wiped node's old entry and its new one have one name. */
static void who_is_called_is_found(void **state)
{
    struct cairn_members t = { 0 };
    struct cairn_member *m;

    (void)state;
    for (uint64_t node = 1; node <= 5; node++) {
        assert_int_equal(cairn_members_add(&t, node, &m), 0);
        snprintf(m->name, sizeof(m->name), "n%d", node == 5 ? 5 : 1);
        m->state = node == 3 ? CAIRN_WIRE_MEMBER_UP : CAIRN_WIRE_MEMBER_SILENT;
    }
    assert_int_equal(cairn_members_called(&t, "n1", true)->p.node, 3);
    assert_int_equal(cairn_members_named(&t, "n1")->p.node, 3);
    assert_int_not_equal(cairn_members_called(&t, "n1", false)->p.node, 3);
    assert_int_equal(cairn_members_called(&t, "n5", true)->p.node, 5); /* if there is none */
    assert_int_equal(cairn_members_called(&t, "0000000000000002", false)->p.node, 2);
    assert_null(cairn_members_called(&t, "2", false));

    /* Who is lost and holds nothing is not meant as long as there is another. */
    for (uint64_t node = 1; node <= 4; node++)
        cairn_members_find(&t, node)->state = CAIRN_WIRE_MEMBER_LOST;
    cairn_members_find(&t, 3)->state = CAIRN_WIRE_MEMBER_UP;
    assert_int_equal(cairn_members_called(&t, "n1", false)->p.node, 3);
    assert_int_equal(cairn_members_called(&t, "n1", true)->p.node, 3);
    cairn_members_find(&t, 2)->holds = 7;
    assert_int_equal(cairn_members_called(&t, "n1", false)->p.node, 2);
    assert_int_equal(cairn_members_called(&t, "n1", true)->p.node, 3);
    cairn_members_find(&t, 3)->state = CAIRN_WIRE_MEMBER_SILENT;
    assert_int_equal(cairn_members_called(&t, "n1", false)->p.node, 3);
    assert_int_equal(cairn_members_called(&t, "n1", true)->p.node, 3);
    cairn_members_find(&t, 3)->p.draining = true; /* it has left */
    assert_int_equal(cairn_members_called(&t, "n1", false)->p.node, 2);
    cairn_members_fini(&t);
}

static uint64_t slots_of(const char *text)
{
    struct cairn_map_entry e = { .value = (const uint8_t *)text, .value_len = (uint32_t)strlen(text) };

    return cairn_cluster__nslots_of(&e);
}

static uint64_t lease_of(const char *text)
{
    struct cairn_map_entry e = { .value = (const uint8_t *)text, .value_len = (uint32_t)strlen(text) };

    return cairn_cluster__lease_of(&e);
}

static void numbers_that_make_no_sense_are_none(void **state)
{
    static const char *const wrong[] = {
        "", "x", "1024x", "1000", "512", "262144", "4294968320", "99999999999999999999"
    };

    (void)state;
    assert_int_equal(slots_of("1024"), 1024);
    assert_int_equal(slots_of("131072"), 131072);
    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
        assert_int_equal(slots_of(wrong[i]), 0);
    assert_true(lease_of("4000") == 4 * CAIRN_NS_PER_S);
    assert_true(lease_of("999") == 0 && lease_of("60001") == 0 && lease_of("-4000") == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_entry_is_read_as_it_was_written),  cmocka_unit_test(damaged_entries_are_refused),
        cmocka_unit_test(the_table_is_sorted_and_bounded),     cmocka_unit_test(who_is_called_is_found),
        cmocka_unit_test(numbers_that_make_no_sense_are_none),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
