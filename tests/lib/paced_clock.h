/** The clock of the loops, for stories of whole nodes on one thread. Between two looks of the thread that looked first
 * it moves by PACED_STEP_MS at most: time for which the machine gave this program no processor, or its disk no answer,
 * does not count, so no lease runs out for it and no order has taken too long. And the test moves it.
 *
 * A program gets it by -Wl,--wrap=clock_gettime,--wrap=timerfd_settime. Other clocks, of waits between threads and of
 * patience.h, are the machine's. */
#ifndef TESTS_LIB_PACED_CLOCK_H
#define TESTS_LIB_PACED_CLOCK_H

#include <stdint.h>

enum { PACED_STEP_MS = 5 };

/** So much time passes in which no loop turns. */
void paced_clock_pass_ms(uint64_t ms);

#endif
