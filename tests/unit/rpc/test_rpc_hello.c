/* Who may enter over TCP: by the cluster key, and by a real MUNGE daemon. */
#include "rpc_fixture.h"
#include "sdk/core/base/log.h"
#include "sdk/core/rpc/hello.h"

#include "schema/repl.pb-c.h"
#include "tests/lib/log_lines.h"
#include "tests/lib/skip.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

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

static void be_refused(struct fixture *fx, int times)
{
    for (int i = 0; i < times; i++) {
        struct probe p;

        connect_session(fx, NULL);
        probe_start(fx, &p, false, "abc");
        probe_wait(fx, &p);
        assert_int_equal(p.call.rc, CAIRN_E_AUTH);
        fx->closed = false;
        cairn_rpc_session_close(fx->session, on_session_closed, fx);
        turn_until(fx, is_closed);
        fx->session = NULL;
    }
}

/* Who has no key cannot fill the log, however often they come; the counter has them all. */
static void strangers_do_not_fill_the_log(void **state)
{
    enum { COME = 4 * RPC_REFUSALS_LOGGED_MAX };
    struct fixture *fx = *state;
    FILE *f = tmpfile();
    struct cairn_log log, *was;

    assert_non_null(f);
    cairn_log_init(&log, fileno(f), CAIRN_LOG_WARN, NULL);
    was = cairn_log_bind(&log);
    memset(fx->node.key, 7, sizeof(fx->node.key));
    fx->node.has_key = true;
    listen_on(fx, "tcp://127.0.0.1:0");
    be_refused(fx, COME);
    assert_int_equal(atomic_load(&fx->node.counters.auth_failures), COME);
    assert_int_equal(lines_of(f, ""), RPC_REFUSALS_LOGGED_MAX);
    assert_int_equal(lines_of(f, "127.0.0.1"), RPC_REFUSALS_LOGGED_MAX); /* each says who */
    assert_int_equal(lines_of(f, "others of this minute are only counted"), 1);
    fx->server->refusals.since_ns -= 60 * CAIRN_NS_PER_S; /* a minute later */
    be_refused(fx, 1);
    assert_int_equal(lines_of(f, "30 more were refused within a minute"), 1);
    assert_int_equal(lines_of(f, ""), RPC_REFUSALS_LOGGED_MAX + 2);
    cairn_log_bind(was);
    cairn_log_fini(&log);
    fclose(f);
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

/* ---- another protocol ---- */

/* Whatever it is asked, it says that this is protocol 9. */
static void on_stranger(void *arg, uint32_t ready)
{
    Cairn__Wire__HelloWelcome m = CAIRN__WIRE__HELLO_WELCOME__INIT;
    uint8_t buf[256], hello[4096];
    struct cairn_frame f = { .kind = CAIRN_FRAME_HELLO,
                             .method = CAIRN_HELLO_WELCOME,
                             .body = buf + CAIRN_FRAME_HEADER_BYTES };
    struct fixture *fx = arg;
    int fd = accept4(fx->listener.fd, NULL, NULL, SOCK_CLOEXEC);

    (void)ready;
    assert_true(fd >= 0);
    assert_true(recv(fd, hello, sizeof(hello), 0) > 0);
    m.version = 9;
    f.body_len = (uint32_t)protobuf_c_message_pack(&m.base, buf + CAIRN_FRAME_HEADER_BYTES);
    f.payload = f.body + f.body_len;
    cairn_frame_encode_header(buf, &f);
    assert_true(send(fd, buf, CAIRN_FRAME_HEADER_BYTES + f.body_len, MSG_NOSIGNAL) > 0);
    close(fd);
}

static void a_node_of_another_protocol_is_told_apart(void **state)
{
    struct fixture *fx = *state;
    struct probe p;
    char text[128];
    int fd = -1;

    snprintf(text, sizeof(text), "unix://%s/s", fx->dir);
    assert_int_equal(cairn_addr_parse(text, &fx->addr, NULL), 0);
    assert_int_equal(cairn_addr_listen(&fx->addr, 16, 0700, &fd, NULL), 0);
    assert_int_equal(cairn_watch_init(&fx->listener, &fx->loop, fd, on_stranger, fx), 0);
    assert_int_equal(cairn_watch_arm(&fx->listener, CAIRN_WATCH_READ), 0);
    connect_session(fx, NULL);
    probe_start(fx, &p, false, "abc");
    probe_wait(fx, &p);
    assert_int_equal(p.call.rc, CAIRN_E_VERSION);
    assert_non_null(strstr(p.err.text, "answers in protocol 9, and here 2 to 2 are spoken: run releases of Cairn"));
    assert_non_null(strstr(p.err.text, text));
}

/* ---- nodes ---- */

static bool said_node; /* who was the last to ask */

static void handle_between_nodes(struct cairn_rpc_req *rq)
{
    said_node = cairn_rpc_peer_info(rq->peer)->is_node;
    ((struct fixture *)rq->target->ctx)->puts++;
    cairn_rpc_reply(rq, 0, NULL, NULL, 0);
}

static cairn_rpc_handler *const node_handlers[32] = {
    [CAIRN__WIRE__CLUSTER_METHOD__CLUSTER_PUBLISH] = handle_between_nodes,
};

/* What is between nodes, asked of a node with a key of sevens at a unix socket. */
static void ask_as(struct fixture *fx, const struct cairn_rpc_session_conf *conf, struct probe *p)
{
    static const Cairn__Wire__ClusterRecords nothing = CAIRN__WIRE__CLUSTER_RECORDS__INIT;

    memset(fx->node.key, 7, sizeof(fx->node.key));
    fx->node.has_key = true;
    fx->target.iface = &cairn_iface_cluster;
    fx->target.handlers = node_handlers;
    if (fx->listener.fd <= 0)
        listen_unix(fx);
    said_node = false;
    connect_session(fx, conf);
    probe_prepare(fx, p, false, "");
    p->call.iface = &cairn_iface_cluster;
    p->call.method = CAIRN__WIRE__CLUSTER_METHOD__CLUSTER_PUBLISH;
    p->call.msg = &nothing.base;
    cairn_rpc_call_start(&p->call);
    probe_wait(fx, p);
}

static void ask_over(struct fixture *fx)
{
    fx->closed = false;
    cairn_rpc_session_close(fx->session, on_session_closed, fx);
    turn_until(fx, is_closed);
    fx->session = NULL;
}

/* The user of a unix socket is an administrator, the node's own user even; that makes nobody a node. */
static void a_user_is_no_node(void **state)
{
    struct cairn_rpc_session_conf conf = { .has_key = true };
    struct fixture *fx = *state;
    struct probe p;

    ask_as(fx, NULL, &p);
    assert_int_equal(p.call.rc, CAIRN_E_AUTH);
    assert_non_null(strstr(p.err.text, "proves that it holds the cluster's key"));
    assert_true(cairn_rpc_session_facts(fx->session)->admin);
    assert_string_equal(cairn_rpc_session_facts(fx->session)->auth, "peer");
    ask_over(fx);
    memset(conf.key, 7, sizeof(conf.key)); /* nor does a program that has it, and does not say that it is a node */
    ask_as(fx, &conf, &p);
    assert_int_equal(p.call.rc, CAIRN_E_AUTH);
    assert_string_equal(cairn_rpc_session_facts(fx->session)->auth, "peer");
    assert_int_equal(fx->puts, 0);
}

static void a_node_proves_itself_over_a_unix_socket(void **state)
{
    struct cairn_rpc_session_conf conf = { .has_key = true, .is_node = true };
    struct fixture *fx = *state;
    struct probe p;

    memset(conf.key, 7, sizeof(conf.key));
    ask_as(fx, &conf, &p);
    assert_int_equal(p.call.rc, 0);
    assert_int_equal(fx->puts, 1);
    assert_true(said_node);
    assert_string_equal(cairn_rpc_session_facts(fx->session)->auth, "key");
    assert_int_equal(cairn_rpc_session_facts(fx->session)->uid, geteuid());
}

/* A service that holds the key may do what nodes do, and can be told from one. */
static void who_holds_the_key_need_not_be_a_node(void **state)
{
    struct cairn_rpc_session_conf conf = { .has_key = true };
    struct fixture *fx = *state;
    struct probe p;

    listen_on(fx, "tcp://127.0.0.1:0");
    memset(conf.key, 7, sizeof(conf.key));
    ask_as(fx, &conf, &p);
    assert_int_equal(p.call.rc, 0);
    assert_int_equal(fx->puts, 1);
    assert_false(said_node);
}

/* It is refused as often as it comes, and that is said once, and once a minute with the count, until it was welcome. */
static void another_clusters_node_is_refused(void **state)
{
    struct cairn_rpc_session_conf conf = { .has_key = true, .is_node = true, .node = "n1" };
    struct cairn_log log, *was;
    struct fixture *fx = *state;
    FILE *f = tmpfile();
    struct probe p;

    assert_non_null(f);
    cairn_log_init(&log, fileno(f), CAIRN_LOG_WARN, NULL);
    was = cairn_log_bind(&log);
    for (int round = 1; round <= 2; round++) {
        memset(conf.key, 8, sizeof(conf.key));
        for (int i = 0; i < 3; i++) {
            ask_as(fx, &conf, &p);
            assert_int_equal(p.call.rc, CAIRN_E_AUTH);
            assert_non_null(strstr(p.err.text, "node n1 refused us: it does not hold the cluster's key"));
            assert_non_null(strstr(p.err.text, "auth.key_file"));
            ask_over(fx);
        }
        assert_int_equal(lines_of(f, "node test, "), round);
        memset(conf.key, 7, sizeof(conf.key));
        ask_as(fx, &conf, &p);
        assert_int_equal(p.call.rc, 0);
        ask_over(fx);
    }
    assert_int_equal(lines_of(f, "refused again"), 0);
    memset(conf.key, 8, sizeof(conf.key));
    for (int i = 0; i < 7; i++) {
        if (i == 4) { /* a minute later */
            for (int place = 0; place < CAIRN_REFUSED_NODES_MAX; place++)
                atomic_fetch_sub(&fx->node.refused[place].said_ns, 60 * CAIRN_NS_PER_S);
        }
        ask_as(fx, &conf, &p);
        ask_over(fx);
    }
    assert_int_equal(lines_of(f, "node test, "), 4);
    assert_int_equal(lines_of(f, "refused again, 4 times since: it does not hold"), 1);
    assert_int_equal(atomic_load(&fx->node.counters.auth_failures), 13);
    cairn_log_bind(was);
    cairn_log_fini(&log);
    fclose(f);
}

/* By its id first, whatever key it holds. */
static void a_node_that_looks_for_another_cluster_is_refused(void **state)
{
    struct cairn_rpc_session_conf conf = { .has_key = true, .is_node = true, .has_cluster_id = true, .node = "n1" };
    struct fixture *fx = *state;
    struct probe p;

    memset(conf.key, 7, sizeof(conf.key));
    memset(conf.cluster_id, 9, sizeof(conf.cluster_id));
    ask_as(fx, &conf, &p);
    assert_int_equal(p.call.rc, CAIRN_E_AUTH);
    assert_non_null(strstr(p.err.text, "node n1 refused us: the client looks for another cluster"));
    assert_int_equal(fx->puts, 0);
}

/* Another node than the one it looks for is given no proof: it could carry that to the one. */
static void no_proof_is_given_to_another_node(void **state)
{
    struct cairn_rpc_session_conf conf = { .has_key = true, .is_node = true, .node = "n3" };
    struct fixture *fx = *state;
    struct probe p;

    memset(conf.key, 8, sizeof(conf.key)); /* so that it would be refused, and counted */
    fx->node.has_key = true;
    listen_unix(fx);
    connect_session(fx, &conf);
    probe_prepare(fx, &p, false, "abc");
    p.call.timeout_ns = 2 * CAIRN_NS_PER_S;
    cairn_rpc_call_start(&p.call);
    probe_wait(fx, &p);
    assert_int_equal(p.call.rc, CAIRN_E_UNREACHABLE);
    assert_non_null(strstr(p.err.text, "is node n1, not n3"));
    assert_int_equal(atomic_load(&fx->node.counters.auth_failures), 0);
}

/* A node does not take the word of one that proves nothing, as it would where the kernel tells who listens. */
static void a_node_wants_proof_over_a_unix_socket(void **state)
{
    struct cairn_rpc_session_conf conf = { .has_key = true, .is_node = true };
    struct fixture *fx = *state;
    struct probe p;

    listen_unix(fx);
    connect_session(fx, &conf);
    probe_start(fx, &p, false, "abc");
    probe_wait(fx, &p);
    assert_int_equal(p.call.rc, CAIRN_E_AUTH);
    assert_non_null(strstr(p.err.text, "did not prove"));
}

/* ---- MUNGE ---- */

/* A daemon of the test's own with a key of its own, which ends with us. */
struct munged {
    pid_t pid;
    char socket[96];
};

static int encode(const char *socket)
{
    struct cairn_auth_transcript t;
    char *credential = NULL;
    int rc;

    memset(&t, 0, sizeof(t));
    rc = cairn_auth_munge_encode(socket, &t, &credential, NULL);
    free(credential);
    return rc;
}

/* False where there is no munged, or none that runs as this user. */
static bool munged_start(struct munged *m, const char *dir, const char *name)
{
    char paths[5][128], key[128];
    uint8_t secret[64];
    int fd, status;

    snprintf(m->socket, sizeof(m->socket), "%.70s/%s.s", dir, name);
    snprintf(key, sizeof(key), "%s/%s.key", dir, name);
    cairn_auth_random(secret, sizeof(secret));
    fd = open(key, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0400);
    assert_int_equal(write(fd, secret, sizeof(secret)), sizeof(secret));
    close(fd);
    snprintf(paths[0], sizeof(paths[0]), "--key-file=%.100s", key);
    snprintf(paths[1], sizeof(paths[1]), "--socket=%.100s", m->socket);
    snprintf(paths[2], sizeof(paths[2]), "--pid-file=%.80s/%.9s.pid", dir, name);
    snprintf(paths[3], sizeof(paths[3]), "--log-file=%.80s/%.9s.log", dir, name);
    snprintf(paths[4], sizeof(paths[4]), "--seed-file=%.80s/%.9s.seed", dir, name);
    m->pid = fork();
    assert_true(m->pid >= 0);
    if (m->pid == 0) {
        int null = open("/dev/null", O_RDWR);

        prctl(PR_SET_PDEATHSIG, SIGKILL);
        dup2(null, 1);
        dup2(null, 2);
        setenv("PATH", "/usr/sbin:/usr/bin:/sbin:/bin", 1);
        execlp("munged", "munged", "--foreground", "--force", paths[0], paths[1], paths[2], paths[3], paths[4], NULL);
        _exit(127);
    }
    for (int i = 0; i < 2000; i++) { /* its socket is there before it listens */
        if (waitpid(m->pid, &status, WNOHANG) == m->pid)
            return false;
        if (access(m->socket, F_OK) == 0 && encode(m->socket) == 0)
            return true;
        poll(NULL, 0, 5);
    }
    fail_msg("munged is there and does not listen");
    return false;
}

static void munged_stop(struct munged *m)
{
    kill(m->pid, SIGKILL);
    waitpid(m->pid, NULL, 0);
}

static void need_munged(struct fixture *fx, struct munged *m, const char *name)
{
    if (encode("/nowhere") == CAIRN_E_UNSUPPORTED) {
        skip_because("built without MUNGE");
    }
    if (!munged_start(m, fx->dir, name)) {
        skip_because("no munged runs here");
    }
}

/* By a real daemon: client and node agree on who the client is. */
static void munge_tells_the_user(void **state)
{
    struct fixture *fx = *state;
    struct cairn_rpc_session_conf conf = { .munge = true };
    struct munged m;
    struct probe p;

    need_munged(fx, &m, "a");
    fx->node.munge = true;
    snprintf(fx->node.munge_socket, sizeof(fx->node.munge_socket), "%s", m.socket);
    snprintf(conf.munge_socket, sizeof(conf.munge_socket), "%s", m.socket);
    listen_on(fx, "tcp://127.0.0.1:0");
    connect_session(fx, &conf);
    probe_start(fx, &p, false, "abc");
    probe_wait(fx, &p);
    munged_stop(&m);
    assert_int_equal(p.call.rc, 0);
    assert_string_equal(p.value, "abc");
    assert_string_equal(cairn_rpc_session_facts(fx->session)->auth, "munge");
    assert_int_equal(cairn_rpc_session_facts(fx->session)->uid, geteuid());
    assert_int_equal(cairn_rpc_session_facts(fx->session)->gid, getegid());
}

/* A daemon with another key, which anybody can run, makes nothing that the node's own would take. */
static void another_daemons_credential_is_refused(void **state)
{
    struct fixture *fx = *state;
    struct cairn_rpc_session_conf conf = { .munge = true };
    struct munged ours, theirs;
    struct probe p;

    need_munged(fx, &ours, "a");
    assert_true(munged_start(&theirs, fx->dir, "b"));
    fx->node.munge = true;
    snprintf(fx->node.munge_socket, sizeof(fx->node.munge_socket), "%s", ours.socket);
    snprintf(conf.munge_socket, sizeof(conf.munge_socket), "%s", theirs.socket);
    listen_on(fx, "tcp://127.0.0.1:0");
    connect_session(fx, &conf);
    probe_start(fx, &p, false, "abc");
    probe_wait(fx, &p);
    munged_stop(&ours);
    munged_stop(&theirs);
    assert_int_equal(p.call.rc, CAIRN_E_AUTH);
    assert_int_equal(atomic_load(&fx->node.counters.auth_failures), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(tcp_needs_the_key),
        T(wrong_key_is_refused),
        T(strangers_do_not_fill_the_log),
        T(no_credential_is_refused),
        T(a_node_of_another_protocol_is_told_apart),
        T(a_node_without_the_key_is_refused),
        T(a_user_is_no_node),
        T(a_node_proves_itself_over_a_unix_socket),
        T(who_holds_the_key_need_not_be_a_node),
        T(another_clusters_node_is_refused),
        T(a_node_that_looks_for_another_cluster_is_refused),
        T(no_proof_is_given_to_another_node),
        T(a_node_wants_proof_over_a_unix_socket),
        T(munge_tells_the_user),
        T(another_daemons_credential_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
