/* The slabs and the tree of the memory store. Random walks print their seed; CAIRN_SEED=N replays one. */
#include "cairn/error.h"
#include "providers/kv/kv_core.h"
#include "providers/kv/kv_tree.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

static uint64_t seed_of_run(void)
{
    const char *s = getenv("CAIRN_SEED");
    uint64_t seed = s != NULL ? strtoull(s, NULL, 0) : (uint64_t)time(NULL);

    print_message("CAIRN_SEED=%llu\n", (unsigned long long)seed);
    return seed;
}

static uint32_t draw(uint64_t *rng, uint32_t below)
{
    *rng ^= *rng << 13;
    *rng ^= *rng >> 7;
    *rng ^= *rng << 17;
    return (uint32_t)((*rng * UINT64_C(0x2545f4914f6cdd1d) >> 33) % below);
}

static struct cairn_kv_rec *rec_new(struct cairn_kv_slabs *slabs, const uint8_t *key, uint32_t klen, uint32_t vlen)
{
    struct cairn_kv_rec *rec = cairn_kv_slab_alloc(slabs, cairn_kv_rec_bytes(klen, vlen));

    if (rec == NULL)
        return NULL;
    rec->klen = (uint16_t)klen;
    rec->vlen = vlen;
    memcpy(rec->bytes, key, klen);
    memset(rec->bytes + klen, 'v', vlen);
    return rec;
}

static void rec_free(struct cairn_kv_slabs *slabs, struct cairn_kv_rec *rec)
{
    cairn_kv_slab_free(slabs, rec, cairn_kv_rec_bytes(rec->klen, rec->vlen));
}

/* Every size has a class with room for it that wastes at most an eighth, and neighbours in a class do not overlap. */
static void slab_classes_fit(void **state)
{
    struct cairn_kv_slabs s;

    (void)state;
    cairn_kv_slabs_init(&s, UINT64_MAX);
    for (size_t n = 1; n <= 300000; n += n < 3000 ? 1 : 977) {
        size_t room = cairn_kv_slab_room(n);
        uint8_t *p = cairn_kv_slab_alloc(&s, n), *q = cairn_kv_slab_alloc(&s, n);

        assert_true(room >= n);
        assert_true(n > CAIRN_KV_SLAB_OBJECT_MAX || room - n <= 15 || room - n <= n / 8);
        assert_true(n == 1 || cairn_kv_slab_room(n) >= cairn_kv_slab_room(n - 1));
        assert_int_equal((uintptr_t)p % 16, 0);
        assert_true(p + n <= q || q + n <= p);
        memset(p, 1, n);
        memset(q, 2, n);
        assert_int_equal(p[n - 1], 1);
        cairn_kv_slab_free(&s, p, n);
        cairn_kv_slab_free(&s, q, n);
    }
    cairn_kv_slabs_fini(&s);
}

/* At the limit there is no more; what one size gave back, wholly, another can have. */
static void slab_limit_holds_and_recovers(void **state)
{
    enum { LIMIT = 4 << 20, SMALL = 1000, MAX = 8192 };
    static void *p[MAX];
    struct cairn_kv_slabs s;
    uint32_t n = 0, large = 0;

    (void)state;
    cairn_kv_slabs_init(&s, LIMIT);
    while ((p[n] = cairn_kv_slab_alloc(&s, SMALL)) != NULL)
        n++;
    assert_in_range(n, LIMIT / 1024 - 16, LIMIT / 1000);
    assert_true(cairn_kv_slabs_resident(&s) <= LIMIT);
    cairn_kv_slab_free(&s, p[--n], SMALL);
    assert_null(cairn_kv_slab_alloc(&s, 500000));
    assert_non_null(p[n] = cairn_kv_slab_alloc(&s, SMALL));
    n++;
    while (n > 0)
        cairn_kv_slab_free(&s, p[--n], SMALL);
    while ((p[large] = cairn_kv_slab_alloc(&s, 500000)) != NULL)
        large++;
    assert_in_range(large, 7, 8);
    while (large > 0)
        cairn_kv_slab_free(&s, p[--large], 500000);
    cairn_kv_slabs_fini(&s);
}

/* What is kept for reuse goes when that makes room, and stays when it would not. */
static void slab_refusal_takes_nothing(void **state)
{
    enum { MIB = 1 << 20, LIMIT = 4 * MIB, SMALL = 1000 };
    struct cairn_kv_slabs s;
    void *live, *small, *large;
    uint64_t before;

    (void)state;
    cairn_kv_slabs_init(&s, LIMIT);
    live = cairn_kv_slab_alloc(&s, MIB);
    large = cairn_kv_slab_alloc(&s, MIB);
    small = cairn_kv_slab_alloc(&s, SMALL);
    before = cairn_kv_slabs_resident(&s);
    cairn_kv_slab_free(&s, large, MIB);
    cairn_kv_slab_free(&s, small, SMALL);
    assert_int_equal(cairn_kv_slabs_resident(&s), before); /* both are kept */
    assert_null(cairn_kv_slab_alloc(&s, LIMIT));
    assert_true(cairn_kv_slabs_are_low(&s, LIMIT));
    assert_false(cairn_kv_slabs_are_low(&s, 3 * MIB)); /* of which one is only kept */
    assert_int_equal(cairn_kv_slabs_resident(&s), before);
    large = cairn_kv_slab_alloc(&s, 3 * MIB);
    assert_non_null(large);
    assert_int_equal(cairn_kv_slabs_resident(&s), LIMIT);
    assert_null(cairn_kv_slab_alloc(&s, SMALL));
    cairn_kv_slab_free(&s, large, 3 * MIB);
    small = cairn_kv_slab_alloc(&s, SMALL);
    assert_non_null(small);
    cairn_kv_slab_free(&s, small, SMALL);
    cairn_kv_slab_free(&s, live, MIB);
    cairn_kv_slabs_fini(&s);
}

/* ---- the tree against a sorted array ---- */

enum { MODEL_MAX = 6000, MODEL_KEY_MAX = 80 };

struct model_key {
    uint32_t len;
    uint8_t bytes[MODEL_KEY_MAX];
};

struct model {
    struct cairn_kv_slabs slabs;
    struct cairn_kv_tree tree;
    uint64_t rng;
    uint32_t n;
    struct model_key keys[MODEL_MAX];
};

/* Keys that share much: few letters, long runs, one a prefix of another, zeros and 0xff. */
static void draw_key(struct model *m, struct model_key *k)
{
    static const uint8_t letters[] = { 0, 'a', 'b', 0xff };
    uint32_t kind = draw(&m->rng, 4);

    if (kind == 0) {
        k->len = (uint32_t)sprintf((char *)k->bytes, "particle-%012u", draw(&m->rng, 20000));
    } else if (kind == 1) {
        memset(k->bytes, 'p', 60);
        k->len = 60 + (uint32_t)sprintf((char *)k->bytes + 60, "%u", draw(&m->rng, 3000));
    } else {
        k->len = 1 + draw(&m->rng, kind == 2 ? 9 : 3);
        for (uint32_t i = 0; i < k->len; i++)
            k->bytes[i] = letters[draw(&m->rng, 4)];
    }
}

/* The number of keys below @k. */
static uint32_t model_rank(const struct model *m, const struct model_key *k, bool *there)
{
    uint32_t lo = 0, hi = m->n;

    while (lo < hi) {
        uint32_t mid = (lo + hi) / 2;

        if (cairn_kv_key_compare(m->keys[mid].bytes, m->keys[mid].len, k->bytes, k->len) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    *there = lo < m->n && cairn_kv_key_compare(m->keys[lo].bytes, m->keys[lo].len, k->bytes, k->len) == 0;
    return lo;
}

static void assert_is(const struct cairn_kv_rec *rec, const struct model *m, uint32_t i)
{
    if (i >= m->n) {
        assert_null(rec);
        return;
    }
    assert_non_null(rec);
    assert_int_equal(rec->klen, m->keys[i].len);
    assert_memory_equal(rec->bytes, m->keys[i].bytes, rec->klen);
}

static void walk_put(struct model *m, const struct model_key *k, bool there, uint32_t at)
{
    struct cairn_kv_rec *rec = rec_new(&m->slabs, k->bytes, k->len, draw(&m->rng, 50)), *old;

    assert_int_equal(cairn_kv_tree_put(&m->tree, rec, &old), 0);
    assert_int_equal(old != NULL, there);
    if (old != NULL) {
        rec_free(&m->slabs, old);
        return;
    }
    memmove(&m->keys[at + 1], &m->keys[at], (m->n - at) * sizeof(m->keys[0]));
    m->keys[at] = *k;
    m->n++;
}

static void walk_take(struct model *m, const struct model_key *k, bool there, uint32_t at)
{
    struct cairn_kv_rec *rec = cairn_kv_tree_take(&m->tree, k->bytes, k->len);

    assert_int_equal(rec != NULL, there);
    if (rec == NULL)
        return;
    rec_free(&m->slabs, rec);
    m->n--;
    memmove(&m->keys[at], &m->keys[at + 1], (m->n - at) * sizeof(m->keys[0]));
}

static void walk_seek(struct model *m, const struct model_key *k, uint32_t at)
{
    struct cairn_kv_cursor c = cairn_kv_tree_seek(&m->tree, k->bytes, k->len);

    for (uint32_t i = 0; i < 70; i++) {
        assert_is(cairn_kv_cursor_rec(&c), m, at + i);
        if (at + i >= m->n)
            break;
        cairn_kv_cursor_next(&c);
    }
    c = cairn_kv_tree_seek_below(&m->tree, k->bytes, k->len);
    for (uint32_t i = 1; i < 70; i++) {
        assert_is(cairn_kv_cursor_rec(&c), m, at >= i ? at - i : UINT32_MAX);
        if (at < i)
            break;
        cairn_kv_cursor_prev(&c);
    }
}

/* Grows, shrinks to nothing and grows again; the tree and the array always agree. */
static void tree_agrees_with_sorted_array(void **state)
{
    struct model *m = calloc(1, sizeof(*m));
    uint64_t seed = seed_of_run();

    (void)state;
    m->rng = seed * 2 + 1;
    cairn_kv_slabs_init(&m->slabs, UINT64_MAX);
    cairn_kv_tree_init(&m->tree, &m->slabs);
    for (uint32_t step = 0; step < 120000; step++) {
        bool growing = step / 20000 % 2 == 0, there;
        struct model_key k;
        uint32_t at, dice = draw(&m->rng, 10);

        if (!growing && m->n > 0 && dice < 7)
            k = m->keys[draw(&m->rng, m->n)];
        else
            draw_key(m, &k);
        at = model_rank(m, &k, &there);
        assert_int_equal(cairn_kv_tree_find(&m->tree, k.bytes, k.len) != NULL, there);
        if (dice == 9)
            walk_seek(m, &k, at);
        else if ((growing && dice < 7 && m->n < MODEL_MAX) || (!growing && dice == 8 && m->n < MODEL_MAX))
            walk_put(m, &k, there, at);
        else
            walk_take(m, &k, there, at);
        assert_int_equal(m->tree.keys, m->n);
        if (step % 2000 == 0)
            cairn_kv_tree_check(&m->tree);
    }
    cairn_kv_tree_fini(&m->tree);
    cairn_kv_slabs_fini(&m->slabs);
    free(m);
}

/* Keys that come in order fill the leaves; taken in order, in any direction, they leave nothing behind. */
static void tree_in_order(void **state)
{
    enum { N = 30000 };
    struct cairn_kv_slabs slabs;
    struct cairn_kv_tree tree;
    char key[16];

    (void)state;
    cairn_kv_slabs_init(&slabs, UINT64_MAX);
    cairn_kv_tree_init(&tree, &slabs);
    for (int down = 0; down < 4; down++) {
        for (uint32_t i = 0; i < N; i++) {
            uint32_t klen = (uint32_t)sprintf(key, "%08u", (down & 1) != 0 ? N - i : i);
            struct cairn_kv_rec *old, *rec = rec_new(&slabs, (uint8_t *)key, klen, 0);

            assert_int_equal(cairn_kv_tree_put(&tree, rec, &old), 0);
            assert_null(old);
        }
        cairn_kv_tree_check(&tree);
        if (down == 0) /* 32 bytes a record, 17 a place in a leaf: half full leaves would need 34 */
            assert_true(slabs.used < N * (32 + 20));
        for (uint32_t i = 0; i < N; i++) {
            uint32_t klen = (uint32_t)sprintf(key, "%08u", ((down & 1) != 0) != ((down & 2) != 0) ? N - i : i);
            struct cairn_kv_rec *rec = cairn_kv_tree_take(&tree, (uint8_t *)key, klen);

            if (rec != NULL)
                rec_free(&slabs, rec);
            if (i % 997 == 0)
                cairn_kv_tree_check(&tree);
        }
        assert_true(tree.keys <= 1);
        cairn_kv_tree_fini(&tree);
        assert_int_equal(slabs.used, 0);
    }
    cairn_kv_slabs_fini(&slabs);
}

/* When memory ends at any allocation of an insert, the tree is as it was. */
static void tree_survives_lack_of_memory(void **state)
{
    struct cairn_kv_slabs slabs;
    struct cairn_kv_tree tree;
    uint32_t refused = 0, kept = 0;

    (void)state;
    cairn_kv_slabs_init(&slabs, 64 << 10);
    cairn_kv_tree_init(&tree, &slabs);
    for (uint32_t i = 0; i < 40000; i++) {
        uint8_t key[300];
        uint32_t x = i * 2654435761u, klen = 4 + x % 290;
        struct cairn_kv_rec *rec, *old = NULL;

        memset(key, 'k', sizeof(key));
        memcpy(key, &x, 4);
        slabs.limit += 8; /* a little at a time, so that it fails at every place */
        rec = rec_new(&slabs, key, klen, 0);
        if (rec == NULL || cairn_kv_tree_put(&tree, rec, &old) != 0) {
            refused++;
            if (rec != NULL)
                rec_free(&slabs, rec);
            assert_null(cairn_kv_tree_find(&tree, key, klen));
        } else {
            kept++;
        }
        if (i % 500 == 0)
            cairn_kv_tree_check(&tree);
    }
    assert_true(refused > 1000 && kept > 100);
    assert_int_equal(tree.keys, kept);
    cairn_kv_tree_check(&tree);
    cairn_kv_tree_fini(&tree);
    cairn_kv_slabs_fini(&slabs);
}

/* Looked for together or one by one, present or not, long keys that are alike for many bytes and short ones. */
static void many_agree_with_one(void **state)
{
    uint64_t rng = seed_of_run();
    uint8_t bytes[CAIRN_KV_TREE_MANY][24];
    struct cairn_kv_slabs slabs;
    struct cairn_kv_tree tree;
    uint32_t found = 0, absent = 0;

    (void)state;
    cairn_kv_slabs_init(&slabs, UINT64_MAX);
    cairn_kv_tree_init(&tree, &slabs);
    for (uint32_t round = 0; round < 2000; round++) {
        struct cairn_kv_key keys[CAIRN_KV_TREE_MANY];
        struct cairn_kv_rec *recs[CAIRN_KV_TREE_MANY], *old;
        uint32_t n = draw(&rng, CAIRN_KV_TREE_MANY + 1);

        for (uint32_t i = 0; i < n; i++) {
            uint32_t len = 1 + draw(&rng, sizeof(bytes[i]));

            memset(bytes[i], 'k', sizeof(bytes[i]));
            bytes[i][draw(&rng, len)] = (uint8_t)draw(&rng, 3);
            bytes[i][len - 1] = (uint8_t)draw(&rng, 256);
            keys[i] = (struct cairn_kv_key){ .ptr = bytes[i], .len = len };
        }
        cairn_kv_tree_find_many(&tree, keys, n, recs);
        for (uint32_t i = 0; i < n; i++) {
            assert_ptr_equal(recs[i], cairn_kv_tree_find(&tree, keys[i].ptr, keys[i].len));
            found += recs[i] != NULL;
            absent += recs[i] == NULL;
        }
        for (uint32_t i = 0; i < n; i++) {
            struct cairn_kv_rec *rec = rec_new(&slabs, keys[i].ptr, keys[i].len, draw(&rng, 2000));

            assert_int_equal(cairn_kv_tree_put(&tree, rec, &old), 0);
            if (old != NULL)
                rec_free(&slabs, old);
        }
    }
    assert_true(found > 1000 && absent > 1000);
    cairn_kv_tree_check(&tree);
    cairn_kv_tree_fini(&tree);
    cairn_kv_slabs_fini(&slabs);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slab_classes_fit),
        cmocka_unit_test(slab_limit_holds_and_recovers),
        cmocka_unit_test(slab_refusal_takes_nothing),
        cmocka_unit_test(tree_agrees_with_sorted_array),
        cmocka_unit_test(tree_in_order),
        cmocka_unit_test(tree_survives_lack_of_memory),
        cmocka_unit_test(many_agree_with_one),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
