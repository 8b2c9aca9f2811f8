/* Ids of namespaces: see map_ids.h. */
#include "server/cluster/map_ids.h"

#include "sdk/core/base/macros.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { GENERATION_SHIFT = 21 }; /* a generation has at least as many ids as the greatest gap */
_Static_assert(1 << GENERATION_SHIFT == 2 * CAIRN_MAP_IDS_GAP, "see above");

static bool read_step(const char **text, bool is_first, struct cairn_map_ids_step *step)
{
    int end = 0;

    if (!is_first)
        (void)sscanf(*text, " %20" SCNu64 ":%10" SCNu64 "%n", &step->beyond, &step->base, &end);
    else
        (void)sscanf(*text, "%10" SCNu64 "%n", &step->base, &end);
    *text += end;
    return end > 0;
}

/* In the order of their revisions; bases only grow. */
static bool is_next(const struct cairn_map_ids *ids, const struct cairn_map_ids_step *step)
{
    const struct cairn_map_ids_step *last = &ids->steps[ids->n - 1];

    return step->beyond > last->beyond && step->base >= last->base;
}

static struct cairn_map_ids read_entry(const struct cairn_map_entry *e)
{
    struct cairn_map_ids ids = { .n = 1 }, none = { 0 };
    char text[CAIRN_MAP_IDS_TEXT_MAX] = "";
    const char *at = text;

    if (e->value_len >= sizeof(text))
        return none;
    memcpy(text, e->value, e->value_len);
    if (!read_step(&at, true, &ids.steps[0]))
        return none;
    while (at[0] == ' ' && ids.n < CAIRN_MAP_IDS_STEPS_MAX) {
        struct cairn_map_ids_step step = { 0 };

        if (!read_step(&at, false, &step))
            return none;
        if (step.beyond == 0)
            step.beyond = e->changed;
        if (!is_next(&ids, &step))
            return none;
        ids.steps[ids.n++] = step;
    }
    return (size_t)(at - text) == e->value_len ? ids : none;
}

struct cairn_map_ids cairn_map_ids_in(const struct cairn_map_table *t)
{
    const struct cairn_map_node *n = cairn_map_table_at(t, CAIRN_MAP_IDS_KEY);

    return n != NULL ? read_entry(&n->e) : (struct cairn_map_ids){ .n = 1 };
}

static void on_entry(const struct cairn_map_entry *e, void *arg)
{
    if (strcmp(e->key, CAIRN_MAP_IDS_KEY) == 0)
        *(struct cairn_map_ids *)arg = read_entry(e);
}

struct cairn_map_ids cairn_map_ids_of(struct cairn_map_store *s)
{
    struct cairn_map_ids ids = { .n = 1 };

    cairn_map_store_each(s, CAIRN_MAP_IDS_KEY, on_entry, &ids);
    return ids;
}

uint32_t cairn_map_id(const struct cairn_map_ids *ids, uint64_t revision)
{
    uint64_t base = UINT64_MAX;

    for (uint32_t i = 0; i < ids->n && (i == 0 || ids->steps[i].beyond < revision); i++)
        base = ids->steps[i].base;
    return base <= UINT32_MAX && revision <= UINT32_MAX - base ? (uint32_t)(base + revision) : 0;
}

uint64_t cairn_map_ids_base(const struct cairn_map_ids *ids)
{
    return ids->n > 0 ? ids->steps[ids->n - 1].base : UINT64_MAX;
}

uint64_t cairn_map_ids_upto(struct cairn_map_store *s)
{
    struct cairn_map_ids ids = cairn_map_ids_of(s);
    uint64_t base = cairn_map_ids_base(&ids);

    return base <= UINT32_MAX ? base + cairn_map_store_revision(s) : 0;
}

uint64_t cairn_map_ids_base_after(uint64_t base, uint64_t upto, uint32_t generation, uint64_t random)
{
    uint64_t after = MIN(base, (uint64_t)UINT32_MAX) + MIN(upto, (uint64_t)UINT32_MAX);

    after = MAX(after, (uint64_t)generation << GENERATION_SHIFT) + CAIRN_MAP_IDS_GAP + random % CAIRN_MAP_IDS_GAP;
    return MIN(after, (uint64_t)UINT32_MAX);
}

uint32_t cairn_map_ids_add(const struct cairn_map_ids *ids, uint64_t base, char text[CAIRN_MAP_IDS_TEXT_MAX])
{
    uint32_t len;

    if (ids->n == 0 || ids->n == CAIRN_MAP_IDS_STEPS_MAX || base < cairn_map_ids_base(ids))
        return 0;
    len = (uint32_t)snprintf(text, CAIRN_MAP_IDS_TEXT_MAX, "%" PRIu64, ids->steps[0].base);
    for (uint32_t i = 1; i < ids->n; i++)
        len += (uint32_t)snprintf(text + len, CAIRN_MAP_IDS_TEXT_MAX - len, " %" PRIu64 ":%" PRIu64,
                                  ids->steps[i].beyond, ids->steps[i].base);
    return len + (uint32_t)snprintf(text + len, CAIRN_MAP_IDS_TEXT_MAX - len, " 0:%" PRIu64, base);
}
