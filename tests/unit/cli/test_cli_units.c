/* Sizes, times and numbers as people read and write them. */
#include "tools/cairn/cli.h"
#include "tools/cairn/histogram.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void sizes_have_three_digits_and_a_unit(void **state)
{
    (void)state;
    static const struct {
        uint64_t bytes;
        const char *text;
    } cases[] = { { 0, "0 B" },
                  { 1, "1 B" },
                  { 1023, "1023 B" },
                  { 1024, "1.0 KiB" },
                  { 1536, "1.5 KiB" },
                  { 100 << 10, "100 KiB" },
                  { (1 << 20) - 1, "1.0 MiB" },
                  { UINT64_C(5) << 30, "5.0 GiB" },
                  { UINT64_MAX, "16.0 EiB" } };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        char buf[CLI_UNIT_BYTES];
        assert_string_equal(cli_size(buf, cases[i].bytes), cases[i].text);
    }
}

static void durations_fit_their_size(void **state)
{
    (void)state;
    char buf[CLI_UNIT_BYTES];
    assert_string_equal(cli_duration(buf, 0), "0 ns");
    assert_string_equal(cli_duration(buf, 812), "812 ns");
    assert_string_equal(cli_duration(buf, 4200), "4.20 us");
    assert_string_equal(cli_duration(buf, UINT64_C(12345678)), "12.3 ms");
    assert_string_equal(cli_duration(buf, UINT64_C(4200000000)), "4.20 s");
    assert_string_equal(cli_duration(buf, UINT64_C(200) * CAIRN_NS_PER_S), "3m 20s");
    assert_string_equal(cli_duration(buf, UINT64_C(7500) * CAIRN_NS_PER_S), "2h 05m");
    assert_string_equal(cli_duration(buf, UINT64_C(356400) * CAIRN_NS_PER_S), "4d 03h");
}

static void counts_and_rates(void **state)
{
    (void)state;
    char buf[CLI_UNIT_BYTES + 8];
    assert_string_equal(cli_count(buf, 7), "7");
    assert_string_equal(cli_count(buf, 4096), "4,096");
    assert_string_equal(cli_count(buf, 1234567), "1,234,567");
    assert_string_equal(cli_count(buf, UINT64_MAX), "18,446,744,073,709,551,615");
    assert_string_equal(cli_rate(buf, 10 << 20, CAIRN_NS_PER_S / 2), "20.0 MiB/s");
    assert_string_equal(cli_rate(buf, 1, 0), "0 B/s");
}

static void sizes_are_read(void **state)
{
    (void)state;
    uint64_t n;
    assert_true(cli_parse_size("4096", &n));
    assert_int_equal(n, 4096);
    assert_true(cli_parse_size("64KiB", &n));
    assert_int_equal(n, 65536);
    assert_true(cli_parse_size("1.5 GiB", &n));
    assert_int_equal(n, UINT64_C(3) << 29);
    assert_true(cli_parse_size("2MB", &n)); /* as in a configuration */
    assert_int_equal(n, 2000000);
    assert_true(cli_parse_size("1kB", &n));
    assert_int_equal(n, 1000);
    static const char *const wrong[] = { "",   "-1",   " 1",  "1x", "KiB", "0x10", "1 2",     "nan",           "inf",
                                         "1e", "1..2", "1e3", "2M", "1k",  "1.5",  "1KiBKiB", "99999999999TiB" };
    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
        assert_false(cli_parse_size(wrong[i], &n));
}

static void times_are_read(void **state)
{
    (void)state;
    uint64_t ms;
    assert_true(cli_parse_time("500ms", &ms));
    assert_int_equal(ms, 500);
    assert_true(cli_parse_time("10", &ms));
    assert_int_equal(ms, 10000);
    assert_true(cli_parse_time("1.5h", &ms));
    assert_int_equal(ms, 5400000);
    assert_false(cli_parse_time("10 fortnights", &ms));
    assert_false(cli_parse_time("-5s", &ms));
    assert_false(cli_parse_time("0s", &ms));
    assert_false(cli_parse_time("0", &ms));
    assert_false(cli_parse_time("1e3", &ms));
    assert_true(cli_parse_time("300us", &ms)); /* never less than was asked for */
    assert_int_equal(ms, 1);
    assert_true(cli_parse_number("18", &ms));
    assert_false(cli_parse_number("18x", &ms));
    assert_false(cli_parse_number("99999999999999999999", &ms));
}

static void quantiles_are_near(void **state)
{
    (void)state;
    static struct histogram h, other;
    assert_int_equal(histogram_quantile(&h, 0.5), 0);
    for (uint64_t i = 1; i <= 100000; i++)
        histogram_add(i % 2 ? &h : &other, i);
    histogram_merge(&h, &other);
    assert_int_equal(h.n, 100000);
    assert_int_equal(h.max, 100000);
    static const double q[] = { 0.001, 0.5, 0.9, 0.99, 0.999 };
    for (size_t i = 0; i < ARRAY_SIZE(q); i++) {
        double value = (double)histogram_quantile(&h, q[i]), exact = q[i] * 100000;
        assert_true(value >= exact * 0.99 && value <= exact * 1.04 + 1);
    }
    assert_int_equal(histogram_quantile(&h, 1), 100000);
    histogram_add(&h, UINT64_MAX); /* whatever comes has a bucket */
    assert_true(histogram_quantile(&h, 1) == UINT64_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_have_three_digits_and_a_unit),
        cmocka_unit_test(durations_fit_their_size),
        cmocka_unit_test(counts_and_rates),
        cmocka_unit_test(sizes_are_read),
        cmocka_unit_test(times_are_read),
        cmocka_unit_test(quantiles_are_near),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
