/* What a map store promises that others share: their changes are seen, and what happens when it cannot be reached or
 * does not answer. What each store promises: test_map_contract.c. */
#include "tests/lib/patience.h"
#include "tests/unit/cluster/map_contract.h"

static void others_changes_are_seen(void **state)
{
    struct map_world *w = *state;
    struct cairn_map_store *other = w->kind->other(w);
    struct cairn_map_write write = put_of("a", "1", 0);
    struct cairn_map_change c = { .writes = &write, .nwrites = 1 };
    struct seen s;

    seen_start(&s, w->store, "", 0);
    seen_expect(w, &s, "reset ");
    assert_int_equal(map_world_change(w, other, &c), 0);
    assert_string_equal(map_world_listed_truly(w, w->store, ""), "a=1 "); /* a read does not lag */
    seen_expect(w, &s, "reset a=1 ");
    cairn_map_watch_stop(&s.watch);
}

/* ---- a store that is away ---- */

static bool is_reachable(void *arg)
{
    struct map_world *w = arg;
    struct cairn_map_health h;

    cairn_map_store_health(w->store, &h);
    return h.reachable;
}

static bool is_unreachable(void *arg)
{
    return !is_reachable(arg);
}

static void a_store_that_is_away_refuses_at_once_and_says_so(void **state)
{
    struct map_world *w = *state;
    struct cairn_map_health h;
    struct seen s;
    uint64_t before, r;

    assert_int_equal(map_world_put(w, "a", "1", 0, &r), 0);
    seen_start(&s, w->store, "", 0);
    seen_expect(w, &s, "reset a=1 ");
    w->kind->reach(w, false);
    before = map_world_now(w);
    if (map_world_put(w, "a", "2", r, NULL) == 0)
        fail_msg("changed what cannot be reached");
    map_world_until(w, is_unreachable, w);
    cairn_map_store_health(w->store, &h);
    assert_true(h.since_ns >= before);
    assert_true(h.err.code < 0 && h.err.text[0] != '\0');
    before = map_world_now(w);
    assert_int_equal(map_world_put(w, "a", "2", r, NULL), CAIRN_E_UNREACHABLE);
    assert_true(map_world_now(w) - before < 2 * CAIRN_NS_PER_S);    /* CAIRN_MAP_TIMEOUT_MS is 5 s */
    assert_string_equal(map_world_listed(w, w->store, ""), "a=1 "); /* what was known still is */
    w->kind->reach(w, true);
    map_world_until(w, is_reachable, w);
    assert_int_equal(map_world_put(w, "a", "3", r, NULL), 0);
    seen_expect(w, &s, "reset a=1 a=3 ");
    cairn_map_watch_stop(&s.watch);
}

/* What others did meanwhile, and what no history tells any more. */
static void watches_survive_absence_and_compaction(void **state)
{
    struct map_world *w = *state;
    struct cairn_map_store *other = w->kind->other(w);
    struct cairn_map_write write = put_of("b", "1", 0);
    struct cairn_map_change c = { .writes = &write, .nwrites = 1 };
    struct seen s;
    uint64_t ra, rb;

    assert_int_equal(map_world_put(w, "a", "1", 0, &ra), 0);
    seen_start(&s, w->store, "", 0);
    seen_expect(w, &s, "reset a=1 ");
    w->kind->reach(w, false);
    map_world_until(w, is_unreachable, w);
    assert_int_equal(map_world_change(w, other, &c), 0);
    rb = c.op.revision;
    w->kind->reach(w, true);
    seen_expect(w, &s, "reset a=1 b=1 "); /* nothing was skipped */
    w->kind->reach(w, false);
    map_world_until(w, is_unreachable, w);
    write = put_of("b", NULL, rb);
    assert_int_equal(map_world_change(w, other, &c), 0);
    write = put_of("a", "2", ra);
    assert_int_equal(map_world_change(w, other, &c), 0);
    write = put_of("c", "1", 0);
    assert_int_equal(map_world_change(w, other, &c), 0);
    w->kind->compact(w);
    w->kind->reach(w, true);
    seen_expect(w, &s, "reset a=1 b=1 skipped a=2 -b c=1 ");
    assert_int_equal(s.revision, c.op.revision);
    cairn_map_watch_stop(&s.watch);
}

/* The change may or may not have happened: the caller is told so, and a read tells which. */
static void a_lost_answer_is_an_unknown_outcome(void **state)
{
    struct map_world *w = *state;
    struct cairn_map_write write = put_of("a", "2", 0);
    struct cairn_map_change c = { .op = { .timeout_ms = 1000 }, .writes = &write, .nwrites = 1 };
    const char *there;
    uint64_t r;

    assert_int_equal(map_world_put(w, "a", "1", 0, &r), 0);
    write.from = r;
    WHILE_PATIENT (strcmp(there = map_world_listed_truly(w, w->store, ""), "a=2 ") != 0) { /* until it did happen */
        assert_string_equal(there, "a=1 ");
        w->kind->mute(w, true);
        assert_int_equal(map_world_change(w, w->store, &c), CAIRN_E_UNKNOWN);
        map_world_until(w, is_unreachable, w);
        w->kind->mute(w, false);
        map_world_until(w, is_reachable, w);
    }
    assert_int_equal(map_world_put(w, "a", "3", r, NULL), CAIRN_E_STATE);
}

#define ALL(kind)                                                                                                      \
    CASE(others_changes_are_seen, kind), CASE(a_store_that_is_away_refuses_at_once_and_says_so, kind),                 \
        CASE(watches_survive_absence_and_compaction, kind), CASE(a_lost_answer_is_an_unknown_outcome, kind)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ALL(sim),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
#if CAIRN_WITH_ETCD
    const struct CMUnitTest etcd_tests[] = {
        ALL(etcd),
    };

    if (etcd_is_there())
        failed += cmocka_run_group_tests(etcd_tests, NULL, NULL);
#endif
    return failed;
}
