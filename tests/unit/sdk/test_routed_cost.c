/* What a routed call costs beside one to a single node: no allocation, and no question for the map. */
#include "tests/lib/failing_malloc.h"
#include "tests/unit/sdk/routed_fixture.h"
#include "tests/lib/scripted_node.h"

enum { CALLS = 200 };

static void calls(struct cairn_ns *ns, const char *const *keys, uint32_t n)
{
    char back[16];
    size_t len;

    for (int i = 0; i < CALLS; i++) {
        const char *key = keys[i % (int)n];
        int rc = cairn_put(ns, key, strlen(key), "value", 5, NULL);

        if (rc == 0)
            rc = cairn_get(ns, key, strlen(key), back, sizeof(back), &len, NULL);
        if (rc != 0)
            abort();
    }
}

static uint64_t allocations_of(struct cairn_ns *ns, const char *const *keys, uint32_t n)
{
    uint32_t made = 0;

    calls(ns, keys, n); /* sessions, spare calls, buffers */
#ifdef FAILING_MALLOC
    failing_malloc_begin(UINT32_MAX);
    calls(ns, keys, n);
    made = UINT32_MAX - failing_malloc_until;
    failing_malloc_end();
#endif
    return made;
}

static void a_routed_call_allocates_nothing(void **state)
{
    struct routed *x = routed_new(3, false);
    const char *keys[6];
    char texts[6][32];
    uint32_t maps = 0;

    (void)state;
    for (uint32_t i = 0; i < 6; i++)
        keys[i] = strcpy(texts[i], key_of(x, i % 3, i / 3));
    assert_int_equal(allocations_of(x->ns, keys, 6), 0);
    for (uint32_t i = 0; i < 3; i++)
        maps += scripted_cluster_node(x->cluster, i)->maps;
    assert_int_equal(maps, 1); /* and the map was asked for once */
    routed_free(x);
}

static void one_node_knows_nothing_of_routes(void **state)
{
    struct scripted_node *node = scripted_node_start();
    struct cairn_options o = CAIRN_OPTIONS_INIT;
    const char *keys[] = { "a", "b" };
    struct cairn_ns *ns;
    struct cairn *c;

    (void)state;
    o.workspace = scripted_node_workspace(node);
    assert_int_equal(cairn_connect(&o, &c, NULL), 0);
    assert_int_equal(cairn_ns_open(c, "data", &ns, NULL), 0);
    assert_int_equal(allocations_of(ns, keys, 2), 0);
    assert_null(c->routing);
    cairn_ns_close(ns);
    cairn_close(c);
    scripted_node_free(node);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_routed_call_allocates_nothing),
        cmocka_unit_test(one_node_knows_nothing_of_routes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
