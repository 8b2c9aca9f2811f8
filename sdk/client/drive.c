/* Who drives the loop.
 *
 * The loop, the RPC layer and all calls belong to whoever has written itself into c->owner: a thread inside a waiting
 * call, cairn_poll(), cairn_drain(), the SDK's own thread, or, for a moment, a thread that starts an asynchronous call.
 * Taking it is one compare-and-swap, so a lone thread pays for no lock and no switch. A thread that finds it taken
 * posts its call to the owner and waits in c->waiters until its call is over or the loop is free; then it drives
 * (leader and followers).
 *
 * Why no wake-up is lost: a waiter counts itself in nwaiters before it looks at the owner; a leaving owner clears owner
 * before it looks at nwaiters; both are sequentially consistent, so one of them sees the other. */
#include "sdk/client/client_internal.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <time.h>

static uintptr_t drive_self(void)
{
    return (uintptr_t)pthread_self();
}

bool cairn__is_inside(struct cairn *c)
{
    return atomic_load_explicit(&c->owner, memory_order_relaxed) == drive_self();
}

bool cairn__own_try(struct cairn *c)
{
    uintptr_t nobody = 0;

    if (!atomic_compare_exchange_strong(&c->owner, &nobody, drive_self()))
        return false;
    cairn_loop_enter(&c->loop);
    return true;
}

void cairn__catch_up(struct cairn *c)
{
    uint64_t now = cairn_loop_now(&c->loop);

    if (now - c->turned_ns > CLIENT_IDLE_NS && cairn__inflight(c) == 1)
        cairn_loop_turn(&c->loop, 0);
    c->turned_ns = now;
}

/* Under the mutex: somebody should take the loop. */
static void wake_next(struct cairn *c)
{
    if (!cairn_list_is_empty(&c->waiters))
        pthread_cond_signal(&CONTAINER_OF(c->waiters.next, struct cairn_waiter, link)->cond);
}

void cairn__disown(struct cairn *c)
{
    atomic_store(&c->owner, 0);
    if (atomic_load(&c->nwaiters) == 0)
        return;
    pthread_mutex_lock(&c->mutex);
    wake_next(c);
    pthread_mutex_unlock(&c->mutex);
}

static void deadline_of(int timeout_ms, struct timespec *ts)
{
    clock_gettime(CLOCK_MONOTONIC, ts);
    ts->tv_sec += timeout_ms / 1000;
    ts->tv_nsec += (long)(timeout_ms % 1000) * (long)CAIRN_NS_PER_MS;
    if (ts->tv_nsec >= (long)CAIRN_NS_PER_S) {
        ts->tv_nsec -= (long)CAIRN_NS_PER_S;
        ts->tv_sec++;
    }
}

/* Nothing is in flight, and no callback of what was is running. */
static bool is_idle(struct cairn *c)
{
    return cairn__inflight(c) == 0 && !atomic_load(&c->in_callback);
}

bool cairn__before_sleep(void *arg)
{
    struct cairn *c = arg;

    /* Either we see the one that has come to wait, or it sees that there is nothing left to wait for. */
    atomic_thread_fence(memory_order_seq_cst);
    if (atomic_load_explicit(&c->nwatchers, memory_order_relaxed) == 0)
        return false;
    pthread_mutex_lock(&c->mutex);
    CAIRN_LIST_FOREACH (l, &c->waiters) {
        struct cairn_waiter *w = CONTAINER_OF(l, struct cairn_waiter, link);

        if ((w->kind == CAIRN_WAITS_FOR_ANY && c->finished != c->finished_told) ||
            (w->kind >= CAIRN_WAITS_FOR_ANY && is_idle(c))) {
            w->over = true;
            pthread_cond_signal(&w->cond);
        }
    }
    c->finished_told = c->finished;
    pthread_mutex_unlock(&c->mutex);
    return false;
}

/* Waits in line: true when the calling thread owns the loop, false when @w is over or the time is. */
static bool wait_in_line(struct cairn *c, struct cairn_waiter *w, const struct timespec *deadline)
{
    pthread_condattr_t attr;
    bool owned = false;

    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&w->cond, &attr);
    pthread_condattr_destroy(&attr);
    pthread_mutex_lock(&c->mutex);
    cairn_list_add_tail(&c->waiters, &w->link);
    atomic_fetch_add(&c->nwaiters, 1);
    atomic_fetch_add(&c->nwatchers, w->kind >= CAIRN_WAITS_FOR_ANY);
    if (w->kind >= CAIRN_WAITS_FOR_ANY && is_idle(c))
        w->over = true;
    while (!w->over && !(owned = cairn__own_try(c))) {
        int e = 0;

        if (deadline == NULL)
            pthread_cond_wait(&w->cond, &c->mutex);
        else
            e = pthread_cond_timedwait(&w->cond, &c->mutex, deadline);
        if (e == ETIMEDOUT && !w->over) {
            owned = cairn__own_try(c);
            break;
        }
    }
    cairn_list_del(&w->link);
    atomic_fetch_sub(&c->nwaiters, 1);
    atomic_fetch_sub(&c->nwatchers, w->kind >= CAIRN_WAITS_FOR_ANY);
    if (!owned && atomic_load(&c->owner) == 0)
        wake_next(c); /* the wake-up that we got was meant for one who drives */
    pthread_mutex_unlock(&c->mutex);
    pthread_cond_destroy(&w->cond);
    return owned;
}

/* Takes the loop; false: @w is over, or the time is. */
static bool own_or(struct cairn *c, struct cairn_waiter *w, int timeout_ms)
{
    struct timespec deadline;

    if (cairn__own_try(c))
        return true;
    if (timeout_ms == 0)
        return false;
    if (timeout_ms > 0)
        deadline_of(timeout_ms, &deadline);
    return wait_in_line(c, w, timeout_ms > 0 ? &deadline : NULL);
}

bool cairn__own(struct cairn *c, int timeout_ms)
{
    struct cairn_waiter w = { .kind = CAIRN_WAITS_TO_DRIVE };

    return own_or(c, &w, timeout_ms);
}

int cairn__wait(struct cairn *c, struct cairn_waiter *w, bool owned)
{
    if (!owned && !wait_in_line(c, w, NULL))
        return w->rc;
    c->driver = w;
    while (!w->over)
        cairn_loop_turn(&c->loop, UINT64_MAX);
    c->driver = NULL;
    c->turned_ns = cairn_loop_now(&c->loop);
    cairn__disown(c);
    return w->rc;
}

void cairn__waiter_over(struct cairn *c, struct cairn_waiter *w, int rc)
{
    if (w == c->driver) {
        w->rc = rc;
        w->over = true;
        return;
    }
    pthread_mutex_lock(&c->mutex); /* @w is on the stack of a thread that goes on as soon as it sees @over */
    w->rc = rc;
    w->over = true;
    if (w->link.next != NULL) /* it is in line */
        pthread_cond_signal(&w->cond);
    pthread_mutex_unlock(&c->mutex);
}

struct on_loop {
    struct cairn_task task;
    struct cairn *c;
    struct cairn_waiter w;
    int (*fn)(struct cairn *c, void *arg);
    void *arg;
};

static void on_posted(void *arg)
{
    struct on_loop *x = arg;

    cairn__waiter_over(x->c, &x->w, x->fn(x->c, x->arg));
}

int cairn__on_loop(struct cairn *c, int (*fn)(struct cairn *c, void *arg), void *arg)
{
    struct on_loop x = { .c = c, .fn = fn, .arg = arg };
    int rc;

    if (cairn__is_inside(c))
        return fn(c, arg);
    atomic_fetch_add(&c->users, 1);
    if (cairn__own_try(c)) {
        rc = fn(c, arg);
        cairn__disown(c);
    } else {
        cairn_task_init(&x.task, on_posted, &x);
        cairn_loop_post(&c->loop, &x.task);
        rc = cairn__wait(c, &x.w, false);
    }
    atomic_fetch_sub(&c->users, 1);
    return rc;
}

/* Turns until @enough calls have ended or none is left. The owner. */
static void drive(struct cairn *c, uint64_t enough, int timeout_ms)
{
    uint64_t start = c->finished, now = cairn_loop_now(&c->loop), deadline;

    deadline = timeout_ms < 0 ? UINT64_MAX : now + (uint64_t)timeout_ms * CAIRN_NS_PER_MS;
    do {
        cairn_loop_turn(&c->loop, deadline == UINT64_MAX ? UINT64_MAX : deadline - MIN(now, deadline));
        now = cairn_loop_now(&c->loop);
    } while (now < deadline && c->finished - start < enough && cairn__inflight(c) > 0);
}

int cairn_poll(struct cairn *c, int timeout_ms)
{
    struct cairn_waiter w = { .kind = CAIRN_WAITS_FOR_ANY };
    uint64_t n = 0;

    if (cairn__is_inside(c))
        return CAIRN_E_STATE;
    if (is_idle(c))
        return 0;
    atomic_fetch_add(&c->users, 1);
    if (own_or(c, &w, timeout_ms)) {
        n = c->finished;
        if (!is_idle(c))
            drive(c, 1, timeout_ms);
        n = c->finished - n;
        cairn__disown(c);
    }
    atomic_fetch_sub(&c->users, 1);
    return (int)MIN(n, (uint64_t)INT32_MAX);
}

int cairn_drain(struct cairn *c, int timeout_ms)
{
    struct cairn_waiter w = { .kind = CAIRN_WAITS_FOR_ALL };
    int rc = 0;

    if (cairn__is_inside(c))
        return CAIRN_E_STATE;
    if (is_idle(c))
        return 0;
    atomic_fetch_add(&c->users, 1);
    if (own_or(c, &w, timeout_ms)) {
        if (!is_idle(c))
            drive(c, UINT64_MAX, timeout_ms);
        rc = is_idle(c) ? 0 : CAIRN_E_TIMEOUT;
        cairn__disown(c);
    } else if (!w.over) {
        rc = CAIRN_E_TIMEOUT;
    }
    atomic_fetch_sub(&c->users, 1);
    return rc;
}

static void *drive_thread(void *arg)
{
    struct cairn *c = arg;

    if (!own_or(c, &c->thread_waiter, -1))
        return NULL; /* stopped before it was its turn */
    while (!atomic_load(&c->thread_stop))
        cairn_loop_turn(&c->loop, UINT64_MAX);
    cairn__disown(c);
    return NULL;
}

int cairn_start_thread(struct cairn *c)
{
    sigset_t all, before;
    int rc = 0;

    pthread_mutex_lock(&c->mutex);
    if (c->has_thread) {
        pthread_mutex_unlock(&c->mutex);
        return CAIRN_E_STATE;
    }
    atomic_store(&c->thread_stop, false);
    c->thread_waiter = (struct cairn_waiter){ .kind = CAIRN_WAITS_TO_DRIVE };
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    if (pthread_create(&c->thread, NULL, drive_thread, c) == 0) {
        c->has_thread = true;
        pthread_setname_np(c->thread, "cairn-sdk");
    } else {
        rc = CAIRN_E_LIMIT;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_mutex_unlock(&c->mutex);
    return rc;
}

void cairn_stop_thread(struct cairn *c)
{
    bool stops;

    pthread_mutex_lock(&c->mutex);
    stops = c->has_thread && !atomic_exchange(&c->thread_stop, true);
    if (stops) {
        c->thread_waiter.over = true; /* another one may drive for long: it does not wait for its turn */
        if (c->thread_waiter.link.next != NULL && !cairn_list_is_empty(&c->thread_waiter.link))
            pthread_cond_signal(&c->thread_waiter.cond);
    }
    pthread_mutex_unlock(&c->mutex);
    if (!stops)
        return;
    cairn_loop_wake(&c->loop);
    pthread_join(c->thread, NULL); /* until then nobody starts another in its place */
    pthread_mutex_lock(&c->mutex);
    c->has_thread = false;
    pthread_mutex_unlock(&c->mutex);
}
