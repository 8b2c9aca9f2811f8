/** How fast copies leave this node: so many bytes a second, of all workers together.
 *
 * What is sent uses up time that has not come yet, and whoever wants to send more waits for it, once. Several pages
 * that wait go on together when it comes, so a second may bring a page of each too much; over any longer time the rate
 * is kept. Regions of large values, of which a page may name thousands, book their time one behind the other, not far
 * ahead. */
#ifndef CAIRN_SERVER_CLUSTER_SERVICE_PACE_H
#define CAIRN_SERVER_CLUSTER_SERVICE_PACE_H

#include "sdk/core/base/macros.h"

#include <stdatomic.h>
#include <stdint.h>

#define CLUSTER_PACE_AHEAD_NS (CAIRN_NS_PER_S / 2)

struct cluster_pace {
    uint64_t bytes_per_s;         /* 0: as fast as it goes */
    atomic_uint_fast64_t free_ns; /* when all that was sent is paid for */
    atomic_uint_fast64_t bytes_sent;
};

/** When the next page may be read. */
static inline uint64_t cluster_pace_free_ns(struct cluster_pace *p)
{
    return atomic_load(&p->free_ns);
}

/** Any thread: @bytes are sent at @now_ns. */
static inline void cluster_pace_take(struct cluster_pace *p, uint32_t bytes, uint64_t now_ns)
{
    uint64_t before = atomic_load(&p->free_ns), cost;

    atomic_fetch_add(&p->bytes_sent, bytes);
    if (p->bytes_per_s == 0)
        return;
    cost = bytes * CAIRN_NS_PER_S / p->bytes_per_s;
    while (!atomic_compare_exchange_weak(&p->free_ns, &before, MAX(before, now_ns) + cost))
        ;
}

/** Any thread: time for @bytes, behind all that is paid for: *@at_ns is when they may go. False: not within
 * CLUSTER_PACE_AHEAD_NS, and nothing is taken. */
static inline bool cluster_pace_book(struct cluster_pace *p, uint32_t bytes, uint64_t now_ns, uint64_t *at_ns)
{
    uint64_t before = atomic_load(&p->free_ns), cost;

    cost = p->bytes_per_s != 0 ? bytes * CAIRN_NS_PER_S / p->bytes_per_s : 0;
    do {
        *at_ns = p->bytes_per_s != 0 ? MAX(before, now_ns) : now_ns;
        if (*at_ns - now_ns > CLUSTER_PACE_AHEAD_NS)
            return false;
    } while (!atomic_compare_exchange_weak(&p->free_ns, &before, *at_ns + cost));
    atomic_fetch_add(&p->bytes_sent, bytes);
    return true;
}

#endif
