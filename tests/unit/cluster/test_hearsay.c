/* Who is asked for the map, and when: the core alone. */
#include "server/cluster/service/hearsay.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

enum { COORDINATOR = 100 };
#define MS CAIRN_NS_PER_MS

struct fixture {
    struct hearsay h;
    uint64_t now;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    assert_non_null(f);
    hearsay_init(&f->h, &hearsay_times_default, 7);
    f->now = 1000 * MS;
    hearsay_have(&f->h, 10);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    free(*state);
    return 0;
}

static void heard(struct fixture *f, uint64_t node, uint64_t version)
{
    hearsay_heard(&f->h, f->now, node, version);
}

/* Whom it asks within @ms; 0: nobody. */
static uint64_t asks_within(struct fixture *f, uint64_t ms)
{
    uint64_t until = f->now + ms * MS;

    for (;;) {
        struct hearsay_question q = hearsay_step(&f->h, f->now, COORDINATOR);

        if (q.node != 0)
            return q.node;
        if (q.due_ns > until) {
            f->now = until;
            return 0;
        }
        assert_true(q.due_ns > f->now); /* it does not turn on the spot */
        f->now = q.due_ns;
    }
}

static bool answered(struct fixture *f, uint64_t version)
{
    hearsay_have(&f->h, MAX(f->h.have, version));
    return hearsay_answered(&f->h, f->now, HEARSAY_GIVEN, version, false);
}

static void failed(struct fixture *f)
{
    assert_false(hearsay_answered(&f->h, f->now, HEARSAY_FAILED, 0, false));
}

static void who_has_more_is_asked(void **state)
{
    struct fixture *f = *state;

    heard(f, 1, 10); /* not more */
    assert_int_equal(asks_within(f, 60000), 0);
    heard(f, 1, 11);
    assert_int_equal(asks_within(f, 40), 1);
    assert_int_equal(asks_within(f, 60000), 0); /* one question at a time */
    assert_false(answered(f, 12));
    assert_int_equal(asks_within(f, 60000), 0);
}

static void pages_are_asked_for_one_behind_the_other(void **state)
{
    struct fixture *f = *state;

    heard(f, 1, 40);
    heard(f, 2, 40);
    for (uint64_t v = 20, who = 0; v <= 40; v += 10) {
        uint64_t node = asks_within(f, v == 20 ? 40 : 0);

        assert_true(node == 1 || node == 2);
        assert_true(who == 0 || node == who);
        who = node;
        if (v == 40)
            hearsay_have(&f->h, v);
        assert_false(hearsay_answered(&f->h, f->now, HEARSAY_GIVEN, v, v < 40));
    }
    assert_int_equal(f->h.have, 40);
    assert_int_equal(asks_within(f, 60000), 0);
}

/* Somebody, for the first of several pages, which it gives. */
static uint64_t gives_a_page(struct fixture *f)
{
    uint64_t who = asks_within(f, 40);

    assert_true(who != 0);
    assert_false(hearsay_answered(&f->h, f->now, HEARSAY_GIVEN, 20, true));
    assert_int_equal(asks_within(f, 0), who);
    return who;
}

/* In the middle of its pages whoever gives no more just now is waited for, and so is a late answer, for a while: at another
 * one it would begin anew. */
static void the_middle_of_pages_is_waited_in(void **state)
{
    struct fixture *f = *state;
    uint64_t who, began = f->now;

    heard(f, 1, 40);
    heard(f, 2, 40);
    who = gives_a_page(f);
    for (uint32_t i = 0; i < 3; i++) {
        struct hearsay_question q;

        assert_false(hearsay_answered(&f->h, f->now, i == 1 ? HEARSAY_FAILED : HEARSAY_BUSY, 0, false));
        q = hearsay_step(&f->h, f->now, COORDINATOR);
        assert_true(q.node == 0 && q.due_ns == f->now + f->h.times.again_ns);
        f->now = q.due_ns;
        q = hearsay_step(&f->h, f->now, COORDINATOR);
        assert_true(q.node == who && q.goes_on);
    }
    while (f->h.asked == who) {
        assert_false(hearsay_answered(&f->h, f->now, HEARSAY_BUSY, 0, false));
        assert_true(asks_within(f, 100) != 0);
    }
    assert_in_range(f->now, began + f->h.times.pages_ns, began + f->h.times.pages_ns + 1000 * MS);
    assert_int_equal(f->h.asked, 3 - who); /* from the beginning */
}

/* Many late answers in a row are none. */
static void a_source_that_is_gone_is_left(void **state)
{
    struct fixture *f = *state;
    uint64_t who, n = 0;

    heard(f, 1, 40);
    heard(f, 2, 40);
    who = gives_a_page(f);
    for (; f->h.asked == who; n++) {
        failed(f);
        assert_true(asks_within(f, 100) != 0);
    }
    assert_in_range(n, 2, 10);
}

/* Who gives no more just now is not waited for while a grant waits longer than it has patience; late answers are. */
static void a_grant_that_waits_is_not_kept_waiting(void **state)
{
    struct fixture *f = *state;

    heard(f, 1, 40);
    assert_int_equal(gives_a_page(f), 1);
    hearsay_want(&f->h, f->now, 30);
    assert_false(hearsay_answered(&f->h, f->now, HEARSAY_BUSY, 0, false));
    assert_int_equal(asks_within(f, 100), 1);
    f->now += f->h.times.patience_ns;
    failed(f);
    assert_int_equal(asks_within(f, 100), 1);
    assert_false(hearsay_answered(&f->h, f->now, HEARSAY_BUSY, 0, false));
    assert_int_equal(asks_within(f, 100), COORDINATOR);
    assert_false(hearsay_answered(&f->h, f->now, HEARSAY_GIVEN, 20, true));
    f->now += 2 * f->h.times.pages_ns; /* nobody else is asked after it */
    assert_int_equal(asks_within(f, 0), COORDINATOR);
    assert_false(hearsay_answered(&f->h, f->now, HEARSAY_GIVEN, 30, true));
    assert_int_equal(asks_within(f, 0), COORDINATOR);
}

/* One that says that there is more, and gives nothing, has no more. */
static void an_endless_answer_ends(void **state)
{
    struct fixture *f = *state;

    heard(f, 1, 40);
    assert_int_equal(asks_within(f, 40), 1);
    assert_true(hearsay_answered(&f->h, f->now, HEARSAY_GIVEN, 10, true));
    assert_int_equal(asks_within(f, 900), 0);
}

/* All that have it may be asked, whoever coordinates only if nobody else has it. */
static void the_coordinator_is_asked_last(void **state)
{
    struct fixture *f = *state;
    uint32_t asked[4] = { 0 };

    for (uint64_t v = 11; v < 111; v++) {
        uint64_t node;

        for (uint64_t n = 1; n <= 3; n++)
            heard(f, n, v);
        heard(f, COORDINATOR, v);
        node = asks_within(f, 40);
        assert_in_range(node, 1, 3);
        asked[node]++;
        assert_false(answered(f, v));
    }
    for (uint64_t n = 1; n <= 3; n++)
        assert_true(asked[n] > 10);
    heard(f, COORDINATOR, 200);
    assert_int_equal(asks_within(f, 40), COORDINATOR);
}

static void who_does_not_answer_is_left_for_others(void **state)
{
    struct fixture *f = *state;

    heard(f, 1, 20);
    assert_int_equal(asks_within(f, 40), 1);
    heard(f, 2, 20);
    failed(f);
    assert_int_equal(asks_within(f, 100), 2);
    failed(f);
    assert_int_equal(asks_within(f, 700), 0);
    assert_in_range(asks_within(f, 1000), 1, 2); /* they get another chance */
}

/* What a grant waits for is asked of the coordinator, if it does not come in time in another way. */
static void the_coordinator_is_the_last_resort(void **state)
{
    struct fixture *f = *state;

    hearsay_want(&f->h, f->now, 15);
    hearsay_want(&f->h, f->now, 20); /* the first counts, or it would never be enough */
    assert_int_equal(asks_within(f, 990), 0);
    assert_int_equal(asks_within(f, 100), COORDINATOR);
    assert_false(answered(f, 16));
    assert_int_equal(f->h.wanted, 0);
    hearsay_want(&f->h, f->now, 20);
    heard(f, 1, 20);
    assert_int_equal(asks_within(f, 40), 1);
    assert_false(answered(f, 20));
    assert_int_equal(asks_within(f, 60000), 0);
    assert_int_equal(f->h.last_resorts, 1);
    f->h.times.patience_ns = 0; /* nobody to hear it from */
    hearsay_want(&f->h, f->now, 30);
    assert_int_equal(asks_within(f, 40), COORDINATOR);
}

/* A word of a map that there is not: it costs 6 questions in the first minute, and then one a minute. */
static void a_false_word_costs_few_questions(void **state)
{
    struct fixture *f = *state;
    uint32_t questions = 0;

    for (uint32_t s = 0; s < 3600; s++) {
        heard(f, 1, UINT64_MAX);
        if (asks_within(f, 1000) == 0)
            continue;
        questions++;
        assert_true(answered(f, 10));
    }
    assert_in_range(questions, 10, 6 + 60);
    assert_int_equal(f->h.lies, questions);
    heard(f, 2, 11); /* others are believed */
    assert_int_equal(asks_within(f, 2000), 2);
}

/* Nor do many false words cost many, and they take no place for good. */
static void many_false_words_cost_few_questions(void **state)
{
    struct fixture *f = *state;
    uint32_t questions = 0;

    for (uint32_t i = 0; i < 1000; i++) { /* 100 s */
        for (uint64_t n = 1; n <= 50; n++)
            heard(f, n, UINT64_MAX - n);
        if (asks_within(f, 100) == 0)
            continue;
        questions++;
        assert_true(answered(f, 10));
    }
    assert_in_range(questions, 1, 200);
    assert_true(f->h.nsources <= HEARSAY_SOURCES_MAX);
    f->now += 65000 * MS;
    for (uint32_t i = 0; f->h.have < 11; i++) { /* there may be some to be tried once more before */
        assert_true(i < 50);
        heard(f, 60, 11);
        (void)answered(f, asks_within(f, 10000) == 60 ? 11 : 10);
    }
}

static void what_was_forgotten_is_asked_for_again(void **state)
{
    struct fixture *f = *state;

    heard(f, 1, 1000);
    assert_int_equal(asks_within(f, 40), 1);
    assert_false(answered(f, 1000));
    heard(f, 1, 1001);
    hearsay_forget(&f->h); /* there is no such map */
    assert_int_equal(asks_within(f, 60000), 0);
    heard(f, 2, 12);
    assert_int_equal(asks_within(f, 40), 2);
}

#define test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        test(who_has_more_is_asked),
        test(the_middle_of_pages_is_waited_in),
        test(a_source_that_is_gone_is_left),
        test(a_grant_that_waits_is_not_kept_waiting),
        test(pages_are_asked_for_one_behind_the_other),
        test(an_endless_answer_ends),
        test(the_coordinator_is_asked_last),
        test(who_does_not_answer_is_left_for_others),
        test(the_coordinator_is_the_last_resort),
        test(a_false_word_costs_few_questions),
        test(many_false_words_cost_few_questions),
        test(what_was_forgotten_is_asked_for_again),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
