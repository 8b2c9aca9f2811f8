/* Virtual time: see vtime.h. */
#include "tests/lib/vtime.h"

enum { VTIME_TIMERS_PER_TURN = 64 };

static uint64_t vtime_now(struct cairn_env *env)
{
    return CONTAINER_OF(env, struct vtime, env)->now_ns;
}

/* splitmix64 */
static uint64_t vtime_random(struct cairn_env *env)
{
    uint64_t z = CONTAINER_OF(env, struct vtime, env)->seed += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static const struct cairn_env_ops vtime_ops = { .now_ns = vtime_now, .random = vtime_random };

void vtime_init(struct vtime *v, uint64_t seed)
{
    CAIRN_ASSERT(cairn_env_init(&v->env, &vtime_ops) == 0);
    v->now_ns = CAIRN_NS_PER_S;
    v->seed = seed;
    cairn_sm_set_init(&v->machines, &v->env);
}

void vtime_fini(struct vtime *v)
{
    cairn_sm_set_fini(&v->machines);
    cairn_env_fini(&v->env);
}

bool vtime_turn(struct vtime *v, uint64_t until_ns)
{
    uint64_t next;

    cairn_sm_tick(&v->machines);
    if (cairn_env_run_tasks(&v->env))
        return true;
    next = cairn_env_next_timer_ns(&v->env);
    if (next > until_ns) {
        v->now_ns = MAX(v->now_ns, until_ns);
        return false;
    }
    v->now_ns = MAX(v->now_ns, next);
    cairn_sm_tick(&v->machines);
    cairn_env_run_timers(&v->env, v->now_ns, VTIME_TIMERS_PER_TURN);
    return true;
}

void vtime_run_ms(struct vtime *v, uint64_t ms)
{
    uint64_t until = v->now_ns + ms * CAIRN_NS_PER_MS;

    while (vtime_turn(v, until))
        ;
}
