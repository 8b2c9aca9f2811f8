/* See hearsay_world.h. Questions and answers are packets like others: one that is lost is not answered in time. */
#include "tests/sim/hearsay_world.h"

#include "server/cluster/repl/repl_wire.h"

#include <stdlib.h>
#include <string.h>

enum { BEAT_MS = 500, SLOW_MS = 300, RECORD_BYTES = 96, HEAD_BYTES = 64, PAGE_RECORDS = CAIRN_WIRE_PAGE_SLOTS_MAX };

enum kind { BEAT, GRANT, QUESTION, PAGE };

struct message {
    enum kind kind;
    uint64_t number, revision, upto; /* upto: of a grant, what has to be known for it */
    bool more, refused;
};

static struct cairn_env *env_of(struct hearsay_node *x)
{
    return world_env(x->hw->gw->world, x->index);
}

static uint64_t now_of(struct hearsay_node *x)
{
    return cairn_env_now_ns(env_of(x));
}

static void send(struct hearsay_node *from, uint32_t to, const struct message *m)
{
    struct hearsay_world *hw = from->hw;

    if ((to == 0 && from->cut_off) || (from->index == 0 && hw->nodes[to].cut_off))
        return;
    group_world_send(hw->gw, from->index, to, m, sizeof(*m));
}

/* ---- what a node does of itself ---- */

static void step(struct hearsay_node *x)
{
    struct hearsay_question q = hearsay_step(&x->hearsay, now_of(x), 1);
    struct message m = { .kind = QUESTION };

    cairn_timer_stop(env_of(x), &x->step);
    if (q.node == 0) {
        if (q.due_ns != UINT64_MAX)
            cairn_timer_start(env_of(x), &x->step, q.due_ns);
        return;
    }
    x->upto = q.goes_on ? x->upto : x->have;
    m.revision = x->upto;
    m.number = ++x->number;
    x->asked++;
    cairn_timer_start(env_of(x), &x->late, now_of(x) + x->hearsay.times.answer_ns);
    send(x, (uint32_t)q.node - 1, &m);
}

static void say(struct hearsay_node *x)
{
    struct cairn_swim_in in = { .type = CAIRN_SWIM_WORD, .word = { x->index + 1, MAX(x->have, x->lies_until) } };

    group_world_input(x->hw->gw, x->index, &in);
}

static void have(struct hearsay_node *x, uint64_t revision)
{
    if (revision <= x->have)
        return;
    x->have = revision;
    hearsay_have(&x->hearsay, revision);
    say(x);
}

static void on_step(void *arg)
{
    step(arg);
}

static void on_late(void *arg)
{
    struct hearsay_node *x = arg;

    x->number++;
    hearsay_answered(&x->hearsay, now_of(x), HEARSAY_FAILED, 0, false);
    step(x);
}

static void on_beat(void *arg)
{
    struct hearsay_node *x = arg;

    cairn_timer_start(env_of(x), &x->beat, now_of(x) + BEAT_MS * CAIRN_NS_PER_MS);
    send(x, 0, &(struct message){ .kind = BEAT, .revision = x->have });
}

static void on_heard(void *arg, uint32_t i, const struct cairn_gossip_word *w)
{
    struct hearsay_world *hw = arg;
    struct hearsay_node *x = &hw->nodes[i];

    if (i == 0)
        return; /* whoever coordinates knows better */
    hearsay_heard(&x->hearsay, now_of(x), w->node, w->version);
    step(x);
}

/* ---- what comes ---- */

/* The next page of what is behind @since. */
static void page(struct hearsay_node *x, uint64_t since, struct message *m)
{
    m->revision = MIN(MAX(x->have, since), since + PAGE_RECORDS);
    m->more = m->revision < x->have;
    x->record_bytes += HEAD_BYTES + (m->revision - since) * RECORD_BYTES;
}

static void take_beat(struct hearsay_node *x, uint32_t from, const struct message *beat)
{
    struct message m = { .kind = GRANT, .revision = beat->revision, .upto = x->have };

    if (beat->revision < x->have && cluster_page_may_go(&x->pace, now_of(x))) {
        x->hw->granted_records++;
        page(x, beat->revision, &m);
        if (m.more) /* it does not say that all is there */
            m.revision = beat->revision;
    }
    send(x, from, &m);
}

static void take_grant(struct hearsay_node *x, const struct message *m)
{
    have(x, m->revision);
    hearsay_want(&x->hearsay, now_of(x), m->upto);
    step(x);
}

static void take_question(struct hearsay_node *x, uint32_t from, const struct message *q)
{
    struct message m = { .kind = PAGE, .number = q->number };

    m.refused = x->index != 0 && !cluster_page_may_go(&x->pace, now_of(x));
    x->refused += m.refused;
    x->served += !m.refused;
    if (!m.refused)
        page(x, q->revision, &m);
    send(x, from, &m);
}

static void take_page(struct hearsay_node *x, const struct message *m)
{
    if (m->number != x->number || x->hearsay.asked == 0)
        return;
    cairn_timer_stop(env_of(x), &x->late);
    x->upto = m->refused ? x->upto : m->revision;
    if (!m->refused && !m->more)
        have(x, m->revision);
    hearsay_answered(&x->hearsay, now_of(x), m->refused ? HEARSAY_BUSY : HEARSAY_GIVEN, m->revision, m->more);
    step(x);
}

static void on_message(void *arg, uint32_t to, uint32_t from, const uint8_t *bytes, size_t len)
{
    struct hearsay_world *hw = arg;
    struct message m;

    CAIRN_ASSERT(len == sizeof(m));
    memcpy(&m, bytes, sizeof(m));
    switch (m.kind) {
    case BEAT:
        take_beat(&hw->nodes[to], from, &m);
        break;
    case GRANT:
        take_grant(&hw->nodes[to], &m);
        break;
    case QUESTION:
        take_question(&hw->nodes[to], from, &m);
        break;
    case PAGE:
        take_page(&hw->nodes[to], &m);
        break;
    }
}

/* ---- the world ---- */

static void begin(struct hearsay_world *hw, uint32_t i)
{
    struct hearsay_node *x = &hw->nodes[i];
    uint64_t random = cairn_env_random(world_env(hw->gw->world, i));

    x->hw = hw;
    x->index = i;
    x->pace.bytes_per_s = i == 0 ? CLUSTER_GRANT_PAGES_PER_S : CLUSTER_PEER_PAGES_PER_S;
    hearsay_init(&x->hearsay, &hearsay_times_default, random);
    cairn_timer_init(&x->step, on_step, x);
    cairn_timer_init(&x->beat, on_beat, x);
    cairn_timer_init(&x->late, on_late, x);
    have(x, 1);
    if (i != 0)
        cairn_timer_start(env_of(x), &x->beat, now_of(x) + random % (BEAT_MS * CAIRN_NS_PER_MS));
    if (hw->conf.slow_every != 0 && i != 0 && i % hw->conf.slow_every == 0)
        world_slow(hw->gw->world, i, SLOW_MS * CAIRN_NS_PER_MS);
}

struct hearsay_world *hearsay_world_new(const struct hearsay_world_conf *conf)
{
    struct hearsay_world *hw = calloc(1, sizeof(*hw));
    struct group_world_conf group = {
        .net = { .seed = conf->seed,
                 .nodes = conf->nodes,
                 .latency_ns = 100000,
                 .jitter_ns = 400000,
                 .loss_ppm = conf->loss_ppm },
        .swim = cairn_swim_conf_default,
        .stands = true,
        .shares = true,
        .suspicions = MIN(conf->nodes, 512u),
        .heard = on_heard,
        .deliver = on_message,
        .arg = hw,
    };

    CAIRN_ASSERT(hw != NULL);
    hw->conf = *conf;
    hw->nodes = calloc(conf->nodes, sizeof(*hw->nodes));
    CAIRN_ASSERT(hw->nodes != NULL);
    hw->gw = group_world_new(&group);
    for (uint32_t i = 0; i < conf->nodes; i++)
        begin(hw, i);
    return hw;
}

void hearsay_world_free(struct hearsay_world *hw)
{
    group_world_free(hw->gw);
    free(hw->nodes);
    free(hw);
}

void hearsay_world_change(struct hearsay_world *hw, uint32_t n)
{
    have(&hw->nodes[0], hw->nodes[0].have + n);
}

void hearsay_world_kill(struct hearsay_world *hw, uint32_t i)
{
    group_world_kill(hw->gw, i);
}

void hearsay_world_lie(struct hearsay_world *hw, uint32_t i, uint64_t version)
{
    hw->nodes[i].lies_until = version;
    say(&hw->nodes[i]);
}

static bool all_know(const struct hearsay_world *hw)
{
    for (uint32_t i = 1; i < hw->conf.nodes; i++) {
        if (hw->gw->nodes[i].runs && hw->nodes[i].have < hw->nodes[0].have)
            return false;
    }
    return true;
}

uint64_t hearsay_world_until_known(struct hearsay_world *hw, uint64_t ms)
{
    enum { LOOK_MS = 10 };

    for (uint64_t at = 0; at <= ms; at += LOOK_MS) {
        if (all_know(hw))
            return at;
        group_world_run_ms(hw->gw, LOOK_MS);
    }
    return UINT64_MAX;
}
