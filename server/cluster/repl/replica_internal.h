/* What the files of a replica share: replica.c (life, the map, entries), replica_backup.c, replica_primary.c,
 * replica_peer.c (the primary's view of the others), replica_copy.c and replica_load.c (a copy, at its two ends). */
#ifndef CAIRN_SERVER_CLUSTER_REPL_REPLICA_INTERNAL_H
#define CAIRN_SERVER_CLUSTER_REPL_REPLICA_INTERNAL_H

#include "sdk/core/base/log.h"
#include "server/cluster/repl/replica.h"

static inline uint64_t replica_now(const struct cairn_replica *r)
{
    return cairn_env_now_ns(r->env);
}

/* ---- replica.c ---- */

/* The entry behind the end; asks for the disk if it has to be there. 0, or why there is no room for it. */
int cairn_replica__append(struct cairn_replica *r, const struct cairn_log_entry *e);
/* Raises the commit mark and applies. */
void cairn_replica__commit(struct cairn_replica *r, uint64_t pos);
void cairn_replica__sync(struct cairn_replica *r);
/* The log as others are told of it: nothing at or below @floor can be sent, or cut. */
struct cairn_slot_log_view cairn_replica__view(const struct cairn_replica *r, uint64_t floor);
/* A message of this replica; false if the other must not hear of it. */
void cairn_replica__send(struct cairn_replica *r, struct cairn_who to, struct cairn_repl_msg *m);
/* Nothing is here any more, and what comes is partial. */
void cairn_replica__forget(struct cairn_replica *r);
void cairn_replica__timer(struct cairn_replica *r, uint64_t in_ns);

/* ---- replica_backup.c ---- */

void cairn_replica__follow(struct cairn_replica *r); /* a new epoch, as backup or learner */
void cairn_replica__on_append(struct cairn_replica *r, const struct cairn_repl_msg *m);
void cairn_replica__backup_synced(struct cairn_replica *r);
/* Tells the primary that this process ends soon. */
void cairn_replica__part(struct cairn_replica *r);
void cairn_replica__backup_tick(struct cairn_replica *r);

/* ---- replica_primary.c ---- */

void cairn_replica__lead(struct cairn_replica *r, bool goes_on); /* a new epoch, as primary */
void cairn_replica__stop_leading(struct cairn_replica *r, int rc);
void cairn_replica__on_ack(struct cairn_replica *r, const struct cairn_repl_msg *m);
void cairn_replica__on_match(struct cairn_replica *r, const struct cairn_repl_msg *m);
void cairn_replica__advance(struct cairn_replica *r);
void cairn_replica__primary_tick(struct cairn_replica *r);
void cairn_replica__answer(struct cairn_replica *r, const struct cairn_log_entry *e, int32_t result);
void cairn_replica__run_answers(void *arg);

/* ---- replica_sessions.c ---- */

/* A new primary: what it hears of sessions counts from now on. */
void cairn_replica__sessions_lead(struct cairn_replica *r);
/* Those whose time is over end. True: not all could be told so. */
bool cairn_replica__sessions_end(struct cairn_replica *r);
/* Before an OPEN. CAIRN_E_BUSY: as many as there may be are in use. */
int cairn_replica__session_room(struct cairn_replica *r);
/* The one that was just appended; how long it may be idle. */
uint64_t cairn_replica__session_opened(struct cairn_replica *r);
void cairn_replica__session_used(struct cairn_replica *r, struct cairn_at id);

/* ---- replica_peer.c ---- */

/* Room for the others that @rec names, so that peers_make() cannot fail. CAIRN_E_NOMEM. */
int cairn_replica__peers_reserve(struct cairn_replica *r, const struct cairn_slot_record *rec);
void cairn_replica__peers_free(struct cairn_replica *r);
void cairn_replica__peers_make(struct cairn_replica *r, uint64_t first);
struct replica_peer *cairn_replica__peer(struct cairn_replica *r, uint64_t node);
/* The peer that sent @m, with its newest incarnation; NULL if its word does not count. */
struct replica_peer *cairn_replica__speaker(struct cairn_replica *r, const struct cairn_repl_msg *m);
/* From now on it waits for a copy, and nothing that it has said counts. */
void cairn_replica__needs_copy(struct cairn_replica *r, struct replica_peer *p);
/* Sends what the window allows; with @anyway an APPEND even without entries. */
void cairn_replica__pump(struct cairn_replica *r, struct replica_peer *p, bool anyway);
void cairn_replica__pump_all(struct cairn_replica *r);
/* How long peers have been silent is looked at: before that. What time it is. */
uint64_t cairn_replica__look(struct cairn_replica *r);
/* True if some peer still has to hear or to say something. */
bool cairn_replica__peers_tick(struct cairn_replica *r);
/* Whoever has not heard what is committed will, though no entry comes. */
void cairn_replica__tell_commit(struct cairn_replica *r);

/* ---- replica_copy.c ---- */

/* Begins a copy if a peer needs one, goes on with the one that is under way. True: there is something to wait for. */
bool cairn_replica__copy_tick(struct cairn_replica *r);
void cairn_replica__on_copied(struct cairn_replica *r, const struct cairn_repl_msg *m);
/* Ends what is not of this epoch's peers any more. */
void cairn_replica__copy_check(struct cairn_replica *r);
struct cairn_at cairn_replica__copy_base(const struct cairn_replica *r);

/* ---- replica_load.c ---- */

void cairn_replica__on_copy(struct cairn_replica *r, const struct cairn_repl_msg *m);
/* The copy that comes in is no use any more. */
void cairn_replica__load_end(struct cairn_replica *r);
/* The node ends: nothing that was asked for comes back. */
void cairn_replica__load_fini(struct cairn_replica *r);

#endif
