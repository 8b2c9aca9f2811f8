/* The application under replicas: which rows it writes. */
#include "tests/unit/cluster/store_world.h"

#include "server/cluster/service/store_internal.h"

static struct kv_answer row_of(struct fixture *fx, const char *db, const uint8_t *key, size_t len)
{
    Cairn__Wire__KvGet get = CAIRN__WIRE__KV_GET__INIT;
    struct kv_answer a;

    assert_true(kv_node_has(&fx->kv, db, &get.db));
    get.key = (ProtobufCBinaryData){ .len = len, .data = (uint8_t *)(uintptr_t)key };
    kv_node_ask(&fx->kv, CAIRN__WIRE__KV_METHOD__KV_GET, &get.base, &a);
    assert_true(a.rc == 0 || a.rc == CAIRN_E_NOTFOUND);
    return a;
}

/* ---- where a slot stands ---- */

static uint64_t said_at(struct fixture *fx, uint32_t slot)
{
    uint8_t key[STORE_SLOT_BYTES];
    struct kv_answer a;

    store_be32(key, slot);
    a = row_of(fx, "slots/at", key, sizeof(key));
    assert_int_equal(a.rc, 0);
    return cairn_le_load64((const uint8_t *)a.value + 9);
}

static void put_numbered(struct fixture *fx, uint32_t slot, uint64_t number, const char *key, const char *record)
{
    in_session(fx, slot, push_op(fx, slot, STORE_PUT, 0, 7, key, record), number, number > 4 ? number - 4 : 1);
}

/* Its own row says so; whatever has none there says it in slots/at, also of those that went before it. */
static void a_write_of_a_session_tells_where_its_slot_stands(void **state)
{
    struct fixture *fx = *state;
    struct cairn_log_entry *e;

    begin(fx);
    push(fx, 0, CAIRN_ENTRY_OPEN);
    settle(fx);
    assert_int_equal(said_at(fx, 0), 1);
    put_numbered(fx, 0, 1, "a", "one");
    put_numbered(fx, 0, 2, "b", "two");
    settle(fx);
    assert_int_equal(said_at(fx, 0), 1);
    push_op(fx, 0, STORE_ERASE, 0, 7, "a", "");
    put_numbered(fx, 0, 3, "a", "three");
    settle(fx);
    assert_int_equal(said_at(fx, 0), 5);
    put_numbered(fx, 0, 4, "a", "four");
    settle(fx);
    push(fx, 1, CAIRN_ENTRY_OPEN);
    put_numbered(fx, 1, 1, "c", "one");
    e = push(fx, 1, CAIRN_ENTRY_EXPIRE); /* its rows go, and with them what they say */
    e->rid.session = (struct cairn_at){ 1, 1 };
    settle(fx);
    end(fx);
    begin(fx);
    assert_int_equal(fx->found[0].at.epoch, 1);
    assert_int_equal(fx->found[0].at.pos, 6);
    assert_int_equal(fx->found[0].newest, 4);
    assert_int_equal(fx->found[1].at.pos, 3);
    end(fx);
}

static void set_row(struct fixture *fx, const char *db, const uint8_t *key, size_t len, const uint8_t *value,
                    size_t value_len)
{
    struct iovec payload = { (void *)(uintptr_t)value, value_len };
    Cairn__Wire__KvPut put = CAIRN__WIRE__KV_PUT__INIT;
    struct kv_answer a;

    assert_true(kv_node_has(&fx->kv, db, &put.db));
    put.key = (ProtobufCBinaryData){ .len = len, .data = (uint8_t *)(uintptr_t)key };
    kv_node_ask_with(&fx->kv, CAIRN__WIRE__KV_METHOD__KV_PUT, &put.base, &payload, &a);
    assert_int_equal(a.rc, 0);
}

/* Starts, and expects to hear @why it cannot. */
static void expect_no_start(struct fixture *fx, int rc, const char *why)
{
    end(fx);
    fx->may_fail = true;
    begin(fx);
    assert_int_equal(fx->rc, rc);
    assert_non_null(strstr(fx->why, why));
    fx->may_fail = false;
}

/* Of a later build, or of none: it is said which row it is, and nothing is made of it. */
static void a_row_of_an_unknown_format_is_told(void **state)
{
    uint8_t write[STORE_WRITE_KEY_BYTES] = { 0 }, good[KV_ANSWER_BYTES], bad[KV_ANSWER_BYTES];
    struct fixture *fx = *state;

    begin(fx);
    push(fx, 0, CAIRN_ENTRY_OPEN);
    put_numbered(fx, 0, 1, "a", "one");
    settle(fx);
    store_be64(write + STORE_SLOT_BYTES, 1);
    store_be64(write + STORE_SLOT_BYTES + 8, 1);
    for (int row = 0; row < 3; row++) {
        static const char *const dbs[] = { "slots/at", "slots/session", "slots/session" };
        static const size_t keys[] = { STORE_SLOT_BYTES, STORE_OPEN_KEY_BYTES, STORE_WRITE_KEY_BYTES },
                            values[] = { STORE_AT_VALUE_BYTES, STORE_OPEN_VALUE_BYTES, STORE_WRITE_VALUE_BYTES };

        write[STORE_OPEN_KEY_BYTES] = STORE_SESSION_ALONE >> 8;
        memcpy(good, row_of(fx, dbs[row], write, keys[row]).value, sizeof(good));
        assert_int_equal(good[0], STORE_ROW_FORMAT);
        memcpy(bad, good, sizeof(bad));
        bad[0] = STORE_ROW_FORMAT + 1;
        set_row(fx, dbs[row], write, keys[row], bad, values[row] + 3);
        expect_no_start(fx, CAIRN_E_FORMAT, "is of format 2, and this build knows 1");
        set_row(fx, dbs[row], write, keys[row], good, values[row] - 1);
        expect_no_start(fx, CAIRN_E_CORRUPT, "bytes");
        expect_no_start(fx, CAIRN_E_CORRUPT, "start it with an empty one");
        set_row(fx, dbs[row], write, keys[row], good, values[row]);
    }
    end(fx);
    begin(fx);
    assert_int_equal(fx->found[0].newest, 1);
    end(fx);
}

/* ---- the index ---- */

static size_t index_key(uint32_t slot, uint32_t ns, const char *key, uint8_t *to)
{
    store_be32(to, slot);
    store_be32(to + 4, ns);
    memcpy(to + STORE_INDEX_HEAD_BYTES, key, strlen(key));
    return STORE_INDEX_HEAD_BYTES + strlen(key);
}

static bool is_in_index(struct fixture *fx, uint32_t slot, uint32_t ns, const char *key)
{
    uint8_t row[64];

    return row_of(fx, "slots/index", row, index_key(slot, ns, key, row)).rc == 0;
}

static void erase_from_index(struct fixture *fx, uint32_t slot, uint32_t ns, const char *key)
{
    Cairn__Wire__KvErase erase = CAIRN__WIRE__KV_ERASE__INIT;
    struct kv_answer a;
    uint8_t row[64];

    assert_true(kv_node_has(&fx->kv, "slots/index", &erase.db));
    erase.key = (ProtobufCBinaryData){ .len = index_key(slot, ns, key, row), .data = row };
    kv_node_ask(&fx->kv, CAIRN__WIRE__KV_METHOD__KV_ERASE, &erase.base, &a);
    assert_int_equal(a.rc, 0);
}

/* Only a row that somebody has taken away shows that it is not written again. A repair, which is for it, does. */
static void a_row_of_the_index_is_written_once(void **state)
{
    struct fixture *fx = *state;

    begin(fx);
    push(fx, 0, CAIRN_ENTRY_OPEN);
    put_numbered(fx, 0, 1, "a", "one");
    settle(fx);
    assert_true(is_in_index(fx, 0, 7, "a"));
    erase_from_index(fx, 0, 7, "a");
    put_numbered(fx, 0, 2, "a", "two");
    settle(fx);
    assert_false(is_in_index(fx, 0, 7, "a"));
    assert_string_equal(record_of(fx, 7, "a"), "two");
    push_op(fx, 0, STORE_REPAIR, 0, 7, "a", "two");
    settle(fx);
    assert_true(is_in_index(fx, 0, 7, "a"));
    end(fx);
}

/* A wiped slot has no rows: what is put into it afterwards has its own. */
static void a_wiped_slot_writes_its_rows_again(void **state)
{
    struct fixture *fx = *state;
    struct cairn_sessions none;
    uint8_t image[32];

    begin(fx);
    push(fx, 0, CAIRN_ENTRY_OPEN);
    put_numbered(fx, 0, 1, "a", "one");
    settle(fx);
    cluster_store_wipe(fx->store, &fx->logs[0].s);
    turns(fx, &fx->logs[0].wiped);
    assert_false(is_in_index(fx, 0, 7, "a"));
    cairn_sessions_init(&none);
    cairn_sessions_image_put(&none, 2, image, 20);
    cluster_store_seal(fx->store, &fx->logs[0].s, (struct cairn_at){ 1, 2 }, image, 20);
    turns(fx, &fx->logs[0].sealed);
    put_numbered(fx, 0, 2, "a", "two");
    settle(fx);
    assert_true(is_in_index(fx, 0, 7, "a"));
    end(fx);
}

/* A namespace's database goes while entries are written into it: nothing of that batch was done, also not what it
 * wanted to write of others. */
static void a_batch_that_was_not_done_is_not_remembered(void **state)
{
    Cairn__Wire__KvDrop drop = CAIRN__WIRE__KV_DROP__INIT;
    struct fixture *fx = *state;
    struct kv_answer a;

    begin(fx);
    push(fx, 0, CAIRN_ENTRY_OPEN);
    in_session(fx, 0, push_op(fx, 0, STORE_PUT, 0, 8, "b", "one"), 1, 1);
    settle(fx);
    drop.name = (char *)(uintptr_t) "ns/8";
    kv_node_ask(&fx->kv, CAIRN__WIRE__KV_METHOD__KV_DROP, &drop.base, &a);
    assert_int_equal(a.rc, 0);
    fx->gone[0] = 8;
    put_numbered(fx, 0, 2, "a", "two");
    in_session(fx, 0, push_op(fx, 0, STORE_PUT, 0, 8, "b", "three"), 3, 1);
    settle(fx);
    assert_int_equal(fx->logs[0].results[4], CAIRN_E_STATE);
    assert_string_equal(record_of(fx, 7, "a"), "two");
    assert_true(is_in_index(fx, 0, 7, "a"));
    end(fx);
}

static uint64_t dice(struct fixture *fx, uint64_t n)
{
    fx->random = fx->random * UINT64_C(6364136223846793005) + 1442695040888963407;
    return (fx->random >> 33) % n;
}

/* Whatever is done with keys, by whom, in batches of whatever size: the index names those that have a record. */
static void the_index_names_what_is_there(void **state)
{
    enum { KEYS = 12, ROUNDS = 60 };
    struct fixture *fx = *state;
    uint64_t number = 0;
    char key[16];

    print_message("CAIRN_SEED=%llu\n", (unsigned long long)fx->random);
    begin(fx);
    push(fx, 0, CAIRN_ENTRY_OPEN);
    for (int round = 0; round < ROUNDS; round++) {
        for (uint64_t n = 1 + dice(fx, 20); n > 0; n--) {
            static const enum store_op_kind kinds[] = { STORE_PUT, STORE_PUT, STORE_PUT, STORE_ERASE, STORE_REPAIR };
            enum store_op_kind kind = kinds[dice(fx, 5)];
            uint8_t flags = kind == STORE_PUT && dice(fx, 4) == 0 ? STORE_BODY_IF_ABSENT : 0;
            struct cairn_log_entry *e;

            snprintf(key, sizeof(key), "key %u", (unsigned)dice(fx, KEYS));
            e = push_op(fx, 0, kind, flags, 7, key, kind == STORE_ERASE ? "" : "record");
            number++;
            if (kind != STORE_REPAIR && dice(fx, 5) > 0)
                in_session(fx, 0, e, number, number > 9 ? number - 9 : 1);
            else
                e->rid.seq = number;
        }
        settle(fx);
        for (int i = 0; i < KEYS; i++) {
            snprintf(key, sizeof(key), "key %d", i);
            assert_int_equal(is_in_index(fx, 0, 7, key), strcmp(record_of(fx, 7, key), "-") != 0);
        }
    }
    end(fx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_DISK(a_write_of_a_session_tells_where_its_slot_stands),
        ON_DISK(a_row_of_an_unknown_format_is_told),
        BOTH(a_row_of_the_index_is_written_once),
        BOTH(a_wiped_slot_writes_its_rows_again),
        BOTH(a_batch_that_was_not_done_is_not_remembered),
        BOTH(the_index_names_what_is_there),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
