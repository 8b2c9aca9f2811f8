/** A map store in virtual time: one server, and for each node a store (server/cluster/map_store.h) that talks to it
 * over a link which the test delays, cuts, and makes lose requests or answers. */
#ifndef CAIRN_TESTS_SIM_MAP_H
#define CAIRN_TESTS_SIM_MAP_H

#include "server/cluster/map_store.h"
#include "tests/lib/vtime.h"

struct sim_map;

struct sim_map *sim_map_new(struct vtime *v);
/** All its stores are closed. */
void sim_map_free(struct sim_map *m);
struct cairn_map_store *sim_map_open(struct sim_map *m);

/** Every message takes @least_ms, and up to @more_ms longer. */
void sim_map_delay(struct sim_map *m, uint64_t least_ms, uint64_t more_ms);
/** The history that watches go on from is dropped: a store that is behind reads everything anew. */
void sim_map_compact(struct sim_map *m);
uint64_t sim_map_server_revision(struct sim_map *m);

/** Connections of @s are refused, and nothing is told; its messages under way arrive. */
void sim_map_refuse(struct cairn_map_store *s, bool refuse);
/** Every message from and to @s is lost. */
void sim_map_cut(struct cairn_map_store *s, bool cut);
/** The next @n requests of @s do not arrive; the answers to those after them are lost. */
void sim_map_lose(struct cairn_map_store *s, uint32_t requests, uint32_t answers);

#endif
