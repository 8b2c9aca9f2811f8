/* What slot_disk.c (logs, life), slot_disk_batch.c (what they append, to the committer and back), slot_disk_write.c
 * (the committer) and slot_disk_read.c (the records' form, the start, forgetting) share. */
#ifndef CAIRN_SERVER_CLUSTER_REPL_SLOT_DISK_INTERNAL_H
#define CAIRN_SERVER_CLUSTER_REPL_SLOT_DISK_INTERNAL_H

#include "server/cluster/repl/slot_disk.h"
#include "server/storage/commit.h"
#include "server/storage/segments.h"

#include <stdatomic.h>

enum {
    DISK_BATCHES_MAX = 4,           /* of a worker, under way */
    DISK_LATER_BYTES_MAX = 64 << 10, /* that wait for others to be written with */
};

/* ---- on disk; numbers are little-endian ---- */

enum slot_record_type { SLOT_RECORD_ENTRY = 1, SLOT_RECORD_CUT, SLOT_RECORD_TRIM, SLOT_RECORD_RESTART };

struct slot_entry_head { /* the body follows */
    uint32_t slot;
    uint8_t kind, sync;
    uint16_t zero;
    uint64_t epoch, pos;
    uint64_t session_epoch, session_pos, seq, floor;
};
_Static_assert(sizeof(struct slot_entry_head) == 56, "a disk format");

struct slot_mark { /* CUT: behind pos. TRIM: all up to it is in a checkpoint. RESTART: the same, and the log is empty */
    uint32_t slot, zero;
    uint64_t epoch, pos;
};
_Static_assert(sizeof(struct slot_mark) == 24, "a disk format");

/* ---- in memory ---- */

struct slot_frame { /* one record among those that were gathered */
    uint32_t type, len;
};

struct slot_entry {
    struct cairn_log_entry e; /* with a body of its own */
    uint64_t batch;
};

struct slot_log_store {
    struct cairn_at base;
    uint64_t base_batch;  /* the one that says so */
    struct cairn_at said; /* while reading: where it began by the newest record that says so */
    struct slot_entry *all;
    uint32_t first, n, room; /* all[first] is at base.pos + 1 */
};

/* Who is to be told when a batch is over. */
struct disk_ask {
    uint32_t slot;
    bool writes; /* that it is written, up to @end; or: synced */
    struct cairn_at end;
};

struct disk_asks {
    struct disk_ask *all;
    uint32_t n, room;
};

struct disk_batch {
    struct cairn_commit_op op;
    struct disk_worker *worker;
    bool busy;
    uint64_t number;
    uint64_t lsn; /* of its first record; the committer's until it is done */
    uint8_t *bytes;
    size_t n, room;
    uint64_t records; /* what they take of the disk */
    struct disk_asks asks; /* the worker's */
    uint64_t needs; /* what the worker needs when this is durable; 0: as before */
};

struct disk_worker {
    struct cairn_slot_disk *disk;
    uint32_t index;
    struct cairn_loop *loop;
    struct cairn_task submit, give_back;
    uint8_t *gathered; /* frames of this turn, and of those before that may wait */
    size_t gathered_n, gathered_room;
    uint64_t gathered_records;
    uint64_t taken; /* of the disk's room in this turn, and not used yet */
    struct disk_asks asks;
    bool sync_wanted, write_wanted;
    bool look_wanted;      /* at the disk, whether it has room again; also of an empty batch */
    uint64_t batch_number; /* of the batch that is gathered */
    struct disk_batch batches[DISK_BATCHES_MAX];
    uint32_t inflight;
    size_t inflight_bytes;
    struct {
        uint64_t batch, lsn;
    } * marks; /* where batches begin: the first of each stretch of the log, ascending */
    uint32_t nmarks, marks_room;
    void (*stopped)(void *arg); /* to be called when nothing is under way */
    void *stopped_arg;
    uint64_t needs_next;        /* goes with the batch that is gathered: it says, or follows, what makes it true */
    atomic_uint_fast64_t needs; /* LSN: older records are of no use to this worker; UINT64_MAX: none is of use */
};

struct cairn_slot_disk {
    struct cairn_slot_disk_conf conf;
    int dirfd;
    struct cairn_segments segments; /* the committer's, and the syncer's */
    int write_rc;                   /* the committer's: the failure that no write follows */
    struct cairn_segments_found found;
    struct cairn_commit *commit;
    struct slot_log_store *logs;
    atomic_bool failed;
    atomic_bool full;            /* what is left is for what makes room: see slot_disk_look() */
    uint64_t looked_ns;          /* the committer's: when the disk was asked for room, and had none */
    atomic_bool stopping;        /* then nothing waits for room */
    atomic_uint_fast64_t end;    /* LSN behind the newest write */
    atomic_uint_fast64_t newest; /* LSN of the first record of the segment that is written to */
    atomic_uint_fast64_t room;   /* bytes that the segments can take as they are */
    atomic_uint_fast64_t queued; /* that are on their way there, or taken for what will be, of all workers */
    atomic_uint_fast64_t entries, bytes, writes, written_bytes, disk_bytes;
    struct disk_worker workers[];
};

static inline struct disk_worker *slot_disk_worker_of(struct cairn_slot_disk *d, uint32_t slot)
{
    return &d->workers[slot % d->conf.nloops];
}

/* What entries take of the segments. */
static inline uint64_t slot_disk_records_bytes(uint32_t n, uint64_t bytes)
{
    return bytes + n * (cairn_segment_record_bytes(sizeof(struct slot_entry_head)) + 7);
}

/* What anybody asks for at a time: an APPEND's entries, which are one or have fewer bytes. */
static inline uint64_t slot_disk_ask_bytes_max(void)
{
    return slot_disk_records_bytes(CAIRN_APPEND_ENTRIES_MAX, CAIRN_ENTRY_BODY_BYTES_MAX);
}

/* Of the segments' room, what nobody gets who asks: marks that forget others do, so that a full log comes free
 * again. With the largest that may be asked for it is less than a segment, however small that is. */
static inline uint64_t slot_disk_reserve_bytes(const struct cairn_slot_disk *d)
{
    return (d->conf.segment_bytes - slot_disk_ask_bytes_max()) / 2;
}

/* ---- slot_disk.c ---- */

int slot_disk_push(struct cairn_slot_disk *d, uint32_t slot, const struct cairn_log_entry *e, uint64_t batch);
void slot_disk_cut(struct cairn_slot_disk *d, uint32_t slot, uint64_t pos);
/* Drops what is at or below @base, which is in the log, or its end or beginning. */
void slot_disk_rebase(struct cairn_slot_disk *d, uint32_t slot, struct cairn_at base, uint64_t batch);
/* Says, again or further on, where the log begins. */
int slot_disk_trim(struct cairn_slot_disk *d, uint32_t slot, struct cairn_at base);
/* Records below @needs are given back as soon as all that was said till now is durable. */
void slot_disk_forget(struct disk_worker *w, uint64_t needs);

/* ---- slot_disk_batch.c ---- */

void slot_disk_worker_init(struct cairn_slot_disk *d, uint32_t i);
/* A record, to be written when the turn is over, or @later. CAIRN_E_NOMEM, CAIRN_E_BUSY, CAIRN_E_IO: as
 * cairn_slot_disk_append(). */
int slot_disk_gather(struct disk_worker *w, enum slot_record_type type, const void *head, uint32_t head_len,
                     const void *body, uint32_t body_len, bool later);

/* ---- slot_disk_write.c: the two functions of the group commit ---- */

void slot_disk_apply(void *ctx, struct cairn_link *group);
int slot_disk_flush(void *ctx);
/* On the committer's thread, or before it has anything to do: how much room there is. */
void slot_disk_look(struct cairn_slot_disk *d);

/* ---- slot_disk_read.c ---- */

void slot_disk_encode(uint32_t slot, const struct cairn_log_entry *e, struct slot_entry_head *h);
void slot_disk_encode_mark(uint32_t slot, struct cairn_at at, struct slot_mark *m);
/* A record of the log at a start: cairn_segments_fn. */
int slot_disk_read(void *arg, uint64_t lsn, uint32_t type, const void *body, uint32_t len);
/* All was read: CAIRN_E_CORRUPT if a log's beginning is not known. */
int slot_disk_read_end(struct cairn_slot_disk *d, struct cairn_err *err);
/* Batch @number begins at @lsn. */
void slot_disk_mark(struct disk_worker *w, uint64_t number, uint64_t lsn);
/* On the committer's thread: what no worker needs is given back. */
void slot_disk_release(struct cairn_slot_disk *d);

#endif
