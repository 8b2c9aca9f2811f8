/* What the RocksDB store promises beyond the common: it is there again after a restart and after SIGKILL, it refuses
 * foreign data, it survives a full disk and says when data are corrupt. */
#include "tests/lib/skip.h"
#include "tests/unit/kv/kv_fixture.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>

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

/* ---- a full disk ---- */

static bool mount_small(const char *path)
{
    return mount("tmpfs", path, "tmpfs", 0, "size=24m") == 0;
}

static json_int_t status_number(struct fx *fx, const char *key)
{
    json_t *j = json_object();
    json_int_t n;

    fx->ops->status(fx->store, j);
    n = json_integer_value(json_object_get(j, key));
    json_decref(j);
    return n;
}

static bool health_is(struct fx *fx, const char *health)
{
    json_t *j = json_object();
    bool is;

    fx->ops->status(fx->store, j);
    is = strcmp(json_string_value(json_object_get(j, "health")), health) == 0;
    json_decref(j);
    return is;
}

/* Writes are refused with NOSPACE, reads go on, and writes go on by themselves once there is room. */
/* What cannot be flushed is asked for again until it can be, as a node of a cluster does. The engine's own log has no
 * room either: it keeps what it has to say for 5 s, and may not mind. */
static void flush_of_a_full_disk(void **state)
{
    enum { KEYS = 50, TRIES = 8 };
    static const struct timespec pause = { .tv_sec = 1 };
    static uint8_t value[8000], block[4096];
    struct fx *fx = *state;
    struct cairn_kv_db db;
    char path[128];
    int fd, rc;

    if (!mount_small(fx->path))
        skip_because("no mount here (%s)", strerror(errno));
    fx_open(fx);
    db = fx_create(fx, "d", CAIRN_KV_UINT, false);
    for (uint32_t n = 0; n < KEYS; n++)
        assert_int_equal(fx_put(fx, db, fx_key(&n, 4), value, sizeof(value)), 0);
    snprintf(path, sizeof(path), "%s/ballast", fx->path);
    fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    while (write(fd, block, sizeof(block)) > 0)
        continue;
    for (int i = 0; i < TRIES; i++) {
        assert_int_equal(fx->ops->flush(fx->store), CAIRN_E_NOSPACE);
        nanosleep(&pause, NULL);
    }
    assert_int_equal(unlink(path), 0);
    close(fd);
    for (int i = 0; (rc = fx->ops->flush(fx->store)) != 0 && i < 60; i++)
        nanosleep(&pause, NULL);
    assert_int_equal(rc, 0);
    fx_close(fx);
    assert_int_equal(umount(fx->path), 0);
}

static void full_disk(void **state)
{
    struct fx *fx = *state;
    static uint8_t value[8000];
    static struct fx_value v;
    struct cairn_kv_db db;
    uint32_t n = 0;
    char path[128];
    uint64_t rng = 9;
    int rc = 0, fd;
    struct timespec begin, now;

    if (!mount_small(fx->path))
        skip_because("no mount here (%s)", strerror(errno));
    for (size_t i = 0; i < sizeof(value); i++)
        value[i] = (uint8_t)fx_draw(&rng, 256);
    snprintf(path, sizeof(path), "%s/ballast", fx->path);
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_int_equal(posix_fallocate(fd, 0, 16 << 20), 0);
    fx_open(fx);
    db = fx_create(fx, "d", CAIRN_KV_UINT, false);
    for (n = 0; n < 10000 && rc == 0; n++)
        rc = fx_put(fx, db, fx_key(&n, 4), value, sizeof(value));
    assert_int_equal(rc, CAIRN_E_NOSPACE);
    n--;
    assert_int_equal(fx_put(fx, db, fx_key(&n, 4), value, sizeof(value)), CAIRN_E_NOSPACE);
    assert_true(health_is(fx, "readonly"));
    for (uint32_t i = 0; i < n; i++) {
        assert_int_equal(fx_get(fx, db, fx_key(&i, 4), &v), 0);
        assert_int_equal(v.len, sizeof(value));
    }
    assert_int_equal(fx_get(fx, db, fx_key(&n, 4), &v), 0);
    assert_int_equal(v.len, -1);
    assert_int_equal(unlink(path), 0);
    close(fd);
    clock_gettime(CLOCK_MONOTONIC, &begin);
    do { /* the engine looks every few seconds: no bound on time but the test's own */
        rc = fx_put(fx, db, fx_key(&n, 4), value, sizeof(value));
        assert_true(rc == 0 || rc == CAIRN_E_NOSPACE);
        clock_gettime(CLOCK_MONOTONIC, &now);
    } while (rc != 0 && now.tv_sec - begin.tv_sec < 60);
    assert_int_equal(rc, 0);
    print_message("writes went on after %ld s\n", (long)(now.tv_sec - begin.tv_sec));
    assert_true(health_is(fx, "ok"));
    fx_close(fx);
    fx_open(fx); /* and nothing was lost */
    for (uint32_t i = 0; i <= n; i++) {
        assert_int_equal(fx_get(fx, db, fx_key(&i, 4), &v), 0);
        assert_int_equal(v.len, sizeof(value));
    }
    fx_close(fx);
    assert_int_equal(umount(fx->path), 0);
}

/* The largest sorted file. */
static off_t largest_table(struct fx *fx, char path[512])
{
    char dir[128], p[512];
    off_t largest = 0;
    struct dirent *e;
    struct stat st;
    DIR *d;

    snprintf(dir, sizeof(dir), "%s/db", fx->path);
    d = opendir(dir);
    while ((e = readdir(d)) != NULL) {
        snprintf(p, sizeof(p), "%s/%s", dir, e->d_name);
        if (strstr(e->d_name, ".sst") != NULL && stat(p, &st) == 0 && st.st_size > largest) {
            largest = st.st_size;
            strcpy(path, p);
        }
    }
    closedir(d);
    assert_true(largest > 0);
    return largest;
}

/* ---- many bytes at once ---- */

enum { MANY_WRITES = 16, MANY_KEYS = 64, MANY_VALUE_BYTES = 8000 };

struct many {
    struct fx_write fw[MANY_WRITES];
    uint32_t number[MANY_WRITES][MANY_KEYS], lengths[MANY_KEYS];
    ProtobufCBinaryData keys[MANY_WRITES][MANY_KEYS];
    int32_t status[MANY_WRITES][MANY_KEYS];
    uint8_t values[MANY_KEYS * MANY_VALUE_BYTES];
};

/* Numbers from @first on: all writes of one turn of the loop, so in one group. */
static void many_put(struct fx *fx, struct many *m, struct cairn_kv_db db, uint32_t first)
{
    uint64_t rng = first;

    for (size_t i = 0; i < sizeof(m->values); i++)
        m->values[i] = (uint8_t)fx_draw(&rng, 256);
    for (uint32_t i = 0; i < MANY_WRITES; i++) {
        struct cairn_kv_write *w = &m->fw[i].w;

        for (uint32_t k = 0; k < MANY_KEYS; k++) {
            m->lengths[k] = MANY_VALUE_BYTES;
            m->number[i][k] = first + i * MANY_KEYS + k;
            m->keys[i][k] = fx_key(&m->number[i][k], 4);
        }
        fx_fill_put(&m->fw[i], db, m->keys[i], m->values, sizeof(m->values));
        w->lengths = m->lengths;
        w->status = m->status[i];
        w->n = MANY_KEYS;
        fx_write_start(fx, &m->fw[i], 0);
    }
    for (uint32_t i = 0; i < MANY_WRITES; i++)
        fx_write_wait(fx, &m->fw[i]);
}

/* What a compaction needs of room is reckoned in tables of a write buffer. */
static void a_large_group_makes_no_large_tables(void **state)
{
    static struct many m;
    enum { BUFFER_BYTES = 256 << 10, TABLE_BUFFERS = 3 /* as rocks.c reckons */ };
    struct fx *fx = *state;
    struct cairn_kv_db db;
    char path[512];

    fx->conf.write_buffer_bytes = BUFFER_BYTES;
    fx_open(fx);
    db = fx_create(fx, "d", CAIRN_KV_UINT, false);
    for (uint32_t round = 0; round < 4; round++) {
        many_put(fx, &m, db, round * MANY_WRITES * MANY_KEYS);
        for (uint32_t i = 0; i < MANY_WRITES; i++)
            assert_int_equal(m.fw[i].rc, 0);
    }
    fx_close(fx);
    assert_in_range(largest_table(fx, path), 1, 5 * TABLE_BUFFERS * BUFFER_BYTES / 4);
}

/* Of a request for many keys each key's status says whether it is stored, also where the disk became full within. */
static void full_disk_amid_a_batch(void **state)
{
    static struct many m;
    static struct fx_value v;
    struct fx *fx = *state;
    uint32_t stored = 0, refused = 0;
    struct cairn_kv_db db;

    if (!mount_small(fx->path))
        skip_because("no mount here (%s)", strerror(errno));
    fx_open(fx);
    db = fx_create(fx, "d", CAIRN_KV_UINT, false);
    for (uint32_t round = 0; refused == 0; round++) {
        many_put(fx, &m, db, round * MANY_WRITES * MANY_KEYS);
        for (uint32_t i = 0; i < MANY_WRITES * MANY_KEYS; i++) {
            const struct fx_write *fw = &m.fw[i / MANY_KEYS];
            int rc = fw->rc != 0 ? fw->rc : m.status[i / MANY_KEYS][i % MANY_KEYS];

            assert_true(rc == 0 || rc == CAIRN_E_NOSPACE);
            stored += rc == 0;
            refused += rc != 0;
            assert_int_equal(fx_get(fx, db, m.keys[i / MANY_KEYS][i % MANY_KEYS], &v), 0);
            assert_int_equal(v.len, rc == 0 ? MANY_VALUE_BYTES : -1);
        }
    }
    assert_true(stored > 0);
    fx_close(fx);
    assert_int_equal(umount(fx->path), 0);
}

/* ---- corruption ---- */

/* Flips a byte in the middle of the largest sorted file. */
static void corrupt_a_file(struct fx *fx)
{
    char path[512];
    off_t largest = largest_table(fx, path);
    uint8_t byte;
    int fd;

    fd = open(path, O_RDWR | O_CLOEXEC);
    assert_int_equal(pread(fd, &byte, 1, largest / 3), 1);
    byte ^= 0x40;
    assert_int_equal(pwrite(fd, &byte, 1, largest / 3), 1);
    close(fd);
}

enum { CORRUPT_KEYS = 5000 };

static bool on_length(void *arg, uint32_t i, const uint8_t *val, int64_t len)
{
    int64_t *lengths = arg;

    assert_true((val != NULL) == (len >= 0));
    lengths[i] = len;
    return true;
}

/* All keys in calls of many: those that cannot be read, and no others, are told as such. */
static void read_in_batches(struct fx *fx, struct cairn_kv_db db, const bool *is_corrupt)
{
    enum { BATCH = 50 };
    ProtobufCBinaryData keys[BATCH];
    uint32_t numbers[BATCH];
    int64_t lengths[BATCH];
    struct cairn_kv_read rd = {
        .db = db, .keys = keys, .n = BATCH, .may_block = true, .found = on_length, .arg = lengths
    };

    for (uint32_t from = 0; from < CORRUPT_KEYS; from += BATCH) {
        for (uint32_t i = 0; i < BATCH; i++) {
            numbers[i] = from + i;
            keys[i] = fx_key(&numbers[i], 4);
        }
        assert_int_equal(fx->ops->read(fx->store, &rd), 0);
        for (uint32_t i = 0; i < BATCH; i++)
            assert_int_equal(lengths[i], is_corrupt[from + i] ? -2 : 1000);
    }
}

/* A condition on a key that cannot be read: nothing of the batch is done, and whoever was decided behind it comes
 * again. */
static void batch_with_a_corrupt_key(struct fx *fx, struct cairn_kv_db db, uint32_t corrupt)
{
    static struct fx_batch run, first, second;
    static uint8_t value[1000];

    fx_batch_reset(&run); /* so long that it is written before the next is looked at */
    for (uint32_t i = 0; i < 400; i++)
        fx_batch_add(&run, db, CORRUPT_KEYS + 10 + i, value, sizeof(value));
    fx_batch_start(fx, &run, CAIRN__WIRE__DURABILITY__DURABILITY_MEMORY, 0);
    fx_batch_reset(&first);
    fx_batch_reset(&second);
    fx_batch_add(&first, db, CORRUPT_KEYS + 1, "x", 1);
    fx_batch_add(&first, db, corrupt, "x", 1)->if_absent = true;
    fx_batch_add(&first, db, CORRUPT_KEYS + 2, "x", 1);
    fx_batch_add(&second, db, CORRUPT_KEYS + 1, "y", 1)->if_absent = true;
    fx_batch_start(fx, &first, CAIRN__WIRE__DURABILITY__DURABILITY_MEMORY, 0);
    fx_batch_start(fx, &second, CAIRN__WIRE__DURABILITY__DURABILITY_MEMORY, 0);
    assert_int_equal(fx_write_wait(fx, &run.fw), 0);
    assert_int_equal(fx_write_wait(fx, &first.fw), CAIRN_E_CORRUPT);
    assert_int_equal(fx_write_wait(fx, &second.fw), CAIRN_E_BUSY);
    assert_int_equal(fx_batch_apply(fx, &second, CAIRN__WIRE__DURABILITY__DURABILITY_MEMORY), 0);
    assert_int_equal(second.status[0], 0); /* the first has left nothing */
    free(run.values);
    free(first.values);
    free(second.values);
}

static void corrupt_block_is_reported(void **state)
{
    static bool is_corrupt[CORRUPT_KEYS];
    struct fx *fx = *state;
    static uint8_t value[1000];
    static struct fx_value v;
    struct cairn_kv_db db;
    uint32_t corrupt = 0, last = 0;
    uint64_t rng = 3;

    fx->conf.write_buffer_bytes = 1 << 20;
    fx_open(fx);
    db = fx_create(fx, "d", CAIRN_KV_UINT, false);
    for (uint32_t i = 0; i < CORRUPT_KEYS; i++) {
        for (size_t j = 0; j < sizeof(value); j++)
            value[j] = (uint8_t)fx_draw(&rng, 256);
        assert_int_equal(fx_put(fx, db, fx_key(&i, 4), value, sizeof(value)), 0);
    }
    fx_close(fx);
    corrupt_a_file(fx);
    fx_open(fx);
    for (uint32_t i = 0; i < CORRUPT_KEYS; i++) {
        int rc = fx_get(fx, db, fx_key(&i, 4), &v);

        assert_true((rc == 0 && v.len == sizeof(value)) || rc == CAIRN_E_CORRUPT);
        is_corrupt[i] = rc == CAIRN_E_CORRUPT;
        corrupt += is_corrupt[i];
        last = is_corrupt[i] ? i : last;
    }
    read_in_batches(fx, db, is_corrupt);
    batch_with_a_corrupt_key(fx, db, last);
    assert_in_range(corrupt, 1, 10); /* one block of 4 KiB: the others are read */
    assert_true(status_number(fx, "corrupt_reads") > 0);
    assert_false(health_is(fx, "ok"));
    fx_close(fx);
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
    assert_int_equal(status_number(fx, "synced_ops"), WRITERS * ROUNDS);
    assert_in_range(status_number(fx, "syncs"), ROUNDS, 2 * ROUNDS);
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
    assert_int_equal(status_number(fx, "writes_waiting"), 0);
    assert_int_equal(status_number(fx, "writes_waiting_bytes"), 0);
    assert_int_equal(fx_put_str(fx, db, "k", "v"), 0);
    free(value);
    fx_close(fx);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, fx_setup_rocksdb, fx_teardown)

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
        TEST(acknowledged_survives_sigkill),
        TEST(reopened_is_as_it_was),
        TEST(foreign_directories_are_refused),
        TEST(a_lost_database_stops_the_start),
        TEST(full_disk),
        TEST(flush_of_a_full_disk),
        TEST(a_large_group_makes_no_large_tables),
        TEST(full_disk_amid_a_batch),
        TEST(corrupt_block_is_reported),
        TEST(reads_that_need_the_disk_say_so),
        TEST(reads_of_tables_that_are_not_open),
        TEST(syncs_are_shared),
        TEST(canceled_and_late_writes_do_not_happen),
        TEST(writes_that_wait_are_bounded),
    };

    if (argc == 5 && strcmp(argv[1], "--child") == 0)
        child_main(argv);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
