/* The state machines of replication and of a node's part in it: their tables are sound, and their drawings say what
 * the tables say. */
#include "server/cluster/service/fetch.h"
#include "server/cluster/service/scrub.h"
#include "server/cluster/service/writes.h"
#include "tests/lib/drawing.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void drawings_agree_with_tables(void **state)
{
    static const struct cairn_sm_kind *const kinds[] = {
        &cairn_replica_kind, &cairn_replica_copy_kind, &cairn_replica_load_kind, &side_life_kind,  &side_leave_kind,
        &store_start_kind,   &store_apply_kind,        &store_job_kind,          &store_view_kind, &cluster_fetch_kind,
        &store_scan_kind,    &scrub_key_kind,          &side_scrub_kind
    };
    uint32_t bad = 0;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        char path[4096], why[DRAWING_WHY_MAX] = "no source defines it";
        struct cairn_err err = { 0 };

        if (cairn_sm_kind_check(kinds[i], &err) == 0 &&
            drawing_find_source(CAIRN_SOURCE_DIR, kinds[i]->name, path, sizeof(path)) &&
            drawing_file_matches(kinds[i], path, why))
            continue;
        print_error("%s: %s %s\n", kinds[i]->name, err.text, why);
        bad++;
    }
    assert_int_equal(bad, 0);
}

/* They live as long as the node, and have nothing to do for most of the time: `cairn machines` calls none of that stuck. */
static void who_waits_for_work_rests(void **state)
{
    (void)state;
    assert_true((side_leave_kind.states[0].flags & CAIRN_SM_RESTING) != 0);
    assert_true((cairn_writes_kind.states[CAIRN_WRITES_IDLE].flags & CAIRN_SM_RESTING) != 0);
    for (uint32_t i = 1; i < CAIRN_WRITES_NR; i++)
        assert_true((cairn_writes_kind.states[i].flags & CAIRN_SM_RESTING) == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(drawings_agree_with_tables),
                                        cmocka_unit_test(who_waits_for_work_rests) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
