/** The file store from inside: what extent_store_file.c, extent_file_space.c, extent_file_grow.c and
 * extent_file_index.c share.
 *
 *      seg-00000 ...   segment files: the bytes of regions, in blocks of 4 KiB; a region lies in one piece in one of
 * them index           which region is where, with its checksums (server/storage/file_log.h)
 *
 * Order on disk, for `sync`: bytes written -> fdatasync(segment), one for all that wait -> record -> fdatasync(index)
 * -> answer. For `buffered`: bytes written -> record write()n -> answer. Whatever has no record is free space at the
 * next start: that is the recovery. A removed region's space is reused only after the record of its removal is durable,
 * so that no crash leaves an older record pointing at a younger region's bytes: until then it is in *limbo*. */
#ifndef CAIRN_PROVIDERS_EXTENT_FILE_H
#define CAIRN_PROVIDERS_EXTENT_FILE_H

#include "providers/extent/extent_space.h"
#include "providers/extent/extent_store.h"
#include "server/storage/errand.h"
#include "server/storage/file_log.h"

enum {
    FILE_BLOCK = 4096,
    FILE_SEGMENTS_MAX = 16384,
    FILE_PIECE_BYTES = 1 << 20,      /* one window: what fio needs to be at full speed here */
    FILE_GROW_BYTES_MAX = 64 << 20,  /* segments grow by this much at a time */
    FILE_GROW_DISK_PART = 16,        /* and by this part of the file system at most: others live there, too */
    FILE_LIMBO_BYTES_MAX = 64 << 20, /* more than this in limbo asks for a sync of the index */
    FILE_LANE_STEPS_MAX = 4096,
};

struct file_segment {
    int fd;
    uint64_t blocks;    /* of the file, under the space mutex */
    atomic_bool broken; /* a write or sync of it failed: nothing new goes there */
};

/* Steps that become durable together. One job at a time, on the pool; those who come meanwhile are the next group. */
struct file_lane {
    struct file_store *store;
    struct cairn_link steps; /* under the lanes' mutex, as all here */
    uint32_t n;
    bool running, sync;
    bool wanted; /* limbo is full or space is wanted: sync the index even without steps */
    struct cairn_job job;
    uint64_t groups, grouped;
};

struct file_store {
    struct cairn_extent_store base;
    uint64_t span; /* blocks of a full segment */

    pthread_mutex_t space_mutex; /* for all down to the gap */
    struct cairn_extent_space space;
    struct file_segment *segments[FILE_SEGMENTS_MAX]; /* pointers are published once and stay */
    uint32_t nsegments;
    uint64_t refused; /* blocks: the last who was told that there is no room for so many; 0: nobody since there was */
    struct cairn_link waiters; /* steps that wait for space */
    uint32_t nwaiters;
    bool growing;
    uint64_t
        starved; /* not 0: nothing to grow into; those who wait hope for limbo, until the index is durable up to here */
    struct cairn_link limbo; /* regions by their logged link, oldest first */
    uint64_t limbo_blocks, used_blocks;

    /* For all down to the gap. Held while the disk works, so a loop does not take it. May be held while another mutex
     * is taken, and not the other way round. */
    pthread_mutex_t index_mutex;
    struct cairn_file_log log;
    struct cairn_link logged;        /* regions whose record is in the log */
    uint64_t live_bytes;             /* what their records come to */
    uint64_t rewrites, rewrite_from; /* from: a failure is tried again when the log has grown to it */

    pthread_mutex_t lanes_mutex;
    struct file_lane lanes[2]; /* buffered, sync */
    char damage[160];          /* what a start found wrong, for `status` */

    struct cairn_errand looking;
    atomic_uint_fast64_t growth; /* what it found */
};

struct file_worker {
    struct cairn_file_io *io;
    struct cairn_staging staging;
};

static inline struct file_store *file_of(struct cairn_extent_store *s)
{
    return CONTAINER_OF(s, struct file_store, base);
}

enum file_verb { FILE_SEAL, FILE_REMOVE, FILE_QUARANTINE };

/* extent_file_space.c */

int file_space_open(struct file_store *f, struct cairn_err *err);
void file_space_close(struct file_store *f);
/** All recovered regions take their blocks, those that are sound first; one whose blocks are not there is quarantined.
 * CAIRN_E_NOMEM: some have not taken theirs. */
int file_space_recover(struct file_store *f, struct cairn_err *err);
/** Gives the file of segment @i, made if there is none, @n blocks from @from on, durably. Blocks; one caller at a
 * time. */
int file_segment_extend(struct file_store *f, uint32_t i, uint64_t from, uint64_t n);
void file_release(struct cairn_extent_store *s, struct cairn_extent_region *r);
/** The index is durable up to @upto: what waited in limbo for that is free. Any thread. */
void file_limbo_free(struct file_store *f, uint64_t upto);
/** The index cannot be made durable: those who hoped for limbo are told @rc. */
void file_limbo_fail(struct file_store *f, int rc);
/** Blocks that the region's bytes come to; its room, unless it lost its place. */
static inline uint64_t file_blocks_of(const struct cairn_extent_region *r)
{
    return (r->length + FILE_BLOCK - 1) / FILE_BLOCK;
}
static inline struct file_segment *file_segment_of(const struct file_store *f, const struct cairn_extent_region *r)
{
    return f->segments[r->at / f->span];
}
/** A write or a sync of the segment failed. */
void file_segment_break(struct file_store *f, struct file_segment *g, const char *doing);

/* extent_file_grow.c */

/** Ends with cairn_errand_fini(&f->looking). */
void file_look_init(struct file_store *f);
/** Bytes by which segments may still grow on this disk, for status: what a look on a thread of its own finds, or found
 * last if the disk does not answer soon. */
uint64_t file_space_growth(struct file_store *f);
/** Whether a region of @n blocks would find a place, emptied for it if need be, or grown by up to @growth bytes. Under
 * space_mutex. */
bool file_space_has(const struct file_store *f, uint64_t n, uint64_t growth);
int file_reserve(struct cairn_extent_step *step);
/** Serves those who wait for space, in order, as far as there is some; the rest fails with @rc if it is an error, or
 * goes on waiting. Under space_mutex. */
void file_waiters_serve(struct file_store *f, int rc);

/* extent_file_index.c */

int file_index_open(struct file_store *f, struct cairn_err *err);
void file_index_close(struct file_store *f);
/** At the end, when nobody has a reference any more: frees the regions that are in the index. */
void file_index_forget(struct file_store *f);
/** At the start, alone: notes for good that @r is quarantined. */
int file_index_note_bad(struct file_store *f, const struct cairn_extent_region *r);
/** Takes a step of verb @verb into the lane for its durability. */
int file_commit(struct cairn_extent_step *step, enum file_verb verb);
/** Asks for a sync of the index, so that limbo empties. Any thread; not under a mutex of the store. */
void file_index_want_sync(struct file_store *f);
/** True while a lane's job runs. */
bool file_index_is_busy(struct file_store *f);

#endif
