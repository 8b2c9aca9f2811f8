#include "tools/cairn/histogram.h"

#include "sdk/core/base/macros.h"

/* Below 32 each value has its bucket; above, the five bits behind the highest one tell. */
static uint32_t bucket_of(uint64_t value)
{
    if (value < HISTOGRAM_SUB)
        return (uint32_t)value;
    uint32_t shift = 63 - (uint32_t)__builtin_clzll(value) - 5;
    return MIN((shift + 1) * HISTOGRAM_SUB + (uint32_t)((value >> shift) - HISTOGRAM_SUB), HISTOGRAM_BUCKETS - 1);
}

/* The greatest value of a bucket. */
static uint64_t bucket_top(uint32_t bucket)
{
    if (bucket < HISTOGRAM_SUB)
        return bucket;
    uint32_t shift = bucket / HISTOGRAM_SUB - 1;
    return ((uint64_t)(bucket % HISTOGRAM_SUB + HISTOGRAM_SUB + 1) << shift) - 1;
}

void histogram_add(struct histogram *h, uint64_t value)
{
    h->count[bucket_of(value)]++;
    h->n++;
    h->max = MAX(h->max, value);
}

void histogram_merge(struct histogram *to, const struct histogram *from)
{
    for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++)
        to->count[i] += from->count[i];
    to->n += from->n;
    to->max = MAX(to->max, from->max);
}

uint64_t histogram_quantile(const struct histogram *h, double q)
{
    uint64_t want = (uint64_t)((double)h->n * q), seen = 0;
    for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        seen += h->count[i];
        if (seen > want)
            return MIN(bucket_top(i), h->max);
    }
    return h->max;
}
