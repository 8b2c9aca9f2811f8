/* Nodes whose host names are not known here: looking them up keeps the loop, so it is not done at each try; and nobody
 * waits for them whom others can answer. */
#include "tests/lib/patience.h"
#include "tests/unit/sdk/routed_fixture.h"

#include <netdb.h>

static atomic_uint lookups;

/* In front of the C library's: no name is known. */
int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints, struct addrinfo **found)
{
    (void)name;
    (void)service;
    (void)hints;
    (void)found;
    atomic_fetch_add(&lookups, 1);
    return EAI_NONAME;
}

static void a_name_that_is_not_known_is_looked_up_now_and_then(void **state)
{
    enum { CALLS = 50, OPEN_MS = 15000 };
    struct routed *x = routed_new(2, false);
    struct outcome out[CALLS] = { 0 };
    char key[32], back[16];
    double began = seconds();
    size_t len;

    (void)state;
    strcpy(key, key_of(x, 1, 0));
    scripted_cluster_tell(x->cluster, 1, "tcp://nowhere.invalid:4711");
    x->o.timeout_ms = 1500;
    for (int i = 0; i < CALLS; i++)
        assert_int_equal(cairn_put_async(x->ns, key, strlen(key), "v", 1, &x->o, on_done, &out[i]), 0);
    WHILE_PATIENT (out[CALLS - 1].runs == 0)
        cairn_poll(x->c, 10);
    /* What they waited for ends with them, long before its own time is over. */
    assert_int_equal(cairn_drain(x->c, OPEN_MS), 0);
    for (int i = 0; i < CALLS; i++)
        assert_int_equal(out[i].rc, CAIRN_E_TIMEOUT);
    assert_true(atomic_load(&lookups) > 0);
    assert_true(atomic_load(&lookups) <= 2 + seconds() - began); /* one a second */
    /* A new address is tried at once. */
    x->o.timeout_ms = 0;
    scripted_cluster_address(x->cluster, 1, 1);
    assert_int_equal(cairn_put(x->ns, key, strlen(key), "v", 1, &x->o), 0);
    assert_int_equal(cairn_get(x->ns, key, strlen(key), back, sizeof(back), &len, &x->o), 0);
    routed_free(x);
}

/* No way leads to a node, whose slots another takes over meanwhile: whoever wants answers of all nodes hears of it, and
 * does not wait for that one. */
static void who_leads_no_more_is_not_waited_for(void **state)
{
    enum { MANY = 60 };
    static struct cairn_put_item puts[MANY];
    static struct cairn_get_item gets[MANY];
    static char names[MANY][16], bufs[MANY][16];
    struct routed *x = routed_new(3, false);
    struct outcome out[3] = { 0 };
    struct cairn_page *page = NULL;

    (void)state;
    for (int i = 0; i < MANY; i++) {
        size_t n = (size_t)snprintf(names[i], sizeof(names[i]), "key%d", i);

        scripted_cluster_store(x->cluster, names[i], n, "v", 1);
        puts[i] = (struct cairn_put_item){ .key = names[i], .key_len = n, .value = "v", .value_len = 1 };
        gets[i] = (struct cairn_get_item){ .key = names[i], .key_len = n, .value = bufs[i], .room = sizeof(bufs[i]) };
    }
    scripted_cluster_tell(x->cluster, 2, "tcp://nowhere.invalid:4711");
    x->o.timeout_ms = 3600000;
    assert_int_equal(cairn_mput_async(x->ns, puts, MANY, &x->o, on_done, &out[0]), 0);
    assert_int_equal(cairn_mget_async(x->ns, gets, MANY, &x->o, on_done, &out[1]), 0);
    assert_int_equal(cairn_list_async(x->ns, "", 0, "", 0, MANY, &page, &x->o, on_done, &out[2]), 0);
    WHILE_PATIENT (node_of(x, 1)->mgets == 0 || node_of(x, 1)->lists == 0 || node_of(x, 1)->opens == 0)
        cairn_poll(x->c, 10);
    for (uint32_t slot = 2; slot < SCRIPTED_SLOTS; slot += 3)
        scripted_cluster_move(x->cluster, slot, 1);
    WHILE_PATIENT (out[0].runs + out[1].runs + out[2].runs < 3)
        cairn_poll(x->c, 10);
    for (int i = 0; i < 3; i++)
        assert_true(out[i].runs == 1 && out[i].rc == 0);
    assert_int_equal(page->n, MANY);
    cairn_free(page);
    routed_free(x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_name_that_is_not_known_is_looked_up_now_and_then),
        cmocka_unit_test(who_leads_no_more_is_not_waited_for),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
