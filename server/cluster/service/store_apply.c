/* Entries that are to be applied, of all slots of the worker: one batch at a time.
 *
 *  IDLE ---> WRITE ---> CHECK ---> IDLE        IDLE ---> OPEN ---> IDLE        IDLE ---> LOOK ---> IDLE
 *
 *  IDLE, OPEN, LOOK, WRITE and CHECK may also go to PAUSE; WRITE to IDLE; PAUSE to IDLE, WRITE and CHECK. all may
 *  also go to
 *  ENDED.
 *
 *  IDLE   nothing is to be applied, or the next turn gathers it.
 *  OPEN   the database of a namespace is being opened.
 *  LOOK   whether a key is there is being asked: of a conditional PUT of a session, whose result goes into the batch
 *         (store_look.c). (Of one without a session the batch itself has the condition.)
 *  WRITE  the batch is under way.
 *  CHECK  PUTs have met a record, and who put it is being asked: whoever repeats his own has done it.
 *  PAUSE  what was asked for has failed, and is asked for again: the same batch, for it may have been carried out.
 *  ENDED  the store ends.
 *
 * A record that cannot be read stops a batch that has to know of it: nothing of it was written. Then its conditional
 * PUTs are looked up one by one, as those of sessions are, and nothing is read when they are written. */
#include "server/cluster/service/store_internal.h"

#define TO CAIRN_SM_TO
#define ON (TO(APPLY_IDLE) | TO(APPLY_PAUSE) | TO(APPLY_ENDED))
static const struct cairn_sm_state apply_states[APPLY_NR] = {
    [APPLY_IDLE] = { "IDLE", CAIRN_SM_INITIAL,
                     TO(APPLY_OPEN) | TO(APPLY_LOOK) | TO(APPLY_WRITE) | TO(APPLY_PAUSE) | TO(APPLY_ENDED) },
    [APPLY_OPEN] = { "OPEN", 0, ON },
    [APPLY_LOOK] = { "LOOK", 0, ON },
    [APPLY_WRITE] = { "WRITE", 0, ON | TO(APPLY_CHECK) },
    [APPLY_CHECK] = { "CHECK", 0, ON },
    [APPLY_PAUSE] = { "PAUSE", 0, TO(APPLY_IDLE) | TO(APPLY_WRITE) | TO(APPLY_CHECK) | TO(APPLY_ENDED) },
    [APPLY_ENDED] = { "ENDED", CAIRN_SM_FINAL, 0 },
};

static bool apply_invariant(const struct cairn_sm *sm)
{
    const struct store_apply *a = CONTAINER_OF(sm, const struct store_apply, sm);

    return CAIRN_HOLDS(sm->state != APPLY_WRITE || (a->built && a->batch.n > 0 && a->nresults > 0)) &&
           CAIRN_HOLDS(sm->state != APPLY_CHECK || a->checked < a->nchecks) &&
           CAIRN_HOLDS((sm->state != APPLY_IDLE && sm->state != APPLY_OPEN && sm->state != APPLY_LOOK) || !a->built);
}

const struct cairn_sm_kind store_apply_kind = { "store-apply", apply_states, APPLY_NR, apply_invariant, 0 };

static void gather(void *arg);
static void write_start(struct store_apply *a);
static void check_start(struct store_apply *a);

void store_apply_later(struct store_apply *a)
{
    if (a->sm.state == APPLY_IDLE && !cairn_list_is_empty(&a->slots) && !store_apply_store(a)->stopping)
        cairn_env_defer(&store_apply_store(a)->loop->env, &a->task);
}

/* ---- after a failure ---- */

/* A pause is over, or slots that were held are looked at again: while others' entries are under way that has time
 * until then. */
static void on_pause_over(void *arg)
{
    struct store_apply *a = arg;

    if (a->sm.state != APPLY_PAUSE) {
        store_apply_later(a);
    } else if (a->built && a->checked < a->nchecks) {
        cairn_sm_move(&a->sm, APPLY_CHECK);
        check_start(a);
    } else if (a->built) {
        cairn_sm_move(&a->sm, APPLY_WRITE);
        write_start(a);
    } else {
        cairn_sm_move(&a->sm, APPLY_IDLE);
        store_apply_later(a);
    }
}

void store_apply_pause(struct store_apply *a, int rc)
{
    struct cluster_store *st = store_apply_store(a);
    struct cairn_env *env = &st->loop->env;

    cairn_sm_move(&a->sm, APPLY_PAUSE);
    if (rc == CAIRN_E_NOSPACE) {
        st->room.refused = true;
        atomic_store(&st->troubles.stuck, true);
    }
    if (!store_may_retry(rc)) {
        store_die(st, rc, a->err.text);
        return;
    }
    if (cairn_timer_start(env, &a->timer, cairn_env_now_ns(env) + STORE_RETRY_MS * CAIRN_NS_PER_MS) != 0)
        store_die(st, CAIRN_E_NOMEM, "no timer");
}

/* ---- namespaces that are met for the first time ---- */

static void on_opened(struct store_open *o, int rc)
{
    struct store_apply *a = o->arg;

    a->err = o->err;
    if (rc != 0) {
        store_apply_pause(a, rc);
        return;
    }
    cairn_sm_move(&a->sm, APPLY_IDLE);
    store_apply_later(a);
}

static void open_start(struct store_apply *a, const struct store_body *b)
{
    cairn_sm_move(&a->sm, APPLY_OPEN);
    store_open_start(&a->open, store_apply_store(a), b->ns, STORE_MAKE_DECIDED,
                     (b->flags & STORE_BODY_WRITE_ONCE) != 0, on_opened, a);
}

/* ---- the batch ---- */

static bool batch_is_full(const struct store_apply *a)
{
    return a->batch.n >= STORE_BATCH_OPS || a->batch.values_n >= STORE_BATCH_BYTES || a->nresults == STORE_BATCH_OPS ||
           a->batch.key_bytes_n >= STORE_BATCH_BYTES;
}

/* Entries of one slot, and where it stands then: by a row in slots/at, unless all of them are writes of sessions. */
static enum store_added add_slot(struct cluster_store *st, struct store_slot *s, struct store_body *b, uint32_t *db,
                                 uint64_t *pos)
{
    struct store_apply *a = &st->apply;
    struct store_batch_mark mark = store_batch_mark(&a->batch);
    uint32_t before = a->nresults;
    enum store_added how = STORE_ADDED;
    struct cairn_at at = { 0 };
    bool says = s->next > 1; /* a start looks for slots in slots/at */

    for (*pos = s->next; *pos <= s->to && how == STORE_ADDED; ++*pos) {
        const struct cairn_log_entry *e = st->conf.ops->entry(s, *pos);

        how = batch_is_full(a) ? STORE_NO_ROOM : store_entry_add(st, s, e, b, db);
        if (how != STORE_ADDED)
            break;
        at = e->at;
        says &= store_entry_has_position(e);
    }
    if (a->nresults == before || says)
        return how;
    if (store_batch_at(&a->batch, st->at_db, s->slot, at, false) != 0) {
        store_batch_undo(&a->batch, mark);
        store_known_forget(st->known);
        a->nresults = before;
        return STORE_NO_ROOM;
    }
    return how;
}

/* A copy is to begin: what is applied must not move on. */
static bool is_held(const struct store_slot *s, uint64_t now)
{
    return s->hold_until_ns > now;
}

static enum store_added gather_slots(struct store_apply *a, struct store_slot **s, struct store_body *b, uint32_t *db,
                                     uint64_t *pos)
{
    struct cluster_store *st = store_apply_store(a);
    uint64_t now = cairn_env_now_ns(&st->loop->env);

    CAIRN_LIST_FOREACH_SAFE (l, &a->slots) {
        enum store_added how;

        *s = CONTAINER_OF(l, struct store_slot, link);
        if (is_held(*s, now))
            continue;
        how = add_slot(st, *s, b, db, pos);
        if (how != STORE_ADDED)
            return how;
        cairn_list_del(&(*s)->link);
    }
    return STORE_ADDED;
}

static void gather(void *arg)
{
    struct store_apply *a = arg;
    struct cluster_store *st = store_apply_store(a);
    struct store_slot *s = NULL;
    struct store_body b = { 0 };
    uint64_t pos = 0;
    uint32_t db = 0;
    enum store_added how;

    if (a->sm.state != APPLY_IDLE || st->dead)
        return;
    store_batch_reset(&a->batch);
    a->nresults = a->nchecks = a->checked = 0;
    a->reads = false;
    how = gather_slots(a, &s, &b, &db, &pos);
    a->looked.known = false;
    if (a->nresults > 0) {
        store_batch_end(&a->batch, CAIRN__WIRE__DURABILITY__DURABILITY_MEMORY);
        for (uint32_t i = 0; i < a->nresults; i++)
            a->results[i].s->in_batch = true;
        a->built = true;
        cairn_sm_move(&a->sm, APPLY_WRITE);
        write_start(a);
    } else if (how == STORE_TO_OPEN) {
        open_start(a, &b);
    } else if (how == STORE_TO_LOOK) {
        store_look_start(a, s, pos, &b, db);
    } else if (how == STORE_NO_ROOM) {
        store_apply_pause(a, CAIRN_E_NOMEM);
    } else if (!cairn_list_is_empty(&a->slots)) { /* all that are left are held */
        cairn_timer_start(&st->loop->env, &a->timer,
                          cairn_env_now_ns(&st->loop->env) + STORE_RETRY_MS * CAIRN_NS_PER_MS);
    }
}

/* ---- its end ---- */

static void deliver(struct store_apply *a)
{
    struct cluster_store *st = store_apply_store(a);

    a->built = false;
    cairn_sm_move(&a->sm, APPLY_IDLE);
    for (uint32_t i = 0; i < a->nresults; i++) {
        a->results[i].s->in_batch = false;
        a->results[i].s->next = a->results[i].pos + 1;
    }
    for (uint32_t i = 0; i < a->nresults; i++) {
        struct store_result *r = &a->results[i];

        st->conf.ops->applied(r->s, st->conf.ops->entry(r->s, r->pos), r->result);
    }
    store_apply_later(a);
}

/* The index has the number of who put what a PUT has met. */
static void on_checked(struct cairn_rpc_call *call)
{
    struct store_apply *a = call->arg;
    struct cluster_store *st = store_apply_store(a);
    const Cairn__Wire__KvMgetReply *m = (const Cairn__Wire__KvMgetReply *)call->reply;
    uint32_t at = 0;

    if (!store_call_over(st))
        return;
    if (store_is_unreadable(call->rc) && a->nchecks - a->checked == 1) { /* of several the others are told */
        a->results[a->checks[a->checked++]].result = CAIRN_E_CORRUPT;
        deliver(a);
        return;
    }
    if (call->rc != 0) {
        store_apply_pause(a, call->rc);
        return;
    }
    for (size_t i = 0; i < m->n_lengths; i++) {
        struct store_result *r = &a->results[a->checks[a->checked++]];
        const struct cairn_log_entry *e = st->conf.ops->entry(r->s, r->pos);

        if (m->lengths[i] == STORE_INDEX_VALUE_BYTES && at + STORE_INDEX_VALUE_BYTES <= call->reply_payload_len &&
            e->rid.seq != 0 && cairn_le_load64(call->reply_payload + at + 1) == e->rid.seq)
            r->result = 0;
        else if (m->lengths[i] < -1)
            r->result = CAIRN_E_CORRUPT;
        at += m->lengths[i] > 0 ? (uint32_t)m->lengths[i] : 0;
    }
    if (a->checked < a->nchecks)
        check_start(a);
    else
        deliver(a);
}

static void check_start(struct store_apply *a)
{
    struct cluster_store *st = store_apply_store(a);

    for (uint32_t i = a->checked; i < a->nchecks; i++)
        a->check_keys[i] = a->batch.keys[a->results[a->checks[i]].op + 1]; /* the index follows the record */
    cairn__wire__kv_mget__init(&a->msg.mget);
    a->msg.mget.db = st->index_db;
    a->msg.mget.keys = a->check_keys + a->checked;
    a->msg.mget.n_keys = a->nchecks - a->checked;
    store_call(st, &a->call, CAIRN__WIRE__KV_METHOD__KV_MGET, &a->msg.mget.base, on_checked, a, &a->err);
}

/* Nothing of the batch was done, and it is made anew. */
static void undo(struct store_apply *a)
{
    store_known_forget(store_apply_store(a)->known);
    a->built = false;
    for (uint32_t i = 0; i < a->nresults; i++) {
        struct store_slot *s = a->results[i].s;

        s->in_batch = false;
        if (cairn_list_is_empty(&s->link))
            cairn_list_add_tail(&a->slots, &s->link);
    }
}

/* A record that some entry of the batch has met cannot be read; which one is not said. */
static void look_at_each(struct store_apply *a)
{
    for (uint32_t i = 0; i < a->nresults; i++) {
        struct store_slot *s = a->results[i].s;

        s->looks_to = MAX(s->looks_to, a->results[i].pos);
    }
}

static void on_written(struct cairn_rpc_call *call)
{
    struct store_apply *a = call->arg;
    struct cluster_store *st = store_apply_store(a);
    const Cairn__Wire__KvStatuses *m = (const Cairn__Wire__KvStatuses *)call->reply;

    if (!store_call_over(st))
        return;
    if (call->rc == CAIRN_E_NOTFOUND) { /* a namespace was removed; nothing was done */
        store_ns_forget(st);
        undo(a);
        store_apply_pause(a, CAIRN_E_BUSY);
        return;
    }
    if (store_is_unreadable(call->rc) && a->reads) {
        look_at_each(a);
        undo(a);
        cairn_sm_move(&a->sm, APPLY_IDLE);
        store_apply_later(a);
        return;
    }
    if (call->rc != 0) {
        store_apply_pause(a, call->rc);
        return;
    }
    atomic_store(&st->troubles.stuck, false);
    for (uint32_t i = 0; i < a->nresults; i++) {
        struct store_result *r = &a->results[i];

        if (r->op >= 0 && (size_t)r->op < m->n_status && m->status[r->op] == CAIRN_E_EXISTS) {
            r->result = CAIRN_E_EXISTS;
            a->checks[a->nchecks++] = i;
        }
    }
    if (a->nchecks > 0) {
        cairn_sm_move(&a->sm, APPLY_CHECK);
        check_start(a);
    } else {
        deliver(a);
    }
}

static void write_start(struct store_apply *a)
{
    store_call_batch(store_apply_store(a), &a->call, &a->batch, true, on_written, a, &a->err);
}

void store_apply_wake(struct cluster_store *st)
{
    store_apply_later(&st->apply);
}

void cluster_store_apply(struct cluster_store *st, struct store_slot *s, uint64_t pos)
{
    CAIRN_ASSERT(pos > s->to);
    s->to = pos;
    if (cairn_list_is_empty(&s->link))
        cairn_list_add_tail(&st->apply.slots, &s->link);
    store_apply_later(&st->apply);
}

/* ---- life ---- */

void store_apply_init(struct cluster_store *st)
{
    struct store_apply *a = &st->apply;

    cairn_list_init(&a->slots);
    cairn_task_init(&a->task, gather, a);
    cairn_timer_init(&a->timer, on_pause_over, a);
    cairn_sm_init(&a->sm, &store_apply_kind, &st->loop->machines);
}

void store_apply_fini(struct cluster_store *st)
{
    struct store_apply *a = &st->apply;

    cairn_task_cancel(&a->task);
    cairn_timer_stop(&st->loop->env, &a->timer);
    cairn_sm_move(&a->sm, APPLY_ENDED);
    cairn_sm_fini(&a->sm);
    store_batch_fini(&a->batch);
}
