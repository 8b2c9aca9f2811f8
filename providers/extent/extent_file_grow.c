/* Growing: whoever finds no space waits in line, and one job at a time makes segments longer for all who do. Where
 * the disk or the capacity has no more, those whose space is in limbo wait for the index to be durable; others are
 * refused. */
#include "providers/extent/extent_file.h"

#include <stdlib.h>
#include <sys/statvfs.h>

/* The next part of the address space, and its size in blocks; under the mutex. 0: the limits are reached. */
static uint64_t grow_choose(const struct file_store *f, uint64_t need, uint64_t want, uint32_t *segment, uint64_t *from)
{
    uint64_t all = f->space.free + f->used_blocks + f->limbo_blocks;
    uint64_t most = f->base.conf.capacity == 0 ? UINT64_MAX : f->base.conf.capacity / FILE_BLOCK;
    uint64_t room;

    if (f->nsegments > 0) {
        const struct file_segment *g = f->segments[f->nsegments - 1];

        *segment = f->nsegments - 1;
        *from = g->blocks;
        room = atomic_load(&g->broken) ? 0 : f->span - g->blocks;
    } else {
        room = 0;
    }
    if (room < need) {
        *segment = f->nsegments;
        *from = 0;
        room = f->nsegments < FILE_SEGMENTS_MAX ? f->span : 0;
    }
    room = MIN(room, most - MIN(most, all));
    return room < need ? 0 : MIN(MAX(want, need), room);
}

void file_waiters_serve(struct file_store *f, int rc)
{
    CAIRN_LIST_FOREACH_SAFE (l, &f->waiters) {
        struct cairn_extent_step *step = CONTAINER_OF(l, struct cairn_extent_step, link);
        struct cairn_extent_region *r = step->region;
        int its = rc;

        if (cairn_extent_space_take(&f->space, file_blocks_of(r), &r->at)) {
            r->room = file_blocks_of(r);
            f->used_blocks += r->room;
            its = 0;
        } else if (rc == 0) {
            continue;
        }
        if (its == CAIRN_E_NOSPACE)
            f->refused = file_blocks_of(r);
        cairn_list_del(&step->link);
        f->nwaiters--;
        cairn_extent_step_post(step, its);
    }
}

static uint64_t first_need(const struct file_store *f)
{
    const struct cairn_extent_step *step = CONTAINER_OF(f->waiters.next, struct cairn_extent_step, link);

    return file_blocks_of(step->region);
}

static uint64_t grow_want(const struct file_store *f)
{
    struct statvfs vfs;
    uint64_t bytes = FILE_GROW_BYTES_MAX;

    if (fstatvfs(f->base.dirfd, &vfs) == 0)
        bytes = MIN(bytes, (uint64_t)vfs.f_blocks * vfs.f_frsize / FILE_GROW_DISK_PART);
    return bytes / FILE_BLOCK;
}

/* Of @bytes, what the disk has. */
static uint64_t growth_on_disk(const struct file_store *f, uint64_t bytes)
{
    struct statvfs vfs;

    return fstatvfs(f->base.dirfd, &vfs) == 0 ? MIN(bytes, (uint64_t)vfs.f_bavail * vfs.f_frsize) : bytes;
}

/* On the errand's thread. */
static void on_look(void *arg)
{
    struct file_store *f = arg;

    atomic_store(&f->growth, growth_on_disk(f, cairn_spare_look(f->base.conf.spare)));
}

void file_look_init(struct file_store *f)
{
    on_look(f); /* at a start, which may wait: what is answered before the first errand is over */
    cairn_errand_init(&f->looking, 0, on_look, f);
}

uint64_t file_space_growth(struct file_store *f)
{
    cairn_errand_await(&f->looking, CAIRN_SPARE_LOOK_MS);
    return atomic_load(&f->growth);
}

bool file_space_has(const struct file_store *f, uint64_t n, uint64_t growth)
{
    uint64_t from;
    uint32_t i;

    return cairn_extent_space_longest(&f->space) >= n || f->limbo_blocks >= n ||
           (grow_choose(f, n, n, &i, &from) > 0 && growth / FILE_BLOCK >= n);
}

/* Grows once, for the first who waits. Under the mutex, which it leaves meanwhile. */
static int grow_once(struct file_store *f, uint64_t need)
{
    uint64_t from, n, disk;
    uint32_t i;
    int rc;

    n = grow_choose(f, need, grow_want(f), &i, &from);
    if (n == 0)
        return CAIRN_E_NOSPACE;
    pthread_mutex_unlock(&f->space_mutex);
    disk = growth_on_disk(f, cairn_spare_growth(f->base.conf.spare)) / FILE_BLOCK;
    n = MIN(n, MAX(disk, need));
    rc = disk < need ? CAIRN_E_NOSPACE : file_segment_extend(f, i, from, n);
    if (rc == CAIRN_E_NOSPACE && n > need && disk >= need) { /* others fill the disk */
        n = need;
        rc = file_segment_extend(f, i, from, n);
    }
    pthread_mutex_lock(&f->space_mutex);
    if (rc != 0)
        return rc;
    f->nsegments = MAX(f->nsegments, i + 1);
    f->segments[i]->blocks = from + n;
    return cairn_extent_space_give(&f->space, i * f->span + from, n);
}

static void grow_work(struct cairn_job *job)
{
    struct file_store *f = job->arg;

    pthread_mutex_lock(&f->space_mutex);
    while (!cairn_list_is_empty(&f->waiters) && f->starved == 0) {
        uint64_t need = first_need(f);
        int rc = grow_once(f, need);

        if (rc == CAIRN_E_NOSPACE && f->limbo_blocks >= need) {
            file_waiters_serve(f, 0);
            f->starved = atomic_load(&f->log.flushed);
        } else {
            file_waiters_serve(f, rc);
        }
    }
    pthread_mutex_unlock(&f->space_mutex);
}

static void grow_done(struct cairn_job *job)
{
    struct file_store *f = job->arg;
    bool starved;

    pthread_mutex_lock(&f->space_mutex);
    starved = f->starved != 0;
    f->growing = !cairn_list_is_empty(&f->waiters) && !starved; /* some came after the last look */
    if (f->growing && cairn_pool_submit(f->base.pool, job->loop, job) != 0) {
        file_waiters_serve(f, CAIRN_E_BUSY);
        f->growing = false;
    }
    if (!f->growing)
        free(job);
    pthread_mutex_unlock(&f->space_mutex);
    if (starved)
        file_index_want_sync(f);
}

/* Under the mutex. */
static int grow_start(struct file_store *f, struct cairn_loop *loop)
{
    struct cairn_job *job = calloc(1, sizeof(*job));
    int rc;

    if (job == NULL)
        return CAIRN_E_NOMEM;
    *job = (struct cairn_job){ .work = grow_work, .done = grow_done, .arg = f };
    rc = cairn_pool_submit(f->base.pool, loop, job);
    if (rc != 0)
        free(job);
    else
        f->growing = true;
    return rc;
}

int file_reserve(struct cairn_extent_step *step)
{
    struct cairn_extent_region *r = step->region;
    struct file_store *f = file_of(r->store);
    uint64_t n = file_blocks_of(r);
    int rc = 0;

    if (cairn_extent_store_is_readonly(&f->base))
        return CAIRN_E_IO;
    if (n == 0)
        return 0;
    if (n > f->span)
        return CAIRN_E_TOOBIG;
    pthread_mutex_lock(&f->space_mutex);
    if (cairn_extent_space_take(&f->space, n, &r->at)) {
        r->room = n;
        f->used_blocks += n;
    } else if (f->nwaiters >= f->base.conf.queue) {
        rc = CAIRN_E_BUSY;
    } else {
        if (!f->growing && f->starved == 0)
            rc = grow_start(f, step->worker->loop);
        if (rc == 0) {
            cairn_list_add_tail(&f->waiters, &step->link);
            f->nwaiters++;
            rc = CAIRN_EXTENT_LATER;
        }
    }
    pthread_mutex_unlock(&f->space_mutex);
    return rc;
}
