/* A copy of the slot, at its source: the primary gives a learner whose log is of no use all that is applied (PROTOCOL
 * §7).
 *
 *  BEGIN ---> READ ---> SEND ---> SESSIONS ---> END ---> DONE        SEND may also go to READ; all to ENDED.
 *
 *  BEGIN     the target is to empty itself.
 *  READ      waits for the view's next records.    SEND  they are on their way.
 *  SESSIONS  the image of the sessions is on its way, piece by piece. The view is closed: another slot may have it.
 *  END       the target makes it durable, which takes as long as its disk does, for many slots at once.
 *  DONE      it has; the log behind the base streams to it.
 *  ENDED     without that: the target or this primary is not what it was.
 *
 * One part at a time, sent again until COPIED names the next number. Records are read from a view of the moment in
 * which the copy began, and the sessions are of that moment too: results of entries depend on what is there, so the
 * target has to begin in a state that was once (a mixture, with the newer of each record kept, is right for writes
 * that look at nothing only). Only applied, so only committed state is in it. The log above the base is kept until
 * the target streams.
 *
 * Views are few, and other slots wait for this one's: a target that is there, but does not get on, loses it. */
#include "server/cluster/repl/replica_internal.h"
#include "server/cluster/repl/sessions_image.h"

#include <inttypes.h>
#include <stdlib.h>

enum { COPY_BEGIN, COPY_READ, COPY_SEND, COPY_SESSIONS, COPY_END, COPY_DONE, COPY_ENDED, COPY_NR };
enum { SILENCES_MAX = 4 }; /* times T_ack */
#define COPY_WAIT_NS_MAX (60 * CAIRN_NS_PER_S)
/* One part takes a target no longer, or what a slot had there is much: it goes on erasing that, for the next copy. */
#define COPY_STILL_NS_MAX (60 * CAIRN_NS_PER_S)

struct replica_copy {
    struct cairn_sm sm;
    struct cairn_replica *r;
    struct cairn_who to;
    uint64_t job, number;
    struct cairn_at base;
    const uint8_t *page; /* the view's */
    uint32_t page_len;
    bool last;
    uint8_t *sessions;
    size_t sessions_len, sessions_at, piece;
    uint64_t sent_ns, heard_ns, moved_ns; /* moved: when it became the target's turn */
};

#define TO CAIRN_SM_TO
static const struct cairn_sm_state copy_states[COPY_NR] = {
    [COPY_BEGIN] = { "BEGIN", CAIRN_SM_INITIAL, TO(COPY_READ) | TO(COPY_ENDED) },
    [COPY_READ] = { "READ", 0, TO(COPY_SEND) | TO(COPY_ENDED) },
    [COPY_SEND] = { "SEND", 0, TO(COPY_READ) | TO(COPY_SESSIONS) | TO(COPY_ENDED) },
    [COPY_SESSIONS] = { "SESSIONS", 0, TO(COPY_END) | TO(COPY_ENDED) },
    [COPY_END] = { "END", 0, TO(COPY_DONE) | TO(COPY_ENDED) },
    [COPY_DONE] = { "DONE", CAIRN_SM_FINAL, 0 },
    [COPY_ENDED] = { "ENDED", CAIRN_SM_FINAL, 0 },
};

static bool copy_invariant(const struct cairn_sm *sm)
{
    const struct replica_copy *c = CONTAINER_OF(sm, const struct replica_copy, sm);

    return CAIRN_HOLDS(c->r->log.base.pos <= c->base.pos) && CAIRN_HOLDS(c->base.pos <= c->r->applied) &&
           CAIRN_HOLDS((sm->state == COPY_SEND) == (c->page != NULL) || sm->state == COPY_ENDED) &&
           CAIRN_HOLDS(sm->state != COPY_SESSIONS || c->last) &&
           CAIRN_HOLDS(sm->state != COPY_DONE || c->sessions_at == c->sessions_len);
}

const struct cairn_sm_kind cairn_replica_copy_kind = { "slot-copy", copy_states, COPY_NR, copy_invariant, 0 };

struct cairn_at cairn_replica__copy_base(const struct cairn_replica *r)
{
    return r->copy != NULL ? r->copy->base : (struct cairn_at){ .pos = UINT64_MAX };
}

static void copy_finish(struct replica_copy *c, uint32_t state)
{
    c->r->ops->copy_close(c->r);
    cairn_sm_move(&c->sm, state);
    cairn_sm_fini(&c->sm);
    c->r->copy = NULL;
    free(c->sessions);
    free(c);
}

static struct replica_peer *copy_peer(const struct replica_copy *c)
{
    struct replica_peer *p = cairn_replica__peer(c->r, c->to.node);

    return p != NULL && cairn_who_is(p->who, c->to) && p->phase == PEER_COPY ? p : NULL;
}

void cairn_replica__copy_check(struct cairn_replica *r)
{
    if (r->copy != NULL && copy_peer(r->copy) == NULL)
        copy_finish(r->copy, COPY_ENDED);
}

/* It is given up by whoever was to take it, or not taken, or cannot be read here: what stands in the way (no room, a
 * namespace whose database cannot be made) will hardly be gone in a moment. So each next one begins later than the one
 * before. */
static void copy_failed(struct replica_copy *c)
{
    struct cairn_replica *r = c->r;
    struct replica_peer *p = copy_peer(c);
    uint64_t wait = r->times->resend_ns;

    if (p != NULL) {
        for (uint32_t i = 0; i < p->copies_failed && wait < COPY_WAIT_NS_MAX; i++)
            wait *= 2;
        p->copies_failed++;
        p->copy_ns = replica_now(r) + MIN(wait, COPY_WAIT_NS_MAX);
    }
    copy_finish(c, COPY_ENDED);
}

/* Once, however often it comes. */
static void say_given_up(struct replica_copy *c, const char *why)
{
    const struct replica_peer *p = copy_peer(c);

    if (p != NULL && p->copies_failed == 0)
        cairn_log_warn("slot %u: copy to node %" PRIu64 " given up: %s", c->r->slot, c->to.node, why);
}

static void copy_send(struct replica_copy *c)
{
    struct cairn_repl_msg m = { .kind = CAIRN_REPL_COPY, .prev = c->base, .job = c->job, .number = c->number };

    switch (c->sm.state) {
    case COPY_BEGIN:
        m.part = CAIRN_COPY_BEGIN;
        break;
    case COPY_SEND:
        m.part = CAIRN_COPY_RECORDS;
        m.bytes = c->page;
        m.len = c->page_len;
        break;
    case COPY_SESSIONS:
        m.part = CAIRN_COPY_SESSIONS;
        m.bytes = c->sessions + c->sessions_at;
        m.len = (uint32_t)c->piece;
        break;
    case COPY_END:
        m.part = CAIRN_COPY_END;
        break;
    default:
        return;
    }
    c->sent_ns = replica_now(c->r);
    cairn_replica__send(c->r, c->to, &m);
    cairn_replica__timer(c->r, c->r->times->resend_ns);
}

static void copy_begin(struct cairn_replica *r, const struct replica_peer *p)
{
    struct replica_copy *c = calloc(1, sizeof(*c));

    if (c == NULL) /* at the next tick */
        return;
    if (cairn_replica_checkpoint(r, &c->base, &c->sessions, &c->sessions_len) != 0 || !r->ops->copy_open(r)) {
        free(c->sessions);
        free(c);
        return;
    }
    c->r = r;
    c->to = p->who;
    c->job = ++r->copy_jobs;
    c->heard_ns = c->moved_ns = replica_now(r);
    r->copy = c;
    cairn_sm_init(&c->sm, &cairn_replica_copy_kind, r->sm.set);
    copy_send(c);
}

void cairn_replica_may_copy(struct cairn_replica *r)
{
    cairn_replica__timer(r, 0);
}

void cairn_replica_on_page(struct cairn_replica *r, int rc, const uint8_t *page, uint32_t len, bool last)
{
    struct replica_copy *c = r->copy;

    CAIRN_ASSERT(c != NULL && c->sm.state == COPY_READ);
    c->heard_ns = c->moved_ns = replica_now(r); /* nothing was to be heard while our own view took its time */
    if (rc != 0) {
        say_given_up(c, cairn_error_text(rc));
        copy_failed(c);
        return;
    }
    c->page = page;
    c->page_len = len;
    c->last = last;
    cairn_sm_move(&c->sm, COPY_SEND);
    copy_send(c);
}

/* The target has the part that was sent: on to the next. */
static void copy_next(struct replica_copy *c)
{
    struct cairn_replica *r = c->r;
    struct replica_peer *p;

    c->number++;
    c->moved_ns = replica_now(r);
    switch (c->sm.state) {
    case COPY_SESSIONS:
        c->sessions_at += c->piece;
        c->piece = MIN(c->sessions_len - c->sessions_at, (size_t)CAIRN_COPY_BYTES_MAX);
        if (c->piece == 0)
            cairn_sm_move(&c->sm, COPY_END);
        copy_send(c);
        break;
    case COPY_END:
        p = copy_peer(c);
        p->first = p->next = c->base.pos + 1; /* I13: from here on it may catch up, and join when it has */
        p->base = c->base.pos;
        p->phase = PEER_PROBED;
        p->copies_failed = 0;
        copy_finish(c, COPY_DONE);
        cairn_replica__pump(r, p, true);
        break;
    case COPY_SEND:
        c->page = NULL;
        if (c->last) {
            r->ops->copy_close(r);
            c->piece = MIN(c->sessions_len, (size_t)CAIRN_COPY_BYTES_MAX);
            cairn_sm_move(&c->sm, COPY_SESSIONS);
            copy_send(c);
            break;
        } /* fall through */
    default:
        cairn_sm_move(&c->sm, COPY_READ);
        r->ops->copy_read(r);
    }
}

void cairn_replica__on_copied(struct cairn_replica *r, const struct cairn_repl_msg *m)
{
    struct replica_copy *c = r->copy;

    cairn_replica__copy_check(r);
    if (r->copy == NULL || !cairn_who_is(m->from, c->to) || m->job != c->job)
        return;
    c->heard_ns = replica_now(r);
    if (m->number == 0 && c->number > 0) /* it knows nothing of it: from the beginning, later */
        copy_failed(c);
    else if (m->number == c->number + 1 && c->sm.state != COPY_READ)
        copy_next(c);
}

static void copy_resend(struct replica_copy *c, uint64_t now)
{
    struct replica_peer *p = copy_peer(c);
    bool has_view = c->sm.state == COPY_BEGIN || c->sm.state == COPY_SEND;

    if (c->sm.state == COPY_READ)
        return;
    if (now - c->heard_ns >= SILENCES_MAX * c->r->times->ack_ns) {
        copy_failed(c);         /* perhaps it is there, and has the one before in hand */
        p->phase = PEER_SILENT; /* it will say so when it is back */
    } else if (has_view && now - c->moved_ns >= COPY_STILL_NS_MAX) {
        say_given_up(c, "its target does not get on");
        copy_failed(c);
    } else if (now - c->sent_ns >= c->r->times->resend_ns) {
        copy_send(c);
    }
}

bool cairn_replica__copy_tick(struct cairn_replica *r)
{
    bool wanted = false;

    cairn_replica__copy_check(r);
    if (r->copy != NULL) {
        copy_resend(r->copy, replica_now(r));
        return true;
    }
    if (r->sm.state != REPLICA_ACTIVE && r->sm.state != REPLICA_PAUSED)
        return false;
    for (uint32_t i = 0; i < r->npeers && r->copy == NULL; i++) {
        if (r->peers[i].phase != PEER_COPY || r->peers[i].who.inc == 0)
            continue;
        wanted = true;
        if (r->peers[i].copy_ns <= replica_now(r))
            copy_begin(r, &r->peers[i]);
    }
    return wanted;
}
