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

static void count_slot(struct cairn_coordinator *co, struct cairn_coordinator_class_counts *class,
                       const struct cairn_slot_record *rec, uint32_t wanted)
{
    struct cairn_coordinator_counts *n = &co->counts;
    uint32_t there = cairn_members_present(&co->members, rec);
    bool is_served = cairn_members_serve(&co->members, rec), is_short = there < wanted;

    for (uint32_t i = 0; i < rec->nreplicas; i++)
        count_holder(co, rec, rec->replicas[i]);
    count_insync(co, rec);
    if (rec->move.phase == CAIRN_MOVE_COPY) /* it will: who is drained is not done before that has come and gone */
        count_holder(co, rec, rec->move.target.node);
    n->slots++;
    n->moving += rec->move.phase != CAIRN_MOVE_NONE;
    class->slots++;
    class->fewest = MIN(class->fewest, there);
    class->degraded += is_short;
    class->unserved += !is_served;
    n->behind += is_short && cairn_members_catch_up(&co->members, rec);
    class->refusing += !is_served || there < MIN(rec->min_insync, rec->nreplicas);
    n->degraded += is_short;
    n->unserved += !is_served;
    n->past += rec->epoch < co->coord.floor;
    if (rec->epoch < co->coord.floor || is_gone(co, rec))
        n->lost++;
    else
        n->takeover += rec->state != CAIRN_SLOT_ACTIVE;
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

        class->zones = class->slots > 0 && zones < MIN(i + 1, hosts) ? zones : 0;
    }
}

/* The rate is that since something was to be moved: moves are of different sizes, so anything shorter jumps. */
static void count_progress(struct cairn_coordinator *co)
{
    struct cairn_coordinator_counts *n = &co->counts;
    uint64_t now = cairn_env_now_ns(co->store->home.env), ms;

    for (uint32_t i = 0; i < CAIRN_CLUSTER_CLASSES; i++) {
        n->left += cairn_coordinator__plan_counts(&co->classes[i]).left;
        n->no_room += cairn_coordinator__plan_counts(&co->classes[i]).no_room;
        n->planning |= co->classes[i].due_ns != 0;
    }
    if (n->left + n->moving == 0) {
        if (!n->planning)
            co->progress_ns = 0;
        return;
    }
    if (co->progress_ns == 0) {
        co->progress_ns = now;
        co->progress_done = co->coord.moves_done;
    }
    ms = (now - co->progress_ns) / CAIRN_NS_PER_MS;
    n->done = co->coord.moves_done - co->progress_done;
    if (ms == 0 || n->done == 0)
        return;
    n->done_per_1000s = n->done * 1000000 / ms;
    n->left_ms = (n->left + n->moving) * ms / n->done;
}

/* Said once when they are all through, and not of each slot. */
static void tell_past(struct cairn_coordinator *co, uint32_t before)
{
    if (before > 0 && co->counts.past == 0)
        cairn_log_info("every slot that the map has goes on, in generation %u of it: %" PRIu64 " from a log of its own",
                       cairn_map_generation_number(co->generation.id), co->coord.recoveries);
}

/* Likewise; what falls behind meanwhile is no step back. */
static void count_behind(struct cairn_coordinator *co)
{
    struct cairn_coordinator_counts *n = &co->counts;
    uint64_t now = cairn_env_now_ns(co->store->home.env), ms;

    if (n->behind == 0 || co->behind_ns == 0 || n->behind > co->behind_most) {
        co->behind_ns = n->behind > 0 ? now : 0;
        co->behind_most = n->behind;
        return;
    }
    ms = (now - co->behind_ns) / CAIRN_NS_PER_MS;
    n->caught_up = co->behind_most - n->behind;
    if (ms == 0 || n->caught_up == 0)
        return;
    n->caught_up_per_1000s = n->caught_up * 1000000 / ms;
    n->behind_ms = n->behind * ms / n->caught_up;
}

void cairn_coordinator__count(struct cairn_coordinator *co)
{
    uint32_t past = co->counts.past;

    co->counts = (struct cairn_coordinator_counts){ .members = co->members.n };
    for (uint32_t i = 0; i < co->members.n; i++)
        co->members.all[i]->holds = co->members.all[i]->leads = co->members.all[i]->insync = 0;
    for (uint32_t i = 0; i < CAIRN_CLUSTER_CLASSES; i++) {
        struct cairn_coordinator_class_counts *class = &co->counts.classes[i];

        class->fewest = i + 1;
        for (uint32_t k = 0; k < co->nslots; k++) {
            const struct cairn_slot_record *rec = &co->coord.slots[i * co->nslots + k].rec;

            if (rec->epoch != 0)
                count_slot(co, class, rec, i + 1);
        }
    }
    count_members(co);
    count_shared_zones(co);
    count_progress(co);
    count_behind(co);
    tell_past(co, past);
    co->count_is_old = false;
}
