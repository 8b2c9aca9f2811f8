/* Learning of all members, page by page: how one joins, how observers follow, and how groups that grew apart find each
 * other again (a seed is asked for one page now and then, and for all if that told something new). Where many join at
 * once, whoever is asked may not know all yet, and news about some may be over before others can hear them: so each
 * asks for all once more a little later.
 *
 *  ASKED ---> DONE     ASKED may repeat. ASKED may also go to FAILED.
 *
 *  ASKED   a page was asked for and its time is not over.
 *  DONE    the last page is there: of all members, or of what changed since the last time.
 *  FAILED  there was no answer, or we were refused. The next one is asked; after all of them later, and later still. */
#include "providers/group/swim_internal.h"

enum { SYNC_ASKED, SYNC_DONE, SYNC_FAILED, SYNC_NR };
enum {
    SYNC_ANSWER_MS = 300,
    SYNC_TRIES_MAX = 4,
    SYNC_BACKOFF_MS = 250,
    SYNC_BACKOFF_MAX_MS = 5000,
    SYNC_SETTLE_MS = 1500,
    SYNC_HEAL_MS = 60000,
};
#define TO CAIRN_SM_TO

static const struct cairn_sm_state sync_states[SYNC_NR] = {
    [SYNC_ASKED] = { "ASKED", CAIRN_SM_INITIAL, TO(SYNC_ASKED) | TO(SYNC_DONE) | TO(SYNC_FAILED) },
    [SYNC_DONE] = { "DONE", CAIRN_SM_FINAL, 0 },
    [SYNC_FAILED] = { "FAILED", CAIRN_SM_FINAL, 0 },
};

static bool sync_invariant(const struct cairn_sm *sm)
{
    const struct cairn_swim_join *j = CONTAINER_OF(sm, const struct cairn_swim_join, sm);

    return CAIRN_HOLDS(j->at.len != 0) && CAIRN_HOLDS(j->tries <= SYNC_TRIES_MAX) &&
           CAIRN_HOLDS(sm->state != SYNC_DONE || j->synced);
}

const struct cairn_sm_kind cairn_swim_sync_kind = { "group-sync", sync_states, SYNC_NR, sync_invariant, 30000 };

/* ---- the one who asks ---- */

static void ask(struct swim_step *st)
{
    struct cairn_swim *s = st->s;

    s->join.due_ms = s->now_ms + (uint64_t)SYNC_ANSWER_MS * (s->health + 1);
    s->join.tries++;
    cairn_swim__send_sync(st, &s->join.at);
}

static bool is_alone(const struct cairn_swim *s)
{
    return cairn_swim_size(s) <= (swim_is_member(s) ? 1 : 0);
}

static bool choose_seed(struct cairn_swim *s)
{
    struct cairn_swim_join *j = &s->join;

    for (uint32_t i = 0; i < s->nseeds; i++) {
        j->seed = (j->seed + 1) % s->nseeds;
        if (!s->seed_is_self[j->seed]) {
            j->at = s->seeds[j->seed];
            return true;
        }
    }
    return false;
}

/* Members ask seeds, who may know others than we do. Observers go on with whom they follow, else with any member or
 * seed: those whom they hold alive may all be dead, since they judge nobody. */
static bool choose(struct cairn_swim *s)
{
    enum { TRIES_MAX = 8 };
    struct cairn_swim_addr last;
    uint32_t slot;

    if (swim_is_member(s))
        return choose_seed(s);
    if (s->join.epoch != 0)
        return true;
    s->join.since = 0;
    s->join.number++;
    last = s->join.at;
    for (uint32_t i = 0; i < TRIES_MAX; i++) {
        slot = cairn_swim__pick(s, NULL, 0);
        if (slot != NO_SLOT && cairn_swim__random(s) % 2 == 0)
            s->join.at = s->dir->descs[slot].addr;
        else if (!choose_seed(s))
            continue;
        if (!cairn_swim_addr_equal(&s->join.at, &last))
            break; /* someone else than the one who did not answer */
    }
    return s->join.at.len != 0;
}

static void sync_begin(struct swim_step *st)
{
    struct cairn_swim *s = st->s;
    struct cairn_swim_join *j = &s->join;

    j->next_ms = s->now_ms + SYNC_HEAL_MS;
    if (!choose(s))
        return;
    j->urgent -= j->urgent > 0;
    j->seq = ++s->seq;
    j->cursor = j->tries = 0;
    j->running = true;
    cairn_sm_init(&j->sm, &cairn_swim_sync_kind, s->machines);
    ask(st);
}

static void sync_end(struct cairn_swim *s, uint32_t state)
{
    s->join.running = false;
    cairn_sm_move(&s->join.sm, state);
    cairn_sm_fini(&s->join.sm);
}

void cairn_swim__sync_stop(struct cairn_swim *s)
{
    if (s->join.running)
        sync_end(s, SYNC_FAILED);
}

static void sync_fail(struct cairn_swim *s)
{
    struct cairn_swim_join *j = &s->join;

    j->epoch = 0;
    sync_end(s, SYNC_FAILED);
    if (++j->silent < s->nseeds) { /* of many addresses most may be of long ago: the next one, at once */
        j->next_ms = s->now_ms;
        return;
    }
    j->silent = j->urgent = 0;
    j->backoff_ms = MIN(MAX(2 * j->backoff_ms, (uint32_t)SYNC_BACKOFF_MS), (uint32_t)SYNC_BACKOFF_MAX_MS);
    j->next_ms = s->now_ms + j->backoff_ms / 2 + cairn_swim__random(s) % j->backoff_ms;
}

bool cairn_swim__is_told_anew(struct cairn_swim *s, uint32_t slot)
{
    struct cairn_swim_view *v = &s->views[slot];
    bool anew = !swim_is_member(s) && s->join.since == 0 && v->next != s->join.number;

    if (anew)
        v->next = s->join.number;
    return anew;
}

/* Of whom the member that an observer now follows has not said a word is not there any more. Once for each such member,
 * so it may look at all. */
static void drop_unmentioned(struct swim_step *st)
{
    struct cairn_swim *s = st->s;

    for (uint32_t slot = 0; slot < s->dir->used; slot++) {
        if (s->views[slot].next == s->join.number)
            continue;
        s->views[slot].incarnation = 0; /* whatever the one we follow hears first is news */
        cairn_swim__die(st, slot, 0, CAIRN_SWIM_DEAD);
    }
}

/* When a member asks next. */
static void sync_plan(struct cairn_swim *s, bool first)
{
    struct cairn_swim_join *j = &s->join;

    j->unsettled |= first;
    j->whole = false;
    if (j->urgent > 0) {
        j->next_ms = s->now_ms;
    } else if (j->unsettled) {
        j->unsettled = false;
        j->whole = true;
        j->next_ms = s->now_ms + SYNC_SETTLE_MS + cairn_swim__random(s) % SYNC_SETTLE_MS;
    } else {
        j->next_ms = s->now_ms + SYNC_HEAL_MS / 2 + cairn_swim__random(s) % SYNC_HEAL_MS;
    }
}

static void sync_finish(struct swim_step *st, const struct cairn_swim_msg *m)
{
    struct cairn_swim *s = st->s;
    struct cairn_swim_join *j = &s->join;
    bool first = !j->synced || j->refused;

    j->backoff_ms = j->silent = 0;
    j->synced = true;
    j->refused = false;
    if (swim_is_member(s)) {
        sync_plan(s, first);
    } else {
        if (j->since == 0)
            drop_unmentioned(st);
        cairn_swim__forget_old(s);
        j->epoch = m->epoch;
        j->since = j->first_version;
        j->next_ms = s->now_ms + s->conf.period_ms;
    }
    sync_end(s, SYNC_DONE);
    if (first)
        cairn_swim__event(st, CAIRN_SWIM_EV_SYNCED, NO_SLOT);
}

bool cairn_swim__expects_page(struct cairn_swim *s, const struct cairn_swim_msg *m)
{
    struct cairn_swim_join *j = &s->join;

    if (!j->running || m->seq != j->seq)
        return false;
    if (j->epoch == 0 || m->epoch == j->epoch)
        return true;
    j->backoff_ms = 0; /* whom we follow began a new life: from the beginning */
    sync_fail(s);
    return false;
}

void cairn_swim__on_page(struct swim_step *st, const struct cairn_swim_msg *m, bool learned)
{
    struct cairn_swim *s = st->s;
    struct cairn_swim_join *j = &s->join;

    if (j->cursor == 0)
        j->first_version = m->version;
    j->seq = ++s->seq; /* the same page twice is no second page */
    if ((m->flags & CAIRN_SWIM_F_MORE) == 0 || m->next <= j->cursor ||
        (swim_is_member(s) && j->synced && !j->whole && !learned && j->cursor == 0)) {
        sync_finish(st, m);
        return;
    }
    j->cursor = m->next;
    j->tries = 0;
    cairn_sm_move(&j->sm, SYNC_ASKED);
    ask(st);
}

void cairn_swim__on_refuse(struct swim_step *st, const struct cairn_swim_msg *m)
{
    struct cairn_swim *s = st->s;
    struct cairn_swim_join *j = &s->join;

    if (!j->running || m->seq != j->seq || m->about != s->instance)
        return;
    if ((m->flags & CAIRN_SWIM_F_YOURSELF) != 0) {
        sync_end(s, SYNC_FAILED);
        j->next_ms = s->now_ms;
        for (uint32_t i = 0; i < s->nseeds; i++) { /* they may have been given anew meanwhile */
            if (!cairn_swim_addr_equal(&s->seeds[i], &j->at))
                continue;
            s->seed_is_self[i] = true;
            cairn_swim__event(st, CAIRN_SWIM_EV_SEED_IS_SELF, i);
        }
        return;
    }
    j->refused = true;
    if ((m->flags & CAIRN_SWIM_F_TAKEN) != 0) {
        cairn_swim__event(st, CAIRN_SWIM_EV_NAME_TAKEN, NO_SLOT);
        if (st->out->nevents > 0 && m->nupdates > 0 && m->updates[0].state == CAIRN_SWIM_ALIVE)
            st->out->events[st->out->nevents - 1].addr = m->updates[0].addr;
    } else {
        cairn_swim__event(st, CAIRN_SWIM_EV_GROUP_FULL, NO_SLOT);
    }
    sync_fail(s);
}

/* ---- the one who is asked ---- */

/* A name belongs to an address for as long as its holder is not known to be dead or gone. */
static bool is_taken(const struct cairn_swim *s, const struct cairn_swim_update *u, uint32_t slot)
{
    return slot != NO_SLOT && swim_is_living(s, slot) && u->incarnation > s->views[slot].incarnation &&
           !cairn_swim_addr_equal(&u->addr, &s->dir->descs[slot].addr);
}

void cairn_swim__on_sync(struct swim_step *st, const struct cairn_swim_msg *m)
{
    struct cairn_swim *s = st->s;
    uint32_t slot = cairn_swim_dir_find(s->dir, st->in->from);

    if (!swim_is_member(s) || s->leaving)
        return;
    if (slot == s->self) {
        cairn_swim__send_refusal(st, m, m->about == s->instance ? CAIRN_SWIM_F_YOURSELF : CAIRN_SWIM_F_TAKEN, s->self);
        return;
    }
    if (s->join.refused && !s->join.synced)
        return; /* whoever took us for a member would believe us, the younger one, the name that is another's */
    if ((m->flags & CAIRN_SWIM_F_JOIN) == 0) {
        cairn_swim__send_page(st, m, NO_SLOT);
        return;
    }
    if (m->nupdates < 1 || m->updates[0].state != CAIRN_SWIM_ALIVE || m->updates[0].id != st->in->from) {
        s->counts.malformed++;
    } else if (is_taken(s, &m->updates[0], slot)) {
        cairn_swim__send_refusal(st, m, CAIRN_SWIM_F_TAKEN, slot);
    } else if (slot == NO_SLOT && !cairn_swim__make_room(s)) {
        cairn_swim__send_refusal(st, m, CAIRN_SWIM_F_FULL, NO_SLOT);
    } else {
        for (uint32_t i = 0; i < m->nupdates; i++)
            cairn_swim__merge(st, &m->updates[i]);
        slot = cairn_swim_dir_find(s->dir, st->in->from);
        /* What we hold of a member that is not alive it must hear first: it contradicts. */
        cairn_swim__send_page(st, m, slot != NO_SLOT && !swim_is_living(s, slot) ? slot : NO_SLOT);
    }
}

/* ---- timers ---- */

/* Whom we do not know yet is asked once, if there are others to be asked. */
static uint32_t tries_max(const struct cairn_swim *s)
{
    return s->join.cursor == 0 && s->join.epoch == 0 && s->nseeds > 1 ? 1 : SYNC_TRIES_MAX;
}

void cairn_swim__sync_timers(struct swim_step *st)
{
    struct cairn_swim *s = st->s;
    struct cairn_swim_join *j = &s->join;

    if (s->leaving)
        return;
    if (j->running && s->now_ms >= j->due_ms) {
        if (j->tries >= tries_max(s)) {
            sync_fail(s);
        } else {
            cairn_sm_move(&j->sm, SYNC_ASKED);
            ask(st);
        }
    }
    if (!j->running && is_alone(s)) /* whoever is alone does not wait until the group may have healed */
        j->next_ms = MIN(j->next_ms, s->now_ms + SYNC_BACKOFF_MAX_MS);
    if (!j->running && s->now_ms >= j->next_ms)
        sync_begin(st);
}

uint64_t cairn_swim__sync_wake(const struct cairn_swim *s)
{
    if (s->leaving)
        return UINT64_MAX;
    return s->join.running ? s->join.due_ms : s->join.next_ms;
}
