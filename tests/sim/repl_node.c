/* Nodes of the replicated world: what replicas ask of their node, its life with MAP, and what clients ask. */
#include "tests/sim/repl_internal.h"

#include <stdlib.h>
#include <string.h>

enum { PAGE_RECORDS = 12 };

const struct cairn_lease_times rw_lease_times = {
    .length_ns = 2000 * MS, .heartbeat_ns = 500 * MS, .slack_ns = 50 * MS, .drift_ppm = 1000
};
static const struct cairn_replica_times replica_times = {
    .resend_ns = 100 * MS, .ack_ns = 500 * MS, .learner_ns = 300 * MS, .session_ttl_ns = 20000 * MS
};

static struct rw_slot *slot_of(struct cairn_replica *r)
{
    return CONTAINER_OF(r, struct rw_slot, replica);
}

/* When the disk is done with something that begins now. */
static void disk_start(struct rw_slot *s, struct cairn_timer *t)
{
    struct repl_world *rw = s->node->rw;
    struct cairn_env *env = env_of(rw, s->node->index);

    CAIRN_ASSERT(!cairn_timer_is_running(t));
    cairn_timer_start(env, t, cairn_env_now_ns(env) + MS / 2 + dice(rw, rw->conf.disk_ns + 1));
}

/* ---- the log ---- */

static void op_log_append(struct cairn_replica *r, const struct cairn_log_entry *entries, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        rw_log_push(&slot_of(r)->log, &entries[i]);
}

static void op_log_cut(struct cairn_replica *r, uint64_t pos)
{
    rw_judge_cut(slot_of(r), pos);
    rw_log_cut(&slot_of(r)->log, pos);
}

static void on_sync_done(void *arg)
{
    struct rw_slot *s = arg;

    rw_log_copy(&s->durable, &s->syncing);
    cairn_replica_on_synced(&s->replica);
}

static void op_log_sync(struct cairn_replica *r)
{
    struct rw_slot *s = slot_of(r);

    rw_log_copy(&s->syncing, &s->log);
    disk_start(s, &s->sync_done);
}

static bool op_log_get(struct cairn_replica *r, uint64_t pos, struct cairn_log_entry *e)
{
    const struct rw_entry *x = rw_log_at(&slot_of(r)->log, pos);

    *e = x->e;
    e->body = (const uint8_t *)x->body;
    return true;
}

/* ---- checkpoints ---- */

static void checkpoint_begin(struct rw_slot *s)
{
    if (cairn_timer_is_running(&s->checkpoint_done) ||
        cairn_replica_checkpoint(&s->replica, &s->making.at, &s->making.sessions, &s->making.len) != 0)
        return;
    memcpy(s->making.index, s->index, sizeof(s->index));
    disk_start(s, &s->checkpoint_done);
}

static void on_checkpoint_done(void *arg)
{
    struct rw_slot *s = arg;
    struct repl_world *rw = s->node->rw;
    uint64_t keep = rw->conf.keeps_little ? 0 : dice(rw, 30), base = s->log.base.pos;

    if (s->making.at.pos > s->checkpoint.at.pos) {
        rw_checkpoint_free(&s->checkpoint);
        s->checkpoint = s->making;
        memset(&s->making, 0, sizeof(s->making));
        rw->checkpoints++;
    }
    rw_checkpoint_free(&s->making);
    if (s->checkpoint.at.pos > keep) {
        uint64_t pos = cairn_replica_trim(&s->replica, s->checkpoint.at.pos - keep);

        rw_log_trim(&s->log, pos);
        rw_log_trim(&s->durable, pos);
    }
    rw->trims += s->log.base.pos > base;
}

static void on_upkeep(void *arg)
{
    struct repl_node *n = arg;
    struct repl_world *rw = n->rw;
    struct cairn_env *env = env_of(rw, n->index);

    cairn_timer_start(env, &n->upkeep,
                      cairn_env_now_ns(env) + rw->conf.checkpoint_ns / 2 + dice(rw, rw->conf.checkpoint_ns));
    checkpoint_begin(&n->slots[dice(rw, rw->conf.slots)]);
    for (uint32_t i = 0; i < rw->conf.slots; i++) {
        if (cairn_replica_clean(&n->slots[i].replica))
            rw_judge_clean(&n->slots[i]);
    }
}

static void on_flush(void *arg)
{
    struct repl_node *n = arg;
    struct cairn_env *env = env_of(n->rw, n->index);

    cairn_timer_start(env, &n->flush, cairn_env_now_ns(env) + n->rw->conf.flush_ns);
    for (uint32_t i = 0; i < n->rw->conf.slots; i++)
        cairn_replica_flush(&n->slots[i].replica);
}

/* ---- copies ---- */

static bool op_copy_open(struct cairn_replica *r)
{
    struct rw_slot *s = slot_of(r);

    memcpy(s->view, s->index, sizeof(s->view));
    s->view_next = 0;
    s->node->rw->copies++;
    return true;
}

static void op_copy_read(struct cairn_replica *r)
{
    disk_start(slot_of(r), &slot_of(r)->page_done);
}

struct page {
    uint32_t first, n;
    struct rw_record records[PAGE_RECORDS];
};

static void on_page_done(void *arg)
{
    struct rw_slot *s = arg;
    struct page page = { .first = s->view_next };

    page.n = MIN((uint32_t)PAGE_RECORDS, RW_ALL_KEYS - s->view_next);
    memcpy(page.records, s->view + page.first, page.n * sizeof(page.records[0]));
    s->view_next += page.n;
    CAIRN_ASSERT(sizeof(page) <= sizeof(s->page));
    memcpy(s->page, &page, sizeof(page));
    cairn_replica_on_page(&s->replica, 0, s->page, sizeof(page), s->view_next == RW_ALL_KEYS);
}

static void op_copy_close(struct cairn_replica *r)
{
    cairn_timer_stop(r->env, &slot_of(r)->page_done);
}

static void disk_do(struct rw_slot *s, int what)
{
    s->disk_doing = what;
    disk_start(s, &s->disk_done);
}

static void op_wipe(struct cairn_replica *r)
{
    struct rw_slot *s = slot_of(r);

    CAIRN_ASSERT(!cairn_timer_is_running(&s->sync_done) && s->apply_next > s->apply_to);
    cairn_timer_stop(r->env, &s->checkpoint_done);
    s->partial = true;
    rw_disk_wipe(s);
    disk_do(s, RW_WIPE);
}

static void op_copy_put(struct cairn_replica *r, const uint8_t *bytes, uint32_t len)
{
    struct rw_slot *s = slot_of(r);
    struct page page;

    CAIRN_ASSERT(len == sizeof(page) && s->partial);
    memcpy(&page, bytes, sizeof(page));
    memcpy(s->index + page.first, page.records, page.n * sizeof(page.records[0]));
    disk_do(s, RW_PUT);
}

static void op_copy_seal(struct cairn_replica *r, struct cairn_at at, const uint8_t *sessions, size_t len)
{
    struct rw_slot *s = slot_of(r);

    s->making.at = at;
    memcpy(s->making.index, s->index, sizeof(s->index));
    s->making.len = len;
    s->making.sessions = malloc(len);
    CAIRN_ASSERT(s->making.sessions != NULL);
    memcpy(s->making.sessions, sessions, len);
    disk_do(s, RW_SEAL);
}

static void on_disk_done(void *arg)
{
    struct rw_slot *s = arg;
    int doing = (int)s->disk_doing;

    s->disk_doing = RW_NOTHING;
    if (doing == RW_WIPE) {
        cairn_replica_on_wiped(&s->replica);
    } else if (doing == RW_PUT) {
        cairn_replica_on_put(&s->replica, dice(s->node->rw, 200) == 0 ? CAIRN_E_IO : 0);
    } else {
        s->checkpoint = s->making;
        memset(&s->making, 0, sizeof(s->making));
        s->partial = false;
        rw_log_begin(&s->log, s->checkpoint.at);
        rw_log_begin(&s->durable, s->checkpoint.at);
        s->apply_next = s->checkpoint.at.pos + 1;
        s->apply_to = s->checked = s->checkpoint.at.pos;
        cairn_replica_on_sealed(&s->replica);
    }
}

/* ---- messages of replicas ---- */

static void op_send(struct cairn_replica *r, const struct cairn_repl_msg *m)
{
    struct rw_slot *s = slot_of(r);
    size_t len =
        sizeof(struct packet) + m->nentries * sizeof(struct rw_entry) + m->nruns * sizeof(struct cairn_run) + m->len;
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
    if (m->len > 0)
        memcpy(at + m->nruns * sizeof(struct cairn_run), m->bytes, m->len);
    world_send(s->node->rw->world, s->node->index, (uint32_t)m->to.node, bytes, len);
    free(bytes);
}

static void receive_repl(struct repl_node *n, const uint8_t *bytes, const struct packet *p)
{
    struct cairn_repl_msg m = p->repl;
    struct rw_entry *x = calloc(m.nentries + 1, sizeof(*x));
    struct cairn_log_entry *e = calloc(m.nentries + 1, sizeof(*e));
    struct cairn_run *runs = calloc(m.nruns + 1, sizeof(*runs));
    const uint8_t *after = bytes + sizeof(*p) + m.nentries * sizeof(*x);

    CAIRN_ASSERT(x != NULL && e != NULL && runs != NULL);
    memcpy(x, bytes + sizeof(*p), m.nentries * sizeof(*x));
    memcpy(runs, after, m.nruns * sizeof(*runs));
    for (uint32_t i = 0; i < m.nentries; i++) {
        e[i] = x[i].e;
        e[i].body = (const uint8_t *)x[i].body;
    }
    m.entries = e;
    m.runs = runs;
    m.bytes = after + m.nruns * sizeof(*runs);
    cairn_replica_receive(&n->slots[p->slot].replica, &m);
    free(x);
    free(e);
    free(runs);
}

static void op_propose(struct cairn_replica *r, const struct cairn_change *c)
{
    struct repl_node *n = slot_of(r)->node;
    struct packet p = { .kind = P_PROPOSE, .slot = r->slot, .change = *c, .who = n->self };

    send_packet(n->rw, n->index, 0, &p);
}

static void op_map_is_old(struct cairn_replica *r, uint64_t epoch)
{
    struct repl_node *n = slot_of(r)->node;
    struct packet p = { .kind = P_ASK, .slot = r->slot };

    (void)epoch;
    send_packet(n->rw, n->index, 0, &p);
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
        struct rw_entry x = *rw_log_at(&s->log, s->apply_next);
        int32_t result = rw_index_apply(s->index, &x);

        x.e.body = (const uint8_t *)x.body;
        s->apply_next++;
        cairn_replica_on_applied(&s->replica, &x.e, result);
    }
}

static void op_apply(struct cairn_replica *r, const struct cairn_log_entry *e)
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
    .copy_open = op_copy_open,
    .copy_read = op_copy_read,
    .copy_close = op_copy_close,
    .wipe = op_wipe,
    .copy_put = op_copy_put,
    .copy_seal = op_copy_seal,
};

/* ---- life ---- */

static void node_register(struct repl_node *n)
{
    struct packet p = { .kind = P_REGISTER, .disk_id = n->disk_id, .number = n->process };

    for (uint32_t i = 0; i < n->rw->conf.slots; i++)
        p.ends[i] = rw_log_end(&n->slots[i].log); /* of a partial one: nothing */
    send_packet(n->rw, n->index, 0, &p);
}

static void on_beat(void *arg)
{
    struct repl_node *n = arg;
    struct cairn_env *env = env_of(n->rw, n->index);
    struct packet p = { .kind = P_BEAT, .who = n->self, .number = ++n->nbeats };

    cairn_timer_start(env, &n->beat, cairn_env_now_ns(env) + rw_lease_times.heartbeat_ns);
    if (!n->registered) {
        node_register(n);
        return;
    }
    n->beats[n->nbeats % ARRAY_SIZE(n->beats)].number = n->nbeats;
    n->beats[n->nbeats % ARRAY_SIZE(n->beats)].sent_ns = cairn_env_now_ns(env);
    send_packet(n->rw, n->index, 0, &p);
}

/* The replica comes to life with what the disk has. */
static void slot_begin(struct rw_slot *s, uint32_t slot)
{
    struct repl_node *n = s->node;
    struct cairn_replica *r = &s->replica;
    struct rw_checkpoint *c = &s->checkpoint;

    cairn_replica_init(r, &replica_ops, &replica_times, env_of(n->rw, n->index), n->machines, slot, n->self);
    cairn_timer_init(&s->sync_done, on_sync_done, s);
    cairn_timer_init(&s->checkpoint_done, on_checkpoint_done, s);
    cairn_timer_init(&s->disk_done, on_disk_done, s);
    cairn_timer_init(&s->page_done, on_page_done, s);
    cairn_task_init(&s->apply_task, run_apply, s);
    s->apply_next = c->at.pos + 1;
    s->apply_to = s->checked = c->at.pos;
    memcpy(s->index, c->index, sizeof(s->index));
    if (s->partial)
        cairn_replica_restore_partial(r);
    else if (c->at.pos > 0)
        CAIRN_ASSERT(cairn_replica_restore(r, c->at, c->sessions, c->len) == 0);
    for (uint64_t pos = c->at.pos + 1; !s->partial && pos <= rw_log_end(&s->log).pos; pos++) {
        struct rw_entry *x = rw_log_at(&s->log, pos);

        x->e.body = (const uint8_t *)x->body;
        CAIRN_ASSERT(cairn_replica_restore_entry(r, &x->e) == 0);
    }
}

static void node_registered(struct repl_node *n, const struct packet *p)
{
    if (n->registered || p->number != n->process)
        return;
    n->registered = true;
    n->self = p->who;
    if (n->wiped_before_inc == UINT64_MAX)
        n->wiped_before_inc = n->self.inc;
    n->lease = (struct cairn_lease){ 0 };
    for (uint32_t i = 0; i < n->rw->conf.slots; i++)
        slot_begin(&n->slots[i], i);
    on_beat(n);
    if (n->rw->conf.checkpoint_ns > 0)
        on_upkeep(n);
    on_flush(n);
}

static void node_granted(struct repl_node *n, const struct packet *p)
{
    unsigned i = p->number % ARRAY_SIZE(n->beats);

    if (!n->registered || !cairn_who_is(p->who, n->self) || n->beats[i].number != p->number)
        return;
    for (uint32_t k = 0; k < n->rw->conf.slots; k++) {
        if (cairn_replica_learn(&n->slots[k].replica, &p->recs[k]) != 0)
            return;
    }
    cairn_lease_granted(&n->lease, &rw_lease_times, p->number, n->beats[i].sent_ns);
    for (uint32_t k = 0; k < n->rw->conf.slots; k++)
        cairn_replica_on_lease(&n->slots[k].replica);
}

void rw_node_begin(struct repl_node *n)
{
    n->up = true;
    n->registered = false;
    n->process++;
    n->machines = calloc(1, sizeof(*n->machines));
    CAIRN_ASSERT(n->machines != NULL);
    cairn_sm_set_init(n->machines, env_of(n->rw, n->index));
    cairn_timer_init(&n->beat, on_beat, n);
    cairn_timer_init(&n->upkeep, on_upkeep, n);
    cairn_timer_init(&n->flush, on_flush, n);
    on_beat(n);
}

void rw_node_end(struct repl_node *n)
{
    for (uint32_t i = 0; i < n->rw->conf.slots; i++) {
        if (n->registered)
            cairn_replica_fini(&n->slots[i].replica);
        rw_disk_crash(n->rw, &n->slots[i]);
    }
    cairn_sm_set_fini(n->machines);
    free(n->machines);
    n->up = n->registered = false;
}

void rw_node_receive(struct repl_node *n, const uint8_t *bytes, const struct packet *p)
{
    if (p->kind == P_REGISTERED)
        node_registered(n, p);
    if (!n->registered)
        return;
    switch (p->kind) {
    case P_REPL:
        receive_repl(n, bytes, p);
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
        rw_node_call(n, p);
        break;
    default:
        break;
    }
}
