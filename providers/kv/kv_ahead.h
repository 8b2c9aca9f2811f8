/** Batches that skip the log run ahead of the engine: they wait in memory, and go there many at a time.
 *
 * Nothing depends on when the engine gets what skips the log, as long as it gets the batches in order and whole. So a
 * loop puts a batch here, without a wait and without another thread; a later value of a key takes the place of the
 * earlier one; and the engine, for which each record is a search in a large index, gets what is left as one batch, in
 * the order of its keys.
 *
 *   loops: put() --> young --(full)--> old --> the engine
 *
 * Reads look here first: both parts are searched under one lock, and a row, which never changes, stays while somebody
 * has it. Whoever wants the engine to have all (a view, a flush, a write that is to come behind) takes it there. */
#ifndef CAIRN_PROVIDERS_KV_AHEAD_H
#define CAIRN_PROVIDERS_KV_AHEAD_H

#include "providers/kv/kv_store.h"
#include "server/storage/rocks.h"

#include <pthread.h>
#include <stdatomic.h>

enum {
    KV_AHEAD_PARTS = 2,    /* young and old */
    KV_AHEAD_DBS_MAX = 16, /* that a part knows one by one; of more it says that any may be there */
};

/** What a key, in full, has: the value behind it. */
struct kv_ahead_row {
    atomic_uint refs;
    uint32_t hash, klen;
    int64_t len;               /* -1: erased */
    struct kv_ahead_row *next; /* of its batch, until it is put */
    uint8_t key[];
};

struct kv_ahead_part {
    struct kv_ahead_row **table; /* by hash, open addressing */
    uint32_t n, room;            /* room: a power of two, twice n at least */
    size_t bytes;
    uint32_t dbs[KV_AHEAD_DBS_MAX], ndbs; /* handles; ndbs above KV_AHEAD_DBS_MAX: any */
};

struct kv_ahead {
    pthread_mutex_t mutex;
    size_t bytes_max; /* of a part */
    uint64_t seed;
    struct kv_ahead_part young, old; /* under mutex, as what follows; old changes by take() and gone() alone once it
                                        has rows */
    bool closed;                     /* nothing is put: somebody decides by what the engine has */
    bool stuck;                      /* likewise: the engine did not take the old part */
    atomic_uint n;                   /* rows of both, for who may see without the lock that there are none */
};

void kv_ahead_init(struct kv_ahead *a, size_t bytes_max, uint64_t seed);
void kv_ahead_fini(struct kv_ahead *a);

/** A batch over several databases, without conditions. 0: all of it is here. CAIRN_KV_GONE: one of its databases is
 * not there. CAIRN_KV_LATER: it is to go to the engine, behind what is here. *@full: what is old is to go there. */
int kv_ahead_put(struct kv_ahead *a, const struct cairn_kv_dir *dir, const struct cairn_kv_write *w, bool *full);

/** The newest row of a key in full, for kv_ahead_drop(); NULL: what the engine has is the newest. */
struct kv_ahead_row *kv_ahead_find(struct kv_ahead *a, const uint8_t *key, uint32_t klen);
void kv_ahead_drop(struct kv_ahead_row *row);
/** Whether rows of that database may be here. */
bool kv_ahead_has(struct kv_ahead *a, uint32_t db);

/** The newest rows of lo <= key < hi, in order or in reverse, each to be dropped, and the array freed. *@n 0: there are
 * none. NULL with another *@n: no memory. *@view: the engine at the same moment, for what the rows lie over; NULL: no
 * memory. Waits for nothing that is on its way to the engine: until gone() the rows of it are here, and nothing comes
 * behind them. */
struct kv_ahead_row **kv_ahead_range(struct kv_ahead *a, const struct cairn_rocks_scan *range,
                                     struct cairn_rocks *engine, struct cairn_rocks_snapshot **view, uint32_t *n);

/** Bytes of what is here, and whether the engine did not take it when it was last asked. */
void kv_ahead_look(struct kv_ahead *a, size_t *bytes, bool *stuck);

/** Whether put() says CAIRN_KV_LATER from now on. */
void kv_ahead_close(struct kv_ahead *a, bool closed);

/* ---- to the engine, by one thread at a time ---- */

/** What goes next, in the order of its keys; it stays here until kv_ahead_gone(). What is young becomes old if it is to
 * go as well, @all. *@n 0: there is nothing. NULL with another *@n: no memory. */
struct kv_ahead_row **kv_ahead_take(struct kv_ahead *a, bool all, uint32_t *n);
/** The engine has it; or, with @rc, it does not, and put() says CAIRN_KV_LATER until it does. Frees @rows. */
void kv_ahead_gone(struct kv_ahead *a, struct kv_ahead_row **rows, int rc);

#endif
