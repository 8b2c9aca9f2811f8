/* Every call of the SDK, in both forms, against a node that lives in this process: the real router and the real
 * providers, once over its unix socket and once over TCP with the cluster key. */
#include "cairn/admin.h"
#include "cairn/extent.h"
#include "cairn/hashed.h"
#include "cairn/kv.h"
#include "cairn/server.h"
#include "sdk/core/rpc/auth.h"
#include "tests/lib/scratch.h"
#include "tests/lib/scripted_node.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

enum { MIB = 1 << 20 };

struct group {
    struct cairn_server *server;
    char dir[SCRATCH_MAX], workspace[96];
};

/* One way to enter, and one form of every call. */
struct fixture {
    struct cairn *c;
    struct cairn_error_info error;
    struct cairn_call_options o;
    bool async;
    int rc; /* of the asynchronous call */
    bool over;
};

static struct group the_node;
#define THE_NODE "meant"

static int group_setup(void **state)
{
    struct cairn_server_options so = CAIRN_SERVER_OPTIONS_INIT;
    struct cairn_server_setting settings[6];
    char text[2000] = "", data[96], sock[128];

    (void)state;
    scratch_new(the_node.dir);
    snprintf(data, sizeof(data), "%s/data", the_node.dir);
    snprintf(the_node.workspace, sizeof(the_node.workspace), "%s/ws", the_node.dir);
    snprintf(sock, sizeof(sock), "[\"unix://%s/s\", \"tcp://127.0.0.1:0\"]", the_node.dir);
    settings[0] = (struct cairn_server_setting){ "node.data", data, "test" };
    settings[1] = (struct cairn_server_setting){ "workspace", the_node.workspace, "test" };
    settings[2] = (struct cairn_server_setting){ "listen", sock, "test" };
    settings[3] = (struct cairn_server_setting){ "node.workers", "2", "test" };
    settings[4] = (struct cairn_server_setting){ "node.log_level", "warn", "test" };
    settings[5] = (struct cairn_server_setting){ "node.name", THE_NODE, "test" };
    so.settings = settings;
    so.nsettings = 6;
    if (cairn_server_start(&so, &the_node.server, text, sizeof(text)) != 0) {
        fprintf(stderr, "%s\n", text);
        return -1;
    }
    return 0;
}

static int group_teardown(void **state)
{
    (void)state;
    cairn_server_free(the_node.server);
    scratch_remove(the_node.dir);
    return 0;
}

static int connect_to(void **state, const char *scheme, bool async)
{
    struct fixture *fx = calloc(1, sizeof(*fx));
    struct cairn_options o = CAIRN_OPTIONS_INIT;
    const char *address = NULL;

    for (uint32_t i = 0; (address = cairn_server_address(the_node.server, i)) != NULL; i++) {
        if (strncmp(address, scheme, strlen(scheme)) == 0)
            break;
    }
    assert_non_null(address);
    o.addresses = address;
    o.workspace = the_node.workspace; /* for the key */
    fx->async = async;
    fx->o = (struct cairn_call_options)CAIRN_CALL_OPTIONS_INIT;
    fx->o.error = &fx->error;
    if (cairn_connect(&o, &fx->c, &fx->error) != 0)
        fail_msg("%s", fx->error.text);
    *state = fx;
    return 0;
}

static int setup_unix(void **state)
{
    return connect_to(state, "unix:", false);
}

static int setup_unix_async(void **state)
{
    return connect_to(state, "unix:", true);
}

static int setup_tcp(void **state)
{
    return connect_to(state, "tcp:", false);
}

static int setup_tcp_async(void **state)
{
    return connect_to(state, "tcp:", true);
}

static int teardown(void **state)
{
    struct fixture *fx = *state;

    cairn_close(fx->c);
    free(fx);
    return 0;
}

static void on_done(void *arg, int rc)
{
    struct fixture *fx = arg;

    fx->rc = rc;
    fx->over = true;
}

static int finish(struct fixture *fx, int rc)
{
    if (rc != 0)
        return rc;
    while (!fx->over)
        assert_true(cairn_poll(fx->c, -1) >= 0);
    return fx->rc;
}

/* The call in the form that the fixture is about. */
#define CALL(fx, name, ...)                                                                                            \
    ((fx)->over = false,                                                                                               \
     (fx)->async ? finish((fx), name##_async(__VA_ARGS__, &(fx)->o, on_done, (fx))) : name(__VA_ARGS__, &(fx)->o))
#define OK(fx, name, ...)                                                                                              \
    do {                                                                                                               \
        int rc_ = CALL(fx, name, __VA_ARGS__);                                                                         \
        if (rc_ != 0)                                                                                                  \
            fail_msg("%s: %s: %s", #name, cairn_error_name(rc_), (fx)->error.text);                                    \
    } while (0)
#define FAILS(fx, rc, name, ...) assert_int_equal(CALL(fx, name, __VA_ARGS__), rc)

static uint8_t *pattern(size_t n, unsigned seed)
{
    uint8_t *p = malloc(n + 1);

    for (size_t i = 0; i < n; i++)
        p[i] = (uint8_t)(i * 131 + i / 251 + seed);
    return p;
}

static void the_node_tells_about_itself(void **state)
{
    struct fixture *fx = *state;
    struct cairn_providers *p;
    char *text;

    fx->over = false;
    assert_int_equal(fx->async ? finish(fx, cairn_ping_async(fx->c, NULL, on_done, fx)) : cairn_ping(fx->c, NULL), 0);
    OK(fx, cairn_providers, fx->c, &p);
    assert_true(p->n >= 3);
    cairn_free(p);
    OK(fx, cairn_status, fx->c, &text);
    assert_non_null(strstr(text, "\"version\""));
    cairn_free(text);
    OK(fx, cairn_metrics, fx->c, &text);
    assert_non_null(strstr(text, "\"version\""));
    cairn_free(text);
    OK(fx, cairn_config, fx->c, &text);
    assert_true(strlen(text) > 0);
    cairn_free(text);
    OK(fx, cairn_machines, fx->c, NULL, true, &text);
    assert_non_null(strstr(text, "\"version\""));
    cairn_free(text);
    OK(fx, cairn_machines, fx->c, "rpc-call", false, &text);
    assert_non_null(strstr(text, "digraph"));
    cairn_free(text);
    FAILS(fx, CAIRN_E_NOTFOUND, cairn_machines, fx->c, "no-such-kind", false, &text);
}

static void namespaces_and_values(void **state)
{
    static const size_t sizes[] = { 0, 1, 4000, 32 << 10, (32 << 10) + 1, 100000, 9 * MIB + 13 };
    struct cairn_ns_options no = CAIRN_NS_OPTIONS_INIT;
    struct fixture *fx = *state;
    struct cairn_ns_list *list;
    struct cairn_ns *ns;
    struct cairn_page *page;
    uint64_t length, total;
    bool exists;

    no.mode = 0640;
    no.embed_threshold = 8192;
    OK(fx, cairn_ns_create, fx->c, "data", &no);
    FAILS(fx, CAIRN_E_EXISTS, cairn_ns_create, fx->c, "data", NULL);
    OK(fx, cairn_ns_show, fx->c, "data", &list);
    assert_int_equal(list->n, 1);
    assert_string_equal(list->namespaces[0].name, "data");
    assert_int_equal(list->namespaces[0].mode, 0640);
    assert_int_equal(list->namespaces[0].embed_threshold, 8192);
    cairn_free(list);
    fx->over = false;
    assert_int_equal(fx->async ? finish(fx, cairn_ns_list_async(fx->c, &list, &fx->o, on_done, fx))
                               : cairn_ns_list(fx->c, &list, &fx->o),
                     0);
    assert_int_equal(list->n, 1);
    cairn_free(list);
    OK(fx, cairn_ns_open, fx->c, "data", &ns);
    FAILS(fx, CAIRN_E_NOTFOUND, cairn_ns_open, fx->c, "other", &ns);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        size_t n = sizes[i], len = 0;
        uint8_t *value = pattern(n, (unsigned)i), *back = malloc(n + 1);
        void *own;

        OK(fx, cairn_put, ns, &i, sizeof(i), value, n);
        OK(fx, cairn_get, ns, &i, sizeof(i), back, n, &len);
        assert_int_equal(len, n);
        assert_memory_equal(back, value, n);
        OK(fx, cairn_get_alloc, ns, &i, sizeof(i), &own, &len);
        assert_int_equal(len, n);
        assert_memory_equal(own, value, n);
        cairn_free(own);
        memset(back, 0, n);
        OK(fx, cairn_read, ns, &i, sizeof(i), n / 2 + 1, back, n, &len, &total);
        assert_int_equal(total, n);
        assert_int_equal(len, n > n / 2 + 1 ? n - n / 2 - 1 : 0);
        assert_memory_equal(back, value + n / 2 + 1, len);
        if (n > 0)
            FAILS(fx, CAIRN_E_TOOBIG, cairn_get, ns, &i, sizeof(i), back, n - 1, &len);
        OK(fx, cairn_length, ns, &i, sizeof(i), &length);
        assert_int_equal(length, n);
        free(value);
        free(back);
    }
    OK(fx, cairn_list, ns, NULL, 0, NULL, 0, 3, &page);
    assert_true(page->n == 3 && page->more);
    cairn_free(page);
    OK(fx, cairn_exists, ns, "nokey", 5, &exists);
    assert_false(exists);
    FAILS(fx, CAIRN_E_NOTFOUND, cairn_get, ns, "nokey", 5, NULL, 0, &(size_t){ 0 });
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
        OK(fx, cairn_delete, ns, &i, sizeof(i));
    OK(fx, cairn_delete, ns, "nokey", 5);
    cairn_ns_close(ns);
    OK(fx, cairn_ns_remove, fx->c, "data", true);
    FAILS(fx, CAIRN_E_NOTFOUND, cairn_ns_show, fx->c, "data", &list);
}

/* More than one answer holds: the list is whole all the same. */
static void a_long_list_of_namespaces(void **state)
{
    enum { MANY = 900 };
    struct fixture *fx = *state;
    struct cairn_ns_list *list;
    char name[CAIRN_NAME_BYTES_MAX + 12]; /* room for any number, as the compiler wants it */

    for (int i = 0; i < MANY; i++) {
        snprintf(name, sizeof(name), "%03d-%0*d", i, CAIRN_NAME_BYTES_MAX - 4, 0);
        OK(fx, cairn_ns_create, fx->c, name, NULL);
    }
    fx->over = false;
    OK(fx, cairn_ns_list, fx->c, &list);
    assert_int_equal(list->n, MANY);
    for (int i = 0; i < MANY; i++) {
        snprintf(name, sizeof(name), "%03d-%0*d", i, CAIRN_NAME_BYTES_MAX - 4, 0);
        assert_string_equal(list->namespaces[i].name, name);
        assert_string_equal(list->namespaces[i].frontend, "hashed");
        OK(fx, cairn_ns_remove, fx->c, name, false);
    }
    cairn_free(list);
}

static void batches_of_a_namespace(void **state)
{
    enum { N = 5000, LARGE = 50000 };
    struct cairn_put_item *puts = calloc(N, sizeof(*puts));
    struct cairn_get_item *gets = calloc(N, sizeof(*gets));
    uint32_t *keys = calloc(N, sizeof(*keys));
    uint8_t *large = pattern(LARGE, 9);
    struct fixture *fx = *state;
    struct cairn_iter *it;
    struct cairn_entry e;
    struct cairn_ns *ns;
    size_t n = 0;
    int rc;

    OK(fx, cairn_ns_create, fx->c, "batch", NULL);
    OK(fx, cairn_ns_open, fx->c, "batch", &ns);
    for (uint32_t i = 0; i < N; i++) {
        bool big = i % 1000 == 999;

        keys[i] = __builtin_bswap32(i);
        puts[i] = (struct cairn_put_item){ &keys[i], 4, big ? large : (void *)&keys[i], big ? LARGE : 4, 1 };
        gets[i] = (struct cairn_get_item){ .key = &keys[i], .key_len = 4, .value = malloc(LARGE), .room = LARGE };
    }
    OK(fx, cairn_mput, ns, puts, N);
    OK(fx, cairn_mget, ns, gets, N);
    for (uint32_t i = 0; i < N; i++) {
        assert_int_equal(puts[i].status, 0);
        assert_int_equal(gets[i].status, 0);
        assert_int_equal(gets[i].value_len, puts[i].value_len);
        assert_memory_equal(gets[i].value, puts[i].value, puts[i].value_len);
        free(gets[i].value);
    }
    assert_int_equal(cairn_iter_open(ns, NULL, 0, NULL, &it), 0);
    while ((rc = cairn_iter_next(it, &e)) == 1) {
        assert_memory_equal(e.key, &keys[n], 4);
        assert_int_equal(e.value_len, puts[n].value_len);
        n++;
    }
    assert_int_equal(rc, 0);
    assert_int_equal(n, N);
    cairn_iter_close(it);
    cairn_ns_close(ns);
    OK(fx, cairn_ns_remove, fx->c, "batch", true);
    free(puts);
    free(gets);
    free(keys);
    free(large);
}

/* Records that another version wrote, or that were damaged: each is told of by itself, and the others are read. */
static void unreadable_entries(void **state)
{
    static const struct {
        const char *key, *record;
        size_t len;
        int rc;
    } bad[] = { { "flipped", "\x02\x01\x00\x00value\x00\x00\x00\x00", 13, CAIRN_E_CORRUPT },
                { "newer", "\x63\x01\x00\x00x", 5, CAIRN_E_FORMAT },
                { "torn", "\x01\x02\x00", 3, CAIRN_E_CORRUPT } };
    struct fixture *fx = *state;
    struct cairn_ns_list *list;
    struct cairn_page *page;
    struct cairn_kv *kv;
    struct cairn_ns *ns;
    char db[32], buf[5][8];
    struct cairn_get_item gets[5] = { { .key = "flipped", .key_len = 7 },
                                      { .key = "good", .key_len = 4 },
                                      { .key = "newer", .key_len = 5 },
                                      { .key = "torn", .key_len = 4 },
                                      { .key = "well", .key_len = 4 } };

    OK(fx, cairn_ns_create, fx->c, "holes", NULL);
    OK(fx, cairn_ns_show, fx->c, "holes", &list);
    snprintf(db, sizeof(db), "ns/%u", list->namespaces[0].id);
    cairn_free(list);
    OK(fx, cairn_ns_open, fx->c, "holes", &ns);
    OK(fx, cairn_put, ns, "good", 4, "1", 1);
    OK(fx, cairn_put, ns, "well", 4, "22", 2);
    OK(fx, cairn_kv_open, fx->c, "kv", db, NULL, &kv);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        OK(fx, cairn_kv_put, kv, bad[i].key, strlen(bad[i].key), bad[i].record, bad[i].len);
        FAILS(fx, bad[i].rc, cairn_get, ns, bad[i].key, strlen(bad[i].key), buf[0], sizeof(buf[0]), &(size_t){ 0 });
    }
    for (size_t i = 0; i < 5; i++) {
        gets[i].value = buf[i];
        gets[i].room = sizeof(buf[i]);
    }
    OK(fx, cairn_mget, ns, gets, 5);
    assert_int_equal(gets[0].status, CAIRN_E_CORRUPT);
    assert_int_equal(gets[1].status, 0);
    assert_int_equal(gets[2].status, CAIRN_E_FORMAT);
    assert_int_equal(gets[3].status, CAIRN_E_CORRUPT);
    assert_int_equal(gets[4].status, 0);
    assert_memory_equal(gets[4].value, "22", 2);
    OK(fx, cairn_list, ns, NULL, 0, NULL, 0, 0, &page);
    assert_int_equal(page->n, 5);
    assert_int_equal(page->entries[0].value_len, 5);
    assert_int_equal(page->entries[1].value_len, 1);
    assert_true(page->entries[2].value_len == CAIRN_LENGTH_UNKNOWN);
    assert_true(page->entries[3].value_len == CAIRN_LENGTH_UNKNOWN);
    assert_int_equal(page->entries[4].value_len, 2);
    cairn_free(page);
    cairn_kv_close(kv);
    cairn_ns_close(ns);
    OK(fx, cairn_ns_remove, fx->c, "holes", true);
}

static void databases(void **state)
{
    struct cairn_kv_options ko = CAIRN_KV_OPTIONS_INIT;
    struct cairn_kv_range range = CAIRN_KV_RANGE_INIT;
    struct cairn_kv_stat stat = CAIRN_KV_STAT_INIT;
    struct fixture *fx = *state;
    struct cairn_put_item puts[3] = { { "b", 1, "two", 3, 1 }, { "c", 1, "three", 5, 1 }, { "d", 1, "", 0, 1 } };
    struct cairn_get_item gets[4] = { { .key = "a", .key_len = 1 },
                                      { .key = "c", .key_len = 1 },
                                      { .key = "d", .key_len = 1 },
                                      { .key = "x", .key_len = 1 } };
    struct cairn_kv_databases *all;
    struct cairn_page *page;
    struct cairn_kv *kv;
    char buf[3][16], old[16];
    uint8_t *big = pattern(MIB, 2);
    uint64_t length;
    size_t len;
    bool flag;
    void *own;

    FAILS(fx, CAIRN_E_NOPROVIDER, cairn_kv_open, fx->c, "nokv", "db", NULL, &kv);
    FAILS(fx, CAIRN_E_NOPROVIDER, cairn_kv_open, fx->c, "extent", "db", NULL, &kv);
    FAILS(fx, CAIRN_E_NOTFOUND, cairn_kv_open, fx->c, "kv", "db", NULL, &kv);
    ko.create = ko.exclusive = true;
    OK(fx, cairn_kv_open, fx->c, "kv", "db", &ko, &kv);
    cairn_kv_close(kv);
    FAILS(fx, CAIRN_E_EXISTS, cairn_kv_open, fx->c, "kv", "db", &ko, &kv);
    OK(fx, cairn_kv_open, fx->c, "kv", "db", NULL, &kv);
    OK(fx, cairn_kv_databases, fx->c, "kv", &all);
    flag = false;
    for (size_t i = 0; i < all->n; i++)
        flag |= strcmp(all->databases[i].name, "db") == 0;
    assert_true(flag);
    cairn_free(all);

    OK(fx, cairn_kv_put, kv, "a", 1, "one", 3);
    OK(fx, cairn_kv_get, kv, "a", 1, buf[0], sizeof(buf[0]), &len);
    assert_int_equal(len, 3);
    assert_memory_equal(buf[0], "one", 3);
    FAILS(fx, CAIRN_E_TOOBIG, cairn_kv_get, kv, "a", 1, buf[0], 2, &len);
    assert_int_equal(len, 3);
    OK(fx, cairn_kv_get_alloc, kv, "a", 1, &own, &len);
    assert_string_equal(own, "one");
    cairn_free(own);
    OK(fx, cairn_kv_length, kv, "a", 1, &length);
    assert_int_equal(length, 3);
    OK(fx, cairn_kv_exists, kv, "x", 1, &flag);
    assert_false(flag);
    OK(fx, cairn_kv_exchange, kv, "a", 1, "ONE", 3, old, sizeof(old), &len, &flag);
    assert_true(flag);
    assert_int_equal(len, 3);
    assert_memory_equal(old, "one", 3);
    OK(fx, cairn_kv_exchange, kv, "new", 3, "N", 1, old, sizeof(old), &len, &flag);
    assert_false(flag);
    OK(fx, cairn_kv_take, kv, "new", 3, old, sizeof(old), &len);
    assert_int_equal(len, 1);
    FAILS(fx, CAIRN_E_NOTFOUND, cairn_kv_take, kv, "new", 3, old, sizeof(old), &len);
    OK(fx, cairn_kv_put, kv, "big", 3, big, MIB);
    OK(fx, cairn_kv_get_alloc, kv, "big", 3, &own, &len);
    assert_int_equal(len, MIB);
    assert_memory_equal(own, big, MIB);
    cairn_free(own);
    FAILS(fx, CAIRN_E_TOOBIG, cairn_kv_put, kv, "big", 3, big, MIB + 1);
    OK(fx, cairn_kv_erase, kv, "big", 3);
    fx->o.flags = CAIRN_IF_ABSENT;
    FAILS(fx, CAIRN_E_EXISTS, cairn_kv_put, kv, "a", 1, "x", 1);
    fx->o.flags = 0;
    fx->o.durability = CAIRN_DURABILITY_SYNC;
    OK(fx, cairn_kv_mput, kv, puts, 3);
    fx->o.durability = CAIRN_DURABILITY_DEFAULT;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(puts[i].status, 0);
        gets[i].value = buf[i];
        gets[i].room = sizeof(buf[i]);
    }
    OK(fx, cairn_kv_mget, kv, gets, 4);
    assert_int_equal(gets[1].value_len, 5);
    assert_memory_equal(buf[1], "three", 5);
    assert_int_equal(gets[3].status, CAIRN_E_NOTFOUND);
    OK(fx, cairn_kv_mlength, kv, gets, 4);
    assert_true(gets[0].value_len == 3 && gets[2].value_len == 0 && gets[3].status == CAIRN_E_NOTFOUND);
    OK(fx, cairn_kv_mexists, kv, gets, 4);
    assert_true(gets[0].status == 0 && gets[3].status == CAIRN_E_NOTFOUND);
    range.from = "b";
    range.from_len = 1;
    range.values = true;
    OK(fx, cairn_kv_list, kv, &range, &page);
    assert_int_equal(page->n, 3);
    assert_memory_equal(page->entries[1].value, "three", 5);
    assert_int_equal(page->entries[1].value_len, 5);
    cairn_free(page);
    OK(fx, cairn_kv_list, kv, NULL, &page);
    assert_int_equal(page->n, 4);
    assert_null(page->entries[0].value);
    cairn_free(page);
    OK(fx, cairn_kv_stat, kv, &stat);
    assert_string_equal(stat.name, "db");
    assert_true(stat.backend[0] != '\0');
    OK(fx, cairn_kv_merase, kv, gets, 4);
    assert_true(gets[0].status == 0 && gets[3].status == 0);
    OK(fx, cairn_kv_exists, kv, "b", 1, &flag);
    assert_true(flag); /* it was not among them */
    OK(fx, cairn_kv_exists, kv, "c", 1, &flag);
    assert_false(flag);
    cairn_kv_close(kv);
    OK(fx, cairn_kv_drop, fx->c, "kv", "db");
    FAILS(fx, CAIRN_E_NOTFOUND, cairn_kv_drop, fx->c, "kv", "db");
    free(big);
}

static void extents(void **state)
{
    static const size_t sizes[] = { 1, 4096, 32 << 10, (32 << 10) + 1, 3 * MIB + 5 };
    struct cairn_extent_stat stat = CAIRN_EXTENT_STAT_INIT;
    struct fixture *fx = *state;
    struct cairn_extent_scrub *report;
    struct cairn_extent_page *page;
    struct cairn_extents *x;
    uint64_t id, ids[2];
    int status[2];

    FAILS(fx, CAIRN_E_NOPROVIDER, cairn_extents_open, fx->c, "kv", &x);
    OK(fx, cairn_extents_open, fx->c, "extent", &x);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        size_t n = sizes[i], len;
        uint8_t *data = pattern(n, (unsigned)i), *back = malloc(n + 5);

        OK(fx, cairn_extent_put, x, data, n, &id);
        OK(fx, cairn_extent_read, x, id, 0, back, n + 5, &len);
        assert_int_equal(len, n);
        assert_memory_equal(back, data, n);
        OK(fx, cairn_extent_read, x, id, n / 3, back, n, &len);
        assert_int_equal(len, n - n / 3);
        assert_memory_equal(back, data + n / 3, len);
        fx->o.flags = CAIRN_VERIFY;
        OK(fx, cairn_extent_read, x, id, 0, back, n, &len);
        fx->o.flags = 0;
        OK(fx, cairn_extent_scrub, x, id, &report);
        cairn_free(report);
        OK(fx, cairn_extent_remove, x, &id, 1, NULL);
        FAILS(fx, CAIRN_E_NOTFOUND, cairn_extent_read, x, id, 0, back, n, &len);
        free(data);
        free(back);
    }
    OK(fx, cairn_extent_create, x, 2 * MIB, &id);
    {
        uint8_t *data = pattern(2 * MIB, 3), *back = malloc(2 * MIB);
        size_t len;

        OK(fx, cairn_extent_write, x, id, 0, data, MIB);
        OK(fx, cairn_extent_write, x, id, MIB, data + MIB, MIB);
        OK(fx, cairn_extent_stat, x, id, &stat);
        assert_false(stat.sealed);
        OK(fx, cairn_extent_persist, x, id);
        FAILS(fx, CAIRN_E_STATE, cairn_extent_write, x, id, 0, data, MIB);
        OK(fx, cairn_extent_stat, x, id, &stat);
        assert_true(stat.sealed && stat.length == 2 * MIB && !stat.quarantined);
        OK(fx, cairn_extent_read, x, id, 0, back, 2 * MIB, &len);
        assert_memory_equal(back, data, 2 * MIB);
        free(data);
        free(back);
    }
    OK(fx, cairn_extent_list, x, 0, 0, false, &page);
    assert_true(page->n == 1 && page->regions[0].id == id && page->regions[0].length == 2 * MIB);
    cairn_free(page);
    ids[0] = id;
    ids[1] = id + 12345;
    FAILS(fx, CAIRN_E_NOTFOUND, cairn_extent_remove, x, ids, 2, status);
    assert_int_equal(status[0], 0);
    assert_int_equal(status[1], CAIRN_E_NOTFOUND);
    OK(fx, cairn_extent_scrub, x, 0, &report);
    assert_int_equal(report->nquarantined, 0);
    cairn_free(report);
    FAILS(fx, CAIRN_E_INVAL, cairn_extent_put, x, "", 0, &id);
    cairn_extents_close(x);
}

static void registered_memory(void **state)
{
    struct fixture *fx = *state;
    uint8_t *area = pattern(4 * MIB, 7);
    struct cairn_mem *mem;
    struct cairn_ns *ns;
    size_t len;

    OK(fx, cairn_ns_create, fx->c, "mem", NULL);
    OK(fx, cairn_ns_open, fx->c, "mem", &ns);
    assert_int_equal(cairn_mem_register(fx->c, area, 4 * MIB, &mem), 0);
    assert_int_equal(cairn_mem_register(fx->c, area, 0, &(struct cairn_mem *){ 0 }), CAIRN_E_INVAL);
    for (int i = 0; i < 4; i++) {
        OK(fx, cairn_put, ns, "k", 1, area, 2 * MIB);
        OK(fx, cairn_get, ns, "k", 1, area + 2 * MIB, 2 * MIB, &len);
        assert_memory_equal(area, area + 2 * MIB, 2 * MIB);
        area[i] ^= 1;
    }
    cairn_mem_deregister(fx->c, mem);
    cairn_ns_close(ns);
    OK(fx, cairn_ns_remove, fx->c, "mem", true);
    free(area);
}

static void a_wrong_key_does_not_let_in(void **state)
{
    struct cairn_options o = CAIRN_OPTIONS_INIT;
    struct cairn_error_info e = { 0 };
    char key[96];
    struct cairn *c = NULL;
    FILE *f;

    (void)state;
    for (uint32_t i = 0; (o.addresses = cairn_server_address(the_node.server, i)) != NULL; i++) {
        if (strncmp(o.addresses, "tcp:", 4) == 0)
            break;
    }
    snprintf(key, sizeof(key), "%s/wrong.key", the_node.dir);
    f = fopen(key, "w");
    fprintf(f, "%064d\n", 7);
    fclose(f);
    o.key_file = key;
    assert_int_equal(chmod(key, 0644), 0);
    assert_int_equal(cairn_connect(&o, &c, &e), CAIRN_E_AUTH);
    assert_non_null(strstr(e.text, "chmod 600"));
    assert_int_equal(chmod(key, 0600), 0);
    assert_int_equal(cairn_connect(&o, &c, &e), CAIRN_E_AUTH);
    assert_null(c);
    assert_true(e.text[0] != '\0');
}

/* Who names the node gets to no other one; the next address is tried. */
static void the_node_that_is_meant_answers(void **state)
{
    struct cairn_options o = CAIRN_OPTIONS_INIT;
    struct cairn_error_info e = { 0 };
    struct scripted_node *other = scripted_node_start();
    char addresses[400], name[CAIRN_NODE_NAME_MAX + 1];
    struct cairn *c = NULL;
    char *status = NULL;

    (void)state;
    assert_non_null(other);
    o.workspace = the_node.workspace;
    snprintf(addresses, sizeof(addresses), "%s,unix://%s/s", scripted_node_address(other), the_node.dir);
    o.addresses = addresses;
    o.node = THE_NODE;
    if (cairn_connect(&o, &c, &e) != 0)
        fail_msg("%s", e.text);
    assert_int_equal(cairn_status(c, &status, NULL), 0);
    assert_non_null(strstr(status, "\"node\":\"" THE_NODE "\""));
    cairn_free(status);
    cairn_close(c);

    o.node = "nobody";
    assert_int_equal(cairn_connect(&o, &c, &e), CAIRN_E_UNREACHABLE);
    assert_non_null(strstr(e.text, "is node " THE_NODE ", not nobody"));
    memset(name, 'n', CAIRN_NODE_NAME_MAX);
    name[CAIRN_NODE_NAME_MAX] = '\0';
    o.node = name;
    assert_int_equal(cairn_connect(&o, &c, &e), CAIRN_E_INVAL);
    scripted_node_free(other);
}

int main(void)
{
#define T(name, way) cmocka_unit_test_setup_teardown(name, setup_##way, teardown)
#define ALL(name)    T(name, unix), T(name, unix_async), T(name, tcp), T(name, tcp_async)
    const struct CMUnitTest tests[] = {
        ALL(the_node_tells_about_itself),
        ALL(namespaces_and_values),
        T(a_long_list_of_namespaces, unix),
        T(a_long_list_of_namespaces, tcp_async),
        ALL(batches_of_a_namespace),
        ALL(unreadable_entries),
        ALL(databases),
        ALL(extents),
        ALL(registered_memory),
        cmocka_unit_test(a_wrong_key_does_not_let_in),
        cmocka_unit_test(the_node_that_is_meant_answers),
    };

    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
