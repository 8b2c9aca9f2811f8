/* Directories of data: their lock, their format, and what a crash or a full disk leave of them. */
#include "server/storage/datadir.h"

#include "server/node/datadir.h"
#include "server/storage/file_io.h"
#include "tests/lib/disk_faults.h"
#include "tests/lib/scratch.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

struct fixture {
    char dir[SCRATCH_MAX], format[80];
    struct cairn_err err;
};

static int setup(void **state)
{
    struct fixture *fx = calloc(1, sizeof(*fx));

    scratch_new(fx->dir);
    snprintf(fx->format, sizeof(fx->format), "%s/FORMAT", fx->dir);
    *state = fx;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fx = *state;

    scratch_remove(fx->dir);
    free(fx);
    return 0;
}

/* As a store does: what is fresh is finished. */
static int try_open(struct fixture *fx, bool create)
{
    int fd = -1, rc;

    memset(&fx->err, 0, sizeof(fx->err));
    rc = cairn_storedir_open(fx->dir, "kind", 3, create, &fd, &fx->err);
    assert_int_equal(rc >= 0, fd >= 0);
    if (rc == CAIRN_STOREDIR_FRESH)
        rc = cairn_storedir_finish(fd, fx->dir, "kind", 3, &fx->err);
    if (fd >= 0)
        close(fd);
    return rc;
}

static void write_format(struct fixture *fx, const char *text)
{
    FILE *f = fopen(fx->format, "w");

    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void only_known_formats_are_opened(void **state)
{
    struct fixture *fx = *state;

    assert_int_equal(try_open(fx, false), CAIRN_E_NOTFOUND);
    assert_int_equal(try_open(fx, true), 0);
    assert_int_equal(try_open(fx, false), 0);
    write_format(fx, "kind 2\n");
    assert_int_equal(try_open(fx, true), 0);
    write_format(fx, "kind 4\n");
    assert_int_equal(try_open(fx, true), CAIRN_E_FORMAT);
    write_format(fx, "other 3\n");
    assert_int_equal(try_open(fx, true), CAIRN_E_FORMAT);
    write_format(fx, "nonsense");
    assert_int_equal(try_open(fx, true), CAIRN_E_CORRUPT);
}

static void one_holds_it_at_a_time(void **state)
{
    struct fixture *fx = *state;
    int fd;

    assert_int_equal(cairn_storedir_open(fx->dir, "kind", 3, true, &fd, &fx->err), CAIRN_STOREDIR_FRESH);
    assert_int_equal(try_open(fx, true), CAIRN_E_LOCKED);
    close(fd);
    /* It was never finished, so it is still fresh. */
    assert_int_equal(cairn_storedir_open(fx->dir, "kind", 3, true, &fd, &fx->err), CAIRN_STOREDIR_FRESH);
    close(fd);
    assert_int_equal(try_open(fx, true), 0);
    assert_int_equal(cairn_storedir_open(fx->dir, "kind", 3, true, &fd, &fx->err), 0);
    close(fd);
}

/* Every part of the line that a crash may have left. */
static void an_unfinished_format_is_written_anew(void **state)
{
    static const char line[] = "kind 3\n";
    struct fixture *fx = *state;

    for (size_t n = 0; n < sizeof(line) - 1; n++) {
        char part[sizeof(line)] = "";

        memcpy(part, line, n);
        write_format(fx, part);
        assert_int_equal(try_open(fx, false), CAIRN_E_NOTFOUND);
        assert_int_equal(try_open(fx, true), 0);
        assert_int_equal(try_open(fx, false), 0);
    }
}

/* The disk takes three bytes more. */
static void a_write_cut_short_leaves_nothing(void **state)
{
    struct fixture *fx = *state;
    struct rlimit was, three;
    struct stat st;

    assert_int_equal(getrlimit(RLIMIT_FSIZE, &was), 0);
    three = was;
    three.rlim_cur = 3;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &three), 0);
    assert_int_equal(try_open(fx, true), CAIRN_E_NOSPACE);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &was), 0);
    assert_int_equal(stat(fx->format, &st), 0);
    assert_int_equal(st.st_size, 0);
    assert_int_equal(try_open(fx, true), 0);
}

/* Each directory on the way is there after a loss of power: its name is flushed with the directory that it is in. */
static void names_of_new_directories_are_durable(void **state)
{
    struct fixture *fx = *state;
    struct cairn_datadir d;
    char path[SCRATCH_MAX + 16], sub[SCRATCH_MAX + 32];
    uint64_t before = disk_syncs();

    snprintf(path, sizeof(path), "%s/one/two", fx->dir);
    assert_int_equal(cairn_file_mkdir(fx->dir, &fx->err), 0); /* is there */
    assert_int_equal(disk_syncs(), before);
    disk_fail_syncs(1, EIO);
    assert_int_equal(cairn_datadir_open(&d, path, "", &fx->err), CAIRN_E_IO); /* `one`, in ours */
    disk_skip_syncs(1);
    disk_fail_syncs(1, EIO);
    snprintf(path, sizeof(path), "%s/three/four/", fx->dir);
    assert_int_equal(cairn_datadir_open(&d, path, "", &fx->err), CAIRN_E_IO); /* `four`, in `three` */
    assert_int_equal(cairn_datadir_open(&d, path, "", &fx->err), 0);
    disk_fail_syncs(1, EIO);
    assert_int_equal(cairn_datadir_sub(&d, "kv", sub, sizeof(sub), &fx->err), CAIRN_E_IO);
    before = disk_syncs();
    assert_int_equal(cairn_datadir_sub(&d, "extent", sub, sizeof(sub), &fx->err), 0);
    assert_int_equal(disk_syncs(), before + 1);
    cairn_datadir_close(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(only_known_formats_are_opened, setup, teardown),
        cmocka_unit_test_setup_teardown(one_holds_it_at_a_time, setup, teardown),
        cmocka_unit_test_setup_teardown(an_unfinished_format_is_written_anew, setup, teardown),
        cmocka_unit_test_setup_teardown(a_write_cut_short_leaves_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(names_of_new_directories_are_durable, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
