/* What a primary knows of the others that hold its slot, and how entries get to them.
 *
 * A peer is probed, one APPEND at a time, until its word of this epoch is here; then entries stream to it within a
 * window. Silence makes a stream a probe again. */
#include "server/cluster/repl/replica_internal.h"

#include <stdlib.h>

enum {
    COMMIT_RESENDS = 4, /* of resend_ns, without an entry: then a backup hears what is committed */
    LOOK_RESENDS = 3,   /* likewise, without a look: we stood still */
};

struct replica_peer *cairn_replica__peer(struct cairn_replica *r, uint64_t node)
{
    for (uint32_t i = 0; i < r->npeers; i++) {
        if (r->peers[i].who.node == node)
            return &r->peers[i];
    }
    return NULL;
}

int cairn_replica__peers_reserve(struct cairn_replica *r, const struct cairn_slot_record *rec)
{
    uint32_t room = rec->nreplicas + (rec->move.phase != CAIRN_MOVE_NONE);
    struct replica_peer *peers;

    for (uint32_t i = 0; i < rec->ninsync; i++) /* one that is no replica any more, perhaps */
        room += !cairn_slot_places(rec, rec->insync[i].node);
    room = MIN(room, (uint32_t)CAIRN_PEERS_MAX);
    if (room <= r->peers_room)
        return 0;
    peers = realloc(r->peers, room * sizeof(*peers));
    if (peers == NULL)
        return CAIRN_E_NOMEM;
    r->peers = peers;
    r->peers_room = room;
    return 0;
}

void cairn_replica__peers_free(struct cairn_replica *r)
{
    free(r->peers);
    r->peers = NULL;
    r->npeers = r->peers_room = 0;
}

/* What was known of a peer in the epoch before says where to begin, and nothing else. */
static void peer_add(struct cairn_replica *r, const struct replica_peer *old, uint32_t nold, struct cairn_who who,
                     bool member, uint64_t first)
{
    struct replica_peer *p = &r->peers[r->npeers];

    if (who.node == r->self.node || cairn_replica__peer(r, who.node) != NULL || r->npeers == r->peers_room)
        return;
    r->npeers++;
    *p = (struct replica_peer){ .who = who, .member = member, .phase = member ? PEER_PROBED : PEER_SILENT };
    p->first = p->next = first;
    for (uint32_t i = 0; i < nold; i++) {
        bool same = old[i].who.node == who.node && (who.inc == 0 || old[i].who.inc == who.inc);

        if (!same || old[i].phase == PEER_SILENT)
            continue;
        p->who.inc = old[i].who.inc;
        p->leaves = old[i].leaves;
        p->base = old[i].base;
        p->copies_failed = old[i].copies_failed;
        p->copy_ns = old[i].copy_ns;
        p->phase = old[i].phase == PEER_COPY ? PEER_COPY : PEER_PROBED;
        p->first = p->next = MAX(MIN(MAX(old[i].matched + 1, old[i].first), first), r->log.base.pos + 1);
    }
}

void cairn_replica__peers_make(struct cairn_replica *r, uint64_t first)
{
    struct replica_peer old[CAIRN_PEERS_MAX];
    const struct cairn_slot_record *rec = &r->rec;
    uint32_t nold = r->npeers;

    if (nold > 0)
        memcpy(old, r->peers, nold * sizeof(old[0]));
    r->npeers = 0;
    for (uint32_t i = 0; i < rec->ninsync; i++)
        peer_add(r, old, nold, rec->insync[i], true, first);
    for (uint32_t i = 0; i < rec->nreplicas; i++)
        peer_add(r, old, nold, (struct cairn_who){ .node = rec->replicas[i] }, false, first);
    if (rec->move.phase != CAIRN_MOVE_NONE)
        peer_add(r, old, nold, rec->move.target, false, first);
}

struct replica_peer *cairn_replica__speaker(struct cairn_replica *r, const struct cairn_repl_msg *m)
{
    struct replica_peer *p = cairn_replica__peer(r, m->from.node);

    if (p == NULL || m->from.inc < p->who.inc || (p->member && m->from.inc != p->who.inc)) /* I8 */
        return NULL;
    if (m->from.inc > p->who.inc) { /* a learner, for the first time or restarted: what its old self had is void */
        p->who.inc = m->from.inc;
        p->leaves = false;
        p->matched = p->base = 0;
        p->copies_failed = 0;
        p->copy_ns = 0;
        p->phase = PEER_PROBED;
        p->commit_sent = 0;
    }
    return p;
}

/* The entries from p->next on that one APPEND may carry. */
static uint32_t entries_for(struct cairn_replica *r, const struct replica_peer *p, struct cairn_log_entry *e)
{
    uint64_t bytes = 0;
    uint32_t n = 0;

    while (n < CAIRN_APPEND_ENTRIES_MAX && p->next + n <= r->log.end.pos &&
           p->next + n <= p->matched + CAIRN_APPEND_WINDOW) {
        if (!r->ops->log_get(r, p->next + n, &e[n]))
            break;
        bytes += e[n].body_len;
        if (n > 0 && bytes > CAIRN_APPEND_BYTES_MAX)
            break;
        n++;
    }
    return n;
}

static uint32_t send_append(struct cairn_replica *r, struct replica_peer *p)
{
    struct cairn_log_entry entries[CAIRN_APPEND_ENTRIES_MAX];
    struct cairn_repl_msg m = { .kind = CAIRN_REPL_APPEND, .entries = entries, .commit = r->commit };

    m.nentries = entries_for(r, p, entries);
    m.prev = (struct cairn_at){ .epoch = cairn_slot_log_epoch(&r->log, p->next - 1), .pos = p->next - 1 };
    p->next += m.nentries;
    p->commit_sent = r->commit;
    p->sent_ns = p->owes_ns == 0 ? cairn_replica__look(r) : replica_now(r);
    if (p->owes_ns == 0)
        p->owes_ns = p->sent_ns;
    cairn_replica__send(r, p->who, &m);
    cairn_replica__timer(r, r->times->resend_ns);
    return m.nentries;
}

/* It will empty itself: what it has said of its log is void, also if the copy comes to nothing. */
void cairn_replica__needs_copy(struct cairn_replica *r, struct replica_peer *p)
{
    p->phase = PEER_COPY;
    p->matched = p->owes_ns = 0;
    cairn_replica__timer(r, 0);
}

void cairn_replica__pump(struct cairn_replica *r, struct replica_peer *p, bool anyway)
{
    if (p->phase == PEER_SILENT || p->phase == PEER_COPY)
        return;
    if (p->next <= r->log.base.pos) {
        cairn_replica__needs_copy(r, p);
        return;
    }
    if (anyway) {
        send_append(r, p);
        anyway = false;
    }
    while (p->phase == PEER_STREAM && p->next <= r->log.end.pos && p->next <= p->matched + CAIRN_APPEND_WINDOW) {
        if (send_append(r, p) == 0)
            break;
    }
}

void cairn_replica__pump_all(struct cairn_replica *r)
{
    for (uint32_t i = 0; i < r->npeers; i++)
        cairn_replica__pump(r, &r->peers[i], false);
}

/* What is committed comes with the next entry. Nobody waits for it (a backup that has not heard answers that it does
 * not know), so it is said by itself only when no entry has come for a while; to a slot that is written to several
 * times a second one does, and each such word would be half of what a write costs in messages. */
static bool is_to_hear(const struct cairn_replica *r, const struct replica_peer *p)
{
    return p->phase != PEER_SILENT && p->phase != PEER_COPY && p->owes_ns == 0 && p->commit_sent < r->commit;
}

static uint64_t heard_ns(const struct cairn_replica *r, const struct replica_peer *p)
{
    return p->sent_ns + COMMIT_RESENDS * r->times->resend_ns;
}

void cairn_replica__tell_commit(struct cairn_replica *r)
{
    uint64_t at = UINT64_MAX, now;

    for (uint32_t i = 0; i < r->npeers; i++) {
        if (is_to_hear(r, &r->peers[i]))
            at = MIN(at, heard_ns(r, &r->peers[i]));
    }
    if (at == UINT64_MAX)
        return;
    now = replica_now(r);
    cairn_replica__timer(r, at > now ? at - now : 0);
}

/* While a peer owes an answer the timer has us look every resend_ns. When nobody looked for longer it was we who stood
 * still, perhaps with the whole machine: of that time nothing is held against a peer. Returns what time it is. */
uint64_t cairn_replica__look(struct cairn_replica *r)
{
    uint64_t now = replica_now(r), most = LOOK_RESENDS * r->times->resend_ns;

    for (uint32_t i = 0; i < r->npeers && now - r->looked_ns > most; i++) {
        struct replica_peer *p = &r->peers[i];

        if (p->owes_ns != 0)
            p->owes_ns = MIN(p->owes_ns + (now - r->looked_ns - most), now);
    }
    r->looked_ns = now;
    return now;
}

static bool peer_tick(struct cairn_replica *r, struct replica_peer *p, uint64_t now)
{
    if (p->phase == PEER_SILENT || p->phase == PEER_COPY)
        return false;
    if (p->owes_ns != 0 && !p->member && !cairn_who_is(p->who, r->joiner) && now - p->owes_ns >= r->times->ack_ns) {
        p->phase = PEER_SILENT; /* it will say so when it is back */
        p->owes_ns = 0;
        return false;
    }
    if (p->owes_ns != 0 && now - p->sent_ns >= r->times->resend_ns) {
        p->phase = PEER_PROBED;
        p->next = MAX(p->matched + 1, p->first);
        cairn_replica__pump(r, p, true);
    } else if (is_to_hear(r, p) && now >= heard_ns(r, p)) {
        cairn_replica__pump(r, p, true);
    }
    return p->owes_ns != 0;
}

bool cairn_replica__peers_tick(struct cairn_replica *r)
{
    uint64_t now = cairn_replica__look(r);
    bool busy = false;

    for (uint32_t i = 0; i < r->npeers; i++)
        busy |= peer_tick(r, &r->peers[i], now);
    return busy;
}
