/** Group commit: writers that arrive together are applied together, and one sync serves all who wait for it.
 *
 * Operations of one turn of a loop are handed over in one piece. One of two threads takes all that wait, in order of
 * arrival, and lets the engine apply them with one write (which reaches the kernel: they survive the process). Those
 * that must survive power loss then wait for a sync, beside which the other thread applies what comes. Clients that were
 * answered together come back together: if the last sync served several, the next waits a little, a twentieth of what a
 * sync takes and 500 us at most, until as many are there again. Answers travel to each loop in one post.
 *
 * The engine is given as two functions; it may be anything that can write a group at once. */
#ifndef CAIRN_SERVER_STORAGE_COMMIT_H
#define CAIRN_SERVER_STORAGE_COMMIT_H

#include "sdk/core/base/err.h"
#include "sdk/core/loop/loop.h"

enum {
    CAIRN_COMMIT_GROUP_OPS_MAX = 1024,
    CAIRN_COMMIT_GROUP_BYTES_MAX = 4 << 20, /* reached by the last one that is taken */
    CAIRN_COMMIT_LINGER_NS_MAX = 500000,
    CAIRN_COMMIT_LINGER_PART = 20,
};

struct cairn_commit;

/** One writer's operation; held by it from submit to done(). */
struct cairn_commit_op {
    uint32_t worker; /* whose loop gets done(): index into conf.loops */
    uint32_t bytes;  /* how much it counts against the bounds */
    bool sync;       /* must survive power loss; apply() may clear it when there is nothing to wait for */
    bool quiet;      /* nobody waits for done() unless it fails: it comes with the next, or by cairn_commit_collect() */
    int rc;          /* set by apply(), or by a sync that failed */
    void (*done)(struct cairn_commit_op *op);

    struct cairn_link link; /* private but for apply(), which walks the group by it */
};

struct cairn_commit_conf {
    struct cairn_loop *const *loops;
    uint32_t nloops;
    uint32_t ops_max;   /* that may wait */
    uint64_t bytes_max; /* likewise */
    /** On one thread at a time: writes the operations on @group, a list through op->link, in order, and sets op->rc.
     * Must leave the list as it is. */
    void (*apply)(void *ctx, struct cairn_link *group);
    /** Likewise, beside apply(): all that apply() has written before survives power loss when it returns
     * 0. */
    int (*sync)(void *ctx);
    void *ctx;
};

struct cairn_commit_stats {
    uint64_t groups, ops, syncs, synced_ops, lingers;
    uint32_t waiting; /* operations that are not answered */
    uint64_t waiting_bytes;
};

struct cairn_commit *cairn_commit_new(const struct cairn_commit_conf *conf, struct cairn_err *err);
/** Asserts that no operation is under way. After the loops have ended. */
void cairn_commit_free(struct cairn_commit *c);

/** On the loop of op->worker. op->done() runs there, later. Returns 0, or CAIRN_E_BUSY when too much waits already. */
int cairn_commit_submit(struct cairn_commit *c, struct cairn_commit_op *op);

/** On the loop of @worker: done() of all that are over, now. */
void cairn_commit_collect(struct cairn_commit *c, uint32_t worker);

/** Any thread. */
void cairn_commit_stats(struct cairn_commit *c, struct cairn_commit_stats *out);

#endif
