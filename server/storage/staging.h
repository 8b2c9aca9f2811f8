/** Staging memory of one loop: aligned buffers of one size, bounded in number, handed out in order of asking.
 *
 * What travels between a peer and a file passes through here, so the bound on buffers is the bound on bytes in flight.
 * Buffers are made when first needed and kept while in use; those that lie idle are given back to the system after a
 * while, so an idle node holds none. Loop's own thread only. */
#ifndef CAIRN_SERVER_STORAGE_STAGING_H
#define CAIRN_SERVER_STORAGE_STAGING_H

#include "sdk/core/loop/loop.h"

enum { CAIRN_STAGING_ALIGN = 4096, CAIRN_STAGING_IDLE_MS = 5000 };

struct cairn_staging_buf {
    struct cairn_link link;
    uint8_t *bytes; /* of the size given at init */
};

/** One who asks, held by him until got() has run or the wait is given up. */
struct cairn_staging_wait {
    struct cairn_link link;
    void (*got)(struct cairn_staging_wait *wait, struct cairn_staging_buf *buf);
    void *arg;
};

struct cairn_staging {
    struct cairn_loop *loop;
    uint64_t bytes;     /* of one buffer */
    uint32_t max, made; /* buffers */
    uint32_t wait_max, waiting;
    struct cairn_link idle, waiters;
    struct cairn_task hand_out;
    struct cairn_timer trim;
    uint32_t idle_n;
};

void cairn_staging_init(struct cairn_staging *s, struct cairn_loop *loop, uint64_t bytes, uint32_t max,
                        uint32_t wait_max);
/** Asserts that all buffers are back. */
void cairn_staging_fini(struct cairn_staging *s);

/** Returns 0 with *@buf set, or 1: got() will run later, or CAIRN_E_BUSY (as many wait as may) or CAIRN_E_NOMEM. */
int cairn_staging_get(struct cairn_staging *s, struct cairn_staging_wait *wait, struct cairn_staging_buf **buf);
/** The wait is given up; harmless if it is over. */
void cairn_staging_cancel(struct cairn_staging *s, struct cairn_staging_wait *wait);
void cairn_staging_put(struct cairn_staging *s, struct cairn_staging_buf *buf);

#endif
