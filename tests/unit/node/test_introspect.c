/* Machines of several workers, each on its own thread, gathered by one of them. */
#include "server/node/introspect.h"

#include <jansson.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define TO CAIRN_SM_TO

enum { WORK_IDLE, WORK_BUSY, WORK_DONE, WORK_NR };
static const struct cairn_sm_state work_states[WORK_NR] = {
    [WORK_IDLE] = { "IDLE", CAIRN_SM_INITIAL, TO(WORK_BUSY) },
    [WORK_BUSY] = { "BUSY", 0, TO(WORK_DONE) },
    [WORK_DONE] = { "DONE", CAIRN_SM_FINAL, 0 },
};
static bool always(const struct cairn_sm *sm)
{
    return sm->set != NULL;
}
static const struct cairn_sm_kind work_kind = { "work", work_states, WORK_NR, always, 60000 };
static const struct cairn_sm_kind twin_kind = { "work", work_states, WORK_NR, always, 0 };

static struct cairn_loop *loop_new(void)
{
    struct cairn_loop *loop = calloc(1, sizeof(*loop));

    assert_non_null(loop);
    assert_int_equal(cairn_loop_init(loop, NULL, NULL), 0);
    return loop;
}

static void loop_free(struct cairn_loop *loop)
{
    cairn_loop_fini(loop);
    free(loop);
}

struct answer {
    char *text;
    uint32_t times;
};

static void on_answer(void *arg, char *text)
{
    struct answer *a = arg;

    a->text = text;
    a->times++;
}

static json_t *parse(struct answer *a)
{
    json_t *doc = json_loads(a->text, 0, NULL);

    assert_int_equal(a->times, 1);
    assert_non_null(doc);
    assert_int_equal(json_integer_value(json_object_get(doc, "version")), 1);
    free(a->text);
    a->text = NULL;
    return doc;
}

static json_t *kind_of(json_t *doc, const char *name)
{
    size_t i;
    json_t *k;

    json_array_foreach(json_object_get(doc, "kinds"), i, k)
    {
        if (strcmp(json_string_value(json_object_get(k, "kind")), name) == 0)
            return k;
    }
    return NULL;
}

static void *run_loop(void *arg)
{
    cairn_loop_run(arg);
    return NULL;
}

static uint64_t later(struct cairn_env *env)
{
    (void)env;
    return UINT64_MAX / 2;
}

static void counts_over_all_workers(void **state)
{
    struct cairn_loop *loops[3] = { loop_new(), loop_new(), loop_new() };
    const struct cairn_env_ops *real = loops[0]->env.ops;
    struct cairn_env_ops ops = *real;
    struct answer a = { 0 };
    struct cairn_sm sm[3];
    pthread_t threads[3];
    json_t *doc, *k, *busy;

    (void)state;
    for (int i = 0; i < 3; i++)
        cairn_sm_init(&sm[i], &work_kind, &loops[i]->machines);
    cairn_sm_move(&sm[1], WORK_BUSY);
    cairn_sm_move(&sm[2], WORK_BUSY);
    sm[2].since_ns -= MIN(sm[2].since_ns, 70 * CAIRN_NS_PER_S); /* there for longer than it should: stuck */
    for (int i = 1; i < 3; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, run_loop, loops[i]), 0);
    /* However slow this machine is, nothing becomes overdue: what is not back when the threads are stopped never
     * would be. */
    ops.now_ns = later;
    loops[0]->env.ops = &ops;
    assert_int_equal(cairn_introspect(loops, 3, loops[0], true, on_answer, &a), 0);
    loops[0]->env.ops = real;
    assert_int_equal(a.times, 0); /* never inside the call */
    while (a.times == 0)
        cairn_loop_turn(loops[0], UINT64_MAX);
    for (int i = 1; i < 3; i++) {
        cairn_loop_stop(loops[i]);
        pthread_join(threads[i], NULL);
    }
    doc = parse(&a);
    k = kind_of(doc, "work");
    assert_int_equal(json_integer_value(json_object_get(k, "live")), 3);
    assert_int_equal(json_integer_value(json_object_get(k, "stuck")), 1);
    assert_int_equal(json_array_size(json_object_get(k, "states")), 2);
    busy = json_array_get(json_object_get(k, "states"), 1);
    assert_string_equal(json_string_value(json_object_get(busy, "name")), "BUSY");
    assert_int_equal(json_integer_value(json_object_get(busy, "count")), 2);
    assert_in_range(json_integer_value(json_object_get(busy, "oldest_ms")), 70000, 70000 + 60000);
    assert_null(json_object_get(doc, "missing"));
    assert_int_equal(json_array_size(json_object_get(doc, "trace")), 2);
    assert_non_null(
        strstr(json_string_value(json_array_get(json_object_get(doc, "trace"), 0)), "] w1 work#1 IDLE -> BUSY"));
    assert_non_null(kind_of(doc, "introspect")); /* it sees itself */
    json_decref(doc);
    for (int i = 0; i < 3; i++) {
        if (sm[i].state == WORK_IDLE)
            cairn_sm_move(&sm[i], WORK_BUSY);
        cairn_sm_move(&sm[i], WORK_DONE);
        cairn_sm_fini(&sm[i]);
        loop_free(loops[i]);
    }
}

/* A worker that is stuck in a callback: the answer comes without it and says so; when it wakes up, nothing is lost. */
static void stuck_worker_is_named(void **state)
{
    struct cairn_loop *loops[2] = { loop_new(), loop_new() };
    const struct cairn_env_ops *real = loops[0]->env.ops;
    struct cairn_env_ops ops = *real;
    struct answer a = { 0 };
    uint64_t before;
    json_t *doc;

    (void)state;
    before = cairn_env_now_ns(&loops[0]->env);
    assert_int_equal(cairn_introspect(loops, 2, loops[0], false, on_answer, &a), 0);
    cairn_loop_turn(loops[0], 0);
    assert_int_equal(a.times, 0);
    assert_int_equal(loops[0]->env.timers.n, 1);
    assert_in_range(loops[0]->env.timers.heap[1]->at_ns, before + 1000 * CAIRN_NS_PER_MS,
                    cairn_loop_now(loops[0]) + 3000 * CAIRN_NS_PER_MS);
    ops.now_ns = later;
    loops[0]->env.ops = &ops;
    cairn_env_run_timers(&loops[0]->env, UINT64_MAX / 2, 16);
    loops[0]->env.ops = real;
    doc = parse(&a);
    assert_int_equal(json_array_size(json_object_get(doc, "missing")), 1);
    assert_int_equal(json_integer_value(json_array_get(json_object_get(doc, "missing"), 0)), 1);
    assert_null(json_object_get(doc, "trace"));
    json_decref(doc);
    assert_int_equal(loops[0]->machines.nlive, 1);
    cairn_loop_turn(loops[1], 0); /* it wakes up */
    cairn_loop_turn(loops[0], 0);
    assert_int_equal(loops[0]->machines.nlive, 0);
    assert_int_equal(a.times, 1);
    for (int i = 0; i < 2; i++)
        loop_free(loops[i]);
}

static void trace_is_bounded_and_newest(void **state)
{
    struct cairn_loop *loop = loop_new();
    struct answer a = { 0 };
    json_t *doc, *trace;

    (void)state;
    for (int i = 0; i < CAIRN_SM_RING; i++) {
        struct cairn_sm sm;

        cairn_sm_init(&sm, &work_kind, &loop->machines);
        cairn_sm_move(&sm, WORK_BUSY);
        cairn_sm_move(&sm, WORK_DONE);
        cairn_sm_fini(&sm);
    }
    assert_int_equal(cairn_introspect(&loop, 1, loop, true, on_answer, &a), 0);
    while (a.times == 0)
        cairn_loop_turn(loop, UINT64_MAX);
    doc = parse(&a);
    trace = json_object_get(doc, "trace");
    assert_int_equal(json_array_size(trace), CAIRN_SM_RING);
    assert_non_null(strstr(json_string_value(json_array_get(trace, 0)), " w0 work#513 IDLE -> BUSY"));
    assert_non_null(strstr(json_string_value(json_array_get(trace, CAIRN_SM_RING - 1)), " w0 work#1024 BUSY -> DONE"));
    json_decref(doc);
    loop_free(loop);
}

static void kinds_are_known_by_name(void **state)
{
    const struct cairn_sm_kind *const list[] = { &work_kind, &cairn_introspect_kind, NULL }, *const twin[] = {
        &twin_kind, NULL
    };
    struct cairn_kinds kinds = { 0 };
    struct cairn_err err = { 0 };
    char *dot;
    int rc;

    (void)state;
    cairn_kinds_add(&kinds, list);
    cairn_kinds_add(&kinds, list); /* two providers of one type */
    cairn_kinds_add(&kinds, NULL);
    assert_int_equal(kinds.n, 2);
    assert_int_equal(cairn_kinds_check(&kinds, &err), 0);
    dot = cairn_kinds_dot(&kinds, "introspect", &rc);
    assert_int_equal(rc, 0);
    assert_non_null(strstr(dot, "\"ASKED\" -> \"OVERDUE\";"));
    free(dot);
    assert_null(cairn_kinds_dot(&kinds, "nothing", &rc));
    assert_int_equal(rc, CAIRN_E_NOTFOUND);
    cairn_kinds_add(&kinds, twin);
    assert_int_equal(cairn_kinds_check(&kinds, &err), CAIRN_E_INTERNAL);
    assert_string_equal(err.text, "two kinds of state machines are called work");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counts_over_all_workers),
        cmocka_unit_test(stuck_worker_is_named),
        cmocka_unit_test(trace_is_bounded_and_newest),
        cmocka_unit_test(kinds_are_known_by_name),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
