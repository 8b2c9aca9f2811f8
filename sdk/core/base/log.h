/** Log lines: one a fact, written where it is born, in this layer's terms, with identifiers.
 *
 * A line goes to the sink of the calling thread (cairn_log_bind), so that several nodes in one process keep apart; a
 * thread that bound none logs to stderr at level WARN. A sink bounds its own rate: more than 1000 lines a second are
 * counted and the count is said once. */
#ifndef CAIRN_CORE_BASE_LOG_H
#define CAIRN_CORE_BASE_LOG_H

#include <pthread.h>
#include <stdint.h>

enum cairn_log_level { CAIRN_LOG_ERROR, CAIRN_LOG_WARN, CAIRN_LOG_INFO, CAIRN_LOG_DEBUG };

struct cairn_log {
    enum cairn_log_level level;
    int fd;           /* where lines go; not closed by us */
    const char *name; /* the node's name, borrowed; may be NULL */
    pthread_mutex_t mutex;
    uint64_t second;            /* of the rate bound */
    uint32_t lines, suppressed; /* in that second */
};

void cairn_log_init(struct cairn_log *log, int fd, enum cairn_log_level level, const char *name);
void cairn_log_fini(struct cairn_log *log);

/** Lines of the calling thread go to @log from now on (NULL: the default); returns what was bound. */
struct cairn_log *cairn_log_bind(struct cairn_log *log);
struct cairn_log *cairn_log_bound(void);

void cairn_log_line(enum cairn_log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#define cairn_log_error(...) cairn_log_line(CAIRN_LOG_ERROR, __VA_ARGS__)
#define cairn_log_warn(...)  cairn_log_line(CAIRN_LOG_WARN, __VA_ARGS__)
#define cairn_log_info(...)  cairn_log_line(CAIRN_LOG_INFO, __VA_ARGS__)
#define cairn_log_debug(...) cairn_log_line(CAIRN_LOG_DEBUG, __VA_ARGS__)

/** What a failed assertion calls, on the failing thread, before the process ends; per thread, NULL for none. */
void cairn_crash_hook(void (*hook)(void *arg), void *arg);
/** Runs the hook of the calling thread, once: for a program's handler of SIGSEGV and its kin. */
void cairn_crash_tell(void);

#endif
