/* The etcd store beyond the contract of all (test_map_contract.c): several endpoints, restarts, tokens, TLS, and that a
 * change is never sent twice. */
#include "tests/unit/cluster/map_etcd_world.h"

/* Over a kept connection that ends after the request, libcurl alone would send it again, and the caller would be told
 * that somebody else made the entry. */
static void a_change_is_sent_once(void **state)
{
    struct fixture *fx = *state;
    uint16_t port;
    struct forward *f = forward_new(etcd_port(fx->server), &port);
    char url[64];
    const char *endpoints[] = { url_of(url, "http", port) };
    struct cairn_map_etcd_conf conf = { .endpoints = endpoints, .nendpoints = 1 };

    must_open(fx, &conf);
    must_await(fx);
    assert_int_equal(map_world_put(&fx->w, "first", "1", 0, NULL), 0);
    forward_set(f, FORWARD_SEVER);
    assert_int_equal(map_world_put(&fx->w, "second", "1", 0, NULL), CAIRN_E_UNKNOWN);
    forward_set(f, FORWARD_PASS);
    map_world_until(&fx->w, is_reachable, fx->w.store);
    assert_string_equal(map_world_listed_truly(&fx->w, fx->w.store, ""), "first=1 second=1 ");
    cairn_map_store_close(fx->w.store);
    fx->w.store = NULL;
    forward_free(f);
}

/* Also when the watch that feeds the view is only just being opened. */
static void an_answered_change_is_in_the_view(void **state)
{
    struct fixture *fx = *state;
    char url[64], key[16];
    const char *endpoints[] = { url_of(url, "http", etcd_port(fx->server)) };
    struct cairn_map_etcd_conf conf = { .endpoints = endpoints, .nendpoints = 1 };

    for (int i = 0; i < 50; i++) {
        must_open(fx, &conf);
        must_await(fx);
        snprintf(key, sizeof(key), "k%02d", i);
        assert_int_equal(map_world_put(&fx->w, key, "1", 0, NULL), 0);
        assert_string_not_equal(map_world_listed(&fx->w, fx->w.store, key), "");
        cairn_map_store_close(fx->w.store);
        fx->w.store = NULL;
    }
}

/* What few want is not sent to everybody: it is in no view, neither read with it nor watched, and read by who asks. */
static void entries_behind_the_view_are_only_read(void **state)
{
    struct fixture *fx = *state;
    char url[64];
    const char *endpoints[] = { url_of(url, "http", etcd_port(fx->server)) };
    struct cairn_map_etcd_conf conf = { .endpoints = endpoints, .nendpoints = 1, .view_end = "r/" };
    struct cairn_map_write writes[] = { { .key = "b", .value = (const uint8_t *)"1", .value_len = 1 },
                                        { .key = "r/b", .value = (const uint8_t *)"1", .value_len = 1 } };
    struct cairn_map_change both = { .writes = writes, .nwrites = 2 };
    struct cairn_map_health h;
    uint64_t r;

    must_open(fx, &conf);
    must_await(fx);
    assert_int_equal(map_world_put(&fx->w, "a", "1", 0, NULL), 0);
    assert_int_equal(map_world_put(&fx->w, "r/a", "1", 0, &r), 0);
    assert_int_equal(map_world_put(&fx->w, "r/a", "2", r, NULL), 0);
    assert_int_equal(map_world_change(&fx->w, fx->w.store, &both), 0);
    assert_string_equal(map_world_listed(&fx->w, fx->w.store, ""), "a=1 b=1 ");
    cairn_map_store_health(fx->w.store, &h);
    assert_int_equal(h.entries_told, 2);
    assert_int_equal(h.entries_read, 0);
    assert_string_equal(map_world_listed_truly(&fx->w, fx->w.store, ""), "a=1 b=1 r/a=2 r/b=1 ");
    cairn_map_store_close(fx->w.store);
    must_open(fx, &conf);
    must_await(fx);
    cairn_map_store_health(fx->w.store, &h);
    assert_int_equal(h.entries_read, 2);
    assert_string_equal(map_world_listed(&fx->w, fx->w.store, ""), "a=1 b=1 ");
}

static bool has_third(void *arg)
{
    struct fixture *fx = arg;

    return strstr(map_world_listed(&fx->w, fx->w.store, ""), "third=1") != NULL;
}

static void a_restart_is_survived(void **state)
{
    struct fixture *fx = *state;
    char url[64], *answer;
    const char *endpoints[] = { url_of(url, "http", etcd_port(fx->server)) };
    struct cairn_map_etcd_conf conf = { .endpoints = endpoints, .nendpoints = 1 };

    must_open(fx, &conf);
    must_await(fx);
    assert_int_equal(map_world_put(&fx->w, "first", "1", 0, NULL), 0);
    etcd_kill(fx->server);
    map_world_until(&fx->w, is_unreachable, fx->w.store);
    assert_int_equal(map_world_put(&fx->w, "second", "1", 0, NULL), CAIRN_E_UNREACHABLE);
    etcd_start(fx->server);
    map_world_until(&fx->w, is_reachable, fx->w.store);
    assert_int_equal(map_world_put(&fx->w, "second", "1", 0, NULL), 0);
    answer = etcd_post(fx->server, "kv/put", "{\"key\":\"L2NhaXJuL3RoaXJk\",\"value\":\"MQ==\"}"); /* /cairn/third */
    assert_non_null(answer);
    free(answer);
    map_world_until(&fx->w, has_third, fx); /* the watch is back */
    assert_string_equal(map_world_listed(&fx->w, fx->w.store, ""), "first=1 second=1 third=1 ");
}

static void other_endpoints_are_tried(void **state)
{
    struct fixture *fx = *state;
    uint16_t ports[2];
    struct forward *f[2] = { forward_new(etcd_port(fx->server), &ports[0]),
                             forward_new(etcd_port(fx->server), &ports[1]) };
    char urls[3][64];
    const char *endpoints[] = { url_of(urls[0], "http", forward_free_port()), url_of(urls[1], "http", ports[0]),
                                url_of(urls[2], "http", ports[1]) };
    struct cairn_map_etcd_conf conf = { .endpoints = endpoints, .nendpoints = 3 };
    struct cairn_map_lease_op l = { .verb = CAIRN_MAP_GRANT, .ttl_ms = 5000 };

    forward_set(f[1], FORWARD_REFUSE);
    must_open(fx, &conf);
    must_await(fx); /* only one of them is there */
    assert_int_equal(map_world_put(&fx->w, "first", "1", 0, NULL), 0);
    forward_set(f[1], FORWARD_PASS);
    forward_set(f[0], FORWARD_REFUSE);
    assert_int_equal(map_world_lease(&fx->w, fx->w.store, &l), 0);
    assert_int_equal(map_world_put(&fx->w, "second", "1", 0, NULL), 0);
    forward_set(f[0], FORWARD_PASS);
    forward_set(f[1], FORWARD_SWALLOW); /* it takes requests and never answers */
    assert_string_equal(map_world_listed_truly(&fx->w, fx->w.store, ""), "first=1 second=1 ");
    cairn_map_store_close(fx->w.store);
    fx->w.store = NULL;
    forward_free(f[0]);
    forward_free(f[1]);
}

static void on_silence(struct cairn_map_op *op)
{
    *(bool *)op->arg = true;
}

static bool is_true(void *arg)
{
    return *(bool *)arg;
}

/* One answer that does not come in time is no store that cannot be reached: what follows is not refused. */
static void a_late_answer_is_no_dead_store(void **state)
{
    struct fixture *fx = *state;
    uint16_t ports[2];
    struct forward *f[2] = { forward_new(etcd_port(fx->server), &ports[0]),
                             forward_new(etcd_port(fx->server), &ports[1]) };
    char urls[2][64];
    const char *endpoints[] = { url_of(urls[0], "http", ports[0]), url_of(urls[1], "http", ports[1]) };
    struct cairn_map_etcd_conf conf = { .endpoints = endpoints, .nendpoints = 2 };
    struct cairn_map_write write = { .key = "first", .value = (const uint8_t *)"1", .value_len = 1 };
    bool answered = false;
    struct cairn_map_change c = { .op = { .done = on_silence, .arg = &answered, .timeout_ms = 200 },
                                  .writes = &write,
                                  .nwrites = 1 };
    struct cairn_map_health h;

    forward_set(f[1], FORWARD_REFUSE); /* so that the other one is asked */
    must_open(fx, &conf);
    must_await(fx);
    forward_set(f[0], FORWARD_SWALLOW);
    forward_set(f[1], FORWARD_PASS);
    cairn_map_store_change(fx->w.store, NULL, &c);
    map_world_until(&fx->w, is_true, &answered);
    assert_int_equal(c.op.rc, CAIRN_E_UNKNOWN);
    assert_int_equal(map_world_put(&fx->w, "second", "1", 0, NULL), 0);
    cairn_map_store_health(fx->w.store, &h);
    assert_true(h.reachable);
    assert_int_equal(h.err.code, 0); /* it never was */
    forward_set(f[1], FORWARD_SWALLOW);
    assert_int_equal(map_world_put(&fx->w, "third", "1", 0, NULL), CAIRN_E_UNKNOWN);
    map_world_until(&fx->w, is_unreachable, fx->w.store); /* the probe has no answer either */
    cairn_map_store_close(fx->w.store);
    fx->w.store = NULL;
    forward_free(f[0]);
    forward_free(f[1]);
}

/* A server that stands still is asked whether it is there; another one tells of changes then. */
static void a_silent_server_is_left(void **state)
{
    struct fixture *fx = *state;
    uint16_t ports[2];
    struct forward *f[2] = { forward_new(etcd_port(fx->server), &ports[0]),
                             forward_new(etcd_port(fx->server), &ports[1]) };
    char urls[2][64], *answer;
    const char *endpoints[] = { url_of(urls[0], "http", ports[0]), url_of(urls[1], "http", ports[1]) };
    struct cairn_map_etcd_conf conf = { .endpoints = endpoints, .nendpoints = 2 };

    forward_set(f[1], FORWARD_REFUSE); /* so that the other one is watched */
    must_open(fx, &conf);
    must_await(fx);
    assert_int_equal(map_world_put(&fx->w, "first", "1", 0, NULL), 0); /* as is seen */
    forward_set(f[0], FORWARD_SWALLOW);
    forward_set(f[1], FORWARD_PASS);
    answer = etcd_post(fx->server, "kv/put", "{\"key\":\"L2NhaXJuL3RoaXJk\",\"value\":\"MQ==\"}"); /* /cairn/third */
    assert_non_null(answer);
    free(answer);
    map_world_until(&fx->w, has_third, fx);
    cairn_map_store_close(fx->w.store);
    fx->w.store = NULL;
    forward_free(f[0]);
    forward_free(f[1]);
}

/* A store whose history went back (restored from a backup, or another one on the same address) is read anew. */
static void another_store_is_noticed(void **state)
{
    struct fixture *fx = *state;
    struct etcd_server *second = etcd_new(NULL);
    uint16_t ports[2];
    struct forward *f[2] = { forward_new(etcd_port(fx->server), &ports[0]), forward_new(etcd_port(second), &ports[1]) };
    char urls[2][64], *answer;
    const char *endpoints[] = { url_of(urls[0], "http", ports[0]), url_of(urls[1], "http", ports[1]) };
    struct cairn_map_etcd_conf conf = { .endpoints = endpoints, .nendpoints = 2 };

    forward_set(f[1], FORWARD_REFUSE);
    must_open(fx, &conf);
    must_await(fx);
    forward_set(f[1], FORWARD_PASS);
    for (int i = 0; i < 5; i++)
        assert_int_equal(map_world_put(&fx->w, (const char *[]){ "a", "b", "c", "d", "e" }[i], "1", 0, NULL), 0);
    answer = etcd_post(second, "kv/put", "{\"key\":\"L2NhaXJuL3RoaXJk\",\"value\":\"MQ==\"}");
    free(answer);
    forward_set(f[0], FORWARD_REFUSE);
    map_world_until(&fx->w, has_third, fx);
    assert_string_equal(map_world_listed(&fx->w, fx->w.store, ""), "third=1 ");
    cairn_map_store_close(fx->w.store);
    fx->w.store = NULL;
    forward_free(f[0]);
    forward_free(f[1]);
    etcd_free(second);
}

/* ---- who we are ---- */

static void post(struct fixture *fx, const char *path, const char *json)
{
    char *answer = etcd_post(fx->server, path, json);

    assert_non_null(answer);
    assert_null(strstr(answer, "error"));
    free(answer);
}

static void tokens_are_renewed(void **state)
{
    struct fixture *fx = *state;
    char url[64];
    const char *endpoints[] = { url_of(url, "http", etcd_port(fx->server)) };
    struct cairn_map_etcd_conf conf = { .endpoints = endpoints, .nendpoints = 1, .user = "root", .password = "p\"w\\" };

    post(fx, "auth/user/add", "{\"name\":\"root\",\"password\":\"p\\\"w\\\\\"}");
    post(fx, "auth/role/add", "{\"name\":\"root\"}");
    post(fx, "auth/user/grant", "{\"user\":\"root\",\"role\":\"root\"}");
    post(fx, "auth/enable", "{}");
    must_open(fx, &conf);
    must_await(fx);
    assert_int_equal(map_world_put(&fx->w, "first", "1", 0, NULL), 0);
    etcd_kill(fx->server); /* which forgets its tokens */
    map_world_until(&fx->w, is_unreachable, fx->w.store);
    etcd_start(fx->server);
    map_world_until(&fx->w, is_reachable, fx->w.store);
    assert_int_equal(map_world_put(&fx->w, "second", "1", 0, NULL), 0);
    map_world_pass_ms(&fx->w, 300);
    assert_int_equal(map_world_put(&fx->w, "third", "1", 0, NULL), 0);
    map_world_until(&fx->w, has_third, fx); /* the watch has a token again too */
}

/* What is said of an unreachable store becomes another thing with the next try. */
static bool blames(struct cairn_map_store *store, const char *what)
{
    struct cairn_map_health h;

    cairn_map_store_health(store, &h);
    return !h.reachable && strstr(h.err.text, what) != NULL;
}

static bool blames_the_password(void *store)
{
    return blames(store, "invalid user ID or password");
}

static void a_wrong_password_is_said(void **state)
{
    struct fixture *fx = *state;
    char url[64];
    const char *endpoints[] = { url_of(url, "http", etcd_port(fx->server)) };
    struct cairn_map_etcd_conf conf = { .endpoints = endpoints, .nendpoints = 1, .user = "root", .password = "no" };
    struct cairn_map_read r = { .prefix = "" };
    struct cairn_map_health h;
    struct cairn_err err = { 0 };

    post(fx, "auth/user/add", "{\"name\":\"root\",\"password\":\"yes\"}");
    post(fx, "auth/role/add", "{\"name\":\"root\"}");
    post(fx, "auth/user/grant", "{\"user\":\"root\",\"role\":\"root\"}");
    post(fx, "auth/enable", "{}");
    must_open(fx, &conf);
    map_world_until(&fx->w, blames_the_password, fx->w.store);
    assert_int_equal(cairn_map_store_await(fx->w.store, 0, &err), CAIRN_E_TIMEOUT);
    assert_non_null(strstr(err.text, "invalid user ID or password"));
    assert_int_equal(map_world_read(&fx->w, fx->w.store, &r), CAIRN_E_AUTH);
    assert_non_null(strstr(r.op.err.text, "invalid user ID or password"));
    cairn_map_store_health(fx->w.store, &h);
    assert_false(h.reachable);
}

/* ---- TLS ---- */

static bool blames_the_certificate(void *store)
{
    return blames(store, "SSL certificate problem");
}

static int setup_tls(void **state)
{
    static const char script[] =
        "cd %s && "
        "openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -subj /CN=ca -days 2 && "
        "printf 'subjectAltName=IP:127.0.0.1\\nextendedKeyUsage=serverAuth,clientAuth\\n' >ext && "
        "for who in server client; do "
        "openssl req -newkey rsa:2048 -nodes -keyout $who.key -out $who.csr -subj /CN=$who && "
        "openssl x509 -req -in $who.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out $who.pem -days 2 -extfile ext || "
        "exit 1; done";
    char dir[SCRATCH_MAX], command[1024];

    scratch_new(dir);
    snprintf(command, sizeof(command), "( ");
    snprintf(command + 2, sizeof(command) - 2, script, dir);
    strncat(command, " ) >/dev/null 2>&1", sizeof(command) - strlen(command) - 1);
    assert_int_equal(system(command), 0);
    return setup_with(state, dir);
}

static void tls_proves_both_sides(void **state)
{
    struct fixture *fx = *state;
    char url[64], ca[80], cert[80], key[80];
    const char *endpoints[] = { url_of(url, "https", etcd_port(fx->server)) };
    struct cairn_map_etcd_conf conf = { .endpoints = endpoints, .nendpoints = 1 };

    must_open(fx, &conf);                                         /* does not trust that server */
    map_world_until(&fx->w, blames_the_certificate, fx->w.store); /* however long that server takes at first */
    cairn_map_store_close(fx->w.store);
    snprintf(ca, sizeof(ca), "%s/ca.pem", fx->dir);
    conf.ca_file = ca;
    must_open(fx, &conf); /* is not trusted by it */
    map_world_until(&fx->w, is_unreachable, fx->w.store);
    cairn_map_store_close(fx->w.store);
    snprintf(cert, sizeof(cert), "%s/client.pem", fx->dir);
    snprintf(key, sizeof(key), "%s/client.key", fx->dir);
    conf.cert_file = cert;
    conf.key_file = key;
    must_open(fx, &conf);
    must_await(fx);
    assert_int_equal(map_world_put(&fx->w, "first", "1", 0, NULL), 0);
    assert_string_equal(map_world_listed(&fx->w, fx->w.store, ""), "first=1 ");
}

static void a_configuration_is_checked(void **state)
{
    static const char *const none[] = { "127.0.0.1:2379" }, *const good[] = { "http://127.0.0.1:2379" };
    const struct cairn_map_etcd_conf bad[] = {
        { .endpoints = none, .nendpoints = 0, .prefix = "/c/" },
        { .endpoints = none, .nendpoints = 1, .prefix = "/c/" },
        { .endpoints = good, .nendpoints = 1, .prefix = "" },
        { .endpoints = good, .nendpoints = 1, .prefix = "/c c/" },
    };
    struct fixture *fx = *state;

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        assert_int_equal(cairn_map_store_etcd_open(&bad[i], &fx->loop, &fx->w.store, NULL), CAIRN_E_INVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_configuration_is_checked, setup, teardown),
        cmocka_unit_test_setup_teardown(a_change_is_sent_once, setup, teardown),
        cmocka_unit_test_setup_teardown(an_answered_change_is_in_the_view, setup, teardown),
        cmocka_unit_test_setup_teardown(entries_behind_the_view_are_only_read, setup, teardown),
        cmocka_unit_test_setup_teardown(a_restart_is_survived, setup, teardown),
        cmocka_unit_test_setup_teardown(other_endpoints_are_tried, setup, teardown),
        cmocka_unit_test_setup_teardown(a_late_answer_is_no_dead_store, setup, teardown),
        cmocka_unit_test_setup_teardown(a_silent_server_is_left, setup, teardown),
        cmocka_unit_test_setup_teardown(another_store_is_noticed, setup, teardown),
        cmocka_unit_test_setup_teardown(tokens_are_renewed, setup, teardown),
        cmocka_unit_test_setup_teardown(a_wrong_password_is_said, setup, teardown),
        cmocka_unit_test_setup_teardown(tls_proves_both_sides, setup_tls, teardown),
    };

    return etcd_is_there() ? cmocka_run_group_tests(tests, NULL, NULL) : 0;
}
