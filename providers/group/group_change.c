/* Requests that change something: what this member says of itself, and whom it asks for the group. They come to any
 * worker and are carried out on worker 0, which runs the core.
 *
 *  SENT ---> ANSWERED
 *
 *  SENT      worker 0's, as a task; it leaves @rc and hands it back. Nothing there waits, so there is no deadline here.
 *  ANSWERED  with what came out. */
#include "providers/group/group_internal.h"

#include "schema/group.pb-c.h"

#include <stdio.h>
#include <string.h>

enum { CHANGE_SENT, CHANGE_ANSWERED, CHANGE_NR };

static const struct cairn_sm_state change_states[CHANGE_NR] = {
    [CHANGE_SENT] = { "SENT", CAIRN_SM_INITIAL, CAIRN_SM_TO(CHANGE_ANSWERED) },
    [CHANGE_ANSWERED] = { "ANSWERED", CAIRN_SM_FINAL, 0 },
};

struct group_change {
    struct cairn_sm sm;
    struct cairn_rpc_req *rq; /* which holds this, too */
    struct group_provider *provider;
    struct cairn_loop *loop; /* of the request */
    struct cairn_task task;
    int (*apply)(struct group_change *x); /* on worker 0 */
    bool applied;
    int rc;
    const char *why; /* of @rc */
    struct cairn_swim_addr seeds[CAIRN_SWIM_SEEDS_MAX];
    uint32_t nseeds;
};

static bool change_invariant(const struct cairn_sm *sm)
{
    const struct group_change *x = CONTAINER_OF(sm, const struct group_change, sm);

    return CAIRN_HOLDS(sm->state != CHANGE_ANSWERED || x->applied) && CAIRN_HOLDS((x->rc != 0) == (x->why != NULL));
}

const struct cairn_sm_kind group_change_kind = { "group-change", change_states, CHANGE_NR, change_invariant, 10000 };

static void on_back(void *arg)
{
    struct group_change *x = arg;

    cairn_sm_move(&x->sm, CHANGE_ANSWERED);
    cairn_sm_fini(&x->sm);
    if (x->rc != 0)
        cairn_rpc_reply_err(x->rq, x->rc, "%s", x->why);
    else
        cairn_rpc_reply(x->rq, 0, NULL, NULL, 0);
}

static void on_worker_0(void *arg)
{
    struct group_change *x = arg;

    if (x->provider->core.superseded) {
        x->rc = CAIRN_E_STATE;
        x->why = "a younger member has its name: the node is silent in this group";
    } else if (x->provider->dgram.watched) {
        x->rc = x->apply(x);
    } else {
        x->rc = CAIRN_E_STATE;
        x->why = "the node is not in its group: `cairn status` says why";
    }
    x->applied = true;
    cairn_task_init(&x->task, on_back, x);
    cairn_loop_post(x->loop, &x->task);
}

static struct group_change *change_new(struct cairn_rpc_req *rq, int (*apply)(struct group_change *x))
{
    struct group_provider *p = rq->target->ctx;
    struct group_change *x = cairn_arena_alloc(&rq->arena, sizeof(*x));

    if (x == NULL) {
        cairn_rpc_reply(rq, CAIRN_E_NOMEM, NULL, NULL, 0);
        return NULL;
    }
    memset(x, 0, sizeof(*x));
    x->rq = rq;
    x->provider = p;
    x->loop = p->workers[cairn_rpc_index(rq->rpc)].loop;
    x->apply = apply;
    return x;
}

static void change_go(struct group_change *x)
{
    cairn_sm_init(&x->sm, &group_change_kind, &x->loop->machines);
    cairn_task_init(&x->task, on_worker_0, x);
    cairn_loop_post(x->provider->loop, &x->task);
}

/* ---- what this member says of itself ---- */

static int apply_set(struct group_change *x)
{
    const Cairn__Wire__GroupSet *q = (const Cairn__Wire__GroupSet *)x->rq->msg;
    struct group_provider *p = x->provider;

    if (p->observer) {
        x->why = "an observer says nothing of itself";
        return CAIRN_E_STATE;
    }
    if (q->set_zone) {
        memset(p->self.zone, 0, sizeof(p->self.zone)); /* equal descriptions are equal to their last byte */
        memcpy(p->self.zone, q->zone, strnlen(q->zone, CAIRN_SWIM_ZONE_MAX));
    }
    if (q->set_weight)
        p->self.weight = q->weight;
    if (q->set_capacity)
        p->self.capacity = q->capacity;
    group_input(p, &(struct cairn_swim_in){ .type = CAIRN_SWIM_SET, .desc = &p->self });
    return 0;
}

void group_handle_set(struct cairn_rpc_req *rq)
{
    const Cairn__Wire__GroupSet *q = (const Cairn__Wire__GroupSet *)rq->msg;
    struct cairn_err err = { 0 };
    struct group_change *x;

    if (q->set_zone && group_check_text("zone", q->zone, 0, CAIRN_SWIM_ZONE_MAX, &err) != 0) {
        cairn_rpc_reply_err(rq, CAIRN_E_INVAL, "%s", err.text);
        return;
    }
    if (q->set_weight && q->weight > GROUP_WEIGHT_MAX) {
        cairn_rpc_reply_err(rq, CAIRN_E_INVAL, "'weight' is at most %d", GROUP_WEIGHT_MAX);
        return;
    }
    x = change_new(rq, apply_set);
    if (x != NULL)
        change_go(x);
}

/* ---- whom it asks ---- */

static int apply_join(struct group_change *x)
{
    group_join_also(x->provider, x->seeds, x->nseeds);
    return 0;
}

/* One of "udp://...,udp://...", from @at on; what follows it. NULL: it is none. Addresses are numbers, as members say
 * them: to look up a name would hold up the worker. */
static const char *take_address(const char *at, struct cairn_swim_addr *a)
{
    char text[GROUP_ADDR_TEXT_MAX];
    size_t n = strcspn(at, ",");

    if (n >= sizeof(text))
        return NULL;
    memcpy(text, at, n);
    text[n] = '\0';
    if (!group_addr_parse(text, a))
        return NULL;
    return at[n] == ',' ? at + n + 1 : at + n;
}

void group_handle_join(struct cairn_rpc_req *rq)
{
    const Cairn__Wire__GroupJoin *q = (const Cairn__Wire__GroupJoin *)rq->msg;
    struct group_change *x = change_new(rq, apply_join);
    const char *at = q->addresses;

    if (x == NULL)
        return;
    while (*at != '\0') {
        struct cairn_swim_addr a;
        const char *next = take_address(at, &a);

        if (next == NULL) {
            cairn_rpc_reply_err(rq, CAIRN_E_INVAL, "'%.100s': expected udp://ADDRESS:PORT, with an address in numbers",
                                at);
            return;
        }
        if (x->nseeds == CAIRN_SWIM_SEEDS_MAX) {
            cairn_rpc_reply_err(rq, CAIRN_E_INVAL, "more than %d addresses", CAIRN_SWIM_SEEDS_MAX);
            return;
        }
        at = next;
        if (x->provider->observer || !cairn_swim_addr_equal(&a, &x->provider->self.addr))
            x->seeds[x->nseeds++] = a;
    }
    if (x->nseeds == 0)
        cairn_rpc_reply_err(rq, CAIRN_E_INVAL, "%s",
                            q->addresses[0] != '\0' ? "every address is this member itself" : "no address");
    else
        change_go(x);
}
