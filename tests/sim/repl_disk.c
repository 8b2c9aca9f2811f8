/* Disks of the replicated world: logs that lose what was not synced, checkpoints, records. */
#include "tests/sim/repl_internal.h"

#include <stdlib.h>
#include <string.h>

void rw_log_push(struct rw_log *l, const struct cairn_log_entry *e)
{
    struct rw_entry *x;

    CAIRN_ASSERT(e->at.pos == l->base.pos + l->n + 1 && e->body_len <= sizeof(x->body));
    if (l->n == l->room) {
        l->room = l->room == 0 ? 64 : l->room * 2;
        l->all = realloc(l->all, l->room * sizeof(*l->all));
        CAIRN_ASSERT(l->all != NULL);
    }
    x = &l->all[l->n++];
    *x = (struct rw_entry){ .e = *e };
    if (e->body_len > 0)
        memcpy(x->body, e->body, e->body_len);
}

void rw_log_copy(struct rw_log *to, const struct rw_log *from)
{
    rw_log_begin(to, from->base);
    for (uint32_t i = 0; i < from->n; i++) {
        struct cairn_log_entry e = from->all[i].e;

        e.body = (const uint8_t *)from->all[i].body;
        rw_log_push(to, &e);
    }
}

void rw_log_begin(struct rw_log *l, struct cairn_at base)
{
    l->n = 0;
    l->base = base;
}

struct cairn_at rw_log_end(const struct rw_log *l)
{
    return l->n > 0 ? l->all[l->n - 1].e.at : l->base;
}

struct rw_entry *rw_log_at(const struct rw_log *l, uint64_t pos)
{
    CAIRN_ASSERT(pos > l->base.pos && pos <= l->base.pos + l->n);
    return &l->all[pos - l->base.pos - 1];
}

void rw_log_cut(struct rw_log *l, uint64_t pos)
{
    CAIRN_ASSERT(pos >= l->base.pos && pos <= l->base.pos + l->n);
    l->n = (uint32_t)(pos - l->base.pos);
}

/* Of a log that is behind, nothing is left. */
void rw_log_trim(struct rw_log *l, uint64_t pos)
{
    uint32_t gone;

    if (pos <= l->base.pos)
        return;
    gone = (uint32_t)MIN(pos - l->base.pos, (uint64_t)l->n);
    if (gone == 0)
        return;
    l->base = l->all[gone - 1].e.at;
    l->n -= gone;
    memmove(l->all, l->all + gone, l->n * sizeof(*l->all));
}

void rw_checkpoint_free(struct rw_checkpoint *c)
{
    free(c->sessions);
    memset(c, 0, sizeof(*c));
}

static bool log_has(const struct rw_log *l, struct cairn_at at)
{
    return at.pos > l->base.pos && at.pos <= rw_log_end(l).pos && cairn_at_is(rw_log_at(l, at.pos)->e.at, at);
}

/* All that was synced stays, and unless power is lost all that was written; and of what came after, in order, as
 * much as the disk likes. */
static void log_crash(struct repl_world *rw, struct rw_slot *s, bool power)
{
    uint64_t floor = MAX(s->durable.base.pos, s->log.base.pos), pos = floor;
    uint64_t both = MIN(rw_log_end(&s->durable).pos, rw_log_end(&s->log).pos), end;

    while (pos < both && cairn_at_is(rw_log_at(&s->durable, pos + 1)->e.at, rw_log_at(&s->log, pos + 1)->e.at))
        pos++;
    if (!power && s->written.pos > pos && log_has(&s->log, s->written)) {
        pos = s->written.pos; /* and with it the cuts before it */
    } else if (pos < rw_log_end(&s->durable).pos && dice(rw, 2) == 0) {
        rw_log_copy(&s->log, &s->durable); /* a cut that was not synced may be lost, or hold */
        return;
    }
    end = rw_log_end(&s->log).pos;
    if (end > pos)
        rw_log_cut(&s->log, pos + dice(rw, end - pos + 1));
    rw->unsynced_lost += end - rw_log_end(&s->log).pos;
    rw_log_copy(&s->durable, &s->log);
}

static void logs_begin(struct rw_slot *s, struct cairn_at base)
{
    rw_log_begin(&s->log, base);
    rw_log_begin(&s->durable, base);
}

/* As a node does when it starts (server/cluster/service/slots_start.c): what is applied lies within the log, or ahead
 * of it, or was to replace what the log has, and the cut is lost: then a copy is needed. */
static void match_log(struct repl_world *rw, struct rw_slot *s)
{
    struct cairn_at at = s->checkpoint.at, has = s->log.base;

    if (rw_log_end(&s->log).pos < at.pos) { /* kept, and not yet synced as entries */
        logs_begin(s, at);
        return;
    }
    CAIRN_ASSERT(s->partial || at.pos >= s->log.base.pos);
    if (at.pos > s->log.base.pos)
        has = rw_log_at(&s->log, at.pos)->e.at;
    if (s->partial || cairn_at_is(at, has))
        return;
    s->partial = true;
    rw->other_histories++;
    logs_begin(s, (struct cairn_at){ 0 });
}

void rw_disk_crash(struct repl_world *rw, struct rw_slot *s, bool power)
{
    rw_checkpoint_free(&s->making);
    log_crash(rw, s, power);
    match_log(rw, s);
    memset(s->index, 0xee, sizeof(s->index)); /* only what a checkpoint holds can be used */
}

void rw_disk_wipe(struct rw_slot *s)
{
    rw_checkpoint_free(&s->making);
    rw_checkpoint_free(&s->checkpoint);
    rw_log_begin(&s->log, (struct cairn_at){ 0 });
    rw_log_begin(&s->durable, (struct cairn_at){ 0 });
    memset(s->index, 0, sizeof(s->index));
}

void rw_disk_free(struct rw_slot *s)
{
    rw_checkpoint_free(&s->making);
    rw_checkpoint_free(&s->checkpoint);
    free(s->log.all);
    free(s->durable.all);
    free(s->syncing.all);
}

int32_t rw_index_apply(struct rw_record *index, const struct rw_entry *x)
{
    uint32_t key = (uint32_t)(x->body[0] & 0xff);
    struct rw_record *rec = &index[key];
    int32_t existed = rec->value != 0;

    if (x->e.kind != CAIRN_ENTRY_WRITE)
        return 0;
    if (key >= RW_KEYS) { /* write-once: the rid is kept with the key */
        if (existed)
            return rec->rid == x->e.rid.seq ? RW_ONCE_OK : RW_ONCE_EXISTS;
        *rec = (struct rw_record){ .value = x->body[1], .rid = x->e.rid.seq, .region = x->body[2] };
        return RW_ONCE_OK;
    }
    if (x->body[0] >> 8 == LINEAR_DELETE) {
        *rec = (struct rw_record){ 0 };
        return existed;
    }
    *rec = (struct rw_record){ .value = x->body[1], .region = x->body[2] };
    return 0;
}
