/* The slot logs of a node on one device: see slot_disk.h.
 *
 *   slot: append --> worker: gathered --(end of the turn)--> batch: committer writes --> [syncer] --> batch over
 *
 * A batch knows the LSN of its first record. An entry knows its batch by number; what the log must keep for a worker is
 * the LSN of the oldest batch that one of its slots still has an entry, or its beginning (BASE), in. */
#include "server/cluster/repl/slot_disk_internal.h"

#include "sdk/core/base/log.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

/* ---- room ---- */

bool cairn_slot_disk_take_room(struct cairn_slot_disk *d, uint32_t worker, uint32_t n, uint64_t bytes)
{
    struct disk_worker *w = &d->workers[worker];
    uint64_t records = slot_disk_records_bytes(n, bytes);

    if (cairn_slot_disk_is_full(d) ||
        w->gathered_n + w->inflight_bytes + w->taken + records + d->conf.spare_bytes > d->conf.queue_bytes)
        return false;
    if (atomic_fetch_add(&d->queued, records) + records + slot_disk_reserve_bytes(d) > atomic_load(&d->room)) {
        atomic_fetch_sub(&d->queued, records);
        return false;
    }
    w->taken += records;
    cairn_env_defer(&w->loop->env, &w->give_back);
    return true;
}

bool cairn_slot_disk_is_full(const struct cairn_slot_disk *d)
{
    return atomic_load(&d->full);
}

/* ---- logs ---- */

static void log_make_room(struct slot_log_store *l, uint32_t n, int *rc)
{
    uint32_t room = l->room == 0 ? 8 : l->room;
    struct slot_entry *all;

    *rc = 0;
    if (l->first > 0 && l->first >= l->n) { /* slide to the front: as much is free as is used */
        memmove(l->all, l->all + l->first, l->n * sizeof(*l->all));
        l->first = 0;
    }
    while (room < l->first + l->n + n)
        room *= 2;
    if (room == l->room)
        return;
    all = realloc(l->all, room * sizeof(*all));
    if (all == NULL) {
        *rc = CAIRN_E_NOMEM;
        return;
    }
    l->all = all;
    l->room = room;
}

static void entry_drop(struct cairn_slot_disk *d, struct slot_entry *x)
{
    atomic_fetch_sub(&d->entries, 1);
    atomic_fetch_sub(&d->bytes, sizeof(*x) + x->e.body_len);
    free((void *)(uintptr_t)x->e.body);
}

int slot_disk_push(struct cairn_slot_disk *d, uint32_t slot, const struct cairn_log_entry *e, uint64_t batch)
{
    struct slot_log_store *l = &d->logs[slot];
    uint8_t *body = NULL;
    int rc;

    CAIRN_ASSERT(e->at.pos == cairn_slot_disk_end(d, slot) + 1);
    log_make_room(l, 1, &rc);
    if (rc != 0)
        return rc;
    if (e->body_len > 0) {
        body = malloc(e->body_len);
        if (body == NULL)
            return CAIRN_E_NOMEM;
        memcpy(body, e->body, e->body_len);
    }
    l->all[l->first + l->n] = (struct slot_entry){ .e = *e, .batch = batch };
    l->all[l->first + l->n].e.body = body;
    l->n++;
    atomic_fetch_add(&d->entries, 1);
    atomic_fetch_add(&d->bytes, sizeof(struct slot_entry) + e->body_len);
    return 0;
}

void slot_disk_cut(struct cairn_slot_disk *d, uint32_t slot, uint64_t pos)
{
    struct slot_log_store *l = &d->logs[slot];

    while (l->n > 0 && l->base.pos + l->n > pos)
        entry_drop(d, &l->all[l->first + --l->n]);
}

void slot_disk_rebase(struct cairn_slot_disk *d, uint32_t slot, struct cairn_at base, uint64_t batch)
{
    struct slot_log_store *l = &d->logs[slot];

    while (l->n > 0 && l->base.pos < base.pos) {
        entry_drop(d, &l->all[l->first]);
        l->first++;
        l->n--;
        l->base.pos++;
    }
    l->base = base;
    l->base_batch = batch;
    if (l->n == 0) {
        free(l->all);
        l->all = NULL;
        l->first = l->room = 0;
    }
}

struct cairn_at cairn_slot_disk_base(const struct cairn_slot_disk *d, uint32_t slot)
{
    return d->logs[slot].base;
}

uint64_t cairn_slot_disk_end(const struct cairn_slot_disk *d, uint32_t slot)
{
    return d->logs[slot].base.pos + d->logs[slot].n;
}

const struct cairn_log_entry *cairn_slot_disk_get(const struct cairn_slot_disk *d, uint32_t slot, uint64_t pos)
{
    const struct slot_log_store *l = &d->logs[slot];

    CAIRN_ASSERT(pos > l->base.pos && pos <= l->base.pos + l->n);
    return &l->all[l->first + (pos - l->base.pos) - 1].e;
}

static int append(struct cairn_slot_disk *d, uint32_t slot, const struct cairn_log_entry *e, bool later)
{
    struct disk_worker *w = slot_disk_worker_of(d, slot);
    struct slot_entry_head h;
    int rc;

    CAIRN_ASSERT(e->body_len <= CAIRN_ENTRY_BODY_BYTES_MAX);
    slot_disk_encode(slot, e, &h);
    rc = slot_disk_push(d, slot, e, w->batch_number);
    if (rc != 0)
        return rc;
    rc = slot_disk_gather(w, SLOT_RECORD_ENTRY, &h, sizeof(h), e->body, e->body_len, later);
    if (rc != 0)
        slot_disk_cut(d, slot, e->at.pos - 1);
    return rc;
}

int cairn_slot_disk_append(struct cairn_slot_disk *d, uint32_t slot, const struct cairn_log_entry *e)
{
    return append(d, slot, e, false);
}

int cairn_slot_disk_append_later(struct cairn_slot_disk *d, uint32_t slot, const struct cairn_log_entry *e)
{
    return append(d, slot, e, true);
}

void cairn_slot_disk_write(struct cairn_slot_disk *d, uint32_t worker)
{
    struct disk_worker *w = &d->workers[worker];

    if (w->gathered_n > 0)
        cairn_env_defer(&w->loop->env, &w->submit);
}

static int append_mark(struct cairn_slot_disk *d, uint32_t slot, enum slot_record_type type, struct cairn_at at)
{
    struct slot_mark h;

    slot_disk_encode_mark(slot, at, &h);
    return slot_disk_gather(slot_disk_worker_of(d, slot), type, &h, sizeof(h), NULL, 0, false);
}

int cairn_slot_disk_cut(struct cairn_slot_disk *d, uint32_t slot, uint64_t pos)
{
    int rc = append_mark(d, slot, SLOT_RECORD_CUT, (struct cairn_at){ .pos = pos });

    if (rc == 0)
        slot_disk_cut(d, slot, pos);
    return rc;
}

int slot_disk_trim(struct cairn_slot_disk *d, uint32_t slot, struct cairn_at base)
{
    int rc = append_mark(d, slot, SLOT_RECORD_TRIM, base);

    if (rc == 0)
        slot_disk_rebase(d, slot, base, slot_disk_worker_of(d, slot)->batch_number);
    return rc;
}

int cairn_slot_disk_trim(struct cairn_slot_disk *d, uint32_t slot, uint64_t pos)
{
    if (pos <= d->logs[slot].base.pos)
        return 0;
    return slot_disk_trim(d, slot, cairn_slot_disk_get(d, slot, pos)->at);
}

int cairn_slot_disk_restart(struct cairn_slot_disk *d, uint32_t slot, struct cairn_at base)
{
    int rc = append_mark(d, slot, SLOT_RECORD_RESTART, base);

    if (rc != 0)
        return rc;
    slot_disk_cut(d, slot, d->logs[slot].base.pos);
    slot_disk_rebase(d, slot, base, slot_disk_worker_of(d, slot)->batch_number);
    return 0;
}

void slot_disk_forget(struct disk_worker *w, uint64_t needs)
{
    w->needs_next = needs;
    w->sync_wanted = true;
    cairn_env_defer(&w->loop->env, &w->submit);
}

/* ---- life ---- */

static void disk_free(struct cairn_slot_disk *d)
{
    for (uint32_t i = 0; d->logs != NULL && i < d->conf.nslots; i++) {
        slot_disk_cut(d, i, d->logs[i].base.pos);
        free(d->logs[i].all);
    }
    for (uint32_t i = 0; i < d->conf.nloops; i++) {
        struct disk_worker *w = &d->workers[i];

        for (uint32_t k = 0; k < DISK_BATCHES_MAX; k++)
            free(w->batches[k].bytes);
        free(w->gathered);
        free(w->asks.all);
        cairn_task_cancel(&w->give_back);
        free(w->marks);
    }
    free(d->logs);
    free(d);
}

/* An empty log would be taken for one that was never written to, with all that the store has for committed and
 * nothing behind it. */
static int log_look(const struct cairn_slot_disk *d, struct cairn_err *err)
{
    bool exists = true;
    int rc = d->conf.used ? cairn_segments_exist(d->dirfd, &exists, err) : 0;

    if (rc != 0 || exists)
        return rc;
    return cairn_err_set(
        err, CAIRN_E_CORRUPT,
        "%s: the log of the slots is gone; put it back, or let the node begin anew with an empty data directory",
        d->conf.dir);
}

int cairn_slot_disk_open(const struct cairn_slot_disk_conf *conf, struct cairn_slot_disk **out, struct cairn_err *err)
{
    struct cairn_slot_disk *d = calloc(1, sizeof(*d) + conf->nloops * sizeof(d->workers[0]));
    struct cairn_commit_conf cc = { .loops = conf->loops,
                                    .nloops = conf->nloops,
                                    .ops_max = conf->nloops * DISK_BATCHES_MAX,
                                    .bytes_max = (conf->queue_bytes + 1) * conf->nloops,
                                    .apply = slot_disk_apply,
                                    .sync = slot_disk_flush,
                                    .ctx = d };
    int rc;

    CAIRN_ASSERT(conf->segment_bytes >= CAIRN_SEGMENT_BYTES_MIN && conf->spare_bytes < conf->queue_bytes);
    if (d == NULL)
        return cairn_err_set(err, CAIRN_E_NOMEM, "slot logs");
    d->conf = *conf;
    for (uint32_t i = 0; i < conf->nloops; i++)
        slot_disk_worker_init(d, i);
    d->logs = calloc(conf->nslots, sizeof(*d->logs));
    d->dirfd = open(conf->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (d->logs == NULL || d->dirfd < 0) {
        rc = cairn_err_set(err, d->logs == NULL ? CAIRN_E_NOMEM : CAIRN_E_IO, "slot logs in %s", conf->dir);
        goto free_disk;
    }
    rc = log_look(d, err);
    if (rc != 0)
        goto close_dir;
    rc = cairn_segments_open(&d->segments, d->dirfd, conf->segment_bytes, slot_disk_read, d, &d->found, err);
    if (rc != 0)
        goto close_dir;
    d->commit = cairn_commit_new(&cc, err);
    if (d->commit == NULL) {
        rc = CAIRN_E_LIMIT;
        goto close_segments;
    }
    rc = slot_disk_read_end(d, err);
    if (rc != 0)
        goto free_commit;
    slot_disk_look(d);
    *out = d;
    return 0;
free_commit:
    cairn_commit_free(d->commit);
close_segments:
    cairn_segments_close(&d->segments);
close_dir:
    close(d->dirfd);
free_disk:
    disk_free(d);
    return rc;
}

void cairn_slot_disk_stop(struct cairn_slot_disk *d, uint32_t worker, void (*done)(void *arg), void *arg)
{
    struct disk_worker *w = &d->workers[worker];

    atomic_store(&d->stopping, true);
    w->stopped = done;
    w->stopped_arg = arg;
    w->look_wanted |= w->inflight > 0; /* whose end is told, and with it that of all before it */
    cairn_env_defer(&w->loop->env, &w->submit);
}

void cairn_slot_disk_close(struct cairn_slot_disk *d)
{
    cairn_commit_free(d->commit);
    cairn_segments_close(&d->segments);
    close(d->dirfd);
    disk_free(d);
}
