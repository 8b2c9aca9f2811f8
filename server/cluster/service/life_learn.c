/* What this node learns of the map, and its lease, which depends on that. At home.
 *
 * It comes with grants of the coordinator, of which some bring a page if that is all that is missing, and from other
 * nodes: of these, the group's packets say who has more, and hearsay.h whom to ask; one node gives all of its pages
 * (records_chain.h). They go into this node's records, then to the replicas that they concern; when all of them have it,
 * @learned is the revision. One thing at a time; what comes meanwhile comes again. A grant counts as a lease when everything up to the revision that it names is learned (M1),
 * from the sending of its heartbeat. The coordinator's own node has its records before, and asks nobody. */
#include "server/cluster/service/life_internal.h"

#include "sdk/core/base/log.h"
#include "server/cluster/service/coordinator.h"

#include <inttypes.h>
#include <stdlib.h>

enum { SESSION_LOOK_MS = 20, PAUSE_MS = 50, PAUSES_MAX = 100 };

static void hear_step(struct side_life *l);
static void fetch_over(struct side_life *l, bool ok, uint64_t version, bool more);

/* The map does not go so far. */
static bool is_no_such(const struct side_life *l, uint64_t version)
{
    return l->no_such != 0 && version >= l->no_such;
}

static uint64_t now_of(struct side_life *l)
{
    return cairn_env_now_ns(&l->c->home->env);
}

/* The map may name us for long after our term, if nobody can write another name there. */
static bool coordinates(const struct side_life *l)
{
    return cairn_coordinator_has_term(l->c->coordinator);
}

/* 0: nobody, or us. */
static uint64_t other_coordinator(const struct side_life *l)
{
    uint64_t node = atomic_load(&l->c->side->coordinator);

    return node != l->c->node ? node : 0;
}

void cairn_cluster__side_say(struct cairn_cluster *c)
{
    struct cairn_gossip *g = c->env->gossip;
    uint64_t map = cairn_cluster_records_map(c->records), revision = cairn_cluster_records_revision(c->records);

    if (g != NULL && (g->word.version != revision || g->word.map != map))
        cairn_gossip_say(g, &(struct cairn_gossip_word){ .node = c->node, .map = map, .version = revision });
}

/* ---- the lease ---- */

static void lease_on(struct side_worker *w, void *arg)
{
    (void)arg;
    if (!w->stopping)
        cluster_slots_on_lease(w->slots);
}

static void leased_all(void *arg)
{
    (void)life_step_over(arg);
}

/* Grants whose map is learned now count. */
static void settle(struct side_life *l)
{
    bool leased = false;

    for (; l->nwaits > 0 && l->waits[0].upto <= l->learned; l->waits[0] = l->waits[1], l->nwaits--) {
        const struct life_wait *w = &l->waits[0];

        cairn_lease_granted(&l->lease, &l->c->lease_times, w->number, w->sent_ns);
        if (w->own) /* nothing beyond our term: whoever is elected next counts on that */
            l->lease.until_ns = MIN(l->lease.until_ns, cairn_coordinator_term_until(l->c->coordinator));
        leased = true;
    }
    if (l->nwaits > 0)
        hearsay_want(&l->hearsay, l->waits[0].came_ns, l->waits[0].upto);
    if (!leased)
        return;
    atomic_store(&l->c->side->lease_until_ns, l->lease.until_ns);
    l->eager_until_ns = 0;
    l->pending++;
    if (side_each(l->c, lease_on, leased_all, l) != 0)
        l->pending--; /* they look at their next tick */
}

/* The oldest one is kept until its map is here: the newest may always want more than that. */
static void wait_for_map(struct side_life *l, const struct life_beat *b, const struct cairn_wire_grant *g)
{
    uint32_t at = MIN(l->nwaits, ARRAY_SIZE(l->waits) - 1);

    l->waits[at] = (struct life_wait){
        .number = b->number, .sent_ns = b->sent_ns, .came_ns = now_of(l), .upto = g->upto, .own = b->own
    };
    l->nwaits = at + 1;
}

/* ---- pages ---- */

static void learn_on(struct side_worker *w, void *arg)
{
    struct side_life *l = arg;

    for (uint32_t i = 0; i < l->nslots; i++) {
        if (l->slots[i] % w->c->side->nworkers == w->index && !side_learn(w, l->slots[i]))
            atomic_store(&l->missed, true);
    }
}

/* @ok: all replicas have it. */
static void learn_over(struct side_life *l, bool ok)
{
    bool fetched = l->fetched;

    free(l->slots);
    l->slots = NULL;
    l->nslots = 0;
    l->learning = l->fetched = false;
    if (l->sm.state == LIFE_ENDED)
        return;
    hearsay_have(&l->hearsay, l->learned);
    cairn_cluster__side_say(l->c);
    settle(l);
    if (fetched)
        fetch_over(l, ok, l->revision, false);
    else
        hear_step(l);
}

static void learned_all(void *arg)
{
    struct side_life *l = arg;
    bool missed = atomic_load(&l->missed);

    if (life_step_over(l)) {
        learn_over(l, false);
        return;
    }
    if (l->sm.state != LIFE_BEATING) {
        missed = true;
    } else if (missed) { /* all of it comes again */
        l->learned = 0;
    } else if (l->learn_map == cairn_cluster_records_map(l->c->records) && l->revision > l->learned &&
               !is_no_such(l, l->revision)) {
        l->learned = l->revision;
        l->learned_from = l->fetched ? l->fetch_from : 0;
    }
    learn_over(l, !missed);
}

/* To the workers: @rc 0, and l->slots are in the records, up to @revision. */
static void learn(struct side_life *l, uint64_t revision, int rc)
{
    l->learning = true;
    l->learn_map = cairn_cluster_records_map(l->c->records);
    l->revision = revision;
    if (rc != 0) {
        learn_over(l, false);
        return;
    }
    atomic_store(&l->missed, false);
    l->pending++;
    if (side_each(l->c, learn_on, learned_all, l) != 0) {
        l->pending--;
        learn_over(l, false);
    }
}

/* All pages of one copy, or the only one. */
static void learn_pages(struct side_life *l, const struct cairn_wire_page *pages, uint32_t n)
{
    int rc = cairn_cluster_records_take(l->c->records, pages, n);
    uint32_t nslots = 0;

    for (uint32_t i = 0; i < n; i++)
        nslots += pages[i].nslots;
    l->slots = malloc((nslots + 1) * sizeof(*l->slots));
    for (uint32_t i = 0; l->slots != NULL && i < n; i++) {
        for (uint32_t k = 0; k < pages[i].nslots; k++)
            l->slots[l->nslots++] = pages[i].slots[k].slot;
    }
    learn(l, pages[n - 1].revision, l->slots != NULL ? rc : CAIRN_E_NOMEM);
}

void life_learn_own(struct side_life *l)
{
    uint64_t revision;
    int rc;

    if (l->learning || l->learned >= cairn_cluster_records_revision(l->c->records))
        return;
    rc = cairn_cluster_records_changed(l->c->records, l->learned, &l->slots, &l->nslots, &revision);
    learn(l, revision, rc);
}

/* ---- from the coordinator ---- */

/* What we have goes beyond the map that there is, and no coordinator has ever said that it goes so far: somebody made
 * it up. All of it is dropped; others may have it as well, and shall not give it back to us. */
static void forget_future(struct side_life *l, uint64_t upto)
{
    uint64_t have = MAX(l->learned, cairn_cluster_records_revision(l->c->records));

    cairn_log_warn("this node knows of a map up to revision %" PRIu64 ", and there is none behind %" PRIu64
                   ": what it has is of node %016" PRIx64 " (0: of a coordinator), and is fetched again",
                   have, upto, l->learned_from);
    l->no_such = l->no_such != 0 ? MIN(l->no_such, have) : have;
    cairn_cluster_records_forget(l->c->records, cairn_cluster_records_map(l->c->records));
    l->learned = 0;
    l->learn_map = 0; /* a page that is on its way to the replicas counts no more */
    l->nwaits = 0;    /* what they wait for may never be */
    l->chain_from = 0;
    hearsay_forget(&l->hearsay);
    cairn_cluster__side_say(l->c);
}

void cairn_cluster__side_map_is(struct cairn_cluster *c, uint64_t map, uint64_t revision)
{
    struct side_life *l = c->side != NULL ? c->side->life : NULL;

    if (l == NULL)
        return;
    if (cairn_cluster_records_map(c->records) != map)
        life_follow_map(l, map, 0);
    else if (MAX(l->learned, cairn_cluster_records_revision(c->records)) > revision)
        forget_future(l, revision);
    l->vouched = revision;
}

uint64_t cairn_cluster__side_map_known(struct cairn_cluster *c, uint64_t *upto)
{
    *upto = c->side->life->vouched;
    return cairn_cluster_records_map(c->records);
}

void life_granted(struct side_life *l, const struct life_beat *b, const struct cairn_wire_grant *g)
{
    if (g->number != b->number || g->who.node != l->c->node || g->who.inc != l->inc)
        return;
    if (b->map != cairn_cluster_records_map(l->c->records)) /* it was asked for what we have forgotten */
        return;
    if (g->map != b->map) {
        life_follow_map(l, g->map, g->term);
        return;
    }
    l->again |= g->wants_register;
    l->term = MAX(l->term, g->term);
    if (l->sm.state != LIFE_BEATING)
        return;
    l->vouched = MAX(l->vouched, g->upto);
    if (g->ahead && !b->own && !l->learning && b->revision > g->upto && l->learned >= b->revision)
        forget_future(l, g->upto);
    if (g->upto >= l->no_such)
        l->no_such = 0;
    if (g->granted) {
        life_trust_map(l, b->sent_ns);
        wait_for_map(l, b, g);
    }
    if (b->own)
        life_learn_own(l);
    else if (!l->learning && !g->page.more && g->page.revision > l->learned && b->revision <= l->learned)
        learn_pages(l, &g->page, 1);
    if (l->learning)
        return;
    settle(l);
    hear_step(l);
}

/* ---- from others ---- */

static void fetch_over(struct side_life *l, bool ok, uint64_t version, bool more)
{
    uint64_t from = l->fetch_from;

    l->fetch_from = 0;
    if (!ok || !more)
        l->chain_from = 0;
    if (hearsay_answered(&l->hearsay, now_of(l), ok, version, more)) {
        atomic_fetch_add(&l->lies, 1);
        cairn_log_warn("node %016" PRIx64 " says that it has a map which it does not have: up to revision %" PRIu64
                       ", and it gives what there is up to %" PRIu64 "; it is not believed for a while",
                       from, l->hearsay.asked_version, version);
    }
    hear_step(l);
}

static void hear_in(struct side_life *l, uint64_t due_ns)
{
    if (cairn_timer_start(&l->c->home->env, &l->hear_timer, due_ns) != 0)
        cairn_log_error("no memory for a timer: the map is asked for when something else happens");
}

/* Its page is the next one of the chain. False: it is none. */
static bool chain_add(struct side_life *l, const Cairn__Wire__ClusterRecords *reply)
{
    struct cairn_wire_page page;
    struct cairn_arena a;
    bool ok;

    cairn_arena_init(&a, LIFE_ARENA_BYTES);
    ok = cairn_wire_page_get(reply, &a, &page, NULL) == 0 && page.map == l->fetch_msg.map &&
         !is_no_such(l, page.revision) && records_chain_add(&l->chain, &page) == 0;
    cairn_arena_reset(&a);
    return ok;
}

/* It gives only so many pages a second, and has given some of its own: it is asked for the next one a moment later, or
 * all of them would have to come of another. */
static bool chain_pause(struct side_life *l)
{
    uint64_t now = now_of(l);

    if (l->chain.n == 0 || l->pauses++ == PAUSES_MAX)
        return false;
    l->pause_until_ns = now + PAUSE_MS * CAIRN_NS_PER_MS;
    l->fetch_until_ns = l->pause_until_ns + l->hearsay.times.answer_ns;
    hear_in(l, l->pause_until_ns);
    return true;
}

static void on_fetched(struct cairn_rpc_call *call)
{
    struct side_life *l = call->arg;
    const struct cairn_wire_page *last;

    l->fetching = false;
    if (life_step_over(l) || (call->rc == CAIRN_E_BUSY && chain_pause(l)))
        return;
    if (call->rc != 0 || !chain_add(l, (const Cairn__Wire__ClusterRecords *)call->reply)) {
        fetch_over(l, false, 0, false);
        return;
    }
    l->pauses = 0;
    l->pause_until_ns = 0;
    last = &l->chain.pages[l->chain.n - 1];
    if (last->map != cairn_cluster_records_map(l->c->records) || (l->learning && !last->more) ||
        l->chain.since > l->learned || coordinates(l)) { /* of no use now, and no fault of its */
        fetch_over(l, true, UINT64_MAX, false);
    } else if (last->more) {
        fetch_over(l, true, last->revision, true);
    } else {
        l->fetched = true;
        learn_pages(l, l->chain.pages, l->chain.n);
    }
}

/* The question to @fetch_from, as soon as there is a session with it. */
static void fetch_start(struct side_life *l)
{
    bool resort = l->fetch_from == atomic_load(&l->c->side->coordinator);
    uint64_t now = now_of(l);
    struct cairn_rpc_dest dest;

    if (now >= l->fetch_until_ns) {
        fetch_over(l, false, 0, false);
        return;
    }
    if (now < l->pause_until_ns) {
        hear_in(l, l->pause_until_ns);
        return;
    }
    if (!(resort ? life_find_coordinator(l, &dest) : cairn_cluster__peer_to_ask(l->c, l->fetch_from, &dest))) {
        hear_in(l, now + SESSION_LOOK_MS * CAIRN_NS_PER_MS);
        return;
    }
    if (l->chain_from != l->fetch_from) {
        records_chain_end(&l->chain);
        records_chain_begin(&l->chain, l->learned);
        l->chain_from = l->fetch_from;
        l->pauses = 0;
    }
    cairn__wire__cluster_fetch__init(&l->fetch_msg);
    l->fetch_msg.since = records_chain_upto(&l->chain);
    l->fetch_msg.map = cairn_cluster_records_map(l->c->records);
    l->fetch_msg.members = true;
    l->fetch_msg.node = !resort;
    life_call_prepare(l, &l->fetch, &dest, CAIRN__WIRE__CLUSTER_METHOD__CLUSTER_RECORDS, &l->fetch_msg.base, on_fetched,
                      l);
    l->fetch.timeout_ns = l->fetch_until_ns - now;
    l->fetching = true;
    atomic_fetch_add(resort ? &l->asked_coordinator : &l->asked_others, 1);
    cairn_rpc_call_start(&l->fetch);
}

/* Who cannot hear of others need not wait for them. */
static uint64_t patience_of(const struct side_life *l)
{
    const struct cairn_gossip *g = l->c->env->gossip;

    return g == NULL || g->ncarriers == 0 ? 0 : MIN(hearsay_times_default.patience_ns, l->c->lease_times.length_ns / 4);
}

/* Something has changed: is anybody to be asked now? */
static void hear_step(struct side_life *l)
{
    struct hearsay_question q;

    if (l->sm.state != LIFE_BEATING || l->learning || l->fetching || atomic_load(&l->c->side->failed))
        return;
    if (l->fetch_from != 0) {
        fetch_start(l);
        return;
    }
    if (coordinates(l))
        return;
    l->hearsay.times.patience_ns = patience_of(l);
    q = hearsay_step(&l->hearsay, now_of(l), other_coordinator(l));
    if (q.node != 0) {
        l->fetch_from = q.node;
        l->fetch_until_ns = now_of(l) + l->hearsay.times.answer_ns;
        fetch_start(l);
    } else if (q.due_ns != UINT64_MAX) {
        hear_in(l, q.due_ns);
    }
}

static void on_hear_timer(void *arg)
{
    hear_step(arg);
}

static void on_heard(void *arg, const struct cairn_gossip_word *w)
{
    struct side_life *l = arg;

    if (w->map != cairn_cluster_records_map(l->c->records) || is_no_such(l, w->version))
        return;
    hearsay_heard(&l->hearsay, now_of(l), w->node, w->version);
    hear_step(l);
}

void life_learn_init(struct side_life *l)
{
    struct cairn_gossip *g = l->c->env->gossip;

    hearsay_init(&l->hearsay, &hearsay_times_default, cairn_env_random(&l->c->home->env));
    cairn_timer_init(&l->hear_timer, on_hear_timer, l);
    if (g == NULL)
        return;
    g->heard = on_heard;
    g->arg = l;
}

void life_learn_end(struct side_life *l)
{
    if (l->c->env->gossip != NULL)
        l->c->env->gossip->heard = NULL;
    cairn_timer_stop(&l->c->home->env, &l->hear_timer);
    records_chain_end(&l->chain);
    l->chain_from = 0;
    if (l->fetching)
        cairn_rpc_call_cancel(&l->fetch);
}

void side_life_status(struct cairn_cluster *c, json_t *to)
{
    struct side_life *l = c->side->life;

    json_object_set_new(to, "map_asked_others", json_integer((json_int_t)atomic_load(&l->asked_others)));
    json_object_set_new(to, "map_asked_coordinator", json_integer((json_int_t)atomic_load(&l->asked_coordinator)));
    json_object_set_new(to, "map_words_wrong", json_integer((json_int_t)atomic_load(&l->lies)));
}
