/* All regions by name: see extent_table.h. */
#include "providers/extent/extent_table.h"

#include "cairn/error.h"
#include "providers/extent/extent_core.h"
#include "providers/extent/extent_draft.h"
#include "providers/extent/extent_store.h"

#include <stdlib.h>

enum { SHARD_BITS = 6, FIRST_BITS = 4, BITS_MAX = 26 };
_Static_assert(1 << SHARD_BITS == CAIRN_EXTENT_SHARDS, "the leading bits of a name are its shard");

int cairn_extent_table_init(struct cairn_extent_table *t)
{
    *t = (struct cairn_extent_table){ 0 };
    for (uint32_t i = 0; i < CAIRN_EXTENT_SHARDS; i++) {
        struct cairn_extent_shard *s = &t->shards[i];

        s->bits = FIRST_BITS;
        s->buckets = calloc((size_t)1 << s->bits, sizeof(struct cairn_extent_region *));
        if (s->buckets == NULL) {
            while (i-- > 0)
                free(t->shards[i].buckets);
            return CAIRN_E_NOMEM;
        }
    }
    for (uint32_t i = 0; i < CAIRN_EXTENT_SHARDS; i++)
        pthread_mutex_init(&t->shards[i].mutex, NULL);
    return 0;
}

static void shard_clear(struct cairn_extent_table *t, struct cairn_extent_shard *s)
{
    for (uint32_t b = 0; b < UINT32_C(1) << s->bits; b++) {
        while (s->buckets[b] != NULL) {
            struct cairn_extent_region *r = s->buckets[b];

            cairn_extent_table_del(t, r);
            cairn_extent_region_put(r);
        }
    }
}

void cairn_extent_table_clear(struct cairn_extent_table *t)
{
    for (uint32_t i = 0; i < CAIRN_EXTENT_SHARDS; i++)
        shard_clear(t, &t->shards[i]);
}

void cairn_extent_table_fini(struct cairn_extent_table *t)
{
    cairn_extent_table_clear(t);
    for (uint32_t i = 0; i < CAIRN_EXTENT_SHARDS; i++) {
        free(t->shards[i].buckets);
        pthread_mutex_destroy(&t->shards[i].mutex);
    }
}

struct cairn_extent_region *cairn_extent_region_new(struct cairn_extent_store *store, uint64_t id, uint64_t length,
                                                    uint64_t owner)
{
    uint32_t n = cairn_extent_chunks(length);
    struct cairn_extent_region *r = calloc(1, sizeof(*r) + n * sizeof(r->crcs[0]));

    if (r == NULL)
        return NULL;
    r->store = store;
    r->id = id;
    r->length = length;
    r->owner = owner;
    r->nchunks = n;
    atomic_init(&r->refs, 1);
    cairn_list_init(&r->logged);
    return r;
}

void cairn_extent_region_get(struct cairn_extent_region *r)
{
    atomic_fetch_add_explicit(&r->refs, 1, memory_order_relaxed);
}

void cairn_extent_region_put(struct cairn_extent_region *r)
{
    unsigned was = atomic_fetch_sub_explicit(&r->refs, 1, memory_order_acq_rel);

    CAIRN_ASSERT(was > 0);
    if (was > 1)
        return;
    CAIRN_ASSERT(!r->listed);
    r->store->ops->release(r->store, r);
}

void cairn_extent_region_free(struct cairn_extent_region *r)
{
    free(r->draft);
    free(r);
}

static struct cairn_extent_shard *shard_of(struct cairn_extent_table *t, uint64_t id)
{
    return &t->shards[id >> (64 - SHARD_BITS)];
}

static uint64_t bucket_of(uint64_t id, uint32_t bits)
{
    return id << SHARD_BITS >> (64 - bits);
}

/* Chains are in order of name, so that the walk is. */
static struct cairn_extent_region **place_of(struct cairn_extent_shard *s, uint64_t id)
{
    struct cairn_extent_region **at = &s->buckets[bucket_of(id, s->bits)];

    while (*at != NULL && (*at)->id < id)
        at = &(*at)->next;
    return at;
}

/* Each bucket becomes two, its chain cut in the middle. Without memory the chains just get longer. */
static void shard_grow(struct cairn_extent_shard *s)
{
    struct cairn_extent_region **wide;
    uint64_t n = UINT64_C(1) << s->bits;

    if (s->n < 2 * n || s->bits == BITS_MAX)
        return;
    wide = calloc(2 * n, sizeof(struct cairn_extent_region *));
    if (wide == NULL)
        return;
    for (uint64_t b = 0; b < n; b++) {
        struct cairn_extent_region **at = &s->buckets[b];

        while (*at != NULL && bucket_of((*at)->id, s->bits + 1) == 2 * b)
            at = &(*at)->next;
        wide[2 * b + 1] = *at;
        *at = NULL;
        wide[2 * b] = s->buckets[b];
    }
    free(s->buckets);
    s->buckets = wide;
    s->bits++;
}

static void count(struct cairn_extent_table *t, const struct cairn_extent_region *r, bool in)
{
    uint64_t one = in ? 1 : UINT64_MAX;

    atomic_fetch_add_explicit(&t->regions, one, memory_order_relaxed);
    atomic_fetch_add_explicit(&t->bytes, in ? r->length : UINT64_C(0) - r->length, memory_order_relaxed);
    if (atomic_load(&r->quarantined))
        atomic_fetch_add_explicit(&t->quarantined, one, memory_order_relaxed);
}

bool cairn_extent_table_add(struct cairn_extent_table *t, struct cairn_extent_region *r)
{
    struct cairn_extent_shard *s = shard_of(t, r->id);
    struct cairn_extent_region **at;
    bool added = false;

    pthread_mutex_lock(&s->mutex);
    at = place_of(s, r->id);
    if (*at == NULL || (*at)->id != r->id) {
        r->next = *at;
        *at = r;
        r->listed = added = true;
        s->n++;
        if (atomic_load(&r->sealed))
            count(t, r, true);
        shard_grow(s);
    }
    pthread_mutex_unlock(&s->mutex);
    return added;
}

struct cairn_extent_region *cairn_extent_table_find(struct cairn_extent_table *t, uint64_t id)
{
    struct cairn_extent_shard *s = shard_of(t, id);
    struct cairn_extent_region *r;

    pthread_mutex_lock(&s->mutex);
    r = *place_of(s, id);
    if (r != NULL && r->id != id)
        r = NULL;
    if (r != NULL)
        cairn_extent_region_get(r);
    pthread_mutex_unlock(&s->mutex);
    return r;
}

bool cairn_extent_table_del(struct cairn_extent_table *t, struct cairn_extent_region *r)
{
    struct cairn_extent_shard *s = shard_of(t, r->id);
    bool was;

    pthread_mutex_lock(&s->mutex);
    was = r->listed;
    if (was) {
        struct cairn_extent_region **at = place_of(s, r->id);

        CAIRN_ASSERT(*at == r);
        *at = r->next;
        r->listed = false;
        s->n--;
        if (atomic_load(&r->sealed))
            count(t, r, false);
    }
    pthread_mutex_unlock(&s->mutex);
    return was;
}

void cairn_extent_table_seal(struct cairn_extent_table *t, struct cairn_extent_region *r)
{
    struct cairn_extent_shard *s = shard_of(t, r->id);

    pthread_mutex_lock(&s->mutex);
    CAIRN_ASSERT(!atomic_load(&r->sealed));
    atomic_store(&r->sealed, true);
    if (r->listed)
        count(t, r, true);
    pthread_mutex_unlock(&s->mutex);
}

bool cairn_extent_table_quarantine(struct cairn_extent_table *t, struct cairn_extent_region *r)
{
    struct cairn_extent_shard *s = shard_of(t, r->id);
    bool first;

    pthread_mutex_lock(&s->mutex);
    first = !atomic_exchange(&r->quarantined, true);
    if (first && r->listed && atomic_load(&r->sealed))
        atomic_fetch_add_explicit(&t->quarantined, 1, memory_order_relaxed);
    pthread_mutex_unlock(&s->mutex);
    return first;
}

/* The last name that belongs into bucket @b of shard @i. */
static uint64_t last_name(uint64_t i, uint64_t b, uint32_t bits)
{
    return (i << (64 - SHARD_BITS)) + ((b + 1) << (64 - SHARD_BITS - bits)) - 1;
}

/* Calls @fn for each sealed region above @after, in order, under the lock of its shard, until it says stop or @places
 * buckets and regions were looked at. Returns the name up to which all were seen. */
static uint64_t walk(struct cairn_extent_table *t, uint64_t after, uint32_t *places,
                     bool (*fn)(void *arg, struct cairn_extent_region *r), void *arg)
{
    uint64_t first = after >> (64 - SHARD_BITS), seen = after;
    bool go_on = true;

    for (uint64_t i = first; i < CAIRN_EXTENT_SHARDS && go_on; i++) {
        struct cairn_extent_shard *s = &t->shards[i];

        pthread_mutex_lock(&s->mutex);
        for (uint64_t b = i == first ? bucket_of(after, s->bits) : 0; b < UINT64_C(1) << s->bits && go_on; b++) {
            uint32_t n = 1;

            for (struct cairn_extent_region *r = s->buckets[b]; r != NULL && go_on; r = r->next, n++) {
                if (r->id > after && atomic_load(&r->sealed))
                    go_on = fn(arg, r);
            }
            if (!go_on)
                break;
            seen = last_name(i, b, s->bits);
            if (places != NULL)
                go_on = (*places -= MIN(n, *places)) > 0;
        }
        pthread_mutex_unlock(&s->mutex);
    }
    return seen;
}

struct lister {
    const struct cairn_extent_filter *filter;
    uint64_t *ids, *lengths, *owners;
    uint32_t n, max;
    bool more;
};

static bool list_one(void *arg, struct cairn_extent_region *r)
{
    struct lister *l = arg;

    if ((l->filter->quarantined && !atomic_load(&r->quarantined)) ||
        (l->filter->owner != 0 && l->filter->owner != r->owner))
        return true;
    if (l->n == l->max) {
        l->more = true;
        return false;
    }
    l->ids[l->n] = r->id;
    if (l->lengths != NULL)
        l->lengths[l->n] = r->length;
    if (l->owners != NULL)
        l->owners[l->n] = r->owner;
    l->n++;
    return true;
}

uint32_t cairn_extent_table_list(struct cairn_extent_table *t, const struct cairn_extent_filter *filter, uint64_t *ids,
                                 uint64_t *lengths, uint64_t *owners, uint32_t max, bool *more)
{
    struct lister l = { .filter = filter, .ids = ids, .lengths = lengths, .owners = owners, .max = max };

    /* Mostly there are none: do not look for them through millions. */
    if (!filter->quarantined || atomic_load(&t->quarantined) > 0)
        walk(t, filter->after, NULL, list_one, &l);
    *more = l.more;
    return l.n;
}

static bool take_first(void *arg, struct cairn_extent_region *r)
{
    struct cairn_extent_region **found = arg;

    if (r->length == 0 || atomic_load(&r->quarantined))
        return true;
    cairn_extent_region_get(r);
    *found = r;
    return false;
}

struct cairn_extent_region *cairn_extent_table_next(struct cairn_extent_table *t, uint64_t *after, uint32_t *places)
{
    struct cairn_extent_region *found = NULL;

    *after = walk(t, *after, places, take_first, &found);
    return found;
}
