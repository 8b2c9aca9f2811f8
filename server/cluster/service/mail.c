/* What a worker's replicas say to those of other nodes.
 *
 * All that is said to a node in a turn of the loop goes out in one frame, which nobody answers: the protocol says
 * everything again, and what a backup has to say goes the same way. So a write costs two frames, or a part of two,
 * however many slots are written to. While there is no connection it waits for a while, and is dropped then: whoever
 * comes back after an absence is told what is so by then, not what was. What may wait for slow nodes is bounded, of all
 * together; what is said beyond that is dropped. */
#include "server/cluster/service/peers.h"

#include "sdk/core/base/crc.h"
#include "sdk/core/base/log.h"
#include "sdk/core/rpc/peer.h"

#include <inttypes.h>
#include <stdlib.h>

/* ---- to others ---- */

void side_mail_drop(struct side_peer *p)
{
    cairn_list_del(&p->mailing);
    cairn_wire_mail_fini(&p->mail);
}

void side_mail_go(struct side_peer *p)
{
    struct iovec iov = { p->mail.bytes, p->mail.n };
    bool old = cairn_loop_now(p->w->loop) - p->mail_ns >= SIDE_CALL_MS * CAIRN_NS_PER_MS;
    int rc = CAIRN_E_CLOSED;

    if (p->mail.n == 0)
        return;
    if (p->session != NULL && !old)
        rc = cairn_rpc_session_tell(p->session, &cairn_iface_cluster, CAIRN_PROVIDER_CLUSTER,
                                    CAIRN__WIRE__CLUSTER_METHOD__CLUSTER_REPL, &iov, 1);
    cairn_list_del(&p->mailing);
    if (rc != CAIRN_E_CLOSED || old)
        cairn_wire_mail_clear(&p->mail);
}

static void on_turn_over(void *arg)
{
    struct side_worker *w = arg;

    while (!cairn_list_is_empty(&w->mailing))
        side_mail_go(CONTAINER_OF(w->mailing.next, struct side_peer, mailing));
}

static size_t peer_waiting(const struct side_peer *p)
{
    return p->mail.n + (p->session != NULL ? cairn_rpc_session_unsent(p->session) : 0);
}

/* Each node has its share of what may wait, and what is left of the others'. */
static bool has_room(const struct side_peer *p)
{
    const struct side_worker *w = p->w;
    size_t sum = 0;

    if (peer_waiting(p) <= SIDE_MESSAGE_BYTES_MAX / w->npeers)
        return true;
    for (uint32_t i = 0; i < w->npeers && sum <= SIDE_MESSAGE_BYTES_MAX; i++)
        sum += peer_waiting(w->peers[i]);
    return sum <= SIDE_MESSAGE_BYTES_MAX;
}

static int add(struct side_peer *p, const struct cairn_repl_msg *m)
{
    if (p->mail.n == 0)
        p->mail_ns = cairn_loop_now(p->w->loop);
    return cairn_wire_mail_add(&p->mail, m);
}

void side_send(void *arg, const struct cairn_repl_msg *m)
{
    struct side_worker *w = arg;
    struct side_peer *p = w->stopping ? NULL : side_peer_of(w, m->to.node);
    int rc;

    if (p == NULL || !has_room(p))
        return;
    rc = add(p, m);
    if (rc == CAIRN_E_LIMIT) { /* a frame is full */
        side_mail_go(p);
        rc = add(p, m);
    }
    if (rc != 0 || !cairn_list_is_empty(&p->mailing))
        return;
    cairn_list_add_tail(&w->mailing, &p->mailing);
    cairn_env_defer(&w->loop->env, &w->mail_task);
}

void side_mail_init(struct side_worker *w)
{
    cairn_list_init(&w->mailing);
    cairn_task_init(&w->mail_task, on_turn_over, w);
}

void side_mail_stop(struct side_worker *w)
{
    cairn_task_cancel(&w->mail_task);
}

/* ---- from others ---- */

static int take_letter(struct side_worker *w, const struct cairn_wire_letter *l, struct cairn_err *err)
{
    struct cairn_repl_msg m;
    struct cairn_arena a;
    int rc;

    cairn_arena_init(&a, 1 << 20);
    rc = cairn_wire_letter_get(l, &a, &m, err);
    if (rc == 0 && !w->stopping && w->slots != NULL && cluster_fetch_admit(&w->fetches, &m)) {
        cluster_slots_receive(w->slots, &m);
        cluster_fetch_taken(&w->fetches, &m);
    }
    cairn_arena_reset(&a);
    return rc;
}

/* Nobody hears of it, as nobody waits for an answer; more of the same is likely. */
static void bad_letter(struct side_worker *w, const struct cairn_wire_letter *l, const struct cairn_err *err)
{
    w->bad_letters++;
    if ((w->bad_letters & (w->bad_letters - 1)) == 0)
        cairn_log_warn("slot %" PRIu32 ": what another replica says cannot be read: %s (the %" PRIu64
                       "th on this worker)",
                       l->slot, err->text, w->bad_letters);
}

/* True: this has not been said of that node yet. As often as replicas speak it would fill the log; where so many nodes
 * are refused that there is no place for another, the status says it. */
static bool form_is_new(struct cairn_cluster_side *s, uint64_t what)
{
    for (uint32_t i = 0; i < ARRAY_SIZE(s->mail_forms); i++) {
        uint64_t was = 0;

        if (atomic_compare_exchange_strong(&s->mail_forms[i], &was, what))
            return true;
        if (was == what)
            return false;
    }
    return false;
}

static void note_form(struct cairn_cluster *c, const struct cairn_rpc_req *rq, const struct cairn_err *err)
{
    const char *name = cairn_rpc_peer_info(rq->peer)->name;
    uint64_t what = (uint64_t)cairn_crc32c(0, name, strlen(name)) << 32 | UINT64_C(1) << 8 | rq->payload[0];

    atomic_fetch_add(&c->side->mail_refused, 1);
    atomic_store(&c->side->mail_refused_ns, cairn_env_now_ns(&cairn_rpc_loop(rq->rpc)->env));
    if (form_is_new(c->side, what))
        cairn_log_error("node %s cannot replicate with this one: %s. Run releases of Cairn on both that have one in "
                        "common",
                        name, err->text);
}

/* All of @rq's mail, once it is looked at as a whole. */
static int open_mail(const struct cairn_rpc_req *rq, struct cairn_le_reader *mail, struct cairn_err *err)
{
    return cairn_wire_mail_open(rq->payload, rq->payload_len, mail, err);
}

/* Those of @w's slots. One that cannot be read is no matter of the others. */
static int take(struct side_worker *w, const struct cairn_rpc_req *rq, struct cairn_err *err)
{
    struct cairn_le_reader mail;
    struct cairn_wire_letter l;
    int rc = open_mail(rq, &mail, err);

    while (rc >= 0 && (rc = cairn_wire_mail_next(&mail, &l, err)) > 0) {
        if (side_worker_of(w->c, l.slot) == w && take_letter(w, &l, err) != 0)
            bad_letter(w, &l, err);
    }
    return rc;
}

static void reply(struct cairn_rpc_req *rq, int rc, const struct cairn_err *err)
{
    if (rc == 0)
        cairn_rpc_reply(rq, 0, NULL, NULL, 0);
    else
        cairn_rpc_reply_err(rq, rc, "%s", err->text);
}

/* Mail that came in on another worker than some of its slots are on: those workers look through it. */
struct visit {
    struct round *round;
    struct side_worker *to;
    struct cairn_task task;
    int rc;
    struct cairn_err err;
};

struct round {
    struct cairn_rpc_req *rq;
    struct cairn_loop *origin;
    struct cairn_task task;
    atomic_uint left; /* that have not been there */
    uint32_t nvisits;
    struct visit visits[];
};

static void round_over(void *arg)
{
    struct round *r = arg;
    uint32_t i = 0;

    while (i + 1 < r->nvisits && r->visits[i].rc == 0)
        i++;
    reply(r->rq, r->visits[i].rc, &r->visits[i].err);
    free(r);
}

static void visit_run(void *arg)
{
    struct visit *v = arg;
    struct round *r = v->round;

    v->rc = take(v->to, r->rq, &v->err);
    if (atomic_fetch_sub(&r->left, 1) == 1) {
        cairn_task_init(&r->task, round_over, r);
        cairn_loop_post(r->origin, &r->task);
    }
}

/* A visit for each worker that has one of the slots; none begins before all are known. */
static void round_plan(struct round *r, struct cairn_cluster *c)
{
    struct cairn_le_reader mail;
    struct cairn_wire_letter l;

    (void)open_mail(r->rq, &mail, NULL); /* it was looked at before */
    while (cairn_wire_mail_next(&mail, &l, NULL) > 0) {
        struct side_worker *to = side_worker_of(c, l.slot);
        uint32_t i = 0;

        while (i < r->nvisits && r->visits[i].to != to)
            i++;
        if (i < r->nvisits)
            continue;
        r->visits[i] = (struct visit){ .round = r, .to = to };
        cairn_task_init(&r->visits[i].task, visit_run, &r->visits[i]);
        r->nvisits++;
    }
}

static void round_begin(struct cairn_cluster *c, struct cairn_rpc_req *rq)
{
    struct round *r = calloc(1, sizeof(*r) + c->side->nworkers * sizeof(r->visits[0]));

    if (r == NULL || cairn_rpc_req_hold_payload(rq) != 0) {
        free(r);
        cairn_rpc_reply_err(rq, CAIRN_E_NOMEM, "messages of replicas");
        return;
    }
    r->rq = rq;
    r->origin = cairn_rpc_loop(rq->rpc);
    round_plan(r, c);
    atomic_init(&r->left, r->nvisits);
    for (uint32_t i = 0; i < r->nvisits; i++)
        cairn_loop_post(r->visits[i].to->loop, &r->visits[i].task);
}

void cairn_cluster__side_on_repl(struct cairn_rpc_req *rq)
{
    struct cairn_cluster *c = rq->target->ctx;
    struct side_worker *here = &c->side->workers[cairn_rpc_index(rq->rpc)];
    struct cairn_le_reader mail;
    struct cairn_wire_letter l;
    struct cairn_err err;
    bool others = false;
    int rc = open_mail(rq, &mail, &err);

    if (rc == CAIRN_E_VERSION)
        note_form(c, rq, &err);
    while (rc >= 0 && (rc = cairn_wire_mail_next(&mail, &l, &err)) > 0)
        others |= side_worker_of(c, l.slot) != here;
    if (rc == 0 && others) {
        round_begin(c, rq);
        return;
    }
    if (rc == 0)
        rc = take(here, rq, &err);
    reply(rq, rc, &err);
}
