/* Views of all databases: what they show, how many there may be, how they end. */
#include "tests/lib/paced_clock.h"
#include "tests/lib/patience.h"
#include "tests/unit/kv/kv_rpc_fixture.h"

static int setup_views(void **state)
{
    return setup(state, "backend: rocksdb\nwrite_buffer: 1MiB\ncache: 1MiB\nsnapshots: 4\nsnapshot_idle: 10min\n");
}

static int open_view(struct fixture *fx, uint64_t *id)
{
    Cairn__Wire__Empty m = CAIRN__WIRE__EMPTY__INIT;
    int rc = call(fx, M(SNAPSHOT_OPEN), &m, NULL, 0);

    if (rc == 0) {
        *id = ((Cairn__Wire__KvSnapshotOpened *)fx->reply)->snapshot;
        assert_int_not_equal(*id, 0);
        assert_true(((Cairn__Wire__KvSnapshotOpened *)fx->reply)->idle_ms > 0);
    }
    return rc;
}

static int close_view(struct fixture *fx, uint64_t id)
{
    Cairn__Wire__KvSnapshot m = CAIRN__WIRE__KV_SNAPSHOT__INIT;

    m.snapshot = id;
    return call(fx, M(SNAPSHOT_CLOSE), &m, NULL, 0);
}

static int get_at(struct fixture *fx, uint64_t view, uint16_t method, uint32_t db, const char *key)
{
    Cairn__Wire__KvGet m = CAIRN__WIRE__KV_GET__INIT;

    m.db = db;
    m.key = bin(key, strlen(key));
    m.snapshot = view;
    return call(fx, method, &m, NULL, 0);
}

/* The number of entries that a page of at most @max has, and its first value's first byte. */
static size_t list_at(struct fixture *fx, uint64_t view, uint32_t db, uint32_t max)
{
    Cairn__Wire__KvList m = CAIRN__WIRE__KV_LIST__INIT;

    m.db = db;
    m.max = max;
    m.values = true;
    m.snapshot = view;
    assert_int_equal(call(fx, M(LIST), &m, NULL, 0), 0);
    return ((Cairn__Wire__KvListReply *)fx->reply)->n_keys;
}

static void view_shows_its_moment(void **state)
{
    struct fixture *fx = *state;
    uint32_t a = new_db(fx, "a"), b = new_db(fx, "b");
    Cairn__Wire__Empty flush = CAIRN__WIRE__EMPTY__INIT;
    Cairn__Wire__KvMget many = CAIRN__WIRE__KV_MGET__INIT;
    Cairn__Wire__KvDrop drop = CAIRN__WIRE__KV_DROP__INIT;
    ProtobufCBinaryData keys[3] = { bin("k", 1), bin("new", 3), bin("gone", 4) };
    const Cairn__Wire__KvMgetReply *lengths;
    struct batch *batch = batch_new();
    uint64_t view, later;

    add(batch, a, "k", 'o', 3);
    add(batch, a, "gone", 'g', 2);
    add(batch, b, "k", 'b', 1);
    assert_int_equal(apply(fx, batch), 0);
    assert_int_equal(open_view(fx, &view), 0);
    batch_reset(batch);
    add(batch, a, "k", 'n', 4);
    add(batch, a, "gone", 0, -1);
    add(batch, a, "new", 'n', 1);
    add(batch, b, "k", 0, -1);
    assert_int_equal(apply(fx, batch), 0);
    assert_int_equal(open_view(fx, &later), 0);
    assert_int_not_equal(view, later);
    for (int i = 0; i < 2; i++) { /* from memory, and then from files */
        assert_int_equal(get_at(fx, view, M(GET), a, "k"), 0);
        assert_value(fx, "ooo");
        assert_int_equal(get_at(fx, view, M(GET), b, "k"), 0);
        assert_value(fx, "b");
        assert_int_equal(get_at(fx, view, M(GET), a, "new"), CAIRN_E_NOTFOUND);
        assert_int_equal(get_at(fx, view, M(LENGTH), a, "gone"), 0);
        assert_int_equal(((Cairn__Wire__KvLength *)fx->reply)->length, 2);
        assert_int_equal(list_at(fx, view, a, 10), 2);
        assert_int_equal(fx->value[0], 'g');
        many.db = a;
        many.keys = keys;
        many.n_keys = 3;
        many.snapshot = view;
        assert_int_equal(call(fx, M(MGET), &many, NULL, 0), 0);
        lengths = (Cairn__Wire__KvMgetReply *)fx->reply;
        assert_int_equal(lengths->lengths[0], 3);
        assert_int_equal(lengths->lengths[1], -1);
        assert_int_equal(lengths->lengths[2], 2);
        assert_int_equal(get_at(fx, later, M(GET), a, "k"), 0);
        assert_value(fx, "nnnn");
        assert_int_equal(get_at(fx, later, M(EXISTS), b, "k"), 0);
        assert_false(((Cairn__Wire__KvExists *)fx->reply)->exists);
        assert_int_equal(call(fx, M(FLUSH), &flush, NULL, 0), 0);
    }
    assert_int_equal(call(fx, M(MERASE), &many, NULL, 0), CAIRN_E_INVAL); /* a view is not written */
    drop.name = (char *)(uintptr_t) "b";
    assert_int_equal(call(fx, M(DROP), &drop, NULL, 0), 0);
    assert_int_equal(get_at(fx, view, M(GET), b, "k"), CAIRN_E_NOTFOUND); /* dropped is dropped */
    assert_int_equal(close_view(fx, view), 0);
    assert_int_equal(close_view(fx, view), CAIRN_E_GONE);
    assert_int_equal(get_at(fx, view, M(GET), a, "k"), CAIRN_E_GONE);
    assert_int_equal(get_at(fx, UINT64_MAX, M(GET), a, "k"), CAIRN_E_GONE);
    free(batch); /* and one stays open: it ends with the provider */
}

/* What goes to the pool looks at the same moment. */
static void view_of_much(void **state)
{
    enum { KEYS = 2000, VALUE = 1000 };
    struct fixture *fx = *state;
    uint32_t db = new_db(fx, "a");
    Cairn__Wire__Empty flush = CAIRN__WIRE__EMPTY__INIT;
    Cairn__Wire__KvMget many = CAIRN__WIRE__KV_MGET__INIT;
    const Cairn__Wire__KvMgetReply *lengths;
    struct batch *batch = batch_new();
    uint64_t view;
    char key[8];

    for (uint32_t round = 0; round < 2; round++) {
        batch_reset(batch);
        for (uint32_t i = 0; i < KEYS; i++) {
            snprintf(key, sizeof(key), "%05u", i + round); /* the first is there in one round, the last in the other */
            add(batch, db, key, round == 0 ? 'o' : 'n', VALUE);
        }
        assert_int_equal(apply(fx, batch), 0);
        assert_int_equal(call(fx, M(FLUSH), &flush, NULL, 0), 0);
        if (round == 0)
            assert_int_equal(open_view(fx, &view), 0);
    }
    assert_int_equal(list_at(fx, view, db, CAIRN_BATCH_MAX), (1 << 20) / VALUE);
    assert_int_equal(fx->value[0], 'o');
    assert_int_equal(fx->value[fx->value_len - 1], 'o');
    many.db = db;
    many.keys = batch->keys + KEYS - 300;
    many.n_keys = 300;
    many.snapshot = view;
    assert_int_equal(call(fx, M(MGET), &many, NULL, 0), 0);
    lengths = (Cairn__Wire__KvMgetReply *)fx->reply;
    assert_int_equal(lengths->n_lengths, 300);
    assert_int_equal(lengths->lengths[0], VALUE);
    assert_int_equal(lengths->lengths[299], -1); /* not yet */
    assert_int_equal(fx->value[0], 'o');
    for (uint32_t i = 0; i < KEYS; i += 97) { /* blocks that the cache has lost */
        snprintf(key, sizeof(key), "%05u", i);
        assert_int_equal(get_at(fx, view, M(GET), db, key), 0);
        assert_int_equal(fx->value_len, VALUE);
        assert_int_equal(fx->value[0], 'o');
    }
    assert_int_equal(close_view(fx, view), 0);
    free(batch);
}

/* So long that nothing else comes near it. */
static void pass_min(struct fixture *fx, uint32_t min)
{
    paced_clock_pass_ms(min * 60000ULL);
    cairn_loop_turn(&fx->loop, 0);
}

static void views_are_bounded(void **state)
{
    enum { MAX = 4 }; /* setup_views() */
    struct fixture *fx = *state;
    uint64_t view[MAX + 1];

    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < MAX; i++)
            assert_int_equal(open_view(fx, &view[i]), 0);
        assert_int_equal(open_view(fx, &view[MAX]), CAIRN_E_LIMIT);
        assert_non_null(strstr(fx->err.text, "snapshots"));
        assert_int_equal(status_number(fx, "snapshots"), MAX);
        assert_int_equal(close_view(fx, view[1]), 0);
        assert_int_equal(open_view(fx, &view[1]), 0); /* at once */
        for (int i = 0; i < MAX; i++)
            assert_int_equal(close_view(fx, view[i]), 0);
        assert_int_equal(status_number(fx, "snapshots"), 0);
    }
}

/* Who uses a view keeps it; who forgets it loses it, and leaves room for others. */
static void idle_views_end(void **state)
{
    struct fixture *fx = *state;
    uint32_t db = new_db(fx, "a");
    uint64_t used, forgotten, fresh;

    assert_int_equal(put(fx, db, "k", "v"), 0);
    assert_int_equal(open_view(fx, &used), 0);
    assert_int_equal(open_view(fx, &forgotten), 0);
    for (int i = 0; i < 6; i++) {
        pass_min(fx, 4);
        assert_int_equal(get_at(fx, used, M(GET), db, "k"), 0);
    }
    assert_int_equal(get_at(fx, forgotten, M(GET), db, "k"), CAIRN_E_GONE);
    assert_int_equal(status_number(fx, "snapshots"), 1);
    pass_min(fx, 30);
    assert_int_equal(get_at(fx, used, M(GET), db, "k"), CAIRN_E_GONE);
    assert_int_equal(close_view(fx, used), CAIRN_E_GONE);
    assert_int_equal(status_number(fx, "snapshots"), 0);
    for (int i = 0; i < 4; i++) {
        int rc;

        WHILE_PATIENT ((rc = open_view(fx, &fresh)) == CAIRN_E_LIMIT) /* they are being closed */
            cairn_loop_turn(&fx->loop, CAIRN_NS_PER_MS);
        assert_int_equal(rc, 0);
    }
    assert_int_equal(status_number(fx, "snapshots"), 4);
    pass_min(fx, 30); /* the timer was begun anew */
    assert_int_equal(status_number(fx, "snapshots"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(view_shows_its_moment, setup_rocksdb, teardown),
        cmocka_unit_test_setup_teardown(view_of_much, setup_rocksdb, teardown),
        cmocka_unit_test_setup_teardown(views_are_bounded, setup_views, teardown),
        cmocka_unit_test_setup_teardown(idle_views_end, setup_views, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
