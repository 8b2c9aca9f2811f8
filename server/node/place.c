/* See place.h. */
#include "server/node/place.h"

#include <errno.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Cuts the last component off @path: "a" -> ".", "/a" -> "/". */
static void cut(char *path)
{
    size_t n = strlen(path);

    while (n > 1 && path[n - 1] == '/')
        n--;
    while (n > 0 && path[n - 1] != '/')
        n--;
    while (n > 1 && path[n - 1] == '/')
        n--;
    if (n == 0)
        path[n++] = '.';
    path[n] = '\0';
}

/* A directory of our own in @dir, gone again at once. */
static int try_to_make(const char *path, const char *dir, const char *what, struct cairn_err *err)
{
    char fresh[PATH_MAX + 32];

    snprintf(fresh, sizeof(fresh), "%s/.cairn-check.XXXXXX", dir);
    if (mkdtemp(fresh) == NULL)
        return strcmp(path, dir) == 0 ? cairn_err_errno(err, errno, "%s %s: nothing can be made in it", what, path)
                                      : cairn_err_errno(err, errno, "%s %s: cannot be made in %s", what, path, dir);
    rmdir(fresh);
    return 0;
}

static int check(const char *path, uint32_t cuts_max, const char *what, struct cairn_err *err)
{
    char dir[PATH_MAX];
    struct stat st;

    if (path[0] == '\0' || (size_t)snprintf(dir, sizeof(dir), "%s", path) >= sizeof(dir))
        return cairn_err_set(err, CAIRN_E_INVAL, "%s: the path is empty or too long", what);
    for (uint32_t i = 0; stat(dir, &st) != 0; i++) {
        if ((errno != ENOENT && errno != ENOTDIR) || i == cuts_max)
            return strcmp(path, dir) == 0 ? cairn_err_errno(err, errno, "%s %s", what, path)
                                          : cairn_err_errno(err, errno, "%s %s: %s", what, path, dir);
        cut(dir);
    }
    if (S_ISDIR(st.st_mode))
        return try_to_make(path, dir, what, err);
    return strcmp(path, dir) == 0 ? cairn_err_set(err, CAIRN_E_INVAL, "%s %s: it is no directory", what, path)
                                  : cairn_err_set(err, CAIRN_E_INVAL, "%s %s: %s is no directory", what, path, dir);
}

int cairn_place_check_dir(const char *path, bool parents, const char *what, struct cairn_err *err)
{
    return check(path, parents ? UINT32_MAX : 1, what, err);
}

int cairn_place_check_file(const char *path, const char *what, struct cairn_err *err)
{
    char dir[PATH_MAX];
    struct cairn_err why = { 0 };
    int rc;

    if (path[0] == '\0' || (size_t)snprintf(dir, sizeof(dir), "%s", path) >= sizeof(dir))
        return cairn_err_set(err, CAIRN_E_INVAL, "%s: the path is empty or too long", what);
    cut(dir);
    rc = check(dir, 0, "directory", &why);
    return rc == 0 ? 0 : cairn_err_set(err, rc, "%s %s: %s", what, path, why.text);
}
