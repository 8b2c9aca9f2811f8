/* MGET in a namespace that is spread over nodes: what a node tells of keys whose slot it does not lead. */
#include "world_cluster.h"

static uint8_t value[100];

/* With two values in it, which the log has brought here. */
static void begin_with(struct world *w, bool write_once)
{
    Cairn__Wire__Namespace m = CAIRN__WIRE__NAMESPACE__INIT;

    m.name = (char *)(uintptr_t) "n";
    m.embed_threshold = 1000;
    m.write_once = write_once;
    assert_int_equal(ns_create_as(w, &root, &m, NULL), 0);
    fill(value, sizeof(value), 1);
    assert_int_equal(put(w, "n", "a", value, 100), 0);
    assert_int_equal(put(w, "n", "b", value, 50), 0);
    cluster_begin(w);
}

/* What each key comes to: its length, or as RouterMgetReply says. */
static void expect_mget(struct world *w, bool replica, const int64_t lengths[3])
{
    ProtobufCBinaryData keys[] = { key_of("a"), key_of("absent"), key_of("b") };
    Cairn__Wire__RouterMget m = CAIRN__WIRE__ROUTER_MGET__INIT;
    const Cairn__Wire__RouterMgetReply *r;
    struct answer a;

    m.ns = (char *)(uintptr_t) "n";
    m.keys = keys;
    m.n_keys = ARRAY_SIZE(keys);
    m.replica = replica;
    assert_int_equal(ask(w, &a, CAIRN__WIRE__ROUTER_METHOD__ROUTER_MGET, &m.base, NULL, 0), 0);
    r = (const Cairn__Wire__RouterMgetReply *)a.reply;
    assert_int_equal(r->n_lengths, ARRAY_SIZE(keys));
    assert_memory_equal(r->lengths, lengths, sizeof(r->lengths[0]) * ARRAY_SIZE(keys));
    assert_int_equal(a.payload_len, lengths[0] == 100 ? 150 : 0);
    answer_free(&a);
}

/* Who does not lead tells what it has, if it is in sync and the key is written once; that it has nothing says nothing. */
static void a_replica_tells_a_batch_what_it_has(void **state)
{
    static const int64_t all[] = { 100, -1, 50 }, found[] = { 100, -3, 50 }, none[] = { -3, -3, -3 };
    struct world *w = *state;

    begin_with(w, true);
    expect_mget(w, true, all); /* it leads */
    cluster.lead = 0;
    cluster.in_sync = true;
    expect_mget(w, true, found);
    expect_mget(w, false, none);
    cluster.in_sync = false;
    expect_mget(w, true, none);
}

/* What may have been replaced elsewhere is not told. */
static void a_replica_tells_nothing_of_what_can_be_replaced(void **state)
{
    static const int64_t all[] = { 100, -1, 50 }, none[] = { -3, -3, -3 };
    struct world *w = *state;

    begin_with(w, false);
    expect_mget(w, true, all);
    cluster.lead = 0;
    cluster.in_sync = true;
    expect_mget(w, true, none);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_replica_tells_a_batch_what_it_has),
        CASE(a_replica_tells_nothing_of_what_can_be_replaced),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
