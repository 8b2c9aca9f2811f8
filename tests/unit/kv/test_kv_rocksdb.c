/* What the RocksDB store promises beyond the common: it is there again after a restart and after SIGKILL, it refuses
 * foreign data, and its loops do not wait for the disk. */
#include "tests/unit/kv/kv_fixture.h"

#include <signal.h>

static struct cairn_kv_db find(struct fx *fx, const char *name)
{
    const struct cairn_kv_db_desc *desc = cairn_kv_dir_by_name(&fx->dir, name);

    assert_non_null(desc);
    return desc->db;
}

static void reopened_is_as_it_was(void **state)
{
    struct fx *fx = *state;
    struct cairn_kv_db numbers, words, found;
    uint64_t x = 77;

    fx_open(fx);
    numbers = fx_create(fx, "numbers", CAIRN_KV_UINT, true);
    words = fx_create(fx, "words", CAIRN_KV_BYTES, false);
    fx_create(fx, "dropped", CAIRN_KV_BYTES, false);
    assert_int_equal(fx_put_str(fx, words, "k", "v"), 0);
    assert_int_equal(fx_put(fx, numbers, fx_key(&x, 8), "n", 1), 0);
    assert_int_equal(fx_put_str(fx, find(fx, "dropped"), "k", "v"), 0);
    fx_drop(fx, "dropped");
    fx_close(fx);
    fx_open(fx);
    found = find(fx, "numbers");
    assert_int_equal(found.handle, numbers.handle); /* handles outlive the process */
    assert_int_equal(found.order, CAIRN_KV_UINT);
    assert_true(found.write_once);
    assert_int_equal(fx_put(fx, found, fx_key(&x, 8), "m", 1), CAIRN_E_EXISTS);
    assert_string_equal(fx_get_str(fx, words, "k"), "v");
    assert_null(cairn_kv_dir_by_name(&fx->dir, "dropped"));
    found = fx_create(fx, "dropped", CAIRN_KV_BYTES, false);
    assert_string_equal(fx_get_str(fx, found, "k"), "-");
    fx_close(fx);
}

/* One process at a time; only data that we know. */
static void foreign_directories_are_refused(void **state)
{
    struct fx *fx = *state, second = *fx;
    char path[128];
    FILE *f;

    fx_open(fx);
    second.err = (struct cairn_err){ 0 };
    assert_int_equal(fx_try_open(&second), CAIRN_E_LOCKED);
    assert_non_null(strstr(second.err.text, fx->path));
    assert_int_equal(fx_check(&second), CAIRN_E_LOCKED);
    fx_close(fx);
    assert_int_equal(fx_check(&second), 0);

    snprintf(path, sizeof(path), "%s/FORMAT", fx->path);
    f = fopen(path, "w");
    fputs("cairn-kv-rocksdb 99\n", f);
    fclose(f);
    assert_int_equal(fx_try_open(fx), CAIRN_E_FORMAT);
    assert_non_null(strstr(fx->err.text, "99"));
    f = fopen(path, "w");
    fputs("something-else 1\n", f);
    fclose(f);
    assert_int_equal(fx_try_open(fx), CAIRN_E_FORMAT);
    f = fopen(path, "w");
    fputs("???", f);
    fclose(f);
    assert_int_equal(fx_try_open(fx), CAIRN_E_CORRUPT);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_true(fx_try_open(fx) < 0);
    assert_non_null(strstr(fx->err.text, "FORMAT"));
    fx->conf.dir = "/nonexistent/dir";
    assert_int_equal(fx_try_open(fx), CAIRN_E_NOTFOUND);
    assert_int_equal(fx_check(fx), 0); /* a start would make it */
}

/* A database that is gone is not made anew, empty: the engine would also remove what is left of the old one. */
static void a_lost_database_stops_the_start(void **state)
{
    static const char *const lost[] = { "db", "db/CURRENT" };
    struct fx *fx = *state;
    char path[128], aside[128];
    struct cairn_kv_db db;

    fx_open(fx);
    db = fx_create(fx, "d", CAIRN_KV_BYTES, false);
    assert_int_equal(fx_put_str(fx, db, "k", "v"), 0);
    fx_close(fx);
    for (size_t i = 0; i < ARRAY_SIZE(lost); i++) {
        snprintf(path, sizeof(path), "%s/%s", fx->path, lost[i]);
        snprintf(aside, sizeof(aside), "%s/aside", fx->path);
        assert_int_equal(rename(path, aside), 0);
        assert_int_equal(fx_check(fx), CAIRN_E_CORRUPT);
        assert_int_equal(fx_try_open(fx), CAIRN_E_CORRUPT);
        assert_non_null(strstr(fx->err.text, "db/CURRENT"));
        assert_int_equal(rename(aside, path), 0);
    }
    fx_open(fx);
    assert_string_equal(fx_get_str(fx, find(fx, "d"), "k"), "v");
    fx_close(fx);
}

/* ---- SIGKILL ---- */

enum { KILL_OUTSTANDING = 8, KILL_ROUNDS = 6 };

/* The child, a program of its own (--child DIR FIRST DURABILITY), puts number after number, each with a value that
 * names it, and says which one was acknowledged. */
static void child_puts(struct fx *fx, int to, uint32_t first, uint8_t durability)
{
    struct fx_write fw[KILL_OUTSTANDING];
    ProtobufCBinaryData key[KILL_OUTSTANDING];
    uint32_t number[KILL_OUTSTANDING], value[64];
    struct cairn_kv_db db;

    fx_open(fx);
    db = cairn_kv_dir_by_name(&fx->dir, "d") != NULL ? find(fx, "d") : fx_create(fx, "d", CAIRN_KV_UINT, false);
    for (;;) {
        for (uint32_t i = 0; i < KILL_OUTSTANDING; i++) {
            number[i] = first++;
            key[i] = fx_key(&number[i], sizeof(number[i]));
            for (uint32_t j = 0; j < ARRAY_SIZE(value); j++)
                value[j] = number[i];
            fx_fill_put(&fw[i], db, &key[i], memcpy(malloc(sizeof(value)), value, sizeof(value)), sizeof(value));
            fw[i].w.durability = durability;
            fx_write_start(fx, &fw[i], 0);
        }
        for (uint32_t i = 0; i < KILL_OUTSTANDING; i++) {
            if (fx_write_wait(fx, &fw[i]) != 0 || fw[i].status != 0)
                _exit(1);
            if (write(to, &number[i], sizeof(number[i])) != sizeof(number[i]))
                _exit(2);
            free((void *)(uintptr_t)fw[i].w.values);
        }
    }
}

/* Runs a child until it has acknowledged @n more numbers, kills it; returns the last one acknowledged. */
static uint32_t run_and_kill(struct fx *fx, uint32_t first, uint32_t n, uint8_t durability)
{
    uint32_t number, last = 0, seen = 0;
    int fds[2], status;
    pid_t pid;

    assert_int_equal(pipe(fds), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        char number_text[16], durability_text[16];

        snprintf(number_text, sizeof(number_text), "%u", first);
        snprintf(durability_text, sizeof(durability_text), "%u", durability);
        dup2(fds[1], STDOUT_FILENO);
        execl("/proc/self/exe", "test_kv_rocksdb", "--child", fx->path, number_text, durability_text, (char *)NULL);
        _exit(127);
    }
    close(fds[1]);
    while (seen < n && read(fds[0], &number, sizeof(number)) == sizeof(number)) {
        last = MAX(last, number);
        seen++;
    }
    assert_int_equal(seen, n);
    assert_int_equal(kill(pid, SIGKILL), 0);
    while (read(fds[0], &number, sizeof(number)) == sizeof(number)) /* acknowledged before it died */
        last = MAX(last, number);
    close(fds[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    return last;
}

/* Number @i was between the last that an earlier round saw acknowledged and the first of the next round. */
static bool is_gap(const uint32_t *acknowledged, uint32_t round, uint32_t i)
{
    for (uint32_t r = 0; r < round; r++) {
        if (i > acknowledged[r] && i <= acknowledged[r] + KILL_OUTSTANDING)
            return true;
    }
    return false;
}

/* What was acknowledged as buffered is there after SIGKILL, whole, in every round. */
static void acknowledged_survives_sigkill(void **state)
{
    struct fx *fx = *state;
    static struct fx_value v;
    uint32_t last = 0, acknowledged[KILL_ROUNDS];

    for (uint32_t round = 0; round < KILL_ROUNDS; round++) {
        struct cairn_kv_db db;

        acknowledged[round] = last = run_and_kill(fx, last + 1, 200 + round * 150, round % 3 == 2 ? 1 : 0);
        fx_open(fx);
        db = find(fx, "d");
        for (uint32_t i = 1; i <= last + KILL_OUTSTANDING; i++) {
            assert_int_equal(fx_get(fx, db, fx_key(&i, sizeof(i)), &v), 0);
            if (v.len < 0) { /* under way when one of the rounds ended, not acknowledged */
                assert_true(i > acknowledged[round] || is_gap(acknowledged, round, i));
                continue;
            }
            assert_int_equal(v.len, 256);
            for (uint32_t j = 0; j < 64; j++)
                assert_memory_equal(v.bytes + j * 4, &i, 4);
        }
        fx_close(fx);
        last += KILL_OUTSTANDING;
    }
}

/* ---- reads on the loop ---- */

/* What is in memory is answered without blocking; what is not says so, and is found by the pool. */
static void reads_that_need_the_disk_say_so(void **state)
{
    struct fx *fx = *state;
    static uint8_t value[1000];
    static struct fx_value v;
    struct cairn_kv_db db;
    uint32_t later = 0;
    ProtobufCBinaryData key;
    uint32_t i;
    struct cairn_kv_read rd = { .keys = &key, .n = 1, .found = fx_on_found, .arg = &v };

    fx->conf.write_buffer_bytes = 1 << 20;
    fx->conf.cache_bytes = 1 << 20;
    fx_open(fx);
    rd.db = db = fx_create(fx, "d", CAIRN_KV_UINT, false);
    key = fx_key(&i, 4);
    for (i = 0; i < 8000; i++)
        assert_int_equal(fx_put(fx, db, key, value, sizeof(value)), 0);
    fx_close(fx);
    fx_open(fx);
    for (i = 0; i < 8000; i += 100) {
        int rc = fx->ops->read(fx->store, &rd);

        assert_true(rc == 0 || rc == CAIRN_KV_LATER);
        later += rc == CAIRN_KV_LATER;
        assert_int_equal(fx_get(fx, db, key, &v), 0);
        assert_int_equal(fx->ops->read(fx->store, &rd), 0); /* now it is there */
        assert_int_equal(v.len, sizeof(value));
    }
    assert_true(later > 0);
    fx_close(fx);
}

/* With more tables than may be open, a look at memory alone finds a value or asks for the disk; that nothing was found
 * in a table which is not open does not pass for an empty value. */
static void reads_of_tables_that_are_not_open(void **state)
{
    enum { KEYS = 2000 };
    static uint8_t value[8000];
    static struct fx_value v;
    struct fx *fx = *state;
    uint32_t later = 0, found = 0, i;
    ProtobufCBinaryData key = fx_key(&i, 4);
    struct cairn_kv_read rd = { .keys = &key, .n = 1, .found = fx_on_found, .arg = &v };
    uint64_t rng = 5;

    fx->conf.write_buffer_bytes = 256 << 10;
    fx->conf.open_files = 20;
    fx_open(fx);
    rd.db = fx_create(fx, "d", CAIRN_KV_UINT, false);
    for (i = 0; i < KEYS; i++) {
        for (size_t j = 0; j < sizeof(value); j++)
            value[j] = (uint8_t)fx_draw(&rng, 256);
        assert_int_equal(fx_put(fx, rd.db, key, value, i % 100 == 0 ? 0 : sizeof(value)), 0);
    }
    for (i = 0; i < KEYS; i++) {
        int rc = fx->ops->read(fx->store, &rd);

        assert_true(rc == 0 || rc == CAIRN_KV_LATER);
        found += rc == 0;
        later += rc == CAIRN_KV_LATER;
        if (rc == 0)
            assert_int_equal(v.len, sizeof(value));
        assert_int_equal(fx_get(fx, rd.db, key, &v), 0);
        assert_int_equal(v.len, i % 100 == 0 ? 0 : sizeof(value));
    }
    assert_true(found > 0 && later > 0);
    fx_close(fx);
}

/* Sixteen writers that sync together share their syncs. */
static void syncs_are_shared(void **state)
{
    enum { WRITERS = 16, ROUNDS = 20 };
    struct fx *fx = *state;
    struct fx_write fw[WRITERS];
    uint32_t number[WRITERS];
    ProtobufCBinaryData key[WRITERS];
    struct cairn_kv_db db;

    fx_open(fx);
    db = fx_create(fx, "d", CAIRN_KV_UINT, false);
    for (uint32_t round = 0; round < ROUNDS; round++) {
        for (uint32_t i = 0; i < WRITERS; i++) {
            number[i] = round * WRITERS + i;
            key[i] = fx_key(&number[i], 4);
            fx_fill_put(&fw[i], db, &key[i], "v", 1);
            fw[i].w.durability = 1;
            fx_write_start(fx, &fw[i], 0);
        }
        for (uint32_t i = 0; i < WRITERS; i++) {
            assert_int_equal(fx_write_wait(fx, &fw[i]), 0);
            assert_int_equal(fw[i].status, 0);
        }
    }
    assert_int_equal(fx_status_number(fx, "synced_ops"), WRITERS * ROUNDS);
    assert_in_range(fx_status_number(fx, "syncs"), ROUNDS, 2 * ROUNDS);
    fx_close(fx);
}

/* Nobody waits for it any more, or its time has passed: it does not happen. */
static void canceled_and_late_writes_do_not_happen(void **state)
{
    struct fx *fx = *state;
    ProtobufCBinaryData key = fx_str("k");
    atomic_bool canceled = true;
    struct fx_write fw;
    struct cairn_kv_db db;

    fx_open(fx);
    db = fx_create(fx, "d", CAIRN_KV_BYTES, false);
    fx_fill_put(&fw, db, &key, "v", 1);
    fw.w.canceled = &canceled;
    fx_write_start(fx, &fw, 0);
    assert_int_equal(fx_write_wait(fx, &fw), CAIRN_E_CANCELED);
    fx_fill_put(&fw, db, &key, "v", 1);
    fw.w.deadline_ns = 1;
    fx_write_start(fx, &fw, 0);
    assert_int_equal(fx_write_wait(fx, &fw), CAIRN_E_TIMEOUT);
    assert_string_equal(fx_get_str(fx, db, "k"), "-");
    fx_close(fx);
}

/* More than the bound is refused, not buffered. */
static void writes_that_wait_are_bounded(void **state)
{
    enum { N = 40 };
    struct fx *fx = *state;
    ProtobufCBinaryData key = fx_str("k");
    static struct fx_write fw[N];
    uint8_t *value = calloc(1, 1 << 20);
    struct cairn_kv_db db;
    uint32_t busy = 0;

    fx->conf.queue_bytes = 8 << 20;
    fx_open(fx);
    db = fx_create(fx, "d", CAIRN_KV_BYTES, false);
    for (int i = 0; i < N; i++) { /* in one turn: nothing is handed over yet */
        fx_fill_put(&fw[i], db, &key, value, 1 << 20);
        fx_write_start(fx, &fw[i], 0);
        busy += fw[i].done && fw[i].rc == CAIRN_E_BUSY;
    }
    assert_int_equal(busy, N - 7);
    for (int i = 0; i < N; i++)
        fx_write_wait(fx, &fw[i]);
    assert_int_equal(fx_status_number(fx, "writes_waiting"), 0);
    assert_int_equal(fx_status_number(fx, "writes_waiting_bytes"), 0);
    assert_int_equal(fx_put_str(fx, db, "k", "v"), 0);
    free(value);
    fx_close(fx);
}

static void child_main(char **argv)
{
    static struct fx fx;
    char made[sizeof(fx.path)];

    fx_prepare(&fx, &cairn_kv_store_rocksdb);
    strcpy(made, fx.path);
    rmdir(made);
    snprintf(fx.path, sizeof(fx.path), "%s", argv[2]);
    child_puts(&fx, STDOUT_FILENO, (uint32_t)strtoul(argv[3], NULL, 10), (uint8_t)strtoul(argv[4], NULL, 10));
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        FX_ROCKSDB(acknowledged_survives_sigkill),
        FX_ROCKSDB(reopened_is_as_it_was),
        FX_ROCKSDB(foreign_directories_are_refused),
        FX_ROCKSDB(a_lost_database_stops_the_start),
        FX_ROCKSDB(reads_that_need_the_disk_say_so),
        FX_ROCKSDB(reads_of_tables_that_are_not_open),
        FX_ROCKSDB(syncs_are_shared),
        FX_ROCKSDB(canceled_and_late_writes_do_not_happen),
        FX_ROCKSDB(writes_that_wait_are_bounded),
    };

    if (argc == 5 && strcmp(argv[1], "--child") == 0)
        child_main(argv);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
