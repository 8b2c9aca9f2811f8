/* What holds of regions in the replicated world: I11 and I12 of PROTOCOL §9.
 *
 * They are broken, if ever, where something changes: an entry is appended, a record of a copy is put, a disk comes back
 * from a loss of power, a region is taken away. There they are judged, so they hold at every step in between.
 *
 * What names a region without having it is one thing only: an entry, or a record of a copy, that something committed
 * has replaced; who leads may say of such a region that it is gone. Nobody serves it: who does has applied its
 * successor. */
#include "tests/sim/repl_regions.h"

#include <string.h>

void rw_judge_committed(struct repl_world *rw, uint32_t slot, const struct rw_entry *x)
{
    rw_index_apply(rw->committed[slot], x);
}

void rw_judge_lost(struct repl_world *rw, uint32_t slot, const struct rw_record *index)
{
    memcpy(rw->committed[slot], index, sizeof(rw->committed[slot]));
}

/* Some key of the slot has it, as far as anybody was told. */
static bool is_live(const struct repl_world *rw, uint32_t slot, uint64_t region)
{
    for (uint32_t k = 0; k < RW_ALL_KEYS; k++) {
        if (rw->committed[slot][k].region == region)
            return true;
    }
    return false;
}

static bool is_committed(const struct repl_world *rw, uint32_t slot, struct cairn_at at)
{
    const struct rw_truth *t = &rw->truth[slot];

    return at.pos <= t->n && cairn_at_is(t->all[at.pos - 1].at, at);
}

void rw_judge_entry(const struct rw_slot *s, const struct cairn_log_entry *e, uint64_t region)
{
    const struct repl_world *rw = s->node->rw;
    uint32_t slot = s->replica.slot;

    CAIRN_ASSERT(region == 0 || e->kind != CAIRN_ENTRY_WRITE || rw_region_is_good(s->node, region) ||
                 (is_committed(rw, slot, e->at) && !is_live(rw, slot, region)));
}

void rw_judge_record_put(const struct rw_slot *s, uint32_t key, const struct rw_record *rec)
{
    const struct repl_world *rw = s->node->rw;

    CAIRN_ASSERT(rec->region == 0 || rw_region_is_good(s->node, rec->region) ||
                 rw->committed[s->replica.slot][key].region != rec->region);
}

void rw_judge_read(const struct rw_slot *s, uint32_t key)
{
    CAIRN_ASSERT(s->index[key].region == 0 || rw_region_is_good(s->node, s->index[key].region));
}

void rw_judge_regions(const struct rw_slot *s)
{
    if (s->node->regions == NULL)
        return;
    for (uint32_t i = 0; i < s->log.n; i++)
        rw_judge_entry(s, &s->log.all[i].e, s->log.all[i].body[2]);
    for (uint32_t k = 0; k < RW_ALL_KEYS; k++) {
        rw_judge_record_put(s, k, &s->checkpoint.index[k]);
        rw_judge_record_put(s, k, &s->index[k]);
    }
}

/* ---- what is freed ---- */

/* Behind @pos. */
static bool log_names(const struct rw_log *l, uint64_t pos, uint64_t id)
{
    for (uint32_t i = 0; i < l->n; i++) {
        if (l->all[i].e.at.pos > pos && l->all[i].body[2] == id)
            return true;
    }
    return false;
}

static bool index_names(const struct rw_record *index, uint64_t id)
{
    for (uint32_t k = 0; k < RW_ALL_KEYS; k++) {
        if (index[k].region == id)
            return true;
    }
    return false;
}

void rw_judge_freed(const struct repl_node *n, uint64_t id)
{
    CAIRN_ASSERT(cluster_regions_state(&n->regions->table, id) == REGION_BUSY); /* no pin */
    for (uint32_t i = 0; i < n->rw->conf.slots; i++) {
        const struct rw_slot *s = &n->slots[i];

        CAIRN_ASSERT(!log_names(&s->log, 0, id) && !index_names(s->index, id));
        /* nor anything that a crash would bring back, but for what was trimmed: that is applied, and replaced */
        CAIRN_ASSERT(!log_names(&s->durable, s->log.base.pos, id) && !index_names(s->checkpoint.index, id));
    }
}
