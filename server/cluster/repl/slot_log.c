/* What a replica knows of its log: see slot_log.h. */
#include "server/cluster/repl/slot_log.h"

#include <stdlib.h>

void cairn_slot_log_init(struct cairn_slot_log *l)
{
    memset(l, 0, sizeof(*l));
}

void cairn_slot_log_fini(struct cairn_slot_log *l)
{
    free(l->runs);
    l->runs = NULL;
}

static int runs_grow(struct cairn_slot_log *l)
{
    uint32_t room = l->room == 0 ? 4 : l->room * 2;
    struct cairn_run *runs;

    if (l->nruns < l->room)
        return 0;
    if (l->nruns >= CAIRN_LOG_RUNS_MAX)
        return CAIRN_E_LIMIT;
    runs = realloc(l->runs, room * sizeof(*runs));
    if (runs == NULL)
        return CAIRN_E_NOMEM;
    l->runs = runs;
    l->room = room;
    return 0;
}

int cairn_slot_log_append(struct cairn_slot_log *l, struct cairn_at at)
{
    CAIRN_ASSERT(at.pos == l->end.pos + 1 && at.epoch >= l->end.epoch);
    if (l->nruns == 0 || l->runs[l->nruns - 1].epoch != at.epoch) {
        int rc = runs_grow(l);

        if (rc != 0)
            return rc;
        l->runs[l->nruns++] = (struct cairn_run){ .epoch = at.epoch, .first = at.pos };
    }
    l->end = at;
    return 0;
}

void cairn_slot_log_cut(struct cairn_slot_log *l, uint64_t pos)
{
    CAIRN_ASSERT(pos >= l->base.pos && pos <= l->end.pos);
    l->end = (struct cairn_at){ .epoch = cairn_slot_log_epoch(l, pos), .pos = pos };
    while (l->nruns > 0 && l->runs[l->nruns - 1].first > pos)
        l->nruns--;
    l->synced = MIN(l->synced, pos);
    l->written = MIN(l->written, pos);
}

void cairn_slot_log_trim(struct cairn_slot_log *l, uint64_t pos)
{
    uint32_t gone = 0;

    CAIRN_ASSERT(pos <= l->end.pos);
    if (pos <= l->base.pos)
        return;
    l->base = (struct cairn_at){ .epoch = cairn_slot_log_epoch(l, pos), .pos = pos };
    while (gone < l->nruns && (gone + 1 < l->nruns ? l->runs[gone + 1].first - 1 : l->end.pos) <= pos)
        gone++;
    memmove(l->runs, l->runs + gone, (l->nruns - gone) * sizeof(*l->runs));
    l->nruns -= gone;
    if (l->nruns > 0)
        l->runs[0].first = MAX(l->runs[0].first, pos + 1);
}

void cairn_slot_log_restart(struct cairn_slot_log *l, struct cairn_at base)
{
    l->base = l->end = base;
    l->synced = l->written = base.pos;
    l->nruns = 0;
}

uint64_t cairn_slot_log_epoch(const struct cairn_slot_log *l, uint64_t pos)
{
    if (pos == l->base.pos)
        return l->base.epoch;
    if (pos < l->base.pos || pos > l->end.pos)
        return 0;
    for (uint32_t i = l->nruns; i-- > 0;) {
        if (l->runs[i].first <= pos)
            return l->runs[i].epoch;
    }
    return 0;
}

static uint64_t view_epoch(const struct cairn_slot_log_view *v, uint64_t pos)
{
    if (pos == v->floor.pos)
        return v->floor.epoch;
    if (pos < v->floor.pos || pos > v->end.pos)
        return 0;
    for (uint32_t i = v->nruns; i-- > 0;) {
        if (v->runs[i].first <= pos)
            return v->runs[i].epoch;
    }
    return 0;
}

static uint64_t run_last(const struct cairn_slot_log_view *v, uint32_t i)
{
    return i + 1 < v->nruns ? v->runs[i + 1].first - 1 : v->end.pos;
}

bool cairn_slot_log_common(const struct cairn_slot_log_view *a, const struct cairn_slot_log_view *b,
                           struct cairn_at *common)
{
    uint64_t floor = MAX(a->floor.pos, b->floor.pos);
    uint32_t i = a->nruns, k = b->nruns;

    /* The newest epoch that both list tells: its entries are of one primary, in one order. */
    while (i > 0 && k > 0 && a->runs[i - 1].epoch != b->runs[k - 1].epoch) {
        if (a->runs[i - 1].epoch > b->runs[k - 1].epoch)
            i--;
        else
            k--;
    }
    common->pos = i > 0 && k > 0 ? MIN(run_last(a, i - 1), run_last(b, k - 1)) : floor;
    common->epoch = view_epoch(a, common->pos);
    return common->pos >= floor && common->pos <= a->end.pos && common->pos <= b->end.pos &&
           common->epoch == view_epoch(b, common->pos);
}
