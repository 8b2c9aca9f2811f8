/* What replicas ask of the provider: batches over several databases, flushes. */
#include "tests/unit/kv/kv_rpc_fixture.h"

static void batch_over_databases(void **state)
{
    struct fixture *fx = *state;
    uint32_t a = new_db(fx, "a"), b2 = new_db(fx, "b");
    struct batch *b = batch_new();
    const Cairn__Wire__KvStatuses *statuses;

    add(b, a, "k", 'x', 3);
    add(b, b2, "k", 'y', 2);
    add(b, a, "gone", 'z', 1);
    add(b, a, "gone", 0, -1);
    add(b, b2, "empty", 0, 0);
    assert_int_equal(apply(fx, b), 0);
    assert_int_equal(((Cairn__Wire__KvStatuses *)fx->reply)->n_status, 0); /* nothing failed */
    assert_int_equal(get(fx, M(GET), a, "k"), 0);
    assert_value(fx, "xxx");
    assert_int_equal(get(fx, M(GET), b2, "k"), 0);
    assert_value(fx, "yy");
    assert_int_equal(get(fx, M(GET), a, "gone"), CAIRN_E_NOTFOUND);
    assert_int_equal(get(fx, M(GET), b2, "empty"), 0);
    assert_int_equal(fx->value_len, 0);
    batch_reset(b);
    b->if_absent[add(b, a, "k", 'n', 1)] = true;
    b->if_absent[add(b, a, "n", 'n', 1)] = true;
    b->m.durability = CAIRN__WIRE__DURABILITY__DURABILITY_SYNC;
    assert_int_equal(apply(fx, b), 0);
    statuses = (Cairn__Wire__KvStatuses *)fx->reply;
    assert_int_equal(statuses->n_status, 2);
    assert_int_equal(statuses->status[0], CAIRN_E_EXISTS);
    assert_int_equal(statuses->status[1], 0);
    assert_int_equal(get(fx, M(GET), a, "k"), 0);
    assert_value(fx, "xxx");
    batch_reset(b); /* of nothing: a barrier */
    assert_int_equal(apply(fx, b), 0);
    free(b);
}

static void largest_batches(void **state)
{
    struct fixture *fx = *state;
    uint32_t db = new_db(fx, "a");
    struct batch *b = batch_new();
    char key[8];

    for (uint32_t i = 0; i < CAIRN_BATCH_MAX; i++) {
        snprintf(key, sizeof(key), "%05u", i);
        add(b, db, key, (int)(i % 251), CAIRN_KV_APPLY_BYTES_MAX / CAIRN_BATCH_MAX - 5);
    }
    assert_int_equal(apply(fx, b), 0);
    assert_int_equal(get(fx, M(GET), db, "04095"), 0);
    assert_int_equal(fx->value_len, 2043);
    assert_int_equal(fx->value[2042], 4095 % 251);
    batch_reset(b);
    for (int i = 0; i < 8; i++) {
        key[0] = (char)('a' + i);
        key[1] = '\0';
        add(b, db, key, i, i < 7 ? CAIRN_KV_VALUE_BYTES_MAX : CAIRN_KV_VALUE_BYTES_MAX - 8);
    }
    assert_int_equal(apply(fx, b), 0);
    assert_int_equal(get(fx, M(GET), db, "g"), 0);
    assert_int_equal(fx->value_len, CAIRN_KV_VALUE_BYTES_MAX);
    assert_int_equal(fx->value[0], 6);
    b->lengths[7]++;
    b->bytes++;
    assert_int_equal(apply(fx, b), CAIRN_E_TOOBIG);
    b->bytes = CAIRN_KV_APPLY_BYTES_MAX + 1; /* nor does anything longer come so far */
    assert_int_equal(apply(fx, b), CAIRN_E_TOOBIG);
    free(b);
}

/* Whatever is wrong with one entry is wrong with all. */
static void bad_batches(void **state)
{
    struct fixture *fx = *state;
    uint32_t db = new_db(fx, "a"), numbers = 0;
    struct batch *b = batch_new();

    assert_int_equal(open_db(fx, "n", CAIRN_KV_UINT, false, &numbers), 0);
    add(b, db, "k", 'x', 3);
    add(b, db + 1, "k", 'x', 3);
    assert_int_equal(apply(fx, b), CAIRN_E_NOTFOUND);
    b->dbs[1] = numbers;
    b->keys[1] = bin("ninebytes", 9);
    assert_int_equal(apply(fx, b), CAIRN_E_INVAL);
    assert_non_null(strstr(fx->err.text, "key 1"));
    b->dbs[1] = db;
    b->keys[1].len = 0;
    assert_int_equal(apply(fx, b), CAIRN_E_INVAL);
    b->keys[1] = bin("l", 1);
    b->m.n_dbs = 1;
    assert_int_equal(apply(fx, b), CAIRN_E_INVAL);
    b->m.n_dbs = 2;
    b->bytes++;
    assert_int_equal(apply(fx, b), CAIRN_E_INVAL);
    b->bytes--;
    assert_int_equal(get(fx, M(EXISTS), db, "k"), 0);
    assert_false(((Cairn__Wire__KvExists *)fx->reply)->exists);
    assert_int_equal(apply(fx, b), 0);
    batch_reset(b);
    for (uint32_t i = 0; i <= CAIRN_BATCH_MAX; i++)
        add(b, db, "k", 0, -1);
    assert_int_equal(apply(fx, b), CAIRN_E_TOOBIG);
    free(b);
}

/* ---- flushes ---- */

enum { FLUSHES = 12 };

static void on_flushed(struct cairn_rpc_call *c)
{
    (*(uint32_t *)c->arg)++;
}

/* The first has one of its own; all that come while it runs, on whatever worker, share the next. */
static void flushes_are_shared(void **state)
{
    struct fixture *fx = *state;
    struct cairn_rpc_call calls[FLUSHES];
    Cairn__Wire__Empty m = CAIRN__WIRE__EMPTY__INIT;
    uint32_t db = new_db(fx, "a"), done = 0;
    struct batch *b = batch_new();

    add(b, db, "k", 'x', 3);
    assert_int_equal(apply(fx, b), 0);
    memset(calls, 0, sizeof(calls));
    for (int i = 0; i < FLUSHES; i++) {
        calls[i].dest.rpc = i % 2 == 0 ? fx->rpc : fx->other_rpc;
        calls[i].iface = &cairn_iface_kv;
        calls[i].provider = TARGET;
        calls[i].method = M(FLUSH);
        calls[i].msg = &m.base;
        calls[i].done = on_flushed;
        calls[i].arg = &done;
        cairn_rpc_call_start(&calls[i]);
    }
    for (int i = 0; i < TURNS_MAX && done < FLUSHES; i++) {
        cairn_loop_turn(&fx->loop, CAIRN_NS_PER_MS);
        cairn_loop_turn(&fx->other, CAIRN_NS_PER_MS);
    }
    assert_int_equal(done, FLUSHES);
    for (int i = 0; i < FLUSHES; i++)
        assert_int_equal(calls[i].rc, 0);
    assert_int_equal(status_number(fx, "flushes_asked"), FLUSHES);
    assert_in_range(status_number(fx, "flushes"), 1, 3); /* the workers' first turns may be a flush apart */
    assert_int_equal(call(fx, M(FLUSH), &m, NULL, 0), 0);
    free(b);
}

enum { FLUSHERS = 4, FLUSH_ROUNDS = 10 };

struct flusher {
    struct cairn_rpc_call call;
    struct cairn_task again;
    struct cairn_env *env;
    uint32_t answered;
};

static void on_flushed_again(struct cairn_rpc_call *c)
{
    struct flusher *f = c->arg;

    assert_int_equal(c->rc, 0);
    if (++f->answered < FLUSH_ROUNDS)
        cairn_env_defer(f->env, &f->again);
}

static void flush_again(void *arg)
{
    static const Cairn__Wire__Empty m = CAIRN__WIRE__EMPTY__INIT;
    struct flusher *f = arg;

    f->call.iface = &cairn_iface_kv;
    f->call.provider = TARGET;
    f->call.method = M(FLUSH);
    f->call.msg = &m.base;
    f->call.done = on_flushed_again;
    f->call.arg = f;
    cairn_rpc_call_start(&f->call);
}

/* Some who want one after the other each: who is answered asks again when the next has begun, which then is for the
 * one that came late, alone, and two are made for each round. In the gap behind the shared one they find together. */
static void flushes_of_several_gather(void **state)
{
    struct fixture *fx = *state;
    static struct flusher all[FLUSHERS];
    uint32_t answered = 0;

    memset(all, 0, sizeof(all));
    for (int i = 0; i < FLUSHERS; i++) {
        all[i].call.dest.rpc = fx->rpc;
        all[i].env = &fx->loop.env;
        cairn_task_init(&all[i].again, flush_again, &all[i]);
        flush_again(&all[i]);
    }
    for (int i = 0; i < TURNS_MAX && answered < FLUSHERS * FLUSH_ROUNDS; i++) {
        cairn_loop_turn(&fx->loop, CAIRN_NS_PER_MS);
        answered = 0;
        for (int k = 0; k < FLUSHERS; k++)
            answered += all[k].answered;
    }
    assert_int_equal(answered, FLUSHERS * FLUSH_ROUNDS);
    assert_in_range(status_number(fx, "flushes"), FLUSH_ROUNDS, FLUSH_ROUNDS + FLUSH_ROUNDS / 2);
}

/* The pool has no place: whoever waits is told, and the next one is served. */
static void flush_meets_a_full_pool(void **state)
{
    struct fixture *fx = *state;
    struct cairn_pool *roomy = fx->pool, *full = cairn_pool_new(1, 0, NULL);
    Cairn__Wire__Empty m = CAIRN__WIRE__EMPTY__INIT;

    ((struct kv_provider *)fx->target.ctx)->pool = full;
    assert_int_equal(call(fx, M(FLUSH), &m, NULL, 0), CAIRN_E_BUSY);
    ((struct kv_provider *)fx->target.ctx)->pool = roomy;
    assert_int_equal(call(fx, M(FLUSH), &m, NULL, 0), 0);
    cairn_pool_free(full);
}

/* Nor views. */
static void memory_has_no_disk(void **state)
{
    struct fixture *fx = *state;
    Cairn__Wire__Empty m = CAIRN__WIRE__EMPTY__INIT;
    Cairn__Wire__KvGet g = CAIRN__WIRE__KV_GET__INIT;

    assert_int_equal(call(fx, M(FLUSH), &m, NULL, 0), CAIRN_E_UNSUPPORTED);
    assert_non_null(strstr(fx->err.text, "backend memory"));
    assert_int_equal(call(fx, M(SNAPSHOT_OPEN), &m, NULL, 0), CAIRN_E_UNSUPPORTED);
    assert_non_null(strstr(fx->err.text, "backend memory"));
    g.db = new_db(fx, "a");
    g.key = bin("k", 1);
    g.snapshot = 1;
    assert_int_equal(call(fx, M(GET), &g, NULL, 0), CAIRN_E_GONE); /* not what is there now */
}

/* Entries of a log have room of their own in memory; a batch of nothing asks whether others have. */
static void new_data_leaves_room_for_a_log(void **state)
{
    struct fixture *fx = *state;
    uint32_t db = new_db(fx, "a"), n = 0;
    struct batch *b = batch_new();
    char key[16];
    int rc = 0;

    b->m.decided = true;
    add(b, db, "log", 'x', 1000);
    assert_int_equal(apply(fx, b), 0);
    b->m.decided = false;
    for (; rc == 0 && n < 2000; n++) {
        batch_reset(b);
        snprintf(key, sizeof(key), "%05u", n);
        add(b, db, key, 'n', 50000);
        rc = apply(fx, b);
    }
    assert_int_equal(rc, CAIRN_E_NOSPACE);
    assert_in_range(n, 800, 1250);
    assert_int_equal(put(fx, db, "new", "v"), CAIRN_E_NOSPACE);
    batch_reset(b);
    assert_int_equal(apply(fx, b), CAIRN_E_NOSPACE);
    b->m.decided = true;
    for (uint32_t i = 0; i < 100; i++) {
        batch_reset(b);
        snprintf(key, sizeof(key), "d%04u", i);
        add(b, db, key, 'd', 50000);
        assert_int_equal(apply(fx, b), 0);
    }
    for (uint32_t i = 0; i < n; i += 2) { /* what is free lies about, and counts */
        batch_reset(b);
        snprintf(key, sizeof(key), "%05u", i);
        add(b, db, key, 0, -1);
        assert_int_equal(apply(fx, b), 0);
    }
    b->m.decided = false;
    batch_reset(b);
    assert_int_equal(apply(fx, b), 0);
    assert_int_equal(put(fx, db, "new", "v"), 0);
    free(b);
}

/* Who is not the node itself decides nothing, whoever it is. */
static void others_decide_nothing(void **state)
{
    static const struct cairn_identity admin = { .admin = true, .auth = "key" };
    struct fixture *fx = *state;
    uint32_t db = new_db(fx, "a");
    struct batch *b = batch_new();
    Cairn__Wire__KvOpen open = CAIRN__WIRE__KV_OPEN__INIT;

    open.name = (char *)"new";
    open.create = open.decided = true;
    b->m.decided = true;
    add(b, db, "k", 'x', 3);
    fx->who = &admin;
    assert_int_equal(apply(fx, b), CAIRN_E_DENIED);
    assert_int_equal(call(fx, M(OPEN), &open, NULL, 0), CAIRN_E_DENIED);
    assert_int_equal(get(fx, M(GET), db, "k"), CAIRN_E_NOTFOUND);
    b->m.decided = false;
    assert_int_equal(apply(fx, b), 0);
    fx->who = NULL;
    b->m.decided = true;
    assert_int_equal(apply(fx, b), 0);
    assert_int_equal(call(fx, M(OPEN), &open, NULL, 0), 0);
    free(b);
}

#define BOTH(f)                                                                                                        \
    { #f " (memory)", f, setup_memory, teardown, NULL },                                                               \
    {                                                                                                                  \
#f " (rocksdb)", f, setup_rocksdb, teardown, NULL                                                              \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(batch_over_databases),
        BOTH(largest_batches),
        BOTH(bad_batches),
        BOTH(others_decide_nothing),
        cmocka_unit_test_setup_teardown(new_data_leaves_room_for_a_log, setup_memory, teardown),
        cmocka_unit_test_setup_teardown(flushes_are_shared, setup_rocksdb, teardown),
        cmocka_unit_test_setup_teardown(flushes_of_several_gather, setup_rocksdb, teardown),
        cmocka_unit_test_setup_teardown(flush_meets_a_full_pool, setup_rocksdb, teardown),
        cmocka_unit_test_setup_teardown(memory_has_no_disk, setup_memory, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
