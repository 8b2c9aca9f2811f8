/* Datagrams: bound, sent, received whole; what is too long, or sent to nobody, disturbs nothing. */
#include "sdk/core/net/dgram.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct fixture {
    struct cairn_loop loop;
    struct cairn_dgram a, b;
    struct cairn_addr at_a, at_b;
    uint32_t received;
    size_t last;
    uint8_t first;
};

static void on_packet(void *arg, const uint8_t *bytes, size_t len, const struct cairn_addr *from)
{
    struct fixture *fx = arg;

    assert_memory_equal(&from->ss, &fx->at_a.ss, fx->at_a.len);
    fx->received++;
    fx->last = len;
    fx->first = len > 0 ? bytes[0] : 0;
}

static int setup(void **state)
{
    struct fixture *fx = calloc(1, sizeof(*fx));
    struct cairn_err err = { 0 };

    assert_int_equal(cairn_loop_init(&fx->loop, NULL, NULL), 0);
    assert_int_equal(cairn_addr_parse_dgram("udp://127.0.0.1:0", &fx->at_a, &err), 0);
    fx->at_b = fx->at_a;
    assert_int_equal(cairn_dgram_open(&fx->a, &fx->at_a, &err), 0);
    assert_int_equal(cairn_dgram_open(&fx->b, &fx->at_b, &err), 0);
    assert_int_equal(cairn_dgram_start(&fx->b, &fx->loop, on_packet, fx, &err), 0);
    *state = fx;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fx = *state;

    cairn_dgram_close(&fx->a);
    cairn_dgram_close(&fx->b);
    cairn_dgram_close(&fx->b);
    cairn_loop_fini(&fx->loop);
    free(fx);
    return 0;
}

static void turn_until(struct fixture *fx, const uint64_t *count, uint64_t n)
{
    for (uint32_t i = 0; i < 1000 && *count < n; i++)
        cairn_loop_turn(&fx->loop, 10 * CAIRN_NS_PER_MS);
    assert_int_equal(*count, n);
}

static void packets_arrive_whole(void **state)
{
    struct fixture *fx = *state;
    uint8_t bytes[1400] = { 42 };

    for (uint32_t i = 0; i < 200; i++) /* more than a turn takes */
        cairn_dgram_send(&fx->a, &fx->at_b, bytes, sizeof(bytes));
    turn_until(fx, &fx->b.received, 200);
    assert_int_equal(fx->received, 200);
    assert_int_equal(fx->last, sizeof(bytes));
    assert_int_equal(fx->first, 42);
    cairn_dgram_send(&fx->a, &fx->at_b, bytes, 0);
    turn_until(fx, &fx->b.received, 201);
    assert_int_equal(fx->last, 0);
    assert_int_equal(fx->a.sent, 201);
}

static void on_timer(void *arg)
{
    ++*(uint32_t *)arg;
}

/* Whoever floods us holds up a turn for a bounded number of packets: then others have theirs. */
static void a_flood_leaves_turns_to_others(void **state)
{
    enum { FLOOD = 200, PER_TURN_MAX = 64 };
    struct fixture *fx = *state;
    struct cairn_timer timer;
    uint32_t fired = 0, before = 0, turns = 0;
    uint8_t byte = 42;

    for (uint32_t i = 0; i < FLOOD; i++)
        cairn_dgram_send(&fx->a, &fx->at_b, &byte, 1);
    cairn_timer_init(&timer, on_timer, &fired);
    assert_int_equal(cairn_timer_start(&fx->loop.env, &timer, cairn_loop_now(&fx->loop)), 0);
    for (; fx->received < FLOOD && turns < 1000; turns++) {
        cairn_loop_turn(&fx->loop, 10 * CAIRN_NS_PER_MS);
        assert_in_range(fx->received - before, 0, PER_TURN_MAX);
        before = fx->received;
        if (turns >= 1)
            assert_int_equal(fired, 1);
    }
    assert_int_equal(fx->received, FLOOD);
    assert_true(turns > 1);
    cairn_timer_stop(&fx->loop.env, &timer);
}

static void what_is_too_long_is_dropped(void **state)
{
    struct fixture *fx = *state;
    static uint8_t bytes[CAIRN_DGRAM_BYTES_MAX + 1];

    cairn_dgram_send(&fx->a, &fx->at_b, bytes, sizeof(bytes));
    turn_until(fx, &fx->b.oversized, 1);
    assert_int_equal(fx->received, 0);
    cairn_dgram_send(&fx->a, &fx->at_b, bytes, CAIRN_DGRAM_BYTES_MAX);
    turn_until(fx, &fx->b.received, 2);
    assert_int_equal(fx->received, 1);
}

/* The kernel tells of a refused packet with the next call: the next packet goes out all the same. */
static void who_is_not_there_costs_nothing(void **state)
{
    struct fixture *fx = *state;
    struct cairn_dgram c;
    struct cairn_addr nobody;
    uint8_t byte = 1;

    assert_int_equal(cairn_addr_parse_dgram("udp://127.0.0.1:0", &nobody, NULL), 0);
    assert_int_equal(cairn_dgram_open(&c, &nobody, NULL), 0);
    cairn_dgram_close(&c);
    for (uint32_t i = 0; i < 10; i++) {
        cairn_dgram_send(&fx->a, &nobody, &byte, 1);
        cairn_dgram_send(&fx->a, &fx->at_b, &byte, 1);
    }
    turn_until(fx, &fx->b.received, 10);
    assert_int_equal(fx->a.unsent, 0);
}

static void mistakes_are_plain(void **state)
{
    struct fixture *fx = *state;
    struct cairn_err err = { 0 };
    struct cairn_dgram c;
    struct cairn_addr a = fx->at_b;

    assert_int_equal(cairn_dgram_open(&c, &a, &err), CAIRN_E_LOCKED);
    assert_non_null(strstr(err.text, "udp://127.0.0.1:"));
    assert_int_equal(cairn_addr_parse_dgram("udp://192.0.2.1:7311", &a, &err), 0); /* TEST-NET-1: nobody's */
    assert_int_equal(cairn_dgram_open(&c, &a, &err), CAIRN_E_NOTFOUND);
    assert_int_equal(cairn_addr_parse_dgram("tcp://127.0.0.1:1", &a, &err), CAIRN_E_INVAL);
    assert_int_equal(cairn_addr_parse_dgram("udp://127.0.0.1", &a, &err), CAIRN_E_INVAL);
    assert_non_null(strstr(err.text, "udp://HOST:PORT"));
    assert_int_equal(cairn_addr_parse("udp://127.0.0.1:1", &a, &err), CAIRN_E_INVAL);
}

#define test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        test(packets_arrive_whole),        test(a_flood_leaves_turns_to_others),
        test(what_is_too_long_is_dropped), test(who_is_not_there_costs_nothing),
        test(mistakes_are_plain),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
