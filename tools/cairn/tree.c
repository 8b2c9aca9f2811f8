/** Walking directory trees, and writing into them without leaving them. */
#include "tools/cairn/tree.h"

#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

struct tree {
    FTS *fts;
    size_t root_len;
    bool begun, just_entered; /* just_entered: a directory, and nothing of it was met yet */
};

/* A directory sorts as if its name ended in a slash, which is what follows it in every path below. */
static int by_path(const FTSENT **a, const FTSENT **b)
{
    const unsigned char *s = (const unsigned char *)(*a)->fts_name, *t = (const unsigned char *)(*b)->fts_name;
    while (*s != '\0' && *s == *t) {
        s++;
        t++;
    }
    int c = *s != '\0' ? *s : (*a)->fts_info == FTS_D ? '/' : '\0';
    int d = *t != '\0' ? *t : (*b)->fts_info == FTS_D ? '/' : '\0';
    return c - d;
}

struct tree *tree_open(const char *root)
{
    struct stat st;
    if (stat(root, &st) != 0)
        return NULL;
    if (!S_ISDIR(st.st_mode)) {
        errno = ENOTDIR;
        return NULL;
    }
    struct tree *t = calloc(1, sizeof(*t));
    char *const paths[] = { (char *)root, NULL };
    if (t == NULL)
        return NULL;
    /* FTS_COMFOLLOW: the root itself may be a link. */
    t->fts = fts_open(paths, FTS_PHYSICAL | FTS_NOCHDIR | FTS_COMFOLLOW, by_path);
    if (t->fts == NULL) {
        free(t);
        return NULL;
    }
    t->root_len = strlen(root);
    return t;
}

struct tree_entry tree_next(struct tree *t)
{
    for (;;) {
        errno = 0;
        FTSENT *f = fts_read(t->fts);
        t->begun = true;
        if (f == NULL)
            return (struct tree_entry){ .kind = errno != 0 ? TREE_ERROR : TREE_END, .path = "", .errnum = errno };
        bool was_entered = t->just_entered;
        t->just_entered = f->fts_info == FTS_D;
        struct tree_entry e = { .path = f->fts_path + t->root_len, .path_len = f->fts_pathlen - t->root_len };
        while (e.path[0] == '/') {
            e.path++;
            e.path_len--;
        }
        switch (f->fts_info) {
        case FTS_F:
            e.kind = TREE_FILE;
            e.size = (uint64_t)f->fts_statp->st_size;
            return e;
        case FTS_SL:
        case FTS_SLNONE:
            e.kind = TREE_SYMLINK;
            return e;
        case FTS_DEFAULT:
            e.kind = TREE_SPECIAL;
            return e;
        case FTS_DNR:
        case FTS_ERR:
        case FTS_NS:
            e.kind = TREE_ERROR;
            e.errnum = f->fts_errno;
            return e;
        case FTS_DP:
            if (!was_entered || f->fts_level == FTS_ROOTLEVEL)
                break;
            e.kind = TREE_EMPTY_DIR;
            return e;
        default: /* directories, before what is in them */
            break;
        }
    }
}

void tree_close(struct tree *t)
{
    if (t == NULL)
        return;
    if (!t->begun) /* glibc leaves the root behind that was never read */
        (void)fts_read(t->fts);
    fts_close(t->fts);
    free(t);
}

bool tree_path_is_safe(const char *path, size_t len)
{
    if (len == 0 || len >= PATH_MAX || memchr(path, '\0', len) != NULL)
        return false;
    for (size_t at = 0; at <= len;) {
        const char *slash = memchr(path + at, '/', len - at);
        size_t n = slash != NULL ? (size_t)(slash - path) - at : len - at;
        if (n == 0 || (n == 1 && path[at] == '.') || (n == 2 && path[at] == '.' && path[at + 1] == '.'))
            return false;
        at += n + 1;
    }
    return true;
}

static int open_beneath(int root, const char *path)
{
    struct open_how how = { .flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC, .resolve = RESOLVE_BENEATH };
    long fd = syscall(SYS_openat2, root, path, &how, sizeof(how));
    if (fd < 0 && errno == EXDEV)
        errno = EPERM; /* a link that leads out */
    return (int)fd;
}

int tree_open_parent(int root, const char *path, bool make, const char **name)
{
    char dir[PATH_MAX];
    const char *slash = strrchr(path, '/');
    if (slash == NULL) {
        *name = path;
        return open_beneath(root, ".");
    }
    *name = slash + 1;
    memcpy(dir, path, (size_t)(slash - path));
    dir[slash - path] = '\0';
    int fd = open_beneath(root, dir);
    if (fd >= 0 || errno != ENOENT || !make)
        return fd;

    /* Make what is missing, from the top: each step opens what the step before has made. */
    for (char *end = dir;; end++) {
        end = strchrnul(end, '/');
        char was = *end;
        *end = '\0';
        const char *last = strrchr(dir, '/');
        char above[PATH_MAX] = ".";
        if (last != NULL) {
            memcpy(above, dir, (size_t)(last - dir));
            above[last - dir] = '\0';
        }
        int parent = open_beneath(root, above);
        if (parent < 0)
            return -1;
        int rc = mkdirat(parent, last != NULL ? last + 1 : dir, 0777);
        int errnum = errno;
        close(parent);
        if (rc != 0 && errnum != EEXIST) {
            errno = errnum;
            return -1;
        }
        *end = was;
        if (was == '\0')
            return open_beneath(root, dir);
    }
}
