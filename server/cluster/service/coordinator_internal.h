/* What the files of the coordinator share: coordinator.c (its life, requests), coordinator_read.c (what the store has),
 * coordinator_store.c (what goes there), coordinator_members.c (who is there), coordinator_class.c (slots are made),
 * coordinator_plan.c (and moved), coordinator_count.c, coordinator_status.c. */
#ifndef CAIRN_SERVER_CLUSTER_SERVICE_COORDINATOR_INTERNAL_H
#define CAIRN_SERVER_CLUSTER_SERVICE_COORDINATOR_INTERNAL_H

#include "server/cluster/service/coordinator.h"

/* ---- coordinator.c ---- */

/* Resigns, later in this turn: nothing more is to be done in this term. */
void cairn_coordinator__fail(struct cairn_coordinator *co, int rc, const char *what);
void cairn_coordinator__answer(struct cairn_coordinator_ask *ask, int rc, const char *text);
/* False: it is not for us to answer, and @ask is answered. */
bool cairn_coordinator__may_serve(struct cairn_coordinator *co, struct cairn_coordinator_ask *ask);
void cairn_coordinator__serve(struct cairn_coordinator *co);
/* @name has registered: does its log say that the map was put back? */
void cairn_coordinator__look_at_logs(struct cairn_coordinator *co, const char *name);
/* A read is over that began in a term that is over. */
void cairn_coordinator__settle(struct cairn_coordinator *co);

static inline uint32_t all_slots(const struct cairn_coordinator *co)
{
    return co->nslots * CAIRN_CLUSTER_CLASSES;
}

/* ---- coordinator_read.c ---- */

void cairn_coordinator__read(struct cairn_coordinator *co);
/* Empties what was read or made in a term. */
void cairn_coordinator__forget(struct cairn_coordinator *co);

/* ---- coordinator_store.c ---- */

extern const struct cairn_coord_ops cairn_coordinator__coord_ops;
void cairn_coordinator__store_member(struct cairn_coordinator *co, struct cairn_member *m, enum cairn_deed_kind deed);
/* Its entry goes, before whatever is stored from now on. */
void cairn_coordinator__erase_member(struct cairn_coordinator *co, const struct cairn_member *m);
/* That this node serves, and which generation of the map, if either is not stored; cairn_coordinator__serve() follows.
 */
void cairn_coordinator__store_term(struct cairn_coordinator *co);
/* Sums up a change for the map's log: cairn_writes.beside(). */
bool cairn_coordinator__chronicle(struct cairn_writes *ws, struct cairn_write *const *batch, uint32_t n,
                                  struct cairn_map_write *to);
/* What the cluster is told once and for good. */
void cairn_coordinator__store_lease(struct cairn_coordinator *co);
void cairn_coordinator__store_nslots(struct cairn_coordinator *co);

/* ---- coordinator_members.c ---- */

void cairn_coordinator__members_tick(struct cairn_coordinator *co);

/* ---- coordinator_class.c ---- */

/* The next few slots of classes that are being made. */
void cairn_coordinator__classes_go_on(struct cairn_coordinator *co);
/* A record of epoch 1 is in force. */
void cairn_coordinator__class_grew(struct cairn_coordinator *co, uint32_t slot, uint64_t revision);
/* Slots that a node may hold: when it starts it says of all how far they go, in one message. */
uint32_t cairn_coordinator__slots_max(const struct cairn_coordinator *co);
/* Slots that the one with the greatest weight holds in the end, if @without (NULL: nobody) gets none and class @number
 * (CAIRN_CLUSTER_CLASSES: none) is made, too; *@hosts: how many may hold any. */
uint64_t cairn_coordinator__greatest_share(struct cairn_coordinator *co, const struct cairn_member *without,
                                           uint32_t number, uint32_t *hosts);
/* Classes that are in use (bit i: of i + 1 replicas): some namespace is in them, or one is being made. */
uint32_t cairn_coordinator__named(struct cairn_coordinator *co);
/* Whether there are enough nodes for it, or there has been time for them to come. */
bool cairn_coordinator__class_may_begin(struct cairn_coordinator *co, uint32_t number);

/* ---- coordinator_plan.c ---- */

/* Whether it may get new slots now; and how many may. */
bool cairn_coordinator__may_hold(struct cairn_coordinator *co, const struct cairn_member *m);
uint32_t cairn_coordinator__hosts(struct cairn_coordinator *co);
/* Who came, went or changed: new plans, soon. */
void cairn_coordinator__members_changed(struct cairn_coordinator *co);
/* Likewise, and at once: until then what it held has a replica less. */
void cairn_coordinator__member_is_lost(struct cairn_coordinator *co);
void cairn_coordinator__plan_soon(struct cairn_coordinator *co, struct cairn_coordinator_class *class);
/* Makes plans that are due, begins moves of those that are there. */
void cairn_coordinator__plans_go_on(struct cairn_coordinator *co);
void cairn_coordinator__plans_forget(struct cairn_coordinator *co);
/* Who is to hold slot @slot of a class that is being made; 0: there is no plan for it yet. */
uint32_t cairn_coordinator__wanted(const struct cairn_coordinator_class *class, uint32_t slot, uint64_t *ids);
struct cairn_planner_counts cairn_coordinator__plan_counts(const struct cairn_coordinator_class *class);

/* ---- coordinator_count.c, coordinator_status.c ---- */

void cairn_coordinator__count(struct cairn_coordinator *co);
/* Slots of which @node, who is away, has the only replicas in sync that there may be. */
uint32_t cairn_coordinator__alone(struct cairn_coordinator *co, uint64_t node);
enum cairn_coordinator_member_state cairn_coordinator__state(const struct cairn_member *m);
const char *cairn_coordinator__state_name(const struct cairn_member *m);

#endif
