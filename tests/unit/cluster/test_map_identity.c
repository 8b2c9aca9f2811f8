/* Whose a shared map is: the first that comes, and no other; and what a newer version left. */
#include "server/cluster/map_identity.h"
#include "tests/lib/etcd.h"
#include "tests/lib/map_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define OURS   "0123456789abcdef0123456789abcdef"
#define THEIRS "ffffffffffffffffffffffffffffffff"

static void first_comer_owns_it(void **state)
{
    struct map_world *w = map_world_local.open();
    struct cairn_map_identity id;
    struct cairn_err err = { 0 };

    (void)state;
    assert_int_equal(cairn_map_identity_get(w->store, &id, &err), CAIRN_E_NOTFOUND);
    assert_int_equal(cairn_map_identity_check(w->store, THEIRS, &err), 0); /* it changes nothing */
    assert_int_equal(cairn_map_identity_claim(w->store, OURS, &err), 0);
    assert_int_equal(cairn_map_identity_claim(w->store, OURS, &err), 0);
    assert_int_equal(cairn_map_identity_check(w->store, OURS, &err), 0);
    assert_int_equal(cairn_map_identity_claim(w->store, THEIRS, &err), CAIRN_E_CONFIG);
    assert_non_null(strstr(err.text, "belongs to cluster " OURS ", and this node to cluster " THEIRS));
    assert_int_equal(cairn_map_identity_check(w->store, THEIRS, &err), CAIRN_E_CONFIG);
    assert_int_equal(cairn_map_identity_get(w->store, &id, &err), 0);
    assert_string_equal(id.cluster, OURS);
    map_world_local.close(w);
}

#if CAIRN_WITH_ETCD
/* A view that lags does not make it the second's. */
static void of_two_that_come_at_once_one_is_refused(void **state)
{
    struct map_world *w;
    struct cairn_map_store *other;
    struct cairn_err err = { 0 };

    (void)state;
    if (!etcd_is_there())
        skip();
    w = map_world_etcd.open();
    other = map_world_etcd.other(w);
    assert_int_equal(cairn_map_store_await(w->store, 20000, &err), 0);
    assert_int_equal(cairn_map_store_await(other, 20000, &err), 0);
    assert_int_equal(cairn_map_identity_claim(w->store, OURS, &err), 0);
    assert_int_equal(cairn_map_identity_claim(other, THEIRS, &err), CAIRN_E_CONFIG);
    map_world_etcd.close(w);
}
#endif

static void what_cannot_be_understood_is_refused(void **state)
{
    static const struct {
        const char *value;
        int rc;
    } cases[] = {
        { "3 " OURS, CAIRN_E_FORMAT },
        { "1 " OURS, CAIRN_E_FORMAT },
        { "17 and whatever else there will be", CAIRN_E_FORMAT },
        { "2 " OURS "0", CAIRN_E_CORRUPT },
        { "2 0123456789abcdef0123456789ABCDEF", CAIRN_E_CORRUPT },
        { "1" OURS, CAIRN_E_FORMAT }, /* a number, and a great one */
        { "0 " OURS, CAIRN_E_CORRUPT },
        { "-1 " OURS, CAIRN_E_CORRUPT },
        { "", CAIRN_E_CORRUPT },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct map_world *w = map_world_local.open();
        struct cairn_map_identity id;
        struct cairn_err err = { 0 };

        assert_int_equal(map_world_put(w, CAIRN_MAP_IDENTITY_KEY, cases[i].value, 0, NULL), 0);
        assert_int_equal(cairn_map_identity_get(w->store, &id, &err), cases[i].rc);
        assert_int_equal(cairn_map_identity_claim(w->store, OURS, &err), cases[i].rc);
        assert_true(err.text[0] != '\0');
        map_world_local.close(w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(first_comer_owns_it),
#if CAIRN_WITH_ETCD
        cmocka_unit_test(of_two_that_come_at_once_one_is_refused),
#endif
        cmocka_unit_test(what_cannot_be_understood_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
