/* This node's last word to the coordinator: its process stops. So what it holds is missed at once, and not when its
 * silence has lasted for a lease. See life.c. */
#include "server/cluster/service/life_internal.h"

#include "sdk/core/base/log.h"

enum { AGAIN_MS = 20 };

static void part_step(struct side_life *l);

static void part_over(struct side_life *l)
{
    void (*done)(void *arg) = l->part.done;

    l->part.done = NULL;
    done(l->part.arg);
}

static void on_again(void *arg)
{
    part_step(arg);
}

/* Nobody coordinates just now, or it is not known whether he has heard it. */
static void part_again(struct side_life *l)
{
    struct cairn_env *env = &l->c->home->env;
    uint64_t at = cairn_env_now_ns(env) + AGAIN_MS * CAIRN_NS_PER_MS;

    if (at >= l->part.until_ns || cairn_timer_start(env, &l->part.again, at) != 0) {
        cairn_log_warn("the coordinator was not told that this node stops: it will be missed when it is silent");
        part_over(l);
    }
}

static void on_parted(struct cairn_rpc_call *call)
{
    struct side_life *l = call->arg;

    if (life_step_over(l))
        return;
    if (call->rc == 0 || call->rc == CAIRN_E_STATE || call->rc == CAIRN_E_NOTFOUND)
        part_over(l); /* the other two: it knows of another process, or of none, and misses nothing */
    else
        part_again(l);
}

static void part_step(struct side_life *l)
{
    uint64_t now = cairn_env_now_ns(&l->c->home->env);
    struct cairn_rpc_dest dest;

    if (now >= l->part.until_ns || !life_find_coordinator(l, &dest)) {
        part_again(l);
        return;
    }
    life_call_prepare(l, &l->part.call, &dest, CAIRN__WIRE__CLUSTER_METHOD__CLUSTER_STOP, &l->part.msg.base, on_parted,
                      l);
    l->part.call.timeout_ns = l->part.until_ns - now;
    cairn_rpc_call_start(&l->part.call);
}

void side_life_part(struct cairn_cluster *c, uint64_t within_ns, void (*done)(void *arg), void *arg)
{
    struct side_life *l = c->side->life;

    if (l->sm.state != LIFE_BEATING) { /* it is not in the cluster */
        done(arg);
        return;
    }
    cairn_sm_move(&l->sm, LIFE_PARTING);
    l->part.until_ns = cairn_env_now_ns(&c->home->env) + within_ns;
    l->part.done = done;
    l->part.arg = arg;
    cairn__wire__cluster_stop__init(&l->part.msg);
    cairn__wire__repl_who__init(&l->part.who);
    l->part.who.node = c->node;
    l->part.who.inc = l->inc;
    l->part.msg.who = &l->part.who;
    cairn_timer_init(&l->part.again, on_again, l);
    part_step(l);
}
