/* What replicas keep and copy: the body of an entry, and a page of records. What is understood is written the same
 * again. */
#include "server/cluster/service/store_page.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_body(const uint8_t *bytes, uint32_t len)
{
    struct store_body b;
    uint8_t *again;

    if (store_body_get(bytes, len, &b) != 0)
        return;
    CAIRN_ASSERT(store_body_bytes(&b) == len && b.key == bytes + STORE_BODY_HEAD_BYTES);
    again = malloc(len);
    CAIRN_ASSERT(again != NULL);
    store_body_put(&b, again);
    CAIRN_ASSERT(memcmp(bytes, again, len) == 0);
    free(again);
}

static void read_page(const uint8_t *page, uint32_t len)
{
    struct store_page_record r;
    uint32_t at = 0, from = 0;

    while (at < len && store_page_next(page, len, &at, &r) == 0) {
        uint8_t *again = malloc(store_page_bytes(&r));

        CAIRN_ASSERT(again != NULL && at <= len && at - from == store_page_bytes(&r));
        store_page_put(&r, again);
        CAIRN_ASSERT(memcmp(page + from, again, at - from) == 0);
        free(again);
        from = at;
    }
    CAIRN_ASSERT(at == from); /* what is refused moves nothing on */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *bytes = calloc(1, size + (size == 0)); /* of its own, so that a byte too far is seen */

    if (bytes == NULL)
        return 0;
    if (size > 0)
        memcpy(bytes, data, size);
    read_body(bytes, (uint32_t)size);
    read_page(bytes, (uint32_t)size);
    free(bytes);
    return 0;
}
