/* The planner: see planner.h.
 *
 * A slot's *future* holders are those of its record, with the end of a move that is under way. From the futures
 * placement makes the table that is wanted; who leads is spread over that (planner_lead.c); what differs from the
 * future is a move. */
#include "server/cluster/planner_internal.h"

#include <stdlib.h>

static int by_id(const void *a, const void *b)
{
    uint64_t x = ((const struct cairn_planner__node *)a)->is.member.id,
             y = ((const struct cairn_planner__node *)b)->is.member.id;

    return (x > y) - (x < y);
}

struct cairn_planner__node *cairn_planner__node(const struct cairn_planner *p, uint64_t id)
{
    const struct cairn_planner__node key = { .is.member.id = id };

    return bsearch(&key, p->nodes, p->conf.n, sizeof(*p->nodes), by_id);
}

static enum cairn_planner_state state_of(const struct cairn_planner *p, uint64_t id)
{
    const struct cairn_planner__node *n = cairn_planner__node(p, id);

    return n != NULL ? n->is.state : CAIRN_PLANNER_LOST;
}

static void future_add(struct cairn_planner__future *f, uint64_t id)
{
    if (id != 0 && f->n < ARRAY_SIZE(f->ids) && !cairn_planner__is_in(f->ids, f->n, id))
        f->ids[f->n++] = id;
}

struct cairn_planner__future cairn_planner__future(const struct cairn_slot_record *rec)
{
    bool moves = rec->move.phase != CAIRN_MOVE_NONE;
    uint64_t leaves = moves ? rec->move.from : 0, comes = moves ? rec->move.target.node : 0;
    struct cairn_planner__future f = { .n = 0 };

    if (comes != 0 && (rec->move.lead || rec->primary.node == leaves))
        f.primary = comes;
    else if (rec->primary.node != leaves && cairn_planner__is_in(rec->replicas, rec->nreplicas, rec->primary.node))
        f.primary = rec->primary.node;
    future_add(&f, f.primary);
    for (uint32_t i = 0; i < rec->nreplicas; i++)
        future_add(&f, rec->replicas[i] == leaves ? 0 : rec->replicas[i]);
    future_add(&f, comes);
    return f;
}

struct cairn_planner__difference cairn_planner__compare(const struct cairn_planner *p, uint32_t slot,
                                                        const struct cairn_planner__future *f)
{
    struct cairn_planner__difference d = { .nleaves = 0 };
    uint32_t n;
    const uint64_t *wanted = cairn_placement_of_slot(p->wanted, slot, &n);

    for (uint32_t i = 0; i < f->n; i++) {
        if (!cairn_planner__is_in(wanted, n, f->ids[i]))
            d.leaves[d.nleaves++] = f->ids[i];
    }
    for (uint32_t i = 0; i < n; i++) {
        if (!cairn_planner__is_in(f->ids, f->n, wanted[i]))
            d.comes[d.ncomes++] = wanted[i];
    }
    return d;
}

/* ---- who is to hold what ---- */

static int want(struct cairn_planner *p, struct cairn_err *err)
{
    enum { WIDTH = CAIRN_REPLICAS_MAX + 1 };
    struct cairn_placement_conf conf = {
        .n = p->conf.n, .slot_bits = p->conf.slot_bits, .replicas = p->conf.replicas, .before_width = WIDTH
    };
    struct cairn_placement_member *members = calloc(MAX(p->conf.n, 1U), sizeof(*members));
    uint64_t *before = calloc((size_t)p->slots * WIDTH, sizeof(*before));
    int rc;

    if (members == NULL || before == NULL) {
        rc = cairn_err_set(err, CAIRN_E_NOMEM, "plan");
        goto out;
    }
    for (uint32_t i = 0; i < p->conf.n; i++) {
        members[i] = p->nodes[i].is.member;
        if (p->nodes[i].is.state != CAIRN_PLANNER_UP)
            members[i].weight = 0;
    }
    for (uint32_t slot = 0; slot < p->slots; slot++) {
        struct cairn_planner__future f = cairn_planner__future(p->conf.record(p->conf.arg, slot));

        memcpy(&before[(size_t)slot * WIDTH], f.ids, f.n * sizeof(f.ids[0]));
    }
    conf.members = members;
    conf.before = before;
    rc = cairn_placement_new(&conf, &p->wanted, err);
out:
    free(members);
    free(before);
    return rc;
}

/* ---- moves ---- */

/* Who leaves first: the lost, then those that are being drained, then any; who leads comes last among its like. */
static uint64_t first_to_leave(const struct cairn_planner *p, const struct cairn_planner__future *f,
                               const struct cairn_planner__difference *d)
{
    uint64_t best = 0;

    for (uint32_t i = d->nleaves; i-- > 0;) {
        if (best == 0 || state_of(p, d->leaves[i]) > state_of(p, best) ||
            (best == f->primary && state_of(p, d->leaves[i]) == state_of(p, best)))
            best = d->leaves[i];
    }
    return best;
}

static uint64_t who_comes(const struct cairn_planner *p, uint32_t slot, const struct cairn_planner__future *f,
                          const struct cairn_planner__difference *d, uint64_t from)
{
    uint32_t n;
    uint64_t lead = cairn_placement_of_slot(p->wanted, slot, &n)[p->lead[slot]];

    return from != 0 && from == f->primary && cairn_planner__is_in(d->comes, d->ncomes, lead) ? lead : d->comes[0];
}

static bool shares_zone(const struct cairn_planner *p, const struct cairn_planner__future *f, uint64_t id, uint64_t but)
{
    for (uint32_t i = 0; i < f->n; i++) {
        const struct cairn_planner__node *n = cairn_planner__node(p, f->ids[i]);

        if (n != NULL && f->ids[i] != id && f->ids[i] != but &&
            n->is.member.zone == cairn_planner__node(p, id)->is.member.zone)
            return true;
    }
    return false;
}

/* The slot's next move; false: none. */
static bool next_move(const struct cairn_planner *p, uint32_t slot, const struct cairn_planner__future *f,
                      const struct cairn_planner__difference *d, struct cairn_planner_move *m)
{
    uint32_t n;
    uint64_t lead = cairn_placement_of_slot(p->wanted, slot, &n)[p->lead[slot]];

    *m = (struct cairn_planner_move){ .slot = slot, .from = first_to_leave(p, f, d) };
    if (d->ncomes > 0) {
        bool lost = m->from != 0 && state_of(p, m->from) == CAIRN_PLANNER_LOST;

        if (!lost && f->n < n)
            m->from = 0;
        m->to = who_comes(p, slot, f, d, m->from);
        m->lead = m->to == lead;
        m->why = lost || m->from == 0                                                  ? CAIRN_PLANNER_MISSING
                 : state_of(p, m->from) == CAIRN_PLANNER_DRAINING                      ? CAIRN_PLANNER_DRAIN
                 : shares_zone(p, f, m->from, 0) && !shares_zone(p, f, m->to, m->from) ? CAIRN_PLANNER_ZONE
                                                                                       : CAIRN_PLANNER_BALANCE;
    } else if (d->nleaves > 0 && m->from != f->primary) {
        m->why = CAIRN_PLANNER_DROP;
    } else if (f->primary != 0 && f->primary != lead) {
        *m = (struct cairn_planner_move){ .slot = slot, .why = CAIRN_PLANNER_LEAD, .to = lead, .lead = true };
    } else {
        return false;
    }
    return true;
}

static uint32_t replicas_there(const struct cairn_planner *p, const struct cairn_planner__future *f)
{
    uint32_t there = 0;

    for (uint32_t i = 0; i < f->n; i++)
        there += state_of(p, f->ids[i]) != CAIRN_PLANNER_LOST;
    return there;
}

static void node_is_busy(struct cairn_planner__node *n)
{
    if (n != NULL)
        n->busy++;
}

/* When the move's target has joined; otherwise the move would wait, for another to be in sync, in the place of those
 * that can go on. */
static bool could_leave(const struct cairn_slot_record *rec, uint64_t from)
{
    return from == 0 || rec->ninsync + 1 - cairn_slot_names(rec, from) >= MIN(2U, rec->nreplicas);
}

/* What the core would refuse, or what would wait for something that is not there. */
static bool may_begin(const struct cairn_slot_record *rec, const struct cairn_planner_move *m)
{
    if (rec->move.phase != CAIRN_MOVE_NONE || rec->state != CAIRN_SLOT_ACTIVE)
        return false;
    return m->why == CAIRN_PLANNER_LEAD   ? cairn_slot_names(rec, m->to)
           : m->why == CAIRN_PLANNER_DROP ? cairn_slot_may_leave(rec, m->from)
                                          : could_leave(rec, m->from);
}

/* Counts what the slot wants; false: nothing. */
static bool look_at(struct cairn_planner *p, uint32_t slot, struct cairn_planner__want *w)
{
    const struct cairn_slot_record *rec = p->conf.record(p->conf.arg, slot);
    struct cairn_planner__future f = cairn_planner__future(rec);
    struct cairn_planner__difference d = cairn_planner__compare(p, slot, &f);
    bool moves = rec->move.phase != CAIRN_MOVE_NONE;

    *w = (struct cairn_planner__want){ .move.slot = slot, .there = replicas_there(p, &f) };
    if (rec->epoch == 0)
        return false;
    if (moves) {
        p->counts.under_way++;
        node_is_busy(cairn_planner__node(p, rec->primary.node));
        node_is_busy(cairn_planner__node(p, rec->move.target.node));
    }
    if (w->there == 0) {
        p->counts.gone++;
        return true;
    }
    if (!next_move(p, slot, &f, &d, &w->move))
        return moves;
    p->counts.left += MAX(MAX(d.nleaves, d.ncomes), 1U);
    w->a = cairn_planner__node(p, rec->primary.node);
    w->b = cairn_planner__node(p, w->move.to);
    w->may_begin = may_begin(rec, &w->move);
    return true;
}

static int by_urgency(const void *a, const void *b)
{
    const struct cairn_planner__want *x = a, *y = b;

    if (x->may_begin != y->may_begin)
        return x->may_begin ? -1 : 1;
    if (x->move.why != y->move.why)
        return x->move.why < y->move.why ? -1 : 1;
    if (x->there != y->there)
        return x->there < y->there ? -1 : 1;
    return x->move.slot < y->move.slot ? -1 : 1;
}

static bool has_room(const struct cairn_planner *p, const struct cairn_planner__node *n)
{
    return n->elsewhere != CAIRN_PLANNER_AWAY && n->is.state != CAIRN_PLANNER_LOST &&
           n->busy + n->elsewhere < p->conf.moves_per_node_max;
}

/* Who leads is needed by all that is done for a slot: without him it waits for the take-over. */
static bool can_begin(const struct cairn_planner *p, const struct cairn_planner__want *w)
{
    return w->a != NULL && has_room(p, w->a) && (w->b == NULL || has_room(p, w->b));
}

/* Whether the move brings the slot to who does not hold it. */
static bool comes_new(const struct cairn_planner_move *m)
{
    return m->why != CAIRN_PLANNER_DROP && m->why != CAIRN_PLANNER_LEAD;
}

/* Of all that is wanted: what may begin now. */
static void choose_moves(struct cairn_planner *p, uint32_t elsewhere)
{
    uint32_t busy = p->counts.under_way + elsewhere;
    uint32_t room = p->conf.moves_max > busy ? p->conf.moves_max - busy : 0;

    if (p->nwants > 1)
        qsort(p->wants, p->nwants, sizeof(*p->wants), by_urgency);
    p->nmoves = 0;
    for (uint32_t i = 0; i < p->nwants && p->wants[i].may_begin && p->nmoves < room; i++) {
        if (!can_begin(p, &p->wants[i]))
            continue;
        if (comes_new(&p->wants[i].move)) {
            if (p->wants[i].b->room == 0) {
                p->counts.no_room++;
                continue;
            }
            p->wants[i].b->room--;
        }
        node_is_busy(p->wants[i].a);
        node_is_busy(p->wants[i].b);
        p->moves[p->nmoves++] = p->wants[i].move;
    }
}

static int make_moves(struct cairn_planner *p, struct cairn_err *err)
{
    struct cairn_planner__want *fewer;

    p->wants = calloc(p->slots, sizeof(*p->wants));
    p->moves = calloc(MAX(MIN(p->slots, p->conf.moves_max), 1U), sizeof(*p->moves));
    if (p->wants == NULL || p->moves == NULL)
        return cairn_err_set(err, CAIRN_E_NOMEM, "plan");
    for (uint32_t slot = 0; slot < p->slots; slot++)
        p->nwants += look_at(p, slot, &p->wants[p->nwants]);
    fewer = realloc(p->wants, MAX(p->nwants, 1U) * sizeof(*p->wants));
    if (fewer != NULL)
        p->wants = fewer;
    choose_moves(p, 0);
    return 0;
}

void cairn_planner_look(struct cairn_planner *p, uint32_t elsewhere)
{
    uint32_t kept = 0;

    p->counts = (struct cairn_planner_counts){ 0 };
    for (uint32_t i = 0; i < p->conf.n; i++) {
        struct cairn_planner__node *n = &p->nodes[i];

        n->busy = 0;
        n->elsewhere = p->conf.busy != NULL ? p->conf.busy(p->conf.arg, n->is.member.id) : 0;
        n->room = p->conf.room != NULL ? p->conf.room(p->conf.arg, n->is.member.id) : UINT32_MAX;
    }
    for (uint32_t i = 0; i < p->nwants; i++)
        kept += look_at(p, p->wants[i].move.slot, &p->wants[kept]);
    p->nwants = kept;
    choose_moves(p, elsewhere);
}

/* ---- all of it ---- */

int cairn_planner_new(const struct cairn_planner_conf *conf, struct cairn_planner **out, struct cairn_err *err)
{
    struct cairn_planner *p = calloc(1, sizeof(*p));
    uint32_t n = 0;
    int rc;

    if (p == NULL)
        return cairn_err_set(err, CAIRN_E_NOMEM, "plan");
    p->conf = *conf;
    if (conf->slot_bits > CAIRN_SLOT_BITS_MAX || conf->n > CAIRN_MEMBERS_MAX) {
        rc = cairn_err_set(err, CAIRN_E_INVAL, "a plan for too many slots or nodes");
        goto fail;
    }
    p->slots = UINT32_C(1) << conf->slot_bits;
    p->nodes = calloc(MAX(conf->n, 1U), sizeof(*p->nodes));
    p->lead = calloc(p->slots, sizeof(*p->lead));
    if (p->nodes == NULL || p->lead == NULL) {
        rc = cairn_err_set(err, CAIRN_E_NOMEM, "plan");
        goto fail;
    }
    for (uint32_t i = 0; i < conf->n; i++) {
        p->nodes[i].is = conf->nodes[i];
        p->nodes[i].room = UINT32_MAX;
    }
    qsort(p->nodes, conf->n, sizeof(*p->nodes), by_id);
    rc = want(p, err);
    if (rc != 0)
        goto fail;
    cairn_planner__lead(p);
    cairn_placement_of_slot(p->wanted, 0, &n);
    rc = n > 0 ? make_moves(p, err) : 0; /* with nobody to hold anything all stays as it is */
    if (rc != 0)
        goto fail;
    *out = p;
    return 0;
fail:
    cairn_planner_free(p);
    return rc;
}

void cairn_planner_free(struct cairn_planner *p)
{
    if (p == NULL)
        return;
    cairn_placement_free(p->wanted);
    free(p->nodes);
    free(p->lead);
    free(p->wants);
    free(p->moves);
    free(p);
}

const struct cairn_planner_move *cairn_planner_moves(const struct cairn_planner *p, uint32_t *n)
{
    *n = p->nmoves;
    return p->moves;
}

struct cairn_planner_counts cairn_planner_counts(const struct cairn_planner *p)
{
    return p->counts;
}

uint32_t cairn_planner_busy(const struct cairn_planner *p, uint64_t node)
{
    const struct cairn_planner__node *n = cairn_planner__node(p, node);

    return n != NULL ? n->busy : 0;
}

uint32_t cairn_planner_wanted(const struct cairn_planner *p, uint32_t slot, uint64_t *ids)
{
    uint32_t n, at = 0;
    const uint64_t *wanted = cairn_placement_of_slot(p->wanted, slot, &n);

    for (uint32_t i = 0; i < n; i++) {
        if (i == p->lead[slot])
            ids[0] = wanted[i];
        else
            ids[++at] = wanted[i];
    }
    return n;
}
