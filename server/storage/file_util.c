/* Blocking file work for pool threads and start-up: see file_io.h. */
#include "server/storage/file_io.h"

#include "sdk/core/base/macros.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

int cairn_file_code(int errnum)
{
    if (errnum == ENOSPC || errnum == EDQUOT || errnum == EFBIG)
        return CAIRN_E_NOSPACE;
    return errnum == ENOMEM ? CAIRN_E_NOMEM : CAIRN_E_IO;
}

int cairn_file_pwrite(int fd, const void *buf, uint64_t len, uint64_t off)
{
    const char *p = buf;

    while (len > 0) {
        ssize_t n = pwrite(fd, p, len, (off_t)off);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return cairn_file_code(errno);
        if (n == 0)
            return CAIRN_E_NOSPACE;
        p += n;
        off += (uint64_t)n;
        len -= (uint64_t)n;
    }
    return 0;
}

int cairn_file_pread(int fd, void *buf, uint64_t len, uint64_t off)
{
    char *p = buf;

    while (len > 0) {
        ssize_t n = pread(fd, p, len, (off_t)off);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return cairn_file_code(errno);
        if (n == 0)
            return CAIRN_E_IO;
        p += n;
        off += (uint64_t)n;
        len -= (uint64_t)n;
    }
    return 0;
}

int cairn_file_replace(int dirfd, const char *name, const void *buf, uint64_t len, struct cairn_err *err)
{
    char temp[256];
    int fd, rc;

    CAIRN_ASSERT((size_t)snprintf(temp, sizeof(temp), "%s.new", name) < sizeof(temp));
    fd = openat(dirfd, temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return cairn_err_errno(err, errno, "create %s", temp);
    rc = cairn_file_pwrite(fd, buf, len, 0);
    if (rc == 0 && fsync(fd) != 0)
        rc = cairn_err_of_errno(errno);
    close(fd);
    if (rc == 0 && renameat(dirfd, temp, dirfd, name) != 0)
        rc = cairn_err_of_errno(errno);
    if (rc == 0 && fsync(dirfd) != 0)
        rc = cairn_err_of_errno(errno);
    if (rc == 0)
        return 0;
    unlinkat(dirfd, temp, 0);
    return cairn_err_set(err, rc, "write %s: %s", name, cairn_error_text(rc));
}

/* Makes the name of the new directory @path durable. */
static int parent_sync(const char *path)
{
    char parent[PATH_MAX + 1];
    size_t n = strlen(path);
    int fd, rc;

    while (n > 1 && path[n - 1] == '/')
        n--;
    while (n > 0 && path[n - 1] != '/')
        n--;
    if (n >= sizeof(parent))
        return ENAMETOOLONG;
    memcpy(parent, n > 0 ? path : ".", MAX(n, 1));
    parent[MAX(n, 1)] = '\0';
    fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        rc = fsync(fd);
    } else if (errno == EACCES) { /* names may be made there, and not listed: then all of the file system */
        fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        rc = fd >= 0 ? syncfs(fd) : -1;
    } else {
        return errno;
    }
    rc = rc == 0 ? 0 : errno;
    if (fd >= 0)
        close(fd);
    return rc;
}

int cairn_file_mkdir(const char *path, struct cairn_err *err)
{
    int e = mkdir(path, 0700) == 0 ? parent_sync(path) : errno == EEXIST ? 0 : errno;

    return e == 0 ? 0 : cairn_err_errno(err, e, "make the directory %s", path);
}

static int lock_file(int dirfd, const char *name, int flags, int *out, struct cairn_err *err)
{
    int fd = openat(dirfd, name, O_RDWR | O_CLOEXEC | flags, 0600);

    if (fd < 0)
        return cairn_err_errno(err, errno, "open %s", name);
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        int e = errno;

        close(fd);
        if (e == EWOULDBLOCK)
            return cairn_err_set(err, CAIRN_E_LOCKED, "%s is held by another process", name);
        return cairn_err_errno(err, e, "lock %s", name);
    }
    *out = fd;
    return 0;
}

int cairn_file_lock(int dirfd, const char *name, int *out, struct cairn_err *err)
{
    return lock_file(dirfd, name, O_CREAT, out, err);
}

int cairn_file_lock_check(int dirfd, const char *name, struct cairn_err *err)
{
    int fd, rc = lock_file(dirfd, name, 0, &fd, err);

    if (rc == 0)
        close(fd);
    return rc == CAIRN_E_NOTFOUND ? 0 : rc;
}
