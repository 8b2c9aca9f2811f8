/* What the target remembers of those who connected: their sessions, found by number, and those without a connection
 * for a while. What a session holds is dedup.h's. */
#include "sdk/core/rpc/accept.h"
#include "sdk/core/rpc/hello.h"
#include "sdk/core/rpc/rpc_internal.h"

#include <stdlib.h>

enum { SESSIONS_SWEEP_S = 10, SESSION_WORKER_BITS = 16 };

/* The low bits of a number lead a resumed session to its worker; the others are random. */
static struct cairn_link *bucket(struct cairn_rpc *rpc, uint64_t id)
{
    return &rpc->sessions[(id >> SESSION_WORKER_BITS) % ARRAY_SIZE(rpc->sessions)];
}

uint32_t cairn_rpc__session_worker(uint64_t id)
{
    return (uint32_t)(id & ((1U << SESSION_WORKER_BITS) - 1));
}

struct cairn_rpc_dedup *cairn_rpc__session_find(struct cairn_rpc *rpc, uint64_t id, const uint8_t *secret, uid_t uid)
{
    struct cairn_link *head = bucket(rpc, id);

    CAIRN_LIST_FOREACH (l, head) {
        struct cairn_rpc_dedup *d = CONTAINER_OF(l, struct cairn_rpc_dedup, link);

        if (d->id == id && d->uid == uid && cairn_auth_equal(d->secret, secret, sizeof(d->secret)))
            return d;
    }
    return NULL;
}

struct cairn_rpc_dedup *cairn_rpc__session_add(struct cairn_rpc *rpc, uid_t uid)
{
    struct cairn_rpc_dedup *d = calloc(1, sizeof(*d));

    if (d == NULL)
        return NULL;
    cairn_auth_random(&d->id, sizeof(d->id));
    d->id = d->id >> SESSION_WORKER_BITS << SESSION_WORKER_BITS | rpc->conf.index;
    cairn_auth_random(d->secret, sizeof(d->secret));
    d->uid = uid;
    d->window = rpc->conf.inflight_max;
    cairn_list_init(&d->idle_link);
    cairn_list_add_tail(bucket(rpc, d->id), &d->link);
    rpc->nsessions++;
    return d;
}

static void session_forget(struct cairn_rpc *rpc, struct cairn_rpc_dedup *d)
{
    cairn_rpc__session_back(rpc, d);
    cairn_list_del(&d->link);
    rpc->nsessions--;
    cairn_rpc_dedup_fini(d);
    free(d);
}

void cairn_rpc__session_back(struct cairn_rpc *rpc, struct cairn_rpc_dedup *d)
{
    if (cairn_list_is_empty(&d->idle_link))
        return;
    cairn_list_del(&d->idle_link);
    rpc->nidle--;
}

static void on_sessions_timer(void *arg)
{
    struct cairn_rpc *rpc = arg;
    uint64_t now = cairn_loop_now(rpc->loop);

    CAIRN_LIST_FOREACH_SAFE (l, &rpc->idle) {
        struct cairn_rpc_dedup *d = CONTAINER_OF(l, struct cairn_rpc_dedup, idle_link);

        if (d->running == 0 && (d->over || d->idle_since_ns + rpc->node->session_ttl_ns <= now))
            session_forget(rpc, d);
    }
    if (!cairn_list_is_empty(&rpc->idle))
        cairn_timer_start(&rpc->loop->env, &rpc->sessions_timer, now + SESSIONS_SWEEP_S * CAIRN_NS_PER_S);
}

/* As many may come back as were there at a time: whoever connects, changes something and dies, over and over, takes the
 * memory of its own first ones. */
static void sessions_bound(struct cairn_rpc *rpc)
{
    CAIRN_LIST_FOREACH_SAFE (l, &rpc->idle) {
        struct cairn_rpc_dedup *d = CONTAINER_OF(l, struct cairn_rpc_dedup, idle_link);

        if (rpc->nidle <= rpc->node->connections_max)
            return;
        if (d->running == 0)
            session_forget(rpc, d);
    }
}

void cairn_rpc__session_idle(struct cairn_rpc *rpc, struct cairn_rpc_dedup *d, int rc)
{
    bool changed_nothing = rc == CAIRN_E_CLOSED && d->ring == NULL;

    d->peer = NULL;
    d->idle_since_ns = cairn_loop_now(rpc->loop);
    if (d->running == 0 && (d->over || changed_nothing)) {
        session_forget(rpc, d);
        return;
    }
    cairn_list_add_tail(&rpc->idle, &d->idle_link);
    rpc->nidle++;
    sessions_bound(rpc);
    if (!cairn_timer_is_running(&rpc->sessions_timer))
        cairn_timer_start(&rpc->loop->env, &rpc->sessions_timer,
                          cairn_loop_now(rpc->loop) +
                              MIN(rpc->node->session_ttl_ns, SESSIONS_SWEEP_S * CAIRN_NS_PER_S));
}

void cairn_rpc__sessions_drained(struct cairn_rpc *rpc)
{
    cairn_timer_stop(&rpc->loop->env, &rpc->sessions_timer);
    CAIRN_LIST_FOREACH_SAFE (l, &rpc->idle) {
        struct cairn_rpc_dedup *d = CONTAINER_OF(l, struct cairn_rpc_dedup, idle_link);

        if (d->running == 0)
            session_forget(rpc, d);
    }
}

void cairn_rpc__sessions_init(struct cairn_rpc *rpc)
{
    for (size_t i = 0; i < ARRAY_SIZE(rpc->sessions); i++)
        cairn_list_init(&rpc->sessions[i]);
    cairn_list_init(&rpc->idle);
    cairn_timer_init(&rpc->sessions_timer, on_sessions_timer, rpc);
}

void cairn_rpc__sessions_fini(struct cairn_rpc *rpc)
{
    cairn_timer_stop(&rpc->loop->env, &rpc->sessions_timer);
    CAIRN_LIST_FOREACH_SAFE (l, &rpc->idle)
        session_forget(rpc, CONTAINER_OF(l, struct cairn_rpc_dedup, idle_link));
    CAIRN_ASSERT(rpc->nsessions == 0); /* no peer is left */
}
