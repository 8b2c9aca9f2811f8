/* Unsealed regions: see extent_draft.h. */
#include "providers/extent/extent_draft.h"

#include "sdk/core/base/log.h"

#include <inttypes.h>
#include <stdlib.h>

/* Looks for expired drafts no more often than this, however short their life is set. */
enum { EXPIRE_MS_MIN = 10 };

static void timer_arm(struct cairn_extent_worker *w, uint64_t at_ns)
{
    uint64_t min = cairn_loop_now(w->loop) + MAX(EXPIRE_MS_MIN * CAIRN_NS_PER_MS, w->store->conf.draft_ttl_ns / 8);

    if (!cairn_timer_is_running(&w->draft_timer))
        cairn_timer_start(&w->loop->env, &w->draft_timer, MAX(at_ns, min));
}

int cairn_extent_draft_start(struct cairn_extent_worker *w, struct cairn_extent_region *r, uid_t maker)
{
    struct cairn_extent_store *s = w->store;
    struct cairn_extent_draft *d = calloc(1, sizeof(*d) + r->nchunks);
    uint64_t now_ns = cairn_loop_now(w->loop);
    int rc = 0;

    if (d == NULL)
        return CAIRN_E_NOMEM;
    d->region = r;
    d->maker = maker;
    d->born_ns = now_ns;
    cairn_list_init(&d->waiters);
    pthread_mutex_lock(&s->drafts_mutex);
    if (s->ndrafts >= s->conf.drafts_max) {
        rc = CAIRN_E_LIMIT;
    } else {
        r->draft = d;
        cairn_list_add_tail(&s->drafts, &d->link);
        s->ndrafts++;
    }
    pthread_mutex_unlock(&s->drafts_mutex);
    if (rc != 0) {
        free(d);
        return rc;
    }
    CAIRN_ASSERT(cairn_extent_table_add(&s->table, r)); /* names are unique; from here others may drop it */
    timer_arm(w, now_ns + s->conf.draft_ttl_ns);
    return 0;
}

/* ---- all below with @d under the drafts mutex ---- */

static bool any_busy(const struct cairn_extent_draft *d, uint64_t off, uint64_t len)
{
    for (uint64_t c = off / CAIRN_EXTENT_CHUNK_BYTES; c <= (off + len - 1) / CAIRN_EXTENT_CHUNK_BYTES; c++) {
        if ((d->chunks[c] & CAIRN_EXTENT_CHUNK_BUSY) != 0)
            return true;
    }
    return false;
}

static int may_touch(const struct cairn_extent_region *r, uid_t who, bool admin)
{
    const struct cairn_extent_draft *d = r->draft;

    if (d == NULL || d->sealing)
        return CAIRN_E_STATE;
    return admin || d->maker == who ? 0 : CAIRN_E_DENIED;
}

static void hole_add(struct cairn_extent_draft *d, uint64_t off, uint64_t len)
{
    if (d->nholes == CAIRN_EXTENT_HOLES_MAX) {
        d->spoiled = true;
        return;
    }
    d->holes[d->nholes].off = off;
    d->holes[d->nholes].len = len;
    d->nholes++;
}

static void holes_filled(struct cairn_extent_draft *d, uint64_t off, uint64_t len)
{
    for (uint32_t i = 0; i < d->nholes;) {
        if (d->holes[i].off >= off && d->holes[i].off + d->holes[i].len <= off + len)
            d->holes[i] = d->holes[--d->nholes];
        else
            i++;
    }
}

static void wake_all(struct cairn_extent_draft *d)
{
    while (!cairn_list_is_empty(&d->waiters)) {
        struct cairn_extent_draft_wait *w =
            CONTAINER_OF(cairn_list_pop(&d->waiters), struct cairn_extent_draft_wait, link);

        cairn_loop_post(w->loop, &w->task);
    }
}

static void forget(struct cairn_extent_store *s, struct cairn_extent_draft *d)
{
    cairn_list_del(&d->link);
    s->ndrafts--;
}

/* ---- */

int cairn_extent_draft_write_begin(struct cairn_extent_region *r, uid_t who, bool admin, uint64_t off, uint64_t len,
                                   struct cairn_extent_draft_wait *wait)
{
    struct cairn_extent_store *s = r->store;
    int rc;

    CAIRN_ASSERT(len > 0 && off + len <= r->length);
    pthread_mutex_lock(&s->drafts_mutex);
    rc = may_touch(r, who, admin);
    if (rc == 0 && any_busy(r->draft, off, len)) {
        cairn_list_add_tail(&r->draft->waiters, &wait->link);
        rc = CAIRN_EXTENT_LATER;
    } else if (rc == 0) {
        for (uint64_t c = off / CAIRN_EXTENT_CHUNK_BYTES; c <= (off + len - 1) / CAIRN_EXTENT_CHUNK_BYTES; c++)
            r->draft->chunks[c] |= CAIRN_EXTENT_CHUNK_BUSY;
        atomic_fetch_add(&r->draft->writers, 1);
    }
    pthread_mutex_unlock(&s->drafts_mutex);
    return rc;
}

void cairn_extent_draft_write_end(struct cairn_extent_region *r, uint64_t off, uint64_t len, int rc)
{
    struct cairn_extent_store *s = r->store;
    struct cairn_extent_draft *d = r->draft;

    pthread_mutex_lock(&s->drafts_mutex);
    CAIRN_ASSERT(atomic_fetch_sub(&d->writers, 1) > 0);
    for (uint64_t c = off / CAIRN_EXTENT_CHUNK_BYTES; c <= (off + len - 1) / CAIRN_EXTENT_CHUNK_BYTES; c++)
        d->chunks[c] = rc == 0 ? CAIRN_EXTENT_CHUNK_HERE : d->chunks[c] & CAIRN_EXTENT_CHUNK_HERE;
    if (rc == 0)
        holes_filled(d, off, len);
    else
        hole_add(d, off, len);
    wake_all(d);
    pthread_mutex_unlock(&s->drafts_mutex);
}

int cairn_extent_draft_seal_begin(struct cairn_extent_region *r, uid_t who, bool admin, struct cairn_err *err)
{
    struct cairn_extent_store *s = r->store;
    struct cairn_extent_draft *d;
    int rc;

    pthread_mutex_lock(&s->drafts_mutex);
    d = r->draft;
    rc = may_touch(r, who, admin);
    if (rc == CAIRN_E_STATE)
        cairn_err_set(err, rc, "region %016" PRIx64 " is sealed already, or being sealed", r->id);
    else if (rc != 0)
        cairn_err_set(err, rc, "region %016" PRIx64 " belongs to another user", r->id);
    else if (atomic_load(&d->writers) > 0 || !cairn_list_is_empty(&d->waiters))
        rc = cairn_err_set(err, CAIRN_E_STATE, "region %016" PRIx64 " is being written", r->id);
    else if (d->spoiled)
        rc = cairn_err_set(err, CAIRN_E_STATE, "region %016" PRIx64 ": too many failed writes; remove it", r->id);
    else if (d->nholes > 0)
        rc = cairn_err_set(err, CAIRN_E_STATE,
                           "region %016" PRIx64 ": the write of %" PRIu64 " bytes at %" PRIu64
                           " failed and was not repeated",
                           r->id, d->holes[0].len, d->holes[0].off);
    else
        d->sealing = true;
    pthread_mutex_unlock(&s->drafts_mutex);
    return rc;
}

void cairn_extent_draft_seal_end(struct cairn_extent_region *r, int rc)
{
    struct cairn_extent_store *s = r->store;
    struct cairn_extent_draft *d = r->draft;

    if (rc == 0)
        cairn_extent_table_seal(&s->table, r); /* before the draft ends: it must be one or the other */
    pthread_mutex_lock(&s->drafts_mutex);
    d->sealing = false;
    if (rc == 0) {
        forget(s, d);
        r->draft = NULL;
    }
    pthread_mutex_unlock(&s->drafts_mutex);
    if (rc == 0)
        free(d);
}

/* Under the mutex. */
static int drop(struct cairn_extent_store *s, struct cairn_extent_region *r)
{
    struct cairn_extent_draft *d = r->draft;

    if (d == NULL || d->sealing || atomic_load(&d->writers) > 0 || !cairn_list_is_empty(&d->waiters))
        return CAIRN_E_STATE;
    if (!cairn_extent_table_del(&s->table, r))
        return CAIRN_E_NOTFOUND;
    forget(s, d);
    r->draft = NULL;
    free(d);
    return 0;
}

int cairn_extent_draft_drop(struct cairn_extent_region *r)
{
    struct cairn_extent_store *s = r->store;
    int rc;

    pthread_mutex_lock(&s->drafts_mutex);
    rc = drop(s, r);
    pthread_mutex_unlock(&s->drafts_mutex);
    return rc;
}

void cairn_extent_draft_expire(struct cairn_extent_store *s, uint64_t now_ns)
{
    struct cairn_extent_region *gone = NULL;
    uint64_t n = 0;

    pthread_mutex_lock(&s->drafts_mutex);
    CAIRN_LIST_FOREACH_SAFE (l, &s->drafts) {
        struct cairn_extent_draft *d = CONTAINER_OF(l, struct cairn_extent_draft, link);
        struct cairn_extent_region *r = d->region;

        if (d->born_ns + s->conf.draft_ttl_ns > now_ns)
            break;
        if (drop(s, r) == 0) {
            r->next[CAIRN_EXTENT_ALL] = gone;
            gone = r;
            n++;
        }
    }
    pthread_mutex_unlock(&s->drafts_mutex);
    if (n > 0) {
        atomic_fetch_add(&s->drafts_expired, n);
        cairn_log_info("extent store: %" PRIu64 " regions that nobody persisted are given up", n);
    }
    while (gone != NULL) {
        struct cairn_extent_region *r = gone;

        gone = r->next[CAIRN_EXTENT_ALL];
        cairn_extent_region_put(r);
    }
}

void cairn_extent__on_draft_timer(void *arg)
{
    struct cairn_extent_worker *w = arg;
    struct cairn_extent_store *s = w->store;
    uint64_t next = 0;

    cairn_extent_draft_expire(s, cairn_loop_now(w->loop));
    pthread_mutex_lock(&s->drafts_mutex);
    if (!cairn_list_is_empty(&s->drafts))
        next = CONTAINER_OF(s->drafts.next, struct cairn_extent_draft, link)->born_ns + s->conf.draft_ttl_ns;
    pthread_mutex_unlock(&s->drafts_mutex);
    if (next != 0) /* a draft in use is looked at again, at the earliest allowed time */
        timer_arm(w, next);
}
