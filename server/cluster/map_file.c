/* The file beside and the file in place: see map_file.h. A crash finds the old file or the new one, never a mixture, and
 * a checksum that does not match is damage. The map is small and changes seldom: writing it whole costs less than a log
 * that must tell a torn end from a damaged one. */
#include "server/cluster/map_file.h"

#include "server/cluster/map_image.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { IMAGE_BYTES_MAX = 256 << 20 };

int cairn_map_file_init(struct cairn_map_file *f, const char *dir, struct cairn_err *err)
{
    f->path[0] = '\0';
    if (dir[0] == '\0')
        return 0;
    if ((size_t)snprintf(f->dir, sizeof(f->dir), "%s", dir) >= sizeof(f->dir) ||
        (size_t)snprintf(f->path, sizeof(f->path), "%s/map", dir) >= sizeof(f->path) ||
        (size_t)snprintf(f->fresh_path, sizeof(f->fresh_path), "%s/map.fresh", dir) >= sizeof(f->fresh_path))
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

/* After the rename the new file may be what the next start finds, so a failure there is an unknown outcome. */
static int image_replace(const struct cairn_map_file *f, const uint8_t *image, size_t len, struct cairn_err *err)
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

static void image_measure(const struct cairn_map_table *t, struct cairn_map_image_info *info, size_t *body)
{
    for (uint32_t i = 0; i < t->n; i++) {
        if (t->nodes[i]->e.lease == 0) {
            *body += cairn_map_image_entry_bytes(&t->nodes[i]->e);
            info->entries++;
        }
    }
}

static int image_make(const struct cairn_map_table *t, uint64_t revision, uint8_t **image, size_t *len,
                      struct cairn_err *err)
{
    struct cairn_map_image_info info = { .revision = revision };
    size_t body = 0;
    uint8_t *at;

    image_measure(t, &info, &body);
    if (body > IMAGE_BYTES_MAX - CAIRN_MAP_IMAGE_HEADER_BYTES)
        return cairn_err_set(err, CAIRN_E_LIMIT, "the map has %zu bytes; at most %d are possible", body,
                             IMAGE_BYTES_MAX);
    *len = CAIRN_MAP_IMAGE_HEADER_BYTES + body;
    *image = malloc(*len);
    if (*image == NULL)
        return cairn_err_set(err, CAIRN_E_NOMEM, "%zu bytes of map", *len);
    at = *image + CAIRN_MAP_IMAGE_HEADER_BYTES;
    for (uint32_t i = 0; i < t->n; i++) {
        if (t->nodes[i]->e.lease == 0)
            at = cairn_map_image_put_entry(at, &t->nodes[i]->e);
    }
    cairn_map_image_put_header(*image, &info, body);
    return 0;
}

int cairn_map_file_store(const struct cairn_map_file *f, const struct cairn_map_table *t, uint64_t revision,
                         struct cairn_err *err)
{
    uint8_t *image = NULL;
    size_t len = 0;
    int rc;

    if (f->path[0] == '\0')
        return 0;
    rc = image_make(t, revision, &image, &len, err);
    if (rc != 0)
        return rc;
    rc = image_replace(f, image, len, err);
    free(image);
    return rc;
}

static int image_load(const char *path, uint8_t **image, size_t *len, struct cairn_err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC), e = 0;
    struct stat st;

    *image = NULL;
    *len = 0;
    if (fd < 0)
        return errno == ENOENT ? 0 : cairn_err_errno(err, errno, "open");
    if (fstat(fd, &st) != 0) {
        e = errno;
    } else if (!S_ISREG(st.st_mode) || st.st_size > IMAGE_BYTES_MAX) {
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

static int on_loaded(const struct cairn_map_entry *e, void *arg)
{
    struct cairn_map_table *t = arg;
    struct cairn_map_node *n;
    int rc = cairn_map_table_reserve(t, t->n + 1);

    if (rc != 0)
        return rc;
    n = cairn_map_node_new(e);
    if (n == NULL)
        return CAIRN_E_NOMEM;
    t->nodes[t->n++] = n; /* keys ascend */
    return 0;
}

int cairn_map_file_load(const struct cairn_map_file *f, struct cairn_map_table *t, uint64_t *revision,
                        struct cairn_err *err)
{
    struct cairn_map_image_info info;
    uint8_t *image;
    size_t len;
    int rc;

    *revision = 0;
    if (f->path[0] == '\0')
        return 0;
    unlink(f->fresh_path); /* what a crash left of a change that was never answered */
    rc = image_load(f->path, &image, &len, err);
    if (rc == 0 && image != NULL) {
        rc = cairn_map_image_read(image, len, &info, on_loaded, t, err);
        if (rc == 0)
            *revision = info.revision;
    }
    free(image);
    return cairn_err_wrap(err, rc, "%s", f->path);
}
