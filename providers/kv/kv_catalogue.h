/* The catalogue of the RocksDB store: which databases there are, behind handle 0 of the keyspace, which is no
 * database's.
 *
 *   0000 'D' name   what cairn_kv_dir must know of a database: struct catalogue_entry
 *   0000 'G'        the last generation given out, so that handles are not given out twice
 *
 * A database is there from the write that has its entry to the write that erases it: both are synced. */
#ifndef CAIRN_PROVIDERS_KV_CATALOGUE_H
#define CAIRN_PROVIDERS_KV_CATALOGUE_H

#include "providers/kv/kv_dir.h"
#include "server/storage/rocks.h"

/* Fills @dir, which is empty, with what is stored. May block. CAIRN_E_CONFIG: @dir has too little room for all that is
 * stored; the text says how much is needed. */
int cairn_kv__catalogue_load(struct cairn_rocks *rocks, struct cairn_kv_dir *dir, struct cairn_err *err);

void cairn_kv__catalogue_put(struct cairn_rocks_batch *b, const struct cairn_kv_db_desc *desc);
void cairn_kv__catalogue_put_generation(struct cairn_rocks_batch *b, uint32_t generation);
void cairn_kv__catalogue_erase(struct cairn_rocks_batch *b, const char *name);

#endif
