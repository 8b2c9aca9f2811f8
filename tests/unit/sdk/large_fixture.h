/* What the tests of large values share: a node in this process, two clients, and parts that are made small, so that
 * values of some MiB have many: what the SDK does with them does not depend on their size. */
#ifndef CAIRN_TESTS_LARGE_FIXTURE_H
#define CAIRN_TESTS_LARGE_FIXTURE_H

#include "cairn/admin.h"
#include "cairn/hashed.h"
#include "cairn/server.h"
#include "sdk/client/hashed_internal.h"
#include "tests/lib/patience.h"
#include "tests/lib/scratch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { KIB = 1 << 10, MIB = 1 << 20, PART = 256 * KIB };

struct fixture {
    struct cairn_server *server;
    char dir[SCRATCH_MAX];
    struct cairn *c, *other; /* two clients */
    struct cairn_ns *ns, *other_ns;
    struct cairn_error_info error;
    struct cairn_call_options o;
};

static void connect_to(struct fixture *fx, const char *scheme, struct cairn **c, struct cairn_ns **ns)
{
    struct cairn_options o = CAIRN_OPTIONS_INIT;
    char workspace[96];

    for (uint32_t i = 0; (o.addresses = cairn_server_address(fx->server, i)) != NULL; i++) {
        if (strncmp(o.addresses, scheme, strlen(scheme)) == 0)
            break;
    }
    snprintf(workspace, sizeof(workspace), "%s/ws", fx->dir);
    o.workspace = workspace;
    if (cairn_connect(&o, c, &fx->error) != 0)
        fail_msg("%s", fx->error.text);
    assert_int_equal(cairn_ns_open(*c, "data", ns, NULL), 0);
    assert_int_equal((*ns)->part_bytes, CAIRN_PART_BYTES); /* as the node tells */
    (*ns)->part_bytes = PART;
}

static int setup(void **state, const char *scheme)
{
    struct cairn_server_options so = CAIRN_SERVER_OPTIONS_INIT;
    struct fixture *fx = calloc(1, sizeof(*fx));
    struct cairn_ns_options no = CAIRN_NS_OPTIONS_INIT;
    char text[2000] = "", data[96], workspace[96], listen[160];
    struct cairn_options o = CAIRN_OPTIONS_INIT;
    struct cairn *c;

    scratch_new(fx->dir);
    snprintf(data, sizeof(data), "%s/data", fx->dir);
    snprintf(workspace, sizeof(workspace), "%s/ws", fx->dir);
    snprintf(listen, sizeof(listen), "[\"unix://%s/s\", \"tcp://127.0.0.1:0\"]", fx->dir);
    so.settings = (struct cairn_server_setting[]){ { "node.data", data, "test" },
                                                   { "workspace", workspace, "test" },
                                                   { "listen", listen, "test" },
                                                   { "node.workers", "2", "test" },
                                                   { "node.log_level", "warn", "test" } };
    so.nsettings = 5;
    if (cairn_server_start(&so, &fx->server, text, sizeof(text)) != 0)
        fail_msg("%s", text);
    o.workspace = workspace;
    assert_int_equal(cairn_connect(&o, &c, &fx->error), 0);
    assert_int_equal(cairn_ns_create(c, "data", &no, NULL), 0);
    no.write_once = true;
    assert_int_equal(cairn_ns_create(c, "once", &no, NULL), 0);
    cairn_close(c);
    connect_to(fx, scheme, &fx->c, &fx->ns);
    connect_to(fx, scheme, &fx->other, &fx->other_ns);
    fx->o = (struct cairn_call_options)CAIRN_CALL_OPTIONS_INIT;
    fx->o.error = &fx->error;
    *state = fx;
    return 0;
}

static int setup_unix(void **state)
{
    return setup(state, "unix:");
}

static int setup_tcp(void **state)
{
    return setup(state, "tcp:");
}

static int teardown(void **state)
{
    struct fixture *fx = *state;

    cairn_ns_close(fx->ns);
    cairn_ns_close(fx->other_ns);
    cairn_close(fx->c);
    cairn_close(fx->other);
    cairn_server_free(fx->server);
    scratch_remove(fx->dir);
    free(fx);
    return 0;
}

static uint8_t *pattern(size_t n, unsigned seed)
{
    uint8_t *p = malloc(n + 1);

    assert_non_null(p);
    for (size_t i = 0; i < n; i++)
        p[i] = (uint8_t)(i * 131 + i / 251 + (i >> 16) * 7 + seed);
    return p;
}

/* What the node keeps of values that are not complete. It may learn a moment later than the call ends that nobody wants
 * them: an ABORT has a time of its own. */
static void expect_no_uploads(struct fixture *fx)
{
    bool none = false;

    WHILE_PATIENT (!none) {
        char *text;

        assert_int_equal(cairn_status(fx->c, &text, NULL), 0);
        none = strstr(text, "\"uploads\": 0") != NULL || strstr(text, "\"uploads\":0") != NULL;
        cairn_free(text);
        if (!none)
            usleep(10000);
    }
}

static void expect(struct fixture *fx, const char *key, const uint8_t *value, size_t n)
{
    uint8_t *back = malloc(n + 1);
    size_t len = 0;
    uint64_t total = 0;
    void *own;

    if (cairn_get(fx->ns, key, strlen(key), back, n, &len, &fx->o) != 0)
        fail_msg("%zu: %s", n, fx->error.text);
    assert_int_equal(len, n);
    assert_memory_equal(back, value, n);
    assert_int_equal(cairn_get_alloc(fx->ns, key, strlen(key), &own, &len, &fx->o), 0);
    assert_int_equal(len, n);
    assert_memory_equal(own, value, n);
    cairn_free(own);
    for (size_t off = 1; off < n; off = off * 3 + 1000) {
        size_t want = MIN(n - off, (size_t)3 * PART + 12345);

        memset(back, 0, n);
        if (cairn_read(fx->ns, key, strlen(key), off, back, want, &len, &total, &fx->o) != 0)
            fail_msg("%zu of %zu: %s", off, n, fx->error.text);
        assert_int_equal(len, want);
        assert_int_equal(total, n);
        assert_memory_equal(back, value + off, want);
    }
    free(back);
}

struct outcome {
    bool over;
    int rc;
};

static void on_done(void *arg, int rc)
{
    *(struct outcome *)arg = (struct outcome){ true, rc };
}

#endif
