/** The real env: one libevent loop on one thread. The only header through which the rest of Cairn reaches libevent.
 *
 * A turn is: sleep until a descriptor, a timer or a post comes (or not at all, while there is work), then descriptors,
 * timers, posts, deferred tasks until none is left, then the flush hooks. Own code drives the turns because completion
 * queues must agree before a sleep (FACTS: fi_trywait; libevent 2.1 has no prepare hook). Everything but
 * cairn_loop_post(), cairn_loop_wake() and cairn_loop_stop() is for the loop's own thread. */
#ifndef CAIRN_CORE_LOOP_H
#define CAIRN_CORE_LOOP_H

#include "sdk/core/base/err.h"
#include "sdk/core/env/env.h"
#include "sdk/core/sm/sm.h"

#include <pthread.h>
#include <stdatomic.h>

struct event;
struct event_base;

enum { CAIRN_WATCH_READ = 1, CAIRN_WATCH_WRITE = 2 };

/** A descriptor that is watched, level-triggered. Held by its user, who also owns the descriptor. */
struct cairn_watch {
    struct cairn_loop *loop;
    struct event *read, *write;
    int fd;
    uint32_t armed; /* CAIRN_WATCH_* */
    void (*fn)(void *arg, uint32_t ready);
    void *arg;
};

/** Called before each sleep and after each turn; held by its user. */
struct cairn_hook {
    struct cairn_link link;
    /** May be NULL. True: there is work that no descriptor announces, do not sleep. */
    bool (*before_sleep)(void *arg);
    /** May be NULL. Runs when a turn has no more tasks: the place to write what the turn produced, once. */
    void (*flush)(void *arg);
    void *arg;
};

struct cairn_loop_conf {
    uint32_t spin_us; /* poll this long for new events before sleeping; 0: sleep at once */
};

struct cairn_loop {
    struct cairn_env env;
    struct cairn_sm_set machines;
    struct cairn_loop_conf conf;
    struct event_base *base;
    struct cairn_watch wake, tick; /* tick ends a sleep for the earliest of our timers */
    uint64_t tick_ns;              /* when; 0: it is not armed */
    struct cairn_link hooks;
    pthread_mutex_t posted_mutex;
    struct cairn_link posted; /* under posted_mutex */
    atomic_bool has_posted, asleep, stop;
    uint64_t now_ns; /* of the turn: cairn_loop_now() */
    bool fresh;      /* now_ns was read since the last sleep */
    bool entered;    /* work was started between two turns: its output must leave before a sleep */
    uint32_t spin_luck, spins_skipped;
    uint64_t turns, sleeps;
    pthread_t thread;
};

int cairn_loop_init(struct cairn_loop *loop, const struct cairn_loop_conf *conf, struct cairn_err *err);
void cairn_loop_fini(struct cairn_loop *loop);

/** One turn; sleeps at most @max_ns (0: not at all, UINT64_MAX: as long as nothing comes). */
void cairn_loop_turn(struct cairn_loop *loop, uint64_t max_ns);
/** For whoever starts something between two turns, having just become the loop's thread or after a pause: reads the
 * clock, and the next turn runs the flush hooks before it sleeps. */
void cairn_loop_enter(struct cairn_loop *loop);
/** The loop's own thread: whether more descriptors wait for their part of this turn. */
bool cairn_loop_has_ready(const struct cairn_loop *loop);
/** Turns until cairn_loop_stop(). */
void cairn_loop_run(struct cairn_loop *loop);
/** Any thread, and signal handlers: cairn_loop_run() returns after the present turn. */
void cairn_loop_stop(struct cairn_loop *loop);
/** Any thread: ends the present sleep. */
void cairn_loop_wake(struct cairn_loop *loop);
/** Any thread: @t runs on the loop's thread. @t must be on no queue; it belongs to the loop until it runs. */
void cairn_loop_post(struct cairn_loop *loop, struct cairn_task *t);
/** The loop's own thread: takes back a task that was posted and may not have run yet. Who posted it is through with
 * it. */
void cairn_loop_unpost(struct cairn_loop *loop, struct cairn_task *t);

/** The clock as of the present turn; costs nothing. cairn_env_now_ns(&loop->env) reads the real one. */
static inline uint64_t cairn_loop_now(const struct cairn_loop *loop)
{
    return loop->now_ns;
}

int cairn_watch_init(struct cairn_watch *w, struct cairn_loop *loop, int fd, void (*fn)(void *arg, uint32_t ready),
                     void *arg);
/** Arms for @what (CAIRN_WATCH_*, 0 for nothing); cheap if unchanged. */
int cairn_watch_arm(struct cairn_watch *w, uint32_t what);
void cairn_watch_fini(struct cairn_watch *w);

void cairn_hook_add(struct cairn_loop *loop, struct cairn_hook *hook);
void cairn_hook_del(struct cairn_hook *hook);

#endif
