/** What the yardsticks and the Cairn driver share: a clock, a histogram of latencies, options, and one line of JSON
 * out. */
#ifndef CAIRN_TESTS_BENCH_H
#define CAIRN_TESTS_BENCH_H

#include <stddef.h>
#include <stdint.h>
#include <stdnoreturn.h>
#include <time.h>

static inline uint64_t bench_now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * UINT64_C(1000000000) + (uint64_t)ts.tv_nsec;
}

/** Latencies in nanoseconds, exact below 64 and within 1/64 above; no allocation, no sorting at the end. */
enum { BENCH_HIST_SUB_BITS = 6, BENCH_HIST_SLOTS = (64 - BENCH_HIST_SUB_BITS + 1) << BENCH_HIST_SUB_BITS };
struct bench_hist {
    uint64_t n;
    uint64_t slot[BENCH_HIST_SLOTS];
};
void bench_hist_add(struct bench_hist *h, uint64_t ns);
/** The middle of the slot below which @q (0 to 1) of all values lie; 0 if there are none. */
double bench_hist_ns(const struct bench_hist *h, double q);

/** A cheap random number; @state must not be 0. */
static inline uint64_t bench_rand(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/** @n bytes of @fill, aligned; in huge pages from a MiB on, for the yardstick as for Cairn. */
void *bench_buffer(size_t n, int fill);

/** Options are words "--name value" after the subcommand; any that nobody asks for is an error (bench_opt_done). */
void bench_opt_init(int argc, char **argv);
const char *bench_opt_str(const char *name, const char *fallback);
uint64_t bench_opt_u64(const char *name, uint64_t fallback);
double bench_opt_double(const char *name, double fallback);
void bench_opt_done(void);

/** Prints "PROGRAM: ..." to stderr and ends the process with status 1. */
noreturn void bench_die(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#endif
