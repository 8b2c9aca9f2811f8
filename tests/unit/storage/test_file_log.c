/* The record log: what a crash may leave behind, byte by byte, and what no crash leaves. */
#include "server/storage/file_log.h"

#include "sdk/core/base/macros.h"
#include "server/storage/file_io.h"
#include "tests/lib/disk_faults.h"
#include "tests/lib/scratch.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum { SEEN_MAX = 64 };

struct fixture {
    char dir[SCRATCH_MAX];
    int dirfd;
    struct cairn_file_log log;
    uint32_t n;
    struct {
        uint32_t type, len;
        uint8_t body[256];
    } seen[SEEN_MAX];
};

static int setup(void **state)
{
    struct fixture *fx = calloc(1, sizeof(*fx));

    scratch_new(fx->dir);
    fx->dirfd = open(fx->dir, O_RDONLY | O_DIRECTORY);
    *state = fx;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fx = *state;

    close(fx->dirfd);
    scratch_remove(fx->dir);
    free(fx);
    return 0;
}

static int on_record(void *arg, uint32_t type, const void *body, uint32_t len)
{
    struct fixture *fx = arg;

    assert_true(fx->n < SEEN_MAX && len <= sizeof(fx->seen[0].body));
    fx->seen[fx->n].type = type;
    fx->seen[fx->n].len = len;
    memcpy(fx->seen[fx->n++].body, body, len);
    return 0;
}

static struct cairn_file_log_found open_log(struct fixture *fx)
{
    struct cairn_file_log_found found;
    struct cairn_err err = { 0 };

    fx->n = 0;
    if (cairn_file_log_open(&fx->log, fx->dirfd, "log", on_record, fx, &found, &err) != 0)
        fail_msg("%s", err.text);
    return found;
}

static void add(struct fixture *fx, uint32_t type, uint32_t len, uint8_t fill)
{
    uint8_t body[256];
    struct iovec v[2] = { { body, len / 2 }, { body + len / 2, len - len / 2 } };

    memset(body, fill, sizeof(body));
    assert_int_equal(cairn_file_log_add(&fx->log, type, v, 2, false), 0);
}

static uint8_t *slurp(struct fixture *fx, uint64_t *len)
{
    int fd = openat(fx->dirfd, "log", O_RDONLY);
    struct stat st;
    uint8_t *p;

    fstat(fd, &st);
    p = malloc((size_t)st.st_size);
    assert_int_equal(cairn_file_pread(fd, p, (uint64_t)st.st_size, 0), 0);
    close(fd);
    *len = (uint64_t)st.st_size;
    return p;
}

static void spill(struct fixture *fx, const uint8_t *p, uint64_t len)
{
    int fd = openat(fx->dirfd, "log", O_WRONLY | O_TRUNC);

    assert_int_equal(cairn_file_pwrite(fd, p, len, 0), 0);
    close(fd);
}

static void records_come_back(void **state)
{
    struct fixture *fx = *state;
    struct cairn_file_log_found found;

    open_log(fx);
    for (uint32_t i = 0; i < 20; i++) {
        add(fx, i, i * 5, (uint8_t)i);
        if (i % 3 == 0)
            assert_int_equal(cairn_file_log_write(&fx->log), 0);
        if (i % 6 == 0)
            assert_int_equal(cairn_file_log_sync(&fx->log), 0);
    }
    assert_int_equal(cairn_file_log_write(&fx->log), 0);
    add(fx, 99, 8, 1); /* never written: never there */
    cairn_file_log_close(&fx->log);
    for (int again = 0; again < 2; again++) {
        found = open_log(fx);
        assert_int_equal(found.records, 20);
        assert_int_equal(found.torn_bytes, 0);
        assert_int_equal(found.damaged_bytes, 0);
        for (uint32_t i = 0; i < 20; i++) {
            assert_int_equal(fx->seen[i].type, i);
            assert_int_equal(fx->seen[i].len, i * 5);
            for (uint32_t j = 0; j < i * 5; j++)
                assert_int_equal(fx->seen[i].body[j], i);
        }
        cairn_file_log_close(&fx->log);
    }
}

/* The last group is torn at every byte in turn, with zeros or with noise behind: what was synced before is there, what
 * is whole of the rest may be, and the log goes on from there. */
static void torn_tails_are_cut_off(void **state)
{
    struct fixture *fx = *state;
    uint64_t synced, end, len;
    uint8_t *whole, *torn;

    open_log(fx);
    for (uint32_t i = 0; i < 4; i++)
        add(fx, i, 30, (uint8_t)i);
    assert_int_equal(cairn_file_log_write(&fx->log), 0);
    assert_int_equal(cairn_file_log_sync(&fx->log), 0);
    synced = fx->log.end;
    for (uint32_t i = 4; i < 7; i++)
        add(fx, i, 20, (uint8_t)(0x80 + i));
    assert_int_equal(cairn_file_log_write(&fx->log), 0);
    end = fx->log.end;
    cairn_file_log_close(&fx->log);
    whole = slurp(fx, &len);
    torn = malloc(len);
    for (int noise = 0; noise < 2; noise++) {
        for (uint64_t cut = synced; cut < end; cut++) {
            struct cairn_file_log_found found;
            uint32_t kept;

            memcpy(torn, whole, len);
            memset(torn + cut, noise ? 0xa5 : 0, end - cut);
            spill(fx, torn, len);
            found = open_log(fx);
            assert_int_equal(found.damaged_bytes, 0);
            kept = fx->n;
            assert_in_range(kept, 4, 7); /* 7: only padding was torn */
            assert_int_equal(found.torn_bytes > 0,
                             noise || memcmp(torn + fx->log.end, whole + end, end - fx->log.end) != 0);
            add(fx, 42, 50, 7);
            assert_int_equal(cairn_file_log_write(&fx->log), 0);
            cairn_file_log_close(&fx->log);
            open_log(fx);
            assert_int_equal(fx->n, kept + 1);
            assert_int_equal(fx->seen[kept].type, 42);
            cairn_file_log_close(&fx->log);
        }
    }
    free(whole);
    free(torn);
}

/* Of a group that was not synced the disk may have kept the end without the beginning: it stays lost, for good. */
static void a_tail_with_a_hole_does_not_come_to_life(void **state)
{
    struct fixture *fx = *state;
    struct cairn_file_log_found found;
    uint64_t first, len;
    uint8_t *p;

    open_log(fx);
    add(fx, 1, 24, 1);
    assert_int_equal(cairn_file_log_write(&fx->log), 0);
    assert_int_equal(cairn_file_log_sync(&fx->log), 0);
    first = fx->log.end;
    add(fx, 2, 24, 2);
    add(fx, 3, 24, 3);
    assert_int_equal(cairn_file_log_write(&fx->log), 0);
    cairn_file_log_close(&fx->log);
    p = slurp(fx, &len);
    memset(p + first, 0, 56);
    spill(fx, p, len);
    free(p);
    found = open_log(fx);
    assert_int_equal(fx->n, 1);
    assert_int_equal(found.damaged_bytes, 0);
    assert_true(found.torn_bytes > 0);
    add(fx, 9, 24, 9); /* exactly as long as what was lost before the survivor */
    assert_int_equal(cairn_file_log_write(&fx->log), 0);
    cairn_file_log_close(&fx->log);
    open_log(fx);
    assert_int_equal(fx->n, 2);
    assert_int_equal(fx->seen[1].type, 9);
    cairn_file_log_close(&fx->log);
}

/* A flipped bit in what was durable is told apart from a crash, wherever it is, and the other records are read. */
static void damage_is_reported(void **state)
{
    struct fixture *fx = *state;
    uint64_t len, end;
    uint8_t *p;

    open_log(fx);
    for (uint32_t i = 0; i < 6; i++) {
        add(fx, i, 16, (uint8_t)i);
        assert_int_equal(cairn_file_log_write(&fx->log), 0);
        assert_int_equal(cairn_file_log_sync(&fx->log), 0);
    }
    end = fx->log.end;
    cairn_file_log_close(&fx->log);
    p = slurp(fx, &len);
    for (uint64_t at = 64; at < end - 48; at++) { /* all but the last, for which nothing vouches */
        struct cairn_file_log_found found;

        p[at] ^= 0x04;
        spill(fx, p, len);
        found = open_log(fx);
        assert_int_equal(fx->n, 5);
        assert_int_equal(found.damaged_bytes, 48);
        assert_int_equal(found.damaged_at, 64 + (at - 64) / 48 * 48);
        cairn_file_log_close(&fx->log);
        p[at] ^= 0x04;
    }
    free(p);
}

static void strange_files_are_refused(void **state)
{
    struct fixture *fx = *state;
    struct cairn_file_log_found found;
    uint64_t len;
    uint8_t *p;

    open_log(fx);
    cairn_file_log_close(&fx->log);
    p = slurp(fx, &len);
    p[8] ^= 1; /* the version, without its checksum */
    spill(fx, p, len);
    assert_int_equal(cairn_file_log_open(&fx->log, fx->dirfd, "log", on_record, fx, &found, NULL), CAIRN_E_CORRUPT);
    spill(fx, p, 10);
    assert_int_equal(cairn_file_log_open(&fx->log, fx->dirfd, "log", on_record, fx, &found, NULL), CAIRN_E_CORRUPT);
    spill(fx, p, 0);
    assert_int_equal(cairn_file_log_open(&fx->log, fx->dirfd, "log", on_record, fx, &found, NULL), CAIRN_E_CORRUPT);
    free(p);
}

static int refuse_record(void *arg, uint32_t type, const void *body, uint32_t len)
{
    (void)arg, (void)type, (void)body, (void)len;
    return CAIRN_E_CORRUPT;
}

/* The text is that of this error, whatever was there before. */
static void a_refused_record_is_named(void **state)
{
    struct fixture *fx = *state;
    struct cairn_file_log_found found;
    struct cairn_err err = { .code = CAIRN_E_BUSY, .text = "of something else" };

    open_log(fx);
    add(fx, 1, 8, 1);
    assert_int_equal(cairn_file_log_write(&fx->log), 0);
    cairn_file_log_close(&fx->log);
    assert_int_equal(cairn_file_log_open(&fx->log, fx->dirfd, "log", refuse_record, NULL, &found, &err),
                     CAIRN_E_CORRUPT);
    assert_int_equal(err.code, CAIRN_E_CORRUPT);
    assert_non_null(strstr(err.text, "log: "));
}

static void a_rewrite_replaces_it_whole(void **state)
{
    struct fixture *fx = *state;
    struct cairn_file_log fresh;
    struct iovec v = { "kept", 4 };

    open_log(fx);
    for (uint32_t i = 0; i < 10; i++)
        add(fx, i, 100, 1);
    assert_int_equal(cairn_file_log_write(&fx->log), 0);
    assert_int_equal(cairn_file_log_rewrite_begin(&fx->log, &fresh), 0);
    assert_int_equal(cairn_file_log_add(&fresh, 77, &v, 1, true), 0);
    cairn_file_log_rewrite_abort(&fresh); /* as if the disk were full */
    assert_int_equal(cairn_file_log_rewrite_begin(&fx->log, &fresh), 0);
    assert_int_equal(cairn_file_log_add(&fresh, 78, &v, 1, true), 0);
    assert_int_equal(cairn_file_log_rewrite_commit(&fx->log, &fresh), 0);
    add(fx, 79, 8, 2);
    assert_int_equal(cairn_file_log_write(&fx->log), 0);
    cairn_file_log_close(&fx->log);
    open_log(fx);
    assert_int_equal(fx->n, 2);
    assert_int_equal(fx->seen[0].type, 78);
    assert_memory_equal(fx->seen[0].body, "kept", 4);
    assert_int_equal(fx->seen[1].type, 79);
    cairn_file_log_close(&fx->log);
}

static int count_record(void *arg, uint32_t type, const void *body, uint32_t len)
{
    (void)body;
    assert_int_equal(type, 5);
    assert_int_equal(len, 100000);
    ((struct fixture *)arg)->n++;
    return 0;
}

/* The directory cannot be made durable: no start is sure to find the new log, so nothing more is promised. */
static void a_rewrite_that_may_be_lost(void **state)
{
    struct fixture *fx = *state;
    struct cairn_file_log fresh;
    int dirfd = open(fx->dir, O_PATH | O_DIRECTORY); /* which fsync() refuses */

    open_log(fx);
    add(fx, 1, 8, 1);
    assert_int_equal(cairn_file_log_write(&fx->log), 0);
    fx->log.dirfd = dirfd;
    assert_int_equal(cairn_file_log_rewrite_begin(&fx->log, &fresh), 0);
    assert_int_equal(cairn_file_log_add(&fresh, 2, NULL, 0, true), 0);
    assert_int_equal(cairn_file_log_rewrite_commit(&fx->log, &fresh), CAIRN_E_UNKNOWN);
    assert_int_equal(cairn_file_log_add(&fx->log, 3, NULL, 0, true), CAIRN_E_IO);
    assert_int_equal(cairn_file_log_sync(&fx->log), CAIRN_E_IO);
    cairn_file_log_close(&fx->log);
    close(dirfd);
    open_log(fx);
    assert_int_equal(fx->n, 1);
    assert_int_equal(fx->seen[0].type, 2);
    cairn_file_log_close(&fx->log);
}

/* The file grows by itself, records of any size included, and only what frees space may use the last room. */
static void it_grows(void **state)
{
    struct fixture *fx = *state;
    uint8_t *big = calloc(1, 100000);
    struct iovec v = { big, 100000 };
    struct cairn_file_log_found found;
    uint64_t room;

    open_log(fx);
    room = fx->log.room;
    for (int i = 0; i < 30; i++) {
        assert_int_equal(cairn_file_log_add(&fx->log, 5, &v, 1, false), 0);
        assert_int_equal(cairn_file_log_write(&fx->log), 0);
        assert_true(fx->log.end + CAIRN_FILE_LOG_RESERVE_BYTES <= fx->log.room);
    }
    assert_true(fx->log.room > room);
    cairn_file_log_close(&fx->log);
    free(big);
    fx->n = 0;
    assert_int_equal(cairn_file_log_open(&fx->log, fx->dirfd, "log", count_record, fx, &found, NULL), 0);
    assert_int_equal(found.records, 30);
    assert_int_equal(fx->n, 30);
    cairn_file_log_close(&fx->log);
}

/* The kernel tells of a page that it lost once: the flush after the one that failed would succeed. */
static void a_failed_sync_is_final(void **state)
{
    struct fixture *fx = *state;
    uint64_t durable, syncs;

    open_log(fx);
    add(fx, 1, 8, 1);
    assert_int_equal(cairn_file_log_write(&fx->log), 0);
    assert_int_equal(cairn_file_log_sync(&fx->log), 0);
    durable = atomic_load(&fx->log.durable);
    add(fx, 2, 8, 2);
    assert_int_equal(cairn_file_log_write(&fx->log), 0);
    disk_fail_syncs(1, EIO);
    assert_int_equal(cairn_file_log_sync(&fx->log), CAIRN_E_IO);
    syncs = disk_syncs();
    assert_int_equal(cairn_file_log_sync(&fx->log), CAIRN_E_IO);
    assert_int_equal(disk_syncs(), syncs);
    assert_int_equal(atomic_load(&fx->log.durable), durable);
    assert_int_equal(cairn_file_log_add(&fx->log, 3, NULL, 0, false), CAIRN_E_IO);
    cairn_file_log_close(&fx->log);
    assert_int_equal(open_log(fx).records, 2); /* a start believes what it reads */
    cairn_file_log_close(&fx->log);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(records_come_back, setup, teardown),
        cmocka_unit_test_setup_teardown(torn_tails_are_cut_off, setup, teardown),
        cmocka_unit_test_setup_teardown(a_tail_with_a_hole_does_not_come_to_life, setup, teardown),
        cmocka_unit_test_setup_teardown(damage_is_reported, setup, teardown),
        cmocka_unit_test_setup_teardown(strange_files_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(a_refused_record_is_named, setup, teardown),
        cmocka_unit_test_setup_teardown(a_rewrite_replaces_it_whole, setup, teardown),
        cmocka_unit_test_setup_teardown(a_rewrite_that_may_be_lost, setup, teardown),
        cmocka_unit_test_setup_teardown(it_grows, setup, teardown),
        cmocka_unit_test_setup_teardown(a_failed_sync_is_final, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
