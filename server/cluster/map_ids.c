/* Ids of namespaces: see map_ids.h. */
#include "server/cluster/map_ids.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static uint64_t base_read(const struct cairn_map_entry *e)
{
    char text[CAIRN_MAP_IDS_TEXT_MAX] = "";
    uint64_t base;
    int end = 0;

    if (e->value_len < sizeof(text))
        memcpy(text, e->value, e->value_len);
    return sscanf(text, "%10" SCNu64 "%n", &base, &end) == 1 && (size_t)end == e->value_len ? base : UINT64_MAX;
}

uint64_t cairn_map_ids_base(const struct cairn_map_table *t)
{
    const struct cairn_map_node *n = cairn_map_table_at(t, CAIRN_MAP_IDS_KEY);

    return n != NULL ? base_read(&n->e) : 0;
}

static void on_entry(const struct cairn_map_entry *e, void *arg)
{
    if (strcmp(e->key, CAIRN_MAP_IDS_KEY) == 0)
        *(uint64_t *)arg = base_read(e);
}

uint64_t cairn_map_ids_base_of(struct cairn_map_store *s)
{
    uint64_t base = 0;

    cairn_map_store_each(s, CAIRN_MAP_IDS_KEY, on_entry, &base);
    return base;
}

uint32_t cairn_map_id(uint64_t base, uint64_t revision)
{
    return base <= UINT32_MAX && revision <= UINT32_MAX - base ? (uint32_t)(base + revision) : 0;
}

uint64_t cairn_map_ids_upto(struct cairn_map_store *s)
{
    uint64_t base = cairn_map_ids_base_of(s);

    return base <= UINT32_MAX ? base + cairn_map_store_revision(s) : 0;
}
