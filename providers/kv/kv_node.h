/* The nodes of the memory store's tree: what kv_node.c, kv_tree.c and kv_tree_list.c share.
 *
 * Both kinds of node begin with a struct head: how many keys, the bytes all of them begin with (at most
 * HEAD_PREFIX_MAX of them), and per key the next eight bytes as a big-endian number, short keys padded with zeros.
 * Numbers that differ order their keys; equal ones say nothing, and the keys themselves are compared. A leaf's keys
 * are its records; an inner node's are separators, small records of their own: child[i] holds what is below key i,
 * child[n] the rest. */
#ifndef CAIRN_PROVIDERS_KV_NODE_H
#define CAIRN_PROVIDERS_KV_NODE_H

#include "providers/kv/kv_tree.h"

#include <endian.h>
#include <string.h>

enum {
    NODE_KEYS = 64,
    NODE_LOW = NODE_KEYS / 4,
    NODE_JOIN = NODE_KEYS * 3 / 4,
    HEAD_PREFIX_MAX = 44,
    TREE_HEIGHT_MAX = 16,
    CACHE_LINE_BYTES = 64,
    FETCH_BYTES_MAX = 1024
};

struct head {
    uint16_t n;
    uint16_t prefix_len;
    uint8_t prefix[HEAD_PREFIX_MAX];
    uint64_t word[NODE_KEYS];
    struct cairn_kv_rec *key[NODE_KEYS];
};

struct cairn_kv_leaf {
    struct head h;
    struct cairn_kv_leaf *next, *prev;
};

struct inner {
    struct head h;
    void *child[NODE_KEYS + 1];
};

/* The way from the root to a leaf: which child was taken. */
struct path {
    struct inner *node[TREE_HEIGHT_MAX];
    uint32_t at[TREE_HEIGHT_MAX];
};

static inline uint32_t cairn_kv__common_len(const uint8_t *a, uint32_t alen, const uint8_t *b, uint32_t blen)
{
    uint32_t n = 0, max = MIN(alen, blen);

    while (n < max && a[n] == b[n])
        n++;
    return n;
}

/* Whole words only: the rest of a key is the end of the word that ends with it, since bytes copied one by one into a
 * word make its load wait for all of them. */
static inline uint64_t cairn_kv__word_at(const uint8_t *key, uint32_t klen, uint32_t off)
{
    uint64_t w = 0;

    if (off >= klen)
        return 0;
    if (klen - off >= sizeof(w)) {
        memcpy(&w, key + off, sizeof(w));
        return be64toh(w);
    }
    if (klen >= sizeof(w)) {
        memcpy(&w, key + klen - sizeof(w), sizeof(w));
        return be64toh(w) << 8 * (sizeof(w) - (klen - off));
    }
    for (uint32_t i = off; i < off + sizeof(w); i++)
        w = w << 8 | (i < klen ? key[i] : 0);
    return w;
}

/* Begins to fetch what a search in a node looks at: all at once, where it would wait for one line after the other. */
static inline void cairn_kv__head_fetch(const struct head *h)
{
    const char *p = (const char *)h;

    for (size_t off = 0; off < offsetof(struct head, key); off += CACHE_LINE_BYTES)
        __builtin_prefetch(p + off);
}

/* Finds the prefix and the numbers anew, after keys came from another node. */
void cairn_kv__head_refit(struct head *h);
/* The number of keys below @key; @equal tells whether the next one is it. It is two steps, for those who look for
 * several keys at a time: place() finds where the key's number *@w stands among the node's, or says false if what all
 * keys begin with has decided, and *@at is the place; settle() goes from there to the place of the key itself. */
uint32_t cairn_kv__head_search(const struct head *h, const uint8_t *key, uint32_t klen, bool *equal);
bool cairn_kv__head_place(const struct head *h, const uint8_t *key, uint32_t klen, uint64_t *w, uint32_t *at);
uint32_t cairn_kv__head_settle(const struct head *h, const uint8_t *key, uint32_t klen, uint64_t w, uint32_t lo,
                               bool *equal);
void cairn_kv__head_insert(struct head *h, uint32_t i, struct cairn_kv_rec *key);
void cairn_kv__head_replace(struct head *h, uint32_t i, struct cairn_kv_rec *key);
void cairn_kv__head_remove(struct head *h, uint32_t i);

/* The leaf where @key is or would be; @path may be NULL. The tree is not empty. */
struct cairn_kv_leaf *cairn_kv__tree_descend(const struct cairn_kv_tree *t, const uint8_t *key, uint32_t klen,
                                             struct path *path);

#endif
