/* One thread's end of the RPC layer: services and spare parts. See rpc.h. */
#include "sdk/core/rpc/hello.h"
#include "sdk/core/rpc/rpc_internal.h"

#include <stdlib.h>
#include <string.h>

struct cairn_rpc *cairn_rpc_new(struct cairn_loop *loop, const struct cairn_rpc_conf *conf, struct cairn_err *err)
{
    struct cairn_rpc *rpc = calloc(1, sizeof(*rpc));

    if (rpc == NULL) {
        cairn_err_set(err, CAIRN_E_NOMEM, "RPC");
        return NULL;
    }
    rpc->loop = loop;
    rpc->conf = *conf;
    cairn_list_init(&rpc->greeters);
    cairn_list_init(&rpc->spare_reqs);
    cairn_list_init(&rpc->peers);
    cairn_list_init(&rpc->dead_peers);
    cairn_task_init(&rpc->reaper, cairn_rpc__peers_reap, rpc);
    cairn_list_init(&rpc->locals);
    cairn_timer_init(&rpc->locals_timer, cairn_rpc__locals_sweep, rpc);
    cairn_rpc__sessions_init(rpc);
    for (uint32_t i = 0; i < conf->ntargets; i++) {
        const struct cairn_rpc_target *t = &conf->targets[i];

        CAIRN_ASSERT(t->id < CAIRN_PROVIDERS_MAX);
        CAIRN_ASSERT(rpc->targets[t->id] == NULL);
        rpc->targets[t->id] = t;
    }
    if (cairn_net_init(&rpc->net, loop) != 0) {
        cairn_err_set(err, CAIRN_E_NOMEM, "RPC");
        free(rpc);
        return NULL;
    }
    return rpc;
}

void cairn_rpc_free(struct cairn_rpc *rpc)
{
    struct cairn_link *l;

    CAIRN_ASSERT(cairn_rpc_is_idle(rpc));
    cairn_rpc__sessions_fini(rpc);
    cairn_timer_stop(&rpc->loop->env, &rpc->locals_timer);
    cairn_task_cancel(&rpc->reaper);
    cairn_rpc__peers_reap(rpc);
    while ((l = cairn_list_pop(&rpc->spare_reqs)) != NULL)
        free(CONTAINER_OF(l, struct cairn_rpc_req, link));
    cairn_net_fini(&rpc->net);
    free(rpc);
}

bool cairn_rpc_is_idle(const struct cairn_rpc *rpc)
{
    return rpc->ncalls == 0 && rpc->nreqs == 0 && rpc->npeers == 0;
}

struct cairn_loop *cairn_rpc_loop(struct cairn_rpc *rpc)
{
    return rpc->loop;
}

uint32_t cairn_rpc_index(const struct cairn_rpc *rpc)
{
    return rpc->conf.index;
}

struct cairn_bulk **cairn_rpc_bulk(struct cairn_rpc *rpc)
{
    return &rpc->bulk;
}

void cairn_rpc_set_bulk_hooks(struct cairn_rpc *rpc, const struct cairn_rpc_bulk_hooks *hooks)
{
    rpc->bulk_hooks = hooks;
}

const struct cairn_rpc_target *cairn_rpc_target_by_id(const struct cairn_rpc *rpc, uint32_t id)
{
    return id < CAIRN_PROVIDERS_MAX ? rpc->targets[id] : NULL;
}

const struct cairn_rpc_target *cairn_rpc_target_by_name(const struct cairn_rpc *rpc, const char *name)
{
    for (uint32_t i = 0; i < rpc->conf.ntargets; i++) {
        if (strcmp(rpc->conf.targets[i].name, name) == 0)
            return &rpc->conf.targets[i];
    }
    return NULL;
}

bool cairn_identity_is_in(const struct cairn_identity *who, gid_t group)
{
    for (uint32_t i = 0; i < who->ngroups; i++) {
        if (who->groups[i] == group)
            return true;
    }
    return who->gid == group;
}

static void *arena_pb_alloc(void *data, size_t n)
{
    return cairn_arena_alloc(data, n);
}

static void arena_pb_free(void *data, void *p)
{
    (void)data;
    (void)p; /* given back all at once, by cairn_arena_reset() */
}

ProtobufCAllocator cairn_rpc_arena_allocator(struct cairn_arena *a)
{
    return (ProtobufCAllocator){ .alloc = arena_pb_alloc, .free = arena_pb_free, .allocator_data = a };
}
