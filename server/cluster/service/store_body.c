/* The body of an entry: see store_body.h. */
#include "server/cluster/service/store_body.h"

#include <endian.h>

static uint32_t get32(const uint8_t *from)
{
    uint32_t v;

    memcpy(&v, from, sizeof(v));
    return le32toh(v);
}

static void put32(uint8_t *to, uint32_t v)
{
    v = htole32(v);
    memcpy(to, &v, sizeof(v));
}

int store_body_get(const uint8_t *bytes, uint32_t len, struct store_body *b)
{
    const uint8_t known = STORE_BODY_IF_ABSENT | STORE_BODY_WRITE_ONCE;

    if (len < STORE_BODY_HEAD_BYTES || bytes[0] != STORE_BODY_VERSION || (bytes[2] & ~known) != 0 || bytes[3] != 0)
        return CAIRN_E_INVAL;
    b->op = bytes[1];
    b->flags = bytes[2];
    b->ns = get32(bytes + 4);
    b->key_len = get32(bytes + 8);
    if (b->op < STORE_PUT || b->op > STORE_REPAIR || b->ns == 0 || b->key_len == 0 ||
        b->key_len > len - STORE_BODY_HEAD_BYTES)
        return CAIRN_E_INVAL;
    b->key = bytes + STORE_BODY_HEAD_BYTES;
    b->record = b->key + b->key_len;
    b->record_len = len - STORE_BODY_HEAD_BYTES - b->key_len;
    if (b->op == STORE_ERASE && b->record_len > 0)
        return CAIRN_E_INVAL;
    if (b->key_len > STORE_KEY_BYTES_MAX || b->record_len > CAIRN_KV_VALUE_BYTES_MAX)
        return CAIRN_E_TOOBIG;
    return 0;
}

void store_body_put(const struct store_body *b, uint8_t *to)
{
    to[0] = STORE_BODY_VERSION;
    to[1] = (uint8_t)b->op;
    to[2] = b->flags;
    to[3] = 0;
    put32(to + 4, b->ns);
    put32(to + 8, b->key_len);
    memcpy(to + STORE_BODY_HEAD_BYTES, b->key, b->key_len);
    if (b->record_len > 0)
        memcpy(to + STORE_BODY_HEAD_BYTES + b->key_len, b->record, b->record_len);
}
