/** What a map says of a cluster's slots and nodes, counted for people: `cairn map`. */
#ifndef CAIRN_SERVER_CLUSTER_SERVICE_CENSUS_H
#define CAIRN_SERVER_CLUSTER_SERVICE_CENSUS_H

#include "server/cluster/map_table.h"

#include <jansson.h>

/** Adds to @to, if the map is a cluster's:
 *   "classes": [{"replicas","slots","active","take_over","lost","degraded","unserved","moving"}]
 *   "nodes":   [{"name","state","zone","weight","leads","in_sync","holds","arriving"}]  slots, by name
 *   "unreadable": entries that make no sense; absent: none
 * degraded, unserved: as a coordinator counts them (coordinator.h). holds: as a replica, in sync or not; arriving:
 * being copied to it. CAIRN_E_NOMEM. */
int cairn_cluster_census(const struct cairn_map_table *t, json_t *to);

#endif
