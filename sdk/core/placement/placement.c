/* Placement: slots, preferences, and looking up. See placement.h. */
#include "sdk/core/placement/placement_internal.h"

#include <stdlib.h>
#include <xxhash.h>

uint64_t cairn_placement_hash(const void *key, size_t len)
{
    return XXH3_64bits(key, len);
}

uint32_t cairn_placement_slot(const void *key, size_t len, uint32_t slot_bits)
{
    return (uint32_t)(cairn_placement_hash(key, len) >> (64 - slot_bits));
}

/* Whether @m, or a member of its zone, has been chosen. */
static void look_at_chosen(const struct cairn_placement_member *const *chosen, uint32_t n,
                           const struct cairn_placement_member *m, bool *is_chosen, bool *zone_is_used)
{
    *is_chosen = *zone_is_used = false;
    for (uint32_t i = 0; i < n; i++) {
        *is_chosen |= chosen[i] == m;
        *zone_is_used |= chosen[i]->zone == m->zone;
    }
}

/* The best that is left: of the zones not used yet, or, when those have nobody, of all. NULL: nobody is left. */
static const struct cairn_placement_member *best_left(uint64_t slot_mix, const struct cairn_placement_member *members,
                                                      uint32_t n, const struct cairn_placement_member *const *chosen,
                                                      uint32_t nchosen)
{
    const struct cairn_placement_member *best = NULL;
    struct cairn_placement__draw best_draw = { 0 };
    bool best_is_fresh = false;

    for (uint32_t i = 0; i < n; i++) {
        const struct cairn_placement_member *m = &members[i];
        uint64_t share = cairn_placement__share(m);
        struct cairn_placement__draw d;
        bool is_chosen, zone_is_used;

        look_at_chosen(chosen, nchosen, m, &is_chosen, &zone_is_used);
        if (share == 0 || is_chosen || (zone_is_used && best_is_fresh))
            continue;
        d = cairn_placement__draw(slot_mix, m->id, cairn_placement__mix(m->id), share);
        if (best == NULL || (!zone_is_used && !best_is_fresh) || cairn_placement__wins(&d, &best_draw)) {
            best = m;
            best_draw = d;
            best_is_fresh = !zone_is_used;
        }
    }
    return best;
}

uint32_t cairn_placement_rank(uint32_t slot, const struct cairn_placement_member *members, uint32_t n,
                              uint32_t replicas, uint64_t *ids)
{
    const struct cairn_placement_member *chosen[CAIRN_REPLICAS_MAX];
    uint32_t nchosen = 0;

    CAIRN_ASSERT(n <= CAIRN_MEMBERS_MAX && replicas <= CAIRN_REPLICAS_MAX);
    while (nchosen < replicas) {
        const struct cairn_placement_member *m = best_left(cairn_placement__mix(slot), members, n, chosen, nchosen);

        if (m == NULL)
            break;
        ids[nchosen] = m->id;
        chosen[nchosen++] = m;
    }
    return nchosen;
}

void cairn_placement_free(struct cairn_placement *p)
{
    free(p);
}

uint32_t cairn_placement_slots(const struct cairn_placement *p)
{
    return UINT32_C(1) << p->slot_bits;
}

const uint64_t *cairn_placement_of_slot(const struct cairn_placement *p, uint32_t slot, uint32_t *n)
{
    CAIRN_ASSERT(slot >> p->slot_bits == 0);
    *n = p->replicas;
    return &p->ids[(size_t)slot * p->replicas];
}

const uint64_t *cairn_placement_of_key(const struct cairn_placement *p, const void *key, size_t len, uint32_t *n)
{
    return cairn_placement_of_slot(p, cairn_placement_slot(key, len, p->slot_bits), n);
}
