/* The hashed frontend when something fails, is canceled or is replaced meanwhile: failures at every call, and random
 * walks. */
#include "world.h"

static uint8_t value[1024 * KIB], got[1024 * KIB];

static const int failures[] = { CAIRN_E_NOSPACE, CAIRN_E_IO, CAIRN_E_TIMEOUT };

/* The nth call fails, for each n until none is left: the error comes up, nothing leaks, and the old value or the new is
 * there. */
static void every_call_of_a_put_fails(void **state)
{
    struct world *w = *state;
    size_t n = 5 * REGION + 10;

    ns_create(w, "n");
    for (size_t f = 0; f < ARRAY_SIZE(failures); f++) {
        uint32_t failed = 0;

        for (uint64_t nth = 1;; nth++) {
            int rc;

            fill(value, 2 * REGION, 1);
            w->fail_at = 0;
            assert_int_equal(put(w, "n", "k", value, 2 * REGION), 0);
            expect_no_orphans(w);
            fill(value, n, 2);
            w->calls = 0;
            w->fail_at = nth;
            w->fail_rc = failures[f];
            rc = put(w, "n", "k", value, n);
            if (w->calls < nth)
                break;
            w->fail_at = 0;
            failed++;
            assert_int_equal(get(w, "n", "k", 0, 0, got, sizeof(got), NULL), rc == 0 ? n : 2 * REGION);
            if (rc == 0) { /* the barrier, or the removal of the old regions: all that is left to the sweeper */
                assert_true(atomic_load(&((struct cairn_router *)w->router)->left_garbage));
                assert_int_equal(w->nregions, 6 + 2);
                while (w->regions[0].id < w->next_region - 5) {
                    free(w->regions[0].bytes);
                    memmove(w->regions, w->regions + 1, --w->nregions * sizeof(w->regions[0]));
                }
            } else {
                assert_int_equal(rc, failures[f]);
            }
            expect_no_orphans(w);
        }
        assert_int_equal(failed, 6 + 1 + 1 + 1); /* regions, record, barrier, removal */
    }
}

/* The record was put, but the answer said otherwise: it is found out, and nothing that the record names is removed. */
static void an_unheard_record_is_kept(void **state)
{
    struct world *w = *state;

    ns_create(w, "n");
    fill(value, 2 * REGION, 1);
    assert_int_equal(put(w, "n", "other", value, 2000), 0);
    w->calls = 0;
    w->fail_at = 3;
    w->fail_rc = CAIRN_E_IO;
    w->fail_after = true;
    assert_int_equal(put(w, "n", "k", value, 2 * REGION), CAIRN_E_UNKNOWN);
    w->fail_at = 0;
    assert_int_equal(get(w, "n", "k", 0, 0, got, sizeof(got), NULL), 2 * REGION);
    assert_memory_equal(got, value, 2 * REGION);
    expect_no_orphans(w);
}

static void every_call_of_a_get_fails(void **state)
{
    struct world *w = *state;
    size_t n = 5 * REGION + 10;
    uint32_t failed = 0;

    ns_create(w, "n");
    fill(value, n, 2);
    assert_int_equal(put(w, "n", "k", value, n), 0);
    for (uint64_t nth = 1;; nth++) {
        int64_t rc;

        w->calls = 0;
        w->fail_at = nth;
        w->fail_rc = CAIRN_E_IO;
        rc = get(w, "n", "k", 0, 0, got, sizeof(got), NULL);
        if (w->calls < nth) {
            assert_int_equal(rc, n);
            break;
        }
        failed++;
        assert_int_equal(rc, CAIRN_E_IO);
    }
    assert_int_equal(failed, 1 + 6);
}

/* A region that a record names is gone for good: that is damage, and said so. */
static void a_missing_region_is_damage(void **state)
{
    struct world *w = *state;

    ns_create(w, "n");
    assert_int_equal(put(w, "n", "k", value, 3 * REGION), 0);
    free(w->regions[1].bytes);
    memmove(&w->regions[1], &w->regions[2], --w->nregions * sizeof(w->regions[0]));
    assert_int_equal(get(w, "n", "k", 0, 0, got, sizeof(got), NULL), CAIRN_E_CORRUPT);
    assert_int_equal(get(w, "n", "k", 0, REGION, got, sizeof(got), NULL), REGION); /* the rest can be read */
}

static void a_shorter_region_is_damage(void **state)
{
    struct world *w = *state;

    ns_create(w, "n");
    assert_int_equal(put(w, "n", "k", value, 3 * REGION), 0);
    w->regions[1].len--;
    assert_int_equal(get(w, "n", "k", 0, 0, got, sizeof(got), NULL), CAIRN_E_CORRUPT);
}

/* The client goes away while its value is being stored: whatever the moment, no region stays. */
static void a_canceled_put_leaves_nothing(void **state)
{
    struct world *w = *state;

    ns_create(w, "n");
    for (uint64_t when = 0; when < 12; when++) {
        struct put p;

        w->calls = 0;
        put_start(w, &p, (uint32_t)(when % WORKERS), "n", "k", value, 5 * REGION, true);
        while (!p.a.done && w->calls < when)
            world_turn(w);
        put_cancel(&p);
        ask_wait(w, &p.a);
        assert_true(p.a.rc == 0 || p.a.rc == CAIRN_E_CANCELED);
        answer_free(&p.a);
        expect_no_orphans(w);
    }
}

static uint32_t replaced_while_read;

static void replace_before_read(struct world *w, struct cairn_rpc_req *rq)
{
    struct put p;

    if (rq->target->iface != &cairn_iface_extent || rq->method_no != CAIRN__WIRE__EXTENT_METHOD__EXTENT_READ ||
        replaced_while_read++ > 0)
        return;
    fill(value, 2 * REGION, 77);
    put_start(w, &p, 0, "n", "k", value, 2 * REGION, true);
    ask_wait(w, &p.a);
    assert_int_equal(p.a.rc, 0);
    answer_free(&p.a);
}

static void a_value_replaced_while_it_is_read(void **state)
{
    struct world *w = *state;

    ns_create(w, "n");
    fill(value, 3 * REGION, 1);
    assert_int_equal(put(w, "n", "k", value, 3 * REGION), 0);
    replaced_while_read = 0;
    w->before = replace_before_read;
    assert_int_equal(get(w, "n", "k", 0, 0, got, sizeof(got), NULL), 2 * REGION); /* the new one, whole */
    assert_memory_equal(got, value, 2 * REGION);
    w->before = NULL;
    expect_no_orphans(w);
}

/* Puts, deletes and gets of a few keys, many at a time, on both workers, in an order that the seed decides. Values tell
 * their writer and are checked whole; in the end every region is named. */
enum { WALK_INFLIGHT = 12, WALK_KEYS = 3, WALK_STEPS = 400 };

struct walker {
    struct put put;
    struct get get;
    Cairn__Wire__RouterKey del;
    struct answer del_answer;
    uint8_t *bytes;
    int kind; /* 0 idle, 1 put, 2 get, 3 delete */
};

static const char *const walk_keys[WALK_KEYS] = { "a", "b", "c" };

static bool is_whole(const uint8_t *p, size_t n)
{
    for (size_t i = 1; i < n; i++) {
        if (p[i] != p[0])
            return false;
    }
    return true;
}

static void walker_start(struct world *w, struct walker *k)
{
    static const size_t sizes[] = { 0, 10, 999, 1001, 40 * KIB, REGION, 3 * REGION + 5 };
    const char *key = walk_keys[world_random(w) % WALK_KEYS];
    uint32_t worker = (uint32_t)(world_random(w) % WORKERS);
    size_t n = sizes[world_random(w) % ARRAY_SIZE(sizes)];

    k->kind = 1 + (int)(world_random(w) % 3);
    switch (k->kind) {
    case 1:
        memset(k->bytes, (int)(world_random(w) & 0xff), n);
        put_start(w, &k->put, worker, "n", key, k->bytes, n, n > 32 * KIB);
        break;
    case 2:
        get_start(w, &k->get, worker, "n", key, 0, 0, k->bytes, 4 * REGION);
        break;
    default:
        cairn__wire__router_key__init(&k->del);
        k->del.ns = (char *)(uintptr_t) "n";
        k->del.key = key_of(key);
        ask_start(w, worker, &k->del_answer, &root, CAIRN__WIRE__ROUTER_METHOD__ROUTER_DELETE, &k->del.base, NULL, 0);
    }
}

static void walker_check(struct walker *k)
{
    int64_t n;

    if (k->kind == 1 && k->put.a.done) {
        assert_int_equal(k->put.a.rc, 0);
        answer_free(&k->put.a);
    } else if (k->kind == 2 && k->get.a.done) {
        n = get_result(&k->get, k->bytes, 0, NULL);
        assert_true(n >= 0 || n == CAIRN_E_NOTFOUND ||
                    n == CAIRN_E_BUSY); /* BUSY: replaced faster than it can be read */
        assert_true(n <= 0 || is_whole(k->bytes, (size_t)n));
    } else if (k->kind == 3 && k->del_answer.done) {
        assert_true(k->del_answer.rc == 0 || k->del_answer.rc == CAIRN_E_NOTFOUND);
        answer_free(&k->del_answer);
    } else {
        return;
    }
    k->kind = 0;
}

static void walk(struct world *w)
{
    static struct walker walkers[WALK_INFLIGHT];
    uint32_t started = 0, busy = 0;

    for (uint32_t i = 0; i < WALK_INFLIGHT; i++) {
        walkers[i].kind = 0;
        walkers[i].bytes = malloc(4 * REGION);
        assert_non_null(walkers[i].bytes);
    }
    do {
        busy = 0;
        for (uint32_t i = 0; i < WALK_INFLIGHT; i++) {
            if (walkers[i].kind != 0)
                walker_check(&walkers[i]);
            if (walkers[i].kind == 0 && started < WALK_STEPS) {
                walker_start(w, &walkers[i]);
                started++;
            }
            busy += walkers[i].kind != 0;
        }
        world_turn(w);
    } while (busy > 0);
    for (uint32_t i = 0; i < WALK_INFLIGHT; i++)
        free(walkers[i].bytes);
}

static void random_walks(void **state)
{
    struct world *w = *state;

    for (uint64_t seed = 1; seed <= 8; seed++) {
        print_message("seed %lu\n", (unsigned long)seed);
        w->seed = seed;
        ns_create(w, "n");
        walk(w);
        expect_no_orphans(w);
        assert_int_equal(ns_remove_as(w, &root, "n", true), 0);
        assert_int_equal(w->nregions, 0);
        assert_int_equal(w->nentries, 0);
        assert_int_equal(w->ndbs, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(every_call_of_a_put_fails),         CASE(an_unheard_record_is_kept),
        CASE(every_call_of_a_get_fails),         CASE(a_missing_region_is_damage),
        CASE(a_shorter_region_is_damage),        CASE(a_canceled_put_leaves_nothing),
        CASE(a_value_replaced_while_it_is_read), CASE(random_walks),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
