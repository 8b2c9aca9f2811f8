/** Metrics of a node: gathered from its workers, as Prometheus text for /metrics and as JSON for `cairn metrics`.
 *
 * Gathering reads relaxed atomics of all workers and asks nobody, so any worker's thread can do it at any time. */
#ifndef CAIRN_NODE_METRICS_H
#define CAIRN_NODE_METRICS_H

#include "sdk/core/bulk/bulk.h"
#include "sdk/core/loop/http.h"
#include "sdk/core/rpc/node_counters.h"
#include "sdk/core/rpc/rpc_stats.h"
#include "server/port/provider.h"

/** Where the figures are; the node fills it once, before its workers run. Everything outlives its use. */
struct cairn_metrics {
    const char *node, *version;
    uint64_t started_ns;   /* env clock */
    struct cairn_env *env; /* any worker's, for the clock alone */
    bool insecure;         /* listens without authentication: said in a metric, so that it is noticed */
    const struct cairn_rpc_target *targets;         /* every provider, built-in ones too */
    const struct cairn_provider_desc *const *descs; /* of each target, for its status(); entries, or all, may be NULL */
    uint32_t ntargets;
    struct cairn_rpc_stats_set *const *sets;        /* one per worker */
    const struct cairn_bulk_counters *const *bulks; /* likewise; may be NULL */
    uint32_t nsets;
    const struct cairn_rpc_node_counters *counters; /* may be NULL */
    struct cairn_pool *pool;                        /* may be NULL */
    /** May be NULL. False, with a reason, if the node should get no new work: /healthz answers 503. */
    bool (*healthy)(void *arg, char *reason, size_t len);
    void *healthy_arg;
};

/** The sum over all workers. */
void cairn_metrics_method(const struct cairn_metrics *m, const struct cairn_rpc_target *t, uint32_t method,
                          struct cairn_rpc_stats_sum *sum);

/** Prometheus text format 0.0.4, from malloc; NULL without memory. */
char *cairn_metrics_text(const struct cairn_metrics *m, size_t *len);
/** {"version":1,"node",...,"counters":{},"bulk":[{}],"methods":[{}],"sizes":[{}],"errors":[{}]}: tables of flat rows,
 * units in the names ("_ns", "_bytes"). Of a method only "latencies" is a list: [[about so many ns, so often], ...],
 * rising, so that whoever asks twice knows what was between; and "clients" an object: "requests", "failed",
 * "in_bytes", "out_bytes" of what clients asked and was answered. A new reference; NULL without memory. */
json_t *cairn_metrics_json(const struct cairn_metrics *m);

/** Serves /metrics and /healthz on @fd (listening, non-blocking, taken over). On the loop's thread, or before it runs.
 */
struct cairn_http *cairn_metrics_serve(const struct cairn_metrics *m, struct cairn_loop *loop, int fd,
                                       struct cairn_err *err);

/* ---- Prometheus text, for these files and their test ---- */

struct cairn_prom {
    FILE *to;
};
/** "# HELP" and "# TYPE" of a family; every sample of it follows before the next family. */
void cairn_prom__family(struct cairn_prom *p, const char *name, const char *type, const char *help);
/** One sample; labels are name, value pairs and end with NULL. */
void cairn_prom__sample(struct cairn_prom *p, const char *name, const char *const *labels, double value);
/** _bucket, _sum and _count. Bounds are the upper ends of powers of two from 2^@first to 2^@last, each @step apart;
 * values are divided by @scale (1e9: seconds of nanoseconds). */
void cairn_prom__histogram(struct cairn_prom *p, const char *name, const char *const *labels,
                           const struct cairn_hist_sum *h, uint32_t shift, uint32_t first, uint32_t last, uint32_t step,
                           double scale);

#endif
