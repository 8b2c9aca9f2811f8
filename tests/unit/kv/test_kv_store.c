/* What both engines promise (kv_store.h): every story runs against each. */
#include "tests/unit/kv/kv_both.h"

static void put_get_erase(void **state)
{
    struct fx *fx = *state;
    struct cairn_kv_db db = fx_create(fx, "d", CAIRN_KV_BYTES, false),
                       other = fx_create(fx, "e", CAIRN_KV_BYTES, false);

    assert_string_equal(fx_get_str(fx, db, "a"), "-");
    assert_int_equal(fx_put_str(fx, db, "a", "one"), 0);
    assert_string_equal(fx_get_str(fx, db, "a"), "one");
    assert_int_equal(fx_put_str(fx, db, "a", "a longer value than before"), 0);
    assert_string_equal(fx_get_str(fx, db, "a"), "a longer value than before");
    assert_int_equal(fx_put_str(fx, db, "a", ""), 0);
    assert_string_equal(fx_get_str(fx, db, "a"), "");
    assert_string_equal(fx_get_str(fx, other, "a"), "-");
    assert_int_equal(fx_erase(fx, db, fx_str("a")), 0);
    assert_string_equal(fx_get_str(fx, db, "a"), "-");
    assert_int_equal(fx_erase(fx, db, fx_str("a")), 0); /* an erase of nothing is fine */
}

/* The largest key and value, and a key of every byte. */
static void extremes(void **state)
{
    struct fx *fx = *state;
    struct cairn_kv_db db = fx_create(fx, "d", CAIRN_KV_BYTES, false);
    uint8_t *big = malloc(CAIRN_KV_VALUE_BYTES_MAX), key[CAIRN_KEY_BYTES_MAX];
    struct fx_value *v = malloc(sizeof(*v));

    for (uint32_t i = 0; i < CAIRN_KV_VALUE_BYTES_MAX; i++)
        big[i] = (uint8_t)(i * 31 + (i >> 8));
    for (uint32_t i = 0; i < sizeof(key); i++)
        key[i] = (uint8_t)i;
    assert_int_equal(fx_put(fx, db, fx_key(key, sizeof(key)), big, CAIRN_KV_VALUE_BYTES_MAX), 0);
    assert_int_equal(fx_put(fx, db, fx_key(key, 1), "zero", 4), 0);
    assert_int_equal(fx_get(fx, db, fx_key(key, sizeof(key)), v), 0);
    assert_int_equal(v->len, CAIRN_KV_VALUE_BYTES_MAX);
    assert_memory_equal(v->bytes, big, CAIRN_KV_VALUE_BYTES_MAX);
    assert_int_equal(fx_get(fx, db, fx_key(key, 1), v), 0);
    assert_int_equal(v->len, 4);
    assert_int_equal(fx_get(fx, db, fx_key(key, sizeof(key) - 1), v), 0);
    assert_int_equal(v->len, -1);
    free(big);
    free(v);
}

static void conditions(void **state)
{
    struct fx *fx = *state;
    struct cairn_kv_db db = fx_create(fx, "d", CAIRN_KV_BYTES, false), once = fx_create(fx, "o", CAIRN_KV_BYTES, true);
    ProtobufCBinaryData key = fx_str("k");
    struct fx_write fw;

    fx_fill_put(&fw, db, &key, "1", 1);
    fw.w.if_absent = fw.w.want_old = true;
    fx_write_start(fx, &fw, 0);
    assert_int_equal(fx_write_wait(fx, &fw), 0);
    assert_int_equal(fw.status, 0);
    assert_int_equal(fw.old_len, -1);
    fx_fill_put(&fw, db, &key, "2", 1);
    fw.w.if_absent = true;
    fx_write_start(fx, &fw, 0);
    assert_int_equal(fx_write_wait(fx, &fw), 0);
    assert_int_equal(fw.status, CAIRN_E_EXISTS);
    assert_string_equal(fx_get_str(fx, db, "k"), "1");
    fx_fill_put(&fw, db, &key, "three", 5);
    fw.w.want_old = true;
    fx_write_start(fx, &fw, 0);
    assert_int_equal(fx_write_wait(fx, &fw), 0);
    assert_int_equal(fw.old_len, 1);
    assert_memory_equal(fw.old, "1", 1);
    free(fw.old);
    fx_fill_put(&fw, db, &key, NULL, 0);
    fw.w.erase = fw.w.want_old = true;
    fx_write_start(fx, &fw, 0);
    assert_int_equal(fx_write_wait(fx, &fw), 0);
    assert_int_equal(fw.old_len, 5);
    assert_memory_equal(fw.old, "three", 5);
    free(fw.old);
    fx_write_start(fx, &fw, 0);
    assert_int_equal(fx_write_wait(fx, &fw), 0);
    assert_int_equal(fw.old_len, -1);

    assert_int_equal(fx_put_str(fx, once, "k", "first"), 0);
    assert_int_equal(fx_put_str(fx, once, "k", "second"), CAIRN_E_EXISTS);
    assert_int_equal(fx_put_str(fx, once, "k", "first"), CAIRN_E_EXISTS);
    assert_string_equal(fx_get_str(fx, once, "k"), "first");
    assert_int_equal(fx_erase(fx, once, key), 0);
    assert_int_equal(fx_put_str(fx, once, "k", "second"), 0);
    assert_string_equal(fx_get_str(fx, once, "k"), "second");
}

/* Conditional writes that wait in one group see each other, in order of arrival. */
static void conditions_within_a_group(void **state)
{
    enum { N = 6 };
    static const char *const values[N] = { "a", "b", "c", "", "e", "f" };
    static const int expected[N] = { 0, CAIRN_E_EXISTS, CAIRN_E_EXISTS, 0, 0, CAIRN_E_EXISTS }; /* the 4th erases */
    struct fx *fx = *state;
    struct cairn_kv_db db = fx_create(fx, "d", CAIRN_KV_BYTES, true);
    ProtobufCBinaryData key = fx_str("k");
    struct fx_write fw[N];

    for (int i = 0; i < N; i++) {
        fx_fill_put(&fw[i], db, &key, values[i], (uint32_t)strlen(values[i]));
        fw[i].w.erase = fw[i].w.want_old = i == 3;
        fx_write_start(fx, &fw[i], 0);
    }
    for (int i = 0; i < N; i++) {
        assert_int_equal(fx_write_wait(fx, &fw[i]), 0);
        assert_int_equal(fw[i].status, expected[i]);
    }
    assert_int_equal(fw[3].old_len, 1);
    assert_memory_equal(fw[3].old, "a", 1);
    free(fw[3].old);
    assert_string_equal(fx_get_str(fx, db, "k"), "e");
}

struct batch {
    uint32_t n, lengths[CAIRN_BATCH_MAX];
    int32_t status[CAIRN_BATCH_MAX];
    ProtobufCBinaryData keys[CAIRN_BATCH_MAX];
    char names[CAIRN_BATCH_MAX][16];
    uint8_t values[1 << 20];
};

static int batch_write(struct fx *fx, struct cairn_kv_db db, struct batch *b, bool erase, bool if_absent)
{
    struct fx_write fw;
    uint32_t bytes = 0;

    for (uint32_t i = 0; i < b->n; i++)
        bytes += b->lengths[i];
    memset(&fw, 0, sizeof(fw));
    fw.w = (struct cairn_kv_write){ .db = db,
                                    .erase = erase,
                                    .if_absent = if_absent,
                                    .keys = b->keys,
                                    .values = b->values,
                                    .lengths = b->lengths,
                                    .n = b->n,
                                    .value_bytes = erase ? 0 : bytes,
                                    .status = b->status };
    memset(b->status, 0x55, sizeof(b->status));
    fx_write_start(fx, &fw, 0);
    return fx_write_wait(fx, &fw);
}

static bool on_page_found(void *arg, uint32_t i, const uint8_t *val, int64_t len)
{
    struct cairn_kv_page *page = arg;

    assert_int_equal(i, page->n);
    return cairn_kv_page_add(page, val, len);
}

static void batch_read(struct fx *fx, struct cairn_kv_db db, struct batch *b, enum cairn_kv_want want,
                       struct cairn_kv_page *page)
{
    struct cairn_kv_read rd = {
        .db = db, .keys = b->keys, .n = b->n, .want = want, .may_block = true, .found = on_page_found, .arg = page
    };

    cairn_kv_page_reset(page, CAIRN_KV_BYTES, CAIRN_BATCH_MAX);
    assert_int_equal(fx->ops->read(fx->store, &rd), 0);
}

static void batches(void **state)
{
    struct fx *fx = *state;
    struct cairn_kv_db db = fx_create(fx, "d", CAIRN_KV_BYTES, false);
    struct batch *b = calloc(1, sizeof(*b));
    struct cairn_kv_page page = { 0 };
    size_t bytes = 0;

    b->n = 1000;
    for (uint32_t i = 0; i < b->n; i++) {
        b->keys[i] = fx_key(b->names[i], (size_t)sprintf(b->names[i], "key%u", i));
        b->lengths[i] = i % 7;
    }
    for (uint32_t i = 0, at = 0; i < b->n; at += b->lengths[i++])
        memset(b->values + at, (int)('a' + i % 26), b->lengths[i]);
    assert_int_equal(batch_write(fx, db, b, false, false), 0);
    for (uint32_t i = 0; i < b->n; i++)
        assert_int_equal(b->status[i], 0);
    batch_read(fx, db, b, CAIRN_KV_WANT_VALUE, &page);
    assert_int_equal(page.n, 1000);
    for (uint32_t i = 0; i < b->n; i++) {
        assert_int_equal(page.lengths[i], b->lengths[i]);
        bytes += b->lengths[i];
    }
    assert_int_equal(page.values.len, bytes);
    assert_memory_equal(page.values.ptr, b->values, bytes);
    batch_read(fx, db, b, CAIRN_KV_WANT_LENGTH, &page);
    assert_int_equal(page.n, 1000);
    assert_int_equal(page.values.len, 0);

    /* Every second is there already; a key twice in one call, too. */
    b->n = 10;
    for (uint32_t i = 0; i < 10; i += 2)
        b->keys[i] = fx_key(b->names[i], (size_t)sprintf(b->names[i], "new%u", i / 4));
    assert_int_equal(batch_write(fx, db, b, false, true), 0);
    for (uint32_t i = 0; i < 10; i++)
        assert_int_equal(b->status[i], i % 2 == 1 || i % 4 == 2 ? CAIRN_E_EXISTS : 0);
    assert_int_equal(batch_write(fx, db, b, true, false), 0);
    batch_read(fx, db, b, CAIRN_KV_WANT_LENGTH, &page);
    for (uint32_t i = 0; i < 10; i++)
        assert_int_equal(page.lengths[i], -1);
    cairn_kv_page_fini(&page);
    free(b);
}

/* A page takes what fits and says how far it came. */
static void page_stops_when_full(void **state)
{
    struct fx *fx = *state;
    struct cairn_kv_db db = fx_create(fx, "d", CAIRN_KV_BYTES, false);
    struct batch *b = calloc(1, sizeof(*b));
    struct cairn_kv_page page = { 0 };

    for (b->n = 0; b->n < 5; b->n++) {
        b->keys[b->n] = fx_key(b->names[b->n], (size_t)sprintf(b->names[b->n], "k%u", b->n));
        assert_int_equal(fx_put(fx, db, b->keys[b->n], b->values, 400000), 0);
    }
    batch_read(fx, db, b, CAIRN_KV_WANT_VALUE, &page);
    assert_int_equal(page.n, 2);
    assert_int_equal(page.values.len, 800000);
    cairn_kv_page_fini(&page);
    free(b);
}

/* ---- listings ---- */

/* All keys of a listing, by pages of @page_max, joined by commas. */
static const char *list_all(struct fx *fx, struct cairn_kv_db db, const char *prefix, const char *from, const char *to,
                            bool after, bool reverse, uint32_t page_max)
{
    static char out[4096];
    struct cairn_kv_page page = { 0 };
    Cairn__Wire__KvList m = CAIRN__WIRE__KV_LIST__INIT;
    char last[64];
    bool more = true;
    size_t n = 0;

    m.prefix = fx_str(prefix);
    m.from = fx_str(from);
    m.to = fx_str(to);
    m.after = after;
    m.reverse = reverse;
    for (uint32_t pages = 0; more; pages++) {
        const uint8_t *key;

        m.values = pages % 2 == 0;
        more = fx_list(fx, db, &m, page_max, &page);
        key = page.keys.ptr;
        assert_true(!more || page.n == page_max);
        assert_int_equal(page.values.len, m.values ? page.n * 2 : 0); /* every value is "vv" */
        for (uint32_t i = 0; i < page.n; i++) {
            n += (size_t)sprintf(out + n, "%s%.*s", n > 0 ? "," : "", (int)page.key_lengths[i], key);
            snprintf(last, sizeof(last), "%.*s", (int)page.key_lengths[i], key);
            key += page.key_lengths[i];
        }
        m.from = fx_str(last);
        m.after = true;
    }
    out[n] = '\0';
    cairn_kv_page_fini(&page);
    return out;
}

static void listings(void **state)
{
    static const char *const keys[] = { "a", "b", "b/", "b/1", "b/2", "b0", "c", "c\xff", "c\xff\xff", "d" };
    struct fx *fx = *state;
    struct cairn_kv_db before = fx_create(fx, "before", CAIRN_KV_BYTES, false),
                       db = fx_create(fx, "d", CAIRN_KV_BYTES, false),
                       behind = fx_create(fx, "behind", CAIRN_KV_BYTES, false);

    assert_int_equal(fx_put_str(fx, before, "b/3", "vv"), 0);
    assert_int_equal(fx_put_str(fx, behind, "b/4", "vv"), 0);
    assert_string_equal(list_all(fx, db, "", "", "", false, false, 3), "");
    assert_string_equal(list_all(fx, db, "", "", "", false, true, 3), "");
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
        assert_int_equal(fx_put_str(fx, db, keys[(i * 7) % ARRAY_SIZE(keys)], "vv"), 0);
    for (uint32_t page = 1; page < 12; page++) {
        assert_string_equal(list_all(fx, db, "", "", "", false, false, page), "a,b,b/,b/1,b/2,b0,c,c\xff,c\xff\xff,d");
        assert_string_equal(list_all(fx, db, "", "", "", false, true, page), "d,c\xff\xff,c\xff,c,b0,b/2,b/1,b/,b,a");
        assert_string_equal(list_all(fx, db, "b/", "", "", false, false, page), "b/,b/1,b/2");
        assert_string_equal(list_all(fx, db, "b/", "", "", false, true, page), "b/2,b/1,b/");
        assert_string_equal(list_all(fx, db, "c\xff", "", "", false, false, page), "c\xff,c\xff\xff");
        assert_string_equal(list_all(fx, db, "", "b/", "b0", false, false, page), "b/,b/1,b/2");
        assert_string_equal(list_all(fx, db, "", "b/", "b0", true, false, page), "b/1,b/2");
        assert_string_equal(list_all(fx, db, "", "b0", "b/", false, true, page), "b0,b/2,b/1");
        assert_string_equal(list_all(fx, db, "", "b0", "b/", true, true, page), "b/2,b/1");
        assert_string_equal(list_all(fx, db, "b/", "b/1", "", true, false, page), "b/2");
        assert_string_equal(list_all(fx, db, "b/", "b/1", "", false, true, page), "b/1,b/");
        assert_string_equal(list_all(fx, db, "", "c", "b", false, false, page), "");
        assert_string_equal(list_all(fx, db, "x", "", "", false, false, page), "");
    }
}

static void numbers_in_order(void **state)
{
    static const uint64_t numbers[] = {
        0, 1, 2, 255, 256, 65535, 65536, UINT64_C(1) << 32, UINT64_MAX - 1, UINT64_MAX
    };
    struct fx *fx = *state;
    struct cairn_kv_db db = fx_create(fx, "d", CAIRN_KV_UINT, false);
    struct cairn_kv_page page = { 0 };
    Cairn__Wire__KvList m = CAIRN__WIRE__KV_LIST__INIT;
    static struct fx_value v;
    uint64_t x;

    for (size_t i = 0; i < ARRAY_SIZE(numbers); i++) {
        x = numbers[(i * 3) % ARRAY_SIZE(numbers)];
        assert_int_equal(fx_put(fx, db, fx_key(&x, 8), &x, 8), 0);
    }
    assert_false(fx_list(fx, db, &m, 100, &page));
    assert_int_equal(page.n, ARRAY_SIZE(numbers));
    assert_memory_equal(page.keys.ptr, numbers, sizeof(numbers));
    x = 256;
    m.from = fx_key(&x, 2); /* two bytes are enough */
    m.reverse = true;
    assert_false(fx_list(fx, db, &m, 100, &page));
    assert_int_equal(page.n, 5);
    memcpy(&x, page.keys.ptr, 8);
    assert_int_equal(x, 256);
    x = 2;
    assert_int_equal(fx_get(fx, db, fx_key(&x, 1), &v), 0);
    assert_int_equal(v.len, 8); /* 2 and 0002 are the same key */
    cairn_kv_page_fini(&page);
}

static void dropped_is_gone(void **state)
{
    struct fx *fx = *state;
    struct cairn_kv_db db = fx_create(fx, "d", CAIRN_KV_BYTES, false),
                       neighbour = fx_create(fx, "n", CAIRN_KV_BYTES, false);
    struct cairn_kv_range range = { 0 };
    struct cairn_kv_scan scan = { .db = db, .range = &range, .may_block = true, .entry = fx_on_page_entry };
    struct cairn_kv_usage usage;
    struct cairn_kv_db again, found;

    for (uint32_t i = 0; i < 1000; i++)
        assert_int_equal(fx_put(fx, db, fx_key(&i, 4), "x", 1), 0);
    assert_int_equal(fx_put_str(fx, neighbour, "k", "v"), 0);
    assert_int_equal(fx->ops->usage(fx->store, &db, &usage), 0);
    assert_int_equal(usage.keys, 1000);
    assert_true(usage.keys_exact);
    fx_drop(fx, "d");
    assert_false(cairn_kv_dir_find(&fx->dir, db.handle, &found));
    assert_int_equal(fx_put_str(fx, db, "k", "v"), CAIRN_KV_GONE);
    again = fx_create(fx, "d", CAIRN_KV_UINT, true);
    assert_int_not_equal(again.handle, db.handle);
    assert_int_equal(fx_put_str(fx, db, "k", "v"), CAIRN_KV_GONE);
    assert_int_equal(fx->ops->usage(fx->store, &again, &usage), 0);
    assert_int_equal(usage.keys, 0);
    assert_string_equal(fx_get_str(fx, neighbour, "k"), "v");
    if (fx->ops == &cairn_kv_store_memory)
        assert_int_equal(fx->ops->scan(fx->store, &scan), CAIRN_KV_GONE);
}

/* ---- the memory store's own ---- */

static void memory_limit_refuses_and_recovers(void **state)
{
    struct fx *fx = malloc(sizeof(*fx));
    struct cairn_kv_db db;
    static uint8_t value[10000];
    uint32_t n = 0, again = 0;

    (void)state;
    fx_prepare(fx, &cairn_kv_store_memory);
    fx->conf.memory_bytes = 4 << 20;
    fx_open(fx);
    db = fx_create(fx, "d", CAIRN_KV_UINT, false);
    while (fx_put(fx, db, fx_key(&n, 4), value, sizeof(value)) == 0)
        n++;
    assert_in_range(n, 300, (4 << 20) / 10000);
    assert_int_equal(fx_put(fx, db, fx_key(&n, 4), value, sizeof(value)), CAIRN_E_NOSPACE);
    for (uint32_t i = 0; i < n; i++) { /* reads go on, and values that are there can be replaced */
        static struct fx_value v;

        assert_int_equal(fx_get(fx, db, fx_key(&i, 4), &v), 0);
        assert_int_equal(v.len, sizeof(value));
        if (i % 50 == 0)
            assert_int_equal(fx_put(fx, db, fx_key(&i, 4), value, sizeof(value)), 0);
    }
    for (uint32_t i = 0; i < n; i++)
        assert_int_equal(fx_erase(fx, db, fx_key(&i, 4)), 0);
    while (fx_put(fx, db, fx_key(&again, 4), value, 3000) == 0)
        again++;
    assert_true(again > n * 2);
    fx_close(fx);
    fx_remove(fx);
    free(fx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(put_get_erase),   BOTH(extremes),
        BOTH(conditions),      BOTH(conditions_within_a_group),
        BOTH(batches),         BOTH(page_stops_when_full),
        BOTH(listings),        BOTH(numbers_in_order),
        BOTH(dropped_is_gone), cmocka_unit_test(memory_limit_refuses_and_recovers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
