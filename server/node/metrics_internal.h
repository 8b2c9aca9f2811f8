/* What the page and the JSON are both made of: metrics.c, metrics_json.c. */
#ifndef CAIRN_NODE_METRICS_INTERNAL_H
#define CAIRN_NODE_METRICS_INTERNAL_H

#include "server/node/metrics.h"

enum { CAIRN_METRICS_BULK_COLUMNS = 4 };

/* A method that was used. */
struct cairn_metrics_used {
    const struct cairn_rpc_target *target;
    const char *method;
    struct cairn_rpc_stats_sum sum;
};

/* The counts that belong to no way. */
struct cairn_metrics_bulk_column {
    const char *name, *json, *help;
    size_t offset; /* of a uint64_t in struct cairn_bulk_stats */
};

extern const struct cairn_metrics_bulk_column cairn_metrics__bulk_columns[CAIRN_METRICS_BULK_COLUMNS];

/* All of them, to be freed. NULL without memory, or if there is none: then *@n is 0. */
struct cairn_metrics_used *cairn_metrics__used(const struct cairn_metrics *m, uint32_t *n);
struct cairn_bulk_stats cairn_metrics__bulk(const struct cairn_metrics *m);
uint64_t cairn_metrics__bulk_value(const struct cairn_metrics_bulk_column *c, const struct cairn_bulk_stats *sum);
double cairn_metrics__resident_bytes(void);

#endif
