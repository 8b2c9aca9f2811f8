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
#include "server/cluster/service/scrub.h"

#include "sdk/core/base/log.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { SCRUB_REST, SCRUB_OWN, SCRUB_ASK, SCRUB_KEY, SCRUB_PAUSE, SCRUB_STOPPED, SCRUB_NR };
enum {
    SCRUB_TRIES = 10, /* of a page */
    SCRUB_AGAIN_MS = 500,
    SCRUB_DEBT_MS_MIN = 50,    /* small debts are paid together */
    SCRUB_SLOT_BYTES = 4096,   /* what a slot costs that has nothing */
    SCRUB_FIRST_MS = 600000,   /* after a start */
    SCRUB_LOG_KEY_BYTES = 64,
    SCRUB_NONE = UINT32_MAX,
};

struct scrub_candidate {
    uint32_t off, len;
};

struct side_scrub {
    struct cairn_sm sm;
    struct side_worker *w;
    struct cairn_timer timer;
    uint64_t round, owed_ns;

    uint32_t slot, tries;
    bool slot_done;
    struct cairn_slot_record rec;
    struct store_scan page;
    uint32_t peer;  /* of rec.insync */
    uint32_t first; /* of the page: those before are compared with it */
    bool cut;       /* its answer ends before the page does, at the last of: */
    uint8_t upto[SCAN_KEY_BYTES_MAX];
    uint32_t upto_len;
    Cairn__Wire__ClusterCompare ask;
    struct cairn_rpc_call call;
    struct cairn_err err;

    struct scrub_candidate candidates[2 * SCAN_KEYS_MAX];
    uint32_t ncandidates, candidate;
    uint8_t *bytes;
    size_t nbytes, bytes_room;
    struct scrub_key key;
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

static struct scrub_report *report_of(struct side_scrub *s)
{
    return s->w->c->side->scrub_report;
}

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
static void scrub_pause(struct side_scrub *s, uint64_t bytes, uint64_t least_ns)
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
static bool scrub_may_look(struct side_scrub *s, uint32_t slot)
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
    scrub_report_round(report_of(s), s->w->index, step, s->round);
    if (s->sm.state != SCRUB_REST)
        cairn_sm_move(&s->sm, SCRUB_REST);
    scrub_rest(s);
}

static void round_begin(struct side_scrub *s)
{
    s->round++;
    atomic_fetch_add(&report_of(s)->running, 1);
    slot_next(s);
}

static void on_timer(void *arg)
{
    struct side_scrub *s = arg;

    if (s->sm.state == SCRUB_REST)
        round_begin(s);
    else if (s->slot_done || !scrub_may_look(s, s->slot))
        slot_next(s);
    else
        page_start(s);
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
static void page_failed(struct side_scrub *s, int rc)
{
    if (++s->tries > SCRUB_TRIES || rc == CAIRN_E_MOVED) {
        cairn_log_info("slot %u: its replicas are not compared in this round: %s", s->slot, cairn_error_text(rc));
        atomic_fetch_add(&report_of(s)->slots_skipped, 1);
        s->slot_done = true;
    }
    scrub_pause(s, 0, s->slot_done ? 0 : SCRUB_AGAIN_MS * CAIRN_NS_PER_MS);
}

/* ---- keys ---- */

static void peer_next(struct side_scrub *s);
static void ask_start(struct side_scrub *s);

static bool candidate_add(struct side_scrub *s, const uint8_t *key, uint32_t len)
{
    CAIRN_ASSERT(s->ncandidates < ARRAY_SIZE(s->candidates));
    if (s->nbytes + len > s->bytes_room) {
        size_t room = (s->nbytes + len) * 2;
        uint8_t *more = realloc(s->bytes, room);

        if (more == NULL)
            return false;
        s->bytes = more;
        s->bytes_room = room;
    }
    s->candidates[s->ncandidates++] = (struct scrub_candidate){ .off = (uint32_t)s->nbytes, .len = len };
    memcpy(s->bytes + s->nbytes, key, len);
    s->nbytes += len;
    return true;
}

static const char *outcome_text(enum scrub_outcome outcome)
{
    static const char *const texts[] = { [SCRUB_REPAIRED] = "was bad, and is repaired",
                                         [SCRUB_DIFFERENT] = "DIFFERS, though both copies look good",
                                         [SCRUB_NONE_GOOD] = "has no good copy at these two",
                                         [SCRUB_NOT_REPAIRED] = "is bad, and could not be repaired" };

    return texts[outcome];
}

static void finding_log(struct side_scrub *s, const struct scrub_finding *f)
{
    char key[SCRUB_LOG_KEY_BYTES + 1];
    uint32_t n = MIN(f->key_len, (uint32_t)SCRUB_LOG_KEY_BYTES);

    for (uint32_t i = 0; i < n; i++)
        key[i] = f->key[i] >= ' ' && f->key[i] < 0x7f ? (char)f->key[i] : '?';
    key[n] = '\0';
    if (f->outcome == SCRUB_REPAIRED)
        cairn_log_warn("slot %u, namespace %u, key '%s', at nodes %016" PRIx64 " and %016" PRIx64 ": %s", s->slot, f->ns, key,
                       f->here, f->there, outcome_text(f->outcome));
    else
        cairn_log_error("slot %u, namespace %u, key '%s', at nodes %016" PRIx64 " and %016" PRIx64 ": %s", s->slot, f->ns,
                        key, f->here, f->there, outcome_text(f->outcome));
}

static void key_found(struct side_scrub *s, const struct scrub_key *k, enum scrub_outcome outcome)
{
    struct scrub_finding f = { .outcome = outcome,
                               .slot = s->slot,
                               .ns = store_get_be32(k->key),
                               .key_len = k->len - SCAN_NS_BYTES,
                               .here = s->w->c->node,
                               .there = k->peer.node,
                               .state_here = k->state_here,
                               .state_there = k->state_there,
                               .round = s->round,
                               .at_s = (uint64_t)time(NULL) };

    memcpy(f.key, k->key + SCAN_NS_BYTES, MIN(f.key_len, (uint32_t)SCRUB_FINDING_KEY_BYTES_MAX));
    if (outcome == SCRUB_REPAIRED)
        atomic_fetch_add(&report_of(s)->repaired, 1);
    scrub_report_add(report_of(s), &f);
    finding_log(s, &f);
}

static void key_start(struct side_scrub *s)
{
    const struct scrub_candidate *x = &s->candidates[s->candidate];

    s->key.slot = s->slot;
    s->key.epoch = s->rec.epoch;
    s->key.peer = s->rec.insync[s->peer];
    s->key.len = x->len;
    memcpy(s->key.key, s->bytes + x->off, x->len);
    cairn_sm_move(&s->sm, SCRUB_KEY);
    scrub_key_start(&s->key);
}

/* Behind the last of them: the rest of the page, or the next member. */
static void keys_next(struct side_scrub *s)
{
    if (s->candidate < s->ncandidates) {
        key_start(s);
        return;
    }
    if (s->cut) {
        ask_start(s);
        return;
    }
    s->peer++;
    peer_next(s);
}

static void on_key(struct scrub_key *k, enum scrub_outcome outcome)
{
    struct side_scrub *s = k->arg;

    if (s->w->stopping)
        return;
    if (outcome == SCRUB_CANNOT) { /* the slot has moved on, or the other node is away */
        page_failed(s, CAIRN_E_BUSY);
        return;
    }
    if (outcome == SCRUB_IN_USE)
        atomic_fetch_add(&report_of(s)->in_use, 1);
    else if (outcome != SCRUB_SAME)
        key_found(s, k, outcome);
    s->candidate++;
    keys_next(s);
}

/* ---- pages ---- */

static int key_order(const struct store_scan_key *a, ProtobufCBinaryData b)
{
    int c = memcmp(a->key, b.data, MIN((size_t)a->len, b.len));

    return c != 0 ? c : (a->len > b.len) - (a->len < b.len);
}

/* What only one of the two has, what they have in two ways, and what is bad. */
static bool page_merge(struct side_scrub *s, const Cairn__Wire__ClusterCompared *m)
{
    uint32_t i = s->first;
    size_t j = 0;

    while (i < s->page.n || j < m->n_keys) {
        const struct store_scan_key *own = i < s->page.n ? &s->page.keys[i] : NULL;
        int c = own == NULL ? 1 : j < m->n_keys ? key_order(own, m->keys[j]) : -1;
        bool good = true;

        if (c < 0 && j == m->n_keys && s->cut) /* the other has not said yet */
            break;
        if (c == 0)
            good = own->digest == m->digests[j] && !scan_is_bad(own->state) && !scan_is_bad(m->states[j]);
        else if (c < 0)
            good = m->same && !scan_is_bad(own->state);
        else
            good = false;
        if (!good && !(c > 0 ? candidate_add(s, m->keys[j].data, (uint32_t)m->keys[j].len)
                             : candidate_add(s, own->key, own->len)))
            return false;
        i += c <= 0;
        j += c >= 0;
    }
    s->first = i;
    return true;
}

static void on_answer(struct cairn_rpc_call *call)
{
    struct side_scrub *s = call->arg;
    const Cairn__Wire__ClusterCompared *m = (const Cairn__Wire__ClusterCompared *)call->reply;
    int rc = call->rc;

    if (!scrub_asked(s->w))
        return;
    if (rc == 0 && !scrub_answer_is_good(&s->ask, m, call->reply_payload_len))
        rc = CAIRN_E_PROTO;
    if (rc != 0) {
        page_failed(s, rc);
        return;
    }
    s->ncandidates = s->candidate = 0;
    s->nbytes = 0;
    s->cut = m->more;
    if (m->more) {
        s->upto_len = (uint32_t)m->keys[m->n_keys - 1].len;
        memcpy(s->upto, m->keys[m->n_keys - 1].data, s->upto_len);
    }
    if (page_merge(s, m))
        keys_next(s);
    else
        page_failed(s, CAIRN_E_NOMEM);
}

/* What the other has of the page, behind what is compared already. */
static void ask_start(struct side_scrub *s)
{
    const struct store_scan_key *last = s->page.n > 0 ? &s->page.keys[s->page.n - 1] : NULL;
    int rc;

    if (!scrub_may_look(s, s->slot)) {
        page_failed(s, CAIRN_E_MOVED);
        return;
    }
    cairn__wire__cluster_compare__init(&s->ask);
    s->ask.slot = s->slot;
    s->ask.epoch = s->rec.epoch;
    s->ask.applied = cluster_slots_replica(s->w->slots, s->slot)->applied;
    s->ask.after = s->cut ? (ProtobufCBinaryData){ .len = s->upto_len, .data = s->upto }
                          : (ProtobufCBinaryData){ .len = s->page.after_len, .data = s->page.after };
    if (s->page.more)
        s->ask.upto = (ProtobufCBinaryData){ .len = last->len, .data = (uint8_t *)(uintptr_t)last->key };
    s->ask.digest = store_scan_digest(&s->page, s->first);
    memset(&s->call, 0, offsetof(struct cairn_rpc_call, arena));
    s->call.msg = &s->ask.base;
    s->call.timeout_ns = SCRUB_CALL_MS * CAIRN_NS_PER_MS;
    s->call.done = on_answer;
    s->call.arg = s;
    s->call.err = &s->err;
    cairn_sm_move(&s->sm, SCRUB_ASK);
    rc = scrub_ask(s->w, &s->call, s->rec.insync[s->peer].node, CAIRN__WIRE__CLUSTER_METHOD__CLUSTER_COMPARE);
    if (rc != 0)
        page_failed(s, rc);
}

static void page_done(struct side_scrub *s)
{
    struct scrub_report *r = report_of(s);

    atomic_fetch_add(&r->keys, s->page.n);
    atomic_fetch_add(&r->bytes, s->page.bytes);
    s->tries = 0;
    s->slot_done = !s->page.more;
    if (s->slot_done) {
        atomic_fetch_add(&r->slots, 1);
    } else {
        const struct store_scan_key *last = &s->page.keys[s->page.n - 1];

        s->page.after_len = last->len;
        memcpy(s->page.after, last->key, last->len);
    }
    scrub_pause(s, s->page.bytes + SCRUB_SLOT_BYTES, 0);
}

/* Whoever is in the in-sync set beside us. */
static void peer_next(struct side_scrub *s)
{
    while (s->peer < s->rec.ninsync && s->rec.insync[s->peer].node == s->w->c->node)
        s->peer++;
    s->first = 0;
    s->cut = false;
    if (s->peer < s->rec.ninsync)
        ask_start(s);
    else
        page_done(s);
}

static void on_page(struct store_scan *x, int rc)
{
    struct side_scrub *s = x->arg;

    if (s->w->stopping) /* the store ends a little later */
        return;
    if (rc != 0) {
        page_failed(s, rc);
        return;
    }
    s->peer = 0;
    peer_next(s);
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
    s->page.done = on_page;
    s->page.arg = s;
    scrub_key_init(&s->key, w);
    s->key.done = on_key;
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
