/* Keys, ranges and the directory: decisions without a store. */
#include "cairn/error.h"
#include "providers/kv/kv_core.h"
#include "providers/kv/kv_dir.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static ProtobufCBinaryData bin(const void *p, size_t n)
{
    return (ProtobufCBinaryData){ .len = n, .data = (uint8_t *)(uintptr_t)p };
}

static ProtobufCBinaryData str(const char *s)
{
    return bin(s, strlen(s));
}

static void numbers_have_one_form(void **state)
{
    static const uint8_t short_two[] = { 2 }, long_two[] = { 2, 0, 0, 0 }, be_two[] = { 0, 0, 0, 0, 0, 0, 0, 2 };
    ProtobufCBinaryData a = bin(short_two, sizeof(short_two)), b = bin(long_two, sizeof(long_two));
    struct cairn_kv_key k;
    uint8_t shown[8];
    uint64_t x;

    (void)state;
    assert_int_equal(cairn_kv_key_make(CAIRN_KV_UINT, &a, &k), 0);
    assert_int_equal(k.len, 8);
    assert_memory_equal(k.ptr, be_two, 8);
    assert_int_equal(cairn_kv_key_make(CAIRN_KV_UINT, &b, &k), 0);
    assert_memory_equal(k.ptr, be_two, 8);
    cairn_kv_key_show(CAIRN_KV_UINT, k.ptr, k.len, shown);
    memcpy(&x, shown, 8);
    assert_int_equal(x, 2);
    assert_int_equal(cairn_kv_key_make(CAIRN_KV_BYTES, &b, &k), 0);
    assert_ptr_equal(k.ptr, long_two);
}

static void keys_have_bounds(void **state)
{
    static const uint8_t bytes[CAIRN_KEY_BYTES_MAX + 1];
    ProtobufCBinaryData key = bin(bytes, 0);

    (void)state;
    assert_int_equal(cairn_kv_key_check(CAIRN_KV_BYTES, &key), CAIRN_E_INVAL);
    key.len = CAIRN_KEY_BYTES_MAX;
    assert_int_equal(cairn_kv_key_check(CAIRN_KV_BYTES, &key), 0);
    key.len++;
    assert_int_equal(cairn_kv_key_check(CAIRN_KV_BYTES, &key), CAIRN_E_TOOBIG);
    key.len = 9;
    assert_int_equal(cairn_kv_key_check(CAIRN_KV_UINT, &key), CAIRN_E_INVAL);
}

/* The range of a listing as text: "[lo,hi)", "." for a zero byte, "~" for 0xff. */
static const char *range(const char *prefix, const char *from, const char *to, bool after, bool reverse)
{
    static struct cairn_kv_range r;
    static char text[64];
    Cairn__Wire__KvList m = CAIRN__WIRE__KV_LIST__INIT;
    char *at = text;

    m.prefix = str(prefix);
    m.from = str(from);
    m.to = str(to);
    m.after = after;
    m.reverse = reverse;
    assert_int_equal(cairn_kv_range_make(CAIRN_KV_BYTES, &m, &r), 0);
    if (cairn_kv_range_is_empty(&r))
        return "empty";
    *at++ = '[';
    for (uint32_t i = 0; i < r.lo_len; i++)
        *at++ = r.lo[i] == 0 ? '.' : r.lo[i] == 0xff ? '~' : (char)r.lo[i];
    *at++ = ',';
    for (uint32_t i = 0; r.bounded && i < r.hi_len; i++)
        *at++ = r.hi[i] == 0 ? '.' : r.hi[i] == 0xff ? '~' : (char)r.hi[i];
    strcpy(at, r.bounded ? ")" : "end)");
    return text;
}

static void ranges(void **state)
{
    (void)state;
    assert_string_equal(range("", "", "", false, false), "[,end)");
    assert_string_equal(range("b", "", "", false, false), "[b,c)");
    assert_string_equal(range("b\xff", "", "", false, false), "[b~,c)");
    assert_string_equal(range("\xff\xff", "", "", false, false), "[~~,end)");
    assert_string_equal(range("", "m", "", false, false), "[m,end)");
    assert_string_equal(range("", "m", "", true, false), "[m.,end)");
    assert_string_equal(range("", "m", "q", false, false), "[m,q)");
    assert_string_equal(range("", "m", "", false, true), "[,m.)"); /* reverse: from is the upper end, and in it */
    assert_string_equal(range("", "m", "", true, true), "[,m)");
    assert_string_equal(range("", "m", "c", false, true), "[c.,m.)"); /* to is the lower end, and not in it */
    assert_string_equal(range("b", "bx", "", false, false), "[bx,c)");
    assert_string_equal(range("b", "a", "z", false, false), "[b,c)"); /* never more than the prefix */
    assert_string_equal(range("b", "x", "", false, false), "empty");
    assert_string_equal(range("", "q", "m", false, false), "empty");
    assert_string_equal(range("", "m", "m", false, false), "empty");
    assert_string_equal(range("", "m", "m", false, true), "empty");
}

static void lengths_match_the_payload(void **state)
{
    Cairn__Wire__KvMput m = CAIRN__WIRE__KV_MPUT__INIT;
    ProtobufCBinaryData keys[2] = { str("a"), str("b") };
    uint32_t lengths[2] = { 3, 4 };

    (void)state;
    m.keys = keys;
    m.n_keys = 2;
    m.lengths = lengths;
    m.n_lengths = 2;
    assert_int_equal(cairn_kv_lengths_check(&m, 7), 0);
    assert_int_equal(cairn_kv_lengths_check(&m, 8), CAIRN_E_INVAL);
    m.n_lengths = 1;
    assert_int_equal(cairn_kv_lengths_check(&m, 3), CAIRN_E_INVAL);
    m.n_lengths = 2;
    lengths[0] = CAIRN_KV_VALUE_BYTES_MAX + 1;
    assert_int_equal(cairn_kv_lengths_check(&m, 4 + CAIRN_KV_VALUE_BYTES_MAX + 1), CAIRN_E_TOOBIG);
    lengths[0] = lengths[1] = UINT32_MAX; /* the sum must not wrap */
    assert_true(cairn_kv_lengths_check(&m, UINT32_MAX - 1) < 0);
}

/* A handle finds its database until it is dropped, and never another. */
static void arrays_of_a_batch_fit(void **state)
{
    static uint8_t big[CAIRN_KEY_BYTES_MAX];
    static ProtobufCBinaryData keys[CAIRN_BATCH_MAX + 1];
    static uint32_t dbs[CAIRN_BATCH_MAX + 1];
    static int64_t lengths[CAIRN_BATCH_MAX + 1];
    protobuf_c_boolean if_absent[3] = { false };
    Cairn__Wire__KvApply m = CAIRN__WIRE__KV_APPLY__INIT;

    (void)state;
    for (uint32_t i = 0; i <= CAIRN_BATCH_MAX; i++)
        keys[i] = (ProtobufCBinaryData){ .data = big, .len = 1 };
    m.keys = keys;
    m.dbs = dbs;
    m.lengths = lengths;
    m.if_absent = if_absent;
    assert_int_equal(cairn_kv_apply_check(&m, 0), 0); /* of nothing */
    m.n_keys = m.n_dbs = m.n_lengths = 3;
    lengths[0] = 3;
    lengths[1] = -1;
    lengths[2] = 4;
    assert_int_equal(cairn_kv_apply_check(&m, 7), 0);
    assert_int_equal(cairn_kv_apply_check(&m, 6), CAIRN_E_INVAL);
    m.n_if_absent = 3;
    assert_int_equal(cairn_kv_apply_check(&m, 7), 0);
    m.n_if_absent = 2;
    assert_int_equal(cairn_kv_apply_check(&m, 7), CAIRN_E_INVAL);
    m.n_if_absent = 0;
    m.n_dbs = 2;
    assert_int_equal(cairn_kv_apply_check(&m, 7), CAIRN_E_INVAL);
    m.n_dbs = 3;
    m.n_lengths = 2;
    assert_int_equal(cairn_kv_apply_check(&m, 3), CAIRN_E_INVAL);
    m.n_lengths = 3;
    lengths[1] = -2;
    assert_int_equal(cairn_kv_apply_check(&m, 7), CAIRN_E_INVAL);
    lengths[1] = INT64_MIN;
    assert_int_equal(cairn_kv_apply_check(&m, 7), CAIRN_E_INVAL);
    lengths[1] = INT64_MAX;
    assert_int_equal(cairn_kv_apply_check(&m, 7), CAIRN_E_TOOBIG);
    lengths[0] = lengths[1] = lengths[2] = 0;
    m.n_keys = m.n_dbs = m.n_lengths = CAIRN_BATCH_MAX;
    assert_int_equal(cairn_kv_apply_check(&m, 0), 0);
    m.n_keys = m.n_dbs = m.n_lengths = CAIRN_BATCH_MAX + 1;
    assert_int_equal(cairn_kv_apply_check(&m, 0), CAIRN_E_TOOBIG);
    m.n_keys = m.n_dbs = m.n_lengths = 8; /* a byte of key each */
    for (int i = 0; i < 8; i++)
        lengths[i] = CAIRN_KV_VALUE_BYTES_MAX;
    lengths[7] -= 8;
    assert_int_equal(cairn_kv_apply_check(&m, CAIRN_KV_APPLY_BYTES_MAX - 8), 0);
    lengths[7]++;
    assert_int_equal(cairn_kv_apply_check(&m, CAIRN_KV_APPLY_BYTES_MAX - 7), CAIRN_E_TOOBIG);
}

static void handles_are_not_reused(void **state)
{
    struct cairn_kv_db_desc desc = { .name = "d", .db = { .order = CAIRN_KV_UINT, .write_once = true } };
    struct cairn_kv_db first, db;
    struct cairn_kv_dir d;

    (void)state;
    assert_int_equal(cairn_kv_dir_init(&d, 2, UINT32_MAX), 0);
    assert_int_equal(cairn_kv_dir_reserve(&d, &desc), 0);
    assert_false(cairn_kv_dir_find(&d, desc.db.handle, &db)); /* not before it is published */
    cairn_kv_dir_publish(&d, &desc.db);
    assert_true(cairn_kv_dir_find(&d, desc.db.handle, &db));
    assert_int_equal(db.order, CAIRN_KV_UINT);
    assert_true(db.write_once);
    first = desc.db;
    for (int i = 0; i < 10; i++) {
        cairn_kv_dir_hide(&d, &desc.db);
        assert_non_null(cairn_kv_dir_by_name(&d, "d"));
        cairn_kv_dir_forget(&d, &desc.db);
        assert_null(cairn_kv_dir_by_name(&d, "d"));
        assert_int_equal(cairn_kv_dir_reserve(&d, &desc), 0);
        cairn_kv_dir_publish(&d, &desc.db);
        assert_true(desc.db.handle >= CAIRN_KV_DB_MAX);
        assert_int_not_equal(desc.db.handle, first.handle);
        assert_false(cairn_kv_dir_find(&d, first.handle, &db));
    }
    strcpy(desc.name, "e");
    assert_int_equal(cairn_kv_dir_reserve(&d, &desc), 0);
    strcpy(desc.name, "f");
    assert_int_equal(cairn_kv_dir_reserve(&d, &desc), CAIRN_E_LIMIT);
    for (uint32_t h = 0; h < 5000; h += 7)
        assert_false(cairn_kv_dir_find(&d, h, &db));
    cairn_kv_dir_fini(&d);
}

static void names_are_checked(void **state)
{
    char name[CAIRN_NAME_BYTES_MAX + 2];

    (void)state;
    memset(name, 'n', sizeof(name));
    name[CAIRN_NAME_BYTES_MAX + 1] = '\0';
    assert_int_equal(cairn_kv_name_check(name), CAIRN_E_INVAL);
    name[CAIRN_NAME_BYTES_MAX] = '\0';
    assert_int_equal(cairn_kv_name_check(name), 0);
    assert_int_equal(cairn_kv_name_check(""), CAIRN_E_INVAL);
    assert_int_equal(cairn_kv_name_check("a\tb"), CAIRN_E_INVAL);
    assert_int_equal(cairn_kv_name_check("d\xc3\xa4tabase"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_have_one_form),
        cmocka_unit_test(keys_have_bounds),
        cmocka_unit_test(ranges),
        cmocka_unit_test(lengths_match_the_payload),
        cmocka_unit_test(arrays_of_a_batch_fit),
        cmocka_unit_test(handles_are_not_reused),
        cmocka_unit_test(names_are_checked),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
