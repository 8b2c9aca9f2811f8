/* A writer's COMMIT whose answer is lost, at a node that leads on or has a successor: the application hears what came
 * of it, or that it is to write once more. */
#include "tests/lib/patience.h"
#include "tests/unit/sdk/routed_fixture.h"

enum { BYTES = 100 << 10 /* two parts: the first of 64 KiB */, ALWAYS = 1 << 30 };

static uint32_t stores(struct routed *x, const char *key)
{
    return scripted_cluster_stores(x->cluster, key, strlen(key));
}

struct commit {
    uint32_t slot, commits;
    struct cairn_writer *w;
    struct outcome out;
};

/* All of a value is written but the COMMIT, which node 1 is asked for and answers as @fault says,
 * so many times. */
static void commit_asked(struct routed *x, struct commit *c, const char *key, enum scripted_fault fault, int times)
{
    static uint8_t value[BYTES];

    *c = (struct commit){ .slot = scripted_cluster_slot(key, strlen(key)),
                          .commits = atomic_load(&node_of(x, 1)->commits) };
    assert_int_equal(cairn_writer_open(x->ns, key, strlen(key), 0, &x->o, &c->w), 0);
    assert_int_equal(cairn_writer_write(c->w, value, sizeof(value)), 0);
    assert_int_equal(cairn_put(x->ns, "s", 1, "s", 1, &x->o), 0); /* the part is there, and a session perhaps */
    scripted_cluster_fault(x->cluster, 1, fault, times);
    assert_int_equal(cairn_writer_commit_async(c->w, on_done, &c->out), 0);
    WHILE_PATIENT (atomic_load(&node_of(x, 1)->commits) == c->commits)
        cairn_poll(x->c, 10);
}

static int commit_over(struct routed *x, struct commit *c)
{
    WHILE_PATIENT (c->out.runs == 0)
        cairn_poll(x->c, 100);
    assert_int_equal(c->out.runs, 1);
    return c->out.rc;
}

/* A session of the key's slot is open, so that a fault meets the COMMIT and nothing before it. */
static const char *key_with_session(struct routed *x, uint32_t nth)
{
    const char *key = key_of(x, 1, nth);

    assert_int_equal(cairn_put(x->ns, key, strlen(key), "before", 6, &x->o), 0);
    return key;
}

static void a_commit_is_answered_once_more(void **state)
{
    static const enum scripted_fault faults[] = { SCRIPTED_DIE_BEFORE, SCRIPTED_DIE_AFTER, SCRIPTED_BUSY };
    struct routed *x = routed_new(3, false);
    const char *key = key_with_session(x, 0);

    (void)state;
    for (uint32_t i = 0; i < ARRAY_SIZE(faults); i++) {
        uint32_t before = stores(x, key);
        struct commit c;

        commit_asked(x, &c, key, faults[i], 1);
        assert_int_equal(commit_over(x, &c), 0);
        assert_int_equal(stores(x, key), before + 1);
    }
    routed_free(x);
}

/* It was done, and another leads before the answer is missed: he knows. */
static void a_successor_knows_what_came_of_a_commit(void **state)
{
    struct routed *x = routed_new(3, false);
    const char *key = key_with_session(x, 0);
    struct commit c;

    (void)state;
    commit_asked(x, &c, key, SCRIPTED_DIE_AFTER, ALWAYS);
    scripted_cluster_move(x->cluster, c.slot, 2);
    assert_int_equal(commit_over(x, &c), 0);
    assert_int_equal(stores(x, key), 2);
    assert_int_equal(atomic_load(&node_of(x, 2)->commits), 1);
    routed_free(x);
}

/* It was not done: he knows that, too, and the application may write all of it once more. */
static void a_successor_knows_that_a_commit_was_not_done(void **state)
{
    struct routed *x = routed_new(3, false);
    const char *key = key_with_session(x, 0);
    struct commit c;

    (void)state;
    commit_asked(x, &c, key, SCRIPTED_DIE_BEFORE, ALWAYS);
    scripted_cluster_move(x->cluster, c.slot, 2);
    assert_int_equal(commit_over(x, &c), CAIRN_E_BUSY);
    assert_non_null(strstr(x->error.text, "once more"));
    assert_int_equal(stores(x, key), 1);
    routed_free(x);
}

/* A number without a session stands with the key's record, which a successor has, too. */
static void of_a_write_once_value_the_record_knows(void **state)
{
    static const struct {
        enum scripted_fault fault;
        bool another; /* puts the key before the successor is asked */
        int rc;
        uint32_t stores;
    } is[] = {
        { SCRIPTED_DIE_AFTER, false, 0, 1 },
        { SCRIPTED_DIE_BEFORE, false, CAIRN_E_BUSY, 0 },
        { SCRIPTED_DIE_BEFORE, true, CAIRN_E_EXISTS, 1 },
    };

    (void)state;
    for (uint32_t i = 0; i < ARRAY_SIZE(is); i++) {
        struct routed *x = routed_new(3, true);
        const char *key = key_of(x, 1, 0);
        struct commit c;

        commit_asked(x, &c, key, is[i].fault, ALWAYS);
        scripted_cluster_move(x->cluster, c.slot, 2);
        if (is[i].another)
            scripted_cluster_store(x->cluster, key, strlen(key), "other", 5);
        assert_int_equal(commit_over(x, &c), is[i].rc);
        assert_int_equal(stores(x, key), is[i].stores);
        routed_free(x);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_commit_is_answered_once_more),
        cmocka_unit_test(a_successor_knows_what_came_of_a_commit),
        cmocka_unit_test(a_successor_knows_that_a_commit_was_not_done),
        cmocka_unit_test(of_a_write_once_value_the_record_knows),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
