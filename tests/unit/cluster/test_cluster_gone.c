/* Which namespaces were removed: never by what this node's view says alone. */
#include "server/cluster/service/gone.h"

#include "schema/router.pb-c.h"
#include "tests/lib/map_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct fixture {
    struct map_world *w;
    struct cluster_gone gone;
    struct cairn_map_store_ops ops; /* the store's, but for reload() */
    uint32_t reloads, ns;
    enum cluster_ns_state state;
    bool stopped;
};

static struct fixture *fixture_now;

static void on_reload(struct cairn_map_store *s)
{
    (void)s;
    fixture_now->reloads++;
}

static int setup(void **state)
{
    struct fixture *fx = calloc(1, sizeof(*fx));

    assert_non_null(fx);
    fx->w = map_world_sim.open();
    fx->ops = *fx->w->store->ops;
    fx->ops.reload = on_reload;
    fx->w->store->ops = &fx->ops;
    cluster_gone_init(&fx->gone, fx->w->store);
    fixture_now = fx;
    *state = fx;
    return 0;
}

static void on_stopped(void *arg)
{
    ((struct fixture *)arg)->stopped = true;
}

static bool has_stopped(void *arg)
{
    return ((struct fixture *)arg)->stopped;
}

static int teardown(void **state)
{
    struct fixture *fx = *state;

    cluster_gone_stop(&fx->gone, on_stopped, fx);
    map_world_until(fx->w, has_stopped, fx);
    cluster_gone_fini(&fx->gone);
    map_world_sim.close(fx->w);
    free(fx);
    return 0;
}

/* Its id. */
static uint32_t make(struct fixture *fx, const char *key, uint32_t id)
{
    Cairn__Wire__NamespaceRecord r = CAIRN__WIRE__NAMESPACE_RECORD__INIT;
    Cairn__Wire__Namespace ns = CAIRN__WIRE__NAMESPACE__INIT;
    uint8_t value[256];
    struct cairn_map_write write = { .key = key, .value = value };
    struct cairn_map_change c = { .writes = &write, .nwrites = 1 };
    struct cairn_map_ids ids;

    ns.name = (char *)(uintptr_t)key + strlen("ns/");
    ns.id = id;
    r.ns = &ns;
    write.value_len = (uint32_t)cairn__wire__namespace_record__pack(&r, value);
    assert_int_equal(map_world_change(fx->w, fx->w->store, &c), 0);
    ids = cairn_map_ids_of(fx->w->store);
    return id != 0 ? id : cairn_map_id(&ids, c.op.revision);
}

static void drop(struct fixture *fx, const char *key, uint32_t revision)
{
    struct cairn_map_write write = { .key = key, .from = revision };
    struct cairn_map_change c = { .writes = &write, .nwrites = 1 };

    assert_int_equal(map_world_change(fx->w, fx->w->store, &c), 0);
}

/* The view loses an entry that the store has. */
static void damage(struct fixture *fx, const char *key)
{
    struct cairn_map_view *v = &fx->w->store->view;
    struct cairn_map_node *n = cairn_map_node_new(&(struct cairn_map_entry){ .key = key, .changed = v->revision });

    assert_non_null(n);
    pthread_mutex_lock(&v->mutex);
    cairn_map_view_apply(v, &n, 1, v->revision);
    pthread_mutex_unlock(&v->mutex);
    cairn_map_node_put(n);
}

static enum cluster_ns_state look(struct fixture *fx, uint32_t ns)
{
    return cluster_gone_look(&fx->gone, ns);
}

static bool is_known(void *arg)
{
    struct fixture *fx = arg;

    fx->state = look(fx, fx->ns);
    return fx->state != CLUSTER_NS_ASKED;
}

static bool was_reloaded(void *arg)
{
    struct fixture *fx = arg;

    assert_int_not_equal(look(fx, fx->ns), CLUSTER_NS_GONE);
    return fx->reloads > 2;
}

static void what_the_store_lacks_is_gone(void **state)
{
    struct fixture *fx = *state;
    uint32_t a = make(fx, "ns/a", 0), b = make(fx, "ns/b", 0);

    assert_int_equal(look(fx, a), CLUSTER_NS_THERE);
    assert_int_equal(look(fx, b + 1), CLUSTER_NS_THERE); /* of a later map */
    drop(fx, "ns/a", a);
    assert_int_equal(look(fx, a), CLUSTER_NS_ASKED);
    fx->ns = a;
    map_world_until(fx->w, is_known, fx);
    assert_int_equal(fx->state, CLUSTER_NS_GONE);
    assert_int_equal(look(fx, b), CLUSTER_NS_THERE);
    drop(fx, "ns/b", b); /* after what was read */
    assert_int_equal(look(fx, b), CLUSTER_NS_ASKED);
    fx->ns = b;
    map_world_until(fx->w, is_known, fx);
    assert_int_equal(fx->state, CLUSTER_NS_GONE);
    assert_int_equal(fx->reloads, 0);
}

static void what_only_the_view_lacks_is_not(void **state)
{
    struct fixture *fx = *state;
    uint32_t b;

    assert_int_equal(map_world_put(fx->w, CAIRN_MAP_IDS_KEY, "1000", 0, NULL), 0);
    fx->ns = make(fx, "ns/b", 700); /* imported */
    damage(fx, "ns/b");
    map_world_until(fx->w, was_reloaded, fx);
    b = make(fx, "ns/c", 0);
    assert_true(b > 1000);
    fx->ns = b;
    fx->reloads = 0;
    damage(fx, "ns/c");
    map_world_until(fx->w, was_reloaded, fx);
}

static void a_record_that_cannot_be_read_may_be_any(void **state)
{
    struct fixture *fx = *state;
    uint32_t a = make(fx, "ns/a", 0);

    drop(fx, "ns/a", a);
    assert_int_equal(map_world_put(fx->w, "ns/b", "\x0a\xff", 0, NULL), 0);
    damage(fx, "ns/b");
    fx->ns = a;
    map_world_until(fx->w, was_reloaded, fx);
}

static bool has_failed(void *arg)
{
    struct fixture *fx = arg;

    assert_int_equal(look(fx, fx->ns), CLUSTER_NS_ASKED);
    return ++fx->reloads > 100; /* each a turn of the world, without an answer */
}

static void without_the_store_nothing_is_gone(void **state)
{
    struct fixture *fx = *state;

    fx->ns = make(fx, "ns/a", 0);
    drop(fx, "ns/a", fx->ns);
    map_world_sim.reach(fx->w, false);
    map_world_until(fx->w, has_failed, fx);
    map_world_sim.reach(fx->w, true);
    map_world_until(fx->w, is_known, fx);
    assert_int_equal(fx->state, CLUSTER_NS_GONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_the_store_lacks_is_gone, setup, teardown),
        cmocka_unit_test_setup_teardown(what_only_the_view_lacks_is_not, setup, teardown),
        cmocka_unit_test_setup_teardown(a_record_that_cannot_be_read_may_be_any, setup, teardown),
        cmocka_unit_test_setup_teardown(without_the_store_nothing_is_gone, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
