/* The map store was put back: what the coordinator makes of records of a history that went on without them. */
#include "server/cluster/map_generation.h"
#include "tests/unit/cluster/coord_world.h"

#include <string.h>

enum { NUMBER = 3 };

static const uint64_t floor_of = (uint64_t)NUMBER << CAIRN_GENERATION_SHIFT;

/* The process that is there registers once more, and says who it was if @first. */
static void come_with(struct map *m, uint64_t i, bool first, const struct cairn_coord_told *told)
{
    struct cairn_coord_process p = {
        .node = i, .disk_id = i, .process = m->process[i], .first_inc = first ? m->who[i].inc : 0
    };

    assert_int_equal(cairn_coord_register(&m->c, &p, told), 0);
    m->who[i] = (struct cairn_who){ i, p.inc };
}

static void come_again(struct map *m, uint64_t i, bool first, struct cairn_at end)
{
    struct cairn_coord_log log = { .slot = 0, .end = end };

    come_with(m, i, first, &(struct cairn_coord_told){ .logs = &log, .nlogs = 1 });
}

/* With a part of a copy, or after its slot was moved away. */
static void come_partial(struct map *m, uint64_t i)
{
    static const uint8_t slot_0[] = { 1 };

    come_with(m, i, true, &(struct cairn_coord_told){ .partial = slot_0, .partial_bytes = sizeof(slot_0) });
}

static void pass_w(struct map *m, const char *alive)
{
    for (uint64_t until = m->now_ns + cairn_lease_wait_ns(&times); m->now_ns < until;)
        pass(m, alive);
    pass(m, alive);
}

static struct map *put_back_map(void)
{
    struct map *m = map_new();

    propose(m, CAIRN_CHANGE_ACTIVE, m->who[1], m->who[1]);
    assert_int_equal(record(m)->state, CAIRN_SLOT_ACTIVE);
    elect(m, NUMBER);
    return m;
}

/* No incarnation of the past is anybody, whatever it says; who registers again gets one that no history ever gave. */
static void nobody_is_who_he_was(void **state)
{
    struct map *m = put_back_map();
    struct cairn_slot_record before = *record(m);

    (void)state;
    assert_false(cairn_coord_heartbeat(&m->c, m->who[1], TERM));
    propose(m, CAIRN_CHANGE_REMOVE, m->who[1], m->who[3]);
    assert_int_equal(m->verdict, CAIRN_VERDICT_REFUSED);
    assert_int_equal(record(m)->epoch, before.epoch);
    assert_true(cairn_coord_wants_register(&m->c, 1));
    come_again(m, 1, true, (struct cairn_at){ 1, 9 });
    assert_true(m->who[1].inc > floor_of);
    come_again(m, 1, true, (struct cairn_at){ 1, 9 });
    assert_int_equal(m->who[1].inc, floor_of + 1);
    assert_true(cairn_coord_heartbeat(&m->c, m->who[1], TERM));
    map_free(m);
}

/* A process that did not end has all that it acknowledged, so it need not wait for those that are gone; but for the
 * leases of whoever led the slot since. */
static void who_did_not_restart_goes_on(void **state)
{
    struct map *m = put_back_map();
    uint64_t elected = m->now_ns;

    (void)state;
    come_again(m, 2, true, (struct cairn_at){ 1, 9 });
    come_again(m, 3, true, (struct cairn_at){ 1, 8 });
    while (m->now_ns + 500 * MS < elected + cairn_lease_wait_ns(&times)) {
        pass(m, "23");
        assert_int_equal(record(m)->primary.node, 1);
    }
    pass(m, "23");
    assert_true(cairn_who_is(record(m)->primary, m->who[2]));
    assert_int_equal(record(m)->epoch, floor_of);
    assert_int_equal(record(m)->ninsync, 1);
    assert_int_equal(m->c.losses, 0);
    propose(m, CAIRN_CHANGE_ACTIVE, m->who[2], m->who[2]);
    assert_int_equal(record(m)->epoch, floor_of + 1);
    map_free(m);
}

/* Those that were started again may lack what they had acknowledged: all of them are waited for (M6). */
static void who_restarted_waits_for_all(void **state)
{
    struct map *m = put_back_map();

    (void)state;
    come_again(m, 2, false, (struct cairn_at){ 1, 9 });
    start(m, 3, 3, (struct cairn_at){ 1, 8 });
    pass_w(m, "23");
    assert_int_equal(record(m)->primary.node, 1);
    start(m, 1, 1, (struct cairn_at){ 1, 10 });
    pass_w(m, "123");
    assert_true(cairn_who_is(record(m)->primary, m->who[1]));
    map_free(m);
}

/* A log in an epoch that the map has lost has all that was acknowledged before: it goes on, whoever has it. */
static void a_lost_epoch_goes_on(void **state)
{
    struct map *m = put_back_map();

    (void)state;
    come_again(m, 2, true, (struct cairn_at){ 1, 90 });
    come_again(m, 4, true, (struct cairn_at){ 6, 12 });
    pass_w(m, "24");
    assert_true(cairn_who_is(record(m)->primary, m->who[4]));
    assert_true(cairn_slot_places(record(m), 4));
    assert_int_equal(record(m)->nreplicas, 3);
    assert_int_equal(m->c.lost_epoch, 0); /* it is known already that it is lost */
    map_free(m);
}

/* Its replica was deleted in the history that is lost: an empty log is not taken for the slot's, though nobody else is
 * there. */
static void who_has_nothing_is_no_candidate(void **state)
{
    struct map *m = put_back_map();

    (void)state;
    come_again(m, 1, true, (struct cairn_at){ 0 });
    come_again(m, 2, true, (struct cairn_at){ 0 });
    come_again(m, 3, true, (struct cairn_at){ 0 });
    pass_w(m, "123");
    assert_int_equal(record(m)->primary.node, 1);
    assert_true(record(m)->epoch < floor_of);
    come_again(m, 4, true, (struct cairn_at){ 6, 12 });
    pass_w(m, "1234");
    assert_true(cairn_who_is(record(m)->primary, m->who[4]));
    map_free(m);
}

/* The record is older than the hand-over of which a node has only the mark that it was emptied: an empty log of such a
 * record may be the slot's, but not here. */
static void who_was_emptied_is_no_candidate(void **state)
{
    struct map *m = map_new();

    (void)state;
    assert_int_equal(record(m)->state, CAIRN_SLOT_TAKEOVER);
    elect(m, NUMBER);
    come_partial(m, 1);
    come_partial(m, 3);
    pass_w(m, "13");
    assert_true(record(m)->epoch < floor_of);
    come_again(m, 2, true, (struct cairn_at){ 0 });
    pass_w(m, "123");
    assert_true(cairn_who_is(record(m)->primary, m->who[2]));
    assert_int_equal(record(m)->ninsync, 1);
    map_free(m);
}

/* A map that is empty: nothing is known but what nodes say. */
static struct map *emptied_map(uint32_t number)
{
    struct map *m = map_new();

    memset(&m->c.slots[0].rec, 0, sizeof(m->c.slots[0].rec));
    elect(m, number);
    return m;
}

static int make_again(struct map *m)
{
    static const uint64_t replicas[] = { 1, 2, 3 };
    int rc = cairn_coord_create(&m->c, 0, replicas, 3, 2);

    store_all(m);
    return rc;
}

/* Also where nothing tells that the map is another: who has a part of a copy neither leads nor is in sync. */
static void a_slot_is_made_where_it_is_whole(void **state)
{
    (void)state;
    for (uint32_t number = 0; number <= NUMBER; number += NUMBER) {
        struct map *m = emptied_map(number);

        come_partial(m, 1);
        come_again(m, 2, true, (struct cairn_at){ 0 });
        come_again(m, 3, true, (struct cairn_at){ 0 });
        assert_int_equal(make_again(m), 0);
        assert_true(cairn_who_is(record(m)->primary, m->who[2]));
        assert_int_equal(record(m)->nreplicas, 3);
        assert_true(is_member(m, 2) && !is_member(m, 1));
        assert_int_equal(is_member(m, 3), number == 0);
        map_free(m);
    }
}

static void a_slot_waits_for_who_has_it_whole(void **state)
{
    struct map *m = emptied_map(NUMBER);

    (void)state;
    come_partial(m, 1);
    come_partial(m, 2);
    come_partial(m, 3);
    pass(m, "123");
    assert_int_equal(make_again(m), CAIRN_E_BUSY); /* of node 4 it is not known what it has */
    assert_int_equal(record(m)->epoch, 0);
    come_again(m, 4, true, (struct cairn_at){ 0 });
    assert_int_equal(make_again(m), CAIRN_E_BUSY); /* nor that it is alive */
    pass(m, "1234");
    assert_int_equal(make_again(m), 0);
    assert_true(cairn_who_is(record(m)->primary, m->who[4]));
    assert_true(cairn_slot_places(record(m), 1) && cairn_slot_places(record(m), 2) && cairn_slot_places(record(m), 4));
    assert_int_equal(record(m)->nreplicas, 3);
    map_free(m);
}

/* A log that is beyond the map tells that it was put back, if nobody knew. */
static void a_log_tells_it(void **state)
{
    struct map *m = map_new();

    (void)state;
    start(m, 2, 2, (struct cairn_at){ 1, 9 });
    assert_int_equal(m->c.lost_epoch, 0);
    start(m, 4, 4, (struct cairn_at){ 6, 12 });
    assert_int_equal(m->c.lost_epoch, 6);
    map_free(m);
}

/* ---- what a map is called ---- */

static void what_is_lost_is_known(void **state)
{
    uint64_t one = cairn_map_generation_next(0, 0, 77), other = cairn_map_generation_next(0, 0, 99);

    (void)state;
    assert_int_equal(cairn_map_generation_number(one), 1);
    assert_true(one != other);
    assert_false(cairn_map_generation_is_lost(one, 8, one, 8));
    assert_true(cairn_map_generation_is_lost(one, 9, one, 8));
    assert_true(cairn_map_generation_is_lost(other, 1, one, 8)); /* two of one number: put back alike, twice */
    assert_true(cairn_map_generation_is_lost(one, 1, 5, 8));
    assert_false(cairn_map_generation_is_lost(5, 9, one, 8)); /* that is known */
    assert_false(cairn_map_generation_is_lost(0, 9, one, 8));
    assert_int_equal(cairn_map_generation_number(cairn_map_generation_next(one, 5, 1)), 2);
    assert_true(cairn_map_generation_replaces(one, 0) && cairn_map_generation_replaces(one, 5));
    assert_false(cairn_map_generation_replaces(one, other) || cairn_map_generation_replaces(5, one) ||
                 cairn_map_generation_replaces(0, one));
}

static void an_entry_is_read_as_it_was_written(void **state)
{
    static const char *const bad[] = { "", "x", "1 2", "0000000100000001 2 3 ", "0000000000000000 2 3",
                                       "0000000100000001 2 x", "00000001000000010 2 3" };
    struct cairn_map_generation g = { .id = UINT64_MAX, .kept = UINT64_MAX, .lost = 0 }, got;
    char text[CAIRN_MAP_GENERATION_TEXT_MAX];
    uint32_t len = cairn_map_generation_write(&g, text);

    (void)state;
    assert_true(cairn_map_generation_read((const uint8_t *)text, len, &got));
    assert_true(got.id == g.id && got.kept == g.kept && got.lost == g.lost);
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        assert_false(cairn_map_generation_read((const uint8_t *)bad[i], strlen(bad[i]), &got));
        assert_int_equal(got.id, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nobody_is_who_he_was),        cmocka_unit_test(who_did_not_restart_goes_on),
        cmocka_unit_test(who_restarted_waits_for_all), cmocka_unit_test(a_lost_epoch_goes_on),
        cmocka_unit_test(who_has_nothing_is_no_candidate), cmocka_unit_test(a_log_tells_it),
        cmocka_unit_test(who_was_emptied_is_no_candidate), cmocka_unit_test(a_slot_is_made_where_it_is_whole),
        cmocka_unit_test(a_slot_waits_for_who_has_it_whole),
        cmocka_unit_test(what_is_lost_is_known),       cmocka_unit_test(an_entry_is_read_as_it_was_written),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
