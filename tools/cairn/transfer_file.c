/** Reading files that somebody else may be changing. */
#include "tools/cairn/transfer.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

int transfer_errno(int errnum)
{
    switch (errnum) {
    case ENOENT:
        return CAIRN_E_NOTFOUND;
    case ENOSPC:
    case EDQUOT:
        return CAIRN_E_NOSPACE;
    case ENOMEM:
        return CAIRN_E_NOMEM;
    case EMFILE:
    case ENFILE:
        return CAIRN_E_LIMIT;
    default: /* EACCES too: one file that may not be read does not end the transfer, as DENIED of the node does */
        return CAIRN_E_IO;
    }
}

int transfer_read_file(const struct transfer *t, const char *path, void *buf, uint64_t size)
{
    int fd = openat(t->root, path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return transfer_errno(errno);
    uint64_t at = 0;
    int rc = 0;
    while (rc == 0 && at <= size) { /* one byte more than there should be, to see that there is none */
        ssize_t n = read(fd, (char *)buf + at, (size_t)(size + 1 - at));
        if (n > 0)
            at += (uint64_t)n;
        else if (n == 0)
            break;
        else if (errno != EINTR)
            rc = transfer_errno(errno);
    }
    close(fd);
    return rc == 0 && at != size ? CAIRN_E_STATE : rc;
}

/* Where this thread has a file mapped. A page that is no longer there when it is read becomes one of zeros, and is
 * noted. */
static _Thread_local struct {
    volatile uintptr_t from, to;
    volatile sig_atomic_t lost;
} guarded;

static void on_bus_error(int sig, siginfo_t *info, void *context)
{
    (void)context;
    uintptr_t at = (uintptr_t)info->si_addr, page = (uintptr_t)sysconf(_SC_PAGESIZE);
    if (at >= guarded.from && at < guarded.to) {
        guarded.lost = 1;
        if (mmap((void *)(at & ~(page - 1)), page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
                 0) != MAP_FAILED)
            return;
    }
    signal(sig, SIG_DFL); /* somebody else's: the fault repeats, and ends the process */
}

int transfer_map(const struct transfer *t, const char *path, uint64_t size, struct transfer_map *map)
{
    struct stat st;
    *map = (struct transfer_map){ .fd = openat(t->root, path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC), .size = size };
    if (map->fd < 0)
        return transfer_errno(errno);
    int rc = 0;
    if (fstat(map->fd, &st) != 0) {
        rc = transfer_errno(errno);
    } else if ((uint64_t)st.st_size != size) {
        rc = CAIRN_E_STATE;
    } else {
        map->data = mmap(NULL, size, PROT_READ, MAP_PRIVATE, map->fd, 0);
        if (map->data == MAP_FAILED)
            rc = transfer_errno(errno);
    }
    if (rc != 0) {
        close(map->fd);
        return rc;
    }
    struct sigaction sa = { .sa_sigaction = on_bus_error, .sa_flags = SA_SIGINFO };
    sigaction(SIGBUS, &sa, NULL);
    map->mtime = st.st_mtim;
    guarded.lost = 0;
    guarded.from = (uintptr_t)map->data;
    guarded.to = guarded.from + size;
    posix_madvise(map->data, size, POSIX_MADV_SEQUENTIAL);
    return 0;
}

int transfer_unmap(struct transfer_map *map)
{
    struct stat st;
    bool same = fstat(map->fd, &st) == 0 && (uint64_t)st.st_size == map->size &&
                st.st_mtim.tv_sec == map->mtime.tv_sec && st.st_mtim.tv_nsec == map->mtime.tv_nsec;
    bool lost = guarded.lost != 0;
    guarded.from = guarded.to = 0;
    munmap(map->data, map->size);
    close(map->fd);
    return same && !lost ? 0 : CAIRN_E_STATE;
}
