/* Pages of a copy of the map: see records_chain.h. */
#include "server/cluster/service/records_chain.h"

#include "server/cluster/service/records_internal.h"

#include <stdlib.h>

enum { MEMBER_BYTES = 1024 }; /* with its texts, as a rule */

void records_chain_begin(struct records_chain *ch, uint64_t since, uint32_t nslots)
{
    *ch = (struct records_chain){ .since = since };
    /* Twice, for what changes meanwhile. */
    cairn_arena_init(&ch->arena,
                     2 * (nslots * sizeof(struct cairn_wire_slot) + CAIRN_CLUSTER_MEMBERS_MAX * MEMBER_BYTES));
}

void records_chain_end(struct records_chain *ch)
{
    if (ch->pages == NULL)
        return;
    cairn_arena_reset(&ch->arena);
    free(ch->pages);
    ch->pages = NULL;
    ch->n = ch->room = 0;
}

uint64_t records_chain_upto(const struct records_chain *ch)
{
    return ch->n > 0 ? ch->pages[ch->n - 1].revision : ch->since;
}

static bool make_room(struct records_chain *ch)
{
    uint32_t room = MAX(2 * ch->room, 4U);
    struct cairn_wire_page *pages;

    if (ch->n < ch->room)
        return true;
    pages = realloc(ch->pages, room * sizeof(*pages));
    if (pages == NULL)
        return false;
    ch->pages = pages;
    ch->room = room;
    return true;
}

static bool page_copy(struct cairn_arena *a, const struct cairn_wire_page *page, struct cairn_wire_page *to)
{
    struct cairn_wire_slot *slots = cairn_arena_alloc(a, page->nslots * sizeof(*slots) + 1);
    struct cairn_wire_member *members = cairn_arena_alloc(a, page->nmembers * sizeof(*members) + 1);

    if (slots == NULL || members == NULL)
        return false;
    memcpy(slots, page->slots, page->nslots * sizeof(*slots));
    for (uint32_t i = 0; i < page->nmembers; i++) {
        char *text = cairn_arena_alloc(a, records_member_bytes(&page->members[i]));

        if (text == NULL)
            return false;
        records_member_copy(&members[i], &page->members[i], text);
    }
    *to = *page;
    to->slots = slots;
    to->members = members;
    return true;
}

int records_chain_add(struct records_chain *ch, const struct cairn_wire_page *page)
{
    const struct cairn_wire_page *first = &ch->pages[0];

    if (ch->n > 0 && (page->map != first->map || page->copy != first->copy))
        return CAIRN_E_STATE;
    if (page->revision < records_chain_upto(ch) ||
        (page->revision == records_chain_upto(ch) && (page->more || page->nslots + page->nmembers > 0)))
        return CAIRN_E_INVAL;
    if (!make_room(ch) || !page_copy(&ch->arena, page, &ch->pages[ch->n]))
        return CAIRN_E_NOMEM;
    ch->n++;
    return 0;
}
