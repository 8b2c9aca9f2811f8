/** Ids of namespaces, which are never given twice: what a node has on its disk of one names it so.
 *
 * The id of a namespace is the revision of the change that created it, beyond a base: the entry `cluster/ids`, "65841",
 * of which there is none until a map is imported. Another store counts its revisions anew, or has long counted those of
 * others; so the import (map_dump.h) sets the base beyond all ids that the map ever gave, writes into each record the
 * id that it had, and nothing else needs the old revisions. Nobody changes the base but an import, with no node there.
 *
 * An older export does not know which ids were given after it: the base is CAIRN_MAP_IDS_GAP to twice that beyond its
 * revision, by chance. Pure, but for who reads the view. */
#ifndef CAIRN_SERVER_CLUSTER_MAP_IDS_H
#define CAIRN_SERVER_CLUSTER_MAP_IDS_H

#include "server/cluster/map_store.h"

#define CAIRN_MAP_IDS_KEY "cluster/ids"

enum { CAIRN_MAP_IDS_GAP = 1 << 16, CAIRN_MAP_IDS_TEXT_MAX = 24 };

/** 0: there is none yet. UINT64_MAX: the entry makes no sense, and no id can be told. */
uint64_t cairn_map_ids_base(const struct cairn_map_table *t);
/** As the store's view has it. Not within cairn_map_store_each(). */
uint64_t cairn_map_ids_base_of(struct cairn_map_store *s);
/** The id of what was created at @revision; 0: none is left, or none can be told. */
uint32_t cairn_map_id(uint64_t base, uint64_t revision);
/** The view knows of every namespace whose id is not greater. */
uint64_t cairn_map_ids_upto(struct cairn_map_store *s);

#endif
