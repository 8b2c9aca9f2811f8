/* Nodes whose host names are not known here: looking them up keeps the loop, so it is not done at each try. */
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

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(a_name_that_is_not_known_is_looked_up_now_and_then) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
