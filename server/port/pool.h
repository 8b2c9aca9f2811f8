/** The storage pool: threads for calls that block, so that loops never do. */
#ifndef CAIRN_SERVER_PORT_POOL_H
#define CAIRN_SERVER_PORT_POOL_H

#include "sdk/core/loop/loop.h"

struct cairn_pool;

/** One piece of blocking work, held by its user until done() has run. */
struct cairn_job {
    void (*work)(struct cairn_job *job); /* on a pool thread; may block; touches nothing of the loop's */
    void (*done)(struct cairn_job *job); /* on the loop that submitted it */
    void *arg;

    struct cairn_link link;
    struct cairn_task task;
    struct cairn_loop *loop;
};

/** @threads of them, named "cairn-pool". At most @queue_max jobs wait. */
struct cairn_pool *cairn_pool_new(uint32_t threads, uint32_t queue_max, struct cairn_err *err);
/** Waits for jobs that run; asserts that none wait. */
void cairn_pool_free(struct cairn_pool *pool);

/** Any thread. Returns 0, or CAIRN_E_BUSY when the queue is full (then done() will not run). */
int cairn_pool_submit(struct cairn_pool *pool, struct cairn_loop *loop, struct cairn_job *job);

/** Jobs waiting and running now, for metrics. */
void cairn_pool_load(struct cairn_pool *pool, uint32_t *waiting, uint32_t *running);

#endif
