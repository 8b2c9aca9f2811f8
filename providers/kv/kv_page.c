/* Pages of results: see kv_page.h. */
#include "providers/kv/kv_page.h"

#include "cairn/error.h"
#include "sdk/core/base/macros.h"

#include <stdlib.h>
#include <string.h>

enum { PAGE_ENTRIES_MIN = 64, BUF_BYTES_MIN = 4096 };

void cairn_kv_page_reset(struct cairn_kv_page *p, enum cairn_kv_order order, uint32_t max)
{
    p->values.len = p->keys.len = 0;
    p->order = order;
    p->n = 0;
    p->max = max;
    p->head = UINT32_MAX;
    p->rc = 0;
}

static void buf_free(struct cairn_kv_buf *b)
{
    free(b->ptr);
    *b = (struct cairn_kv_buf){ 0 };
}

void cairn_kv_page_trim(struct cairn_kv_page *p, size_t keep)
{
    if (p->values.room > keep)
        buf_free(&p->values);
    if (p->keys.room > keep)
        buf_free(&p->keys);
    if (p->room * sizeof(p->lengths[0]) > keep) {
        free(p->lengths);
        free(p->key_lengths);
        p->lengths = NULL;
        p->key_lengths = NULL;
        p->room = 0;
    }
}

void cairn_kv_page_fini(struct cairn_kv_page *p)
{
    cairn_kv_page_trim(p, 0);
}

/* Room for @n bytes more, up to @max in all. */
static bool buf_reserve(struct cairn_kv_buf *b, size_t n, size_t max, int *rc)
{
    size_t room = MAX(b->room, (size_t)BUF_BYTES_MIN);
    uint8_t *grown;

    if (b->len + n > max)
        return false;
    if (b->len + n <= b->room)
        return true;
    while (room < b->len + n)
        room *= 2;
    grown = realloc(b->ptr, MIN(room, max));
    if (grown == NULL) {
        *rc = CAIRN_E_NOMEM;
        return false;
    }
    b->ptr = grown;
    b->room = MIN(room, max);
    return true;
}

static bool page_reserve_entry(struct cairn_kv_page *p)
{
    uint32_t room = MAX(p->room * 2, (uint32_t)PAGE_ENTRIES_MIN);
    int64_t *lengths;
    uint32_t *key_lengths;

    if (p->n == p->max)
        return false;
    if (p->n < p->room)
        return true;
    lengths = realloc(p->lengths, room * sizeof(lengths[0]));
    if (lengths != NULL)
        p->lengths = lengths;
    key_lengths = realloc(p->key_lengths, room * sizeof(key_lengths[0]));
    if (key_lengths != NULL)
        p->key_lengths = key_lengths;
    if (lengths == NULL || key_lengths == NULL) {
        p->rc = CAIRN_E_NOMEM;
        return false;
    }
    p->room = room;
    return true;
}

static bool page_reserve_value(struct cairn_kv_page *p, const uint8_t *val, int64_t len)
{
    return val == NULL || len <= 0 ||
           buf_reserve(&p->values, (size_t)MIN(len, (int64_t)p->head), CAIRN_KV_PAGE_BYTES, &p->rc);
}

static void page_put_value(struct cairn_kv_page *p, const uint8_t *val, int64_t len)
{
    if (val != NULL && len > 0) {
        size_t n = (size_t)MIN(len, (int64_t)p->head);

        memcpy(p->values.ptr + p->values.len, val, n);
        p->values.len += n;
    }
    p->lengths[p->n++] = len;
}

bool cairn_kv_page_add(struct cairn_kv_page *p, const uint8_t *val, int64_t len)
{
    if (!page_reserve_entry(p) || !page_reserve_value(p, val, len))
        return false;
    page_put_value(p, val, len);
    return true;
}

bool cairn_kv_page_add_key(struct cairn_kv_page *p, const uint8_t *key, uint32_t klen, const uint8_t *val,
                           uint32_t vlen)
{
    if (!page_reserve_entry(p) || !page_reserve_value(p, val, vlen) ||
        !buf_reserve(&p->keys, klen, CAIRN_KV_PAGE_KEY_BYTES, &p->rc))
        return false;
    cairn_kv_key_show(p->order, key, klen, p->keys.ptr + p->keys.len);
    p->keys.len += klen;
    p->key_lengths[p->n] = klen;
    page_put_value(p, val, vlen);
    return true;
}
