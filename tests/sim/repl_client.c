/* Clients of the replicated world: one operation at a time, repeated until it is answered, and remembered. */
#include "tests/sim/repl_internal.h"

static void client_next(struct rw_client *c, uint64_t in_ns)
{
    struct cairn_env *env = env_of(c->rw, c->index);

    cairn_timer_start(env, &c->timer, cairn_env_now_ns(env) + in_ns);
}

static bool is_once(const struct rw_client *c)
{
    return c->key >= RW_KEYS;
}

/* Sends, or sends again, what is under way, to whomever its map names; or, if that does not help, to any. */
static void client_send(struct rw_client *c)
{
    struct repl_world *rw = c->rw;
    struct rw_call p = { .slot = c->slot, .client = c->index, .key = c->key, .call = c->call };
    uint32_t to = (uint32_t)c->map[c->slot].primary.node;

    if (to == 0 || c->tries % 4 == 3 || (is_once(c) && c->op.kind == LINEAR_GET && !c->ask_primary))
        to = 1 + (uint32_t)dice(rw, rw->conf.nodes);
    c->tries++;
    if (c->state == RW_OPENING) {
        p.entry = CAIRN_ENTRY_OPEN;
    } else if (c->op.kind != LINEAR_GET) {
        p.entry = CAIRN_ENTRY_WRITE;
        p.op = c->op.kind;
        p.value = c->op.value;
        p.sync = c->sync;
        p.large = c->large;
        if (is_once(c)) {
            p.seq = c->op.value; /* without a session; the rid stays with the key */
        } else {
            p.at = c->session[c->slot].id;
            p.seq = p.floor = c->session[c->slot].seq;
        }
    }
    rw_post_call(rw, c->index, to, &p);
    client_next(c, 150 * MS + dice(rw, 100 * MS));
}

static void client_begin(struct rw_client *c)
{
    struct repl_world *rw = c->rw;
    uint64_t kind = dice(rw, 10);

    if (c->index - rw->conf.nodes <= rw->conf.readers)
        kind = 5; /* GET, of whatever key */
    c->slot = (uint32_t)dice(rw, rw->conf.slots);
    c->key = (uint32_t)dice(rw, RW_KEYS);
    c->tries = 0;
    c->call++;
    c->ask_primary = false;
    c->sync = dice(rw, 100) >= rw->conf.buffered_percent;
    c->op = (struct linear_op){ .client = c->index, .begin = true_us(rw), .end = LINEAR_UNKNOWN };
    c->op.kind = kind < 5 ? LINEAR_PUT : kind < 9 ? LINEAR_GET : LINEAR_DELETE;
    if (dice(rw, 100) < rw->conf.once_percent) {
        c->key = RW_KEYS + (uint32_t)dice(rw, RW_ONCE_KEYS);
        c->op.kind = kind < 3 ? LINEAR_PUT : LINEAR_GET;
    }
    if (c->op.kind == LINEAR_PUT)
        c->op.value = ++rw->next_value;
    c->large = c->op.kind == LINEAR_PUT && rw->conf.large_percent > 0 && dice(rw, 100) < rw->conf.large_percent;
    c->state = RW_CALLING;
    if (c->op.kind != LINEAR_GET && !is_once(c)) {
        if (c->session[c->slot].id.pos == 0)
            c->state = RW_OPENING;
        else
            c->session[c->slot].seq++;
    }
    client_send(c);
}

static void on_client_timer(void *arg)
{
    struct rw_client *c = arg;

    if (c->state != RW_IDLE)
        client_send(c);
    else if (!c->rw->clients_stop)
        client_begin(c);
}

static void client_end(struct rw_client *c)
{
    c->state = RW_IDLE;
    client_next(c, dice(c->rw, 60 * MS));
}

static void remember(const struct rw_client *c)
{
    rw_history_add(c->rw, c->slot, c->key, &c->op);
}

static void client_learn(struct rw_client *c, const struct rw_call *p)
{
    struct cairn_slot_record rec;
    struct cairn_err err;

    if (p->record_len == 0)
        return;
    rw_must(cairn_wire_slot_unpack(p->record, p->record_len, &rec, &err), &err);
    if (rec.epoch > c->map[c->slot].epoch)
        c->map[c->slot] = rec;
}

void rw_client_receive(struct rw_client *c, const struct rw_call *p)
{
    if (c->state == RW_IDLE || p->call != c->call)
        return;
    client_learn(c, p);
    if (p->rc == CAIRN_E_GONE) {
        /* Whether the write was done before is unknown: a new session must not repeat it. */
        c->session[c->slot].id = (struct cairn_at){ 0 };
        remember(c);
        client_end(c);
    } else if (p->rc == RW_NOT_HERE && !c->ask_primary) {
        c->ask_primary = true;
        client_send(c);
    } else if (p->rc != 0) {
        client_next(c, 10 * MS + dice(c->rw, 60 * MS)); /* the same again */
    } else if (c->state == RW_OPENING) {
        c->session[c->slot].id = p->at;
        c->session[c->slot].seq = 1;
        c->state = RW_CALLING;
        c->call++;
        c->tries = 0;
        client_send(c);
    } else {
        c->op.end = true_us(c->rw);
        if (c->op.kind == LINEAR_GET)
            c->op.value = p->value;
        c->op.existed = p->result != 0;
        if (is_once(c))
            rw_judge_once(c, p);
        else
            remember(c);
        client_end(c);
    }
}

void repl_world_stop_clients(struct repl_world *rw)
{
    rw->clients_stop = true;
    for (uint32_t i = 0; i < rw->conf.clients; i++) {
        struct rw_client *c = &rw->clients[i];

        if (c->state != RW_IDLE && !is_once(c))
            remember(c);
        c->state = RW_IDLE;
    }
}

void rw_client_begin(struct rw_client *c)
{
    cairn_timer_init(&c->timer, on_client_timer, c);
    client_next(c, 500 * MS);
}
