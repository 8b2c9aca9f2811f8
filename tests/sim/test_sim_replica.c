/* One replica, told word by word what it must not believe, or not yet: what random walks meet too seldom. Its node is
 * a bench: a log in memory, a disk that is as slow as the story wants, and a note of what the replica said last. */
#include "server/cluster/repl/replica.h"
#include "tests/sim/world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

enum { LOG_MAX = 16, KINDS = CAIRN_REPL_COPIED + 1 };

static const struct cairn_replica_times times = { .resend_ns = 100 * CAIRN_NS_PER_MS,
                                                  .ack_ns = 500 * CAIRN_NS_PER_MS,
                                                  .learner_ns = 300 * CAIRN_NS_PER_MS,
                                                  .session_ttl_ns = 20 * CAIRN_NS_PER_S };
static const struct cairn_who n1 = { 1, 11 }, n2 = { 2, 12 }, self = { 3, 13 };

struct bench {
    struct cairn_replica r;
    struct world *world;
    struct cairn_sm_set machines;
    struct cairn_log_entry log[LOG_MAX]; /* from position 1 */
    uint64_t end, applying;              /* applying: the newest that apply() was told of */
    bool syncing, writing, has_no_lease, has_failed, wiped;
    uint32_t cuts, views, said[KINDS];
    struct cairn_repl_msg last[KINDS]; /* its arrays are gone */
    struct cairn_change proposed;
};

static struct bench *bench_of(struct cairn_replica *r)
{
    return CONTAINER_OF(r, struct bench, r);
}

static void op_log_append(struct cairn_replica *r, const struct cairn_log_entry *entries, uint32_t n)
{
    struct bench *b = bench_of(r);

    for (uint32_t i = 0; i < n; i++) {
        assert_true(b->end < LOG_MAX && entries[i].at.pos == b->end + 1);
        b->log[b->end++] = entries[i];
    }
}

static void op_log_cut(struct cairn_replica *r, uint64_t pos)
{
    bench_of(r)->end = pos;
    bench_of(r)->cuts++;
}

static void op_log_sync(struct cairn_replica *r)
{
    bench_of(r)->syncing = true;
}

static void op_log_write(struct cairn_replica *r)
{
    bench_of(r)->writing = true;
}

static bool op_log_get(struct cairn_replica *r, uint64_t pos, struct cairn_log_entry *e)
{
    *e = bench_of(r)->log[pos - 1];
    return true;
}

static void op_send(struct cairn_replica *r, const struct cairn_repl_msg *m)
{
    bench_of(r)->said[m->kind]++;
    bench_of(r)->last[m->kind] = *m;
}

static void op_propose(struct cairn_replica *r, const struct cairn_change *c)
{
    bench_of(r)->proposed = *c;
}

static void op_apply(struct cairn_replica *r, const struct cairn_log_entry *e)
{
    bench_of(r)->applying = e->at.pos;
}

static bool op_lease_is_valid(struct cairn_replica *r)
{
    return !bench_of(r)->has_no_lease;
}

static bool op_may_go_on(struct cairn_replica *r)
{
    return !bench_of(r)->has_failed;
}

static void op_wipe(struct cairn_replica *r)
{
    bench_of(r)->wiped = true;
}

static bool op_copy_open(struct cairn_replica *r)
{
    bench_of(r)->views = 1;
    return true;
}

static void op_copy_read(struct cairn_replica *r)
{
    assert_int_equal(bench_of(r)->views, 1);
}

static void op_copy_close(struct cairn_replica *r)
{
    bench_of(r)->views = 0;
}

/* A heartbeat is asked for, and nobody answers. */
static void op_map_is_old(struct cairn_replica *r, uint64_t epoch)
{
    assert_true(epoch > r->rec.epoch);
}

static const struct cairn_replica_ops ops = { .log_append = op_log_append,
                                              .log_cut = op_log_cut,
                                              .log_sync = op_log_sync,
                                              .log_write = op_log_write,
                                              .log_get = op_log_get,
                                              .send = op_send,
                                              .propose = op_propose,
                                              .apply = op_apply,
                                              .wipe = op_wipe,
                                              .copy_open = op_copy_open,
                                              .copy_read = op_copy_read,
                                              .copy_close = op_copy_close,
                                              .lease_is_valid = op_lease_is_valid,
                                              .may_go_on = op_may_go_on,
                                              .map_is_old = op_map_is_old };

static int bench_begin(void **state)
{
    struct world_conf conf = { .seed = 1, .nodes = 1 }; /* nothing is sent there */
    struct bench *b = calloc(1, sizeof(*b));

    assert_non_null(b);
    b->world = world_new(&conf);
    assert_non_null(b->world);
    cairn_sm_set_init(&b->machines, world_env(b->world, 0));
    cairn_replica_init(&b->r, &ops, &times, world_env(b->world, 0), &b->machines, 0, self);
    *state = b;
    return 0;
}

static int bench_end(void **state)
{
    struct bench *b = *state;

    cairn_replica_fini(&b->r);
    cairn_sm_set_fini(&b->machines);
    world_free(b->world);
    free(b);
    return 0;
}

/* The record of @epoch: @primary leads, since @since, and is in sync with @others (ended by nobody). */
static void learn_going_on(struct bench *b, uint64_t epoch, uint64_t since, enum cairn_slot_state state,
                           struct cairn_who primary, const struct cairn_who *others)
{
    struct cairn_slot_record rec = { .epoch = epoch,
                                     .since = since,
                                     .state = state,
                                     .primary = primary,
                                     .nreplicas = 3,
                                     .replicas = { 1, 2, 3 },
                                     .ninsync = 1,
                                     .insync = { primary } };

    for (; !cairn_who_is_nobody(*others); others++)
        rec.insync[rec.ninsync++] = *others;
    assert_int_equal(cairn_replica_learn(&b->r, &rec), 0);
}

static void learn(struct bench *b, uint64_t epoch, enum cairn_slot_state state, struct cairn_who primary,
                  const struct cairn_who *others)
{
    learn_going_on(b, epoch, epoch, state, primary, others);
}

#define WITH(...) ((const struct cairn_who[]){ __VA_ARGS__, { 0 } })

static void append(struct bench *b, struct cairn_who from, uint64_t epoch, struct cairn_at prev,
                   struct cairn_log_entry e, uint64_t commit)
{
    struct cairn_repl_msg m = { .kind = CAIRN_REPL_APPEND,
                                .from = from,
                                .to = self,
                                .epoch = epoch,
                                .prev = prev,
                                .entries = &e,
                                .nentries = 1,
                                .commit = commit };

    cairn_replica_receive(&b->r, &m);
}

static struct cairn_log_entry start_of(uint64_t epoch, uint64_t pos)
{
    return (struct cairn_log_entry){ .at = { epoch, pos }, .kind = CAIRN_ENTRY_START, .sync = true };
}

/* What the disk had at the start. */
static void append_here(struct bench *b, struct cairn_log_entry e)
{
    op_log_append(&b->r, &e, 1);
    assert_int_equal(cairn_replica_restore_entry(&b->r, &e), 0);
}

/* The slot is with two others, and not here. */
static void learn_places(struct bench *b, uint64_t epoch, struct cairn_who primary, struct cairn_who other)
{
    struct cairn_slot_record rec = { .epoch = epoch,
                                     .since = epoch,
                                     .state = CAIRN_SLOT_ACTIVE,
                                     .primary = primary,
                                     .nreplicas = 2,
                                     .replicas = { (uint32_t)primary.node, (uint32_t)other.node },
                                     .ninsync = 2,
                                     .insync = { primary, other } };

    assert_int_equal(cairn_replica_learn(&b->r, &rec), 0);
}

static struct cairn_log_entry buffered(uint64_t epoch, uint64_t pos)
{
    return (struct cairn_log_entry){ .at = { epoch, pos }, .kind = CAIRN_ENTRY_WRITE };
}

static void ack(struct bench *b, struct cairn_who from, uint64_t epoch, uint64_t matched)
{
    struct cairn_repl_msg m = {
        .kind = CAIRN_REPL_ACK, .from = from, .to = self, .epoch = epoch, .matched = matched, .synced = matched
    };

    cairn_replica_receive(&b->r, &m);
}

/* What the disk was asked for is done. */
static void disk(struct bench *b)
{
    while (b->syncing) {
        b->syncing = false;
        cairn_replica_on_synced(&b->r);
    }
}

/* What was asked for is written, and perhaps not on disk. */
static void written(struct bench *b)
{
    assert_true(b->writing);
    b->writing = false;
    cairn_replica_on_written(&b->r, b->r.log.end);
}

static void apply_all(struct bench *b)
{
    while (b->r.applied < b->applying)
        cairn_replica_on_applied(&b->r, &b->log[b->r.applied], 0);
}

/* M_NO_FENCE. The old primary's word comes late, when the new one's START stands where it wants its entry: nothing is
 * cut, nothing acknowledged, and it hears of the epoch. */
static void old_primary_is_refused(void **state)
{
    struct bench *b = *state;
    uint32_t acks;

    learn(b, 1, CAIRN_SLOT_ACTIVE, n1, WITH(n2, self));
    append(b, n1, 1, (struct cairn_at){ 0 }, start_of(1, 1), 0);
    disk(b);
    learn(b, 2, CAIRN_SLOT_TAKEOVER, n2, WITH(self));
    append(b, n2, 2, (struct cairn_at){ 1, 1 }, start_of(2, 2), 0);
    disk(b);
    assert_int_equal(b->last[CAIRN_REPL_ACK].matched, 2);
    acks = b->said[CAIRN_REPL_ACK];
    append(b, n1, 1, (struct cairn_at){ 1, 1 }, buffered(1, 2), 2);
    disk(b);
    assert_int_equal(b->cuts, 0);
    assert_true(cairn_at_is(b->r.log.end, (struct cairn_at){ 2, 2 }));
    assert_int_equal(b->r.commit, 0);
    assert_int_equal(b->said[CAIRN_REPL_ACK], acks);
    assert_true(cairn_who_is(b->last[CAIRN_REPL_NACK].to, n1));
    assert_int_equal(b->last[CAIRN_REPL_NACK].epoch, 2);
}

/* A learner that nobody has answered soon says again that it is there: its first word came before its primary had
 * learned the record, perhaps. Then it has patience. */
static void a_learner_speaks_again_soon(void **state)
{
    struct bench *b = *state;

    learn(b, 1, CAIRN_SLOT_ACTIVE, n1, WITH(n2));
    assert_int_equal(b->said[CAIRN_REPL_MATCH], 1);
    world_run_until(b->world, cairn_env_now_ns(b->r.env) + times.resend_ns);
    assert_in_range(b->said[CAIRN_REPL_MATCH], 3, 5);
    world_run_until(b->world, cairn_env_now_ns(b->r.env) + 10 * times.learner_ns);
    assert_in_range(b->said[CAIRN_REPL_MATCH], 10, 17);
}

/* M_APPLIED_IS_CUT. What was applied here was lost with all who had it in sync, and another history goes on: it cannot
 * be taken back, so the log stays as it is, says so, and waits for a copy. */
static void what_is_applied_is_not_cut(void **state)
{
    struct bench *b = *state;

    learn(b, 1, CAIRN_SLOT_ACTIVE, n1, WITH(n2, self));
    append(b, n1, 1, (struct cairn_at){ 0 }, start_of(1, 1), 0);
    append(b, n1, 1, (struct cairn_at){ 1, 1 }, buffered(1, 2), 2);
    disk(b);
    apply_all(b);
    assert_int_equal(b->r.applied, 2);
    learn(b, 2, CAIRN_SLOT_TAKEOVER, n2, WITH(n1)); /* recovered from their disks, which end at 1 */
    append(b, n2, 2, (struct cairn_at){ 1, 1 }, start_of(2, 2), 2);
    disk(b);
    assert_int_equal(b->cuts, 0);
    assert_true(cairn_at_is(b->r.log.end, (struct cairn_at){ 1, 2 }));
    assert_true(cairn_at_is(b->last[CAIRN_REPL_MATCH].applied, (struct cairn_at){ 1, 2 }));
    assert_in_range(b->last[CAIRN_REPL_ACK].matched, 0, 1);
}

/* What is committed comes with the next entry, or, when there is none, by itself, later and once. */
static void a_commit_is_told_when_no_entry_comes(void **state)
{
    struct bench *b = *state;
    uint32_t said;

    learn(b, 1, CAIRN_SLOT_ACTIVE, self, WITH(n2));
    disk(b);
    ack(b, n2, 1, b->end);
    apply_all(b);
    assert_int_equal(b->r.sm.state, REPLICA_ACTIVE);
    said = b->said[CAIRN_REPL_APPEND];
    assert_true(b->last[CAIRN_REPL_APPEND].commit < b->r.commit);
    world_run_until(b->world, cairn_env_now_ns(b->r.env) + 2 * times.resend_ns);
    assert_int_equal(b->said[CAIRN_REPL_APPEND], said);
    world_run_until(b->world, cairn_env_now_ns(b->r.env) + 3 * times.resend_ns);
    assert_true(b->said[CAIRN_REPL_APPEND] > said);
    assert_int_equal(b->last[CAIRN_REPL_APPEND].commit, b->r.commit);
    assert_int_equal(b->last[CAIRN_REPL_APPEND].nentries, 0);
    ack(b, n2, 1, b->end);
    said = b->said[CAIRN_REPL_APPEND];
    world_run_until(b->world, cairn_env_now_ns(b->r.env) + 10 * times.resend_ns);
    assert_int_equal(b->said[CAIRN_REPL_APPEND], said);
}

/* M_READ_BEFORE_APPLIED. With START everywhere the log before it is final, but not yet what a read looks at. */
static void reads_wait_until_the_log_is_applied(void **state)
{
    struct bench *b = *state;

    learn(b, 1, CAIRN_SLOT_ACTIVE, n1, WITH(n2, self));
    append(b, n1, 1, (struct cairn_at){ 0 }, start_of(1, 1), 0);
    append(b, n1, 1, (struct cairn_at){ 1, 1 }, buffered(1, 2), 0);
    disk(b);
    learn(b, 2, CAIRN_SLOT_TAKEOVER, self, WITH(n2));
    disk(b);
    assert_int_equal(cairn_replica_may_read(&b->r), CAIRN_E_BUSY);
    ack(b, n2, 2, 3);
    assert_int_equal(b->r.commit, 3);
    assert_int_equal(b->applying, 3);
    assert_int_equal(cairn_replica_may_read(&b->r), CAIRN_E_BUSY); /* the write at 2 may have been answered */
    cairn_replica_on_applied(&b->r, &b->log[0], 0);
    cairn_replica_on_applied(&b->r, &b->log[1], 0);
    assert_int_equal(cairn_replica_may_read(&b->r), CAIRN_E_BUSY);
    cairn_replica_on_applied(&b->r, &b->log[2], 0);
    assert_int_equal(cairn_replica_may_read(&b->r), 0);
}

/* M_CUT_NOT_SYNCED. A cut is on disk before what took its place is acknowledged. As logs are made today one of the
 * two is a START, which is `sync` (of two epochs that part behind one entry, at least one begins there); the rule
 * does not lean on that, so neither of these is. */
static void cut_is_on_disk_before_the_ack(void **state)
{
    struct bench *b = *state;
    uint32_t acks;

    learn(b, 1, CAIRN_SLOT_ACTIVE, n1, WITH(n2, self));
    append(b, n1, 1, (struct cairn_at){ 0 }, start_of(1, 1), 0);
    append(b, n1, 1, (struct cairn_at){ 1, 1 }, buffered(1, 2), 0);
    disk(b);
    cairn_replica_flush(&b->r);
    disk(b);
    learn(b, 2, CAIRN_SLOT_TAKEOVER, n2, WITH(self));
    acks = b->said[CAIRN_REPL_ACK];
    append(b, n2, 2, (struct cairn_at){ 1, 1 }, buffered(2, 2), 0);
    assert_int_equal(b->cuts, 1);
    assert_true(b->syncing);
    assert_int_equal(b->said[CAIRN_REPL_ACK], acks);
    assert_true(cairn_replica_may_come_back(&b->r)); /* M_GC_BEFORE_A_CUT: what it named is not to be freed yet */
    disk(b);
    assert_false(cairn_replica_may_come_back(&b->r));
    assert_int_equal(b->said[CAIRN_REPL_ACK], acks + 1);
    assert_int_equal(b->last[CAIRN_REPL_ACK].matched, 2);
}

/* M_GONE_DEPOSED, M_GONE_RESTARTED. What an entry of it names is no more, says the process that leads in the epoch in
 * which it sent it. Deposed, it may have cut that entry; started again, it may have lost it; and another has not. */
static void only_who_leads_says_that_a_region_is_gone(void **state)
{
    struct bench *b = *state;

    learn(b, 1, CAIRN_SLOT_TAKEOVER, self, WITH(n2));
    assert_true(cairn_replica_leads(&b->r, 1, self.inc));
    assert_false(cairn_replica_leads(&b->r, 1, self.inc - 1));
    disk(b);
    ack(b, n2, 1, 1);
    apply_all(b);
    learn(b, 2, CAIRN_SLOT_ACTIVE, self, WITH(n2));
    assert_true(cairn_replica_leads(&b->r, 2, self.inc));
    assert_false(cairn_replica_leads(&b->r, 1, self.inc));
    learn(b, 3, CAIRN_SLOT_TAKEOVER, n2, WITH(self));
    assert_false(cairn_replica_leads(&b->r, 2, self.inc) || cairn_replica_leads(&b->r, 3, self.inc));
}

static void on_write(struct cairn_repl_write *w, int rc)
{
    *(int *)w->arg = rc;
}

/* M_JOIN_DROP. MAP refuses a JOIN because the epoch has moved, and its record is lost on the way: the JOIN may be
 * what moved it, so whoever joins is waited for until the record is here. */
static void refused_joiner_is_waited_for(void **state)
{
    int rc = 1;
    struct cairn_repl_write w = { .kind = CAIRN_ENTRY_WRITE, .rid.seq = 5, .done = on_write, .arg = &rc };
    struct bench *b = *state;

    learn(b, 1, CAIRN_SLOT_TAKEOVER, self, WITH(n2));
    disk(b);
    ack(b, n2, 1, 1);
    apply_all(b);
    assert_int_equal(b->proposed.kind, CAIRN_CHANGE_ACTIVE);
    learn(b, 2, CAIRN_SLOT_ACTIVE, self, WITH(n2));
    disk(b);
    ack(b, n2, 2, b->end);
    apply_all(b);
    cairn_replica_receive(&b->r, &(struct cairn_repl_msg){
                                     .kind = CAIRN_REPL_MATCH, .from = n1, .to = self, .epoch = 2 }); /* a learner */
    ack(b, n1, 2, b->end);
    assert_int_equal(b->proposed.kind, CAIRN_CHANGE_JOIN);
    assert_true(cairn_who_is(b->proposed.who, n1));
    assert_int_equal(cairn_replica_write(&b->r, &w), 0);
    written(b);
    ack(b, n2, 2, b->end);
    world_run_until(b->world,
                    world_now_ns(b->world) + 2 * times.resend_ns); /* n1 is silent: it would not be proposed now */
    cairn_replica_on_verdict(&b->r, &b->proposed, CAIRN_VERDICT_REFUSED, NULL);
    assert_true(b->r.commit < b->end);
    ack(b, n1, 2, b->end);
    assert_int_equal(b->r.commit, b->end);
    apply_all(b);
    cairn_env_run_tasks(b->r.env);
    assert_int_equal(rc, 0);
}

/* Who has no room for entries still hears what is committed of those that he has: applying them is what makes room. */
static void commits_are_heard_without_room(void **state)
{
    struct bench *b = *state;
    struct cairn_log_entry e = buffered(1, 3);
    struct cairn_repl_msg m = { .kind = CAIRN_REPL_APPEND,
                                .from = n1,
                                .to = self,
                                .epoch = 1,
                                .prev = { 1, 2 },
                                .entries = &e,
                                .nentries = 1,
                                .commit = 3 };
    uint32_t acks;

    learn(b, 1, CAIRN_SLOT_ACTIVE, n1, WITH(self));
    append(b, n1, 1, (struct cairn_at){ 0 }, start_of(1, 1), 0);
    append(b, n1, 1, (struct cairn_at){ 1, 1 }, buffered(1, 2), 1);
    disk(b);
    assert_int_equal(b->r.commit, 1);
    acks = b->said[CAIRN_REPL_ACK];
    cairn_replica_hear_commit(&b->r, &m);
    assert_int_equal(b->r.commit, 2);
    assert_int_equal(b->end, 2);
    assert_int_equal(b->said[CAIRN_REPL_ACK], acks);
    m.from = n2; /* no primary of ours */
    m.commit = 3;
    cairn_replica_hear_commit(&b->r, &m);
    assert_int_equal(b->r.commit, 2);
}

/* It leads, with no other in sync, and has applied all that it has. */
static void lead_alone(struct bench *b)
{
    learn(b, 1, CAIRN_SLOT_ACTIVE, self, &(struct cairn_who){ 0 });
    disk(b);
    apply_all(b);
}

/* Who has no other in sync waits for nobody, though another holds the slot, is away, and is spoken to; but for its
 * own log, that it survives the process. */
static void alone_it_waits_for_nobody(void **state)
{
    int rc = 1;
    struct cairn_repl_write w = { .kind = CAIRN_ENTRY_WRITE, .done = on_write, .arg = &rc };
    struct bench *b = *state;

    lead_alone(b);
    assert_int_equal(b->r.sm.state, REPLICA_ACTIVE);
    assert_int_equal(b->r.npeers, 2);
    assert_int_equal(cairn_replica_write(&b->r, &w), 0);
    assert_true(b->r.commit < b->end);
    assert_false(b->syncing);
    written(b);
    assert_int_equal(b->r.commit, b->end);
    apply_all(b);
    cairn_env_run_tasks(b->r.env);
    assert_int_equal(rc, 0);
}

/* The map is another: it leads nothing and answers nobody, its log stays, and what is still said to who it was (a
 * verdict, which names a record of the old map; an entry) is said to nobody. */
static void who_ceases_is_nobody(void **state)
{
    const struct cairn_change asked = { .kind = CAIRN_CHANGE_REMOVE, .epoch = 1, .from = self, .who = n1 };
    int rc = 1;
    struct cairn_repl_write w = { .kind = CAIRN_ENTRY_WRITE, .done = on_write, .arg = &rc };
    struct bench *b = *state;
    struct cairn_slot_record rec;
    uint64_t end;

    lead_alone(b);
    rec = b->r.rec;
    rec.epoch = 2;
    assert_int_equal(cairn_replica_write(&b->r, &w), 0);
    end = b->end;
    cairn_replica_cease(&b->r);
    assert_int_equal(rc, CAIRN_E_MOVED);
    assert_int_equal(b->r.sm.state, REPLICA_OUT);
    assert_int_equal(b->r.log.end.pos, end);
    cairn_replica_on_verdict(&b->r, &asked, CAIRN_VERDICT_COMMITTED, &rec);
    assert_int_equal(b->r.rec.epoch, 0);
    append(b, n1, 1, b->r.log.end, buffered(1, end + 1), 0);
    assert_int_equal(b->end, end);
    cairn_replica_return(&b->r, self.inc + 100);
    cairn_replica_on_verdict(&b->r, &asked, CAIRN_VERDICT_COMMITTED, &rec);
    assert_int_equal(b->r.rec.epoch, 0);
    rec.epoch = UINT64_C(1) << 32;
    rec.primary.inc = rec.insync[0].inc = self.inc + 100;
    rec.since = rec.epoch;
    rec.state = CAIRN_SLOT_TAKEOVER;
    assert_int_equal(cairn_replica_learn(&b->r, &rec), 0);
    assert_int_equal(b->r.sm.state, REPLICA_TAKEOVER);
    assert_int_equal(b->log[b->end - 1].at.epoch, rec.epoch); /* behind all that it had */
    assert_int_equal(b->log[b->end - 1].at.pos, end + 1);
}

/* One write, until it is on its way to be answered; 0, or why it was refused. */
static int write_alone(struct bench *b, struct cairn_repl_write *w)
{
    int rc = cairn_replica_write(&b->r, w);

    if (rc != 0)
        return rc;
    if (b->writing)
        written(b);
    disk(b);
    apply_all(b);
    cairn_env_run_tasks(b->r.env);
    return *(int *)w->arg;
}

/* The lease ends. Who is alone in sync goes on, also through the end of a take-over and on to records that change
 * nothing of that; asks for nobody meanwhile; and stops when it has another to wait for, or its node has failed. */
static void alone_it_needs_no_lease(void **state)
{
    int rc = 1;
    struct cairn_repl_write w = { .kind = CAIRN_ENTRY_WRITE, .done = on_write, .arg = &rc };
    struct bench *b = *state;

    b->has_no_lease = true;
    learn(b, 1, CAIRN_SLOT_TAKEOVER, self, &(struct cairn_who){ 0 });
    disk(b);
    apply_all(b);
    assert_int_equal(b->r.sm.state, REPLICA_ACTIVE);
    assert_int_equal(write_alone(b, &w), 0);
    learn_going_on(b, 2, 1, CAIRN_SLOT_ACTIVE, self, &(struct cairn_who){ 0 });
    assert_int_equal(cairn_replica_may_read(&b->r), 0);
    cairn_replica_receive(&b->r, &(struct cairn_repl_msg){
                                     .kind = CAIRN_REPL_MATCH, .from = n1, .to = self, .epoch = 2 }); /* a learner */
    ack(b, n1, 2, b->end);
    world_run_until(b->world, world_now_ns(b->world) + 4 * times.ack_ns);
    assert_int_equal(b->proposed.kind, 0);
    assert_true(cairn_replica_is_alone(&b->r));
    b->has_failed = true;
    assert_int_equal(write_alone(b, &w), CAIRN_E_BUSY);
    b->has_failed = false;
    assert_int_equal(write_alone(b, &w), 0);
    learn_going_on(b, 3, 1, CAIRN_SLOT_ACTIVE, self, WITH(n2));
    assert_int_equal(cairn_replica_may_read(&b->r), CAIRN_E_BUSY);
    assert_int_equal(b->r.sm.state, REPLICA_PAUSED);
}

/* Somebody speaks of another generation of the map: there, another may lead what this one has alone in a history that
 * is lost. A later epoch of its own says nothing of the kind. */
static void alone_in_a_lost_history_it_ceases(void **state)
{
    int rc = 1;
    struct cairn_repl_write w = { .kind = CAIRN_ENTRY_WRITE, .done = on_write, .arg = &rc };
    struct cairn_repl_msg m = { .kind = CAIRN_REPL_APPEND, .from = n1, .to = { .node = self.node }, .epoch = 5 };
    struct bench *b = *state;

    b->has_no_lease = true;
    lead_alone(b);
    cairn_replica_receive(&b->r, &m);
    assert_true(cairn_replica_is_alone(&b->r));
    assert_int_equal(cairn_replica_may_read(&b->r), 0);
    m.epoch = UINT64_C(1) << CAIRN_GENERATION_SHIFT;
    cairn_replica_receive(&b->r, &m);
    assert_false(cairn_replica_is_alone(&b->r));
    assert_int_equal(cairn_replica_may_read(&b->r), CAIRN_E_BUSY);
    assert_int_equal(write_alone(b, &w), CAIRN_E_BUSY);
    learn_going_on(b, 6, 1, CAIRN_SLOT_ACTIVE, self, &(struct cairn_who){ 0 }); /* of the old map: that is no proof */
    assert_int_equal(cairn_replica_may_read(&b->r), CAIRN_E_BUSY);
    learn(b, m.epoch + 1, CAIRN_SLOT_ACTIVE, self, &(struct cairn_who){ 0 });
    assert_true(cairn_replica_is_alone(&b->r));
}

/* M_ALONE_JOINING. As soon as another is asked for MAP may have made it a member, and its primary since. */
static void who_asks_for_another_is_not_alone(void **state)
{
    int rc = 1;
    struct cairn_repl_write w = { .kind = CAIRN_ENTRY_WRITE, .done = on_write, .arg = &rc };
    struct bench *b = *state;

    lead_alone(b);
    cairn_replica_receive(&b->r, &(struct cairn_repl_msg){
                                     .kind = CAIRN_REPL_MATCH, .from = n1, .to = self, .epoch = 1 }); /* a learner */
    ack(b, n1, 1, b->end);
    assert_int_equal(b->proposed.kind, CAIRN_CHANGE_JOIN);
    assert_int_equal(cairn_replica_may_read(&b->r), 0);
    b->has_no_lease = true;
    assert_int_equal(cairn_replica_may_read(&b->r), CAIRN_E_BUSY);
    assert_int_equal(write_alone(b, &w), CAIRN_E_BUSY);
    cairn_replica_on_verdict(&b->r, &b->proposed, CAIRN_VERDICT_REFUSED, NULL); /* its record says what became of it */
    assert_int_equal(cairn_replica_may_read(&b->r), CAIRN_E_BUSY);
    learn_going_on(b, 2, 1, CAIRN_SLOT_ACTIVE, self, &(struct cairn_who){ 0 });
    assert_int_equal(write_alone(b, &w), 0);
}

/* What the others have, in memory, counts when it is written here; also when the other is gone that has not
 * acknowledged it. */
static void what_counts_is_written_here(void **state)
{
    int rc[2] = { 1, 1 };
    struct cairn_repl_write w[2] = { { .kind = CAIRN_ENTRY_WRITE, .rid.seq = 5, .done = on_write, .arg = &rc[0] },
                                     { .kind = CAIRN_ENTRY_WRITE, .rid.seq = 6, .done = on_write, .arg = &rc[1] } };
    struct bench *b = *state;
    struct cairn_at of_others;

    learn(b, 1, CAIRN_SLOT_ACTIVE, self, WITH(n2));
    disk(b);
    ack(b, n2, 1, b->end);
    apply_all(b);
    assert_int_equal(cairn_replica_write(&b->r, &w[0]), 0);
    assert_true(b->writing);
    ack(b, n2, 1, b->end);
    assert_int_equal(b->r.commit, b->end - 1);
    written(b);
    assert_int_equal(b->r.commit, b->end);
    assert_int_equal(cairn_replica_write(&b->r, &w[1]), 0);
    assert_int_equal(b->r.commit, b->end - 1);
    learn_going_on(b, 2, 1, CAIRN_SLOT_ACTIVE, self, &(struct cairn_who){ 0 });
    assert_int_equal(b->r.sm.state, REPLICA_ACTIVE);
    assert_int_equal(b->r.commit, b->end - 1);
    of_others = (struct cairn_at){ .epoch = 7, .pos = b->end }; /* of another history, in which this was cut */
    cairn_replica_on_written(&b->r, of_others);
    assert_int_equal(b->r.commit, b->end - 1);
    written(b);
    assert_int_equal(b->r.commit, b->end);
    apply_all(b);
    cairn_env_run_tasks(b->r.env);
    assert_true(rc[0] == 0 && rc[1] == 0);
}

/* M_CLEAN_ON_HEARSAY. A record without this node comes late, to a process that knows nothing newer yet: what it has is
 * perhaps counted on. It is of no use when the map of a grant says the same. */
static void who_has_no_lease_cleans_nothing(void **state)
{
    struct bench *b = *state;

    append_here(b, start_of(1, 1));
    b->has_no_lease = true;
    learn_places(b, 18, n1, n2);
    assert_int_equal(b->r.sm.state, REPLICA_OUT);
    assert_false(cairn_replica_clean(&b->r));
    assert_false(b->wiped);
    b->has_no_lease = false;
    assert_true(cairn_replica_clean(&b->r));
    assert_true(b->wiped);
    cairn_replica_on_wiped(&b->r);
}

/* M_COPY_PARTIAL_JOINS. What is here is part of a copy: entries that would fit behind it are not taken, and the primary
 * hears why. */
static void who_has_part_of_a_copy_takes_no_entries(void **state)
{
    struct bench *b = *state;

    cairn_replica_restore_partial(&b->r);
    learn(b, 1, CAIRN_SLOT_ACTIVE, n1, WITH(n2));
    append(b, n1, 1, (struct cairn_at){ 0 }, start_of(1, 1), 1);
    disk(b);
    assert_int_equal(b->end, 0);
    assert_int_equal(b->said[CAIRN_REPL_ACK], 0);
    assert_true(b->said[CAIRN_REPL_MATCH] > 0 && b->last[CAIRN_REPL_MATCH].partial);
}

static void copied(struct bench *b, struct cairn_who from, uint64_t number)
{
    cairn_replica_receive(&b->r, &(struct cairn_repl_msg){ .kind = CAIRN_REPL_COPIED,
                                                           .from = from,
                                                           .to = self,
                                                           .epoch = b->r.rec.epoch,
                                                           .job = b->last[CAIRN_REPL_COPY].job,
                                                           .number = number });
}

static void needs_copy(struct bench *b, struct cairn_who who)
{
    cairn_replica_receive(&b->r, &(struct cairn_repl_msg){
                                     .kind = CAIRN_REPL_MATCH, .from = who, .to = self, .epoch = 1, .partial = true });
}

/* @who answers number @number whatever it is asked, while a view is kept for it, and no longer than a minute. */
static void until_copy_ends(struct bench *b, struct cairn_who who, uint64_t number)
{
    uint64_t begin = cairn_env_now_ns(b->r.env);

    for (; b->views > 0; world_run_until(b->world, cairn_env_now_ns(b->r.env) + times.resend_ns)) {
        assert_true(cairn_env_now_ns(b->r.env) <= begin + 61 * CAIRN_NS_PER_S);
        copied(b, who, number);
    }
}

static void until_copy_begins(struct bench *b)
{
    while (b->views == 0)
        world_run_until(b->world, cairn_env_now_ns(b->r.env) + times.resend_ns);
}

/* A target that says that it is still at it, for ever: it cannot read what it is to erase, or does not store its page.
 * The view goes to another slot. The next copy begins later each time, also when the target says nothing then, as it
 * does while it has the first in hand. */
static void who_does_not_get_on_keeps_no_view(void **state)
{
    struct bench *b = *state;
    struct replica_peer *p;
    uint64_t ended;

    learn(b, 1, CAIRN_SLOT_ACTIVE, self, WITH(n2));
    disk(b);
    ack(b, n2, 1, b->end);
    apply_all(b);
    needs_copy(b, n1);
    until_copy_begins(b);
    until_copy_ends(b, n1, 0);
    p = &b->r.peers[b->r.peers[0].who.node == n1.node ? 0 : 1];
    assert_true(cairn_who_is(p->who, n1) && p->copies_failed == 1);

    until_copy_begins(b);
    copied(b, n1, 1);
    cairn_replica_on_page(&b->r, 0, (const uint8_t *)"", 0, false);
    until_copy_ends(b, n1, 1);
    assert_int_equal(p->copies_failed, 2);

    for (uint32_t failed = 3; failed < 12; failed++) {
        until_copy_begins(b);
        while (b->views > 0)
            world_run_until(b->world, cairn_env_now_ns(b->r.env) + times.resend_ns);
        assert_int_equal(p->phase, PEER_SILENT);
        assert_int_equal(p->copies_failed, failed);
        ended = cairn_env_now_ns(b->r.env);
        needs_copy(b, n1);
        assert_in_range(p->copy_ns - ended, MIN(times.resend_ns << (failed - 2), 59 * CAIRN_NS_PER_S),
                        60 * CAIRN_NS_PER_S);
    }
}

/* A learner empties itself for a copy. What it had said before, of entries behind the copy's base, comes when it has
 * the copy: it does not count, for those entries have to be sent again. */
static void what_was_said_before_a_copy_is_void(void **state)
{
    struct bench *b = *state;
    struct replica_peer *p;

    learn(b, 1, CAIRN_SLOT_ACTIVE, self, WITH(n2));
    disk(b);
    ack(b, n2, 1, b->end);
    apply_all(b);
    assert_int_equal(b->r.sm.state, REPLICA_ACTIVE);
    needs_copy(b, n1);
    world_run_until(b->world, cairn_env_now_ns(b->r.env) + times.resend_ns);
    assert_int_equal(b->last[CAIRN_REPL_COPY].part, CAIRN_COPY_BEGIN);
    copied(b, n1, 1);
    cairn_replica_on_page(&b->r, 0, (const uint8_t *)"", 0, true);
    for (uint64_t number = 2; b->last[CAIRN_REPL_COPY].part != CAIRN_COPY_END; number++)
        copied(b, n1, number);
    p = &b->r.peers[b->r.peers[0].who.node == n1.node ? 0 : 1];
    assert_true(cairn_who_is(p->who, n1) && p->phase == PEER_COPY);
    copied(b, n1, b->last[CAIRN_REPL_COPY].number + 1);
    assert_int_equal(p->phase, PEER_PROBED);
    b->proposed.kind = 0;

    ack(b, n1, 1, b->end); /* of a log that began before */
    assert_int_equal(p->matched, 0);
    assert_int_equal(b->proposed.kind, 0);
    cairn_replica_receive(&b->r, &(struct cairn_repl_msg){ .kind = CAIRN_REPL_ACK,
                                                           .from = n1,
                                                           .to = self,
                                                           .epoch = 1,
                                                           .matched = b->end,
                                                           .synced = b->end,
                                                           .base = p->base });
    assert_int_equal(p->matched, b->end);
    assert_int_equal(b->proposed.kind, CAIRN_CHANGE_JOIN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_learner_speaks_again_soon, bench_begin, bench_end),
        cmocka_unit_test_setup_teardown(a_commit_is_told_when_no_entry_comes, bench_begin, bench_end),
        cmocka_unit_test_setup_teardown(old_primary_is_refused, bench_begin, bench_end),
        cmocka_unit_test_setup_teardown(what_is_applied_is_not_cut, bench_begin, bench_end),
        cmocka_unit_test_setup_teardown(reads_wait_until_the_log_is_applied, bench_begin, bench_end),
        cmocka_unit_test_setup_teardown(cut_is_on_disk_before_the_ack, bench_begin, bench_end),
        cmocka_unit_test_setup_teardown(only_who_leads_says_that_a_region_is_gone, bench_begin, bench_end),
        cmocka_unit_test_setup_teardown(refused_joiner_is_waited_for, bench_begin, bench_end),
        cmocka_unit_test_setup_teardown(alone_it_waits_for_nobody, bench_begin, bench_end),
        cmocka_unit_test_setup_teardown(who_ceases_is_nobody, bench_begin, bench_end),
        cmocka_unit_test_setup_teardown(alone_it_needs_no_lease, bench_begin, bench_end),
        cmocka_unit_test_setup_teardown(alone_in_a_lost_history_it_ceases, bench_begin, bench_end),
        cmocka_unit_test_setup_teardown(who_asks_for_another_is_not_alone, bench_begin, bench_end),
        cmocka_unit_test_setup_teardown(what_counts_is_written_here, bench_begin, bench_end),
        cmocka_unit_test_setup_teardown(who_has_no_lease_cleans_nothing, bench_begin, bench_end),
        cmocka_unit_test_setup_teardown(who_has_part_of_a_copy_takes_no_entries, bench_begin, bench_end),
        cmocka_unit_test_setup_teardown(commits_are_heard_without_room, bench_begin, bench_end),
        cmocka_unit_test_setup_teardown(what_was_said_before_a_copy_is_void, bench_begin, bench_end),
        cmocka_unit_test_setup_teardown(who_does_not_get_on_keeps_no_view, bench_begin, bench_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
