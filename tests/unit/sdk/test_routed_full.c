/* What calls wait for is there: in clients that have as many in flight as they may, and when it was another's. */
#include "tests/unit/sdk/routed_fixture.h"

enum { FULL = 8, MANY = 300 };

/* A fresh client: all wait for the map, then each for the session of its slot. */
static void writes_until_it_is_busy_all_succeed(void **state)
{
    struct routed *x = routed_new_with(3, false, FULL);
    struct outcome out[FULL + 1] = { 0 };
    char key[FULL + 1][16];
    int n, rc = 0;

    (void)state;
    for (n = 0; n <= FULL && rc == 0; n += rc == 0) {
        snprintf(key[n], sizeof(key[n]), "k%d", n);
        rc = cairn_put_async(x->ns, key[n], strlen(key[n]), "v", 1, &x->o, on_done, &out[n]);
    }
    assert_int_equal(rc, CAIRN_E_BUSY);
    assert_int_equal(n, FULL);
    assert_int_equal(cairn_drain(x->c, -1), 0);
    for (int i = 0; i < n; i++) {
        assert_int_equal(out[i].runs, 1);
        assert_int_equal(out[i].rc, 0);
    }
    routed_free(x);
}

struct chain {
    struct routed *x;
    uint32_t number, steps;
    int rc;
    char key[32];
};

static void chain_step(void *arg, int rc)
{
    struct chain *ch = arg;

    if (rc != 0)
        ch->rc = rc;
    if (rc != 0 || ch->steps++ == 20)
        return;
    snprintf(ch->key, sizeof(ch->key), "chain%u-%u", ch->number, ch->steps);
    rc = cairn_put_async(ch->x->ns, ch->key, strlen(ch->key), "v", 1, &ch->x->o, chain_step, ch);
    if (rc != 0)
        ch->rc = rc;
}

/* Each callback fills the place that its call has left: no room is ever free. */
static void callbacks_that_start_the_next_leave_no_room(void **state)
{
    struct routed *x = routed_new_with(3, false, FULL);
    struct chain chains[FULL];

    (void)state;
    for (uint32_t i = 0; i < FULL; i++) {
        chains[i] = (struct chain){ .x = x, .number = i };
        chain_step(&chains[i], 0);
    }
    assert_int_equal(cairn_drain(x->c, -1), 0);
    for (uint32_t i = 0; i < FULL; i++) {
        assert_int_equal(chains[i].rc, 0);
        assert_int_equal(chains[i].steps, 21);
    }
    routed_free(x);
}

/* One call at a time may be made of several: batches, some of them with values that go alone, lists, parts. */
static void one_call_at_a_time_is_enough(void **state)
{
    static struct cairn_put_item puts[MANY];
    static char names[MANY][16];
    struct routed *x = routed_new_with(3, false, 1);
    struct cairn_page *page = NULL;
    char *large = calloc(5, 1 << 20);

    (void)state;
    assert_non_null(large);
    assert_int_equal(cairn_put(x->ns, "k", 1, "v", 1, &x->o), 0);
    for (size_t i = 0; i < MANY; i++) {
        snprintf(names[i], sizeof(names[i]), "key%zu", i);
        puts[i] = (struct cairn_put_item){
            .key = names[i], .key_len = strlen(names[i]), .value = large, .value_len = i % 100 == 0 ? 5 << 20 : 1
        };
    }
    assert_int_equal(cairn_mput(x->ns, puts, MANY, &x->o), 0);
    assert_int_equal(cairn_list(x->ns, "", 0, "", 0, 2 * MANY, &page, &x->o), 0);
    assert_int_equal(page->n, MANY + 1);
    cairn_free(page);
    free(large);
    routed_free(x);
}

/* Slots are shared by namespaces: that one may not be written says nothing of the others. */
static void a_session_refused_to_one_namespace_is_opened_by_the_next(void **state)
{
    struct routed *x = routed_new(2, false);
    struct outcome out[4] = { 0 };
    struct cairn_ns *other;
    bool exists;
    char key[32];

    (void)state;
    assert_int_equal(cairn_ns_open(x->c, "other", &other, NULL), 0);
    strcpy(key, key_of(x, 1, 0));
    /* The map is known: the first write asks for the session, and the others wait for it. */
    assert_int_equal(cairn_exists(x->ns, key, strlen(key), &exists, &x->o), 0);
    scripted_cluster_fault(x->cluster, 1, SCRIPTED_DENIED, 1);
    for (int i = 0; i < 4; i++)
        assert_int_equal(
            cairn_put_async(i % 2 == 0 ? x->ns : other, key, strlen(key), "v", 1, NULL, on_done, &out[i]), 0);
    assert_int_equal(cairn_drain(x->c, -1), 0);
    for (int i = 0; i < 4; i++)
        assert_int_equal(out[i].rc, i % 2 == 0 ? CAIRN_E_DENIED : 0);
    assert_int_equal(atomic_load(&node_of(x, 1)->opens), 2);
    cairn_ns_close(other);
    routed_free(x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writes_until_it_is_busy_all_succeed),
        cmocka_unit_test(callbacks_that_start_the_next_leave_no_room),
        cmocka_unit_test(one_call_at_a_time_is_enough),
        cmocka_unit_test(a_session_refused_to_one_namespace_is_opened_by_the_next),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
