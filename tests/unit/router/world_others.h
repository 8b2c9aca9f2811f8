/** A router whose map others write to as well. The map's clock is the test's: its news come when that runs, the router's
 * orders when the world turns. */
#ifndef CAIRN_TEST_ROUTER_WORLD_OTHERS_H
#define CAIRN_TEST_ROUTER_WORLD_OTHERS_H

#include "tests/lib/patience.h"
#include "tests/lib/sim_map.h"
#include "world_ns.h"

static struct vtime v;
static struct sim_map *map;
static struct cairn_map_store *mine, *others;

static void turn(struct world *w)
{
    world_turn(w);
    vtime_run_ms(&v, 10);
}

/* @node 0: it keeps no count of who holds something. */
static int follow_setup_as(void **state, uint64_t node)
{
    struct world *w;

    assert_int_equal(world_setup(state), 0);
    w = *state;
    world_stop(w);
    vtime_init(&v, 1);
    map = sim_map_new(&v);
    mine = sim_map_open(map);
    others = sim_map_open(map);
    vtime_run_ms(&v, 100);
    w->conf.map = mine;
    w->conf.node = node;
    w->conf.node_name = "here";
    world_start(w);
    router_follow_start(w->router);
    vtime_run_ms(&v, 100);
    return 0;
}

static inline int follow_setup(void **state)
{
    return follow_setup_as(state, 0);
}

static int follow_teardown(void **state)
{
    world_stop(*state);
    cairn_map_store_close(mine);
    cairn_map_store_close(others);
    sim_map_free(map);
    vtime_fini(&v);
    return world_teardown(state);
}

#define FOLLOW(name) cmocka_unit_test_setup_teardown(name, follow_setup, follow_teardown)

/* ---- another node ---- */

static void on_changed(struct cairn_map_op *op)
{
    *(bool *)op->arg = true;
}

/* Only the map's clock runs: what this node hears of it, it cannot act on yet. Returns the revision. */
static uint64_t others_write(const char *key, const uint8_t *bytes, uint32_t len, uint64_t from)
{
    bool done = false;
    struct cairn_map_write write = { .key = key, .value = bytes, .value_len = len, .from = from };
    struct cairn_map_change c = { .op = { .done = on_changed, .arg = &done }, .writes = &write, .nwrites = 1 };

    cairn_map_store_change(others, NULL, &c);
    while (!done)
        assert_true(vtime_turn(&v, UINT64_MAX));
    assert_int_equal(c.op.rc, 0);
    return c.op.revision;
}

static inline uint64_t others_make(const char *name)
{
    struct router_ns ns = {
        .kv_name = "kv0", .extent_name = "extent0", .replicas = 1, .mode = 0600, .embed_threshold = 1000
    };
    char key[300];
    uint8_t *record;
    uint32_t len;
    uint64_t revision;

    snprintf(ns.name, sizeof(ns.name), "%s", name);
    snprintf(key, sizeof(key), "ns/%s", name);
    record = router_ns_pack(&ns, 0, &len);
    assert_non_null(record);
    revision = others_write(key, record, len, 0);
    free(record);
    return revision;
}

static void note_changed(const struct cairn_map_entry *e, void *arg)
{
    *(uint64_t *)arg = e->changed;
}

static inline void others_remove(const char *name)
{
    uint64_t changed = 0;
    char key[300];

    snprintf(key, sizeof(key), "ns/%s", name);
    cairn_map_store_each(others, key, note_changed, &changed);
    assert_true(changed > 0);
    (void)others_write(key, NULL, 0, changed);
}

#endif
