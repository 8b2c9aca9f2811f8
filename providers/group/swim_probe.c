/* Probing: one member at a time.
 *
 *  PINGED ---> ASKED ---> SILENT
 *  PINGED and ASKED may also go to ANSWERED, PINGED to SILENT.
 *
 *  PINGED    the member was pinged, and the time for a direct answer is not over.
 *  ASKED     others were asked to ping it, and it was pinged once more: one lost packet is no finding.
 *  ANSWERED  it is there, whoever got the answer.
 *  SILENT    the period is over: it is suspected from here on, or we are not well ourselves. */
#include "providers/group/swim_internal.h"

enum { PROBE_PINGED, PROBE_ASKED, PROBE_ANSWERED, PROBE_SILENT, PROBE_NR };
#define TO CAIRN_SM_TO

static const struct cairn_sm_state probe_states[PROBE_NR] = {
    [PROBE_PINGED] = { "PINGED", CAIRN_SM_INITIAL, TO(PROBE_ASKED) | TO(PROBE_ANSWERED) | TO(PROBE_SILENT) },
    [PROBE_ASKED] = { "ASKED", 0, TO(PROBE_ANSWERED) | TO(PROBE_SILENT) },
    [PROBE_ANSWERED] = { "ANSWERED", CAIRN_SM_FINAL, 0 },
    [PROBE_SILENT] = { "SILENT", CAIRN_SM_FINAL, 0 },
};

static bool probe_invariant(const struct cairn_sm *sm)
{
    const struct cairn_swim *s = CONTAINER_OF(sm, const struct cairn_swim, probe);

    return CAIRN_HOLDS(s->probe_slot != s->self && s->probe_slot < s->dir->used) &&
           CAIRN_HOLDS(s->nacks <= s->asked) &&                       /* each of those asked is heard once at most */
           CAIRN_HOLDS(sm->state != PROBE_PINGED || s->asked == 0) && /* nobody is asked before its time */
           CAIRN_HOLDS(sm->state != PROBE_SILENT || s->now_ms >= s->ping_due); /* nobody is found silent early */
}

const struct cairn_sm_kind cairn_swim_probe_kind = { "group-probe", probe_states, PROBE_NR, probe_invariant, 30000 };

void cairn_swim__health(struct cairn_swim *s, int change)
{
    int h = (int)s->health + change;

    s->health = (uint32_t)MIN(MAX(h, 0), (int)CAIRN_SWIM_HEALTH_MAX);
}

/* ---- whom ---- */

static bool may_pick(const struct cairn_swim *s, uint32_t slot, const uint32_t * not, uint32_t nnot)
{
    for (uint32_t k = 0; k < nnot; k++) {
        if (not [k] == slot)
            return false;
    }
    return swim_is_living(s, slot);
}

uint32_t cairn_swim__pick(struct cairn_swim *s, const uint32_t * not, uint32_t nnot)
{
    enum { TRIES_MAX = 32, LOOK_MAX = 64 };
    uint32_t slot = 0;

    for (uint32_t i = 0; i < TRIES_MAX && s->dir->used > 0; i++) {
        slot = (uint32_t)(cairn_swim__random(s) % s->dir->used);
        if (may_pick(s, slot, not, nnot))
            return slot;
    }
    /* Where few are left the dice may miss the last one, who may be the only one that sees whom we ask about. */
    for (uint32_t i = 0; i < LOOK_MAX && i < s->dir->used; i++) {
        slot = (slot + 1) % s->dir->used;
        if (may_pick(s, slot, not, nnot))
            return slot;
    }
    return NO_SLOT;
}

static void walk_begin(struct cairn_swim *s)
{
    struct cairn_swim_walk *w = &s->walk;

    w->i = 0;
    w->bits = 1;
    while (w->bits < 31 && UINT32_C(1) << w->bits < s->dir->used)
        w->bits++;
    w->mul = (uint32_t)cairn_swim__random(s) | 1;
    w->add = (uint32_t)cairn_swim__random(s);
}

/* Odd multiples, sums and shifted sums each permute the numbers below a power of two, and so do all of them in turn. */
static uint32_t walk_next(struct cairn_swim *s)
{
    struct cairn_swim_walk *w = &s->walk;
    uint32_t mask, x;

    if (w->bits == 0 || w->i >> w->bits != 0 || s->dir->used > UINT32_C(1) << w->bits)
        walk_begin(s);
    mask = (UINT32_C(1) << w->bits) - 1;
    x = (w->i++ * w->mul + w->add) & mask;
    x ^= x >> (w->bits / 2 + 1);
    return (x * (w->mul >> 7 | 1)) & mask;
}

static uint32_t next_target(struct cairn_swim *s)
{
    enum { LOOK_MAX = 64 }; /* where most are dead a round is slower: a step is bounded */
    uint32_t hint = s->hint;

    s->hint = 0;
    if (hint != 0 && s->views[hint - 1].state == CAIRN_SWIM_SUSPECT)
        return hint - 1;
    for (uint32_t i = 0; i < LOOK_MAX; i++) {
        uint32_t slot = walk_next(s);

        if (slot < s->dir->used && slot != s->self && swim_is_living(s, slot))
            return slot;
    }
    return NO_SLOT;
}

/* ---- a probe ---- */

/* Also says who we are, and tells a suspect that it is one. */
static void ping(struct swim_step *st, uint32_t slot, uint32_t seq)
{
    struct cairn_swim *s = st->s;
    struct cairn_swim_msg head = { .kind = CAIRN_SWIM_PING, .seq = seq, .about = s->dir->descs[slot].id };

    cairn_swim__send(st, slot, &head, FIRST(s->self, s->views[slot].state != CAIRN_SWIM_ALIVE ? slot : NO_SLOT));
}

static void probe_end(struct cairn_swim *s, uint32_t state)
{
    s->probing = false;
    cairn_sm_move(&s->probe, state);
    cairn_sm_fini(&s->probe);
}

void cairn_swim__probe_stop(struct cairn_swim *s)
{
    if (s->probing)
        probe_end(s, PROBE_ANSWERED);
}

static void probe_begin(struct swim_step *st)
{
    struct cairn_swim *s = st->s;
    uint32_t slot = next_target(s);

    s->probe_at = s->now_ms + (uint64_t)s->conf.period_ms * (s->health + 1);
    if (slot == NO_SLOT)
        return;
    s->probe_slot = slot;
    s->probe_seq = ++s->seq;
    s->asked = s->nacks = 0;
    s->ping_due = s->now_ms + (uint64_t)s->conf.ping_ms * (s->health + 1);
    s->probing = true;
    s->counts.probes++;
    cairn_sm_init(&s->probe, &cairn_swim_probe_kind, s->machines);
    ping(st, slot, s->probe_seq);
}

/* Who is asked about a suspect hears that it is one, and says so if that is contradicted. */
static void probe_ask(struct swim_step *st)
{
    struct cairn_swim *s = st->s;
    struct cairn_swim_msg head = { .kind = CAIRN_SWIM_PING_REQ,
                                   .seq = s->probe_seq,
                                   .about = s->dir->descs[s->probe_slot].id };
    uint32_t not [CAIRN_SWIM_SENDS_MAX] = { s->self, s->probe_slot }, n = 0;
    uint32_t doubt = s->views[s->probe_slot].state != CAIRN_SWIM_ALIVE ? s->probe_slot : NO_SLOT;

    while (n < s->conf.relays) {
        uint32_t slot = cairn_swim__pick(s, not, n + 2);

        if (slot == NO_SLOT || !cairn_swim__send(st, slot, &head, FIRST(doubt, NO_SLOT)))
            break;
        not [2 + n++] = slot;
    }
    ping(st, s->probe_slot, s->probe_seq);
    cairn_sm_move(&s->probe, PROBE_ASKED);
    s->asked = n;
}

static void probe_fail(struct swim_step *st)
{
    struct cairn_swim *s = st->s;
    uint32_t slot = s->probe_slot;

    /* Those who were asked and did not even say that they had no answer: it may be us. */
    cairn_swim__health(s, s->asked > 0 ? (int)(s->asked - s->nacks) : 1);
    s->counts.probes_failed++;
    probe_end(s, PROBE_SILENT);
    cairn_swim__suspect(st, slot, s->views[slot].incarnation, &s->id, 1);
}

void cairn_swim__on_ack(struct swim_step *st, const struct cairn_swim_msg *m)
{
    struct cairn_swim *s = st->s;

    if (s->probing && m->seq == s->probe_seq && m->about == s->dir->descs[s->probe_slot].id) {
        if (s->asked > 0 && st->in->from != m->about)
            s->counts.probes_saved++;
        cairn_swim__health(s, -1);
        cairn_swim__suspicion_heard(s, s->probe_slot);
        probe_end(s, PROBE_ANSWERED);
        return;
    }
    for (uint32_t i = 0; i < CAIRN_SWIM_RELAYS_MAX; i++) {
        struct cairn_swim_relay *r = &s->relays[i];
        struct cairn_swim_msg head = { .kind = CAIRN_SWIM_ACK, .seq = r->seq, .about = m->about };

        if (r->nack_ms != 0 && r->ours == m->seq && st->in->from == s->dir->descs[r->target].id) {
            r->nack_ms = 0;
            cairn_swim__send(st, r->asker, &head, FIRST(r->target, NO_SLOT)); /* what it has contradicted, too */
            return;
        }
    }
}

void cairn_swim__on_nack(struct cairn_swim *s, const struct cairn_swim_msg *m)
{
    if (s->probing && s->probe.state == PROBE_ASKED && m->seq == s->probe_seq && s->nacks < s->asked)
        s->nacks++;
}

/* ---- for others ---- */

void cairn_swim__on_ping(struct swim_step *st, const struct cairn_swim_msg *m, uint32_t from)
{
    struct cairn_swim *s = st->s;
    struct cairn_swim_msg head = { .kind = CAIRN_SWIM_ACK, .seq = m->seq, .about = s->id };

    if (m->about != s->id)
        s->counts.misdirected++; /* the address was someone else's before */
    if (m->about != s->id || s->leaving)
        return;
    cairn_swim__send(st, from, &head, FIRST(s->views[from].state != CAIRN_SWIM_ALIVE ? from : NO_SLOT, NO_SLOT));
}

void cairn_swim__on_ping_req(struct swim_step *st, const struct cairn_swim_msg *m, uint32_t from)
{
    struct cairn_swim *s = st->s;
    struct cairn_swim_relay *r = &s->relays[s->relay_next];
    uint32_t target = cairn_swim_dir_find(s->dir, m->about);

    if (target == NO_SLOT || target == s->self || s->views[target].state == CAIRN_SWIM_NONE)
        return;
    s->relay_next = (s->relay_next + 1) % CAIRN_SWIM_RELAYS_MAX;
    *r = (struct cairn_swim_relay){
        .nack_ms = s->now_ms + s->conf.ping_ms, .seq = m->seq, .ours = ++s->seq, .asker = from, .target = target
    };
    ping(st, target, r->ours);
}

/* Those that one step does not tell are due at once again. */
static void relays_expire(struct swim_step *st)
{
    struct cairn_swim *s = st->s;
    uint32_t nacks = 0;

    for (uint32_t i = 0; i < CAIRN_SWIM_RELAYS_MAX && nacks < SWIM_NACKS_MAX; i++) {
        struct cairn_swim_relay *r = &s->relays[i];
        struct cairn_swim_msg head = { .kind = CAIRN_SWIM_NACK, .seq = r->seq, .about = s->dir->descs[r->target].id };

        if (r->nack_ms == 0 || r->nack_ms > s->now_ms)
            continue;
        r->nack_ms = 0;
        nacks++;
        cairn_swim__send(st, r->asker, &head, FIRST(NO_SLOT, NO_SLOT));
    }
}

/* ---- timers ---- */

/* Some of the dead may only have been out of reach. */
static void revisit(struct swim_step *st)
{
    enum { LOOK_MAX = 64 };
    struct cairn_swim *s = st->s;

    s->revisit_at = s->now_ms + s->conf.revisit_ms;
    if (s->count[CAIRN_SWIM_DEAD] == 0)
        return;
    for (uint32_t i = 0; i < LOOK_MAX; i++) {
        s->revisit = (s->revisit + 1) % s->dir->used;
        if (s->views[s->revisit].state == CAIRN_SWIM_DEAD) {
            ping(st, s->revisit, ++s->seq);
            return;
        }
    }
}

static bool is_gone(const struct cairn_swim *s, uint32_t slot)
{
    return slot != s->self && (s->views[slot].state == CAIRN_SWIM_DEAD || s->views[slot].state == CAIRN_SWIM_LEFT);
}

static void forget(struct cairn_swim *s, uint32_t slot)
{
    for (uint32_t i = 0; i < CAIRN_SWIM_RELAYS_MAX; i++) {
        if (s->relays[i].asker == slot || s->relays[i].target == slot)
            s->relays[i].nack_ms = 0;
    }
    if (s->probing && s->probe_slot == slot)
        cairn_swim__probe_stop(s);
    cairn_swim__news_del(s, slot);
    cairn_swim__set_state(s, slot, CAIRN_SWIM_NONE);
    memset(&s->views[slot], 0, sizeof(s->views[slot]));
    if (!s->dir->shared)
        cairn_swim_dir_remove(s->dir, slot);
}

void cairn_swim__forget_old(struct cairn_swim *s)
{
    enum { LOOK_MAX = 8 };

    for (uint32_t i = 0; i < LOOK_MAX && s->dir->used > 0; i++) {
        s->sweep = (s->sweep + 1) % s->dir->used;
        if (is_gone(s, s->sweep) && s->now_ms >= (uint64_t)s->views[s->sweep].mark * 1000 + s->conf.forget_ms)
            forget(s, s->sweep);
    }
}

bool cairn_swim__make_room(struct cairn_swim *s)
{
    enum { LOOK_MAX = 256 };

    for (uint32_t i = 0;
         i < LOOK_MAX && s->dir->n == s->dir->room && s->count[CAIRN_SWIM_DEAD] + s->count[CAIRN_SWIM_LEFT] > 0; i++) {
        s->sweep = (s->sweep + 1) % s->dir->used;
        if (is_gone(s, s->sweep))
            forget(s, s->sweep);
    }
    return s->dir->n < s->dir->room;
}

void cairn_swim__probe_timers(struct swim_step *st)
{
    struct cairn_swim *s = st->s;

    relays_expire(st);
    if (s->leaving)
        return;
    if (s->now_ms >= s->probe_at) {
        if (s->probing)
            probe_fail(st);
        cairn_swim__forget_old(s);
        probe_begin(st);
    } else if (s->probing && s->probe.state == PROBE_PINGED && s->now_ms >= s->ping_due) {
        probe_ask(st);
    }
    if (s->now_ms >= s->revisit_at)
        revisit(st);
}

uint64_t cairn_swim__probe_wake(const struct cairn_swim *s)
{
    uint64_t at = UINT64_MAX;

    for (uint32_t i = 0; i < CAIRN_SWIM_RELAYS_MAX; i++) {
        if (s->relays[i].nack_ms != 0)
            at = MIN(at, s->relays[i].nack_ms);
    }
    if (s->leaving)
        return at;
    at = MIN(at, MIN(s->probe_at, s->revisit_at));
    if (s->probing && s->probe.state == PROBE_PINGED)
        at = MIN(at, s->ping_due);
    return at;
}
