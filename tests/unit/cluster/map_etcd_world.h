/* A real etcd and a store on it, which a test opens itself: test_map_etcd.c, test_map_etcd_large.c. */
#ifndef CAIRN_TESTS_UNIT_MAP_ETCD_WORLD_H
#define CAIRN_TESTS_UNIT_MAP_ETCD_WORLD_H

#include "server/cluster/map_store_etcd.h"
#include "tests/lib/etcd.h"
#include "tests/lib/forward.h"
#include "tests/lib/map_world.h"
#include "tests/lib/scratch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct fixture {
    struct cairn_loop loop;
    struct map_world w;
    struct etcd_server *server;
    char dir[SCRATCH_MAX]; /* of certificates */
};

static inline int setup_with(void **state, const char *tls_dir)
{
    struct fixture *fx = calloc(1, sizeof(*fx));

    assert_non_null(fx);
    assert_int_equal(cairn_loop_init(&fx->loop, NULL, NULL), 0);
    fx->w = map_world_on(&fx->loop);
    fx->server = etcd_new(tls_dir);
    if (tls_dir != NULL)
        snprintf(fx->dir, sizeof(fx->dir), "%s", tls_dir);
    *state = fx;
    return 0;
}

static inline int setup(void **state)
{
    return setup_with(state, NULL);
}

static inline int teardown(void **state)
{
    struct fixture *fx = *state;

    if (fx->w.store != NULL)
        cairn_map_store_close(fx->w.store);
    cairn_loop_fini(&fx->loop);
    etcd_free(fx->server);
    if (fx->dir[0] != '\0')
        scratch_remove(fx->dir);
    free(fx);
    return 0;
}

static inline const char *url_of(char *to, const char *scheme, uint16_t port)
{
    snprintf(to, 64, "%s://127.0.0.1:%u", scheme, port);
    return to;
}

static inline void must_open(struct fixture *fx, struct cairn_map_etcd_conf *conf)
{
    struct cairn_err err = { 0 };

    conf->prefix = "/cairn/";
    if (cairn_map_store_etcd_open(conf, &fx->loop, &fx->w.store, &err) != 0)
        fail_msg("%s", err.text);
}

static inline void must_await(struct fixture *fx)
{
    struct cairn_err err = { 0 };

    if (cairn_map_store_await(fx->w.store, 10000, &err) != 0)
        fail_msg("%s", err.text);
}

static inline bool is_reachable(void *arg)
{
    struct cairn_map_health h;

    cairn_map_store_health(arg, &h);
    return h.reachable;
}

static inline bool is_unreachable(void *arg)
{
    return !is_reachable(arg);
}

#endif
