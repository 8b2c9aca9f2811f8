/* Batches of a clustered namespace: the entries that one node leads share its requests, as on one node; what is too
 * large for that goes one by one. Each entry has its own result: those that another node has by now, or nobody at the
 * moment, are asked again, puts with the numbers that they have. Of a write-once namespace entries are read where a
 * replica is near, and where that has no value of one, whatever it says, the leader is asked (PROTOCOL §8).
 *
 * A batch is worked on window by window, so that what is kept beside it is bounded. */
#include "sdk/client/hashed_mspread.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct batch *batch_of(struct spread *x)
{
    return CONTAINER_OF(x, struct batch, x);
}

static const void *entry_key(const struct batch *b, size_t i, size_t *len)
{
    *len = b->puts != NULL ? b->puts[b->base + i].key_len : b->gets[b->base + i].key_len;
    return b->puts != NULL ? b->puts[b->base + i].key : b->gets[b->base + i].key;
}

/* ---- results ---- */

void cairn__mspread_note(struct batch *b, int rc, const char *text)
{
    if (b->rc != 0)
        return;
    b->rc = b->x.parent->err.code = rc;
    snprintf(b->x.parent->err.text, sizeof(b->x.parent->err.text), "%s", text);
}

/* As on one node: what is not there, or does not fit, or is damaged, is no error of a mget. */
static bool is_of_entry_alone(const struct batch *b, int rc)
{
    return b->gets != NULL && (rc == CAIRN_E_TOOBIG || rc == CAIRN_E_NOTFOUND || rc == CAIRN_E_CORRUPT ||
                               rc == CAIRN_E_FORMAT || rc == CAIRN_E_IO);
}

void cairn__mspread_done(struct entry *e, int rc, const char *text)
{
    struct batch *b = e->batch;
    size_t i = b->base + (size_t)(e - b->entries);

    e->state = ENTRY_DONE;
    cairn__number_give(&e->number);
    if (b->puts != NULL)
        b->puts[i].status = rc;
    else
        b->gets[i].status = rc;
    if (b->gets != NULL && rc != 0 && rc != CAIRN_E_TOOBIG)
        b->gets[i].value_len = 0;
    if (rc != 0 && !is_of_entry_alone(b, rc))
        cairn__mspread_note(b, rc, text[0] != '\0' ? text : cairn_error_text(rc));
    b->x.news = true;
}

/* ---- numbers ---- */

static void on_number(struct cairn_number *n, int rc)
{
    struct entry *e = CONTAINER_OF(n, struct entry, number);
    struct batch *b = e->batch;

    if (e->state != ENTRY_NUMBER)
        return;
    e->state = ENTRY_TODO;
    b->x.awaited--;
    b->x.news = true;
    b->numbered = false;
    if (rc != 0)
        cairn__mspread_done(e, rc, cairn__number_error(n));
    cairn__spread_pump_soon(&b->x);
}

/* All whose sessions are being opened go together, a request for each node; those that wait for others' answers do
 * not hold them up: the answers may be theirs. */
static bool batch_is_ready(struct spread *x)
{
    struct batch *b = batch_of(x);

    for (size_t i = 0; x->awaited > 0 && i < b->width; i++) {
        if (b->entries[i].state == ENTRY_NUMBER && cairn__number_is_coming(&b->entries[i].number))
            return false;
    }
    return true;
}

static void batch_number(struct batch *b)
{
    struct cairn_ns *ns = cairn__hashed_ns(b->x.parent);
    int rc;

    b->numbered = true;
    for (size_t i = 0; i < b->width; i++) {
        struct entry *e = &b->entries[i];

        if (e->state != ENTRY_TODO || e->single || cairn__number_take(ns->h.c, &e->number, ns, e->slot, &rc))
            continue;
        if (rc != 0 && !cairn__route_is_passing(rc)) {
            cairn__mspread_done(e, rc, "");
        } else if (rc == 0) {
            e->state = ENTRY_NUMBER;
            b->x.awaited++;
        }
    }
}

/* ---- requests ---- */

static int batch_start(struct spread *x, struct spread_child *child)
{
    struct batch *b = batch_of(x);
    struct page *p;
    int rc;

    if (b->puts != NULL && !b->numbered)
        batch_number(b);
    p = cairn__mspread_gather(b, child);
    if (p == NULL)
        return 1;
    child->mine = p;
    rc = cairn__mspread_ask(b, child, p);
    if (rc == 0)
        return 0;
    for (size_t i = 0; i < p->n; i++)
        b->entries[p->index[i]].state = ENTRY_TODO;
    free(p);
    child->mine = NULL;
    if (!cairn__route_is_passing(rc))
        cairn__mspread_note(b, rc, cairn_error_text(rc));
    return rc;
}

static void batch_took(struct spread *x, struct spread_child *child, int rc)
{
    struct batch *b = batch_of(x);
    struct page *p = child->mine;

    child->mine = NULL;
    cairn__mspread_took(b, child, p, rc);
    free(p);
}

/* ---- rounds ---- */

static void window_begin(struct batch *b)
{
    struct cairn_ns *ns = cairn__hashed_ns(b->x.parent);

    b->width = MIN(b->n - b->base, (size_t)CAIRN_BATCH_MAX);
    for (size_t i = 0; i < b->width; i++) {
        struct entry *e = &b->entries[i];
        size_t len;
        const void *key = entry_key(b, i, &len);

        *e = (struct entry){ .batch = b, .slot = cairn__hashed_slot(ns, key, len) };
        e->single = b->puts != NULL && b->puts[b->base + i].value_len > b->value_max;
        cairn__number_init(&e->number, ns->write_once, on_number);
    }
}

static bool window_is_done(const struct batch *b)
{
    for (size_t i = 0; i < b->width; i++) {
        if (b->entries[i].state != ENTRY_DONE)
            return false;
    }
    return true;
}

static int batch_plan(struct spread *x)
{
    struct batch *b = batch_of(x);
    uint64_t epoch;

    b->numbered = false;
    if (window_is_done(b)) {
        b->base += b->width;
        b->width = 0;
        if (b->base == b->n)
            return SPREAD_OVER;
        window_begin(b);
    }
    if (b->rc == CAIRN_E_NOMEM)
        return b->rc;
    for (size_t i = 0; i < b->width; i++)
        b->entries[i].held_back = false;
    for (size_t i = 0; i < b->width; i++) {
        if (b->entries[i].state != ENTRY_DONE && cairn__route_leader(x->parent->c, b->entries[i].slot, &epoch) >= 0)
            return SPREAD_ASK;
    }
    return SPREAD_WAIT; /* nothing is known of any */
}

static void batch_forget(struct spread *x)
{
    struct batch *b = batch_of(x);

    for (size_t i = 0; i < b->width; i++) {
        if (b->entries[i].state != ENTRY_NUMBER)
            continue;
        b->entries[i].state = ENTRY_TODO; /* before it is given: that may wake others, and not itself */
        cairn__number_give(&b->entries[i].number);
    }
    x->awaited = 0;
}

static int batch_misses(const struct spread *x)
{
    const struct batch *b = CONTAINER_OF(x, const struct batch, x);
    uint64_t epoch;
    int place = -1;

    for (size_t i = 0; i < b->width && place < 0; i++) {
        if (b->entries[i].state != ENTRY_DONE)
            place = cairn__route_leader(x->parent->c, b->entries[i].slot, &epoch);
    }
    return place;
}

static int batch_end(struct spread *x, int rc)
{
    struct batch *b = batch_of(x);

    for (size_t i = 0; i < b->width; i++) {
        if (b->entries[i].state != ENTRY_DONE)
            cairn__mspread_done(&b->entries[i], rc, "");
    }
    for (size_t i = b->base + b->width; i < b->n; i++) {
        if (b->puts != NULL)
            b->puts[i].status = rc;
        else
            b->gets[i].status = rc;
    }
    return rc != 0 ? rc : b->rc;
}

static const struct spread_ops batch_ops = { .plan = batch_plan,
                                             .start = batch_start,
                                             .took = batch_took,
                                             .is_ready = batch_is_ready,
                                             .forget = batch_forget,
                                             .misses = batch_misses,
                                             .end = batch_end };

static int batch_go(struct cairn_ns *ns, const struct batch *with, const struct cairn_call_options *o,
                    cairn_done_fn *done, void *arg)
{
    struct batch *b = calloc(1, sizeof(*b) + MIN(with->n, (size_t)CAIRN_BATCH_MAX) * sizeof(b->entries[0]));

    if (b == NULL)
        return cairn__refuse(o, CAIRN_E_NOMEM, "no memory for a batch");
    *b = *with;
    b->value_max = MIN(ns->embed_threshold, (uint32_t)CAIRN_KV_VALUE_BYTES_MAX);
    b->by_replicas = b->gets != NULL && ns->write_once;
    b->if_absent = (cairn__flags(o) & CAIRN_IF_ABSENT) != 0;
    return cairn__spread_go(ns, &b->x, &batch_ops, o, done, arg);
}

int cairn__spread_mput(struct cairn_ns *ns, struct cairn_put_item *items, size_t n, const struct cairn_call_options *o,
                       cairn_done_fn *done, void *arg)
{
    const struct batch with = { .n = n, .puts = items };

    return batch_go(ns, &with, o, done, arg);
}

int cairn__spread_mget(struct cairn_ns *ns, struct cairn_get_item *items, size_t n, const struct cairn_call_options *o,
                       cairn_done_fn *done, void *arg)
{
    const struct batch with = { .n = n, .gets = items };

    return batch_go(ns, &with, o, done, arg);
}
