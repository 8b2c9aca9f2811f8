/* Members: who registers, falls silent, is lost, is drained: see coordinator.h. */
#include "server/cluster/service/coordinator_internal.h"

#include "sdk/core/base/log.h"

#include <inttypes.h>
#include <stdio.h>

/* ---- silence ---- */

/* What it says in a member's entry of its silence lags behind by no more than a part of lost_after. */
enum { NOTE_PARTS = 8 };

/* How long it was silent in this term. */
static uint64_t silence_ns(struct cairn_coordinator *co, const struct cairn_member *m)
{
    const struct cairn_coord_node *n = cairn_coord_node(&co->coord, m->p.node);

    return cairn_env_now_ns(co->store->home.env) - MAX(MAX(n->heard_ns, n->registered_ns), co->coord.elected_ns);
}

/* And altogether, at least: with what was noted of it in earlier terms. No clock is asked, for no two of them agree;
 * what passed between two terms is left out. */
static uint64_t all_silence_ns(struct cairn_coordinator *co, const struct cairn_member *m)
{
    const struct cairn_coord_node *n = cairn_coord_node(&co->coord, m->p.node);
    uint64_t before_ns = n->heard_ns == 0 && n->registered_ns == 0 ? m->before_ms * CAIRN_NS_PER_MS : 0;

    return silence_ns(co, m) + before_ns;
}

/* The group is asked about those only of whom heartbeats are missing already: of two ways to hear of a node, one that
 * works is enough. Of a new coordinator all want to be heard at once. And not about those whose silence says enough. */
static bool is_found_dead(struct cairn_coordinator *co, const struct cairn_member *m)
{
    const struct cairn_gossip_self who = { .node = m->p.node, .process = m->p.process };
    uint64_t silent = silence_ns(co, m);
    bool is_new = cairn_coord_node(&co->coord, m->p.node)->heard_ns == 0;

    return co->ops->believes != NULL && silent > (is_new ? co->lease_times.heartbeat_ns : co->coord.alive_ns) &&
           silent <= cairn_lease_wait_ns(&co->lease_times) && co->ops->believes(co, &who) == CAIRN_GOSSIP_GONE;
}

/* Nothing but a heartbeat of after this moment makes it a member that is there; that the group takes back what it said
 * of a process, of which it has forgotten all, does not. */
static void set_lost(struct cairn_coordinator *co, struct cairn_member *m)
{
    m->state = CAIRN_WIRE_MEMBER_LOST;
    m->lost_heard_ns = cairn_coord_node(&co->coord, m->p.node)->heard_ns;
}

/* What silence makes of a member: it is silent when it said that it stops, when the group says so, too, or when it can
 * hold no lease any more; and lost after lost_after. What it leads waits for the end of its lease in any case. */
static enum cairn_wire_member_state heard_state(struct cairn_coordinator *co, const struct cairn_member *m)
{
    const struct cairn_coord_node *n = cairn_coord_node(&co->coord, m->p.node);
    bool is_back = m->state == CAIRN_WIRE_MEMBER_SILENT ? n->heard_ns != 0
                   : m->state == CAIRN_WIRE_MEMBER_LOST ? n->heard_ns > m->lost_heard_ns
                                                        : false;

    if (!n->stopped && !n->gone && silence_ns(co, m) <= cairn_lease_wait_ns(&co->lease_times))
        return is_back ? CAIRN_WIRE_MEMBER_UP : m->state;
    if (m->state == CAIRN_WIRE_MEMBER_LOST ||
        (co->conf->lost_after_ns != 0 && all_silence_ns(co, m) >= co->conf->lost_after_ns &&
         m->state == CAIRN_WIRE_MEMBER_SILENT))
        return CAIRN_WIRE_MEMBER_LOST;
    return CAIRN_WIRE_MEMBER_SILENT;
}

/* Now and then, for whoever coordinates next. */
static void note_silence(struct cairn_coordinator *co, struct cairn_member *m)
{
    uint64_t ms = all_silence_ns(co, m) / CAIRN_NS_PER_MS;
    uint64_t step = co->conf->lost_after_ns / CAIRN_NS_PER_MS / NOTE_PARTS;

    if (step == 0 || m->state != CAIRN_WIRE_MEMBER_SILENT || ms < m->silent_ms + step)
        return;
    m->silent_ms = ms;
    cairn_coordinator__store_member(co, m, CAIRN_DEED_NONE); /* nothing has become of it */
}

/* Who is lost or has left, and is named by no slot, is a member no longer: a node whose disk was wiped comes back as
 * another, and its old entry is of no use to anybody. */
static bool forget(struct cairn_coordinator *co, struct cairn_member *m)
{
    enum cairn_coordinator_member_state state = cairn_coordinator__state(m);

    if ((state != CAIRN_COORDINATOR_MEMBER_LOST && state != CAIRN_COORDINATOR_MEMBER_LEFT) || m->holds > 0 ||
        !cairn_member_is_stored(m) || !cairn_coord_forget(&co->coord, m->p.node))
        return false;
    cairn_log_info("node %s (%016" PRIx64 ") is gone, held nothing, and is forgotten", m->name, m->p.node);
    cairn_coordinator__erase_member(co, m);
    cairn_members_remove(&co->members, m);
    return true;
}

static bool forget_one(struct cairn_coordinator *co)
{
    for (uint32_t i = 0; i < co->members.n; i++) {
        if (forget(co, co->members.all[i]))
            return true;
    }
    return false;
}

void cairn_coordinator__members_tick(struct cairn_coordinator *co)
{
    for (uint32_t i = co->members.n; i-- > 0;) {
        struct cairn_member *m = co->members.all[i];
        bool found = is_found_dead(co, m);
        enum cairn_wire_member_state state;

        cairn_coord_found(&co->coord, (struct cairn_who){ .node = m->p.node, .inc = m->p.inc }, found);
        state = heard_state(co, m);
        if (state == m->state) {
            note_silence(co, m);
            if (silence_ns(co, m) >= CAIRN_COORDINATOR_FORGET_S * CAIRN_NS_PER_S)
                forget(co, m);
            continue;
        }
        if (state == CAIRN_WIRE_MEMBER_UP)
            cairn_log_info("node %s is there again", m->name);
        else if (state == CAIRN_WIRE_MEMBER_SILENT)
            cairn_log_info("node %s is silent%s", m->name, found ? ": the group says that it is dead" : "");
        else
            cairn_log_warn("node %s is lost: it was silent for %" PRIu64 " s; what it held is made anew elsewhere",
                           m->name, co->conf->lost_after_ns / CAIRN_NS_PER_S);
        if (state == CAIRN_WIRE_MEMBER_LOST)
            set_lost(co, m);
        else
            cairn_member_set_alive(m, state == CAIRN_WIRE_MEMBER_UP);
        cairn_coordinator__store_member(co, m,
                                        state == CAIRN_WIRE_MEMBER_UP     ? CAIRN_DEED_BACK
                                        : state == CAIRN_WIRE_MEMBER_LOST ? CAIRN_DEED_LOST
                                        : found                           ? CAIRN_DEED_FOUND_DEAD
                                                                          : CAIRN_DEED_SILENT);
        if (state == CAIRN_WIRE_MEMBER_LOST)
            cairn_coordinator__member_is_lost(co);
        else if (state == CAIRN_WIRE_MEMBER_UP) /* who falls silent is expected back */
            cairn_coordinator__members_changed(co);
    }
}

/* ---- REGISTER ---- */

static int check_addresses(const struct cairn_wire_member *m, struct cairn_err *err)
{
    for (uint32_t i = 0; i < m->naddresses; i++) {
        if (strlen(m->addresses[i]) >= CAIRN_MEMBER_ADDRESS_BYTES_MAX)
            return cairn_err_set(err, CAIRN_E_LIMIT, "node %s: an address of %zu bytes", m->name,
                                 strlen(m->addresses[i]));
    }
    return 0;
}

/* A name is its holder's while he lives; then whoever comes, perhaps the same node with a new disk, may have it. */
static int check_name(const struct cairn_members *t, const struct cairn_wire_member *self, struct cairn_err *err)
{
    const struct cairn_member *m = cairn_members_named(t, self->name);

    if (m == NULL || m->p.node == self->node || !cairn_member_is_heard(m))
        return 0;
    return cairn_err_set(err, CAIRN_E_EXISTS,
                         "another node is called %s and is alive (%016" PRIx64 "; this one is %016" PRIx64
                         "): nodes need names of their own",
                         self->name, m->p.node, self->node);
}

/* A drain that is done lasts as long as the process: who starts the node again wants it back. One that is not done
 * goes on. */
static void drain_may_end(struct cairn_coordinator *co, struct cairn_coordinator_ask *ask, uint64_t inc)
{
    if (!ask->p.draining || inc == ask->p.inc || cairn_coord_holds(&co->coord, ask->p.node) > 0)
        return;
    cairn_log_info("node %s was drained, and is back: it gets slots again", ask->self.name);
    (void)cairn_coord_drain(&co->coord, ask->p.node, false); /* it is known: it has just registered */
    ask->p.draining = false;
}

/* Whoever had the name of @m is not waited for: it cannot come back as long as @m lives, and most likely it was @m with
 * the disk that is empty now. Only the plans go by that: what nobody but the old one has in sync stays its own. */
static void replaces(struct cairn_coordinator *co, const struct cairn_member *m)
{
    for (uint32_t i = 0; i < co->members.n; i++) {
        struct cairn_member *old = co->members.all[i];

        if (old->state != CAIRN_WIRE_MEMBER_SILENT || strcmp(old->name, m->name) != 0)
            continue;
        cairn_log_warn("node %s (%016" PRIx64 ") is lost: %016" PRIx64
                       " has its name, perhaps on a new disk; what it held is made anew",
                       old->name, old->p.node, m->p.node);
        set_lost(co, old);
        cairn_coordinator__members_changed(co);
        cairn_coordinator__store_member(co, old, CAIRN_DEED_REPLACED);
    }
}

void cairn_coordinator_register(struct cairn_coordinator *co, struct cairn_coordinator_ask *ask)
{
    struct cairn_member *m = cairn_members_find(&co->members, ask->p.node);
    enum cairn_deed_kind deed = CAIRN_DEED_CHANGED;
    bool news = true;
    uint64_t inc;
    int rc;

    if (!cairn_coordinator__may_serve(co, ask))
        return;
    rc = check_addresses(&ask->self, &ask->err);
    if (rc == 0)
        rc = check_name(&co->members, &ask->self, &ask->err);
    if (rc == 0 && m == NULL && co->members.n == CAIRN_CLUSTER_MEMBERS_MAX && !forget_one(co))
        rc = cairn_err_set(&ask->err, CAIRN_E_LIMIT, "the cluster has %u members", co->members.n);
    if (rc == 0 && (rc = cairn_coord_register(&co->coord, &ask->p, &ask->told)) == CAIRN_E_STATE)
        cairn_err_set(&ask->err, rc, "a later process of node %s is registered", ask->self.name);
    if (rc == CAIRN_E_NOMEM)
        cairn_coordinator__fail(co, cairn_err_set(&ask->err, rc, "a process"), "a process");
    if (rc != 0) {
        ask->rc = rc;
        ask->done(ask);
        return;
    }
    cairn_coordinator__look_at_logs(co, ask->self.name);
    inc = m != NULL ? m->p.inc : 0;
    drain_may_end(co, ask, inc);
    rc = cairn_members_add(&co->members, ask->p.node, &m);
    if (rc != 0) { /* the core knows it already: so nothing more may come of this term */
        cairn_coordinator__fail(co, rc, "a member");
        cairn_coordinator__answer(ask, rc, "a member");
        return;
    }
    cairn_member_hear(m, &ask->self, &news, &ask->err); /* what it could refuse was looked at above */
    if (inc != ask->p.inc)
        deed = inc == 0 ? CAIRN_DEED_REGISTERED : CAIRN_DEED_RESTARTED;
    else if (!cairn_member_is_heard(m))
        deed = CAIRN_DEED_BACK;
    news |= deed != CAIRN_DEED_CHANGED;
    m->p = ask->p;
    cairn_member_set_alive(m, true);
    if (news)
        cairn_coordinator__members_changed(co);
    replaces(co, m);
    if (!news && cairn_member_is_stored(m)) {
        cairn_coordinator__answer(ask, 0, "");
        return;
    }
    cairn_log_info("node %s is process %" PRIu64 ", incarnation %" PRIu64, m->name, m->p.process, m->p.inc);
    cairn_list_add_tail(&m->waiting, &ask->link);
    cairn_coordinator__store_member(co, m, deed);
}

/* ---- STOP ---- */

/* It has handed over what it could, and is away from now on: what it holds is not counted for the time that its silence
 * would take. Who coordinates and stops says it to itself, and leaves it to its successor in the map. */
void cairn_coordinator_member_stops(struct cairn_coordinator *co, struct cairn_coordinator_ask *ask)
{
    struct cairn_member *m;
    int rc;

    if (!cairn_coordinator__may_serve(co, ask))
        return;
    rc = cairn_coord_stop(&co->coord, (struct cairn_who){ .node = ask->p.node, .inc = ask->p.inc });
    if (rc != 0) {
        cairn_coordinator__answer(ask, rc, "no process of the cluster is that");
        return;
    }
    m = cairn_members_find(&co->members, ask->p.node);
    if (!cairn_member_is_heard(m) && cairn_member_is_stored(m)) {
        cairn_coordinator__answer(ask, 0, "");
        return;
    }
    cairn_log_info("node %s stops", m->name);
    if (cairn_member_is_heard(m))
        cairn_member_set_alive(m, false);
    cairn_list_add_tail(&m->waiting, &ask->link);
    cairn_coordinator__store_member(co, m, CAIRN_DEED_STOPPED);
}

/* ---- DRAIN ---- */

/* Of whom @ask speaks; NULL: it is answered. Of several that had the name who is @lost is most likely one that is not
 * there. */
static struct cairn_member *asked_member(struct cairn_coordinator *co, struct cairn_coordinator_ask *ask, bool lost)
{
    struct cairn_member *m;

    if (!cairn_coordinator__may_serve(co, ask))
        return NULL;
    for (uint32_t i = 0; i < co->members.n && ask->p.node == 0; i++) {
        m = co->members.all[i];
        if (strcmp(m->name, ask->name) == 0) /* it may not have been counted since it got slots, or gave them away */
            m->holds = cairn_coord_holds(&co->coord, m->p.node);
    }
    if (ask->p.node != 0)
        m = cairn_members_find(&co->members, ask->p.node);
    else
        m = cairn_members_called(&co->members, ask->name, !lost);
    if (m == NULL) {
        cairn_coordinator__answer(ask, CAIRN_E_NOTFOUND, "no member of the cluster is called so");
        return NULL;
    }
    ask->nslots = cairn_coord_holds(&co->coord, m->p.node);
    m->holds = ask->nslots;
    return m;
}

/* What somebody wants of @m is answered when it is stored. */
static void store_asked(struct cairn_coordinator *co, struct cairn_member *m, struct cairn_coordinator_ask *ask,
                        enum cairn_deed_kind deed)
{
    cairn_list_add_tail(&m->waiting, &ask->link);
    snprintf(m->author, sizeof(m->author), "%s", ask->author != NULL ? ask->author : "");
    cairn_coordinator__store_member(co, m, deed);
}

/* The most replicas that something here wants. */
static uint32_t most_replicas(struct cairn_coordinator *co)
{
    uint32_t n = CAIRN_CLUSTER_CLASSES, named = cairn_coordinator__named(co);

    while (n > 0 && (co->classes[n - 1].made == 0 || (named & 1U << (n - 1)) == 0))
        n--;
    return n;
}

/* Where there would be one copy of several, or none had a place to go, somebody has to insist; once. */
static int may_drain(struct cairn_coordinator *co, const struct cairn_member *m, struct cairn_coordinator_ask *ask)
{
    uint32_t left, wanted = most_replicas(co), max = cairn_coordinator__slots_max(co);
    uint64_t share = cairn_coordinator__greatest_share(co, m, CAIRN_CLUSTER_CLASSES, &left);

    if (ask->off || ask->force || m->p.draining || ask->nslots == 0)
        return 0;
    if (left > 0 && share > max)
        return cairn_err_set(&ask->err, CAIRN_E_STATE,
                             "without it one of %" PRIu32 " nodes would have %" PRIu64 " slots, and can have %" PRIu32
                             ": some would stay where they are, until there are more nodes",
                             left, share, max);
    if (left > 1 || left >= MAX(wanted, 1))
        return 0;
    if (left == 0)
        return cairn_err_set(&ask->err, CAIRN_E_STATE, "no other node is up that may hold the slots of node %s",
                             m->name);
    return cairn_err_set(
        &ask->err, CAIRN_E_STATE,
        "without it 1 node is left: what wants %" PRIu32 " replicas would have one copy, lost with that node", wanted);
}

void cairn_coordinator_drain(struct cairn_coordinator *co, struct cairn_coordinator_ask *ask)
{
    struct cairn_member *m = asked_member(co, ask, false);

    if (m == NULL)
        return;
    ask->rc = may_drain(co, m, ask);
    if (ask->rc != 0) {
        ask->done(ask);
        return;
    }
    (void)cairn_coord_drain(&co->coord, m->p.node, !ask->off); /* whoever is a member is known */
    m->p.draining = !ask->off;
    if (m->state != CAIRN_WIRE_MEMBER_SILENT && m->state != CAIRN_WIRE_MEMBER_LOST)
        cairn_member_set_alive(m, true);
    cairn_log_info("node %s %s", m->name, ask->off ? "is drained no longer" : "is to be drained");
    cairn_coordinator__members_changed(co);
    store_asked(co, m, ask, CAIRN_DEED_NONE);
}

/* ---- LOSE ---- */

static int may_lose(struct cairn_coordinator *co, const struct cairn_member *m, struct cairn_coordinator_ask *ask)
{
    enum cairn_wire_member_state state = heard_state(co, m);

    if (state != CAIRN_WIRE_MEMBER_SILENT && state != CAIRN_WIRE_MEMBER_LOST)
        return cairn_err_set(&ask->err, CAIRN_E_STATE,
                             "node %s (%016" PRIx64 ") is there, or was until just now: without --lost it is drained, "
                             "and gives away what it holds; lost is only who stopped, was found dead, or is silent for "
                             "longer than a lease",
                             m->name, m->p.node);
    if (ask->alone > 0 && !ask->force)
        return cairn_err_set(
            &ask->err, CAIRN_E_STATE,
            "of %" PRIu32 " of its %" PRIu32 " slots no other replica is there and in sync: as long "
            "as node %s is silent what they hold is out of reach, and if it never comes back it is lost",
            ask->alone, ask->nslots, m->name);
    return 0;
}

void cairn_coordinator_lose(struct cairn_coordinator *co, struct cairn_coordinator_ask *ask)
{
    struct cairn_member *m = asked_member(co, ask, true);

    if (m == NULL)
        return;
    ask->alone = cairn_coordinator__alone(co, m->p.node);
    ask->rc = may_lose(co, m, ask);
    if (ask->rc != 0 || (m->state == CAIRN_WIRE_MEMBER_LOST && cairn_member_is_stored(m))) {
        ask->done(ask);
        return;
    }
    cairn_log_warn("node %s is lost, as %s says: what it held is made anew elsewhere, but for %" PRIu32
                   " slots that nobody else has",
                   m->name, ask->author != NULL ? ask->author : "somebody", ask->alone);
    set_lost(co, m);
    cairn_coordinator__member_is_lost(co);
    store_asked(co, m, ask, CAIRN_DEED_SAID_LOST);
}
