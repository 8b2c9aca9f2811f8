/** The clock by which threads wait for one another. Whatever runs on a loop asks its environment (env.h) instead. */
#ifndef CAIRN_SDK_CORE_BASE_CLOCK_H
#define CAIRN_SDK_CORE_BASE_CLOCK_H

#include "sdk/core/base/macros.h"

#include <stdint.h>
#include <time.h>

/** CLOCK_MONOTONIC, in nanoseconds. Any thread. */
static inline uint64_t cairn_monotonic_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * CAIRN_NS_PER_S + (uint64_t)ts.tv_nsec;
}

#endif
