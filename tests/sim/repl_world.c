/* A cluster of replicas on the simulated world: see repl_world.h. */
#include "tests/sim/repl_world.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MS CAIRN_NS_PER_MS

static const struct cairn_lease_times lease_times = {
    .length_ns = 2000 * MS, .heartbeat_ns = 500 * MS, .slack_ns = 50 * MS, .drift_ppm = 1000
};
static const struct cairn_replica_times replica_times = {
    .resend_ns = 100 * MS, .ack_ns = 500 * MS, .learner_ns = 300 * MS, .session_ttl_ns = 20000 * MS
};

/* ---- what travels ---- */

enum packet_kind { P_REPL, P_REGISTER, P_REGISTERED, P_AGAIN, P_BEAT, P_GRANT, P_PROPOSE, P_VERDICT, P_RECORD, P_ASK, P_CALL, P_REPLY };

struct packet {
    enum packet_kind kind;
    uint32_t slot, client, key;
    struct cairn_repl_msg repl;
    struct cairn_change change;
    enum cairn_verdict verdict;
    struct cairn_slot_record rec, recs[RW_SLOTS_MAX];
    struct cairn_who who;
    uint64_t number, disk_id, value, call, seq, floor;
    struct cairn_at at, ends[RW_SLOTS_MAX];
    enum linear_kind op;
    enum cairn_entry_kind entry;
    int rc;
    int32_t result;
    uint32_t nentries, nruns;
};

static void send_packet(struct repl_world *rw, uint32_t from, uint32_t to, const struct packet *p)
{
    world_send(rw->world, from, to, p, sizeof(*p));
}

static struct cairn_env *env_of(struct repl_world *rw, uint32_t i)
{
    return world_env(rw->world, i);
}

static uint64_t dice(struct repl_world *rw, uint64_t n)
{
    return world_random(rw->world) % n;
}

/* ---- disks ---- */

static void log_push(struct rw_log *l, const struct cairn_entry *e)
{
    struct rw_entry *x;

    if (l->n == l->room) {
        l->room = l->room == 0 ? 64 : l->room * 2;
        l->all = realloc(l->all, l->room * sizeof(*l->all));
        CAIRN_ASSERT(l->all != NULL);
    }
    x = &l->all[l->n++];
    x->e = *e;
    CAIRN_ASSERT(e->body_len <= sizeof(x->body));
    if (e->body_len > 0)
        memcpy(x->body, e->body, e->body_len);
}

static void log_copy(struct rw_log *to, const struct rw_log *from)
{
    to->n = 0;
    for (uint32_t i = 0; i < from->n; i++) {
        struct cairn_entry e = from->all[i].e;

        e.body = (const uint8_t *)from->all[i].body;
        log_push(to, &e);
    }
}

static struct rw_slot *slot_of(struct cairn_replica *r)
{
    return CONTAINER_OF(r, struct rw_slot, replica);
}

static void op_log_append(struct cairn_replica *r, const struct cairn_entry *entries, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        log_push(&slot_of(r)->log, &entries[i]);
}

static void op_log_cut(struct cairn_replica *r, uint64_t pos)
{
    struct rw_slot *s = slot_of(r);
    struct repl_world *rw = s->node->rw;

    /* I4: of whom the map says that it is a member, nothing is cut that a client was told of. */
    CAIRN_ASSERT(!(pos < rw->replied[r->slot].pos && cairn_slot_insync(&rw->stored[r->slot], r->self) >= 0 &&
                   cairn_at_is(s->log.all[rw->replied[r->slot].pos - 1].e.at, rw->replied[r->slot])));
    s->log.n = (uint32_t)pos;
}

static void on_sync_done(void *arg)
{
    struct rw_slot *s = arg;

    log_copy(&s->durable, &s->syncing);
    cairn_replica_on_synced(&s->replica);
}

static void op_log_sync(struct cairn_replica *r)
{
    struct rw_slot *s = slot_of(r);
    struct repl_world *rw = s->node->rw;

    log_copy(&s->syncing, &s->log);
    cairn_timer_start(r->env, &s->sync_done, cairn_env_now_ns(r->env) + MS / 2 + dice(rw, rw->conf.disk_ns + 1));
}

static bool op_log_get(struct cairn_replica *r, uint64_t pos, struct cairn_entry *e)
{
    struct rw_slot *s = slot_of(r);

    CAIRN_ASSERT(pos >= 1 && pos <= s->log.n);
    *e = s->log.all[pos - 1].e;
    e->body = (const uint8_t *)s->log.all[pos - 1].body;
    CAIRN_ASSERT(e->at.pos == pos);
    return true;
}

/* ---- messages of replicas ---- */

static void op_send(struct cairn_replica *r, const struct cairn_repl_msg *m)
{
    struct rw_slot *s = slot_of(r);
    size_t len = sizeof(struct packet) + m->nentries * sizeof(struct rw_entry) + m->nruns * sizeof(struct cairn_run);
    uint8_t *bytes = calloc(1, len), *at = bytes + sizeof(struct packet);
    struct packet *p = (struct packet *)bytes;

    CAIRN_ASSERT(bytes != NULL);
    p->kind = P_REPL;
    p->slot = r->slot;
    p->repl = *m;
    for (uint32_t i = 0; i < m->nentries; i++, at += sizeof(struct rw_entry)) {
        struct rw_entry x = { .e = m->entries[i] };

        if (x.e.body_len > 0)
            memcpy(x.body, x.e.body, x.e.body_len);
        memcpy(at, &x, sizeof(x));
    }
    if (m->nruns > 0)
        memcpy(at, m->runs, m->nruns * sizeof(struct cairn_run));
    world_send(s->node->rw->world, s->node->index, (uint32_t)m->to.node, bytes, len);
    free(bytes);
}

static void node_receive_repl(struct repl_node *n, const uint8_t *bytes, const struct packet *p)
{
    struct cairn_repl_msg m = p->repl;
    struct rw_entry *x = calloc(m.nentries + 1, sizeof(*x));
    struct cairn_entry *e = calloc(m.nentries + 1, sizeof(*e));
    struct cairn_run *runs = calloc(m.nruns + 1, sizeof(*runs));

    CAIRN_ASSERT(x != NULL && e != NULL && runs != NULL);
    memcpy(x, bytes + sizeof(*p), m.nentries * sizeof(*x));
    memcpy(runs, bytes + sizeof(*p) + m.nentries * sizeof(*x), m.nruns * sizeof(*runs));
    for (uint32_t i = 0; i < m.nentries; i++) {
        e[i] = x[i].e;
        e[i].body = (const uint8_t *)x[i].body;
    }
    m.entries = e;
    m.runs = runs;
    cairn_replica_receive(&n->slots[p->slot].replica, &m);
    free(x);
    free(e);
    free(runs);
}

static void op_propose(struct cairn_replica *r, const struct cairn_change *c)
{
    struct repl_node *n = slot_of(r)->node;
    struct packet p = { .kind = P_PROPOSE, .slot = r->slot, .change = *c };

    send_packet(n->rw, n->index, 0, &p);
}

static void op_map_is_old(struct cairn_replica *r, uint64_t epoch)
{
    struct repl_node *n = slot_of(r)->node;
    struct packet p = { .kind = P_ASK, .slot = r->slot };

    (void)epoch;
    send_packet(n->rw, n->index, 0, &p);
}

static void op_copy_is_needed(struct cairn_replica *r, struct cairn_who peer)
{
    (void)peer;
    fprintf(stderr, "slot %u: a copy is needed, though nothing was trimmed\n", r->slot);
    abort();
}

static bool op_lease_is_valid(struct cairn_replica *r)
{
    return cairn_lease_is_valid(&slot_of(r)->node->lease, cairn_env_now_ns(r->env));
}

/* ---- the index ---- */

static void run_apply(void *arg)
{
    struct rw_slot *s = arg;

    while (s->apply_next <= s->apply_to) {
        struct rw_entry x = s->log.all[s->apply_next - 1];
        int32_t result = 0;

        x.e.body = (const uint8_t *)x.body;
        if (x.e.kind == CAIRN_ENTRY_WRITE) {
            uint32_t key = (uint32_t)(x.body[0] & 0xff);

            if (x.body[0] >> 8 == LINEAR_DELETE) {
                result = s->value[key] != 0;
                s->value[key] = 0;
            } else {
                s->value[key] = x.body[1];
            }
        }
        s->apply_next++;
        cairn_replica_on_applied(&s->replica, &x.e, result);
    }
}

static void op_apply(struct cairn_replica *r, const struct cairn_entry *e)
{
    struct rw_slot *s = slot_of(r);

    s->apply_to = e->at.pos;
    cairn_env_defer(r->env, &s->apply_task);
}

static const struct cairn_replica_ops replica_ops = {
    .log_append = op_log_append,
    .log_cut = op_log_cut,
    .log_sync = op_log_sync,
    .log_get = op_log_get,
    .send = op_send,
    .propose = op_propose,
    .apply = op_apply,
    .lease_is_valid = op_lease_is_valid,
    .map_is_old = op_map_is_old,
    .copy_is_needed = op_copy_is_needed,
};

/* ---- nodes ---- */

static void node_register(struct repl_node *n)
{
    struct packet p = { .kind = P_REGISTER, .disk_id = n->disk_id, .number = n->process };

    for (uint32_t i = 0; i < n->rw->conf.slots; i++) {
        struct rw_log *l = &n->slots[i].log;

        if (l->n > 0)
            p.ends[i] = l->all[l->n - 1].e.at;
    }
    send_packet(n->rw, n->index, 0, &p);
}

static void on_beat(void *arg)
{
    struct repl_node *n = arg;
    struct cairn_env *env = env_of(n->rw, n->index);
    struct packet p = { .kind = P_BEAT, .who = n->self, .number = ++n->nbeats };

    cairn_timer_start(env, &n->beat, cairn_env_now_ns(env) + lease_times.heartbeat_ns);
    if (!n->registered) {
        node_register(n);
        return;
    }
    n->beats[n->nbeats % ARRAY_SIZE(n->beats)].number = n->nbeats;
    n->beats[n->nbeats % ARRAY_SIZE(n->beats)].sent_ns = cairn_env_now_ns(env);
    send_packet(n->rw, n->index, 0, &p);
}

/* The incarnation is here: the replicas come to life with what the disk had. */
static void node_registered(struct repl_node *n, const struct packet *p)
{
    struct cairn_env *env = env_of(n->rw, n->index);

    if (n->registered || p->number != n->process)
        return;
    n->registered = true;
    n->self = p->who;
    n->lease = (struct cairn_lease){ 0 };
    for (uint32_t i = 0; i < n->rw->conf.slots; i++) {
        struct rw_slot *s = &n->slots[i];

        cairn_replica_init(&s->replica, &replica_ops, &replica_times, env, n->machines, i, n->self);
        cairn_timer_init(&s->sync_done, on_sync_done, s);
        cairn_task_init(&s->apply_task, run_apply, s);
        s->apply_next = 1;
        s->apply_to = 0;
        memset(s->value, 0, sizeof(s->value));
        for (uint32_t k = 0; k < s->log.n; k++) {
            s->log.all[k].e.body = (const uint8_t *)s->log.all[k].body;
            CAIRN_ASSERT(cairn_replica_restore_entry(&s->replica, &s->log.all[k].e) == 0);
        }
    }
    on_beat(n);
}

static void node_granted(struct repl_node *n, const struct packet *p)
{
    unsigned i = p->number % ARRAY_SIZE(n->beats);

    if (!n->registered || !cairn_who_is(p->who, n->self) || n->beats[i].number != p->number)
        return;
    for (uint32_t k = 0; k < n->rw->conf.slots; k++)
        cairn_replica_learn(&n->slots[k].replica, &p->recs[k]);
    cairn_lease_granted(&n->lease, &lease_times, p->number, n->beats[i].sent_ns);
    for (uint32_t k = 0; k < n->rw->conf.slots; k++)
        cairn_replica_on_lease(&n->slots[k].replica);
}

/* ---- clients' calls, at the node ---- */

struct call {
    struct cairn_repl_write w;
    struct repl_node *node;
    struct packet p;
    uint64_t body[2];
};

static void call_reply(struct repl_node *n, const struct packet *asked, int rc, uint64_t value, int32_t result,
                       struct cairn_at at)
{
    struct packet p = { .kind = P_REPLY, .slot = asked->slot, .call = asked->call, .rc = rc,
                        .value = value, .result = result, .at = at, .rec = n->slots[asked->slot].replica.rec };

    if (rc == 0 && asked->entry != 0 && n->rw->replied[asked->slot].pos < at.pos)
        n->rw->replied[asked->slot] = n->slots[asked->slot].log.all[at.pos - 1].e.at;
    send_packet(n->rw, n->index, asked->client, &p);
}

static void on_written(struct cairn_repl_write *w, int rc)
{
    struct call *c = w->arg;

    if (rc != CAIRN_E_SHUTDOWN)
        call_reply(c->node, &c->p, rc, 0, w->result, w->at);
    free(c);
}

static void node_call(struct repl_node *n, const struct packet *p)
{
    struct rw_slot *s = &n->slots[p->slot];
    struct call *c;
    int rc;

    if (p->entry == 0) { /* a read: look, fetch, look again */
        uint64_t value = s->value[p->key];

        rc = cairn_replica_may_read(&s->replica);
        call_reply(n, p, rc, value, 0, (struct cairn_at){ 0 });
        return;
    }
    c = calloc(1, sizeof(*c));
    CAIRN_ASSERT(c != NULL);
    c->node = n;
    c->p = *p;
    c->body[0] = (uint64_t)p->op << 8 | p->key;
    c->body[1] = p->value;
    c->w = (struct cairn_repl_write){ .kind = p->entry,
                                      .rid = { .session = p->at, .seq = p->seq },
                                      .floor = p->floor,
                                      .sync = n->rw->conf.sync,
                                      .body = (const uint8_t *)c->body,
                                      .body_len = sizeof(c->body),
                                      .done = on_written,
                                      .arg = c };
    rc = cairn_replica_write(&s->replica, &c->w);
    if (rc != 0) {
        call_reply(n, p, rc, 0, 0, (struct cairn_at){ 0 });
        free(c);
    }
}

static void node_receive(struct repl_node *n, const uint8_t *bytes, const struct packet *p)
{
    if (p->kind == P_REGISTERED)
        node_registered(n, p);
    if (!n->registered)
        return;
    switch (p->kind) {
    case P_REPL:
        node_receive_repl(n, bytes, p);
        break;
    case P_GRANT:
        node_granted(n, p);
        break;
    case P_AGAIN:
        node_register(n);
        break;
    case P_VERDICT:
        cairn_replica_on_verdict(&n->slots[p->slot].replica, &p->change, p->verdict, &p->rec);
        break;
    case P_RECORD:
        cairn_replica_learn(&n->slots[p->slot].replica, &p->rec);
        break;
    case P_CALL:
        node_call(n, p);
        break;
    default:
        break;
    }
}

/* ---- MAP ---- */

static struct repl_world *world_of(struct cairn_coord *c)
{
    return CONTAINER_OF(c, struct repl_world, coord);
}

static void map_send_record(struct repl_world *rw, uint32_t to, uint32_t slot)
{
    struct packet p = { .kind = P_RECORD, .slot = slot, .rec = rw->stored[slot] };

    if (p.rec.epoch != 0)
        send_packet(rw, 0, to, &p);
}

static void co_publish(struct cairn_coord *c, uint32_t slot, const struct cairn_slot_record *rec)
{
    struct repl_world *rw = world_of(c);

    (void)rec;
    for (uint32_t i = 1; i <= rw->conf.nodes; i++)
        map_send_record(rw, i, slot);
}

static void co_verdict(struct cairn_coord *c, const struct cairn_change *change, enum cairn_verdict verdict,
                       const struct cairn_slot_record *rec)
{
    struct packet p = { .kind = P_VERDICT, .slot = change->slot, .change = *change, .verdict = verdict, .rec = *rec };

    send_packet(world_of(c), 0, (uint32_t)change->from.node, &p);
}

static void on_store_over(void *arg)
{
    struct rw_store *st = arg;
    struct repl_world *rw = st->rw;
    uint32_t slot = (uint32_t)(st - rw->stores);

    rw->stored[slot] = st->rec;
    if (rw->coord_is_up)
        cairn_coord_on_stored(&rw->coord, slot, 0);
}

static void co_store(struct cairn_coord *c, uint32_t slot, const struct cairn_slot_record *rec)
{
    struct repl_world *rw = world_of(c);
    struct cairn_env *env = env_of(rw, 0);

    CAIRN_ASSERT(rec->epoch == rw->stored[slot].epoch + 1);
    rw->stores[slot].rec = *rec;
    cairn_timer_start(env, &rw->stores[slot].timer, cairn_env_now_ns(env) + MS / 2 + dice(rw, 10 * MS));
}

static const struct cairn_coord_ops coord_ops = { .store = co_store, .publish = co_publish, .verdict = co_verdict };

static void on_coord_tick(void *arg)
{
    struct repl_world *rw = arg;
    struct cairn_env *env = env_of(rw, 0);

    cairn_timer_start(env, &rw->coord_tick, cairn_env_now_ns(env) + 100 * MS);
    if (rw->coord_is_up)
        cairn_coord_tick(&rw->coord);
}

static void map_register(struct repl_world *rw, uint32_t from, const struct packet *p)
{
    struct packet answer = { .kind = P_REGISTERED, .number = p->number, .who = { .node = from } };
    struct cairn_coord_log logs[RW_SLOTS_MAX];
    struct cairn_coord_process process = { .node = from, .disk_id = p->disk_id, .process = p->number };

    for (uint32_t i = 0; i < rw->conf.slots; i++)
        logs[i] = (struct cairn_coord_log){ .slot = i, .end = p->ends[i] };
    if (cairn_coord_register(&rw->coord, &process, logs, rw->conf.slots) != 0)
        return;
    rw->stored_nodes[from] = process;
    answer.who.inc = process.inc;
    send_packet(rw, 0, from, &answer);
    for (uint32_t i = 0; i < rw->conf.slots; i++)
        map_send_record(rw, from, i);
}

static void map_receive(struct repl_world *rw, uint32_t from, const struct packet *p)
{
    struct packet answer = { .kind = P_GRANT, .who = p->who, .number = p->number };

    if (!rw->coord_is_up)
        return;
    switch (p->kind) {
    case P_REGISTER:
        map_register(rw, from, p);
        break;
    case P_BEAT:
        if (cairn_coord_wants_register(&rw->coord, from))
            send_packet(rw, 0, from, &(struct packet){ .kind = P_AGAIN });
        if (!cairn_coord_heartbeat(&rw->coord, p->who))
            break;
        memcpy(answer.recs, rw->stored, sizeof(answer.recs)); /* M1: the grant brings the map up to date */
        send_packet(rw, 0, from, &answer);
        break;
    case P_PROPOSE:
        cairn_coord_propose(&rw->coord, &p->change);
        break;
    case P_ASK:
        map_send_record(rw, from, p->slot);
        break;
    default:
        break;
    }
}

/* ---- clients ---- */

static void client_next(struct rw_client *c, uint64_t in_ns)
{
    struct cairn_env *env = env_of(c->rw, c->index);

    cairn_timer_start(env, &c->timer, cairn_env_now_ns(env) + in_ns);
}

static int64_t true_us(const struct repl_world *rw)
{
    return (int64_t)(world_now_ns(rw->world) / 1000);
}

static void history_add(struct repl_world *rw, const struct rw_client *c, const struct linear_op *op)
{
    uint32_t *n = &rw->nhistory[c->slot][c->key];

    CAIRN_ASSERT(*n < RW_OPS_MAX);
    if (rw->history[c->slot][c->key] == NULL)
        rw->history[c->slot][c->key] = calloc(RW_OPS_MAX, sizeof(*op));
    rw->history[c->slot][c->key][(*n)++] = *op;
    rw->done_ops += op->end != LINEAR_UNKNOWN;
    rw->unknown_ops += op->end == LINEAR_UNKNOWN;
}

/* Sends, or sends again, what is under way, to whomever the map that it has names; or, if that does not help, to any. */
static void client_send(struct rw_client *c)
{
    struct repl_world *rw = c->rw;
    struct packet p = { .kind = P_CALL, .slot = c->slot, .client = c->index, .key = c->key, .call = c->call };
    uint32_t to = (uint32_t)c->map[c->slot].primary.node;

    if (to == 0 || c->tries % 4 == 3)
        to = 1 + (uint32_t)dice(rw, rw->conf.nodes);
    c->tries++;
    if (c->state == RW_OPENING) {
        p.entry = CAIRN_ENTRY_OPEN;
    } else if (c->op.kind != LINEAR_GET) {
        p.entry = CAIRN_ENTRY_WRITE;
        p.op = c->op.kind;
        p.value = c->op.value;
        p.at = c->session[c->slot].id;
        p.seq = p.floor = c->session[c->slot].seq;
    }
    send_packet(rw, c->index, to, &p);
    client_next(c, 150 * MS + dice(rw, 100 * MS));
}

static void client_begin(struct rw_client *c)
{
    struct repl_world *rw = c->rw;
    uint64_t kind = dice(rw, 10);

    c->slot = (uint32_t)dice(rw, rw->conf.slots);
    c->key = (uint32_t)dice(rw, RW_KEYS);
    c->tries = 0;
    c->call++;
    c->op = (struct linear_op){ .client = c->index, .begin = true_us(rw), .end = LINEAR_UNKNOWN };
    c->op.kind = kind < 5 ? LINEAR_PUT : kind < 9 ? LINEAR_GET : LINEAR_DELETE;
    if (c->op.kind == LINEAR_PUT)
        c->op.value = ++rw->next_value;
    c->state = c->op.kind != LINEAR_GET && c->session[c->slot].id.pos == 0 ? RW_OPENING : RW_CALLING;
    if (c->state == RW_CALLING && c->op.kind != LINEAR_GET)
        c->session[c->slot].seq++;
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

static void client_receive(struct rw_client *c, const struct packet *p)
{
    if (c->state == RW_IDLE || p->call != c->call)
        return;
    if (p->rec.epoch > c->map[c->slot].epoch)
        c->map[c->slot] = p->rec;
    if (p->rc == CAIRN_E_GONE) {
        /* Whether the write was done before is unknown: a new session must not repeat it. */
        c->session[c->slot].id = (struct cairn_at){ 0 };
        history_add(c->rw, c, &c->op);
        client_end(c);
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
        history_add(c->rw, c, &c->op);
        client_end(c);
    }
}

void repl_world_stop_clients(struct repl_world *rw)
{
    rw->clients_stop = true;
    for (uint32_t i = 0; i < rw->conf.clients; i++) {
        struct rw_client *c = &rw->clients[i];

        if (c->state != RW_IDLE)
            history_add(rw, c, &c->op);
        c->state = RW_IDLE;
    }
}

/* ---- the world ---- */

static void deliver(void *arg, uint32_t to, uint32_t from, const uint8_t *bytes, size_t len)
{
    struct repl_world *rw = arg;
    struct packet p;

    CAIRN_ASSERT(len >= sizeof(p));
    memcpy(&p, bytes, sizeof(p));
    if (to == 0)
        map_receive(rw, from, &p);
    else if (to <= rw->conf.nodes)
        node_receive(&rw->nodes[to], bytes, &p);
    else if (p.kind == P_REPLY)
        client_receive(&rw->clients[to - rw->conf.nodes - 1], &p);
}

static int coord_begin(struct repl_world *rw)
{
    int rc = cairn_coord_init(&rw->coord, &coord_ops, env_of(rw, 0), &lease_times, rw->conf.slots);

    for (uint32_t i = 1; rc == 0 && i <= rw->conf.nodes; i++) {
        if (rw->stored_nodes[i].inc != 0)
            rc = cairn_coord_load_node(&rw->coord, &rw->stored_nodes[i]);
    }
    for (uint32_t i = 0; rc == 0 && i < rw->conf.slots; i++) {
        if (rw->stored[i].epoch != 0)
            cairn_coord_load(&rw->coord, i, &rw->stored[i]);
    }
    rw->coord_is_up = true;
    return rc;
}

void repl_world_start_coord(struct repl_world *rw)
{
    if (!rw->coord_is_up)
        CAIRN_ASSERT(coord_begin(rw) == 0);
}

void repl_world_crash_coord(struct repl_world *rw)
{
    if (!rw->coord_is_up)
        return;
    rw->coord_is_up = false;
    for (uint32_t i = 0; i < rw->conf.slots; i++) {
        if (!cairn_timer_is_running(&rw->stores[i].timer))
            continue;
        cairn_timer_stop(env_of(rw, 0), &rw->stores[i].timer);
        if (dice(rw, 2) == 0) /* it was stored, and nobody heard */
            rw->stored[i] = rw->stores[i].rec;
    }
    cairn_coord_fini(&rw->coord);
}

void repl_world_start(struct repl_world *rw, uint32_t node)
{
    struct repl_node *n = &rw->nodes[node];
    struct cairn_env *env;

    if (n->up)
        return;
    if (!world_is_up(rw->world, node))
        world_restart(rw->world, node);
    env = env_of(rw, node);
    n->up = true;
    n->registered = false;
    n->process++;
    n->machines = calloc(1, sizeof(*n->machines));
    CAIRN_ASSERT(n->machines != NULL);
    cairn_sm_set_init(n->machines, env);
    cairn_timer_init(&n->beat, on_beat, n);
    on_beat(n);
}

/* What the disk keeps: all that was synced, and of what came after, in order, as much as it likes. */
static void disk_crash(struct repl_world *rw, struct rw_slot *s)
{
    uint32_t common = 0, keep;

    while (common < s->durable.n && common < s->log.n &&
           cairn_at_is(s->durable.all[common].e.at, s->log.all[common].e.at))
        common++;
    if (common < s->durable.n) {
        /* A cut that was not synced may be lost, or hold. */
        if (dice(rw, 2) == 0) {
            log_copy(&s->log, &s->durable);
            return;
        }
    }
    keep = common + (uint32_t)dice(rw, s->log.n - common + 1);
    s->log.n = keep;
    log_copy(&s->durable, &s->log);
}

void repl_world_crash(struct repl_world *rw, uint32_t node)
{
    struct repl_node *n = &rw->nodes[node];

    if (!n->up)
        return;
    for (uint32_t i = 0; i < rw->conf.slots; i++) {
        struct rw_slot *s = &n->slots[i];

        if (n->registered)
            cairn_replica_fini(&s->replica);
        disk_crash(rw, s);
    }
    cairn_sm_set_fini(n->machines);
    free(n->machines);
    n->up = n->registered = false;
    world_crash(rw->world, node);
}

struct repl_world *repl_world_new(const struct repl_world_conf *conf)
{
    struct repl_world *rw = calloc(1, sizeof(*rw));
    struct world_conf wc = { .seed = conf->seed,
                             .nodes = 1 + conf->nodes + conf->clients,
                             .latency_ns = conf->latency_ns,
                             .jitter_ns = conf->jitter_ns,
                             .loss_ppm = conf->loss_ppm,
                             .twice_ppm = conf->twice_ppm,
                             .straggler_ppm = conf->straggler_ppm,
                             .straggler_ns = conf->straggler_ns,
                             .deliver = deliver,
                             .arg = rw };
    struct cairn_env *env;

    CAIRN_ASSERT(rw != NULL && conf->nodes <= RW_NODES_MAX && conf->clients <= RW_CLIENTS_MAX &&
                 conf->slots <= RW_SLOTS_MAX);
    rw->conf = *conf;
    rw->world = world_new(&wc);
    CAIRN_ASSERT(rw->world != NULL);
    env = env_of(rw, 0);
    for (uint32_t i = 0; i < RW_SLOTS_MAX; i++) {
        rw->stores[i].rw = rw;
        cairn_timer_init(&rw->stores[i].timer, on_store_over, &rw->stores[i]);
    }
    CAIRN_ASSERT(coord_begin(rw) == 0);
    cairn_timer_init(&rw->coord_tick, on_coord_tick, rw);
    cairn_timer_start(env, &rw->coord_tick, cairn_env_now_ns(env) + 100 * MS);
    for (uint32_t i = 1; i <= conf->nodes; i++) {
        struct repl_node *n = &rw->nodes[i];

        n->rw = rw;
        n->index = i;
        n->disk_id = i;
        for (uint32_t k = 0; k < conf->slots; k++)
            n->slots[k].node = n;
        repl_world_start(rw, i);
    }
    for (uint32_t i = 0; i < conf->clients; i++) {
        struct rw_client *c = &rw->clients[i];

        c->rw = rw;
        c->index = 1 + conf->nodes + i;
        cairn_timer_init(&c->timer, on_client_timer, c);
        client_next(c, 500 * MS);
    }
    for (uint32_t up = 0; up < conf->nodes;) {
        repl_world_run_ms(rw, 100);
        up = 0;
        for (uint32_t i = 1; i <= conf->nodes; i++)
            up += rw->nodes[i].registered;
    }
    for (uint32_t i = 0; i < conf->slots; i++) {
        uint64_t replicas[CAIRN_REPLICAS_MAX];

        for (uint32_t k = 0; k < conf->replicas; k++)
            replicas[k] = 1 + (i + k) % conf->nodes;
        CAIRN_ASSERT(cairn_coord_create(&rw->coord, i, replicas, conf->replicas, conf->min_insync) == 0);
    }
    return rw;
}

void repl_world_free(struct repl_world *rw)
{
    repl_world_crash_coord(rw);
    for (uint32_t i = 1; i <= rw->conf.nodes; i++) {
        repl_world_crash(rw, i);
        for (uint32_t k = 0; k < rw->conf.slots; k++) {
            free(rw->nodes[i].slots[k].log.all);
            free(rw->nodes[i].slots[k].durable.all);
            free(rw->nodes[i].slots[k].syncing.all);
        }
    }
    for (uint32_t i = 0; i < RW_SLOTS_MAX; i++) {
        for (uint32_t k = 0; k < RW_KEYS; k++)
            free(rw->history[i][k]);
    }
    world_free(rw->world);
    free(rw);
}

/* ---- what holds ---- */

static void check_slot(struct repl_world *rw, uint32_t slot)
{
    const struct rw_slot *longest = NULL;
    uint32_t serving = 0;

    for (uint32_t i = 1; i <= rw->conf.nodes; i++) {
        struct rw_slot *s = &rw->nodes[i].slots[slot];

        if (!rw->nodes[i].registered)
            continue;
        serving += s->replica.sm.state == REPLICA_ACTIVE && op_lease_is_valid(&s->replica);
        if (longest == NULL || s->replica.commit > longest->replica.commit)
            longest = s;
    }
    CAIRN_ASSERT(serving <= 1); /* I1 */
    for (uint32_t i = 1; i <= rw->conf.nodes; i++) {
        struct rw_slot *s = &rw->nodes[i].slots[slot];
        uint64_t pos = rw->nodes[i].registered ? s->replica.commit : 0;

        /* I3: what is committed is the same everywhere; by log matching the last entry tells. */
        CAIRN_ASSERT(pos == 0 || cairn_at_is(s->log.all[pos - 1].e.at, longest->log.all[pos - 1].e.at));
        /* I5, in part: who serves has all that clients were told of. */
        CAIRN_ASSERT(!rw->nodes[i].registered || s->replica.sm.state != REPLICA_ACTIVE ||
                     !op_lease_is_valid(&s->replica) || s->replica.commit >= rw->replied[slot].pos);
    }
}

void repl_world_check(struct repl_world *rw)
{
    for (uint32_t i = 0; i < rw->conf.slots; i++)
        check_slot(rw, i);
}

void repl_world_run_ms(struct repl_world *rw, uint64_t ms)
{
    uint64_t end = world_now_ns(rw->world) + ms * MS;

    while (world_step(rw->world, end))
        repl_world_check(rw);
    world_run_until(rw->world, end);
}

bool repl_world_is_whole(struct repl_world *rw, char why[160])
{
    for (uint32_t i = 0; i < rw->conf.slots; i++) {
        const struct cairn_slot_record *rec = &rw->stored[i];
        const struct cairn_replica *r = &rw->nodes[rec->primary.node].slots[i].replica;

        if (rec->ninsync != rec->nreplicas || rec->state != CAIRN_SLOT_ACTIVE ||
            !rw->nodes[rec->primary.node].registered || r->sm.state != REPLICA_ACTIVE ||
            (rw->clients_stop && r->commit != r->log.end.pos)) {
            snprintf(why, 160, "slot %u, epoch %" PRIu64 ": %u of %u in sync, state %d, primary %" PRIu64 " in %s", i,
                     rec->epoch, rec->ninsync, rec->nreplicas, (int)rec->state, rec->primary.node,
                     rw->nodes[rec->primary.node].registered ? cairn_sm_state_name(&r->sm) : "nobody");
            return false;
        }
    }
    return true;
}

uint64_t repl_world_judge(struct repl_world *rw)
{
    uint64_t ops = 0;

    for (uint32_t i = 0; i < rw->conf.slots; i++) {
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

void repl_world_print(struct repl_world *rw, FILE *to)
{
    static const char *const phases[] = { "silent", "probed", "stream", "copy" };

    for (uint32_t i = 0; i < rw->conf.slots; i++) {
        for (uint32_t k = 1; k <= rw->conf.nodes; k++) {
            const struct repl_node *n = &rw->nodes[k];
            const struct cairn_replica *r = &n->slots[i].replica;

            fprintf(to, "slot %u node %u.%" PRIu64 " (map: .%" PRIu64 ")", i, k, n->self.inc, rw->stored_nodes[k].inc);
            if (!n->registered) {
                fprintf(to, " is down\n");
                continue;
            }
            fprintf(to, " %s epoch %" PRIu64 " end %" PRIu64 "/%" PRIu64 " synced %" PRIu64 " commit %" PRIu64
                        " applied %" PRIu64 " change %d\n", cairn_sm_state_name(&r->sm), r->rec.epoch,
                    r->log.end.epoch, r->log.end.pos, r->log.synced, r->commit, r->applied, (int)r->change.kind);
            for (uint32_t p = 0; p < r->npeers; p++)
                fprintf(to, "    %s %" PRIu64 ".%" PRIu64 " %s first %" PRIu64 " next %" PRIu64 " matched %" PRIu64
                            " owes %d\n", r->peers[p].member ? "member" : "learner", r->peers[p].who.node,
                        r->peers[p].who.inc, phases[r->peers[p].phase], r->peers[p].first, r->peers[p].next,
                        r->peers[p].matched, r->peers[p].owes_ns != 0);
        }
    }
}
