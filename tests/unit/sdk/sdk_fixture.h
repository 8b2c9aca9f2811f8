/* What the tests of calls share: a client of a node that misbehaves when told to. */
#ifndef CAIRN_TESTS_SDK_FIXTURE_H
#define CAIRN_TESTS_SDK_FIXTURE_H

#include "cairn/admin.h"
#include "cairn/hashed.h"
#include "sdk/client/client_internal.h"
#include "tests/lib/scripted_node.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { MIB = 1 << 20 };

struct fixture {
    struct scripted_node *node;
    struct scripted_knobs *knobs;
    struct cairn *c;
    struct cairn_ns *ns;
    struct cairn_error_info error;
    struct cairn_call_options o;
};

static void connect_with(struct fixture *fx, uint32_t inflight_max)
{
    struct cairn_options o = CAIRN_OPTIONS_INIT;

    o.workspace = scripted_node_workspace(fx->node);
    o.inflight_max = inflight_max;
    o.timeout_ms = 20000;
    if (cairn_connect(&o, &fx->c, &fx->error) != 0)
        fail_msg("%s", fx->error.text);
    assert_int_equal(cairn_ns_open(fx->c, "data", &fx->ns, NULL), 0);
}

static int setup(void **state)
{
    struct fixture *fx = calloc(1, sizeof(*fx));

    fx->node = scripted_node_start();
    assert_non_null(fx->node);
    fx->knobs = scripted_node_knobs(fx->node);
    fx->o = (struct cairn_call_options)CAIRN_CALL_OPTIONS_INIT;
    fx->o.error = &fx->error;
    *state = fx;
    connect_with(fx, 0);
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fx = *state;

    cairn_ns_close(fx->ns);
    cairn_close(fx->c);
    scripted_node_free(fx->node);
    free(fx);
    return 0;
}

/* What an asynchronous call came to. */
struct outcome {
    int runs, rc;
    pthread_t thread;
};

static inline void on_done(void *arg, int rc)
{
    struct outcome *out = arg;

    out->runs++;
    out->rc = rc;
    out->thread = pthread_self();
}

static inline uint8_t *pattern(size_t n, unsigned seed)
{
    uint8_t *p = malloc(n + 1);

    for (size_t i = 0; i < n; i++)
        p[i] = (uint8_t)(i * 131 + i / 251 + seed);
    return p;
}

#endif
