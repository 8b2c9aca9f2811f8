/* A node's door against those who have not said who they are, and against too many. */
#include "tests/unit/net/hostile_fixture.h"

static void nothing_but_hello_before_hello(void **state)
{
    struct fixture *fx = *state;
    uint8_t buf[1024];
    int fd = raw_connect(fx);

    raw_send(fx, fd, buf, put_ping(buf, 1, 0));
    assert_true(is_thrown_out(fx, fd));
    assert_int_equal(fx->pings, 0);
    assert_int_equal(atomic_load(&fx->node.counters.frames_malformed), 1);
    close(fd);
    assert_still_serves(fx);
}

/* Whoever connects and says nothing has 5 s, of which all but a few are skipped here. */
static void silence_instead_of_hello_is_cut_off(void **state)
{
    struct fixture *fx = *state;
    int fd = raw_connect(fx);
    struct cairn_rpc_peer *peer = CONTAINER_OF(fx->rpc->greeters.next, struct cairn_rpc_peer, greeting);
    uint64_t now = cairn_loop_now(&fx->loop);

    assert_int_equal(CAIRN_HELLO_MS_MAX, 5000);
    assert_in_range(peer->hello_deadline_ns, now, now + CAIRN_HELLO_MS_MAX * CAIRN_NS_PER_MS);
    peer->hello_deadline_ns = now + 5 * CAIRN_NS_PER_MS;
    cairn_rpc__peer_want(peer, peer->hello_deadline_ns);
    assert_true(is_thrown_out(fx, fd));
    assert_int_equal(atomic_load(&fx->node.counters.hello_timeouts), 1);
    assert_int_equal(atomic_load(&fx->node.counters.greeting), 0);
    close(fd);
    assert_still_serves(fx);
}

static void a_second_hello_is_refused(void **state)
{
    struct fixture *fx = *state;
    uint8_t buf[1024];
    int fd = enter(fx);

    raw_send(fx, fd, buf, put_open(buf));
    assert_true(is_thrown_out(fx, fd));
    close(fd);
    assert_still_serves(fx);
}

static void hello_may_not_be_large(void **state)
{
    struct fixture *fx = *state;
    struct cairn_frame f = { .kind = CAIRN_FRAME_HELLO, .method = CAIRN_HELLO_OPEN, .body_len = CAIRN_HELLO_BYTES_MAX };
    static uint8_t buf[CAIRN_FRAME_HEADER_BYTES + CAIRN_HELLO_BYTES_MAX];
    int fd = raw_connect(fx);

    f.body = buf + CAIRN_FRAME_HEADER_BYTES;
    cairn_frame_encode_header(buf, &f);
    raw_send(fx, fd, buf, CAIRN_FRAME_HEADER_BYTES); /* the header alone is enough */
    assert_true(is_thrown_out(fx, fd));
    close(fd);
    assert_still_serves(fx);
}

/* Another worker may still hand a connection over to one that has drained. */
static void who_has_drained_takes_nobody(void **state)
{
    struct fixture *fx = *state;
    int fd;

    cairn_rpc_drain(fx->rpc, cairn_loop_now(&fx->loop) + 100 * CAIRN_NS_PER_MS, on_drained, fx);
    for (int i = 0; i < TURNS_MAX && !fx->drained; i++)
        cairn_loop_turn(&fx->loop, 10 * CAIRN_NS_PER_MS);
    assert_true(fx->drained);
    fd = raw_connect(fx);
    assert_true(cairn_rpc_is_idle(fx->rpc));
    assert_true(is_thrown_out(fx, fd));
    close(fd);
    fx->drained = false;
}

static void too_many_connections_are_refused(void **state)
{
    struct fixture *fx = *state;
    uint8_t buf[1024];
    struct cairn_frame f;
    int fds[4], fd;

    for (int i = 0; i < 4; i++)
        fds[i] = enter(fx);
    fd = raw_connect(fx);
    raw_send(fx, fd, buf, put_open(buf));
    assert_true(raw_frame(fx, fd, buf, sizeof(buf), &f) > 0);
    assert_int_equal(f.method, CAIRN_HELLO_REFUSED_STEP); /* it is told why */
    assert_int_equal(f.value, CAIRN_E_LIMIT);
    assert_true(is_thrown_out(fx, fd));
    assert_int_equal(atomic_load(&fx->node.counters.connections_refused), 1);
    close(fd);
    for (int i = 0; i < 4; i++)
        close(fds[i]);
    turns(fx, 5);
    assert_still_serves(fx);
}

/* Whoever can reach the node may open connections without end and prove nothing: users get in all the same, all that
 * the limit allows, and the strangers' own are closed, oldest first. */
static void strangers_do_not_lock_users_out(void **state)
{
    enum { STRANGERS = 40, MAY_WAIT = 8 };
    struct fixture *fx = *state;
    int strangers[STRANGERS], users[4];
    uint8_t buf[8];

    for (int i = 0; i < STRANGERS; i++) {
        strangers[i] = raw_connect(fx);
        turns(fx, 1);
    }
    assert_int_equal(atomic_load(&fx->node.counters.greeting), MAY_WAIT);
    assert_int_equal(atomic_load(&fx->node.counters.connections), MAY_WAIT);
    assert_int_equal(atomic_load(&fx->node.counters.greeters_displaced), STRANGERS - MAY_WAIT);
    for (int i = 0; i < STRANGERS - MAY_WAIT; i++)
        assert_true(is_thrown_out(fx, strangers[i]));
    for (int i = STRANGERS - MAY_WAIT; i < STRANGERS; i++)
        assert_true(recv(strangers[i], buf, sizeof(buf), 0) < 0 && errno == EAGAIN); /* open still */
    for (int i = 0; i < 4; i++)
        users[i] = enter(fx);
    assert_int_equal(atomic_load(&fx->node.counters.connections_refused), 0);
    for (int i = 0; i < 4; i++)
        close(users[i]);
    for (int i = 0; i < STRANGERS; i++)
        close(strangers[i]);
    turns(fx, 5);
    assert_int_equal(atomic_load(&fx->node.counters.greeting), 0);
    assert_still_serves(fx);
}

/* Somebody comes who speaks from @min to @max; the answer to that, unless there is none, and the frame that has it. */
static struct cairn_frame say_versions(struct fixture *fx, uint32_t min, uint32_t max, bool is_node, uint8_t buf[1024])
{
    Cairn__Wire__HelloOpen m = CAIRN__WIRE__HELLO_OPEN__INIT;
    uint8_t nonce[CAIRN_NONCE_BYTES] = { 1 };
    struct cairn_frame f;
    int fd = raw_connect(fx);

    m.version_min = min;
    m.version_max = max;
    m.nonce.data = nonce;
    m.nonce.len = sizeof(nonce);
    m.node = is_node;
    raw_send(fx, fd, buf,
             put_frame(buf, (struct cairn_frame){ .kind = CAIRN_FRAME_HELLO, .method = CAIRN_HELLO_OPEN }, &m.base));
    assert_true(raw_frame(fx, fd, buf, 1024, &f) > 0);
    if (f.method == CAIRN_HELLO_REFUSED_STEP)
        assert_true(is_thrown_out(fx, fd));
    close(fd);
    return f;
}

/* Older or newer, a node or a client: it hears what it speaks, who does not, and what to do. */
static void another_protocol_is_told_so(void **state)
{
    static const struct {
        uint32_t min, max;
        bool is_node;
        const char *text;
    } comers[] = {
        { 7, 9, false, "the client that asks speaks protocol 7 to 9, node n 2 to 2: run releases of Cairn" },
        { 1, 1, false, "the client that asks speaks protocol 1 to 1, node n 2 to 2: run releases of Cairn" },
        { 7, 9, true, "the node that asks speaks protocol 7 to 9, node n 2 to 2: run releases of Cairn" },
        { 0, 0, true, "the node that asks speaks protocol 0 to 0, node n 2 to 2: run releases of Cairn" },
    };
    struct fixture *fx = *state;
    uint8_t buf[1024];

    for (uint32_t i = 0; i < ARRAY_SIZE(comers); i++) {
        struct cairn_frame f = say_versions(fx, comers[i].min, comers[i].max, comers[i].is_node, buf);
        Cairn__Wire__ErrorDetail *d;

        assert_int_equal(f.method, CAIRN_HELLO_REFUSED_STEP);
        assert_int_equal(f.value, CAIRN_E_VERSION);
        d = cairn__wire__error_detail__unpack(NULL, f.body_len, f.body);
        assert_non_null(d);
        assert_non_null(strstr(d->text, comers[i].text));
        cairn__wire__error_detail__free_unpacked(d, NULL);
    }
    assert_still_serves(fx);
}

/* Who speaks others, too, is answered in the newest of those that both do. */
static void a_protocol_in_common_is_spoken(void **state)
{
    static const struct {
        uint32_t min, max;
    } comers[] = { { CAIRN_PROTOCOL_MAX, CAIRN_PROTOCOL_MAX }, { 0, CAIRN_PROTOCOL_MAX }, { CAIRN_PROTOCOL_MIN, 99 } };
    struct fixture *fx = *state;
    uint8_t buf[1024];

    for (uint32_t i = 0; i < ARRAY_SIZE(comers); i++) {
        struct cairn_frame f = say_versions(fx, comers[i].min, comers[i].max, false, buf);
        Cairn__Wire__HelloWelcome *m;

        assert_int_equal(f.method, CAIRN_HELLO_WELCOME);
        m = cairn__wire__hello_welcome__unpack(NULL, f.body_len, f.body);
        assert_non_null(m);
        assert_int_equal(m->version, CAIRN_PROTOCOL_MAX);
        cairn__wire__hello_welcome__free_unpacked(m, NULL);
    }
}

/* A node with a key of zeros is asked in as a node is that takes it for @name; the step that it answers with. */
static uint16_t come_as_if_to(struct fixture *fx, const char *name)
{
    static const uint8_t key[CAIRN_KEY_BYTES];
    Cairn__Wire__HelloOpen open = CAIRN__WIRE__HELLO_OPEN__INIT;
    Cairn__Wire__HelloProof m = CAIRN__WIRE__HELLO_PROOF__INIT;
    Cairn__Wire__HelloChallenge *c;
    struct cairn_auth_transcript t = { .client_nonce = { 1 }, .unix_socket = true };
    uint8_t proof[CAIRN_PROOF_BYTES], buf[1024];
    char *auth[] = { (char *)(uintptr_t) "key" };
    struct cairn_frame f;
    int fd = raw_connect(fx);

    open.version_min = open.version_max = CAIRN_PROTOCOL_MAX;
    open.nonce = (ProtobufCBinaryData){ CAIRN_NONCE_BYTES, t.client_nonce };
    open.auth = auth;
    open.n_auth = 1;
    open.node = true;
    raw_send(fx, fd, buf,
             put_frame(buf, (struct cairn_frame){ .kind = CAIRN_FRAME_HELLO, .method = CAIRN_HELLO_OPEN }, &open.base));
    assert_true(raw_frame(fx, fd, buf, sizeof(buf), &f) > 0);
    assert_int_equal(f.method, CAIRN_HELLO_CHALLENGE);
    c = cairn__wire__hello_challenge__unpack(NULL, f.body_len, f.body);
    assert_non_null(c);
    assert_string_equal(c->node, "n");
    memcpy(t.server_nonce, c->nonce.data, CAIRN_NONCE_BYTES);
    memcpy(t.cluster_id, c->cluster_id.data, CAIRN_CLUSTER_ID_BYTES);
    cairn__wire__hello_challenge__free_unpacked(c, NULL);
    snprintf(t.node, sizeof(t.node), "%s", name);
    cairn_auth_prove(proof, key, &t, false);
    m.proof = (ProtobufCBinaryData){ sizeof(proof), proof };
    raw_send(fx, fd, buf,
             put_frame(buf, (struct cairn_frame){ .kind = CAIRN_FRAME_HELLO, .method = CAIRN_HELLO_PROOF }, &m.base));
    assert_true(raw_frame(fx, fd, buf, sizeof(buf), &f) > 0);
    close(fd);
    return f.method;
}

/* Who sits in the place of node "m" is given a proof for that one, which lets nobody in here. */
static void a_proof_for_another_node_is_refused(void **state)
{
    struct fixture *fx = *state;

    fx->node.has_key = true;
    assert_int_equal(come_as_if_to(fx, "m"), CAIRN_HELLO_REFUSED_STEP);
    assert_int_equal(come_as_if_to(fx, ""), CAIRN_HELLO_REFUSED_STEP);
    assert_int_equal(come_as_if_to(fx, "n"), CAIRN_HELLO_WELCOME);
    assert_int_equal(atomic_load(&fx->node.counters.auth_failures), 2);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(silence_instead_of_hello_is_cut_off), T(nothing_but_hello_before_hello),
        T(a_second_hello_is_refused),           T(hello_may_not_be_large),
        T(too_many_connections_are_refused),    T(strangers_do_not_lock_users_out),
        T(a_protocol_in_common_is_spoken),      T(another_protocol_is_told_so),
        T(who_has_drained_takes_nobody),        T(a_proof_for_another_node_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
