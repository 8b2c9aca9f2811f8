/* Loads on a namespace of a cluster, for tests/bench/cluster: one measurement a run, printed as one JSON object.
 *
 *   cluster_bench put     --outstanding N                a client with so many puts in flight, keys drawn at random
 *   cluster_bench fill    --outstanding N                likewise, each key once, and as long as that takes
 *   cluster_bench pauses  puts to every key, one at a time and 50 ms after the last; for each key the longest time, in
 *                         milliseconds, between two puts that succeeded
 *
 * all with --addresses A --key FILE --namespace NS --keys N --value BYTES --seconds S. The first fifth of `put`'s
 * time warms up and is not counted in its rate, but is in its number of operations; `pauses` says "ready" when every
 * key was put once. */
#include "bench.h"

#include "cairn/hashed.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { KEY_BYTES = 16, VALUES_BYTES = 4 << 20, SLOTS_MAX = 4096, PAUSE_NS = 50000000, POLL_MS = 5 };

struct slot {
    char key[32]; /* KEY_BYTES of it */
    bool busy;
    uint64_t succeeded_ns, next_ns, longest_ns;
};

static struct {
    struct cairn *client;
    struct cairn_ns *ns;
    uint64_t keys, value_bytes, span_ns, start_ns, rand, done, ready;
    uint64_t from_ns, from_done; /* what counts begins here */
    uint8_t *values;
    struct cairn_error_info error;
} job;

static bool time_is_left(void)
{
    return bench_now_ns() - job.start_ns < job.span_ns;
}

static void put(struct slot *s, cairn_done_fn *done)
{
    struct cairn_call_options o = CAIRN_CALL_OPTIONS_INIT;
    const uint8_t *value = job.values + bench_rand(&job.rand) % (VALUES_BYTES - job.value_bytes);
    int rc;

    o.error = &job.error;
    s->busy = true;
    rc = cairn_put_async(job.ns, s->key, KEY_BYTES, value, job.value_bytes, &o, done, s);
    if (rc != 0)
        bench_die("start of a put: %s", cairn_error_text(rc));
}

static void on_put(void *arg, int rc)
{
    struct slot *s = arg;
    uint64_t now = bench_now_ns();

    if (rc != 0)
        bench_die("put: %s: %s", cairn_error_text(rc), job.error.text);
    s->busy = false;
    job.done++;
    if (job.from_ns == 0 && now - job.start_ns >= job.span_ns / 5) {
        job.from_ns = now;
        job.from_done = job.done;
    }
    if (!time_is_left())
        return;
    snprintf(s->key, sizeof(s->key), "key:%012" PRIu64, bench_rand(&job.rand) % job.keys);
    put(s, on_put);
}

static uint64_t outstanding_opt(void)
{
    uint64_t outstanding = bench_opt_u64("outstanding", 16);

    bench_opt_done();
    if (outstanding == 0 || outstanding > SLOTS_MAX)
        bench_die("outstanding is out of range");
    return outstanding;
}

static void run_put(struct slot *slots)
{
    uint64_t outstanding = outstanding_opt();

    job.start_ns = bench_now_ns();
    for (uint64_t i = 0; i < outstanding; i++) {
        snprintf(slots[i].key, sizeof(slots[i].key), "key:%012" PRIu64, i);
        put(&slots[i], on_put);
    }
    while (cairn_inflight(job.client) > 0)
        cairn_poll(job.client, POLL_MS);
    printf("{\"ops_per_s\": %.1f, \"ops\": %" PRIu64 "}\n",
           (double)(job.done - job.from_done) * 1e9 / (double)(bench_now_ns() - job.from_ns), job.done);
}

static void fill_next(struct slot *s);

static void on_filled(void *arg, int rc)
{
    if (rc != 0)
        bench_die("put: %s: %s", cairn_error_text(rc), job.error.text);
    fill_next(arg);
}

static void fill_next(struct slot *s)
{
    if (job.done == job.keys)
        return;
    snprintf(s->key, sizeof(s->key), "key:%012" PRIu64, job.done++);
    put(s, on_filled);
}

static void run_fill(struct slot *slots)
{
    uint64_t outstanding = outstanding_opt();

    job.start_ns = bench_now_ns();
    for (uint64_t i = 0; i < outstanding; i++)
        fill_next(&slots[i]);
    while (cairn_inflight(job.client) > 0)
        cairn_poll(job.client, POLL_MS);
    printf("{\"seconds\": %.3f}\n", (double)(bench_now_ns() - job.start_ns) / 1e9);
}

static void on_paced_put(void *arg, int rc)
{
    struct slot *s = arg;
    uint64_t now = bench_now_ns();

    s->busy = false;
    s->next_ns = now + PAUSE_NS;
    if (rc != 0)
        return; /* it goes on being tried: what counts is when one succeeds */
    if (s->succeeded_ns == 0)
        job.ready++;
    else if (now - s->succeeded_ns > s->longest_ns)
        s->longest_ns = now - s->succeeded_ns;
    s->succeeded_ns = now;
}

static void pace(struct slot *slots)
{
    uint64_t now = bench_now_ns();

    for (uint64_t i = 0; i < job.keys; i++) {
        if (!slots[i].busy && slots[i].next_ns <= now)
            put(&slots[i], on_paced_put);
    }
    cairn_poll(job.client, POLL_MS);
}

static void run_pauses(struct slot *slots)
{
    bench_opt_done();
    for (uint64_t i = 0; i < job.keys; i++)
        snprintf(slots[i].key, sizeof(slots[i].key), "key:%012" PRIu64, i);
    job.start_ns = bench_now_ns();
    while (job.ready < job.keys && time_is_left())
        pace(slots);
    if (job.ready < job.keys)
        bench_die("not every key could be put once");
    puts("ready");
    fflush(stdout);
    for (uint64_t i = 0; i < job.keys; i++)
        slots[i].longest_ns = 0;
    job.start_ns = bench_now_ns();
    while (time_is_left())
        pace(slots);
    printf("{\"pauses_ms\": [");
    for (uint64_t i = 0; i < job.keys; i++) {
        uint64_t last = bench_now_ns() - slots[i].succeeded_ns; /* it may not have ended */

        printf("%s%" PRIu64, i > 0 ? ", " : "", (last > slots[i].longest_ns ? last : slots[i].longest_ns) / 1000000);
    }
    printf("]}\n");
}

int main(int argc, char **argv)
{
    static struct slot slots[SLOTS_MAX];
    struct cairn_options o = CAIRN_OPTIONS_INIT;
    int rc;

    if (argc < 2)
        bench_die("usage: cluster_bench put|fill|pauses [--name value]...");
    bench_opt_init(argc - 2, argv + 2);
    o.addresses = bench_opt_str("addresses", NULL);
    o.key_file = bench_opt_str("key", NULL);
    const char *ns = bench_opt_str("namespace", NULL);
    job.keys = bench_opt_u64("keys", 10000);
    job.value_bytes = bench_opt_u64("value", 1024);
    job.span_ns = (uint64_t)(bench_opt_double("seconds", 1) * 1e9);
    job.rand = UINT64_C(0x9e3779b97f4a7c15);
    if (job.keys == 0 || job.value_bytes == 0 || job.value_bytes >= VALUES_BYTES)
        bench_die("keys or value is out of range");
    job.values = bench_buffer(VALUES_BYTES, 0);
    for (size_t i = 0; i < VALUES_BYTES; i += sizeof(job.rand)) {
        bench_rand(&job.rand);
        memcpy(job.values + i, &job.rand, sizeof(job.rand));
    }
    if (cairn_connect(&o, &job.client, &job.error) != 0)
        bench_die("connect: %s", job.error.text);
    rc = cairn_ns_open(job.client, ns, &job.ns, NULL);
    if (rc != 0)
        bench_die("%s: %s", ns, cairn_error_text(rc));
    if (strcmp(argv[1], "put") == 0)
        run_put(slots);
    else if (strcmp(argv[1], "fill") == 0)
        run_fill(slots);
    else if (strcmp(argv[1], "pauses") == 0 && job.keys <= SLOTS_MAX)
        run_pauses(slots);
    else
        bench_die("unknown command '%s', or too many keys for it", argv[1]);
    cairn_ns_close(job.ns);
    cairn_close(job.client);
}
