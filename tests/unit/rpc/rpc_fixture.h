/** Both ends of the RPC layer on one loop, so that each story is one thread: a target that remembers what it was
 * asked and answers when told to, and calls to it, local or over a socket. */
#ifndef CAIRN_TEST_RPC_FIXTURE_H
#define CAIRN_TEST_RPC_FIXTURE_H

#include "sdk/core/rpc/accept.h"
#include "sdk/core/rpc/peer.h"
#include "sdk/core/rpc/rpc_internal.h"
#include "sdk/core/rpc/session.h"
#include "tests/lib/scratch.h"

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
    char dir[SCRATCH_MAX];
    /* the target's memory */
    struct cairn_rpc_req *held[64];
    uint32_t nheld, puts, cancels, accepts;
    bool hold, deaf; /* deaf: and does not hear of it when the caller gives up */
    bool closed;
    struct cairn_rpc_call *entangled, *starts_next; /* canceled, and started, by the first that is canceled */
};

static inline void on_req_cancel(struct cairn_rpc_req *rq, void *arg)
{
    struct fixture *fx = arg;

    fx->cancels++;
    if (fx->entangled != NULL) {
        struct cairn_rpc_call *other = fx->entangled;

        fx->entangled = NULL;
        cairn_rpc_call_start(fx->starts_next);
        cairn_rpc_call_cancel(other);
    }
    for (uint32_t i = 0; i < fx->nheld; i++) {
        if (fx->held[i] == rq)
            fx->held[i] = fx->held[--fx->nheld];
    }
    cairn_rpc_reply(rq, CAIRN_E_CANCELED, NULL, NULL, 0);
}

static inline void handle_put(struct cairn_rpc_req *rq)
{
    struct fixture *fx = rq->target->ctx;

    fx->puts++;
    if (fx->hold) {
        rq->on_cancel = fx->deaf ? NULL : on_req_cancel;
        rq->on_cancel_arg = fx;
        fx->held[fx->nheld++] = rq;
        return;
    }
    cairn_rpc_reply(rq, 0, NULL, NULL, 0);
}

static inline void handle_get(struct cairn_rpc_req *rq)
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

static cairn_rpc_handler *const handlers[32] = {
    [CAIRN__WIRE__KV_METHOD__KV_PUT] = handle_put,
    [CAIRN__WIRE__KV_METHOD__KV_GET] = handle_get,
};

static inline void on_listener(void *arg, uint32_t ready)
{
    struct fixture *fx = arg;
    int fd = accept4(fx->listener.fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

    (void)ready;
    assert_true(fd >= 0);
    fx->accepts++;
    cairn_rpc_accept(fx->server, fd, cairn_addr_is_unix(&fx->addr));
}

static inline int listen_on(struct fixture *fx, const char *text)
{
    struct cairn_err err = { 0 };
    int fd = -1;

    assert_int_equal(cairn_addr_parse(text, &fx->addr, &err), 0);
    assert_int_equal(cairn_addr_listen(&fx->addr, 16, 0700, &fd, &err), 0);
    assert_int_equal(cairn_watch_init(&fx->listener, &fx->loop, fd, on_listener, fx), 0);
    assert_int_equal(cairn_watch_arm(&fx->listener, CAIRN_WATCH_READ), 0);
    return 0;
}

static inline int setup(void **state)
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
    scratch_new(fx->dir);
    *state = fx;
    return 0;
}

static inline void turn_until(struct fixture *fx, bool (*over)(struct fixture *fx))
{
    for (int i = 0; i < TURNS_MAX && !over(fx); i++)
        cairn_loop_turn(&fx->loop, 10 * CAIRN_NS_PER_MS);
    assert_true(over(fx));
}

static inline void on_session_closed(void *arg)
{
    ((struct fixture *)arg)->closed = true;
}

static inline bool is_closed(struct fixture *fx)
{
    return fx->closed;
}

static inline bool no_peers(struct fixture *fx)
{
    return fx->server->npeers == 0 && fx->client->npeers == 0 && fx->server->nreqs == 0;
}

static inline int teardown(void **state)
{
    struct fixture *fx = *state;

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
    scratch_remove(fx->dir);
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

static inline void on_done(struct cairn_rpc_call *call)
{
    struct probe *p = call->arg;

    p->done = true;
    assert_true(call->reply_payload_len < sizeof(p->value));
    if (call->rc == 0 && call->reply_payload_len > 0)
        memcpy(p->value, call->reply_payload, call->reply_payload_len);
}

static inline void probe_prepare(struct fixture *fx, struct probe *p, bool put, const char *key)
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

static inline void probe_start(struct fixture *fx, struct probe *p, bool put, const char *key)
{
    probe_prepare(fx, p, put, key);
    cairn_rpc_call_start(&p->call);
}

static inline void probe_wait(struct fixture *fx, struct probe *p)
{
    for (int i = 0; i < TURNS_MAX && !p->done; i++)
        cairn_loop_turn(&fx->loop, 10 * CAIRN_NS_PER_MS);
    assert_true(p->done);
}

static inline void connect_session(struct fixture *fx, const struct cairn_rpc_session_conf *more)
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

static inline void listen_unix(struct fixture *fx)
{
    char text[128];

    snprintf(text, sizeof(text), "unix://%s/s", fx->dir);
    listen_on(fx, text);
}

/* Listens at a unix socket, where the client has a session that connects at its first call. */
static inline int setup_connected(void **state)
{
    setup(state);
    listen_unix(*state);
    connect_session(*state, NULL);
    return 0;
}

static inline bool one_cancel(struct fixture *fx)
{
    return fx->cancels == 1;
}

static inline void turn_until_held(struct fixture *fx, uint32_t n)
{
    for (int i = 0; i < TURNS_MAX && fx->nheld < n; i++)
        cairn_loop_turn(&fx->loop, 10 * CAIRN_NS_PER_MS);
    assert_int_equal(fx->nheld, n);
}

/* A call that the target has, and does not answer. */
static inline void probe_hold(struct fixture *fx, struct probe *p, bool put, const char *key)
{
    fx->hold = true;
    probe_start(fx, p, put, key);
    turn_until_held(fx, 1);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
#define C(name) cmocka_unit_test_setup_teardown(name, setup_connected, teardown)

#endif
