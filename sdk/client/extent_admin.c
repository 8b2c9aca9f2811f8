/* Extents of one provider: regions as a whole. */
#include "sdk/client/extent_internal.h"

#include <stdlib.h>
#include <string.h>

/* ---- open ---- */

static void open_found(struct cairn_call *call, uint16_t provider)
{
    struct cairn_extents *x = malloc(sizeof(*x));

    if (x == NULL) {
        cairn__call_finish(call, CAIRN_E_NOMEM);
        return;
    }
    cairn__handle_init(&x->h, call->c, provider);
    *(struct cairn_extents **)call->out = x;
    cairn__call_finish(call, 0);
}

static int extents_open(struct cairn *c, const char *provider, struct cairn_extents **out,
                        const struct cairn_call_options *o, cairn_done_fn *done, void *arg)
{
    struct cairn_call *call;
    int rc = cairn__find_new(c, provider, "extent", NULL, open_found, o, done, arg, &call);

    if (rc != 0)
        return rc;
    call->out = out;
    return cairn__call_go(call);
}

int cairn_extents_open(struct cairn *c, const char *provider, struct cairn_extents **out,
                       const struct cairn_call_options *o)
{
    return extents_open(c, provider, out, o, NULL, NULL);
}

int cairn_extents_open_async(struct cairn *c, const char *provider, struct cairn_extents **out,
                             const struct cairn_call_options *o, cairn_done_fn *done, void *arg)
{
    return done != NULL ? extents_open(c, provider, out, o, done, arg) : CAIRN_E_INVAL;
}

void cairn_extents_close(struct cairn_extents *x)
{
    if (x != NULL)
        cairn__handle_put(&x->h);
}

/* ---- create, persist, stat ---- */

static int extent_create(struct cairn_extents *x, uint64_t length, uint64_t *id, const struct cairn_call_options *o,
                         cairn_done_fn *done, void *arg)
{
    struct cairn_call *call;
    int rc = cairn__call_new(x->h.c, &x->h, o, done, arg, &call);

    if (rc != 0)
        return rc;
    cairn__wire__extent_create__init(&call->rq.x_create);
    call->rq.x_create.length = length;
    call->out = id;
    call->answered = cairn__extent_id_answered;
    cairn__call_to(call, &cairn_iface_extent, x->h.provider, X_METHOD(CREATE));
    return cairn__call_go(call);
}

int cairn_extent_create(struct cairn_extents *x, uint64_t length, uint64_t *id, const struct cairn_call_options *o)
{
    return extent_create(x, length, id, o, NULL, NULL);
}

int cairn_extent_create_async(struct cairn_extents *x, uint64_t length, uint64_t *id,
                              const struct cairn_call_options *o, cairn_done_fn *done, void *arg)
{
    return done != NULL ? extent_create(x, length, id, o, done, arg) : CAIRN_E_INVAL;
}

static int extent_persist(struct cairn_extents *x, uint64_t id, const struct cairn_call_options *o, cairn_done_fn *done,
                          void *arg)
{
    struct cairn_call *call;
    int rc = cairn__call_new(x->h.c, &x->h, o, done, arg, &call);

    if (rc != 0)
        return rc;
    cairn__wire__extent_persist__init(&call->rq.x_persist);
    call->rq.x_persist.id = id;
    call->rq.x_persist.durability = cairn__durability_to_wire(o != NULL ? o->durability : CAIRN_DURABILITY_DEFAULT);
    call->answered = cairn__answered_plainly;
    cairn__call_to(call, &cairn_iface_extent, x->h.provider, X_METHOD(PERSIST));
    return cairn__call_go(call);
}

int cairn_extent_persist(struct cairn_extents *x, uint64_t id, const struct cairn_call_options *o)
{
    return extent_persist(x, id, o, NULL, NULL);
}

int cairn_extent_persist_async(struct cairn_extents *x, uint64_t id, const struct cairn_call_options *o,
                               cairn_done_fn *done, void *arg)
{
    return done != NULL ? extent_persist(x, id, o, done, arg) : CAIRN_E_INVAL;
}

static void stat_answered(struct cairn_call *call)
{
    const Cairn__Wire__ExtentStatReply *r = (const Cairn__Wire__ExtentStatReply *)call->rpc.reply;
    struct cairn_extent_stat *s = call->out;

    s->length = r->length;
    s->sealed = r->sealed;
    s->quarantined = r->quarantined;
    cairn__call_finish(call, 0);
}

static int extent_stat(struct cairn_extents *x, uint64_t id, struct cairn_extent_stat *stat,
                       const struct cairn_call_options *o, cairn_done_fn *done, void *arg)
{
    struct cairn_call *call;
    int rc;

    if (!CAIRN_REACHES(stat, quarantined))
        return cairn__refuse(o, CAIRN_E_INVAL, "stat: start from CAIRN_EXTENT_STAT_INIT");
    rc = cairn__call_new(x->h.c, &x->h, o, done, arg, &call);
    if (rc != 0)
        return rc;
    cairn__wire__extent_id__init(&call->rq.x_id);
    call->rq.x_id.id = id;
    call->out = stat;
    call->answered = stat_answered;
    cairn__call_to(call, &cairn_iface_extent, x->h.provider, X_METHOD(STAT));
    return cairn__call_go(call);
}

int cairn_extent_stat(struct cairn_extents *x, uint64_t id, struct cairn_extent_stat *stat,
                      const struct cairn_call_options *o)
{
    return extent_stat(x, id, stat, o, NULL, NULL);
}

int cairn_extent_stat_async(struct cairn_extents *x, uint64_t id, struct cairn_extent_stat *stat,
                            const struct cairn_call_options *o, cairn_done_fn *done, void *arg)
{
    return done != NULL ? extent_stat(x, id, stat, o, done, arg) : CAIRN_E_INVAL;
}

/* ---- remove ---- */

static void remove_answered(struct cairn_call *call)
{
    const Cairn__Wire__KvStatuses *r = (const Cairn__Wire__KvStatuses *)call->rpc.reply;
    size_t n = (size_t)call->out_arg;
    int *status = call->out, first = 0;

    if (r->n_status != 0 && r->n_status != n) {
        cairn__call_fail(call, CAIRN_E_PROTO, "the reply is malformed: %zu results for %zu regions", r->n_status, n);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        int rc = r->n_status != 0 ? r->status[i] : 0;

        if (rc > 0 || rc < CAIRN_E_LAST)
            rc = CAIRN_E_PROTO;
        if (status != NULL)
            status[i] = rc;
        if (first == 0)
            first = rc;
    }
    cairn__call_finish(call, first);
}

static int extent_remove(struct cairn_extents *x, const uint64_t *ids, size_t n, int *status,
                         const struct cairn_call_options *o, cairn_done_fn *done, void *arg)
{
    struct cairn_call *call;
    int rc;

    if (n == 0 || n > CAIRN_BATCH_MAX)
        return cairn__refuse(o, CAIRN_E_INVAL, "1 to %d regions in one call, not %zu", CAIRN_BATCH_MAX, n);
    rc = cairn__call_new(x->h.c, &x->h, o, done, arg, &call);
    if (rc != 0)
        return rc;
    cairn__wire__extent_remove__init(&call->rq.x_remove);
    call->rq.x_remove.n_ids = n;
    call->rq.x_remove.ids = (uint64_t *)(uintptr_t)ids; /* only read */
    call->rq.x_remove.durability = cairn__durability_to_wire(o != NULL ? o->durability : CAIRN_DURABILITY_DEFAULT);
    call->out = status;
    call->out_arg = n;
    call->answered = remove_answered;
    cairn__call_to(call, &cairn_iface_extent, x->h.provider, X_METHOD(REMOVE));
    return cairn__call_go(call);
}

int cairn_extent_remove(struct cairn_extents *x, const uint64_t *ids, size_t n, int *status,
                        const struct cairn_call_options *o)
{
    return extent_remove(x, ids, n, status, o, NULL, NULL);
}

int cairn_extent_remove_async(struct cairn_extents *x, const uint64_t *ids, size_t n, int *status,
                              const struct cairn_call_options *o, cairn_done_fn *done, void *arg)
{
    return done != NULL ? extent_remove(x, ids, n, status, o, done, arg) : CAIRN_E_INVAL;
}

/* ---- list ---- */

static void list_answered(struct cairn_call *call)
{
    const Cairn__Wire__ExtentListReply *r = (const Cairn__Wire__ExtentListReply *)call->rpc.reply;
    struct cairn_extent_page *page;
    char *at;

    if (r->n_ids != r->n_lengths || (r->more && r->n_ids == 0)) {
        cairn__call_fail(call, CAIRN_E_PROTO, "the reply is malformed: %zu ids, %zu lengths", r->n_ids, r->n_lengths);
        return;
    }
    page = cairn__block_new(sizeof(*page) + r->n_ids * sizeof(*page->regions), 0, &at);
    if (page == NULL) {
        cairn__call_finish(call, CAIRN_E_NOMEM);
        return;
    }
    page->n = r->n_ids;
    page->more = r->more;
    page->regions = (struct cairn_extent_info *)(void *)(page + 1);
    for (size_t i = 0; i < page->n; i++)
        page->regions[i] = (struct cairn_extent_info){ .id = r->ids[i], .length = r->lengths[i] };
    *(struct cairn_extent_page **)call->out = page;
    cairn__call_finish(call, 0);
}

static int extent_list(struct cairn_extents *x, uint64_t after, uint32_t max, bool quarantined,
                       struct cairn_extent_page **page, const struct cairn_call_options *o, cairn_done_fn *done,
                       void *arg)
{
    Cairn__Wire__ExtentList *m;
    struct cairn_call *call;
    int rc = cairn__call_new(x->h.c, &x->h, o, done, arg, &call);

    if (rc != 0)
        return rc;
    m = &call->rq.x_list;
    cairn__wire__extent_list__init(m);
    m->after = after;
    m->max = MIN(max, (uint32_t)CAIRN_BATCH_MAX);
    m->quarantined = quarantined;
    call->out = page;
    call->answered = list_answered;
    cairn__call_to(call, &cairn_iface_extent, x->h.provider, X_METHOD(LIST));
    return cairn__call_go(call);
}

int cairn_extent_list(struct cairn_extents *x, uint64_t after, uint32_t max, bool quarantined,
                      struct cairn_extent_page **page, const struct cairn_call_options *o)
{
    return extent_list(x, after, max, quarantined, page, o, NULL, NULL);
}

int cairn_extent_list_async(struct cairn_extents *x, uint64_t after, uint32_t max, bool quarantined,
                            struct cairn_extent_page **page, const struct cairn_call_options *o, cairn_done_fn *done,
                            void *arg)
{
    return done != NULL ? extent_list(x, after, max, quarantined, page, o, done, arg) : CAIRN_E_INVAL;
}

/* ---- scrub ---- */

static void scrub_answered(struct cairn_call *call)
{
    const Cairn__Wire__ExtentScrubReply *r = (const Cairn__Wire__ExtentScrubReply *)call->rpc.reply;
    struct cairn_extent_scrub *s;
    char *at;

    s = cairn__block_new(sizeof(*s) + r->n_quarantined * sizeof(*s->quarantined), 0, &at);
    if (s == NULL) {
        cairn__call_finish(call, CAIRN_E_NOMEM);
        return;
    }
    s->regions_checked = r->regions_checked;
    s->bytes_checked = r->bytes_checked;
    s->rounds = r->rounds;
    s->nquarantined = r->n_quarantined;
    s->quarantined = (uint64_t *)(void *)(s + 1);
    if (r->n_quarantined > 0)
        memcpy(s->quarantined, r->quarantined, r->n_quarantined * sizeof(*s->quarantined));
    *(struct cairn_extent_scrub **)call->out = s;
    cairn__call_finish(call, 0);
}

static int extent_scrub(struct cairn_extents *x, uint64_t id, struct cairn_extent_scrub **report,
                        const struct cairn_call_options *o, cairn_done_fn *done, void *arg)
{
    struct cairn_call *call;
    int rc = cairn__call_new(x->h.c, &x->h, o, done, arg, &call);

    if (rc != 0)
        return rc;
    cairn__wire__extent_scrub__init(&call->rq.x_scrub);
    call->rq.x_scrub.id = id;
    call->out = report;
    call->answered = scrub_answered;
    cairn__call_to(call, &cairn_iface_extent, x->h.provider, X_METHOD(SCRUB));
    return cairn__call_go(call);
}

int cairn_extent_scrub(struct cairn_extents *x, uint64_t id, struct cairn_extent_scrub **report,
                       const struct cairn_call_options *o)
{
    return extent_scrub(x, id, report, o, NULL, NULL);
}

int cairn_extent_scrub_async(struct cairn_extents *x, uint64_t id, struct cairn_extent_scrub **report,
                             const struct cairn_call_options *o, cairn_done_fn *done, void *arg)
{
    return done != NULL ? extent_scrub(x, id, report, o, done, arg) : CAIRN_E_INVAL;
}
