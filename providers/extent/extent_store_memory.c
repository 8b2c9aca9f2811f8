/* Regions in memory.
 *
 * Memory is taken from the system in arenas of 64 MiB (huge pages where there are) and handed out in blocks by the
 * allocator of extent_space.h. What is freed stays in its arena for the next region, because a fresh page costs more
 * than the copy into it; arenas that are wholly free beyond `free_cache` go back. Regions above the size of an arena
 * have memory of their own, of which the last few freed ones are kept likewise. What goes back does so on the pool: to
 * take 1 GiB of small pages apart keeps the kernel busy for a tenth of a second. */
#include "providers/extent/extent_space.h"
#include "providers/extent/extent_store.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
    BLOCK = 4096,
    ARENA_BYTES = 64 << 20,
    ARENA_BLOCKS = ARENA_BYTES / BLOCK,
    HUGE = 2 << 20,
    ARENAS_MAX = 1 << 16,
    KEPT_MAX = 8
};

/* On its way back to the system; above this, whoever frees memory gives it back himself and waits. */
#define LEAVING_BYTES_MAX (UINT64_C(4) << 30)

struct memory_store {
    struct cairn_extent_store base;
    pthread_mutex_t mutex; /* for all below */
    struct cairn_extent_space space;
    struct arena {
        uint8_t *bytes; /* NULL: the slot is free */
        uint64_t used;  /* blocks */
    } * arenas;
    uint32_t narenas;
    uint64_t taken, used; /* bytes from the system; bytes of regions */
    struct kept {
        uint8_t *bytes;
        uint64_t n;
    } kept[KEPT_MAX]; /* freed memory of large regions, oldest first */
    uint32_t nkept;
    struct leaving {
        struct leaving *next;
        uint64_t n;
    } * leaving; /* each lies at the beginning of the memory that it describes */
    uint64_t leaving_bytes;
    bool unmapping;
    struct cairn_job job;
};

static struct memory_store *of(struct cairn_extent_store *s)
{
    return CONTAINER_OF(s, struct memory_store, base);
}

struct cairn_extent_store *cairn_extent__memory_new(void)
{
    struct memory_store *m = calloc(1, sizeof(*m));

    if (m == NULL)
        return NULL;
    m->base.ops = &cairn_extent_store_memory;
    return &m->base;
}

/* Aligned to huge pages, so that they can be used. */
static uint8_t *map(uint64_t n)
{
    uint8_t *p = mmap(NULL, n + HUGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    uint8_t *at;

    if (p == MAP_FAILED)
        return NULL;
    at = (uint8_t *)(uintptr_t)cairn_round_up((uintptr_t)p, HUGE);
    if (at > p)
        munmap(p, (size_t)(at - p));
    munmap(at + n, (size_t)(p + HUGE - at));
    madvise(at, n, MADV_HUGEPAGE); /* where it is refused, small pages do */
    return at;
}

/* ---- giving back; under the mutex ---- */

static void unmap_work(struct cairn_job *job)
{
    struct memory_store *m = job->arg;

    pthread_mutex_lock(&m->mutex);
    while (m->leaving != NULL) {
        struct leaving *l = m->leaving;
        uint64_t n = l->n;

        m->leaving = l->next;
        pthread_mutex_unlock(&m->mutex);
        munmap(l, n);
        pthread_mutex_lock(&m->mutex);
        m->leaving_bytes -= n;
        m->taken -= n;
    }
    pthread_mutex_unlock(&m->mutex);
}

static void unmap_done(struct cairn_job *job);

/* Where the pool is full, the next who frees memory tries again. */
static void unmap_start(struct memory_store *m)
{
    m->job = (struct cairn_job){ .work = unmap_work, .done = unmap_done, .arg = m };
    m->unmapping = cairn_pool_submit(m->base.pool, m->base.workers[0].loop, &m->job) == 0;
}

static void unmap_done(struct cairn_job *job)
{
    struct memory_store *m = job->arg;

    pthread_mutex_lock(&m->mutex);
    m->unmapping = false;
    if (m->leaving != NULL) /* it came after the last look */
        unmap_start(m);
    pthread_mutex_unlock(&m->mutex);
}

static void unmap(struct memory_store *m, uint8_t *p, uint64_t n)
{
    struct leaving *l = (struct leaving *)(void *)p;

    if (m->base.nworkers == 0 || m->leaving_bytes + n > LEAVING_BYTES_MAX) { /* closing, or more than the pool can do */
        munmap(p, n);
        m->taken -= n;
        return;
    }
    *l = (struct leaving){ .next = m->leaving, .n = n };
    m->leaving = l;
    m->leaving_bytes += n;
    if (!m->unmapping)
        unmap_start(m);
}

/* ---- arenas; under the mutex ---- */

static bool arena_add(struct memory_store *m)
{
    uint32_t i = 0;
    uint8_t *bytes;

    while (i < m->narenas && m->arenas[i].bytes != NULL)
        i++;
    if (i == ARENAS_MAX)
        return false;
    if (i == m->narenas) {
        uint32_t n = MAX(16, m->narenas * 2);
        struct arena *more = realloc(m->arenas, n * sizeof(*more));

        if (more == NULL)
            return false;
        memset(more + m->narenas, 0, (n - m->narenas) * sizeof(*more));
        m->arenas = more;
        m->narenas = n;
    }
    bytes = map(ARENA_BYTES);
    if (bytes == NULL)
        return false;
    if (cairn_extent_space_give(&m->space, (uint64_t)i * ARENA_BLOCKS, ARENA_BLOCKS) != 0) {
        munmap(bytes, ARENA_BYTES);
        return false;
    }
    m->arenas[i] = (struct arena){ .bytes = bytes };
    m->taken += ARENA_BYTES;
    return true;
}

static void arena_drop_if_free(struct memory_store *m, uint64_t i)
{
    struct arena *a = &m->arenas[i];

    if (a->used > 0 || m->space.free * BLOCK < m->base.conf.free_cache + ARENA_BYTES)
        return;
    if (cairn_extent_space_take_at(&m->space, i * ARENA_BLOCKS, ARENA_BLOCKS) != 0)
        return;
    unmap(m, a->bytes, ARENA_BYTES);
    a->bytes = NULL;
}

/* ---- large regions; under the mutex ---- */

static uint8_t *large_take(struct memory_store *m, uint64_t n)
{
    for (uint32_t i = m->nkept; i-- > 0;) {
        uint8_t *p = m->kept[i].bytes;

        if (m->kept[i].n != n)
            continue;
        m->nkept--;
        memmove(&m->kept[i], &m->kept[i + 1], (m->nkept - i) * sizeof(m->kept[0]));
        return p;
    }
    m->taken += n;
    return map(n);
}

static void large_give(struct memory_store *m, uint8_t *p, uint64_t n)
{
    uint64_t kept = n;

    for (uint32_t i = 0; i < m->nkept; i++)
        kept += m->kept[i].n;
    while (m->nkept > 0 && (m->nkept == KEPT_MAX || kept > m->base.conf.free_cache)) {
        unmap(m, m->kept[0].bytes, m->kept[0].n);
        kept -= m->kept[0].n;
        m->nkept--;
        memmove(&m->kept[0], &m->kept[1], m->nkept * sizeof(m->kept[0]));
    }
    if (kept > m->base.conf.free_cache) {
        unmap(m, p, n);
        return;
    }
    m->kept[m->nkept++] = (struct kept){ p, n };
}

/* ---- the store ---- */

static int memory_open(struct cairn_extent_store *s, struct cairn_err *err)
{
    struct memory_store *m = of(s);

    (void)err;
    pthread_mutex_init(&m->mutex, NULL);
    cairn_extent_space_init(&m->space, ARENA_BLOCKS);
    if (s->conf.capacity == 0)
        s->conf.capacity = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE) / 2;
    return 0;
}

static void memory_close(struct cairn_extent_store *s)
{
    struct memory_store *m = of(s);

    CAIRN_ASSERT(m->used == 0 && !m->unmapping);
    while (m->leaving != NULL) {
        struct leaving *l = m->leaving;

        m->leaving = l->next;
        munmap(l, l->n);
    }
    for (uint32_t i = 0; i < m->nkept; i++)
        munmap(m->kept[i].bytes, m->kept[i].n);
    for (uint32_t i = 0; i < m->narenas; i++) {
        if (m->arenas[i].bytes != NULL)
            munmap(m->arenas[i].bytes, ARENA_BYTES);
    }
    free(m->arenas);
    cairn_extent_space_fini(&m->space);
    pthread_mutex_destroy(&m->mutex);
}

static int memory_reserve(struct cairn_extent_step *step)
{
    struct cairn_extent_region *r = step->region;
    struct memory_store *m = of(r->store);
    uint64_t n = cairn_round_up(r->length, BLOCK), at;
    int rc = CAIRN_E_NOMEM;

    if (n == 0)
        return 0;
    pthread_mutex_lock(&m->mutex);
    if (n > m->base.conf.capacity - MIN(m->used, m->base.conf.capacity)) {
        rc = CAIRN_E_NOSPACE;
    } else if (n > ARENA_BYTES) {
        n = cairn_round_up(n, HUGE);
        r->mem = large_take(m, n);
        if (r->mem == NULL)
            m->taken -= n;
    } else if (cairn_extent_space_take(&m->space, n / BLOCK, &at) ||
               (arena_add(m) && cairn_extent_space_take(&m->space, n / BLOCK, &at))) {
        struct arena *a = &m->arenas[at / ARENA_BLOCKS];

        r->at = at;
        r->mem = a->bytes + at % ARENA_BLOCKS * BLOCK;
        a->used += n / BLOCK;
    }
    if (r->mem != NULL) {
        r->room = n;
        m->used += n;
        rc = 0;
    }
    pthread_mutex_unlock(&m->mutex);
    return rc;
}

static void memory_release(struct cairn_extent_store *s, struct cairn_extent_region *r)
{
    struct memory_store *m = of(s);

    if (r->mem != NULL) {
        pthread_mutex_lock(&m->mutex);
        m->used -= r->room;
        if (r->room > ARENA_BYTES) {
            large_give(m, r->mem, r->room);
        } else if (cairn_extent_space_give(&m->space, r->at, r->room / BLOCK) == 0) {
            m->arenas[r->at / ARENA_BLOCKS].used -= r->room / BLOCK;
            arena_drop_if_free(m, r->at / ARENA_BLOCKS);
        } /* else the blocks stay taken: there was no memory to note that they are free */
        pthread_mutex_unlock(&m->mutex);
    }
    cairn_extent_region_free(r);
}

static int memory_window(struct cairn_extent_step *step)
{
    step->ptr = (uint8_t *)step->region->mem + step->off;
    if (step->mode == CAIRN_EXTENT_ZERO)
        memset(step->ptr, 0, step->len);
    return 0;
}

static int memory_settle(struct cairn_extent_step *step, bool keep)
{
    (void)keep;
    step->ptr = NULL;
    return 0;
}

static int memory_nothing(struct cairn_extent_step *step)
{
    (void)step;
    return 0;
}

static bool memory_is_busy(struct cairn_extent_store *s)
{
    struct memory_store *m = of(s);
    bool busy;

    pthread_mutex_lock(&m->mutex);
    busy = m->unmapping;
    pthread_mutex_unlock(&m->mutex);
    return busy;
}

static void memory_usage(struct cairn_extent_store *s, uint64_t *used, uint64_t *avail)
{
    struct memory_store *m = of(s);

    pthread_mutex_lock(&m->mutex);
    *used = m->used;
    *avail = s->conf.capacity - MIN(m->used, s->conf.capacity);
    pthread_mutex_unlock(&m->mutex);
}

static void memory_status(struct cairn_extent_store *s, json_t *to)
{
    struct memory_store *m = of(s);

    pthread_mutex_lock(&m->mutex);
    json_object_set_new(to, "memory_taken_bytes", json_integer((json_int_t)m->taken));
    pthread_mutex_unlock(&m->mutex);
}

const struct cairn_extent_store_ops cairn_extent_store_memory = {
    .name = "memory",
    .window_max = CAIRN_EXTENT_BYTES_MAX,
    .immediate = true,
    .open = memory_open,
    .close = memory_close,
    .reserve = memory_reserve,
    .window = memory_window,
    .settle = memory_settle,
    .seal = memory_nothing,
    .remove = memory_nothing,
    .quarantine = memory_nothing,
    .release = memory_release,
    .is_busy = memory_is_busy,
    .usage = memory_usage,
    .status = memory_status,
};
