/* Segment files and the space in them: see extent_file.h. */
#include "providers/extent/extent_file.h"

#include "sdk/core/base/log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void segment_name(char name[32], uint32_t i)
{
    snprintf(name, 32, "seg-%05u", i);
}

/* Direct, unless the file system does not know how. */
static int segment_fd(const struct file_store *f, const char *name, int flags)
{
    int fd = -1;

    if (f->base.conf.direct)
        fd = openat(f->base.dirfd, name, O_RDWR | O_CLOEXEC | O_DIRECT | flags, 0600);
    if (fd < 0 && (!f->base.conf.direct || errno == EINVAL))
        fd = openat(f->base.dirfd, name, O_RDWR | O_CLOEXEC | flags, 0600);
    return fd;
}

static struct file_segment *segment_new(int fd, uint64_t blocks)
{
    struct file_segment *g = calloc(1, sizeof(*g));

    if (g != NULL) {
        g->fd = fd;
        g->blocks = blocks;
    }
    return g;
}

/* *@n is one more than the last segment that is there. */
static int segments_there(const struct file_store *f, uint32_t *n, struct cairn_err *err)
{
    int fd = openat(f->base.dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), e;
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    const struct dirent *entry;
    uint32_t i;
    char rest;

    *n = 0;
    if (dir == NULL) {
        e = errno;
        if (fd >= 0)
            close(fd);
        return cairn_err_errno(err, e, "%s", f->base.conf.dir);
    }
    errno = 0;
    while ((entry = readdir(dir)) != NULL) {
        if (sscanf(entry->d_name, "seg-%5" SCNu32 "%c", &i, &rest) == 1 && i < FILE_SEGMENTS_MAX)
            *n = MAX(*n, i + 1);
        errno = 0;
    }
    e = errno;
    closedir(dir);
    return e == 0 ? 0 : cairn_err_errno(err, e, "%s", f->base.conf.dir);
}

/* One that is lost is made anew, empty: its regions have no place, and those behind it keep theirs. */
static int segment_find(struct file_store *f, const char *name, struct cairn_err *err)
{
    int fd = segment_fd(f, name, 0);

    if (fd < 0 && errno == ENOENT) {
        snprintf(f->damage, sizeof(f->damage), "%s is missing", name);
        cairn_log_error("extent store %s: %s", f->base.conf.dir, f->damage);
        cairn_extent_store_worsen(&f->base, CAIRN_EXTENT_DEGRADED);
        fd = segment_fd(f, name, O_CREAT);
    }
    return fd >= 0 ? fd : cairn_err_errno(err, errno, "%s", name);
}

static int segment_open(struct file_store *f, uint32_t i, struct cairn_err *err)
{
    char name[32];
    struct stat st;
    int fd, rc = 0;

    segment_name(name, i);
    fd = segment_find(f, name, err);
    if (fd < 0)
        return fd;
    if (fstat(fd, &st) != 0)
        rc = cairn_err_errno(err, errno, "%s", name);
    else if (st.st_size > (off_t)f->base.conf.segment)
        rc = cairn_err_set(err, CAIRN_E_CORRUPT, "%s is larger than a segment", name);
    if (rc == 0) {
        f->segments[i] = segment_new(fd, (uint64_t)st.st_size / FILE_BLOCK);
        if (f->segments[i] == NULL)
            rc = cairn_err_set(err, CAIRN_E_NOMEM, "%s", name);
    }
    if (rc != 0) {
        close(fd);
        return rc;
    }
    f->nsegments++;
    if (f->segments[i]->blocks > 0 && cairn_extent_space_give(&f->space, i * f->span, f->segments[i]->blocks) != 0)
        return cairn_err_set(err, CAIRN_E_NOMEM, "%s", name);
    return 0;
}

/* By fallocate, so that a full disk is found now and not by a write. */
int file_segment_extend(struct file_store *f, uint32_t i, uint64_t from, uint64_t n)
{
    struct file_segment *g = f->segments[i];
    bool fresh = g == NULL;
    char name[32];
    int e;

    segment_name(name, i);
    if (fresh) {
        int fd = segment_fd(f, name, O_CREAT);

        if (fd < 0)
            return cairn_file_code(errno);
        g = segment_new(fd, 0);
        if (g == NULL) {
            close(fd);
            return CAIRN_E_NOMEM;
        }
    }
    do
        e = fallocate(g->fd, 0, (off_t)(from * FILE_BLOCK), (off_t)(n * FILE_BLOCK)) == 0 ? 0 : errno;
    while (e == EINTR);
    if (e == EOPNOTSUPP)
        e = ftruncate(g->fd, (off_t)((from + n) * FILE_BLOCK)) == 0 ? 0 : errno;
    /* The new length must outlive a power loss before any record relies on it. */
    if (e == 0 && (fsync(g->fd) != 0 || (fresh && fsync(f->base.dirfd) != 0)))
        e = EIO;
    if (e == 0) {
        if (fresh) /* readers of an older segment look at this place meanwhile */
            f->segments[i] = g;
        return 0;
    }
    if (fresh) {
        close(g->fd);
        free(g);
        unlinkat(f->base.dirfd, name, 0);
    }
    return cairn_file_code(e);
}

int file_space_open(struct file_store *f, struct cairn_err *err)
{
    uint32_t n;
    int rc = segments_there(f, &n, err);

    f->span = f->base.conf.segment / FILE_BLOCK;
    cairn_extent_space_init(&f->space, f->span);
    if (rc == 0 && n > 0 && f->base.fresh) /* which says how long a segment is */
        rc = cairn_err_set(err, CAIRN_E_CORRUPT, "%s/FORMAT is missing, and there are segments", f->base.conf.dir);
    for (uint32_t i = 0; i < n && rc == 0; i++)
        rc = segment_open(f, i, err);
    return rc;
}

void file_space_close(struct file_store *f)
{
    CAIRN_ASSERT(cairn_list_is_empty(&f->waiters) && !f->growing);
    file_limbo_free(f, UINT64_MAX);
    for (uint32_t i = 0; i < f->nsegments; i++) {
        close(f->segments[i]->fd);
        free(f->segments[i]);
    }
    cairn_extent_space_fini(&f->space);
}

/* Segments at the end in which nothing is left give their room back to the file system. At the start only, when no
 * transfer can be on its way to them. */
static void drop_free_segments(struct file_store *f)
{
    while (f->nsegments > 0 && !cairn_extent_store_is_readonly(&f->base)) {
        uint32_t i = f->nsegments - 1;
        struct file_segment *g = f->segments[i];
        char name[32];

        if (g->blocks > 0 && cairn_extent_space_take_at(&f->space, i * f->span, g->blocks) != 0)
            break;
        segment_name(name, i);
        if (unlinkat(f->base.dirfd, name, 0) != 0)
            cairn_log_warn("extent store %s: %s is empty and cannot be removed", f->base.conf.dir, name);
        close(g->fd);
        free(g);
        f->segments[i] = NULL;
        f->nsegments--;
    }
}

/* Beyond its segment's end, or where another region is: the bytes are not there, and the space is not ours. The mark is
 * for good, so that whoever gets the space later is the one to have it at the next start. */
static void lose_place(struct file_store *f, struct cairn_extent_region *r)
{
    r->room = 0;
    cairn_extent_store_worsen(&f->base, CAIRN_EXTENT_DEGRADED);
    if (f->damage[0] == '\0')
        snprintf(f->damage, sizeof(f->damage), "region %016" PRIx64 " has no place in the segments", r->id);
    if (!cairn_extent_table_quarantine(&f->base.table, r))
        return;
    cairn_log_error("extent region %016" PRIx64 ": its place is not in the segments, quarantined", r->id);
    if (!cairn_extent_store_is_readonly(&f->base) && file_index_note_bad(f, r) != 0)
        cairn_extent_store_worsen(&f->base, CAIRN_EXTENT_READONLY);
}

/* Only a place that is not there is lost: without memory to note who has it, nothing is known of it. */
static int recover_places(struct file_store *f, bool quarantined)
{
    CAIRN_LIST_FOREACH (l, &f->logged) {
        struct cairn_extent_region *r = CONTAINER_OF(l, struct cairn_extent_region, logged);
        int rc;

        if (r->room == 0 || atomic_load(&r->quarantined) != quarantined)
            continue;
        rc = cairn_extent_space_take_at(&f->space, r->at, r->room);
        if (rc == 0)
            f->used_blocks += r->room;
        else if (rc == CAIRN_E_CORRUPT)
            lose_place(f, r);
        else
            return rc;
    }
    return 0;
}

int file_space_recover(struct file_store *f, struct cairn_err *err)
{
    int rc = recover_places(f, false);

    if (rc == 0)
        rc = recover_places(f, true);
    if (rc != 0)
        return cairn_err_set(err, rc, "%s: the places of its regions", f->base.conf.dir);
    drop_free_segments(f);
    return 0;
}

/* ---- giving back ---- */

/* Under the mutex. */
static void blocks_give(struct file_store *f, const struct cairn_extent_region *r)
{
    f->used_blocks -= r->room;
    if (atomic_load(&file_segment_of(f, r)->broken))
        return; /* nothing new goes there */
    if (cairn_extent_space_give(&f->space, r->at, r->room) != 0)
        cairn_log_warn("extent store: no memory to note %" PRIu64 " free blocks; they are back at the next start",
                       r->room);
}

void file_release(struct cairn_extent_store *s, struct cairn_extent_region *r)
{
    struct file_store *f = file_of(s);
    bool kick = false;

    if (atomic_load(&r->recorded)) /* its record stands: the store closes, or a sync failed; the blocks stay its own */
        return;                    /* the index has it, until the end */
    if (r->room == 0) {
        cairn_extent_region_free(r);
        return;
    }
    pthread_mutex_lock(&f->space_mutex);
    if (!atomic_load(&r->sealed)) { /* never had a record: nothing on disk names the blocks */
        blocks_give(f, r);
        cairn_extent_region_free(r);
    } else {
        cairn_list_add_tail(&f->limbo, &r->logged);
        f->limbo_blocks += r->room;
        f->used_blocks -= r->room;
        r->stamp = atomic_load(&f->log.flushed); /* its removal lies below this */
        kick = f->limbo_blocks * FILE_BLOCK > FILE_LIMBO_BYTES_MAX;
    }
    pthread_mutex_unlock(&f->space_mutex);
    if (kick)
        file_index_want_sync(f);
}

void file_limbo_free(struct file_store *f, uint64_t upto)
{
    pthread_mutex_lock(&f->space_mutex);
    while (!cairn_list_is_empty(&f->limbo)) {
        struct cairn_extent_region *r = CONTAINER_OF(f->limbo.next, struct cairn_extent_region, logged);

        if (r->stamp > upto)
            break;
        cairn_list_del(&r->logged);
        f->limbo_blocks -= r->room;
        f->used_blocks += r->room;
        blocks_give(f, r);
        cairn_extent_region_free(r);
    }
    file_waiters_serve(f, f->starved != 0 && upto >= f->starved ? CAIRN_E_NOSPACE : 0);
    if (upto >= f->starved)
        f->starved = 0;
    pthread_mutex_unlock(&f->space_mutex);
}

void file_limbo_fail(struct file_store *f, int rc)
{
    pthread_mutex_lock(&f->space_mutex);
    if (f->starved != 0)
        file_waiters_serve(f, rc);
    f->starved = 0;
    pthread_mutex_unlock(&f->space_mutex);
}

void file_segment_break(struct file_store *f, struct file_segment *g, const char *doing)
{
    uint32_t i = 0;

    if (atomic_exchange(&g->broken, true))
        return;
    cairn_log_error("extent store %s: a %s failed; this segment takes no more writes", f->base.conf.dir, doing);
    cairn_extent_store_worsen(&f->base, CAIRN_EXTENT_DEGRADED);
    pthread_mutex_lock(&f->space_mutex);
    while (f->segments[i] != g)
        i++;
    cairn_extent_space_forget(&f->space, i * f->span, f->span);
    pthread_mutex_unlock(&f->space_mutex);
}
