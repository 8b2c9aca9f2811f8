/* The hashed frontend and bytes that change: on their way, or where they lie. */
#include "world.h"

static uint8_t value[1024 * KIB], got[1024 * KIB];

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
    assert_int_equal(raw_put(w, value, "n", 1, 10, 10, 1, NULL), CAIRN_E_CORRUPT);
    assert_int_equal(raw_put(w, value, "n", 1, 10, 10, 2, NULL), CAIRN_E_INVAL);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(embedded_values_have_their_checksums),
        CASE(values_that_changed_on_the_way_are_refused),
        CASE(a_damaged_record_harms_no_other),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
