/** The whole map as a document for people, backups and moves from one store to another: JSON, values in base64.
 *
 *  {"cairn_map": 1, "revision": 12, "entries": [{"key": "ns/demo", "value": "...", "created": 3, "changed": 3}, ...]}
 *
 * Entries on leases are left out: whoever holds one is not moved with the map. */
#ifndef CAIRN_SERVER_CLUSTER_MAP_DUMP_H
#define CAIRN_SERVER_CLUSTER_MAP_DUMP_H

#include "server/cluster/map_store.h"

#include <jansson.h>
#include <stdio.h>

enum { CAIRN_MAP_DUMP_VERSION = 1, CAIRN_MAP_DUMP_BYTES_MAX = 512 << 20 };

/** CAIRN_E_IO, CAIRN_E_NOMEM. */
int cairn_map_dump_write(const struct cairn_map_table *t, uint64_t revision, FILE *to, struct cairn_err *err);
/** @t, zeroed, is the caller's to end in every case. CAIRN_E_FORMAT: of a newer version; CAIRN_E_CORRUPT: no such
 * document; CAIRN_E_LIMIT, CAIRN_E_NOMEM. */
int cairn_map_dump_read(const char *text, size_t len, struct cairn_map_table *t, uint64_t *revision,
                        struct cairn_err *err);

/** Whether @there, a store's entries, is what a move of @t finds: nothing, or what an earlier try left of it, besides
 * whose map it is. CAIRN_E_EXISTS: an entry is there with another value, or one that is not @t's. */
int cairn_map_dump_check_free(const struct cairn_map_table *t, const struct cairn_map_table *there,
                              struct cairn_err *err);
/** Whether @there has all that was to come from @t. CAIRN_E_CORRUPT. */
int cairn_map_dump_check_moved(const struct cairn_map_table *t, const struct cairn_map_table *there,
                               struct cairn_err *err);

/** Stores all of @t into @s, which nobody else changes and whose home loop nobody runs: turns it until all is stored,
 * at most @timeout_ms. What is there already with the same value is left alone, so it may be repeated;
 * CAIRN_E_EXISTS, before anything is stored: a key is there with another value, or a namespace that @t does not have.
 *
 * @s has revisions of its own. So that nothing of two histories is taken for the same, ids of namespaces count on from
 * beyond @revision (map_ids.h), and a map that a cluster has been led by is another generation from now on
 * (map_generation.h): its nodes give up what they know of the old one, and each slot goes on from the best log of it
 * that registers (repl/README.md), with every write that was acknowledged, also behind an older @t. */
int cairn_map_dump_store(struct cairn_map_store *s, const struct cairn_map_table *t, uint64_t revision,
                         const char *author, uint32_t timeout_ms, struct cairn_err *err);

#endif
