/* Entries and records of copies that name regions: none is taken before what it names is here (I11). */
#include "server/cluster/service/cluster.h"
#include "server/cluster/service/fetch_core.h"

struct admission {
    struct cluster_fetches *s;
    struct fetch_want want;
    bool here;
};

static void admit_region(void *arg, uint64_t owner, struct cairn_record_region region)
{
    struct admission *a = arg;

    /* what else a record may say is the router's business */
    if (region.id == 0 || region.len == 0 || region.len > CAIRN_CLUSTER_REGION_BYTES)
        return;
    a->want.owner = owner;
    a->want.region = region;
    a->here &= cluster_fetch_is_here(a->s, &a->want);
}

static bool entry_is_here(struct admission *a, const struct cairn_log_entry *e)
{
    const struct cluster_fetch_ops *ops = a->s->ops;

    a->here = true;
    if (e->kind == CAIRN_ENTRY_WRITE && !ops->has_entry(a->s, a->want.slot, e->at))
        ops->entry_names(e, admit_region, a);
    return a->here;
}

static bool is_page(const struct cairn_repl_msg *m)
{
    return m->kind == CAIRN_REPL_COPY && m->part == CAIRN_COPY_RECORDS;
}

bool cluster_fetch_admit(struct cluster_fetches *s, struct cairn_repl_msg *m)
{
    struct admission a = { .s = s,
                           .want = { .slot = m->slot,
                                     .node = m->from.node,
                                     .named = true,
                                     .epoch = m->epoch,
                                     .inc = m->from.inc,
                                     .copy = is_page(m) },
                           .here = true };
    uint32_t first = m->nentries;

    if (is_page(m)) {
        s->ops->page_names(m->bytes, m->len, admit_region, &a);
        if (!a.here)
            m->number = 0; /* of no part of records: the source hears which one is wanted, and that we live */
        return true;
    }
    if (m->kind != CAIRN_REPL_APPEND)
        return true;
    for (uint32_t i = 0; i < m->nentries; i++) { /* all of them: what is missing is fetched side by side */
        if (!entry_is_here(&a, &m->entries[i]))
            first = MIN(first, i);
    }
    if (first == 0 && m->nentries > 0)
        return false;
    m->nentries = first;
    return true;
}

static void region_is_named(void *arg, uint64_t owner, struct cairn_record_region region)
{
    struct cluster_fetches *s = arg;

    (void)owner;
    cluster_regions_named(s->regions, region.id);
}

void cluster_fetch_taken(struct cluster_fetches *s, const struct cairn_repl_msg *m)
{
    if (is_page(m) && m->number > 0)
        s->ops->page_names(m->bytes, m->len, region_is_named, s);
    for (uint32_t i = 0; m->kind == CAIRN_REPL_APPEND && i < m->nentries; i++) {
        if (m->entries[i].kind == CAIRN_ENTRY_WRITE)
            s->ops->entry_names(&m->entries[i], region_is_named, s);
    }
}
