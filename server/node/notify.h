/** What a service manager is told of this process (sd_notify(3)): that it is ready, stops, is alive, and that a start
 * or a stop takes its time for a reason. Without a manager every call does nothing. */
#ifndef CAIRN_NODE_NOTIFY_H
#define CAIRN_NODE_NOTIFY_H

#include "sdk/core/base/err.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

enum cairn_notify_phase { CAIRN_NOTIFY_CHANGING, CAIRN_NOTIFY_STEADY, CAIRN_NOTIFY_ENDED };

struct cairn_notify {
    int fd; /* -1: nobody wants to know */
    struct sockaddr_un to;
    socklen_t to_len;
    uint64_t watchdog_ns; /* the manager ends a process that is silent for longer; 0: it does not */
    uint64_t look_ns;     /* how often a start or stop is looked at: 5 s */

    bool has_thread;
    pthread_t thread; /* asks for more time while the phase is CHANGING and the process gets on */
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    enum cairn_notify_phase phase; /* under mutex */
};

/** Says nothing to anybody, and may be closed. */
void cairn_notify_init(struct cairn_notify *n);
/** Takes $NOTIFY_SOCKET, $WATCHDOG_USEC and $WATCHDOG_PID out of the environment, so that no child speaks for us. No
 * other thread may run. A socket that cannot be used is CAIRN_E_INVAL: the manager would wait in vain. */
int cairn_notify_open(struct cairn_notify *n, struct cairn_err *err);
/** Begins to ask for more time, until cairn_notify_ready(). */
int cairn_notify_starting(struct cairn_notify *n, struct cairn_err *err);
/** A start that waits for something else, at most for @left_ns: that much more time, and why. */
void cairn_notify_waiting(struct cairn_notify *n, uint64_t left_ns, const char *why);
/** Waits some seconds for a manager that has much to read: not for loops. */
void cairn_notify_ready(struct cairn_notify *n, const char *status);
/** From here until the close a stop may take @drain_ns, and longer as long as the process gets on. */
void cairn_notify_stopping(struct cairn_notify *n, uint64_t drain_ns);
/** One line for people, "STATUS=" in front. */
void cairn_notify_status(struct cairn_notify *n, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void cairn_notify_alive(struct cairn_notify *n);
void cairn_notify_close(struct cairn_notify *n);

#endif
