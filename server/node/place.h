/** Whether something could be made at a place of the file system. Modes and owners do not tell (a read-only mount, a
 * quota, a server that maps root to nobody, /proc), so a directory is made there and removed again. */
#ifndef CAIRN_NODE_PLACE_H
#define CAIRN_NODE_PLACE_H

#include "sdk/core/base/err.h"

#include <stdbool.h>

/** Whether @path is a directory that takes new entries, or would become one: if it is missing, the directory it would
 * be made in must take it; with @parents, that one may be missing too. Texts begin with @what and @path.
 * CAIRN_E_INVAL: it, or what is above it, is no directory; else what belongs to errno. */
int cairn_place_check_dir(const char *path, bool parents, const char *what, struct cairn_err *err);
/** The same for the directory of a file at @path that is missing. */
int cairn_place_check_file(const char *path, const char *what, struct cairn_err *err);

#endif
