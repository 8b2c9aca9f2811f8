/* The messages of replicas: see repl_wire.h. Two go to and fro for each write, so their form is fixed: what all of them
 * have, what the kind has, and then its bytes, which end where the message ends.
 *
 * What is checked here is what a message says by itself; whether it is true, and fits the log of who gets it, is the
 * replica's to judge. */
#include "server/cluster/repl/repl_wire_internal.h"

#include <inttypes.h>

enum {
    HEAD_BYTES = 2 + 5 * 8,      /* kind, flag, from, to, epoch */
    APPEND_BYTES = 3 * 8 + 4,    /* prev, commit, entries */
    ENTRY_BYTES = 2 + 5 * 8 + 4, /* kind, sync, epoch, session, seq, floor, length; where it stands says its position */
    ACK_BYTES = 3 * 8,           /* matched, synced, base; flag: leaves */
    MATCH_BYTES = 4 * 8 + 4,     /* end, applied, runs; flag: partial */
    RUN_BYTES = 2 * 8,
    COPY_BYTES = 4 * 8 + 1, /* at, job, number, part */
    COPIED_BYTES = 2 * 8,   /* job, number */
};

static void put_who(struct cairn_le_writer *w, struct cairn_who who)
{
    cairn_le_put64(w, who.node);
    cairn_le_put64(w, who.inc);
}

static struct cairn_who get_who(struct cairn_le_reader *r)
{
    uint64_t node = cairn_le_get64(r);

    return (struct cairn_who){ .node = node, .inc = cairn_le_get64(r) };
}

static void put_at(struct cairn_le_writer *w, struct cairn_at at)
{
    cairn_le_put64(w, at.epoch);
    cairn_le_put64(w, at.pos);
}

static struct cairn_at get_at(struct cairn_le_reader *r)
{
    uint64_t epoch = cairn_le_get64(r);

    return (struct cairn_at){ .epoch = epoch, .pos = cairn_le_get64(r) };
}

/* Of yes and no. */
static bool get_flag(struct cairn_le_reader *r)
{
    uint8_t v = cairn_le_get8(r);

    r->failed |= v > 1;
    return v == 1;
}

/* ---- APPEND ---- */

static void put_append(const struct cairn_repl_msg *m, struct cairn_le_writer *w)
{
    put_at(w, m->prev);
    cairn_le_put64(w, m->commit);
    cairn_le_put32(w, m->nentries);
    for (uint32_t i = 0; i < m->nentries; i++) {
        const struct cairn_log_entry *e = &m->entries[i];

        cairn_le_put8(w, (uint8_t)e->kind);
        cairn_le_put8(w, e->sync);
        cairn_le_put64(w, e->at.epoch);
        put_at(w, e->rid.session);
        cairn_le_put64(w, e->rid.seq);
        cairn_le_put64(w, e->floor);
        cairn_le_put32(w, e->body_len);
    }
    for (uint32_t i = 0; i < m->nentries; i++)
        cairn_le_put(w, m->entries[i].body, m->entries[i].body_len);
}

static size_t append_bytes(const struct cairn_repl_msg *m)
{
    size_t n = APPEND_BYTES + (size_t)m->nentries * ENTRY_BYTES;

    for (uint32_t i = 0; i < m->nentries; i++)
        n += m->entries[i].body_len;
    return n;
}

static int get_entry(struct cairn_le_reader *r, const struct cairn_repl_msg *m, struct cairn_at before,
                     struct cairn_log_entry *e, struct cairn_err *err)
{
    uint8_t kind = cairn_le_get8(r);

    *e = (struct cairn_log_entry){ .kind = (enum cairn_entry_kind)kind, .sync = get_flag(r) };
    e->at = (struct cairn_at){ .epoch = cairn_le_get64(r), .pos = before.pos + 1 };
    e->rid.session = get_at(r);
    e->rid.seq = cairn_le_get64(r);
    e->floor = cairn_le_get64(r);
    e->body_len = cairn_le_get32(r);
    if (kind < CAIRN_ENTRY_START || kind > CAIRN_ENTRY_WRITE)
        return cairn_err_set(err, CAIRN_E_INVAL, "entry %" PRIu64 " is of an unknown kind, %d", e->at.pos, kind);
    if (e->at.epoch == 0 || e->at.epoch < before.epoch || e->at.epoch > m->epoch)
        return cairn_err_set(err, CAIRN_E_INVAL,
                             "entry %" PRIu64 " of epoch %" PRIu64 " behind one of %" PRIu64 ", in epoch %" PRIu64,
                             e->at.pos, e->at.epoch, before.epoch, m->epoch);
    if (!wire_is_at(e->rid.session))
        return cairn_err_set(err, CAIRN_E_INVAL, "entry %" PRIu64 " has no such session", e->at.pos);
    if (e->body_len > CAIRN_ENTRY_BODY_BYTES_MAX)
        return cairn_err_set(err, CAIRN_E_LIMIT, "entry %" PRIu64 " has %u bytes", e->at.pos, e->body_len);
    return 0;
}

static int get_append(struct cairn_le_reader *r, struct cairn_arena *a, struct cairn_repl_msg *m, struct cairn_err *err)
{
    struct cairn_log_entry *entries;
    struct cairn_at before;

    m->prev = before = get_at(r);
    m->commit = cairn_le_get64(r);
    m->nentries = cairn_le_get32(r);
    if (!wire_is_at(m->prev) || m->prev.epoch > m->epoch)
        return cairn_err_set(err, CAIRN_E_INVAL, "no entry stands before it: epoch %" PRIu64 ", position %" PRIu64,
                             m->prev.epoch, m->prev.pos);
    if (m->nentries > CAIRN_APPEND_ENTRIES_MAX)
        return cairn_err_set(err, CAIRN_E_LIMIT, "%u entries", m->nentries);
    m->entries = entries = wire_array(a, m->nentries, sizeof(*entries));
    if (entries == NULL)
        return cairn_err_set(err, CAIRN_E_NOMEM, "%u entries", m->nentries);
    for (uint32_t i = 0; i < m->nentries && !r->failed; i++) {
        int rc = get_entry(r, m, before, &entries[i], err);

        if (rc != 0)
            return r->failed ? 0 : rc; /* what it ends in is said of all kinds alike */
        before = entries[i].at;
    }
    for (uint32_t i = 0; i < m->nentries && !r->failed; i++)
        entries[i].body = cairn_le_take(r, entries[i].body_len);
    return 0;
}

/* ---- MATCH ---- */

static void put_match(const struct cairn_repl_msg *m, struct cairn_le_writer *w)
{
    put_at(w, m->end);
    put_at(w, m->applied);
    cairn_le_put32(w, m->nruns);
    for (uint32_t i = 0; i < m->nruns; i++) {
        cairn_le_put64(w, m->runs[i].epoch);
        cairn_le_put64(w, m->runs[i].first);
    }
}

static int get_match(struct cairn_le_reader *r, struct cairn_arena *a, struct cairn_repl_msg *m, struct cairn_err *err)
{
    struct cairn_run *runs, before = { 0 };

    m->end = get_at(r);
    m->applied = get_at(r);
    m->nruns = cairn_le_get32(r);
    if (!wire_is_at(m->end) || !wire_is_at(m->applied) || m->applied.pos > m->end.pos ||
        m->applied.epoch > m->end.epoch) /* which may be above m->epoch, of who has restarted and heard an old record */
        return cairn_err_set(err, CAIRN_E_INVAL, "no log ends at epoch %" PRIu64 ", position %" PRIu64, m->end.epoch,
                             m->end.pos);
    if (m->nruns > CAIRN_LOG_RUNS_MAX)
        return cairn_err_set(err, CAIRN_E_LIMIT, "a log of %u epochs", m->nruns);
    m->runs = runs = wire_array(a, m->nruns, sizeof(*runs));
    if (runs == NULL)
        return cairn_err_set(err, CAIRN_E_NOMEM, "%u epochs", m->nruns);
    for (uint32_t i = 0; i < m->nruns && !r->failed; before = runs[i++]) {
        runs[i].epoch = cairn_le_get64(r);
        runs[i].first = cairn_le_get64(r);
        if (!r->failed && (runs[i].epoch <= before.epoch || runs[i].first <= before.first ||
                           runs[i].first > m->end.pos || runs[i].epoch > m->end.epoch))
            return cairn_err_set(err, CAIRN_E_INVAL,
                                 "epoch %" PRIu64 " begins at %" PRIu64 ", behind %" PRIu64 " at %" PRIu64,
                                 runs[i].epoch, runs[i].first, before.epoch, before.first);
    }
    return 0;
}

/* ---- COPY ---- */

static void put_copy(const struct cairn_repl_msg *m, struct cairn_le_writer *w)
{
    put_at(w, m->prev);
    cairn_le_put64(w, m->job);
    cairn_le_put64(w, m->number);
    cairn_le_put8(w, (uint8_t)m->part);
    cairn_le_put(w, m->bytes, m->len);
}

static int get_copy(struct cairn_le_reader *r, struct cairn_repl_msg *m, struct cairn_err *err)
{
    uint8_t part;

    m->prev = get_at(r);
    m->job = cairn_le_get64(r);
    m->number = cairn_le_get64(r);
    part = cairn_le_get8(r);
    m->part = (enum cairn_copy_part)part;
    if (r->failed)
        return 0;
    if (part < CAIRN_COPY_BEGIN || part > CAIRN_COPY_END)
        return cairn_err_set(err, CAIRN_E_INVAL, "an unknown part of a copy, %d", part);
    if (!wire_is_at(m->prev) || m->prev.pos == 0 || m->prev.epoch > m->epoch)
        return cairn_err_set(err, CAIRN_E_INVAL, "a copy of epoch %" PRIu64 ", position %" PRIu64, m->prev.epoch,
                             m->prev.pos);
    if ((m->number == 0) != (part == CAIRN_COPY_BEGIN) || m->number > INT64_MAX)
        return cairn_err_set(err, CAIRN_E_INVAL, "part %" PRIu64 " of a copy is none of kind %d", m->number, part);
    if (part != CAIRN_COPY_RECORDS && part != CAIRN_COPY_SESSIONS)
        return 0;
    m->len = (uint32_t)cairn_le_left(r);
    m->bytes = cairn_le_take(r, m->len);
    return 0;
}

/* ---- all of them ---- */

size_t cairn_wire__repl_bytes(const struct cairn_repl_msg *m)
{
    switch (m->kind) {
    case CAIRN_REPL_APPEND:
        return HEAD_BYTES + append_bytes(m);
    case CAIRN_REPL_ACK:
        return HEAD_BYTES + ACK_BYTES;
    case CAIRN_REPL_NACK:
        return HEAD_BYTES;
    case CAIRN_REPL_MATCH:
        return HEAD_BYTES + MATCH_BYTES + (size_t)m->nruns * RUN_BYTES;
    case CAIRN_REPL_COPY:
        return HEAD_BYTES + COPY_BYTES + m->len;
    case CAIRN_REPL_COPIED:
        return HEAD_BYTES + COPIED_BYTES;
    }
    return 0;
}

void cairn_wire__repl_put(const struct cairn_repl_msg *m, struct cairn_le_writer *w)
{
    cairn_le_put8(w, (uint8_t)m->kind);
    cairn_le_put8(w, m->leaves || m->partial);
    put_who(w, m->from);
    put_who(w, m->to);
    cairn_le_put64(w, m->epoch);
    switch (m->kind) {
    case CAIRN_REPL_APPEND:
        put_append(m, w);
        break;
    case CAIRN_REPL_ACK:
        cairn_le_put64(w, m->matched);
        cairn_le_put64(w, m->synced);
        cairn_le_put64(w, m->base);
        break;
    case CAIRN_REPL_NACK:
        break;
    case CAIRN_REPL_MATCH:
        put_match(m, w);
        break;
    case CAIRN_REPL_COPY:
        put_copy(m, w);
        break;
    case CAIRN_REPL_COPIED:
        cairn_le_put64(w, m->job);
        cairn_le_put64(w, m->number);
        break;
    }
}

static int get_kind(struct cairn_le_reader *r, bool flag, struct cairn_arena *a, struct cairn_repl_msg *m,
                    struct cairn_err *err)
{
    m->leaves = flag && m->kind == CAIRN_REPL_ACK;
    m->partial = flag && m->kind == CAIRN_REPL_MATCH;
    r->failed |= flag && !m->leaves && !m->partial;
    switch (m->kind) {
    case CAIRN_REPL_APPEND:
        return get_append(r, a, m, err);
    case CAIRN_REPL_ACK:
        m->matched = cairn_le_get64(r);
        m->synced = cairn_le_get64(r);
        m->base = cairn_le_get64(r);
        return 0;
    case CAIRN_REPL_NACK:
        return 0;
    case CAIRN_REPL_MATCH:
        return get_match(r, a, m, err);
    case CAIRN_REPL_COPY:
        return get_copy(r, m, err);
    case CAIRN_REPL_COPIED:
        m->job = cairn_le_get64(r);
        m->number = cairn_le_get64(r);
        return 0;
    }
    return cairn_err_set(err, CAIRN_E_INVAL, "a message of no known kind");
}

int cairn_wire__repl_get(uint32_t slot, const uint8_t *bytes, size_t len, struct cairn_arena *a,
                         struct cairn_repl_msg *m, struct cairn_err *err)
{
    struct cairn_le_reader r = cairn_le_reader(bytes, len);
    bool flag;
    int rc;

    *m = (struct cairn_repl_msg){ .slot = slot, .kind = (enum cairn_repl_kind)cairn_le_get8(&r) };
    flag = get_flag(&r);
    m->from = get_who(&r);
    m->to = get_who(&r);
    m->epoch = cairn_le_get64(&r);
    if (!wire_is_slot(slot))
        return cairn_err_set(err, CAIRN_E_INVAL, "there is no slot %u", slot);
    if (cairn_who_is_nobody(m->from) || m->from.inc == 0 || cairn_who_is_nobody(m->to) || m->epoch == 0)
        return cairn_err_set(err, CAIRN_E_INVAL, "slot %u: from, to or epoch is missing", slot);
    rc = get_kind(&r, flag, a, m, err);
    if (rc == 0 && r.failed)
        rc = cairn_err_set(err, CAIRN_E_INVAL, "%zu bytes are no message of its kind", len);
    else if (rc == 0 && cairn_le_left(&r) > 0)
        rc = cairn_err_set(err, CAIRN_E_INVAL, "%zu bytes behind its end", cairn_le_left(&r));
    return cairn_err_wrap(err, rc, "slot %u, node %" PRIu64, slot, m->from.node);
}
