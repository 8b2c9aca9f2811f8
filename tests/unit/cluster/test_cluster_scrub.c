/* Replicas are compared: what is bad by its own checksums is repaired from a good copy, what looks good and differs is
 * told, and what is in use is let alone. */
#include "tests/unit/cluster/scrub_world.h"

static void replicas_that_are_the_same(void **state)
{
    struct world *w = *state;
    uint64_t keys = 0, slots = 0;
    char key[32];

    pair(w);
    for (uint32_t i = 0; i < 600; i++) { /* more than a page */
        snprintf(key, sizeof(key), "key %u", i);
        store(w, key, embedded(key));
    }
    scrub(w);
    expect_nothing_found(w);
    for (uint32_t i = 0; i < NODES; i++) {
        assert_int_equal(atomic_load(&report(w, i)->rounds), 1);
        keys += atomic_load(&report(w, i)->keys);
        slots += atomic_load(&report(w, i)->slots);
    }
    assert_int_equal(keys, 600);
    assert_int_equal(slots, 1 << SLOT_BITS);
}

static void a_bad_copy_is_repaired(void **state)
{
    struct world *w = *state;
    uint8_t row[64];
    char key[32];

    pair(w);
    for (uint32_t i = 0; i < 600; i++) {
        snprintf(key, sizeof(key), "key %u", i);
        store(w, key, embedded(key));
    }
    lose(w, nodes[1], "key 3");
    damage(w, nodes[1], "key 577");
    damage(w, nodes[0], "key 300");
    erase_below(w, nodes[1], database(w, nodes[1], "slots/index"), row, index_key("key 400", row));
    scrub(w);
    expect_finding(w, nodes[0], "key 3", SCRUB_REPAIRED, SCAN_SOUND, SCAN_NO_RECORD);
    expect_finding(w, nodes[0], "key 577", SCRUB_REPAIRED, SCAN_SOUND, SCAN_DAMAGED);
    expect_finding(w, nodes[0], "key 300", SCRUB_REPAIRED, SCAN_DAMAGED, SCAN_SOUND);
    expect_finding(w, nodes[0], "key 400", SCRUB_REPAIRED, SCAN_SOUND, SCAN_NO_INDEX);
    assert_int_equal(atomic_load(&report(w, nodes[0])->repaired), 4);
    assert_int_equal(scrub_report_open(report(w, nodes[0])), 0);
    expect_record(w, "key 3", nodes, 2, embedded("key 3"));
    expect_record(w, "key 577", nodes, 2, embedded("key 577"));
    expect_record(w, "key 300", nodes, 2, embedded("key 300"));
    scrub(w);
    assert_int_equal(atomic_load(&report(w, nodes[0])->repaired), 4);
}

/* Nobody can say which of them is right, so both stay as they are, and it is told in each round until it is over. */
static void two_good_copies_that_differ_are_told(void **state)
{
    struct world *w = *state;
    uint8_t row[64];
    size_t len;
    json_t *o;

    pair(w);
    store(w, "a", embedded("one"));
    store(w, "b", embedded("two"));
    replace(w, nodes[1], "a", embedded("another"));
    len = index_key("c", row); /* whole, but at one of them only */
    put_below(w, nodes[1], database(w, nodes[1], "slots/index"), row, len,
              (struct record){ .len = STORE_INDEX_VALUE_BYTES });
    replace(w, nodes[1], "c", embedded("three"));
    for (int round = 0; round < 2; round++) {
        scrub(w);
        expect_finding(w, nodes[0], "a", SCRUB_DIFFERENT, SCAN_SOUND, SCAN_SOUND);
        expect_finding(w, nodes[0], "c", SCRUB_DIFFERENT, SCAN_ABSENT, SCAN_SOUND);
        assert_int_equal(scrub_report_open(report(w, nodes[0])), 2);
        expect_record(w, "a", nodes, 1, embedded("one"));
        expect_record(w, "a", nodes + 1, 1, embedded("another"));
    }
    o = scrub_report_json(w->nodes[nodes[0]].c);
    assert_int_equal(json_integer_value(json_object_get(o, "open")), 2);
    assert_int_equal(json_array_size(json_object_get(o, "findings")), 2);
    json_decref(o);

    replace(w, nodes[1], "a", embedded("one"));
    erase_below(w, nodes[1], database(w, nodes[1], "slots/index"), row, len);
    lose(w, nodes[1], "c");
    scrub(w);
    assert_int_equal(scrub_report_open(report(w, nodes[0])), 0);
}

/* What was found of a slot stays while it is not compared: for a round it is not led here. */
static void a_slot_that_is_passed_over_keeps_its_findings(void **state)
{
    struct world *w = *state;
    atomic_uint_fast64_t *word;
    uint64_t was;

    pair(w);
    store(w, "a", embedded("one"));
    store(w, "b", embedded("two"));
    replace(w, nodes[1], "a", embedded("another"));
    scrub(w);
    expect_finding(w, nodes[0], "a", SCRUB_DIFFERENT, SCAN_SOUND, SCAN_SOUND);
    assert_int_equal(atomic_load(&report(w, nodes[0])->slots_skipped), 0);
    replace(w, nodes[1], "a", embedded("one"));

    word = &w->nodes[nodes[0]].c->side->words[slot];
    was = atomic_exchange(word, 0);
    scrubs_start(w);
    while (scrubs_run(w)) {
        atomic_store(word, 0);
        turn(w);
    }
    assert_int_equal(scrub_report_open(report(w, nodes[0])), 1);
    assert_int_equal(atomic_load(&report(w, nodes[0])->slots_skipped), 1);
    assert_int_equal(atomic_load(&report(w, nodes[0])->not_compared), 1);
    atomic_store(word, was);
    scrub(w);
    assert_int_equal(scrub_report_open(report(w, nodes[0])), 0);
    assert_int_equal(atomic_load(&report(w, nodes[0])->not_compared), 0);
    assert_int_equal(atomic_load(&report(w, nodes[0])->slots_skipped), 1);
}

/* It was not served when the round came by: the round comes back to it. */
static void a_slot_is_compared_when_it_can_be(void **state)
{
    struct world *w = *state;
    const struct side_scrub *s;
    atomic_uint_fast64_t *word;
    uint64_t was;

    pair(w);
    store(w, "a", embedded("one"));
    settle(w);
    damage(w, nodes[1], "a");
    s = w->nodes[nodes[0]].c->side->workers[0].scrub;
    word = &w->nodes[nodes[0]].c->side->words[slot];
    was = atomic_exchange(word, 0);
    scrubs_start(w);
    while (s->pass == 0) {
        assert_true(scrubs_run(w));
        atomic_store(word, 0);
        turn(w);
    }
    assert_int_equal(report(w, nodes[0])->n, 0);
    atomic_store(word, was);
    while (scrubs_run(w))
        turn(w);
    expect_finding(w, nodes[0], "a", SCRUB_REPAIRED, SCAN_SOUND, SCAN_DAMAGED);
    for (uint32_t i = 0; i < NODES; i++) {
        assert_int_equal(atomic_load(&report(w, i)->not_compared), 0);
        assert_int_equal(atomic_load(&report(w, i)->slots_skipped), 0);
    }
}

static void without_a_good_copy_there_is_no_repair(void **state)
{
    struct world *w = *state;

    pair(w);
    store(w, "a", embedded("one"));
    damage(w, nodes[0], "a");
    damage(w, nodes[1], "a");
    scrub(w);
    expect_finding(w, nodes[0], "a", SCRUB_NONE_GOOD, SCAN_DAMAGED, SCAN_DAMAGED);
    store(w, "a", embedded("two")); /* whoever writes it anew ends that */
    scrub(w);
    assert_int_equal(scrub_report_open(report(w, nodes[0])), 0);
}

/* While keys are written all the time nothing is found, though one gets two values in turn, so that it may be the same
 * here when it is read again, and was another when it was read there; and a bad copy that is repaired meanwhile loses
 * no write. */
static void writes_go_on(void **state)
{
    enum { HOT = 2 }; /* each costs a round seconds: it is looked at again and again, with pauses */
    struct world *w = *state;
    uint32_t n = 0, back = 0;
    struct change changes[HOT];
    char value[64];

    pair(w);
    store(w, "cold", embedded("cold"));
    for (uint32_t i = 0; i < HOT; i++) {
        snprintf(value, sizeof(value), "%u", i);
        change_start(w, &changes[i], value, embedded(value));
    }
    for (uint32_t round = 0; round < 2; round++) {
        damage(w, nodes[round], "cold");
        /* A round in which the other one was out of the set for a while compares nothing. */
        WHILE_PATIENT (atomic_load(&report(w, nodes[0])->repaired) == round || scrubs_run(w)) {
            if (!scrubs_run(w))
                scrubs_start(w);
            turn(w);
            for (uint32_t i = round; i < HOT; i++) { /* the first of them cools down */
                if (!changes[i].a.done)
                    continue;
                n++;
                snprintf(value, sizeof(value), "value %u", i == 0 ? n : ++back % 2);
                change_start(w, &changes[i], changes[i].key, embedded(value));
            }
        }
    }
    assert_true(n > HOT);
    for (uint32_t i = 0; i < HOT; i++)
        turns(w, &changes[i].a.done);
    assert_int_equal(atomic_load(&report(w, nodes[0])->repaired), 2);
    assert_int_equal(report(w, nodes[0])->n, 1); /* of the cold one */
    expect_record(w, "cold", nodes, 2, embedded("cold"));
    scrub(w); /* and what they have is the same, and the last that was written */
    for (uint32_t i = 0; i < HOT; i++)
        expect_record(w, changes[i].key, nodes, 2, changes[i].record);
    assert_int_equal(report(w, nodes[0])->n, 1);
}

/* The other way round: the bad key itself is written while it is looked at, and while it is being repaired: what is
 * written is in the log then, and not yet among the records. */
static void a_repair_never_undoes_a_write(void **state)
{
    static const char *const points[] = { "PEER", "WRITE" };
    struct world *w = *state;
    struct change x;
    char value[64];

    pair(w);
    store(w, "k", embedded("first"));
    for (uint32_t i = 0; i < 8; i++) {
        settle(w);
        damage(w, nodes[i % 2], "k");
        scrubs_start(w);
        while (!key_is_in(w, points[i / 2 % 2])) {
            assert_true(scrubs_run(w));
            turn(w);
        }
        snprintf(value, sizeof(value), "value %u", i);
        change_start(w, &x, "k", embedded(value));
        turns(w, &x.a.done);
        assert_int_equal(x.a.rc, 0);
        while (scrubs_run(w))
            turn(w);
        expect_record(w, "k", nodes, 2, embedded(value));
    }
    scrub(w);
    expect_record(w, "k", nodes, 2, embedded(value));
    assert_int_equal(scrub_report_open(report(w, nodes[0])), 0);
}

/* A node that ends in the middle of it ends. */
static void a_node_stops_meanwhile(void **state)
{
    struct world *w = *state;
    char key[32];

    pair(w);
    for (uint32_t i = 0; i < 300; i++) {
        snprintf(key, sizeof(key), "key %u", i);
        store(w, key, embedded(key));
        if (i % 30 == 0)
            damage(w, nodes[1], key);
    }
    for (uint32_t i = 0; i < 4; i++) {
        scrubs_start(w);
        for (uint32_t k = 0; k < 1 + 25 * i; k++)
            turn(w);
        node_stop(w, nodes[i % 2]);
        node_start(w, nodes[i % 2]);
        expect_leases(w);
        expect_all_active(w, 2);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(replicas_that_are_the_same, setup_long_leases, teardown),
        cmocka_unit_test_setup_teardown(a_bad_copy_is_repaired, setup_long_leases, teardown),
        cmocka_unit_test_setup_teardown(two_good_copies_that_differ_are_told, setup_long_leases, teardown),
        cmocka_unit_test_setup_teardown(a_slot_that_is_passed_over_keeps_its_findings, setup_long_leases, teardown),
        cmocka_unit_test_setup_teardown(a_slot_is_compared_when_it_can_be, setup_long_leases, teardown),
        cmocka_unit_test_setup_teardown(without_a_good_copy_there_is_no_repair, setup_long_leases, teardown),
        cmocka_unit_test_setup_teardown(writes_go_on, setup_long_leases, teardown),
        cmocka_unit_test_setup_teardown(a_repair_never_undoes_a_write, setup_long_leases, teardown),
        cmocka_unit_test_setup_teardown(a_node_stops_meanwhile, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
