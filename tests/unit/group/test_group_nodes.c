/* What the group believes of processes of nodes, and at which cost. */
#include "providers/group/group_nodes.h"

#include "sdk/core/base/macros.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { ROOM = 600, MEMBERS = 500 };

struct fixture {
    struct cairn_swim s;
    struct cairn_swim_dir dir;
    struct cairn_swim_desc descs[ROOM];
    uint32_t table[2048];
    struct cairn_swim_view views[ROOM];
    struct cairn_swim_suspicion suspicions[1];
    uint32_t heap[1];
    struct cairn_sm_set machines;
    struct group_nodes nodes;
};

/* A member of the process @process of the node @node. */
static uint32_t add(struct fixture *f, const char *name, uint64_t node, uint64_t process)
{
    struct cairn_swim_desc d = { .id = cairn_swim_id(name, strlen(name)), .node = { node, process } };
    uint32_t slot;

    snprintf(d.name, sizeof(d.name), "%s", name);
    slot = cairn_swim_dir_put(&f->dir, &d);
    assert_int_not_equal(slot, CAIRN_SWIM_NO_SLOT);
    cairn_swim_assume_alive(&f->s, slot, 1);
    return slot;
}

static void set(struct fixture *f, uint32_t slot, enum cairn_swim_state state)
{
    f->views[slot].state = (uint8_t)state;
    f->views[slot].changed = ++f->s.version;
}

static enum cairn_gossip_belief believed(struct fixture *f, uint64_t node, uint64_t process)
{
    return group_nodes_believe(&f->nodes, &f->s, &(struct cairn_gossip_self){ node, process });
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct cairn_swim_memory memory = { .nsuspicions = 1 };
    struct cairn_swim_conf conf = cairn_swim_conf_default;

    assert_non_null(f);
    memory.views = f->views;
    memory.suspicions = f->suspicions;
    memory.heap = f->heap;
    conf.observer = true; /* we are none of those who are asked about */
    cairn_swim_dir_init(&f->dir, f->descs, f->table, ROOM);
    assert_int_equal(cairn_swim_init(&f->s, &conf, &f->dir, &memory, NULL, 1, 1, &f->machines), 0);
    assert_int_equal(group_nodes_init(&f->nodes, ROOM), 0);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    group_nodes_fini(&f->nodes);
    free(f);
    return 0;
}

/* A new coordinator asks about every node at once. */
static void all_are_asked_about_in_one_walk(void **state)
{
    struct fixture *f = *state;
    char name[16];

    for (uint32_t i = 0; i < MEMBERS; i++) {
        uint32_t slot;

        snprintf(name, sizeof(name), "m%u", i);
        slot = add(f, name, 1000 + i, i);
        if (i % 3 != 0)
            set(f, slot, i % 3 == 1 ? CAIRN_SWIM_DEAD : CAIRN_SWIM_LEFT);
    }
    for (uint32_t i = 0; i < MEMBERS; i++) {
        assert_int_equal(believed(f, 1000 + i, i), i % 3 == 0 ? CAIRN_GOSSIP_THERE : CAIRN_GOSSIP_GONE);
        assert_int_equal(believed(f, 1000 + i, i + 1), CAIRN_GOSSIP_UNKNOWN);
        assert_int_equal(believed(f, 1, i), CAIRN_GOSSIP_UNKNOWN);
    }
    assert_int_equal(f->nodes.made, 1);
}

static void a_change_is_seen(void **state)
{
    struct fixture *f = *state;
    uint32_t slot = add(f, "a", 7, 1);

    assert_int_equal(believed(f, 7, 1), CAIRN_GOSSIP_THERE);
    set(f, slot, CAIRN_SWIM_SUSPECT);
    assert_int_equal(believed(f, 7, 1), CAIRN_GOSSIP_THERE);
    set(f, slot, CAIRN_SWIM_DEAD);
    assert_int_equal(believed(f, 7, 1), CAIRN_GOSSIP_GONE);
    add(f, "a", 7, 2); /* started again */
    assert_int_equal(believed(f, 7, 1), CAIRN_GOSSIP_UNKNOWN);
    assert_int_equal(believed(f, 7, 2), CAIRN_GOSSIP_THERE);
    f->views[slot].state = CAIRN_SWIM_NONE; /* forgotten, which is no version of its own; and another in its place */
    cairn_swim_dir_remove(&f->dir, slot);
    assert_int_equal(believed(f, 7, 2), CAIRN_GOSSIP_UNKNOWN);
    assert_int_equal(add(f, "b", 8, 1), slot);
    assert_int_equal(believed(f, 7, 2), CAIRN_GOSSIP_UNKNOWN);
    assert_int_equal(believed(f, 8, 1), CAIRN_GOSSIP_THERE);
}

static void of_two_names_the_living_counts(void **state)
{
    struct fixture *f = *state;
    uint32_t first = add(f, "old", 7, 1), second = add(f, "new", 7, 1);

    set(f, first, CAIRN_SWIM_DEAD);
    assert_int_equal(believed(f, 7, 1), CAIRN_GOSSIP_THERE);
    set(f, first, CAIRN_SWIM_ALIVE);
    set(f, second, CAIRN_SWIM_LEFT);
    assert_int_equal(believed(f, 7, 1), CAIRN_GOSSIP_THERE);
    set(f, first, CAIRN_SWIM_DEAD);
    assert_int_equal(believed(f, 7, 1), CAIRN_GOSSIP_GONE);
}

#define test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        test(all_are_asked_about_in_one_walk),
        test(a_change_is_seen),
        test(of_two_names_the_living_counts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
