/* The coordinator's moves: add, join, hand over, drop (PROTOCOL §7): see coord.h.
 *
 *  NONE ---> COPY ---> JOINED ---> NONE      The phase is in the record, so it outlives coordinators and primaries.
 *
 *  COPY    the target is a learner of the slot: the primary copies to it, streams to it, and proposes its JOIN.
 *  JOINED  it is in sync. If it is to lead, or if who leaves leads, the primary releases first (SWITCH, in one change);
 *          otherwise the one that leaves is dropped, unless too few would be in sync: it stays then.
 *
 * A target that is removed again is a learner again: back to COPY. */
#include "server/cluster/repl/coord_internal.h"

#include <inttypes.h>

static void move_end(struct cairn_slot_record *next)
{
    memset(&next->move, 0, sizeof(next->move));
}

void cairn_coord__move_follow(struct cairn_coord *c, const struct cairn_slot_record *old,
                              struct cairn_slot_record *next)
{
    for (uint32_t i = 0; i < next->ninsync && next->move.phase == CAIRN_MOVE_JOINED; i++) {
        if (next->insync[i].node ==
            next->move.target.node) /* it may come back from a loss of all, as another process */
            next->move.target = next->insync[i];
    }
    if (next->move.phase == CAIRN_MOVE_JOINED && cairn_slot_insync(next, next->move.target) < 0) {
        if (next->move.from == 0) { /* it stays a replica, and joins as any does */
            move_end(next);
        } else {
            next->move.phase = CAIRN_MOVE_COPY;
            cairn_coord__replica_del(next, next->move.target.node);
        }
    }
    if (next->move.phase == CAIRN_MOVE_JOINED && next->move.from == 0 && cairn_who_is(next->primary, next->move.target))
        move_end(next);
    c->moves_done += old->move.phase == CAIRN_MOVE_JOINED && next->move.phase == CAIRN_MOVE_NONE &&
                     cairn_slot_insync(next, old->move.target) >= 0;
}

void cairn_coord__move_joined(struct cairn_slot_record *next)
{
    next->replicas[next->nreplicas++] = next->move.target.node;
    next->move.phase = CAIRN_MOVE_JOINED;
    if (next->move.from == 0 && !next->move.lead)
        move_end(next);
}

bool cairn_coord__move_released(struct cairn_coord *c, const struct cairn_slot_record *old,
                                struct cairn_slot_record *next)
{
    bool joined = old->move.phase == CAIRN_MOVE_JOINED;
    struct cairn_who to = cairn_coord__successor(c, old, old->primary, 0);

    if (joined && cairn_coord_is_alive(c, old->move.target) && !cairn_who_is(old->move.target, old->primary))
        to = old->move.target;
    if (cairn_who_is_nobody(to))
        return false;
    next->primary = to;
    if (joined && cairn_who_is(to, old->move.target) && old->move.from == old->primary.node &&
        cairn_slot_may_leave(old, old->move.from)) {
        cairn_coord__insync_del(next, old->move.from);
        cairn_coord__replica_del(next, old->move.from);
        move_end(next);
    }
    return true;
}

static int may_change(const struct cairn_coord_slot *s)
{
    return s->storing || s->rec.move.phase != CAIRN_MOVE_NONE ? CAIRN_E_BUSY : s->rec.epoch == 0 ? CAIRN_E_STATE : 0;
}

int cairn_coord_move(struct cairn_coord *c, uint32_t slot, uint64_t from, uint64_t to, bool lead)
{
    struct cairn_coord_slot *s = &c->slots[slot];
    struct cairn_coord_node *n = cairn_coord_node(c, to);
    struct cairn_slot_record *next;
    int rc = may_change(s);

    if (rc != 0)
        return rc;
    if (n == NULL || n->p.inc == 0)
        return CAIRN_E_NOTFOUND;
    if (cairn_slot_places(&s->rec, to) || cairn_slot_names(&s->rec, to) ||
        (from != 0 && !cairn_slot_places(&s->rec, from)) || s->rec.nreplicas == CAIRN_REPLICAS_MAX)
        return CAIRN_E_STATE;
    next = cairn_coord__begin(c, s);
    next->move.phase = CAIRN_MOVE_COPY;
    next->move.target = (struct cairn_who){ .node = to, .inc = n->p.inc };
    next->move.from = from;
    next->move.lead = lead || from == s->rec.primary.node;
    cairn_coord__store(c, s);
    return 0;
}

int cairn_coord_lead(struct cairn_coord *c, uint32_t slot, uint64_t node)
{
    struct cairn_coord_slot *s = &c->slots[slot];
    struct cairn_slot_record *next;
    int rc = may_change(s);

    if (rc != 0)
        return rc;
    for (uint32_t i = 0; i < s->rec.ninsync; i++) {
        if (s->rec.insync[i].node != node || s->rec.primary.node == node)
            continue;
        next = cairn_coord__begin(c, s);
        next->move.phase = CAIRN_MOVE_JOINED;
        next->move.target = s->rec.insync[i];
        next->move.lead = true;
        cairn_coord__store(c, s);
        return 0;
    }
    return CAIRN_E_STATE;
}

int cairn_coord_move_cancel(struct cairn_coord *c, uint32_t slot)
{
    struct cairn_coord_slot *s = &c->slots[slot];

    if (s->storing)
        return CAIRN_E_BUSY;
    if (s->rec.move.phase == CAIRN_MOVE_NONE)
        return CAIRN_E_STATE;
    move_end(cairn_coord__begin(c, s));
    c->moves_given_up++;
    cairn_coord__store(c, s);
    return 0;
}

int cairn_coord_drain(struct cairn_coord *c, uint64_t node, bool on)
{
    struct cairn_coord_node *n = cairn_coord_node(c, node);

    if (n == NULL)
        return CAIRN_E_NOTFOUND;
    n->p.draining = on;
    return 0;
}

uint32_t cairn_coord_holds(const struct cairn_coord *c, uint64_t node)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < c->nslots; i++)
        n += cairn_slot_places(&c->slots[i].rec, node) || cairn_slot_names(&c->slots[i].rec, node);
    return n;
}

/* ---- what time brings ---- */

/* Another process has the target's place: the move goes on with that. Or it has been silent for so long that nobody
 * counts on it (a lease would be over): the move is given up, for it keeps a place that others can use, and the copy
 * that has begun would begin anew; what is wanted of the target is planned again when it is back. */
static void copy_tick(struct cairn_coord *c, struct cairn_coord_slot *s)
{
    struct cairn_coord_node *n = cairn_coord_node(c, s->rec.move.target.node);

    if (n != NULL && n->p.inc != s->rec.move.target.inc) {
        cairn_coord__begin(c, s)->move.target.inc = n->p.inc;
        cairn_coord__store(c, s);
    } else if (n == NULL ||
               cairn_env_now_ns(c->env) - MAX(MAX(n->heard_ns, n->registered_ns), c->elected_ns) >
                   cairn_lease_wait_ns(&c->times)) {
        cairn_log_info("slot %td: the move to node %" PRIu64 " is given up: it is not there", s - c->slots,
                       s->rec.move.target.node);
        cairn_coord_move_cancel(c, (uint32_t)(s - c->slots));
    }
}

/* Who leaves does not lead, and who comes is there (M3: no set is shrunk onto those that may be gone). If too few are
 * in sync without who leaves, it stays: those who are missing may be so for good, and a move that waits for them
 * keeps out those that would replace them. Then there is a replica more, until a plan drops one. */
static void joined_tick(struct cairn_coord *c, struct cairn_coord_slot *s)
{
    const struct cairn_slot_record *rec = &s->rec;
    struct cairn_slot_record *next;

    if (rec->move.from == 0 || rec->move.from == rec->primary.node || !cairn_coord_is_alive(c, rec->move.target) ||
        (rec->move.lead && !cairn_who_is(rec->primary, rec->move.target)))
        return;
    next = cairn_coord__begin(c, s);
    if (cairn_slot_may_leave(rec, rec->move.from)) {
        cairn_coord__insync_del(next, rec->move.from);
        cairn_coord__replica_del(next, rec->move.from);
    }
    move_end(next);
    cairn_coord__store(c, s);
}

bool cairn_coord__move_tick(struct cairn_coord *c, struct cairn_coord_slot *s)
{
    switch (s->rec.move.phase) {
    case CAIRN_MOVE_COPY:
        copy_tick(c, s);
        return true;
    case CAIRN_MOVE_JOINED:
        joined_tick(c, s);
        return true;
    case CAIRN_MOVE_NONE:
        break;
    }
    return false;
}

/* ---- placement changes ---- */

bool cairn_coord__has_it_whole(struct cairn_coord *c, uint32_t slot, uint64_t node)
{
    const struct cairn_coord_node *n = cairn_coord_node(c, node);

    return n != NULL && n->has_told && !cairn_bits_has(n->partial, n->partial_bytes, slot);
}

/* None of those that are to hold the slot may begin it: one that may, and is here, comes instead of the last. */
static bool stand_in(struct cairn_coord *c, uint32_t slot, struct cairn_slot_record *next)
{
    for (uint32_t i = 0; i < c->nnodes; i++) {
        struct cairn_who who = { .node = c->nodes[i].p.node, .inc = c->nodes[i].p.inc };

        if (!cairn_coord_is_alive(c, who) || c->nodes[i].p.draining || !cairn_coord__has_it_whole(c, slot, who.node))
            continue;
        next->replicas[next->nreplicas - 1] = who.node;
        next->insync[next->ninsync++] = who;
        return true;
    }
    return false;
}

int cairn_coord_create(struct cairn_coord *c, uint32_t slot, const uint64_t *replicas, uint32_t n, uint32_t min_insync)
{
    struct cairn_coord_slot *s = &c->slots[slot];
    struct cairn_slot_record *next;

    if (s->rec.epoch != 0 || s->storing || n == 0 || n > CAIRN_REPLICAS_MAX)
        return CAIRN_E_STATE;
    next = cairn_coord__begin(c, s);
    for (uint32_t i = 0; i < n; i++) {
        struct cairn_coord_node *node = cairn_coord_node(c, replicas[i]);

        if (node == NULL || node->p.inc == 0)
            return CAIRN_E_NOTFOUND;
        next->replicas[i] = replicas[i];
        if (cairn_coord__has_it_whole(c, slot, replicas[i]))
            next->insync[next->ninsync++] = (struct cairn_who){ .node = replicas[i], .inc = node->p.inc };
    }
    next->nreplicas = n;
    if (next->ninsync == 0 && !stand_in(c, slot, next))
        return CAIRN_E_BUSY;
    if (c->floor != 0)
        next->ninsync = 1; /* who has a log of a history that is lost has to be led through it */
    next->min_insync = min_insync;
    next->primary = next->insync[0];
    next->state = CAIRN_SLOT_TAKEOVER; /* the logs are empty, but the primary makes sure */
    cairn_coord__store(c, s);
    return 0;
}

int cairn_coord_drop(struct cairn_coord *c, uint32_t slot, uint64_t node)
{
    struct cairn_coord_slot *s = &c->slots[slot];
    struct cairn_slot_record *next;

    if (s->storing || !cairn_coord_is_alive(c, s->rec.primary)) /* M3: no set is shrunk onto those that may be gone */
        return CAIRN_E_BUSY;
    if (s->rec.move.phase != CAIRN_MOVE_NONE || s->rec.primary.node == node || !cairn_slot_may_leave(&s->rec, node))
        return CAIRN_E_STATE;
    next = cairn_coord__begin(c, s);
    cairn_coord__insync_del(next, node);
    cairn_coord__replica_del(next, node);
    cairn_coord__store(c, s);
    return 0;
}
