/* Keys whose row of the index is there, and is the usual one: a PUT that replaces such a record need not write the row
 * anew, which would be a third of all that it writes.
 *
 * A key is known by a 128-bit hash under a secret seed: two that share it are not to be expected in the life of the
 * universe. Each has one place, which the newest takes; whoever is not known has his row written. So it may be emptied
 * at any time, and is whenever rows go by other ways than entries do. */
#include "server/cluster/service/store_internal.h"

#include <stdlib.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

enum { KNOWN_PLACES = 1 << 16 }; /* 1 MiB, of which only what is used is touched */

struct store_known {
    uint64_t seed;
    bool is_empty;
    XXH128_hash_t places[KNOWN_PLACES]; /* all zero: of no key */
};

struct store_known *store_known_new(struct cairn_env *env)
{
    struct store_known *k = calloc(1, sizeof(*k));

    if (k == NULL)
        return NULL;
    k->seed = cairn_env_random(env);
    k->is_empty = true;
    return k;
}

void store_known_free(struct store_known *k)
{
    free(k);
}

void store_known_forget(struct store_known *k)
{
    if (!k->is_empty)
        memset(k->places, 0, sizeof(k->places));
    k->is_empty = true;
}

static XXH128_hash_t *place_of(struct store_known *k, const uint8_t *head, const uint8_t *key, size_t len,
                               XXH128_hash_t *hash)
{
    uint64_t seed = XXH3_64bits_withSeed(head, STORE_INDEX_HEAD_BYTES, k->seed);

    *hash = XXH3_128bits_withSeed(key, len, seed);
    return &k->places[hash->low64 % KNOWN_PLACES];
}

bool store_known_add(struct store_known *k, const uint8_t *head, const uint8_t *key, size_t len)
{
    XXH128_hash_t hash, *place = place_of(k, head, key, len, &hash);

    if (XXH128_isEqual(*place, hash))
        return true;
    *place = hash;
    k->is_empty = false;
    return false;
}

void store_known_drop(struct store_known *k, const uint8_t *head, const uint8_t *key, size_t len)
{
    XXH128_hash_t hash, *place = place_of(k, head, key, len, &hash);

    if (XXH128_isEqual(*place, hash))
        memset(place, 0, sizeof(*place));
}
