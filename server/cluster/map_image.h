/** The bytes of a `local` map store: header, entries, checksums. Input is hostile (it comes from a disk). */
#ifndef CAIRN_SERVER_CLUSTER_MAP_IMAGE_H
#define CAIRN_SERVER_CLUSTER_MAP_IMAGE_H

#include "sdk/core/base/le.h"
#include "server/cluster/map_file.h"
#include "server/cluster/map_table.h"

/*  offset  size
 *       0     8  "CAIRNMAP"
 *       8     4  format version
 *      12     4  number of entries
 *      16     8  revision of the store
 *      24     8  bytes of all entries
 *      32     4  CRC32C of the entries
 *      36     4  CRC32C of the 36 bytes before
 *      40        entries: created 8, changed 8, key length 4, value length 4, key, value
 * Numbers are little-endian. */
enum { CAIRN_MAP_IMAGE_VERSION = 1, CAIRN_MAP_IMAGE_HEADER_BYTES = 40 };

struct cairn_map_image_info {
    uint64_t revision;
    uint32_t entries;
};

/** Writes one entry, of cairn_map_entry_bytes(). */
void cairn_map_image_put_entry(struct cairn_le_writer *to, const struct cairn_map_entry *e);
/** Writes the header of an image whose @body_len bytes of entries follow it. */
void cairn_map_image_put_header(uint8_t *image, const struct cairn_map_image_info *info, size_t body_len);

/** Checks the whole image and hands out its entries; entry->key is not terminated by a zero in the image, so a copy is
 * made for each call of @fn, which returns 0 to go on. Keys must ascend. CAIRN_E_CORRUPT, CAIRN_E_FORMAT, or what @fn
 * returned. */
int cairn_map_image_read(const uint8_t *image, size_t len, struct cairn_map_image_info *info,
                         int (*fn)(const struct cairn_map_entry *e, void *arg), void *arg, struct cairn_err *err);

/** The table of the image in @f, empty and of revision 0 if there is no file; @t, zeroed, is the caller's to end in
 * every case. Changes nothing, so it may be called while a node runs. Blocks. */
int cairn_map_image_load(const struct cairn_map_file *f, struct cairn_map_table *t, uint64_t *revision,
                         struct cairn_err *err);
/** Replaces the image in @f by that of @t, durably. Entries with a lease are left out: theirs end with the process.
 * CAIRN_E_UNKNOWN as cairn_map_file_replace(). Blocks. */
int cairn_map_image_store(const struct cairn_map_file *f, const struct cairn_map_table *t, uint64_t revision,
                          struct cairn_err *err);

#endif
