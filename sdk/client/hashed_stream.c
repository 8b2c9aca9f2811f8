/* Values that are written and read piece by piece: see cairn/hashed.h. */
#include "sdk/client/hashed_internal.h"
#include "sdk/core/base/log.h"

#include <stdlib.h>
#include <string.h>

/* ---- options that live as long as a stream ---- */

struct stream {
    struct cairn_ns *ns; /* a reference */
    struct cairn_call_options o;
    size_t key_len;
    uint8_t key[CAIRN_KEY_BYTES_MAX];
};

static int stream_init(struct stream *s, struct cairn_ns *ns, const void *key, size_t key_len,
                       const struct cairn_call_options *o)
{
    if (o != NULL && o->size < sizeof(*o))
        return CAIRN_E_INVAL;
    if (key_len == 0 || key_len > CAIRN_KEY_BYTES_MAX)
        return cairn__refuse_key(o, key_len);
    s->ns = ns;
    atomic_fetch_add(&ns->h.refs, 1);
    s->o = o != NULL ? *o : (struct cairn_call_options)CAIRN_CALL_OPTIONS_INIT;
    s->o.call = NULL;
    s->key_len = key_len;
    memcpy(s->key, key, key_len);
    return 0;
}

static void stream_fini(struct stream *s)
{
    cairn__handle_put(&s->ns->h);
}

/* ---- writing ---- */

enum { WRITER_HALVES = 2, WRITER_SMALL_PARTS = 64, WRITER_MIDDLING_PARTS = 256 };

struct half {
    struct cairn_writer *w;
    uint8_t *buf;
    size_t room, len;
    bool running;
    struct cairn_waiter waiter;
    struct cairn_call *call;
};

struct cairn_writer {
    struct stream s;
    uint64_t upload, length, total; /* @length: as hinted; @total: of what was sent or is in a buffer */
    uint32_t parts;                 /* begun */
    uint32_t filling;
    int rc; /* first failure */
    struct half half[WRITER_HALVES];
};

/* Small parts first: most values are small, and there may be 4096 parts. All large if the value will need that. */
static size_t part_size(const struct cairn_writer *w, uint32_t number)
{
    uint64_t whole = w->s.ns->part_bytes, size = whole;

    if (w->length <= whole * (CAIRN_PARTS_MAX / 2)) {
        if (number < WRITER_SMALL_PARTS)
            size = whole / 16;
        else if (number < WRITER_MIDDLING_PARTS)
            size = whole / 4;
    }
    size -= size % CAIRN_EXTENT_CHUNK_BYTES;
    return MAX((size_t)size, (size_t)CAIRN_EXTENT_CHUNK_BYTES);
}

int cairn_writer_open(struct cairn_ns *ns, const void *key, size_t key_len, uint64_t length,
                      const struct cairn_call_options *o, struct cairn_writer **out)
{
    struct cairn_writer *w;
    int rc;

    *out = NULL;
    if (length > CAIRN_VALUE_BYTES_MAX)
        return cairn__refuse(o, CAIRN_E_TOOBIG, "a value has at most %llu bytes",
                             (unsigned long long)CAIRN_VALUE_BYTES_MAX);
    w = calloc(1, sizeof(*w));
    if (w == NULL)
        return cairn__refuse(o, CAIRN_E_NOMEM, "no memory for a writer");
    rc = stream_init(&w->s, ns, key, key_len, o);
    if (rc != 0) {
        free(w);
        return rc;
    }
    w->length = length;
    w->upload = cairn_env_random(&ns->h.c->loop.env);
    for (uint32_t i = 0; i < WRITER_HALVES; i++)
        w->half[i].w = w;
    *out = w;
    return 0;
}

static void writer_free(struct cairn_writer *w)
{
    for (uint32_t i = 0; i < WRITER_HALVES; i++)
        free(w->half[i].buf);
    stream_fini(&w->s);
    free(w);
}

static void half_on_sent(void *arg, int rc)
{
    struct half *h = arg;

    cairn__waiter_over(h->w->s.ns->h.c, &h->waiter, rc);
}

/* Until the half is ours again. */
static void half_wait(struct half *h)
{
    struct cairn *c = h->w->s.ns->h.c;
    int rc;

    if (!h->running)
        return;
    atomic_fetch_add_explicit(&c->users, 1, memory_order_relaxed);
    rc = cairn__wait(c, &h->waiter, false);
    atomic_fetch_sub_explicit(&c->users, 1, memory_order_release);
    h->running = false;
    if (h->w->rc == 0)
        h->w->rc = rc;
}

static void half_send(struct half *h)
{
    struct cairn_writer *w = h->w;
    struct cairn__part part = { .upload = w->upload, .number = w->parts, .p = h->buf, .len = h->len };
    size_t n = cairn_check_parts(0, h->len);

    part.crcs = malloc(n * sizeof(*part.crcs)); /* here, where the loop is not kept from anything */
    if (part.crcs == NULL) {
        w->rc = cairn__refuse(&w->s.o, CAIRN_E_NOMEM, "no memory for checksums");
        return;
    }
    cairn_check_compute(h->buf, h->len, part.crcs);
    h->waiter = (struct cairn_waiter){ .kind = CAIRN_WAITS_FOR_CALL };
    w->rc = cairn__part_start(w->s.ns, &part, &w->s.o, half_on_sent, h, 0, &h->call);
    if (w->rc != 0)
        return;
    h->running = true;
    h->len = 0;
    w->parts++;
    w->filling = (w->filling + 1) % WRITER_HALVES;
    cairn_poll(w->s.ns->h.c, 0); /* it leaves now, and is carried out while the other half is being filled */
}

static int half_make_room(struct half *h)
{
    size_t room = part_size(h->w, h->w->parts);

    if (h->room >= room)
        return 0;
    CAIRN_ASSERT(h->len == 0);
    free(h->buf);
    h->buf = malloc(room);
    h->room = h->buf != NULL ? room : 0;
    return h->buf != NULL ? 0 : cairn__refuse(&h->w->s.o, CAIRN_E_NOMEM, "no memory for %zu bytes", room);
}

int cairn_writer_write(struct cairn_writer *w, const void *buf, size_t len)
{
    const uint8_t *from = buf;

    if (cairn__is_inside(w->s.ns->h.c))
        return cairn__refuse(&w->s.o, CAIRN_E_STATE, "a callback cannot wait for a writer");
    while (len > 0 && w->rc == 0) {
        struct half *h = &w->half[w->filling];
        size_t size = part_size(w, w->parts), n;

        if (w->parts == CAIRN_PARTS_MAX) {
            w->rc = cairn__refuse(&w->s.o, CAIRN_E_TOOBIG, "the value has more bytes than was said");
            break;
        }
        half_wait(h); /* before its buffer may change */
        if (w->rc == 0)
            w->rc = half_make_room(h);
        if (w->rc != 0)
            break;
        n = MIN(len, size - h->len);
        memcpy(h->buf + h->len, from, n);
        h->len += n;
        w->total += n;
        from += n;
        len -= n;
        if (h->len == size)
            half_send(h);
    }
    return w->rc;
}

static int writer_commit_parts(struct cairn_writer *w)
{
    struct cairn__commit commit = { .upload = w->upload,
                                    .parts = w->parts,
                                    .length = w->total,
                                    .if_absent = (cairn__flags(&w->s.o) & CAIRN_IF_ABSENT) != 0 };
    struct cairn_call *call;
    int rc = cairn__call_new(w->s.ns->h.c, &w->s.ns->h, &w->s.o, NULL, NULL, &call);

    if (rc != 0)
        return rc;
    cairn__commit_request(call, w->s.ns, w->s.key, w->s.key_len, &commit);
    call->answered = cairn__answered_plainly;
    return cairn__call_go(call);
}

int cairn_writer_commit(struct cairn_writer *w)
{
    struct half *h = &w->half[w->filling];
    int rc = w->rc;

    if (cairn__is_inside(w->s.ns->h.c))
        return cairn__refuse(&w->s.o, CAIRN_E_STATE, "a callback cannot wait for a writer");
    if (rc == 0 && w->parts == 0) { /* one request is enough */
        rc = cairn_put(w->s.ns, w->s.key, w->s.key_len, h->buf, h->len, &w->s.o);
        writer_free(w);
        return rc;
    }
    if (rc == 0 && h->len > 0) {
        if (w->parts < CAIRN_PARTS_MAX)
            half_send(h);
        rc = w->rc;
    }
    for (uint32_t i = 0; rc == 0 && i < WRITER_HALVES; i++) {
        half_wait(&w->half[i]);
        rc = w->rc;
    }
    if (rc == 0)
        rc = writer_commit_parts(w);
    if (rc != 0) {
        cairn_writer_abort(w);
        return rc;
    }
    writer_free(w);
    return 0;
}

void cairn_writer_abort(struct cairn_writer *w)
{
    if (w == NULL)
        return;
    if (cairn__is_inside(w->s.ns->h.c)) {
        cairn_log_error("cairn_writer_abort() inside a callback of the same client: ignored");
        return;
    }
    for (uint32_t i = 0; i < WRITER_HALVES; i++)
        half_wait(&w->half[i]);
    if (w->parts > 0)
        (void)cairn__abort_start(w->s.ns, w->upload, NULL, NULL); /* else the node removes them later */
    writer_free(w);
}

/* ---- reading ---- */

struct cairn_reader {
    struct stream s;
    uint64_t off, total, stamp;
    bool known; /* @total and @stamp are */
};

int cairn_reader_open(struct cairn_ns *ns, const void *key, size_t key_len, uint64_t off,
                      const struct cairn_call_options *o, struct cairn_reader **out)
{
    struct cairn_reader *r = calloc(1, sizeof(*r));
    int rc;

    *out = NULL;
    if (r == NULL)
        return cairn__refuse(o, CAIRN_E_NOMEM, "no memory for a reader");
    rc = stream_init(&r->s, ns, key, key_len, o);
    if (rc != 0) {
        free(r);
        return rc;
    }
    r->off = off;
    *out = r;
    return 0;
}

int cairn_reader_read(struct cairn_reader *r, void *buf, size_t room, size_t *len, uint64_t *total)
{
    struct cairn_call_sink sink = { .buf = buf,
                                    .room = room,
                                    .off = r->off,
                                    .len = len,
                                    .total_out = &r->total,
                                    .stamp_want = r->stamp,
                                    .stamp_out = &r->stamp };
    int rc = 0;

    *len = 0;
    if (!r->known || r->off < r->total) /* the end is the end, whatever stands there now */
        rc = cairn__hashed_get(r->s.ns, r->s.key, r->s.key_len, &sink, &r->s.o, NULL, NULL);
    if (rc != 0)
        return rc;
    r->known = true;
    r->off += *len;
    if (total != NULL)
        *total = r->total;
    return 0;
}

void cairn_reader_close(struct cairn_reader *r)
{
    if (r == NULL)
        return;
    stream_fini(&r->s);
    free(r);
}
