/* What the tests of routed calls share: a client of scripted nodes. */
#ifndef CAIRN_TESTS_ROUTED_FIXTURE_H
#define CAIRN_TESTS_ROUTED_FIXTURE_H

#include "cairn/hashed.h"
#include "sdk/client/routing_internal.h"
#include "sdk/core/net/host.h"
#include "tests/lib/scripted_cluster.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

struct routed {
    struct scripted_cluster *cluster;
    struct cairn *c;
    struct cairn_ns *ns;
    struct cairn_error_info error;
    struct cairn_call_options o;
};

/* A client that has at most @inflight_max calls at a time; 0: as many as it may. */
static inline struct routed *routed_new_with(uint32_t nodes, bool write_once, uint32_t inflight_max)
{
    struct cairn_options o = CAIRN_OPTIONS_INIT;
    struct routed *x = calloc(1, sizeof(*x));

    x->cluster = scripted_cluster_start(nodes, write_once);
    assert_non_null(x->cluster);
    o.workspace = scripted_cluster_workspace(x->cluster);
    o.timeout_ms = 20000;
    o.inflight_max = inflight_max;
    x->o = (struct cairn_call_options)CAIRN_CALL_OPTIONS_INIT;
    x->o.error = &x->error;
    if (cairn_connect(&o, &x->c, &x->error) != 0)
        fail_msg("%s", x->error.text);
    assert_int_equal(cairn_ns_open(x->c, "data", &x->ns, NULL), 0);
    return x;
}

static inline struct routed *routed_new(uint32_t nodes, bool write_once)
{
    return routed_new_with(nodes, write_once, 0);
}

static inline void routed_free(struct routed *x)
{
    cairn_ns_close(x->ns);
    cairn_close(x->c);
    scripted_cluster_free(x->cluster);
    free(x);
}

/* The @nth key whose slot @node leads. */
static inline const char *key_of(struct routed *x, uint32_t node, uint32_t nth)
{
    static char key[32];

    for (uint32_t i = 0;; i++) {
        int n = snprintf(key, sizeof(key), "k%u", i);

        if (scripted_cluster_leader(x->cluster, scripted_cluster_slot(key, (size_t)n)) == node && nth-- == 0)
            return key;
    }
}

static inline struct scripted_member *node_of(struct routed *x, uint32_t node)
{
    return scripted_cluster_node(x->cluster, node);
}

/* What an asynchronous call came to. */
struct outcome {
    int runs, rc;
};

static inline void on_done(void *arg, int rc)
{
    struct outcome *out = arg;

    out->runs++;
    out->rc = rc;
}

/* Before the time of a call is over that was given none: what waits for that instead is told from a machine that is slow. */
enum { SOON_S = 20 };

static inline double seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

#endif
