/* What clients of the replicated world saw, judged when a walk has ended; of write-once keys, at once. And what members
 * hold then. */
#include "tests/sim/repl_internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* ---- write-once keys (I16) ---- */

void rw_judge_once(struct rw_client *c, const struct rw_call *p)
{
    struct repl_world *rw = c->rw;
    struct rw_once *o = &rw->once[c->slot][c->key - RW_KEYS];
    uint64_t value = c->op.kind == LINEAR_GET ? p->value : p->result == RW_ONCE_OK ? c->op.value : 0;

    rw->once_ops++;
    if (c->op.begin <= rw->loss_us[c->slot] || (value != 0 && value == o->lost))
        return;
    if (c->op.kind == LINEAR_GET && value == 0) { /* the primary says that nobody has written it */
        CAIRN_ASSERT(o->seen_us == 0 || o->seen_us >= c->op.begin);
        return;
    }
    if (o->seen_us == 0)
        o->seen_us = true_us(rw);
    if (value == 0)
        return;
    CAIRN_ASSERT(o->value == 0 || o->value == value);
    o->value = value;
}

/* ---- histories ---- */

void rw_history_add(struct repl_world *rw, uint32_t slot, uint32_t key, const struct linear_op *op)
{
    uint32_t *n = &rw->nhistory[slot][key];

    CAIRN_ASSERT(*n < RW_OPS_MAX);
    if (rw->history[slot][key] == NULL)
        rw->history[slot][key] = calloc(RW_OPS_MAX, sizeof(*op));
    rw->history[slot][key][(*n)++] = *op;
    rw->done_ops += op->end != LINEAR_UNKNOWN;
    rw->unknown_ops += op->end == LINEAR_UNKNOWN;
}

static int by_rid(const void *pa, const void *pb)
{
    const struct cairn_rid *a = &((const struct rw_truth_entry *)pa)->rid,
                           *b = &((const struct rw_truth_entry *)pb)->rid;

    if (!cairn_at_is(a->session, b->session))
        return cairn_at_is_less(a->session, b->session) ? -1 : 1;
    return a->seq < b->seq ? -1 : a->seq > b->seq;
}

/* I6; a write-once key's rid may come twice, the key knows it. */
static void check_rids(struct rw_truth *t)
{
    qsort(t->all, t->n, sizeof(*t->all), by_rid);
    for (uint32_t i = 1; i < t->n; i++)
        CAIRN_ASSERT(t->all[i].kind != CAIRN_ENTRY_WRITE || t->all[i - 1].kind != CAIRN_ENTRY_WRITE ||
                     t->all[i].rid.session.pos == 0 || by_rid(&t->all[i - 1], &t->all[i]) != 0);
}

/* Records and sessions are a function of the log: members that have applied the same hold the same, copied or not. */
static void check_equal(const struct rw_slot *a, const struct rw_slot *b)
{
    const struct cairn_sessions *x = &a->replica.sessions, *y = &b->replica.sessions;

    CAIRN_ASSERT(memcmp(a->index, b->index, sizeof(a->index)) == 0);
    CAIRN_ASSERT(x->n == y->n);
    for (uint32_t i = 0; i < x->n; i++) {
        CAIRN_ASSERT(cairn_at_is(x->all[i].id, y->all[i].id));
        for (uint32_t k = 0; k < x->all[i].nwrites; k++) {
            const struct cairn_session_write *w = &x->all[i].writes[k], *v = cairn_session_find(&y->all[i], w->seq);

            CAIRN_ASSERT(v != NULL ? v->pos == w->pos && v->result == w->result : y->all[i].floor > w->seq);
        }
    }
}

static void check_members_are_equal(struct repl_world *rw, uint32_t slot)
{
    for (uint32_t i = 1; i <= rw->conf.nodes; i++) {
        for (uint32_t k = 1; k <= rw->conf.nodes; k++) {
            struct rw_slot *a = &rw->nodes[i].slots[slot], *b = &rw->nodes[k].slots[slot];

            if (i != k && rw_is_member(a) && rw_is_member(b) && a->replica.applied == a->replica.log.end.pos &&
                cairn_at_is(a->replica.log.end, b->replica.log.end) && b->replica.applied == a->replica.applied)
                check_equal(a, b);
        }
    }
}

uint64_t repl_world_judge(struct repl_world *rw)
{
    uint64_t ops = 0;

    repl_world_run_ms(rw, 1000); /* what the clients left is settled */
    for (uint32_t i = 0; i < rw->conf.slots; i++) {
        check_members_are_equal(rw, i);
        check_rids(&rw->truth[i]);
        for (uint32_t k = 0; k < RW_KEYS; k++) {
            int rc = linear_check(rw->history[i][k], rw->nhistory[i][k], 10000000);

            if (rc != 1) {
                fprintf(stderr, "seed %" PRIu64 ": slot %u key %u: %s\n", rw->conf.seed, i, k,
                        rc == 0 ? "not linearizable" : "not found out");
                linear_print(rw->history[i][k], rw->nhistory[i][k], stderr);
            }
            CAIRN_ASSERT(rc == 1);
            ops += rw->nhistory[i][k];
        }
    }
    return ops;
}
