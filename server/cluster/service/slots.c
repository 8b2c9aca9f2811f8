/* The replicas of one worker: see slots.h. */
#include "server/cluster/service/slots_internal.h"

#include <stdlib.h>

enum { CLEAN_MS = 1000, CLEANS_MAX = 256, FULL_CHECKPOINT_MS = 1000, RELEASES_MAX = 32 };
enum { LOGGED_CHECKPOINTS_MAX = 4 }; /* as much as so many of them: then a checkpoint has to end before clients go on */

/* ---- upkeep ---- */

static void timer_again(struct cluster_slots *w, struct cairn_timer *t, uint64_t in_ns)
{
    if (cairn_timer_start(&w->loop->env, t, cairn_env_now_ns(&w->loop->env) + in_ns) != 0)
        slots_fail(w, CAIRN_E_NOMEM, "no timer for the upkeep of slots");
}

/* A full log comes free again by checkpoints alone. */
static void make_room(struct cluster_slots *w)
{
    uint64_t soon = cairn_env_now_ns(&w->loop->env) + FULL_CHECKPOINT_MS * CAIRN_NS_PER_MS;

    if (w->checkpoint_timer.at_ns > soon)
        timer_again(w, &w->checkpoint_timer, FULL_CHECKPOINT_MS * CAIRN_NS_PER_MS);
}

static void on_sync_timer(void *arg)
{
    struct cluster_slots *w = arg;

    timer_again(w, &w->sync_timer, w->conf.sync_interval_ns);
    if (cairn_slot_disk_is_full(w->conf.disk))
        make_room(w);
    if (w->refuses) /* until it does not any more, though nobody may ask again */
        cluster_slots_refuses(w);
    CAIRN_LIST_FOREACH_SAFE (l, &w->unsynced) {
        struct slot *s = CONTAINER_OF(l, struct slot, unsynced);

        if (s->replica.syncing) /* of less than there is now, perhaps */
            continue;
        cairn_list_del(l);
        cairn_replica_flush(&s->replica);
    }
}

static void trim(struct slot *s)
{
    struct cluster_slots *w = s->w;
    uint64_t pos = s->begun && s->applied > 0 ? cairn_replica_trim(&s->replica, s->applied) : 0;
    int rc;

    s->applied = 0;
    if (pos <= cairn_slot_disk_base(w->conf.disk, s->store.slot).pos)
        return;
    rc = cairn_slot_disk_trim(w->conf.disk, s->store.slot, pos);
    if (rc != 0 && rc != CAIRN_E_BUSY && rc != CAIRN_E_NOMEM) /* then the next one does it */
        slots_fail(w, rc, "a log cannot be trimmed");
}

static void stop_last(struct cluster_slots *w);

static void on_checkpoint(void *arg, int rc)
{
    struct cluster_slots *w = arg;

    w->checkpointing = false;
    if (rc != 0 && rc != CAIRN_E_UNSUPPORTED) { /* logs of what is in memory have to end somewhere, too */
        cairn_log_warn("a checkpoint of the slots has failed: %s", cairn_error_text(rc));
    } else {
        for (uint32_t i = 0; i < w->room && !w->stopping; i++) {
            if (w->all[i] != NULL)
                trim(w->all[i]);
        }
        cairn_slot_disk_tidy(w->conf.disk, w->conf.worker);
    }
    if (w->stopping)
        stop_last(w);
    else if (w->logged >= w->conf.checkpoint_bytes) /* meanwhile */
        timer_again(w, &w->checkpoint_timer, 0);
}

static uint64_t unapplied_of(const struct slot *s)
{
    uint64_t bytes = 0, end = cairn_slot_disk_end(s->w->conf.disk, s->store.slot);

    for (uint64_t pos = s->replica.applied + 1; pos <= end; pos++)
        bytes += cairn_slot_disk_get(s->w->conf.disk, s->store.slot, pos)->body_len;
    return bytes;
}

void cluster_slots_checkpoint(struct cluster_slots *w)
{
    bool wanted = false;

    if (w->checkpointing)
        return;
    w->logged = w->unapplied = 0;
    for (uint32_t i = 0; i < w->room; i++) {
        struct slot *s = w->all[i];

        if (s == NULL || !s->begun || s->replica.partial)
            continue;
        w->unapplied += unapplied_of(s);
        s->applied = s->replica.applied;
        wanted |= s->applied > cairn_slot_disk_base(w->conf.disk, s->store.slot).pos;
    }
    if (!wanted) { /* and others write on */
        cairn_slot_disk_tidy(w->conf.disk, w->conf.worker);
        return;
    }
    w->checkpointing = true;
    cluster_store_flush(w->store, on_checkpoint, w);
}

/* What was logged since the last one has to be read, and held in memory, after a crash: it has a bound. */
void slots_on_logged(struct cluster_slots *w, uint64_t bytes)
{
    bool was_enough = w->logged >= w->conf.checkpoint_bytes;

    w->logged += bytes;
    if (!was_enough && w->logged >= w->conf.checkpoint_bytes && !w->checkpointing)
        timer_again(w, &w->checkpoint_timer, 0);
}

static void on_checkpoint_timer(void *arg)
{
    struct cluster_slots *w = arg;

    timer_again(w, &w->checkpoint_timer, w->conf.checkpoint_ns);
    cluster_slots_checkpoint(w);
}

/* After a start each slot that was ever partial here, and is not to be here, is looked at once: a few at a time. */
static void on_clean_timer(void *arg)
{
    struct cluster_slots *w = arg;
    uint32_t n = 0;

    timer_again(w, &w->clean_timer, CLEAN_MS * CAIRN_NS_PER_MS);
    for (uint32_t i = 0; i < w->room && n < CLEANS_MAX; i++) {
        struct slot *s = w->all[i];

        if (s != NULL && s->begun && s->store.job == NULL && !s->store.in_batch)
            n += cairn_replica_clean(&s->replica);
    }
}

/* ---- life ---- */

void cluster_slots_register(struct cluster_slots *w, struct cairn_who self)
{
    int rc = 0;

    CAIRN_ASSERT(!w->registered);
    w->self = self;
    w->registered = true;
    for (uint32_t i = 0; rc == 0 && i < w->room; i++) {
        if (w->all[i] != NULL && w->all[i]->begun)
            cairn_replica_return(&w->all[i]->replica, self.inc);
        else if (w->all[i] != NULL)
            rc = slots_begin(w->all[i]);
    }
    if (rc != 0)
        slots_fail(w, rc, "replicas cannot come to life");
    timer_again(w, &w->sync_timer, w->conf.sync_interval_ns);
    timer_again(w, &w->checkpoint_timer, w->conf.checkpoint_ns);
    timer_again(w, &w->clean_timer, CLEAN_MS * CAIRN_NS_PER_MS);
}

void cluster_slots_cease(struct cluster_slots *w)
{
    w->registered = false;
    for (uint32_t i = 0; i < w->room && !w->stopping; i++) {
        if (w->all[i] == NULL || !w->all[i]->begun)
            continue;
        cairn_replica_cease(&w->all[i]->replica);
        slots_tell_state(w->all[i]);
    }
}

struct cluster_slots *cluster_slots_new(const struct cluster_slots_conf *conf)
{
    struct cluster_slots *w = calloc(1, sizeof(*w));
    struct cluster_store_conf sc = {
        .rpc = conf->rpc,
        .kv = conf->kv,
        .worker = conf->worker,
        .nworkers = conf->nworkers,
        .pace = conf->pace,
        .ops = &slots_store_ops,
    };

    if (w == NULL)
        return NULL;
    w->conf = *conf;
    w->loop = cairn_rpc_loop(conf->rpc);
    cairn_list_init(&w->unsynced);
    cairn_list_init(&w->late);
    cairn_timer_init(&w->late_timer, slots_on_late_timer, w);
    cairn_timer_init(&w->sync_timer, on_sync_timer, w);
    cairn_timer_init(&w->checkpoint_timer, on_checkpoint_timer, w);
    cairn_timer_init(&w->clean_timer, on_clean_timer, w);
    sc.arg = w;
    w->store = cluster_store_new(&sc);
    if (w->store == NULL) {
        free(w);
        return NULL;
    }
    return w;
}

void cluster_slots_start(struct cluster_slots *w)
{
    cluster_store_start(w->store);
}

/* A last checkpoint, for which the replicas have left what their logs may be trimmed to: the next start reads no
 * entries. Unless they are all that is left of a provider in memory. */
static void on_last_checkpoint(void *arg, int rc)
{
    struct cluster_slots *w = arg;

    for (uint32_t i = 0; i < w->room && rc == 0; i++) {
        if (w->all[i] != NULL && w->all[i]->applied > 0)
            rc = cairn_slot_disk_trim(w->conf.disk, w->all[i]->store.slot, w->all[i]->applied);
    }
    if (rc != 0 && rc != CAIRN_E_UNSUPPORTED) /* the next start has more to read */
        cairn_log_warn("the last checkpoint of the slots has failed: %s", cairn_error_text(rc));
    cairn_slot_disk_tidy(w->conf.disk, w->conf.worker);
    cluster_store_stop(w->store, w->stopped, w->stopped_arg);
}

static void stop_last(struct cluster_slots *w)
{
    bool wanted = false;

    for (uint32_t i = 0; i < w->room; i++)
        wanted |= w->all[i] != NULL && w->all[i]->applied > 0;
    if (wanted)
        cluster_store_flush(w->store, on_last_checkpoint, w);
    else
        cluster_store_stop(w->store, w->stopped, w->stopped_arg);
}

static void slot_end(struct slot *s)
{
    struct cluster_slots *w = s->w;
    uint64_t pos = cairn_replica_trim(&s->replica, s->replica.applied);

    s->applied = pos > cairn_slot_disk_base(w->conf.disk, s->store.slot).pos ? pos : 0;
    atomic_store(&w->conf.words[s->store.slot], CLUSTER_WORD_MOVED);
    cairn_list_del(&s->unsynced);
    cairn_list_del(&s->late);
    cairn_replica_fini(&s->replica);
    s->begun = false;
}

void cluster_slots_stop(struct cluster_slots *w, void (*done)(void *arg), void *arg)
{
    w->stopped = done;
    w->stopped_arg = arg;
    for (uint32_t i = 0; i < w->room; i++) {
        if (w->all[i] != NULL && w->all[i]->begun)
            slot_end(w->all[i]);
    }
    w->stopping = true;
    cairn_timer_stop(&w->loop->env, &w->late_timer);
    cairn_timer_stop(&w->loop->env, &w->sync_timer);
    cairn_timer_stop(&w->loop->env, &w->checkpoint_timer);
    cairn_timer_stop(&w->loop->env, &w->clean_timer);
    if (!w->checkpointing)
        stop_last(w);
}

void cluster_slots_free(struct cluster_slots *w)
{
    cluster_store_free(w->store);
    for (uint32_t i = 0; i < w->room; i++) {
        if (w->all[i] != NULL)
            free(w->all[i]->sessions);
        free(w->all[i]);
    }
    free(w->all);
    free(w);
}

/* ---- what happens ---- */

int cluster_slots_learn(struct cluster_slots *w, uint32_t slot, const struct cairn_slot_record *rec)
{
    struct slot *s = slots_find(w, slot);
    int rc;

    if (!w->registered || w->stopping)
        return CAIRN_E_STATE;
    if (s == NULL && !cairn_slot_places(rec, w->self.node) && !cairn_slot_names(rec, w->self.node))
        return 0;
    if (s == NULL)
        s = slots_make(w, slot);
    if (s == NULL)
        return CAIRN_E_NOMEM;
    rc = s->begun ? 0 : slots_begin(s);
    if (rc == 0)
        rc = cairn_replica_learn(&s->replica, rec);
    slots_tell_state(s);
    return rc;
}

void cluster_slots_on_lease(struct cluster_slots *w)
{
    for (uint32_t i = 0; i < w->room && !w->stopping; i++) {
        if (w->all[i] == NULL || !w->all[i]->begun)
            continue;
        cairn_replica_on_lease(&w->all[i]->replica);
        slots_tell_state(w->all[i]);
    }
}

void cluster_slots_doubt(struct cluster_slots *w, uint64_t node)
{
    for (uint32_t i = 0; i < w->room && !w->stopping; i++) {
        if (w->all[i] != NULL && w->all[i]->begun)
            cairn_replica_doubt(&w->all[i]->replica, node);
    }
}

void cluster_slots_receive(struct cluster_slots *w, const struct cairn_repl_msg *m)
{
    struct slot *s = slots_find_live(w, m->slot);
    uint64_t bytes = 0;

    if (s == NULL)
        return;
    for (uint32_t i = 0; i < m->nentries; i++)
        bytes += m->entries[i].body_len;
    if (m->nentries > 0 && (w->unapplied > w->conf.unapplied_bytes ||
                            !cairn_slot_disk_take_room(w->conf.disk, w->conf.worker, m->nentries, bytes)))
        cairn_replica_hear_commit(&s->replica, m); /* the rest comes again, or others go on without us */
    else
        cairn_replica_receive(&s->replica, m);
    slots_tell_state(s);
}

void cluster_slots_on_verdict(struct cluster_slots *w, const struct cairn_change *c, enum cairn_verdict verdict,
                              const struct cairn_slot_record *rec)
{
    struct slot *s = slots_find_live(w, c->slot);

    if (s == NULL)
        return;
    cairn_replica_on_verdict(&s->replica, c, verdict, rec);
    slots_tell_state(s);
}

bool cluster_slots_has(struct cluster_slots *w, uint32_t slot, struct cairn_at at)
{
    struct slot *s = slots_find_live(w, slot);

    return s != NULL && cairn_slot_log_has(&s->replica.log, at);
}

bool cluster_slots_leads(struct cluster_slots *w, uint32_t slot, uint64_t epoch, uint64_t inc)
{
    struct slot *s = slots_find_live(w, slot);

    return s != NULL && cairn_replica_leads(&s->replica, epoch, inc);
}

int cluster_slots_each_entry(struct cluster_slots *w, void (*fn)(void *arg, const struct cairn_log_entry *e), void *arg)
{
    if (!w->started)
        return CAIRN_E_BUSY;
    for (uint32_t i = 0; i < w->room; i++) {
        const struct slot *s = w->all[i];

        if (s != NULL &&
            (cluster_store_is_putting(&s->store) || (s->begun && cairn_replica_may_come_back(&s->replica))))
            return CAIRN_E_BUSY;
    }
    for (uint32_t i = 0; i < w->room; i++) {
        uint32_t slot = i * w->conf.nworkers + w->conf.worker;
        uint64_t end = w->all[i] != NULL ? cairn_slot_disk_end(w->conf.disk, slot) : 0;

        for (uint64_t pos = w->all[i] != NULL ? cairn_slot_disk_base(w->conf.disk, slot).pos + 1 : 1; pos <= end; pos++)
            fn(arg, cairn_slot_disk_get(w->conf.disk, slot, pos));
    }
    return 0;
}

static void note_full(struct cluster_slots *w, uint32_t slot)
{
    uint64_t now = cairn_env_now_ns(&w->loop->env), last = atomic_load(&w->sessions_refused_ns);

    if (last == 0 || now - last >= STORE_RECENTLY_NS)
        cairn_log_warn("slot %u: as many clients as may have a session there write now (%d), and others wait", slot,
                       CAIRN_SESSIONS_MAX);
    atomic_fetch_add(&w->sessions_refused, 1);
    atomic_store(&w->sessions_refused_ns, now);
}

uint64_t cluster_slots_sessions_refused(const struct cluster_slots *w, uint64_t *last_ns)
{
    *last_ns = atomic_load(&w->sessions_refused_ns);
    return atomic_load(&w->sessions_refused);
}

int cluster_slots_write(struct cluster_slots *w, uint32_t slot, struct cairn_repl_write *rw)
{
    struct slot *s = slots_find_live(w, slot);
    int rc;

    if (w->failed) /* nobody else leads yet */
        return CAIRN_E_BUSY;
    if (s == NULL)
        return CAIRN_E_MOVED;
    if (rw->rid.session.pos != 0 &&
        rw->rid.seq >= rw->floor + CAIRN_SESSION_WRITES_MAX) /* its row is that of another */
        return CAIRN_E_LIMIT;
    if (!rw->asks && cluster_slots_is_stuck(w)) /* it would be in the log, and its client would wait in vain */
        return CAIRN_E_NOSPACE;
    if (!rw->asks && !cairn_slot_disk_take_room(w->conf.disk, w->conf.worker, 1, rw->body_len))
        return cairn_slot_disk_is_full(w->conf.disk) ? CAIRN_E_NOSPACE : CAIRN_E_BUSY;
    if (!rw->asks && w->logged / LOGGED_CHECKPOINTS_MAX >= w->conf.checkpoint_bytes)
        return CAIRN_E_BUSY;
    rc = cairn_replica_write(&s->replica, rw);
    if (rw->full)
        note_full(w, slot);
    slots_tell_state(s);
    return rc;
}

bool cluster_slots_refuses(struct cluster_slots *w)
{
    w->refuses = cluster_store_refuses(w->store, w->unapplied * w->conf.nworkers); /* the others' are not known here */
    return w->refuses;
}

bool cluster_slots_is_stuck(const struct cluster_slots *w)
{
    return atomic_load_explicit(&cluster_store_troubles(w->store)->stuck, memory_order_relaxed);
}

uint32_t cluster_slots_leave(struct cluster_slots *w)
{
    uint32_t left = 0, releasing = 0;

    for (uint32_t i = 0; i < w->room && !w->stopping; i++) {
        enum cairn_replica_leaving is;

        if (w->all[i] == NULL || !w->all[i]->begun)
            continue;
        is = cairn_replica_leave(&w->all[i]->replica, releasing < RELEASES_MAX);
        left += is != REPLICA_LEFT;
        releasing += is == REPLICA_RELEASES;
        slots_tell_state(w->all[i]);
    }
    return left;
}

uint32_t cluster_slots_led(const struct cluster_slots *w)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < w->room; i++)
        n += w->all[i] != NULL && w->all[i]->begun && cairn_replica_is_primary(&w->all[i]->replica);
    return n;
}

void cluster_slots_count(struct cluster_slots *w, struct cluster_slots_counts *out)
{
    memset(out, 0, sizeof(*out));
    for (uint32_t i = 0; i < w->room; i++) {
        if (w->all[i] == NULL || !w->all[i]->begun)
            continue;
        out->by_state[w->all[i]->replica.sm.state]++;
        out->partial += w->all[i]->replica.partial;
    }
}

struct cairn_replica *cluster_slots_replica(struct cluster_slots *w, uint32_t slot)
{
    struct slot *s = w->stopping ? NULL : slots_find(w, slot);

    return s != NULL && s->begun ? &s->replica : NULL; /* a deaf one, too */
}

struct cluster_store *cluster_slots_store(struct cluster_slots *w)
{
    return w->store;
}
