/* A backend's directory, locked and of a known format: see datadir.h. */
#include "server/storage/datadir.h"

#include "sdk/core/base/macros.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

enum { FORMAT_BYTES_MAX = 128 };

static int format_write(int fd, const char *dir, const char *kind, uint32_t version, struct cairn_err *err)
{
    char line[FORMAT_BYTES_MAX];
    int len = snprintf(line, sizeof(line), "%s %u\n", kind, version);
    ssize_t n = pwrite(fd, line, (size_t)len, 0);
    int dirfd;

    if (n != len)
        return cairn_err_errno(err, n < 0 ? errno : ENOSPC, "%s/FORMAT", dir);
    dirfd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dirfd < 0)
        return cairn_err_errno(err, errno, "%s", dir);
    n = fsync(fd) == 0 ? fsync(dirfd) : -1;
    if (n != 0)
        cairn_err_errno(err, errno, "%s/FORMAT", dir);
    close(dirfd);
    return n != 0 ? CAIRN_E_IO : 0;
}

static int format_read(int fd, const char *dir, const char *kind, uint32_t version, bool create, struct cairn_err *err)
{
    char line[FORMAT_BYTES_MAX], found[FORMAT_BYTES_MAX];
    unsigned number;
    ssize_t n = pread(fd, line, sizeof(line) - 1, 0);

    if (n < 0)
        return cairn_err_errno(err, errno, "%s/FORMAT", dir);
    line[n] = '\0';
    if (n == 0) /* new, or a crash came between its creation and its first write */
        return create ? format_write(fd, dir, kind, version, err)
                      : cairn_err_set(err, CAIRN_E_NOTFOUND, "%s: no data yet", dir);
    if (sscanf(line, "%120s %u", found, &number) != 2)
        return cairn_err_set(err, CAIRN_E_CORRUPT, "%s/FORMAT says neither kind nor version of the data", dir);
    if (strcmp(found, kind) != 0)
        return cairn_err_set(err, CAIRN_E_FORMAT, "%s holds data of kind %s, not %s", dir, found, kind);
    if (number > version)
        return cairn_err_set(err, CAIRN_E_FORMAT, "%s holds %s data of version %u; this program knows up to %u", dir,
                             kind, number, version);
    return 0;
}

int cairn_storedir_open(const char *dir, const char *kind, uint32_t version, bool create, int *fd, struct cairn_err *err)
{
    char path[PATH_MAX];
    int rc;

    if ((size_t)snprintf(path, sizeof(path), "%s/FORMAT", dir) >= sizeof(path))
        return cairn_err_set(err, CAIRN_E_INVAL, "%s: path too long", dir);
    *fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | (create ? O_CREAT : 0), 0600);
    if (*fd < 0)
        return cairn_err_errno(err, errno, "%s", path);
    if (flock(*fd, LOCK_EX | LOCK_NB) == 0)
        rc = format_read(*fd, dir, kind, version, create, err);
    else if (errno == EWOULDBLOCK)
        rc = cairn_err_set(err, CAIRN_E_LOCKED, "%s is in use: another process holds its lock", dir);
    else
        rc = cairn_err_errno(err, errno, "%s", path);
    if (rc != 0) {
        close(*fd);
        *fd = -1;
    }
    return rc;
}
