/** Memory of the memory store: size classes in slabs of 2 MiB, within one limit.
 *
 * A put that replaces a value of about the same size takes memory that another gave back, and asks neither malloc nor
 * the kernel. What counts against the limit is what may be resident: objects that were ever handed out of a slab that
 * is still there. Freed objects serve their size class; a slab whose last object is freed serves any. What is kept for
 * reuse only goes when that makes the room that is asked for; so a refusal costs little, and takes nothing from those
 * who could still use it. Any thread. */
#ifndef CAIRN_PROVIDERS_KV_SLAB_H
#define CAIRN_PROVIDERS_KV_SLAB_H

#include "sdk/core/base/list.h"

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

enum {
    CAIRN_KV_SLAB_BYTES = 2 << 20,
    CAIRN_KV_SLAB_HUGE_FROM = 4,          /* slabs of a class: more of them ask for a huge page each */
    CAIRN_KV_SLAB_OBJECT_MAX = 128 << 10, /* larger objects are mappings of their own */
    CAIRN_KV_SLAB_CLASSES = 88,           /* 16, 32 ... 128, then 8 to a doubling: at most 1/8 is lost */
    CAIRN_KV_SLAB_KEPT = 8,               /* mappings of large objects that wait for reuse */
};

struct cairn_kv_slab;

struct cairn_kv_slab_kept {
    void *ptr;
    size_t bytes;
};

struct cairn_kv_slabs {
    pthread_mutex_t mutex;
    uint64_t limit, resident; /* under mutex, as all below */
    uint64_t used;            /* bytes of live objects, as classes */
    uint32_t nslabs[CAIRN_KV_SLAB_CLASSES];
    struct cairn_link usable[CAIRN_KV_SLAB_CLASSES];    /* slabs with room */
    struct cairn_kv_slab *empty[CAIRN_KV_SLAB_CLASSES]; /* the one among them without objects, or NULL */
    uint64_t idle;                                      /* resident bytes of those, and of what is kept */
    struct cairn_kv_slab_kept kept[CAIRN_KV_SLAB_KEPT];
};

void cairn_kv_slabs_init(struct cairn_kv_slabs *s, uint64_t limit);
/** Asserts that every object was freed. */
void cairn_kv_slabs_fini(struct cairn_kv_slabs *s);

/** 16-byte aligned, not zeroed. NULL when the limit, or the machine's memory, is reached. */
void *cairn_kv_slab_alloc(struct cairn_kv_slabs *s, size_t n);
/** @n as given to cairn_kv_slab_alloc(), or any number of the same class. */
void cairn_kv_slab_free(struct cairn_kv_slabs *s, void *p, size_t n);
/** How many bytes an object of @n really has: equal for all numbers of one class. */
size_t cairn_kv_slab_room(size_t n);
/** Less than @bytes are left for objects of any size: live ones alone leave so little, or, with what is free in slabs
 * of some size only, less than a quarter of it is. */
bool cairn_kv_slabs_are_low(struct cairn_kv_slabs *s, uint64_t bytes);
/** Bytes counted against the limit now. */
uint64_t cairn_kv_slabs_resident(struct cairn_kv_slabs *s);

#endif
