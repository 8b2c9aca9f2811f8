/* What others say of members, ourselves among them: the newer incarnation holds; of one incarnation, dead over
 * suspected over alive. A message changes nothing when it comes again, so order and repetition do not matter. */
#include "providers/group/swim_internal.h"

void cairn_swim__changed(struct cairn_swim *s, uint32_t slot)
{
    s->views[slot].changed = ++s->version;
    cairn_swim__news_add(s, slot);
}

void cairn_swim__set_state(struct cairn_swim *s, uint32_t slot, uint8_t state)
{
    struct cairn_swim_view *v = &s->views[slot];

    if (v->state == CAIRN_SWIM_SUSPECT)
        cairn_swim__suspicion_end(s, slot);
    s->count[v->state]--;
    s->count[state]++;
    v->state = state;
    v->mark = (uint32_t)(s->now_ms / 1000);
}

void cairn_swim__contradict(struct swim_step *st, uint64_t heard)
{
    struct cairn_swim *s = st->s;
    struct cairn_swim_view *me = &s->views[s->self];

    if (heard < me->incarnation)
        return; /* we have done so already */
    me->incarnation = heard + 1;
    s->counts.accused++;
    cairn_swim__health(s, 1);
    cairn_swim__changed(s, s->self);
    cairn_swim__event(st, CAIRN_SWIM_EV_ACCUSED, s->self);
}

/* Someone claims to be us. */
static void merge_self(struct swim_step *st, const struct cairn_swim_update *u)
{
    struct cairn_swim *s = st->s;
    const struct cairn_swim_view *me = &s->views[s->self];

    if (u->state != CAIRN_SWIM_ALIVE) {
        if (s->leaving)
            return;
        cairn_swim__contradict(st, u->incarnation);
        st->outdated[st->noutdated++] = s->self; /* news go to some, and this one may be nobody's but ours to tell */
    } else if (u->incarnation > me->incarnation) {
        if (cairn_swim_addr_equal(&u->addr, &s->dir->descs[s->self].addr)) {
            cairn_swim__contradict(st, u->incarnation); /* a former life, whose clock was ahead */
        } else {
            s->superseded = true;
            cairn_swim__event(st, CAIRN_SWIM_EV_SUPERSEDED, s->self);
            st->out->events[st->out->nevents - 1].addr = u->addr;
        }
    }
}

void cairn_swim__take_load(struct cairn_swim *s, uint32_t slot, uint32_t seq, uint16_t load)
{
    struct cairn_swim_view *v = &s->views[slot];

    if (seq <= v->load_seq)
        return;
    v->load_seq = seq;
    v->load = load;
}

static void merge_alive(struct swim_step *st, const struct cairn_swim_update *u, uint32_t slot)
{
    struct cairn_swim *s = st->s;
    struct cairn_swim_desc d;
    struct cairn_swim_view *v;
    uint8_t before = slot != NO_SLOT ? s->views[slot].state : CAIRN_SWIM_NONE;
    bool same;

    if (before != CAIRN_SWIM_NONE && cairn_swim__is_told_anew(s, slot) &&
        (before != CAIRN_SWIM_ALIVE || u->incarnation < s->views[slot].incarnation))
        s->views[slot].incarnation = 0;
    if (before != CAIRN_SWIM_NONE && u->incarnation <= s->views[slot].incarnation) {
        if (u->incarnation == s->views[slot].incarnation)
            cairn_swim__take_load(s, slot, u->load_seq, u->load);
        return;
    }
    cairn_swim_update_to_desc(u, &d);
    same = slot != NO_SLOT && memcmp(&d, &s->dir->descs[slot], sizeof(d)) == 0;
    if (slot == NO_SLOT)
        cairn_swim__make_room(s);
    if (!same)
        slot = cairn_swim_dir_put(s->dir, &d);
    if (slot == NO_SLOT) {
        s->counts.dropped++;
        cairn_swim__event(st, CAIRN_SWIM_EV_DROPPED_MEMBER, NO_SLOT);
        return;
    }
    v = &s->views[slot];
    v->incarnation = u->incarnation;
    v->load = u->load;
    v->load_seq = u->load_seq;
    if (!swim_is_member(s))
        v->next = s->join.number;
    cairn_swim__set_state(s, slot, CAIRN_SWIM_ALIVE);
    cairn_swim__changed(s, slot);
    if (before == CAIRN_SWIM_SUSPECT)
        cairn_swim__event(st, CAIRN_SWIM_EV_CLEARED, slot);
    else if (before != CAIRN_SWIM_ALIVE)
        cairn_swim__event(st, CAIRN_SWIM_EV_JOINED, slot);
    if (before == CAIRN_SWIM_ALIVE || (before == CAIRN_SWIM_SUSPECT && !same))
        cairn_swim__event(st, CAIRN_SWIM_EV_UPDATED, slot);
}

/* Of all that hear of a suspicion, about three times as many as are wanted look for themselves, at once. */
static void take_a_look(struct cairn_swim *s, uint32_t slot)
{
    uint32_t n = cairn_swim_size(s), wanted = 3 * s->conf.confirmations;

    if (s->hint != 0 || !swim_is_member(s) || cairn_swim__random(s) % n >= wanted)
        return;
    s->hint = slot + 1;
    if (!s->probing)
        s->probe_at = s->now_ms;
}

void cairn_swim__suspect(struct swim_step *st, uint32_t slot, uint64_t incarnation, const uint64_t *by, uint32_t nby)
{
    struct cairn_swim *s = st->s;
    struct cairn_swim_view *v = &s->views[slot];
    struct cairn_swim_suspicion *x;
    bool news = false;

    if (incarnation < v->incarnation || !swim_is_living(s, slot))
        return;
    if (v->state == CAIRN_SWIM_ALIVE) {
        uint32_t number;

        x = cairn_swim__suspicion_new(s, slot);
        if (x == NULL)
            return;
        number = v->mark;
        cairn_swim__set_state(s, slot, CAIRN_SWIM_SUSPECT);
        v->mark = number;
        s->counts.suspicions++;
        cairn_swim__event(st, CAIRN_SWIM_EV_SUSPECTED, slot);
        take_a_look(s, slot);
        news = true;
    } else if (incarnation > v->incarnation) { /* it has contradicted the one that we know of, and has its time again */
        cairn_swim__suspicion_end(s, slot);
        x = cairn_swim__suspicion_new(s, slot);
        CAIRN_ASSERT(x != NULL); /* the place is there that was left just now */
    } else {
        x = cairn_swim__suspicion_of(s, slot);
    }
    v->incarnation = incarnation;
    for (uint32_t i = 0; i < nby; i++)
        news |= cairn_swim__suspicion_confirm(s, x, by[i]);
    if (news)
        cairn_swim__changed(s, slot);
}

void cairn_swim__die(struct swim_step *st, uint32_t slot, uint64_t incarnation, uint8_t state)
{
    struct cairn_swim *s = st->s;
    struct cairn_swim_view *v = &s->views[slot];

    if (incarnation < v->incarnation || !swim_is_living(s, slot))
        return;
    v->incarnation = incarnation;
    cairn_swim__set_state(s, slot, state);
    cairn_swim__changed(s, slot);
    cairn_swim__event(st, state == CAIRN_SWIM_LEFT ? CAIRN_SWIM_EV_LEFT : CAIRN_SWIM_EV_DIED, slot);
}

/* Whom others found dead had the time of a suspicion to contradict that, as long as we know of it: it may live, and they
 * may have been where they did not hear it. */
static bool has_had_its_time(struct swim_step *st, const struct cairn_swim_update *u, uint32_t slot)
{
    struct cairn_swim *s = st->s;

    if (u->state != CAIRN_SWIM_DEAD || !swim_is_member(s) || u->incarnation < s->views[slot].incarnation)
        return true;
    cairn_swim__suspect(st, slot, u->incarnation, u->by, u->nby);
    return s->views[slot].state != CAIRN_SWIM_SUSPECT || cairn_swim__suspicion_believe(s, slot);
}

static void merge_dead(struct swim_step *st, const struct cairn_swim_update *u, uint32_t slot)
{
    struct cairn_swim *s = st->s;
    struct cairn_swim_view *v = &s->views[slot];

    if (cairn_swim__is_told_anew(s, slot))
        v->incarnation = MIN(v->incarnation, u->incarnation);
    if (has_had_its_time(st, u, slot))
        cairn_swim__die(st, slot, u->incarnation, u->state);
}

/* The sender missed contradictions, and might find living members dead. What does not fit is left for the next time it
 * says so: the answer to it, our own probe and news have the rest of a step's packets. */
void cairn_swim__correct(struct swim_step *st)
{
    struct cairn_swim *s = st->s;
    uint32_t from = cairn_swim_dir_find(s->dir, st->in->from), done = 0;

    if (from == NO_SLOT || from == s->self || s->views[from].state == CAIRN_SWIM_NONE)
        return;
    for (uint32_t i = 0; i < SWIM_CORRECTIONS_MAX && done < st->noutdated; i++)
        done += cairn_swim__send_records(st, from, st->outdated + done, st->noutdated - done);
}

void cairn_swim__merge(struct swim_step *st, const struct cairn_swim_update *u)
{
    struct cairn_swim *s = st->s;
    uint32_t slot = cairn_swim_dir_find(s->dir, u->id);

    if (st->out->nevents + 2 >= CAIRN_SWIM_EVENTS_MAX)
        return; /* cannot be: a packet has fewer updates */
    if (swim_is_member(s) && slot == s->self)
        merge_self(st, u);
    else if (u->state == CAIRN_SWIM_ALIVE)
        merge_alive(st, u, slot);
    else if (slot == NO_SLOT || s->views[slot].state == CAIRN_SWIM_NONE)
        return; /* who that was does not matter any more */
    else if (swim_is_member(s) && swim_is_living(s, slot) && u->incarnation < s->views[slot].incarnation)
        st->outdated[st->noutdated++] = slot;
    else if (u->state == CAIRN_SWIM_SUSPECT)
        cairn_swim__suspect(st, slot, u->incarnation, u->by, u->nby);
    else
        merge_dead(st, u, slot);
}
