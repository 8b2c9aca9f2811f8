/* Telling the service manager: see notify.h.
 *
 * A message is one datagram. Most never wait for room in the manager's queue, since some are sent by a loop; that the
 * node is ready does, without which the start would have been for nothing. What was not sent is said in the log.
 * While a node starts (a log is replayed) or stops (requests are answered, memory is written out), a thread looks
 * every few seconds whether the process gets on, by what it computed and by the blocks it moved, and asks for more
 * time only if so: a start that hangs is ended by the manager's own time-out. */
#include "server/node/notify.h"

#include "sdk/core/base/log.h"
#include "sdk/core/base/macros.h"
#include "sdk/core/env/env.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { LOOK_S = 5, EXTEND_S = 60, READY_WAIT_S = 10, MESSAGE_BYTES = 1024 };
enum { EFFORT_MIN = 1000 }; /* µs of computing or blocks moved in LOOK_S: an idle node's timers need less */

void cairn_notify_init(struct cairn_notify *n)
{
    memset(n, 0, sizeof(*n));
    n->fd = -1;
    n->look_ns = LOOK_S * CAIRN_NS_PER_S;
}

/* ---- the environment ---- */

static int take_socket(struct cairn_notify *n, const char *path, struct cairn_err *err)
{
    const struct timeval wait = { .tv_sec = READY_WAIT_S };
    size_t len = strlen(path);

    if ((path[0] != '/' && path[0] != '@') || len < 2 || len >= sizeof(n->to.sun_path))
        return cairn_err_set(
            err, CAIRN_E_INVAL,
            "$NOTIFY_SOCKET is '%.120s': expected the absolute path, or the abstract name after '@', of "
            "a socket",
            path);
    n->to.sun_family = AF_UNIX;
    memcpy(n->to.sun_path, path, len + 1);
    n->to_len = sizeof(n->to);
    if (path[0] == '@') {
        n->to.sun_path[0] = '\0';
        n->to_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
    }
    n->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    return n->fd < 0 || setsockopt(n->fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof(wait)) != 0
               ? cairn_err_errno(err, errno, "$NOTIFY_SOCKET")
               : 0;
}

static uint64_t read_number(const char *name)
{
    const char *text = getenv(name);
    unsigned long long x;
    char *end;

    if (text == NULL || text[0] < '0' || text[0] > '9')
        return 0;
    errno = 0;
    x = strtoull(text, &end, 10);
    return errno == 0 && *end == '\0' ? x : 0;
}

int cairn_notify_open(struct cairn_notify *n, struct cairn_err *err)
{
    const char *path = getenv("NOTIFY_SOCKET");
    uint64_t usec = read_number("WATCHDOG_USEC"), whose = read_number("WATCHDOG_PID");
    int rc = path != NULL && path[0] != '\0' ? take_socket(n, path, err) : 0;

    if (n->fd >= 0 && usec <= UINT64_MAX / 1000 && (whose == 0 || whose == (uint64_t)getpid()))
        n->watchdog_ns = usec * 1000;
    unsetenv("NOTIFY_SOCKET");
    unsetenv("WATCHDOG_USEC");
    unsetenv("WATCHDOG_PID");
    return rc;
}

/* ---- messages ---- */

static void send_to(struct cairn_notify *n, const char *text, int flags)
{
    if (n->fd >= 0 &&
        sendto(n->fd, text, strlen(text), flags | MSG_NOSIGNAL, (const struct sockaddr *)&n->to, n->to_len) < 0)
        cairn_log_warn("the service manager was not told '%.40s': %s", text, strerror(errno));
}

static void say(struct cairn_notify *n, const char *text)
{
    send_to(n, text, MSG_DONTWAIT);
}

static void say_extend(struct cairn_notify *n, const char *before, uint64_t ns)
{
    char text[MESSAGE_BYTES];

    snprintf(text, sizeof(text), "%sEXTEND_TIMEOUT_USEC=%" PRIu64, before, ns / 1000);
    say(n, text);
}

void cairn_notify_status(struct cairn_notify *n, const char *fmt, ...)
{
    char text[MESSAGE_BYTES] = "STATUS=";
    size_t at = strlen(text);
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text + at, sizeof(text) - at, fmt, ap);
    va_end(ap);
    for (char *p = text; *p != '\0'; p++) { /* a line end begins another assignment */
        if (*p == '\n')
            *p = ' ';
    }
    say(n, text);
}

void cairn_notify_alive(struct cairn_notify *n)
{
    say(n, "WATCHDOG=1");
}

/* ---- more time ---- */

static uint64_t effort(void)
{
    struct timespec cpu = { 0 };
    struct rusage use = { 0 };

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu);
    getrusage(RUSAGE_SELF, &use);
    return (uint64_t)cpu.tv_sec * 1000000 + (uint64_t)cpu.tv_nsec / 1000 +
           ((uint64_t)use.ru_inblock + (uint64_t)use.ru_oublock) * EFFORT_MIN;
}

static struct timespec after(uint64_t ns)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    ns += (uint64_t)t.tv_nsec;
    t.tv_sec += (time_t)(ns / CAIRN_NS_PER_S);
    t.tv_nsec = (long)(ns % CAIRN_NS_PER_S);
    return t;
}

static void *ask_for_time(void *arg)
{
    struct cairn_notify *n = arg;
    uint64_t before = effort();

    pthread_setname_np(pthread_self(), "cairn-notify");
    pthread_mutex_lock(&n->mutex);
    while (n->phase != CAIRN_NOTIFY_ENDED) {
        struct timespec until = after(n->look_ns);
        uint64_t now;

        if (n->phase == CAIRN_NOTIFY_STEADY) {
            pthread_cond_wait(&n->changed, &n->mutex);
            before = effort();
            continue;
        }
        if (pthread_cond_timedwait(&n->changed, &n->mutex, &until) != ETIMEDOUT || n->phase != CAIRN_NOTIFY_CHANGING)
            continue;
        now = effort();
        if (now - before >= EFFORT_MIN)
            say_extend(n, "", EXTEND_S * CAIRN_NS_PER_S);
        before = now;
    }
    pthread_mutex_unlock(&n->mutex);
    return NULL;
}

static void set_phase(struct cairn_notify *n, enum cairn_notify_phase phase)
{
    if (!n->has_thread)
        return;
    pthread_mutex_lock(&n->mutex);
    n->phase = phase;
    pthread_cond_signal(&n->changed);
    pthread_mutex_unlock(&n->mutex);
}

int cairn_notify_starting(struct cairn_notify *n, struct cairn_err *err)
{
    pthread_condattr_t attr;
    int e;

    if (n->fd < 0)
        return 0;
    say_extend(n, "STATUS=starting\n", EXTEND_S * CAIRN_NS_PER_S);
    n->phase = CAIRN_NOTIFY_CHANGING;
    pthread_mutex_init(&n->mutex, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&n->changed, &attr);
    pthread_condattr_destroy(&attr);
    e = pthread_create(&n->thread, NULL, ask_for_time, n);
    if (e != 0) {
        pthread_cond_destroy(&n->changed);
        pthread_mutex_destroy(&n->mutex);
        return cairn_err_errno(err, e, "thread for the service manager");
    }
    n->has_thread = true;
    return 0;
}

void cairn_notify_waiting(struct cairn_notify *n, uint64_t left_ns, const char *why)
{
    cairn_notify_status(n, "waiting: %s", why);
    say_extend(n, "", left_ns + EXTEND_S * CAIRN_NS_PER_S);
}

void cairn_notify_ready(struct cairn_notify *n, const char *status)
{
    char text[MESSAGE_BYTES];

    set_phase(n, CAIRN_NOTIFY_STEADY);
    snprintf(text, sizeof(text), "READY=1\nSTATUS=%s", status);
    send_to(n, text, 0);
}

void cairn_notify_stopping(struct cairn_notify *n, uint64_t drain_ns)
{
    say_extend(n, "STOPPING=1\nSTATUS=draining: running requests are answered\n", drain_ns + EXTEND_S * CAIRN_NS_PER_S);
    set_phase(n, CAIRN_NOTIFY_CHANGING);
}

void cairn_notify_close(struct cairn_notify *n)
{
    if (n->has_thread) {
        set_phase(n, CAIRN_NOTIFY_ENDED);
        pthread_join(n->thread, NULL);
        pthread_cond_destroy(&n->changed);
        pthread_mutex_destroy(&n->mutex);
        n->has_thread = false;
    }
    if (n->fd >= 0)
        close(n->fd);
    n->fd = -1;
}
