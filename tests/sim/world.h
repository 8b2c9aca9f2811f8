/** A simulated world: nodes with clocks of their own, and a network between them, in one thread and virtual time.
 *
 * What decides takes its world through struct cairn_env (timers, dice, clock) and sends bytes with world_send().
 * Everything that happens follows from the seed, so a failing run is replayed by its seed. It knows no protocol: the
 * group's and others' cores run on the same world.
 *
 * Faults, any of them at any time: packets late, lost, twice, out of order; links cut in one direction; partitions,
 * whole, partial and one-way;
 * nodes that crash, stall, are slow, or whose clocks run fast, slow or ahead. */
#ifndef CAIRN_TESTS_SIM_WORLD_H
#define CAIRN_TESTS_SIM_WORLD_H

#include "sdk/core/env/env.h"

#include <stddef.h>

enum { WORLD_CUTS_MAX = 256, WORLD_SIDES_MAX = 8 };

struct world;

struct world_conf {
    uint64_t seed;
    uint32_t nodes;
    uint64_t latency_ns, jitter_ns; /* of each packet: latency + up to jitter; jitter alone reorders */
    uint32_t loss_ppm, twice_ppm;
    uint32_t straggler_ppm; /* packets that take straggler_ns longer */
    uint64_t straggler_ns;
    /** A packet has come; @bytes are the world's. Nodes that are down get none. */
    void (*deliver)(void *arg, uint32_t to, uint32_t from, const uint8_t *bytes, size_t len);
    void *arg;
};

/** NULL: no memory. */
struct world *world_new(const struct world_conf *conf);
void world_free(struct world *w);
/** May be changed at any time: what is sent from now on. */
struct world_conf *world_conf(struct world *w);

uint64_t world_now_ns(const struct world *w);
/** Dice of the world's own: for those who decide what goes wrong. */
uint64_t world_random(struct world *w);
/** True with the probability @ppm in a million. */
bool world_chance(struct world *w, uint32_t ppm);

/** What happens until @ns of world time; then it is @ns. */
void world_run_until(struct world *w, uint64_t ns);
/** One thing that happens; false if nothing is left before @ns. */
bool world_step(struct world *w, uint64_t ns);

/** The world as node @i sees it. */
struct cairn_env *world_env(struct world *w, uint32_t i);
void world_send(struct world *w, uint32_t from, uint32_t to, const void *bytes, size_t len);

/* ---- faults ---- */

/** Down: packets to it are lost, its timers and tasks are gone. Up again: an env as new. All are up at first. */
void world_crash(struct world *w, uint32_t i);
void world_restart(struct world *w, uint32_t i);
bool world_is_up(const struct world *w, uint32_t i);
/** It runs nothing for @ns; packets wait for it. */
void world_stall(struct world *w, uint32_t i, uint64_t ns);
/** Every packet and timer takes up to @ns longer there. */
void world_slow(struct world *w, uint32_t i, uint64_t ns);
/** Its clock is @ahead_ns ahead from now on, and runs @drift_ppm fast. */
void world_clock(struct world *w, uint32_t i, uint64_t ahead_ns, int32_t drift_ppm);
/** Packets from @from to @to are lost. */
void world_cut(struct world *w, uint32_t from, uint32_t to);
/** Or they are on different sides. */
bool world_is_cut(const struct world *w, uint32_t from, uint32_t to);
/** Nodes on different sides do not hear each other, but for what world_hear() says; all are on side 0 at first. */
void world_side(struct world *w, uint32_t i, uint32_t side);
/** What comes from side @from is heard on side @to all the same. One way of two: a partition that is one-way; both ways
 * between some sides and not between others: one that is partial. */
void world_hear(struct world *w, uint32_t from, uint32_t to);
/** All on side 0, as before the partition; cuts stay. */
void world_join(struct world *w);
/** No cuts, one side. */
void world_heal(struct world *w);

struct world_counts {
    uint64_t packets, bytes;
    uint64_t lost; /* by chance, by a cut, or because nobody was there */
    /* What became of packets: on links that are cut both ways, and one way; those that took another's place; to a node
     * that is slow, stalled, down. */
    uint64_t lost_by_chance, cut, cut_one_way, twice, stragglers, reordered, slowed, stalled, to_the_dead;
    uint64_t other_side;                      /* of those that were cut: by a partition */
    uint64_t crashes, clocks_set, late_wakes; /* clocks_set: that drift; late_wakes: timers of slow or stalled nodes */
    uint64_t trace; /* a hash of all that was delivered, of every wake and every fault: equal seeds give equal traces */
};
const struct world_counts *world_counts(const struct world *w);
/** Whoever looks into what runs on the world adds it to the trace. */
void world_trace(struct world *w, const void *bytes, size_t len);

#endif
