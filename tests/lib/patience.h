/* Waits that come to an end: for another thread, for the kernel, for a call. What is still so after PATIENCE_S is said, and
 * the program aborts; a limit on the whole test would tell neither where nor for what. */
#ifndef TESTS_LIB_PATIENCE_H
#define TESTS_LIB_PATIENCE_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { PATIENCE_S = 100 }; /* no measure of anything: what hangs is told before the time of the whole test is over */

static inline int64_t patience_now_s(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec;
}

static inline void patience_check(int64_t since_s, const char *condition, const char *file, int line)
{
    if (patience_now_s() - since_s <= PATIENCE_S)
        return;
    fprintf(stderr, "%s:%d: still so after %d s: %s\n", file, line, PATIENCE_S, condition);
    abort(); /* from any thread */
}

/* As while: of a body that lets others run, and that returns. */
#define WHILE_PATIENT(condition)                                                                                       \
    for (int64_t since_s_ = patience_now_s(); (condition); patience_check(since_s_, #condition, __FILE__, __LINE__))

#endif
