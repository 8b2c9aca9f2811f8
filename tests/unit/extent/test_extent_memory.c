/* The 1st, 2nd, ... nth allocation of an open fails: the open says so, and does the regions no harm. */
#include "tests/lib/failing_malloc.h"
#include "tests/unit/extent/extent_fixture.h"

#ifndef FAILING_MALLOC

static void an_open_without_memory_loses_nothing(void **state)
{
    (void)state;
    skip();
}

#else

/* Regions with gaps between them: to take its place each needs memory, for what is free behind it. */
static void an_open_without_memory_loses_nothing(void **state)
{
    enum { LEN = 5000, N = 16 };
    struct fixture fx;
    struct cairn_extent_conf conf = fx_conf(CAIRN_EXTENT_FILE);
    uint8_t bytes[LEN], got[LEN];
    uint64_t ids[N], len;
    uint32_t n = 0;
    bool failed;
    int rc;

    (void)state;
    fx_init(&fx, &conf);
    fx_fill(bytes, LEN, 1);
    for (int i = 0; i < N; i++)
        assert_int_equal(fx_put(&fx, &(struct fx_write){ .len = LEN, .bytes = bytes }, &ids[i]), 0);
    for (int i = 0; i < N; i += 2)
        assert_int_equal(fx_remove(&fx, ids[i]), 0);
    do {
        fx_close(&fx);
        failing_malloc_begin(++n);
        rc = fx_try_open(&fx);
        failed = failing_malloc_end();
        if (rc != 0) {
            if (rc != CAIRN_E_NOMEM)
                fail_msg("allocation %u failed: %s", n, fx.err.text);
            fx_open(&fx);
        }
        assert_int_equal(atomic_load(&fx_store(&fx)->health), CAIRN_EXTENT_OK);
        for (int i = 1; i < N; i += 2)
            assert_int_equal(fx_read(&fx, ids[i], 0, LEN, got, false, true, &len), 0);
    } while (failed);
    assert_true(n > 64); /* there were some to fail */
    fx_fini(&fx);
}

#endif

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(an_open_without_memory_loses_nothing) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
