/* Decisions without I/O: checksum arithmetic, names, the table of regions, the allocator of blocks. */
#include "providers/extent/extent_core.h"
#include "providers/extent/extent_space.h"
#include "providers/extent/extent_store.h"

#include "cairn/error.h"
#include "sdk/core/base/crc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { CHUNK = CAIRN_EXTENT_CHUNK_BYTES };

static uint64_t rnd(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed;
}

static void ranges_are_clipped_and_widened(void **state)
{
    uint64_t off, len = 0;

    (void)state;
    assert_true(cairn_extent_clip(100, 40, &len));
    assert_int_equal(len, 60);
    len = 1000;
    assert_true(cairn_extent_clip(100, 100, &len));
    assert_int_equal(len, 0);
    len = UINT64_MAX;
    assert_false(cairn_extent_clip(100, 101, &len));
    assert_true(cairn_extent_clip(100, 1, &len));
    assert_int_equal(len, 99);
    off = CHUNK + 1;
    len = 1;
    cairn_extent_widen(10 * CHUNK, &off, &len);
    assert_int_equal(off, CHUNK);
    assert_int_equal(len, CHUNK);
    off = CHUNK - 1;
    len = 2;
    cairn_extent_widen(CHUNK + 5, &off, &len);
    assert_int_equal(off, 0);
    assert_int_equal(len, CHUNK + 5);
    assert_int_equal(cairn_extent_chunks(0), 0);
    assert_int_equal(cairn_extent_chunks(CHUNK), 1);
    assert_int_equal(cairn_extent_chunks(CHUNK + 1), 2);
    assert_int_equal(cairn_extent_chunks(CAIRN_EXTENT_BYTES_MAX), CAIRN_EXTENT_BYTES_MAX / CHUNK);
    assert_int_equal(cairn_extent_parts(CHUNK - 1, 2), 2);
    assert_int_equal(cairn_extent_parts(5, 0), 0);
}

/* Whatever the pieces in which bytes arrive, the same chunk is found to differ. */
static void checks_find_the_first_bad_chunk(void **state)
{
    enum { LEN = 3 * CHUNK + 777 };
    uint8_t *p = malloc(LEN);
    uint32_t crcs[4];
    uint64_t seed = 5;

    (void)state;
    for (int i = 0; i < LEN; i++)
        p[i] = (uint8_t)(i * 7);
    cairn_extent_crcs(p, LEN, crcs);
    assert_int_equal(cairn_extent_first_bad(p, LEN, crcs), -1);
    for (int round = 0; round < 50; round++) {
        uint64_t flip = rnd(&seed) % LEN, at = 0;
        bool damage = round % 2 == 0;
        struct cairn_extent_check c;

        p[flip] ^= (uint8_t)damage;
        cairn_extent_check_init(&c, crcs, LEN);
        while (at < LEN) {
            uint64_t most = 1 + rnd(&seed) % (2 * CHUNK), n = MIN(most, LEN - at);

            assert_false(cairn_extent_check_is_good(&c));
            cairn_extent_check_feed(&c, p + at, n);
            at += n;
        }
        assert_int_equal(cairn_extent_check_is_good(&c), !damage);
        if (damage) {
            assert_int_equal(c.bad_at, flip / CHUNK * CHUNK);
            assert_int_equal(cairn_extent_first_bad(p, LEN, crcs), flip / CHUNK);
        }
        p[flip] ^= (uint8_t)damage;
    }
    free(p);
}

static int compare_u64(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

static void names_are_unique_and_spread(void **state)
{
    enum { N = 100000 };
    uint64_t *ids = malloc(N * sizeof(*ids));
    uint32_t high = 0;

    (void)state;
    for (uint64_t i = 0; i < N; i++) {
        ids[i] = cairn_extent_name(42, (UINT64_C(3) << CAIRN_EXTENT_NAME_BITS) + i);
        high += (uint32_t)(ids[i] >> 63);
    }
    qsort(ids, N, sizeof(*ids), compare_u64);
    for (uint64_t i = 1; i < N; i++)
        assert_int_not_equal(ids[i - 1], ids[i]);
    assert_in_range(high, N / 2 - N / 50, N / 2 + N / 50);
    free(ids);
}

/* ---- the allocator ---- */

enum { MODEL_SPAN = 64, MODEL_SEGMENTS = 8, MODEL_BLOCKS = MODEL_SPAN * MODEL_SEGMENTS, MODEL_HELD = 128 };

struct model {
    bool used[MODEL_BLOCKS];
    struct {
        uint64_t at, n;
    } held[MODEL_HELD];
    uint32_t nheld;
};

/* First fit, by looking at every block. */
static bool model_fit(const struct model *m, uint64_t n, uint64_t *at)
{
    for (uint64_t from = 0; from + n <= MODEL_BLOCKS; from++) {
        uint64_t i = 0;

        if (from / MODEL_SPAN != (from + n - 1) / MODEL_SPAN)
            continue;
        while (i < n && !m->used[from + i])
            i++;
        if (i == n) {
            *at = from;
            return true;
        }
    }
    return false;
}

/* A long random walk: the treap does what a plain array would. */
static void space_walks_like_its_model(void **state)
{
    struct cairn_extent_space s;
    struct model *m = calloc(1, sizeof(*m));
    uint64_t seed = 20261120;

    (void)state;
    print_message("seed %llu\n", (unsigned long long)seed);
    cairn_extent_space_init(&s, MODEL_SPAN);
    for (uint64_t i = 0; i < MODEL_SEGMENTS; i++)
        assert_int_equal(cairn_extent_space_give(&s, i * MODEL_SPAN, MODEL_SPAN), 0);
    assert_int_equal(s.ranges, MODEL_SEGMENTS); /* they touch, and stay apart */
    for (int step = 0; step < 20000; step++) {
        if (m->nheld == MODEL_HELD || (m->nheld > 0 && rnd(&seed) % 2 == 0)) {
            uint32_t i = (uint32_t)(rnd(&seed) % m->nheld);

            assert_int_equal(cairn_extent_space_give(&s, m->held[i].at, m->held[i].n), 0);
            memset(&m->used[m->held[i].at], 0, m->held[i].n);
            m->held[i] = m->held[--m->nheld];
        } else {
            uint64_t n = 1 + rnd(&seed) % (step % 3 == 0 ? MODEL_SPAN : 8), want = 0, got = 0;
            bool fits = model_fit(m, n, &want);

            assert_int_equal(cairn_extent_space_take(&s, n, &got), fits);
            if (!fits)
                continue;
            assert_int_equal(got, want);
            memset(&m->used[got], 1, n);
            m->held[m->nheld].at = got;
            m->held[m->nheld++].n = n;
        }
        if (step % 16 == 0)
            assert_true(cairn_extent_space_is_sound(&s));
    }
    cairn_extent_space_fini(&s);
    free(m);
}

static void space_gives_out_exact_places(void **state)
{
    struct cairn_extent_space s;
    uint64_t at;

    (void)state;
    cairn_extent_space_init(&s, 100);
    assert_int_equal(cairn_extent_space_give(&s, 0, 100), 0);
    assert_int_equal(cairn_extent_space_take_at(&s, 10, 20), 0);
    assert_int_equal(cairn_extent_space_take_at(&s, 29, 2), CAIRN_E_CORRUPT);  /* overlaps */
    assert_int_equal(cairn_extent_space_take_at(&s, 95, 10), CAIRN_E_CORRUPT); /* beyond the end */
    assert_int_equal(cairn_extent_space_take_at(&s, 5, UINT64_MAX - 2), CAIRN_E_CORRUPT);
    assert_int_equal(cairn_extent_space_take_at(&s, 50, 0), CAIRN_E_CORRUPT);
    assert_true(cairn_extent_space_is_sound(&s));
    assert_int_equal(s.free, 80);
    assert_int_equal(cairn_extent_space_longest(&s), 70);
    assert_true(cairn_extent_space_take(&s, 11, &at));
    assert_int_equal(at, 30);
    cairn_extent_space_forget(&s, 0, 100);
    assert_int_equal(s.free, 0);
    assert_false(cairn_extent_space_take(&s, 1, &at));
    assert_true(cairn_extent_space_is_sound(&s));
    cairn_extent_space_fini(&s);
}

/* ---- the table ---- */

static void plain_release(struct cairn_extent_store *s, struct cairn_extent_region *r)
{
    (void)s;
    cairn_extent_region_free(r);
}

static const struct cairn_extent_store_ops plain_ops = { .release = plain_release };

static void table_lists_in_order_and_by_pages(void **state)
{
    enum { N = 5000, PAGE = 37 };
    struct cairn_extent_store store = { .ops = &plain_ops };
    struct cairn_extent_table *t = &store.table;
    uint64_t ids[PAGE], lengths[PAGE], owners[PAGE], last = 0, seen = 0, of_two = 0;
    struct cairn_extent_filter f = { 0 };
    bool more = true;

    (void)state;
    assert_int_equal(cairn_extent_table_init(t), 0);
    for (uint64_t i = 0; i < N; i++) {
        struct cairn_extent_region *r = cairn_extent_region_new(&store, cairn_extent_name(777777, i), i, i % 5);

        atomic_store(&r->sealed, i % 10 != 0); /* drafts are not listed */
        assert_true(cairn_extent_table_add(t, r));
    }
    assert_int_equal(atomic_load(&t->regions), N - N / 10);
    while (more) {
        uint32_t n = cairn_extent_table_list(t, &f, ids, lengths, owners, PAGE, &more, NULL);

        for (uint32_t i = 0; i < n; i++) {
            assert_true(ids[i] > last);
            assert_int_equal(cairn_extent_name(777777, lengths[i]), ids[i]);
            assert_int_equal(owners[i], lengths[i] % 5);
            last = ids[i];
        }
        seen += n;
        f.after = last;
    }
    assert_int_equal(seen, N - N / 10);
    f = (struct cairn_extent_filter){ .owner = 2 };
    for (more = true; more;) {
        uint32_t n = cairn_extent_table_list(t, &f, ids, NULL, owners, PAGE, &more, &f.after);

        for (uint32_t i = 0; i < n; i++)
            assert_int_equal(owners[i], 2);
        of_two += n;
    }
    assert_int_equal(of_two, N / 5);
    cairn_extent_table_fini(t);
}

/* A few among very many: who looks for those in quarantine meets no others, and who looks for those of one owner
 * stops on the way to let others have their turn. */
static void table_finds_the_few_among_many(void **state)
{
    enum { N = 400000, EVERY = 100003 };
    struct cairn_extent_store store = { .ops = &plain_ops };
    struct cairn_extent_table *t = &store.table;
    struct cairn_extent_region *bad[N / EVERY + 1], *r;
    uint64_t ids[10], last = 0, after = 0;
    uint32_t n, nbad = 0, pages = 0, found = 0;
    bool more;

    (void)state;
    assert_int_equal(cairn_extent_table_init(t), 0);
    for (uint64_t i = 0; i < N; i++) {
        r = cairn_extent_region_new(&store, cairn_extent_name(99, i), 1, i == N / 2 ? 3 : 0);
        atomic_store(&r->sealed, true);
        assert_true(cairn_extent_table_add(t, r));
        if (i % EVERY == 1)
            bad[nbad++] = r;
    }
    for (uint32_t i = 0; i < nbad; i++) {
        assert_true(cairn_extent_table_quarantine(t, bad[i]));
        assert_false(cairn_extent_table_quarantine(t, bad[i]));
    }
    for (uint32_t i = 0; i < CAIRN_EXTENT_SHARDS; i++) /* as many steps as there are buckets and regions in it */
        assert_true(t->shards[i].sets[CAIRN_EXTENT_BAD].bits <= 2);
    n = cairn_extent_table_list(t, &(struct cairn_extent_filter){ .quarantined = true }, ids, NULL, NULL, 10, &more,
                                NULL);
    assert_int_equal(n, nbad);
    assert_false(more);
    for (uint32_t i = 0; i < n; i++) {
        assert_true(ids[i] > last);
        last = ids[i];
    }
    assert_true(cairn_extent_table_del(t, bad[0])); /* a removal that is refused puts it back */
    n = cairn_extent_table_list(t, &(struct cairn_extent_filter){ .quarantined = true }, ids, NULL, NULL, 10, &more,
                                NULL);
    assert_int_equal(n, nbad - 1);
    assert_true(cairn_extent_table_add(t, bad[0]));
    n = cairn_extent_table_list(t, &(struct cairn_extent_filter){ .quarantined = true, .after = last - 1 }, ids, NULL,
                                NULL, 10, &more, NULL);
    assert_int_equal(n, 1);
    do {
        struct cairn_extent_filter f = { .owner = 3, .after = after };

        n = cairn_extent_table_list(t, &f, ids, NULL, NULL, 10, &more, &after);
        assert_true(!more || after > f.after);
        found += n;
        pages++;
    } while (more);
    assert_int_equal(found, 1);
    assert_in_range(pages, 5, 20);
    cairn_extent_table_fini(t);
}

/* A walk looks at no more places than it may, says how far it came, and meets every region that can be checked. */
static void table_walk_is_bounded(void **state)
{
    enum { N = 3000, PLACES = 50 };
    struct cairn_extent_store store = { .ops = &plain_ops };
    struct cairn_extent_table *t = &store.table;
    uint32_t found = 0, turns = 0;
    uint64_t after = 0, last = 0;

    (void)state;
    assert_int_equal(cairn_extent_table_init(t), 0);
    for (uint64_t i = 0; i < N; i++) {
        struct cairn_extent_region *r =
            cairn_extent_region_new(&store, cairn_extent_name(5, i), i % 100 == 0 ? 7 : 0, 0);

        atomic_store(&r->sealed, true);
        assert_true(cairn_extent_table_add(t, r));
    }
    while (after != UINT64_MAX) {
        uint32_t places = PLACES;
        struct cairn_extent_region *r = cairn_extent_table_next(t, &after, &places);

        turns++;
        assert_true(after >= last && (r != NULL || after > last));
        last = after;
        if (r == NULL)
            continue;
        assert_true(r->id > after && r->length == 7);
        after = last = r->id;
        found++;
        cairn_extent_region_put(r);
    }
    assert_int_equal(found, N / 100);
    assert_true(turns > N / PLACES / 2);
    cairn_extent_table_fini(t);
}

static void table_keeps_regions_while_they_are_held(void **state)
{
    struct cairn_extent_store store = { .ops = &plain_ops };
    struct cairn_extent_table *t = &store.table;
    struct cairn_extent_region *r, *twin;

    (void)state;
    assert_int_equal(cairn_extent_table_init(t), 0);
    r = cairn_extent_region_new(&store, 99, 100, 0);
    atomic_store(&r->sealed, true);
    assert_true(cairn_extent_table_add(t, r));
    twin = cairn_extent_region_new(&store, 99, 100, 0);
    assert_false(cairn_extent_table_add(t, twin));
    cairn_extent_region_put(twin);
    assert_ptr_equal(cairn_extent_table_find(t, 99), r);
    assert_null(cairn_extent_table_find(t, 98));
    assert_true(cairn_extent_table_quarantine(t, r));
    assert_false(cairn_extent_table_quarantine(t, r));
    assert_int_equal(atomic_load(&t->quarantined), 1);
    assert_true(cairn_extent_table_del(t, r));
    assert_false(cairn_extent_table_del(t, r));
    assert_int_equal(atomic_load(&t->regions), 0);
    assert_int_equal(atomic_load(&t->bytes), 0);
    assert_int_equal(atomic_load(&t->quarantined), 0);
    assert_int_equal(r->length, 100); /* still ours: one reference of find(), one that was the table's */
    cairn_extent_region_put(r);
    cairn_extent_region_put(r);
    cairn_extent_table_fini(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranges_are_clipped_and_widened), cmocka_unit_test(checks_find_the_first_bad_chunk),
        cmocka_unit_test(names_are_unique_and_spread),    cmocka_unit_test(space_walks_like_its_model),
        cmocka_unit_test(space_gives_out_exact_places),   cmocka_unit_test(table_lists_in_order_and_by_pages),
        cmocka_unit_test(table_finds_the_few_among_many), cmocka_unit_test(table_keeps_regions_while_they_are_held),
        cmocka_unit_test(table_walk_is_bounded),          cmocka_unit_test(table_keeps_regions_while_they_are_held),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
