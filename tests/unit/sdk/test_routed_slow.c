/* Clusters that need longer for an answer than a client has patience: it comes to its end all the same. */
#include "tests/lib/patience.h"
#include "tests/unit/sdk/routed_fixture.h"

static int put(struct routed *x, const char *key, uint32_t timeout_ms)
{
    x->o.timeout_ms = timeout_ms;
    return cairn_put(x->ns, key, strlen(key), "v", 1, &x->o);
}

/* It has no answer, and is asked for once, whatever becomes of the time of the write. */
static void begin_an_open(struct routed *x, const char *key)
{
    assert_int_equal(cairn_exists(x->ns, key, strlen(key), &(bool){ false }, NULL), 0); /* there is a map */
    x->c->routing->try_ms = 3600000;
    scripted_cluster_fault(x->cluster, 1, SCRIPTED_SILENT, 1);
    WHILE_PATIENT (node_of(x, 1)->opens == 0)
        assert_int_equal(put(x, key, 50), CAIRN_E_TIMEOUT);
}

/* A session's OPEN takes longer than any write has time for. The writes end in their time, whoever drains the client
 * does not wait for what nobody wants just now, and the next write finds what the one before it began. */
static void an_open_outlives_the_write_that_began_it(void **state)
{
    struct routed *x = routed_new(2, false);
    char key[32];

    (void)state;
    strcpy(key, key_of(x, 1, 0));
    begin_an_open(x, key);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(put(x, key, 100), CAIRN_E_TIMEOUT);
        assert_non_null(strstr(x->error.text, "nothing was done"));
        assert_int_equal(cairn_drain(x->c, 0), 0);
        assert_int_equal(node_of(x, 1)->opens, 1);
    }
    scripted_cluster_answer_opens(x->cluster);
    assert_int_equal(put(x, key, 20000), 0);
    assert_int_equal(node_of(x, 1)->opens, 1);
    assert_int_equal(scripted_cluster_stores(x->cluster, key, strlen(key)), 1);
    routed_free(x);
}

/* Nor does a client's end wait for it. */
static void a_client_ends_without_its_open(void **state)
{
    struct routed *x = routed_new(2, false);
    char key[32];

    (void)state;
    strcpy(key, key_of(x, 1, 0));
    begin_an_open(x, key);
    routed_free(x);
}

/* A namespace may go while its OPEN is under way, and another use the session. */
static void an_open_outlives_the_handle_that_began_it(void **state)
{
    struct routed *x = routed_new(2, false);
    char key[32];

    (void)state;
    strcpy(key, key_of(x, 1, 0));
    begin_an_open(x, key);
    cairn_ns_close(x->ns);
    assert_int_equal(cairn_ns_open(x->c, "data", &x->ns, NULL), 0);
    scripted_cluster_answer_opens(x->cluster);
    assert_int_equal(put(x, key, 20000), 0);
    assert_int_equal(node_of(x, 1)->opens, 1);
    routed_free(x);
}

/* Nothing is answered within a try, whatever is asked: each try gives it more time, until it is. */
static void tries_become_as_long_as_answers_take(void **state)
{
    struct routed *x = routed_new(2, false);
    char key[32], back[16];
    size_t len = 0;

    (void)state;
    strcpy(key, key_of(x, 1, 0));
    assert_int_equal(cairn_exists(x->ns, key, strlen(key), &(bool){ false }, NULL), 0); /* there is a connection */
    x->c->routing->try_ms = 20;
    atomic_store(&node_of(x, 1)->slow_ms, 100);
    scripted_cluster_fault(x->cluster, 1, SCRIPTED_SLOW, 1000000);
    assert_int_equal(put(x, key, 10000), 0);
    assert_in_range(node_of(x, 1)->opens, 2, 9); /* a machine that stands still takes some of them, too */
    assert_int_equal(scripted_cluster_stores(x->cluster, key, strlen(key)), 1);
    assert_int_equal(cairn_get(x->ns, key, strlen(key), back, sizeof(back), &len, &x->o), 0);
    assert_int_equal(len, 1);
    routed_free(x);
}

/* Whose time is over knows who has not answered. */
static void who_does_not_answer_is_named(void **state)
{
    static const char named[] = "node n1, which leads";
    struct routed *x = routed_new(3, false);
    struct cairn_get_item item = { .room = 16 };
    struct cairn_put_item sent = { .value = "v", .value_len = 1 };
    struct cairn_page *page = NULL;
    char key[32], back[16];
    size_t len = 0;

    (void)state;
    strcpy(key, key_of(x, 1, 0));
    item.key = sent.key = key;
    item.key_len = sent.key_len = len = strlen(key);
    item.value = back;
    assert_int_equal(cairn_exists(x->ns, key, len, &(bool){ false }, NULL), 0); /* the map is here */
    assert_int_equal(cairn_list(x->ns, "", 0, "", 0, 0, &page, NULL), 0); /* and connections with all */
    cairn_free(page);
    page = NULL;
    scripted_cluster_fault(x->cluster, 1, SCRIPTED_SILENT, INT32_MAX);
    x->o.timeout_ms = 100;
    for (int i = 0; i < 5; i++) {
        int rc = i == 0   ? cairn_get(x->ns, key, strlen(key), back, sizeof(back), &len, &x->o)
                 : i == 1 ? cairn_put(x->ns, key, strlen(key), "v", 1, &x->o) /* it has no number yet */
                 : i == 2 ? cairn_mget(x->ns, &item, 1, &x->o)
                 : i == 3 ? cairn_mput(x->ns, &sent, 1, &x->o)
                          : cairn_list(x->ns, "", 0, "", 0, 0, &page, &x->o);

        assert_int_equal(rc, CAIRN_E_TIMEOUT);
        if (strstr(x->error.text, named) == NULL || strstr(x->error.text, "the time is over") == NULL)
            fail_msg("call %d: '%s' does not tell of '%s'", i, x->error.text, named);
    }
    assert_non_null(strstr(x->error.text, "some of it"));
    scripted_cluster_fault(x->cluster, 1, SCRIPTED_MOVED, INT32_MAX); /* an answer, though of no use */
    x->o.timeout_ms = 1000;
    assert_int_equal(cairn_get(x->ns, key, strlen(key), back, sizeof(back), &len, &x->o), CAIRN_E_TIMEOUT);
    assert_null(strstr(x->error.text, "n1"));
    routed_free(x);
}

static const char *key_between(struct routed *x, uint32_t leader, uint32_t from, uint32_t to)
{
    const char *key;
    uint32_t n = 0, slot;

    do {
        key = key_of(x, leader, n++);
        slot = scripted_cluster_slot(key, strlen(key));
    } while (slot < from || slot >= to);
    return key;
}

/* A node that gives only so many pages of the map a second, and is in the middle of them, is waited for: who would begin
 * anew elsewhere each time would never have all. */
static void pages_that_come_slowly_come_all(void **state)
{
    struct routed *x = routed_new(2, false);
    char keys[2][32];

    (void)state;
    strcpy(keys[0], key_between(x, 0, 0, SCRIPTED_SLOTS / 2));
    strcpy(keys[1], key_between(x, 0, SCRIPTED_SLOTS / 2, SCRIPTED_SLOTS));
    assert_int_equal(put(x, keys[0], 20000), 0);
    for (uint32_t i = 0; i < 2; i++)
        atomic_store(&node_of(x, i)->busy, 3);
    for (uint32_t i = 0; i < 2; i++)
        scripted_cluster_move(x->cluster, scripted_cluster_slot(keys[i], strlen(keys[i])), 1);
    for (uint32_t i = 0; i < 2; i++) {
        assert_int_equal(put(x, keys[i], 60000), 0);
        assert_int_equal(scripted_cluster_stores(x->cluster, keys[i], strlen(keys[i])), 2 - i);
    }
    assert_true(node_of(x, 0)->maps + node_of(x, 1)->maps >= 1 + 3 + 1);
    routed_free(x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_open_outlives_the_write_that_began_it),
        cmocka_unit_test(a_client_ends_without_its_open),
        cmocka_unit_test(an_open_outlives_the_handle_that_began_it),
        cmocka_unit_test(tries_become_as_long_as_answers_take),
        cmocka_unit_test(who_does_not_answer_is_named),
        cmocka_unit_test(pages_that_come_slowly_come_all),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
