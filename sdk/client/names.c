/* Results that a call allocates: one block each, strings and arrays behind the structure. */
#include "sdk/client/client_internal.h"

#include <stdlib.h>
#include <string.h>

void *cairn__block_new(size_t fixed, size_t more, char **at)
{
    char *p = calloc(1, fixed + more);

    if (p != NULL)
        *at = p + fixed;
    return p;
}

char *cairn__block_text(char **at, const void *p, size_t n)
{
    char *text = *at;

    if (n > 0)
        memcpy(text, p, n);
    text[n] = '\0';
    *at += n + 1;
    return text;
}

struct cairn_page *cairn__page_new(const ProtobufCBinaryData *keys, size_t n, const uint8_t *values, bool with_values,
                                   const uint32_t *lengths32, const uint64_t *lengths64, bool more)
{
    struct cairn_page *page;
    size_t bytes = 0;
    char *at;

    for (size_t i = 0; i < n; i++)
        bytes += keys[i].len + 1 + (with_values ? (size_t)lengths32[i] + 1 : 0);
    page = cairn__block_new(sizeof(*page) + n * sizeof(*page->entries), bytes, &at);
    if (page == NULL)
        return NULL;
    page->n = n;
    page->more = more;
    page->entries = (struct cairn_entry *)(void *)(page + 1);
    for (size_t i = 0; i < n; i++) {
        struct cairn_entry *e = &page->entries[i];

        e->key_len = keys[i].len;
        e->key = cairn__block_text(&at, keys[i].data, keys[i].len);
        e->value_len = lengths32 != NULL ? lengths32[i] : lengths64 != NULL ? lengths64[i] : 0;
        if (with_values) {
            e->value = cairn__block_text(&at, values, lengths32[i]);
            values += lengths32[i];
        }
    }
    return page;
}

void cairn_free(void *p)
{
    free(p);
}
