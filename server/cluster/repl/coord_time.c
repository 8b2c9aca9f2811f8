/* The coordinator, as time passes: who is dead, who leads then (M2, M4, M6): see coord.h. */
#include "server/cluster/repl/coord_internal.h"

/* Nobody can hold a lease of @who any more. Our forerunner held none when we were elected; it is given the time to
 * say that it is there, since a slot that changes hands has one replica less for a while. */
static bool authority_is_over(struct cairn_coord *c, struct cairn_who who)
{
    struct cairn_coord_node *n = cairn_coord_node(c, who.node);

    if (who.node == c->forerunner && !n->granted)
        return cairn_env_now_ns(c->env) >= c->elected_ns + c->times.heartbeat_ns;
    return cairn_env_now_ns(c->env) >= MAX(n->granted_ns, c->elected_ns) + cairn_lease_wait_ns(&c->times);
}

/* M4 and M2: @to leads, the old primary is no member any more. */
static void promote(struct cairn_coord *c, struct cairn_coord_slot *s, struct cairn_who to)
{
    struct cairn_slot_record *next = cairn_coord__begin(c, s);

    cairn_coord__insync_del(next, s->rec.primary.node);
    next->primary = to;
    next->state = CAIRN_SLOT_TAKEOVER;
    c->takeovers++;
    cairn_coord__store(c, s);
}

/* M2: a member that registered again is none any more, if another one is here. True if a change was begun. */
static bool drop_restarted(struct cairn_coord *c, struct cairn_coord_slot *s)
{
    for (uint32_t i = 0; i < s->rec.ninsync; i++) {
        struct cairn_who old = s->rec.insync[i];
        struct cairn_coord_node *n = cairn_coord_node(c, old.node);
        struct cairn_who other;

        if (n == NULL || n->p.inc == old.inc)
            continue;
        other = cairn_coord__successor(c, &s->rec, old, n->registered_ns); /* before, it may have been gone already */
        if (cairn_who_is_nobody(other))
            continue;
        if (cairn_who_is(old, s->rec.primary)) {
            promote(c, s, other);
        } else {
            cairn_coord__insync_del(cairn_coord__begin(c, s), old.node);
            cairn_coord__store(c, s);
        }
        return true;
    }
    return false;
}

/* Its node has registered a newer process. */
static bool is_replaced(struct cairn_coord *c, struct cairn_who who)
{
    struct cairn_coord_node *n = cairn_coord_node(c, who.node);

    return n == NULL || n->p.inc != who.inc || who.inc <= c->floor;
}

static bool has_restarted(struct cairn_coord *c, const struct cairn_slot_record *rec)
{
    for (uint32_t i = 0; i < rec->ninsync; i++) {
        if (is_replaced(c, rec->insync[i]))
            return true;
    }
    return false;
}

/* M2: some restarted, and nobody is there who did not. Who is silent may come back, and then it is not lost. */
static bool is_lost(struct cairn_coord *c, const struct cairn_slot_record *rec)
{
    return has_restarted(c, rec) && cairn_who_is_nobody(cairn_coord__successor(c, rec, (struct cairn_who){ 0 }, 0));
}

/* Whether the member that was @node still has the disk that it was one with. */
static bool has_its_disk(struct cairn_coord *c, const struct cairn_slot_record *rec, uint64_t node)
{
    struct cairn_coord_node *n = cairn_coord_node(c, node);

    for (uint32_t i = 0; i < rec->ninsync; i++) {
        if (rec->insync[i].node == node)
            return n != NULL && rec->insync[i].inc >= n->p.disk_inc;
    }
    return false;
}

/* In a history that is lost a member may have been one no more, and what it had of the slot is deleted or in part a
 * copy: whoever is in sync has the first entry of the one that leads. */
static bool has_its_log(struct cairn_coord *c, const struct cairn_slot_record *rec, const struct cairn_coord_end *e)
{
    return !cairn_coord__is_of_the_past(c, rec) || rec->state != CAIRN_SLOT_ACTIVE || e->end.epoch >= rec->since;
}

/* Another incarnation only because the map was put back: the process is the one that the record names, and has all that
 * it acknowledged. */
static bool has_not_restarted(struct cairn_coord *c, const struct cairn_slot_record *rec,
                              const struct cairn_coord_end *e)
{
    const struct cairn_coord_node *n = cairn_coord_node(c, e->who.node);

    for (uint32_t i = 0; cairn_coord__is_of_the_past(c, rec) && i < rec->ninsync; i++) {
        if (rec->insync[i].node == e->who.node)
            return n->p.first_inc != 0 && rec->insync[i].inc >= n->p.first_inc;
    }
    return false;
}

/* A log of an epoch behind the record's was begun by one that had all that was acknowledged under the record. */
static bool best_is_lost(struct cairn_coord *c, const struct cairn_coord_slot *s, const struct cairn_coord_end *best)
{
    return s->lost.end.epoch > s->rec.epoch && cairn_coord_is_alive(c, s->lost.who) &&
           (best == NULL || !cairn_at_is_less(s->lost.end, best->end));
}

bool cairn_coord__authorities_are_over(struct cairn_coord *c, const struct cairn_slot_record *rec)
{
    if (cairn_coord__is_of_the_past(c, rec))
        return cairn_env_now_ns(c->env) >= c->elected_ns + cairn_lease_wait_ns(&c->times);
    return is_replaced(c, rec->primary) || authority_is_over(c, rec->primary);
}

/* @node is to hold the slot, if it was not, instead of the last in the order of placement. */
static void place_first(struct cairn_slot_record *next, uint64_t node)
{
    uint32_t i = 0;

    while (i < next->nreplicas - 1 && next->replicas[i] != node)
        i++;
    if (next->replicas[i] == node)
        return;
    memmove(next->replicas + 1, next->replicas, i * sizeof(next->replicas[0]));
    next->replicas[0] = node;
}

/* Of the members that are here, the one with the greatest (epoch, end), or NULL. @may: it need not wait for others. */
static const struct cairn_coord_end *best_member(struct cairn_coord *c, const struct cairn_coord_slot *s,
                                                 uint32_t *here, bool *may)
{
    const struct cairn_coord_end *best = NULL;

    *here = 0;
    *may = false;
    for (uint32_t i = 0; i < s->nends; i++) {
        const struct cairn_coord_end *e = &s->ends[i];

        if (!has_its_disk(c, &s->rec, e->who.node) || !has_its_log(c, &s->rec, e) ||
            !cairn_coord__has_it_whole(c, (uint32_t)(s - c->slots), e->who.node) || !cairn_coord_is_alive(c, e->who))
            continue;
        ++*here;
        *may |= has_not_restarted(c, &s->rec, e);
        if (best == NULL || cairn_at_is_less(best->end, e->end))
            best = e;
    }
    return best;
}

/* M6: of the members of the current set, all registered again, the one with the greatest (epoch, end). Who leads by the
 * record and is only silent has to be without a lease. Of a record of the past see README.md, "A map that was put
 * back". */
static void recover(struct cairn_coord *c, struct cairn_coord_slot *s)
{
    const struct cairn_coord_end *best;
    struct cairn_slot_record *next;
    uint32_t here;
    bool may;

    if (s->lost_ns == 0)
        s->lost_ns = cairn_env_now_ns(c->env);
    best = best_member(c, s, &here, &may);
    if (best_is_lost(c, s, best)) {
        best = &s->lost;
        may = true;
    }
    may |= here == s->rec.ninsync;
    may |= c->lost_may_shrink && cairn_env_now_ns(c->env) - s->lost_ns >= c->lost_wait_ns;
    if (best == NULL || !may || !cairn_coord__authorities_are_over(c, &s->rec))
        return;
    if (here < s->rec.ninsync && !cairn_coord__is_of_the_past(c, &s->rec)) {
        c->losses++;
        cairn_log_warn("slot %td goes on with %u of %u members: unsynced writes may be lost", s - c->slots, here,
                       s->rec.ninsync);
    }
    next = cairn_coord__begin(c, s);
    next->primary = best->who;
    next->insync[0] = next->primary;
    next->ninsync = 1;
    next->state = CAIRN_SLOT_TAKEOVER;
    if (best == &s->lost) {
        place_first(next, best->who.node);
        memset(&next->move, 0, sizeof(next->move));
    }
    c->recoveries++;
    cairn_coord__store(c, s);
}

/* True: to be looked at again at the next tick. */
static bool slot_tick(struct cairn_coord *c, struct cairn_coord_slot *s)
{
    struct cairn_who to;

    if (s->unread)
        c->ops->read(c, (uint32_t)(s - c->slots));
    s->unread = false;
    if (s->storing || s->rec.epoch == 0)
        return false;
    if (is_lost(c, &s->rec)) {
        recover(c, s);
        return true;
    }
    s->lost_ns = 0;
    if (drop_restarted(c, s))
        return true;
    if (cairn_coord_is_alive(c, s->rec.primary))
        return cairn_coord__move_tick(c, s) || has_restarted(c, &s->rec);
    if (is_replaced(c, s->rec.primary) || !authority_is_over(c, s->rec.primary))
        return true; /* replaced: M2 has to wait for the word of another member, later than the REGISTER */
    to = cairn_coord__successor(c, &s->rec, s->rec.primary, 0);
    if (!cairn_who_is_nobody(to))
        promote(c, s, to);
    return true;
}

/* Nodes that have fallen silent: their slots are looked at until they have found another primary. */
static void nodes_tick(struct cairn_coord *c)
{
    for (uint32_t i = 0; i < c->nnodes; i++) {
        struct cairn_coord_node *n = &c->nodes[i];
        bool alive = cairn_coord_is_alive(c, (struct cairn_who){ .node = n->p.node, .inc = n->p.inc });

        for (uint32_t k = 0; n->was_alive && !alive && k < c->nslots; k++) {
            if (c->slots[k].rec.primary.node == n->p.node)
                cairn_coord__watch(c, &c->slots[k]);
        }
        n->was_alive = alive;
    }
}

void cairn_coord_tick(struct cairn_coord *c)
{
    uint32_t n, kept = 0;

    if (!c->ops->may_act(c))
        return;
    nodes_tick(c);
    n = c->nwatched;
    for (uint32_t i = 0; i < n; i++) {
        struct cairn_coord_slot *s = &c->slots[c->watched[i]];

        s->watched = slot_tick(c, s);
        if (s->watched)
            c->watched[kept++] = c->watched[i];
    }
    CAIRN_ASSERT(c->nwatched == n); /* nothing that is done here is stored at once */
    c->nwatched = kept;
}
