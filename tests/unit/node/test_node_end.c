/* The end of a node whose workers still need one another. */
#include "cairn/admin.h"
#include "server/node/node.h"
#include "tests/lib/patience.h"
#include "tests/lib/scratch.h"

#include "schema/router.pb-c.h"

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { SLOW_MS = 300, WAIT_MS = 20000 };

static void on_created(void *arg, int rc)
{
    (void)rc; /* made or unknown: its connection was cut */
    *(bool *)arg = true;
}

/* A disk that is slow until worker 0 has ended, or for a while if it does not. */
static void slow_work(struct cairn_job *job)
{
    struct cairn_server *s = job->arg;

    WHILE_PATIENT (atomic_load(&s->rpc_node.counters.connections) > 0)
        poll(NULL, 0, 1);
    for (int i = 0; i < SLOW_MS && !atomic_load(&s->workers[0].loop.stop); i++)
        poll(NULL, 0, 1);
}

static void slow_done(struct cairn_job *job)
{
    (void)job;
}

static struct cairn_server *start(const char *dir)
{
    struct cairn_server_options o = CAIRN_SERVER_OPTIONS_INIT;
    struct cairn_server *s = NULL;
    char path[96], text[512];
    FILE *f;

    snprintf(path, sizeof(path), "%s/cairn.yaml", dir);
    f = fopen(path, "w");
    assert_non_null(f);
    fprintf(f,
            "node: { data: %s/d, workers: 2, pool_threads: 1 }\nworkspace: %s/w\nlisten: [ \"unix://%s/s\" ]\n"
            "limits: { drain: 0s }\nproviders:\n  - { name: kv, type: kv, backend: memory }\n",
            dir, dir, dir);
    fclose(f);
    o.file = path;
    if (cairn_server_start(&o, &s, text, sizeof(text)) != 0)
        fail_msg("%s", text);
    return s;
}

static uint64_t creates_running(struct cairn_server *s)
{
    struct cairn_rpc_stats_sum sum;

    for (uint32_t i = 0; i < s->ntargets; i++) {
        if (s->targets[i].id == CAIRN_PROVIDER_ROUTER) {
            cairn_metrics_method(&s->metrics, &s->targets[i], CAIRN__WIRE__ROUTER_METHOD__ROUTER_NS_CREATE, &sum);
            return cairn_rpc_stats_inflight(&sum);
        }
    }
    return 0;
}

/* A namespace is being made by a client of worker 1, on worker 0, whose part waits for the disk: worker 0 has no
 * request of its own, and must not end before that one has. */
static void no_worker_ends_before_all_are_idle(void **state)
{
    struct cairn_options o = CAIRN_OPTIONS_INIT;
    struct cairn_ns_options no = CAIRN_NS_OPTIONS_INIT;
    struct cairn_error_info e;
    char dir[SCRATCH_MAX];
    struct cairn_job slow = { .work = slow_work, .done = slow_done };
    struct cairn_server *s;
    struct cairn *c[2]; /* dealt out to the two workers in turn */
    bool over = false;

    (void)state;
    scratch_new(dir);
    s = start(dir);
    slow.arg = s;
    o.workspace = cairn_server_workspace(s);
    for (int i = 0; i < 2; i++) {
        if (cairn_connect(&o, &c[i], &e) != 0)
            fail_msg("%s", e.text);
    }
    assert_int_equal(cairn_pool_submit(s->pool, &s->workers[1].loop, &slow), 0);
    no.durability = CAIRN_DURABILITY_MEMORY;
    assert_int_equal(cairn_ns_create_async(c[1], "n", &no, NULL, on_created, &over), 0);
    WHILE_PATIENT (creates_running(s) == 0)
        cairn_poll(c[1], 1);
    cairn_server_request_stop(s);
    assert_int_equal(cairn_server_wait(s, WAIT_MS), 0);
    cairn_server_free(s);
    for (int i = 0; i < 2; i++)
        cairn_close(c[i]);
    assert_true(over);
    scratch_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(no_worker_ends_before_all_are_idle) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
