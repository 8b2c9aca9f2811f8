/* What the group believes of processes of nodes, and at which cost. */
#include "providers/group/group_nodes.h"

#include "tests/unit/group/swim_fixture.h"

enum { MEMBERS = 500 };

struct nodes {
    struct fixture swim;
    struct group_nodes nodes;
};

/* A member of the process @process of the node @node. */
static uint32_t add(struct nodes *f, const char *name, uint64_t node, uint64_t process)
{
    struct cairn_swim_desc d = { .id = cairn_swim_id(name, strlen(name)), .node = { node, process } };
    uint32_t slot;

    snprintf(d.name, sizeof(d.name), "%s", name);
    slot = cairn_swim_dir_put(&f->swim.dir, &d);
    assert_int_not_equal(slot, CAIRN_SWIM_NO_SLOT);
    cairn_swim_assume_alive(&f->swim.s, slot, 1);
    return slot;
}

static void set(struct nodes *f, uint32_t slot, enum cairn_swim_state state)
{
    f->swim.views[slot].state = (uint8_t)state;
    f->swim.views[slot].changed = ++f->swim.s.version;
}

static enum cairn_gossip_belief believed(struct nodes *f, uint64_t node, uint64_t process)
{
    return group_nodes_believe(&f->nodes, &f->swim.s, &(struct cairn_gossip_self){ node, process });
}

static int nodes_setup(void **state)
{
    struct nodes *n = calloc(1, sizeof(*n));
    struct cairn_swim_conf conf = cairn_swim_conf_default;

    assert_non_null(n);
    conf.observer = true; /* we are none of those who are asked about */
    begin(&n->swim, ROOM, &conf);
    assert_int_equal(group_nodes_init(&n->nodes, ROOM), 0);
    *state = n;
    return 0;
}

static int nodes_teardown(void **state)
{
    struct nodes *n = *state;

    group_nodes_fini(&n->nodes);
    end(&n->swim);
    free(n);
    return 0;
}

/* A new coordinator asks about every node at once. */
static void all_are_asked_about_in_one_walk(void **state)
{
    struct nodes *f = *state;
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
    struct nodes *f = *state;
    uint32_t slot = add(f, "a", 7, 1);

    assert_int_equal(believed(f, 7, 1), CAIRN_GOSSIP_THERE);
    set(f, slot, CAIRN_SWIM_SUSPECT);
    assert_int_equal(believed(f, 7, 1), CAIRN_GOSSIP_THERE);
    set(f, slot, CAIRN_SWIM_DEAD);
    assert_int_equal(believed(f, 7, 1), CAIRN_GOSSIP_GONE);
    add(f, "a", 7, 2); /* started again */
    assert_int_equal(believed(f, 7, 1), CAIRN_GOSSIP_UNKNOWN);
    assert_int_equal(believed(f, 7, 2), CAIRN_GOSSIP_THERE);
    f->swim.views[slot].state =
        CAIRN_SWIM_NONE; /* forgotten, which is no version of its own; and another in its place */
    cairn_swim_dir_remove(&f->swim.dir, slot);
    assert_int_equal(believed(f, 7, 2), CAIRN_GOSSIP_UNKNOWN);
    assert_int_equal(add(f, "b", 8, 1), slot);
    assert_int_equal(believed(f, 7, 2), CAIRN_GOSSIP_UNKNOWN);
    assert_int_equal(believed(f, 8, 1), CAIRN_GOSSIP_THERE);
}

static void of_two_names_the_living_counts(void **state)
{
    struct nodes *f = *state;
    uint32_t first = add(f, "old", 7, 1), second = add(f, "new", 7, 1);

    set(f, first, CAIRN_SWIM_DEAD);
    assert_int_equal(believed(f, 7, 1), CAIRN_GOSSIP_THERE);
    set(f, first, CAIRN_SWIM_ALIVE);
    set(f, second, CAIRN_SWIM_LEFT);
    assert_int_equal(believed(f, 7, 1), CAIRN_GOSSIP_THERE);
    set(f, first, CAIRN_SWIM_DEAD);
    assert_int_equal(believed(f, 7, 1), CAIRN_GOSSIP_GONE);
}

#define of_nodes(f) cmocka_unit_test_setup_teardown(f, nodes_setup, nodes_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        of_nodes(all_are_asked_about_in_one_walk),
        of_nodes(a_change_is_seen),
        of_nodes(of_two_names_the_living_counts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
