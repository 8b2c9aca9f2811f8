/* The sweeper: after a crash it removes what nothing names, and nothing else. */
#include "world.h"

static uint8_t value[512 * KIB], got[512 * KIB];

static uint32_t ns_id(struct world *w, const char *name)
{
    return router_ns_find(&((struct cairn_router *)w->router)->workers[0], name)->id;
}

static void fill_namespaces(struct world *w)
{
    ns_create(w, "a");
    ns_create(w, "b");
    for (int i = 0; i < 150; i++) {
        char key[16];

        snprintf(key, sizeof(key), "%03d", i);
        assert_int_equal(put(w, "a", key, value, i % 10 == 0 ? 2000 : 10), 0);
    }
    assert_int_equal(put(w, "a", "large", value, 3 * REGION), 0);
    assert_int_equal(put(w, "b", "large", value, 2 * REGION), 0);
    expect_no_orphans(w);
}

static void a_clean_end_needs_no_sweep(void **state)
{
    struct world *w = *state;

    fill_namespaces(w);
    world_stop(w);
    region_add(w, value, 10, CAIRN_REGION_OWNER_TAG | 1); /* what nobody will look for */
    w->calls = 0;
    world_start(w);
    assert_true(sweep_is_over(w));
    assert_int_equal(w->calls, 0);
}

static void orphans_go_and_nothing_else(void **state)
{
    struct world *w = *state;
    uint32_t before, a, b;
    uint64_t direct;

    fill_namespaces(w);
    before = w->nregions;
    a = ns_id(w, "a");
    b = ns_id(w, "b");
    world_crash(w);
    for (int i = 0; i < 30; i++)
        region_add(w, value, 10, CAIRN_REGION_OWNER_TAG | (i % 2 == 0 ? a : b));
    region_add(w, value, 10, CAIRN_REGION_OWNER_TAG); /* of trying a provider */
    /* of a namespace that is no more (1 was its revision at most) */
    region_add(w, value, 10, CAIRN_REGION_OWNER_TAG | 1);
    direct = region_add(w, value, 10, 0);                /* a user's own */
    region_add(w, value, 10, UINT64_C(0x1234500000001)); /* another composer's */
    world_start(w);
    wait_sweep(w);
    assert_int_equal(w->nregions, before + 2);
    assert_non_null(region_find(w, direct));
    assert_int_equal(atomic_load(&((struct cairn_router *)w->router)->swept), 32);
    assert_int_equal(get(w, "a", "large", 0, 0, got, sizeof(got), NULL), 3 * REGION);
    assert_int_equal(get(w, "b", "large", 0, 0, got, sizeof(got), NULL), 2 * REGION);
}

/* A provider that does not tell whose regions are: none is touched. */
static void without_owners_everything_stays(void **state)
{
    struct world *w = *state;
    uint32_t before;

    fill_namespaces(w);
    world_crash(w);
    region_add(w, value, 10, CAIRN_REGION_OWNER_TAG | 1);
    before = w->nregions;
    w->no_owners = true;
    world_start(w);
    wait_sweep(w);
    assert_int_equal(w->nregions, before);
}

/* The crash came between the record's removal and the database's. */
static void databases_of_removed_namespaces_go(void **state)
{
    struct world *w = *state;
    uint32_t kept;

    fill_namespaces(w);
    assert_int_equal(ns_remove_as(w, &root, "b", true), 0);
    kept = w->nregions;
    world_crash(w);
    w->dbs[w->ndbs++] = (struct db){ .name = "ns/2", .id = ++w->next_db };
    entry_set(w, w->next_db, key_of("k"), (const uint8_t *)"\1\1\0\0x", 5);
    w->dbs[w->ndbs++] = (struct db){ .name = "ns/2x", .id = ++w->next_db };         /* a user's */
    w->dbs[w->ndbs++] = (struct db){ .name = "ns/4000000000", .id = ++w->next_db }; /* later than all: not by a crash */
    w->dbs[w->ndbs++] = (struct db){ .name = "mine", .id = ++w->next_db };
    region_add(w, value, 10, CAIRN_REGION_OWNER_TAG | 2);
    world_start(w);
    wait_sweep(w);
    assert_int_equal(w->ndbs, 4);
    assert_null(db_by_name(w, "ns/2"));
    assert_int_equal(w->nregions, kept);
}

/* A record that cannot be read may name anything: nothing is removed on a guess, and the next start tries again. */
static void a_record_that_cannot_be_read(void **state)
{
    struct world *w = *state;
    uint32_t before;

    fill_namespaces(w);
    world_crash(w);
    entry_set(w, w->dbs[0].id, key_of("torn"), (const uint8_t *)"\1\2", 2);
    region_add(w, value, 10, CAIRN_REGION_OWNER_TAG | 1);
    before = w->nregions;
    world_start(w);
    wait_sweep(w);
    assert_int_equal(w->nregions, before);
    world_stop(w);
    entry_set(w, w->dbs[0].id, key_of("torn"), (const uint8_t *)"\2\1\0\0", 4);
    world_start(w); /* it was not clean */
    wait_sweep(w);
    assert_int_equal(w->nregions, before - 1);
    world_stop(w);
    w->calls = 0;
    world_start(w); /* now it was */
    assert_int_equal(w->calls, 0);
}

static void every_call_of_a_sweep_fails(void **state)
{
    struct world *w = *state;
    uint32_t before;
    uint64_t nth;

    fill_namespaces(w);
    world_crash(w);
    before = w->nregions;
    for (nth = 1;; nth++) {
        region_add(w, value, 10, CAIRN_REGION_OWNER_TAG | 1);
        w->calls = 0;
        w->fail_at = nth;
        w->fail_rc = CAIRN_E_IO;
        world_start(w);
        wait_sweep(w);
        assert_true(w->nregions >= before);
        if (w->calls < nth)
            break;
        world_stop(w); /* unclean, since the sweep failed */
    }
    assert_int_equal(w->nregions, before);
    assert_true(nth > 10);
    w->fail_at = 0;
    for (int i = 0; i < 150; i++) {
        char key[16];

        snprintf(key, sizeof(key), "%03d", i);
        assert_int_equal(get(w, "a", key, 0, 0, got, sizeof(got), NULL), i % 10 == 0 ? 2000 : 10);
    }
    expect_no_orphans(w);
}

/* Values are put, replaced and removed while the sweep goes on: whatever the order, what is named stays. */
static void sweep_while_values_change(void **state)
{
    struct world *w = *state;

    fill_namespaces(w);
    for (uint64_t seed = 1; seed <= 30; seed++) {
        static struct put p[6];
        static char keys[6][16];

        world_crash(w);
        for (int i = 0; i < 10; i++)
            region_add(w, value, 10, CAIRN_REGION_OWNER_TAG | 1);
        w->seed = seed;
        world_start(w);
        do {
            for (uint32_t i = 0; i < 6; i++) {
                size_t n = (world_random(w) % 3) * REGION + 1500;

                snprintf(keys[i], sizeof(keys[i]), "%03u", (uint32_t)(world_random(w) % 150));
                put_start(w, &p[i], i % WORKERS, i % 3 == 0 ? "b" : "a", keys[i], value, n, n > 32 * KIB);
            }
            for (uint32_t i = 0; i < 6; i++) {
                assert_int_equal(ask_wait(w, &p[i].a), 0);
                answer_free(&p[i].a);
            }
        } while (!sweep_is_over(w));
        expect_no_orphans(w);
    }
}

static void the_node_ends_during_a_sweep(void **state)
{
    struct world *w = *state;

    fill_namespaces(w);
    for (uint64_t when = 0; when < 20; when++) {
        world_crash(w);
        region_add(w, value, 10, CAIRN_REGION_OWNER_TAG | 1);
        w->calls = 0;
        world_start(w);
        while (!sweep_is_over(w) && w->calls < when)
            world_turn(w);
        world_stop(w);
        world_start(w);
        wait_sweep(w);
        expect_no_orphans(w);
    }
}

/* A namespace is removed while its records are being read. */
static void removal_during_a_sweep(void **state)
{
    struct world *w = *state;

    for (uint64_t seed = 1; seed <= 20; seed++) {
        fill_namespaces(w);
        world_crash(w);
        w->seed = seed;
        world_start(w);
        w->calls = 0;
        while (!sweep_is_over(w) && w->calls < seed)
            world_turn(w);
        assert_int_equal(ns_remove_as(w, &root, "a", true), 0);
        wait_sweep(w);
        expect_no_orphans(w);
        assert_int_equal(get(w, "b", "large", 0, 0, got, sizeof(got), NULL), 2 * REGION);
        assert_int_equal(ns_remove_as(w, &root, "b", true), 0);
        assert_int_equal(w->nregions, 0);
    }
}

/* Regions that the provider could not remove, when a namespace went and when the sweep came, are looked for again. */
static void what_could_not_be_removed(void **state)
{
    struct world *w = *state;

    fill_namespaces(w);
    w->remove_rc = CAIRN_E_BUSY;
    assert_int_equal(ns_remove_as(w, &root, "b", true), 0);
    world_stop(w);
    world_start(w);
    wait_sweep(w);
    assert_int_equal(atomic_load(&((struct cairn_router *)w->router)->swept), 0);
    world_stop(w);
    w->remove_rc = 0;
    world_start(w);
    wait_sweep(w);
    assert_int_equal(atomic_load(&((struct cairn_router *)w->router)->swept), 2);
    expect_no_orphans(w);
}

/* A removal that is refused, since the namespace is not empty, must not make its values look like garbage meanwhile. */
static void refused_removal_during_a_sweep(void **state)
{
    struct world *w = *state;

    fill_namespaces(w);
    for (uint64_t when = 0; when < 40; when++) {
        uint64_t until;

        world_crash(w);
        region_add(w, value, 10, CAIRN_REGION_OWNER_TAG | 1);
        w->seed = when;
        world_start(w);
        w->calls = 0;
        while (!sweep_is_over(w) && w->calls < when / 2)
            world_turn(w);
        for (until = 0; until < 4; until++)
            assert_int_equal(ns_remove_as(w, &root, "a", false), CAIRN_E_NOTEMPTY);
        wait_sweep(w);
        expect_no_orphans(w);
        assert_int_equal(get(w, "a", "large", 0, 0, got, sizeof(got), NULL), 3 * REGION);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_clean_end_needs_no_sweep),      CASE(orphans_go_and_nothing_else),
        CASE(without_owners_everything_stays), CASE(databases_of_removed_namespaces_go),
        CASE(a_record_that_cannot_be_read),    CASE(every_call_of_a_sweep_fails),
        CASE(sweep_while_values_change),       CASE(the_node_ends_during_a_sweep),
        CASE(what_could_not_be_removed),       CASE(removal_during_a_sweep),
        CASE(refused_removal_during_a_sweep),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
