/* The sessions of a slot at its primary, on a bench: how long each is kept, and what happens where there are as many as
 * may be. */
#include "tests/sim/replica_bench.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void on_done(struct cairn_repl_write *w, int rc)
{
    *(int *)w->arg = rc;
}

/* What is in the log is on disk, committed and applied. */
static void settle(struct bench *b)
{
    while (b->writing || b->syncing || b->r.applied < b->applying) {
        bench_disk(b);
        if (b->writing)
            bench_written(b);
        bench_apply_all(b);
    }
}

/* The only replica, which nobody else makes tick. */
static void lead_alone_in(struct bench *b, uint64_t epoch)
{
    const struct cairn_slot_record rec = { .epoch = epoch,
                                           .since = epoch,
                                           .state = CAIRN_SLOT_ACTIVE,
                                           .primary = self,
                                           .nreplicas = 1,
                                           .replicas = { self.node },
                                           .ninsync = 1,
                                           .insync = { self } };

    assert_int_equal(cairn_replica_learn(&b->r, &rec), 0);
    settle(b);
    assert_int_equal(b->r.sm.state, REPLICA_ACTIVE);
}

static void lead_alone(struct bench *b)
{
    lead_alone_in(b, 1);
}

static int ask(struct bench *b, struct cairn_repl_write *w)
{
    int rc, told = 1;

    w->done = on_done;
    w->arg = &told;
    rc = cairn_replica_write(&b->r, w);
    settle(b);
    if (rc != 0)
        return rc;
    cairn_env_run_tasks(b->r.env); /* an answer comes later */
    assert_int_not_equal(told, 1);
    return told;
}

static int open_one(struct bench *b, struct cairn_repl_write *w)
{
    *w = (struct cairn_repl_write){ .kind = CAIRN_ENTRY_OPEN };
    return ask(b, w);
}

static int write_in(struct bench *b, struct cairn_at session, uint64_t seq)
{
    struct cairn_repl_write w = { .kind = CAIRN_ENTRY_WRITE, .rid = { .session = session, .seq = seq }, .floor = seq };

    return ask(b, &w);
}

static void open_all(struct bench *b, struct cairn_at *ids, uint32_t from)
{
    for (uint32_t i = from; i < CAIRN_SESSIONS_MAX; i++) {
        struct cairn_repl_write w;

        assert_int_equal(open_one(b, &w), 0);
        assert_int_equal(w.ttl_ns, i < CAIRN_SESSIONS_MANY ? 120 * CAIRN_NS_PER_S : 30 * CAIRN_NS_PER_S);
        ids[i] = w.at;
    }
}

static void run_s(struct bench *b, uint64_t seconds)
{
    world_run_until(b->world, world_now_ns(b->world) + seconds * CAIRN_NS_PER_S);
    settle(b);
}

static bool is_there(struct bench *b, struct cairn_at id)
{
    return cairn_sessions_find(&b->r.sessions, id) != NULL;
}

/* Nobody goes whose time is not over: the next client waits until one is, and then has its place at once, for which
 * no tick is needed; whoever writes stays, and so do those who were promised more. */
static void the_idle_ones_make_room(void **state)
{
    static struct cairn_at ids[CAIRN_SESSIONS_MAX];
    const struct cairn_at first = { 1, 2 };
    struct bench *b = *state;
    struct cairn_repl_write w;
    uint64_t end;

    lead_alone(b);
    run_s(b, 1);
    assert_int_equal(open_one(b, &w), 0); /* from here on ticks come, at other times than those that are looked at */
    assert_true(cairn_at_is(w.at, first));
    run_s(b, 5);
    open_all(b, ids, 1);
    assert_int_equal(open_one(b, &w), CAIRN_E_BUSY);
    assert_true(w.full);
    run_s(b, 20);
    assert_int_equal(write_in(b, ids[CAIRN_SESSIONS_MANY], 1), 0);
    run_s(b, 9);
    assert_int_equal(open_one(b, &w), CAIRN_E_BUSY);
    assert_int_equal(b->r.sessions.n, CAIRN_SESSIONS_MAX);
    run_s(b, 2);
    end = b->r.log.end.pos;
    assert_int_equal(b->r.sessions.n, CAIRN_SESSIONS_MAX);
    assert_int_equal(open_one(b, &w), CAIRN_E_BUSY); /* the entries that make room are on their way */
    assert_true(b->r.log.end.pos > end);
    assert_int_equal(b->log[end].kind, CAIRN_ENTRY_EXPIRE);
    assert_int_equal(open_one(b, &w), 0);
    assert_false(w.full);
    assert_false(is_there(b, ids[CAIRN_SESSIONS_MANY + 1]));
    assert_true(is_there(b, ids[CAIRN_SESSIONS_MANY]));
    assert_true(is_there(b, first) && is_there(b, ids[1]) && is_there(b, ids[CAIRN_SESSIONS_MANY - 1]));
    assert_int_equal(write_in(b, ids[CAIRN_SESSIONS_MANY + 1], 1), CAIRN_E_GONE);
    assert_int_equal(write_in(b, ids[CAIRN_SESSIONS_MANY], 2), 0);
    assert_int_equal(write_in(b, ids[1], 1), 0);
}

/* A tick ends all whose time is over, some at a time. */
static void ticks_end_the_idle_ones(void **state)
{
    static struct cairn_at ids[CAIRN_SESSIONS_MAX];
    struct bench *b = *state;

    lead_alone(b);
    run_s(b, 1); /* the first tick finds none */
    open_all(b, ids, 0);
    for (int i = 0; i < 6000; i++) {
        world_run_until(b->world, world_now_ns(b->world) + 10 * CAIRN_NS_PER_MS);
        settle(b);
    }
    assert_int_equal(b->r.sessions.n, CAIRN_SESSIONS_MANY);
    for (int i = 0; i < 120; i++)
        run_s(b, 1);
    assert_int_equal(b->r.sessions.n, 0);
}

/* Clients have come and gone since the last checkpoint, more than may be there at a time. A start has them all in its
 * log, none of them applied; and whoever leads then keeps to the bound, and comes below it. */
static void a_log_may_have_more_of_them_than_may_be(void **state)
{
    enum { GONE = CAIRN_SESSIONS_MAX / 4 };
    struct bench *b = *state;
    struct cairn_repl_write w;
    uint64_t pos = 1;

    bench_append_here(b, bench_start(1, pos));
    for (int i = 0; i < CAIRN_SESSIONS_MAX + GONE; i++) {
        struct cairn_log_entry open = { .at = { 1, ++pos }, .kind = CAIRN_ENTRY_OPEN }, end = open;

        bench_append_here(b, open);
        if (i >= GONE)
            continue;
        end = (struct cairn_log_entry){ .at = { 1, ++pos }, .kind = CAIRN_ENTRY_EXPIRE, .rid.session = open.at };
        bench_append_here(b, end);
    }
    assert_int_equal(b->r.sessions.n, CAIRN_SESSIONS_MAX + GONE);
    lead_alone_in(b, 2);
    assert_int_equal(b->r.sessions.n, CAIRN_SESSIONS_MAX);
    assert_int_equal(open_one(b, &w), CAIRN_E_BUSY);
    run_s(b, 121);
    assert_true(b->r.sessions.n < CAIRN_SESSIONS_MAX);
    assert_int_equal(open_one(b, &w), 0);
    assert_int_equal(write_in(b, w.at, 1), 0);
}

/* Entries that end sessions wait for room like others: a log that cannot take one would be the end of the node. */
static void they_end_when_the_log_has_room(void **state)
{
    struct bench *b = *state;
    struct cairn_repl_write w;
    uint64_t end;

    lead_alone(b);
    assert_int_equal(open_one(b, &w), 0);
    end = b->end;
    b->has_no_room = true;
    run_s(b, 200);
    assert_int_equal(b->end, end);
    assert_true(is_there(b, w.at));
    b->has_no_room = false;
    run_s(b, 1);
    assert_false(is_there(b, w.at));
}

/* Where the primary may not answer it hears its clients all the same: a pause is none of theirs. */
static void who_is_refused_for_a_while_is_not_idle(void **state)
{
    struct bench *b = *state;
    struct cairn_repl_write w;
    struct cairn_at quiet, loud;

    bench_learn(b, 1, CAIRN_SLOT_TAKEOVER, self, WITH(n2));
    bench_disk(b);
    bench_ack(b, n2, 1, b->end);
    bench_apply_all(b);
    for (int i = 0; i < 2; i++) {
        struct cairn_at *id = i == 0 ? &quiet : &loud;
        int rc = 1;

        w = (struct cairn_repl_write){ .kind = CAIRN_ENTRY_OPEN, .done = on_done, .arg = &rc };
        assert_int_equal(cairn_replica_write(&b->r, &w), 0);
        *id = (struct cairn_at){ 1, b->end };
        bench_written(b);
        bench_ack(b, n2, 1, b->end);
        bench_apply_all(b);
        cairn_env_run_tasks(b->r.env);
        assert_int_equal(rc, 0);
    }
    b->has_no_lease = true;
    run_s(b, 100);
    assert_int_equal(write_in(b, loud, 1), CAIRN_E_BUSY);
    run_s(b, 25);
    b->has_no_lease = false;
    cairn_replica_on_lease(&b->r);
    run_s(b, 31);
    assert_true(is_there(b, loud));
    assert_false(is_there(b, quiet));
}

/* Whose client ends is not kept; and whoever comes with one of its numbers after that is told. */
static void a_client_may_end_its_session(void **state)
{
    struct bench *b = *state;
    struct cairn_repl_write w;
    struct cairn_at id, other;

    lead_alone(b);
    assert_int_equal(open_one(b, &w), 0);
    id = w.at;
    assert_int_equal(open_one(b, &w), 0);
    other = w.at;
    assert_int_equal(write_in(b, id, 1), 0);
    w = (struct cairn_repl_write){ .kind = CAIRN_ENTRY_EXPIRE, .rid.session = id };
    assert_int_equal(ask(b, &w), 0);
    assert_int_equal(b->log[b->end - 1].kind, CAIRN_ENTRY_EXPIRE);
    assert_int_equal(b->r.sessions.n, 1);
    assert_true(is_there(b, other));
    assert_int_equal(write_in(b, id, 1), CAIRN_E_GONE);
    assert_int_equal(ask(b, &w), CAIRN_E_GONE);
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, bench_begin, bench_end)
    const struct CMUnitTest tests[] = {
        CASE(the_idle_ones_make_room),
        CASE(ticks_end_the_idle_ones),
        CASE(a_log_may_have_more_of_them_than_may_be),
        CASE(they_end_when_the_log_has_room),
        CASE(a_client_may_end_its_session),
        CASE(who_is_refused_for_a_while_is_not_idle),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
