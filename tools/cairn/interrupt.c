/** Ctrl-C and SIGTERM during a transfer. A thread waits for them, so that everything may be done about them: nothing
 * more is begun, calls under way are canceled (a node that is gone would keep each until its time-out), and workers
 * put away what is half done. Asked a second time, or when that takes too long, the process ends by the signal at
 * once. */
#include "tools/cairn/transfer.h"

#include <errno.h>
#include <signal.h>

enum { CANCEL_EVERY_MS = 20, PUT_AWAY_MS_MAX = 2000 };

bool transfer_is_stopped(const struct transfer *t)
{
    return t->fatal != 0 || t->interrupted != 0;
}

/* Those that whoever started us does not want ignored. */
static void wanted(sigset_t *set)
{
    static const int signals[] = { SIGINT, SIGTERM };
    sigemptyset(set);
    for (uint32_t i = 0; i < ARRAY_SIZE(signals); i++) {
        struct sigaction now;
        if (sigaction(signals[i], NULL, &now) == 0 && now.sa_handler != SIG_IGN)
            sigaddset(set, signals[i]);
    }
}

static void end_by(int sig)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, sig);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    raise(sig);
}

/* Again and again: a worker goes on to its next call until it looks. */
static void cancel_calls(struct transfer *t)
{
    pthread_mutex_lock(&t->lock);
    cairn_cancel_all(t->cli->session);
    if (t->counting_session != NULL)
        cairn_cancel_all(t->counting_session);
    for (uint32_t i = 0; i < t->jobs; i++) {
        struct transfer_worker *w = &t->workers[i];
        if (w->session != NULL && !w->undoing)
            cairn_cancel_all(w->session);
    }
    pthread_cond_broadcast(&t->moved);
    pthread_mutex_unlock(&t->lock);
}

static void *watch_main(void *arg)
{
    struct transfer *t = arg;
    const struct timespec pause = { .tv_nsec = CANCEL_EVERY_MS * (long)CAIRN_NS_PER_MS };
    sigset_t set;
    int sig = 0;
    wanted(&set);
    sigaddset(&set, SIGUSR1); /* transfer_watch_stop() */
    while (sig <= 0 && !t->unwatched)
        sig = sigwaitinfo(&set, NULL);
    if (t->unwatched)
        return NULL;
    t->interrupted = sig;
    const uint64_t until = cli_now_ns() + PUT_AWAY_MS_MAX * CAIRN_NS_PER_MS;
    while (!t->unwatched) {
        cancel_calls(t);
        int again = sigtimedwait(&set, NULL, &pause);
        if ((again > 0 && again != SIGUSR1) || cli_now_ns() > until) { /* a connect cannot be canceled, for one */
            cli_note(t->cli, "interrupted; the same command goes on where this one ended");
            end_by(sig);
        }
    }
    return NULL;
}

void transfer_watch_start(struct transfer *t)
{
    sigset_t set;
    wanted(&set);
    sigaddset(&set, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &set, &t->mask); /* threads that start from here inherit it */
    t->watching = pthread_create(&t->watcher, NULL, watch_main, t) == 0;
    if (!t->watching)
        pthread_sigmask(SIG_SETMASK, &t->mask, NULL); /* then a signal ends the process */
}

void transfer_watch_stop(struct transfer *t)
{
    if (!t->watching)
        return;
    t->unwatched = true;
    pthread_kill(t->watcher, SIGUSR1);
    pthread_join(t->watcher, NULL);
    pthread_sigmask(SIG_SETMASK, &t->mask, NULL); /* one that came just now takes effect here */
}
