/* Every kind of state machine of this build: its table is sound, and its drawing says what its table says. */
#include "sdk/client/client_internal.h"
#include "sdk/client/hashed_spread.h"
#include "sdk/core/bulk/bulk.h"
#include "server/cluster/election.h"
#include "server/cluster/map_store_etcd.h"
#include "server/node/introspect.h"
#include "server/node/node.h"
#include "server/router/router.h"
#include "tests/lib/drawing.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void add_all(struct cairn_kinds *kinds)
{
    static const struct cairn_sm_kind *const client[] = {
        &cairn_client_call_kind,  &cairn_writer_step_kind,   &cairn_route_kind,  &cairn_route_fetch_kind,
        &cairn_route_member_kind, &cairn_route_session_kind, &cairn_spread_kind, NULL,
    };

    cairn_kinds_add(kinds, cairn_node_kinds);
    cairn_kinds_add(kinds, cairn_rpc_kinds);
    cairn_kinds_add(kinds, client);
    cairn_kinds_add(kinds, cairn_router_desc.machines);
    cairn_kinds_add(kinds, cairn_map_etcd_kinds);
    cairn_kinds_add(kinds, cairn_election_kinds);
    for (uint32_t i = 0; cairn_provider_list[i] != NULL; i++)
        cairn_kinds_add(kinds, cairn_provider_list[i]->machines);
}

static void tables_are_sound(void **state)
{
    struct cairn_kinds kinds = { 0 };
    struct cairn_err err = { 0 };

    (void)state;
    add_all(&kinds);
    assert_true(kinds.n >= 8);
    if (cairn_kinds_check(&kinds, &err) != 0)
        fail_msg("%s", err.text);
}

static void drawings_agree_with_tables(void **state)
{
    struct cairn_kinds kinds = { 0 };
    uint32_t bad = 0;

    (void)state;
    add_all(&kinds);
    for (uint32_t i = 0; i < kinds.n; i++) {
        char path[4096], why[DRAWING_WHY_MAX] = "no source defines it";

        if (drawing_find_source(CAIRN_SOURCE_DIR, kinds.kinds[i]->name, path, sizeof(path)) &&
            drawing_file_matches(kinds.kinds[i], path, why))
            continue;
        print_error("%s: %s\n", kinds.kinds[i]->name, why);
        bad++;
    }
    assert_int_equal(bad, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tables_are_sound),
        cmocka_unit_test(drawings_agree_with_tables),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
