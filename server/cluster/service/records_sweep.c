/* A node's copy of the map: members that are of no use any more go. See records.h.
 *
 * The coordinator forgets who is lost or has left, and is named by no slot, after a day, and tells nobody. So each node
 * finds them itself, by much the same rule, a few at a time: those that may be some of them are gathered, all slots are
 * looked through for who is named, and who was found to be of no use for as long is dropped. (Who has left is silent,
 * and so may be one that is expected back; but he holds nothing, and is told of when he registers.) A member of whom
 * anything is told meanwhile has another row, which was never found. */
#include "server/cluster/service/records_internal.h"

#include <stdlib.h>

enum {
    SWEEP_MEMBERS = 1024, /* that are looked at in one step */
    SWEEP_SLOTS = 4096,
    SWEEP_REST_S = 60, /* between two rounds */
};

static bool may_be_gone(const struct records_member *x)
{
    return x->m.state == CAIRN_WIRE_MEMBER_LOST || x->m.state == CAIRN_WIRE_MEMBER_SILENT;
}

static int by_node(const void *a, const void *b)
{
    const struct records_found *x = a, *y = b;

    return x->node < y->node ? -1 : x->node > y->node;
}

static void found_named(struct records_sweep *s, uint64_t node)
{
    struct records_found key = { .node = node }, *x = bsearch(&key, s->found, s->nfound, sizeof(key), by_node);

    if (x != NULL)
        x->named = true;
}

/* The next of those that may be gone, in order. */
static void gather(struct cairn_cluster_records *r)
{
    struct records_sweep *s = &r->sweep;
    uint32_t i = records_member_place(r, s->next_node), end = MIN(r->nmembers, i + SWEEP_MEMBERS);

    for (; i < end && s->nfound < ARRAY_SIZE(s->found); i++) {
        if (may_be_gone(r->members[i]))
            s->found[s->nfound++] = (struct records_found){ .node = r->members[i]->m.node };
    }
    s->next_node = i < r->nmembers ? r->members[i]->m.node : 0;
}

/* True: all of them were looked through. */
static bool look_through_slots(struct cairn_cluster_records *r)
{
    struct records_sweep *s = &r->sweep;
    uint32_t end = MIN(r->slots_room, s->next_slot + SWEEP_SLOTS);

    for (; s->next_slot < end; s->next_slot++) {
        const struct cairn_slot_record *rec = r->slots[s->next_slot] != NULL ? records_newest(r->slots[s->next_slot]) : NULL;

        if (rec == NULL)
            continue;
        found_named(s, rec->primary.node);
        found_named(s, rec->move.target.node);
        found_named(s, rec->move.from);
        for (uint32_t i = 0; i < rec->nreplicas; i++)
            found_named(s, rec->replicas[i]);
        for (uint32_t i = 0; i < rec->ninsync; i++)
            found_named(s, rec->insync[i].node);
    }
    return s->next_slot >= r->slots_room;
}

static void judge(struct cairn_cluster_records *r, uint64_t now_ns, uint64_t after_ns)
{
    struct records_sweep *s = &r->sweep;

    for (uint32_t k = 0; k < s->nfound; k++) {
        uint32_t i = records_member_place(r, s->found[k].node);
        struct records_member *x = i < r->nmembers ? r->members[i] : NULL;

        if (x == NULL || x->m.node != s->found[k].node)
            continue;
        if (s->found[k].named || !may_be_gone(x))
            x->gone_ns = 0;
        else if (x->gone_ns == 0)
            x->gone_ns = now_ns;
        else if (now_ns - x->gone_ns >= after_ns)
            records_member_drop(r, i);
    }
    s->nfound = s->next_slot = 0;
}

void cairn_cluster_records_sweep(struct cairn_cluster_records *r, uint64_t now_ns, uint64_t after_ns)
{
    struct records_sweep *s = &r->sweep;

    pthread_rwlock_wrlock(&r->lock);
    if (s->nfound > 0) {
        if (look_through_slots(r))
            judge(r, now_ns, after_ns);
    } else if (now_ns >= s->rest_until_ns) {
        gather(r);
        if (s->next_node == 0) /* all of them were looked at */
            s->rest_until_ns = now_ns + SWEEP_REST_S * CAIRN_NS_PER_S;
    }
    pthread_rwlock_unlock(&r->lock);
}
