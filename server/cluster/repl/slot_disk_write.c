/* The committer's side of the slot logs: see slot_disk.h. On its thread and the syncer's. */
#include "server/cluster/repl/slot_disk_internal.h"

#include "sdk/core/base/clock.h"
#include "sdk/core/base/log.h"

#include <string.h>
#include <time.h>

enum { FULL_LOOK_MS = 50 };

/* The disk is asked for the next segment while the newest has room: so there is time to refuse what is new, and room
 * for the records that give back older segments. */
void slot_disk_look(struct cairn_slot_disk *d)
{
    uint64_t now = cairn_monotonic_ns(), room;
    bool was = atomic_load(&d->full), full;

    if (now - d->looked_ns >= FULL_LOOK_MS * CAIRN_NS_PER_MS && cairn_segments_reserve(&d->segments) != 0)
        d->looked_ns = now;
    room = cairn_segments_room(&d->segments, slot_disk_records_bytes(1, CAIRN_ENTRY_BODY_BYTES_MAX));
    full = room < slot_disk_reserve_bytes(d) + slot_disk_ask_bytes_max(); /* else there is room for whoever asks */
    atomic_store(&d->end, d->segments.end);
    atomic_store(&d->newest, cairn_segments_newest(&d->segments));
    atomic_store(&d->room, room);
    atomic_store(&d->full, full);
    if (full && !was)
        cairn_log_error("the disk has no room for the log of the slots: this node takes no more writes until there is");
    else if (was && !full)
        cairn_log_info("there is room for the log of the slots again");
}

/* More was on its way than was kept free for it. It is waited for: replicas have it in their logs, and those have no
 * holes. The stop of the node ends it. */
static int add_on_full_disk(struct cairn_slot_disk *d, uint32_t type, const struct iovec *body, uint64_t *lsn)
{
    const struct timespec look = { .tv_nsec = FULL_LOOK_MS * (long)CAIRN_NS_PER_MS };
    int rc = CAIRN_E_NOSPACE;

    slot_disk_look(d);
    while (rc == CAIRN_E_NOSPACE && !atomic_load(&d->stopping)) {
        nanosleep(&look, NULL);
        rc = cairn_segments_add(&d->segments, type, body, 1, lsn);
    }
    return rc;
}

/* All records of a batch. */
static int add_batch(struct cairn_slot_disk *d, struct disk_batch *b)
{
    int rc = 0;

    for (size_t at = 0; at < b->n && rc == 0;) {
        struct slot_frame f;
        struct iovec iov;
        uint64_t lsn;

        memcpy(&f, b->bytes + at, sizeof(f));
        iov = (struct iovec){ b->bytes + at + sizeof(f), f.len };
        rc = cairn_segments_add(&d->segments, f.type, &iov, 1, &lsn);
        if (rc == CAIRN_E_NOSPACE)
            rc = add_on_full_disk(d, f.type, &iov, &lsn);
        if (at == 0 && rc == 0)
            b->lsn = lsn;
        at += sizeof(f) + f.len;
    }
    return rc;
}

/* The records of all workers' batches, one write. Behind one that was not written there is none: a log has no holes. */
void slot_disk_apply(void *ctx, struct cairn_link *group)
{
    struct cairn_slot_disk *d = ctx;
    int rc = d->write_rc;

    CAIRN_LIST_FOREACH (l, group) {
        struct disk_batch *b = CONTAINER_OF(l, struct disk_batch, op.link);

        b->lsn = d->segments.end;
        if (rc == 0)
            rc = add_batch(d, b);
    }
    if (rc == 0)
        rc = cairn_segments_write(&d->segments);
    d->write_rc = rc;
    CAIRN_LIST_FOREACH (l, group) {
        CONTAINER_OF(l, struct cairn_commit_op, link)->rc = rc;
    }
    if (rc != 0)
        return;
    slot_disk_release(d);
    slot_disk_look(d);
}

int slot_disk_flush(void *ctx)
{
    struct cairn_slot_disk *d = ctx;

    return cairn_segments_sync(&d->segments);
}
