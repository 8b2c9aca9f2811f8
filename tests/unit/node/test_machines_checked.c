/* A node whose tables of state machines are broken says so and does not start. This program has a list of providers
 * of its own. */
#include "cairn/server.h"
#include "server/port/provider.h"
#include "tests/lib/scratch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { ODD_IDLE, ODD_DONE, ODD_NR };

static bool always(const struct cairn_sm *sm)
{
    return sm->set != NULL;
}

/* No way leads to its end. */
static const struct cairn_sm_state broken_states[ODD_NR] = {
    [ODD_IDLE] = { "IDLE", CAIRN_SM_INITIAL, CAIRN_SM_TO(ODD_IDLE) },
    [ODD_DONE] = { "DONE", CAIRN_SM_FINAL, 0 },
};
static const struct cairn_sm_state whole_states[ODD_NR] = {
    [ODD_IDLE] = { "IDLE", CAIRN_SM_INITIAL, CAIRN_SM_TO(ODD_DONE) },
    [ODD_DONE] = { "DONE", CAIRN_SM_FINAL, 0 },
};
static const struct cairn_sm_kind broken_kind = { "odd-broken", broken_states, ODD_NR, always, 0 };
static const struct cairn_sm_kind twin_kind = { "router-put", whole_states, ODD_NR, always, 0 };
static const struct cairn_sm_kind whole_kind = { "odd-whole", whole_states, ODD_NR, always, 0 };

static int starts;

static int odd_start(const struct cairn_provider_env *env, void **ctx, struct cairn_err *err)
{
    (void)env;
    (void)err;
    *ctx = &starts;
    starts++;
    return 0;
}

static void odd_stop(void *ctx)
{
    (void)ctx;
}

static const struct cairn_rpc_iface odd_iface = { "odd", NULL, 0 };
static const struct cairn_conf_key odd_schema[] = { { .name = NULL } };

#define ODD(type_, kind)                                                                                               \
    {                                                                                                                  \
        .type = type_, .iface = &odd_iface, .schema = odd_schema,                                                      \
        .machines = (const struct cairn_sm_kind *const[]){ kind, NULL }, .start = odd_start, .stop = odd_stop          \
    }
static const struct cairn_provider_desc whole = ODD("whole", &whole_kind), broken = ODD("broken", &broken_kind),
                                        twin = ODD("twin", &twin_kind);
const struct cairn_provider_desc *const cairn_provider_list[] = { &whole, &broken, &twin, NULL };

static char dir[SCRATCH_MAX];

static int setup(void **state)
{
    (void)state;
    scratch_new(dir);
    starts = 0;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    scratch_remove(dir);
    return 0;
}

static int start_with(const char *type, char *text, size_t len)
{
    struct cairn_server_options o = CAIRN_SERVER_OPTIONS_INIT;
    struct cairn_server *s = NULL;
    char path[96];
    FILE *f;
    int rc;

    snprintf(path, sizeof(path), "%s/cairn.yaml", dir);
    f = fopen(path, "w");
    assert_non_null(f);
    fprintf(f,
            "node: { data: %s/d, workers: 1 }\nworkspace: %s/w\nlisten: [ \"unix://%s/s\" ]\n"
            "providers:\n  - { name: p, type: %s }\n",
            dir, dir, dir, type);
    fclose(f);
    o.file = path;
    rc = cairn_server_start(&o, &s, text, len);
    cairn_server_free(s);
    return rc;
}

static void a_broken_table_keeps_the_node_from_starting(void **state)
{
    char text[512];

    (void)state;
    assert_int_equal(start_with("broken", text, sizeof(text)), CAIRN_E_INTERNAL);
    assert_non_null(strstr(text, "odd-broken"));
    assert_int_equal(starts, 0); /* before anything of a provider's is touched */
}

static void two_kinds_of_one_name_keep_it_too(void **state)
{
    char text[512];

    (void)state;
    assert_int_equal(start_with("twin", text, sizeof(text)), CAIRN_E_INTERNAL);
    assert_non_null(strstr(text, "router-put"));
    assert_int_equal(starts, 0);
}

static void a_whole_one_does_not(void **state)
{
    char text[512];

    (void)state;
    if (start_with("whole", text, sizeof(text)) != 0)
        fail_msg("%s", text);
    assert_int_equal(starts, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_broken_table_keeps_the_node_from_starting, setup, teardown),
        cmocka_unit_test_setup_teardown(two_kinds_of_one_name_keep_it_too, setup, teardown),
        cmocka_unit_test_setup_teardown(a_whole_one_does_not, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
