/** Random walks of the replicated world, each by its seed. */
#ifndef CAIRN_TESTS_SIM_REPL_WALK_H
#define CAIRN_TESTS_SIM_REPL_WALK_H

#include "tests/sim/repl_world.h"

enum { REPL_WALK_COUNTS_MAX = 96 };

struct repl_walk_way {
    uint64_t seed;
    bool traces;       /* states, too: slower, and another trace */
    uint64_t fails_at; /* as of struct repl_world_conf */
};

struct repl_walk_end {
    uint64_t events, trace;
};

/** How often each fault, and whatever follows from them, has happened. */
struct repl_walk_counts {
    uint64_t walks, all[REPL_WALK_COUNTS_MAX];
};

/** One walk, judged: an assertion that fails says by which command it is seen again, and ends the program. Its counts
 * are added to *@counts. */
struct repl_walk_end repl_walk(const struct repl_walk_way *way, struct repl_walk_counts *counts);
void repl_walk_print(const struct repl_walk_counts *c, FILE *to);
/** What (some hundreds of) walks that have met everything would have more of; NULL: nothing. */
const char *repl_walk_missed(const struct repl_walk_counts *c);

/** CAIRN_SEEDS: so many walks ("2000"), or which ("2001-5000"). False, and the range as it is: it is not set. */
bool repl_walk_seeds(uint64_t *first, uint64_t *last);

#endif
