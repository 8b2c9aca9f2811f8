/* Nodes that share a map store: they register, slots are placed, what is written is read where it is led from, and
 * another leads when a node is gone. */
#include "server/cluster/map_generation.h"
#include "server/cluster/service/life_internal.h"
#include "tests/lib/disk_faults.h"
#include "tests/lib/failing_malloc.h"
#include "tests/lib/paced_clock.h"
#include "tests/unit/cluster/nodes_world.h"

#include <errno.h>

/* There are slots of two replicas: the one of key "k". */
static uint32_t slot_of_two(struct world *w)
{
    uint32_t slot;

    expect_leases(w);
    create_class(w, 2);
    assert_true(cairn_cluster_slot(w->nodes[0].c, 2, "k", 1, &slot));
    return slot;
}

/* A record put at key "k" of @slot, or what is asked of that. */
static struct cairn_cluster_write write_of_k(struct world *w, uint32_t i, uint32_t slot, enum cairn_cluster_op what,
                                             struct asked *a)
{
    return (struct cairn_cluster_write){ .cluster = w->nodes[i].c,
                                         .slot = slot,
                                         .op = what,
                                         .ns = NS,
                                         .key = (const uint8_t *)"k",
                                         .key_len = 1,
                                         .record = (const uint8_t *)"record",
                                         .record_len = 6,
                                         .timeout_ns = 10 * CAIRN_NS_PER_S,
                                         .done = on_written,
                                         .arg = a };
}

/* ---- stories ---- */

static void nodes_register_and_lead(void **state)
{
    struct world *w = *state;
    uint32_t led[NODES] = { 0 }, slot;
    char key[32];

    expect_leases(w);
    create_class(w, 3);
    expect_all_active(w, 3);
    for (uint32_t i = 0; i < 40; i++) {
        snprintf(key, sizeof(key), "key %u", i);
        assert_true(cairn_cluster_slot(w->nodes[i % NODES].c, 3, key, strlen(key), &slot));
        assert_in_range(slot, 2 << SLOT_BITS, (3 << SLOT_BITS) - 1);
        assert_int_equal(put_somewhere(w, slot, key, "record"), 0);
        led[leader_of(w, slot)]++;
        assert_int_equal(cairn_cluster_leader(w->nodes[i % NODES].c, slot), leader_of(w, slot) + 1);
    }
    for (uint32_t i = 0; i < NODES; i++)
        assert_true(led[i] > 0);
    assert_int_equal(put_somewhere(w, slot, key, "other"), CAIRN_E_EXISTS);
}

/* Of each slot one node tells; what they tell of adds up to all, by number and by marks. */
static void expect_told_once(struct world *w, uint32_t replicas)
{
    uint32_t first = (replicas - 1) << SLOT_BITS, n = 0;
    uint64_t sum = 0, all = 0;

    for (uint32_t i = 0; i < NODES; i++) {
        struct cairn_cluster_led led, again;

        assert_int_equal(cairn_cluster_led(w->nodes[i].c, first, 1 << SLOT_BITS, &led), 0);
        assert_int_equal(cairn_cluster_led(w->nodes[i].c, first, 1 << SLOT_BITS, &again), 0);
        assert_true(led.n == again.n && led.sum == again.sum && led.since == again.since);
        n += led.n;
        sum += led.sum;
    }
    for (uint32_t slot = first; slot < first + (1 << SLOT_BITS); slot++)
        all += cairn_placement_slot_mark(slot);
    assert_int_equal(n, 1 << SLOT_BITS);
    assert_true(sum == all);
    assert_int_equal(cairn_cluster_led(w->nodes[0].c, UINT32_MAX, 2, &(struct cairn_cluster_led){ 0 }), CAIRN_E_INVAL);
}

/* As many nodes may tell what they have of it; on a busy machine one may have been silent, and is out for a moment. */
static void expect_in_sync(struct world *w, uint32_t slot, uint32_t n)
{
    uint32_t in_sync = 0;

    WHILE_PATIENT (in_sync != n) {
        turn(w);
        in_sync = 0;
        for (uint32_t i = 0; i < NODES; i++) {
            in_sync += cairn_cluster_is_in_sync(w->nodes[i].c, slot);
            assert_true(!leads(w, i, slot) || cairn_cluster_is_in_sync(w->nodes[i].c, slot));
            assert_false(cairn_cluster_is_in_sync(w->nodes[i].c, UINT32_MAX));
        }
        assert_true(in_sync <= n);
    }
}

/* Who does not lead says so, and a token does not outlive the lead. */
static void another_leads_when_a_node_is_gone(void **state)
{
    struct world *w = *state;
    uint32_t slot = slot_of_two(w), first;
    uint64_t token;
    int32_t result;

    assert_int_equal(put_somewhere(w, slot, "k", "one"), 0);
    first = leader_of(w, slot);
    for (uint32_t i = 0; i < NODES; i++) {
        if (i != first)
            assert_int_equal(put(w, i, slot, "k", "two", &result), CAIRN_E_MOVED);
    }
    assert_int_equal(cairn_cluster_read_begin(w->nodes[first].c, slot, &token), 0);
    assert_int_equal(cairn_cluster_read_end(w->nodes[first].c, slot, token), 0);
    assert_int_not_equal(cairn_cluster_read_end(w->nodes[(first + 1) % NODES].c, slot, token), 0);
    expect_all_active(w, 2);
    expect_told_once(w, 2);
    expect_in_sync(w, slot, 2);
    node_stop(w, first);
    assert_int_equal(put_somewhere(w, slot, "k", "two"), CAIRN_E_EXISTS);
    assert_int_equal(put_somewhere(w, slot, "k2", "three"), 0);
    assert_int_not_equal(leader_of(w, slot), first);
    node_start(w, first); /* it comes back, with another incarnation and its records */
    expect_leases(w);
    expect_all_active(w, 2);
}

/* What whoever leads the slot says of a session's write, or of its opening. */
static struct cairn_cluster_write session_op(struct world *w, uint32_t slot, enum cairn_cluster_op what,
                                             const struct cairn_cluster_write *session, uint64_t number, int *rc)
{
    struct cairn_cluster_write cw = { 0 };
    struct asked a;

    do {
        a = (struct asked){ 0 };
        cw = write_of_k(w, leader_of(w, slot), slot, what, &a);
        cw.if_absent = true;
        cw.session_epoch = session != NULL ? session->session_epoch : 0;
        cw.session_pos = session != NULL ? session->session_pos : 0;
        cw.number = number;
        cairn_cluster_write(&cw);
        turns(w, &a.done);
    } while (a.rc == CAIRN_E_MOVED || a.rc == CAIRN_E_BUSY || a.rc == CAIRN_E_TIMEOUT);
    *rc = a.rc;
    return cw;
}

/* A number's write is answered once more to whoever asks, by the one who leads then, and nothing is done for it. */
static void a_successor_is_asked_what_came_of_a_write(void **state)
{
    struct world *w = *state;
    struct cairn_cluster_write session, cw;
    uint32_t slot = slot_of_two(w);
    int rc;

    session = session_op(w, slot, CAIRN_CLUSTER_OPEN_SESSION, NULL, 0, &rc);
    assert_int_equal(rc, 0);
    session_op(w, slot, CAIRN_CLUSTER_ASK, &session, 1, &rc);
    assert_int_equal(rc, CAIRN_E_NOTFOUND);
    for (uint64_t n = 1; n <= 2; n++) { /* the second meets the first */
        cw = session_op(w, slot, CAIRN_CLUSTER_PUT, &session, n, &rc);
        assert_int_equal(rc, 0);
        assert_int_equal(cw.result, n == 1 ? 0 : CAIRN_E_EXISTS);
    }
    expect_all_active(w, 2);
    node_stop(w, leader_of(w, slot));
    for (uint64_t n = 1; n <= 2; n++) {
        cw = session_op(w, slot, CAIRN_CLUSTER_ASK, &session, n, &rc);
        assert_int_equal(rc, 0);
        assert_int_equal(cw.result, n == 1 ? 0 : CAIRN_E_EXISTS);
    }
    session_op(w, slot, CAIRN_CLUSTER_ASK, &session, 3, &rc);
    assert_int_equal(rc, CAIRN_E_NOTFOUND);
    session_op(w, slot, CAIRN_CLUSTER_ASK, NULL, 7, &rc); /* not write-once: nothing says whose it is */
    assert_int_equal(rc, CAIRN_E_UNSUPPORTED);
}

/* Number @number of no session puts the write-once key "k", or is asked about: the outcome. */
static int once_op(struct world *w, uint32_t i, uint32_t slot, enum cairn_cluster_op what, uint64_t number,
                   uint64_t lead)
{
    struct asked a = { 0 };
    struct cairn_cluster_write cw = write_of_k(w, i, slot, what, &a);

    cw.write_once = true;
    cw.number = number;
    cw.lead = lead;
    cairn_cluster_write(&cw);
    turns(w, &a.done);
    return a.rc != 0 ? a.rc : cw.result;
}

/* Of a write-once key the record says who put it, to whoever leads then. */
static void of_a_write_once_key_the_record_says_who_put_it(void **state)
{
    struct world *w = *state;
    uint32_t slot = slot_of_two(w), first;

    first = leader_of(w, slot);
    assert_int_equal(once_op(w, first, slot, CAIRN_CLUSTER_ASK, 7, 0), CAIRN_E_NOTFOUND);
    assert_int_equal(once_op(w, first, slot, CAIRN_CLUSTER_PUT, 7, 0), 0);
    assert_int_equal(once_op(w, first, slot, CAIRN_CLUSTER_ASK, 7, 0), 0);
    expect_all_active(w, 2);
    node_stop(w, first);
    assert_int_equal(once_op(w, leader_of(w, slot), slot, CAIRN_CLUSTER_ASK, 7, 0), 0);
    assert_int_equal(once_op(w, leader_of(w, slot), slot, CAIRN_CLUSTER_ASK, 8, 0), CAIRN_E_EXISTS);
}

/* One that is asked about while it is being written is waited for. */
static void who_is_asked_about_a_write_waits_for_it(void **state)
{
    struct world *w = *state;
    struct asked a = { 0 };
    uint32_t slot = slot_of_two(w);
    struct cairn_cluster_write cw = write_of_k(w, leader_of(w, slot), slot, CAIRN_CLUSTER_PUT, &a);

    cw.write_once = true;
    cw.sync = true;
    cw.number = 7;
    cairn_cluster_write(&cw);
    assert_int_equal(once_op(w, leader_of(w, slot), slot, CAIRN_CLUSTER_ASK, 7, 0), 0);
    assert_true(a.done && a.rc == 0);
}

/* Gives the slot up; who leads it then. */
static uint32_t hand_over(struct world *w, uint32_t from, uint32_t slot)
{
    cairn_replica_release(cluster_slots_replica(w->nodes[from].c->side->workers[0].slots, slot));
    WHILE_PATIENT (leads(w, from, slot))
        turn(w);
    return leader_of(w, slot);
}

/* What began when a node led is not done when it leads again: another has led between, and has perhaps said that it
 * was not. */
static void what_began_under_an_earlier_lead_is_not_done(void **state)
{
    struct world *w = *state;
    uint32_t slot = slot_of_two(w), first;
    uint64_t lead;

    expect_all_active(w, 2);
    for (int i = 0; i < 2; i++) { /* both members are there: it comes back to the first */
        first = leader_of(w, slot);
        while (cairn_cluster_read_begin(w->nodes[first].c, slot, &lead) != 0)
            turn(w);
        expect_in_sync(w, slot, 2);
        if (hand_over(w, hand_over(w, first, slot), slot) == first)
            break;
    }
    assert_int_equal(leader_of(w, slot), first);
    assert_int_equal(once_op(w, first, slot, CAIRN_CLUSTER_PUT, 7, lead), CAIRN_E_MOVED);
    assert_int_equal(once_op(w, first, slot, CAIRN_CLUSTER_ASK, 7, 0), CAIRN_E_NOTFOUND);
    assert_int_equal(cairn_cluster_read_begin(w->nodes[first].c, slot, &lead), 0);
    assert_int_equal(once_op(w, first, slot, CAIRN_CLUSTER_PUT, 7, lead), 0);
}

/* A lease is judged by the clock, when the answer is given: a node whose loops stand still for longer than it lasts
 * gives no more answers, before any timer of its own has run. */
static void a_stalled_node_gives_no_answer(void **state)
{
    struct world *w = *state;
    uint32_t slot = slot_of_two(w), first;
    uint64_t token;

    assert_int_equal(put_somewhere(w, slot, "k", "one"), 0);
    expect_in_sync(w, slot, 2); /* what is alone needs no lease */
    first = leader_of(w, slot);
    assert_int_equal(cairn_cluster_read_begin(w->nodes[first].c, slot, &token), 0);
    paced_clock_pass_ms(2001);
    assert_int_not_equal(cairn_cluster_read_end(w->nodes[first].c, slot, token), 0);
    assert_int_not_equal(cairn_cluster_read_begin(w->nodes[first].c, slot, &token), 0);
    expect_leases(w);
}

/* Nobody has a lease: what is in sync at one node alone is read there, by a token from before and anew, until that node
 * fails; of the rest the node says why it cannot. */
static void what_is_alone_needs_no_lease(void **state)
{
    struct world *w = *state;
    uint32_t alone, both, first, other;
    struct cairn_cluster_led led;
    struct cairn_err err = { 0 };
    uint64_t token;

    expect_leases(w);
    create_class(w, 1);
    create_class(w, 2);
    expect_all_active(w, 1);
    expect_all_active(w, 2);
    assert_true(cairn_cluster_slot(w->nodes[0].c, 1, "k", 1, &alone) &&
                cairn_cluster_slot(w->nodes[0].c, 2, "k", 1, &both));
    assert_int_equal(put_somewhere(w, alone, "k", "one"), 0);
    first = leader_of(w, alone);
    other = leader_of(w, both);
    expect_leases(w);
    assert_int_equal(cairn_cluster_read_begin(w->nodes[first].c, alone, &token), 0);
    cairn_cluster_why_busy(w->nodes[first].c, &err);
    assert_int_equal(err.code, 0);
    paced_clock_pass_ms(2001);
    assert_int_equal(cairn_cluster_read_end(w->nodes[first].c, alone, token), 0);
    assert_int_equal(cairn_cluster_read_begin(w->nodes[first].c, alone, &token), 0);
    assert_int_equal(cairn_cluster_led(w->nodes[first].c, 0, 1 << SLOT_BITS, &led), 0);
    assert_true(led.n > 0);
    assert_int_equal(cairn_cluster_read_begin(w->nodes[other].c, both, &token), CAIRN_E_BUSY);
    assert_int_equal(cairn_cluster_led(w->nodes[other].c, 1 << SLOT_BITS, 1 << SLOT_BITS, &led), CAIRN_E_BUSY);
    cairn_cluster_why_busy(w->nodes[other].c, &err);
    assert_int_equal(err.code, CAIRN_E_BUSY);
    assert_non_null(strstr(err.text, "has no lease"));
    side_fail(w->nodes[first].c, CAIRN_E_IO, "a disk, in this test");
    assert_int_equal(cairn_cluster_read_begin(w->nodes[first].c, alone, &token), CAIRN_E_BUSY);
    assert_int_equal(cairn_cluster_led(w->nodes[first].c, 0, 1 << SLOT_BITS, &led), CAIRN_E_BUSY);
}

/* What whoever coordinates the map @map tells node @to. */
static void publish(struct world *w, uint32_t to, uint64_t map)
{
    Cairn__Wire__ClusterRecords msg = CAIRN__WIRE__CLUSTER_RECORDS__INIT;
    struct asked a = { 0 };
    struct cairn_rpc_call call = { .dest.rpc = w->nodes[to].kv.rpc,
                                   .iface = &cairn_iface_cluster,
                                   .provider = CAIRN_PROVIDER_CLUSTER,
                                   .method = CAIRN__WIRE__CLUSTER_METHOD__CLUSTER_PUBLISH,
                                   .msg = &msg.base,
                                   .done = on_asked,
                                   .arg = &a };

    msg.map = map;
    cairn_rpc_call_start(&call);
    while (!a.done)
        cairn_loop_turn(&w->nodes[to].kv.loop, 0);
    assert_int_equal(a.rc, 0);
}

/* Who is alone in sync hears that the map is another: where the store was put back another may lead the slot. It ends
 * when it has no lease; with one it goes on, and when the word was wrong it is forgotten. */
static void what_is_alone_ends_with_its_map(void **state)
{
    struct world *w = *state;
    uint32_t alone, first;
    uint64_t token, map;

    expect_leases(w);
    create_class(w, 1);
    expect_all_active(w, 1);
    assert_true(cairn_cluster_slot(w->nodes[0].c, 1, "k", 1, &alone));
    first = leader_of(w, alone);
    expect_leases(w);
    map = cairn_cluster_records_map(w->nodes[first].c->records);
    assert_int_not_equal(map, 0);
    paced_clock_pass_ms(2001);
    publish(w, first, map);
    publish(w, first, map & UINT32_MAX); /* an older generation, late */
    publish(w, first, 0);
    assert_int_equal(cairn_cluster_read_begin(w->nodes[first].c, alone, &token), 0);
    publish(w, first, cairn_map_generation_next(map, 0, 7));
    assert_int_equal(cairn_cluster_read_begin(w->nodes[first].c, alone, &token), CAIRN_E_BUSY);
    expect_leases(w);
    assert_int_equal(cairn_cluster_read_begin(w->nodes[first].c, alone, &token), 0);
    WHILE_PATIENT (!side_may_go_on(w->nodes[first].c))
        turn(w);
}

/* One that stood still for a quarter of it gives it up, though it is not over, and asks anew. */
static void a_node_that_stood_still_gives_its_lease_up(void **state)
{
    struct world *w = *state;
    uint32_t first;

    expect_leases(w);
    first = (coordinator_of(w) + 1) % NODES; /* whose heartbeats nobody answers meanwhile */
    paced_clock_pass_ms(2700);
    assert_true(side_lease_is_valid(w->nodes[first].c));
    for (int i = 0; i < 3; i++)
        cairn_loop_turn(&w->nodes[first].kv.loop, 0);
    assert_false(side_lease_is_valid(w->nodes[first].c));
    expect_leases(w);
}

/* Whoever coordinates grants itself nothing beyond its term, so its successor waits for nobody: what the old one led
 * has another leader before a lease that anybody else held would be over. */
static void slots_of_a_coordinator_that_left_wait_for_no_lease(void **state)
{
    struct world *w = *state;
    uint32_t first = NODES, slot = 0, tries = 0;
    uint64_t stopped;
    char key[32];

    expect_leases(w);
    create_class(w, 2);
    expect_all_active(w, 2);
    WHILE_PATIENT (first == NODES) {
        turn(w); /* after a pause the coordinator may lead nothing for a while */
        snprintf(key, sizeof(key), "key %u", tries++);
        assert_true(cairn_cluster_slot(w->nodes[0].c, 2, key, strlen(key), &slot));
        if (leader_of(w, slot) == coordinator_of(w))
            first = coordinator_of(w);
    }
    assert_int_equal(put_somewhere(w, slot, key, "one"), 0);
    assert_true(atomic_load(&w->nodes[first].c->side->lease_until_ns) <=
                cairn_coordinator_term_until(w->nodes[first].c->coordinator));
    stopped = cairn_env_now_ns(&w->loop.env);
    node_stop(w, first);
    assert_int_equal(put_somewhere(w, slot, key, "two"), CAIRN_E_EXISTS);
    assert_true(cairn_env_now_ns(&w->loop.env) - stopped < w->lease_ns / 2);
}

/* A node that has lost its slot log, with its number and its records still there, does not begin another: it would
 * claim what it has applied and forget what it has acknowledged. With the log put back it goes on. */
static void a_node_misses_its_log(void **state)
{
    struct world *w = *state;
    struct node *n = &w->nodes[2];
    char log[PATH_ROOM + 8], away[PATH_ROOM + 8];

    snprintf(log, sizeof(log), "%s/log", n->cluster_dir);
    snprintf(away, sizeof(away), "%s/away", n->cluster_dir);
    node_stop(w, 2);
    assert_int_equal(rename(log, away), 0);
    n->misses_log = true;
    for (int i = 0; i < 2; i++) {
        kv_node_start(&n->kv, "rocksdb", n->kv_dir, add_cluster, n);
        kv_node_stop(&n->kv);
    }
    n->misses_log = false;
    assert_int_equal(rmdir(log), 0); /* nothing was made in it */
    assert_int_equal(rename(away, log), 0);
    node_start(w, 2);
}

static int setup_endless_leases(void **state)
{
    return setup_with(state, UINT64_C(60000) * MS);
}

/* A coordinator that is silent answers no heartbeat, nor is there anybody to say so. Another one hears from all who are
 * left as soon as it is elected, not when those heartbeats have had their time, which is that of a lease. */
static void another_coordinator_hears_all_at_once(void **state)
{
    struct world *w = *state;
    uint32_t silent, next = NODES;
    uint64_t began;
    bool heard = false;

    expect_leases(w);
    silent = coordinator_of(w);
    w->nodes[silent].up = false;
    for (int k = 0; k < 2500; k++) /* heartbeats go out */
        turn(w);
    cairn_coordinator_stop(w->nodes[silent].c->coordinator); /* its election is on the store's loop, and would go on */
    began = cairn_env_now_ns(&w->loop.env);
    WHILE_PATIENT (!heard) {
        turn(w);
        for (uint32_t i = 0; i < NODES; i++) {
            if (i != silent && cairn_coordinator_is_serving(w->nodes[i].c->coordinator))
                next = i;
        }
        heard = next < NODES;
        for (uint32_t i = 0; i < NODES && heard; i++) {
            const struct cairn_coord_node *n = cairn_coord_node(&w->nodes[next].c->coordinator->coord, i + 1);

            heard = i == silent || (n != NULL && n->granted);
        }
    }
    w->nodes[silent].up = true;
    assert_true(cairn_env_now_ns(&w->loop.env) - began < w->lease_ns / 2);
}

/* A disk does not take what it is given: this node's part is over, which its status says first of all. */
static void a_node_whose_part_has_failed_says_so(void **state)
{
    struct world *w = *state;
    uint32_t slot = slot_of_two(w), leads = leader_of(w, slot);
    json_t *status = NULL;
    const char *health = "", *problem;

    assert_int_equal(put_somewhere(w, slot, "k", "record"), 0);
    WHILE_PATIENT (strcmp(health, "failed") != 0) {
        disk_fail_syncs(1, EIO); /* the last one may have been another's */
        cairn_slot_disk_sync(w->nodes[leads].c->side->disk, slot);
        turn(w);
        json_decref(status);
        status = json_object();
        cairn_cluster_desc.status(w->nodes[leads].ctx, status);
        health = json_string_value(json_object_get(status, "health"));
    }
    disk_fail_syncs(0, 0);
    problem = json_string_value(json_object_get(status, "problem"));
    assert_non_null(problem);
    assert_non_null(strstr(problem, "takes no part in the cluster any more (the log cannot be written"));
    assert_true(json_is_true(json_object_get(status, "failed")));
    json_decref(status);
}

/* A node that has no memory left can still be stopped. */
static void a_stop_needs_no_memory(void **state)
{
#ifdef FAILING_MALLOC
    struct world *w = *state;
    struct node *n = &w->nodes[0];

    expect_leases(w);
    cairn_cluster_desc.drain(n->ctx);
    WHILE_PATIENT (n->c->side->life->pending > 0) /* else the end waits for that */
        turn(w);
    n->over = false;
    failing_malloc_begin(1);
    cairn_cluster_desc.quiesce(n->ctx, on_over, &n->over);
    assert_false(failing_malloc_end());
    node_end(w, 0);
#else
    (void)state;
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(nodes_register_and_lead, setup, teardown),
        cmocka_unit_test_setup_teardown(another_leads_when_a_node_is_gone, setup, teardown),
        cmocka_unit_test_setup_teardown(a_successor_is_asked_what_came_of_a_write, setup, teardown),
        cmocka_unit_test_setup_teardown(of_a_write_once_key_the_record_says_who_put_it, setup, teardown),
        cmocka_unit_test_setup_teardown(who_is_asked_about_a_write_waits_for_it, setup, teardown),
        cmocka_unit_test_setup_teardown(what_began_under_an_earlier_lead_is_not_done, setup, teardown),
        cmocka_unit_test_setup_teardown(a_stalled_node_gives_no_answer, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_alone_needs_no_lease, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_alone_ends_with_its_map, setup, teardown),
        cmocka_unit_test_setup_teardown(a_node_that_stood_still_gives_its_lease_up, setup_long_leases, teardown),
        cmocka_unit_test_setup_teardown(slots_of_a_coordinator_that_left_wait_for_no_lease, setup_endless_leases,
                                        teardown),
        cmocka_unit_test_setup_teardown(another_coordinator_hears_all_at_once, setup_endless_leases, teardown),
        cmocka_unit_test_setup_teardown(a_node_misses_its_log, setup, teardown),
        cmocka_unit_test_setup_teardown(a_node_whose_part_has_failed_says_so, setup, teardown),
        cmocka_unit_test_setup_teardown(a_stop_needs_no_memory, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
