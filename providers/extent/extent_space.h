/** Which blocks of a store are free: a set of ranges in a treap by address, each subtree knowing its longest range.
 *
 * First fit from the lowest address keeps used space together at the front. Ranges that touch become one, except across
 * a multiple of @span blocks (a segment file): a range never lies in two segments. Pure: no I/O, no clock; not locked.
 */
#ifndef CAIRN_PROVIDERS_EXTENT_SPACE_H
#define CAIRN_PROVIDERS_EXTENT_SPACE_H

#include "sdk/core/base/macros.h"

struct cairn_extent_range {
    struct cairn_extent_range *left, *right;
    uint64_t at, n, longest; /* blocks; longest of this subtree */
    uint64_t priority;
};

struct cairn_extent_space {
    struct cairn_extent_range *root;
    struct cairn_extent_range *spare; /* nodes by their left pointer */
    uint64_t span, free;
    uint64_t ranges, seed;
};

void cairn_extent_space_init(struct cairn_extent_space *s, uint64_t span);
void cairn_extent_space_fini(struct cairn_extent_space *s);

/** Takes @n > 0 blocks at the lowest address that has them in one piece. False: there is no such place. */
bool cairn_extent_space_take(struct cairn_extent_space *s, uint64_t n, uint64_t *at);
/** Takes exactly [at, at+n), which a recovered region owns. Returns 0, CAIRN_E_CORRUPT if some of it is not free, or
 * CAIRN_E_NOMEM. */
int cairn_extent_space_take_at(struct cairn_extent_space *s, uint64_t at, uint64_t n);
/** Gives [at, at+n) back; it must be taken. Returns 0 or CAIRN_E_NOMEM (then it stays taken until the next start). */
int cairn_extent_space_give(struct cairn_extent_space *s, uint64_t at, uint64_t n);
/** Nothing in [at, at+n) is free any more: what was is forgotten. Neither end lies inside a free range. */
void cairn_extent_space_forget(struct cairn_extent_space *s, uint64_t at, uint64_t n);
/** The longest free range. */
uint64_t cairn_extent_space_longest(const struct cairn_extent_space *s);
/** Walks the tree: order, gaps, heap, sums. For tests. */
bool cairn_extent_space_is_sound(const struct cairn_extent_space *s);

#endif
