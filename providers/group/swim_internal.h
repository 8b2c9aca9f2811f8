/* What the files of the core share. */
#ifndef CAIRN_GROUP_SWIM_INTERNAL_H
#define CAIRN_GROUP_SWIM_INTERNAL_H

#include "providers/group/swim.h"
#include "sdk/core/base/macros.h"

#include <string.h>

#define NO_SLOT CAIRN_SWIM_NO_SLOT

enum {
    /* Packets of a step, beside those of the probe and of news: */
    SWIM_CORRECTIONS_MAX = 4, /* that put right what the sender has missed */
    SWIM_CALLS_MAX = 4,       /* that call a suspect before it is found dead */
    SWIM_NACKS_MAX = 4,       /* that tell askers of no answer */
};

/* One step: the state, what came in, and what goes out. */
struct swim_step {
    struct cairn_swim *s;
    const struct cairn_swim_in *in;
    struct cairn_swim_out *out;
    uint32_t outdated[CAIRN_SWIM_UPDATES_MAX], noutdated; /* slots of whom the sender's records are not true any more */
};

/* swim.c */
uint64_t cairn_swim__random(struct cairn_swim *s);
void cairn_swim__event(struct swim_step *st, enum cairn_swim_event_type type, uint32_t slot);

/* swim_send.c: packets. @first: slots whose records come first, whatever is news (NO_SLOT: none). */
struct swim_first {
    uint32_t slot[2];
};
#define FIRST(a, b) (&(struct swim_first){ { (a), (b) } })
/* False if the step has sent as much as it may. */
bool cairn_swim__send(struct swim_step *st, uint32_t slot, struct cairn_swim_msg *head, const struct swim_first *first);
bool cairn_swim__send_page(struct swim_step *st, const struct cairn_swim_msg *sync, uint32_t first);
bool cairn_swim__send_sync(struct swim_step *st, const struct cairn_swim_addr *to);
void cairn_swim__send_refusal(struct swim_step *st, const struct cairn_swim_msg *sync, uint8_t why, uint32_t holder);
void cairn_swim__gossip(struct swim_step *st);
/* One packet to @to with the records of @slots as far as they fit, and news behind them; returns of how many. */
uint32_t cairn_swim__send_records(struct swim_step *st, uint32_t to, const uint32_t *slots, uint32_t n);

/* swim_news.c: what is to be spread. */
void cairn_swim__news_add(struct cairn_swim *s, uint32_t slot);
/* What is old by now is told to some once more. */
void cairn_swim__news_again(struct cairn_swim *s, uint32_t slot);
void cairn_swim__news_del(struct cairn_swim *s, uint32_t slot);
/* The record of @slot as we see it; false if there is none to give. */
bool cairn_swim__record(const struct cairn_swim *s, uint32_t slot, struct cairn_swim_update *u);
/* Appends news, those sent least often first, while they fit. */
void cairn_swim__news_write(struct cairn_swim *s, struct cairn_le_writer *w, const struct swim_first *except);
/* How often news are sent in a group of the present size. */
uint32_t cairn_swim__spread(const struct cairn_swim *s);

/* swim_merge.c: what others say. */
void cairn_swim__merge(struct swim_step *st, const struct cairn_swim_update *u);
/* Once what came in was answered: the sender is told what it said that is not true any more. */
void cairn_swim__correct(struct swim_step *st);
void cairn_swim__suspect(struct swim_step *st, uint32_t slot, uint64_t incarnation, const uint64_t *by, uint32_t nby);
void cairn_swim__die(struct swim_step *st, uint32_t slot, uint64_t incarnation, uint8_t state);
/* Notes a view's change: version, count, news. */
void cairn_swim__set_state(struct cairn_swim *s, uint32_t slot, uint8_t state);
void cairn_swim__changed(struct cairn_swim *s, uint32_t slot);
/* A higher incarnation than @heard for ourselves, and all are told. */
void cairn_swim__contradict(struct swim_step *st, uint64_t heard);
void cairn_swim__take_load(struct cairn_swim *s, uint32_t slot, uint32_t seq, uint16_t load);

/* swim_suspect.c */
void cairn_swim__suspects_init(struct cairn_swim_suspects *x, const struct cairn_swim_memory *m);
/* NULL: no free place. */
struct cairn_swim_suspicion *cairn_swim__suspicion_new(struct cairn_swim *s, uint32_t slot);
struct cairn_swim_suspicion *cairn_swim__suspicion_of(const struct cairn_swim *s, uint32_t slot);
void cairn_swim__suspicion_end(struct cairn_swim *s, uint32_t slot);
/* True if @by is new and still wanted: the deadline may have come nearer. */
bool cairn_swim__suspicion_confirm(struct cairn_swim *s, struct cairn_swim_suspicion *x, uint64_t by);
/* We are among those who say that @slot does not answer. */
bool cairn_swim__suspicion_is_ours(const struct cairn_swim *s, uint32_t slot);
/* Others found it dead: nobody else needs to confirm that. True if we have suspected it for as long as that takes. */
bool cairn_swim__suspicion_believe(struct cairn_swim *s, uint32_t slot);
/* It answered just now, so its time to contradict begins anew: what it says may still be on its way to us. */
void cairn_swim__suspicion_heard(struct cairn_swim *s, uint32_t slot);
/* Deadline of the earliest; UINT64_MAX: none. */
uint64_t cairn_swim__suspicion_due(const struct cairn_swim *s);
void cairn_swim__suspicions_expire(struct swim_step *st);

/* swim_probe.c */
void cairn_swim__probe_timers(struct swim_step *st);
uint64_t cairn_swim__probe_wake(const struct cairn_swim *s);
void cairn_swim__on_ping(struct swim_step *st, const struct cairn_swim_msg *m, uint32_t from);
void cairn_swim__on_ping_req(struct swim_step *st, const struct cairn_swim_msg *m, uint32_t from);
void cairn_swim__on_ack(struct swim_step *st, const struct cairn_swim_msg *m);
void cairn_swim__on_nack(struct cairn_swim *s, const struct cairn_swim_msg *m);
void cairn_swim__probe_stop(struct cairn_swim *s);
/* Once a period: a few slots in turn. */
void cairn_swim__forget_old(struct cairn_swim *s);
/* Forgets one that is dead or gone before its time, if the directory is full; true if it has room. Bounded: where only
 * few are dead it may take several tries to find one. */
bool cairn_swim__make_room(struct cairn_swim *s);
void cairn_swim__health(struct cairn_swim *s, int change);
/* A living member at random, none of @not; NO_SLOT if none was met in a bounded number of tries: never in a group of
 * less than 64, if there is one. */
uint32_t cairn_swim__pick(struct cairn_swim *s, const uint32_t * not, uint32_t nnot);

/* swim_sync.c */
void cairn_swim__sync_timers(struct swim_step *st);
uint64_t cairn_swim__sync_wake(const struct cairn_swim *s);
void cairn_swim__on_sync(struct swim_step *st, const struct cairn_swim_msg *m);
/* False: it is no answer to what we asked last. */
bool cairn_swim__expects_page(struct cairn_swim *s, const struct cairn_swim_msg *m);
/* @learned: the page told us something. */
void cairn_swim__on_page(struct swim_step *st, const struct cairn_swim_msg *m, bool learned);
void cairn_swim__on_refuse(struct swim_step *st, const struct cairn_swim_msg *m);
void cairn_swim__sync_stop(struct cairn_swim *s);
/* An observer takes for true what the member says that it begins to follow, whatever another one said before. True for
 * the first word on @slot. */
bool cairn_swim__is_told_anew(struct cairn_swim *s, uint32_t slot);

static inline bool swim_is_member(const struct cairn_swim *s)
{
    return s->self != NO_SLOT;
}
static inline bool swim_has_news(const struct cairn_swim *s)
{
    return s->nnews > 0 || s->word_left > 0;
}
static inline bool swim_is_living(const struct cairn_swim *s, uint32_t slot)
{
    return s->views[slot].state == CAIRN_SWIM_ALIVE || s->views[slot].state == CAIRN_SWIM_SUSPECT;
}

#endif
