/* One replica, told word by word what it must not believe, or not yet: what random walks meet too seldom. Of copies see
 * test_sim_copy.c. */
#include "tests/sim/replica_bench.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

/* M_NO_FENCE. The old primary's word comes late, when the new one's START stands where it wants its entry: nothing is
 * cut, nothing acknowledged, and it hears of the epoch. */
static void old_primary_is_refused(void **state)
{
    struct bench *b = *state;
    uint32_t acks;

    bench_learn(b, 1, CAIRN_SLOT_ACTIVE, n1, WITH(n2, self));
    bench_append(b, n1, 1, (struct cairn_at){ 0 }, bench_start(1, 1), 0);
    bench_disk(b);
    bench_learn(b, 2, CAIRN_SLOT_TAKEOVER, n2, WITH(self));
    bench_append(b, n2, 2, (struct cairn_at){ 1, 1 }, bench_start(2, 2), 0);
    bench_disk(b);
    assert_int_equal(b->last[CAIRN_REPL_ACK].matched, 2);
    acks = b->said[CAIRN_REPL_ACK];
    bench_append(b, n1, 1, (struct cairn_at){ 1, 1 }, bench_buffered(1, 2), 2);
    bench_disk(b);
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

    bench_learn(b, 1, CAIRN_SLOT_ACTIVE, n1, WITH(n2));
    assert_int_equal(b->said[CAIRN_REPL_MATCH], 1);
    world_run_until(b->world, cairn_env_now_ns(b->r.env) + bench_times.resend_ns);
    assert_in_range(b->said[CAIRN_REPL_MATCH], 3, 5);
    world_run_until(b->world, cairn_env_now_ns(b->r.env) + 10 * bench_times.learner_ns);
    assert_in_range(b->said[CAIRN_REPL_MATCH], 10, 17);
}

/* M_APPLIED_IS_CUT. What was applied here was lost with all who had it in sync, and another history goes on: it cannot
 * be taken back, so the log stays as it is, says so, and waits for a copy. */
static void what_is_applied_is_not_cut(void **state)
{
    struct bench *b = *state;

    bench_learn(b, 1, CAIRN_SLOT_ACTIVE, n1, WITH(n2, self));
    bench_append(b, n1, 1, (struct cairn_at){ 0 }, bench_start(1, 1), 0);
    bench_append(b, n1, 1, (struct cairn_at){ 1, 1 }, bench_buffered(1, 2), 2);
    bench_disk(b);
    bench_apply_all(b);
    assert_int_equal(b->r.applied, 2);
    bench_learn(b, 2, CAIRN_SLOT_TAKEOVER, n2, WITH(n1)); /* recovered from their disks, which end at 1 */
    bench_append(b, n2, 2, (struct cairn_at){ 1, 1 }, bench_start(2, 2), 2);
    bench_disk(b);
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

    bench_learn(b, 1, CAIRN_SLOT_ACTIVE, self, WITH(n2));
    bench_disk(b);
    bench_ack(b, n2, 1, b->end);
    bench_apply_all(b);
    assert_int_equal(b->r.sm.state, REPLICA_ACTIVE);
    said = b->said[CAIRN_REPL_APPEND];
    assert_true(b->last[CAIRN_REPL_APPEND].commit < b->r.commit);
    world_run_until(b->world, cairn_env_now_ns(b->r.env) + 2 * bench_times.resend_ns);
    assert_int_equal(b->said[CAIRN_REPL_APPEND], said);
    world_run_until(b->world, cairn_env_now_ns(b->r.env) + 3 * bench_times.resend_ns);
    assert_true(b->said[CAIRN_REPL_APPEND] > said);
    assert_int_equal(b->last[CAIRN_REPL_APPEND].commit, b->r.commit);
    assert_int_equal(b->last[CAIRN_REPL_APPEND].nentries, 0);
    bench_ack(b, n2, 1, b->end);
    said = b->said[CAIRN_REPL_APPEND];
    world_run_until(b->world, cairn_env_now_ns(b->r.env) + 10 * bench_times.resend_ns);
    assert_int_equal(b->said[CAIRN_REPL_APPEND], said);
}

/* M_READ_BEFORE_APPLIED. With START everywhere the log before it is final, but not yet what a read looks at. */
static void reads_wait_until_the_log_is_applied(void **state)
{
    struct bench *b = *state;

    bench_learn(b, 1, CAIRN_SLOT_ACTIVE, n1, WITH(n2, self));
    bench_append(b, n1, 1, (struct cairn_at){ 0 }, bench_start(1, 1), 0);
    bench_append(b, n1, 1, (struct cairn_at){ 1, 1 }, bench_buffered(1, 2), 0);
    bench_disk(b);
    bench_learn(b, 2, CAIRN_SLOT_TAKEOVER, self, WITH(n2));
    bench_disk(b);
    assert_int_equal(cairn_replica_may_read(&b->r), CAIRN_E_BUSY);
    bench_ack(b, n2, 2, 3);
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

    bench_learn(b, 1, CAIRN_SLOT_ACTIVE, n1, WITH(n2, self));
    bench_append(b, n1, 1, (struct cairn_at){ 0 }, bench_start(1, 1), 0);
    bench_append(b, n1, 1, (struct cairn_at){ 1, 1 }, bench_buffered(1, 2), 0);
    bench_disk(b);
    cairn_replica_flush(&b->r);
    bench_disk(b);
    bench_learn(b, 2, CAIRN_SLOT_TAKEOVER, n2, WITH(self));
    acks = b->said[CAIRN_REPL_ACK];
    bench_append(b, n2, 2, (struct cairn_at){ 1, 1 }, bench_buffered(2, 2), 0);
    assert_int_equal(b->cuts, 1);
    assert_true(b->syncing);
    assert_int_equal(b->said[CAIRN_REPL_ACK], acks);
    assert_true(cairn_replica_may_come_back(&b->r)); /* M_GC_BEFORE_A_CUT: what it named is not to be freed yet */
    bench_disk(b);
    assert_false(cairn_replica_may_come_back(&b->r));
    assert_int_equal(b->said[CAIRN_REPL_ACK], acks + 1);
    assert_int_equal(b->last[CAIRN_REPL_ACK].matched, 2);
}

/* M_GONE_DEPOSED, M_GONE_RESTARTED. What an entry of it names is no more, says the process that leads in the epoch in
 * which it sent it. Deposed, it may have cut that entry; started again, it may have lost it; and another has not. */
static void only_who_leads_says_that_a_region_is_gone(void **state)
{
    struct bench *b = *state;

    bench_learn(b, 1, CAIRN_SLOT_TAKEOVER, self, WITH(n2));
    assert_true(cairn_replica_leads(&b->r, 1, self.inc));
    assert_false(cairn_replica_leads(&b->r, 1, self.inc - 1));
    bench_disk(b);
    bench_ack(b, n2, 1, 1);
    bench_apply_all(b);
    bench_learn(b, 2, CAIRN_SLOT_ACTIVE, self, WITH(n2));
    assert_true(cairn_replica_leads(&b->r, 2, self.inc));
    assert_false(cairn_replica_leads(&b->r, 1, self.inc));
    bench_learn(b, 3, CAIRN_SLOT_TAKEOVER, n2, WITH(self));
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

    bench_learn(b, 1, CAIRN_SLOT_TAKEOVER, self, WITH(n2));
    bench_disk(b);
    bench_ack(b, n2, 1, 1);
    bench_apply_all(b);
    assert_int_equal(b->proposed.kind, CAIRN_CHANGE_ACTIVE);
    bench_learn(b, 2, CAIRN_SLOT_ACTIVE, self, WITH(n2));
    bench_disk(b);
    bench_ack(b, n2, 2, b->end);
    bench_apply_all(b);
    cairn_replica_receive(&b->r, &(struct cairn_repl_msg){
                                     .kind = CAIRN_REPL_MATCH, .from = n1, .to = self, .epoch = 2 }); /* a learner */
    bench_ack(b, n1, 2, b->end);
    assert_int_equal(b->proposed.kind, CAIRN_CHANGE_JOIN);
    assert_true(cairn_who_is(b->proposed.who, n1));
    assert_int_equal(cairn_replica_write(&b->r, &w), 0);
    bench_written(b);
    bench_ack(b, n2, 2, b->end);
    world_run_until(b->world, world_now_ns(b->world) +
                                  2 * bench_times.resend_ns); /* n1 is silent: it would not be proposed now */
    cairn_replica_on_verdict(&b->r, &b->proposed, CAIRN_VERDICT_REFUSED, NULL);
    assert_true(b->r.commit < b->end);
    bench_ack(b, n1, 2, b->end);
    assert_int_equal(b->r.commit, b->end);
    bench_apply_all(b);
    cairn_env_run_tasks(b->r.env);
    assert_int_equal(rc, 0);
}

/* Who has no room for entries still hears what is committed of those that he has: applying them is what makes room. */
static void commits_are_heard_without_room(void **state)
{
    struct bench *b = *state;
    struct cairn_log_entry e = bench_buffered(1, 3);
    struct cairn_repl_msg m = { .kind = CAIRN_REPL_APPEND,
                                .from = n1,
                                .to = self,
                                .epoch = 1,
                                .prev = { 1, 2 },
                                .entries = &e,
                                .nentries = 1,
                                .commit = 3 };
    uint32_t acks;

    bench_learn(b, 1, CAIRN_SLOT_ACTIVE, n1, WITH(self));
    bench_append(b, n1, 1, (struct cairn_at){ 0 }, bench_start(1, 1), 0);
    bench_append(b, n1, 1, (struct cairn_at){ 1, 1 }, bench_buffered(1, 2), 1);
    bench_disk(b);
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
    bench_learn(b, 1, CAIRN_SLOT_ACTIVE, self, &(struct cairn_who){ 0 });
    bench_disk(b);
    bench_apply_all(b);
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
    bench_written(b);
    assert_int_equal(b->r.commit, b->end);
    bench_apply_all(b);
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
    bench_append(b, n1, 1, b->r.log.end, bench_buffered(1, end + 1), 0);
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
        bench_written(b);
    bench_disk(b);
    bench_apply_all(b);
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
    bench_learn(b, 1, CAIRN_SLOT_TAKEOVER, self, &(struct cairn_who){ 0 });
    bench_disk(b);
    bench_apply_all(b);
    assert_int_equal(b->r.sm.state, REPLICA_ACTIVE);
    assert_int_equal(write_alone(b, &w), 0);
    bench_learn_since(b, 2, 1, CAIRN_SLOT_ACTIVE, self, &(struct cairn_who){ 0 });
    assert_int_equal(cairn_replica_may_read(&b->r), 0);
    cairn_replica_receive(&b->r, &(struct cairn_repl_msg){
                                     .kind = CAIRN_REPL_MATCH, .from = n1, .to = self, .epoch = 2 }); /* a learner */
    bench_ack(b, n1, 2, b->end);
    world_run_until(b->world, world_now_ns(b->world) + 4 * bench_times.ack_ns);
    assert_int_equal(b->proposed.kind, 0);
    assert_true(cairn_replica_is_alone(&b->r));
    b->has_failed = true;
    assert_int_equal(write_alone(b, &w), CAIRN_E_BUSY);
    b->has_failed = false;
    assert_int_equal(write_alone(b, &w), 0);
    bench_learn_since(b, 3, 1, CAIRN_SLOT_ACTIVE, self, WITH(n2));
    assert_int_equal(cairn_replica_may_read(&b->r), CAIRN_E_BUSY);
    assert_int_equal(b->r.sm.state, REPLICA_PAUSED);
}

/* Two members owe an answer when the replica stands still, perhaps with the whole machine: nothing follows from that, for
 * neither, though one is heard first. Who says nothing while it looks is not waited for. */
static void silence_while_it_stood_still_does_not_count(void **state)
{
    static int rc; /* until the bench ends */
    static struct cairn_repl_write w = { .kind = CAIRN_ENTRY_WRITE, .done = on_write, .arg = &rc };
    struct bench *b = *state;

    bench_learn(b, 1, CAIRN_SLOT_ACTIVE, self, WITH(n1, n2));
    bench_disk(b);
    bench_ack(b, n1, 1, b->end);
    bench_ack(b, n2, 1, b->end);
    bench_apply_all(b);
    assert_int_equal(b->r.sm.state, REPLICA_ACTIVE);
    assert_int_equal(cairn_replica_write(&b->r, &w), 0);
    world_run_until(b->world, world_now_ns(b->world) + bench_times.resend_ns);
    world_stall(b->world, 0, 10 * bench_times.ack_ns);
    world_run_until(b->world, world_now_ns(b->world) + 10 * bench_times.ack_ns - 1);
    bench_ack(b, n2, 1, b->end);
    world_run_until(b->world, world_now_ns(b->world) + bench_times.resend_ns);
    assert_int_equal(b->proposed.kind, 0);
    world_run_until(b->world, world_now_ns(b->world) + bench_times.ack_ns);
    assert_int_equal(b->proposed.kind, CAIRN_CHANGE_REMOVE);
    assert_true(cairn_who_is(b->proposed.who, n1));
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
    bench_learn_since(b, 6, 1, CAIRN_SLOT_ACTIVE, self,
                      &(struct cairn_who){ 0 }); /* of the old map: that is no proof */
    assert_int_equal(cairn_replica_may_read(&b->r), CAIRN_E_BUSY);
    bench_learn(b, m.epoch + 1, CAIRN_SLOT_ACTIVE, self, &(struct cairn_who){ 0 });
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
    bench_ack(b, n1, 1, b->end);
    assert_int_equal(b->proposed.kind, CAIRN_CHANGE_JOIN);
    assert_int_equal(cairn_replica_may_read(&b->r), 0);
    b->has_no_lease = true;
    assert_int_equal(cairn_replica_may_read(&b->r), CAIRN_E_BUSY);
    assert_int_equal(write_alone(b, &w), CAIRN_E_BUSY);
    cairn_replica_on_verdict(&b->r, &b->proposed, CAIRN_VERDICT_REFUSED, NULL); /* its record says what became of it */
    assert_int_equal(cairn_replica_may_read(&b->r), CAIRN_E_BUSY);
    bench_learn_since(b, 2, 1, CAIRN_SLOT_ACTIVE, self, &(struct cairn_who){ 0 });
    assert_int_equal(write_alone(b, &w), 0);
}

/* The learner's process is another by now: it is not asked for once more until that one speaks. */
static void who_was_refused_for_its_incarnation_speaks_first(void **state)
{
    const struct cairn_who later = { n1.node, n1.inc + 1 };
    struct bench *b = *state;
    struct cairn_change asked;

    lead_alone(b);
    cairn_replica_receive(&b->r, &(struct cairn_repl_msg){
                                     .kind = CAIRN_REPL_MATCH, .from = n1, .to = self, .epoch = 1 }); /* a learner */
    bench_ack(b, n1, 1, b->end);
    asked = b->proposed;
    assert_int_equal(asked.kind, CAIRN_CHANGE_JOIN);
    b->proposed = (struct cairn_change){ 0 };
    cairn_replica_on_verdict(&b->r, &asked, CAIRN_VERDICT_REFUSED_INC, NULL);
    world_run_until(b->world, world_now_ns(b->world) + 10 * bench_times.ack_ns);
    assert_int_equal(b->proposed.kind, 0);
    cairn_replica_receive(&b->r,
                          &(struct cairn_repl_msg){ .kind = CAIRN_REPL_MATCH, .from = later, .to = self, .epoch = 1 });
    bench_ack(b, later, 1, b->end);
    assert_int_equal(b->proposed.kind, CAIRN_CHANGE_JOIN);
    assert_true(cairn_who_is(b->proposed.who, later));
}

/* Who is said to be gone is given up sooner, unless it speaks. */
static void less_silence_is_enough_where_there_is_doubt(void **state)
{
    struct bench *b = *state;

    bench_learn(b, 1, CAIRN_SLOT_ACTIVE, self, WITH(n1));
    bench_disk(b);
    bench_ack(b, n1, 1, b->end);
    bench_apply_all(b);
    for (int speaks = 1; speaks >= 0; speaks--) {
        cairn_replica_doubt(&b->r, n1.node);
        world_run_until(b->world, world_now_ns(b->world) + 3 * bench_times.resend_ns);
        if (speaks)
            bench_ack(b, n1, 1, b->end);
        world_run_until(b->world, world_now_ns(b->world) + bench_times.ack_ns - 4 * bench_times.resend_ns);
        assert_int_equal(b->proposed.kind, speaks ? 0 : CAIRN_CHANGE_REMOVE);
    }
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

    bench_learn(b, 1, CAIRN_SLOT_ACTIVE, self, WITH(n2));
    bench_disk(b);
    bench_ack(b, n2, 1, b->end);
    bench_apply_all(b);
    assert_int_equal(cairn_replica_write(&b->r, &w[0]), 0);
    assert_true(b->writing);
    bench_ack(b, n2, 1, b->end);
    assert_int_equal(b->r.commit, b->end - 1);
    bench_written(b);
    assert_int_equal(b->r.commit, b->end);
    assert_int_equal(cairn_replica_write(&b->r, &w[1]), 0);
    assert_int_equal(b->r.commit, b->end - 1);
    bench_learn_since(b, 2, 1, CAIRN_SLOT_ACTIVE, self, &(struct cairn_who){ 0 });
    assert_int_equal(b->r.sm.state, REPLICA_ACTIVE);
    assert_int_equal(b->r.commit, b->end - 1);
    of_others = (struct cairn_at){ .epoch = 7, .pos = b->end }; /* of another history, in which this was cut */
    cairn_replica_on_written(&b->r, of_others);
    assert_int_equal(b->r.commit, b->end - 1);
    bench_written(b);
    assert_int_equal(b->r.commit, b->end);
    bench_apply_all(b);
    cairn_env_run_tasks(b->r.env);
    assert_true(rc[0] == 0 && rc[1] == 0);
}

/* M_CLEAN_ON_HEARSAY. A record without this node comes late, to a process that knows nothing newer yet: what it has is
 * perhaps counted on. It is of no use when the map of a grant says the same. */
static void who_has_no_lease_cleans_nothing(void **state)
{
    struct bench *b = *state;

    bench_append_here(b, bench_start(1, 1));
    b->has_no_lease = true;
    bench_learn_places(b, 18, n1, n2);
    assert_int_equal(b->r.sm.state, REPLICA_OUT);
    assert_false(cairn_replica_clean(&b->r));
    assert_false(b->wiped);
    b->has_no_lease = false;
    assert_true(cairn_replica_clean(&b->r));
    assert_true(b->wiped);
    cairn_replica_on_wiped(&b->r);
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
        cmocka_unit_test_setup_teardown(silence_while_it_stood_still_does_not_count, bench_begin, bench_end),
        cmocka_unit_test_setup_teardown(alone_in_a_lost_history_it_ceases, bench_begin, bench_end),
        cmocka_unit_test_setup_teardown(who_asks_for_another_is_not_alone, bench_begin, bench_end),
        cmocka_unit_test_setup_teardown(who_was_refused_for_its_incarnation_speaks_first, bench_begin, bench_end),
        cmocka_unit_test_setup_teardown(less_silence_is_enough_where_there_is_doubt, bench_begin, bench_end),
        cmocka_unit_test_setup_teardown(what_counts_is_written_here, bench_begin, bench_end),
        cmocka_unit_test_setup_teardown(who_has_no_lease_cleans_nothing, bench_begin, bench_end),
        cmocka_unit_test_setup_teardown(commits_are_heard_without_room, bench_begin, bench_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
