/* Suspicions: a pool, and a binary heap of their deadlines.
 *
 * A deadline is max - (max - min) * log(c + 1) / log(k + 1) after the beginning, c of k confirmations being there
 * (Lifeguard, section IV-B). Shortly before it, whom a suspicion is about is called once more: who heard of it from
 * others has told it for a moment only, and may have missed what was said against it. */
#include "providers/group/swim_internal.h"

#include <math.h>

void cairn_swim__suspects_init(struct cairn_swim_suspects *x, const struct cairn_swim_memory *m)
{
    *x = (struct cairn_swim_suspects){ .all = m->suspicions, .heap = m->heap, .max = m->nsuspicions };
    for (uint32_t i = 0; i < x->max; i++)
        x->heap[i] = i;
}

static struct cairn_swim_suspicion *at(const struct cairn_swim_suspects *x, uint32_t pos)
{
    return &x->all[x->heap[pos]];
}

static void swap(struct cairn_swim_suspects *x, uint32_t a, uint32_t b)
{
    uint32_t number = x->heap[a];

    x->heap[a] = x->heap[b];
    x->heap[b] = number;
    at(x, a)->pos = a;
    at(x, b)->pos = b;
}

static void rise(struct cairn_swim_suspects *x, uint32_t pos)
{
    while (pos > 0 && at(x, pos)->due_ms < at(x, (pos - 1) / 2)->due_ms) {
        swap(x, pos, (pos - 1) / 2);
        pos = (pos - 1) / 2;
    }
}

static void sink(struct cairn_swim_suspects *x, uint32_t pos)
{
    for (;;) {
        uint32_t least = pos;

        for (uint32_t child = 2 * pos + 1; child <= 2 * pos + 2 && child < x->n; child++) {
            if (at(x, child)->due_ms < at(x, least)->due_ms)
                least = child;
        }
        if (least == pos)
            return;
        swap(x, pos, least);
        pos = least;
    }
}

static uint32_t call_ms(const struct cairn_swim *s)
{
    return 2 * s->conf.gossip_ms; /* there and back, even by another member */
}

static uint64_t deadline(const struct cairn_swim_suspicion *x)
{
    double left = x->max_ms - x->min_ms;
    uint32_t confirmed = x->nby - 1u;

    if (x->wanted == 0 || confirmed >= x->wanted)
        return x->since_ms + x->min_ms;
    return x->since_ms + x->max_ms - (uint64_t)(left * log(confirmed + 1.0) / log(x->wanted + 1.0));
}

/* The call is due before the deadline; at once, and with it what it was to prevent, if a confirmation has moved that
 * into the past. */
static void plan(struct cairn_swim *s, struct cairn_swim_suspicion *x)
{
    uint64_t at = deadline(x);

    x->due_ms = x->called ? at : MAX(at, x->since_ms + call_ms(s)) - call_ms(s);
    rise(&s->suspects, x->pos);
    sink(&s->suspects, x->pos);
}

struct cairn_swim_suspicion *cairn_swim__suspicion_new(struct cairn_swim *s, uint32_t slot)
{
    struct cairn_swim_suspects *all = &s->suspects;
    uint32_t n = cairn_swim_size(s), others = n > 2 ? n - 2 : 0;
    struct cairn_swim_suspicion *x;

    if (all->n == all->max)
        return NULL;
    x = at(all, all->n);
    CAIRN_ASSERT(s->conf.confirmations < CAIRN_SWIM_BY_MAX);
    *x = (struct cairn_swim_suspicion){ .since_ms = s->now_ms, .slot = slot, .pos = all->n };
    x->min_ms = (uint32_t)(s->conf.suspect_ms * MAX(1.0, log10(n)));
    x->max_ms = x->min_ms * s->conf.suspect_times;
    x->wanted = (uint8_t)(others >= s->conf.confirmations ? s->conf.confirmations : 0);
    s->views[slot].mark = all->heap[all->n++];
    x->nby = 1; /* as long as nobody has said so */
    plan(s, x);
    x->nby = 0;
    return x;
}

struct cairn_swim_suspicion *cairn_swim__suspicion_of(const struct cairn_swim *s, uint32_t slot)
{
    CAIRN_ASSERT(s->views[slot].state == CAIRN_SWIM_SUSPECT);
    return &s->suspects.all[s->views[slot].mark];
}

void cairn_swim__suspicion_end(struct cairn_swim *s, uint32_t slot)
{
    struct cairn_swim_suspects *all = &s->suspects;
    uint32_t pos = cairn_swim__suspicion_of(s, slot)->pos, last = all->n - 1;

    swap(all, pos, last);
    all->n--;
    if (pos < all->n) {
        rise(all, pos);
        sink(all, pos);
    }
}

bool cairn_swim__suspicion_confirm(struct cairn_swim *s, struct cairn_swim_suspicion *x, uint64_t by)
{
    for (uint32_t i = 0; i < x->nby; i++) {
        if (x->by[i] == by)
            return false;
    }
    if (x->nby > x->wanted)
        return false;
    x->by[x->nby++] = by;
    plan(s, x);
    return true;
}

bool cairn_swim__suspicion_is_ours(const struct cairn_swim *s, uint32_t slot)
{
    const struct cairn_swim_suspicion *x;
    bool ours = false;

    if (s->views[slot].state != CAIRN_SWIM_SUSPECT)
        return false;
    x = cairn_swim__suspicion_of(s, slot);
    for (uint32_t i = 0; i < x->nby; i++)
        ours |= x->by[i] == s->id;
    return ours;
}

bool cairn_swim__suspicion_believe(struct cairn_swim *s, uint32_t slot)
{
    struct cairn_swim_suspicion *x = cairn_swim__suspicion_of(s, slot);

    x->max_ms = x->min_ms;
    plan(s, x);
    return s->now_ms >= deadline(x);
}

void cairn_swim__suspicion_heard(struct cairn_swim *s, uint32_t slot)
{
    struct cairn_swim_suspicion *x;

    if (s->views[slot].state != CAIRN_SWIM_SUSPECT)
        return;
    x = cairn_swim__suspicion_of(s, slot);
    x->since_ms = s->now_ms;
    x->called = false;
    plan(s, x);
}

uint64_t cairn_swim__suspicion_due(const struct cairn_swim *s)
{
    /* An observer judges nobody: it may be the one who is cut off. */
    return s->suspects.n > 0 && swim_is_member(s) ? at(&s->suspects, 0)->due_ms : UINT64_MAX;
}

/* It is told what we believe of it, and so are some others, who may know better. What we suspect ourselves is news
 * anyway. */
static void call(struct swim_step *st, struct cairn_swim_suspicion *x)
{
    cairn_swim__send_records(st, x->slot, &x->slot, 1);
    cairn_swim__news_again(st->s, x->slot);
}

void cairn_swim__suspicions_expire(struct swim_step *st)
{
    enum { EXPIRE_MAX = 16 }; /* a step is bounded, and so are its packets; the rest is due at once again */
    struct cairn_swim *s = st->s;
    uint32_t calls = 0;

    for (uint32_t i = 0; i < EXPIRE_MAX && cairn_swim__suspicion_due(s) <= s->now_ms; i++) {
        struct cairn_swim_suspicion *x = at(&s->suspects, 0);
        uint32_t slot = x->slot;

        if (!x->called) {
            bool ours = cairn_swim__suspicion_is_ours(s, slot);

            if (!ours && calls == SWIM_CALLS_MAX)
                return;
            x->called = true;
            plan(s, x);
            if (!ours) {
                calls++;
                call(st, x);
            }
            continue;
        }
        s->counts.deaths++;
        cairn_swim__die(st, slot, s->views[slot].incarnation, CAIRN_SWIM_DEAD);
    }
}
