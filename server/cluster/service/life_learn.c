/* What this node learns of the map, and its lease, which depends on that. At home.
 *
 * It comes with grants of the coordinator, of which some bring a page if that is all that is missing, and from other
 * nodes (life_fetch.c). It goes into this node's records, then to the replicas that it concerns; when all of them have
 * it, @learned is its revision. One thing at a time; what comes meanwhile comes again. A grant counts as a lease when
 * everything up to the revision that it names is learned (M1), from the sending of its heartbeat. The coordinator's own
 * node has its records before, and asks nobody. */
#include "server/cluster/service/life_internal.h"

#include "sdk/core/base/log.h"
#include "server/cluster/service/coordinator.h"

#include <inttypes.h>
#include <stdlib.h>

bool life_is_no_such(const struct side_life *l, uint64_t version)
{
    return l->no_such != 0 && version >= l->no_such;
}

static uint64_t now_of(struct side_life *l)
{
    return cairn_env_now_ns(&l->c->home->env);
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

/* This node's records are empty. */
static void forget(struct side_life *l)
{
    l->learned = 0;
    l->learn_map = 0; /* what is on its way to the replicas counts no more */
    life_hear_forget(l);
    cairn_cluster__side_say(l->c);
}

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
        life_fetched(l, ok);
    else
        life_hear(l);
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
               !life_is_no_such(l, l->revision)) {
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

/* The ids of their slots. */
static int gather(struct side_life *l, const struct cairn_wire_page *pages, uint32_t n)
{
    uint32_t nslots = 0;

    for (uint32_t i = 0; i < n; i++)
        nslots += pages[i].nslots;
    l->slots = malloc((nslots + 1) * sizeof(*l->slots));
    if (l->slots == NULL)
        return CAIRN_E_NOMEM;
    for (uint32_t i = 0; i < n; i++) {
        for (uint32_t k = 0; k < pages[i].nslots; k++)
            l->slots[l->nslots++] = pages[i].slots[k].slot;
    }
    return 0;
}

void life_learn_pages(struct side_life *l, const struct cairn_wire_page *pages, uint32_t n, bool fetched)
{
    uint64_t revision = pages[n - 1].revision;
    int rc = cairn_cluster_records_take(l->c->records, pages, n);

    if (rc == 0)
        rc = gather(l, pages, n);
    else if (cairn_cluster_records_revision(l->c->records) < l->learned)
        forget(l);
    l->fetched = fetched;
    learn(l, revision, rc);
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
    l->nwaits = 0; /* what they wait for may never be */
    forget(l);
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
        life_learn_pages(l, &g->page, 1, false);
    settle(l);
    life_hear(l);
}
