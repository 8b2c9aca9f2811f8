/* The index of a store in files: it grows and is written anew; damaged, torn, lost in part. */
#include "tests/unit/extent/extent_fixture.h"

#include "providers/extent/extent_file.h"

static uint8_t *slurp(struct fixture *fx, const char *name, uint64_t *len)
{
    char path[128];
    struct stat st;
    uint8_t *p;
    int fd;

    snprintf(path, sizeof(path), "%s/%s", fx->dir, name);
    fd = open(path, O_RDONLY);
    assert_true(fd >= 0);
    assert_int_equal(fstat(fd, &st), 0);
    p = malloc((size_t)st.st_size);
    assert_int_equal(cairn_file_pread(fd, p, (uint64_t)st.st_size, 0), 0);
    close(fd);
    *len = (uint64_t)st.st_size;
    return p;
}

static void spill(struct fixture *fx, const char *name, const uint8_t *p, uint64_t len)
{
    char path[128];
    int fd;

    snprintf(path, sizeof(path), "%s/%s", fx->dir, name);
    fd = open(path, O_WRONLY | O_TRUNC);
    assert_true(fd >= 0);
    assert_int_equal(cairn_file_pwrite(fd, p, len, 0), 0);
    close(fd);
}

/* Puts and removes until the index was written anew. */
static void grow_index(struct fixture *fx)
{
    const struct file_store *f = file_of(fx_store(fx));
    uint8_t bytes[1000];
    struct fx_write w = { .len = sizeof(bytes), .bytes = bytes };
    uint64_t id;

    fx_fill(bytes, sizeof(bytes), 8);
    for (uint64_t i = 0; f->rewrites == 0; i++) {
        assert_true(i < 20000);
        w.durability = i % 64 == 0 ? SYNC : CAIRN__WIRE__DURABILITY__DURABILITY_BUFFERED;
        assert_int_equal(fx_put(fx, &w, &id), 0);
        assert_int_equal(fx_remove(fx, id), 0);
    }
}

/* Each removal in the middle of the log is one that a rewrite keeps. */
static void a_grown_index_is_written_anew(void **state)
{
    enum { LEN = 1000, KEEP = 7 };
    struct fixture *fx = *state;
    struct file_store *f = file_of(fx_store(fx));
    uint8_t bytes[LEN], got[LEN];
    uint64_t ids[KEEP], id, n;

    fx_fill(bytes, LEN, 8);
    for (int i = 0; i < KEEP; i++)
        assert_int_equal(fx_put(fx, &(struct fx_write){ .len = LEN, .bytes = bytes, .owner = 3 }, &ids[i]), 0);
    grow_index(fx);
    assert_true(f->log.end < 100000);
    assert_int_equal(fx_put(fx, &(struct fx_write){ .len = LEN, .bytes = bytes }, &id), 0);
    for (int restart = 0; restart < 2; restart++) {
        assert_int_equal(atomic_load(&fx_store(fx)->table.regions), KEEP + 1);
        for (int i = 0; i < KEEP; i++) {
            assert_int_equal(fx_read(fx, ids[i], 0, LEN, got, false, true, &n), 0);
            assert_memory_equal(got, bytes, LEN);
        }
        assert_int_equal(fx_read(fx, id, 0, LEN, got, false, true, &n), 0);
        fx_reopen(fx);
    }
}

/* The disk may take long to write the index, or to write it anew: loops go on meanwhile. */
static void no_loop_waits_for_the_index(void **state)
{
    struct fixture *fx = *state;
    struct file_store *f = file_of(fx_store(fx));
    uint8_t bytes[100] = "x", got[100];
    uint64_t ids[2], n;
    Cairn__Wire__ExtentPut put = CAIRN__WIRE__EXTENT_PUT__INIT;
    uint32_t crc = cairn_crc32c(0, bytes, sizeof(bytes));
    json_t *status = json_object();
    struct fx_call c = { 0 };

    for (int i = 0; i < 2; i++)
        assert_int_equal(fx_put(fx, &(struct fx_write){ .len = 100, .bytes = bytes }, &ids[i]), 0);
    assert_int_equal(fx_remove(fx, ids[0]), 0);
    put.length = sizeof(bytes);
    put.crcs = &crc;
    put.n_crcs = 1;
    pthread_mutex_lock(&f->index_mutex);
    fx_start(fx, &c, CAIRN__WIRE__EXTENT_METHOD__EXTENT_PUT, &put.base, bytes, sizeof(bytes));
    WHILE_PATIENT (!file_index_is_busy(f))
        cairn_loop_turn(&fx->loop, CAIRN_NS_PER_MS);
    assert_int_equal(fx_read(fx, ids[1], 0, 100, got, false, false, &n), 0);
    f->base.ops->status(&f->base, status);
    assert_true(json_integer_value(json_object_get(status, "index_bytes")) > 0);
    assert_true(file_index_is_busy(f));
    assert_false(c.over);
    pthread_mutex_unlock(&f->index_mutex);
    assert_int_equal(fx_wait(fx, &c), 0);
    json_decref(status);
    fx_reopen(fx);
    assert_int_equal(atomic_load(&fx_store(fx)->table.regions), 2);
}

/* Puts and removes empty regions, none of them durably, until the index is longer than @end, or was written anew. */
static void grow_buffered(struct fixture *fx, uint64_t end)
{
    const struct file_store *f = file_of(fx_store(fx));
    uint64_t id, rewrites = f->rewrites;

    for (int i = 0; f->log.end < end && f->rewrites == rewrites; i++) {
        assert_true(i < 30000);
        assert_int_equal(fx_put(fx, &(struct fx_write){ .len = 0, .bytes = (const uint8_t *)"" }, &id), 0);
        assert_int_equal(fx_remove(fx, id), 0);
        fx_rest(fx);
    }
}

/* Who asks for nothing durable makes the index no longer than others do. An attempt that fails is not made at once
 * again: on a full disk each would take the last byte of it. */
static void a_buffered_index_is_written_anew_too(void **state)
{
    struct fixture *fx = *state;
    struct file_store *f = file_of(fx_store(fx));
    uint8_t bytes[10] = "x";
    uint64_t id, from;
    char path[128];

    snprintf(path, sizeof(path), "%s/index.new", fx->dir);
    assert_int_equal(mkdir(path, 0700), 0); /* stands in the way */
    grow_buffered(fx, (1 << 20) + 100000);
    from = f->rewrite_from;
    assert_true(f->rewrites == 0 && from > f->log.end);
    for (int i = 0; i < 10; i++)
        assert_int_equal(fx_put(fx, &(struct fx_write){ .len = 10, .bytes = bytes, .durability = SYNC }, &id), 0);
    assert_int_equal(f->rewrite_from, from);
    assert_int_equal(rmdir(path), 0);
    grow_buffered(fx, from + 100000);
    assert_int_equal(f->rewrites, 1);
    assert_true(f->log.end < 100000);
    fx_reopen(fx);
    assert_int_equal(atomic_load(&fx_store(fx)->table.regions), 10);
}

/* A durable record that does not read back is no torn tail: the store says so and writes nothing more. */
static void a_damaged_index_makes_the_store_read_only(void **state)
{
    struct fixture *fx = *state;
    uint8_t bytes[100] = "x", got[100], *log;
    uint64_t ids[10], n, len;

    for (int i = 0; i < 10; i++)
        assert_int_equal(fx_put(fx, &(struct fx_write){ .len = 100, .bytes = bytes, .durability = SYNC }, &ids[i]), 0);
    fx_close(fx);
    log = slurp(fx, "index", &len);
    log[64 + 3 * 88 + 40] ^= 1; /* within the fourth record */
    spill(fx, "index", log, len);
    free(log);
    fx_open(fx);
    assert_int_equal(atomic_load(&fx_store(fx)->health), CAIRN_EXTENT_READONLY);
    assert_int_equal(atomic_load(&fx_store(fx)->table.regions), 9);
    assert_int_equal(fx_read(fx, ids[3], 0, 100, got, false, false, &n), CAIRN_E_NOTFOUND);
    assert_int_equal(fx_read(fx, ids[9], 0, 100, got, false, true, &n), 0);
    assert_int_equal(fx_put(fx, &(struct fx_write){ .len = 100, .bytes = bytes }, &n), CAIRN_E_IO);
    assert_int_equal(fx_remove(fx, ids[9]), CAIRN_E_IO);
    assert_int_equal(fx_read(fx, ids[9], 0, 100, got, false, true, &n), 0);
}

/* Names, in fx->dir, a file that a start needs, or gives it its name back. */
static void hide(struct fixture *fx, const char *name, bool back)
{
    char path[128], aside[128];

    snprintf(path, sizeof(path), "%s/%s", fx->dir, name);
    snprintf(aside, sizeof(aside), "%s/%s.aside", fx->dir, name);
    assert_int_equal(back ? rename(aside, path) : rename(path, aside), 0);
}

/* Without the file that says which regions there are, all space would be free, and be given back: no start does
 * that. */
static void lost_records_stop_the_start(void **state)
{
    enum { LEN = 100000 };
    struct fixture *fx = *state;
    const char *records = fx->conf.backend == CAIRN_EXTENT_PMEM ? "pool" : "index";
    uint8_t *bytes = malloc(LEN), *got = malloc(LEN);
    uint64_t id, n;

    fx_fill(bytes, LEN, 3);
    assert_int_equal(
        fx_put(fx, &(struct fx_write){ .len = LEN, .bytes = bytes, .bulk = true, .durability = SYNC }, &id), 0);
    fx_close(fx);
    hide(fx, records, false);
    assert_int_equal(fx_try_open(fx), CAIRN_E_CORRUPT);
    assert_non_null(strstr(fx->err.text, records));
    assert_int_equal(cairn_extent_store_check(&fx->conf, &fx->err), CAIRN_E_CORRUPT);
    hide(fx, records, true);
    fx_open(fx);
    assert_int_equal(fx_read(fx, id, 0, LEN, got, true, true, &n), 0);
    assert_memory_equal(got, bytes, LEN);
    free(bytes);
    free(got);
}

/* A first start that a crash ended before it wrote FORMAT is made again; data without FORMAT are not taken for that. */
static void a_first_start_that_did_not_end_is_made_again(void **state)
{
    struct fixture *fx = *state;
    uint8_t bytes[100] = "x";
    uint64_t id;

    fx_close(fx);
    hide(fx, "FORMAT", false);
    fx_open(fx);
    assert_int_equal(fx_put(fx, &(struct fx_write){ .len = 100, .bytes = bytes, .durability = SYNC }, &id), 0);
    fx_close(fx);
    hide(fx, "FORMAT", false);
    assert_int_equal(fx_try_open(fx), CAIRN_E_CORRUPT);
    hide(fx, "FORMAT", true);
    fx_open(fx);
    assert_int_equal(atomic_load(&fx_store(fx)->table.regions), 1);
}

/* Two records that claim the same blocks: the second is quarantined, and the first keeps them. */
static void a_region_without_its_place_is_quarantined(void **state)
{
    struct fixture *fx = *state;
    uint8_t *bytes = calloc(1, 1 << 20), got[10];
    char path[128];
    uint64_t id, n;

    fx_fill(bytes, 1 << 20, 1);
    assert_int_equal(
        fx_put(fx, &(struct fx_write){ .len = 1 << 20, .bytes = bytes, .bulk = true, .durability = SYNC }, &id), 0);
    fx_close(fx);
    snprintf(path, sizeof(path), "%s/seg-00000", fx->dir);
    assert_int_equal(truncate(path, 8192), 0);
    fx_open(fx);
    assert_int_equal(atomic_load(&fx_store(fx)->health), CAIRN_EXTENT_DEGRADED);
    assert_int_equal(fx_read(fx, id, 0, 10, got, false, false, &n), CAIRN_E_CORRUPT);
    assert_int_equal(fx_put(fx, &(struct fx_write){ .len = 1 << 20, .bytes = bytes, .bulk = true }, &n), 0);
    assert_int_equal(fx_remove(fx, id), 0);
    fx_reopen(fx);
    assert_int_equal(atomic_load(&fx_store(fx)->health), CAIRN_EXTENT_OK);
    free(bytes);
}

/* A full disk that does not even take back what it got of a record: no start could tell what is there. */
static void a_broken_index_is_no_good_health(void **state)
{
    struct fixture *fx = *state;
    struct file_store *f = file_of(fx_store(fx));
    uint8_t bytes[1000];
    struct fx_write w = { .len = sizeof(bytes), .bytes = bytes };
    uint64_t id;

    fx_fill(bytes, sizeof(bytes), 1);
    assert_int_equal(fx_put(fx, &w, &id), 0);
    fx_replace_fd(f->log.fd, "/dev/full", O_RDWR);
    assert_int_equal(fx_put(fx, &w, &id), CAIRN_E_NOSPACE);
    assert_int_equal(atomic_load(&fx_store(fx)->health), CAIRN_EXTENT_READONLY);
    fx_reopen(fx);
    assert_int_equal(atomic_load(&fx_store(fx)->table.regions), 1);
    assert_int_equal(fx_put(fx, &w, &id), 0);
}

/* Its blocks may be another region's by the next start, and its record survives an index that is written anew. */
static void a_region_without_its_place_harms_no_other(void **state)
{
    struct fixture *fx = *state;
    uint8_t *bytes = calloc(1, 1 << 20), *got = calloc(1, 1 << 20);
    struct fx_write w = { .len = 1 << 20, .bytes = bytes, .bulk = true, .durability = SYNC };
    uint64_t lost, later, n;
    char path[128];

    fx_fill(bytes, 1 << 20, 1);
    assert_int_equal(fx_put(fx, &w, &lost), 0);
    fx_close(fx);
    snprintf(path, sizeof(path), "%s/seg-00000", fx->dir);
    assert_int_equal(truncate(path, 8192), 0);
    fx_open(fx);
    assert_int_equal(fx_put(fx, &w, &later), 0);
    for (int i = 0; i < 2; i++) {
        fx_reopen(fx);
        assert_int_equal(fx_read(fx, later, 0, 1 << 20, got, true, true, &n), 0);
        assert_memory_equal(got, bytes, 1 << 20);
        assert_int_equal(fx_read(fx, lost, 0, 10, got, false, false, &n), CAIRN_E_CORRUPT);
        grow_index(fx);
    }
    free(bytes);
    free(got);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON(a_grown_index_is_written_anew, file),
        ON(a_damaged_index_makes_the_store_read_only, file),
        ON(lost_records_stop_the_start, file),
        ON(lost_records_stop_the_start, pmem),
        ON(a_first_start_that_did_not_end_is_made_again, file),
        ON(a_region_without_its_place_is_quarantined, file),
        ON(no_loop_waits_for_the_index, file),
        ON(a_buffered_index_is_written_anew_too, file),
        ON(a_broken_index_is_no_good_health, file),
        ON(a_region_without_its_place_harms_no_other, file),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
