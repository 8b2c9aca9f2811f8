/** What samples of nodes come to: for each method, of all nodes together, how much there was of it between the two
 * samples of a node, and how long that took. */
#include "tools/cairn/top.h"

#include "tools/cairn/out.h"

#include <stdlib.h>
#include <string.h>

struct latency {
    json_int_t about_ns;
    double n;
};

struct method {
    const char *provider, *name; /* of a sample, which outlives the sums */
    double per_s, failed_per_s, in_per_s, out_per_s;
    double answers, spent_ns;
    struct latency *latencies; /* rising */
    size_t nlatencies;
};

struct top_sums {
    struct method *all;
    size_t n;
};

struct top_sums *top_sums_new(void)
{
    return calloc(1, sizeof(struct top_sums));
}

static struct method *method_of(struct top_sums *sums, const json_t *m)
{
    const char *provider = cli_text_of(m, "provider"), *name = cli_text_of(m, "method");
    for (size_t i = 0; i < sums->n; i++) {
        if (strcmp(sums->all[i].name, name) == 0 && strcmp(sums->all[i].provider, provider) == 0)
            return &sums->all[i];
    }
    struct method *more = realloc(sums->all, (sums->n + 1) * sizeof(*more));
    if (more == NULL)
        return NULL;
    sums->all = more;
    more[sums->n] = (struct method){ .provider = provider, .name = name };
    return &more[sums->n++];
}

static void latency_add(struct method *m, json_int_t about_ns, double n)
{
    size_t at = 0;
    while (at < m->nlatencies && m->latencies[at].about_ns < about_ns)
        at++;
    if (at == m->nlatencies || m->latencies[at].about_ns != about_ns) {
        struct latency *more = realloc(m->latencies, (m->nlatencies + 1) * sizeof(*more));
        if (more == NULL)
            return;
        memmove(&more[at + 1], &more[at], (m->nlatencies - at) * sizeof(*more));
        more[at] = (struct latency){ about_ns, 0 };
        m->latencies = more;
        m->nlatencies++;
    }
    m->latencies[at].n += n;
}

/* Adds the @counts of a sample [[about_ns, count], ...] so many times. */
static void latencies_add(struct method *m, const json_t *counts, double times)
{
    for (size_t i = 0; i < json_array_size(counts); i++) {
        const json_t *one = json_array_get(counts, i);
        latency_add(m, json_integer_value(json_array_get(one, 0)),
                    times * (double)json_integer_value(json_array_get(one, 1)));
    }
}

/* What 99 of 100 do not exceed; 0: nothing was answered. */
static json_int_t p99_of(const struct method *m)
{
    double all = 0, seen = 0;
    for (size_t i = 0; i < m->nlatencies; i++)
        all += m->latencies[i].n;
    for (size_t i = 0; i < m->nlatencies; i++) {
        seen += m->latencies[i].n;
        if (seen > 0 && seen >= 0.99 * all)
            return m->latencies[i].about_ns;
    }
    return 0;
}

static double grown(const json_t *now, const json_t *before, const char *key)
{
    return (double)(cli_number_of(now, key) - cli_number_of(before, key));
}

static void real_add(json_t *o, const char *key, double x)
{
    json_object_set_new(o, key, json_real(json_real_value(json_object_get(o, key)) + x));
}

static void method_add(struct top_sums *sums, const json_t *now, const json_t *before, double s)
{
    struct method *m = method_of(sums, now);
    double requests = grown(now, before, "requests") / s, failed = grown(now, before, "failed") / s;
    double in = grown(now, before, "in_bytes") / s, out = grown(now, before, "out_bytes") / s;
    if (m == NULL)
        return;
    m->per_s += requests;
    m->failed_per_s += failed;
    m->in_per_s += in;
    m->out_per_s += out;
    m->spent_ns += grown(now, before, "sum_ns");
    latencies_add(m, json_object_get(now, "latencies"), 1);
    latencies_add(m, json_object_get(before, "latencies"), -1);
}

/* To the node's own rates only what clients asked counts: a put of theirs is the router's request, and then a provider's,
 * and with replicas other nodes' too. */
static void clients_add(json_t *node, const json_t *now, const json_t *before, double s)
{
    static const char *const keys[][2] = { { "requests", "requests_per_s" },
                                           { "failed", "failed_per_s" },
                                           { "in_bytes", "in_bytes_per_s" },
                                           { "out_bytes", "out_bytes_per_s" } };
    const json_t *then = json_object_get(before, "clients");
    now = json_object_get(now, "clients");
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
        real_add(node, keys[i][1], grown(now, then, keys[i][0]) / s);
}

/* What we ask ourselves is not what people want to see. */
static bool is_ours(const json_t *m)
{
    const char *provider = cli_text_of(m, "provider"), *method = cli_text_of(m, "method");
    return (strcmp(provider, "node") == 0 && strcmp(method, "metrics") == 0) ||
           ((strcmp(provider, "node") == 0 || strcmp(provider, "cluster") == 0) && strcmp(method, "status") == 0);
}

static const json_t *same_method(const json_t *methods, const json_t *like)
{
    for (size_t i = 0; i < json_array_size(methods); i++) {
        const json_t *m = json_array_get(methods, i);
        if (strcmp(cli_text_of(m, "method"), cli_text_of(like, "method")) == 0 &&
            strcmp(cli_text_of(m, "provider"), cli_text_of(like, "provider")) == 0)
            return m;
    }
    return NULL;
}

void top_sums_add(struct top_sums *sums, json_t *node, const json_t *now, const json_t *before, double s)
{
    const json_t *methods = json_object_get(now, "methods");
    /* One that has started anew counts from 0. */
    bool same_life = cli_number_of(now, "uptime_ms") >= cli_number_of(before, "uptime_ms");
    const json_t *then = same_life ? json_object_get(before, "methods") : NULL;
    for (size_t i = 0; sums != NULL && s > 0 && i < json_array_size(methods); i++) {
        const json_t *m = json_array_get(methods, i);
        if (is_ours(m))
            continue;
        method_add(sums, m, same_method(then, m), s);
        clients_add(node, m, same_method(then, m), s);
    }
}

/* The busiest first. */
static int compare_methods(const void *a, const void *b)
{
    const struct method *x = a, *y = b;
    if (x->per_s != y->per_s)
        return x->per_s < y->per_s ? 1 : -1;
    int provider = strcmp(x->provider, y->provider);
    return provider != 0 ? provider : strcmp(x->name, y->name);
}

json_t *top_sums_end(struct top_sums *sums)
{
    json_t *rows = json_array();
    if (sums == NULL)
        return rows;
    if (sums->n > 0)
        qsort(sums->all, sums->n, sizeof(sums->all[0]), compare_methods);
    for (size_t i = 0; i < sums->n; i++) {
        struct method *m = &sums->all[i];
        double answers = 0;
        for (size_t k = 0; k < m->nlatencies; k++)
            answers += m->latencies[k].n;
        json_array_append_new(rows,
                              json_pack("{s:s, s:s, s:f, s:f, s:f, s:f, s:I, s:I}", "provider", m->provider, "method",
                                        m->name, "per_s", m->per_s, "failed_per_s", m->failed_per_s, "in_bytes_per_s",
                                        m->in_per_s, "out_bytes_per_s", m->out_per_s, "mean_ns",
                                        (json_int_t)(answers > 0 ? m->spent_ns / answers : 0), "p99_ns", p99_of(m)));
        free(m->latencies);
    }
    free(sums->all);
    free(sums);
    return rows;
}
