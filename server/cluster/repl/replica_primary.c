/* A replica that leads: TAKEOVER, ACTIVE, PAUSED, RELEASED (PROTOCOL §4, §8). */
#include "server/cluster/repl/replica_internal.h"

#include <inttypes.h>

#define DOUBT_NS (CAIRN_NS_PER_S / 2) /* T_ack of those who are said to be gone */

/* Whether nobody else can be primary now: this node's lease says so, or that no other is in sync, nor may have become
 * so. */
static bool has_authority(struct cairn_replica *r)
{
    return r->ops->lease_is_valid(r) || (cairn_replica_is_alone(r) && r->ops->may_go_on(r));
}

/* ---- answers to clients ---- */

void cairn_replica__run_answers(void *arg)
{
    struct cairn_replica *r = arg;
    struct cairn_link due, *l;

    cairn_list_init(&due);
    cairn_list_splice(&due, &r->answers);
    while ((l = cairn_list_pop(&due)) != NULL) {
        struct cairn_repl_write *w = CONTAINER_OF(l, struct cairn_repl_write, link);

        w->done(w, cairn_replica_may_read(r)); /* the lease is looked at last (§6) */
    }
}

static void answer_later(struct cairn_replica *r, struct cairn_repl_write *w, int32_t result)
{
    w->result = result;
    cairn_list_del(&w->link);
    cairn_list_add_tail(&r->answers, &w->link);
    cairn_env_defer(r->env, &r->answer);
}

/* The entry is applied: whoever waits for it, first or as a repetition, is answered. */
void cairn_replica__answer(struct cairn_replica *r, const struct cairn_log_entry *e, int32_t result)
{
    CAIRN_LIST_FOREACH_SAFE (l, &r->waiting) {
        struct cairn_repl_write *w = CONTAINER_OF(l, struct cairn_repl_write, link);

        if (w->at.pos > e->at.pos)
            break;
        answer_later(r, w, result);
    }
}

static void waiting_add(struct cairn_replica *r, struct cairn_repl_write *w, struct cairn_at at)
{
    struct cairn_link *after = r->waiting.prev;

    w->at = at;
    while (after != &r->waiting && CONTAINER_OF(after, struct cairn_repl_write, link)->at.pos > at.pos)
        after = after->prev;
    cairn_list_add_head(after, &w->link);
}

/* ---- the wait set and the commit mark ---- */

/* Up to where our own log is what it has to be before an entry counts: a `buffered` one has to survive the process,
 * since the others have it in memory alone, and all may be killed at once. */
static uint64_t here(const struct cairn_replica *r)
{
    return r->last_sync_pos > r->log.synced ? r->log.synced : MAX(r->log.written, r->log.synced);
}

/* What waits for that, and for no sync, which would say it as well. */
static void write_out(struct cairn_replica *r)
{
    if (r->last_sync_pos <= r->log.synced && here(r) < r->log.end.pos)
        r->ops->log_write(r);
}

/* Up to where all of the wait set have the log: the members of our epoch and the replica of an open JOIN, the larger of
 * the two sets that may be in force. */
static uint64_t everywhere(const struct cairn_replica *r)
{
    uint64_t pos = here(r);
    bool joiner_is_there = cairn_who_is_nobody(r->joiner);

    for (uint32_t i = 0; i < r->npeers; i++) {
        const struct replica_peer *p = &r->peers[i];
        bool joins = !cairn_who_is_nobody(r->joiner) && cairn_who_is(p->who, r->joiner);

        if (p->member || joins)
            pos = MIN(pos, p->matched);
        joiner_is_there |= joins;
    }
    return joiner_is_there ? pos : r->commit; /* the joiner has restarted: MAP has to say what it is */
}

static bool change_send(struct cairn_replica *r)
{
    r->change_ns = replica_now(r);
    r->ops->propose(r, &r->change);
    cairn_replica__timer(r, r->times->resend_ns);
    return true;
}

static bool change_begin(struct cairn_replica *r, enum cairn_change_kind kind, struct cairn_who who)
{
    const struct replica_peer *p = kind == CAIRN_CHANGE_REMOVE ? cairn_replica__peer(r, who.node) : NULL;

    r->change = (struct cairn_change){ .kind = kind,
                                       .slot = r->slot,
                                       .epoch = r->rec.epoch,
                                       .from = r->self,
                                       .who = who,
                                       .leaves = p != NULL && p->leaves };
    if (kind == CAIRN_CHANGE_JOIN)
        r->joiner = who; /* it counts before MAP hears of it */
    return change_send(r);
}

static bool is_silent(const struct cairn_replica *r, const struct replica_peer *p, uint64_t now)
{
    uint64_t enough = p->doubted ? MIN(r->times->ack_ns, DOUBT_NS) : r->times->ack_ns;

    return p->member && p->owes_ns != 0 && now - p->owes_ns >= enough;
}

/* In a take-over its word is still of use, and quicker than another epoch. */
static bool is_to_go(const struct cairn_replica *r, const struct replica_peer *p)
{
    return p->member && p->leaves && r->sm.state == REPLICA_ACTIVE;
}

static bool may_join(const struct cairn_replica *r, const struct replica_peer *p)
{
    bool target = r->rec.move.phase != CAIRN_MOVE_NONE && r->rec.move.target.node == p->who.node;

    return !p->member && !p->leaves && p->phase == PEER_STREAM && p->matched >= r->commit && p->matched > 0 &&
           cairn_slot_places(&r->rec, p->who.node) && (!target || cairn_who_is(p->who, r->rec.move.target)) &&
           r->rec.ninsync < CAIRN_REPLICAS_MAX;
}

/* By an operator's word to the node, or by the phase of a move in the record. */
static bool is_to_release(const struct cairn_replica *r)
{
    return r->release_wanted || (r->rec.move.phase == CAIRN_MOVE_JOINED && !cairn_who_is(r->rec.move.target, r->self) &&
                                 (r->rec.move.lead || r->rec.move.from == r->self.node));
}

/* What is wanted most of MAP, one thing at a time. */
static bool change_next(struct cairn_replica *r)
{
    uint64_t now = cairn_replica__look(r);

    if (r->change.kind != 0)
        return now - r->change_ns < r->times->resend_ns || change_send(r);
    if (r->sm.state == REPLICA_RELEASED)
        return change_begin(r, CAIRN_CHANGE_RELEASE, r->self);
    if (!r->ops->lease_is_valid(r)) /* not a JOIN either that MAP may not hear: it would end our being alone */
        return false;
    for (uint32_t i = 0; i < r->npeers; i++) {
        if (is_silent(r, &r->peers[i], now) || is_to_go(r, &r->peers[i]))
            return change_begin(r, CAIRN_CHANGE_REMOVE, r->peers[i].who);
    }
    if (r->sm.state != REPLICA_ACTIVE)
        return false;
    if (r->rec.state == CAIRN_SLOT_TAKEOVER)
        return change_begin(r, CAIRN_CHANGE_ACTIVE, r->self);
    for (uint32_t i = 0; i < r->npeers && !is_to_release(r); i++) {
        if (may_join(r, &r->peers[i]))
            return change_begin(r, CAIRN_CHANGE_JOIN, r->peers[i].who);
    }
    return false;
}

static void try_release(struct cairn_replica *r)
{
    if (!is_to_release(r) || r->sm.state != REPLICA_ACTIVE || r->commit != r->log.end.pos || r->change.kind != 0 ||
        !cairn_who_is_nobody(r->joiner) || r->rec.state != CAIRN_SLOT_ACTIVE)
        return;
    cairn_sm_move(&r->sm, REPLICA_RELEASED); /* first the state, then the word */
}

void cairn_replica__advance(struct cairn_replica *r)
{
    uint64_t pos = everywhere(r);

    if (r->sm.state == REPLICA_TAKEOVER) {
        if (r->start_pos == 0 || pos < r->start_pos || !has_authority(r))
            return;
        cairn_replica__commit(r, pos);
        if (r->applied < r->start_pos) /* a read looks at what is applied */
            return;
        cairn_sm_move(&r->sm, REPLICA_ACTIVE);
    }
    cairn_replica__commit(r, pos);
    write_out(r);
    try_release(r);
    change_next(r);
    cairn_replica__tell_commit(r);
}

/* ---- epochs ---- */

/* The START entry: with it at every member, the log before it is the same everywhere and final. */
static void start_epoch(struct cairn_replica *r)
{
    struct cairn_log_entry e = { .at = { .epoch = r->rec.epoch, .pos = r->log.end.pos + 1 },
                                 .kind = CAIRN_ENTRY_START,
                                 .sync = true };
    int rc = cairn_replica__append(r, &e);

    if (rc != 0) {
        cairn_log_warn("slot %u: epoch %" PRIu64 " cannot begin: %s", r->slot, r->rec.epoch, cairn_error_text(rc));
        return;
    }
    r->start_pos = e.at.pos;
    cairn_replica__sync(r);
}

void cairn_replica__lead(struct cairn_replica *r, bool goes_on)
{
    r->change.kind = 0;
    r->joiner = (struct cairn_who){ 0 };
    cairn_replica__peers_make(r, r->log.end.pos + 1);
    if (!goes_on) {
        r->start_pos = 0;
        cairn_replica__sessions_lead(r);
        cairn_timer_stop(r->env, &r->timer);
        cairn_sm_move(&r->sm, REPLICA_TAKEOVER);
        start_epoch(r);
    }
    cairn_replica__copy_check(r);
    for (uint32_t i = 0; i < r->npeers; i++)
        cairn_replica__pump(r, &r->peers[i], true);
    cairn_replica__timer(r, r->times->resend_ns);
    cairn_replica__advance(r);
}

void cairn_replica__stop_leading(struct cairn_replica *r, int rc)
{
    struct cairn_link all, *l;

    cairn_list_init(&all);
    cairn_list_splice(&all, &r->answers);
    cairn_list_splice(&all, &r->waiting);
    cairn_task_cancel(&r->answer);
    r->npeers = 0;
    r->change.kind = 0;
    r->joiner = (struct cairn_who){ 0 };
    r->release_wanted = false;
    cairn_replica__copy_check(r);
    while ((l = cairn_list_pop(&all)) != NULL) {
        struct cairn_repl_write *w = CONTAINER_OF(l, struct cairn_repl_write, link);

        w->done(w, rc);
    }
}

void cairn_replica_on_lease(struct cairn_replica *r)
{
    if (r->sm.state == REPLICA_PAUSED && has_authority(r))
        cairn_sm_move(&r->sm, REPLICA_ACTIVE);
    if (cairn_replica_is_primary(r))
        cairn_replica__advance(r);
}

/* ---- what the others say ---- */

static void peer_has_spoken(struct cairn_replica *r, struct replica_peer *p)
{
    p->owes_ns = p->next > p->matched + 1 ? replica_now(r) : 0;
    p->doubted = false;
    cairn_replica__advance(r);
    cairn_replica__pump(r, p, false);
}

void cairn_replica__on_ack(struct cairn_replica *r, const struct cairn_repl_msg *m)
{
    struct replica_peer *p = cairn_replica_is_primary(r) ? cairn_replica__speaker(r, m) : NULL;

    if (p == NULL)
        return;
    p->leaves |= m->leaves; /* a late word does not take it back */
    if (p->phase == PEER_COPY || p->phase == PEER_SILENT || m->matched > r->log.end.pos || m->base < p->base)
        return;
    p->matched = MAX(p->matched, m->matched);
    p->next = MAX(p->next, p->matched + 1);
    p->phase = PEER_STREAM;
    peer_has_spoken(r, p);
}

void cairn_replica__on_match(struct cairn_replica *r, const struct cairn_repl_msg *m)
{
    struct replica_peer *p = cairn_replica_is_primary(r) ? cairn_replica__speaker(r, m) : NULL;
    struct cairn_slot_log_view mine,
        theirs = { .floor = m->applied, .end = m->end, .runs = m->runs, .nruns = m->nruns };
    struct cairn_at common;

    if (p == NULL || p->phase == PEER_COPY || (m->end.pos < p->matched && !m->partial)) /* a late word */
        return;
    mine = cairn_replica__view(r, r->log.base.pos);
    if (m->partial || !cairn_slot_log_common(&mine, &theirs, &common)) {
        if (p->member || cairn_who_is(p->who, r->joiner)) /* has what is committed: a late word, of a shorter log */
            return;
        cairn_replica__needs_copy(r, p);
        return;
    }
    p->first = p->next = MAX(common.pos, p->matched) + 1;
    p->phase = PEER_STREAM;
    p->owes_ns = 0;
    cairn_replica__pump(r, p, true);
}

void cairn_replica_on_verdict(struct cairn_replica *r, const struct cairn_change *c, enum cairn_verdict verdict,
                              const struct cairn_slot_record *rec)
{
    bool ours = cairn_replica_is_primary(r) && r->change.kind == c->kind && r->change.epoch == c->epoch &&
                cairn_who_is(r->change.who, c->who);

    if (!cairn_who_is(c->from, r->self)) /* who we were: of a map that is another now, perhaps */
        return;
    if (ours && verdict == CAIRN_VERDICT_REFUSED_INC) {
        struct replica_peer *p = cairn_replica__peer(r, c->who.node);

        r->change.kind = 0;
        r->joiner = (struct cairn_who){ 0 }; /* for good: it will never be a member under this incarnation */
        if (p != NULL && !p->member && cairn_who_is(p->who, c->who)) {
            p->phase = PEER_SILENT; /* its next process will speak */
            p->owes_ns = 0;
        }
    }
    /* Any other answer is the newer record's to give: until it is here a JOIN may have been committed. */
    if (rec != NULL)
        cairn_replica_learn(r, rec);
    if (ours && cairn_replica_is_primary(r))
        cairn_replica__advance(r);
}

/* ---- clients ---- */

int cairn_replica_may_read(struct cairn_replica *r)
{
    switch (r->sm.state) {
    case REPLICA_ACTIVE:
        if (has_authority(r))
            return 0;
        cairn_sm_move(&r->sm, REPLICA_PAUSED);
        return CAIRN_E_BUSY;
    case REPLICA_PAUSED:
        if (!has_authority(r))
            return CAIRN_E_BUSY;
        cairn_sm_move(&r->sm, REPLICA_ACTIVE);
        return 0;
    case REPLICA_TAKEOVER:
        return CAIRN_E_BUSY;
    default:
        return CAIRN_E_MOVED;
    }
}

/* 0: to be appended; 1: the answer is on its way; or an error. */
static int find_repetition(struct cairn_replica *r, struct cairn_repl_write *w)
{
    struct cairn_session *s;
    const struct cairn_session_write *old;

    if (w->kind == CAIRN_ENTRY_OPEN || w->rid.session.pos == 0)
        return 0;
    s = cairn_sessions_find(&r->sessions, w->rid.session);
    if (s == NULL)
        return CAIRN_E_GONE;
    if (w->kind == CAIRN_ENTRY_EXPIRE)
        return 0;
    s->used_ns = replica_now(r);
    if (w->rid.seq < s->floor) /* late: its client has the answer */
        return CAIRN_E_STATE;
    if (w->floor > w->rid.seq)
        return CAIRN_E_INVAL;
    if (w->rid.seq - MAX(w->floor, s->floor) >= CAIRN_SESSION_WRITES_MAX)
        return CAIRN_E_LIMIT;
    old = cairn_session_find(s, w->rid.seq);
    if (old == NULL)
        return 0;
    cairn_list_init(&w->link);
    w->at = (struct cairn_at){ .pos = old->pos };
    if (old->applied)
        answer_later(r, w, old->result);
    else
        waiting_add(r, w, (struct cairn_at){ .pos = old->pos });
    return 1;
}

/* A number that no session has is asked for. Of one without a session the key's record knows, once all is applied that
 * may have been written under it. */
static int wait_for_log(struct cairn_replica *r, struct cairn_repl_write *w)
{
    if (w->rid.session.pos != 0)
        return CAIRN_E_NOTFOUND;
    cairn_list_init(&w->link);
    waiting_add(r, w, r->log.end);
    if (r->applied == r->log.end.pos)
        answer_later(r, w, 0);
    return 0;
}

/* What was just appended. */
static void send_out(struct cairn_replica *r)
{
    cairn_replica__sync(r);
    write_out(r);
    cairn_replica__pump_all(r);
    if (everywhere(r) >= r->log.end.pos) /* alone, though others may have to come back, and not for the disk */
        cairn_replica__advance(r);
}

int cairn_replica_write(struct cairn_replica *r, struct cairn_repl_write *w)
{
    struct cairn_log_entry e = { .at = { .epoch = r->rec.epoch, .pos = r->log.end.pos + 1 },
                                 .kind = w->kind,
                                 .sync = w->sync,
                                 .rid = w->rid,
                                 .floor = w->floor,
                                 .body = w->body,
                                 .body_len = w->body_len };
    int rc = cairn_replica_may_read(r);

    w->full = false;
    if (rc == CAIRN_E_BUSY) /* it is there, and will come again */
        cairn_replica__session_used(r, w->rid.session);
    if (rc == 0)
        rc = find_repetition(r, w);
    if (rc == 0 && w->asks)
        return wait_for_log(r, w);
    if (rc != 0)
        return MIN(rc, 0);
    if (r->rec.ninsync < MIN(r->rec.min_insync, r->rec.nreplicas) || is_to_release(r) || /* M7, of what there can be */
        r->log.end.pos - r->commit >= CAIRN_UNCOMMITTED_MAX)
        return CAIRN_E_BUSY;
    if (w->kind == CAIRN_ENTRY_OPEN) {
        rc = cairn_replica__session_room(r);
        w->full = rc != 0;
    }
    e.at.pos = r->log.end.pos + 1; /* for one session another may have ended */
    if (rc == 0)
        rc = cairn_replica__append(r, &e);
    if (rc == 0 && w->kind == CAIRN_ENTRY_OPEN)
        w->ttl_ns = cairn_replica__session_opened(r);
    if (rc == 0)
        waiting_add(r, w, e.at);
    if (rc == 0 || w->full)
        send_out(r);
    return rc;
}

void cairn_replica_write_forget(struct cairn_repl_write *w)
{
    cairn_list_del(&w->link);
}

/* Nothing is believed: it is asked for an ACK, as if there were something to acknowledge, and T_ack decides, which
 * is shorter then. */
void cairn_replica_doubt(struct cairn_replica *r, uint64_t node)
{
    struct replica_peer *p = cairn_replica_is_primary(r) ? cairn_replica__peer(r, node) : NULL;

    if (p == NULL || !p->member)
        return;
    p->doubted = true;
    if (p->owes_ns == 0)
        cairn_replica__pump(r, p, true);
}

void cairn_replica_release(struct cairn_replica *r)
{
    if (!cairn_replica_is_primary(r))
        return;
    r->release_wanted = true;
    cairn_replica__advance(r);
}

/* Whether the slot could be led by another, who stays. */
static bool has_heir(const struct cairn_replica *r)
{
    for (uint32_t i = 0; i < r->npeers; i++) {
        if (r->peers[i].member && !r->peers[i].leaves)
            return true;
    }
    return false;
}

enum cairn_replica_leaving cairn_replica_leave(struct cairn_replica *r, bool may_release)
{
    r->leaves = true;
    if (r->sm.state == REPLICA_BACKUP) {
        cairn_replica__part(r);
        return REPLICA_PARTS;
    }
    if (r->sm.state == REPLICA_RELEASED)
        return REPLICA_RELEASES;
    if (!cairn_replica_is_primary(r) || !has_heir(r))
        return REPLICA_LEFT;
    if (!r->release_wanted && may_release)
        cairn_replica_release(r);
    return r->release_wanted ? REPLICA_RELEASES : REPLICA_LEADS;
}

/* ---- time ---- */

void cairn_replica__primary_tick(struct cairn_replica *r)
{
    bool busy = r->sm.state == REPLICA_ACTIVE && !is_to_release(r) && cairn_replica__sessions_end(r);

    if (r->sm.state == REPLICA_TAKEOVER && r->start_pos == 0)
        start_epoch(r);
    write_out(r);
    cairn_replica__pump_all(r);
    busy |= cairn_replica__peers_tick(r);
    busy |= cairn_replica__copy_tick(r);
    try_release(r);
    busy |= change_next(r) || r->sm.state == REPLICA_TAKEOVER || is_to_release(r);
    if (busy)
        cairn_replica__timer(r, r->times->resend_ns);
    cairn_replica__tell_commit(r);
    if (r->sessions.n > 0)
        cairn_replica__timer(r, r->times->session_ttl_ns / 4);
}
