/** The bytes of a session table as of one position: part of a checkpoint, and of a copy to another node. Pure; input is
 * hostile (it comes from a disk or from another node). */
#ifndef CAIRN_SERVER_CLUSTER_REPL_SESSIONS_IMAGE_H
#define CAIRN_SERVER_CLUSTER_REPL_SESSIONS_IMAGE_H

#include "server/cluster/repl/sessions.h"

/*  offset  size
 *       0     4  format version
 *       4     4  CRC32C of all that follows
 *       8     8  position: what entries up to here did is in the table, what later ones did is not
 *      16     4  number of sessions, by ascending id
 *      20        sessions: epoch 8, pos 8, floor 8, number of writes 4,
 *                          writes by ascending number: number 8, pos 8, result 4
 * Numbers are little-endian. */
enum {
    CAIRN_SESSIONS_IMAGE_VERSION = 1,
    CAIRN_SESSIONS_IMAGE_HEADER_BYTES = 20,
    CAIRN_SESSIONS_IMAGE_SESSION_BYTES = 28,
    CAIRN_SESSIONS_IMAGE_WRITE_BYTES = 20,
    CAIRN_SESSIONS_IMAGE_BYTES_MAX = CAIRN_SESSIONS_IMAGE_HEADER_BYTES +
                                     CAIRN_SESSIONS_MAX * (CAIRN_SESSIONS_IMAGE_SESSION_BYTES +
                                                           CAIRN_SESSION_WRITES_MAX * CAIRN_SESSIONS_IMAGE_WRITE_BYTES),
};

/** How much cairn_sessions_image_put() writes. */
size_t cairn_sessions_image_bytes(const struct cairn_sessions *t, uint64_t pos);
/** The table as entries up to @pos made it; all of them are applied. @len: cairn_sessions_image_bytes(). */
void cairn_sessions_image_put(const struct cairn_sessions *t, uint64_t pos, uint8_t *to, size_t len);
/** Fills an empty table from an image of position @pos. CAIRN_E_CORRUPT, CAIRN_E_FORMAT, CAIRN_E_NOMEM: it stays
 * empty. */
int cairn_sessions_image_get(struct cairn_sessions *t, uint64_t pos, const uint8_t *image, size_t len);

#endif
