/* The two halves of a writer's memory: see hashed_writer.c. One is filled while the other is sent as a part, by whoever
 * writes: the caller's thread, or a step on the loop. */
#include "sdk/client/hashed_writer.h"

#include <stdlib.h>
#include <string.h>

enum { WRITER_SMALL_PARTS = 64, WRITER_MIDDLING_PARTS = 256 };

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

static void half_on_sent(void *arg, int rc)
{
    struct cairn__half *h = arg;
    struct cairn_writer *w = h->w;
    struct cairn_call *parked = w->parked;

    w->parked = NULL;
    cairn__waiter_over(w->s.ns->h.c, &h->waiter,
                       rc); /* a thread that waits may free @w from here on; then none is parked */
    if (parked != NULL)
        parked->next(parked);
}

/* The parts were lost with the node that led. What was written is not here any more either: all that can be done is
 * to write it once more. */
static int writer_lost(const struct cairn_writer *w, int rc)
{
    if (rc != CAIRN_E_MOVED)
        return rc;
    if (w->s.o.error != NULL)
        w->s.o.error->code = CAIRN_E_BUSY;
    return CAIRN_E_BUSY;
}

static void half_take_back(struct cairn__half *h, int rc)
{
    h->running = false;
    if (h->w->rc == 0)
        h->w->rc = writer_lost(h->w, rc);
}

void cairn__half_wait(struct cairn__half *h)
{
    struct cairn *c = h->w->s.ns->h.c;
    int rc;

    if (!h->running)
        return;
    atomic_fetch_add_explicit(&c->users, 1, memory_order_relaxed);
    rc = cairn__wait(c, &h->waiter, false);
    atomic_fetch_sub_explicit(&c->users, 1, memory_order_release);
    half_take_back(h, rc);
}

bool cairn__half_is_back(struct cairn__half *h, struct cairn_call *call)
{
    if (!h->running)
        return true;
    if (!h->waiter.over) {
        h->w->parked = call;
        return false;
    }
    half_take_back(h, h->waiter.rc);
    return true;
}

void cairn__half_send(struct cairn__half *h, uint32_t *crcs)
{
    struct cairn_writer *w = h->w;
    struct cairn__part part = { .upload = w->upload,
                                .home = &w->home,
                                .key = w->s.key,
                                .key_len = w->s.key_len,
                                .number = w->parts,
                                .p = h->buf,
                                .len = h->len,
                                .crcs = crcs };

    h->waiter = (struct cairn_waiter){ .kind = CAIRN_WAITS_FOR_CALL };
    w->rc = cairn__part_start(w->s.ns, &part, &w->s.o, half_on_sent, h, 0, &h->call);
    if (w->rc != 0)
        return;
    h->running = true;
    h->len = 0;
    w->parts++;
    w->filling = (w->filling + 1) % WRITER_HALVES;
}

void cairn__half_sum_and_send(struct cairn__half *h)
{
    struct cairn_writer *w = h->w;
    uint32_t *crcs =
        malloc(cairn_check_parts(0, h->len) * sizeof(*crcs)); /* here: the loop is not kept from anything */

    if (crcs == NULL) {
        w->rc = cairn__refuse(&w->s.o, CAIRN_E_NOMEM, "no memory for checksums");
        return;
    }
    cairn_check_compute(h->buf, h->len, crcs);
    cairn__half_send(h, crcs);
    if (w->rc == 0)
        cairn_poll(w->s.ns->h.c, 0); /* it leaves now, and is carried out while the other half is being filled */
}

static int half_make_room(struct cairn__half *h)
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

bool cairn__half_fill(struct cairn__half *h, size_t slice)
{
    struct cairn_writer *w = h->w;
    size_t size = part_size(w, w->parts), n;

    w->rc = half_make_room(h);
    if (w->rc != 0)
        return false;
    n = MIN(MIN(w->left, slice), size - h->len);
    memcpy(h->buf + h->len, w->from, n);
    h->len += n;
    w->total += n;
    w->from += n;
    w->left -= n;
    return h->len == size;
}

struct cairn__half *cairn__half_to_fill(struct cairn_writer *w)
{
    if (w->parts < CAIRN_PARTS_MAX)
        return &w->half[w->filling];
    w->rc = cairn__refuse(&w->s.o, CAIRN_E_TOOBIG, "the value has more bytes than was said");
    return NULL;
}
