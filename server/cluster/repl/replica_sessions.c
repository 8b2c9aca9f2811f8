/* How long the primary keeps the sessions of its slot, and who has to go for whom (PROTOCOL §8).
 *
 * A client relies on a session for half of the time that it was promised, and after that opens another; the other half
 * is for the repetitions of what it sent last. So none ends before its time is over, however many want one: its client
 * would be in doubt. But the more there are the less a new one is promised, and whoever comes when there is no room has
 * to wait. */
#include "server/cluster/repl/replica_internal.h"

enum {
    SPARE = 256,        /* as few places are left: whoever is over has to go now, not at the next tick */
    OVER_AT_ONCE = 256, /* entries for those who go */
};

/* What is left of it for repetitions is more than a client waits for an answer, or between two tries. */
static const uint64_t short_ttl_ns = 30 * CAIRN_NS_PER_S;

static uint64_t ttl_of(const struct cairn_replica *r, const struct cairn_session *s)
{
    return s->ttl_ns != 0 ? s->ttl_ns : r->times->session_ttl_ns;
}

void cairn_replica__sessions_lead(struct cairn_replica *r)
{
    uint64_t now = replica_now(r);

    r->sessions_over_ns = 0;
    for (uint32_t i = 0; i < r->sessions.n; i++) {
        r->sessions.all[i].used_ns = now;
        r->sessions.all[i].ttl_ns = 0; /* another's promise, perhaps */
    }
}

/* The entry that ends it; a client that waits for an answer is there. 0: it is appended, or not over. */
static int end_if_over(struct cairn_replica *r, struct cairn_session *s, uint64_t now, uint32_t *n)
{
    struct cairn_log_entry e = { .at = { .epoch = r->rec.epoch, .pos = r->log.end.pos + 1 },
                                 .kind = CAIRN_ENTRY_EXPIRE,
                                 .rid = { .session = s->id } };

    if (now - s->used_ns >= ttl_of(r, s) && cairn_session_is_waited_for(s))
        s->used_ns = now;
    if (now - s->used_ns < ttl_of(r, s)) {
        r->sessions_over_ns = MIN(r->sessions_over_ns, s->used_ns + ttl_of(r, s));
        return 0;
    }
    if (*n == OVER_AT_ONCE || e.at.pos - r->commit > CAIRN_UNCOMMITTED_MAX || !r->ops->log_has_room(r))
        return CAIRN_E_LIMIT;
    ++*n;
    return cairn_replica__append(r, &e);
}

bool cairn_replica__sessions_end(struct cairn_replica *r)
{
    uint64_t now = replica_now(r);
    uint32_t n = 0;
    int rc = 0;

    if (now < r->sessions_over_ns)
        return false;
    r->sessions_over_ns = UINT64_MAX;
    for (uint32_t i = 0; i < r->sessions.n && rc == 0; i++) {
        if (r->sessions.all[i].expire_pos == 0)
            rc = end_if_over(r, &r->sessions.all[i], now, &n);
    }
    if (rc != 0)
        r->sessions_over_ns = now; /* the others, the next time */
    return rc != 0;
}

int cairn_replica__session_room(struct cairn_replica *r)
{
    if (r->sessions.n >= CAIRN_SESSIONS_MAX - SPARE)
        cairn_replica__sessions_end(r); /* a place is free when that is applied */
    return r->sessions.n < CAIRN_SESSIONS_MAX ? 0 : CAIRN_E_BUSY;
}

uint64_t cairn_replica__session_opened(struct cairn_replica *r)
{
    struct cairn_session *s = &r->sessions.all[r->sessions.n - 1];

    s->used_ns = replica_now(r);
    s->ttl_ns = r->times->session_ttl_ns;
    if (r->sessions.n > CAIRN_SESSIONS_MANY)
        s->ttl_ns = MIN(s->ttl_ns, short_ttl_ns);
    r->sessions_over_ns = MIN(r->sessions_over_ns, s->used_ns + s->ttl_ns);
    cairn_replica__timer(r, r->times->session_ttl_ns / 4);
    return s->ttl_ns;
}

void cairn_replica__session_used(struct cairn_replica *r, struct cairn_at id)
{
    struct cairn_session *s = cairn_sessions_find(&r->sessions, id);

    if (s != NULL)
        s->used_ns = replica_now(r);
}
