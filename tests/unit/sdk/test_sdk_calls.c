/* Calls to a node that misbehaves when told to: both forms, values of all sizes, errors, checksums, batches, lists. */
#include "tests/unit/sdk/sdk_fixture.h"

static void header_and_library_are_one_version(void **state)
{
    char text[32];

    (void)state;
    snprintf(text, sizeof(text), "%d.%d.%d", CAIRN_VERSION_MAJOR, CAIRN_VERSION_MINOR, CAIRN_VERSION_PATCH);
    assert_string_equal(cairn_version(), text);
    assert_true(CAIRN_VERSION_NUMBER >= CAIRN_VERSION_OF(0, 1, 0) &&
                CAIRN_VERSION_NUMBER < CAIRN_VERSION_OF(1000, 0, 0));
}

/* The drawing in call.c says the same. */
static void the_table_is_the_drawing(void **state)
{
    static const char drawing[] = "READY: ASKING FAILED\n"
                                  "ASKING: CHECKING FAILED\n"
                                  "CHECKING: ASKING DONE FAILED\n"
                                  "DONE:\n"
                                  "FAILED:\n";
    struct cairn_err err = { 0 };
    char text[500] = "";
    FILE *f = fmemopen(text, sizeof(text), "w");

    (void)state;
    if (cairn_sm_kind_check(&cairn_client_call_kind, &err) != 0)
        fail_msg("%s", err.text);
    cairn_sm_kind_text(&cairn_client_call_kind, f);
    fclose(f);
    assert_string_equal(text, drawing);
}

/* ---- both forms ---- */

static void values_of_all_sizes_come_back(void **state)
{
    static const size_t sizes[] = { 0,
                                    1,
                                    SCRIPTED_EMBED_THRESHOLD,
                                    SCRIPTED_EMBED_THRESHOLD + 1,
                                    CAIRN_BULK_THRESHOLD_BYTES,
                                    CAIRN_BULK_THRESHOLD_BYTES + 1,
                                    MIB,
                                    5 * MIB + 77 };
    struct fixture *fx = *state;

    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        size_t n = sizes[i], len = 99, part;
        uint8_t *value = pattern(n, (unsigned)i), *back = malloc(n + 10);
        uint64_t total = 0;
        bool exists = false;
        void *own = NULL;

        assert_int_equal(cairn_put(fx->ns, "k", 1, value, n, NULL), 0);
        assert_int_equal(cairn_get(fx->ns, "k", 1, back, n + 10, &len, NULL), 0);
        assert_int_equal(len, n);
        assert_memory_equal(back, value, n);
        memset(back, 0, n);
        assert_int_equal(cairn_get(fx->ns, "k", 1, back, n, &len, NULL), 0); /* exactly enough room */
        assert_int_equal(len, n);
        assert_memory_equal(back, value, n);
        assert_int_equal(cairn_get_alloc(fx->ns, "k", 1, &own, &len, NULL), 0);
        assert_int_equal(len, n);
        assert_memory_equal(own, value, n);
        assert_int_equal(((char *)own)[n], 0);
        cairn_free(own);
        part = n / 3;
        assert_int_equal(cairn_read(fx->ns, "k", 1, part, back, n, &len, &total, NULL), 0);
        assert_int_equal(len, n - part);
        assert_int_equal(total, n);
        assert_memory_equal(back, value + part, len);
        assert_int_equal(cairn_read(fx->ns, "k", 1, n, back, 5, &len, NULL, NULL), 0);
        assert_int_equal(len, 0);
        assert_int_equal(cairn_length(fx->ns, "k", 1, &total, NULL), 0);
        assert_int_equal(total, n);
        assert_int_equal(cairn_exists(fx->ns, "k", 1, &exists, NULL), 0);
        assert_true(exists);
        if (n > 0) {
            assert_int_equal(cairn_get(fx->ns, "k", 1, back, n - 1, &len, &fx->o), CAIRN_E_TOOBIG);
            assert_int_equal(len, n);
            assert_int_equal(fx->error.code, CAIRN_E_TOOBIG);
        }
        assert_int_equal(cairn_get(fx->ns, "k", 1, NULL, 0, &len, NULL), n > 0 ? CAIRN_E_TOOBIG : 0);
        free(value);
        free(back);
    }
    assert_true(atomic_load(&fx->knobs->bulk_puts) == 3 && atomic_load(&fx->knobs->bulk_gets) > 3);
}

static void asynchronous_forms_do_the_same(void **state)
{
    struct fixture *fx = *state;
    struct outcome o[10] = { 0 };
    struct cairn_ns *other = NULL;
    uint8_t *value = pattern(MIB, 1), *back = malloc(MIB), *half = malloc(MIB);
    size_t len = 0, half_len = 0, own_len = 0;
    struct cairn_page *page = NULL;
    uint64_t length = 0, total = 0;
    bool exists = false;
    void *own = NULL;

    assert_int_equal(cairn_put_async(fx->ns, "k", 1, value, MIB, NULL, on_done, &o[0]), 0);
    assert_int_equal(o[0].runs, 0); /* never inside the call that started it */
    assert_int_equal(cairn_drain(fx->c, -1), 0);
    assert_int_equal(cairn_get_async(fx->ns, "k", 1, back, MIB, &len, NULL, on_done, &o[1]), 0);
    assert_int_equal(cairn_get_alloc_async(fx->ns, "k", 1, &own, &own_len, NULL, on_done, &o[2]), 0);
    assert_int_equal(cairn_read_async(fx->ns, "k", 1, 1000, half, MIB, &half_len, &total, NULL, on_done, &o[3]), 0);
    assert_int_equal(cairn_exists_async(fx->ns, "k", 1, &exists, NULL, on_done, &o[4]), 0);
    assert_int_equal(cairn_length_async(fx->ns, "k", 1, &length, NULL, on_done, &o[5]), 0);
    assert_int_equal(cairn_list_async(fx->ns, "", 0, NULL, 0, 0, &page, NULL, on_done, &o[6]), 0);
    assert_int_equal(cairn_ns_open_async(fx->c, "more", &other, NULL, on_done, &o[7]), 0);
    assert_int_equal(cairn_ping_async(fx->c, NULL, on_done, &o[8]), 0);
    assert_int_equal(cairn_inflight(fx->c), 8);
    assert_int_equal(cairn_drain(fx->c, -1), 0);
    assert_int_equal(cairn_delete_async(fx->ns, "k", 1, NULL, on_done, &o[9]), 0);
    while (o[9].runs == 0)
        assert_true(cairn_poll(fx->c, -1) >= 0);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(o[i].runs, 1);
        assert_int_equal(o[i].rc, 0);
    }
    assert_int_equal(len, MIB);
    assert_memory_equal(back, value, MIB);
    assert_int_equal(own_len, MIB);
    assert_memory_equal(own, value, MIB);
    assert_int_equal(half_len, MIB - 1000);
    assert_memory_equal(half, value + 1000, half_len);
    assert_true(exists && length == MIB && total == MIB);
    assert_int_equal(page->n, 1);
    assert_int_equal(page->entries[0].value_len, MIB);
    assert_int_equal(cairn_get(fx->ns, "k", 1, back, MIB, &len, NULL), CAIRN_E_NOTFOUND);
    cairn_ns_close(other);
    cairn_free(page);
    cairn_free(own);
    free(value);
    free(back);
    free(half);
}

static void errors_bring_their_text(void **state)
{
    struct fixture *fx = *state;
    struct cairn_ns *none = NULL;
    char long_key[CAIRN_KEY_BYTES_MAX + 1] = { 1 };
    struct outcome out = { 0 };
    size_t len;

    assert_int_equal(cairn_ns_open(fx->c, "absent", &none, &fx->o), CAIRN_E_NOTFOUND);
    assert_null(none);
    assert_string_equal(fx->error.text, "no namespace absent");
    assert_int_equal(cairn_ns_open(fx->c, "", &none, &fx->o), CAIRN_E_INVAL);
    assert_int_equal(cairn_put(fx->ns, "", 0, "v", 1, &fx->o), CAIRN_E_INVAL);
    assert_int_equal(cairn_put(fx->ns, long_key, sizeof(long_key), "v", 1, &fx->o), CAIRN_E_INVAL);
    assert_non_null(strstr(fx->error.text, "4097"));
    assert_int_equal(cairn_put(fx->ns, long_key, CAIRN_KEY_BYTES_MAX, "v", 1, &fx->o), 0);
    assert_int_equal(cairn_get_async(fx->ns, "nokey", 5, NULL, 0, &len, &fx->o, on_done, &out), 0);
    assert_int_equal(cairn_drain(fx->c, -1), 0);
    assert_int_equal(out.rc, CAIRN_E_NOTFOUND);
    assert_string_equal(fx->error.text, "no such key");
    assert_int_equal(cairn_put_async(fx->ns, "k", 1, "v", 1, NULL, NULL, NULL), CAIRN_E_INVAL);
    fx->o.size = 3;
    assert_int_equal(cairn_ping(fx->c, &fx->o), CAIRN_E_INVAL);
    fx->o.size = sizeof(fx->o);
    fx->o.flags = CAIRN_IF_ABSENT;
    assert_int_equal(cairn_put(fx->ns, long_key, CAIRN_KEY_BYTES_MAX, "w", 1, &fx->o), CAIRN_E_EXISTS);
    atomic_store(&fx->knobs->fail, CAIRN_E_NOSPACE);
    assert_int_equal(cairn_put(fx->ns, "k", 1, "v", 1, &fx->o), CAIRN_E_NOSPACE);
    assert_string_equal(fx->error.text, "as told");
}

/* ---- checksums ---- */

static void a_bit_flipped_on_the_way_is_mended(void **state)
{
    struct fixture *fx = *state;
    uint8_t *value = pattern(3 * MIB, 5), *back = malloc(3 * MIB);
    size_t len = 0;

    assert_int_equal(cairn_put(fx->ns, "k", 1, value, 3 * MIB, NULL), 0);
    atomic_store(&fx->knobs->corrupt_reads, 1);
    assert_int_equal(cairn_get(fx->ns, "k", 1, back, 3 * MIB, &len, NULL), 0);
    assert_memory_equal(back, value, 3 * MIB);
    assert_int_equal(atomic_load(&fx->knobs->verified_gets), 1); /* the second time the node had to look itself */
    atomic_store(&fx->knobs->corrupt_reads, 2);
    assert_int_equal(cairn_get(fx->ns, "k", 1, back, 3 * MIB, &len, &fx->o), CAIRN_E_CORRUPT);
    assert_non_null(strstr(fx->error.text, "checksums"));
    atomic_store(&fx->knobs->corrupt_reads, 1);
    fx->o.flags = CAIRN_VERIFY;
    assert_int_equal(cairn_get(fx->ns, "k", 1, back, 3 * MIB, &len, &fx->o), CAIRN_E_CORRUPT);
    free(value);
    free(back);
}

static void corruption_gives_no_memory_away(void **state)
{
    struct fixture *fx = *state;
    uint8_t *value = pattern(SCRIPTED_EMBED_THRESHOLD * 3, 5);
    void *own = NULL;
    size_t len = 0;

    assert_int_equal(cairn_put(fx->ns, "k", 1, value, SCRIPTED_EMBED_THRESHOLD * 3, NULL), 0);
    atomic_store(&fx->knobs->corrupt_reads, 100);
    assert_int_equal(cairn_get_alloc(fx->ns, "k", 1, &own, &len, NULL), CAIRN_E_CORRUPT);
    assert_null(own);
    free(value);
}

/* ---- batches and lists ---- */

static void batches_of_any_size(void **state)
{
    enum { N = 9000, BIG = 60000 };
    struct fixture *fx = *state;
    struct cairn_put_item *puts = calloc(N, sizeof(*puts));
    struct cairn_get_item *gets = calloc(N + 1, sizeof(*gets));
    uint8_t *big = pattern(BIG, 3), *room = malloc(BIG);
    char(*keys)[16] = calloc(N, sizeof(*keys));

    for (int i = 0; i < N; i++) {
        snprintf(keys[i], sizeof(keys[i]), "key%06d", i);
        puts[i] = (struct cairn_put_item){ keys[i], 9, keys[i], 9, 1 };
        gets[i] = (struct cairn_get_item){ .key = keys[i], .key_len = 9, .value = malloc(16), .room = 16 };
    }
    puts[4500].value = big; /* too large to share a request */
    puts[4500].value_len = BIG;
    free(gets[4500].value);
    gets[4500].value = room;
    gets[4500].room = BIG;
    gets[7].room = 3;
    gets[N] = (struct cairn_get_item){ .key = "absent", .key_len = 6, .value = room, .room = 0 };
    assert_int_equal(cairn_mput(fx->ns, puts, N, NULL), 0);
    for (int i = 0; i < N; i++)
        assert_int_equal(puts[i].status, 0);
    assert_true(atomic_load(&fx->knobs->mputs) >= 3);
    assert_int_equal(atomic_load(&fx->knobs->puts), 1);
    atomic_store(&fx->knobs->short_pages, 2);
    assert_int_equal(cairn_mget(fx->ns, gets, N + 1, NULL), 0);
    assert_true(atomic_load(&fx->knobs->mgets) >= 5);
    for (int i = 0; i < N; i++) {
        if (i == 7 || i == 4500)
            continue;
        assert_int_equal(gets[i].status, 0);
        assert_int_equal(gets[i].value_len, 9);
        assert_memory_equal(gets[i].value, keys[i], 9);
    }
    assert_int_equal(gets[7].status, CAIRN_E_TOOBIG);
    assert_int_equal(gets[7].value_len, 9);
    assert_int_equal(gets[4500].status, 0);
    assert_int_equal(gets[4500].value_len, BIG);
    assert_memory_equal(room, big, BIG);
    assert_int_equal(gets[N].status, CAIRN_E_NOTFOUND);
    fx->o.flags = CAIRN_IF_ABSENT;
    puts[10].key = "fresh";
    puts[10].key_len = 5;
    assert_int_equal(cairn_mput(fx->ns, puts, 20, &fx->o), CAIRN_E_EXISTS);
    for (int i = 0; i < 20; i++)
        assert_int_equal(puts[i].status, i == 10 ? 0 : CAIRN_E_EXISTS);
    assert_int_equal(cairn_mput(fx->ns, NULL, 0, NULL), 0);
    assert_int_equal(cairn_mget(fx->ns, NULL, 0, NULL), 0);
    for (int i = 0; i < N; i++) {
        if (i != 4500)
            free(gets[i].value);
    }
    free(puts);
    free(gets);
    free(keys);
    free(big);
    free(room);
}

static void a_large_value_that_does_not_fit_a_batch_says_so(void **state)
{
    struct fixture *fx = *state;
    uint8_t *big = pattern(MIB, 3), small[16];
    struct cairn_get_item g[2] = { { .key = "big", .key_len = 3, .value = small, .room = 16 },
                                   { .key = "big", .key_len = 3, .value = small, .room = 16 } };

    assert_int_equal(cairn_put(fx->ns, "big", 3, big, MIB, NULL), 0);
    assert_int_equal(cairn_mget(fx->ns, g, 2, NULL), 0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(g[i].status, CAIRN_E_TOOBIG);
        assert_int_equal(g[i].value_len, MIB);
    }
    free(big);
}

static void a_walk_sees_every_key_once(void **state)
{
    enum { N = 950 };
    struct fixture *fx = *state;
    struct cairn_iter *it;
    struct cairn_entry e;
    char key[16];
    int n = 0, rc;

    for (int i = 0; i < N; i++) {
        snprintf(key, sizeof(key), "w%05d", i);
        assert_int_equal(cairn_put(fx->ns, key, 6, "x", 1, NULL), 0);
    }
    assert_int_equal(cairn_put(fx->ns, "other", 5, "x", 1, NULL), 0);
    assert_int_equal(cairn_iter_open(fx->ns, "w", 1, NULL, &it), 0);
    while ((rc = cairn_iter_next(it, &e)) == 1) {
        snprintf(key, sizeof(key), "w%05d", n++);
        assert_int_equal(e.key_len, 6);
        assert_memory_equal(e.key, key, 6);
        assert_int_equal(e.value_len, 1);
    }
    assert_int_equal(rc, 0);
    assert_int_equal(n, N);
    cairn_iter_close(it);
}

struct walk {
    struct cairn_iter *it;
    struct cairn_entry e;
    int n, last;
    bool inside;
};

static void walk_on_step(void *arg, int rc)
{
    struct walk *x = arg;
    char key[16];

    assert_false(x->inside); /* no callback runs inside the call that started it */
    x->last = rc;
    if (rc != 1)
        return;
    snprintf(key, sizeof(key), "w%05d", x->n++);
    assert_int_equal(x->e.key_len, 6);
    assert_memory_equal(x->e.key, key, 6);
    x->inside = true;
    assert_int_equal(cairn_iter_next_async(x->it, &x->e, walk_on_step, x), 0);
    x->inside = false;
}

static void a_walk_without_waiting(void **state)
{
    enum { N = 950 };
    struct fixture *fx = *state;
    struct walk x = { .last = 1 };
    struct cairn_entry e;
    char key[16];

    for (int i = 0; i < N; i++) {
        snprintf(key, sizeof(key), "w%05d", i);
        assert_int_equal(cairn_put(fx->ns, key, 6, "x", 1, NULL), 0);
    }
    assert_int_equal(cairn_iter_open(fx->ns, "w", 1, &fx->o, &x.it), 0);
    assert_int_equal(cairn_iter_next_async(x.it, &x.e, NULL, NULL), CAIRN_E_INVAL);
    assert_int_equal(cairn_iter_next_async(x.it, &x.e, walk_on_step, &x), 0);
    assert_int_equal(cairn_iter_next_async(x.it, &e, walk_on_step, &x), CAIRN_E_STATE);
    assert_int_equal(cairn_iter_next(x.it, &e), CAIRN_E_STATE);
    assert_int_equal(x.n, 0);
    assert_int_equal(cairn_drain(fx->c, -1), 0);
    assert_int_equal(x.last, 0);
    assert_int_equal(x.n, N);
    assert_int_equal(cairn_iter_next(x.it, &e), 0); /* the end stays the end */
    cairn_iter_close(x.it);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(header_and_library_are_one_version),
        cmocka_unit_test(the_table_is_the_drawing),
        T(values_of_all_sizes_come_back),
        T(asynchronous_forms_do_the_same),
        T(errors_bring_their_text),
        T(a_bit_flipped_on_the_way_is_mended),
        T(corruption_gives_no_memory_away),
        T(batches_of_any_size),
        T(a_large_value_that_does_not_fit_a_batch_says_so),
        T(a_walk_sees_every_key_once),
        T(a_walk_without_waiting),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
