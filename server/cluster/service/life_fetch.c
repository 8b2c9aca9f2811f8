/* What this node asks of others of the map. At home.
 *
 * The group's packets say who has more than we; hearsay.h whom to ask when, and when once more. One node gives all of
 * its pages (records_chain.h), which are learned together (life_learn.c). */
#include "server/cluster/service/life_internal.h"

#include "sdk/core/base/log.h"
#include "server/cluster/service/coordinator.h"

#include <inttypes.h>

enum { SESSION_LOOK_MS = 20 };

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

static void hear_in(struct side_life *l, uint64_t due_ns)
{
    if (cairn_timer_start(&l->c->home->env, &l->hear_timer, due_ns) != 0)
        cairn_log_error("no memory for a timer: the map is asked for when something else happens");
}

/* ---- pages ---- */

/* It is of no use any more, nor is a page of it that may be on its way. */
static void chain_drop(struct side_life *l)
{
    records_chain_end(&l->chain);
    l->chain.since = UINT64_MAX;
    l->chain_ends = false;
}

static bool chain_is_of_use(const struct side_life *l)
{
    return l->chain.since <= l->learned && l->fetch_msg.map == cairn_cluster_records_map(l->c->records) &&
           !coordinates(l);
}

static void fetch_over(struct side_life *l, enum hearsay_answer answer, uint64_t version, bool more)
{
    uint64_t from = l->fetch_from;

    l->fetch_from = 0;
    if (hearsay_answered(&l->hearsay, now_of(l), answer, version, more)) {
        atomic_fetch_add(&l->lies, 1);
        cairn_log_warn("node %016" PRIx64 " says that it has a map which it does not have: up to revision %" PRIu64
                       ", and it gives what there is up to %" PRIu64 "; it is not believed for a while",
                       from, l->hearsay.asked_version, version);
    }
    if (!l->hearsay.more)
        chain_drop(l);
    life_hear(l);
}

/* No fault of whoever was asked. */
static void fetch_in_vain(struct side_life *l)
{
    fetch_over(l, HEARSAY_GIVEN, UINT64_MAX, false);
}

void life_fetched(struct side_life *l, bool ok)
{
    fetch_over(l, ok ? HEARSAY_GIVEN : HEARSAY_WRONG, l->revision, false);
}

/* All of it is here. */
static void chain_learn(struct side_life *l)
{
    l->chain_ends = false;
    if (chain_is_of_use(l))
        life_learn_pages(l, l->chain.pages, l->chain.n, true);
    else
        fetch_in_vain(l);
}

/* Its page is the next one of the chain. False: it is none. */
static bool chain_add(struct side_life *l, const Cairn__Wire__ClusterRecords *reply)
{
    struct cairn_wire_page page;
    struct cairn_arena a;
    bool ok;

    cairn_arena_init(&a, LIFE_ARENA_BYTES);
    ok = cairn_wire_page_get(reply, &a, &page, NULL) == 0 && page.map == l->fetch_msg.map &&
         !life_is_no_such(l, page.revision) && records_chain_add(&l->chain, &page) == 0;
    cairn_arena_reset(&a);
    return ok;
}

static void on_fetched(struct cairn_rpc_call *call)
{
    struct side_life *l = call->arg;
    const struct cairn_wire_page *last;

    l->fetching = false;
    if (life_step_over(l))
        return;
    if (!chain_is_of_use(l)) {
        fetch_in_vain(l);
        return;
    }
    if (call->rc != 0) {
        fetch_over(l, call->rc == CAIRN_E_BUSY ? HEARSAY_BUSY : HEARSAY_FAILED, 0, false);
        return;
    }
    if (!chain_add(l, (const Cairn__Wire__ClusterRecords *)call->reply)) {
        fetch_over(l, HEARSAY_WRONG, 0, false);
        return;
    }
    last = &l->chain.pages[l->chain.n - 1];
    l->chain_ends = !last->more;
    if (l->chain_ends) /* as soon as nothing else is being learned */
        life_hear(l);
    else if (last->revision > l->learned)
        fetch_over(l, HEARSAY_GIVEN, last->revision, true);
    else
        fetch_in_vain(l);
}

/* The question to @fetch_from, as soon as there is a session with it. */
static void fetch_start(struct side_life *l)
{
    bool resort = l->fetch_from == atomic_load(&l->c->side->coordinator);
    uint64_t now = now_of(l);
    struct cairn_rpc_dest dest;

    if (l->chain.since > l->learned) {
        fetch_in_vain(l);
        return;
    }
    if (now >= l->fetch_until_ns) {
        fetch_over(l, HEARSAY_FAILED, 0, false);
        return;
    }
    if (!(resort ? life_find_coordinator(l, &dest) : cairn_cluster__peer_to_ask(l->c, l->fetch_from, &dest))) {
        hear_in(l, now + SESSION_LOOK_MS * CAIRN_NS_PER_MS);
        return;
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

/* ---- questions ---- */

/* Slots of all classes, as far as it is known how many a class has. */
static uint32_t chain_slots_max(struct side_life *l)
{
    uint32_t nslots = atomic_load(&l->c->nslots);

    return CAIRN_CLUSTER_CLASSES * (nslots != 0 ? nslots : (uint32_t)CAIRN_CLUSTER_SLOTS_OF_CLASS_MAX);
}

/* Who cannot hear of others need not wait for them. */
static uint64_t patience_of(const struct side_life *l)
{
    const struct cairn_gossip *g = l->c->env->gossip;

    return g == NULL || g->ncarriers == 0 ? 0 : MIN(hearsay_times_default.patience_ns, l->c->lease_times.length_ns / 4);
}

void life_hear(struct side_life *l)
{
    struct hearsay_question q;

    if (l->sm.state != LIFE_BEATING || l->learning || l->fetching || atomic_load(&l->c->side->failed))
        return;
    if (l->chain_ends) {
        chain_learn(l);
        return;
    }
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
        if (!q.goes_on) {
            chain_drop(l);
            records_chain_begin(&l->chain, l->learned, chain_slots_max(l));
        }
        fetch_start(l);
    } else if (q.due_ns != UINT64_MAX) {
        hear_in(l, q.due_ns);
    }
}

void life_hear_forget(struct side_life *l)
{
    hearsay_forget(&l->hearsay);
    chain_drop(l);
}

/* ---- words ---- */

static void on_hear_timer(void *arg)
{
    life_hear(arg);
}

static void on_heard(void *arg, const struct cairn_gossip_word *w)
{
    struct side_life *l = arg;

    if (w->map != cairn_cluster_records_map(l->c->records) || life_is_no_such(l, w->version))
        return;
    hearsay_heard(&l->hearsay, now_of(l), w->node, w->version);
    life_hear(l);
}

void life_hear_init(struct side_life *l)
{
    struct cairn_gossip *g = l->c->env->gossip;

    hearsay_init(&l->hearsay, &hearsay_times_default, cairn_env_random(&l->c->home->env));
    cairn_timer_init(&l->hear_timer, on_hear_timer, l);
    if (g == NULL)
        return;
    g->heard = on_heard;
    g->arg = l;
}

void life_hear_end(struct side_life *l)
{
    if (l->c->env->gossip != NULL)
        l->c->env->gossip->heard = NULL;
    cairn_timer_stop(&l->c->home->env, &l->hear_timer);
    chain_drop(l);
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
