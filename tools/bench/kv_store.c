/* How fast the KV stores are by themselves: no RPC, one loop, one thread but the engine's own.
 *
 *      kv_store memory|rocksdb [KEYS [VALUE_BYTES [DIR]]]
 *
 * Prints a line per test: operations, processor time and real time of each, rate. Puts are in order, then at random;
 * gets are at random, one by one and 64 in a call; with rocksdb, 16 puts are outstanding, buffered and synced. */
#include "providers/kv/kv_store.h"
#include "providers/kv/kv_page.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { KEY_BYTES = 16, OUTSTANDING = 16, BATCH = 64 };

struct slot {
    struct cairn_kv_write w;
    ProtobufCBinaryData key;
    char name[KEY_BYTES + 1];
    uint32_t length;
    int32_t status;
    struct bench *bench;
};

struct bench {
    const struct cairn_kv_store_ops *ops;
    struct cairn_kv_store *store;
    struct cairn_kv_dir dir;
    struct cairn_kv_db db;
    struct cairn_loop loop, *loops[1];
    uint32_t keys, value_bytes;
    uint8_t *value, *sink;
    uint64_t started, done, total;
    uint64_t rng;
    bool random;
    uint8_t durability;
    struct slot slots[OUTSTANDING];
};

struct clock_at {
    double real_s, cpu_s;
};

static double read_clock(clockid_t id)
{
    struct timespec ts;

    clock_gettime(id, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static struct clock_at now(void)
{
    return (struct clock_at){ .real_s = read_clock(CLOCK_MONOTONIC), .cpu_s = read_clock(CLOCK_PROCESS_CPUTIME_ID) };
}

static void must(int rc, const struct cairn_err *err)
{
    if (rc == 0)
        return;
    fprintf(stderr, "%s: %s\n", cairn_error_text(rc), err->text);
    exit(1);
}

static uint32_t draw(struct bench *b)
{
    b->rng ^= b->rng << 13;
    b->rng ^= b->rng >> 7;
    b->rng ^= b->rng << 17;
    return (uint32_t)((b->rng * UINT64_C(0x2545f4914f6cdd1d) >> 33) % b->keys);
}

static void name_key(struct bench *b, uint64_t i, char *name, ProtobufCBinaryData *key)
{
    uint64_t x = b->random ? draw(b) : i % b->keys;

    for (int at = KEY_BYTES - 1; at >= 0; at--, x /= 10)
        name[at] = (char)('0' + x % 10);
    *key = (ProtobufCBinaryData){ .len = KEY_BYTES, .data = (uint8_t *)name };
}

static void print_rate(const char *name, uint64_t n, struct clock_at begin)
{
    struct clock_at end = now();
    double real_s = end.real_s - begin.real_s, cpu_s = end.cpu_s - begin.cpu_s;

    printf("%-28s %9" PRIu64 " ops  cpu %7.0f ns  real %8.0f ns  %10.0f /s\n", name, n, cpu_s * 1e9 / (double)n,
           real_s * 1e9 / (double)n, (double)n / real_s);
}

/* ---- puts ---- */

static void put_next(struct slot *s);

static void on_put(struct cairn_kv_write *w, int rc)
{
    struct slot *s = w->arg;

    must(rc, &(struct cairn_err){ 0 });
    s->bench->done++;
    put_next(s);
}

static void put_next(struct slot *s)
{
    struct bench *b = s->bench;
    int rc;

    if (b->started == b->total)
        return;
    name_key(b, b->started++, s->name, &s->key);
    s->length = b->value_bytes;
    s->w = (struct cairn_kv_write){ .db = b->db,
                                    .durability = b->durability,
                                    .keys = &s->key,
                                    .values = b->value,
                                    .lengths = &s->length,
                                    .n = 1,
                                    .value_bytes = b->value_bytes,
                                    .status = &s->status,
                                    .loop = &b->loop,
                                    .done = on_put,
                                    .arg = s };
    rc = b->ops->write(b->store, &s->w);
    if (rc == CAIRN_KV_LATER)
        return;
    must(rc != 0 ? rc : s->status, &(struct cairn_err){ 0 });
    b->done++;
}

static void bench_put(struct bench *b, const char *name, uint64_t n, bool random, uint8_t durability)
{
    struct clock_at begin = now();

    b->started = b->done = 0;
    b->total = n;
    b->random = random;
    b->durability = durability;
    if (b->ops->writes_inline) {
        b->slots[0].bench = b;
        while (b->started < n)
            put_next(&b->slots[0]);
    } else {
        for (int i = 0; i < OUTSTANDING; i++) {
            b->slots[i].bench = b;
            put_next(&b->slots[i]);
        }
        while (b->done < n)
            cairn_loop_turn(&b->loop, UINT64_MAX);
    }
    print_rate(name, n, begin);
}

/* ---- gets ---- */

static bool on_found(void *arg, uint32_t i, const uint8_t *val, int64_t len)
{
    struct bench *b = arg;

    (void)i;
    if (len > 0)
        memcpy(b->sink, val, (size_t)len);
    b->done += len >= 0;
    return true;
}

static void bench_get(struct bench *b, const char *name, uint64_t n, uint32_t batch)
{
    static char names[BATCH][KEY_BYTES];
    static ProtobufCBinaryData keys[BATCH];
    uint64_t later = 0;
    struct clock_at begin = now();

    b->done = 0;
    b->random = true;
    for (uint64_t i = 0; i < n; i += batch) {
        struct cairn_kv_read rd = { .db = b->db, .keys = keys, .n = batch, .found = on_found, .arg = b };
        int rc;

        for (uint32_t j = 0; j < batch; j++)
            name_key(b, 0, names[j], &keys[j]);
        rc = b->ops->read(b->store, &rd);
        if (rc == CAIRN_KV_LATER) {
            later++;
            rd.may_block = true;
            rc = b->ops->read(b->store, &rd);
        }
        must(rc, &(struct cairn_err){ 0 });
    }
    print_rate(name, n, begin);
    if (later > 0)
        printf("%-28s %9" PRIu64 " reads were not in memory\n", "", later);
}

static bool on_entry(void *arg, const uint8_t *key, uint32_t klen, const uint8_t *val, uint32_t vlen)
{
    struct bench *b = arg;

    (void)key;
    (void)klen;
    memcpy(b->sink, val, vlen);
    b->done++;
    return true;
}

static void bench_scan(struct bench *b)
{
    static struct cairn_kv_range all;
    struct cairn_kv_scan scan = {
        .db = b->db, .range = &all, .values = true, .may_block = true, .entry = on_entry, .arg = b
    };
    struct clock_at begin = now();

    b->done = 0;
    must(b->ops->scan(b->store, &scan), &(struct cairn_err){ 0 });
    print_rate("scan of everything", b->done, begin);
}

int main(int argc, char **argv)
{
    static struct bench b = { .rng = 88172645463325252ULL };
    struct cairn_kv_db_desc desc = { .name = "bench" };
    struct cairn_err err = { 0 };
    bool memory = argc > 1 && strcmp(argv[1], "memory") == 0;
    struct cairn_kv_store_conf conf = { .dir = argc > 4 ? argv[4] : "/tmp/cairn-kv-bench",
                                        .memory_bytes = UINT64_C(64) << 30,
                                        .cache_bytes = 32 << 20,
                                        .write_buffer_bytes = 64 << 20,
                                        .queue_bytes = 64 << 20,
                                        .open_files = 256,
                                        .compression = 1,
                                        .loops = b.loops,
                                        .nloops = 1 };

    if (argc < 2 || (!memory && strcmp(argv[1], "rocksdb") != 0)) {
        fprintf(stderr, "usage: kv_store memory|rocksdb [KEYS [VALUE_BYTES [DIR]]]\n");
        return 2;
    }
    b.ops = memory ? &cairn_kv_store_memory : &cairn_kv_store_rocksdb;
    b.keys = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 1000000;
    b.value_bytes = argc > 3 ? (uint32_t)strtoul(argv[3], NULL, 10) : 1024;
    b.value = malloc(b.value_bytes);
    b.sink = malloc(CAIRN_KV_VALUE_BYTES_MAX);
    for (uint32_t i = 0; i < b.value_bytes; i++) /* half of it compresses away, as with db_bench */
        b.value[i] = (uint8_t)(i % 2 == 0 ? draw(&(struct bench){ .keys = 256, .rng = i + 1 }) : 'x');
    must(cairn_loop_init(&b.loop, NULL, &err), &err);
    b.loops[0] = &b.loop;
    must(cairn_kv_dir_init(&b.dir, 16, 1), &err);
    must(b.ops->open(&conf, &b.dir, &b.store, &err), &err);
    must(cairn_kv_dir_reserve(&b.dir, &desc), &err);
    must(b.ops->create(b.store, &desc, false, &err), &err);
    cairn_kv_dir_publish(&b.dir, &desc.db);
    b.db = desc.db;
    bench_put(&b, "put, in order", b.keys, false, 0);
    bench_put(&b, "put, at random", b.keys, true, 0);
    if (!memory)
        bench_put(&b, "put, at random, synced", 2000, true, 1);
    bench_get(&b, "get, at random", b.keys, 1);
    bench_get(&b, "get, at random, 64 a call", b.keys / BATCH * BATCH, BATCH);
    bench_scan(&b);
    b.ops->close(b.store);
    cairn_kv_dir_fini(&b.dir);
    cairn_loop_fini(&b.loop);
    return 0;
}
