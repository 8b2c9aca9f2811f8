/* The map is another than the one that this node knows of (../map_generation.h): its store was put back.
 *
 * What was learned of the old map says nothing of the new one, and in the new one this process has no incarnation yet.
 * So the lease ends, the records are forgotten, the replicas cease, with all that their logs and the store have, and
 * the node registers again: for the coordinator that is a process that was started again, and lost nothing.
 *
 * Only the coordinator whom we follow is believed that far. What anybody else says of another map, in a PUBLISH,
 * may be wrong, and a node that took a map for its own which there is not would have no way back. But it may be right
 * while we hear of no coordinator, and then another leads what we lead alone: that stops until one is heard. Only what
 * came over a session counts, whose other end has proved that it holds the cluster's key, and only a later
 * generation: packets of groups can be sent again by anybody who has seen them, and old words are of old maps. */
#include "server/cluster/service/life_internal.h"

#include "sdk/core/base/log.h"
#include "server/cluster/map_generation.h"

#include <inttypes.h>

static void cease_on(struct side_worker *w, void *arg)
{
    (void)arg;
    if (!w->stopping)
        cluster_slots_cease(w->slots);
}

static void lease_end(struct side_life *l)
{
    cairn_lease_give_up(&l->lease, l->beats_sent);
    atomic_store(&l->c->side->lease_until_ns, 0);
    l->nwaits = 0;
}

static void cease_on_all(struct side_life *l, void (*ceased)(void *arg))
{
    l->pending++;
    if (side_each(l->c, cease_on, ceased, l) != 0) {
        l->pending--;
        side_fail(l->c, CAIRN_E_NOMEM, "replicas cannot end their part in a map that was put back");
    }
}

/* It does not register any more: its process stops. */
static void ceased_parting(void *arg)
{
    (void)life_step_over(arg);
}

static void ceased_all(void *arg)
{
    struct side_life *l = arg;

    if (life_step_over(l))
        return;
    cairn_sm_move(&l->sm, LIFE_SEEKING);
    life_register(l);
}

void life_cease(struct side_life *l)
{
    l->ceases = false;
    l->inc = 0;
    lease_end(l);
    cairn_sm_move(&l->sm, LIFE_CEASING);
    cease_on_all(l, ceased_all);
}

bool life_follow_map(struct side_life *l, uint64_t map, uint64_t term)
{
    uint64_t mine = cairn_cluster_records_map(l->c->records);

    if (!cairn_map_generation_replaces(map, mine))
        return false;
    if (mine != 0)
        cairn_log_warn("the map store was put back: this node knew of the map %016" PRIx64 " up to revision %" PRIu64
                       ", forgets it, and begins anew in the map %016" PRIx64,
                       mine, l->vouched, map);
    cairn_cluster_records_forget(l->c->records, map);
    atomic_store(&l->c->side->other_map, 0);
    life_hear_forget(l);
    l->learned = l->vouched = l->no_such = 0;
    l->nwaits = 0;
    l->term = term;
    cairn_cluster__side_say(l->c);
    if (mine == 0)
        return true;
    l->ceases = l->sm.state == LIFE_ENTERING;
    if (l->sm.state == LIFE_BEATING)
        life_cease(l);
    if (l->sm.state == LIFE_PARTING) {
        lease_end(l);
        cease_on_all(l, ceased_parting);
    }
    return true;
}

void side_hear_map(struct cairn_cluster *c, uint64_t map)
{
    uint64_t mine = cairn_cluster_records_map(c->records);

    if (mine == 0 || !cairn_map_generation_replaces(map, mine))
        return;
    atomic_store(&c->side->other_ns, cairn_env_now_ns(&c->home->env));
    if (atomic_exchange(&c->side->other_map, map) == 0)
        cairn_log_warn("others know of the map %016" PRIx64 ", and this node of %016" PRIx64
                       ": without a lease nothing is served any more, also where nobody else is in sync",
                       map, mine);
    side_life_hurry(c);
}

void life_trust_map(struct side_life *l, uint64_t sent_ns)
{
    struct cairn_cluster_side *side = l->c->side;
    uint64_t other = atomic_load(&side->other_map), mine = cairn_cluster_records_map(l->c->records);

    if (other == 0)
        return;
    /* One who coordinated before the map was put back may still grant, but no longer than his term. */
    if (!cairn_map_generation_replaces(other, mine) ||
        sent_ns >= atomic_load(&side->other_ns) + 2 * l->c->conf.election_ns)
        atomic_store(&side->other_map, 0);
}
