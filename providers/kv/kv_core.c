/* Decisions of the KV provider: see kv_core.h. */
#include "providers/kv/kv_core.h"

#include "cairn/error.h"
#include "sdk/core/base/macros.h"

#include <endian.h>
#include <string.h>

_Static_assert((int)CAIRN_KV_BYTES == CAIRN__WIRE__KV_ORDER__KV_ORDER_BYTES, "orders are a wire format");
_Static_assert((int)CAIRN_KV_UINT == CAIRN__WIRE__KV_ORDER__KV_ORDER_UINT, "orders are a wire format");

int cairn_kv_key_check(enum cairn_kv_order order, const ProtobufCBinaryData *key)
{
    if (key->len == 0)
        return CAIRN_E_INVAL;
    if (key->len > CAIRN_KEY_BYTES_MAX)
        return CAIRN_E_TOOBIG;
    return order == CAIRN_KV_UINT && key->len > CAIRN_KV_UINT_BYTES ? CAIRN_E_INVAL : 0;
}

int cairn_kv_key_make(enum cairn_kv_order order, const ProtobufCBinaryData *key, struct cairn_kv_key *k)
{
    uint64_t number = 0;
    int rc = cairn_kv_key_check(order, key);

    if (rc != 0)
        return rc;
    if (order == CAIRN_KV_BYTES) {
        k->ptr = key->data;
        k->len = (uint32_t)key->len;
        return 0;
    }
    memcpy(&number, key->data, key->len);
    number = htobe64(le64toh(number));
    memcpy(k->number, &number, sizeof(number));
    k->ptr = k->number;
    k->len = sizeof(number);
    return 0;
}

void cairn_kv_key_show(enum cairn_kv_order order, const uint8_t *stored, uint32_t len, uint8_t *out)
{
    uint64_t number;

    if (order == CAIRN_KV_BYTES || len != sizeof(number)) {
        memcpy(out, stored, len);
        return;
    }
    memcpy(&number, stored, sizeof(number));
    number = htole64(be64toh(number));
    memcpy(out, &number, sizeof(number));
}

int cairn_kv_key_compare(const uint8_t *a, uint32_t alen, const uint8_t *b, uint32_t blen)
{
    int c = memcmp(a, b, MIN(alen, blen));

    if (c != 0)
        return c;
    return alen < blen ? -1 : alen > blen;
}

/* Raises the lower bound to @key, or to its immediate successor, which is the key with a zero byte behind it. */
static void range_raise(struct cairn_kv_range *r, const struct cairn_kv_key *key, bool after)
{
    uint8_t bound[CAIRN_KV_BOUND_BYTES];

    memcpy(bound, key->ptr, key->len);
    bound[key->len] = 0;
    if (cairn_kv_key_compare(bound, key->len + after, r->lo, r->lo_len) > 0) {
        r->lo_len = key->len + after;
        memcpy(r->lo, bound, r->lo_len);
    }
}

/* Lowers the upper bound to @key, or with @inclusive to its successor. */
static void range_lower(struct cairn_kv_range *r, const struct cairn_kv_key *key, bool inclusive)
{
    uint8_t bound[CAIRN_KV_BOUND_BYTES];

    memcpy(bound, key->ptr, key->len);
    bound[key->len] = 0;
    if (!r->bounded || cairn_kv_key_compare(bound, key->len + inclusive, r->hi, r->hi_len) < 0) {
        r->bounded = true;
        r->hi_len = key->len + inclusive;
        memcpy(r->hi, bound, r->hi_len);
    }
}

/* The keys that start with @prefix end before the prefix with its last byte incremented; bytes 0xff carry. */
static void range_set_prefix(struct cairn_kv_range *r, const ProtobufCBinaryData *prefix)
{
    uint32_t n = (uint32_t)prefix->len;

    r->lo_len = n;
    memcpy(r->lo, prefix->data, n);
    while (n > 0 && prefix->data[n - 1] == 0xff)
        n--;
    if (n == 0)
        return;
    r->bounded = true;
    r->hi_len = n;
    memcpy(r->hi, prefix->data, n);
    r->hi[n - 1]++;
}

int cairn_kv_range_make(enum cairn_kv_order order, const Cairn__Wire__KvList *list, struct cairn_kv_range *r)
{
    struct cairn_kv_key key;
    int rc;

    r->lo_len = r->hi_len = 0;
    r->bounded = false;
    if (list->prefix.len > 0) {
        if (order != CAIRN_KV_BYTES)
            return CAIRN_E_INVAL;
        if (list->prefix.len > CAIRN_KEY_BYTES_MAX)
            return CAIRN_E_TOOBIG;
        range_set_prefix(r, &list->prefix);
    }
    if (list->from.len > 0) {
        rc = cairn_kv_key_make(order, &list->from, &key);
        if (rc != 0)
            return rc;
        if (list->reverse)
            range_lower(r, &key, !list->after);
        else
            range_raise(r, &key, list->after);
    }
    if (list->to.len > 0) {
        rc = cairn_kv_key_make(order, &list->to, &key);
        if (rc != 0)
            return rc;
        if (list->reverse)
            range_raise(r, &key, true);
        else
            range_lower(r, &key, false);
    }
    return 0;
}

bool cairn_kv_range_is_empty(const struct cairn_kv_range *r)
{
    return r->bounded && cairn_kv_key_compare(r->lo, r->lo_len, r->hi, r->hi_len) >= 0;
}

int cairn_kv_lengths_check(const Cairn__Wire__KvMput *m, uint32_t payload_len)
{
    uint64_t sum = 0;

    if (m->n_lengths != m->n_keys)
        return CAIRN_E_INVAL;
    for (size_t i = 0; i < m->n_lengths; i++) {
        if (m->lengths[i] > CAIRN_KV_VALUE_BYTES_MAX)
            return CAIRN_E_TOOBIG;
        sum += m->lengths[i];
    }
    return sum == payload_len ? 0 : CAIRN_E_INVAL;
}

int cairn_kv_apply_check(const Cairn__Wire__KvApply *m, uint32_t payload_len)
{
    uint64_t keys = 0, values = 0;

    if (m->n_dbs != m->n_keys || m->n_lengths != m->n_keys || (m->n_if_absent != 0 && m->n_if_absent != m->n_keys))
        return CAIRN_E_INVAL;
    if (m->n_keys > CAIRN_BATCH_MAX)
        return CAIRN_E_TOOBIG;
    for (size_t i = 0; i < m->n_keys; i++) {
        if (m->lengths[i] < -1)
            return CAIRN_E_INVAL;
        if (m->lengths[i] > CAIRN_KV_VALUE_BYTES_MAX)
            return CAIRN_E_TOOBIG;
        keys += m->keys[i].len;
        values += m->lengths[i] > 0 ? (uint64_t)m->lengths[i] : 0;
    }
    if (values != payload_len)
        return CAIRN_E_INVAL;
    return keys + values <= CAIRN_KV_APPLY_BYTES_MAX ? 0 : CAIRN_E_TOOBIG;
}

int cairn_kv_name_check(const char *name)
{
    size_t n = strnlen(name, CAIRN_NAME_BYTES_MAX + 1);

    if (n == 0 || n > CAIRN_NAME_BYTES_MAX)
        return CAIRN_E_INVAL;
    for (size_t i = 0; i < n; i++) {
        if ((uint8_t)name[i] < 0x20 || name[i] == 0x7f)
            return CAIRN_E_INVAL;
    }
    return 0;
}
