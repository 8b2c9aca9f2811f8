/* The etcd store when there is much to be told or read. */
#include "tests/unit/cluster/map_etcd_world.h"

#include <unistd.h>

enum { MANY = 2500 }; /* etcd sends a watcher that is behind 1000 revisions at a time */

struct many {
    struct cairn_map_change changes[MANY];
    struct cairn_map_write writes[MANY];
    char keys[MANY][16];
    uint32_t done, n;
    struct cairn_map_store *store;
};

static void on_one_of_many(struct cairn_map_op *op)
{
    struct many *m = op->arg;

    assert_int_equal(op->rc, 0);
    m->done++;
}

static bool many_are_done(void *arg)
{
    return ((struct many *)arg)->done == MANY;
}

static void count_entry(const struct cairn_map_entry *e, void *arg)
{
    (void)e;
    ++*(uint32_t *)arg;
}

static bool many_are_seen(void *arg)
{
    struct many *m = arg;

    m->n = 0;
    cairn_map_store_each(m->store, "many/", count_entry, &m->n);
    return m->n == MANY;
}

/* Each in a revision of its own. */
static void put_many(struct fixture *fx, struct cairn_map_store *to, struct many *m)
{
    m->done = 0;
    for (uint32_t i = 0; i < MANY; i++) {
        snprintf(m->keys[i], sizeof(m->keys[i]), "many/%u", i);
        m->writes[i] = (struct cairn_map_write){ .key = m->keys[i], .value = (const uint8_t *)"1", .value_len = 1 };
        m->changes[i] = (struct cairn_map_change){ .op = { .done = on_one_of_many, .arg = m, .timeout_ms = 60000 },
                                                   .writes = &m->writes[i],
                                                   .nwrites = 1 };
        cairn_map_store_change(to, NULL, &m->changes[i]);
    }
    map_world_until(&fx->w, many_are_done, m);
}

static void who_was_behind_learns_all(void **state)
{
    struct fixture *fx = *state;
    uint16_t port;
    struct forward *f = forward_new(etcd_port(fx->server), &port);
    char urls[2][64];
    const char *through[] = { url_of(urls[0], "http", port) };
    const char *straight[] = { url_of(urls[1], "http", etcd_port(fx->server)) };
    struct cairn_map_etcd_conf conf = { .endpoints = straight, .nendpoints = 1 };
    struct many *m = calloc(1, sizeof(*m));
    struct cairn_map_store *other;

    assert_non_null(m);
    must_open(fx, &conf);
    must_await(fx);
    other = fx->w.store;
    conf.endpoints = through;
    must_open(fx, &conf);
    must_await(fx);
    m->store = fx->w.store;
    forward_set(f, FORWARD_REFUSE);
    put_many(fx, other, m);
    forward_set(f, FORWARD_PASS);
    map_world_until(&fx->w, many_are_seen, m);
    cairn_map_store_close(fx->w.store);
    fx->w.store = other;
    free(m);
    forward_free(f);
}

/* ---- large maps ---- */

static uint8_t large[CAIRN_MAP_VALUE_BYTES_MAX];

/* @n entries PREFIX00000 and so on, some in each change. */
static void put_entries(struct fixture *fx, const char *prefix, uint32_t n, uint32_t value_len)
{
    uint32_t some = MIN((uint32_t)CAIRN_MAP_WRITES_MAX, (uint32_t)CAIRN_MAP_CHANGE_BYTES_MAX / value_len), k;
    struct cairn_map_write writes[CAIRN_MAP_WRITES_MAX];
    char keys[CAIRN_MAP_WRITES_MAX][16];

    for (uint32_t i = 0; i < n; i += k) {
        struct cairn_map_change c = { .op = { .timeout_ms = 60000 }, .writes = writes };

        for (k = 0; k < some && i + k < n; k++) {
            snprintf(keys[k], sizeof(keys[k]), "%s%05u", prefix, i + k);
            writes[k] = (struct cairn_map_write){ .key = keys[k], .value = large, .value_len = value_len };
        }
        c.nwrites = k;
        assert_int_equal(map_world_change(&fx->w, fx->w.store, &c), 0);
    }
}

static void on_read(struct cairn_map_op *op)
{
    *(bool *)op->arg = true;
}

/* Of all, with a pause of the loop after each answer; how many there were. */
static uint32_t read_in_pages(struct fixture *fx, struct cairn_map_read *r, uint32_t pause_ms)
{
    struct cairn_map_health h;
    uint64_t before;
    uint32_t pages = 0;
    bool done = false;

    r->prefix = "";
    r->op.done = on_read;
    r->op.arg = &done;
    cairn_map_store_health(fx->w.store, &h);
    cairn_map_store_read(fx->w.store, r);
    while (!done) {
        before = h.entries_read;
        cairn_loop_turn(&fx->loop, CAIRN_NS_PER_S);
        cairn_map_store_health(fx->w.store, &h);
        if (h.entries_read == before)
            continue;
        pages++;
        usleep(pause_ms * 1000);
    }
    return pages;
}

static void a_read_may_take_long_while_it_gets_on(void **state)
{
    enum { N = 1280 };
    struct fixture *fx = *state;
    char url[64];
    const char *endpoints[] = { url_of(url, "http", etcd_port(fx->server)) };
    struct cairn_map_etcd_conf conf = { .endpoints = endpoints, .nendpoints = 1 };
    struct cairn_map_read r = { .op = { .timeout_ms = 4000 } };

    must_open(fx, &conf);
    must_await(fx);
    put_entries(fx, "a", N, 8 << 10);
    assert_int_equal(read_in_pages(fx, &r, 1000), N / 256); /* 5 s of pauses in all */
    assert_int_equal(r.op.rc, 0);
    assert_int_equal(r.table.n, N);
    cairn_map_table_fini(&r.table);
}

static void small_entries_come_in_few_answers(void **state)
{
    enum { N = 5000 };
    struct fixture *fx = *state;
    char url[64];
    const char *endpoints[] = { url_of(url, "http", etcd_port(fx->server)) };
    struct cairn_map_etcd_conf conf = { .endpoints = endpoints, .nendpoints = 1 };
    struct cairn_map_read r = { 0 };

    must_open(fx, &conf);
    must_await(fx);
    put_entries(fx, "a", N, 20);
    assert_in_range(read_in_pages(fx, &r, 0), 2, 4);
    assert_int_equal(r.op.rc, 0);
    assert_int_equal(r.table.n, N);
    cairn_map_table_fini(&r.table);
}

/* More of them than fit into an answer are asked for, after small ones. */
static void large_entries_after_small_ones_are_read(void **state)
{
    enum { SMALL = 256, LARGE = 400 };
    struct fixture *fx = *state;
    char url[64];
    const char *endpoints[] = { url_of(url, "http", etcd_port(fx->server)) };
    struct cairn_map_etcd_conf conf = { .endpoints = endpoints, .nendpoints = 1 };
    struct cairn_map_read r = { .prefix = "" };

    must_open(fx, &conf);
    must_await(fx);
    put_entries(fx, "a", SMALL, 20);
    put_entries(fx, "b", LARGE, sizeof(large));
    assert_int_equal(map_world_read(&fx->w, fx->w.store, &r), 0);
    assert_int_equal(r.table.n, SMALL + LARGE);
    cairn_map_table_fini(&r.table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(who_was_behind_learns_all, setup, teardown),
        cmocka_unit_test_setup_teardown(a_read_may_take_long_while_it_gets_on, setup, teardown),
        cmocka_unit_test_setup_teardown(small_entries_come_in_few_answers, setup, teardown),
        cmocka_unit_test_setup_teardown(large_entries_after_small_ones_are_read, setup, teardown),
    };

    return etcd_is_there() ? cmocka_run_group_tests(tests, NULL, NULL) : 0;
}
