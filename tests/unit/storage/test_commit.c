/* Group commit with an engine made of two functions: order, groups, answers, bounds, syncs. */
#include "cairn/error.h"
#include "server/storage/commit.h"
#include "tests/lib/patience.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { LOOPS = 2, OPS = 64 };

struct op {
    struct cairn_commit_op op;
    struct fixture *fx;
    uint32_t number, done, finished_at;
};

/* The engine stops at a gate until the test lets it through, so that what waits is known. */
struct fixture {
    struct cairn_loop loop[LOOPS], *loops[LOOPS];
    struct cairn_commit *commit;
    pthread_mutex_t mutex;
    pthread_cond_t moved;
    uint32_t apply_passes, sync_passes; /* how often each may go through the gate */
    uint32_t groups, syncs, at_apply, at_sync;
    uint32_t order[OPS * 4], norder, group_size[OPS * 4], group_syncs;
    pthread_t applied_by, synced_by;
    int apply_rc, sync_rc;
    uint32_t finished;
    struct op ops[OPS];
};

static void gate(struct fixture *fx, uint32_t *passes, uint32_t *waiting)
{
    pthread_mutex_lock(&fx->mutex);
    (*waiting)++;
    pthread_cond_broadcast(&fx->moved);
    while (*passes == 0)
        pthread_cond_wait(&fx->moved, &fx->mutex);
    (*passes)--;
    (*waiting)--;
    pthread_mutex_unlock(&fx->mutex);
}

static void on_apply(void *ctx, struct cairn_link *group)
{
    struct fixture *fx = ctx;

    gate(fx, &fx->apply_passes, &fx->at_apply);
    CAIRN_LIST_FOREACH (l, group) {
        struct cairn_commit_op *op = CONTAINER_OF(l, struct cairn_commit_op, link);

        op->rc = fx->apply_rc;
        fx->order[fx->norder++] = CONTAINER_OF(op, struct op, op)->number;
        fx->group_size[fx->groups]++;
    }
    fx->groups++;
    fx->applied_by = pthread_self();
}

static int on_sync(void *ctx)
{
    struct fixture *fx = ctx;

    gate(fx, &fx->sync_passes, &fx->at_sync);
    fx->syncs++;
    fx->synced_by = pthread_self();
    return fx->sync_rc;
}

static void let(struct fixture *fx, uint32_t *passes, uint32_t n)
{
    pthread_mutex_lock(&fx->mutex);
    *passes += n;
    pthread_cond_broadcast(&fx->moved);
    pthread_mutex_unlock(&fx->mutex);
}

/* Waits until the engine stands at a gate. */
static void await(struct fixture *fx, const uint32_t *waiting)
{
    pthread_mutex_lock(&fx->mutex);
    while (*waiting == 0)
        pthread_cond_wait(&fx->moved, &fx->mutex);
    pthread_mutex_unlock(&fx->mutex);
}

static void on_done(struct cairn_commit_op *o)
{
    struct op *op = CONTAINER_OF(o, struct op, op);

    op->done++;
    op->finished_at = op->fx->finished++;
}

static int submit(struct fixture *fx, uint32_t i, uint32_t worker, uint32_t bytes, bool sync)
{
    struct op *op = &fx->ops[i];

    *op =
        (struct op){ .op = { .worker = worker, .bytes = bytes, .sync = sync, .done = on_done }, .fx = fx, .number = i };
    return cairn_commit_submit(fx->commit, &op->op);
}

static void turn_until_done(struct fixture *fx, uint32_t i)
{
    WHILE_PATIENT (fx->ops[i].done == 0)
        cairn_loop_turn(fx->loops[fx->ops[i].op.worker], CAIRN_NS_PER_MS);
    assert_int_equal(fx->ops[i].done, 1);
}

static int setup(void **state)
{
    struct fixture *fx = calloc(1, sizeof(*fx));
    struct cairn_commit_conf conf = { .loops = fx->loops,
                                      .nloops = LOOPS,
                                      .ops_max = 32,
                                      .bytes_max = 1000,
                                      .apply = on_apply,
                                      .sync = on_sync,
                                      .ctx = fx };

    for (int i = 0; i < LOOPS; i++) {
        assert_int_equal(cairn_loop_init(&fx->loop[i], NULL, NULL), 0);
        fx->loops[i] = &fx->loop[i];
    }
    pthread_mutex_init(&fx->mutex, NULL);
    pthread_cond_init(&fx->moved, NULL);
    fx->commit = cairn_commit_new(&conf, NULL);
    assert_non_null(fx->commit);
    *state = fx;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fx = *state;

    let(fx, &fx->apply_passes, 1 << 20); /* also when the test has failed: an engine may stand at a gate */
    let(fx, &fx->sync_passes, 1 << 20);
    cairn_commit_free(fx->commit);
    for (int i = 0; i < LOOPS; i++)
        cairn_loop_fini(&fx->loop[i]);
    free(fx);
    return 0;
}

/* What one turn submits is one group; what comes while it is applied is the next; all in order. */
static void those_who_wait_go_together(void **state)
{
    struct fixture *fx = *state;

    for (uint32_t i = 0; i < 5; i++)
        assert_int_equal(submit(fx, i, 0, 10, false), 0);
    assert_int_equal(fx->ops[0].done, 0);
    cairn_loop_turn(fx->loops[0], 0);
    await(fx, &fx->at_apply);
    for (uint32_t i = 5; i < 8; i++)
        assert_int_equal(submit(fx, i, 0, 10, false), 0);
    cairn_loop_turn(fx->loops[0], 0);
    for (uint32_t i = 8; i < 11; i++)
        assert_int_equal(submit(fx, i, 1, 10, false), 0);
    cairn_loop_turn(fx->loops[1], 0);
    let(fx, &fx->apply_passes, 2);
    for (uint32_t i = 0; i < 11; i++)
        turn_until_done(fx, i);
    assert_int_equal(fx->groups, 2);
    assert_int_equal(fx->group_size[0], 5);
    assert_int_equal(fx->group_size[1], 6);
    for (uint32_t i = 0; i < 11; i++)
        assert_int_equal(fx->order[i], i);
    assert_int_equal(fx->syncs, 0);
}

/* A write that need not survive power loss does not wait for one that must, though it came after it. */
static void buffered_does_not_wait_for_sync(void **state)
{
    struct fixture *fx = *state;

    assert_int_equal(submit(fx, 0, 0, 10, true), 0);
    assert_int_equal(submit(fx, 1, 0, 10, false), 0);
    let(fx, &fx->apply_passes, 2);
    turn_until_done(fx, 1);
    await(fx, &fx->at_sync);
    assert_int_equal(submit(fx, 2, 0, 10, false), 0);
    turn_until_done(fx, 2);
    assert_int_equal(fx->ops[0].done, 0);
    let(fx, &fx->sync_passes, 1);
    turn_until_done(fx, 0);
    assert_int_equal(fx->syncs, 1);
    assert_int_equal(fx->ops[0].op.rc, 0);
}

/* All who wait when a sync begins are served by it; those who come later are not. */
static void one_sync_serves_all_who_wait(void **state)
{
    struct fixture *fx = *state;
    struct cairn_commit_stats stats;

    let(fx, &fx->apply_passes, 10);
    assert_int_equal(submit(fx, 0, 0, 10, true), 0);
    cairn_loop_turn(fx->loops[0], 0);
    await(fx, &fx->at_sync);
    for (uint32_t i = 1; i < 9; i++)
        assert_int_equal(submit(fx, i, i % 2, 10, true), 0);
    cairn_loop_turn(fx->loops[0], 0);
    cairn_loop_turn(fx->loops[1], 0);
    do { /* until the committer has written all of them */
        cairn_commit_stats(fx->commit, &stats);
    } while (stats.ops < 9);
    let(fx, &fx->sync_passes, 1);
    turn_until_done(fx, 0);
    assert_int_equal(fx->ops[1].done, 0);
    let(fx, &fx->sync_passes, 1);
    for (uint32_t i = 1; i < 9; i++)
        turn_until_done(fx, i);
    assert_int_equal(fx->syncs, 2);
    cairn_commit_stats(fx->commit, &stats);
    assert_int_equal(stats.synced_ops, 9);
    assert_int_equal(stats.waiting, 0);
}

/* Nobody else is woken for the sync of what waits alone: of the first write, before which there is no sync that might
 * not be quite over. */
static void one_thread_applies_and_syncs_what_waits_alone(void **state)
{
    struct fixture *fx = *state;

    for (uint32_t i = 0; i < 5; i++) {
        assert_int_equal(submit(fx, i, i % 2, 10, true), 0);
        let(fx, &fx->apply_passes, 1);
        let(fx, &fx->sync_passes, 1);
        turn_until_done(fx, i);
        assert_true(i > 0 || pthread_equal(fx->applied_by, fx->synced_by));
    }
    assert_int_equal(fx->groups, 5);
    assert_int_equal(fx->syncs, 5);
}

static void failures_reach_their_writers(void **state)
{
    struct fixture *fx = *state;

    fx->apply_rc = CAIRN_E_NOSPACE;
    let(fx, &fx->apply_passes, 1);
    assert_int_equal(submit(fx, 0, 0, 10, true), 0); /* what was not written is not synced */
    turn_until_done(fx, 0);
    assert_int_equal(fx->ops[0].op.rc, CAIRN_E_NOSPACE);
    assert_int_equal(fx->syncs, 0);
    fx->apply_rc = 0;
    fx->sync_rc = CAIRN_E_IO;
    let(fx, &fx->apply_passes, 1);
    let(fx, &fx->sync_passes, 1);
    assert_int_equal(submit(fx, 1, 1, 10, true), 0);
    assert_int_equal(submit(fx, 2, 1, 10, false), 0);
    turn_until_done(fx, 1);
    turn_until_done(fx, 2);
    assert_int_equal(fx->ops[1].op.rc, CAIRN_E_IO);
    assert_int_equal(fx->ops[2].op.rc, 0);
}

static void submit_quietly(struct fixture *fx, uint32_t i)
{
    fx->ops[i] = (struct op){ .op = { .bytes = 10, .quiet = true, .done = on_done }, .fx = fx, .number = i };
    assert_int_equal(cairn_commit_submit(fx->commit, &fx->ops[i].op), 0);
}

/* Nobody waits for it: its loop is not woken, but hears of it with the next, when it asks, or when it has failed. */
static void quiet_ones_wake_nobody(void **state)
{
    struct fixture *fx = *state;
    struct cairn_commit_stats stats = { .waiting = 1 };

    let(fx, &fx->apply_passes, 4);
    submit_quietly(fx, 0);
    cairn_loop_turn(fx->loops[0], 0);
    WHILE_PATIENT (stats.waiting > 0)
        cairn_commit_stats(fx->commit, &stats);
    for (int i = 0; i < 10; i++)
        cairn_loop_turn(fx->loops[0], 0);
    assert_int_equal(fx->ops[0].done, 0);
    assert_int_equal(submit(fx, 1, 0, 10, false), 0);
    turn_until_done(fx, 1);
    assert_int_equal(fx->ops[0].done, 1);
    assert_true(fx->ops[0].finished_at < fx->ops[1].finished_at);

    submit_quietly(fx, 2);
    cairn_loop_turn(fx->loops[0], 0);
    while (fx->ops[2].done == 0)
        cairn_commit_collect(fx->commit, 0);

    fx->apply_rc = CAIRN_E_IO;
    submit_quietly(fx, 3);
    turn_until_done(fx, 3);
    assert_int_equal(fx->ops[3].op.rc, CAIRN_E_IO);
}

static void waiting_is_bounded(void **state)
{
    struct fixture *fx = *state;
    struct cairn_commit_stats stats;

    assert_int_equal(submit(fx, 0, 0, 600, false), 0);
    assert_int_equal(submit(fx, 1, 0, 401, false), CAIRN_E_BUSY); /* bytes */
    assert_int_equal(submit(fx, 1, 0, 400, false), 0);
    assert_int_equal(submit(fx, 2, 1, 1, false), CAIRN_E_BUSY);
    let(fx, &fx->apply_passes, 1);
    turn_until_done(fx, 0);
    turn_until_done(fx, 1);
    assert_int_equal(submit(fx, 2, 1, 5000, false), 0); /* larger than the bound: alone, but not never */
    assert_int_equal(submit(fx, 3, 1, 1, false), CAIRN_E_BUSY);
    let(fx, &fx->apply_passes, 1);
    turn_until_done(fx, 2);
    for (uint32_t i = 0; i < 32; i++)
        assert_int_equal(submit(fx, i, 0, 1, false), 0);
    assert_int_equal(submit(fx, 32, 1, 1, false), CAIRN_E_BUSY); /* operations */
    cairn_commit_stats(fx->commit, &stats);
    assert_int_equal(stats.waiting, 32);
    let(fx, &fx->apply_passes, 1);
    for (uint32_t i = 0; i < 32; i++)
        turn_until_done(fx, i);
    cairn_commit_stats(fx->commit, &stats);
    assert_int_equal(stats.waiting, 0);
    assert_int_equal(stats.waiting_bytes, 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(those_who_wait_go_together),   TEST(buffered_does_not_wait_for_sync),
        TEST(one_sync_serves_all_who_wait), TEST(one_thread_applies_and_syncs_what_waits_alone),
        TEST(failures_reach_their_writers), TEST(waiting_is_bounded),
        TEST(quiet_ones_wake_nobody),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
