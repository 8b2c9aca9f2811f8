/* Ctrl-C while libfabric is loaded, whose providers take signals for themselves: it is for whoever had it before. */
#include "sdk/core/fabric/fabric_internal.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <unistd.h>

#include <cmocka.h>

static volatile sig_atomic_t ours, theirs;

static void on_ours(int sig)
{
    (void)sig;
    ours++;
}

static void on_theirs(int sig)
{
    (void)sig;
    theirs++;
}

/* As its constructors do; and somebody wants the program to end. */
void *__real_dlopen(const char *name, int flags);
void *__wrap_dlopen(const char *name, int flags);
void *__wrap_dlopen(const char *name, int flags)
{
    void *handle = __real_dlopen(name, flags);

    signal(SIGINT, on_theirs);
    signal(SIGTERM, on_theirs);
    kill(getpid(), SIGINT);
    kill(getpid(), SIGTERM);
    return handle;
}

static void a_signal_during_the_load_is_ours(void **state)
{
    struct cairn_err err;

    (void)state;
    signal(SIGINT, on_ours);
    signal(SIGTERM, on_ours);
    assert_non_null(cairn_fabric__lib(&err));
    assert_int_equal(ours, 2);
    assert_int_equal(theirs, 0);
    kill(getpid(), SIGINT);
    assert_int_equal(ours, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_signal_during_the_load_is_ours),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
