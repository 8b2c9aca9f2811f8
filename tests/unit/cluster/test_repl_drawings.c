/* The state machines of replication and of a node's part in it: their tables are sound, and their drawings say what
 * the tables say. */
#include "server/cluster/service/fetch.h"
#include "server/cluster/service/scrub.h"
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

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(drawings_agree_with_tables) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
