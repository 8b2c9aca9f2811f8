/* The slot logs of a node on one device, which is full. */
#include "tests/lib/skip.h"
#include "tests/unit/cluster/slot_disk_world.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mount.h>

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
    WHILE_PATIENT (cairn_slot_disk_is_full(fx->disk)) {
        tidy(fx);
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

        WHILE_PATIENT (!cairn_slot_disk_is_full(fx->disk)) {
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
    ask(fx, 0);
    for (int i = 0; i < 500; i++)
        turn(fx);
    assert_int_equal(fx->synced[0], fx->asked[0] - 1);
    other_file(fx, 0);
    settle(fx);
    assert_int_equal(fx->rc, 0);
    WHILE_PATIENT (cairn_slot_disk_is_full(fx->disk)) {
        cairn_slot_disk_tidy(fx->disk, 0);
        turn(fx);
    }
    append(fx, 3, 10);
    again(fx);
}

/* A node on a full disk can be stopped. */
static void a_stop_does_not_wait_for_room(void **state)
{
    struct fixture *fx = *state;

    fill(fx);
    overfill(fx);
    ask(fx, 0);
    stop(fx);
    assert_int_equal(fx->synced[0], fx->asked[0]);
    assert_int_equal(fx->rc, CAIRN_E_NOSPACE);
    cairn_slot_disk_close(fx->disk);
    other_file(fx, 0);
    disk_open(fx); /* what was written has no holes */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_full_log_comes_free_again, setup, teardown),
        cmocka_unit_test_setup_teardown(all_at_once_leave_what_is_kept, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_not_used_is_given_back, setup, teardown),
        cmocka_unit_test_setup_teardown(a_full_disk_is_waited_for, setup, teardown),
        cmocka_unit_test_setup_teardown(a_stop_does_not_wait_for_room, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
