/** Entries of a map store in memory: immutable, counted, sorted by key. */
#ifndef CAIRN_SERVER_CLUSTER_MAP_TABLE_H
#define CAIRN_SERVER_CLUSTER_MAP_TABLE_H

#include "sdk/core/base/err.h"
#include "sdk/core/base/macros.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum {
    CAIRN_MAP_KEY_BYTES_MAX = 512,
    CAIRN_MAP_VALUE_BYTES_MAX = 64 << 10,
    CAIRN_MAP_ENTRIES_MAX = 1 << 20,
    CAIRN_MAP_ENTRY_BYTES = 24,      /* that each counts for, beside its key and value */
    CAIRN_MAP_BYTES_MAX = 256 << 20, /* of all entries */
};

/** One entry; as a parameter of a callback valid only during it. */
struct cairn_map_entry {
    const char *key;
    const uint8_t *value; /* NULL: of an erased one; then `changed` is the revision that erased it */
    uint32_t value_len;
    uint64_t created, changed; /* revisions */
    uint64_t lease;            /* 0: none */
};

/** Immutable once it is in a table. */
struct cairn_map_node {
    atomic_uint refs;
    struct cairn_map_entry e; /* key and value are in bytes[] */
    char bytes[];
};

struct cairn_map_table {
    struct cairn_map_node **nodes; /* by key, a reference to each */
    uint32_t n, room;
    size_t bytes; /* of all entries, as cairn_map_entry_bytes() counts */
};

static inline size_t cairn_map_entry_bytes(const struct cairn_map_entry *e)
{
    return CAIRN_MAP_ENTRY_BYTES + strlen(e->key) + e->value_len;
}

/** A copy of @e with one reference; NULL for memory. */
struct cairn_map_node *cairn_map_node_new(const struct cairn_map_entry *e);
struct cairn_map_node *cairn_map_node_get(struct cairn_map_node *n);
/** NULL is fine. */
void cairn_map_node_put(struct cairn_map_node *n);

/** A table begins zeroed. */
void cairn_map_table_fini(struct cairn_map_table *t);
/** Where @key is or would be. */
uint32_t cairn_map_table_find(const struct cairn_map_table *t, const char *key, bool *found);
/** NULL if it is not there. */
struct cairn_map_node *cairn_map_table_at(const struct cairn_map_table *t, const char *key);
/** Room for @n entries in all, so that as many can be set without failing. CAIRN_E_NOMEM, CAIRN_E_LIMIT. */
int cairn_map_table_reserve(struct cairn_map_table *t, uint32_t n);
/** Stores (value set) or erases (value NULL) the entry of @n's key; there must be room. Takes a reference of its
 * own. */
void cairn_map_table_set(struct cairn_map_table *t, struct cairn_map_node *n);
/** At the end, where its key belongs; there must be room. Takes the reference over. */
void cairn_map_table_append(struct cairn_map_table *t, struct cairn_map_node *n);
/** @to, zeroed, becomes a copy of the entries that begin with @prefix, with room for @more further ones. */
int cairn_map_table_copy(struct cairn_map_table *to, const struct cairn_map_table *from, const char *prefix,
                         uint32_t more);
/** Likewise, of the first @limit of them (0: all), or the @last ones; *@count: how many there are. */
int cairn_map_table_copy_some(struct cairn_map_table *to, const struct cairn_map_table *from, const char *prefix,
                              uint32_t limit, bool last, uint64_t *count);
/** In order of the keys that begin with @prefix. */
void cairn_map_table_each(const struct cairn_map_table *t, const char *prefix,
                          void (*fn)(const struct cairn_map_entry *e, void *arg), void *arg);

#endif
