/* Who is to hold and lead which slot: plans (server/cluster/planner.h), when one is made, and its moves, begun as
 * there is room. See coordinator.h.
 *
 * Each class of slots has a plan while something is to be made or moved. When members come, go or change, every class
 * is *due*, a moment later, since what happens to one often happens to a rack; or at once, when one is lost: that was
 * waited for, nobody gets anything who is silent as well, and if he is lost next there is another plan. Until all that
 * are due have their plans no move is begun. So all moves under way belong to a plan that counts them, and the bounds
 * are those of all classes together. A plan is made on the pool, one at a time, from a copy of the records; then it
 * looks at the records themselves. When it has nothing left another one follows, until one finds nothing to do. */
#include "server/cluster/service/coordinator_internal.h"

#include "sdk/core/base/crc.h"
#include "sdk/core/base/log.h"

#include <stdlib.h>

enum {
    PLAN_DELAY_MS = 1000, /* after a change of the members */
    PLAN_AGAIN_MS = 5000, /* one could not be made */
    PLAN_OLD_MS = 60000,  /* what is left by then, with nothing under way, may have to be thought of anew */
    LOOK_PART = 10,       /* of the loop's time, at most, goes into looking what may begin */
};

/* A plan of one class, and what it was made from. */
struct cairn_coordinator_plan {
    struct cairn_job job;
    struct cairn_coordinator *co;
    struct cairn_coordinator_class *class;
    uint32_t number; /* of the class */
    struct cairn_planner_node *nodes;
    uint32_t nnodes;
    struct cairn_slot_record *records; /* as they were; NULL: as they are */
    struct cairn_planner *planner;
    uint64_t made_ns, look_ns; /* look_ns: when to look again */
    uint32_t begun;            /* moves */
    bool making;               /* for slots that are not there yet: over nodes that are there now */
    bool stale;                /* members have changed since */
    int rc;
    struct cairn_err err;
};

static uint64_t now_of(const struct cairn_coordinator *co)
{
    return cairn_env_now_ns(co->store->home.env);
}

static void plan_free(struct cairn_coordinator_plan *p)
{
    if (p == NULL)
        return;
    cairn_planner_free(p->planner);
    free(p->nodes);
    free(p->records);
    free(p);
}

static void plan_drop(struct cairn_coordinator_class *class)
{
    plan_free(class->plan);
    class->plan = NULL;
}

/* As it is about to be, if it is being changed. */
static const struct cairn_slot_record *plan_record(void *arg, uint32_t slot)
{
    const struct cairn_coordinator_plan *p = arg;
    const struct cairn_coord_slot *s;

    if (p->records != NULL)
        return &p->records[slot];
    s = &p->co->coord.slots[p->number * p->co->nslots + slot];
    return s->storing ? &s->next : &s->rec;
}

static struct cairn_who who_of(const struct cairn_member *m)
{
    return (struct cairn_who){ .node = m->p.node, .inc = m->p.inc };
}

/* Moves that other classes' plans have under way with the node. */
static uint32_t plan_busy(void *arg, uint64_t node)
{
    struct cairn_coordinator_plan *p = arg;
    const struct cairn_member *m = cairn_members_find(&p->co->members, node);
    uint32_t busy = 0;

    if (m == NULL || !cairn_coord_is_alive(&p->co->coord, who_of(m)))
        return CAIRN_PLANNER_AWAY;
    for (uint32_t i = 0; i < CAIRN_CLUSTER_CLASSES; i++) {
        if (i != p->number && p->co->classes[i].plan != NULL)
            busy += cairn_planner_busy(p->co->classes[i].plan->planner, node);
    }
    return busy;
}

/* Counted each second, and with each move that was begun since. */
static uint32_t plan_room(void *arg, uint64_t node)
{
    const struct cairn_coordinator_plan *p = arg;
    const struct cairn_member *m = cairn_members_find(&p->co->members, node);
    uint32_t max = cairn_coordinator__slots_max(p->co);

    return m != NULL && m->holds < max ? max - m->holds : 0;
}

/* ---- one is made ---- */

/* Without a zone each node fails for itself. */
static struct cairn_placement_member placed(const struct cairn_member *m)
{
    bool named = m->zone[0] != '\0';

    return (struct cairn_placement_member){ .id = m->p.node,
                                            .weight = m->weight,
                                            .capacity = 1,
                                            .zone = cairn_crc32c(0, named ? m->zone : (const char *)&m->p.node,
                                                                 named ? strlen(m->zone) : sizeof(m->p.node)) };
}

static enum cairn_planner_state state_of(const struct cairn_member *m)
{
    return m->state == CAIRN_WIRE_MEMBER_LOST ? CAIRN_PLANNER_LOST
           : m->p.draining                    ? CAIRN_PLANNER_DRAINING
                                              : CAIRN_PLANNER_UP;
}

/* What is made new is not given to who is away for a moment. */
bool cairn_coordinator__may_hold(struct cairn_coordinator *co, const struct cairn_member *m)
{
    return !m->p.draining && m->weight > 0 && cairn_coord_is_alive(&co->coord, who_of(m));
}

uint32_t cairn_coordinator__hosts(struct cairn_coordinator *co)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < co->members.n; i++)
        n += cairn_coordinator__may_hold(co, co->members.all[i]);
    return n;
}

static void plan_work(struct cairn_job *job)
{
    struct cairn_coordinator_plan *p = CONTAINER_OF(job, struct cairn_coordinator_plan, job);
    struct cairn_planner_conf conf = { .nodes = p->nodes,
                                       .n = p->nnodes,
                                       .replicas = p->number + 1,
                                       .record = plan_record,
                                       .busy = plan_busy,
                                       .room = plan_room,
                                       .arg = p,
                                       .moves_max = p->co->conf->moves_max,
                                       .moves_per_node_max = p->co->conf->moves_per_node_max };

    while (UINT32_C(1) << conf.slot_bits < p->co->nslots)
        conf.slot_bits++;
    p->rc = cairn_planner_new(&conf, &p->planner, &p->err);
}

static void plan_due(struct cairn_coordinator *co, struct cairn_coordinator_class *class, uint64_t ms)
{
    class->due_ns = now_of(co) + ms * CAIRN_NS_PER_MS;
}

static void plan_done(struct cairn_job *job)
{
    struct cairn_coordinator_plan *p = CONTAINER_OF(job, struct cairn_coordinator_plan, job);
    struct cairn_coordinator *co = p->co;

    co->planning = NULL;
    if (co->sm.state != CAIRN_COORDINATOR_SERVING) { /* it is another one's now */
        plan_free(p);
        cairn_coordinator__settle(co);
        return;
    }
    if (p->rc != 0 || p->stale) {
        if (p->rc != 0)
            cairn_log_warn("slots of %u replicas: no plan: %s", p->number + 1, p->err.text);
        if (!p->making)
            plan_due(co, p->class, p->rc != 0 ? PLAN_AGAIN_MS : PLAN_DELAY_MS);
        plan_free(p);
        return;
    }
    free(p->records);
    p->records = NULL;
    p->made_ns = now_of(co);
    plan_drop(p->class);
    p->class->plan = p;
    if (!p->making)
        p->class->due_ns = 0;
    cairn_coordinator__classes_go_on(co);
    if (cairn_coordinator_is_serving(co))
        cairn_coordinator__plans_go_on(co);
}

/* Without memory, or room in the pool: it is tried again at the next tick. */
static void plan_begin(struct cairn_coordinator *co, uint32_t number, bool making)
{
    struct cairn_coordinator_plan *p = calloc(1, sizeof(*p));

    if (p == NULL)
        return;
    p->co = co;
    p->class = &co->classes[number];
    p->number = number;
    p->making = making;
    p->job = (struct cairn_job){ .work = plan_work, .done = plan_done };
    p->nodes = calloc(MAX(co->members.n, 1U), sizeof(*p->nodes));
    p->records = calloc(co->nslots, sizeof(*p->records));
    if (p->nodes == NULL || p->records == NULL) {
        plan_free(p);
        return;
    }
    for (uint32_t i = 0; i < co->members.n; i++) {
        const struct cairn_member *m = co->members.all[i];

        if (!making || cairn_coordinator__may_hold(co, m))
            p->nodes[p->nnodes++] = (struct cairn_planner_node){ .member = placed(m), .state = state_of(m) };
    }
    for (uint32_t i = 0; i < co->nslots; i++) {
        const struct cairn_coord_slot *s = &co->coord.slots[number * co->nslots + i];

        p->records[i] = s->storing ? s->next : s->rec;
    }
    co->planning = p;
    if (co->ops->work(co, &p->job) != 0) {
        co->planning = NULL;
        plan_free(p);
    }
}

static void plans_are_due(struct cairn_coordinator *co, uint64_t ms)
{
    uint64_t due_ns = now_of(co) + ms * CAIRN_NS_PER_MS;

    if (co->planning != NULL)
        co->planning->stale = true;
    for (uint32_t i = 0; i < CAIRN_CLUSTER_CLASSES; i++) {
        struct cairn_coordinator_class *class = &co->classes[i];

        if (class->plan != NULL && class->plan->making)
            plan_drop(class);
        if (class->made > 0 && (class->due_ns == 0 || class->due_ns > due_ns))
            class->due_ns = due_ns;
    }
}

void cairn_coordinator__members_changed(struct cairn_coordinator *co)
{
    plans_are_due(co, PLAN_DELAY_MS);
}

void cairn_coordinator__member_is_lost(struct cairn_coordinator *co)
{
    plans_are_due(co, 0);
}

void cairn_coordinator__plan_soon(struct cairn_coordinator *co, struct cairn_coordinator_class *class)
{
    plan_drop(class);
    plan_due(co, class, 0);
}

void cairn_coordinator__plans_forget(struct cairn_coordinator *co)
{
    for (uint32_t i = 0; i < CAIRN_CLUSTER_CLASSES; i++) {
        plan_drop(&co->classes[i]);
        co->classes[i].due_ns = 0;
    }
}

uint32_t cairn_coordinator__wanted(const struct cairn_coordinator_class *class, uint32_t slot, uint64_t *ids)
{
    return class->plan != NULL && class->plan->making ? cairn_planner_wanted(class->plan->planner, slot, ids) : 0;
}

/* ---- and carried out ---- */

/* Refused: the record has changed since, or is changing; the next look sees what it is. */
static int move_begin(struct cairn_coordinator *co, uint32_t slot, const struct cairn_planner_move *m)
{
    struct cairn_member *to;
    int rc;

    switch (m->why) {
    case CAIRN_PLANNER_DROP:
        return cairn_coord_drop(&co->coord, slot, m->from);
    case CAIRN_PLANNER_LEAD:
        return cairn_coord_lead(&co->coord, slot, m->to);
    default:
        rc = cairn_coord_move(&co->coord, slot, m->from, m->to, m->lead);
        to = rc == 0 ? cairn_members_find(&co->members, m->to) : NULL;
        if (to != NULL)
            to->holds++;
        return rc;
    }
}

static void plan_carry_out(struct cairn_coordinator *co, struct cairn_coordinator_plan *p)
{
    struct cairn_planner_counts counts;
    const struct cairn_planner_move *moves;
    uint64_t began = now_of(co);
    uint32_t elsewhere = 0, n;

    if (began < p->look_ns)
        return;
    for (uint32_t i = 0; i < CAIRN_CLUSTER_CLASSES; i++) {
        const struct cairn_coordinator_plan *other = co->classes[i].plan;

        if (i == p->number || other == NULL)
            continue;
        cairn_planner_moves(other->planner, &n);
        elsewhere += cairn_planner_counts(other->planner).under_way + n;
    }
    cairn_planner_look(p->planner, elsewhere);
    p->look_ns = began + LOOK_PART * (now_of(co) - began);
    counts = cairn_planner_counts(p->planner);
    moves = cairn_planner_moves(p->planner, &n);
    for (uint32_t i = 0; i < n; i++)
        p->begun += move_begin(co, p->number * co->nslots + moves[i].slot, &moves[i]) == 0;
    if (counts.under_way > 0 || n > 0)
        return;
    if (counts.left == 0 && counts.gone == 0 && p->begun == 0)
        plan_drop(p->class); /* all is as it is to be */
    else if ((p->begun > 0 && counts.left == 0) || now_of(co) - p->made_ns >= PLAN_OLD_MS * CAIRN_NS_PER_MS)
        plan_due(co, p->class, 0);
}

/* Whether some class waits for its plan; the first for which it is time gets one. */
static bool plans_make(struct cairn_coordinator *co)
{
    bool due = false;

    for (uint32_t i = 0; i < CAIRN_CLUSTER_CLASSES; i++) {
        struct cairn_coordinator_class *class = &co->classes[i];
        bool making = !cairn_list_is_empty(&class->asks) && class->made < co->nslots;

        due |= class->due_ns != 0;
        if (co->planning != NULL)
            continue;
        if (making && class->plan != NULL && !class->plan->making)
            plan_drop(class);
        if (making && class->plan == NULL && cairn_coordinator__class_may_begin(co, i))
            plan_begin(co, i, true);
        else if (!making && class->due_ns != 0 && now_of(co) >= class->due_ns)
            plan_begin(co, i, false);
    }
    return due;
}

void cairn_coordinator__plans_go_on(struct cairn_coordinator *co)
{
    if (plans_make(co))
        return;
    for (uint32_t i = 0; i < CAIRN_CLUSTER_CLASSES; i++) {
        struct cairn_coordinator_plan *p = co->classes[(co->ticks + i) % CAIRN_CLUSTER_CLASSES].plan;

        if (p != NULL && !p->making)
            plan_carry_out(co, p);
    }
}

struct cairn_planner_counts cairn_coordinator__plan_counts(const struct cairn_coordinator_class *class)
{
    return class->plan != NULL ? cairn_planner_counts(class->plan->planner) : (struct cairn_planner_counts){ 0 };
}
