/* The provider's answers to one key, many keys, listings and whole databases, and to what makes no sense. */
#include "tests/lib/patience.h"
#include "tests/unit/kv/kv_rpc_fixture.h"

static void one_key(void **state)
{
    struct fixture *fx = *state;
    uint32_t db = new_db(fx, "d");
    Cairn__Wire__KvPut p = CAIRN__WIRE__KV_PUT__INIT;
    Cairn__Wire__KvErase e = CAIRN__WIRE__KV_ERASE__INIT;

    assert_int_equal(get(fx, M(GET), db, "k"), CAIRN_E_NOTFOUND);
    assert_int_equal(get(fx, M(LENGTH), db, "k"), CAIRN_E_NOTFOUND);
    assert_int_equal(get(fx, M(EXISTS), db, "k"), 0);
    assert_false(((Cairn__Wire__KvExists *)fx->reply)->exists);
    assert_int_equal(put(fx, db, "k", "value"), 0);
    assert_int_equal(get(fx, M(GET), db, "k"), 0);
    assert_value(fx, "value");
    assert_int_equal(get(fx, M(LENGTH), db, "k"), 0);
    assert_int_equal(((Cairn__Wire__KvLength *)fx->reply)->length, 5);
    assert_int_equal(get(fx, M(EXISTS), db, "k"), 0);
    assert_true(((Cairn__Wire__KvExists *)fx->reply)->exists);
    p.db = e.db = db;
    p.key = e.key = bin("k", 1);
    p.if_absent = true;
    assert_int_equal(call(fx, M(PUT), &p, "x", 1), CAIRN_E_EXISTS);
    p.if_absent = false;
    p.want_old = true;
    p.durability = CAIRN__WIRE__DURABILITY__DURABILITY_SYNC;
    assert_int_equal(call(fx, M(PUT), &p, "new", 3), 0);
    assert_true(((Cairn__Wire__KvPutReply *)fx->reply)->replaced);
    assert_value(fx, "value");
    e.want_old = true;
    assert_int_equal(call(fx, M(ERASE), &e, NULL, 0), 0);
    assert_true(((Cairn__Wire__KvPutReply *)fx->reply)->replaced);
    assert_value(fx, "new");
    assert_int_equal(call(fx, M(ERASE), &e, NULL, 0), 0);
    assert_false(((Cairn__Wire__KvPutReply *)fx->reply)->replaced);
    assert_int_equal(call(fx, M(PUT), &p, NULL, 0), 0); /* an empty value */
    assert_false(((Cairn__Wire__KvPutReply *)fx->reply)->replaced);
    assert_int_equal(get(fx, M(GET), db, "k"), 0);
    assert_value(fx, "");
}

struct many {
    ProtobufCBinaryData keys[CAIRN_BATCH_MAX + 1];
    char names[CAIRN_BATCH_MAX + 1][12];
    uint32_t lengths[CAIRN_BATCH_MAX + 1];
    uint8_t values[VALUES_MAX];
};

static struct many *many_new(uint32_t n, uint32_t len)
{
    struct many *m = calloc(1, sizeof(*m));

    for (uint32_t i = 0; i < n; i++) {
        m->keys[i] = bin(m->names[i], (size_t)sprintf(m->names[i], "%06u", i));
        m->lengths[i] = len;
        memset(m->values + (size_t)i * len, (int)(i % 251), len);
    }
    return m;
}

static int mput(struct fixture *fx, uint32_t db, struct many *many, uint32_t n, bool if_absent, uint32_t bytes)
{
    Cairn__Wire__KvMput m = CAIRN__WIRE__KV_MPUT__INIT;

    m.db = db;
    m.keys = many->keys;
    m.n_keys = n;
    m.lengths = many->lengths;
    m.n_lengths = n;
    m.if_absent = if_absent;
    return call(fx, M(MPUT), &m, many->values, bytes);
}

static int mget(struct fixture *fx, uint16_t method, uint32_t db, struct many *many, uint32_t from, uint32_t n)
{
    Cairn__Wire__KvMget m = CAIRN__WIRE__KV_MGET__INIT;

    m.db = db;
    m.keys = many->keys + from;
    m.n_keys = n;
    return call(fx, method, &m, NULL, 0);
}

static void many_keys(void **state, uint32_t n, uint32_t len)
{
    struct fixture *fx = *state;
    struct many *many = many_new(n, len);
    uint32_t db = new_db(fx, "d");
    Cairn__Wire__KvMgetReply *r;

    assert_int_equal(mput(fx, db, many, n, true, n * len), 0);
    assert_int_equal(((Cairn__Wire__KvStatuses *)fx->reply)->n_status, 0); /* all went well: no more to say */
    for (uint32_t at = 0; at < n;) {
        assert_int_equal(mget(fx, M(MGET), db, many, at, n - at), 0);
        r = (Cairn__Wire__KvMgetReply *)fx->reply;
        assert_true(r->n_lengths > 0 && r->n_lengths <= n - at);
        assert_true(fx->value_len <= CAIRN_KV_PAGE_BYTES);
        assert_int_equal(fx->value_len, r->n_lengths * len);
        assert_memory_equal(fx->value, many->values + (size_t)at * len, fx->value_len);
        at += (uint32_t)r->n_lengths;
    }
    assert_int_equal(mget(fx, M(MLENGTH), db, many, 0, n), 0);
    r = (Cairn__Wire__KvMgetReply *)fx->reply;
    assert_int_equal(r->n_lengths, n);
    assert_int_equal(r->lengths[n - 1], len);
    assert_int_equal(mput(fx, db, many, n, true, n * len), 0);
    assert_int_equal(((Cairn__Wire__KvStatuses *)fx->reply)->n_status, n);
    assert_int_equal(((Cairn__Wire__KvStatuses *)fx->reply)->status[n / 2], CAIRN_E_EXISTS);
    assert_int_equal(mget(fx, M(MERASE), db, many, 0, n - 1), 0);
    assert_int_equal(mget(fx, M(MEXISTS), db, many, 0, n), 0);
    r = (Cairn__Wire__KvMgetReply *)fx->reply;
    assert_int_equal(r->lengths[0], -1);
    assert_int_equal(r->lengths[n - 1], len);
    free(many);
}

static void few_keys_in_a_call(void **state)
{
    many_keys(state, 64, 1024);
}

static void many_keys_in_a_call(void **state)
{
    many_keys(state, CAIRN_BATCH_MAX, 1000); /* and values of several pages */
}

static void large_values_in_a_call(void **state)
{
    many_keys(state, 4, CAIRN_KV_VALUE_BYTES_MAX);
}

static void listing_by_pages(void **state)
{
    struct fixture *fx = *state;
    struct many *many = many_new(CAIRN_BATCH_MAX, 300);
    uint32_t db = new_db(fx, "d"), seen = 0, pages = 0;
    Cairn__Wire__KvList m = CAIRN__WIRE__KV_LIST__INIT;
    Cairn__Wire__KvListReply *r;
    char last[16];
    bool more = true;

    assert_int_equal(mput(fx, db, many, CAIRN_BATCH_MAX, false, CAIRN_BATCH_MAX * 300), 0);
    m.db = db;
    m.values = true;
    while (more) {
        assert_int_equal(call(fx, M(LIST), &m, NULL, 0), 0);
        r = (Cairn__Wire__KvListReply *)fx->reply;
        more = r->more;
        assert_int_equal(r->n_lengths, r->n_keys);
        assert_int_equal(fx->value_len, r->n_keys * 300);
        for (uint32_t i = 0; i < r->n_keys; i++, seen++) {
            assert_int_equal(r->keys[i].len, 6);
            assert_memory_equal(r->keys[i].data, many->names[seen], 6);
            assert_int_equal(fx->value[i * 300], seen % 251);
        }
        memcpy(last, r->keys[r->n_keys - 1].data, 6);
        m.from = bin(last, 6);
        m.after = true;
        pages++;
    }
    assert_int_equal(seen, CAIRN_BATCH_MAX);
    assert_int_equal(pages, 2);
    m = (Cairn__Wire__KvList)CAIRN__WIRE__KV_LIST__INIT;
    m.db = db;
    m.prefix = bin("0001", 4);
    m.max = 7;
    m.reverse = true;
    assert_int_equal(call(fx, M(LIST), &m, NULL, 0), 0);
    r = (Cairn__Wire__KvListReply *)fx->reply;
    assert_int_equal(r->n_keys, 7);
    assert_true(r->more);
    assert_int_equal(r->n_lengths, 0); /* keys were asked for, and nothing else travels */
    assert_int_equal(fx->value_len, 0);
    m.values = true;
    m.head = 3;
    assert_int_equal(call(fx, M(LIST), &m, NULL, 0), 0);
    r = (Cairn__Wire__KvListReply *)fx->reply;
    assert_int_equal(r->n_lengths, 7);
    assert_int_equal(r->lengths[6], 300);
    assert_int_equal(fx->value_len, 7 * 3);
    assert_memory_equal(r->keys[0].data, "000199", 6);
    free(many);
}

static void databases(void **state)
{
    struct fixture *fx = *state;
    Cairn__Wire__KvOpen o = CAIRN__WIRE__KV_OPEN__INIT;
    Cairn__Wire__KvDrop d = CAIRN__WIRE__KV_DROP__INIT;
    Cairn__Wire__KvStat s = CAIRN__WIRE__KV_STAT__INIT;
    Cairn__Wire__Empty empty = CAIRN__WIRE__EMPTY__INIT;
    Cairn__Wire__KvDatabases *list;
    uint32_t words = new_db(fx, "words"), numbers, db;

    o.name = (char *)"absent";
    assert_int_equal(call(fx, M(OPEN), &o, NULL, 0), CAIRN_E_NOTFOUND);
    assert_non_null(strstr(fx->err.text, "absent"));
    assert_int_equal(open_db(fx, "numbers", CAIRN_KV_UINT, true, &numbers), 0);
    assert_int_equal(open_db(fx, "words", 0, false, &db), 0); /* again: the same */
    assert_int_equal(db, words);
    assert_false(((Cairn__Wire__KvOpened *)fx->reply)->created);
    assert_int_equal(open_db(fx, "words", CAIRN_KV_UINT, false, &db), CAIRN_E_EXISTS); /* but as what it is */
    o.name = (char *)"numbers";
    assert_int_equal(call(fx, M(OPEN), &o, NULL, 0), 0);
    assert_int_equal(((Cairn__Wire__KvOpened *)fx->reply)->order, CAIRN_KV_UINT);
    assert_true(((Cairn__Wire__KvOpened *)fx->reply)->write_once);
    o.create = o.exclusive = true;
    assert_int_equal(call(fx, M(OPEN), &o, NULL, 0), CAIRN_E_EXISTS);
    assert_int_equal(call(fx, M(DATABASES), &empty, NULL, 0), 0);
    list = (Cairn__Wire__KvDatabases *)fx->reply;
    assert_int_equal(list->n_databases, 2);
    assert_string_equal(list->databases[0]->name, "words");
    assert_int_equal(list->databases[1]->db, numbers);

    assert_int_equal(put(fx, words, "k", "v"), 0);
    s.db = words;
    assert_int_equal(call(fx, M(STAT), &s, NULL, 0), 0);
    assert_string_equal(((Cairn__Wire__KvStatReply *)fx->reply)->name, "words");
    assert_int_equal(((Cairn__Wire__KvStatReply *)fx->reply)->keys, 1);
    d.name = (char *)"words";
    assert_int_equal(call(fx, M(DROP), &d, NULL, 0), 0);
    assert_int_equal(call(fx, M(DROP), &d, NULL, 0), CAIRN_E_NOTFOUND);
    assert_int_equal(put(fx, words, "k", "v"), CAIRN_E_NOTFOUND);
    assert_non_null(strstr(fx->err.text, "database"));
    assert_int_equal(get(fx, M(GET), words, "k"), CAIRN_E_NOTFOUND);
    assert_int_equal(call(fx, M(STAT), &s, NULL, 0), CAIRN_E_NOTFOUND);
    db = new_db(fx, "words");
    assert_int_equal(get(fx, M(GET), db, "k"), CAIRN_E_NOTFOUND);
}

static void on_canceled(struct cairn_rpc_call *c)
{
    struct fixture *fx = c->arg;

    fx->done = true;
}

static bool is_there(struct kv_provider *p, const char *name)
{
    bool there;

    pthread_mutex_lock(&p->dir.mutex);
    there = cairn_kv_dir_by_name(&p->dir, name) != NULL;
    pthread_mutex_unlock(&p->dir.mutex);
    return there;
}

/* A cancel that comes when the pool has dropped the database, and the loop has not heard of it: told as canceled, it
 * would be dropped again by a retry, which finds another one or none. */
static void a_cancel_does_not_hide_what_was_done(void **state)
{
    struct fixture *fx = *state;
    struct kv_provider *p = fx->target.ctx;
    Cairn__Wire__KvDrop d = CAIRN__WIRE__KV_DROP__INIT;
    struct cairn_rpc_call c = { .dest.rpc = fx->rpc,
                                .iface = &cairn_iface_kv,
                                .provider = TARGET,
                                .method = M(DROP),
                                .msg = &d.base,
                                .done = on_canceled,
                                .arg = fx };

    new_db(fx, "d");
    d.name = (char *)"d";
    fx->done = false;
    pthread_mutex_lock(&p->dir.mutex); /* holds the pool up until the loop is known to be at rest */
    cairn_rpc_call_start(&c);
    WHILE_PATIENT (p->workers[0].ncalls == 0)
        cairn_loop_turn(&fx->loop, 0);
    pthread_mutex_unlock(&p->dir.mutex);
    WHILE_PATIENT (is_there(p, "d"))
        usleep(1000);
    assert_false(fx->done);
    cairn_rpc_call_cancel(&c);
    WHILE_PATIENT (!fx->done)
        cairn_loop_turn(&fx->loop, 10 * CAIRN_NS_PER_MS);
    assert_int_equal(c.rc, 0);
}

/* Whatever is wrong with a request is said, and nothing happens. */
static void bad_requests(void **state)
{
    struct fixture *fx = *state;
    struct many *many = many_new(CAIRN_BATCH_MAX + 1, 1);
    static char big[CAIRN_KV_VALUE_BYTES_MAX + 1], name[CAIRN_NAME_BYTES_MAX + 2];
    uint32_t db = new_db(fx, "d"), numbers = 0, handle;
    Cairn__Wire__KvPut p = CAIRN__WIRE__KV_PUT__INIT;
    Cairn__Wire__KvList l = CAIRN__WIRE__KV_LIST__INIT;
    Cairn__Wire__KvMput barrier = CAIRN__WIRE__KV_MPUT__INIT;
    Cairn__Wire__KvErase e = CAIRN__WIRE__KV_ERASE__INIT;
    Cairn__Wire__KvApply a = CAIRN__WIRE__KV_APPLY__INIT;
    const Cairn__Wire__Durability unknown = 256 + CAIRN__WIRE__DURABILITY__DURABILITY_MEMORY;

    assert_int_equal(open_db(fx, "n", CAIRN_KV_UINT, false, &numbers), 0);
    assert_int_equal(put(fx, db, "", "v"), CAIRN_E_INVAL);
    assert_int_equal(get(fx, M(GET), db, ""), CAIRN_E_INVAL);
    assert_int_equal(get(fx, M(GET), numbers, "ninebytes"), CAIRN_E_INVAL);
    p.db = db;
    p.key = bin(big, CAIRN_KEY_BYTES_MAX + 1);
    assert_int_equal(call(fx, M(PUT), &p, "v", 1), CAIRN_E_TOOBIG);
    p.key = bin("k", 1);
    assert_int_equal(call(fx, M(PUT), &p, big, sizeof(big)), CAIRN_E_TOOBIG);
    assert_int_equal(put(fx, 0, "k", "v"), CAIRN_E_NOTFOUND);
    assert_int_equal(put(fx, UINT32_MAX, "k", "v"), CAIRN_E_NOTFOUND);
    assert_int_equal(mput(fx, db, many, CAIRN_BATCH_MAX + 1, false, CAIRN_BATCH_MAX + 1), CAIRN_E_TOOBIG);
    assert_int_equal(mput(fx, db, many, 10, false, 9), CAIRN_E_INVAL);
    assert_int_equal(mput(fx, db, many, 10, false, 11), CAIRN_E_INVAL);
    assert_int_equal(mput(fx, db, many, 0, false, 0), 0);
    barrier.db = db;
    barrier.durability = CAIRN__WIRE__DURABILITY__DURABILITY_SYNC;
    assert_int_equal(call(fx, M(MPUT), &barrier, NULL, 0), 0);                 /* of nothing: waits for a sync */
    p.durability = e.durability = a.durability = barrier.durability = unknown; /* and no weaker one instead */
    e.db = db;
    e.key = p.key;
    assert_int_equal(call(fx, M(PUT), &p, "v", 1), CAIRN_E_INVAL);
    assert_int_equal(call(fx, M(ERASE), &e, NULL, 0), CAIRN_E_INVAL);
    assert_int_equal(call(fx, M(APPLY), &a, NULL, 0), CAIRN_E_INVAL);
    assert_int_equal(call(fx, M(MPUT), &barrier, NULL, 0), CAIRN_E_INVAL);
    many->keys[5].len = 0;
    assert_int_equal(mput(fx, db, many, 10, false, 10), CAIRN_E_INVAL);
    assert_non_null(strstr(fx->err.text, "key 5"));
    assert_int_equal(mget(fx, M(MGET), db, many, 0, 10), CAIRN_E_INVAL);
    l.db = numbers;
    l.prefix = bin("x", 1);
    assert_int_equal(call(fx, M(LIST), &l, NULL, 0), CAIRN_E_INVAL);
    assert_int_equal(open_db(fx, "", 0, false, &handle), CAIRN_E_INVAL);
    assert_int_equal(open_db(fx, "a\nb", 0, false, &handle), CAIRN_E_INVAL);
    memset(name, 'n', sizeof(name) - 1);
    assert_int_equal(open_db(fx, name, 0, false, &handle), CAIRN_E_INVAL);
    assert_int_equal(open_db(fx, "x", 7, false, &handle), CAIRN_E_INVAL);
    assert_int_equal(get(fx, M(EXISTS), db, "k"), 0);
    assert_false(((Cairn__Wire__KvExists *)fx->reply)->exists);
    free(many);
}

/* There are as many databases as configured; a dropped one makes room. */
static void databases_are_bounded(void **state)
{
    struct fixture *fx = *state;
    Cairn__Wire__KvDrop d = CAIRN__WIRE__KV_DROP__INIT;
    uint32_t db;
    char name[16];

    for (uint32_t i = 0; i < 8; i++) {
        sprintf(name, "d%u", i);
        new_db(fx, name);
    }
    assert_int_equal(open_db(fx, "one-more", 0, false, &db), CAIRN_E_LIMIT);
    assert_non_null(strstr(fx->err.text, "databases"));
    d.name = (char *)"d3";
    assert_int_equal(call(fx, M(DROP), &d, NULL, 0), 0);
    assert_int_equal(open_db(fx, "one-more", 0, false, &db), 0);
}

/* Handles, values and properties are there after a restart, and reads go by the pool when the cache is cold. */
static void restart(void **state)
{
    struct fixture *fx = *state;
    struct many *many = many_new(3000, 1000);
    uint32_t db = new_db(fx, "d"), again;

    assert_int_equal(mput(fx, db, many, 3000, false, 3000000), 0);
    assert_int_equal(put(fx, db, "k", "v"), 0);
    stop_provider(fx);
    start_provider(fx);
    assert_int_equal(get(fx, M(GET), db, "002999"), 0);
    assert_int_equal(fx->value_len, 1000);
    assert_int_equal(get(fx, M(LENGTH), db, "000000"), 0);
    assert_int_equal(get(fx, M(GET), db, "000700"), 0);
    assert_int_equal(get(fx, M(GET), db, "missing"), CAIRN_E_NOTFOUND);
    assert_int_equal(mget(fx, M(MGET), db, many, 1000, 60), 0);
    assert_memory_equal(fx->value, many->values + 1000000, fx->value_len);
    assert_int_equal(open_db(fx, "d", 0, false, &again), 0);
    assert_int_equal(again, db);
    free(many);
}

static void status_and_machines(void **state)
{
    struct fixture *fx = *state;
    json_t *j = json_object();
    struct cairn_err err = { 0 };

    cairn_provider_kv.status(fx->target.ctx, j);
    assert_string_equal(json_string_value(json_object_get(j, "health")), "ok");
    assert_non_null(json_object_get(j, "backend"));
    json_decref(j);
    for (const struct cairn_sm_kind *const *k = cairn_provider_kv.machines; *k != NULL; k++)
        assert_int_equal(cairn_sm_kind_check(*k, &err), 0);
    fx->env.dir = "";
    assert_true(cairn_provider_kv.check(&fx->env, &err) == 0 ||
                (err.code == CAIRN_E_CONFIG && strstr(err.text, "data directory") != NULL));
}

#define BOTH(f)                                                                                                        \
    { #f " (memory)", f, setup_memory, teardown, NULL },                                                               \
    {                                                                                                                  \
#f " (rocksdb)", f, setup_rocksdb, teardown, NULL                                                              \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(one_key),
        BOTH(few_keys_in_a_call),
        BOTH(many_keys_in_a_call),
        BOTH(large_values_in_a_call),
        BOTH(listing_by_pages),
        BOTH(databases),
        BOTH(a_cancel_does_not_hide_what_was_done),
        BOTH(bad_requests),
        BOTH(status_and_machines),
        cmocka_unit_test_setup_teardown(databases_are_bounded, setup_rocksdb, teardown),
        cmocka_unit_test_setup_teardown(restart, setup_rocksdb, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
