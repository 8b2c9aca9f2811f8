/* The form of the slot logs' records, reading them at a start, and forgetting them: see slot_disk.h. */
#include "sdk/core/base/log.h"
#include "server/cluster/repl/slot_disk_internal.h"

#include <endian.h>
#include <inttypes.h>
#include <stdlib.h>

enum { STRETCH_BYTES = 1 << 20 }; /* how exactly the log is forgotten */

void slot_disk_encode(uint32_t slot, const struct cairn_log_entry *e, struct slot_entry_head *h)
{
    *h = (struct slot_entry_head){ .slot = htole32(slot),
                                   .kind = (uint8_t)e->kind,
                                   .sync = e->sync,
                                   .epoch = htole64(e->at.epoch),
                                   .pos = htole64(e->at.pos),
                                   .session_epoch = htole64(e->rid.session.epoch),
                                   .session_pos = htole64(e->rid.session.pos),
                                   .seq = htole64(e->rid.seq),
                                   .floor = htole64(e->floor) };
}

void slot_disk_encode_mark(uint32_t slot, struct cairn_at at, struct slot_mark *m)
{
    *m = (struct slot_mark){ .slot = htole32(slot), .epoch = htole64(at.epoch), .pos = htole64(at.pos) };
}

static int read_entry(struct cairn_slot_disk *d, const void *body, uint32_t len)
{
    struct slot_entry_head h;
    struct cairn_log_entry e;
    uint32_t slot;

    if (len < sizeof(h) || len - sizeof(h) > CAIRN_ENTRY_BODY_BYTES_MAX)
        return CAIRN_E_CORRUPT;
    memcpy(&h, body, sizeof(h));
    slot = le32toh(h.slot);
    e = (struct cairn_log_entry){
        .at = { .epoch = le64toh(h.epoch), .pos = le64toh(h.pos) },
        .kind = h.kind,
        .sync = h.sync != 0,
        .rid = { .session = { .epoch = le64toh(h.session_epoch), .pos = le64toh(h.session_pos) },
                 .seq = le64toh(h.seq) },
        .floor = le64toh(h.floor),
        .body = (const uint8_t *)body + sizeof(h),
        .body_len = len - (uint32_t)sizeof(h),
    };
    if (slot >= d->conf.nslots || h.kind < CAIRN_ENTRY_START || h.kind > CAIRN_ENTRY_WRITE)
        return CAIRN_E_CORRUPT;
    if (e.at.pos <= d->logs[slot].base.pos)
        return 0;                                      /* trimmed */
    if (e.at.pos > cairn_slot_disk_end(d, slot) + 1) { /* what was between is forgotten: see read_mark() */
        slot_disk_cut(d, slot, d->logs[slot].base.pos);
        d->logs[slot].base = (struct cairn_at){ .pos = e.at.pos - 1 };
    }
    if (e.at.pos != cairn_slot_disk_end(d, slot) + 1)
        return CAIRN_E_CORRUPT;
    return slot_disk_push(d, slot, &e, 0);
}

/* A log whose first records are forgotten is read before it is known where it begins (base.epoch 0). A TRIM further
 * on says it; one that says less speaks of entries that are forgotten: overtaken by another TRIM, or cut.
 * slot_disk_read_end() makes sure that all became known. */
static int read_mark(struct cairn_slot_disk *d, uint32_t slot, uint32_t type, struct cairn_at at)
{
    struct slot_log_store *l = &d->logs[slot];

    if (type == SLOT_RECORD_CUT) {
        slot_disk_cut(d, slot, MAX(at.pos, l->base.pos));
        if (at.pos < l->base.pos && l->base.epoch == 0)
            l->base = at.pos == l->said.pos ? l->said : (struct cairn_at){ .pos = at.pos };
        return 0;
    }
    l->said = at;
    if (type == SLOT_RECORD_RESTART) {
        slot_disk_cut(d, slot, l->base.pos);
        slot_disk_rebase(d, slot, at, 0);
    } else if (at.pos >= l->base.pos) {
        if (l->n > 0 && at.pos > cairn_slot_disk_end(d, slot))
            return CAIRN_E_CORRUPT;
        slot_disk_rebase(d, slot, at, 0);
    }
    return 0;
}

int slot_disk_read_end(struct cairn_slot_disk *d, struct cairn_err *err)
{
    for (uint32_t slot = 0; slot < d->conf.nslots; slot++) {
        if (d->logs[slot].base.pos != 0 && d->logs[slot].base.epoch == 0)
            return cairn_err_set(err, CAIRN_E_CORRUPT, "nothing says where the log of slot %u begins", slot);
    }
    return 0;
}

int slot_disk_read(void *arg, uint64_t lsn, uint32_t type, const void *body, uint32_t len)
{
    struct cairn_slot_disk *d = arg;
    struct slot_mark m = { 0 };
    struct cairn_at at;
    uint32_t slot;
    int rc = 0;

    if (type == SLOT_RECORD_ENTRY) {
        rc = read_entry(d, body, len);
    } else if (type > SLOT_RECORD_RESTART || len != sizeof(m)) {
        rc = CAIRN_E_CORRUPT;
    } else {
        memcpy(&m, body, sizeof(m));
        slot = le32toh(m.slot);
        at = (struct cairn_at){ .epoch = le64toh(m.epoch), .pos = le64toh(m.pos) };
        rc = slot < d->conf.nslots ? read_mark(d, slot, type, at) : CAIRN_E_CORRUPT;
    }
    if (rc != 0)
        cairn_log_error("record %" PRIu64 " of the slots' log, type %u, %u bytes, fits nowhere", lsn, type, len);
    return rc;
}

/* ---- forgetting ---- */

void slot_disk_mark(struct disk_worker *w, uint64_t number, uint64_t lsn)
{
    if (w->nmarks > 0 && lsn - w->marks[w->nmarks - 1].lsn < STRETCH_BYTES)
        return;
    if (w->nmarks == w->marks_room) {
        uint32_t room = w->marks_room == 0 ? 64 : w->marks_room * 2;
        void *p = realloc(w->marks, room * sizeof(*w->marks));

        if (p == NULL)
            return; /* less is forgotten, later */
        w->marks = p;
        w->marks_room = room;
    }
    w->marks[w->nmarks].batch = number;
    w->marks[w->nmarks++].lsn = lsn;
}

/* The oldest batch that a log of the worker needs; beyond the newest if none does. */
static uint64_t oldest_batch(struct cairn_slot_disk *d, const struct disk_worker *w)
{
    uint64_t oldest = w->batch_number;

    for (uint32_t slot = w->index; slot < d->conf.nslots; slot += d->conf.nloops) {
        const struct slot_log_store *l = &d->logs[slot];

        if (l->base.pos != 0)
            oldest = MIN(oldest, l->base_batch);
        if (l->n > 0)
            oldest = MIN(oldest, l->all[l->first].batch);
    }
    return oldest;
}

/* Logs that say nothing new say where they begin, when that stands in another segment than the newest: once in each. */
static void restate_bases(struct cairn_slot_disk *d, struct disk_worker *w)
{
    uint64_t old = 0, newest = atomic_load(&d->newest);

    for (uint32_t i = w->nmarks; i > 0 && w->marks[i - 1].lsn >= newest; i--)
        old = w->marks[i - 1].batch;
    for (uint32_t slot = w->index; slot < d->conf.nslots; slot += d->conf.nloops) {
        struct slot_log_store *l = &d->logs[slot];

        if (l->base.pos != 0 && l->base_batch < old && slot_disk_trim(d, slot, l->base) != 0)
            return; /* too much waits, or the disk has failed: another time */
    }
}

void cairn_slot_disk_tidy(struct cairn_slot_disk *d, uint32_t worker)
{
    struct disk_worker *w = &d->workers[worker];
    uint64_t oldest, needs = 0;
    uint32_t gone = 0;

    cairn_commit_collect(d->commit, worker);
    oldest = oldest_batch(d, w);
    if (w->inflight == 0) /* what others have written stands before the next batch, however long nothing comes here */
        slot_disk_mark(w, w->batch_number, atomic_load(&d->end));
    while (gone + 1 < w->nmarks && w->marks[gone + 1].batch <= oldest)
        gone++;
    memmove(w->marks, w->marks + gone, (w->nmarks - gone) * sizeof(*w->marks));
    w->nmarks -= gone;
    if (oldest == w->batch_number && w->inflight == 0 && w->gathered_n == 0)
        needs = UINT64_MAX;
    else if (w->nmarks > 0 && oldest >= w->marks[0].batch)
        needs = w->marks[0].lsn;
    restate_bases(d, w);
    if (needs > atomic_load(&w->needs))
        slot_disk_forget(w, needs);
    if (cairn_slot_disk_is_full(d)) {
        w->look_wanted = true;
        cairn_env_defer(&w->loop->env, &w->submit);
    }
}

void slot_disk_release(struct cairn_slot_disk *d)
{
    uint64_t needs = UINT64_MAX, begin = cairn_segments_begin(&d->segments);

    for (uint32_t i = 0; i < d->conf.nloops; i++)
        needs = MIN(needs, (uint64_t)atomic_load(&d->workers[i].needs));
    cairn_segments_release(&d->segments, needs);
    if (cairn_segments_begin(&d->segments) != begin)
        d->looked_ns = 0; /* there is room */
    atomic_store(&d->disk_bytes, d->segments.end - cairn_segments_begin(&d->segments));
}

void cairn_slot_disk_stats(struct cairn_slot_disk *d, struct cairn_slot_disk_stats *out)
{
    struct cairn_commit_stats cs;

    cairn_commit_stats(d->commit, &cs);
    *out = (struct cairn_slot_disk_stats){ .entries = atomic_load(&d->entries),
                                           .bytes = atomic_load(&d->bytes),
                                           .disk_bytes = atomic_load(&d->disk_bytes),
                                           .writes = atomic_load(&d->writes),
                                           .written_bytes = atomic_load(&d->written_bytes),
                                           .syncs = cs.syncs,
                                           .torn = d->found.torn };
}
