/* Log lines and assertions: see log.h. */
#include "sdk/core/base/log.h"

#include "sdk/core/base/macros.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { LOG_LINE_BYTES_MAX = 1024, LOG_LINES_PER_SECOND_MAX = 1000 };

static _Thread_local struct cairn_log *bound_log;
static _Thread_local void (*crash_hook)(void *arg);
static _Thread_local void *crash_hook_arg;

void cairn_log_init(struct cairn_log *log, int fd, enum cairn_log_level level, const char *name)
{
    memset(log, 0, sizeof(*log));
    log->fd = fd;
    log->level = level;
    log->name = name;
    pthread_mutex_init(&log->mutex, NULL);
}

void cairn_log_fini(struct cairn_log *log)
{
    if (bound_log == log)
        bound_log = NULL;
    pthread_mutex_destroy(&log->mutex);
}

struct cairn_log *cairn_log_bind(struct cairn_log *log)
{
    struct cairn_log *old = bound_log;

    bound_log = log;
    return old;
}

struct cairn_log *cairn_log_bound(void)
{
    return bound_log;
}

/* True if the line may go out. Called under the mutex; *@missed is set when lines were held back before it. */
static bool log_admit(struct cairn_log *log, uint64_t second, uint32_t *missed)
{
    if (log->second != second) {
        *missed = log->suppressed;
        log->second = second;
        log->lines = log->suppressed = 0;
    }
    if (log->lines == LOG_LINES_PER_SECOND_MAX) {
        log->suppressed++;
        return false;
    }
    log->lines++;
    return true;
}

static void write_all(int fd, const char *p, size_t n)
{
    while (n > 0) {
        ssize_t w = write(fd, p, n);

        if (w <= 0)
            return; /* a log that cannot be written must not stop the service */
        p += w;
        n -= (size_t)w;
    }
}

void cairn_log_line(enum cairn_log_level level, const char *fmt, ...)
{
    static const char *const names[] = { "error", "warn", "info", "debug" };
    struct cairn_log *log = bound_log;
    char line[LOG_LINE_BYTES_MAX];
    struct timespec ts;
    struct tm tm;
    size_t n;
    int w;
    va_list ap;

    if (level > (log != NULL ? log->level : CAIRN_LOG_WARN))
        return;
    clock_gettime(CLOCK_REALTIME, &ts);
    gmtime_r(&ts.tv_sec, &tm);
    n = strftime(line, sizeof(line), "%Y-%m-%dT%H:%M:%S", &tm);
    w = snprintf(line + n, sizeof(line) - n, ".%03ldZ %-5s %s%s", ts.tv_nsec / 1000000, names[level],
                 log != NULL && log->name != NULL ? log->name : "", log != NULL && log->name != NULL ? ": " : "");
    n += (size_t)MAX(w, 0);
    va_start(ap, fmt);
    w = vsnprintf(line + n, sizeof(line) - n - 1, fmt, ap);
    va_end(ap);
    n = MIN(n + (size_t)MAX(w, 0), sizeof(line) - 2);
    for (size_t i = 0; i < n; i++) { /* one line stays one line whatever a peer put into a name */
        if ((unsigned char)line[i] < ' ')
            line[i] = '?';
    }
    line[n++] = '\n';
    if (log == NULL) {
        write_all(STDERR_FILENO, line, n);
        return;
    }
    uint32_t missed = 0;
    bool admitted;
    pthread_mutex_lock(&log->mutex);
    admitted = log_admit(log, (uint64_t)ts.tv_sec, &missed);
    pthread_mutex_unlock(&log->mutex);
    if (missed > 0)
        dprintf(log->fd, "%u lines were held back in one second\n", missed);
    if (admitted)
        write_all(log->fd, line, n);
}

void cairn_crash_hook(void (*hook)(void *arg), void *arg)
{
    crash_hook = hook;
    crash_hook_arg = arg;
}

void cairn_crash_tell(void)
{
    void (*hook)(void *arg) = crash_hook;

    crash_hook = NULL; /* what crashes in it must not come here again */
    if (hook != NULL)
        hook(crash_hook_arg);
}

void cairn_assert_failed(const char *expr, const char *file, int line)
{
    cairn_log_error("assertion failed: %s at %s:%d", expr, file, line);
    cairn_crash_tell();
    abort();
}
