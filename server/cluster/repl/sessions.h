/** The sessions of one slot: which numbered writes of which client were done, and with what result (PROTOCOL §8;
 * RIFL, Lee et al., SOSP 2015).
 *
 * The table is a function of the slot's log: every replica changes it when an entry is appended, cut or applied, and in
 * no other way; so a retry finds its answer at whoever is primary. An entry counts from its appending on, with its
 * position; the result comes when it is applied. The primary keeps to CAIRN_SESSIONS_MAX and CAIRN_SESSION_WRITES_MAX
 * when it appends. What is in a log is taken by whoever reads it: there, sessions that end are still counted where what
 * ends them is not applied yet, at a start all since the last checkpoint. */
#ifndef CAIRN_SERVER_CLUSTER_REPL_SESSIONS_H
#define CAIRN_SERVER_CLUSTER_REPL_SESSIONS_H

#include "server/cluster/repl/slot.h"

struct cairn_session_write {
    uint64_t seq, pos;
    bool applied;
    int32_t result;
};

struct cairn_session {
    struct cairn_at id;
    uint64_t floor;           /* lower numbers are answered and forgotten */
    uint64_t expire_pos;      /* of the EXPIRE in the log; 0: none */
    uint64_t used_ns, ttl_ns; /* of the primary: when it was last heard of; what it was promised, 0: the usual */
    struct cairn_session_write *writes; /* by seq */
    uint32_t nwrites, room;
};

struct cairn_sessions {
    struct cairn_session *all; /* by id; an OPEN's entry is always the newest */
    uint32_t n, room;
};

void cairn_sessions_init(struct cairn_sessions *t);
void cairn_sessions_fini(struct cairn_sessions *t);

/** NULL: unknown, or expired. */
struct cairn_session *cairn_sessions_find(struct cairn_sessions *t, struct cairn_at id);
/** What became of @seq; NULL: nothing yet. Numbers below the floor are forgotten. */
const struct cairn_session_write *cairn_session_find(const struct cairn_session *s, uint64_t seq);

/** Something that its client wants done is not applied yet. */
bool cairn_session_is_waited_for(const struct cairn_session *s);

/** The client has the answers to all numbers below @floor. */
void cairn_session_forget(struct cairn_session *s, uint64_t floor);

/** Makes room for what @e will bring, so that cairn_sessions_append() cannot fail: CAIRN_E_NOMEM. */
int cairn_sessions_reserve(struct cairn_sessions *t, const struct cairn_log_entry *e);
void cairn_sessions_append(struct cairn_sessions *t, const struct cairn_log_entry *e);
/** Entries above @pos are cut. */
void cairn_sessions_cut(struct cairn_sessions *t, uint64_t pos);
void cairn_sessions_apply(struct cairn_sessions *t, const struct cairn_log_entry *e, int32_t result);

#endif
