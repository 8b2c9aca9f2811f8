/* What the page says, read by a strict parser, and the same as JSON. */
#include "server/node/metrics.h"
#include "server/port/pool.h"
#include "tests/lib/patience.h"
#include "tests/unit/metrics/strict_page.h"

#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

static const struct cairn_rpc_method methods[] = { { .name = "put" }, { .name = "get" } };
static const struct cairn_rpc_iface iface = { "kv", methods, 2 };
static const struct cairn_rpc_target targets[] = { { .iface = &iface, .name = "kv", .id = 16 },
                                                   { .iface = &iface, .name = "odd\"\\\nname", .id = 17 } };

static void kv_status(void *ctx, json_t *to)
{
    (void)ctx;
    json_object_set_new(to, "health", json_string("degraded"));
    json_object_set_new(to, "quarantined", json_integer(3));
    json_object_set_new(to, "backend", json_string("memory"));
}
static void failed_status(void *ctx, json_t *to)
{
    (void)ctx;
    json_object_set_new(to, "health", json_string("failed"));
    json_object_set_new(to, "problem", json_string("its disk is gone"));
}

static const struct cairn_provider_desc failed = { .type = "kv", .status = failed_status };
static const struct cairn_provider_desc *const failed_descs[] = { &failed, NULL };
static const struct cairn_provider_desc kv = { .type = "kv", .status = kv_status };
static const struct cairn_provider_desc *const descs[] = { &kv, NULL };

struct fixture {
    struct cairn_loop loop;
    struct cairn_rpc_stats_set *sets[2];
    struct cairn_rpc_node_counters counters;
    struct cairn_metrics m;
    bool unwell;
};

static bool healthy(void *arg, char *reason, size_t len)
{
    const struct fixture *f = arg;

    if (f->unwell)
        snprintf(reason, len, "draining");
    return !f->unwell;
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    assert_int_equal(cairn_loop_init(&f->loop, NULL, NULL), 0);
    for (int i = 0; i < 2; i++)
        f->sets[i] = cairn_rpc_stats_set_new(targets, 2);
    f->m = (struct cairn_metrics){ .node = "n0",
                                   .version = "0.1.0",
                                   .env = &f->loop.env,
                                   .started_ns = cairn_loop_now(&f->loop),
                                   .targets = targets,
                                   .descs = descs,
                                   .ntargets = 2,
                                   .sets = f->sets,
                                   .nsets = 2,
                                   .counters = &f->counters,
                                   .healthy = healthy,
                                   .healthy_arg = f };
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    for (int i = 0; i < 2; i++)
        cairn_rpc_stats_set_free(f->sets[i]);
    cairn_loop_fini(&f->loop);
    free(f);
    return 0;
}

static struct parsed *scrape(struct fixture *f)
{
    size_t len;
    char *text = cairn_metrics_text(&f->m, &len);
    struct parsed *p;

    assert_non_null(text);
    assert_int_equal(strlen(text), len);
    p = parse(text);
    free(text);
    return p;
}

static void one(struct cairn_rpc_stats *s, uint64_t in, uint64_t ns, uint64_t out, int rc)
{
    cairn_rpc_stats_start(s, in);
    cairn_rpc_stats_end(s, ns, out, rc);
}

static void idle_node_is_valid(void **state)
{
    struct fixture *f = *state;
    struct parsed *p = scrape(f);

    assert_true(value_of(p, "cairn_info", "node=n0;version=0.1.0;", "") == 1);
    assert_true(value_of(p, "cairn_healthy", "", "") == 1);
    assert_true(value_of(p, "cairn_insecure", "", "") == 0);
    assert_true(value_of(p, "cairn_workers", "", "") == 2);
    assert_true(value_of(p, "process_resident_memory_bytes", "", "") > 0);
    assert_string_equal(type_of(p, "cairn_rpc_requests_total"), "counter");
    free(p);
}

static void counts_of_all_workers(void **state)
{
    struct fixture *f = *state;
    struct parsed *p;

    one(cairn_rpc_stats_find(f->sets[0], 16, 0), 1000, 3000, 20, 0);
    one(cairn_rpc_stats_find(f->sets[1], 16, 0), 500, 5 * CAIRN_NS_PER_MS, 0, CAIRN_E_NOSPACE);
    cairn_rpc_stats_start(cairn_rpc_stats_find(f->sets[1], 16, 0), 100);
    p = scrape(f);
    assert_true(value_of(p, "cairn_rpc_requests_total", "provider=kv;method=put;", "") == 3);
    assert_true(value_of(p, "cairn_rpc_failed_total", "provider=kv;method=put;", "") == 1);
    assert_true(value_of(p, "cairn_rpc_errors_total", "provider=kv;method=put;code=NOSPACE;", "") == 1);
    assert_true(value_of(p, "cairn_rpc_inflight", "provider=kv;method=put;", "") == 1);
    assert_true(value_of(p, "cairn_rpc_request_bytes_total", "provider=kv;method=put;", "") == 1600);
    assert_true(value_of(p, "cairn_rpc_reply_bytes_total", "provider=kv;method=put;", "") == 20);
    assert_true(value_of(p, "cairn_rpc_latency_seconds_count", "provider=kv;method=put;", "") == 2);
    assert_true(value_of(p, "cairn_rpc_latency_seconds_sum", "provider=kv;method=put;", "") == 0.005003);
    assert_true(value_of(p, "cairn_rpc_latency_seconds_bucket", "provider=kv;method=put;", "2.048e-06") == 0);
    assert_true(value_of(p, "cairn_rpc_latency_seconds_bucket", "provider=kv;method=put;", "4.096e-06") == 1);
    assert_true(value_of(p, "cairn_rpc_latency_seconds_bucket", "provider=kv;method=put;", "+Inf") == 2);
    assert_true(value_of(p, "cairn_rpc_request_size_bytes_bucket", "provider=kv;method=put;", "64") == 0);
    assert_true(value_of(p, "cairn_rpc_request_size_bytes_bucket", "provider=kv;method=put;", "256") == 1);
    assert_true(value_of(p, "cairn_rpc_request_size_bytes_bucket", "provider=kv;method=put;", "1024") == 3);
    for (uint32_t i = 0; i < p->nsamples; i++) /* what nobody called is not there */
        assert_null(strstr(p->samples[i].labels, "method=get"));
    free(p);
}

static void values_beyond_all_buckets(void **state)
{
    struct fixture *f = *state;
    struct parsed *p;

    one(cairn_rpc_stats_find(f->sets[0], 16, 1), UINT64_C(1) << 50, 3600 * CAIRN_NS_PER_S, 0, 0);
    p = scrape(f);
    assert_true(value_of(p, "cairn_rpc_latency_seconds_bucket", "provider=kv;method=get;", "34.3597384") == 0);
    assert_true(value_of(p, "cairn_rpc_latency_seconds_bucket", "provider=kv;method=get;", "+Inf") == 1);
    assert_true(value_of(p, "cairn_rpc_latency_seconds_sum", "provider=kv;method=get;", "") == 3600);
    free(p);
}

static void names_are_escaped(void **state)
{
    struct fixture *f = *state;
    struct parsed *p;

    one(cairn_rpc_stats_find(f->sets[0], 17, 1), 1, 1, 1, 0);
    p = scrape(f);
    assert_true(value_of(p, "cairn_rpc_requests_total", "provider=odd\"\\\nname;method=get;", "") == 1);
    free(p);
}

static void providers_tell_their_state(void **state)
{
    struct fixture *f = *state;
    struct parsed *p = scrape(f);

    assert_true(value_of(p, "cairn_provider_health", "provider=kv;health=degraded;", "") == 1);
    assert_true(value_of(p, "cairn_provider_health", "provider=kv;health=ok;", "") == 0);
    assert_true(value_of(p, "cairn_degraded", "", "") == 1);
    assert_true(value_of(p, "cairn_healthy", "", "") == 1); /* it serves */
    assert_true(value_of(p, "cairn_provider_status", "provider=kv;field=quarantined;", "") == 3);
    free(p);
    f->m.descs = failed_descs;
    p = scrape(f);
    assert_true(value_of(p, "cairn_provider_health", "provider=kv;health=failed;", "") == 1);
    assert_true(value_of(p, "cairn_degraded", "", "") == 1);
    assert_true(value_of(p, "cairn_healthy", "", "") == 0); /* it is to be started again */
    free(p);
}

static void every_node_counter_is_there(void **state)
{
    struct fixture *f = *state;
    struct parsed *p;
    double expect = 1;

#define X(field, kind, name, help) atomic_store(&f->counters.field, (uint64_t)expect++);
    CAIRN_RPC_NODE_COUNTERS(X)
#undef X
    p = scrape(f);
    expect = 1;
#define X(field, kind, name, help) assert_true(value_of(p, name, "", "") == expect++);
    CAIRN_RPC_NODE_COUNTERS(X)
#undef X
    free(p);
}

struct held {
    struct cairn_job job;
    pthread_mutex_t *gate;
    atomic_uint *begun;
};

static void held_work(struct cairn_job *job)
{
    struct held *h = CONTAINER_OF(job, struct held, job);

    atomic_fetch_add(h->begun, 1);
    pthread_mutex_lock(h->gate); /* until the test has looked */
    pthread_mutex_unlock(h->gate);
}

static void held_done(struct cairn_job *job)
{
    (*(int *)job->arg)++;
}

static int64_t json_counter(struct fixture *f, const char *name)
{
    json_t *doc = cairn_metrics_json(&f->m), *value = json_object_get(json_object_get(doc, "counters"), name);
    int64_t v = json_is_integer(value) ? json_integer_value(value) : -1;

    json_decref(doc);
    return v;
}

static void pool_is(struct fixture *f, uint32_t waiting, uint32_t running)
{
    struct parsed *p = scrape(f);

    assert_true(value_of(p, "cairn_pool_waiting", "", "") == waiting);
    assert_true(value_of(p, "cairn_pool_running", "", "") == running);
    free(p);
    assert_int_equal(json_counter(f, "pool_waiting"), waiting);
    assert_int_equal(json_counter(f, "pool_running"), running);
}

/* Two threads and five jobs that are held: two run, three wait. */
static void depth_of_the_pools_queue(void **state)
{
    enum { THREADS = 2, JOBS = 5 };
    struct fixture *f = *state;
    pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
    struct held held[JOBS];
    atomic_uint begun = 0;
    int done = 0;

    f->m.pool = cairn_pool_new(THREADS, 16, NULL);
    assert_non_null(f->m.pool);
    pool_is(f, 0, 0);
    pthread_mutex_lock(&gate);
    for (int i = 0; i < JOBS; i++) {
        held[i] = (struct held){ .job = { .work = held_work, .done = held_done, .arg = &done },
                                 .gate = &gate,
                                 .begun = &begun };
        assert_int_equal(cairn_pool_submit(f->m.pool, &f->loop, &held[i].job), 0);
    }
    WHILE_PATIENT (atomic_load(&begun) < THREADS)
        usleep(1000);
    assert_int_equal(atomic_load(&begun), THREADS);
    pool_is(f, JOBS - THREADS, THREADS);
    pthread_mutex_unlock(&gate);
    WHILE_PATIENT (done < JOBS)
        cairn_loop_turn(&f->loop, CAIRN_NS_PER_MS);
    assert_int_equal(done, JOBS);
    cairn_pool_free(f->m.pool);
    f->m.pool = NULL;
}

/* Of both workers; by way, and what belongs to none; on the page and as JSON. */
static void bulk_transfers_are_told_by_their_way(void **state)
{
    struct fixture *f = *state;
    struct cairn_bulk_counters *b = calloc(2, sizeof(*b));
    const struct cairn_bulk_counters *bulks[] = { &b[0], &b[1] };
    struct parsed *p;
    json_t *doc, *rows;

    f->m.bulks = bulks;
    for (int i = 0; i < 2; i++) {
        atomic_store(&b[i].transfers[CAIRN_BULK_VM], 3);
        atomic_store(&b[i].bytes[CAIRN_BULK_VM], 3000);
        atomic_store(&b[i].transfers[CAIRN_BULK_FABRIC], 4);
        atomic_store(&b[i].bytes[CAIRN_BULK_FRAMES], 500);
        atomic_store(&b[i].failures, 5);
        atomic_store(&b[i].switches, 6);
        atomic_store(&b[i].introduced, 7);
        atomic_store(&b[i].kills, 8);
    }
    p = scrape(f);
    assert_true(value_of(p, "cairn_bulk_transfers_total", "way=vm;", "") == 6);
    assert_true(value_of(p, "cairn_bulk_bytes_total", "way=vm;", "") == 6000);
    assert_true(value_of(p, "cairn_bulk_transfers_total", "way=fabric;", "") == 8);
    assert_true(value_of(p, "cairn_bulk_bytes_total", "way=frames;", "") == 1000);
    assert_true(value_of(p, "cairn_bulk_bytes_total", "way=self;", "") == 0);
    assert_true(value_of(p, "cairn_bulk_failures_total", "", "") == 10);
    assert_true(value_of(p, "cairn_bulk_retries_total", "", "") == 12);
    assert_true(value_of(p, "cairn_bulk_fabric_connections_total", "", "") == 14);
    assert_true(value_of(p, "cairn_bulk_fabric_closed_total", "", "") == 16);
    free(p);
    doc = cairn_metrics_json(&f->m);
    assert_non_null(doc);
    rows = json_object_get(doc, "bulk");
    assert_int_equal(json_array_size(rows), 4);
    assert_string_equal(json_string_value(json_object_get(json_array_get(rows, 0), "way")), "vm");
    assert_int_equal(json_integer_value(json_object_get(json_array_get(rows, 0), "transfers")), 6);
    assert_int_equal(json_integer_value(json_object_get(json_array_get(rows, 0), "bytes")), 6000);
    assert_int_equal(json_integer_value(json_object_get(json_object_get(doc, "counters"), "bulk_retries")), 12);
    json_decref(doc);
    free(b);
}

static void json_says_the_same(void **state)
{
    struct fixture *f = *state;
    json_t *doc, *row;

    one(cairn_rpc_stats_find(f->sets[0], 16, 0), 1000, 3000, 20, 0);
    one(cairn_rpc_stats_find(f->sets[1], 16, 0), 1000, 3000, 20, CAIRN_E_BUSY);
    cairn_rpc_stats_client(cairn_rpc_stats_find(f->sets[1], 16, 0), 1000, 20, CAIRN_E_BUSY);
    atomic_store(&f->counters.auth_failures, 9);
    doc = cairn_metrics_json(&f->m);
    assert_non_null(doc);
    assert_int_equal(json_integer_value(json_object_get(doc, "version")), 1);
    assert_int_equal(json_integer_value(json_object_get(json_object_get(doc, "counters"), "auth_failures")), 9);
    assert_int_equal(json_array_size(json_object_get(doc, "methods")), 1);
    row = json_array_get(json_object_get(doc, "methods"), 0);
    assert_string_equal(json_string_value(json_object_get(row, "provider")), "kv");
    assert_string_equal(json_string_value(json_object_get(row, "method")), "put");
    assert_int_equal(json_integer_value(json_object_get(row, "requests")), 2);
    assert_int_equal(json_integer_value(json_object_get(row, "failed")), 1);
    assert_int_equal(json_integer_value(json_object_get(row, "inflight")), 0);
    assert_int_equal(json_integer_value(json_object_get(row, "in_bytes")), 2000);
    assert_int_equal(json_integer_value(json_object_get(row, "max_ns")), 3000);
    assert_in_range(json_integer_value(json_object_get(row, "p99_ns")), 2250, 3000);
    assert_int_equal(json_integer_value(json_object_get(row, "sum_ns")), 6000);
    assert_int_equal(json_integer_value(json_object_get(json_object_get(row, "clients"), "requests")), 1);
    assert_int_equal(json_integer_value(json_object_get(json_object_get(row, "clients"), "failed")), 1);
    assert_int_equal(json_integer_value(json_object_get(json_object_get(row, "clients"), "in_bytes")), 1000);
    assert_int_equal(json_integer_value(json_object_get(json_object_get(row, "clients"), "out_bytes")), 20);
    row = json_object_get(row, "latencies");
    assert_int_equal(json_array_size(row), 1); /* both in one bucket: about so long, so often */
    assert_in_range(json_integer_value(json_array_get(json_array_get(row, 0), 0)), 2560, 3072);
    assert_int_equal(json_integer_value(json_array_get(json_array_get(row, 0), 1)), 2);
    row = json_array_get(json_object_get(doc, "errors"), 0);
    assert_string_equal(json_string_value(json_object_get(row, "error")), "CAIRN_E_BUSY");
    row = json_array_get(json_object_get(doc, "sizes"), 0);
    assert_int_equal(json_integer_value(json_object_get(row, "max_bytes")), 1000);
    json_decref(doc);
}

/* ---- the page itself ---- */

static void get(struct fixture *f, const struct sockaddr_in *addr, const char *path, char *to, size_t room)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    size_t n = 0;
    ssize_t r;

    assert_int_equal(connect(fd, (const struct sockaddr *)addr, sizeof(*addr)), 0);
    dprintf(fd, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path);
    while ((r = recv(fd, to + n, room - 1 - n, MSG_DONTWAIT)) != 0) {
        if (r > 0)
            n += (size_t)r;
        else
            cairn_loop_turn(&f->loop, 100 * CAIRN_NS_PER_MS);
    }
    to[n] = '\0';
    close(fd);
}

static void page_is_served(void **state)
{
    struct fixture *f = *state;
    struct sockaddr_in addr = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof(addr);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct cairn_http *http;
    char *page = malloc(1 << 20), *body;

    assert_int_equal(bind(fd, (struct sockaddr *)&addr, len), 0);
    assert_int_equal(listen(fd, 8), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&addr, &len), 0);
    http = cairn_metrics_serve(&f->m, &f->loop, fd, NULL);
    assert_non_null(http);
    one(cairn_rpc_stats_find(f->sets[0], 16, 0), 1000, 3000, 20, 0);
    get(f, &addr, "/metrics", page, 1 << 20);
    assert_non_null(strstr(page, "Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n"));
    body = strstr(page, "\r\n\r\n");
    assert_non_null(body);
    free(parse(body + 4));
    get(f, &addr, "/healthz", page, 1 << 20);
    assert_non_null(strstr(page, " 200 OK\r\n"));
    assert_non_null(strstr(page, "\r\n\r\ndegraded: kv is degraded\n"));
    f->m.descs = failed_descs;
    get(f, &addr, "/healthz", page, 1 << 20);
    assert_non_null(strstr(page, " 503 "));
    assert_non_null(strstr(page, "\r\n\r\nkv has failed: its disk is gone\n"));
    f->m.descs = NULL;
    get(f, &addr, "/healthz", page, 1 << 20);
    assert_non_null(strstr(page, " 200 OK\r\n"));
    assert_non_null(strstr(page, "\r\n\r\nok\n"));
    f->unwell = true;
    get(f, &addr, "/healthz", page, 1 << 20);
    assert_non_null(strstr(page, " 503 "));
    assert_non_null(strstr(page, "\r\n\r\ndraining\n"));
    cairn_http_stop(http);
    free(page);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(idle_node_is_valid, setup, teardown),
        cmocka_unit_test_setup_teardown(counts_of_all_workers, setup, teardown),
        cmocka_unit_test_setup_teardown(values_beyond_all_buckets, setup, teardown),
        cmocka_unit_test_setup_teardown(names_are_escaped, setup, teardown),
        cmocka_unit_test_setup_teardown(providers_tell_their_state, setup, teardown),
        cmocka_unit_test_setup_teardown(every_node_counter_is_there, setup, teardown),
        cmocka_unit_test_setup_teardown(depth_of_the_pools_queue, setup, teardown),
        cmocka_unit_test_setup_teardown(bulk_transfers_are_told_by_their_way, setup, teardown),
        cmocka_unit_test_setup_teardown(json_says_the_same, setup, teardown),
        cmocka_unit_test_setup_teardown(page_is_served, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
