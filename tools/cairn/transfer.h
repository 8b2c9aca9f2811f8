/** What import, export and verify have in common: one thread finds out what there is to do, several do it in batches,
 * each over a session of its own; failures are collected, and an error that no other file would escape ends the whole.
 */
#ifndef CAIRN_TOOLS_TRANSFER_H
#define CAIRN_TOOLS_TRANSFER_H

#include "sdk/core/base/list.h"
#include "tools/cairn/client.h"
#include "tools/cairn/out.h"
#include "tools/cairn/progress.h"
#include "tools/cairn/tree.h"

#include <signal.h>

enum {
    TRANSFER_BATCH_ITEMS = 256,
    TRANSFER_BATCH_BYTES = 1 << 20, /* a larger value is a batch by itself */
    TRANSFER_QUEUE_MAX = 32,        /* batches found and not yet begun */
    TRANSFER_FAILURES_MAX = 10000,  /* kept with their texts; all are counted */
    TRANSFER_JOBS_MAX = 64,
    TRANSFER_TIMEOUTS_MAX = 3, /* in a row, by whichever worker: then the node is taken for silent */
};

/** Beside the CAIRN_E_*: the value is whole, and is not what the file is. */
enum { TRANSFER_DIFFERS = 1 };

struct transfer_item {
    uint32_t key_at, key_len; /* in the batch's names, zero-terminated */
    uint64_t size;
    bool compare; /* there is a value of that size already: only what differs is moved */
    int rc;       /* of a call under way */
};

struct transfer_batch {
    struct cairn_link link;
    uint32_t n;
    uint64_t bytes;
    struct transfer_item items[TRANSFER_BATCH_ITEMS];
    bool timed_out; /* a call for some of them */
    char *names;
    size_t names_len, names_room;
};

struct transfer;
struct transfer_worker;

/** What a command moves, from where, and how. */
struct transfer_plan {
    const char *verb, *dir, *prefix; /* dir and prefix may be NULL */
    bool makes_dir;                  /* when the namespace is known to be there */
    bool strict;                     /* what is left out is a failure */
    bool sizes_only;                 /* what is there already was told by its size */
    uint64_t jobs;
    const void *args; /* of the command */
    /** Finds out what there is to do, and says so by transfer_add() and its kin. 0, or an error that ends it all. */
    int (*find)(struct transfer *t, struct cairn_ns *ns, struct cli_call *call);
    /** Does it, on a worker's thread. */
    void (*work)(struct transfer_worker *w, struct transfer_batch *b);
    /** Finds out the totals, beside the work; ends early when ->ending. */
    void (*count)(struct transfer *t);
};

/** One worker: its session, and room for one batch. */
struct transfer_worker {
    struct transfer *t;
    pthread_t thread;
    uint32_t index;
    struct cairn *session; /* changes under the lock */
    _Atomic bool undoing;  /* the call under way must not be canceled */
    struct cairn_ns *ns;
    char *buf, *other; /* TRANSFER_BATCH_BYTES + 1 each */
    /* The directory that the last file went into. */
    char *dir;
    int dir_fd;
};

struct transfer_counts {
    _Atomic uint64_t files, bytes;                  /* moved, or found equal */
    _Atomic uint64_t skipped;                       /* there already */
    _Atomic uint64_t symlinks, special, empty_dirs; /* left out */
    _Atomic uint64_t failed;
};

struct transfer {
    struct cli *cli;
    const struct transfer_plan *plan;
    const char *ns_name, *dir, *prefix; /* prefix: "" if there is none */
    size_t prefix_len;
    uint32_t jobs, embed_bytes;
    int root; /* of the tree, -1 if there is none */

    struct transfer_counts counts;
    _Atomic uint32_t timeouts; /* since the node answered last */
    struct cli_progress progress;
    struct transfer_worker workers[TRANSFER_JOBS_MAX];
    struct transfer_batch *filling;
    pthread_t counter;
    bool counting;
    _Atomic bool ending;

    pthread_t watcher; /* interrupt.c */
    sigset_t mask;     /* as it was */
    bool watching;
    _Atomic bool unwatched;
    _Atomic int interrupted; /* the signal that asked for an end */

    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t moved;
    struct cairn_link queue;
    uint32_t nqueued;
    bool closed;
    struct cairn *counting_session;
    json_t *failures;
    _Atomic int fatal; /* CAIRN_E_*: everybody stops */
    char fatal_text[512];
};

/** A whole transfer with the namespace of the first operand; prints failures and the summary. Returns an exit code. */
int transfer_run(struct cli *cli, const struct transfer_plan *plan);
/** Puts one value up for work. Blocks while the queue is full. False: stop, the transfer has come to an end. */
bool transfer_add(struct transfer *t, const void *key, size_t key_len, uint64_t size, bool compare);
/** Counts an entry of a tree that is no file: left out, or, when it cannot be read, failed. */
void transfer_left_out(struct transfer *t, const struct tree_entry *e);
/** The key of a file of the tree, into @key. False: too long, which has been said. */
bool transfer_tree_key(struct transfer *t, const struct tree_entry *e, char key[CAIRN_KEY_BYTES_MAX + 1], size_t *len);

static inline const char *transfer_key(const struct transfer_batch *b, const struct transfer_item *i)
{
    return b->names + i->key_at;
}
/** The key without the prefix: a path below the tree's root. */
static inline const char *transfer_path(const struct transfer *t, const struct transfer_batch *b,
                                        const struct transfer_item *i)
{
    return b->names + i->key_at + t->prefix_len;
}

/** One file or value done: counts, and progress. */
void transfer_done(struct transfer *t, uint64_t bytes);
void transfer_skipped(struct transfer *t, uint64_t bytes);
/** What has become of an item: done or failed. */
void transfer_item_over(struct transfer *t, struct transfer_batch *b, const struct transfer_item *i, int rc,
                        const char *text);
/** One that failed. A code that would hit every other value too ends the transfer. */
void transfer_failed(struct transfer *t, const char *key, size_t key_len, int rc, const char *text);
/** A call has timed out that says nothing about any item. Too many in a row end the transfer: each of those that
 * would follow would be waited for as long. */
void transfer_timed_out(struct transfer *t);
/** True once nothing more is to be begun: a fatal failure, or an interrupt. */
bool transfer_is_stopped(const struct transfer *t);
/** Finds out in the background how much there is, if anybody sees the progress. */
void transfer_set_totals(struct transfer *t, uint64_t files, uint64_t bytes);

/** Prints failures and summary of what took @ns. @status, or what is worse. */
int transfer_report(struct transfer *t, uint64_t ns, int status);

/** From start to stop Ctrl-C and SIGTERM ask for an end, which is within 2 s; start() before other threads are there,
 * stop() when they are gone. */
void transfer_watch_start(struct transfer *t);
void transfer_watch_stop(struct transfer *t);

/** A count function: the keys with the prefix. */
void transfer_count_keys(struct transfer *t);

/** The items as reads of a batch into @buf; for cairn_mget(). */
void transfer_gets(const struct transfer_batch *b, struct transfer_item *const *items, uint32_t n, char *buf,
                   struct cairn_get_item *gets);

/** The code of a local failure, for transfer_failed(). */
int transfer_errno(int errnum);

/** Reads a file of the tree that should have @size bytes into @buf (of @size + 1). 0, or CAIRN_E_STATE if it has
 * changed, or what belongs to errno. */
int transfer_read_file(const struct transfer *t, const char *path, void *buf, uint64_t size);

/** A large file, mapped: guarded_unmap() afterwards. */
int transfer_map(const struct transfer *t, const char *path, uint64_t size, struct guarded_map *map);

#endif
