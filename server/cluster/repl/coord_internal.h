/* What the files of the coordinator share: coord.c (records, proposals, nodes), coord_time.c (take-over, recovery),
 * coord_move.c (placement changes). */
#ifndef CAIRN_SERVER_CLUSTER_REPL_COORD_INTERNAL_H
#define CAIRN_SERVER_CLUSTER_REPL_COORD_INTERNAL_H

#include "sdk/core/base/log.h"
#include "server/cluster/repl/coord.h"

/* ---- coord.c ---- */

/* Looked at again at the next tick. */
void cairn_coord__watch(struct cairn_coord *c, struct cairn_coord_slot *s);
/* The record of the next epoch, to be changed and then stored. */
struct cairn_slot_record *cairn_coord__begin(const struct cairn_coord *c, struct cairn_coord_slot *s);
void cairn_coord__store(struct cairn_coord *c, struct cairn_coord_slot *s);
void cairn_coord__insync_del(struct cairn_slot_record *rec, uint64_t node);
void cairn_coord__replica_del(struct cairn_slot_record *rec, uint64_t node);
/* A member that may lead: alive under its recorded incarnation, and heard of after @since_ns; in the order of
 * placement. Or nobody. */
struct cairn_who cairn_coord__successor(struct cairn_coord *c, const struct cairn_slot_record *rec,
                                        struct cairn_who except, uint64_t since_ns);

/* A record of an earlier generation: whoever it names is another incarnation by now, or silent. */
static inline bool cairn_coord__is_of_the_past(const struct cairn_coord *c, const struct cairn_slot_record *rec)
{
    return rec->epoch < c->floor;
}

/* ---- coord_time.c ---- */

/* Nobody can be leading the slot: neither who does by the record nor, if that was put back, any other. */
bool cairn_coord__authorities_are_over(struct cairn_coord *c, const struct cairn_slot_record *rec);

/* ---- coord_move.c ---- */

/* What a change means for a move: of @next, before it is stored. */
void cairn_coord__move_follow(struct cairn_coord *c, const struct cairn_slot_record *old,
                              struct cairn_slot_record *next);
/* The target has joined, in @next. */
void cairn_coord__move_joined(struct cairn_slot_record *next);
/* The primary has released: who leads now, and who leaves. Nobody can: false. */
bool cairn_coord__move_released(struct cairn_coord *c, const struct cairn_slot_record *old,
                                struct cairn_slot_record *next);
/* The next step of a move. True: the slot is to be looked at again. */
bool cairn_coord__move_tick(struct cairn_coord *c, struct cairn_coord_slot *s);
/* What @node has of the slot, as it has told us, is neither a part of a copy nor what is left of one that was emptied:
 * only then may it be a member that has not joined (I13). */
bool cairn_coord__has_it_whole(struct cairn_coord *c, uint32_t slot, uint64_t node);

#endif
