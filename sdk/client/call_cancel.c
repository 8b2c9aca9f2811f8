/* Calls that are to end early. Whoever asks may be any thread: the call is the owner's of the loop, so the wish goes
 * there, behind the call if that is still on its way. */
#include "sdk/client/client_internal.h"

#include <stdlib.h>

void cairn__call_cancel(struct cairn_call *call)
{
    call->canceled = true; /* what is between two requests sees it before the next one */
    if (call->inner_calls != NULL)
        call->inner_calls->cancel(call->inner_calls);
    if (call->route.on)
        cairn__route_cancel(call);
    if (call->again.on)
        cairn__again_cancel(call);
    if (call->begun && cairn_rpc_call_is_running(&call->rpc))
        cairn_rpc_call_cancel(&call->rpc);
}

struct cancel {
    struct cairn_task task;
    struct cairn *c;
    bool all;
    uint64_t number;
};

static void cancel_number(struct cairn *c, uint64_t number)
{
    uint32_t index = (uint32_t)number - 1;
    struct cairn_call *call = NULL;

    pthread_mutex_lock(&c->mutex);
    if (index < c->ncalls)
        call = c->calls[index];
    pthread_mutex_unlock(&c->mutex);
    if (call != NULL && cairn__call_number(call) == number)
        cairn__call_cancel(call); /* perhaps not begun yet: then it ends as soon as it begins */
}

void cairn__cancel_all(struct cairn *c)
{
    CAIRN_LIST_FOREACH (l, &c->live)
        cairn__call_cancel(CONTAINER_OF(l, struct cairn_call, link));
}

static void cancel(struct cairn *c, bool all, uint64_t number)
{
    if (all)
        cairn__cancel_all(c);
    else
        cancel_number(c, number);
}

static void on_cancel(void *arg)
{
    struct cancel *x = arg;

    cancel(x->c, x->all, x->number);
    free(x);
}

static int ask_to_cancel(struct cairn *c, bool all, uint64_t number)
{
    bool inside = cairn__is_inside(c);
    struct cancel *x;

    if (inside || cairn__own_try(c)) {
        cancel(c, all, number);
        if (!inside)
            cairn__disown(c);
        return 0;
    }
    x = malloc(sizeof(*x));
    if (x == NULL)
        return CAIRN_E_NOMEM;
    x->c = c;
    x->all = all;
    x->number = number;
    cairn_task_init(&x->task, on_cancel, x);
    cairn_list_init(&x->task.link);
    cairn_loop_post(&c->loop, &x->task); /* behind the call itself, if that is still on its way to the owner */
    return 0;
}

int cairn_cancel(struct cairn *c, uint64_t number)
{
    return ask_to_cancel(c, false, number);
}

int cairn_cancel_all(struct cairn *c)
{
    return ask_to_cancel(c, true, 0);
}
