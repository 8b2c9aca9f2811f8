/* Searching in a node and changing its keys: see kv_node.h. */
#include "providers/kv/kv_node.h"

#include "providers/kv/kv_core.h"

static void head_fill_words(struct head *h, uint32_t from)
{
    for (uint32_t i = from; i < h->n; i++)
        h->word[i] = cairn_kv__word_at(h->key[i]->bytes, h->key[i]->klen, h->prefix_len);
}

void cairn_kv__head_refit(struct head *h)
{
    const struct cairn_kv_rec *first, *last;

    if (h->n == 0) {
        h->prefix_len = 0;
        return;
    }
    first = h->key[0];
    last = h->key[h->n - 1];
    h->prefix_len = (uint16_t)MIN(cairn_kv__common_len(first->bytes, first->klen, last->bytes, last->klen),
                                  (uint32_t)HEAD_PREFIX_MAX);
    memcpy(h->prefix, first->bytes, h->prefix_len);
    head_fill_words(h, 0);
}

bool cairn_kv__head_place(const struct head *h, const uint8_t *key, uint32_t klen, uint64_t *w, uint32_t *at)
{
    uint32_t lo = 0, n = h->n;
    int c = memcmp(key, h->prefix, MIN(klen, h->prefix_len));

    *at = c > 0 ? h->n : 0;
    if (c != 0 || klen < h->prefix_len)
        return false;
    *w = cairn_kv__word_at(key, klen, h->prefix_len);
    while (n > 0) { /* without a branch on the comparison: it cannot be predicted */
        uint32_t half = n / 2;
        bool below = h->word[lo + half] < *w;

        lo = below ? lo + half + 1 : lo;
        n = below ? n - half - 1 : half;
    }
    *at = lo;
    return true;
}

uint32_t cairn_kv__head_settle(const struct head *h, const uint8_t *key, uint32_t klen, uint64_t w, uint32_t lo,
                               bool *equal)
{
    uint32_t hi = lo;

    for (; hi < h->n && h->word[hi] == w; hi++) {
        int c = cairn_kv_key_compare(h->key[hi]->bytes, h->key[hi]->klen, key, klen);

        if (c >= 0) {
            *equal = c == 0;
            return hi;
        }
        if (hi == lo && h->n - lo > 8 && h->word[h->n - 1] == w) { /* many alike: halve instead of walking */
            uint32_t a = lo + 1, b = h->n;

            while (a < b) {
                uint32_t mid = (a + b) / 2;

                if (cairn_kv_key_compare(h->key[mid]->bytes, h->key[mid]->klen, key, klen) < 0)
                    a = mid + 1;
                else
                    b = mid;
            }
            *equal = a < h->n && cairn_kv_key_compare(h->key[a]->bytes, h->key[a]->klen, key, klen) == 0;
            return a;
        }
    }
    return hi;
}

uint32_t cairn_kv__head_search(const struct head *h, const uint8_t *key, uint32_t klen, bool *equal)
{
    uint64_t w;
    uint32_t at;

    *equal = false;
    return cairn_kv__head_place(h, key, klen, &w, &at) ? cairn_kv__head_settle(h, key, klen, w, at, equal) : at;
}

void cairn_kv__head_replace(struct head *h, uint32_t i, struct cairn_kv_rec *key)
{
    uint32_t common = cairn_kv__common_len(key->bytes, key->klen, h->prefix, h->prefix_len);

    h->key[i] = key;
    if (common < h->prefix_len) {
        h->prefix_len = (uint16_t)common;
        head_fill_words(h, 0);
    } else {
        h->word[i] = cairn_kv__word_at(key->bytes, key->klen, h->prefix_len);
    }
}

void cairn_kv__head_insert(struct head *h, uint32_t i, struct cairn_kv_rec *key)
{
    if (h->n == 0) {
        h->n = 1;
        h->key[0] = key;
        cairn_kv__head_refit(h);
        return;
    }
    memmove(&h->key[i + 1], &h->key[i], (h->n - i) * sizeof(h->key[0]));
    memmove(&h->word[i + 1], &h->word[i], (h->n - i) * sizeof(h->word[0]));
    h->n++;
    cairn_kv__head_replace(h, i, key);
}

void cairn_kv__head_remove(struct head *h, uint32_t i)
{
    h->n--;
    memmove(&h->key[i], &h->key[i + 1], (h->n - i) * sizeof(h->key[0]));
    memmove(&h->word[i], &h->word[i + 1], (h->n - i) * sizeof(h->word[0]));
}
