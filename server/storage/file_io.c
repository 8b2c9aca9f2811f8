/* Non-blocking file I/O by io_uring or the pool: see file_io.h. */
#include "server/storage/file_io.h"

#include "sdk/core/base/log.h"

#include <errno.h>
#include <liburing.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct cairn_file_io {
    struct cairn_loop *loop;
    struct cairn_pool *pool;
    enum cairn_file_io_kind kind;
    uint32_t depth, inflight;
    struct cairn_link waiting;
    struct cairn_link prepared; /* in the ring, in its order, and not submitted: the kernel knows nothing of them */
    struct cairn_timer again;   /* the pool's queue or the kernel was full */
    struct io_uring ring;
    bool has_ring; /* also after it was given up: what the kernel has still ends there */
    struct cairn_watch watch;
    struct cairn_hook hook;
    int event_fd;
};

/* Pool and kernel are shared: when their queues are full there is nothing to wait for but time. */
enum { AGAIN_MS = 1 };

static void io_next(struct cairn_file_io *io);

static void again_later(struct cairn_file_io *io)
{
    if (!cairn_timer_is_running(&io->again))
        cairn_timer_start(&io->loop->env, &io->again, cairn_loop_now(io->loop) + AGAIN_MS * CAIRN_NS_PER_MS);
}

static void op_finish(struct cairn_file_op *op, int rc)
{
    struct cairn_file_io *io = op->io;

    CAIRN_ASSERT(io->inflight > 0);
    io->inflight--;
    op->io = NULL;
    op->done(op, rc);
}

/* ---- io_uring ---- */

static void uring_prepare(struct cairn_file_io *io, struct cairn_file_op *op)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&io->ring);
    uint64_t left = op->len - op->moved;
    unsigned now = (unsigned)MIN(left, (uint64_t)1 << 30);

    CAIRN_ASSERT(sqe != NULL); /* inflight is below the ring's size */
    if (op->write)
        io_uring_prep_write(sqe, op->fd, (char *)op->buf + op->moved, now, op->off + op->moved);
    else
        io_uring_prep_read(sqe, op->fd, (char *)op->buf + op->moved, now, op->off + op->moved);
    io_uring_sqe_set_data(sqe, op);
    cairn_list_add_tail(&io->prepared, &op->link);
}

/* What is left of an operation that the kernel interrupted or cut short. Before all that wait: it began before them. */
static void uring_go_on(struct cairn_file_io *io, struct cairn_file_op *op)
{
    io->inflight--;
    cairn_list_add_head(&io->waiting, &op->link);
}

static void uring_on_result(struct cairn_file_io *io, struct cairn_file_op *op, int res)
{
    if (res == -EAGAIN || res == -EINTR) {
        uring_go_on(io, op);
        return;
    }
    if (res < 0) {
        op_finish(op, cairn_file_code(-res));
        return;
    }
    op->moved += (uint64_t)res;
    if (op->moved == op->len)
        op_finish(op, 0);
    else if (res == 0) /* the end of the file, or a device that takes nothing more */
        op_finish(op, op->write ? CAIRN_E_NOSPACE : CAIRN_E_IO);
    else
        uring_go_on(io, op);
}

static void uring_on_event(void *arg, uint32_t ready)
{
    struct cairn_file_io *io = arg;
    struct io_uring_cqe *cqe;
    uint64_t n;

    (void)ready;
    if (read(io->event_fd, &n, sizeof(n)) < 0)
        CAIRN_ASSERT(errno == EAGAIN || errno == EINTR);
    while (io_uring_peek_cqe(&io->ring, &cqe) == 0) {
        struct cairn_file_op *op = io_uring_cqe_get_data(cqe);
        int res = cqe->res;

        io_uring_cqe_seen(&io->ring, cqe);
        uring_on_result(io, op, res);
    }
    io_next(io);
}

/* The kernel takes nothing more from this ring, and never will: what it did not take, and all that comes, goes to the
 * pool. What it took ends as ever. */
static void uring_give_up(struct cairn_file_io *io, int e)
{
    cairn_log_error("io_uring takes no more operations (%s): the storage pool does them from now on",
                    cairn_error_text(cairn_err_of_errno(e)));
    io->kind = CAIRN_FILE_IO_POOL;
    while (!cairn_list_is_empty(&io->prepared)) {
        struct cairn_link *last = io->prepared.prev;

        cairn_list_del(last);
        cairn_list_add_head(&io->waiting, last);
        io->inflight--;
    }
    io_next(io);
}

static void uring_flush(void *arg)
{
    struct cairn_file_io *io = arg;

    while (!cairn_list_is_empty(&io->prepared)) {
        int n = io_uring_submit(&io->ring);

        if (n <= 0) {
            if (n == 0 || n == -EBUSY || n == -EAGAIN || n == -EINTR)
                again_later(io); /* completions announce themselves, the end of a lack of memory does not */
            else
                uring_give_up(io, -n);
            break;
        }
        while (n-- > 0)
            cairn_list_pop(&io->prepared);
    }
}

static bool uring_before_sleep(void *arg)
{
    uring_flush(arg);
    return false;
}

/* @depth becomes what there is. */
static int ring_open(struct io_uring *ring, uint32_t *depth, struct cairn_err *err)
{
    struct io_uring_params params = { .flags = IORING_SETUP_CLAMP };
    int e = -io_uring_queue_init_params(*depth, ring, &params);

    if (e != 0)
        return cairn_err_set(err, CAIRN_E_UNSUPPORTED, "io_uring is refused here: %s",
                             cairn_error_text(cairn_err_of_errno(e)));
    *depth = MIN(*depth, params.sq_entries);
    return 0;
}

int cairn_file_io_check(enum cairn_file_io_kind kind, struct cairn_err *err)
{
    struct io_uring ring;
    uint32_t depth = 1;
    int rc = kind == CAIRN_FILE_IO_URING ? ring_open(&ring, &depth, err) : 0;

    if (kind == CAIRN_FILE_IO_URING && rc == 0)
        io_uring_queue_exit(&ring);
    return rc;
}

static int uring_open(struct cairn_file_io *io, struct cairn_err *err)
{
    int rc = ring_open(&io->ring, &io->depth, err), e;

    if (rc != 0)
        return rc;
    io->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (io->event_fd < 0) {
        rc = cairn_err_errno(err, errno, "io_uring: eventfd");
        goto close_ring;
    }
    e = -io_uring_register_eventfd(&io->ring, io->event_fd);
    rc = e != 0 ? cairn_err_errno(err, e, "io_uring: eventfd")
                : cairn_watch_init(&io->watch, io->loop, io->event_fd, uring_on_event, io);
    if (rc != 0)
        goto close_fd;
    rc = cairn_watch_arm(&io->watch, CAIRN_WATCH_READ);
    if (rc != 0)
        goto fini_watch;
    io->hook = (struct cairn_hook){ .before_sleep = uring_before_sleep, .flush = uring_flush, .arg = io };
    cairn_hook_add(io->loop, &io->hook);
    return 0;
fini_watch:
    cairn_watch_fini(&io->watch);
close_fd:
    close(io->event_fd);
close_ring:
    io_uring_queue_exit(&io->ring);
    return rc;
}

/* ---- the pool ---- */

static void pool_work(struct cairn_job *job)
{
    struct cairn_file_op *op = job->arg;
    uint8_t *from = (uint8_t *)op->buf + op->moved; /* a ring that was given up may have moved some */

    op->rc = op->write ? cairn_file_pwrite(op->fd, from, op->len - op->moved, op->off + op->moved)
                       : cairn_file_pread(op->fd, from, op->len - op->moved, op->off + op->moved);
}

static void pool_done(struct cairn_job *job)
{
    struct cairn_file_op *op = job->arg;
    struct cairn_file_io *io = op->io;

    op_finish(op, op->rc);
    io_next(io);
}

static bool pool_begin(struct cairn_file_io *io, struct cairn_file_op *op)
{
    op->job = (struct cairn_job){ .work = pool_work, .done = pool_done, .arg = op };
    if (cairn_pool_submit(io->pool, io->loop, &op->job) == 0)
        return true;
    again_later(io);
    return false;
}

/* ---- both ---- */

static void on_again(void *arg)
{
    io_next(arg); /* what the ring holds is submitted at the end of this turn */
}

static void io_next(struct cairn_file_io *io)
{
    while (io->inflight < io->depth && !cairn_list_is_empty(&io->waiting)) {
        struct cairn_file_op *op = CONTAINER_OF(io->waiting.next, struct cairn_file_op, link);

        if (io->kind == CAIRN_FILE_IO_POOL && !pool_begin(io, op))
            break;
        cairn_list_del(&op->link);
        io->inflight++;
        if (io->kind == CAIRN_FILE_IO_URING)
            uring_prepare(io, op);
    }
}

int cairn_file_io_new(struct cairn_loop *loop, struct cairn_pool *pool, enum cairn_file_io_kind kind, uint32_t depth,
                      struct cairn_file_io **out, struct cairn_err *err)
{
    struct cairn_file_io *io = calloc(1, sizeof(*io));
    int rc = 0;

    if (io == NULL)
        return cairn_err_set(err, CAIRN_E_NOMEM, "file I/O");
    io->loop = loop;
    io->pool = pool;
    io->depth = MAX(depth, 1);
    io->kind = CAIRN_FILE_IO_POOL;
    cairn_list_init(&io->waiting);
    cairn_list_init(&io->prepared);
    cairn_timer_init(&io->again, on_again, io);
    if (kind != CAIRN_FILE_IO_POOL) {
        rc = uring_open(io, kind == CAIRN_FILE_IO_AUTO ? NULL : err);
        io->has_ring = rc == 0;
        if (rc == 0)
            io->kind = CAIRN_FILE_IO_URING;
        else if (kind == CAIRN_FILE_IO_AUTO)
            rc = 0;
    }
    if (rc != 0) {
        free(io);
        return rc;
    }
    *out = io;
    return 0;
}

void cairn_file_io_free(struct cairn_file_io *io)
{
    CAIRN_ASSERT(io->inflight == 0 && cairn_list_is_empty(&io->waiting));
    cairn_timer_stop(&io->loop->env, &io->again);
    if (io->has_ring) {
        cairn_hook_del(&io->hook);
        cairn_watch_fini(&io->watch);
        io_uring_queue_exit(&io->ring);
        close(io->event_fd);
    }
    free(io);
}

enum cairn_file_io_kind cairn_file_io_kind(const struct cairn_file_io *io)
{
    return io->kind;
}

void cairn_file_io_start(struct cairn_file_io *io, struct cairn_file_op *op)
{
    CAIRN_ASSERT(op->len > 0);
    op->io = io;
    op->moved = 0;
    op->rc = 0;
    cairn_list_add_tail(&io->waiting, &op->link);
    io_next(io);
}
