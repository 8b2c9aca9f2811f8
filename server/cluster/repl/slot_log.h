/** What a replica knows by heart of its log: where it begins and ends, where epochs begin, what is on disk.
 *
 * Two logs that hold the same (epoch, pos) are equal up to there (Ongaro & Ousterhout's log matching; PROTOCOL §4), so
 * the last common entry of two follows from where epochs begin in them, in one exchange (Kafka KIP-101). */
#ifndef CAIRN_SERVER_CLUSTER_REPL_SLOT_LOG_H
#define CAIRN_SERVER_CLUSTER_REPL_SLOT_LOG_H

#include "server/cluster/repl/slot.h"

struct cairn_slot_log {
    struct cairn_at base; /* the last entry that is gone: applied, and in a checkpoint */
    struct cairn_at end;
    uint64_t synced;  /* on disk up to here; <= end.pos */
    uint64_t written; /* survives this process up to here, as far as was asked; <= end.pos */
    struct cairn_run *runs; /* of the entries in (base, end], ascending */
    uint32_t nruns, room;
};

void cairn_slot_log_init(struct cairn_slot_log *l);
void cairn_slot_log_fini(struct cairn_slot_log *l);

/** The entry after the end. CAIRN_E_NOMEM; CAIRN_E_LIMIT: CAIRN_LOG_RUNS_MAX epochs (a checkpoint helps). */
int cairn_slot_log_append(struct cairn_slot_log *l, struct cairn_at at);
/** Shortens the log to @pos >= base. */
void cairn_slot_log_cut(struct cairn_slot_log *l, uint64_t pos);
/** Forgets the entries up to @pos <= end. */
void cairn_slot_log_trim(struct cairn_slot_log *l, uint64_t pos);
/** An empty log after @base: of a replica that holds a copy of all that was applied up to there. */
void cairn_slot_log_restart(struct cairn_slot_log *l, struct cairn_at base);

/** The epoch of the entry at @pos, base <= pos <= end; 0 if the log does not say. */
uint64_t cairn_slot_log_epoch(const struct cairn_slot_log *l, uint64_t pos);
static inline bool cairn_slot_log_has(const struct cairn_slot_log *l, struct cairn_at at)
{
    return at.pos >= l->base.pos && at.pos <= l->end.pos && cairn_slot_log_epoch(l, at.pos) == at.epoch;
}

/** A log as its owner describes it to another. Borrowed. */
struct cairn_slot_log_view {
    struct cairn_at floor; /* at or below it nothing is listed, and nothing may be cut */
    struct cairn_at end;
    const struct cairn_run *runs;
    uint32_t nruns;
};

/** The last entry that two logs have in common. False if that lies below either floor, or cannot be known: then only a
 * copy brings them together. */
bool cairn_slot_log_common(const struct cairn_slot_log_view *a, const struct cairn_slot_log_view *b,
                           struct cairn_at *common);

#endif
