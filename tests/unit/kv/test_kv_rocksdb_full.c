/* The RocksDB store on a disk that is full, or would be if it took more than it reckons. */
#include "tests/lib/skip.h"
#include "tests/unit/kv/kv_fixture.h"

#include <fcntl.h>
#include <sys/mount.h>

static bool mount_small(const char *path)
{
    return mount("tmpfs", path, "tmpfs", 0, "size=24m") == 0;
}

/* As a node does in time: the engine is then never met by a full disk where it would not expect one. */
static void say_nearly_full(struct fx *fx, struct cairn_spare *spare)
{
    cairn_spare_init(spare, "");
    atomic_store(&spare->near, true);
    fx->conf.spare = spare;
}

/* Writes are refused with NOSPACE, reads go on, and writes go on by themselves once there is room. */
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
    struct cairn_spare spare;

    if (!mount_small(fx->path))
        skip_because("no mount here (%s)", strerror(errno));
    say_nearly_full(fx, &spare);
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
    fx_assert_health(fx, "readonly");
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
    fx_assert_health(fx, "ok");
    fx_close(fx);
    fx_open(fx); /* and nothing was lost */
    for (uint32_t i = 0; i <= n; i++) {
        assert_int_equal(fx_get(fx, db, fx_key(&i, 4), &v), 0);
        assert_int_equal(v.len, sizeof(value));
    }
    fx_close(fx);
    assert_int_equal(umount(fx->path), 0);
}

/* What cannot be flushed is asked for again until it can be, as a node of a cluster does. The engine's own log has no
 * room either: it keeps what it has to say for 5 s, and may not mind. */
static void flush_of_a_full_disk(void **state)
{
    enum { KEYS = 16, TRIES = 8 }; /* fewer bytes than the engine writes out by itself */
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
    assert_in_range(fx_largest_table(fx, path), 1, 5 * TABLE_BUFFERS * BUFFER_BYTES / 4);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        FX_ROCKSDB(full_disk),
        FX_ROCKSDB(flush_of_a_full_disk),
        FX_ROCKSDB(a_large_group_makes_no_large_tables),
        FX_ROCKSDB(full_disk_amid_a_batch),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
