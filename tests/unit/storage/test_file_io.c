/* File I/O by io_uring and by the pool, staging memory, and the small blocking helpers. */
#include "server/storage/file_io.h"
#include "server/storage/staging.h"
#include "tests/lib/patience.h"
#include "tests/lib/scratch.h"
#include "tests/lib/skip.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

struct fixture {
    struct cairn_loop loop;
    struct cairn_pool *pool;
    struct cairn_file_io *io;
    char dir[SCRATCH_MAX];
    int dirfd, fd;
    uint32_t done, failed;
    int last;
    bool in_start;
};

/* Stands before the library's: the next submissions fail with this. */
static int submit_fails, submits;

int io_uring_submit(struct io_uring *ring)
{
    static int (*real)(struct io_uring * ring);

    submits++;
    if (submit_fails != 0)
        return -submit_fails;
    if (real == NULL)
        *(void **)&real = dlsym(RTLD_NEXT, "io_uring_submit");
    return real(ring);
}

static int setup_kind(void **state, enum cairn_file_io_kind kind)
{
    struct fixture *fx = calloc(1, sizeof(*fx));
    struct cairn_err err = { 0 };

    assert_int_equal(cairn_loop_init(&fx->loop, NULL, &err), 0);
    fx->pool = cairn_pool_new(2, 4, &err); /* a short queue: what does not fit waits */
    scratch_new(fx->dir);
    fx->dirfd = open(fx->dir, O_RDONLY | O_DIRECTORY);
    fx->fd = openat(fx->dirfd, "f", O_RDWR | O_CREAT, 0600);
    assert_int_equal(cairn_file_io_new(&fx->loop, fx->pool, kind, 8, &fx->io, &err), 0);
    *state = fx;
    return 0;
}

static int setup_auto(void **state)
{
    return setup_kind(state, CAIRN_FILE_IO_AUTO);
}

static int setup_pool(void **state)
{
    return setup_kind(state, CAIRN_FILE_IO_POOL);
}

static int teardown(void **state)
{
    struct fixture *fx = *state;

    cairn_file_io_free(fx->io);
    cairn_pool_free(fx->pool);
    cairn_loop_fini(&fx->loop);
    close(fx->fd);
    close(fx->dirfd);
    scratch_remove(fx->dir);
    free(fx);
    return 0;
}

static void on_done(struct cairn_file_op *op, int rc)
{
    struct fixture *fx = op->arg;

    assert_false(fx->in_start); /* never inside the call that started it */
    fx->done++;
    fx->failed += rc != 0;
    fx->last = rc;
}

static void start(struct fixture *fx, struct cairn_file_op *op)
{
    op->done = on_done;
    op->arg = fx;
    fx->in_start = true;
    cairn_file_io_start(fx->io, op);
    fx->in_start = false;
}

static void wait_for(struct fixture *fx, uint32_t n)
{
    WHILE_PATIENT (fx->done < n)
        cairn_loop_turn(&fx->loop, CAIRN_NS_PER_S);
    fx->done = 0;
}

/* Far more than the depth, all started at once. */
static void many_writes_then_reads(void **state)
{
    enum { N = 100, LEN = 5000 };
    struct fixture *fx = *state;
    struct cairn_file_op *ops = calloc(N, sizeof(*ops));
    uint8_t *bytes = malloc(N * LEN), *got = calloc(N, LEN);

    for (uint32_t i = 0; i < N * LEN; i++)
        bytes[i] = (uint8_t)(i * 13 >> 3);
    for (uint32_t i = 0; i < N; i++) {
        ops[i] =
            (struct cairn_file_op){ .fd = fx->fd, .write = true, .buf = bytes + i * LEN, .len = LEN, .off = i * LEN };
        start(fx, &ops[i]);
    }
    wait_for(fx, N);
    assert_int_equal(fx->failed, 0);
    for (uint32_t i = 0; i < N; i++) {
        ops[i] = (struct cairn_file_op){ .fd = fx->fd, .buf = got + i * LEN, .len = LEN, .off = i * LEN };
        start(fx, &ops[i]);
    }
    wait_for(fx, N);
    assert_int_equal(fx->failed, 0);
    assert_memory_equal(bytes, got, N * LEN);
    free(ops);
    free(bytes);
    free(got);
}

static void errors_arrive_as_codes(void **state)
{
    struct fixture *fx = *state;
    uint8_t byte[100] = { 0 };
    struct cairn_file_op op = { .fd = fx->fd, .buf = byte, .len = 100, .off = 1 << 20 };
    int full = open("/dev/full", O_WRONLY), readonly = openat(fx->dirfd, "f", O_RDONLY);

    start(fx, &op); /* beyond the end */
    wait_for(fx, 1);
    assert_int_equal(fx->last, CAIRN_E_IO);
    op.write = true;
    op.fd = full;
    op.off = 0;
    start(fx, &op);
    wait_for(fx, 1);
    assert_int_equal(fx->last, CAIRN_E_NOSPACE);
    op.fd = readonly;
    start(fx, &op);
    wait_for(fx, 1);
    assert_int_equal(fx->last, CAIRN_E_IO);
    close(full);
    close(readonly);
}

enum { SOME = 20, SOME_BYTES = 5000 };

static void write_some(struct fixture *fx, struct cairn_file_op *ops, uint8_t *bytes)
{
    for (uint32_t i = 0; i < SOME * SOME_BYTES; i++)
        bytes[i] = (uint8_t)(i * 29 >> 2);
    for (uint32_t i = 0; i < SOME; i++) {
        ops[i] = (struct cairn_file_op){
            .fd = fx->fd, .write = true, .buf = bytes + i * SOME_BYTES, .len = SOME_BYTES, .off = i * SOME_BYTES
        };
        start(fx, &ops[i]);
    }
}

static void check_some(struct fixture *fx, const uint8_t *bytes)
{
    uint8_t got[SOME * SOME_BYTES];

    assert_int_equal(fx->failed, 0);
    assert_int_equal(cairn_file_pread(fx->fd, got, sizeof(got), 0), 0);
    assert_memory_equal(got, bytes, sizeof(got));
}

/* A ring that refuses for good is left: what it had not taken is done all the same, and so is all that comes. */
static void a_ring_that_refuses_is_left_for_the_pool(void **state)
{
    struct fixture *fx = *state;
    struct cairn_file_op ops[SOME];
    uint8_t bytes[SOME * SOME_BYTES];

    if (cairn_file_io_kind(fx->io) != CAIRN_FILE_IO_URING)
        skip_because("no io_uring here");
    submit_fails = EBADF;
    write_some(fx, ops, bytes);
    wait_for(fx, SOME);
    submit_fails = 0;
    assert_int_equal(cairn_file_io_kind(fx->io), CAIRN_FILE_IO_POOL);
    check_some(fx, bytes);
    write_some(fx, ops, bytes);
    wait_for(fx, SOME);
    check_some(fx, bytes);
}

/* A ring that is only busy is tried again, now and then: the loop sleeps meanwhile. */
static void a_busy_ring_is_tried_again(void **state)
{
    struct fixture *fx = *state;
    struct cairn_file_op ops[SOME];
    uint8_t bytes[SOME * SOME_BYTES];
    uint64_t until = cairn_env_now_ns(&fx->loop.env) + 50 * CAIRN_NS_PER_MS;

    if (cairn_file_io_kind(fx->io) != CAIRN_FILE_IO_URING)
        skip_because("no io_uring here");
    submit_fails = EAGAIN;
    submits = 0;
    write_some(fx, ops, bytes);
    while (cairn_env_now_ns(&fx->loop.env) < until || submits < 2)
        cairn_loop_turn(&fx->loop, CAIRN_NS_PER_S);
    assert_in_range(submits, 2, 300);
    submit_fails = 0;
    wait_for(fx, SOME);
    assert_int_equal(cairn_file_io_kind(fx->io), CAIRN_FILE_IO_URING);
    check_some(fx, bytes);
}

/* Falling back is no error, and leaves no text of one. */
static void a_fall_back_leaves_no_error(void **state)
{
    struct fixture *fx = *state;
    struct cairn_err err = { 0 };
    struct cairn_file_io *io;
    struct rlimit was, none;

    assert_int_equal(getrlimit(RLIMIT_NOFILE, &was), 0);
    none = was;
    none.rlim_cur = 3; /* all numbers below are in use: no ring, no eventfd */
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    assert_int_equal(cairn_file_io_new(&fx->loop, fx->pool, CAIRN_FILE_IO_AUTO, 8, &io, &err), 0);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &was), 0);
    assert_int_equal(cairn_file_io_kind(io), CAIRN_FILE_IO_POOL);
    assert_int_equal(err.code, 0);
    assert_string_equal(err.text, "");
    cairn_file_io_free(io);
}

static void a_lock_has_one_holder(void **state)
{
    struct fixture *fx = *state;
    struct cairn_err err = { 0 };
    int a = -1, b = -1;

    assert_int_equal(cairn_file_lock(fx->dirfd, "L", &a, &err), 0);
    assert_int_equal(cairn_file_lock(fx->dirfd, "L", &b, &err), CAIRN_E_LOCKED);
    close(a);
    assert_int_equal(cairn_file_lock(fx->dirfd, "L", &b, &err), 0);
    close(b);
}

static void a_file_is_replaced_whole(void **state)
{
    struct fixture *fx = *state;
    char got[8] = "";
    int fd;

    assert_int_equal(cairn_file_replace(fx->dirfd, "r", "first", 5, NULL), 0);
    assert_int_equal(cairn_file_replace(fx->dirfd, "r", "2nd", 3, NULL), 0);
    fd = openat(fx->dirfd, "r", O_RDONLY);
    assert_int_equal(read(fd, got, sizeof(got)), 3);
    assert_string_equal(got, "2nd");
    close(fd);
    assert_int_equal(faccessat(fx->dirfd, "r.new", F_OK, 0), -1);
}

/* ---- staging ---- */

struct waiter {
    struct cairn_staging_wait wait;
    struct cairn_staging_buf *buf;
    uint32_t order, *count;
};

static void on_got(struct cairn_staging_wait *wait, struct cairn_staging_buf *buf)
{
    struct waiter *w = wait->arg;

    w->buf = buf;
    w->order = ++*w->count;
}

static void staging_is_bounded_and_fair(void **state)
{
    struct fixture *fx = *state;
    struct cairn_staging s;
    struct cairn_staging_buf *held[2] = { NULL, NULL };
    struct waiter w[4];
    uint32_t count = 0;

    cairn_staging_init(&s, &fx->loop, 100, 2, 3);
    for (uint32_t i = 0; i < 4; i++)
        w[i] = (struct waiter){ .wait = { .got = on_got, .arg = &w[i] }, .count = &count };
    for (uint32_t i = 0; i < 2; i++) {
        assert_int_equal(cairn_staging_get(&s, &w[0].wait, &held[i]), 0);
        assert_int_equal((uintptr_t)held[i]->bytes % CAIRN_STAGING_ALIGN, 0);
        memset(held[i]->bytes, 1, CAIRN_STAGING_ALIGN);
    }
    for (uint32_t i = 0; i < 3; i++)
        assert_int_equal(cairn_staging_get(&s, &w[i].wait, &w[i].buf), 1);
    assert_int_equal(cairn_staging_get(&s, &w[3].wait, &w[3].buf), CAIRN_E_BUSY);
    cairn_staging_cancel(&s, &w[1].wait);
    cairn_staging_put(&s, held[0]);
    assert_int_equal(count, 0); /* not inside put() */
    cairn_loop_turn(&fx->loop, 0);
    assert_int_equal(w[0].order, 1);
    cairn_staging_put(&s, w[0].buf);
    cairn_staging_put(&s, held[1]);
    cairn_loop_turn(&fx->loop, 0);
    assert_int_equal(w[2].order, 2);
    assert_int_equal(w[1].order, 0);
    assert_int_equal(s.made, 2);
    cairn_staging_put(&s, w[2].buf);
    assert_true(cairn_timer_is_running(&s.trim)); /* idle: it will be given back */
    s.trim.fn(s.trim.arg);
    assert_int_equal(s.made, 0);
    cairn_staging_fini(&s);
}

#define BOTH(f)                                                                                                        \
    cmocka_unit_test_setup_teardown(f, setup_auto, teardown), cmocka_unit_test_setup_teardown(f, setup_pool, teardown)

/* Who insists on io_uring learns before a start that it is refused: here, for want of descriptors. */
static void a_check_says_what_a_start_would(void **state)
{
    struct cairn_err err = { 0 };
    struct rlimit limit, none;

    (void)state;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    none = (struct rlimit){ .rlim_cur = 0, .rlim_max = limit.rlim_max };
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    assert_int_equal(cairn_file_io_check(CAIRN_FILE_IO_URING, &err), CAIRN_E_UNSUPPORTED);
    assert_int_equal(cairn_file_io_check(CAIRN_FILE_IO_AUTO, NULL), 0);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    assert_non_null(strstr(err.text, "io_uring is refused here"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_check_says_what_a_start_would),
        BOTH(many_writes_then_reads),
        BOTH(errors_arrive_as_codes),
        cmocka_unit_test_setup_teardown(a_ring_that_refuses_is_left_for_the_pool, setup_auto, teardown),
        cmocka_unit_test_setup_teardown(a_busy_ring_is_tried_again, setup_auto, teardown),
        cmocka_unit_test_setup_teardown(a_fall_back_leaves_no_error, setup_pool, teardown),
        cmocka_unit_test_setup_teardown(a_lock_has_one_holder, setup_pool, teardown),
        cmocka_unit_test_setup_teardown(a_file_is_replaced_whole, setup_pool, teardown),
        cmocka_unit_test_setup_teardown(staging_is_bounded_and_fair, setup_pool, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
