/* Where a node is: every source, and files that somebody else could have written. */
#include "sdk/client/whereabouts.h"

#include "sdk/core/base/macros.h"
#include "sdk/core/base/process.h"
#include "tests/lib/scratch.h"
#include "tests/lib/skip.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static const char key_text[] = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\n";
static const char good_json[] = "{\"version\":1,\"addresses\":[\"tcp://127.0.0.1:4711\",\"unix:///tmp/x.sock\"],"
                                "\"cluster_id\":\"000102030405060708090a0b0c0d0e0f\",\"pid\":1}";

struct place {
    char dir[SCRATCH_MAX], json[80], key[80];
    struct cairn_options o;
    struct cairn_rpc_session_conf conf;
    struct cairn_err err;
};

static void write_file(const char *path, const char *text, mode_t mode)
{
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    fputs(text, f);
    fclose(f);
    assert_int_equal(chmod(path, mode), 0);
}

static int setup(void **state)
{
    struct place *p = calloc(1, sizeof(*p));

    scratch_new(p->dir);
    snprintf(p->json, sizeof(p->json), "%s/node.json", p->dir);
    snprintf(p->key, sizeof(p->key), "%s/cluster.key", p->dir);
    p->o = (struct cairn_options)CAIRN_OPTIONS_INIT;
    p->o.workspace = p->dir;
    write_file(p->json, good_json, 0644);
    write_file(p->key, key_text, 0600);
    unsetenv("CAIRN_ADDRESSES");
    unsetenv("CAIRN_WORKSPACE");
    unsetenv("CAIRN_KEY");
    *state = p;
    return 0;
}

static int teardown(void **state)
{
    struct place *p = *state;

    scratch_remove(p->dir);
    free(p);
    return 0;
}

static int find(struct place *p)
{
    memset(&p->conf, 0, sizeof(p->conf));
    memset(&p->err, 0, sizeof(p->err));
    return cairn_whereabouts_find(&p->o, &p->conf, &p->err);
}

static void refused(struct place *p, int rc, const char *text)
{
    assert_int_equal(find(p), rc);
    if (strstr(p->err.text, text) == NULL)
        fail_msg("'%s' does not tell of '%s'", p->err.text, text);
}

static void workspace_gives_addresses_id_and_key(void **state)
{
    struct place *p = *state;

    assert_int_equal(find(p), 0);
    assert_int_equal(p->conf.naddrs, 2);
    assert_true(cairn_addr_is_unix(&p->conf.addrs[0])); /* though it came second */
    assert_false(cairn_addr_is_unix(&p->conf.addrs[1]));
    assert_true(p->conf.has_cluster_id);
    assert_int_equal(p->conf.cluster_id[15], 15);
    assert_true(p->conf.has_key);
    assert_int_equal(p->conf.key[1], 0x11);
}

static void list_wins_over_workspace(void **state)
{
    struct place *p = *state;

    p->o.addresses = "tcp://[::1]:1, unix:///a,tcp://127.0.0.1:2";
    assert_int_equal(find(p), 0);
    assert_int_equal(p->conf.naddrs, 3);
    assert_true(cairn_addr_is_unix(&p->conf.addrs[0]));
    assert_false(p->conf.has_cluster_id);
    assert_true(p->conf.has_key);
}

/* Nobody asks for a proof at a unix socket; but other nodes do, to which calls go by the cluster's map. */
static void what_proves_us_is_for_other_nodes_too(void **state)
{
    struct place *p = *state;
    char other[SCRATCH_MAX + 20];

    snprintf(other, sizeof(other), "%s/other.key", p->dir);
    write_file(other, key_text, 0600);
    p->o.addresses = "unix:///a";
    setenv("CAIRN_MUNGE_SOCKET", p->json, 1); /* that it is there is all that counts now */
    assert_int_equal(find(p), 0);
    assert_true(p->conf.has_key);
    assert_int_equal(p->conf.munge, cairn_auth_munge_is_available(p->json));
    assert_string_equal(p->conf.munge_socket, p->json);
    chmod(p->key, 0640); /* not asked for, and not needed here */
    assert_int_equal(find(p), 0);
    assert_false(p->conf.has_key);
    unlink(p->key);
    setenv("CAIRN_KEY", other, 1);
    assert_int_equal(find(p), 0);
    assert_true(p->conf.has_key);
    setenv("CAIRN_KEY", "/nonexistent", 1);
    refused(p, CAIRN_E_AUTH, "/nonexistent");
    unsetenv("CAIRN_KEY");
    unsetenv("CAIRN_MUNGE_SOCKET");
}

static void environment_names_list_and_directory(void **state)
{
    struct place *p = *state;
    char dir[128];

    setenv("CAIRN_ADDRESSES", "unix:///from/env", 1);
    assert_int_equal(find(p), 0);
    assert_int_equal(p->conf.naddrs, 2); /* the workspace was asked for by name */
    p->o.workspace = NULL;
    setenv("CAIRN_WORKSPACE", p->dir, 1);
    assert_int_equal(find(p), 0);
    assert_int_equal(p->conf.naddrs, 1);
    unsetenv("CAIRN_ADDRESSES");
    assert_int_equal(find(p), 0);
    assert_int_equal(p->conf.naddrs, 2);
    unsetenv("CAIRN_WORKSPACE");
    setenv("XDG_RUNTIME_DIR", "/run/user/7", 1);
    assert_int_equal(cairn_whereabouts_dir(NULL, dir, sizeof(dir), NULL), 0);
    assert_string_equal(dir, "/run/user/7/cairn");
    setenv("XDG_RUNTIME_DIR", "relative", 1);
    assert_int_equal(cairn_whereabouts_dir(NULL, dir, sizeof(dir), NULL), 0);
    assert_string_equal(dir, "/run/cairn");
    unsetenv("XDG_RUNTIME_DIR");
    assert_int_equal(cairn_whereabouts_dir(NULL, dir, sizeof(dir), NULL), 0);
    assert_string_equal(dir, "/run/cairn");
    assert_int_equal(cairn_whereabouts_dir(NULL, dir, 5, NULL), CAIRN_E_INVAL);
}

/* What a killed node left behind, and its pid is another's by now. */
static void a_start_is_of_its_process(void **state)
{
    static const char text[] = "{\"version\":1,\"node\":\"n\",\"pid\":%d,\"began\":%llu,\"waits_for\":\"etcd\"}";
    struct place *p = *state;
    unsigned long long began = cairn_process_began(getpid());
    char file[SCRATCH_MAX + 20], json[200];

    assert_true(began > 0);
    assert_int_equal(cairn_process_began(getpid()), began);
    snprintf(file, sizeof(file), "%s/starting.json", p->dir);
    for (unsigned later = 0; later < 2; later++) {
        snprintf(json, sizeof(json), text, (int)getpid(), began - later);
        write_file(file, json, 0644);
        cairn_err_set(&p->err, CAIRN_E_UNREACHABLE, "nobody");
        cairn_whereabouts_starting(&p->o, &p->err);
        assert_int_equal(strstr(p->err.text, "has not started yet: etcd") != NULL, later == 0);
    }
}

static void nothing_there(void **state)
{
    struct place *p = *state;

    unlink(p->json);
    refused(p, CAIRN_E_UNREACHABLE, "no node was started");
    p->o.workspace = "/nonexistent/cairn";
    refused(p, CAIRN_E_UNREACHABLE, "/nonexistent/cairn");
}

static void files_of_others_are_refused(void **state)
{
    struct place *p = *state;

    chmod(p->json, 0666);
    refused(p, CAIRN_E_DENIED, "mode 0666");
    chmod(p->json, 0644);
    chmod(p->dir, 0777);
    refused(p, CAIRN_E_DENIED, "chmod go-w");
    chmod(p->dir, 01777); /* sticky: others cannot replace what is ours */
    assert_int_equal(find(p), 0);
    chmod(p->dir, 0700);
    chmod(p->key, 0640);
    refused(p, CAIRN_E_AUTH, "mode 0640 lets others read it");
    p->o.addresses = "tcp://127.0.0.1:1"; /* not ignored here either */
    refused(p, CAIRN_E_AUTH, "mode 0640");
}

static void another_owner_is_refused(void **state)
{
    struct place *p = *state;

    if (geteuid() != 0)
        skip_because("only root can make what is another's");
    assert_int_equal(chown(p->json, 12345, 12345), 0);
    refused(p, CAIRN_E_DENIED, "belongs to user 12345");
    assert_int_equal(chown(p->json, 0, 0), 0);
    assert_int_equal(chown(p->dir, 12345, 12345), 0);
    refused(p, CAIRN_E_DENIED, "belongs to user 12345");
}

static void links_and_devices_are_refused(void **state)
{
    struct place *p = *state;
    char real[96];

    snprintf(real, sizeof(real), "%s/real.json", p->dir);
    rename(p->json, real);
    assert_int_equal(symlink(real, p->json), 0);
    assert_true(find(p) < 0);
    unlink(p->json);
    assert_int_equal(mkfifo(p->json, 0600), 0); /* must not hang */
    refused(p, CAIRN_E_CONFIG, "no plain file");
    unlink(real);
}

static void malformed_files_are_told_apart(void **state)
{
    struct place *p = *state;
    char *big = malloc(CAIRN_NODE_JSON_BYTES_MAX + 2);
    static const struct {
        const char *json, *text;
    } bad[] = {
        { "", "node.json:1:" },
        { "{\"version\":1,", "node.json:1:" },
        { "[1]", "\"version\" is not 1" },
        { "{\"version\":2,\"addresses\":[\"unix:///a\"]}", "\"version\" is not 1" },
        { "{\"version\":1}", "\"addresses\" is not a list" },
        { "{\"version\":1,\"addresses\":[]}", "\"addresses\" is not a list" },
        { "{\"version\":1,\"addresses\":[7]}", "no text" },
        { "{\"version\":1,\"addresses\":[\"http://x\"]}", "node.json" },
        { "{\"version\":1,\"addresses\":[\"unix:///a\"],\"cluster_id\":\"12\"}", "cluster_id" },
        { "{\"version\":1,\"addresses\":[\"unix:///a\"],\"cluster_id\":\"zz0102030405060708090a0b0c0d0e0f\"}",
          "cluster_id" },
        { "{\"version\":1,\"addresses\":[\"unix:///a\"],\"cluster_id\":\"000102030405060708090a0b0c0d0e0f0\"}",
          "cluster_id" },
    };

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        write_file(p->json, bad[i].json, 0644);
        refused(p, CAIRN_E_CONFIG, bad[i].text);
    }
    memset(big, ' ', CAIRN_NODE_JSON_BYTES_MAX + 1);
    big[CAIRN_NODE_JSON_BYTES_MAX + 1] = '\0';
    write_file(p->json, big, 0644);
    refused(p, CAIRN_E_CONFIG, "larger than");
    free(big);
    write_file(p->json, good_json, 0644);
    write_file(p->key, "0011", 0600);
    refused(p, CAIRN_E_AUTH, "hexadecimal");
}

static void lists_are_checked(void **state)
{
    struct place *p = *state;
    char longer[400];

    p->o.addresses = ",, ,";
    refused(p, CAIRN_E_CONFIG, "empty");
    p->o.addresses = "unix:///a,nonsense";
    refused(p, CAIRN_E_CONFIG, "nonsense");
    memset(longer, 'x', sizeof(longer) - 1);
    longer[sizeof(longer) - 1] = '\0';
    p->o.addresses = longer;
    refused(p, CAIRN_E_CONFIG, "longer than");
}

/* A hundred times a random choice: of what is named by all clients of a large cluster each is somebody's. */
static void of_many_addresses_some_are_chosen(void **state)
{
    enum { MANY = 40 };
    struct place *p = *state;
    char many[1024] = "", other[2048];
    uint32_t chosen[MANY] = { 0 };

    for (uint32_t i = 0; i < MANY; i++)
        snprintf(many + strlen(many), sizeof(many) - strlen(many), "tcp://127.0.0.%u:5,", i);
    p->o.addresses = many;
    for (int k = 0; k < 100; k++) {
        uint64_t seen = 0;

        assert_int_equal(find(p), 0);
        assert_int_equal(p->conf.naddrs, CAIRN_SESSION_ADDRS_MAX);
        for (uint32_t i = 0; i < p->conf.naddrs; i++) {
            char text[CAIRN_ADDR_TEXT_MAX];
            uint32_t which;

            cairn_addr_format(&p->conf.addrs[i], text);
            assert_int_equal(sscanf(text, "tcp://127.0.0.%u:5", &which), 1);
            assert_true(which < MANY && (seen >> which & 1) == 0);
            seen |= UINT64_C(1) << which;
            chosen[which]++;
        }
    }
    for (uint32_t i = 0; i < MANY; i++)
        assert_true(chosen[i] > 0 && chosen[i] < 100); /* else the choice is none: below one in 10^20 */
    /* All are checked, whichever are chosen; and those of a workspace are as good. */
    snprintf(other, sizeof(other), "%snonsense", many);
    p->o.addresses = other;
    refused(p, CAIRN_E_CONFIG, "nonsense");
    snprintf(other, sizeof(other), "%stcp://127.0.0.1:5#n1,tcp://127.0.0.1:5#n2", many);
    refused(p, CAIRN_E_CONFIG, "of node n1, and of node n2");
    p->o.addresses = NULL;
    strcpy(other, "{\"version\":1,\"addresses\":[\"unix:///a\"");
    for (uint32_t i = 0; i < MANY; i++)
        snprintf(other + strlen(other), sizeof(other) - strlen(other), ",\"tcp://127.0.0.%u:5\"", i);
    strcat(other, "]}");
    write_file(p->json, other, 0644);
    assert_int_equal(find(p), 0);
    assert_int_equal(p->conf.naddrs, CAIRN_SESSION_ADDRS_MAX);
}

/* The name that a proof is for. */
static void the_node_is_named_where_it_is_known(void **state)
{
    struct place *p = *state;

    p->o.addresses = "tcp://127.0.0.1:1,unix:///a";
    assert_int_equal(find(p), 0);
    assert_string_equal(p->conf.node, "");
    p->o.addresses = "tcp://127.0.0.1:1#n1,unix:///a#b";
    assert_int_equal(find(p), 0);
    assert_int_equal(p->conf.naddrs, 2);
    assert_string_equal(p->conf.node, "n1");
    p->o.addresses = "tcp://127.0.0.1:1#n1,tcp://127.0.0.1:2#n2";
    refused(p, CAIRN_E_CONFIG, "of node n1, and of node n2");
    p->o.addresses = "tcp://127.0.0.1:1#";
    refused(p, CAIRN_E_CONFIG, "has 1 to 63 bytes");
    p->o.addresses = NULL;
    write_file(p->json, "{\"version\": 1, \"node\": \"n3\", \"addresses\": [\"unix:///a\"]}", 0644);
    assert_int_equal(find(p), 0);
    assert_string_equal(p->conf.node, ""); /* the kernel tells who we are, and there is nothing to carry away */
    write_file(p->json, "{\"version\": 1, \"node\": \"n3\", \"addresses\": [\"unix:///a\", \"tcp://127.0.0.1:1\"]}",
               0644);
    assert_int_equal(find(p), 0);
    assert_string_equal(p->conf.node, "n3");
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(workspace_gives_addresses_id_and_key),
        T(list_wins_over_workspace),
        T(what_proves_us_is_for_other_nodes_too),
        T(environment_names_list_and_directory),
        T(a_start_is_of_its_process),
        T(nothing_there),
        T(files_of_others_are_refused),
        T(another_owner_is_refused),
        T(links_and_devices_are_refused),
        T(malformed_files_are_told_apart),
        T(lists_are_checked),
        T(of_many_addresses_some_are_chosen),
        T(the_node_is_named_where_it_is_known),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
