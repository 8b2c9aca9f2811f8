/* The coordinator: see coord.h. */
#include "server/cluster/repl/coord.h"

#include "sdk/core/base/log.h"

#include <inttypes.h>
#include <stdlib.h>

int cairn_coord_init(struct cairn_coord *c, const struct cairn_coord_ops *ops, struct cairn_env *env,
                     const struct cairn_lease_times *times, uint32_t nslots)
{
    memset(c, 0, sizeof(*c));
    c->slots = calloc(nslots, sizeof(*c->slots));
    if (c->slots == NULL)
        return CAIRN_E_NOMEM;
    c->nslots = nslots;
    c->ops = ops;
    c->env = env;
    c->times = *times;
    c->alive_ns = 3 * times->heartbeat_ns;
    c->elected_ns = cairn_env_now_ns(env);
    return 0;
}

void cairn_coord_fini(struct cairn_coord *c)
{
    free(c->slots);
    free(c->nodes);
}

struct cairn_coord_node *cairn_coord_node(struct cairn_coord *c, uint64_t node)
{
    for (uint32_t i = 0; i < c->nnodes; i++) {
        if (c->nodes[i].p.node == node)
            return &c->nodes[i];
    }
    return NULL;
}

int cairn_coord_load_node(struct cairn_coord *c, const struct cairn_coord_process *p)
{
    struct cairn_coord_node *n = cairn_coord_node(c, p->node);

    if (n == NULL && c->nnodes == c->nodes_room) {
        uint32_t room = c->nodes_room == 0 ? 8 : c->nodes_room * 2;

        n = realloc(c->nodes, room * sizeof(*n));
        if (n == NULL)
            return CAIRN_E_NOMEM;
        c->nodes = n;
        c->nodes_room = room;
        n = NULL;
    }
    if (n == NULL) {
        n = &c->nodes[c->nnodes++];
        *n = (struct cairn_coord_node){ .granted_ns = c->elected_ns };
    }
    n->p = *p;
    c->last_inc = MAX(c->last_inc, p->inc);
    return 0;
}

/* Something about the slot has to be decided when time passes, or somebody registers. */
static void slot_watch(struct cairn_coord *c, struct cairn_coord_slot *s)
{
    (void)c;
    s->watched = true;
}

void cairn_coord_load(struct cairn_coord *c, uint32_t slot, const struct cairn_slot_record *rec)
{
    CAIRN_ASSERT(slot < c->nslots);
    c->slots[slot].rec = *rec;
    slot_watch(c, &c->slots[slot]);
}

bool cairn_coord_is_alive(struct cairn_coord *c, struct cairn_who who)
{
    struct cairn_coord_node *n = cairn_coord_node(c, who.node);

    return n != NULL && n->p.inc == who.inc && n->heard_ns > n->registered_ns &&
           cairn_env_now_ns(c->env) - n->heard_ns <= c->alive_ns;
}

/* Nobody can hold a lease of @who any more. */
static bool authority_is_over(struct cairn_coord *c, struct cairn_who who)
{
    struct cairn_coord_node *n = cairn_coord_node(c, who.node);

    if (n == NULL || n->p.inc != who.inc) /* M2: a newer process has the lock of its data directory */
        return true;
    return cairn_env_now_ns(c->env) >= MAX(n->granted_ns, c->elected_ns) + cairn_lease_wait_ns(&c->times);
}

/* ---- changing a record ---- */

static struct cairn_slot_record *change_begin(struct cairn_coord_slot *s)
{
    CAIRN_ASSERT(!s->storing);
    s->next = s->rec;
    s->next.epoch++;
    s->evicted = (struct cairn_who){ 0 };
    s->change.kind = 0;
    return &s->next;
}

static void change_store(struct cairn_coord *c, struct cairn_coord_slot *s)
{
    struct cairn_coord_node *n;

    CAIRN_ASSERT(s->next.ninsync > 0);
    if (!cairn_who_is(s->rec.primary, s->next.primary)) {
        s->next.since = s->next.epoch;
        s->evicted = s->rec.primary;
        n = cairn_coord_node(c, s->evicted.node);
        if (n != NULL)
            n->evicting++;
    }
    s->storing = true;
    c->ops->store(c, (uint32_t)(s - c->slots), &s->next);
}

void cairn_coord_on_stored(struct cairn_coord *c, uint32_t slot, int rc)
{
    struct cairn_coord_slot *s = &c->slots[slot];
    struct cairn_coord_node *n = cairn_who_is_nobody(s->evicted) ? NULL : cairn_coord_node(c, s->evicted.node);
    struct cairn_change change = s->change;

    CAIRN_ASSERT(s->storing);
    s->storing = false;
    if (n != NULL)
        n->evicting--;
    if (rc == 0) {
        CAIRN_ASSERT(s->next.epoch == s->rec.epoch + 1); /* I9 */
        s->rec = s->next;
        slot_watch(c, s);
        c->ops->publish(c, slot, &s->rec);
    }
    if (change.kind != 0)
        c->ops->verdict(c, &change, rc == 0 ? CAIRN_VERDICT_COMMITTED : CAIRN_VERDICT_REFUSED, &s->rec);
}

static void insync_del(struct cairn_slot_record *rec, uint64_t node)
{
    uint32_t kept = 0;

    for (uint32_t i = 0; i < rec->ninsync; i++) {
        if (rec->insync[i].node != node)
            rec->insync[kept++] = rec->insync[i];
    }
    rec->ninsync = kept;
}

static void replica_del(struct cairn_slot_record *rec, uint64_t node)
{
    uint32_t kept = 0;

    for (uint32_t i = 0; i < rec->nreplicas; i++) {
        if (rec->replicas[i] != node)
            rec->replicas[kept++] = rec->replicas[i];
    }
    rec->nreplicas = kept;
}

/* A member that may lead: alive under its recorded incarnation; in the order of placement. Or nobody. */
static struct cairn_who successor(struct cairn_coord *c, const struct cairn_slot_record *rec, struct cairn_who not )
{
    for (uint32_t i = 0; i < rec->nreplicas; i++) {
        for (uint32_t k = 0; k < rec->ninsync; k++) {
            if (rec->insync[k].node == rec->replicas[i] && !cairn_who_is(rec->insync[k], not ) &&
                cairn_coord_is_alive(c, rec->insync[k]))
                return rec->insync[k];
        }
    }
    return (struct cairn_who){ 0 };
}

/* M4 and M2: @to leads, the old primary is no member any more. */
static void promote(struct cairn_coord *c, struct cairn_coord_slot *s, struct cairn_who to)
{
    struct cairn_slot_record *next = change_begin(s);

    insync_del(next, s->rec.primary.node);
    next->primary = to;
    next->state = CAIRN_SLOT_TAKEOVER;
    c->takeovers++;
    change_store(c, s);
}

/* ---- proposals ---- */

static enum cairn_verdict change_apply(struct cairn_coord *c, struct cairn_coord_slot *s,
                                       const struct cairn_change *change)
{
    struct cairn_coord_node *n = cairn_coord_node(c, change->who.node);
    struct cairn_slot_record *next;
    struct cairn_who to;

    switch (change->kind) {
    case CAIRN_CHANGE_REMOVE:
        if (cairn_slot_insync(&s->rec, change->who) < 0 || cairn_who_is(change->who, s->rec.primary))
            return CAIRN_VERDICT_REFUSED;
        next = change_begin(s);
        insync_del(next, change->who.node);
        return CAIRN_VERDICT_COMMITTED;
    case CAIRN_CHANGE_JOIN: /* M5 */
        if (n == NULL || n->p.inc != change->who.inc || !cairn_slot_places(&s->rec, change->who.node) ||
            cairn_slot_names(&s->rec, change->who.node) || s->rec.ninsync == CAIRN_REPLICAS_MAX)
            return CAIRN_VERDICT_REFUSED_INC;
        next = change_begin(s);
        next->insync[next->ninsync++] = change->who;
        return CAIRN_VERDICT_COMMITTED;
    case CAIRN_CHANGE_ACTIVE:
        next = change_begin(s);
        next->state = CAIRN_SLOT_ACTIVE;
        return CAIRN_VERDICT_COMMITTED;
    case CAIRN_CHANGE_RELEASE:
        to = successor(c, &s->rec, s->rec.primary);
        next = change_begin(s);
        next->state = CAIRN_SLOT_TAKEOVER; /* with nobody to take it, the old one begins again */
        if (!cairn_who_is_nobody(to))
            next->primary = to;
        return CAIRN_VERDICT_COMMITTED;
    }
    return CAIRN_VERDICT_REFUSED;
}

void cairn_coord_propose(struct cairn_coord *c, const struct cairn_change *change)
{
    struct cairn_coord_slot *s;
    struct cairn_coord_node *n;
    enum cairn_verdict verdict;

    if (change->slot >= c->nslots)
        return;
    s = &c->slots[change->slot];
    if (s->storing) /* it will ask again */
        return;
    n = cairn_coord_node(c, change->from.node);
    if (change->epoch != s->rec.epoch || !cairn_who_is(change->from, s->rec.primary) || n == NULL ||
        n->p.inc != change->from.inc) { /* M3: only on the word of a process that lives */
        c->ops->verdict(c, change, CAIRN_VERDICT_REFUSED, &s->rec);
        return;
    }
    verdict = change_apply(c, s, change);
    if (verdict != CAIRN_VERDICT_COMMITTED) {
        c->ops->verdict(c, change, verdict, &s->rec);
        return;
    }
    s->change = *change;
    change_store(c, s);
}

/* ---- nodes ---- */

static void note_end(struct cairn_coord_slot *s, uint64_t node, uint64_t inc, struct cairn_at end)
{
    uint32_t i = 0;

    while (i < s->nends && s->ends[i].node != node)
        i++;
    if (i == CAIRN_REPLICAS_MAX)
        return;
    if (i == s->nends)
        s->nends++;
    s->ends[i].node = node;
    s->ends[i].inc = inc;
    s->ends[i].end = end;
}

int cairn_coord_register(struct cairn_coord *c, struct cairn_coord_process *p, const struct cairn_coord_log *logs,
                         uint32_t nlogs)
{
    struct cairn_coord_node *n = cairn_coord_node(c, p->node);
    bool known = n != NULL && n->p.process == p->process;
    int rc;

    if (n != NULL && p->process < n->p.process)
        return CAIRN_E_STATE;
    p->inc = known ? n->p.inc : c->last_inc + 1;
    p->disk_inc = n != NULL && n->p.disk_id == p->disk_id ? n->p.disk_inc : p->inc;
    rc = cairn_coord_load_node(c, p);
    if (rc != 0)
        return rc;
    n = cairn_coord_node(c, p->node);
    if (!known) {
        n->registered_ns = cairn_env_now_ns(c->env);
        n->granted_ns = 0;
    }
    n->has_told = true;
    for (uint32_t slot = 0; slot < c->nslots; slot++) {
        struct cairn_coord_slot *s = &c->slots[slot];
        struct cairn_at end = { 0 };

        /* Also where it becomes a member just now, under the incarnation that ends here. */
        if (!cairn_slot_names(&s->rec, p->node) && !(s->storing && cairn_slot_names(&s->next, p->node)))
            continue;
        for (uint32_t i = 0; i < nlogs; i++) {
            if (logs[i].slot == slot)
                end = logs[i].end;
        }
        note_end(s, p->node, p->inc, end);
        slot_watch(c, s);
    }
    return 0;
}

bool cairn_coord_heartbeat(struct cairn_coord *c, struct cairn_who who)
{
    struct cairn_coord_node *n = cairn_coord_node(c, who.node);

    if (n == NULL || n->p.inc != who.inc)
        return false;
    n->heard_ns = cairn_env_now_ns(c->env);
    if (n->evicting > 0)
        return false;
    n->granted_ns = n->heard_ns;
    return true;
}

bool cairn_coord_wants_register(struct cairn_coord *c, uint64_t node)
{
    struct cairn_coord_node *n = cairn_coord_node(c, node);

    return n != NULL && !n->has_told;
}

/* ---- what time brings ---- */

/* M2: a member that registered again is none any more, if another one is here. True if a change was begun. */
static bool drop_restarted(struct cairn_coord *c, struct cairn_coord_slot *s)
{
    for (uint32_t i = 0; i < s->rec.ninsync; i++) {
        struct cairn_who old = s->rec.insync[i];
        struct cairn_coord_node *n = cairn_coord_node(c, old.node);
        struct cairn_who other = successor(c, &s->rec, old);

        if (n == NULL || n->p.inc == old.inc || cairn_who_is_nobody(other))
            continue;
        if (cairn_coord_node(c, other.node)->heard_ns <= n->registered_ns)
            continue; /* not later than the REGISTER: it may have been gone before */
        if (cairn_who_is(old, s->rec.primary)) {
            promote(c, s, other);
        } else {
            insync_del(change_begin(s), old.node);
            change_store(c, s);
        }
        return true;
    }
    return false;
}

static bool is_lost(struct cairn_coord *c, const struct cairn_slot_record *rec)
{
    for (uint32_t i = 0; i < rec->ninsync; i++) {
        struct cairn_coord_node *n = cairn_coord_node(c, rec->insync[i].node);

        if (n != NULL && n->p.inc == rec->insync[i].inc)
            return false;
    }
    return true;
}

/* Whether the member that was @node still has the disk that it was one with. */
static bool has_its_disk(struct cairn_coord *c, const struct cairn_slot_record *rec, uint64_t node)
{
    struct cairn_coord_node *n = cairn_coord_node(c, node);

    for (uint32_t i = 0; i < rec->ninsync; i++) {
        if (rec->insync[i].node == node)
            return n != NULL && rec->insync[i].inc >= n->p.disk_inc;
    }
    return false;
}

/* M6: of the members of the current set, all registered again, the one with the greatest (epoch, end). */
static void recover(struct cairn_coord *c, struct cairn_coord_slot *s)
{
    struct cairn_slot_record *next;
    uint32_t here = 0;
    int best = -1;
    bool waited;

    if (s->lost_ns == 0)
        s->lost_ns = cairn_env_now_ns(c->env);
    waited = c->lost_may_shrink && cairn_env_now_ns(c->env) - s->lost_ns >= c->lost_wait_ns;
    for (uint32_t i = 0; i < s->nends; i++) {
        struct cairn_who who = { .node = s->ends[i].node, .inc = s->ends[i].inc };

        if (!has_its_disk(c, &s->rec, who.node) || !cairn_coord_is_alive(c, who))
            continue;
        here++;
        if (best < 0 || cairn_at_is_less(s->ends[best].end, s->ends[i].end))
            best = (int)i;
    }
    if (best < 0 || (here < s->rec.ninsync && !waited))
        return;
    if (here < s->rec.ninsync) {
        c->losses++;
        cairn_log_warn("slot %td goes on with %u of %u members: unsynced writes may be lost", s - c->slots, here,
                       s->rec.ninsync);
    }
    next = change_begin(s);
    next->primary = (struct cairn_who){ .node = s->ends[best].node, .inc = s->ends[best].inc };
    next->insync[0] = next->primary;
    next->ninsync = 1;
    next->state = CAIRN_SLOT_TAKEOVER;
    c->recoveries++;
    change_store(c, s);
}

static void slot_tick(struct cairn_coord *c, struct cairn_coord_slot *s)
{
    struct cairn_who to;

    if (s->storing || s->rec.epoch == 0)
        return;
    if (is_lost(c, &s->rec)) {
        recover(c, s);
        return;
    }
    s->lost_ns = 0;
    if (drop_restarted(c, s))
        return;
    if (cairn_coord_is_alive(c, s->rec.primary) || !authority_is_over(c, s->rec.primary))
        return;
    to = successor(c, &s->rec, s->rec.primary);
    if (!cairn_who_is_nobody(to))
        promote(c, s, to);
}

void cairn_coord_tick(struct cairn_coord *c)
{
    for (uint32_t i = 0; i < c->nslots; i++)
        slot_tick(c, &c->slots[i]);
}

/* ---- placement changes ---- */

int cairn_coord_create(struct cairn_coord *c, uint32_t slot, const uint64_t *replicas, uint32_t n, uint32_t min_insync)
{
    struct cairn_coord_slot *s = &c->slots[slot];
    struct cairn_slot_record *next;

    if (s->rec.epoch != 0 || s->storing || n == 0 || n > CAIRN_REPLICAS_MAX)
        return CAIRN_E_STATE;
    next = change_begin(s);
    for (uint32_t i = 0; i < n; i++) {
        struct cairn_coord_node *node = cairn_coord_node(c, replicas[i]);

        if (node == NULL || node->p.inc == 0)
            return CAIRN_E_NOTFOUND;
        next->replicas[i] = replicas[i];
        next->insync[i] = (struct cairn_who){ .node = replicas[i], .inc = node->p.inc };
    }
    next->nreplicas = next->ninsync = n;
    next->min_insync = min_insync;
    next->primary = next->insync[0];
    next->state = CAIRN_SLOT_TAKEOVER; /* everybody's log is empty, but the primary makes sure */
    change_store(c, s);
    return 0;
}

int cairn_coord_add(struct cairn_coord *c, uint32_t slot, uint64_t node)
{
    struct cairn_coord_slot *s = &c->slots[slot];
    struct cairn_slot_record *next;

    if (s->storing)
        return CAIRN_E_BUSY;
    if (cairn_slot_places(&s->rec, node) || s->rec.nreplicas == CAIRN_REPLICAS_MAX)
        return CAIRN_E_STATE;
    next = change_begin(s);
    next->replicas[next->nreplicas++] = node;
    change_store(c, s);
    return 0;
}

int cairn_coord_drop(struct cairn_coord *c, uint32_t slot, uint64_t node)
{
    struct cairn_coord_slot *s = &c->slots[slot];
    struct cairn_slot_record *next;

    if (s->storing)
        return CAIRN_E_BUSY;
    if (s->rec.primary.node == node || (s->rec.ninsync == 1 && cairn_slot_names(&s->rec, node)))
        return CAIRN_E_STATE;
    next = change_begin(s);
    insync_del(next, node);
    replica_del(next, node);
    change_store(c, s);
    return 0;
}
