/* The map as a client knows it: who leads each slot and who else has all of it, and where nodes are.
 *
 * Pure: no I/O, no clock. Pages of the map come in, from whichever node was asked; what is newer wins, and nothing
 * goes back: a slot's record by its epoch, a node's entry by the revision of the page that brought it. Whatever a
 * page holds comes from the network: it is bounded here. */
#ifndef CAIRN_CLIENT_ROUTE_MAP_H
#define CAIRN_CLIENT_ROUTE_MAP_H

#include "sdk/core/placement/placement.h"

#include "schema/repl.pb-c.h"

#include <stdbool.h>

enum {
    ROUTE_ADDRS_MAX = 4,
    ROUTE_HOLDERS_MAX = 4,                      /* of a slot, that are in sync; more are not remembered */
    ROUTE_SLOTS_MAX = 8 << CAIRN_SLOT_BITS_MAX, /* eight classes: of 1 to 8 replicas */
    ROUTE_HOST_MAX = 64,
};

/** A node keeps its place: places are what slots name. */
struct cairn_route_node {
    uint64_t node;
    uint64_t revision; /* of the page that told of it; 0: only slots have named it */
    uint32_t edition;  /* ascends when where it is reached changes */
    uint32_t naddresses;
    uint8_t distance;               /* enum cairn_route_distance */
    const char *name, *zone, *host; /* in @text, as are the addresses; "" while nothing is known */
    const char *addresses[ROUTE_ADDRS_MAX];
    char *text;
};

enum cairn_route_distance { ROUTE_SAME_HOST, ROUTE_SAME_ZONE, ROUTE_ELSEWHERE };

struct cairn_route_slot {
    uint64_t epoch;                      /* 0: nothing is known */
    uint16_t holders[ROUTE_HOLDERS_MAX]; /* places of nodes in sync; the first one leads */
    uint8_t nholders;
};

struct cairn_route_map {
    struct cairn_route_node **nodes; /* by place */
    uint16_t *order;                 /* places, by ascending node */
    uint32_t nnodes, room;
    struct cairn_route_slot *slots;
    uint32_t nslots;
    uint64_t map;              /* which one it is: the upper half ascends when its store was put back */
    uint64_t revision;         /* all changes up to here are in it */
    char host[ROUTE_HOST_MAX]; /* where we are; "": not known */
    const char *zone;          /* likewise, of a node on our host; NULL: of none is it known */
};

/** @host: as nodes say theirs. */
void cairn_route_map_init(struct cairn_route_map *m, const char *host);
void cairn_route_map_fini(struct cairn_route_map *m);

/** All of @page. m->revision is its own then, unless there is more behind it: of one of several pages it is not certain that
 * another node's next one fits. CAIRN_E_STATE: it is of an older map. CAIRN_E_NOMEM, CAIRN_E_LIMIT: part of it may have
 * been taken; m->revision is as before, so that it comes again. */
int cairn_route_map_take(struct cairn_route_map *m, const Cairn__Wire__ClusterRecords *page);
/** NULL: nothing is known of it. */
const struct cairn_route_slot *cairn_route_map_slot(const struct cairn_route_map *m, uint32_t slot);
/** The place of @node, or -1. */
int cairn_route_map_place(const struct cairn_route_map *m, uint64_t node);
/** Of the slot's holders the nearest one for which @usable says so, the leader if none is nearer. @usable may be
 * NULL. */
uint16_t cairn_route_map_nearest(const struct cairn_route_map *m, const struct cairn_route_slot *s,
                                 bool (*usable)(void *arg, uint16_t place), void *arg);
/** The addresses of a node by which it may be reached from here, the best first: on our host by unix sockets,
 * elsewhere not by them. Returns how many. */
uint32_t cairn_route_map_addresses(const struct cairn_route_map *m, uint16_t place, const char *out[ROUTE_ADDRS_MAX]);

#endif
