/* A backend's directory, locked and of a known format: see datadir.h. */
#include "server/storage/datadir.h"

#include "sdk/core/base/macros.h"
#include "server/storage/file_io.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

enum { FORMAT_BYTES_MAX = 128 };

static int format_line(char line[FORMAT_BYTES_MAX], const char *kind, uint32_t version)
{
    return snprintf(line, FORMAT_BYTES_MAX, "%s %u\n", kind, version);
}

/* In its place: the file is the lock, too, so that another cannot be put there. All of it, or nothing. */
int cairn_storedir_finish(int fd, const char *dir, const char *kind, uint32_t version, struct cairn_err *err)
{
    char line[FORMAT_BYTES_MAX];
    int len = format_line(line, kind, version), dirfd, rc = 0;

    if (ftruncate(fd, 0) != 0)
        return cairn_err_errno(err, errno, "%s/FORMAT", dir);
    rc = cairn_file_pwrite(fd, line, (uint64_t)len, 0);
    if (rc == 0 && fsync(fd) != 0)
        rc = cairn_file_code(errno);
    if (rc != 0) {
        if (ftruncate(fd, 0) != 0)
            rc = CAIRN_E_IO;
        return cairn_err_set(err, rc, "%s/FORMAT: %s", dir, cairn_error_text(rc));
    }
    dirfd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dirfd < 0 || fsync(dirfd) != 0)
        rc = cairn_err_errno(err, errno, "%s", dir);
    if (dirfd >= 0)
        close(dirfd);
    return rc;
}

/* A crash came before or within its first write, which is over before anything is stored. */
static bool format_is_unfinished(const char *line, ssize_t n, const char *kind, uint32_t version)
{
    char whole[FORMAT_BYTES_MAX];
    int len = format_line(whole, kind, version);

    return n < len && memcmp(line, whole, (size_t)n) == 0;
}

static int format_read(int fd, const char *dir, const char *kind, uint32_t version, bool create, struct cairn_err *err)
{
    char line[FORMAT_BYTES_MAX], found[FORMAT_BYTES_MAX];
    unsigned number;
    ssize_t n = pread(fd, line, sizeof(line) - 1, 0);

    if (n < 0)
        return cairn_err_errno(err, errno, "%s/FORMAT", dir);
    line[n] = '\0';
    if (format_is_unfinished(line, n, kind, version))
        return create ? CAIRN_STOREDIR_FRESH : cairn_err_set(err, CAIRN_E_NOTFOUND, "%s: no data yet", dir);
    if (sscanf(line, "%120s %u", found, &number) != 2)
        return cairn_err_set(err, CAIRN_E_CORRUPT, "%s/FORMAT says neither kind nor version of the data", dir);
    if (strcmp(found, kind) != 0)
        return cairn_err_set(err, CAIRN_E_FORMAT, "%s holds data of kind %s, not %s", dir, found, kind);
    if (number > version)
        return cairn_err_set(err, CAIRN_E_FORMAT, "%s holds %s data of version %u; this program knows up to %u", dir,
                             kind, number, version);
    return 0;
}

int cairn_storedir_open(const char *dir, const char *kind, uint32_t version, bool create, int *fd,
                        struct cairn_err *err)
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
    if (rc < 0) {
        close(*fd);
        *fd = -1;
    }
    return rc;
}
