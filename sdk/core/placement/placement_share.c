/* How many slots each member is to hold: what is to be held in all, by share, within what zones allow.
 *
 * A slot's replicas are in as many zones as it can have. With no more replicas than zones no zone holds a slot twice:
 * it has at most all slots. With fewer zones each has all of them at least, and some of them more than once. So zones
 * divide the whole among them between such bounds, and the members of each zone what it got, each at most all slots. */
#include "sdk/core/placement/placement_internal.h"

#include <stdlib.h>

/* One of those that divide something. */
struct part {
    unsigned __int128 share; /* of at most 2^14 members with 2^64 each */
    uint32_t min, max;
    uint32_t low, high; /* what it gets, rounded down and up */
    bool fixed;         /* at one of its bounds */
};

/* Every part in proportion to its share, but for those that would get too much or too little: these get their bound.
 * Each round fixes at least one, those on the side where more is amiss: that keeps the others from being fixed
 * wrongly. */
static void divide(uint32_t total, struct part *parts, uint32_t n)
{
    for (;;) {
        unsigned __int128 sum = 0;
        uint64_t rest = total, above = 0, below = 0;

        for (uint32_t i = 0; i < n; i++) {
            if (parts[i].fixed)
                rest -= MIN(rest, parts[i].low);
            else
                sum += parts[i].share;
        }
        for (uint32_t i = 0; i < n; i++) {
            struct part *p = &parts[i];

            if (p->fixed)
                continue;
            p->low = (uint32_t)(rest * p->share / sum);
            p->high = p->low + (rest * p->share % sum != 0);
            above += p->high > p->max ? p->high - p->max : 0;
            below += p->low < p->min ? p->min - p->low : 0;
        }
        if (above == 0 && below == 0)
            return;
        for (uint32_t i = 0; i < n; i++) {
            struct part *p = &parts[i];

            if (p->fixed || (above >= below ? p->high <= p->max : p->low >= p->min))
                continue;
            p->low = p->high = above >= below ? p->max : p->min;
            p->fixed = true;
        }
    }
}

/* The members of one zone divide what it got, which may be known only as between two numbers. */
static void divide_zone(const struct part *zone, struct cairn_placement__seat *seats, uint32_t n, uint32_t slots,
                        struct part *parts)
{
    for (uint32_t high = 0; high < 2; high++) {
        for (uint32_t i = 0; i < n; i++)
            parts[i] = (struct part){ .share = seats[i].share, .max = slots };
        divide(high ? zone->high : zone->low, parts, n);
        for (uint32_t i = 0; i < n; i++) {
            if (high)
                seats[i].high = parts[i].high;
            else
                seats[i].low = parts[i].low;
        }
    }
}

static uint32_t zone_end(const struct cairn_placement__seat *seats, uint32_t n, uint32_t first)
{
    uint32_t end = first;

    while (end < n && seats[end].zone == seats[first].zone)
        end++;
    return end;
}

int cairn_placement__divide(struct cairn_placement__seat *seats, uint32_t n, uint32_t zones, uint32_t slots,
                            uint32_t replicas)
{
    uint32_t twice = replicas > zones ? replicas - zones : 0; /* members of a slot beyond the first of each zone */
    struct part *parts = calloc((size_t)zones + n, sizeof(*parts)), *of_zone = parts;

    if (parts == NULL)
        return CAIRN_E_NOMEM;
    for (uint32_t i = 0, end; i < n; i = end, of_zone++) {
        end = zone_end(seats, n, i);
        for (uint32_t k = i; k < end; k++)
            of_zone->share += seats[k].share;
        of_zone->min = replicas >= zones ? slots : 0;
        of_zone->max = MIN(end - i, 1 + twice) * slots;
    }
    divide(replicas * slots, parts, zones);
    of_zone = parts;
    for (uint32_t i = 0, end; i < n; i = end, of_zone++) {
        end = zone_end(seats, n, i);
        divide_zone(of_zone, &seats[i], end - i, slots, parts + zones);
    }
    free(parts);
    return 0;
}
