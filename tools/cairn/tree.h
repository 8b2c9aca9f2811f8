/** The files of a directory tree, in the order of their paths' bytes: the order in which a namespace lists its keys, so
 * the two can be compared side by side without holding either in memory. */
#ifndef CAIRN_TOOLS_TREE_H
#define CAIRN_TOOLS_TREE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct tree;

enum tree_kind {
    TREE_END,
    TREE_FILE, /* a regular file */
    TREE_SYMLINK,
    TREE_SPECIAL,   /* a device, a pipe, a socket */
    TREE_EMPTY_DIR, /* below the root */
    TREE_ERROR,     /* cannot be read: errnum says why */
};

struct tree_entry {
    enum tree_kind kind;
    const char *path; /* relative to the root; valid until the next call */
    size_t path_len;
    uint64_t size;
    int errnum;
};

/** NULL with errno set if @root is no readable directory. */
struct tree *tree_open(const char *root);
struct tree_entry tree_next(struct tree *t);
void tree_close(struct tree *t);

/** True for a path that stays inside a directory it is appended to: not empty, no leading or double slash, no "." or
 * "..", no zero byte. */
bool tree_path_is_safe(const char *path, size_t len);

/** Opens the directory that @path (safe, zero-terminated) lies in, below @root, and makes it, with its parents, if it
 * is not there and @make. Links that lead out of @root are not followed. *@name is the last component. Returns a
 * descriptor, or -1 with errno. */
int tree_open_parent(int root, const char *path, bool make, const char **name);

#endif
