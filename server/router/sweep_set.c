/* Candidates of the sweeper: see sweep_set.h. */
#include "server/router/sweep_set.h"

#include "cairn/error.h"
#include "sdk/core/base/macros.h"

#include <stdlib.h>

enum { SET_ROOM_FIRST = 1024 };

void router_sweep_set_fini(struct router_sweep_set *set)
{
    free(set->ids);
    free(set->named);
    *set = (struct router_sweep_set){ 0 };
}

void router_sweep_set_clear(struct router_sweep_set *set)
{
    set->n = set->at = 0;
}

static int set_grow(struct router_sweep_set *set)
{
    uint32_t room = MIN(MAX(set->room * 2, (uint32_t)SET_ROOM_FIRST), (uint32_t)ROUTER_SWEEP_SET_MAX);
    uint64_t *ids;
    bool *named;

    if (set->room == ROUTER_SWEEP_SET_MAX)
        return CAIRN_E_LIMIT;
    ids = realloc(set->ids, room * sizeof(set->ids[0]));
    if (ids == NULL)
        return CAIRN_E_NOMEM;
    set->ids = ids;
    named = realloc(set->named, room * sizeof(set->named[0]));
    if (named == NULL)
        return CAIRN_E_NOMEM;
    set->named = named;
    set->room = room;
    return 0;
}

int router_sweep_set_add(struct router_sweep_set *set, uint64_t id)
{
    int rc = set->n == set->room ? set_grow(set) : 0;

    if (rc != 0)
        return rc;
    if (set->n > 0 && id <= set->ids[set->n - 1])
        return CAIRN_E_INVAL;
    set->named[set->n] = false;
    set->ids[set->n++] = id;
    return 0;
}

void router_sweep_set_name(struct router_sweep_set *set, uint64_t id)
{
    uint32_t lo = 0, hi = set->n;

    CAIRN_ASSERT(set->at == 0);
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;

        if (set->ids[mid] < id)
            lo = mid + 1;
        else
            hi = mid;
    }
    if (lo < set->n && set->ids[lo] == id)
        set->named[lo] = true;
}

uint32_t router_sweep_set_take(struct router_sweep_set *set, uint32_t max, uint64_t **ids)
{
    uint32_t n = 0;

    while (set->at < set->n && n < max) {
        if (!set->named[set->at])
            set->ids[n++] = set->ids[set->at]; /* to the front, over those that were taken */
        set->at++;
    }
    *ids = set->ids;
    return n;
}
