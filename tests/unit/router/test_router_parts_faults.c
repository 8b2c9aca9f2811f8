/* Values that come in parts, when calls fail, the node dies, or the sweeper comes by: nothing of them stays behind. */
#include "world_parts.h"

static void every_call_fails(void **state)
{
    static const int failures[] = { CAIRN_E_NOSPACE, CAIRN_E_IO, CAIRN_E_TIMEOUT };
    struct world *w = *state;

    fill(value, sizeof(value), 4);
    for (size_t f = 0; f < ARRAY_SIZE(failures); f++) {
        uint32_t failed = 0;

        for (uint64_t nth = 1;; nth++) {
            int rc;

            w->fail_at = 0;
            ns_create(w, "n"); /* fresh: its database is to be opened, too */
            w->calls = 0;
            w->fail_at = nth;
            w->fail_rc = failures[f];
            rc = part(w, 0, REGION);
            if (rc == 0)
                rc = part(w, 1, 10);
            if (rc == 0)
                rc = commit(w, 2, REGION + 10);
            w->fail_at = 0;
            if (w->calls < nth) {
                assert_int_equal(rc, 0);
                assert_int_equal(ns_remove_as(w, &root, "n", true), 0);
                break;
            }
            failed++;
            assert_int_equal(rc, failures[f]);
            rc = abort_as(w, &root, "n");
            assert_true(rc == 0 || rc == CAIRN_E_NOTFOUND);
            expect_no_orphans(w);
            assert_int_equal(router_of(w)->uploads.n, 0);
            assert_int_equal(ns_remove_as(w, &root, "n", true), 0);
            assert_int_equal(w->nregions, 0);
        }
        assert_true(failed >= 2 + 1); /* parts, record; and the database, on a worker that has not opened it yet */
    }
}

static void a_failed_part_may_come_again(void **state)
{
    struct world *w = *state;

    fill(value, sizeof(value), 5);
    ns_create(w, "n");
    assert_int_equal(part(w, 0, REGION), 0);
    w->calls = 0;
    w->fail_at = 1;
    w->fail_rc = CAIRN_E_NOSPACE;
    assert_int_equal(part(w, 1, 10), CAIRN_E_NOSPACE);
    w->fail_at = 0;
    assert_int_equal(part(w, 1, 10), 0);
    assert_int_equal(commit(w, 2, REGION + 10), 0);
    expect_stored(w, REGION + 10);
}

/* A KV provider that has no time or no room in its queue does nothing, and a COMMIT that is told so may come again. */
static void a_commit_at_the_wrong_moment_may_come_again(void **state)
{
    static const int passing[] = { CAIRN_E_BUSY, CAIRN_E_TIMEOUT, CAIRN_E_CANCELED };
    struct world *w = *state;

    fill(value, sizeof(value), 6);
    ns_create(w, "n");
    for (size_t i = 0; i < ARRAY_SIZE(passing); i++) {
        assert_int_equal(part(w, 0, REGION), 0);
        assert_int_equal(part(w, 1, 10), 0);
        w->calls = 0;
        w->fail_at = 1;
        w->fail_rc = passing[i];
        assert_int_equal(commit(w, 2, REGION + 10), passing[i]);
        w->fail_at = 0;
        assert_int_equal(router_of(w)->uploads.n, 1);
        assert_int_equal(commit(w, 2, REGION + 10), 0);
        expect_stored(w, REGION + 10);
        expect_no_orphans(w);
    }
    assert_int_equal(part(w, 0, REGION), 0);
    w->calls = 0;
    w->fail_at = 1;
    w->fail_rc = CAIRN_E_NOSPACE; /* is remembered as the answer, so nobody would come again */
    assert_int_equal(commit(w, 1, REGION), CAIRN_E_NOSPACE);
    w->fail_at = 0;
    assert_int_equal(router_of(w)->uploads.n, 0);
    expect_no_orphans(w);
}

/* An ABORT that finds a COMMIT under way, whose client has given up: if that fails nobody comes again, and the parts
 * go. */
static void aborted_amid_a_commit_that_fails(void **state)
{
    struct world *w = *state;
    bool met = false;

    ns_create(w, "n");
    for (uint64_t seed = 1; seed <= 20 || !met; seed++) {
        Cairn__Wire__RouterCommit m = CAIRN__WIRE__ROUTER_COMMIT__INIT;
        struct answer a;
        int rc;

        assert_true(seed < 1000);
        assert_int_equal(part(w, 0, REGION), 0);
        w->seed = seed;
        w->calls = 0;
        w->fail_at = 1;
        w->fail_rc = CAIRN_E_CANCELED;
        m.ns = (char *)(uintptr_t) "n";
        m.key = key_of("k");
        m.upload = UPLOAD;
        m.parts = 1;
        m.length = REGION;
        ask_start(w, 0, &a, &root, CAIRN__WIRE__ROUTER_METHOD__ROUTER_COMMIT, &m.base, NULL, 0);
        rc = abort_as(w, &root, "n");
        assert_true(rc == 0 || rc == CAIRN_E_STATE);
        met |= rc == CAIRN_E_STATE;
        assert_int_equal(ask_wait(w, &a), rc == 0 ? CAIRN_E_NOTFOUND : CAIRN_E_CANCELED);
        answer_free(&a);
        w->fail_at = 0;
        for (int turns = 0; w->nregions > 0 || router_of(w)->uploads.n > 0; turns++) {
            assert_true(turns < 10000);
            world_turn(w);
        }
    }
    expect_no_orphans(w);
}

static void after_a_crash_they_are_gone(void **state)
{
    struct world *w = *state;

    ns_create(w, "n");
    for (int clean = 0; clean < 2; clean++) {
        assert_int_equal(part(w, 0, REGION), 0);
        assert_int_equal(part(w, 1, REGION), 0);
        if (clean) /* even then: the next start looks for them */
            world_stop(w);
        else
            world_crash(w);
        world_start(w);
        wait_sweep(w);
        assert_int_equal(commit(w, 2, 2 * REGION), CAIRN_E_NOTFOUND);
        assert_int_equal(w->nregions, 0);
    }
}

/* The sweeper runs while parts come in and are committed: it takes none of them. */
static void the_sweeper_leaves_them(void **state)
{
    struct world *w = *state;

    fill(value, sizeof(value), 6);
    ns_create(w, "n");
    assert_int_equal(put(w, "n", "other", value, 2000), 0);
    for (uint32_t when = 0; when < 40; when++) {
        uint32_t id = router_ns_find(&router_of(w)->workers[0], "n")->id;
        bool swept;

        world_crash(w);
        for (int i = 0; i < 20; i++)
            region_add(w, value, 10, CAIRN_REGION_OWNER_TAG | id);
        w->seed = when;
        world_start(w);
        for (uint32_t turns = 0; turns < when; turns++)
            world_turn(w);
        assert_int_equal(part(w, 0, REGION), 0);
        swept = when % 2 == 0;
        if (swept)
            wait_sweep(w);
        assert_int_equal(part(w, 1, REGION), 0);
        assert_int_equal(commit(w, 2, 2 * REGION), 0);
        wait_sweep(w);
        expect_stored(w, 2 * REGION);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(every_call_fails),
        CASE(a_failed_part_may_come_again),
        CASE(a_commit_at_the_wrong_moment_may_come_again),
        CASE(aborted_amid_a_commit_that_fails),
        CASE(after_a_crash_they_are_gone),
        CASE(the_sweeper_leaves_them),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
