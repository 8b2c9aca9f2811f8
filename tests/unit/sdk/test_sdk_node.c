/* A node as the SDK shows it: namespaces, batches, and who is let in where. */
#include "sdk_node_fixture.h"

#include "cairn/kv.h"
#include "sdk/core/rpc/auth.h"
#include "tests/lib/scripted_node.h"

#include <sys/stat.h>

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
    const struct CMUnitTest tests[] = {
        ALL(the_node_tells_about_itself),
        ALL(namespaces_and_values),
        T(a_long_list_of_namespaces, unix),
        T(a_long_list_of_namespaces, tcp_async),
        ALL(batches_of_a_namespace),
        ALL(unreadable_entries),
        cmocka_unit_test(a_wrong_key_does_not_let_in),
        cmocka_unit_test(the_node_that_is_meant_answers),
    };

    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
