/* Elections over a simulated store: one at a time, soon again after a loss, and nothing changed by a deposed one. */
#include "server/cluster/election.h"
#include "tests/lib/sim_map.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { NODES = 5, TTL_MS = 2000, WALK_STEPS = 3000 };

struct node {
    struct cairn_map_store *store;
    struct cairn_election election;
    struct cairn_map_write write;
    struct cairn_map_change change;
    char name[8], key[16];
    uint64_t elected, deposed; /* how often */
    uint64_t fence;            /* as last told */
    bool ended, changing;
};

struct world {
    struct vtime v;
    struct sim_map *map;
    struct node nodes[NODES];
    uint64_t changes, refused, last_fence;
};

static struct world *world_of(struct node *n)
{
    return CONTAINER_OF((struct vtime *)CONTAINER_OF(n->store->home.env, struct vtime, env), struct world, v);
}

static void on_changed(struct cairn_election *e)
{
    struct node *n = e->arg;

    n->ended = cairn_sm_is_final(&e->sm);
    if (e->fence != 0) {
        n->elected++;
        assert_true(e->fence > world_of(n)->last_fence); /* fences grow */
        world_of(n)->last_fence = e->fence;
    } else if (n->fence != 0) {
        n->deposed++;
    }
    n->fence = e->fence;
}

static void node_start(struct node *n)
{
    n->ended = false;
    n->election = (struct cairn_election){ .store = n->store,
                                           .key = "coordinator",
                                           .value = (const uint8_t *)n->name,
                                           .value_len = (uint32_t)strlen(n->name),
                                           .ttl_ms = TTL_MS,
                                           .changed = on_changed,
                                           .arg = n };
    cairn_election_start(&n->election);
}

static int setup_seeded(void **state, uint64_t seed)
{
    struct world *w = calloc(1, sizeof(*w));

    assert_non_null(w);
    vtime_init(&w->v, seed);
    w->map = sim_map_new(&w->v);
    sim_map_delay(w->map, 1, 5);
    for (int i = 0; i < NODES; i++) {
        struct node *n = &w->nodes[i];

        snprintf(n->name, sizeof(n->name), "n%u", (unsigned)i % 10);
        n->store = sim_map_open(w->map);
        node_start(n);
    }
    *state = w;
    return 0;
}

static int setup(void **state)
{
    return setup_seeded(state, 7);
}

static int teardown(void **state)
{
    struct world *w = *state;

    for (int i = 0; i < NODES; i++) {
        sim_map_cut(w->nodes[i].store, false);
        sim_map_refuse(w->nodes[i].store, false);
        sim_map_lose(w->nodes[i].store, 0, 0);
        if (!w->nodes[i].ended)
            cairn_election_stop(&w->nodes[i].election);
    }
    vtime_run_ms(&w->v, 60000);
    for (int i = 0; i < NODES; i++) {
        assert_true(w->nodes[i].ended);
        cairn_map_store_close(w->nodes[i].store);
    }
    sim_map_free(w->map);
    vtime_fini(&w->v);
    free(w);
    return 0;
}

/* The one that may act now; NULL if none may. Fails if there are two. */
static struct node *elected(struct world *w)
{
    struct node *found = NULL;

    for (int i = 0; i < NODES; i++) {
        if (!w->nodes[i].ended && cairn_election_is_valid(&w->nodes[i].election)) {
            assert_null(found);
            found = &w->nodes[i];
        }
    }
    return found;
}

/* Runs until somebody else than @not is elected; how long it took. */
static uint64_t run_until_elected(struct world *w, const struct node * not, struct node **who)
{
    uint64_t begin = w->v.now_ns;

    while ((*who = elected(w)) == NULL || *who == not ) {
        vtime_run_ms(&w->v, 1);
        assert_true(w->v.now_ns - begin < 60 * CAIRN_NS_PER_S);
    }
    return (w->v.now_ns - begin) / CAIRN_NS_PER_MS;
}

static void one_is_elected_and_stays(void **state)
{
    struct world *w = *state;
    struct node *n;

    assert_true(run_until_elected(w, NULL, &n) < 300);
    for (int i = 0; i < 600; i++) {
        vtime_run_ms(&w->v, 100);
        assert_ptr_equal(elected(w), n);
    }
    for (int i = 0; i < NODES; i++) {
        struct node *other = &w->nodes[i];

        if (other == n)
            continue;
        assert_int_equal(other->election.sm.state, CAIRN_ELECTION_FOLLOWING);
        assert_memory_equal(other->election.holder->e.value, n->name, strlen(n->name)); /* everybody knows who */
        assert_int_equal(other->election.holder->e.created, n->election.fence);
        assert_int_equal(other->elected, 0);
    }
}

static void whoever_resigns_is_followed_at_once(void **state)
{
    struct world *w = *state;
    struct node *n, *next;

    run_until_elected(w, NULL, &n);
    cairn_election_stop(&n->election);
    assert_false(cairn_election_is_valid(&n->election)); /* from the call on */
    assert_false(n->ended);
    assert_true(run_until_elected(w, n, &next) < 300);
    vtime_run_ms(&w->v, 1000);
    assert_true(n->ended);
}

/* Who is cut off stops by its own clock, before anybody else may begin. */
static void whoever_is_cut_off_stops_first(void **state)
{
    struct world *w = *state;
    struct node *n, *next;

    run_until_elected(w, NULL, &n);
    vtime_run_ms(&w->v, 5000);
    sim_map_cut(n->store, true);
    assert_true(run_until_elected(w, n, &next) < TTL_MS + 500);
    assert_int_equal(n->deposed, 1);
    assert_int_equal(n->election.fence, 0);
    vtime_run_ms(&w->v, 10000);
    assert_ptr_equal(elected(w), next);
    sim_map_cut(n->store, false);
    vtime_run_ms(&w->v, 5000);
    assert_int_equal(n->election.sm.state, CAIRN_ELECTION_FOLLOWING); /* back, and content */
    assert_ptr_equal(elected(w), next);
}

static void all_but_one_go(struct world *w, const struct node *last)
{
    for (int i = 0; i < NODES; i++) {
        if (&w->nodes[i] != last)
            cairn_election_stop(&w->nodes[i].election);
    }
}

/* Who may not be elected leaves it to others, whoever of them goes; and is elected as soon as it may. */
static void whoever_is_barred_does_not_stand(void **state)
{
    struct world *w = *state;
    struct node *n, *last;

    run_until_elected(w, NULL, &n);
    last = n == &w->nodes[0] ? &w->nodes[1] : &w->nodes[0];
    last->election.barred = true;
    for (int i = 2; i < NODES; i++) { /* two are left then */
        cairn_election_stop(&n->election);
        run_until_elected(w, n, &n);
        assert_ptr_not_equal(n, last);
        vtime_run_ms(&w->v, TTL_MS);
    }
    all_but_one_go(w, last);
    for (int i = 0; i < CAIRN_ELECTION_BARRED_TERMS / 2 * TTL_MS / 100; i++) {
        vtime_run_ms(&w->v, 100);
        assert_ptr_not_equal(elected(w), last);
    }
    assert_int_equal(last->election.sm.state, CAIRN_ELECTION_PAUSING);
    last->election.barred = false;
    assert_true(run_until_elected(w, NULL, &n) < TTL_MS);
    assert_ptr_equal(n, last);
}

/* Where nobody else stands for long, whoever barred it may be gone as well: better it than nobody. */
static void a_bar_ends_when_nobody_else_stands(void **state)
{
    struct world *w = *state;
    struct node *n, *last;
    uint64_t took_ms;

    run_until_elected(w, NULL, &n);
    last = n == &w->nodes[0] ? &w->nodes[1] : &w->nodes[0];
    last->election.barred = true;
    all_but_one_go(w, last);
    took_ms = run_until_elected(w, n, &n);
    assert_ptr_equal(n, last);
    assert_in_range(took_ms, CAIRN_ELECTION_BARRED_TERMS * TTL_MS, (CAIRN_ELECTION_BARRED_TERMS + 1) * TTL_MS);
}

static void on_change(struct cairn_map_op *op)
{
    *(bool *)op->arg = true;
}

/* A change that was on its way when its sender was deposed is refused by the store. */
static void a_late_change_of_a_deposed_one_is_refused(void **state)
{
    struct world *w = *state;
    struct cairn_map_write write = { .key = "slot", .value = (const uint8_t *)"1", .value_len = 1 };
    bool done = false;
    struct cairn_map_change c = { .op = { .done = on_change, .arg = &done }, .writes = &write, .nwrites = 1 };
    struct node *n, *next;

    run_until_elected(w, NULL, &n);
    assert_true(cairn_election_fence(&n->election, &c));
    sim_map_cut(n->store, true);
    run_until_elected(w, n, &next);
    sim_map_cut(n->store, false);
    vtime_run_ms(&w->v, 1000);
    assert_false(cairn_election_fence(&n->election, &c)); /* it knows by now; but as if it had sent then: */
    cairn_map_store_change(n->store, NULL, &c);
    vtime_run_ms(&w->v, 1000);
    assert_true(done);
    assert_int_equal(c.op.rc, CAIRN_E_DENIED);
    done = false;
    assert_true(cairn_election_fence(&next->election, &c));
    cairn_map_store_change(next->store, NULL, &c);
    vtime_run_ms(&w->v, 1000);
    assert_int_equal(c.op.rc, 0);
}

/* The claim's answer is lost: the candidate reads, and finds itself elected. */
static void an_unknown_claim_is_looked_up(void **state)
{
    struct world *w = *state;
    struct node *n = &w->nodes[0];
    uint64_t claim;

    for (int i = 1; i < NODES; i++)
        cairn_election_stop(&w->nodes[i].election);
    vtime_run_ms(&w->v, 0);
    while (n->election.sm.state != CAIRN_ELECTION_LEASING)
        vtime_turn(&w->v, UINT64_MAX);
    sim_map_lose(n->store, 0, 1); /* the lease is asked for already; next comes the claim */
    vtime_run_ms(&w->v, 1000);
    assert_int_equal(n->election.sm.state, CAIRN_ELECTION_CLAIMING);
    claim = sim_map_server_revision(w->map);
    vtime_run_ms(&w->v, 2000);
    assert_ptr_equal(elected(w), n);
    assert_int_equal(n->election.fence, claim);
}

static void an_erased_key_deposes(void **state)
{
    struct world *w = *state;
    struct cairn_map_write write = { .key = "coordinator" };
    bool done = false;
    struct cairn_map_change c = { .op = { .done = on_change, .arg = &done }, .writes = &write, .nwrites = 1 };
    struct node *n, *next;

    run_until_elected(w, NULL, &n);
    vtime_run_ms(&w->v, 1000);
    write.from = n->election.fence;
    cairn_map_store_change(w->nodes[0].store, NULL, &c);
    run_until_elected(w, NULL, &next);
    vtime_run_ms(&w->v, 1000);
    assert_int_equal(c.op.rc, 0);
    assert_int_equal(n->deposed, 1);
    assert_non_null(elected(w));
    assert_true(elected(w)->election.fence > write.from);
}

/* ---- long random walks ---- */

static void node_on_change(struct cairn_map_op *op)
{
    struct node *n = op->arg;
    struct world *w = world_of(n);

    n->changing = false;
    w->changes += op->rc == 0;
    w->refused += op->rc == CAIRN_E_DENIED;
}

/* The elected one writes a key of its own fence: who writes, and when it is carried out, must agree. */
static void node_acts(struct world *w, struct node *n)
{
    if (n->changing)
        return;
    snprintf(n->key, sizeof(n->key), "c%u", (unsigned)(cairn_env_random(&w->v.env) % 100000000));
    n->write = (struct cairn_map_write){ .key = n->key, .value = (const uint8_t *)"x", .value_len = 1 };
    n->change =
        (struct cairn_map_change){ .op = { .done = node_on_change, .arg = n }, .writes = &n->write, .nwrites = 1 };
    if (!cairn_election_fence(&n->election, &n->change))
        return;
    n->changing = true;
    cairn_map_store_change(n->store, NULL, &n->change);
}

static void walk(uint64_t seed)
{
    struct world *w;
    struct node *n;
    uint64_t last = 0;

    setup_seeded((void **)&w, seed);
    for (int step = 0; step < WALK_STEPS; step++) {
        n = &w->nodes[cairn_env_random(&w->v.env) % NODES];
        switch (cairn_env_random(&w->v.env) % 12) {
        case 0:
            sim_map_cut(n->store, true);
            break;
        case 1:
            sim_map_refuse(n->store, true);
            break;
        case 2:
            sim_map_lose(n->store, (uint32_t)(cairn_env_random(&w->v.env) % 2),
                         (uint32_t)(cairn_env_random(&w->v.env) % 3));
            break;
        case 3:
            sim_map_compact(w->map);
            break;
        case 4:
            sim_map_delay(w->map, cairn_env_random(&w->v.env) % 50, cairn_env_random(&w->v.env) % 400);
            break;
        case 5:
            if (n->ended)
                node_start(n);
            else if (!n->election.stopping && cairn_env_random(&w->v.env) % 4 == 0)
                cairn_election_stop(&n->election);
            break;
        default:
            sim_map_cut(n->store, false);
            sim_map_refuse(n->store, false);
            break;
        }
        for (uint64_t ms = cairn_env_random(&w->v.env) % 700; ms > 0; ms -= MIN(ms, 7U)) {
            vtime_run_ms(&w->v, MIN(ms, 7U));
            (void)elected(w); /* never two */
        }
        n = elected(w);
        if (n != NULL) {
            assert_true(n->election.fence >= last); /* who acts is never older than who acted */
            last = n->election.fence;
            node_acts(w, n);
        }
    }
    assert_true(w->changes > WALK_STEPS / 20);
    for (int i = 0; i < NODES; i++) {
        sim_map_cut(w->nodes[i].store, false);
        sim_map_refuse(w->nodes[i].store, false);
        sim_map_lose(w->nodes[i].store, 0, 0);
    }
    vtime_run_ms(&w->v, 20000);
    for (int i = 0; i < NODES; i++) {
        if (w->nodes[i].ended)
            node_start(&w->nodes[i]);
    }
    sim_map_delay(w->map, 1, 5);
    assert_true(run_until_elected(w, NULL, &n) < 10000); /* and at the end all is well again */
    teardown((void **)&w);
}

static void random_walks(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        print_message("seed %u\n", (unsigned)seed);
        walk(seed);
    }
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(one_is_elected_and_stays),       CASE(whoever_resigns_is_followed_at_once),
        CASE(whoever_is_cut_off_stops_first), CASE(a_late_change_of_a_deposed_one_is_refused),
        CASE(an_unknown_claim_is_looked_up),  CASE(whoever_is_barred_does_not_stand),
        CASE(an_erased_key_deposes),          CASE(a_bar_ends_when_nobody_else_stands),
        cmocka_unit_test(random_walks),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
