/* The judge of histories is judged: some that could have happened one by one, and some that could not. */
#include "tests/sim/linear.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define N(a) (sizeof(a) / sizeof((a)[0]))
#define PUT(v, b, e) { .kind = LINEAR_PUT, .value = (v), .begin = (b), .end = (e) }
#define GET(v, b, e) { .kind = LINEAR_GET, .value = (v), .begin = (b), .end = (e) }
#define DELETE(x, b, e) { .kind = LINEAR_DELETE, .existed = (x), .begin = (b), .end = (e) }
#define ERASE(b, e) { .kind = LINEAR_ERASE, .begin = (b), .end = (e) }
#define PUT_NEW(v, x, b, e) { .kind = LINEAR_PUT_NEW, .value = (v), .existed = (x), .begin = (b), .end = (e) }
#define EVER LINEAR_UNKNOWN

static void one_after_the_other(void **state)
{
    const struct linear_op good[] = { GET(0, 0, 1), PUT(1, 2, 3), GET(1, 4, 5), DELETE(true, 6, 7), GET(0, 8, 9) };
    const struct linear_op stale[] = { PUT(1, 0, 1), PUT(2, 2, 3), GET(1, 4, 5) };
    const struct linear_op lost[] = { PUT(1, 0, 1), GET(0, 2, 3) };
    const struct linear_op twice[] = { PUT(1, 0, 1), DELETE(true, 2, 3), DELETE(true, 4, 5) };

    (void)state;
    assert_int_equal(linear_check(good, N(good), 1000), 1);
    assert_int_equal(linear_check(stale, N(stale), 1000), 0);
    assert_int_equal(linear_check(lost, N(lost), 1000), 0);
    assert_int_equal(linear_check(twice, N(twice), 1000), 0);
}

static void at_the_same_time(void **state)
{
    const struct linear_op either[] = { PUT(1, 0, 10), PUT(2, 0, 10), GET(1, 11, 12) };
    const struct linear_op both[] = { PUT(1, 0, 10), PUT(2, 0, 10), GET(1, 11, 12), GET(2, 13, 14) };
    const struct linear_op early[] = { PUT(1, 0, 10), GET(1, 1, 2), GET(0, 3, 4) }; /* once seen, always seen */
    const struct linear_op late[] = { PUT(1, 0, 1), GET(2, 2, 20), GET(2, 3, 21), PUT(2, 10, 11) };

    (void)state;
    assert_int_equal(linear_check(either, N(either), 1000), 1);
    assert_int_equal(linear_check(both, N(both), 1000), 0);
    assert_int_equal(linear_check(early, N(early), 1000), 0);
    assert_int_equal(linear_check(late, N(late), 1000), 1);
}

/* An outcome that nobody learned: it happened, later or never; but what was seen of it stays seen. */
static void unknown_outcomes(void **state)
{
    const struct linear_op never[] = { PUT(1, 0, EVER), GET(0, 5, 6), GET(0, 7, 8) };
    const struct linear_op later[] = { PUT(1, 0, EVER), GET(0, 5, 6), GET(1, 7, 8) };
    const struct linear_op gone[] = { PUT(1, 0, EVER), GET(1, 5, 6), GET(0, 7, 8) };

    (void)state;
    assert_int_equal(linear_check(never, N(never), 1000), 1);
    assert_int_equal(linear_check(later, N(later), 1000), 1);
    assert_int_equal(linear_check(gone, N(gone), 1000), 0);
}

/* What writes only if nothing is there does so once, and what erases without a word still erases. */
static void only_if_nothing_is_there(void **state)
{
    const struct linear_op good[] = { PUT_NEW(1, false, 0, 1), PUT_NEW(2, true, 2, 3), GET(1, 4, 5),
                                      ERASE(6, 7),             ERASE(8, 9),            PUT_NEW(3, false, 10, 11) };
    const struct linear_op both[] = { PUT_NEW(1, false, 0, 10), PUT_NEW(2, false, 0, 10) };
    const struct linear_op changed[] = { PUT_NEW(1, false, 0, 1), PUT_NEW(2, true, 2, 3), GET(2, 4, 5) };
    const struct linear_op nobody[] = { PUT_NEW(1, true, 0, 1) };
    const struct linear_op late[] = { PUT_NEW(1, false, 0, EVER), PUT_NEW(2, true, 5, 6), GET(1, 7, 8) };
    const struct linear_op kept[] = { PUT(1, 0, 1), ERASE(2, 3), GET(1, 4, 5) };
    const struct linear_op erased[] = { PUT(1, 0, 1), ERASE(2, EVER), GET(1, 4, 5), GET(0, 6, 7) };

    (void)state;
    assert_int_equal(linear_check(good, N(good), 1000), 1);
    assert_int_equal(linear_check(both, N(both), 1000), 0);
    assert_int_equal(linear_check(changed, N(changed), 1000), 0);
    assert_int_equal(linear_check(nobody, N(nobody), 1000), 0);
    assert_int_equal(linear_check(late, N(late), 1000), 1);
    assert_int_equal(linear_check(kept, N(kept), 1000), 0);
    assert_int_equal(linear_check(erased, N(erased), 1000), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_after_the_other),
        cmocka_unit_test(at_the_same_time),
        cmocka_unit_test(unknown_outcomes),
        cmocka_unit_test(only_if_nothing_is_there),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
