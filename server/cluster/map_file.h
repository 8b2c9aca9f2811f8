/** The local map store's file, which is replaced as a whole: written beside, flushed, renamed, and the directory
 * flushed. A crash finds the old bytes or the new ones. All calls block. */
#ifndef CAIRN_SERVER_CLUSTER_MAP_FILE_H
#define CAIRN_SERVER_CLUSTER_MAP_FILE_H

#include "sdk/core/base/err.h"

#include <limits.h>
#include <stddef.h>
#include <stdint.h>

struct cairn_map_file {
    char dir[PATH_MAX], path[PATH_MAX], fresh_path[PATH_MAX], moved_path[PATH_MAX];
};

/** `map` in @dir; `map.moved` is what it was when it was moved to another store. CAIRN_E_INVAL: the path is too long. */
int cairn_map_file_init(struct cairn_map_file *f, const char *dir, struct cairn_err *err);
/** All bytes, malloc'ed; *@image is NULL if there is no file. CAIRN_E_CORRUPT: no regular file, or of more than @max
 * bytes. */
int cairn_map_file_load(const struct cairn_map_file *f, size_t max, uint8_t **image, size_t *len,
                        struct cairn_err *err);
/** CAIRN_E_UNKNOWN: renamed, but not certainly for good: it may be what the next start finds. After every other failure
 * the old file is there. */
int cairn_map_file_replace(const struct cairn_map_file *f, const uint8_t *image, size_t len, struct cairn_err *err);
/** The map is in another store from now on: the file is kept as f->moved_path, in the place of an earlier one. To be
 * repeated after a failure, unless there is no file any more. */
int cairn_map_file_put_aside(const struct cairn_map_file *f, struct cairn_err *err);
/** CAIRN_E_CONFIG, with what to do: the map that was in @dir was moved, and none came back. */
int cairn_map_file_check_here(const char *dir, struct cairn_err *err);

#endif
