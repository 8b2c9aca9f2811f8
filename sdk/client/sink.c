/* Bytes that come back: as payload, which is copied, or moved by the server into the caller's memory. Both are compared
 * with the checksums that came along; after the first mismatch the server is asked to look at what it stored and to
 * send it again, so that a fault on the way is mended and a fault of the storage is told from it. */
#include "sdk/client/client_internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { SINK_TRIES_MAX = 8 };

static void on_check(void *arg);

int cairn__crcs_new(const void *p, uint64_t len, uint32_t inline_crcs[CLIENT_CRCS_INLINE], uint32_t **crcs, size_t *n)
{
    *n = cairn_check_parts(0, len);
    *crcs = inline_crcs;
    if (*n > CLIENT_CRCS_INLINE) {
        *crcs = malloc(*n * sizeof(**crcs));
        if (*crcs == NULL)
            return CAIRN_E_NOMEM;
    }
    cairn_check_compute(p, len, *crcs);
    return 0;
}

uint32_t *cairn__crcs_give(struct cairn_call *call, const uint32_t inline_crcs[CLIENT_CRCS_INLINE], uint32_t *crcs,
                           size_t n)
{
    if (crcs == inline_crcs) {
        memcpy(call->crcs_inline, crcs, n * sizeof(*crcs));
        crcs = call->crcs_inline;
    }
    call->crcs = crcs;
    return crcs;
}

/* What the request that is not a probe asks for. */
static uint64_t sink_asks(const struct cairn_call_sink *s)
{
    return s->range != 0 ? MIN(s->room, s->range) : s->room;
}

uint64_t cairn__sink_room(struct cairn_call *call)
{
    struct cairn_call_sink *s = &call->sink;
    uint64_t room = s->probing ? (uint64_t)CAIRN_BULK_THRESHOLD_BYTES : sink_asks(s);

    call->expose_len = 0;
    if (room > CAIRN_BULK_THRESHOLD_BYTES) {
        call->expose_ptr = s->buf;
        call->expose_len = room;
        call->expose_rights = CAIRN_BULK_CAN_WRITE;
    }
    return MAX(room, UINT64_C(1)); /* 0 would mean: all of it */
}

static void sink_over(struct cairn_call *call, int rc)
{
    free(call->check.own);
    call->check.own = NULL;
    if (call->sink.over != NULL)
        call->sink.over(call, rc);
    else
        cairn__call_finish(call, rc);
}

void cairn__sink_drop(struct cairn_call *call)
{
    if (call->sink.alloc != NULL) {
        free(call->sink.buf);
        call->sink.buf = NULL;
    }
}

/* Memory of its own for @len bytes and a zero. */
static bool sink_allocate(struct cairn_call *call, uint64_t len)
{
    struct cairn_call_sink *s = &call->sink;

    free(s->buf);
    s->buf = len < SIZE_MAX ? malloc(len + 1) : NULL;
    s->room = len;
    return s->buf != NULL;
}

static void sink_malformed(struct cairn_call *call, const char *what)
{
    cairn_err_set(&call->err, CAIRN_E_PROTO, "the reply is malformed: %s", what);
    sink_over(call, CAIRN_E_PROTO);
}

static void sink_done(struct cairn_call *call)
{
    struct cairn_call_sink *s = &call->sink;
    uint64_t want;
    int rc;

    if (s->range != 0 && !s->ranges_done) {
        want = MIN(s->room, s->total - MIN(s->off, s->total));
        if (s->got < want) {
            free(call->check.own);
            call->check.own = NULL;
            if (s->stamp == 0) { /* any would pass for this one */
                sink_malformed(call, "no stamp of a value that comes in ranges");
                return;
            }
            rc = cairn__large_get(call, s->got, want);
            if (rc != 0)
                sink_over(call, rc);
            return;
        }
    }
    if (s->alloc != NULL) {
        s->buf[s->got] = 0;
        *s->alloc = s->buf;
        s->buf = NULL;
    }
    if (s->len != NULL)
        *s->len = s->got;
    if (s->total_out != NULL)
        *s->total_out = s->total;
    if (s->stamp_out != NULL)
        *s->stamp_out = s->stamp;
    sink_over(call, 0);
}

void cairn__sink_refuse(struct cairn_call *call, int rc)
{
    sink_over(call, rc);
}

void cairn__sink_ranges_over(struct cairn_call *call, int rc)
{
    struct cairn_call_sink *s = &call->sink;

    if (rc == CAIRN_E_BUSY && !s->restarted && s->stamp_want == 0) { /* replaced meanwhile: once more, from the start */
        s->restarted = true;
        s->probing = s->alloc != NULL;
        call->err.code = 0;
        call->err.text[0] = '\0';
        cairn__call_again(call);
        return;
    }
    s->ranges_done = true;
    if (rc == 0)
        sink_done(call);
    else
        sink_over(call, rc);
}

static void sink_bad(struct cairn_call *call)
{
    free(call->check.own);
    call->check.own = NULL;
    if (!call->verify) {
        call->verify = true;
        cairn__call_again(call);
        return;
    }
    cairn_err_set(&call->err, CAIRN_E_CORRUPT,
                  "the bytes do not match their checksums, though the node found them good");
    sink_over(call, CAIRN_E_CORRUPT);
}

/* One slice a task: other calls go on in between. */
static void sink_check(struct cairn_call *call)
{
    switch (cairn_check_step(&call->check)) {
    case CAIRN_CHECK_GOOD:
        sink_done(call);
        return;
    case CAIRN_CHECK_BAD:
        sink_bad(call);
        return;
    case CAIRN_CHECK_MORE:
        break;
    }
    if (call->canceled) {
        sink_over(call, CAIRN_E_CANCELED);
        return;
    }
    cairn_task_init(&call->task, on_check, call);
    cairn_env_defer(&call->c->loop.env, &call->task);
}

static void on_check(void *arg)
{
    sink_check(arg);
}

static void sink_check_start(struct cairn_call *call, const uint32_t *crcs, size_t ncrcs)
{
    struct cairn_call_sink *s = &call->sink;

    cairn_check_start(&call->check, s->buf, s->off, s->got, crcs);
    if (s->got > CAIRN_CHECK_SLICE_BYTES) { /* the reply is gone before the last slice */
        call->check.own = malloc(ncrcs * sizeof(*crcs));
        if (call->check.own == NULL) {
            sink_over(call, CAIRN_E_NOMEM);
            return;
        }
        memcpy(call->check.own, crcs, ncrcs * sizeof(*crcs));
        call->check.crcs = call->check.own;
    }
    sink_check(call);
}

/* How long the value is, is known; it must be fetched by a second request unless it came with this one. True: go on
 * with it. */
static bool sink_probed(struct cairn_call *call, uint64_t length, uint64_t total)
{
    struct cairn_call_sink *s = &call->sink;

    if (!sink_allocate(call, total)) {
        sink_over(call, CAIRN_E_NOMEM);
        return false;
    }
    s->probing = false;
    if (length == total && length <= sink_asks(s))
        return true;
    cairn__call_again(call);
    return false;
}

void cairn__sink_take(struct cairn_call *call, uint64_t length, uint64_t total, const uint32_t *crcs, size_t ncrcs)
{
    struct cairn_call_sink *s = &call->sink;
    bool by_bulk = length > 0 && call->rpc.reply_payload_len == 0;

    s->total = total;
    if (s->probing) {
        if (total > CAIRN_VALUE_BYTES_MAX)
            sink_malformed(call, "impossible length");
        else if (sink_probed(call, length, total))
            goto fill;
        return;
    }
    if (s->alloc != NULL && total != s->room) { /* replaced since we asked for its length */
        s->probing = true;
        if (++s->tries < SINK_TRIES_MAX)
            cairn__call_again(call);
        else
            sink_over(call, CAIRN_E_BUSY);
        return;
    }
    if (s->whole && total > s->room) {
        if (s->len != NULL)
            *s->len = total;
        cairn_err_set(&call->err, CAIRN_E_TOOBIG, "the value has %" PRIu64 " bytes, there is room for %" PRIu64, total,
                      s->room);
        sink_over(call, CAIRN_E_TOOBIG);
        return;
    }
    if (s->room == 0) { /* we had to ask for a byte */
        s->got = 0;
        sink_done(call);
        return;
    }
fill:
    if (length > s->room || (by_bulk && call->expose_len == 0) || (!by_bulk && length != call->rpc.reply_payload_len)) {
        sink_malformed(call, "more or fewer bytes than it says");
        return;
    }
    if (total != UINT64_MAX && length != MIN(sink_asks(s), total - MIN(s->off, total))) {
        sink_malformed(call, "fewer bytes than there are");
        return;
    }
    if (!by_bulk && length > 0)
        memcpy(s->buf, call->rpc.reply_payload, length);
    s->got = length;
    if (ncrcs != cairn_check_parts(s->off, length) && (ncrcs > 0 || by_bulk)) {
        sink_malformed(call, "number of checksums");
        return;
    }
    if (ncrcs == 0)
        sink_done(call); /* a part, or of a provider that keeps none: the frame's checksum has covered it */
    else
        sink_check_start(call, crcs, ncrcs);
}

void cairn__sink_take_payload(struct cairn_call *call)
{
    cairn__sink_take(call, call->rpc.reply_payload_len, call->rpc.reply_payload_len, NULL, 0);
}
