/* Disk faults: see disk_faults.h. The program's own symbols come before the C library's, for the libraries that it is
 * linked with as well, so an engine that is a shared library meets them too. */
#include "tests/lib/disk_faults.h"

#include <errno.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SEEN_BY_LIBRARIES __attribute__((visibility("default")))

static atomic_uint skip_next, fail_next, fail_appends;
static atomic_int fail_error, append_error;
static const char *append_suffix; /* before fail_appends */
static atomic_ullong syncs, reads;

void disk_fail_syncs(uint32_t n, int error)
{
    atomic_store(&fail_error, error);
    atomic_store(&fail_next, n);
}

void disk_skip_syncs(uint32_t n)
{
    atomic_store(&skip_next, n);
}

void disk_fail_appends(const char *suffix, uint32_t n, int error)
{
    atomic_store(&append_error, error);
    append_suffix = suffix;
    atomic_store(&fail_appends, n);
}

uint64_t disk_syncs(void)
{
    return atomic_load(&syncs);
}

uint64_t disk_reads(void)
{
    return atomic_load(&reads);
}

/* Counts @n down; true if there was something left. */
static bool take_one(atomic_uint *n)
{
    uint32_t left = atomic_load(n);

    while (left > 0 && !atomic_compare_exchange_weak(n, &left, left - 1))
        ;
    return left > 0;
}

/* Whether this flush is to fail; errno is set then. */
static bool sync_fails(void)
{
    atomic_fetch_add(&syncs, 1);
    if (take_one(&skip_next) || !take_one(&fail_next))
        return false;
    errno = atomic_load(&fail_error);
    return true;
}

SEEN_BY_LIBRARIES int fdatasync(int fd)
{
    return sync_fails() ? -1 : (int)syscall(SYS_fdatasync, fd);
}

SEEN_BY_LIBRARIES int fsync(int fd)
{
    return sync_fails() ? -1 : (int)syscall(SYS_fsync, fd);
}

static bool has_suffix(int fd, const char *suffix)
{
    char link[32], name[PATH_MAX];
    ssize_t len;

    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    len = readlink(link, name, sizeof(name));
    return len >= (ssize_t)strlen(suffix) && memcmp(name + len - strlen(suffix), suffix, strlen(suffix)) == 0;
}

SEEN_BY_LIBRARIES ssize_t write(int fd, const void *from, size_t len)
{
    if (atomic_load(&fail_appends) > 0 && has_suffix(fd, append_suffix) && take_one(&fail_appends)) {
        errno = atomic_load(&append_error);
        return -1;
    }
    return syscall(SYS_write, fd, from, len);
}

SEEN_BY_LIBRARIES ssize_t pread(int fd, void *to, size_t len, off_t off)
{
    atomic_fetch_add(&reads, 1);
    return syscall(SYS_pread64, fd, to, len, off);
}
