/* Work on a thread of its own: see errand.h. */
#include "server/storage/errand.h"

#include <time.h>

enum { GATHER_S = 1 }; /* who asks once asks again soon: a removal of many keys is many batches */

static void await_askers(struct cairn_errand *e)
{
    struct timespec until;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += GATHER_S;
    while (!e->ending && pthread_cond_timedwait(&e->cond, &e->mutex, &until) == 0) {
    }
}

static void *errand_main(void *arg)
{
    struct cairn_errand *e = arg;

    pthread_setname_np(pthread_self(), "cairn-errand");
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
        pthread_mutex_unlock(&e->mutex);
        e->work(e->arg);
        pthread_mutex_lock(&e->mutex);
    }
    pthread_mutex_unlock(&e->mutex);
    return NULL;
}

void cairn_errand_init(struct cairn_errand *e, void (*work)(void *arg), void *arg)
{
    pthread_condattr_t attr;

    *e = (struct cairn_errand){ .work = work, .arg = arg };
    pthread_mutex_init(&e->mutex, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&e->cond, &attr);
    pthread_condattr_destroy(&attr);
}

void cairn_errand_ask(struct cairn_errand *e)
{
    pthread_mutex_lock(&e->mutex);
    e->wanted = true;
    if (!e->has_thread && !e->ending)
        e->has_thread =
            pthread_create(&e->thread, NULL, errand_main, e) == 0; /* if not: whoever asks next tries again */
    pthread_cond_signal(&e->cond);
    pthread_mutex_unlock(&e->mutex);
}

void cairn_errand_fini(struct cairn_errand *e)
{
    pthread_mutex_lock(&e->mutex);
    e->ending = true;
    pthread_cond_signal(&e->cond);
    pthread_mutex_unlock(&e->mutex);
    if (e->has_thread)
        pthread_join(e->thread, NULL);
    pthread_cond_destroy(&e->cond);
    pthread_mutex_destroy(&e->mutex);
}
