/* Room on the disk that new data does not get, on a small file system. */
#include "server/storage/spare.h"

#include "tests/lib/patience.h"
#include "tests/lib/scratch.h"
#include "tests/lib/skip.h"

#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

enum { DISK = 64 << 20, SPARE = DISK / CAIRN_SPARE_DISK_PART, HEADROOM = DISK / CAIRN_SPARE_HEADROOM_DISK_PART };

struct fixture {
    char dir[SCRATCH_MAX], other[80], file[80];
    struct cairn_spare spare;
    struct cairn_err err;
};

/* A file system that is gone: whoever asks it waits until it is back. The test itself goes past that. */
static atomic_bool gone;
static atomic_int asked;
static pthread_t loop;

int __real_statvfs(const char *path, struct statvfs *buf);
int __wrap_statvfs(const char *path, struct statvfs *buf);
int __wrap_statvfs(const char *path, struct statvfs *buf)
{
    if (atomic_load(&gone)) {
        assert_false(pthread_equal(pthread_self(), loop));
        atomic_fetch_add(&asked, 1);
    }
    while (atomic_load(&gone))
        nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
    return __real_statvfs(path, buf);
}

static int setup(void **state)
{
    struct fixture *fx = calloc(1, sizeof(*fx));

    scratch_new(fx->dir);
    snprintf(fx->other, sizeof(fx->other), "%s/other", fx->dir);
    snprintf(fx->file, sizeof(fx->file), "%s/spare", fx->dir);
    cairn_spare_init(&fx->spare, fx->dir);
    *state = fx;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fx = *state;

    atomic_store(&gone, false); /* also when the test has failed: a thread may wait for it */
    cairn_spare_fini(&fx->spare);
    scratch_remove(fx->dir); /* and unmounts what fills it up */
    free(fx);
    return 0;
}

static void mount_or_skip(const struct fixture *fx)
{
    if (mount("tmpfs", fx->dir, "tmpfs", 0, "size=64m") != 0)
        skip_because("no mount here (%s)", strerror(errno));
}

/* Others take all but @left bytes. */
static void fill_but(const struct fixture *fx, uint64_t left)
{
    int fd = open(fx->other, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    struct statvfs vfs;

    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, 0), 0);
    assert_int_equal(__real_statvfs(fx->dir, &vfs), 0);
    assert_int_equal(posix_fallocate(fd, 0, (off_t)(vfs.f_bfree * vfs.f_frsize - left)), 0);
    close(fd);
}

static off_t spare_bytes(const struct fixture *fx)
{
    struct stat st;

    return stat(fx->file, &st) == 0 ? st.st_size : -1;
}

/* What is known of the disk is some milliseconds old at most. */
static void wait_for_a_look(void)
{
    nanosleep(&(struct timespec){ .tv_nsec = 50000000 }, NULL);
}

static bool refuses(struct fixture *fx)
{
    wait_for_a_look();
    return cairn_spare_refuses(&fx->spare);
}

static void new_data_leaves_the_headroom(void **state)
{
    struct fixture *fx = *state;

    mount_or_skip(fx);
    cairn_spare_keep(&fx->spare);
    assert_int_equal(spare_bytes(fx), SPARE);
    assert_false(refuses(fx));
    fill_but(fx, 2 * HEADROOM - 65536); /* enough for small data, and not for files that grow */
    assert_false(refuses(fx));
    assert_int_equal(cairn_spare_growth(&fx->spare), 0);
    fill_but(fx, 2 * HEADROOM + 65536); /* at once, for a file that grows */
    assert_int_equal(cairn_spare_growth(&fx->spare), 65536);
    fill_but(fx, HEADROOM - 65536);
    assert_true(refuses(fx));
    cairn_spare_before_removal(&fx->spare); /* there is room enough for removals */
    assert_int_equal(spare_bytes(fx), SPARE);
    assert_int_equal(unlink(fx->other), 0);
    assert_false(refuses(fx));
    assert_true(cairn_spare_growth(&fx->spare) > 2 * HEADROOM);
}

static void a_removal_is_lent_the_room_until_it_is_there_again(void **state)
{
    struct fixture *fx = *state;

    mount_or_skip(fx);
    cairn_spare_keep(&fx->spare);
    fill_but(fx, 0);
    assert_true(refuses(fx));
    assert_int_equal(spare_bytes(fx), SPARE); /* not for them */
    cairn_spare_before_removal(&fx->spare);
    assert_int_equal(spare_bytes(fx), 0);
    assert_true(cairn_spare_lend(&fx->spare)); /* a moment ago: to try again may help */
    fill_but(fx, HEADROOM + SPARE / 2);
    assert_true(refuses(fx)); /* it would be gone at once */
    fill_but(fx, HEADROOM + SPARE);
    assert_false(refuses(fx));
    assert_int_equal(spare_bytes(fx), SPARE);
}

/* What status tells of the disk as it is, however slow the machine is. */
static bool shown(struct fixture *fx, uint64_t *growth)
{
    WHILE_PATIENT (!cairn_errand_await(&fx->spare.looking, 1000)) {
    }
    return cairn_spare_show(&fx->spare, growth);
}

/* Status says the same, and sets nothing aside; while others do, it says what they last found. */
static void status_only_looks(void **state)
{
    struct fixture *fx = *state;
    uint64_t growth;

    mount_or_skip(fx);
    cairn_spare_keep(&fx->spare);
    fill_but(fx, 0);
    assert_true(shown(fx, &growth));
    assert_int_equal(growth, 0);
    assert_true(cairn_spare_lend(&fx->spare));
    fill_but(fx, HEADROOM + SPARE / 2);
    assert_true(shown(fx, &growth));
    fill_but(fx, 2 * HEADROOM + SPARE + 65536);
    assert_false(shown(fx, &growth));
    assert_int_equal(growth, 65536);
    assert_int_equal(spare_bytes(fx), 0);
    pthread_mutex_lock(&fx->spare.mutex); /* before the disk changes: the last question may have left one look to do */
    fill_but(fx, 0);
    assert_false(shown(fx, &growth));
    assert_int_equal(growth, 65536);
    pthread_mutex_unlock(&fx->spare.mutex);
    assert_true(shown(fx, &growth));
    fill_but(fx, 2 * HEADROOM + SPARE);
    WHILE_PATIENT (cairn_spare_refuses(&fx->spare)) /* one look of those before may be under way */
        wait_for_a_look();
    assert_int_equal(spare_bytes(fx), SPARE);
}

/* Who only wants to know does without a disk that does not answer, and hears of it again once it does. */
static void a_disk_that_is_gone_holds_up_no_loop(void **state)
{
    struct fixture *fx = *state;
    uint64_t growth;

    mount_or_skip(fx);
    loop = pthread_self();
    assert_false(shown(fx, &growth));
    atomic_store(&gone, true);
    WHILE_PATIENT (atomic_load(&asked) == 0)
        cairn_spare_ask(&fx->spare);
    fill_but(fx, 0); /* now, as any look that could find the disk as it was waits */
    for (int i = 0; i < 100; i++) {
        cairn_spare_ask(&fx->spare);
        assert_false(cairn_spare_show(&fx->spare, &growth));
    }
    assert_int_equal(atomic_load(&asked), 1); /* one waits, for all */
    atomic_store(&gone, false);
    assert_true(shown(fx, &growth));
}

static void a_start_takes_the_room_or_says_what_to_do(void **state)
{
    struct fixture *fx = *state;

    mount_or_skip(fx);
    cairn_spare_keep(&fx->spare);
    fill_but(fx, 0);
    assert_int_equal(cairn_spare_make_way(&fx->spare, &fx->err), 0);
    assert_int_equal(spare_bytes(fx), 0);
    fill_but(fx, 0);
    assert_int_equal(cairn_spare_make_way(&fx->spare, &fx->err), CAIRN_E_NOSPACE);
    assert_non_null(strstr(fx->err.text, "make room on its file system, and start again"));
    cairn_err_set(&fx->err, CAIRN_E_NOSPACE, "provider kv: no room");
    assert_int_equal(cairn_spare_explain(&fx->spare, CAIRN_E_NOSPACE, &fx->err), CAIRN_E_NOSPACE);
    assert_non_null(strstr(fx->err.text, fx->dir));
    assert_non_null(strstr(fx->err.text, "make 4096 KiB of room on its file system, and start again"));
    assert_non_null(strstr(fx->err.text, "provider kv: no room"));
}

static void without_a_directory_nothing_is_refused(void **state)
{
    struct cairn_spare none;

    (void)state;
    cairn_spare_init(&none, "");
    assert_int_equal(cairn_spare_make_way(&none, NULL), 0);
    cairn_spare_keep(&none);
    assert_false(cairn_spare_refuses(&none));
    assert_true(cairn_spare_growth(NULL) == UINT64_MAX);
    assert_false(cairn_spare_lend(&none));
    cairn_spare_before_removal(NULL);
    cairn_spare_fini(&none);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(new_data_leaves_the_headroom, setup, teardown),
        cmocka_unit_test_setup_teardown(a_removal_is_lent_the_room_until_it_is_there_again, setup, teardown),
        cmocka_unit_test_setup_teardown(status_only_looks, setup, teardown),
        cmocka_unit_test_setup_teardown(a_disk_that_is_gone_holds_up_no_loop, setup, teardown),
        cmocka_unit_test_setup_teardown(a_start_takes_the_room_or_says_what_to_do, setup, teardown),
        cmocka_unit_test(without_a_directory_nothing_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
