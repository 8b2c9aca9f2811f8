/* The messages of replicas: see repl_wire.h. What is checked here is what a message says by itself; whether it is
 * true, and fits the log of who gets it, is the replica's to judge. */
#include "server/cluster/repl/repl_wire_internal.h"

#include <inttypes.h>

Cairn__Wire__ReplWho *cairn_wire__who(struct cairn_who who, struct cairn_arena *a)
{
    Cairn__Wire__ReplWho *w = WIRE_NEW(a, ReplWho, repl_who);

    if (w != NULL) {
        w->node = who.node;
        w->inc = who.inc;
    }
    return w;
}

static Cairn__Wire__ReplAt *put_at(struct cairn_at at, struct cairn_arena *a)
{
    Cairn__Wire__ReplAt *w = WIRE_NEW(a, ReplAt, repl_at);

    if (w != NULL) {
        w->epoch = at.epoch;
        w->pos = at.pos;
    }
    return w;
}

static struct cairn_at get_at(const Cairn__Wire__ReplAt *w)
{
    return w == NULL ? (struct cairn_at){ 0 } : (struct cairn_at){ .epoch = w->epoch, .pos = w->pos };
}

/* ---- APPEND ---- */

static void put_entry(const struct cairn_log_entry *e, Cairn__Wire__EntryHead *w)
{
    w->epoch = e->at.epoch;
    w->kind = (Cairn__Wire__EntryKind)e->kind;
    w->sync = e->sync;
    w->session_epoch = e->rid.session.epoch;
    w->session_pos = e->rid.session.pos;
    w->seq = e->rid.seq;
    w->floor = e->floor;
    w->length = e->body_len;
}

static bool put_append(const struct cairn_repl_msg *m, Cairn__Wire__ReplMessage *w, struct cairn_arena *a,
                       struct iovec *payload, uint32_t *n)
{
    Cairn__Wire__ReplAppend *x = WIRE_NEW(a, ReplAppend, repl_append);

    w->append = x;
    if (x == NULL || (x->prev = put_at(m->prev, a)) == NULL ||
        (x->entries = wire_array(a, m->nentries, sizeof(*x->entries))) == NULL)
        return false;
    x->commit = m->commit;
    for (; x->n_entries < m->nentries; x->n_entries++) {
        const struct cairn_log_entry *e = &m->entries[x->n_entries];
        Cairn__Wire__EntryHead *head = WIRE_NEW(a, EntryHead, entry_head);

        if (head == NULL)
            return false;
        put_entry(e, head);
        x->entries[x->n_entries] = head;
        if (e->body_len > 0)
            payload[(*n)++] = (struct iovec){ (void *)(uintptr_t)e->body, e->body_len };
    }
    return true;
}

static int get_entry(const Cairn__Wire__EntryHead *w, const struct cairn_repl_msg *m, struct cairn_at before,
                     struct cairn_log_entry *e, struct cairn_err *err)
{
    *e = (struct cairn_log_entry){ .at = { .epoch = w->epoch, .pos = before.pos + 1 },
                                   .kind = (enum cairn_entry_kind)w->kind,
                                   .sync = w->sync,
                                   .rid = { .session = { .epoch = w->session_epoch, .pos = w->session_pos },
                                            .seq = w->seq },
                                   .floor = w->floor,
                                   .body_len = w->length };
    if (w->kind < CAIRN__WIRE__ENTRY_KIND__ENTRY_START || w->kind > CAIRN__WIRE__ENTRY_KIND__ENTRY_WRITE)
        return cairn_err_set(err, CAIRN_E_INVAL, "entry %" PRIu64 " is of an unknown kind, %d", e->at.pos,
                             (int)w->kind);
    if (w->epoch == 0 || w->epoch < before.epoch || w->epoch > m->epoch)
        return cairn_err_set(err, CAIRN_E_INVAL,
                             "entry %" PRIu64 " of epoch %" PRIu64 " behind one of %" PRIu64 ", in epoch %" PRIu64,
                             e->at.pos, w->epoch, before.epoch, m->epoch);
    if (!wire_is_at(e->rid.session))
        return cairn_err_set(err, CAIRN_E_INVAL, "entry %" PRIu64 " has no such session", e->at.pos);
    if (w->length > CAIRN_ENTRY_BODY_BYTES_MAX)
        return cairn_err_set(err, CAIRN_E_LIMIT, "entry %" PRIu64 " has %u bytes", e->at.pos, w->length);
    return 0;
}

static int get_append(const Cairn__Wire__ReplAppend *w, const uint8_t *payload, size_t len, struct cairn_arena *a,
                      struct cairn_repl_msg *m, struct cairn_err *err)
{
    struct cairn_log_entry *entries;
    struct cairn_at before;
    size_t used = 0;

    m->prev = before = get_at(w->prev);
    m->commit = w->commit;
    m->nentries = (uint32_t)w->n_entries;
    if (!wire_is_at(m->prev) || m->prev.epoch > m->epoch)
        return cairn_err_set(err, CAIRN_E_INVAL, "no entry stands before it: epoch %" PRIu64 ", position %" PRIu64,
                             m->prev.epoch, m->prev.pos);
    if (w->n_entries > CAIRN_APPEND_ENTRIES_MAX)
        return cairn_err_set(err, CAIRN_E_LIMIT, "%zu entries", w->n_entries);
    m->entries = entries = wire_array(a, m->nentries, sizeof(*entries));
    if (entries == NULL)
        return cairn_err_set(err, CAIRN_E_NOMEM, "%u entries", m->nentries);
    for (uint32_t i = 0; i < m->nentries; i++) {
        int rc = get_entry(w->entries[i], m, before, &entries[i], err);

        if (rc != 0)
            return rc;
        if (entries[i].body_len > len - used)
            return cairn_err_set(err, CAIRN_E_INVAL, "entry %" PRIu64 " of %u bytes ends behind the payload",
                                 entries[i].at.pos, entries[i].body_len);
        entries[i].body = payload + used;
        used += entries[i].body_len;
        before = entries[i].at;
    }
    if (used != len)
        return cairn_err_set(err, CAIRN_E_INVAL, "%zu bytes of the payload are no entry's", len - used);
    return 0;
}

/* ---- MATCH ---- */

static bool put_match(const struct cairn_repl_msg *m, Cairn__Wire__ReplMessage *w, struct cairn_arena *a)
{
    Cairn__Wire__ReplMatch *x = WIRE_NEW(a, ReplMatch, repl_match);

    w->match = x;
    if (x == NULL || (x->end = put_at(m->end, a)) == NULL || (x->applied = put_at(m->applied, a)) == NULL ||
        (x->runs = wire_array(a, m->nruns, sizeof(*x->runs))) == NULL)
        return false;
    x->partial = m->partial;
    for (; x->n_runs < m->nruns; x->n_runs++) {
        Cairn__Wire__ReplRun *run = WIRE_NEW(a, ReplRun, repl_run);

        if (run == NULL)
            return false;
        run->epoch = m->runs[x->n_runs].epoch;
        run->first = m->runs[x->n_runs].first;
        x->runs[x->n_runs] = run;
    }
    return true;
}

static int get_match(const Cairn__Wire__ReplMatch *w, struct cairn_arena *a, struct cairn_repl_msg *m,
                     struct cairn_err *err)
{
    struct cairn_run *runs;

    m->end = get_at(w->end);
    m->applied = get_at(w->applied);
    m->partial = w->partial;
    m->nruns = (uint32_t)w->n_runs;
    if (!wire_is_at(m->end) || !wire_is_at(m->applied) || m->applied.pos > m->end.pos ||
        m->applied.epoch > m->end.epoch) /* which may be above m->epoch, of who has restarted and heard an old record */
        return cairn_err_set(err, CAIRN_E_INVAL, "no log ends at epoch %" PRIu64 ", position %" PRIu64, m->end.epoch,
                             m->end.pos);
    if (w->n_runs > CAIRN_LOG_RUNS_MAX)
        return cairn_err_set(err, CAIRN_E_LIMIT, "a log of %zu epochs", w->n_runs);
    m->runs = runs = wire_array(a, m->nruns, sizeof(*runs));
    if (runs == NULL)
        return cairn_err_set(err, CAIRN_E_NOMEM, "%u epochs", m->nruns);
    for (uint32_t i = 0; i < m->nruns; i++) {
        struct cairn_run before = i > 0 ? runs[i - 1] : (struct cairn_run){ 0 };

        runs[i] = (struct cairn_run){ .epoch = w->runs[i]->epoch, .first = w->runs[i]->first };
        if (runs[i].epoch <= before.epoch || runs[i].first <= before.first || runs[i].first > m->end.pos ||
            runs[i].epoch > m->end.epoch)
            return cairn_err_set(err, CAIRN_E_INVAL,
                                 "epoch %" PRIu64 " begins at %" PRIu64 ", behind %" PRIu64 " at %" PRIu64,
                                 runs[i].epoch, runs[i].first, before.epoch, before.first);
    }
    return 0;
}

/* ---- COPY ---- */

static bool put_copy(const struct cairn_repl_msg *m, Cairn__Wire__ReplMessage *w, struct cairn_arena *a,
                     struct iovec *payload, uint32_t *n)
{
    Cairn__Wire__ReplCopy *x = WIRE_NEW(a, ReplCopy, repl_copy);

    w->copy = x;
    if (x == NULL || (x->at = put_at(m->prev, a)) == NULL)
        return false;
    x->job = m->job;
    x->number = m->number;
    x->part = (Cairn__Wire__CopyPart)m->part;
    if (m->len > 0)
        payload[(*n)++] = (struct iovec){ (void *)(uintptr_t)m->bytes, m->len };
    return true;
}

static int get_copy(const Cairn__Wire__ReplCopy *w, const uint8_t *payload, size_t len, struct cairn_repl_msg *m,
                    struct cairn_err *err)
{
    bool has_bytes =
        w->part == CAIRN__WIRE__COPY_PART__COPY_RECORDS || w->part == CAIRN__WIRE__COPY_PART__COPY_SESSIONS;

    m->prev = get_at(w->at);
    m->job = w->job;
    m->number = w->number;
    m->part = (enum cairn_copy_part)w->part;
    m->bytes = payload;
    m->len = (uint32_t)len;
    if (w->part < CAIRN__WIRE__COPY_PART__COPY_BEGIN || w->part > CAIRN__WIRE__COPY_PART__COPY_END)
        return cairn_err_set(err, CAIRN_E_INVAL, "an unknown part of a copy, %d", (int)w->part);
    if (!wire_is_at(m->prev) || m->prev.pos == 0 || m->prev.epoch > m->epoch)
        return cairn_err_set(err, CAIRN_E_INVAL, "a copy of epoch %" PRIu64 ", position %" PRIu64, m->prev.epoch,
                             m->prev.pos);
    if ((m->number == 0) != (m->part == CAIRN_COPY_BEGIN) || m->number > INT64_MAX)
        return cairn_err_set(err, CAIRN_E_INVAL, "part %" PRIu64 " of a copy is none of kind %d", m->number,
                             (int)w->part);
    if (!has_bytes && len > 0)
        return cairn_err_set(err, CAIRN_E_INVAL, "part %" PRIu64 " of a copy has no bytes, and %zu came", m->number,
                             len);
    return 0;
}

/* ---- all of them ---- */

static bool put_kind(const struct cairn_repl_msg *m, Cairn__Wire__ReplMessage *w, struct cairn_arena *a,
                     struct iovec *payload, uint32_t *n)
{
    switch (m->kind) {
    case CAIRN_REPL_APPEND:
        w->kind_case = CAIRN__WIRE__REPL_MESSAGE__KIND_APPEND;
        return put_append(m, w, a, payload, n);
    case CAIRN_REPL_ACK:
        w->kind_case = CAIRN__WIRE__REPL_MESSAGE__KIND_ACK;
        w->ack = WIRE_NEW(a, ReplAck, repl_ack);
        if (w->ack == NULL)
            return false;
        w->ack->matched = m->matched;
        w->ack->synced = m->synced;
        w->ack->leaves = m->leaves;
        w->ack->log_base = m->base;
        return true;
    case CAIRN_REPL_NACK:
        w->kind_case = CAIRN__WIRE__REPL_MESSAGE__KIND_NACK;
        w->nack = WIRE_NEW(a, ReplNack, repl_nack);
        return w->nack != NULL;
    case CAIRN_REPL_MATCH:
        w->kind_case = CAIRN__WIRE__REPL_MESSAGE__KIND_MATCH;
        return put_match(m, w, a);
    case CAIRN_REPL_COPY:
        w->kind_case = CAIRN__WIRE__REPL_MESSAGE__KIND_COPY;
        return put_copy(m, w, a, payload, n);
    case CAIRN_REPL_COPIED:
        w->kind_case = CAIRN__WIRE__REPL_MESSAGE__KIND_COPIED;
        w->copied = WIRE_NEW(a, ReplCopied, repl_copied);
        if (w->copied == NULL)
            return false;
        w->copied->job = m->job;
        w->copied->number = m->number;
        return true;
    }
    return false;
}

Cairn__Wire__ReplMessage *cairn_wire_repl_put(const struct cairn_repl_msg *m, struct cairn_arena *a,
                                              struct iovec *payload, uint32_t *n)
{
    Cairn__Wire__ReplMessage *w = WIRE_NEW(a, ReplMessage, repl_message);

    *n = 0;
    if (w == NULL || (w->from = cairn_wire__who(m->from, a)) == NULL || (w->to = cairn_wire__who(m->to, a)) == NULL ||
        !put_kind(m, w, a, payload, n))
        return NULL;
    w->slot = m->slot;
    w->epoch = m->epoch;
    return w;
}

static int get_kind(const Cairn__Wire__ReplMessage *w, const uint8_t *payload, size_t len, struct cairn_arena *a,
                    struct cairn_repl_msg *m, struct cairn_err *err)
{
    switch (w->kind_case) {
    case CAIRN__WIRE__REPL_MESSAGE__KIND_APPEND:
        m->kind = CAIRN_REPL_APPEND;
        return get_append(w->append, payload, len, a, m, err);
    case CAIRN__WIRE__REPL_MESSAGE__KIND_ACK:
        m->kind = CAIRN_REPL_ACK;
        m->matched = w->ack->matched;
        m->synced = w->ack->synced;
        m->leaves = w->ack->leaves;
        m->base = w->ack->log_base;
        return 0;
    case CAIRN__WIRE__REPL_MESSAGE__KIND_NACK:
        m->kind = CAIRN_REPL_NACK;
        return 0;
    case CAIRN__WIRE__REPL_MESSAGE__KIND_MATCH:
        m->kind = CAIRN_REPL_MATCH;
        return get_match(w->match, a, m, err);
    case CAIRN__WIRE__REPL_MESSAGE__KIND_COPY:
        m->kind = CAIRN_REPL_COPY;
        return get_copy(w->copy, payload, len, m, err);
    case CAIRN__WIRE__REPL_MESSAGE__KIND_COPIED:
        m->kind = CAIRN_REPL_COPIED;
        m->job = w->copied->job;
        m->number = w->copied->number;
        return 0;
    default:
        return cairn_err_set(err, CAIRN_E_INVAL, "a message of no known kind");
    }
}

int cairn_wire_repl_get(const Cairn__Wire__ReplMessage *w, const uint8_t *payload, size_t len, struct cairn_arena *a,
                        struct cairn_repl_msg *m, struct cairn_err *err)
{
    int rc;

    *m =
        (struct cairn_repl_msg){ .slot = w->slot, .epoch = w->epoch, .from = wire_who(w->from), .to = wire_who(w->to) };
    if (!wire_is_slot(m->slot))
        return cairn_err_set(err, CAIRN_E_INVAL, "there is no slot %u", m->slot);
    if (cairn_who_is_nobody(m->from) || m->from.inc == 0 || cairn_who_is_nobody(m->to) || m->epoch == 0)
        return cairn_err_set(err, CAIRN_E_INVAL, "slot %u: from, to or epoch is missing", m->slot);
    rc = get_kind(w, payload, len, a, m, err);
    if (rc == 0 && len > 0 && m->kind != CAIRN_REPL_APPEND && m->kind != CAIRN_REPL_COPY)
        rc = cairn_err_set(err, CAIRN_E_INVAL, "a payload of %zu bytes, and nothing that has one", len);
    return cairn_err_wrap(err, rc, "slot %u, node %" PRIu64, m->slot, m->from.node);
}
