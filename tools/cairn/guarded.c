#include "tools/cairn/guarded.h"

#include "cairn/error.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

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

int guarded_map(int fd, uint64_t size, struct guarded_map *map)
{
    struct stat st;
    *map = (struct guarded_map){ .fd = fd, .size = size };
    int rc = fstat(fd, &st) != 0 ? errno : (uint64_t)st.st_size != size ? CAIRN_E_STATE : 0;
    if (rc == 0) {
        map->data = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
        rc = map->data == MAP_FAILED ? errno : 0;
    }
    if (rc != 0) {
        close(fd);
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

int guarded_unmap(struct guarded_map *map)
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
