/* The real loop: posts from other threads, timers, sleeping. */
#include "sdk/core/loop/loop.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

enum { THREADS = 4, POSTS = 20000 };

struct counter {
    struct cairn_loop *loop;
    struct cairn_task tasks[POSTS];
    uint32_t *ran;
};

static void on_post(void *arg)
{
    ++*(uint32_t *)arg;
}

static void *post_all(void *arg)
{
    struct counter *c = arg;

    for (int i = 0; i < POSTS; i++)
        cairn_loop_post(c->loop, &c->tasks[i]);
    return NULL;
}

/* Every post of every thread runs, however it meets the loop falling asleep. */
static void posts_are_never_lost(void **state)
{
    static struct counter c[THREADS];
    struct cairn_loop loop;
    pthread_t threads[THREADS];
    uint32_t ran = 0;

    (void)state;
    assert_int_equal(cairn_loop_init(&loop, NULL, NULL), 0);
    for (int t = 0; t < THREADS; t++) {
        c[t].loop = &loop;
        for (int i = 0; i < POSTS; i++)
            cairn_task_init(&c[t].tasks[i], on_post, &ran);
        assert_int_equal(pthread_create(&threads[t], NULL, post_all, &c[t]), 0);
    }
    while (ran < THREADS * POSTS)
        cairn_loop_turn(&loop, UINT64_MAX); /* a lost wake-up hangs here, and the test's time limit tells */
    for (int t = 0; t < THREADS; t++)
        pthread_join(threads[t], NULL);
    cairn_loop_fini(&loop);
}

struct alarm {
    struct cairn_loop *loop;
    struct cairn_timer timer;
    uint64_t at_ns;
    bool rang;
};

static void on_alarm(void *arg)
{
    struct alarm *a = arg;

    assert_true(cairn_env_now_ns(&a->loop->env) >= a->at_ns);
    a->rang = true;
}

static void a_timer_ends_the_sleep(void **state)
{
    struct cairn_loop loop;
    struct alarm a = { .loop = &loop };
    uint64_t turns;

    (void)state;
    assert_int_equal(cairn_loop_init(&loop, NULL, NULL), 0);
    cairn_timer_init(&a.timer, on_alarm, &a);
    a.at_ns = cairn_env_now_ns(&loop.env) + 20 * CAIRN_NS_PER_MS;
    cairn_timer_start(&loop.env, &a.timer, a.at_ns);
    turns = loop.turns;
    while (!a.rang)
        cairn_loop_turn(&loop, UINT64_MAX);
    assert_true(loop.turns - turns <= 3); /* it slept, it did not spin */
    cairn_loop_fini(&loop);
}

struct pipe_user {
    struct cairn_watch watch;
    int ready;
    bool free_in_callback;
};

static void on_pipe(void *arg, uint32_t what)
{
    struct pipe_user *u = arg;
    char c;

    assert_int_equal(what, CAIRN_WATCH_READ);
    assert_int_equal(read(u->watch.fd, &c, 1), 1);
    u->ready++;
    if (u->free_in_callback)
        cairn_watch_fini(&u->watch);
}

static void a_watch_may_end_in_its_own_callback(void **state)
{
    struct cairn_loop loop;
    struct pipe_user u = { 0 };
    int fds[2];

    (void)state;
    assert_int_equal(cairn_loop_init(&loop, NULL, NULL), 0);
    assert_int_equal(pipe(fds), 0);
    assert_int_equal(cairn_watch_init(&u.watch, &loop, fds[0], on_pipe, &u), 0);
    assert_int_equal(cairn_watch_arm(&u.watch, CAIRN_WATCH_READ), 0);
    assert_int_equal(write(fds[1], "ab", 2), 2);
    cairn_loop_turn(&loop, CAIRN_NS_PER_S);
    assert_int_equal(u.ready, 1);
    u.free_in_callback = true;
    cairn_loop_turn(&loop, CAIRN_NS_PER_S);
    assert_int_equal(u.ready, 2);
    assert_int_equal(write(fds[1], "c", 1), 1);
    cairn_loop_turn(&loop, 0);
    assert_int_equal(u.ready, 2);
    close(fds[0]);
    close(fds[1]);
    cairn_loop_fini(&loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(posts_are_never_lost),
        cmocka_unit_test(a_timer_ends_the_sleep),
        cmocka_unit_test(a_watch_may_end_in_its_own_callback),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
