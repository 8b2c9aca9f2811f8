/* Size classes in slabs: see kv_slab.h. A slab is 2 MiB, aligned to its size, so an object finds it by its own address.
 */
#include "providers/kv/kv_slab.h"

#include <string.h>
#include <sys/mman.h>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(p, n)   ((void)(p), (void)(n))
#define ASAN_UNPOISON_MEMORY_REGION(p, n) ((void)(p), (void)(n))
#endif

enum { SLAB_HEADER_BYTES = 64, SLAB_LARGE_STEP = 64 << 10 };

struct cairn_kv_slab {
    struct cairn_link link; /* on usable[class], or on nothing when full */
    void *free;             /* a list through the objects */
    uint32_t class, used;
    uint32_t fresh; /* where the part begins that was never handed out */
    bool huge;      /* resident as a whole */
};

_Static_assert(sizeof(struct cairn_kv_slab) <= SLAB_HEADER_BYTES, "the header has its place");

static uint32_t class_of(size_t n)
{
    uint32_t lg;

    if (n <= 128)
        return n == 0 ? 0 : (uint32_t)((n - 1) / 16);
    lg = 63 - (uint32_t)__builtin_clzll(n - 1);
    return (lg - 6) * 8 + (uint32_t)((n - 1) >> (lg - 3)) - 8;
}

static size_t class_bytes(uint32_t class)
{
    uint32_t lg;

    if (class < 8)
        return (class + 1) * 16;
    lg = class / 8 + 6;
    return (size_t)(8 + class % 8 + 1) << (lg - 3);
}

static size_t large_bytes(size_t n)
{
    return cairn_round_up(n, SLAB_LARGE_STEP);
}

size_t cairn_kv_slab_room(size_t n)
{
    return n > CAIRN_KV_SLAB_OBJECT_MAX ? large_bytes(n) : class_bytes(class_of(n));
}

void cairn_kv_slabs_init(struct cairn_kv_slabs *s, uint64_t limit)
{
    memset(s, 0, sizeof(*s));
    pthread_mutex_init(&s->mutex, NULL);
    s->limit = limit;
    for (uint32_t i = 0; i < CAIRN_KV_SLAB_CLASSES; i++)
        cairn_list_init(&s->usable[i]);
}

static uint64_t slab_resident(const struct cairn_kv_slab *slab)
{
    return slab->huge ? CAIRN_KV_SLAB_BYTES : slab->fresh;
}

static void slab_unmap(struct cairn_kv_slabs *s, struct cairn_kv_slab *slab)
{
    cairn_list_del(&slab->link);
    s->resident -= slab_resident(slab);
    s->nslabs[slab->class]--;
    ASAN_UNPOISON_MEMORY_REGION(slab, CAIRN_KV_SLAB_BYTES);
    munmap(slab, CAIRN_KV_SLAB_BYTES);
}

/* @slab, which has no objects, is the one of its class that stays. */
static void empty_keep(struct cairn_kv_slabs *s, struct cairn_kv_slab *slab)
{
    CAIRN_ASSERT(s->empty[slab->class] == NULL);
    s->empty[slab->class] = slab;
    s->idle += slab_resident(slab);
}

/* It goes, or gets an object. */
static void empty_take(struct cairn_kv_slabs *s, struct cairn_kv_slab *slab)
{
    CAIRN_ASSERT(s->empty[slab->class] == slab);
    s->empty[slab->class] = NULL;
    s->idle -= slab_resident(slab);
}

/* The caller has the mapping then. */
static void *kept_take(struct cairn_kv_slabs *s, uint32_t i)
{
    void *p = s->kept[i].ptr;

    s->kept[i].ptr = NULL;
    s->idle -= s->kept[i].bytes;
    return p;
}

/* Gives back what is kept for reuse only. */
static void slabs_trim(struct cairn_kv_slabs *s)
{
    for (uint32_t i = 0; i < CAIRN_KV_SLAB_CLASSES; i++) {
        struct cairn_kv_slab *slab = s->empty[i];

        if (slab == NULL)
            continue;
        empty_take(s, slab);
        slab_unmap(s, slab);
    }
    for (uint32_t i = 0; i < CAIRN_KV_SLAB_KEPT; i++) {
        if (s->kept[i].ptr != NULL) {
            munmap(kept_take(s, i), s->kept[i].bytes);
            s->resident -= s->kept[i].bytes;
        }
    }
    CAIRN_ASSERT(s->idle == 0);
}

void cairn_kv_slabs_fini(struct cairn_kv_slabs *s)
{
    slabs_trim(s);
    CAIRN_ASSERT(s->used == 0 && s->resident == 0);
    pthread_mutex_destroy(&s->mutex);
}

static struct cairn_kv_slab *slab_map(struct cairn_kv_slabs *s, uint32_t class, bool huge)
{
    uint8_t *p = mmap(NULL, 2 * CAIRN_KV_SLAB_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    uint8_t *at;
    struct cairn_kv_slab *slab;

    if (p == MAP_FAILED)
        return NULL;
    at = (uint8_t *)cairn_round_up((uintptr_t)p, CAIRN_KV_SLAB_BYTES);
    if (at > p)
        munmap(p, (size_t)(at - p));
    munmap(at + CAIRN_KV_SLAB_BYTES, (size_t)(p + CAIRN_KV_SLAB_BYTES - at));
    if (huge)
        huge = madvise(at, CAIRN_KV_SLAB_BYTES, MADV_HUGEPAGE) == 0;
    slab = (struct cairn_kv_slab *)at;
    cairn_list_init(&slab->link);
    slab->free = NULL;
    slab->class = class;
    slab->used = 0;
    slab->fresh = SLAB_HEADER_BYTES;
    slab->huge = huge;
    s->nslabs[class]++;
    s->resident += huge ? CAIRN_KV_SLAB_BYTES : slab->fresh;
    ASAN_POISON_MEMORY_REGION(at + SLAB_HEADER_BYTES, CAIRN_KV_SLAB_BYTES - SLAB_HEADER_BYTES);
    return slab;
}

/* True if @bytes more may become resident, if need be after giving back what is only kept: all of it, so that the next
 * need does not come at once, but only if that is enough. */
static bool slabs_allow(struct cairn_kv_slabs *s, size_t bytes)
{
    if (s->resident + bytes <= s->limit)
        return true;
    if (s->resident - s->idle + bytes > s->limit)
        return false;
    slabs_trim(s);
    return true;
}

static void *small_alloc(struct cairn_kv_slabs *s, uint32_t class)
{
    size_t bytes = class_bytes(class);
    struct cairn_link *head = &s->usable[class];
    struct cairn_kv_slab *slab;
    void *p;

    if (!cairn_list_is_empty(head)) {
        slab = CONTAINER_OF(head->next, struct cairn_kv_slab, link);
        p = slab->free;
        if (p != NULL) {
            if (slab->used == 0)
                empty_take(s, slab);
            ASAN_UNPOISON_MEMORY_REGION(p, bytes);
            memcpy(&slab->free, p, sizeof(void *));
            goto out;
        }
        if (!slab->huge && !slabs_allow(s, bytes))
            return NULL;
    }
    if (cairn_list_is_empty(head)) {
        bool huge = s->nslabs[class] >= CAIRN_KV_SLAB_HUGE_FROM && s->resident + CAIRN_KV_SLAB_BYTES <= s->limit;

        if (!slabs_allow(s, bytes + SLAB_HEADER_BYTES))
            return NULL;
        slab = slab_map(s, class, huge);
        if (slab == NULL)
            return NULL;
        cairn_list_add_head(head, &slab->link);
    }
    slab = CONTAINER_OF(head->next, struct cairn_kv_slab, link);
    p = (uint8_t *)slab + slab->fresh;
    slab->fresh += (uint32_t)bytes;
    if (!slab->huge)
        s->resident += bytes;
    ASAN_UNPOISON_MEMORY_REGION(p, bytes);
out:
    slab->used++;
    s->used += bytes;
    if (slab->free == NULL && slab->fresh + bytes > CAIRN_KV_SLAB_BYTES)
        cairn_list_del(&slab->link);
    return p;
}

static void small_free(struct cairn_kv_slabs *s, void *p, uint32_t class)
{
    size_t bytes = class_bytes(class);
    struct cairn_kv_slab *slab = (struct cairn_kv_slab *)((uintptr_t)p & ~(uintptr_t)(CAIRN_KV_SLAB_BYTES - 1));
    struct cairn_link *head = &s->usable[class];

    CAIRN_ASSERT(slab->class == class && slab->used > 0);
    memcpy(p, &slab->free, sizeof(void *));
    slab->free = p;
    ASAN_POISON_MEMORY_REGION(p, bytes);
    slab->used--;
    s->used -= bytes;
    if (slab->link.next == &slab->link)
        cairn_list_add_head(head, &slab->link);
    if (slab->used > 0)
        return;
    /* One empty slab of a class stays, or a value that comes and goes would map and unmap each time. */
    if (head->next == &slab->link && head->prev == &slab->link)
        empty_keep(s, slab);
    else
        slab_unmap(s, slab);
}

static void *large_alloc(struct cairn_kv_slabs *s, size_t bytes)
{
    void *p;

    for (uint32_t i = 0; i < CAIRN_KV_SLAB_KEPT; i++) {
        if (s->kept[i].ptr != NULL && s->kept[i].bytes == bytes) {
            s->used += bytes;
            return kept_take(s, i);
        }
    }
    if (!slabs_allow(s, bytes))
        return NULL;
    p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return NULL;
    s->resident += bytes;
    s->used += bytes;
    return p;
}

static void large_free(struct cairn_kv_slabs *s, void *p, size_t bytes)
{
    s->used -= bytes;
    for (uint32_t i = 0; i < CAIRN_KV_SLAB_KEPT; i++) {
        if (s->kept[i].ptr == NULL) {
            s->kept[i].ptr = p;
            s->kept[i].bytes = bytes;
            s->idle += bytes;
            return;
        }
    }
    munmap(p, bytes);
    s->resident -= bytes;
}

void *cairn_kv_slab_alloc(struct cairn_kv_slabs *s, size_t n)
{
    void *p;

    pthread_mutex_lock(&s->mutex);
    p = n > CAIRN_KV_SLAB_OBJECT_MAX ? large_alloc(s, large_bytes(n)) : small_alloc(s, class_of(n));
    pthread_mutex_unlock(&s->mutex);
    return p;
}

void cairn_kv_slab_free(struct cairn_kv_slabs *s, void *p, size_t n)
{
    if (p == NULL)
        return;
    pthread_mutex_lock(&s->mutex);
    if (n > CAIRN_KV_SLAB_OBJECT_MAX)
        large_free(s, p, large_bytes(n));
    else
        small_free(s, p, class_of(n));
    pthread_mutex_unlock(&s->mutex);
}

bool cairn_kv_slabs_are_low(struct cairn_kv_slabs *s, uint64_t bytes)
{
    bool low;

    pthread_mutex_lock(&s->mutex);
    low = s->used + bytes > s->limit || s->resident - s->idle + bytes / 4 > s->limit;
    pthread_mutex_unlock(&s->mutex);
    return low;
}

uint64_t cairn_kv_slabs_resident(struct cairn_kv_slabs *s)
{
    uint64_t n;

    pthread_mutex_lock(&s->mutex);
    n = s->resident;
    pthread_mutex_unlock(&s->mutex);
    return n;
}
