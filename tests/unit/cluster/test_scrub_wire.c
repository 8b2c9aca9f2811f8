/* What nodes that compare replicas say to each other: what of it is believed. */
#include "server/cluster/service/scrub_internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void hostile_messages_are_refused(void **state)
{
    uint8_t low[] = { 0, 0, 0, 1, 'a' }, high[] = { 0, 0, 0, 1, 'b' };
    ProtobufCBinaryData a = { sizeof(low), low }, b = { sizeof(high), high }, keys[] = { a, b };
    Cairn__Wire__ClusterCompare ask = CAIRN__WIRE__CLUSTER_COMPARE__INIT;
    Cairn__Wire__ClusterCompared m = CAIRN__WIRE__CLUSTER_COMPARED__INIT;
    uint32_t states[] = { SCAN_SOUND, SCAN_SOUND };
    uint64_t digests[] = { 1, 2 };

    (void)state;
    assert_false(scrub_ask_is_good(&ask)); /* of no epoch */
    ask.epoch = 3;
    assert_true(scrub_ask_is_good(&ask));
    ask.after = b;
    ask.upto = a;
    assert_false(scrub_ask_is_good(&ask));
    ask.after = a;
    ask.upto = b;
    assert_true(scrub_ask_is_good(&ask));
    ask.one = true;
    assert_false(scrub_ask_is_good(&ask));
    ask.one = false;
    ask.after.len = SCAN_NS_BYTES; /* of no key */
    assert_false(scrub_ask_is_good(&ask));
    ask.after.len = 0;
    ask.slot = SIDE_SLOTS_MAX;
    assert_false(scrub_ask_is_good(&ask));
    ask.slot = 0;

    m.keys = keys;
    m.states = states;
    m.digests = digests;
    m.n_keys = m.n_states = m.n_digests = 2;
    assert_true(scrub_answer_is_good(&ask, &m, NULL, 0));
    assert_false(scrub_answer_is_good(&ask, &m, NULL, 1));
    m.n_states = 1;
    assert_false(scrub_answer_is_good(&ask, &m, NULL, 0));
    m.n_states = 2;
    states[1] = SCAN_STATES;
    assert_false(scrub_answer_is_good(&ask, &m, NULL, 0));
    states[1] = SCAN_SOUND;
    m.same = true;
    assert_false(scrub_answer_is_good(&ask, &m, NULL, 0));
    m.same = false;
    keys[1] = a; /* twice */
    assert_false(scrub_answer_is_good(&ask, &m, NULL, 0));
    keys[1] = b;
    ask.upto = a; /* one more than was asked for */
    assert_false(scrub_answer_is_good(&ask, &m, NULL, 0));
    ask.upto.len = 0;
    ask.after = a;
    assert_false(scrub_answer_is_good(&ask, &m, NULL, 0));
    ask.after.len = 0;
    m.applied = 2; /* and read what was committed before that */
    assert_false(scrub_answer_is_good(&ask, &m, NULL, 0));
    m.commit = 2;
    ask.applied = 3;
    assert_false(scrub_answer_is_good(&ask, &m, NULL, 0));
    ask.applied = 0;
    m.n_keys = m.n_states = m.n_digests = 0;
    m.more = true; /* of what? */
    assert_false(scrub_answer_is_good(&ask, &m, NULL, 0));
}

/* What is said to be good, and is not what was digested, or no record at all, is never written over another copy. */
static void a_copy_is_what_its_digest_says(void **state)
{
    uint8_t key[] = { 0, 0, 0, 1, 'a' }, row[STORE_INDEX_VALUE_BYTES] = { 1 };
    ProtobufCBinaryData keys[] = { { sizeof(key), key } };
    Cairn__Wire__ClusterCompare ask = CAIRN__WIRE__CLUSTER_COMPARE__INIT;
    Cairn__Wire__ClusterCompared m = CAIRN__WIRE__CLUSTER_COMPARED__INIT;
    uint8_t good[64];
    uint32_t len = (uint32_t)cairn_record_embedded_bytes(5), states[] = { SCAN_SOUND };
    uint64_t digests[1];
    struct cairn_record r;

    (void)state;
    memcpy(good + CAIRN_RECORD_HEAD_BYTES, "value", 5);
    cairn_record_put_embedded(good, 0, 5, NULL);
    digests[0] = store_scan_copy_digest(SCAN_SOUND, row, good, len);
    ask.epoch = 3;
    ask.one = true;
    ask.upto = keys[0];
    m.keys = keys;
    m.states = states;
    m.digests = digests;
    m.n_keys = m.n_states = m.n_digests = 1;
    m.index = (ProtobufCBinaryData){ sizeof(row), row };
    assert_true(scrub_answer_is_good(&ask, &m, good, len));
    assert_false(scrub_answer_is_good(&ask, &m, good, len - 1));
    row[1] ^= 1;
    assert_false(scrub_answer_is_good(&ask, &m, good, len));
    row[1] ^= 1;
    states[0] = SCAN_DAMAGED;
    assert_false(scrub_answer_is_good(&ask, &m, good, len));
    states[0] = SCAN_SOUND;
    digests[0] = store_scan_copy_digest(SCAN_SOUND, row, NULL, 0); /* of nothing, which is not good */
    assert_false(scrub_answer_is_good(&ask, &m, NULL, 0));
    states[0] = SCAN_NO_RECORD;
    digests[0] = store_scan_copy_digest(SCAN_NO_RECORD, row, NULL, 0);
    assert_true(scrub_answer_is_good(&ask, &m, NULL, 0));

    assert_true(scrub_record_is_good(good, len, &r));
    assert_false(scrub_record_is_good(NULL, 0, &r));
    assert_false(scrub_record_is_good(good, 0, &r));
    good[CAIRN_RECORD_HEAD_BYTES] ^= 1;
    assert_false(scrub_record_is_good(good, len, &r));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hostile_messages_are_refused),
        cmocka_unit_test(a_copy_is_what_its_digest_says),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
