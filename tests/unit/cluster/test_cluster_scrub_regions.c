/* Replicas are compared, of large values: regions that are missing or damaged. */
#include "tests/unit/cluster/scrub_world.h"

static void lose_region(struct world *w, uint32_t i, uint64_t id)
{
    struct extents *x = &w->nodes[nodes[i]].extents;

    for (uint32_t k = 0; k < x->n; k++) {
        if (x->ids[k] == id)
            x->ids[k--] = x->ids[--x->n];
    }
}

static void regions_are_fetched_anew(void **state)
{
    struct world *w = *state;

    pair(w);
    for (uint64_t id = 71; id <= 73; id++) {
        char key[32];

        snprintf(key, sizeof(key), "large %u", (unsigned)id);
        extents_add(&w->nodes[nodes[0]].extents, id);
        store(w, key, large(id));
    }
    for (uint32_t i = 0; i < 2; i++)
        assert_int_equal(w->nodes[nodes[i]].extents.n, 3);
    w->nodes[nodes[1]].extents.damaged = 71;
    w->nodes[nodes[0]].extents.damaged = 72;
    lose_region(w, 1, 73);
    scrub(w);
    expect_finding(w, nodes[0], "large 71", SCRUB_REPAIRED, SCAN_SOUND, SCAN_BAD_REGION);
    expect_finding(w, nodes[0], "large 72", SCRUB_REPAIRED, SCAN_BAD_REGION, SCAN_SOUND);
    expect_finding(w, nodes[0], "large 73", SCRUB_REPAIRED, SCAN_SOUND, SCAN_NO_REGION);
    for (uint32_t i = 0; i < 2; i++) {
        assert_int_equal(w->nodes[nodes[i]].extents.n, 3);
        assert_int_equal(w->nodes[nodes[i]].extents.damaged, 0);
        assert_int_equal(w->nodes[nodes[i]].extents.removes, 1);
    }
}

/* Whoever leads has lost record and regions: nothing names them there before they are back. */
static void a_record_comes_back_after_its_regions(void **state)
{
    struct world *w = *state;
    struct extents *x;
    uint64_t end;

    pair(w);
    x = &w->nodes[nodes[0]].extents;
    extents_add(x, 81);
    store(w, "large", large(81));
    lose(w, nodes[0], "large");
    lose_region(w, 0, 81);
    end = replica(w, 0)->log.end.pos;
    x->holds = true;
    scrubs_start(w);
    WHILE_PATIENT (x->held == NULL)
        turn(w);
    for (int n = 0; n < 100; n++)
        turn(w);
    assert_true(key_is_in(w, "FETCH"));
    assert_int_equal(replica(w, 0)->log.end.pos, end);
    x->holds = false;
    region_stored(x, x->held);
    WHILE_PATIENT (scrubs_run(w))
        turn(w);
    expect_finding(w, nodes[0], "large", SCRUB_REPAIRED, SCAN_NO_RECORD, SCAN_SOUND);
    expect_record(w, "large", nodes, 2, large(81));
    assert_true(extents_has(x, 81));
    assert_int_equal(cluster_regions_state(&w->nodes[nodes[0]].c->side->regions, 81), REGION_HERE); /* pinned */

    lose(w, nodes[0], "large"); /* and the other has lost them, too: that is no good copy */
    lose_region(w, 0, 81);
    lose_region(w, 1, 81);
    end = replica(w, 0)->log.end.pos;
    scrub(w);
    expect_finding(w, nodes[0], "large", SCRUB_NONE_GOOD, SCAN_NO_RECORD, SCAN_NO_REGION);
    assert_int_equal(replica(w, 0)->log.end.pos, end);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(regions_are_fetched_anew, setup_long_leases, teardown),
        cmocka_unit_test_setup_teardown(a_record_comes_back_after_its_regions, setup_long_leases, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
