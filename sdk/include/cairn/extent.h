/** Extents: regions of bytes of one extent provider, written once, sealed, then read. For administrators and programs
 * that compose their own services.
 *
 * Bytes up to CAIRN_BULK_THRESHOLD_BYTES travel with the request; the server moves larger buffers by itself, straight
 * from and into the caller's memory. Checksums are computed here before a write and compared here after a read, as
 * hashed.h describes.
 *
 * Besides the errors of cairn.h every call may give
 *   CAIRN_E_NOPROVIDER  the node has no extent provider of that name
 *   CAIRN_E_NOTFOUND    there is no such region
 *   CAIRN_E_DENIED      only administrators may use providers
 *   CAIRN_E_CORRUPT     stored bytes do not match their checksums, or the region is in quarantine for that
 *   CAIRN_E_NOSPACE, CAIRN_E_IO   the storage is full, or failed */
#ifndef CAIRN_EXTENT_H
#define CAIRN_EXTENT_H

#include "cairn/cairn.h"

#ifdef __cplusplus
extern "C" {
#endif

/** An extent provider of a node; for several threads. */
struct cairn_extents;

/** Finds provider @provider ("extent0"). */
CAIRN_API int cairn_extents_open(struct cairn *c, const char *provider, struct cairn_extents **out,
                                 const struct cairn_call_options *o);
CAIRN_API int cairn_extents_open_async(struct cairn *c, const char *provider, struct cairn_extents **out,
                                       const struct cairn_call_options *o, cairn_done_fn *done, void *arg);
/** Calls in flight go on. NULL does nothing. */
CAIRN_API void cairn_extents_close(struct cairn_extents *x);

/** Reserves a region of @length bytes (1 to CAIRN_EXTENT_BYTES_MAX). Nobody else sees it, and a crash of the server
 * gives it back, until cairn_extent_persist(). */
CAIRN_API int cairn_extent_create(struct cairn_extents *x, uint64_t length, uint64_t *id,
                                  const struct cairn_call_options *o);
CAIRN_API int cairn_extent_create_async(struct cairn_extents *x, uint64_t length, uint64_t *id,
                                        const struct cairn_call_options *o, cairn_done_fn *done, void *arg);

/** Writes @len bytes at @off of a region that is not sealed. CAIRN_E_STATE: it is. CAIRN_E_INVAL: beyond its end. */
CAIRN_API int cairn_extent_write(struct cairn_extents *x, uint64_t id, uint64_t off, const void *data, size_t len,
                                 const struct cairn_call_options *o);
CAIRN_API int cairn_extent_write_async(struct cairn_extents *x, uint64_t id, uint64_t off, const void *data, size_t len,
                                       const struct cairn_call_options *o, cairn_done_fn *done, void *arg);

/** Seals the region: it is visible, and as durable as options->durability says, when this succeeds. */
CAIRN_API int cairn_extent_persist(struct cairn_extents *x, uint64_t id, const struct cairn_call_options *o);
CAIRN_API int cairn_extent_persist_async(struct cairn_extents *x, uint64_t id, const struct cairn_call_options *o,
                                         cairn_done_fn *done, void *arg);

/** Create, write and persist in one round trip. */
CAIRN_API int cairn_extent_put(struct cairn_extents *x, const void *data, size_t len, uint64_t *id,
                               const struct cairn_call_options *o);
CAIRN_API int cairn_extent_put_async(struct cairn_extents *x, const void *data, size_t len, uint64_t *id,
                                     const struct cairn_call_options *o, cairn_done_fn *done, void *arg);

/** Up to @room bytes from @off; *@len becomes the bytes read, short only at the end of the region.
 *   CAIRN_E_CORRUPT  @buf may hold some of the bytes */
CAIRN_API int cairn_extent_read(struct cairn_extents *x, uint64_t id, uint64_t off, void *buf, size_t room, size_t *len,
                                const struct cairn_call_options *o);
CAIRN_API int cairn_extent_read_async(struct cairn_extents *x, uint64_t id, uint64_t off, void *buf, size_t room,
                                      size_t *len, const struct cairn_call_options *o, cairn_done_fn *done, void *arg);

/** Set size before the call: only what fits is written. */
struct cairn_extent_stat {
    size_t size;
    uint64_t length;
    bool sealed, quarantined;
};
#define CAIRN_EXTENT_STAT_INIT CAIRN_STRUCT_INIT(struct cairn_extent_stat)
CAIRN_API int cairn_extent_stat(struct cairn_extents *x, uint64_t id, struct cairn_extent_stat *stat,
                                const struct cairn_call_options *o);
CAIRN_API int cairn_extent_stat_async(struct cairn_extents *x, uint64_t id, struct cairn_extent_stat *stat,
                                      const struct cairn_call_options *o, cairn_done_fn *done, void *arg);

/** Removes up to CAIRN_BATCH_MAX regions, as durably as options->durability says: with less than SYNC a power loss may
 * bring one back, whole. status[i] (@status may be NULL) tells of each; the call gives the first error. */
CAIRN_API int cairn_extent_remove(struct cairn_extents *x, const uint64_t *ids, size_t n, int *status,
                                  const struct cairn_call_options *o);
CAIRN_API int cairn_extent_remove_async(struct cairn_extents *x, const uint64_t *ids, size_t n, int *status,
                                        const struct cairn_call_options *o, cairn_done_fn *done, void *arg);

struct cairn_extent_info {
    uint64_t id, length;
};
/** One block: cairn_free(). */
struct cairn_extent_page {
    size_t n;
    bool more; /* go on after regions[n - 1].id */
    struct cairn_extent_info *regions;
};
/** Sealed regions with ids above @after (0: from the first), ascending, at most @max (0: as many as a page holds); only
 * those in quarantine if @quarantined. */
CAIRN_API int cairn_extent_list(struct cairn_extents *x, uint64_t after, uint32_t max, bool quarantined,
                                struct cairn_extent_page **page, const struct cairn_call_options *o);
CAIRN_API int cairn_extent_list_async(struct cairn_extents *x, uint64_t after, uint32_t max, bool quarantined,
                                      struct cairn_extent_page **page, const struct cairn_call_options *o,
                                      cairn_done_fn *done, void *arg);

/** One block: cairn_free(). */
struct cairn_extent_scrub {
    uint64_t regions_checked, bytes_checked, rounds; /* by the background scrub since the node started */
    size_t nquarantined;
    uint64_t *quarantined;
};
/** Verifies region @id now (CAIRN_E_CORRUPT: it goes into quarantine), or with 0 only tells of the background scrub. */
CAIRN_API int cairn_extent_scrub(struct cairn_extents *x, uint64_t id, struct cairn_extent_scrub **report,
                                 const struct cairn_call_options *o);
CAIRN_API int cairn_extent_scrub_async(struct cairn_extents *x, uint64_t id, struct cairn_extent_scrub **report,
                                       const struct cairn_call_options *o, cairn_done_fn *done, void *arg);

#ifdef __cplusplus
}
#endif
#endif
