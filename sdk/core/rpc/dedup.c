/* Remembered answers: see dedup.h. */
#include "sdk/core/rpc/dedup.h"

#include <stdlib.h>
#include <string.h>

enum { DEDUP_EMPTY, DEDUP_RUNNING, DEDUP_DONE, DEDUP_TOO_BIG };

static struct cairn_rpc_dedup_entry *dedup_entry(struct cairn_rpc_dedup *d, uint16_t seq)
{
    return &d->ring[seq & (d->window - 1)];
}

static void entry_clear(struct cairn_rpc_dedup_entry *e)
{
    free(e->bytes);
    memset(e, 0, sizeof(*e));
}

enum cairn_dedup_verdict cairn_rpc_dedup_admit(struct cairn_rpc_dedup *d, struct cairn_rpc_req *rq, bool retry,
                                               const struct cairn_rpc_dedup_entry **known)
{
    struct cairn_rpc_dedup_entry *e;

    if (d->ring == NULL) {
        d->ring = calloc(d->window, sizeof(*d->ring));
        if (d->ring == NULL)
            return CAIRN_DEDUP_BAD;
    }
    e = dedup_entry(d, rq->seq);
    if (retry && e->state != DEDUP_EMPTY && e->seq == rq->seq) {
        if (e->state == DEDUP_RUNNING) {
            if (e->waiter != NULL)
                return CAIRN_DEDUP_BAD; /* one connection at a time has the session, and it sends a call once */
            e->waiter = rq;
            return CAIRN_DEDUP_WAIT;
        }
        *known = e;
        return CAIRN_DEDUP_REPLAY;
    }
    if (e->state == DEDUP_RUNNING)
        return CAIRN_DEDUP_BUSY;
    entry_clear(e);
    e->state = DEDUP_RUNNING;
    e->seq = rq->seq;
    d->running++;
    return CAIRN_DEDUP_RUN;
}

struct cairn_rpc_req *cairn_rpc_dedup_answered(struct cairn_rpc_dedup *d, uint16_t seq, int status, const uint8_t *body,
                                               uint32_t body_len, const struct iovec *payload, uint32_t n)
{
    struct cairn_rpc_dedup_entry *e = dedup_entry(d, seq);
    struct cairn_rpc_req *waiter = e->waiter;
    size_t len = body_len, at = body_len;

    CAIRN_ASSERT(e->state == DEDUP_RUNNING && e->seq == seq);
    CAIRN_ASSERT(d->running > 0);
    d->running--;
    e->waiter = NULL;
    if (cairn_rpc_may_come_again(status)) {
        entry_clear(e);
        return waiter;
    }
    e->state = DEDUP_DONE;
    e->status = status;
    for (uint32_t i = 0; i < n; i++)
        len += payload[i].iov_len;
    if (len == 0)
        return waiter;
    e->bytes = len <= CAIRN_DEDUP_BYTES_MAX ? malloc(len) : NULL;
    if (e->bytes == NULL) { /* what was done cannot be told again: say so rather than do it again */
        e->state = DEDUP_TOO_BIG;
        e->status = CAIRN_E_UNKNOWN;
        return waiter;
    }
    memcpy(e->bytes, body, body_len);
    for (uint32_t i = 0; i < n; i++) {
        memcpy(e->bytes + at, payload[i].iov_base, payload[i].iov_len);
        at += payload[i].iov_len;
    }
    e->body_len = body_len;
    e->payload_len = (uint32_t)(len - body_len);
    return waiter;
}

void cairn_rpc_dedup_forget_waiter(struct cairn_rpc_dedup *d, struct cairn_rpc_req *rq)
{
    struct cairn_rpc_dedup_entry *e = dedup_entry(d, rq->seq);

    if (e->waiter == rq)
        e->waiter = NULL;
}

void cairn_rpc_dedup_fini(struct cairn_rpc_dedup *d)
{
    CAIRN_ASSERT(d->running == 0);
    for (uint32_t i = 0; d->ring != NULL && i < d->window; i++)
        entry_clear(&d->ring[i]);
    free(d->ring);
    d->ring = NULL;
}
