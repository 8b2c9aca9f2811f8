/* The coordinator's life, and what is asked of it of slots: see coordinator.h. */
#include "server/cluster/service/coordinator_internal.h"

#include "sdk/core/base/log.h"

#include <inttypes.h>

enum { LOOK_PART = 10 };

static const struct cairn_sm_state coordinator_states[CAIRN_COORDINATOR_NR] = {
    [CAIRN_COORDINATOR_STANDING] = { "STANDING", CAIRN_SM_INITIAL,
                                     CAIRN_SM_TO(CAIRN_COORDINATOR_READING) | CAIRN_SM_TO(CAIRN_COORDINATOR_CLOSING) },
    [CAIRN_COORDINATOR_READING] = { "READING", 0,
                                    CAIRN_SM_TO(CAIRN_COORDINATOR_SERVING) | CAIRN_SM_TO(CAIRN_COORDINATOR_CLOSING) },
    [CAIRN_COORDINATOR_SERVING] = { "SERVING", 0, CAIRN_SM_TO(CAIRN_COORDINATOR_CLOSING) },
    [CAIRN_COORDINATOR_CLOSING] = { "CLOSING", 0,
                                    CAIRN_SM_TO(CAIRN_COORDINATOR_STANDING) | CAIRN_SM_TO(CAIRN_COORDINATOR_RESTING) |
                                        CAIRN_SM_TO(CAIRN_COORDINATOR_ENDED) },
    [CAIRN_COORDINATOR_RESTING] = { "RESTING", 0,
                                    CAIRN_SM_TO(CAIRN_COORDINATOR_STANDING) | CAIRN_SM_TO(CAIRN_COORDINATOR_ENDED) },
    [CAIRN_COORDINATOR_ENDED] = { "ENDED", CAIRN_SM_FINAL, 0 },
};

static bool coordinator_invariant(const struct cairn_sm *sm)
{
    const struct cairn_coordinator *co = CONTAINER_OF(sm, const struct cairn_coordinator, sm);
    bool elected = sm->state == CAIRN_COORDINATOR_READING || sm->state == CAIRN_COORDINATOR_SERVING;
    bool quiet = !co->reading && co->planning == NULL && !co->trim.trimming &&
                 co->writes.sm.state == CAIRN_WRITES_IDLE && co->writes.nqueued == 0;

    return CAIRN_HOLDS(!elected || (co->election.fence != 0 && !co->resigned)) &&
           CAIRN_HOLDS(co->has_coord ==
                       (sm->state == CAIRN_COORDINATOR_SERVING)) && /* who does not serve knows nothing */
           CAIRN_HOLDS(elected || sm->state == CAIRN_COORDINATOR_CLOSING || quiet) &&
           CAIRN_HOLDS(sm->state != CAIRN_COORDINATOR_RESTING || co->election_is_over);
}

const struct cairn_sm_kind cairn_coordinator_kind = { "coordinator", coordinator_states, CAIRN_COORDINATOR_NR,
                                                      coordinator_invariant, 0 };

static struct cairn_env *env_of(const struct cairn_coordinator *co)
{
    return co->store->home.env;
}

static void timer_in(struct cairn_coordinator *co, uint64_t ms)
{
    if (cairn_timer_start(env_of(co), &co->timer, cairn_env_now_ns(env_of(co)) + ms * CAIRN_NS_PER_MS) != 0)
        cairn_coordinator__fail(co, CAIRN_E_NOMEM, "a timer");
}

bool cairn_coordinator_is_serving(const struct cairn_coordinator *co)
{
    return co->sm.state == CAIRN_COORDINATOR_SERVING && cairn_election_is_valid(&co->election);
}

bool cairn_coordinator_has_term(const struct cairn_coordinator *co)
{
    return co->sm.state == CAIRN_COORDINATOR_READING || co->sm.state == CAIRN_COORDINATOR_SERVING;
}

uint64_t cairn_coordinator_term_until(const struct cairn_coordinator *co)
{
    return cairn_election_is_valid(&co->election) ? co->election.lease.valid_until_ns : 0;
}

/* ---- requests that cannot be served ---- */

void cairn_coordinator__answer(struct cairn_coordinator_ask *ask, int rc, const char *text)
{
    ask->rc = rc == 0 ? 0 : cairn_err_set(&ask->err, rc, "%s", text);
    ask->done(ask);
}

static void answer_all(struct cairn_link *asks)
{
    struct cairn_link *l;

    while ((l = cairn_list_pop(asks)) != NULL)
        cairn_coordinator__answer(CONTAINER_OF(l, struct cairn_coordinator_ask, link), CAIRN_E_BUSY,
                                  "no longer elected: it may have been done");
}

/* Why not, and who does. */
static int refusal(const struct cairn_coordinator *co, struct cairn_err *err)
{
    const struct cairn_map_node *holder = co->election.holder;

    if (co->sm.state == CAIRN_COORDINATOR_STANDING && holder != NULL)
        return cairn_err_set(err, CAIRN_E_MOVED, "another node coordinates");
    return cairn_err_set(err, CAIRN_E_BUSY, "no node coordinates yet");
}

bool cairn_coordinator__may_serve(struct cairn_coordinator *co, struct cairn_coordinator_ask *ask)
{
    cairn_list_init(&ask->link);
    if (cairn_coordinator_is_serving(co))
        return true;
    ask->rc = refusal(co, &ask->err);
    ask->done(ask);
    return false;
}

/* ---- life ---- */

static void stand(struct cairn_coordinator *co);

static void give_up(struct cairn_coordinator *co)
{
    if (co->ops->give_up != NULL)
        co->ops->give_up(co);
}

/* Whoever is elected has no lease of an earlier term. */
static void begin_term(struct cairn_coordinator *co)
{
    give_up(co);
    cairn_coordinator__read(co);
}

void cairn_coordinator__settle(struct cairn_coordinator *co)
{
    if (co->sm.state != CAIRN_COORDINATOR_CLOSING || co->reading || co->planning != NULL || co->trim.trimming ||
        co->writes.sm.state != CAIRN_WRITES_IDLE || (co->resigned && !co->election_is_over))
        return;
    cairn_chronicle_forget(&co->chronicle);
    if (co->ending) {
        cairn_sm_move(&co->sm, CAIRN_COORDINATOR_ENDED);
        cairn_sm_fini(&co->sm);
        cairn_writes_fini(&co->writes);
        co->ops->ended(co);
    } else if (co->resigned) {
        cairn_sm_move(&co->sm, CAIRN_COORDINATOR_RESTING);
        timer_in(co, CAIRN_COORDINATOR_REST_MS);
    } else {
        cairn_sm_move(&co->sm, CAIRN_COORDINATOR_STANDING);
        if (co->election.fence != 0) /* again, meanwhile */
            begin_term(co);
    }
}

/* Everybody who waits for an answer. */
static void take_asks(struct cairn_coordinator *co, struct cairn_link *asks)
{
    for (uint32_t i = 0; i < co->members.n; i++) {
        cairn_list_splice(asks, &co->members.all[i]->waiting);
        cairn_list_splice(asks, &co->members.all[i]->awaiting);
    }
    for (uint32_t i = 0; i < CAIRN_CLUSTER_CLASSES; i++)
        cairn_list_splice(asks, &co->classes[i].asks);
    for (uint32_t i = 0; co->held != NULL && i < all_slots(co); i++) {
        if (co->held[i] != NULL)
            cairn_list_add_tail(asks, &co->held[i]->link);
    }
}

/* No longer, at once: whoever waits is told nothing but that, and last: it may be us, and stop us upon it. */
static void term_end(struct cairn_coordinator *co)
{
    struct cairn_link asks;

    give_up(co);
    cairn_timer_stop(env_of(co), &co->timer);
    cairn_task_cancel(&co->failing);
    cairn_writes_close(&co->writes);
    cairn_list_init(&asks);
    take_asks(co, &asks);
    cairn_coordinator__forget(co);
    cairn_sm_move(&co->sm, CAIRN_COORDINATOR_CLOSING);
    answer_all(&asks);
}

static void resign(struct cairn_coordinator *co)
{
    if (co->sm.state != CAIRN_COORDINATOR_STANDING)
        give_up(co);
    co->resigned = true;
    co->election_is_over = false;
    cairn_election_stop(&co->election);
}

static void on_failing(void *arg)
{
    struct cairn_coordinator *co = arg;
    bool anew = co->anew;

    co->anew = false;
    if (co->sm.state != CAIRN_COORDINATOR_READING && co->sm.state != CAIRN_COORDINATOR_SERVING)
        return;
    if (anew) { /* elected all the same */
        term_end(co);
        cairn_coordinator__settle(co);
        return;
    }
    cairn_log_warn("this node coordinates the cluster no longer, and will stand for it again: %s", co->why.text);
    resign(co);
    term_end(co);
    cairn_coordinator__settle(co);
}

void cairn_coordinator__fail(struct cairn_coordinator *co, int rc, const char *what)
{
    cairn_err_set(&co->why, rc, "%s: %s", what, cairn_error_text(rc));
    cairn_env_defer(env_of(co), &co->failing);
}

/* Whoever is elected next asks nobody but those who beat: they will tell it as well. */
static void put_back(struct cairn_coordinator *co, const char *by, uint64_t map, uint64_t upto, uint64_t epoch)
{
    if (co->anew)
        return;
    cairn_log_warn("the map store was put back: %s knows of the map %016" PRIx64 " up to revision %" PRIu64
                   " or epoch %" PRIu64 ", and there is %016" PRIx64 " up to %" PRIu64 "; another generation begins",
                   by, map, upto, epoch, co->generation.id, co->upto);
    co->known_map = map;
    co->known_upto = upto;
    co->known_epoch = epoch;
    co->anew = true;
    cairn_env_defer(env_of(co), &co->failing);
}

void cairn_coordinator__look_at_logs(struct cairn_coordinator *co, const char *name)
{
    if (co->coord.lost_epoch != 0)
        put_back(co, name, 0, 0, co->coord.lost_epoch);
}

static void on_writes_failed(struct cairn_writes *ws, int rc, const struct cairn_err *err)
{
    cairn_coordinator__fail(CONTAINER_OF(ws, struct cairn_coordinator, writes), rc, err->text);
}

static void on_writes_closed(struct cairn_writes *ws)
{
    cairn_coordinator__settle(CONTAINER_OF(ws, struct cairn_coordinator, writes));
}

/* What was stored may be what a move waits for, and the next move for its end: they need not wait for a tick each. But
 * looking takes no more than a part of the time. */
static void look_soon(struct cairn_coordinator *co)
{
    uint64_t at = MAX(cairn_env_now_ns(env_of(co)) + CAIRN_COORDINATOR_SOON_MS * CAIRN_NS_PER_MS, co->look_ns);

    if (co->sm.state == CAIRN_COORDINATOR_SERVING && co->coord.moving > 0 && cairn_timer_is_running(&co->timer) &&
        at < co->timer.at_ns)
        (void)cairn_timer_start(env_of(co), &co->timer, at); /* without memory: at the tick */
}

static void on_upto(struct cairn_writes *ws, uint64_t revision)
{
    struct cairn_coordinator *co = CONTAINER_OF(ws, struct cairn_coordinator, writes);

    if (revision <= co->upto) { /* the store gives it once more */
        put_back(co, co->name, co->generation.id, co->upto, 0);
        return;
    }
    co->upto = revision;
    co->ops->upto(co, revision);
    cairn_chronicle_stored(&co->chronicle, revision);
    cairn_coordinator__classes_go_on(co);
    look_soon(co);
}

static void on_trimmed(struct cairn_map_log_trim *t)
{
    struct cairn_coordinator *co = t->arg;

    if (t->more > t->n && t->n > 0) /* once more, soon */
        co->log_entries = CAIRN_MAP_WRITES_MAX;
    cairn_coordinator__settle(co);
}

static void on_election(struct cairn_election *e)
{
    struct cairn_coordinator *co = e->arg;

    if (cairn_sm_is_final(&e->sm)) {
        co->election_is_over = true;
        cairn_coordinator__settle(co);
    } else if (co->sm.state == CAIRN_COORDINATOR_STANDING && e->fence != 0) {
        begin_term(co);
    } else if (cairn_coordinator_has_term(co) && e->fence == 0) {
        cairn_log_warn("this node coordinates the cluster no longer: its election is over");
        term_end(co);
        cairn_coordinator__settle(co);
    } else if (e->sm.state == CAIRN_ELECTION_FOLLOWING && co->ops->other != NULL) {
        co->ops->other(co);
    }
}

static void stand(struct cairn_coordinator *co)
{
    co->resigned = false;
    co->election = (struct cairn_election){ .store = co->store,
                                            .key = CAIRN_CLUSTER_KEY_COORDINATOR,
                                            .value = co->value,
                                            .value_len = co->value_len,
                                            .ttl_ms = co->conf->election_ns / CAIRN_NS_PER_MS,
                                            .barred = co->barred,
                                            .changed = on_election,
                                            .arg = co };
    cairn_election_start(&co->election);
}

void cairn_coordinator_bar(struct cairn_coordinator *co, bool barred)
{
    co->barred = co->election.barred = barred;
}

static void look(struct cairn_coordinator *co)
{
    uint64_t began = cairn_env_now_ns(env_of(co));

    cairn_coord_tick(&co->coord);
    cairn_coordinator__members_tick(co);
    cairn_coordinator__classes_go_on(co);
    cairn_coordinator__plans_go_on(co);
    if (began >= co->count_ns) { /* each second; less often where counting is work */
        co->count_ns = began + (10 + all_slots(co) / 8192) * CAIRN_COORDINATOR_TICK_MS * CAIRN_NS_PER_MS;
        cairn_coordinator__count(co);
        if (co->log_entries >= CAIRN_MAP_WRITES_MAX && !co->trim.trimming) {
            co->log_entries = 0;
            cairn_map_log_trim_unseen(co->store, &co->trim);
        }
    }
    co->ticks++;
    co->look_ns = began + LOOK_PART * (cairn_env_now_ns(env_of(co)) - began);
}

static void on_timer(void *arg)
{
    struct cairn_coordinator *co = arg;

    switch (co->sm.state) {
    case CAIRN_COORDINATOR_RESTING:
        cairn_sm_move(&co->sm, CAIRN_COORDINATOR_STANDING);
        stand(co);
        break;
    case CAIRN_COORDINATOR_READING:
        cairn_coordinator__read(co);
        break;
    case CAIRN_COORDINATOR_SERVING:
        timer_in(co, CAIRN_COORDINATOR_TICK_MS);
        if (cairn_coordinator_is_serving(co)) /* otherwise about to be told */
            look(co);
        break;
    default:
        break;
    }
}

void cairn_coordinator__serve(struct cairn_coordinator *co)
{
    co->ticks = 0;
    co->log_entries = CAIRN_MAP_WRITES_MAX; /* what predecessors left is not known */
    co->count_ns = co->look_ns = 0;
    cairn_sm_move(&co->sm, CAIRN_COORDINATOR_SERVING);
    cairn_log_info("this node coordinates the cluster: %u members, %u slots", co->members.n, co->counts.slots);
    if (!co->lease_is_stored) /* before any member's record, so before anybody is granted one */
        cairn_coordinator__store_lease(co);
    cairn_coordinator__members_changed(co); /* what a predecessor had in mind is not known */
    on_timer(co);
}

void cairn_coordinator_start(struct cairn_coordinator *co)
{
    co->writes = (struct cairn_writes){ .store = co->store,
                                        .election = &co->election,
                                        .beside = cairn_coordinator__chronicle,
                                        .upto = on_upto,
                                        .failed = on_writes_failed,
                                        .closed = on_writes_closed };
    cairn_writes_init(&co->writes);
    co->trim =
        (struct cairn_map_log_trim){ .prefix = CAIRN_MAP_LOG_SLOTS_PREFIX, .done = on_trimmed, .arg = co };
    cairn_timer_init(&co->timer, on_timer, co);
    cairn_task_init(&co->failing, on_failing, co);
    for (uint32_t i = 0; i < CAIRN_CLUSTER_CLASSES; i++)
        cairn_list_init(&co->classes[i].asks);
    cairn_sm_init(&co->sm, &cairn_coordinator_kind, co->store->home.machines);
    stand(co);
}

void cairn_coordinator_stop(struct cairn_coordinator *co)
{
    co->ending = true;
    switch (co->sm.state) {
    case CAIRN_COORDINATOR_STANDING:
        resign(co);
        cairn_sm_move(&co->sm, CAIRN_COORDINATOR_CLOSING);
        break;
    case CAIRN_COORDINATOR_READING:
    case CAIRN_COORDINATOR_SERVING:
        resign(co);
        term_end(co);
        break;
    case CAIRN_COORDINATOR_CLOSING:
        if (!co->resigned)
            resign(co);
        break;
    case CAIRN_COORDINATOR_RESTING:
        cairn_timer_stop(env_of(co), &co->timer);
        cairn_sm_move(&co->sm, CAIRN_COORDINATOR_ENDED);
        cairn_sm_fini(&co->sm);
        cairn_writes_fini(&co->writes);
        co->ops->ended(co);
        break;
    default:
        break;
    }
}

/* ---- requests ---- */

int cairn_coordinator_heartbeat(struct cairn_coordinator *co, const struct cairn_wire_heartbeat *beat,
                                struct cairn_wire_grant *g, struct cairn_err *err)
{
    if (!cairn_coordinator_is_serving(co))
        return refusal(co, err);
    if (cairn_map_generation_is_lost(beat->map, beat->vouched, co->generation.id, co->upto)) {
        const struct cairn_member *m = cairn_members_find(&co->members, beat->who.node);

        put_back(co, m != NULL ? m->name : "a node", beat->map, beat->vouched, 0);
        return cairn_err_set(err, CAIRN_E_BUSY, "the map store was put back: this node begins anew");
    }
    *g = (struct cairn_wire_grant){
        .who = beat->who, .number = beat->number, .term = co->coord.term, .map = co->generation.id
    };
    if (beat->map != co->generation.id)
        return 0;
    g->granted = cairn_coord_heartbeat(&co->coord, beat->who, beat->term);
    g->wants_register =
        cairn_coord_node(&co->coord, beat->who.node) == NULL || cairn_coord_wants_register(&co->coord, beat->who.node);
    return 0;
}

/* Of a JOIN a refusal is final, and whoever proposed it counts on that: so it has to rest on what the map has of the node,
 * which is what a successor of ours goes by. */
static bool is_known_for_good(const struct cairn_coordinator *co, const struct cairn_change *change)
{
    const struct cairn_member *m = cairn_members_find(&co->members, change->who.node);

    return change->kind != CAIRN_CHANGE_JOIN || m == NULL || cairn_member_is_stored(m);
}

void cairn_coordinator_propose(struct cairn_coordinator *co, struct cairn_coordinator_ask *ask)
{
    uint32_t slot = ask->change.slot;

    if (!cairn_coordinator__may_serve(co, ask))
        return;
    if (slot >= all_slots(co)) {
        cairn_coordinator__answer(ask, CAIRN_E_INVAL, "there is no such slot");
    } else if (co->coord.slots[slot].storing) {
        cairn_coordinator__answer(ask, CAIRN_E_BUSY, "the slot is being changed");
    } else if (!is_known_for_good(co, &ask->change)) {
        cairn_coordinator__answer(ask, CAIRN_E_BUSY, "the node's new process is being stored");
    } else {
        CAIRN_ASSERT(co->held[slot] == NULL);
        co->held[slot] = ask;
        cairn_coord_propose(&co->coord, &ask->change);
        if (co->held[slot] == ask && !co->coord.slots[slot].storing) { /* our term has ended since we looked */
            co->held[slot] = NULL;
            cairn_coordinator__answer(ask, CAIRN_E_BUSY, "the coordinator's term has ended");
        }
    }
}

void cairn_coordinator_create_class(struct cairn_coordinator *co, struct cairn_coordinator_ask *ask)
{
    struct cairn_coordinator_class *class;

    if (!cairn_coordinator__may_serve(co, ask))
        return;
    if (ask->replicas == 0 || ask->replicas > CAIRN_CLUSTER_CLASSES || ask->min_insync > ask->replicas) {
        ask->rc = cairn_err_set(&ask->err, CAIRN_E_INVAL, "from 1 to %d replicas, and no more in sync than there are",
                                CAIRN_CLUSTER_CLASSES);
        ask->done(ask);
        return;
    }
    class = &co->classes[ask->replicas - 1];
    ask->nslots = co->nslots;
    if (class->made == co->nslots) {
        ask->revision = class->revision;
        cairn_coordinator__answer(ask, 0, "");
        return;
    }
    if (cairn_list_is_empty(&class->asks)) {
        class->min_insync = ask->min_insync != 0 ? ask->min_insync : ask->replicas >= 3 ? 2 : 1;
        class->next = 0;
        class->asked_ns = cairn_env_now_ns(env_of(co));
    }
    cairn_list_add_tail(&class->asks, &ask->link);
    if (!co->conf_is_stored)
        cairn_coordinator__store_nslots(co);
    cairn_coordinator__plans_go_on(co);
}
