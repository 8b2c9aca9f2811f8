/* A replica that follows: BACKUP and LEARNER alike take what the primary of their epoch sends (PROTOCOL §4). */
#include "server/cluster/repl/replica_internal.h"

#include <inttypes.h>

static bool follows(const struct cairn_replica *r)
{
    return r->sm.state == REPLICA_BACKUP || r->sm.state == REPLICA_LEARNER;
}

static void send_match(struct cairn_replica *r)
{
    struct cairn_slot_log_view v = cairn_replica__view(r, r->applied);
    struct cairn_repl_msg m = { .kind = CAIRN_REPL_MATCH,
                                .end = v.end,
                                .applied = v.floor,
                                .runs = v.runs,
                                .nruns = v.nruns,
                                .partial = r->partial };

    cairn_replica__send(r, r->rec.primary, &m);
}

static void send_ack(struct cairn_replica *r)
{
    struct cairn_repl_msg m = { .kind = CAIRN_REPL_ACK,
                                .matched = r->matched,
                                .synced = r->log.synced,
                                .leaves = r->leaves,
                                .base = r->log.base.pos };

    r->ack_owed = false;
    cairn_replica__send(r, r->rec.primary, &m);
}

void cairn_replica__follow(struct cairn_replica *r)
{
    r->matched = 0;
    r->ack_owed = false;
    r->heard_ns = 0;
    r->learner_wait_ns = MIN(r->times->resend_ns / 8, r->times->learner_ns);
    cairn_timer_stop(r->env, &r->timer);
    if (r->sm.state == REPLICA_LEARNER)
        cairn_replica__backup_tick(r);
}

/* A learner that hears nothing says that it is there; a member is asked by the primary. Its first word may come before
 * the primary knows of it, so it speaks again soon, and then less and less often. */
void cairn_replica__backup_tick(struct cairn_replica *r)
{
    if (r->sm.state != REPLICA_LEARNER)
        return;
    if (r->heard_ns == 0 || replica_now(r) - r->heard_ns >= r->times->learner_ns)
        send_match(r);
    cairn_replica__timer(r, r->learner_wait_ns);
    r->learner_wait_ns = MIN(2 * r->learner_wait_ns, r->times->learner_ns);
}

/* By an ACK, which as ever waits for the disk. */
void cairn_replica__part(struct cairn_replica *r)
{
    uint64_t now = replica_now(r);

    if (r->leave_said_ns != 0 && now - r->leave_said_ns < r->times->resend_ns)
        return;
    r->leave_said_ns = now;
    r->ack_owed = true;
    cairn_replica__backup_synced(r);
}

/* Cuts at the first difference and appends. False: the log cannot take the entry, or must not be cut there. */
static bool take_entry(struct cairn_replica *r, const struct cairn_log_entry *e)
{
    int rc;

    if (cairn_slot_log_has(&r->log, e->at))
        return true;
    if (e->at.pos <= r->applying || e->at.pos > r->log.end.pos + 1)
        return false;
    if (e->at.pos <= r->log.end.pos) {
        cairn_slot_log_cut(&r->log, e->at.pos - 1);
        cairn_sessions_cut(&r->sessions, e->at.pos - 1);
        r->syncing_pos = MIN(r->syncing_pos, e->at.pos - 1);
        r->commit = MIN(r->commit, e->at.pos - 1);
        r->ops->log_cut(r, e->at.pos - 1);
        r->last_sync_pos = r->cut_pos = e->at.pos; /* a cut is on disk before anything behind it is acknowledged */
    }
    rc = cairn_replica__append(r, e);
    if (rc != 0)
        cairn_log_warn("slot %u: entry %" PRIu64 " refused: %s", r->slot, e->at.pos, cairn_error_text(rc));
    return rc == 0;
}

void cairn_replica__on_append(struct cairn_replica *r, const struct cairn_repl_msg *m)
{
    uint64_t matched = m->prev.pos;

    if (!follows(r) || !cairn_who_is(m->from, r->rec.primary))
        return;
    r->heard_ns = replica_now(r);
    if (r->partial || !cairn_slot_log_has(&r->log, m->prev)) {
        /* What is applied here is committed, so in the primary's log as well: those of its entries are ours. */
        send_match(r);
        return;
    }
    for (uint32_t i = 0; i < m->nentries; i++) {
        if (m->entries[i].at.pos != matched + 1 || !take_entry(r, &m->entries[i]))
            break;
        matched++;
    }
    r->matched = MAX(r->matched, matched);
    if (matched < m->prev.pos + m->nentries)
        send_match(r); /* from there on the primary has to look for what is common */
    cairn_replica__sync(r);
    r->ack_owed = true;
    cairn_replica__backup_synced(r);
    cairn_replica__commit(r, MIN(m->commit, r->matched));
}

void cairn_replica_hear_commit(struct cairn_replica *r, const struct cairn_repl_msg *m)
{
    if (m->kind == CAIRN_REPL_APPEND && m->to.node == r->self.node && m->to.inc == r->self.inc &&
        m->epoch == r->rec.epoch && follows(r) && !r->partial && cairn_who_is(m->from, r->rec.primary))
        cairn_replica__commit(r, MIN(m->commit, r->matched));
}

void cairn_replica__backup_synced(struct cairn_replica *r)
{
    if (r->ack_owed && follows(r) && r->last_sync_pos <= r->log.synced)
        send_ack(r);
}
