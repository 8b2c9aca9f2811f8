/* The contract of the provider, of each backend that outlives the process: what is there after a restart. */
#include "tests/unit/extent/extent_fixture.h"

static void regions_outlive_a_restart(void **state)
{
    enum { N = 20 };
    struct fixture *fx = *state;
    uint8_t *bytes = malloc(200000), *got = malloc(200000);
    uint64_t ids[N], draft, n, id;
    struct fx_call c = { 0 };

    for (int i = 0; i < N; i++) {
        struct fx_write w = { .len = (uint64_t)(i * 9973), .bytes = bytes, .owner = 7, .durability = i % 2 };

        fx_fill(bytes, w.len, (uint64_t)i);
        assert_int_equal(fx_put(fx, &w, &ids[i]), 0);
    }
    for (int i = 0; i < N; i += 4)
        assert_int_equal(fx_remove(fx, ids[i]), 0);
    assert_int_equal(fx_create(fx, 50000, &draft), 0);
    fx_close(fx);
    fx_open(fx);
    for (int i = 0; i < N; i++) {
        int rc = fx_read(fx, ids[i], 0, 0, got, false, true, &n);

        if (i % 4 == 0) {
            assert_int_equal(rc, CAIRN_E_NOTFOUND);
            continue;
        }
        fx_fill(bytes, (uint64_t)(i * 9973), (uint64_t)i);
        assert_int_equal(rc, 0);
        assert_int_equal(n, i * 9973);
        assert_memory_equal(got, bytes, n);
    }
    assert_int_equal(fx_list(fx, &c, 0, 0, 7, false), 0);
    assert_int_equal(c.nids, N - N / 4);
    assert_int_equal(fx_persist(fx, draft, 0), CAIRN_E_NOTFOUND); /* a draft does not */
    assert_int_equal(fx_put(fx, &(struct fx_write){ .len = 5, .bytes = bytes }, &id), 0);
    for (int i = 0; i < N; i++)
        assert_int_not_equal(id, ids[i]);
    free(bytes);
    free(got);
}

/* A replica of a region has the name that its first store gave it. */
static void named_regions_are_there_once(void **state)
{
    enum { LEN = 100000, ID = 4711 };
    struct fixture *fx = *state;
    uint8_t *bytes = malloc(LEN), *got = malloc(LEN);
    struct fx_write w = {
        .len = LEN, .bytes = bytes, .bulk = true, .durability = CAIRN__WIRE__DURABILITY__DURABILITY_SYNC
    };
    uint32_t crcs[2];
    struct fx_call *calls = calloc(2, sizeof(*calls));
    Cairn__Wire__ExtentPut msg = CAIRN__WIRE__EXTENT_PUT__INIT;
    uint64_t id, n;
    int rc[2];

    fx_fill(bytes, LEN, 5);
    w.name = ID;
    w.bad_crc = true; /* what fails leaves the name free */
    assert_int_equal(fx_put(fx, &w, &id), CAIRN_E_CORRUPT);
    w.bad_crc = false;
    assert_int_equal(fx_put(fx, &w, &id), 0);
    assert_true(id == ID);
    assert_int_equal(fx_put(fx, &w, &id), CAIRN_E_EXISTS);
    fx_close(fx);
    fx_open(fx);
    assert_int_equal(fx_read(fx, ID, 0, LEN, got, true, true, &n), 0);
    assert_memory_equal(got, bytes, LEN);
    assert_int_equal(fx_put(fx, &w, &id), CAIRN_E_EXISTS);
    assert_int_equal(fx_remove(fx, ID), 0);

    /* Two at a time: one of them. */
    msg.length = 1000;
    msg.id = ID;
    msg.durability = w.durability;
    msg.crcs = crcs;
    msg.n_crcs = 1;
    cairn_extent_crcs(bytes, 1000, crcs);
    for (int i = 0; i < 2; i++)
        fx_start(fx, &calls[i], CAIRN__WIRE__EXTENT_METHOD__EXTENT_PUT, &msg.base, bytes, 1000);
    for (int i = 0; i < 2; i++)
        rc[i] = fx_wait(fx, &calls[i]);
    assert_true((rc[0] == 0 && rc[1] == CAIRN_E_EXISTS) || (rc[1] == 0 && rc[0] == CAIRN_E_EXISTS));
    fx_close(fx);
    fx_open(fx); /* no store is opened that has two of one name */
    assert_int_equal(fx_read(fx, ID, 0, 1000, got, false, true, &n), 0);
    free(calls);
    free(bytes);
    free(got);
}

static void a_directory_has_one_user(void **state)
{
    struct fixture *fx = *state;
    struct cairn_loop *loops[] = { &fx->loop };
    struct cairn_extent_store *second = NULL;
    struct cairn_err err = { 0 };

    assert_int_equal(cairn_extent_store_open(&fx->conf, fx->pool, loops, 1, &second, &err), CAIRN_E_LOCKED);
    assert_null(second);
}

static void write_format(struct fixture *fx, const char *text)
{
    char path[128];
    FILE *f;

    snprintf(path, sizeof(path), "%s/FORMAT", fx->dir);
    f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void newer_formats_are_refused(void **state)
{
    struct fixture *fx = *state;

    fx_close(fx);
    write_format(fx, "cairn extent store\nversion: 99\nbeyond: imagination\n");
    assert_int_equal(cairn_extent_store_check(&fx->conf, NULL), CAIRN_E_FORMAT);
    assert_int_equal(fx_try_open(fx), CAIRN_E_FORMAT);
    assert_non_null(strstr(fx->err.text, "newer version"));
    write_format(fx, "cairn extent store\nversion: 1\nbackend: file\nsalt: 00\n");
    assert_int_equal(fx_try_open(fx), CAIRN_E_CORRUPT);
    write_format(fx, "");
    assert_int_equal(fx_try_open(fx), CAIRN_E_CORRUPT);
}

#define LASTING(f) ON(f, file), ON(f, pool), ON(f, pmem)

int main(void)
{
    const struct CMUnitTest tests[] = {
        LASTING(regions_outlive_a_restart),
        LASTING(named_regions_are_there_once),
        LASTING(a_directory_has_one_user),
        LASTING(newer_formats_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
