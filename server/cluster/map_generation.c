/* Which map a revision is of: see map_generation.h. */
#include "server/cluster/map_generation.h"

#include "sdk/core/base/macros.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

bool cairn_map_generation_read(const uint8_t *value, size_t len, struct cairn_map_generation *g)
{
    char text[CAIRN_MAP_GENERATION_TEXT_MAX] = "";
    int end = 0;

    if (len < sizeof(text))
        memcpy(text, value, len);
    *g = (struct cairn_map_generation){ 0 };
    if (sscanf(text, "%16" SCNx64 " %20" SCNu64 " %20" SCNu64 "%n", &g->id, &g->kept, &g->lost, &end) == 3 &&
        (size_t)end == len && end > 0 && g->id != 0)
        return true;
    *g = (struct cairn_map_generation){ 0 };
    return false;
}

uint32_t cairn_map_generation_write(const struct cairn_map_generation *g, char text[CAIRN_MAP_GENERATION_TEXT_MAX])
{
    return (uint32_t)snprintf(text, CAIRN_MAP_GENERATION_TEXT_MAX, "%016" PRIx64 " %" PRIu64 " %" PRIu64, g->id,
                              g->kept, g->lost);
}

bool cairn_map_generation_is_lost(uint64_t known, uint64_t upto, uint64_t id, uint64_t revision)
{
    if (known == 0 || id == 0)
        return false;
    if (known == id)
        return upto > revision;
    return cairn_map_generation_number(known) >= cairn_map_generation_number(id);
}

bool cairn_map_generation_replaces(uint64_t id, uint64_t mine)
{
    return id != 0 && (mine == 0 || cairn_map_generation_number(id) > cairn_map_generation_number(mine));
}

uint64_t cairn_map_generation_next(uint64_t a, uint64_t b, uint64_t random)
{
    uint64_t number = (uint64_t)MAX(cairn_map_generation_number(a), cairn_map_generation_number(b)) + 1;

    return number << 32 | ((uint32_t)random | 1);
}
