/* Work on a thread of its own: see errand.h. */
#include "server/storage/errand.h"

#include "sdk/core/base/clock.h"
#include "sdk/core/base/log.h"

#include <time.h>

enum { SILENT_MS = 2000 };

/* False: it is @until_ns. */
static bool wait_until(struct cairn_errand *e, uint64_t until_ns)
{
    struct timespec until = { .tv_sec = (time_t)(until_ns / CAIRN_NS_PER_S),
                              .tv_nsec = (long)(until_ns % CAIRN_NS_PER_S) };

    return pthread_cond_timedwait(&e->cond, &e->mutex, &until) == 0;
}

static void await_askers(struct cairn_errand *e)
{
    uint64_t until_ns = cairn_monotonic_ns() + e->gather_ms * CAIRN_NS_PER_MS;

    while (e->gather_ms > 0 && !e->ending && wait_until(e, until_ns)) {
    }
}

static void *errand_main(void *arg)
{
    struct cairn_errand *e = arg;

    pthread_setname_np(pthread_self(), "cairn-errand");
    cairn_log_bind(e->log);
    pthread_mutex_lock(&e->mutex);
    while (!e->ending) {
        if (!e->wanted) {
            pthread_cond_wait(&e->cond, &e->mutex);
            continue;
        }
        await_askers(e);
        if (e->ending)
            break;
        e->wanted = false;
        e->begun++;
        e->begun_ns = cairn_monotonic_ns();
        pthread_mutex_unlock(&e->mutex);
        e->work(e->arg);
        pthread_mutex_lock(&e->mutex);
        e->ended = e->begun;
        pthread_cond_broadcast(&e->cond);
    }
    pthread_mutex_unlock(&e->mutex);
    return NULL;
}

void cairn_errand_init(struct cairn_errand *e, uint32_t gather_ms, void (*work)(void *arg), void *arg)
{
    pthread_condattr_t attr;

    *e = (struct cairn_errand){ .work = work, .arg = arg, .silent_ms = SILENT_MS, .gather_ms = gather_ms };
    pthread_mutex_init(&e->mutex, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&e->cond, &attr);
    pthread_condattr_destroy(&attr);
}

/* Under the mutex. */
static void ask(struct cairn_errand *e)
{
    e->wanted = true;
    if (!e->has_thread && !e->ending) {
        e->log = cairn_log_bound();
        e->has_thread =
            pthread_create(&e->thread, NULL, errand_main, e) == 0; /* if not: whoever asks next tries again */
    }
    pthread_cond_broadcast(&e->cond);
}

void cairn_errand_ask(struct cairn_errand *e)
{
    pthread_mutex_lock(&e->mutex);
    ask(e);
    pthread_mutex_unlock(&e->mutex);
}

bool cairn_errand_await(struct cairn_errand *e, uint32_t wait_ms)
{
    uint64_t now = cairn_monotonic_ns(), until_ns = now + wait_ms * CAIRN_NS_PER_MS, mine;
    bool done;

    pthread_mutex_lock(&e->mutex);
    mine = e->begun + 1;
    ask(e);
    if (e->begun > e->ended)
        until_ns = e->begun_ns + wait_ms * CAIRN_NS_PER_MS;
    while (e->has_thread && e->ended < mine && now < until_ns && wait_until(e, until_ns)) {
    }
    done = e->ended >= mine;
    pthread_mutex_unlock(&e->mutex);
    return done;
}

void cairn_errand_fini(struct cairn_errand *e)
{
    uint64_t until_ns = cairn_monotonic_ns() + e->silent_ms * CAIRN_NS_PER_MS;

    pthread_mutex_lock(&e->mutex);
    e->ending = true;
    pthread_cond_broadcast(&e->cond);
    while (e->begun > e->ended && wait_until(e, until_ns)) {
    }
    if (e->begun > e->ended)
        cairn_log_warn("the end waits for a disk that does not answer, or is slow: work on it has taken %u s",
                       (unsigned)((cairn_monotonic_ns() - e->begun_ns) / CAIRN_NS_PER_S));
    pthread_mutex_unlock(&e->mutex);
    if (e->has_thread)
        pthread_join(e->thread, NULL);
    pthread_cond_destroy(&e->cond);
    pthread_mutex_destroy(&e->mutex);
}
