/* Where slots go, and how many are where: see coordinator.h. */
#include "server/cluster/service/coordinator_internal.h"

#include "sdk/core/base/crc.h"

enum {
    QUEUED_MAX = 2 * CAIRN_MAP_WRITES_MAX, /* records of new slots that wait for the store */
    DRAWS_OF_STEP = 20000,                 /* of members for slots, before the loop has its turn again */
};

static struct cairn_who who_of(const struct cairn_member *m)
{
    return (struct cairn_who){ .node = m->p.node, .inc = m->p.inc };
}

static bool may_hold(struct cairn_coordinator *co, const struct cairn_member *m)
{
    return !m->p.draining && m->weight > 0 && cairn_coord_is_alive(&co->coord, who_of(m));
}

/* ---- a replica that moves ---- */

/* Whether a replica in the zone of @m would share it with one that stays. Without a zone each node fails for itself. */
static bool shares_zone(struct cairn_coordinator *co, const struct cairn_slot_record *rec, const struct cairn_member *m,
                        uint64_t from)
{
    for (uint32_t i = 0; i < rec->nreplicas && m->zone[0] != '\0'; i++) {
        const struct cairn_member *other = cairn_members_find(&co->members, rec->replicas[i]);

        if (rec->replicas[i] != from && other != NULL && strcmp(other->zone, m->zone) == 0)
            return true;
    }
    return false;
}

/* A live node that does not hold it: in another zone first, then the one with the fewest slots for its weight. */
uint64_t cairn_coordinator__place(struct cairn_coord *c, uint32_t slot, uint64_t from)
{
    struct cairn_coordinator *co = c->arg;
    const struct cairn_slot_record *rec = &c->slots[slot].rec;
    struct cairn_member *best = NULL;
    bool best_shares = false;

    for (uint32_t i = 0; i < co->members.n; i++) {
        struct cairn_member *m = co->members.all[i];
        bool shares;

        if (!may_hold(co, m) || cairn_slot_places(rec, m->p.node) || cairn_slot_names(rec, m->p.node))
            continue;
        shares = shares_zone(co, rec, m, from);
        if (best == NULL || (best_shares && !shares) ||
            (best_shares == shares && (uint64_t)m->holds * best->weight < (uint64_t)best->holds * m->weight)) {
            best = m;
            best_shares = shares;
        }
    }
    if (best == NULL)
        return 0;
    best->holds++; /* it will, so that not all go there before they are counted again */
    return best->p.node;
}

/* ---- classes ---- */

static void candidates_find(struct cairn_coordinator *co)
{
    co->ncandidates = 0;
    for (uint32_t i = 0; i < co->members.n && co->ncandidates < CAIRN_MEMBERS_MAX; i++) {
        const struct cairn_member *m = co->members.all[i];
        uint32_t zone = m->zone[0] != '\0' ? cairn_crc32c(0, m->zone, strlen(m->zone))
                                           : cairn_crc32c(0, &m->p.node, sizeof(m->p.node));

        if (may_hold(co, m))
            co->candidates[co->ncandidates++] =
                (struct cairn_placement_member){ .id = m->p.node, .weight = m->weight, .capacity = 1, .zone = zone };
    }
}

static void class_answer(struct cairn_coordinator *co, struct cairn_coordinator_class *class, int rc, const char *text)
{
    struct cairn_link *l;

    while ((l = cairn_list_pop(&class->asks)) != NULL) {
        struct cairn_coordinator_ask *ask = CONTAINER_OF(l, struct cairn_coordinator_ask, link);

        ask->nslots = co->nslots;
        ask->revision = class->revision;
        cairn_coordinator__answer(ask, rc, text);
    }
}

static void class_go_on(struct cairn_coordinator *co, uint32_t number)
{
    struct cairn_coordinator_class *class = &co->classes[number];
    uint32_t replicas = number + 1, n, budget;
    uint64_t nodes[CAIRN_REPLICAS_MAX];

    candidates_find(co);
    if (co->ncandidates < replicas) {
        class_answer(co, class, CAIRN_E_STATE, "the cluster has fewer nodes that are up than replicas are wanted");
        return;
    }
    budget = MAX(1U, DRAWS_OF_STEP / (co->ncandidates * replicas));
    for (; class->next < co->nslots && co->writes.nqueued < QUEUED_MAX && budget > 0; class->next++) {
        uint32_t slot = number * co->nslots + class->next;

        if (co->coord.slots[slot].rec.epoch != 0 || co->coord.slots[slot].storing)
            continue;
        n = cairn_placement_rank(class->next, co->candidates, co->ncandidates, replicas, nodes);
        CAIRN_ASSERT(n == replicas);
        if (cairn_coord_create(&co->coord, slot, nodes, n, class->min_insync) != 0) {
            cairn_coordinator__fail(co, CAIRN_E_INTERNAL, "a slot cannot be made");
            return;
        }
        budget--;
    }
}

void cairn_coordinator__classes_go_on(struct cairn_coordinator *co)
{
    for (uint32_t i = 0; i < CAIRN_CLUSTER_CLASSES; i++) {
        struct cairn_coordinator_class *class = &co->classes[i];

        if (cairn_list_is_empty(&class->asks))
            continue;
        if (class->made == co->nslots)
            class_answer(co, class, 0, "");
        else
            class_go_on(co, i);
    }
}

void cairn_coordinator__class_grew(struct cairn_coordinator *co, uint32_t slot, uint64_t revision)
{
    struct cairn_coordinator_class *class = &co->classes[slot / co->nslots];

    class->made++;
    class->revision = revision;
}

/* ---- how many are where ---- */

static void count_slot(struct cairn_coordinator *co, const struct cairn_slot_record *rec)
{
    struct cairn_coordinator_counts *n = &co->counts;
    bool is_lost = true;

    for (uint32_t i = 0; i < rec->ninsync; i++) {
        const struct cairn_coord_node *node = cairn_coord_node(&co->coord, rec->insync[i].node);

        is_lost &= node == NULL || node->p.inc != rec->insync[i].inc;
    }
    for (uint32_t i = 0; i < rec->nreplicas; i++) {
        struct cairn_member *m = cairn_members_find(&co->members, rec->replicas[i]);

        if (m != NULL)
            m->holds++;
    }
    n->slots++;
    n->moving += rec->move.phase != CAIRN_MOVE_NONE;
    if (is_lost)
        n->lost++;
    else if (rec->state != CAIRN_SLOT_ACTIVE)
        n->takeover++;
    else
        n->degraded += rec->ninsync < rec->nreplicas;
}

void cairn_coordinator__count(struct cairn_coordinator *co)
{
    struct cairn_coordinator_counts *n = &co->counts;

    *n = (struct cairn_coordinator_counts){ .members = co->members.n };
    for (uint32_t i = 0; i < co->members.n; i++) {
        struct cairn_member *m = co->members.all[i];

        m->holds = 0;
        n->silent += m->state == CAIRN_WIRE_MEMBER_SILENT;
        n->draining += m->p.draining;
    }
    for (uint32_t i = 0; i < all_slots(co); i++) {
        if (co->coord.slots[i].rec.epoch != 0)
            count_slot(co, &co->coord.slots[i].rec);
    }
}
