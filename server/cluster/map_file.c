/* A file that is replaced as a whole: see map_file.h. */
#include "server/cluster/map_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

int cairn_map_file_init(struct cairn_map_file *f, const char *dir, struct cairn_err *err)
{
    if ((size_t)snprintf(f->dir, sizeof(f->dir), "%s", dir) >= sizeof(f->dir) ||
        (size_t)snprintf(f->path, sizeof(f->path), "%s/map", dir) >= sizeof(f->path) ||
        (size_t)snprintf(f->fresh_path, sizeof(f->fresh_path), "%s/map.fresh", dir) >= sizeof(f->fresh_path) ||
        (size_t)snprintf(f->moved_path, sizeof(f->moved_path), "%s/map.moved", dir) >= sizeof(f->moved_path))
        return cairn_err_set(err, CAIRN_E_INVAL, "%s: the path is too long", dir);
    return 0;
}

static int write_all(int fd, const uint8_t *p, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, p, len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno;
        p += n;
        len -= (size_t)n;
    }
    return 0;
}

static int sync_dir(const char *dir)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), e = 0;

    if (fd < 0)
        return errno;
    if (fsync(fd) != 0)
        e = errno;
    close(fd);
    return e;
}

int cairn_map_file_replace(const struct cairn_map_file *f, const uint8_t *image, size_t len, struct cairn_err *err)
{
    int fd = open(f->fresh_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600), e;

    if (fd < 0)
        return cairn_err_errno(err, errno, "make %s", f->fresh_path);
    e = write_all(fd, image, len);
    if (e == 0 && fsync(fd) != 0)
        e = errno;
    if (close(fd) != 0 && e == 0)
        e = errno;
    if (e == 0 && rename(f->fresh_path, f->path) != 0)
        e = errno;
    if (e != 0) {
        unlink(f->fresh_path);
        return cairn_err_errno(err, e, "write %s", f->path);
    }
    e = sync_dir(f->dir);
    if (e != 0) {
        cairn_err_errno(err, e, "flush %s", f->dir);
        return cairn_err_wrap(err, CAIRN_E_UNKNOWN, "%s", f->path);
    }
    return 0;
}

int cairn_map_file_load(const struct cairn_map_file *f, size_t max, uint8_t **image, size_t *len, struct cairn_err *err)
{
    int fd = open(f->path, O_RDONLY | O_CLOEXEC), e = 0;
    struct stat st;

    *image = NULL;
    *len = 0;
    if (fd < 0)
        return errno == ENOENT ? 0 : cairn_err_errno(err, errno, "open");
    if (fstat(fd, &st) != 0) {
        e = errno;
    } else if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size > max) {
        close(fd);
        return cairn_err_set(err, CAIRN_E_CORRUPT, "no file of ours");
    } else {
        *image = malloc((size_t)st.st_size + 1);
        e = *image == NULL ? ENOMEM : 0;
    }
    while (e == 0 && *len < (size_t)st.st_size) {
        ssize_t n = read(fd, *image + *len, (size_t)st.st_size - *len);

        if (n == 0)
            break;
        if (n > 0)
            *len += (size_t)n;
        else if (errno != EINTR)
            e = errno;
    }
    close(fd);
    return e == 0 ? 0 : cairn_err_errno(err, e, "read");
}

int cairn_map_file_put_aside(const struct cairn_map_file *f, struct cairn_err *err)
{
    int e = rename(f->path, f->moved_path) == 0 ? sync_dir(f->dir) : errno;

    return e == 0 ? 0 : cairn_err_errno(err, e, "rename %s to %s", f->path, f->moved_path);
}

int cairn_map_file_check_here(const char *dir, struct cairn_err *err)
{
    struct cairn_map_file f;
    int rc = cairn_map_file_init(&f, dir, err);

    if (rc == 0 && access(f.path, F_OK) != 0 && access(f.moved_path, F_OK) == 0)
        return cairn_err_set(err, CAIRN_E_CONFIG,
                             "this node's map was moved to etcd, and the configuration says `map.store: local`; "
                             "`cairn map move --help` tells how it comes back (%s is what it was then)",
                             f.moved_path);
    return rc;
}
