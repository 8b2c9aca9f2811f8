/* Regions in persistent memory: one object of a libpmemobj pool each (server/storage/pmem.h).
 *
 * Transfers go straight into the object while it is only reserved, so a crash forgets it. Sealing persists its bytes,
 * then its header, then publishes it: what a start finds is whole. A removal is first noted in the header, durably; the
 * object itself is freed when the last reader has left, or by the next start. */
#include "providers/extent/extent_store.h"

#include "sdk/core/base/crc.h"
#include "sdk/core/base/log.h"
#include "server/storage/pmem.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { POOL_BYTES_DEFAULT = 1 << 30, DATA_ALIGN = 64 };
enum pmem_verb { PMEM_RESERVE, PMEM_SEAL, PMEM_REMOVE, PMEM_QUARANTINE };

/* In front of the bytes; a disk format. */
struct object_header {
    uint32_t crc; /* of id to nchunks and of the checksums; the flags come later */
    uint32_t removed, quarantined, nchunks;
    uint64_t id, length, owner;
    uint32_t crcs[];
};

struct pmem_store {
    struct cairn_extent_store base;
    struct cairn_pmem *pm;
    atomic_uint_fast64_t used;
    atomic_uint jobs; /* frees under way, for which nobody waits */
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

static uint64_t header_bytes(uint32_t nchunks)
{
    return cairn_round_up(sizeof(struct object_header) + nchunks * sizeof(uint32_t), DATA_ALIGN);
}

static uint32_t header_crc(const struct object_header *h)
{
    uint32_t crc = cairn_crc32c(0, &h->nchunks, sizeof(h->nchunks));

    crc = cairn_crc32c(crc, &h->id, 3 * sizeof(uint64_t));
    return cairn_crc32c(crc, h->crcs, h->nchunks * sizeof(uint32_t));
}

static struct object_header *header_of(const struct pmem_store *p, const struct cairn_extent_region *r)
{
    return cairn_pmem_bytes(p->pm, r->own);
}

/* ---- opening ---- */

static int on_object(void *arg, struct cairn_pmem_object *object)
{
    struct pmem_store *p = arg;
    const struct object_header *h = cairn_pmem_bytes(p->pm, object);
    uint64_t size = cairn_pmem_size(p->pm, object);
    struct cairn_extent_region *r;

    if (size < sizeof(*h) || h->nchunks != cairn_extent_chunks(h->length) || h->length > CAIRN_EXTENT_BYTES_MAX ||
        size < header_bytes(h->nchunks) + h->length || h->crc != header_crc(h)) {
        /* Left where it is: its bytes may still be worth a rescue. */
        cairn_log_error("extent store %s: an object's header is damaged; its region is lost", p->base.conf.dir);
        cairn_extent_store_worsen(&p->base, CAIRN_EXTENT_DEGRADED);
        cairn_pmem_object_forget(object);
        return 0;
    }
    if (h->removed != 0) {
        cairn_pmem_free(p->pm, object);
        return 0;
    }
    r = cairn_extent_region_new(&p->base, h->id, h->length, h->owner);
    if (r == NULL) {
        cairn_pmem_object_forget(object);
        return CAIRN_E_NOMEM;
    }
    memcpy(r->crcs, h->crcs, h->nchunks * sizeof(uint32_t));
    r->own = object;
    r->mem = (char *)cairn_pmem_bytes(p->pm, object) + header_bytes(h->nchunks);
    r->room = size;
    atomic_fetch_add(&p->used, size);
    atomic_store(&r->quarantined, h->quarantined != 0);
    atomic_store(&r->sealed, true);
    atomic_store(&r->recorded, true);
    if (!cairn_extent_table_add(&p->base.table, r)) {
        cairn_log_error("extent store %s: region %016" PRIx64 " is there twice", p->base.conf.dir, r->id);
        cairn_extent_store_worsen(&p->base, CAIRN_EXTENT_DEGRADED);
        cairn_extent_region_put(r);
    }
    return 0;
}

static int pmem_open(struct cairn_extent_store *s, struct cairn_err *err)
{
    struct pmem_store *p = of(s);
    char path[4096];
    int rc = cairn_extent__pmem_place(s->conf.dir, s->conf.allow_slow, err);

    if (rc != 0)
        return rc;
    if (s->conf.capacity == 0)
        s->conf.capacity = POOL_BYTES_DEFAULT;
    if (snprintf(path, sizeof(path), "%s/pool", s->conf.dir) >= (int)sizeof(path))
        return cairn_err_set(err, CAIRN_E_INVAL, "%s: too long", s->conf.dir);
    rc = cairn_pmem_open(path, s->conf.capacity, &p->pm, err);
    if (rc != 0)
        return rc;
    rc = cairn_pmem_each(p->pm, on_object, p);
    if (rc == 0)
        return 0;
    cairn_extent_table_clear(&s->table);
    cairn_pmem_close(p->pm);
    return cairn_err_set(err, rc, "%s: reading regions back", path);
}

static void pmem_close(struct cairn_extent_store *s)
{
    cairn_pmem_close(of(s)->pm);
}

/* ---- steps: all on the pool, since any of them may be an msync ---- */

static int do_reserve(struct pmem_store *p, struct cairn_extent_region *r)
{
    struct cairn_pmem_object *object;
    int rc = cairn_pmem_reserve(p->pm, header_bytes(r->nchunks) + r->length, &object);

    if (rc != 0)
        return rc;
    r->own = object;
    r->mem = (char *)cairn_pmem_bytes(p->pm, object) + header_bytes(r->nchunks);
    r->room = cairn_pmem_size(p->pm, object);
    atomic_fetch_add(&p->used, r->room);
    return 0;
}

static int do_seal(struct pmem_store *p, struct cairn_extent_region *r)
{
    struct object_header *h = header_of(p, r);
    int rc = 0;

    if (r->length > 0)
        rc = cairn_pmem_persist(p->pm, r->mem, r->length);
    if (rc != 0)
        return rc;
    *h = (struct object_header){ .id = r->id, .length = r->length, .owner = r->owner, .nchunks = r->nchunks };
    memcpy(h->crcs, r->crcs, r->nchunks * sizeof(uint32_t));
    h->crc = header_crc(h);
    rc = cairn_pmem_persist(p->pm, h, header_bytes(r->nchunks));
    if (rc == 0)
        rc = cairn_pmem_publish(p->pm, r->own);
    if (rc == 0)
        atomic_store(&r->recorded, true);
    return rc;
}

static int do_flag(struct pmem_store *p, uint32_t *flag)
{
    *flag = 1;
    return cairn_pmem_persist(p->pm, flag, sizeof(*flag));
}

static void step_work(struct cairn_job *job)
{
    struct cairn_extent_step *step = job->arg;
    struct cairn_extent_region *r = step->region;
    struct pmem_store *p = of(r->store);

    switch ((enum pmem_verb)step->verb) {
    case PMEM_RESERVE:
        step->rc = do_reserve(p, r);
        break;
    case PMEM_SEAL:
        step->rc = do_seal(p, r);
        break;
    case PMEM_REMOVE:
        step->rc = do_flag(p, &header_of(p, r)->removed);
        if (step->rc == 0)
            atomic_store(&r->recorded, false);
        break;
    case PMEM_QUARANTINE:
        step->rc = do_flag(p, &header_of(p, r)->quarantined);
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

static int pmem_reserve(struct cairn_extent_step *step)
{
    return step_submit(step, PMEM_RESERVE);
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

static int pmem_window(struct cairn_extent_step *step)
{
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

/* ---- giving back ---- */

struct free_job {
    struct cairn_job job;
    struct pmem_store *store;
    struct cairn_pmem_object *object;
};

static void free_work(struct cairn_job *job)
{
    struct free_job *fj = CONTAINER_OF(job, struct free_job, job);

    cairn_pmem_free(fj->store->pm, fj->object);
}

static void free_done(struct cairn_job *job)
{
    struct free_job *fj = CONTAINER_OF(job, struct free_job, job);

    atomic_fetch_sub(&fj->store->jobs, 1);
    free(fj);
}

static void pmem_release(struct cairn_extent_store *s, struct cairn_extent_region *r)
{
    struct pmem_store *p = of(s);
    struct free_job *fj = NULL;

    if (r->own == NULL) {                   /* nothing was reserved */
    } else if (atomic_load(&r->recorded)) { /* the store closes */
        cairn_pmem_object_forget(r->own);
    } else {
        atomic_fetch_sub(&p->used, r->room);
        if (s->nworkers > 0)
            fj = calloc(1, sizeof(*fj));
        if (fj != NULL) {
            *fj = (struct free_job){ .job = { .work = free_work, .done = free_done }, .store = p, .object = r->own };
            atomic_fetch_add(&p->jobs, 1);
            if (cairn_pool_submit(s->pool, s->workers[0].loop, &fj->job) == 0) {
                r->own = NULL;
            } else {
                atomic_fetch_sub(&p->jobs, 1);
                free(fj);
            }
        }
        if (r->own != NULL) /* rarely: better here than not at all */
            cairn_pmem_free(p->pm, r->own);
    }
    cairn_extent_region_free(r);
}

static bool pmem_is_busy(struct cairn_extent_store *s)
{
    return atomic_load(&of(s)->jobs) > 0;
}

static void pmem_usage(struct cairn_extent_store *s, uint64_t *used, uint64_t *avail)
{
    *used = atomic_load(&of(s)->used);
    *avail = s->conf.capacity - MIN(*used, s->conf.capacity);
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
    .is_busy = pmem_is_busy,
    .usage = pmem_usage,
};
