/* What /metrics says: see metrics.h. Families come one after the other, so each walks over all methods that were used.
 */
#include "server/node/metrics_internal.h"

#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

/* Bounds shown of the histograms, as powers of two: 1 us to 34 s by two, 64 B to 4 GiB by four. */
enum { SHOWN_NS_FIRST = 10, SHOWN_NS_LAST = 35, SHOWN_BYTES_FIRST = 6, SHOWN_BYTES_LAST = 32 };

void cairn_metrics_method(const struct cairn_metrics *m, const struct cairn_rpc_target *t, uint32_t method,
                          struct cairn_rpc_stats_sum *sum)
{
    memset(sum, 0, sizeof(*sum));
    for (uint32_t i = 0; i < m->nsets; i++)
        cairn_rpc_stats_merge(sum, cairn_rpc_stats_find(m->sets[i], t->id, method));
}

/* ---- one line per method that was used ---- */

struct cairn_metrics_used *cairn_metrics__used(const struct cairn_metrics *m, uint32_t *n)
{
    struct cairn_metrics_used *all = NULL;
    uint32_t room = 0;

    *n = 0;
    for (uint32_t i = 0; i < m->ntargets; i++) {
        const struct cairn_rpc_target *t = &m->targets[i];

        for (uint32_t j = 0; j < t->iface->nmethods; j++) {
            if (*n == room) {
                struct cairn_metrics_used *more = realloc(all, (room + 64) * sizeof(*more));

                if (more == NULL)
                    return all;
                all = more;
                room += 64;
            }
            all[*n] = (struct cairn_metrics_used){ .target = t, .method = t->iface->methods[j].name };
            cairn_metrics_method(m, t, j, &all[*n].sum);
            if (all[*n].sum.started > 0)
                ++*n;
        }
    }
    return all;
}

struct method_column {
    const char *name, *type, *help;
    size_t offset; /* of a uint64_t in struct cairn_rpc_stats_sum; SIZE_MAX: in flight */
};

static const struct method_column columns[] = {
    { "cairn_rpc_requests_total", "counter", "Requests that came, by provider and method.",
      offsetof(struct cairn_rpc_stats_sum, started) },
    { "cairn_rpc_client_requests_total", "counter",
      "Requests of clients that were answered: over a connection that is no node's.",
      offsetof(struct cairn_rpc_stats_sum, clients.requests) },
    { "cairn_rpc_client_failed_total", "counter", "Those of them that were answered by an error.",
      offsetof(struct cairn_rpc_stats_sum, clients.failed) },
    { "cairn_rpc_failed_total", "counter", "Requests that were answered by an error.",
      offsetof(struct cairn_rpc_stats_sum, failed) },
    { "cairn_rpc_inflight", "gauge", "Requests that are being worked on.", SIZE_MAX },
    { "cairn_rpc_request_bytes_total", "counter", "Bytes that came with requests.",
      offsetof(struct cairn_rpc_stats_sum, bytes_in) },
    { "cairn_rpc_reply_bytes_total", "counter", "Bytes that went with replies.",
      offsetof(struct cairn_rpc_stats_sum, bytes_out) },
};

static uint64_t column_value(const struct method_column *c, const struct cairn_rpc_stats_sum *sum)
{
    uint64_t v;

    if (c->offset == SIZE_MAX)
        return cairn_rpc_stats_inflight(sum);
    memcpy(&v, (const char *)sum + c->offset, sizeof(v));
    return v;
}

static void print_methods(struct cairn_prom *p, const struct cairn_metrics_used *used, uint32_t n)
{
    for (size_t c = 0; c < ARRAY_SIZE(columns); c++) {
        cairn_prom__family(p, columns[c].name, columns[c].type, columns[c].help);
        for (uint32_t i = 0; i < n; i++)
            cairn_prom__sample(
                p, columns[c].name,
                (const char *const[]){ "provider", used[i].target->name, "method", used[i].method, NULL },
                (double)column_value(&columns[c], &used[i].sum));
    }
    cairn_prom__family(p, "cairn_rpc_errors_total", "counter", "Requests that were answered by an error, by its code.");
    for (uint32_t i = 0; i < n; i++) {
        for (int code = 0; code < CAIRN_RPC_ERRORS; code++) {
            if (used[i].sum.errors[code] > 0)
                cairn_prom__sample(
                    p, "cairn_rpc_errors_total",
                    (const char *const[]){ "provider", used[i].target->name, "method", used[i].method, "code",
                                           code == 0 ? "?" : cairn_error_name(-code) + strlen("CAIRN_E_"), NULL },
                    (double)used[i].sum.errors[code]);
        }
    }
}

static void print_histograms(struct cairn_prom *p, const struct cairn_metrics_used *used, uint32_t n)
{
    cairn_prom__family(p, "cairn_rpc_latency_seconds", "histogram", "Time from a request's arrival to its reply.");
    for (uint32_t i = 0; i < n; i++)
        cairn_prom__histogram(p, "cairn_rpc_latency_seconds",
                              (const char *const[]){ "provider", used[i].target->name, "method", used[i].method, NULL },
                              &used[i].sum.latency_ns, CAIRN_HIST_NS_SHIFT, SHOWN_NS_FIRST, SHOWN_NS_LAST, 1, 1e9);
    cairn_prom__family(p, "cairn_rpc_request_size_bytes", "histogram", "Size of requests.");
    for (uint32_t i = 0; i < n; i++)
        cairn_prom__histogram(p, "cairn_rpc_request_size_bytes",
                              (const char *const[]){ "provider", used[i].target->name, "method", used[i].method, NULL },
                              &used[i].sum.request_bytes, CAIRN_HIST_BYTES_SHIFT, SHOWN_BYTES_FIRST, SHOWN_BYTES_LAST,
                              2, 1);
    cairn_prom__family(p, "cairn_rpc_reply_size_bytes", "histogram", "Size of replies.");
    for (uint32_t i = 0; i < n; i++)
        cairn_prom__histogram(p, "cairn_rpc_reply_size_bytes",
                              (const char *const[]){ "provider", used[i].target->name, "method", used[i].method, NULL },
                              &used[i].sum.reply_bytes, CAIRN_HIST_BYTES_SHIFT, SHOWN_BYTES_FIRST, SHOWN_BYTES_LAST, 2,
                              1);
}

/* ---- the node and its process ---- */

#define KIND_COUNTER "counter"
#define KIND_GAUGE   "gauge"

static void print_one(struct cairn_prom *p, const char *name, const char *type, const char *help, double value)
{
    cairn_prom__family(p, name, type, help);
    cairn_prom__sample(p, name, NULL, value);
}

double cairn_metrics__resident_bytes(void)
{
    unsigned long size, resident;
    FILE *f = fopen("/proc/self/statm", "re");
    bool got = f != NULL && fscanf(f, "%lu %lu", &size, &resident) == 2;

    if (f != NULL)
        fclose(f);
    return got ? (double)resident * (double)sysconf(_SC_PAGESIZE) : 0;
}

static double cpu_seconds(void)
{
    struct rusage ru;

    getrusage(RUSAGE_SELF, &ru);
    return (double)(ru.ru_utime.tv_sec + ru.ru_stime.tv_sec) +
           (double)(ru.ru_utime.tv_usec + ru.ru_stime.tv_usec) / 1e6;
}

static double uptime_seconds(const struct cairn_metrics *m)
{
    return (double)(cairn_env_now_ns(m->env) - m->started_ns) / 1e9;
}

/* One without a part that has failed; @all: what the providers say. */
static bool is_healthy(const struct cairn_metrics *m, const json_t *all, char *reason, size_t len)
{
    reason[0] = '\0';
    if (m->healthy != NULL && !m->healthy(m->healthy_arg, reason, len))
        return false;
    for (uint32_t i = 0; i < m->ntargets; i++) {
        const json_t *one = json_array_get(all, i);
        const char *health = json_string_value(json_object_get(one, "health")),
                   *problem = json_string_value(json_object_get(one, "problem"));

        if (health == NULL || strcmp(health, "failed") != 0)
            continue;
        snprintf(reason, len, "%s has failed: %s", m->targets[i].name, problem != NULL ? problem : "the log says why");
        return false;
    }
    return true;
}

static void print_node(struct cairn_prom *p, const struct cairn_metrics *m, const json_t *all)
{
    char reason[512];

    cairn_prom__family(p, "cairn_info", "gauge", "Constant 1; what runs here.");
    cairn_prom__sample(p, "cairn_info", (const char *const[]){ "node", m->node, "version", m->version, NULL }, 1);
    print_one(p, "cairn_uptime_seconds", "gauge", "Time since the node started.", uptime_seconds(m));
    print_one(p, "cairn_healthy", "gauge", "1 if /healthz answers 200.", is_healthy(m, all, reason, sizeof(reason)));
    print_one(p, "cairn_insecure", "gauge", "1 if the node listens without authentication.", m->insecure);
    print_one(p, "cairn_workers", "gauge", "Event loops.", m->nsets);
    if (m->counters != NULL) {
#define X(field, kind, name, help)                                                                                     \
    print_one(p, name, KIND_##kind, help,                                                                              \
              (double)atomic_load_explicit((_Atomic uint64_t *)&m->counters->field, memory_order_relaxed));
        CAIRN_RPC_NODE_COUNTERS(X)
#undef X
    }
    if (m->pool != NULL) {
        uint32_t waiting, running;

        cairn_pool_load(m->pool, &waiting, &running);
        print_one(p, "cairn_pool_waiting", "gauge", "Storage jobs that wait for a thread.", waiting);
        print_one(p, "cairn_pool_running", "gauge", "Storage jobs that run.", running);
    }
    print_one(p, "process_resident_memory_bytes", "gauge", "Resident memory.", cairn_metrics__resident_bytes());
    print_one(p, "process_cpu_seconds_total", "counter", "Processor time, user and system.", cpu_seconds());
}

/* ---- bulk transfers ---- */

const struct cairn_metrics_bulk_column cairn_metrics__bulk_columns[CAIRN_METRICS_BULK_COLUMNS] = {
    { "cairn_bulk_failures_total", "bulk_failures", "Bulk transfers that ended with an error.",
      offsetof(struct cairn_bulk_stats, failures) },
    { "cairn_bulk_retries_total", "bulk_retries", "Bulk transfers that went on by frames when another way failed.",
      offsetof(struct cairn_bulk_stats, switches) },
    { "cairn_bulk_fabric_connections_total", "bulk_fabric_connections", "Fabric connections that were brought up.",
      offsetof(struct cairn_bulk_stats, introduced) },
    { "cairn_bulk_fabric_closed_total", "bulk_fabric_closed",
      "Fabric endpoints that were closed because a transfer would not end.", offsetof(struct cairn_bulk_stats, kills) },
};

uint64_t cairn_metrics__bulk_value(const struct cairn_metrics_bulk_column *c, const struct cairn_bulk_stats *sum)
{
    uint64_t v;

    memcpy(&v, (const char *)sum + c->offset, sizeof(v));
    return v;
}

struct cairn_bulk_stats cairn_metrics__bulk(const struct cairn_metrics *m)
{
    struct cairn_bulk_stats sum = { 0 };

    for (uint32_t i = 0; m->bulks != NULL && i < m->nsets; i++)
        cairn_bulk_stats_merge(&sum, m->bulks[i]);
    return sum;
}

static void print_bulk(struct cairn_prom *p, const struct cairn_metrics *m)
{
    struct cairn_bulk_stats sum = cairn_metrics__bulk(m);

    cairn_prom__family(p, "cairn_bulk_transfers_total", "counter", "Bulk transfers that this node made, by their way.");
    for (enum cairn_bulk_way w = CAIRN_BULK_VM; w < CAIRN_BULK_WAYS_NR; w++)
        cairn_prom__sample(p, "cairn_bulk_transfers_total",
                           (const char *const[]){ "way", cairn_bulk_way_name(w), NULL }, (double)sum.transfers[w]);
    cairn_prom__family(p, "cairn_bulk_bytes_total", "counter", "Bytes that this node moved in bulk, by their way.");
    for (enum cairn_bulk_way w = CAIRN_BULK_VM; w < CAIRN_BULK_WAYS_NR; w++)
        cairn_prom__sample(p, "cairn_bulk_bytes_total", (const char *const[]){ "way", cairn_bulk_way_name(w), NULL },
                           (double)sum.bytes[w]);
    for (size_t i = 0; i < CAIRN_METRICS_BULK_COLUMNS; i++)
        print_one(p, cairn_metrics__bulk_columns[i].name, KIND_COUNTER, cairn_metrics__bulk_columns[i].help,
                  (double)cairn_metrics__bulk_value(&cairn_metrics__bulk_columns[i], &sum));
}

static json_t *collect_status(const struct cairn_metrics *m)
{
    json_t *all = json_array();

    for (uint32_t i = 0; i < m->ntargets; i++) {
        json_t *one = json_object();
        const struct cairn_provider_desc *desc = m->descs != NULL ? m->descs[i] : NULL;

        if (one != NULL && desc != NULL && desc->status != NULL)
            desc->status(m->targets[i].ctx, one);
        json_array_append_new(all, one != NULL ? one : json_null());
    }
    return all;
}

/* Whether all providers are; else @text says which are not, as far as it fits. */
static bool all_ok(const struct cairn_metrics *m, const json_t *all, char *text, size_t len)
{
    size_t at = 0;
    bool ok = true;

    for (uint32_t i = 0; i < m->ntargets; i++) {
        const json_t *one = json_array_get(all, i);
        const char *health = json_string_value(json_object_get(one, "health")),
                   *problem = json_string_value(json_object_get(one, "problem"));
        int n;

        if (health == NULL || strcmp(health, "ok") == 0)
            continue;
        n = snprintf(text != NULL ? text + at : NULL, text != NULL ? len - at : 0, "%s%s is %s%s%s", ok ? "" : ", ",
                     m->targets[i].name, health, problem != NULL ? ": " : "", problem != NULL ? problem : "");
        ok = false;
        if (text != NULL && n > 0)
            at = MIN(at + (size_t)n, len - 1);
    }
    return ok;
}

/* The numbers of each provider's status, by their names there: counts of keys, of what is quarantined, bytes used ...
 */
static void print_status(struct cairn_prom *p, const struct cairn_metrics *m, const json_t *all)
{
    static const char *const healths[] = { "ok", "degraded", "readonly", "failed" };
    const char *key;
    json_t *value;

    print_one(p, "cairn_degraded", "gauge",
              "1 if a provider is not in full health; /healthz answers 200 all the same, unless it has failed.",
              !all_ok(m, all, NULL, 0));
    cairn_prom__family(p, "cairn_provider_health", "gauge", "1 for the health that the provider is in.");
    for (uint32_t i = 0; i < m->ntargets; i++) {
        const char *health = json_string_value(json_object_get(json_array_get(all, i), "health"));

        for (size_t h = 0; health != NULL && h < ARRAY_SIZE(healths); h++)
            cairn_prom__sample(p, "cairn_provider_health",
                               (const char *const[]){ "provider", m->targets[i].name, "health", healths[h], NULL },
                               strcmp(health, healths[h]) == 0);
    }
    cairn_prom__family(p, "cairn_provider_status", "gauge",
                       "The numbers in the provider's status, by their name there.");
    for (uint32_t i = 0; i < m->ntargets; i++) {
        json_object_foreach(json_array_get(all, i), key, value)
        {
            if (json_is_number(value))
                cairn_prom__sample(p, "cairn_provider_status",
                                   (const char *const[]){ "provider", m->targets[i].name, "field", key, NULL },
                                   json_number_value(value));
        }
    }
}

char *cairn_metrics_text(const struct cairn_metrics *m, size_t *len)
{
    char *text = NULL;
    uint32_t n = 0;
    struct cairn_metrics_used *used = cairn_metrics__used(m, &n);
    json_t *status = collect_status(m);
    struct cairn_prom p = { .to = open_memstream(&text, len) };
    bool bad = p.to == NULL;

    if (!bad) {
        print_node(&p, m, status);
        print_bulk(&p, m);
        print_status(&p, m, status);
        print_methods(&p, used, n);
        print_histograms(&p, used, n);
        bad = ferror(p.to) != 0;
        bad |= fclose(p.to) != 0;
    }
    json_decref(status);
    free(used);
    if (bad) {
        free(text);
        return NULL;
    }
    return text;
}

/* ---- the page ---- */

static void on_metrics(void *arg, struct cairn_http_reply *reply)
{
    reply->content_type = "text/plain; version=0.0.4; charset=utf-8";
    reply->text = cairn_metrics_text(arg, &reply->len);
    if (reply->text == NULL)
        reply->status = 503;
}

/* Whoever asks sends work to the node, or ends it: one that is degraded still does the work, one with a part that has
 * failed is to be started again. Its text is for people. */
static void on_healthz(void *arg, struct cairn_http_reply *reply)
{
    char reason[512], worse[2048];
    json_t *status = collect_status(arg);
    bool ok = is_healthy(arg, status, reason, sizeof(reason));
    bool full = all_ok(arg, status, worse, sizeof(worse));
    int n = ok && !full ? asprintf(&reply->text, "degraded: %s\n", worse)
                        : asprintf(&reply->text, "%s\n",
                                   ok                  ? "ok"
                                   : reason[0] != '\0' ? reason
                                                       : "not healthy");

    json_decref(status);

    if (n < 0)
        reply->text = NULL;
    reply->len = n < 0 ? 0 : (size_t)n;
    reply->status = ok ? 200 : 503;
}

struct cairn_http *cairn_metrics_serve(const struct cairn_metrics *m, struct cairn_loop *loop, int fd,
                                       struct cairn_err *err)
{
    struct cairn_http_page pages[] = { { "/metrics", "counters and latencies, for Prometheus", on_metrics, (void *)m },
                                       { "/healthz", "200 while the node serves, degraded or not, else 503", on_healthz,
                                         (void *)m } };

    return cairn_http_start(loop, fd, pages, ARRAY_SIZE(pages), err);
}
