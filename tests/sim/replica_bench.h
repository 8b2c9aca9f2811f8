/** A bench for one replica: a node with a log in memory, a disk that is as slow as a story wants, and a note of what the
 * replica said last. Setup and teardown of a test are bench_begin() and bench_end(). */
#ifndef CAIRN_TESTS_SIM_REPLICA_BENCH_H
#define CAIRN_TESTS_SIM_REPLICA_BENCH_H

#include "server/cluster/repl/replica.h"
#include "tests/sim/world.h"

enum { BENCH_LOG_MAX = 3 * CAIRN_SESSIONS_MAX, BENCH_KINDS = CAIRN_REPL_COPIED + 1 };

extern const struct cairn_replica_times bench_times;
static const struct cairn_who n1 = { 1, 11 }, n2 = { 2, 12 }, self = { 3, 13 };

struct bench {
    struct cairn_replica r;
    struct world *world;
    struct cairn_sm_set machines;
    struct cairn_log_entry log[BENCH_LOG_MAX]; /* from position 1 */
    uint64_t end, applying;                    /* applying: the newest that apply() was told of */
    bool syncing, writing, has_no_lease, has_failed, has_no_room, wiped;
    uint32_t cuts, views, said[BENCH_KINDS];
    struct cairn_repl_msg last[BENCH_KINDS]; /* its arrays are gone */
    struct cairn_change proposed;
};

#define WITH(...) ((const struct cairn_who[]){ __VA_ARGS__, { 0 } })

int bench_begin(void **state);
int bench_end(void **state);
/** The record of @epoch: @primary leads, since @since, and is in sync with @others (ended by nobody). */
void bench_learn_since(struct bench *b, uint64_t epoch, uint64_t since, enum cairn_slot_state state,
                       struct cairn_who primary, const struct cairn_who *others);
void bench_learn(struct bench *b, uint64_t epoch, enum cairn_slot_state state, struct cairn_who primary,
                 const struct cairn_who *others);
void bench_append(struct bench *b, struct cairn_who from, uint64_t epoch, struct cairn_at prev,
                  struct cairn_log_entry e, uint64_t commit);
struct cairn_log_entry bench_start(uint64_t epoch, uint64_t pos);
/** What the disk had at the start. */
void bench_append_here(struct bench *b, struct cairn_log_entry e);
/** The slot is with two others, and not here. */
void bench_learn_places(struct bench *b, uint64_t epoch, struct cairn_who primary, struct cairn_who other);
struct cairn_log_entry bench_buffered(uint64_t epoch, uint64_t pos);
void bench_ack(struct bench *b, struct cairn_who from, uint64_t epoch, uint64_t matched);
/** What the disk was asked for is done. */
void bench_disk(struct bench *b);
/** What was asked for is written, and perhaps not on disk. */
void bench_written(struct bench *b);
void bench_apply_all(struct bench *b);

#endif
