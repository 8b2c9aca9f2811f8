/* What the map store of the replicated world may be told: records that place a slot well, and, when all who were in sync
 * are lost, go on from the one with most (M6). What `buffered` allows to be lost then is excused, and nothing else. */
#include "tests/sim/repl_internal.h"

#include <string.h>

/* ---- losses that `buffered` allows ---- */

static void value_at_end(const struct rw_slot *s, struct rw_record *index)
{
    memcpy(index, s->checkpoint.index, sizeof(s->checkpoint.index));
    for (uint64_t pos = s->checkpoint.at.pos + 1; pos <= rw_log_end(&s->log).pos; pos++)
        rw_index_apply(index, rw_log_at(&s->log, pos));
}

/* No member that could be asked has more than the one that was chosen. */
static void check_chosen(struct repl_world *rw, uint32_t slot, const struct cairn_slot_record *old, struct cairn_at end)
{
    for (uint32_t i = 0; i < old->ninsync; i++) {
        const struct repl_node *n = &rw->nodes[old->insync[i].node];

        if (old->insync[i].inc >= n->wiped_before_inc && n->registered)
            CAIRN_ASSERT(!cairn_at_is_less(end, rw_log_end(&n->slots[slot].log)));
    }
}

static bool is_under_way(const struct repl_world *rw, uint32_t slot, const struct rw_truth_entry *x,
                         struct linear_op *op)
{
    for (uint32_t i = 0; i < rw->conf.clients; i++) {
        const struct rw_client *c = &rw->clients[i];

        if (c->state == RW_CALLING && c->slot == slot && c->key < RW_KEYS && c->op.kind != LINEAR_GET &&
            cairn_at_is(c->session[slot].id, x->rid.session) && c->session[slot].seq == x->rid.seq) {
            *op = c->op;
            return true;
        }
    }
    return false;
}

/* A write whose client still waits was done, is lost now, and is done again: what others saw of it before stands.
 * And one that its client waits for no more may be done once more, by a copy of its request that comes late, if what
 * is left knows its session. */
static void excuse_repeated(struct repl_world *rw, uint32_t slot, uint64_t end)
{
    const struct rw_truth *t = &rw->truth[slot];

    for (uint64_t i = end; i < t->n; i++) {
        const struct rw_truth_entry *x = &t->all[i];
        struct linear_op op, again = { .client = UINT32_MAX, .value = x->body[1], .begin = true_us(rw) };
        uint32_t key = (uint32_t)(x->body[0] & 0xff);

        if (x->kind != CAIRN_ENTRY_WRITE || key >= RW_KEYS)
            continue;
        again.kind = x->body[0] >> 8 == LINEAR_DELETE ? LINEAR_ERASE : LINEAR_PUT;
        again.end = LINEAR_UNKNOWN;
        if (is_under_way(rw, slot, x, &op)) {
            again.begin = op.begin;
            again.end = true_us(rw);
        } else if (x->rid.session.pos > end) {
            continue;
        }
        rw_history_add(rw, slot, key, &again);
    }
}

/* The tail that no member had on disk is gone: every register is back at what it was before, once, now. */
static void excuse(struct repl_world *rw, uint32_t slot, const struct rw_slot *chosen, uint64_t end)
{
    struct rw_truth *t = &rw->truth[slot];
    struct rw_record index[RW_ALL_KEYS];
    int64_t now = true_us(rw);

    rw->losses += t->replied > end;
    rw->lost_entries += t->n - end;
    value_at_end(chosen, index);
    excuse_repeated(rw, slot, end);
    t->n = (uint32_t)end;
    rw_judge_lost(rw, slot, index);
    t->replied = MIN(t->replied, end);
    t->replied_alone = MIN(t->replied_alone, end);
    rw->loss_us[slot] = now;
    for (uint32_t key = 0; key < RW_KEYS; key++)
        rw_history_add(
            rw, slot, key,
            &(struct linear_op){
                .kind = LINEAR_PUT, .client = UINT32_MAX, .value = index[key].value, .begin = now, .end = now });
    for (uint32_t key = RW_KEYS; key < RW_ALL_KEYS; key++) {
        struct rw_once *o = &rw->once[slot][key - RW_KEYS];

        if (index[key].value == 0 && o->seen_us != 0)
            *o = (struct rw_once){ .lost = o->value };
    }
}

static bool is_replica(const struct cairn_slot_record *rec, uint64_t node)
{
    for (uint32_t i = 0; i < rec->nreplicas; i++) {
        if (rec->replicas[i] == node)
            return true;
    }
    return false;
}

/* What a record says of places. Whoever is in sync is a replica, and who leads is in sync; a target is a replica from
 * its JOIN on and not before; who is no replica any more was one too many, or enough are in sync without it. */
static void check_placement(const struct repl_world *rw, const struct cairn_slot_record *old,
                            const struct cairn_slot_record *rec)
{
    bool joined = rec->move.phase == CAIRN_MOVE_JOINED;

    CAIRN_ASSERT(cairn_slot_insync(rec, rec->primary) >= 0);
    for (uint32_t i = 0; i < rec->ninsync; i++)
        CAIRN_ASSERT(is_replica(rec, rec->insync[i].node));
    for (uint32_t i = 0; i < rec->nreplicas; i++) {
        for (uint32_t k = 0; k < i; k++)
            CAIRN_ASSERT(rec->replicas[i] != rec->replicas[k]);
        if (old->epoch != 0 && !is_replica(old, rec->replicas[i]))
            CAIRN_ASSERT(rec->replicas[i] == old->move.target.node && cairn_slot_names(rec, rec->replicas[i]));
    }
    if (rec->move.phase != CAIRN_MOVE_NONE)
        CAIRN_ASSERT(joined == is_replica(rec, rec->move.target.node) &&
                     (!joined || cairn_slot_insync(rec, rec->move.target) >= 0));
    if (old->epoch == 0)
        return;
    for (uint32_t i = 0; i < old->nreplicas; i++) {
        if (!is_replica(rec, old->replicas[i]) && old->replicas[i] != old->move.target.node)
            CAIRN_ASSERT(rec->ninsync >= MIN(2U, rec->nreplicas));
    }
    CAIRN_ASSERT(rec->nreplicas >= rw->conf.replicas);
}

void rw_judge_record(struct repl_world *rw, const struct cairn_coord *by, uint32_t slot,
                     const struct cairn_slot_record *old, const struct cairn_slot_record *rec)
{
    const struct rw_slot *chosen = &rw->nodes[rec->primary.node].slots[slot];
    struct rw_truth *t = &rw->truth[slot];
    uint64_t end;

    rw->takeovers += !cairn_who_is(old->primary, rec->primary);
    rw->joins += rec->ninsync > old->ninsync;
    rw->moves += old->move.phase == CAIRN_MOVE_JOINED && rec->move.phase == CAIRN_MOVE_NONE;
    rw->fills += rec->nreplicas > old->nreplicas && old->epoch != 0 && old->move.from == 0;
    rw->drops += rec->nreplicas < old->nreplicas && old->move.phase == CAIRN_MOVE_NONE;
    check_placement(rw, old, rec);
    if (old->epoch == 0 || cairn_slot_insync(old, rec->primary) >= 0)
        return;
    rw->recoveries++; /* M6 */
    CAIRN_ASSERT(cairn_slot_names(old, rec->primary.node));
    end = rw_log_end(&chosen->log).pos;
    CAIRN_ASSERT(end >= t->replied_sync);
    if (by->losses == 0) {
        check_chosen(rw, slot, old, rw_log_end(&chosen->log));
        CAIRN_ASSERT(t->alone == 0 || !cairn_slot_names(old, t->alone) || end >= t->replied_alone);
    }
    /* A prefix: what is left is what was committed. */
    CAIRN_ASSERT(t->n == 0 || end == 0 || chosen->log.n == 0 || MIN(end, t->n) <= chosen->log.base.pos ||
                 cairn_at_is(rw_log_at(&chosen->log, MIN(end, t->n))->e.at, t->all[MIN(end, t->n) - 1].at));
    /* One that is only silent may hold more, and hear from who is dead by now that all had it: it needs a copy. */
    rw->loss_epoch[slot] = rec->epoch;
    if (end < t->n)
        excuse(rw, slot, chosen, end);
}
