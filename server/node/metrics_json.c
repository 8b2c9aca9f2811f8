/* The figures as JSON: see metrics.h. */
#include "server/node/metrics_internal.h"

#include <stdlib.h>

static json_int_t json_u64(uint64_t v)
{
    return (json_int_t)MIN(v, (uint64_t)INT64_MAX);
}

/* [[about so many ns, so often], ...], rising: the differences of two such lists are the latencies between them. */
static json_t *latencies_of(const struct cairn_hist_sum *h)
{
    json_t *all = json_array();

    for (uint32_t i = 0; i < CAIRN_HIST_BUCKETS; i++) {
        if (h->buckets[i] > 0)
            json_array_append_new(
                all, json_pack("[I, I]", json_u64(cairn_hist_middle(i, CAIRN_HIST_NS_SHIFT)), json_u64(h->buckets[i])));
    }
    return all;
}

static json_t *clients_of(const struct cairn_rpc_stats_sum *sum)
{
    return json_pack("{s:I, s:I, s:I, s:I}", "requests", json_u64(sum->clients.requests), "failed",
                     json_u64(sum->clients.failed), "in_bytes", json_u64(sum->clients.bytes_in), "out_bytes",
                     json_u64(sum->clients.bytes_out));
}

static json_t *row_of(const struct cairn_metrics_used *u)
{
    const struct cairn_hist_sum *h = &u->sum.latency_ns;

    return json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o, s:o}", "provider",
                     u->target->name, "method", u->method, "requests", json_u64(u->sum.started), "inflight",
                     json_u64(cairn_rpc_stats_inflight(&u->sum)), "failed", json_u64(u->sum.failed), "in_bytes",
                     json_u64(u->sum.bytes_in), "out_bytes", json_u64(u->sum.bytes_out), "mean_ns",
                     json_u64(h->n > 0 ? h->sum / h->n : 0), "p50_ns",
                     json_u64(cairn_hist_percentile(h, CAIRN_HIST_NS_SHIFT, 0.5)), "p90_ns",
                     json_u64(cairn_hist_percentile(h, CAIRN_HIST_NS_SHIFT, 0.9)), "p99_ns",
                     json_u64(cairn_hist_percentile(h, CAIRN_HIST_NS_SHIFT, 0.99)), "p999_ns",
                     json_u64(cairn_hist_percentile(h, CAIRN_HIST_NS_SHIFT, 0.999)), "max_ns", json_u64(h->max),
                     "sum_ns", json_u64(h->sum), "latencies", latencies_of(h), "clients", clients_of(&u->sum));
}

static json_t *size_row_of(const struct cairn_metrics_used *u, const char *what, const struct cairn_hist_sum *h)
{
    return json_pack("{s:s, s:s, s:s, s:I, s:I, s:I, s:I}", "provider", u->target->name, "method", u->method, "of",
                     what, "mean_bytes", json_u64(h->n > 0 ? h->sum / h->n : 0), "p50_bytes",
                     json_u64(cairn_hist_percentile(h, CAIRN_HIST_BYTES_SHIFT, 0.5)), "p99_bytes",
                     json_u64(cairn_hist_percentile(h, CAIRN_HIST_BYTES_SHIFT, 0.99)), "max_bytes", json_u64(h->max));
}

static json_t *json_bulk(const struct cairn_bulk_stats *sum)
{
    json_t *rows = json_array();

    for (enum cairn_bulk_way w = CAIRN_BULK_VM; w < CAIRN_BULK_WAYS_NR; w++)
        json_array_append_new(rows, json_pack("{s:s, s:I, s:I}", "way", cairn_bulk_way_name(w), "transfers",
                                              json_u64(sum->transfers[w]), "bytes", json_u64(sum->bytes[w])));
    return rows;
}

static json_t *json_counters(const struct cairn_metrics *m, const struct cairn_bulk_stats *bulk)
{
    json_t *o = json_object();

    if (m->counters != NULL) {
#define X(field, kind, name, help)                                                                                     \
    json_object_set_new(                                                                                               \
        o, #field,                                                                                                     \
        json_integer(json_u64(atomic_load_explicit((_Atomic uint64_t *)&m->counters->field, memory_order_relaxed))));
        CAIRN_RPC_NODE_COUNTERS(X)
#undef X
    }
    if (m->pool != NULL) {
        uint32_t waiting, running;

        cairn_pool_load(m->pool, &waiting, &running);
        json_object_set_new(o, "pool_waiting", json_integer(waiting));
        json_object_set_new(o, "pool_running", json_integer(running));
    }
    for (size_t i = 0; i < CAIRN_METRICS_BULK_COLUMNS; i++)
        json_object_set_new(o, cairn_metrics__bulk_columns[i].json,
                            json_integer(json_u64(cairn_metrics__bulk_value(&cairn_metrics__bulk_columns[i], bulk))));
    return o;
}

json_t *cairn_metrics_json(const struct cairn_metrics *m)
{
    struct cairn_bulk_stats bulk = cairn_metrics__bulk(m);
    uint32_t n = 0;
    struct cairn_metrics_used *used = cairn_metrics__used(m, &n);
    json_t *methods = json_array(), *sizes = json_array(), *errors = json_array();

    for (uint32_t i = 0; i < n; i++) {
        json_array_append_new(methods, row_of(&used[i]));
        json_array_append_new(sizes, size_row_of(&used[i], "request", &used[i].sum.request_bytes));
        json_array_append_new(sizes, size_row_of(&used[i], "reply", &used[i].sum.reply_bytes));
        for (int code = 0; code < CAIRN_RPC_ERRORS; code++) {
            if (used[i].sum.errors[code] > 0)
                json_array_append_new(errors,
                                      json_pack("{s:s, s:s, s:s, s:I}", "provider", used[i].target->name, "method",
                                                used[i].method, "error", code == 0 ? "?" : cairn_error_name(-code),
                                                "count", json_u64(used[i].sum.errors[code])));
        }
    }
    free(used);
    return json_pack("{s:i, s:s, s:I, s:I, s:o, s:o, s:o, s:o, s:o}", "version", 1, "node", m->node, "uptime_ms",
                     json_u64((cairn_env_now_ns(m->env) - m->started_ns) / CAIRN_NS_PER_MS), "resident_bytes",
                     (json_int_t)cairn_metrics__resident_bytes(), "counters", json_counters(m, &bulk), "bulk",
                     json_bulk(&bulk), "methods", methods, "sizes", sizes, "errors", errors);
}
