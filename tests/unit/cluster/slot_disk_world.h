/* The slot logs of a node on one device, with a model of what is in them: test_slot_disk*.c. */
#ifndef CAIRN_TESTS_UNIT_SLOT_DISK_WORLD_H
#define CAIRN_TESTS_UNIT_SLOT_DISK_WORLD_H

#include "server/cluster/repl/slot_disk.h"
#include "tests/lib/patience.h"
#include "tests/lib/scratch.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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
    struct cairn_slot_disk_conf conf;
    struct cairn_slot_disk *disk;
    struct model model[SLOTS];
    uint32_t asked[SLOTS], synced[SLOTS];
    struct cairn_at written[SLOTS];
    int rc;
    uint64_t random;
    uint8_t *body;
};

static inline uint64_t dice(struct fixture *fx, uint64_t n)
{
    fx->random = fx->random * UINT64_C(6364136223846793005) + 1442695040888963407;
    return (fx->random >> 33) % n;
}

static inline void on_synced(void *arg, uint32_t slot, int rc)
{
    struct fixture *fx = arg;

    fx->synced[slot]++;
    fx->rc = rc;
}

/* Another process that starts now finds it, though nothing was synced. */
static inline void on_written(void *arg, uint32_t slot, struct cairn_at end, int rc)
{
    struct fixture *fx = arg;
    struct cairn_slot_disk *other;
    char copy[SCRATCH_MAX], cmd[2 * SCRATCH_MAX + 32];
    struct cairn_slot_disk_conf conf = fx->conf;
    struct cairn_err err = { 0 };

    conf.dir = copy;
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

static inline int disk_open(struct fixture *fx)
{
    struct cairn_err err = { 0 };

    if (cairn_slot_disk_open(&fx->conf, &fx->disk, &err) != 0)
        fail_msg("%s", err.text);
    return 0;
}

static inline int setup(void **state)
{
    struct fixture *fx = calloc(1, sizeof(*fx));

    scratch_new(fx->dir);
    fx->random = getenv("CAIRN_SEED") != NULL ? strtoull(getenv("CAIRN_SEED"), NULL, 10) : 7;
    fx->body = calloc(1, CAIRN_ENTRY_BODY_BYTES_MAX);
    for (int i = 0; i < LOOPS; i++) {
        assert_int_equal(cairn_loop_init(&fx->loop[i], NULL, NULL), 0);
        fx->loops[i] = &fx->loop[i];
    }
    fx->conf = (struct cairn_slot_disk_conf){ .dir = fx->dir,
                                              .loops = fx->loops,
                                              .nloops = LOOPS,
                                              .nslots = SLOTS,
                                              .segment_bytes = SEGMENT,
                                              .queue_bytes = 8 << 20,
                                              .synced = on_synced,
                                              .written = on_written,
                                              .arg = fx };
    *state = fx;
    return disk_open(fx);
}

static inline void turn(struct fixture *fx)
{
    for (int i = 0; i < LOOPS; i++)
        cairn_loop_turn(&fx->loop[i], CAIRN_NS_PER_MS / 5);
}

static inline void ask(struct fixture *fx, uint32_t slot)
{
    cairn_slot_disk_sync(fx->disk, slot);
    fx->asked[slot]++;
}

/* What all slots have appended is on disk, or has failed: @fx->rc. */
static inline void settle(struct fixture *fx)
{
    for (uint32_t slot = 0; slot < SLOTS; slot++)
        ask(fx, slot);
    for (uint32_t slot = 0; slot < SLOTS; slot++) {
        WHILE_PATIENT (fx->synced[slot] < fx->asked[slot])
            turn(fx);
    }
}

/* What one slot has appended, and nothing else. */
static inline void settle_one(struct fixture *fx, uint32_t slot)
{
    ask(fx, slot);
    WHILE_PATIENT (fx->synced[slot] < fx->asked[slot])
        turn(fx);
}

static inline int teardown(void **state)
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

static inline void append_by(struct fixture *fx, uint32_t slot, uint32_t len,
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

static inline void append(struct fixture *fx, uint32_t slot, uint32_t len)
{
    append_by(fx, slot, len, dice(fx, 3) == 0 ? cairn_slot_disk_append_later : cairn_slot_disk_append);
}

static inline void check(struct fixture *fx)
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

static inline void again(struct fixture *fx)
{
    settle(fx);
    cairn_slot_disk_close(fx->disk);
    assert_int_equal(disk_open(fx), 0);
    check(fx);
}

static inline void tidy(struct fixture *fx)
{
    for (uint32_t w = 0; w < LOOPS; w++)
        cairn_slot_disk_tidy(fx->disk, w);
}

/* What @slot's log has up to @pos is in a checkpoint. */
static inline void trim(struct fixture *fx, uint32_t slot, uint64_t pos)
{
    struct model *m = &fx->model[slot];

    assert_int_equal(cairn_slot_disk_trim(fx->disk, slot, pos), 0);
    m->base = (struct cairn_at){ .epoch = m->epoch[pos], .pos = pos };
}

static inline void trim_all(struct fixture *fx, uint32_t slot)
{
    trim(fx, slot, fx->model[slot].end);
}

static inline uint32_t segments_count(const struct fixture *fx)
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

static inline void on_stopped(void *arg)
{
    ++*(uint32_t *)arg;
}

static inline void stop(struct fixture *fx)
{
    uint32_t stopped = 0;

    for (uint32_t w = 0; w < LOOPS; w++)
        cairn_slot_disk_stop(fx->disk, w, on_stopped, &stopped);
    WHILE_PATIENT (stopped < LOOPS)
        turn(fx);
}

#endif
