/** A backend's own directory: one process at a time, and only data whose format we know. */
#ifndef CAIRN_SERVER_STORAGE_DATADIR_H
#define CAIRN_SERVER_STORAGE_DATADIR_H

#include "sdk/core/base/err.h"

#include <stdbool.h>
#include <stdint.h>

enum { CAIRN_STOREDIR_FRESH = 1 };

/** Locks @dir, which exists, and reads its file FORMAT: "<kind> <version>". The lock lasts until the descriptor in
 * *@fd is closed, whatever becomes of the process. Returns 0; with @create, where there is no FORMAT or one that was
 * never finished, CAIRN_STOREDIR_FRESH: the caller makes what a start looks for, and calls cairn_storedir_finish().
 * So data that are gone are told from data that were never there. Errors, each with its text:
 *
 *   CAIRN_E_LOCKED    another process, or another user in this one, has it
 *   CAIRN_E_FORMAT    data of another kind, or of a version above @version
 *   CAIRN_E_CORRUPT   FORMAT is not what we would write
 *   CAIRN_E_NOTFOUND  nothing there, without @create
 *   CAIRN_E_DENIED, CAIRN_E_NOSPACE, CAIRN_E_IO ... as the system said */
int cairn_storedir_open(const char *dir, const char *kind, uint32_t version, bool create, int *fd,
                        struct cairn_err *err);
/** Writes FORMAT, durably. All of it or nothing: CAIRN_E_NOSPACE, CAIRN_E_IO. */
int cairn_storedir_finish(int fd, const char *dir, const char *kind, uint32_t version, struct cairn_err *err);

#endif
