/* The table: kept from the one before, filled where something is missing, then balanced.
 *
 * Filling prefers members that have not even their share rounded down: that leaves little to balance (without it, a
 * table takes two to three times as long). Balancing takes from those that have too much for those that have too
 * little; what was only just filled in goes first, since nothing of it has been copied yet. Each taking brings two
 * members nearer to their shares and none farther away, so it ends; a table that was balanced stays as it is. Where
 * nobody may take what is too much (the zones forbid it, or it holds the slots already), a third takes it and gives
 * something else (chains). */
#include "sdk/core/placement/placement_internal.h"

#include <inttypes.h>
#include <stdlib.h>

enum {
    NOBODY = UINT32_MAX,
    CHAIN_SEATS_MAX = 64,   /* that a chain is looked for through */
    CHAIN_SEARCHES_MAX = 16 /* in vain, and balance is left as it is: with many members it is never far away */
};

typedef struct cairn_placement__seat seat;

struct table {
    const struct cairn_placement_conf *conf;
    seat *seats;
    const seat **by_id;
    uint32_t n, zones, slots, width; /* width: members of each slot */
    uint32_t *at;                    /* slot * width + which: seats; NOBODY */
    bool *fresh;                     /* likewise: was not there before */
    uint32_t searches;               /* for chains, so far */
    uint64_t over, under;            /* slots that are held above all highs, that lack to all lows */
};

/* Who may take a place from whom: most wanted first. */
enum rule { LOW_FROM_OVER, LOW_FROM_ANY, HIGH_FROM_OVER, RULES_NR };

static int compare(uint64_t x, uint64_t y)
{
    return (x > y) - (x < y);
}

static int by_zone(const void *a, const void *b)
{
    const seat *x = a, *y = b;

    return x->zone != y->zone ? compare(x->zone, y->zone) : compare(x->id, y->id);
}

static int by_id(const void *a, const void *b)
{
    return compare((*(const seat *const *)a)->id, (*(const seat *const *)b)->id);
}

static const seat *seat_of(const struct table *t, uint64_t id)
{
    const seat key = { .id = id }, *to = &key;
    const seat **found = bsearch(&to, t->by_id, t->n, sizeof(*t->by_id), by_id);

    return found != NULL ? *found : NULL;
}

/* Of the first @n members of @slot. */
static bool slot_has(const struct table *t, uint32_t slot, uint32_t n, const seat *s)
{
    for (uint32_t i = 0; i < n; i++) {
        if (t->at[slot * t->width + i] == s - t->seats)
            return true;
    }
    return false;
}

static bool slot_uses_zone(const struct table *t, uint32_t slot, uint32_t n, uint32_t zone, uint32_t but)
{
    for (uint32_t i = 0; i < n; i++) {
        if (i != but && t->seats[t->at[slot * t->width + i]].zone == zone)
            return true;
    }
    return false;
}

/* ---- what stays ---- */

/* As many as may share zones stay where they are; the rest of these makes room for other zones. */
static uint32_t keep(struct table *t, uint32_t slot)
{
    const uint64_t *before = &t->conf->before[(size_t)slot * t->conf->before_width];
    uint32_t kept = 0, same = 0, same_max = t->width - MIN(t->width, t->zones);

    for (uint32_t i = 0; i < t->conf->before_width && kept < t->width; i++) {
        const seat *s = seat_of(t, before[i]);
        bool shares_zone = s != NULL && slot_uses_zone(t, slot, kept, s->zone, NOBODY);

        if (s == NULL || slot_has(t, slot, kept, s) || (shares_zone && same == same_max))
            continue;
        same += shares_zone;
        t->at[slot * t->width + kept] = (uint32_t)(s - t->seats);
        t->seats[s - t->seats].held++;
        kept++;
    }
    return kept;
}

/* ---- what is missing ---- */

/* The best for the slot of those that come first: of other zones, with less than their share. */
static seat *best_for(struct table *t, uint32_t slot, uint32_t has)
{
    uint64_t slot_mix = cairn_placement__mix(slot);
    struct cairn_placement__draw best_draw = { 0 };
    uint32_t best_class = UINT32_MAX;
    seat *best = NULL;

    for (uint32_t i = 0; i < t->n; i++) {
        seat *s = &t->seats[i];
        uint32_t class = s->held < s->low ? 0 : s->held < s->high ? 1 : 2;
        struct cairn_placement__draw d;

        if (class > best_class)
            continue;
        class += slot_uses_zone(t, slot, has, s->zone, NOBODY) ? 3 : 0;
        if (class > best_class || slot_has(t, slot, has, s))
            continue;
        d = cairn_placement__draw(slot_mix, s->id, s->id_mix, s->share);
        if (class < best_class || cairn_placement__wins(&d, &best_draw)) {
            best = s;
            best_class = class;
            best_draw = d;
        }
    }
    return best;
}

static void fill(struct table *t, uint32_t slot, uint32_t has)
{
    for (; has < t->width; has++) {
        seat *s = best_for(t, slot, has);

        t->at[slot * t->width + has] = (uint32_t)(s - t->seats);
        t->fresh[slot * t->width + has] = true;
        s->held++;
    }
}

/* ---- who has too much ---- */

static bool is_served(const struct table *t, enum rule rule)
{
    return (rule != HIGH_FROM_OVER && t->under == 0) || (rule != LOW_FROM_ANY && t->over == 0);
}

static bool may_take(const seat *s, enum rule rule)
{
    return s->held < (rule == HIGH_FROM_OVER ? s->high : s->low);
}

static bool may_give(const seat *s, enum rule rule)
{
    return s->held > (rule == LOW_FROM_ANY ? s->low : s->high);
}

/* Whether @s in place of @from leaves the slot in as many zones. */
static bool suits(const struct table *t, uint32_t slot, const seat *s, uint32_t which, const seat *from)
{
    return !slot_uses_zone(t, slot, t->width, s->zone, which) || slot_uses_zone(t, slot, t->width, from->zone, which);
}

/* Which of the slot's places @s may take: of those who can spare it most, the last. -1: none. */
static int place_to_take(const struct table *t, uint32_t slot, const seat *s, enum rule rule, bool fresh)
{
    uint32_t most = 0;
    int best = -1;

    if (slot_has(t, slot, t->width, s))
        return -1;
    for (uint32_t i = 0; i < t->width; i++) {
        const seat *from = &t->seats[t->at[slot * t->width + i]];

        if (t->fresh[slot * t->width + i] != fresh || !may_give(from, rule) || from->held - from->low < most ||
            !suits(t, slot, s, i, from))
            continue;
        most = from->held - from->low;
        best = (int)i;
    }
    return best;
}

static void take(struct table *t, uint32_t at, seat *s)
{
    seat *from = &t->seats[t->at[at]];

    t->over -= from->held > from->high;
    t->over += s->held >= s->high;
    t->under -= s->held < s->low;
    t->under += from->held <= from->low;
    from->held--;
    s->held++;
    t->at[at] = (uint32_t)(s - t->seats);
    t->fresh[at] = true;
}

/* Looks through all slots, each member in another order. */
static bool take_what_it_lacks(struct table *t, seat *s, enum rule rule, bool fresh)
{
    uint64_t slot = cairn_placement__mix(s->id_mix), step = cairn_placement__mix(slot) | 1;
    bool took = false;

    for (uint32_t i = 0; i < t->slots && may_take(s, rule) && !is_served(t, rule); i++, slot += step) {
        uint32_t here = (uint32_t)slot & (t->slots - 1);
        int which = place_to_take(t, here, s, rule, fresh);

        if (which < 0)
            continue;
        take(t, here * t->width + (uint32_t)which, s);
        took = true;
    }
    return took;
}

static bool balance_once(struct table *t, bool fresh)
{
    bool took = false;

    for (enum rule rule = 0; rule < RULES_NR; rule++) {
        for (uint32_t i = 0; i < t->n && !is_served(t, rule); i++)
            took |= take_what_it_lacks(t, &t->seats[i], rule, fresh);
    }
    return took;
}

/* ---- chains ---- */

/* A search from one that lacks something, breadth first: who could take what of whom. */
struct chain {
    const seat *queue[CHAIN_SEATS_MAX];
    uint32_t place[CHAIN_SEATS_MAX]; /* what queue[i] would give */
    uint32_t to[CHAIN_SEATS_MAX];    /* to whom: index in queue */
    uint32_t n;
};

/* Everybody's turn along the way from the one who has too much, unless an earlier one has changed the slot. */
static bool chain_pull(struct table *t, const struct chain *c, uint32_t last)
{
    for (uint32_t i = last; i != 0; i = c->to[i]) {
        seat *to = &t->seats[c->queue[c->to[i]] - t->seats];
        uint32_t slot = c->place[i] / t->width;

        if (slot_has(t, slot, t->width, to) || !suits(t, slot, to, c->place[i] % t->width, c->queue[i]))
            return false;
        take(t, c->place[i], to);
    }
    return true;
}

static bool chain_find(struct table *t, const seat *s, enum rule rule, bool fresh)
{
    struct chain c = { .queue = { s }, .n = 1 };

    t->seats[s - t->seats].search = ++t->searches;
    for (uint32_t i = 0; i < c.n; i++) {
        for (uint32_t at = 0; at < t->slots * t->width && c.n < CHAIN_SEATS_MAX; at++) {
            const seat *from = &t->seats[t->at[at]];
            uint32_t slot = at / t->width;

            if ((fresh && !t->fresh[at]) || from->search == t->searches || slot_has(t, slot, t->width, c.queue[i]) ||
                !suits(t, slot, c.queue[i], at % t->width, from))
                continue;
            c.queue[c.n] = from;
            c.place[c.n] = at;
            c.to[c.n] = i;
            t->seats[t->at[at]].search = t->searches;
            if (may_give(from, rule))
                return chain_pull(t, &c, c.n);
            c.n++;
        }
    }
    return false;
}

static bool chain_once(struct table *t, bool fresh, uint32_t *in_vain)
{
    for (enum rule rule = LOW_FROM_ANY; rule < RULES_NR; rule++) {
        for (uint32_t i = 0; i < t->n && !is_served(t, rule) && *in_vain < CHAIN_SEARCHES_MAX; i++) {
            if (!may_take(&t->seats[i], rule))
                continue;
            if (chain_find(t, &t->seats[i], rule, fresh))
                return true;
            ++*in_vain;
        }
    }
    return false;
}

static void balance(struct table *t, bool any_fresh)
{
    uint32_t in_vain = 0;

    for (uint32_t i = 0; i < t->n; i++) {
        const seat *s = &t->seats[i];

        t->over += s->held > s->high ? s->held - s->high : 0;
        t->under += s->held < s->low ? s->low - s->held : 0;
    }
    while (any_fresh && (balance_once(t, true) || chain_once(t, true, &in_vain)))
        ;
    in_vain = 0;
    while (balance_once(t, false) || balance_once(t, true) ||
           chain_once(t, false, &in_vain)) /* each lowers over or under */
        ;
}

/* ---- all of it ---- */

static bool fill_all(struct table *t)
{
    bool any = false;
    uint32_t *kept = calloc(t->slots, sizeof(*kept));

    if (kept == NULL)
        return false;
    for (uint32_t slot = 0; t->conf->before != NULL && slot < t->slots; slot++)
        kept[slot] = keep(t, slot); /* all of them first: who has how much decides on the others */
    for (uint32_t slot = 0; slot < t->slots; slot++) {
        any |= kept[slot] < t->width;
        fill(t, slot, kept[slot]);
    }
    free(kept);
    balance(t, any);
    return true;
}

static int seats_init(struct table *t, struct cairn_err *err)
{
    const struct cairn_placement_conf *conf = t->conf;
    uint32_t zone = 0;

    for (uint32_t i = 0; i < conf->n; i++) {
        const struct cairn_placement_member *m = &conf->members[i];

        if (m->id == 0)
            return cairn_err_set(err, CAIRN_E_INVAL, "a member has the id 0");
        t->seats[i] = (seat){
            .id = m->id, .id_mix = cairn_placement__mix(m->id), .share = cairn_placement__share(m), .zone = m->zone
        };
        t->by_id[i] = &t->seats[i];
    }
    qsort(t->by_id, conf->n, sizeof(*t->by_id), by_id);
    for (uint32_t i = 1; i < conf->n; i++) {
        if (t->by_id[i]->id == t->by_id[i - 1]->id)
            return cairn_err_set(err, CAIRN_E_INVAL, "two members have the id %" PRIu64, t->by_id[i]->id);
    }
    for (uint32_t i = 0; i < conf->n; i++) {
        if (t->seats[i].share > 0)
            t->seats[t->n++] = t->seats[i];
    }
    qsort(t->seats, t->n, sizeof(*t->seats), by_zone);
    for (uint32_t i = 0; i < t->n; i++) { /* zones are numbered from here on */
        bool next = i + 1 < t->n && t->seats[i + 1].zone != t->seats[i].zone;

        t->by_id[i] = &t->seats[i];
        t->seats[i].zone = zone;
        zone += next;
    }
    qsort(t->by_id, t->n, sizeof(*t->by_id), by_id);
    t->zones = t->n > 0 ? zone + 1 : 0;
    t->width = MIN(conf->replicas, t->n);
    return 0;
}

static int table_make(struct table *t, struct cairn_placement **out, struct cairn_err *err)
{
    struct cairn_placement *p = NULL;
    size_t places = (size_t)t->slots * t->width;
    int rc = CAIRN_E_NOMEM;

    t->at = calloc(MAX(places, 1U), sizeof(*t->at));
    t->fresh = calloc(MAX(places, 1U), sizeof(*t->fresh));
    if (t->at != NULL && t->fresh != NULL)
        rc = cairn_placement__divide(t->seats, t->n, t->zones, t->slots, t->width);
    if (rc == 0)
        p = calloc(1, sizeof(*p) + places * sizeof(p->ids[0]));
    if (p == NULL || !fill_all(t)) {
        free(p);
        return cairn_err_set(err, CAIRN_E_NOMEM, "placement of %" PRIu32 " slots", t->slots);
    }
    p->slot_bits = t->conf->slot_bits;
    p->replicas = t->width;
    for (size_t i = 0; i < places; i++)
        p->ids[i] = t->seats[t->at[i]].id;
    *out = p;
    return 0;
}

int cairn_placement_new(const struct cairn_placement_conf *conf, struct cairn_placement **out, struct cairn_err *err)
{
    struct table t = { .conf = conf };
    int rc;

    if (conf->n > CAIRN_MEMBERS_MAX)
        return cairn_err_set(err, CAIRN_E_INVAL, "%" PRIu32 " members; at most %d", conf->n, CAIRN_MEMBERS_MAX);
    if (conf->slot_bits < CAIRN_SLOT_BITS_MIN || conf->slot_bits > CAIRN_SLOT_BITS_MAX)
        return cairn_err_set(err, CAIRN_E_INVAL, "2^%" PRIu32 " slots; 2^%d to 2^%d are possible", conf->slot_bits,
                             CAIRN_SLOT_BITS_MIN, CAIRN_SLOT_BITS_MAX);
    if (conf->replicas == 0 || conf->replicas > CAIRN_REPLICAS_MAX)
        return cairn_err_set(err, CAIRN_E_INVAL, "%" PRIu32 " replicas; 1 to %d are possible", conf->replicas,
                             CAIRN_REPLICAS_MAX);
    t.slots = UINT32_C(1) << conf->slot_bits;
    t.seats = calloc(MAX(conf->n, 1U), sizeof(*t.seats));
    t.by_id = calloc(MAX(conf->n, 1U), sizeof(const seat *));
    if (t.seats != NULL && t.by_id != NULL)
        rc = seats_init(&t, err);
    else
        rc = cairn_err_set(err, CAIRN_E_NOMEM, "placement of %" PRIu32 " members", conf->n);
    if (rc == 0)
        rc = table_make(&t, out, err);
    free(t.seats);
    free(t.by_id);
    free(t.at);
    free(t.fresh);
    return rc;
}
