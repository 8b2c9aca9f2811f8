/** Reading files that somebody else may be changing. */
#include "tools/cairn/transfer.h"

#include <errno.h>
#include <fcntl.h>
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

int transfer_map(const struct transfer *t, const char *path, uint64_t size, struct guarded_map *map)
{
    int fd = openat(t->root, path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    int rc = fd >= 0 ? guarded_map(fd, size, map) : errno;
    return rc > 0 ? transfer_errno(rc) : rc;
}
