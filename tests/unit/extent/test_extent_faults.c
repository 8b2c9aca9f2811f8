/* What survives what: killed processes, flipped bytes, a disk that fails. */
#include "tests/lib/patience.h"
#include "tests/unit/extent/extent_fixture.h"

#include "providers/extent/extent_file.h"

#include <errno.h>
#include <signal.h>
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
    WHILE_PATIENT (!over)
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
        ON(a_failing_segment_is_left_alone, file),
        ON(a_failed_sync_is_not_tried_again, file),
        ON(a_removal_that_is_refused_changes_nothing, file),
        ON(a_removal_that_is_refused_changes_nothing, pmem),
        ON(a_removal_that_is_refused_changes_nothing, memory),
        ON(the_mark_of_a_removed_region_hits_no_other, pmem),
        ON(a_removal_is_as_durable_as_was_asked, file),
        ON(empty_segments_are_given_back_at_the_start, file),
        ON(a_missing_segment_harms_no_other, file),
    };

    if (argc == 4)
        return child_main(argv[1], argv[2], argv[3]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
