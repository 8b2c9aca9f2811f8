#include "tests/lib/full_disk.h"

#include <sys/statvfs.h>

atomic_bool full_disk;

int __real_statvfs(const char *path, struct statvfs *buf);
int __wrap_statvfs(const char *path, struct statvfs *buf);
int __wrap_statvfs(const char *path, struct statvfs *buf)
{
    int rc = __real_statvfs(path, buf);

    if (atomic_load(&full_disk))
        buf->f_bfree = buf->f_bavail = 0;
    return rc;
}
