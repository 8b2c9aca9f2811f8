/* The node's own schema: defaults, the fields they become, and what does not fit together. The providers here are
 * stand-ins with a schema each, so that the test does not change when theirs do. */
#include "server/node/conf/node_conf.h"

#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static const struct cairn_conf_key kv_keys[] = {
    { .name = "path", .type = CAIRN_CONF_STRING, .fallback = "", .help = "where the data is" },
    { .name = "cache", .type = CAIRN_CONF_SIZE, .fallback = "64MiB", .help = "kept in memory" },
    { .name = NULL },
};
static const struct cairn_conf_key extent_keys[] = {
    { .name = "path", .type = CAIRN_CONF_STRING, .fallback = "", .help = "where the data is" },
    { .name = NULL },
};
static const struct cairn_provider_desc kv = { .type = "kv", .schema = kv_keys },
                                        extent = { .type = "extent", .schema = extent_keys };
static const struct cairn_provider_desc *const providers[] = { &extent, &kv, NULL };

static int parse_with(struct cairn_node_conf *conf, const char *text, const struct cairn_conf_override *o, uint32_t n)
{
    return cairn_node_conf_parse(conf, "cairn.yaml", text, strlen(text), o, n, providers, NULL);
}

static void expect(const char *text, const char *problems)
{
    struct cairn_node_conf conf;
    char all[8192] = "";
    int rc = parse_with(&conf, text, NULL, 0);

    assert_non_null(conf.doc);
    for (uint32_t i = 0; i < cairn_conf_nproblems(conf.doc); i++) {
        strcat(all, cairn_conf_problem(conf.doc, i));
        strcat(all, "\n");
    }
    assert_string_equal(all, problems);
    assert_int_equal(rc, problems[0] != '\0' ? CAIRN_E_CONFIG : 0);
    cairn_node_conf_free(&conf);
}

static void schema_is_sound(void **state)
{
    struct cairn_conf_schema schema;
    struct cairn_conf_variant *variants;
    struct cairn_err err = { 0 };

    (void)state;
    assert_int_equal(cairn_node_schema(providers, &schema, &variants), 0);
    if (cairn_conf_schema_check(&schema, &err) != 0)
        fail_msg("%s", err.text);
    free(variants);
}

/* The providers that this build really has. */
static void providers_schemas_are_sound(void **state)
{
    struct cairn_conf_schema schema;
    struct cairn_conf_variant *variants;
    struct cairn_err err = { 0 };

    (void)state;
    assert_int_equal(cairn_node_schema(cairn_provider_list, &schema, &variants), 0);
    if (cairn_conf_schema_check(&schema, &err) != 0)
        fail_msg("%s", err.text);
    free(variants);
}

static void embedded_default(void **state)
{
    struct cairn_node_conf conf;
    struct cairn_conf_override data = { "node.data", "/tmp/x", "--data", false };
    char host[256];

    (void)state;
    setenv("CAIRN_WORKSPACE", "/tmp/ws", 1);
    assert_int_equal(cairn_node_conf_read(&conf, NULL, &data, 1, providers, NULL), 0);
    gethostname(host, sizeof(host));
    host[strcspn(host, ".")] = '\0';
    assert_string_equal(conf.name, host);
    assert_string_equal(conf.data, "/tmp/x");
    assert_string_equal(conf.workspace, "/tmp/ws");
    assert_in_range(conf.workers, 1, CAIRN_NODE_WORKERS_MAX);
    assert_int_equal(conf.pool_threads, 8);
    assert_int_equal(conf.log_level, CAIRN_LOG_INFO);
    assert_int_equal(conf.nlisten, 2);
    assert_string_equal(conf.listen[0], "unix:///tmp/ws/node.sock");
    assert_string_equal(conf.listen[1], "tcp://127.0.0.1:0");
    assert_string_equal(conf.key_file, "/tmp/ws/cluster.key");
    assert_int_equal(conf.munge, CAIRN_MUNGE_AUTO);
    assert_false(conf.insecure);
    assert_int_equal(conf.connections_max, 10000);
    assert_int_equal(conf.inflight_requests_max, 512);
    assert_int_equal(conf.inflight_bytes_max, 16 << 20);
    assert_int_equal(conf.node_bytes_max, 256 << 20);
    assert_int_equal(conf.drain_ns, 30 * CAIRN_NS_PER_S);
    assert_int_equal(conf.partial_frame_ns, 30 * CAIRN_NS_PER_S);
    assert_int_equal(conf.session_ttl_ns, 60 * CAIRN_NS_PER_S);
    assert_true(conf.bulk_vm && conf.bulk_fabric);
    assert_string_equal(conf.fabric_provider, "tcp;ofi_rxm");
    assert_string_equal(conf.metrics_listen, "");
    assert_int_equal(conf.embed_threshold, 32 << 10);
    assert_int_equal(conf.user_namespaces_max, 256);
    assert_int_equal(conf.nproviders, 2);
    assert_ptr_equal(conf.provider_descs[0], &kv);
    assert_ptr_equal(conf.provider_descs[1], &extent);
    assert_string_equal(cairn_conf_str(conf.providers[0], "name"), "kv");
    assert_int_equal(cairn_conf_u64(conf.providers[0], "cache"), 64 << 20);
    assert_string_equal(conf.router_kv, "kv");
    assert_string_equal(conf.router_extent, "extent");
    cairn_node_conf_free(&conf);
}

static void workspace_follows_the_environment(void **state)
{
    char buf[PATH_MAX];
    const char *where;

    (void)state;
    unsetenv("CAIRN_WORKSPACE");
    setenv("XDG_RUNTIME_DIR", "/run/user/7", 1);
    assert_int_equal(cairn_node_workspace(buf, sizeof(buf), &where), 0);
    assert_string_equal(buf, "/run/user/7/cairn");
    assert_string_equal(where, "default: $XDG_RUNTIME_DIR");
    unsetenv("XDG_RUNTIME_DIR");
    assert_int_equal(cairn_node_workspace(buf, sizeof(buf), &where), 0);
    assert_string_equal(buf, "/run/cairn");
    setenv("CAIRN_WORKSPACE", "/w", 1);
    assert_int_equal(cairn_node_workspace(buf, sizeof(buf), &where), 0);
    assert_string_equal(buf, "/w");
    assert_int_equal(cairn_node_workspace(buf, 2, &where), CAIRN_E_INVAL);
}

/* What the manual says of an empty value. */
static void an_empty_name_or_workspace_is_the_default(void **state)
{
    static const char *const texts[] = { "workspace: ''\nnode: {data: /d, name: ''}\n",
                                         "workspace:\nnode: {data: /d, name: ~}\n" };
    struct cairn_node_conf conf;

    (void)state;
    setenv("CAIRN_WORKSPACE", "/w", 1);
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        assert_int_equal(cairn_node_conf_parse(&conf, "f", texts[i], strlen(texts[i]), NULL, 0, providers, NULL), 0);
        assert_string_equal(conf.workspace, "/w");
        assert_string_not_equal(conf.name, "");
        cairn_node_conf_free(&conf);
    }
    setenv("CAIRN_WORKSPACE", "here", 1);
    expect("node: {data: /d}\n", "default: $CAIRN_WORKSPACE: 'workspace' must be an absolute path; found 'here'\n");
    unsetenv("CAIRN_WORKSPACE");
}

static void fields_follow_the_file(void **state)
{
    struct cairn_node_conf conf;

    (void)state;
    assert_int_equal(parse_with(&conf,
                                "node: {name: n1, workers: 3, pin: [4, 5], spin: 50us, log_level: debug}\n"
                                "workspace: /w\n"
                                "listen: ['tcp://[::1]:7', unix:///a/b]\n"
                                "auth: {key_file: /k, admins: [root, 1234], munge: off, insecure: true}\n"
                                "bulk: {fabric: false, domain: lo}\n"
                                "metrics: {listen: tcp://127.0.0.1:9464}\n"
                                "router: {kv: b}\n"
                                "providers: [{type: kv, name: a}, {type: kv, name: b, path: /b}]\n",
                                NULL, 0),
                     0);
    assert_string_equal(conf.name, "n1");
    assert_int_equal(conf.workers, 3);
    assert_int_equal(conf.npin, 2);
    assert_int_equal(conf.pin[1], 5);
    assert_int_equal(conf.spin_ns, 50000);
    assert_int_equal(conf.log_level, CAIRN_LOG_DEBUG);
    assert_string_equal(conf.listen[0], "tcp://[::1]:7");
    assert_string_equal(conf.listen[1], "unix:///a/b");
    assert_string_equal(conf.key_file, "/k");
    assert_int_equal(conf.nadmins, 2);
    assert_int_equal(conf.admins[0], 0);
    assert_int_equal(conf.admins[1], 1234);
    assert_int_equal(conf.munge, CAIRN_MUNGE_OFF);
    assert_true(conf.insecure);
    assert_false(conf.bulk_fabric);
    assert_string_equal(conf.fabric_domain, "lo");
    assert_string_equal(conf.metrics_listen, "tcp://127.0.0.1:9464");
    assert_string_equal(conf.router_kv, "b");
    assert_string_equal(conf.router_extent, ""); /* there is none */
    cairn_node_conf_free(&conf);
}

static void addresses(void **state)
{
    (void)state;
    expect("listen: [tcp://127.0.0.1:0, tcp://127.0.0.1:0]\n", ""); /* port 0: two different ones */
    expect("listen: [tcp://h:1, tcp://h:1]\n", "cairn.yaml:1:21: 'tcp://h:1' is there twice\n");
    expect("listen: [localhost:5]\n",
           "cairn.yaml:1:10: 'localhost:5' is no address: write unix://PATH or tcp://HOST:PORT\n");
    expect("listen: [tcp://localhost]\n",
           "cairn.yaml:1:10: 'tcp://localhost' has no port: write tcp://HOST:PORT (port 0: any)\n");
    expect("listen: ['tcp://:80']\n",
           "cairn.yaml:1:10: 'tcp://:80' has no host: write tcp://HOST:PORT (0.0.0.0 or [::]: every "
           "interface)\n");
    expect("listen: ['tcp://::1:80']\n", "cairn.yaml:1:10: 'tcp://::1:80' is an IPv6 address without brackets: write "
                                         "tcp://[ADDRESS]:PORT\n");
    expect("listen: ['tcp://[::1:80']\n", "cairn.yaml:1:10: 'tcp://[::1:80' has an unbalanced '['\n");
    expect("listen: ['tcp://h:x']\n", "cairn.yaml:1:10: 'tcp://h:x' has a port that is no number\n");
    expect("listen: ['tcp://h:65536']\n", "cairn.yaml:1:10: 'tcp://h:65536' has a port above 65535\n");
    expect("listen: ['unix://']\n", "cairn.yaml:1:10: 'unix://' has no path\n");
    expect("workspace: "
           "/0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789\n",
           "default: 'unix://node.sock' has, in the workspace, a path longer than 107 bytes\n");
    expect("listen: []\n", "cairn.yaml:1:9: 'listen' has 0 entries; at least 1 may be there\n");
    expect("listen: [tcp://h:1]\nmetrics: {listen: tcp://h:1}\n",
           "cairn.yaml:2:19: 'metrics.listen' is an address of 'listen' too; give it a port of its own\n");
    expect("metrics: {listen: unix:///x}\n",
           "cairn.yaml:1:19: 'metrics.listen' must be tcp://HOST:PORT; found 'unix:///x'\n");
}

static void providers_fit_together(void **state)
{
    (void)state;
    expect("providers:\n- {type: kv, name: a}\n- {type: extent, name: a}\n",
           "cairn.yaml:3:24: another provider is called 'a' already (cairn.yaml:2:20)\n");
    expect("providers:\n- {type: kv, name: a, path: /d}\n- {type: extent, name: b, path: /d}\n",
           "cairn.yaml:3:33: the directory of provider 'a' (cairn.yaml:2:20); choose another\n");
    expect("providers: [{type: kv, name: A/../b}]\n",
           "cairn.yaml:1:30: a provider's name is made of up to 64 letters a-z, digits, '_' and '-'; found 'A/../b'\n");
    expect("providers: [{type: kv, name: a, path: /x}, {type: extent, name: b, path: /x}]\n",
           "cairn.yaml:1:74: the directory of provider 'a' (cairn.yaml:1:30); choose another\n");
    expect("providers: [{type: kv, name: a}, {type: extent, name: b, path: a}]\n",
           "cairn.yaml:1:64: the directory of provider 'a' (cairn.yaml:1:30); choose another\n");
    expect("providers: [{type: kv, name: router}]\n",
           "cairn.yaml:1:30: 'router' is the name of a part that every node has; choose another\n");
    expect("router: {kv: fsat}\nproviders: [{type: kv, name: other}, {type: kv, name: fast}]\n",
           "cairn.yaml:1:14: 'router.kv': no provider is called 'fsat', did you mean 'fast'?\n");
    expect("router: {kv: b}\nproviders: [{type: kv, name: a}]\n",
           "cairn.yaml:1:14: 'router.kv': no provider is called 'b'\n");
    expect("router: {embed_threshold: 1048508}\n", "");
    expect("router: {embed_threshold: 1MiB}\n",
           "cairn.yaml:1:27: 'router.embed_threshold' is 1MiB; it must be a size from 0 to 1048508\n");
    expect("router: {kv: a}\nproviders: [{type: extent, name: a}]\n",
           "cairn.yaml:1:14: 'router.kv' must name a provider of type kv; 'a' is of type extent\n");
    expect("providers: [{type: kvs, name: a}]\n", "cairn.yaml:1:20: unknown type 'kvs', did you mean 'kv'?\n");
}

static void the_rest_fits_together(void **state)
{
    (void)state;
    expect("limits: {inflight_bytes: 64MiB, node_bytes: 32MiB}\n",
           "cairn.yaml:1:26: 'limits.inflight_bytes' (one connection, cairn.yaml:1:26) exceeds 'limits.node_bytes' "
           "(all of them, "
           "cairn.yaml:1:45)\n");
    expect("auth: {munge: off, munge_socket: /s}\n",
           "cairn.yaml:1:34: 'auth.munge_socket' is given, but 'auth.munge' is off (cairn.yaml:1:15)\n");
    expect("auth: {admins: [no-such-user-here]}\n",
           "cairn.yaml:1:17: 'auth.admins[0]': this machine knows no user 'no-such-user-here'\n");
    expect("node: {pin: [0, one]}\n",
           "cairn.yaml:1:17: 'node.pin[1]' must be a CPU number from 0 to 4095; found 'one'\n");
    expect("cluster: {session_ttl: 9s}\n",
           "cairn.yaml:1:24: 'cluster.session_ttl' is 9s; it must be a duration from 10s to 1d\n");
    expect("node: {cluster: 12ab}\n",
           "cairn.yaml:1:17: 'node.cluster' must be 32 digits of 0-9 and a-f; found '12ab'\n");
    expect("node: {name: a/b}\n", "cairn.yaml:1:14: 'node.name' must be at most 255 bytes without spaces and '/'\n");
    expect("workspace: here\n", "cairn.yaml:1:12: 'workspace' must be an absolute path; found 'here'\n");
}

static void the_map_is_somewhere(void **state)
{
    static const char etcd[] = "map:\n"
                               "  store: etcd\n"
                               "  endpoints: [https://a:2379, http://b:2379]\n"
                               "  user: u\n"
                               "  password_file: /p\n"
                               "  tls: {ca: /ca.pem}\n";
    struct cairn_node_conf conf;

    (void)state;
    assert_int_equal(parse_with(&conf, "", NULL, 0), 0);
    assert_false(conf.map_etcd);
    cairn_node_conf_free(&conf);
    assert_int_equal(parse_with(&conf, etcd, NULL, 0), 0);
    assert_true(conf.map_etcd);
    assert_int_equal(conf.map.nendpoints, 2);
    assert_string_equal(conf.map.endpoints[1], "http://b:2379");
    assert_string_equal(conf.map.prefix, "/cairn/");
    assert_string_equal(conf.map.ca_file, "/ca.pem");
    assert_string_equal(conf.map_password_file, "/p");
    assert_int_equal(conf.map_timeout_ms, 10000);
    cairn_node_conf_free(&conf);
    expect("map: {store: etcd}\n", "cairn.yaml:1:6: 'map.store' is etcd (cairn.yaml:1:14): name its 'map.endpoints'\n");
    expect("map: {store: etcd, endpoints: [a:1]}\n",
           "cairn.yaml:1:32: 'map.endpoints[0]' must be http://HOST:PORT or https://HOST:PORT; found 'a:1'\n");
    expect("map: {endpoints: ['http://a:1']}\n",
           "cairn.yaml:1:18: 'map.endpoints' are given, but 'map.store' is local (default)\n");
    expect("map: {prefix: cairn}\n",
           "cairn.yaml:1:15: 'map.prefix' must begin and end with '/' and have no spaces, for "
           "example /cairn/; found 'cairn'\n");
    expect("map: {store: etcd, endpoints: ['http://a:1'], user: u}\n",
           "cairn.yaml:1:53: 'map.user' and 'map.password_file' belong together\n");
}

static void example_is_valid(void **state)
{
    struct cairn_node_conf conf;
    struct cairn_err err = { 0 };

    (void)state;
    if (cairn_node_conf_read(&conf, CAIRN_SOURCE_DIR "/deploy/examples/one-node.yaml", NULL, 0, providers, &err) != 0)
        fail_msg("%s", err.text);
    assert_string_equal(conf.data, "/var/lib/cairn");
    assert_string_equal(conf.listen[0], "unix:///run/cairn/node.sock");
    cairn_node_conf_free(&conf);
}

/* With the providers that this build has. */
static void examples_of_members_are_valid(void **state)
{
    (void)state;
    for (int i = 1; i <= 3; i++) {
        struct cairn_node_conf conf;
        struct cairn_err err = { 0 };
        char path[256], name[16];

        snprintf(path, sizeof(path), "%s/deploy/examples/three-nodes/node%d.yaml", CAIRN_SOURCE_DIR, i);
        snprintf(name, sizeof(name), "node%d", i);
        if (cairn_node_conf_read(&conf, path, NULL, 0, cairn_provider_list, &err) != 0)
            fail_msg("%s", err.text);
        assert_string_equal(conf.name, name);
        assert_int_equal(strlen(conf.cluster), 32);
        assert_int_equal(conf.nproviders, 3);
        assert_string_equal(conf.provider_descs[2]->type, "group");
        assert_int_equal(conf.map.nendpoints, 3);
        cairn_node_conf_free(&conf);
    }
}

/* The example shows every key there is. */
static void example_is_complete(void **state)
{
    struct cairn_node_conf conf;

    (void)state;
    assert_int_equal(
        cairn_node_conf_read(&conf, CAIRN_SOURCE_DIR "/deploy/examples/one-node.yaml", NULL, 0, providers, NULL), 0);
    for (const struct cairn_conf_key *k = cairn_node_keys; k->name != NULL; k++) {
        const struct cairn_conf *root = cairn_conf_root(conf.doc);

        if (!cairn_conf_is_set(root, k->name))
            fail_msg("%s is not in the example", k->name);
        for (const struct cairn_conf_key *s = k->type == CAIRN_CONF_SECTION ? k->sub : NULL;
             s != NULL && s->name != NULL; s++) {
            if (!cairn_conf_is_set(cairn_conf_section(root, k->name), s->name))
                fail_msg("%s.%s is not in the example", k->name, s->name);
        }
    }
    cairn_node_conf_free(&conf);
}

static void reference_holds_the_defaults(void **state)
{
    struct cairn_node_conf conf, plain;
    struct cairn_conf_schema schema;
    struct cairn_conf_variant *variants;
    char *text = NULL;
    size_t len;
    FILE *f = open_memstream(&text, &len);

    (void)state;
    assert_int_equal(cairn_node_schema(providers, &schema, &variants), 0);
    cairn_conf_reference(&schema, f);
    fclose(f);
    assert_int_equal(parse_with(&conf, text, NULL, 0), 0);
    assert_int_equal(parse_with(&plain, "", NULL, 0), 0);
    assert_int_equal(conf.nlisten, plain.nlisten);
    assert_int_equal(conf.node_bytes_max, plain.node_bytes_max);
    assert_int_equal(conf.nproviders, plain.nproviders);
    cairn_node_conf_free(&conf);
    cairn_node_conf_free(&plain);
    free(variants);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(schema_is_sound),
        cmocka_unit_test(providers_schemas_are_sound),
        cmocka_unit_test(embedded_default),
        cmocka_unit_test(workspace_follows_the_environment),
        cmocka_unit_test(an_empty_name_or_workspace_is_the_default),
        cmocka_unit_test(fields_follow_the_file),
        cmocka_unit_test(addresses),
        cmocka_unit_test(providers_fit_together),
        cmocka_unit_test(the_rest_fits_together),
        cmocka_unit_test(the_map_is_somewhere),
        cmocka_unit_test(example_is_valid),
        cmocka_unit_test(examples_of_members_are_valid),
        cmocka_unit_test(example_is_complete),
        cmocka_unit_test(reference_holds_the_defaults),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
