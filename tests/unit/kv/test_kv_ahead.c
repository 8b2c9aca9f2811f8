/* Batches that run ahead of the engine, by themselves: which is the newest, how much there may be, and what becomes of
 * it when the engine does not take it. In the store: test_kv_ahead_store.c. */
#include "tests/unit/kv/kv_fixture.h"

#include "providers/kv/kv_ahead.h"

#include <endian.h>

enum { PART_BYTES = 4000 };

static const char *value_of(const struct kv_ahead_row *row)
{
    static char text[64];

    if (row == NULL)
        return NULL;
    if (row->len < 0)
        return "-";
    memcpy(text, row->key + row->klen, (size_t)row->len);
    text[row->len] = '\0';
    return text;
}

/* ---- by itself ---- */

struct world {
    struct kv_ahead ahead;
    struct cairn_kv_dir dir;
    struct cairn_kv_db db[KV_AHEAD_DBS_MAX + 1];
    struct fx_batch b;
};

static struct world *world_new(void)
{
    struct world *w = calloc(1, sizeof(*w));

    assert_int_equal(cairn_kv_dir_init(&w->dir, CAIRN_KV_DB_MAX, 5), 0);
    for (uint32_t i = 0; i < ARRAY_SIZE(w->db); i++) {
        struct cairn_kv_db_desc desc = { .db = { .order = CAIRN_KV_BYTES } };

        sprintf(desc.name, "d%u", i);
        assert_int_equal(cairn_kv_dir_reserve(&w->dir, &desc), 0);
        cairn_kv_dir_publish(&w->dir, &desc.db);
        w->db[i] = desc.db;
    }
    kv_ahead_init(&w->ahead, PART_BYTES, 7);
    return w;
}

static void world_free(struct world *w)
{
    kv_ahead_fini(&w->ahead);
    cairn_kv_dir_fini(&w->dir);
    free(w->b.values);
    free(w);
}

static void add(struct world *w, uint32_t db, uint32_t key, const char *val)
{
    fx_batch_add(&w->b, w->db[db], key, val, val != NULL ? (uint32_t)strlen(val) : 0);
}

/* What was added is put, and then there is nothing. */
static int put(struct world *w, bool *full)
{
    struct cairn_kv_write write = { .keys = w->b.keys, .entries = w->b.entries, .n = w->b.n, .values = w->b.values };
    int rc = kv_ahead_put(&w->ahead, &w->dir, &write, full);

    fx_batch_reset(&w->b);
    return rc;
}

static const char *find(struct world *w, uint32_t db, uint32_t key)
{
    uint8_t full[8];
    struct kv_ahead_row *row;
    const char *value;
    uint32_t handle = htobe32(w->db[db].handle);

    memcpy(full, &handle, 4);
    memcpy(full + 4, &key, 4);
    row = kv_ahead_find(&w->ahead, full, sizeof(full));
    value = value_of(row);
    kv_ahead_drop(row);
    return value;
}

static void the_newest_is_found(void **state)
{
    struct world *w = world_new();
    struct kv_ahead_row **rows;
    bool full;
    uint32_t n;

    (void)state;
    assert_null(find(w, 0, 1));
    add(w, 0, 1, "a");
    add(w, 0, 2, "b");
    add(w, 1, 1, "other");
    add(w, 0, 1, "later in the batch");
    assert_int_equal(put(w, &full), 0);
    assert_false(full);
    assert_string_equal(find(w, 0, 1), "later in the batch");
    assert_string_equal(find(w, 1, 1), "other");
    rows = kv_ahead_take(&w->ahead, true, &n); /* on the way to the engine */
    assert_int_equal(n, 3);
    for (uint32_t i = 1; i < n; i++)
        assert_true(memcmp(rows[i - 1]->key, rows[i]->key, rows[i]->klen) < 0);
    add(w, 0, 2, NULL);
    assert_int_equal(put(w, &full), 0);
    assert_string_equal(find(w, 0, 2), "-");
    assert_string_equal(find(w, 0, 1), "later in the batch");
    kv_ahead_gone(&w->ahead, rows, 0);
    assert_null(find(w, 0, 1));
    assert_string_equal(find(w, 0, 2), "-");
    world_free(w);
}

static void put_until_full(struct world *w, uint32_t *key)
{
    bool full = false;

    while (!full) {
        add(w, 0, ++*key, "some bytes");
        assert_int_equal(put(w, &full), 0);
        assert_true(*key < 1000);
    }
}

/* Two parts, of which the engine takes one: then there is room for no more, until it has. */
static void what_it_holds_is_bounded(void **state)
{
    struct world *w = world_new();
    struct kv_ahead_row **rows;
    char *large = malloc(PART_BYTES + 1);
    uint32_t key = 0, n;
    bool full;
    int rc;

    (void)state;
    memset(large, 'x', PART_BYTES);
    large[PART_BYTES] = '\0';
    add(w, 0, 1, large);
    assert_int_equal(put(w, &full), CAIRN_KV_LATER);
    put_until_full(w, &key);
    rows = kv_ahead_take(&w->ahead, false, &n);
    assert_int_equal(n, key - 1);
    do {
        add(w, 0, ++key, "some bytes");
        rc = put(w, &full);
        assert_true(key < 1000);
    } while (rc == 0);
    assert_int_equal(rc, CAIRN_KV_LATER);
    assert_null(find(w, 0, key));
    kv_ahead_gone(&w->ahead, rows, 0);
    add(w, 0, key, "some bytes");
    assert_int_equal(put(w, &full), 0);
    assert_true(full);
    assert_string_equal(find(w, 0, key), "some bytes");
    free(large);
    world_free(w);
}

/* The same part is taken again, and nothing is put meanwhile. */
static void what_the_engine_does_not_take_stays(void **state)
{
    struct world *w = world_new();
    struct kv_ahead_row **rows;
    uint32_t n;
    bool full;

    (void)state;
    add(w, 0, 1, "a");
    assert_int_equal(put(w, &full), 0);
    rows = kv_ahead_take(&w->ahead, true, &n);
    kv_ahead_gone(&w->ahead, rows, CAIRN_E_NOSPACE);
    assert_string_equal(find(w, 0, 1), "a");
    add(w, 0, 2, "b");
    assert_int_equal(put(w, &full), CAIRN_KV_LATER);
    rows = kv_ahead_take(&w->ahead, false, &n);
    assert_int_equal(n, 1);
    kv_ahead_gone(&w->ahead, rows, 0);
    add(w, 0, 2, "b");
    assert_int_equal(put(w, &full), 0);
    assert_null(find(w, 0, 1));
    world_free(w);
}

/* A table that was made for a batch which did not come, its database being gone, is given back. */
static void an_empty_part_leaves_nothing(void **state)
{
    struct world *w = world_new();
    uint32_t key = 0, n;
    bool full;

    (void)state;
    cairn_kv_dir_hide(&w->dir, &w->db[3]);
    add(w, 3, 1, "a");
    assert_int_equal(put(w, &full), CAIRN_KV_GONE);
    assert_null(kv_ahead_take(&w->ahead, true, &n));
    assert_int_equal(n, 0);
    put_until_full(w, &key);
    assert_string_equal(find(w, 0, key), "some bytes");
    world_free(w);
}

static void it_says_what_databases_it_has(void **state)
{
    struct world *w = world_new();
    bool full;

    (void)state;
    for (uint32_t i = 0; i < KV_AHEAD_DBS_MAX; i++) {
        assert_false(kv_ahead_has(&w->ahead, w->db[i].handle));
        add(w, i, 1, "a");
        assert_int_equal(put(w, &full), 0);
        assert_true(kv_ahead_has(&w->ahead, w->db[i].handle));
    }
    assert_false(kv_ahead_has(&w->ahead, w->db[KV_AHEAD_DBS_MAX].handle));
    add(w, KV_AHEAD_DBS_MAX, 1, "a");
    assert_int_equal(put(w, &full), 0);
    assert_true(kv_ahead_has(&w->ahead, w->db[KV_AHEAD_DBS_MAX].handle));
    cairn_kv_dir_hide(&w->dir, &w->db[3]);
    add(w, 3, 2, "a");
    assert_int_equal(put(w, &full), CAIRN_KV_GONE);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_newest_is_found),
        cmocka_unit_test(what_it_holds_is_bounded),
        cmocka_unit_test(what_the_engine_does_not_take_stays),
        cmocka_unit_test(an_empty_part_leaves_nothing),
        cmocka_unit_test(it_says_what_databases_it_has),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
