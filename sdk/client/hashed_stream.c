/* Values that are read piece by piece, and what reader and writer share: see cairn/hashed.h. The writer:
 * hashed_writer.c. */
#include "sdk/client/hashed_internal.h"

#include <stdlib.h>
#include <string.h>

/* ---- options that live as long as a stream ---- */

int cairn__stream_init(struct cairn__stream *s, struct cairn_ns *ns, const void *key, size_t key_len,
                       const struct cairn_call_options *o)
{
    if (!cairn__are_options(o))
        return CAIRN_E_INVAL;
    if (key_len == 0 || key_len > CAIRN_KEY_BYTES_MAX)
        return cairn__refuse_key(o, key_len);
    s->ns = ns;
    atomic_fetch_add(&ns->h.refs, 1);
    atomic_init(&s->stepping, false);
    s->o = cairn__options_of(o);
    s->o.call = NULL;
    s->key_len = key_len;
    memcpy(s->key, key, key_len);
    return 0;
}

void cairn__stream_fini(struct cairn__stream *s)
{
    CAIRN_ASSERT(!atomic_load(&s->stepping));
    cairn__handle_put(&s->ns->h);
}

int cairn__stream_step(struct cairn__stream *s, cairn_done_fn *done, void *arg)
{
    if (atomic_exchange(&s->stepping, true))
        return cairn__refuse(&s->o, CAIRN_E_STATE, "a step of the same reader or writer is in flight");
    s->done = done;
    s->arg = arg;
    return 0;
}

int cairn__stream_over(struct cairn__stream *s, int rc)
{
    atomic_store(&s->stepping, false);
    return rc;
}

/* ---- reading ---- */

struct cairn_reader {
    struct cairn__stream s;
    uint64_t off, total, stamp;
    bool known;  /* @total and @stamp are */
    size_t *len; /* results of the step in flight */
    uint64_t *total_out;
};

int cairn_reader_open(struct cairn_ns *ns, const void *key, size_t key_len, uint64_t off,
                      const struct cairn_call_options *o, struct cairn_reader **out)
{
    struct cairn_reader *r = calloc(1, sizeof(*r));
    int rc;

    *out = NULL;
    if (r == NULL)
        return cairn__refuse(o, CAIRN_E_NOMEM, "no memory for a reader");
    rc = cairn__stream_init(&r->s, ns, key, key_len, o);
    if (rc != 0) {
        free(r);
        return rc;
    }
    r->off = off;
    *out = r;
    return 0;
}

static int reader_take(struct cairn_reader *r, int rc)
{
    if (rc == 0) {
        r->known = true;
        r->off += *r->len;
        if (r->total_out != NULL)
            *r->total_out = r->total;
    }
    return cairn__stream_over(&r->s, rc);
}

static int reader_ask(struct cairn_reader *r, void *buf, size_t room, cairn_done_fn *done, void *arg)
{
    struct cairn_call_sink sink = { .buf = buf,
                                    .room = room,
                                    .off = r->off,
                                    .len = r->len,
                                    .total_out = &r->total,
                                    .stamp_want = r->stamp,
                                    .stamp_out = &r->stamp };

    *r->len = 0;
    if (!r->known || r->off < r->total)
        return cairn__hashed_get(r->s.ns, r->s.key, r->s.key_len, &sink, &r->s.o, done, arg);
    /* The end is the end, whatever stands there now. */
    return done != NULL ? cairn__call_nothing(r->s.ns->h.c, &r->s.o, done, arg) : 0;
}

static void reader_on_read(void *arg, int rc)
{
    struct cairn_reader *r = arg;
    cairn_done_fn *done = r->s.done;
    void *done_arg = r->s.arg;

    rc = reader_take(r, rc);
    done(done_arg, rc); /* which may begin the next step, or close the reader */
}

static int reader_read(struct cairn_reader *r, void *buf, size_t room, size_t *len, uint64_t *total,
                       cairn_done_fn *done, void *arg)
{
    int rc = cairn__stream_step(&r->s, done, arg);

    if (rc != 0)
        return rc;
    r->len = len;
    r->total_out = total;
    if (done == NULL)
        return reader_take(r, reader_ask(r, buf, room, NULL, NULL));
    rc = reader_ask(r, buf, room, reader_on_read, r);
    return rc == 0 ? 0 : cairn__stream_over(&r->s, rc);
}

int cairn_reader_read(struct cairn_reader *r, void *buf, size_t room, size_t *len, uint64_t *total)
{
    return reader_read(r, buf, room, len, total, NULL, NULL);
}

int cairn_reader_read_async(struct cairn_reader *r, void *buf, size_t room, size_t *len, uint64_t *total,
                            cairn_done_fn *done, void *arg)
{
    return done != NULL ? reader_read(r, buf, room, len, total, done, arg) : CAIRN_E_INVAL;
}

void cairn_reader_close(struct cairn_reader *r)
{
    if (r == NULL)
        return;
    cairn__stream_fini(&r->s);
    free(r);
}
