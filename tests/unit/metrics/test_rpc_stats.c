/* Histograms keep their promise on error and memory; counts of several workers add up, also while they are written. */
#include "sdk/core/rpc/rpc.h"
#include "sdk/core/rpc/rpc_stats.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct cairn_rpc_method methods[] = { { .name = "put" }, { .name = "get" } };
static const struct cairn_rpc_iface iface = { "kv", methods, 2 };
static const struct cairn_rpc_target targets[] = { { .iface = &iface, .name = "kv0", .id = 16 },
                                                   { .iface = &iface, .name = "kv1", .id = 18 } };

static uint64_t next_random(uint64_t *x)
{
    *x ^= *x << 13;
    *x ^= *x >> 7;
    *x ^= *x << 17;
    return *x;
}

static void buckets_follow_each_other(void **state)
{
    static const uint32_t shifts[] = { CAIRN_HIST_NS_SHIFT, CAIRN_HIST_BYTES_SHIFT, 0 };

    (void)state;
    for (size_t s = 0; s < ARRAY_SIZE(shifts); s++) {
        uint64_t lo = 0;

        for (uint32_t i = 0; i < CAIRN_HIST_BUCKETS; i++) {
            uint64_t hi = cairn_hist_upper(i, shifts[s]);

            assert_true(hi > lo);
            assert_int_equal(cairn_hist_index(lo, shifts[s]), i);
            assert_int_equal(cairn_hist_index(hi - 1, shifts[s]), i);
            if (i >= 4) /* no wider than a quarter of what it holds */
                assert_true((hi - lo) * 4 <= lo);
            lo = hi;
        }
        assert_int_equal(cairn_hist_index(UINT64_MAX, shifts[s]), CAIRN_HIST_BUCKETS - 1);
    }
}

static void percentiles_are_near(void **state)
{
    static const double ps[] = { 0.5, 0.9, 0.99, 0.999 };
    struct cairn_hist *h = calloc(1, sizeof(*h));
    struct cairn_hist_sum sum = { 0 };

    (void)state;
    for (uint64_t v = 1; v <= 100000; v++)
        cairn_hist_record(h, v * 100, CAIRN_HIST_NS_SHIFT);
    cairn_hist_merge(&sum, h);
    assert_int_equal(sum.n, 100000);
    assert_int_equal(sum.max, 10000000);
    assert_int_equal(sum.sum, UINT64_C(100) * 100000 * 100001 / 2);
    for (size_t i = 0; i < ARRAY_SIZE(ps); i++) {
        double exact = ps[i] * 1e7, got = (double)cairn_hist_percentile(&sum, CAIRN_HIST_NS_SHIFT, ps[i]);

        assert_true(got >= exact * 0.75 && got <= exact * 1.25);
    }
    assert_int_equal(cairn_hist_percentile(&sum, CAIRN_HIST_NS_SHIFT, 1.0),
                     cairn_hist_percentile(&sum, CAIRN_HIST_NS_SHIFT, 0.99999));
    assert_true(cairn_hist_percentile(&sum, CAIRN_HIST_NS_SHIFT, 1.0) <= sum.max);
    free(h);
}

static void edges_of_percentiles(void **state)
{
    struct cairn_hist *h = calloc(1, sizeof(*h));
    struct cairn_hist_sum sum = { 0 };

    (void)state;
    assert_int_equal(cairn_hist_percentile(&sum, CAIRN_HIST_NS_SHIFT, 0.5), 0); /* of none */
    cairn_hist_record(h, 0, CAIRN_HIST_NS_SHIFT);
    cairn_hist_merge(&sum, h);
    assert_int_equal(cairn_hist_percentile(&sum, CAIRN_HIST_NS_SHIFT, 0.99), 0); /* never above the maximum */
    cairn_hist_record(h, UINT64_MAX / 2, CAIRN_HIST_NS_SHIFT); /* beyond the last bucket's lower end */
    memset(&sum, 0, sizeof(sum));
    cairn_hist_merge(&sum, h);
    assert_int_equal(cairn_hist_percentile(&sum, CAIRN_HIST_NS_SHIFT, 0.99), UINT64_MAX / 2);
    free(h);
}

static void workers_add_up(void **state)
{
    struct cairn_rpc_stats_set *a = cairn_rpc_stats_set_new(targets, 2), *b = cairn_rpc_stats_set_new(targets, 2);
    struct cairn_rpc_stats_sum sum = { 0 };

    (void)state;
    cairn_rpc_stats_start(cairn_rpc_stats_find(a, 16, 0), 1000);
    cairn_rpc_stats_end(cairn_rpc_stats_find(a, 16, 0), 5000, 10, 0);
    cairn_rpc_stats_start(cairn_rpc_stats_find(b, 16, 0), 3000);
    cairn_rpc_stats_end(cairn_rpc_stats_find(b, 16, 0), 7000, 0, CAIRN_E_NOSPACE);
    cairn_rpc_stats_start(cairn_rpc_stats_find(b, 16, 0), 1);
    cairn_rpc_stats_start(cairn_rpc_stats_find(b, 16, 1), 1); /* another method, and another provider: apart */
    cairn_rpc_stats_start(cairn_rpc_stats_find(b, 18, 0), 1);
    cairn_rpc_stats_merge(&sum, cairn_rpc_stats_find(a, 16, 0));
    cairn_rpc_stats_merge(&sum, cairn_rpc_stats_find(b, 16, 0));
    assert_int_equal(sum.started, 3);
    assert_int_equal(sum.ended, 2);
    assert_int_equal(sum.failed, 1);
    assert_int_equal(sum.errors[-CAIRN_E_NOSPACE], 1);
    assert_int_equal(sum.bytes_in, 4001);
    assert_int_equal(sum.bytes_out, 10);
    assert_int_equal(sum.latency_ns.n, 2);
    assert_int_equal(sum.latency_ns.max, 7000);
    assert_int_equal(sum.request_bytes.n, 3);
    assert_int_equal(cairn_rpc_stats_inflight(&sum), 1);
    cairn_rpc_stats_set_free(a);
    cairn_rpc_stats_set_free(b);
}

static void strangers_are_not_counted(void **state)
{
    struct cairn_rpc_stats_set *set = cairn_rpc_stats_set_new(targets, 2);
    struct cairn_rpc_stats *s = cairn_rpc_stats_find(set, 16, 0);
    struct cairn_rpc_stats_sum sum = { 0 };

    (void)state;
    assert_null(cairn_rpc_stats_find(set, 17, 0));
    assert_null(cairn_rpc_stats_find(set, 16, 2));
    assert_null(cairn_rpc_stats_find(set, UINT16_MAX, 0));
    cairn_rpc_stats_start(NULL, 1);
    cairn_rpc_stats_end(NULL, 1, 1, 0);
    cairn_rpc_stats_start(s, 1);
    cairn_rpc_stats_end(s, 1, 1, -4711); /* a code from a newer peer */
    cairn_rpc_stats_merge(&sum, s);
    assert_int_equal(sum.errors[0], 1);
    assert_int_equal(sum.failed, 1);
    cairn_rpc_stats_set_free(set);
}

static void unused_methods_hold_no_histograms(void **state)
{
    struct cairn_rpc_stats_set *set = cairn_rpc_stats_set_new(targets, 2);

    (void)state;
    assert_int_equal(sizeof(struct cairn_rpc_stats), 80);
    assert_null(atomic_load(&cairn_rpc_stats_find(set, 16, 0)->detail));
    cairn_rpc_stats_start(cairn_rpc_stats_find(set, 16, 0), 1);
    assert_non_null(atomic_load(&cairn_rpc_stats_find(set, 16, 0)->detail));
    assert_null(atomic_load(&cairn_rpc_stats_find(set, 16, 1)->detail));
    cairn_rpc_stats_set_free(set);
}

enum { WRITES = 200000 };

static void *writer(void *arg)
{
    uint64_t seed = 42;

    for (int i = 0; i < WRITES; i++) {
        cairn_rpc_stats_start(arg, next_random(&seed) & 0xfffff);
        cairn_rpc_stats_end(arg, next_random(&seed) & 0xffffff, 64, i % 10 == 0 ? CAIRN_E_BUSY : 0);
    }
    return NULL;
}

/* A reader beside the writer never sees counts go back, nor more failures than answers. */
static void reading_while_writing(void **state)
{
    struct cairn_rpc_stats_set *set = cairn_rpc_stats_set_new(targets, 2);
    struct cairn_rpc_stats *s = cairn_rpc_stats_find(set, 18, 1);
    uint64_t last = 0;
    pthread_t thread;

    (void)state;
    assert_int_equal(pthread_create(&thread, NULL, writer, s), 0);
    while (last < WRITES) {
        struct cairn_rpc_stats_sum sum = { 0 };

        cairn_rpc_stats_merge(&sum, s);
        assert_true(sum.latency_ns.n >= last);
        assert_true(sum.latency_ns.n <= WRITES);
        assert_true(cairn_hist_percentile(&sum.latency_ns, CAIRN_HIST_NS_SHIFT, 0.99) <= 0xffffff);
        last = sum.latency_ns.n;
    }
    pthread_join(thread, NULL);
    cairn_rpc_stats_set_free(set);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(buckets_follow_each_other), cmocka_unit_test(percentiles_are_near),
        cmocka_unit_test(edges_of_percentiles),      cmocka_unit_test(workers_add_up),
        cmocka_unit_test(strangers_are_not_counted), cmocka_unit_test(unused_methods_hold_no_histograms),
        cmocka_unit_test(reading_while_writing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
