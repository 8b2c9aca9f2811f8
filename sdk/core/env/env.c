/* Timers and tasks, the part of an env that is the same in every world. */
#include "sdk/core/env/env.h"

#include "cairn/error.h"

#include <stdlib.h>

enum { TIMERS_ROOM_FIRST = 64 };

int cairn_env_init(struct cairn_env *env, const struct cairn_env_ops *ops)
{
    env->ops = ops;
    env->timers.n = 0;
    env->timers.room = TIMERS_ROOM_FIRST;
    env->timers.heap = malloc((TIMERS_ROOM_FIRST + 1) * sizeof(*env->timers.heap));
    cairn_list_init(&env->tasks);
    return env->timers.heap != NULL ? 0 : CAIRN_E_NOMEM;
}

void cairn_env_fini(struct cairn_env *env)
{
    free(env->timers.heap);
    env->timers.heap = NULL;
}

static void heap_set(struct cairn_timers *h, uint32_t pos, struct cairn_timer *t)
{
    h->heap[pos] = t;
    t->pos = pos;
}

static void heap_up(struct cairn_timers *h, uint32_t pos)
{
    struct cairn_timer *t = h->heap[pos];

    while (pos > 1 && h->heap[pos / 2]->at_ns > t->at_ns) {
        heap_set(h, pos, h->heap[pos / 2]);
        pos /= 2;
    }
    heap_set(h, pos, t);
}

static void heap_down(struct cairn_timers *h, uint32_t pos)
{
    struct cairn_timer *t = h->heap[pos];

    for (;;) {
        uint32_t child = pos * 2;

        if (child > h->n)
            break;
        if (child < h->n && h->heap[child + 1]->at_ns < h->heap[child]->at_ns)
            child++;
        if (h->heap[child]->at_ns >= t->at_ns)
            break;
        heap_set(h, pos, h->heap[child]);
        pos = child;
    }
    heap_set(h, pos, t);
}

static void heap_remove(struct cairn_timers *h, struct cairn_timer *t)
{
    uint32_t pos = t->pos;
    struct cairn_timer *last = h->heap[h->n--];

    t->pos = 0;
    if (last == t)
        return;
    heap_set(h, pos, last);
    heap_up(h, pos);
    heap_down(h, last->pos);
}

void cairn_timer_init(struct cairn_timer *t, void (*fn)(void *arg), void *arg)
{
    *t = (struct cairn_timer){ .fn = fn, .arg = arg };
}

int cairn_timer_start(struct cairn_env *env, struct cairn_timer *t, uint64_t at_ns)
{
    struct cairn_timers *h = &env->timers;
    uint64_t before = cairn_env_next_timer_ns(env);

    if (t->pos != 0) {
        t->at_ns = at_ns;
        heap_up(h, t->pos);
        heap_down(h, t->pos);
    } else {
        if (h->n == h->room) {
            struct cairn_timer **heap = realloc(h->heap, ((size_t)h->room * 2 + 1) * sizeof(*heap));

            if (heap == NULL)
                return CAIRN_E_NOMEM;
            h->heap = heap;
            h->room *= 2;
        }
        t->at_ns = at_ns;
        heap_set(h, ++h->n, t);
        heap_up(h, h->n);
    }
    if (cairn_env_next_timer_ns(env) != before && env->ops->timers_changed != NULL)
        env->ops->timers_changed(env);
    return 0;
}

void cairn_timer_stop(struct cairn_env *env, struct cairn_timer *t)
{
    if (t->pos != 0)
        heap_remove(&env->timers, t); /* an early wake-up is harmless: no need to tell the loop */
}

uint64_t cairn_env_next_timer_ns(const struct cairn_env *env)
{
    return env->timers.n > 0 ? env->timers.heap[1]->at_ns : UINT64_MAX;
}

bool cairn_env_run_timers(struct cairn_env *env, uint64_t now_ns, uint32_t max)
{
    bool ran = false;

    while (max-- > 0 && cairn_env_next_timer_ns(env) <= now_ns) {
        struct cairn_timer *t = env->timers.heap[1];

        heap_remove(&env->timers, t);
        t->fn(t->arg);
        ran = true;
    }
    return ran;
}

void cairn_task_init(struct cairn_task *t, void (*fn)(void *arg), void *arg)
{
    cairn_list_init(&t->link);
    t->fn = fn;
    t->arg = arg;
}

void cairn_env_defer(struct cairn_env *env, struct cairn_task *t)
{
    if (cairn_list_is_empty(&t->link))
        cairn_list_add_tail(&env->tasks, &t->link);
}

void cairn_task_cancel(struct cairn_task *t)
{
    cairn_list_del(&t->link);
}

bool cairn_env_run_tasks(struct cairn_env *env)
{
    struct cairn_link now;
    struct cairn_link *l;

    if (cairn_list_is_empty(&env->tasks))
        return false;
    cairn_list_init(&now);
    cairn_list_splice(&now, &env->tasks);
    while ((l = cairn_list_pop(&now)) != NULL) {
        struct cairn_task *t = CONTAINER_OF(l, struct cairn_task, link);

        t->fn(t->arg);
    }
    return true;
}
