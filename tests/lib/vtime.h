/** A world whose clock stands still until the test moves it: an env with timers, tasks, a seed, and its machines. */
#ifndef CAIRN_TESTS_VTIME_H
#define CAIRN_TESTS_VTIME_H

#include "sdk/core/sm/sm.h"

struct vtime {
    struct cairn_env env;
    struct cairn_sm_set machines;
    uint64_t now_ns, seed;
};

/** Begins at 1 s, so that 0 can mean "never". */
void vtime_init(struct vtime *v, uint64_t seed);
void vtime_fini(struct vtime *v);
/** Runs what is due; if nothing is, moves the clock to the next timer, though not beyond @until_ns, and runs that.
 * False: nothing is left to do before @until_ns, where the clock is now. */
bool vtime_turn(struct vtime *v, uint64_t until_ns);
void vtime_run_ms(struct vtime *v, uint64_t ms);

#endif
