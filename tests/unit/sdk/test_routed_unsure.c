/* Writes that may have been done, and writes that cannot have been: which of them a client says it is. */
#include "tests/lib/patience.h"
#include "tests/unit/sdk/routed_fixture.h"

static int put(struct routed *x, const char *key)
{
    return cairn_put(x->ns, key, strlen(key), "v", 1, &x->o);
}

/* No connection to any node is left that a call needs not. */
static void leave_all(struct routed *x)
{
    struct route_members *m = &x->c->routing->members;
    uint64_t idle_ns = m->idle_ns;

    m->idle_ns = 1;
    cairn_timer_stop(&x->c->loop.env, &m->timer);
    assert_int_equal(put(x, key_of(x, 0, 0)), 0); /* which begins to watch again */
    while (m->nopen > 0)
        assert_int_equal(cairn_ping(x->c, NULL), 0); /* which turns the loop */
    m->idle_ns = idle_ns;
}

/* It was sent once, and then nobody could be asked any more. False: a client that stood still looks at its connection
 * first, so it was not. */
static bool is_sent_and_then_unreachable(void)
{
    struct routed *x = routed_new(2, false);
    char key[32];
    bool sent;
    int rc;

    strcpy(key, key_of(x, 1, 0));
    assert_int_equal(put(x, key), 0);
    x->c->routing->try_ms = 100;
    scripted_cluster_unlisten(x->cluster, 1);
    scripted_cluster_fault(x->cluster, 1, SCRIPTED_DIE_AFTER, 1);
    x->o.timeout_ms = 900; /* amid a try that finds nobody */
    rc = put(x, key);
    sent = scripted_cluster_stores(x->cluster, key, strlen(key)) == 2;
    if (sent)
        assert_int_equal(rc, CAIRN_E_TIMEOUT);
    assert_true(sent == (strstr(x->error.text, "may have been done") != NULL));
    /* And what never left is not. */
    assert_int_not_equal(put(x, key), 0);
    assert_null(strstr(x->error.text, "may have been done"));
    routed_free(x);
    return sent;
}

static void what_was_sent_is_not_unreachable_at_the_end(void **state)
{
    (void)state;
    WHILE_PATIENT (!is_sent_and_then_unreachable())
        continue;
}

/* Whoever had it says nothing, and whoever leads now has no address here. */
static void what_was_sent_is_not_refused_at_the_end(void **state)
{
    struct routed *x = routed_new(3, false);
    struct outcome out = { 0 };
    char key[32];

    (void)state;
    scripted_cluster_hide(x->cluster, 2);
    strcpy(key, key_of(x, 1, 0));
    assert_int_equal(put(x, key), 0);
    scripted_cluster_fault(x->cluster, 1, SCRIPTED_SILENT, 1);
    assert_int_equal(cairn_put_async(x->ns, key, strlen(key), "v", 1, &x->o, on_done, &out), 0);
    WHILE_PATIENT (atomic_load(&node_of(x, 1)->times) > 0)
        cairn_poll(x->c, 10);
    scripted_cluster_move(x->cluster, scripted_cluster_slot(key, strlen(key)), 2);
    assert_int_equal(cairn_drain(x->c, -1), 0);
    assert_int_equal(out.rc, CAIRN_E_UNKNOWN);
    assert_non_null(strstr(x->error.text, "may have been done"));
    assert_int_equal(put(x, key), CAIRN_E_UNSUPPORTED); /* what was not sent is */
    routed_free(x);
}

/* The node that the map still names is gone, and its successor has forgotten who asks: since nothing was sent, the
 * write is not in doubt. */
static void what_was_not_sent_goes_on_in_a_new_session(void **state)
{
    struct routed *x = routed_new(4, false);
    struct cairn_put_item item = { .value = "v", .value_len = 1 };
    char key[32];

    (void)state;
    for (uint32_t node = 1; node <= 2; node++) {
        strcpy(key, key_of(x, node, 0));
        assert_int_equal(put(x, key), 0);
        leave_all(x);
        scripted_cluster_unlisten(x->cluster, node);
        scripted_cluster_fault(x->cluster, 3, SCRIPTED_GONE, 1);
        scripted_cluster_move(x->cluster, scripted_cluster_slot(key, strlen(key)), 3);
        item.key = key;
        item.key_len = strlen(key);
        assert_int_equal(node == 2 ? cairn_mput(x->ns, &item, 1, &x->o) : put(x, key), 0);
        assert_int_equal(scripted_cluster_stores(x->cluster, key, strlen(key)), 2);
    }
    routed_free(x);
}

/* Nodes may have forgotten the session: a number of it, were it refused once and unknown then, would leave the write
 * in doubt. How long they keep it they say when it is opened; else there is a time for all. */
static void a_session_that_was_idle_is_not_relied_on(void **state)
{
    enum { IDLE_MS = 200 };

    (void)state;
    for (int said = 0; said < 2; said++) {
        struct routed *x = routed_new(3, false);
        char key[32], other[32];
        uint64_t last;

        scripted_cluster_session_ttl(x->cluster, said ? 2 * IDLE_MS : 0);
        strcpy(key, key_of(x, 1, 0));
        strcpy(other, key_of(x, 1, 1)); /* of another slot */
        assert_int_equal(put(x, key), 0);
        assert_int_equal(put(x, key), 0);
        last = cairn_loop_now(&x->c->loop);
        assert_int_equal(node_of(x, 1)->opens, 1);
        if (!said)
            x->c->routing->session_idle_ns = IDLE_MS * CAIRN_NS_PER_MS;
        scripted_cluster_fault(x->cluster, 2, SCRIPTED_GONE, 1);
        scripted_cluster_move(x->cluster, scripted_cluster_slot(key, strlen(key)), 2);
        while (cairn_loop_now(&x->c->loop) - last < IDLE_MS * CAIRN_NS_PER_MS)
            assert_int_equal(put(x, other), 0);
        assert_int_equal(put(x, key), 0); /* MOVED at the one, and then at the other */
        assert_int_equal(scripted_cluster_stores(x->cluster, key, strlen(key)), 3);
        routed_free(x);
    }
}

/* ---- MOVED does not say whether the log has it ---- */

enum { BY_PUT, BY_DELETE, BY_MPUT, BY_NR };

static int write_by(struct routed *x, int how, const char *key)
{
    struct cairn_put_item item = { .key = key, .key_len = strlen(key), .value = "v", .value_len = 1 };

    if (how == BY_MPUT)
        return cairn_mput(x->ns, &item, 1, &x->o);
    return how == BY_DELETE ? cairn_delete(x->ns, key, strlen(key), &x->o) : put(x, key);
}

/* A primary that steps down answers MOVED for what it has appended, and its successor may have that in its log or may
 * have cut it. The client sends it again there, under the same number, and it is done once either way. */
static void what_was_appended_and_moved_is_done_once_at_the_successor(void **state)
{
    static const enum scripted_fault faults[] = { SCRIPTED_MOVED_AFTER, SCRIPTED_MOVED };

    (void)state;
    for (int how = 0; how < BY_NR; how++) {
        for (uint32_t i = 0; i < ARRAY_SIZE(faults); i++) {
            struct routed *x = routed_new(3, false);
            struct scripted_cluster *cluster = x->cluster;
            uint32_t slot;
            char key[32];

            strcpy(key, key_of(x, 1, 0));
            slot = scripted_cluster_slot(key, strlen(key));
            assert_int_equal(put(x, key), 0);
            scripted_cluster_step_down(cluster, 1, slot, 2, faults[i]);
            assert_int_equal(write_by(x, how, key), 0);
            assert_int_equal(scripted_cluster_leader(cluster, slot), 2);
            assert_int_equal(scripted_cluster_stores(cluster, key, strlen(key)), 2);
            assert_int_equal(node_of(x, 2)->opens, 0); /* in the session that it had */
            routed_free(x);
        }
    }
}

/* Where nobody knows the session any more it is in doubt, and not done again. */
static void what_was_appended_and_forgotten_is_not_done_again(void **state)
{
    (void)state;
    for (int how = 0; how < BY_NR; how++) {
        struct routed *x = routed_new(3, false);
        uint32_t slot;
        char key[32];

        strcpy(key, key_of(x, 1, 0));
        slot = scripted_cluster_slot(key, strlen(key));
        assert_int_equal(put(x, key), 0);
        scripted_cluster_step_down(x->cluster, 1, slot, 2, SCRIPTED_MOVED_AFTER);
        scripted_cluster_fault(x->cluster, 2, SCRIPTED_GONE, 1);
        assert_int_equal(write_by(x, how, key), CAIRN_E_UNKNOWN);
        assert_non_null(strstr(x->error.text, "may have been done"));
        assert_int_equal(scripted_cluster_stores(x->cluster, key, strlen(key)), 2);
        routed_free(x);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_sent_is_not_unreachable_at_the_end),
        cmocka_unit_test(what_was_sent_is_not_refused_at_the_end),
        cmocka_unit_test(what_was_not_sent_goes_on_in_a_new_session),
        cmocka_unit_test(a_session_that_was_idle_is_not_relied_on),
        cmocka_unit_test(what_was_appended_and_moved_is_done_once_at_the_successor),
        cmocka_unit_test(what_was_appended_and_forgotten_is_not_done_again),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
