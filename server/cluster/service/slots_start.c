/* What a worker's disk and store have of its slots, at a start, and how replicas come to life with it. */
#include "server/cluster/repl/sessions_image.h"
#include "server/cluster/service/slots_internal.h"

#include <inttypes.h>
#include <stdlib.h>

struct slot *slots_make(struct cluster_slots *w, uint32_t slot)
{
    uint32_t i = slot / w->conf.nworkers;
    struct slot *s;

    CAIRN_ASSERT(slot % w->conf.nworkers == w->conf.worker);
    if (slot >= w->conf.nslots)
        return NULL;
    if (i >= w->room) {
        uint32_t room = MAX(w->room, 64);
        struct slot **more;

        while (room <= i)
            room *= 2;
        more = realloc(w->all, room * sizeof(*more));
        if (more == NULL)
            return NULL;
        memset(more + w->room, 0, (room - w->room) * sizeof(*more));
        w->all = more;
        w->room = room;
    }
    if (w->all[i] != NULL)
        return w->all[i];
    s = calloc(1, sizeof(*s));
    if (s == NULL)
        return NULL;
    s->w = w;
    cairn_list_init(&s->unsynced);
    cairn_list_init(&s->late);
    store_slot_init(&s->store, slot, 0);
    w->all[i] = s;
    return s;
}

void slots_on_found(void *arg, const struct store_found *f)
{
    struct cluster_slots *w = arg;
    struct slot *s = slots_make(w, f->slot);

    if (s == NULL) {
        slots_fail(w, CAIRN_E_NOMEM, "no memory for the slots that are here");
        return;
    }
    s->partial = f->partial;
    s->base = f->at;
    if (f->partial || f->sessions == NULL)
        return;
    s->sessions_len = cairn_sessions_image_bytes(f->sessions, f->at.pos);
    s->sessions = malloc(s->sessions_len);
    if (s->sessions == NULL)
        slots_fail(w, CAIRN_E_NOMEM, "no memory for the sessions of a slot");
    else
        cairn_sessions_image_put(f->sessions, f->at.pos, s->sessions, s->sessions_len);
}

/* What is applied has to lie within the log, or ahead of it (a flush came, and the log's end was lost). What is
 * behind the log's beginning was in memory only; what is of another history came in place of entries that were cut, and
 * the cut was lost: only a learner can have that, for a member says nothing before its cut is on disk. */
static int match_log(struct cluster_slots *w, struct slot *s)
{
    uint32_t slot = s->store.slot;
    struct cairn_at base = cairn_slot_disk_base(w->conf.disk, slot), at = s->base;
    uint64_t end = cairn_slot_disk_end(w->conf.disk, slot);
    uint64_t epoch =
        at.pos <= base.pos || at.pos > end ? base.epoch : cairn_slot_disk_get(w->conf.disk, slot, at.pos)->at.epoch;

    if (!s->partial && at.pos > end)
        return cairn_slot_disk_restart(w->conf.disk, slot, at);
    if (!s->partial && at.pos >= base.pos && epoch == at.epoch)
        return 0;
    if (!s->partial && at.pos > 0)
        cairn_log_warn("slot %u: applied up to %" PRIu64 ".%" PRIu64 ", and the log has %" PRIu64 ".%" PRIu64
                       " to %" PRIu64 ": it needs a copy",
                       slot, at.epoch, at.pos, base.epoch, base.pos, end);
    s->partial = true;
    return end > 0 ? cairn_slot_disk_restart(w->conf.disk, slot, (struct cairn_at){ 0 }) : 0;
}

static int match_logs(struct cluster_slots *w)
{
    int rc = 0;

    for (uint32_t slot = w->conf.worker; rc == 0 && slot < w->conf.nslots; slot += w->conf.nworkers) {
        struct slot *s = slots_find(w, slot);

        if (s == NULL && cairn_slot_disk_end(w->conf.disk, slot) == 0)
            continue;
        if (s == NULL)
            s = slots_make(w, slot);
        rc = s == NULL ? CAIRN_E_NOMEM : match_log(w, s);
    }
    return rc;
}

void slots_on_started(void *arg, int rc, const struct cairn_err *err)
{
    struct cluster_slots *w = arg;

    if (rc == 0)
        rc = match_logs(w);
    w->started = rc == 0;
    w->conf.ops->started(w->conf.arg, rc, err);
}

static int sessions_of_none(struct slot *s)
{
    struct cairn_sessions none;

    cairn_sessions_init(&none);
    s->sessions_len = cairn_sessions_image_bytes(&none, s->base.pos);
    s->sessions = malloc(s->sessions_len);
    if (s->sessions == NULL)
        return CAIRN_E_NOMEM;
    cairn_sessions_image_put(&none, s->base.pos, s->sessions, s->sessions_len);
    return 0;
}

int slots_begin(struct slot *s)
{
    struct cluster_slots *w = s->w;
    struct cairn_replica *r = &s->replica;
    uint64_t end = cairn_slot_disk_end(w->conf.disk, s->store.slot);
    int rc = 0;

    CAIRN_ASSERT(!s->begun);
    cairn_replica_init(r, &slots_replica_ops, w->conf.times, &w->loop->env, &w->loop->machines, s->store.slot, w->self);
    s->begun = true;
    store_slot_init(&s->store, s->store.slot, s->partial ? 0 : s->base.pos);
    s->store.bare = !s->partial && s->base.pos == 0;
    if (s->partial) {
        cairn_replica_restore_partial(r);
        return 0;
    }
    if (s->base.pos > 0 && s->sessions == NULL)
        rc = sessions_of_none(s);
    if (rc == 0 && s->base.pos > 0)
        rc = cairn_replica_restore(r, s->base, s->sessions, s->sessions_len);
    for (uint64_t pos = s->base.pos + 1; rc == 0 && pos <= end; pos++)
        rc = cairn_replica_restore_entry(r, cairn_slot_disk_get(w->conf.disk, s->store.slot, pos));
    if (rc != 0) { /* half of a log is none */
        cairn_replica_fini(r);
        s->begun = false;
        return rc;
    }
    free(s->sessions);
    s->sessions = NULL;
    return 0;
}

int cluster_slots_logs(struct cluster_slots *w, struct cairn_coord_log **logs, uint32_t *n, uint8_t **partial,
                       uint32_t *partial_bytes)
{
    struct cairn_coord_log *all = malloc((w->room + 1) * sizeof(*all));
    uint8_t *bits = calloc(w->conf.nslots / 8 + 1, 1);

    *n = *partial_bytes = 0;
    *logs = all;
    *partial = bits;
    for (uint32_t i = 0; all != NULL && bits != NULL && i < w->room; i++) {
        struct slot *s = w->all[i];
        uint64_t end = s != NULL ? cairn_slot_disk_end(w->conf.disk, s->store.slot) : 0;

        if (s != NULL && (s->begun ? s->replica.partial : s->partial)) {
            bits[s->store.slot / 8] |= (uint8_t)(1 << s->store.slot % 8);
            *partial_bytes = s->store.slot / 8 + 1;
        } else if (end > 0) {
            struct cairn_at base = cairn_slot_disk_base(w->conf.disk, s->store.slot);

            all[(*n)++] = (struct cairn_coord_log){
                .slot = s->store.slot,
                .end = end > base.pos ? cairn_slot_disk_get(w->conf.disk, s->store.slot, end)->at : base,
            };
        }
    }
    if (all != NULL && bits != NULL)
        return 0;
    free(all);
    free(bits);
    *logs = NULL;
    *partial = NULL;
    return CAIRN_E_NOMEM;
}
