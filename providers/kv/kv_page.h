/** One page of results: lengths and values of a multi-get, or keys and values of a listing.
 *
 * Filled by a store through found() or entry(), on a loop or on the pool; its buffers grow to their bounds and can be
 * kept for the next page. */
#ifndef CAIRN_PROVIDERS_KV_PAGE_H
#define CAIRN_PROVIDERS_KV_PAGE_H

#include "providers/kv/kv_core.h"

#include <sys/uio.h>

struct cairn_kv_buf {
    uint8_t *ptr;
    size_t len, room;
};

struct cairn_kv_page {
    struct cairn_kv_buf values; /* at most CAIRN_KV_PAGE_BYTES */
    struct cairn_kv_buf keys;   /* at most CAIRN_KV_PAGE_KEY_BYTES */
    enum cairn_kv_order order;  /* how keys are shown */
    uint32_t n, max;            /* entries, and how many there may be */
    uint32_t head;              /* bytes that are kept of a value; reset: UINT32_MAX, all of them */
    uint32_t room;              /* of the arrays below */
    int64_t *lengths;           /* of values; -1: not there */
    uint32_t *key_lengths;
    int rc; /* CAIRN_E_NOMEM if the page could not grow */
};

/** Empty, for at most @max entries; buffers are kept. A zeroed structure is a page that has none yet. */
void cairn_kv_page_reset(struct cairn_kv_page *p, enum cairn_kv_order order, uint32_t max);
/** Gives back buffers larger than @keep bytes. */
void cairn_kv_page_trim(struct cairn_kv_page *p, size_t keep);
void cairn_kv_page_fini(struct cairn_kv_page *p);

/** Takes an entry: false when it does not fit (p->rc tells whether for want of memory). @val NULL: only the length
 * counts. */
bool cairn_kv_page_add(struct cairn_kv_page *p, const uint8_t *val, int64_t len);
/** An entry of a listing; @key in stored form, kept as callers see it. */
bool cairn_kv_page_add_key(struct cairn_kv_page *p, const uint8_t *key, uint32_t klen, const uint8_t *val,
                           uint32_t vlen);

#endif
