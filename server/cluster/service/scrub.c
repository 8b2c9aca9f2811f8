/* Through the slots of a worker that are led from here, page by page. See scrub.h.
 *
 *  REST ---> OWN ---> ASK ---> KEY ---> PAUSE ---> OWN ---> PAUSE ---> REST
 *
 *  ASK may also go to ASK, PAUSE; KEY to KEY, ASK; REST and PAUSE to PAUSE. All but STOPPED may also go to STOPPED.
 *
 * A round is of every slot that is led here at any time while it lasts: it goes through them again, a few times, for
 * those that could not be compared because nobody else is in sync just now, or nothing is served yet. What is left then
 * is told, so nobody takes a round in which little was compared for one in which all is well.
 *
 *  REST     nothing is to be done until the next round.
 *  OWN      the next page is being read here.
 *  ASK      another member of the in-sync set is being asked for what it has of the page.
 *  KEY      a key in which the two differ, or that is bad in both, is being looked at.
 *  PAUSE    what was read has to be paid for; or something could not be had now; or the next time through begins later.
 *  STOPPED  the worker ends. */
#include "server/cluster/service/scrub_internal.h"

#include "sdk/core/base/log.h"

#include <stdlib.h>

enum {
    SCRUB_TRIES = 10, /* of a page */
    SCRUB_PASSES = 10,
    SCRUB_AGAIN_MS = 500,
    SCRUB_DEBT_MS_MIN = 50,  /* small debts are paid together */
    SCRUB_FIRST_MS = 600000, /* after a start */
};

#define TO CAIRN_SM_TO
static const struct cairn_sm_state scrub_states[SCRUB_NR] = {
    [SCRUB_REST] = { "REST", CAIRN_SM_INITIAL, TO(SCRUB_OWN) | TO(SCRUB_PAUSE) | TO(SCRUB_STOPPED) },
    [SCRUB_OWN] = { "OWN", 0, TO(SCRUB_ASK) | TO(SCRUB_PAUSE) | TO(SCRUB_STOPPED) },
    [SCRUB_ASK] = { "ASK", 0, TO(SCRUB_ASK) | TO(SCRUB_KEY) | TO(SCRUB_PAUSE) | TO(SCRUB_STOPPED) },
    [SCRUB_KEY] = { "KEY", 0, TO(SCRUB_KEY) | TO(SCRUB_ASK) | TO(SCRUB_PAUSE) | TO(SCRUB_STOPPED) },
    [SCRUB_PAUSE] = { "PAUSE", 0, TO(SCRUB_OWN) | TO(SCRUB_PAUSE) | TO(SCRUB_REST) | TO(SCRUB_STOPPED) },
    [SCRUB_STOPPED] = { "STOPPED", CAIRN_SM_FINAL, 0 },
};

static bool scrub_invariant(const struct cairn_sm *sm)
{
    const struct side_scrub *s = CONTAINER_OF(sm, const struct side_scrub, sm);

    return CAIRN_HOLDS(sm->state != SCRUB_REST || s->slot == SCRUB_NONE) &&
           CAIRN_HOLDS(sm->state != SCRUB_KEY || s->candidate < s->ncandidates) &&
           CAIRN_HOLDS(sm->state != SCRUB_ASK || s->peer < s->rec.ninsync);
}

const struct cairn_sm_kind side_scrub_kind = { "replica-scrub", scrub_states, SCRUB_NR, scrub_invariant, 0 };

/* ---- calls to other nodes ---- */

int scrub_ask(struct side_worker *w, struct cairn_rpc_call *call, uint64_t node, uint32_t method)
{
    if (!cairn_cluster__peer(w->c, w->index, node, &call->dest))
        return CAIRN_E_UNREACHABLE;
    call->iface = &cairn_iface_cluster;
    call->provider = CAIRN_PROVIDER_CLUSTER;
    call->method = (uint16_t)method;
    w->ncalls++;
    cairn_rpc_call_start(call);
    return 0;
}

bool scrub_asked(struct side_worker *w)
{
    w->ncalls--;
    side_worker_step(w);
    return !w->stopping;
}

/* ---- a round ---- */

static void scrub_sleep(struct side_scrub *s, uint64_t ns)
{
    struct cairn_env *env = &s->w->loop->env;

    if (cairn_timer_start(env, &s->timer, cairn_env_now_ns(env) + ns) != 0)
        side_fail(s->w->c, CAIRN_E_NOMEM, "no timer for the scrub of replicas");
}

static void scrub_rest(struct side_scrub *s)
{
    const struct cairn_cluster_conf *conf = &s->w->c->conf;

    if (conf->scrub_bytes_per_s > 0)
        scrub_sleep(s, s->round == 0 ? MIN(conf->scrub_interval_ns, SCRUB_FIRST_MS * CAIRN_NS_PER_MS)
                                     : conf->scrub_interval_ns);
}

/* What was read is paid for in time. */
void scrub_pause(struct side_scrub *s, uint64_t bytes, uint64_t least_ns)
{
    uint64_t rate = s->w->c->conf.scrub_bytes_per_s / s->w->c->side->nworkers, now;

    if (rate > 0)
        s->owed_ns += bytes * CAIRN_NS_PER_S / rate;
    now = s->owed_ns >= SCRUB_DEBT_MS_MIN * CAIRN_NS_PER_MS ? s->owed_ns : 0;
    s->owed_ns -= now;
    cairn_sm_move(&s->sm, SCRUB_PAUSE);
    scrub_sleep(s, MAX(now, least_ns));
}

/* Whether there is anybody to compare with. */
bool scrub_may_look(struct side_scrub *s, uint32_t slot)
{
    const struct cairn_replica *r;

    if (atomic_load(&s->w->c->side->words[slot]) < CLUSTER_WORD_LEADS)
        return false;
    r = cluster_slots_replica(s->w->slots, slot);
    return r != NULL && r->sm.state == REPLICA_ACTIVE && r->rec.ninsync > 1;
}

static uint32_t bits_at(const struct side_scrub *s, uint32_t slot)
{
    return slot / s->w->c->side->nworkers;
}

static bool is_left(const struct side_scrub *s, uint32_t slot)
{
    uint32_t i = bits_at(s, slot);

    return (s->due[i / 8] & ~s->done[i / 8]) >> i % 8 & 1;
}

/* Compared, or given up, in this round. */
void scrub_slot_done(struct side_scrub *s)
{
    uint32_t i = bits_at(s, s->slot);

    s->done[i / 8] |= (uint8_t)(1U << i % 8);
    s->slot_done = true;
}

/* Led here, though it may not be served yet, and others have it, or are to have it. */
static bool is_shared(const struct side_scrub *s, uint32_t slot)
{
    const struct cairn_replica *r = cluster_slots_replica(s->w->slots, slot);

    return r != NULL && cairn_replica_is_primary(r) &&
           (r->rec.nreplicas > 1 || r->rec.move.phase != CAIRN_MOVE_NONE);
}

/* The next one that is to be compared, and can be. */
static uint32_t slot_find(struct side_scrub *s)
{
    uint32_t step = s->w->c->side->nworkers;

    for (uint64_t slot = s->slot == SCRUB_NONE ? s->w->index : (uint64_t)s->slot + step; slot < SIDE_SLOTS_MAX;
         slot += step) {
        uint32_t i = bits_at(s, (uint32_t)slot);

        if (!is_shared(s, (uint32_t)slot))
            continue;
        s->due[i / 8] |= (uint8_t)(1U << i % 8);
        if (!is_left(s, (uint32_t)slot))
            continue;
        if (scrub_may_look(s, (uint32_t)slot))
            return (uint32_t)slot;
        s->waits = true;
    }
    return SCRUB_NONE;
}

static void page_start(struct side_scrub *s)
{
    cairn_sm_move(&s->sm, SCRUB_OWN);
    s->rec = cluster_slots_replica(s->w->slots, s->slot)->rec;
    s->page.slot = s->slot;
    store_scan_start(&s->page);
}

/* What was found of it before stays. */
static void slot_skip(struct side_scrub *s, uint32_t slot)
{
    struct scrub_report *r = scrub_report_of(s);

    scrub_report_skip(r, slot, s->round);
    s->not_compared++;
    atomic_fetch_add(&r->not_compared, 1);
}

static void round_end(struct side_scrub *s)
{
    for (uint32_t slot = s->w->index; slot < SIDE_SLOTS_MAX; slot += s->w->c->side->nworkers) {
        if (is_left(s, slot))
            slot_skip(s, slot);
    }
    scrub_report_round(scrub_report_of(s), s->w, s->round);
    if (s->sm.state != SCRUB_REST)
        cairn_sm_move(&s->sm, SCRUB_REST);
    scrub_rest(s);
}

static void slot_next(struct side_scrub *s)
{
    s->slot = slot_find(s);
    s->page.after_len = 0;
    s->tries = 0;
    s->slot_done = false;
    if (s->slot != SCRUB_NONE) {
        page_start(s);
    } else if (s->waits && ++s->pass < SCRUB_PASSES) {
        s->waits = false;
        scrub_pause(s, 0, SCRUB_AGAIN_MS * CAIRN_NS_PER_MS);
    } else {
        round_end(s);
    }
}

static void round_begin(struct side_scrub *s)
{
    struct scrub_report *r = scrub_report_of(s);

    s->round++;
    s->pass = 0;
    s->waits = false;
    memset(s->due, 0, s->bits_bytes);
    memset(s->done, 0, s->bits_bytes);
    atomic_fetch_sub(&r->not_compared, s->not_compared);
    s->not_compared = 0;
    atomic_fetch_add(&r->running, 1);
    slot_next(s);
}

static void on_timer(void *arg)
{
    struct side_scrub *s = arg;

    if (s->sm.state == SCRUB_REST)
        round_begin(s);
    else if (s->slot != SCRUB_NONE && !s->slot_done && scrub_may_look(s, s->slot))
        page_start(s);
    else /* it is done, or it cannot be looked at now: there may be another pass */
        slot_next(s);
}

void side_scrub_begin(struct side_worker *w, void *arg)
{
    struct side_scrub *s = w->scrub;

    (void)arg;
    if (s == NULL || w->stopping || s->sm.state != SCRUB_REST)
        return;
    cairn_timer_stop(&w->loop->env, &s->timer);
    round_begin(s);
}

/* The page could not be read or compared: once more, later, or the slot is left to the next round. */
void scrub_page_failed(struct side_scrub *s, int rc)
{
    bool gives_up = ++s->tries > SCRUB_TRIES;

    if (gives_up)
        cairn_log_warn("slot %u: its replicas are not compared in this round: %s", s->slot, cairn_error_text(rc));
    if (gives_up) {
        slot_skip(s, s->slot);
        scrub_slot_done(s);
    } else if (rc == CAIRN_E_MOVED) { /* who leads it now compares it, or we do in another pass */
        s->slot_done = s->waits = true;
    }
    scrub_pause(s, 0, s->slot_done ? 0 : SCRUB_AGAIN_MS * CAIRN_NS_PER_MS);
}

/* ---- life ---- */

int side_scrub_new(struct side_worker *w)
{
    struct side_scrub *s = calloc(1, sizeof(*s));

    if (s == NULL)
        return CAIRN_E_NOMEM;
    s->bits_bytes = SIDE_SLOTS_MAX / w->c->side->nworkers / 8 + 1;
    s->due = calloc(2, s->bits_bytes);
    if (s->due == NULL) {
        free(s);
        return CAIRN_E_NOMEM;
    }
    s->done = s->due + s->bits_bytes;
    s->w = w;
    s->slot = SCRUB_NONE;
    cairn_timer_init(&s->timer, on_timer, s);
    store_scan_init(&s->page, cluster_slots_store(w->slots));
    s->page.extent = w->extent;
    s->page.done = scrub_on_page;
    s->page.arg = s;
    scrub_key_init(&s->key, w);
    s->key.done = scrub_on_key;
    s->key.arg = s;
    w->scrub = s;
    return 0;
}

void side_scrub_run(struct side_worker *w)
{
    struct side_scrub *s = w->scrub;

    cairn_sm_init(&s->sm, &side_scrub_kind, &w->loop->machines);
    scrub_rest(s);
}

void side_scrub_stop(struct side_worker *w)
{
    struct side_scrub *s = w->scrub;

    if (s == NULL || s->sm.kind == NULL)
        return;
    cairn_timer_stop(&w->loop->env, &s->timer);
    scrub_key_stop(&s->key);
    cairn_sm_move(&s->sm, SCRUB_STOPPED);
    cairn_sm_fini(&s->sm);
}

void side_scrub_free(struct side_worker *w)
{
    struct side_scrub *s = w->scrub;

    if (s == NULL)
        return;
    scrub_key_fini(&s->key);
    store_scan_fini(&s->page);
    free(s->bytes);
    free(s->due);
    free(s);
    w->scrub = NULL;
}
