/** Which members hold a key: XXH3-64(key) -> slot -> members.
 *
 * *Looking up* is a hash and an index into a table, for clients and servers alike. *Making* the table is the
 * coordinator's, which keeps it in the map: nobody else has to come to the same one.
 *
 * A member draws a number for each slot from Exp(share); the smallest wins (Thaler & Ravishankar's highest random
 * weight, weighted by Schindelhauer & Schomaker's logarithmic method): each wins a part of the slots equal to its
 * share. On average: with 16 slots to a member, as a thousand members have, the busiest of them wins twice its share.
 * So a table is made with *bounded loads* (Mirrokni, Thorup & Zadimoghaddam, "Consistent Hashing with Bounded Loads",
 * with a bound of a single slot): a member that has its share is passed over, and the next in order takes the slot.
 * Made afresh for each change that would cascade; so a table is made from the one before, and differs from it only
 * where it has to:
 *
 *  - who leaves, or has no share any more: its places are taken over, and nothing else moves (where zones are hardly
 *    more than replicas, a little: a place may then be for one zone alone, whose members would have too much);
 *  - who joins, or gets a larger share, takes its share, rounded down, from those that have more than theirs;
 *  - replicas are in distinct zones, or in all zones if there are fewer; zones come before shares.
 *
 * What is a member's share then follows from both: a zone holds no slot twice while other zones do not hold it, so a
 * large zone's members may hold less than others and a small one's more (placement_share.c).
 *
 * Everything is integer arithmetic: no libm, no byte order, no order of members matters. */
#ifndef CAIRN_CORE_PLACEMENT_H
#define CAIRN_CORE_PLACEMENT_H

#include "sdk/core/base/err.h"

#include <stddef.h>
#include <stdint.h>

enum {
    CAIRN_SLOT_BITS_MIN = 10,
    CAIRN_SLOT_BITS_DEFAULT = 14,
    CAIRN_SLOT_BITS_MAX = 20,
    CAIRN_REPLICAS_MAX = 8,
    CAIRN_MEMBERS_MAX = 16384,
};

/** What placement needs to know of a member. Its share of the slots is proportional to weight * capacity; a share of 0
 * holds none (a member that is being drained, or full). */
struct cairn_placement_member {
    uint64_t id; /* not 0, unique, chosen once: changing it moves everything */
    uint32_t weight;
    uint32_t capacity; /* in any unit, the same for all members */
    uint32_t zone;     /* what fails together: replicas go to distinct zones as long as there are some */
};

/** The slot of a routing key: the upper bits of its hash, so that a cluster with twice the slots splits each in two. */
uint32_t cairn_placement_slot(const void *key, size_t len, uint32_t slot_bits);
uint64_t cairn_placement_hash(const void *key, size_t len);

/** A slot's mark: by sums of marks (modulo 2^64) sets of slots are told apart. After Steele, Lea & Flood's SplitMix. */
static inline uint64_t cairn_placement_slot_mark(uint32_t slot)
{
    uint64_t x = ((uint64_t)slot + 1) * UINT64_C(0x9e3779b97f4a7c15);

    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

/** The ids of the members that @slot prefers, best first, whatever else they hold, into @ids (room for @replicas, at
 * most CAIRN_REPLICAS_MAX). Pure; O(n * replicas). Returns how many: fewer than @replicas when fewer members have a
 * share.
 */
uint32_t cairn_placement_rank(uint32_t slot, const struct cairn_placement_member *members, uint32_t n,
                              uint32_t replicas, uint64_t *ids);

struct cairn_placement; /* every slot's members; constant, any thread may read it */

struct cairn_placement_conf {
    const struct cairn_placement_member *members; /* copied */
    uint32_t n;
    uint32_t slot_bits;
    uint32_t replicas; /* as many as there are, if there are fewer members with a share */
    /* What the slots have now: @before_width ids for each; 0, and whoever is no member, is nobody. Those that come
     * first are the last to go. NULL: nothing yet. */
    const uint64_t *before;
    uint32_t before_width;
};

/** A table made afresh takes slots * members * replicas draws: 16384 * 1,000 * 2 are a fifth of a second; one from a
 * table before it takes a few milliseconds. Returns 0, CAIRN_E_INVAL (bounds; two members with one id, or one with 0)
 * or CAIRN_E_NOMEM. */
int cairn_placement_new(const struct cairn_placement_conf *conf, struct cairn_placement **out, struct cairn_err *err);
void cairn_placement_free(struct cairn_placement *p);

uint32_t cairn_placement_slots(const struct cairn_placement *p);
/** Ids of the slot's members, @n of them, those that were there before first; 0 if no member has a share. Lives as
 * long as
 * @p. */
const uint64_t *cairn_placement_of_slot(const struct cairn_placement *p, uint32_t slot, uint32_t *n);
const uint64_t *cairn_placement_of_key(const struct cairn_placement *p, const void *key, size_t len, uint32_t *n);

/** -log2((h|1) / 2^64) in units of 2^-40, monotone; within 0.1 % of the true value. Exposed for its test. */
uint64_t cairn_placement__neg_log2(uint64_t h);

#endif
