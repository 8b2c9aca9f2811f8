/** All regions of a provider, by name; shared by the workers.
 *
 * Names are spread evenly (extent_core.h), so their leading bits serve as the hash, and walking the buckets in order is
 * walking the names in order: one structure for look-up and for listing. 64 shards, each with its own mutex, held for
 * nanoseconds; a shard doubles by itself, so that no growth stops everybody. Those in quarantine are in a second set
 * of the same kind, so that they are listed without a look at all the others. */
#ifndef CAIRN_PROVIDERS_EXTENT_TABLE_H
#define CAIRN_PROVIDERS_EXTENT_TABLE_H

#include "sdk/core/base/list.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/types.h>

struct cairn_extent_store;
struct cairn_extent_region;

struct cairn_extent_draft; /* extent_draft.h */

enum { CAIRN_EXTENT_ALL, CAIRN_EXTENT_BAD, CAIRN_EXTENT_SETS };

struct cairn_extent_region {
    struct cairn_extent_region *next[CAIRN_EXTENT_SETS]; /* in its bucket */
    struct cairn_extent_store *store;
    uint64_t id, length;
    uint64_t owner;   /* as its maker named it; 0: nobody */
    atomic_uint refs; /* one is the table's (or of the operation that makes it); readers have one each */
    atomic_bool sealed, quarantined;
    atomic_bool striking;             /* a REMOVE has it in hand */
    bool listed;                      /* in the table; under the shard's mutex */
    struct cairn_extent_draft *draft; /* NULL once sealed */

    /* The store's. */
    uint64_t at, room;        /* file, pmem: first block and number of blocks; memory: room is bytes */
    void *mem;                /* memory, pmem: where the bytes are */
    void *own;                /* pmem: its record in the pool */
    struct cairn_link logged; /* file: regions with a record in the index; later those in limbo */
    atomic_bool recorded;     /* file: the index names it */
    uint64_t stamp;           /* file, limbo: the index must be durable up to here */

    bool unread; /* the scrub's: in its last round it could not be read */

    uint32_t nchunks;
    uint32_t crcs[]; /* one per chunk; constant once sealed */
};

enum { CAIRN_EXTENT_SHARDS = 64 };

struct cairn_extent_table {
    struct cairn_extent_shard {
        pthread_mutex_t mutex;
        struct cairn_extent_set {
            struct cairn_extent_region **buckets; /* 1 << bits of them */
            uint32_t bits, n, which;
        } sets[CAIRN_EXTENT_SETS];
    } shards[CAIRN_EXTENT_SHARDS];
    atomic_uint_fast64_t regions, bytes, quarantined; /* sealed ones only */
};

int cairn_extent_table_init(struct cairn_extent_table *t);
/** Puts every region that is there. */
void cairn_extent_table_clear(struct cairn_extent_table *t);
/** Likewise, and ends it. */
void cairn_extent_table_fini(struct cairn_extent_table *t);

/** A region of @length bytes, in no table, with one reference: the caller's. NULL: no memory. */
struct cairn_extent_region *cairn_extent_region_new(struct cairn_extent_store *store, uint64_t id, uint64_t length,
                                                    uint64_t owner);
void cairn_extent_region_get(struct cairn_extent_region *r);
/** The last one gives the space back to the store and frees the region. Any thread. */
void cairn_extent_region_put(struct cairn_extent_region *r);

/** Makes @r findable; the caller's reference becomes the table's. False if the name is there already. */
bool cairn_extent_table_add(struct cairn_extent_table *t, struct cairn_extent_region *r);
/** With a reference for the caller; NULL if there is none. */
struct cairn_extent_region *cairn_extent_table_find(struct cairn_extent_table *t, uint64_t id);
/** Takes @r out; the table's reference becomes the caller's. False if somebody else did so before. */
bool cairn_extent_table_del(struct cairn_extent_table *t, struct cairn_extent_region *r);

/** A draft becomes a region that can be read, and is counted. */
void cairn_extent_table_seal(struct cairn_extent_table *t, struct cairn_extent_region *r);
/** Marks it; true if it was not marked before. */
bool cairn_extent_table_quarantine(struct cairn_extent_table *t, struct cairn_extent_region *r);

/** Which regions a listing shows: sealed ones with a name above @after. */
struct cairn_extent_filter {
    uint64_t after;
    uint64_t owner;   /* 0: any */
    bool quarantined; /* only those */
};

/** Up to @max regions in order of name; returns how many, and in *@more whether others may follow: above *@after,
 * which may be beyond the last of them, as it looks at a bounded number of regions with other owners. @lengths,
 * @owners and @after may be NULL. */
uint32_t cairn_extent_table_list(struct cairn_extent_table *t, const struct cairn_extent_filter *filter, uint64_t *ids,
                                 uint64_t *lengths, uint64_t *owners, uint32_t max, bool *more, uint64_t *after);
/** The first region above *@after that can be checked (sealed, with bytes, not in quarantine), with a reference. It
 * looks at *@places places at most, and counts them down; NULL: it came to *@after, from where to go on, without
 * finding one. UINT64_MAX there is the end. */
struct cairn_extent_region *cairn_extent_table_next(struct cairn_extent_table *t, uint64_t *after, uint32_t *places);

#endif
