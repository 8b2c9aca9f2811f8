/** Ids of namespaces, which are never given twice: what a node has on its disk of one names it so.
 *
 * The id of a namespace is the revision of the change that created it, beyond a base. A store that is another, or that
 * was put back, gives revisions a second time; so the entry `cluster/ids` says from which revision on which base holds:
 * "65841" from the first, "65841 812:2200000 0:5400000" another one beyond 812, and the last beyond the revision of the
 * entry's own newest change. There is no entry until the first of two things happens:
 *
 *  - A map is imported (map_dump.h): one base is left, beyond all ids that the map ever gave; each record says the id
 *    that it had, and nothing else needs the old revisions. No node is there.
 *  - Whoever coordinates finds out that the store was put back (map_generation.h): from then on a base holds that is
 *    beyond what anybody knows of. Namespaces that are there keep their ids.
 *
 * An older map does not know which ids were given after it: a base is CAIRN_MAP_IDS_GAP to twice that beyond what is
 * known, by chance; and if nothing is known of an earlier base, the generation's number is (each put-back and each
 * import has a greater one, which nodes know of). What is made between the put-back and its discovery has the old base.
 * Pure, but for who reads the view. */
#ifndef CAIRN_SERVER_CLUSTER_MAP_IDS_H
#define CAIRN_SERVER_CLUSTER_MAP_IDS_H

#include "server/cluster/map_store.h"

#define CAIRN_MAP_IDS_KEY "cluster/ids"

enum { CAIRN_MAP_IDS_GAP = 1 << 20, CAIRN_MAP_IDS_STEPS_MAX = 32, CAIRN_MAP_IDS_TEXT_MAX = 1024 };

struct cairn_map_ids_step {
    uint64_t beyond, base; /* of what was created beyond that revision */
};

struct cairn_map_ids {
    uint32_t n; /* the first is beyond 0; 0: the entry makes no sense, and no id can be told */
    struct cairn_map_ids_step steps[CAIRN_MAP_IDS_STEPS_MAX];
};

/** As a map's entries have it. */
struct cairn_map_ids cairn_map_ids_in(const struct cairn_map_table *t);
/** As the store's view has it. Not within cairn_map_store_each(). */
struct cairn_map_ids cairn_map_ids_of(struct cairn_map_store *s);
/** The id of what was created at @revision; 0: none is left, or none can be told. */
uint32_t cairn_map_id(const struct cairn_map_ids *ids, uint64_t revision);
/** The base that holds now; UINT64_MAX: none can be told. */
uint64_t cairn_map_ids_base(const struct cairn_map_ids *ids);
/** The view knows of every namespace whose id is not greater. */
uint64_t cairn_map_ids_upto(struct cairn_map_store *s);

/** The base of a store that others went before: they came to revision @upto with the base @base, and the generation
 * that begins has the number @generation. */
uint64_t cairn_map_ids_base_after(uint64_t base, uint64_t upto, uint32_t generation, uint64_t random);
/** The entry, with @base from its next change on; its length. 0: there are too many bases, or no sense in them. */
uint32_t cairn_map_ids_add(const struct cairn_map_ids *ids, uint64_t base, char text[CAIRN_MAP_IDS_TEXT_MAX]);

#endif
