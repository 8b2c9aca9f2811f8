/** Where regions are kept: what the provider's operations ask of a storage engine.
 *
 * A store is shared by all workers. Bytes pass through *windows*: memory for a range of a region, which an operation
 * fills or reads. For `memory` and `pmem` the window is the region's own memory, so a transfer goes straight there; for
 * `file` it is a staging buffer. What waits is a *step*, embedded in the operation that takes it.
 *
 * Each step function returns 0 (done), CAIRN_EXTENT_LATER (step->done() will run on step->worker's loop, never inside
 * the call), or CAIRN_E_* (failed, nothing is left to undo). A step that started cannot be called back; it always ends.
 */
#ifndef CAIRN_PROVIDERS_EXTENT_STORE_H
#define CAIRN_PROVIDERS_EXTENT_STORE_H

#include "providers/extent/extent_core.h"
#include "providers/extent/extent_table.h"
#include "server/storage/file_io.h"
#include "server/storage/spare.h"
#include "server/storage/staging.h"

#include "schema/extent.pb-c.h"

#include <jansson.h>

enum { CAIRN_EXTENT_LATER = 1 };
enum cairn_extent_backend { CAIRN_EXTENT_FILE, CAIRN_EXTENT_MEMORY, CAIRN_EXTENT_PMEM };
enum cairn_extent_health { CAIRN_EXTENT_OK, CAIRN_EXTENT_DEGRADED, CAIRN_EXTENT_READONLY };
enum cairn_extent_mode {
    CAIRN_EXTENT_READ,
    CAIRN_EXTENT_FILL,   /* every byte of the window will be written */
    CAIRN_EXTENT_UPDATE, /* some will: the window starts with what is there */
    CAIRN_EXTENT_ZERO,   /* likewise, and nothing is there yet: it starts with zeros */
};

/** Filled from the configuration by extent_provider.c; every size is bytes. */
struct cairn_extent_conf {
    enum cairn_extent_backend backend;
    const char *dir;   /* "" for `memory` */
    uint64_t capacity; /* most bytes kept; 0: as much as the medium has (memory: half of the machine's) */
    uint64_t segment;  /* file */
    uint64_t staging;  /* file: of each worker */
    uint32_t queue;    /* operations of each worker that may wait for staging or space */
    uint32_t depth;    /* file: I/Os under way of each worker */
    enum cairn_file_io_kind io;
    bool direct;         /* file: O_DIRECT where the file system has it */
    bool allow_slow;     /* pmem: on an ordinary file system, too */
    uint64_t free_cache; /* memory: freed memory kept for reuse */
    uint64_t scrub_rate; /* bytes per second; 0: no scrub */
    uint64_t scrub_interval_ns;
    uint64_t draft_ttl_ns;
    uint32_t drafts_max;
    struct cairn_spare *spare; /* file: lent, nothing grows; NULL: none */
};

struct cairn_extent_store;
struct cairn_extent_store_ops;

/** A store's end in one worker. */
struct cairn_extent_worker {
    struct cairn_extent_store *store;
    struct cairn_loop *loop;
    struct cairn_timer draft_timer;
    void *own; /* the engine's */
};

struct cairn_extent_step {
    struct cairn_extent_worker *worker;
    struct cairn_extent_region *region;
    enum cairn_extent_mode mode;        /* window: as below */
    uint64_t off, len;                  /* window: @off on a chunk, @len whole chunks or to the region's end */
    uint8_t *ptr;                       /* window: its memory, from the window's success until settle() is over */
    Cairn__Wire__Durability durability; /* seal, remove */
    void (*done)(struct cairn_extent_step *step, int rc);
    void *arg;

    /* private from here: the engines' */
    struct cairn_link link;
    struct cairn_task task;
    struct cairn_job job;
    struct cairn_file_op io;
    struct cairn_staging_wait wait;
    struct cairn_staging_buf *buf;
    int rc, verb;
};

struct cairn_extent_store_ops {
    const char *name;
    uint64_t window_max; /* bytes of one window, a multiple of a chunk */
    bool immediate;      /* no step ever waits */

    /** Opens what is there and adds every sealed region to the table. Blocks. */
    int (*open)(struct cairn_extent_store *s, struct cairn_err *err);
    /** All regions are gone already. */
    void (*close)(struct cairn_extent_store *s);
    int (*worker_open)(struct cairn_extent_worker *w, struct cairn_err *err);
    void (*worker_close)(struct cairn_extent_worker *w);

    /** Space for a new region of the step. CAIRN_E_NOSPACE, CAIRN_E_BUSY. */
    int (*reserve)(struct cairn_extent_step *step);
    /** Memory for a range. CAIRN_E_BUSY, CAIRN_E_IO. */
    int (*window)(struct cairn_extent_step *step);
    /** Ends a window: with @keep what was written goes to the medium (so far only its content, not its durability). */
    int (*settle)(struct cairn_extent_step *step, bool keep);
    /** The region is whole: makes bytes and record as durable as the step says. */
    int (*seal)(struct cairn_extent_step *step);
    /** Strikes a sealed region out, as durably. Its space is reused once that is so and the last reference is put. */
    int (*remove)(struct cairn_extent_step *step);
    /** Notes for good that the region's bytes are bad. */
    int (*quarantine)(struct cairn_extent_step *step);
    /** The last reference was put: frees the region (cairn_extent_region_free) and its space, now or later. Any thread.
     */
    void (*release)(struct cairn_extent_store *s, struct cairn_extent_region *r);
    /** Work goes on that no step waits for: wait for its end before the close. May be NULL. */
    bool (*is_busy)(struct cairn_extent_store *s);
    /** Bytes in use by regions, and free as far as is known. Any thread. */
    void (*usage)(struct cairn_extent_store *s, uint64_t *used, uint64_t *free);
    /** What the engine adds to `status`. May be NULL. Any thread. */
    void (*status)(struct cairn_extent_store *s, json_t *to);
};

struct cairn_extent_store {
    const struct cairn_extent_store_ops *ops;
    struct cairn_extent_conf conf;
    struct cairn_extent_table table;
    struct cairn_pool *pool;
    struct cairn_extent_worker *workers;
    uint32_t nworkers;
    int dirfd, lock_fd; /* -1 without a directory */
    bool fresh;         /* the directory has no FORMAT: nothing was ever stored in it */
    uint64_t salt, epoch, epoch_segment;
    atomic_uint_fast64_t next_name;
    atomic_int health; /* enum cairn_extent_health; only grows */

    pthread_mutex_t drafts_mutex;
    struct cairn_link drafts; /* oldest first */
    uint32_t ndrafts;
    struct cairn_link named; /* PUTs under way of regions that another store has named; the same mutex */

    /* What operators see. */
    atomic_uint_fast64_t corrupt_found, arrived_bad, drafts_expired, scrub_regions, scrub_bytes, scrub_rounds;
};

/** Opens the store that @conf describes, on the loops of the node. Blocks. CAIRN_E_LOCKED, CAIRN_E_FORMAT,
 * CAIRN_E_CORRUPT ... */
int cairn_extent_store_open(const struct cairn_extent_conf *conf, struct cairn_pool *pool,
                            struct cairn_loop *const *loops, uint32_t nloops, struct cairn_extent_store **store,
                            struct cairn_err *err);
/** No step is under way, and no reference is left but the table's. */
void cairn_extent_store_close(struct cairn_extent_store *s);
/** Looks at the directory as an open would, changing nothing. */
int cairn_extent_store_check(const struct cairn_extent_conf *conf, struct cairn_err *err);

struct cairn_extent_worker *cairn_extent_store_worker(struct cairn_extent_store *s, const struct cairn_loop *loop);
/** A name that no region had or has; 0: the epoch is used up (4 * 10^12 names): CAIRN_E_LIMIT. */
uint64_t cairn_extent_store_new_name(struct cairn_extent_store *s);
/** Health only gets worse until the next start. */
void cairn_extent_store_worsen(struct cairn_extent_store *s, enum cairn_extent_health to);
bool cairn_extent_store_is_readonly(const struct cairn_extent_store *s);
/** Frees the memory of a region whose space is dealt with. */
void cairn_extent_region_free(struct cairn_extent_region *r);
/** For engines: step->done(step, rc) runs on the step's own loop, later. Any thread. */
void cairn_extent_step_post(struct cairn_extent_step *step, int rc);
/** For engines: likewise, from the step's own loop, at once: it is a completion already. */
static inline void cairn_extent_step_done(struct cairn_extent_step *step, int rc)
{
    step->done(step, rc);
}

/* An engine embeds struct cairn_extent_store as its first member. */
extern const struct cairn_extent_store_ops cairn_extent_store_memory, cairn_extent_store_file, cairn_extent_store_pmem;
struct cairn_extent_store *cairn_extent__memory_new(void);
struct cairn_extent_store *cairn_extent__file_new(void);
struct cairn_extent_store *cairn_extent__pmem_new(void);
/** pmem: is the directory a place where persisting is cheap? Text in @err if not. */
int cairn_extent__pmem_place(const char *dir, bool allow_slow, struct cairn_err *err);

#endif
