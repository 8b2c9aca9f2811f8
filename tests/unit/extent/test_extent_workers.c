/* Two workers, each on a thread of its own, on one store: what they share. To be run by ThreadSanitizer above all. */
#include "tests/unit/extent/extent_fixture.h"

#include <pthread.h>

/* The first worker's fixture owns the store, the second has a loop and a way in of its own. */
struct two {
    struct fixture first, second;
    uint64_t id;
    atomic_bool stop;
};

static int setup(void **state)
{
    struct two *t = calloc(1, sizeof(*t));
    struct cairn_extent_conf conf = fx_conf(CAIRN_EXTENT_MEMORY);
    struct cairn_rpc_conf rc = { .inflight_max = 16, .inflight_bytes_max = 1 << 20, .output_bytes_max = 1 << 20 };
    struct cairn_loop *loops[] = { &t->first.loop, &t->second.loop };

    fx_init(&t->first, &conf);
    fx_close(&t->first);
    assert_int_equal(cairn_loop_init(&t->second.loop, NULL, &t->second.err), 0);
    rc.targets = &t->first.target;
    rc.ntargets = 1;
    t->second.rpc = cairn_rpc_new(&t->second.loop, &rc, &t->second.err);
    assert_non_null(t->second.rpc);
    t->second.who = t->first.who;
    assert_int_equal(
        cairn_extent_store_open(&t->first.conf, t->first.pool, loops, 2, &t->first.provider.store, &t->first.err), 0);
    *state = t;
    return 0;
}

static int teardown(void **state)
{
    struct two *t = *state;

    fx_close(&t->first);
    cairn_rpc_free(t->second.rpc);
    cairn_loop_fini(&t->second.loop);
    fx_fini(&t->first);
    free(t);
    return 0;
}

enum { CHUNKS = 32, ROUNDS = 50 };

/* Every other chunk is this worker's; each write ends in the middle of a chunk that is the other's, too. */
static void write_half(struct fixture *fx, uint64_t id, uint64_t first)
{
    uint8_t *bytes = malloc(CHUNKS * FX_CHUNK);

    fx_fill(bytes, CHUNKS * FX_CHUNK, 1);
    for (int round = 0; round < ROUNDS; round++) {
        for (uint64_t c = first; c < CHUNKS; c += 2) {
            uint64_t off = c * FX_CHUNK, len = MIN(FX_CHUNK + 100, CHUNKS * FX_CHUNK - off);

            assert_int_equal(fx_write(fx, &(struct fx_write){ .id = id, .off = off, .len = len, .bytes = bytes + off }),
                             0);
        }
    }
    free(bytes);
}

static void *write_odd(void *arg)
{
    struct two *t = arg;

    write_half(&t->second, t->id, 1);
    return NULL;
}

static void two_workers_write_one_region(void **state)
{
    struct two *t = *state;
    uint8_t *bytes = malloc(CHUNKS * FX_CHUNK), *got = malloc(CHUNKS * FX_CHUNK);
    pthread_t thread;
    uint64_t n;

    assert_int_equal(fx_create(&t->first, CHUNKS * FX_CHUNK, &t->id), 0);
    assert_int_equal(pthread_create(&thread, NULL, write_odd, t), 0);
    write_half(&t->first, t->id, 0);
    pthread_join(thread, NULL);
    assert_int_equal(fx_persist(&t->first, t->id, CAIRN__WIRE__DURABILITY__DURABILITY_MEMORY), 0);
    assert_int_equal(fx_read(&t->first, t->id, 0, CHUNKS * FX_CHUNK, got, true, true, &n), 0);
    fx_fill(bytes, CHUNKS * FX_CHUNK, 1);
    assert_memory_equal(got, bytes, CHUNKS * FX_CHUNK);
    free(bytes);
    free(got);
}

static void *expire_all(void *arg)
{
    struct two *t = arg;

    while (!atomic_load(&t->stop))
        cairn_extent_draft_expire(fx_store(&t->first), UINT64_MAX);
    return NULL;
}

/* A draft may be gone before its maker has even been told its name. */
static void a_draft_may_go_as_soon_as_it_is_there(void **state)
{
    struct two *t = *state;
    uint64_t id, used, avail, made = 0;
    pthread_t thread;

    assert_int_equal(pthread_create(&thread, NULL, expire_all, t), 0);
    while (made < 20000) {
        int rc = fx_create(&t->first, 100, &id);

        assert_true(rc == 0 || rc == CAIRN_E_LIMIT); /* the other thread is slower for a while */
        made += rc == 0;
    }
    atomic_store(&t->stop, true);
    pthread_join(thread, NULL);
    cairn_extent_draft_expire(fx_store(&t->first), UINT64_MAX);
    fx_store(&t->first)->ops->usage(fx_store(&t->first), &used, &avail);
    assert_int_equal(used, 0);
    assert_int_equal(atomic_load(&fx_store(&t->first)->drafts_expired), made);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(two_workers_write_one_region, setup, teardown),
        cmocka_unit_test_setup_teardown(a_draft_may_go_as_soon_as_it_is_there, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
