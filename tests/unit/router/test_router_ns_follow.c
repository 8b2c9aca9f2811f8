/* Namespaces that other nodes make and remove: whatever comes at once, or in between, this node ends with what the map
 * has. The map's clock is the test's: its news come when that runs, the router's orders when the world turns. */
#include "tests/lib/failing_malloc.h"
#include "world_others.h"

/* ---- what is here ---- */

/* 0: @worker has none. */
static uint32_t id_at(struct world *w, uint32_t worker, const char *name)
{
    struct answer a;
    uint32_t id = 0;

    if (show(w, worker, name, &a) == 0)
        id = ((const Cairn__Wire__Namespace *)a.reply)->id;
    answer_free(&a);
    return id;
}

static void await(struct world *w, const char *name, uint64_t id)
{
    for (uint32_t i = 0; i < WORKERS; i++) {
        WHILE_PATIENT (id_at(w, i, name) != id)
            turn(w);
    }
}

/* Until nothing is under way. */
static void settle(struct world *w)
{
    for (uint32_t quiet = 0; quiet < 20; quiet++) {
        turn(w);
        if (w->loops[0].machines.nlive > 0 || w->npending > 0)
            quiet = 0;
    }
}

static void expect(struct world *w, const char *name, uint64_t id)
{
    const struct cairn_router *r = w->router;

    settle(w);
    for (uint32_t i = 0; i < WORKERS; i++) {
        assert_int_equal(id_at(w, i, name), id);
        assert_int_equal(r->workers[i].nns, id != 0); /* and not two of a name */
    }
    assert_int_equal(atomic_load(&r->nnamespaces), id != 0);
}

/* ---- at once ---- */

static void made_and_removed(void **state)
{
    struct world *w = *state;
    uint64_t id = others_make("n");

    expect(w, "n", id);
    others_remove("n");
    expect(w, "n", 0);
}

static void removed_before_it_was_taken_in(void **state)
{
    struct world *w = *state;

    sim_map_refuse(mine, true);
    (void)others_make("n");
    others_remove("n");
    sim_map_refuse(mine, false);
    expect(w, "n", 0);
    (void)others_make("n"); /* heard of one after the other, but before anything was done */
    vtime_run_ms(&v, 100);
    others_remove("n");
    vtime_run_ms(&v, 100);
    expect(w, "n", 0);
}

static void another_one_of_the_name(void **state)
{
    struct world *w = *state;
    uint64_t id;

    sim_map_refuse(mine, true);
    (void)others_make("n");
    others_remove("n");
    id = others_make("n");
    sim_map_refuse(mine, false);
    expect(w, "n", id);
    others_remove("n");
    id = others_make("n");
    vtime_run_ms(&v, 100);
    expect(w, "n", id);
    sim_map_refuse(mine, true);
    others_remove("n");
    id = others_make("n");
    sim_map_compact(map); /* the difference is told, not what came between */
    sim_map_refuse(mine, false);
    expect(w, "n", id);
}

/* ---- while an order of this node works on the name ---- */

static void create_start(struct world *w, struct answer *a, Cairn__Wire__Namespace *m, uint32_t worker)
{
    *m = named("n");
    ask_start(w, worker, a, &root, CAIRN__WIRE__ROUTER_METHOD__ROUTER_NS_CREATE, &m->base, NULL, 0);
}

static int wait_for(struct world *w, struct answer *a)
{
    WHILE_PATIENT (!a->done)
        turn(w);
    answer_free(a);
    return a->rc;
}

static void an_answer_that_is_lost(void **state)
{
    struct world *w = *state;
    uint64_t id = 0;
    Cairn__Wire__Namespace m;
    struct answer a;

    sim_map_lose(mine, 0, 1);
    create_start(w, &a, &m, 1);
    assert_int_equal(wait_for(w, &a), CAIRN_E_UNKNOWN);
    cairn_map_store_each(others, "ns/n", note_changed, &id);
    assert_true(id > 0); /* it was carried out all the same */
    expect(w, "n", id);
    create_start(w, &a, &m, 0);
    assert_int_equal(wait_for(w, &a), CAIRN_E_EXISTS);
}

static uint32_t method_between;
static uint64_t id_between;
static void (*between)(void);

static void on_between(struct world *w, struct cairn_rpc_req *rq)
{
    if (rq->target->iface != &cairn_iface_kv || rq->method_no != method_between)
        return;
    w->before = NULL;
    between();
    vtime_run_ms(&v, 100);
}

static void remove_it(void)
{
    vtime_run_ms(&v, 100);
    others_remove("n");
}

static void replace_it(void)
{
    remove_it();
    id_between = others_make("n");
}

static void when(struct world *w, uint32_t kv_method, void (*fn)(void))
{
    method_between = kv_method;
    between = fn;
    w->before = on_between;
}

static void removed_while_it_was_being_made(void **state)
{
    struct world *w = *state;
    Cairn__Wire__Namespace m;
    struct answer a;

    when(w, CAIRN__WIRE__KV_METHOD__KV_OPEN, remove_it);
    create_start(w, &a, &m, 1);
    assert_int_equal(wait_for(w, &a), 0);
    assert_null(w->before);
    expect(w, "n", 0);
    when(w, CAIRN__WIRE__KV_METHOD__KV_STAT, replace_it);
    create_start(w, &a, &m, 1);
    assert_int_equal(wait_for(w, &a), 0);
    assert_null(w->before);
    expect(w, "n", id_between);
    assert_int_equal(w->ndbs, 0); /* of those that were removed nothing stays */
}

/* Two clients of this node want the name, and another node removes it when the first has just made it. */
static void two_make_it_and_one_is_removed(void **state)
{
    struct world *w = *state;
    Cairn__Wire__Namespace m[2];
    struct answer a[2];
    uint64_t id = 0;

    when(w, CAIRN__WIRE__KV_METHOD__KV_OPEN, remove_it);
    for (uint32_t i = 0; i < 2; i++)
        create_start(w, &a[i], &m[i], i);
    for (uint32_t i = 0; i < 2; i++)
        assert_int_equal(wait_for(w, &a[i]), 0);
    cairn_map_store_each(others, "ns/n", note_changed, &id);
    assert_true(id > 0);
    expect(w, "n", id);
}

static void remove_it_among_many(void)
{
    char key[32];

    vtime_run_ms(&v, 100);
    sim_map_refuse(mine, true);
    others_remove("n");
    for (uint32_t i = 0; i < CAIRN_MAP_JOURNAL; i++) {
        snprintf(key, sizeof(key), "x/%u", (unsigned)i);
        (void)others_write(key, (const uint8_t *)"x", 1, 0);
    }
    sim_map_refuse(mine, false);
}

/* The whole of the map is told anew while this node looks whether the namespace is empty, which it is not. */
static void gone_unseen_while_an_order_works(void **state)
{
    struct world *w = *state;
    Cairn__Wire__NsName m = CAIRN__WIRE__NS_NAME__INIT;
    struct answer a;

    expect(w, "n", others_make("n"));
    assert_int_equal(put(w, "n", "k", value, 10), 0);
    when(w, CAIRN__WIRE__KV_METHOD__KV_LIST, remove_it_among_many);
    m.name = (char *)(uintptr_t) "n";
    ask_start(w, 1, &a, &root, CAIRN__WIRE__ROUTER_METHOD__ROUTER_NS_REMOVE, &m.base, NULL, 0);
    assert_int_equal(wait_for(w, &a), CAIRN_E_NOTEMPTY);
    assert_null(w->before);
    expect(w, "n", 0);
    assert_int_equal(w->nentries, 0);
}

static void the_node_ends_meanwhile(void **state)
{
    struct world *w = *state;

    (void)others_make("n");
    vtime_run_ms(&v, 100);
    world_stop(w);
    assert_int_equal(w->loops[0].machines.nlive, 0);
    world_start(w);
    router_follow_start(w->router);
    others_remove("n");
    vtime_run_ms(&v, 100);
    world_stop(w);
    assert_int_equal(w->loops[0].machines.nlive, 0);
    assert_int_equal(w->ndbs, 0);
    world_start(w);
    router_follow_start(w->router);
    expect(w, "n", 0);
}

/* ---- */

/* Its revisions count from an earlier one again. */
static void a_map_that_was_put_back(void **state)
{
    struct world *w = *state;
    struct cairn_map_table none = { 0 };

    for (uint32_t i = 0; i < 10; i++)
        (void)others_write("x/x", (const uint8_t *)"x", 1, i == 0 ? 0 : sim_map_server_revision(map));
    expect(w, "n", others_make("n"));
    sim_map_refuse(mine, true);
    pthread_mutex_lock(&mine->view.mutex);
    cairn_map_view_replace(&mine->view, &none, 5);
    pthread_mutex_unlock(&mine->view.mutex);
    expect(w, "n", 0);
}

/* The answer to a change of ours came, and the view, which lost the store, has not seen it: what it still says of the
 * name is older. */
static void a_view_behind_our_own_change(void **state)
{
    struct world *w = *state;
    const uint64_t id = others_make("n");
    struct router_ns *ns;

    expect(w, "n", id);
    ns = router_ns_find(router_home(w->router), "n");
    ns->changed = id + 3;
    others_remove("n");
    vtime_run_ms(&v, 100);
    expect(w, "n", id);
    for (uint64_t at = id + 1; at < ns->changed; at++) /* it comes as far, and nothing tells of the name again */
        (void)others_write("x/x", (const uint8_t *)"x", 1, at == id + 1 ? 0 : at);
    vtime_run_ms(&v, 100);
    await(w, "n", 0);
}

#ifdef FAILING_MALLOC
/* What the others did meanwhile is told with the nth allocation failing. False: there were not so many. */
static bool told_without_memory(uint32_t nth)
{
    uint64_t revision = sim_map_server_revision(map);

    sim_map_refuse(mine, false);
    while (cairn_map_store_revision(mine) < revision)
        assert_true(vtime_turn(&v, UINT64_MAX));
    failing_malloc_begin(nth);
    while (vtime_turn(&v, v.now_ns))
        ;
    return failing_malloc_end();
}

static const char *nth_name(uint32_t nth)
{
    static char name[8];

    snprintf(name, sizeof(name), "n%u", (unsigned)nth);
    return name;
}

static void out_of_memory(void **state)
{
    struct world *w = *state;
    uint64_t ids[DBS_MAX + 16];
    uint32_t n = 0, failed = 0;

    do {
        assert_true(n < ARRAY_SIZE(ids));
        sim_map_refuse(mine, true);
        ids[n] = others_make(nth_name(n));
        n++;
    } while (told_without_memory(n));
    assert_true(n > 3); /* an order and copies for the workers at least */
    for (uint32_t i = 0; i < n; i++)
        await(w, nth_name(i), ids[i]);
    for (uint32_t i = 0; i < n; i++) {
        sim_map_refuse(mine, true);
        others_remove(nth_name(i));
        failed += told_without_memory(i + 1);
    }
    assert_true(failed > 0 && failed < n);
    for (uint32_t i = 0; i < n; i++)
        await(w, nth_name(i), 0);
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        FOLLOW(made_and_removed),
        FOLLOW(removed_before_it_was_taken_in),
        FOLLOW(another_one_of_the_name),
        FOLLOW(an_answer_that_is_lost),
        FOLLOW(removed_while_it_was_being_made),
        FOLLOW(two_make_it_and_one_is_removed),
        FOLLOW(gone_unseen_while_an_order_works),
        FOLLOW(the_node_ends_meanwhile),
        FOLLOW(a_map_that_was_put_back),
        FOLLOW(a_view_behind_our_own_change),
#ifdef FAILING_MALLOC
        FOLLOW(out_of_memory),
#endif
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
