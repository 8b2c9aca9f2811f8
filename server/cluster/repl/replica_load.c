/* A copy of the slot, at its target: a learner whose log is of no use is emptied and filled by its primary (PROTOCOL
 * §7).
 *
 *  WIPE ---> LOAD ---> STORE ---> LOAD ---> SEAL ---> DONE        all may also go to ENDED.
 *
 *  WIPE   what was here is being deleted; from now on the replica is partial, also after a crash.
 *  LOAD   waits for the next part.    STORE  the next records are being written.
 *  SEAL   everything is here and becomes a checkpoint.
 *  DONE   it is one: the replica is whole, as of the base of the copy, and takes entries behind it.
 *  ENDED  the primary is another, or records could not be stored; the replica stays partial and needs a new copy. What
 *         came of one that could not be stored is erased. */
#include "server/cluster/repl/replica_internal.h"
#include "server/cluster/repl/sessions_image.h"

#include <inttypes.h>
#include <stdlib.h>

enum { LOAD_WIPE, LOAD_LOAD, LOAD_STORE, LOAD_SEAL, LOAD_DONE, LOAD_ENDED, LOAD_NR };

struct replica_load {
    struct cairn_sm sm;
    struct cairn_replica *r;
    struct cairn_who from;
    uint64_t job, next;
    struct cairn_at base;
    uint8_t *sessions;
    size_t sessions_len;
    struct cairn_sessions table; /* of the image, once it is complete */
    bool over;                   /* ends as soon as what is under way comes back */
};

#define TO CAIRN_SM_TO
static const struct cairn_sm_state load_states[LOAD_NR] = {
    [LOAD_WIPE] = { "WIPE", CAIRN_SM_INITIAL, TO(LOAD_LOAD) | TO(LOAD_ENDED) },
    [LOAD_LOAD] = { "LOAD", 0, TO(LOAD_STORE) | TO(LOAD_SEAL) | TO(LOAD_ENDED) },
    [LOAD_STORE] = { "STORE", 0, TO(LOAD_LOAD) | TO(LOAD_ENDED) },
    [LOAD_SEAL] = { "SEAL", 0, TO(LOAD_DONE) | TO(LOAD_ENDED) },
    [LOAD_DONE] = { "DONE", CAIRN_SM_FINAL, 0 },
    [LOAD_ENDED] = { "ENDED", CAIRN_SM_FINAL, 0 },
};

static bool load_invariant(const struct cairn_sm *sm)
{
    const struct replica_load *l = CONTAINER_OF(sm, const struct replica_load, sm);
    const struct cairn_replica *r = l->r;

    return CAIRN_HOLDS(r->partial == (sm->state != LOAD_DONE)) &&
           CAIRN_HOLDS(!r->partial || (r->log.end.pos == 0 && r->applied == 0 && r->sessions.n == 0)) &&
           CAIRN_HOLDS(r->partial || r->log.base.pos == l->base.pos) &&
           CAIRN_HOLDS(sm->state == LOAD_ENDED || r->sm.state == REPLICA_LEARNER || l->over);
}

const struct cairn_sm_kind cairn_replica_load_kind = { "slot-load", load_states, LOAD_NR, load_invariant, 0 };

static void load_finish(struct replica_load *l, uint32_t state)
{
    cairn_sm_move(&l->sm, state);
    cairn_sm_fini(&l->sm);
    l->r->load = NULL;
    cairn_sessions_fini(&l->table);
    free(l->sessions);
    free(l);
}

void cairn_replica__load_end(struct cairn_replica *r)
{
    if (r->load == NULL)
        return;
    r->load->over = true;
    if (r->load->sm.state == LOAD_LOAD)
        load_finish(r->load, LOAD_ENDED);
}

void cairn_replica__load_fini(struct cairn_replica *r)
{
    if (r->load != NULL)
        load_finish(r->load, LOAD_ENDED);
}

static void send_copied(struct cairn_replica *r, uint64_t job, uint64_t next)
{
    struct cairn_repl_msg m = { .kind = CAIRN_REPL_COPIED, .job = job, .number = next };

    cairn_replica__send(r, r->rec.primary, &m);
}

/* True if what was asked for has come back in vain. */
static bool load_is_over(struct replica_load *l)
{
    bool over = l->over;

    if (over)
        load_finish(l, LOAD_ENDED);
    return over;
}

/* Number @next is what is wanted now. */
static void load_wait(struct replica_load *l)
{
    l->next++;
    cairn_sm_move(&l->sm, LOAD_LOAD);
    send_copied(l->r, l->job, l->next);
}

static void load_begin(struct cairn_replica *r, const struct cairn_repl_msg *m)
{
    struct replica_load *l;

    if (r->load != NULL && r->load->job < m->job)
        cairn_replica__load_end(r);
    if (r->load != NULL || r->cleaning || r->applied != r->applying || r->syncing)
        return; /* what is under way has to come back first; it asks again */
    if (m->prev.pos == 0 || m->prev.epoch == 0 || m->job <= r->loaded_job)
        return;
    l = calloc(1, sizeof(*l));
    if (l == NULL)
        return;
    l->r = r;
    l->from = m->from;
    l->job = r->loaded_job = m->job;
    l->base = m->prev;
    cairn_sessions_init(&l->table);
    r->load = l;
    cairn_replica__forget(r);
    cairn_sm_init(&l->sm, &cairn_replica_load_kind, r->sm.set);
    r->ops->wipe(r);
}

static void load_sessions(struct replica_load *l, const struct cairn_repl_msg *m)
{
    uint8_t *more;

    if (m->len > CAIRN_SESSIONS_IMAGE_BYTES_MAX - l->sessions_len) {
        cairn_replica__load_end(l->r);
        return;
    }
    more = realloc(l->sessions, l->sessions_len + m->len + 1);
    if (more == NULL) /* it is sent again */
        return;
    l->sessions = more;
    if (m->len > 0)
        memcpy(more + l->sessions_len, m->bytes, m->len);
    l->sessions_len += m->len;
    l->next++;
    send_copied(l->r, l->job, l->next);
}

static void load_seal(struct replica_load *l)
{
    int rc = cairn_sessions_image_get(&l->table, l->base.pos, l->sessions, l->sessions_len);

    if (rc != 0) {
        cairn_log_warn("slot %u: the sessions of a copy: %s", l->r->slot, cairn_error_text(rc));
        cairn_replica__load_end(l->r);
        return;
    }
    cairn_sm_move(&l->sm, LOAD_SEAL);
    l->r->ops->copy_seal(l->r, l->base, l->sessions, l->sessions_len);
}

void cairn_replica__on_copy(struct cairn_replica *r, const struct cairn_repl_msg *m)
{
    struct replica_load *l = r->load;

    if (r->sm.state != REPLICA_LEARNER || !cairn_who_is(m->from, r->rec.primary) || m->to.inc != r->self.inc)
        return;
    r->heard_ns = replica_now(r);
    if (l == NULL || l->job != m->job || l->over) {
        if (m->part == CAIRN_COPY_BEGIN && m->number == 0)
            load_begin(r, m);
        else if (m->job == r->loaded_job && !r->partial)
            send_copied(r, m->job, m->number + 1); /* done, and the word of it was lost */
        else
            send_copied(r, m->job, 0);
        return;
    }
    if (m->number != l->next || l->sm.state != LOAD_LOAD) { /* it comes again, or we are still at it */
        send_copied(r, l->job, l->next);
        return;
    }
    switch (m->part) {
    case CAIRN_COPY_RECORDS:
        r->has_pages = true;
        cairn_sm_move(&l->sm, LOAD_STORE);
        r->ops->copy_put(r, m->bytes, m->len);
        break;
    case CAIRN_COPY_SESSIONS:
        load_sessions(l, m);
        break;
    case CAIRN_COPY_END:
        load_seal(l);
        break;
    default:
        break;
    }
}

/* With a lease all is known that the map had when it was granted (M1). Without one the record may be an old one that
 * came late, to a process which was started since: by a newer one the slot is here again, and counts. */
bool cairn_replica_clean(struct cairn_replica *r)
{
    bool holds = r->log.end.pos > 0 || r->has_pages; /* what came of a copy that ended early has no log */

    if (r->sm.state != REPLICA_OUT || r->rec.state != CAIRN_SLOT_ACTIVE || !holds || r->load != NULL || r->cleaning ||
        !r->ops->lease_is_valid(r) || r->syncing || r->applied != r->applying)
        return false;
    r->cleaning = true;
    cairn_replica__forget(r);
    r->ops->wipe(r);
    return true;
}

void cairn_replica_on_wiped(struct cairn_replica *r)
{
    r->has_pages = false;
    if (r->cleaning) { /* empty, so to be copied to if the slot comes back */
        r->cleaning = false;
        return;
    }
    CAIRN_ASSERT(r->load != NULL && r->load->sm.state == LOAD_WIPE);
    if (!load_is_over(r->load))
        load_wait(r->load);
}

/* What has come of a copy that was refused is of no use, and may be what another's has no room for: of many that have
 * begun and do not fit together, those that are refused make room for the rest. */
static void give_back(struct cairn_replica *r)
{
    CAIRN_ASSERT(r->partial && !r->cleaning);
    r->cleaning = true;
    r->ops->wipe(r);
}

void cairn_replica_on_put(struct cairn_replica *r, int rc)
{
    struct replica_load *l = r->load;

    CAIRN_ASSERT(l != NULL && l->sm.state == LOAD_STORE);
    if (rc != 0 && rc != r->put_rc) /* said once, however often it comes */
        cairn_log_warn("slot %u: a copy is given up: %s", r->slot, cairn_error_text(rc));
    r->put_rc = rc != 0 ? rc : r->put_rc;
    l->over |= rc != 0;
    if (!load_is_over(l))
        load_wait(l);
    else if (rc != 0)
        give_back(r);
}

/* Whole, also if the primary has changed meanwhile: it is the state after an entry that was committed. */
void cairn_replica_on_sealed(struct cairn_replica *r)
{
    struct replica_load *l = r->load;
    uint64_t job = l->job, next = l->next + 1;
    bool tell = !l->over;

    CAIRN_ASSERT(l->sm.state == LOAD_SEAL && r->log.end.pos == 0);
    r->partial = false;
    r->put_rc = 0;
    cairn_slot_log_restart(&r->log, l->base);
    r->commit = r->applied = r->applying = l->base.pos;
    r->sessions = l->table;
    cairn_sessions_init(&l->table);
    load_finish(l, LOAD_DONE);
    if (tell)
        send_copied(r, job, next);
}
