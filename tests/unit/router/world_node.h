/** A world's life: requests to its services wait in one queue, whose order a seed decides; start, stop, crash and the
 * end. */
#ifndef CAIRN_TEST_ROUTER_WORLD_NODE_H
#define CAIRN_TEST_ROUTER_WORLD_NODE_H

#include "world_extent.h"

static void on_request(struct cairn_rpc_req *rq)
{
    struct world *w = rq->target->ctx;

    assert_true(w->npending < PENDING_MAX);
    w->pending[w->npending++] = rq;
}

static cairn_rpc_handler *const kv_service[] = {
    on_request, on_request, on_request, on_request, on_request, on_request, on_request, on_request,
    on_request, on_request, on_request, on_request, on_request, on_request, on_request,
};
static cairn_rpc_handler *const extent_service[] = {
    on_request, on_request, on_request, on_request, on_request, on_request, on_request, on_request, on_request,
};

/* What the failing call would have done, without anybody hearing of it. */
static void serve_unheard(struct world *w, struct cairn_rpc_req *rq)
{
    if (rq->target->iface == &cairn_iface_kv && rq->method_no == CAIRN__WIRE__KV_METHOD__KV_PUT) {
        const Cairn__Wire__KvPut *m = (const Cairn__Wire__KvPut *)rq->msg;

        kv_put_one(w, m->db, m->key, rq->payload, rq->payload_len, m->if_absent, NULL);
    }
}

/* Carries out one of the calls that wait. */
static bool serve_one(struct world *w)
{
    struct cairn_rpc_req *rq;
    uint32_t i;

    if (w->npending == 0)
        return false;
    i = (uint32_t)(world_random(w) % w->npending);
    rq = w->pending[i];
    w->pending[i] = w->pending[--w->npending];
    if (w->before != NULL)
        w->before(w, rq);
    if (++w->calls == w->fail_at) {
        if (w->fail_after)
            serve_unheard(w, rq);
        cairn_rpc_reply_err(rq, w->fail_rc, "injected");
    } else if (rq->canceled) {
        cairn_rpc_reply(rq, CAIRN_E_CANCELED, NULL, NULL, 0);
    } else if (rq->target->iface == &cairn_iface_kv) {
        kv_serve(w, rq, rq->method_no);
    } else {
        extent_serve(w, rq, rq->method_no);
    }
    return true;
}

static void world_turn(struct world *w)
{
    bool served = serve_one(w);

    for (uint32_t i = 0; i < WORKERS; i++)
        cairn_loop_turn(&w->loops[i], served || w->npending > 0 ? 0 : CAIRN_NS_PER_MS / 4);
}

static void on_quiesced(void *arg)
{
    *(bool *)arg = true;
}

static inline int world_start_rc(struct world *w, struct cairn_err *err)
{
    struct cairn_provider_env env = { .name = "router",
                                      .dir = w->dir,
                                      .pool = w->pool,
                                      .loops = w->loop_pointers,
                                      .nloops = WORKERS,
                                      .targets = w->targets,
                                      .ntargets = ARRAY_SIZE(w->targets) };
    int rc = cairn_router_start(&env, &w->conf, &w->router, err);

    if (rc != 0)
        return rc;
    w->targets[0].ctx = w->router;
    for (uint32_t i = 0; i < WORKERS; i++)
        cairn_router_attach(w->router, w->rpcs[i]);
    cairn_router_desc.run(w->router);
    return 0;
}

static void world_start(struct world *w)
{
    struct cairn_err err = { 0 };

    if (world_start_rc(w, &err) != 0)
        fail_msg("%s", err.text);
}

static void world_stop(struct world *w)
{
    bool quiesced = false;

    if (w->router == NULL)
        return;
    cairn_router_desc.quiesce(w->router, on_quiesced, &quiesced);
    assert_false(quiesced); /* never inside the call */
    while (!quiesced)
        world_turn(w);
    cairn_router_desc.stop(w->router);
    w->router = NULL;
}

static inline bool sweep_is_over(struct world *w)
{
    struct cairn_sm_census rows[32];
    uint32_t n = cairn_sm_set_census(&w->loops[0].machines, rows, ARRAY_SIZE(rows));

    for (uint32_t i = 0; i < n; i++) {
        if (rows[i].kind == &router_sweep_kind)
            return false;
    }
    return true;
}

static inline void wait_sweep(struct world *w)
{
    while (!sweep_is_over(w))
        world_turn(w);
}

/* As if the process had died, and another one started. */
static inline void world_crash(struct world *w)
{
    char path[96];
    FILE *f;

    world_stop(w);
    snprintf(path, sizeof(path), "%s/running", w->dir);
    f = fopen(path, "w");
    assert_non_null(f);
    fclose(f);
}

static int world_setup(void **state)
{
    struct world *w = calloc(1, sizeof(*w));

    assert_non_null(w);
    w->seed = 1;
    w->kv_backend = "rocksdb";
    w->conf.region_bytes = REGION;
    scratch_new(w->dir);
    w->pool = cairn_pool_new(1, 256, NULL);
    assert_non_null(w->pool);
    w->targets[0] = (struct cairn_rpc_target){ .iface = &cairn_iface_router,
                                               .handlers = cairn_router_desc.handlers,
                                               .name = "router",
                                               .id = CAIRN_PROVIDER_ROUTER };
    w->targets[1] = (struct cairn_rpc_target){
        .iface = &cairn_iface_kv, .handlers = kv_service, .ctx = w, .name = "kv0", .id = CAIRN_PROVIDER_FIRST
    };
    w->targets[2] = (struct cairn_rpc_target){ .iface = &cairn_iface_extent,
                                               .handlers = extent_service,
                                               .ctx = w,
                                               .name = "extent0",
                                               .id = CAIRN_PROVIDER_FIRST + 1 };
    for (uint32_t i = 0; i < WORKERS; i++) {
        struct cairn_loop_conf loop_conf = { 0 };
        struct cairn_bulk_conf bulk = { 0 };
        struct cairn_rpc_conf conf = { .index = i, .targets = w->targets, .ntargets = ARRAY_SIZE(w->targets) };

        assert_int_equal(cairn_loop_init(&w->loops[i], &loop_conf, NULL), 0);
        w->loop_pointers[i] = &w->loops[i];
        w->rpcs[i] = cairn_rpc_new(&w->loops[i], &conf, NULL);
        assert_non_null(w->rpcs[i]);
        assert_int_equal(cairn_bulk_attach(w->rpcs[i], &bulk, NULL), 0);
    }
    world_start(w);
    *state = w;
    return 0;
}

static int world_teardown(void **state)
{
    struct world *w = *state;

    world_stop(w);
    for (uint32_t i = 0; i < WORKERS; i++) {
        assert_int_equal(w->loops[i].machines.nlive, 0);
        cairn_bulk_detach(w->rpcs[i]);
        cairn_rpc_free(w->rpcs[i]);
        cairn_loop_fini(&w->loops[i]);
    }
    cairn_pool_free(w->pool);
    while (w->nentries > 0)
        entry_del(w, w->nentries - 1);
    while (w->nregions > 0)
        free(w->regions[--w->nregions].bytes);
    scratch_remove(w->dir);
    free(w);
    return 0;
}

#endif
