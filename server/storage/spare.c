/* Spare room: see spare.h. */
#include "server/storage/spare.h"

#include "sdk/core/base/clock.h"
#include "sdk/core/base/log.h"
#include "sdk/core/base/macros.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

enum {
    SPARE_BYTES_MIN = 64 << 10,
    NEEDED_PART = 4,    /* a start needs this part of it */
    LOOK_MS = 20,       /* fast writers store some tens of megabytes in it */
    RECOVERY_S_MAX = 12 /* engines notice within this time that there is room, the second time they look: rocks.c */
};

static void on_look(void *arg)
{
    cairn_spare_look(arg);
}

void cairn_spare_init(struct cairn_spare *s, const char *dir)
{
    *s = (struct cairn_spare){ .dir = dir };
    pthread_mutex_init(&s->mutex, NULL);
    cairn_errand_init(&s->looking, 0, on_look, s);
}

void cairn_spare_fini(struct cairn_spare *s)
{
    cairn_errand_fini(&s->looking);
    pthread_mutex_destroy(&s->mutex);
}

/* Free bytes of the file system, those that are to be spare, and those that new data is to leave besides. */
static int disk_room(const struct cairn_spare *s, uint64_t *avail, uint64_t *want, uint64_t *headroom,
                     struct cairn_err *err)
{
    struct statvfs vfs;
    uint64_t size;

    if (statvfs(s->dir, &vfs) != 0)
        return cairn_err_errno(err, errno, "data directory %s", s->dir);
    size = (uint64_t)vfs.f_blocks * vfs.f_frsize;
    *avail = (uint64_t)(geteuid() == 0 ? vfs.f_bfree : vfs.f_bavail) * vfs.f_frsize;
    *want = MIN(size / CAIRN_SPARE_DISK_PART, (uint64_t)CAIRN_SPARE_BYTES_MAX);
    if (headroom != NULL)
        *headroom = MIN(size / CAIRN_SPARE_HEADROOM_DISK_PART, (uint64_t)CAIRN_SPARE_HEADROOM_BYTES_MAX);
    return 0;
}

static int spare_room(const struct cairn_spare *s, uint64_t *avail, uint64_t *want, struct cairn_err *err)
{
    return disk_room(s, avail, want, NULL, err);
}

static int spare_open(const struct cairn_spare *s, int flags)
{
    char file[PATH_MAX + 16];

    snprintf(file, sizeof(file), "%s/spare", s->dir);
    return open(file, O_RDWR | O_CLOEXEC | O_NOFOLLOW | flags, 0600);
}

/* Kept and made empty: where nothing is left, a new file may be too much. True if there was room in it. */
static bool spare_give(const struct cairn_spare *s)
{
    int fd = spare_open(s, 0);
    struct stat st;
    bool given = false;

    if (fd >= 0) {
        given = fstat(fd, &st) == 0 && st.st_size > 0 && ftruncate(fd, 0) == 0;
        close(fd);
    }
    return given;
}

static int spare_enough(const struct cairn_spare *s, uint64_t avail, uint64_t want, struct cairn_err *err)
{
    if (avail >= want / NEEDED_PART)
        return 0;
    return cairn_err_set(err, CAIRN_E_NOSPACE,
                         "data directory %s: %" PRIu64 " KiB of disk are free, and a start needs %" PRIu64
                         " KiB: make room on its file system, and start again",
                         s->dir, avail >> 10, want / NEEDED_PART >> 10);
}

int cairn_spare_make_way(struct cairn_spare *s, struct cairn_err *err)
{
    uint64_t avail, want;
    int rc;

    if (s->dir[0] == '\0')
        return 0;
    rc = spare_room(s, &avail, &want, err);
    if (rc != 0 || avail >= want)
        return rc;
    if (spare_give(s)) {
        cairn_log_warn("data directory %s: the disk is nearly full, the start takes the spare room", s->dir);
        rc = spare_room(s, &avail, &want, err);
    }
    return rc != 0 ? rc : spare_enough(s, avail, want, err);
}

int cairn_spare_check_way(const struct cairn_spare *s, struct cairn_err *err)
{
    uint64_t avail, want;
    struct stat st;
    int fd, rc = spare_room(s, &avail, &want, err);

    if (rc != 0 || avail >= want)
        return rc;
    fd = spare_open(s, 0);
    if (fd >= 0) {
        if (fstat(fd, &st) == 0)
            avail += (uint64_t)st.st_blocks * 512;
        close(fd);
    }
    return spare_enough(s, avail, want, err);
}

int cairn_spare_explain(struct cairn_spare *s, int rc, struct cairn_err *err)
{
    uint64_t avail, want;
    struct cairn_err why;

    if (rc != CAIRN_E_NOSPACE || s->dir[0] == '\0' || spare_room(s, &avail, &want, NULL) != 0)
        return rc;
    why = *err;
    return cairn_err_set(err, rc,
                         "data directory %s: %" PRIu64 " KiB of disk are free, which is too little to start with: "
                         "make %" PRIu64 " KiB of room on its file system, and start again: %s",
                         s->dir, avail >> 10, want >> 10, why.text);
}

void cairn_spare_keep(struct cairn_spare *s)
{
    uint64_t avail, want, n;
    struct stat st;
    int fd;

    if (s->dir[0] == '\0' || spare_room(s, &avail, &want, NULL) != 0)
        return;
    fd = spare_open(s, O_CREAT);
    if (fd >= 0 && fstat(fd, &st) == 0) {
        n = MIN(want, (uint64_t)st.st_size + avail);
        while (n > (uint64_t)st.st_size && n >= SPARE_BYTES_MIN && fallocate(fd, 0, 0, (off_t)n) != 0) {
            if (errno != ENOSPC && errno != EINTR)
                break; /* a file system that sets no room aside */
            n -= n / 8;
        }
    }
    if (fd >= 0)
        close(fd);
}

/* Under the mutex. */
static void lend(struct cairn_spare *s)
{
    if (atomic_load(&s->lent) || !spare_give(s))
        return;
    cairn_log_warn("data directory %s: the disk is full; removals take the spare room, and nothing new is stored until "
                   "there is as much again",
                   s->dir);
    s->lent_ns = cairn_monotonic_ns();
    atomic_store(&s->lent, true);
    atomic_store(&s->refusing, true);
}

bool cairn_spare_lend(struct cairn_spare *s)
{
    bool soon;

    if (s == NULL || s->dir[0] == '\0')
        return false;
    pthread_mutex_lock(&s->mutex);
    lend(s);
    soon = atomic_load(&s->lent) && cairn_monotonic_ns() - s->lent_ns < RECOVERY_S_MAX * CAIRN_NS_PER_S;
    pthread_mutex_unlock(&s->mutex);
    return soon;
}

void cairn_spare_before_removal(struct cairn_spare *s)
{
    uint64_t avail, want;

    if (!cairn_spare_refuses(s))
        return;
    pthread_mutex_lock(&s->mutex);
    if (!atomic_load(&s->lent) && spare_room(s, &avail, &want, NULL) == 0 && avail < want / NEEDED_PART)
        lend(s);
    pthread_mutex_unlock(&s->mutex);
}

/* Returns what cairn_spare_growth() does. With @keep, what was lent is taken back as soon as it is there. Under the
 * mutex. */
static uint64_t look(struct cairn_spare *s, bool keep)
{
    uint64_t avail, want, headroom;
    bool was = atomic_load(&s->refusing), refusing;

    if (disk_room(s, &avail, &want, &headroom, NULL) != 0)
        return UINT64_MAX; /* the engine will find out */
    if (atomic_load(&s->lent) && keep && avail >= want + headroom) {
        cairn_spare_keep(s);
        atomic_store(&s->lent, false);
        avail -= want;
    }
    if (atomic_load(&s->lent)) /* is not for others */
        avail -= MIN(avail, want);
    refusing = avail < headroom;
    atomic_store(&s->near, avail < CAIRN_SPARE_NEAR_HEADROOMS * headroom);
    atomic_store(&s->refusing, refusing);
    if (refusing && !was)
        cairn_log_warn("data directory %s: %" PRIu64 " KiB of disk are free, and removals may need %" PRIu64
                       " KiB: nothing new is stored",
                       s->dir, avail >> 10, headroom >> 10);
    else if (was && !refusing)
        cairn_log_warn("data directory %s: there is room on the disk again", s->dir);
    atomic_store(&s->growth, refusing ? 0 : avail - MIN(avail, 2 * headroom));
    return atomic_load(&s->growth);
}

static void look_now_and_then(struct cairn_spare *s)
{
    uint64_t now = cairn_monotonic_ns();

    if (now - atomic_load_explicit(&s->looked_ns, memory_order_relaxed) < LOOK_MS * CAIRN_NS_PER_MS ||
        pthread_mutex_trylock(&s->mutex) != 0) /* whoever has it looks */
        return;
    atomic_store_explicit(&s->looked_ns, now, memory_order_relaxed);
    look(s, true);
    pthread_mutex_unlock(&s->mutex);
}

bool cairn_spare_refuses(struct cairn_spare *s)
{
    if (s == NULL || s->dir[0] == '\0')
        return false;
    look_now_and_then(s);
    return atomic_load_explicit(&s->refusing, memory_order_relaxed);
}

bool cairn_spare_is_near(const struct cairn_spare *s)
{
    return s != NULL && atomic_load_explicit(&s->near, memory_order_relaxed);
}

uint64_t cairn_spare_growth(struct cairn_spare *s)
{
    uint64_t bytes;

    if (s == NULL || s->dir[0] == '\0')
        return UINT64_MAX;
    pthread_mutex_lock(&s->mutex);
    bytes = look(s, true);
    pthread_mutex_unlock(&s->mutex);
    return bytes;
}

uint64_t cairn_spare_look(struct cairn_spare *s)
{
    if (s == NULL || s->dir[0] == '\0')
        return UINT64_MAX;
    if (pthread_mutex_trylock(&s->mutex) == 0) { /* else whoever has it looks */
        look(s, false);
        pthread_mutex_unlock(&s->mutex);
    }
    return atomic_load(&s->growth);
}

void cairn_spare_ask(struct cairn_spare *s)
{
    if (s == NULL || s->dir[0] == '\0')
        return;
    atomic_store_explicit(&s->shown_ns, cairn_monotonic_ns(), memory_order_relaxed);
    cairn_errand_await(&s->looking, CAIRN_SPARE_LOOK_MS);
}

bool cairn_spare_show(struct cairn_spare *s, uint64_t *growth)
{
    uint64_t now;

    *growth = UINT64_MAX;
    if (s == NULL || s->dir[0] == '\0')
        return false;
    now = cairn_monotonic_ns();
    if (now - atomic_load_explicit(&s->shown_ns, memory_order_relaxed) >= LOOK_MS * CAIRN_NS_PER_MS) {
        atomic_store_explicit(&s->shown_ns, now, memory_order_relaxed);
        cairn_errand_ask(&s->looking);
    }
    *growth = atomic_load(&s->growth);
    return atomic_load(&s->refusing);
}
