/* What names regions: an entry of a log, a page of a copy's records. */
#include "server/cluster/service/fetch.h"
#include "server/cluster/service/store_body.h"
#include "server/cluster/service/store_page.h"

static void record_names(uint32_t ns, const uint8_t *record, uint32_t len, fetch_named_fn *fn, void *arg)
{
    struct cairn_record r;

    if (cairn_record_parse(record, len, &r) != 0) /* what the router makes of it is its business */
        return;
    for (uint32_t i = 0; i < r.nregions; i++)
        fn(arg, CAIRN_REGION_OWNER_TAG | ns, cairn_record_region(&r, i));
}

void side_entry_names(const struct cairn_log_entry *e, fetch_named_fn *fn, void *arg)
{
    struct store_body b;

    if (e->kind == CAIRN_ENTRY_WRITE && store_body_get(e->body, e->body_len, &b) == 0 && store_body_has_record(&b))
        record_names(b.ns, b.record, b.record_len, fn, arg);
}

void side_page_names(const uint8_t *page, uint32_t len, fetch_named_fn *fn, void *arg)
{
    struct store_page_record r;

    for (uint32_t at = 0; at < len && store_page_next(page, len, &at, &r) == 0;)
        record_names(r.ns, r.record, r.record_len, fn, arg);
}
