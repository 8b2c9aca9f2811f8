/* Packets as they leave: a head, the records that must be said, what is news, and one more record to fill them. */
#include "providers/group/swim_internal.h"

static struct cairn_swim_send *send_new(struct swim_step *st, const struct cairn_swim_addr *to, uint32_t slot)
{
    struct cairn_swim_send *x;

    if (st->out->nsends == CAIRN_SWIM_SENDS_MAX || to->len == 0)
        return NULL; /* as if it were lost on the way */
    x = &st->out->sends[st->out->nsends++];
    x->to = *to;
    x->slot = slot;
    return x;
}

static void write_head(const struct cairn_swim *s, struct cairn_le_writer *w, uint8_t *to, struct cairn_swim_msg *m)
{
    if (swim_is_member(s)) {
        m->load = s->views[s->self].load;
        m->load_seq = s->views[s->self].load_seq;
        m->incarnation = s->views[s->self].incarnation;
        m->word = s->word;
    } else {
        m->load = 0;
        m->load_seq = 0;
        m->incarnation = 0;
    }
    cairn_swim_write_head(w, to, m);
}

static void write_first(const struct cairn_swim *s, struct cairn_le_writer *w, uint32_t slot)
{
    struct cairn_swim_update u;

    if (slot != NO_SLOT && cairn_swim__record(s, slot, &u))
        cairn_swim_write_update(w, &u);
}

/* The members in turn, a record a packet: what was lost on its way comes again. */
static void write_fill(struct cairn_swim *s, struct cairn_le_writer *w, const struct swim_first *except)
{
    enum { LOOK_MAX = 8 };
    struct cairn_swim_update u;

    for (uint32_t i = 0; i < LOOK_MAX && s->dir->used > 0; i++) {
        s->fill = (s->fill + 1) % s->dir->used;
        if (s->views[s->fill].state != CAIRN_SWIM_ALIVE || s->fill == except->slot[0] || s->fill == except->slot[1])
            continue;
        if (cairn_swim__record(s, s->fill, &u))
            cairn_swim_write_update(w, &u);
        return;
    }
}

bool cairn_swim__send(struct swim_step *st, uint32_t slot, struct cairn_swim_msg *head, const struct swim_first *first)
{
    struct cairn_swim *s = st->s;
    struct cairn_swim_send *x = send_new(st, &s->dir->descs[slot].addr, slot);
    struct cairn_le_writer w;

    if (x == NULL)
        return false;
    write_head(s, &w, x->bytes, head);
    for (uint32_t i = 0; i < ARRAY_SIZE(first->slot); i++)
        write_first(s, &w, first->slot[i]);
    cairn_swim__news_write(s, &w, first);
    if (head->kind == CAIRN_SWIM_ACK)
        write_fill(s, &w, first);
    x->len = (uint16_t)(w.at - x->bytes);
    return true;
}

uint32_t cairn_swim__send_records(struct swim_step *st, uint32_t to, const uint32_t *slots, uint32_t n)
{
    struct cairn_swim *s = st->s;
    struct cairn_swim_send *x = send_new(st, &s->dir->descs[to].addr, to);
    struct cairn_swim_msg head = { .kind = CAIRN_SWIM_GOSSIP };
    struct cairn_swim_update u;
    struct cairn_le_writer w;
    uint32_t i = 0;

    if (x == NULL)
        return 0;
    write_head(s, &w, x->bytes, &head);
    while (i < n && (!cairn_swim__record(s, slots[i], &u) || cairn_swim_write_update(&w, &u)))
        i++;
    cairn_swim__news_write(s, &w, FIRST(slots[0], n > 1 ? slots[1] : NO_SLOT));
    x->len = (uint16_t)(w.at - x->bytes);
    return i;
}

void cairn_swim__gossip(struct swim_step *st)
{
    struct cairn_swim *s = st->s;
    struct cairn_swim_msg head = { .kind = CAIRN_SWIM_GOSSIP };
    uint32_t chosen[CAIRN_SWIM_SENDS_MAX] = { s->self };

    for (uint32_t i = 1; i <= s->conf.fanout && swim_has_news(s); i++) {
        s->word_left -= s->word_left > 0; /* whether there is anybody or not */
        chosen[i] = cairn_swim__pick(s, chosen, i);
        if (chosen[i] == NO_SLOT || !cairn_swim__send(st, chosen[i], &head, FIRST(NO_SLOT, NO_SLOT)))
            return;
    }
}

/* ---- pages ---- */

bool cairn_swim__send_sync(struct swim_step *st, const struct cairn_swim_addr *to)
{
    struct cairn_swim *s = st->s;
    struct cairn_swim_join *j = &s->join;
    struct cairn_swim_send *x = send_new(st, to, NO_SLOT);
    struct cairn_swim_msg head = { .kind = CAIRN_SWIM_SYNC,
                                   .flags = swim_is_member(s) ? CAIRN_SWIM_F_JOIN : 0,
                                   .seq = j->seq,
                                   .about = s->instance,
                                   .epoch = j->epoch,
                                   .version = j->since,
                                   .next = j->cursor };
    struct cairn_le_writer w;

    if (x == NULL)
        return false;
    write_head(s, &w, x->bytes, &head);
    write_first(s, &w, s->self);
    x->len = (uint16_t)(w.at - x->bytes);
    return true;
}

bool cairn_swim__send_page(struct swim_step *st, const struct cairn_swim_msg *sync, uint32_t first)
{
    enum { LOOK_MAX = 4096, FILLS = 2 }; /* slots looked at: a step is bounded, and a page may be empty */
    struct cairn_swim *s = st->s;
    struct cairn_swim_send *x = send_new(st, &st->in->addr, NO_SLOT);
    uint32_t since = sync->epoch == s->epoch ? sync->version : 0, slot = sync->next, n = 0;
    struct cairn_swim_msg head = {
        .kind = CAIRN_SWIM_PAGE, .seq = sync->seq, .epoch = s->epoch, .version = s->version
    };
    struct cairn_swim_update u;
    struct cairn_le_writer w;

    if (x == NULL)
        return false;
    write_head(s, &w, x->bytes, &head); /* for its length: written again below */
    write_first(s, &w, first);
    for (uint32_t i = 0; slot < s->dir->used && i < LOOK_MAX; i++, slot++) {
        if (s->views[slot].changed <= since || !cairn_swim__record(s, slot, &u))
            continue;
        if (n >= CAIRN_SWIM_UPDATES_MAX - 3 - FILLS)
            break;
        if (u.state == CAIRN_SWIM_SUSPECT) { /* who does not know the member needs to, before it hears the rest */
            u.state = CAIRN_SWIM_ALIVE;
            if (!cairn_swim_write_update(&w, &u))
                break;
            u.state = CAIRN_SWIM_SUSPECT;
            n++;
        }
        if (!cairn_swim_write_update(&w, &u))
            break;
        n++;
    }
    for (uint32_t i = 0; slot >= s->dir->used && i < FILLS; i++) /* load figures are no change that a version counts */
        write_fill(s, &w, FIRST(first, NO_SLOT));
    x->len = (uint16_t)(w.at - x->bytes);
    head.next = slot;
    head.flags = slot < s->dir->used ? CAIRN_SWIM_F_MORE : 0;
    write_head(s, &w, x->bytes, &head);
    return true;
}

void cairn_swim__send_refusal(struct swim_step *st, const struct cairn_swim_msg *sync, uint8_t why, uint32_t holder)
{
    struct cairn_swim *s = st->s;
    struct cairn_swim_send *x = send_new(st, &st->in->addr, NO_SLOT);
    struct cairn_swim_msg head = { .kind = CAIRN_SWIM_REFUSE, .flags = why, .seq = sync->seq, .about = sync->about };
    struct cairn_le_writer w;
    struct cairn_swim_update u;

    s->counts.refused++;
    if (x == NULL)
        return;
    write_head(s, &w, x->bytes, &head);
    if (holder != NO_SLOT && cairn_swim__record(s, holder, &u)) {
        u.state = CAIRN_SWIM_ALIVE; /* its address is what matters */
        cairn_swim_write_update(&w, &u);
    }
    x->len = (uint16_t)(w.at - x->bytes);
}
