/* The coordinator: see coord.h. */
#include "server/cluster/repl/coord_internal.h"
#include "server/cluster/repl/repl_wire.h"

#include <inttypes.h>
#include <stdlib.h>

int cairn_coord_init(struct cairn_coord *c, const struct cairn_coord_ops *ops, struct cairn_env *env,
                     const struct cairn_lease_times *times, uint32_t nslots, uint64_t term)
{
    memset(c, 0, sizeof(*c));
    c->slots = calloc(nslots, sizeof(*c->slots));
    c->watched = calloc(nslots, sizeof(*c->watched));
    if (c->slots == NULL || c->watched == NULL) {
        cairn_coord_fini(c);
        return CAIRN_E_NOMEM;
    }
    c->nslots = nslots;
    c->ops = ops;
    c->env = env;
    c->times = *times;
    c->term = term;
    c->alive_ns = 3 * times->heartbeat_ns;
    c->elected_ns = cairn_env_now_ns(env);
    return 0;
}

void cairn_coord_begin_generation(struct cairn_coord *c, uint32_t number)
{
    CAIRN_ASSERT(c->nnodes == 0);
    c->floor = c->last_inc = (uint64_t)number << CAIRN_GENERATION_SHIFT;
}

void cairn_coord_fini(struct cairn_coord *c)
{
    free(c->slots);
    free(c->watched);
    for (uint32_t i = 0; i < c->nnodes; i++)
        free(c->nodes[i].partial);
    free(c->nodes);
}

/* Index of the first node whose id is not less than @node. */
static uint32_t node_place(const struct cairn_coord *c, uint64_t node)
{
    uint32_t lo = 0, hi = c->nnodes;

    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;

        if (c->nodes[mid].p.node < node)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

struct cairn_coord_node *cairn_coord_node(struct cairn_coord *c, uint64_t node)
{
    uint32_t i = node_place(c, node);

    return i < c->nnodes && c->nodes[i].p.node == node ? &c->nodes[i] : NULL;
}

int cairn_coord_load_node(struct cairn_coord *c, const struct cairn_coord_process *p)
{
    struct cairn_coord_node *n = cairn_coord_node(c, p->node);
    uint32_t i = node_place(c, p->node);

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
        n = &c->nodes[i];
        memmove(n + 1, n, (c->nnodes++ - i) * sizeof(*n));
        *n = (struct cairn_coord_node){ .granted_ns = c->elected_ns };
    }
    n->p = *p;
    c->last_inc = MAX(c->last_inc, p->inc);
    return 0;
}

static bool is_named(const struct cairn_slot_record *rec, uint64_t node)
{
    return cairn_slot_places(rec, node) || cairn_slot_names(rec, node) ||
           (rec->move.phase != CAIRN_MOVE_NONE && rec->move.from == node);
}

bool cairn_coord_forget(struct cairn_coord *c, uint64_t node)
{
    struct cairn_coord_node *n = cairn_coord_node(c, node);

    if (n == NULL || n->p.inc == c->last_inc ||
        cairn_coord_is_alive(c, (struct cairn_who){ .node = node, .inc = n->p.inc }))
        return false;
    for (uint32_t i = 0; i < c->nslots; i++) {
        const struct cairn_coord_slot *s = &c->slots[i];

        if (is_named(&s->rec, node) || (s->storing && is_named(&s->next, node)))
            return false;
    }
    free(n->partial);
    c->nnodes--;
    memmove(n, n + 1, (size_t)(c->nodes + c->nnodes - n) * sizeof(*n));
    return true;
}

void cairn_coord__watch(struct cairn_coord *c, struct cairn_coord_slot *s)
{
    if (!s->watched)
        c->watched[c->nwatched++] = (uint32_t)(s - c->slots);
    s->watched = true;
}

void cairn_coord_load(struct cairn_coord *c, uint32_t slot, const struct cairn_slot_record *rec)
{
    CAIRN_ASSERT(slot < c->nslots);
    c->slots[slot].rec = *rec;
    c->moving += rec->move.phase != CAIRN_MOVE_NONE;
    cairn_coord__watch(c, &c->slots[slot]);
}

bool cairn_coord_is_alive(struct cairn_coord *c, struct cairn_who who)
{
    struct cairn_coord_node *n = cairn_coord_node(c, who.node);

    return n != NULL && n->p.inc == who.inc && !n->stopped && !n->gone && n->heard_ns > n->registered_ns &&
           cairn_env_now_ns(c->env) - n->heard_ns <= c->alive_ns;
}

/* ---- changing a record ---- */

struct cairn_slot_record *cairn_coord__begin(const struct cairn_coord *c, struct cairn_coord_slot *s)
{
    CAIRN_ASSERT(!s->storing);
    s->next = s->rec;
    s->next.epoch = MAX(s->rec.epoch + 1, c->floor);
    s->evicted = (struct cairn_who){ 0 };
    s->change.kind = 0;
    return &s->next;
}

static bool is_moving(const struct cairn_slot_record *rec)
{
    return rec->move.phase != CAIRN_MOVE_NONE;
}

void cairn_coord__store(struct cairn_coord *c, struct cairn_coord_slot *s)
{
    struct cairn_coord_node *n;

    cairn_coord__move_follow(c, &s->rec, &s->next);
    CAIRN_ASSERT(s->next.ninsync > 0);
    if (!cairn_who_is(s->rec.primary, s->next.primary)) {
        CAIRN_ASSERT(s->rec.epoch == 0 || s->change.kind == CAIRN_CHANGE_RELEASE ||
                     cairn_coord__authorities_are_over(c, &s->rec)); /* I1: by M2, M4 or M6 */
        s->next.since = s->next.epoch;
        s->evicted = s->rec.primary;
        n = cairn_coord_node(c, s->evicted.node);
        if (n != NULL)
            n->evicting++;
    }
    c->moving += is_moving(&s->next) && !is_moving(&s->rec); /* from now on, so that no more are begun than may be */
    s->storing = true;
    s->doubtful = s->unread = false;
    c->ops->store(c, (uint32_t)(s - c->slots), &s->next);
}

/* The change under way is over: made (rc 0) or not, for sure. */
static void store_end(struct cairn_coord *c, uint32_t slot, int rc)
{
    struct cairn_coord_slot *s = &c->slots[slot];
    struct cairn_coord_node *n = cairn_who_is_nobody(s->evicted) ? NULL : cairn_coord_node(c, s->evicted.node);
    struct cairn_change change = s->change;

    s->storing = false;
    if (n != NULL)
        n->evicting--;
    cairn_coord__watch(c, s);
    c->moving -= rc == 0 ? is_moving(&s->rec) && !is_moving(&s->next) : !is_moving(&s->rec) && is_moving(&s->next);
    if (rc == 0) {
        CAIRN_ASSERT(s->next.epoch == MAX(s->rec.epoch + 1, c->floor)); /* I9 */
        s->rec = s->next;
        c->ops->publish(c, slot, &s->rec);
    }
    if (change.kind != 0)
        c->ops->verdict(c, &change, rc == 0 ? CAIRN_VERDICT_COMMITTED : CAIRN_VERDICT_REFUSED, &s->rec);
}

void cairn_coord_on_stored(struct cairn_coord *c, uint32_t slot, int rc)
{
    struct cairn_coord_slot *s = &c->slots[slot];

    CAIRN_ASSERT(s->storing);
    if (rc == CAIRN_E_UNKNOWN || rc == CAIRN_E_STATE)
        s->doubtful = true;
    if (rc == 0 || !s->doubtful) /* once in doubt, no refusal says that an earlier request is not on its way */
        store_end(c, slot, rc);
    else
        c->ops->read(c, slot);
}

static bool is_same_record(const struct cairn_slot_record *a, const struct cairn_slot_record *b)
{
    uint8_t a_bytes[CAIRN_WIRE_RECORD_BYTES_MAX], b_bytes[CAIRN_WIRE_RECORD_BYTES_MAX];
    size_t n = cairn_wire_slot_pack(a, a_bytes);

    return cairn_wire_slot_pack(b, b_bytes) == n && memcmp(a_bytes, b_bytes, n) == 0;
}

void cairn_coord_on_read(struct cairn_coord *c, uint32_t slot, int rc, const struct cairn_slot_record *rec)
{
    struct cairn_coord_slot *s = &c->slots[slot];

    CAIRN_ASSERT(s->storing && s->doubtful);
    if (rc != 0) { /* at the next tick, again */
        s->unread = true;
        cairn_coord__watch(c, s);
    } else if (is_same_record(rec, &s->next)) {
        store_end(c, slot, 0);
    } else if (rec->epoch == s->rec.epoch) {
        c->ops->store(c, slot, &s->next);
    } else { /* no grant to whoever it was about, and no change, until our term is over */
        cairn_log_error("slot %u: epoch %" PRIu64 " is another's than ours: we are deposed", slot, rec->epoch);
    }
}

void cairn_coord__insync_del(struct cairn_slot_record *rec, uint64_t node)
{
    uint32_t kept = 0;

    for (uint32_t i = 0; i < rec->ninsync; i++) {
        if (rec->insync[i].node != node)
            rec->insync[kept++] = rec->insync[i];
    }
    rec->ninsync = kept;
}

void cairn_coord__replica_del(struct cairn_slot_record *rec, uint64_t node)
{
    uint32_t kept = 0;

    for (uint32_t i = 0; i < rec->nreplicas; i++) {
        if (rec->replicas[i] != node)
            rec->replicas[kept++] = rec->replicas[i];
    }
    rec->nreplicas = kept;
}

struct cairn_who cairn_coord__successor(struct cairn_coord *c, const struct cairn_slot_record *rec,
                                        struct cairn_who except, uint64_t since_ns)
{
    for (uint32_t i = 0; i < rec->nreplicas; i++) {
        for (uint32_t k = 0; k < rec->ninsync; k++) {
            if (rec->insync[k].node == rec->replicas[i] && !cairn_who_is(rec->insync[k], except) &&
                cairn_coord_is_alive(c, rec->insync[k]) &&
                cairn_coord_node(c, rec->insync[k].node)->heard_ns > since_ns)
                return rec->insync[k];
        }
    }
    return (struct cairn_who){ 0 };
}

/* ---- proposals ---- */

static enum cairn_verdict change_apply(struct cairn_coord *c, struct cairn_coord_slot *s,
                                       const struct cairn_change *change)
{
    struct cairn_coord_node *n = cairn_coord_node(c, change->who.node);
    struct cairn_slot_record *next;

    switch (change->kind) {
    case CAIRN_CHANGE_REMOVE:
        if (cairn_slot_insync(&s->rec, change->who) < 0 || cairn_who_is(change->who, s->rec.primary))
            return CAIRN_VERDICT_REFUSED;
        next = cairn_coord__begin(c, s);
        cairn_coord__insync_del(next, change->who.node);
        return CAIRN_VERDICT_COMMITTED;
    case CAIRN_CHANGE_JOIN: /* M5 */
        if (n == NULL || n->p.inc != change->who.inc || !cairn_slot_places(&s->rec, change->who.node) ||
            cairn_slot_names(&s->rec, change->who.node) || s->rec.ninsync == CAIRN_REPLICAS_MAX)
            return CAIRN_VERDICT_REFUSED_INC;
        next = cairn_coord__begin(c, s);
        next->insync[next->ninsync++] = change->who;
        if (cairn_who_is(s->rec.move.target, change->who))
            cairn_coord__move_joined(next);
        return CAIRN_VERDICT_COMMITTED;
    case CAIRN_CHANGE_ACTIVE:
        next = cairn_coord__begin(c, s);
        next->state = CAIRN_SLOT_ACTIVE;
        return CAIRN_VERDICT_COMMITTED;
    case CAIRN_CHANGE_RELEASE:
        next = cairn_coord__begin(c, s);
        next->state = CAIRN_SLOT_TAKEOVER; /* with nobody to take it, the old one begins again */
        cairn_coord__move_released(c, &s->rec, next);
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
    if (s->storing || !c->ops->may_act(c)) /* it will ask again */
        return;
    n = cairn_coord_node(c, change->from.node);
    if (change->epoch != s->rec.epoch || !cairn_who_is(change->from, s->rec.primary) || n == NULL ||
        n->p.inc != change->from.inc || n->p.inc <= c->floor) { /* M3: only on the word of a process that lives */
        c->ops->verdict(c, change, CAIRN_VERDICT_REFUSED, &s->rec);
        return;
    }
    verdict = change_apply(c, s, change);
    if (verdict != CAIRN_VERDICT_COMMITTED) {
        c->ops->verdict(c, change, verdict, &s->rec);
        return;
    }
    s->change = *change;
    cairn_coord__store(c, s);
}

/* ---- nodes ---- */

static void note_end(struct cairn_coord_slot *s, uint64_t node, uint64_t inc, struct cairn_at end)
{
    uint32_t i = 0;

    while (i < s->nends && s->ends[i].who.node != node)
        i++;
    if (i == CAIRN_REPLICAS_MAX)
        return;
    if (i == s->nends)
        s->nends++;
    s->ends[i] = (struct cairn_coord_end){ .who = { node, inc }, .end = end };
}

/* The log of a node that the record does not name. In an epoch behind the record's, of a history that is lost: the best
 * such log is of use to what is left of the slot. */
static void note_lost(struct cairn_coord *c, struct cairn_coord_slot *s, struct cairn_who who, struct cairn_at end)
{
    if (end.pos == 0 || end.epoch <= s->rec.epoch)
        return;
    if (end.epoch >= c->floor)
        c->lost_epoch = MAX(c->lost_epoch, end.epoch);
    else if (s->lost.who.node == who.node || cairn_at_is_less(s->lost.end, end))
        s->lost = (struct cairn_coord_end){ .who = who, .end = end };
}

int cairn_coord_register(struct cairn_coord *c, struct cairn_coord_process *p, const struct cairn_coord_told *told)
{
    struct cairn_coord_node *n = cairn_coord_node(c, p->node);
    bool known = n != NULL && n->p.process == p->process && n->p.inc > c->floor;
    uint32_t i = 0; /* in told->logs */
    uint8_t *partial;
    int rc;

    if (n != NULL && p->process < n->p.process)
        return CAIRN_E_STATE;
    partial = malloc(told->partial_bytes + 1);
    if (partial == NULL)
        return CAIRN_E_NOMEM;
    if (told->partial_bytes > 0)
        memcpy(partial, told->partial, told->partial_bytes);
    p->inc = known ? n->p.inc : c->last_inc + 1;
    p->draining = n != NULL && n->p.draining;
    p->disk_inc = n != NULL && n->p.disk_id == p->disk_id ? n->p.disk_inc : p->inc;
    rc = cairn_coord_load_node(c, p);
    if (rc != 0) {
        free(partial);
        return rc;
    }
    n = cairn_coord_node(c, p->node);
    free(n->partial);
    n->partial = partial;
    n->partial_bytes = told->partial_bytes;
    if (!known) {
        n->registered_ns = cairn_env_now_ns(c->env);
        n->granted_ns = 0;
        n->stopped = n->gone = false;
    }
    n->has_told = true;
    for (uint32_t slot = 0; slot < c->nslots; slot++) {
        struct cairn_coord_slot *s = &c->slots[slot];
        struct cairn_at end = { 0 };

        if (cairn_slot_places(&s->rec, p->node))
            cairn_coord__watch(c, s);
        while (i < told->nlogs && told->logs[i].slot < slot)
            i++;
        if (i < told->nlogs && told->logs[i].slot == slot)
            end = told->logs[i].end;
        note_lost(c, s, (struct cairn_who){ p->node, p->inc }, end);
        /* Also where it becomes a member just now, under the incarnation that ends here. */
        if (!cairn_slot_names(&s->rec, p->node) && !(s->storing && cairn_slot_names(&s->next, p->node)))
            continue;
        note_end(s, p->node, p->inc, end);
        cairn_coord__watch(c, s);
    }
    return 0;
}

bool cairn_coord_heartbeat(struct cairn_coord *c, struct cairn_who who, uint64_t term)
{
    struct cairn_coord_node *n = cairn_coord_node(c, who.node);

    if (n == NULL || n->p.inc != who.inc || who.inc <= c->floor || n->stopped || term != c->term ||
        !c->ops->may_act(c))
        return false;
    n->heard_ns = cairn_env_now_ns(c->env);
    n->gone = false;
    if (n->evicting > 0)
        return false;
    n->granted_ns = n->heard_ns;
    n->granted = true;
    return true;
}

int cairn_coord_stop(struct cairn_coord *c, struct cairn_who who)
{
    struct cairn_coord_node *n = cairn_coord_node(c, who.node);

    if (n == NULL)
        return CAIRN_E_NOTFOUND;
    if (n->p.inc != who.inc)
        return CAIRN_E_STATE;
    n->stopped = true;
    return 0;
}

void cairn_coord_found(struct cairn_coord *c, struct cairn_who who, bool gone)
{
    struct cairn_coord_node *n = cairn_coord_node(c, who.node);

    if (n != NULL && n->p.inc == who.inc)
        n->gone = gone;
}

bool cairn_coord_wants_register(struct cairn_coord *c, uint64_t node)
{
    struct cairn_coord_node *n = cairn_coord_node(c, node);

    return n != NULL && !n->has_told;
}
