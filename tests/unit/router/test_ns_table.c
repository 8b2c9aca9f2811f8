/* One worker's namespaces: what is kept of those that were removed. */
#include "server/router/router_internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static void make_and_remove(struct cairn_router *r, uint32_t id)
{
    struct router_ns *ns = calloc(1, sizeof(*ns));

    assert_non_null(ns);
    snprintf(ns->name, sizeof(ns->name), "again");
    ns->id = id;
    ns->clustered = true;
    cairn_list_init(&ns->link);
    router_ns_add(router_home(r), ns);
    assert_ptr_equal(router_ns_find(router_home(r), "again"), ns);
    router_ns_del(router_home(r), ns);
    assert_null(router_ns_find(router_home(r), "again"));
}

static bool is_known(const struct cairn_router *r, uint32_t id)
{
    for (uint32_t i = 0; i < r->nremoved; i++) {
        if (r->removed[i] == id)
            return true;
    }
    return false;
}

/* However often a namespace is made and removed: the newest are swept by this process, others by the next. */
static void those_that_were_removed_are_bounded(void **state)
{
    static struct cairn_router r;
    static struct router_worker home;
    uint32_t id = 1;

    (void)state;
    r.workers = &home;
    r.nworkers = 1;
    home.router = &r;
    for (uint32_t i = 0; i < ROUTER_BUCKETS; i++)
        cairn_list_init(&home.buckets[i]);
    while (id <= ROUTER_REMOVED_MAX)
        make_and_remove(&r, id++);
    assert_false(atomic_load(&r.left_garbage));
    assert_true(is_known(&r, 1));
    while (id <= 3 * ROUTER_REMOVED_MAX / 2)
        make_and_remove(&r, id++);
    assert_true(atomic_load(&r.left_garbage));
    assert_int_equal(r.nremoved, ROUTER_REMOVED_MAX);
    for (uint32_t i = 1; i < id; i++)
        assert_int_equal(is_known(&r, i), i + ROUTER_REMOVED_MAX >= id);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(those_that_were_removed_are_bounded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
