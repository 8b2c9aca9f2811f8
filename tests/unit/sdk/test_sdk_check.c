/* Checksums of chunks: parts, slices, and every place where a bit may flip. */
#include "sdk/client/check.h"

#include "cairn/limits.h"
#include "sdk/core/base/crc.h"
#include "sdk/core/base/macros.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { CHUNK = CAIRN_EXTENT_CHUNK_BYTES };

static void parts_follow_the_chunks(void **state)
{
    (void)state;
    assert_int_equal(cairn_check_parts(0, 0), 0);
    assert_int_equal(cairn_check_parts(17, 0), 0);
    assert_int_equal(cairn_check_parts(0, 1), 1);
    assert_int_equal(cairn_check_parts(0, CHUNK), 1);
    assert_int_equal(cairn_check_parts(0, CHUNK + 1), 2);
    assert_int_equal(cairn_check_parts(1, CHUNK), 2);
    assert_int_equal(cairn_check_parts(CHUNK - 1, 2), 2);
    assert_int_equal(cairn_check_parts(CHUNK, CHUNK), 1);
    assert_int_equal(cairn_check_parts(CHUNK / 2, 3 * CHUNK), 4);
    assert_int_equal(cairn_check_parts(UINT64_C(1) << 40, UINT64_C(1) << 30), (1 << 30) / CHUNK);
}

static enum cairn_check_result run(struct cairn_check *k, unsigned *slices)
{
    enum cairn_check_result r;

    for (*slices = 1; (r = cairn_check_step(k)) == CAIRN_CHECK_MORE; (*slices)++)
        ;
    return r;
}

static void a_flipped_bit_is_found_wherever_it_is(void **state)
{
    const uint64_t len = 3 * CAIRN_CHECK_SLICE_BYTES + CHUNK + 5;
    uint32_t *crcs = malloc(cairn_check_parts(0, len) * sizeof(*crcs));
    uint8_t *p = malloc(len);
    const uint64_t places[] = { 0, CHUNK - 1, CHUNK, CAIRN_CHECK_SLICE_BYTES, len - 5, len - 1 };
    struct cairn_check k;
    unsigned slices;

    (void)state;
    for (uint64_t i = 0; i < len; i++)
        p[i] = (uint8_t)(i * 31 + i / CHUNK);
    cairn_check_compute(p, len, crcs);
    cairn_check_start(&k, p, 0, len, crcs);
    assert_int_equal(run(&k, &slices), CAIRN_CHECK_GOOD);
    assert_int_equal(slices, 4);
    for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
        p[places[i]] ^= 1;
        cairn_check_start(&k, p, 0, len, crcs);
        assert_int_equal(run(&k, &slices), CAIRN_CHECK_BAD);
        p[places[i]] ^= 1;
    }
    free(crcs);
    free(p);
}

/* A part of a value: its first checksum covers what is left of its chunk. */
static void a_part_is_checked_by_its_own_pieces(void **state)
{
    uint8_t *p = malloc(2 * CHUNK);
    uint32_t crcs[3];
    struct cairn_check k;
    unsigned slices;

    (void)state;
    memset(p, 7, 2 * CHUNK);
    p[0] = 1;
    crcs[0] = cairn_crc32c(0, p, 10);
    crcs[1] = cairn_crc32c(0, p + 10, CHUNK);
    crcs[2] = cairn_crc32c(0, p + 10 + CHUNK, 20);
    cairn_check_start(&k, p, CHUNK - 10, 10 + CHUNK + 20, crcs);
    assert_int_equal(run(&k, &slices), CAIRN_CHECK_GOOD);
    cairn_check_start(&k, p, CHUNK - 11, 10 + CHUNK + 20, crcs);
    assert_int_equal(run(&k, &slices), CAIRN_CHECK_BAD);
    free(p);
}

static void nothing_is_good(void **state)
{
    struct cairn_check k;

    (void)state;
    cairn_check_start(&k, NULL, 12, 0, NULL);
    assert_int_equal(cairn_check_step(&k), CAIRN_CHECK_GOOD);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parts_follow_the_chunks),
        cmocka_unit_test(a_flipped_bit_is_found_wherever_it_is),
        cmocka_unit_test(a_part_is_checked_by_its_own_pieces),
        cmocka_unit_test(nothing_is_good),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
