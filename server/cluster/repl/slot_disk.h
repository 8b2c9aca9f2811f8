/** The slot logs of a node on one device: one log of segments, one commit for all of a worker's slots.
 *
 * A worker's slots append to one buffer; while a write is under way the next one gathers. A write is one operation of
 * the group commit (server/storage/commit.h) with those of the other workers, so one sync serves all slots of the
 * node. Entries stay in memory, with their bodies, until their log is trimmed; what the disk holds is read at the
 * start only.
 *
 * A slot belongs to the worker slot % nloops: every call for it is made on that loop's thread. */
#ifndef CAIRN_SERVER_CLUSTER_REPL_SLOT_DISK_H
#define CAIRN_SERVER_CLUSTER_REPL_SLOT_DISK_H

#include "sdk/core/loop/loop.h"
#include "server/cluster/repl/slot.h"

struct cairn_slot_disk;

struct cairn_slot_disk_conf {
    const char *dir; /* exists; its own */
    bool used;       /* a log was begun here at an earlier start: it has to be there */
    struct cairn_loop *const *loops;
    uint32_t nloops, nslots;
    uint64_t segment_bytes; /* 64 MiB is usual */
    uint64_t queue_bytes;   /* that may wait for the disk, of one worker */
    uint64_t spare_bytes;   /* of those, so many are for what is appended without asking for room */
    /** A sync that covers all that was appended to @slot before it was asked for; @rc < 0: the disk has failed, and
     * takes no more (an error of fsync is a crash of the replica: PROTOCOL §12). On the slot's loop. */
    void (*synced)(void *arg, uint32_t slot, int rc);
    /** What @slot's log had up to @end survives this process: an answer to cairn_slot_disk_tell_written(). Likewise. */
    void (*written)(void *arg, uint32_t slot, struct cairn_at end, int rc);
    void *arg;
};

/** Blocks; reads all logs. CAIRN_E_CORRUPT: what was durable cannot be read, or is gone (nothing is touched then);
 * CAIRN_E_FORMAT; CAIRN_E_NOMEM ... */
int cairn_slot_disk_open(const struct cairn_slot_disk_conf *conf, struct cairn_slot_disk **out, struct cairn_err *err);
/** The node ends: @done on the worker's loop, later, when nothing of it is under way. A disk that is full is not
 * waited for any more. To be called once for each worker, after which nothing is appended. */
void cairn_slot_disk_stop(struct cairn_slot_disk *d, uint32_t worker, void (*done)(void *arg), void *arg);
/** After all workers have stopped, or nothing is under way. */
void cairn_slot_disk_close(struct cairn_slot_disk *d);

/** Where the log of @slot begins (all before is in a checkpoint) and ends. */
struct cairn_at cairn_slot_disk_base(const struct cairn_slot_disk *d, uint32_t slot);
uint64_t cairn_slot_disk_end(const struct cairn_slot_disk *d, uint32_t slot);
/** The entry at base < @pos <= end; it and its body are the log's until it is cut or trimmed. */
const struct cairn_log_entry *cairn_slot_disk_get(const struct cairn_slot_disk *d, uint32_t slot, uint64_t pos);

/** The entry follows the end; its body is copied. It is written (survives the process) soon after the present turn of
 * the loop. CAIRN_E_NOMEM; CAIRN_E_BUSY: too much waits for the disk; CAIRN_E_IO: it has failed. */
int cairn_slot_disk_append(struct cairn_slot_disk *d, uint32_t slot, const struct cairn_log_entry *e);
/** The same, but it is written with what comes next: an append(), a sync, cairn_slot_disk_write() or 64 KiB of such. */
int cairn_slot_disk_append_later(struct cairn_slot_disk *d, uint32_t slot, const struct cairn_log_entry *e);
/** What append_later() has left of that worker's slots is written now. */
void cairn_slot_disk_write(struct cairn_slot_disk *d, uint32_t worker);
/** Whether there is room for @n entries with bodies of @bytes, in the queue (append() will not say CAIRN_E_BUSY) and on
 * the disk: then it is theirs, whatever other workers append, until the present turn of the loop is over. */
bool cairn_slot_disk_take_room(struct cairn_slot_disk *d, uint32_t worker, uint32_t n, uint64_t bytes);
/** Whether the disk has no room for more of the log: take_room() says no, and what is left is for those who do not ask:
 * records that forget others, of cut(), trim(), restart() and tidy(), and a replica's own entries. Any thread. */
bool cairn_slot_disk_is_full(const struct cairn_slot_disk *d);
/** Shortens the log to @pos. The same errors. */
int cairn_slot_disk_cut(struct cairn_slot_disk *d, uint32_t slot, uint64_t pos);
/** Entries up to @pos are in a checkpoint that is durable. The same errors, and nothing is forgotten then. */
int cairn_slot_disk_trim(struct cairn_slot_disk *d, uint32_t slot, uint64_t pos);
/** An empty log after @base (a copy came, or the slot is gone: 0, 0). Likewise. */
int cairn_slot_disk_restart(struct cairn_slot_disk *d, uint32_t slot, struct cairn_at base);
/** synced() comes later, once. */
void cairn_slot_disk_sync(struct cairn_slot_disk *d, uint32_t slot);
/** written() comes later, with the log's end as it is now, or further on. Nothing is written earlier or oftener for
 * it; where the same write is also synced it comes after that. */
void cairn_slot_disk_tell_written(struct cairn_slot_disk *d, uint32_t slot);

/** Gives back segments that no log of the worker needs, when what says so is durable; says anew where idle logs
 * begin, so that they hold none; of a full disk, looks whether it has room again. To be called now and then on each
 * loop, whether something was appended there or not, and oftener on a full disk. */
void cairn_slot_disk_tidy(struct cairn_slot_disk *d, uint32_t worker);

struct cairn_slot_disk_stats {
    uint64_t entries, bytes; /* in memory */
    uint64_t disk_bytes;     /* of the log, from its oldest record that is needed to its end */
    uint64_t writes, syncs, written_bytes;
    uint64_t torn; /* starts that found a torn tail: 0 or 1 */
};
/** Any thread. */
void cairn_slot_disk_stats(struct cairn_slot_disk *d, struct cairn_slot_disk_stats *out);

#endif
