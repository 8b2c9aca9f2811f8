/** Records on their way to another node: one part of a copy. Pure; input is hostile.
 *
 *  each record: namespace 4, length of the key 4, of the record 4, what the index has of it 9, key, record
 * Numbers are little-endian. */
#ifndef CAIRN_SERVER_CLUSTER_SERVICE_STORE_PAGE_H
#define CAIRN_SERVER_CLUSTER_SERVICE_STORE_PAGE_H

#include "server/cluster/service/store_internal.h"

enum { STORE_PAGE_HEAD_BYTES = 12 + STORE_INDEX_VALUE_BYTES };

struct store_page_record {
    uint32_t ns, key_len, record_len;
    const uint8_t *index, *key, *record; /* borrowed */
};

/** Reads the record at *@at and moves it on; 0 or CAIRN_E_INVAL, CAIRN_E_TOOBIG. */
int store_page_next(const uint8_t *page, uint32_t len, uint32_t *at, struct store_page_record *r);
static inline size_t store_page_bytes(const struct store_page_record *r)
{
    return (size_t)STORE_PAGE_HEAD_BYTES + r->key_len + r->record_len;
}
/** Writes store_page_bytes(). */
void store_page_put(const struct store_page_record *r, uint8_t *to);

#endif
