/* The directory of members: see swim_dir.h. Open addressing, at most half full; removal shifts back. */
#include "providers/group/swim_dir.h"

#include "sdk/core/base/macros.h"

#include <string.h>
#include <xxhash.h>

uint32_t cairn_swim_dir_table_len(uint32_t room)
{
    uint32_t n = 4;

    while (n < 2 * room)
        n *= 2;
    return n;
}

void cairn_swim_dir_init(struct cairn_swim_dir *d, struct cairn_swim_desc *descs, uint32_t *table, uint32_t room)
{
    *d = (struct cairn_swim_dir){ .descs = descs, .table = table, .room = room };
    d->mask = cairn_swim_dir_table_len(room) - 1;
    memset(descs, 0, room * sizeof(*descs));
    memset(table, 0, (d->mask + (size_t)1) * sizeof(*table));
}

uint64_t cairn_swim_id(const char *name, size_t len)
{
    uint64_t id = XXH3_64bits(name, len);

    return id != 0 ? id : 1;
}

/* Where @id is in the table, or the empty place where it would be. */
static uint32_t place_of(const struct cairn_swim_dir *d, uint64_t id)
{
    uint32_t at = (uint32_t)id & d->mask;

    while (d->table[at] != 0 && d->descs[d->table[at] - 1].id != id)
        at = (at + 1) & d->mask;
    return at;
}

uint32_t cairn_swim_dir_find(const struct cairn_swim_dir *d, uint64_t id)
{
    uint32_t at = place_of(d, id);

    return d->table[at] != 0 ? d->table[at] - 1 : CAIRN_SWIM_NO_SLOT;
}

/* Free slots are few and rare: only members that were forgotten leave any. */
static uint32_t free_slot(struct cairn_swim_dir *d)
{
    if (d->n == d->used)
        return d->used < d->room ? d->used++ : CAIRN_SWIM_NO_SLOT;
    for (uint32_t i = 0; i < d->used; i++) {
        if (d->descs[i].id == 0)
            return i;
    }
    return CAIRN_SWIM_NO_SLOT;
}

uint32_t cairn_swim_dir_put(struct cairn_swim_dir *d, const struct cairn_swim_desc *desc)
{
    uint32_t at = place_of(d, desc->id), slot;

    CAIRN_ASSERT(desc->id != 0);
    if (d->table[at] == 0) {
        slot = free_slot(d);
        if (slot == CAIRN_SWIM_NO_SLOT)
            return slot;
        d->table[at] = slot + 1;
        d->n++;
    }
    slot = d->table[at] - 1;
    d->descs[slot] = *desc;
    return slot;
}

void cairn_swim_dir_remove(struct cairn_swim_dir *d, uint32_t slot)
{
    uint32_t hole = place_of(d, d->descs[slot].id), at = hole;

    CAIRN_ASSERT(!d->shared && d->table[hole] == slot + 1);
    for (;;) {
        uint32_t home;

        at = (at + 1) & d->mask;
        if (d->table[at] == 0)
            break;
        home = (uint32_t)d->descs[d->table[at] - 1].id & d->mask;
        if (((at - home) & d->mask) < ((at - hole) & d->mask))
            continue; /* its home lies behind the hole: it stays */
        d->table[hole] = d->table[at];
        hole = at;
    }
    d->table[hole] = 0;
    memset(&d->descs[slot], 0, sizeof(d->descs[slot]));
    d->n--;
}

bool cairn_swim_addr_equal(const struct cairn_swim_addr *a, const struct cairn_swim_addr *b)
{
    return a->len == b->len && a->port == b->port && memcmp(a->ip, b->ip, a->len) == 0;
}
