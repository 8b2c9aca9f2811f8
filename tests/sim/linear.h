/** Whether what clients saw of one register could have happened one by one (linearizability; Herlihy & Wing 1990).
 *
 * The search is Wing & Gong's with Lowe's memory of (done, value) pairs that led nowhere. An operation whose outcome
 * its client does not know may have happened at any time after it began, or never. */
#ifndef CAIRN_TESTS_SIM_LINEAR_H
#define CAIRN_TESTS_SIM_LINEAR_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum linear_kind {
    LINEAR_PUT,
    LINEAR_GET,
    LINEAR_DELETE,
    LINEAR_ERASE,  /* a delete that does not say whether there was anything */
    LINEAR_PUT_NEW /* a put that does nothing if there is something */
};
enum { LINEAR_UNKNOWN = -1 }; /* an end that never came */

struct linear_op {
    enum linear_kind kind;
    uint32_t client;
    uint64_t value;     /* puts: what; get: what was seen, 0: nothing */
    bool existed;       /* of a DELETE and a PUT_NEW: what it said of what was there */
    int64_t begin, end; /* any clock that all clients share; LINEAR_UNKNOWN */
};

/** The history of one register that holds 0 (nothing) at first. Needs no order; bounded by memory, and by @steps_max of
 * the search. 1: linearizable; 0: not; -1: not found out within the bounds. */
int linear_check(const struct linear_op *ops, uint32_t n, uint64_t steps_max);

/** For people: an operation a line, by begin. */
void linear_print(const struct linear_op *ops, uint32_t n, FILE *to);

#endif
