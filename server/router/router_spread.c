/* Telling all workers. */
#include "server/router/router_internal.h"

#include <stdlib.h>

static void on_news(void *arg)
{
    struct router_news *n = arg;

    n->spread->apply(n);
}

static void on_all_told(void *arg)
{
    struct router_spread *s = arg;

    s->done(s);
}

int router_spread_init(struct router_spread *s, struct cairn_router *r)
{
    s->router = r;
    s->news = calloc(r->nworkers, sizeof(s->news[0]));
    if (s->news == NULL)
        return CAIRN_E_NOMEM;
    atomic_init(&s->left, 0);
    cairn_task_init(&s->task, on_all_told, s);
    for (uint32_t i = 0; i < r->nworkers; i++) {
        s->news[i].spread = s;
        s->news[i].w = &r->workers[i];
        cairn_task_init(&s->news[i].task, on_news, &s->news[i]);
    }
    return 0;
}

void router_spread_fini(struct router_spread *s)
{
    if (s->news != NULL)
        CAIRN_ASSERT(atomic_load(&s->left) == 0);
    free(s->news);
    s->news = NULL;
}

void router_spread_start(struct router_spread *s, void (*apply)(struct router_news *n),
                         void (*done)(struct router_spread *s))
{
    uint32_t n = s->router->nworkers;

    CAIRN_ASSERT(atomic_load(&s->left) == 0);
    s->apply = apply;
    s->done = done;
    atomic_store(&s->left, n);
    for (uint32_t i = 0; i < n; i++)
        cairn_loop_post(s->news[i].w->loop, &s->news[i].task);
}

void router_news_ack(struct router_news *n)
{
    struct router_spread *s = n->spread;

    if (atomic_fetch_sub(&s->left, 1) == 1)
        cairn_loop_post(router_home(s->router)->loop, &s->task);
}
