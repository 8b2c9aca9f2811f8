/** Latencies in buckets that grow with what they hold: 32 to each power of two, so a quantile is right to 3 %. */
#ifndef CAIRN_TOOLS_HISTOGRAM_H
#define CAIRN_TOOLS_HISTOGRAM_H

#include <stdint.h>

enum { HISTOGRAM_SUB = 32, HISTOGRAM_BUCKETS = 60 * HISTOGRAM_SUB };

struct histogram {
    uint64_t count[HISTOGRAM_BUCKETS];
    uint64_t n, max;
};

void histogram_add(struct histogram *h, uint64_t value);
void histogram_merge(struct histogram *to, const struct histogram *from);
/** The value that a share @q of all do not exceed; 0 when there are none. */
uint64_t histogram_quantile(const struct histogram *h, double q);

#endif
