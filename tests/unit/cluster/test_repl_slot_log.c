/* What a replica knows of its log; the last common entry of two logs against a naive search. */
#include "server/cluster/repl/slot_log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static void fill(struct cairn_slot_log *l, const uint64_t *epochs, uint64_t n)
{
    cairn_slot_log_init(l);
    for (uint64_t i = 0; i < n; i++)
        assert_int_equal(cairn_slot_log_append(l, (struct cairn_at){ epochs[i], i + 1 }), 0);
}

static void runs_follow_epochs(void **state)
{
    static const uint64_t epochs[] = { 1, 1, 3, 3, 3, 4 };
    struct cairn_slot_log l;

    (void)state;
    fill(&l, epochs, 6);
    assert_int_equal(l.nruns, 3);
    assert_int_equal(cairn_slot_log_epoch(&l, 2), 1);
    assert_int_equal(cairn_slot_log_epoch(&l, 3), 3);
    assert_int_equal(cairn_slot_log_epoch(&l, 7), 0);
    assert_true(cairn_slot_log_has(&l, (struct cairn_at){ 3, 5 }));
    assert_false(cairn_slot_log_has(&l, (struct cairn_at){ 4, 5 }));
    cairn_slot_log_cut(&l, 4);
    assert_true(cairn_at_is(l.end, (struct cairn_at){ 3, 4 }));
    assert_int_equal(l.nruns, 2);
    cairn_slot_log_trim(&l, 3);
    assert_true(cairn_at_is(l.base, (struct cairn_at){ 3, 3 }));
    assert_int_equal(l.nruns, 1);
    assert_int_equal(cairn_slot_log_epoch(&l, 2), 0);
    assert_int_equal(cairn_slot_log_epoch(&l, 3), 3);
    cairn_slot_log_trim(&l, 4);
    assert_int_equal(l.nruns, 0);
    assert_true(cairn_slot_log_has(&l, (struct cairn_at){ 3, 4 }));
    cairn_slot_log_fini(&l);
}

static void epochs_are_bounded(void **state)
{
    struct cairn_slot_log l;

    (void)state;
    cairn_slot_log_init(&l);
    for (uint64_t i = 1; i <= CAIRN_LOG_RUNS_MAX; i++)
        assert_int_equal(cairn_slot_log_append(&l, (struct cairn_at){ i, i }), 0);
    assert_int_equal(cairn_slot_log_append(&l, (struct cairn_at){ CAIRN_LOG_RUNS_MAX + 1, CAIRN_LOG_RUNS_MAX + 1 }),
                     CAIRN_E_LIMIT);
    assert_int_equal(l.end.pos, CAIRN_LOG_RUNS_MAX);
    cairn_slot_log_trim(&l, 1); /* a checkpoint helps */
    assert_int_equal(cairn_slot_log_append(&l, (struct cairn_at){ CAIRN_LOG_RUNS_MAX + 1, CAIRN_LOG_RUNS_MAX + 1 }), 0);
    cairn_slot_log_fini(&l);
}

/* ---- the common entry ---- */

enum { LONGEST = 24, ROUNDS = 200000 };

static uint64_t dice_state = 1;

static uint64_t dice(uint64_t n)
{
    dice_state = dice_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (dice_state >> 33) % n;
}

/* An entry is named by its epoch and position, and two logs with the same entry are equal before it: so a log is a
 * path from the root of a tree in which each epoch's entries are one chain, of one primary. */
struct path {
    uint64_t epoch[LONGEST + 1]; /* by pos */
    uint64_t end;
};

/* A primary of epoch @e began with the log @from, and wrote; its backup has some of that. */
static struct path grown(const struct path *from, uint64_t e)
{
    struct path p = *from;
    uint64_t more = 1 + dice(5);

    while (more-- > 0 && p.end < LONGEST)
        p.epoch[++p.end] = e;
    return p;
}

static struct path cut(const struct path *from)
{
    struct path p = *from;

    p.end = dice(p.end + 1);
    return p;
}

static struct cairn_slot_log_view view_of(const struct path *p, struct cairn_slot_log *l, uint64_t base, uint64_t floor)
{
    fill(l, p->epoch + 1, p->end);
    cairn_slot_log_trim(l, base);
    return (struct cairn_slot_log_view){ .floor = { .epoch = cairn_slot_log_epoch(l, floor), .pos = floor },
                                         .end = l->end,
                                         .runs = l->runs,
                                         .nruns = l->nruns };
}

static uint64_t naive(const struct path *a, const struct path *b)
{
    uint64_t pos = 0;

    while (pos < a->end && pos < b->end && a->epoch[pos + 1] == b->epoch[pos + 1])
        pos++;
    return pos;
}

/* Logs as a history of primaries leaves them, trimmed and with floors: the answer is the naive search's, or that
 * there is none at or above both floors. */
static void common_entry_is_the_naive_one(void **state)
{
    uint64_t found = 0, none = 0;

    (void)state;
    for (int i = 0; i < ROUNDS; i++) {
        struct path logs[4] = { 0 };
        struct cairn_slot_log la, lb;
        struct cairn_slot_log_view a, b;
        struct cairn_at common;
        uint64_t base_a, base_b, floor_a, floor_b, pos;
        bool is;

        for (uint64_t e = 1; e <= 6; e++) { /* each epoch: one of the logs is the primary's, others take a part of it */
            uint64_t lead = dice(4);

            logs[lead] = grown(&logs[lead], e);
            for (int k = 0; k < 4; k++) {
                struct path part = cut(&logs[lead]);

                /* A backup takes entries behind what it has in common, and cuts only where they differ. */
                if ((uint64_t)k != lead && dice(2) == 0 && part.end > 0 && part.epoch[part.end] == e)
                    logs[k] = part;
            }
        }
        base_a = dice(logs[0].end + 1);
        base_b = dice(logs[1].end + 1);
        floor_a = base_a;
        floor_b = base_b + dice(logs[1].end - base_b + 1); /* what is applied there */
        pos = naive(&logs[0], &logs[1]);
        a = view_of(&logs[0], &la, base_a, floor_a);
        b = view_of(&logs[1], &lb, base_b, floor_b);
        is = cairn_slot_log_common(&a, &b, &common);
        if (is) {
            assert_int_equal(common.pos, pos);
            assert_true(pos == 0 || common.epoch == logs[0].epoch[pos]);
            found++;
        } else { /* a floor is above it */
            assert_true(pos < MAX(floor_a, floor_b));
            none++;
        }
        cairn_slot_log_fini(&la);
        cairn_slot_log_fini(&lb);
    }
    assert_true(found > ROUNDS / 10 && none > ROUNDS / 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(runs_follow_epochs),
        cmocka_unit_test(epochs_are_bounded),
        cmocka_unit_test(common_entry_is_the_naive_one),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
