/** An errand: long work on a thread of its own, asked for often and done seldom. */
#ifndef CAIRN_SERVER_STORAGE_ERRAND_H
#define CAIRN_SERVER_STORAGE_ERRAND_H

#include <pthread.h>
#include <stdbool.h>

struct cairn_errand {
    void (*work)(void *arg); /* from before start(), as @arg */
    void *arg;
    pthread_mutex_t mutex; /* private from here */
    pthread_cond_t cond;
    pthread_t thread;
    bool wanted, ending, has_thread;
};

/** Memory and no thread: it is made when the work is first wanted. */
void cairn_errand_init(struct cairn_errand *e, void (*work)(void *arg), void *arg);
/** The work will be done once more from its beginning, about a second from now, however often it is asked for
 * meanwhile. Any thread. */
void cairn_errand_ask(struct cairn_errand *e);
/** Waits for work that runs; what is only wanted is not done any more. */
void cairn_errand_fini(struct cairn_errand *e);

#endif
