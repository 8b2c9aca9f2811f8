/* The page server over real sockets, client and server on one loop turn by turn. */
#include "sdk/core/loop/http.h"
#include "tests/lib/patience.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

struct fixture {
    struct cairn_loop loop;
    struct cairn_http *http;
    struct sockaddr_in addr;
    int health;
    uint32_t asked;
    size_t big;
};

static void on_page(void *arg, struct cairn_http_reply *reply)
{
    struct fixture *f = arg;

    f->asked++;
    reply->text = f->big > 0 ? malloc(f->big) : strdup("hello\n");
    assert_non_null(reply->text);
    if (f->big > 0)
        memset(reply->text, 'x', f->big);
    reply->len = f->big > 0 ? f->big : 6;
}

static void on_health(void *arg, struct cairn_http_reply *reply)
{
    const struct fixture *f = arg;

    reply->status = f->health;
    reply->text = strdup(f->health == 200 ? "ok\n" : "no\n");
    reply->len = 3;
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct cairn_http_page pages[] = { { "/metrics", "figures", on_page, f }, { "/healthz", "health", on_health, f } };
    socklen_t len = sizeof(f->addr);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    f->health = 200;
    f->addr = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    assert_int_equal(cairn_loop_init(&f->loop, NULL, NULL), 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&f->addr, len), 0);
    assert_int_equal(listen(fd, 64), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&f->addr, &len), 0);
    f->http = cairn_http_start(&f->loop, fd, pages, 2, NULL);
    assert_non_null(f->http);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    cairn_http_stop(f->http);
    cairn_loop_fini(&f->loop);
    free(f);
    return 0;
}

static int dial(struct fixture *f)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_equal(connect(fd, (struct sockaddr *)&f->addr, sizeof(f->addr)), 0);
    return fd;
}

/* Turns the loop until the server has closed @fd; what it sent before is in @to. */
static size_t read_all(struct fixture *f, int fd, char *to, size_t room)
{
    size_t n = 0;

    for (;;) {
        ssize_t r = recv(fd, to + n, room - 1 - n, MSG_DONTWAIT);

        if (r == 0 || (r < 0 && errno == ECONNRESET))
            break;
        if (r > 0)
            n += (size_t)r;
        else
            cairn_loop_turn(&f->loop, 100 * CAIRN_NS_PER_MS);
        assert_true(n < room - 1);
    }
    to[n] = '\0';
    return n;
}

static void ask(struct fixture *f, const char *request, char *reply, size_t room)
{
    int fd = dial(f);

    assert_int_equal(send(fd, request, strlen(request), 0), (ssize_t)strlen(request));
    read_all(f, fd, reply, room);
    close(fd);
}

static void serves_its_pages(void **state)
{
    struct fixture *f = *state;
    char reply[4096];

    ask(f, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", reply, sizeof(reply));
    assert_non_null(strstr(reply, "HTTP/1.1 200 OK\r\n"));
    assert_non_null(strstr(reply, "Content-Length: 6\r\n"));
    assert_non_null(strstr(reply, "\r\n\r\nhello\n"));
    ask(f, "GET /metrics?x=1 HTTP/1.0\r\n\r\n", reply, sizeof(reply));
    assert_non_null(strstr(reply, "200 OK\r\n"));
    assert_int_equal(f->asked, 2);
}

static void says_when_unwell(void **state)
{
    struct fixture *f = *state;
    char reply[4096];

    ask(f, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", reply, sizeof(reply));
    assert_non_null(strstr(reply, "200 OK\r\n"));
    f->health = 503;
    ask(f, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", reply, sizeof(reply));
    assert_non_null(strstr(reply, "503 Unavailable\r\n"));
    assert_non_null(strstr(reply, "\r\n\r\nno\n"));
}

static void nothing_else_is_served(void **state)
{
    static const struct {
        const char *request, *status;
    } rows[] = {
        { "GET /metrics/ HTTP/1.1\r\nHost: x\r\n\r\n", " 404 " },
        { "GET /../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n", " 404 " },
        { "POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", " 405 " },
        { "POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nx=1", " 405 " },
        { "DELETE /metrics HTTP/1.1\r\nHost: x\r\n\r\n", " 405 " },
        { "PATCH /nowhere HTTP/1.1\r\nHost: x\r\n\r\n", " 405 " },
        { "BREW /metrics HTTP/1.1\r\nHost: x\r\n\r\n", "" },
        { "GET /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999\r\n\r\n", " 413 " },
        { "nonsense\r\n\r\n", "" },
        { "\x16\x03\x01\x02\r\n\r\n", "" },
    };
    struct fixture *f = *state;
    char reply[4096];

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        ask(f, rows[i].request, reply, sizeof(reply));
        if (strstr(reply, rows[i].status) == NULL || strstr(reply, " 200 ") != NULL)
            fail_msg("%s got %s", rows[i].request, reply);
    }
    assert_int_equal(f->asked, 0);
    assert_int_equal(cairn_http_connections(f->http), 0);
}

/* Who does not know the pages is told. */
static void the_root_lists_the_pages(void **state)
{
    static const struct {
        const char *request, *start, *body;
    } rows[] = {
        { "GET / HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200 OK\r\n", "The pages of this Cairn node:\n" },
        { "GET /nope HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 404 Not Found\r\n", "There is no such page, but:\n" },
        { "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 405 Method Not Allowed\r\n",
          "These pages can only be read (GET).\n" },
    };
    struct fixture *f = *state;
    char reply[4096], body[256];

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        ask(f, rows[i].request, reply, sizeof(reply));
        assert_memory_equal(reply, rows[i].start, strlen(rows[i].start));
        assert_non_null(strstr(reply, "Content-Type: text/plain"));
        assert_int_equal(strstr(reply, "Allow: GET, HEAD\r\n") != NULL, i == 2);
        snprintf(body, sizeof(body), "\r\n\r\n%s/metrics     figures\n/healthz     health\n", rows[i].body);
        assert_non_null(strstr(reply, body));
    }
    ask(f, "HEAD / HTTP/1.1\r\nHost: x\r\n\r\n", reply, sizeof(reply));
    assert_non_null(strstr(reply, " 200 OK\r\n"));
    assert_string_equal(strstr(reply, "\r\n\r\n"), "\r\n\r\n");
    assert_int_equal(f->asked, 0);
}

static void headers_are_bounded(void **state)
{
    struct fixture *f = *state;
    char request[3 * CAIRN_HTTP_REQUEST_BYTES_MAX] = "GET /metrics HTTP/1.1\r\nX: ", reply[4096];

    memset(request + strlen(request), 'a', 2 * CAIRN_HTTP_REQUEST_BYTES_MAX);
    ask(f, request, reply, sizeof(reply));
    assert_null(strstr(reply, " 200 "));
    assert_int_equal(f->asked, 0);
}

static void large_page_arrives_whole(void **state)
{
    struct fixture *f = *state;
    size_t room = 5 << 20;
    char *reply = malloc(room);
    const char *body;

    f->big = 4 << 20;
    ask(f, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", reply, room);
    body = strstr(reply, "\r\n\r\n");
    assert_non_null(body);
    assert_int_equal(strlen(body + 4), f->big);
    free(reply);
}

/* More than the bound wait outside, and come in when others leave. */
static void connections_are_bounded(void **state)
{
    struct fixture *f = *state;
    int fds[CAIRN_HTTP_CONNECTIONS_MAX + 4];
    char reply[4096];

    for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
        fds[i] = dial(f);
    for (int i = 0; i < 50; i++)
        cairn_loop_turn(&f->loop, 0);
    assert_int_equal(cairn_http_connections(f->http), CAIRN_HTTP_CONNECTIONS_MAX);
    for (size_t i = 0; i < ARRAY_SIZE(fds) - 1; i++)
        close(fds[i]);
    assert_int_equal(send(fds[ARRAY_SIZE(fds) - 1], "GET /metrics HTTP/1.0\r\n\r\n", 25, 0), 25);
    read_all(f, fds[ARRAY_SIZE(fds) - 1], reply, sizeof(reply));
    assert_non_null(strstr(reply, " 200 "));
    close(fds[ARRAY_SIZE(fds) - 1]);
    WHILE_PATIENT (cairn_http_connections(f->http) > 0)
        cairn_loop_turn(&f->loop, 100 * CAIRN_NS_PER_MS);
}

static uint64_t far_future(struct cairn_env *env)
{
    (void)env;
    return UINT64_MAX / 2;
}

/* A peer that is silent, or drips a byte now and then, is cut off by the timer; here it is made due. */
static void silent_peer_is_cut_off(void **state)
{
    struct fixture *f = *state;
    int fd = dial(f);
    const struct cairn_env_ops *real_ops = f->loop.env.ops;
    struct cairn_env_ops late_ops = *real_ops;
    struct cairn_timer *t;
    char reply[4096];

    uint64_t before = cairn_env_now_ns(&f->loop.env);

    late_ops.now_ns = far_future;
    assert_int_equal(send(fd, "GET /me", 7, 0), 7);
    WHILE_PATIENT (cairn_http_connections(f->http) == 0)
        cairn_loop_turn(&f->loop, 100 * CAIRN_NS_PER_MS);
    assert_int_equal(f->loop.env.timers.n, 1);
    t = f->loop.env.timers.heap[1];
    assert_in_range(t->at_ns, before + 1, cairn_env_now_ns(&f->loop.env) + CAIRN_NS_PER_S);
    f->loop.env.ops = &late_ops; /* ten seconds later */
    t->fn(t->arg);
    f->loop.env.ops = real_ops;
    assert_int_equal(read_all(f, fd, reply, sizeof(reply)), 0);
    WHILE_PATIENT (cairn_http_connections(f->http) > 0)
        cairn_loop_turn(&f->loop, 100 * CAIRN_NS_PER_MS);
    assert_int_equal(f->loop.env.timers.n, 0); /* nobody is left: no more wake-ups */
    close(fd);
}

static void stops_with_connections_open(void **state)
{
    struct fixture *f = *state;
    int fd = dial(f), other = dial(f);

    assert_int_equal(send(fd, "GET /metrics", 12, 0), 12);
    WHILE_PATIENT (cairn_http_connections(f->http) < 2)
        cairn_loop_turn(&f->loop, 100 * CAIRN_NS_PER_MS);
    cairn_http_stop(f->http);
    f->http = NULL;
    close(fd);
    close(other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(serves_its_pages, setup, teardown),
        cmocka_unit_test_setup_teardown(says_when_unwell, setup, teardown),
        cmocka_unit_test_setup_teardown(nothing_else_is_served, setup, teardown),
        cmocka_unit_test_setup_teardown(the_root_lists_the_pages, setup, teardown),
        cmocka_unit_test_setup_teardown(headers_are_bounded, setup, teardown),
        cmocka_unit_test_setup_teardown(large_page_arrives_whole, setup, teardown),
        cmocka_unit_test_setup_teardown(connections_are_bounded, setup, teardown),
        cmocka_unit_test_setup_teardown(silent_peer_is_cut_off, setup, teardown),
        cmocka_unit_test_setup_teardown(stops_with_connections_open, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
