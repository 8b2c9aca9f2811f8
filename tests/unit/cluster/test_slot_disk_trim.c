/* The slot logs of a node on one device: what is not needed any more is given back, and nothing that is needed. */
#include "tests/lib/disk_faults.h"
#include "tests/unit/cluster/slot_disk_world.h"

#include <errno.h>

/* The disk holds what is needed and little more, though slots lie idle for long and only one is written to. */
static void what_is_trimmed_is_given_back(void **state)
{
    struct fixture *fx = *state;
    struct cairn_slot_disk_stats stats;

    for (uint32_t slot = 0; slot < SLOTS; slot++) {
        append(fx, slot, 100);
        append(fx, slot, 100);
        trim(fx, slot, 1 + slot % 2); /* some keep an entry, some none */
    }
    for (int i = 0; i < 200; i++) {
        for (uint32_t slot = 0; slot < SLOTS; slot += 2) { /* they move on, slowly, all but the idle ones */
            if (slot == 0 || i % 50 == 0)
                append(fx, slot, slot == 0 ? 250000 : 10);
            if (fx->model[slot].end > fx->model[slot].base.pos)
                trim_all(fx, slot);
        }
        settle(fx);
        tidy(fx);
    }
    settle(fx);
    cairn_slot_disk_stats(fx->disk, &stats);
    assert_true(stats.written_bytes > 45000000);
    assert_true(stats.disk_bytes < 30000000);
    assert_int_equal(stats.entries, 0);
    again(fx);
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
            tidy(fx);
        }
        cairn_slot_disk_stats(fx->disk, &stats);
        assert_true(stats.written_bytes > 25000000);
        assert_in_range(stats.disk_bytes, 1, 3 * SEGMENT);
    }
    again(fx);
}

/* ---- what says where a log begins ---- */

/* Slot 0's log in several segments, all but its last entries not needed any more; the others' logs are empty. */
static void trim_most(struct fixture *fx)
{
    for (int i = 0; i < 60; i++) {
        append(fx, 0, 250000);
        if (i % 10 == 9)
            settle(fx);
    }
    tidy(fx);
    settle(fx);
    assert_true(segments_count(fx) >= 4);
    trim(fx, 0, fx->model[0].end - 2);
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
        ask(fx, 1);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_is_trimmed_is_given_back, setup, teardown),
        cmocka_unit_test_setup_teardown(an_idle_worker_keeps_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(a_trim_that_is_not_written_frees_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(a_trim_that_is_not_durable_frees_nothing, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
