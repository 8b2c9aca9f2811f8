/* What a worker's slots append, on its way to the disk and back: see slot_disk.h. */
#include "sdk/core/base/log.h"
#include "server/cluster/repl/slot_disk_internal.h"

#include <stdlib.h>
#include <string.h>

static bool worker_is_idle(const struct disk_worker *w)
{
    return w->gathered_n == 0 && !w->sync_wanted && !w->write_wanted && !w->look_wanted;
}

int slot_disk_gather(struct disk_worker *w, enum slot_record_type type, const void *head, uint32_t head_len,
                     const void *body, uint32_t body_len, bool later)
{
    struct slot_frame f = { .type = type, .len = head_len + body_len };
    size_t need = w->gathered_n + sizeof(f) + f.len;
    uint64_t record_bytes = cairn_segment_record_bytes(f.len), taken = MIN(w->taken, record_bytes);

    if (w->disk->failed)
        return CAIRN_E_IO;
    if (need + w->inflight_bytes > w->disk->conf.queue_bytes)
        return CAIRN_E_BUSY;
    if (need > w->gathered_room) {
        size_t room = MAX(need, w->gathered_room * 2);
        uint8_t *p = realloc(w->gathered, room);

        if (p == NULL)
            return CAIRN_E_NOMEM;
        w->gathered = p;
        w->gathered_room = room;
    }
    memcpy(w->gathered + w->gathered_n, &f, sizeof(f));
    memcpy(w->gathered + w->gathered_n + sizeof(f), head, head_len);
    if (body_len > 0)
        memcpy(w->gathered + w->gathered_n + sizeof(f) + head_len, body, body_len);
    w->gathered_n = need;
    w->gathered_records += record_bytes;
    w->taken -= taken;
    if (record_bytes > taken)
        atomic_fetch_add(&w->disk->queued, record_bytes - taken);
    if (!later || w->gathered_n >= DISK_LATER_BYTES_MAX)
        cairn_env_defer(&w->loop->env, &w->submit);
    return 0;
}

/* The records that say so are on disk: older ones may go. When none was of use, those that came since are. */
static void batch_forgets(struct disk_worker *w, const struct disk_batch *b)
{
    bool none = b->needs == UINT64_MAX;

    if (none && (b->n > 0 || b->number + 1 != w->batch_number))
        atomic_store(&w->needs, b->lsn);
    else if (b->needs > 0)
        atomic_store(&w->needs, b->needs);
}

static void on_batch_done(struct cairn_commit_op *op)
{
    struct disk_batch *b = CONTAINER_OF(op, struct disk_batch, op);
    struct disk_worker *w = b->worker;
    struct cairn_slot_disk *d = w->disk;
    struct disk_asks asks = b->asks;
    int rc = op->rc;

    if (rc != 0 && !d->failed) {
        d->failed = true;
        cairn_log_error(
            "the log of the slots cannot be written: %s; this node takes no more writes until it is started again",
            cairn_error_text(rc));
    }
    if (rc == 0)
        batch_forgets(w, b);
    slot_disk_mark(w, b->number, b->lsn);
    w->inflight_bytes -= b->n;
    atomic_fetch_sub(&d->queued, b->records);
    w->inflight--;
    b->asks = (struct disk_asks){ 0 };
    b->busy = false;
    for (uint32_t i = 0; i < asks.n; i++) {
        if (asks.all[i].writes)
            d->conf.written(d->conf.arg, asks.all[i].slot, asks.all[i].end, rc);
        else
            d->conf.synced(d->conf.arg, asks.all[i].slot, rc);
    }
    free(asks.all);
    if (!worker_is_idle(w) || w->stopped != NULL)
        cairn_env_defer(&w->loop->env, &w->submit);
}

static struct disk_batch *batch_free_one(struct disk_worker *w)
{
    for (uint32_t i = 0; i < DISK_BATCHES_MAX; i++) {
        if (!w->batches[i].busy)
            return &w->batches[i];
    }
    return NULL;
}

/* Nobody waits for the end of a batch but the next one, when all places are taken, so the last of them is told; and a
 * stop, which has none to come. */
static bool is_quiet(const struct disk_worker *w, const struct disk_batch *b)
{
    return !w->sync_wanted && !w->look_wanted && b->asks.n == 0 && b->n <= DISK_LATER_BYTES_MAX &&
           w->stopped == NULL && w->inflight + 1 < DISK_BATCHES_MAX;
}

/* The turn is over: what was gathered goes to the committer, unless as much as may be is there already. */
static void on_gathered(void *arg)
{
    struct disk_worker *w = arg;
    struct disk_batch *b;
    uint8_t *bytes;
    size_t room;

    cairn_commit_collect(w->disk->commit, w->index);
    b = batch_free_one(w);
    if (w->inflight == 0 && worker_is_idle(w) && w->stopped != NULL) {
        void (*stopped)(void *arg) = w->stopped;

        w->stopped = NULL;
        stopped(w->stopped_arg);
        return;
    }
    if (b == NULL || worker_is_idle(w))
        return;
    bytes = b->bytes; /* buffers change places */
    room = b->room;
    b->bytes = w->gathered;
    b->room = w->gathered_room;
    b->n = w->gathered_n;
    w->gathered = bytes;
    w->gathered_room = room;
    w->gathered_n = 0;
    b->records = w->gathered_records;
    w->gathered_records = 0;
    b->busy = true;
    b->number = w->batch_number++;
    b->asks = w->asks;
    b->needs = w->needs_next;
    w->needs_next = 0;
    w->asks = (struct disk_asks){ 0 };
    b->op.worker = w->index;
    b->op.bytes = (uint32_t)b->n;
    b->op.sync = w->sync_wanted;
    b->op.quiet = is_quiet(w, b);
    b->op.rc = 0;
    w->sync_wanted = w->write_wanted = w->look_wanted = false;
    w->inflight_bytes += b->n;
    w->inflight++;
    if (atomic_load(&w->needs) == UINT64_MAX) /* from here on, at the earliest */
        atomic_store(&w->needs, atomic_load(&w->disk->end));
    atomic_fetch_add(&w->disk->writes, 1);
    atomic_fetch_add(&w->disk->written_bytes, b->n);
    CAIRN_ASSERT(cairn_commit_submit(w->disk->commit, &b->op) == 0); /* its bounds are ours, for all workers */
}

/* ---- who wants to be told ---- */

static void asks_add(struct disk_asks *a, const struct disk_ask *x)
{
    struct disk_ask *last = a->n > 0 ? &a->all[a->n - 1] : NULL;

    if (x->writes && last != NULL && last->writes && last->slot == x->slot) {
        last->end = x->end;
        return;
    }
    if (a->n == a->room) {
        a->room = a->room == 0 ? 16 : a->room * 2;
        a->all = realloc(a->all, a->room * sizeof(*a->all));
        CAIRN_ASSERT(a->all != NULL); /* a few bytes a slot; without them no write could ever be answered */
    }
    a->all[a->n++] = *x;
}

void cairn_slot_disk_sync(struct cairn_slot_disk *d, uint32_t slot)
{
    struct disk_worker *w = slot_disk_worker_of(d, slot);

    asks_add(&w->asks, &(struct disk_ask){ .slot = slot });
    w->sync_wanted = true;
    cairn_env_defer(&w->loop->env, &w->submit);
}

void cairn_slot_disk_tell_written(struct cairn_slot_disk *d, uint32_t slot)
{
    struct disk_worker *w = slot_disk_worker_of(d, slot);
    const struct slot_log_store *l = &d->logs[slot];
    const struct slot_entry *last = l->n > 0 ? &l->all[l->first + l->n - 1] : NULL;
    uint64_t batch = last != NULL ? last->batch : l->base_batch;
    struct disk_ask x = { .slot = slot, .writes = true, .end = last != NULL ? last->e.at : l->base };

    for (uint32_t i = 0; i < DISK_BATCHES_MAX; i++) {
        if (w->batches[i].busy && w->batches[i].number == batch && !w->batches[i].op.quiet) { /* under way */
            asks_add(&w->batches[i].asks, &x);
            return;
        }
    }
    asks_add(&w->asks, &x);
    w->write_wanted = true;
    cairn_env_defer(&w->loop->env, &w->submit);
}

/* Room that was taken and not used. */
static void on_turn_over(void *arg)
{
    struct disk_worker *w = arg;

    atomic_fetch_sub(&w->disk->queued, w->taken);
    w->taken = 0;
}

void slot_disk_worker_init(struct cairn_slot_disk *d, uint32_t i)
{
    struct disk_worker *w = &d->workers[i];

    w->disk = d;
    w->index = i;
    w->loop = d->conf.loops[i];
    w->batch_number = 1; /* 0: what was read at the start */
    atomic_init(&w->needs, 0);
    cairn_task_init(&w->submit, on_gathered, w);
    cairn_task_init(&w->give_back, on_turn_over, w);
    for (uint32_t k = 0; k < DISK_BATCHES_MAX; k++) {
        w->batches[k].worker = w;
        w->batches[k].op.done = on_batch_done;
    }
}
