/* The RocksDB store on a disk that fails: a flush that failed is never taken for good later, and what memory holds is
 * not asked of the disk. */
#include "server/storage/rocks.h"
#include "server/storage/spare.h"
#include "tests/lib/disk_faults.h"
#include "tests/lib/full_disk.h"
#include "tests/lib/patience.h"
#include "tests/unit/kv/kv_fixture.h"

#include <errno.h>
#include <glob.h>

enum { BUFFERED = 0, SYNC = 1, MEMORY = 2 };

static int teardown(void **state)
{
    disk_fail_syncs(0, 0);
    return fx_teardown(state);
}

static int put(struct fx *fx, struct cairn_kv_db db, const char *key, uint8_t durability)
{
    ProtobufCBinaryData k = fx_str(key);
    struct fx_write fw;

    fx_fill_put(&fw, db, &k, "v", 1);
    fw.w.durability = durability;
    fx_write_start(fx, &fw, 0);
    fx_write_wait(fx, &fw);
    return fw.rc != 0 ? fw.rc : fw.status;
}

/* What `sync` waits for, without a write: an MPUT of nothing. */
static int barrier(struct fx *fx, struct cairn_kv_db db)
{
    struct fx_write fw;

    fx_fill_put(&fw, db, NULL, NULL, 0);
    fw.w.n = 0;
    fw.w.durability = SYNC;
    fx_write_start(fx, &fw, 0);
    return fx_write_wait(fx, &fw);
}

/* A view for which the engine would have to take what runs ahead says why it does not. */
static void a_view_tells_why_not(void **state)
{
    struct fx *fx = *state;
    static struct fx_batch b;
    struct cairn_kv_db db, other;
    void *view;

    fx_open(fx);
    db = fx_create(fx, "d", CAIRN_KV_BYTES, false);
    other = fx_create(fx, "other", CAIRN_KV_BYTES, false);
    fx_batch_add(&b, db, 1, "v", 1);
    assert_int_equal(fx_batch_apply(fx, &b, MEMORY), 0);
    disk_fail_syncs(1, EIO);
    assert_int_equal(put(fx, other, "k", SYNC), CAIRN_E_UNKNOWN);
    assert_int_equal(fx->ops->snapshot_open(fx->store, &view), CAIRN_E_IO);
    assert_null(view);
    fx_close(fx);
    free(b.values);
}

/* The kernel reports a page that it lost once; the next flush succeeds, and must not be asked for. */
static void failed_sync_is_final(void **state)
{
    struct fx *fx = *state;
    struct cairn_kv_db db;
    uint64_t syncs;

    fx_open(fx);
    db = fx_create(fx, "d", CAIRN_KV_BYTES, false);
    assert_int_equal(put(fx, db, "before", SYNC), 0);
    assert_int_equal(put(fx, db, "buffered", BUFFERED), 0);
    disk_fail_syncs(1, EIO);
    assert_int_equal(put(fx, db, "lost", SYNC), CAIRN_E_UNKNOWN); /* it is there, and nobody knows how well */
    assert_string_equal(fx_get_str(fx, db, "lost"), "v");
    syncs = disk_syncs();
    assert_int_equal(barrier(fx, db), CAIRN_E_IO); /* "buffered" is among what it would vouch for */
    assert_int_equal(put(fx, db, "after", SYNC), CAIRN_E_IO);
    assert_int_equal(put(fx, db, "after", BUFFERED), CAIRN_E_IO);
    assert_int_equal(disk_syncs(), syncs);
    assert_string_equal(fx_get_str(fx, db, "after"), "-");
    assert_string_equal(fx_get_str(fx, db, "before"), "v"); /* reads go on */
    fx_assert_health(fx, "readonly");
    fx_close(fx);
    fx_open(fx); /* a start looks at what is really there */
    db = cairn_kv_dir_by_name(&fx->dir, "d")->db;
    assert_int_equal(put(fx, db, "after", SYNC), 0);
    fx_assert_health(fx, "ok");
    fx_close(fx);
}

/* A flush that failed is told, and what it was to keep is read as before; the next is not believed either, until a
 * start has looked at what is there. */
static void failed_flush_is_told(void **state)
{
    struct fx *fx = *state;
    struct cairn_kv_db db;

    fx_open(fx);
    db = fx_create(fx, "d", CAIRN_KV_BYTES, false);
    assert_int_equal(put(fx, db, "first", MEMORY), 0);
    assert_int_equal(fx->ops->flush(fx->store), 0);
    assert_int_equal(put(fx, db, "second", MEMORY), 0);
    disk_fail_syncs(1, EIO);
    assert_int_equal(fx->ops->flush(fx->store), CAIRN_E_IO);
    assert_string_equal(fx_get_str(fx, db, "second"), "v");
    fx_assert_health(fx, "readonly");
    assert_int_equal(fx->ops->flush(fx->store), CAIRN_E_IO);
    assert_int_equal(put(fx, db, "third", MEMORY), CAIRN_E_IO);
    fx_close(fx);
    fx_open(fx);
    db = cairn_kv_dir_by_name(&fx->dir, "d")->db;
    assert_string_equal(fx_get_str(fx, db, "first"), "v");
    assert_string_equal(fx_get_str(fx, db, "second"), "-");
    assert_int_equal(fx->ops->flush(fx->store), 0); /* a start looks at what is really there */
    fx_assert_health(fx, "ok");
    fx_close(fx);
}

static bool has_sorted_file(const struct fx *fx)
{
    char pattern[96];
    glob_t found;
    bool any;

    snprintf(pattern, sizeof(pattern), "%s/db/*.sst", fx->path);
    any = glob(pattern, 0, NULL, &found) == 0 && found.gl_pathc > 0;
    globfree(&found);
    return any;
}

/* A full disk that shows at the flush only, as where space is reserved late: it ends when the engine has written
 * everything anew. */
static void full_disk_at_a_sync_ends(void **state)
{
    struct fx *fx = *state;
    struct timespec begin, now;
    struct cairn_kv_db db;
    int rc;

    fx_open(fx);
    db = fx_create(fx, "d", CAIRN_KV_BYTES, false);
    disk_fail_syncs(1, ENOSPC);
    assert_int_equal(put(fx, db, "k", SYNC), CAIRN_E_UNKNOWN); /* not NOSPACE: it was put */
    rc = barrier(fx, db);
    assert_true(rc == CAIRN_E_NOSPACE || (rc == 0 && has_sorted_file(fx))); /* the engine may have been faster */
    if (rc != 0)
        fx_assert_health(fx, "readonly");
    clock_gettime(CLOCK_MONOTONIC, &begin);
    do {
        rc = put(fx, db, "k2", SYNC);
        assert_true(rc == 0 || rc == CAIRN_E_NOSPACE);
        clock_gettime(CLOCK_MONOTONIC, &now);
    } while (rc != 0 && now.tv_sec - begin.tv_sec < 60);
    assert_int_equal(rc, 0);
    assert_true(has_sorted_file(fx)); /* what a write that is taken stands for */
    assert_int_equal(barrier(fx, db), 0);
    fx_assert_health(fx, "ok");
    assert_string_equal(fx_get_str(fx, db, "k"), "v");
    fx_close(fx);
}

/* The catalogue is written with a flush of its own: a database that it may have lost is not made. */
static void failed_sync_of_the_catalogue(void **state)
{
    struct fx *fx = *state;
    struct cairn_kv_db_desc desc = { .name = "e" };
    struct cairn_kv_db db;

    fx_open(fx);
    db = fx_create(fx, "d", CAIRN_KV_BYTES, false);
    disk_fail_syncs(1, EIO);
    pthread_mutex_lock(&fx->dir.mutex);
    assert_int_equal(cairn_kv_dir_reserve(&fx->dir, &desc), 0);
    assert_int_equal(fx->ops->create(fx->store, &desc, false, &fx->err), CAIRN_E_IO);
    cairn_kv_dir_forget(&fx->dir, &desc.db);
    pthread_mutex_unlock(&fx->dir.mutex);
    assert_int_equal(put(fx, db, "k", SYNC), CAIRN_E_IO);
    assert_int_equal(barrier(fx, db), CAIRN_E_IO);
    fx_close(fx);
}

/* Two groups were written when the flush for the first failed: the one for the second is not even tried. */
static void no_sync_is_believed_after_one_that_failed(void **state)
{
    static const int errors[] = { EIO, ENOSPC };
    struct fx *fx = *state;
    char dir[80];

    for (size_t i = 0; i < ARRAY_SIZE(errors); i++) {
        struct cairn_rocks_conf conf = {
            .dir = dir, .cache_bytes = 8 << 20, .write_buffer_bytes = 4 << 20, .open_files = 16, .fresh = true
        };
        struct cairn_rocks_batch *b = cairn_rocks_batch_new();
        struct cairn_rocks *r;
        uint64_t syncs;

        snprintf(dir, sizeof(dir), "%s/%zu", fx->path, i);
        assert_int_equal(cairn_rocks_open(&conf, &r, &fx->err), 0);
        cairn_rocks_batch_put(b, "k", 1, "v", 1);
        assert_int_equal(cairn_rocks_write(r, b, CAIRN_ROCKS_LOGGED), 0);
        disk_fail_syncs(1, errors[i]);
        assert_int_equal(cairn_rocks_sync(r), CAIRN_E_UNKNOWN);
        syncs = disk_syncs();
        assert_int_equal(cairn_rocks_sync(r), CAIRN_E_UNKNOWN);
        if (errors[i] == EIO) /* a full disk has the engine write everything anew meanwhile */
            assert_int_equal(disk_syncs(), syncs);
        cairn_rocks_batch_free(b);
        cairn_rocks_close(r);
    }
}

/* What lies in memory before an append to the log fails, and may or may not have filled it. */
static void put_some(struct cairn_rocks *r, struct cairn_rocks_batch *b, uint32_t n)
{
    static char value[100000];

    for (uint32_t i = 0; i < n; i++) {
        cairn_rocks_batch_put(b, &i, sizeof(i), value, sizeof(value));
        assert_int_equal(cairn_rocks_write(r, b, CAIRN_ROCKS_LOGGED), 0);
        cairn_rocks_batch_clear(b);
    }
}

/* The disk is full at an append, and is not some seconds later: the engine goes on, with another log. Also if it was
 * the first append to that log, which began because the engine was opened, flushed, or had its memory full. */
static void a_disk_full_at_an_append_to_a_log_ends(void **state)
{
    enum { TABLE_PUTS = 11 };
    struct fx *fx = *state;
    char dir[80];
    struct cairn_spare spare;
    struct cairn_rocks_conf conf = { .dir = dir,
                                     .cache_bytes = 8 << 20,
                                     .write_buffer_bytes = 1 << 20,
                                     .open_files = 16,
                                     .spare = &spare,
                                     .fresh = true };
    struct cairn_rocks_batch *b = cairn_rocks_batch_new();
    struct cairn_rocks_view view;
    struct cairn_rocks *r;

    snprintf(dir, sizeof(dir), "%s/0", fx->path);
    atomic_store(&full_disk, true);
    cairn_spare_init(&spare, fx->path);
    cairn_spare_look(&spare);
    assert_int_equal(cairn_rocks_open(&conf, &r, &fx->err), 0);
    for (uint32_t n = 0; n <= 2 * TABLE_PUTS; n++) {
        put_some(r, b, n / 2);
        if (n % 2 == 1)
            assert_int_equal(cairn_rocks_flush(r), 0);
        cairn_rocks_batch_put(b, "key", 3, &n, sizeof(n));
        disk_fail_appends(".log", 1, ENOSPC);
        assert_int_equal(cairn_rocks_write(r, b, CAIRN_ROCKS_LOGGED), CAIRN_E_NOSPACE);
        WHILE_PATIENT (cairn_rocks_write(r, b, CAIRN_ROCKS_LOGGED) == CAIRN_E_NOSPACE)
            usleep(1000);
        cairn_rocks_batch_clear(b);
    }
    cairn_rocks_close(r);
    conf.fresh = false;
    assert_int_equal(cairn_rocks_open(&conf, &r, &fx->err), 0);
    assert_int_equal(cairn_rocks_get(r, NULL, "key", 3, true, &view), 0);
    assert_int_equal(*view.ptr, 2 * TABLE_PUTS);
    cairn_rocks_view_drop(&view);
    cairn_rocks_close(r);
    cairn_rocks_batch_free(b);
    cairn_spare_fini(&spare);
    atomic_store(&full_disk, false);
}

/* ---- memory in front of the disk ---- */

/* The first read of a key asks the disk, on the pool; the second is answered where the loop asks, by memory alone. */
static void second_read_touches_no_disk(void **state)
{
    enum { KEYS = 8000, STEP = 97 };
    struct fx *fx = *state;
    static uint8_t value[1000];
    static struct fx_value v;
    ProtobufCBinaryData key;
    struct cairn_kv_read on_loop = { .keys = &key, .n = 1, .found = fx_on_found, .arg = &v };
    json_int_t misses = 0, hits = 0;
    uint32_t i;

    fx->conf.write_buffer_bytes = 1 << 20;
    fx_open(fx);
    on_loop.db = fx_create(fx, "d", CAIRN_KV_UINT, false);
    key = fx_key(&i, 4);
    for (i = 0; i < KEYS; i++)
        assert_int_equal(fx_put(fx, on_loop.db, key, value, sizeof(value)), 0);
    fx_close(fx);
    fx_open(fx); /* nothing of the values is in memory */
    for (i = 0; i < KEYS; i += STEP) {
        int rc = fx->ops->read(fx->store, &on_loop);
        uint64_t reads;

        misses += rc == CAIRN_KV_LATER;
        hits += rc == 0;
        assert_int_equal(fx_get(fx, on_loop.db, key, &v), 0); /* the pool */
        reads = disk_reads();
        v.len = -2;
        assert_int_equal(fx->ops->read(fx->store, &on_loop), 0);
        hits++;
        assert_int_equal(v.len, sizeof(value));
        assert_int_equal(disk_reads(), reads);
    }
    assert_true(misses > KEYS / STEP / 2);
    assert_int_equal(fx_status_number(fx, "cache_misses"), misses);
    assert_int_equal(fx_status_number(fx, "cache_hits"), hits);
    assert_int_equal(fx_status_number(fx, "cache_bytes_max"), fx->conf.cache_bytes);
    assert_in_range(fx_status_number(fx, "cache_bytes"), 1, fx->conf.cache_bytes);
    fx_close(fx);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, fx_setup_rocksdb, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(failed_sync_is_final),
        TEST(a_view_tells_why_not),
        TEST(failed_flush_is_told),
        TEST(full_disk_at_a_sync_ends),
        TEST(failed_sync_of_the_catalogue),
        TEST(no_sync_is_believed_after_one_that_failed),
        TEST(a_disk_full_at_an_append_to_a_log_ends),
        TEST(second_read_touches_no_disk),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
