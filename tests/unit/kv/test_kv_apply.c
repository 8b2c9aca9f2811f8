/* Batches over several databases: in order, all or nothing, with the same answers from both engines. */
#include "tests/unit/kv/kv_fixture.h"

enum {
    DURABILITY_MEMORY = CAIRN__WIRE__DURABILITY__DURABILITY_MEMORY,
    DBS = 3,
    KEYS = 60,
    WALK_BATCHES = 400,
    WALK_BATCH = 40,
    WALK_VALUE = 6000,
};

struct world {
    struct fx fx;
    struct cairn_kv_db db[DBS]; /* the last one is write-once */
    struct fx_batch b;
};

static struct world *world_open(const struct cairn_kv_store_ops *ops, uint64_t memory_bytes)
{
    struct world *w = calloc(1, sizeof(*w));
    const char *names[DBS] = { "a", "b", "once" };

    fx_prepare(&w->fx, ops);
    w->fx.conf.memory_bytes = memory_bytes;
    fx_open(&w->fx);
    for (int i = 0; i < DBS; i++)
        w->db[i] = fx_create(&w->fx, names[i], CAIRN_KV_BYTES, i == DBS - 1);
    return w;
}

static int open_memory(void **state)
{
    *state = world_open(&cairn_kv_store_memory, 64 << 20);
    return 0;
}

static int open_little_memory(void **state)
{
    *state = world_open(&cairn_kv_store_memory, 300 << 10);
    return 0;
}

static int open_rocksdb(void **state)
{
    *state = world_open(&cairn_kv_store_rocksdb, 0);
    return 0;
}

static int close_world(void **state)
{
    struct world *w = *state;

    fx_close(&w->fx);
    fx_remove(&w->fx);
    free(w->b.values);
    free(w);
    return 0;
}

static const char *get(struct world *w, int db, uint32_t key)
{
    static struct fx_value v;

    assert_int_equal(fx_get(&w->fx, w->db[db], fx_key(&key, sizeof(key)), &v), 0);
    if (v.len < 0)
        return "-";
    v.bytes[v.len] = '\0';
    return (const char *)v.bytes;
}

static struct cairn_kv_entry *add(struct world *w, int db, uint32_t key, const char *val)
{
    return fx_batch_add(&w->b, w->db[db], key, val, val != NULL ? (uint32_t)strlen(val) : 0);
}

static void entries_take_effect_in_order(void **state)
{
    struct world *w = *state;

    add(w, 0, 1, "one");
    add(w, 1, 1, "another");
    add(w, 0, 2, "two");
    add(w, 0, 1, NULL); /* what the same batch has put */
    add(w, 0, 3, NULL); /* what is not there */
    add(w, 0, 2, "two again");
    add(w, 1, 4, "x");
    add(w, 1, 4, NULL);
    add(w, 1, 4, "y");
    add(w, 1, 4, NULL);
    add(w, 1, 4, "z");
    assert_int_equal(fx_batch_apply(&w->fx, &w->b, DURABILITY_MEMORY), 0);
    assert_string_equal(get(w, 0, 1), "-");
    assert_string_equal(get(w, 0, 2), "two again");
    assert_string_equal(get(w, 0, 3), "-");
    assert_string_equal(get(w, 1, 1), "another");
    assert_string_equal(get(w, 1, 4), "z");
    fx_batch_reset(&w->b);
    add(w, 1, 4, NULL); /* what an earlier one has put */
    add(w, 1, 1, "");
    assert_int_equal(fx_batch_apply(&w->fx, &w->b, CAIRN__WIRE__DURABILITY__DURABILITY_SYNC), 0);
    assert_string_equal(get(w, 1, 4), "-");
    assert_string_equal(get(w, 1, 1), "");
    fx_batch_reset(&w->b); /* of nothing */
    assert_int_equal(fx_batch_apply(&w->fx, &w->b, CAIRN__WIRE__DURABILITY__DURABILITY_SYNC), 0);
}

/* A condition that fails has its status and hinders nothing else. */
static void conditions_are_each_entrys_own(void **state)
{
    struct world *w = *state;
    static const int32_t expected[] = { 0, CAIRN_E_EXISTS, 0, CAIRN_E_EXISTS, 0, 0, 0, CAIRN_E_EXISTS };

    add(w, 0, 1, "first")->if_absent = true;
    add(w, 0, 1, "second")->if_absent = true;
    add(w, 2, 1, "kept");
    add(w, 2, 1, "not this");
    add(w, 0, 1, NULL);
    add(w, 0, 1, "third")->if_absent = true; /* it was erased before */
    add(w, 1, 1, "plain");
    add(w, 1, 1, "late")->if_absent = true;
    assert_int_equal(fx_batch_apply(&w->fx, &w->b, DURABILITY_MEMORY), 0);
    for (uint32_t i = 0; i < ARRAY_SIZE(expected); i++)
        assert_int_equal(w->b.status[i], expected[i]);
    assert_string_equal(get(w, 0, 1), "third");
    assert_string_equal(get(w, 2, 1), "kept");
    assert_string_equal(get(w, 1, 1), "plain");
    fx_batch_reset(&w->b);
    add(w, 2, 1, NULL);
    add(w, 2, 1, "anew"); /* erased, and put anew */
    add(w, 2, 1, "no");
    assert_int_equal(fx_batch_apply(&w->fx, &w->b, DURABILITY_MEMORY), 0);
    assert_int_equal(w->b.status[1], 0);
    assert_int_equal(w->b.status[2], CAIRN_E_EXISTS);
    assert_string_equal(get(w, 2, 1), "anew");
}

/* One database is gone: none of the others gets anything. */
static void gone_is_the_wholes(void **state)
{
    struct world *w = *state;

    add(w, 0, 1, "x");
    add(w, 1, 1, "x");
    add(w, 0, 2, "x");
    fx_drop(&w->fx, "b");
    assert_int_equal(fx_batch_apply(&w->fx, &w->b, DURABILITY_MEMORY), CAIRN_KV_GONE);
    assert_string_equal(get(w, 0, 1), "-");
    assert_string_equal(get(w, 0, 2), "-");
}

/* ---- a random walk beside a model ---- */

struct model {
    int32_t len[DBS][KEYS]; /* -1: not there */
    uint8_t byte[DBS][KEYS];
};

static void walk_expect(struct world *w, const struct model *m)
{
    static struct fx_value v;

    for (int db = 0; db < DBS; db++) {
        for (uint32_t k = 0; k < KEYS; k++) {
            assert_int_equal(fx_get(&w->fx, w->db[db], fx_key(&k, sizeof(k)), &v), 0);
            assert_int_equal(v.len, m->len[db][k]);
            for (int64_t i = 0; i < v.len; i += 97)
                assert_int_equal(v.bytes[i], m->byte[db][k]);
        }
    }
}

/* A page from a key on, in either direction, is what the model says. */
static void walk_list(struct world *w, const struct model *m, uint64_t *rng)
{
    struct cairn_kv_page page = { 0 };
    Cairn__Wire__KvList list = CAIRN__WIRE__KV_LIST__INIT;
    uint32_t db = fx_draw(rng, DBS), from = fx_draw(rng, KEYS), max = 1 + fx_draw(rng, KEYS), n = 0;
    const uint8_t *key, *value;
    bool more;

    _Static_assert(KEYS < 256, "numbers are in order as bytes");
    list.from = fx_key(&from, sizeof(from));
    list.reverse = fx_draw(rng, 2) == 0;
    list.values = true;
    more = fx_list(&w->fx, w->db[db], &list, max, &page);
    key = page.keys.ptr;
    value = page.values.ptr;
    for (uint32_t k = from; k < KEYS; k += list.reverse ? -1u : 1u) {
        if (m->len[db][k] < 0)
            continue;
        if (n == page.n) {
            assert_true(more);
            break;
        }
        assert_memory_equal(key, &k, sizeof(k));
        assert_int_equal(page.lengths[n], m->len[db][k]);
        for (int64_t i = 0; i < page.lengths[n]; i += 97)
            assert_int_equal(value[i], m->byte[db][k]);
        key += page.key_lengths[n];
        value += page.lengths[n++];
    }
    assert_int_equal(n, page.n);
    cairn_kv_page_fini(&page);
}

/* Draws a batch; the model becomes what it is to lead to, @status what it is to answer. */
static void walk_draw(struct world *w, struct model *m, uint64_t *rng, int32_t *status)
{
    static uint8_t value[WALK_VALUE];
    uint32_t n = 1 + fx_draw(rng, WALK_BATCH), keys = 1 + fx_draw(rng, KEYS);
    bool conditions = fx_draw(rng, 3) == 0;

    fx_batch_reset(&w->b);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t db = fx_draw(rng, DBS), k = fx_draw(rng, keys), len = fx_draw(rng, WALK_VALUE);
        bool erase = fx_draw(rng, 3) == 0, if_absent = conditions && fx_draw(rng, 4) == 0;

        if (!conditions && !erase)
            db = fx_draw(rng, DBS - 1);
        memset(value, (int)(i + 1), len);
        fx_batch_add(&w->b, w->db[db], k, erase ? NULL : value, erase ? 0 : len)->if_absent = if_absent;
        status[i] = !erase && (if_absent || db == DBS - 1) && m->len[db][k] >= 0 ? CAIRN_E_EXISTS : 0;
        if (status[i] != 0)
            continue;
        m->len[db][k] = erase ? -1 : (int32_t)len;
        m->byte[db][k] = (uint8_t)(i + 1);
    }
}

/* Returns how many batches were refused for want of room; those have changed nothing. */
static uint32_t walk(struct world *w)
{
    static struct model m, next;
    uint64_t rng = fx_seed();
    int32_t status[WALK_BATCH];
    uint32_t refused = 0;

    memset(m.len, 0xff, sizeof(m.len));
    for (int i = 0; i < WALK_BATCHES; i++) {
        int rc;

        next = m;
        walk_draw(w, &next, &rng, status);
        rc = fx_batch_apply(&w->fx, &w->b, (uint8_t)fx_draw(&rng, 3));
        if (rc == CAIRN_E_NOSPACE) {
            refused++;
        } else {
            assert_int_equal(rc, 0);
            assert_memory_equal(w->b.status, status, w->b.n * sizeof(status[0]));
            m = next;
        }
        walk_expect(w, &m);
        walk_list(w, &m, &rng);
    }
    return refused;
}

static void agrees_with_a_model(void **state)
{
    assert_int_equal(walk(*state), 0);
}

/* With the memory for half of it, batches fail in their middle, and leave what was there. */
static void refused_is_undone(void **state)
{
    uint32_t refused = walk(*state);

    assert_true(refused > 10 && refused < WALK_BATCHES - 10);
}

/* ---- nobody sees half of it ---- */

enum { RACE_BATCHES = 3000, RACE_BATCHES_MAX = 3000000 /* the reader may have to wait for a processor */ };

struct race {
    struct world *w;
    atomic_bool over;
    atomic_uint seen;
    uint32_t torn;
};

static uint32_t number_of(struct world *w, int db, uint32_t key)
{
    struct fx_value *v = malloc(sizeof(*v));
    uint32_t number = 0;

    assert_int_equal(fx_get(&w->fx, w->db[db], fx_key(&key, sizeof(key)), v), 0);
    if (v->len == sizeof(number))
        memcpy(&number, v->bytes, sizeof(number));
    free(v);
    return number;
}

/* Every batch puts its number last into one database, first into the other: who finds it in one, and then looks into
 * the other, finds no older one. */
static void *race_read(void *arg)
{
    struct race *r = arg;

    while (!atomic_load(&r->over)) {
        uint32_t a = number_of(r->w, 0, 7), b = number_of(r->w, 1, 9), again = number_of(r->w, 0, 7);

        r->torn += b < a || again < b;
        atomic_fetch_add(&r->seen, a > 0);
    }
    return NULL;
}

static void is_seen_as_one(void **state)
{
    struct race r = { .w = *state };
    struct world *w = *state;
    pthread_t reader;

    assert_int_equal(pthread_create(&reader, NULL, race_read, &r), 0);
    for (uint32_t i = 1; i <= RACE_BATCHES || (atomic_load(&r.seen) == 0 && i <= RACE_BATCHES_MAX); i++) {
        fx_batch_reset(&w->b);
        fx_batch_add(&w->b, w->db[1], 9, &i, sizeof(i));
        for (uint32_t k = 100; k < 110; k++)
            fx_batch_add(&w->b, w->db[k % 2], k, &i, sizeof(i));
        fx_batch_add(&w->b, w->db[0], 7, &i, sizeof(i));
        assert_int_equal(fx_batch_apply(&w->fx, &w->b, DURABILITY_MEMORY), 0);
    }
    atomic_store(&r.over, true);
    pthread_join(reader, NULL);
    assert_int_equal(r.torn, 0);
    assert_true(atomic_load(&r.seen) > 0);
}

#define BOTH(f)                                                                                                        \
    { #f " (memory)", f, open_memory, close_world, NULL },                                                             \
    {                                                                                                                  \
#f " (rocksdb)", f, open_rocksdb, close_world, NULL                                                            \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(entries_take_effect_in_order),
        BOTH(conditions_are_each_entrys_own),
        BOTH(gone_is_the_wholes),
        BOTH(agrees_with_a_model),
        BOTH(is_seen_as_one),
        cmocka_unit_test_setup_teardown(refused_is_undone, open_little_memory, close_world),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
