/* Calls to clustered namespaces: they find whoever leads the key's slot, a write is done once whatever happens on the
 * way, and nothing goes round for ever. */
#include "tests/lib/patience.h"
#include "tests/unit/sdk/routed_fixture.h"

#include <sched.h>

static int put(struct routed *x, const char *key, const char *value)
{
    return cairn_put(x->ns, key, strlen(key), value, strlen(value), &x->o);
}

static int get(struct routed *x, const char *key, char *buf, size_t room)
{
    size_t len = 0;
    int rc = cairn_get(x->ns, key, strlen(key), buf, room - 1, &len, &x->o);

    buf[rc == 0 ? len : 0] = '\0';
    return rc;
}

static uint32_t stores(struct routed *x, const char *key)
{
    return scripted_cluster_stores(x->cluster, key, strlen(key));
}

static void each_call_goes_to_the_leader_and_asks_for_the_map_once(void **state)
{
    struct routed *x = routed_new(3, false);
    char back[16];

    (void)state;
    for (uint32_t node = 0; node < 3; node++) {
        for (uint32_t i = 0; i < 5; i++) {
            assert_int_equal(put(x, key_of(x, node, i), "v"), 0);
            assert_int_equal(get(x, key_of(x, node, i), back, sizeof(back)), 0);
            assert_string_equal(back, "v");
        }
    }
    for (uint32_t node = 0; node < 3; node++) {
        assert_int_equal(node_of(x, node)->puts, 5);
        assert_int_equal(node_of(x, node)->gets, 5);
    }
    assert_int_equal(node_of(x, 0)->maps + node_of(x, 1)->maps + node_of(x, 2)->maps, 1);
    assert_int_equal(get(x, "absent", back, sizeof(back)), CAIRN_E_NOTFOUND);
    assert_int_equal(cairn_delete(x->ns, key_of(x, 1, 0), strlen(key_of(x, 1, 0)), NULL), 0);
    assert_int_equal(get(x, key_of(x, 1, 0), back, sizeof(back)), CAIRN_E_NOTFOUND);
    routed_free(x);
}

static void a_slot_that_has_moved_is_found(void **state)
{
    struct routed *x = routed_new(3, false);
    const char *key = key_of(x, 1, 0);
    uint32_t slot = scripted_cluster_slot(key, strlen(key));

    (void)state;
    assert_int_equal(put(x, key, "1"), 0);
    for (uint32_t i = 0; i < 6; i++) {
        scripted_cluster_move(x->cluster, slot, i % 3);
        assert_int_equal(put(x, key, "2"), 0);
    }
    assert_int_equal(stores(x, key), 7);
    routed_free(x);
}

/* Whoever has the newer map is asked for it; one that is behind neither leads us back nor keeps us. */
static void an_old_map_does_not_lead_back(void **state)
{
    struct routed *x = routed_new(3, false);
    const char *key = key_of(x, 1, 0);
    uint32_t slot = scripted_cluster_slot(key, strlen(key));
    char back[16];

    (void)state;
    assert_int_equal(put(x, key, "1"), 0);
    atomic_store(&node_of(x, 0)->frozen, true); /* where the client comes in */
    scripted_cluster_move(x->cluster, slot, 2);
    assert_int_equal(put(x, key, "2"), 0);
    scripted_cluster_move(x->cluster, slot,
                          0); /* which does not know it: silence from there, as far as that slot goes */
    scripted_cluster_fault(x->cluster, 2, SCRIPTED_MOVED, 3);
    x->o.timeout_ms = 700;
    assert_int_equal(put(x, key, "3"), CAIRN_E_TIMEOUT);
    atomic_store(&node_of(x, 0)->frozen, false);
    scripted_cluster_move(x->cluster, slot + 1, 1); /* it hears of all */
    x->o.timeout_ms = 0;
    assert_int_equal(put(x, key, "4"), 0);
    assert_int_equal(get(x, key, back, sizeof(back)), 0);
    assert_string_equal(back, "4");
    assert_in_range(stores(x, key), 3, 4); /* the one whose time was over may have been on its way */
    routed_free(x);
}

/* Applied or not before the connection broke: the number decides, and the value is stored once. */
static void a_primary_that_dies_has_done_it_once(void **state)
{
    static const enum scripted_fault faults[] = { SCRIPTED_DIE_BEFORE, SCRIPTED_DIE_AFTER, SCRIPTED_SILENT,
                                                  SCRIPTED_BUSY, SCRIPTED_MOVED };

    (void)state;
    for (int once = 0; once < 2; once++) {
        struct routed *x = routed_new(3, once != 0);

        for (uint32_t i = 0; i < ARRAY_SIZE(faults); i++) {
            const char *key = key_of(x, 1, 0);
            uint32_t before = 0;

            if (once) {
                key = key_of(x, 1, i);
            } else {
                assert_int_equal(put(x, key, "before"), 0); /* a session is open */
                before = stores(x, key);
            }
            scripted_cluster_fault(x->cluster, 1, faults[i], 1);
            assert_int_equal(put(x, key, "value"), 0);
            assert_int_equal(stores(x, key), before + 1);
        }
        routed_free(x);
    }
}

/* The node that had it is gone, and another leads before the client hears anything. */
static void a_write_is_repeated_at_the_successor(void **state)
{
    static const enum scripted_fault faults[] = { SCRIPTED_DIE_BEFORE, SCRIPTED_DIE_AFTER };

    (void)state;
    for (uint32_t i = 0; i < ARRAY_SIZE(faults); i++) {
        struct routed *x = routed_new(3, false);
        const char *key = key_of(x, 1, 0);
        uint32_t slot = scripted_cluster_slot(key, strlen(key));

        assert_int_equal(put(x, key, "1"), 0);
        scripted_cluster_fault(x->cluster, 1, faults[i], 1);
        atomic_store(&node_of(x, 1)->frozen, true);
        if (faults[i] == SCRIPTED_DIE_BEFORE) {
            scripted_cluster_move(x->cluster, slot, 2);
            assert_int_equal(put(x, key, "2"), 0);
        } else {
            assert_int_equal(put(x, key, "2"), 0);
            scripted_cluster_move(x->cluster, slot, 2);
        }
        assert_int_equal(stores(x, key), 2);
        assert_int_equal(put(x, key, "3"), 0);
        assert_int_equal(stores(x, key), 3);
        routed_free(x);
    }
}

/* A node that takes requests and answers none, as one does that has stopped: the client asks others for the map while
 * it waits, and goes on as soon as another leads, not when the time of its try is over. */
static void a_node_that_is_silent_is_left_when_another_leads(void **state)
{
    struct routed *x = routed_new(3, false);
    struct outcome out = { 0 };
    char key[32];
    double began;

    (void)state;
    strcpy(key, key_of(x, 1, 0));
    assert_int_equal(put(x, key, "1"), 0);
    x->c->routing->try_ms = 600000;
    scripted_cluster_fault(x->cluster, 1, SCRIPTED_SILENT, INT32_MAX);
    assert_int_equal(cairn_put_async(x->ns, key, strlen(key), "2", 1, &x->o, on_done, &out), 0);
    for (began = seconds(); seconds() - began < 0.1;)
        cairn_poll(x->c, 10);
    assert_int_equal(out.runs, 0);
    scripted_cluster_move(x->cluster, scripted_cluster_slot(key, strlen(key)), 2);
    assert_int_equal(cairn_drain(x->c, -1), 0);
    assert_int_equal(out.rc, 0);
    assert_int_equal(stores(x, key), 2);
    routed_free(x);
}

/* Nor is the map asked for where it was not answered lately, while others can be asked. */
static void who_is_silent_is_not_asked_for_the_map(void **state)
{
    struct routed *x = routed_new(3, false);
    struct outcome out = { 0 };
    uint32_t first, maps, others;
    char key[32];

    (void)state;
    strcpy(key, key_of(x, 1, 0));
    assert_int_equal(put(x, key, "1"), 0);
    first = node_of(x, 0)->maps;
    atomic_store(&node_of(x, 0)->mute, true); /* where the client comes in */
    scripted_cluster_fault(x->cluster, 1, SCRIPTED_SILENT, INT32_MAX);
    assert_int_equal(cairn_put_async(x->ns, key, strlen(key), "2", 1, &x->o, on_done, &out), 0);
    WHILE_PATIENT (out.runs == 0 && x->c->routing->fetch.avoid_until_ns == 0)
        cairn_poll(x->c, 10);
    x->c->routing->fetch.avoid_until_ns = UINT64_MAX;
    WHILE_PATIENT (out.runs == 0 && node_of(x, 0)->maps == first) /* it has read that it was asked */
        cairn_poll(x->c, 10);
    for (;;) {
        bool quick = true; /* a machine that stands still makes the other one silent, too */

        maps = node_of(x, 0)->maps;
        others = node_of(x, 1)->maps;
        WHILE_PATIENT (out.runs == 0 && node_of(x, 1)->maps < others + 4) {
            cairn_poll(x->c, 10);
            quick &= x->c->routing->fetch.failures == 0;
        }
        if (quick || out.runs > 0)
            break;
    }
    assert_int_equal(out.runs, 0);
    assert_int_equal(node_of(x, 0)->maps, maps);
    scripted_cluster_move(x->cluster, scripted_cluster_slot(key, strlen(key)), 2);
    assert_int_equal(cairn_drain(x->c, -1), 0);
    assert_int_equal(out.rc, 0);
    routed_free(x);
}

/* A session that a node has forgotten: what was certainly not done is done in a new one, what may have been is not
 * done again. */
static void a_forgotten_session_is_not_guessed_about(void **state)
{
    struct routed *x = routed_new(2, false);
    char key[32];

    (void)state;
    strcpy(key, key_of(x, 1, 0));
    assert_int_equal(put(x, key, "1"), 0);
    scripted_cluster_fault(x->cluster, 1, SCRIPTED_GONE, 1);
    assert_int_equal(put(x, key, "2"), 0);
    assert_int_equal(stores(x, key), 2);
    assert_int_equal(node_of(x, 1)->opens, 2);
    routed_free(x);
}

static void loops_of_moved_are_bounded(void **state)
{
    struct routed *x = routed_new(2, false);
    char key[32], back[16];
    double began;

    (void)state;
    strcpy(key, key_of(x, 1, 0));
    assert_int_equal(put(x, key, "1"), 0);
    scripted_cluster_fault(x->cluster, 1, SCRIPTED_MOVED, INT32_MAX);
    x->o.timeout_ms = 1000;
    began = seconds();
    assert_int_equal(get(x, key, back, sizeof(back)), CAIRN_E_TIMEOUT);
    assert_true(seconds() - began > 0.5 && seconds() - began < SOON_S);
    assert_true(node_of(x, 1)->gets < 30); /* pauses grow */
    assert_true(node_of(x, 0)->maps + node_of(x, 1)->maps < 60);
    scripted_cluster_fault(x->cluster, 1, SCRIPTED_NONE, 0);
    assert_int_equal(get(x, key, back, sizeof(back)), 0);
    routed_free(x);
}

static void an_answer_that_is_final_ends_it(void **state)
{
    struct routed *x = routed_new(2, false);
    char key[32];
    double began = seconds();

    (void)state;
    strcpy(key, key_of(x, 1, 0));
    scripted_cluster_fault(x->cluster, 1, SCRIPTED_DENIED, 1000);
    assert_int_equal(put(x, key, "1"), CAIRN_E_DENIED); /* of the session that it needs first */
    assert_string_equal(x->error.text, "as told");
    scripted_cluster_fault(x->cluster, 1, SCRIPTED_NONE, 0);
    assert_int_equal(put(x, key, "1"), 0);
    scripted_cluster_fault(x->cluster, 1, SCRIPTED_DENIED, 1000);
    assert_int_equal(put(x, key, "1"), CAIRN_E_DENIED);
    assert_true(seconds() - began < SOON_S);
    routed_free(x);
}

/* Waiting for the map, for a number, for an answer, in a pause: a call ends at once when it is canceled, and in time
 * when not. */
static void a_call_can_be_canceled_wherever_it_is(void **state)
{
    static const struct {
        enum scripted_fault fault;
        bool lost, opens;
    } places[] = { { SCRIPTED_NONE, true, false },    /* no map */
                   { SCRIPTED_SILENT, false, true },  /* no number */
                   { SCRIPTED_SILENT, false, false }, /* no answer */
                   { SCRIPTED_BUSY, false, false } }; /* not now */

    (void)state;
    for (uint32_t i = 0; i < ARRAY_SIZE(places); i++) {
        for (int late = 0; late < 2; late++) {
            struct routed *x = routed_new(2, false);
            struct outcome out = { 0 };
            uint64_t number = 0;
            double began;
            char key[32];

            strcpy(key, key_of(x, 1, 0));
            if (!places[i].lost && !places[i].opens)
                assert_int_equal(put(x, key, "1"), 0);
            for (uint32_t n = 0; n < 2; n++)
                atomic_store(&node_of(x, n)->lost, places[i].lost);
            scripted_cluster_fault(x->cluster, 1, places[i].fault, 1000000);
            x->o.timeout_ms = late ? 300 : 0;
            x->o.call = &number;
            assert_int_equal(cairn_put_async(x->ns, key, strlen(key), "2", 1, &x->o, on_done, &out), 0);
            began = seconds();
            while (!late && seconds() - began < 0.1)
                cairn_poll(x->c, 10);
            if (!late) {
                assert_int_equal(out.runs, 0);
                assert_int_equal(cairn_cancel(x->c, number), 0);
            }
            began = seconds();
            WHILE_PATIENT (out.runs == 0)
                cairn_poll(x->c, 10);
            assert_true(seconds() - began < SOON_S);
            assert_true(late ? out.rc == CAIRN_E_TIMEOUT || out.rc == CAIRN_E_BUSY : out.rc == CAIRN_E_CANCELED);
            x->o.call = NULL;
            x->o.timeout_ms = 0;
            scripted_cluster_fault(x->cluster, 1, SCRIPTED_NONE, 0);
            for (uint32_t n = 0; n < 2; n++)
                atomic_store(&node_of(x, n)->lost, false);
            if (!places[i].opens) /* there the OPEN of the first one is still waited for */
                assert_int_equal(put(x, key, "3"), 0);
            routed_free(x);
        }
    }
}

/* Many writes of one slot: a node remembers so many numbers, and the client does not go beyond. */
static void numbers_do_not_run_ahead(void **state)
{
    enum { N = 1000 };
    struct routed *x = routed_new(2, false);
    struct outcome out[N] = { 0 };
    char key[32];

    (void)state;
    strcpy(key, key_of(x, 1, 0));
    for (int i = 0; i < N; i++)
        assert_int_equal(cairn_put_async(x->ns, key, strlen(key), "v", 1, &x->o, on_done, &out[i]), 0);
    assert_int_equal(cairn_drain(x->c, -1), 0);
    for (int i = 0; i < N; i++)
        assert_true(out[i].runs == 1 && out[i].rc == 0);
    assert_int_equal(stores(x, key), N);
    assert_int_equal(node_of(x, 1)->opens, 1);
    routed_free(x);
}

/* No more sessions with nodes than allowed; those that nobody uses make room, and are closed when their time is
 * over. */
static void sessions_are_bounded_and_end(void **state)
{
    enum { NODES = 12, MAX_OPEN = 4 };
    struct routed *x = routed_new(NODES, false);
    struct outcome out[NODES] = { 0 };
    struct cairn_page *page;
    char back[16], keys[NODES][32];

    (void)state;
    for (uint32_t i = 0; i < NODES; i++) {
        strcpy(keys[i], key_of(x, i, 0));
        scripted_cluster_store(x->cluster, keys[i], strlen(keys[i]), "v", 1);
    }
    assert_int_equal(get(x, keys[0], back, sizeof(back)), 0);
    x->c->routing->members.open_max = MAX_OPEN;
    for (int round = 0; round < 3; round++) {
        for (uint32_t i = 0; i < NODES; i++) {
            assert_int_equal(get(x, keys[i], back, sizeof(back)), 0);
            assert_true(x->c->routing->members.nopen <= MAX_OPEN);
        }
    }
    /* At once to all: they wait for one another. */
    for (uint32_t i = 0; i < NODES; i++) {
        static bool exists;

        assert_int_equal(cairn_exists_async(x->ns, keys[i], strlen(keys[i]), &exists, &x->o, on_done, &out[i]), 0);
    }
    assert_int_equal(cairn_drain(x->c, -1), 0);
    for (uint32_t i = 0; i < NODES; i++)
        assert_true(out[i].runs == 1 && out[i].rc == 0);
    assert_true(x->c->routing->members.nopen <= MAX_OPEN);
    assert_int_equal(cairn_list(x->ns, "", 0, "", 0, 0, &page, &x->o), 0);
    assert_int_equal(page->n, NODES);
    cairn_free(page);

    x->c->routing->members.idle_ns = 50 * CAIRN_NS_PER_MS;
    cairn_timer_stop(&x->c->loop.env, &x->c->routing->members.timer);
    assert_int_equal(get(x, keys[1], back, sizeof(back)), 0); /* which begins to watch again */
    WHILE_PATIENT (x->c->routing->members.nopen > 0)
        assert_int_equal(cairn_ping(x->c, NULL), 0); /* which turns the loop, and goes elsewhere */
    for (uint32_t i = 1; i < NODES; i++) {
        WHILE_PATIENT (scripted_cluster_connections(x->cluster, i) > 0)
            sched_yield();
    }
    assert_int_equal(get(x, keys[5], back, sizeof(back)), 0);
    routed_free(x);
}

/* Who answers at a node's address is asked nothing unless it is that node; and the connection follows when the map
 * says where it is. */
static void a_node_is_looked_for_by_its_name(void **state)
{
    struct routed *x = routed_new(3, false);
    char key[32];

    (void)state;
    strcpy(key, key_of(x, 1, 0));
    scripted_cluster_address(x->cluster, 1, 2);
    x->o.timeout_ms = 1200;
    assert_int_equal(put(x, key, "1"), CAIRN_E_TIMEOUT);
    assert_true(node_of(x, 2)->hellos > 0 && node_of(x, 2)->opens == 0 && node_of(x, 2)->puts == 0);
    scripted_cluster_address(x->cluster, 1, 1);
    x->o.timeout_ms = 0;
    assert_int_equal(put(x, key, "1"), 0);
    assert_int_equal(stores(x, key), 1);
    routed_free(x);
}

/* However many calls want the node at its old address, one after the other: they do not keep the connection that
 * leads nowhere. */
static void a_node_that_moved_is_found_by_many(void **state)
{
    enum { N = 200, WITHIN_S = 4 };
    struct routed *x = routed_new(3, false);
    struct outcome out[N] = { 0 };
    bool exists, told = false;
    uint32_t over = 0;
    double last, passed = 0;
    char key[32];

    (void)state;
    strcpy(key, key_of(x, 1, 0));
    scripted_cluster_address(x->cluster, 1, 2);
    x->o.timeout_ms = 60000;
    last = seconds();
    for (uint32_t n = 0; over < N && passed < WITHIN_S;) {
        double now = seconds();

        passed += MIN(now - last, 0.05); /* the rest is a machine's that stood still */
        last = now;
        if (n < N && passed > 0.01 * n) {
            out[n].rc = 1;
            assert_int_equal(cairn_exists_async(x->ns, key, strlen(key), &exists, &x->o, on_done, &out[n++]), 0);
        }
        if (!told && passed > 0.6) {
            told = true;
            scripted_cluster_address(x->cluster, 1, 1);
        }
        cairn_poll(x->c, 1);
        for (over = 0; over < N && out[over].runs > 0; over++)
            assert_int_equal(out[over].rc, 0);
    }
    assert_int_equal(over, N);
    routed_free(x);
}

/* Write-once: who is near answers with what it has; what it does not have, and whatever else it says, is the
 * primary's to say. */
static void replicas_answer_for_what_they_have(void **state)
{
    struct routed *x = routed_new(3, true);
    char key[32], host[CAIRN_HOST_ID_MAX], back[16];
    bool exists = false;

    (void)state;
    cairn_host_id(host);
    strcpy(key, key_of(x, 1, 0));
    scripted_cluster_host(x->cluster, 2, host);
    assert_int_equal(get(x, key, back, sizeof(back)), CAIRN_E_NOTFOUND);
    assert_true(node_of(x, 2)->replica_gets == 1 && node_of(x, 1)->gets == 1);
    assert_int_equal(put(x, key, "v"), 0);
    assert_int_equal(get(x, key, back, sizeof(back)), 0);
    assert_string_equal(back, "v");
    assert_true(node_of(x, 2)->replica_gets == 2 && node_of(x, 1)->gets == 1);
    assert_int_equal(cairn_exists(x->ns, key, strlen(key), &exists, NULL), 0);
    assert_true(exists && node_of(x, 2)->replica_gets == 3);

    /* One that is silent costs one try, then others are asked for a while. */
    scripted_cluster_fault(x->cluster, 2, SCRIPTED_DIE_BEFORE, 1);
    assert_int_equal(get(x, key, back, sizeof(back)), 0);
    scripted_cluster_fault(x->cluster, 2, SCRIPTED_SILENT, 1);
    assert_int_equal(get(x, key, back, sizeof(back)), 0);
    assert_int_equal(get(x, key, back, sizeof(back)), 0);
    assert_true(node_of(x, 1)->gets >= 3);
    assert_int_equal(stores(x, key), 1);
    assert_int_equal(put(x, key, "w"), CAIRN_E_EXISTS);
    routed_free(x);

    /* A rewritable one's replicas are never asked. */
    x = routed_new(3, false);
    scripted_cluster_host(x->cluster, 2, host);
    strcpy(key, key_of(x, 1, 0));
    assert_int_equal(put(x, key, "v"), 0);
    assert_int_equal(get(x, key, back, sizeof(back)), 0);
    assert_int_equal(node_of(x, 2)->gets, 0);
    routed_free(x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_call_goes_to_the_leader_and_asks_for_the_map_once),
        cmocka_unit_test(a_slot_that_has_moved_is_found),
        cmocka_unit_test(an_old_map_does_not_lead_back),
        cmocka_unit_test(a_primary_that_dies_has_done_it_once),
        cmocka_unit_test(a_write_is_repeated_at_the_successor),
        cmocka_unit_test(a_node_that_is_silent_is_left_when_another_leads),
        cmocka_unit_test(who_is_silent_is_not_asked_for_the_map),
        cmocka_unit_test(a_forgotten_session_is_not_guessed_about),
        cmocka_unit_test(loops_of_moved_are_bounded),
        cmocka_unit_test(an_answer_that_is_final_ends_it),
        cmocka_unit_test(a_call_can_be_canceled_wherever_it_is),
        cmocka_unit_test(numbers_do_not_run_ahead),
        cmocka_unit_test(sessions_are_bounded_and_end),
        cmocka_unit_test(a_node_is_looked_for_by_its_name),
        cmocka_unit_test(a_node_that_moved_is_found_by_many),
        cmocka_unit_test(replicas_answer_for_what_they_have),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
