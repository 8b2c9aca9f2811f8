/* The frame decoder: whole, torn, flipped, oversized. */
#include "cairn/error.h"
#include "proto/frame/frame.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { BODY = 40, PAYLOAD = 100, TOTAL = CAIRN_FRAME_HEADER_BYTES + BODY + PAYLOAD };

static void make_frame(uint8_t *to, uint16_t flags)
{
    struct cairn_frame f = { .kind = CAIRN_FRAME_REQUEST,
                             .flags = flags,
                             .provider = 17,
                             .method = 3,
                             .seq = 65535,
                             .value = -5,
                             .id = 0xdeadbeef,
                             .body_len = BODY,
                             .payload_len = PAYLOAD };

    for (int i = 0; i < BODY + PAYLOAD; i++)
        to[CAIRN_FRAME_HEADER_BYTES + i] = (uint8_t)(i * 7);
    f.body = to + CAIRN_FRAME_HEADER_BYTES;
    f.payload = f.body + BODY;
    cairn_frame_encode_header(to, &f);
}

static void round_trip(void **state)
{
    uint8_t buf[TOTAL];
    struct cairn_frame f;
    size_t need;

    (void)state;
    make_frame(buf, CAIRN_FRAME_CRC_PAYLOAD | CAIRN_FRAME_RETRY);
    assert_int_equal(cairn_frame_decode(buf, sizeof(buf), &f, &need), TOTAL);
    assert_int_equal(need, TOTAL);
    assert_int_equal(f.kind, CAIRN_FRAME_REQUEST);
    assert_int_equal(f.flags, CAIRN_FRAME_CRC_PAYLOAD | CAIRN_FRAME_RETRY);
    assert_int_equal(f.provider, 17);
    assert_int_equal(f.method, 3);
    assert_int_equal(f.seq, 65535);
    assert_int_equal(f.value, -5);
    assert_int_equal(f.id, 0xdeadbeef);
    assert_ptr_equal(f.body, buf + CAIRN_FRAME_HEADER_BYTES);
    assert_int_equal(f.body_len, BODY);
    assert_ptr_equal(f.payload, f.body + BODY);
    assert_int_equal(f.payload_len, PAYLOAD);
}

/* At every length short of the whole it asks for more, and says how much once the header is there. */
static void torn_at_every_byte(void **state)
{
    uint8_t buf[TOTAL];
    struct cairn_frame f;
    size_t need;

    (void)state;
    make_frame(buf, CAIRN_FRAME_CRC_PAYLOAD);
    for (size_t n = 0; n < TOTAL; n++) {
        assert_int_equal(cairn_frame_decode(buf, n, &f, &need), 0);
        assert_int_equal(need, n < CAIRN_FRAME_HEADER_BYTES ? CAIRN_FRAME_HEADER_BYTES : TOTAL);
    }
}

/* No flipped bit goes unnoticed: an error, or a wait for bytes that a longer length asks for. */
static void every_flipped_bit_is_noticed(void **state)
{
    uint8_t buf[TOTAL];
    struct cairn_frame f;
    size_t need;

    (void)state;
    for (int bit = 0; bit < TOTAL * 8; bit++) {
        int64_t r;

        make_frame(buf, CAIRN_FRAME_CRC_PAYLOAD);
        buf[bit / 8] ^= (uint8_t)(1 << (bit % 8));
        r = cairn_frame_decode(buf, sizeof(buf), &f, &need);
        assert_true(r < 0 || (r == 0 && need > TOTAL));
    }
}

static void payload_without_checksum_may_change(void **state)
{
    uint8_t buf[TOTAL];
    struct cairn_frame f;
    size_t need;

    (void)state;
    make_frame(buf, 0);
    buf[TOTAL - 1] ^= 1;
    assert_int_equal(cairn_frame_decode(buf, sizeof(buf), &f, &need), TOTAL);
    buf[CAIRN_FRAME_HEADER_BYTES] ^= 1; /* the body may not */
    assert_int_equal(cairn_frame_decode(buf, sizeof(buf), &f, &need), CAIRN_E_PROTO);
}

static void oversized_is_refused_by_its_header(void **state)
{
    uint8_t buf[CAIRN_FRAME_HEADER_BYTES];
    struct cairn_frame f = { .kind = CAIRN_FRAME_REQUEST };
    size_t need;

    (void)state;
    f.body = buf;
    cairn_frame_encode_header(buf, &f);
    memcpy(buf + 20, &(uint32_t){ CAIRN_FRAME_BODY_BYTES_MAX + 1 }, 4);
    assert_int_equal(cairn_frame_decode(buf, sizeof(buf), &f, &need), CAIRN_E_TOOBIG);
    memcpy(buf + 20, &(uint32_t){ 0 }, 4);
    memcpy(buf + 24, &(uint32_t){ CAIRN_FRAME_PAYLOAD_BYTES_MAX + 1 }, 4);
    assert_int_equal(cairn_frame_decode(buf, sizeof(buf), &f, &need), CAIRN_E_TOOBIG);
}

static void other_version_is_named(void **state)
{
    uint8_t buf[TOTAL];
    struct cairn_frame f;
    size_t need;

    (void)state;
    make_frame(buf, 0);
    buf[2]++;
    assert_int_equal(cairn_frame_decode(buf, sizeof(buf), &f, &need), CAIRN_E_VERSION);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trip),
        cmocka_unit_test(torn_at_every_byte),
        cmocka_unit_test(every_flipped_bit_is_noticed),
        cmocka_unit_test(payload_without_checksum_may_change),
        cmocka_unit_test(oversized_is_refused_by_its_header),
        cmocka_unit_test(other_version_is_named),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
