/* The world itself: faults are what they are called, and nothing else happens. */
#include "tests/sim/world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { NODES = 3, SEEN_MAX = 4096 };
#define MS CAIRN_NS_PER_MS

struct fixture {
    struct world *w;
    uint32_t n;
    struct {
        uint64_t at_ns;
        uint32_t to, from, what;
    } seen[SEEN_MAX];
    struct cairn_timer timer;
    uint32_t ticks;
};

static void on_packet(void *arg, uint32_t to, uint32_t from, const uint8_t *bytes, size_t len)
{
    struct fixture *fx = arg;

    assert_int_equal(len, 4);
    assert_true(fx->n < SEEN_MAX);
    fx->seen[fx->n].at_ns = world_now_ns(fx->w);
    fx->seen[fx->n].to = to;
    fx->seen[fx->n].from = from;
    memcpy(&fx->seen[fx->n++].what, bytes, 4);
}

static int setup(void **state)
{
    struct fixture *fx = calloc(1, sizeof(*fx));
    struct world_conf conf = { .seed = 5, .nodes = NODES, .latency_ns = MS, .deliver = on_packet, .arg = fx };

    fx->w = world_new(&conf);
    assert_non_null(fx->w);
    *state = fx;
    return 0;
}

static int teardown(void **state)
{
    world_free(((struct fixture *)*state)->w);
    free(*state);
    return 0;
}

static void send(struct fixture *fx, uint32_t from, uint32_t to, uint32_t what)
{
    world_send(fx->w, from, to, &what, sizeof(what));
}

static void run_ms(struct fixture *fx, uint64_t ms)
{
    world_run_until(fx->w, world_now_ns(fx->w) + ms * MS);
}

static void packets_take_their_time_and_keep_their_order(void **state)
{
    struct fixture *fx = *state;
    uint64_t began = world_now_ns(fx->w);

    for (uint32_t i = 0; i < 100; i++)
        send(fx, 0, 1, i);
    run_ms(fx, 10);
    assert_int_equal(fx->n, 100);
    for (uint32_t i = 0; i < 100; i++) {
        assert_int_equal(fx->seen[i].what, i);
        assert_true(fx->seen[i].at_ns == began + MS);
    }
}

static void jitter_changes_the_order(void **state)
{
    struct fixture *fx = *state;
    uint32_t turned = 0;

    world_conf(fx->w)->jitter_ns = 10 * MS;
    for (uint32_t i = 0; i < 100; i++)
        send(fx, 0, 1, i);
    run_ms(fx, 20);
    assert_int_equal(fx->n, 100);
    for (uint32_t i = 1; i < 100; i++)
        turned += fx->seen[i].what < fx->seen[i - 1].what;
    assert_true(turned > 20);
}

static void losses_and_copies_are_about_as_many_as_asked_for(void **state)
{
    struct fixture *fx = *state;

    world_conf(fx->w)->loss_ppm = 100000;
    world_conf(fx->w)->twice_ppm = 200000;
    for (uint32_t i = 0; i < 2000; i++)
        send(fx, 0, 1, i);
    run_ms(fx, 10);
    assert_in_range(world_counts(fx->w)->lost, 150, 250);
    assert_in_range(fx->n, 2000 - 250 + 280, 2000 - 150 + 440);
    assert_int_equal(world_counts(fx->w)->bytes, 8000);
}

static void cuts_are_of_one_direction_and_sides_of_both(void **state)
{
    struct fixture *fx = *state;

    world_cut(fx->w, 0, 1);
    send(fx, 0, 1, 1);
    send(fx, 1, 0, 2);
    send(fx, 0, 2, 3);
    run_ms(fx, 5);
    assert_int_equal(fx->n, 2);
    assert_int_equal(fx->seen[0].what, 2);
    assert_int_equal(fx->seen[1].what, 3);
    world_side(fx->w, 2, 1);
    send(fx, 0, 2, 4);
    send(fx, 2, 0, 5);
    run_ms(fx, 5);
    assert_int_equal(fx->n, 2);
    world_heal(fx->w);
    send(fx, 0, 1, 6);
    send(fx, 2, 0, 7);
    run_ms(fx, 5);
    assert_int_equal(fx->n, 4);
}

/* Who of the three gets through to whom: a bit for each pair. */
static uint32_t heard(struct fixture *fx)
{
    uint32_t all = 0;

    fx->n = 0;
    for (uint32_t from = 0; from < NODES; from++) {
        for (uint32_t to = 0; to < NODES; to++)
            send(fx, from, to, 1U << (from * NODES + to));
    }
    run_ms(fx, 5);
    for (uint32_t i = 0; i < fx->n; i++)
        all |= fx->seen[i].what;
    return all & ~0421U; /* but for what one says to oneself */
}

/* Bits of heard(), by rows of who speaks. */
static void partitions_may_be_whole_one_way_or_partial(void **state)
{
    struct fixture *fx = *state;

    assert_int_equal(heard(fx), 0356);
    for (uint32_t i = 0; i < NODES; i++)
        world_side(fx->w, i, i);
    assert_int_equal(heard(fx), 0);
    assert_int_equal(world_counts(fx->w)->other_side, 6);
    world_hear(fx->w, 0, 1);
    assert_int_equal(heard(fx), 1U << 1);
    assert_int_equal(world_counts(fx->w)->cut_one_way, 1);
    world_hear(fx->w, 1, 0);
    world_hear(fx->w, 0, 2);
    world_hear(fx->w, 2, 0);
    assert_int_equal(heard(fx), 1U << 1 | 1U << 2 | 1U << 3 | 1U << 6);
    world_cut(fx->w, 1, 2);
    world_join(fx->w);
    assert_int_equal(heard(fx), 0356 & ~(1U << 5));
    world_side(fx->w, 0, 1); /* and nothing is left of who heard whom */
    assert_int_equal(heard(fx), 1U << 7);
    world_heal(fx->w);
    assert_int_equal(heard(fx), 0356);
}

static void on_tick(void *arg)
{
    struct fixture *fx = arg;
    struct cairn_env *env = world_env(fx->w, 1);

    fx->ticks++;
    cairn_timer_start(env, &fx->timer, cairn_env_now_ns(env) + 10 * MS);
}

static void start_ticking(struct fixture *fx)
{
    cairn_timer_init(&fx->timer, on_tick, fx);
    assert_int_equal(cairn_timer_start(world_env(fx->w, 1), &fx->timer, cairn_env_now_ns(world_env(fx->w, 1))), 0);
}

static void a_stalled_node_takes_up_where_it_was(void **state)
{
    struct fixture *fx = *state;

    start_ticking(fx);
    run_ms(fx, 95);
    assert_int_equal(fx->ticks, 10);
    world_stall(fx->w, 1, 100 * MS);
    for (uint32_t i = 0; i < 5; i++)
        send(fx, 0, 1, i);
    run_ms(fx, 90);
    assert_int_equal(fx->ticks, 10);
    assert_int_equal(fx->n, 0);
    run_ms(fx, 11);
    assert_int_equal(fx->n, 5);
    assert_int_equal(fx->seen[0].what, 0);
    assert_int_equal(fx->seen[4].what, 4);
    assert_int_equal(fx->ticks, 11); /* once, late */
}

static void a_crash_ends_timers_and_loses_packets(void **state)
{
    struct fixture *fx = *state;

    start_ticking(fx);
    run_ms(fx, 15);
    send(fx, 0, 1, 1);
    world_crash(fx->w, 1);
    assert_false(world_is_up(fx->w, 1));
    run_ms(fx, 100);
    assert_int_equal(fx->ticks, 2);
    assert_int_equal(fx->n, 0);
    world_restart(fx->w, 1);
    send(fx, 0, 1, 2);
    start_ticking(fx);
    run_ms(fx, 15);
    assert_int_equal(fx->n, 1);
    assert_int_equal(fx->ticks, 4);
}

/* A clock that runs fast gives a node more of its own seconds, and one that is ahead shows a later time. */
static void clocks_differ(void **state)
{
    struct fixture *fx = *state;
    uint64_t before = cairn_env_now_ns(world_env(fx->w, 1));

    world_clock(fx->w, 1, 3600 * CAIRN_NS_PER_S, 100000);
    assert_true(cairn_env_now_ns(world_env(fx->w, 1)) == before + 3600 * CAIRN_NS_PER_S);
    start_ticking(fx);
    run_ms(fx, 10000);
    assert_in_range(fx->ticks, 1095, 1101);
    assert_true(cairn_env_now_ns(world_env(fx->w, 0)) == world_now_ns(fx->w));
    world_clock(fx->w, 1, 0, -500000);
    run_ms(fx, 10000);
    assert_in_range(fx->ticks, 1095 + 495, 1101 + 501);
}

static void a_slow_node_is_late_with_everything(void **state)
{
    struct fixture *fx = *state;
    uint64_t latest = 0, began = world_now_ns(fx->w);

    world_slow(fx->w, 1, 100 * MS);
    start_ticking(fx);
    for (uint32_t i = 0; i < 100; i++)
        send(fx, 0, 1, i);
    run_ms(fx, 1000);
    assert_int_equal(fx->n, 100);
    for (uint32_t i = 0; i < 100; i++)
        latest = MAX(latest, fx->seen[i].at_ns - began);
    assert_in_range(latest, 80 * MS, 102 * MS);
    assert_in_range(fx->ticks, 10, 50); /* of a hundred */
}

#define test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        test(packets_take_their_time_and_keep_their_order),
        test(jitter_changes_the_order),
        test(losses_and_copies_are_about_as_many_as_asked_for),
        test(cuts_are_of_one_direction_and_sides_of_both),
        test(partitions_may_be_whole_one_way_or_partial),
        test(a_stalled_node_takes_up_where_it_was),
        test(a_crash_ends_timers_and_loses_packets),
        test(clocks_differ),
        test(a_slow_node_is_late_with_everything),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
