/* Tables of placement: how they are made, and what is counted of them. */
#ifndef CAIRN_TESTS_UNIT_PLACEMENT_TABLES_H
#define CAIRN_TESTS_UNIT_PLACEMENT_TABLES_H

#include "sdk/core/placement/placement.h"

#include "sdk/core/base/macros.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { SLOTS = 1 << CAIRN_SLOT_BITS_DEFAULT };

/* The table that follows @before (NULL: nothing is there yet). */
static inline struct cairn_placement *table_after(const struct cairn_placement *before,
                                                  const struct cairn_placement_member *m, uint32_t n, uint32_t replicas)
{
    struct cairn_placement_conf conf = {
        .members = m, .n = n, .slot_bits = CAIRN_SLOT_BITS_DEFAULT, .replicas = replicas
    };
    struct cairn_placement *p = NULL;
    struct cairn_err err = { 0 };

    if (before != NULL)
        conf.before = cairn_placement_of_slot(before, 0, &conf.before_width);
    if (cairn_placement_new(&conf, &p, &err) != 0)
        fail_msg("%s", err.text);
    return p;
}

static inline struct cairn_placement *table(const struct cairn_placement_member *m, uint32_t n, uint32_t replicas)
{
    return table_after(NULL, m, n, replicas);
}

/* @n members of equal share, one zone each. */
static inline void equals(struct cairn_placement_member *m, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        m[i] = (struct cairn_placement_member){ .id = 100 + i, .weight = 1, .capacity = 1, .zone = i };
}

static inline uint32_t slots_held(const struct cairn_placement *p, uint64_t id)
{
    uint32_t held = 0, n;

    for (uint32_t s = 0; s < cairn_placement_slots(p); s++) {
        const uint64_t *ids = cairn_placement_of_slot(p, s, &n);

        for (uint32_t i = 0; i < n; i++)
            held += ids[i] == id;
    }
    return held;
}

/* Replicas of @b that were not there in @a: what a change of members must copy. */
static inline uint32_t replicas_moved(const struct cairn_placement *a, const struct cairn_placement *b)
{
    uint32_t moved = 0, na, nb;

    for (uint32_t s = 0; s < cairn_placement_slots(a); s++) {
        const uint64_t *x = cairn_placement_of_slot(a, s, &na), *y = cairn_placement_of_slot(b, s, &nb);

        for (uint32_t i = 0; i < nb; i++) {
            uint32_t j = 0;

            while (j < na && x[j] != y[i])
                j++;
            moved += j == na;
        }
    }
    return moved;
}

#endif
