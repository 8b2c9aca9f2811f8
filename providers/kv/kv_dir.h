/** The directory of a provider's databases: names to handles, and what a handle stands for.
 *
 * Handles are looked up by every operation on every worker, without a lock: an entry's facts are one atomic word. A
 * handle is a slot and a generation that grows with each creation, so the handle of a dropped database finds nothing
 * for the next million creations. Names change under a mutex, on the pool. */
#ifndef CAIRN_PROVIDERS_KV_DIR_H
#define CAIRN_PROVIDERS_KV_DIR_H

#include "cairn/limits.h"
#include "providers/kv/kv_core.h"
#include "sdk/core/base/err.h"

#include <pthread.h>
#include <stdatomic.h>

enum { CAIRN_KV_DB_BITS = 11, CAIRN_KV_DB_MAX = 1 << CAIRN_KV_DB_BITS, CAIRN_KV_GENERATION_MAX = (1 << 21) - 2 };

/** What an operation needs to know of its database. */
struct cairn_kv_db {
    uint32_t handle;
    uint16_t slot;
    uint8_t order; /* enum cairn_kv_order */
    bool write_once;
};

struct cairn_kv_db_desc {
    struct cairn_kv_db db;
    char name[CAIRN_NAME_BYTES_MAX + 1];
};

struct cairn_kv_dir_slot {
    _Atomic uint64_t word;         /* handle, order, write-once; 0: free */
    struct cairn_kv_db_desc *desc; /* under the mutex */
};

struct cairn_kv_dir {
    pthread_mutex_t mutex; /* also held across the engine's create() and drop() */
    uint32_t max, generation, next_slot;
    atomic_uint n; /* read without the mutex by status */
    struct cairn_kv_dir_slot *slots;
};

int cairn_kv_dir_init(struct cairn_kv_dir *d, uint32_t max, uint32_t generation);
void cairn_kv_dir_fini(struct cairn_kv_dir *d);

/** False if there is no such database (any more). Any thread, no lock. */
bool cairn_kv_dir_find(const struct cairn_kv_dir *d, uint32_t handle, struct cairn_kv_db *db);

/* Under d->mutex: */

/** NULL if there is none of that name; valid while the mutex is held. */
const struct cairn_kv_db_desc *cairn_kv_dir_by_name(const struct cairn_kv_dir *d, const char *name);
/** Chooses handle and slot for @desc (name, order and write_once are given) and keeps the slot for it.
 * Returns 0, CAIRN_E_LIMIT or CAIRN_E_NOMEM. Then publish() or forget(). */
int cairn_kv_dir_reserve(struct cairn_kv_dir *d, struct cairn_kv_db_desc *desc);
/** Puts in a database that the engine remembered: @desc with its handle. Returns 0, CAIRN_E_NOMEM, or CAIRN_E_CORRUPT
 * when two say they have the same slot or name. */
int cairn_kv_dir_restore(struct cairn_kv_dir *d, const struct cairn_kv_db_desc *desc);
/** Operations find the database from now on; hide(): no longer, its name and slot stay taken; forget(): both are free.
 */
void cairn_kv_dir_publish(struct cairn_kv_dir *d, const struct cairn_kv_db *db);
void cairn_kv_dir_hide(struct cairn_kv_dir *d, const struct cairn_kv_db *db);
void cairn_kv_dir_forget(struct cairn_kv_dir *d, const struct cairn_kv_db *db);

static inline uint32_t cairn_kv_handle(uint32_t generation, uint32_t slot)
{
    return generation << CAIRN_KV_DB_BITS | slot;
}

#endif
