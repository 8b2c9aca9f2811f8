/* The slot logs of a node on one device, against a model of them: what was written is there after a start. */
#include "tests/unit/cluster/slot_disk_world.h"

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
            WHILE_PATIENT (fx->written[slot].pos < cairn_slot_disk_end(fx->disk, slot))
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
                if (m->end > m->base.pos)
                    trim(fx, slot, m->base.pos + 1 + dice(fx, m->end - m->base.pos));
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
        tidy(fx);
        if (round % 3 == 0)
            again(fx);
    }
    again(fx);
}

/* A log that was begun and is not there any more is not begun again: nothing is made in its place, at no start. */
static void a_log_that_is_gone_is_missed(void **state)
{
    struct fixture *fx = *state;
    struct cairn_slot_disk_conf conf = fx->conf;
    char path[SCRATCH_MAX + 32];
    struct cairn_slot_disk *d;
    struct cairn_err err = { 0 };

    conf.used = true;
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

/* What a follower has appended is with nobody yet when the node ends: it is written, and the stop hears of it. */
static void a_stop_writes_what_waits(void **state)
{
    struct fixture *fx = *state;

    append_by(fx, 0, 100, cairn_slot_disk_append_later);
    stop(fx);
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
        cmocka_unit_test_setup_teardown(a_log_that_is_gone_is_missed, setup, teardown),
        cmocka_unit_test_setup_teardown(a_full_queue_refuses, setup, teardown),
        cmocka_unit_test_setup_teardown(a_stop_writes_what_waits, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
