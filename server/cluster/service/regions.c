/* The table of regions that are about to be named: see regions.h. */
#include "server/cluster/service/regions.h"

#include "sdk/core/base/err.h"
#include "sdk/core/base/log.h"
#include "sdk/core/base/macros.h"
#include "sdk/core/env/env.h"

#include <stdlib.h>
#include <string.h>

void cluster_regions_init(struct cluster_regions *t)
{
    memset(t, 0, sizeof(*t));
    pthread_mutex_init(&t->mutex, NULL);
}

void cluster_regions_fini(struct cluster_regions *t)
{
    for (uint32_t i = 0; i < REGIONS_BUCKETS; i++) {
        while (t->buckets[i] != NULL) {
            struct cluster_region *r = t->buckets[i];

            t->buckets[i] = r->next;
            free(r);
        }
    }
    pthread_mutex_destroy(&t->mutex);
}

/* ---- under the mutex ---- */

/* Names are spread evenly. */
static struct cluster_region **place_of(struct cluster_regions *t, uint64_t id)
{
    struct cluster_region **at = &t->buckets[id % REGIONS_BUCKETS];

    while (*at != NULL && (*at)->id != id)
        at = &(*at)->next;
    return at;
}

static bool is_doomed(const struct cluster_regions *t, uint64_t id)
{
    uint32_t lo = 0, hi = t->ndoomed;

    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;

        if (t->doomed[mid] < id)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < t->ndoomed && t->doomed[lo] == id;
}

static bool has_no_room(struct cluster_regions *t)
{
    if (t->n < REGIONS_MAX)
        return false;
    t->refused++;
    if (!t->full)
        cairn_log_warn("%u regions of large values are pinned here, and no more may be: large writes and copies wait "
                       "(busy). They are let go when the sweeper begins anew, those of values that were begun and not "
                       "finished 10 minutes later; fewer and larger parts, or fewer such values at a time, need fewer",
                       t->n);
    t->full = true;
    return true;
}

/* NULL: it cannot be pinned now. */
static struct cluster_region *pin(struct cluster_regions *t, uint64_t id, uint64_t now_ns)
{
    struct cluster_region **at = place_of(t, id), *r = *at;

    if (r == NULL && (is_doomed(t, id) || has_no_room(t)))
        return NULL;
    if (r == NULL) {
        r = calloc(1, sizeof(*r));
        if (r == NULL)
            return NULL;
        r->id = id;
        *at = r;
        t->n++;
    }
    r->until_ns = now_ns + REGIONS_PIN_MS * CAIRN_NS_PER_MS;
    return r;
}

/* ---- for all ---- */

enum region_state cluster_regions_pin(struct cluster_regions *t, uint64_t id, uint64_t named_by, uint64_t now_ns)
{
    enum region_state state = REGION_BUSY;
    struct cluster_region *r;

    pthread_mutex_lock(&t->mutex);
    r = pin(t, id, now_ns);
    if (r != NULL) {
        if (r->state == REGION_GONE && r->said_by != named_by)
            r->state = REGION_UNKNOWN;
        state = r->state;
        if (state == REGION_UNKNOWN)
            r->state = REGION_FETCHING;
    }
    pthread_mutex_unlock(&t->mutex);
    return state;
}

static void set(struct cluster_regions *t, uint64_t id, enum region_state state, uint64_t said_by)
{
    struct cluster_region *r;

    pthread_mutex_lock(&t->mutex);
    r = *place_of(t, id);
    CAIRN_ASSERT(r != NULL && r->state == REGION_FETCHING);
    r->state = state;
    r->said_by = said_by;
    pthread_mutex_unlock(&t->mutex);
}

void cluster_regions_set(struct cluster_regions *t, uint64_t id, enum region_state state)
{
    CAIRN_ASSERT(state == REGION_HERE || state == REGION_UNKNOWN);
    set(t, id, state, 0);
}

void cluster_regions_set_gone(struct cluster_regions *t, uint64_t id, uint64_t said_by)
{
    set(t, id, REGION_GONE, said_by);
}

void cluster_regions_doubt(struct cluster_regions *t, uint64_t id)
{
    struct cluster_region *r;

    pthread_mutex_lock(&t->mutex);
    r = *place_of(t, id);
    if (r != NULL && r->state != REGION_FETCHING)
        r->state = REGION_UNKNOWN;
    pthread_mutex_unlock(&t->mutex);
}

enum region_state cluster_regions_state(struct cluster_regions *t, uint64_t id)
{
    const struct cluster_region *r;
    enum region_state state;

    pthread_mutex_lock(&t->mutex);
    r = *place_of(t, id);
    state = r != NULL ? r->state : REGION_BUSY;
    pthread_mutex_unlock(&t->mutex);
    return state;
}

int cluster_regions_note(struct cluster_regions *t, uint64_t id, uint64_t now_ns)
{
    struct cluster_region *r;

    pthread_mutex_lock(&t->mutex);
    r = pin(t, id, now_ns);
    if (r != NULL && r->state != REGION_FETCHING)
        r->state = REGION_HERE;
    pthread_mutex_unlock(&t->mutex);
    return r != NULL ? 0 : CAIRN_E_BUSY;
}

void cluster_regions_named(struct cluster_regions *t, uint64_t id)
{
    struct cluster_region *r;

    pthread_mutex_lock(&t->mutex);
    r = *place_of(t, id);
    if (r != NULL)
        r->until_ns = 0;
    pthread_mutex_unlock(&t->mutex);
}

/* ---- for the sweeper ---- */

void cluster_regions_sweep_begin(struct cluster_regions *t, uint64_t now_ns)
{
    pthread_mutex_lock(&t->mutex);
    for (uint32_t i = 0; i < REGIONS_BUCKETS; i++) {
        struct cluster_region **at = &t->buckets[i];

        while (*at != NULL) {
            struct cluster_region *r = *at;

            if (r->state == REGION_FETCHING || r->until_ns > now_ns) {
                at = &r->next;
                continue;
            }
            *at = r->next;
            free(r);
            t->n--;
        }
    }
    if (t->full && t->n < REGIONS_MAX) {
        t->full = false;
        cairn_log_info("regions of large values can be pinned again: %u are", t->n);
    }
    pthread_mutex_unlock(&t->mutex);
}

void cluster_regions_count(struct cluster_regions *t, struct cluster_regions_counts *out)
{
    pthread_mutex_lock(&t->mutex);
    *out = (struct cluster_regions_counts){ .pinned = t->n, .full = t->full, .refused = t->refused };
    pthread_mutex_unlock(&t->mutex);
}

uint32_t cluster_regions_doom(struct cluster_regions *t, uint64_t *ids, uint32_t n)
{
    uint32_t left = 0;

    pthread_mutex_lock(&t->mutex);
    CAIRN_ASSERT(t->ndoomed == 0);
    for (uint32_t i = 0; i < n; i++) {
        if (*place_of(t, ids[i]) == NULL)
            ids[left++] = ids[i];
    }
    t->doomed = ids;
    t->ndoomed = left;
    pthread_mutex_unlock(&t->mutex);
    return left;
}

void cluster_regions_spare(struct cluster_regions *t)
{
    pthread_mutex_lock(&t->mutex);
    t->ndoomed = 0;
    t->doomed = NULL;
    pthread_mutex_unlock(&t->mutex);
}
