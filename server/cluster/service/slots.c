/* The replicas of one worker: see slots.h. */
#include "server/cluster/service/slots.h"

#include "sdk/core/base/log.h"
#include "server/cluster/repl/sessions_image.h"

#include <inttypes.h>
#include <stdlib.h>

enum { CLEAN_MS = 1000, ROOM_SPARE_BYTES = 4 << 20 };

struct slot {
    struct cairn_replica replica;
    struct store_slot store;
    struct cluster_slots *w;
    struct cairn_link unsynced; /* on the worker's list: its log has entries that are not on disk */
    bool begun;                 /* the replica is alive */
    bool partial;               /* of a start: what was found is no use */
    struct cairn_at base;       /* of a start: what is applied, with */
    uint8_t *sessions;          /* their image */
    size_t sessions_len;
    struct cairn_at seal_at;
    uint64_t applied; /* when the checkpoint under way began */
};

struct cluster_slots {
    struct cluster_slots_conf conf;
    struct cairn_loop *loop;
    struct cluster_store *store;
    struct slot **all; /* by slot / nworkers */
    uint32_t room;
    struct cairn_who self;
    bool registered, stopping, checkpointing;
    struct cairn_link unsynced;
    struct cairn_timer sync_timer, checkpoint_timer, clean_timer;
};

static struct slot *slot_of(struct cairn_replica *r)
{
    return CONTAINER_OF(r, struct slot, replica);
}

static struct slot *slot_of_store(struct store_slot *s)
{
    return CONTAINER_OF(s, struct slot, store);
}

static struct slot *find(struct cluster_slots *w, uint32_t slot)
{
    uint32_t i = slot / w->conf.nworkers;

    return slot % w->conf.nworkers == w->conf.worker && i < w->room ? w->all[i] : NULL;
}

/* A live one: what is asked of a slot before the node is registered is lost. */
static struct slot *find_live(struct cluster_slots *w, uint32_t slot)
{
    struct slot *s = w->stopping ? NULL : find(w, slot);

    return s != NULL && s->begun ? s : NULL;
}

/* What others see follows each thing that a replica was told. */
static void tell_state(struct slot *s)
{
    const struct cairn_replica *r = &s->replica;
    uint64_t word = CLUSTER_WORD_MOVED;

    if (r->sm.state == REPLICA_ACTIVE || r->sm.state == REPLICA_PAUSED)
        word = r->rec.since + 2;
    else if (r->sm.state == REPLICA_TAKEOVER)
        word = CLUSTER_WORD_BUSY;
    atomic_store(&s->w->conf.words[s->store.slot], word);
}

static void fail(struct cluster_slots *w, int rc, const char *text)
{
    w->conf.ops->failed(w->conf.arg, rc, text);
}

/* ---- the log ---- */

static void op_log_append(struct cairn_replica *r, const struct cairn_entry *entries, uint32_t n)
{
    struct slot *s = slot_of(r);

    for (uint32_t i = 0; i < n; i++) {
        int rc = cairn_slot_disk_append(s->w->conf.disk, r->slot, &entries[i]);

        if (rc != 0) {
            fail(s->w, rc, "an entry cannot be appended to the log");
            return;
        }
    }
    if (cairn_list_is_empty(&s->unsynced))
        cairn_list_add_tail(&s->w->unsynced, &s->unsynced);
}

static void op_log_cut(struct cairn_replica *r, uint64_t pos)
{
    struct slot *s = slot_of(r);
    int rc = cairn_slot_disk_cut(s->w->conf.disk, r->slot, pos);

    if (rc != 0)
        fail(s->w, rc, "the log cannot be cut");
}

static void op_log_sync(struct cairn_replica *r)
{
    cairn_slot_disk_sync(slot_of(r)->w->conf.disk, r->slot);
}

void cluster_slots_on_synced(struct cluster_slots *w, uint32_t slot, int rc)
{
    struct slot *s = find_live(w, slot);

    if (rc != 0) {
        fail(w, rc, "the log cannot be written");
        return;
    }
    if (s == NULL || !s->replica.syncing)
        return;
    cairn_replica_on_synced(&s->replica);
    tell_state(s);
}

static bool op_log_get(struct cairn_replica *r, uint64_t pos, struct cairn_entry *e)
{
    *e = *cairn_slot_disk_get(slot_of(r)->w->conf.disk, r->slot, pos);
    return true;
}

/* ---- others ---- */

static void op_send(struct cairn_replica *r, const struct cairn_repl_msg *m)
{
    struct cluster_slots *w = slot_of(r)->w;

    w->conf.ops->send(w->conf.arg, m);
}

static void op_propose(struct cairn_replica *r, const struct cairn_change *c)
{
    struct slot *s = slot_of(r);

    tell_state(s); /* RELEASED: first nobody reads here any more, then MAP is told */
    s->w->conf.ops->propose(s->w->conf.arg, c);
}

static bool op_lease_is_valid(struct cairn_replica *r)
{
    struct cluster_slots *w = slot_of(r)->w;

    return w->conf.ops->lease_is_valid(w->conf.arg);
}

static void op_map_is_old(struct cairn_replica *r, uint64_t epoch)
{
    struct cluster_slots *w = slot_of(r)->w;

    (void)epoch;
    w->conf.ops->map_is_old(w->conf.arg);
}

/* ---- the store ---- */

static void op_apply(struct cairn_replica *r, const struct cairn_entry *e)
{
    struct slot *s = slot_of(r);

    cluster_store_apply(s->w->store, &s->store, e->at.pos);
}

static bool op_copy_open(struct cairn_replica *r)
{
    return cluster_store_copy_open(slot_of(r)->w->store, &slot_of(r)->store);
}

static void op_copy_read(struct cairn_replica *r)
{
    cluster_store_copy_read(slot_of(r)->w->store, &slot_of(r)->store);
}

static void op_copy_close(struct cairn_replica *r)
{
    cluster_store_copy_close(slot_of(r)->w->store, &slot_of(r)->store);
}

static void op_wipe(struct cairn_replica *r)
{
    cluster_store_wipe(slot_of(r)->w->store, &slot_of(r)->store);
}

static void op_copy_put(struct cairn_replica *r, const uint8_t *page, uint32_t len)
{
    cluster_store_put(slot_of(r)->w->store, &slot_of(r)->store, page, len);
}

static void op_copy_seal(struct cairn_replica *r, struct cairn_at at, const uint8_t *sessions, size_t len)
{
    slot_of(r)->seal_at = at;
    cluster_store_seal(slot_of(r)->w->store, &slot_of(r)->store, at, sessions, len);
}

static const struct cairn_replica_ops replica_ops = {
    .log_append = op_log_append,
    .log_cut = op_log_cut,
    .log_sync = op_log_sync,
    .log_get = op_log_get,
    .send = op_send,
    .propose = op_propose,
    .apply = op_apply,
    .lease_is_valid = op_lease_is_valid,
    .map_is_old = op_map_is_old,
    .copy_open = op_copy_open,
    .copy_read = op_copy_read,
    .copy_close = op_copy_close,
    .wipe = op_wipe,
    .copy_put = op_copy_put,
    .copy_seal = op_copy_seal,
};

static const struct cairn_entry *on_entry(struct store_slot *s, uint64_t pos)
{
    return cairn_slot_disk_get(slot_of_store(s)->w->conf.disk, s->slot, pos);
}

static uint64_t on_newest(struct store_slot *s, struct cairn_at session)
{
    struct cairn_sessions *t = &slot_of_store(s)->replica.sessions;

    for (uint32_t i = 0; i < t->n; i++) {
        if (cairn_at_is(t->all[i].id, session))
            return MAX(t->all[i].floor, t->all[i].nwrites > 0 ? t->all[i].writes[t->all[i].nwrites - 1].seq : 0);
    }
    return CAIRN_SESSION_WRITES_MAX;
}

static void on_applied(struct store_slot *ss, const struct cairn_entry *e, int32_t result)
{
    struct slot *s = slot_of_store(ss);
    struct cairn_entry copy = *e; /* the log may move while the replica goes on */

    if (s->w->stopping)
        return;
    cairn_replica_on_applied(&s->replica, &copy, result);
    tell_state(s);
}

/* The mark is on disk: whatever is left of the log is no use. */
static void on_wiped(struct store_slot *ss)
{
    struct slot *s = slot_of_store(ss);
    int rc = cairn_slot_disk_restart(s->w->conf.disk, ss->slot, (struct cairn_at){ 0 });

    if (rc != 0)
        fail(s->w, rc, "a log cannot be begun anew");
    else if (!s->w->stopping)
        cairn_replica_on_wiped(&s->replica);
}

static void on_put(struct store_slot *ss, int rc)
{
    struct slot *s = slot_of_store(ss);

    if (!s->w->stopping)
        cairn_replica_on_put(&s->replica, rc);
}

/* Of a log that ends before what is sealed a start makes nothing. */
static void on_sealed(struct store_slot *ss)
{
    struct slot *s = slot_of_store(ss);
    int rc = cairn_slot_disk_restart(s->w->conf.disk, ss->slot, s->seal_at);

    if (rc != 0)
        fail(s->w, rc, "a log cannot be begun anew");
    else if (!s->w->stopping)
        cairn_replica_on_sealed(&s->replica);
}

static void on_page(struct store_slot *ss, int rc, const uint8_t *page, uint32_t len, bool last)
{
    struct slot *s = slot_of_store(ss);

    if (!s->w->stopping)
        cairn_replica_on_page(&s->replica, rc, page != NULL ? page : (const uint8_t *)"", len, last); /* an empty slot has none */
}

static void on_failed(void *arg, int rc, const char *text)
{
    fail(arg, rc, text);
}

/* ---- a start ---- */

static struct slot *slot_make(struct cluster_slots *w, uint32_t slot)
{
    uint32_t i = slot / w->conf.nworkers;
    struct slot *s;

    CAIRN_ASSERT(slot % w->conf.nworkers == w->conf.worker);
    if (slot >= w->conf.nslots)
        return NULL;
    if (i >= w->room) {
        uint32_t room = MAX(w->room, 64);
        struct slot **more;

        while (room <= i)
            room *= 2;
        more = realloc(w->all, room * sizeof(*more));
        if (more == NULL)
            return NULL;
        memset(more + w->room, 0, (room - w->room) * sizeof(*more));
        w->all = more;
        w->room = room;
    }
    if (w->all[i] != NULL)
        return w->all[i];
    s = calloc(1, sizeof(*s));
    if (s == NULL)
        return NULL;
    s->w = w;
    cairn_list_init(&s->unsynced);
    store_slot_init(&s->store, slot, 0);
    w->all[i] = s;
    return s;
}

static void on_found(void *arg, const struct store_found *f)
{
    struct cluster_slots *w = arg;
    struct slot *s = slot_make(w, f->slot);

    if (s == NULL) {
        fail(w, CAIRN_E_NOMEM, "no memory for the slots that are here");
        return;
    }
    s->partial = f->partial;
    s->base = f->at;
    if (f->partial || f->sessions == NULL)
        return;
    s->sessions_len = cairn_sessions_image_bytes(f->sessions, f->at.pos);
    s->sessions = malloc(s->sessions_len);
    if (s->sessions == NULL)
        fail(w, CAIRN_E_NOMEM, "no memory for the sessions of a slot");
    else
        cairn_sessions_image_put(f->sessions, f->at.pos, s->sessions, s->sessions_len);
}

/* What is applied has to lie within the log, or ahead of it (a flush came, and the log's end was lost). What is behind the log's
 * beginning was in memory only. */
static int match_log(struct cluster_slots *w, struct slot *s)
{
    uint32_t slot = s->store.slot;
    struct cairn_at base = cairn_slot_disk_base(w->conf.disk, slot), at = s->base;
    uint64_t end = cairn_slot_disk_end(w->conf.disk, slot);
    uint64_t epoch =
        at.pos <= base.pos || at.pos > end ? base.epoch : cairn_slot_disk_get(w->conf.disk, slot, at.pos)->at.epoch;

    if (!s->partial && at.pos > end)
        return cairn_slot_disk_restart(w->conf.disk, slot, at);
    if (!s->partial && at.pos >= base.pos && epoch == at.epoch)
        return 0;
    if (!s->partial && at.pos > 0)
        cairn_log_warn("slot %u: applied up to %" PRIu64 ".%" PRIu64 ", and the log has %" PRIu64 ".%" PRIu64
                       " to %" PRIu64 ": it needs a copy",
                       slot, at.epoch, at.pos, base.epoch, base.pos, end);
    s->partial = true;
    return end > 0 ? cairn_slot_disk_restart(w->conf.disk, slot, (struct cairn_at){ 0 }) : 0;
}

static int match_logs(struct cluster_slots *w)
{
    int rc = 0;

    for (uint32_t slot = w->conf.worker; rc == 0 && slot < w->conf.nslots; slot += w->conf.nworkers) {
        struct slot *s = find(w, slot);

        if (s == NULL && cairn_slot_disk_end(w->conf.disk, slot) == 0)
            continue;
        if (s == NULL)
            s = slot_make(w, slot);
        rc = s == NULL ? CAIRN_E_NOMEM : match_log(w, s);
    }
    return rc;
}

static void on_started(void *arg, int rc, const struct cairn_err *err)
{
    struct cluster_slots *w = arg;

    if (rc == 0)
        rc = match_logs(w);
    w->conf.ops->started(w->conf.arg, rc, err);
}

static const struct cluster_store_ops store_ops = {
    .entry = on_entry,
    .newest = on_newest,
    .applied = on_applied,
    .wiped = on_wiped,
    .put = on_put,
    .sealed = on_sealed,
    .page = on_page,
    .found = on_found,
    .started = on_started,
    .failed = on_failed,
};

static int sessions_of_none(struct slot *s)
{
    struct cairn_sessions none;

    cairn_sessions_init(&none);
    s->sessions_len = cairn_sessions_image_bytes(&none, s->base.pos);
    s->sessions = malloc(s->sessions_len);
    if (s->sessions == NULL)
        return CAIRN_E_NOMEM;
    cairn_sessions_image_put(&none, s->base.pos, s->sessions, s->sessions_len);
    return 0;
}

static int slot_begin(struct slot *s)
{
    struct cluster_slots *w = s->w;
    struct cairn_replica *r = &s->replica;
    uint64_t end = cairn_slot_disk_end(w->conf.disk, s->store.slot);
    int rc = 0;

    cairn_replica_init(r, &replica_ops, w->conf.times, &w->loop->env, &w->loop->machines, s->store.slot, w->self);
    s->begun = true;
    store_slot_init(&s->store, s->store.slot, s->partial ? 0 : s->base.pos);
    if (s->partial) {
        cairn_replica_restore_partial(r);
        return 0;
    }
    if (s->base.pos > 0 && s->sessions == NULL)
        rc = sessions_of_none(s);
    if (rc == 0 && s->base.pos > 0)
        rc = cairn_replica_restore(r, s->base, s->sessions, s->sessions_len);
    for (uint64_t pos = s->base.pos + 1; rc == 0 && pos <= end; pos++)
        rc = cairn_replica_restore_entry(r, cairn_slot_disk_get(w->conf.disk, s->store.slot, pos));
    free(s->sessions);
    s->sessions = NULL;
    return rc;
}

int cluster_slots_logs(struct cluster_slots *w, struct cairn_coord_log **logs, uint32_t *n)
{
    struct cairn_coord_log *all = malloc((w->room + 1) * sizeof(*all));

    if (all == NULL)
        return CAIRN_E_NOMEM;
    *n = 0;
    for (uint32_t i = 0; i < w->room; i++) {
        struct slot *s = w->all[i];
        uint64_t end = s != NULL ? cairn_slot_disk_end(w->conf.disk, s->store.slot) : 0;
        struct cairn_at base = s != NULL ? cairn_slot_disk_base(w->conf.disk, s->store.slot) : (struct cairn_at){ 0 };

        if (end == 0 || (s->begun ? s->replica.partial : s->partial))
            continue;
        all[*n] = (struct cairn_coord_log){ .slot = s->store.slot, .end = base };
        if (end > base.pos)
            all[*n].end = cairn_slot_disk_get(w->conf.disk, s->store.slot, end)->at;
        ++*n;
    }
    *logs = all;
    return 0;
}

/* ---- upkeep ---- */

static void timer_again(struct cluster_slots *w, struct cairn_timer *t, uint64_t in_ns)
{
    if (cairn_timer_start(&w->loop->env, t, cairn_env_now_ns(&w->loop->env) + in_ns) != 0)
        fail(w, CAIRN_E_NOMEM, "no timer for the upkeep of slots");
}

static void on_sync_timer(void *arg)
{
    struct cluster_slots *w = arg;

    timer_again(w, &w->sync_timer, w->conf.sync_interval_ns);
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
        fail(w, rc, "a log cannot be trimmed");
}

static void on_checkpoint(void *arg, int rc)
{
    struct cluster_slots *w = arg;

    w->checkpointing = false;
    if (rc != 0) {
        cairn_log_warn("a checkpoint of the slots has failed: %s", cairn_error_text(rc));
        return;
    }
    for (uint32_t i = 0; i < w->room && !w->stopping; i++) {
        if (w->all[i] != NULL)
            trim(w->all[i]);
    }
    cairn_slot_disk_tidy(w->conf.disk, w->conf.worker);
}

void cluster_slots_checkpoint(struct cluster_slots *w)
{
    bool wanted = false;

    if (w->checkpointing)
        return;
    for (uint32_t i = 0; i < w->room; i++) {
        struct slot *s = w->all[i];

        if (s == NULL || !s->begun || s->replica.partial)
            continue;
        s->applied = s->replica.applied;
        wanted |= s->applied > cairn_slot_disk_base(w->conf.disk, s->store.slot).pos;
    }
    if (!wanted)
        return;
    w->checkpointing = true;
    cluster_store_flush(w->store, on_checkpoint, w);
}

static void on_checkpoint_timer(void *arg)
{
    struct cluster_slots *w = arg;

    timer_again(w, &w->checkpoint_timer, w->conf.checkpoint_ns);
    cluster_slots_checkpoint(w);
}

static void on_clean_timer(void *arg)
{
    struct cluster_slots *w = arg;

    timer_again(w, &w->clean_timer, CLEAN_MS * CAIRN_NS_PER_MS);
    for (uint32_t i = 0; i < w->room; i++) {
        struct slot *s = w->all[i];

        if (s != NULL && s->begun && s->store.job == NULL && !s->store.in_batch)
            cairn_replica_clean(&s->replica);
    }
}

/* ---- life ---- */

int cluster_slots_register(struct cluster_slots *w, struct cairn_who self)
{
    int rc = 0;

    CAIRN_ASSERT(!w->registered);
    w->self = self;
    w->registered = true;
    for (uint32_t i = 0; rc == 0 && i < w->room; i++) {
        if (w->all[i] != NULL)
            rc = slot_begin(w->all[i]);
    }
    timer_again(w, &w->sync_timer, w->conf.sync_interval_ns);
    timer_again(w, &w->checkpoint_timer, w->conf.checkpoint_ns);
    timer_again(w, &w->clean_timer, CLEAN_MS * CAIRN_NS_PER_MS);
    return rc;
}

struct cluster_slots *cluster_slots_new(const struct cluster_slots_conf *conf)
{
    struct cluster_slots *w = calloc(1, sizeof(*w));
    struct cluster_store_conf sc = {
        .rpc = conf->rpc, .kv = conf->kv, .worker = conf->worker, .nworkers = conf->nworkers, .ops = &store_ops
    };

    if (w == NULL)
        return NULL;
    w->conf = *conf;
    w->loop = cairn_rpc_loop(conf->rpc);
    cairn_list_init(&w->unsynced);
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

void cluster_slots_stop(struct cluster_slots *w, void (*done)(void *arg), void *arg)
{
    for (uint32_t i = 0; i < w->room; i++) {
        struct slot *s = w->all[i];

        if (s == NULL || !s->begun)
            continue;
        atomic_store(&w->conf.words[s->store.slot], CLUSTER_WORD_MOVED);
        cairn_list_del(&s->unsynced);
        cairn_replica_fini(&s->replica);
        s->begun = false;
    }
    w->stopping = true;
    cairn_timer_stop(&w->loop->env, &w->sync_timer);
    cairn_timer_stop(&w->loop->env, &w->checkpoint_timer);
    cairn_timer_stop(&w->loop->env, &w->clean_timer);
    cluster_store_stop(w->store, done, arg);
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
    struct slot *s = find(w, slot);
    int rc;

    if (!w->registered || w->stopping)
        return CAIRN_E_STATE;
    if (s == NULL && !cairn_slot_places(rec, w->self.node) && !cairn_slot_names(rec, w->self.node))
        return 0;
    if (s == NULL)
        s = slot_make(w, slot);
    if (s == NULL)
        return CAIRN_E_NOMEM;
    rc = s->begun ? 0 : slot_begin(s);
    if (rc == 0)
        rc = cairn_replica_learn(&s->replica, rec);
    tell_state(s);
    return rc;
}

void cluster_slots_on_lease(struct cluster_slots *w)
{
    for (uint32_t i = 0; i < w->room && !w->stopping; i++) {
        if (w->all[i] == NULL || !w->all[i]->begun)
            continue;
        cairn_replica_on_lease(&w->all[i]->replica);
        tell_state(w->all[i]);
    }
}

void cluster_slots_receive(struct cluster_slots *w, const struct cairn_repl_msg *m)
{
    struct slot *s = find_live(w, m->slot);
    uint64_t bytes = ROOM_SPARE_BYTES;

    if (s == NULL)
        return;
    for (uint32_t i = 0; i < m->nentries; i++)
        bytes += m->entries[i].body_len;
    if (m->nentries > 0 && !cairn_slot_disk_has_room(w->conf.disk, w->conf.worker, bytes))
        return; /* it comes again */
    cairn_replica_receive(&s->replica, m);
    tell_state(s);
}

void cluster_slots_on_verdict(struct cluster_slots *w, const struct cairn_change *c, enum cairn_verdict verdict,
                              const struct cairn_slot_record *rec)
{
    struct slot *s = find_live(w, c->slot);

    if (s == NULL)
        return;
    cairn_replica_on_verdict(&s->replica, c, verdict, rec);
    tell_state(s);
}

int cluster_slots_write(struct cluster_slots *w, uint32_t slot, struct cairn_repl_write *rw)
{
    struct slot *s = find_live(w, slot);
    int rc;

    if (s == NULL)
        return CAIRN_E_MOVED;
    if (rw->rid.session.pos != 0 &&
        rw->rid.seq >= rw->floor + CAIRN_SESSION_WRITES_MAX) /* its row is that of another */
        return CAIRN_E_LIMIT;
    if (!cairn_slot_disk_has_room(w->conf.disk, w->conf.worker, ROOM_SPARE_BYTES + rw->body_len))
        return CAIRN_E_BUSY;
    rc = cairn_replica_write(&s->replica, rw);
    tell_state(s);
    return rc;
}

void cluster_slots_release(struct cluster_slots *w)
{
    for (uint32_t i = 0; i < w->room && !w->stopping; i++) {
        if (w->all[i] != NULL && w->all[i]->begun)
            cairn_replica_release(&w->all[i]->replica);
    }
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
    struct slot *s = find_live(w, slot);

    return s != NULL ? &s->replica : NULL;
}
