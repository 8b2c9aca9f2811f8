/* Calls of the SDK, in both forms, against a node that lives in this process: the real router and the real providers,
 * once over its unix socket and once over TCP with the cluster key. */
#ifndef CAIRN_TESTS_SDK_NODE_FIXTURE_H
#define CAIRN_TESTS_SDK_NODE_FIXTURE_H

#include "cairn/admin.h"
#include "cairn/hashed.h"
#include "cairn/server.h"
#include "tests/lib/scratch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { MIB = 1 << 20 };

struct group {
    struct cairn_server *server;
    char dir[SCRATCH_MAX], workspace[96];
};

/* One way to enter, and one form of every call. */
struct fixture {
    struct cairn *c;
    struct cairn_error_info error;
    struct cairn_call_options o;
    bool async;
    int rc; /* of the asynchronous call */
    bool over;
};

static struct group the_node;
#define THE_NODE "meant"

static inline int group_setup(void **state)
{
    struct cairn_server_options so = CAIRN_SERVER_OPTIONS_INIT;
    struct cairn_server_setting settings[6];
    char text[2000] = "", data[96], sock[128];

    (void)state;
    scratch_new(the_node.dir);
    snprintf(data, sizeof(data), "%s/data", the_node.dir);
    snprintf(the_node.workspace, sizeof(the_node.workspace), "%s/ws", the_node.dir);
    snprintf(sock, sizeof(sock), "[\"unix://%s/s\", \"tcp://127.0.0.1:0\"]", the_node.dir);
    settings[0] = (struct cairn_server_setting){ "node.data", data, "test" };
    settings[1] = (struct cairn_server_setting){ "workspace", the_node.workspace, "test" };
    settings[2] = (struct cairn_server_setting){ "listen", sock, "test" };
    settings[3] = (struct cairn_server_setting){ "node.workers", "2", "test" };
    settings[4] = (struct cairn_server_setting){ "node.log_level", "warn", "test" };
    settings[5] = (struct cairn_server_setting){ "node.name", THE_NODE, "test" };
    so.settings = settings;
    so.nsettings = 6;
    if (cairn_server_start(&so, &the_node.server, text, sizeof(text)) != 0) {
        fprintf(stderr, "%s\n", text);
        return -1;
    }
    return 0;
}

static inline int group_teardown(void **state)
{
    (void)state;
    cairn_server_free(the_node.server);
    scratch_remove(the_node.dir);
    return 0;
}

static inline int connect_to(void **state, const char *scheme, bool async)
{
    struct fixture *fx = calloc(1, sizeof(*fx));
    struct cairn_options o = CAIRN_OPTIONS_INIT;
    const char *address = NULL;

    for (uint32_t i = 0; (address = cairn_server_address(the_node.server, i)) != NULL; i++) {
        if (strncmp(address, scheme, strlen(scheme)) == 0)
            break;
    }
    assert_non_null(address);
    o.addresses = address;
    o.workspace = the_node.workspace; /* for the key */
    fx->async = async;
    fx->o = (struct cairn_call_options)CAIRN_CALL_OPTIONS_INIT;
    fx->o.error = &fx->error;
    if (cairn_connect(&o, &fx->c, &fx->error) != 0)
        fail_msg("%s", fx->error.text);
    *state = fx;
    return 0;
}

static inline int setup_unix(void **state)
{
    return connect_to(state, "unix:", false);
}

static inline int setup_unix_async(void **state)
{
    return connect_to(state, "unix:", true);
}

static inline int setup_tcp(void **state)
{
    return connect_to(state, "tcp:", false);
}

static inline int setup_tcp_async(void **state)
{
    return connect_to(state, "tcp:", true);
}

static inline int teardown(void **state)
{
    struct fixture *fx = *state;

    cairn_close(fx->c);
    free(fx);
    return 0;
}

static inline void on_done(void *arg, int rc)
{
    struct fixture *fx = arg;

    fx->rc = rc;
    fx->over = true;
}

static inline int finish(struct fixture *fx, int rc)
{
    if (rc != 0)
        return rc;
    while (!fx->over)
        assert_true(cairn_poll(fx->c, -1) >= 0);
    return fx->rc;
}

/* The call in the form that the fixture is about. */
#define CALL(fx, name, ...)                                                                                            \
    ((fx)->over = false,                                                                                               \
     (fx)->async ? finish((fx), name##_async(__VA_ARGS__, &(fx)->o, on_done, (fx))) : name(__VA_ARGS__, &(fx)->o))
#define OK(fx, name, ...)                                                                                              \
    do {                                                                                                               \
        int rc_ = CALL(fx, name, __VA_ARGS__);                                                                         \
        if (rc_ != 0)                                                                                                  \
            fail_msg("%s: %s: %s", #name, cairn_error_name(rc_), (fx)->error.text);                                    \
    } while (0)
#define FAILS(fx, rc, name, ...) assert_int_equal(CALL(fx, name, __VA_ARGS__), rc)

static inline uint8_t *pattern(size_t n, unsigned seed)
{
    uint8_t *p = malloc(n + 1);

    for (size_t i = 0; i < n; i++)
        p[i] = (uint8_t)(i * 131 + i / 251 + seed);
    return p;
}

/* The test in one form over one way, and in both over both. */
#define T(name, way) cmocka_unit_test_setup_teardown(name, setup_##way, teardown)
#define ALL(name)    T(name, unix), T(name, unix_async), T(name, tcp), T(name, tcp_async)

#endif
