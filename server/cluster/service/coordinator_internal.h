/* What the files of the coordinator share: coordinator.c (its life, requests), coordinator_read.c (what the store has),
 * coordinator_store.c (what goes there), coordinator_place.c (where slots go), coordinator_status.c. */
#ifndef CAIRN_SERVER_CLUSTER_SERVICE_COORDINATOR_INTERNAL_H
#define CAIRN_SERVER_CLUSTER_SERVICE_COORDINATOR_INTERNAL_H

#include "server/cluster/service/coordinator.h"

/* ---- coordinator.c ---- */

/* Resigns, later in this turn: nothing more is to be done in this term. */
void cairn_coordinator__fail(struct cairn_coordinator *co, int rc, const char *what);
void cairn_coordinator__answer(struct cairn_coordinator_ask *ask, int rc, const char *text);
void cairn_coordinator__serve(struct cairn_coordinator *co);
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
void cairn_coordinator__store_member(struct cairn_coordinator *co, struct cairn_member *m);
/* That this node serves; cairn_coordinator__serve() follows. */
void cairn_coordinator__store_led(struct cairn_coordinator *co);
/* What the cluster is told once and for good. */
void cairn_coordinator__store_lease(struct cairn_coordinator *co);
void cairn_coordinator__store_nslots(struct cairn_coordinator *co);

/* ---- coordinator_place.c ---- */

uint64_t cairn_coordinator__place(struct cairn_coord *c, uint32_t slot, uint64_t from);
/* The next few slots of classes that are being made. */
void cairn_coordinator__classes_go_on(struct cairn_coordinator *co);
/* A record of epoch 1 is in force. */
void cairn_coordinator__class_grew(struct cairn_coordinator *co, uint32_t slot, uint64_t revision);
void cairn_coordinator__count(struct cairn_coordinator *co);

#endif
