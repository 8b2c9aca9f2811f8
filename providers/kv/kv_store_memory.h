/* The memory store's inside: kv_store_memory.c, and kv_store_memory_apply.c for batches over several databases. */
#ifndef CAIRN_PROVIDERS_KV_STORE_MEMORY_H
#define CAIRN_PROVIDERS_KV_STORE_MEMORY_H

#include "providers/kv/kv_store.h"
#include "providers/kv/kv_tree.h"

struct mem_db {
    pthread_rwlock_t lock;
    uint32_t handle; /* under lock; 0: none */
    struct cairn_kv_tree tree;
};

struct cairn_kv_store {
    struct cairn_kv_slabs slabs;
    atomic_ullong refused; /* writes for want of space */
    atomic_bool has_log;   /* some were entries of a log, which have room that new data does not get */
    struct mem_db *_Atomic dbs[CAIRN_KV_DB_MAX];
};

static inline struct mem_db *cairn_kv__mem_db(struct cairn_kv_store *st, const struct cairn_kv_db *db)
{
    return atomic_load_explicit(&st->dbs[db->slot], memory_order_acquire);
}

/* New data is refused, with @coming bytes of a log to be stored before. */
bool cairn_kv__mem_refuses(struct cairn_kv_store *st, uint64_t coming);
/* For writing. Who locks several does it in the order of their slots. */
void cairn_kv__mem_lock(struct mem_db *db);

/* NULL when there is no room. */
struct cairn_kv_rec *cairn_kv__mem_rec_new(struct cairn_kv_store *st, const struct cairn_kv_key *key,
                                           const uint8_t *value, uint32_t len);
void cairn_kv__mem_rec_free(struct cairn_kv_store *st, struct cairn_kv_rec *rec);

/* A write with @entries: all of it or nothing. */
int cairn_kv__mem_apply(struct cairn_kv_store *st, struct cairn_kv_write *w);

#endif
