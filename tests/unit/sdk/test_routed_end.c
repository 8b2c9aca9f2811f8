/* A client that ends says so where it has sessions, to nodes that it has connections with. */
#include "tests/unit/sdk/routed_fixture.h"

static void put_at(struct routed *x, uint32_t node, uint32_t nth)
{
    const char *key = key_of(x, node, nth);

    assert_int_equal(cairn_put(x->ns, key, strlen(key), "v", 1, &x->o), 0);
}

static void client_ends(struct routed *x)
{
    cairn_ns_close(x->ns);
    cairn_close(x->c);
    x->ns = NULL;
    x->c = NULL;
}

static void its_sessions_end_with_it(void **state)
{
    struct routed *x = routed_new(3, false);

    (void)state;
    put_at(x, 1, 0);
    put_at(x, 1, 0);
    put_at(x, 1, 1);
    put_at(x, 2, 0);
    client_ends(x);
    assert_int_equal(node_of(x, 0)->closes, 0);
    assert_int_equal(node_of(x, 1)->opens, 2);
    assert_int_equal(node_of(x, 1)->closes, 2);
    assert_int_equal(node_of(x, 2)->closes, 1);
    routed_free(x);
}

/* It goes to the one that leads as far as the client knows, once: sessions end by themselves, too. */
static void who_leads_no_more_is_no_trouble(void **state)
{
    struct routed *x = routed_new(3, false);
    const char *key;

    (void)state;
    put_at(x, 1, 0);
    put_at(x, 2, 0);
    key = key_of(x, 1, 0);
    scripted_cluster_move(x->cluster, scripted_cluster_slot(key, strlen(key)), 0);
    client_ends(x);
    assert_int_equal(node_of(x, 1)->closes, 0);
    assert_int_equal(node_of(x, 2)->closes, 1);
    routed_free(x);
}

static void without_sessions_nothing_is_said(void **state)
{
    struct routed *x = routed_new(3, true);

    (void)state;
    put_at(x, 1, 0);
    client_ends(x);
    assert_int_equal(node_of(x, 1)->puts, 1);
    assert_int_equal(node_of(x, 1)->closes, 0);
    routed_free(x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(its_sessions_end_with_it),
        cmocka_unit_test(who_leads_no_more_is_no_trouble),
        cmocka_unit_test(without_sessions_nothing_is_said),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
