/* What survives what: killed processes, flipped bytes, damaged and torn indexes, a full disk. */
#include "tests/unit/extent/extent_fixture.h"

#include "providers/extent/extent_file.h"

#include <errno.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/wait.h>

/* ---- a process that is killed ---- */

struct told {
    uint64_t id, len, seed;
    bool removed;
};

/* Puts and removes without end, and tells through the pipe what was acknowledged. */
static void child_life(struct fixture *fx, int fd)
{
    uint8_t *bytes = malloc(1 << 20);
    struct told t[8] = { 0 };

    for (uint64_t i = 0;; i++) {
        struct told *slot = &t[i % 8], gone = *slot;
        struct fx_write w = { .len = 1 + i * 7919 % (1 << 20), .bytes = bytes, .bulk = true, .durability = i % 2 };

        if (gone.id != 0 && i % 3 == 0 && fx_remove(fx, gone.id) == 0) {
            gone.removed = true;
            if (write(fd, &gone, sizeof(gone)) != sizeof(gone))
                _exit(0);
        }
        fx_fill(bytes, w.len, i);
        *slot = (struct told){ .len = w.len, .seed = i };
        while (fx_put(fx, &w, &slot->id) != 0) { /* it is full: there is nothing left but to be killed */
            assert_int_equal(fx->err.code, CAIRN_E_NOSPACE);
            pause();
        }
        if (write(fd, slot, sizeof(*slot)) != sizeof(*slot))
            _exit(0);
    }
}

/* What the program does when it is started by killed_processes_lose_nothing(). */
static int child_main(const char *dir, const char *backend, const char *fd)
{
    struct fixture *fx = malloc(sizeof(*fx));
    struct cairn_extent_conf conf = fx_conf((enum cairn_extent_backend)atoi(backend));

    fx_init_in(fx, &conf, dir);
    child_life(fx, atoi(fd));
    return 0;
}

/* All that was acknowledged is there and right, what was removed is gone, and nothing half-written is seen. */
static void check_told(struct fixture *fx, const struct told *told, uint32_t n)
{
    uint8_t *bytes = malloc(1 << 20), *got = malloc(1 << 20);
    uint64_t after = 0, len, last = 0; /* the seed of the last put */
    struct fx_call c = { 0 };

    for (uint32_t i = 0; i < n; i++)
        last = MAX(last, told[i].seed);
    for (uint32_t i = 0; i < n; i++) {
        bool removed = false;
        int rc;

        for (uint32_t j = i; j < n; j++)
            removed |= told[j].id == told[i].id && told[j].removed;
        rc = fx_read(fx, told[i].id, 0, told[i].len, got, true, true, &len);
        if (rc == CAIRN_E_NOTFOUND && !removed && told[i].seed + 8 == last + 1 && (last + 1) % 3 == 0)
            continue; /* the one whose removal was under way, and not told yet */
        assert_int_equal(rc, removed ? CAIRN_E_NOTFOUND : 0);
        if (removed)
            continue;
        fx_fill(bytes, told[i].len, told[i].seed);
        assert_int_equal(len, told[i].len);
        assert_memory_equal(got, bytes, len);
    }
    do {
        assert_int_equal(fx_list(fx, &c, after, 64, 0, false), 0);
        for (uint32_t i = 0; i < c.nids; i++) {
            after = c.ids[i];
            assert_int_equal(fx_read(fx, after, 0, 1 << 20, got, true, true, &len), 0);
        }
    } while (c.more);
    free(bytes);
    free(got);
}

static void killed_processes_lose_nothing(void **state)
{
    struct fixture *fx = *state;

    for (int round = 0; round < 6; round++) {
        struct told *told = calloc(4096, sizeof(*told));
        uint32_t n = 0, want = 5 + 17 * (uint32_t)round;
        int fds[2], status;
        pid_t pid;

        assert_int_equal(pipe(fds), 0);
        fx_close(fx);
        pid = fork();
        if (pid == 0) { /* a program of its own: threads do not outlive a fork */
            char backend[8], fd[8];

            close(fds[0]);
            snprintf(backend, sizeof(backend), "%d", (int)fx->conf.backend);
            snprintf(fd, sizeof(fd), "%d", fds[1]);
            execl("/proc/self/exe", "test_extent_faults", fx->dir, backend, fd, (char *)NULL);
            _exit(99);
        }
        close(fds[1]);
        while (n < want && read(fds[0], &told[n], sizeof(told[n])) == sizeof(told[n]))
            n++;
        kill(pid, SIGKILL);
        while (n < 4096 && read(fds[0], &told[n], sizeof(told[n])) == sizeof(told[n]))
            n++;
        close(fds[0]);
        waitpid(pid, &status, 0);
        assert_true(WIFSIGNALED(status));
        fx_open(fx);
        check_told(fx, told, n);
        free(told);
        /* Room for the next round. */
        for (;;) {
            struct fx_call c = { 0 };

            assert_int_equal(fx_list(fx, &c, 0, 64, 0, false), 0);
            for (uint32_t i = 0; i < c.nids; i++)
                assert_int_equal(fx_remove(fx, c.ids[i]), 0);
            if (c.nids == 0)
                break;
        }
    }
}

/* ---- bytes that change by themselves ---- */

static void flipped_bytes_are_found_and_quarantined(void **state)
{
    enum { LEN = 5 * FX_CHUNK };
    struct fixture *fx = *state;
    uint8_t *bytes = malloc(LEN), *got = malloc(LEN);
    uint64_t bad, good, n;
    Cairn__Wire__ExtentStatReply stat;
    struct fx_call c = { 0 };

    fx_fill(bytes, LEN, 1);
    assert_int_equal(
        fx_put(fx, &(struct fx_write){ .len = LEN, .bytes = bytes, .bulk = true, .durability = SYNC }, &good), 0);
    fx_fill(bytes, LEN, 2);
    assert_int_equal(
        fx_put(fx, &(struct fx_write){ .len = LEN, .bytes = bytes, .bulk = true, .durability = SYNC }, &bad), 0);
    fx_close(fx);
    fx_flip_on_disk(fx, bytes, 3 * FX_CHUNK + 100);
    fx_open(fx);
    /* A plain read of other chunks is fine, one of that chunk fails at the reader, and `verify` names it. */
    assert_int_equal(fx_read(fx, bad, 0, FX_CHUNK, got, false, false, &n), 0);
    assert_int_equal(fx_read(fx, bad, 3 * FX_CHUNK, FX_CHUNK, got, false, false, &n), 1);
    assert_int_equal(fx_read(fx, bad, 0, LEN, got, true, true, &n), CAIRN_E_CORRUPT);
    assert_int_equal(fx_read(fx, bad, 0, FX_CHUNK, got, false, false, &n), CAIRN_E_CORRUPT);
    for (int restart = 0; restart < 2; restart++) {
        assert_int_equal(fx_stat(fx, bad, &stat), 0);
        assert_true(stat.quarantined);
        assert_int_equal(fx_list(fx, &c, 0, 0, 0, true), 0);
        assert_int_equal(c.nids, 1);
        assert_int_equal(c.ids[0], bad);
        assert_int_equal(fx_scrub(fx, 0, &c), 0);
        assert_int_equal(c.nids, 1);
        assert_int_equal(fx_read(fx, bad, 0, 10, got, false, false, &n), CAIRN_E_CORRUPT);
        assert_int_equal(fx_scrub(fx, good, &c), 0);
        fx_reopen(fx);
    }
    assert_int_equal(fx_remove(fx, bad), 0); /* the way out */
    assert_int_equal(atomic_load(&fx_store(fx)->table.quarantined), 0);
    free(bytes);
    free(got);
}

/* A read of a part checks the whole chunk it lies in, unasked. */
static void a_part_of_a_bad_chunk_is_refused(void **state)
{
    struct fixture *fx = *state;
    uint8_t *bytes = malloc(FX_CHUNK), got[10];
    uint64_t id, n;

    fx_fill(bytes, FX_CHUNK, 4);
    assert_int_equal(fx_put(fx, &(struct fx_write){ .len = FX_CHUNK, .bytes = bytes, .durability = SYNC }, &id), 0);
    fx_close(fx);
    fx_flip_on_disk(fx, bytes, 30000);
    fx_open(fx);
    assert_int_equal(fx_read(fx, id, 5, 10, got, false, false, &n), CAIRN_E_CORRUPT);
    assert_int_equal(atomic_load(&fx_store(fx)->table.quarantined), 1);
    free(bytes);
}

/* Bytes that changed on the disk before the rest of their chunk came get no checksum that calls them right. */
static void a_bad_chunk_is_not_written_around(void **state)
{
    struct fixture *fx = *state;
    uint8_t *bytes = malloc(FX_CHUNK), *got = malloc(FX_CHUNK);
    uint64_t id, n;

    fx_fill(bytes, FX_CHUNK, 6);
    assert_int_equal(fx_create(fx, FX_CHUNK, &id), 0);
    assert_int_equal(fx_write(fx, &(struct fx_write){ .id = id, .len = 8192, .bytes = bytes }), 0);
    fx_flip_on_disk(fx, bytes, 5000);
    assert_int_equal(fx_write(fx, &(struct fx_write){ .id = id, .off = 8192, .len = 100, .bytes = bytes + 8192 }),
                     CAIRN_E_IO);
    assert_int_equal(fx_persist(fx, id, SYNC), CAIRN_E_STATE);
    assert_int_equal(fx_write(fx, &(struct fx_write){ .id = id, .len = FX_CHUNK, .bytes = bytes }),
                     0); /* the way out */
    assert_int_equal(fx_persist(fx, id, SYNC), 0);
    assert_int_equal(fx_read(fx, id, 0, FX_CHUNK, got, false, true, &n), 0);
    assert_memory_equal(got, bytes, FX_CHUNK);
    free(bytes);
    free(got);
}

/* ---- the index ---- */

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
    alarm(60); /* a loop that waited would wait for ever */
    pthread_mutex_lock(&f->index_mutex);
    fx_start(fx, &c, CAIRN__WIRE__EXTENT_METHOD__EXTENT_PUT, &put.base, bytes, sizeof(bytes));
    for (int i = 0; i < 20; i++)
        cairn_loop_turn(&fx->loop, CAIRN_NS_PER_MS);
    assert_int_equal(fx_read(fx, ids[1], 0, 100, got, false, false, &n), 0);
    f->base.ops->status(&f->base, status);
    assert_true(json_integer_value(json_object_get(status, "index_bytes")) > 0);
    assert_true(file_index_is_busy(f));
    assert_false(c.over);
    pthread_mutex_unlock(&f->index_mutex);
    assert_int_equal(fx_wait(fx, &c), 0);
    alarm(0);
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

/* ---- a disk that fails ---- */

/* A segment that cannot be written takes nothing more; what is in it is still read, and others take its place. */
static void a_failing_segment_is_left_alone(void **state)
{
    enum { LEN = 300000 };
    struct fixture *fx = *state;
    struct file_store *f = file_of(fx_store(fx));
    uint8_t *bytes = malloc(LEN), *got = malloc(LEN);
    struct fx_write w = { .len = LEN, .bytes = bytes, .bulk = true, .durability = SYNC };
    uint64_t before, id, n;
    char path[128];

    fx_fill(bytes, LEN, 1);
    assert_int_equal(fx_put(fx, &w, &before), 0);
    snprintf(path, sizeof(path), "%s/seg-00000", fx->dir);
    fx_replace_fd(f->segments[0]->fd, path, O_RDONLY); /* every write fails from now on */
    assert_int_equal(fx_put(fx, &w, &id), CAIRN_E_IO);
    assert_int_equal(atomic_load(&fx_store(fx)->health), CAIRN_EXTENT_DEGRADED);
    assert_int_equal(fx_read(fx, before, 0, LEN, got, true, true, &n), 0);
    assert_memory_equal(got, bytes, LEN);
    for (int i = 0; i < 3; i++)
        assert_int_equal(fx_put(fx, &w, &id), 0);
    assert_int_equal(f->nsegments, 2);
    assert_int_equal(fx_remove(fx, before), 0); /* its space is not used again */
    assert_int_equal(fx_put(fx, &w, &id), 0);
    assert_int_equal(id != 0 && f->nsegments == 2, true);
    fx_reopen(fx);
    assert_int_equal(atomic_load(&fx_store(fx)->table.regions), 4);
    assert_int_equal(fx_read(fx, id, 0, LEN, got, true, true, &n), 0);
    assert_memory_equal(got, bytes, LEN);
    free(bytes);
    free(got);
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

/* After a failed sync of the index nobody knows what the disk holds: nothing is acknowledged any more, reads go on. */
static void a_failed_sync_is_not_tried_again(void **state)
{
    struct fixture *fx = *state;
    struct file_store *f = file_of(fx_store(fx));
    uint8_t bytes[1000], got[1000];
    struct fx_write w = { .len = sizeof(bytes), .bytes = bytes, .durability = SYNC };
    uint64_t before, id, n;

    fx_fill(bytes, sizeof(bytes), 1);
    assert_int_equal(fx_put(fx, &w, &before), 0);
    fx_replace_fd(f->log.fd, "/dev/null", O_RDWR); /* takes every write, and refuses to sync */
    assert_int_equal(fx_put(fx, &w, &id), CAIRN_E_IO);
    assert_int_equal(atomic_load(&fx_store(fx)->health), CAIRN_EXTENT_READONLY);
    assert_int_equal(fx_put(fx, &w, &id), CAIRN_E_IO);
    assert_int_equal(fx_remove(fx, before), CAIRN_E_IO);
    assert_int_equal(fx_create(fx, 1000, &id), CAIRN_E_IO);
    assert_int_equal(fx_read(fx, before, 0, sizeof(got), got, false, true, &n), 0);
    assert_memory_equal(got, bytes, sizeof(got));
    fx_reopen(fx);
    assert_int_equal(fx_read(fx, before, 0, sizeof(got), got, false, true, &n), 0);
    assert_int_equal(atomic_load(&fx_store(fx)->table.regions), 1); /* what was refused is not there */
    assert_int_equal(fx_put(fx, &w, &id), 0);
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

static struct cairn_extent_region *found_while_refused;

static int refuse(struct cairn_extent_step *step)
{
    found_while_refused = cairn_extent_table_find(&step->region->store->table, step->region->id);
    return CAIRN_E_BUSY;
}

/* A store that is too busy for a removal has not touched the region, and no reader misses it. */
static void a_removal_that_is_refused_changes_nothing(void **state)
{
    struct fixture *fx = *state;
    const struct cairn_extent_store_ops *ops = fx_store(fx)->ops;
    struct cairn_extent_store_ops busy = *ops;
    uint8_t bytes[100] = "x", got[100];
    uint64_t id, n;

    assert_int_equal(fx_put(fx, &(struct fx_write){ .len = 100, .bytes = bytes }, &id), 0);
    busy.remove = refuse;
    fx_store(fx)->ops = &busy;
    assert_int_equal(fx_remove(fx, id), CAIRN_E_BUSY);
    assert_non_null(found_while_refused);
    cairn_extent_region_put(found_while_refused);
    fx_store(fx)->ops = ops;
    assert_int_equal(fx_read(fx, id, 0, 100, got, false, true, &n), 0);
    assert_int_equal(fx_remove(fx, id), 0);
    assert_int_equal(fx_remove(fx, id), CAIRN_E_NOTFOUND);
}

static void on_step(struct cairn_extent_step *step, int rc)
{
    step->rc = rc;
    *(bool *)step->arg = true;
}

/* A reader that still has a removed region finds damage in it: the mark must not hit who has its record's place now. */
static void the_mark_of_a_removed_region_hits_no_other(void **state)
{
    enum { LEN = 1000, RECORD = 64 };
    struct fixture *fx = *state;
    uint8_t bytes[LEN], was[RECORD];
    struct cairn_extent_region *gone;
    struct cairn_extent_step step;
    const uint8_t *place;
    uint64_t id;
    bool over = false;

    fx_fill(bytes, LEN, 1);
    assert_int_equal(fx_put(fx, &(struct fx_write){ .len = LEN, .bytes = bytes }, &id), 0);
    gone = cairn_extent_table_find(&fx_store(fx)->table, id);
    place = gone->own;
    assert_int_equal(fx_remove(fx, id), 0);
    memcpy(was, place, RECORD);
    step = (struct cairn_extent_step){
        .worker = &fx_store(fx)->workers[0], .region = gone, .done = on_step, .arg = &over
    };
    assert_int_equal(fx_store(fx)->ops->quarantine(&step), CAIRN_EXTENT_LATER);
    while (!over)
        cairn_loop_turn(&fx->loop, CAIRN_NS_PER_S);
    assert_int_equal(step.rc, 0);
    assert_memory_equal(place, was, RECORD);
    cairn_extent_region_put(gone);
}

/* `sync` is answered when the record is durable; otherwise it is enough that it is written. */
static void a_removal_is_as_durable_as_was_asked(void **state)
{
    struct fixture *fx = *state;
    struct file_store *f = file_of(fx_store(fx));
    uint8_t bytes[1000], got[1000];
    uint64_t ids[3], n;

    fx_fill(bytes, sizeof(bytes), 1);
    for (int i = 0; i < 3; i++)
        assert_int_equal(
            fx_put(fx, &(struct fx_write){ .len = sizeof(bytes), .bytes = bytes, .durability = SYNC }, &ids[i]), 0);
    assert_int_equal(fx_remove(fx, ids[0]), 0);
    assert_true(atomic_load(&f->log.durable) < atomic_load(&f->log.flushed));
    assert_int_equal(fx_remove_as(fx, ids[1], SYNC), 0);
    assert_int_equal(atomic_load(&f->log.durable), atomic_load(&f->log.flushed));
    fx_replace_fd(f->log.fd, "/dev/null", O_RDWR); /* takes every write, and refuses to sync */
    assert_int_equal(fx_remove_as(fx, ids[2], SYNC), CAIRN_E_IO);
    assert_int_equal(fx_read(fx, ids[2], 0, sizeof(got), got, false, true, &n), 0); /* it may be there, so it is */
    fx_reopen(fx);
    assert_int_equal(atomic_load(&fx_store(fx)->table.regions), 1);
}

static void empty_segments_are_given_back_at_the_start(void **state)
{
    struct fixture *fx = *state;
    uint8_t *bytes = calloc(1, 1 << 20);
    struct fx_write w = { .len = 1 << 20, .bytes = bytes, .bulk = true };
    char path[128];
    uint64_t id;

    snprintf(path, sizeof(path), "%s/seg-00000", fx->dir);
    assert_int_equal(fx_put(fx, &w, &id), 0);
    fx_reopen(fx);
    assert_int_equal(access(path, F_OK), 0);
    assert_int_equal(fx_remove(fx, id), 0);
    fx_reopen(fx);
    assert_int_equal(access(path, F_OK), -1);
    assert_int_equal(fx_put(fx, &w, &id), 0);
    free(bytes);
}

/* A segment file that is lost takes its own regions with it, and not those of the segments behind it. */
static void a_missing_segment_harms_no_other(void **state)
{
    enum { LEN = 48 << 20 };
    struct fixture *fx = *state;
    uint8_t *bytes = malloc(LEN), got[100];
    struct fx_write w = { .len = LEN, .bytes = bytes, .bulk = true, .durability = SYNC };
    uint64_t first, second, third, n;
    char path[128];

    fx_fill(bytes, LEN, 1);
    assert_int_equal(fx_put(fx, &w, &first), 0);
    assert_int_equal(fx_put(fx, &w, &second), 0);
    fx_close(fx);
    snprintf(path, sizeof(path), "%s/seg-00000", fx->dir);
    assert_int_equal(unlink(path), 0);
    fx_open(fx);
    assert_int_equal(fx_put(fx, &w, &third), 0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(fx_read(fx, first, 0, sizeof(got), got, false, false, &n), CAIRN_E_CORRUPT);
        assert_int_equal(fx_read(fx, second, 0, sizeof(got), got, false, true, &n), 0);
        assert_int_equal(fx_read(fx, third, 0, sizeof(got), got, false, true, &n), 0);
        assert_int_equal(atomic_load(&fx_store(fx)->health), CAIRN_EXTENT_DEGRADED);
        fx_reopen(fx);
    }
    free(bytes);
}

/* ---- a full disk ---- */

/* Somebody else takes the last byte. */
static void fill_disk(const char *mnt)
{
    static const uint8_t zeros[4096];
    char path[64];
    int fd;

    snprintf(path, sizeof(path), "%s/other", mnt);
    fd = open(path, O_WRONLY | O_CREAT | O_APPEND, 0600);
    assert_true(fd >= 0);
    while (write(fd, zeros, sizeof(zeros)) > 0)
        ;
    assert_int_equal(errno, ENOSPC);
    close(fd);
}

static void a_full_disk_refuses_writes_and_recovers(void **state)
{
    enum { LEN = 1 << 20, MOST = 64 };
    struct fixture fx;
    struct cairn_extent_conf conf = fx_conf(CAIRN_EXTENT_FILE);
    char mnt[SCRATCH_MAX], dir[SCRATCH_MAX + 8];
    uint8_t *bytes = malloc(LEN), *got = malloc(LEN);
    uint64_t ids[MOST], n = 0, len;
    int rc = 0;

    (void)state;
    scratch_new(mnt);
    if (mount("tmpfs", mnt, "tmpfs", 0, "size=16m") != 0) {
        print_message("no mount here (%s): skipped\n", strerror(errno));
        skip();
    }
    snprintf(dir, sizeof(dir), "%s/extent", mnt);
    assert_int_equal(mkdir(dir, 0700), 0);
    fx_init_in(&fx, &conf, dir);
    while (rc == 0 && n < MOST) {
        fx_fill(bytes, LEN, n);
        rc = fx_put(&fx, &(struct fx_write){ .len = LEN, .bytes = bytes, .bulk = true, .durability = SYNC }, &ids[n]);
        n += rc == 0;
    }
    assert_int_equal(rc, CAIRN_E_NOSPACE);
    assert_in_range(n, 8, 16);
    assert_int_equal(atomic_load(&fx_store(&fx)->health), CAIRN_EXTENT_OK);
    for (int round = 0; round < 5; round++) {
        for (uint64_t i = 0; i < n; i++) { /* reads go on */
            fx_fill(bytes, LEN, i);
            assert_int_equal(fx_read(&fx, ids[i], 0, LEN, got, true, true, &len), 0);
            assert_memory_equal(got, bytes, LEN);
        }
        assert_int_equal(fx_put(&fx, &(struct fx_write){ .len = LEN, .bytes = bytes, .bulk = true }, &len),
                         CAIRN_E_NOSPACE);
        assert_int_equal(fx_remove(&fx, ids[round]), 0); /* and what is removed makes room at once */
        fx_fill(bytes, LEN, (uint64_t)round);
        assert_int_equal(fx_put(&fx, &(struct fx_write){ .len = LEN, .bytes = bytes, .bulk = true }, &ids[round]), 0);
    }
    fill_disk(mnt);
    for (int restart = 0; restart < 12; restart++) /* the number of starts in FORMAT gets longer */
        fx_reopen(&fx);
    assert_int_equal(atomic_load(&fx_store(&fx)->table.regions), n);
    assert_int_equal(fx_read(&fx, ids[n - 1], 0, LEN, got, true, true, &len), 0);
    assert_int_equal(fx_put(&fx, &(struct fx_write){ .len = LEN, .bytes = bytes, .bulk = true }, &len),
                     CAIRN_E_NOSPACE);
    assert_int_equal(fx_remove(&fx, ids[0]), 0);
    assert_int_equal(fx_put(&fx, &(struct fx_write){ .len = LEN, .bytes = bytes, .bulk = true }, &len), 0);
    fx_fini(&fx);
    scratch_remove(mnt);
    free(bytes);
    free(got);
}

static void a_full_memory_refuses_and_recovers(void **state)
{
    struct fixture *fx = *state;
    uint8_t *bytes = calloc(1, 1 << 20);
    uint64_t id, first = 0;
    int rc = 0;

    fx_store(fx)->conf.capacity = fx->conf.backend == CAIRN_EXTENT_MEMORY ? 10 << 20 : fx_store(fx)->conf.capacity;
    for (int i = 0; rc == 0 && i < 200; i++) {
        rc = fx_put(fx, &(struct fx_write){ .len = 1 << 20, .bytes = bytes, .bulk = true }, &id);
        first = first == 0 ? id : first;
    }
    assert_int_equal(rc, CAIRN_E_NOSPACE);
    assert_int_equal(fx_remove(fx, first), 0);
    fx_rest(fx);
    assert_int_equal(fx_put(fx, &(struct fx_write){ .len = 1 << 20, .bytes = bytes, .bulk = true }, &id), 0);
    free(bytes);
}

/* ---- where persistent memory is not ---- */

static void pmem_on_an_ordinary_disk_is_refused(void **state)
{
    struct cairn_err err = { 0 };

    (void)state;
    if (cairn_extent__pmem_place("/var/tmp", false, &err) == 0) {
        print_message("/var/tmp is DAX or tmpfs here: skipped\n");
        skip();
    }
    assert_int_equal(err.code, CAIRN_E_UNSUPPORTED);
    assert_non_null(strstr(err.text, "allow_slow"));
    assert_int_equal(cairn_extent__pmem_place("/var/tmp", true, &err), 0);
}

/* Every kind of machine has a sound table. */
static void machines_are_sound(void **state)
{
    extern const struct cairn_provider_desc cairn_provider_extent;
    struct cairn_err err = { 0 };

    (void)state;
    for (const struct cairn_sm_kind *const *k = cairn_provider_extent.machines; *k != NULL; k++) {
        if (cairn_sm_kind_check(*k, &err) != 0)
            fail_msg("%s", err.text);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        ON(killed_processes_lose_nothing, file),
        ON(killed_processes_lose_nothing, pmem),
        ON(flipped_bytes_are_found_and_quarantined, file),
        ON(flipped_bytes_are_found_and_quarantined, pmem),
        ON(a_part_of_a_bad_chunk_is_refused, file),
        ON(a_part_of_a_bad_chunk_is_refused, pmem),
        ON(a_bad_chunk_is_not_written_around, file),
        ON(a_grown_index_is_written_anew, file),
        ON(a_damaged_index_makes_the_store_read_only, file),
        ON(lost_records_stop_the_start, file),
        ON(lost_records_stop_the_start, pmem),
        ON(a_first_start_that_did_not_end_is_made_again, file),
        ON(a_region_without_its_place_is_quarantined, file),
        ON(a_failing_segment_is_left_alone, file),
        ON(a_failed_sync_is_not_tried_again, file),
        ON(no_loop_waits_for_the_index, file),
        ON(a_buffered_index_is_written_anew_too, file),
        ON(a_broken_index_is_no_good_health, file),
        ON(a_removal_that_is_refused_changes_nothing, file),
        ON(a_removal_that_is_refused_changes_nothing, pmem),
        ON(a_removal_that_is_refused_changes_nothing, memory),
        ON(the_mark_of_a_removed_region_hits_no_other, pmem),
        ON(a_removal_is_as_durable_as_was_asked, file),
        ON(empty_segments_are_given_back_at_the_start, file),
        ON(a_region_without_its_place_harms_no_other, file),
        ON(a_missing_segment_harms_no_other, file),
        cmocka_unit_test(a_full_disk_refuses_writes_and_recovers),
        ON(a_full_memory_refuses_and_recovers, memory),
        ON(a_full_memory_refuses_and_recovers, pmem),
        cmocka_unit_test(pmem_on_an_ordinary_disk_is_refused),
        cmocka_unit_test(machines_are_sound),
    };

    if (argc == 4)
        return child_main(argv[1], argv[2], argv[3]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
