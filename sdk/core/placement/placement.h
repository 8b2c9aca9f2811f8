/** Which members hold a key: XXH3-64(key) -> slot -> weighted rendezvous over the members, distinct zones first.
 *
 * Client and server compute it alike from the same map, so everything is integer arithmetic, fixed for good by the
 * vectors in tests/unit/placement: no libm, no byte order, no order of members matters. When a member joins or leaves,
 * only slots that it wins or held change their members.
 *
 * A member draws a number for each slot from Exp(share); the smallest wins (Thaler & Ravishankar's highest
 * random weight, weighted by Schindelhauer & Schomaker's logarithmic method): each wins a part of the slots equal to
 * its share. */
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
    CAIRN_MEMBERS_MAX = 4096,
};

/** What placement needs to know of a member. Its share of the slots is proportional to weight * capacity; a share of 0
 * holds none (a member that is being drained, or full). */
struct cairn_placement_member {
    uint64_t id; /* unique, chosen once: changing it moves everything */
    uint32_t weight;
    uint32_t capacity; /* in any unit, the same for all members */
    uint32_t zone;     /* what fails together: replicas go to distinct zones as long as there are some */
};

/** The slot of a routing key: the upper bits of its hash, so that a cluster with twice the slots splits each in two. */
uint32_t cairn_placement_slot(const void *key, size_t len, uint32_t slot_bits);

/** The ids of the members that should hold @slot, best first, into @ids (room for @replicas, at most
 * CAIRN_REPLICAS_MAX). Pure; O(n * replicas). Returns how many: fewer than @replicas when fewer members have a share.
 */
uint32_t cairn_placement_rank(uint32_t slot, const struct cairn_placement_member *members, uint32_t n,
                              uint32_t replicas, uint64_t *ids);

struct cairn_placement; /* every slot's members, computed once per map; constant afterwards, any thread may read it */

/** Returns 0, CAIRN_E_INVAL (bounds; two members with one id) or CAIRN_E_NOMEM. @members is copied. */
int cairn_placement_new(const struct cairn_placement_member *members, uint32_t n, uint32_t slot_bits, uint32_t replicas,
                        struct cairn_placement **out, struct cairn_err *err);
void cairn_placement_free(struct cairn_placement *p);

uint32_t cairn_placement_slots(const struct cairn_placement *p);
/** Ids of the slot's members, best first, @n of them; 0 if no member has a share. Lives as long as @p. */
const uint64_t *cairn_placement_of_slot(const struct cairn_placement *p, uint32_t slot, uint32_t *n);
const uint64_t *cairn_placement_of_key(const struct cairn_placement *p, const void *key, size_t len, uint32_t *n);

/** -log2((h|1) / 2^64) in units of 2^-40, monotone; within 0.1 % of the true value. Exposed for its test. */
uint64_t cairn_placement__neg_log2(uint64_t h);

#endif
