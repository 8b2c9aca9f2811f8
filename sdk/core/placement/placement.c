/* Placement: see placement.h. */
#include "sdk/core/placement/placement.h"

#include "sdk/core/base/macros.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

struct cairn_placement {
    uint32_t slot_bits, replicas, have; /* have: members of each slot, the same for all */
    uint64_t ids[];                     /* slot * replicas + rank */
};

/* A member's draw for one slot: e / share, kept as a fraction so that nothing is rounded. */
struct draw {
    uint64_t e, share, id;
    uint32_t zone;
    bool taken;
};

uint32_t cairn_placement_slot(const void *key, size_t len, uint32_t slot_bits)
{
    return (uint32_t)(XXH3_64bits(key, len) >> (64 - slot_bits));
}

/* Stafford's 13th variant of the murmur finalizer, as in splitmix64: every bit of the input reaches every bit. */
static uint64_t mix(uint64_t x)
{
    x += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

static uint64_t member_share(const struct cairn_placement_member *m)
{
    return (uint64_t)m->weight * m->capacity;
}

/* a.e/a.share < b.e/b.share, exactly: e has 47 bits, a share 64. Equal draws go to the smaller id. */
static bool draw_wins(const struct draw *a, const struct draw *b)
{
    unsigned __int128 x = (unsigned __int128)a->e * b->share;
    unsigned __int128 y = (unsigned __int128)b->e * a->share;

    return x != y ? x < y : a->id < b->id;
}

static bool zone_is_used(const struct draw *const *chosen, uint32_t n, uint32_t zone)
{
    for (uint32_t i = 0; i < n; i++) {
        if (chosen[i]->zone == zone)
            return true;
    }
    return false;
}

/* The best that is left: of the zones not used yet, or, when those have nobody, of all. */
static struct draw *best_left(struct draw *draws, uint32_t n, const struct draw *const *chosen, uint32_t nchosen)
{
    struct draw *fresh = NULL, *any = NULL;

    for (uint32_t i = 0; i < n; i++) {
        struct draw *d = &draws[i];

        if (d->taken)
            continue;
        if ((fresh == NULL || draw_wins(d, fresh)) && !zone_is_used(chosen, nchosen, d->zone))
            fresh = d;
        if (any == NULL || draw_wins(d, any))
            any = d;
    }
    return fresh != NULL ? fresh : any;
}

static uint32_t rank(uint32_t slot, const struct cairn_placement_member *members, uint32_t n, uint32_t replicas,
                     struct draw *draws, uint64_t *ids)
{
    const struct draw *chosen[CAIRN_REPLICAS_MAX];
    uint64_t slot_mix = mix(slot);
    uint32_t ndraws = 0, nchosen = 0;

    for (uint32_t i = 0; i < n; i++) {
        uint64_t share = member_share(&members[i]);

        if (share == 0)
            continue;
        draws[ndraws++] = (struct draw){ .e = cairn_placement__neg_log2(mix(slot_mix ^ mix(members[i].id))),
                                         .share = share,
                                         .id = members[i].id,
                                         .zone = members[i].zone };
    }
    while (nchosen < MIN(replicas, ndraws)) {
        struct draw *d = best_left(draws, ndraws, chosen, nchosen);

        d->taken = true;
        ids[nchosen] = d->id;
        chosen[nchosen++] = d;
    }
    return nchosen;
}

uint32_t cairn_placement_rank(uint32_t slot, const struct cairn_placement_member *members, uint32_t n,
                              uint32_t replicas, uint64_t *ids)
{
    struct draw draws[CAIRN_MEMBERS_MAX];

    CAIRN_ASSERT(n <= CAIRN_MEMBERS_MAX && replicas <= CAIRN_REPLICAS_MAX);
    return rank(slot, members, n, replicas, draws, ids);
}

static int id_cmp(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

static int ids_check_unique(const struct cairn_placement_member *members, uint32_t n, struct cairn_err *err)
{
    uint64_t ids[CAIRN_MEMBERS_MAX];

    for (uint32_t i = 0; i < n; i++)
        ids[i] = members[i].id;
    qsort(ids, n, sizeof(ids[0]), id_cmp);
    for (uint32_t i = 1; i < n; i++) {
        if (ids[i] == ids[i - 1])
            return cairn_err_set(err, CAIRN_E_INVAL, "two members have the id %" PRIu64, ids[i]);
    }
    return 0;
}

int cairn_placement_new(const struct cairn_placement_member *members, uint32_t n, uint32_t slot_bits, uint32_t replicas,
                        struct cairn_placement **out, struct cairn_err *err)
{
    struct cairn_placement *p;
    struct draw *draws;
    int rc;

    if (n > CAIRN_MEMBERS_MAX)
        return cairn_err_set(err, CAIRN_E_INVAL, "%" PRIu32 " members; at most %d", n, CAIRN_MEMBERS_MAX);
    if (slot_bits < CAIRN_SLOT_BITS_MIN || slot_bits > CAIRN_SLOT_BITS_MAX)
        return cairn_err_set(err, CAIRN_E_INVAL, "2^%" PRIu32 " slots; 2^%d to 2^%d are possible", slot_bits,
                             CAIRN_SLOT_BITS_MIN, CAIRN_SLOT_BITS_MAX);
    if (replicas == 0 || replicas > CAIRN_REPLICAS_MAX)
        return cairn_err_set(err, CAIRN_E_INVAL, "%" PRIu32 " replicas; 1 to %d are possible", replicas,
                             CAIRN_REPLICAS_MAX);
    rc = ids_check_unique(members, n, err);
    if (rc != 0)
        return rc;
    p = calloc(1, sizeof(*p) + ((size_t)replicas << slot_bits) * sizeof(p->ids[0]));
    draws = calloc(MAX(n, 1U), sizeof(*draws));
    if (p == NULL || draws == NULL) {
        free(p);
        free(draws);
        return cairn_err_set(err, CAIRN_E_NOMEM, "placement of 2^%" PRIu32 " slots", slot_bits);
    }
    p->slot_bits = slot_bits;
    p->replicas = replicas;
    for (uint32_t slot = 0; slot < (UINT32_C(1) << slot_bits); slot++)
        p->have = rank(slot, members, n, replicas, draws, &p->ids[(size_t)slot * replicas]);
    free(draws);
    *out = p;
    return 0;
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
    *n = p->have;
    return &p->ids[(size_t)slot * p->replicas];
}

const uint64_t *cairn_placement_of_key(const struct cairn_placement *p, const void *key, size_t len, uint32_t *n)
{
    return cairn_placement_of_slot(p, cairn_placement_slot(key, len, p->slot_bits), n);
}
