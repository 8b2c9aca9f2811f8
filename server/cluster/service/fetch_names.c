/* Entries and records of copies that name regions: none is taken before what it names is here (I11). */
#include "server/cluster/service/fetch_internal.h"
#include "server/cluster/service/store_page.h"

static bool record_is_here(struct side_worker *w, const struct cairn_repl_msg *m, uint32_t ns, const uint8_t *record,
                           uint32_t len)
{
    struct fetch_want want = { .slot = m->slot,
                               .node = m->from.node,
                               .named = true,
                               .epoch = m->epoch,
                               .inc = m->from.inc,
                               .copy = m->kind == CAIRN_REPL_COPY,
                               .owner = CAIRN_REGION_OWNER_TAG | ns };
    struct cairn_record r;
    bool here = true;

    if (cairn_record_parse(record, len, &r) != 0) /* what the router makes of it is its business */
        return true;
    for (uint32_t i = 0; i < r.nregions; i++) {
        want.region = cairn_record_region(&r, i);
        if (want.region.id != 0 && want.region.len > 0 && want.region.len <= CAIRN_CLUSTER_REGION_BYTES)
            here &= side_region_is_here(w, &want);
    }
    return here;
}

static bool entry_is_here(struct side_worker *w, const struct cairn_repl_msg *m, const struct cairn_log_entry *e)
{
    struct store_body b;

    if (e->kind != CAIRN_ENTRY_WRITE || store_body_get(e->body, e->body_len, &b) != 0 ||
        !store_body_has_record(&b))
        return true;
    return cluster_slots_has(w->slots, m->slot, e->at) || record_is_here(w, m, b.ns, b.record, b.record_len);
}

static bool page_is_here(struct side_worker *w, const struct cairn_repl_msg *m)
{
    struct store_page_record r;
    bool here = true;

    for (uint32_t at = 0; at < m->len && store_page_next(m->bytes, m->len, &at, &r) == 0;)
        here &= record_is_here(w, m, r.ns, r.record, r.record_len);
    return here;
}

bool side_fetch_admit(struct side_worker *w, struct cairn_repl_msg *m)
{
    uint32_t first = m->nentries;

    if (m->kind == CAIRN_REPL_COPY && m->part == CAIRN_COPY_RECORDS) {
        if (!page_is_here(w, m))
            m->number = 0; /* of no part of records: the source hears which one is wanted, and that we live */
        return true;
    }
    if (m->kind != CAIRN_REPL_APPEND)
        return true;
    for (uint32_t i = 0; i < m->nentries; i++) { /* all of them: what is missing is fetched side by side */
        if (!entry_is_here(w, m, &m->entries[i]))
            first = MIN(first, i);
    }
    if (first == 0 && m->nentries > 0)
        return false;
    m->nentries = first;
    return true;
}

static void record_is_taken(struct side_worker *w, const uint8_t *record, uint32_t len)
{
    struct cairn_record r;

    if (cairn_record_parse(record, len, &r) != 0)
        return;
    for (uint32_t i = 0; i < r.nregions; i++)
        cluster_regions_named(&w->c->side->regions, cairn_record_region(&r, i).id);
}

void side_fetch_taken(struct side_worker *w, const struct cairn_repl_msg *m)
{
    struct store_page_record r;
    struct store_body b;

    if (m->kind == CAIRN_REPL_COPY && m->part == CAIRN_COPY_RECORDS && m->number > 0) {
        for (uint32_t at = 0; at < m->len && store_page_next(m->bytes, m->len, &at, &r) == 0;)
            record_is_taken(w, r.record, r.record_len);
    }
    for (uint32_t i = 0; m->kind == CAIRN_REPL_APPEND && i < m->nentries; i++) {
        if (m->entries[i].kind == CAIRN_ENTRY_WRITE &&
            store_body_get(m->entries[i].body, m->entries[i].body_len, &b) == 0 &&
            store_body_has_record(&b))
            record_is_taken(w, b.record, b.record_len);
    }
}
