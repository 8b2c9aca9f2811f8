/** An errand: work on a thread of its own, asked for often and done seldom. It may be long, or never end: a look at a
 * disk that does not answer. */
#ifndef CAIRN_SERVER_STORAGE_ERRAND_H
#define CAIRN_SERVER_STORAGE_ERRAND_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct cairn_log;

struct cairn_errand {
    void (*work)(void *arg); /* from before start(), as @arg */
    void *arg;
    uint32_t silent_ms;    /* so long the end waits without a word; init() has two seconds */
    pthread_mutex_t mutex; /* private from here */
    pthread_cond_t cond;
    pthread_t thread;
    uint32_t gather_ms;
    uint64_t begun, ended; /* rounds of the work */
    uint64_t begun_ns;     /* the last, by CLOCK_MONOTONIC */
    struct cairn_log *log; /* of who asked first: where the work's lines go */
    bool wanted, ending, has_thread;
};

/** Memory and no thread: it is made when the work is first wanted. @gather_ms: how long the work waits for others who
 * ask. */
void cairn_errand_init(struct cairn_errand *e, uint32_t gather_ms, void (*work)(void *arg), void *arg);
/** The work will be done once more from its beginning, about @gather_ms from now, however often it is asked for
 * meanwhile. Any thread. */
void cairn_errand_ask(struct cairn_errand *e);
/** Asks, and waits until that is done: @wait_ms at most, and not at all if what is under way has taken longer already.
 * True: it was done from its beginning since the call. Any thread. */
bool cairn_errand_await(struct cairn_errand *e, uint32_t wait_ms);
/** Waits for work that runs, whose memory is the caller's; what is only wanted is not done any more. Work that a dead
 * disk holds cannot be ended, nor can its process before the disk answers, so there is no deadline: it would give up
 * memory that the work goes on with. After a while the log says what is waited for. */
void cairn_errand_fini(struct cairn_errand *e);

#endif
