/* The news: views that changed lately, in queues by how often they were sent, so that the newest goes first and each
 * packet takes what it has room for in constant time. The queues run through the views. What we suspect ourselves is news
 * until that ends: whoever has heard it contradicted says so (swim_merge.c). */
#include "providers/group/swim_internal.h"

#include <math.h>

uint32_t cairn_swim__spread(const struct cairn_swim *s)
{
    uint32_t n = (uint32_t)ceil(s->conf.spread * log10(cairn_swim_size(s) + 1.0));

    return MIN(MAX(n, s->conf.spread), (uint32_t)CAIRN_SWIM_SPREAD_MAX);
}

static void append(struct cairn_swim *s, uint32_t slot, uint32_t sent)
{
    struct cairn_swim_view *v = &s->views[slot];

    v->news = (uint8_t)(sent + 1);
    v->next = 0;
    v->prev = s->news[sent].tail;
    if (v->prev != 0)
        s->views[v->prev - 1].next = slot + 1;
    else
        s->news[sent].head = slot + 1;
    s->news[sent].tail = slot + 1;
    s->nnews++;
}

void cairn_swim__news_del(struct cairn_swim *s, uint32_t slot)
{
    struct cairn_swim_view *v = &s->views[slot];
    uint32_t sent = v->news - 1u;

    if (v->news == 0)
        return;
    if (v->prev != 0)
        s->views[v->prev - 1].next = v->next;
    else
        s->news[sent].head = v->next;
    if (v->next != 0)
        s->views[v->next - 1].prev = v->prev;
    else
        s->news[sent].tail = v->prev;
    v->news = 0;
    s->nnews--;
}

void cairn_swim__news_add(struct cairn_swim *s, uint32_t slot)
{
    if (!swim_is_member(s))
        return; /* an observer tells nobody */
    cairn_swim__news_del(s, slot);
    if (s->nnews == 0)
        s->gossip_at = MAX(s->gossip_at, s->now_ms);
    append(s, slot, 0);
}

void cairn_swim__news_again(struct cairn_swim *s, uint32_t slot)
{
    uint32_t limit = cairn_swim__spread(s);

    if (s->views[slot].news != 0)
        return;
    if (s->nnews == 0)
        s->gossip_at = MAX(s->gossip_at, s->now_ms);
    append(s, slot, limit - MIN(limit, s->conf.fanout));
}

bool cairn_swim__record(const struct cairn_swim *s, uint32_t slot, struct cairn_swim_update *u)
{
    const struct cairn_swim_view *v = &s->views[slot];
    const struct cairn_swim_suspicion *x;

    if (v->state == CAIRN_SWIM_NONE)
        return false;
    cairn_swim_desc_to_update(&s->dir->descs[slot], u);
    u->state = v->state;
    u->incarnation = v->incarnation;
    u->load = v->load;
    u->load_seq = v->load_seq;
    if (v->state == CAIRN_SWIM_ALIVE)
        return true;
    u->nby = 1;
    u->by[0] = s->id;
    if (v->state == CAIRN_SWIM_SUSPECT) {
        x = cairn_swim__suspicion_of(s, slot);
        u->nby = x->nby;
        for (uint32_t i = 0; i < x->nby; i++)
            u->by[i] = x->by[i];
    }
    return true;
}

void cairn_swim__news_write(struct cairn_swim *s, struct cairn_le_writer *w, const struct swim_first *except)
{
    uint32_t picked[CAIRN_SWIM_UPDATES_MAX - 4], sent[CAIRN_SWIM_UPDATES_MAX - 4], n = 0, limit = cairn_swim__spread(s);
    struct cairn_swim_update u;
    bool room = true;

    if (s->nnews == 0)
        return;
    for (uint32_t b = 0; room && b < CAIRN_SWIM_SPREAD_MAX; b++) {
        for (uint32_t at = s->news[b].head, next; room && at != 0 && n < ARRAY_SIZE(picked); at = next) {
            uint32_t slot = at - 1;

            next = s->views[slot].next;
            if (slot != except->slot[0] && slot != except->slot[1])
                room = cairn_swim__record(s, slot, &u) && cairn_swim_write_update(w, &u);
            if (!room)
                break;
            cairn_swim__news_del(s, slot);
            picked[n] = slot;
            sent[n++] = b + 1;
        }
    }
    for (uint32_t i = 0; i < n; i++) {
        if (sent[i] < limit || cairn_swim__suspicion_is_ours(s, picked[i]))
            append(s, picked[i], MIN(sent[i], CAIRN_SWIM_SPREAD_MAX - 1u));
    }
}
