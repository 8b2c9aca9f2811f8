/* The data directory: see datadir.h. */
#include "server/node/datadir.h"

#include "sdk/core/base/log.h"
#include "sdk/core/base/macros.h"
#include "server/node/place.h"
#include "server/storage/file_io.h"
#include "server/storage/spare.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <limits.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { IDENTITY_BYTES_MAX = 4096 };

int cairn_datadir_make(const char *path, struct cairn_err *err)
{
    char part[PATH_MAX];
    size_t n = strlen(path);

    if (n == 0 || n >= sizeof(part))
        return cairn_err_set(err, CAIRN_E_INVAL, "data directory: the path is empty or too long");
    for (size_t i = 1; i <= n; i++) { /* as mkdir -p */
        int rc;

        if (path[i] != '/' && path[i] != '\0')
            continue;
        memcpy(part, path, i);
        part[i] = '\0';
        rc = cairn_file_mkdir(part, err);
        if (rc != 0)
            return cairn_err_wrap(err, rc, "data directory %s", path);
    }
    return 0;
}

static int lock_dir(const char *path, bool create, int *fd, struct cairn_err *err)
{
    char file[PATH_MAX];
    int f, e;

    if (snprintf(file, sizeof(file), "%s/LOCK", path) >= (int)sizeof(file))
        return cairn_err_set(err, CAIRN_E_INVAL, "data directory %s: the path is too long", path);
    f = open(file, (create ? O_CREAT : 0) | O_RDWR | O_CLOEXEC, 0600);
    if (f < 0)
        return cairn_err_errno(err, errno, "data directory %s: cannot open LOCK", path);
    if (flock(f, LOCK_EX | LOCK_NB) != 0) {
        e = errno;
        close(f);
        if (e == EWOULDBLOCK)
            return cairn_err_set(err, CAIRN_E_LOCKED, "data directory %s is in use by another cairnd", path);
        return cairn_err_errno(err, e, "data directory %s: cannot lock", path);
    }
    *fd = f;
    return 0;
}

static bool parse_u64(json_t *o, const char *key, uint64_t *to)
{
    const char *s = json_string_value(json_object_get(o, key));
    char *end;

    if (s == NULL || strlen(s) != 16)
        return false;
    *to = strtoull(s, &end, 16);
    return *end == '\0';
}

static int read_identity(struct cairn_datadir *d, struct cairn_err *err)
{
    char file[PATH_MAX];
    json_error_t why;
    json_t *o;
    const char *cluster;
    size_t n = 0;
    int rc = 0;

    snprintf(file, sizeof(file), "%s/cairn.json", d->path);
    if (access(file, F_OK) != 0)
        return errno == ENOENT ? CAIRN_E_NOTFOUND : cairn_err_errno(err, errno, "data directory %s", file);
    o = json_load_file(file, 0, &why);
    if (o == NULL)
        return cairn_err_set(err, access(file, R_OK) == 0 ? CAIRN_E_CORRUPT : CAIRN_E_DENIED, "%s: %s", file, why.text);
    if (json_integer_value(json_object_get(o, "format")) > CAIRN_DATADIR_FORMAT) {
        rc = cairn_err_set(err, CAIRN_E_FORMAT,
                           "data directory %s has format %" JSON_INTEGER_FORMAT
                           ", this version knows %d: it was written by a newer cairnd",
                           d->path, json_integer_value(json_object_get(o, "format")), CAIRN_DATADIR_FORMAT);
    } else {
        cluster = json_string_value(json_object_get(o, "cluster_id"));
        if (json_integer_value(json_object_get(o, "format")) != CAIRN_DATADIR_FORMAT || cluster == NULL ||
            !parse_u64(o, "node_id", &d->node_id) || !parse_u64(o, "disk_id", &d->disk_id) ||
            sodium_hex2bin(d->cluster_id, sizeof(d->cluster_id), cluster, strlen(cluster), NULL, &n, NULL) != 0 ||
            n != sizeof(d->cluster_id))
            rc = cairn_err_set(err, CAIRN_E_CORRUPT, "%s is damaged", file);
    }
    json_decref(o);
    return rc;
}

static int write_identity(struct cairn_datadir *d, const char *wanted, struct cairn_err *err)
{
    char file[PATH_MAX + 16], fresh[PATH_MAX + 16], text[256], cluster[CAIRN_CLUSTER_ID_BYTES * 2 + 1];
    int n, fd, dir_fd, rc = 0;
    size_t given = 0;

    cairn_auth_random(&d->node_id, sizeof(d->node_id));
    cairn_auth_random(&d->disk_id, sizeof(d->disk_id));
    if (sodium_hex2bin(d->cluster_id, sizeof(d->cluster_id), wanted, strlen(wanted), NULL, &given, NULL) != 0 ||
        given != sizeof(d->cluster_id))
        cairn_auth_random(d->cluster_id, sizeof(d->cluster_id));
    sodium_bin2hex(cluster, sizeof(cluster), d->cluster_id, sizeof(d->cluster_id));
    n = snprintf(text, sizeof(text),
                 "{\"format\": %d, \"node_id\": \"%016" PRIx64 "\", \"disk_id\": \"%016" PRIx64
                 "\", \"cluster_id\": \"%s\"}\n",
                 CAIRN_DATADIR_FORMAT, d->node_id, d->disk_id, cluster);
    snprintf(file, sizeof(file), "%s/cairn.json", d->path);
    snprintf(fresh, sizeof(fresh), "%s/cairn.json.new", d->path);
    fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    dir_fd = open(d->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || dir_fd < 0 || write(fd, text, (size_t)n) != n || fsync(fd) != 0 || rename(fresh, file) != 0 ||
        fsync(dir_fd) != 0)
        rc = cairn_err_errno(err, errno, "%s", file);
    if (fd >= 0)
        close(fd);
    if (dir_fd >= 0)
        close(dir_fd);
    return rc;
}

/* A directory with something in it that is not ours must not become ours. */
static int check_virgin(const char *path, struct cairn_err *err)
{
    DIR *dir = opendir(path);
    struct dirent *e;
    int rc = 0;

    if (dir == NULL)
        return cairn_err_errno(err, errno, "data directory %s", path);
    while (rc == 0 && (e = readdir(dir)) != NULL) {
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0 && strcmp(e->d_name, "LOCK") != 0 &&
            strcmp(e->d_name, "cairn.json.new") != 0 && strcmp(e->d_name, "lost+found") != 0)
            rc = cairn_err_set(err, CAIRN_E_FORMAT, "data directory %s is not empty ('%s') and was not made by cairnd",
                               path, e->d_name);
    }
    closedir(dir);
    return rc;
}

static int check_cluster(const struct cairn_datadir *d, const char *wanted, struct cairn_err *err)
{
    char own[CAIRN_CLUSTER_ID_BYTES * 2 + 1];

    sodium_bin2hex(own, sizeof(own), d->cluster_id, sizeof(d->cluster_id));
    if (wanted[0] == '\0' || strcmp(own, wanted) == 0)
        return 0;
    return cairn_err_set(err, CAIRN_E_CONFIG, "data directory %s belongs to cluster %s, and node.cluster says %s",
                         d->path, own, wanted);
}

int cairn_datadir_open(struct cairn_datadir *d, const char *path, const char *cluster, struct cairn_err *err)
{
    int rc;

    *d = (struct cairn_datadir){ .path = path, .lock_fd = -1 };
    rc = cairn_datadir_make(path, err);
    if (rc == 0)
        rc = lock_dir(path, true, &d->lock_fd, err);
    if (rc != 0)
        return rc;
    rc = read_identity(d, err);
    if (rc == CAIRN_E_NOTFOUND) {
        rc = check_virgin(path, err);
        if (rc == 0)
            rc = write_identity(d, cluster, err);
    }
    if (rc == 0)
        rc = check_cluster(d, cluster, err);
    if (rc != 0)
        cairn_datadir_close(d);
    return rc;
}

/* What a start would say of the room on the disk. */
static int check_way(const char *path, struct cairn_err *err)
{
    struct cairn_spare spare;
    int rc;

    cairn_spare_init(&spare, path);
    rc = cairn_spare_check_way(&spare, err);
    cairn_spare_fini(&spare);
    return rc;
}

int cairn_datadir_check(struct cairn_datadir *d, const char *path, const char *cluster, struct cairn_err *err)
{
    struct stat st;
    bool ours = false;
    int rc;

    *d = (struct cairn_datadir){ .path = path, .lock_fd = -1 };
    if (stat(path, &st) == 0 && S_ISDIR(st.st_mode)) {
        rc = lock_dir(path, false, &d->lock_fd, err); /* whoever has it may be what stands in the way of the rest */
        if (rc == CAIRN_E_NOTFOUND || rc == 0)
            rc = read_identity(d, err);
        ours = rc == 0;
        if (rc == CAIRN_E_NOTFOUND)
            rc = check_virgin(path, err);
        else if (rc == 0)
            rc = check_cluster(d, cluster, err);
        if (rc != 0)
            return rc;
    }
    rc = cairn_place_check_dir(path, true, "data directory", err);
    if (ours && (rc == 0 || rc == CAIRN_E_NOSPACE)) /* its first step gives room, where there is none */
        rc = check_way(path, err);
    return rc;
}

void cairn_datadir_close(struct cairn_datadir *d)
{
    if (d->lock_fd >= 0)
        close(d->lock_fd); /* which unlocks */
    d->lock_fd = -1;
}

int cairn_datadir_sub(const struct cairn_datadir *d, const char *name, char *to, size_t len, struct cairn_err *err)
{
    if (snprintf(to, len, "%s/%s", d->path, name) >= (int)len)
        return cairn_err_set(err, CAIRN_E_INVAL, "%s/%s: the path is too long", d->path, name);
    return cairn_file_mkdir(to, err);
}
