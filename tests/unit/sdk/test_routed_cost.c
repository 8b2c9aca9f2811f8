/* What a routed call costs beside one to a single node: no allocation, and no question for the map. */
#include "tests/lib/failing_malloc.h"
#include "tests/lib/scripted_node.h"
#include "tests/unit/sdk/routed_fixture.h"

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

#ifdef FAILING_MALLOC
/* Everything that a client does there, once; each call does what it should, or says that there is no memory. */
static int story(struct routed *x)
{
    struct cairn_put_item puts[20];
    struct cairn_get_item gets[20];
    struct cairn_page *page = NULL;
    char names[20][16], bufs[20][16];
    int rc[5];
    size_t len;

    for (int i = 0; i < 20; i++) {
        snprintf(names[i], sizeof(names[i]), "k%d", i);
        puts[i] = (struct cairn_put_item){ .key = names[i], .key_len = strlen(names[i]), .value = "v", .value_len = 1 };
        gets[i] = (struct cairn_get_item){
            .key = names[i], .key_len = strlen(names[i]), .value = bufs[i], .room = sizeof(bufs[i])
        };
    }
    rc[0] = cairn_put(x->ns, "k0", 2, "v", 1, &x->o);
    rc[1] = cairn_mput(x->ns, puts, 20, &x->o);
    rc[2] = cairn_get(x->ns, "k0", 2, bufs[0], sizeof(bufs[0]), &len, &x->o);
    rc[3] = cairn_mget(x->ns, gets, 20, &x->o);
    rc[4] = cairn_list(x->ns, "k", 1, "", 0, 0, &page, &x->o);
    cairn_free(page);
    for (int i = 0; i < 5; i++) {
        if (rc[i] != 0 && rc[i] != CAIRN_E_NOMEM && !(i == 2 && rc[0] != 0 && rc[1] != 0 && rc[2] == CAIRN_E_NOTFOUND))
            return rc[i];
    }
    return 0;
}
#endif

static void each_allocation_fails(void **state)
{
#ifdef FAILING_MALLOC
    bool came = true;

    (void)state;
    for (uint32_t n = 1; came; n++) {
        struct routed *x = routed_new(3, false);
        double began = seconds();
        int rc;

        failing_malloc_begin(n);
        rc = story(x);
        came = failing_malloc_end();
        if (rc != 0)
            fail_msg("allocation %u: %s, %s", n, cairn_error_name(rc), x->error.text);
        if (seconds() - began > SOON_S)
            fail_msg("allocation %u: it took %.1f s", n, seconds() - began);
        assert_int_equal(story(x), 0); /* and nothing is broken */
        routed_free(x);
        assert_true(came || n > 30);
    }
#else
    (void)state;
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_routed_call_allocates_nothing),
        cmocka_unit_test(one_node_knows_nothing_of_routes),
        cmocka_unit_test(each_allocation_fails),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
