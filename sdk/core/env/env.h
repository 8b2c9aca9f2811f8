/** The world that protocol cores live in: clock, timers, randomness, later execution.
 *
 * Everything that decides takes its world from here, so the same code runs on a real loop (sdk/core/loop) and in the
 * simulator, where time is virtual and a seed replays a run. One env belongs to one thread. */
#ifndef CAIRN_CORE_ENV_H
#define CAIRN_CORE_ENV_H

#include "sdk/core/base/list.h"

#include <stdbool.h>
#include <stdint.h>

struct cairn_env;

/** A timer, held by its user; runs once per start. */
struct cairn_timer {
    uint64_t at_ns;
    uint32_t pos; /* in the heap, from 1; 0: not running */
    void (*fn)(void *arg);
    void *arg;
};

/** Something to be run later by the loop, held by its user; on at most one queue at a time. */
struct cairn_task {
    struct cairn_link link;
    void (*fn)(void *arg);
    void *arg;
};

struct cairn_env_ops {
    uint64_t (*now_ns)(struct cairn_env *env);
    uint64_t (*random)(struct cairn_env *env);
    void (*timers_changed)(struct cairn_env *env); /* the earliest timer moved */
};

/** Binary heap of timers by time; bounded only by the timers that exist, since they bring their own memory. */
struct cairn_timers {
    struct cairn_timer **heap; /* from 1 */
    uint32_t n, room;
};

struct cairn_env {
    const struct cairn_env_ops *ops;
    struct cairn_timers timers;
    struct cairn_link tasks; /* deferred, in order */
};

int cairn_env_init(struct cairn_env *env, const struct cairn_env_ops *ops);
void cairn_env_fini(struct cairn_env *env);

/** Monotonic nanoseconds (CLOCK_BOOTTIME where real); never goes back. */
static inline uint64_t cairn_env_now_ns(struct cairn_env *env)
{
    return env->ops->now_ns(env);
}

/** 64 unpredictable bits where real, seeded in the simulator. */
static inline uint64_t cairn_env_random(struct cairn_env *env)
{
    return env->ops->random(env);
}

void cairn_timer_init(struct cairn_timer *t, void (*fn)(void *arg), void *arg);
/** Runs the timer's function on the loop once @at_ns has come; a running timer is moved.
 * Returns 0, or CAIRN_E_NOMEM when the heap could not grow (then the timer is as it was). */
int cairn_timer_start(struct cairn_env *env, struct cairn_timer *t, uint64_t at_ns);
void cairn_timer_stop(struct cairn_env *env, struct cairn_timer *t);
static inline bool cairn_timer_is_running(const struct cairn_timer *t)
{
    return t->pos != 0;
}

void cairn_task_init(struct cairn_task *t, void (*fn)(void *arg), void *arg);
/** Runs @t->fn after the current callback has returned, before the loop sleeps; once per call, in order. A task that is
 * queued already stays where it is. */
void cairn_env_defer(struct cairn_env *env, struct cairn_task *t);
void cairn_task_cancel(struct cairn_task *t);

/* For those who implement an env. */

/** Time of the earliest timer; UINT64_MAX if none runs. */
uint64_t cairn_env_next_timer_ns(const struct cairn_env *env);
/** Runs the timers that are due at @now_ns, at most @max; true if some ran. */
bool cairn_env_run_timers(struct cairn_env *env, uint64_t now_ns, uint32_t max);
/** Runs the tasks that are queued now (not those that they queue); true if some ran. */
bool cairn_env_run_tasks(struct cairn_env *env);

#endif
