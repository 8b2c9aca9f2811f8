/* The 1st, 2nd, ... nth allocation of an open fails: the open says so, and does the regions no harm. */
#include "tests/lib/failing_malloc.h"
#include "tests/lib/skip.h"
#include "tests/unit/extent/extent_fixture.h"

#ifndef FAILING_MALLOC

static void an_open_without_memory_loses_nothing(void **state)
{
    (void)state;
    skip_because("its allocations do not fail under a sanitizer");
}

static void an_open_of_pmem_without_memory_loses_nothing(void **state)
{
    (void)state;
    skip_because("its allocations do not fail under a sanitizer");
}

int __real_cairn_pmem_each(void *pm, int (*fn)(void *arg, void *record, uint64_t room), void *arg);
int __wrap_cairn_pmem_each(void *pm, int (*fn)(void *arg, void *record, uint64_t room), void *arg);

int __wrap_cairn_pmem_each(void *pm, int (*fn)(void *arg, void *record, uint64_t room), void *arg)
{
    return __real_cairn_pmem_each(pm, fn, arg);
}

#else

/* Which allocation fails, of those that read regions back from a pool: libpmemobj does not survive that its own do. */
static uint32_t nth_of_each;
static bool nth_failed;

int __real_cairn_pmem_each(void *pm, int (*fn)(void *arg, void *record, uint64_t room), void *arg);
int __wrap_cairn_pmem_each(void *pm, int (*fn)(void *arg, void *record, uint64_t room), void *arg);

int __wrap_cairn_pmem_each(void *pm, int (*fn)(void *arg, void *record, uint64_t room), void *arg)
{
    int rc;

    if (nth_of_each == 0)
        return __real_cairn_pmem_each(pm, fn, arg);
    failing_malloc_begin(nth_of_each);
    rc = __real_cairn_pmem_each(pm, fn, arg);
    nth_failed = failing_malloc_end();
    return rc;
}

static int open_failing(struct fixture *fx, uint32_t n, bool *failed)
{
    int rc;

    if (fx->conf.backend == CAIRN_EXTENT_PMEM) {
        nth_of_each = n;
        rc = fx_try_open(fx);
        nth_of_each = 0;
        *failed = nth_failed;
    } else {
        failing_malloc_begin(n);
        rc = fx_try_open(fx);
        *failed = failing_malloc_end();
    }
    return rc;
}

/* Regions with gaps between them: to take its place each needs memory, for what is free behind it. */
static void open_without_memory(enum cairn_extent_backend backend)
{
    enum { LEN = 5000, N = 16 };
    struct fixture fx;
    struct cairn_extent_conf conf = fx_conf(backend);
    uint8_t bytes[LEN], got[LEN];
    uint64_t ids[N], len;
    uint32_t n = 0;
    bool failed;
    int rc;

    fx_init(&fx, &conf);
    fx_fill(bytes, LEN, 1);
    for (int i = 0; i < N; i++)
        assert_int_equal(fx_put(&fx, &(struct fx_write){ .len = LEN, .bytes = bytes }, &ids[i]), 0);
    for (int i = 0; i < N; i += 2)
        assert_int_equal(fx_remove(&fx, ids[i]), 0);
    do {
        fx_close(&fx);
        rc = open_failing(&fx, ++n, &failed);
        if (rc != 0) {
            if (rc != CAIRN_E_NOMEM)
                fail_msg("allocation %u failed: %s", n, fx.err.text);
            fx_open(&fx);
        }
        assert_int_equal(atomic_load(&fx_store(&fx)->health), CAIRN_EXTENT_OK);
        for (int i = 1; i < N; i += 2)
            assert_int_equal(fx_read(&fx, ids[i], 0, LEN, got, false, true, &len), 0);
    } while (failed);
    assert_true(n > N / 2); /* there were some to fail */
    fx_fini(&fx);
}

static void an_open_without_memory_loses_nothing(void **state)
{
    (void)state;
    open_without_memory(CAIRN_EXTENT_FILE);
}

static void an_open_of_pmem_without_memory_loses_nothing(void **state)
{
    (void)state;
    open_without_memory(CAIRN_EXTENT_PMEM);
}

#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_open_without_memory_loses_nothing),
        cmocka_unit_test(an_open_of_pmem_without_memory_loses_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
