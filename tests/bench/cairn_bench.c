/* Cairn's side of the comparison: one load on a running node through the public SDK, one line of JSON out.
 *
 *   cairn_bench ping        --outstanding 1
 *   cairn_bench kv          --op put|get|mput|mget|fill --provider P --keys N --value BYTES --outstanding N
 * --connections N
 *                           --batch N --durability memory|buffered|sync
 *   cairn_bench extent      --op write|read --provider P --size BYTES --outstanding N --durability ...
 *   cairn_bench connections --count N         opens them, says "ready", holds them until its input ends
 *
 * all with --addresses A --workspace DIR and --seconds S, or --ops N for an exact number of operations, or --prompt 1
 * to read from its input when to measure and how many seconds.
 *
 * A load is one client (one connection) with a fixed number of operations in flight; one thread drives all of them. A
 * slot is one operation, started again by its own completion. The first fifth of the time warms up and is not
 * counted; the clock runs from the first completion after it to the last one of the span. */
#include "bench.h"

#include "cairn/cairn.h"
#include "cairn/extent.h"
#include "cairn/kv.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    CONNECTIONS_MAX = 64,
    OUTSTANDING_MAX = 1024,
    BATCH_MAX = 1024,
    KEY_BYTES = 16,         /* as redis-benchmark's "key:000000000042" and db_bench's */
    VALUES_BYTES = 4 << 20, /* pool of random bytes that values are taken from: no engine can compress or share them */
    WAIT_MS = 30000,
    POLL_MS = 100,
    TIMED_SLOT_OF = 8,          /* one slot of so many looks at the clock: at millions a second it would show */
    STALE_MAX = 256,            /* regions that may wait to be removed */
    REMOVE_IDS_MAX = 4,         /* they are removed in calls of at least this many ... */
    REMOVE_BYTES_MAX = 64 << 20 /* ... or bytes, whichever is reached first */
};

struct load;

struct slot {
    struct load *load;
    bool timed;
    uint64_t started_ns, id;
    size_t len;
    uint8_t *buf;
    char *keys; /* of KEY_BYTES each */
    struct cairn_put_item *puts;
    struct cairn_get_item *gets;
};

struct load {
    struct cairn *client;
    struct cairn_kv *kv;
    struct cairn_extents *extents;
    struct slot *slots;
    uint64_t rand, done, running;                    /* running: slots with a call in flight */
    uint64_t from_ns, from_done, last_ns, last_done; /* the span that counts: when, and how many were done by then */
    uint64_t stale[STALE_MAX], removing[STALE_MAX];
    size_t nstale, nremoving;
    struct bench_hist hist;
};

/* What is to be done; the same for all loads. */
static struct {
    int (*submit)(struct slot *slot);
    struct cairn_options options;
    struct cairn_call_options call;
    struct cairn_error_info error; /* of whichever call fails first; the program ends then */
    uint64_t outstanding, connections, span_ns, ops_max;
    bool prompt;
    const char *provider, *database;
    uint64_t keys, value_bytes, batch, size, nregions;
    uint64_t *regions;
    uint8_t *values;
    uint64_t start_ns;
} job;

static void on_done(void *arg, int rc);

static void must(int rc, const struct cairn_error_info *e, const char *what)
{
    bool told = e != NULL && e->code != 0;
    if (rc != 0)
        bench_die("%s: %s%s%s", what, cairn_error_text(rc), told ? ": " : "", told ? e->text : "");
}

static void *alloc(size_t n, size_t size)
{
    void *p = calloc(n, size);
    if (p == NULL)
        bench_die("no memory");
    return p;
}

static struct cairn *connect_client(void)
{
    struct cairn *c;
    struct cairn_error_info e = { 0 };
    must(cairn_connect(&job.options, &c, &e), &e, "connect");
    return c;
}

/* ---- operations ---- */

static const uint8_t *random_value(struct load *load)
{
    return job.values + bench_rand(&load->rand) % (VALUES_BYTES - job.value_bytes);
}

static void write_key(char *key, uint64_t n)
{
    memcpy(key, "key:", 4);
    for (int i = KEY_BYTES - 1; i >= 4; i--, n /= 10)
        key[i] = (char)('0' + n % 10);
}

static void random_keys(struct slot *slot, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++)
        write_key(slot->keys + i * KEY_BYTES, bench_rand(&slot->load->rand) % job.keys);
}

static int submit_ping(struct slot *slot)
{
    return cairn_ping_async(slot->load->client, &job.call, on_done, slot);
}

static int submit_put(struct slot *slot)
{
    random_keys(slot, 1);
    return cairn_kv_put_async(slot->load->kv, slot->keys, KEY_BYTES, random_value(slot->load), job.value_bytes,
                              &job.call, on_done, slot);
}

static int submit_get(struct slot *slot)
{
    random_keys(slot, 1);
    return cairn_kv_get_async(slot->load->kv, slot->keys, KEY_BYTES, slot->buf, job.value_bytes, &slot->len, &job.call,
                              on_done, slot);
}

static int submit_mput(struct slot *slot)
{
    random_keys(slot, job.batch);
    for (uint64_t i = 0; i < job.batch; i++)
        slot->puts[i].value = random_value(slot->load);
    return cairn_kv_mput_async(slot->load->kv, slot->puts, job.batch, &job.call, on_done, slot);
}

static int submit_mget(struct slot *slot)
{
    random_keys(slot, job.batch);
    return cairn_kv_mget_async(slot->load->kv, slot->gets, job.batch, &job.call, on_done, slot);
}

static int submit_write(struct slot *slot)
{
    return cairn_extent_put_async(slot->load->extents, slot->buf, job.size, &slot->id, &job.call, on_done, slot);
}

static int submit_read(struct slot *slot)
{
    uint64_t id = job.regions[bench_rand(&slot->load->rand) % job.nregions];
    return cairn_extent_read_async(slot->load->extents, id, 0, slot->buf, job.size, &slot->len, &job.call, on_done,
                                   slot);
}

/* ---- one load ---- */

static void on_removed(void *arg, int rc)
{
    struct load *load = arg;
    must(rc, NULL, "remove");
    load->nremoving = 0;
}

/* What was written is removed within the time that is measured, in few calls and beside the writes: a store cannot grow
 * for ever. */
static void retire(struct load *load, uint64_t id)
{
    load->stale[load->nstale++] = id;
    size_t full = job.size * REMOVE_IDS_MAX > REMOVE_BYTES_MAX ? REMOVE_BYTES_MAX / job.size + 1 : REMOVE_IDS_MAX;
    if (load->nremoving != 0 || load->nstale < full) {
        if (load->nstale == STALE_MAX)
            bench_die("the node does not keep up with removals");
        return;
    }
    memcpy(load->removing, load->stale, load->nstale * sizeof(load->stale[0]));
    load->nremoving = load->nstale;
    load->nstale = 0;
    must(cairn_extent_remove_async(load->extents, load->removing, load->nremoving, NULL, NULL, on_removed, load), NULL,
         "remove");
}

static void check_result(const struct slot *slot)
{
    if (job.submit == submit_get && slot->len != job.value_bytes)
        bench_die("a value of %zu bytes came back", slot->len);
    if (job.submit == submit_read && slot->len != job.size)
        bench_die("a read of %zu bytes came back", slot->len);
    for (uint64_t i = 0; job.submit == submit_mget && i < job.batch; i++) {
        if (slot->gets[i].status != 0 || slot->gets[i].value_len != job.value_bytes)
            bench_die("a value is missing: %s", cairn_error_text(slot->gets[i].status));
    }
}

static void start_slot(struct slot *slot, uint64_t now)
{
    slot->started_ns = now;
    must(job.submit(slot), &job.error, "start of a call");
}

/* A completion at @now, of a slot that is timed. */
static void note_time(struct slot *slot, uint64_t now)
{
    struct load *load = slot->load;
    if (load->from_ns != 0) {
        load->last_ns = now;
        load->last_done = load->done;
        bench_hist_add(&load->hist, now - slot->started_ns);
    } else if (now - job.start_ns >= job.span_ns / 5) {
        load->from_ns = load->last_ns = now;
        load->from_done = load->last_done = load->done;
    }
}

static void on_done(void *arg, int rc)
{
    struct slot *slot = arg;
    struct load *load = slot->load;
    uint64_t now = 0;
    must(rc, &job.error, "call");
    check_result(slot);
    if (job.submit == submit_write)
        retire(load, slot->id);
    load->done++;
    if (slot->timed) {
        now = bench_now_ns();
        note_time(slot, now);
    }
    bool more = job.ops_max != 0 ? load->done + job.outstanding <= job.ops_max
                                 : load->from_ns == 0 || load->last_ns - load->from_ns < job.span_ns;
    if (more)
        start_slot(slot, now);
    else
        load->running--;
}

static void init_slot(struct slot *slot, struct load *load, bool batches)
{
    size_t bytes = job.size != 0 ? job.size : job.value_bytes * job.batch;
    slot->load = load;
    slot->keys = alloc(job.batch, KEY_BYTES);
    slot->buf = bench_buffer(bytes + 1, 0x5a);
    if (!batches)
        return;
    slot->puts = alloc(job.batch, sizeof(*slot->puts));
    slot->gets = alloc(job.batch, sizeof(*slot->gets));
    for (uint64_t i = 0; i < job.batch; i++) {
        slot->puts[i] = (struct cairn_put_item){ .key = slot->keys + i * KEY_BYTES,
                                                 .key_len = KEY_BYTES,
                                                 .value_len = job.value_bytes };
        slot->gets[i] = (struct cairn_get_item){ .key = slot->keys + i * KEY_BYTES,
                                                 .key_len = KEY_BYTES,
                                                 .value = slot->buf + i * job.value_bytes,
                                                 .room = job.value_bytes };
    }
}

static void open_database(struct load *load)
{
    struct cairn_error_info e = { 0 };
    struct cairn_call_options call = CAIRN_CALL_OPTIONS_INIT;
    struct cairn_kv_options kv = CAIRN_KV_OPTIONS_INIT;
    call.error = &e;
    kv.create = true;
    must(cairn_kv_open(load->client, job.provider, job.database, &kv, &load->kv, &call), &e, "open the database");
}

static void open_extents(struct load *load)
{
    struct cairn_error_info e = { 0 };
    struct cairn_call_options call = CAIRN_CALL_OPTIONS_INIT;
    call.error = &e;
    must(cairn_extents_open(load->client, job.provider, &load->extents, &call), &e, "open the extents");
}

static bool is_over(const struct load *load)
{
    return load->running == 0 && load->nremoving == 0;
}

/* One thread drives all clients in turn, waiting for each in its turn: what the others got meanwhile is there when it
 * comes to them, and nobody spins. */
static void drive_loads(struct load *loads)
{
    uint64_t deadline = bench_now_ns() + job.span_ns * 2 + WAIT_MS * UINT64_C(1000000);
    for (uint64_t live = job.connections; live > 0;) {
        live = 0;
        for (uint64_t i = 0; i < job.connections; i++) {
            if (is_over(&loads[i]))
                continue;
            live++;
            if (cairn_poll(loads[i].client, POLL_MS) < 0)
                bench_die("poll failed");
        }
        if (bench_now_ns() > deadline)
            bench_die("calls do not end");
    }
}

static struct load *loads_new(void (*open)(struct load *load))
{
    if (job.connections == 0 || job.connections > CONNECTIONS_MAX || job.outstanding == 0 ||
        job.outstanding > OUTSTANDING_MAX || job.batch == 0 || job.batch > BATCH_MAX)
        bench_die("connections, outstanding or batch is out of range");
    struct load *loads = alloc(job.connections, sizeof(*loads));
    for (uint64_t i = 0; i < job.connections; i++) {
        struct load *load = &loads[i];
        load->rand = (i + 1) * UINT64_C(0x9e3779b97f4a7c15);
        load->client = connect_client();
        if (open != NULL)
            open(load);
        load->slots = alloc(job.outstanding, sizeof(*load->slots));
        for (uint64_t k = 0; k < job.outstanding; k++) {
            init_slot(&load->slots[k], load, job.submit == submit_mput || job.submit == submit_mget);
            load->slots[k].timed = k % TIMED_SLOT_OF == 0;
        }
    }
    return loads;
}

static void loads_close(struct load *loads)
{
    for (uint64_t i = 0; i < job.connections; i++) {
        cairn_kv_close(loads[i].kv);
        cairn_extents_close(loads[i].extents);
        cairn_close(loads[i].client);
    }
}

/* Runs @job.submit on all connections for one span and prints what came out; one operation counts for @units and moves
 * @bytes. */
static void loads_measure(struct load *loads, uint64_t units, uint64_t bytes)
{
    static struct bench_hist all;
    double rate = 0;
    uint64_t done = 0;
    memset(&all, 0, sizeof(all));
    for (uint64_t i = 0; i < job.connections; i++) {
        struct load *load = &loads[i];
        load->done = load->from_ns = load->from_done = load->last_ns = load->last_done = 0;
        memset(&load->hist, 0, sizeof(load->hist));
    }
    job.start_ns = bench_now_ns();
    for (uint64_t i = 0; i < job.connections; i++) {
        loads[i].running = job.outstanding;
        for (uint64_t k = 0; k < job.outstanding; k++)
            start_slot(&loads[i].slots[k], bench_now_ns());
    }
    drive_loads(loads);
    for (uint64_t i = 0; i < job.connections; i++) {
        struct load *load = &loads[i];
        if (load->last_ns > load->from_ns)
            rate += (double)(load->last_done - load->from_done) * 1e9 / (double)(load->last_ns - load->from_ns);
        done += load->done;
        all.n += load->hist.n;
        for (size_t k = 0; k < BENCH_HIST_SLOTS; k++)
            all.slot[k] += load->hist.slot[k];
        if (load->nstale != 0)
            must(cairn_extent_remove(load->extents, load->stale, load->nstale, NULL, NULL), NULL, "remove");
        load->nstale = 0;
    }
    printf("{\"ops_per_s\": %.1f, \"bytes_per_s\": %.0f, \"p50_us\": %.3f, \"p99_us\": %.3f, \"ops\": %" PRIu64 "}\n",
           rate * (double)units, rate * (double)bytes, bench_hist_ns(&all, 0.5) / 1e3, bench_hist_ns(&all, 0.99) / 1e3,
           done * units);
}

/* With --prompt, each line of input asks for one measurement of so many seconds: between them the connections, and what
 * took time to come up behind them, stay. Without it there is one. False: that was the last. */
static bool next_measurement(void)
{
    static bool first = true;
    bool was_first = first;
    char line[64];
    first = false;
    if (!job.prompt)
        return was_first;
    fflush(stdout);
    if (fgets(line, sizeof(line), stdin) == NULL)
        return false;
    double seconds = atof(line);
    if (seconds <= 0 || seconds > 3600)
        bench_die("a line of input is a number of seconds, not '%s'", line);
    job.span_ns = (uint64_t)(seconds * 1e9);
    return true;
}

static void run_loads(void (*open)(struct load *load), uint64_t units, uint64_t bytes)
{
    struct load *loads = loads_new(open);
    while (next_measurement())
        loads_measure(loads, units, bytes);
    loads_close(loads);
}

/* ---- subcommands ---- */

/* One at a time, by the waiting form, as a program would that asks and goes on with the answer. */
static void measure_one_by_one(struct cairn *c)
{
    static struct bench_hist hist;
    uint64_t start = bench_now_ns(), then = start, warm = start + job.span_ns / 5, now;
    memset(&hist, 0, sizeof(hist));
    do {
        must(cairn_ping(c, NULL), NULL, "ping");
        now = bench_now_ns();
        if (now > warm)
            bench_hist_add(&hist, now - then);
        then = now;
    } while (now < warm + job.span_ns);
    printf("{\"p50_us\": %.3f, \"p99_us\": %.3f, \"ops\": %" PRIu64 "}\n", bench_hist_ns(&hist, 0.5) / 1e3,
           bench_hist_ns(&hist, 0.99) / 1e3, hist.n);
}

static void ping_one_by_one(void)
{
    struct cairn *c = connect_client();
    while (next_measurement())
        measure_one_by_one(c);
    cairn_close(c);
}

static void run_ping(void)
{
    job.outstanding = bench_opt_u64("outstanding", 1);
    bench_opt_done();
    job.submit = submit_ping;
    if (job.outstanding == 1)
        ping_one_by_one();
    else
        run_loads(NULL, 1, 0);
}

static enum cairn_durability durability(void)
{
    static const char *const names[] = { [CAIRN_DURABILITY_DEFAULT] = "default",
                                         [CAIRN_DURABILITY_MEMORY] = "memory",
                                         [CAIRN_DURABILITY_BUFFERED] = "buffered",
                                         [CAIRN_DURABILITY_SYNC] = "sync" };
    const char *s = bench_opt_str("durability", "default");
    for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcmp(s, names[i]) == 0)
            return (enum cairn_durability)i;
    }
    bench_die("--durability: '%s' is none", s);
}

/* Every key once, in order, in batches: what reads and overwrites start from. */
static void fill(void)
{
    struct load load = { .client = connect_client(), .rand = 88172645463325252 };
    struct slot slot = { 0 };
    open_database(&load);
    init_slot(&slot, &load, true);
    for (uint64_t first = 0; first < job.keys; first += job.batch) {
        uint64_t n = job.keys - first < job.batch ? job.keys - first : job.batch;
        for (uint64_t i = 0; i < n; i++) {
            write_key(slot.keys + i * KEY_BYTES, first + i);
            slot.puts[i].value = random_value(&load);
        }
        must(cairn_kv_mput(load.kv, slot.puts, n, NULL), NULL, "fill");
    }
    cairn_kv_close(load.kv);
    cairn_close(load.client);
    printf("{\"ops\": %" PRIu64 "}\n", job.keys);
}

static void run_kv(void)
{
    static const struct {
        const char *name;
        int (*submit)(struct slot *slot);
    } ops[] = { { "put", submit_put }, { "get", submit_get }, { "mput", submit_mput }, { "mget", submit_mget } };
    const char *op = bench_opt_str("op", NULL);
    job.provider = bench_opt_str("provider", NULL);
    job.database = bench_opt_str("database", "bench");
    job.keys = bench_opt_u64("keys", 100000);
    job.value_bytes = bench_opt_u64("value", 1024);
    job.outstanding = bench_opt_u64("outstanding", 16);
    job.connections = bench_opt_u64("connections", 1);
    job.batch = bench_opt_u64("batch", strcmp(op, "fill") == 0 ? 64 : 1);
    job.call.durability = durability();
    bench_opt_done();
    if (job.keys == 0 || job.value_bytes == 0 || job.value_bytes >= VALUES_BYTES || job.batch == 0 ||
        job.batch > BATCH_MAX)
        bench_die("keys, value or batch is out of range");
    job.values = alloc(1, VALUES_BYTES);
    uint64_t seed = 42;
    for (size_t i = 0; i < VALUES_BYTES; i += sizeof(seed)) {
        bench_rand(&seed);
        memcpy(job.values + i, &seed, sizeof(seed));
    }
    if (strcmp(op, "fill") == 0) {
        fill();
        return;
    }
    for (size_t i = 0; i < sizeof(ops) / sizeof(ops[0]); i++) {
        if (strcmp(op, ops[i].name) == 0) {
            job.submit = ops[i].submit;
            run_loads(open_database, job.batch, job.batch * job.value_bytes);
            return;
        }
    }
    bench_die("--op: '%s' is none", op);
}

static void make_regions(struct load *load)
{
    uint8_t *data = bench_buffer(job.size, 1);
    job.regions = alloc(job.nregions, sizeof(*job.regions));
    for (uint64_t i = 0; i < job.nregions; i++)
        must(cairn_extent_put(load->extents, data, job.size, &job.regions[i], &job.call), &job.error,
             "write what is to be read");
    free(data);
}

static void run_extent(void)
{
    const char *op = bench_opt_str("op", NULL);
    job.provider = bench_opt_str("provider", NULL);
    job.size = bench_opt_u64("size", 1 << 20);
    job.outstanding = bench_opt_u64("outstanding", 8);
    job.nregions = bench_opt_u64("regions", 16);
    job.call.durability = durability();
    bench_opt_done();
    if (job.size == 0 || job.size > CAIRN_EXTENT_BYTES_MAX || job.nregions == 0 || job.nregions > CAIRN_BATCH_MAX)
        bench_die("size or regions is out of range");
    job.connections = 1;
    if (strcmp(op, "write") == 0) {
        job.submit = submit_write;
        run_loads(open_extents, 1, job.size);
        return;
    }
    if (strcmp(op, "read") != 0)
        bench_die("--op: '%s' is none", op);
    struct load owner = { .client = connect_client() };
    open_extents(&owner);
    make_regions(&owner);
    job.submit = submit_read;
    run_loads(open_extents, 1, job.size);
    must(cairn_extent_remove(owner.extents, job.regions, job.nregions, NULL, NULL), NULL, "remove");
    cairn_extents_close(owner.extents);
    cairn_close(owner.client);
}

static void run_connections(void)
{
    uint64_t count = bench_opt_u64("count", 5000);
    bench_opt_done();
    for (uint64_t i = 0; i < count; i++) {
        struct cairn *c = connect_client(); /* the end of the process closes them all */
        must(cairn_ping(c, NULL), NULL, "ping");
    }
    puts("ready");
    fflush(stdout);
    char byte;
    while (read(STDIN_FILENO, &byte, 1) > 0)
        ;
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*run)(void);
    } commands[] = {
        { "ping", run_ping }, { "kv", run_kv }, { "extent", run_extent }, { "connections", run_connections }
    };
    if (argc < 2)
        bench_die("usage: cairn_bench ping|kv|extent|connections [--name value]...");
    bench_opt_init(argc - 2, argv + 2);
    const char *addresses = bench_opt_str("addresses", ""), *workspace = bench_opt_str("workspace", "");
    job.options = (struct cairn_options)CAIRN_OPTIONS_INIT;
    job.options.addresses = *addresses != '\0' ? addresses : NULL;
    job.options.workspace = *workspace != '\0' ? workspace : NULL;
    job.options.spin_us = (uint32_t)bench_opt_u64("spin-us", 0);
    job.call = (struct cairn_call_options)CAIRN_CALL_OPTIONS_INIT;
    job.call.error = &job.error;
    job.connections = job.batch = 1;
    job.prompt = bench_opt_u64("prompt", 0) != 0;
    job.ops_max = bench_opt_u64("ops", 0);
    job.span_ns = (uint64_t)(bench_opt_double("seconds", 1) * 1e9);
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        if (strcmp(argv[1], commands[i].name) == 0) {
            commands[i].run();
            return 0;
        }
    }
    bench_die("unknown command '%s'", argv[1]);
}
