/** Regions that are not sealed yet: who may write where, and what becomes of those that nobody finishes.
 *
 * A draft lives in memory only: its space is reserved, its name is known to its maker, and a crash forgets it. WRITEs
 * of different chunks run side by side; one that touches a chunk another is writing waits for it, since two halves of a
 * chunk share a checksum. A WRITE that failed leaves a *hole*: the region cannot be sealed until the same range was
 * written. */
#ifndef CAIRN_PROVIDERS_EXTENT_DRAFT_H
#define CAIRN_PROVIDERS_EXTENT_DRAFT_H

#include "providers/extent/extent_store.h"

enum { CAIRN_EXTENT_HOLES_MAX = 16 };

/** Of a chunk. */
enum { CAIRN_EXTENT_CHUNK_HERE = 1, CAIRN_EXTENT_CHUNK_BUSY = 2 };

struct cairn_extent_draft {
    struct cairn_link link; /* of the store's drafts, oldest first */
    struct cairn_extent_region *region;
    uid_t maker;
    uint64_t born_ns;
    atomic_uint writers; /* WRITEs under way; changed under the mutex, and looked at by the WRITEs' invariant without */
    bool sealing;
    bool spoiled; /* more failed WRITEs than can be remembered: it can only be removed */
    uint32_t nholes;
    struct {
        uint64_t off, len;
    } holes[CAIRN_EXTENT_HOLES_MAX];
    struct cairn_link waiters;
    uint8_t chunks[]; /* CAIRN_EXTENT_CHUNK_*; those of a BUSY chunk belong to its writer */
};

/** A WRITE that waits; again() runs on its loop when it may try once more. */
struct cairn_extent_draft_wait {
    struct cairn_link link;
    struct cairn_task task; /* fn and arg are the waiter's */
    struct cairn_loop *loop;
};

/** Makes @r, which has its space, a draft and adds it to the table, which takes the caller's reference. CAIRN_E_LIMIT:
 * there are too many, and @r is as it was. */
int cairn_extent_draft_start(struct cairn_extent_worker *w, struct cairn_extent_region *r, uid_t maker);

/** Claims the chunks of a range. CAIRN_EXTENT_LATER: @wait->task will run, then try again. CAIRN_E_STATE: sealed or
 * being sealed; CAIRN_E_DENIED: @who did not make it. */
int cairn_extent_draft_write_begin(struct cairn_extent_region *r, uid_t who, bool admin, uint64_t off, uint64_t len,
                                   struct cairn_extent_draft_wait *wait);
/** Ends the claim; @rc tells whether the range is written now. */
void cairn_extent_draft_write_end(struct cairn_extent_region *r, uint64_t off, uint64_t len, int rc);

/** From here on nobody writes. CAIRN_E_STATE: WRITEs are under way, or a failed one was not repeated (@err says which).
 */
int cairn_extent_draft_seal_begin(struct cairn_extent_region *r, uid_t who, bool admin, struct cairn_err *err);
/** @rc 0: it is sealed, no draft any more; otherwise it is a draft again. */
void cairn_extent_draft_seal_end(struct cairn_extent_region *r, int rc);

/** Takes it out of store and table, for removal; the table's reference becomes the caller's. CAIRN_E_STATE: in use. */
int cairn_extent_draft_drop(struct cairn_extent_region *r);
/** Drops what is older than the limit and not in use. */
void cairn_extent_draft_expire(struct cairn_extent_store *s, uint64_t now_ns);
void cairn_extent__on_draft_timer(void *arg);

#endif
