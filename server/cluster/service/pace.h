/** How fast copies leave this node: so many bytes a second, of all workers together.
 *
 * What is sent uses up time that has not come yet, and whoever wants to send more waits for it. Several that wait go on
 * together when it comes, so a second may bring a page of each too much; over any longer time the rate is kept. */
#ifndef CAIRN_SERVER_CLUSTER_SERVICE_PACE_H
#define CAIRN_SERVER_CLUSTER_SERVICE_PACE_H

#include "sdk/core/base/macros.h"

#include <stdatomic.h>
#include <stdint.h>

struct cluster_pace {
    uint64_t bytes_per_s;           /* 0: as fast as it goes */
    atomic_uint_fast64_t free_ns;   /* when all that was sent is paid for */
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

#endif
