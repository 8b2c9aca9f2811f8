#include "tests/lib/paced_clock.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/timerfd.h>
#include <time.h>

#define NS_PER_S  INT64_C(1000000000)
#define NS_PER_MS INT64_C(1000000)

int __real_clock_gettime(clockid_t clock, struct timespec *t);
int __wrap_clock_gettime(clockid_t clock, struct timespec *t);
int __real_timerfd_settime(int fd, int flags, const struct itimerspec *when, struct itimerspec *old);
int __wrap_timerfd_settime(int fd, int flags, const struct itimerspec *when, struct itimerspec *old);

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_t pacer;
static int64_t looked_ns;            /* the pacer's last look, by the machine's clock */
static _Atomic int64_t uncounted_ns; /* what the machine's clock is ahead of ours by */

static int64_t ns_of(const struct timespec *t)
{
    return t->tv_sec * NS_PER_S + t->tv_nsec;
}

static struct timespec timespec_of(int64_t ns)
{
    return (struct timespec){ .tv_sec = ns / NS_PER_S, .tv_nsec = ns % NS_PER_S };
}

static int64_t machine_now(void)
{
    struct timespec t;

    __real_clock_gettime(CLOCK_BOOTTIME, &t);
    return ns_of(&t);
}

static void begin(void)
{
    pacer = pthread_self();
    looked_ns = machine_now();
}

int __wrap_clock_gettime(clockid_t clock, struct timespec *t)
{
    int64_t now;

    if (clock != CLOCK_BOOTTIME)
        return __real_clock_gettime(clock, t);
    pthread_once(&once, begin);
    now = machine_now();
    if (pthread_equal(pthread_self(), pacer)) {
        if (now - looked_ns > PACED_STEP_MS * NS_PER_MS)
            uncounted_ns += now - looked_ns - PACED_STEP_MS * NS_PER_MS;
        looked_ns = now;
    }
    *t = timespec_of(now - uncounted_ns);
    return 0;
}

/* Absolute, by our clock; 0 disarms. */
int __wrap_timerfd_settime(int fd, int flags, const struct itimerspec *when, struct itimerspec *old)
{
    struct itimerspec machine = *when;

    if (ns_of(&when->it_value) != 0)
        machine.it_value = timespec_of(ns_of(&when->it_value) + uncounted_ns);
    return __real_timerfd_settime(fd, flags, &machine, old);
}

void paced_clock_pass_ms(uint64_t ms)
{
    uncounted_ns -= (int64_t)ms * NS_PER_MS;
}
