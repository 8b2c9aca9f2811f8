/* Regions of large values on the simulated world: stories, one fault each. Whatever happens, nobody has an entry
 * without what it names, and nothing that is named is freed: repl_region_judge.c looks at every step. */
#include "tests/sim/repl_regions.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static struct repl_world_conf conf_of(uint64_t seed)
{
    struct repl_world_conf conf = repl_world_conf_of(seed);

    conf.large_percent = 100;
    conf.sweep_ns = 300 * MS;
    conf.keeps_little = true;
    return conf;
}

static uint32_t regions_at(const struct repl_node *n)
{
    uint32_t all = 0;

    for (uint32_t i = 0; i < RW_REGION_BUCKETS; i++) {
        for (const struct rw_region *r = n->regions->buckets[i]; r != NULL; r = r->next)
            all++;
    }
    return all;
}

/* Of a write-once key of @slot: it stays. */
static uint64_t region_of(const struct repl_world *rw, uint32_t slot)
{
    for (uint32_t k = RW_KEYS; k < RW_ALL_KEYS; k++) {
        if (rw->committed[slot][k].region != 0)
            return rw->committed[slot][k].region;
    }
    assert_true(false);
    return 0;
}

/* Everything that a slot's records name is at every replica, whole. */
static void expect_regions_everywhere(const struct repl_world *rw)
{
    for (uint32_t slot = 0; slot < rw->conf.slots; slot++) {
        for (uint32_t i = 0; i < rw->stored[slot].ninsync; i++) {
            const struct repl_node *n = &rw->nodes[rw->stored[slot].insync[i].node];

            for (uint32_t k = 0; k < RW_ALL_KEYS; k++)
                assert_true(rw->committed[slot][k].region == 0 || rw_region_is_good(n, rw->committed[slot][k].region));
        }
    }
}

static void end(struct repl_world *rw)
{
    repl_world_expect_whole(rw, 15000);
    repl_world_stop_clients(rw);
    repl_world_judge(rw);
    expect_regions_everywhere(rw);
    repl_world_free(rw);
}

static void spoil(struct repl_node *n, uint64_t id)
{
    struct rw_region *r = rw_region_find(n, id);

    assert_non_null(r);
    r->damaged = true;
}

static uint32_t member_other_than(const struct repl_world *rw, uint32_t slot, uint32_t a, uint32_t b)
{
    for (uint32_t i = 0; i < rw->stored[slot].ninsync; i++) {
        uint32_t node = (uint32_t)rw->stored[slot].insync[i].node;

        if (node != a && node != b)
            return node;
    }
    assert_true(false);
    return 0;
}

/* No fault: each value is on three disks before it is acknowledged, and what it replaced leaves all three. */
static void what_is_replaced_leaves_all_disks(void **state)
{
    struct repl_world_conf conf = conf_of(21);
    struct repl_world *rw = repl_world_new(&conf);

    (void)state;
    repl_world_run_ms(rw, 5000);
    assert_true(rw->regions > 100 && rw->gone == 0);
    repl_world_stop_clients(rw);
    for (int i = 0; i < 60; i++) { /* the entries go when logs are trimmed, the pins when they are old */
        repl_world_run_ms(rw, 1000);
        if (regions_at(&rw->nodes[1]) <= 2 * RW_KEYS)
            break;
    }
    for (uint32_t i = 1; i <= conf.nodes; i++)
        assert_true(regions_at(&rw->nodes[i]) <= 2 * RW_KEYS + conf.clients);
    end(rw);
}

/* A new disk: the records of the copy bring their regions along, each before the page that names it is put. */
static void new_disk_gets_the_regions_of_its_copy(void **state)
{
    struct repl_world_conf conf = conf_of(22);
    struct repl_world *rw = repl_world_new(&conf);
    uint32_t victim;

    (void)state;
    repl_world_run_ms(rw, 5000);
    victim = (uint32_t)rw->stored[0].replicas[1];
    assert_true(repl_world_wipe(rw, victim));
    assert_int_equal(regions_at(&rw->nodes[victim]), 0);
    repl_world_run_ms(rw, 3000);
    repl_world_start(rw, victim);
    repl_world_expect_whole(rw, 10000);
    assert_true(rw->copies >= conf.slots);
    end(rw);
}

static bool stores_what_it_fetched(const struct repl_node *n)
{
    CAIRN_LIST_FOREACH (l, &n->regions->fetches.all) {
        if (CONTAINER_OF(l, struct cluster_fetch, link)->sm.state == FETCH_PUT)
            return true;
    }
    return false;
}

/* Power fails in the middle of stores: what is there in part, under a name that an entry is going to have, is found
 * damaged when the entry comes again, and replaced. */
static void torn_region_is_fetched_again(void **state)
{
    struct repl_world_conf conf = conf_of(23);
    struct repl_world *rw;

    (void)state;
    conf.disk_ns = 100 * MS;
    conf.sweep_ns = 0; /* it would take what is left there first */
    rw = repl_world_new(&conf);
    repl_world_run_ms(rw, 3000);
    for (int i = 0; i < 100 && rw->refetched == 0; i++) {
        uint32_t victim = member_other_than(rw, 0, (uint32_t)rw->stored[0].primary.node, 0);

        for (int ms = 0; ms < 5000 && !stores_what_it_fetched(&rw->nodes[victim]); ms++)
            repl_world_run_ms(rw, 1);
        repl_world_crash(rw, victim);
        repl_world_start(rw, victim);
        repl_world_expect_whole(rw, 10000);
    }
    assert_true(rw->torn > 0 && rw->refetched > 0);
    end(rw);
}

/* A member of slot 0 has a new disk, and is not in sync any more; nobody writes. */
static void lose_a_disk(struct repl_world *rw, uint32_t *primary, uint32_t *victim)
{
    repl_world_run_ms(rw, 4000);
    *victim = member_other_than(rw, 0, (uint32_t)rw->stored[0].primary.node, 0);
    assert_true(repl_world_wipe(rw, *victim));
    repl_world_run_ms(rw, 3000);
    repl_world_stop_clients(rw);
    repl_world_run_ms(rw, 1000); /* what they wrote last is applied everywhere */
    *primary = (uint32_t)rw->stored[0].primary.node;
    assert_int_equal(rw->stored[0].ninsync, 2);
}

/* The primary's disk has spoilt a region that a new disk, the victim's, needs. */
static struct repl_world *begin_spoilt(uint64_t seed, uint32_t *victim, uint32_t *other, uint64_t *region)
{
    struct repl_world_conf conf = conf_of(seed);
    struct repl_world *rw;
    uint32_t primary;

    conf.slots = 1;
    conf.once_percent = 50;
    rw = repl_world_new(&conf);
    lose_a_disk(rw, &primary, victim);
    *other = member_other_than(rw, 0, primary, *victim);
    *region = region_of(rw, 0);
    spoil(&rw->nodes[primary], *region);
    return rw;
}

/* The other member has it, and is asked. */
static void spoilt_region_comes_from_elsewhere(void **state)
{
    uint32_t victim, other;
    uint64_t region;
    struct repl_world *rw = begin_spoilt(24, &victim, &other, &region);

    (void)state;
    rw->elsewhere = 0;
    repl_world_start(rw, victim);
    repl_world_expect_whole(rw, 15000);
    assert_true(rw->elsewhere > 0 && rw->gone == 0);
    assert_true(rw_region_is_good(&rw->nodes[victim], region) && rw_region_is_good(&rw->nodes[other], region));
    repl_world_free(rw);
}

/* And when no other has it: the node with the new disk does not come back into the set, rather than with a hole. */
static void nobody_is_in_sync_without_a_region(void **state)
{
    uint32_t victim, other;
    uint64_t region;
    struct repl_world *rw = begin_spoilt(25, &victim, &other, &region);

    (void)state;
    spoil(&rw->nodes[other], region);
    repl_world_start(rw, victim);
    repl_world_run_ms(rw, 20000);
    assert_int_equal(rw->stored[0].ninsync, 2);
    assert_true(!cairn_slot_names(&rw->stored[0], victim));
    repl_world_free(rw);
}

/* A copy is of a moment: while it is on its way its records are replaced, and their regions swept at the source. Who
 * leads says that they are gone; the entries that replaced them follow, and nobody serves what is not there. */
static void what_was_swept_during_a_copy_is_not_waited_for(void **state)
{
    struct repl_world_conf conf = conf_of(26);
    struct repl_world *rw;
    uint32_t victim;

    (void)state;
    conf.slots = 1;
    conf.page_ns = 2000 * MS;
    conf.sweep_ns = 100 * MS;
    conf.checkpoint_ns = 60 * MS;
    rw = repl_world_new(&conf);
    repl_world_run_ms(rw, 5000);
    victim = member_other_than(rw, 0, (uint32_t)rw->stored[0].primary.node, 0);
    assert_true(repl_world_wipe(rw, victim));
    repl_world_run_ms(rw, 3000);
    repl_world_start(rw, victim);
    repl_world_expect_whole(rw, 60000);
    assert_true(rw->copies > 0 && rw->gone > 0);
    end(rw);
}

/* A primary that is cut off goes on for as long as its lease; what it stored for writes that nobody took is garbage
 * when it comes back, and what its successor has named is fetched. */
static void deposed_primary_fetches_what_it_missed(void **state)
{
    struct repl_world_conf conf = conf_of(27);
    struct repl_world *rw = repl_world_new(&conf);
    uint32_t old;

    (void)state;
    repl_world_run_ms(rw, 3000);
    old = (uint32_t)rw->stored[0].primary.node;
    for (uint32_t i = 0; i <= conf.nodes; i++) {
        if (i != old) {
            world_cut(rw->world, old, i);
            world_cut(rw->world, i, old);
        }
    }
    repl_world_run_ms(rw, 6000);
    assert_int_not_equal(rw->stored[0].primary.node, old);
    world_heal(rw->world);
    end(rw);
}

/* The whole room loses power, again and again, while everything is being written. */
static void power_fails_everywhere(void **state)
{
    struct repl_world_conf conf = conf_of(28);
    struct repl_world *rw;

    (void)state;
    conf.disk_ns = 50 * MS;
    conf.buffered_percent = 50;
    rw = repl_world_new(&conf);
    for (int n = 0; n < 5; n++) {
        repl_world_run_ms(rw, 3000);
        for (uint32_t i = 1; i <= conf.nodes; i++)
            repl_world_crash(rw, i);
        for (uint32_t i = 1; i <= conf.nodes; i++)
            repl_world_start(rw, i);
    }
    end(rw);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_replaced_leaves_all_disks),
        cmocka_unit_test(new_disk_gets_the_regions_of_its_copy),
        cmocka_unit_test(torn_region_is_fetched_again),
        cmocka_unit_test(spoilt_region_comes_from_elsewhere),
        cmocka_unit_test(nobody_is_in_sync_without_a_region),
        cmocka_unit_test(what_was_swept_during_a_copy_is_not_waited_for),
        cmocka_unit_test(deposed_primary_fetches_what_it_missed),
        cmocka_unit_test(power_fails_everywhere),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
