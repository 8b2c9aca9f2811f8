/* How many slots are where, what is still to be moved, and how long that takes: see coordinator.h. */
#include "server/cluster/service/coordinator_internal.h"

#include "sdk/core/base/log.h"

#include <inttypes.h>

static bool is_gone(struct cairn_coordinator *co, const struct cairn_slot_record *rec)
{
    for (uint32_t i = 0; i < rec->ninsync; i++) {
        const struct cairn_coord_node *node = cairn_coord_node(&co->coord, rec->insync[i].node);

        if (node != NULL && node->p.inc == rec->insync[i].inc)
            return false;
    }
    return true;
}

uint32_t cairn_coordinator__alone(struct cairn_coordinator *co, uint64_t node)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < all_slots(co); i++) {
        const struct cairn_slot_record *rec = &co->coord.slots[i].rec;

        n += rec->epoch != 0 && cairn_slot_names(rec, node) && cairn_members_present(&co->members, rec) == 0;
    }
    return n;
}

static void count_holder(struct cairn_coordinator *co, const struct cairn_slot_record *rec, uint64_t node)
{
    struct cairn_member *m = cairn_members_find(&co->members, node);

    if (m == NULL)
        return;
    m->holds++;
    m->leads += node == rec->primary.node;
}

/* Those that are gone, too: it takes a moment until each set is without them. */
static void count_insync(struct cairn_coordinator *co, const struct cairn_slot_record *rec)
{
    for (uint32_t i = 0; i < rec->ninsync; i++) {
        struct cairn_member *m = cairn_members_find(&co->members, rec->insync[i].node);

        if (m != NULL && m->p.inc == rec->insync[i].inc)
            m->insync++;
    }
}

/* Of a class that some namespace names: only there does anybody miss what is not as it should be. */
static void count_use(struct cairn_coordinator *co, const struct cairn_slot_record *rec, uint32_t there,
                      uint32_t wanted)
{
    struct cairn_coordinator_counts *n = &co->counts;
    bool is_short = there < wanted;

    n->moving += rec->move.phase != CAIRN_MOVE_NONE;
    n->behind += is_short && cairn_members_catch_up(&co->members, rec);
    n->degraded += is_short;
    n->beyond += is_short && there >= n->hosts;
    n->unserved += !cairn_members_serve(&co->members, rec);
    if (rec->epoch < co->coord.floor || is_gone(co, rec))
        n->lost++;
    else
        n->takeover += rec->state != CAIRN_SLOT_ACTIVE;
}

static void count_slot(struct cairn_coordinator *co, struct cairn_coordinator_class_counts *class,
                       const struct cairn_slot_record *rec, uint32_t wanted)
{
    struct cairn_coordinator_counts *n = &co->counts;
    uint32_t there = cairn_members_present(&co->members, rec);
    bool is_served = cairn_members_serve(&co->members, rec);

    for (uint32_t i = 0; i < rec->nreplicas; i++)
        count_holder(co, rec, rec->replicas[i]);
    count_insync(co, rec);
    if (rec->move.phase == CAIRN_MOVE_COPY) /* it will: who is drained is not done before that has come and gone */
        count_holder(co, rec, rec->move.target.node);
    n->slots++;
    n->past += rec->epoch < co->coord.floor;
    class->slots++;
    class->fewest = MIN(class->fewest, there);
    class->degraded += there < wanted;
    class->unserved += !is_served;
    class->refusing += !is_served || there < MIN(rec->min_insync, rec->nreplicas);
    if (class->unused)
        n->unused++;
    else
        count_use(co, rec, there, wanted);
}

/* Who may hold slots, now or when it is back. */
static uint32_t count_hosts(const struct cairn_coordinator *co)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < co->members.n; i++) {
        const struct cairn_member *m = co->members.all[i];

        n += !m->p.draining && m->weight > 0 && m->state != CAIRN_WIRE_MEMBER_LOST;
    }
    return n;
}

static void count_members(struct cairn_coordinator *co)
{
    struct cairn_coordinator_counts *n = &co->counts;

    for (uint32_t i = 0; i < co->members.n; i++) {
        switch (cairn_coordinator__state(co->members.all[i])) {
        case CAIRN_COORDINATOR_MEMBER_UP:
            break;
        case CAIRN_COORDINATOR_MEMBER_SILENT:
            n->silent++;
            break;
        case CAIRN_COORDINATOR_MEMBER_DRAINING:
            n->draining++;
            break;
        case CAIRN_COORDINATOR_MEMBER_DRAINED:
            n->drained++;
            break;
        case CAIRN_COORDINATOR_MEMBER_LOST:
            n->members_lost++;
            break;
        case CAIRN_COORDINATOR_MEMBER_LEFT:
            n->left_cluster++;
            break;
        }
    }
}

/* Zones of those that may get slots, up to @max; who names none fails for itself (coordinator_plan.c). */
static uint32_t count_zones(struct cairn_coordinator *co, uint32_t max)
{
    const char *zones[CAIRN_CLUSTER_CLASSES];
    uint32_t n = 0, unnamed = 0;

    for (uint32_t i = 0; i < co->members.n && n + unnamed < max; i++) {
        const struct cairn_member *m = co->members.all[i];
        uint32_t k = 0;

        if (!cairn_coordinator__may_hold(co, m))
            continue;
        while (k < n && strcmp(zones[k], m->zone) != 0)
            k++;
        if (m->zone[0] == '\0')
            unnamed++;
        else if (k == n)
            zones[n++] = m->zone;
    }
    return n + unnamed;
}

static void count_shared_zones(struct cairn_coordinator *co)
{
    uint32_t zones = count_zones(co, CAIRN_CLUSTER_CLASSES), hosts = cairn_coordinator__hosts(co);

    for (uint32_t i = 0; i < CAIRN_CLUSTER_CLASSES; i++) {
        struct cairn_coordinator_class_counts *class = &co->counts.classes[i];

        class->zones = class->slots > 0 && !class->unused && zones < MIN(i + 1, hosts) ? zones : 0;
    }
}

enum { STALL_MS = 5000, STALL_STEPS = 4 };

static uint64_t ms_since(uint64_t ns, uint64_t now)
{
    return (now - ns) / CAIRN_NS_PER_MS;
}

/* @done ever, @left to do. The rate is that since it began: steps are of different sizes, so anything shorter jumps.
 * Nothing is known of when it ends while nothing is done, for much longer than a step took so far; then it begins
 * anew. */
static void pace_look(struct cairn_coordinator_pace *p, uint64_t now, uint64_t done, uint64_t left,
                      struct cairn_coordinator_progress *to)
{
    uint64_t ms;

    if (p->began_ns == 0 || (p->stalled && done != p->last))
        *p = (struct cairn_coordinator_pace){
            .began_ns = now, .last_ns = now, .first = done, .last = done, .from = p->began_ns != 0 ? p->from : done
        };
    if (done != p->last) {
        p->last = done;
        p->last_ns = now;
    }
    to->done = done - p->from;
    ms = ms_since(p->began_ns, p->last_ns);
    p->stalled = ms_since(p->last_ns, now) > MAX(STALL_MS, done > p->first ? STALL_STEPS * ms / (done - p->first) : 0);
    to->stalled = p->stalled;
    ms = ms_since(p->began_ns, now);
    if (p->stalled || ms == 0 || done == p->first)
        return;
    to->per_1000s = (done - p->first) * 1000000 / ms;
    to->left_ms = left * ms / (done - p->first);
}

/* Who is away, and a move cannot go on without; 0: nobody is known. */
static uint64_t move_waits_for(struct cairn_coordinator *co)
{
    for (uint32_t i = 0; i < all_slots(co); i++) {
        const struct cairn_slot_record *rec = &co->coord.slots[i].rec;

        if (rec->epoch == 0 || rec->move.phase == CAIRN_MOVE_NONE)
            continue;
        if (!cairn_coord_is_alive(&co->coord, rec->move.target))
            return rec->move.target.node;
        if (!cairn_coord_is_alive(&co->coord, rec->primary))
            return rec->primary.node;
    }
    for (uint32_t i = 0; co->counts.moving == 0 && co->counts.left > co->counts.no_room && i < co->members.n; i++) {
        if (cairn_coordinator__state(co->members.all[i]) == CAIRN_COORDINATOR_MEMBER_SILENT)
            return co->members.all[i]->p.node; /* none begins with somebody who is */
    }
    return 0;
}

static void count_moves(struct cairn_coordinator *co)
{
    struct cairn_coordinator_counts *n = &co->counts;

    for (uint32_t i = 0; i < CAIRN_CLUSTER_CLASSES; i++) {
        n->planning |= co->classes[i].due_ns != 0;
        if (n->classes[i].unused)
            continue;
        n->left += cairn_coordinator__plan_counts(&co->classes[i]).left;
        n->no_room += cairn_coordinator__plan_counts(&co->classes[i]).no_room;
    }
    if (n->left + n->moving == 0) {
        if (!n->planning)
            co->moves_pace = (struct cairn_coordinator_pace){ 0 };
        return;
    }
    pace_look(&co->moves_pace, cairn_env_now_ns(co->store->home.env), co->coord.moves_done, n->left + n->moving,
              &n->moves);
    if (n->moves.stalled)
        n->waits_for = move_waits_for(co);
}

/* Said once when they are all through, and not of each slot. */
static void tell_past(struct cairn_coordinator *co, uint32_t before)
{
    if (before > 0 && co->counts.past == 0)
        cairn_log_info("every slot that the map has goes on, in generation %u of it: %" PRIu64 " from a log of its own",
                       cairn_map_generation_number(co->generation.id), co->coord.recoveries);
}

/* What falls behind meanwhile is no step back. */
static void count_behind(struct cairn_coordinator *co)
{
    struct cairn_coordinator_counts *n = &co->counts;

    if (n->behind == 0 || n->behind > co->behind_most) {
        co->behind_pace = (struct cairn_coordinator_pace){ 0 };
        co->behind_most = n->behind;
    }
    if (n->behind > 0)
        pace_look(&co->behind_pace, cairn_env_now_ns(co->store->home.env), co->behind_most - n->behind, n->behind,
                  &n->catches_up);
}

void cairn_coordinator__count(struct cairn_coordinator *co)
{
    uint32_t past = co->counts.past;

    co->named = cairn_coordinator__named(co);
    co->counts = (struct cairn_coordinator_counts){ .members = co->members.n, .hosts = count_hosts(co) };
    for (uint32_t i = 0; i < co->members.n; i++)
        co->members.all[i]->holds = co->members.all[i]->leads = co->members.all[i]->insync = 0;
    for (uint32_t i = 0; i < CAIRN_CLUSTER_CLASSES; i++) {
        struct cairn_coordinator_class_counts *class = &co->counts.classes[i];

        class->fewest = i + 1;
        class->unused = (co->named & 1U << i) == 0;
        for (uint32_t k = 0; k < co->nslots; k++) {
            const struct cairn_slot_record *rec = &co->coord.slots[i * co->nslots + k].rec;

            if (rec->epoch != 0)
                count_slot(co, class, rec, i + 1);
        }
    }
    count_members(co);
    count_shared_zones(co);
    count_moves(co);
    count_behind(co);
    tell_past(co, past);
    co->count_is_old = false;
}
