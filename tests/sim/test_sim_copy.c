/* Copies of a slot, at their source and at their target, word by word. */
#include "tests/sim/replica_bench.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

/* M_COPY_PARTIAL_JOINS. What is here is part of a copy: entries that would fit behind it are not taken, and the primary
 * hears why. */
static void who_has_part_of_a_copy_takes_no_entries(void **state)
{
    struct bench *b = *state;

    cairn_replica_restore_partial(&b->r);
    bench_learn(b, 1, CAIRN_SLOT_ACTIVE, n1, WITH(n2));
    bench_append(b, n1, 1, (struct cairn_at){ 0 }, bench_start(1, 1), 1);
    bench_disk(b);
    assert_int_equal(b->end, 0);
    assert_int_equal(b->said[CAIRN_REPL_ACK], 0);
    assert_true(b->said[CAIRN_REPL_MATCH] > 0 && b->last[CAIRN_REPL_MATCH].partial);
}

static void copied(struct bench *b, struct cairn_who from, uint64_t number)
{
    cairn_replica_receive(&b->r, &(struct cairn_repl_msg){ .kind = CAIRN_REPL_COPIED,
                                                           .from = from,
                                                           .to = self,
                                                           .epoch = b->r.rec.epoch,
                                                           .job = b->last[CAIRN_REPL_COPY].job,
                                                           .number = number });
}

/* @who says that it has our log, or part of a copy. */
static void match(struct bench *b, struct cairn_who who, bool partial)
{
    const struct cairn_run run = { .epoch = 1, .first = 1 };

    cairn_replica_receive(&b->r, &(struct cairn_repl_msg){ .kind = CAIRN_REPL_MATCH,
                                                           .from = who,
                                                           .to = self,
                                                           .epoch = 1,
                                                           .end = { 1, partial ? 0 : b->end },
                                                           .runs = &run,
                                                           .nruns = !partial,
                                                           .partial = partial });
}

/* @who answers number @number whatever it is asked, while a view is kept for it, and no longer than a minute. */
static void until_copy_ends(struct bench *b, struct cairn_who who, uint64_t number)
{
    uint64_t begin = cairn_env_now_ns(b->r.env);

    for (; b->views > 0; world_run_until(b->world, cairn_env_now_ns(b->r.env) + bench_times.resend_ns)) {
        assert_true(cairn_env_now_ns(b->r.env) <= begin + 61 * CAIRN_NS_PER_S);
        copied(b, who, number);
    }
}

static void until_copy_begins(struct bench *b)
{
    while (b->views == 0)
        world_run_until(b->world, cairn_env_now_ns(b->r.env) + bench_times.resend_ns);
}

/* The slot is ours, n2 is in sync with us, and all that is in our log is applied. */
static void lead_with_n2(struct bench *b)
{
    bench_learn(b, 1, CAIRN_SLOT_ACTIVE, self, WITH(n2));
    bench_disk(b);
    bench_ack(b, n2, 1, b->end);
    bench_apply_all(b);
}

static struct replica_peer *peer_n1(struct bench *b)
{
    struct replica_peer *p = &b->r.peers[b->r.peers[0].who.node == n1.node ? 0 : 1];

    assert_true(cairn_who_is(p->who, n1));
    return p;
}

/* A target that says that it is still at it, for ever: it cannot read what it is to erase, or does not store its page.
 * The view goes to another slot. The next copy begins later each time, also when the target says nothing then, as it
 * does while it has the first in hand. */
static void who_does_not_get_on_keeps_no_view(void **state)
{
    struct bench *b = *state;
    struct replica_peer *p;
    uint64_t ended;

    lead_with_n2(b);
    match(b, n1, true);
    until_copy_begins(b);
    until_copy_ends(b, n1, 0);
    p = peer_n1(b);
    assert_true(p->copies_failed == 1);

    until_copy_begins(b);
    copied(b, n1, 1);
    cairn_replica_on_page(&b->r, 0, (const uint8_t *)"", 0, false);
    until_copy_ends(b, n1, 1);
    assert_int_equal(p->copies_failed, 2);

    for (uint32_t failed = 3; failed < 12; failed++) {
        until_copy_begins(b);
        while (b->views > 0)
            world_run_until(b->world, cairn_env_now_ns(b->r.env) + bench_times.resend_ns);
        assert_int_equal(p->phase, PEER_SILENT);
        assert_int_equal(p->copies_failed, failed);
        ended = cairn_env_now_ns(b->r.env);
        match(b, n1, true);
        assert_in_range(p->copy_ns - ended, MIN(bench_times.resend_ns << (failed - 2), 59 * CAIRN_NS_PER_S),
                        60 * CAIRN_NS_PER_S);
    }
}

/* A learner empties itself for a copy. What it had said before, of entries behind the copy's base, comes when it has
 * the copy: it does not count, for those entries have to be sent again. */
static void what_was_said_before_a_copy_is_void(void **state)
{
    struct bench *b = *state;
    struct replica_peer *p;

    lead_with_n2(b);
    assert_int_equal(b->r.sm.state, REPLICA_ACTIVE);
    match(b, n1, true);
    world_run_until(b->world, cairn_env_now_ns(b->r.env) + bench_times.resend_ns);
    assert_int_equal(b->last[CAIRN_REPL_COPY].part, CAIRN_COPY_BEGIN);
    copied(b, n1, 1);
    cairn_replica_on_page(&b->r, 0, (const uint8_t *)"", 0, true);
    for (uint64_t number = 2; b->last[CAIRN_REPL_COPY].part != CAIRN_COPY_END; number++)
        copied(b, n1, number);
    p = peer_n1(b);
    assert_true(p->phase == PEER_COPY);
    copied(b, n1, b->last[CAIRN_REPL_COPY].number + 1);
    assert_int_equal(p->phase, PEER_PROBED);
    b->proposed.kind = 0;

    bench_ack(b, n1, 1, b->end); /* of a log that began before */
    assert_int_equal(p->matched, 0);
    assert_int_equal(b->proposed.kind, 0);
    cairn_replica_receive(&b->r, &(struct cairn_repl_msg){ .kind = CAIRN_REPL_ACK,
                                                           .from = n1,
                                                           .to = self,
                                                           .epoch = 1,
                                                           .matched = b->end,
                                                           .synced = b->end,
                                                           .base = p->base });
    assert_int_equal(p->matched, b->end);
    assert_int_equal(b->proposed.kind, CAIRN_CHANGE_JOIN);
}

/* M_COPY_KEEPS_MATCHED. A learner that had caught up says late, by a word from before, that it needs a copy; it empties
 * itself, and is not heard again. What it had said of its log is void, though no copy came of it: an older word yet, of
 * the log that it had, does not let it join. */
static void what_was_said_before_a_copy_that_failed_is_void(void **state)
{
    struct bench *b = *state;
    struct replica_peer *p;

    lead_with_n2(b);
    b->has_no_lease = true; /* it does not join at once */
    match(b, n1, false);
    bench_ack(b, n1, 1, b->end);
    p = peer_n1(b);
    assert_true(p->phase == PEER_STREAM && p->matched == b->end);

    match(b, n1, true);
    until_copy_begins(b);
    while (b->views > 0) {
        world_run_until(b->world, cairn_env_now_ns(b->r.env) + bench_times.resend_ns);
        bench_ack(b, n2, 1, b->end);
    }
    assert_int_equal(p->phase, PEER_SILENT);
    b->has_no_lease = false;
    match(b, n1, false);
    cairn_replica_on_lease(&b->r);
    assert_int_equal(b->proposed.kind, 0);
    assert_int_equal(p->matched, 0);
    bench_ack(b, n1, 1, b->end); /* it has that log after all */
    assert_int_equal(b->proposed.kind, CAIRN_CHANGE_JOIN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(who_has_part_of_a_copy_takes_no_entries, bench_begin, bench_end),
        cmocka_unit_test_setup_teardown(what_was_said_before_a_copy_is_void, bench_begin, bench_end),
        cmocka_unit_test_setup_teardown(what_was_said_before_a_copy_that_failed_is_void, bench_begin, bench_end),
        cmocka_unit_test_setup_teardown(who_does_not_get_on_keeps_no_view, bench_begin, bench_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
