/* Regions in persistent memory: areas of a libpmemobj pool and one record for each region (server/storage/pmem.h).
 *
 * Transfers go straight into the area, in space that nothing names yet, so a crash forgets them. Sealing persists the
 * bytes, drained, and then adds the record, which is atomic: what a start finds is whole. A removal takes the record
 * away; the space comes back when the last reader has left. What no record names is free at the next start. */
#include "providers/extent/extent_space.h"
#include "providers/extent/extent_store.h"

#include "sdk/core/base/crc.h"
#include "sdk/core/base/log.h"
#include "server/storage/pmem.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { POOL_BYTES_DEFAULT = 1 << 30, BLOCK = CAIRN_PMEM_AREA_ALIGN };
enum pmem_verb { PMEM_SEAL, PMEM_REMOVE, PMEM_QUARANTINE };

/* What a record holds; a disk format. */
struct region_record {
    uint32_t crc;         /* of all that follows but the flag */
    uint32_t quarantined; /* set later */
    uint64_t id, length, owner, at, room;
    uint32_t nchunks, zero;
    uint32_t crcs[];
};

struct pmem_store {
    struct cairn_extent_store base;
    struct cairn_pmem *pm;
    pthread_mutex_t records_mutex; /* for r->own of sealed regions, while a record goes or is changed; not on loops */
    pthread_mutex_t mutex;         /* for space and used */
    struct cairn_extent_space space;
    uint64_t span; /* blocks of an area */
    uint64_t used; /* bytes */
};

static struct pmem_store *of(struct cairn_extent_store *s)
{
    return CONTAINER_OF(s, struct pmem_store, base);
}

struct cairn_extent_store *cairn_extent__pmem_new(void)
{
    struct pmem_store *p = calloc(1, sizeof(*p));

    if (p == NULL)
        return NULL;
    p->base.ops = &cairn_extent_store_pmem;
    return &p->base;
}

int cairn_extent__pmem_place(const char *dir, bool allow_slow, struct cairn_err *err)
{
    struct cairn_err why = { 0 };
    int rc = cairn_pmem_place(dir, &why);

    if (rc == 0 || (rc == CAIRN_E_UNSUPPORTED && allow_slow))
        return 0;
    return cairn_err_set(err, rc, "%s%s", why.text,
                         rc == CAIRN_E_UNSUPPORTED ? " (`allow_slow: true` accepts that)" : "");
}

static uint64_t record_bytes(uint32_t nchunks)
{
    return sizeof(struct region_record) + nchunks * sizeof(uint32_t);
}

static uint32_t record_crc(const struct region_record *rec)
{
    return cairn_crc32c(0, &rec->id, record_bytes(rec->nchunks) - offsetof(struct region_record, id));
}

static uint64_t blocks_of(uint64_t length)
{
    return (length + BLOCK - 1) / BLOCK;
}

static void *memory_of(const struct pmem_store *p, uint64_t at)
{
    uint64_t bytes;

    return (char *)cairn_pmem_area(p->pm, (uint32_t)(at / p->span), &bytes) + at % p->span * BLOCK;
}

/* ---- opening ---- */

static bool record_is_sound(const struct region_record *rec, uint64_t room)
{
    return room >= sizeof(*rec) && rec->length <= CAIRN_EXTENT_BYTES_MAX &&
           rec->nchunks == cairn_extent_chunks(rec->length) && rec->room == blocks_of(rec->length) &&
           room >= record_bytes(rec->nchunks) && rec->crc == record_crc(rec);
}

static int on_record(void *arg, void *record, uint64_t room)
{
    struct pmem_store *p = arg;
    const struct region_record *rec = record;
    struct cairn_extent_region *r;
    int rc;

    if (!record_is_sound(rec, room)) {
        /* Its region's space looks free now: write nothing, so that the bytes may still be rescued. */
        cairn_log_error("extent store %s: a record is damaged, its region is lost; the store is read-only",
                        p->base.conf.dir);
        cairn_extent_store_worsen(&p->base, CAIRN_EXTENT_READONLY);
        return 0;
    }
    r = cairn_extent_region_new(&p->base, rec->id, rec->length, rec->owner);
    if (r == NULL)
        return CAIRN_E_NOMEM;
    memcpy(r->crcs, rec->crcs, rec->nchunks * sizeof(uint32_t));
    r->own = record;
    atomic_store(&r->quarantined, rec->quarantined != 0);
    atomic_store(&r->sealed, true);
    atomic_store(&r->recorded, true);
    rc = rec->room > 0 ? cairn_extent_space_take_at(&p->space, rec->at, rec->room) : 0;
    if (rc == CAIRN_E_NOMEM) { /* nothing is known of its place */
        cairn_extent_region_put(r);
        return rc;
    }
    if (rc == 0 && rec->room > 0) {
        r->at = rec->at;
        r->room = rec->room;
        r->mem = memory_of(p, rec->at);
        p->used += r->room * BLOCK;
    } else if (rc != 0) {
        cairn_log_error("extent region %016" PRIx64 ": its place is not its own, quarantined", r->id);
        cairn_extent_store_worsen(&p->base, CAIRN_EXTENT_DEGRADED);
        atomic_store(&r->quarantined, true);
    }
    if (!cairn_extent_table_add(&p->base.table, r)) {
        cairn_log_error("extent region %016" PRIx64 ": is there twice", r->id);
        cairn_extent_store_worsen(&p->base, CAIRN_EXTENT_DEGRADED);
        cairn_extent_region_put(r);
    }
    return 0;
}

static int space_open(struct pmem_store *p)
{
    uint64_t bytes;
    int rc = 0;

    cairn_pmem_area(p->pm, 0, &bytes);
    p->span = bytes / BLOCK;
    cairn_extent_space_init(&p->space, p->span);
    for (uint32_t i = 0; i < cairn_pmem_areas(p->pm) && rc == 0; i++) {
        cairn_pmem_area(p->pm, i, &bytes);
        if (bytes >= BLOCK)
            rc = cairn_extent_space_give(&p->space, i * p->span, bytes / BLOCK);
    }
    return rc;
}

static int pmem_open(struct cairn_extent_store *s, struct cairn_err *err)
{
    struct pmem_store *p = of(s);
    int rc = cairn_extent__pmem_place(s->conf.dir, s->conf.allow_slow, err);

    if (rc != 0)
        return rc;
    if (s->conf.capacity == 0)
        s->conf.capacity = POOL_BYTES_DEFAULT;
    rc = cairn_pmem_open(s->dirfd, s->conf.dir, "pool", s->conf.capacity, &p->pm, err);
    if (rc != 0)
        return rc;
    pthread_mutex_init(&p->records_mutex, NULL);
    pthread_mutex_init(&p->mutex, NULL);
    rc = space_open(p);
    if (rc == 0)
        rc = cairn_pmem_each(p->pm, on_record, p);
    if (rc == 0)
        return 0;
    cairn_extent_table_clear(&s->table);
    cairn_extent_space_fini(&p->space);
    pthread_mutex_destroy(&p->mutex);
    pthread_mutex_destroy(&p->records_mutex);
    cairn_pmem_close(p->pm);
    return cairn_err_set(err, rc, "%s: reading regions back: %s", s->conf.dir, cairn_error_text(rc));
}

static void pmem_close(struct cairn_extent_store *s)
{
    struct pmem_store *p = of(s);

    cairn_extent_space_fini(&p->space);
    pthread_mutex_destroy(&p->mutex);
    pthread_mutex_destroy(&p->records_mutex);
    cairn_pmem_close(p->pm);
}

/* ---- space and windows: memory only ---- */

static int pmem_reserve(struct cairn_extent_step *step)
{
    struct cairn_extent_region *r = step->region;
    struct pmem_store *p = of(r->store);
    uint64_t n = blocks_of(r->length);
    int rc = CAIRN_E_NOSPACE;

    if (cairn_extent_store_is_readonly(&p->base))
        return CAIRN_E_IO;
    if (n == 0)
        return 0;
    pthread_mutex_lock(&p->mutex);
    if (cairn_extent_space_take(&p->space, n, &r->at)) {
        r->room = n;
        p->used += n * BLOCK;
        rc = 0;
    }
    pthread_mutex_unlock(&p->mutex);
    if (rc == 0)
        r->mem = memory_of(p, r->at);
    return rc;
}

static void pmem_release(struct cairn_extent_store *s, struct cairn_extent_region *r)
{
    struct pmem_store *p = of(s);

    if (r->room > 0 && !atomic_load(&r->recorded)) { /* a record that stands keeps its space: the store closes */
        pthread_mutex_lock(&p->mutex);
        p->used -= r->room * BLOCK;
        if (cairn_extent_space_give(&p->space, r->at, r->room) != 0)
            cairn_log_warn("extent store: no memory to note %" PRIu64 " free blocks; they are back at the next start",
                           r->room);
        pthread_mutex_unlock(&p->mutex);
    }
    cairn_extent_region_free(r);
}

static int pmem_window(struct cairn_extent_step *step)
{
    if (step->region->mem == NULL) /* recovered without its place */
        return CAIRN_E_CORRUPT;
    step->ptr = (uint8_t *)step->region->mem + step->off;
    if (step->mode == CAIRN_EXTENT_ZERO)
        memset(step->ptr, 0, step->len);
    return 0;
}

static int pmem_settle(struct cairn_extent_step *step, bool keep)
{
    (void)keep; /* sealing persists it all at once */
    step->ptr = NULL;
    return 0;
}

/* ---- steps on the pool, since any of them may be an msync ---- */

static int do_seal(struct pmem_store *p, struct cairn_extent_region *r)
{
    uint64_t n = record_bytes(r->nchunks);
    struct region_record *rec = calloc(1, n);
    int rc = rec == NULL ? CAIRN_E_NOMEM : 0;

    if (rc == 0 && r->length > 0)
        rc = cairn_pmem_persist(p->pm, r->mem, r->length);
    if (rc == 0) {
        rec->id = r->id;
        rec->length = r->length;
        rec->owner = r->owner;
        rec->at = r->at;
        rec->room = r->room;
        rec->nchunks = r->nchunks;
        memcpy(rec->crcs, r->crcs, r->nchunks * sizeof(uint32_t));
        rec->crc = record_crc(rec);
        rc = cairn_pmem_record_add(p->pm, rec, n, &r->own);
    }
    free(rec);
    if (rc == 0)
        atomic_store(&r->recorded, true);
    return rc;
}

static void do_remove(struct pmem_store *p, struct cairn_extent_region *r)
{
    pthread_mutex_lock(&p->records_mutex);
    cairn_pmem_record_del(p->pm, r->own);
    r->own = NULL;
    pthread_mutex_unlock(&p->records_mutex);
    atomic_store(&r->recorded, false);
}

/* A reader may find damage in a region that is removed meanwhile: where its record was may be another's by now. */
static int do_quarantine(struct pmem_store *p, const struct cairn_extent_region *r)
{
    struct region_record *rec;
    int rc = 0;

    pthread_mutex_lock(&p->records_mutex);
    rec = r->own;
    if (rec != NULL) {
        rec->quarantined = 1;
        rc = cairn_pmem_persist(p->pm, &rec->quarantined, sizeof(rec->quarantined));
    }
    pthread_mutex_unlock(&p->records_mutex);
    return rc;
}

static void step_work(struct cairn_job *job)
{
    struct cairn_extent_step *step = job->arg;
    struct cairn_extent_region *r = step->region;
    struct pmem_store *p = of(r->store);

    step->rc = 0;
    switch ((enum pmem_verb)step->verb) {
    case PMEM_SEAL:
        step->rc = do_seal(p, r);
        break;
    case PMEM_REMOVE:
        do_remove(p, r);
        break;
    case PMEM_QUARANTINE:
        step->rc = do_quarantine(p, r);
        break;
    }
    if (step->rc == CAIRN_E_IO) {
        cairn_log_error("extent store %s: persisting failed; the store is read-only", p->base.conf.dir);
        cairn_extent_store_worsen(&p->base, CAIRN_EXTENT_READONLY);
    }
}

static void step_finished(struct cairn_job *job)
{
    struct cairn_extent_step *step = job->arg;

    cairn_extent_step_done(step, step->rc);
}

static int step_submit(struct cairn_extent_step *step, enum pmem_verb verb)
{
    int rc;

    if (cairn_extent_store_is_readonly(step->region->store))
        return CAIRN_E_IO;
    step->verb = (int)verb;
    step->job = (struct cairn_job){ .work = step_work, .done = step_finished, .arg = step };
    rc = cairn_pool_submit(step->region->store->pool, step->worker->loop, &step->job);
    return rc == 0 ? CAIRN_EXTENT_LATER : rc;
}

static int pmem_seal(struct cairn_extent_step *step)
{
    return step_submit(step, PMEM_SEAL);
}

static int pmem_remove(struct cairn_extent_step *step)
{
    return step_submit(step, PMEM_REMOVE);
}

static int pmem_quarantine(struct cairn_extent_step *step)
{
    return step_submit(step, PMEM_QUARANTINE);
}

static void pmem_usage(struct cairn_extent_store *s, uint64_t *used, uint64_t *avail)
{
    struct pmem_store *p = of(s);

    pthread_mutex_lock(&p->mutex);
    *used = p->used;
    *avail = p->space.free * BLOCK;
    pthread_mutex_unlock(&p->mutex);
}

const struct cairn_extent_store_ops cairn_extent_store_pmem = {
    .name = "pmem",
    .window_max = CAIRN_EXTENT_BYTES_MAX,
    .open = pmem_open,
    .close = pmem_close,
    .reserve = pmem_reserve,
    .window = pmem_window,
    .settle = pmem_settle,
    .seal = pmem_seal,
    .remove = pmem_remove,
    .quarantine = pmem_quarantine,
    .release = pmem_release,
    .usage = pmem_usage,
};
