/* The sweeper of a node of the replicated world, look by look in the order of server/router/router_sweep.c, with time
 * between any two: old pins are let go and the regions are listed; what logs name is none of them; nor what records
 * name; the records are made durable; what is left, and not pinned, goes, and nobody can pin it meanwhile.
 *
 * A copy that comes in is waited for: what its pages name is in no log, and not yet among the records. So is the disk,
 * as long as entries that were cut may come back. */
#include "tests/sim/repl_regions.h"

#include <stdlib.h>

enum { TRIES_MAX = 100 };
#define PIN_NS (20000 * MS) /* the process keeps pins for much longer: no walk would see one go */

static void on_sweep(void *arg);

static void sweep_in(struct repl_node *n, uint64_t ns)
{
    struct cairn_env *env = env_of(n->rw, n->index);

    cairn_timer_start(env, &n->regions->sweep.timer, cairn_env_now_ns(env) + ns);
}

static void sweep_rest(struct repl_node *n)
{
    struct rw_sweep *w = &n->regions->sweep;

    free(w->ids);
    w->ids = NULL;
    w->n = 0;
    w->state = SWEEP_RESTS;
    sweep_in(n, n->rw->conf.sweep_ns / 2 + dice(n->rw, n->rw->conf.sweep_ns));
}

static int by_id(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

static void list(struct repl_node *n)
{
    struct rw_regions *x = n->regions;
    struct rw_sweep *w = &x->sweep;
    uint32_t room = 0;

    cluster_regions_sweep_begin(&x->table,
                                cairn_env_now_ns(env_of(n->rw, n->index)) + REGIONS_PIN_MS * CAIRN_NS_PER_MS - PIN_NS);
    for (uint32_t i = 0; i < RW_REGION_BUCKETS; i++) {
        for (const struct rw_region *r = x->buckets[i]; r != NULL; r = r->next) {
            if (!r->durable) /* it is being stored, by an upload or a fetch */
                continue;
            if (w->n == room) {
                room = room == 0 ? 64 : 2 * room;
                w->ids = realloc(w->ids, room * sizeof(*w->ids));
                CAIRN_ASSERT(w->ids != NULL);
            }
            w->ids[w->n++] = r->id;
        }
    }
    if (w->n > 0)
        qsort(w->ids, w->n, sizeof(*w->ids), by_id);
}

static void keep(struct rw_sweep *w, uint64_t id)
{
    uint32_t left = 0;

    for (uint32_t i = 0; i < w->n; i++) {
        if (w->ids[i] != id)
            w->ids[left++] = w->ids[i];
    }
    w->n = left;
}

static bool some_log_is_unsettled(const struct repl_node *n)
{
    for (uint32_t i = 0; i < n->rw->conf.slots; i++) {
        const struct cairn_replica *r = &n->slots[i].replica;

        if (r->load != NULL || cairn_replica_may_come_back(r))
            return true;
    }
    return false;
}

static void look_at_log(struct rw_sweep *w, const struct rw_slot *s)
{
    for (uint32_t i = 0; i < s->log.n; i++)
        keep(w, s->log.all[i].body[2]);
}

static void look_at_records(struct rw_sweep *w, const struct rw_slot *s)
{
    for (uint32_t k = 0; k < RW_ALL_KEYS; k++)
        keep(w, s->index[k].region);
    w->seen[w->slot] = s->apply_next - 1;
}

/* What a restart finds is not older than what was looked at. */
static bool all_is_durable(struct repl_node *n)
{
    const struct rw_sweep *w = &n->regions->sweep;
    bool all = true;

    for (uint32_t i = 0; i < n->rw->conf.slots; i++) {
        struct rw_slot *s = &n->slots[i];

        if (s->partial || s->checkpoint.at.pos >= w->seen[i])
            continue;
        rw_checkpoint_begin(s);
        all = false;
    }
    return all;
}

static void remove_now(struct repl_node *n)
{
    struct rw_regions *x = n->regions;
    struct rw_sweep *w = &x->sweep;

    for (uint32_t i = 0; i < w->n; i++) {
        if (rw_region_find(n, w->ids[i]) == NULL) /* it was damaged, and has been taken away */
            continue;
        rw_judge_freed(n, w->ids[i]);
        rw_region_remove(n, w->ids[i]);
        n->rw->freed++;
    }
    cluster_regions_spare(&x->table);
    sweep_rest(n);
}

/* The next slot, or what follows the last one. */
static void next(struct rw_sweep *w, uint32_t slots)
{
    if (++w->slot < slots)
        return;
    w->slot = w->tries = 0;
    w->state++;
}

static void wait(struct repl_node *n)
{
    if (++n->regions->sweep.tries > TRIES_MAX)
        sweep_rest(n);
    else
        sweep_in(n, 20 * MS);
}

static void on_sweep(void *arg)
{
    struct repl_node *n = arg;
    struct rw_sweep *w = &n->regions->sweep;

    if (n->failed)
        return;
    switch (w->state) {
    case SWEEP_RESTS:
        list(n);
        w->slot = w->tries = 0;
        w->state = SWEEP_LOGS;
        break;
    case SWEEP_LOGS:
        if (some_log_is_unsettled(n)) {
            wait(n);
            return;
        }
        look_at_log(w, &n->slots[w->slot]);
        next(w, n->rw->conf.slots);
        break;
    case SWEEP_RECORDS:
        look_at_records(w, &n->slots[w->slot]);
        next(w, n->rw->conf.slots);
        break;
    case SWEEP_FLUSH:
        if (!all_is_durable(n)) {
            wait(n);
            return;
        }
        w->n = cluster_regions_doom(&n->regions->table, w->ids, w->n);
        w->state = SWEEP_REMOVE;
        break;
    case SWEEP_REMOVE:
        remove_now(n);
        return;
    }
    sweep_in(n, dice(n->rw, 5 * MS));
}

void rw_sweep_begin(struct repl_node *n)
{
    n->regions->sweep = (struct rw_sweep){ 0 };
    cairn_timer_init(&n->regions->sweep.timer, on_sweep, n);
    if (n->rw->conf.sweep_ns > 0)
        sweep_rest(n);
}

void rw_sweep_end(struct repl_node *n)
{
    struct rw_sweep *w = &n->regions->sweep;

    cairn_timer_stop(env_of(n->rw, n->index), &w->timer);
    if (w->state == SWEEP_REMOVE)
        cluster_regions_spare(&n->regions->table);
    free(w->ids);
    w->ids = NULL;
}
