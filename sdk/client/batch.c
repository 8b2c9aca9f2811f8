/* Batches: many entries in few requests, page by page. A page is bounded by entries, by the bytes of a request's body
 * and by the bytes of its payload; its arrays, and the values unless they lie in few pieces, live in a scratch buffer
 * that the client keeps for the next batch. */
#include "sdk/client/client_internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum {
    BATCH_KEYS_BYTES_MAX = CAIRN_FRAME_BODY_BYTES_MAX - (32 << 10), /* the rest is for lengths and names */
    BATCH_KEY_OVERHEAD = 12,           /* tag and length of a key, and its value's length */
    BATCH_PAYLOAD_BYTES_MAX = 1 << 20, /* larger pages gain nothing and hold up other calls */
};

int cairn__scratch_get(struct cairn_call *call, size_t need)
{
    struct cairn *c = call->c;

    if (call->scratch_room >= need)
        return 0;
    cairn__scratch_put(call);
    if (need <= CLIENT_SCRATCH_BYTES && c->nscratch > 0) {
        call->scratch = c->scratch[--c->nscratch];
        call->scratch_room = CLIENT_SCRATCH_BYTES;
        return 0;
    }
    need = MAX(need, (size_t)CLIENT_SCRATCH_BYTES);
    call->scratch = malloc(need);
    if (call->scratch == NULL)
        return CAIRN_E_NOMEM;
    call->scratch_room = need;
    return 0;
}

void cairn__scratch_put(struct cairn_call *call)
{
    struct cairn *c = call->c;

    if (call->scratch == NULL)
        return;
    if (call->scratch_room == CLIENT_SCRATCH_BYTES && c->nscratch < CLIENT_SCRATCH_MAX)
        c->scratch[c->nscratch++] = call->scratch;
    else
        free(call->scratch);
    call->scratch = NULL;
    call->scratch_room = 0;
}

static const void *batch_key(const struct cairn_call_batch *b, size_t i, size_t *len)
{
    *len = b->puts != NULL ? b->puts[i].key_len : b->gets[i].key_len;
    return b->puts != NULL ? b->puts[i].key : b->gets[i].key;
}

/* How many entries from batch.from fit into one request, and how many bytes of values they have. */
static size_t page_extent(const struct cairn_call_batch *b, size_t *value_bytes)
{
    size_t keys = 0, values = 0, i;

    for (i = b->from; i < b->n && i - b->from < CAIRN_BATCH_MAX; i++) {
        size_t k, v = b->puts != NULL ? b->puts[i].value_len : 0;

        batch_key(b, i, &k);
        k += BATCH_KEY_OVERHEAD;
        if (b->puts != NULL && v > b->value_max)
            break;
        if (i > b->from && (keys + k > BATCH_KEYS_BYTES_MAX || values + v > BATCH_PAYLOAD_BYTES_MAX))
            break;
        keys += k;
        values += v;
    }
    *value_bytes = values;
    return i - b->from;
}

/* The values as they lie in memory, if they do so in few pieces. */
static bool page_as_pieces(struct cairn_call *call)
{
    const struct cairn_call_batch *b = &call->batch;
    uint32_t n = 0;

    for (size_t i = b->from; i < b->upto; i++) {
        const struct cairn_put_item *p = &b->puts[i];
        struct iovec *last = n > 0 ? &call->rpc.payload[n - 1] : NULL;

        if (p->value_len == 0)
            continue;
        if (last != NULL && (const char *)last->iov_base + last->iov_len == (const char *)p->value) {
            last->iov_len += p->value_len;
            continue;
        }
        if (n == ARRAY_SIZE(call->rpc.payload))
            return false;
        call->rpc.payload[n++] = (struct iovec){ (void *)(uintptr_t)p->value, p->value_len };
    }
    call->rpc.payload_n = n;
    return true;
}

static void page_copy(struct cairn_call *call, uint8_t *to, size_t bytes)
{
    const struct cairn_call_batch *b = &call->batch;

    call->rpc.payload[0] = (struct iovec){ to, bytes };
    call->rpc.payload_n = 1;
    for (size_t i = b->from; i < b->upto; i++) {
        if (b->puts[i].value_len > 0)
            memcpy(to, b->puts[i].value, b->puts[i].value_len);
        to += b->puts[i].value_len;
    }
}

int cairn__batch_page(struct cairn_call *call, struct cairn_batch_page *page)
{
    struct cairn_call_batch *b = &call->batch;
    size_t value_bytes, n = page_extent(b, &value_bytes);
    size_t ncrcs = b->sums ? n + value_bytes / CAIRN_EXTENT_CHUNK_BYTES : 0; /* at most */
    size_t arrays = n * (sizeof(*page->keys) + sizeof(*page->lengths)) + ncrcs * sizeof(*page->crcs);
    bool pieces = true;
    int rc;

    b->upto = b->from + n;
    if (b->puts != NULL)
        pieces = page_as_pieces(call);
    rc = cairn__scratch_get(call, arrays + (pieces ? 0 : value_bytes));
    if (rc != 0)
        return rc;
    page->n = n;
    page->keys = call->scratch;
    page->lengths = (uint32_t *)(void *)(page->keys + n);
    page->crcs = page->lengths + n;
    page->ncrcs = 0;
    for (size_t i = 0; i < n; i++) {
        size_t len;
        const void *key = batch_key(b, b->from + i, &len);

        page->keys[i] = cairn__bytes(key, len);
        if (b->puts != NULL)
            page->lengths[i] = (uint32_t)b->puts[b->from + i].value_len;
        if (b->sums) {
            cairn_check_compute(b->puts[b->from + i].value, page->lengths[i], page->crcs + page->ncrcs);
            page->ncrcs += (size_t)cairn_check_parts(0, page->lengths[i]);
        }
    }
    if (!pieces)
        page_copy(call, (uint8_t *)call->scratch + arrays, value_bytes);
    return 0;
}

static int batch_malformed(struct cairn_call *call)
{
    return cairn_err_set(&call->err, CAIRN_E_PROTO, "the reply does not fit the entries that were asked for");
}

int cairn__batch_statuses(struct cairn_call *call, const int32_t *status, size_t n)
{
    struct cairn_call_batch *b = &call->batch;

    if (n != 0 && n != b->upto - b->from)
        return batch_malformed(call);
    for (size_t i = b->from; i < b->upto; i++) {
        int rc = n != 0 ? status[i - b->from] : 0;

        if (rc > 0 || rc < CAIRN_E_LAST)
            return batch_malformed(call);
        if (b->puts != NULL)
            b->puts[i].status = rc;
        else
            b->gets[i].status = rc;
        if (rc != 0 && b->rc == 0 && !(rc == CAIRN_E_NOTFOUND && b->kind == CAIRN_BATCH_ERASE))
            b->rc = rc;
    }
    b->from = b->upto;
    return 0;
}

/* One entry found, with @len bytes of it at @payload. */
static void batch_fill(struct cairn_get_item *g, const uint8_t *payload, size_t len)
{
    g->value_len = len;
    g->status = 0;
    if (len > g->room)
        g->status = CAIRN_E_TOOBIG;
    else if (len > 0)
        memcpy(g->value, payload, len);
}

/* Whether @len bytes at @p have the checksums at @crcs. */
static bool batch_is_sound(const uint8_t *p, size_t len, const uint32_t *crcs)
{
    enum cairn_check_result r;
    struct cairn_check k;

    cairn_check_start(&k, p, 0, len, crcs);
    while ((r = cairn_check_step(&k)) == CAIRN_CHECK_MORE)
        ;
    return r == CAIRN_CHECK_GOOD;
}

int cairn__batch_lengths(struct cairn_call *call, const int64_t *lengths, size_t n, const uint32_t *crcs, size_t ncrcs)
{
    const uint32_t *crcs_end = crcs + ncrcs;
    struct cairn_call_batch *b = &call->batch;
    const uint8_t *at = call->rpc.reply_payload;
    uint64_t left = call->rpc.reply_payload_len;

    if (n == 0 || n > b->upto - b->from) /* fewer than asked for: the rest goes into another request */
        return batch_malformed(call);
    for (size_t i = 0; i < n; i++) {
        struct cairn_get_item *g = &b->gets[b->from + i];

        if (lengths[i] == -1) {
            g->value_len = 0;
            g->status = CAIRN_E_NOTFOUND;
        } else if (lengths[i] == -2 && b->kind == CAIRN_BATCH_GET && call->rpc.iface == &cairn_iface_router) {
            g->status = CAIRN_STATUS_LARGE;
            b->nlarge++;
        } else if (lengths[i] == -2) {
            g->value_len = 0;
            g->status = CAIRN_E_CORRUPT;
        } else if (lengths[i] < 0) {
            return batch_malformed(call);
        } else if (b->kind == CAIRN_BATCH_GET) {
            size_t parts = ncrcs > 0 ? (size_t)cairn_check_parts(0, (uint64_t)lengths[i]) : 0;

            if ((uint64_t)lengths[i] > left || parts > (size_t)(crcs_end - crcs))
                return batch_malformed(call);
            if (parts == 0 || batch_is_sound(at, (size_t)lengths[i], crcs)) {
                batch_fill(g, at, (size_t)lengths[i]);
            } else { /* by itself it comes again, or it is told what is wrong with it */
                g->status = CAIRN_STATUS_LARGE;
                b->nlarge++;
            }
            crcs += parts;
            at += lengths[i];
            left -= (uint64_t)lengths[i];
        } else {
            g->value_len = (size_t)lengths[i];
            g->status = 0;
        }
    }
    if (left != 0 || crcs != crcs_end)
        return batch_malformed(call);
    b->from += n;
    return 0;
}

void cairn__batch_give_up(struct cairn_call *call, int rc)
{
    struct cairn_call_batch *b = &call->batch;

    for (size_t i = b->fetching_large ? b->n : b->from; i < b->n; i++) {
        if (b->puts != NULL)
            b->puts[i].status = rc;
        else
            b->gets[i].status = rc;
    }
    for (size_t i = 0; i < b->n && b->nlarge > 0; i++) { /* they wait for the end, wherever they are */
        if (b->gets[i].status == CAIRN_STATUS_LARGE)
            b->gets[i].status = rc;
    }
    b->from = b->n;
}

int cairn__batch_check_puts(const struct cairn_call_options *o, const struct cairn_put_item *items, size_t n,
                            uint64_t value_max)
{
    for (size_t i = 0; i < n; i++) {
        if (items[i].key_len == 0 || items[i].key_len > CAIRN_KEY_BYTES_MAX)
            return cairn__refuse(o, CAIRN_E_INVAL, "entry %zu: a key has 1 to %d bytes, not %zu", i,
                                 CAIRN_KEY_BYTES_MAX, items[i].key_len);
        if (items[i].value_len > value_max)
            return cairn__refuse(o, CAIRN_E_TOOBIG, "entry %zu: a value has at most %" PRIu64 " bytes here, not %zu", i,
                                 value_max, items[i].value_len);
    }
    return 0;
}

int cairn__batch_check_gets(const struct cairn_call_options *o, const struct cairn_get_item *items, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (items[i].key_len == 0 || items[i].key_len > CAIRN_KEY_BYTES_MAX)
            return cairn__refuse(o, CAIRN_E_INVAL, "entry %zu: a key has 1 to %d bytes, not %zu", i,
                                 CAIRN_KEY_BYTES_MAX, items[i].key_len);
    }
    return 0;
}

static void empty_next(struct cairn_call *call)
{
    cairn__call_fail_later(call, 0);
}

int cairn__batch_go(struct cairn_call *call, void (*next)(struct cairn_call *call), bool sees_errors)
{
    call->next = next;
    call->sees_errors = sees_errors;
    call->has_steps = call->batch.n > 0;
    if (call->batch.n == 0)
        call->next = empty_next;
    return cairn__call_go(call);
}
