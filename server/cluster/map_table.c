/* Entries in memory: see map_table.h. */
#include "server/cluster/map_table.h"

#include <stdlib.h>
#include <string.h>

struct cairn_map_node *cairn_map_node_new(const struct cairn_map_entry *e)
{
    size_t key_len = strlen(e->key);
    struct cairn_map_node *n = malloc(sizeof(*n) + key_len + 1 + e->value_len);

    if (n == NULL)
        return NULL;
    atomic_init(&n->refs, 1);
    n->e = *e;
    memcpy(n->bytes, e->key, key_len + 1);
    n->e.key = n->bytes;
    if (e->value_len > 0)
        memcpy(n->bytes + key_len + 1, e->value, e->value_len);
    if (e->value != NULL)
        n->e.value = (const uint8_t *)n->bytes + key_len + 1;
    return n;
}

struct cairn_map_node *cairn_map_node_get(struct cairn_map_node *n)
{
    atomic_fetch_add_explicit(&n->refs, 1, memory_order_relaxed);
    return n;
}

void cairn_map_node_put(struct cairn_map_node *n)
{
    if (n != NULL && atomic_fetch_sub_explicit(&n->refs, 1, memory_order_acq_rel) == 1)
        free(n);
}

void cairn_map_table_fini(struct cairn_map_table *t)
{
    for (uint32_t i = 0; i < t->n; i++)
        cairn_map_node_put(t->nodes[i]);
    free(t->nodes);
    *t = (struct cairn_map_table){ 0 };
}

uint32_t cairn_map_table_find(const struct cairn_map_table *t, const char *key, bool *found)
{
    uint32_t lo = 0, hi = t->n;

    *found = false;
    while (lo < hi) {
        uint32_t mid = (lo + hi) / 2;
        int c = strcmp(t->nodes[mid]->e.key, key);

        if (c == 0) {
            *found = true;
            return mid;
        }
        if (c < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

struct cairn_map_node *cairn_map_table_at(const struct cairn_map_table *t, const char *key)
{
    bool found;
    uint32_t at = cairn_map_table_find(t, key, &found);

    return found ? t->nodes[at] : NULL;
}

int cairn_map_table_reserve(struct cairn_map_table *t, uint32_t n)
{
    uint32_t room = MAX(MAX(n, 16U), t->room * 2);
    struct cairn_map_node **nodes;

    if (n <= t->room)
        return 0;
    if (n > CAIRN_MAP_ENTRIES_MAX * 2) /* erasing must be possible in a full one: stage() keeps the bound itself */
        return CAIRN_E_LIMIT;
    nodes = realloc(t->nodes, room * sizeof(*nodes));
    if (nodes == NULL)
        return CAIRN_E_NOMEM;
    t->nodes = nodes;
    t->room = room;
    return 0;
}

void cairn_map_table_set(struct cairn_map_table *t, struct cairn_map_node *n)
{
    bool found;
    uint32_t at = cairn_map_table_find(t, n->e.key, &found);

    if (found) {
        t->bytes -= cairn_map_entry_bytes(&t->nodes[at]->e);
        cairn_map_node_put(t->nodes[at]);
    }
    if (n->e.value == NULL) {
        if (!found)
            return;
        t->n--;
        memmove(&t->nodes[at], &t->nodes[at + 1], (t->n - at) * sizeof(t->nodes[0]));
        return;
    }
    if (!found) {
        CAIRN_ASSERT(t->n < t->room);
        memmove(&t->nodes[at + 1], &t->nodes[at], (t->n - at) * sizeof(t->nodes[0]));
        t->n++;
    }
    t->nodes[at] = cairn_map_node_get(n);
    t->bytes += cairn_map_entry_bytes(&n->e);
}

void cairn_map_table_append(struct cairn_map_table *t, struct cairn_map_node *n)
{
    CAIRN_ASSERT(t->n < t->room);
    t->nodes[t->n++] = n;
    t->bytes += cairn_map_entry_bytes(&n->e);
}

/* Of the first entry that does not begin with @prefix any more, from @first on, which is the first one that may. */
static uint32_t table_end(const struct cairn_map_table *t, const char *prefix, uint32_t first)
{
    size_t len = strlen(prefix);
    uint32_t lo = first, hi = t->n;

    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;

        if (strncmp(t->nodes[mid]->e.key, prefix, len) == 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static int copy_between(struct cairn_map_table *to, const struct cairn_map_table *from, uint32_t first, uint32_t end,
                        uint32_t more)
{
    int rc = cairn_map_table_reserve(to, end - first + more);

    for (uint32_t i = first; rc == 0 && i < end; i++)
        cairn_map_table_append(to, cairn_map_node_get(from->nodes[i]));
    return rc;
}

int cairn_map_table_copy(struct cairn_map_table *to, const struct cairn_map_table *from, const char *prefix,
                         uint32_t more)
{
    bool found;
    uint32_t first = cairn_map_table_find(from, prefix, &found);

    return copy_between(to, from, first, table_end(from, prefix, first), more);
}

int cairn_map_table_copy_some(struct cairn_map_table *to, const struct cairn_map_table *from, const char *prefix,
                              uint32_t limit, bool last, uint64_t *count)
{
    bool found;
    uint32_t first = cairn_map_table_find(from, prefix, &found), end = table_end(from, prefix, first), n;

    *count = end - first;
    n = limit != 0 ? MIN(limit, end - first) : end - first;
    return last ? copy_between(to, from, end - n, end, 0) : copy_between(to, from, first, first + n, 0);
}

void cairn_map_table_each(const struct cairn_map_table *t, const char *prefix,
                          void (*fn)(const struct cairn_map_entry *e, void *arg), void *arg)
{
    size_t len = strlen(prefix);
    bool found;

    for (uint32_t i = cairn_map_table_find(t, prefix, &found); i < t->n; i++) {
        if (strncmp(t->nodes[i]->e.key, prefix, len) != 0)
            break;
        fn(&t->nodes[i]->e, arg);
    }
}
