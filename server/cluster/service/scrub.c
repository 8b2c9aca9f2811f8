/* Through the slots of a worker that are led from here, page by page. See scrub.h.
 *
 *  REST ---> OWN ---> ASK ---> KEY ---> PAUSE ---> OWN ---> PAUSE ---> REST
 *
 *  ASK may also go to ASK, PAUSE; KEY to KEY, ASK. All but STOPPED may also go to STOPPED.
 *
 *  REST     nothing is to be done until the next round.
 *  OWN      the next page is being read here.
 *  ASK      another member of the in-sync set is being asked for what it has of the page.
 *  KEY      a key in which the two differ, or that is bad in both, is being looked at.
 *  PAUSE    what was read has to be paid for; or something could not be had now.
 *  STOPPED  the worker ends. */
#include "server/cluster/service/scrub_internal.h"

#include "sdk/core/base/log.h"

#include <stdlib.h>

enum {
    SCRUB_TRIES = 10, /* of a page */
    SCRUB_AGAIN_MS = 500,
    SCRUB_DEBT_MS_MIN = 50,  /* small debts are paid together */
    SCRUB_FIRST_MS = 600000, /* after a start */
};

#define TO CAIRN_SM_TO
static const struct cairn_sm_state scrub_states[SCRUB_NR] = {
    [SCRUB_REST] = { "REST", CAIRN_SM_INITIAL, TO(SCRUB_OWN) | TO(SCRUB_STOPPED) },
    [SCRUB_OWN] = { "OWN", 0, TO(SCRUB_ASK) | TO(SCRUB_PAUSE) | TO(SCRUB_STOPPED) },
    [SCRUB_ASK] = { "ASK", 0, TO(SCRUB_ASK) | TO(SCRUB_KEY) | TO(SCRUB_PAUSE) | TO(SCRUB_STOPPED) },
    [SCRUB_KEY] = { "KEY", 0, TO(SCRUB_KEY) | TO(SCRUB_ASK) | TO(SCRUB_PAUSE) | TO(SCRUB_STOPPED) },
    [SCRUB_PAUSE] = { "PAUSE", 0, TO(SCRUB_OWN) | TO(SCRUB_REST) | TO(SCRUB_STOPPED) },
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

static void page_start(struct side_scrub *s)
{
    cairn_sm_move(&s->sm, SCRUB_OWN);
    s->rec = cluster_slots_replica(s->w->slots, s->slot)->rec;
    s->page.slot = s->slot;
    store_scan_start(&s->page);
}

static void slot_next(struct side_scrub *s)
{
    uint32_t step = s->w->c->side->nworkers;
    uint64_t slot = s->slot == SCRUB_NONE ? s->w->index : (uint64_t)s->slot + step;

    while (slot < SIDE_SLOTS_MAX && !scrub_may_look(s, (uint32_t)slot))
        slot += step;
    s->page.after_len = 0;
    s->tries = 0;
    s->slot_done = false;
    if (slot < SIDE_SLOTS_MAX) {
        s->slot = (uint32_t)slot;
        page_start(s);
        return;
    }
    s->slot = SCRUB_NONE;
    scrub_report_round(scrub_report_of(s), s->w, s->round);
    if (s->sm.state != SCRUB_REST)
        cairn_sm_move(&s->sm, SCRUB_REST);
    scrub_rest(s);
}

/* It is done; or it is led elsewhere now, or nobody else has it any more. */
static void slot_leave(struct side_scrub *s)
{
    if (!s->slot_done)
        scrub_report_skip(scrub_report_of(s), s->slot, s->round);
    slot_next(s);
}

static void round_begin(struct side_scrub *s)
{
    s->round++;
    atomic_fetch_add(&scrub_report_of(s)->running, 1);
    slot_next(s);
}

static void on_timer(void *arg)
{
    struct side_scrub *s = arg;

    if (s->sm.state == SCRUB_REST)
        round_begin(s);
    else if (!s->slot_done && scrub_may_look(s, s->slot))
        page_start(s);
    else
        slot_leave(s);
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
    if (gives_up || rc == CAIRN_E_MOVED) { /* who leads it now compares it */
        scrub_report_skip(scrub_report_of(s), s->slot, s->round);
        s->slot_done = true;
    }
    scrub_pause(s, 0, s->slot_done ? 0 : SCRUB_AGAIN_MS * CAIRN_NS_PER_MS);
}

/* ---- life ---- */

int side_scrub_new(struct side_worker *w)
{
    struct side_scrub *s = calloc(1, sizeof(*s));

    if (s == NULL)
        return CAIRN_E_NOMEM;
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
    free(s);
    w->scrub = NULL;
}
