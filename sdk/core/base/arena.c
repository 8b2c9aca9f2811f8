/* Bump allocator: see arena.h. */
#include "sdk/core/base/arena.h"

#include "sdk/core/base/macros.h"

#include <stdlib.h>

enum { ARENA_CHUNK_BYTES = 16 << 10 };

struct cairn_arena_chunk {
    struct cairn_arena_chunk *next;
    _Alignas(16) char bytes[];
};

void cairn_arena_init(struct cairn_arena *a, size_t limit)
{
    a->next = a->inline_bytes;
    a->end = a->inline_bytes + sizeof(a->inline_bytes);
    a->chunks = NULL;
    a->used = 0;
    a->limit = limit;
}

struct cairn_arena_chunk *cairn_arena_detach(struct cairn_arena *a)
{
    struct cairn_arena_chunk *chunks = a->chunks;

    a->chunks = NULL;
    return chunks;
}

void cairn_arena_chunks_free(struct cairn_arena_chunk *chunks)
{
    while (chunks != NULL) {
        struct cairn_arena_chunk *next = chunks->next;

        free(chunks);
        chunks = next;
    }
}

void cairn_arena_reset(struct cairn_arena *a)
{
    cairn_arena_chunks_free(cairn_arena_detach(a));
    a->next = a->inline_bytes;
    a->end = a->inline_bytes + sizeof(a->inline_bytes);
    a->used = 0;
}

static void *arena_alloc_chunk(struct cairn_arena *a, size_t n)
{
    size_t left = a->limit - a->used, bytes = MIN(MAX(n, (size_t)ARENA_CHUNK_BYTES), left);
    struct cairn_arena_chunk *c;

    if (n > left)
        return NULL;
    c = malloc(sizeof(*c) + bytes);
    if (c == NULL)
        return NULL;
    c->next = a->chunks;
    a->chunks = c;
    a->used += bytes;
    if (n == bytes) /* a large piece has a chunk of its own, and the current one goes on */
        return c->bytes;
    a->next = c->bytes + n;
    a->end = c->bytes + bytes;
    return c->bytes;
}

void *cairn_arena_alloc(struct cairn_arena *a, size_t n)
{
    char *p = a->next;

    if (n > SIZE_MAX - 15)
        return NULL;
    n = (n + 15) & ~(size_t)15;
    if (UNLIKELY((size_t)(a->end - p) < n))
        return arena_alloc_chunk(a, n);
    a->next = p + n;
    return p;
}
