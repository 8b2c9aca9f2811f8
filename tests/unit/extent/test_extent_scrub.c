/* The scrub: what it finds, what it lets pass, and how much of the node's time it takes. */
#include "tests/lib/patience.h"
#include "tests/unit/extent/extent_fixture.h"

#include "providers/extent/extent_file.h"

#define FAST (UINT64_C(1) << 40)

static void on_scrub_stopped(void *arg)
{
    *(bool *)arg = true;
}

/* Reads @rate bytes a second, and begins anew at once. */
static void scrub_start(struct fixture *fx, uint64_t rate)
{
    fx_store(fx)->conf.scrub_rate = rate;
    fx_store(fx)->conf.scrub_interval_ns = CAIRN_NS_PER_MS;
    assert_int_equal(cairn_extent__scrub_start(&fx->provider), 0);
}

static void scrub_stop(struct fixture *fx)
{
    bool stopped = false;

    cairn_extent__scrub_stop(&fx->provider, on_scrub_stopped, &stopped);
    WHILE_PATIENT (!stopped)
        cairn_loop_turn(&fx->loop, CAIRN_NS_PER_S);
    assert_null(fx->provider.scrub);
}

static void scrub_rounds(struct fixture *fx, uint64_t rounds)
{
    uint64_t until = atomic_load(&fx_store(fx)->scrub_rounds) + rounds;

    WHILE_PATIENT (atomic_load(&fx_store(fx)->scrub_rounds) < until)
        cairn_loop_turn(&fx->loop, CAIRN_NS_PER_S);
}

/* A number in the provider's status, and so in the metrics; -1: it is not there. */
static json_int_t status_number(struct fixture *fx, const char *key)
{
    extern const struct cairn_provider_desc cairn_provider_extent;
    json_t *status = json_object();
    json_int_t n;

    cairn_provider_extent.status(&fx->provider, status);
    n = json_is_integer(json_object_get(status, key)) ? json_integer_value(json_object_get(status, key)) : -1;
    json_decref(status);
    return n;
}

/* The scrub finds what nobody reads, and rests when it has gone round. */
static void the_scrub_finds_what_nobody_reads(void **state)
{
    enum { N = 10, LEN = 3 * FX_CHUNK + 1 };
    struct fixture *fx = *state;
    uint8_t *bytes = malloc(LEN);
    uint64_t ids[N];

    for (int i = 0; i < N; i++) {
        fx_fill(bytes, LEN, (uint64_t)i + 50);
        assert_int_equal(fx_put(fx, &(struct fx_write){ .len = LEN, .bytes = bytes, .bulk = true }, &ids[i]), 0);
    }
    if (fx->conf.backend == CAIRN_EXTENT_MEMORY) {
        struct cairn_extent_region *r = cairn_extent_table_find(&fx_store(fx)->table, ids[N - 1]);

        ((uint8_t *)r->mem)[LEN - 1] ^= 1;
        cairn_extent_region_put(r);
    } else {
        fx_close(fx);
        fx_flip_on_disk(fx, bytes, LEN - 1);
        fx_open(fx);
    }
    scrub_start(fx, FAST);
    WHILE_PATIENT (atomic_load(&fx_store(fx)->scrub_rounds) < 2)
        cairn_loop_turn(&fx->loop, CAIRN_NS_PER_S);
    assert_int_equal(atomic_load(&fx_store(fx)->table.quarantined), 1);
    assert_int_equal(status_number(fx, "corrupt_found"), 1); /* not again in the second round */
    assert_int_equal(status_number(fx, "quarantined"), 1);
    assert_int_equal(atomic_load(&fx_store(fx)->scrub_regions), 2 * (N - 1));
    scrub_stop(fx);
    free(bytes);
}

/* Small regions are paid for together: the rate is kept, and the node seldom wakes up. */
static void the_scrub_lets_the_node_sleep(void **state)
{
    enum { N = 100, LEN = 1000 };
    struct fixture *fx = *state;
    uint8_t bytes[LEN];
    uint64_t id, began, sleeps;

    fx_fill(bytes, LEN, 1);
    for (int i = 0; i < N; i++)
        assert_int_equal(fx_put(fx, &(struct fx_write){ .len = LEN, .bytes = bytes }, &id), 0);
    began = cairn_env_now_ns(&fx->loop.env);
    sleeps = fx->loop.sleeps;
    scrub_start(fx, N * LEN); /* all of it in a second */
    WHILE_PATIENT (atomic_load(&fx_store(fx)->scrub_rounds) < 1)
        cairn_loop_turn(&fx->loop, CAIRN_NS_PER_S);
    assert_true(cairn_env_now_ns(&fx->loop.env) - began >= CAIRN_NS_PER_S / 2);
    assert_true(fx->loop.sleeps - sleeps < N / 10);
    scrub_stop(fx);
}

/* The segment's reads fail, or do so no longer. */
static void segment_reads(struct fixture *fx, bool fail)
{
    char path[128];

    snprintf(path, sizeof(path), "%s/seg-00000", fx->dir);
    fx_replace_fd(file_of(fx_store(fx))->segments[0]->fd, path, fail ? O_WRONLY : O_RDWR);
}

/* An error of the disk that passes is no damage, in whatever round it comes; one that stays is. */
static void an_error_that_passes_does_not_quarantine(void **state)
{
    enum { LEN = 2 * FX_CHUNK };
    struct fixture *fx = *state;
    uint8_t *bytes = malloc(LEN), *got = malloc(LEN);
    uint64_t id, n;

    fx_fill(bytes, LEN, 1);
    assert_int_equal(
        fx_put(fx, &(struct fx_write){ .len = LEN, .bytes = bytes, .bulk = true, .durability = SYNC }, &id), 0);
    scrub_start(fx, FAST);
    for (int i = 0; i < 2; i++) { /* a good round in between makes the first error forgotten */
        segment_reads(fx, true);
        scrub_rounds(fx, 1);
        segment_reads(fx, false);
        scrub_rounds(fx, 1);
        assert_int_equal(atomic_load(&fx_store(fx)->table.quarantined), 0);
        assert_int_equal(fx_read(fx, id, 0, LEN, got, true, true, &n), 0);
    }
    segment_reads(fx, true);
    WHILE_PATIENT (atomic_load(&fx_store(fx)->table.quarantined) == 0) /* one that has begun may have been there before */
        scrub_rounds(fx, 1);
    assert_int_equal(atomic_load(&fx_store(fx)->table.quarantined), 1);
    scrub_stop(fx);
    segment_reads(fx, false);
    free(bytes);
    free(got);
}

/* A piece that was read wrong once, and right the next time, is right. */
static void a_wrong_read_does_not_quarantine(void **state)
{
    struct fixture *fx = *state;
    uint8_t bytes[FX_CHUNK];
    struct cairn_extent_region *r;
    uint64_t id, read;

    fx_fill(bytes, FX_CHUNK, 1);
    assert_int_equal(fx_put(fx, &(struct fx_write){ .len = FX_CHUNK, .bytes = bytes }, &id), 0);
    r = cairn_extent_table_find(&fx_store(fx)->table, id);
    ((uint8_t *)r->mem)[5] ^= 1;
    scrub_start(fx, FAST);
    WHILE_PATIENT ((read = atomic_load(&fx_store(fx)->scrub_bytes)) == 0)
        cairn_loop_turn(&fx->loop, CAIRN_NS_PER_MS);
    assert_int_equal(read, FX_CHUNK);
    ((uint8_t *)r->mem)[5] ^= 1;
    cairn_extent_region_put(r);
    scrub_rounds(fx, 1);
    assert_int_equal(atomic_load(&fx_store(fx)->table.quarantined), 0);
    assert_int_equal(atomic_load(&fx_store(fx)->scrub_regions), 1);
    scrub_stop(fx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON(the_scrub_finds_what_nobody_reads, file),        ON(the_scrub_finds_what_nobody_reads, pmem),
        ON(the_scrub_finds_what_nobody_reads, memory),      ON(the_scrub_lets_the_node_sleep, memory),
        ON(an_error_that_passes_does_not_quarantine, file), ON(a_wrong_read_does_not_quarantine, memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
