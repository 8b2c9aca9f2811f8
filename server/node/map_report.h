/** The map, for people: what its entries come to, and what its logs say. Of a store that is only read (node_map.c), and
 * of a running node's (node_map_rpc.c). */
#ifndef CAIRN_SERVER_NODE_MAP_REPORT_H
#define CAIRN_SERVER_NODE_MAP_REPORT_H

#include "server/cluster/map_table.h"

#include <jansson.h>

/** {"store", "where", "revision", how many entries there are of each kind, "value_bytes"}, and of a cluster what
 * census.h says. Takes @where. NULL: no memory. */
json_t *cairn_map_report(const struct cairn_map_table *t, const char *store, json_t *where, uint64_t revision);

/** Entries of both logs, by time; "of" is "people" or "cluster". @people, @cluster: what the one and the other are in,
 * perhaps the same; NULL: of people alone. @last: the newest so many, 0: all. NULL: no memory. */
json_t *cairn_map_log_report(const struct cairn_map_table *people, const struct cairn_map_table *cluster,
                             uint32_t last);

#endif
