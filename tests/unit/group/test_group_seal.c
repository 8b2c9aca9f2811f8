/* Seals: what is whole, ours and new is taken, once; anything else is not, and why is told apart. */
#include "providers/group/group_seal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { BODY = 50, LEN = BODY + GROUP_SEAL_BYTES };

static const uint8_t key[GROUP_KEY_BYTES] = { 1 }, other_key[GROUP_KEY_BYTES] = { 2 };
static const uint8_t cluster[16] = { 3 }, other_cluster[16] = { 4 };

static struct group_seal us, them;

static int setup(void **state)
{
    (void)state;
    assert_int_equal(group_seal_init(&us, key, cluster, "g", 10, 100, 64), 0);
    assert_int_equal(group_seal_init(&them, key, cluster, "g", 20, 200, 64), 0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    group_seal_fini(&us);
    group_seal_fini(&them);
    return 0;
}

static void make(struct group_seal *s, uint8_t bytes[LEN])
{
    uint8_t body[BODY] = { 7 };

    assert_int_equal(group_seal_close(s, 0, body, sizeof(body), bytes), LEN);
}

static void a_packet_is_taken_once(void **state)
{
    uint8_t bytes[LEN];
    struct group_opened o;

    (void)state;
    make(&them, bytes);
    assert_int_equal(group_seal_open(&us, bytes, LEN, &o), GROUP_SEAL_GOOD);
    assert_int_equal(o.sender, 20);
    assert_int_equal(o.life, 200);
    assert_int_equal(o.len, BODY);
    assert_int_equal(o.body[0], 7);
    assert_int_equal(group_seal_open(&us, bytes, LEN, &o), GROUP_SEAL_REPLAYED);
}

/* In any order within the window, each once; what is older than the window is not believed to be new. */
static void packets_may_overtake_each_other(void **state)
{
    static uint8_t bytes[300][LEN];
    struct group_opened o;

    (void)state;
    for (uint32_t i = 0; i < 300; i++)
        make(&them, bytes[i]);
    for (uint32_t i = 0; i < 64; i++)
        assert_int_equal(group_seal_open(&us, bytes[(i * 37) % 64], LEN, &o), GROUP_SEAL_GOOD);
    for (uint32_t i = 0; i < 64; i++)
        assert_int_equal(group_seal_open(&us, bytes[i], LEN, &o), GROUP_SEAL_REPLAYED);
    assert_int_equal(group_seal_open(&us, bytes[299], LEN, &o), GROUP_SEAL_GOOD);
    assert_int_equal(group_seal_open(&us, bytes[299 - 63], LEN, &o), GROUP_SEAL_GOOD);
    assert_int_equal(group_seal_open(&us, bytes[299 - 64], LEN, &o), GROUP_SEAL_REPLAYED);
}

static void every_bit_counts(void **state)
{
    uint8_t bytes[LEN];
    struct group_opened o;

    (void)state;
    make(&them, bytes);
    for (uint32_t bit = 0; bit < LEN * 8; bit++) {
        enum group_seal_result r;

        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        r = group_seal_open(&us, bytes, LEN, &o);
        assert_int_equal(r, bit < 24                 ? GROUP_SEAL_TORN
                            : bit < 32               ? GROUP_SEAL_STRANGE
                            : bit >= 64 && bit < 128 ? GROUP_SEAL_FOREIGN
                                                     : GROUP_SEAL_FORGED);
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    for (size_t cut = 0; cut < LEN; cut++)
        assert_int_not_equal(group_seal_open(&us, bytes, cut, &o), GROUP_SEAL_GOOD);
    assert_int_equal(group_seal_open(&us, bytes, LEN, &o), GROUP_SEAL_GOOD); /* none of these used it up */
}

static void other_keys_clusters_and_groups_are_told_apart(void **state)
{
    static const struct {
        const uint8_t *key, *cluster;
        const char *group;
        enum group_seal_result expect;
    } cases[] = {
        { key, other_cluster, "g", GROUP_SEAL_FOREIGN },
        { key, cluster, "h", GROUP_SEAL_FOREIGN },
        { other_key, cluster, "g", GROUP_SEAL_FORGED },
    };
    uint8_t bytes[LEN];
    struct group_opened o;

    (void)state;
    for (uint32_t i = 0; i < 3; i++) {
        struct group_seal s;

        assert_int_equal(group_seal_init(&s, cases[i].key, cases[i].cluster, cases[i].group, 30, 1, 8), 0);
        make(&s, bytes);
        assert_int_equal(group_seal_open(&us, bytes, LEN, &o), cases[i].expect);
        group_seal_fini(&s);
    }
}

/* A later version may have changed everything behind the first eight bytes; these say which one it is. */
static void another_version_is_told_by_its_first_bytes(void **state)
{
    uint8_t bytes[LEN];
    struct group_opened o;

    (void)state;
    make(&them, bytes);
    bytes[3] = GROUP_SEAL_VERSION + 1;
    bytes[4] = GROUP_SEAL_NOTICE;
    for (size_t len = 8; len <= LEN; len++) {
        assert_int_equal(group_seal_open(&us, bytes, len, &o), GROUP_SEAL_STRANGE);
        assert_int_equal(o.version, GROUP_SEAL_VERSION + 1);
        assert_int_equal(o.flags, GROUP_SEAL_NOTICE);
    }
    assert_int_equal(group_seal_open(&us, bytes, 7, &o), GROUP_SEAL_TORN);
}

/* Two with one name, by mistake: the younger one's packets do not make the older one's look repeated. */
static void a_twin_does_not_silence_its_twin(void **state)
{
    struct group_seal twin;
    uint8_t bytes[LEN];
    struct group_opened o;

    (void)state;
    assert_int_equal(group_seal_init(&twin, key, cluster, "g", 20, 300, 8), 0);
    for (uint32_t i = 0; i < 10; i++) {
        make(&them, bytes);
        assert_int_equal(group_seal_open(&us, bytes, LEN, &o), GROUP_SEAL_GOOD);
        make(&twin, bytes);
        assert_int_equal(group_seal_open(&us, bytes, LEN, &o), GROUP_SEAL_GOOD);
    }
    group_seal_fini(&twin);
}

/* However many strangers come along, memory stays what it was, and who is heard often is remembered. */
static void strangers_do_not_fill_the_memory(void **state)
{
    uint8_t bytes[LEN], ours[LEN];
    struct group_opened o;

    (void)state;
    for (uint64_t id = 1000; id < 6000; id++) {
        struct group_seal s;

        assert_int_equal(group_seal_init(&s, key, cluster, "g", id * 7919, 1, 8), 0);
        make(&s, bytes);
        assert_int_equal(group_seal_open(&us, bytes, LEN, &o), GROUP_SEAL_GOOD);
        group_seal_fini(&s);
        make(&them, ours);
        assert_int_equal(group_seal_open(&us, ours, LEN, &o), GROUP_SEAL_GOOD);
        assert_int_equal(group_seal_open(&us, ours, LEN, &o), GROUP_SEAL_REPLAYED);
    }
}

#define test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        test(a_packet_is_taken_once),
        test(packets_may_overtake_each_other),
        test(every_bit_counts),
        test(other_keys_clusters_and_groups_are_told_apart),
        test(another_version_is_told_by_its_first_bytes),
        test(a_twin_does_not_silence_its_twin),
        test(strangers_do_not_fill_the_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
