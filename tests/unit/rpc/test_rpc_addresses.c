/* Sessions with a node of several addresses: who is refused, or finds nobody, at one of them. */
#include "rpc_fixture.h"

/* Beside the fixture's unix socket: over TCP the node wants a key, which the session does not have. */
struct door {
    struct fixture *fx;
    struct cairn_addr addr;
    struct cairn_watch listener;
    uint32_t accepts;
};

static void on_door(void *arg, uint32_t ready)
{
    struct door *d = arg;
    int fd = accept4(d->listener.fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

    (void)ready;
    assert_true(fd >= 0);
    d->accepts++;
    cairn_rpc_accept(d->fx->server, fd, false);
}

static void door_open(struct door *d, struct fixture *fx)
{
    int fd = -1;

    *d = (struct door){ .fx = fx };
    memset(fx->node.key, 7, sizeof(fx->node.key));
    fx->node.has_key = true;
    assert_int_equal(cairn_addr_parse("tcp://127.0.0.1:0", &d->addr, NULL), 0);
    assert_int_equal(cairn_addr_listen(&d->addr, 16, 0700, &fd, NULL), 0);
    assert_int_equal(cairn_watch_init(&d->listener, &fx->loop, fd, on_door, d), 0);
    assert_int_equal(cairn_watch_arm(&d->listener, CAIRN_WATCH_READ), 0);
}

static void door_close(struct door *d)
{
    close(d->listener.fd);
    cairn_watch_fini(&d->listener);
}

static void connect_two(struct fixture *fx, const struct cairn_addr *first, const struct cairn_addr *second)
{
    struct cairn_rpc_session_conf conf = { .naddrs = 2, .addrs = { *first, *second }, .name = "test" };

    fx->session = cairn_rpc_session_new(fx->client, &conf, NULL);
    assert_non_null(fx->session);
}

static void read_one(struct fixture *fx, struct probe *p, uint64_t ms)
{
    probe_prepare(fx, p, false, "abc");
    p->call.timeout_ns = ms * CAIRN_NS_PER_MS;
    cairn_rpc_call_start(&p->call);
    probe_wait(fx, p);
}

/* One node that is not as it should be, or another cluster's, is no reason to give up those that are. */
static void who_is_refused_at_one_address_enters_at_another(void **state)
{
    struct fixture *fx = *state;
    struct probe p;
    struct door d;

    listen_unix(fx);
    door_open(&d, fx);
    connect_two(fx, &d.addr, &fx->addr);
    read_one(fx, &p, 5000);
    assert_int_equal(p.call.rc, 0);
    assert_int_equal(d.accepts, 1); /* it was tried, and first */
    door_close(&d);
}

/* The one that would let us in is away: it is waited for, and at the end both are told. */
static void who_is_refused_at_one_address_waits_for_the_other(void **state)
{
    struct fixture *fx = *state;
    char none[128], addr[CAIRN_ADDR_TEXT_MAX];
    struct cairn_addr other;
    struct cairn_err why;
    struct probe p;
    struct door d;

    snprintf(none, sizeof(none), "unix://%s/s", fx->dir);
    assert_int_equal(cairn_addr_parse(none, &other, NULL), 0);
    door_open(&d, fx);
    connect_two(fx, &d.addr, &other);
    read_one(fx, &p, 200);
    cairn_addr_format(&d.addr, addr);
    assert_int_equal(p.call.rc, CAIRN_E_UNREACHABLE);
    assert_non_null(strstr(p.err.text, addr));
    assert_non_null(strstr(p.err.text, "asks for its cluster key"));
    assert_non_null(strstr(p.err.text, none));
    cairn_rpc_session_why(fx->session, &why);
    assert_int_equal(why.code, CAIRN_E_AUTH);
    probe_prepare(fx, &p, false, "abc");
    p.call.timeout_ns = 20 * CAIRN_NS_PER_S;
    cairn_rpc_call_start(&p.call);
    listen_unix(fx); /* it is back */
    probe_wait(fx, &p);
    assert_int_equal(p.call.rc, 0);
    cairn_rpc_session_why(fx->session, &why);
    assert_int_equal(why.code, 0);
    door_close(&d);
}

/* Where all refuse us nothing is waited for. */
static void who_is_refused_everywhere_hears_of_each(void **state)
{
    struct fixture *fx = *state;
    char addr[2][CAIRN_ADDR_TEXT_MAX];
    struct door d[2];
    struct probe p;

    for (int i = 0; i < 2; i++) {
        door_open(&d[i], fx);
        cairn_addr_format(&d[i].addr, addr[i]);
    }
    connect_two(fx, &d[0].addr, &d[1].addr);
    read_one(fx, &p, 60000);
    assert_int_equal(p.call.rc, CAIRN_E_AUTH);
    for (int i = 0; i < 2; i++) {
        assert_non_null(strstr(p.err.text, addr[i]));
        assert_int_equal(d[i].accepts, 1);
        door_close(&d[i]);
    }
}

static void nobody_listens(void **state)
{
    struct fixture *fx = *state;
    struct probe p;
    char text[128];

    snprintf(text, sizeof(text), "unix://%s/none", fx->dir);
    assert_int_equal(cairn_addr_parse(text, &fx->addr, NULL), 0);
    connect_session(fx, NULL);
    probe_start(fx, &p, false, "k");
    p.call.deadline_ns = cairn_loop_now(&fx->loop) + 30 * CAIRN_NS_PER_MS;
    probe_wait(fx, &p);
    assert_int_equal(p.call.rc, CAIRN_E_UNREACHABLE);
    assert_non_null(strstr(p.err.text, text));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(who_is_refused_at_one_address_enters_at_another),
        T(who_is_refused_at_one_address_waits_for_the_other),
        T(who_is_refused_everywhere_hears_of_each),
        T(nobody_listens),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
