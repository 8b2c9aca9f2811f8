/* A store in a real etcd, for tests: see map_world.h. One etcd serves all worlds of a program; each has keys of its
 * own. */
#include "server/cluster/map_store_etcd.h"
#include "tests/lib/etcd.h"
#include "tests/lib/forward.h"
#include "tests/lib/map_world.h"
#include "tests/lib/patience.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

struct etcd_world {
    struct map_world w;
    struct cairn_loop loop;
    struct forward *forward;
    struct cairn_map_store *other;
    char prefix[32];
};

static struct etcd_server *server;
static unsigned worlds;

static void server_free(void)
{
    etcd_free(server);
}

static struct cairn_map_store *store_open(struct etcd_world *e, uint16_t port)
{
    char url[64];
    const char *endpoints[] = { url };
    struct cairn_map_etcd_conf conf = { .endpoints = endpoints, .nendpoints = 1, .prefix = e->prefix };
    struct cairn_map_store *s;
    struct cairn_err err = { 0 };

    snprintf(url, sizeof(url), "http://127.0.0.1:%u", port);
    if (cairn_map_store_etcd_open(&conf, &e->loop, &s, &err) != 0 ||
        cairn_map_store_await(s, PATIENCE_S * 1000, &err) != 0)
        fail_msg("%s", err.text);
    return s;
}

static struct map_world *etcd_open(void)
{
    struct etcd_world *e = calloc(1, sizeof(*e));
    uint16_t port;

    assert_non_null(e);
    if (server == NULL) {
        server = etcd_new(NULL);
        atexit(server_free);
    }
    snprintf(e->prefix, sizeof(e->prefix), "/cairn/%u/", ++worlds);
    assert_int_equal(cairn_loop_init(&e->loop, NULL, NULL), 0);
    e->forward = forward_new(etcd_port(server), &port);
    e->w = (struct map_world){ .kind = &map_world_etcd, .loop = &e->loop };
    e->w.store = store_open(e, port);
    return &e->w;
}

static void etcd_close(struct map_world *w)
{
    struct etcd_world *e = CONTAINER_OF(w, struct etcd_world, w);

    cairn_map_store_close(w->store);
    if (e->other != NULL)
        cairn_map_store_close(e->other);
    forward_free(e->forward);
    cairn_loop_fini(&e->loop);
    free(e);
}

static void etcd_turn(struct map_world *w)
{
    cairn_loop_turn(w->loop, 50 * CAIRN_NS_PER_MS);
}

static struct cairn_map_store *etcd_other(struct map_world *w)
{
    struct etcd_world *e = CONTAINER_OF(w, struct etcd_world, w);

    if (e->other == NULL)
        e->other = store_open(e, etcd_port(server));
    return e->other;
}

static void etcd_reach(struct map_world *w, bool reachable)
{
    forward_set(CONTAINER_OF(w, struct etcd_world, w)->forward, reachable ? FORWARD_PASS : FORWARD_REFUSE);
}

static void etcd_mute(struct map_world *w, bool mute)
{
    forward_set(CONTAINER_OF(w, struct etcd_world, w)->forward, mute ? FORWARD_SWALLOW : FORWARD_PASS);
}

static void etcd_forget(struct map_world *w)
{
    (void)w;
    etcd_compact(server);
}

const struct map_world_kind map_world_etcd = {
    .name = "etcd",
    .open = etcd_open,
    .close = etcd_close,
    .turn = etcd_turn,
    .other = etcd_other,
    .reach = etcd_reach,
    .mute = etcd_mute,
    .compact = etcd_forget,
};
