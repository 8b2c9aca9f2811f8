/** Drawings of state machines in comments, compared with their tables. The form is in sdk/core/sm/README.md. */
#ifndef CAIRN_TESTS_LIB_DRAWING_H
#define CAIRN_TESTS_LIB_DRAWING_H

#include "sdk/core/sm/sm.h"

enum { DRAWING_WHY_MAX = 1024 };

/** Compares @kind's table with the drawing in the comments of @text. Returns true if they agree; otherwise @why says
 * what only one of them has, or that there is no drawing. */
bool drawing_matches(const struct cairn_sm_kind *kind, const char *text, char why[DRAWING_WHY_MAX]);

/** The same for a source file and, if that has no drawing, its header. */
bool drawing_file_matches(const struct cairn_sm_kind *kind, const char *path, char why[DRAWING_WHY_MAX]);

/** The .c file below sdk, server and providers of @root that defines a kind of this name; false if there is none. */
bool drawing_find_source(const char *root, const char *kind_name, char *path, size_t len);

#endif
