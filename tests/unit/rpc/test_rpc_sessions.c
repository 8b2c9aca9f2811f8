/* Sessions: connections that are lost and come back, and what was under way meanwhile. */
#include "rpc_fixture.h"

#include "schema/repl.pb-c.h"
#include "sdk/core/rpc/session_internal.h"

/* The connection is lost while a change runs: the retry finds the answer, and the change is made once. */
static void retry_never_applies_twice(void **state)
{
    struct fixture *fx = *state;
    struct probe p;

    probe_hold(fx, &p, true, "k");
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

    probe_hold(fx, &p, true, "k");
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

    fx->hold = true;
    for (uint32_t i = 0; i < ARRAY_SIZE(p); i++)
        probe_start(fx, &p[i], true, "k");
    turn_until_held(fx, ARRAY_SIZE(p));
    fx->server->net.nspare += 2 * CAIRN_NET_SPARE_CHUNKS_MAX; /* as if other connections had given theirs back */
    while (fx->nheld > 0)
        cairn_rpc_reply_err(fx->held[--fx->nheld], CAIRN_E_NOTFOUND, "no such key");
    fx->server->net.nspare -= 2 * CAIRN_NET_SPARE_CHUNKS_MAX;
    for (uint32_t i = 0; i < ARRAY_SIZE(p); i++) {
        probe_wait(fx, &p[i]);
        assert_int_equal(p[i].call.rc, CAIRN_E_NOTFOUND);
    }
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
    probe_hold(fx, &p, true, "k");
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

    fx->hold = true;
    probe_start(fx, &put, true, "k");
    probe_start(fx, &get, false, "g");
    turn_until_held(fx, 2);
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

    probe_hold(fx, &p, false, "k");
    cairn_rpc_session_close(fx->session, on_session_closed, fx);
    fx->session = NULL;
    turn_until(fx, is_closed);
    assert_true(p.done);
    assert_int_equal(p.call.rc, CAIRN_E_CLOSED);
    turn_until(fx, no_peers); /* the target was told; and no timer of the session is met on the way */
    assert_int_equal(atomic_load(&fx->node.counters.requests_canceled),
                     fx->cancels); /* one truth, whatever the cause */
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

    probe_hold(fx, &p, true, "k");
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

    probe_start(fx, &p, true, "k");
    probe_wait(fx, &p);
    cairn_rpc_session_close(fx->session, on_session_closed, fx);
    fx->session = NULL;
    turn_until(fx, no_peers);
    assert_int_equal(fx->server->nsessions, 0);
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

/* A request that crosses the node's goodbye was not carried out: it waits for the node to come back, and is sent
 * again. */
static void what_crosses_a_goodbye_is_sent_again(void **state)
{
    struct fixture *fx = *state;
    struct probe held, p;

    probe_hold(fx, &held, true, "held"); /* keeps the connection open while the node leaves */
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

/* Whoever answers at an address has to be the one that was looked for. */
static void another_node_is_not_the_one(void **state)
{
    struct fixture *fx = *state;
    struct cairn_rpc_session_conf conf = { .node = "n2" };
    struct probe p;

    listen_unix(fx);
    connect_session(fx, &conf);
    probe_start(fx, &p, true, "abc");
    p.call.deadline_ns = cairn_loop_now(&fx->loop) + 100 * CAIRN_NS_PER_MS;
    probe_wait(fx, &p);
    assert_int_equal(p.call.rc, CAIRN_E_UNREACHABLE);
    assert_non_null(strstr(p.err.text, "is node n1, not n2"));
    assert_int_equal(fx->puts, 0);
}

/* ---- several addresses ---- */

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

/* ---- what nobody answers ---- */

static char heard[64]; /* of what was told, as it came */

static void handle_told(struct cairn_rpc_req *rq)
{
    struct fixture *fx = rq->target->ctx;

    assert_true(strlen(heard) + rq->payload_len < sizeof(heard));
    strncat(heard, (const char *)rq->payload, rq->payload_len);
    if (fx->hold)
        fx->held[fx->nheld++] = rq;
    else
        cairn_rpc_reply(rq, 0, NULL, NULL, 0);
}

static cairn_rpc_handler *const told_handlers[32] = { [CAIRN__WIRE__CLUSTER_METHOD__CLUSTER_REPL] = handle_told };

/* The target is the cluster's service, which has the one method that is told. */
static int setup_told(void **state)
{
    struct cairn_rpc_session_conf node = { .has_key = true, .is_node = true }; /* both keys are nothing but zeros */
    struct fixture *fx;

    setup(state);
    fx = *state;
    fx->node.has_key = true;
    heard[0] = '\0';
    fx->target.iface = &cairn_iface_cluster;
    fx->target.handlers = told_handlers;
    listen_unix(fx);
    connect_session(fx, &node);
    return 0;
}

static int tell(struct fixture *fx, const char *words)
{
    struct iovec iov = { (void *)(uintptr_t)words, strlen(words) };

    return cairn_rpc_session_tell(fx->session, &cairn_iface_cluster, TARGET, CAIRN__WIRE__CLUSTER_METHOD__CLUSTER_REPL,
                                  &iov, 1);
}

static bool is_up(struct fixture *fx)
{
    return cairn_rpc_session_is_up(fx->session);
}

static bool heard_all(struct fixture *fx)
{
    (void)fx;
    return strcmp(heard, "one two three") == 0;
}

/* It comes in order, once, and no frame goes back: neither an answer nor an error. */
static void what_is_told_is_not_answered(void **state)
{
    struct fixture *fx = *state;
    struct cairn_rpc_peer *peer;

    assert_int_equal(tell(fx, "lost"), CAIRN_E_CLOSED); /* but the connection is made */
    turn_until(fx, is_up);
    peer = cairn_rpc_session_peer(fx->session);
    uint64_t received = peer->conn.received_bytes;

    assert_int_equal(tell(fx, "one "), 0);
    assert_int_equal(tell(fx, "two "), 0);
    assert_true(cairn_rpc_session_unsent(fx->session) > 0);
    fx->hold = true; /* the third is answered later */
    assert_int_equal(tell(fx, "three"), 0);
    turn_until(fx, heard_all);
    fx->hold = false;
    while (fx->nheld > 0)
        cairn_rpc_reply_err(fx->held[--fx->nheld], CAIRN_E_INVAL, "not so");
    for (int i = 0; i < 10; i++)
        cairn_loop_turn(&fx->loop, 0);
    assert_int_equal(peer->conn.received_bytes, received);
    assert_int_equal(cairn_rpc_session_unsent(fx->session), 0);
    assert_int_equal(peer->ncalls, 0);
    assert_true(cairn_rpc_session_is_up(fx->session));
}

/* What is under way counts, as with calls: so much is taken from a connection and no more until some is over. */
static void what_is_told_is_taken_within_bounds(void **state)
{
    struct fixture *fx = *state;

    (void)tell(fx, "");
    turn_until(fx, is_up);
    fx->hold = true;
    for (int i = 0; i < 40; i++)
        assert_int_equal(tell(fx, "."), 0);
    for (int i = 0; i < 100; i++)
        cairn_loop_turn(&fx->loop, 0);
    assert_in_range(fx->nheld, 16, 17); /* inflight_max, and the frame that was looked at */
    while (fx->nheld > 0) {
        cairn_rpc_reply(fx->held[--fx->nheld], 0, NULL, NULL, 0);
        cairn_loop_turn(&fx->loop, 0);
    }
    for (int i = 0; i < TURNS_MAX && strlen(heard) < 40; i++) {
        cairn_loop_turn(&fx->loop, 0);
        while (fx->nheld > 0)
            cairn_rpc_reply(fx->held[--fx->nheld], 0, NULL, NULL, 0);
    }
    assert_int_equal(strlen(heard), 40);
}

/* A method that has to be answered is not told: whoever does it does not speak as we do. */
static void what_has_to_be_answered_is_not_told(void **state)
{
    struct fixture *fx = *state;
    struct cairn_rpc_peer *peer;
    struct cairn_frame f = { .kind = CAIRN_FRAME_REQUEST,
                             .flags = CAIRN_FRAME_TOLD,
                             .provider = TARGET,
                             .method = CAIRN__WIRE__CLUSTER_METHOD__CLUSTER_STATUS };

    (void)tell(fx, "");
    turn_until(fx, is_up);
    peer = cairn_rpc_session_peer(fx->session);
    f.provider = TARGET + 1; /* of a service that is not here nothing is heard, and nothing lost */
    cairn_rpc__peer_send(peer, &f, NULL, NULL, 0);
    assert_int_equal(tell(fx, "one two three"), 0);
    turn_until(fx, heard_all);
    assert_true(cairn_rpc_session_is_up(fx->session));
    f.provider = TARGET;
    cairn_rpc__peer_send(peer, &f, NULL, NULL, 0);
    turn_until(fx, no_peers);
    assert_int_equal(atomic_load(&fx->node.counters.frames_malformed), 1);
}

static bool is_refused_again(struct fixture *fx)
{
    static const struct cairn_rpc_method methods[32] = { [CAIRN__WIRE__CLUSTER_METHOD__CLUSTER_STATUS] = {
                                                             .name = "status", .flags = CAIRN_RPC_TOLD } };
    static const struct cairn_rpc_iface another_build = { "cluster", methods, 32 };

    if (is_up(fx))
        fx->session->up_ns = cairn_loop_now(&fx->loop); /* else one that a standstill kept open has been of use */
    (void)cairn_rpc_session_tell(fx->session, &another_build, TARGET, CAIRN__WIRE__CLUSTER_METHOD__CLUSTER_STATUS, NULL,
                                 0);
    return atomic_load(&fx->node.counters.frames_malformed) >= 5;
}

/* Whoever says it again each turn connects no more often for that: each pause is longer than the one before. */
static void what_ends_its_connection_is_told_with_pauses(void **state)
{
    struct fixture *fx = *state;

    turn_until(fx, is_refused_again);
    assert_true(fx->session->failures >= 4);
    fx->session->failures = 7;
    while (!is_up(fx)) {
        (void)tell(fx, "");
        cairn_loop_turn(&fx->loop, 10 * CAIRN_NS_PER_MS);
    }
    fx->session->up_ns = 0; /* it has lasted, though nothing was ever answered */
    cairn_conn_fail(&cairn_rpc_session_peer(fx->session)->conn, CAIRN_E_CLOSED);
    turn_until(fx, no_peers);
    assert_int_equal(fx->session->failures, 0);
    assert_int_equal(tell(fx, "lost"), CAIRN_E_CLOSED);
    turn_until(fx, is_up);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        C(retry_never_applies_twice),
        C(lost_answer_is_told_again),
        C(answers_are_remembered_before_they_leave),
        C(a_session_is_found_on_its_worker),
        C(restarted_node_makes_changes_unknown),
        C(closing_ends_calls_that_were_sent),
        C(a_session_may_be_closed_in_done),
        C(abandoned_changes_give_their_numbers_back),
        C(a_poisonous_call_is_sent_with_pauses),
        C(a_session_that_was_closed_is_forgotten),
        T(lost_sessions_are_bounded),
        C(what_crosses_a_goodbye_is_sent_again),
        T(who_is_refused_at_one_address_enters_at_another),
        T(who_is_refused_at_one_address_waits_for_the_other),
        T(who_is_refused_everywhere_hears_of_each),
        T(nobody_listens),
        T(another_node_is_not_the_one),
        cmocka_unit_test_setup_teardown(what_is_told_is_not_answered, setup_told, teardown),
        cmocka_unit_test_setup_teardown(what_is_told_is_taken_within_bounds, setup_told, teardown),
        cmocka_unit_test_setup_teardown(what_has_to_be_answered_is_not_told, setup_told, teardown),
        cmocka_unit_test_setup_teardown(what_ends_its_connection_is_told_with_pauses, setup_told, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
