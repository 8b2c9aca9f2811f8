/* What holds in the replicated world at every event, and of what is said in it (PROTOCOL §9). Of records see
 * repl_record_judge.c, of regions repl_region_judge.c, of what clients saw repl_history.c. */
#include "tests/sim/repl_internal.h"

#include <stdlib.h>

static bool has_lease(const struct rw_slot *s)
{
    return cairn_lease_is_valid(&s->node->lease, cairn_env_now_ns(s->replica.env));
}

static bool serves(const struct rw_slot *s)
{
    return s->node->registered && !s->node->failed && s->replica.sm.state == REPLICA_ACTIVE &&
           (has_lease(s) || cairn_replica_is_alone(&s->replica));
}

static bool leads(const struct rw_slot *s)
{
    return s->node->registered && !s->node->failed && cairn_replica_is_primary(&s->replica);
}

/* The slot on the node of @who, if that process is the one that runs there. */
static struct rw_slot *slot_at(struct repl_world *rw, uint32_t slot, struct cairn_who who)
{
    struct repl_node *n = &rw->nodes[who.node];

    return n->registered && cairn_who_is(n->self, who) ? &n->slots[slot] : NULL;
}

/* ---- the truth: what was committed ---- */

static void truth_push(struct rw_truth *t, const struct rw_entry *x)
{
    const struct cairn_log_entry *e = &x->e;

    if (t->n == t->room) {
        t->room = t->room == 0 ? 256 : t->room * 2;
        t->all = realloc(t->all, t->room * sizeof(*t->all));
        CAIRN_ASSERT(t->all != NULL);
    }
    CAIRN_ASSERT(e->at.pos == t->n + 1);
    t->all[t->n++] =
        (struct rw_truth_entry){ .at = e->at, .kind = e->kind, .rid = e->rid, .body = { x->body[0], x->body[1] } };
}

/* One that has not heard of a recovery may still take for committed what was lost in it, answers nobody, and needs a
 * copy: what it has is compared when it is counted on. */
static bool owes_comparison(struct rw_slot *s)
{
    if (s->replica.rec.epoch < s->node->rw->loss_epoch[s->replica.slot] && s->replica.commit > s->checked)
        s->owes = true;
    if (s->owes && (rw_is_member(s) || s->replica.commit <= s->checked)) { /* or has begun anew */
        s->owes = false;
        s->checked = 0;
    }
    return s->owes;
}

static bool holds(const struct rw_slot *x, struct cairn_at at)
{
    return x == NULL || at.pos <= x->log.base.pos ||
           (at.pos <= rw_log_end(&x->log).pos && cairn_at_is(rw_log_at(&x->log, at.pos)->e.at, at));
}

/* I10, I3: what a primary takes for committed all others have that are in sync, in its own epoch and by the record in
 * force, if that is its own still: one that joined is waited for before the primary hears that it has. */
static void check_wait_set(struct rw_slot *s)
{
    struct repl_world *rw = s->node->rw;
    uint32_t slot = s->replica.slot;
    const struct cairn_slot_record *mine = &s->replica.rec, *newest = &rw->stored[slot];
    struct cairn_at at = { .epoch = cairn_slot_log_epoch(&s->replica.log, s->replica.commit),
                           .pos = s->replica.commit };

    if (mine->epoch < rw->loss_epoch[slot])
        return;
    /* Who was told of a newer epoch, and is in no set any more, may have been emptied since it acknowledged that. */
    for (uint32_t i = 0; i < mine->ninsync; i++) {
        const struct rw_slot *x = slot_at(rw, slot, mine->insync[i]);

        CAIRN_ASSERT(holds(x, at) || x->replica.rec.epoch > mine->epoch);
    }
    for (uint32_t i = 0; cairn_who_is(newest->primary, s->replica.self) && i < newest->ninsync; i++)
        CAIRN_ASSERT(holds(slot_at(rw, slot, newest->insync[i]), at));
}

/* I8: what counts as acknowledged was so in this epoch, by the process that the record, or the open JOIN, names. */
static void check_acks(struct rw_slot *s)
{
    const struct cairn_replica *r = &s->replica;

    for (uint32_t i = 0; i < r->npeers; i++) {
        const struct replica_peer *p = &r->peers[i];
        const struct rw_slot *x = slot_at(s->node->rw, r->slot, p->who);

        CAIRN_ASSERT(!p->member || cairn_slot_insync(&r->rec, p->who) >= 0);
        if (p->matched == 0 || p->phase == PEER_COPY || x == NULL)
            continue;
        CAIRN_ASSERT(x->replica.rec.epoch >= r->rec.epoch);
        CAIRN_ASSERT(x->replica.rec.epoch > r->rec.epoch || x->replica.matched >= p->matched);
    }
}

/* I3: whatever anybody holds for committed is what was committed first. */
static void check_commit(struct rw_slot *s)
{
    struct rw_truth *t = &s->node->rw->truth[s->replica.slot];
    uint64_t commit = MIN(s->replica.commit, rw_log_end(&s->log).pos); /* less: its log has failed */

    if (owes_comparison(s))
        return;
    if (leads(s) && s->checked < commit)
        check_wait_set(s);
    s->checked = MAX(MIN(s->checked, commit), s->log.base.pos);
    for (; s->checked < commit; s->checked++) {
        const struct rw_entry *x = rw_log_at(&s->log, s->checked + 1);

        if (s->checked == t->n) {
            truth_push(t, x);
            rw_judge_committed(s->node->rw, s->replica.slot, x);
        } else {
            CAIRN_ASSERT(s->checked < t->n && cairn_at_is(t->all[s->checked].at, x->e.at));
        }
    }
    if (rw_is_member(s) && s->replica.commit > 0 && s->replica.commit <= t->n)
        CAIRN_ASSERT(t->all[s->replica.commit - 1].at.epoch ==
                     cairn_slot_log_epoch(&s->replica.log, s->replica.commit));
}

static void note_service(struct rw_slot *s)
{
    uint64_t *newest = &s->node->rw->active_epoch[s->replica.slot];

    *newest = MAX(*newest, s->replica.rec.epoch);
}

/* I15 */
static void check_epoch(struct rw_slot *s)
{
    CAIRN_ASSERT(s->replica.rec.epoch >= s->epoch);
    s->epoch = s->replica.rec.epoch;
}

static void check_slot(struct repl_world *rw, uint32_t slot)
{
    uint32_t serving = 0;

    for (uint32_t i = 1; i <= rw->conf.nodes; i++) {
        struct rw_slot *s = &rw->nodes[i].slots[slot];

        if (!rw->nodes[i].registered)
            continue;
        check_epoch(s);
        check_commit(s);
        CAIRN_ASSERT(!s->partial || !rw_is_member(s)); /* I13 */
        if (leads(s))
            check_acks(s);
        if (!serves(s))
            continue;
        CAIRN_ASSERT(s->replica.applied >= rw->truth[slot].replied); /* I5, and what a read looks at */
        CAIRN_ASSERT(has_lease(s) || rw->stored[slot].ninsync == 1); /* alone: whatever it has heard of MAP's answers */
        serving++;
        note_service(s);
    }
    CAIRN_ASSERT(serving <= 1); /* I1 */
}

static void trace_slot(const struct rw_slot *s)
{
    const struct cairn_replica *r = &s->replica;
    const uint64_t state[] = { r->sm.state,    r->rec.epoch,  r->log.base.pos,         r->log.end.epoch,
                               r->log.end.pos, r->log.synced, r->log.written,          r->commit,
                               r->applied,     r->matched,    s->node->lease.until_ns, r->sessions.n };

    world_trace(s->node->rw->world, state, sizeof(state));
}

static void trace_states(const struct repl_world *rw)
{
    for (uint32_t i = 1; i <= rw->conf.nodes; i++) {
        for (uint32_t k = 0; rw->nodes[i].registered && k < rw->conf.slots; k++)
            trace_slot(&rw->nodes[i].slots[k]);
    }
}

void repl_world_check(struct repl_world *rw)
{
    rw->events++;
    if (rw->conf.traces)
        trace_states(rw);
    for (uint32_t i = 0; i < rw->conf.slots; i++)
        check_slot(rw, i);
    CAIRN_ASSERT(rw->events != rw->conf.fails_at);
}

static bool agree(const struct rw_slot *a, const struct rw_slot *b, uint64_t pos)
{
    uint64_t x = cairn_slot_log_epoch(&a->replica.log, pos), y = cairn_slot_log_epoch(&b->replica.log, pos);

    return x == 0 || y == 0 || x == y; /* 0: it has forgotten */
}

/* I7: what is acknowledged, and has to be on disk by then, is; a cut as well. And it is what the primary has, also where
 * it is applied already. */
void rw_judge_ack(struct rw_slot *s, const struct cairn_repl_msg *m)
{
    const struct rw_slot *x = slot_at(s->node->rw, s->replica.slot, s->replica.rec.primary);

    if (x != NULL && x->replica.rec.epoch == m->epoch)
        CAIRN_ASSERT(agree(s, x, m->matched) && agree(s, x, MIN(s->replica.applied, m->matched)));
    CAIRN_ASSERT(m->matched <= s->replica.log.end.pos && !cairn_replica_may_come_back(&s->replica));
    for (uint64_t pos = MAX(s->replica.log.synced, s->log.base.pos) + 1; !s->node->failed && pos <= m->matched; pos++)
        CAIRN_ASSERT(!rw_log_at(&s->log, pos)->e.sync);
}

/* A follower is told nothing by whoever does not lead in its epoch. */
struct rw_fence rw_judge_heard(const struct rw_slot *s, const struct cairn_repl_msg *m)
{
    const struct cairn_replica *r = &s->replica;
    bool by_primary = cairn_who_is(m->from, r->rec.primary) || cairn_replica_is_primary(r);

    return (struct rw_fence){
        .holds = m->epoch != r->rec.epoch || !by_primary, .end = r->log.end, .commit = r->commit, .matched = r->matched
    };
}

void rw_judge_fence(const struct rw_slot *s, const struct rw_fence *before)
{
    const struct cairn_replica *r = &s->replica;

    CAIRN_ASSERT(!before->holds || (cairn_at_is(r->log.end, before->end) && r->commit == before->commit &&
                                    r->matched == before->matched));
}

/* M3: who wants a change is the process that leads, and the newest of its node. */
void rw_judge_change(const struct repl_world *rw, const struct cairn_change *c)
{
    const struct cairn_slot_record *rec = &rw->stored[c->slot];

    CAIRN_ASSERT(cairn_who_is(c->from, rec->primary) && c->epoch == rec->epoch &&
                 c->from.inc >= rw->stored_nodes[c->from.node].inc);
}

/* M1: nobody grants a lease while another has been elected, or to who leads a slot that is being given to another. */
void rw_judge_grant(const struct rw_coord *co, struct cairn_who who)
{
    CAIRN_ASSERT(!is_deposed(co));
    for (uint32_t i = 0; i < co->core.nslots; i++) {
        const struct cairn_coord_slot *s = &co->core.slots[i];

        CAIRN_ASSERT(!s->storing || !cairn_who_is(s->rec.primary, who) || cairn_who_is(s->next.primary, who));
    }
}

void rw_judge_propose(struct rw_slot *s)
{
    if (serves(s))
        note_service(s);
}

void rw_judge_cut(struct rw_slot *s, uint64_t pos)
{
    const struct rw_truth *t = &s->node->rw->truth[s->replica.slot];

    /* I4: of whom the map says that it is a member, nothing is cut that a client was told of. */
    CAIRN_ASSERT(pos >= t->replied || !rw_is_member(s) || rw_log_end(&s->log).pos < t->replied ||
                 !cairn_at_is(rw_log_at(&s->log, t->replied)->e.at, t->all[t->replied - 1].at));
}

/* I14: it was told of a record without it, whose primary has served; and no newer one counts on what it has. */
void rw_judge_clean(struct rw_slot *s)
{
    struct repl_world *rw = s->node->rw;
    const struct cairn_slot_record *rec = &rw->stored[s->replica.slot];

    CAIRN_ASSERT(!cairn_slot_places(&s->replica.rec, s->node->index) && s->replica.rec.state == CAIRN_SLOT_ACTIVE);
    CAIRN_ASSERT(!cairn_slot_names(rec, s->node->index) && rec->epoch >= s->replica.rec.epoch);
    CAIRN_ASSERT(rw->active_epoch[s->replica.slot] >= s->replica.rec.since);
    rw->cleans++;
}

void rw_judge_reply(struct rw_slot *s, uint64_t pos, bool sync)
{
    struct repl_world *rw = s->node->rw;
    struct rw_truth *t = &rw->truth[s->replica.slot];

    for (uint32_t i = 1; i <= rw->conf.nodes; i++) { /* I2 */
        const struct cairn_replica *r = &rw->nodes[i].slots[s->replica.slot].replica;

        CAIRN_ASSERT(!rw->nodes[i].registered || r->sm.state != REPLICA_ACTIVE || r->rec.epoch <= s->replica.rec.epoch);
    }
    /* Nor has MAP given the slot to another, who may take his time: nobody's authority ends later than MAP waits
     * for. */
    CAIRN_ASSERT(cairn_who_is(rw->stored[s->replica.slot].primary, s->replica.self));
    CAIRN_ASSERT(pos > 0 && pos <= s->replica.applied);
    check_commit(s);
    t->replied = MAX(t->replied, pos);
    rw->replies_alone += !has_lease(s);
    if (sync)
        t->replied_sync = MAX(t->replied_sync, pos);
    /* Appended when nobody else was to have it: who is alone from some moment on has what was committed before in
     * memory. */
    if (s->replica.rec.ninsync == 1 && cairn_slot_log_epoch(&s->replica.log, pos) == s->replica.rec.epoch) {
        t->replied_alone = MAX(t->replied_alone, pos);
        t->alone = s->node->index;
    }
}

void rw_judge_power(struct repl_world *rw, uint32_t slot, uint32_t node)
{
    struct rw_truth *t = &rw->truth[slot];

    if (t->alone == node)
        t->alone = 0;
}
