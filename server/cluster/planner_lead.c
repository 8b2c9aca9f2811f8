/* Who is to lead: each node as many slots as its part of what it holds, with few hand-overs. */
#include "server/cluster/planner_internal.h"

/* How many slots more than its part of those that it holds it leads. */
static int64_t leads_above(const struct cairn_planner *p, uint64_t id, uint32_t replicas)
{
    const struct cairn_planner__node *n = cairn_planner__node(p, id);

    return (int64_t)n->leads - n->holds / replicas;
}

/* Of those who are to hold the slot, and, if @only is not NULL, are among these: who leads the least. */
static uint32_t leads_least(const struct cairn_planner *p, const uint64_t *wanted, uint32_t n, const uint64_t *only,
                            uint32_t nonly)
{
    uint32_t best = 0;
    bool found = false;

    for (uint32_t i = 0; i < n; i++) {
        if (only != NULL && !cairn_planner__is_in(only, nonly, wanted[i]))
            continue;
        if (!found || leads_above(p, wanted[i], n) < leads_above(p, wanted[best], n))
            best = i;
        found = true;
    }
    return best;
}

/* Who leads goes on, if it stays; if it leaves, who comes takes over (coord_move.c), if anybody does. */
static void lead_first(struct cairn_planner *p, uint32_t slot)
{
    const struct cairn_slot_record *rec = p->conf.record(p->conf.arg, slot);
    struct cairn_planner__future f = cairn_planner__future(rec);
    struct cairn_planner__difference d = cairn_planner__compare(p, slot, &f);
    uint32_t n, lead = 0;
    const uint64_t *wanted = cairn_placement_of_slot(p->wanted, slot, &n);

    while (lead < n && wanted[lead] != f.primary)
        lead++;
    if (lead == n)
        lead = leads_least(p, wanted, n, f.primary != 0 && d.ncomes > 0 ? d.comes : NULL, d.ncomes);
    p->lead[slot] = (uint8_t)lead;
    cairn_planner__node(p, wanted[lead])->leads++;
}

/* Hands a slot over to who leads the least of its holders, if that leads less than its part while who gives it leads
 * more than its own; or, @any, if that is still no more than the other afterwards: then the sum of squares falls, so
 * it ends. */
static bool lead_better(struct cairn_planner *p, uint32_t slot, bool any)
{
    uint32_t n;
    const uint64_t *wanted = cairn_placement_of_slot(p->wanted, slot, &n);
    uint32_t best = leads_least(p, wanted, n, NULL, 0);
    struct cairn_planner__node *from = cairn_planner__node(p, wanted[p->lead[slot]]),
                               *to = cairn_planner__node(p, wanted[best]);
    int64_t above = leads_above(p, from->is.member.id, n), below = leads_above(p, to->is.member.id, n);

    if (any ? above - below < 2 : below >= 0 || above <= (from->holds % n != 0))
        return false;
    from->leads--;
    to->leads++;
    p->lead[slot] = (uint8_t)best;
    return true;
}

void cairn_planner__lead(struct cairn_planner *p)
{
    uint32_t n;
    bool any = true;

    cairn_placement_of_slot(p->wanted, 0, &n);
    if (n == 0)
        return;
    for (uint32_t slot = 0; slot < p->slots; slot++) {
        const uint64_t *wanted = cairn_placement_of_slot(p->wanted, slot, &n);

        for (uint32_t i = 0; i < n; i++)
            cairn_planner__node(p, wanted[i])->holds++;
    }
    for (uint32_t slot = 0; slot < p->slots; slot++)
        lead_first(p, slot);
    for (uint32_t slot = 0; slot < p->slots;
         slot++) /* first what has to be: a newcomer takes from those with too much */
        lead_better(p, slot, false);
    while (any) {
        any = false;
        for (uint32_t slot = 0; slot < p->slots; slot++)
            any |= lead_better(p, slot, true);
    }
}
