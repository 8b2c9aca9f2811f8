/** Memory that is taken piece by piece and given back all at once: what a decoded request lives in.
 *
 * The first CAIRN_ARENA_INLINE_BYTES need no allocation; more comes in chunks from the heap, up to @limit bytes in all,
 * so that a hostile message cannot make us allocate without bound. One thread at a time. */
#ifndef CAIRN_CORE_BASE_ARENA_H
#define CAIRN_CORE_BASE_ARENA_H

#include <stddef.h>
#include <stdint.h>

enum { CAIRN_ARENA_INLINE_BYTES = 1024 };

struct cairn_arena_chunk;

struct cairn_arena {
    char *next, *end;
    struct cairn_arena_chunk *chunks;
    size_t used, limit;
    _Alignas(16) char inline_bytes[CAIRN_ARENA_INLINE_BYTES];
};

void cairn_arena_init(struct cairn_arena *a, size_t limit);
/** Gives everything back but the inline part; what was handed out is gone. Also the end of its life. */
void cairn_arena_reset(struct cairn_arena *a);
/** 16-byte aligned, not zeroed; NULL when the limit or the machine's memory is reached. */
void *cairn_arena_alloc(struct cairn_arena *a, size_t n);

/** Takes the chunks away from @a, whose memory stays valid until they are freed; for when @a may go first. */
struct cairn_arena_chunk *cairn_arena_detach(struct cairn_arena *a);
void cairn_arena_chunks_free(struct cairn_arena_chunk *chunks);

#endif
