/** An ordered map from keys to records, for the memory store: a B+tree made for point lookups that miss the cache.
 *
 * A node keeps what its keys have in common once, and of each key the eight bytes behind that as a number; so a search
 * in a node compares numbers that lie side by side, and follows a pointer only where they are equal. Leaves are chained
 * for listing. One writer or many readers at a time: the caller locks. Memory comes from the slabs; an insert takes all
 * it needs before it changes anything, so it happens or it does not. */
#ifndef CAIRN_PROVIDERS_KV_TREE_H
#define CAIRN_PROVIDERS_KV_TREE_H

#include "providers/kv/kv_core.h"
#include "providers/kv/kv_slab.h"

#include <stdbool.h>

/** Key and value in one object. */
struct cairn_kv_rec {
    uint32_t vlen;
    uint16_t klen;
    uint8_t bytes[]; /* key, value */
};

struct cairn_kv_leaf;

struct cairn_kv_tree {
    struct cairn_kv_slabs *slabs;
    void *root; /* a leaf if height is 0; NULL: empty */
    uint32_t height;
    uint64_t keys;
    uint64_t bytes; /* of the records, as the slabs count them */
};

/** A place in the tree, valid until the tree changes. At the end, or before the beginning, @leaf is NULL. */
struct cairn_kv_cursor {
    struct cairn_kv_leaf *leaf;
    uint32_t i;
};

static inline const uint8_t *cairn_kv_rec_value(const struct cairn_kv_rec *rec)
{
    return rec->bytes + rec->klen;
}

static inline size_t cairn_kv_rec_bytes(uint32_t klen, uint32_t vlen)
{
    return offsetof(struct cairn_kv_rec, bytes) + klen + vlen;
}

void cairn_kv_tree_init(struct cairn_kv_tree *t, struct cairn_kv_slabs *slabs);
/** Frees every record and node. */
void cairn_kv_tree_fini(struct cairn_kv_tree *t);

struct cairn_kv_rec *cairn_kv_tree_find(const struct cairn_kv_tree *t, const uint8_t *key, uint32_t klen);
/** recs[i] becomes what cairn_kv_tree_find() gives for keys[i]; at most CAIRN_KV_TREE_MANY. They go down the tree side
 * by side: what one waits for is fetched from memory while the others are looked at, values included. */
enum { CAIRN_KV_TREE_MANY = 16 };
void cairn_kv_tree_find_many(const struct cairn_kv_tree *t, const struct cairn_kv_key *keys, uint32_t n,
                             struct cairn_kv_rec **recs);
/** Puts @rec in; @old gets the record that had its key, which is the caller's then, or NULL.
 * Returns 0, or CAIRN_E_NOSPACE with the tree as it was and @rec still the caller's. */
int cairn_kv_tree_put(struct cairn_kv_tree *t, struct cairn_kv_rec *rec, struct cairn_kv_rec **old);
/** Takes a record out and hands it to the caller; NULL if there is none. Needs no memory. */
struct cairn_kv_rec *cairn_kv_tree_take(struct cairn_kv_tree *t, const uint8_t *key, uint32_t klen);

/** The first record whose key is not below @key; cairn_kv_tree_seek_below(): the last whose key is below it.
 * With @key NULL: the first of all, the last of all. */
struct cairn_kv_cursor cairn_kv_tree_seek(const struct cairn_kv_tree *t, const uint8_t *key, uint32_t klen);
struct cairn_kv_cursor cairn_kv_tree_seek_below(const struct cairn_kv_tree *t, const uint8_t *key, uint32_t klen);
struct cairn_kv_rec *cairn_kv_cursor_rec(const struct cairn_kv_cursor *c);
void cairn_kv_cursor_next(struct cairn_kv_cursor *c);
void cairn_kv_cursor_prev(struct cairn_kv_cursor *c);

/** Walks the whole tree and asserts its order, links, prefixes and counts; for tests. */
void cairn_kv_tree_check(const struct cairn_kv_tree *t);

#endif
