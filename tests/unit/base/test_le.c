/* Little-endian readers and writers: what stands where, and that nobody gets past the end. */
#include "sdk/core/base/le.h"

#include "sdk/core/base/macros.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

/* All that a writer can write; how much it wrote. */
static size_t write_all(struct cairn_le_writer *w)
{
    const uint8_t *from = w->at;

    cairn_le_put8(w, 0x01);
    cairn_le_put16(w, 0x0302);
    cairn_le_put32(w, 0x07060504);
    cairn_le_put64(w, UINT64_C(0x0f0e0d0c0b0a0908));
    cairn_le_put(w, "\x10\x11\x12", 3);
    cairn_le_put(w, NULL, 0);
    return (size_t)(w->at - from);
}

enum { ALL = 18 };

static void the_lowest_byte_comes_first(void **state)
{
    uint8_t bytes[ALL];
    struct cairn_le_writer w = cairn_le_writer(bytes, sizeof(bytes));
    struct cairn_le_reader r = cairn_le_reader(bytes, sizeof(bytes));

    (void)state;
    assert_int_equal(write_all(&w), ALL);
    assert_false(w.failed);
    for (uint8_t i = 0; i < ALL; i++)
        assert_int_equal(bytes[i], i + 1);
    assert_int_equal(cairn_le_get8(&r), 0x01);
    assert_int_equal(cairn_le_get16(&r), 0x0302);
    assert_int_equal(cairn_le_get32(&r), 0x07060504);
    assert_int_equal(cairn_le_left(&r), 11);
    assert_true(cairn_le_get64(&r) == UINT64_C(0x0f0e0d0c0b0a0908));
    assert_ptr_equal(cairn_le_take(&r, 3), bytes + 15);
    assert_int_equal(cairn_le_left(&r), 0);
    assert_false(r.failed);
}

static void numbers_lie_at_any_address(void **state)
{
    uint8_t bytes[16] = { 0 };

    (void)state;
    for (size_t at = 0; at < 8; at++) {
        cairn_le_store64(bytes + at, UINT64_C(0x8877665544332211));
        assert_int_equal(bytes[at], 0x11);
        assert_int_equal(cairn_le_load16(bytes + at), 0x2211);
        assert_int_equal(cairn_le_load32(bytes + at), 0x44332211);
        assert_true(cairn_le_load64(bytes + at) == UINT64_C(0x8877665544332211));
        cairn_le_store32(bytes + at, 0x04030201);
        assert_true(cairn_le_load64(bytes + at) == UINT64_C(0x8877665504030201));
    }
}

/* In every room that is too small: not a byte behind it is written, and nothing more after the first that did not
 * fit. */
static void a_writer_stops_at_the_end(void **state)
{
    (void)state;
    for (size_t room = 0; room < ALL; room++) {
        uint8_t bytes[ALL];
        struct cairn_le_writer w = cairn_le_writer(bytes, room);
        size_t n;

        memset(bytes, 0xee, sizeof(bytes));
        n = write_all(&w);
        assert_true(w.failed);
        assert_true(n <= room);
        for (size_t i = 0; i < ALL; i++)
            assert_int_equal(bytes[i], i < n ? i + 1 : 0xee);
        cairn_le_put(&w, NULL, 0); /* failed is failed, though this would fit */
        assert_true(w.failed);
    }
}

static void a_reader_that_failed_gives_zeros(void **state)
{
    static const uint8_t bytes[8] = { 1, 2, 3, 4, 5, 6, 7, 8 };
    static const size_t wide[] = { 1, 2, 4, 8 };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(wide); i++) {
        struct cairn_le_reader r = cairn_le_reader(bytes, wide[i] - 1);

        assert_true((i == 0   ? cairn_le_get8(&r)
                     : i == 1 ? cairn_le_get16(&r)
                     : i == 2 ? cairn_le_get32(&r)
                              : cairn_le_get64(&r)) == 0);
        assert_true(r.failed);
        assert_int_equal(cairn_le_left(&r), 0);
        assert_int_equal(cairn_le_get8(&r), 0); /* though there was one */
        assert_null(cairn_le_take(&r, 0));
    }
}

/* A length that comes from outside may be anything. */
static void no_length_is_too_large_to_be_refused(void **state)
{
    uint8_t bytes[4] = { 0 };
    struct cairn_le_reader r = cairn_le_reader(bytes, sizeof(bytes));
    struct cairn_le_writer w = cairn_le_writer(bytes, sizeof(bytes));

    (void)state;
    assert_non_null(cairn_le_take(&r, 0));
    assert_null(cairn_le_take(&r, SIZE_MAX));
    assert_true(r.failed);
    cairn_le_put(&w, bytes, SIZE_MAX);
    assert_true(w.failed);
    assert_ptr_equal(w.at, bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_lowest_byte_comes_first),
        cmocka_unit_test(numbers_lie_at_any_address),
        cmocka_unit_test(a_writer_stops_at_the_end),
        cmocka_unit_test(a_reader_that_failed_gives_zeros),
        cmocka_unit_test(no_length_is_too_large_to_be_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
