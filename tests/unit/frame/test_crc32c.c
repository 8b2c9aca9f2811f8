/* The checksum's two ways must agree with each other and with the definition, at every length and alignment. */
#include "proto/frame/crc32c.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

enum { BYTES = 4096 };

/* Bit by bit, as the polynomial says. */
static uint32_t by_definition(uint32_t state, const uint8_t *p, size_t n)
{
    for (; n > 0; n--) {
        state ^= *p++;
        for (int bit = 0; bit < 8; bit++)
            state = (state >> 1) ^ ((state & 1) != 0 ? UINT32_C(0x82F63B78) : 0);
    }
    return state;
}

static void known_value(void **state)
{
    (void)state;
    assert_int_equal(~cairn_crc32c_step(~UINT32_C(0), "123456789", 9), 0xE3069283); /* RFC 3720's check value */
    assert_int_equal(cairn_crc32c_step(4711, NULL, 0), 4711);
}

static void every_length_as_defined(void **state)
{
    uint8_t *bytes = malloc(BYTES);
    unsigned seed = 7;

    (void)state;
    assert_non_null(bytes);
    for (size_t i = 0; i < BYTES; i++)
        bytes[i] = (uint8_t)rand_r(&seed);
    for (size_t n = 0; n < 600; n++) {
        size_t at = n % 17;

        assert_int_equal(cairn_crc32c_step(~UINT32_C(0), bytes + at, n), by_definition(~UINT32_C(0), bytes + at, n));
    }
    free(bytes);
}

static void steps_add_up(void **state)
{
    uint8_t *bytes = calloc(1, BYTES);
    uint32_t whole;

    (void)state;
    assert_non_null(bytes);
    bytes[1000] = 1;
    whole = cairn_crc32c_step(1, bytes, BYTES);
    for (size_t cut = 0; cut <= BYTES; cut += 97)
        assert_int_equal(cairn_crc32c_step(cairn_crc32c_step(1, bytes, cut), bytes + cut, BYTES - cut), whole);
    free(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_value),
        cmocka_unit_test(every_length_as_defined),
        cmocka_unit_test(steps_add_up),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
