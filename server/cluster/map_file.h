/** The file of a `local` map store: replaced as a whole, never rewritten. Calls block. */
#ifndef CAIRN_SERVER_CLUSTER_MAP_FILE_H
#define CAIRN_SERVER_CLUSTER_MAP_FILE_H

#include "server/cluster/map_table.h"

#include <limits.h>

struct cairn_map_file {
    char path[PATH_MAX], fresh_path[PATH_MAX], dir[PATH_MAX]; /* path[0] == 0: nothing is written */
};

/** @dir/map; @dir "" for none. CAIRN_E_INVAL: the path is too long. */
int cairn_map_file_init(struct cairn_map_file *f, const char *dir, struct cairn_err *err);
/** All entries into @t (zeroed; the caller's to end in every case). A file that is not there is an empty one of revision
 * 0. CAIRN_E_FORMAT, CAIRN_E_CORRUPT, CAIRN_E_IO ... */
int cairn_map_file_load(const struct cairn_map_file *f, struct cairn_map_table *t, uint64_t *revision,
                        struct cairn_err *err);
/** Durable when it returns 0. Entries with a lease are left out: theirs end with the process. CAIRN_E_UNKNOWN: it may
 * be what the next start finds. */
int cairn_map_file_store(const struct cairn_map_file *f, const struct cairn_map_table *t, uint64_t revision,
                         struct cairn_err *err);

#endif
