/* Nodes inside an application: several in one process, each for itself. */
#include "cairn/admin.h"
#include "cairn/cairn.h"
#include "cairn/hashed.h"
#include "cairn/server.h"
#include "tests/lib/scratch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { NODES = 3 };

struct fixture {
    char dir[SCRATCH_MAX];
    struct cairn_server *nodes[NODES];
};

static int setup(void **state)
{
    struct fixture *fx = calloc(1, sizeof(*fx));

    scratch_new(fx->dir);
    *state = fx;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fx = *state;

    for (int i = 0; i < NODES; i++)
        cairn_server_free(fx->nodes[i]);
    scratch_remove(fx->dir);
    free(fx);
    return 0;
}

static int start(struct fixture *fx, int i, const char *data, char *text, size_t len)
{
    char path[128], workspace[128];
    struct cairn_server_setting settings[] = {
        { "node.data", path, "test" },
        { "workspace", workspace, "test" },
        { "node.workers", "1", "test" },
    };
    struct cairn_server_options o = CAIRN_SERVER_OPTIONS_INIT;

    snprintf(path, sizeof(path), "%s/%s", fx->dir, data);
    snprintf(workspace, sizeof(workspace), "%s/w%d", fx->dir, i);
    o.settings = settings;
    o.nsettings = 3;
    return cairn_server_start(&o, &fx->nodes[i], text, len);
}

static struct cairn *enter(struct cairn_server *s)
{
    struct cairn_options o = CAIRN_OPTIONS_INIT;
    struct cairn_error_info e;
    struct cairn *c = NULL;

    o.workspace = cairn_server_workspace(s);
    if (cairn_connect(&o, &c, &e) != 0)
        fail_msg("%s", e.text);
    return c;
}

/* Three nodes in one process keep their namespaces, keys and stops to themselves. */
static void several_nodes_share_nothing(void **state)
{
    struct fixture *fx = *state;
    struct cairn *c[NODES];
    struct cairn_ns *ns[NODES];
    char text[512], data[16], value[32];
    size_t len;

    for (int i = 0; i < NODES; i++) {
        snprintf(data, sizeof(data), "d%d", i);
        if (start(fx, i, data, text, sizeof(text)) != 0)
            fail_msg("%s", text);
        c[i] = enter(fx->nodes[i]);
        assert_int_equal(cairn_ns_create(c[i], "n", NULL, NULL), 0);
        assert_int_equal(cairn_ns_open(c[i], "n", &ns[i], NULL), 0);
        snprintf(value, sizeof(value), "node %d", i);
        assert_int_equal(cairn_put(ns[i], "k", 1, value, strlen(value), NULL), 0);
    }
    for (int i = 0; i < NODES; i++) {
        memset(value, 0, sizeof(value));
        assert_int_equal(cairn_get(ns[i], "k", 1, value, sizeof(value), &len, NULL), 0);
        assert_int_equal(value[5], '0' + i);
    }
    cairn_server_request_stop(fx->nodes[1]);
    assert_int_equal(cairn_server_wait(fx->nodes[1], 20000), 0);
    assert_int_equal(cairn_get(ns[0], "k", 1, value, sizeof(value), &len, NULL), 0); /* the others go on */
    assert_int_equal(cairn_get(ns[2], "k", 1, value, sizeof(value), &len, NULL), 0);
    for (int i = 0; i < NODES; i++) {
        cairn_ns_close(ns[i]);
        cairn_close(c[i]);
    }
}

static void one_data_directory_has_one_node(void **state)
{
    struct fixture *fx = *state;
    char text[512];

    assert_int_equal(start(fx, 0, "d", text, sizeof(text)), 0);
    assert_int_equal(start(fx, 1, "d", text, sizeof(text)), CAIRN_E_LOCKED);
    assert_null(fx->nodes[1]);
    assert_non_null(strstr(text, "in use by another"));
}

/* What was put before a stop is there after the next start, in the same process. */
static void a_node_can_be_started_again(void **state)
{
    struct fixture *fx = *state;
    struct cairn_ns *ns;
    struct cairn *c;
    char text[512], value[8];
    size_t len = 0;

    assert_int_equal(start(fx, 0, "d", text, sizeof(text)), 0);
    c = enter(fx->nodes[0]);
    assert_int_equal(cairn_ns_create(c, "n", NULL, NULL), 0);
    assert_int_equal(cairn_ns_open(c, "n", &ns, NULL), 0);
    assert_int_equal(cairn_put(ns, "k", 1, "value", 5, NULL), 0);
    cairn_ns_close(ns);
    cairn_close(c);
    cairn_server_free(fx->nodes[0]);
    fx->nodes[0] = NULL;
    assert_int_equal(start(fx, 0, "d", text, sizeof(text)), 0);
    c = enter(fx->nodes[0]);
    assert_int_equal(cairn_ns_open(c, "n", &ns, NULL), 0);
    assert_int_equal(cairn_get(ns, "k", 1, value, sizeof(value), &len, NULL), 0);
    assert_int_equal(len, 5);
    assert_memory_equal(value, "value", 5);
    cairn_ns_close(ns);
    cairn_close(c);
}

/* Where values of namespaces go that name no provider: where the configuration says. */
static void the_router_takes_the_providers_it_was_told(void **state)
{
    struct fixture *fx = *state;
    struct cairn_server_options o = CAIRN_SERVER_OPTIONS_INIT;
    struct cairn_ns_options named = CAIRN_NS_OPTIONS_INIT;
    struct cairn_ns_list *ns;
    char file[128], text[512];
    struct cairn *c;
    FILE *f;

    snprintf(file, sizeof(file), "%s/cairn.yaml", fx->dir);
    f = fopen(file, "w");
    assert_non_null(f);
    fprintf(f,
            "node: {data: %s/d, workers: 1}\n"
            "workspace: %s/w\n"
            "router: {kv: second, extent: other}\n"
            "providers:\n"
            "  - {type: kv, name: first, backend: memory}\n"
            "  - {type: kv, name: second, backend: memory}\n"
            "  - {type: extent, name: one, backend: memory}\n"
            "  - {type: extent, name: other, backend: memory}\n",
            fx->dir, fx->dir);
    fclose(f);
    o.file = file;
    if (cairn_server_start(&o, &fx->nodes[0], text, sizeof(text)) != 0)
        fail_msg("%s", text);
    c = enter(fx->nodes[0]);
    named.durability = CAIRN_DURABILITY_MEMORY;
    assert_int_equal(cairn_ns_create(c, "usual", &named, NULL), 0);
    assert_int_equal(cairn_ns_show(c, "usual", &ns, NULL), 0);
    assert_string_equal(ns->namespaces[0].kv, "second");
    assert_string_equal(ns->namespaces[0].extent, "other");
    cairn_free(ns);
    named.kv = "first";
    assert_int_equal(cairn_ns_create(c, "named", &named, NULL), 0);
    assert_int_equal(cairn_ns_show(c, "named", &ns, NULL), 0);
    assert_string_equal(ns->namespaces[0].kv, "first");
    assert_string_equal(ns->namespaces[0].extent, "other");
    cairn_free(ns);
    cairn_close(c);
}

static void write_paths(struct fixture *fx, const char *node, char *file, size_t len)
{
    FILE *f;

    snprintf(file, len, "%s/%s.yaml", fx->dir, node);
    f = fopen(file, "w");
    assert_non_null(f);
    fprintf(f,
            "node: {data: %s/%s, workers: 1}\n"
            "workspace: %s/w%s\n"
            "providers:\n"
            "  - {type: kv, name: kv, path: %s/fast/disk}\n"
            "  - {type: extent, name: extent, path: big}\n",
            fx->dir, node, fx->dir, node, fx->dir);
    fclose(f);
}

/* A provider's directory may be anywhere; it belongs to one node at a time. */
static void providers_have_paths_of_their_own(void **state)
{
    struct fixture *fx = *state;
    struct cairn_server_options o = CAIRN_SERVER_OPTIONS_INIT;
    char file[128], path[256], text[512], value[8];
    struct cairn_ns *ns;
    struct cairn *c;
    size_t len = 0;

    write_paths(fx, "d", file, sizeof(file));
    o.file = file;
    assert_int_equal(cairn_server_check(&o, text, sizeof(text)), 0);
    snprintf(path, sizeof(path), "%s/fast", fx->dir);
    assert_int_equal(access(path, F_OK), -1); /* a check leaves nothing behind */
    for (int round = 0; round < 2; round++) {
        if (cairn_server_start(&o, &fx->nodes[0], text, sizeof(text)) != 0)
            fail_msg("%s", text);
        c = enter(fx->nodes[0]);
        if (round == 0)
            assert_int_equal(cairn_ns_create(c, "n", NULL, NULL), 0);
        assert_int_equal(cairn_ns_open(c, "n", &ns, NULL), 0);
        if (round == 0)
            assert_int_equal(cairn_put(ns, "k", 1, "value", 5, NULL), 0);
        assert_int_equal(cairn_get(ns, "k", 1, value, sizeof(value), &len, NULL), 0);
        assert_int_equal(len, 5);
        cairn_ns_close(ns);
        cairn_close(c);
        snprintf(path, sizeof(path), "%s/fast/disk/FORMAT", fx->dir);
        assert_int_equal(access(path, F_OK), 0);
        snprintf(path, sizeof(path), "%s/fast/disk/spare", fx->dir); /* room for removals is on that disk as well */
        assert_int_equal(access(path, F_OK), 0);
        snprintf(path, sizeof(path), "%s/d/big/FORMAT", fx->dir);
        assert_int_equal(access(path, F_OK), 0);
        snprintf(path, sizeof(path), "%s/d/kv", fx->dir);
        assert_int_equal(access(path, F_OK), -1);
        if (round == 0) {
            cairn_server_free(fx->nodes[0]);
            fx->nodes[0] = NULL;
        }
    }
    write_paths(fx, "e", file, sizeof(file));
    assert_int_equal(cairn_server_start(&o, &fx->nodes[1], text, sizeof(text)), CAIRN_E_CONFIG);
    assert_non_null(strstr(text, "fast/disk belongs to another data directory"));
    cairn_server_free(fx->nodes[0]); /* not for as long as the other runs: for good */
    fx->nodes[0] = NULL;
    assert_int_equal(cairn_server_start(&o, &fx->nodes[1], text, sizeof(text)), CAIRN_E_CONFIG);
    assert_int_equal(cairn_server_check(&o, text, sizeof(text)), CAIRN_E_CONFIG);
    assert_non_null(strstr(text, "fast/disk belongs to another data directory"));
    snprintf(path, sizeof(path), "%s/fast/disk/OWNER", fx->dir);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(cairn_server_start(&o, &fx->nodes[1], text, sizeof(text)), CAIRN_E_CONFIG);
    assert_non_null(strstr(text, "fast/disk is not empty"));
}

static void mistakes_are_told_and_leave_nothing(void **state)
{
    struct fixture *fx = *state;
    struct cairn_server_setting bad[] = { { "node.wrokers", "1", "test" }, { "node.pool_threads", "lots", "test" } };
    struct cairn_server_options o = CAIRN_SERVER_OPTIONS_INIT;
    char text[2048];

    o.settings = bad;
    o.nsettings = 2;
    assert_int_equal(cairn_server_start(&o, &fx->nodes[0], text, sizeof(text)), CAIRN_E_CONFIG);
    assert_null(fx->nodes[0]);
    assert_non_null(strstr(text, "did you mean 'workers'"));
    assert_non_null(strstr(text, "pool_threads")); /* both, in one pass */
    assert_int_equal(cairn_server_check(&o, text, sizeof(text)), CAIRN_E_CONFIG);
    o.nsettings = 0;
    assert_int_equal(cairn_server_start(&o, &fx->nodes[0], text, sizeof(text)), CAIRN_E_CONFIG);
    assert_non_null(strstr(text, "no data directory"));
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(several_nodes_share_nothing),
        T(one_data_directory_has_one_node),
        T(a_node_can_be_started_again),
        T(the_router_takes_the_providers_it_was_told),
        T(providers_have_paths_of_their_own),
        T(mistakes_are_told_and_leave_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
