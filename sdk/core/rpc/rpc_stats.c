/* Counters by provider and method: see rpc_stats.h. The buckets are those of HdrHistogram with two significant bits. */
#include "sdk/core/rpc/rpc_stats.h"

#include "sdk/core/rpc/rpc.h"

#include <stdlib.h>

struct stats_row {
    struct cairn_rpc_stats *methods;
    uint32_t n;
};

struct cairn_rpc_stats_set {
    struct stats_row rows[CAIRN_PROVIDERS_MAX]; /* by the provider's number */
    uint32_t nlines;
    struct cairn_rpc_stats lines[];
};

struct cairn_rpc_stats_set *cairn_rpc_stats_set_new(const struct cairn_rpc_target *targets, uint32_t ntargets)
{
    struct cairn_rpc_stats_set *set;
    uint32_t n = 0;

    for (uint32_t i = 0; i < ntargets; i++)
        n += targets[i].iface->nmethods;
    set = calloc(1, sizeof(*set) + n * sizeof(set->lines[0]));
    if (set == NULL)
        return NULL;
    for (uint32_t i = 0; i < ntargets; i++) {
        CAIRN_ASSERT(targets[i].id < CAIRN_PROVIDERS_MAX);
        set->rows[targets[i].id] = (struct stats_row){ &set->lines[set->nlines], targets[i].iface->nmethods };
        set->nlines += targets[i].iface->nmethods;
    }
    return set;
}

void cairn_rpc_stats_set_free(struct cairn_rpc_stats_set *set)
{
    if (set == NULL)
        return;
    for (uint32_t i = 0; i < set->nlines; i++)
        free(atomic_load_explicit(&set->lines[i].detail, memory_order_relaxed));
    free(set);
}

struct cairn_rpc_stats *cairn_rpc_stats_find(const struct cairn_rpc_stats_set *set, uint16_t provider, uint32_t method)
{
    if (provider >= CAIRN_PROVIDERS_MAX || method >= set->rows[provider].n)
        return NULL;
    return &set->rows[provider].methods[method];
}

struct cairn_rpc_stats_detail *cairn_rpc__stats_detail_new(struct cairn_rpc_stats *s)
{
    struct cairn_rpc_stats_detail *d = calloc(1, sizeof(*d));

    if (d != NULL) /* release: a reader that sees the pointer sees the zeros */
        atomic_store_explicit(&s->detail, d, memory_order_release);
    return d;
}

static uint64_t get(const _Atomic uint64_t *p)
{
    return atomic_load_explicit((_Atomic uint64_t *)p, memory_order_relaxed);
}

void cairn_hist_merge(struct cairn_hist_sum *to, const struct cairn_hist *from)
{
    for (uint32_t i = 0; i < CAIRN_HIST_BUCKETS; i++) {
        uint64_t n = get(&from->buckets[i]);

        to->buckets[i] += n;
        to->n += n; /* the sum of what was read, so that a histogram is consistent in itself */
    }
    to->sum += get(&from->sum);
    to->max = MAX(to->max, get(&from->max));
}

void cairn_rpc_stats_merge(struct cairn_rpc_stats_sum *to, const struct cairn_rpc_stats *s)
{
    const struct cairn_rpc_stats_detail *d;

    if (s == NULL)
        return;
    to->ended += get(&s->ended); /* before `started`: what is in flight is never too few */
    to->failed += get(&s->failed);
    to->started += get(&s->started);
    to->bytes_in += get(&s->bytes_in);
    to->bytes_out += get(&s->bytes_out);
    to->clients.requests += get(&s->clients.requests);
    to->clients.failed += get(&s->clients.failed);
    to->clients.bytes_in += get(&s->clients.bytes_in);
    to->clients.bytes_out += get(&s->clients.bytes_out);
    d = atomic_load_explicit((_Atomic(struct cairn_rpc_stats_detail *) *)&s->detail, memory_order_acquire);
    if (d == NULL)
        return;
    for (uint32_t i = 0; i < CAIRN_RPC_ERRORS; i++)
        to->errors[i] += get(&d->errors[i]);
    cairn_hist_merge(&to->latency_ns, &d->latency_ns);
    cairn_hist_merge(&to->request_bytes, &d->request_bytes);
    cairn_hist_merge(&to->reply_bytes, &d->reply_bytes);
}

uint64_t cairn_hist_upper(uint32_t i, uint32_t shift)
{
    uint32_t e;

    if (i < 4)
        return (uint64_t)(i + 1) << shift;
    e = i / 4 + shift + 1;
    return (UINT64_C(4) + i % 4 + 1) << (e - 2);
}

uint64_t cairn_hist_middle(uint32_t i, uint32_t shift)
{
    uint64_t lo = i > 0 ? cairn_hist_upper(i - 1, shift) : 0;

    return i == CAIRN_HIST_BUCKETS - 1 ? lo : lo + (cairn_hist_upper(i, shift) - lo) / 2;
}

uint64_t cairn_hist_percentile(const struct cairn_hist_sum *h, uint32_t shift, double p)
{
    uint64_t rank = (uint64_t)(p * (double)h->n), seen = 0;

    for (uint32_t i = 0; i < CAIRN_HIST_BUCKETS && h->n > 0; i++) {
        seen += h->buckets[i];
        if (seen > rank || seen == h->n)
            return i == CAIRN_HIST_BUCKETS - 1 ? h->max : MIN(cairn_hist_middle(i, shift), h->max);
    }
    return 0;
}
