/* The state-machine engine: tables are checked, moves are checked, invariants bite. */
#include "sdk/core/sm/sm.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { S_ALLOC, S_PULL, S_DONE, S_FAILED, S_NR };

struct op {
    struct cairn_sm sm;
    bool pulled;
};

static const struct cairn_sm_state op_states[S_NR] = {
    [S_ALLOC] = { "ALLOC", CAIRN_SM_INITIAL, CAIRN_SM_TO(S_PULL) | CAIRN_SM_TO(S_FAILED) },
    [S_PULL] = { "PULL", 0, CAIRN_SM_TO(S_DONE) | CAIRN_SM_TO(S_FAILED) },
    [S_DONE] = { "DONE", CAIRN_SM_FINAL, 0 },
    [S_FAILED] = { "FAILED", CAIRN_SM_FINAL | CAIRN_SM_FAILURE, 0 },
};

static bool op_invariant(const struct cairn_sm *sm)
{
    const struct op *op = CONTAINER_OF(sm, const struct op, sm);

    return CAIRN_HOLDS(sm->state != S_DONE || op->pulled);
}

static const struct cairn_sm_kind op_kind = { "op", op_states, S_NR, op_invariant, 1000 };

static uint64_t fake_now;

static uint64_t world_now(struct cairn_env *env)
{
    (void)env;
    return fake_now;
}

static const struct cairn_env_ops world_ops = { .now_ns = world_now };

struct fixture {
    struct cairn_env env;
    struct cairn_sm_set set;
};

static int setup(void **state)
{
    struct fixture *fx = calloc(1, sizeof(*fx));

    fake_now = 0;
    assert_int_equal(cairn_env_init(&fx->env, &world_ops), 0);
    cairn_sm_set_init(&fx->set, &fx->env);
    *state = fx;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fx = *state;

    cairn_sm_set_fini(&fx->set);
    cairn_env_fini(&fx->env);
    free(fx);
    return 0;
}

static void at(struct fixture *fx, uint64_t ms)
{
    fake_now = ms * CAIRN_NS_PER_MS;
    cairn_sm_tick(&fx->set);
}

static void a_life_leaves_its_trace(void **state)
{
    struct fixture *fx = *state;
    struct op a = { .pulled = true }, b = { 0 };
    char path[] = "/tmp/cairn-sm-XXXXXX", text[512];
    int fd = mkstemp(path);
    ssize_t n;

    cairn_sm_init(&a.sm, &op_kind, &fx->set);
    cairn_sm_init(&b.sm, &op_kind, &fx->set);
    at(fx, 120);
    cairn_sm_move(&a.sm, S_PULL);
    at(fx, 130);
    cairn_sm_move_or_fail(&a.sm, S_DONE, S_FAILED, 0);
    cairn_sm_move_or_fail(&b.sm, S_PULL, S_FAILED, CAIRN_E_TIMEOUT);
    assert_int_equal(b.sm.rc, CAIRN_E_TIMEOUT);
    cairn_sm_set_dump(&fx->set, fd);
    n = pread(fd, text, sizeof(text) - 1, 0);
    assert_true(n > 0);
    text[n] = '\0';
    assert_string_equal(text, "[   120] op#1 ALLOC -> PULL\n"
                              "[   130] op#1 PULL -> DONE\n"
                              "[   130] op#2 ALLOC -> FAILED rc=-7\n");
    cairn_sm_fini(&a.sm);
    cairn_sm_fini(&b.sm);
    close(fd);
    unlink(path);
}

static void the_census_counts_and_finds_the_stuck(void **state)
{
    struct fixture *fx = *state;
    struct op ops[3] = { 0 };
    struct cairn_sm_census rows[2];

    for (int i = 0; i < 3; i++)
        cairn_sm_init(&ops[i].sm, &op_kind, &fx->set);
    at(fx, 500);
    cairn_sm_move(&ops[2].sm, S_PULL);
    at(fx, 1200);
    assert_int_equal(cairn_sm_set_census(&fx->set, rows, 2), 1);
    assert_int_equal(rows[0].count[S_ALLOC], 2);
    assert_int_equal(rows[0].count[S_PULL], 1);
    assert_int_equal(rows[0].oldest_ns[S_PULL], 700 * CAIRN_NS_PER_MS);
    assert_int_equal(rows[0].stuck, 2);
    for (int i = 0; i < 3; i++) {
        cairn_sm_fail(&ops[i].sm, S_FAILED, CAIRN_E_CANCELED);
        cairn_sm_fini(&ops[i].sm);
    }
}

/* Where nothing is under way no stay is too long; elsewhere in the same kind one is. */
static void who_rests_is_not_stuck(void **state)
{
    static const struct cairn_sm_state states[S_NR] = {
        [S_ALLOC] = { "IDLE", CAIRN_SM_INITIAL | CAIRN_SM_RESTING, CAIRN_SM_TO(S_PULL) | CAIRN_SM_TO(S_FAILED) },
        [S_PULL] = { "PULL", 0, CAIRN_SM_TO(S_DONE) | CAIRN_SM_TO(S_FAILED) },
        [S_DONE] = { "DONE", CAIRN_SM_FINAL, 0 },
        [S_FAILED] = { "FAILED", CAIRN_SM_FINAL | CAIRN_SM_FAILURE, 0 },
    };
    static const struct cairn_sm_kind kind = { "rests", states, S_NR, op_invariant, 1000 };
    struct fixture *fx = *state;
    struct op ops[2] = { 0 };
    struct cairn_sm_census row;

    for (int i = 0; i < 2; i++)
        cairn_sm_init(&ops[i].sm, &kind, &fx->set);
    at(fx, 5000);
    assert_int_equal(cairn_sm_set_census(&fx->set, &row, 1), 1);
    assert_int_equal(row.stuck, 0);
    cairn_sm_move(&ops[1].sm, S_PULL);
    at(fx, 6500);
    assert_int_equal(cairn_sm_set_census(&fx->set, &row, 1), 1);
    assert_int_equal(row.stuck, 1);
    for (int i = 0; i < 2; i++) {
        cairn_sm_fail(&ops[i].sm, S_FAILED, CAIRN_E_CANCELED);
        cairn_sm_fini(&ops[i].sm);
    }
}

/* Runs @crime in a child and tells whether it was stopped by an assertion that says @text. */
static bool is_stopped(struct fixture *fx, void (*crime)(struct fixture *fx), const char *text)
{
    char said[4096] = "";
    int fds[2], status;
    ssize_t n;
    pid_t pid;

    assert_int_equal(pipe(fds), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        signal(SIGABRT, SIG_DFL);
        dup2(fds[1], STDERR_FILENO);
        crime(fx);
        _exit(0);
    }
    close(fds[1]);
    for (size_t len = 0; (n = read(fds[0], said + len, sizeof(said) - 1 - len)) > 0;)
        len += (size_t)n;
    close(fds[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT && strstr(said, text) != NULL;
}

static void move_without_table(struct fixture *fx)
{
    struct op op = { 0 };

    cairn_sm_init(&op.sm, &op_kind, &fx->set);
    cairn_sm_move(&op.sm, S_DONE);
}

static void break_the_invariant(struct fixture *fx)
{
    struct op op = { 0 };

    cairn_sm_init(&op.sm, &op_kind, &fx->set);
    cairn_sm_move(&op.sm, S_PULL);
    cairn_sm_move(&op.sm, S_DONE);
}

static void end_too_early(struct fixture *fx)
{
    struct op op = { 0 };

    cairn_sm_init(&op.sm, &op_kind, &fx->set);
    cairn_sm_fini(&op.sm);
}

static void mistakes_are_stopped(void **state)
{
    assert_true(is_stopped(*state, move_without_table, "no move from ALLOC to DONE"));
    assert_true(is_stopped(*state, break_the_invariant, "does not hold: sm->state != S_DONE || op->pulled"));
    assert_true(is_stopped(*state, end_too_early, "cairn_sm_is_final"));
}

static void expect_table(const struct cairn_sm_state *states, uint32_t n, const char *text)
{
    struct cairn_sm_kind kind = { "k", states, n, op_invariant, 0 };
    struct cairn_err err = { 0 };

    assert_int_equal(cairn_sm_kind_check(&kind, &err), CAIRN_E_INTERNAL);
    if (strstr(err.text, text) == NULL)
        fail_msg("expected '%s' in '%s'", text, err.text);
}

static void bad_tables_are_named(void **state)
{
    const uint32_t I = CAIRN_SM_INITIAL, F = CAIRN_SM_FINAL;
    struct cairn_err err;

    (void)state;
    assert_int_equal(cairn_sm_kind_check(&op_kind, &err), 0);
    expect_table((struct cairn_sm_state[]){ { "A", 0, 2 }, { "B", F, 0 } }, 2, "no initial state");
    expect_table((struct cairn_sm_state[]){ { "A", I, 2 }, { "B", I | F, 0 } }, 2, "two initial states");
    expect_table((struct cairn_sm_state[]){ { "A", I, 2 }, { "B", 0, 0 } }, 2, "B is not final and has no move");
    expect_table((struct cairn_sm_state[]){ { "A", I, 2 }, { "B", F, 1 } }, 2, "B is final and has moves");
    expect_table((struct cairn_sm_state[]){ { "A", I, 2 }, { "B", F, 0 }, { "C", F, 0 } }, 3, "C cannot be reached");
    expect_table((struct cairn_sm_state[]){ { "A", I, 2 }, { "A", F, 0 } }, 2, "two states are called A");
    expect_table((struct cairn_sm_state[]){ { "A", I, 6 }, { "B", F, 0 } }, 2, "a state that is not there");
    expect_table((struct cairn_sm_state[]){ { "A", I, 2 }, { NULL, F, 0 } }, 2, "has no name");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_life_leaves_its_trace, setup, teardown),
        cmocka_unit_test_setup_teardown(the_census_counts_and_finds_the_stuck, setup, teardown),
        cmocka_unit_test_setup_teardown(who_rests_is_not_stuck, setup, teardown),
        cmocka_unit_test_setup_teardown(mistakes_are_stopped, setup, teardown),
        cmocka_unit_test(bad_tables_are_named),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
