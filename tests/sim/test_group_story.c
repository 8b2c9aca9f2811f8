/* Stories of a group: what happens to it, and what its members then believe. */
#include "sdk/join/ranks.h"
#include "tests/sim/group_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#define ALIVE CAIRN_SWIM_ALIVE
#define DEAD  CAIRN_SWIM_DEAD
#define LEFT  CAIRN_SWIM_LEFT
#define NONE  CAIRN_SWIM_NONE

static struct group_world *group(uint32_t nodes, uint32_t observers, bool stands)
{
    struct group_world_conf conf = {
        .net = { .seed = 7, .nodes = nodes, .latency_ns = 100000, .jitter_ns = 400000 },
        .swim = cairn_swim_conf_default,
        .observers = observers,
        .stands = stands,
    };

    return group_world_new(&conf);
}

static void assert_agrees(const struct group_world *gw)
{
    char why[128];

    group_world_check(gw);
    if (!group_world_agrees(gw, why))
        fail_msg("%s", why);
}

/* How often the machines of node @i went from one state to another: "PINGED -> ASKED". */
static uint32_t moves(const struct group_world *gw, uint32_t i, const char *move)
{
    static char text[256 << 10];
    int fd = memfd_create("moves", 0);
    uint32_t n = 0;
    ssize_t len;

    cairn_sm_set_dump(gw->nodes[i].machines, fd);
    len = pread(fd, text, sizeof(text) - 1, 0);
    close(fd);
    assert_true(len >= 0);
    text[len] = '\0';
    for (const char *at = text; (at = strstr(at, move)) != NULL; at++)
        n++;
    return n;
}

static void members_join_by_any_member(void **state)
{
    struct group_world *gw = group(5, 0, false);

    (void)state;
    group_world_start(gw, 0, 0);
    group_world_start(gw, 1, 0);
    group_world_start(gw, 2, 1);
    group_world_run_ms(gw, 1000);
    group_world_start(gw, 3, 2);
    group_world_start(gw, 4, 3); /* which has no answer for it before it knows others itself */
    group_world_run_ms(gw, 1000);
    assert_agrees(gw);
    assert_int_equal(gw->events[CAIRN_SWIM_EV_SYNCED], 4);
    group_world_free(gw);
}

/* Two who name each other as the way in, and nobody is there before them. */
static void members_that_start_together_find_each_other(void **state)
{
    struct group_world *gw = group(2, 0, false);

    (void)state;
    group_world_start(gw, 0, 1);
    group_world_run_ms(gw, 3000);
    group_world_start(gw, 1, 0);
    group_world_run_ms(gw, 1000);
    assert_agrees(gw);
    group_world_free(gw);
}

/* Of sixteen addresses one is of a member: it is met in the first round, within five seconds. */
static void old_addresses_do_not_hold_up_a_join(void **state)
{
    struct group_world *gw = group(20, 0, false);
    struct cairn_swim_addr seeds[CAIRN_SWIM_SEEDS_MAX];
    struct cairn_swim_desc d;

    (void)state;
    group_world_start(gw, 0, 0);
    group_world_start(gw, 1, 1);
    for (uint32_t i = 0; i < CAIRN_SWIM_SEEDS_MAX; i++) {
        group_world_desc(i == 7 ? 0 : i + 2, &d);
        seeds[i] = d.addr;
    }
    group_world_input(
        gw, 1, &(struct cairn_swim_in){ .type = CAIRN_SWIM_SEEDS, .seeds = seeds, .nseeds = CAIRN_SWIM_SEEDS_MAX });
    group_world_run_ms(gw, 5500);
    assert_agrees(gw);
    group_world_free(gw);
}

static void a_killed_member_is_found_by_all(void **state)
{
    struct group_world *gw = group(5, 0, true);

    (void)state;
    group_world_run_ms(gw, 3000);
    group_world_watch_death(gw, 2);
    group_world_run_ms(gw, 4000);
    assert_agrees(gw);
    assert_int_equal(gw->learned, 4);
    assert_int_equal(gw->false_deaths, 0);
    group_world_free(gw);
}

static void a_member_comes_back_with_a_higher_incarnation(void **state)
{
    struct group_world *gw = group(3, 0, true);
    uint64_t first = gw->nodes[1].life;

    (void)state;
    group_world_kill(gw, 1);
    group_world_run_ms(gw, 4000);
    assert_int_equal(group_world_view(gw, 0, 1), DEAD);
    group_world_start(gw, 1, 2);
    group_world_run_ms(gw, 1000);
    assert_agrees(gw);
    assert_true(gw->nodes[0].core.views[cairn_swim_dir_find(&gw->nodes[0].dir, gw->nodes[1].core.id)].incarnation >
                first);
    group_world_free(gw);
}

/* So fast that nobody had noticed: the same address may have its name back at once. */
static void a_quick_restart_needs_no_death(void **state)
{
    struct group_world *gw = group(3, 0, true);

    (void)state;
    group_world_run_ms(gw, 1000);
    group_world_kill(gw, 1);
    group_world_start(gw, 1, 2);
    group_world_run_ms(gw, 3000);
    assert_agrees(gw);
    assert_int_equal(gw->events[CAIRN_SWIM_EV_DIED], 0);
    group_world_free(gw);
}

static void who_leaves_is_not_suspected(void **state)
{
    struct group_world *gw = group(5, 0, true);

    (void)state;
    group_world_run_ms(gw, 1000);
    group_world_leave(gw, 3);
    group_world_run_ms(gw, 600);
    group_world_kill(gw, 3);
    group_world_run_ms(gw, 5000);
    for (uint32_t i = 0; i < 5; i++)
        assert_int_equal(group_world_view(gw, i, 3), i == 3 ? group_world_view(gw, 3, 3) : LEFT);
    assert_int_equal(gw->suspicions, 0);
    group_world_free(gw);
}

/* A peer cut off from one member alone is vouched for by the others, and stays alive. */
static void an_indirect_ping_saves_a_peer(void **state)
{
    struct group_world *gw = group(4, 0, true);

    (void)state;
    group_world_run_ms(gw, 1000);
    world_cut(gw->world, 0, 1);
    group_world_run_ms(gw, 20000);
    assert_true(gw->nodes[0].core.counts.probes_saved >= 5);
    assert_true(moves(gw, 0, "PINGED -> ASKED") >= 5);
    assert_true(moves(gw, 0, "ASKED -> ANSWERED") >= 5);
    assert_int_equal(moves(gw, 0, "-> SILENT"), 0);
    assert_int_equal(gw->suspicions, 0);
    group_world_free(gw);
}

/* A member that does not run for a second is suspected, hears of it with the first ping, and contradicts. */
static void a_suspect_contradicts(void **state)
{
    struct group_world *gw = group(5, 0, true);

    (void)state;
    group_world_run_ms(gw, 1000);
    world_stall(gw->world, 4, 1000 * CAIRN_NS_PER_MS);
    group_world_run_ms(gw, 5000);
    assert_true(gw->suspicions > 0);
    assert_true(gw->events[CAIRN_SWIM_EV_ACCUSED] > 0);
    assert_true(gw->events[CAIRN_SWIM_EV_CLEARED] > 0);
    assert_int_equal(gw->events[CAIRN_SWIM_EV_DIED], 0);
    assert_agrees(gw);
    group_world_free(gw);
}

/* One that slept for long wakes with timers that are all over: nobody else dies of it. */
static void who_did_not_run_does_not_judge(void **state)
{
    struct group_world *gw = group(5, 0, true);

    (void)state;
    for (uint32_t round = 0; round < 10; round++) {
        group_world_run_ms(gw, 1000 + 37 * round);
        world_stall(gw->world, 4, 20000 * CAIRN_NS_PER_MS);
        group_world_run_ms(gw, 30000);
        for (uint32_t i = 0; i < 4; i++)
            assert_int_equal(group_world_view(gw, 4, i), ALIVE);
    }
    assert_agrees(gw);
    assert_true(gw->nodes[4].core.counts.stalled_ms > 100000);
    assert_int_equal(gw->nodes[4].core.counts.deaths, 0);
    group_world_free(gw);
}

static void partitions_heal(void **state)
{
    struct group_world *gw = group(6, 0, true);

    (void)state;
    for (uint32_t i = 3; i < 6; i++)
        world_side(gw->world, i, 1);
    group_world_run_ms(gw, 20000);
    for (uint32_t i = 0; i < 6; i++)
        for (uint32_t j = 0; j < 6; j++)
            assert_int_equal(group_world_view(gw, i, j), i / 3 == j / 3 ? ALIVE : DEAD);
    world_heal(gw->world);
    group_world_run_ms(gw, 10000);
    assert_agrees(gw);
    group_world_free(gw);
}

/* Two pairs that never met; one of each is the other's way in, later. */
static void two_pairs_meet(bool urgent, uint64_t within_ms)
{
    struct group_world *gw = group(4, 0, false);
    struct cairn_swim_desc d;

    group_world_start(gw, 0, 0);
    group_world_start(gw, 1, 0);
    group_world_start(gw, 2, 2);
    group_world_start(gw, 3, 2);
    group_world_run_ms(gw, 10000);
    assert_int_equal(group_world_view(gw, 0, 2), NONE);
    group_world_desc(3, &d);
    group_world_input(
        gw, 1, &(struct cairn_swim_in){ .type = CAIRN_SWIM_SEEDS, .seeds = &d.addr, .nseeds = 1, .urgent = urgent });
    group_world_run_ms(gw, within_ms);
    assert_agrees(gw);
    group_world_free(gw);
}

static void groups_that_meet_become_one(void **state)
{
    (void)state;
    two_pairs_meet(false, 100000);
    two_pairs_meet(true, 1000); /* it was told so just now */
}

/* An observer is in nobody's view, sees all that happens, and goes on when the member it follows dies. */
static void observers_see_and_are_not_seen(void **state)
{
    struct group_world *gw = group(5, 1, true);
    uint32_t followed;

    (void)state;
    group_world_start(gw, 4, 0);
    group_world_run_ms(gw, 1500);
    assert_agrees(gw);
    assert_int_equal(group_world_view(gw, 0, 4), NONE);
    assert_int_equal(cairn_swim_size(&gw->nodes[0].core), 4);
    memcpy(&followed, gw->nodes[4].core.join.at.ip, sizeof(followed));
    group_world_kill(gw, followed);
    group_world_run_ms(gw, 6000);
    assert_agrees(gw);
    assert_int_equal(group_world_view(gw, 4, followed), DEAD);
    world_side(gw->world, 4, 1); /* cut off, it judges nobody */
    group_world_run_ms(gw, 10000);
    assert_int_equal(group_world_view(gw, 4, (followed + 1) % 4), ALIVE);
    group_world_free(gw);
}

/* A job's ranks start at once and ask those 1, 2, 4, 8 ... ahead, who know no more than they do. Returns how long it
 * took until all knew all. */
static uint32_t ranks_meet(uint64_t seed, uint32_t ranks)
{
    struct group_world_conf conf = { .net = { .seed = seed, .nodes = ranks, .latency_ns = 100000, .jitter_ns = 400000 },
                                     .swim = cairn_swim_conf_default };
    struct group_world *gw = group_world_new(&conf);
    char why[128];
    uint32_t ms = 0;

    for (uint32_t i = 0; i < ranks; i++)
        group_world_start(gw, i, i);
    for (uint32_t i = 0; i < ranks; i++) {
        uint32_t ahead[CAIRN_RANKS_SEEDS_MAX], n = cairn_ranks_seeds(i, ranks, ahead);
        struct cairn_swim_addr seeds[CAIRN_RANKS_SEEDS_MAX];
        struct cairn_swim_desc d;

        for (uint32_t k = 0; k < n; k++) {
            group_world_desc(ahead[k], &d);
            seeds[k] = d.addr;
        }
        group_world_input(
            gw, i, &(struct cairn_swim_in){ .type = CAIRN_SWIM_SEEDS, .seeds = seeds, .nseeds = n, .urgent = true });
    }
    for (; ms < 100000 && !group_world_agrees(gw, why); ms += 100)
        group_world_run_ms(gw, 100);
    assert_agrees(gw);
    assert_int_equal(gw->false_deaths, 0);
    group_world_free(gw);
    return ms;
}

static void ranks_of_a_job_become_one_group(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 10; seed++)
        assert_in_range(ranks_meet(seed, 150), 0, 4000);
}

/* What nobody remembers is gone from an observer's view, too. */
static void observers_forget(void **state)
{
    struct group_world_conf conf = { .net = { .seed = 7, .nodes = 5, .latency_ns = 100000, .jitter_ns = 400000 },
                                     .swim = cairn_swim_conf_default,
                                     .observers = 1,
                                     .stands = true };
    struct group_world *gw;

    (void)state;
    conf.swim.forget_ms = 20000;
    gw = group_world_new(&conf);
    group_world_start(gw, 4, 0);
    group_world_run_ms(gw, 1000);
    group_world_kill(gw, 2);
    group_world_run_ms(gw, 8000);
    assert_int_equal(group_world_view(gw, 4, 2), DEAD);
    group_world_run_ms(gw, 40000);
    for (uint32_t i = 0; i < 5; i++)
        assert_int_equal(i == 2 ? NONE : group_world_view(gw, i, 2), NONE);
    group_world_free(gw);
}

static const struct cairn_swim_view *view(const struct group_world *gw, uint32_t i, uint32_t j)
{
    const struct group_node *x = &gw->nodes[i];

    return &x->core.views[cairn_swim_dir_find(x->core.dir, gw->nodes[j].core.id)];
}

static void load_and_attributes_spread(void **state)
{
    struct group_world *gw = group(6, 1, true);
    struct cairn_swim_desc d;
    uint32_t slot;

    (void)state;
    group_world_start(gw, 5, 0);
    group_world_run_ms(gw, 1000);
    group_world_input(gw, 2, &(struct cairn_swim_in){ .type = CAIRN_SWIM_LOAD, .load = 700 });
    group_world_desc(2, &d);
    d.weight = 50;
    strcpy(d.zone, "elsewhere");
    group_world_input(gw, 2, &(struct cairn_swim_in){ .type = CAIRN_SWIM_SET, .desc = &d });
    group_world_run_ms(gw, 10000);
    for (uint32_t i = 0; i < 6; i++) {
        slot = cairn_swim_dir_find(&gw->nodes[i].dir, gw->nodes[2].core.id);
        assert_int_equal(view(gw, i, 2)->load, 700);
        assert_int_equal(gw->nodes[i].dir.descs[slot].weight, 50);
        assert_string_equal(gw->nodes[i].dir.descs[slot].zone, "elsewhere");
    }
    assert_int_equal(gw->events[CAIRN_SWIM_EV_UPDATED], 6);
    group_world_free(gw);
}

/* A network that duplicates, reorders and delays, clocks a percent apart and hours ahead: nobody dies of it. */
static void a_bad_network_kills_nobody(void **state)
{
    struct group_world *gw = group(8, 0, true);
    struct world_conf *net = world_conf(gw->world);

    (void)state;
    net->twice_ppm = 50000;
    net->loss_ppm = 50000;
    net->jitter_ns = 20 * CAIRN_NS_PER_MS;
    net->straggler_ppm = 20000;
    net->straggler_ns = 2000 * CAIRN_NS_PER_MS;
    for (uint32_t i = 0; i < 8; i++)
        world_clock(gw->world, i, i * 3600 * CAIRN_NS_PER_S, (int32_t)i * 2500 - 10000);
    group_world_run_ms(gw, 600 * 1000);
    assert_int_equal(gw->false_deaths, 0);
    group_world_free(gw);
}

/* News are few and old ones are not repeated for ever: a quiet group says the same whatever its size. */
static void a_quiet_group_costs_the_same_whatever_its_size(void **state)
{
    uint64_t bytes[2];

    (void)state;
    for (uint32_t k = 0; k < 2; k++) {
        uint32_t n = k == 0 ? 16 : 256;
        struct group_world *gw = group(n, 0, true);
        uint64_t before;

        group_world_run_ms(gw, 10000);
        before = world_counts(gw->world)->bytes;
        group_world_run_ms(gw, 60000);
        bytes[k] = (world_counts(gw->world)->bytes - before) / n;
        group_world_free(gw);
    }
    assert_true(bytes[1] < bytes[0] * 11 / 10); /* names are a little longer */
}

static void equal_seeds_give_equal_runs(void **state)
{
    uint64_t trace[3];

    (void)state;
    for (uint32_t k = 0; k < 3; k++) {
        struct group_world *gw = group(6, 0, true);

        if (k == 2)
            world_random(gw->world); /* one throw of the dice more */
        world_conf(gw->world)->loss_ppm = 100000;
        group_world_run_ms(gw, 5000);
        group_world_kill(gw, 2);
        group_world_run_ms(gw, 5000);
        trace[k] = world_counts(gw->world)->trace;
        group_world_free(gw);
    }
    assert_true(trace[0] == trace[1]);
    assert_true(trace[0] != trace[2]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(members_join_by_any_member),
        cmocka_unit_test(members_that_start_together_find_each_other),
        cmocka_unit_test(old_addresses_do_not_hold_up_a_join),
        cmocka_unit_test(a_killed_member_is_found_by_all),
        cmocka_unit_test(a_member_comes_back_with_a_higher_incarnation),
        cmocka_unit_test(a_quick_restart_needs_no_death),
        cmocka_unit_test(who_leaves_is_not_suspected),
        cmocka_unit_test(an_indirect_ping_saves_a_peer),
        cmocka_unit_test(a_suspect_contradicts),
        cmocka_unit_test(who_did_not_run_does_not_judge),
        cmocka_unit_test(partitions_heal),
        cmocka_unit_test(groups_that_meet_become_one),
        cmocka_unit_test(ranks_of_a_job_become_one_group),
        cmocka_unit_test(observers_see_and_are_not_seen),
        cmocka_unit_test(observers_forget),
        cmocka_unit_test(load_and_attributes_spread),
        cmocka_unit_test(a_bad_network_kills_nobody),
        cmocka_unit_test(a_quiet_group_costs_the_same_whatever_its_size),
        cmocka_unit_test(equal_seeds_give_equal_runs),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
