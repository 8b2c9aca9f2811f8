/* Timers and tasks in a world whose clock the test owns. */
#include "sdk/core/env/env.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { TIMERS = 500, STEPS = 20000 };

static uint64_t fake_now;

static uint64_t world_now(struct cairn_env *env)
{
    (void)env;
    return fake_now;
}

static const struct cairn_env_ops world_ops = { .now_ns = world_now };

struct watched {
    struct cairn_timer timer;
    uint64_t expected, ran;
};

static void on_timer(void *arg)
{
    struct watched *w = arg;

    assert_true(w->expected <= fake_now);
    w->ran++;
}

static uint32_t next_random(uint32_t *seed)
{
    *seed = *seed * 1664525 + 1013904223;
    return *seed >> 8;
}

/* Starts, moves, stops and time at random: each timer runs when, and only when, its time has come. */
static void timers_walk(void **state)
{
    static struct watched w[TIMERS];
    struct cairn_env env;
    uint32_t seed = 7;

    (void)state;
    fake_now = 1;
    assert_int_equal(cairn_env_init(&env, &world_ops), 0);
    for (int i = 0; i < TIMERS; i++)
        cairn_timer_init(&w[i].timer, on_timer, &w[i]);
    for (int step = 0; step < STEPS; step++) {
        struct watched *x = &w[next_random(&seed) % TIMERS];
        uint64_t earliest = UINT64_MAX;

        switch (next_random(&seed) % 4) {
        case 0:
        case 1:
            x->expected = fake_now + next_random(&seed) % 1000;
            assert_int_equal(cairn_timer_start(&env, &x->timer, x->expected), 0);
            break;
        case 2:
            cairn_timer_stop(&env, &x->timer);
            assert_false(cairn_timer_is_running(&x->timer));
            break;
        default:
            fake_now += next_random(&seed) % 50;
            while (cairn_env_run_timers(&env, fake_now, 3))
                ;
        }
        for (int i = 0; i < TIMERS; i++) {
            if (cairn_timer_is_running(&w[i].timer) && w[i].expected < earliest)
                earliest = w[i].expected;
        }
        assert_int_equal(cairn_env_next_timer_ns(&env), earliest);
    }
    cairn_env_fini(&env);
}

struct chain {
    struct cairn_env *env;
    struct cairn_task task, other;
    int ran, other_ran;
};

static void on_other(void *arg)
{
    ((struct chain *)arg)->other_ran++;
}

static void on_chain(void *arg)
{
    struct chain *c = arg;

    c->ran++;
    cairn_env_defer(c->env, &c->task); /* itself, again */
    cairn_env_defer(c->env, &c->other);
    cairn_env_defer(c->env, &c->other); /* twice is once */
}

/* A task that queues itself runs once a round: it cannot keep the loop for itself. */
static void tasks_run_in_rounds(void **state)
{
    struct cairn_env env;
    struct chain c = { .env = &env };

    (void)state;
    assert_int_equal(cairn_env_init(&env, &world_ops), 0);
    cairn_task_init(&c.task, on_chain, &c);
    cairn_task_init(&c.other, on_other, &c);
    cairn_env_defer(&env, &c.task);
    assert_true(cairn_env_run_tasks(&env));
    assert_int_equal(c.ran, 1);
    assert_int_equal(c.other_ran, 0);
    assert_true(cairn_env_run_tasks(&env));
    assert_int_equal(c.ran, 2);
    assert_int_equal(c.other_ran, 1);
    cairn_task_cancel(&c.task);
    cairn_task_cancel(&c.other);
    assert_false(cairn_env_run_tasks(&env));
    cairn_env_fini(&env);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(timers_walk), cmocka_unit_test(tasks_run_in_rounds) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
