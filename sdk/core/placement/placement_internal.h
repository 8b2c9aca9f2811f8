/** What the files of placement share. */
#ifndef CAIRN_CORE_PLACEMENT_INTERNAL_H
#define CAIRN_CORE_PLACEMENT_INTERNAL_H

#include "sdk/core/base/macros.h"
#include "sdk/core/placement/placement.h"

struct cairn_placement {
    uint32_t slot_bits, replicas; /* replicas: of each slot, the same for all */
    uint64_t ids[];               /* slot * replicas + which */
};

/** Stafford's 13th variant of the murmur finalizer, as in splitmix64: every bit of the input reaches every bit. */
static inline uint64_t cairn_placement__mix(uint64_t x)
{
    x += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

/** A member's draw for one slot: e / share, kept as a fraction so that nothing is rounded. */
struct cairn_placement__draw {
    uint64_t e, share, id;
};

static inline struct cairn_placement__draw cairn_placement__draw(uint64_t slot_mix, uint64_t id, uint64_t id_mix,
                                                                 uint64_t share)
{
    return (struct cairn_placement__draw){ .e = cairn_placement__neg_log2(cairn_placement__mix(slot_mix ^ id_mix)),
                                           .share = share,
                                           .id = id };
}

/** a.e/a.share < b.e/b.share, exactly: e has 47 bits, a share 64. Equal draws go to the smaller id. */
static inline bool cairn_placement__wins(const struct cairn_placement__draw *a, const struct cairn_placement__draw *b)
{
    unsigned __int128 x = (unsigned __int128)a->e * b->share;
    unsigned __int128 y = (unsigned __int128)b->e * a->share;

    return x != y ? x < y : a->id < b->id;
}

static inline uint64_t cairn_placement__share(const struct cairn_placement_member *m)
{
    return (uint64_t)m->weight * m->capacity;
}

/** A member with a share, while a table is made; they are in order of zone, and of id in each. */
struct cairn_placement__seat {
    uint64_t id, id_mix, share;
    uint32_t zone;      /* the first is 0 */
    uint32_t held;      /* slots */
    uint32_t low, high; /* what its share comes to, in slots: rounded down and up */
    uint32_t search;    /* the last one that came by here (placement_table.c) */
};

/** Sets low and high of @n seats, in @zones zones, for @slots slots with @replicas members each (at most @n). Returns
 * 0 or CAIRN_E_NOMEM. */
int cairn_placement__divide(struct cairn_placement__seat *seats, uint32_t n, uint32_t zones, uint32_t slots,
                            uint32_t replicas);

#endif
