/* Both engines under random use: by one who keeps a model beside it, and by several threads. */
#include "tests/unit/kv/kv_both.h"

#include <pthread.h>

/* ---- a random walk against a sorted array ---- */

enum { WALK_KEYS = 400, WALK_VALUE_MAX = 3000 };

struct walk {
    struct fx *fx;
    struct cairn_kv_db db;
    uint64_t rng;
    int64_t len[WALK_KEYS]; /* -1: not there */
    uint8_t fill[WALK_KEYS];
};

static ProtobufCBinaryData walk_key(uint32_t i, char *buf)
{
    return fx_key(buf, (size_t)sprintf(buf, "walk/%04u%s", i, i % 3 == 0 ? "/with/a/longer/tail" : ""));
}

static void walk_write(struct walk *w, uint32_t k)
{
    static uint8_t value[WALK_VALUE_MAX];
    char buf[64];
    ProtobufCBinaryData key = walk_key(k, buf);
    struct fx_write fw;
    uint8_t fill = (uint8_t)fx_draw(&w->rng, 256);
    uint32_t len = fx_draw(&w->rng, WALK_VALUE_MAX);
    bool refused;

    memset(value, fill, len);
    fx_fill_put(&fw, w->db, &key, value, len);
    fw.w.erase = fx_draw(&w->rng, 3) == 0;
    fw.w.if_absent = fx_draw(&w->rng, 3) == 0;
    fw.w.want_old = fx_draw(&w->rng, 2) == 0;
    fw.w.durability = (uint8_t)(fx_draw(&w->rng, 50) == 0 ? 1 : fx_draw(&w->rng, 2) * 2);
    refused = !fw.w.erase && fw.w.if_absent && w->len[k] >= 0;
    fx_write_start(w->fx, &fw, fx_draw(&w->rng, FX_LOOPS_MAX));
    assert_int_equal(fx_write_wait(w->fx, &fw), 0);
    assert_int_equal(fw.status, refused ? CAIRN_E_EXISTS : 0);
    if (fw.w.want_old && !refused) {
        assert_int_equal(fw.old_len, w->len[k]);
        for (int64_t i = 0; i < fw.old_len; i++)
            assert_int_equal(fw.old[i], w->fill[k]);
    }
    free(fw.old);
    if (!refused) {
        w->len[k] = fw.w.erase ? -1 : (int64_t)len;
        w->fill[k] = fill;
    }
}

static void walk_read(struct walk *w, uint32_t k)
{
    static struct fx_value v;
    char buf[64];

    assert_int_equal(fx_get(w->fx, w->db, walk_key(k, buf), &v), 0);
    assert_int_equal(v.len, w->len[k]);
    for (int64_t i = 0; i < v.len; i++)
        assert_int_equal(v.bytes[i], w->fill[k]);
}

/* A page from key @k on, in either direction, is what the array says. */
static void walk_list(struct walk *w, uint32_t k)
{
    struct cairn_kv_page page = { 0 };
    Cairn__Wire__KvList m = CAIRN__WIRE__KV_LIST__INIT;
    uint32_t max = 1 + fx_draw(&w->rng, 40), n = 0;
    const uint8_t *key;
    char buf[64];
    bool more;

    m.from = walk_key(k, buf);
    m.reverse = fx_draw(&w->rng, 2) == 0;
    m.after = fx_draw(&w->rng, 2) == 0;
    m.values = true;
    more = fx_list(w->fx, w->db, &m, max, &page);
    key = page.keys.ptr;
    for (uint32_t i = k + (m.after ? (m.reverse ? -1u : 1u) : 0); i < WALK_KEYS; i += m.reverse ? -1u : 1u) {
        ProtobufCBinaryData expected;
        char name[64];

        if (w->len[i] < 0)
            continue;
        if (n == page.n) {
            assert_true(more && n == max);
            break;
        }
        expected = walk_key(i, name);
        assert_int_equal(page.key_lengths[n], expected.len);
        assert_memory_equal(key, name, expected.len);
        assert_int_equal(page.lengths[n], w->len[i]);
        key += page.key_lengths[n++];
    }
    assert_int_equal(n, page.n);
    cairn_kv_page_fini(&page);
}

static void agrees_with_a_model(void **state)
{
    struct walk w = { .fx = *state, .rng = fx_seed() };

    w.db = fx_create(w.fx, "walk", CAIRN_KV_BYTES, false);
    memset(w.len, 0xff, sizeof(w.len));
    for (uint32_t step = 0; step < 6000; step++) {
        uint32_t k = fx_draw(&w.rng, WALK_KEYS), dice = fx_draw(&w.rng, 10);

        if (dice < 6)
            walk_write(&w, k);
        else if (dice < 9)
            walk_read(&w, k);
        else
            walk_list(&w, k);
    }
}

/* ---- threads ---- */

enum { THREADS = FX_LOOPS_MAX, THREAD_ROUNDS = 3000, THREAD_KEYS = 50 };

struct thread {
    struct fx *fx;
    struct cairn_kv_db db, once;
    uint32_t index, won;
    pthread_t thread;
};

/* A value names its key in every byte, so half a value, or another's, would show. */
static void *thread_run(void *arg)
{
    struct thread *t = arg;
    uint64_t rng = t->index + 1;
    struct fx_value *v = malloc(sizeof(*v));
    uint8_t value[2000];

    for (uint32_t round = 0; round < THREAD_ROUNDS; round++) {
        uint32_t k = fx_draw(&rng, THREAD_KEYS);
        ProtobufCBinaryData key = fx_key(&k, sizeof(k));
        struct fx_write fw;

        if (round % 3 == 0) {
            uint32_t len = 1 + fx_draw(&rng, sizeof(value));

            memset(value, (int)k, len);
            fx_fill_put(&fw, t->db, &key, value, len);
            fw.w.erase = fx_draw(&rng, 5) == 0;
            fx_write_start(t->fx, &fw, t->index);
            assert_int_equal(fx_write_wait(t->fx, &fw), 0);
            assert_int_equal(fw.status, 0);
        } else if (round % 3 == 1) {
            fx_fill_put(&fw, t->once, &key, &t->index, 4);
            k = round / 3;
            fx_write_start(t->fx, &fw, t->index);
            assert_int_equal(fx_write_wait(t->fx, &fw), 0);
            t->won += fw.status == 0;
            assert_true(fw.status == 0 || fw.status == CAIRN_E_EXISTS);
        } else {
            assert_int_equal(fx_get(t->fx, t->db, key, v), 0);
            for (int64_t i = 0; i < v->len; i++)
                assert_int_equal(v->bytes[i], (uint8_t)k);
        }
    }
    free(v);
    return NULL;
}

static void threads_share_a_store(void **state)
{
    struct fx *fx = *state;
    struct thread t[THREADS];
    struct cairn_kv_usage usage;
    struct cairn_kv_db db = fx_create(fx, "d", CAIRN_KV_UINT, false), once = fx_create(fx, "o", CAIRN_KV_UINT, true);
    uint32_t won = 0;

    for (uint32_t i = 0; i < THREADS; i++) {
        t[i] = (struct thread){ .fx = fx, .db = db, .once = once, .index = i };
        assert_int_equal(pthread_create(&t[i].thread, NULL, thread_run, &t[i]), 0);
    }
    for (uint32_t i = 0; i < THREADS; i++) {
        pthread_join(t[i].thread, NULL);
        won += t[i].won;
    }
    assert_int_equal(won, THREAD_ROUNDS / 3); /* of each write-once key, exactly one put succeeds */
    assert_int_equal(fx->ops->usage(fx->store, &once, &usage), 0);
    assert_int_equal(usage.keys, THREAD_ROUNDS / 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(agrees_with_a_model),
        BOTH(threads_share_a_store),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
