/* One replica of one slot, what all its roles share: see replica.h. */
#include "server/cluster/repl/replica_internal.h"
#include "server/cluster/repl/sessions_image.h"

#include <inttypes.h>
#include <stdlib.h>

enum { APPLYING_MAX = 256 }; /* entries that the application works on */

#define TO CAIRN_SM_TO
#define BY_MAP                                                                                                         \
    (TO(REPLICA_OUT) | TO(REPLICA_LEARNER) | TO(REPLICA_BACKUP) | TO(REPLICA_TAKEOVER) | TO(REPLICA_RESTARTED))

static const struct cairn_sm_state replica_states[REPLICA_NR] = {
    [REPLICA_OUT] = { "OUT", CAIRN_SM_INITIAL, BY_MAP | TO(REPLICA_GONE) },
    [REPLICA_LEARNER] = { "LEARNER", 0, BY_MAP },
    [REPLICA_BACKUP] = { "BACKUP", 0, BY_MAP },
    [REPLICA_TAKEOVER] = { "TAKEOVER", 0, BY_MAP | TO(REPLICA_ACTIVE) },
    [REPLICA_ACTIVE] = { "ACTIVE", 0, BY_MAP | TO(REPLICA_PAUSED) | TO(REPLICA_RELEASED) },
    [REPLICA_PAUSED] = { "PAUSED", 0, BY_MAP | TO(REPLICA_ACTIVE) },
    [REPLICA_RELEASED] = { "RELEASED", 0, BY_MAP },
    [REPLICA_RESTARTED] = { "RESTARTED", 0, BY_MAP },
    [REPLICA_GONE] = { "GONE", CAIRN_SM_FINAL, 0 },
};

/* Every member of the newest in-sync set that we know is one that a commit waits for (I10). */
static bool waits_for_all(const struct cairn_replica *r)
{
    uint32_t members = 0;

    for (uint32_t i = 0; i < r->npeers; i++)
        members += r->peers[i].member && cairn_slot_insync(&r->rec, r->peers[i].who) >= 0;
    return members + 1 == r->rec.ninsync;
}

static bool replica_invariant(const struct cairn_sm *sm)
{
    const struct cairn_replica *r = CONTAINER_OF(sm, const struct cairn_replica, sm);
    bool leads = cairn_replica_is_primary(r), member = cairn_slot_insync(&r->rec, r->self) >= 0;

    return CAIRN_HOLDS(r->applied <= r->applying && r->applying <= r->commit && r->commit <= r->log.end.pos) && /* I7 */
           CAIRN_HOLDS(r->log.synced <= r->log.end.pos && r->log.base.pos <= r->applied) &&
           CAIRN_HOLDS(leads == (member && !r->partial && cairn_who_is(r->rec.primary, r->self))) &&
           CAIRN_HOLDS(sm->state != REPLICA_ACTIVE || r->applied >= r->start_pos) &&
           CAIRN_HOLDS(sm->state != REPLICA_BACKUP || member) && CAIRN_HOLDS(sm->state != REPLICA_LEARNER || !member) &&
           CAIRN_HOLDS(!leads || waits_for_all(r)) && /* I10 */
           CAIRN_HOLDS(leads || cairn_list_is_empty(&r->waiting)) &&
           CAIRN_HOLDS(!member || !r->partial || sm->state == REPLICA_RESTARTED) && /* I13 */
           CAIRN_HOLDS(sm->state != REPLICA_RELEASED || r->commit == r->log.end.pos);
}

const struct cairn_sm_kind cairn_replica_kind = { "slot-replica", replica_states, REPLICA_NR, replica_invariant, 0 };

static void on_timer(void *arg)
{
    struct cairn_replica *r = arg;

    if (cairn_replica_is_primary(r))
        cairn_replica__primary_tick(r);
    else
        cairn_replica__backup_tick(r);
}

void cairn_replica_init(struct cairn_replica *r, const struct cairn_replica_ops *ops,
                        const struct cairn_replica_times *times, struct cairn_env *env, struct cairn_sm_set *set,
                        uint32_t slot, struct cairn_who self)
{
    memset(r, 0, sizeof(*r));
    r->ops = ops;
    r->times = times;
    r->env = env;
    r->slot = slot;
    r->self = self;
    cairn_slot_log_init(&r->log);
    cairn_sessions_init(&r->sessions);
    cairn_list_init(&r->waiting);
    cairn_list_init(&r->answers);
    cairn_task_init(&r->answer, cairn_replica__run_answers, r);
    cairn_timer_init(&r->timer, on_timer, r);
    cairn_sm_init(&r->sm, &cairn_replica_kind, set);
}

void cairn_replica_fini(struct cairn_replica *r)
{
    cairn_replica__stop_leading(r, CAIRN_E_SHUTDOWN);
    cairn_replica__load_fini(r);
    cairn_replica__peers_free(r);
    cairn_task_cancel(&r->answer);
    cairn_timer_stop(r->env, &r->timer);
    memset(&r->rec, 0, sizeof(r->rec));
    if (r->sm.state != REPLICA_OUT)
        cairn_sm_move(&r->sm, REPLICA_OUT);
    cairn_sm_move(&r->sm, REPLICA_GONE);
    cairn_sm_fini(&r->sm);
    cairn_sessions_fini(&r->sessions);
    cairn_slot_log_fini(&r->log);
}

void cairn_replica__timer(struct cairn_replica *r, uint64_t in_ns)
{
    uint64_t at = replica_now(r) + in_ns;

    if (cairn_timer_is_running(&r->timer) && r->timer.at_ns <= at)
        return;
    if (cairn_timer_start(r->env, &r->timer, at) != 0)
        cairn_log_error("slot %u: no memory for a timer; what is lost now is not sent again", r->slot);
}

void cairn_replica__send(struct cairn_replica *r, struct cairn_who to, struct cairn_repl_msg *m)
{
    m->slot = r->slot;
    m->from = r->self;
    m->to = to;
    m->epoch = r->rec.epoch;
    r->ops->send(r, m);
}

/* ---- the log ---- */

int cairn_replica_restore(struct cairn_replica *r, struct cairn_at base, const uint8_t *sessions, size_t len)
{
    int rc = cairn_sessions_image_get(&r->sessions, base.pos, sessions, len);

    if (rc != 0)
        return rc;
    cairn_slot_log_restart(&r->log, base);
    r->commit = r->applied = r->applying = base.pos;
    return 0;
}

void cairn_replica_restore_partial(struct cairn_replica *r)
{
    r->partial = r->has_pages = true;
}

void cairn_replica__forget(struct cairn_replica *r)
{
    CAIRN_ASSERT(r->applied == r->applying && !r->syncing);
    r->partial = true;
    cairn_slot_log_restart(&r->log, (struct cairn_at){ 0 });
    cairn_sessions_fini(&r->sessions);
    r->commit = r->applied = r->applying = r->matched = r->last_sync_pos = r->cut_pos = 0;
    r->ack_owed = false;
}

int cairn_replica_restore_entry(struct cairn_replica *r, const struct cairn_log_entry *e)
{
    int rc = cairn_sessions_reserve(&r->sessions, e);

    if (rc == 0)
        rc = cairn_slot_log_append(&r->log, e->at);
    if (rc != 0)
        return rc;
    cairn_sessions_append(&r->sessions, e);
    r->log.synced = e->at.pos;
    return 0;
}

struct cairn_slot_log_view cairn_replica__view(const struct cairn_replica *r, uint64_t floor)
{
    return (struct cairn_slot_log_view){
        .floor = { .epoch = cairn_slot_log_epoch(&r->log, floor), .pos = floor },
        .end = r->log.end,
        .runs = r->log.runs,
        .nruns = r->log.nruns,
    };
}

void cairn_replica_flush(struct cairn_replica *r)
{
    if (r->syncing || r->log.end.pos <= r->log.synced)
        return;
    r->syncing = true;
    r->syncing_pos = r->log.end.pos;
    r->ops->log_sync(r);
}

void cairn_replica__sync(struct cairn_replica *r)
{
    if (r->last_sync_pos > r->log.synced)
        cairn_replica_flush(r);
}

int cairn_replica__append(struct cairn_replica *r, const struct cairn_log_entry *e)
{
    int rc = cairn_sessions_reserve(&r->sessions, e);

    if (rc == 0)
        rc = cairn_slot_log_append(&r->log, e->at);
    if (rc != 0)
        return rc;
    cairn_sessions_append(&r->sessions, e);
    r->ops->log_append(r, e, 1);
    if (e->sync)
        r->last_sync_pos = e->at.pos;
    return 0;
}

void cairn_replica_on_synced(struct cairn_replica *r)
{
    CAIRN_ASSERT(r->syncing);
    r->syncing = false;
    r->log.synced = MAX(r->log.synced, r->syncing_pos);
    cairn_replica__sync(r);
    if (cairn_replica_is_primary(r))
        cairn_replica__advance(r);
    else
        cairn_replica__backup_synced(r);
}

/* Of another history it says nothing. */
void cairn_replica_on_written(struct cairn_replica *r, struct cairn_at end)
{
    if (end.pos <= r->log.written || !cairn_slot_log_has(&r->log, end))
        return;
    r->log.written = end.pos;
    if (cairn_replica_is_primary(r))
        cairn_replica__advance(r);
}

/* ---- checkpoints ---- */

int cairn_replica_checkpoint(struct cairn_replica *r, struct cairn_at *at, uint8_t **sessions, size_t *len)
{
    if (r->partial || r->applied == 0)
        return CAIRN_E_STATE;
    *len = cairn_sessions_image_bytes(&r->sessions, r->applied);
    *sessions = malloc(*len);
    if (*sessions == NULL)
        return CAIRN_E_NOMEM;
    cairn_sessions_image_put(&r->sessions, r->applied, *sessions, *len);
    *at = (struct cairn_at){ .epoch = cairn_slot_log_epoch(&r->log, r->applied), .pos = r->applied };
    return 0;
}

uint64_t cairn_replica_trim(struct cairn_replica *r, uint64_t pos)
{
    if (r->partial)
        return 0;
    pos = MIN(pos, MIN(r->applied, cairn_replica__copy_base(r).pos));
    for (uint32_t i = 0; cairn_replica_is_primary(r) && i < r->npeers; i++) {
        const struct replica_peer *p = &r->peers[i];

        if (p->phase == PEER_PROBED || p->phase == PEER_STREAM) /* a silent learner holds nothing back */
            pos = MIN(pos, MAX(p->matched, p->first - 1));
    }
    cairn_slot_log_trim(&r->log, pos);
    return r->log.base.pos;
}

/* ---- applying ---- */

static void apply_more(struct cairn_replica *r)
{
    struct cairn_log_entry e;

    while (r->applying < r->commit && r->applying - r->applied < APPLYING_MAX) {
        if (!r->ops->log_get(r, r->applying + 1, &e))
            return;
        r->applying++;
        r->ops->apply(r, &e);
    }
}

void cairn_replica__commit(struct cairn_replica *r, uint64_t pos)
{
    CAIRN_ASSERT(pos <= r->log.end.pos);
    if (pos <= r->commit)
        return;
    r->commit = pos;
    apply_more(r);
}

void cairn_replica_on_applied(struct cairn_replica *r, const struct cairn_log_entry *e, int32_t result)
{
    CAIRN_ASSERT(e->at.pos == r->applied + 1 && r->applied < r->applying);
    r->applied++;
    cairn_sessions_apply(&r->sessions, e, result);
    if (cairn_replica_is_primary(r))
        cairn_replica__answer(r, e, result);
    apply_more(r);
    if (r->sm.state == REPLICA_TAKEOVER && r->applied == r->start_pos)
        cairn_replica__advance(r);
}

void cairn_replica_on_loaded(struct cairn_replica *r)
{
    apply_more(r);
    if (cairn_replica_is_primary(r))
        cairn_replica__pump_all(r);
}

/* ---- the map ---- */

static uint32_t state_by_map(const struct cairn_replica *r, const struct cairn_slot_record *rec, bool *goes_on)
{
    bool serves = r->sm.state == REPLICA_ACTIVE || r->sm.state == REPLICA_PAUSED;

    *goes_on = false;
    if (!cairn_slot_places(rec, r->self.node) && !cairn_slot_names(rec, r->self.node))
        return REPLICA_OUT;
    if (r->partial && cairn_slot_insync(rec, r->self) >= 0) /* of a history that the map has lost */
        return REPLICA_RESTARTED;
    if (cairn_slot_insync(rec, r->self) < 0)
        return cairn_slot_names(rec, r->self.node) ? REPLICA_RESTARTED : REPLICA_LEARNER;
    if (!cairn_who_is(rec->primary, r->self))
        return REPLICA_BACKUP;
    /* Only who served in all epochs between goes on serving. */
    *goes_on = serves && rec->since <= r->rec.epoch;
    return *goes_on ? r->sm.state : REPLICA_TAKEOVER;
}

/* The operator's order outlives a change of epoch by somebody else. If MAP has heard our RELEASE the slot is in
 * take-over: then nobody was there who could lead, and to give it up once more would help nobody. */
static bool is_still_to_release(const struct cairn_replica *r, const struct cairn_slot_record *rec, uint32_t state)
{
    bool leads = state >= REPLICA_TAKEOVER && state <= REPLICA_RELEASED;

    return r->release_wanted && leads && (r->sm.state != REPLICA_RELEASED || rec->state == CAIRN_SLOT_ACTIVE);
}

int cairn_replica_learn(struct cairn_replica *r, const struct cairn_slot_record *rec)
{
    bool goes_on, release_wanted;
    uint32_t state;

    if (rec->epoch <= r->rec.epoch) /* I15 */
        return 0;
    state = state_by_map(r, rec, &goes_on);
    if (state == REPLICA_TAKEOVER || goes_on) {
        int rc = cairn_replica__peers_reserve(r, rec);

        if (rc != 0)
            return rc;
    }
    release_wanted = is_still_to_release(r, rec, state);
    if (!goes_on)
        cairn_replica__stop_leading(r, CAIRN_E_MOVED);
    r->release_wanted = release_wanted;
    if (state != REPLICA_LEARNER || !cairn_who_is(rec->primary, r->rec.primary)) { /* §7: then it begins again */
        cairn_replica__load_end(r);
        r->loaded_job = 0;
    }
    r->rec = *rec;
    if (state == REPLICA_TAKEOVER || goes_on) {
        cairn_replica__lead(r, goes_on);
        return 0;
    }
    cairn_replica__peers_free(r);
    cairn_sm_move(&r->sm, state);
    cairn_replica__follow(r);
    return 0;
}

/* As after a restart that lost nothing: what is committed is not known but of what is applied, or about to be. */
void cairn_replica_cease(struct cairn_replica *r)
{
    cairn_replica__stop_leading(r, CAIRN_E_MOVED);
    cairn_replica__load_end(r);
    cairn_replica__peers_free(r);
    r->loaded_job = 0;
    r->release_wanted = false;
    memset(&r->rec, 0, sizeof(r->rec));
    r->self.inc = 0;
    r->commit = r->applying;
    cairn_sm_move(&r->sm, REPLICA_OUT);
    cairn_replica__follow(r);
}

void cairn_replica_return(struct cairn_replica *r, uint64_t inc)
{
    CAIRN_ASSERT(r->self.inc == 0 && r->rec.epoch == 0);
    r->self.inc = inc;
}

void cairn_replica_receive(struct cairn_replica *r, const struct cairn_repl_msg *m)
{
    static void (*const on_kind[])(struct cairn_replica * r, const struct cairn_repl_msg *m) = {
        [CAIRN_REPL_APPEND] = cairn_replica__on_append, [CAIRN_REPL_ACK] = cairn_replica__on_ack,
        [CAIRN_REPL_MATCH] = cairn_replica__on_match,   [CAIRN_REPL_COPY] = cairn_replica__on_copy,
        [CAIRN_REPL_COPIED] = cairn_replica__on_copied,
    };

    if (m->to.node != r->self.node || (m->to.inc != r->self.inc && m->to.inc != 0) || m->from.node == r->self.node)
        return;
    if (m->epoch > r->rec.epoch) {
        r->heard_epoch = MAX(r->heard_epoch, m->epoch);
        r->ops->map_is_old(r, m->epoch);
        return;
    }
    if (m->epoch < r->rec.epoch) {
        struct cairn_repl_msg nack = { .kind = CAIRN_REPL_NACK };

        if (m->kind != CAIRN_REPL_NACK)
            cairn_replica__send(r, m->from, &nack);
        return;
    }
    if (m->kind < ARRAY_SIZE(on_kind) && on_kind[m->kind] != NULL)
        on_kind[m->kind](r, m);
}

bool cairn_replica_may_read_found(const struct cairn_replica *r)
{
    return cairn_slot_insync(&r->rec, r->self) >= 0;
}
