/* The real env, on libevent: see loop.h. */
#include "sdk/core/loop/loop.h"

#include <errno.h>
#include <event2/event.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

/* Timers that run in one turn before descriptors are looked at again. */
enum { LOOP_TIMERS_PER_TURN = 256, LOOP_TASK_ROUNDS_PER_TURN = 8 };
enum { LOOP_SPIN_LUCK_MAX = 8, LOOP_SPIN_AGAIN = 16 };

/* Of now_ns and of the timer that ends a sleep: they must be the same. It counts while the machine is suspended,
 * because others do not wait for us: a lease is not held any more, a node has forgotten our session, a call took too
 * long for its caller. When the machine wakes up, what became due meanwhile is due at once, in order of time, 256
 * timers a turn, in each turn after the descriptors that were found ready. Nothing is due early, since no timer is
 * relative. By CLOCK_MONOTONIC all would be late by the suspend, the leases too. Where threads wait for one another
 * (commit.c, drive.c) it is right and used: both sides stood still. */
#define LOOP_CLOCK CLOCK_BOOTTIME

static uint64_t loop_now(struct cairn_env *env)
{
    struct timespec ts;

    (void)env;
    clock_gettime(LOOP_CLOCK, &ts);
    return (uint64_t)ts.tv_sec * CAIRN_NS_PER_S + (uint64_t)ts.tv_nsec;
}

static uint64_t loop_random(struct cairn_env *env)
{
    uint64_t x;

    (void)env;
    while (getrandom(&x, sizeof(x), 0) != (ssize_t)sizeof(x))
        ;
    return x;
}

static const struct cairn_env_ops loop_env_ops = { .now_ns = loop_now, .random = loop_random };

static void on_tick(void *arg, uint32_t ready)
{
    struct cairn_loop *loop = arg;
    uint64_t n;

    (void)ready;
    if (read(loop->tick.fd, &n, sizeof(n)) < 0)
        CAIRN_ASSERT(errno == EAGAIN || errno == EINTR || errno == ECANCELED);
    loop->tick_ns = 0; /* it only ends the sleep: our own heap knows whose time has come */
}

static void on_wake(void *arg, uint32_t ready)
{
    struct cairn_loop *loop = arg;
    uint64_t n;

    (void)ready;
    if (read(loop->wake.fd, &n, sizeof(n)) < 0)
        CAIRN_ASSERT(errno == EAGAIN || errno == EINTR);
}

/* A descriptor of the loop's own; takes @fd. */
static int loop_watch_new(struct cairn_loop *loop, struct cairn_watch *w, int fd, void (*fn)(void *arg, uint32_t ready),
                          struct cairn_err *err)
{
    int rc;

    if (fd < 0)
        return cairn_err_errno(err, errno, "event loop");
    rc = cairn_watch_init(w, loop, fd, fn, loop);
    if (rc == 0)
        rc = cairn_watch_arm(w, CAIRN_WATCH_READ);
    if (rc != 0) {
        cairn_watch_fini(w);
        close(fd);
    }
    return cairn_err_wrap(err, rc, "event loop");
}

static void loop_watch_free(struct cairn_watch *w)
{
    int fd = w->fd;

    cairn_watch_fini(w);
    close(fd);
}

int cairn_loop_init(struct cairn_loop *loop, const struct cairn_loop_conf *conf, struct cairn_err *err)
{
    struct event_config *ec;
    int rc;

    memset(loop, 0, sizeof(*loop));
    loop->conf = conf != NULL ? *conf : (struct cairn_loop_conf){ 0 };
    loop->thread = pthread_self();
    rc = cairn_env_init(&loop->env, &loop_env_ops);
    if (rc != 0)
        return cairn_err_set(err, rc, "event loop");
    pthread_mutex_init(&loop->posted_mutex, NULL);
    cairn_list_init(&loop->posted);
    cairn_list_init(&loop->hooks);
    errno = 0;
    ec = event_config_new();
    if (ec != NULL) {
        event_config_set_flag(ec, EVENT_BASE_FLAG_NOLOCK);
        event_config_set_flag(ec, EVENT_BASE_FLAG_NO_CACHE_TIME);
        event_config_set_flag(ec, EVENT_BASE_FLAG_IGNORE_ENV);
        loop->base = event_base_new_with_config(ec);
        event_config_free(ec);
    }
    if (loop->base == NULL) { /* libevent tells no reason of its own */
        rc = errno == EMFILE || errno == ENFILE ? CAIRN_E_LIMIT : CAIRN_E_NOMEM;
        rc =
            cairn_err_set(err, rc, "event loop: %s", rc == CAIRN_E_LIMIT ? "no descriptors are left" : "out of memory");
        goto free_base;
    }
    loop->now_ns = loop_now(&loop->env);
    cairn_sm_set_init(&loop->machines, &loop->env);
    rc = loop_watch_new(loop, &loop->wake, eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC), on_wake, err);
    if (rc != 0)
        goto free_base;
    rc = loop_watch_new(loop, &loop->tick, timerfd_create(LOOP_CLOCK, TFD_NONBLOCK | TFD_CLOEXEC), on_tick, err);
    if (rc != 0)
        goto free_wake;
    return 0;
free_wake:
    loop_watch_free(&loop->wake);
free_base:
    pthread_mutex_destroy(&loop->posted_mutex);
    if (loop->base != NULL)
        event_base_free(loop->base);
    cairn_env_fini(&loop->env);
    return rc;
}

void cairn_loop_fini(struct cairn_loop *loop)
{
    loop_watch_free(&loop->tick);
    loop_watch_free(&loop->wake);
    CAIRN_ASSERT(cairn_list_is_empty(&loop->hooks));
    cairn_sm_set_fini(&loop->machines);
    event_base_free(loop->base);
    pthread_mutex_destroy(&loop->posted_mutex);
    cairn_env_fini(&loop->env);
}

static void loop_update_now(struct cairn_loop *loop)
{
    loop->now_ns = loop_now(&loop->env);
    loop->machines.now_ns = loop->now_ns;
}

/* The first callback after a sleep reads the clock, for all that follow in the turn. */
static void loop_freshen(struct cairn_loop *loop)
{
    if (!loop->fresh) {
        loop_update_now(loop);
        loop->fresh = true;
    }
}

static void loop_take_posted(struct cairn_loop *loop)
{
    if (!atomic_load_explicit(&loop->has_posted, memory_order_acquire))
        return;
    pthread_mutex_lock(&loop->posted_mutex);
    atomic_store_explicit(&loop->has_posted, false, memory_order_relaxed);
    cairn_list_splice(&loop->env.tasks, &loop->posted);
    pthread_mutex_unlock(&loop->posted_mutex);
}

static bool loop_hooks_object(struct cairn_loop *loop)
{
    bool busy = false;

    CAIRN_LIST_FOREACH_SAFE (l, &loop->hooks) {
        struct cairn_hook *h = CONTAINER_OF(l, struct cairn_hook, link);

        if (h->before_sleep != NULL)
            busy |= h->before_sleep(h->arg);
    }
    return busy;
}

/* How long libevent may sleep now. The order matters: asleep is announced first, so that a post which comes after the
 * last look at the queue writes to the eventfd. */
static uint64_t loop_sleep_ns(struct cairn_loop *loop, uint64_t max_ns)
{
    uint64_t next;

    if (max_ns == 0 || !cairn_list_is_empty(&loop->env.tasks) || loop_hooks_object(loop))
        return 0;
    if (!cairn_list_is_empty(&loop->env.tasks)) /* a hook may have queued one */
        return 0;
    atomic_store(&loop->asleep, true);
    if (atomic_load(&loop->has_posted) || atomic_load(&loop->stop)) {
        atomic_store(&loop->asleep, false);
        return 0;
    }
    next = cairn_env_next_timer_ns(&loop->env);
    if (next == UINT64_MAX)
        return max_ns;
    loop_update_now(loop);
    return MIN(max_ns, next > loop->now_ns ? next - loop->now_ns : 0);
}

/* Polls for a while instead of sleeping. True: something came. It is given up for the most part where it was in vain
 * lately: then what is waited for takes longer, or cannot come because we hold the core. */
static bool loop_spin(struct cairn_loop *loop, uint64_t ns)
{
    uint64_t end;

    if (loop->spin_luck == 0 && ++loop->spins_skipped % LOOP_SPIN_AGAIN != 0)
        return false;
    end = loop_now(&loop->env) + MIN(ns, loop->conf.spin_us * UINT64_C(1000));
    do {
        event_base_loop(loop->base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
        if (loop->fresh || atomic_load_explicit(&loop->has_posted, memory_order_relaxed)) {
            loop->spin_luck = MIN(loop->spin_luck + 1, (uint32_t)LOOP_SPIN_LUCK_MAX);
            return true;
        }
    } while (loop_now(&loop->env) < end);
    loop->spin_luck /= 2;
    return false;
}

/* A sleep of @ns from now_ns on must end. A tick that is armed for less is left alone: it ends this sleep early,
 * once, where arming it for each would cost every turn of a busy loop whose deadlines are far away. For the same
 * reason it is a timer of the kernel's and not libevent's, which reads the clock twice a turn and has epoll_wait()
 * arm and disarm a timer each time. */
static void loop_arm_tick(struct cairn_loop *loop, uint64_t ns)
{
    uint64_t at = loop->now_ns + MIN(ns, UINT64_C(3600) * CAIRN_NS_PER_S);
    struct itimerspec when = { .it_value = { .tv_sec = (time_t)(at / CAIRN_NS_PER_S),
                                             .tv_nsec = (long)(at % CAIRN_NS_PER_S) } };

    if (loop->tick_ns != 0 && loop->tick_ns <= at)
        return;
    loop->tick_ns = at;
    timerfd_settime(loop->tick.fd, TFD_TIMER_ABSTIME, &when, NULL);
}

static void loop_sleep(struct cairn_loop *loop, uint64_t ns)
{
    if (ns == 0) {
        /* NONBLOCK alone goes on for as long as descriptors are ready: timers and tasks would wait for a quiet moment.
         */
        event_base_loop(loop->base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
        return;
    }
    if (loop->conf.spin_us > 0 && loop_spin(loop, ns))
        return;
    loop->sleeps++;
    if (ns == UINT64_MAX) {
        event_base_loop(loop->base, EVLOOP_ONCE);
        return;
    }
    loop_arm_tick(loop, ns);
    event_base_loop(loop->base, EVLOOP_ONCE);
}

static void loop_flush(struct cairn_loop *loop)
{
    loop->entered = false;
    CAIRN_LIST_FOREACH_SAFE (l, &loop->hooks) {
        struct cairn_hook *h = CONTAINER_OF(l, struct cairn_hook, link);

        if (h->flush != NULL)
            h->flush(h->arg);
    }
}

bool cairn_loop_has_ready(const struct cairn_loop *loop)
{
    return event_base_get_num_events(loop->base, EVENT_BASE_COUNT_ACTIVE) > 0;
}

void cairn_loop_enter(struct cairn_loop *loop)
{
    loop_update_now(loop);
    loop->entered = true;
}

void cairn_loop_turn(struct cairn_loop *loop, uint64_t max_ns)
{
    uint64_t ns;

    if (loop->entered)
        loop_flush(loop);
    ns = loop_sleep_ns(loop, max_ns);
    loop->fresh = false;
    loop_sleep(loop, ns);
    atomic_store_explicit(&loop->asleep, false, memory_order_relaxed);
    loop->turns++;
    loop_freshen(loop);
    loop_take_posted(loop);
    cairn_env_run_timers(&loop->env, loop->now_ns, LOOP_TIMERS_PER_TURN);
    for (int i = 0; i < LOOP_TASK_ROUNDS_PER_TURN && cairn_env_run_tasks(&loop->env); i++)
        loop_take_posted(loop);
    loop_flush(loop);
}

void cairn_loop_run(struct cairn_loop *loop)
{
    loop->thread = pthread_self();
    while (!atomic_load(&loop->stop))
        cairn_loop_turn(loop, UINT64_MAX);
}

void cairn_loop_wake(struct cairn_loop *loop)
{
    uint64_t one = 1;

    if (write(loop->wake.fd, &one, sizeof(one)) < 0)
        CAIRN_ASSERT(errno == EAGAIN || errno == EINTR); /* EAGAIN: it is awake already */
}

void cairn_loop_stop(struct cairn_loop *loop)
{
    atomic_store(&loop->stop, true);
    cairn_loop_wake(loop);
}

void cairn_loop_post(struct cairn_loop *loop, struct cairn_task *t)
{
    bool first;

    pthread_mutex_lock(&loop->posted_mutex);
    first = cairn_list_is_empty(&loop->posted);
    cairn_list_add_tail(&loop->posted, &t->link);
    atomic_store(&loop->has_posted, true);
    pthread_mutex_unlock(&loop->posted_mutex);
    if (first && atomic_load(&loop->asleep)) /* an awake loop looks at the queue before it sleeps */
        cairn_loop_wake(loop);
}

void cairn_loop_unpost(struct cairn_loop *loop, struct cairn_task *t)
{
    pthread_mutex_lock(&loop->posted_mutex); /* it is on that queue or, unlocked, on our own */
    cairn_list_del(&t->link);
    pthread_mutex_unlock(&loop->posted_mutex);
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    struct cairn_watch *w = arg;

    (void)fd;
    (void)what;
    loop_freshen(w->loop);
    w->fn(w->arg, CAIRN_WATCH_READ);
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
    struct cairn_watch *w = arg;

    (void)fd;
    (void)what;
    loop_freshen(w->loop);
    w->fn(w->arg, CAIRN_WATCH_WRITE);
}

int cairn_watch_init(struct cairn_watch *w, struct cairn_loop *loop, int fd, void (*fn)(void *arg, uint32_t ready),
                     void *arg)
{
    *w = (struct cairn_watch){ .loop = loop, .fd = fd, .fn = fn, .arg = arg };
    w->read = event_new(loop->base, fd, EV_READ | EV_PERSIST, on_readable, w);
    return w->read != NULL ? 0 : CAIRN_E_NOMEM;
}

int cairn_watch_arm(struct cairn_watch *w, uint32_t what)
{
    uint32_t change = w->armed ^ what;
    int bad = 0;

    if ((change & CAIRN_WATCH_READ) != 0)
        bad |= (what & CAIRN_WATCH_READ) != 0 ? event_add(w->read, NULL) : event_del(w->read);
    if ((change & CAIRN_WATCH_WRITE) != 0) {
        /* Few connections ever wait for room, so the second event is made when first needed. */
        if (w->write == NULL)
            w->write = event_new(w->loop->base, w->fd, EV_WRITE | EV_PERSIST, on_writable, w);
        if (w->write == NULL)
            return CAIRN_E_NOMEM;
        bad |= (what & CAIRN_WATCH_WRITE) != 0 ? event_add(w->write, NULL) : event_del(w->write);
    }
    w->armed = what;
    return bad == 0 ? 0 : errno == 0 || errno == ENOMEM ? CAIRN_E_NOMEM : CAIRN_E_IO;
}

void cairn_watch_fini(struct cairn_watch *w)
{
    if (w->read != NULL)
        event_free(w->read);
    if (w->write != NULL)
        event_free(w->write);
    w->read = w->write = NULL;
    w->armed = 0;
}

void cairn_hook_add(struct cairn_loop *loop, struct cairn_hook *hook)
{
    cairn_list_add_tail(&loop->hooks, &hook->link);
}

void cairn_hook_del(struct cairn_hook *hook)
{
    cairn_list_del(&hook->link);
}
