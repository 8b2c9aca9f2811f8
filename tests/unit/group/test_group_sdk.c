/* Members as applications see them: a node's group, filled by packets that a member of the test's own sends. */
#include "cairn/group.h"
#include "cairn/server.h"
#include "providers/group/group_seal.h"
#include "providers/group/swim_packet.h"
#include "sdk/core/rpc/auth.h"
#include "tests/lib/patience.h"
#include "tests/lib/scratch.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static const char cluster_text[] = "000102030405060708090a0b0c0d0e0f";
static const char key_text[] = "abababababababababababababababababababababababababababababababab";

struct fixture {
    char dir[SCRATCH_MAX];
    struct cairn_server *node;
    struct cairn *c;
    struct group_seal seal;
    int fd;
    struct sockaddr_in to;
    uint32_t told, dead;
    int over;
    char last[64];
};

static void write_file(const char *path, unsigned mode, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static void write_file(const char *path, unsigned mode, const char *fmt, ...)
{
    FILE *f = fopen(path, "w");
    va_list ap;

    assert_non_null(f);
    va_start(ap, fmt);
    vfprintf(f, fmt, ap);
    va_end(ap);
    fclose(f);
    assert_int_equal(chmod(path, mode), 0);
}

static void start_node(struct fixture *fx)
{
    struct cairn_server_options o = CAIRN_SERVER_OPTIONS_INIT;
    char conf[128], key[128], text[1024];

    snprintf(conf, sizeof(conf), "%s/cairn.yaml", fx->dir);
    snprintf(key, sizeof(key), "%s/key", fx->dir);
    write_file(key, 0600, "%s\n", key_text);
    write_file(conf, 0600,
               "node: {name: me, data: %s/data, cluster: '%s', workers: 2, log_file: %s/log}\n"
               "workspace: %s/ws\nlisten: ['unix://node.sock']\nauth: {key_file: %s}\n"
               "providers:\n  - {type: kv, name: kv, backend: memory}\n"
               "  - {type: extent, name: extent, backend: memory}\n"
               "  - {type: group, name: g, listen: 'udp://127.0.0.1:0'}\n",
               fx->dir, cluster_text, fx->dir, fx->dir, key);
    o.file = conf;
    if (cairn_server_start(&o, &fx->node, text, sizeof(text)) != 0)
        fail_msg("%s", text);
}

static int setup(void **state)
{
    struct fixture *fx = calloc(1, sizeof(*fx));
    struct cairn_options o = CAIRN_OPTIONS_INIT;
    struct cairn_members *m;
    uint8_t key[CAIRN_KEY_BYTES], cluster[CAIRN_CLUSTER_ID_BYTES];
    unsigned port;

    scratch_new(fx->dir);
    *state = fx;
    start_node(fx);
    o.workspace = cairn_server_workspace(fx->node);
    assert_int_equal(cairn_connect(&o, &fx->c, NULL), 0);
    assert_int_equal(cairn_members(fx->c, NULL, &m, NULL), 0);
    assert_int_equal(m->n, 1);
    assert_true(m->members[0].self);
    assert_true(m->joined);
    assert_string_equal(m->group, "main");
    assert_int_equal(sscanf(m->members[0].address, "udp://127.0.0.1:%u", &port), 1);
    cairn_free(m);
    memset(key, 0xab, sizeof(key));
    for (uint8_t i = 0; i < sizeof(cluster); i++)
        cluster[i] = i;
    assert_int_equal(group_seal_init(&fx->seal, key, cluster, "main", 4711, 1, 8), 0);
    fx->fd = socket(AF_INET, SOCK_DGRAM, 0);
    assert_true(fx->fd >= 0);
    fx->to = (struct sockaddr_in){ .sin_family = AF_INET,
                                   .sin_port = htons((uint16_t)port),
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fx = *state;

    cairn_close(fx->c);
    cairn_server_free(fx->node);
    group_seal_fini(&fx->seal);
    close(fx->fd);
    scratch_remove(fx->dir);
    free(fx);
    return 0;
}

/* A rumour of one member: that it is alive, or in any other state. */
static void say(struct fixture *fx, uint32_t i, uint8_t state, uint64_t incarnation)
{
    struct cairn_swim_msg head = { .kind = CAIRN_SWIM_GOSSIP };
    struct cairn_swim_desc d = { .weight = i, .capacity = 1u << 30 };
    struct cairn_swim_update u = { .incarnation = incarnation };
    uint8_t body[CAIRN_SWIM_PACKET_BYTES_MAX], bytes[CAIRN_SWIM_PACKET_BYTES_MAX + GROUP_SEAL_BYTES];
    struct cairn_le_writer w;
    size_t n;

    snprintf(d.name, sizeof(d.name), "m%03u", i);
    strcpy(d.zone, "z");
    d.id = cairn_swim_id(d.name, strlen(d.name));
    d.addr = (struct cairn_swim_addr){ .ip = { 127, 0, 0, 1 }, .port = 9, .len = 4 };
    cairn_swim_desc_to_update(&d, &u);
    u.state = state;
    u.nby = state == CAIRN_SWIM_ALIVE ? 0 : 1;
    cairn_swim_write_head(&w, body, &head);
    assert_true(cairn_swim_write_update(&w, &u));
    n = group_seal_close(&fx->seal, 0, body, (size_t)(w.at - body), bytes);
    assert_int_equal(sendto(fx->fd, bytes, n, 0, (struct sockaddr *)&fx->to, sizeof(fx->to)), n);
}

static void on_changed(void *arg, const struct cairn_member *m)
{
    struct fixture *fx = arg;

    fx->told++;
    fx->dead += m->state == CAIRN_MEMBER_DEAD;
    snprintf(fx->last, sizeof(fx->last), "%s %s", m->name, cairn_member_state_name(m->state));
    assert_int_equal(cairn_ping(fx->c, NULL), CAIRN_E_STATE); /* callbacks do not wait */
}

static void on_over(void *arg, int rc)
{
    struct fixture *fx = arg;

    fx->over = rc;
}

/* More members than a page has: none is missing and none is there twice. */
static void a_list_takes_as_many_pages_as_it_needs(void **state)
{
    enum { N = 300 };
    struct fixture *fx = *state;
    struct cairn_members *m = NULL;
    static uint8_t seen[N];

    memset(seen, 0, sizeof(seen));
    for (uint32_t i = 0; i < N; i++)
        say(fx, i, CAIRN_SWIM_ALIVE, 1);
    for (uint32_t tries = 0; tries < 500 && (m == NULL || m->n < N + 1); tries++) {
        cairn_free(m);
        m = NULL;
        assert_int_equal(cairn_members(fx->c, "g", &m, NULL), 0);
    }
    assert_int_equal(m->n, N + 1);
    for (size_t i = 0; i < m->n; i++) {
        unsigned k;

        if (m->members[i].self)
            continue;
        assert_int_equal(sscanf(m->members[i].name, "m%u", &k), 1);
        assert_true(k < N && !seen[k]);
        seen[k] = 1;
        assert_int_equal(m->members[i].weight, k);
        assert_string_equal(m->members[i].zone, "z");
        assert_string_equal(m->members[i].address, "udp://127.0.0.1:9");
    }
    cairn_free(m);
}

static void a_watch_tells_what_changes_until_it_is_canceled(void **state)
{
    struct fixture *fx = *state;
    struct cairn_call_options o = CAIRN_CALL_OPTIONS_INIT;
    uint64_t number;

    fx->over = 1;
    o.call = &number;
    assert_int_equal(cairn_members_watch(fx->c, NULL, on_changed, &o, on_over, fx), 0);
    WHILE_PATIENT (fx->told < 1)
        cairn_poll(fx->c, 10);
    assert_string_equal(fx->last, "me alive");
    cairn_poll(fx->c, 50); /* it waits at the node now */
    assert_int_equal(fx->told, 1);
    say(fx, 7, CAIRN_SWIM_ALIVE, 1);
    WHILE_PATIENT (fx->told < 2)
        cairn_poll(fx->c, 10);
    assert_string_equal(fx->last, "m007 alive");
    say(fx, 7, CAIRN_SWIM_DEAD, 1);
    WHILE_PATIENT (fx->dead < 1)
        cairn_poll(fx->c, 10);
    assert_string_equal(fx->last, "m007 silent");
    assert_int_equal(fx->over, 1);
    assert_int_equal(cairn_cancel(fx->c, number), 0);
    assert_int_equal(cairn_drain(fx->c, 10000), 0);
    assert_int_equal(fx->over, CAIRN_E_CANCELED);
}

static void what_is_not_there_is_said(void **state)
{
    struct fixture *fx = *state;
    struct cairn_members *m = NULL;
    struct cairn_error_info e;
    struct cairn_call_options o = CAIRN_CALL_OPTIONS_INIT;

    o.error = &e;
    assert_int_equal(cairn_members(fx->c, "nobody", &m, &o), CAIRN_E_NOPROVIDER);
    assert_non_null(strstr(e.text, "nobody"));
    assert_int_equal(cairn_members(fx->c, "kv", &m, &o), CAIRN_E_NOPROVIDER);
    assert_non_null(strstr(e.text, "of type kv"));
    assert_null(m);
    assert_int_equal(cairn_members_watch(fx->c, "g", NULL, &o, on_over, fx), CAIRN_E_INVAL);
    assert_int_equal(cairn_members_watch(fx->c, "g", on_changed, &o, NULL, fx), CAIRN_E_INVAL);
    assert_int_equal(cairn_members_async(fx->c, "g", &m, &o, NULL, fx), CAIRN_E_INVAL);
}

static const struct cairn_member_attributes attributes = { .size = sizeof(attributes),
                                                           .fields = CAIRN_MEMBER_WEIGHT,
                                                           .weight = 7 };

/* What is not given stays; what is out of range changes nothing. */
static void a_member_says_something_else_of_itself(void **state)
{
    struct fixture *fx = *state;
    struct cairn_member_attributes a = attributes;
    struct cairn_call_options o = CAIRN_CALL_OPTIONS_INIT;
    struct cairn_error_info e;
    struct cairn_members *m;
    uint64_t incarnation;

    o.error = &e;
    assert_int_equal(cairn_member_set(fx->c, NULL, &a, &o), 0);
    assert_int_equal(cairn_members(fx->c, NULL, &m, NULL), 0);
    assert_int_equal(m->members[0].weight, 7);
    assert_string_equal(m->members[0].zone, "");
    incarnation = m->members[0].incarnation;
    cairn_free(m);
    a.fields = CAIRN_MEMBER_ZONE | CAIRN_MEMBER_CAPACITY;
    a.zone = "rack7";
    a.capacity = UINT64_C(1) << 40;
    fx->over = 1;
    assert_int_equal(cairn_member_set_async(fx->c, "g", &a, &o, on_over, fx), 0);
    assert_int_equal(cairn_drain(fx->c, 10000), 0);
    assert_int_equal(fx->over, 0);
    a.fields = CAIRN_MEMBER_WEIGHT;
    a.weight = 1000001;
    assert_int_equal(cairn_member_set(fx->c, NULL, &a, &o), CAIRN_E_INVAL);
    assert_non_null(strstr(e.text, "weight"));
    a.fields = CAIRN_MEMBER_ZONE;
    a.zone = "a zone of more than thirty-one bytes";
    assert_int_equal(cairn_member_set(fx->c, NULL, &a, &o), CAIRN_E_INVAL);
    a.zone = "\n";
    assert_int_equal(cairn_member_set(fx->c, NULL, &a, &o), CAIRN_E_INVAL);
    assert_int_equal(cairn_members(fx->c, NULL, &m, NULL), 0);
    assert_int_equal(m->members[0].weight, 7);
    assert_string_equal(m->members[0].zone, "rack7");
    assert_int_equal(m->members[0].capacity, UINT64_C(1) << 40);
    assert_int_equal(m->members[0].incarnation, incarnation + 1); /* two changes, the second in one */
    cairn_free(m);
}

/* The address that a member was given is asked: a packet comes. */
static void a_node_asks_whom_it_is_told_to(void **state)
{
    struct fixture *fx = *state;
    struct sockaddr_in me = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    struct timeval patience = { .tv_sec = 20 };
    socklen_t len = sizeof(me);
    uint8_t bytes[2048];
    struct group_opened opened;
    struct cairn_members *m;
    char text[64];
    ssize_t n;

    assert_int_equal(bind(fx->fd, (struct sockaddr *)&me, sizeof(me)), 0);
    assert_int_equal(getsockname(fx->fd, (struct sockaddr *)&me, &len), 0);
    assert_int_equal(setsockopt(fx->fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)), 0);
    assert_int_equal(cairn_members(fx->c, NULL, &m, NULL), 0);
    snprintf(text, sizeof(text), "%s,udp://127.0.0.1:%u", m->members[0].address, ntohs(me.sin_port));
    assert_int_equal(cairn_group_join(fx->c, NULL, text, NULL), 0); /* itself, too: that does not matter */
    n = recv(fx->fd, bytes, sizeof(bytes), 0);
    assert_true(n > 0);
    assert_int_equal(group_seal_open(&fx->seal, bytes, (size_t)n, &opened), GROUP_SEAL_GOOD);
    assert_int_equal(opened.body[0], CAIRN_SWIM_SYNC);
    cairn_free(m);
}

static void wrong_changes_are_refused(void **state)
{
    static const char *const addresses[] = { "",
                                             "udp://127.0.0.1",
                                             "udp://127.0.0.1:0",
                                             "udp://127.0.0.1:1x",
                                             "udp://127.0.0.1:65536",
                                             "udp://cafe:7311",
                                             "udp://1.2.3.4.5:7311",
                                             "udp://[::1:7311",
                                             "udp://[]:7311",
                                             "tcp://127.0.0.1:7311",
                                             "udp://127.0.0.1:1,,udp://127.0.0.1:2",
                                             "udp://127.0.0.1:1;udp://127.0.0.1:2" };
    struct fixture *fx = *state;
    struct cairn_member_attributes a = attributes;
    char many[1024] = "";
    struct cairn_members *m;

    for (uint32_t i = 0; i < sizeof(addresses) / sizeof(addresses[0]); i++) {
        if (cairn_group_join(fx->c, NULL, addresses[i], NULL) != CAIRN_E_INVAL)
            fail_msg("'%s' was taken", addresses[i]);
    }
    for (uint32_t i = 0; i < 17; i++)
        snprintf(many + strlen(many), sizeof(many) - strlen(many), "%sudp://[::1]:%u", i > 0 ? "," : "", 100 + i);
    assert_int_equal(cairn_group_join(fx->c, NULL, many, NULL), CAIRN_E_INVAL);
    *strrchr(many, ',') = '\0';
    assert_int_equal(cairn_group_join(fx->c, NULL, many, NULL), 0);
    assert_int_equal(cairn_members(fx->c, NULL, &m, NULL), 0);
    assert_int_equal(cairn_group_join(fx->c, NULL, m->members[0].address, NULL), CAIRN_E_INVAL);
    cairn_free(m);
    assert_int_equal(cairn_group_join(fx->c, NULL, NULL, NULL), CAIRN_E_INVAL);
    assert_int_equal(cairn_group_join_async(fx->c, NULL, many, NULL, NULL, NULL), CAIRN_E_INVAL);
    assert_int_equal(cairn_group_join(fx->c, "kv", many, NULL), CAIRN_E_NOPROVIDER);
    assert_int_equal(cairn_member_set(fx->c, NULL, NULL, NULL), CAIRN_E_INVAL);
    assert_int_equal(cairn_member_set_async(fx->c, NULL, &a, NULL, NULL, NULL), CAIRN_E_INVAL);
    a.size = 0;
    assert_int_equal(cairn_member_set(fx->c, NULL, &a, NULL), CAIRN_E_INVAL);
    a = attributes;
    a.fields = 0;
    assert_int_equal(cairn_member_set(fx->c, NULL, &a, NULL), CAIRN_E_INVAL);
    a.fields = 8;
    assert_int_equal(cairn_member_set(fx->c, NULL, &a, NULL), CAIRN_E_INVAL);
    a.fields = CAIRN_MEMBER_ZONE; /* and no zone */
    assert_int_equal(cairn_member_set(fx->c, NULL, &a, NULL), CAIRN_E_INVAL);
}

/* The node ends while a watch waits at it: neither waits for the other. */
static void a_node_ends_under_a_watch(void **state)
{
    struct fixture *fx = *state;
    struct cairn_call_options o = CAIRN_CALL_OPTIONS_INIT;

    fx->over = 1;
    o.timeout_ms = 300;
    assert_int_equal(cairn_members_watch(fx->c, NULL, on_changed, &o, on_over, fx), 0);
    WHILE_PATIENT (fx->told < 1)
        cairn_poll(fx->c, 10);
    cairn_poll(fx->c, 50);
    cairn_server_request_stop(fx->node);
    WHILE_PATIENT (cairn_server_wait(fx->node, 0) != 0)
        cairn_poll(fx->c, 10);
    assert_int_equal(cairn_server_wait(fx->node, 0), 0);
    assert_true(fx->told < 10); /* nor do they talk in circles */
}

#define test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        test(a_list_takes_as_many_pages_as_it_needs),
        test(a_watch_tells_what_changes_until_it_is_canceled),
        test(what_is_not_there_is_said),
        test(a_member_says_something_else_of_itself),
        test(a_node_asks_whom_it_is_told_to),
        test(wrong_changes_are_refused),
        test(a_node_ends_under_a_watch),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
