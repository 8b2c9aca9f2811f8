/** State machines: the shape of every operation that waits.
 *
 * A kind is a static table of states and allowed moves, and an invariant that says something. cairn_sm_move() alone
 * changes a state: it checks the move against the table and the invariant after it, and writes one record into the ring
 * of its set. A set belongs to one worker (one thread): its list of live machines is what `cairn machines` shows, its
 * ring is what a crash dumps. After canonical/dqlite src/lib/sm.c, with the table itself checked as in cortx-motr
 * sm/sm.h.
 *
 *      static const struct cairn_sm_kind put_kind = { "extent-put", put_states, PUT_NR, put_invariant, 30000 };
 *      cairn_sm_init(&op->sm, &put_kind, set);      in the state marked CAIRN_SM_INITIAL
 *      cairn_sm_move(&op->sm, PUT_PULL);
 *      cairn_sm_fini(&op->sm);                      in a state marked CAIRN_SM_FINAL
 */
#ifndef CAIRN_CORE_SM_H
#define CAIRN_CORE_SM_H

#include "sdk/core/base/err.h"
#include "sdk/core/base/list.h"
#include "sdk/core/env/env.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define CAIRN_SM_TO(state) (UINT32_C(1) << (state))

enum cairn_sm_flags {
    CAIRN_SM_INITIAL = 1, /* exactly one state of a kind */
    CAIRN_SM_FINAL = 2,   /* no way on from here, and the only states in which a machine may end */
    CAIRN_SM_FAILURE = 4, /* reached by cairn_sm_fail(), with sm.rc < 0 */
    CAIRN_SM_RESTING = 8, /* nothing is under way: no stay here is too long */
};

enum { CAIRN_SM_STATES_MAX = 32, CAIRN_SM_KINDS_MAX = 64, CAIRN_SM_RING = 1024 };

struct cairn_sm_state {
    const char *name;
    uint32_t flags;
    uint32_t next; /* CAIRN_SM_TO() of every state that may follow */
};

struct cairn_sm;

struct cairn_sm_kind {
    const char *name; /* "extent-put" */
    const struct cairn_sm_state *states;
    uint32_t nstates;
    bool (*invariant)(const struct cairn_sm *sm);
    uint32_t stuck_ms; /* longer in one state that is not RESTING is reported as stuck; 0: may wait for ever */
};

/** Embedded in the operation. Read @state and @rc freely; cairn_sm_*() alone writes. */
struct cairn_sm {
    struct cairn_link link;
    const struct cairn_sm_kind *kind;
    struct cairn_sm_set *set;
    uint64_t since_ns; /* when the present state was entered */
    uint32_t id;       /* "extent-put#42", unique within the set for 2^32 machines */
    uint32_t parent;   /* id of the machine that this one serves, 0 if none */
    int rc;
    uint8_t state;
};

struct cairn_sm_trace {
    uint64_t ns;
    const struct cairn_sm_kind *kind;
    uint32_t id;
    int32_t rc;
    uint8_t from, to;
};

/** All machines of one worker. */
struct cairn_sm_set {
    struct cairn_env *env;
    struct cairn_link live;
    uint32_t nlive, next_id;
    uint64_t now_ns; /* cached clock: cairn_sm_tick() */
    uint64_t moves;
    struct cairn_sm_trace ring[CAIRN_SM_RING];
};

void cairn_sm_set_init(struct cairn_sm_set *set, struct cairn_env *env);
/** Asserts that no machine lives. */
void cairn_sm_set_fini(struct cairn_sm_set *set);
/** Reads the clock into the set; the loop does so once a turn, so a move costs no clock call. */
void cairn_sm_tick(struct cairn_sm_set *set);

void cairn_sm_init(struct cairn_sm *sm, const struct cairn_sm_kind *kind, struct cairn_sm_set *set);
/** Takes the machine off its set. Asserts a final state. */
void cairn_sm_fini(struct cairn_sm *sm);
void cairn_sm_move(struct cairn_sm *sm, uint32_t state);
/** To a state marked CAIRN_SM_FAILURE; @rc < 0 becomes sm.rc. */
void cairn_sm_fail(struct cairn_sm *sm, uint32_t state, int rc);
/** @rc == 0: to @good, otherwise cairn_sm_fail() to @bad. */
void cairn_sm_move_or_fail(struct cairn_sm *sm, uint32_t good, uint32_t bad, int rc);
bool cairn_sm_is_final(const struct cairn_sm *sm);
static inline const char *cairn_sm_state_name(const struct cairn_sm *sm)
{
    return sm->kind->states[sm->state].name;
}

/** Notes the text of a condition that does not hold, for the message of the assertion that follows. */
bool cairn_sm_holds(bool condition, const char *text);
#define CAIRN_HOLDS(x) cairn_sm_holds((x), #x)

/** Checks a kind's table: one initial state, names unique and present, moves only to states that exist, every state
 * reachable, final states without moves and others with some, a failure state final. The text says what is wrong. */
int cairn_sm_kind_check(const struct cairn_sm_kind *kind, struct cairn_err *err);

/** The table as DOT; and as text, a line a state: "PULL: FLUSH FAILED". Both end with a newline. */
void cairn_sm_kind_dot(const struct cairn_sm_kind *kind, FILE *to);
void cairn_sm_kind_text(const struct cairn_sm_kind *kind, FILE *to);

/** One line per move, oldest first: "[   120] extent-put#42 PULL -> FLUSH" (milliseconds), with " rc=-9" where set. */
void cairn_sm_set_dump(const struct cairn_sm_set *set, int fd);

/** What `cairn machines` asks for: per kind the number of machines in each state, the age of the oldest there, and how
 * many are stuck. The caller holds @rows; returns how many were filled (kinds beyond @max are left out). */
struct cairn_sm_census {
    const struct cairn_sm_kind *kind;
    uint32_t count[CAIRN_SM_STATES_MAX];
    uint64_t oldest_ns[CAIRN_SM_STATES_MAX];
    uint32_t stuck;
};
uint32_t cairn_sm_set_census(struct cairn_sm_set *set, struct cairn_sm_census *rows, uint32_t max);

#endif
