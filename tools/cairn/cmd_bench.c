/** cairn bench: how fast the node answers this machine, operation by operation. */
#include "tools/cairn/commands.h"
#include "tools/cairn/histogram.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { CONNECTIONS_MAX = 256, DEPTH_MAX = 4096, KEYS = 65536, PREPARED_KEYS = 1024 };

/* Dropped at the end; another bench at the same time has then to be started again. */
static const char database[] = "cairn-bench";

struct bench_args {
    const char *op, *ns_name, *provider, *durability;
    uint64_t size, depth, seconds_ms, connections;
};

struct conn;

/* One operation in flight, again and again until the time is over. */
struct slot {
    struct conn *conn;
    uint64_t began_ns;
    char key[32];
    size_t len;
    uint64_t id;
    void *buf;
    struct cairn_error_info error;
};

struct bench {
    struct cli *cli;
    const struct bench_args *a;
};

struct conn {
    struct bench *bench;
    pthread_t thread;
    uint32_t index;
    struct cairn *session;
    struct cairn_ns *ns;
    struct cairn_kv *kv;
    struct cairn_extents *extents;
    uint64_t extent_id; /* what reads read */
    struct slot *slots;
    uint32_t next_key;
    struct histogram latency;
    uint64_t ops, bytes;
    int rc;
    struct cairn_error_info error;
    uint64_t until_ns, took_ns;
};

static void on_done(void *arg, int rc);

static bool is_op(const struct conn *c, const char *op)
{
    return strcmp(c->bench->a->op, op) == 0;
}

static int start(struct slot *s)
{
    struct conn *c = s->conn;
    const struct bench_args *a = c->bench->a;
    struct cairn_call_options o = CAIRN_CALL_OPTIONS_INIT;
    o.timeout_ms = (uint32_t)MIN(c->bench->cli->g.timeout_ms, UINT32_MAX);
    o.durability = cli_durability(a->durability);
    o.error = &s->error;
    uint32_t keys = is_op(c, "get") || is_op(c, "kv-get") ? PREPARED_KEYS : KEYS;
    int n = snprintf(s->key, sizeof(s->key), "bench/%u/%08u", c->index, c->next_key++ % keys);
    s->began_ns = cli_now_ns();
    if (is_op(c, "rpc"))
        return cairn_ping_async(c->session, &o, on_done, s);
    if (is_op(c, "put"))
        return cairn_put_async(c->ns, s->key, (size_t)n, s->buf, a->size, &o, on_done, s);
    if (is_op(c, "get"))
        return cairn_get_async(c->ns, s->key, (size_t)n, s->buf, a->size, &s->len, &o, on_done, s);
    if (is_op(c, "kv-put"))
        return cairn_kv_put_async(c->kv, s->key, (size_t)n, s->buf, a->size, &o, on_done, s);
    if (is_op(c, "kv-get"))
        return cairn_kv_get_async(c->kv, s->key, (size_t)n, s->buf, a->size, &s->len, &o, on_done, s);
    if (is_op(c, "extent-write"))
        return cairn_extent_put_async(c->extents, s->buf, a->size, &s->id, &o, on_done, s);
    return cairn_extent_read_async(c->extents, c->extent_id, 0, s->buf, a->size, &s->len, &o, on_done, s);
}

/* The first failure is what the connection tells of. */
static void fail(const struct slot *s, int rc)
{
    struct conn *c = s->conn;
    if (c->rc != 0)
        return;
    c->rc = rc;
    c->error = s->error;
}

static void begin(struct slot *s)
{
    int rc = start(s);
    if (rc != 0)
        fail(s, rc);
}

static void on_given_back(void *arg, int rc)
{
    (void)rc;
    free(arg);
}

/* Room for the next writes: outside of what is measured, but not outside of what costs time. */
static void give_back(struct conn *c, uint64_t id)
{
    uint64_t *gone = malloc(sizeof(*gone));
    if (gone == NULL)
        return;
    *gone = id;
    if (cairn_extent_remove_async(c->extents, gone, 1, NULL, NULL, on_given_back, gone) != 0)
        free(gone);
}

static void on_done(void *arg, int rc)
{
    struct slot *s = arg;
    struct conn *c = s->conn;
    uint64_t now = cli_now_ns();
    if (rc != 0) {
        fail(s, rc);
        return;
    }
    histogram_add(&c->latency, now - s->began_ns);
    c->ops++;
    c->bytes += is_op(c, "rpc") ? 0 : c->bench->a->size;
    if (is_op(c, "extent-write"))
        give_back(c, s->id);
    if (now < c->until_ns && c->rc == 0)
        begin(s);
}

/* What the operation needs: a namespace, a database of its own, an extent to read. */
static int prepare(struct conn *c)
{
    const struct bench_args *a = c->bench->a;
    struct cli_call call;
    cli_call_init(c->bench->cli, &call, a->size);
    int rc = 0;
    if (is_op(c, "put") || is_op(c, "get")) {
        rc = cairn_ns_open(c->session, a->ns_name, &c->ns, &call.o);
    } else if (is_op(c, "kv-put") || is_op(c, "kv-get")) {
        struct cairn_kv_options ko = CAIRN_KV_OPTIONS_INIT;
        ko.create = true;
        rc = cairn_kv_open(c->session, a->provider != NULL ? a->provider : "kv", database, &ko, &c->kv, &call.o);
    } else if (!is_op(c, "rpc")) {
        rc = cairn_extents_open(c->session, a->provider != NULL ? a->provider : "extent", &c->extents, &call.o);
        if (rc == 0 && is_op(c, "extent-read"))
            rc = cairn_extent_put(c->extents, c->slots[0].buf, a->size, &c->extent_id, &call.o);
    }
    for (uint32_t k = 0; rc == 0 && k < PREPARED_KEYS && (is_op(c, "get") || is_op(c, "kv-get")); k++) {
        char key[32];
        int n = snprintf(key, sizeof(key), "bench/%u/%08u", c->index, k);
        rc = c->ns != NULL ? cairn_put(c->ns, key, (size_t)n, c->slots[0].buf, a->size, &call.o)
                           : cairn_kv_put(c->kv, key, (size_t)n, c->slots[0].buf, a->size, &call.o);
    }
    c->error = call.error;
    return rc;
}

/* A node that has gone, say, is not waited for again. */
static bool may_clean_up(int rc)
{
    return rc == 0 || rc == CAIRN_E_NOSPACE;
}

/* Keys that were put, by prepare() or since; one that was not is no harm. */
static void clean_up(struct conn *c)
{
    if (!may_clean_up(c->rc))
        return;
    uint32_t n = is_op(c, "put") ? MIN(c->next_key, (uint32_t)KEYS) : is_op(c, "get") ? PREPARED_KEYS : 0;
    for (uint32_t k = 0; c->ns != NULL && k < n; k++) {
        char key[32];
        struct cli_call call;
        int len = snprintf(key, sizeof(key), "bench/%u/%08u", c->index, k);
        int rc = cairn_delete(c->ns, key, (size_t)len, cli_call_init(c->bench->cli, &call, 0));
        if (rc != 0 && rc != CAIRN_E_NOTFOUND)
            return;
    }
}

static void *conn_main(void *arg)
{
    struct conn *c = arg;
    const struct bench_args *a = c->bench->a;
    c->rc = cli_connect_another(c->bench->cli, &c->session, &c->error);
    if (c->rc == 0)
        c->rc = prepare(c);
    uint64_t began = cli_now_ns();
    c->until_ns = began + a->seconds_ms * CAIRN_NS_PER_MS;
    for (uint32_t i = 0; i < a->depth && c->rc == 0; i++)
        begin(&c->slots[i]);
    if (c->session != NULL) {
        cairn_drain(c->session, -1);
        c->took_ns = cli_now_ns() - began;
    }
    if (c->extent_id != 0)
        cairn_extent_remove(c->extents, &c->extent_id, 1, NULL, NULL);
    clean_up(c);
    cairn_ns_close(c->ns);
    cairn_kv_close(c->kv);
    cairn_extents_close(c->extents);
    cairn_close(c->session);
    return NULL;
}

static int conn_init(struct conn *c, struct bench *b, uint32_t index)
{
    *c = (struct conn){ .bench = b, .index = index, .slots = calloc(b->a->depth, sizeof(*c->slots)) };
    if (c->slots == NULL)
        return CAIRN_E_NOMEM;
    for (uint64_t i = 0; i < b->a->depth; i++) {
        c->slots[i].conn = c;
        c->slots[i].buf = malloc(MAX(b->a->size, 1));
        if (c->slots[i].buf == NULL)
            return CAIRN_E_NOMEM;
        memset(c->slots[i].buf, (int)(i & 0xff), b->a->size);
    }
    return 0;
}

static void conn_fini(struct conn *c)
{
    for (uint64_t i = 0; c->slots != NULL && i < c->bench->a->depth; i++)
        free(c->slots[i].buf);
    free(c->slots);
}

static int report(struct cli *cli, const struct bench_args *a, const struct histogram *h, uint64_t ops, uint64_t bytes,
                  uint64_t ns)
{
    static const struct cli_col cols[] = {
        { "OPERATION", "operation", CLI_CELL_TEXT },
        { "SIZE", "size_bytes", CLI_CELL_BYTES },
        { "DEPTH", "depth", CLI_CELL_NUMBER },
        { "CONNECTIONS", "connections", CLI_CELL_NUMBER },
        { "OPS", "ops", CLI_CELL_NUMBER },
        { "OPS/S", "ops_per_s", CLI_CELL_NUMBER },
        { "BYTES/S", "bytes_per_s", CLI_CELL_BYTES },
        { "P50", "p50_ns", CLI_CELL_DURATION },
        { "P99", "p99_ns", CLI_CELL_DURATION },
        { "P99.9", "p999_ns", CLI_CELL_DURATION },
        { "MAX", "max_ns", CLI_CELL_DURATION },
    };
    double s = (double)ns / 1e9;
    struct cli_table *t = cli_table_new(cli, "results", cols, ARRAY_SIZE(cols));
    cli_table_row(t, (struct cli_cell[]){ CLI_TEXT(a->op), CLI_NUM(strcmp(a->op, "rpc") == 0 ? 0 : a->size),
                                          CLI_NUM(a->depth), CLI_NUM(a->connections), CLI_NUM(ops),
                                          CLI_NUM(s > 0 ? (uint64_t)((double)ops / s) : 0),
                                          CLI_NUM(s > 0 ? (uint64_t)((double)bytes / s) : 0),
                                          CLI_NUM(histogram_quantile(h, 0.5)), CLI_NUM(histogram_quantile(h, 0.99)),
                                          CLI_NUM(histogram_quantile(h, 0.999)), CLI_NUM(h->max) });
    return cli_table_end(t);
}

/* Bytes that may be allocated without pushing others out; UINT64_MAX if nobody tells. */
static uint64_t memory_available(void)
{
    FILE *f = fopen("/proc/meminfo", "re");
    unsigned long long kib;
    char line[128];
    uint64_t bytes = UINT64_MAX;
    while (f != NULL && bytes == UINT64_MAX && fgets(line, sizeof(line), f) != NULL) {
        if (sscanf(line, "MemAvailable: %llu kB", &kib) == 1)
            bytes = kib << 10;
    }
    if (f != NULL)
        fclose(f);
    return bytes;
}

/* Every operation in flight has a buffer; CLI_OK, or what is wrong. A kernel that promises more than it has ends
 * whoever asks for it. */
static int check_memory(struct cli *cli, const struct bench_args *a)
{
    uint64_t most = memory_available() / 4 * 3, slots = a->depth * a->connections;
    if (a->size <= most / slots)
        return CLI_OK;
    return cli_usage(cli,
                     "--size times --depth times --connections is memory: %" PRIu64 " buffers of at most %" PRIu64
                     " bytes are possible here",
                     slots, most / slots);
}

static int bench_run(struct cli *cli, void *args)
{
    const struct bench_args *a = args;
    if (a->depth == 0 || a->depth > DEPTH_MAX || a->connections == 0 || a->connections > CONNECTIONS_MAX)
        return cli_usage(cli, "--depth is 1 to %d, --connections 1 to %d", DEPTH_MAX, CONNECTIONS_MAX);
    if ((strcmp(a->op, "put") == 0 || strcmp(a->op, "get") == 0) && a->ns_name == NULL)
        return cli_usage(cli, "%s needs --namespace", a->op);
    if (strncmp(a->op, "extent", 6) == 0 && a->size == 0)
        return cli_usage(cli, "an extent has at least one byte");
    if (strncmp(a->op, "extent", 6) == 0 && a->size > CAIRN_EXTENT_BYTES_MAX)
        return cli_usage(cli, "an extent has at most %llu bytes", (unsigned long long)CAIRN_EXTENT_BYTES_MAX);
    int status = check_memory(cli, a);
    if (status != CLI_OK)
        return status;
    struct bench bench = { .cli = cli, .a = a };
    struct conn *conns = calloc(a->connections, sizeof(*conns));
    struct histogram all = { 0 };
    uint64_t ops = 0, bytes = 0, ns = 0, started = 0;
    int rc = conns == NULL ? CAIRN_E_NOMEM : 0;
    for (uint64_t i = 0; i < a->connections && rc == 0; i++)
        rc = conn_init(&conns[i], &bench, (uint32_t)i);
    for (; started < a->connections && rc == 0; started++) {
        if (pthread_create(&conns[started].thread, NULL, conn_main, &conns[started]) != 0) {
            rc = CAIRN_E_LIMIT;
            break;
        }
    }
    const char *text = NULL;
    for (uint64_t i = 0; i < started; i++) {
        pthread_join(conns[i].thread, NULL);
        ops += conns[i].ops;
        bytes += conns[i].bytes;
        ns = MAX(ns, conns[i].took_ns);
        histogram_merge(&all, &conns[i].latency);
        if (conns[i].rc != 0 && rc == 0) {
            rc = conns[i].rc;
            text = conns[i].error.code == rc ? conns[i].error.text : NULL;
        }
    }
    status = rc == 0 ? report(cli, a, &all, ops, bytes, ns) : cli_fail(cli, rc, text, "%s", a->op);
    if (started > 0 && may_clean_up(rc) && strncmp(a->op, "kv-", 3) == 0 && cli_connect(cli) == CLI_OK) {
        struct cli_call call;
        cairn_kv_drop(cli->session, a->provider != NULL ? a->provider : "kv", database, cli_call_init(cli, &call, 0));
    }
    for (uint64_t i = 0; conns != NULL && i < a->connections; i++) {
        if (conns[i].bench != NULL)
            conn_fini(&conns[i]);
    }
    free(conns);
    return status;
}

static const struct cli_opt bench_opts[] = {
    CLI_OPT(struct bench_args, op, "op", 'o', CLI_CHOICE, "rpc|put|get|kv-put|kv-get|extent-write|extent-read", "rpc",
            "what to measure; rpc is an empty call"),
    CLI_OPT(struct bench_args, size, "size", 's', CLI_SIZE, "SIZE", "1KiB", "of each value"),
    CLI_OPT(struct bench_args, depth, "depth", 'd', CLI_NUMBER, "COUNT", "16",
            "operations in flight on each connection"),
    CLI_OPT(struct bench_args, connections, "connections", 'c', CLI_NUMBER, "COUNT", "1", "each with a thread"),
    CLI_OPT(struct bench_args, seconds_ms, "seconds", 'n', CLI_TIME, "TIME", "3", "how long"),
    CLI_OPT(struct bench_args, ns_name, "namespace", 0, CLI_STRING, "NAMESPACE", NULL, "for put and get"),
    CLI_OPT(struct bench_args, provider, "provider", 0, CLI_STRING, "PROVIDER", NULL,
            "for kv-* and extent-*; kv and extent otherwise"),
    CLI_OPT(struct bench_args, durability, "durability", 0, CLI_CHOICE, "memory|buffered|sync", NULL,
            "of kv-put and extent-write"),
    CLI_OPT_END,
};

const struct cli_command cli_bench = {
    .name = "bench",
    .operands = "",
    .summary = "measure rates and latencies of one operation",
    .text = "Writes go to keys that begin with bench/, to the database cairn-bench, and to extents; all are removed at "
            "the end.",
    .opts = bench_opts,
    .args_size = sizeof(struct bench_args),
    .examples = (const struct cli_example[]){ { "cairn bench --op rpc --depth 64", "how many empty calls a second?" },
                                              { "cairn bench --op extent-read --size 1MiB --connections 2 --json",
                                                "bulk reads, for a program" },
                                              { NULL, NULL } },
    .run = bench_run,
    .group = "The node",
};
