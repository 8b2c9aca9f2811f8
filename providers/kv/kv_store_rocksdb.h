/* The RocksDB store's inside: kv_store_rocksdb.c (its life, its databases), kv_store_rocksdb_read.c,
 * kv_store_rocksdb_write.c (group commit) and kv_store_rocksdb_ahead.c (what does not wait for it). */
#ifndef CAIRN_PROVIDERS_KV_STORE_ROCKSDB_H
#define CAIRN_PROVIDERS_KV_STORE_ROCKSDB_H

#include "providers/kv/kv_ahead.h"
#include "providers/kv/kv_store.h"
#include "server/storage/commit.h"
#include "server/storage/errand.h"
#include "server/storage/rocks.h"

enum { KV_DB_PREFIX_BYTES = 4, KV_FULL_KEY_BYTES = KV_DB_PREFIX_BYTES + CAIRN_KV_BOUND_BYTES };

/* A key as the engine has it: the database's handle, most significant byte first, then the stored form. */
struct cairn_kv__full_key {
    uint32_t len;
    uint8_t bytes[KV_FULL_KEY_BYTES];
};

struct touched; /* kv_store_rocksdb_write.c */

struct cairn_kv_store {
    struct cairn_rocks *rocks;
    struct cairn_kv_dir *dir;
    struct cairn_commit *commit;
    struct cairn_spare *spare;   /* NULL: none */
    struct cairn_errand reclaim; /* on a full disk: what was erased gives back its room */
    int lock_fd;
    struct kv_ahead ahead;
    struct cairn_errand settle; /* what is old of it goes to the engine */
    /* Held while a group is looked at and written, so that what is dropped stays empty, and while what ran ahead is
     * written; the rest is the committer's. */
    pthread_mutex_t applying;
    struct cairn_rocks_batch *batch; /* under applying, empty between */
    struct touched *touched;
    uint32_t touched_room;
    uint64_t hash_seed;
};

void cairn_kv__full_key_make(const struct cairn_kv_db *db, const ProtobufCBinaryData *key,
                             struct cairn_kv__full_key *full);
void cairn_kv__full_key_bound(const struct cairn_kv_db *db, const uint8_t *stored, uint32_t len,
                              struct cairn_kv__full_key *full);
/* The first key behind all of the database. */
void cairn_kv__full_key_end(const struct cairn_kv_db *db, struct cairn_kv__full_key *full);

/* For struct cairn_kv_store_ops. */
int cairn_kv__rocksdb_read(struct cairn_kv_store *st, const struct cairn_kv_read *rd);
int cairn_kv__rocksdb_scan(struct cairn_kv_store *st, struct cairn_kv_scan *scan);
int cairn_kv__rocksdb_usage(struct cairn_kv_store *st, const struct cairn_kv_db *db, struct cairn_kv_usage *out);
int cairn_kv__rocksdb_write(struct cairn_kv_store *st, struct cairn_kv_write *w);
/* Writes a batch that frees room: on a full disk with the spare room, once the engine has seen it. */
int cairn_kv__rocksdb_write_freeing(struct cairn_kv_store *st, struct cairn_rocks_batch *b, enum cairn_rocks_log log);
/* Writes one that is in logs, behind which removals come: with the spare room where there is no other. */
int cairn_kv__rocksdb_write_decided(struct cairn_kv_store *st, struct cairn_rocks_batch *b, enum cairn_rocks_log log);
/* All that runs ahead goes to the engine. May block. @freeing: as write_freeing() writes, which removals do anyway. */
int cairn_kv__rocksdb_settle(struct cairn_kv_store *st, bool freeing);
/* Likewise, under st->applying and before a removal. */
int cairn_kv__rocksdb_settle_freeing(struct cairn_kv_store *st);
void cairn_kv__rocksdb_settle_old(void *store);
/* Whether what runs ahead has to be with the engine before it gets @w. */
bool cairn_kv__rocksdb_comes_behind(struct cairn_kv_store *st, const struct cairn_kv_write *w, bool conditional);
/* Under st->applying: it is there, or why not; and nothing runs ahead until the end. */
int cairn_kv__rocksdb_begin_behind(struct cairn_kv_store *st, bool freeing);
void cairn_kv__rocksdb_end_behind(struct cairn_kv_store *st);
/* cairn_rocks_scan(), of now, with what runs ahead among it. */
int cairn_kv__rocksdb_scan_both(struct cairn_kv_store *st, struct cairn_rocks_scan *scan);
int cairn_kv__rocksdb_write_now(struct cairn_kv_store *st, const struct cairn_kv_write *w);
/* For struct cairn_commit_conf. */
void cairn_kv__rocksdb_apply(void *store, struct cairn_link *group);
int cairn_kv__rocksdb_sync(void *store);

#endif
