/* A namespace that is removed and made again under its name is another one, for clients and for their nodes. */
#include "tests/lib/patience.h"
#include "tests/unit/sdk/routed_fixture.h"

enum { ITEMS = 20 };

struct items {
    struct cairn_put_item puts[ITEMS];
    struct cairn_get_item gets[ITEMS];
    char keys[ITEMS][16], room[ITEMS][16];
};

static struct items *items_new(void)
{
    struct items *x = calloc(1, sizeof(*x));

    assert_non_null(x);
    for (size_t i = 0; i < ITEMS; i++) {
        size_t len = (size_t)snprintf(x->keys[i], sizeof(x->keys[i]), "item%zu", i);

        x->puts[i] = (struct cairn_put_item){ .key = x->keys[i], .key_len = len, .value = "v", .value_len = 1 };
        x->gets[i] = (struct cairn_get_item){ .key = x->keys[i], .key_len = len, .value = x->room[i], .room = 16 };
    }
    return x;
}

/* Whoever has it open from before is told, whatever he asks, and changes nothing of the new one. */
static void an_old_handle_is_refused(void **state)
{
    struct routed *x = routed_new(3, *(bool *)*state);
    struct items *m = items_new();
    struct cairn_page *page = NULL;
    struct cairn_ns *again;
    char *large = calloc(5, 1 << 20), back[16];
    bool exists;
    size_t len;

    assert_non_null(large);
    assert_int_equal(cairn_mput(x->ns, m->puts, ITEMS, &x->o), 0);
    scripted_cluster_remake(x->cluster);
    assert_int_equal(cairn_put(x->ns, "k", 1, "v", 1, &x->o), CAIRN_E_NOTFOUND);
    assert_non_null(strstr(x->error.text, "removed"));
    assert_int_equal(cairn_put(x->ns, "k", 1, large, 5 << 20, &x->o), CAIRN_E_NOTFOUND);
    assert_int_equal(cairn_mput(x->ns, m->puts, ITEMS, &x->o), CAIRN_E_NOTFOUND);
    assert_int_equal(cairn_get(x->ns, "k", 1, back, sizeof(back), &len, &x->o), CAIRN_E_NOTFOUND);
    assert_int_equal(cairn_mget(x->ns, m->gets, ITEMS, &x->o), CAIRN_E_NOTFOUND); /* all of it, and not each key */
    assert_non_null(strstr(x->error.text, "removed"));
    assert_int_equal(cairn_exists(x->ns, "k", 1, &exists, &x->o), CAIRN_E_NOTFOUND);
    assert_int_equal(cairn_delete(x->ns, "k", 1, &x->o), CAIRN_E_NOTFOUND);
    assert_int_equal(cairn_list(x->ns, "", 0, "", 0, 10, &page, &x->o), CAIRN_E_NOTFOUND);
    assert_int_equal(scripted_cluster_stores(x->cluster, "k", 1), 0);

    assert_int_equal(cairn_ns_open(x->c, "data", &again, &x->o), 0);
    assert_int_equal(cairn_put(again, "k", 1, "v", 1, &x->o), 0);
    assert_int_equal(cairn_put(again, "large", 5, large, 5 << 20, &x->o), 0);
    assert_int_equal(cairn_mget(again, m->gets, ITEMS, &x->o), 0);
    for (size_t i = 0; i < ITEMS; i++)
        assert_int_equal(m->gets[i].status, CAIRN_E_NOTFOUND);
    assert_int_equal(cairn_get(again, "k", 1, back, sizeof(back), &len, &x->o), 0);
    cairn_ns_close(again);
    free(large);
    free(m);
    routed_free(x);
}

/* A node that has not heard of the new one yet is asked until it has: what it does not know it denies of nothing. */
static void a_node_that_is_behind_is_waited_for(void **state)
{
    struct routed *x = routed_new(3, *(bool *)*state);
    struct scripted_member *behind = node_of(x, 1);
    struct outcome put = { 0 }, get = { 0 }, mget = { 0 };
    struct items *m = items_new();
    struct cairn_ns *again;
    char key[32], back[16];
    size_t len;

    assert_int_equal(cairn_mput(x->ns, m->puts, ITEMS, &x->o), 0);
    strcpy(key, key_of(x, 1, 0));
    scripted_cluster_remake(x->cluster);
    atomic_store(&behind->behind, true);
    assert_int_equal(cairn_ns_open(x->c, "data", &again, &x->o), 0); /* the first node has */
    assert_int_equal(cairn_put_async(again, key, strlen(key), "v", 1, NULL, on_done, &put), 0);
    assert_int_equal(cairn_get_async(again, key, strlen(key), back, sizeof(back), &len, NULL, on_done, &get), 0);
    assert_int_equal(cairn_mget_async(again, m->gets, ITEMS, NULL, on_done, &mget), 0);
    atomic_store(&behind->gets, 0);
    atomic_store(&behind->mgets, 0);
    WHILE_PATIENT (atomic_load(&behind->gets) < 2 || atomic_load(&behind->mgets) < 2)
        cairn_poll(x->c, 10);
    assert_int_equal(put.runs + get.runs + mget.runs, 0);
    assert_int_equal(scripted_cluster_stores(x->cluster, key, strlen(key)), 0);
    atomic_store(&behind->behind, false);
    assert_int_equal(cairn_drain(x->c, -1), 0);
    assert_int_equal(put.rc, 0);
    assert_int_equal(scripted_cluster_stores(x->cluster, key, strlen(key)), 1);
    assert_true(get.rc == 0 || get.rc == CAIRN_E_NOTFOUND); /* before the put, or after it */
    assert_int_equal(mget.rc, 0);
    for (size_t i = 0; i < ITEMS; i++)
        assert_int_equal(m->gets[i].status, CAIRN_E_NOTFOUND);
    cairn_ns_close(again);
    free(m);
    routed_free(x);
}

int main(void)
{
    static bool often = false, once = true;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(an_old_handle_is_refused, &often),
        cmocka_unit_test_prestate(an_old_handle_is_refused, &once),
        cmocka_unit_test_prestate(a_node_that_is_behind_is_waited_for, &often),
        cmocka_unit_test_prestate(a_node_that_is_behind_is_waited_for, &once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
