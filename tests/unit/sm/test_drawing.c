/* The reader of drawings itself: every form that sdk/core/sm/README.md allows, and that differences are seen. */
#include "tests/lib/drawing.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define TO CAIRN_SM_TO

static bool always(const struct cairn_sm *sm)
{
    (void)sm;
    return true;
}

enum { A, B, C, F, NR };
static const struct cairn_sm_state states[NR] = {
    [A] = { "START", CAIRN_SM_INITIAL, TO(B) | TO(F) },
    [B] = { "MOVE", 0, TO(B) | TO(C) | TO(F) },
    [C] = { "DONE", CAIRN_SM_FINAL, 0 },
    [F] = { "FAILED", CAIRN_SM_FINAL | CAIRN_SM_FAILURE, 0 },
};
static const struct cairn_sm_kind kind = { "a-kind", states, NR, always, 0 };

static void same(const char *text)
{
    char why[DRAWING_WHY_MAX];

    if (!drawing_matches(&kind, text, why))
        fail_msg("%s\n%s", why, text);
}

static void differs(const char *text, const char *expected)
{
    char why[DRAWING_WHY_MAX];

    assert_false(drawing_matches(&kind, text, why));
    assert_string_equal(why, expected);
}

static void all_forms(void **state)
{
    (void)state;
    same("/* START ---> MOVE ---> DONE    START and MOVE may also go to FAILED. MOVE may repeat. */");
    same(
        "/* Words.\n *\n *   START ---> MOVE ---> DONE        START may also go to FAILED,\n"
        " *                                    MOVE to MOVE and FAILED.\n * START  it may be said that MOVE comes. */");
    same("/* START ---> MOVE ---> DONE\n * MOVE ---> FAILED  MOVE ---> MOVE   START may also go to FAILED. */");
    same("/* START ---> MOVE ---> DONE. All may also go to FAILED, MOVE back to MOVE. */");
    same("/* START ---> MOVE ---> DONE. All but MOVE may also go to FAILED; MOVE to MOVE and FAILED. */");
    same("/* START ---> MOVE ---> DONE. START may also go to FAILED; all before DONE to FAILED; MOVE to itself. */");
    same("/*  a-kind   START ---> MOVE ---> DONE   MOVE may repeat. START and MOVE may also go to FAILED.\n"
         " *  b-kind   OTHER ---> THING ---> DONE\n */");
    same("/* START ---> MOVE */ int x; /* unrelated: OTHER */ /* MOVE ---> DONE  MOVE may repeat. All may also go to "
         "FAILED. */");
    same("/* START may also go to FAILED and MOVE\n * MOVE ---> DONE   MOVE may also go to FAILED or MOVE. */");
}

static void differences_are_seen(void **state)
{
    (void)state;
    differs("/* START ---> MOVE ---> DONE    START and MOVE may also go to FAILED. */",
            "only the table has MOVE ---> MOVE; ");
    differs("/* START ---> MOVE ---> DONE ---> FAILED   All may also go to FAILED. MOVE may repeat. */",
            "only the drawing has DONE ---> FAILED; ");
    differs("/* START ---> MOVE ---> DONE ---> ENDED   All may also go to FAILED. MOVE may repeat. */",
            "the drawing has ENDED, which is no state; ");
    differs("/* nothing here */", "there is no drawing");
    differs("/* b-kind   START ---> MOVE ---> DONE */", "there is no drawing");
    differs("int START; // ---> MOVE\n", "there is no drawing");
}

static void sources_are_found(void **state)
{
    char path[4096];

    (void)state;
    assert_true(drawing_find_source(CAIRN_SOURCE_DIR, "rpc-call", path, sizeof(path)));
    assert_string_equal(path + strlen(CAIRN_SOURCE_DIR), "/sdk/core/rpc/rpc_call.c");
    assert_false(drawing_find_source(CAIRN_SOURCE_DIR, "no-such-kind", path, sizeof(path)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_forms),
        cmocka_unit_test(differences_are_seen),
        cmocka_unit_test(sources_are_found),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
