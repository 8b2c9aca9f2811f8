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

/* How many numbers are below @w. Without a branch on the comparison: it cannot be predicted. */
static uint32_t words_below(const struct head *h, uint64_t w)
{
    const uint64_t *word = h->word;
    uint32_t n = h->n;

    while (n > 1) {
        uint32_t half = n / 2;

        word += word[half - 1] < w ? half : 0;
        n -= half;
    }
    return (uint32_t)(word - h->word) + (n > 0 && word[0] < w);
}

uint32_t cairn_kv__head_search(const struct head *h, const uint8_t *key, uint32_t klen, bool *equal)
{
    uint32_t lo, hi;
    uint64_t w;
    int c = memcmp(key, h->prefix, MIN(klen, h->prefix_len));

    *equal = false;
    if (c != 0)
        return c < 0 ? 0 : h->n;
    if (klen < h->prefix_len)
        return 0;
    w = cairn_kv__word_at(key, klen, h->prefix_len);
    lo = words_below(h, w);
    for (hi = lo; hi < h->n && h->word[hi] == w;) {
        c = cairn_kv_key_compare(h->key[hi]->bytes, h->key[hi]->klen, key, klen);
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
        hi++;
    }
    return hi;
}

const struct cairn_kv_rec *cairn_kv__head_guess(const struct head *h, const uint8_t *key, uint32_t klen)
{
    uint32_t i = words_below(h, cairn_kv__word_at(key, klen, h->prefix_len));

    return i < h->n ? h->key[i] : NULL;
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
