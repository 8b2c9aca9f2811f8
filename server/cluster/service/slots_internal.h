/* What the files of a worker's replicas share: slots.c (life, upkeep, what happens), slots_start.c (what is on disk),
 * slots_ops.c (what a replica asks for, and what comes back of it). */
#ifndef CAIRN_SERVER_CLUSTER_SERVICE_SLOTS_INTERNAL_H
#define CAIRN_SERVER_CLUSTER_SERVICE_SLOTS_INTERNAL_H

#include "sdk/core/base/log.h"
#include "server/cluster/service/slots.h"

struct slot {
    struct cairn_replica replica;
    struct store_slot store;
    struct cluster_slots *w;
    struct cairn_link unsynced; /* on the worker's list: its log has entries that are not on disk */
    struct cairn_link late;     /* likewise: entries up to @late_to are to be applied, when its time has come */
    uint64_t late_to;
    bool begun;           /* the replica is alive */
    bool partial;         /* of a start: what was found is no use */
    struct cairn_at base; /* of a start: what is applied, with */
    uint8_t *sessions;    /* their image */
    size_t sessions_len;
    struct cairn_at seal_at;
    /* when the checkpoint under way began; of an end: to which the log may be trimmed; 0: nothing new */
    uint64_t applied;
};

struct cluster_slots {
    struct cluster_slots_conf conf;
    struct cairn_loop *loop;
    struct cluster_store *store;
    struct slot **all; /* by slot / nworkers */
    uint32_t room;
    struct cairn_who self;
    bool started, registered, stopping, checkpointing;
    bool failed;     /* the log or the store has: deaf and mute from then on, as a process that has ended */
    bool refuses;    /* new data: as of the last look */
    uint64_t logged; /* bytes since the last checkpoint began */
    uint64_t
        unapplied; /* bytes that are to be applied; counted anew at checkpoints, for logs that were cut or begun anew */
    void (*stopped)(void *arg);
    void *stopped_arg;
    atomic_uint_fast64_t sessions_refused, sessions_refused_ns; /* and when the newest was */
    struct cairn_link unsynced, late;
    struct cairn_timer late_timer; /* runs while something of followers is left for later: slots_ops.c */
    struct cairn_timer sync_timer, checkpoint_timer, clean_timer;
};

static inline struct slot *slots_of(struct cairn_replica *r)
{
    return CONTAINER_OF(r, struct slot, replica);
}

static inline struct slot *slots_of_store(struct store_slot *s)
{
    return CONTAINER_OF(s, struct slot, store);
}

static inline struct slot *slots_find(struct cluster_slots *w, uint32_t slot)
{
    uint32_t i = slot / w->conf.nworkers;

    return slot % w->conf.nworkers == w->conf.worker && i < w->room ? w->all[i] : NULL;
}

/* A live one: what is asked of a slot before the node is registered, or when its disk has failed, is lost. */
static inline struct slot *slots_find_live(struct cluster_slots *w, uint32_t slot)
{
    struct slot *s = w->stopping || w->failed ? NULL : slots_find(w, slot);

    return s != NULL && s->begun ? s : NULL;
}

/* What others see follows each thing that a replica was told. */
static inline void slots_tell_state(struct slot *s)
{
    const struct cairn_replica *r = &s->replica;
    uint64_t word = CLUSTER_WORD_MOVED;

    if (r->sm.state == REPLICA_ACTIVE || r->sm.state == REPLICA_PAUSED)
        word = (CLUSTER_WORD_LEADS + r->rec.since) | (cairn_replica_is_alone(r) ? CLUSTER_WORD_ALONE : 0);
    else if (r->sm.state == REPLICA_TAKEOVER)
        word = CLUSTER_WORD_BUSY;
    else if (r->sm.state == REPLICA_BACKUP)
        word = CLUSTER_WORD_BACKUP;
    atomic_store(&s->w->conf.words[s->store.slot], word);
}

/* What a replica has in memory is not in its log: it must not say that it has it, nor what it makes of it. */
static inline void slots_fail(struct cluster_slots *w, int rc, const char *text)
{
    w->failed = true;
    w->conf.ops->failed(w->conf.arg, rc, text);
}

/* ---- slots.c ---- */

void slots_on_logged(struct cluster_slots *w, uint64_t bytes);

/* ---- slots_ops.c ---- */

extern const struct cairn_replica_ops slots_replica_ops;
extern const struct cluster_store_ops slots_store_ops;

/* The time has come for what followers have left for later. */
void slots_on_late_timer(void *arg);

/* ---- slots_start.c ---- */

/* The slot's place, made if there is none; NULL: no memory, or no slot of ours. */
struct slot *slots_make(struct cluster_slots *w, uint32_t slot);
/* Its replica comes to life with what the disk has. */
int slots_begin(struct slot *s);
void slots_on_found(void *arg, const struct store_found *f);
void slots_on_started(void *arg, int rc, const struct cairn_err *err);

#endif
