/* What holds in the replicated world (PROTOCOL §9), and whether clients saw what they were promised. */
#include "tests/sim/repl_internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static bool has_lease(const struct rw_slot *s)
{
    return cairn_lease_is_valid(&s->node->lease, cairn_env_now_ns(s->replica.env));
}

static bool serves(const struct rw_slot *s)
{
    return s->node->registered && !s->node->failed && s->replica.sm.state == REPLICA_ACTIVE &&
           (has_lease(s) || cairn_replica_is_alone(&s->replica));
}

static bool is_member(const struct rw_slot *s)
{
    const struct repl_world *rw = s->node->rw;

    return s->node->registered && cairn_slot_insync(&rw->stored[s->replica.slot], s->replica.self) >= 0;
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
    if (s->owes && (is_member(s) || s->replica.commit <= s->checked)) { /* or has begun anew */
        s->owes = false;
        s->checked = 0;
    }
    return s->owes;
}

/* I3: whatever anybody holds for committed is what was committed first. */
static void check_commit(struct rw_slot *s)
{
    struct rw_truth *t = &s->node->rw->truth[s->replica.slot];
    uint64_t commit = MIN(s->replica.commit, rw_log_end(&s->log).pos); /* less: its log has failed */

    if (owes_comparison(s))
        return;
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
    if (is_member(s) && s->replica.commit > 0 && s->replica.commit <= t->n)
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
        CAIRN_ASSERT(!s->partial || !is_member(s)); /* I13 */
        if (!serves(s))
            continue;
        CAIRN_ASSERT(s->replica.commit >= rw->truth[slot].replied); /* I5 */
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

void rw_judge_propose(struct rw_slot *s)
{
    if (serves(s))
        note_service(s);
}

void rw_judge_cut(struct rw_slot *s, uint64_t pos)
{
    const struct rw_truth *t = &s->node->rw->truth[s->replica.slot];

    /* I4: of whom the map says that it is a member, nothing is cut that a client was told of. */
    CAIRN_ASSERT(pos >= t->replied || !is_member(s) || rw_log_end(&s->log).pos < t->replied ||
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

/* ---- write-once keys (I16) ---- */

void rw_judge_once(struct rw_client *c, const struct rw_call *p)
{
    struct repl_world *rw = c->rw;
    struct rw_once *o = &rw->once[c->slot][c->key - RW_KEYS];
    uint64_t value = c->op.kind == LINEAR_GET ? p->value : p->result == RW_ONCE_OK ? c->op.value : 0;

    rw->once_ops++;
    if (c->op.begin <= rw->loss_us[c->slot] || (value != 0 && value == o->lost))
        return;
    if (c->op.kind == LINEAR_GET && value == 0) { /* the primary says that nobody has written it */
        CAIRN_ASSERT(o->seen_us == 0 || o->seen_us >= c->op.begin);
        return;
    }
    if (o->seen_us == 0)
        o->seen_us = true_us(rw);
    if (value == 0)
        return;
    CAIRN_ASSERT(o->value == 0 || o->value == value);
    o->value = value;
}

/* ---- histories ---- */

void rw_history_add(struct repl_world *rw, uint32_t slot, uint32_t key, const struct linear_op *op)
{
    uint32_t *n = &rw->nhistory[slot][key];

    CAIRN_ASSERT(*n < RW_OPS_MAX);
    if (rw->history[slot][key] == NULL)
        rw->history[slot][key] = calloc(RW_OPS_MAX, sizeof(*op));
    rw->history[slot][key][(*n)++] = *op;
    rw->done_ops += op->end != LINEAR_UNKNOWN;
    rw->unknown_ops += op->end == LINEAR_UNKNOWN;
}

static int by_rid(const void *pa, const void *pb)
{
    const struct cairn_rid *a = &((const struct rw_truth_entry *)pa)->rid,
                           *b = &((const struct rw_truth_entry *)pb)->rid;

    if (!cairn_at_is(a->session, b->session))
        return cairn_at_is_less(a->session, b->session) ? -1 : 1;
    return a->seq < b->seq ? -1 : a->seq > b->seq;
}

/* I6; a write-once key's rid may come twice, the key knows it. */
static void check_rids(struct rw_truth *t)
{
    qsort(t->all, t->n, sizeof(*t->all), by_rid);
    for (uint32_t i = 1; i < t->n; i++)
        CAIRN_ASSERT(t->all[i].kind != CAIRN_ENTRY_WRITE || t->all[i - 1].kind != CAIRN_ENTRY_WRITE ||
                     t->all[i].rid.session.pos == 0 || by_rid(&t->all[i - 1], &t->all[i]) != 0);
}

/* Records and sessions are a function of the log: members that have applied the same hold the same, copied or not. */
static void check_equal(const struct rw_slot *a, const struct rw_slot *b)
{
    const struct cairn_sessions *x = &a->replica.sessions, *y = &b->replica.sessions;

    CAIRN_ASSERT(memcmp(a->index, b->index, sizeof(a->index)) == 0);
    CAIRN_ASSERT(x->n == y->n);
    for (uint32_t i = 0; i < x->n; i++) {
        CAIRN_ASSERT(cairn_at_is(x->all[i].id, y->all[i].id));
        for (uint32_t k = 0; k < x->all[i].nwrites; k++) {
            const struct cairn_session_write *w = &x->all[i].writes[k], *v = cairn_session_find(&y->all[i], w->seq);

            CAIRN_ASSERT(v != NULL ? v->pos == w->pos && v->result == w->result : y->all[i].floor > w->seq);
        }
    }
}

static void check_members_are_equal(struct repl_world *rw, uint32_t slot)
{
    for (uint32_t i = 1; i <= rw->conf.nodes; i++) {
        for (uint32_t k = 1; k <= rw->conf.nodes; k++) {
            struct rw_slot *a = &rw->nodes[i].slots[slot], *b = &rw->nodes[k].slots[slot];

            if (i != k && is_member(a) && is_member(b) && a->replica.applied == a->replica.log.end.pos &&
                cairn_at_is(a->replica.log.end, b->replica.log.end) && b->replica.applied == a->replica.applied)
                check_equal(a, b);
        }
    }
}

uint64_t repl_world_judge(struct repl_world *rw)
{
    uint64_t ops = 0;

    repl_world_run_ms(rw, 1000); /* what the clients left is settled */
    for (uint32_t i = 0; i < rw->conf.slots; i++) {
        check_members_are_equal(rw, i);
        check_rids(&rw->truth[i]);
        for (uint32_t k = 0; k < RW_KEYS; k++) {
            int rc = linear_check(rw->history[i][k], rw->nhistory[i][k], 10000000);

            if (rc != 1) {
                fprintf(stderr, "seed %" PRIu64 ": slot %u key %u: %s\n", rw->conf.seed, i, k,
                        rc == 0 ? "not linearizable" : "not found out");
                linear_print(rw->history[i][k], rw->nhistory[i][k], stderr);
            }
            CAIRN_ASSERT(rc == 1);
            ops += rw->nhistory[i][k];
        }
    }
    return ops;
}

/* ---- for people ---- */

bool repl_world_is_whole(struct repl_world *rw, char why[160])
{
    for (uint32_t i = 0; i < rw->conf.slots; i++) {
        const struct cairn_slot_record *rec = &rw->stored[i];
        const struct cairn_replica *r = &rw->nodes[rec->primary.node].slots[i].replica;

        if (rec->ninsync != rec->nreplicas || rec->state != CAIRN_SLOT_ACTIVE || rec->move.phase != CAIRN_MOVE_NONE ||
            !rw->nodes[rec->primary.node].registered || r->sm.state != REPLICA_ACTIVE ||
            (rw->clients_stop && r->commit != r->log.end.pos)) {
            snprintf(why, 160,
                     "slot %u, epoch %" PRIu64 ": %u of %u in sync, state %d, move %d, primary %" PRIu64 " in %s", i,
                     rec->epoch, rec->ninsync, rec->nreplicas, (int)rec->state, (int)rec->move.phase, rec->primary.node,
                     rw->nodes[rec->primary.node].registered ? cairn_sm_state_name(&r->sm) : "nobody");
            return false;
        }
    }
    return true;
}

void repl_world_print(struct repl_world *rw, FILE *to)
{
    static const char *const phases[] = { "silent", "probed", "stream", "copy" };

    for (uint32_t i = 0; i < rw->conf.slots; i++) {
        for (uint32_t k = 1; k <= rw->conf.nodes; k++) {
            const struct repl_node *n = &rw->nodes[k];
            const struct cairn_replica *r = &n->slots[i].replica;

            fprintf(to, "slot %u node %u.%" PRIu64 " (map: .%" PRIu64 ")", i, k, n->self.inc, rw->stored_nodes[k].inc);
            if (!n->registered) {
                fprintf(to, " is down\n");
                continue;
            }
            fprintf(to,
                    " %s%s epoch %" PRIu64 " log %" PRIu64 " to %" PRIu64 "/%" PRIu64 " synced %" PRIu64
                    " commit %" PRIu64 " applied %" PRIu64 " change %d\n",
                    cairn_sm_state_name(&r->sm), r->partial ? " (partial)" : "", r->rec.epoch, r->log.base.pos,
                    r->log.end.epoch, r->log.end.pos, r->log.synced, r->commit, r->applied, (int)r->change.kind);
            for (uint32_t p = 0; p < r->npeers; p++)
                fprintf(to,
                        "    %s %" PRIu64 ".%" PRIu64 " %s first %" PRIu64 " next %" PRIu64 " matched %" PRIu64
                        " owes %d\n",
                        r->peers[p].member ? "member" : "learner", r->peers[p].who.node, r->peers[p].who.inc,
                        phases[r->peers[p].phase], r->peers[p].first, r->peers[p].next, r->peers[p].matched,
                        r->peers[p].owes_ns != 0);
        }
    }
}

void repl_world_expect_whole(struct repl_world *rw, uint64_t ms)
{
    char why[160] = "";

    for (uint64_t t = 0; t < ms && !repl_world_is_whole(rw, why); t += 100)
        repl_world_run_ms(rw, 100);
    if (repl_world_is_whole(rw, why))
        return;
    repl_world_print(rw, stderr);
    fprintf(stderr, "seed %" PRIu64 ": %s\n", rw->conf.seed, why);
    CAIRN_ASSERT(!"whole");
}
