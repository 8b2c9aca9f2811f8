/* Where a provider keeps its data: a directory below the node's, or, with `path`, one of its own, perhaps on another
 * file system. That one has spare room of its own, too: a disk that is full is full for what lies on it. And its file
 * OWNER says to which data directory it belongs: what a node logs, maps and stores belongs together. */
#include "server/node/node.h"

#include "sdk/core/base/macros.h"
#include "server/storage/file_io.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { OWNER_BYTES = 17 }; /* the data directory's disk_id in hexadecimal digits, and a line's end */

int cairn_node__instance_path(const struct cairn_node_conf *conf, const struct cairn_conf *section, const char *name,
                              char *to, size_t len, struct cairn_err *err)
{
    const char *path = section != NULL && cairn_conf_has_key(section, "path") ? cairn_conf_str(section, "path") : "";
    int n;

    if (path[0] == '/')
        n = snprintf(to, len, "%s", path);
    else
        n = snprintf(to, len, "%s/%s", conf->data, path[0] != '\0' ? path : name);
    if (n < 0 || (size_t)n >= len)
        return cairn_err_set(err, CAIRN_E_INVAL, "provider %s: the path of its directory is too long", name);
    return 0;
}

static bool is_empty(int dirfd)
{
    int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    struct dirent *e;
    bool empty = dir != NULL;

    while (empty && (e = readdir(dir)) != NULL)
        empty = strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0 || strcmp(e->d_name, "lost+found") == 0;
    if (dir != NULL)
        closedir(dir);
    else if (fd >= 0)
        close(fd);
    return empty;
}

/* 0: it is ours; 1: nobody's, and empty. */
static int owner_look(int dirfd, const char *path, uint64_t disk_id, struct cairn_err *err)
{
    char text[OWNER_BYTES + 1], own[OWNER_BYTES + 1];
    int fd = openat(dirfd, "OWNER", O_RDONLY | O_CLOEXEC), e = errno;
    ssize_t n;

    if (fd < 0 && e != ENOENT)
        return cairn_err_errno(err, e, "%s/OWNER", path);
    if (fd < 0)
        return is_empty(dirfd)
                   ? 1
                   : cairn_err_set(err, CAIRN_E_CONFIG,
                                   "%s is not empty, and no node has made it: choose an empty directory", path);
    n = read(fd, text, sizeof(text));
    close(fd);
    snprintf(own, sizeof(own), "%016" PRIx64 "\n", disk_id);
    if (n == OWNER_BYTES && memcmp(text, own, OWNER_BYTES) == 0)
        return 0;
    return cairn_err_set(
        err, CAIRN_E_CONFIG,
        "%s belongs to another data directory (%.16s, this one is %.16s): choose another directory, or "
        "empty it if its data are not wanted any more",
        path, n == OWNER_BYTES ? text : "unreadable", own);
}

int cairn_node__instance_check_owner(const char *path, uint64_t disk_id, struct cairn_err *err)
{
    int dirfd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc;

    if (dirfd < 0)
        return 0; /* made by a start, or told of by other checks */
    rc = owner_look(dirfd, path, disk_id, err);
    close(dirfd);
    return rc < 0 ? rc : 0;
}

static int owner_take(const char *path, uint64_t disk_id, struct cairn_err *err)
{
    int dirfd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc;
    char own[OWNER_BYTES + 1];

    if (dirfd < 0)
        return cairn_err_errno(err, errno, "%s", path);
    rc = owner_look(dirfd, path, disk_id, err);
    snprintf(own, sizeof(own), "%016" PRIx64 "\n", disk_id);
    if (rc == 1)
        rc = cairn_file_replace(dirfd, "OWNER", own, OWNER_BYTES, err);
    close(dirfd);
    return rc;
}

/* A relative path stays on the node's own side of the matter: its spare room is the data directory's. */
static bool is_elsewhere(const struct cairn_instance *p)
{
    return p->env.conf != NULL && cairn_conf_has_key(p->env.conf, "path") &&
           cairn_conf_str(p->env.conf, "path")[0] == '/';
}

int cairn_node__instance_open_dir(struct cairn_server *s, struct cairn_instance *p, struct cairn_err *err)
{
    int rc = cairn_node__instance_path(&s->conf, p->env.conf, p->env.name, p->dir, sizeof(p->dir), err);

    if (rc == 0)
        rc = cairn_err_wrap(err, cairn_datadir_make(p->dir, err), "provider %s", p->env.name);
    if (rc == 0 && is_elsewhere(p))
        rc = cairn_err_wrap(err, owner_take(p->dir, s->data.disk_id, err), "provider %s", p->env.name);
    if (rc == 0 && is_elsewhere(p)) {
        cairn_spare_init(&p->spare, p->dir);
        p->has_spare = true;
        p->env.spare = &p->spare;
    }
    return rc;
}

int cairn_node__spares_make_way(struct cairn_server *s, struct cairn_err *err)
{
    int rc = cairn_spare_make_way(&s->spare, err);

    for (uint32_t i = 0; rc == 0 && i < s->ninstances; i++) {
        if (s->instances[i].has_spare)
            rc = cairn_spare_make_way(&s->instances[i].spare, err);
    }
    return rc;
}

void cairn_node__spares_keep(struct cairn_server *s)
{
    cairn_spare_keep(&s->spare);
    for (uint32_t i = 0; i < s->ninstances; i++) {
        if (s->instances[i].has_spare)
            cairn_spare_keep(&s->instances[i].spare);
    }
}

void cairn_node__spares_fini(struct cairn_server *s)
{
    cairn_spare_fini(&s->spare);
    for (uint32_t i = 0; s->instances != NULL && i < s->ninstances; i++) {
        if (s->instances[i].has_spare)
            cairn_spare_fini(&s->instances[i].spare);
    }
}
