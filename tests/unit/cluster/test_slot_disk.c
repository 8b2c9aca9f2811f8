/* The slot logs of a node on one device, against a model of them: many logs, starts, forgetting, failures. */
#include "server/cluster/repl/slot_disk.h"
#include "tests/lib/disk_faults.h"
#include "tests/lib/patience.h"
#include "tests/lib/scratch.h"
#include "tests/lib/skip.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include <cmocka.h>

enum { LOOPS = 2, SLOTS = 12, ENTRIES = 4096, SEGMENT = 4 << 20 };

struct model {
    struct cairn_at base;
    uint64_t epoch[ENTRIES]; /* by position */
    uint32_t len[ENTRIES];
    uint64_t end, newest_epoch;
};

struct fixture {
    char dir[SCRATCH_MAX];
    struct cairn_loop loop[LOOPS], *loops[LOOPS];
    struct cairn_slot_disk *disk;
    struct model model[SLOTS];
    uint32_t asked[SLOTS], synced[SLOTS];
    struct cairn_at written[SLOTS];
    int rc;
    uint64_t random;
    uint8_t *body;
};

static uint64_t dice(struct fixture *fx, uint64_t n)
{
    fx->random = fx->random * UINT64_C(6364136223846793005) + 1442695040888963407;
    return (fx->random >> 33) % n;
}

static void on_synced(void *arg, uint32_t slot, int rc)
{
    struct fixture *fx = arg;

    fx->synced[slot]++;
    fx->rc = rc;
}

/* Another process that starts now finds it, though nothing was synced. */
static void on_written(void *arg, uint32_t slot, struct cairn_at end, int rc)
{
    struct fixture *fx = arg;
    struct cairn_slot_disk *other;
    char copy[SCRATCH_MAX], cmd[2 * SCRATCH_MAX + 32];
    struct cairn_slot_disk_conf conf = { .dir = copy,
                                         .loops = fx->loops,
                                         .nloops = LOOPS,
                                         .nslots = SLOTS,
                                         .segment_bytes = SEGMENT,
                                         .queue_bytes = 8 << 20 };
    struct cairn_err err = { 0 };

    fx->rc = rc;
    fx->written[slot] = end;
    scratch_new(copy);
    snprintf(cmd, sizeof(cmd), "cp %s/seg-* %s/", fx->dir, copy);
    assert_int_equal(system(cmd), 0);
    assert_int_equal(cairn_slot_disk_open(&conf, &other, &err), 0);
    assert_true(cairn_slot_disk_end(other, slot) >= end.pos);
    assert_true(cairn_at_is(cairn_slot_disk_get(other, slot, end.pos)->at, end));
    cairn_slot_disk_close(other);
    scratch_remove(copy);
}

static int disk_open(struct fixture *fx)
{
    struct cairn_slot_disk_conf conf = { .dir = fx->dir,
                                         .loops = fx->loops,
                                         .nloops = LOOPS,
                                         .nslots = SLOTS,
                                         .segment_bytes = SEGMENT,
                                         .queue_bytes = 8 << 20,
                                         .synced = on_synced,
                                         .written = on_written,
                                         .arg = fx };
    struct cairn_err err = { 0 };

    if (cairn_slot_disk_open(&conf, &fx->disk, &err) != 0)
        fail_msg("%s", err.text);
    return 0;
}

static int setup(void **state)
{
    struct fixture *fx = calloc(1, sizeof(*fx));

    scratch_new(fx->dir);
    fx->random = getenv("CAIRN_SEED") != NULL ? strtoull(getenv("CAIRN_SEED"), NULL, 10) : 7;
    fx->body = calloc(1, CAIRN_ENTRY_BODY_BYTES_MAX);
    for (int i = 0; i < LOOPS; i++) {
        assert_int_equal(cairn_loop_init(&fx->loop[i], NULL, NULL), 0);
        fx->loops[i] = &fx->loop[i];
    }
    *state = fx;
    return disk_open(fx);
}

static void turn(struct fixture *fx)
{
    for (int i = 0; i < LOOPS; i++)
        cairn_loop_turn(&fx->loop[i], CAIRN_NS_PER_MS / 5);
}

static void settle(struct fixture *fx)
{
    for (uint32_t slot = 0; slot < SLOTS; slot++) {
        cairn_slot_disk_sync(fx->disk, slot);
        fx->asked[slot]++;
    }
    for (uint32_t slot = 0; slot < SLOTS; slot++) {
        while (fx->synced[slot] < fx->asked[slot])
            turn(fx);
    }
}

/* What one slot has appended, and nothing else, is on disk. */
static void settle_one(struct fixture *fx, uint32_t slot)
{
    cairn_slot_disk_sync(fx->disk, slot);
    fx->asked[slot]++;
    while (fx->synced[slot] < fx->asked[slot])
        turn(fx);
}

static int teardown(void **state)
{
    struct fixture *fx = *state;

    settle(fx);
    cairn_slot_disk_close(fx->disk);
    for (int i = 0; i < LOOPS; i++)
        cairn_loop_fini(&fx->loop[i]);
    scratch_remove(fx->dir);
    free(fx->body);
    free(fx);
    return 0;
}

static void append_by(struct fixture *fx, uint32_t slot, uint32_t len,
                      int (*how)(struct cairn_slot_disk *d, uint32_t slot, const struct cairn_log_entry *e))
{
    struct model *m = &fx->model[slot];
    struct cairn_log_entry e = { .kind = CAIRN_ENTRY_WRITE, .sync = true, .body = fx->body, .body_len = len };

    m->newest_epoch += m->end == 0 || dice(fx, 20) == 0;
    e.at = (struct cairn_at){ .epoch = m->newest_epoch, .pos = m->end + 1 };
    e.rid = (struct cairn_rid){ .session = { 3, slot }, .seq = e.at.pos };
    e.floor = e.at.pos / 2;
    memset(fx->body, (int)(e.at.pos + slot), len);
    assert_int_equal(how(fx->disk, slot, &e), 0);
    m->end++;
    m->epoch[m->end] = m->newest_epoch;
    m->len[m->end] = len;
}

static void append(struct fixture *fx, uint32_t slot, uint32_t len)
{
    append_by(fx, slot, len, dice(fx, 3) == 0 ? cairn_slot_disk_append_later : cairn_slot_disk_append);
}

static void check(struct fixture *fx)
{
    for (uint32_t slot = 0; slot < SLOTS; slot++) {
        const struct model *m = &fx->model[slot];
        struct cairn_at base = cairn_slot_disk_base(fx->disk, slot);

        assert_true(cairn_at_is(base, m->base));
        assert_int_equal(cairn_slot_disk_end(fx->disk, slot), m->end);
        for (uint64_t pos = base.pos + 1; pos <= m->end; pos++) {
            const struct cairn_log_entry *e = cairn_slot_disk_get(fx->disk, slot, pos);

            assert_int_equal(e->at.pos, pos);
            assert_int_equal(e->at.epoch, m->epoch[pos]);
            assert_int_equal(e->rid.session.pos, slot);
            assert_int_equal(e->rid.seq, pos);
            assert_int_equal(e->floor, pos / 2);
            assert_int_equal(e->body_len, m->len[pos]);
            for (uint32_t i = 0; i < e->body_len; i++)
                assert_int_equal(e->body[i], (uint8_t)(pos + slot));
        }
    }
}

static void again(struct fixture *fx)
{
    settle(fx);
    cairn_slot_disk_close(fx->disk);
    assert_int_equal(disk_open(fx), 0);
    check(fx);
}

static void a_start_finds_every_log_as_it_was(void **state)
{
    struct fixture *fx = *state;

    for (int i = 0; i < 3000; i++)
        append(fx, (uint32_t)dice(fx, SLOTS), (uint32_t)dice(fx, 500));
    check(fx);
    again(fx);
    again(fx);
}

/* Who asks is told when what he has appended survives the process; also when that was so already. */
static void what_is_written_survives_the_process(void **state)
{
    struct fixture *fx = *state;
    struct cairn_slot_disk_stats before, after;

    cairn_slot_disk_stats(fx->disk, &before);
    for (uint32_t i = 0; i < 40; i++) {
        uint32_t slot = i % 3;

        append(fx, slot, 1 + (uint32_t)dice(fx, 3000));
        if (i % 2 == 0)
            cairn_slot_disk_tell_written(fx->disk, slot);
        if (i % 5 == 0)
            turn(fx);
        if (i % 7 == 0) { /* under way */
            append(fx, slot, 10);
            turn(fx);
            cairn_slot_disk_tell_written(fx->disk, slot);
        }
    }
    for (uint32_t slot = 0; slot < 3; slot++) {
        for (int k = 0; k < 2; k++) {
            fx->written[slot] = (struct cairn_at){ 0 };
            cairn_slot_disk_tell_written(fx->disk, slot);
            while (fx->written[slot].pos < cairn_slot_disk_end(fx->disk, slot))
                turn(fx);
        }
    }
    assert_int_equal(fx->rc, 0);
    cairn_slot_disk_stats(fx->disk, &after);
    assert_int_equal(after.syncs, before.syncs);
}

/* Whatever number of slots ask, of whichever workers: what they appended is one write of each worker, and one sync when
 * those come together. Each worker turns alone here, so the committer may be through with the first before the second. */
static void all_slots_of_a_node_share_one_commit(void **state)
{
    struct fixture *fx = *state;
    struct cairn_slot_disk_stats before, after;

    for (int round = 0; round < 20; round++) {
        settle(fx);
        cairn_slot_disk_stats(fx->disk, &before);
        for (int i = 0; i < 4; i++) {
            for (uint32_t slot = 0; slot < SLOTS; slot++)
                append(fx, slot, 1 + (uint32_t)dice(fx, 500));
        }
        settle(fx);
        assert_int_equal(fx->rc, 0);
        cairn_slot_disk_stats(fx->disk, &after);
        assert_in_range(after.syncs - before.syncs, 1, LOOPS);
        assert_in_range(after.writes - before.writes, 1, LOOPS);
    }
    check(fx);
}

/* Entries that are cut, and others in their place; logs trimmed and begun anew; all through many starts. */
static void random_changes_survive_starts(void **state)
{
    struct fixture *fx = *state;

    for (int round = 0; round < 30; round++) {
        for (int i = 0; i < 150; i++) {
            uint32_t slot = (uint32_t)dice(fx, SLOTS);
            struct model *m = &fx->model[slot];

            switch (dice(fx, 12)) {
            case 0:
                if (m->end > m->base.pos) {
                    uint64_t pos = m->end - dice(fx, MIN(m->end - m->base.pos, (uint64_t)5) + 1);

                    assert_int_equal(cairn_slot_disk_cut(fx->disk, slot, pos), 0);
                    m->end = pos;
                    m->newest_epoch++;
                }
                break;
            case 1:
                if (m->end > m->base.pos) {
                    uint64_t pos = m->base.pos + 1 + dice(fx, m->end - m->base.pos);

                    assert_int_equal(cairn_slot_disk_trim(fx->disk, slot, pos), 0);
                    m->base = (struct cairn_at){ .epoch = m->epoch[pos], .pos = pos };
                }
                break;
            case 2:
                if (dice(fx, 10) == 0) {
                    m->base = (struct cairn_at){ .epoch = m->newest_epoch + 1, .pos = m->end + dice(fx, 3) };
                    m->end = m->base.pos;
                    m->newest_epoch++;
                    if (m->base.pos == 0)
                        m->base.epoch = 0;
                    assert_int_equal(cairn_slot_disk_restart(fx->disk, slot, m->base), 0);
                }
                break;
            case 3:
                turn(fx);
                break;
            default:
                append(fx, slot, (uint32_t)dice(fx, 4000));
                break;
            }
        }
        settle(fx); /* bounded: each loop's queue */
        for (uint32_t w = 0; w < LOOPS; w++)
            cairn_slot_disk_tidy(fx->disk, w);
        if (round % 3 == 0)
            again(fx);
    }
    again(fx);
}

/* The disk holds what is needed and little more, though slots lie idle for long and only one is written to. */
static void what_is_trimmed_is_given_back(void **state)
{
    struct fixture *fx = *state;
    struct cairn_slot_disk_stats stats;

    for (uint32_t slot = 0; slot < SLOTS; slot++) {
        append(fx, slot, 100);
        append(fx, slot, 100);
        assert_int_equal(cairn_slot_disk_trim(fx->disk, slot, 1 + slot % 2), 0); /* some keep an entry, some none */
        fx->model[slot].base = (struct cairn_at){ .epoch = fx->model[slot].epoch[1 + slot % 2], .pos = 1 + slot % 2 };
    }
    for (int i = 0; i < 200; i++) {
        for (uint32_t slot = 0; slot < SLOTS; slot += 2) { /* they move on, slowly, all but the idle ones */
            if (slot == 0 || i % 50 == 0)
                append(fx, slot, slot == 0 ? 250000 : 10);
            if (fx->model[slot].end > fx->model[slot].base.pos) {
                uint64_t pos = fx->model[slot].end;

                assert_int_equal(cairn_slot_disk_trim(fx->disk, slot, pos), 0);
                fx->model[slot].base = (struct cairn_at){ .epoch = fx->model[slot].epoch[pos], .pos = pos };
            }
        }
        settle(fx);
        for (uint32_t w = 0; w < LOOPS; w++)
            cairn_slot_disk_tidy(fx->disk, w);
    }
    settle(fx);
    cairn_slot_disk_stats(fx->disk, &stats);
    assert_true(stats.written_bytes > 45000000);
    assert_true(stats.disk_bytes < 30000000);
    assert_int_equal(stats.entries, 0);
    again(fx);
}

/* All that is in the log of @slot is in a checkpoint. */
static void trim_all(struct fixture *fx, uint32_t slot)
{
    struct model *m = &fx->model[slot];

    assert_int_equal(cairn_slot_disk_trim(fx->disk, slot, m->end), 0);
    m->base = (struct cairn_at){ .epoch = m->epoch[m->end], .pos = m->end };
}

/* A worker to whose slots nothing comes any more, after a start or a few writes, keeps nothing of what others write. */
static void an_idle_worker_keeps_nothing(void **state)
{
    struct fixture *fx = *state;
    struct cairn_slot_disk_stats stats;

    for (int start = 0; start < 2; start++) {
        for (uint32_t slot = 0; slot < SLOTS && start == 0; slot++) {
            append(fx, slot, 100);
            trim_all(fx, slot);
        }
        again(fx);
        for (int i = 0; i < 100; i++) {
            append(fx, 0, 250000);
            trim_all(fx, 0);
            settle_one(fx, 0);
            for (uint32_t w = 0; w < LOOPS; w++)
                cairn_slot_disk_tidy(fx->disk, w);
        }
        cairn_slot_disk_stats(fx->disk, &stats);
        assert_true(stats.written_bytes > 25000000);
        assert_in_range(stats.disk_bytes, 1, 3 * SEGMENT);
    }
    again(fx);
}

/* ---- what says where a log begins ---- */

static uint32_t segments_count(const struct fixture *fx)
{
    struct dirent *e;
    uint32_t n = 0;
    DIR *d = opendir(fx->dir);

    assert_non_null(d);
    while ((e = readdir(d)) != NULL)
        n += strncmp(e->d_name, "seg-", 4) == 0;
    closedir(d);
    return n;
}

/* Slot 0's log in several segments, all but its last entries not needed any more; the others' logs are empty. */
static void trim_most(struct fixture *fx)
{
    struct model *m = &fx->model[0];

    for (int i = 0; i < 60; i++) {
        append(fx, 0, 250000);
        if (i % 10 == 9)
            settle(fx);
    }
    for (uint32_t w = 0; w < LOOPS; w++)
        cairn_slot_disk_tidy(fx->disk, w);
    settle(fx);
    assert_true(segments_count(fx) >= 4);
    assert_int_equal(cairn_slot_disk_trim(fx->disk, 0, m->end - 2), 0);
    m->base = (struct cairn_at){ .epoch = m->epoch[m->end - 2], .pos = m->end - 2 };
    cairn_slot_disk_tidy(fx->disk, 0);
}

/* A worker has trimmed a log and not written that yet: what another one writes gives nothing back. When it is
 * durable, much is. */
static void a_trim_that_is_not_written_frees_nothing(void **state)
{
    struct fixture *fx = *state;
    uint32_t n;

    trim_most(fx);
    n = segments_count(fx);
    for (int i = 0; i < 2; i++) {
        append(fx, 1, 100);
        cairn_slot_disk_sync(fx->disk, 1);
        fx->asked[1]++;
        WHILE_PATIENT (fx->synced[1] < fx->asked[1])
            cairn_loop_turn(&fx->loop[1], CAIRN_NS_PER_MS / 5);
        assert_int_equal(segments_count(fx), n);
    }
    settle(fx);
    settle(fx);
    assert_true(segments_count(fx) < n);
    again(fx);
}

/* It is written, and never reaches the disk: a start after a loss of power finds what it says nothing of. */
static void a_trim_that_is_not_durable_frees_nothing(void **state)
{
    struct fixture *fx = *state;
    uint32_t n;

    trim_most(fx);
    n = segments_count(fx);
    disk_fail_syncs(UINT32_MAX, EIO);
    settle(fx);
    settle(fx);
    disk_fail_syncs(0, 0);
    assert_int_equal(fx->rc, CAIRN_E_IO);
    assert_int_equal(segments_count(fx), n);
}

/* A log that was begun and is not there any more is not begun again: nothing is made in its place, at no start. */
static void a_log_that_is_gone_is_missed(void **state)
{
    struct fixture *fx = *state;
    struct cairn_slot_disk_conf conf = { .dir = fx->dir,
                                         .used = true,
                                         .loops = fx->loops,
                                         .nloops = LOOPS,
                                         .nslots = SLOTS,
                                         .segment_bytes = SEGMENT,
                                         .queue_bytes = 8 << 20,
                                         .synced = on_synced,
                                         .arg = fx };
    char path[SCRATCH_MAX + 32];
    struct cairn_slot_disk *d;
    struct cairn_err err = { 0 };

    append(fx, 0, 100);
    settle(fx);
    cairn_slot_disk_close(fx->disk);
    assert_int_equal(cairn_slot_disk_open(&conf, &fx->disk, &err), 0);
    check(fx);
    cairn_slot_disk_close(fx->disk);
    while (segments_count(fx) > 0) {
        struct dirent *e;
        DIR *dir = opendir(fx->dir);

        while ((e = readdir(dir)) != NULL) {
            snprintf(path, sizeof(path), "%.60s/%.25s", fx->dir, e->d_name);
            if (strncmp(e->d_name, "seg-", 4) == 0)
                assert_int_equal(unlink(path), 0);
        }
        closedir(dir);
    }
    for (int i = 0; i < 2; i++) {
        assert_int_equal(cairn_slot_disk_open(&conf, &d, &err), CAIRN_E_CORRUPT);
        assert_int_equal(segments_count(fx), 0);
    }
    assert_int_equal(disk_open(fx), 0);
}

/* Too much for the disk to take at once is refused, and what was taken before is whole. */
static void a_full_queue_refuses(void **state)
{
    struct fixture *fx = *state;
    struct cairn_log_entry e = { .at = { 1, 1 }, .kind = CAIRN_ENTRY_WRITE, .body = fx->body, .body_len = 1 << 20 };
    int rc = 0;

    while (rc == 0 && e.at.pos < 100) {
        rc = cairn_slot_disk_append(fx->disk, 0, &e);
        e.at.pos += rc == 0;
    }
    assert_int_equal(rc, CAIRN_E_BUSY);
    assert_int_equal(cairn_slot_disk_end(fx->disk, 0), e.at.pos - 1);
    settle(fx);
    assert_int_equal(cairn_slot_disk_append(fx->disk, 0, &e), 0);
    settle(fx);
    assert_int_equal(fx->rc, 0);
    cairn_slot_disk_close(fx->disk);
    assert_int_equal(disk_open(fx), 0);
    assert_int_equal(cairn_slot_disk_end(fx->disk, 0), e.at.pos);
}

static uint64_t written_bytes(struct fixture *fx)
{
    struct cairn_slot_disk_stats stats;

    cairn_slot_disk_stats(fx->disk, &stats);
    return stats.written_bytes;
}

/* @n more bytes of records are on their way to the disk after a few turns, and no others. */
static void expect_written(struct fixture *fx, uint64_t before, uint64_t n)
{
    for (int i = 0; i < 10; i++)
        turn(fx);
    assert_int_equal(written_bytes(fx), before + n);
}

/* What may wait is written with what may not, whichever of the worker's slots that is of, or when enough of it is
 * there, or when it is asked for. */
static void what_may_wait_is_written_with_others(void **state)
{
    enum { LEN = 1000, RECORD = 8 + 56 + LEN, MAX = 64 << 10 };
    struct fixture *fx = *state;
    uint64_t before = written_bytes(fx);
    uint32_t n = 0;

    append_by(fx, 0, LEN, cairn_slot_disk_append_later);
    append_by(fx, 2, LEN, cairn_slot_disk_append_later);
    append_by(fx, 1, LEN, cairn_slot_disk_append_later); /* of the other worker */
    expect_written(fx, before, 0);
    append_by(fx, 4, LEN, cairn_slot_disk_append);
    expect_written(fx, before, 3 * RECORD);
    cairn_slot_disk_write(fx->disk, 0); /* has nothing more */
    expect_written(fx, before, 3 * RECORD);
    cairn_slot_disk_write(fx->disk, 1);
    expect_written(fx, before, 4 * RECORD);
    for (before = written_bytes(fx); n * RECORD < MAX; n++)
        append_by(fx, 0, LEN, cairn_slot_disk_append_later);
    expect_written(fx, before, n * RECORD);
    append_by(fx, 0, LEN, cairn_slot_disk_append_later);
    settle_one(fx, 2); /* a sync of any slot of the worker takes all along */
    assert_int_equal(written_bytes(fx), before + (n + 1) * RECORD);
    append_by(fx, 0, LEN, cairn_slot_disk_append_later);
    again(fx);
}

/* ---- a full disk ---- */

enum { FULL_LEN = 100000, SMALL_BYTES = 23 << 20 };

/* A file of somebody else's takes @bytes of the disk, or is removed. */
static void other_file(const struct fixture *fx, uint64_t bytes)
{
    char path[SCRATCH_MAX + 8];
    int fd;

    snprintf(path, sizeof(path), "%s/other", fx->dir);
    if (bytes == 0) {
        assert_int_equal(unlink(path), 0);
        return;
    }
    fd = open(path, O_WRONLY | O_CREAT, 0600);
    assert_int_equal(posix_fallocate(fd, 0, (off_t)bytes), 0);
    close(fd);
}

static void append_until_full(struct fixture *fx)
{
    for (int i = 0; !cairn_slot_disk_is_full(fx->disk); i++) {
        uint32_t slot = (uint32_t)dice(fx, SLOTS);

        assert_true(i < 100000);
        if (cairn_slot_disk_take_room(fx->disk, slot % LOOPS, 1, FULL_LEN))
            append(fx, slot, FULL_LEN);
        turn(fx);
    }
}

/* Begins anew on a small disk, most of which is somebody else's. */
static void small_disk(struct fixture *fx)
{
    char size[32];

    settle(fx);
    cairn_slot_disk_close(fx->disk);
    snprintf(size, sizeof(size), "size=%d", SMALL_BYTES);
    if (mount("tmpfs", fx->dir, "tmpfs", 0, size) != 0) {
        skip_say("no mount here (%s)", strerror(errno));
        disk_open(fx);
        skip();
    }
    other_file(fx, SMALL_BYTES - 2 * SEGMENT);
    disk_open(fx);
}

/* And appends until the log has no room. */
static void fill(struct fixture *fx)
{
    small_disk(fx);
    append_until_full(fx);
    assert_false(cairn_slot_disk_take_room(fx->disk, 0, 1, 1));
    assert_false(cairn_slot_disk_take_room(fx->disk, 1, 1, 1));
}

/* What was taken is on disk, and answered, though nobody makes room; and what is trimmed makes it. */
static void come_free(struct fixture *fx)
{
    settle(fx);
    assert_int_equal(fx->rc, 0);
    assert_true(cairn_slot_disk_is_full(fx->disk));
    for (uint32_t slot = 0; slot < SLOTS; slot++)
        trim_all(fx, slot);
    while (cairn_slot_disk_is_full(fx->disk)) {
        for (uint32_t w = 0; w < LOOPS; w++)
            cairn_slot_disk_tidy(fx->disk, w);
        turn(fx);
    }
}

static void a_full_log_comes_free_again(void **state)
{
    struct fixture *fx = *state;

    fill(fx);
    for (int round = 0; round < 4; round++) {
        come_free(fx);
        append_until_full(fx);
    }
    other_file(fx, 0);
    again(fx);
}

/* All workers ask before any of what they append is on its way, for as much as may be: nobody uses what is kept for
 * those that do not ask. */
static void all_at_once_leave_what_is_kept(void **state)
{
    struct fixture *fx = *state;

    small_disk(fx);
    for (int round = 0; round < 6; round++) {
        uint32_t len = round % 2 == 0 ? CAIRN_ENTRY_BODY_BYTES_MAX : 1 + (uint32_t)dice(fx, CAIRN_ENTRY_BODY_BYTES_MAX);

        while (!cairn_slot_disk_is_full(fx->disk)) {
            bool has_room[LOOPS];

            for (uint32_t w = 0; w < LOOPS; w++)
                has_room[w] = cairn_slot_disk_take_room(fx->disk, w, 1, len);
            for (uint32_t w = 0; w < LOOPS; w++) {
                if (has_room[w])
                    append(fx, w, len);
            }
            turn(fx);
        }
        come_free(fx);
    }
    other_file(fx, 0);
    again(fx);
}

/* What was taken and not used is there for others in the next turn. */
static void what_is_not_used_is_given_back(void **state)
{
    struct fixture *fx = *state;
    bool taken = true;

    small_disk(fx);
    for (int i = 0; i < 10 && taken; i++)
        taken = cairn_slot_disk_take_room(fx->disk, 0, 1, CAIRN_ENTRY_BODY_BYTES_MAX);
    assert_false(taken);
    assert_false(cairn_slot_disk_take_room(fx->disk, 1, 1, CAIRN_ENTRY_BODY_BYTES_MAX));
    turn(fx);
    assert_true(cairn_slot_disk_take_room(fx->disk, 1, 1, CAIRN_ENTRY_BODY_BYTES_MAX));
    append(fx, 1, CAIRN_ENTRY_BODY_BYTES_MAX);
    other_file(fx, 0);
    again(fx);
}

/* More of each worker than what is kept free for callers that do not ask whether there is room. */
static void overfill(struct fixture *fx)
{
    for (int i = 0; i < LOOPS * SEGMENT / FULL_LEN; i++)
        append(fx, (uint32_t)i % SLOTS, FULL_LEN);
}

/* What was appended waits for room, in its order, and nobody is told of a failure. */
static void a_full_disk_is_waited_for(void **state)
{
    struct fixture *fx = *state;

    fill(fx);
    overfill(fx);
    cairn_slot_disk_sync(fx->disk, 0);
    fx->asked[0]++;
    for (int i = 0; i < 500; i++)
        turn(fx);
    assert_int_equal(fx->synced[0], fx->asked[0] - 1);
    other_file(fx, 0);
    settle(fx);
    assert_int_equal(fx->rc, 0);
    while (cairn_slot_disk_is_full(fx->disk)) {
        cairn_slot_disk_tidy(fx->disk, 0);
        turn(fx);
    }
    append(fx, 3, 10);
    again(fx);
}

static void on_stopped(void *arg)
{
    ++*(uint32_t *)arg;
}

/* A node on a full disk can be stopped. */
static void a_stop_does_not_wait_for_room(void **state)
{
    struct fixture *fx = *state;
    uint32_t stopped = 0;

    fill(fx);
    overfill(fx);
    cairn_slot_disk_sync(fx->disk, 0);
    fx->asked[0]++;
    for (uint32_t w = 0; w < LOOPS; w++)
        cairn_slot_disk_stop(fx->disk, w, on_stopped, &stopped);
    while (stopped < LOOPS)
        turn(fx);
    assert_int_equal(fx->synced[0], fx->asked[0]);
    assert_int_equal(fx->rc, CAIRN_E_NOSPACE);
    cairn_slot_disk_close(fx->disk);
    other_file(fx, 0);
    disk_open(fx); /* what was written has no holes */
}

/* What a follower has appended is with nobody yet when the node ends: it is written, and the stop hears of it. */
static void a_stop_writes_what_waits(void **state)
{
    struct fixture *fx = *state;
    uint32_t stopped = 0;

    append_by(fx, 0, 100, cairn_slot_disk_append_later);
    for (uint32_t w = 0; w < LOOPS; w++)
        cairn_slot_disk_stop(fx->disk, w, on_stopped, &stopped);
    for (int i = 0; stopped < LOOPS; i++) {
        assert_true(i < 50000);
        turn(fx);
    }
    cairn_slot_disk_close(fx->disk);
    disk_open(fx);
    assert_int_equal(cairn_slot_disk_end(fx->disk, 0), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_start_finds_every_log_as_it_was, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_written_survives_the_process, setup, teardown),
        cmocka_unit_test_setup_teardown(all_slots_of_a_node_share_one_commit, setup, teardown),
        cmocka_unit_test_setup_teardown(random_changes_survive_starts, setup, teardown),
        cmocka_unit_test_setup_teardown(what_may_wait_is_written_with_others, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_trimmed_is_given_back, setup, teardown),
        cmocka_unit_test_setup_teardown(an_idle_worker_keeps_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(a_trim_that_is_not_written_frees_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(a_trim_that_is_not_durable_frees_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(a_log_that_is_gone_is_missed, setup, teardown),
        cmocka_unit_test_setup_teardown(a_full_queue_refuses, setup, teardown),
        cmocka_unit_test_setup_teardown(a_full_log_comes_free_again, setup, teardown),
        cmocka_unit_test_setup_teardown(all_at_once_leave_what_is_kept, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_not_used_is_given_back, setup, teardown),
        cmocka_unit_test_setup_teardown(a_full_disk_is_waited_for, setup, teardown),
        cmocka_unit_test_setup_teardown(a_stop_writes_what_waits, setup, teardown),
        cmocka_unit_test_setup_teardown(a_stop_does_not_wait_for_room, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
