/** Which map a revision is of: the entry `cluster/generation`, "0000000200c0ffee 812 940".
 *
 * A map store that is put back to what it was before (an older backup, or nothing) gives revisions, epochs and
 * incarnations a second time, for other changes. So a map has a generation: a number, how often that was found out,
 * and 32 random bits, since two that were put back alike would have one number. Whoever is elected looks whether
 * anybody knows of a map that this one cannot have become of, and then begins another generation before it does
 * anything else; so does who imports an exported map into another store, whose revisions are its own (map_dump.h).
 * Nodes name the generation with each revision, and epochs and incarnations of it have its number in their upper half
 * (repl/coord.h): nothing of two histories is ever taken for the same. Pure. */
#ifndef CAIRN_SERVER_CLUSTER_MAP_GENERATION_H
#define CAIRN_SERVER_CLUSTER_MAP_GENERATION_H

#include "server/cluster/map_store.h"

#define CAIRN_MAP_GENERATION_KEY "cluster/generation"

enum { CAIRN_MAP_GENERATION_TEXT_MAX = 64 };

/** Zeroed: a map that has none yet. */
struct cairn_map_generation {
    uint64_t id;         /* number << 32 | random bits */
    uint64_t kept, lost; /* the map was put back to revision @kept, and somebody knew of changes up to @lost; or 0, 0 */
};

static inline uint32_t cairn_map_generation_number(uint64_t id)
{
    return (uint32_t)(id >> 32);
}

/** What an entry says; false, and zeroed: nothing that makes sense. */
bool cairn_map_generation_read(const uint8_t *value, size_t len, struct cairn_map_generation *g);
/** Returns the length. */
uint32_t cairn_map_generation_write(const struct cairn_map_generation *g, char text[CAIRN_MAP_GENERATION_TEXT_MAX]);

/** Whether somebody who knows of the map @known up to @upto has seen what the map @id up to @revision cannot have
 * become of. 0 as either: then nothing is known. */
bool cairn_map_generation_is_lost(uint64_t known, uint64_t upto, uint64_t id, uint64_t revision);
/** Whether a node that has something of the map @mine gives it up for the map @id, which a coordinator serves. */
bool cairn_map_generation_replaces(uint64_t id, uint64_t mine);
/** Another one, behind both. */
uint64_t cairn_map_generation_next(uint64_t a, uint64_t b, uint64_t random);

#endif
