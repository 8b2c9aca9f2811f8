/* What the node's part in a cluster has on the disk, beside its provider: the slots' log, and the number of this
 * process. See side.h. */
#include "server/cluster/service/side.h"

#include "server/storage/file_io.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

/* ---- this process ---- */

/* Ascends with each start; on a new disk it begins with the time of day. Durable before it is told to anybody. */
static int process_raise(struct cairn_cluster *c, const char *dir, struct cairn_err *err)
{
    char path[PATH_MAX], fresh[PATH_MAX], text[32] = "";
    uint64_t number = (uint64_t)time(NULL);
    ssize_t n;
    int fd, dirfd;

    if ((size_t)snprintf(path, sizeof(path), "%s/process", dir) >= sizeof(path) ||
        (size_t)snprintf(fresh, sizeof(fresh), "%s/process.new", dir) >= sizeof(fresh))
        return cairn_err_set(err, CAIRN_E_INVAL, "%s: the path is too long", dir);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    c->side->was_member = fd >= 0;
    if (fd >= 0) {
        n = read(fd, text, sizeof(text) - 1);
        close(fd);
        if (n <= 0)
            return cairn_err_set(err, CAIRN_E_CORRUPT, "%s: no number", path);
        number = strtoull(text, NULL, 10) + 1;
    } else if (errno != ENOENT) {
        return cairn_err_errno(err, errno, "%s", path);
    }
    n = snprintf(text, sizeof(text), "%" PRIu64 "\n", number);
    fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return cairn_err_errno(err, errno, "%s", fresh);
    if (write(fd, text, (size_t)n) != n || fsync(fd) != 0) {
        close(fd);
        return cairn_err_errno(err, errno, "%s", fresh);
    }
    close(fd);
    dirfd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dirfd < 0 || rename(fresh, path) != 0 || fsync(dirfd) != 0) {
        if (dirfd >= 0)
            close(dirfd);
        return cairn_err_errno(err, errno, "%s", path);
    }
    close(dirfd);
    c->side->process = number;
    return 0;
}

/* ---- the log ---- */

static uint64_t segment_bytes(const char *dir)
{
    struct statvfs vfs;
    uint64_t part = UINT64_MAX;

    if (statvfs(dir, &vfs) == 0)
        part = (uint64_t)vfs.f_blocks * vfs.f_frsize / CLUSTER_SEGMENT_DISK_PART;
    part = MAX(part, (uint64_t)CLUSTER_SEGMENT_BYTES_MIN) & ~((UINT64_C(1) << 20) - 1);
    return MIN(part, (uint64_t)CLUSTER_SEGMENT_BYTES);
}

/* Before process_raise(): who has a number has begun a log. */
static int log_open(struct cairn_cluster *c, void (*synced)(void *arg, uint32_t slot, int rc),
                    void (*written)(void *arg, uint32_t slot, struct cairn_at end, int rc), struct cairn_err *err)
{
    char dir[PATH_MAX], number[PATH_MAX];
    struct cairn_slot_disk_conf conf = { .dir = dir,
                                         .loops = c->env->loops,
                                         .nloops = c->env->nloops,
                                         .nslots = SIDE_SLOTS_MAX,
                                         .segment_bytes = segment_bytes(c->env->dir),
                                         .queue_bytes = CLUSTER_QUEUE_BYTES,
                                         .spare_bytes = CLUSTER_QUEUE_SPARE_BYTES,
                                         .synced = synced,
                                         .written = written,
                                         .arg = c };
    int rc;

    if ((size_t)snprintf(dir, sizeof(dir), "%s/log", c->env->dir) >= sizeof(dir) ||
        (size_t)snprintf(number, sizeof(number), "%s/process", c->env->dir) >= sizeof(number))
        return cairn_err_set(err, CAIRN_E_INVAL, "%s: the path is too long", c->env->dir);
    conf.used = access(number, F_OK) == 0;
    rc = cairn_file_mkdir(dir, err);
    return rc != 0 ? rc : cairn_slot_disk_open(&conf, &c->side->disk, err);
}

int side_disk_open(struct cairn_cluster *c, void (*synced)(void *arg, uint32_t slot, int rc),
                   void (*written)(void *arg, uint32_t slot, struct cairn_at end, int rc), struct cairn_err *err)
{
    int rc = log_open(c, synced, written, err);

    return rc != 0 ? rc : process_raise(c, c->env->dir, err);
}
