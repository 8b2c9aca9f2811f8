/* The storage pool: see server/port/pool.h. */
#include "server/port/pool.h"

#include <pthread.h>
#include <stdlib.h>

struct cairn_pool {
    pthread_mutex_t mutex;
    pthread_cond_t some;
    struct cairn_link queue; /* under mutex, as all below */
    uint32_t waiting, running, queue_max;
    bool stop;
    uint32_t nthreads;
    pthread_t threads[];
};

static void on_job_done(void *arg)
{
    struct cairn_job *job = arg;

    job->done(job);
}

static void *pool_thread(void *arg)
{
    struct cairn_pool *pool = arg;

    pthread_setname_np(pthread_self(), "cairn-pool");
    pthread_mutex_lock(&pool->mutex);
    for (;;) {
        struct cairn_link *l;
        struct cairn_job *job;

        while (!pool->stop && cairn_list_is_empty(&pool->queue))
            pthread_cond_wait(&pool->some, &pool->mutex);
        l = cairn_list_pop(&pool->queue);
        if (l == NULL)
            break;
        job = CONTAINER_OF(l, struct cairn_job, link);
        pool->waiting--;
        pool->running++;
        pthread_mutex_unlock(&pool->mutex);
        job->work(job);
        cairn_loop_post(job->loop, &job->task); /* from here the job is its loop's */
        pthread_mutex_lock(&pool->mutex);
        pool->running--;
    }
    pthread_mutex_unlock(&pool->mutex);
    return NULL;
}

struct cairn_pool *cairn_pool_new(uint32_t threads, uint32_t queue_max, struct cairn_err *err)
{
    struct cairn_pool *pool = calloc(1, sizeof(*pool) + threads * sizeof(pool->threads[0]));

    if (pool == NULL) {
        cairn_err_set(err, CAIRN_E_NOMEM, "storage pool");
        return NULL;
    }
    pthread_mutex_init(&pool->mutex, NULL);
    pthread_cond_init(&pool->some, NULL);
    cairn_list_init(&pool->queue);
    pool->queue_max = queue_max;
    while (pool->nthreads < threads) {
        int e = pthread_create(&pool->threads[pool->nthreads], NULL, pool_thread, pool);

        if (e != 0) {
            cairn_err_errno(err, e, "storage pool: thread %u of %u", pool->nthreads + 1, threads);
            cairn_pool_free(pool);
            return NULL;
        }
        pool->nthreads++;
    }
    return pool;
}

void cairn_pool_free(struct cairn_pool *pool)
{
    pthread_mutex_lock(&pool->mutex);
    CAIRN_ASSERT(cairn_list_is_empty(&pool->queue));
    pool->stop = true;
    pthread_cond_broadcast(&pool->some);
    pthread_mutex_unlock(&pool->mutex);
    for (uint32_t i = 0; i < pool->nthreads; i++)
        pthread_join(pool->threads[i], NULL);
    pthread_cond_destroy(&pool->some);
    pthread_mutex_destroy(&pool->mutex);
    free(pool);
}

int cairn_pool_submit(struct cairn_pool *pool, struct cairn_loop *loop, struct cairn_job *job)
{
    int rc = 0;

    cairn_list_init(&job->link);
    cairn_task_init(&job->task, on_job_done, job);
    job->loop = loop;
    pthread_mutex_lock(&pool->mutex);
    if (pool->waiting >= pool->queue_max) {
        rc = CAIRN_E_BUSY;
    } else {
        cairn_list_add_tail(&pool->queue, &job->link);
        pool->waiting++;
        pthread_cond_signal(&pool->some);
    }
    pthread_mutex_unlock(&pool->mutex);
    return rc;
}

void cairn_pool_load(struct cairn_pool *pool, uint32_t *waiting, uint32_t *running)
{
    pthread_mutex_lock(&pool->mutex);
    *waiting = pool->waiting;
    *running = pool->running;
    pthread_mutex_unlock(&pool->mutex);
}
