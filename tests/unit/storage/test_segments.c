/* The log in segments: what was written is read back; torn tails, damage, old bytes in reused files. */
#include "sdk/core/base/macros.h"
#include "server/storage/segments.h"
#include "tests/lib/scratch.h"
#include "tests/lib/skip.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cmocka.h>

enum { SEGMENT = CAIRN_SEGMENT_BYTES_MIN, PAGE = 4096 };

struct fixture {
    char dir[SCRATCH_MAX];
    struct cairn_segments s;
    struct cairn_segments_found found;
    int dirfd;
    uint64_t seen, next; /* records read back; number that is expected in the next */
};

/* A record is its number, and as many bytes as follow from it. */
enum { LARGEST = 40000 };

static uint32_t body_len(uint64_t number)
{
    return 8 + (uint32_t)(number * 7919 % 30000);
}

static int on_record(void *arg, uint64_t lsn, uint32_t type, const void *body, uint32_t len)
{
    struct fixture *fx = arg;
    const uint8_t *p = body;
    uint64_t number;

    (void)lsn;
    memcpy(&number, p, sizeof(number));
    if (fx->seen == 0)
        fx->next = number;
    assert_int_equal(number, fx->next);
    assert_int_equal(type, number % 5);
    assert_int_equal(len, body_len(number));
    for (uint32_t i = 8; i < len; i++)
        assert_int_equal(p[i], (uint8_t)(number + i));
    fx->next++;
    fx->seen++;
    return 0;
}

static int open_log(struct fixture *fx)
{
    struct cairn_err err = { 0 };

    fx->seen = fx->next = 0;
    return cairn_segments_open(&fx->s, fx->dirfd, SEGMENT, on_record, fx, &fx->found, &err);
}

static int try_add(struct fixture *fx, uint64_t number, uint64_t *lsn)
{
    static uint8_t body[40000];
    struct iovec iov[2] = { { body, 8 }, { body + 8, body_len(number) - 8 } };

    memcpy(body, &number, 8);
    for (uint32_t i = 8; i < body_len(number); i++)
        body[i] = (uint8_t)(number + i);
    return cairn_segments_add(&fx->s, (uint32_t)(number % 5), iov, 2, lsn);
}

static uint64_t add(struct fixture *fx, uint64_t number)
{
    uint64_t lsn;

    assert_int_equal(try_add(fx, number, &lsn), 0);
    return lsn;
}

static int setup(void **state)
{
    struct fixture *fx = calloc(1, sizeof(*fx));

    scratch_new(fx->dir);
    fx->dirfd = open(fx->dir, O_RDONLY | O_DIRECTORY);
    *state = fx;
    return open_log(fx);
}

static int teardown(void **state)
{
    struct fixture *fx = *state;

    cairn_segments_close(&fx->s);
    close(fx->dirfd);
    scratch_remove(fx->dir);
    free(fx);
    return 0;
}

static void again(struct fixture *fx)
{
    cairn_segments_close(&fx->s);
    assert_int_equal(open_log(fx), 0);
}

/* After an open that failed. */
static void begin_anew(struct fixture *fx)
{
    scratch_remove(fx->dir);
    scratch_new(fx->dir);
    close(fx->dirfd);
    fx->dirfd = open(fx->dir, O_RDONLY | O_DIRECTORY);
    assert_int_equal(open_log(fx), 0);
}

/* The last record, torn: its last bytes never came to the disk. */
static void tear(struct fixture *fx, uint64_t lsn)
{
    const struct cairn_segment *seg = &fx->s.all[fx->s.n - 1];
    uint64_t at = PAGE + lsn - seg->first;

    assert_int_equal(pwrite(seg->fd, "torn", 4, (off_t)at + 20), 4);
}

static void what_was_written_is_read_back(void **state)
{
    struct fixture *fx = *state;
    uint64_t number = 0;

    assert_int_equal(fx->found.records, 0);
    for (int life = 0; life < 4; life++) {
        for (int i = 0; i < 600; i++) {
            add(fx, number++);
            if (i % 50 == 0)
                assert_int_equal(cairn_segments_write(&fx->s), 0);
        }
        assert_int_equal(cairn_segments_write(&fx->s), 0);
        assert_int_equal(cairn_segments_sync(&fx->s), 0);
        again(fx);
        assert_int_equal(fx->seen, number);
    }
    assert_true(fx->s.n > 8); /* it went through several segments */
}

static void what_was_not_written_is_gone(void **state)
{
    struct fixture *fx = *state;

    add(fx, 0);
    assert_int_equal(cairn_segments_write(&fx->s), 0);
    add(fx, 1);
    again(fx);
    assert_int_equal(fx->seen, 1);
}

/* A crash tears the tail: it is cut off, and whole records behind the tear never come to life. */
static void torn_tail_is_cut_off(void **state)
{
    struct fixture *fx = *state;
    uint64_t lsn;

    for (uint64_t i = 0; i < 10; i++)
        add(fx, i);
    assert_int_equal(cairn_segments_write(&fx->s), 0);
    assert_int_equal(cairn_segments_sync(&fx->s), 0);
    lsn = add(fx, 10);
    add(fx, 11);
    assert_int_equal(cairn_segments_write(&fx->s), 0);
    tear(fx, lsn);
    again(fx);
    assert_int_equal(fx->seen, 10);
    assert_true(fx->found.torn);
    add(fx, 10); /* of the same length as the torn one: 11 stands right behind it in the old file */
    assert_int_equal(cairn_segments_write(&fx->s), 0);
    again(fx);
    assert_int_equal(fx->seen, 11);
}

/* The same at the very beginning of a segment, which is begun again under the same name. */
static void torn_first_record_is_void(void **state)
{
    struct fixture *fx = *state;
    uint64_t lsn = add(fx, 0);

    add(fx, 1);
    assert_int_equal(cairn_segments_write(&fx->s), 0);
    tear(fx, lsn);
    again(fx);
    assert_int_equal(fx->seen, 0);
    add(fx, 0);
    assert_int_equal(cairn_segments_write(&fx->s), 0);
    again(fx);
    assert_int_equal(fx->seen, 1);
}

/* What a later record vouches for was on disk: that it cannot be read is damage, and is not passed over. */
static void damage_is_told_from_a_torn_tail(void **state)
{
    struct fixture *fx = *state;
    uint64_t lsn = add(fx, 0);

    add(fx, 1);
    assert_int_equal(cairn_segments_write(&fx->s), 0);
    assert_int_equal(cairn_segments_sync(&fx->s), 0);
    add(fx, 2);
    assert_int_equal(cairn_segments_write(&fx->s), 0);
    tear(fx, lsn);
    cairn_segments_close(&fx->s);
    assert_int_equal(open_log(fx), CAIRN_E_CORRUPT);
    begin_anew(fx);
}

static void a_missing_segment_is_damage(void **state)
{
    struct fixture *fx = *state;
    char name[32];

    for (uint64_t i = 0; i < 900; i++)
        add(fx, i);
    assert_int_equal(cairn_segments_write(&fx->s), 0);
    assert_true(fx->s.n >= 3);
    snprintf(name, sizeof(name), "seg-%016llx", (unsigned long long)fx->s.all[1].first);
    assert_int_equal(unlinkat(fx->dirfd, name, 0), 0);
    cairn_segments_close(&fx->s);
    assert_int_equal(open_log(fx), CAIRN_E_CORRUPT);
    begin_anew(fx);
}

/* Released segments are used again, and nothing of what they held comes back. */
static void released_segments_are_used_again(void **state)
{
    struct fixture *fx = *state;
    uint64_t lsns[6000], number = 0;

    for (int round = 0; round < 10; round++) {
        for (int i = 0; i < 600; i++, number++)
            lsns[number] = add(fx, number);
        assert_int_equal(cairn_segments_write(&fx->s), 0);
        cairn_segments_release(&fx->s, lsns[number - 300]);
        assert_true(fx->s.n <= 4);
        again(fx);
        assert_true(fx->seen >= 300 && fx->seen < 1200);
        assert_int_equal(fx->next, number);
    }
}

/* ---- a full disk ---- */

enum { DISK_MIB = 11 }; /* two segments, and not three */

/* Continues on a small disk of its own, with a file of somebody else's that takes a segment's room. */
static bool small_disk(struct fixture *fx)
{
    char size[32];
    int fd;

    cairn_segments_close(&fx->s);
    close(fx->dirfd);
    snprintf(size, sizeof(size), "size=%dm", DISK_MIB);
    if (mount("tmpfs", fx->dir, "tmpfs", 0, size) != 0) {
        skip_say("no mount here (%s)", strerror(errno));
        fx->dirfd = open(fx->dir, O_RDONLY | O_DIRECTORY);
        assert_int_equal(open_log(fx), 0);
        return false;
    }
    fx->dirfd = open(fx->dir, O_RDONLY | O_DIRECTORY);
    fd = openat(fx->dirfd, "other", O_WRONLY | O_CREAT, 0600);
    assert_int_equal(posix_fallocate(fd, 0, SEGMENT), 0);
    close(fd);
    assert_int_equal(open_log(fx), 0);
    return true;
}

static uint64_t add_until_full(struct fixture *fx, uint64_t number)
{
    while (try_add(fx, number, &(uint64_t){ 0 }) == 0)
        number++;
    return number;
}

static uint64_t disk_free(struct fixture *fx)
{
    struct statvfs vfs;

    assert_int_equal(fstatvfs(fx->dirfd, &vfs), 0);
    return vfs.f_bfree * vfs.f_frsize;
}

/* No room for another segment: the log stays as it was, keeps its promises, and goes on when there is. */
static void a_full_disk_leaves_the_log_as_it_was(void **state)
{
    struct fixture *fx = *state;
    uint64_t number, before, lsn;

    if (!small_disk(fx))
        skip();
    before = disk_free(fx);
    number = add_until_full(fx, 0);
    assert_true(number > 100);
    assert_int_equal(try_add(fx, number, &lsn), CAIRN_E_NOSPACE);
    assert_int_equal(disk_free(fx), before); /* what there is of it is for others */
    assert_int_equal(cairn_segments_write(&fx->s), 0);
    assert_int_equal(cairn_segments_sync(&fx->s), 0);
    assert_int_equal(try_add(fx, number, &lsn), CAIRN_E_NOSPACE);
    assert_int_equal(unlinkat(fx->dirfd, "other", 0), 0);
    add(fx, number++);
    number = add_until_full(fx, number);
    assert_int_equal(fx->s.n, 2);
    assert_int_equal(cairn_segments_write(&fx->s), 0);
    cairn_segments_release(&fx->s, fx->s.all[1].first); /* and what is given up is room, too */
    before = number;
    add(fx, number++);
    number = add_until_full(fx, number);
    assert_true(number > before + 100);
    assert_int_equal(cairn_segments_write(&fx->s), 0);
    cairn_segments_release(&fx->s, fx->s.all[1].first);
    again(fx);
    assert_int_equal(fx->next, number);
}

/* What is said to have room has it, whatever becomes of the disk meanwhile; and what is given up is set aside anew. */
static void a_segment_is_set_aside(void **state)
{
    struct fixture *fx = *state;
    uint64_t number = 0, room, lsn;

    if (!small_disk(fx))
        skip();
    assert_int_equal(unlinkat(fx->dirfd, "other", 0), 0);
    assert_in_range(cairn_segments_room(&fx->s, LARGEST), SEGMENT / 2, SEGMENT);
    assert_int_equal(cairn_segments_reserve(&fx->s), 0);
    room = cairn_segments_room(&fx->s, LARGEST);
    assert_in_range(room, SEGMENT * 3 / 2, 2 * SEGMENT);
    assert_true(disk_free(fx) < SEGMENT);
    for (int round = 0; round < 3; round++) {
        for (uint64_t left = room; left >= cairn_segment_record_bytes(body_len(number)); number++) {
            left -= cairn_segment_record_bytes(body_len(number));
            add(fx, number);
        }
        assert_true(cairn_segments_room(&fx->s, LARGEST) <= 2 * LARGEST);
        assert_int_equal(cairn_segments_reserve(&fx->s), CAIRN_E_NOSPACE);
        number = add_until_full(fx, number);
        assert_int_equal(try_add(fx, number, &lsn), CAIRN_E_NOSPACE);
        assert_int_equal(cairn_segments_write(&fx->s), 0);
        cairn_segments_release(&fx->s, cairn_segments_newest(&fx->s));
        assert_int_equal(cairn_segments_reserve(&fx->s), 0);
        room = cairn_segments_room(&fx->s, LARGEST);
        assert_in_range(room, SEGMENT / 2, 2 * SEGMENT);
    }
    again(fx);
    assert_int_equal(fx->next, number);
}

/* Bounds of a start: any byte of the newest segment may be anything. Records in front of the first that is not what
 * it was are kept, whole (on_record() looks); without a later one that vouches for it, it is a torn tail. */
static void hostile_bytes_are_refused_or_cut(void **state)
{
    struct fixture *fx = *state;
    uint64_t seed = 42;
    int kept = 0, refused = 0;

    for (int round = 0; round < 60; round++) {
        const struct cairn_segment *seg = &fx->s.all[fx->s.n - 1];
        uint64_t before = fx->seen, ends[12], first_bad = UINT64_MAX, whole = 0;
        bool vouched = round % 3 == 0; /* the last record, and only that, is after a sync of the others */
        int fd, rc;

        for (uint64_t i = 0; i < ARRAY_SIZE(ends); i++) {
            if (vouched && i + 1 == ARRAY_SIZE(ends)) {
                assert_int_equal(cairn_segments_write(&fx->s), 0);
                assert_int_equal(cairn_segments_sync(&fx->s), 0);
            }
            add(fx, fx->next++);
            ends[i] = fx->s.end - seg->first;
        }
        assert_int_equal(cairn_segments_write(&fx->s), 0);
        fd = dup(seg->fd);
        cairn_segments_close(&fx->s);
        for (int i = 0; i < 3; i++) {
            uint64_t at;

            seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407;
            at = (seed >> 33) % 400000;
            assert_int_equal(pwrite(fd, &seed, 8, PAGE + (off_t)at), 8);
            first_bad = MIN(first_bad, at);
        }
        close(fd);
        while (whole < ARRAY_SIZE(ends) && ends[whole] <= first_bad)
            whole++;
        rc = open_log(fx);
        if (vouched && whole + 1 < ARRAY_SIZE(ends) && rc != 0) {
            assert_int_equal(rc, CAIRN_E_CORRUPT);
            refused++;
            begin_anew(fx);
            continue;
        }
        assert_int_equal(rc, 0);
        assert_int_equal(fx->seen, before + whole);
        kept += whole < ARRAY_SIZE(ends);
    }
    assert_true(kept > 10 && refused > 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_was_written_is_read_back, setup, teardown),
        cmocka_unit_test_setup_teardown(what_was_not_written_is_gone, setup, teardown),
        cmocka_unit_test_setup_teardown(torn_tail_is_cut_off, setup, teardown),
        cmocka_unit_test_setup_teardown(torn_first_record_is_void, setup, teardown),
        cmocka_unit_test_setup_teardown(damage_is_told_from_a_torn_tail, setup, teardown),
        cmocka_unit_test_setup_teardown(a_missing_segment_is_damage, setup, teardown),
        cmocka_unit_test_setup_teardown(released_segments_are_used_again, setup, teardown),
        cmocka_unit_test_setup_teardown(a_full_disk_leaves_the_log_as_it_was, setup, teardown),
        cmocka_unit_test_setup_teardown(a_segment_is_set_aside, setup, teardown),
        cmocka_unit_test_setup_teardown(hostile_bytes_are_refused_or_cut, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
