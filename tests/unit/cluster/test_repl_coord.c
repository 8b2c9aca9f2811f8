/* MAP's rules M1 to M7, each a story (PROTOCOL §3). Times in milliseconds. */
#include "tests/unit/cluster/coord_world.h"

/* M1: only the registered process is granted, and nobody whose authority a change under way ends. */
static void grants_go_to_the_registered(void **state)
{
    struct map *m = map_new();
    struct cairn_who old = m->who[1];

    (void)state;
    assert_true(cairn_coord_heartbeat(&m->c, old, TERM));
    m->holds = true;
    propose(m, CAIRN_CHANGE_RELEASE, m->who[1], m->who[1]);
    assert_true(m->c.slots[0].storing);
    assert_false(cairn_coord_heartbeat(&m->c, old, TERM));
    m->holds = false;
    store_all(m);
    assert_true(cairn_coord_heartbeat(&m->c, old, TERM));
    start(m, 1, 1, (struct cairn_at){ 0 });
    assert_false(cairn_coord_heartbeat(&m->c, old, TERM));
    map_free(m);
}

/* M1: a heartbeat that was sent before our term counts for nothing, and nothing does when our term is over: its own
 * end is looked at after the heartbeat came. */
static void only_our_term_grants(void **state)
{
    struct map *m = map_new();
    uint64_t granted = cairn_coord_node(&m->c, 1)->granted_ns, silent = m->now_ns + cairn_lease_wait_ns(&times);

    (void)state;
    m->now_ns += 400 * MS;
    assert_false(cairn_coord_heartbeat(&m->c, m->who[1], TERM - 1));
    assert_false(cairn_coord_heartbeat(&m->c, m->who[1], 0));
    m->term_is_over = true;
    assert_false(cairn_coord_heartbeat(&m->c, m->who[1], TERM));
    assert_int_equal(cairn_coord_node(&m->c, 1)->granted_ns, granted);
    propose(m, CAIRN_CHANGE_REMOVE, m->who[1], m->who[3]);
    assert_int_equal(m->verdict, 0);
    while (m->now_ns < silent)
        pass(m, "23");
    assert_int_equal(record(m)->primary.node, 1); /* nor does it decide anything */
    m->term_is_over = false;
    pass(m, "23");
    pass(m, "23");
    assert_int_equal(record(m)->primary.node, 2);
    map_free(m);
}

/* Who is elected has no lease of others any more: none that it holds, none that is still on its way to it. */
static void who_coordinates_gives_up_its_lease(void **state)
{
    struct cairn_lease l = { 0 };

    (void)state;
    cairn_lease_granted(&l, &times, 4, 1000 * MS);
    assert_true(cairn_lease_is_valid(&l, 2000 * MS));
    cairn_lease_give_up(&l, 6);
    assert_false(cairn_lease_is_valid(&l, 2000 * MS));
    cairn_lease_granted(&l, &times, 6, 1900 * MS);
    assert_false(cairn_lease_is_valid(&l, 2000 * MS));
    cairn_lease_granted(&l, &times, 7, 2000 * MS);
    assert_true(cairn_lease_is_valid(&l, 2000 * MS));
}

/* M1: what comes twice is one process, what comes late is none. */
static void a_process_registers_once(void **state)
{
    struct map *m = map_new();
    struct cairn_coord_process p = { .node = 1, .disk_id = 1, .process = m->process[1] };

    (void)state;
    assert_int_equal(cairn_coord_register(&m->c, &p, &(struct cairn_coord_told){ 0 }), 0);
    assert_int_equal(p.inc, m->who[1].inc);
    p.process--;
    assert_int_equal(cairn_coord_register(&m->c, &p, &(struct cairn_coord_told){ 0 }), CAIRN_E_STATE);
    map_free(m);
}

/* M2: the primary's process ends; a member that is heard of after that leads at once, without waiting for a lease. */
static void restart_ends_a_membership(void **state)
{
    struct map *m = map_new();

    (void)state;
    start(m, 1, 1, (struct cairn_at){ 1, 5 });
    cairn_coord_tick(&m->c);
    assert_false(m->c.slots[0].storing); /* node 2 may have gone before: it has to be heard of again */
    pass(m, "123");
    assert_int_equal(record(m)->primary.node, 2);
    assert_int_equal(record(m)->ninsync, 2);
    assert_false(cairn_slot_names(record(m), 1));
    map_free(m);
}

/* M2: any other member's word will do: here MAP does not hear the primary just now. */
static void restart_is_noticed_beside_a_silent_primary(void **state)
{
    struct map *m = map_new();

    (void)state;
    start(m, 2, 2, (struct cairn_at){ 1, 5 });
    pass(m, "23");
    assert_int_equal(record(m)->primary.node, 1);
    assert_int_equal(record(m)->ninsync, 2);
    assert_false(cairn_slot_names(record(m), 2));
    map_free(m);
}

/* M3: a member is removed on the word of the living primary, of the newest epoch; never the last, the primary. */
static void only_the_primary_removes(void **state)
{
    struct map *m = map_new();
    struct cairn_change late = {
        .kind = CAIRN_CHANGE_REMOVE, .epoch = record(m)->epoch - 1, .from = m->who[1], .who = m->who[2]
    };

    (void)state;
    propose(m, CAIRN_CHANGE_REMOVE, m->who[2], m->who[3]);
    assert_int_equal(m->verdict, CAIRN_VERDICT_REFUSED);
    cairn_coord_propose(&m->c, &late);
    assert_int_equal(m->verdict, CAIRN_VERDICT_REFUSED);
    propose(m, CAIRN_CHANGE_REMOVE, m->who[1], m->who[3]);
    assert_int_equal(m->verdict, CAIRN_VERDICT_COMMITTED);
    propose(m, CAIRN_CHANGE_REMOVE, m->who[1], m->who[2]);
    assert_int_equal(record(m)->ninsync, 1);
    propose(m, CAIRN_CHANGE_REMOVE, m->who[1], m->who[1]);
    assert_int_equal(m->verdict, CAIRN_VERDICT_REFUSED);
    assert_true(is_member(m, 1));
    map_free(m);
}

/* M3: the word of a process that has ended does not count, though nobody was told of it yet. */
static void the_dead_remove_nobody(void **state)
{
    struct map *m = map_new();
    struct cairn_who old = m->who[1];

    (void)state;
    start(m, 1, 1, (struct cairn_at){ 1, 5 });
    propose(m, CAIRN_CHANGE_REMOVE, old, m->who[2]);
    assert_int_equal(m->verdict, CAIRN_VERDICT_REFUSED);
    assert_true(is_member(m, 2));
    map_free(m);
}

/* M4: a silent primary is replaced W after its last grant, no sooner. */
static void silent_primary_is_replaced_after_w(void **state)
{
    struct map *m = map_new();
    uint64_t granted = m->now_ns;

    (void)state;
    while (m->now_ns + 500 * MS < granted + cairn_lease_wait_ns(&times)) {
        pass(m, "23");
        assert_int_equal(record(m)->primary.node, 1);
    }
    pass(m, "23");
    assert_int_equal(record(m)->primary.node, 2);
    assert_int_equal(record(m)->state, CAIRN_SLOT_TAKEOVER);
    assert_int_equal(record(m)->since, record(m)->epoch);
    assert_false(cairn_slot_names(record(m), 1));
    map_free(m);
}

/* M4: a successor of the coordinator waits W from its own election. */
static void new_coordinator_waits(void **state)
{
    struct map *m = map_new();
    uint64_t elected;

    (void)state;
    m->now_ns += 60000 * MS;
    elected = m->now_ns;
    elect(m, 0);
    assert_true(cairn_coord_wants_register(&m->c, 2));
    while (m->now_ns + 500 * MS < elected + cairn_lease_wait_ns(&times)) {
        pass(m, "23");
        assert_int_equal(record(m)->primary.node, 1);
    }
    pass(m, "23");
    assert_int_equal(record(m)->primary.node, 2);
    map_free(m);
}

/* M4: who has released is replaced at once, and stays a member. */
static void released_primary_stays_a_member(void **state)
{
    struct map *m = map_new();

    (void)state;
    propose(m, CAIRN_CHANGE_RELEASE, m->who[1], m->who[1]);
    assert_int_equal(record(m)->primary.node, 2);
    assert_true(is_member(m, 1));
    map_free(m);
}

/* A change whose outcome is not known is not taken for not made: whoever it displaces gets no grant, until the record
 * was read, and as long as it may still arrive. */
static void unknown_outcome_is_found_out(void **state)
{
    struct map *m = map_new();
    struct cairn_slot_record before = *record(m), after;

    (void)state;
    m->holds = true;
    propose(m, CAIRN_CHANGE_RELEASE, m->who[1], m->who[1]);
    after = m->c.slots[0].next;
    cairn_coord_on_stored(&m->c, 0, CAIRN_E_UNKNOWN);
    assert_int_equal(m->reads, 1);
    assert_false(cairn_coord_heartbeat(&m->c, m->who[1], TERM));
    cairn_coord_on_read(&m->c, 0, CAIRN_E_UNREACHABLE, NULL);
    assert_int_equal(m->reads, 1);
    pass(m, "123");
    assert_int_equal(m->reads, 2);
    m->stores = 0;
    cairn_coord_on_read(&m->c, 0, 0, &before); /* not made, so far: it is made again, and once */
    assert_int_equal(m->stores, 1);
    cairn_coord_on_stored(&m->c, 0, CAIRN_E_UNREACHABLE); /* this one was not; the first one may be */
    assert_int_equal(m->reads, 3);
    cairn_coord_on_read(&m->c, 0, 0, &before);
    cairn_coord_on_stored(&m->c, 0, CAIRN_E_STATE); /* the first one has arrived */
    assert_int_equal(record(m)->epoch, before.epoch);
    assert_false(cairn_coord_heartbeat(&m->c, m->who[1], TERM));
    assert_int_equal(m->verdict, 0);
    cairn_coord_on_read(&m->c, 0, 0, &after);
    assert_int_equal(record(m)->epoch, before.epoch + 1);
    assert_int_equal(m->verdict, CAIRN_VERDICT_COMMITTED);
    assert_true(cairn_coord_heartbeat(&m->c, m->who[1], TERM));
    map_free(m);
}

/* The record that is read is neither the old one nor ours: another coordinator's. Nothing is decided here any more. */
static void who_is_deposed_decides_nothing(void **state)
{
    struct map *m = map_new();
    struct cairn_slot_record others = *record(m);

    (void)state;
    others.epoch += 1;
    others.state = CAIRN_SLOT_ACTIVE;
    m->holds = true;
    propose(m, CAIRN_CHANGE_RELEASE, m->who[1], m->who[1]);
    cairn_coord_on_stored(&m->c, 0, CAIRN_E_UNKNOWN);
    cairn_coord_on_read(&m->c, 0, 0, &others);
    m->stores = 0;
    for (int i = 0; i < 10; i++)
        pass(m, "23");
    assert_int_equal(m->stores, 0);
    assert_false(cairn_coord_heartbeat(&m->c, m->who[1], TERM));
    map_free(m);
}

/* M5: a learner joins under its registered incarnation; otherwise never. */
static void join_is_for_the_registered(void **state)
{
    struct map *m = map_new();
    struct cairn_who old = m->who[3];

    (void)state;
    propose(m, CAIRN_CHANGE_REMOVE, m->who[1], old);
    start(m, 3, 3, (struct cairn_at){ 0 });
    propose(m, CAIRN_CHANGE_JOIN, m->who[1], old);
    assert_int_equal(m->verdict, CAIRN_VERDICT_REFUSED_INC);
    propose(m, CAIRN_CHANGE_JOIN, m->who[1], m->who[4]); /* is no replica */
    assert_int_equal(m->verdict, CAIRN_VERDICT_REFUSED_INC);
    propose(m, CAIRN_CHANGE_JOIN, m->who[1], m->who[3]);
    assert_int_equal(m->verdict, CAIRN_VERDICT_COMMITTED);
    assert_true(is_member(m, 3));
    map_free(m);
}

/* M6: all members restarted: when all are back, the one with the greatest (epoch, end) goes on, alone. */
static void best_log_goes_on(void **state)
{
    struct map *m = map_new();

    (void)state;
    start(m, 1, 1, (struct cairn_at){ 1, 9 });
    start(m, 2, 2, (struct cairn_at){ 2, 7 });
    pass(m, "12");
    assert_int_equal(record(m)->ninsync, 3); /* node 3, by the record a member, may still come */
    start(m, 3, 3, (struct cairn_at){ 2, 6 });
    for (int i = 0; i < 6; i++)
        pass(m, "123");
    assert_int_equal(record(m)->primary.node, 2);
    assert_int_equal(record(m)->ninsync, 1);
    assert_int_equal(m->c.recoveries, 1);
    assert_int_equal(m->c.losses, 0);
    map_free(m);
}

/* M6: one stays away: policy decides, after a while, and says so. */
static void lost_slot_waits_for_all(void **state)
{
    struct map *m = map_new();

    (void)state;
    m->c.lost_wait_ns = 10000 * MS;
    propose(m, CAIRN_CHANGE_REMOVE, m->who[1], m->who[3]);
    start(m, 1, 1, (struct cairn_at){ 1, 9 });
    start(m, 2, 2, (struct cairn_at){ 1, 8 });
    for (int i = 0; i < 40; i++)
        pass(m, "23"); /* node 3 is of no older set's use */
    assert_int_equal(record(m)->primary.node, 1);
    m->c.lost_may_shrink = true;
    pass(m, "23");
    assert_int_equal(record(m)->primary.node, 2);
    assert_int_equal(m->c.losses, 1);
    map_free(m);
}

/* M2, M6: the primary restarts and the other member never comes back: that is a lost slot too, and policy decides. But
 * not before whoever is silent has no lease, and not if it speaks again. */
static void lost_slot_does_not_wait_for_ever(void **state)
{
    struct map *m = map_new();
    uint64_t granted;

    (void)state;
    m->c.lost_wait_ns = 500 * MS;
    propose(m, CAIRN_CHANGE_REMOVE, m->who[1], m->who[3]);
    granted = m->now_ns;
    start(m, 2, 2, (struct cairn_at){ 1, 8 }); /* node 1, who leads, falls silent */
    for (int i = 0; i < 20; i++)
        pass(m, "23");
    assert_int_equal(record(m)->primary.node, 1);
    pass(m, "123"); /* it was a cut: node 2 has to join again */
    assert_int_equal(record(m)->ninsync, 1);
    assert_int_equal(m->c.recoveries, 0);

    start(m, 2, 2, (struct cairn_at){ 1, 9 });
    propose(m, CAIRN_CHANGE_JOIN, m->who[1], m->who[2]);
    assert_int_equal(record(m)->ninsync, 2);
    start(m, 2, 2, (struct cairn_at){ 1, 9 });
    m->c.lost_may_shrink = true;
    for (granted = m->now_ns; m->now_ns + 500 * MS < granted + cairn_lease_wait_ns(&times);) {
        pass(m, "23");
        assert_int_equal(record(m)->primary.node, 1);
    }
    pass(m, "23");
    assert_int_equal(record(m)->primary.node, 2);
    assert_int_equal(m->c.losses, 1);
    map_free(m);
}

/* M3: a replica leaves without a successor only while the primary is heard of, and if enough are in sync without it. */
static void replica_is_dropped_beside_a_living_primary(void **state)
{
    struct map *m = map_new();

    (void)state;
    for (int i = 0; i < 4; i++) /* silent, and its lease may be valid */
        pass(m, "23");
    assert_int_equal(cairn_coord_drop(&m->c, 0, 3), CAIRN_E_BUSY);
    pass(m, "123");
    assert_int_equal(cairn_coord_drop(&m->c, 0, 1), CAIRN_E_STATE);
    assert_int_equal(cairn_coord_drop(&m->c, 0, 3), 0);
    store_all(m);
    assert_int_equal(record(m)->nreplicas, 2);
    assert_int_equal(record(m)->ninsync, 2);
    assert_int_equal(cairn_coord_drop(&m->c, 0, 2), 0); /* one replica is what is wanted then */
    store_all(m);
    assert_int_equal(record(m)->ninsync, 1);
    map_free(m);
    m = map_new();
    propose(m, CAIRN_CHANGE_REMOVE, m->who[1], m->who[2]);
    assert_int_equal(cairn_coord_drop(&m->c, 0, 3), CAIRN_E_STATE); /* the primary would be alone, of two */
    assert_int_equal(cairn_coord_drop(&m->c, 0, 2), 0);
    map_free(m);
}

/* M6: a new disk is no candidate, whoever asks and however often its node restarts. */
static void new_disk_is_no_candidate(void **state)
{
    struct map *m = map_new();

    (void)state;
    m->c.lost_may_shrink = true;
    propose(m, CAIRN_CHANGE_REMOVE, m->who[1], m->who[3]);
    propose(m, CAIRN_CHANGE_REMOVE, m->who[1], m->who[2]);
    start(m, 1, 99, (struct cairn_at){ 0 });
    for (int i = 0; i < 20; i++)
        pass(m, "123");
    start(m, 1, 99, (struct cairn_at){ 0 });
    for (int i = 0; i < 20; i++)
        pass(m, "123");
    assert_int_equal(record(m)->ninsync, 1);
    assert_int_equal(m->c.recoveries, 0); /* an operator's order alone goes on from here */
    map_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(grants_go_to_the_registered),
        cmocka_unit_test(a_process_registers_once),
        cmocka_unit_test(restart_ends_a_membership),
        cmocka_unit_test(only_the_primary_removes),
        cmocka_unit_test(the_dead_remove_nobody),
        cmocka_unit_test(silent_primary_is_replaced_after_w),
        cmocka_unit_test(new_coordinator_waits),
        cmocka_unit_test(released_primary_stays_a_member),
        cmocka_unit_test(join_is_for_the_registered),
        cmocka_unit_test(best_log_goes_on),
        cmocka_unit_test(lost_slot_waits_for_all),
        cmocka_unit_test(new_disk_is_no_candidate),
        cmocka_unit_test(restart_is_noticed_beside_a_silent_primary),
        cmocka_unit_test(only_our_term_grants),
        cmocka_unit_test(who_coordinates_gives_up_its_lease),
        cmocka_unit_test(unknown_outcome_is_found_out),
        cmocka_unit_test(who_is_deposed_decides_nothing),
        cmocka_unit_test(lost_slot_does_not_wait_for_ever),
        cmocka_unit_test(replica_is_dropped_beside_a_living_primary),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
