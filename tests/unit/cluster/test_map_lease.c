/* A kept lease in virtual time: how long it is valid, whatever becomes of its messages. */
#include "server/cluster/map_lease.h"
#include "tests/lib/sim_map.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { TTL_MS = 2000, MARGIN_MS = 4 + 50 };

struct world {
    struct vtime v;
    struct sim_map *map;
    struct cairn_map_store *store;
    struct cairn_map_lease lease;
    char story[256];
};

static void on_changed(struct cairn_map_lease *l)
{
    struct world *w = l->arg;

    strcat(w->story, cairn_sm_state_name(&l->sm));
    strcat(w->story, " ");
}

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof(*w));

    assert_non_null(w);
    vtime_init(&w->v, 11);
    w->map = sim_map_new(&w->v);
    sim_map_delay(w->map, 10, 0);
    w->store = sim_map_open(w->map);
    w->lease = (struct cairn_map_lease){ .store = w->store, .ttl_ms = TTL_MS, .changed = on_changed, .arg = w };
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;

    vtime_run_ms(&w->v, 60000);
    cairn_map_store_close(w->store);
    sim_map_free(w->map);
    vtime_fini(&w->v);
    free(w);
    return 0;
}

static void it_lasts_while_the_store_answers(void **state)
{
    struct world *w = *state;

    cairn_map_lease_start(&w->lease);
    assert_false(cairn_map_lease_is_valid(&w->lease));
    for (int i = 0; i < 100; i++) {
        vtime_run_ms(&w->v, 100);
        assert_true(cairn_map_lease_is_valid(&w->lease));
    }
    assert_string_equal(w->story, "HELD ");
    cairn_map_lease_release(&w->lease);
    assert_false(cairn_map_lease_is_valid(&w->lease)); /* at once */
    vtime_run_ms(&w->v, 100);
    assert_string_equal(w->story, "HELD RELEASED ");
}

/* Counted from the sending of what was answered, not from the answer. */
static void validity_is_counted_from_sending(void **state)
{
    struct world *w = *state;
    uint64_t sent;

    sim_map_delay(w->map, 250, 0);
    vtime_run_ms(&w->v, 1000);
    sent = w->v.now_ns;
    cairn_map_lease_start(&w->lease);
    vtime_run_ms(&w->v, 499);
    assert_false(cairn_map_lease_is_valid(&w->lease));
    sim_map_lose(w->store, 2, 0); /* the first renewal, and its repetition */
    vtime_run_ms(&w->v, 2);
    assert_true(cairn_map_lease_is_valid(&w->lease));
    assert_int_equal(w->lease.valid_until_ns, sent + (TTL_MS - MARGIN_MS) * CAIRN_NS_PER_MS);
    vtime_run_ms(&w->v, TTL_MS - MARGIN_MS - 501 - 1);
    assert_true(cairn_map_lease_is_valid(&w->lease));
    vtime_run_ms(&w->v, 1);
    assert_false(cairn_map_lease_is_valid(&w->lease));
    assert_string_equal(w->story, "HELD LAPSED "); /* a request is still under way */
    vtime_run_ms(&w->v, TTL_MS);
    assert_string_equal(w->story, "HELD LAPSED LOST ");
}

static void lost_answers_are_made_up_for(void **state)
{
    struct world *w = *state;

    cairn_map_lease_start(&w->lease);
    vtime_run_ms(&w->v, 400);
    for (int i = 0; i < 10; i++) {
        sim_map_lose(w->store, i % 2 == 1, i % 2 == 0);
        vtime_run_ms(&w->v, 1500);
        assert_true(cairn_map_lease_is_valid(&w->lease));
    }
    assert_string_equal(w->story, "HELD ");
    cairn_map_lease_release(&w->lease);
}

static void refused_it_is_lost(void **state)
{
    struct world *w = *state;

    sim_map_refuse(w->store, true);
    cairn_map_lease_start(&w->lease);
    vtime_run_ms(&w->v, 100);
    assert_string_equal(w->story, "LOST ");
    assert_int_equal(w->lease.err.code, CAIRN_E_UNREACHABLE);
    assert_int_equal(w->lease.sm.rc, CAIRN_E_UNREACHABLE);
    sim_map_refuse(w->store, false);
    cairn_map_lease_start(&w->lease); /* the same memory again */
    vtime_run_ms(&w->v, 100);
    assert_string_equal(w->story, "LOST HELD ");
    sim_map_refuse(w->store, true);
    vtime_run_ms(&w->v, TTL_MS);
    assert_string_equal(w->story, "LOST HELD LOST ");
}

/* Given up before it was granted, it is given back all the same. */
static void released_in_each_state(void **state)
{
    struct world *w = *state;

    cairn_map_lease_start(&w->lease);
    cairn_map_lease_release(&w->lease);
    vtime_run_ms(&w->v, 100);
    assert_string_equal(w->story, "RELEASED ");
    w->story[0] = '\0';
    cairn_map_lease_start(&w->lease);
    vtime_run_ms(&w->v, 505); /* a renewal is under way */
    assert_true(w->lease.asking);
    cairn_map_lease_release(&w->lease);
    assert_false(cairn_map_lease_is_valid(&w->lease));
    vtime_run_ms(&w->v, 100);
    assert_string_equal(w->story, "HELD RELEASED ");
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(it_lasts_while_the_store_answers), CASE(validity_is_counted_from_sending),
        CASE(lost_answers_are_made_up_for),     CASE(refused_it_is_lost),
        CASE(released_in_each_state),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
