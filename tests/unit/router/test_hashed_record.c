/* Records of a hashed namespace: round trips, and every kind of damage. */
#include "server/cluster/service/record.h"

#include "cairn/error.h"
#include "cairn/limits.h"
#include "sdk/core/base/crc.h"
#include "sdk/core/base/macros.h"
#include "server/router/router.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void embedded_round_trip(void **state)
{
    uint8_t p[16] = { 0 };
    struct cairn_record r;
    uint32_t crc;

    (void)state;
    memcpy(p + CAIRN_RECORD_HEAD_BYTES, "value", 5);
    cairn_record_put_embedded(p, 1, 5, NULL);
    assert_int_equal(cairn_record_embedded_bytes(5), CAIRN_RECORD_HEAD_BYTES + 5 + 4);
    assert_int_equal(cairn_record_parse(p, CAIRN_RECORD_HEAD_BYTES + 5 + 4, &r), 0);
    assert_int_equal(r.type, CAIRN_RECORD_EMBEDDED);
    assert_int_equal(r.durability, 1);
    assert_int_equal(r.length, 5);
    assert_memory_equal(r.value, "value", 5);
    assert_int_equal(r.nregions, 0);
    assert_int_equal(r.ncrcs, 1);
    cairn_record_crcs(&r, &crc);
    assert_int_equal(crc, cairn_crc32c(0, "value", 5));
    cairn_record_put_embedded(p, 1, 0, NULL); /* a value of no bytes */
    assert_int_equal(cairn_record_parse(p, CAIRN_RECORD_HEAD_BYTES, &r), 0);
    assert_int_equal(r.length, 0);
    assert_int_equal(r.ncrcs, 0);
}

/* Every length around a chunk's end has a record of its own size; what lies between two is damage. */
static void embedded_lengths(void **state)
{
    static const uint32_t chunks[] = { 0, 1, 2, CAIRN_RECORD_CRCS_MAX - 1 };
    const uint64_t chunk = CAIRN_EXTENT_CHUNK_BYTES;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(chunks); i++) {
        for (uint64_t d = 0; d < 10; d++) {
            uint64_t length = chunks[i] * chunk + d;

            assert_int_equal(cairn_record_embedded_length(cairn_record_embedded_bytes(length)), length);
        }
        for (uint64_t d = 1; d <= 4; d++) /* a checksum, or a part of one, without a byte that it is of */
            assert_int_equal(cairn_record_embedded_length(cairn_record_embedded_bytes(chunks[i] * chunk) + d),
                             CAIRN_E_CORRUPT);
    }
    for (uint64_t len = 0; len < CAIRN_RECORD_HEAD_BYTES; len++)
        assert_int_equal(cairn_record_embedded_length(len), CAIRN_E_CORRUPT);
    assert_true(cairn_record_embedded_bytes(CAIRN_RECORD_EMBEDDED_BYTES_MAX) <= CAIRN_KV_VALUE_BYTES_MAX);
    assert_int_equal(cairn_record_embedded_length(UINT64_MAX), CAIRN_E_CORRUPT);
}

/* Each chunk answers for itself, and the writer's checksums are taken as they are. */
static void embedded_chunks_are_checked(void **state)
{
    enum { LEN = 2 * CAIRN_EXTENT_CHUNK_BYTES + 100 };
    const uint64_t chunk = CAIRN_EXTENT_CHUNK_BYTES;
    uint8_t *p = calloc(1, cairn_record_embedded_bytes(LEN));
    uint32_t crcs[3];
    struct cairn_record r;

    (void)state;
    cairn_record_put_embedded(p, 0, LEN, NULL);
    assert_int_equal(cairn_record_parse(p, cairn_record_embedded_bytes(LEN), &r), 0);
    assert_int_equal(r.ncrcs, 3);
    cairn_record_crcs(&r, crcs);
    assert_true(cairn_record_is_sound(&r, 0, LEN));
    p[CAIRN_RECORD_HEAD_BYTES + chunk] ^= 1;
    assert_false(cairn_record_is_sound(&r, 0, LEN));
    assert_true(cairn_record_is_sound(&r, 0, chunk));
    assert_false(cairn_record_is_sound(&r, 0, chunk + 1));
    assert_false(cairn_record_is_sound(&r, 2 * chunk - 1, 1));
    assert_true(cairn_record_is_sound(&r, 2 * chunk, 100));
    assert_true(cairn_record_is_sound(&r, LEN + 7, 1)); /* nothing is there */
    crcs[1] = cairn_crc32c(0, p + CAIRN_RECORD_HEAD_BYTES + chunk, chunk);
    cairn_record_put_embedded(p, 0, LEN, crcs);
    assert_true(cairn_record_is_sound(&r, 0, LEN));
    free(p);
}

/* What a listing sees: the beginning of a record, and how long it is. */
static void lengths_from_the_beginning(void **state)
{
    struct cairn_record_region regions[4] = { { 1, 100 }, { 2, 100 }, { 3, 100 }, { 4, 50 } };
    uint8_t p[256];
    const size_t peek = CAIRN_RECORD_PEEK_BYTES, four = cairn_record_extents_bytes(4);

    (void)state;
    cairn_record_put_embedded(p, 0, 200, NULL);
    assert_int_equal(cairn_record_peek(p, peek, cairn_record_embedded_bytes(200)), 200);
    assert_int_equal(cairn_record_peek(p, peek, cairn_record_embedded_bytes(200) + CAIRN_KV_VALUE_BYTES_MAX),
                     CAIRN_E_CORRUPT);
    cairn_record_put_extents(p, 0, regions, 4);
    assert_true(four > peek);
    assert_int_equal(cairn_record_peek(p, peek, four), 350);
    assert_int_equal(cairn_record_peek(p, peek, four - 1), CAIRN_E_CORRUPT);
    assert_int_equal(cairn_record_peek(p, CAIRN_RECORD_EXTENTS_HEAD_BYTES - 1, four), CAIRN_E_CORRUPT);
    p[8] ^= 1;
    assert_int_equal(cairn_record_peek(p, four, four), CAIRN_E_CORRUPT); /* all of it is there: its checksum counts */
    cairn_record_put_extents(p, 0, regions, 3);
    assert_int_equal(cairn_record_peek(p, cairn_record_extents_bytes(3), cairn_record_extents_bytes(3)), 300);
    p[0]++;
    assert_int_equal(cairn_record_peek(p, peek, four), CAIRN_E_FORMAT);
    assert_int_equal(cairn_record_peek(p, 0, 0), CAIRN_E_CORRUPT);
}

static void extents_round_trip(void **state)
{
    static struct cairn_record_region regions[CAIRN_ROUTER_REGIONS_MAX];
    static uint8_t p[64 << 10];
    struct cairn_record r;

    (void)state;
    for (uint32_t i = 0; i < CAIRN_ROUTER_REGIONS_MAX; i++)
        regions[i] = (struct cairn_record_region){ .id = UINT64_MAX - i, .len = CAIRN_ROUTER_REGION_BYTES };
    assert_true(cairn_record_extents_bytes(CAIRN_ROUTER_REGIONS_MAX) <= sizeof(p));
    cairn_record_put_extents(p, 2, regions, CAIRN_ROUTER_REGIONS_MAX);
    assert_int_equal(cairn_record_parse(p, cairn_record_extents_bytes(CAIRN_ROUTER_REGIONS_MAX), &r), 0);
    assert_int_equal(r.type, CAIRN_RECORD_EXTENTS);
    assert_int_equal(r.durability, 2);
    assert_int_equal(r.length, CAIRN_VALUE_BYTES_MAX); /* the largest value there may be */
    assert_int_equal(r.nregions, CAIRN_ROUTER_REGIONS_MAX);
    for (uint32_t i = 0; i < r.nregions; i++) {
        assert_int_equal(cairn_record_region(&r, i).id, regions[i].id);
        assert_int_equal(cairn_record_region(&r, i).len, regions[i].len);
    }
}

/* A contract with what is on disk. */
static void bytes_are_fixed(void **state)
{
    static const struct cairn_record_region region = { .id = 0x1122334455667788, .len = 0x01020304 };
    static const uint8_t expected[] = { 2, 2, 1, 0, 0,    0,    0,    0,    4,    3,    2,    1,    0, 0, 0, 0,
                                        1, 0, 0, 0, 0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, 4, 3, 2, 1 };
    uint8_t p[32];

    (void)state;
    cairn_record_put_extents(p, 1, &region, 1);
    assert_int_equal(cairn_record_extents_bytes(1), sizeof(p));
    memset(p + 4, 0, 4); /* the checksum */
    assert_memory_equal(p, expected, sizeof(p));
    memcpy(p + CAIRN_RECORD_HEAD_BYTES, "123456789", 9);
    cairn_record_put_embedded(p, 0, 9, NULL);
    assert_memory_equal(p,
                        "\2\1\0\0"
                        "123456789"
                        "\x83\x92\x06\xe3",
                        17); /* the check value of CRC32C */
}

static void damage_is_found(void **state)
{
    static const struct cairn_record_region regions[] = { { 7, 100 }, { 8, 200 } };
    uint8_t good[64], bad[64];
    size_t n = cairn_record_extents_bytes(2);
    struct cairn_record r;

    (void)state;
    cairn_record_put_extents(good, 0, regions, 2);
    for (size_t i = 0; i < n; i++) {
        memcpy(bad, good, n);
        bad[i] ^= 4;
        assert_true(cairn_record_parse(bad, n, &r) != 0);
    }
    for (size_t len = 0; len < n; len++) {
        uint8_t *exact = malloc(len + 1); /* so that reading behind the end is seen */

        assert_non_null(exact);
        memcpy(exact, good, len);
        assert_int_equal(cairn_record_parse(exact, len, &r), CAIRN_E_CORRUPT);
        free(exact);
    }
    assert_int_equal(cairn_record_parse(good, n + 1, &r), CAIRN_E_CORRUPT);
}

static void set_crc(uint8_t *p, size_t n)
{
    uint32_t crc = cairn_crc32c(cairn_crc32c(0, p, 4), p + 8, n - 8);

    for (int i = 0; i < 4; i++)
        p[4 + i] = (uint8_t)(crc >> (8 * i));
}

/* Contents that no router writes, under a checksum that is right. */
static void nonsense_is_refused(void **state)
{
    struct cairn_record_region regions[] = { { 7, 100 }, { 8, 200 } };
    uint8_t p[64];
    size_t n = cairn_record_extents_bytes(2);
    struct cairn_record r;

    (void)state;
    regions[1].len = 0;
    cairn_record_put_extents(p, 0, regions, 2);
    assert_int_equal(cairn_record_parse(p, n, &r), CAIRN_E_CORRUPT); /* an empty region */
    regions[1].len = 200;
    cairn_record_put_extents(p, 0, regions, 2);
    p[8]++;
    set_crc(p, n);
    assert_int_equal(cairn_record_parse(p, n, &r), CAIRN_E_CORRUPT); /* another length than its regions */
    p[8]--;
    p[16] = 1;
    set_crc(p, n);
    assert_int_equal(cairn_record_parse(p, n, &r), CAIRN_E_CORRUPT); /* fewer regions than bytes */
    p[16] = p[17] = p[18] = p[19] = 0xff;
    set_crc(p, n);
    assert_int_equal(cairn_record_parse(p, n, &r), CAIRN_E_CORRUPT); /* more than anything */
    cairn_record_put_extents(p, 0, regions, 0);
    assert_int_equal(cairn_record_parse(p, cairn_record_extents_bytes(0), &r), CAIRN_E_CORRUPT); /* none */
}

static void newer_versions_and_types_are_told_apart(void **state)
{
    uint8_t p[8];
    struct cairn_record r;

    (void)state;
    cairn_record_put_embedded(p, 0, 0, NULL);
    p[0] = CAIRN_RECORD_VERSION + 1;
    assert_int_equal(cairn_record_parse(p, sizeof(p), &r), CAIRN_E_FORMAT);
    cairn_record_put_embedded(p, 0, 0, NULL);
    p[1] = 3;
    assert_int_equal(cairn_record_parse(p, sizeof(p), &r), CAIRN_E_FORMAT);
    cairn_record_put_embedded(p, 0, 0, NULL);
    p[3] = 1;
    assert_int_equal(cairn_record_parse(p, sizeof(p), &r), CAIRN_E_CORRUPT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(embedded_round_trip),
        cmocka_unit_test(extents_round_trip),
        cmocka_unit_test(lengths_from_the_beginning),
        cmocka_unit_test(embedded_lengths),
        cmocka_unit_test(embedded_chunks_are_checked),
        cmocka_unit_test(bytes_are_fixed),
        cmocka_unit_test(damage_is_found),
        cmocka_unit_test(nonsense_is_refused),
        cmocka_unit_test(newer_versions_and_types_are_told_apart),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
