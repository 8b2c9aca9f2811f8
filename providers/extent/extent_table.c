/* All regions by name: see extent_table.h. */
#include "providers/extent/extent_table.h"

#include "cairn/error.h"
#include "providers/extent/extent_core.h"
#include "providers/extent/extent_draft.h"
#include "providers/extent/extent_store.h"

#include <stdlib.h>

enum {
    SHARD_BITS = 6,
    BITS_MAX = 26,
    LIST_PLACES = 1 << 16, /* that a listing looks at for regions of one owner: less than a millisecond */
};
static const uint32_t first_bits[CAIRN_EXTENT_SETS] = { [CAIRN_EXTENT_ALL] = 4, [CAIRN_EXTENT_BAD] = 1 };
_Static_assert(1 << SHARD_BITS == CAIRN_EXTENT_SHARDS, "the leading bits of a name are its shard");

static void buckets_free(struct cairn_extent_table *t)
{
    for (uint32_t i = 0; i < CAIRN_EXTENT_SHARDS * CAIRN_EXTENT_SETS; i++)
        free(t->shards[i / CAIRN_EXTENT_SETS].sets[i % CAIRN_EXTENT_SETS].buckets);
}

int cairn_extent_table_init(struct cairn_extent_table *t)
{
    *t = (struct cairn_extent_table){ 0 };
    for (uint32_t i = 0; i < CAIRN_EXTENT_SHARDS * CAIRN_EXTENT_SETS; i++) {
        struct cairn_extent_set *s = &t->shards[i / CAIRN_EXTENT_SETS].sets[i % CAIRN_EXTENT_SETS];

        s->which = i % CAIRN_EXTENT_SETS;
        s->bits = first_bits[s->which];
        s->buckets = calloc((size_t)1 << s->bits, sizeof(struct cairn_extent_region *));
        if (s->buckets == NULL) {
            buckets_free(t);
            return CAIRN_E_NOMEM;
        }
    }
    for (uint32_t i = 0; i < CAIRN_EXTENT_SHARDS; i++)
        pthread_mutex_init(&t->shards[i].mutex, NULL);
    return 0;
}

static void set_clear(struct cairn_extent_table *t, struct cairn_extent_set *s)
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
        set_clear(t, &t->shards[i].sets[CAIRN_EXTENT_ALL]);
}

void cairn_extent_table_fini(struct cairn_extent_table *t)
{
    cairn_extent_table_clear(t);
    buckets_free(t);
    for (uint32_t i = 0; i < CAIRN_EXTENT_SHARDS; i++)
        pthread_mutex_destroy(&t->shards[i].mutex);
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
static struct cairn_extent_region **place_of(struct cairn_extent_set *s, uint64_t id)
{
    struct cairn_extent_region **at = &s->buckets[bucket_of(id, s->bits)];

    while (*at != NULL && (*at)->id < id)
        at = &(*at)->next[s->which];
    return at;
}

/* Each bucket becomes two, its chain cut in the middle. Without memory the chains just get longer. */
static void set_grow(struct cairn_extent_set *s)
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
            at = &(*at)->next[s->which];
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

/* False if the name is there already. */
static bool set_add(struct cairn_extent_set *s, struct cairn_extent_region *r)
{
    struct cairn_extent_region **at = place_of(s, r->id);

    if (*at != NULL && (*at)->id == r->id)
        return false;
    r->next[s->which] = *at;
    *at = r;
    s->n++;
    set_grow(s);
    return true;
}

static void set_del(struct cairn_extent_set *s, struct cairn_extent_region *r)
{
    struct cairn_extent_region **at = place_of(s, r->id);

    CAIRN_ASSERT(*at == r);
    *at = r->next[s->which];
    s->n--;
}

bool cairn_extent_table_add(struct cairn_extent_table *t, struct cairn_extent_region *r)
{
    struct cairn_extent_shard *s = shard_of(t, r->id);
    bool added;

    pthread_mutex_lock(&s->mutex);
    added = set_add(&s->sets[CAIRN_EXTENT_ALL], r);
    if (added) {
        r->listed = true;
        if (atomic_load(&r->quarantined))
            set_add(&s->sets[CAIRN_EXTENT_BAD], r);
        if (atomic_load(&r->sealed))
            count(t, r, true);
    }
    pthread_mutex_unlock(&s->mutex);
    return added;
}

struct cairn_extent_region *cairn_extent_table_find(struct cairn_extent_table *t, uint64_t id)
{
    struct cairn_extent_shard *s = shard_of(t, id);
    struct cairn_extent_region *r;

    pthread_mutex_lock(&s->mutex);
    r = *place_of(&s->sets[CAIRN_EXTENT_ALL], id);
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
        set_del(&s->sets[CAIRN_EXTENT_ALL], r);
        if (atomic_load(&r->quarantined))
            set_del(&s->sets[CAIRN_EXTENT_BAD], r);
        r->listed = false;
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
    if (first && r->listed) {
        set_add(&s->sets[CAIRN_EXTENT_BAD], r);
        if (atomic_load(&r->sealed))
            atomic_fetch_add_explicit(&t->quarantined, 1, memory_order_relaxed);
    }
    pthread_mutex_unlock(&s->mutex);
    return first;
}

/* The last name that belongs into bucket @b of shard @i. */
static uint64_t last_name(uint64_t i, uint64_t b, uint32_t bits)
{
    return (i << (64 - SHARD_BITS)) + ((b + 1) << (64 - SHARD_BITS - bits)) - 1;
}

/* Calls @fn for each sealed region of set @which above @after, in order, under the lock of its shard, until it says
 * stop or
 * @places buckets and regions were looked at. Returns the name up to which all were seen. */
static uint64_t walk(struct cairn_extent_table *t, uint32_t which, uint64_t after, uint32_t *places,
                     bool (*fn)(void *arg, struct cairn_extent_region *r), void *arg)
{
    uint64_t first = after >> (64 - SHARD_BITS), seen = after;
    bool go_on = true;

    for (uint64_t i = first; i < CAIRN_EXTENT_SHARDS && go_on; i++) {
        struct cairn_extent_set *s = &t->shards[i].sets[which];

        pthread_mutex_lock(&t->shards[i].mutex);
        for (uint64_t b = i == first ? bucket_of(after, s->bits) : 0; b < UINT64_C(1) << s->bits && go_on; b++) {
            uint32_t n = 1;

            for (struct cairn_extent_region *r = s->buckets[b]; r != NULL && go_on; r = r->next[which], n++) {
                if (r->id > after && atomic_load(&r->sealed))
                    go_on = fn(arg, r);
            }
            if (!go_on)
                break;
            seen = last_name(i, b, s->bits);
            if (places != NULL)
                go_on = (*places -= MIN(n, *places)) > 0;
        }
        pthread_mutex_unlock(&t->shards[i].mutex);
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

    if (l->filter->owner != 0 && l->filter->owner != r->owner)
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
                                 uint64_t *lengths, uint64_t *owners, uint32_t max, bool *more, uint64_t *after)
{
    struct lister l = { .filter = filter, .ids = ids, .lengths = lengths, .owners = owners, .max = max };
    uint32_t places = LIST_PLACES, which = filter->quarantined ? CAIRN_EXTENT_BAD : CAIRN_EXTENT_ALL;
    uint64_t seen = walk(t, which, filter->after, filter->owner != 0 ? &places : NULL, list_one, &l);

    if (l.more) /* names that were seen, and not shown, are behind the last that was */
        seen = l.n > 0 ? l.ids[l.n - 1] : filter->after;
    *more = l.more || seen != UINT64_MAX;
    if (after != NULL)
        *after = seen;
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

    *after = walk(t, CAIRN_EXTENT_ALL, *after, places, take_first, &found);
    return found;
}
