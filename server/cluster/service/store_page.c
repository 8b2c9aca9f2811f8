/* Records on their way to another node: see store_page.h. */
#include "server/cluster/service/store_page.h"

int store_page_next(const uint8_t *page, uint32_t len, uint32_t *at, struct store_page_record *r)
{
    const uint8_t *p = page + *at;
    uint32_t left = len - *at;

    if (left < STORE_PAGE_HEAD_BYTES)
        return CAIRN_E_INVAL;
    r->ns = cairn_le_load32(p);
    r->key_len = cairn_le_load32(p + 4);
    r->record_len = cairn_le_load32(p + 8);
    r->index = p + 12;
    if (r->key_len > STORE_KEY_BYTES_MAX || r->record_len > CAIRN_KV_VALUE_BYTES_MAX)
        return CAIRN_E_TOOBIG;
    if (r->ns == 0 || r->key_len == 0 || (r->index[0] & ~STORE_BODY_WRITE_ONCE) != 0 || store_page_bytes(r) > left)
        return CAIRN_E_INVAL;
    r->key = p + STORE_PAGE_HEAD_BYTES;
    r->record = r->key + r->key_len;
    *at += (uint32_t)store_page_bytes(r);
    return 0;
}

void store_page_put(const struct store_page_record *r, uint8_t *to)
{
    cairn_le_store32(to, r->ns);
    cairn_le_store32(to + 4, r->key_len);
    cairn_le_store32(to + 8, r->record_len);
    memcpy(to + 12, r->index, STORE_INDEX_VALUE_BYTES);
    memcpy(to + STORE_PAGE_HEAD_BYTES, r->key, r->key_len);
    if (r->record_len > 0)
        memcpy(to + STORE_PAGE_HEAD_BYTES + r->key_len, r->record, r->record_len);
}
