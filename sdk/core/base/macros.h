/** Small things every file needs. */
#ifndef CAIRN_CORE_BASE_MACROS_H
#define CAIRN_CORE_BASE_MACROS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CONTAINER_OF(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))
#define ARRAY_SIZE(a)                   (sizeof(a) / sizeof((a)[0]))
#define MIN(a, b)                       ((a) < (b) ? (a) : (b))
#define MAX(a, b)                       ((a) > (b) ? (a) : (b))
#define LIKELY(x)                       __builtin_expect(!!(x), 1)
#define UNLIKELY(x)                     __builtin_expect(!!(x), 0)

#define CAIRN_NS_PER_MS UINT64_C(1000000)
#define CAIRN_NS_PER_S  UINT64_C(1000000000)

/** Ends the process with a message; a defect of ours, never of the input. The crash hook (log.h) dumps the traces. */
_Noreturn void cairn_assert_failed(const char *expr, const char *file, int line);

#define CAIRN_ASSERT(x)                                                                                                \
    do {                                                                                                               \
        if (UNLIKELY(!(x)))                                                                                            \
            cairn_assert_failed(#x, __FILE__, __LINE__);                                                               \
    } while (0)

static inline uint64_t cairn_round_up(uint64_t n, uint64_t to)
{
    return (n + to - 1) / to * to;
}

#endif
