/* What clients ask of a node of the replicated world. */
#include "tests/sim/repl_internal.h"

#include <stdlib.h>

struct call {
    struct cairn_repl_write w;
    struct repl_node *node;
    struct rw_call p;
    uint64_t body[3];
};

static void call_reply(struct repl_node *n, const struct rw_call *asked, int rc, uint64_t value, int32_t result,
                       struct cairn_at at)
{
    const struct cairn_slot_record *rec = &n->slots[asked->slot].replica.rec;
    struct rw_call p = {
        .slot = asked->slot, .call = asked->call, .rc = rc, .value = value, .result = result, .at = at
    };

    if (rc == 0 && asked->entry != 0)
        rw_judge_reply(&n->slots[asked->slot], at.pos, asked->sync);
    if (rec->epoch != 0)
        p.record_len = (uint32_t)cairn_wire_slot_pack(rec, p.record);
    rw_post_call(n->rw, n->index, asked->client, &p);
}

static void on_written(struct cairn_repl_write *w, int rc)
{
    struct call *c = w->arg;

    if (rc == 0 && c->body[2] != 0)
        rw_region_named(c->node, c->body[2]);
    if (rc != CAIRN_E_SHUTDOWN)
        call_reply(c->node, &c->p, rc, 0, w->result, w->at);
    free(c);
}

static void call_read(struct repl_node *n, const struct rw_call *p)
{
    struct rw_slot *s = &n->slots[p->slot];
    uint64_t value = s->index[p->key].value, region = s->index[p->key].region;
    int rc = cairn_replica_may_read(&s->replica); /* after the value was fetched */

    if (rc == 0)
        rw_judge_read(s, p->key);
    if (rc == 0 || p->key < RW_KEYS) {
        call_reply(n, p, rc, value, 0, (struct cairn_at){ 0 });
        return;
    }
    if (region != 0 && !rw_region_is_good(n, region)) /* who leads said that it is gone: what replaces it comes */
        value = 0;
    rc = value != 0 && cairn_replica_may_read_found(&s->replica) ? 0 : RW_NOT_HERE;
    n->rw->backup_reads += rc == 0;
    call_reply(n, p, rc, value, 0, (struct cairn_at){ 0 });
}

/* A node without room takes nothing new. */
static bool has_room(const struct repl_node *n)
{
    return !rw_log_is_full(n) && !rw_store_is_full(n);
}

/* M7: with too few in sync nothing is added to the log. What was added before may be asked for again. */
static void call_hand_over(struct call *c)
{
    struct cairn_replica *r = &c->node->slots[c->p.slot].replica;
    bool too_few = r->rec.ninsync < MIN(c->node->rw->conf.min_insync, r->rec.nreplicas);
    uint64_t end = r->log.end.pos;
    int rc = has_room(c->node) ? cairn_replica_write(r, &c->w) : CAIRN_E_NOSPACE;

    CAIRN_ASSERT(!too_few || r->log.end.pos == end);
    c->node->rw->full_writes += rc == CAIRN_E_NOSPACE;
    c->node->rw->refused += too_few && rc == CAIRN_E_BUSY;
    if (rc != 0) {
        call_reply(c->node, &c->p, rc, 0, 0, (struct cairn_at){ 0 });
        free(c);
    }
}

static void on_uploaded(void *arg, int rc, uint64_t region)
{
    struct call *c = arg;

    c->body[2] = region;
    if (rc == 0) {
        call_hand_over(c);
        return;
    }
    if (rc != CAIRN_E_SHUTDOWN)
        call_reply(c->node, &c->p, rc, 0, 0, (struct cairn_at){ 0 });
    free(c);
}

static void call_write(struct repl_node *n, const struct rw_call *p)
{
    struct call *c = calloc(1, sizeof(*c));

    CAIRN_ASSERT(c != NULL);
    c->node = n;
    c->p = *p;
    c->body[0] = (uint64_t)p->op << 8 | p->key;
    c->body[1] = p->value;
    c->w = (struct cairn_repl_write){ .kind = p->entry,
                                      .rid = { .session = p->at, .seq = p->seq },
                                      .floor = p->floor,
                                      .sync = p->sync,
                                      .body = (const uint8_t *)c->body,
                                      .body_len = sizeof(c->body),
                                      .done = on_written,
                                      .arg = c };
    if (p->large && cairn_replica_is_primary(&n->slots[p->slot].replica))
        rw_region_upload(n, p->slot, on_uploaded, c);
    else
        call_hand_over(c); /* of a large value: to be told where to go */
}

void rw_node_call(struct repl_node *n, const struct rw_call *p)
{
    if (p->entry == 0)
        call_read(n, p);
    else
        call_write(n, p);
}
