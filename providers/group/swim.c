/* The core's one function, and its beginning and end: see swim.h. */
#include "providers/group/swim_internal.h"

const struct cairn_swim_conf cairn_swim_conf_default = {
    .period_ms = 500,
    .ping_ms = 200,
    .gossip_ms = 200,
    .suspect_ms = 800,
    .suspect_times = 4,
    .confirmations = 2,
    .relays = 3,
    .fanout = 3,
    .spread = 4,
    .revisit_ms = 5000,
    .forget_ms = 3600 * 1000,
};

enum { LATE_MS = 50 }; /* a step that comes later than this after its time: we did not run meanwhile */

/* Steele, Lea, Flood, OOPSLA 2014: splitmix64. */
uint64_t cairn_swim__random(struct cairn_swim *s)
{
    uint64_t x = s->random += UINT64_C(0x9e3779b97f4a7c15);

    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

void cairn_swim__event(struct swim_step *st, enum cairn_swim_event_type type, uint32_t slot)
{
    if (st->out->nevents < CAIRN_SWIM_EVENTS_MAX)
        st->out->events[st->out->nevents++] = (struct cairn_swim_event){ .type = type, .slot = slot };
}

int cairn_swim_init(struct cairn_swim *s, const struct cairn_swim_conf *conf, struct cairn_swim_dir *dir,
                    const struct cairn_swim_memory *memory, const struct cairn_swim_desc *self, uint64_t incarnation,
                    uint64_t random, struct cairn_sm_set *machines)
{
    CAIRN_ASSERT(conf->ping_ms < conf->period_ms && conf->confirmations < CAIRN_SWIM_BY_MAX && conf->period_ms > 0);
    /* All that a step may have to send: beside these an answer, two pings of our own, and a sync. */
    CAIRN_ASSERT(conf->relays + conf->fanout + 4 + SWIM_CORRECTIONS_MAX + SWIM_CALLS_MAX + SWIM_NACKS_MAX <=
                 CAIRN_SWIM_SENDS_MAX);
    memset(s, 0, sizeof(*s));
    s->conf = *conf;
    s->dir = dir;
    s->views = memory->views;
    s->machines = machines;
    s->random = random;
    s->self = NO_SLOT;
    memset(s->views, 0, dir->room * sizeof(*s->views));
    s->count[CAIRN_SWIM_NONE] = dir->room;
    cairn_swim__suspects_init(&s->suspects, memory);
    s->id = cairn_swim__random(s) | 1;
    s->instance = cairn_swim__random(s);
    s->epoch = (uint32_t)cairn_swim__random(s) | 1;
    s->seq = (uint32_t)cairn_swim__random(s); /* an answer to a former life answers nothing */
    if (conf->observer)
        return 0;
    s->self = cairn_swim_dir_put(dir, self);
    if (s->self == NO_SLOT)
        return CAIRN_E_LIMIT;
    s->id = self->id;
    cairn_swim_assume_alive(s, s->self, incarnation);
    s->fill = s->sweep = s->self;
    return 0;
}

void cairn_swim_assume_alive(struct cairn_swim *s, uint32_t slot, uint64_t incarnation)
{
    s->views[slot].incarnation = incarnation;
    cairn_swim__set_state(s, slot, CAIRN_SWIM_ALIVE);
    s->views[slot].changed = ++s->version;
}

void cairn_swim_fini(struct cairn_swim *s)
{
    cairn_swim__probe_stop(s);
    cairn_swim__sync_stop(s);
}

/* ---- a step ---- */

/* Time that we slept through is no time in which others failed to answer. */
static void take_time(struct cairn_swim *s, uint64_t now_ms)
{
    uint64_t late = s->wake_ms != 0 && now_ms > s->wake_ms ? now_ms - s->wake_ms : 0;

    if (s->wake_ms == 0) { /* the first step; members that start together do not probe together */
        s->probe_at = now_ms + cairn_swim__random(s) % s->conf.period_ms;
        s->revisit_at = now_ms + cairn_swim__random(s) % s->conf.revisit_ms;
        s->join.next_ms = now_ms;
    }
    if (late > LATE_MS) {
        s->stalled_ms += late;
        s->counts.stalled_ms += late;
        if (late > s->conf.ping_ms)
            cairn_swim__health(s, 1);
    }
    s->now_ms = MAX(s->now_ms, now_ms - s->stalled_ms);
}

static void on_packet(struct swim_step *st)
{
    struct cairn_swim *s = st->s;
    struct cairn_swim_msg m;
    uint32_t from, version = s->version;

    s->counts.packets++;
    if (!cairn_swim_decode(st->in->bytes, st->in->len, &m)) {
        s->counts.malformed++;
        return;
    }
    if (m.word.node != 0 && m.word.map == s->word.map && m.word.version > s->word.version)
        st->out->heard = m.word;
    if (m.kind == CAIRN_SWIM_SYNC) {
        cairn_swim__on_sync(st, &m); /* merges by itself: not everyone is let in */
        return;
    }
    if (m.kind == CAIRN_SWIM_REFUSE) {
        cairn_swim__on_refuse(st, &m);
        return;
    }
    if (m.kind == CAIRN_SWIM_PAGE && !cairn_swim__expects_page(s, &m))
        return;
    for (uint32_t i = 0; i < m.nupdates && !s->superseded; i++)
        cairn_swim__merge(st, &m.updates[i]);
    if (s->superseded)
        return;
    if (m.kind == CAIRN_SWIM_PAGE)
        cairn_swim__on_page(st, &m, s->version != version);
    from = cairn_swim_dir_find(s->dir, st->in->from);
    if (from == NO_SLOT || from == s->self || s->views[from].state == CAIRN_SWIM_NONE || !swim_is_member(s))
        return; /* members present themselves with their pings */
    if (m.incarnation == s->views[from].incarnation)
        cairn_swim__take_load(s, from, m.load_seq, m.load);
    if (m.kind == CAIRN_SWIM_PING)
        cairn_swim__on_ping(st, &m, from);
    else if (m.kind == CAIRN_SWIM_PING_REQ)
        cairn_swim__on_ping_req(st, &m, from);
    else if (m.kind == CAIRN_SWIM_ACK)
        cairn_swim__on_ack(st, &m);
    else if (m.kind == CAIRN_SWIM_NACK)
        cairn_swim__on_nack(s, &m);
}

static void set_self(struct swim_step *st)
{
    struct cairn_swim *s = st->s;
    struct cairn_swim_desc *d = &s->dir->descs[s->self], old = *d;

    *d = *st->in->desc;
    d->id = old.id;
    d->addr = old.addr;
    memcpy(d->name, old.name, sizeof(d->name));
    if (memcmp(d, &old, sizeof(old)) == 0)
        return;
    s->views[s->self].incarnation++;
    cairn_swim__changed(s, s->self);
    cairn_swim__event(st, CAIRN_SWIM_EV_UPDATED, s->self);
}

static void set_seeds(struct cairn_swim *s, const struct cairn_swim_in *in)
{
    s->nseeds = MIN(in->nseeds, (uint32_t)CAIRN_SWIM_SEEDS_MAX);
    memset(s->seed_is_self, 0, sizeof(s->seed_is_self));
    for (uint32_t i = 0; i < s->nseeds; i++)
        s->seeds[i] = in->seeds[i];
    s->join.seed = s->nseeds > 0 ? (uint32_t)(cairn_swim__random(s) % s->nseeds) : 0;
    s->join.urgent = in->urgent && swim_is_member(s) ? s->nseeds : 0;
    s->join.unsettled |= s->join.urgent > 0;
    if (!s->join.running && (!s->join.synced || s->join.urgent > 0))
        s->join.next_ms = s->now_ms;
}

static void leave(struct swim_step *st)
{
    struct cairn_swim *s = st->s;

    if (s->leaving)
        return;
    s->leaving = true;
    cairn_swim__probe_stop(s);
    cairn_swim__sync_stop(s);
    if (!swim_is_member(s))
        return;
    s->views[s->self].incarnation++;
    cairn_swim__set_state(s, s->self, CAIRN_SWIM_LEFT);
    cairn_swim__changed(s, s->self);
    s->gossip_at = s->now_ms; /* now: who leaves does not stay for long */
}

static void set_word(struct cairn_swim *s, const struct cairn_gossip_word *word)
{
    bool grew = word->map != s->word.map || word->version > s->word.version;

    s->word = *word;
    if (!grew || !swim_is_member(s) || s->leaving)
        return;
    if (!swim_has_news(s))
        s->gossip_at = MAX(s->gossip_at, s->now_ms);
    s->word_left = cairn_swim__spread(s);
}

static void take_input(struct swim_step *st)
{
    struct cairn_swim *s = st->s;

    switch (st->in->type) {
    case CAIRN_SWIM_TICK:
        break;
    case CAIRN_SWIM_PACKET:
        on_packet(st);
        if (!s->superseded)
            cairn_swim__correct(st);
        break;
    case CAIRN_SWIM_SEEDS:
        set_seeds(s, st->in);
        break;
    case CAIRN_SWIM_SET:
        if (swim_is_member(s) && !s->leaving)
            set_self(st);
        break;
    case CAIRN_SWIM_LOAD:
        if (swim_is_member(s))
            cairn_swim__take_load(s, s->self, s->views[s->self].load_seq + 1, st->in->load);
        break;
    case CAIRN_SWIM_WORD:
        set_word(s, &st->in->word);
        break;
    case CAIRN_SWIM_LEAVE:
        leave(st);
        break;
    }
}

static void run_timers(struct swim_step *st)
{
    struct cairn_swim *s = st->s;

    if (swim_is_member(s)) {
        cairn_swim__probe_timers(st);
        if (!s->leaving)
            cairn_swim__suspicions_expire(st);
        if (swim_has_news(s) && s->now_ms >= s->gossip_at) {
            s->gossip_at = s->now_ms + s->conf.gossip_ms;
            cairn_swim__gossip(st);
        }
    }
    cairn_swim__sync_timers(st);
}

static uint64_t next_wake(const struct cairn_swim *s)
{
    uint64_t at = cairn_swim__sync_wake(s);

    if (swim_is_member(s)) {
        at = MIN(at, cairn_swim__probe_wake(s));
        if (!s->leaving)
            at = MIN(at, cairn_swim__suspicion_due(s));
        if (swim_has_news(s))
            at = MIN(at, s->gossip_at);
    }
    return at == UINT64_MAX ? at : at + s->stalled_ms;
}

void cairn_swim_step(struct cairn_swim *s, const struct cairn_swim_in *in, struct cairn_swim_out *out)
{
    struct swim_step st = { .s = s, .in = in, .out = out };

    out->nsends = out->nevents = 0;
    out->heard = (struct cairn_gossip_word){ 0 };
    out->wake_ms = UINT64_MAX;
    if (s->superseded)
        return;
    take_time(s, in->now_ms);
    take_input(&st);
    if (!s->superseded)
        run_timers(&st);
    if (s->superseded) {
        cairn_swim_fini(s);
        return;
    }
    out->wake_ms = s->wake_ms = next_wake(s);
}
