/* What replicas ask of their node, and what comes back: the log, other nodes, the store. See slots.h. */
#include "server/cluster/service/slots_internal.h"

/* ---- what can wait ---- */

/* Nobody waits for what a follower writes and applies, so it is done for all entries of some time at once: each time
 * costs hand-overs to two threads and back. What it says does not wait: it has the entry, in memory, which is what
 * `buffered` asks of it: the leader counts itself when its log is written, so what is answered outlives all processes.
 * And what is to be on disk is synced at once. Followers of a worker share the moments, which are those of its clock. */
enum { LATE_NS = 1000000 };

static void late_want(struct cluster_slots *w)
{
    struct cairn_env *env = &w->loop->env;

    if (cairn_timer_is_running(&w->late_timer) || w->stopping)
        return;
    if (cairn_timer_start(env, &w->late_timer, (cairn_loop_now(w->loop) / LATE_NS + 1) * LATE_NS) != 0)
        slots_on_late_timer(w);
}

static void late_apply(struct slot *s)
{
    cairn_list_del(&s->late);
    if (s->late_to > s->store.to)
        cluster_store_apply(s->w->store, &s->store, s->late_to);
}

void slots_on_late_timer(void *arg)
{
    struct cluster_slots *w = arg;

    while (!cairn_list_is_empty(&w->late))
        late_apply(CONTAINER_OF(w->late.next, struct slot, late));
    cairn_slot_disk_write(w->conf.disk, w->conf.worker);
}

/* ---- the log ---- */

static void op_log_append(struct cairn_replica *r, const struct cairn_log_entry *entries, uint32_t n)
{
    struct slot *s = slots_of(r);
    bool later = !cairn_replica_is_primary(r);

    for (uint32_t i = 0; i < n && !s->w->failed; i++) { /* behind an entry that is missing there is none */
        int rc = later ? cairn_slot_disk_append_later(s->w->conf.disk, r->slot, &entries[i])
                       : cairn_slot_disk_append(s->w->conf.disk, r->slot, &entries[i]);

        if (rc != 0) {
            slots_fail(s->w, rc, "an entry cannot be appended to the log");
            return;
        }
        s->w->unapplied += entries[i].body_len;
        slots_on_logged(s->w, sizeof(entries[i]) + entries[i].body_len);
    }
    if (later)
        late_want(s->w);
    if (cairn_list_is_empty(&s->unsynced))
        cairn_list_add_tail(&s->w->unsynced, &s->unsynced);
}

static bool op_log_has_room(struct cairn_replica *r)
{
    const struct cluster_slots *w = slots_of(r)->w;

    return cairn_slot_disk_take_room(w->conf.disk, w->conf.worker, 1, 0);
}

static void op_log_cut(struct cairn_replica *r, uint64_t pos)
{
    struct slot *s = slots_of(r);
    int rc = s->w->failed ? 0 : cairn_slot_disk_cut(s->w->conf.disk, r->slot, pos);

    if (rc != 0)
        slots_fail(s->w, rc, "the log cannot be cut");
}

static void op_log_sync(struct cairn_replica *r)
{
    cairn_slot_disk_sync(slots_of(r)->w->conf.disk, r->slot);
}

static void op_log_write(struct cairn_replica *r)
{
    cairn_slot_disk_tell_written(slots_of(r)->w->conf.disk, r->slot);
}

void cluster_slots_on_synced(struct cluster_slots *w, uint32_t slot, int rc)
{
    struct slot *s = slots_find_live(w, slot);

    if (rc != 0) {
        slots_fail(w, rc, "the log cannot be written");
        return;
    }
    if (s == NULL || !s->replica.syncing)
        return;
    cairn_replica_on_synced(&s->replica);
    slots_tell_state(s);
}

void cluster_slots_on_written(struct cluster_slots *w, uint32_t slot, struct cairn_at end, int rc)
{
    struct slot *s = slots_find_live(w, slot);

    if (rc != 0) {
        slots_fail(w, rc, "the log cannot be written");
        return;
    }
    if (s == NULL)
        return;
    cairn_replica_on_written(&s->replica, end);
    slots_tell_state(s);
}

static bool op_log_get(struct cairn_replica *r, uint64_t pos, struct cairn_log_entry *e)
{
    struct cluster_slots *w = slots_of(r)->w;

    if (!w->failed)
        *e = *cairn_slot_disk_get(w->conf.disk, r->slot, pos);
    return !w->failed;
}

/* ---- others ---- */

static void op_send(struct cairn_replica *r, const struct cairn_repl_msg *m)
{
    struct cluster_slots *w = slots_of(r)->w;

    if (!w->failed)
        w->conf.ops->send(w->conf.arg, m);
}

static void op_propose(struct cairn_replica *r, const struct cairn_change *c)
{
    struct slot *s = slots_of(r);

    slots_tell_state(s); /* RELEASED, or a JOIN: first nobody reads here, or not without a lease, then MAP is told */
    if (!s->w->failed)
        s->w->conf.ops->propose(s->w->conf.arg, c);
}

static bool op_lease_is_valid(struct cairn_replica *r)
{
    struct cluster_slots *w = slots_of(r)->w;

    return !w->failed && w->conf.ops->lease_is_valid(w->conf.arg);
}

static bool op_may_go_on(struct cairn_replica *r)
{
    struct cluster_slots *w = slots_of(r)->w;

    return !w->failed && w->conf.ops->may_go_on(w->conf.arg);
}

static void op_map_is_old(struct cairn_replica *r, uint64_t epoch)
{
    struct cluster_slots *w = slots_of(r)->w;

    (void)epoch;
    w->conf.ops->map_is_old(w->conf.arg);
}

/* ---- the store ---- */

static void op_apply(struct cairn_replica *r, const struct cairn_log_entry *e)
{
    struct slot *s = slots_of(r);

    s->late_to = e->at.pos;
    if (cairn_replica_is_primary(r)) {
        late_apply(s);
        return;
    }
    if (cairn_list_is_empty(&s->late))
        cairn_list_add_tail(&s->w->late, &s->late);
    late_want(s->w);
}

static bool op_copy_open(struct cairn_replica *r)
{
    return cluster_store_copy_open(slots_of(r)->w->store, &slots_of(r)->store);
}

static void op_copy_read(struct cairn_replica *r)
{
    cluster_store_copy_read(slots_of(r)->w->store, &slots_of(r)->store);
}

static void op_copy_close(struct cairn_replica *r)
{
    cluster_store_copy_close(slots_of(r)->w->store, &slots_of(r)->store);
}

static void op_wipe(struct cairn_replica *r)
{
    cluster_store_wipe(slots_of(r)->w->store, &slots_of(r)->store);
}

static void op_copy_put(struct cairn_replica *r, const uint8_t *page, uint32_t len)
{
    cluster_store_put(slots_of(r)->w->store, &slots_of(r)->store, page, len);
}

static void op_copy_seal(struct cairn_replica *r, struct cairn_at at, const uint8_t *sessions, size_t len)
{
    slots_of(r)->seal_at = at;
    cluster_store_seal(slots_of(r)->w->store, &slots_of(r)->store, at, sessions, len);
}

const struct cairn_replica_ops slots_replica_ops = {
    .log_append = op_log_append,
    .log_cut = op_log_cut,
    .log_sync = op_log_sync,
    .log_write = op_log_write,
    .log_get = op_log_get,
    .log_has_room = op_log_has_room,
    .send = op_send,
    .propose = op_propose,
    .apply = op_apply,
    .lease_is_valid = op_lease_is_valid,
    .may_go_on = op_may_go_on,
    .map_is_old = op_map_is_old,
    .copy_open = op_copy_open,
    .copy_read = op_copy_read,
    .copy_close = op_copy_close,
    .wipe = op_wipe,
    .copy_put = op_copy_put,
    .copy_seal = op_copy_seal,
};

static const struct cairn_log_entry *on_entry(struct store_slot *s, uint64_t pos)
{
    return cairn_slot_disk_get(slots_of_store(s)->w->conf.disk, s->slot, pos);
}

static uint64_t on_newest(struct store_slot *s, struct cairn_at session)
{
    struct cairn_sessions *t = &slots_of_store(s)->replica.sessions;

    for (uint32_t i = 0; i < t->n; i++) {
        if (cairn_at_is(t->all[i].id, session))
            return MAX(t->all[i].floor, t->all[i].nwrites > 0 ? t->all[i].writes[t->all[i].nwrites - 1].seq : 0);
    }
    return CAIRN_SESSION_WRITES_MAX;
}

static void on_applied(struct store_slot *ss, const struct cairn_log_entry *e, int32_t result)
{
    struct slot *s = slots_of_store(ss);
    struct cairn_log_entry copy = *e; /* the log may move while the replica goes on */

    if (s->w->stopping || s->w->failed)
        return;
    s->w->unapplied -= MIN(s->w->unapplied, copy.body_len);
    cairn_replica_on_applied(&s->replica, &copy, result);
    slots_tell_state(s);
}

/* The mark is on disk, or there was nothing that it would be for: whatever is left of the log is no use. */
static void on_wiped(struct store_slot *ss)
{
    struct slot *s = slots_of_store(ss);
    int rc = cairn_slot_disk_restart(s->w->conf.disk, ss->slot, (struct cairn_at){ 0 });

    if (rc != 0)
        slots_fail(s->w, rc, "a log cannot be begun anew");
    else if (!s->w->stopping)
        cairn_replica_on_wiped(&s->replica);
}

static void on_put(struct store_slot *ss, int rc)
{
    struct slot *s = slots_of_store(ss);

    if (!s->w->stopping)
        cairn_replica_on_put(&s->replica, rc);
}

/* Of a log that ends before what is sealed a start makes nothing. */
static void on_sealed(struct store_slot *ss)
{
    struct slot *s = slots_of_store(ss);
    int rc = cairn_slot_disk_restart(s->w->conf.disk, ss->slot, s->seal_at);

    if (rc != 0)
        slots_fail(s->w, rc, "a log cannot be begun anew");
    else if (!s->w->stopping)
        cairn_replica_on_sealed(&s->replica);
}

static void on_page(struct store_slot *ss, int rc, const uint8_t *page, uint32_t len, bool last)
{
    struct slot *s = slots_of_store(ss);

    if (!s->w->stopping)
        /* an empty slot has none */
        cairn_replica_on_page(&s->replica, rc, page != NULL ? page : (const uint8_t *)"", len, last);
}

static void on_may_open(struct store_slot *ss)
{
    struct slot *s = slots_of_store(ss);

    if (s->begun)
        cairn_replica_may_copy(&s->replica);
}

static enum cluster_ns_state on_ns_look(void *arg, uint32_t ns)
{
    struct cluster_slots *w = arg;

    return w->conf.ops->ns_look != NULL ? w->conf.ops->ns_look(w->conf.arg, ns) : CLUSTER_NS_THERE;
}

static void on_failed(void *arg, int rc, const char *text)
{
    slots_fail(arg, rc, text);
}

const struct cluster_store_ops slots_store_ops = {
    .entry = on_entry,
    .newest = on_newest,
    .applied = on_applied,
    .wiped = on_wiped,
    .put = on_put,
    .sealed = on_sealed,
    .page = on_page,
    .may_open = on_may_open,
    .found = slots_on_found,
    .started = slots_on_started,
    .ns_look = on_ns_look,
    .failed = on_failed,
};
