/* Bringing up a fabric connection to one peer, in the background of transfers that go by frames meanwhile.
 *
 *    OPEN ---> ASK ---> PROBE ---> READY       OPEN and ASK may also go to FAILED, PROBE to DRAIN.
 *    DRAIN ---> FAILED
 *
 * OPEN    our own endpoint is being opened.
 * ASK     the peer was told our address (BULK_FABRIC) and opens its own.
 * PROBE   eight bytes of the peer are read, again and again: connecting takes 50 to 135 ms with tcp;ofi_rxm, and until
 * then reads fail or wait. The value must be the one that the peer told over its authenticated connection: it proves
 *         that the endpoint is the peer's.
 * READY   transfers may use it.
 * DRAIN   given up, and a read still flies.      FAILED  by frames; another try after a pause.
 *
 * Both sides must name the same provider. The peer chooses the network on which our address lies, where it has a
 * choice.
 *
 * Who stalls, or loses a connection that stood, may be dead, cut off, or on a machine that has too much to do. Each such
 * time can cost others the endpoint, so the pauses before another try double, and since it may be over they are bounded. */
#include "sdk/core/bulk/bulk_internal.h"

#include "sdk/core/base/log.h"

#include <stdlib.h>
#include <string.h>

enum { INTRO_OPEN, INTRO_ASK, INTRO_PROBE, INTRO_READY, INTRO_DRAIN, INTRO_FAILED, INTRO_NR };
enum { INTRO_PROBE_AGAIN_MS = 5 };

static const struct cairn_sm_state intro_states[INTRO_NR] = {
    [INTRO_OPEN] = { "OPEN", CAIRN_SM_INITIAL, CAIRN_SM_TO(INTRO_ASK) | CAIRN_SM_TO(INTRO_FAILED) },
    [INTRO_ASK] = { "ASK", 0, CAIRN_SM_TO(INTRO_PROBE) | CAIRN_SM_TO(INTRO_FAILED) },
    [INTRO_PROBE] = { "PROBE", 0, CAIRN_SM_TO(INTRO_READY) | CAIRN_SM_TO(INTRO_DRAIN) },
    [INTRO_READY] = { "READY", CAIRN_SM_FINAL, 0 },
    [INTRO_DRAIN] = { "DRAIN", 0, CAIRN_SM_TO(INTRO_FAILED) },
    [INTRO_FAILED] = { "FAILED", CAIRN_SM_FINAL | CAIRN_SM_FAILURE, 0 },
};

struct bulk_intro {
    struct cairn_sm sm;
    struct cairn_bulk *bulk;
    struct cairn_bulk_peer *bp; /* a reference, and one of its peer's */
    struct bulk_waiter waiter;
    struct cairn_rpc_call call;
    Cairn__Wire__BulkFabric msg;
    struct cairn_timer timer;
    bool flying, asking, aborted;
    uint64_t deadline_ns;
    uint64_t key, addr, expected, seen;
    struct cairn_fabric_mr *mr; /* of @seen */
    struct cairn_fabric_op probe;
};

static bool intro_invariant(const struct cairn_sm *sm)
{
    const struct bulk_intro *in = CONTAINER_OF(sm, const struct bulk_intro, sm);
    bool over = sm->state == INTRO_READY || sm->state == INTRO_FAILED;

    return CAIRN_HOLDS(in->bp->intro == in) && CAIRN_HOLDS(!in->bp->ready || over) &&
           CAIRN_HOLDS(!in->flying || sm->state == INTRO_PROBE || sm->state == INTRO_DRAIN) &&
           CAIRN_HOLDS(!in->asking || sm->state == INTRO_ASK) &&
           CAIRN_HOLDS(sm->state != INTRO_READY || in->seen == in->expected);
}

const struct cairn_sm_kind cairn_bulk_intro_kind = { "bulk-intro", intro_states, INTRO_NR, intro_invariant, 60000 };

static void intro_over(struct bulk_intro *in)
{
    struct cairn_bulk_peer *bp = in->bp;

    cairn_timer_stop(&in->bulk->loop->env, &in->timer);
    cairn_list_del(&in->waiter.link);
    cairn_fabric_mr_free(in->mr);
    bp->intro = NULL;
    cairn_sm_fini(&in->sm);
    cairn_rpc_peer_put(bp->peer);
    cairn_bulk__peer_put(bp);
    free(in);
}

static void intro_failed(struct bulk_intro *in, int rc)
{
    cairn_bulk__intro_put_off(in->bp);
    cairn_sm_fail(&in->sm, INTRO_FAILED, rc);
    cairn_log_debug("bulk: no fabric connection to %s: %s", cairn_rpc_peer_info(in->bp->peer)->addr,
                    cairn_error_text(rc));
    intro_over(in);
}

/* From PROBE: at once, or when the read is back. */
static void intro_give_up(struct bulk_intro *in)
{
    struct cairn_bulk *b = in->bulk;

    cairn_sm_move(&in->sm, INTRO_DRAIN);
    if (in->flying && b->fabric != NULL && cairn_fabric_unpost(b->fabric, &in->probe))
        in->flying = false;
    if (!in->flying)
        intro_failed(in, CAIRN_E_UNREACHABLE);
    else if (cairn_timer_start(&b->loop->env, &in->timer, cairn_loop_now(b->loop) + BULK_DRAIN_MS * CAIRN_NS_PER_MS) !=
             0)
        cairn_bulk__fabric_kill(b, "no memory to wait for a probe's end");
}

static void intro_probe(struct bulk_intro *in);

static void on_probed(struct cairn_fabric_op *op, int rc)
{
    struct bulk_intro *in = op->arg;
    struct cairn_bulk *b = in->bulk;
    uint64_t now = cairn_loop_now(b->loop);

    in->flying = false;
    if (in->sm.state == INTRO_DRAIN) {
        intro_failed(in, CAIRN_E_UNREACHABLE);
        return;
    }
    if (rc == 0 && in->seen == in->expected) {
        cairn_sm_move(&in->sm, INTRO_READY);
        in->bp->ready = true;
        in->bp->ready_bytes = in->bp->frame_bytes;
        cairn_stats_add(&b->counters.introduced, 1);
        intro_over(in);
    } else if (rc == 0 || b->fabric == NULL || now >= in->deadline_ns ||
               cairn_timer_start(&b->loop->env, &in->timer, now + INTRO_PROBE_AGAIN_MS * CAIRN_NS_PER_MS) != 0) {
        intro_give_up(in); /* somebody else's endpoint, or time is up */
    }
}

static void on_intro_timer(void *arg)
{
    struct bulk_intro *in = arg;
    struct cairn_bulk *b = in->bulk;

    if (in->sm.state == INTRO_DRAIN) {
        cairn_bulk__intro_put_off(in->bp);
        cairn_bulk__fabric_kill(b, "a peer did not answer a probe");
    } else if (in->flying || b->fabric == NULL || cairn_loop_now(b->loop) >= in->deadline_ns) {
        intro_give_up(in);
    } else {
        intro_probe(in);
    }
}

static void intro_probe(struct bulk_intro *in)
{
    struct cairn_bulk *b = in->bulk;

    in->seen = ~in->expected;
    in->probe = (struct cairn_fabric_op){ .peer = in->bp->fabric_peer,
                                          .local = (uint8_t *)&in->seen,
                                          .len = BULK_PROBE_BYTES,
                                          .local_mr = in->mr,
                                          .remote = in->addr,
                                          .key = in->key,
                                          .done = on_probed,
                                          .arg = in };
    in->flying = true;
    if (cairn_timer_start(&b->loop->env, &in->timer, in->deadline_ns) != 0) {
        in->flying = false;
        intro_give_up(in);
        return;
    }
    cairn_fabric_post(b->fabric, &in->probe);
}

/* What the peer answered. */
static int intro_take_answer(struct bulk_intro *in, const Cairn__Wire__BulkFabric *m)
{
    struct cairn_bulk *b = in->bulk;
    int rc;

    if (b->fabric == NULL || in->aborted)
        return CAIRN_E_CLOSED;
    if (strcmp(m->provider, b->conf.provider) != 0)
        return CAIRN_E_UNSUPPORTED;
    cairn_bulk__fabric_forget_peer(in->bp); /* it may have a new one */
    rc = cairn_fabric_peer_add(b->fabric, m->addr.data, m->addr.len, &in->bp->fabric_peer);
    if (rc != 0)
        return rc;
    in->bp->fabric_epoch = b->fabric_epoch;
    in->key = m->probe_key;
    in->addr = m->probe_addr;
    in->expected = m->probe_value;
    return cairn_fabric_wants_local(b->fabric)
               ? cairn_fabric_mr_new(b->fabric, &in->seen, BULK_PROBE_BYTES, CAIRN_FABRIC_LOCAL,
                                     cairn_env_random(&b->loop->env), &in->mr)
               : 0;
}

static void on_asked(struct cairn_rpc_call *call)
{
    struct bulk_intro *in = call->arg;
    int rc = call->rc;

    in->asking = false;
    if (rc == 0)
        rc = intro_take_answer(in, CONTAINER_OF(call->reply, const Cairn__Wire__BulkFabric, base));
    if (rc != 0) {
        intro_failed(in, rc);
        return;
    }
    in->deadline_ns = cairn_loop_now(in->bulk->loop) + BULK_INTRO_PROBE_MS * CAIRN_NS_PER_MS;
    cairn_sm_move(&in->sm, INTRO_PROBE);
    intro_probe(in);
}

static void fill_card(const struct cairn_bulk *b, Cairn__Wire__BulkFabric *m)
{
    const uint8_t *addr;
    size_t len = cairn_fabric_addr(b->fabric, &addr);

    cairn__wire__bulk_fabric__init(m);
    m->provider = (char *)(uintptr_t)b->conf.provider;
    m->addr = (ProtobufCBinaryData){ .len = len, .data = (uint8_t *)(uintptr_t)addr };
    m->probe_key = cairn_fabric_mr_key(b->probe_mr);
    m->probe_addr = cairn_fabric_mr_base(b->probe_mr);
    m->probe_value = b->probe_value;
}

static void intro_ask(struct bulk_intro *in)
{
    struct cairn_bulk *b = in->bulk;
    struct cairn_rpc_call *call = &in->call;

    fill_card(b, &in->msg);
    in->msg.probe_key = in->msg.probe_addr = in->msg.probe_value = 0; /* the peer moves nothing */
    call->dest.rpc = b->rpc;
    call->dest.peer = in->bp->peer;
    call->iface = &cairn_iface_bulk;
    call->provider = CAIRN_PROVIDER_BULK;
    call->method = CAIRN__WIRE__BULK_METHOD__BULK_FABRIC;
    call->msg = &in->msg.base;
    call->done = on_asked;
    call->arg = in;
    cairn_sm_move(&in->sm, INTRO_ASK);
    in->asking = true;
    cairn_rpc_call_start(call);
}

static void on_own_open(struct bulk_waiter *w, int rc)
{
    struct bulk_intro *in = CONTAINER_OF(w, struct bulk_intro, waiter);

    if (rc == 0 && in->aborted)
        rc = CAIRN_E_CLOSED;
    if (rc != 0)
        intro_failed(in, rc);
    else
        intro_ask(in);
}

void cairn_bulk__intro_put_off(struct cairn_bulk_peer *bp)
{
    uint64_t now = cairn_loop_now(bp->bulk->loop);

    if (now < bp->retry_ns)
        return; /* transfers that fail together are one failure */
    if (now - bp->retry_ns > BULK_PAUSE_FORGET_S * CAIRN_NS_PER_S)
        bp->pause_ms = 0;
    bp->pause_ms = MIN(MAX(2 * bp->pause_ms, (uint32_t)BULK_PAUSE_MS_MIN), (uint32_t)BULK_PAUSE_MS_MAX);
    bp->retry_ns = now + bp->pause_ms * CAIRN_NS_PER_MS;
}

/* Memory that is exposed while the connection stands can be had over it. Where much cannot, the peer has closed the
 * endpoint that we know: no transfer is going to find that out, since none goes that way. */
static bool intro_is_needed(const struct cairn_bulk_peer *bp)
{
    return bp->frame_bytes - (bp->ready ? bp->ready_bytes : 0) >= bp->bulk->conf.fabric_after_bytes;
}

void cairn_bulk__intro_consider(struct cairn_bulk_peer *bp)
{
    struct cairn_bulk *b = bp->bulk;
    struct bulk_intro *in;
    int rc = 0;

    if (!b->conf.fabric || bp->down || bp->intro != NULL || bp->vm_pull || bp->rma_flying > 0 || !intro_is_needed(bp) ||
        cairn_loop_now(b->loop) < bp->retry_ns)
        return;
    if (bp->ready) {
        bp->ready = false;
        cairn_bulk__intro_put_off(bp); /* this time it is tried at once; a peer that exposes nothing waits longer */
    }
    in = calloc(1, sizeof(*in));
    if (in == NULL)
        return;
    in->bulk = b;
    in->bp = bp;
    in->waiter.fn = on_own_open;
    cairn_list_init(&in->waiter.link);
    cairn_timer_init(&in->timer, on_intro_timer, in);
    cairn_rpc_peer_get(bp->peer);
    bp->refs++;
    bp->intro = in;
    cairn_sm_init(&in->sm, &cairn_bulk_intro_kind, &b->loop->machines);
    if (b->fabric != NULL)
        intro_ask(in);
    else
        rc = cairn_bulk__fabric_want(b, NULL, 0, &in->waiter);
    if (rc != 0)
        intro_failed(in, rc);
}

void cairn_bulk__intro_abort(struct cairn_bulk_peer *bp)
{
    struct bulk_intro *in = bp->intro;

    if (in == NULL)
        return;
    in->aborted = true;
    if (in->sm.state == INTRO_PROBE)
        intro_give_up(in);
    /* OPEN and ASK end by themselves: the endpoint opens or not, the call ends with its connection */
}

void cairn_bulk__intro_killed(struct cairn_bulk_peer *bp)
{
    if (bp->intro != NULL && bp->intro->sm.state == INTRO_PROBE && !bp->intro->flying)
        intro_give_up(bp->intro);
}

/* ---- the one who is asked ---- */

struct bulk_answer {
    struct bulk_waiter waiter;
    struct cairn_rpc_req *rq;
};

static void answer(struct cairn_rpc_req *rq, struct cairn_bulk *b)
{
    Cairn__Wire__BulkFabric card;

    b->told = true;
    fill_card(b, &card);
    cairn_rpc_reply(rq, 0, &card.base, NULL, 0);
}

static void on_open_for_peer(struct bulk_waiter *w, int rc)
{
    struct bulk_answer *a = CONTAINER_OF(w, struct bulk_answer, waiter);
    struct cairn_rpc_req *rq = a->rq;

    free(a);
    if (rc != 0)
        cairn_rpc_reply(rq, rc, NULL, NULL, 0);
    else
        answer(rq, bulk_of(rq->rpc));
}

void cairn_bulk__on_fabric(struct cairn_rpc_req *rq)
{
    const Cairn__Wire__BulkFabric *m = CONTAINER_OF(rq->msg, const Cairn__Wire__BulkFabric, base);
    struct cairn_bulk *b = bulk_of(rq->rpc);
    struct bulk_answer *a;
    int rc;

    if (b == NULL || !b->conf.fabric || strcmp(m->provider, b->conf.provider) != 0) {
        cairn_rpc_reply_err(rq, CAIRN_E_UNSUPPORTED, "fabric: %s",
                            b == NULL || !b->conf.fabric ? "off" : b->conf.provider);
        return;
    }
    if (b->fabric != NULL) {
        answer(rq, b);
        return;
    }
    a = calloc(1, sizeof(*a));
    if (a == NULL) {
        cairn_rpc_reply(rq, CAIRN_E_NOMEM, NULL, NULL, 0);
        return;
    }
    a->rq = rq;
    a->waiter.fn = on_open_for_peer;
    rc = cairn_bulk__fabric_want(b, m->addr.data, m->addr.len, &a->waiter);
    if (rc != 0) {
        free(a);
        cairn_rpc_reply(rq, rc, NULL, NULL, 0);
    }
}
