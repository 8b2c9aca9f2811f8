/* Bounded staging memory: see staging.h. */
#include "server/storage/staging.h"

#include <stdlib.h>
#include <sys/mman.h>

static void buf_free(struct cairn_staging *s, struct cairn_staging_buf *b)
{
    munmap(b->bytes, s->bytes);
    free(b);
    s->made--;
}

static struct cairn_staging_buf *buf_new(struct cairn_staging *s)
{
    struct cairn_staging_buf *b = calloc(1, sizeof(*b));

    if (b == NULL)
        return NULL;
    b->bytes = mmap(NULL, s->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (b->bytes == MAP_FAILED) {
        free(b);
        return NULL;
    }
    cairn_list_init(&b->link);
    s->made++;
    return b;
}

static struct cairn_staging_buf *take_idle(struct cairn_staging *s)
{
    struct cairn_link *l = cairn_list_pop(&s->idle);

    if (l == NULL)
        return NULL;
    s->idle_n--;
    return CONTAINER_OF(l, struct cairn_staging_buf, link);
}

/* Those who asked first get first. A task of its own, so that nobody's got() runs inside somebody's put. */
static void on_hand_out(void *arg)
{
    struct cairn_staging *s = arg;

    while (!cairn_list_is_empty(&s->waiters)) {
        struct cairn_staging_buf *b = take_idle(s);
        struct cairn_staging_wait *w;

        if (b == NULL)
            break;
        w = CONTAINER_OF(cairn_list_pop(&s->waiters), struct cairn_staging_wait, link);
        s->waiting--;
        w->got(w, b);
    }
}

static void on_trim(void *arg)
{
    struct cairn_staging *s = arg;
    struct cairn_staging_buf *b;

    while ((b = take_idle(s)) != NULL)
        buf_free(s, b);
}

void cairn_staging_init(struct cairn_staging *s, struct cairn_loop *loop, uint64_t bytes, uint32_t max,
                        uint32_t wait_max)
{
    *s = (struct cairn_staging){
        .loop = loop, .bytes = cairn_round_up(bytes, CAIRN_STAGING_ALIGN), .max = MAX(max, 1), .wait_max = wait_max
    };
    cairn_list_init(&s->idle);
    cairn_list_init(&s->waiters);
    cairn_task_init(&s->hand_out, on_hand_out, s);
    cairn_timer_init(&s->trim, on_trim, s);
}

void cairn_staging_fini(struct cairn_staging *s)
{
    CAIRN_ASSERT(s->idle_n == s->made && cairn_list_is_empty(&s->waiters));
    cairn_timer_stop(&s->loop->env, &s->trim);
    cairn_task_cancel(&s->hand_out);
    on_trim(s);
}

int cairn_staging_get(struct cairn_staging *s, struct cairn_staging_wait *wait, struct cairn_staging_buf **buf)
{
    cairn_list_init(&wait->link);
    if (cairn_list_is_empty(&s->waiters)) {
        *buf = take_idle(s);
        if (*buf == NULL && s->made < s->max) {
            *buf = buf_new(s);
            if (*buf == NULL && s->made == 0)
                return CAIRN_E_NOMEM;
        }
        if (*buf != NULL)
            return 0;
    }
    if (s->waiting >= s->wait_max)
        return CAIRN_E_BUSY;
    cairn_list_add_tail(&s->waiters, &wait->link);
    s->waiting++;
    return 1;
}

void cairn_staging_cancel(struct cairn_staging *s, struct cairn_staging_wait *wait)
{
    if (cairn_list_is_empty(&wait->link))
        return;
    cairn_list_del(&wait->link);
    s->waiting--;
}

void cairn_staging_put(struct cairn_staging *s, struct cairn_staging_buf *buf)
{
    cairn_list_add_head(&s->idle, &buf->link); /* the warm one first */
    s->idle_n++;
    if (!cairn_list_is_empty(&s->waiters))
        cairn_env_defer(&s->loop->env, &s->hand_out);
    else if (s->idle_n == s->made)
        cairn_timer_start(&s->loop->env, &s->trim, cairn_loop_now(s->loop) + CAIRN_STAGING_IDLE_MS * CAIRN_NS_PER_MS);
}
