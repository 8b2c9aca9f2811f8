/** Bytes on their way between a caller and a range of a region: what PUT, WRITE, READ and verifying have in common.
 *
 * A range is moved in pieces, several at a time, each through one window of the store. Bytes come from a payload or are
 * pulled from the caller's memory; they go into a buffer, are pushed into the caller's memory, or nowhere (a
 * verification). Checksums are compared, or computed, while the bytes are in the cache. */
#ifndef CAIRN_PROVIDERS_EXTENT_MOVE_H
#define CAIRN_PROVIDERS_EXTENT_MOVE_H

#include "providers/extent/extent_store.h"
#include "sdk/core/bulk/bulk.h"

enum {
    CAIRN_EXTENT_PIECES_MAX = 4,          /* of one range under way */
    CAIRN_EXTENT_CHECKED_BYTES = 1 << 20, /* a piece whose bytes the loop itself goes through */
    CAIRN_EXTENT_TURN_BYTES = 4 << 20,    /* so many bytes without a wait, then others have their turn */
};

struct cairn_extent_move;

/** One piece. */
struct cairn_extent_piece {
    struct cairn_sm sm;
    struct cairn_extent_move *move;
    uint64_t off, len; /* of the region */
    bool whole;        /* it consists of whole chunks */
    bool window;       /* the store lends its memory */
    bool moving;       /* a bulk transfer is under way */
    struct cairn_extent_check check;
    struct cairn_extent_step step;
    struct cairn_bulk_op bulk;
};

/** Held by the operation. Zero it, fill the first part, start it. */
struct cairn_extent_move {
    struct cairn_extent_worker *worker;
    struct cairn_extent_region *region; /* the operation keeps a reference */
    uint64_t off, len;                  /* len > 0 */
    bool write;
    const uint8_t *chunks; /* write: CAIRN_EXTENT_CHUNK_HERE of each chunk; NULL: none is there yet, and all will be */
    const uint32_t *want;  /* write: cairn_extent_chunks(len) checksums, counted from @off */
    uint32_t *crcs;        /* read: takes cairn_extent_parts(off, len) checksums; may be NULL */
    bool verify;           /* read: compare with the stored checksums first */

    struct cairn_rpc_req *rq;          /* whose payload, memory and deadline; NULL: a verification of our own */
    const Cairn__Wire__BulkDesc *desc; /* NULL: the payload (write), or @out (read), or nowhere */
    uint8_t *out;
    uint32_t parent; /* machine that this one serves */

    /** rc: 0; CAIRN_E_CORRUPT: write: checksums differ on arrival, nothing is to be kept; read: the stored bytes are
     * bad; otherwise what store or transfer said. Runs once, later, with nothing under way any more. */
    void (*done)(struct cairn_extent_move *m, int rc);
    void *arg;

    /* private from here */
    uint64_t next, end, turn_bytes;
    uint32_t inflight, npieces;
    bool in_order; /* checksums are counted from an odd offset, so pieces share them: one at a time */
    bool pumping;
    int rc;
    struct cairn_extent_check check; /* in_order */
    struct cairn_task again;
    struct cairn_extent_piece pieces[CAIRN_EXTENT_PIECES_MAX];
};

extern const struct cairn_sm_kind cairn_extent_piece_kind;

/** Returns 0 (all done), CAIRN_EXTENT_LATER (done() will run) or CAIRN_E_*. */
int cairn_extent_move_start(struct cairn_extent_move *m);
/** done() comes soon, with CAIRN_E_CANCELED unless it was over. */
void cairn_extent_move_cancel(struct cairn_extent_move *m);

#endif
