/** Public structs that grow. Within a major version a struct with a size member may get more members at its end
 * (cairn.h), never in the padding behind the last one; programs that were built before pass the shorter one. So the
 * library asks for what the struct had in 0.1, and reads what came later from a copy, in which it is zero if the
 * program did not know it. */
#ifndef CAIRN_CORE_BASE_GROWN_H
#define CAIRN_CORE_BASE_GROWN_H

#include "sdk/core/base/macros.h"

#include <string.h>

/** True if *@x has all members up to @last, the last one of 0.1. */
#define CAIRN_REACHES(x, last) ((x)->size >= offsetof(__typeof__(*(x)), last) + sizeof((x)->last))

/** Copies what *@from has of it to *@to, and zeroes the rest. */
#define CAIRN_TAKE(to, from) cairn_take_grown(to, sizeof(*(to)), from, (from)->size)

static inline void cairn_take_grown(void *to, size_t room, const void *from, size_t size)
{
    memcpy(to, from, MIN(size, room));
    memset((char *)to + MIN(size, room), 0, room - MIN(size, room));
}

#endif
