/* Calls, local and over a socket: both ends live on one loop, so each story is one thread. */
#include "sdk/core/rpc/accept.h"
#include "sdk/core/rpc/peer.h"
#include "sdk/core/rpc/rpc_internal.h"
#include "sdk/core/rpc/session.h"

#include "schema/common.pb-c.h"
#include "schema/kv.pb-c.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { TARGET = 20, TURNS_MAX = 200000 };

/* A target that remembers what it was asked, and answers when told to. */
struct fixture {
    struct cairn_loop loop;
    struct cairn_rpc *server, *client;
    struct cairn_rpc_target target;
    struct cairn_rpc_node node;
    struct cairn_rpc *workers[1];
    struct cairn_rpc_budget budget;
    struct cairn_watch listener;
    struct cairn_addr addr;
    struct cairn_rpc_session *session;
    char dir[64];
    /* the target's memory */
    struct cairn_rpc_req *held[64];
    uint32_t nheld, puts, cancels, accepts;
    bool hold;
    bool closed;
};

static void on_req_cancel(struct cairn_rpc_req *rq, void *arg)
{
    struct fixture *fx = arg;

    fx->cancels++;
    for (uint32_t i = 0; i < fx->nheld; i++) {
        if (fx->held[i] == rq)
            fx->held[i] = fx->held[--fx->nheld];
    }
    cairn_rpc_reply(rq, CAIRN_E_CANCELED, NULL, NULL, 0);
}

static void handle_put(struct cairn_rpc_req *rq)
{
    struct fixture *fx = rq->target->ctx;

    fx->puts++;
    if (fx->hold) {
        rq->on_cancel = on_req_cancel;
        rq->on_cancel_arg = fx;
        fx->held[fx->nheld++] = rq;
        return;
    }
    cairn_rpc_reply(rq, 0, NULL, NULL, 0);
}

static void handle_get(struct cairn_rpc_req *rq)
{
    const Cairn__Wire__KvGet *m = (const Cairn__Wire__KvGet *)rq->msg;
    struct iovec v = { .iov_base = m->key.data, .iov_len = m->key.len };

    if (((struct fixture *)rq->target->ctx)->hold) {
        handle_put(rq);
        return;
    }
    if (m->key.len > 0 && m->key.data[0] == '#') /* never answered: the connection is gone each time */
        cairn_conn_fail(&rq->conn->conn, CAIRN_E_PROTO);
    if (m->key.len > 0 && m->key.data[0] == '!')
        cairn_rpc_reply_err(rq, CAIRN_E_NOTFOUND, "no key '%.*s'", (int)m->key.len, m->key.data);
    else
        cairn_rpc_reply(rq, 0, NULL, &v, 1);
}

static cairn_rpc_handler *const handlers[15] = {
    [CAIRN__WIRE__KV_METHOD__KV_PUT] = handle_put,
    [CAIRN__WIRE__KV_METHOD__KV_GET] = handle_get,
};

static void on_listener(void *arg, uint32_t ready)
{
    struct fixture *fx = arg;
    int fd = accept4(fx->listener.fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

    (void)ready;
    assert_true(fd >= 0);
    fx->accepts++;
    cairn_rpc_accept(fx->server, fd, cairn_addr_is_unix(&fx->addr));
}

static int listen_on(struct fixture *fx, const char *text)
{
    struct cairn_err err = { 0 };
    int fd = -1;

    assert_int_equal(cairn_addr_parse(text, &fx->addr, &err), 0);
    assert_int_equal(cairn_addr_listen(&fx->addr, 16, 0700, &fd, &err), 0);
    assert_int_equal(cairn_watch_init(&fx->listener, &fx->loop, fd, on_listener, fx), 0);
    assert_int_equal(cairn_watch_arm(&fx->listener, CAIRN_WATCH_READ), 0);
    return 0;
}

static int setup(void **state)
{
    struct fixture *fx = calloc(1, sizeof(*fx));
    struct cairn_rpc_conf conf = { .inflight_max = 16, .inflight_bytes_max = 1 << 20, .output_bytes_max = 1 << 20 };

    fx->target = (struct cairn_rpc_target){
        .iface = &cairn_iface_kv, .handlers = handlers, .ctx = fx, .name = "t", .id = TARGET
    };
    conf.targets = &fx->target;
    conf.ntargets = 1;
    fx->budget.bytes_max = 64 << 20;
    conf.budget = &fx->budget;
    assert_int_equal(cairn_loop_init(&fx->loop, NULL, NULL), 0);
    fx->server = cairn_rpc_new(&fx->loop, &conf, NULL);
    conf.ntargets = 0;
    conf.budget = NULL;
    fx->client = cairn_rpc_new(&fx->loop, &conf, NULL);
    fx->workers[0] = fx->server;
    fx->node = (struct cairn_rpc_node){ .incarnation = 77,
                                        .name = "n1",
                                        .connections_max = 8,
                                        .workers = fx->workers,
                                        .nworkers = 1,
                                        .session_ttl_ns = 60 * CAIRN_NS_PER_S,
                                        .stalled_ns = 30 * CAIRN_NS_PER_S };
    cairn_rpc_serve(fx->server, &fx->node);
    strcpy(fx->dir, "/tmp/cairn-rpc-XXXXXX");
    assert_non_null(mkdtemp(fx->dir));
    *state = fx;
    return 0;
}

static void turn_until(struct fixture *fx, bool (*over)(struct fixture *fx))
{
    for (int i = 0; i < TURNS_MAX && !over(fx); i++)
        cairn_loop_turn(&fx->loop, 10 * CAIRN_NS_PER_MS);
    assert_true(over(fx));
}

static void on_session_closed(void *arg)
{
    ((struct fixture *)arg)->closed = true;
}

static bool is_closed(struct fixture *fx)
{
    return fx->closed;
}

static bool no_peers(struct fixture *fx)
{
    return fx->server->npeers == 0 && fx->client->npeers == 0 && fx->server->nreqs == 0;
}

static int teardown(void **state)
{
    struct fixture *fx = *state;
    char cmd[128];

    if (fx->session != NULL) {
        fx->closed = false;
        cairn_rpc_session_close(fx->session, on_session_closed, fx);
        turn_until(fx, is_closed);
    }
    if (fx->listener.fd > 0) {
        close(fx->listener.fd);
        cairn_watch_fini(&fx->listener);
    }
    turn_until(fx, no_peers);
    fx->closed = false;
    cairn_rpc_drain(fx->server, cairn_loop_now(&fx->loop) + CAIRN_NS_PER_S, on_session_closed, fx);
    turn_until(fx, is_closed);
    assert_int_equal(atomic_load(&fx->budget.bytes), 0);
    cairn_rpc_free(fx->server);
    cairn_rpc_free(fx->client);
    cairn_loop_fini(&fx->loop);
    snprintf(cmd, sizeof(cmd), "rm -rf %s", fx->dir);
    assert_int_equal(system(cmd), 0);
    free(fx);
    return 0;
}

/* One call and its outcome. */
struct probe {
    struct cairn_rpc_call call;
    Cairn__Wire__KvGet get;
    Cairn__Wire__KvPut put;
    struct cairn_err err;
    bool done;
    char value[64];
};

static void on_done(struct cairn_rpc_call *call)
{
    struct probe *p = call->arg;

    p->done = true;
    assert_true(call->reply_payload_len < sizeof(p->value));
    if (call->rc == 0 && call->reply_payload_len > 0)
        memcpy(p->value, call->reply_payload, call->reply_payload_len);
}

static void probe_prepare(struct fixture *fx, struct probe *p, bool put, const char *key)
{
    memset(p, 0, sizeof(*p));
    cairn__wire__kv_get__init(&p->get);
    cairn__wire__kv_put__init(&p->put);
    p->get.key.data = p->put.key.data = (uint8_t *)(uintptr_t)key;
    p->get.key.len = p->put.key.len = strlen(key);
    p->call.dest.rpc = fx->session != NULL ? fx->client : fx->server;
    p->call.dest.session = fx->session;
    p->call.iface = &cairn_iface_kv;
    p->call.provider = TARGET;
    p->call.method = put ? CAIRN__WIRE__KV_METHOD__KV_PUT : CAIRN__WIRE__KV_METHOD__KV_GET;
    p->call.msg = put ? &p->put.base : &p->get.base;
    p->call.timeout_ns = 5 * CAIRN_NS_PER_S;
    p->call.done = on_done;
    p->call.arg = p;
    p->call.err = &p->err;
}

static void probe_start(struct fixture *fx, struct probe *p, bool put, const char *key)
{
    probe_prepare(fx, p, put, key);
    cairn_rpc_call_start(&p->call);
}

static void probe_wait(struct fixture *fx, struct probe *p)
{
    for (int i = 0; i < TURNS_MAX && !p->done; i++)
        cairn_loop_turn(&fx->loop, 10 * CAIRN_NS_PER_MS);
    assert_true(p->done);
}

static void connect_session(struct fixture *fx, const struct cairn_rpc_session_conf *more)
{
    struct cairn_rpc_session_conf conf = { 0 };

    if (more != NULL)
        conf = *more;
    conf.addrs[0] = fx->addr;
    conf.naddrs = 1;
    strcpy(conf.name, "test");
    fx->session = cairn_rpc_session_new(fx->client, &conf, NULL);
    assert_non_null(fx->session);
}

static void listen_unix(struct fixture *fx)
{
    char text[128];

    snprintf(text, sizeof(text), "unix://%s/s", fx->dir);
    listen_on(fx, text);
}

static void local_call_is_answered_later(void **state)
{
    struct fixture *fx = *state;
    struct probe p;

    probe_start(fx, &p, false, "abc");
    assert_false(p.done); /* never inside the call that started it */
    probe_wait(fx, &p);
    assert_int_equal(p.call.rc, 0);
    assert_string_equal(p.value, "abc");
}

static void local_error_brings_its_text(void **state)
{
    struct fixture *fx = *state;
    struct probe p;

    probe_start(fx, &p, false, "!x");
    probe_wait(fx, &p);
    assert_int_equal(p.call.rc, CAIRN_E_NOTFOUND);
    assert_string_equal(p.err.text, "no key '!x'");
}

static void unix_call_and_error(void **state)
{
    struct fixture *fx = *state;
    struct probe p;

    listen_unix(fx);
    connect_session(fx, NULL);
    probe_start(fx, &p, false, "abc");
    probe_wait(fx, &p);
    assert_int_equal(p.call.rc, 0);
    assert_string_equal(p.value, "abc");
    probe_start(fx, &p, false, "!x");
    probe_wait(fx, &p);
    assert_int_equal(p.call.rc, CAIRN_E_NOTFOUND);
    assert_string_equal(p.err.text, "no key '!x'");
    assert_string_equal(cairn_rpc_session_facts(fx->session)->node, "n1");
    assert_true(cairn_rpc_session_facts(fx->session)->admin);
}

static void many_calls_keep_to_their_credits(void **state)
{
    struct fixture *fx = *state;
    static struct probe p[200];

    listen_unix(fx);
    connect_session(fx, NULL);
    for (uint32_t i = 0; i < ARRAY_SIZE(p); i++)
        probe_start(fx, &p[i], i % 3 == 0, "k");
    for (uint32_t i = 0; i < ARRAY_SIZE(p); i++) {
        probe_wait(fx, &p[i]);
        assert_int_equal(p[i].call.rc, 0);
        assert_true(fx->server->nreqs <= 16);
    }
    assert_int_equal(fx->puts, 67);
}

static void unknown_provider_and_method(void **state)
{
    struct fixture *fx = *state;
    struct probe p;

    listen_unix(fx);
    connect_session(fx, NULL);
    probe_start(fx, &p, false, "k");
    p.call.provider = 99; /* not sent yet: there is no connection */
    probe_wait(fx, &p);
    assert_int_equal(p.call.rc, CAIRN_E_NOPROVIDER);
    probe_start(fx, &p, false, "k");
    probe_wait(fx, &p);
    assert_int_equal(p.call.rc, 0);
    memset(&p, 0, sizeof(p));
    Cairn__Wire__KvStat stat = CAIRN__WIRE__KV_STAT__INIT;
    p.call = (struct cairn_rpc_call){ .dest = { .rpc = fx->client, .session = fx->session },
                                      .iface = &cairn_iface_kv,
                                      .provider = TARGET,
                                      .method = CAIRN__WIRE__KV_METHOD__KV_STAT,
                                      .msg = &stat.base,
                                      .done = on_done,
                                      .arg = &p };
    cairn_rpc_call_start(&p.call);
    probe_wait(fx, &p);
    assert_int_equal(p.call.rc, CAIRN_E_NOMETHOD);
}

static bool one_held(struct fixture *fx)
{
    return fx->nheld == 1;
}

static bool one_cancel(struct fixture *fx)
{
    return fx->cancels == 1;
}

static void cancel_reaches_the_target(void **state)
{
    struct fixture *fx = *state;
    struct probe p;

    listen_unix(fx);
    connect_session(fx, NULL);
    fx->hold = true;
    probe_start(fx, &p, false, "k");
    turn_until(fx, one_held);
    cairn_rpc_call_cancel(&p.call);
    assert_false(p.done);
    probe_wait(fx, &p);
    assert_int_equal(p.call.rc, CAIRN_E_CANCELED);
    turn_until(fx, one_cancel);
    assert_int_equal(atomic_load(&fx->node.counters.requests_canceled), 1);
    assert_int_equal(fx->nheld, 0);
    fx->hold = false;
    probe_start(fx, &p, false, "k2"); /* the late answer of the first finds no other call */
    probe_wait(fx, &p);
    assert_string_equal(p.value, "k2");
}

static void deadline_ends_a_call(void **state)
{
    struct fixture *fx = *state;
    struct probe p;

    listen_unix(fx);
    connect_session(fx, NULL);
    probe_start(fx, &p, false, "warm");
    probe_wait(fx, &p);
    fx->hold = true;
    probe_start(fx, &p, false, "k");
    p.call.deadline_ns = cairn_loop_now(&fx->loop) + 20 * CAIRN_NS_PER_MS;
    cairn_rpc__peer_want(cairn_rpc_session_peer(fx->session), p.call.deadline_ns);
    probe_wait(fx, &p);
    assert_int_equal(p.call.rc, CAIRN_E_TIMEOUT);
    turn_until(fx, one_cancel);
}

/* The connection is lost while a change runs: the retry finds the answer, and the change is made once. */
static void retry_never_applies_twice(void **state)
{
    struct fixture *fx = *state;
    struct probe p;

    listen_unix(fx);
    connect_session(fx, NULL);
    fx->hold = true;
    probe_start(fx, &p, true, "k");
    turn_until(fx, one_held);
    cairn_conn_fail(&cairn_rpc_session_peer(fx->session)->conn, CAIRN_E_CLOSED);
    for (int i = 0; i < TURNS_MAX && (fx->accepts < 2 || !cairn_rpc_session_is_up(fx->session)); i++)
        cairn_loop_turn(&fx->loop, 10 * CAIRN_NS_PER_MS);
    for (int i = 0; i < 3; i++)
        cairn_loop_turn(&fx->loop, 0);
    assert_int_equal(fx->puts, 1);
    assert_int_equal(fx->nheld, 1);
    assert_false(p.done);
    cairn_rpc_reply(fx->held[0], 0, NULL, NULL, 0);
    fx->nheld = 0;
    probe_wait(fx, &p);
    assert_int_equal(p.call.rc, 0);
    assert_int_equal(fx->puts, 1);
    assert_int_equal(atomic_load(&fx->node.counters.retries_recognised), 1);
    assert_int_equal(atomic_load(&fx->node.counters.sessions_resumed), 1);
}

/* The answer was lost with the connection: the retry is told it again. */
static void lost_answer_is_told_again(void **state)
{
    struct fixture *fx = *state;
    struct probe p;

    listen_unix(fx);
    connect_session(fx, NULL);
    fx->hold = true;
    probe_start(fx, &p, true, "k");
    turn_until(fx, one_held);
    cairn_rpc_reply(fx->held[0], 0, NULL, NULL, 0);
    fx->nheld = 0;
    cairn_conn_fail(&cairn_rpc_session_peer(fx->session)->conn, CAIRN_E_CLOSED); /* before the answer is read */
    probe_wait(fx, &p);
    assert_int_equal(p.call.rc, 0);
    assert_int_equal(fx->puts, 1);
}

/* A connection writes as soon as it has many answers, and its buffer may be gone before the last is remembered. */
static void answers_are_remembered_before_they_leave(void **state)
{
    struct fixture *fx = *state;
    static struct probe p[16];

    listen_unix(fx);
    connect_session(fx, NULL);
    fx->hold = true;
    for (uint32_t i = 0; i < ARRAY_SIZE(p); i++)
        probe_start(fx, &p[i], true, "k");
    for (int i = 0; i < TURNS_MAX && fx->nheld < ARRAY_SIZE(p); i++)
        cairn_loop_turn(&fx->loop, 10 * CAIRN_NS_PER_MS);
    fx->server->net.nspare += 2 * CAIRN_NET_SPARE_CHUNKS_MAX; /* as if other connections had given theirs back */
    while (fx->nheld > 0)
        cairn_rpc_reply_err(fx->held[--fx->nheld], CAIRN_E_NOTFOUND, "no such key");
    fx->server->net.nspare -= 2 * CAIRN_NET_SPARE_CHUNKS_MAX;
    for (uint32_t i = 0; i < ARRAY_SIZE(p); i++) {
        probe_wait(fx, &p[i]);
        assert_int_equal(p[i].call.rc, CAIRN_E_NOTFOUND);
    }
}

/* A caller that uses all of its credits is still heard: its answers to our calls, by which it may be sending the bytes
 * that its requests wait for, and its cancels. */
static void a_full_window_stops_requests_only(void **state)
{
    struct fixture *fx = *state;
    static struct probe p[16];
    struct probe back;

    listen_unix(fx);
    connect_session(fx, NULL);
    fx->hold = true;
    for (uint32_t i = 0; i < ARRAY_SIZE(p); i++)
        probe_start(fx, &p[i], false, "k");
    for (int i = 0; i < TURNS_MAX && fx->nheld < ARRAY_SIZE(p); i++)
        cairn_loop_turn(&fx->loop, 10 * CAIRN_NS_PER_MS);
    probe_prepare(fx, &back, false, "b");
    back.call.dest = (struct cairn_rpc_dest){ .rpc = fx->server, .peer = fx->held[0]->peer };
    cairn_rpc_call_start(&back.call);
    probe_wait(fx, &back);
    assert_int_equal(back.call.rc, CAIRN_E_NOPROVIDER); /* it offers nothing, and says so */
    cairn_rpc_call_cancel(&p[3].call);
    turn_until(fx, one_cancel);
    while (fx->nheld > 0)
        cairn_rpc_reply(fx->held[--fx->nheld], 0, NULL, NULL, 0);
    for (uint32_t i = 0; i < ARRAY_SIZE(p); i++)
        probe_wait(fx, &p[i]);
}

/* The new connection is accepted by another worker than the one that has the session: it goes there. */
static void a_session_is_found_on_its_worker(void **state)
{
    struct fixture *fx = *state;
    struct cairn_rpc_conf conf = fx->server->conf;
    struct cairn_rpc *first = fx->server, *second, *workers[2];
    static struct probe p; /* the call outlives a failure here */

    conf.index = 1;
    second = cairn_rpc_new(&fx->loop, &conf, NULL);
    workers[0] = first;
    workers[1] = second;
    fx->node.workers = workers;
    fx->node.nworkers = 2;
    cairn_rpc_serve(second, &fx->node);
    listen_unix(fx);
    connect_session(fx, NULL);
    fx->hold = true;
    probe_start(fx, &p, true, "k");
    turn_until(fx, one_held);
    fx->server = second; /* who accepts from here on */
    cairn_conn_fail(&cairn_rpc_session_peer(fx->session)->conn, CAIRN_E_CLOSED);
    for (int i = 0; i < TURNS_MAX && atomic_load(&fx->node.counters.retries_recognised) == 0; i++)
        cairn_loop_turn(&fx->loop, 10 * CAIRN_NS_PER_MS);
    assert_int_equal(atomic_load(&fx->node.counters.sessions_resumed), 1);
    assert_int_equal(second->npeers, 0);
    assert_int_equal(atomic_load(&fx->node.counters.connections), 1);
    cairn_rpc_reply(fx->held[--fx->nheld], 0, NULL, NULL, 0);
    probe_wait(fx, &p);
    assert_int_equal(p.call.rc, 0);
    assert_int_equal(fx->puts, 1);
    cairn_rpc_session_close(fx->session, NULL, NULL);
    fx->session = NULL;
    fx->server = first;
    turn_until(fx, no_peers);
    cairn_rpc_free(second);
    fx->node.workers = fx->workers;
    fx->node.nworkers = 1;
}

/* Another process answers at the same address: what was under way is unknown, not repeated. */
static void restarted_node_makes_changes_unknown(void **state)
{
    struct fixture *fx = *state;
    struct probe put, get;

    listen_unix(fx);
    connect_session(fx, NULL);
    fx->hold = true;
    probe_start(fx, &put, true, "k");
    probe_start(fx, &get, false, "g");
    for (int i = 0; i < TURNS_MAX && fx->nheld < 2; i++)
        cairn_loop_turn(&fx->loop, CAIRN_NS_PER_MS);
    fx->node.incarnation = 78;
    fx->hold = false;
    cairn_conn_fail(&cairn_rpc_session_peer(fx->session)->conn, CAIRN_E_CLOSED);
    probe_wait(fx, &put);
    assert_int_equal(put.call.rc, CAIRN_E_UNKNOWN);
    probe_wait(fx, &get); /* a read is sent again */
    assert_int_equal(get.call.rc, 0);
    assert_string_equal(get.value, "g");
    cairn_rpc_reply(fx->held[0], 0, NULL, NULL, 0); /* the put of the lost connection */
    fx->nheld = 0;
}

/* Calls that were sent when their session closes end with it, and nothing of it is left behind. */
static void closing_ends_calls_that_were_sent(void **state)
{
    struct fixture *fx = *state;
    struct probe p;

    listen_unix(fx);
    connect_session(fx, NULL);
    fx->hold = true;
    probe_start(fx, &p, false, "k");
    turn_until(fx, one_held);
    cairn_rpc_session_close(fx->session, on_session_closed, fx);
    fx->session = NULL;
    turn_until(fx, is_closed);
    assert_true(p.done);
    assert_int_equal(p.call.rc, CAIRN_E_CLOSED);
    turn_until(fx, no_peers); /* the target was told; and no timer of the session is met on the way */
    assert_int_equal(atomic_load(&fx->node.counters.requests_canceled), fx->cancels); /* one truth, whatever the cause */
    assert_int_equal(fx->cancels, 1);
}

static void close_when_done(struct cairn_rpc_call *call)
{
    struct probe *p = call->arg;

    p->done = true;
    cairn_rpc_session_close(call->dest.session, NULL, NULL);
}

/* The answer is being read when its call's owner closes the session. */
static void a_session_may_be_closed_in_done(void **state)
{
    struct fixture *fx = *state;
    struct probe p, late;

    listen_unix(fx);
    connect_session(fx, NULL);
    probe_start(fx, &p, false, "k");
    p.call.done = close_when_done;
    probe_start(fx, &late, false, "l");
    fx->session = NULL;
    probe_wait(fx, &p);
    assert_int_equal(p.call.rc, 0);
    probe_wait(fx, &late);
    assert_int_equal(late.call.rc, CAIRN_E_CLOSED);
    turn_until(fx, no_peers);
}

/* Changes that nobody waits for any more when the connection is lost must not keep their numbers for good. */
static void abandoned_changes_give_their_numbers_back(void **state)
{
    struct fixture *fx = *state;
    struct probe p;

    listen_unix(fx);
    connect_session(fx, NULL);
    fx->hold = true;
    probe_start(fx, &p, true, "k");
    turn_until(fx, one_held);
    cairn_rpc_call_cancel(&p.call);
    cairn_conn_fail(&cairn_rpc_session_peer(fx->session)->conn, CAIRN_E_CLOSED);
    probe_wait(fx, &p);
    assert_int_equal(p.call.rc, CAIRN_E_CANCELED);
    fx->hold = false;
    for (uint32_t i = 0; i < 15; i++) { /* the others of the window */
        probe_start(fx, &p, true, "k");
        probe_wait(fx, &p);
        assert_int_equal(p.call.rc, 0);
    }
    probe_start(fx, &p, true, "k"); /* its number meets the change that the target still works on */
    probe_wait(fx, &p);
    assert_int_equal(p.call.rc, CAIRN_E_BUSY);
    assert_int_equal(fx->accepts, 2); /* for which nobody is thrown out */
    if (fx->nheld > 0)
        cairn_rpc_reply(fx->held[--fx->nheld], 0, NULL, NULL, 0);
    for (uint32_t i = 0; i < 40; i++) {
        probe_start(fx, &p, true, "k");
        probe_wait(fx, &p);
        assert_int_equal(p.call.rc, 0);
    }
    assert_int_equal(fx->accepts, 2);
}

/* A call that costs its connection each time is not sent again at full speed. */
static void a_poisonous_call_is_sent_with_pauses(void **state)
{
    struct fixture *fx = *state;
    struct probe p;

    listen_unix(fx);
    connect_session(fx, NULL);
    probe_start(fx, &p, false, "#");
    p.call.deadline_ns = cairn_loop_now(&fx->loop) + 300 * CAIRN_NS_PER_MS;
    probe_wait(fx, &p);
    assert_true(p.call.rc == CAIRN_E_TIMEOUT || p.call.rc == CAIRN_E_UNREACHABLE);
    assert_in_range(fx->accepts, 2, 12);
}

/* Who says goodbye will not come back: nothing is remembered for it. */
static void a_session_that_was_closed_is_forgotten(void **state)
{
    struct fixture *fx = *state;
    struct probe p;

    listen_unix(fx);
    connect_session(fx, NULL);
    probe_start(fx, &p, true, "k");
    probe_wait(fx, &p);
    cairn_rpc_session_close(fx->session, on_session_closed, fx);
    fx->session = NULL;
    turn_until(fx, no_peers);
    assert_true(cairn_list_is_empty(&fx->server->sessions));
    assert_int_equal(fx->server->nidle, 0);
}

/* Clients that change something and die are remembered, but not without bound. */
static void lost_sessions_are_bounded(void **state)
{
    struct fixture *fx = *state;
    struct probe p;

    listen_unix(fx);
    for (uint32_t i = 0; i < 12; i++) {
        connect_session(fx, NULL);
        probe_start(fx, &p, true, "k");
        probe_wait(fx, &p);
        cairn_conn_fail(&cairn_rpc_session_peer(fx->session)->conn, CAIRN_E_CLOSED);
        turn_until(fx, no_peers);
        cairn_rpc_session_close(fx->session, NULL, NULL);
        fx->session = NULL;
    }
    assert_int_equal(fx->server->nidle, 8); /* as many as may be connected */
}

/* A request that crosses the node's goodbye was not carried out: it waits for the node to come back, and is sent again. */
static void what_crosses_a_goodbye_is_sent_again(void **state)
{
    struct fixture *fx = *state;
    struct probe held, p;

    listen_unix(fx);
    connect_session(fx, NULL);
    fx->hold = true;
    probe_start(fx, &held, true, "held"); /* keeps the connection open while the node leaves */
    turn_until(fx, one_held);
    cairn_rpc__peer_leave(CONTAINER_OF(fx->server->peers.next, struct cairn_rpc_peer, link));
    probe_start(fx, &p, true, "k"); /* our end has not heard of it */
    for (int i = 0; i < 5; i++)
        cairn_loop_turn(&fx->loop, 0);
    assert_false(p.done);
    fx->hold = false;
    cairn_rpc_reply(fx->held[--fx->nheld], 0, NULL, NULL, 0);
    probe_wait(fx, &held);
    assert_int_equal(held.call.rc, 0);
    probe_wait(fx, &p);
    assert_int_equal(p.call.rc, 0);
    assert_int_equal(fx->puts, 2);
    assert_int_equal(fx->accepts, 2);
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

static void tcp_needs_the_key(void **state)
{
    struct fixture *fx = *state;
    struct cairn_rpc_session_conf conf = { .has_key = true };
    struct probe p;

    memset(fx->node.key, 7, sizeof(fx->node.key));
    fx->node.has_key = true;
    listen_on(fx, "tcp://127.0.0.1:0");
    memset(conf.key, 7, sizeof(conf.key));
    connect_session(fx, &conf);
    probe_start(fx, &p, false, "abc");
    probe_wait(fx, &p);
    assert_int_equal(p.call.rc, 0);
    assert_string_equal(cairn_rpc_session_facts(fx->session)->auth, "key");
}

static void wrong_key_is_refused(void **state)
{
    struct fixture *fx = *state;
    struct cairn_rpc_session_conf conf = { .has_key = true };
    struct probe p;

    memset(fx->node.key, 7, sizeof(fx->node.key));
    fx->node.has_key = true;
    listen_on(fx, "tcp://[::1]:0");
    memset(conf.key, 8, sizeof(conf.key));
    connect_session(fx, &conf);
    probe_start(fx, &p, false, "abc");
    probe_wait(fx, &p);
    assert_int_equal(p.call.rc, CAIRN_E_AUTH);
    assert_non_null(strstr(p.err.text, "does not hold this cluster's key"));
    assert_int_equal(atomic_load(&fx->node.counters.auth_failures), 1);
}

static void no_credential_is_refused(void **state)
{
    struct fixture *fx = *state;
    struct probe p;

    memset(fx->node.key, 7, sizeof(fx->node.key));
    fx->node.has_key = true;
    listen_on(fx, "tcp://127.0.0.1:0");
    connect_session(fx, NULL);
    probe_start(fx, &p, false, "abc");
    probe_wait(fx, &p);
    assert_int_equal(p.call.rc, CAIRN_E_AUTH);
}

/* Whoever listens in the node's place, and cannot prove that it holds the key, learns nothing of us. */
static void a_node_without_the_key_is_refused(void **state)
{
    struct fixture *fx = *state;
    struct cairn_rpc_session_conf conf = { .has_key = true };
    struct probe p;

    fx->node.insecure = true;
    listen_on(fx, "tcp://127.0.0.1:0");
    memset(conf.key, 7, sizeof(conf.key));
    connect_session(fx, &conf);
    probe_start(fx, &p, false, "abc");
    probe_wait(fx, &p);
    assert_int_equal(p.call.rc, CAIRN_E_AUTH);
    assert_non_null(strstr(p.err.text, "did not prove"));
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(local_call_is_answered_later),
        T(local_error_brings_its_text),
        T(unix_call_and_error),
        T(many_calls_keep_to_their_credits),
        T(unknown_provider_and_method),
        T(cancel_reaches_the_target),
        T(deadline_ends_a_call),
        T(retry_never_applies_twice),
        T(lost_answer_is_told_again),
        T(answers_are_remembered_before_they_leave),
        T(a_full_window_stops_requests_only),
        T(a_session_is_found_on_its_worker),
        T(restarted_node_makes_changes_unknown),
        T(closing_ends_calls_that_were_sent),
        T(a_session_may_be_closed_in_done),
        T(abandoned_changes_give_their_numbers_back),
        T(a_poisonous_call_is_sent_with_pauses),
        T(a_session_that_was_closed_is_forgotten),
        T(lost_sessions_are_bounded),
        T(what_crosses_a_goodbye_is_sent_again),
        T(nobody_listens),
        T(tcp_needs_the_key),
        T(wrong_key_is_refused),
        T(no_credential_is_refused),
        T(a_node_without_the_key_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
