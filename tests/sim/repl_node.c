/* Nodes of the replicated world: what replicas ask of their node. */
#include "tests/sim/repl_internal.h"

#include <stdlib.h>
#include <string.h>

static const struct cairn_replica_times replica_times = {
    .resend_ns = 100 * MS, .ack_ns = 500 * MS, .learner_ns = 300 * MS, .session_ttl_ns = 20000 * MS
};

enum { APPLY_AGAIN_NS = 100 * 1000000 };

static struct rw_slot *slot_of(struct cairn_replica *r)
{
    return CONTAINER_OF(r, struct rw_slot, replica);
}

/* Of the store, something begins now; of the log. */
static void disk_start(struct rw_slot *s, struct cairn_timer *t)
{
    struct repl_world *rw = s->node->rw;

    CAIRN_ASSERT(!cairn_timer_is_running(t));
    cairn_timer_start(env_of(rw, s->node->index), t,
                      rw_disk_end(s->node, MS / 2 + dice(rw, rw->conf.disk_ns + 1), false));
}

static void log_start(struct rw_slot *s, struct cairn_timer *t)
{
    struct repl_world *rw = s->node->rw;

    CAIRN_ASSERT(!cairn_timer_is_running(t));
    cairn_timer_start(env_of(rw, s->node->index), t,
                      rw_disk_end(s->node, MS / 2 + dice(rw, rw->conf.disk_ns + 1), true));
}

/* ---- the log ---- */

/* Behind what was not written nothing is: a log has no holes. */
static bool log_fails(struct rw_slot *s, enum rw_disk_op op)
{
    if (!s->node->failed && rw_disk_refuses(s, op))
        rw_node_fail(s->node);
    return s->node->failed;
}

static void op_log_append(struct cairn_replica *r, const struct cairn_log_entry *entries, uint32_t n)
{
    for (uint32_t i = 0; i < n && !log_fails(slot_of(r), RW_DISK_APPEND); i++) {
        rw_log_push(&slot_of(r)->log, &entries[i]);
        rw_judge_entry(slot_of(r), &entries[i], rw_log_at(&slot_of(r)->log, entries[i].at.pos)->body[2]);
    }
}

static void op_log_cut(struct cairn_replica *r, uint64_t pos)
{
    struct rw_slot *s = slot_of(r);

    if (s->node->failed)
        return;
    rw_judge_cut(s, pos);
    rw_log_cut(&s->log, pos); /* that it is not on the disk shows when the process has ended */
    log_fails(s, RW_DISK_APPEND);
}

static void on_sync_done(void *arg)
{
    struct rw_slot *s = arg;

    if (log_fails(s, RW_DISK_SYNC))
        return;
    rw_log_copy(&s->durable, &s->syncing);
    cairn_replica_on_synced(&s->replica);
}

static void op_log_sync(struct cairn_replica *r)
{
    struct rw_slot *s = slot_of(r);

    rw_log_copy(&s->syncing, &s->log);
    log_start(s, &s->sync_done);
}

static void on_write_done(void *arg)
{
    struct rw_slot *s = arg;

    if (log_fails(s, RW_DISK_WRITE))
        return;
    s->written = s->writing;
    cairn_replica_on_written(&s->replica, s->written);
    if (!cairn_timer_is_running(&s->write_done) && !cairn_at_is(rw_log_end(&s->log), s->written)) {
        s->writing = rw_log_end(&s->log);
        log_start(s, &s->write_done);
    }
}

static void op_log_write(struct cairn_replica *r)
{
    struct rw_slot *s = slot_of(r);

    if (cairn_timer_is_running(&s->write_done))
        return; /* another follows it */
    s->writing = rw_log_end(&s->log);
    log_start(s, &s->write_done);
}

static bool op_log_has_room(struct cairn_replica *r)
{
    (void)r;
    return true;
}

static bool op_log_get(struct cairn_replica *r, uint64_t pos, struct cairn_log_entry *e)
{
    const struct rw_entry *x;

    if (slot_of(r)->node->failed)
        return false;
    x = rw_log_at(&slot_of(r)->log, pos);
    *e = x->e;
    e->body = (const uint8_t *)x->body;
    return true;
}

/* ---- checkpoints ---- */

void rw_checkpoint_begin(struct rw_slot *s)
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

    if (rw_disk_refuses(s, RW_DISK_CHECKPOINT) || rw_store_is_full(s->node)) { /* the next one does it */
        rw_checkpoint_free(&s->making);
        return;
    }
    if (s->making.at.pos > s->checkpoint.at.pos) {
        rw_checkpoint_free(&s->checkpoint);
        s->checkpoint = s->making;
        memset(&s->making, 0, sizeof(s->making));
        rw->checkpoints++;
    }
    rw_checkpoint_free(&s->making);
    if (s->checkpoint.at.pos > keep && !(rw->conf.some_keep_all && s->node->index % 2 == 0)) {
        uint64_t pos = cairn_replica_trim(&s->replica, s->checkpoint.at.pos - keep);

        rw_log_trim(&s->log, pos);
        rw_log_trim(&s->durable, pos);
    }
    rw->trims += s->log.base.pos > base;
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
    struct rw_slot *s = slot_of(r);
    uint64_t page_ns = s->node->rw->conf.page_ns;

    if (page_ns > 0)
        cairn_timer_start(r->env, &s->page_done, cairn_env_now_ns(r->env) + page_ns);
    else
        disk_start(s, &s->page_done);
}

static void on_page_done(void *arg)
{
    struct rw_slot *s = arg;
    struct rw_page page = { .first = s->view_next };

    if (rw_disk_refuses(s, RW_DISK_READ)) {
        cairn_replica_on_page(&s->replica, CAIRN_E_IO, NULL, 0, false);
        return;
    }
    page.n = MIN((uint32_t)RW_PAGE_RECORDS, RW_ALL_KEYS - s->view_next);
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
    struct rw_page page;

    CAIRN_ASSERT(len == sizeof(page) && s->partial);
    memcpy(&page, bytes, sizeof(page));
    memcpy(s->index + page.first, page.records, page.n * sizeof(page.records[0]));
    for (uint32_t i = 0; i < page.n; i++)
        rw_judge_record_put(s, page.first + i, &page.records[i]);
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

/* What is not tried again: the node ends. */
static bool store_fails(struct rw_slot *s, enum rw_disk_op op)
{
    if (rw_disk_refuses(s, op))
        rw_node_fail(s->node);
    return s->node->failed;
}

static void on_disk_done(void *arg)
{
    struct rw_slot *s = arg;
    int doing = (int)s->disk_doing;

    if (store_fails(s, doing == RW_WIPE ? RW_DISK_WIPE : doing == RW_PUT ? RW_DISK_PUT : RW_DISK_SEAL))
        return;
    if (rw_store_is_full(s->node) && doing != RW_PUT) { /* tried again, until there is room */
        s->node->rw->full_copies++;
        disk_start(s, &s->disk_done);
        return;
    }
    s->disk_doing = RW_NOTHING;
    if (doing == RW_WIPE) {
        cairn_replica_on_wiped(&s->replica);
    } else if (doing == RW_PUT) {
        s->node->rw->full_copies += rw_store_is_full(s->node);
        cairn_replica_on_put(&s->replica, rw_store_is_full(s->node)     ? CAIRN_E_NOSPACE
                                          : dice(s->node->rw, 200) == 0 ? CAIRN_E_INVAL
                                                                        : 0);
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
    struct repl_node *n = slot_of(r)->node;
    struct cairn_wire_mail mail = { 0 };

    if (m->kind == CAIRN_REPL_ACK)
        rw_judge_ack(slot_of(r), m);
    CAIRN_ASSERT(cairn_wire_mail_add(&mail, m) == 0);
    rw_post(n->rw, n->index, (uint32_t)m->to.node, RW_REPL, 0, NULL, &(struct iovec){ mail.bytes, mail.n }, 1);
    cairn_wire_mail_fini(&mail);
}

void rw_node_repl(struct repl_node *n, struct rw_letter *l)
{
    struct cairn_le_reader mail;
    struct cairn_wire_letter letter;
    struct cairn_repl_msg m;
    struct rw_fence fence;
    struct cairn_err err;

    CAIRN_ASSERT(cairn_wire_mail_open(l->payload, l->payload_len, &mail, &err) == 0);
    CAIRN_ASSERT(cairn_wire_mail_next(&mail, &letter, &err) == 1);
    rw_must(cairn_wire_letter_get(&letter, &l->arena, &m, &err), &err);
    if (!rw_regions_admit(n, &m))
        return;
    fence = rw_judge_heard(&n->slots[m.slot], &m);
    if (m.nentries > 0 && rw_log_is_full(n)) {
        n->rw->full_appends++;
        cairn_replica_hear_commit(&n->slots[m.slot].replica, &m);
    } else {
        cairn_replica_receive(&n->slots[m.slot].replica, &m);
    }
    rw_judge_fence(&n->slots[m.slot], &fence);
    rw_regions_taken(n, &m);
}

static void op_propose(struct cairn_replica *r, const struct cairn_change *c)
{
    struct repl_node *n = slot_of(r)->node;

    rw_judge_propose(slot_of(r));
    rw_post(n->rw, n->index, rw_map_host(n), RW_PROPOSE, 0, cairn_wire_change_put(c, &n->rw->post), NULL, 0);
}

static void op_map_is_old(struct cairn_replica *r, uint64_t epoch)
{
    (void)epoch;
    rw_node_fetch(slot_of(r)->node);
}

static bool op_lease_is_valid(struct cairn_replica *r)
{
    return cairn_lease_is_valid(&slot_of(r)->node->lease, cairn_env_now_ns(r->env));
}

static bool op_may_go_on(struct cairn_replica *r)
{
    return !slot_of(r)->node->failed;
}

/* ---- the index ---- */

static void run_apply(void *arg)
{
    struct rw_slot *s = arg;

    while (s->apply_next <= s->apply_to && !store_fails(s, RW_DISK_APPLY)) {
        struct rw_entry x = *rw_log_at(&s->log, s->apply_next);
        int32_t result;

        if (rw_store_is_full(s->node)) {
            cairn_timer_start(s->replica.env, &s->apply_again, cairn_env_now_ns(s->replica.env) + APPLY_AGAIN_NS);
            return;
        }
        result = rw_index_apply(s->index, &x);
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
    .log_write = op_log_write,
    .log_get = op_log_get,
    .log_has_room = op_log_has_room,
    .send = op_send,
    .propose = op_propose,
    .apply = op_apply,
    .lease_is_valid = op_lease_is_valid,
    .may_go_on = op_may_go_on,
    .map_is_old = op_map_is_old,
    .copy_open = op_copy_open,
    .copy_read = op_copy_read,
    .copy_close = op_copy_close,
    .wipe = op_wipe,
    .copy_put = op_copy_put,
    .copy_seal = op_copy_seal,
};

/* ---- life ---- */

/* The replica comes to life with what the disk has. */
void rw_slot_begin(struct rw_slot *s, uint32_t slot)
{
    struct repl_node *n = s->node;
    struct cairn_replica *r = &s->replica;
    struct rw_checkpoint *c = &s->checkpoint;

    cairn_replica_init(r, &replica_ops, &replica_times, env_of(n->rw, n->index), n->machines, slot, n->self);
    cairn_timer_init(&s->sync_done, on_sync_done, s);
    cairn_timer_init(&s->write_done, on_write_done, s);
    cairn_timer_init(&s->checkpoint_done, on_checkpoint_done, s);
    cairn_timer_init(&s->disk_done, on_disk_done, s);
    cairn_timer_init(&s->page_done, on_page_done, s);
    cairn_task_init(&s->apply_task, run_apply, s);
    cairn_timer_init(&s->apply_again, run_apply, s);
    s->apply_next = c->at.pos + 1;
    s->apply_to = s->checked = c->at.pos;
    s->epoch = 0;
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
    rw_judge_regions(s);
}
