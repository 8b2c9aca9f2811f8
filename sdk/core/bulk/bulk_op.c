/* One transfer.
 *
 *    NEW ---> MOVE ---> DONE           MOVE may also go to SWITCH, SWITCH to MOVE.
 *    DRAIN ---> FAILED                 NEW, MOVE and SWITCH may also go to DRAIN.
 *
 * NEW     no way is chosen.
 * MOVE    pieces [arrived_to, next) are in the ring, in order: flying, or landed and waiting for those before them.
 * SWITCH  its way has failed: nothing new is issued, and when nothing flies any more the rest goes by frames.
 * DRAIN   it will fail: when nothing flies any more. Where that takes too long, the endpoint is closed.
 * DONE    every byte has arrived.      FAILED  rc says why; nothing flies.
 *
 * Copies by vm and self are made here, a few pieces a turn of the loop; others go to bulk_frames.c and bulk_fabric.c
 * and come back by cairn_bulk__piece_back(). done() runs from the operation's task alone. */
#include "sdk/core/bulk/bulk_internal.h"

#include "sdk/core/base/log.h"

#include <stdlib.h>
#include <string.h>

static const struct cairn_sm_state op_states[OP_NR] = {
    [OP_NEW] = { "NEW", CAIRN_SM_INITIAL, CAIRN_SM_TO(OP_MOVE) | CAIRN_SM_TO(OP_DRAIN) },
    [OP_MOVE] = { "MOVE", 0, CAIRN_SM_TO(OP_DONE) | CAIRN_SM_TO(OP_SWITCH) | CAIRN_SM_TO(OP_DRAIN) },
    [OP_SWITCH] = { "SWITCH", 0, CAIRN_SM_TO(OP_MOVE) | CAIRN_SM_TO(OP_DRAIN) },
    [OP_DRAIN] = { "DRAIN", 0, CAIRN_SM_TO(OP_FAILED) },
    [OP_DONE] = { "DONE", CAIRN_SM_FINAL, 0 },
    [OP_FAILED] = { "FAILED", CAIRN_SM_FINAL | CAIRN_SM_FAILURE, 0 },
};

static struct cairn_bulk__piece *op_piece(const struct cairn_bulk_op *op, uint32_t i)
{
    return &op->pieces[(op->head + i) % op->room];
}

static bool op_invariant(const struct cairn_sm *sm)
{
    const struct cairn_bulk_op *op = CONTAINER_OF(sm, const struct cairn_bulk_op, sm);
    uint64_t ring = 0;
    uint32_t flying = 0;

    for (uint32_t i = 0; i < op->npieces; i++) {
        ring += op_piece(op, i)->len;
        flying += op_piece(op, i)->flying ? 1 : 0;
    }
    return CAIRN_HOLDS(op->arrived_to + ring == op->next && op->next <= op->len) && CAIRN_HOLDS(flying == op->flying) &&
           CAIRN_HOLDS(sm->state != OP_NEW || op->next == 0) &&
           CAIRN_HOLDS(sm->state != OP_DONE || op->arrived_to == op->len) &&
           CAIRN_HOLDS((sm->state != OP_DONE && sm->state != OP_FAILED) || (op->flying == 0 && op->local_mr == NULL)) &&
           CAIRN_HOLDS((sm->state == OP_DRAIN || sm->state == OP_FAILED) == (op->rc != 0)) &&
           CAIRN_HOLDS(op->npieces == 0 || op->way == CAIRN_BULK_FRAMES || op->way == CAIRN_BULK_FABRIC);
}

/* Nothing of a transfer outlasts its deadline but the drain. */
const struct cairn_sm_kind cairn_bulk_op_kind = { "bulk", op_states, OP_NR, op_invariant, 120000 };

static struct cairn_bulk *op_bulk(const struct cairn_bulk_op *op)
{
    return bulk_of(op->rpc);
}

/* ---- the end ---- */

static void op_over(struct cairn_bulk_op *op)
{
    struct cairn_bulk *b = op_bulk(op);

    cairn_timer_stop(&b->loop->env, &op->timer);
    cairn_task_cancel(&op->task);
    cairn_list_del(&op->link);
    b->nops--;
    free(op->pieces);
    op->pieces = NULL;
    cairn_sm_fini(&op->sm);
    if (op->bp != NULL)
        cairn_bulk__peer_put(op->bp);
    if (op->peer != NULL)
        cairn_rpc_peer_put(op->peer);
    op->done(op, op->rc); /* the last look at @op */
}

static void op_finish(struct cairn_bulk_op *op)
{
    struct cairn_bulk *b = op_bulk(op);

    cairn_bulk__rma_release(op);
    if (op->sm.state == OP_DRAIN) {
        op->npieces = 0; /* what landed in between is nobody's */
        op->next = op->arrived_to;
        cairn_stats_add(&b->counters.failures, 1);
        cairn_sm_fail(&op->sm, OP_FAILED, op->rc);
    } else {
        cairn_stats_add(&b->counters.transfers[op->way], 1);
        cairn_sm_move(&op->sm, OP_DONE);
    }
    op_over(op);
}

static void op_recall(struct cairn_bulk_op *op)
{
    for (uint32_t i = 0; i < op->npieces; i++) {
        struct cairn_bulk__piece *p = op_piece(op, i);

        if (!p->flying)
            continue;
        if (op->way == CAIRN_BULK_FRAMES)
            cairn_bulk__frame_cancel(p);
        else
            cairn_bulk__rma_cancel(p);
    }
}

void cairn_bulk__op_end(struct cairn_bulk_op *op, int rc)
{
    struct cairn_bulk *b = op_bulk(op);

    if (op->sm.state == OP_DRAIN)
        return;
    op->rc = rc;
    cairn_sm_move(&op->sm, OP_DRAIN);
    op_recall(op);
    cairn_timer_stop(&b->loop->env, &op->timer);
    if (op->flying == 0)
        cairn_env_defer(&b->loop->env, &op->task);
    else if (cairn_timer_start(&b->loop->env, &op->timer, cairn_loop_now(b->loop) + BULK_DRAIN_MS * CAIRN_NS_PER_MS) !=
             0)
        cairn_bulk__fabric_kill(b, "no memory to wait for a transfer's end");
}

void cairn_bulk_cancel(struct cairn_bulk_op *op)
{
    if (!cairn_sm_is_final(&op->sm))
        cairn_bulk__op_end(op, CAIRN_E_CANCELED);
}

static void on_timer(void *arg)
{
    struct cairn_bulk_op *op = arg;
    struct cairn_bulk_peer *bp = op->bp;

    if (op->sm.state != OP_DRAIN) {
        cairn_bulk__op_end(op, CAIRN_E_TIMEOUT);
        return;
    }
    if (op->way != CAIRN_BULK_FABRIC)
        return;
    /* Frames come back at once when they are canceled; what still flies is RMA towards a peer that is dead, cut off or
     * does not drive its loop. No error will come, fi_cancel promises nothing, and removing the peer ends nothing: only
     * without the endpoint the memory is surely ours again. Transfers of others go on by frames. */
    if (bp != NULL)
        cairn_bulk__intro_put_off(bp);
    cairn_bulk__fabric_kill(op_bulk(op), "a transfer did not let go of its memory in time");
}

void cairn_bulk__ops_flush(struct cairn_bulk *b)
{
    CAIRN_LIST_FOREACH_SAFE (l, &b->ops) {
        struct cairn_bulk_op *op = CONTAINER_OF(l, struct cairn_bulk_op, link);

        cairn_bulk__op_end(op, CAIRN_E_CLOSED);
        if (op->flying == 0)
            op_finish(op);
    }
}

/* ---- pieces ---- */

static uint32_t op_piece_bytes(const struct cairn_bulk_op *op)
{
    return op->way == CAIRN_BULK_FRAMES ? CAIRN_BULK_FRAME_BYTES : cairn_bulk__rma_piece_bytes(op_bulk(op));
}

/* Room for the pieces that fly at a time. */
static int op_make_ring(struct cairn_bulk_op *op)
{
    uint64_t n = (op->len - op->arrived_to + op_piece_bytes(op) - 1) / op_piece_bytes(op);

    free(op->pieces);
    op->head = op->npieces = 0;
    op->room = (uint32_t)MIN(n, (uint64_t)CAIRN_BULK_PIECES_INFLIGHT);
    op->pieces = malloc(op->room * sizeof(*op->pieces));
    return op->pieces != NULL ? 0 : CAIRN_E_NOMEM;
}

static void op_issue(struct cairn_bulk_op *op)
{
    while (op->npieces < op->room && op->next < op->len) {
        struct cairn_bulk__piece *p = op_piece(op, op->npieces);

        p->op = op;
        p->from = op->next;
        p->len = (uint32_t)MIN((uint64_t)op_piece_bytes(op), op->len - op->next);
        p->flying = true;
        p->landed = false;
        op->npieces++;
        op->flying++;
        op->next += p->len;
        if (op->way == CAIRN_BULK_FRAMES)
            cairn_bulk__frame_issue(p);
        else
            cairn_bulk__rma_issue(p);
    }
}

/* [from, to) is there. False: the transfer ends. */
static bool op_arrived(struct cairn_bulk_op *op, uint64_t to)
{
    uint64_t from = op->arrived_to;
    struct cairn_bulk *b = op_bulk(op);
    struct cairn_bulk_peer *bp = op->bp;

    op->arrived_to = to;
    cairn_stats_add(&b->counters.bytes[op->way], to - from);
    if (op->way == CAIRN_BULK_FRAMES && bp != NULL)
        bp->frame_bytes += to - from;
    if (op->arrived != NULL && !op->push)
        op->arrived(op, from, to);
    return op->sm.state == OP_MOVE;
}

static void op_pop_landed(struct cairn_bulk_op *op)
{
    while (op->npieces > 0 && op_piece(op, 0)->landed) {
        uint64_t to = op_piece(op, 0)->from + op_piece(op, 0)->len;

        op->head = (op->head + 1) % op->room;
        op->npieces--;
        if (!op_arrived(op, to))
            return;
    }
    if (op->arrived_to == op->len)
        cairn_env_defer(&op_bulk(op)->loop->env, &op->task);
    else
        op_issue(op);
}

void cairn_bulk__piece_back(struct cairn_bulk__piece *p, int rc)
{
    struct cairn_bulk_op *op = p->op;

    CAIRN_ASSERT(p->flying && op->flying > 0);
    p->flying = false;
    op->flying--;
    switch (op->sm.state) {
    case OP_MOVE:
        if (rc == 0) {
            p->landed = true;
            op_pop_landed(op);
        } else if (op->way == CAIRN_BULK_FABRIC) {
            /* A bad key, a torn connection, another's bad key: they look alike. Frames give the answer that counts. */
            cairn_bulk__op_switch(op);
        } else {
            cairn_bulk__op_end(op, rc);
        }
        break;
    case OP_SWITCH:
    case OP_DRAIN:
        if (op->flying == 0)
            cairn_env_defer(&op_bulk(op)->loop->env, &op->task);
        break;
    default:
        CAIRN_ASSERT(false);
    }
}

void cairn_bulk__op_switch(struct cairn_bulk_op *op)
{
    struct cairn_bulk_peer *bp = op->bp;

    if (op->sm.state != OP_MOVE)
        return;
    if (bp != NULL && op->way == CAIRN_BULK_FABRIC && bp->ready) {
        bp->ready = false;
        cairn_bulk__intro_put_off(bp);
    }
    cairn_stats_add(&op_bulk(op)->counters.switches, 1);
    cairn_sm_move(&op->sm, OP_SWITCH);
    op_recall(op);
    if (op->flying == 0)
        cairn_env_defer(&op_bulk(op)->loop->env, &op->task);
}

static void op_go_on_by_frames(struct cairn_bulk_op *op)
{
    int rc;

    cairn_bulk__rma_release(op);
    op->npieces = 0; /* those that landed out of order travel again: the same bytes to the same place */
    op->next = op->arrived_to;
    op->way = CAIRN_BULK_FRAMES;
    cairn_sm_move(&op->sm, OP_MOVE);
    rc = op_make_ring(op);
    if (rc != 0)
        cairn_bulk__op_end(op, rc);
    else
        op_issue(op);
}

/* ---- copies ---- */

static int op_copy(struct cairn_bulk_op *op, uint64_t from, uint64_t len)
{
    uint8_t *p;

    if (op->way == CAIRN_BULK_VM)
        return cairn_bulk__vm_copy(op, from, len);
    p = cairn_bulk__memory(op_bulk(op), op->desc.key, op->off + from, len,
                           op->push ? CAIRN_BULK_CAN_WRITE : CAIRN_BULK_CAN_READ);
    if (p == NULL)
        return CAIRN_E_FAULT;
    memcpy(op->push ? p : op->local + from, op->push ? op->local + from : p, len);
    return 0;
}

/* At most CAIRN_BULK_PIECE_BYTES in a turn of the loop, over all transfers: others are served in between. */
static void op_copy_some(struct cairn_bulk_op *op)
{
    struct cairn_bulk *b = op_bulk(op);

    if (b->turn != b->loop->turns) {
        b->turn = b->loop->turns;
        b->turn_bytes = 0;
    }
    while (op->next < op->len && b->turn_bytes < CAIRN_BULK_PIECE_BYTES) {
        uint64_t from = op->next, len = MIN((uint64_t)BULK_VM_PIECE_BYTES, op->len - from);
        int rc = op_copy(op, from, len);

        if (rc == CAIRN_E_UNSUPPORTED) {
            cairn_bulk__op_switch(op);
            return;
        }
        if (rc != 0) {
            cairn_bulk__op_end(op, rc);
            return;
        }
        b->turn_bytes += len;
        op->next = from + len;
        if (!op_arrived(op, op->next))
            return;
    }
    if (op->arrived_to == op->len)
        op_finish(op);
    else
        cairn_env_defer(&b->loop->env, &op->task);
}

/* ---- the way ---- */

enum cairn_bulk_way cairn_bulk_way_to(struct cairn_rpc_peer *peer, bool push)
{
    const struct cairn_bulk_peer *bp;

    if (peer == NULL)
        return CAIRN_BULK_SELF;
    bp = *cairn_rpc_peer_bulk(peer);
    if (bp == NULL)
        return CAIRN_BULK_FRAMES;
    if (push ? bp->vm_push : bp->vm_pull)
        return CAIRN_BULK_VM;
    return bp->ready ? CAIRN_BULK_FABRIC : CAIRN_BULK_FRAMES;
}

static bool op_can(const struct cairn_bulk_op *op, enum cairn_bulk_way way)
{
    const struct cairn_bulk_peer *bp = op->bp;

    switch (way) {
    case CAIRN_BULK_SELF:
        return op->peer == NULL;
    case CAIRN_BULK_FRAMES:
        return op->peer != NULL;
    case CAIRN_BULK_VM:
        return bp != NULL && (op->push ? bp->vm_push : bp->vm_pull);
    case CAIRN_BULK_FABRIC:
        return bp != NULL && bp->ready && op->desc.fabric;
    default:
        return false;
    }
}

static int op_choose(struct cairn_bulk_op *op)
{
    enum cairn_bulk_way way = op->way;

    if (way == CAIRN_BULK_AUTO) {
        way = cairn_bulk_way_to(op->peer, op->push);
        if (!op_can(op, way))
            way = CAIRN_BULK_FRAMES; /* memory that was exposed before the fabric was open */
    }
    if (!op_can(op, way))
        return CAIRN_E_UNSUPPORTED;
    op->way = way;
    return 0;
}

/* All of it comes from the caller. */
static int op_check(const struct cairn_bulk_op *op)
{
    const Cairn__Wire__BulkDesc *d = &op->desc;

    if ((d->rights & (op->push ? CAIRN_BULK_CAN_WRITE : CAIRN_BULK_CAN_READ)) == 0)
        return CAIRN_E_FAULT;
    if (op->off > d->len || op->len > d->len - op->off)
        return CAIRN_E_FAULT;
    if (d->addr + d->len < d->addr)
        return CAIRN_E_FAULT;
    if (op->peer != NULL && !cairn_rpc_peer_is_up(op->peer))
        return CAIRN_E_CLOSED;
    return 0;
}

static void op_begin(struct cairn_bulk_op *op)
{
    struct cairn_bulk_peer *bp = op->bp;
    int rc = op_check(op);

    if (rc == 0)
        rc = op_choose(op);
    if (rc != 0) {
        cairn_bulk__op_end(op, rc);
        return;
    }
    cairn_sm_move(&op->sm, OP_MOVE);
    if (op->len == 0) {
        op_finish(op);
        return;
    }
    if (op->way == CAIRN_BULK_VM || op->way == CAIRN_BULK_SELF) {
        op_copy_some(op);
        return;
    }
    if (op->way == CAIRN_BULK_FRAMES && bp != NULL)
        cairn_bulk__intro_consider(bp);
    if (op->way == CAIRN_BULK_FABRIC)
        rc = cairn_bulk__rma_prepare(op);
    if (rc == 0)
        rc = op_make_ring(op);
    if (rc != 0)
        cairn_bulk__op_end(op, rc);
    else
        op_issue(op);
}

static void on_task(void *arg)
{
    struct cairn_bulk_op *op = arg;

    switch (op->sm.state) {
    case OP_NEW:
        op_begin(op);
        break;
    case OP_MOVE:
        if (op->arrived_to == op->len)
            op_finish(op);
        else
            op_copy_some(op);
        break;
    case OP_SWITCH:
        op_go_on_by_frames(op);
        break;
    case OP_DRAIN:
        if (op->flying == 0)
            op_finish(op);
        break;
    default:
        CAIRN_ASSERT(false);
    }
}

void cairn_bulk_start(struct cairn_rpc *rpc, struct cairn_bulk_op *op)
{
    struct cairn_bulk *b = bulk_of(rpc);
    uint64_t deadline;

    CAIRN_ASSERT(b != NULL && op->done != NULL);
    deadline = bulk_deadline(cairn_loop_now(b->loop), op->deadline_ns, op->len);
    op->rpc = rpc;
    op->next = op->arrived_to = 0;
    op->flying = op->head = op->npieces = 0;
    op->room = 1;
    op->pieces = NULL;
    op->local_mr = NULL;
    op->rc = 0;
    cairn_task_init(&op->task, on_task, op);
    cairn_timer_init(&op->timer, on_timer, op);
    cairn_sm_init(&op->sm, &cairn_bulk_op_kind, &b->loop->machines);
    cairn_list_add_tail(&b->ops, &op->link);
    b->nops++;
    op->bp = op->peer != NULL ? *cairn_rpc_peer_bulk(op->peer) : NULL;
    if (op->peer != NULL)
        cairn_rpc_peer_get(op->peer);
    if (op->bp != NULL)
        op->bp->refs++;
    if (cairn_timer_start(&b->loop->env, &op->timer, deadline) != 0)
        cairn_bulk__op_end(op, CAIRN_E_NOMEM);
    else
        cairn_env_defer(&b->loop->env, &op->task);
}
