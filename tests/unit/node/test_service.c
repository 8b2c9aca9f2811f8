/* What a service manager is told, and when it is not: a start that hangs, a worker that hangs. */
#include "sdk/core/base/macros.h"
#include "server/node/node.h"
#include "tests/lib/drawing.h"
#include "tests/lib/patience.h"
#include "tests/lib/scratch.h"

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

enum { LOOK_MS = 50, WAIT_MS = 10000 };

/* The manager's end: what came, in order, with '|' between messages. */
struct manager {
    int fd;
    char path[SCRATCH_MAX + 16];
    char dir[SCRATCH_MAX];
};

static void manager_start(struct manager *m)
{
    struct sockaddr_un un = { .sun_family = AF_UNIX };

    scratch_new(m->dir);
    snprintf(m->path, sizeof(m->path), "%s/notify", m->dir);
    snprintf(un.sun_path, sizeof(un.sun_path), "%s", m->path);
    m->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert_true(m->fd >= 0);
    assert_int_equal(bind(m->fd, (struct sockaddr *)&un, sizeof(un)), 0);
}

static void manager_stop(struct manager *m)
{
    close(m->fd);
    scratch_remove(m->dir);
}

/* The next message within @ms; "" if there is none. */
static const char *next(struct manager *m, int ms)
{
    static char text[2048];
    struct pollfd p = { .fd = m->fd, .events = POLLIN };
    ssize_t n = poll(&p, 1, ms) == 1 ? recv(m->fd, text, sizeof(text) - 1, 0) : 0;

    assert_true(n >= 0);
    text[n] = '\0';
    return text;
}

static void drop_all(struct manager *m)
{
    while (*next(m, 0) != '\0')
        ;
}

static int open_with(struct cairn_notify *n, const char *path, const char *watchdog, const char *pid)
{
    struct cairn_err err;

    cairn_notify_init(n);
    n->look_ns = LOOK_MS * CAIRN_NS_PER_MS;
    if (path != NULL)
        setenv("NOTIFY_SOCKET", path, 1);
    if (watchdog != NULL)
        setenv("WATCHDOG_USEC", watchdog, 1);
    if (pid != NULL)
        setenv("WATCHDOG_PID", pid, 1);
    return cairn_notify_open(n, &err);
}

static void the_environment_is_taken(void **state)
{
    static const char *const not_numbers[] = { "", "-1", "5x", "99999999999999999999999", "18446744073709551615" };
    struct cairn_notify n;
    char long_path[200], pid[16];

    (void)state;
    assert_int_equal(open_with(&n, NULL, "3000000", NULL), 0);
    assert_int_equal(n.watchdog_ns, 0); /* nobody to tell */
    cairn_notify_ready(&n, "is said to nobody");
    cairn_notify_close(&n);

    memset(long_path, 'x', sizeof(long_path));
    long_path[0] = '/';
    long_path[sizeof(long_path) - 1] = '\0';
    assert_int_equal(open_with(&n, long_path, NULL, NULL), CAIRN_E_INVAL);
    assert_int_equal(open_with(&n, "relative", NULL, NULL), CAIRN_E_INVAL);
    assert_int_equal(open_with(&n, "@", NULL, NULL), CAIRN_E_INVAL);

    snprintf(pid, sizeof(pid), "%d", (int)getpid());
    assert_int_equal(open_with(&n, "/nowhere", "3000000", pid), 0);
    assert_int_equal(n.watchdog_ns, 3 * CAIRN_NS_PER_S);
    cairn_notify_ready(&n, "a manager that is away is no reason to end");
    cairn_notify_close(&n);
    assert_null(getenv("NOTIFY_SOCKET"));
    assert_null(getenv("WATCHDOG_USEC"));
    assert_null(getenv("WATCHDOG_PID"));

    assert_int_equal(open_with(&n, "/nowhere", "3000000", "1"), 0);
    assert_int_equal(n.watchdog_ns, 0); /* meant for another process */
    cairn_notify_close(&n);
    for (size_t i = 0; i < ARRAY_SIZE(not_numbers); i++) {
        assert_int_equal(open_with(&n, "/nowhere", not_numbers[i], NULL), 0);
        assert_int_equal(n.watchdog_ns, 0);
        cairn_notify_close(&n);
    }
}

static void an_abstract_socket(void **state)
{
    struct sockaddr_un un = { .sun_family = AF_UNIX };
    struct manager m = { .fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0) };
    struct cairn_notify n;
    char name[64];
    int len = snprintf(name, sizeof(name), "@cairn-test-service-%d", (int)getpid());

    (void)state;
    memcpy(un.sun_path + 1, name + 1, (size_t)len - 1);
    assert_int_equal(bind(m.fd, (struct sockaddr *)&un, (socklen_t)(sizeof(un.sun_family) + (size_t)len)), 0);
    assert_int_equal(open_with(&n, name, NULL, NULL), 0);
    cairn_notify_ready(&n, "here");
    assert_string_equal(next(&m, WAIT_MS), "READY=1\nSTATUS=here");
    cairn_notify_status(&n, "one\nREADY=1 %d", 2); /* text of others does not become an assignment */
    assert_string_equal(next(&m, WAIT_MS), "STATUS=one READY=1 2");
    cairn_notify_close(&n);
    close(m.fd);
}

static void *read_late(void *arg)
{
    struct manager *m = arg;
    const char *text;

    poll(NULL, 0, 2 * LOOK_MS);
    do
        text = next(m, WAIT_MS);
    while (*text != '\0' && strncmp(text, "READY=1", 7) != 0);
    return (void *)(uintptr_t)(*text != '\0');
}

/* A manager that has too much to read takes no more of what may be lost, and gets the one message that may not. */
static void that_it_is_ready_is_never_lost(void **state)
{
    struct manager m;
    struct cairn_notify n;
    pthread_t thread;
    void *got;
    int sent = 0;

    (void)state;
    manager_start(&m);
    assert_int_equal(open_with(&n, m.path, NULL, NULL), 0);
    while (sent < 100000 && sendto(n.fd, "X", 1, MSG_DONTWAIT, (struct sockaddr *)&n.to, n.to_len) == 1)
        sent++;
    assert_in_range(sent, 1, 99999);
    cairn_notify_alive(&n); /* returns */
    assert_int_equal(pthread_create(&thread, NULL, read_late, &m), 0);
    cairn_notify_ready(&n, "now");
    assert_int_equal(pthread_join(thread, &got), 0);
    assert_non_null(got);
    cairn_notify_close(&n);
    manager_stop(&m);
}

/* So long of the processor, however long it takes to get that. */
static void compute(int ms)
{
    struct timespec began, now;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &began);
    do
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    while ((now.tv_sec - began.tv_sec) * 1000 + (now.tv_nsec - began.tv_nsec) / 1000000 < ms);
}

/* What comes of work, which goes on until its look has seen some of it. */
static const char *next_of_work(struct manager *m)
{
    const char *text;

    WHILE_PATIENT (*(text = next(m, 0)) == '\0')
        compute(LOOK_MS);
    return text;
}

/* A start that replays a log asks for more and more time; one that hangs does not, and a node that serves needs
 * none. */
static void more_time_only_for_who_gets_on(void **state)
{
    static struct manager m; /* as the thread goes on when an assertion fails */
    static struct cairn_notify n;
    struct cairn_err err;

    (void)state;
    manager_start(&m);
    assert_int_equal(open_with(&n, m.path, NULL, NULL), 0);
    assert_int_equal(cairn_notify_starting(&n, &err), 0);
    assert_string_equal(next(&m, WAIT_MS), "STATUS=starting\nEXTEND_TIMEOUT_USEC=60000000");
    for (int i = 0; i < 3; i++) {
        assert_string_equal(next_of_work(&m), "EXTEND_TIMEOUT_USEC=60000000");
        drop_all(&m);
    }
    WHILE_PATIENT (*next(&m, 6 * LOOK_MS) != '\0') /* a look may still see what was computed */
        continue;

    cairn_notify_ready(&n, "serving");
    assert_string_equal(next(&m, WAIT_MS), "READY=1\nSTATUS=serving");
    compute(4 * LOOK_MS);
    assert_string_equal(next(&m, 0), "");

    cairn_notify_stopping(&n, 5 * CAIRN_NS_PER_S);
    assert_string_equal(next(&m, WAIT_MS), "STOPPING=1\nSTATUS=draining: running requests are answered\n"
                                           "EXTEND_TIMEOUT_USEC=65000000");
    assert_string_equal(next_of_work(&m), "EXTEND_TIMEOUT_USEC=60000000");
    cairn_notify_close(&n);
    manager_stop(&m);
}

/* Turns of both loops, or of the first alone, for a while. */
static void turn(struct cairn_loop *loops, uint32_t n, int ms)
{
    for (int i = 0; i < ms; i += 5) {
        cairn_loop_turn(&loops[0], 5 * CAIRN_NS_PER_MS);
        for (uint32_t j = 1; j < n; j++)
            cairn_loop_turn(&loops[j], 0);
    }
}

static void a_worker_that_hangs_is_not_alive(void **state)
{
    struct cairn_loop loops[3], *list[3];
    struct cairn_watchdog *d = NULL;
    struct cairn_err err;
    struct manager m;
    struct cairn_notify n;

    (void)state;
    manager_start(&m);
    assert_int_equal(open_with(&n, m.path, "150000", NULL), 0);
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(cairn_loop_init(&loops[i], NULL, &err), 0);
        list[i] = &loops[i];
    }
    assert_int_equal(cairn_watchdog_new(&n, list, 3, &d, &err), 0);
    assert_non_null(d);
    cairn_watchdog_start(d);
    for (int i = 0; i < 3; i++) {
        turn(loops, 3, 200);
        assert_string_equal(next(&m, 0), "WATCHDOG=1");
        drop_all(&m);
    }
    turn(loops, 2, 100); /* the third is away, and after a look that was under way nothing is said */
    drop_all(&m);
    turn(loops, 2, 500);
    assert_string_equal(next(&m, 0), "");
    turn(loops, 3, 200);
    assert_string_equal(next(&m, 0), "WATCHDOG=1");
    turn(loops, 2, 200); /* it ends while a part is away, which comes back later */
    cairn_watchdog_stop(d);
    drop_all(&m);
    turn(loops, 3, 100);
    assert_string_equal(next(&m, 0), "");
    for (uint32_t i = 0; i < 3; i++)
        cairn_loop_fini(&loops[i]);
    cairn_watchdog_free(d);
    cairn_notify_close(&n);
    manager_stop(&m);
}

static void hang(void *arg)
{
    WHILE_PATIENT (!atomic_load((atomic_bool *)arg))
        poll(NULL, 0, 1);
}

/* The same of a whole node: three of its workers answer, the fourth is caught in a callback. */
static void a_node_with_a_worker_that_hangs(void **state)
{
    struct cairn_server_options o = CAIRN_SERVER_OPTIONS_INIT;
    struct cairn_server *s = NULL;
    struct cairn_task task;
    struct manager m;
    atomic_bool over = false;
    char path[SCRATCH_MAX + 16], text[512];
    FILE *f;

    (void)state;
    manager_start(&m);
    snprintf(path, sizeof(path), "%s/cairn.yaml", m.dir);
    f = fopen(path, "w");
    assert_non_null(f);
    fprintf(f,
            "node: { data: %s/d, workers: 4 }\nworkspace: %s/w\nlisten: [ \"unix://%s/s\" ]\n"
            "providers:\n  - { name: kv, type: kv, backend: memory }\n",
            m.dir, m.dir, m.dir);
    fclose(f);
    setenv("NOTIFY_SOCKET", m.path, 1);
    setenv("WATCHDOG_USEC", "300000", 1);
    o.file = path;
    o.service = true;
    if (cairn_server_start(&o, &s, text, sizeof(text)) != 0)
        fail_msg("%s", text);
    assert_null(getenv("NOTIFY_SOCKET"));
    while (strcmp(next(&m, WAIT_MS), "WATCHDOG=1") != 0)
        ;
    cairn_task_init(&task, hang, &over);
    cairn_loop_post(&s->workers[2].loop, &task);
    while (*next(&m, 500) != '\0') /* silent for longer than the manager waits */
        ;
    atomic_store(&over, true);
    while (strcmp(next(&m, WAIT_MS), "WATCHDOG=1") != 0)
        ;
    cairn_server_free(s);
    manager_stop(&m);
}

static void nobody_asks_for_a_watchdog(void **state)
{
    struct cairn_watchdog *d = NULL;
    struct cairn_err err;
    struct cairn_notify n;

    (void)state;
    assert_int_equal(open_with(&n, "/nowhere", NULL, NULL), 0);
    assert_int_equal(cairn_watchdog_new(&n, NULL, 0, &d, &err), 0);
    assert_null(d);
    cairn_watchdog_start(d);
    cairn_watchdog_stop(d);
    cairn_watchdog_free(d);
    cairn_notify_close(&n);
}

static void drawing_and_table_agree(void **state)
{
    char why[DRAWING_WHY_MAX];

    (void)state;
    if (!drawing_file_matches(&cairn_watchdog_kind, CAIRN_SOURCE_DIR "/server/node/watchdog.c", why))
        fail_msg("%s", why);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_environment_is_taken),         cmocka_unit_test(an_abstract_socket),
        cmocka_unit_test(that_it_is_ready_is_never_lost),   cmocka_unit_test(more_time_only_for_who_gets_on),
        cmocka_unit_test(a_worker_that_hangs_is_not_alive), cmocka_unit_test(a_node_with_a_worker_that_hangs),
        cmocka_unit_test(nobody_asks_for_a_watchdog),       cmocka_unit_test(drawing_and_table_agree),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
